/* store.h - what the engine asks of a store, whichever database it is.
 *
 * The model. Runs are spawned in pages: up to STORE_PAGE_MAX sibling runs of one workflow that share their rule keys. A
 * lane is all runs of a workflow that have the same keys under all of its rules; lanes, not runs, are scheduled. A
 * worker holds tokens on a lane (how many of its runs it may have running at once) and leases on ranges of the lane's
 * pages (which runs are its own). admitted(rule, key) = the sum of tokens over the lanes with that key, and never
 * exceeds the rule's max_runs. Tokens are given back by themselves when the worker's last leased run of the lane is
 * settled. They are never more than the runs that the worker has leased there when it claims.
 *
 * Lanes with work take turns: first by the key of the workflow's first round-robin rule (the group), least recently
 * granted first, across workflows too; inside a group by lane, likewise. A new group or lane counts as granted when it
 * came into being (so a stream of new ones cannot starve those that wait). In a lane, due retries go before new work
 * (the longest due first, whatever their priority), then pages go by priority, and those of one priority in spawn
 * order, which is that of their ids: a reserved id counts from its reservation. Of a paused workflow nothing is leased,
 * not for a want either.
 *
 * Rules are a chain. A CANCEL_NEWEST rule before any GROUP_ROUND_ROBIN rule is decided at the spawn: the run takes a
 * place or is cancelled, and holds the place until it is settled (done, dropped, parked). One after a GROUP_ROUND_ROBIN
 * rule is decided when the run is claimed, likewise; in such lanes no more runs are leased than the worker has tokens.
 * All GROUP_ROUND_ROBIN rules are taken together at the claim. A run that waits for a retry keeps the places it holds.
 *
 * A CANCEL_IN_PROGRESS rule is decided at the spawn wherever it stands, after duplicates and CANCEL_NEWEST (what those
 * refuse drives nothing out): of the live runs with the key, without parked ones and those that were asked to end
 * already, only the max_runs newest (by page, then index) are kept. Of the others those of the page itself are not
 * created, those that are not leased are cancelled at once, and those that are leased are asked to end (store_cancels)
 * and stay what they are until their worker settles them. Beside that it limits tokens as GROUP_ROUND_ROBIN does, so
 * that a new run starts when the one it drove out has ended. Several such rules are taken one after the other.
 *
 * A run that was asked to end (by that, or by store_run_cancel) does not run again: settled as RETRY or RELEASED it
 * becomes CANCELLED, and likewise when its lease is lost or its worker removed, also by the end of the process.
 *
 * A RATE_LIMIT rule lets max_runs runs with the key be leased in each window of period_us; windows are aligned to the
 * store's clock (they begin at multiples of period_us since 1970 UTC). A lease that comes back (released, lost) has
 * used its unit all the same, and each attempt uses one. Rules of all workflows with the same key and the same period
 * share one count (two of one workflow, too: a run is counted once), each with a max_runs of its own. In such lanes no
 * more runs are leased than the worker has tokens, so a unit is used when a run is about to start. The count is
 * durable. While the window is used up the lane waits without tokens; next_due_utc_us tells when the next begins.
 *
 * Finished runs are kept for history_us, and no more of them than fill history_bytes (the oldest go first): each ended
 * attempt with its worker, duration, outcome, error and result. What ended without a worker is there too, as attempt 0
 * with the reason as its error: CANCELLED (driven out, not started in time, store_run_cancel, CANCEL_NEWEST at the
 * claim, a lost lease of one that was asked to end), FORGOTTEN (parked runs that were dropped or gave way), FAILED
 * (pages of `failed`). Not there: items that were never created, attempts that were RELEASED or lost, and RETRY without
 * `failed`. Tidying is a part of commits, a bounded piece each.
 *
 * Thread. A store is used by one thread at a time, and every call may block. Changes are made in batches:
 *
 *     store_begin, any number of calls, store_commit
 *
 * and are durable, all together, when store_commit returns 0; the engine acknowledges nothing earlier. What a change is
 * given (bytes, arrays) and its ret_ pointers must live until store_commit has returned: a store may send and fill them
 * in as late as then. Claims, calls about workers, and reads answer at once; they may be in the batch too, and then see
 * what was changed before them in the batch, or outside of any, and are then a batch of their own.
 *
 * When any call fails with a store error (STORE_ERR_* but LOST, or -ENOMEM), the batch is gone and the store must only
 * be closed: what was committed before is safe, and a new open starts from there; every other call gives the same error
 * again. STORE_ERR_LOST: the connection to a server broke. The batch is gone as if store_begin had not been called,
 * and the store goes on: begin again and repeat the batch (a store finds out by itself whether a commit whose answer
 * was lost had taken effect; store_commit then returned 0). store_begin reconnects; it blocks for about a second
 * (up to ten when the second was too short, again and again) and gives STORE_ERR_LOST while that fails.
 * STORE_ERR_AGAIN: likewise, but at once and surely; only when options->repeats says that the caller does that, which
 * lets a process that writes alone decide batches from what it knows and send each as a whole. -EINVAL
 * refusals (also: a change outside of a batch) change nothing and do not hurt the batch.
 *
 * All stores pass tests/unit/store/conformance.c. */
