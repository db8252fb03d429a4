/* postgres_store.h - what the parts of the PostgreSQL store share.
 *
 * One writer at a time. A batch begins with the lock on the one row of `meta` and holds it until its COMMIT, so all
 * batches of all processes are one after the other, and what a batch reads is true until it ends. That keeps claims,
 * deduplication and counters as simple as in one process. To keep the lock short, everything is sent in pipelines: what
 * a batch changes is only queued (store.h lets results come as late as store_commit), and then
 *
 *     BEGIN; lock; read what is needed         one round trip
 *     write; COMMIT                            another
 *
 * Who writes alone sends a batch as a whole, in one round trip (optimistic.c), and if it is about one run as one
 * statement (join.h).
 *
 * While others are seen to write, the COMMIT itself does not wait for the disk: a second, empty transaction in the same
 * pipeline does (SQL_FLUSH), after the lock is free. So the fsyncs of many processes share the disk, and yet nothing is
 * acknowledged before it is durable: whatever was committed before is earlier in the same log. Who writes alone has
 * nobody to let in, and does with one transaction.
 *
 * Memory has a copy of the small tables that decide who may run what (sched.h) and, for deduplication, fingerprints of
 * child keys (keys.h). Each batch has a number, and a row (table batch) that says which lanes it changed: under the
 * lock a store reads what changed since its last one. That row also tells, when the answer to a COMMIT was lost,
 * whether it took effect. A batch that is lost leaves memory wrong: it is read anew.
 *
 * Nothing of this needs a session: parameters are set for one transaction, locks end with it. So PgBouncer's
 * transaction mode does; there only LISTEN does not work, and froe polls. */
#pragma once

#include "arena.h"
#include "keys.h"
#include "place.h"
#include "rng.h"
#include "rows.h"
#include "sched.h"
#include "store_ops.h"
#include "wire.h"

#define ANSWER_US (15 * US_PER_S) /* how long the server may take for anything */
#define CONNECT_US (US_PER_S)     /* to connect again, at first; up to eight times as much when that did not do */

/* The row of `meta`, as the lock found it and as the batch leaves it. */
struct meta {
    int64_t batch, next_page, next_id, next_lane, next_workflow, turn, next_log, first_log, history_runs, history_bytes;
};

struct listener;
struct postgres_store;

/* What the server was asked by a claim about times; 0: none. */
struct look {
    int64_t worker; /* the one that claimed */
    int64_t retry_due, delayed_due, start_due, expires, own_expires;
};

static inline int64_t pg_earlier(int64_t a, int64_t b) {
    return a == 0 || (b && b < a) ? b : a;
}

/* What is known of the newest batch, our own: valid while its number is meta's. See optimistic.c. */
struct known {
    int64_t batch, look_batch; /* of rows, of the look; 0: nothing is known */
    struct rows rows;
    struct look look;
};

/* A statement to be sent at the next pg_load, and what takes its answer in. */
typedef int pg_absorb_fn(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err);
struct want {
    enum sql_statement statement;
    struct args args;
    pg_absorb_fn *absorb;
    void *arg;
    PGresult *answer, **keep; /* keep: whose the answer is when it was taken in */
    struct want *next;
};

struct op {
    enum { OP_SPAWN, OP_SETTLE } kind;
    const struct store_page *page;
    struct store_spawned *ret_spawned;
    struct hash128 *hashes;  /* of the page's items that have child keys; owned */
    struct page_ids *unread; /* pages that such keys may be in; owned */
    int64_t worker;
    const struct store_settled *settled;
    size_t n;
    size_t *ret_ignored;
};

struct worker_name {
    int64_t id;
    char *name;
    size_t name_n;
    bool ours;    /* added by this store: removed when it closes */
    int64_t told; /* the newest cancellation that a heartbeat has told of */
};

