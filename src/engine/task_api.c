/* task_api.c - what a task function may ask and say, from any thread. What does not change while the task lives is
 * read as it is; the rest is done on the loop's thread. */
#include "engine.h"

#include "mem.h"

#include <stdarg.h>
#include <stdio.h>

const char *froe_task_workflow(const froe_task *task) {
    return task->workflow->name;
}

const char *froe_task_run_id(const froe_task *task) {
    return task->run_id;
}

froe_run_id froe_task_id(const froe_task *task) {
    return (froe_run_id){.page = task->lease->store->page, .index = task->run->index};
}

froe *froe_task_engine(const froe_task *task) {
    return task->engine;
}

const char *froe_task_input(const froe_task *task) {
    return task->lease->inputs[task->at];
}

const char *froe_task_metadata(const froe_task *task) {
    return task->lease->metadata;
}

const char *froe_task_group(const froe_task *task) {
    return task->group->key;
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
    return atomic_load_explicit(&task->data, memory_order_acquire);
}

void froe_task_set_data(froe_task *task, void *data) {
    atomic_store_explicit(&task->data, data, memory_order_release);
}

froe_cancel_reason froe_task_cancelled(const froe_task *task) {
    return (froe_cancel_reason)atomic_load_explicit(&task->cancelled, memory_order_acquire);
}

int froe_task_holds_lease(const froe_task *task) {
    return !atomic_load_explicit(&task->abandoned, memory_order_acquire) &&
           froe_task_cancelled(task) != FROE_CANCELLED_LEASE_LOST &&
           worker_holds(task->engine, engine_mono_us(task->engine));
}

/* ---- log lines ---- */

struct log_call {
    froe_task *task;
    froe_level level;
    struct bytes line;
};

static int log_line(void *arg) {
    const struct log_call *call = arg;
    froe_task *task = call->task;
    settle_line(task->engine, task->lease->store->page, task->run->index, call->level, call->line);
    if (!task->engine->event)
        return 0;
    froe_event event = {
        .kind = FROE_EVENT_LOG,
        .level = call->level,
        .workflow = task->workflow->name,
        .group = task->group->key,
        .run_id = task->run_id,
        .child_key = task->run->child_key.p,
        .child_key_n = task->run->child_key.n,
        .attempt = froe_task_attempt(task),
    };
    event_tell_later(task->engine, event_make(&event, call->line));
    return 0;
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
    struct log_call call = {task, level, cut_utf8(bytes_of(text, length), LOG_TEXT_MAX)};
    engine_call(task->engine, log_line, &call);
}

/* ---- the timeout ---- */

struct refresh_call {
    froe_task *task;
    int64_t more_us;
};

static int refresh(void *arg) {
    const struct refresh_call *call = arg;
    task_refresh(call->task, call->more_us);
    return 0;
}

void froe_task_refresh_timeout(froe_task *task, int64_t more_us) {
    struct refresh_call call = {task, more_us};
    engine_call(task->engine, refresh, &call);
}

/* ---- what the next attempt is to know ---- */

struct own_call {
    froe_task *task;
    char *copy; /* the task's then; NULL: none */
    size_t n;
};

static void set_own(struct bytes *bytes, bool *own, char *copy, size_t n) {
    if (*own)
        mem_free((void *)(uintptr_t)bytes->p);
    *own = copy != NULL;
    *bytes = bytes_of(copy, n);
}

static int set_generation(void *arg) {
    const struct own_call *call = arg;
    froe_task *task = call->task;
    if (task->generation.n > 0) {
        task->attempts = 0;
        set_own(&task->checkpoint, &task->own_checkpoint, NULL, 0);
    }
    set_own(&task->generation, &task->own_generation, call->copy, call->n);
    task->touched = true;
    checkpoint_changed(task);
    return FROE_OK;
}

static int set(froe_task *task, int (*fn)(void *arg), const void *data, size_t n) {
    struct own_call call = {.task = task, .copy = n ? mem_memdup(data, n) : NULL, .n = n};
    if (n && !call.copy)
        return FROE_ERR_MEMORY;
    int r = engine_call_or(task->engine, fn, &call, NULL);
    if (r != FROE_OK)
        mem_free(call.copy);
    return r;
}

int froe_task_set_generation(froe_task *task, const void *data, size_t n) {
    if (n > FROE_GENERATION_MAX || (!data && n > 0))
        return FROE_ERR_INVALID;
    if (n == 0 || bytes_equal(bytes_of(data, n), task->generation))
        return FROE_OK;
    return set(task, set_generation, data, n);
}
