/* state.h - what the engine keeps: definitions, leases and the tasks made of them, what waits to be settled, and
 * struct froe with all of it. All belongs to the loop's thread, but where it says otherwise. Who may do what with it is
 * told in engine.h, which is what the rooms include. */
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

#define FLUSH_US (50 * US_PER_MS)      /* ends of tasks wait so long for company */
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
    bool shares_pages; /* runs of several spawns may be in one page of the store: no rule cancels any */
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
    int64_t fresh_page;   /* runs of pages from this one on did not exist before fresh_mono_us */
    int64_t fresh_mono_us;
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
    uint32_t (*max_runs_of)(void *arg, const char *workflow, const char *group, uint32_t max_runs);
    void *max_runs_arg;
    uint64_t recovered;
    int lock_fd;
    const char *store_text; /* the store's own */

    uv_loop_t *loop, own_loop; /* own_loop: only when `loop` points there */
    bool loop_running;         /* own_loop, now */
    bool over;                 /* froe_main need not go on */
    struct wake wake;
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
