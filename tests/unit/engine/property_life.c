/* property_life.c - see property_life.h. */
#include "property_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- random acts ---- */

static void cancel_one(struct world *world) {
    struct random_engine *engine = world_any(world);
    if (engine && world->n_runs > 0)
        froe_run_cancel(engine->froe, world->runs[world_below(world, world->n_runs)], NULL, NULL, NULL);
}

static void retry_parked(struct world *world) {
    struct random_engine *engine = world_any(world);
    if (engine)
        froe_parked_retry(engine->froe, NULL, NULL, NULL, NULL);
}

static void paused_one(void *arg, const froe_error *error) {
    ((struct world *)arg)->pauses_open--;
}

static void pause_one(struct world *world, int paused) {
    struct random_engine *engine = world_any(world);
    if (!engine)
        return;
    const char *name = world->workflows[world_below(world, WORKFLOWS)].name;
    world->pauses_open++;
    if (froe_workflow_pause(engine->froe, name, paused, paused_one, world, NULL) != FROE_OK)
        world->pauses_open--;
}

static void crash_one(struct world *world) {
    struct random_engine *engine = world_any(world);
    if (!engine)
        return;
    if (world_below(world, 4) == 0)
        world_close(world, engine);
    else
        world_crash(world, engine);
    world_open(world, engine);
}

static void lose_for_a_moment(struct world *world) {
    struct random_engine *engine = world_any(world);
    if (!engine)
        return;
    failing_lose(engine->store, true);
    world_run(world, (int64_t)world_below(world, 60) * US_PER_MS);
    failing_lose(engine->store, false);
}

/* As a process that is stopped for longer than its lease, while the others go on. */
static void freeze_one(struct world *world) {
    struct random_engine *engine = world_any(world);
    if (!engine)
        return;
    int64_t until = clock_mono_us(&clock_system) + (int64_t)(100 + world_below(world, 3500)) * US_PER_MS;
    world_freeze(engine, true);
    while (clock_mono_us(&clock_system) < until) {
        if (world_below(world, 3) == 0)
            world_spawn(world);
        world_end_held(world, false);
        world_run(world, (int64_t)world_below(world, 100) * US_PER_MS);
    }
    world_freeze(engine, false);
}

/* What happens to a fleet only; false: nothing. */
static bool act_of_fleet(struct world *world) {
    uint64_t dice = world_below(world, 200);
    if (dice < 10)
        world->server->cut(world_below(world, 1000));
    else if (dice < 12)
        freeze_one(world);
    else if (dice < 13)
        world->server->restart();
    else
        return false;
    return true;
}

static void act(struct world *world) {
    if (world->server && act_of_fleet(world))
        return;
    uint64_t dice = world_below(world, 100);
    if (dice < 60)
        world_spawn(world);
    else if (dice < 70)
        cancel_one(world);
    else if (dice < 74)
        retry_parked(world);
    else if (dice < 78)
        pause_one(world, (int)world_below(world, 2));
    else if (dice < 82)
        crash_one(world);
    else if (dice < 86)
        lose_for_a_moment(world);
    else if (dice < 92 && !world->server)
        world_move(world, (int64_t)world_below(world, dice < 88 ? US_PER_MIN : 2 * US_PER_S));
    else
        world_end_held(world, false);
    world_run(world, (int64_t)world_below(world, 12) * US_PER_MS);
}

/* ---- afterwards ---- */

struct count {
    bool done;
    uint64_t live;
};

static void count_live(void *arg, const froe_workflow_info *info) {
    ((struct count *)arg)->live += info->queued + info->waiting + info->running;
}

static void counted(void *arg, uint64_t n, const froe_error *error) {
    ((struct count *)arg)->done = true;
}

static uint64_t live_runs(struct world *world) {
    struct count count = {0};
    if (froe_workflows_list(world->engines[0].froe, count_live, counted, &count, NULL) != FROE_OK)
        BROKEN(world, "workflows cannot be listed");
    for (int i = 0; i < 10000 && !count.done; i++)
        world_run(world, US_PER_MS);
    if (!count.done)
        BROKEN(world, "workflows are not listed");
    return count.live;
}