#pragma once

#include "bytes.h"
#include "clock.h"
#include "err.h"

enum {
    STORE_ERR_BUSY = -1101,    /* another process has it */
    STORE_ERR_IO = -1102,      /* cannot be opened, read, written, synced */
    STORE_ERR_CORRUPT = -1103, /* damaged, not ours, or newer than this program */
    STORE_ERR_FULL = -1104,    /* no space left */
    STORE_ERR_LOST = -1105,    /* the connection to the server; the batch may be repeated */
    STORE_ERR_AGAIN = -1106,   /* others wrote meanwhile; the batch is to be repeated */
};

#define STORE_PAGE_MAX 1000
#define STORE_RULES_MAX 8
#define STORE_LOG_LINES_MAX 10000
#define STORE_NAME_MAX 4096          /* bytes of a workflow's name, rule key, child key, generation, name of a value */
#define STORE_DATA_MAX (1024 * 1024) /* bytes of an input, metadata, checkpoint, error, value, log line */
#define STORE_ITEMS_MAX (512 * 1024 * 1024) /* bytes of a page's items together */

struct store;

/* What holds for a key of a workflow's first round-robin rule: given what its rule says for all (0: no limit), answers
 * that or another. NULL: the rule alone. Not kept in the store; asked on the store's thread, when a key comes up. */
struct store_caps {
    uint32_t (*max_runs)(void *arg, struct bytes workflow, struct bytes key, uint32_t max_runs);
    void *arg;
};

struct store_options {
    const struct clock *clock; /* NULL: the system's. Leases and due times are judged by it. */
    int64_t lease_us;          /* 0: 30 s */
    int64_t lock_wait_us;      /* how long to wait for another process to let go of it; 0: 3 s; < 0: not at all */
    int64_t history_us;        /* 0: 24 h; < 0: finished runs are not kept */
    int64_t history_bytes;     /* 0: 256 MiB */
    bool repeats;              /* a batch that ended with STORE_ERR_AGAIN is begun again and repeated */
    /* Called from a thread of the store's own when another host may have brought work, freed tokens or asked for a
     * cancellation. May be NULL. Never after store_close has returned. A hint: nothing may depend on its coming. */
    void (*wake)(void *arg);
    void *wake_arg;
    struct store_caps caps;
};

/* "sqlite:PATH", one process at a time (STORE_ERR_BUSY); "postgres://..." or "postgresql://..." (a libpq URI, to which
 * froe_schema=NAME may be added; default: froe), any number of processes. The server's clock judges leases and due
 * times there, options->clock only paces reconnecting. -EINVAL for an unknown kind, STORE_ERR_*, -ENOMEM. */
