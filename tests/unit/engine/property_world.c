/* property_world.c - see property_world.h. */
#include "property_world.h"

#include "mem.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_US (60 * US_PER_S)

static int64_t moved_utc(void *arg) {
    struct moved_clock *clock = arg;
    return clock_utc_us(&clock_system) + atomic_load(&clock->utc_us);
}

static int64_t moved_mono(void *arg) {
    struct moved_clock *clock = arg;
    return clock_mono_us(&clock_system) + atomic_load(&clock->mono_us);
}

uint64_t world_below(struct world *world, uint64_t bound) {
    return rng_below(&world->rng, bound);
}

/* ---- the bookkeeper ---- */

/* With the mutex. */
static void take_out(struct world *world, size_t at) {
    world->running[at] = world->running[--world->n_running];
}

static size_t find(const struct world *world, const froe_task *task) {
    size_t i = 0;
    while (i < world->n_running && world->running[i].task != task)
        i++;
    return i;
}

static void left(struct world *world, froe_task *task) {
    pthread_mutex_lock(&world->mutex);
    size_t at = find(world, task);
    if (at == world->n_running)
        BROKEN(world, "a task ends that is not known");
    take_out(world, at);
    pthread_mutex_unlock(&world->mutex);
}

static void check_rate(struct world *world, const char *key, const froe_rule *rule) {
    struct rate_count *rate = NULL;
    for (size_t i = 0; i < world->n_rates && !rate; i++)
        if (world->rates[i].period_us == rule->period_us && strcmp(world->rates[i].key, key) == 0)
            rate = &world->rates[i];
    int64_t window = clock_utc_us(&world->clock.clock) / rule->period_us;
    if (!rate) {
        if (world->n_rates == sizeof world->rates / sizeof world->rates[0])
            return;
        rate = &world->rates[world->n_rates++];
        *rate = (struct rate_count){.period_us = rule->period_us, .window = window, .windows = 1};
        snprintf(rate->key, sizeof rate->key, "%s", key);
    }
    if (rule->max_runs > rate->max_runs)
        rate->max_runs = rule->max_runs;
    if (window > rate->window) {
        rate->windows += window - rate->window;
        rate->window = window;
    }
    /* What was leased at the very end of the window before the first may have started in it. */
    if (++rate->started > (uint64_t)(rate->windows + 1) * rate->max_runs)
        BROKEN(world, "%ju runs of '%s' were started in %jd windows of %u", (uintmax_t)rate->started, key,
               (intmax_t)rate->windows, rate->max_runs);
}

/* One more starts: is there a place for it? */
static void check_places(struct world *world, const struct running *new) {
    size_t on_engine = 0, places[3] = {0};
    for (size_t i = 0; i < world->n_running; i++) {
        const struct running *other = &world->running[i];
        if (other->engine == new->engine)
            on_engine++; /* abandoned ones keep their slots */
        if (other->workflow != new->workflow || !froe_task_holds_lease(other->task))
            continue;
        if (strcmp(other->run_id, new->run_id) == 0)
            BROKEN(world, "run %s runs twice at once", new->run_id);
        if (new->child_key[0] && strcmp(other->child_key, new->child_key) == 0)
            BROKEN(world, "two runs of %s with child key %s at once: %s and %s", new->workflow->name, new->child_key,
                   other->run_id, new->run_id);
        for (size_t r = 0; r < new->workflow->n_rules; r++)
            places[r] += strcmp(other->keys[r], new->keys[r]) == 0;
    }
    if (on_engine >= world->slots)
        BROKEN(world, "more tasks than slots");
    for (size_t r = 0; r < new->workflow->n_rules; r++) {
        const froe_rule *rule = &new->workflow->rules[r].rule;
        bool counted = false; /* by a rule before: a run is counted once */
        for (size_t before = 0; before < r; before++)
            counted = counted || (new->workflow->rules[before].rule.strategy ==
                                  FROE_RATE_LIMIT &&strcmp(new->keys[before], new->keys[r]) == 0);
        if (rule->strategy == FROE_RATE_LIMIT && !counted)
            check_rate(world, new->keys[r], rule);
        else if (rule->strategy == FROE_RATE_LIMIT)
            continue;
        else if (rule->max_runs && places[r] >= rule->max_runs)
            BROKEN(world, "%s: more than %u of '%s' run (rule %zu, strategy %d)", new->workflow->name, rule->max_runs,
                   new->keys[r], r + 1, (int)rule->strategy);
    }
}

