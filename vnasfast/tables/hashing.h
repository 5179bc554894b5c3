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

/* Of a flow, for port sharing: the same flow gives the same value for as long as the seed lives. */
static inline uint64_t vnas_flow_hash(
    const uint64_t seed[4], const uint64_t destination[2], const uint64_t source[2], uint32_t destination_port,
    uint32_t source_port, uint32_t protocol)
{
    uint64_t local = vnas_mix(destination[0] ^ seed[0], destination[1] ^ seed[1]);
    uint64_t remote = vnas_mix(source[0] ^ seed[2], source[1] ^ seed[3]);
    uint64_t ports = destination_port | (uint64_t)source_port << 16 | (uint64_t)protocol << 32;
    return vnas_mix(local ^ seed[1] ^ ports, remote ^ seed[0]);
}

#endif
