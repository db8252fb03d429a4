/* engine.h - what the rooms of the engine share. Only they and the engine's unit tests include it.
 *
 * All of `struct froe` belongs to the loop's thread, but where it says otherwise. Work for the store is packed into
 * requests (committer.h); each room has its own. The rooms:
 *
 *     calls.c      calls from other threads, and waiting for answers; own_loop.c: a loop for who has none
 *     engine.c     opening and closing; the pump that runs once per loop iteration and calls the others in order
 *     events.c     events wait here until the pump tells them, so that none comes from inside a call of the caller
 *     workflows.c  definitions
 *     groups.c     the groups' numbers and limits
 *     held.c       the leases held, and whose run is started next
 *     claims.c     when to ask the store for runs; claim_sizes.c: for how many
 *     settle.c     how ends of tasks gather and go to the store
 *     checkpoints.c what running tasks give to be kept
 *     tasks.c      starting, timing out; task_api.c: what a task function may call; run_id.c
 *     pool.c       threads for task functions that block; thread.c
 *     cancel.c     asking tasks to end, and doing without those that do not
 *     ends.c       what an end means: done, another attempt, parked, failed, cancelled
 *     worker.c     joining, heartbeat, losing the lease, stopping
 *     spawn.c      froe_spawn_many: checks, sets of keys (spawn_keys.c); spawn_pages.c: pages and the store
 *     json.c       what is done with JSON texts
 *     schedule.c   the cron
 *     values.c, parked.c
 *     runs.c       looking at runs; acting.c: cancelling, retrying, replaying them; asking.c: what they share
 *     looking.c    workflows, workers and groups of the fleet
 *     wait.c       waiting for results; wait_poll.c asks the store, wait_sync.c blocks
 */
#pragma once

#include "bytes.h"
#include "cel.h"
#include "clock.h"
#include "committer.h"
#include "cron.h"
#include "err.h"
#include "list.h"
#include "map.h"
#include "rng.h"
#include "store.h"

#include <froe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#define FLUSH_US (20 * US_PER_MS)      /* ends of tasks wait so long for company */
#define FLUSH_RUNS 1000                /* or until they are so many */
#define CLAIM_PACE_US (20 * US_PER_MS) /* between claims while no slot is free */
#define LEASE_LASTS_US US_PER_S        /* what a lease should last */
#define LEASE_RUNS_MAX 1000
#define LOG_TEXT_MAX 1000
#define WORKER_NAME_MAX 256
#define LOG_PENDING_MAX STORE_LOG_LINES_MAX
#define DURATION_UNKNOWN (-1)

struct lane;
struct group;
struct wait;

/* ---- definitions ---- */

struct rule {
    struct cel_program *program;
    struct store_rule store;
};

struct workflow {
    char name[FROE_NAME_MAX + 1];
    bool registered; /* otherwise it is known from the store only */
    froe_task_fn *run, *cancel;
    void *arg;
    struct rule rules[FROE_RULES_MAX];
    size_t n_rules;
    size_t group_rule; /* the first GROUP_ROUND_ROBIN one; n_rules: none */
    bool keys_need_id; /* a rule's expression uses workflow_run_id */
    bool rated;        /* it has a RATE_LIMIT rule */
    bool takes_turns;  /* lanes compete for the tokens of a shared rule: none may hold on to its tokens for long */
    bool blocking, never_parks, catches_up;
    uint32_t retries;
    int64_t timeout_us, schedule_timeout_us, backoff_us, backoff_max_us;

    bool has_cron;
    struct cron cron;
    struct zone *zone; /* NULL: UTC */
    char *cron_text, *cron_input;
    int64_t next_tick_utc_us; /* 0: not scheduled */

    struct map groups;   /* by key */
    struct list running; /* tasks that were not cancelled; the first one times out first */
    int64_t duration_us; /* of a run, moving average; DURATION_UNKNOWN */

    int64_t store_id;               /* these two are the committer's thread's */
    int64_t store_last_tick_utc_us; /* of who catches up, written at the join, before ticks are made; 0: none */
};

/* The numbers are what the store has acknowledged; `running` and `again` are this worker's own. */
struct group {
    struct workflow *workflow;
    char *key; /* NUL-terminated; may hold NULs, though no expression gives one easily */
    size_t key_n;
    uint64_t live, waiting, parked, done, failed, cancelled;
    uint32_t running, again;
    uint32_t limit;
    uint32_t refs;                /* by lanes that are held, tasks, settlements and spawns that are on their way */
    int64_t paused_until_mono_us; /* 0: not paused */
    struct list startable_lanes;
    struct list in_rotation; /* when it has startable lanes and its limit lets it */
    struct list in_paused;
    uint64_t stir; /* goes up when its lanes may have got work */
};

