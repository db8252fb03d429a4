/* hash.c - SipHash-2-4. */
#include "hash.h"

#include "rng.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as they lie in memory");

static uint64_t rotl(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

#define SIP_ROUND                                            \
    do {                                                     \
        v0 += v1, v1 = rotl(v1, 13) ^ v0, v0 = rotl(v0, 32); \
        v2 += v3, v3 = rotl(v3, 16) ^ v2;                    \
        v0 += v3, v3 = rotl(v3, 21) ^ v0;                    \
        v2 += v1, v1 = rotl(v1, 17) ^ v2, v2 = rotl(v2, 32); \
    } while (0)

static struct hash128 siphash(const struct hash_key *key, struct bytes data, bool wide) {
    uint64_t v0 = key->k0 ^ UINT64_C(0x736f6d6570736575), v1 = key->k1 ^ UINT64_C(0x646f72616e646f6d);
    uint64_t v2 = key->k0 ^ UINT64_C(0x6c7967656e657261), v3 = key->k1 ^ UINT64_C(0x7465646279746573);
    if (wide)
        v1 ^= 0xee;
    size_t whole = data.n / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t m;
        memcpy(&m, data.p + i, 8);
        v3 ^= m;
        SIP_ROUND;
        SIP_ROUND;
        v0 ^= m;
    }
    uint64_t last = (uint64_t)data.n << 56;
    for (size_t i = whole; i < data.n; i++)
        last |= (uint64_t)(unsigned char)data.p[i] << (8 * (i - whole));
    v3 ^= last;
    SIP_ROUND;
    SIP_ROUND;
    v0 ^= last;
    v2 ^= wide ? 0xee : 0xff;
    for (int i = 0; i < 4; i++)
        SIP_ROUND;
    struct hash128 out = {.lo = v0 ^ v1 ^ v2 ^ v3, .hi = 0};
    if (wide) {
        v1 ^= 0xdd;
        for (int i = 0; i < 4; i++)
            SIP_ROUND;
        out.hi = v0 ^ v1 ^ v2 ^ v3;
    }
    return out;
}

uint64_t hash64(const struct hash_key *key, struct bytes data) {
    return siphash(key, data, false).lo;
}

struct hash128 hash128(const struct hash_key *key, struct bytes data) {
    return siphash(key, data, true);
}

void hash_key_random(struct hash_key *ret_key) {
    struct rng rng;
    rng_seed_system(&rng);
    *ret_key = (struct hash_key){rng_next(&rng), rng_next(&rng)};
}