static void check_tick(struct world *world, const froe_task *task) {
    const char *at = strstr(froe_task_metadata(task), "froe__scheduled");
    if (!at)
        return;
    char *first = map_get(&world->ticks, bytes_str(at));
    if (!first) {
        first = strdup(froe_task_run_id(task));
        if (!first || map_put(&world->ticks, bytes_str(at), first) < 0)
            BROKEN(world, "no memory");
    } else if (strcmp(first, froe_task_run_id(task)) != 0) {
        BROKEN(world, "one tick made two runs: %s and %s, %s", first, froe_task_run_id(task), at);
    }
}

static void came(struct random_engine *engine, const struct random_workflow *workflow, froe_task *task) {
    struct world *world = engine->world;
    struct running new = {.engine = engine, .task = task, .workflow = workflow};
    char k = '-', j = '-';
    sscanf(froe_task_input(task), "{\"k\":\"%c\",\"j\":\"%c\"}", &k, &j);
    for (size_t r = 0; r < workflow->n_rules; r++) {
        enum expression by = workflow->rules[r].expression;
        if (j == '-' && (by == BY_K || by == BY_K_AND_J))
            BROKEN(world, "run %s of %s was started without a key: input %s", froe_task_run_id(task), workflow->name,
                   froe_task_input(task));
        switch (by) {
        case BY_NOTHING:
            snprintf(new.keys[r], sizeof new.keys[r], "all");
            break;
        case BY_K:
            snprintf(new.keys[r], sizeof new.keys[r], "%c", k);
            break;
        case BY_K_AND_J:
            snprintf(new.keys[r], sizeof new.keys[r], "%c/%c", k, j);
            break;
        case BY_RUN:
        case EXPRESSIONS:
            snprintf(new.keys[r], sizeof new.keys[r], "%s", froe_task_run_id(task));
            break;
        }
    }
    size_t n;
    const char *child_key = froe_task_child_key(task, &n);
    snprintf(new.child_key, sizeof new.child_key, "%.*s", (int)n, child_key ? child_key : "");
    snprintf(new.run_id, sizeof new.run_id, "%s", froe_task_run_id(task));
    pthread_mutex_lock(&world->mutex);
    world->calls++;
    check_places(world, &new);
    check_tick(world, task);
    if (world->n_running == sizeof world->running / sizeof world->running[0])
        BROKEN(world, "too many tasks");
    world->running[world->n_running++] = new;
    pthread_mutex_unlock(&world->mutex);
}

static void succeed(struct world *world, froe_task *task) {
    pthread_mutex_lock(&world->mutex);
    if (map_put(&world->succeeded, bytes_str(froe_task_run_id(task)), world) < 0)
        BROKEN(world, "no memory");
    pthread_mutex_unlock(&world->mutex);
    left(world, task);
    if (froe_task_succeed_with(task, "{\"ok\":1}") != FROE_OK)
        BROKEN(world, "a result was refused");
}

/* ---- tasks ---- */

static void hold(struct world *world, froe_task *task) {
    pthread_mutex_lock(&world->mutex);
    world->running[find(world, task)].held = true;
    pthread_mutex_unlock(&world->mutex);
}

static void hand_over(struct world *world, froe_task *task) {
    pthread_mutex_lock(&world->mutex);
    if (world->n_to_end < sizeof world->to_end / sizeof world->to_end[0])
        world->to_end[world->n_to_end++] = task;
    else
        BROKEN(world, "too many tasks");
    pthread_mutex_unlock(&world->mutex);
}

