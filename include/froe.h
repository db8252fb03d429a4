/* froe.h - durable background work: workflows whose runs survive crashes, are not run twice at once, keep to their
 * concurrency rules, and take turns fairly. The public face of froe's engine, libfroe.
 *
 * The shape of a program:
 *
 *     froe_open            a store: one file, or a PostgreSQL that a fleet shares
 *     froe_workflow_add    name, task function, cron, rules, retries ...
 *     froe_spawn_many      adds runs, from outside or from a task (fan-out)
 *     froe_main            works until SIGTERM; or, on a libuv loop of the program's own, froe_start, froe_stop,
 *                          froe_close
 *
 * Threads. The engine lives on one libuv loop, the caller's or its own. Every function may be called from any thread
 * (froe_open, froe_start, froe_main and froe_close: on the loop's own thread only): a call from another thread is
 * carried out on the loop's thread while the caller waits, so the loop must be running. Callbacks run on the loop's
 * thread, never from inside the call that caused them, and must not block; only task functions of FROE_BLOCKING
 * workflows run elsewhere. Functions named _sync wait for their answer: they are for such task functions and for other
 * threads, and for the loop's own thread while a loop of froe's own is not running (before froe_main).
 *
 * An open engine keeps the loop alive; it sleeps when there is nothing to do. Text is UTF-8 and NUL-terminated; child
 * keys, generations and checkpoints are bytes with a length. Input and metadata are JSON texts of an object, a result
 * is any JSON text.
 *
 * Words. A run is one execution of a workflow on one input; it is live from its spawn to its settlement. A run is tried
 * in attempts. When the attempts are used up it is parked: kept with its last error until somebody retries or drops it.
 * A group is all runs of a workflow for which the expression of its first GROUP_ROUND_ROBIN rule gives the same string.
 *
 * Durability. What froe acknowledges is on disk (fdatasync). Running is volatile: after kill -9 whatever was running is
 * run again, so a task may run more than once (at least once), but not twice at the same time. One exception: a task
 * that goes on after it was told to end (FROE_EVENT_ABANDONED; a lost lease; a process that stood still) may see its
 * run begun anew elsewhere, and counts in no limit any more. What cannot be undone is done only while
 * froe_task_holds_lease says so.
 *
 * What takes its whole process down is no attempt: nobody was left to count it, and the run begins again with the next
 * process. A task that may do that counts for itself: froe_task_set_checkpoint_sync before the dangerous part, and
 * FROE_FAIL_FINAL when the count is too high.
 *
 * C99 and C++ clean. Structs that callers fill, but for items and rules, begin with their size: set it to sizeof and
 * zero the rest. A size that is not this version's is refused, so a program is built with the header of the library
 * that it runs with. */
#ifndef FROE_H
#define FROE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;

typedef struct froe froe;
typedef struct froe_task froe_task;

/* ---- errors ---- */

enum {
    FROE_OK = 0,
    FROE_ERR_INVALID = -3001, /* an argument; the text names it */
    FROE_ERR_MEMORY = -3002,
    FROE_ERR_STATE = -3003,     /* not possible now: not started, stopping, name taken */
    FROE_ERR_NOT_FOUND = -3004, /* no such workflow */
    FROE_ERR_BUSY = -3005,      /* another process works on this store */
    FROE_ERR_STORE = -3006,     /* the store cannot be opened, read or written; nothing acknowledged was lost */
    FROE_ERR_CORRUPT = -3007,   /* the store's file is not a froe store, is damaged, or is from a newer froe */
    FROE_ERR_FULL = -3008,      /* no space left for the store */
    FROE_ERR_TIMEOUT = -3009,   /* a wait was over first */
};

#define FROE_ERROR_TEXT_MAX 512
typedef struct froe_error {
    int code;
    char text[FROE_ERROR_TEXT_MAX];
} froe_error;

/* ---- limits ---- */

#define FROE_NAME_MAX 64                /* bytes of a workflow's name: letters, digits, '_', '-', '.' */
#define FROE_RULES_MAX 8                /* rules of a workflow */
#define FROE_KEY_MAX 1024               /* bytes of a group key */
#define FROE_CHILD_KEY_MAX 2048         /* bytes of a child key */
#define FROE_GENERATION_MAX 512         /* bytes of a generation */
#define FROE_INPUT_MAX (256 * 1024)     /* bytes of an input or metadata */
#define FROE_RESULT_MAX (64 * 1024)     /* bytes of a result */
#define FROE_CHECKPOINT_MAX (16 * 1024) /* bytes of a checkpoint */
#define FROE_SPAWN_MAX 100000           /* items of one froe_spawn_many */
#define FROE_ERROR_KEPT_MAX 4096        /* bytes kept of a failed attempt's text */
#define FROE_RUN_ID_MAX 32              /* characters of a run id with its NUL */

