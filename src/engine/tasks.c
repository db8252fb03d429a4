/* tasks.c - from a leased run to a call of the task function, and its cancelling. What ends a task is in ends.c. */
#include "engine.h"

#include "cleanup.h"
#include "mem.h"
#include "text.h"

#include <stdarg.h>
#include <stdio.h>

#define STARTS_PER_PUMP 512             /* then the loop sees to other things */
#define START_LENGTH_US (2 * US_PER_MS) /* likewise */

static froe_task *task_make(struct froe *engine) {
    struct list *link = list_pop_front(&engine->free_tasks);
    froe_task *task = link ? LIST_ENTRY(link, froe_task, link) : mem_alloc(sizeof *task);
    if (!task)
        return NULL;
    memset(task, 0, sizeof *task);
    list_init(&task->link);
    task->engine = engine;
    engine->n_tasks++;
    return task;
}

void task_forget(froe_task *task) {
    struct froe *engine = task->engine;
    list_remove(&task->link);
    if (task->own_generation)
        mem_free((void *)(uintptr_t)task->generation.p);
    if (task->own_checkpoint)
        mem_free((void *)(uintptr_t)task->checkpoint.p);
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
    task->lease = lease;
    task->at = lease->next++;
    task->run = &lease->store->runs[task->at];
    task->attempts = task->run->attempts;
    task->generation = task->run->generation;
    task->checkpoint = task->run->checkpoint;
    lane->unstarted--;
    if (lease->next == lease->n)
        list_remove(&lease->link);
    return task;
}

static void task_start(struct froe *engine, froe_task *task, int64_t now) {
    struct lane *lane = task->lane;
    struct workflow *workflow = lane->workflow;
    task->state = TASK_RUNNING;
    task->started_mono_us = now;
    if (workflow->timeout_us == 0 || __builtin_add_overflow(now, workflow->timeout_us, &task->deadline_mono_us))
        task->deadline_mono_us = INT64_MAX;
    list_push_back(&workflow->running, &task->link);
    engine->running++;
    lane->running++;
    lane->group->running++;
    held_update(engine, lane);
    if (lane->unstarted < lane->low_water)
        engine->thirsty = true;
    workflow->run(task, workflow->arg);
}