static uint64_t dice_of(struct world *world, const froe_task *task) {
    struct rng rng;
    froe_run_id id = froe_task_id(task);
    pthread_mutex_lock(&world->mutex);
    uint64_t calls = world->calls;
    pthread_mutex_unlock(&world->mutex);
    rng_seed(&rng, world->seed ^ (uint64_t)id.page * 1000003 ^ (uint64_t)id.index << 40 ^ calls);
    return rng_below(&rng, 100);
}

struct task_arg {
    struct random_engine *engine;
    const struct random_workflow *workflow;
};
static struct task_arg args[ENGINES_MAX][WORKFLOWS];

static void run(froe_task *task, void *arg) {
    const struct task_arg *of = arg;
    struct world *world = of->engine->world;
    came(of->engine, of->workflow, task);
    uint64_t dice = dice_of(world, task);
    if (of->workflow->blocking)
        usleep((unsigned)(dice * 50));
    if (world->calm || dice < 40) {
        succeed(world, task);
    } else if (dice < 55) {
        froe_task_set_checkpoint(task, &dice, sizeof dice);
        left(world, task);
        froe_task_fail(task, dice == 54 ? FROE_FAIL_FINAL : 0, "bad luck");
    } else if (dice < 60) {
        left(world, task);
        froe_task_again(task, (int64_t)(dice - 55) * 100 * US_PER_MS, "not now");
    } else if (dice < 62) {
        left(world, task);
        froe_task_fail(task, FROE_FAIL_FORGET, "no matter");
    } else if (of->workflow->blocking) {
        for (int i = 0; i < 50 && !froe_task_cancelled(task); i++)
            usleep(1000);
        succeed(world, task);
    } else if (dice < 75) {
        hand_over(world, task);
    } else {
        hold(world, task);
    }
}

static void cancel(froe_task *task, void *arg) {
    const struct task_arg *of = arg;
    struct world *world = of->engine->world;
    if (of->workflow->blocking || dice_of(world, task) % 2)
        return; /* later */
    pthread_mutex_lock(&world->mutex);
    size_t at = find(world, task);
    bool mine = at < world->n_running && world->running[at].held;
    pthread_mutex_unlock(&world->mutex);
    if (!mine)
        return;
    left(world, task);
    froe_task_fail(task, 0, "cancelled");
}

static void *end_them(void *arg) {
    struct world *world = arg;
    for (bool over = false; !over;) {
        froe_task *task = NULL;
        pthread_mutex_lock(&world->mutex);
        for (size_t i = world->n_to_end; i-- > 0 && !task;)
            if (!world->running[find(world, world->to_end[i])].engine->frozen) {
                task = world->to_end[i];
                world->to_end[i] = world->to_end[--world->n_to_end];
            }
        over = world->ender_over && world->n_to_end == 0 && !task;
        world->ended_by_thread += task != NULL;
        pthread_mutex_unlock(&world->mutex);
        if (task) {
            froe_task_log(task, FROE_DEBUG, "ends on another thread");
            succeed(world, task);
        } else {
            usleep(500);
        }
    }
    return NULL;
}

void world_end_held(struct world *world, bool all) {
    for (;;) {
        froe_task *task = NULL;
        pthread_mutex_lock(&world->mutex);
        for (size_t i = 0; i < world->n_running && !task; i++)
            if (world->running[i].held && !world->running[i].engine->frozen && (all || world_below(world, 3) == 0))
                task = world->running[i].task;
        pthread_mutex_unlock(&world->mutex);
        if (!task)
            return;
        if (world_below(world, 4) == 0 && !world->calm) {
            left(world, task);
            froe_task_fail(task, 0, "let go");
        } else {
            succeed(world, task);
        }
    }
}

/* ---- spawning ---- */

struct spawn_arg {
    struct world *world;
};

