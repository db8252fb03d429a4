/* worker.c - joining, heartbeat, losing the lease, stopping.
 *
 * What is held is surely ours until lease_us after the last confirmed heartbeat was *sent*, less a margin for clocks
 * that run unevenly. After that everything is cancelled, also when the store's server cannot be reached; only when
 * nothing runs any more does the worker join anew, because joining gives its runs to others. */
#include "engine.h"

#include "mem.h"

#include <stdio.h>
#include <unistd.h>

#define HEARTBEAT_PACE_US (100 * US_PER_MS) /* between those that are sent for a reason */

struct worker_request {
    struct request request;
    int64_t worker;     /* heartbeat, leave; join: the former one, 0: none */
    int64_t new_worker; /* join */
    int64_t sent_mono_us;
    struct froe *engine;
    struct snapshot *snapshot;    /* join */
    struct store_cancels cancels; /* these three are the heartbeat's */
    bool look;                    /* at the others */
    uint32_t others_idle;
};

void worker_init(struct froe *engine, const char *name) {
    if (name && name[0]) {
        struct bytes cut = cut_utf8(bytes_str(name), WORKER_NAME_MAX - 1);
        memcpy(engine->worker_name, cut.p, cut.n);
        return;
    }
    char host[64] = "";
    if (gethostname(host, sizeof host - 1) < 0)
        snprintf(host, sizeof host, "unknown");
    snprintf(engine->worker_name, sizeof engine->worker_name, "%s:%jd", host, (intmax_t)getpid());
}

bool worker_holds(const struct froe *engine, int64_t now_mono_us) {
    return now_mono_us < atomic_load_explicit(&engine->holds_until_mono_us, memory_order_acquire);
}

static void held_since(struct froe *engine, int64_t sent_mono_us) {
    int64_t until = sent_mono_us + engine->lease_us - engine->lease_us / 5;
    if (until > engine->lease_until_mono_us && !engine->failed) {
        engine->lease_until_mono_us = until;
        atomic_store_explicit(&engine->holds_until_mono_us, until, memory_order_release);
    }
}

static struct worker_request *make(struct froe *engine, int (*execute)(struct request *, struct store *, struct err *),
                                   void (*finish)(struct request *, struct froe *)) {
    struct worker_request *request = mem_zalloc(sizeof *request);
    if (!request) {
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
        return NULL;
    }
    request->request.execute = execute;
    request->request.finish = finish;
    request->worker = engine->worker;
    request->engine = engine;
    request->sent_mono_us = engine_mono_us(engine);
    return request;
}

/* ---- join ---- */

static int execute_join(struct request *request, struct store *store, struct err *err) {
    struct worker_request *join = (struct worker_request *)(void *)request;
    int r = 0;
    if (join->worker)
        r = store_worker_remove(store, join->worker, err);
    if (r < 0 && r != -ESTALE && r != -ENOENT)
        return r;
    struct froe *engine = join->engine;
    r = store_worker_add(store, bytes_str(engine->worker_name), engine->slots, &join->new_worker, err);
    if (r == 0)
        r = schedule_read_last(engine, store, err);
    snapshot_free(join->snapshot); /* when this is done again */
    join->snapshot = NULL;
    return r < 0 ? r : snapshot_take(store, &join->snapshot, err);
}

static void finish_join(struct request *request, struct froe *engine) {
    struct worker_request *join = (struct worker_request *)(void *)request;
    engine->join_inflight = false;
    engine->dirty = true;
    if (request->r < 0) {
        engine_fail(engine, &request->err);
    } else {
        engine->worker = join->new_worker;
        engine->lease_until_mono_us = 0;
        held_since(engine, join->sent_mono_us);
        engine->heartbeat_at_mono_us = join->sent_mono_us + engine->lease_us / 3;
        engine->state = engine->stopping ? WORKER_STOPPING : WORKER_RUNNING;
        engine->more = false;
        claims_look(engine);
        if (snapshot_apply(engine, join->snapshot) < 0)
            engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
    }
    snapshot_free(join->snapshot);
    mem_free(join);
}

static void join(struct froe *engine) {
    struct worker_request *request = make(engine, execute_join, finish_join);
    if (!request)
        return;
    engine->join_inflight = true;
    engine_submit(engine, &request->request);
}

int froe_start(froe *engine, froe_error *error) {
    if (engine->started || engine->stopping || engine->closing)
        return engine_error(error, FROE_ERR_STATE, "the engine %s",
                            engine->started ? "was started before" : "is stopping");
    if (engine->failed)
        return engine_error_from(error, &engine->failure);
    engine->started = true;
    engine->state = WORKER_JOINING;
    engine->dirty = true;
    return FROE_OK;
}

