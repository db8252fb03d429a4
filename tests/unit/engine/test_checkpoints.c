/* Checkpoints: what a task gives is durable while it still runs, so the next attempt has it after kill -9, a lost lease
 * or a stop; many of them cost little; who waits for one is told. */
#include "fixture.h"

#include "failing.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FX struct fixture *fx = *state

/* cmocka's assertions are for one thread only. */
#define NEED(cond_)                                                         \
    do {                                                                    \
        if (!(cond_)) {                                                     \
            fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #cond_); \
            abort();                                                        \
        }                                                                   \
    } while (0)

static struct failing_store *failing;
static struct store_options options;

static void open_failing(struct fixture *fx) {
    struct store *real;
    struct err err;
    options = (struct store_options){.clock = &fx->clock.clock, .lease_us = fx->options.lease_us};
    if (store_open(fx->uri, &options, &real, &err) < 0)
        fail_msg("%s", err.text);
    failing = failing_make(real);
    fx->store = failing_store(failing);
    fixture_open(fx);
}

static int setup_failing(void **state) {
    fixture_setup_closed(state);
    struct fixture *fx = *state;
    fx->options.lease_us = 30 * US_PER_S;
    open_failing(fx);
    return 0;
}

static void add_blocking(struct fixture *fx, froe_task_fn *run) {
    froe_workflow workflow = {
        .size = sizeof workflow, .name = "w", .run = run, .arg = fx, .flags = FROE_BLOCKING, .retries = 3};
    if (froe_workflow_add(fx->froe, &workflow, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
}

/* The store is sound, and has no run left. */
static void check_store(struct fixture *fx) {
    struct store_options how = {.clock = &fx->clock.clock};
    struct store *store;
    struct err err = {0};
    if (store_open(fx->uri, &how, &store, &err) < 0 || store_check(store, &err) < 0)
        fail_msg("%s", err.text);
    store_close(store);
}

/* ---- kill -9 ---- */

static void keep_and_be_killed(froe_task *task, void *arg) {
    froe_error error;
    if (froe_task_set_generation(task, "v1", 2) == FROE_OK &&
        froe_task_set_checkpoint_sync(task, "half", 4, &error) == FROE_OK)
        kill(getpid(), SIGKILL);
    _exit(1);
}

static void child_of_sync(struct fixture *fx) {
    add_blocking(fx, keep_and_be_killed);
    fixture_start(fx);
    fixture_linger(fx, 20 * US_PER_S);
}

static void keep_and_hold(struct fixture *fx, froe_task *task) {
    if (froe_task_set_generation(task, "v1", 2) != FROE_OK || froe_task_set_checkpoint(task, "none", 4) != FROE_OK ||
        froe_task_set_checkpoint(task, "half", 4) != FROE_OK)
        _exit(1);
    fx->held[fx->n_held++] = task;
}

/* Without waiting: soon is enough. */
static void child_of_set(struct fixture *fx) {
    fx->run = keep_and_hold;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    while (fx->n_held < 2)
        uv_run(&fx->loop, UV_RUN_ONCE);
    fixture_linger(fx, US_PER_S);
    kill(getpid(), SIGKILL);
}

static void survive(struct fixture *fx, void (*child)(struct fixture *fx)) {
    fixture_open(fx);
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", "{\"a\":1}", "k", 0, 2);
    fixture_close(fx);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fixture_open(fx);
        child(fx);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    fixture_open(fx);
    fx->run = run_succeed;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").done == 2);
    assert_int_equal(fx->n_ran, 2);
    assert_string_equal(fx->ran[0].checkpoint, "half"); /* goes first, being a retry */
    assert_string_equal(fx->ran[0].generation, "v1");
    assert_int_equal(fx->ran[0].attempt, 1); /* the death of the process is no fault of the run */
    fixture_close(fx);
    check_store(fx);
}

static void test_kill_after_sync(void **state) {
    FX;
    survive(fx, child_of_sync);
}

static void test_kill_soon_after_set(void **state) {
    FX;
    survive(fx, child_of_set);
    assert_string_equal(fx->ran[1].checkpoint, "half");
}

/* ---- a lost lease ---- */

static void test_a_lost_lease(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 1);
    assert_int_equal(froe_task_set_checkpoint(fx->held[0], "durable", 7), FROE_OK);
    fixture_linger(fx, 300 * US_PER_MS);
    failing_lose(failing, true);
    assert_int_equal(froe_task_set_checkpoint(fx->held[0], "too late", 8), FROE_OK);
    fixture_move(fx, 60 * US_PER_S);
    UNTIL(fx, froe_task_cancelled(fx->held[0]) == FROE_CANCELLED_LEASE_LOST);
    assert_int_equal(froe_task_set_checkpoint(fx->held[0], "later still", 11), FROE_ERR_STATE);
    failing_lose(failing, false);
    froe_task_fail(fixture_release(fx, 0), 0, "lost");
    fx->run = run_succeed;
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    /* What was on its way may have come before anybody else could have the run. */
    assert_true(strcmp(fx->ran[1].checkpoint, "durable") == 0 || strcmp(fx->ran[1].checkpoint, "too late") == 0);
    assert_int_equal(fx->ran[1].attempt, 1);
    fixture_close(fx);
    check_store(fx);
}

/* ---- many ---- */

static void test_many_cost_little(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 4);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 4);
    fixture_linger(fx, 300 * US_PER_MS);
    uint64_t before = failing_batches(failing);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        size_t n = (size_t)snprintf(text, sizeof text, "%d", i);
        for (size_t j = 0; j < 4; j++)
            assert_int_equal(froe_task_set_checkpoint(fx->held[j], text, n), FROE_OK);
    }
    fixture_linger(fx, 300 * US_PER_MS);
    assert_in_range(failing_batches(failing) - before, 1, 3);
    before = failing_batches(failing);
    assert_int_equal(froe_task_set_checkpoint(fx->held[0], "999", 3), FROE_OK); /* nothing new */
    fixture_linger(fx, 300 * US_PER_MS);
    assert_int_equal(failing_batches(failing), before);
    /* It is not there for an attempt that fails alone: one that is put back has it, too. And nothing is kept of it
     * when it has succeeded. */
    froe_task_again(fixture_release(fx, 0), 0, "once more");
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fx->n_ran == 5);
    assert_string_equal(fx->ran[4].checkpoint, "999");
    while (fx->n_held)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "").done == 4);
    fixture_close(fx);
    check_store(fx);
}