/* ---- run ids ---- */

typedef struct froe_run_id {
    int64_t page; /* 0: none */
    uint32_t index;
} froe_run_id;
int froe_run_id_parse(const char *text, froe_run_id *ret_id); /* "page:index"; FROE_ERR_INVALID */
void froe_run_id_text(froe_run_id id, char text[FROE_RUN_ID_MAX]);

/* ---- opening ---- */

typedef enum froe_level { FROE_DEBUG, FROE_INFO, FROE_WARN, FROE_ERROR } froe_level;

typedef enum froe_event_kind {
    FROE_EVENT_LOG,       /* a task's log line; without a run_id: about a workflow, as a tick that was not made */
    FROE_EVENT_RETRY,     /* an attempt failed (level warn), or froe_task_again put it back (level debug); another
                             follows after delay_us */
    FROE_EVENT_PARKED,    /* the attempts are used up, or the task said there is no point */
    FROE_EVENT_FAILED,    /* a run ended FAILED: its workflow does not park, or a rule's expression gave it no key (then
                             `count` runs of one spawn, for the same reason) */
    FROE_EVENT_CANCELLED, /* a run of this worker was cancelled, and the text says by what */
    FROE_EVENT_REFUSED,   /* CANCEL_NEWEST cancelled new runs (count); a refused cron tick is one */
    FROE_EVENT_ABANDONED, /* a task did not end within its grace: its run is settled without it; its slot stays taken,
                             its places under the rules do not */
    FROE_EVENT_STORE_LOST,   /* the connection to the store's server; froe goes on trying (text: why) */
    FROE_EVENT_STORE_BACK,   /* it is there again */
    FROE_EVENT_LEASE_LOST,   /* the store did not answer in time: what runs is cancelled, nothing more is committed */
    FROE_EVENT_STORE_FAILED, /* fatal: code and text say why; nothing is started any more; stop, close, exit */
} froe_event_kind;

/* Borrowed during the callback. Texts are never NULL: "" where they do not apply; other fields are then 0, the child
 * key NULL. RETRY and PARKED come when they are durable. */
typedef struct froe_event {
    froe_event_kind kind;
    froe_level level;
    const char *workflow, *run_id, *group;
    const char *text;
    const void *child_key;
    size_t child_key_n;
    uint32_t attempt;
    uint64_t count;
    int64_t delay_us;
    int code;
} froe_event;

typedef struct froe_options {
    size_t size;
    /* "sqlite:PATH": a missing file is made (mode 0600), missing folders of its path too (0700); one process at a time,
     * so `froe runs` and its kin can look into a program's store when the program has closed it (a `froe run` answers
     * them itself, through a socket that other programs do not have).
     * "postgres://USER@HOST/DATABASE" (a libpq URI; froe_schema=NAME may be added): any number of hosts. */
    const char *store;
    struct uv_loop_s *loop; /* the caller runs it. NULL: the engine has its own, see froe_main */
    uint32_t slots;         /* task functions at once in this worker; 0: 40 */
    int64_t lease_us;       /* a worker that the store does not hear of for so long loses its runs; 0: 30 s */
    int64_t lock_wait_us;   /* how long to wait for another process to let go of the store; 0: 3 s; < 0: not at all */
    void (*event)(void *arg, const froe_event *event); /* may be NULL */
    void *event_arg;
    const char *worker;      /* this worker's name; NULL: host:pid */
    int64_t history_us;      /* how long finished runs can be looked at; 0: 24 h; < 0: not at all */
    int64_t history_bytes;   /* and how much of the store they may fill; 0: 256 MiB */
    int64_t cancel_grace_us; /* how long a cancelled task may take to end; 0: 30 s */
    /* What a group of a workflow's first FROE_GROUP_ROUND_ROBIN rule may have: given the rule's max_runs, answers that
     * or another (0: no limit). NULL: the rule's for all. Asked from any thread and often, so it is quick and waits for
     * nothing; it answers the same always, and in all processes that work on the store, where it is not kept. */
    uint32_t (*max_runs_of)(void *arg, const char *workflow, const char *group, uint32_t max_runs);
    void *max_runs_arg;
} froe_options;

/* Opens or makes the store; an SQLite one is then this process's alone. `*ret_froe` is set on success only. Runs that a
 * dead process left running are queued again (froe_recovered tells how many, of an SQLite store). Blocks for disk and
 * network I/O, and for some seconds when another process is just letting go of the store. An engine that is never
 * started is no worker: it can spawn, look and act. */
int froe_open(const froe_options *options, froe **ret_froe, froe_error *error);
uint64_t froe_recovered(const froe *froe);

/* A descriptor whose lock lasts as long as any copy of it is open, or -1: give it to helper processes that must be dead
 * before another froe may take the store. Borrowed. */