/* ---- leases ---- */

/* One answer to a claim; the leases point into it. */
struct grant {
    struct store_claimed claimed;
    char *texts; /* NUL-terminated copies of inputs and metadata */
    uint32_t refs;
};

struct lease {
    struct list link; /* in its lane, while it has runs that were not started */
    struct list in_all;
    struct grant *grant;
    const struct store_lease *store;
    struct workflow *workflow;
    const char *metadata;
    const char **inputs;      /* one per run */
    uint32_t n, next;         /* next: the first run that was not started, and was not taken out */
    int64_t start_by_mono_us; /* 0: none */
    int64_t granted_mono_us, granted_utc_us;
    bool *taken_out;  /* one per run: cancelled before it was started; NULL: none was */
    uint32_t unacked; /* runs whose settlement the store has not confirmed, and abandoned tasks */
};

/* Would other workers take tokens of it? One is given back for a while, and then asked for again. */
enum lane_offer { OFFER_NONE, OFFER_GIVING, OFFER_GIVEN, OFFER_ASKED };

struct lane {
    int64_t id;
    struct group *group;
    struct workflow *workflow;
    uint32_t tokens, running;
    uint32_t share; /* of the slots: it starts no more at once, and gives back tokens beyond; UINT32_MAX: any */
    uint32_t keeps; /* likewise, of what its rule gives, as others have free slots */
    enum lane_offer offer;
    int64_t offer_until_mono_us; /* GIVEN */
    uint32_t unstarted;          /* in `leases` */
    uint32_t unsettled;          /* leased runs for which no settlement went to the store yet */
    struct list leases, again;
    struct list startable; /* in its group */
    struct list in_lanes;
    int64_t duration_us; /* moving average; DURATION_UNKNOWN */
    bool wanted;         /* a claim that asks for it is under way */
    uint64_t wanted_group_stir, wanted_stir;
    uint32_t want_tokens;
    bool capped; /* the rule had less to give than want_tokens, as of wanted_stir */
    bool dry;    /* the store had less than was asked for, as of the two stirs above */
    uint32_t want_runs, got_runs;
    bool offered;                         /* takes turns: it gave back the tokens that it had no runs for */
    uint64_t dry_offers;                  /* of the engine, as of the last claim for it */
    uint32_t low_water;                   /* fewer runs to start than that: ask for more */
    uint32_t boost;                       /* goes up when it ran empty although there was more */
    int64_t came_mono_us, leased_mono_us; /* the lane; its newest lease */
};

enum task_state { TASK_RUNNING, TASK_WAITING, TASK_READY };

struct pool_thread;

struct froe_task {
    struct list link;
    struct list in_pool; /* until a thread takes it */
    struct froe *engine;
    struct workflow *workflow;
    struct group *group;
    struct lane *lane; /* NULL: abandoned */
    struct lease *lease;
    const struct store_run *run;
    struct pool_thread *thread; /* under the pool's mutex */
    uint32_t at;                /* in the lease */
    uint32_t attempts;
    enum task_state state;
    _Atomic int cancelled; /* froe_cancel_reason */
    atomic_bool abandoned; /* its run was settled without it; in engine->hanging */
    int64_t started_mono_us, deadline_mono_us;
    int64_t grace_mono_us; /* cancelled: until then it may end by itself */
    int64_t due_mono_us;   /* WAITING */
    bool touched;          /* attempts, generation or checkpoint are not what the attempt began with */
    bool checkpointed;     /* the store was given some of that */
    struct list unsaved;   /* in the engine's, while there is more to give */
    bool own_generation, own_checkpoint;
    struct bytes generation, checkpoint; /* allocated when own */
    _Atomic(void *) data;
    char run_id[FROE_RUN_ID_MAX];
};

struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t more;
    struct list todo; /* these four under the mutex */
    uint32_t n_todo, idle;
    bool closing;
    struct list threads; /* these are the loop's */
    uint32_t n_threads;
    int64_t again_at_mono_us; /* a task waits for a thread that could not be started; INT64_MAX: none does */
    bool told;                /* of that */
    bool stuck;               /* when it was looked at last, all threads were waiting for other runs */
};