struct postgres_store {
    struct store store; /* first */
    struct place place;
    struct sql sql;
    struct wire wire;
    char *description;
    const struct clock *own_clock; /* NULL: the server's, as it must be; a test's */
    int64_t lease_us, history_us, history_bytes;
    int64_t answer_us; /* ANSWER_US, but for tests */
    bool repeats;      /* the caller does on STORE_ERR_AGAIN */
    struct err failed; /* code 0: all is well */
    struct rng rng;
    char session_text[33]; /* random, in hex */
    struct listener *listener;
    uint64_t failures; /* to connect, in a row */

    bool in_batch;     /* store_begin was called */
    bool locked;       /* its transaction is open on the server, */
    bool optimistic;   /* or is going to be, as nobody else is likely to write before */
    bool stale;        /* memory is to be read anew */
    bool changed;      /* rows were written in this transaction */
    bool meta_changed; /* numbers were taken */
    unsigned others;   /* how often others were seen to write lately */
    uint64_t loads;    /* round trips to read, so far */
    struct meta meta;
    int64_t locked_next_page;        /* as the lock found it */
    int64_t now_utc_us, now_mono_us; /* the server's time at the lock, and ours */
    int64_t *changed_lanes;          /* that this batch has written */
    size_t n_changed_lanes, cap_changed_lanes;

    struct sched sched;
    int64_t synced;                   /* the batch that memory is as of */
    char synced_id[16], batch_id[16]; /* of that batch; of the one that is being committed. Random */
    struct keys keys;
    struct page_cache *cache; /* NULL: empty */
    struct rows rows;
    struct known known;
    struct op *ops;
    size_t n_ops, cap_ops;
    bool running; /* what is queued is being done */
    bool holding; /* writes are held back, as what goes before them depends on them */
    struct want *wants, **wants_end, *last_want;
    bool want_failed;
    struct args **sent; /* parameters of writes on their way */
    size_t n_sent, cap_sent;
    struct worker_name *workers;
    size_t n_workers, cap_workers;
    int64_t *reserved, *used; /* page ids that we reserved and nobody has used; that this batch uses */
    size_t n_reserved, cap_reserved, n_used, cap_used;

    uint64_t finished_pages, commits; /* since the last tidying */
    size_t next_idle;                 /* the place of the lane that tidying looks at next */
    int64_t oldest_past_utc_us;       /* of the history there is nothing older; 0: not known */
    int64_t tidied_mono_us, trimmed_mono_us, trim_batch;
};

static inline struct postgres_store *pg_of(struct store *store) {
    return (struct postgres_store *)(void *)store;
}

/* ---- batch.c ---- */

/* Memory is as of this batch, which has this id. */
int pg_synced(struct postgres_store *store, int64_t batch, struct bytes id, struct err *err);
/* Begins with: connects, and reads memory if it is stale. In a batch or for a call outside of one. */
int pg_connect(struct postgres_store *store, struct err *err);
/* The parameter that NOW stands for in statements: the server's time, but for tests. */
void pg_args_now(const struct postgres_store *store, struct args *args);
void pg_set_now(struct postgres_store *store, int64_t now_utc_us); /* as the server says */
int64_t pg_now(const struct postgres_store *store);                /* the server's time by now, as far as we can tell */
/* Takes the lock if need be, writes what is dirty, and answers all wants. */
int pg_load(struct postgres_store *store, struct err *err);
/* Answers all wants without the lock, from what is committed. Memory is brought up to date before. */
int pg_look(struct postgres_store *store, struct err *err);
/* Does all that is queued; afterwards nothing waits but writing. Takes the lock. The caller's wants will see what was
 * done; */