/* No more surprises: all must end. The cron goes on, so what is waited for is that nothing else is left. */
static void calm_down(struct world *world) {
    world->calm = true;
    int64_t until = clock_mono_us(&clock_system) + 60 * US_PER_S;
    while (world->pauses_open > 0 && clock_mono_us(&clock_system) < until)
        world_run(world, US_PER_MS); /* another engine's would come later */
    for (size_t i = 0; i < WORKFLOWS; i++)
        froe_workflow_pause(world->engines[0].froe, world->workflows[i].name, 0, NULL, NULL, NULL);
    for (uint64_t live = 1; live > 0 || world->spawns_open > 0;) {
        world_end_held(world, true);
        if (!world->server)
            world_move(world, 300 * US_PER_MS);
        world_run(world, 5 * US_PER_MS);
        live = live_runs(world);
        if (clock_mono_us(&clock_system) > until)
            BROKEN(world, "%ju runs do not end", (uintmax_t)live);
    }
}

struct look {
    struct world *world;
    bool done;
    size_t at;
};

static void look_at(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n, const froe_error *error) {
    struct look *look = arg;
    struct world *world = look->world;
    char id[FROE_RUN_ID_MAX];
    froe_run_id_text(world->runs[look->at], id);
    look->done = true;
    if (!run)
        BROKEN(world, "run %s is lost: %s", id, error ? error->text : "");
    if (run->state < FROE_PARKED)
        BROKEN(world, "run %s is still live, state %d", id, (int)run->state);
    if (run->state == FROE_SUCCEEDED) {
        pthread_mutex_lock(&world->mutex);
        if (!map_get(&world->succeeded, bytes_str(id)))
            BROKEN(world, "run %s succeeded by itself", id);
        pthread_mutex_unlock(&world->mutex);
        if (!run->result || strcmp(run->result, "{\"ok\":1}") != 0)
            BROKEN(world, "run %s has the result %s", id, run->result ? run->result : "(none)");
    } else if (!run->error || !run->error[0]) {
        BROKEN(world, "run %s ended in silence, state %d", id, (int)run->state);
    }
    size_t ends = 0;
    for (size_t i = 0; i < n; i++)
        ends += attempts[i].state == FROE_SUCCEEDED || attempts[i].state == FROE_FAILED;
    if (ends > 1)
        BROKEN(world, "run %s ended %zu times", id, ends);
}

static void check_all(struct world *world) {
    for (size_t i = 0; i < world->n_runs; i++) {
        struct look look = {.world = world, .at = i};
        if (froe_run_get(world->engines[0].froe, world->runs[i], look_at, &look, NULL) != FROE_OK)
            BROKEN(world, "a run cannot be looked at");
        while (!look.done)
            world_run(world, 0);
    }
}

static void check_store(struct world *world) {
    struct store *store;
    struct err err;
    if (store_open(world->uri, &world->store_options, &store, &err) < 0 || store_check(store, &err) < 0)
        BROKEN(world, "%s", err.text);
    store_close(store);
}

static uint64_t live_through(uint64_t seed, const struct world_server *server) {
    static struct world world;
    world_make(&world, seed, server);
    uint64_t acts = 30 + world_below(&world, 80);
    for (uint64_t i = 0; i < acts; i++)
        act(&world);
    calm_down(&world);
    check_all(&world);
    uint64_t calls = world.calls;
    for (size_t i = 0; i < world.n_engines; i++)
        world_close(&world, &world.engines[i]);
    check_store(&world);
    world_free(&world);
    return calls;
}

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text && text[0] ? strtoull(text, NULL, 10) : otherwise;
}

void property_live(const struct world_server *server, unsigned seconds) {
    uint64_t one = number("FROE_PROPERTY_SEED", 0), from = one ? one : number("FROE_PROPERTY_FROM", 1), at = from;
    int64_t until = clock_mono_us(&clock_system) + (int64_t)number("FROE_PROPERTY_SECONDS", seconds) * US_PER_S;
    uint64_t calls = 0;
    do
        calls += live_through(at++, server);
    while (!one && clock_mono_us(&clock_system) < until);
    print_message("worlds %ju to %ju, %ju calls of task functions\n", (uintmax_t)from, (uintmax_t)at - 1,
                  (uintmax_t)calls);
    assert_true(calls > 0);
}