/* ---- settling ---- */

struct event_node;
struct log_line;

/* What an item's generation, checkpoint, error and result point at is the settlement's to free. */
enum { OWN_GENERATION = 1, OWN_CHECKPOINT = 2, OWN_ERROR = 4, OWN_RESULT = 8 };

struct ended {
    struct lease *lease;
    struct group *group;
    int64_t lane;             /* its id */
    struct event_node *event; /* told once it is durable; NULL: none */
    unsigned own;
};

struct settlement {
    struct request request;
    int64_t worker;
    struct store_settled *items;
    struct ended *ended; /* one per item */
    size_t n, cap;
    struct list lines; /* struct log_line */
    size_t n_lines;
    size_t ignored;
    int64_t first_mono_us; /* when the first end or line came */
};

/* ---- waiting for results ---- */

struct waits {
    struct map runs; /* that are waited for, by id */
    struct wait **heap;
    size_t n, cap;
};
struct waits_state {
    struct waits all;
    struct list due;      /* their runs are to be asked for */
    struct list polled;   /* are in the question under way */
    struct list answered; /* to be told */
    bool asking;
    int64_t rest_until_mono_us; /* before the next question */
};

/* ---- the engine ---- */

enum worker_state {
    WORKER_IDLE,    /* froe_start was not called */
    WORKER_JOINING, /* becoming known to the store; nothing runs */
    WORKER_RUNNING,
    WORKER_LOST, /* the lease is lost; waits for what still runs, then joins again */
    WORKER_STOPPING,
    WORKER_LEAVING, /* everything ended; the store takes the worker back */
    WORKER_STOPPED,
};

struct froe {
    struct clock clock;
    struct rng rng;
    uint32_t slots;
    int64_t lease_us;
    void (*event)(void *arg, const froe_event *event);
    void *event_arg;
    uint64_t recovered;
    int lock_fd;
    const char *store_text; /* the store's own */

    uv_loop_t *loop, own_loop; /* own_loop: only when `loop` points there */
    bool loop_running;         /* own_loop, now */
    bool over;                 /* froe_main need not go on */
    uv_async_t wake;
    uv_prepare_t prepare; /* the pump */
    uv_idle_t busy;       /* active while the pump has more to do, so that the loop does not sleep */
    uv_timer_t timer;
    int64_t timer_at_mono_us; /* INT64_MAX: not armed */
    unsigned handles;
    bool handles_closed;

    /* calls.c */
    pthread_t loop_thread;
    pthread_mutex_t calls_mutex;
    struct list calls, waits; /* these four under calls_mutex */
    bool calls_closed;        /* set on the loop's thread: it reads without */
    unsigned refs;            /* the open engine, and what outlives its closing: it is freed after the last */

    struct committer *committer;
    size_t inflight;
    bool shared;                     /* other processes may change the store */
    bool store_lost;                 /* the connection to its server, for now */
    atomic_bool woken, wake_is_open; /* the store's wake, from any thread */

    struct workflow **workflows;
    size_t n_workflows;
    struct workflow **store_workflows; /* the committer's thread's copy: those registered */
    size_t n_store_workflows;

    enum worker_state state;
    bool failed; /* the store has; nothing is asked of it any more */
    struct err failure;
    bool dirty; /* the pump has something to do */

    /* worker.c */
    int64_t worker;
    char worker_name[WORKER_NAME_MAX];
    int64_t lease_until_mono_us;         /* what we hold is surely ours before that */
    _Atomic int64_t holds_until_mono_us; /* the same for all threads; INT64_MIN when nothing is held */
    int64_t heartbeat_at_mono_us, heartbeat_sent_mono_us;
    bool heartbeat_inflight, join_inflight;
    bool cancel_wanted;
    froe_cancel_reason cancel_reason;
    bool started, stopping, lease_lost;
    bool stop_now, gave_up;
    int64_t give_up_at_mono_us; /* stop_now: no longer is waited for a store that cannot be reached */
    void (*stopped)(void *arg);
    void *stopped_arg;
    bool submitted; /* to the committer, since it was told to go */
    bool stop_told;
    bool closing, committer_closing;
    int64_t closing_mono_us;
    void (*closed)(void *arg);
    void *closed_arg;

