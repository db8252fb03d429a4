/* sqlite_store.h - what the parts of the SQLite store share: the store itself and the work it keeps track of.
 *
 * As the file is held exclusively, whatever can be derived from it is kept in memory, and only what cannot be derived
 * is written:
 *
 *   in the file   workflows with their rules, lanes with their numbers, pages with which of their runs are left, runs
 *                 in trouble, what running ones gave to be kept, ended attempts, who was asked to end, used units of
 *                 rates, ticks, values, log lines
 *   in memory     turns, groups, what rules count (lanes.h), workers, tokens, leases, what is due when, and a
 *                 fingerprint of every live child key (16 bytes of keyed hash, exact but for a chance of 2^-128 a pair)
 *
 * So claims write nothing (but for rates, start_by and what they cancel), and after a crash what was leased is simply
 * queued again.
 *
 * A call changes memory first; what it changed of pages and numbers is written at the commit (one small row for each
 * page touched). There is no undoing: when anything fails the store takes nothing more (sqlite_store.c), and the next
 * open derives everything anew from what was committed. */
#pragma once

#include "db.h"
#include "fingerprints.h"
#include "lanes.h"
#include "lock.h"
#include "packing.h"
#include "store_ops.h"

/* What can be claimed: a page or a run in trouble. */
struct work {
    struct heap_link link;   /* in its lane's pages or retries, or in the store's `due` */
    struct list all;         /* in its lane's all_pages or all_retries */
    struct work *next_known; /* in the store's `known` */
    struct lane *lane;
    int64_t page;
    int64_t due_utc_us;
    uint16_t index; /* of a retry */
    bool retry;
    uint8_t priority;                                          /* of a page */
    enum work_place { WORK_OUT, WORK_DUE, WORK_QUEUED } place; /* in no heap, in `due`, in its lane's */
};

/* A page with live runs (neither settled nor in trouble). */
struct page {
    struct work work; /* first */
    struct page *next_dirty;
    struct deadline *deadline; /* NULL: it has no start_by */
    uint32_t cost;             /* what it will count for in the history's size */
    uint16_t n, live, queued;
    bool dirty;                                                                  /* `live` is not in the file yet */
    enum page_ended { PAGE_MAYBE_ENDED, PAGE_ENDED, PAGE_NONE_ENDED } ended : 8; /* has it rows in the table ended? */
    uint64_t bits[]; /* live, then queued: a bit for each run */
};

/* Of a page whose runs must be started by a time. */
struct deadline {
    struct heap_link link; /* in the store's `deadlines` while some run was never leased */
    struct page *page;
    int64_t start_by_utc_us;
    bool waits;      /* it is in there */
    uint64_t bits[]; /* runs that were leased once */
};

/* A run in trouble that is not parked. Parked ones are in the file only. */
struct retry {
    struct work work; /* first */
    bool leased;
};

struct worker {
    int64_t id;
    int64_t expires_mono_us, since_utc_us, heard_utc_us;
    uint32_t slots;
    struct list link;
    struct list holds;
    struct list asks; /* that it was not told yet: struct ask */
    size_t name_n;
    char name[];
};

/* A leased run that was asked to end. */
struct ask {
    int64_t page, lease;
    uint32_t index;
    bool driven_out;
    struct list link; /* in its worker's asks until that was told */
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

/* An attempt that ended and is to be written (history.c). What it points at must live until then. */
struct note {
    int64_t page;
    uint32_t order;
    struct packing_record record;
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
    struct err failed;        /* code 0: all is well */
    bool in_batch, own_batch; /* own_batch: begun by a call that needed one, and ended with it */

    struct hash_key hash_key;
    struct fingerprints live;   /* child keys of live and parked runs, with the WORK_PLACE of the run (uint64_t) */
    struct fingerprints parked; /* of parked runs, with struct parked */
    struct lanes lanes;
    struct work **known; /* all pages and retries, hashed by page and index */
    size_t known_cap, known_n;
    struct heap due;       /* delayed pages and waiting retries */
    struct heap deadlines; /* struct deadline */
    struct page *dirty_pages;
    struct lane *dirty_lanes;

