/* fingerprints.h - a set of 128-bit hashes, each with a few bytes beside it: 20 to 30 bytes an entry when there is
 * nothing beside, 30 to 45 with eight bytes.
 *
 * The hashes must be well mixed (hash128 of base): their bits are used as they are. */
#pragma once

#include "hash.h"

#define FINGERPRINT_SHARDS 64

struct fingerprint_shard {
    char *entries;
    uint32_t cap, count;
};

/* Made of shards that grow and shrink one by one, so that growing never needs twice the memory at once nor takes long.
 */
struct fingerprints {
    struct fingerprint_shard shards[FINGERPRINT_SHARDS];
    size_t value_size; /* a multiple of 8 */
    size_t count;
};

void fingerprints_init(struct fingerprints *set, size_t value_size);
void fingerprints_free(struct fingerprints *set);
/* The value beside it (valid until the next add or remove); NULL when it is not in the set. */
void *fingerprints_find(const struct fingerprints *set, struct hash128 hash);
/* 0 with the place for the value, which is zeroed; -EEXIST; -ENOMEM. `ret_value` may be NULL. */
int fingerprints_add(struct fingerprints *set, struct hash128 hash, void **ret_value);
bool fingerprints_remove(struct fingerprints *set, struct hash128 hash); /* was it in the set? */
size_t fingerprints_bytes(const struct fingerprints *set);               /* of memory */
