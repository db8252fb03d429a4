/* tasks.c - from a leased run to a call of the task function. What ends a task is in ends.c. */
#include "engine.h"

#include "mem.h"

#define STARTS_PER_PUMP 512             /* then the loop sees to other things */
#define START_LENGTH_US (2 * US_PER_MS) /* likewise */

static froe_task *task_make(struct froe *engine) {
    struct list *link = list_pop_front(&engine->free_tasks);
    froe_task *task = link ? LIST_ENTRY(link, froe_task, link) : mem_alloc(sizeof *task);
    if (!task)
        return NULL;
    memset(task, 0, sizeof *task);
    list_init(&task->link);
    list_init(&task->in_pool);
    list_init(&task->unsaved);
    task->engine = engine;
    engine->n_tasks++;
    return task;
}

void task_forget(froe_task *task) {
    struct froe *engine = task->engine;
    list_remove(&task->link);
    checkpoints_forget(task);
    if (task->workflow->blocking)
        pool_forget(engine, task);
    if (task->own_generation)
        mem_free((void *)(uintptr_t)task->generation.p);
    if (task->own_checkpoint)
        mem_free((void *)(uintptr_t)task->checkpoint.p);
    group_unref(task->group);
    engine->n_tasks--;
    list_push_front(&engine->free_tasks, &task->link);
}

/* The lane's next run as a task; one that was put back comes first. */
static froe_task *task_take(struct froe *engine, struct lane *lane) {
    struct list *link = list_pop_front(&lane->again);
    if (link)
        return LIST_ENTRY(link, froe_task, link);
    froe_task *task = task_make(engine);
    if (!task)
        return NULL;
    struct lease *lease = LIST_ENTRY(lane->leases.next, struct lease, link);
    task->lane = lane;
    task->workflow = lane->workflow;
    task->group = group_ref(lane->group);
    task->lease = lease;
    task->at = lease_take(lease);
    task->run = &lease->store->runs[task->at];
    task->attempts = task->run->attempts;
    task->generation = task->run->generation;
    task->checkpoint = task->run->checkpoint;
    froe_run_id_text(froe_task_id(task), task->run_id);
    lane->unstarted--;
    return task;
}

/* Keeps the list in order of the deadlines: nearly always they are at its end already. */
static void put_in_order(struct workflow *workflow, froe_task *task) {
    struct list *before = &workflow->running;
    while (before->prev != &workflow->running &&
           LIST_ENTRY(before->prev, froe_task, link)->deadline_mono_us > task->deadline_mono_us)
        before = before->prev;
    list_insert_before(before, &task->link);
}

static int64_t deadline(int64_t now, int64_t length_us) {
    int64_t at;
    return __builtin_add_overflow(now, length_us, &at) ? INT64_MAX : at;
}

static void task_start(struct froe *engine, froe_task *task, int64_t now) {
    struct lane *lane = task->lane;
    struct workflow *workflow = task->workflow;
    task->state = TASK_RUNNING;
    task->started_mono_us = now;
    task->deadline_mono_us = workflow->timeout_us ? deadline(now, workflow->timeout_us) : INT64_MAX;
    put_in_order(workflow, task);
    engine->running++;
    lane->running++;
    task->group->running++;
    held_update(engine, lane);
    if (lane->unstarted < lane->low_water)
        engine->thirsty = true;
    if (!workflow->blocking)
        workflow->run(task, workflow->arg);
    else if (pool_run(engine, task) < 0)
        froe_task_again(task, US_PER_S, "no thread can be started for it");
}

void tasks_start(froe *engine) {
    int64_t began = engine_mono_us(engine), now = began;
    for (unsigned n = 0; engine->state == WORKER_RUNNING && !engine->failed && worker_holds(engine, now); n++) {
        struct lane *lane = tasks_slot_free(engine) ? held_next(engine) : NULL;
        if (!lane)
            return;
        if (n == STARTS_PER_PUMP || now - began > START_LENGTH_US) {
            engine->dirty = true;
            return;
        }
        if (held_stale(engine, lane)) {
            held_release(engine, lane); /* and it is claimed again, in this window */
            claims_look(engine);
            continue;
        }
        froe_task *task = settle_reserve(engine, 1) == 0 ? task_take(engine, lane) : NULL;
        if (!task) {
            engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
            return;
        }
        held_turn(engine, lane);
        task_start(engine, task, now);
        now = engine_mono_us(engine);
    }
}

void task_left(froe_task *task) {
    struct froe *engine = task->engine;
    list_remove(&task->link);
    engine->running--;
    task->lane->running--;
    task->group->running--;
    held_update(engine, task->lane);
    held_group_update(engine, task->group);
    if (task->workflow->takes_turns)
        engine->thirsty = true; /* its token may be of use to others */
    engine->dirty = true;
}

/* ---- time ---- */

