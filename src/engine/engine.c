/* engine.c - opening and closing, and the pump: once per loop iteration, right before the loop would sleep, everything
 * that is due is done, and the timer set for what is due next. */
#include "engine.h"

#include "cleanup.h"
#include "mem.h"

#include <stdarg.h>
#include <stdio.h>

#define SLOTS_DEFAULT 40
#define CANCEL_GRACE_US (30 * US_PER_S)
#define SLOTS_MAX 100000
#define LEASE_DEFAULT_US (30 * US_PER_S)
#define LEASE_LEAST_US (100 * US_PER_MS)
#define LEASE_MOST_US (24 * US_PER_HOUR)

const char *froe_version(void) {
    return FROE_VERSION;
}

/* ---- errors ---- */

int engine_error(froe_error *error, int code, const char *format, ...) {
    if (error) {
        error->code = code;
        va_list args;
        va_start(args, format);
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return code;
}

int engine_public_code(int code) {
    switch (code) {
    case -EINVAL:
    case -E2BIG:
        return FROE_ERR_INVALID;
    case -ENOMEM:
        return FROE_ERR_MEMORY;
    case STORE_ERR_BUSY:
        return FROE_ERR_BUSY;
    case STORE_ERR_CORRUPT:
        return FROE_ERR_CORRUPT;
    case STORE_ERR_FULL:
        return FROE_ERR_FULL;
    default:
        return FROE_ERR_STORE;
    }
}

int engine_error_from(froe_error *error, const struct err *err) {
    return engine_error(error, engine_public_code(err->code), "%s", err->text);
}

void engine_fail(froe *engine, const struct err *err) {
    if (engine->failed)
        return;
    engine->failed = engine->tell_failure = engine->over = true;
    engine->failure = *err;
    atomic_store(&engine->holds_until_mono_us, INT64_MIN);
    engine->cancel_wanted = true;
    engine->cancel_reason = FROE_CANCELLED_LEASE_LOST;
    engine->dirty = true;
}

/* ---- requests ---- */

void engine_submit(froe *engine, struct request *request) {
    engine->inflight++;
    engine->submitted = true;
    committer_submit(engine->committer, request);
}

static void see_connection(froe *engine) {
    struct err why;
    bool lost = committer_lost(engine->committer, &why);
    if (lost == engine->store_lost)
        return;
    engine->store_lost = lost;
    froe_event event = {.kind = lost ? FROE_EVENT_STORE_LOST : FROE_EVENT_STORE_BACK,
                        .level = lost ? FROE_WARN : FROE_INFO,
                        .code = lost ? engine_public_code(why.code) : 0};
    event_tell_later(engine, event_make(&event, lost ? bytes_str(why.text) : BYTES("connected again")));
}

static void collect(froe *engine) {
    struct list done;
    list_init(&done);
    bool fatal;
    committer_collect(engine->committer, &done, &fatal);
    see_connection(engine);
    struct list *link;
    while ((link = list_pop_front(&done))) {
        struct request *request = LIST_ENTRY(link, struct request, link);
        engine->inflight--;
        if (request->r < 0 && fatal)
            engine_fail(engine, &request->err);
        request->finish(request, engine);
    }
    engine->dirty = true;
}

/* ---- closing ---- */

static void free_all(froe *engine) {
    calls_free(engine);
    pool_free(engine);
    settlement_free(engine->ends);
    settlement_free(engine->spare);
    held_free(engine);
    tasks_free(engine);
    events_free(engine);
    groups_free_waiting(engine);
    workflows_free(engine);
    waits_free(engine);
    mem_free(engine);
}

void engine_ref(froe *engine) {
    pthread_mutex_lock(&engine->calls_mutex);
    engine->refs++;
    pthread_mutex_unlock(&engine->calls_mutex);
}

void engine_unref(froe *engine) {
    pthread_mutex_lock(&engine->calls_mutex);
    bool last = --engine->refs == 0;
    pthread_mutex_unlock(&engine->calls_mutex);
    if (last)
        free_all(engine);
}

static void gone(froe *engine) {
    void (*closed)(void *) = engine->closed;
    void *arg = engine->closed_arg;
    engine_unref(engine);
    if (closed)
        closed(arg);
}

static void on_handle_closed(uv_handle_t *handle) {
    froe *engine = handle->data;
    if (--engine->handles > 0)
        return;
    engine->handles_closed = true;
    if (engine->loop != &engine->own_loop)
        gone(engine); /* otherwise who runs the loop sees to it */
}

static void close_handles(froe *engine) {
    calls_close(engine);
    uv_handle_t *handles[] = {(uv_handle_t *)&engine->prepare, (uv_handle_t *)&engine->busy,
                              (uv_handle_t *)&engine->timer};
    wake_close(&engine->wake, on_handle_closed);
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++)
        uv_close(handles[i], on_handle_closed);
}

