/* fixture.c - see fixture.h. */
#include "fixture.h"

#include "fixture_place.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_MS 120000 /* for what never comes; no test measures the machine with it */

static const struct fixture_place *place_of_stores; /* NULL: each is a file in its fixture's folder */

void fixture_stores_are_in(const struct fixture_place *place) {
    place_of_stores = place;
}

/* The machine's own wall clock may be put right while a test runs. */
static int64_t moved_utc(void *arg) {
    struct moved_clock *clock = arg;
    return clock_mono_us(&clock_system) + atomic_load(&clock->utc_us);
}

static int64_t moved_mono(void *arg) {
    struct moved_clock *clock = arg;
    return clock_mono_us(&clock_system) + atomic_load(&clock->mono_us);
}

static void on_event(void *arg, const froe_event *event) {
    struct fixture *fx = arg;
    if (fx->n_told == sizeof fx->told / sizeof fx->told[0])
        return;
    struct told *told = &fx->told[fx->n_told++];
    told->kind = event->kind;
    told->level = event->level;
    told->attempt = event->attempt;
    told->count = event->count;
    told->delay_us = event->delay_us;
    told->code = event->code;
    told->utc_us = clock_utc_us(&fx->clock.clock);
    snprintf(told->workflow, sizeof told->workflow, "%s", event->workflow);
    snprintf(told->group, sizeof told->group, "%s", event->group);
    snprintf(told->run_id, sizeof told->run_id, "%s", event->run_id);
    snprintf(told->text, sizeof told->text, "%s", event->text);
    snprintf(told->key, sizeof told->key, "%.*s", (int)event->child_key_n,
             event->child_key ? (const char *)event->child_key : "");
}

void fixture_init(struct fixture *fx) {
    memset(fx, 0, sizeof *fx);
    snprintf(fx->dir, sizeof fx->dir, "/tmp/froe-engine-XXXXXX");
    assert_non_null(mkdtemp(fx->dir));
    snprintf(fx->uri, sizeof fx->uri, "sqlite:%s/store", fx->dir);
    fx->clock.clock = (struct clock){.utc_us = moved_utc, .mono_us = moved_mono, .arg = &fx->clock};
    atomic_store(&fx->clock.utc_us, T0_UTC_US - clock_mono_us(&clock_system));
    fx->run = run_succeed;
    if (place_of_stores)
        place_of_stores->make(fx->uri, sizeof fx->uri);
    fx->options = (froe_options){.size = sizeof fx->options,
                                 .store = fx->uri,
                                 .slots = 8,
                                 .lease_us = US_PER_HOUR * 20,
                                 .event = on_event,
                                 .event_arg = fx};
}

/* As the engine opens its own. */
static struct store *open_in_place(struct fixture *fx) {
    const struct store_options options = {.clock = &fx->clock.clock,
                                          .lease_us = fx->options.lease_us,
                                          .lock_wait_us = fx->options.lock_wait_us,
                                          .history_us = fx->options.history_us,
                                          .history_bytes = fx->options.history_bytes,
                                          .caps = fx->caps};
    struct store *store;
    struct err err;
    if (place_of_stores->open(fx->uri, &options, &store, &err) < 0)
        fail_msg("%s", err.text);
    return store;
}

int fixture_try_open(struct fixture *fx) {
    uv_loop_init(&fx->loop);
    uv_timer_init(&fx->loop, &fx->guard);
    uv_unref((uv_handle_t *)&fx->guard);
    uv_timer_init(&fx->loop, &fx->linger);
    fx->linger.data = fx;
    fx->options.loop = &fx->loop;
    fx->stopped = fx->closed = fx->timed_out = false;
    if (place_of_stores && !fx->store)
        fx->store = open_in_place(fx);
    static const uint64_t seed = 7;
    struct engine_seams seams = {.clock = &fx->clock.clock, .seed = &seed, .store = fx->store};
    return engine_open(&fx->options, &seams, &fx->froe, &fx->error);
}

void fixture_open(struct fixture *fx) {
    if (fixture_try_open(fx) != FROE_OK)
        fail_msg("%s", fx->error.text);
}

static void on_stopped(void *arg) {
    ((struct fixture *)arg)->stopped = true;
}

static void on_closed(void *arg) {
    ((struct fixture *)arg)->closed = true;
}

static void on_guard(uv_timer_t *guard) {
    ((struct fixture *)guard->data)->timed_out = true;
}