static void spawned(void *arg, const froe_spawned *result, const froe_error *error) {
    struct world *world = arg;
    world->spawns_open--;
    if (error)
        return; /* it crashed: perhaps they are there, perhaps not */
    for (size_t i = 0; i < result->n; i++)
        if (result->runs[i].page && world->n_runs < RUNS_MAX)
            world->runs[world->n_runs++] = result->runs[i];
}

void world_spawn(struct world *world) {
    const struct random_workflow *workflow = &world->workflows[world_below(world, WORKFLOWS)];
    froe_item items[16] = {0};
    char keys[16][16], inputs[16][40];
    size_t n = 1 + (size_t)world_below(world, 16);
    for (size_t i = 0; i < n; i++) {
        snprintf(inputs[i], sizeof inputs[i], "{\"k\":\"%c\",\"j\":\"%c\"}", (char)('a' + world_below(world, 5)),
                 (char)('p' + world_below(world, 3)));
        items[i].input = inputs[i];
        if (world_below(world, 4) == 0)
            continue;
        items[i].child_key = keys[i];
        items[i].child_key_n = (size_t)snprintf(keys[i], sizeof keys[i], "c%d", (int)world_below(world, 60));
        if (world_below(world, 3) == 0) {
            items[i].generation = &"xyz"[world_below(world, 3)];
            items[i].generation_n = 1;
        }
    }
    if (world_below(world, 20) == 0)
        items[0].input = "{\"other\":1}"; /* gives no key to most */
    froe_spawn spawn = {.size = sizeof spawn,
                        .workflow = workflow->name,
                        .items = items,
                        .n = n,
                        .priority = (unsigned)world_below(world, 4),
                        .delay_us = world_below(world, 4) ? 0 : (int64_t)world_below(world, US_PER_S)};
    struct random_engine *engine = world_any(world);
    world->spawns_open++;
    if (!engine || froe_spawn_many(engine->froe, &spawn, spawned, world, NULL) != FROE_OK)
        world->spawns_open--;
}

struct random_engine *world_any(struct world *world) {
    for (int i = 0; i < 20; i++) {
        struct random_engine *engine = &world->engines[world_below(world, world->n_engines)];
        if (engine->open && !engine->frozen)
            return engine;
    }
    return NULL;
}

/* ---- engines ---- */

static void on_event(void *arg, const froe_event *event) {
    struct random_engine *engine = arg;
    bool told = event->kind == FROE_EVENT_PARKED || event->kind == FROE_EVENT_FAILED ||
                event->kind == FROE_EVENT_CANCELLED || event->kind == FROE_EVENT_RETRY;
    if (told && (!event->text || !event->text[0]))
        BROKEN(engine->world, "an event without a reason");
}

void world_open(struct world *world, struct random_engine *engine) {
    struct store *real = NULL;
    struct err err;
    uv_loop_init(&engine->loop);
    if (store_open(world->uri, &world->store_options, &real, &err) < 0)
        BROKEN(world, "%s", err.text);
    engine->store = failing_make(real);
    failing_shared(engine->store, store_shared(real));
    froe_options options = {.size = sizeof options,
                            .loop = &engine->loop,
                            .slots = world->slots,
                            .lease_us = world->store_options.lease_us,
                            .event = on_event,
                            .event_arg = engine,
                            .cancel_grace_us = US_PER_S};
    uint64_t seed = world_below(world, UINT64_MAX);
    struct engine_seams seams = {.clock = &world->clock.clock, .seed = &seed, .store = failing_store(engine->store)};
    froe_error error;
    if (engine_open(&options, &seams, &engine->froe, &error) != FROE_OK)
        BROKEN(world, "%s", error.text);
    for (size_t i = 0; i < WORKFLOWS; i++) {
        froe_workflow definition = world->workflows[i].definition;
        struct task_arg *arg = &args[engine - world->engines][i];
        *arg = (struct task_arg){engine, &world->workflows[i]};
        definition.arg = arg;
        if (froe_workflow_add(engine->froe, &definition, &error) != FROE_OK)
            BROKEN(world, "%s", error.text);
    }
    if (froe_start(engine->froe, &error) != FROE_OK)
        BROKEN(world, "%s", error.text);
    engine->open = true;
}