    /* held.c */
    struct map lanes_by_id;
    struct list lanes, leases;
    uint32_t n_lanes;
    int64_t start_by_mono_us; /* the earliest of the leases', or earlier; INT64_MAX: none has one */
    struct list rotation;     /* groups */
    struct list paused;       /* groups */
    bool numbers_stale;       /* groups.c: they changed in a way that is not known here */
    bool numbers_used;        /* since they were read last */
    bool numbers_coming;
    size_t groups_left; /* after they were read last */
    int64_t numbers_read_mono_us;
    struct map retries; /* by lane id: how many of its runs wait for a retry */
    bool lane_ended;    /* since the last flush: the store has to hear of it to lend its tokens again */

    /* claims.c */
    bool claim_inflight, more;
    bool claim_paced; /* the next one waits a little */
    bool look[2];     /* lanes that are not held may have work for us; [1]: those of rate limits */
    bool thirsty;     /* lanes that are held may have too little to start */
    bool refill[2];   /* nobody took what lanes offered; likewise */
    bool rated_turn;
    size_t n_registered, n_rated; /* workflows; those with rate limits */
    uint64_t offers;
    uint64_t stir;
    int64_t shared_out_mono_us; /* when the lanes' shares were reckoned */
    bool share_paced;           /* too lately for now */
    uint32_t others_idle;       /* workers with free slots, as of the last heartbeat */
    int64_t claim_sent_mono_us, round_trip_us;
    int64_t next_due_utc_us;                         /* 0: nothing waits in the store */
    int64_t woken_mono_us, poll_at_mono_us, poll_us; /* of a shared store */

    /* tasks.c */
    uint32_t running;
    size_t n_tasks;        /* running, waiting, ready, hanging */
    struct list cancelled; /* running tasks that were cancelled */
    struct list waiting;   /* those in WAITING, first due first */
    uint32_t n_waiting;
    struct list free_tasks;
    struct pool pool;

    /* checkpoints.c */
    struct list unsaved; /* tasks with what the store was not given yet */
    struct list savers;  /* who waits for that to be durable */

    /* cancel.c */
    int64_t cancel_grace_us;
    struct list hanging; /* abandoned tasks that have not ended yet; they keep their slots */
    uint32_t n_hanging;

    /* settle.c */
    struct settlement *ends;  /* gathering; NULL: nothing was reserved yet */
    struct settlement *spare; /* for reuse */
    int64_t flushed_mono_us;
    size_t lines_inflight, lines_dropped;

    struct list events;
    bool tell_failure; /* these two are told without memory */
    const char *tell_lost;
    int64_t cron_checked_utc_us;

    /* asking.c */
    bool renumbering;
    struct list to_renumber;

    struct waits_state waits_for_runs; /* wait.c */
};

/* What tests put in place of the world. All-zero: nothing. */
struct engine_seams {
    const struct clock *clock; /* also read on the committer's thread, by the store */
    const uint64_t *seed;
    struct store *store; /* instead of options->store; taken over on success */
};
int engine_open(const froe_options *options, const struct engine_seams *seams, froe **ret_froe, froe_error *error);
void engine_clock_moved(froe *engine); /* a test's clock was set */

/* calls.c */
void calls_init(froe *engine);
void calls_free(froe *engine);
bool engine_on_loop(const froe *engine);
#define ENGINE_GONE (-ESHUTDOWN)
/* Calls fn(arg) on the loop's thread and gives what it gave: at once when this is that thread, else the caller waits.
 * ENGINE_GONE: the engine is closed, fn was not called. */
int engine_call(froe *engine, int (*fn)(void *arg), void *arg);
/* The same for public functions: FROE_ERR_STATE with a text instead of ENGINE_GONE. */
int engine_call_or(froe *engine, int (*fn)(void *arg), void *arg, froe_error *error);
void calls_run(froe *engine);   /* those that wait */
void calls_close(froe *engine); /* likewise, and no more come */
/* Waiting for something that a callback on the loop's thread will know:
 *
 *     engine_wait_begin       FROE_ERR_STATE: this is the loop's own thread, and the loop is not froe's own or runs
 *     (ask, by engine_call; the callback does engine_wait_signal on the loop's thread, once)
 *     engine_wait_for         0: signalled. -ECANCELED: the task (may be NULL) was cancelled first; then take back by
 *                             engine_call what was asked, so that nobody signals any more
 *     engine_wait_end         always, after a begin that gave FROE_OK
 *
 * On the loop's own thread engine_wait_for runs the loop meanwhile. */
