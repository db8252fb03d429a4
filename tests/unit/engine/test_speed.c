/* What the engine itself costs: empty runs at full speed. The numbers are printed, not judged (machines differ). */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS 100000
#define PER_SPAWN 10000

static double now_s(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static size_t n_done;
static froe_task *later[1000];
static size_t n_later;

static void run_at_once(froe_task *task, void *arg) {
    n_done++;
    froe_task_succeed(task);
}

static void run_later(froe_task *task, void *arg) {
    later[n_later++] = task;
}

/* Ends `each` tasks per turn of the loop, as a busy loop would. */
static void end_some(uv_idle_t *idle) {
    for (size_t i = 0; i < 8 && n_later > 0; i++) {
        n_done++;
        froe_task_succeed(later[--n_later]);
    }
}

static void measure(struct fixture *fx, froe_task_fn *run, const char *what) {
    froe_rule rule = {"input.bucket", 20, FROE_GROUP_ROUND_ROBIN};
    froe_workflow workflow = {
        .size = sizeof workflow, .name = "w", .run = run, .rules = &rule, .n_rules = 1, .timeout_us = US_PER_MIN};
    assert_int_equal(froe_workflow_add(fx->froe, &workflow, NULL), FROE_OK);
    double spawn_wall = now_s(CLOCK_MONOTONIC), spawn_cpu = now_s(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < RUNS / PER_SPAWN; i++) {
        char input[40];
        snprintf(input, sizeof input, "{\"bucket\":\"b%zu\"}", i);
        fixture_spawn_keys(fx, "w", input, "a/rather/usual/key/of/an/object-", i * PER_SPAWN, PER_SPAWN);
    }
    spawn_wall = now_s(CLOCK_MONOTONIC) - spawn_wall;
    spawn_cpu = now_s(CLOCK_THREAD_CPUTIME_ID) - spawn_cpu;
    n_done = n_later = 0;
    fixture_start(fx);
    uv_idle_t idle;
    uv_idle_init(&fx->loop, &idle);
    if (run == run_later)
        uv_idle_start(&idle, end_some);
    double wall = now_s(CLOCK_MONOTONIC), loop = now_s(CLOCK_THREAD_CPUTIME_ID), all = now_s(CLOCK_PROCESS_CPUTIME_ID);
    UNTIL(fx, n_done == RUNS);
    wall = now_s(CLOCK_MONOTONIC) - wall;
    loop = now_s(CLOCK_THREAD_CPUTIME_ID) - loop;
    all = now_s(CLOCK_PROCESS_CPUTIME_ID) - all;
    print_message(
        "%s: %.0f runs/s, %.2f us of the loop's thread and %.2f us in all per run; spawning: %.0f/s, %.2f us\n", what,
        RUNS / wall, loop * 1e6 / RUNS, all * 1e6 / RUNS, RUNS / spawn_wall, spawn_cpu * 1e6 / RUNS);
    uv_close((uv_handle_t *)&idle, NULL);
    fixture_stop(fx, FROE_STOP_FINISH);
    froe_group group = fixture_group(fx, "w", "b7");
    assert_int_equal(group.done, PER_SPAWN);
    assert_int_equal(group.live, 0);
}

static void test_at_once(void **state) {
    measure(*state, run_at_once, "runs that end at once");
}

static void test_later(void **state) {
    measure(*state, run_later, "runs that end later");
}

static int setup(void **state) {
    fixture_setup_closed(state);
    struct fixture *fx = *state;
    fx->options.slots = 40;
    fixture_open(fx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_at_once, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_later, setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
