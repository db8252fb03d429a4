/* schedule.c - the cron: one run per tick and workflow, whoever notices the tick.
 *
 * The wall clock decides, and it may jump: it is looked at least once a minute, after a jump back the next tick is
 * reckoned anew (the store knows which ticks were taken), and of ticks that were jumped over or missed only the newest
 * is made, and only when it is fresh, or the workflow catches up. */
#include "engine.h"

#include "cleanup.h"
#include "text.h"

#define LOOK_US US_PER_MIN
#define FRESH_US US_PER_MIN

static int tick(struct froe *engine, struct workflow *workflow, int64_t tick_utc_us, froe_error *error) {
    _cleanup_buf_ struct buf metadata = {0};
    int r = buf_add_str(&metadata, "{\"froe__cron\":");
    if (r == 0)
        r = text_add_json(&metadata, bytes_str(workflow->cron_text));
    if (r == 0)
        r = buf_add_str(&metadata, ",\"froe__scheduled\":\"");
    if (r == 0)
        r = text_add_iso8601(&metadata, tick_utc_us, false);
    if (r == 0)
        r = buf_add_str(&metadata, "\"}");
    if (r < 0)
        return engine_error(error, FROE_ERR_MEMORY, "out of memory");
    froe_spawn spawn = {.size = sizeof spawn, .workflow = workflow->name, .metadata = metadata.p, .n = 1};
    spawn.input = workflow->cron_input;
    return spawn_make(engine, &spawn, tick_utc_us, NULL, NULL, error);
}

/* The newest firing that is not after `now`, given one that is not; without `old` it may give one that is after `now`
 * when none is fresh. Looked for in windows that double, so that neither many firings nor few cost much. */
static int64_t newest(const struct workflow *workflow, int64_t tick_utc_us, int64_t now_utc_us, bool old) {
    const struct cron *cron = &workflow->cron;
    int64_t at = tick_utc_us;
    for (int64_t window_us = FRESH_US; now_utc_us - tick_utc_us > window_us; window_us *= 2) {
        at = cron_next(cron, workflow->zone, now_utc_us - window_us - 1);
        if (at <= now_utc_us || !old)
            break;
        at = tick_utc_us;
    }
    for (int64_t next = at; next <= now_utc_us; next = cron_next(cron, workflow->zone, next))
        at = next;
    return at;
}

/* From where on ticks count: what came while no worker ran only for who catches up. */
static int64_t begin_at(const struct workflow *workflow, int64_t now_utc_us) {
    int64_t last_utc_us = workflow->catches_up ? workflow->store_last_tick_utc_us : 0;
    return last_utc_us > 0 && last_utc_us < now_utc_us ? last_utc_us : now_utc_us;
}

void schedule_pump(struct froe *engine) {
    if (engine->state != WORKER_RUNNING || engine->failed || engine->stopping)
        return;
    int64_t now = engine_utc_us(engine);
    bool back = now < engine->cron_checked_utc_us;
    engine->cron_checked_utc_us = now;
    for (size_t i = 0; i < engine->n_workflows; i++) {
        struct workflow *workflow = engine->workflows[i];
        if (!workflow->has_cron)
            continue;
        if (workflow->next_tick_utc_us == 0)
            workflow->next_tick_utc_us = cron_next(&workflow->cron, workflow->zone, begin_at(workflow, now));
        else if (back)
            workflow->next_tick_utc_us = cron_next(&workflow->cron, workflow->zone, now);
        if (workflow->next_tick_utc_us > now)
            continue;
        int64_t due = newest(workflow, workflow->next_tick_utc_us, now, workflow->catches_up);
        workflow->next_tick_utc_us = cron_next(&workflow->cron, workflow->zone, now);
        froe_error error;
        if (due <= now && (workflow->catches_up || now - due <= FRESH_US) &&
            tick(engine, workflow, due, &error) != FROE_OK)
            event_log(engine, FROE_ERROR, workflow, "the cron's tick was not made: %s", error.text);
    }
}

int schedule_read_last(struct froe *engine, struct store *store, struct err *err) {
    for (size_t i = 0; i < engine->n_store_workflows; i++) {
        struct workflow *workflow = engine->store_workflows[i];
        if (!workflow->has_cron || !workflow->catches_up)
            continue;
        int r = store_tick_last(store, workflow->store_id, &workflow->store_last_tick_utc_us, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int64_t schedule_next_mono_us(const struct froe *engine, int64_t now_mono_us) {
    if (engine->state != WORKER_RUNNING || engine->failed)
        return INT64_MAX;
    int64_t now = engine_utc_us(engine), wait_us = INT64_MAX;
    for (size_t i = 0; i < engine->n_workflows; i++) {
        const struct workflow *workflow = engine->workflows[i];
        if (!workflow->has_cron)
            continue;
        int64_t left = workflow->next_tick_utc_us - now;
        if (left < wait_us)
            wait_us = left;
    }
    if (wait_us == INT64_MAX)
        return INT64_MAX;
    if (wait_us > LOOK_US)
        wait_us = LOOK_US;
    return now_mono_us + (wait_us > 0 ? wait_us : 0);
}