struct engine_wait {
    struct list link;
    froe *engine;
    const froe_task *task;
    pthread_cond_t cond;
    bool done, cancelled;
};
int engine_wait_begin(struct engine_wait *wait, froe *engine, const froe_task *task, froe_error *error);
void engine_wait_signal(struct engine_wait *wait);
int engine_wait_for(struct engine_wait *wait);
void engine_wait_end(struct engine_wait *wait);
void calls_task_cancelled(froe *engine, const froe_task *task); /* its waits are over */

/* own_loop.c */
void own_loop_run(froe *engine, const bool *until); /* until it is set, or all is closed */
void own_loop_close(froe *engine);                  /* runs until all is closed, then closes the loop */

/* engine.c */
void engine_close(froe *engine); /* with a loop of froe's own that does not run it is gone afterwards */
void engine_ref(froe *engine);
void engine_unref(froe *engine); /* any thread; the engine may be gone afterwards */
int engine_error(froe_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
int engine_public_code(int code);
int engine_error_from(froe_error *error, const struct err *err); /* the public code for a lower layer's */
void engine_submit(froe *engine, struct request *request);
/* The store, or memory for what must not fail, is gone: from here on things only end. */
void engine_fail(froe *engine, const struct err *err);
static inline int64_t engine_mono_us(const froe *engine) {
    return clock_mono_us(&engine->clock);
}
static inline int64_t engine_utc_us(const froe *engine) {
    return clock_utc_us(&engine->clock);
}

/* events.c. A node copies all but the name of the workflow, which lives as long as the engine. */
struct event_node *event_make(const froe_event *event, struct bytes text); /* NULL: out of memory */
void event_tell_later(froe *engine, struct event_node *node);              /* takes it; NULL is fine */
void event_free(struct event_node *node);
void events_tell(froe *engine);
void events_free(froe *engine);
void event_refused(froe *engine, const struct workflow *workflow, const struct group *group, uint64_t count);
void event_log(froe *engine, froe_level level, const struct workflow *workflow, const char *format, ...)
    __attribute__((format(printf, 4, 5))); /* an event that is about no run */

/* workflows.c */
struct workflow *workflow_find(const froe *engine, const char *name);
struct workflow *workflow_find_or_add(froe *engine, struct bytes name); /* NULL: out of memory */
uint64_t workflow_cancelled(const struct workflow *workflow);           /* by CANCEL_NEWEST, over its groups */
void workflows_free(froe *engine);

/* groups.c */
/* NULL: absent or out of memory. Without a reference to it, it may be gone after the next snapshot_apply. */
struct group *group_get(struct workflow *workflow, struct bytes key, bool create);
struct group *group_ref(struct group *group);
void group_unref(struct group *group); /* NULL is fine */
void group_free(struct group *group);
bool group_lets(const struct group *group);            /* may one more of its runs be started? */
void groups_resume(froe *engine, int64_t now_mono_us); /* ends pauses that are over */
int64_t groups_next_mono_us(const froe *engine);
/* How many runs of a lane wait for a retry; the group's number follows. -ENOMEM. */
int group_set_waiting(froe *engine, struct group *group, int64_t lane, uint64_t count);
int group_add_waiting(froe *engine, struct group *group, int64_t lane);
void groups_free_waiting(froe *engine);
void groups_renew(froe *engine); /* soon: numbers changed in a way that is not known here */
void groups_used(froe *engine);  /* somebody looks, or something goes on: worth keeping up to date */
void groups_pump(froe *engine, int64_t now_mono_us);
/* All groups' numbers as the store has them: taken on the committer's thread, put in place on the loop's. */
struct snapshot;
int snapshot_take(struct store *store, struct snapshot **ret_snapshot, struct err *err);
/* Groups of which nothing is known any more, neither here nor in the store, go. -ENOMEM. */
int snapshot_apply(froe *engine, const struct snapshot *snapshot);
void snapshot_free(struct snapshot *snapshot);

/* held.c */
struct lane *held_find(const froe *engine, int64_t id);
/* Takes the lease into its lane, which is made when it is not held yet. -ENOMEM: the lease is still the caller's. */
int held_add_lease(froe *engine, struct lease *lease, struct lane **ret_lane);
void held_update(froe *engine, struct lane *lane);         /* after any change of what makes it startable */
void held_group_update(froe *engine, struct group *group); /* likewise */
struct lane *held_next(froe *engine);                      /* whose turn it is, NULL: nothing may be started */
void held_turn(froe *engine, struct lane *lane);           /* it has its turn now */
void held_run_settled(froe *engine,
                      struct lane *lane); /* of one run the end is known; the lane may be gone afterwards */
void held_drop_if_empty(froe *engine, struct lane *lane);
void held_release(froe *engine,
                  struct lane *lane); /* gives back all that was not started; the lane may be gone afterwards */
void held_release_all(froe *engine);
bool held_stale(const froe *engine, const struct lane *lane); /* its next run was leased for a window that is over */
void held_forget(froe *engine); /* all that was not started, without a word to the store: it is not ours any more */
void held_free(froe *engine);
uint32_t lease_take(struct lease *lease); /* the next run that was not started counts as started */
bool lease_unstarted(const struct lease *lease, uint32_t at);
int held_take_out(froe *engine, struct lane *lane, struct lease *lease, uint32_t at); /* it is not started; -ENOMEM */
void lease_acked(struct lease *lease); /* the store confirmed the end of one run; the lease may be gone afterwards */
void lease_free(struct lease *lease);
void grant_unref(struct grant *grant);

/* claims.c */
void claims_pump(froe *engine, int64_t now_mono_us);
int64_t claims_next_mono_us(const froe *engine, int64_t now_mono_us);
void claims_look(froe *engine);                      /* lanes that are not held may have got work */
void claims_stir(froe *engine, struct group *group); /* also lanes held, of that group (NULL: any), may have got work */
void claims_due(froe *engine, int64_t due_utc_us);   /* the store will have work then */
void claims_ran(struct lane *lane, int64_t duration_us);
bool claim_wants(const froe *engine, const struct lane *lane); /* it runs low, and may be refilled */
bool claim_idles(const froe *engine, const struct lane *lane); /* it takes turns, and has nothing to start */
uint32_t claim_want_runs(const froe *engine, const struct lane *lane);
uint32_t claim_free_slots(const froe *engine);    /* at least 1 */
uint32_t claim_new_lanes(const froe *engine);     /* how many more may be held */
uint32_t claim_new_lane_runs(const froe *engine); /* of each */
void claim_set_low_water(const froe *engine, struct lane *lane);
/* Of a shared store: divides the slots among the lanes held. Tokens that would lie idle here are for others. */
void claim_share_out(froe *engine);
bool claim_may_offer(const froe *engine);                          /* it matters how many others have free slots */
void claim_offer(froe *engine);                                    /* they were counted */
void claim_offer_answered(struct froe *engine, struct lane *lane); /* a want of it was */
bool claim_has_spare(const struct lane *lane);                     /* tokens beyond its share */
uint32_t claim_want_tokens(const froe *engine, const struct lane *lane);

/* settle.c */
extern const struct store_settled settle_released; /* its error is for a run that somebody wanted cancelled meanwhile */
int settle_reserve(froe *engine, size_t more);     /* room for the ends of all tasks there are and some more; -ENOMEM */
/* Gathers one settlement. Room for it was reserved. The item's lease, index, child key and input are filled in here;
 * takes the event, and the memory named by `own`. The lane may be gone afterwards. */
void settle_add(froe *engine, struct lane *lane, struct lease *lease, uint32_t at, const struct store_settled *item,
                unsigned own, struct event_node *event);
void settle_line(froe *engine, int64_t page, uint32_t index, froe_level level, struct bytes text);
void settle_flush(froe *engine);
void settle_comes(froe *engine);   /* there will be something to flush; before it is there */
void settle_discard(froe *engine); /* the store has failed: what gathered cannot be told any more */
void settle_pump(froe *engine, int64_t now_mono_us);
int64_t settle_next_mono_us(const froe *engine);
void settlement_free(struct settlement *settlement);

/* checkpoints.c */
void checkpoints_gather(froe *engine, struct settlement *ends); /* as items; room for one of each task is there */
void checkpoints_told(froe *engine, const struct settlement *ends, int code, const char *text); /* to who waits */
void checkpoints_drop(froe *engine, int code, const char *text); /* nothing more is kept of what runs */
void checkpoints_forget(froe_task *task);                        /* nor of this one */
void checkpoint_changed(froe_task *task); /* what the next attempt is to know, of one that gave a checkpoint */

/* tasks.c */
static inline bool tasks_slot_free(const froe *engine) {
    return engine->running + engine->n_hanging < engine->slots;
}
void tasks_start(froe *engine);
void tasks_time(froe *engine, int64_t now_mono_us); /* timeouts, and waiting ones that became due */
int64_t tasks_next_mono_us(const froe *engine);
void task_refresh(froe_task *task, int64_t more_us);
void task_wait(froe_task *task, int64_t delay_us); /* to be started again after that; it does not run any more */
/* One that waits for that is settled instead. */
void task_settle_waiting(froe_task *task, const struct store_settled *item, struct event_node *event);
void tasks_release_waiting(froe *engine);
void task_forget(froe_task *task);     /* frees what it holds and puts it on the free list */
void task_discard(froe_task *task);    /* likewise, and lets go of its run without a word to the store */
void task_left(froe_task *task);       /* it does not run any more: its slot is free */
void tasks_drop_waiting(froe *engine); /* the store has failed: without a word to it */
void tasks_free(froe *engine);

/* pool.c */
void pool_init(froe *engine);
void pool_free(froe *engine);
int pool_run(froe *engine, froe_task *task); /* < 0: there is no thread, and none can be made */
void pool_time(froe *engine, int64_t now_mono_us);
void pool_forget(froe *engine, froe_task *task); /* any thread: it was ended, or is not to be run */
void pool_close(froe *engine);
/* Have all threads ended? Those of abandoned tasks are left to themselves; with leave_alone all that still run. */
bool pool_closed(froe *engine, bool leave_alone);

/* cancel.c */
void task_cancel(froe_task *task, froe_cancel_reason reason); /* one that runs and was not; it may be gone afterwards */
void tasks_cancel_all(froe *engine, froe_cancel_reason reason);
void cancels_take(froe *engine, const struct store_cancels *cancels); /* the store asks for them */
const char *cancel_text(froe_cancel_reason reason);                   /* of the two that end a run CANCELLED */
void cancel_time(froe *engine, int64_t now_mono_us);
int64_t cancel_next_mono_us(const froe *engine);

/* ends.c */
void task_abandon(froe_task *task);

/* worker.c */
void worker_init(froe *engine, const char *name);
void worker_pump(froe *engine, int64_t now_mono_us);
int64_t worker_next_mono_us(const froe *engine);
bool worker_holds(const froe *engine, int64_t now_mono_us); /* any thread */
void worker_lost(froe *engine, const char *why);
void worker_stop(froe *engine, froe_stop_mode mode); /* froe_stop without a callback */
void worker_heartbeat_soon(froe *engine);            /* the store may have been asked to cancel runs of this worker */

/* spawn.c. A tick is the cron's: it counts only when nobody recorded it before. 0: an ordinary spawn. */
int spawn_make(froe *engine, const froe_spawn *spawn, int64_t tick_utc_us, froe_spawned_fn *done, void *arg,
               froe_error *error);

/* json.c */
int json_check(struct bytes text);        /* 0; -EINVAL: not a UTF-8 JSON text; -ENOMEM */
int json_check_object(struct bytes text); /* 0; -EINVAL: not the UTF-8 JSON text of an object; -ENOMEM */
/* The parent's keys without those that begin with "froe__", then the child's, which win. *ret_text is the caller's. */
int json_inherit(struct bytes parent, struct bytes child, char **ret_text, size_t *ret_n);

/* schedule.c */
void schedule_pump(froe *engine);
int schedule_read_last(froe *engine, struct store *store, struct err *err); /* on the committer's thread, at the join */
int64_t schedule_next_mono_us(const froe *engine, int64_t now_mono_us);

/* asking.c */
void asking_init(froe *engine);

/* wait.c */
void waits_init(froe *engine);
void waits_free(froe *engine);
void waits_pump(froe *engine, int64_t now_mono_us);
int64_t waits_next_mono_us(const froe *engine);
/* A run of that page was settled, durably, as the item says. Cheap when nobody waits. */
void waits_settled(froe *engine, int64_t page, const struct store_settled *item);
void waits_look(froe *engine, froe_run_id id); /* it has changed: who waits for it should ask */

/* Appends at most `max` bytes of a text, cut between UTF-8 characters. */
static inline struct bytes cut_utf8(struct bytes text, size_t max) {
    if (text.n <= max)
        return text;
    size_t n = max;
    while (n > 0 && n > max - 4 && ((unsigned char)text.p[n] & 0xC0) == 0x80)
        n--;
    return bytes_of(text.p, n);
}