int store_open(const char *uri, const struct store_options *options, struct store **ret_store, struct err *err);
void store_close(struct store *store);        /* also after an error; NULL is fine */
int store_lock_fd(const struct store *store); /* see froe_lock_fd in froe.h */
/* Runs that were leased by a dead process and are queued again; 0 when it is not known, as after a power cut. */
uint64_t store_recovered(const struct store *store);
const char *store_describe(const struct store *store); /* for people, no password: "SQLite 3.40.1, /path/file" */
bool store_shared(const struct store *store);          /* may other processes change it while we have it open? */

int store_begin(struct store *store, struct err *err);
int store_commit(struct store *store, struct err *err);

/* ---- workflows and workers ---- */

enum store_strategy {
    STORE_GROUP_ROUND_ROBIN = 1,
    STORE_CANCEL_NEWEST = 2,
    STORE_CANCEL_IN_PROGRESS = 3,
    STORE_RATE_LIMIT = 4,
};
struct store_rule {
    enum store_strategy strategy;
    uint32_t max_runs; /* 0: no limit (round robin only) */
    int64_t period_us; /* RATE_LIMIT: 1 s .. 1 day */
};
/* Makes it known, or replaces the rules of one known by that name. When the number of rules differs from what live
 * pages were spawned with, those pages keep the keys they have, and rules without a key for them do not apply to them.
 */
int store_workflow_put(struct store *store, struct bytes name, const struct store_rule *rules, size_t n_rules,
                       int64_t *ret_workflow, struct err *err);
/* Durable. -ENOENT: no such workflow. */
int store_workflow_pause(struct store *store, struct bytes name, bool paused, struct err *err);
struct store_workflow_info {
    int64_t id;
    struct bytes name;
    bool paused;
    const struct store_rule *rules;
    size_t n_rules;
    uint64_t queued, leased, waiting, parked; /* runs now */
    uint64_t done, failed, cancelled;         /* ever; failed counts attempts */
    int64_t last_tick_utc_us;                 /* the newest recorded; 0: none */
};
int store_workflows_each(struct store *store, int (*each)(void *arg, const struct store_workflow_info *info), void *arg,
                         struct err *err);

int store_worker_add(struct store *store, struct bytes name, uint32_t slots, int64_t *ret_worker, struct err *err);

/* Runs that the worker has leased and should end soon: asked for once each; also told to a heartbeat alone. */
struct store_cancel {
    int64_t lease, page;
    uint32_t index;
    bool driven_out; /* by a newer run (CANCEL_IN_PROGRESS); else by store_run_cancel */
};
struct store_cancels {
    const struct store_cancel *items;
    size_t n;
    void *arena;
};
/* Renews all the worker's leases for lease_us from the store's now. -ESTALE: they ran out and were taken back; the
 * worker must drop what it holds and add itself anew. The cancels are the caller's: store_cancels_free, any thread. */
int store_heartbeat(struct store *store, int64_t worker, struct store_cancels *ret_cancels, struct err *err);
void store_cancels_free(struct store_cancels *cancels);
/* Takes back all that the worker holds (unfinished runs are queued again) and forgets it. */
int store_worker_remove(struct store *store, int64_t worker, struct err *err);
struct store_worker_info {
    int64_t id;
    struct bytes name;
    uint32_t slots;
    uint64_t leased;
    int64_t since_utc_us, heard_utc_us, expires_utc_us;
};
int store_workers_each(struct store *store, int (*each)(void *arg, const struct store_worker_info *info), void *arg,
                       struct err *err);

/* ---- spawning ---- */

struct store_item {
    struct bytes child_key;  /* empty: none */
    struct bytes generation; /* may be empty */
    struct bytes input;      /* empty: the page's */
};
struct store_page {
    int64_t workflow;
    const struct bytes *keys; /* one per rule of the workflow */
    size_t n_keys;
    struct bytes input, metadata; /* JSON texts, may be empty */
    int64_t parent_page;          /* 0: none */
    uint32_t parent_index;
    int64_t not_before_utc_us; /* 0: now */
    const struct store_item *items;
    size_t n; /* 1..STORE_PAGE_MAX */

