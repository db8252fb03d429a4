/* Calls from other threads, waiting for answers, a loop of the engine's own, froe_main and its signals. */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FX struct fixture *fx = *state
#define THREADS 4
#define CALLS 500

/* ---- engine_call ---- */

struct caller {
    struct fixture *fx;
    pthread_t thread;
    size_t *counted, *finished; /* not atomic: only ever touched on the loop's thread */
};

static int count_it(void *arg) {
    struct caller *caller = arg;
    assert_true(engine_on_loop(caller->fx->froe));
    return (int)++*caller->counted;
}

static int finish_it(void *arg) {
    return (int)++*(size_t *)arg;
}

static void *call_often(void *arg) {
    struct caller *caller = arg;
    int last = 0;
    assert_false(engine_on_loop(caller->fx->froe));
    for (int i = 0; i < CALLS; i++) {
        int r = engine_call(caller->fx->froe, count_it, caller);
        assert_true(r > last);
        last = r;
    }
    engine_call(caller->fx->froe, finish_it, caller->finished);
    return NULL;
}

static void test_calls_from_threads(void **state) {
    FX;
    size_t counted = 0, finished = 0;
    struct caller callers[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.fx = fx, .counted = &counted, .finished = &finished};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    UNTIL(fx, finished == THREADS);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(callers[i].thread, NULL);
    assert_int_equal(counted, THREADS * CALLS);
    /* On the loop's own thread it is an ordinary call. */
    assert_int_equal(engine_call(fx->froe, count_it, &callers[0]), THREADS * CALLS + 1);
}

/* ---- engine_wait ---- */

static void on_put(void *arg, const froe_error *error) {
    assert_null(error);
    engine_wait_signal(arg);
}

struct put {
    froe *froe;
    struct engine_wait wait;
    size_t finished;
};

static int ask(void *arg) {
    struct put *put = arg;
    return froe_value_put(put->froe, "a", "1", 1, on_put, &put->wait, NULL);
}

static void *put_and_wait(void *arg) {
    struct put *put = arg;
    assert_int_equal(engine_wait_begin(&put->wait, put->froe, NULL, NULL), FROE_OK);
    assert_int_equal(engine_call(put->froe, ask, put), FROE_OK);
    assert_int_equal(engine_wait_for(&put->wait), 0);
    engine_wait_end(&put->wait);
    engine_call(put->froe, finish_it, &put->finished);
    return NULL;
}

static void test_a_thread_waits(void **state) {
    FX;
    struct put put = {.froe = fx->froe};
    froe_error error = {0};
    assert_int_equal(engine_wait_begin(&put.wait, fx->froe, NULL, &error), FROE_ERR_STATE);
    assert_non_null(strstr(error.text, "cannot wait"));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, put_and_wait, &put), 0);
    UNTIL(fx, put.finished);
    pthread_join(thread, NULL);
}

/* ---- a loop of its own ---- */

