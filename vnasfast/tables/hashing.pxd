# Seeded hashing for the indices and for port sharing. Inline, so that a table's probe and its hash are one loop body.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from vnasfast.typedefs cimport FlowKey

cdef extern from "vnasfast/tables/hashing.h":
    uint64_t mix "vnas_mix"(uint64_t a, uint64_t b) noexcept nogil
    uint64_t load64 "vnas_load64"(const uint8_t* bytes) noexcept nogil
    enum:
        FLOW_SEEDS "VNAS_FLOW_SEEDS"
    uint32_t flow_hash "vnas_flow_hash"(const uint32_t* seed, const uint64_t* destination, const uint64_t* source,
                                        uint32_t destination_port, uint32_t source_port, uint32_t protocol) noexcept nogil

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

cdef inline uint32_t hash_flow(const uint32_t* seed, const FlowKey* key) noexcept nogil:
    """Hash a flow for port sharing: the same flow gives the same value for as long as the seed lives."""
    cdef uint64_t[2] destination
    cdef uint64_t[2] source
    destination[0] = load64(key.destination)
    destination[1] = load64(key.destination + 8)
    source[0] = load64(key.source)
    source[1] = load64(key.source + 8)
    return flow_hash(seed, destination, source, key.destination_port, key.source_port, key.protocol)
