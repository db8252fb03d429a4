/* pool.c - threads for the task functions of FROE_BLOCKING workflows.
 *
 * A thread is made when a task finds none idle, up to one per slot, and stays until the engine is closed. A thread
 * whose function does not return cannot be ended: closing leaves it to itself, and the engine's memory with it.
 *
 * When no thread can be made a task waits for one of those that there are, and it is tried again every second. Should
 * all of them be waiting for other runs, perhaps for that very one, it would wait for ever: its attempt fails. */
#include "engine.h"

#include "mem.h"
#include "thread.h"

#define AGAIN_US US_PER_S

struct pool_thread {
    struct list link;
    froe *engine;
    pthread_t id;
    froe_task *task; /* under the pool's mutex; NULL when it was ended */
    bool exited;     /* these two under calls_mutex */
    bool left_alone;
};

void pool_init(froe *engine) {
    struct pool *pool = &engine->pool;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->more, NULL);
    list_init(&pool->todo);
    list_init(&pool->threads);
    pool->again_at_mono_us = INT64_MAX;
}

void pool_free(froe *engine) {
    struct list *link;
    while ((link = list_pop_front(&engine->pool.threads)))
        mem_free(LIST_ENTRY(link, struct pool_thread, link));
    pthread_cond_destroy(&engine->pool.more);
    pthread_mutex_destroy(&engine->pool.mutex);
}

/* ---- on the threads ---- */

static froe_task *take(struct pool *pool, struct pool_thread *thread) {
    pthread_mutex_lock(&pool->mutex);
    pool->idle++;
    while (list_empty(&pool->todo) && !pool->closing)
        pthread_cond_wait(&pool->more, &pool->mutex);
    pool->idle--;
    struct list *link = list_pop_front(&pool->todo);
    froe_task *task = link ? LIST_ENTRY(link, froe_task, in_pool) : NULL;
    thread->task = task;
    if (task) {
        task->thread = thread;
        pool->n_todo--;
    }
    pthread_mutex_unlock(&pool->mutex);
    return task;
}

/* The function returned. What it should have done is done for it, so that the run does not hang for ever. */
static void see_to_end(struct pool *pool, struct pool_thread *thread) {
    pthread_mutex_lock(&pool->mutex);
    froe_task *task = thread->task;
    pthread_mutex_unlock(&pool->mutex);
    if (task)
        froe_task_fail(task, 0, "the task function returned without ending its task");
}

static void leave(struct pool_thread *thread) {
    froe *engine = thread->engine;
    pthread_mutex_lock(&engine->calls_mutex);
    thread->exited = true;
    bool alone = thread->left_alone;
    if (!alone)
        wake_send(&engine->wake);
    pthread_mutex_unlock(&engine->calls_mutex);
    if (alone)
        engine_unref(engine);
}

static void *run(void *arg) {
    struct pool_thread *thread = arg;
    struct pool *pool = &thread->engine->pool;
    froe_task *task;
    thread_name("froe-task");
    while ((task = take(pool, thread))) {
        const struct workflow *workflow = task->workflow;
        workflow->run(task, workflow->arg);
        see_to_end(pool, thread);
    }
    leave(thread);
    return NULL;
}

/* ---- on the loop's thread ---- */

static int make_thread(froe *engine) {
    struct pool *pool = &engine->pool;
    struct pool_thread *thread = mem_zalloc(sizeof *thread);
    if (!thread)
        return -ENOMEM;
    thread->engine = engine;
    int r = thread_start(&thread->id, run, thread);
    if (r < 0) {
        mem_free(thread);
        return r;
    }
    list_push_back(&pool->threads, &thread->link);
    pool->n_threads++;
    return 0;
}

static int add_thread(froe *engine) {
    int r = make_thread(engine);
    if (r < 0 && !engine->pool.told)
        event_log(engine, FROE_WARN, NULL,
                  "no thread can be started for a task: %s; there are %u, and it is tried again", err_errno_text(r),
                  engine->pool.n_threads);
    engine->pool.told = r < 0;
    return r;
}