    int64_t id;              /* 0, or one that store_page_reserve gave and that no page has yet (else -EINVAL) */
    unsigned priority;       /* 1..3, 3 goes first; 0: 1 */
    int64_t start_by_utc_us; /* runs that were never leased by then are cancelled; 0: none */
    struct bytes failed;     /* not empty: these runs end FAILED at once, for that reason; n_keys may be 0. They are in
                                the history only (attempt 0), no child key is looked at, and each counts as a failed
                                attempt in the lane of these keys */
    struct store_place *ret_runs; /* NULL, or room for n: each item's run */
};
/* The run of an item: the one that was created for it, or of a duplicate the live one that has its child key (of the
 * page's own, when an earlier item has it), also when that is just being driven out. page 0: there is none, as the item
 * was refused or driven out at once, or is a duplicate of such a one. */
struct store_place {
    int64_t page;
    uint32_t index;
    bool created;
    bool superseded; /* a parked run gave way to the item */
};
struct store_spawned {
    int64_t page; /* 0 when nothing was created. Run ids are page:index, indexes counted over the created ones. */
    uint32_t created, duplicates, superseded, cancelled;
    uint32_t driven_out; /* older runs that CANCEL_IN_PROGRESS cancelled at once; `cancelled` has those of this page */
    bool cancels;        /* leased ones were asked to end: their workers should heartbeat soon */
};
/* A page id that nobody else gets, at once (as a claim; outside of a batch it is a batch of its own). Need not be used;
 * is still free when a spawn with it created nothing. */
int store_page_reserve(struct store *store, int64_t *ret_page, struct err *err);
/* Exact deduplication: of items whose child key belongs to a live or parked run of the same workflow (or to an earlier
 * item of this page) none is created, but a parked run whose generation is not the item's gives way (it is forgotten).
 */
int store_spawn(struct store *store, const struct store_page *page, struct store_spawned *ret_spawned, struct err *err);

/* ---- claiming ---- */

struct store_want { /* for a lane on which the worker has tokens already */
    int64_t lane;
    uint32_t runs;   /* lease so many more */
    uint32_t tokens; /* and hold so many in all, as far as the rules let; may be less than now, but never less than 1 */
};
struct store_claim {
    int64_t worker;
    const struct store_want *wants; /* served first */
    size_t n_wants;
    uint32_t new_lanes;       /* of lanes on which the worker holds no tokens, in turn, at most so many */
    uint32_t new_runs;        /* at most so many runs of each */
    uint32_t new_tokens;      /* at most so many tokens on each */
    const int64_t *workflows; /* only of these */
    size_t n_workflows;
};
struct store_run {
    uint32_t index;
    uint32_t attempts; /* failed ones so far */
    struct bytes child_key, generation, input /* never empty */, checkpoint;
    int64_t created_utc_us;
};
struct store_lease {
    int64_t id, page, workflow, lane;
    uint32_t tokens;    /* that the worker holds on the lane now */
    struct bytes group; /* the key under the workflow's first round-robin rule; "" when it has none */
    struct bytes metadata;
    const struct store_run *runs; /* in page order */
    size_t n;
    bool waited; /* it is one run, and that was waiting for its retry */
};
struct store_claimed {
    const struct store_lease *leases;
    size_t n;
    bool more;               /* lanes with admissible work were left because new_lanes was used up */
    const uint32_t *held;    /* for each want: the tokens that the worker holds on that lane now; 0: none any more */
    uint32_t cancelled;      /* by CANCEL_NEWEST rules that are decided at the claim, or not started in time (those of
                                all workflows) */
    int64_t next_due_utc_us; /* when the earliest waiting retry or delayed page becomes due, a rate limit that lanes
                                with work wait for has its next window, or a page's start_by passes, of all workflows,
                                paused ones too; 0: none waits. May have passed: then claim again */
    void *arena;
};
/* Takes back leases of workers whose heartbeat is too old first; -ESTALE when the worker itself is one of them. Nothing
 * to give is not an error: n is 0. The result belongs to the caller; store_claimed_free from any thread. */
int store_claim(struct store *store, const struct store_claim *claim, struct store_claimed *ret_claimed,
                struct err *err);
void store_claimed_free(struct store_claimed *claimed);

/* ---- settling ---- */

