/* cancel.c - asking tasks to end, and doing without those that do not.
 *
 * A cancelled task is told once, by its workflow's `cancel` and by froe_task_cancelled. When it has not ended after the
 * grace period it is abandoned: its run is settled as if it had failed, it holds no lease any more, and it keeps its
 * slot and all that it may look at until it ends. */
#include "engine.h"

static int64_t after(int64_t now, int64_t length_us) {
    int64_t at;
    return __builtin_add_overflow(now, length_us, &at) ? INT64_MAX : at;
}

void task_cancel(froe_task *task, froe_cancel_reason reason) {
    struct froe *engine = task->engine;
    struct workflow *workflow = task->workflow;
    list_move_back(&engine->cancelled, &task->link);
    task->grace_mono_us = after(engine_mono_us(engine), engine->cancel_grace_us);
    atomic_store_explicit(&task->cancelled, (int)reason, memory_order_release);
    calls_task_cancelled(engine, task);
    engine->dirty = true;
    if (workflow->cancel)
        workflow->cancel(task, workflow->arg); /* may end it, and others */
}

void tasks_cancel_all(froe *engine, froe_cancel_reason reason) {
    for (size_t i = 0; i < engine->n_workflows; i++) {
        struct list *running = &engine->workflows[i]->running;
        while (!list_empty(running))
            task_cancel(LIST_ENTRY(running->next, froe_task, link), reason);
    }
}

/* ---- asked by the store ---- */

const char *cancel_text(froe_cancel_reason reason) {
    return reason == FROE_CANCELLED_DRIVEN_OUT ? "cancelled: driven out by a newer run"
                                               : "cancelled: somebody asked for it";
}

static void make_cancelled(const struct lane *lane, const struct lease *lease, uint32_t at, struct bytes text,
                           struct store_settled *ret_item, struct event_node **ret_event) {
    const struct store_run *run = &lease->store->runs[at];
    char run_id[FROE_RUN_ID_MAX];
    froe_run_id_text((froe_run_id){lease->store->page, run->index}, run_id);
    froe_event event = {
        .kind = FROE_EVENT_CANCELLED,
        .level = FROE_INFO,
        .workflow = lane->workflow->name,
        .group = lane->group->key,
        .run_id = run_id,
        .child_key = run->child_key.p,
        .child_key_n = run->child_key.n,
    };
    *ret_item = (struct store_settled){.outcome = STORE_CANCELLED, .error = text};
    *ret_event = event_make(&event, text);
}

/* One that is leased and was not started; `text` is static. The lane may be gone afterwards. */
static void cancel_unstarted(struct froe *engine, struct lane *lane, struct lease *lease, uint32_t at,
                             const char *text) {
    if (settle_reserve(engine, 1) < 0 || held_take_out(engine, lane, lease, at) < 0) {
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
        return;
    }
    struct store_settled item;
    struct event_node *event;
    make_cancelled(lane, lease, at, bytes_str(text), &item, &event);
    settle_add(engine, lane, lease, at, &item, 0, event);
}

/* Of those that run, or wait in memory for another go. */
static froe_task *find_in(const struct list *tasks, const struct lease *lease, uint32_t at) {
    LIST_EACH (link, tasks) {
        froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (task->lease == lease && task->at == at)
            return task;
    }
    return NULL;
}

static froe_task *find(const struct froe *engine, const struct lane *lane, const struct lease *lease, uint32_t at) {
    const struct list *places[] = {&lane->workflow->running, &engine->cancelled, &lane->again, &engine->waiting};
    froe_task *task = NULL;
    for (size_t i = 0; i < sizeof places / sizeof places[0] && !task; i++)
        task = find_in(places[i], lease, at);
    return task;
}

