/* sqlite_store.h - what the parts of the SQLite store share: the store itself and the work it keeps track of.
 *
 * As the file is held exclusively, whatever can be derived from it is kept in memory, and only what cannot be derived
 * is written:
 *
 *   in the file   workflows with their rules, lanes with their numbers, pages with which of their runs are left, runs
 * in trouble, ticks, values, log lines in memory     turns, groups, what rules count (lanes.h), workers, tokens,
 * leases, what is due when, and a fingerprint of every live child key (16 bytes of keyed hash, exact but for a chance
 * of 2^-128 a pair)
 *
 * So claims write nothing, and after a crash what was leased is simply queued again.
 *
 * A call changes memory first; what it changed of pages and numbers is written at the commit (one small row for each
 * page touched). There is no undoing: when anything fails the store takes nothing more (sqlite_store.c), and the next
 * open derives everything anew from what was committed. */
#pragma once

#include "db.h"
#include "fingerprints.h"
#include "lanes.h"
#include "lock.h"
#include "store_ops.h"

/* What can be claimed: a page or a run in trouble. */
struct work {
    struct heap_link link; /* in its lane's pages or retries, or in the store's `due` */
    struct list all;       /* in the store's pages or retries */
    struct lane *lane;
    int64_t page;
    int64_t due_utc_us;
    uint32_t index; /* of a retry */
    bool retry;
    enum { WORK_OUT, WORK_DUE, WORK_QUEUED } place; /* in no heap, in `due`, in its lane's */
};

/* A page with live runs (neither settled nor in trouble). */
struct page {
    struct work work; /* first */
    struct page *next_dirty;
    bool dirty;    /* `live` is not in the file yet */
    bool has_live; /* it has a row in the table live */
    uint16_t n, live, queued;
    uint64_t bits[]; /* live, then queued: a bit for each run */
};

/* A run in trouble that is not parked. Parked ones are in the file only. */
struct retry {
    struct work work; /* first */
    bool leased;
};

struct worker {
    int64_t id;
    int64_t expires_mono_us;
    struct list link;
    struct list holds;
};

/* A worker's tokens on a lane. There as long as it has leased runs of it. */
struct hold {
    struct worker *worker;
    struct lane *lane;
    uint32_t tokens;
    uint32_t leased;
    struct list of_worker, of_lane;
    struct list leases;
};

struct lease {
    int64_t id;
    struct hold *hold;
    struct list link;
    struct work *work;
    uint32_t left;
    uint32_t first; /* the index of bit 0, a multiple of 64; of a retry: its index */
    uint32_t words;
    uint64_t bits[]; /* unfinished runs */
};

struct parked { /* beside a fingerprint */
    int64_t page;
    uint32_t index, unused;
};

struct sqlite_store {
    struct store store; /* first */
    struct db db;
    struct lock lock;
    char *description;
    const struct clock *clock;
    int64_t lease_us;
    uint64_t recovered;
    struct err failed; /* code 0: all is well */
    bool in_batch;

    struct hash_key hash_key;
    struct fingerprints live;   /* child keys of live and parked runs */
    struct fingerprints parked; /* of parked runs, with struct parked */
    struct lanes lanes;
    struct list pages, retries;
    struct heap due; /* delayed pages and waiting retries */
    struct page *dirty_pages;
    struct lane *dirty_lanes;

    struct list workers;
    struct map leases;        /* id -> struct lease */
    struct lease *last_lease; /* that was looked up; settles come in runs */
    uint64_t leased;
    int64_t
        next_id; /* of workers and leases: the epoch (opens so far) in the upper bits, so that none ever comes again */

    int64_t next_page, written_next_page;
    int64_t next_log, first_log;
};

/* ---- work.c: pages, retries, due times ---- */

/* Bits are all set. NULL when memory runs out. Queue it with work_queue. */
struct page *page_new(struct sqlite_store *store, struct lane *lane, int64_t id, uint32_t n, int64_t not_before_utc_us);
void page_free(struct sqlite_store *store, struct page *page); /* which must be in no heap */
struct retry *retry_new(struct sqlite_store *store, struct lane *lane, int64_t page, uint32_t index,
                        int64_t due_utc_us);
void retry_free(struct sqlite_store *store, struct retry *retry);
struct heap work_heap_pages(void); /* empty ones */
struct heap work_heap_retries(void);
struct heap work_heap_due(void);
uint64_t *page_live_bits(struct page *page);
uint64_t *page_queued_bits(struct page *page);
uint32_t page_words(const struct page *page);

/* Puts work that is in no heap where it belongs now: into its lane's heap, or into `due`. */
void work_queue(struct sqlite_store *store, struct work *work, int64_t now_utc_us);
void work_unqueue(struct sqlite_store *store, struct work *work);
/* Moves what has become due to its lane. */
void work_promote(struct sqlite_store *store, int64_t now_utc_us);