void tasks_start(froe *engine) {
    int64_t began = engine_mono_us(engine), now = began;
    for (unsigned n = 0; engine->state == WORKER_RUNNING && !engine->failed && worker_holds(engine, now); n++) {
        struct lane *lane = engine->running < engine->slots ? held_next(engine) : NULL;
        if (!lane)
            return;
        if (n == STARTS_PER_PUMP || now - began > START_LENGTH_US) {
            engine->dirty = true;
            return;
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
    task->lane->group->running--;
    held_update(engine, task->lane);
    held_group_update(engine, task->lane->group);
    engine->dirty = true;
}

/* ---- cancelling ---- */

static void cancel(froe_task *task, froe_cancel_reason reason) {
    list_move_back(&task->engine->cancelled, &task->link);
    task->cancelled = reason;
    struct workflow *workflow = task->lane->workflow;
    if (workflow->cancel)
        workflow->cancel(task, workflow->arg); /* may end it, and others */
}

void tasks_cancel_all(froe *engine, froe_cancel_reason reason) {
    for (size_t i = 0; i < engine->n_workflows; i++) {
        struct list *running = &engine->workflows[i]->running;
        while (!list_empty(running))
            cancel(LIST_ENTRY(running->next, froe_task, link), reason);
    }
}

void tasks_time(froe *engine, int64_t now) {
    for (size_t i = 0; i < engine->n_workflows; i++) {
        struct list *running = &engine->workflows[i]->running;
        while (!list_empty(running)) {
            froe_task *first = LIST_ENTRY(running->next, froe_task, link);
            if (first->deadline_mono_us > now)
                break;
            cancel(first, FROE_CANCELLED_TIMEOUT);
        }
    }
    while (!list_empty(&engine->waiting)) {
        froe_task *task = LIST_ENTRY(engine->waiting.next, froe_task, link);
        if (task->due_mono_us > now)
            break;
        list_move_back(&task->lane->again, &task->link);
        task->state = TASK_READY;
        task->lane->group->again--;
        engine->n_waiting--;
        held_update(engine, task->lane);
    }
}

int64_t tasks_next_mono_us(const froe *engine) {
    int64_t next = INT64_MAX;
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

static void put_back(froe_task *task) {
    struct froe *engine = task->engine;
    struct lane *lane = task->lane;
    struct lease *lease = task->lease;
    uint32_t at = task->at;
    if (task->state == TASK_WAITING) {
        lane->group->again--;
        engine->n_waiting--;
    }
    task_forget(task);
    held_update(engine, lane);
    static const struct store_settled released = {.outcome = STORE_RELEASED};
    settle_add(engine, lane, lease, at, &released, 0, NULL); /* its place was reserved at its start */
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
    while (!list_empty(&all))
        task_discard(LIST_ENTRY(all.next, froe_task, link));
}

void task_discard(froe_task *task) {
    struct froe *engine = task->engine;
    struct lane *lane = task->lane;
    struct lease *lease = task->lease;
    if (task->state == TASK_WAITING)
        lane->group->again--;
    task_forget(task);
    held_update(engine, lane);
    lease_acked(lease);
    held_run_settled(engine, lane);
}

void tasks_free(froe *engine) {
    struct list *link;
    while ((link = list_pop_front(&engine->free_tasks)))
        mem_free(LIST_ENTRY(link, froe_task, link));
}

/* ---- what a task function may ask ---- */

const char *froe_task_workflow(const froe_task *task) {
    return task->lane->workflow->name;
}

const char *froe_task_run_id(const froe_task *task) {
    if (task->run_id[0] == '\0')
        snprintf(((froe_task *)(uintptr_t)task)->run_id, sizeof task->run_id, "%jd:%u",
                 (intmax_t)task->lease->store->page, task->run->index);
    return task->run_id;
}

const char *froe_task_input(const froe_task *task) {
    return task->lease->inputs[task->at];
}

const char *froe_task_metadata(const froe_task *task) {
    return task->lease->metadata;
}

const char *froe_task_group(const froe_task *task) {
    return task->lane->group->key;
}

static const void *tell(struct bytes bytes, size_t *ret_n) {
    if (ret_n)
        *ret_n = bytes.n;
    return bytes.n ? bytes.p : NULL;
}

const void *froe_task_child_key(const froe_task *task, size_t *ret_n) {
    return tell(task->run->child_key, ret_n);
}

const void *froe_task_generation(const froe_task *task, size_t *ret_n) {
    return tell(task->generation, ret_n);
}

const void *froe_task_checkpoint(const froe_task *task, size_t *ret_n) {
    return tell(task->checkpoint, ret_n);
}

uint32_t froe_task_attempt(const froe_task *task) {
    return task->attempts + 1;
}

void *froe_task_data(const froe_task *task) {
    return task->data;
}

void froe_task_set_data(froe_task *task, void *data) {
    task->data = data;
}

froe_cancel_reason froe_task_cancelled(const froe_task *task) {
    return task->cancelled;
}

int froe_task_holds_lease(const froe_task *task) {
    return task->cancelled != FROE_CANCELLED_LEASE_LOST && worker_holds(task->engine, engine_mono_us(task->engine));
}

void froe_task_log(froe_task *task, froe_level level, const char *format, ...) {
    char text[LOG_TEXT_MAX + 8];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0)
        return;
    size_t length = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    struct bytes line = cut_utf8(bytes_of(text, length), LOG_TEXT_MAX);
    settle_line(task->engine, task->lease->store->page, task->run->index, level, line);
    if (!task->engine->event)
        return;
    froe_event event = {
        .kind = FROE_EVENT_LOG,
        .level = level,
        .workflow = task->lane->workflow->name,
        .group = task->lane->group->key,
        .run_id = froe_task_run_id(task),
        .child_key = task->run->child_key.p,
        .child_key_n = task->run->child_key.n,
        .attempt = froe_task_attempt(task),
    };
    event_tell_later(task->engine, event_make(&event, line));
}

/* ---- what the next attempt is to know ---- */

static void set_own(struct bytes *bytes, bool *own, char *copy, size_t n) {
    if (*own)
        mem_free((void *)(uintptr_t)bytes->p);
    *own = copy != NULL;
    *bytes = bytes_of(copy, n);
}

int froe_task_set_checkpoint(froe_task *task, const void *data, size_t n) {
    if (n > FROE_CHECKPOINT_MAX || (!data && n > 0))
        return FROE_ERR_INVALID;
    if (bytes_equal(bytes_of(data, n), task->checkpoint))
        return FROE_OK;
    char *copy = n ? mem_memdup(data, n) : NULL;
    if (n && !copy)
        return FROE_ERR_MEMORY;
    set_own(&task->checkpoint, &task->own_checkpoint, copy, n);
    task->touched = true;
    return FROE_OK;
}

int froe_task_set_generation(froe_task *task, const void *data, size_t n) {
    if (n > FROE_GENERATION_MAX || (!data && n > 0))
        return FROE_ERR_INVALID;
    if (n == 0 || bytes_equal(bytes_of(data, n), task->generation))
        return FROE_OK;
    char *copy = mem_memdup(data, n);
    if (!copy)
        return FROE_ERR_MEMORY;
    if (task->generation.n > 0) {
        task->attempts = 0;
        set_own(&task->checkpoint, &task->own_checkpoint, NULL, 0);
    }
    set_own(&task->generation, &task->own_generation, copy, n);
    task->touched = true;
    return FROE_OK;
}