static void on_true(void *arg) {
    *(bool *)arg = true;
}

/* Ends what runs on an engine that is going away. */
static void let_go(struct world *world, const struct random_engine *engine) {
    for (;;) {
        froe_task *task = NULL;
        pthread_mutex_lock(&world->mutex);
        for (size_t i = 0; i < world->n_running && !task; i++)
            if (world->running[i].engine == engine && world->running[i].held)
                task = world->running[i].task;
        pthread_mutex_unlock(&world->mutex);
        if (!task)
            return;
        left(world, task);
        froe_task_fail(task, 0, "let go");
    }
}

/* Runs all loops until there is nothing to do, and waits a little for more. */
static void turn(struct world *world) {
    struct pollfd fds[ENGINES_MAX];
    nfds_t n = 0;
    int wait_ms = 2;
    for (size_t i = 0; i < world->n_engines; i++) {
        struct random_engine *engine = &world->engines[i];
        if (!engine->froe || engine->frozen)
            continue;
        uv_run(&engine->loop, UV_RUN_NOWAIT);
        fds[n++] = (struct pollfd){.fd = uv_backend_fd(&engine->loop), .events = POLLIN};
        if (uv_backend_timeout(&engine->loop) == 0)
            wait_ms = 0;
    }
    poll(fds, n, wait_ms);
}

static void await(struct world *world, const struct random_engine *engine, const bool *met, const char *what) {
    int64_t until = clock_mono_us(&clock_system) + PATIENCE_US;
    while (!*met) {
        let_go(world, engine);
        turn(world);
        if (clock_mono_us(&clock_system) > until)
            BROKEN(world, "an engine does not %s", what);
    }
}

void world_close(struct world *world, struct random_engine *engine) {
    engine->open = engine->stopped = engine->closed = false;
    froe_stop(engine->froe, FROE_STOP_NOW, on_true, &engine->stopped);
    await(world, engine, &engine->stopped, "stop");
    froe_close(engine->froe, on_true, &engine->closed);
    await(world, engine, &engine->closed, "close");
    engine->froe = NULL;
    uv_run(&engine->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&engine->loop) != 0)
        BROKEN(world, "the loop has handles left");
}

void world_crash(struct world *world, struct random_engine *engine) {
    /* From now on nothing reaches the store, not even a batch that is under way. */
    failing_at(engine->store, 1, STORE_ERR_IO);
    world_close(world, engine);
}

void world_move(struct world *world, int64_t us) {
    atomic_fetch_add(&world->clock.utc_us, us);
    atomic_fetch_add(&world->clock.mono_us, us);
    for (size_t i = 0; i < world->n_engines; i++)
        if (world->engines[i].open)
            engine_clock_moved(world->engines[i].froe);
}

void world_run(struct world *world, int64_t real_us) {
    int64_t until = clock_mono_us(&clock_system) + real_us;
    do
        turn(world);
    while (clock_mono_us(&clock_system) < until);
}

void world_freeze(struct random_engine *engine, bool freeze) {
    failing_freeze(engine->store, freeze);
    engine->frozen = freeze;
}

/* ---- the world ---- */

