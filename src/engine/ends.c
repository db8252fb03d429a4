/* ends.c - what the end of an attempt means: done, tried again, put back, parked, failed, cancelled. */
#include "engine.h"

#include "cleanup.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>

#define AGAIN_IN_MEMORY_US US_PER_S /* a shorter delay need not go through the store */

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
        .workflow = task->workflow->name,
        .group = task->group->key,
        .run_id = task->run_id,
        .child_key = task->run->child_key.p,
        .child_key_n = task->run->child_key.n,
        .attempt = froe_task_attempt(task),
        .delay_us = delay_us,
    };
    return event_make(&event, text);
}

/* An abandoned task may still look at what is its own: then the settlement gets a copy. */
static struct bytes hand_on(const froe_task *task, struct bytes bytes, bool *own, unsigned flag, unsigned *flags) {
    if (!*own)
        return bytes;
    if (!atomic_load_explicit(&task->abandoned, memory_order_relaxed)) {
        *own = false;
        *flags |= flag;
        return bytes;
    }
    char *copy = mem_memdup(bytes.p, bytes.n);
    if (!copy) {
        engine_fail(task->engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
        return BYTES_NONE;
    }
    *flags |= flag;
    return bytes_of(copy, bytes.n);
}

static void settle(froe_task *task, struct store_settled *item, unsigned own, struct bytes error,
                   struct event_node *event) {
    struct froe *engine = task->engine;
    struct lane *lane = task->lane;
    struct lease *lease = task->lease;
    uint32_t at = task->at;
    item->attempt = froe_task_attempt(task);
    item->checkpointed = task->checkpointed;
    if (item->outcome == STORE_RETRY || item->outcome == STORE_PARKED) {
        item->generation = hand_on(task, task->generation, &task->own_generation, OWN_GENERATION, &own);
        item->checkpoint = hand_on(task, task->checkpoint, &task->own_checkpoint, OWN_CHECKPOINT, &own);
    }
    if (item->outcome != STORE_DONE && item->outcome != STORE_RELEASED && error.n > 0) {
        error = cut_utf8(error, FROE_ERROR_KEPT_MAX);
        char *copy = mem_memdup(error.p, error.n);
        if (copy) {
            item->error = bytes_of(copy, error.n);
            own |= OWN_ERROR;
        } else {
            item->error = BYTES("(no memory was left to keep the error)");
        }
    }
    if (atomic_load_explicit(&task->abandoned, memory_order_relaxed))
        task->lane = NULL;
    else
        task_forget(task);
    settle_add(engine, lane, lease, at, item, own, event);
}

static void attempt_failed(froe_task *task, bool final, struct store_settled *item, struct bytes text) {
    struct froe *engine = task->engine;
    const struct workflow *workflow = task->workflow;
    struct event_node *event;
    item->failed = true;
    item->attempts = task->attempts + 1;
    if (!final && task->attempts < workflow->retries) {
        int64_t delay_us = backoff(engine, workflow, item->attempts);
        item->outcome = STORE_RETRY;
        item->due_utc_us = due_in(engine, delay_us);
        event = tell(task, FROE_EVENT_RETRY, FROE_WARN, delay_us, text);
    } else if (workflow->never_parks) {
        item->outcome = STORE_FAILED;
        event = tell(task, FROE_EVENT_FAILED, FROE_ERROR, 0, text);
    } else {
        item->outcome = STORE_PARKED;
        event = tell(task, FROE_EVENT_PARKED, FROE_ERROR, 0, text);
    }
    settle(task, item, 0, text, event);
}

static void timed_out(froe_task *task, bool final, struct store_settled *item, const char *more) {
    char text[120];
    _cleanup_buf_ struct buf length = {0};
    if (text_add_duration(&length, task->deadline_mono_us - task->started_mono_us) < 0)
        snprintf(text, sizeof text, "timed out%s", more);
    else
        snprintf(text, sizeof text, "timed out after %s%s", length.p, more);
    attempt_failed(task, final, item, bytes_str(text));
}

static void asked(froe_task *task, struct store_settled *item, const char *more) {
    char text[120];
    snprintf(text, sizeof text, "%s%s", cancel_text(froe_task_cancelled(task)), more);
    item->outcome = STORE_CANCELLED;
    settle(task, item, 0, bytes_str(text), tell(task, FROE_EVENT_CANCELLED, FROE_INFO, 0, bytes_str(text)));
}

static void put_back(froe_task *task, struct store_settled *item, int64_t delay_us, struct bytes text) {
    struct froe *engine = task->engine;
    struct event_node *event = tell(task, FROE_EVENT_RETRY, FROE_DEBUG, delay_us, text);
    /* Where others wait for the tokens of the same rule they have their turn first; and of a rate limit another start
     * needs another unit, which comes with another lease. */
    if (!task->touched && !task->workflow->takes_turns && delay_us <= AGAIN_IN_MEMORY_US &&
        engine->state == WORKER_RUNNING && engine->n_waiting < 2 * (size_t)engine->slots) {
        event_tell_later(engine, event);
        task_wait(task, delay_us);
        return;
    }
    item->outcome = STORE_RETRY;
    item->attempts = task->attempts;
    item->due_utc_us = due_in(engine, delay_us);
    settle(task, item, 0, text, event);
}

/* Cancelled by a stop or a lost lease: as if it had not been tried, but what it learned is kept. */
static void interrupted(froe_task *task, struct store_settled *item) {
    item->outcome = settle_released.outcome;
    item->error = settle_released.error;
    if (task->touched) {
        item->outcome = STORE_RETRY;
        item->attempts = task->attempts;
        item->due_utc_us = engine_utc_us(task->engine);
    }
    settle(task, item, 0, BYTES("interrupted"), NULL);
}

/* ---- the ends ---- */

/* What it says is only heard while nothing overrules it. */
enum end { END_SUCCESS, END_FAIL, END_FAIL_FINAL, END_FAIL_FORGET, END_AGAIN };

struct end_call {
    froe_task *task;
    enum end end;
    int64_t delay_us;
    struct bytes text;   /* why it failed, or is put back */
    struct bytes result; /* of a success; allocated */
};

static void end_abandoned(froe_task *task) {
    struct froe *engine = task->engine;
    struct lease *lease = task->lease;
    engine->n_hanging--;
    task_forget(task);
    lease_acked(lease);
    engine_unref(engine); /* never the last: the engine is open */
    engine->dirty = true;
}

static void end_running(struct end_call *call) {
    froe_task *task = call->task;
    struct froe *engine = task->engine;
    froe_cancel_reason cancelled = froe_task_cancelled(task);
    int64_t now = engine_mono_us(engine);
    struct store_settled item = {.duration_us = now - task->started_mono_us};
    if (call->end == END_SUCCESS || call->end == END_FAIL)
        claims_ran(task->lane, item.duration_us);
    task_left(task);
    if (engine->failed) {
        task_discard(task);
    } else if (cancelled == FROE_CANCELLED_TIMEOUT) {
        timed_out(task, call->end == END_FAIL_FINAL, &item, "");
    } else if (call->end == END_SUCCESS) {
        item.outcome = STORE_DONE;
        item.result = call->result;
        call->result = BYTES_NONE;
        settle(task, &item, item.result.p ? OWN_RESULT : 0, BYTES_NONE, NULL);
    } else if (cancelled == FROE_CANCELLED_ASKED || cancelled == FROE_CANCELLED_DRIVEN_OUT) {
        asked(task, &item, "");
    } else if (cancelled != FROE_NOT_CANCELLED) {
        interrupted(task, &item);
    } else if (call->end == END_AGAIN) {
        put_back(task, &item, call->delay_us, call->text);
    } else if (call->end == END_FAIL_FORGET) {
        item.outcome = STORE_FORGOTTEN;
        settle(task, &item, 0, call->text, NULL);
    } else {
        attempt_failed(task, call->end == END_FAIL_FINAL, &item, call->text);
    }
}

static int end(void *arg) {
    struct end_call *call = arg;
    if (atomic_load_explicit(&call->task->abandoned, memory_order_relaxed))
        end_abandoned(call->task);
    else
        end_running(call);
    return 0;
}

static void end_task(struct end_call *call) {
    froe_task *task = call->task;
    struct froe *engine = task->engine;
    if (engine_call(engine, end, call) == ENGINE_GONE) {
        /* Abandoned, and the engine was closed meanwhile: this was one of the last that needed its memory. */
        if (task->workflow->blocking)
            pool_forget(engine, task);
        engine_unref(engine);
    }
    mem_free((void *)(uintptr_t)call->result.p);
}

void task_abandon(froe_task *task) {
    struct froe *engine = task->engine;
    froe_cancel_reason reason = froe_task_cancelled(task);
    struct store_settled item = {.duration_us = engine_mono_us(engine) - task->started_mono_us};
    event_tell_later(engine, tell(task, FROE_EVENT_ABANDONED, FROE_ERROR, 0,
                                  BYTES("did not end within its grace after it was cancelled; its slot stays taken")));
    task_left(task);
    checkpoints_forget(task);
    atomic_store_explicit(&task->abandoned, true, memory_order_release);
    list_push_back(&engine->hanging, &task->link);
    engine->n_hanging++;
    engine_ref(engine);
    task->lease->unacked++; /* what it may look at stays */
    if (!engine->failed && reason == FROE_CANCELLED_TIMEOUT) {
        timed_out(task, false, &item, ", and did not end when it was told to");
    } else if (!engine->failed && (reason == FROE_CANCELLED_ASKED || reason == FROE_CANCELLED_DRIVEN_OUT)) {
        asked(task, &item, "; it did not end when it was told to");
    } else {
        /* It goes back to the queue with the worker's removal. */
        struct lane *lane = task->lane;
        task->lane = NULL;
        lease_acked(task->lease);
        held_run_settled(engine, lane);
    }
}

void froe_task_succeed(froe_task *task) {
    struct end_call call = {.task = task, .end = END_SUCCESS};
    end_task(&call);
}

int froe_task_succeed_with(froe_task *task, const char *result) {
    struct end_call call = {.task = task, .end = END_SUCCESS};
    struct bytes text = bytes_str(result);
    if (text.n > FROE_RESULT_MAX)
        return FROE_ERR_INVALID;
    int r = result ? json_check(text) : 0;
    if (r < 0)
        return engine_public_code(r);
    if (result) {
        char *copy = mem_memdup(text.p, text.n);
        if (!copy)
            return FROE_ERR_MEMORY;
        call.result = bytes_of(copy, text.n);
    }
    end_task(&call);
    return FROE_OK;
}

void froe_task_fail(froe_task *task, int flags, const char *text) {
    struct end_call call = {.task = task, .end = END_FAIL, .text = bytes_str(text)};
    if (flags & FROE_FAIL_FORGET)
        call.end = END_FAIL_FORGET;
    else if (flags & FROE_FAIL_FINAL)
        call.end = END_FAIL_FINAL;
    end_task(&call);
}

void froe_task_again(froe_task *task, int64_t delay_us, const char *text) {
    struct end_call call = {
        .task = task, .end = END_AGAIN, .delay_us = delay_us > 0 ? delay_us : 0, .text = bytes_str(text)};
    end_task(&call);
}
