/* hash.h - SipHash-2-4 with 64 and 128 bits of output (Aumasson and Bernstein): a keyed hash, so that who chooses the
 * object keys cannot choose collisions. */
#pragma once

#include "bytes.h"

struct hash_key {
    uint64_t k0, k1;
};

struct hash128 {
    uint64_t lo, hi;
};

void hash_key_random(struct hash_key *ret_key); /* from the kernel */
uint64_t hash64(const struct hash_key *key, struct bytes data);
struct hash128 hash128(const struct hash_key *key, struct bytes data);