void engine_close(froe *engine) {
    if (!engine->closing)
        engine->closing_mono_us = engine_mono_us(engine);
    engine->closing = engine->dirty = true;
    if (!engine->stopping)
        worker_stop(engine, FROE_STOP_NOW);
    if (engine->loop == &engine->own_loop && !engine->loop_running) {
        own_loop_close(engine);
        gone(engine);
    }
}

void froe_close(froe *engine, void (*closed)(void *arg), void *arg) {
    engine->closed = closed;
    engine->closed_arg = arg;
    engine_close(engine);
}

static void close_pump(froe *engine) {
    if (engine->stopping && !engine->stop_told && engine->state == WORKER_STOPPED && engine->inflight == 0) {
        engine->stop_told = engine->over = true;
        if (engine->stopped)
            engine->stopped(engine->stopped_arg);
    }
    if (!engine->closing || engine->committer_closing || engine->state != WORKER_STOPPED)
        return;
    pool_close(engine);
    bool leave_alone = engine_mono_us(engine) - engine->closing_mono_us >= engine->cancel_grace_us;
    if (engine->inflight == 0 && list_empty(&engine->events) && !engine->tell_failure &&
        pool_closed(engine, leave_alone)) {
        engine->committer_closing = true;
        committer_close(engine->committer);
    }
}

/* ---- the pump ---- */

static int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void on_timer(uv_timer_t *timer) {
    froe *engine = timer->data;
    engine->timer_at_mono_us = INT64_MAX;
    engine->dirty = true;
}

static void set_timer(froe *engine) {
    int64_t now = engine_mono_us(engine);
    int64_t at = min_i64(tasks_next_mono_us(engine), worker_next_mono_us(engine));
    at = min_i64(at, claims_next_mono_us(engine, now));
    at = min_i64(at, settle_next_mono_us(engine));
    at = min_i64(at, groups_next_mono_us(engine));
    at = min_i64(at, schedule_next_mono_us(engine, now));
    at = min_i64(at, waits_next_mono_us(engine));
    if (at == engine->timer_at_mono_us)
        return;
    engine->timer_at_mono_us = at;
    if (at == INT64_MAX) {
        uv_timer_stop(&engine->timer);
        return;
    }
    /* The loop's idea of now may be old, so this may come early, and is then set again. */
    int64_t wait_us = at > now ? at - now : 0;
    uv_timer_start(&engine->timer, on_timer, (uint64_t)((wait_us + US_PER_MS - 1) / US_PER_MS), 0);
}

static void pump(froe *engine) {
    engine->dirty = false;
    events_tell(engine);
    int64_t now = engine_mono_us(engine);
    groups_resume(engine, now);
    groups_pump(engine, now);
    tasks_time(engine, now);
    worker_pump(engine, now);
    schedule_pump(engine);
    waits_pump(engine, now); /* what is spawned by who waited is claimed below */
    tasks_start(engine);
    if (engine->failed) {
        settle_discard(engine);
        tasks_drop_waiting(engine);
        worker_pump(engine, now);
    } else if (engine->state == WORKER_RUNNING) {
        claims_pump(engine, now);
    }
    settle_pump(engine, now);
    close_pump(engine);
    set_timer(engine);
}

