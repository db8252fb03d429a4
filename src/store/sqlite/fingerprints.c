/* fingerprints.c - open addressing with linear probing and backward-shift deletion, at 53 to 80 percent load. */
#include "fingerprints.h"

#include "mem.h"

#include <errno.h>

#define CAP_MIN 16u
#define CAP_MAX (UINT32_MAX / 2)

void fingerprints_init(struct fingerprints *set, size_t value_size) {
    *set = (struct fingerprints){.value_size = value_size};
}

void fingerprints_free(struct fingerprints *set) {
    for (size_t i = 0; i < FINGERPRINT_SHARDS; i++)
        mem_free(set->shards[i].entries);
    fingerprints_init(set, set->value_size);
}

static size_t entry_size(const struct fingerprints *set) {
    return sizeof(struct hash128) + set->value_size;
}

static char *entry_at(const struct fingerprints *set, const struct fingerprint_shard *shard, uint32_t i) {
    return shard->entries + (size_t)i * entry_size(set);
}

static struct hash128 hash_at(const struct fingerprints *set, const struct fingerprint_shard *shard, uint32_t i) {
    struct hash128 hash;
    memcpy(&hash, entry_at(set, shard, i), sizeof hash);
    return hash;
}

static bool is_free(struct hash128 hash) {
    return hash.lo == 0 && hash.hi == 0;
}

/* All-zero marks a free place, so that one hash in 2^128 is bent a little. */
static struct hash128 usable(struct hash128 hash) {
    if (is_free(hash))
        hash.lo = 1;
    return hash;
}

static size_t shard_of(struct hash128 hash) {
    return hash.hi % FINGERPRINT_SHARDS;
}

/* Scales the hash to the capacity, which therefore need not be a power of two. */
static uint32_t home_of(struct hash128 hash, uint32_t cap) {
    return (uint32_t)(((hash.lo >> 32) * cap) >> 32);
}

static uint32_t next_of(uint32_t i, uint32_t cap) {
    return i + 1 == cap ? 0 : i + 1;
}

/* The place of the hash, or the free place where it belongs. */
static uint32_t probe(const struct fingerprints *set, const struct fingerprint_shard *shard, struct hash128 hash,
                      bool *ret_found) {
    uint32_t i = home_of(hash, shard->cap);
    for (;; i = next_of(i, shard->cap)) {
        struct hash128 there = hash_at(set, shard, i);
        if (there.lo == hash.lo && there.hi == hash.hi) {
            *ret_found = true;
            return i;
        }
        if (is_free(there)) {
            *ret_found = false;
            return i;
        }
    }
}

static int resize(const struct fingerprints *set, struct fingerprint_shard *shard, uint32_t cap) {
    struct fingerprint_shard bigger = {.cap = cap, .count = shard->count};
    bigger.entries = mem_calloc(cap, entry_size(set));
    if (!bigger.entries)
        return -ENOMEM;
    for (uint32_t i = 0; i < shard->cap; i++) {
        struct hash128 hash = hash_at(set, shard, i);
        if (is_free(hash))
            continue;
        bool found;
        uint32_t at = probe(set, &bigger, hash, &found);
        memcpy(entry_at(set, &bigger, at), entry_at(set, shard, i), entry_size(set));
    }
    mem_free(shard->entries);
    *shard = bigger;
    return 0;
}

void *fingerprints_find(const struct fingerprints *set, struct hash128 hash) {
    hash = usable(hash);
    const struct fingerprint_shard *shard = &set->shards[shard_of(hash)];
    if (shard->count == 0)
        return NULL;
    bool found;
    uint32_t at = probe(set, shard, hash, &found);
    return found ? entry_at(set, shard, at) + sizeof hash : NULL;
}

int fingerprints_add(struct fingerprints *set, struct hash128 hash, void **ret_value) {
    hash = usable(hash);
    struct fingerprint_shard *shard = &set->shards[shard_of(hash)];
    if ((uint64_t)(shard->count + 1) * 5 > (uint64_t)shard->cap * 4) {
        if (shard->cap >= CAP_MAX)
            return -ENOMEM;
        int r = resize(set, shard, shard->cap ? shard->cap + shard->cap / 2 : CAP_MIN);
        if (r < 0)
            return r;
    }
    bool found;
    uint32_t at = probe(set, shard, hash, &found);
    if (found)
        return -EEXIST;
    memcpy(entry_at(set, shard, at), &hash, sizeof hash);
    shard->count++;
    set->count++;
    if (ret_value)
        *ret_value = entry_at(set, shard, at) + sizeof hash;
    return 0;
}

bool fingerprints_remove(struct fingerprints *set, struct hash128 hash) {
    hash = usable(hash);
    struct fingerprint_shard *shard = &set->shards[shard_of(hash)];
    if (shard->count == 0)
        return false;
    bool found;
    uint32_t cap = shard->cap, hole = probe(set, shard, hash, &found);
    if (!found)
        return false;
    for (uint32_t i = next_of(hole, cap);; i = next_of(i, cap)) {
        struct hash128 there = hash_at(set, shard, i);
        if (is_free(there))
            break;
        uint32_t home = home_of(there, cap);
        uint32_t from_home = i >= home ? i - home : i + cap - home;
        uint32_t from_hole = i >= hole ? i - hole : i + cap - hole;
        if (from_home >= from_hole) {
            memcpy(entry_at(set, shard, hole), entry_at(set, shard, i), entry_size(set));
            hole = i;
        }
    }
    memset(entry_at(set, shard, hole), 0, entry_size(set));
    shard->count--;
    set->count--;
    if (shard->cap > 4 * CAP_MIN && (uint64_t)shard->count * 5 < shard->cap)
        (void)resize(set, shard, shard->cap / 2); /* without memory it stays as large as it is */
    return true;
}

size_t fingerprints_bytes(const struct fingerprints *set) {
    size_t bytes = 0;
    for (size_t i = 0; i < FINGERPRINT_SHARDS; i++)
        bytes += set->shards[i].cap * entry_size(set);
    return bytes;
}