void tasks_time(froe *engine, int64_t now) {
    for (size_t i = 0; i < engine->n_workflows; i++) {
        struct list *running = &engine->workflows[i]->running;
        while (!list_empty(running)) {
            froe_task *first = LIST_ENTRY(running->next, froe_task, link);
            if (first->deadline_mono_us > now)
                break;
            task_cancel(first, FROE_CANCELLED_TIMEOUT);
        }
    }
    while (!list_empty(&engine->waiting)) {
        froe_task *task = LIST_ENTRY(engine->waiting.next, froe_task, link);
        if (task->due_mono_us > now)
            break;
        list_move_back(&task->lane->again, &task->link);
        task->state = TASK_READY;
        task->group->again--;
        engine->n_waiting--;
        held_update(engine, task->lane);
    }
    cancel_time(engine, now);
    pool_time(engine, now);
}

int64_t tasks_next_mono_us(const froe *engine) {
    int64_t next = cancel_next_mono_us(engine);
    if (engine->pool.again_at_mono_us < next)
        next = engine->pool.again_at_mono_us;
    for (size_t i = 0; i < engine->n_workflows; i++) {
        const struct list *running = &engine->workflows[i]->running;
        if (list_empty(running))
            continue;
        const froe_task *first = LIST_ENTRY(running->next, froe_task, link);
        if (first->deadline_mono_us < next)
            next = first->deadline_mono_us;
    }
    if (!list_empty(&engine->waiting)) {
        const froe_task *first = LIST_ENTRY(engine->waiting.next, froe_task, link);
        if (first->due_mono_us < next)
            next = first->due_mono_us;
    }
    return next;
}

void task_refresh(froe_task *task, int64_t more_us) {
    if (task->workflow->timeout_us == 0 || froe_task_cancelled(task) != FROE_NOT_CANCELLED)
        return;
    task->deadline_mono_us = deadline(engine_mono_us(task->engine), more_us > 0 ? more_us : 0);
    list_remove(&task->link);
    put_in_order(task->workflow, task);
    task->engine->dirty = true;
}

/* ---- those that wait in memory ---- */

void task_wait(froe_task *task, int64_t delay_us) {
    struct froe *engine = task->engine;
    if (task->workflow->blocking)
        pool_forget(engine, task);
    task->state = TASK_WAITING;
    atomic_store_explicit(&task->data, NULL, memory_order_relaxed);
    task->due_mono_us = engine_mono_us(engine) + delay_us;
    task->group->again++;
    engine->n_waiting++;
    struct list *before = &engine->waiting;
    while (before->prev != &engine->waiting &&
           LIST_ENTRY(before->prev, froe_task, link)->due_mono_us > task->due_mono_us)
        before = before->prev;
    list_insert_before(before, &task->link);
}

void task_settle_waiting(froe_task *task, const struct store_settled *item, struct event_node *event) {
    struct froe *engine = task->engine;
    struct lane *lane = task->lane;
    struct lease *lease = task->lease;
    uint32_t at = task->at;
    if (task->state == TASK_WAITING) {
        task->group->again--;
        engine->n_waiting--;
    }
    task_forget(task);
    held_update(engine, lane);
    settle_add(engine, lane, lease, at, item, 0, event); /* its place was reserved at its start */
}

static void put_back(froe_task *task) {
    task_settle_waiting(task, &settle_released, NULL);
}

void tasks_release_waiting(froe *engine) {
    while (!list_empty(&engine->waiting))
        put_back(LIST_ENTRY(engine->waiting.next, froe_task, link));
    LIST_EACH_SAFE (link, following, &engine->lanes) {
        struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        size_t left = 0;
        LIST_EACH (at, &lane->again)
            left++;
        for (; left > 0; left--) /* the lane may be gone after the last one */
            put_back(LIST_ENTRY(lane->again.next, froe_task, link));
    }
}

void tasks_drop_waiting(froe *engine) {
    struct list all;
    list_init(&all);
    list_splice_back(&all, &engine->waiting);
    LIST_EACH (link, &engine->lanes)
        list_splice_back(&all, &LIST_ENTRY(link, struct lane, in_lanes)->again);
    engine->n_waiting = 0;
    while (!list_empty(&all)) {
        froe_task *task = LIST_ENTRY(all.next, froe_task, link);
        if (task->state == TASK_WAITING)
            task->group->again--;
        task_discard(task);
    }
}

void task_discard(froe_task *task) {
    struct froe *engine = task->engine;
    struct lane *lane = task->lane;
    struct lease *lease = task->lease;
    task_forget(task);
    held_update(engine, lane);
    lease_acked(lease);
    held_run_settled(engine, lane);
}

void tasks_free(froe *engine) {
    struct list *link;
    while ((link = list_pop_front(&engine->hanging))) {
        froe_task *task = LIST_ENTRY(link, froe_task, link);
        if (task->own_generation)
            mem_free((void *)(uintptr_t)task->generation.p);
        if (task->own_checkpoint)
            mem_free((void *)(uintptr_t)task->checkpoint.p);
        list_push_back(&engine->free_tasks, link);
    }
    while ((link = list_pop_front(&engine->free_tasks)))
        mem_free(LIST_ENTRY(link, froe_task, link));
}