static void on_busy(uv_idle_t *idle) {
    (void)idle;
}

static void on_prepare(uv_prepare_t *prepare) {
    froe *engine = prepare->data;
    if (engine->committer_closing) {
        uv_idle_stop(&engine->busy); /* what is waited for wakes the loop */
        return;
    }
    bool called = engine->dirty;
    if (engine->dirty)
        pump(engine);
    if (engine->submitted)
        committer_go(engine->committer);
    engine->submitted = false;
    /* Who runs the loop step by step should get a look at what the pump's callbacks did, before the loop sleeps. */
    if (called || engine->dirty)
        uv_idle_start(&engine->busy, on_busy);
    else
        uv_idle_stop(&engine->busy);
}

/* On a thread of the store's; perhaps before the handles are there. */
static void on_store_wake(void *arg) {
    froe *engine = arg;
    atomic_store(&engine->woken, true);
    if (atomic_load(&engine->wake_is_open))
        wake_send(&engine->wake);
}

static void on_wake(void *arg) {
    froe *engine = arg;
    calls_run(engine);
    if (!engine->committer_closing) {
        collect(engine);
        return;
    }
    if (!committer_closed(engine->committer))
        return;
    committer_free(engine->committer);
    engine->committer = NULL;
    close_handles(engine);
}

void engine_clock_moved(froe *engine) {
    engine->dirty = true;
    engine->timer_at_mono_us = INT64_MAX;
    uv_idle_start(&engine->busy, on_busy);
}

/* ---- opening ---- */

static void init(froe *engine, const froe_options *options, const struct engine_seams *seams) {
    engine->clock = seams->clock ? *seams->clock : clock_system;
    if (seams->seed)
        rng_seed(&engine->rng, *seams->seed);
    else
        rng_seed_system(&engine->rng);
    engine->slots = options->slots ? options->slots : SLOTS_DEFAULT;
    engine->lease_us = options->lease_us ? options->lease_us : LEASE_DEFAULT_US;
    engine->event = options->event;
    engine->event_arg = options->event_arg;
    engine->max_runs_of = options->max_runs_of;
    engine->max_runs_arg = options->max_runs_arg;
    engine->loop = options->loop ? options->loop : &engine->own_loop;
    calls_init(engine);
    pool_init(engine);
    atomic_store(&engine->holds_until_mono_us, INT64_MIN);
    worker_init(engine, options->worker);
    engine->cancel_grace_us = options->cancel_grace_us ? options->cancel_grace_us : CANCEL_GRACE_US;
    asking_init(engine);
    waits_init(engine);
    engine->timer_at_mono_us = engine->start_by_mono_us = INT64_MAX;
    engine->flushed_mono_us = engine->claim_sent_mono_us = engine_mono_us(engine) - US_PER_S;
    struct list *lists[] = {&engine->lanes,     &engine->leases,  &engine->rotation,   &engine->paused,
                            &engine->cancelled, &engine->waiting, &engine->free_tasks, &engine->events,
                            &engine->hanging,   &engine->unsaved, &engine->savers};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        list_init(lists[i]);
}

static int read_numbers(froe *engine, struct store *store, struct err *err) {
    struct snapshot *snapshot = NULL;
    int r = store_begin(store, err);
    if (r == 0)
        r = snapshot_take(store, &snapshot, err);
    if (r == 0)
        r = store_commit(store, err);
    if (r == 0 && snapshot_apply(engine, snapshot) < 0)
        r = err_set(err, -ENOMEM, "out of memory");
    snapshot_free(snapshot);
    return r;
}

static int open_handles(froe *engine, struct err *err) {
    int r = wake_open(&engine->wake, engine->loop, on_wake, engine, err);
    if (r < 0)
        return r;
    uv_prepare_init(engine->loop, &engine->prepare);
    uv_idle_init(engine->loop, &engine->busy);
    uv_timer_init(engine->loop, &engine->timer);
    engine->wake.handle.data = engine->prepare.data = engine->busy.data = engine->timer.data = engine;
    engine->handles = 4;
    atomic_store(&engine->wake_is_open, true);
    return 0;
}

