/* rng.h - random numbers for jitter, ids and tests (xoshiro256**). Not for secrets.
 *
 * Each holder has its own generator, so a test can seed it and see the same numbers again. Not thread-safe. */
#pragma once

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *rng, uint64_t seed); /* the same seed gives the same numbers */
void rng_seed_system(struct rng *rng);         /* from the kernel */
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t bound); /* uniform in [0, bound); 0 when bound is 0 */
double rng_unit(struct rng *rng);                    /* uniform in [0, 1) */