int froe_lock_fd(const froe *froe);

/* What the store is, for people and without a password: "SQLite 3.40.1, /path/file", or a server's version and schema,
 * and how it wakes workers. Borrowed until the engine is closed. */
const char *froe_store_describe(const froe *froe);

/* ---- workflows ---- */

typedef enum froe_strategy {
    /* At most max_runs of a group are admitted; the others wait. Groups with work take turns. max_runs 0: no limit,
     * turns alone. */
    FROE_GROUP_ROUND_ROBIN = 1,
    /* While max_runs of a group are admitted, new ones are cancelled at once (counted, not kept). What was admitted is
     * never evicted, and a run waiting for a retry keeps its place. */
    FROE_CANCEL_NEWEST = 2,
    /* Of the live runs of a group the max_runs newest stay: a new run cancels the oldest at its spawn, queued ones at
     * once, running ones cooperatively, and starts when they have ended. */
    FROE_CANCEL_IN_PROGRESS = 3,
    /* In each window of period_us (aligned to the clock) at most max_runs runs are started, of all workflows whose
     * rules of this kind give the same key with the same period. A run that waits for its turn holds no slot. */
    FROE_RATE_LIMIT = 4,
} froe_strategy;

/* Several rules form a chain in the order given: a run is admitted by one after the other, and holds what it has. */
typedef struct froe_rule {
    /* Gives the group key, a string: an expression of the Common Expression Language over `input`,
     * `additional_metadata` and `workflow_run_id`, as 'constant', input.bucket, or
     * additional_metadata.x + '/' + input.y.lowerAscii() (docs/expressions.md). Evaluated at the spawn. A run for which
     * it fails ends FAILED with the reason, and no other run is hurt. */
    const char *expression;
    uint32_t max_runs;
    froe_strategy strategy;
    int64_t period_us; /* RATE_LIMIT: 1 s .. 1 day */
} froe_rule;

typedef void froe_task_fn(froe_task *task, void *arg);

typedef struct froe_workflow {
    size_t size;
    const char *name;
    /* Does the work. Must end the task exactly once with one of the froe_task_<end> functions below: before it returns
     * or later, from any thread. In a FROE_BLOCKING workflow it is called on a thread of the engine's pool (one for
     * each slot that is in use), may block, and ends the task before it returns. */
    froe_task_fn *run;
    /* Asks a running task to end soon: its timeout passed, its lease was lost, somebody cancelled the run, or a
     * stop-now came. It must still be ended, by any end, inside this call or later; what it says then is overruled
     * where the engine knows better (a timeout is a failed attempt). Called once for a task, on the loop's thread, also
     * for FROE_BLOCKING ones (which otherwise ask froe_task_cancelled now and then). May be NULL. When the task has not
     * ended after the engine's cancel_grace_us the run is settled without it; its slot stays taken until it ends. */
    froe_task_fn *cancel;
    void *arg;
    const froe_rule *rules;
    size_t n_rules;
    /* Five fields, six with leading seconds, or @hourly and kin; CRON_TZ=Zone may stand before. NULL: none. See `froe
     * cron`. A tick is made when it is at most a minute late. */
    const char *cron;
    uint32_t retries;            /* attempts after the first */
    int64_t timeout_us;          /* of an attempt, from its start; 0: none */
    int64_t backoff_us;          /* before the first retry; doubles each time, half of it jitter; 0: 1 s */
    int64_t backoff_max_us;      /* 0: 5 min */
    unsigned flags;              /* FROE_BLOCKING ... */
    const char *timezone;        /* of the cron, an IANA name; NULL: UTC */
    const char *cron_input;      /* JSON object, the input of its runs; NULL: {} */
    int64_t schedule_timeout_us; /* a run that was not started so long after its spawn (or its delay) is cancelled;
                                    0: none is ever cancelled for having waited */
} froe_workflow;

enum {
    FROE_BLOCKING = 1,   /* the task function runs on a pool thread */
    FROE_CATCH_UP = 2,   /* if ticks were missed while no worker ran, one run makes up for them (the newest one's); else
                            none does */
    FROE_NEVER_PARK = 4, /* when the attempts are used up the run ends FAILED, its child key is free again */
};

/* Copies the definition. Only before froe_start. FROE_ERR_INVALID for an expression, cron text or time zone that does
 * not compile, with the place. Limits belong to the name: a later program with another max_runs takes over all its
 * runs. */
int froe_workflow_add(froe *froe, const froe_workflow *workflow, froe_error *error);

/* ---- running ---- */

int froe_start(froe *froe, froe_error *error); /* starts claiming and the cron */

