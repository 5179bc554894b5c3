/* The hashes that both planes use: the tables' indices, and the choice among sockets that share a port. */
#ifndef VNASFAST_TABLES_HASHING_H
#define VNASFAST_TABLES_HASHING_H

#include <stdint.h>
#include <string.h>
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vnasfast keeps addresses as little-endian words; it has not been ported to big-endian machines"
#endif

/* A 64 x 64 bit product folded to 64 bits: two instructions on x86-64 and AArch64, every input bit reaches every
   output bit. Without the seed a chosen key can't steer it. */
static inline uint64_t vnas_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

static inline uint64_t vnas_load64(const unsigned char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

enum { VNAS_FLOW_SEEDS = 12 };      /* words; the last two odd */

/* Of a flow, for port sharing: the same flow gives the same value for as long as the seed lives. Products of 32-bit words as vector
 * instructions have them (NH, the universal hash of UMAC), each word under a word of the seed, then two rounds that let every bit
 * reach the upper ones, which choose. dispatch/lookup_flows.h has the same for 8 packets at once: a packet to a shared port takes 76
 * instructions, and took 92 with three products of 64-bit words, which no vector instruction of AVX2 multiplies. */
static inline uint32_t vnas_flow_hash(
    const uint32_t seed[VNAS_FLOW_SEEDS], const uint64_t destination[2], const uint64_t source[2], uint32_t destination_port,
    uint32_t source_port, uint32_t protocol)
{
    const uint64_t pairs[5] = {destination[0], destination[1], source[0], source[1],
                               destination_port | source_port << 16 | (uint64_t)protocol << 32};
    uint64_t sum = 0;
    for (int n = 0; n < 5; n++)
        sum += (uint64_t)((uint32_t)pairs[n] + seed[2 * n]) * (uint32_t)((uint32_t)(pairs[n] >> 32) + seed[2 * n + 1]);
    uint32_t hash = (uint32_t)sum + (uint32_t)(sum >> 32) * seed[10];
    hash = (hash ^ hash >> 16) * seed[11];
    return (hash ^ hash >> 15) * seed[10];
}

#endif