int pg_run_ops(struct postgres_store *store, struct err *err);
/* or they are answered by what was before. There is something queued, and it is not being done. */
int pg_run_ops_with_wants(struct postgres_store *store, struct err *err);
/* Writes, commits, and makes it durable; or only ends the transaction when nothing was changed. */
int pg_commit(struct postgres_store *store, struct err *err);
/* The batch is gone. */
void pg_drop_batch(struct postgres_store *store);
int pg_corrupt(struct postgres_store *store, struct err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Lease ids are even for ranges of pages and odd for runs in trouble, so that a settle knows what to read. */
#define LEASE_IS_RETRY(id_) ((id_)&1)
static inline int64_t pg_next_id(struct postgres_store *store) {
    store->meta_changed = true;
    return store->meta.next_id++;
}

/* ---- wants.c ---- */

/* A want to be filled in with args_*; NULL never: without memory the next pg_load fails. */
struct args *pg_want(struct postgres_store *store, enum sql_statement statement, pg_absorb_fn *absorb, void *arg);
/* The answer to the last want is the caller's afterwards. */
void pg_want_keep(struct postgres_store *store, PGresult **keep);
void pg_free_wants(struct postgres_store *store);
struct args *pg_write(struct postgres_store *store); /* parameters that live until the next answer; NULL: no memory */
void pg_forget_sent(struct postgres_store *store);   /* all that pg_write gave, after that answer */

/* ---- optimistic.c ---- */

/* Begins the batch without the lock if that is likely to do. Before its first statement. */
void pg_begin_optimistic(struct postgres_store *store);
/* Takes the lock after all, or fails with STORE_ERR_AGAIN when there was another batch. */
void pg_send_lock_same(struct postgres_store *store, struct args *args, PGresult **ret_answer);
void pg_keep_known(struct postgres_store *store); /* after the batch took effect; takes its rows */
void pg_forget_known(struct postgres_store *store);
/* Moves times forward to what is due of what this batch has changed and not written. */
void pg_look_at_rows(const struct postgres_store *store, struct look *look);
void pg_look_known(struct postgres_store *store, const struct look *look); /* read under the lock */
/* What a look would say, when that is known and nothing of it has come due. */
bool pg_knows_look(const struct postgres_store *store, int64_t worker, struct look *ret_look);

/* ---- write.c ---- */

/* Queues statements that write all that is dirty. */
int pg_write_rows(struct postgres_store *store);
void pg_send_held(struct postgres_store *store); /* while store->holding they were held back; now they are queued */
/* Others shall read the lane's row anew, or see that it is gone. -ENOMEM. */
int pg_lane_changed(struct postgres_store *store, int64_t lane);

/* ---- absorb.c: rows that come in ---- */

pg_absorb_fn pg_absorb_pages, pg_absorb_troubles, pg_absorb_leases, pg_absorb_holds, pg_absorb_workers;
int pg_absorb_delta(struct postgres_store *store, const PGresult *answer, bool *ret_complete, bool *ret_workflows,
                    struct err *err);
int pg_absorb_lanes(struct postgres_store *store, const PGresult *answer, int first_column, struct err *err);
int pg_absorb_workflows(struct postgres_store *store, const PGresult *answer, struct err *err);
void pg_want_holds(struct postgres_store *store, int64_t worker);
/* All live runs in trouble of these pages. */
void pg_want_troubles(struct postgres_store *store, const int64_t *pages, size_t n);
struct worker_name *pg_worker(struct postgres_store *store, int64_t id); /* NULL: its name is not known */
int pg_worker_remember(struct postgres_store *store, int64_t id, struct bytes name, bool ours);
void pg_worker_forget(struct postgres_store *store, int64_t id);

/* ---- kept.c: what leased runs of pages gave to be kept ---- */

pg_absorb_fn pg_absorb_kept;
int pg_kept_put(struct postgres_store *store, int64_t page, const struct store_settled *one); /* lives as the batch */
int pg_kept_drop(struct postgres_store *store, int64_t page, uint32_t index);                 /* it ended */
/* A run of the page is leased no more: it gets a row of its own with what was kept of it, which was read, if anything
 * was. */
int pg_kept_requeue(struct postgres_store *store, struct page_row *page, uint32_t index);
int pg_kept_write(struct postgres_store *store);

/* ---- runs.c: changes that several calls make to rows ---- */

int64_t pg_page_rank(const struct page_row *page);
/* After its bits were changed: sets its place, and the lane's numbers. */
void pg_page_changed(struct postgres_store *store, struct page_row *page, uint32_t n_queued_before);
void pg_page_due(struct postgres_store *store, struct page_row *page); /* a delayed one's time has come */
/* A queued run of a page ends without having run. */
int pg_cancel_queued(struct postgres_store *store, struct page_row *page, uint32_t index, struct bytes reason);
/* Likewise one in trouble that is not leased: CANCELLED or FORGOTTEN. */
int pg_cancel_trouble(struct postgres_store *store, struct trouble_row *trouble, enum store_outcome outcome,
                      struct bytes reason);
/* The row of a run that ended, as a part of the history; the lane is not changed. */
void pg_trouble_finish(struct postgres_store *store, struct trouble_row *trouble, enum store_outcome outcome);
void pg_trouble_queue(struct postgres_store *store, struct trouble_row *trouble); /* waits for its time */
/* Takes n runs out of what the worker holds on the lane, and the tokens with the last one. */
void pg_hold_less(struct postgres_store *store, struct lane *lane, int64_t worker, uint32_t n);
/* A leased run is queued again, or cancelled when it was asked to end. It is out of the lease already. */
int pg_give_back(struct postgres_store *store, struct lease_row *lease, uint32_t index, struct err *err);
/* The worker that has the run is asked to end it. */
int pg_ask(struct postgres_store *store, struct lease_row *lease, uint32_t index, bool driven_out);
/* Takes back all that these workers hold, and forgets them. Takes the lock. */
int pg_expire(struct postgres_store *store, const int64_t *workers, size_t n, struct err *err);
int pg_expire_silent(struct postgres_store *store, struct err *err); /* those that were not heard in time */

/* ---- history.c ---- */

struct record { /* an attempt that ended */
    uint32_t index, attempt;
    enum store_outcome outcome;
    int64_t duration_us;
    struct bytes error, result;
};
int pg_history_add(struct postgres_store *store, int64_t page, struct bytes worker, const struct record *record);
/* 1: a record, 0: no more, -EBADMSG. */
int pg_history_next(struct bytes *what, struct record *ret_record);
bool pg_history_is_final(enum store_outcome outcome);
#define HISTORY_ENDED_COST 64
#define HISTORY_PAGE_COST 256
#define HISTORY_TROUBLE_COST 160
int pg_tidy(struct postgres_store *store, struct err *err);

/* ---- cache.c: what pages have in them; it never changes ---- */

struct page_cache;
struct cached { /* borrowed until the next cache_put */
    struct bytes keys, rest;
};
bool cache_get(const struct page_cache *cache, int64_t page, struct cached *ret_cached);
/* Best effort: without memory, or for a large page, nothing is kept. Only of pages that are committed. */
void cache_put(struct page_cache **cache, int64_t page, struct bytes keys, struct bytes rest);
void cache_ids(const struct page_cache *cache, struct args *args); /* an array of all it has */
void cache_free(struct page_cache *cache);

/* ---- the calls ---- */

int pg_workflow_put(struct postgres_store *store, struct bytes name, const struct store_rule *rules, size_t n_rules,
                    int64_t *ret_workflow, struct err *err);
int pg_workflow_pause(struct postgres_store *store, struct bytes name, bool paused, struct err *err);
int pg_spawn_check(struct postgres_store *store, const struct store_page *page, struct err *err);
int pg_spawn_prepare(struct postgres_store *store, struct op *op, struct err *err); /* before the lock */
int pg_spawn_want(struct postgres_store *store, struct op *op);
/* Under the lock: reads what it takes to decide about child keys; mostly it is here already. */
int pg_spawn_read_keys(struct postgres_store *store, struct op *op, struct keyset *set, struct err *err);
int pg_spawn(struct postgres_store *store, struct op *op, struct err *err);
int pg_page_reserve(struct postgres_store *store, int64_t *ret_page, struct err *err);
int pg_settle_check(const struct store_settled *settled, size_t n, struct err *err);
int pg_settle_want(struct postgres_store *store, const struct op *op);
int pg_settle(struct postgres_store *store, const struct op *op, struct err *err);
int pg_claim(struct postgres_store *store, const struct store_claim *claim, bool alone,
             struct store_claimed *ret_claimed, struct err *err);
int pg_worker_add(struct postgres_store *store, struct bytes name, uint32_t slots, int64_t *ret_worker,
                  struct err *err);
int pg_heartbeat(struct postgres_store *store, int64_t worker, struct store_cancels *ret_cancels, struct err *err);
int pg_heartbeat_late(struct postgres_store *store, int64_t worker, struct err *err); /* takes back what is late */
int pg_worker_remove(struct postgres_store *store, int64_t worker, struct err *err);
int pg_tick(struct postgres_store *store, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err);
int pg_tick_last(struct postgres_store *store, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err);
int pg_value_put(struct postgres_store *store, struct bytes name, struct bytes value, struct err *err);
int pg_value_get(struct postgres_store *store, struct bytes name, struct buf *ret_value, bool *ret_found,
                 struct err *err);
int pg_log_add(struct postgres_store *store, int64_t page, uint32_t index, int level, struct bytes text,
               struct err *err);
int pg_log_each(struct postgres_store *store, int64_t page, uint32_t index,
                int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                void *arg, int *ret_stop, struct err *err);
int pg_workflows_each(struct postgres_store *store, int (*each)(void *arg, const struct store_workflow_info *info),
                      void *arg, int *ret_stop, struct err *err);
int pg_workers_each(struct postgres_store *store, int (*each)(void *arg, const struct store_worker_info *info),
                    void *arg, int *ret_stop, struct err *err);
int pg_lanes_each(struct postgres_store *store, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                  int *ret_stop, struct err *err);
int pg_lane_get(struct postgres_store *store, int64_t lane, struct store_lane_info *ret_info, struct err *err);
int pg_parked_each(struct postgres_store *store, const struct store_parked_filter *filter,
                   int (*each)(void *arg, const struct store_parked *parked), void *arg, int *ret_stop,
                   struct err *err);
int pg_parked_retry(struct postgres_store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                    struct err *err);
int pg_parked_drop(struct postgres_store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                   struct err *err);
int pg_runs_each(struct postgres_store *store, const struct store_runs_filter *filter,
                 int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop, struct err *err);
int pg_run_get(struct postgres_store *store, int64_t page, uint32_t index,
               int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop, struct err *err);
int pg_attempts_each(struct postgres_store *store, int64_t page, uint32_t index,
                     int (*each)(void *arg, const struct store_attempt *attempt), void *arg, int *ret_stop,
                     struct err *err);
int pg_run_cancel(struct postgres_store *store, int64_t page, uint32_t index, enum store_state *ret_state,
                  struct err *err);
int pg_history_size(struct postgres_store *store, uint64_t *ret_runs, uint64_t *ret_bytes, struct err *err);
int pg_check(struct postgres_store *store, struct err *err);

/* parked.c: an array of the lanes that match (empty: any), and whether it matters. */
bool pg_lane_matches(const struct lane *lane, struct bytes workflow, struct bytes group);
void pg_args_lanes(struct args *args, const struct sched *sched, struct bytes workflow, struct bytes group);

/* ---- listen.c ---- */

int listener_start(struct postgres_store *store, const struct store_options *options, struct listener **ret_listener);
void listener_stop(struct listener *listener); /* NULL is fine */

/* ---- for tests ---- */

/* Makes the store judge by this clock, not by the server's. */
void postgres_store_use_clock(struct store *store, const struct clock *clock);
