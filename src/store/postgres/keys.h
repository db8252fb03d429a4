/* keys.h - which child keys are live: per workflow, in memory, a fingerprint of each with where its run is.
 *
 * A fingerprint is 128 bits of keyed hash, so two keys are told apart but for a chance of 2^-128 a pair. What is here
 * is a superset of what is live: a hit is looked up under the lock, and a stale one passed over. Under the lock a set
 * learns the pages that others made since (their ids are handed out in order). What a batch adds and removes is kept
 * beside the set until the batch is committed. */
#pragma once

#include "fingerprints.h"

#define KEYS_PLACE(page_, index_) ((uint64_t)(page_) << 10 | (uint64_t)(index_))
#define KEYS_PAGE(place_) ((int64_t)((place_) >> 10))
#define KEYS_INDEX(place_) ((uint32_t)((place_)&1023))

struct keys_removed {
    struct hash128 hash;
    uint64_t place;
};

struct keyset {
    int64_t workflow;
    struct fingerprints main, added;
    struct keys_removed *removed;
    size_t n_removed, cap_removed;
    int64_t synced;  /* pages with smaller numbers are known; 0: none was read yet */
    int64_t read_to; /* while all is read: the last page */
    bool fresh;      /* knows all that the batch sees */
    bool asked;      /* what is new is being read */
    size_t tidy_at;  /* at so many entries, those of finished pages are dropped */
};

struct keys {
    struct keyset **sets; /* by workflow id - 1 */
    size_t n;
};

void keys_free(struct keys *keys);
struct keyset *keys_set(struct keys *keys, int64_t workflow);         /* NULL: no memory */
struct keyset *keys_known(const struct keys *keys, int64_t workflow); /* NULL: there is none */
/* Where the run with the key is, or was; 0: nowhere. */
uint64_t keys_find(const struct keyset *set, struct hash128 hash);
int keys_add(struct keyset *set, struct hash128 hash, uint64_t place);   /* by this batch */
int keys_learn(struct keyset *set, struct hash128 hash, uint64_t place); /* what is committed */
int keys_remove(struct keyset *set, struct hash128 hash, uint64_t place);
void keys_unadd(struct keyset *set, struct hash128 hash);
/* The batch is committed, and page numbers go on with next_page; or it is gone. */
int keys_commit(struct keys *keys, int64_t next_page);
void keys_rollback(struct keys *keys);
/* The pages that the set knows, ascending, each once; the caller's (mem_free). */
int keys_pages(const struct keyset *set, int64_t **ret_pages, size_t *ret_n);
void keys_drop_pages(struct keyset *set, const int64_t *pages, size_t n); /* ascending */
