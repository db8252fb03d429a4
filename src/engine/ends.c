/* ends.c - what the end of an attempt means: done, tried again, put back, parked. */
#include "engine.h"

#include "cleanup.h"
#include "mem.h"
#include "text.h"

#define AGAIN_IN_MEMORY_US US_PER_S /* a shorter delay need not go through the store */

/* What it says is only heard while nothing overrules it. */
enum end { END_SUCCESS, END_FAIL, END_FAIL_FINAL, END_FAIL_FORGET, END_AGAIN };

/* Doubled for each failed attempt, half of it fixed and half jitter. */
static int64_t backoff(struct froe *engine, const struct workflow *workflow, uint32_t failed) {
    int64_t delay_us = workflow->backoff_us;
    for (uint32_t i = 1; i < failed && delay_us < workflow->backoff_max_us; i++)
        if (__builtin_mul_overflow(delay_us, 2, &delay_us))
            delay_us = INT64_MAX;
    if (delay_us > workflow->backoff_max_us)
        delay_us = workflow->backoff_max_us;
    return delay_us - delay_us / 2 + (int64_t)rng_below(&engine->rng, (uint64_t)(delay_us / 2) + 1);
}

static int64_t due_in(struct froe *engine, int64_t delay_us) {
    int64_t due_utc_us;
    return __builtin_add_overflow(engine_utc_us(engine), delay_us, &due_utc_us) ? INT64_MAX : due_utc_us;
}

static struct event_node *tell(froe_task *task, froe_event_kind kind, froe_level level, int64_t delay_us,
                               struct bytes text) {
    if (!task->engine->event)
        return NULL;
    froe_event event = {
        .kind = kind,
        .level = level,
        .workflow = task->lane->workflow->name,
        .group = task->lane->group->key,
        .run_id = froe_task_run_id(task),
        .child_key = task->run->child_key.p,
        .child_key_n = task->run->child_key.n,
        .attempt = froe_task_attempt(task),
        .delay_us = delay_us,
    };
    return event_make(&event, text);
}

static void settle(froe_task *task, struct store_settled *item, struct bytes error, struct event_node *event) {
    struct froe *engine = task->engine;
    struct lane *lane = task->lane;
    struct lease *lease = task->lease;
    uint32_t at = task->at;
    unsigned own = 0;
    if (item->outcome == STORE_RETRY || item->outcome == STORE_PARKED) {
        item->generation = task->generation;
        item->checkpoint = task->checkpoint;
        own = (task->own_generation ? OWN_GENERATION : 0) | (task->own_checkpoint ? OWN_CHECKPOINT : 0);
        task->own_generation = task->own_checkpoint = false;
        error = cut_utf8(error, FROE_ERROR_KEPT_MAX);
        char *copy = mem_memdup(error.p, error.n);
        if (copy) {
            item->error = bytes_of(copy, error.n);
            own |= OWN_ERROR;
        } else {
            item->error = BYTES("(no memory was left to keep the error)");
        }
    }
    task_forget(task);
    settle_add(engine, lane, lease, at, item, own, event);
}

static void attempt_failed(froe_task *task, bool final, struct bytes text) {
    struct froe *engine = task->engine;
    const struct workflow *workflow = task->lane->workflow;
    struct store_settled item = {.failed = true, .attempts = task->attempts + 1};
    struct event_node *event;
    if (final || task->attempts >= workflow->retries) {
        item.outcome = STORE_PARKED;
        event = tell(task, FROE_EVENT_PARKED, FROE_ERROR, 0, text);
    } else {
        int64_t delay_us = backoff(engine, workflow, item.attempts);
        item.outcome = STORE_RETRY;
        item.due_utc_us = due_in(engine, delay_us);
        event = tell(task, FROE_EVENT_RETRY, FROE_WARN, delay_us, text);
    }
    settle(task, &item, text, event);
}

static void wait_in_memory(froe_task *task, int64_t delay_us) {
    struct froe *engine = task->engine;
    task->state = TASK_WAITING;
    task->data = NULL;
    task->due_mono_us = engine_mono_us(engine) + delay_us;
    task->lane->group->again++;
    engine->n_waiting++;
    struct list *before = &engine->waiting;
    while (before->prev != &engine->waiting &&
           LIST_ENTRY(before->prev, froe_task, link)->due_mono_us > task->due_mono_us)
        before = before->prev;
    list_insert_before(before, &task->link);
}

static void put_back(froe_task *task, int64_t delay_us, struct bytes text) {
    struct froe *engine = task->engine;
    struct event_node *event = tell(task, FROE_EVENT_RETRY, FROE_DEBUG, delay_us, text);
    if (!task->touched && delay_us <= AGAIN_IN_MEMORY_US && engine->state == WORKER_RUNNING &&
        engine->n_waiting < 2 * (size_t)engine->slots) {
        event_tell_later(engine, event);
        wait_in_memory(task, delay_us);
        return;
    }
    struct store_settled item = {
        .outcome = STORE_RETRY, .attempts = task->attempts, .due_utc_us = due_in(engine, delay_us)};
    settle(task, &item, text, event);
}

/* Cancelled by a stop or a lost lease: as if it had not been tried, but what it learned is kept. */
static void interrupted(froe_task *task) {
    struct store_settled item = {.outcome = STORE_RELEASED};
    if (task->touched) {
        item.outcome = STORE_RETRY;
        item.attempts = task->attempts;
        item.due_utc_us = engine_utc_us(task->engine);
    }
    settle(task, &item, BYTES("interrupted"), NULL);
}

static void end(froe_task *task, enum end end, int64_t delay_us, struct bytes text) {
    struct froe *engine = task->engine;
    if (end == END_SUCCESS || end == END_FAIL)
        claims_ran(task->lane, engine_mono_us(engine) - task->started_mono_us);
    task_left(task);
    if (engine->failed) {
        task_discard(task);
        return;
    }
    if (task->cancelled == FROE_CANCELLED_TIMEOUT) {
        _cleanup_buf_ struct buf timed_out = {0};
        if (buf_add_str(&timed_out, "timed out after ") < 0 ||
            text_add_duration(&timed_out, task->lane->workflow->timeout_us) < 0)
            attempt_failed(task, false, BYTES("timed out"));
        else
            attempt_failed(task, false, buf_bytes(&timed_out));
        return;
    }
    if (end == END_SUCCESS) {
        struct store_settled item = {.outcome = STORE_DONE};
        settle(task, &item, BYTES_NONE, NULL);
    } else if (task->cancelled != FROE_NOT_CANCELLED) {
        interrupted(task);
    } else if (end == END_AGAIN) {
        put_back(task, delay_us, text);
    } else if (end == END_FAIL_FORGET) {
        struct store_settled item = {.outcome = STORE_FORGOTTEN};
        settle(task, &item, BYTES_NONE, NULL);
    } else {
        attempt_failed(task, end == END_FAIL_FINAL, text);
    }
}

void froe_task_succeed(froe_task *task) {
    end(task, END_SUCCESS, 0, BYTES_NONE);
}

void froe_task_fail(froe_task *task, int flags, const char *text) {
    enum end kind = flags & FROE_FAIL_FORGET ? END_FAIL_FORGET : flags & FROE_FAIL_FINAL ? END_FAIL_FINAL : END_FAIL;
    end(task, kind, 0, bytes_str(text));
}

void froe_task_again(froe_task *task, int64_t delay_us, const char *text) {
    end(task, END_AGAIN, delay_us > 0 ? delay_us : 0, bytes_str(text));
}
