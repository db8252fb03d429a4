/* engine.h - what the rooms of the engine share. Only they and the engine's unit tests include it.
 *
 * Their state is in state.h. Work for the store is packed into requests (committer.h); each room has its own. The
 * rooms:
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

#include "state.h"

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
void workflows_free(froe *engine);

/* groups.c */
/* NULL: absent or out of memory. Without a reference to it, it may be gone after the next snapshot_apply. */
struct group *group_get(struct workflow *workflow, struct bytes key, bool create);
uint32_t group_max_runs(const struct froe *engine, const struct group *group); /* 0: no limit */
struct group *group_ref(struct group *group);
void group_unref(struct group *group); /* NULL is fine */
void group_free(struct group *group);
bool group_lets(const struct group *group);            /* may one more of its runs be started? */
void groups_resume(froe *engine, int64_t now_mono_us); /* ends pauses that are over */
int64_t groups_next_mono_us(const froe *engine);
/* How many runs of a lane wait for a retry; the group's number follows. -ENOMEM. */
int group_set_waiting(froe *engine, struct group *group, int64_t lane, uint64_t count);
int group_add_waiting(froe *engine, struct group *group, int64_t lane);
int group_less_waiting(froe *engine, struct group *group, int64_t lane, uint64_t by);
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
bool claim_wants(const froe *engine, const struct lane *lane);       /* it runs low, and may be refilled */
bool claim_wants_along(const froe *engine, const struct lane *lane); /* it is about to, if somebody else is asked for */
bool claim_idles(const froe *engine, const struct lane *lane);       /* it takes turns, and has nothing to start */
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
/* Runs of pages from this one on were made just now: a wait for them need not ask at once. INT64_MAX: none were. */
void waits_fresh(froe *engine, int64_t page);

/* Appends at most `max` bytes of a text, cut between UTF-8 characters. */
static inline struct bytes cut_utf8(struct bytes text, size_t max) {
    if (text.n <= max)
        return text;
    size_t n = max;
    while (n > 0 && n > max - 4 && ((unsigned char)text.p[n] & 0xC0) == 0x80)
        n--;
    return bytes_of(text.p, n);
}