/* For programs without a loop of their own (options.loop was NULL): starts the worker, unless froe_start was called
 * before, which is fine, and works until SIGINT or SIGTERM (the first lets what runs finish, the second cancels it; one
 * that was ignored stays so) or until somebody calls froe_stop; then closes the engine, which is gone when this
 * returns. 0, or the store's failure; FROE_ERR_STATE (not this thread, another loop, called twice): the engine is as it
 * was. The handlers of the two signals are the program's own again afterwards. */
int froe_main(froe *froe, froe_error *error);

typedef enum froe_stop_mode {
    FROE_STOP_FINISH, /* start nothing new; what runs is finished */
    FROE_STOP_NOW,    /* also cancel what runs; unless it succeeds it is queued again, no attempt is counted, and the
                         checkpoint and generation it set are kept */
} froe_stop_mode;
/* `stopped` comes when nothing runs and all is settled and durable. May be called again to go from FINISH to NOW (the
 * later `stopped` replaces the earlier). Tasks that were abandoned (cancel_grace_us) are not waited for: their runs are
 * queued again. While the store's server cannot be reached FINISH waits for it; NOW does so for a lease's length and
 * then gives up: what runs is given to others when the lease is over, and nothing acknowledged is lost. */
void froe_stop(froe *froe, froe_stop_mode mode, void (*stopped)(void *arg), void *arg);
/* After froe_stop has finished, or when froe_start was never called (otherwise it stops NOW first). What was given to
 * the store before is still done, and its callbacks come. The engine is gone when `closed` is called. With a loop of
 * froe's own it is gone when this returns (called from one of its callbacks: when froe_main returns). No other thread
 * may be in a call then, abandoned tasks excepted: what they may look at stays until they end, all else that they call
 * does nothing, and a thread that hangs in a task function is left to itself. */
void froe_close(froe *froe, void (*closed)(void *arg), void *arg);

/* ---- spawning ---- */

typedef struct froe_item {
    const void *child_key; /* NULL: none, no deduplication. While a run of the workflow with this child key is live, no
                              other is created, whoever spawns it. */
    size_t child_key_n;
    const void *generation; /* which state of the thing named by the child key this is (an ETag); may be NULL. A parked
                               run gives way to a new one with another generation. */
    size_t generation_n;
    const char *input; /* NULL: the spawn's */
} froe_item;

typedef struct froe_spawn {
    size_t size;
    const char *workflow;
    froe_task *parent;    /* NULL, or the task that spawns: its run id is remembered as the parent, and its metadata is
                             inherited key by key (but for keys that begin with "froe__") */
    const char *input;    /* shared by all items without their own; NULL: {} */
    const char *metadata; /* shared; NULL: {} */
    const froe_item *items;
    size_t n;          /* NULL items with n = 1: one run without child key; n = 0: none, which is no error */
    int64_t delay_us;  /* not before */
    unsigned priority; /* 1 to 3; 3 goes first among the queued runs of its group; 0: 1 */
    /* NULL, or room for n: 1 for each item for which this spawn created a run, 0 for the others. Filled in right before
     * `done` is called without an error, or froe_spawn_sync returns, and must live until then. */
    unsigned char *ret_created;
} froe_spawn;

typedef struct froe_spawned {
    uint32_t created;
    uint32_t duplicates; /* their child key is live (parked in the same generation included), or an earlier item has it
                          */
    uint32_t superseded; /* of the created: those that took a parked run's place */
    uint32_t cancelled;  /* by CANCEL_NEWEST */
    uint32_t failed; /* a rule's expression gave no key for it (no string, too long, a NUL in it): the run ended FAILED;
                        the reason is told as an event and kept with it */
    uint32_t driven_out; /* older runs that CANCEL_IN_PROGRESS cancelled at once */
    /* Of each item, borrowed during the callback: the run that was created for it, or of a duplicate the live run that
     * has its child key. page 0: none, as a rule refused or drove out the item, or the one that it is a duplicate of.
     */
    const froe_run_id *runs;
    size_t n;
} froe_spawned;

/* Fan out and gather, through crashes. A task that spawns children with child keys and waits for them does the same in
 * its next attempt: of children that are live it is told the run ids again, and waits for them. Those that have
 * finished meanwhile are not live any more, and spawning their keys makes new runs. So a parent keeps the ids in its
 * checkpoint as early as it can and then spawns what it has no id of; and a child is such that twice does no harm. */

typedef void froe_spawned_fn(void *arg, const froe_spawned *spawned, const froe_error *error);

/* Copies everything. `done` (may be NULL) comes when the runs are durable, with error NULL, or with spawned NULL when
 * the store failed. All items of one call, however many, become durable together or not at all. Items with the same
 * group keys, given in sorted order of their child keys, cost least. Spawns, values and ends of tasks become durable in
 * the order in which they were given. */
int froe_spawn_many(froe *froe, const froe_spawn *spawn, froe_spawned_fn *done, void *arg, froe_error *error);

