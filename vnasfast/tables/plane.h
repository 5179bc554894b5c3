/* The data plane: what dispatch reads of the tables, and nothing else. tables/plane.pyx writes it.
 *
 *   ANY-address table                   port table and socket table
 *   (VLAN, address) → owner             directory[family][protocol, port] → answers[owner]
 *
 * An owner stands for a VNAS: its VNAS number + VNAS_FIRST_OWNER, or one of the three below. The stored answer for (port, owner) is
 * what dispatch returns, a socket ID or an outcome, + VNAS_STORED; or it is negative and says where the answer is:
 *
 *   VNAS_SPARSE, VNAS_SPARSE_IPV6    few VNASs have the port: its answers lie in lines, found by (port, owner)
 *   ~ (block << 1 | its kind)        a block of the port's sockets of this VNAS, among which the packet decides:
 *                                    those that share the port, or specific addresses beside ANY
 *   VNAS_ASK                         the control plane knows
 *
 * Nothing that a reader may look at moves or is freed under it (tables/readers.pxd), and each change that a reader can see is
 * one store. Memory that was never written is zero, and zero means none: owner 0 is nobody, stored answer 0 is NO_SOCKET.
 */
#ifndef VNASFAST_TABLES_PLANE_H
#define VNASFAST_TABLES_PLANE_H

#include <stddef.h>
#include <stdint.h>
#include "vnasfast/tables/hashing.h"

enum {
    VNAS_LINE_SLOTS = 7,        /* addresses in a line; its eighth value says what a miss means */
    VNAS_IPV6_SLOTS = 3,        /* the same, and its fourth */
    VNAS_TOGETHER = 2,          /* lines that take what one of them has no room for */
    VNAS_IPV6_TOGETHER = 4,
    VNAS_OWNER_BITS = 20,
    VNAS_NOBODY = 0,            /* owners: no VNAS has the address */
    VNAS_BESIDE = 1,            /* the lines beside the address's know */
    VNAS_ELSEWHERE = 2,         /* the control plane knows */
    VNAS_FIRST_OWNER = 3,
    VNAS_PLACES = 5 << 16,      /* of the directory, for one family */
    VNAS_NO_VNAS = -1,          /* outcomes, as typedefs.pxd has them */
    VNAS_NO_PORT = -2,
    VNAS_STORED = 3,            /* answers are stored with this added, so that zero is NO_SOCKET */
    VNAS_SPARSE_LEAST = 10,     /* log2 of the lines for sparse ports, at least: a key there says what its line does not */
    VNAS_SPARSE_MOVED = 2,      /* bit of a key that lies in the line beside its own */
    VNAS_UNIT = 4,              /* words of a block's unit: blocks begin at multiples of 16 bytes */
    VNAS_MEMBERS = 0,           /* kinds of blocks: the lowest bit of ~ the stored answer */
    VNAS_SPECIFIC = 1,
    VNAS_SPECIFIC_HEAD = 3,     /* words of a block of specific addresses before its places, and of a place */
    VNAS_SPECIFIC_PLACE = 5,
    VNAS_SPECIFIC_PROBES = 16,  /* places looked at for an address, at most */
};
#define VNAS_OWNER_MASK ((1u << VNAS_OWNER_BITS) - 1)
#define VNAS_ASK INT32_MIN
#define VNAS_SPARSE (INT32_MIN + 1)         /* both families have the same answers */
#define VNAS_SPARSE_IPV6 (INT32_MIN + 2)    /* IPv6 has its own */
#define VNAS_LIKE_ANY (INT32_MIN + 3)       /* only of a specific address: what ANY sockets get */

/* One cache line of IPv4 addresses. A value is VLAN << 20 | owner. values[7] says what a miss means: NOBODY; BESIDE, once an address found
 * no room here and lies in the other line of this pair; ELSEWHERE, once one found none there either, and then only the control plane
 * knows. Where nothing is, key and value are 0: 0.0.0.0 can't be registered, so an empty place hides nothing behind it.
 * Of sparse ports a value is the stored answer, and values[7] says where those are that found no room here: NO_SOCKET, there are
 * none; VNAS_SPARSE, in the other line of this pair of lines; VNAS_ASK, the control plane knows. */
typedef struct {
    uint32_t keys[8];
    uint32_t values[8];
} __attribute__((aligned(64))) VnasLine;

/* The same of IPv6 addresses: the lines beside are the three others of these four. Whole addresses, so that a packet touches one line: with
 * 32 bits of a hash here, and the address in a row of its own, it were two (1.24 times as long at 100k sockets, 1.55 times at 1M). */
