/* seed.h - many objects at once, with made-up bodies that share memory. */
#pragma once

#include "server.h"

#define SEED_COUNT_MAX 100000000
#define SEED_VARIANTS 16 /* bodies of one size that differ: fewer for large ones */

struct seed {
    struct bytes bucket, prefix, region; /* region empty: the server's */
    uint64_t count, size, start;
};

/* Puts `<prefix><8 digits>` for start, start + 1, ... Bodies depend on size and number alone. -EINVAL, -ENOSPC, -ENOMEM
 * with a text; what was put before stays. */
int seed_run(struct mock *mock, const struct seed *seed, struct err *err);
