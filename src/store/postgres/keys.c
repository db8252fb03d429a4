/* keys.c - see keys.h. */
#include "keys.h"

#include "mem.h"

#include <errno.h>

#define TIDY_LEAST 65536

void keys_free(struct keys *keys) {
    for (size_t i = 0; i < keys->n; i++) {
        struct keyset *set = keys->sets[i];
        if (!set)
            continue;
        fingerprints_free(&set->main);
        fingerprints_free(&set->added);
        mem_free(set->removed);
        mem_free(set);
    }
    mem_free(keys->sets);
    *keys = (struct keys){0};
}

struct keyset *keys_known(const struct keys *keys, int64_t workflow) {
    return (uint64_t)workflow <= keys->n ? keys->sets[workflow - 1] : NULL;
}

struct keyset *keys_set(struct keys *keys, int64_t workflow) {
    size_t at = (size_t)workflow - 1;
    if (at >= keys->n) {
        size_t n = at + 8;
        struct keyset **sets = mem_reallocarray(keys->sets, n, sizeof *sets);
        if (!sets)
            return NULL;
        memset(sets + keys->n, 0, (n - keys->n) * sizeof *sets);
        keys->sets = sets;
        keys->n = n;
    }
    if (!keys->sets[at]) {
        struct keyset *set = mem_zalloc(sizeof *set);
        if (!set)
            return NULL;
        fingerprints_init(&set->main, sizeof(uint64_t));
        fingerprints_init(&set->added, sizeof(uint64_t));
        set->tidy_at = TIDY_LEAST;
        set->workflow = workflow;
        keys->sets[at] = set;
    }
    return keys->sets[at];
}

uint64_t keys_find(const struct keyset *set, struct hash128 hash) {
    const uint64_t *place = set->added.count ? fingerprints_find(&set->added, hash) : NULL;
    if (!place)
        place = fingerprints_find(&set->main, hash);
    return place ? *place : 0;
}

static int put(struct fingerprints *set, struct hash128 hash, uint64_t place) {
    void *at = fingerprints_find(set, hash);
    int r = at ? 0 : fingerprints_add(set, hash, &at);
    if (r == 0)
        *(uint64_t *)at = place;
    return r;
}

int keys_add(struct keyset *set, struct hash128 hash, uint64_t place) {
    return put(&set->added, hash, place);
}

void keys_unadd(struct keyset *set, struct hash128 hash) {
    fingerprints_remove(&set->added, hash);
}

int keys_learn(struct keyset *set, struct hash128 hash, uint64_t place) {
    return put(&set->main, hash, place);
}

int keys_remove(struct keyset *set, struct hash128 hash, uint64_t place) {
    if (set->n_removed == set->cap_removed) {
        size_t cap = set->cap_removed ? set->cap_removed * 2 : 1024;
        struct keys_removed *removed = mem_reallocarray(set->removed, cap, sizeof *removed);
        if (!removed)
            return -ENOMEM;
        set->removed = removed;
        set->cap_removed = cap;
    }
    set->removed[set->n_removed++] = (struct keys_removed){hash, place};
    return 0;
}

static void remove_one(struct keyset *set, const struct keys_removed *removed) {
    const uint64_t *place = fingerprints_find(&set->main, removed->hash);
    if (place && *place == removed->place)
        fingerprints_remove(&set->main, removed->hash);
}

/* The entries of a set one by one; see fingerprints.h for how they lie. */
static bool next_entry(const struct fingerprints *set, size_t *shard, uint32_t *at, struct hash128 *ret_hash,
                       uint64_t *ret_place) {
    for (; *shard < FINGERPRINT_SHARDS; (*shard)++, *at = 0) {
        const struct fingerprint_shard *one = &set->shards[*shard];
        while (*at < one->cap) {
            const char *entry = one->entries + (size_t)(*at)++ * (sizeof *ret_hash + sizeof *ret_place);
            memcpy(ret_hash, entry, sizeof *ret_hash);
            memcpy(ret_place, entry + sizeof *ret_hash, sizeof *ret_place);
            if (ret_hash->lo || ret_hash->hi)
                return true;
        }
    }
    return false;
}

int keys_commit(struct keys *keys, int64_t next_page) {
    int r = 0;
    for (size_t i = 0; i < keys->n; i++) {
        struct keyset *set = keys->sets[i];
        if (!set)
            continue;
        for (size_t j = 0; j < set->n_removed; j++)
            remove_one(set, &set->removed[j]);
        struct hash128 hash;
        uint64_t place;
        size_t shard = 0;
        uint32_t at = 0;
        while (r == 0 && set->added.count && next_entry(&set->added, &shard, &at, &hash, &place))
            r = put(&set->main, hash, place);
        /* What was spawned and settled in the same batch. */
        for (size_t j = 0; j < set->n_removed && set->added.count; j++)
            remove_one(set, &set->removed[j]);
        if (set->fresh)
            set->synced = next_page;
    }
    keys_rollback(keys);
    return r;
}

void keys_rollback(struct keys *keys) {
    for (size_t i = 0; i < keys->n; i++) {
        struct keyset *set = keys->sets[i];
        if (!set)
            continue;
        set->n_removed = 0;
        set->fresh = set->asked = false;
        if (set->added.count)
            fingerprints_free(&set->added);
    }
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

int keys_pages(const struct keyset *set, int64_t **ret_pages, size_t *ret_n) {
    int64_t *pages = mem_calloc(set->main.count + 1, sizeof *pages);
    if (!pages)
        return -ENOMEM;
    struct hash128 hash;
    uint64_t place;
    size_t shard = 0, n = 0, kept = 0;
    uint32_t at = 0;
    while (next_entry(&set->main, &shard, &at, &hash, &place))
        pages[n++] = KEYS_PAGE(place);
    qsort(pages, n, sizeof *pages, by_value);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || pages[kept - 1] != pages[i])
            pages[kept++] = pages[i];
    *ret_pages = pages;
    *ret_n = kept;
    return 0;
}

void keys_drop_pages(struct keyset *set, const int64_t *pages, size_t n) {
    size_t n_hashes = 0;
    struct hash128 *hashes = mem_calloc(set->main.count + 1, sizeof *hashes), hash;
    uint64_t place;
    size_t shard = 0;
    uint32_t at = 0;
    while (hashes && next_entry(&set->main, &shard, &at, &hash, &place)) {
        int64_t page = KEYS_PAGE(place);
        if (bsearch(&page, pages, n, sizeof *pages, by_value))
            hashes[n_hashes++] = hash;
    }
    for (size_t i = 0; i < n_hashes; i++)
        fingerprints_remove(&set->main, hashes[i]);
    mem_free(hashes); /* without memory it stays as it is */
    set->tidy_at = set->main.count * 2 > TIDY_LEAST ? set->main.count * 2 : TIDY_LEAST;
}