/* ---- heartbeat ---- */

static int see_other(void *arg, const struct store_worker_info *info) {
    struct worker_request *heartbeat = arg;
    heartbeat->others_idle += info->id != heartbeat->worker && info->leased < info->slots;
    return 0;
}

static int execute_heartbeat(struct request *request, struct store *store, struct err *err) {
    struct worker_request *heartbeat = (struct worker_request *)(void *)request;
    store_cancels_free(&heartbeat->cancels); /* when this is done again: the store tells them again, too */
    heartbeat->others_idle = 0;
    int r = store_heartbeat(store, heartbeat->worker, &heartbeat->cancels, err);
    return r == 0 && heartbeat->look ? store_workers_each(store, see_other, heartbeat, err) : r;
}

static void finish_heartbeat(struct request *request, struct froe *engine) {
    struct worker_request *heartbeat = (struct worker_request *)(void *)request;
    engine->heartbeat_inflight = false;
    engine->dirty = true;
    if (heartbeat->worker == engine->worker) {
        if (request->r == 0 && !engine->lease_lost) {
            held_since(engine, heartbeat->sent_mono_us);
            cancels_take(engine, &heartbeat->cancels);
            engine->others_idle = heartbeat->others_idle;
            if (heartbeat->look)
                claim_offer(engine);
        } else if (request->r == -ESTALE) {
            worker_lost(engine, "the store took the leases back: it had not heard of this worker for too long");
        } else if (request->r < 0) {
            engine_fail(engine, &request->err);
        }
    }
    store_cancels_free(&heartbeat->cancels);
    mem_free(heartbeat);
}

/* Where more lanes have work than may be held, one that holds on to its lease for long, because it turned slow, lets go
 * of what it has not started. Likewise, where others may be waiting for it, one that got its last lease long ago. */
static void shed(struct froe *engine, int64_t now) {
    if (!engine->more && !engine->shared)
        return;
    LIST_EACH_SAFE (link, following, &engine->lanes) {
        struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        int64_t since = engine->more ? lane->came_mono_us : lane->leased_mono_us;
        if (lane->group->paused_until_mono_us == 0 && now - since > engine->lease_us / 3)
            held_release(engine, lane);
    }
}

static void heartbeat(struct froe *engine, int64_t now) {
    if (now < engine->heartbeat_at_mono_us || engine->heartbeat_inflight)
        return;
    struct worker_request *request = make(engine, execute_heartbeat, finish_heartbeat);
    if (!request)
        return;
    engine->heartbeat_at_mono_us = now + engine->lease_us / 3;
    engine->heartbeat_sent_mono_us = now;
    engine->heartbeat_inflight = true;
    request->look = claim_may_offer(engine);
    engine_submit(engine, &request->request);
    shed(engine, now);
}

void worker_heartbeat_soon(struct froe *engine) {
    int64_t at = engine->heartbeat_sent_mono_us + HEARTBEAT_PACE_US;
    if (at < engine->heartbeat_at_mono_us)
        engine->heartbeat_at_mono_us = at;
    engine->dirty = true;
}

void worker_lost(struct froe *engine, const char *why) {
    if (engine->failed || (engine->state != WORKER_RUNNING && engine->state != WORKER_STOPPING))
        return;
    if (engine->lease_lost)
        return;
    engine->tell_lost = why;
    engine->lease_lost = true;
    checkpoints_drop(engine, FROE_ERR_STATE, "the lease was lost: the run is given to others");
    engine->lease_until_mono_us = INT64_MIN;
    atomic_store(&engine->holds_until_mono_us, INT64_MIN);
    if (engine->state == WORKER_RUNNING)
        engine->state = WORKER_LOST;
    engine->cancel_wanted = true;
    engine->cancel_reason = FROE_CANCELLED_LEASE_LOST;
    engine->dirty = true;
}

/* ---- stop ---- */

void worker_stop(struct froe *engine, froe_stop_mode mode) {
    engine->stop_told = false;
    engine->stopping = true;
    engine->dirty = true;
    if (mode == FROE_STOP_NOW && !engine->stop_now) {
        engine->stop_now = true;
        engine->give_up_at_mono_us = engine_mono_us(engine) + engine->lease_us;
    }
    if (mode == FROE_STOP_NOW && !engine->cancel_wanted && !engine->failed) {
        engine->cancel_wanted = true;
        engine->cancel_reason = FROE_CANCELLED_STOP;
    }
}

struct stop_call {
    froe *engine;
    froe_stop_mode mode;
    void (*stopped)(void *arg);
    void *arg;
};

