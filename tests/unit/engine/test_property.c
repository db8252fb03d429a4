/* Random worlds against the promises: one live run per child key, limits, nothing lost, nothing fails in silence, each
 * run ends once, a tick makes one run, whatever crashes, jumps or is cancelled meanwhile; and true rotation.
 *
 * FROE_PROPERTY_SEED=n runs one world; FROE_PROPERTY_SECONDS (default 8) how long new ones are made. With a URI in
 * FROE_TEST_POSTGRES also over PostgreSQL, several engines at once on one schema, on the real clock. */
#include "property_world.h"

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

static void pause_one(struct world *world, int paused) {
    struct random_engine *engine = world_any(world);
    if (engine)
        froe_workflow_pause(engine->froe, world->workflows[world_below(world, WORKFLOWS)].name, paused, NULL, NULL,
                            NULL);
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

static void act(struct world *world) {
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
    else if (dice < 92 && !world->shared)
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
    for (size_t i = 0; i < WORKFLOWS; i++)
        froe_workflow_pause(world->engines[0].froe, world->workflows[i].name, 0, NULL, NULL, NULL);
    int64_t until = clock_mono_us(&clock_system) + (world->shared ? 60 : 20) * US_PER_S;
    for (uint64_t live = 1; live > 0 || world->spawns_open > 0;) {
        world_end_held(world, true);
        if (!world->shared)
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
            uv_run(&world->loop, UV_RUN_ONCE);
    }
}

static void check_store(struct world *world) {
    struct store *store;
    struct err err;
    if (store_open(world->uri, &world->store_options, &store, &err) < 0 || store_check(store, &err) < 0)
        BROKEN(world, "%s", err.text);
    store_close(store);
}

static uint64_t live_through(uint64_t seed, const char *postgres) {
    static struct world world;
    world_make(&world, seed, postgres);
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

static void many_worlds(const char *postgres) {
    const char *one = getenv("FROE_PROPERTY_SEED"), *seconds = getenv("FROE_PROPERTY_SECONDS");
    if (one) {
        live_through(strtoull(one, NULL, 10), postgres);
        return;
    }
    struct rng rng;
    rng_seed_system(&rng);
    int64_t until = clock_mono_us(&clock_system) + (seconds ? atoi(seconds) : 8) * US_PER_S;
    uint64_t calls = 0;
    size_t worlds = 0;
    for (; clock_mono_us(&clock_system) < until; worlds++) {
        uint64_t seed = rng_below(&rng, 1000000000);
        calls += live_through(seed, postgres);
    }
    print_message("%zu worlds, %ju calls of task functions\n", worlds, (uintmax_t)calls);
    assert_true(calls > 100);
}

static void test_worlds(void **state) {
    many_worlds(NULL);
}

static void test_worlds_of_a_fleet(void **state) {
    const char *postgres = getenv("FROE_TEST_POSTGRES");
    if (!postgres || !postgres[0])
        skip();
    many_worlds(postgres);
}

/* ---- rotation ---- */

/* Groups with random backlogs, tasks that take at random: how long does one that has work wait for its turn, counted in
 * starts of others? */
static void test_rotation(void **state) {
    for (int round = 0; round < 3; round++) {
        void *fixture = NULL;
        fixture_setup_closed(&fixture);
        struct fixture *fx = fixture;
        struct rng rng;
        uint64_t seed;
        rng_seed_system(&rng);
        seed = rng_below(&rng, 1000000000);
        print_message("rotation, seed %ju\n", (uintmax_t)seed);
        rng_seed(&rng, seed);
        size_t groups = 2 + (size_t)rng_below(&rng, 20), total = 0;
        fx->options.slots = 1 + (uint32_t)rng_below(&rng, 8);
        fixture_open(fx);
        froe_rule rule = {"input.g", (uint32_t)rng_below(&rng, 2) * 100, FROE_GROUP_ROUND_ROBIN, 0};
        fixture_workflow(fx, "a", &rule, 1, NULL);
        fixture_workflow(fx, "b", &rule, 1, NULL);
        fx->run = NULL;
        size_t backlog[32] = {0}, started[32] = {0}, last[32] = {0};
        for (size_t g = 0; g < groups; g++) {
            char input[40], prefix[20];
            backlog[g] = 20 + (size_t)rng_below(&rng, g ? 60 : 2000);
            total += backlog[g];
            snprintf(input, sizeof input, "{\"g\":\"%zu\"}", g);
            snprintf(prefix, sizeof prefix, "%zu/", g);
            fixture_spawn_keys(fx, rng_below(&rng, 2) ? "a" : "b", input, prefix, 0, backlog[g]);
        }
        fixture_start(fx);
        fixture_guard(fx);
        while (fx->n_ran < total) {
            uv_run(&fx->loop, fx->n_held ? UV_RUN_NOWAIT : UV_RUN_ONCE);
            if (fx->n_held && rng_below(&rng, 2))
                froe_task_succeed(fixture_release(fx, (size_t)rng_below(&rng, fx->n_held)));
            assert_false(fx->timed_out);
        }
        while (fx->n_held)
            froe_task_succeed(fixture_release(fx, 0));
        for (size_t i = 0; i < fx->n_ran; i++) {
            size_t g = (size_t)atoi(fx->ran[i].group);
            /* Once all others had a turn, and the slots were free for it, it is its turn. */
            if (started[g] > 0 && i - last[g] > 2 * groups + fx->options.slots)
                fail_msg("group %zu waited for %zu starts of others; %zu groups, %u slots, seed %ju", g, i - last[g],
                         groups, fx->options.slots, (uintmax_t)seed);
            started[g]++;
            last[g] = i;
        }
        fixture_close(fx);
        fixture_remove(fx);
        free(fx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worlds),
        cmocka_unit_test(test_worlds_of_a_fleet),
        cmocka_unit_test(test_rotation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