enum store_outcome {
    STORE_DONE,      /* settled; its child key is free again */
    STORE_FORGOTTEN, /* settled without success, likewise; not counted as done */
    STORE_RETRY,     /* waits until due_utc_us; `attempts` is what counts so far */
    STORE_PARKED,    /* kept with its error; its child key stays taken */
    STORE_RELEASED,  /* as if never claimed (attempts, generation and checkpoint as the store has them) */
    STORE_CANCELLED, /* settled without success, likewise; counted as cancelled */
    STORE_FAILED,    /* settled without success and without parking, likewise */
    /* No end: the run stays leased. From now on the store has `attempts`, `generation` and `checkpoint` as they are
     * here, and whoever claims the run after a STORE_RELEASED or a lost lease gets them. They are gone with its end. */
    STORE_CHECKPOINT,
};
struct store_settled {
    int64_t lease;
    uint32_t index;
    enum store_outcome outcome;
    bool checkpointed;      /* a STORE_CHECKPOINT of this run went before, under the same lease */
    uint32_t attempts;      /* RETRY, PARKED, CHECKPOINT */
    bool failed;            /* count a failed attempt in the lane's numbers (RETRY without it: "again") */
    int64_t due_utc_us;     /* RETRY */
    struct bytes child_key; /* always, as it was claimed, so that the store need not read the page */
    struct bytes input, generation, checkpoint,
        error; /* RETRY and PARKED: to be kept; a run in trouble keeps its own copy of all. CHECKPOINT: without error */
    /* For the history. `error` is kept there too, of CANCELLED, FAILED and FORGOTTEN as well. */
    struct bytes result; /* DONE: a JSON text or empty */
    uint32_t attempt;    /* which it was; 1 is the first; 0: it did not start */
    int64_t duration_us; /* of the attempt, up to now */
};
/* Of leases that are not the worker's any more, or runs that are not in the lease, nothing is changed: *ret_ignored
 * counts them. */
int store_settle(struct store *store, int64_t worker, const struct store_settled *settled, size_t n,
                 size_t *ret_ignored, struct err *err);

/* ---- cron, values, log lines ---- */

/* Records the tick; *ret_first is false when this workflow's tick of that time was recorded before (by any host). */
int store_tick(struct store *store, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err);
/* The newest tick recorded; 0: none. */
int store_tick_last(struct store *store, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err);
int store_value_put(struct store *store, struct bytes name, struct bytes value, struct err *err); /* empty: removes */
/* Replaces what is in the buffer. */
int store_value_get(struct store *store, struct bytes name, struct buf *ret_value, bool *ret_found, struct err *err);
/* Keeps the newest STORE_LOG_LINES_MAX (or up to twice as many before it tidies). */
int store_log_add(struct store *store, int64_t page, uint32_t index, int level, struct bytes text, struct err *err);
int store_log_each(struct store *store, int64_t page, uint32_t index, /* page 0: all */
                   int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                   void *arg, struct err *err);

/* ---- looking ---- */

struct store_lane_info {
    int64_t lane, workflow;
    struct bytes workflow_name, group;
    uint64_t queued, leased, waiting, parked; /* runs now; waiting: for a retry that is not due yet */
    uint64_t done, failed, cancelled;         /* ever; failed counts attempts */
    uint32_t tokens;                          /* held by all workers */
    uint32_t max_runs;                        /* by the first round-robin rule; 0: no limit */
    int64_t last_granted_utc_us;              /* 0: never, or not since the store was opened */
    bool paused;                              /* its workflow is */
};
/* Every lane that there is: some time after its last run ended it goes, and its numbers are its workflow's alone; a
 * lane with the same keys is then a new one, with another id. `each` returns < 0 to stop with that code. */
int store_lanes_each(struct store *store, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                     struct err *err);
/* Of one lane, or -ENOENT. */
int store_lane_get(struct store *store, int64_t lane, struct store_lane_info *ret_info, struct err *err);

