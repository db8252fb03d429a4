/* calls.c - calls from other threads: carried out on the loop's thread while the caller waits; and how functions named
 * _sync wait for an answer. */
#include "engine.h"

#include <signal.h>

struct call {
    struct list link;
    int (*fn)(void *arg);
    void *arg;
    int r;
    bool done;
    pthread_cond_t answered;
};

void calls_init(froe *engine) {
    engine->loop_thread = pthread_self();
    pthread_mutex_init(&engine->calls_mutex, NULL);
    list_init(&engine->calls);
    list_init(&engine->waits);
    engine->refs = 1;
}

void calls_free(froe *engine) {
    pthread_mutex_destroy(&engine->calls_mutex);
}

bool engine_on_loop(const froe *engine) {
    return pthread_equal(pthread_self(), engine->loop_thread);
}

int engine_call(froe *engine, int (*fn)(void *arg), void *arg) {
    if (engine_on_loop(engine))
        return engine->calls_closed ? ENGINE_GONE : fn(arg);
    struct call call = {.fn = fn, .arg = arg};
    pthread_mutex_lock(&engine->calls_mutex);
    if (engine->calls_closed) {
        pthread_mutex_unlock(&engine->calls_mutex);
        return ENGINE_GONE;
    }
    pthread_cond_init(&call.answered, NULL);
    list_push_back(&engine->calls, &call.link);
    wake_send(&engine->wake); /* under the mutex: the handle lives until calls are closed */
    while (!call.done)
        pthread_cond_wait(&call.answered, &engine->calls_mutex);
    pthread_mutex_unlock(&engine->calls_mutex);
    pthread_cond_destroy(&call.answered);
    return call.r;
}

int engine_call_or(froe *engine, int (*fn)(void *arg), void *arg, froe_error *error) {
    int r = engine_call(engine, fn, arg);
    return r == ENGINE_GONE ? engine_error(error, FROE_ERR_STATE, "the engine is closed") : r;
}

/* With the mutex held. */
static void carry_out(froe *engine) {
    struct list *link;
    while ((link = list_pop_front(&engine->calls))) {
        struct call *call = LIST_ENTRY(link, struct call, link);
        pthread_mutex_unlock(&engine->calls_mutex);
        call->r = call->fn(call->arg);
        pthread_mutex_lock(&engine->calls_mutex);
        call->done = true;
        pthread_cond_signal(&call->answered);
    }
}

void calls_run(froe *engine) {
    pthread_mutex_lock(&engine->calls_mutex);
    carry_out(engine);
    pthread_mutex_unlock(&engine->calls_mutex);
}

void calls_close(froe *engine) {
    pthread_mutex_lock(&engine->calls_mutex);
    carry_out(engine);
    engine->calls_closed = true;
    pthread_mutex_unlock(&engine->calls_mutex);
}

/* ---- waiting ---- */

int engine_wait_begin(struct engine_wait *wait, froe *engine, const froe_task *task, froe_error *error) {
    if (engine_on_loop(engine) && (engine->loop != &engine->own_loop || engine->loop_running))
        return engine_error(error, FROE_ERR_STATE, "the loop's own thread cannot wait: the answer comes through it");
    *wait = (struct engine_wait){.engine = engine, .task = task};
    pthread_cond_init(&wait->cond, NULL);
    pthread_mutex_lock(&engine->calls_mutex);
    list_push_back(&engine->waits, &wait->link);
    /* A cancelling that comes later finds it in the list. */
    wait->cancelled = task && froe_task_cancelled(task) != FROE_NOT_CANCELLED;
    pthread_mutex_unlock(&engine->calls_mutex);
    return FROE_OK;
}

void engine_wait_signal(struct engine_wait *wait) {
    pthread_mutex_lock(&wait->engine->calls_mutex);
    wait->done = true;
    pthread_cond_signal(&wait->cond);
    pthread_mutex_unlock(&wait->engine->calls_mutex);
}

int engine_wait_for(struct engine_wait *wait) {
    froe *engine = wait->engine;
    if (engine_on_loop(engine))
        own_loop_run(engine, &wait->done);
    pthread_mutex_lock(&engine->calls_mutex);
    while (!wait->done && !wait->cancelled)
        pthread_cond_wait(&wait->cond, &engine->calls_mutex);
    int r = wait->done ? 0 : -ECANCELED;
    pthread_mutex_unlock(&engine->calls_mutex);
    return r;
}

void engine_wait_end(struct engine_wait *wait) {
    pthread_mutex_lock(&wait->engine->calls_mutex);
    list_remove(&wait->link);
    pthread_mutex_unlock(&wait->engine->calls_mutex);
    pthread_cond_destroy(&wait->cond);
}

void calls_task_cancelled(froe *engine, const froe_task *task) {
    pthread_mutex_lock(&engine->calls_mutex);
    LIST_EACH (link, &engine->waits) {
        struct engine_wait *wait = LIST_ENTRY(link, struct engine_wait, link);
        if (wait->task != task)
            continue;
        wait->cancelled = true;
        pthread_cond_signal(&wait->cond);
    }
    pthread_mutex_unlock(&engine->calls_mutex);
}