    struct list workers;
    struct map leases;        /* id -> struct lease */
    struct lease *last_lease; /* that was looked up; settles come in runs */
    struct map asks;          /* page and index -> struct ask, owned */
    bool any_kept;            /* the table kept may have rows */
    uint64_t leased;
    int64_t
        next_id; /* of workers and leases: the epoch (opens so far) in the upper bits, so that none ever comes again */

    int64_t next_page, written_next_page; /* ids below the written one may be handed out without writing */
    int64_t next_log, first_log;

    int64_t history_us, history_bytes_max; /* history_us 0: none is kept */
    uint64_t history_bytes, history_runs;  /* as of now, and as the file has it */
    uint64_t written_history_bytes, written_history_runs;
    int64_t first_ended, next_ended; /* rows of the table ended */
    int64_t oldest_ended_utc_us;     /* when the first of them was made; 0: not known */
    uint64_t ended_added;            /* since history was tidied */
    struct note *notes;
    size_t n_notes, cap_notes;
    struct arena *notes_arena; /* copies that they point at; NULL: none */
};

/* ---- sqlite_store.c ---- */

/* For calls that may be made outside of a batch and turn out to need one: begins it; it is committed when the call
 * succeeds. */
int batch_need(struct sqlite_store *store, struct err *err);

/* ---- work.c: pages, retries, due times ---- */

/* Bits are all set. `start_by_utc_us` 0: none. NULL when memory runs out. Queue it with work_queue. */
struct page *page_new(struct sqlite_store *store, struct lane *lane, int64_t id, uint32_t n, int64_t not_before_utc_us,
                      int64_t start_by_utc_us, unsigned priority);
void page_free(struct sqlite_store *store, struct page *page); /* which must be in no heap but deadlines */
struct retry *retry_new(struct sqlite_store *store, struct lane *lane, int64_t page, uint32_t index,
                        int64_t due_utc_us);
void retry_free(struct sqlite_store *store, struct retry *retry);
struct page *page_find(const struct sqlite_store *store, int64_t page); /* NULL: it has no live runs */
struct retry *retry_find(const struct sqlite_store *store, int64_t page, uint32_t index);
struct heap work_heap_pages(void); /* empty ones */
struct heap work_heap_retries(void);
struct heap work_heap_due(void);
struct heap work_heap_deadlines(void);
uint64_t *page_live_bits(struct page *page);
uint64_t *page_queued_bits(struct page *page);
uint32_t page_words(const struct page *page);
/* Puts the page among the deadlines, or takes it out, as its runs are now. */
void page_deadline_changed(struct sqlite_store *store, struct page *page);

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
/* Where a run is, in eight bytes. */
#define WORK_PLACE(page_, index_) ((uint64_t)(page_) << 10 | (uint64_t)(index_))
#define WORK_PLACE_PAGE(place_) ((int64_t)((place_) >> 10))
#define WORK_PLACE_INDEX(place_) ((uint32_t)((place_)&1023))
/* Notes that a run has the child key; -EEXIST: one has it already, and that is left as it is. */
int work_take_key(struct sqlite_store *store, struct hash128 hash, uint64_t place);
/* Takes a child key (may be empty) out of the live ones. STORE_ERR_CORRUPT when it was not there. */
int work_forget_key(struct sqlite_store *store, const struct lane *lane, struct bytes child_key, struct err *err);
/* Reads the page's row; to be ended with db_done when it returns 0. Columns: input, metadata, items, created. */
int work_open_page(struct sqlite_store *store, int64_t page, struct db_use *use, struct packing_reader *reader,
                   struct err *err);

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

int leases_worker_add(struct sqlite_store *store, struct bytes name, uint32_t slots, int64_t *ret_worker,
                      struct err *err);
int leases_heartbeat(struct sqlite_store *store, int64_t worker, struct store_cancels *ret_cancels, struct err *err);
int leases_worker_remove(struct sqlite_store *store, int64_t worker, struct err *err);
int leases_expire(struct sqlite_store *store, struct err *err); /* takes back what silent workers hold */
void leases_free(struct sqlite_store *store);                   /* of all workers, at the end */

struct worker *leases_worker(const struct sqlite_store *store, int64_t id); /* NULL: unknown */
struct hold *leases_hold(const struct worker *worker, const struct lane *lane);
struct hold *leases_hold_new(struct worker *worker, struct lane *lane);
void leases_hold_tokens(struct hold *hold, uint32_t tokens);
void leases_hold_drop_empty(struct hold *hold); /* gives its tokens back when nothing is leased any more */
/* Leases the first n queued runs of a page (n <= queued), or a retry (n is 1). NULL when memory runs out. */
struct lease *leases_new(struct sqlite_store *store, struct hold *hold, struct work *work, uint32_t n);
/* The lease if it is the worker's and has this run unfinished; NULL otherwise. */
struct lease *leases_find(struct sqlite_store *store, int64_t worker, int64_t lease, uint32_t index);
/* The lease that has this run; NULL: none. Looks through those of the lane. */
struct lease *leases_of_run(const struct work *work, uint32_t index);
/* Takes the run out of the lease, and frees lease and hold when that was their last. */
void leases_finish(struct sqlite_store *store, struct lease *lease, uint32_t index);

/* ---- cancel.c: ends runs that no worker ends, and asks workers ---- */

/* Cancels those queued runs of the page whose bits are set. */
int cancel_queued(struct sqlite_store *store, struct page *page, const uint64_t *which, struct bytes reason,
                  struct err *err);
int cancel_queued_one(struct sqlite_store *store, struct page *page, uint32_t index, struct bytes reason,
                      struct err *err);
/* Ends a run in trouble that is not leased. `outcome`: CANCELLED, which counts as such, or FORGOTTEN. */
int cancel_retry(struct sqlite_store *store, struct retry *retry, enum store_outcome outcome, struct bytes reason,
                 struct err *err);
int cancel_parked(struct sqlite_store *store, struct lane *lane, int64_t page, uint32_t index,
                  enum store_outcome outcome, struct bytes reason, struct err *err);
/* Drops the row of a run in trouble; what it said is noted with the record, when history is kept. In *ret_key, if not
 * NULL, its child key, valid until history_write. */
int cancel_drop_row(struct sqlite_store *store, int64_t page, const struct packing_record *record,
                    struct bytes *ret_key, struct err *err);
/* Asks the worker that has the run leased; does nothing when it was asked before. */
int cancel_ask(struct sqlite_store *store, struct lease *lease, uint32_t index, bool driven_out, struct err *err);
struct ask *cancel_asked(const struct sqlite_store *store, int64_t page, uint32_t index); /* NULL: it was not */
/* To be called when the run is leased no more. *ret_asked: was it asked? */
int cancel_unask(struct sqlite_store *store, struct lane *lane, int64_t page, uint32_t index, bool *ret_asked,
                 struct err *err);
/* Cancels a run that was asked and is leased no more. */
int cancel_asked_one(struct sqlite_store *store, int64_t page, uint32_t index, bool driven_out, struct err *err);
/* At the open: cancels what was asked to end when the process ended. In a batch. */
int cancel_left_over(struct sqlite_store *store, struct err *err);
/* Cancels runs that were not started in time, some at once. */
int cancel_late(struct sqlite_store *store, int64_t now_utc_us, uint32_t *cancelled, struct err *err);
int cancel_late_page(struct sqlite_store *store, struct page *page, uint32_t *cancelled, struct err *err);
/* What CANCEL_IN_PROGRESS rules do when `more` runs of the page with this id are to come, that have these keys. Of
 * those *ret_own are too many themselves (the first ones). */
int cancel_drive_out(struct sqlite_store *store, const struct workflow *workflow, const struct bytes *keys,
                     int64_t page, uint32_t more, uint32_t *ret_own, struct store_spawned *spawned, struct err *err);
void cancel_free(struct sqlite_store *store);

/* ---- kept.c: what runs give to be kept while they run ---- */

/* Of a leased run, in a batch. */
int kept_put(struct sqlite_store *store, const struct work *work, const struct store_settled *settled, struct err *err);
int kept_drop(struct sqlite_store *store, int64_t page, uint32_t index, struct err *err); /* it ended */
/* A run of a page that is queued again gets a row of its own with what was kept of it, if anything was. */
int kept_requeue_one(struct sqlite_store *store, struct page *page, uint32_t index, int64_t now_utc_us,
                     struct err *err);
/* Likewise all that are not leased; of those that ended meanwhile it is dropped. Begins a batch if need be. */
int kept_requeue(struct sqlite_store *store, struct err *err);

/* ---- history.c ---- */

/* Notes an attempt that ended; what it points at must live until history_write. Does nothing when none is kept. */
int history_note(struct sqlite_store *store, int64_t page, const struct packing_record *record);
/* A copy that lives until history_write. */
int history_copy(struct sqlite_store *store, struct bytes data, struct bytes *ret_copy);
/* Writes what was noted, all ended by this worker (may be empty) now. In a batch. */
int history_write(struct sqlite_store *store, struct bytes worker, struct err *err);
/* The page's last live run is gone: is its row kept? */
int history_page_ended(struct sqlite_store *store, struct page *page, bool *ret_keep, struct err *err);
void history_page_added(struct sqlite_store *store, uint64_t cost); /* a page that ended as it came */
int history_tidy(struct sqlite_store *store, struct err *err);      /* a piece; in a batch */
int history_flush(struct sqlite_store *store, struct err *err);     /* writes the sums */
void history_free(struct sqlite_store *store);

/* ---- idle.c: lanes without runs ---- */

int idle_load(struct sqlite_store *store);                  /* after all was read */
void idle_note(struct sqlite_store *store);                 /* before numbers of lanes are written */
int idle_tidy(struct sqlite_store *store, struct err *err); /* a piece; in a batch, when history is tidied */

/* ---- the calls ---- */

/* load.c */
int load_all(struct sqlite_store *store, struct err *err); /* derives memory from the file */
int load_new_workflow(struct sqlite_store *store, struct bytes name, struct workflow **ret_workflow);
/* spawn.c */
int workflow_put(struct sqlite_store *store, struct bytes name, const struct store_rule *rules, size_t n_rules,
                 int64_t *ret_workflow, struct err *err);
int workflow_pause(struct sqlite_store *store, struct bytes name, bool paused, struct err *err);
int page_reserve(struct sqlite_store *store, int64_t *ret_page, struct err *err);
int spawn_page(struct sqlite_store *store, const struct store_page *page, struct store_spawned *ret_spawned,
               struct err *err);
int claim_runs(struct sqlite_store *store, const struct store_claim *claim, struct store_claimed *ret_claimed,
               struct err *err);
int settle_runs(struct sqlite_store *store, int64_t worker, const struct store_settled *settled, size_t n,
                size_t *ret_ignored, struct err *err);

/* infos.c. *ret_stop here and below: what a callback stopped with. */
int infos_lanes(struct sqlite_store *store, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                int *ret_stop, struct err *err);
int infos_lane(struct sqlite_store *store, int64_t lane, struct store_lane_info *ret_info, struct err *err);
int infos_workflows(struct sqlite_store *store, int (*each)(void *arg, const struct store_workflow_info *info),
                    void *arg, int *ret_stop, struct err *err);
int infos_workers(struct sqlite_store *store, int (*each)(void *arg, const struct store_worker_info *info), void *arg,
                  int *ret_stop, struct err *err);

/* runs.c */
int runs_each(struct sqlite_store *store, const struct store_runs_filter *filter,
              int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop, struct err *err);
int run_get(struct sqlite_store *store, int64_t page, uint32_t index,
            int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop, struct err *err);
int attempts_each(struct sqlite_store *store, int64_t page, uint32_t index,
                  int (*each)(void *arg, const struct store_attempt *attempt), void *arg, int *ret_stop,
                  struct err *err);
int run_cancel(struct sqlite_store *store, int64_t page, uint32_t index, enum store_state *ret_state, struct err *err);

/* notes.c: ticks, values, log lines. */
int notes_tick(struct sqlite_store *store, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err);
int notes_tick_last(struct sqlite_store *store, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err);
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
void parked_unremember(struct sqlite_store *store, const struct lane *lane, struct bytes child_key);

/* check.c */
int check_all(struct sqlite_store *store, struct err *err);