struct store_parked_filter {
    struct bytes workflow, group, child_key; /* empty: any */
    int64_t after_page;                      /* list only */
    uint32_t after_index;
    uint32_t limit;   /* list only; 0: all */
    int64_t run_page; /* this run alone; 0: any */
    uint32_t run_index;
};
struct store_parked {
    int64_t page;
    uint32_t index;
    struct bytes workflow_name, group, child_key, generation, error;
    uint32_t attempts;
    int64_t parked_utc_us;
};
int store_parked_each(struct store *store, const struct store_parked_filter *filter,
                      int (*each)(void *arg, const struct store_parked *parked), void *arg, struct err *err);
/* Queue them again with attempts 0 (where a CANCEL_NEWEST rule has no place for one it stays parked), or forget them.
 */
int store_parked_retry(struct store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                       struct err *err);
int store_parked_drop(struct store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                      struct err *err);

/* ---- runs and their history ---- */

enum store_state {
    STORE_STATE_QUEUED = 1, /* may be leased; of a paused workflow too */
    STORE_STATE_WAITING,    /* for its time: a delayed run or a retry */
    STORE_STATE_LEASED,
    STORE_STATE_PARKED,
    STORE_STATE_DONE, /* from here on: finished */
    STORE_STATE_FAILED,
    STORE_STATE_CANCELLED, /* FORGOTTEN too */
};
struct store_run_info { /* what does not apply is 0 or empty */
    int64_t page;
    uint32_t index;
    enum store_state state;
    bool cancel_asked; /* LEASED */
    unsigned priority;
    struct bytes workflow_name, group, child_key, generation, input, metadata, checkpoint;
    struct bytes error, result; /* the newest attempt's, as far as the history or the run's own row knows it */
    struct bytes worker;        /* the name of who has it, or had it last */
    int64_t parent_page;
    uint32_t parent_index;
    uint32_t attempts; /* live and parked: as claims give it; finished: the highest number that an attempt had */
    int64_t created_utc_us, due_utc_us, ended_utc_us; /* due: WAITING; ended: the newest attempt */
    int64_t duration_us;                              /* of the newest attempt */
};
struct store_runs_filter {
    struct bytes workflow, group, child_key; /* empty: any; child_key is exact */
    unsigned states;                         /* 1 << STORE_STATE_x, or-ed; 0: any */
    int64_t since_utc_us, until_utc_us;      /* created or ended in [since, until); 0: open */
    int64_t before_page;                     /* go on after this one, downwards; 0: from the newest */
    uint32_t before_index;
};
/* The newest page first, and in a page the highest index first. `each` returns 0 to go on, 1 to stop, < 0 to stop with
 * that code. A child key is found in well under a second among a million finished runs. Borrowed during the callback,
 * which must not call the store. */
int store_runs_each(struct store *store, const struct store_runs_filter *filter,
                    int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err);
/* One run: `each` is called once, or -ENOENT (never was, or its history is over). */
int store_run_get(struct store *store, int64_t page, uint32_t index,
                  int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err);
struct store_attempt {
    uint32_t attempt;
    enum store_outcome outcome;
    int64_t ended_utc_us, duration_us;
    struct bytes worker, error, result;
};
/* Ended attempts in order, as far as the history reaches. */
int store_attempts_each(struct store *store, int64_t page, uint32_t index,
                        int (*each)(void *arg, const struct store_attempt *attempt), void *arg, struct err *err);
/* Not leased: CANCELLED at once (a parked one too). Leased: its worker is asked. *ret_state is what it was; nothing is
 * done to a finished one. -ENOENT. *ret_state is set at once. */
int store_run_cancel(struct store *store, int64_t page, uint32_t index, enum store_state *ret_state, struct err *err);
/* What the history takes, about; for people. Runs: those that are finished. */
int store_history_size(struct store *store, uint64_t *ret_runs, uint64_t *ret_bytes, struct err *err);

/* For tests: does everything kept in memory or in counters equal what the rows say? STORE_ERR_CORRUPT with the
 * difference. */
int store_check(struct store *store, struct err *err);

/* ---- for kinds of stores ---- */

struct store_ops; /* store_ops.h: the same calls as function pointers */