void fixture_guard(struct fixture *fx) {
    fx->guard.data = fx;
    fx->timed_out = false;
    uv_timer_start(&fx->guard, on_guard, GUARD_MS, 0);
}

static void on_linger(uv_timer_t *timer) {
    ((struct fixture *)timer->data)->lingered = true;
}

void fixture_linger(struct fixture *fx, int64_t real_us) {
    fx->lingered = false;
    uv_timer_start(&fx->linger, on_linger, (uint64_t)(real_us / US_PER_MS), 0);
    UNTIL(fx, fx->lingered);
}

void fixture_stop(struct fixture *fx, froe_stop_mode mode) {
    froe_stop(fx->froe, mode, on_stopped, fx);
    UNTIL(fx, fx->stopped);
}

void fixture_close(struct fixture *fx) {
    if (!fx->stopped) {
        /* Whoever is held lets go. */
        froe_stop(fx->froe, FROE_STOP_NOW, on_stopped, fx);
        fixture_guard(fx);
        while (!fx->stopped && !fx->timed_out) {
            while (fx->n_held > 0 && froe_task_cancelled(fx->held[fx->n_held - 1]))
                froe_task_fail(fixture_release(fx, fx->n_held - 1), 0, "let go");
            uv_run(&fx->loop, UV_RUN_ONCE);
        }
        assert_false(fx->timed_out);
    }
    froe_close(fx->froe, on_closed, fx);
    UNTIL(fx, fx->closed);
    uv_close((uv_handle_t *)&fx->guard, NULL);
    uv_close((uv_handle_t *)&fx->linger, NULL);
    uv_run(&fx->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fx->loop), 0);
    fx->froe = NULL;
    fx->store = NULL;
}

void fixture_remove(struct fixture *fx) {
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", fx->dir);
    assert_int_equal(system(command), 0);
    if (place_of_stores)
        place_of_stores->unmake(fx->uri);
    free(fx->ran);
}

int fixture_setup_closed(void **state) {
    struct fixture *fx = malloc(sizeof *fx);
    fixture_init(fx);
    *state = fx;
    return 0;
}

int fixture_setup(void **state) {
    fixture_setup_closed(state);
    fixture_open(*state);
    return 0;
}

int fixture_teardown(void **state) {
    struct fixture *fx = *state;
    if (fx->froe)
        fixture_close(fx);
    fixture_remove(fx);
    free(fx);
    return 0;
}

void fixture_move(struct fixture *fx, int64_t us) {
    atomic_fetch_add(&fx->clock.utc_us, us);
    atomic_fetch_add(&fx->clock.mono_us, us);
    engine_clock_moved(fx->froe);
}

static void note(struct fixture *fx, froe_task *task) {
    if (fx->n_ran == fx->ran_cap) {
        fx->ran_cap = fx->ran_cap ? fx->ran_cap * 2 : 256;
        fx->ran = realloc(fx->ran, fx->ran_cap * sizeof *fx->ran);
        assert_non_null(fx->ran);
    }
    struct ran *ran = &fx->ran[fx->n_ran++];
    memset(ran, 0, sizeof *ran);
    size_t n;
    const void *p = froe_task_child_key(task, &n);
    snprintf(ran->key, sizeof ran->key, "%.*s", (int)n, p ? (const char *)p : "");
    p = froe_task_checkpoint(task, &n);
    snprintf(ran->checkpoint, sizeof ran->checkpoint, "%.*s", (int)n, p ? (const char *)p : "");
    p = froe_task_generation(task, &n);
    snprintf(ran->generation, sizeof ran->generation, "%.*s", (int)n, p ? (const char *)p : "");
    snprintf(ran->workflow, sizeof ran->workflow, "%s", froe_task_workflow(task));
    snprintf(ran->group, sizeof ran->group, "%s", froe_task_group(task));
    snprintf(ran->run_id, sizeof ran->run_id, "%s", froe_task_run_id(task));
    ran->attempt = froe_task_attempt(task);
    ran->utc_us = clock_utc_us(&fx->clock.clock);
}

void fixture_run(froe_task *task, void *arg) {
    struct fixture *fx = arg;
    note(fx, task);
    if (fx->run) {
        fx->run(fx, task);
        return;
    }
    assert_true(fx->n_held < sizeof fx->held / sizeof fx->held[0]);
    fx->held[fx->n_held++] = task;
    if (fx->n_held > fx->most_running)
        fx->most_running = fx->n_held;
}

