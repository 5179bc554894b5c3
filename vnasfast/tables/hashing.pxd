# Seeded hashing for the indices and for port sharing. Inline, so that a table's probe and its hash are one loop body.

from libc.stdint cimport uint8_t, uint64_t

from vnasfast.typedefs cimport FlowKey

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "vnasfast keeps addresses as little-endian words; it has not been ported to big-endian machines"
    #endif

    /* A 64 x 64 bit product folded to 64 bits: two instructions on x86-64 and AArch64, every input bit reaches every
       output bit. Without the seed a chosen key can't steer it. */
    static inline uint64_t vnas_mix(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)(product >> 64) ^ (uint64_t)product;
    }
    static inline uint64_t vnas_load64(const unsigned char *bytes) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        return word;
    }
    """
    uint64_t mix "vnas_mix"(uint64_t a, uint64_t b) noexcept nogil
    uint64_t load64 "vnas_load64"(const uint8_t* bytes) noexcept nogil

# Four words from one seed; each table mixes its keys with them.
cdef struct HashSeed:
    uint64_t s0, s1, s2, s3

cdef inline uint64_t splitmix64(uint64_t x) noexcept nogil:
    cdef uint64_t z = x + <uint64_t>0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)

cdef inline HashSeed hash_seed(uint64_t seed) noexcept nogil:
    cdef HashSeed words
    words.s0 = splitmix64(seed)
    words.s1 = splitmix64(words.s0)
    words.s2 = splitmix64(words.s1)
    words.s3 = splitmix64(words.s2)
    return words

cdef inline uint64_t hash_word(const HashSeed* seed, uint64_t word) noexcept nogil:
    # Twice: once takes strides of numbers to strides of products, whose probes ran to 50 slots under some seeds.
    return mix(mix(word ^ seed.s0, seed.s1) ^ seed.s2, seed.s3 | 1)

cdef inline uint64_t hash_address(const HashSeed* seed, uint64_t hi, uint64_t lo, uint64_t extra) noexcept nogil:
    """Hash a 128-bit address and up to 64 bits that belong to it (VLAN ID, or port and VNAS)."""
    # Twice: regular addresses had a worst probe of 130 slots under one seed in fifty after one product. `extra` is multiplied by a
    # secret odd word, so that no chosen address can cancel it.
    return mix(mix(lo ^ seed.s0 ^ (extra * (seed.s2 | 1)), hi ^ seed.s1) ^ seed.s2, seed.s3 | 1)

cdef inline uint64_t hash_flow(const HashSeed* seed, const FlowKey* key) noexcept nogil:
    """Hash a flow for port sharing: the same flow gives the same value for as long as the seed lives."""
    cdef uint64_t remote, local, ports
    local = mix(load64(key.destination) ^ seed.s0, load64(key.destination + 8) ^ seed.s1)
    remote = mix(load64(key.source) ^ seed.s2, load64(key.source + 8) ^ seed.s3)
    ports = key.destination_port | (<uint64_t>key.source_port << 16) | (<uint64_t>key.protocol << 32)
    return mix(local ^ seed.s1 ^ ports, remote ^ seed.s0)