/* Waits until they are durable. `ret_runs`: NULL, or room for n ids; ret_spawned (may be NULL) ->runs points there. */
int froe_spawn_sync(froe *froe, const froe_spawn *spawn, froe_spawned *ret_spawned, froe_run_id *ret_runs,
                    froe_error *error);

/* ---- waiting for results ---- */

typedef enum froe_state {
    FROE_UNKNOWN = 0, /* never was, or its history is over */
    FROE_QUEUED,
    FROE_WAITING, /* for its time: delayed, or before a retry */
    FROE_RUNNING, /* leased by a worker, which runs it now or very soon */
    FROE_PARKED,
    FROE_SUCCEEDED, /* from here on: finished */
    FROE_FAILED,
    FROE_CANCELLED,
} froe_state;

typedef struct froe_result {
    froe_run_id id;
    froe_state state;
    const char *result; /* NULL: none */
    const char *error;  /* NULL: none */
} froe_result;

#define FROE_WAIT_MAX 100000
/* `done` comes when each of the runs is finished, parked or unknown, or with FROE_ERR_TIMEOUT and what is known by then
 * after timeout_us (0: none). Copies the ids; one with page 0 is FROE_UNKNOWN at once, no ids are FROE_ERR_INVALID
 * unless n is 0. A task that waits for its children holds its slot meanwhile: limit such
 * tasks by a rule to fewer than the slots there are. Needs the history (froe_options.history_us). */
int froe_wait(froe *froe, const froe_run_id *runs, size_t n, int64_t timeout_us,
              void (*done)(void *arg, const froe_result *results, size_t n, const froe_error *error), void *arg,
              froe_error *error);
/* *ret_results: n of them, in order, in one piece of memory for froe_results_free; also with FROE_ERR_TIMEOUT, and with
 * FROE_ERR_STATE when the calling task was cancelled meanwhile (`task` may be NULL). */
int froe_wait_sync(froe *froe, froe_task *task, const froe_run_id *runs, size_t n, int64_t timeout_us,
                   froe_result **ret_results, froe_error *error);
void froe_results_free(froe_result *results);

/* ---- inside a task ---- */

/* Borrowed until the task ends. */
const char *froe_task_workflow(const froe_task *task);
const char *froe_task_run_id(const froe_task *task); /* "page:index" */
froe_run_id froe_task_id(const froe_task *task);
froe *froe_task_engine(const froe_task *task);
const char *froe_task_input(const froe_task *task);
const char *froe_task_metadata(const froe_task *task);
const char *froe_task_group(const froe_task *task);
const void *froe_task_child_key(const froe_task *task, size_t *ret_n);
const void *froe_task_generation(const froe_task *task, size_t *ret_n);
const void *froe_task_checkpoint(const froe_task *task, size_t *ret_n); /* what an earlier attempt left; n 0: nothing */
uint32_t froe_task_attempt(const froe_task *task);                      /* 1 is the first */
/* For the task function's own state; NULL at first. */
void *froe_task_data(const froe_task *task);
void froe_task_set_data(froe_task *task, void *data);

/* 0: go on. Otherwise `cancel` was called, and why. */
typedef enum froe_cancel_reason {
    FROE_NOT_CANCELLED = 0,
    FROE_CANCELLED_TIMEOUT,
    FROE_CANCELLED_STOP,
    FROE_CANCELLED_LEASE_LOST, /* also when the store has failed */
    FROE_CANCELLED_ASKED, /* by froe_run_cancel: the run ends CANCELLED whatever the task says, unless it succeeds */
    FROE_CANCELLED_DRIVEN_OUT, /* by a newer run, CANCEL_IN_PROGRESS: likewise */
} froe_cancel_reason;
froe_cancel_reason froe_task_cancelled(const froe_task *task);

/* Is it certain that nobody else was given this run? To be asked right before an act that cannot be undone; false when
 * the store has not been heard of for too long. */
int froe_task_holds_lease(const froe_task *task);

/* A line in the run's log: kept in the store (bounded: the newest 10000 lines) and told as an event. Cut at 1000 bytes.
 */