static froe *open_own(struct fixture *fx) {
    froe *engine;
    fx->options.loop = NULL;
    if (froe_open(&fx->options, &engine, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    return engine;
}

static void test_own_loop(void **state) {
    FX;
    froe *engine = open_own(fx);
    struct put put = {.froe = engine};
    put_and_wait(&put); /* runs the loop meanwhile */
    bool closed = false;
    froe_close(engine, NULL, &closed);
    /* Gone: the store is free again. */
    engine = open_own(fx);
    froe_close(engine, NULL, NULL);
}

static void test_own_loop_that_cannot_open(void **state) {
    FX;
    froe *engine = open_own(fx), *second = NULL;
    fx->options.lock_wait_us = -1;
    assert_int_equal(froe_open(&fx->options, &second, &fx->error), FROE_ERR_BUSY);
    assert_null(second);
    froe_close(engine, NULL, NULL);
}

/* Ends with the process's own signals, as a person would. */
static froe_task *main_held;
static size_t main_ran, main_cancelled;

static void hold_main(froe_task *task, void *arg) {
    main_ran++;
    main_held = task;
    kill(getpid(), SIGTERM);
}

static void on_later(uv_timer_t *timer) {
    size_t *n = timer->data;
    if (main_held && --*n == 1) { /* counted from when it runs */
        froe_task_succeed(main_held);
        uv_close((uv_handle_t *)timer, NULL);
    }
}

static void cancel_main(froe_task *task, void *arg) {
    main_cancelled++;
    assert_int_equal(froe_task_cancelled(task), FROE_CANCELLED_STOP);
    froe_task_fail(task, 0, "stopped");
}

static void spawn_one(froe *engine) {
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .n = 1};
    froe_error error;
    if (froe_spawn_many(engine, &spawn, NULL, NULL, &error) != FROE_OK)
        fail_msg("%s", error.text);
}

static volatile sig_atomic_t own_signals;

static void own_handler(int signum) {
    own_signals++;
}

static froe *main_engine(struct fixture *fx, froe_task_fn *run) {
    froe *engine = open_own(fx);
    froe_workflow workflow = {.size = sizeof workflow, .name = "w", .run = run, .cancel = cancel_main};
    assert_int_equal(froe_workflow_add(engine, &workflow, &fx->error), FROE_OK);
    main_ran = main_cancelled = 0;
    main_held = NULL;
    return engine;
}

static void test_main_finishes_what_runs(void **state) {
    FX;
    struct sigaction own = {.sa_handler = own_handler}, now;
    assert_int_equal(sigaction(SIGTERM, &own, NULL), 0);
    froe *engine = main_engine(fx, hold_main);
    spawn_one(engine);
    uv_timer_t timer; /* a test may look inside: programs have no such loop */
    size_t n = 3;
    uv_timer_init(engine->loop, &timer);
    timer.data = &n;
    uv_timer_start(&timer, on_later, 30, 30);
    assert_int_equal(froe_main(engine, &fx->error), FROE_OK);
    assert_int_equal(main_ran, 1);
    assert_int_equal(main_cancelled, 0);
    /* The handler is the program's again, and did not see what was froe's. */
    sigaction(SIGTERM, NULL, &now);
    assert_true(now.sa_handler == own_handler);
    assert_int_equal(own_signals, 0);
    kill(getpid(), SIGTERM);
    assert_int_equal(own_signals, 1);
    signal(SIGTERM, SIG_DFL);
    engine = main_engine(fx, hold_main);
    bool never = false;
    assert_int_equal(engine->recovered, 0); /* it had succeeded */
    froe_close(engine, NULL, &never);
}

static void signal_twice(froe_task *task, void *arg) {
    main_ran++;
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGINT);
}

static void test_main_cancels_at_the_second_signal(void **state) {
    FX;
    froe *engine = main_engine(fx, signal_twice);
    spawn_one(engine);
    assert_int_equal(froe_main(engine, &fx->error), FROE_OK);
    assert_int_equal(main_ran, 1);
    assert_int_equal(main_cancelled, 1);
}

static void stop_it(froe_task *task, void *arg) {
    froe_error error;
    froe *engine = task->engine;
    assert_int_equal(froe_main(engine, &error), FROE_ERR_STATE);
    froe_task_succeed(task);
    froe_stop(engine, FROE_STOP_FINISH, NULL, NULL);
}

static void test_main_ends_when_somebody_stops(void **state) {
    FX;
    froe *engine = main_engine(fx, stop_it);
    spawn_one(engine);
    assert_int_equal(froe_main(engine, &fx->error), FROE_OK);
}

static void test_main_is_for_own_loops(void **state) {
    FX;
    assert_int_equal(froe_main(fx->froe, &fx->error), FROE_ERR_STATE);
}

int main(void) {
    signal(SIGINT, SIG_DFL); /* a shell ignores it for what runs in its background, and froe_main heeds that */
    signal(SIGTERM, SIG_DFL);
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define T_CLOSED(name) cmocka_unit_test_setup_teardown(name, fixture_setup_closed, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_calls_from_threads),
        T(test_a_thread_waits),
        T_CLOSED(test_own_loop),
        T_CLOSED(test_own_loop_that_cannot_open),
        T_CLOSED(test_main_finishes_what_runs),
        T_CLOSED(test_main_cancels_at_the_second_signal),
        T_CLOSED(test_main_ends_when_somebody_stops),
        T(test_main_is_for_own_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