typedef struct {
    uint64_t hi[VNAS_IPV6_SLOTS], lo[VNAS_IPV6_SLOTS];
    uint32_t values[VNAS_IPV6_SLOTS + 1];
} __attribute__((aligned(64))) VnasIpv6Line;

typedef struct {
    uint32_t shift;             /* 32 - log2(number of lines), at most 30 */
    uint32_t unused[15];
    VnasLine lines[];           /* or as many VnasIpv6Line */
} __attribute__((aligned(64))) VnasLines;

/* What changes together: an array of answers for each port, one as long as the other, and where each begins. */
typedef struct {
    int32_t *answers;
    uint32_t *directory;  /* [2 * VNAS_PLACES] */
} VnasPorts;

typedef struct {
    uint32_t ipv4_seed[3];
    uint64_t ipv6_seed[3];
    VnasLines *ipv4, *ipv6;
    VnasPorts *ports;
    uint64_t address_changes;   /* rises before and after each change of the ANY-address table: odd while one is being made */
    uint64_t bytes;             /* that dispatch may read at random */
    VnasLines *sparse;
    int32_t *blocks;
    uint64_t sparse_changes;    /* as address_changes, when an answer of a sparse port comes or goes; not when it is replaced */
    uint32_t sparse_seed[4];
    uint32_t flow_seed[VNAS_FLOW_SEEDS];
    uint64_t n_open;            /* ports, of each family */
} VnasPlane;

#define VNAS_LOAD(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define VNAS_STORE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)

/* Two rounds, and the upper bits folded down before each: a product spreads bits only upwards, and the last octet, which varies most,
 * lies uppermost. Without the first fold networks of which only that part varies crowded out 41 % of themselves under one seed in a
 * hundred. */
static inline uint32_t vnas_spread(const VnasPlane *plane, uint32_t mixed)
{
    mixed = (mixed ^ mixed >> 16) * plane->ipv4_seed[0];
    return (mixed ^ mixed >> 15) * plane->ipv4_seed[2];
}

static inline uint32_t vnas_ipv4_hash(const VnasPlane *plane, uint32_t address, uint32_t vlan)
{
    return vnas_spread(plane, address + vlan * plane->ipv4_seed[1]);
}

/* Two products of 32-bit words, as vector instructions have them, each word under a word of the seed (NH, the universal hash of UMAC):
 * whoever doesn't know the seed can't make two addresses collide. */
static inline uint32_t vnas_ipv6_hash(const VnasPlane *plane, uint64_t hi, uint64_t lo, uint32_t vlan)
{
    const uint64_t *seed = plane->ipv6_seed;
    uint64_t sum = (uint64_t)((uint32_t)hi + (uint32_t)seed[0]) * ((uint32_t)(hi >> 32) + (uint32_t)(seed[0] >> 32))
                   + (uint64_t)((uint32_t)lo + (uint32_t)seed[1]) * ((uint32_t)(lo >> 32) + (uint32_t)(seed[1] >> 32));
    uint32_t low = (uint32_t)sum, high = (uint32_t)(sum >> 32) + vlan * (uint32_t)seed[2];
    return vnas_spread(plane, low + high * ((uint32_t)(seed[2] >> 32) | 1));
}

/* The greatest of an address's values in a line, where it may be on several VLANs; 0 where it isn't there. No branch. */
static inline uint32_t vnas_ipv6_value(const VnasIpv6Line *line, uint64_t hi, uint64_t lo)
{
    uint32_t value = 0;
    for (int i = 0; i < VNAS_IPV6_SLOTS; i++) {
        uint32_t each = line->values[i] & (0u - (uint32_t)((line->hi[i] == hi) & (line->lo[i] == lo)));
        value = each > value ? each : value;
    }
    return value;
}

/* 40 bits of (place, owner) to 40 bits, one to one: the line takes the uppermost, the key the lowest 30. So both together are
 * (place, owner), and another table of lines is made from this one alone. Each half by the other in turn, four times: after three
 * 6 % of the ports in a row of one VNAS found no room under one seed in a hundred, and 1.4 % of any keys after four. */
static inline uint64_t vnas_sparse_hash(const VnasPlane *plane, uint32_t place, uint32_t owner)
{
    owner ^= place * plane->sparse_seed[0] >> 12;
    place ^= owner * plane->sparse_seed[1] >> 12;
    owner ^= place * plane->sparse_seed[2] >> 12;
    place ^= owner * plane->sparse_seed[3] >> 12;
    return (uint64_t)place << VNAS_OWNER_BITS | owner;
}