static void ask_task(froe_task *task, bool driven_out) {
    froe_cancel_reason reason = driven_out ? FROE_CANCELLED_DRIVEN_OUT : FROE_CANCELLED_ASKED;
    if (task->state != TASK_RUNNING) {
        struct store_settled item;
        struct event_node *event;
        make_cancelled(task->lane, task->lease, task->at, bytes_str(cancel_text(reason)), &item, &event);
        task_settle_waiting(task, &item, event);
    } else if (froe_task_cancelled(task) == FROE_NOT_CANCELLED) {
        task_cancel(task, reason);
    } else if (froe_task_cancelled(task) != FROE_CANCELLED_LEASE_LOST) {
        /* It was told to end already, for another reason; what becomes of the run follows this one. */
        atomic_store_explicit(&task->cancelled, (int)reason, memory_order_release);
    }
}

static void ask_one(struct froe *engine, struct lease *lease, const struct store_cancel *asked) {
    struct lane *lane = held_find(engine, lease->store->lane);
    uint32_t at = 0;
    while (at < lease->n && lease->store->runs[at].index != asked->index)
        at++;
    if (!lane || at == lease->n)
        return;
    if (!lease_unstarted(lease, at)) {
        froe_task *task = find(engine, lane, lease, at);
        if (task)
            ask_task(task, asked->driven_out);
        return;
    }
    cancel_unstarted(engine, lane, lease, at,
                     cancel_text(asked->driven_out ? FROE_CANCELLED_DRIVEN_OUT : FROE_CANCELLED_ASKED));
}

void cancels_take(froe *engine, const struct store_cancels *cancels) {
    for (size_t i = 0; i < cancels->n && !engine->failed; i++) {
        LIST_EACH_SAFE (link, following, &engine->leases) {
            struct lease *lease = LIST_ENTRY(link, struct lease, in_all);
            if (lease->store->id != cancels->items[i].lease)
                continue;
            ask_one(engine, lease, &cancels->items[i]);
            break;
        }
    }
}

static void cancel_late(struct froe *engine, struct lease *lease) {
    struct lane *lane = held_find(engine, lease->store->lane);
    uint32_t left = 0;
    for (uint32_t at = 0; at < lease->n; at++)
        left += lease_unstarted(lease, at);
    for (uint32_t at = 0; lane && left > 0 && !engine->failed; at++) {
        if (!lease_unstarted(lease, at))
            continue;
        left--; /* after the last the lane may be gone */
        cancel_unstarted(engine, lane, lease, at, "cancelled: not started in time");
    }
}

/* The store does not know of the wait in here, and tells nothing of the wait there: it is counted from the lease. */
static void cancels_late(froe *engine, int64_t now) {
    if (now < engine->start_by_mono_us || engine->failed || engine->lease_lost)
        return;
    engine->start_by_mono_us = INT64_MAX;
    LIST_EACH_SAFE (link, following, &engine->leases) {
        struct lease *lease = LIST_ENTRY(link, struct lease, in_all);
        if (lease->start_by_mono_us == 0 || lease->next == lease->n)
            continue;
        if (lease->start_by_mono_us <= now)
            cancel_late(engine, lease);
        else if (lease->start_by_mono_us < engine->start_by_mono_us)
            engine->start_by_mono_us = lease->start_by_mono_us;
    }
}

/* ---- the grace period ---- */

void cancel_time(froe *engine, int64_t now) {
    cancels_late(engine, now);
    while (!list_empty(&engine->cancelled)) {
        froe_task *first = LIST_ENTRY(engine->cancelled.next, froe_task, link);
        if (first->grace_mono_us > now)
            return;
        task_abandon(first);
    }
}

int64_t cancel_next_mono_us(const froe *engine) {
    int64_t next = engine->failed || engine->lease_lost ? INT64_MAX : engine->start_by_mono_us;
    if (list_empty(&engine->cancelled))
        return next;
    int64_t grace = LIST_ENTRY(engine->cancelled.next, froe_task, link)->grace_mono_us;
    return grace < next ? grace : next;
}