static void make_workflow(struct world *world, size_t at) {
    static const char *const texts[] = {"'all'", "input.k", "input.k + '/' + input.j", "workflow_run_id"};
    struct random_workflow *workflow = &world->workflows[at];
    snprintf(workflow->name, sizeof workflow->name, "w%zu", at);
    workflow->n_rules = (size_t)world_below(world, 4);
    static froe_rule rules[WORKFLOWS][3];
    for (size_t r = 0; r < workflow->n_rules; r++) {
        struct random_rule *rule = &workflow->rules[r];
        rule->expression = world_below(world, 8) ? (enum expression)world_below(world, BY_RUN) : BY_RUN;
        rule->rule = (froe_rule){.expression = texts[rule->expression],
                                 .strategy = (froe_strategy)(1 + world_below(world, 4)),
                                 .max_runs = 1 + (uint32_t)world_below(world, 4)};
        if (rule->rule.strategy == FROE_RATE_LIMIT) {
            rule->rule.period_us = US_PER_S;
            rule->rule.max_runs *= 5;
        } else if (rule->rule.strategy == FROE_GROUP_ROUND_ROBIN && world_below(world, 4) == 0) {
            rule->rule.max_runs = 0;
        }
        rules[at][r] = rule->rule;
    }
    workflow->blocking = world_below(world, 4) == 0;
    froe_workflow *definition = &workflow->definition;
    *definition = (froe_workflow){.size = sizeof *definition,
                                  .name = workflow->name,
                                  .run = run,
                                  .cancel = cancel,
                                  .rules = rules[at],
                                  .n_rules = workflow->n_rules,
                                  .retries = (uint32_t)world_below(world, 4),
                                  .backoff_us = 1 + (int64_t)world_below(world, 50 * US_PER_MS),
                                  .backoff_max_us = 200 * US_PER_MS};
    definition->flags = (workflow->blocking ? FROE_BLOCKING : 0u) | (world_below(world, 3) ? 0u : FROE_NEVER_PARK);
    if (world_below(world, 2))
        definition->timeout_us = (int64_t)(20 + world_below(world, 500)) * US_PER_MS;
    if (world_below(world, 4) == 0)
        definition->schedule_timeout_us = (int64_t)(1 + world_below(world, 20)) * US_PER_S;
    if (at == 0) {
        definition->cron = "* * * * * *";
        definition->cron_input = "{\"k\":\"t\",\"j\":\"t\"}";
        definition->flags |= world_below(world, 2) ? FROE_CATCH_UP : 0u;
    }
}

void world_make(struct world *world, uint64_t seed, const struct world_server *server) {
    memset(world, 0, sizeof *world);
    world->seed = seed;
    rng_seed(&world->rng, seed);
    pthread_mutex_init(&world->mutex, NULL);
    world->server = server;
    world->clock.clock = (struct clock){.utc_us = moved_utc, .mono_us = moved_mono, .arg = &world->clock};
    snprintf(world->dir, sizeof world->dir, "/tmp/froe-property-XXXXXX");
    if (!mkdtemp(world->dir))
        BROKEN(world, "no folder");
    if (server) {
        server->wipe();
        snprintf(world->uri, sizeof world->uri, "%s", server->uri);
    } else {
        snprintf(world->uri, sizeof world->uri, "sqlite:%s/store", world->dir);
    }
    world->store_options = (struct store_options){.clock = server ? NULL : &world->clock.clock,
                                                  .lease_us = server ? 2 * US_PER_S : 30 * US_PER_S};
    world->slots = 1 + (uint32_t)world_below(world, 12);
    world->n_engines = server ? ENGINES_MAX : 1;
    for (size_t i = 0; i < WORKFLOWS; i++)
        make_workflow(world, i);
    for (size_t i = 0; i < world->n_engines; i++) {
        world->engines[i].world = world;
        world_open(world, &world->engines[i]);
    }
    if (pthread_create(&world->ender, NULL, end_them, world) != 0)
        BROKEN(world, "no thread");
}

void world_free(struct world *world) {
    pthread_mutex_lock(&world->mutex);
    world->ender_over = true;
    pthread_mutex_unlock(&world->mutex);
    for (size_t i = 0; i < world->n_engines; i++)
        if (world->engines[i].open)
            world_close(world, &world->engines[i]);
    pthread_join(world->ender, NULL);
    if (world->n_running > 0)
        BROKEN(world, "%zu tasks were never ended", world->n_running);
    size_t at = 0;
    struct bytes key;
    void *value;
    while (map_next(&world->ticks, &at, &key, &value))
        free(value);
    map_free(&world->ticks);
    map_free(&world->succeeded);
    pthread_mutex_destroy(&world->mutex);
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", world->dir);
    if (system(command) != 0)
        BROKEN(world, "the folder stays");
}