static void on_cancel(froe_task *task, void *arg) {
    struct fixture *fx = arg;
    if (fx->cancel)
        fx->cancel(fx, task);
}

void fixture_workflow(struct fixture *fx, const char *name, const froe_rule *rules, size_t n_rules,
                      const froe_workflow *given) {
    froe_workflow workflow = given ? *given : (froe_workflow){0};
    workflow.size = sizeof workflow;
    workflow.name = name;
    workflow.rules = rules;
    workflow.n_rules = n_rules;
    workflow.run = fixture_run;
    workflow.cancel = on_cancel;
    workflow.arg = fx;
    if (froe_workflow_add(fx->froe, &workflow, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
}

void fixture_start(struct fixture *fx) {
    if (froe_start(fx->froe, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
}

void fixture_spawned(void *arg, const froe_spawned *spawned, const froe_error *error) {
    struct fixture *fx = arg;
    fx->spawns_done++;
    if (error) {
        fx->spawns_failed++;
        fx->error = *error;
        return;
    }
    fx->spawned.created += spawned->created;
    fx->spawned.duplicates += spawned->duplicates;
    fx->spawned.superseded += spawned->superseded;
    fx->spawned.cancelled += spawned->cancelled;
    fx->spawned.failed += spawned->failed;
    fx->spawned.driven_out += spawned->driven_out;
    for (size_t i = 0; i < spawned->n && i < sizeof fx->runs / sizeof fx->runs[0]; i++)
        fx->runs[i] = spawned->runs[i];
}

void fixture_counted(void *arg, uint64_t count, const froe_error *error) {
    struct fixture *fx = arg;
    fx->done_calls++;
    fx->count = count;
    if (error)
        fx->error = *error;
}

void fixture_spawn(struct fixture *fx, const froe_spawn *spawn) {
    size_t before = fx->spawns_done;
    if (froe_spawn_many(fx->froe, spawn, fixture_spawned, fx, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    UNTIL(fx, fx->spawns_done > before);
}

void fixture_spawn_keys(struct fixture *fx, const char *workflow, const char *input, const char *prefix, size_t from,
                        size_t n) {
    froe_item *items = calloc(n, sizeof *items);
    char(*keys)[64] = calloc(n, sizeof *keys);
    assert_true(items && keys);
    for (size_t i = 0; i < n; i++) {
        items[i].child_key = keys[i];
        items[i].child_key_n = (size_t)snprintf(keys[i], sizeof keys[i], "%s%06zu", prefix, from + i);
    }
    froe_spawn spawn = {.size = sizeof spawn, .workflow = workflow, .input = input, .items = items, .n = n};
    fixture_spawn(fx, &spawn);
    free(items);
    free(keys);
}

froe_group fixture_group(struct fixture *fx, const char *workflow, const char *group) {
    froe_group told;
    froe_group_get(fx->froe, workflow, group, &told);
    return told;
}

size_t fixture_told(const struct fixture *fx, froe_event_kind kind) {
    size_t n = 0;
    for (size_t i = 0; i < fx->n_told; i++)
        n += fx->told[i].kind == kind;
    return n;
}

const struct told *fixture_last(const struct fixture *fx, froe_event_kind kind) {
    for (size_t i = fx->n_told; i-- > 0;)
        if (fx->told[i].kind == kind)
            return &fx->told[i];
    fail_msg("there was no such event");
    return NULL;
}

froe_task *fixture_release(struct fixture *fx, size_t i) {
    assert_true(i < fx->n_held);
    froe_task *task = fx->held[i];
    fx->n_held--;
    memmove(&fx->held[i], &fx->held[i + 1], (fx->n_held - i) * sizeof fx->held[0]);
    return task;
}

size_t fixture_ran_in(const struct fixture *fx, const char *group) {
    size_t n = 0;
    for (size_t i = 0; i < fx->n_ran; i++)
        n += strcmp(fx->ran[i].group, group) == 0;
    return n;
}

void run_succeed(struct fixture *fx, froe_task *task) {
    froe_task_succeed(task);
}

void run_fail(struct fixture *fx, froe_task *task) {
    froe_task_fail(task, 0, "it broke");
}

void run_fail_final(struct fixture *fx, froe_task *task) {
    froe_task_fail(task, FROE_FAIL_FINAL, "no point");
}
