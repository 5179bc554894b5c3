/* The data plane: what dispatch reads of the tables, and nothing else. tables/plane.pyx writes it.
 *
 *   ANY-address table                   port table and socket table
 *   (VLAN, address) → owner             directory[family][protocol, port] → answers[owner]
 *
 * An owner stands for a VNAS: its VNAS number + VNAS_FIRST_OWNER, or one of the two below. The answer for (port, owner) is what
 * dispatch returns, a socket ID or an outcome, or VNAS_ASK where ANY sockets alone don't decide.
 *
 * Nothing that a reader may look at moves or is freed under it (tables/readers.pxd), and each change that a reader can see is
 * one store. Memory that was never written is zero, and zero means none: owner 0 is nobody, stored answer 0 is NO_SOCKET.
 */
#ifndef VNASFAST_TABLES_PLANE_H
#define VNASFAST_TABLES_PLANE_H

#include <stddef.h>
#include <stdint.h>

enum {
    VNAS_LINE_SLOTS = 7,        /* addresses in a line; its eighth value says what a miss means */
    VNAS_OWNER_BITS = 20,
    VNAS_NOBODY = 0,            /* owners: no VNAS has the address */
    VNAS_ELSEWHERE = 1,         /* the control plane knows */
    VNAS_FIRST_OWNER = 2,
    VNAS_PLACES = 5 << 16,      /* of the directory, for one family */
    VNAS_NO_IPV6_ROW = 0,       /* rows of IPv6 addresses: nobody */
    VNAS_IPV6_ELSEWHERE = 1,
    VNAS_FIRST_IPV6_ROW = 2,
    VNAS_STORED = 3,            /* answers are stored with this added, so that zero is NO_SOCKET */
};
#define VNAS_OWNER_MASK ((1u << VNAS_OWNER_BITS) - 1)
#define VNAS_ASK INT32_MIN      /* a stored answer: the control plane knows */

/* One cache line. A key is an IPv4 address, or 32 bits of an IPv6 address's hash. An IPv4 value is VLAN << 20 | owner, an IPv6 value
 * the address's row. values[7] is NOBODY, or ELSEWHERE once an address found no room here. Where nothing is, key and value are 0: no
 * IPv6 key is, and 0.0.0.0 can't be registered, so an empty place hides nothing behind it. */
typedef struct {
    uint32_t keys[8];
    uint32_t values[8];
} __attribute__((aligned(64))) VnasLine;

typedef struct {
    uint32_t shift;             /* 32 - log2(number of lines), at most 31 */
    uint32_t unused[15];
    VnasLine lines[];
} __attribute__((aligned(64))) VnasLines;

typedef struct {
    uint64_t hi, lo;
    uint32_t value;             /* VLAN << 20 | owner */
    uint32_t unused;
} VnasIpv6Row;

/* What changes together: an array of answers for each port, one as long as the other, and where each begins. */
typedef struct {
    int32_t *answers;
    uint32_t *directory;  /* [2 * VNAS_PLACES] */
} VnasPorts;

typedef struct {
    uint32_t ipv4_seed[3];
    uint64_t ipv6_seed[3];
    VnasLines *ipv4, *ipv6;
    VnasIpv6Row *ipv6_rows;
    VnasPorts *ports;
    uint64_t address_changes;   /* rises before and after each change of the ANY-address table: odd while one is being made */
    uint64_t bytes;             /* that dispatch may read at random */
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

/* The line in the upper half, the key in the lower one. Two products of 32-bit words, as vector instructions have them, each word under
 * a word of the seed (NH, the universal hash of UMAC): whoever doesn't know the seed can't make two addresses collide. */
static inline uint64_t vnas_ipv6_hash(const VnasPlane *plane, uint64_t hi, uint64_t lo, uint32_t vlan)
{
    const uint64_t *seed = plane->ipv6_seed;
    uint64_t sum = (uint64_t)((uint32_t)hi + (uint32_t)seed[0]) * ((uint32_t)(hi >> 32) + (uint32_t)(seed[0] >> 32))
                   + (uint64_t)((uint32_t)lo + (uint32_t)seed[1]) * ((uint32_t)(lo >> 32) + (uint32_t)(seed[1] >> 32));
    uint32_t low = (uint32_t)sum, high = (uint32_t)(sum >> 32) + vlan * (uint32_t)seed[2];
    return (uint64_t)vnas_spread(plane, low + high * ((uint32_t)(seed[2] >> 32) | 1)) << 32 | (high ^ low);
}

static inline uint32_t vnas_ipv6_key(uint64_t hash)
{
    return (uint32_t)hash | 1;
}

/* Steps 3 and 4 as far as ANY sockets decide. `place` is protocol number << 16 | port. */
static inline int32_t vnas_stored_answer(const VnasPlane *plane, uint32_t family, uint32_t place, uint32_t owner)
{
    const VnasPorts *ports = VNAS_LOAD(plane->ports);
    return ports->answers[VNAS_LOAD(ports->directory[family * VNAS_PLACES + place]) + owner];
}

#endif