static inline uint32_t vnas_sparse_key(uint64_t hash)
{
    return (uint32_t)hash << 2 | 1;
}

static inline uint32_t vnas_sparse_line(const VnasLines *table, uint64_t hash)
{
    return (uint32_t)(hash >> 8) >> table->shift;
}

static inline int vnas_is_sparse(int32_t stored)
{
    return (uint32_t)stored - (uint32_t)VNAS_SPARSE < 2;
}

/* Under which place a sparse port's answers for a family are: both families' are the same until they differ. */
static inline uint32_t vnas_sparse_place(int32_t stored, uint32_t place)
{
    return place - (stored == VNAS_SPARSE && place >= VNAS_PLACES ? VNAS_PLACES : 0);
}

/* Whether a stored answer names a block, and the block. */
static inline int vnas_names_block(int32_t stored)
{
    return stored < 0 && stored > VNAS_LIKE_ANY;
}

static inline int32_t *vnas_block(int32_t *blocks, int32_t stored)
{
    return blocks + (size_t)((uint32_t)~stored >> 1) * VNAS_UNIT;
}

/* Two kinds of blocks:
 *
 *   members:    their number; the sockets in order of registration
 *   specific:   the number of places - 1; the stored answers of ANY for IPv4, for IPv6; places: an address, its stored answer
 *
 * A place was never used while its answer is 0, and never becomes another address's. What a block says of ANY never changes. */
static inline uint32_t vnas_specific_home(const VnasPlane *plane, const uint64_t address[2])
{
    uint32_t hash = vnas_ipv6_hash(plane, address[0], address[1], 0);
    return hash ^ hash >> 16;
}

static inline int32_t vnas_specific_answer(const VnasPlane *plane, const int32_t *block, uint32_t family, const uint64_t address[2])
{
    uint32_t mask = (uint32_t)block[0], at = 0;
    int32_t stored, any = block[1 + family];
    uint64_t words[2];
    if (mask == 0) {    /* nearly always. Which address the packet has can't be guessed: no branch */
        memcpy(words, block + VNAS_SPECIFIC_HEAD, sizeof words);
        stored = VNAS_LOAD(block[VNAS_SPECIFIC_HEAD + 4]);
        uint64_t other = (words[0] ^ address[0]) | (words[1] ^ address[1]) | (uint64_t)(stored == VNAS_LIKE_ANY) | (stored == 0);
        return other ? any : stored;
    }
    if (mask > 1)
        at = vnas_specific_home(plane, address);
    for (uint32_t n = 0; n <= mask && n < VNAS_SPECIFIC_PROBES; n++) {
        const int32_t *place = block + VNAS_SPECIFIC_HEAD + (size_t)((at + n) & mask) * VNAS_SPECIFIC_PLACE;
        stored = VNAS_LOAD(place[4]);
        memcpy(words, place, sizeof words);
        if (stored == 0)
            break;
        if (words[0] == address[0] && words[1] == address[1])
            return stored != VNAS_LIKE_ANY ? stored : any;
    }
    return any;
}

/* The stored answer of a flow among the sockets that share an endpoint, by its hash. A multiplication instead of a
 * remainder: it needs no division and takes the hash's better, upper bits. */
static inline int32_t vnas_member(const int32_t *block, uint32_t hash)
{
    return VNAS_STORED + block[1 + ((uint64_t)hash * (uint32_t)VNAS_LOAD(block[0]) >> 32)];
}

/* From a stored answer that may name a block to one that names none. */
static inline int32_t vnas_choose_socket(
    const VnasPlane *plane, int32_t *blocks, int32_t stored, const uint64_t destination[2], const uint64_t source[2],
    uint32_t destination_port, uint32_t source_port, uint32_t protocol)
{
    if (vnas_names_block(stored) && (~stored & 1) == VNAS_SPECIFIC) {
        uint32_t family = (destination[0] != 0) | ((uint32_t)destination[1] != 0xFFFF0000u);
        stored = vnas_specific_answer(plane, vnas_block(blocks, stored), family, destination);
    }
    if (vnas_names_block(stored))
        stored = vnas_member(vnas_block(blocks, stored),
                             vnas_flow_hash(plane->flow_seed, destination, source, destination_port, source_port, protocol));
    return stored;
}

/* What is stored for (port, owner). `place` is protocol number << 16 | port. */
static inline int32_t vnas_stored_answer(const VnasPlane *plane, uint32_t family, uint32_t place, uint32_t owner)
{
    const VnasPorts *ports = VNAS_LOAD(plane->ports);
    return ports->answers[VNAS_LOAD(ports->directory[family * VNAS_PLACES + place]) + owner];
}

#endif