/* ---- waiting ---- */

static atomic_int saved, codes[2];

static void keep_sync(froe_task *task, void *arg) {
    froe_error error = {0};
    static const char big[FROE_CHECKPOINT_MAX + 1];
    NEED(froe_task_set_checkpoint_sync(task, big, sizeof big, &error) == FROE_ERR_INVALID && error.text[0]);
    int r = froe_task_set_checkpoint_sync(task, "first", 5, &error);
    if (r == FROE_OK)
        r = froe_task_set_checkpoint_sync(task, "second", 6, &error);
    NEED(r == FROE_OK || error.text[0]);
    atomic_store(&codes[0], r);
    atomic_fetch_add(&saved, 1);
    if (r == FROE_OK)
        froe_task_again(task, 0, "to be seen by the next");
    else
        froe_task_fail(task, 0, "not saved");
}

static void see_second(froe_task *task, void *arg) {
    size_t n;
    const char *checkpoint = froe_task_checkpoint(task, &n);
    if (!checkpoint) {
        keep_sync(task, arg);
        return;
    }
    NEED(n == 6 && memcmp(checkpoint, "second", 6) == 0);
    froe_task_succeed(task);
}

static void test_who_waits_is_told(void **state) {
    FX;
    atomic_store(&saved, 0);
    add_blocking(fx, see_second);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 20);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").done == 20);
    assert_int_equal(atomic_load(&saved), 20);
    assert_int_equal(atomic_load(&codes[0]), FROE_OK);
    fixture_close(fx);
    check_store(fx);
}

static void test_not_on_the_loop(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 1);
    assert_int_equal(froe_task_set_checkpoint_sync(fx->held[0], "x", 1, &fx->error), FROE_ERR_STATE);
    assert_null(froe_task_checkpoint(fx->held[0], NULL));
    assert_int_equal(froe_task_set_checkpoint(fx->held[0], NULL, 1), FROE_ERR_INVALID);
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
}

static void test_who_waits_in_vain_is_told(void **state) {
    FX;
    atomic_store(&saved, 0);
    add_blocking(fx, keep_sync);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1);
    fixture_start(fx);
    UNTIL(fx, fx->froe->state == WORKER_RUNNING);
    failing_freeze(failing, true); /* the claim or the checkpoint does not come back */
    fixture_linger(fx, 300 * US_PER_MS);
    bool running = fx->froe->running == 1;
    fixture_move(fx, 60 * US_PER_S);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_LEASE_LOST) == 1 && (!running || atomic_load(&saved) == 1));
    if (running)
        assert_int_equal(atomic_load(&codes[0]), FROE_ERR_STATE);
    failing_freeze(failing, false);
}

/* The store fails while somebody waits. */
static void test_a_store_that_fails(void **state) {
    for (uint64_t n = 1; n < 400; n++) {
        setup_failing(state);
        FX;
        atomic_store(&saved, 0);
        add_blocking(fx, see_second);
        fixture_spawn_keys(fx, "w", NULL, "k", 0, 1);
        failing_at(failing, n, STORE_ERR_IO);
        fixture_start(fx);
        UNTIL(fx, (fx->froe->failed && fx->froe->running == 0) || fixture_group(fx, "w", "").done == 1);
        bool failed = fx->froe->failed;
        if (failed && atomic_load(&saved))
            assert_true(atomic_load(&codes[0]) == FROE_ERR_STORE || atomic_load(&codes[0]) == FROE_OK);
        fixture_close(fx);
        check_store(fx);
        fixture_teardown(state);
        if (!failed && n > 10)
            break;
        assert_true(n < 399);
    }
    fixture_setup_closed(state);
}

int main(void) {
#define T(test_, setup_) cmocka_unit_test_setup_teardown(test_, setup_, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_kill_after_sync, fixture_setup_closed),
        T(test_kill_soon_after_set, fixture_setup_closed),
        T(test_a_lost_lease, setup_failing),
        T(test_many_cost_little, setup_failing),
        T(test_who_waits_is_told, fixture_setup),
        T(test_not_on_the_loop, fixture_setup),
        T(test_who_waits_in_vain_is_told, setup_failing),
        cmocka_unit_test_teardown(test_a_store_that_fails, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