static int stop(void *arg) {
    const struct stop_call *call = arg;
    call->engine->stopped = call->stopped;
    call->engine->stopped_arg = call->arg;
    worker_stop(call->engine, call->mode);
    return FROE_OK;
}

void froe_stop(froe *engine, froe_stop_mode mode, void (*stopped)(void *arg), void *arg) {
    struct stop_call call = {engine, mode, stopped, arg};
    engine_call(engine, stop, &call);
}

static int execute_leave(struct request *request, struct store *store, struct err *err) {
    int r = store_worker_remove(store, ((struct worker_request *)(void *)request)->worker, err);
    return r == -ESTALE || r == -ENOENT ? 0 : r;
}

static void finish_leave(struct request *request, struct froe *engine) {
    if (request->r < 0)
        engine_fail(engine, &request->err);
    engine->state = WORKER_STOPPED;
    engine->dirty = true;
    mem_free(request);
}

/* Everything that may be asked of the store in this state was asked; it has only to answer. */
static bool quiet(const struct froe *engine) {
    return engine->running == 0 && !engine->claim_inflight && !engine->join_inflight && !engine->heartbeat_inflight;
}

static void stop_pump(struct froe *engine) {
    switch (engine->state) {
    case WORKER_IDLE:
        engine->state = WORKER_STOPPED;
        break;
    case WORKER_JOINING:
        if (!engine->join_inflight)
            engine->state = WORKER_STOPPED;
        break;
    case WORKER_RUNNING:
    case WORKER_LOST:
        engine->state = WORKER_STOPPING;
        tasks_release_waiting(engine);
        held_release_all(engine);
        engine->dirty = true; /* it may have nothing left to wait for */
        break;
    case WORKER_STOPPING:
        if (quiet(engine)) {
            tasks_release_waiting(engine);
            held_release_all(engine);
            settle_flush(engine);
            struct worker_request *leave = make(engine, execute_leave, finish_leave);
            if (!leave)
                break;
            engine->state = WORKER_LEAVING;
            atomic_store(&engine->holds_until_mono_us, INT64_MIN);
            engine_submit(engine, &leave->request);
        }
        break;
    case WORKER_LEAVING:
    case WORKER_STOPPED:
        break;
    }
}

static void failed_pump(struct froe *engine) {
    if (engine->stopping && engine->running == 0 && engine->inflight == 0)
        engine->state = WORKER_STOPPED;
}

/* A server that does not come back must not keep a program from ending. By then nobody relies on this worker. */
static bool should_give_up(const struct froe *engine) {
    return engine->store_lost && engine->stop_now && !engine->failed;
}

void worker_pump(struct froe *engine, int64_t now) {
    if (should_give_up(engine) && !engine->gave_up && now >= engine->give_up_at_mono_us) {
        engine->gave_up = true;
        committer_give_up(engine->committer);
    }
    if (!engine->failed && !engine->lease_lost &&
        (engine->state == WORKER_RUNNING || engine->state == WORKER_STOPPING) && now >= engine->lease_until_mono_us)
        worker_lost(engine, "the store did not answer a heartbeat in time");
    if (engine->cancel_wanted) {
        engine->cancel_wanted = false;
        tasks_cancel_all(engine, engine->cancel_reason);
    }
    if (engine->failed) {
        failed_pump(engine);
        return;
    }
    if (engine->stopping)
        stop_pump(engine);
    if (engine->state == WORKER_JOINING && !engine->join_inflight && !engine->stopping)
        join(engine);
    if (engine->state == WORKER_LOST) {
        tasks_release_waiting(engine);
        held_forget(engine);
        if (quiet(engine)) {
            settle_flush(engine);
            engine->lease_lost = false;
            engine->state = WORKER_JOINING;
            join(engine);
        }
    }
    if ((engine->state == WORKER_RUNNING || engine->state == WORKER_STOPPING) && !engine->lease_lost)
        heartbeat(engine, now);
}

static int64_t next_beat(const struct froe *engine) {
    if (engine->failed || engine->lease_lost || (engine->state != WORKER_RUNNING && engine->state != WORKER_STOPPING))
        return INT64_MAX;
    if (engine->heartbeat_inflight || engine->lease_until_mono_us < engine->heartbeat_at_mono_us)
        return engine->lease_until_mono_us;
    return engine->heartbeat_at_mono_us;
}

int64_t worker_next_mono_us(const struct froe *engine) {
    int64_t next = next_beat(engine);
    if (should_give_up(engine) && !engine->gave_up && engine->give_up_at_mono_us < next)
        next = engine->give_up_at_mono_us;
    return next;
}