void froe_task_log(froe_task *task, froe_level level, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* Bytes that the next attempt sees, whatever becomes of this one; replaces what was there; n 0 removes it. They go to
 * the store at once or with what else goes there within some 50 ms, in the order in which spawns, values and ends are
 * given; of several that a task sets in that time only the newest is written, so that it may set one as often as it
 * likes. When the attempt fails, is put back or is stopped the next one sees the newest that was set; when the process
 * is killed or the lease lost, the newest that was durable. Nothing is left of it when the run has ended.
 * FROE_ERR_MEMORY, FROE_ERR_INVALID when too long, FROE_ERR_STATE when the lease is lost or the task was abandoned, the
 * store's failure: then it is not kept. */
int froe_task_set_checkpoint(froe_task *task, const void *data, size_t n);
/* Likewise, and waits until it is durable; also for a task that was cancelled, but no longer than it has the lease. */
int froe_task_set_checkpoint_sync(froe_task *task, const void *data, size_t n, froe_error *error);

/* Gives the attempt `more_us` from now in place of what was left of its timeout. No effect once it was cancelled, or
 * where the workflow has none. */
void froe_task_refresh_timeout(froe_task *task, int64_t more_us);

/* The state of the thing that this attempt works on. When it is not the one that earlier attempts were about, this
 * becomes attempt 1, and their checkpoint is dropped (froe_task_checkpoint gives nothing any more). */
int froe_task_set_generation(froe_task *task, const void *data, size_t n);

/* The ends. The task is gone afterwards. */
void froe_task_succeed(froe_task *task);
/* With a result for who waits. FROE_ERR_INVALID (not a JSON text, too long) and FROE_ERR_MEMORY: the task is not ended.
 */
int froe_task_succeed_with(froe_task *task, const char *result);
enum {
    FROE_FAIL_FINAL = 1,  /* no more attempts: park it at once; also of an attempt that timed out */
    FROE_FAIL_FORGET = 2, /* no more attempts, and not parked: settled, its child key is free, nothing is counted; the
                              history shows it as CANCELLED, with the text */
};
void froe_task_fail(froe_task *task, int flags,
                    const char *text); /* a failed attempt; text is kept (cut at 4096 bytes) */
/* Not the run's fault: it is queued again after delay_us with the same attempt number. A short delay is sat out in
 * memory when there is nothing to be kept of the attempt and the workflow has no chain of rules; the run stays this
 * worker's meanwhile, and keeps its place in its group. */
void froe_task_again(froe_task *task, int64_t delay_us, const char *text);

/* ---- values ---- */

#define FROE_VALUE_MAX (64 * 1024) /* bytes of a value */
#define FROE_VALUE_NAME_MAX 1024   /* bytes of its name */
/* A small durable value under a name; n 0 removes it. Ordered with spawns (see froe_spawn_many). `done` may be NULL. */
int froe_value_put(froe *froe, const char *name, const void *data, size_t n,
                   void (*done)(void *arg, const froe_error *error), void *arg, froe_error *error);
/* `data` NULL: no such value, or an error. */
int froe_value_get(froe *froe, const char *name,
                   void (*done)(void *arg, const void *data, size_t n, const froe_error *error), void *arg,
                   froe_error *error);

int froe_value_put_sync(froe *froe, const char *name, const void *data, size_t n, froe_error *error);
/* Into `data`, which has room for `size` bytes (FROE_VALUE_MAX is enough for any). FROE_ERR_NOT_FOUND: no such value;
 * FROE_ERR_INVALID: it is longer, and *ret_n says how long. */
int froe_value_get_sync(froe *froe, const char *name, void *data, size_t size, size_t *ret_n, froe_error *error);

/* ---- groups ---- */

typedef struct froe_group {
    const char *workflow, *group;
    uint64_t live;    /* spawned and not settled: queued, running, waiting for a retry; parked ones are not in it */
    uint64_t running; /* in this worker, now */
    uint64_t waiting; /* for a retry */
    uint64_t parked;
    uint64_t done;      /* succeeded, ever */
    uint64_t failed;    /* failed attempts, ever */
    uint64_t cancelled; /* runs that ended CANCELLED, or were refused by CANCEL_NEWEST; ever */
    uint32_t max_runs;  /* by the first round-robin rule; 0: no limit */
    uint32_t limit;     /* set by froe_group_limit; UINT32_MAX: none */
    int64_t paused_us;  /* still to go, by froe_group_limit */
} froe_group;
/* As this worker knows it, without asking the store: exact once what it did is settled. Of a store that a fleet shares
 * the numbers are read anew every 2 s while there is something to do or somebody looks: what others did may be missing
 * for so long. All zero (limit: none) for an unknown group. The names in *ret_group are those that were given. */
void froe_group_get(froe *froe, const char *workflow, const char *group, froe_group *ret_group);
/* All groups with live, parked or counted runs, in no particular order (one whose history is over is not counted any
 * more); workflow NULL: of all, those of the store that this program did not add included. `each` must not spawn, end
 * tasks or set limits. */
void froe_groups_each(froe *froe, const char *workflow, void (*each)(void *arg, const froe_group *group), void *arg);

/* Slows a group in this worker, for now: at most max_running of its runs at once (UINT32_MAX: the rules alone), none
 * started before pause_us from now. Its slots go to others. Not durable. */
/* FROE_ERR_NOT_FOUND for an unknown workflow, FROE_ERR_INVALID for a negative pause or a key that is too long. */
int froe_group_limit(froe *froe, const char *workflow, const char *group, uint32_t max_running, int64_t pause_us);

/* ---- parked runs ---- */

typedef struct froe_parked_filter {
    size_t size;
    const char *workflow; /* NULL: any, as the others */
    const char *group;
    const void *child_key; /* exact */
    size_t child_key_n;
    const char *after; /* list only: run id after which to go on */
    uint32_t limit;    /* list only; 0: 1000; at most 10000 */
} froe_parked_filter;

typedef struct froe_parked {
    const char *run_id, *workflow, *group, *error;
    const void *child_key, *generation;
    size_t child_key_n, generation_n;
    uint32_t attempts;
    int64_t parked_utc_us;
} froe_parked;

/* Callbacks: `each` per run in order of run id, then `done` once with how many. These work without froe_start too. */
int froe_parked_list(froe *froe, const froe_parked_filter *filter, void (*each)(void *arg, const froe_parked *parked),
                     void (*done)(void *arg, uint64_t count, const froe_error *error), void *arg, froe_error *error);
/* Queues them again with no attempts counted. Checkpoints stay. */
int froe_parked_retry(froe *froe, const froe_parked_filter *filter,
                      void (*done)(void *arg, uint64_t count, const froe_error *error), void *arg, froe_error *error);
/* Forgets them. What they were about is not touched. */
int froe_parked_drop(froe *froe, const froe_parked_filter *filter,
                     void (*done)(void *arg, uint64_t count, const froe_error *error), void *arg, froe_error *error);
/* Of these and of all below there are _sync forms: in place of `done` they return its error, and give what else it is
 * told through ret_ arguments (which may be NULL and are set on success only). `each` and `see` are as with the others:
 * called on the loop's thread, while the caller waits, with what is borrowed during the call. */
int froe_parked_list_sync(froe *froe, const froe_parked_filter *filter,
                          void (*each)(void *arg, const froe_parked *parked), void *arg, uint64_t *ret_count,
                          froe_error *error);
int froe_parked_retry_sync(froe *froe, const froe_parked_filter *filter, uint64_t *ret_count, froe_error *error);
int froe_parked_drop_sync(froe *froe, const froe_parked_filter *filter, uint64_t *ret_count, froe_error *error);

/* ---- looking and acting ---- */

/* These ask the store, so they see the whole fleet; they work without froe_start too. What callbacks get is borrowed
 * during the callback. `done` comes once, after the last `each`, with how many there were. */
typedef void froe_counted_fn(void *arg, uint64_t count, const froe_error *error);

typedef struct froe_run {
    froe_run_id id;
    const char *run_id; /* the same as text */
    froe_state state;
    int cancel_asked; /* RUNNING, and asked to end */
    const char *workflow, *group, *input, *metadata;
    const void *child_key, *generation;
    size_t child_key_n, generation_n;
    const char *result, *error; /* of the newest attempt; NULL: none */
    const char *worker;         /* who has it, or had it last; NULL: nobody */
    froe_run_id parent;         /* page 0: none */
    unsigned priority;
    uint32_t attempts;                                /* ended so far, those put back without blame excepted */
    int64_t created_utc_us, due_utc_us, ended_utc_us; /* due: WAITING; ended: the newest attempt; 0: does not apply */
    int64_t duration_us;                              /* of the newest attempt */
} froe_run;

typedef struct froe_runs_filter {
    size_t size;
    const char *workflow; /* NULL: any, as the others */
    const char *group;
    const void *child_key; /* exact */
    size_t child_key_n;
    const char *metadata_name, *metadata_value; /* a top-level key of the metadata with that string */
    unsigned states;                            /* 1 << froe_state, or-ed; 0: any */
    int64_t since_utc_us, until_utc_us;         /* created or ended in [since, until); 0: open */
    froe_run_id before;                         /* go on after this one; page 0: from the newest */
    uint32_t limit;                             /* 0: 1000; at most 10000 */
} froe_runs_filter;
/* The newest first. */
int froe_runs_list(froe *froe, const froe_runs_filter *filter, void (*each)(void *arg, const froe_run *run),
                   froe_counted_fn *done, void *arg, froe_error *error);
int froe_runs_list_sync(froe *froe, const froe_runs_filter *filter, void (*each)(void *arg, const froe_run *run),
                        void *arg, uint64_t *ret_count, froe_error *error);

typedef struct froe_attempt {
    uint32_t attempt;
    froe_state state; /* SUCCEEDED, FAILED, WAITING (failed, and another follows), PARKED, CANCELLED */
    int64_t ended_utc_us, duration_us;
    const char *worker, *error, *result; /* NULL: none */
} froe_attempt;
/* `run` NULL and FROE_ERR_NOT_FOUND: never was, or its history is over. */
int froe_run_get(froe *froe, froe_run_id id,
                 void (*done)(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n,
                              const froe_error *error),
                 void *arg, froe_error *error);
int froe_run_get_sync(froe *froe, froe_run_id id,
                      void (*see)(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n), void *arg,
                      froe_error *error);

typedef struct froe_log_line {
    froe_run_id id;
    int64_t utc_us;
    froe_level level;
    const char *text;
} froe_log_line;
/* id.page 0: of all runs. The oldest first. */
int froe_run_logs(froe *froe, froe_run_id id, void (*each)(void *arg, const froe_log_line *line), froe_counted_fn *done,
                  void *arg, froe_error *error);
int froe_run_logs_sync(froe *froe, froe_run_id id, void (*each)(void *arg, const froe_log_line *line), void *arg,
                       uint64_t *ret_count, froe_error *error);

/* Queued, waiting and parked runs are CANCELLED at once; a running one is asked to end, on whichever host it is. `was`
 * tells which it was; a finished one is left as it is. FROE_ERR_NOT_FOUND. */
int froe_run_cancel(froe *froe, froe_run_id id, void (*done)(void *arg, froe_state was, const froe_error *error),
                    void *arg, froe_error *error);
int froe_run_cancel_sync(froe *froe, froe_run_id id, froe_state *ret_was, froe_error *error);
/* A parked run is queued again with no attempts counted. FROE_ERR_STATE: it is not parked. */
int froe_run_retry(froe *froe, froe_run_id id, void (*done)(void *arg, const froe_error *error), void *arg,
                   froe_error *error);
int froe_run_retry_sync(froe *froe, froe_run_id id, froe_error *error);
/* A finished run's workflow, input, metadata, child key and generation as a new run. FROE_ERR_STATE: it is not
 * finished, or a live run has its child key. */
int froe_run_replay(froe *froe, froe_run_id id, void (*done)(void *arg, froe_run_id replayed, const froe_error *error),
                    void *arg, froe_error *error);
int froe_run_replay_sync(froe *froe, froe_run_id id, froe_run_id *ret_replayed, froe_error *error);

typedef struct froe_workflow_info {
    const char *name;
    int paused;
    size_t n_rules;
    uint64_t queued, waiting, running, parked; /* runs now, of the fleet */
    uint64_t done, failed, cancelled;          /* ever; failed counts attempts */
    int64_t last_tick_utc_us;                  /* of its cron; 0: none yet */
} froe_workflow_info;
int froe_workflows_list(froe *froe, void (*each)(void *arg, const froe_workflow_info *workflow), froe_counted_fn *done,
                        void *arg, froe_error *error);
int froe_workflows_list_sync(froe *froe, void (*each)(void *arg, const froe_workflow_info *workflow), void *arg,
                             uint64_t *ret_count, froe_error *error);
/* Of a paused workflow no run is leased any more, on no host, until it is resumed, and this engine starts none. Another
 * host gives back what it has leased and not started when it hears of it, within about two seconds or when the next of
 * its runs ends. Runs can still be added, and its cron ticks; what runs goes on. Durable. FROE_ERR_NOT_FOUND. */
int froe_workflow_pause(froe *froe, const char *workflow, int paused, void (*done)(void *arg, const froe_error *error),
                        void *arg, froe_error *error);
int froe_workflow_pause_sync(froe *froe, const char *workflow, int paused, froe_error *error);

typedef struct froe_worker_info {
    const char *name;
    int self; /* it is this engine's */
    uint32_t slots;
    uint64_t leased; /* runs it has in hand */
    int64_t since_utc_us, heard_utc_us, expires_utc_us;
} froe_worker_info;
int froe_workers_list(froe *froe, void (*each)(void *arg, const froe_worker_info *worker), froe_counted_fn *done,
                      void *arg, froe_error *error);
int froe_workers_list_sync(froe *froe, void (*each)(void *arg, const froe_worker_info *worker), void *arg,
                           uint64_t *ret_count, froe_error *error);

typedef struct froe_group_info {
    const char *workflow, *group;
    uint64_t backlog;  /* queued and waiting */
    uint64_t leased;   /* runs in workers' hands */
    uint32_t admitted; /* tokens that workers hold */
    uint32_t limit;    /* of the first round-robin rule; 0: none */
    uint64_t parked, done, failed, cancelled;
    int64_t last_granted_utc_us; /* 0: not since the store was made or opened */
} froe_group_info;
/* As froe_groups_each, but of the whole fleet. */
int froe_groups_list(froe *froe, const char *workflow, void (*each)(void *arg, const froe_group_info *group),
                     froe_counted_fn *done, void *arg, froe_error *error);
int froe_groups_list_sync(froe *froe, const char *workflow, void (*each)(void *arg, const froe_group_info *group),
                          void *arg, uint64_t *ret_count, froe_error *error);

const char *froe_version(void); /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#endif