void work_page_dirty(struct sqlite_store *store, struct page *page);
void work_lane_dirty(struct sqlite_store *store, struct lane *lane);
/* Writes what memory is ahead of the file. In a batch. */
int work_flush(struct sqlite_store *store, struct err *err);

struct hash128 work_fingerprint(const struct workflow *workflow, struct bytes child_key);
/* Takes a child key (may be empty) out of the live ones. STORE_ERR_CORRUPT when it was not there. */
int work_forget_key(struct sqlite_store *store, const struct lane *lane, struct bytes child_key, struct err *err);

static inline bool bit_get(const uint64_t *bits, uint32_t i) {
    return bits[i / 64] >> (i % 64) & 1;
}
static inline void bit_set(uint64_t *bits, uint32_t i) {
    bits[i / 64] |= UINT64_C(1) << (i % 64);
}
static inline void bit_clear(uint64_t *bits, uint32_t i) {
    bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* ---- leases.c: workers, tokens, leases ---- */

int leases_worker_add(struct sqlite_store *store, struct bytes name, int64_t *ret_worker, struct err *err);
int leases_heartbeat(struct sqlite_store *store, int64_t worker, struct err *err);
int leases_worker_remove(struct sqlite_store *store, int64_t worker, struct err *err);
void leases_expire(struct sqlite_store *store); /* takes back what silent workers hold */
void leases_free(struct sqlite_store *store);   /* of all workers, at the end */

struct worker *leases_worker(const struct sqlite_store *store, int64_t id); /* NULL: unknown */
struct hold *leases_hold(const struct worker *worker, const struct lane *lane);
struct hold *leases_hold_new(struct worker *worker, struct lane *lane);
void leases_hold_tokens(struct hold *hold, uint32_t tokens);
void leases_hold_drop_empty(struct hold *hold); /* gives its tokens back when nothing is leased any more */
/* Leases the first n queued runs of a page (n <= queued), or a retry (n is 1). NULL when memory runs out. */
struct lease *leases_new(struct sqlite_store *store, struct hold *hold, struct work *work, uint32_t n);
/* The lease if it is the worker's and has this run unfinished; NULL otherwise. */
struct lease *leases_find(struct sqlite_store *store, int64_t worker, int64_t lease, uint32_t index);
/* Takes the run out of the lease, and frees lease and hold when that was their last. */
void leases_finish(struct sqlite_store *store, struct lease *lease, uint32_t index);

/* ---- the calls ---- */

/* load.c */
int load_all(struct sqlite_store *store, struct err *err); /* derives memory from the file */
int load_new_workflow(struct sqlite_store *store, struct bytes name, struct workflow **ret_workflow);
int workflow_put(struct sqlite_store *store, struct bytes name, const struct store_rule *rules, size_t n_rules,
                 int64_t *ret_workflow, struct err *err);
int spawn_page(struct sqlite_store *store, const struct store_page *page, struct store_spawned *ret_spawned,
               struct err *err);
int claim_runs(struct sqlite_store *store, const struct store_claim *claim, struct store_claimed *ret_claimed,
               struct err *err);
int settle_runs(struct sqlite_store *store, int64_t worker, const struct store_settled *settled, size_t n,
                size_t *ret_ignored, struct err *err);

/* notes.c: ticks, values, log lines. *ret_stop: what a callback stopped with. */
int notes_tick(struct sqlite_store *store, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err);
int notes_value_put(struct sqlite_store *store, struct bytes name, struct bytes value, struct err *err);
int notes_value_get(struct sqlite_store *store, struct bytes name, struct buf *ret_value, bool *ret_found,
                    struct err *err);
int notes_log_add(struct sqlite_store *store, int64_t page, uint32_t index, int level, struct bytes text,
                  struct err *err);
int notes_log_each(struct sqlite_store *store, int64_t page, uint32_t index,
                   int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                   void *arg, int *ret_stop, struct err *err);

/* parked.c */
int parked_each(struct sqlite_store *store, const struct store_parked_filter *filter,
                int (*each)(void *arg, const struct store_parked *parked), void *arg, int *ret_stop, struct err *err);
int parked_retry(struct sqlite_store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                 struct err *err);
int parked_drop(struct sqlite_store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                struct err *err);
/* Notes where the parked run with a child key is, in memory. */
int parked_remember(struct sqlite_store *store, const struct lane *lane, struct bytes child_key, int64_t page,
                    uint32_t index);
/* Forgets one, as when it gives way to a new generation. */
int parked_forget(struct sqlite_store *store, struct lane *lane, struct bytes child_key, int64_t page, uint32_t index,
                  struct err *err);

/* check.c */
int check_all(struct sqlite_store *store, struct err *err);