int pool_run(froe *engine, froe_task *task) {
    struct pool *pool = &engine->pool;
    pthread_mutex_lock(&pool->mutex);
    list_push_back(&pool->todo, &task->in_pool);
    bool enough = pool->idle > pool->n_todo;
    pool->n_todo++;
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_signal(&pool->more);
    if (enough || pool->n_threads >= engine->slots)
        return 0;
    int r = add_thread(engine);
    if (r == 0)
        return 0;
    if (pool->n_threads > 0) { /* one of those that there are takes it when it can */
        if (pool->again_at_mono_us == INT64_MAX)
            pool->again_at_mono_us = engine_mono_us(engine) + AGAIN_US;
        return 0;
    }
    pool_forget(engine, task);
    return r;
}

static bool all_wait(froe *engine) {
    uint32_t n = 0;
    pthread_mutex_lock(&engine->calls_mutex);
    LIST_EACH (link, &engine->waits) {
        const struct engine_wait *wait = LIST_ENTRY(link, struct engine_wait, link);
        n += wait->task && wait->task->workflow->blocking && !wait->done && !wait->cancelled;
    }
    pthread_mutex_unlock(&engine->calls_mutex);
    return n >= engine->pool.n_threads;
}

static uint32_t threads_missing(struct pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    uint32_t missing = pool->n_todo > pool->idle ? pool->n_todo - pool->idle : 0;
    pthread_mutex_unlock(&pool->mutex);
    return missing;
}

static void fail_all_todo(struct pool *pool) {
    for (;;) {
        pthread_mutex_lock(&pool->mutex);
        struct list *link = list_pop_front(&pool->todo);
        pool->n_todo -= link != NULL;
        pthread_mutex_unlock(&pool->mutex);
        if (!link)
            return;
        froe_task_fail(LIST_ENTRY(link, froe_task, in_pool), 0,
                       "no thread can be started for it, and those that there are wait for other runs");
    }
}

void pool_time(froe *engine, int64_t now) {
    struct pool *pool = &engine->pool;
    if (now < pool->again_at_mono_us)
        return;
    pool->again_at_mono_us = INT64_MAX;
    int r = 0;
    for (uint32_t missing = threads_missing(pool); missing > 0 && pool->n_threads < engine->slots && r == 0; missing--)
        r = add_thread(engine);
    bool stuck = r < 0 && all_wait(engine);
    if (stuck && pool->stuck) /* for a second, as it seems */
        fail_all_todo(pool);
    else if (r < 0)
        pool->again_at_mono_us = now + AGAIN_US;
    pool->stuck = stuck;
}

void pool_forget(froe *engine, froe_task *task) {
    struct pool *pool = &engine->pool;
    pthread_mutex_lock(&pool->mutex);
    if (!list_empty(&task->in_pool)) {
        list_remove(&task->in_pool);
        pool->n_todo--;
    }
    if (task->thread)
        task->thread->task = NULL;
    task->thread = NULL;
    pthread_mutex_unlock(&pool->mutex);
}

/* ---- closing ---- */

void pool_close(froe *engine) {
    struct pool *pool = &engine->pool;
    pthread_mutex_lock(&pool->mutex);
    pool->closing = true;
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_broadcast(&pool->more);
}

bool pool_closed(froe *engine, bool leave_alone) {
    struct pool *pool = &engine->pool;
    LIST_EACH_SAFE (link, following, &pool->threads) {
        struct pool_thread *thread = LIST_ENTRY(link, struct pool_thread, link);
        pthread_mutex_lock(&pool->mutex);
        bool hangs = thread->task != NULL; /* it was abandoned: nothing else runs when closing comes here */
        pthread_mutex_unlock(&pool->mutex);
        pthread_mutex_lock(&engine->calls_mutex);
        bool exited = thread->exited;
        if (!exited && !thread->left_alone && (hangs || leave_alone)) {
            thread->left_alone = true;
            engine->refs++;
            pthread_detach(thread->id);
        }
        bool wait = !thread->left_alone;
        pthread_mutex_unlock(&engine->calls_mutex);
        if (!wait)
            continue;
        if (!exited)
            return false;
        pthread_join(thread->id, NULL);
        list_remove(&thread->link);
        pool->n_threads--;
        mem_free(thread);
    }
    return true;
}