/* The store's names end with their length. */
static uint32_t max_runs_of(void *arg, struct bytes workflow, struct bytes key, uint32_t max_runs) {
    const froe *engine = arg;
    char name[FROE_NAME_MAX + 1], group[FROE_KEY_MAX + 1];
    if (workflow.n > FROE_NAME_MAX || key.n > FROE_KEY_MAX)
        return max_runs;
    memcpy(name, workflow.p, workflow.n);
    name[workflow.n] = '\0';
    if (key.n)
        memcpy(group, key.p, key.n);
    group[key.n] = '\0';
    return engine->max_runs_of(engine->max_runs_arg, name, group, max_runs);
}

static int open_engine(froe *engine, const froe_options *options, const struct engine_seams *seams, struct err *err) {
    struct store *store = seams->store;
    struct store_options how = {.clock = seams->clock,
                                .lease_us = engine->lease_us,
                                .lock_wait_us = options->lock_wait_us,
                                .history_us = options->history_us,
                                .history_bytes = options->history_bytes,
                                .repeats = true,
                                .wake = on_store_wake,
                                .wake_arg = engine,
                                .caps = {engine->max_runs_of ? max_runs_of : NULL, engine}};
    if (!store) {
        int r = store_open(options->store, &how, &store, err);
        if (r < 0)
            return r;
    }
    engine->recovered = store_recovered(store);
    engine->lock_fd = store_lock_fd(store);
    engine->store_text = store_describe(store);
    engine->shared = store_shared(store);
    int r = read_numbers(engine, store, err);
    if (r == 0)
        r = open_handles(engine, err);
    if (r == 0)
        r = committer_start(store, &engine->wake, &engine->committer, err);
    if (r < 0 && !seams->store)
        store_close(store);
    if (r == 0)
        uv_prepare_start(&engine->prepare, on_prepare);
    return r;
}

int engine_open(const froe_options *options, const struct engine_seams *seams, froe **ret_froe, froe_error *error) {
    if (!options || options->size != sizeof *options)
        return engine_error(error, FROE_ERR_INVALID, "the options' size is not that of this version");
    if (!options->store && !seams->store)
        return engine_error(error, FROE_ERR_INVALID, "no store was given");
    if (options->cancel_grace_us < 0)
        return engine_error(error, FROE_ERR_INVALID, "a negative cancel_grace_us");
    if (options->slots > SLOTS_MAX)
        return engine_error(error, FROE_ERR_INVALID, "%u slots; at most %d can be had", options->slots, SLOTS_MAX);
    if (options->lease_us != 0 && (options->lease_us < LEASE_LEAST_US || options->lease_us > LEASE_MOST_US))
        return engine_error(error, FROE_ERR_INVALID, "a lease lasts between 100 ms and a day");
    froe *made = mem_zalloc(sizeof *made);
    if (!made)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    init(made, options, seams);
    struct err err = {0};
    int r = made->loop == &made->own_loop ? uv_loop_init(made->loop) : 0;
    if (r < 0) {
        free_all(made);
        return engine_error(error, FROE_ERR_MEMORY, "no loop can be made: %s", uv_strerror(r));
    }
    r = open_engine(made, options, seams, &err);
    if (r < 0) {
        r = engine_error_from(error, &err);
        if (made->handles > 0)
            close_handles(made); /* a caller's loop frees it in its next turn */
        else
            made->handles_closed = true;
        if (made->loop == &made->own_loop)
            own_loop_close(made);
        if (made->loop == &made->own_loop || made->handles_closed)
            gone(made);
        return r;
    }
    *ret_froe = made;
    return FROE_OK;
}

int froe_open(const froe_options *options, froe **ret_froe, froe_error *error) {
    static const struct engine_seams none = {0};
    return engine_open(options, &none, ret_froe, error);
}

uint64_t froe_recovered(const froe *engine) {
    return engine->recovered;
}

const char *froe_store_describe(const froe *engine) {
    return engine->store_text;
}

int froe_lock_fd(const froe *engine) {
    return engine->lock_fd;
}
