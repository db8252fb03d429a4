/* rng.c - xoshiro256** (Blackman and Vigna), seeded through splitmix64. */
#include "rng.h"

#include <sys/random.h>
#include <time.h>

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void rng_seed(struct rng *rng, uint64_t seed) {
    for (int i = 0; i < 4; i++)
        rng->s[i] = splitmix64(&seed);
}

void rng_seed_system(struct rng *rng) {
    if (getrandom(rng->s, sizeof rng->s, 0) == (ssize_t)sizeof rng->s)
        return; /* the one state it must not have is all zero: not in this universe's lifetime */
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    rng_seed(rng, (uint64_t)ts.tv_sec * UINT64_C(1000000000) ^ (uint64_t)ts.tv_nsec ^ (uint64_t)(uintptr_t)rng);
}

static uint64_t rotl(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *rng) {
    uint64_t *s = rng->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *rng, uint64_t bound) {
    if (bound == 0)
        return 0;
    uint64_t threshold = -bound % bound, value; /* values below it would be drawn too often */
    do
        value = rng_next(rng);
    while (value < threshold);
    return value % bound;
}

double rng_unit(struct rng *rng) {
    return (double)(rng_next(rng) >> 11) * 0x1.0p-53;
}
