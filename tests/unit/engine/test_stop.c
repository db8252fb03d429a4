/* Ends of the engine, wanted and not: stopping, closing, kill -9, a lost lease, a failing store, no memory. */
#include "failing.h"
#include "fixture.h"
#include "mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FX struct fixture *fx = *state

static int add_lane(void *arg, const struct store_lane_info *info) {
    uint64_t *sums = arg;
    sums[0] += info->queued + info->leased + info->waiting;
    sums[1] += info->done;
    sums[2] += info->leased;
    return 0;
}

static void check_store(struct fixture *fx, uint64_t *ret_live, uint64_t *ret_done) {
    struct store *store;
    struct err err;
    if (store_open(fx->uri, NULL, &store, &err) < 0 || store_check(store, &err) < 0)
        fail_msg("%s", err.text);
    uint64_t sums[3] = {0};
    assert_int_equal(store_lanes_each(store, add_lane, sums, &err), 0);
    store_close(store);
    *ret_live = sums[0];
    *ret_done = sums[1];
}

static void test_finish(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 100);
    UNTIL(fx, fx->n_held == 8);
    froe_stop(fx->froe, FROE_STOP_FINISH, NULL, NULL);
    fixture_linger(fx, 50 * US_PER_MS);
    assert_int_equal(fx->n_held, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(froe_task_cancelled(fx->held[0]), FROE_NOT_CANCELLED);
        assert_true(froe_task_holds_lease(fx->held[0]));
        froe_task_succeed(fixture_release(fx, 0));
    }
    fixture_stop(fx, FROE_STOP_FINISH);
    assert_int_equal(fx->n_ran, 8);
    assert_int_equal(fixture_group(fx, "w", "").done, 8);
    fixture_close(fx);
    uint64_t live, done;
    check_store(fx, &live, &done);
    assert_int_equal(live, 92);
    assert_int_equal(done, 8);
}

static void test_finish_then_now(void **state) {
    FX;
    fx->run = NULL;
    froe_workflow given = {.retries = 0};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 10);
    UNTIL(fx, fx->n_held == 8);
    froe_stop(fx->froe, FROE_STOP_FINISH, NULL, NULL);
    fixture_linger(fx, 20 * US_PER_MS);
    froe_stop(fx->froe, FROE_STOP_NOW, NULL, NULL);
    assert_int_equal(froe_task_cancelled(fx->held[0]), FROE_NOT_CANCELLED); /* never from inside the call */
    UNTIL(fx, froe_task_cancelled(fx->held[7]) == FROE_CANCELLED_STOP);
    froe_task_succeed(fixture_release(fx, 0)); /* counts */
    froe_task_fail(fixture_release(fx, 0), FROE_FAIL_FINAL, "cancelled");
    froe_task_again(fixture_release(fx, 0), 0, "cancelled");
    /* What it learned is kept, though the attempt is not counted. */
    char learned[40];
    snprintf(learned, sizeof learned, "%s", froe_task_run_id(fx->held[0]));
    froe_task_set_checkpoint(fx->held[0], "learned", 7);
    while (fx->n_held)
        froe_task_fail(fixture_release(fx, 0), 0, "cancelled");
    fixture_stop(fx, FROE_STOP_NOW);
    assert_int_equal(fixture_told(fx, FROE_EVENT_PARKED), 0);
    assert_int_equal(fixture_told(fx, FROE_EVENT_RETRY), 0);
    fixture_close(fx);

    fx->run = run_succeed;
    fx->n_ran = 0;
    fixture_open(fx);
    assert_int_equal(froe_recovered(fx->froe), 0);
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").done == 10);
    assert_int_equal(fx->n_ran, 9);
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(fx->ran[i].attempt, 1);
        assert_string_equal(fx->ran[i].checkpoint, strcmp(fx->ran[i].run_id, learned) == 0 ? "learned" : "");
    }
}

static void test_stop_and_close_at_any_time(void **state) {
    FX;
    /* Never started. */
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_stop(fx, FROE_STOP_FINISH);
    assert_int_equal(froe_start(fx->froe, NULL), FROE_ERR_STATE);
    fixture_close(fx);
    /* Right after the start, and with something under way. */
    fixture_open(fx);
    fixture_workflow(fx, "w", NULL, 0, NULL);
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .n = 1};
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, NULL), FROE_OK);
    fixture_start(fx);
    fixture_stop(fx, FROE_STOP_NOW);
    assert_int_equal(fx->spawns_done, 1);
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, NULL), FROE_OK); /* still taken */
    fixture_close(fx);
    assert_int_equal(fx->spawns_done, 2);
    uint64_t live, done;
    check_store(fx, &live, &done);
    assert_int_equal(live + done, 2);
}

static void test_only_one_process_at_a_time(void **state) {
    FX;
    froe *second;
    froe_error error;
    froe_options options = fx->options;
    assert_int_equal(froe_open(&options, &second, &error), FROE_ERR_BUSY);
    uv_run(&fx->loop, UV_RUN_NOWAIT);
    assert_true(froe_lock_fd(fx->froe) >= 0);
    options.store = "mysql:x";
    assert_int_equal(froe_open(&options, &second, &error), FROE_ERR_INVALID);
    options.size = 3;
    assert_int_equal(froe_open(&options, &second, &error), FROE_ERR_INVALID);
}

/* A child works until it is killed; what it acknowledged is there, and all that was live is run again. */
static void child(struct fixture *fx, int out) {
    fixture_open(fx);
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fx->run = NULL;
    fixture_start(fx);
    for (size_t batch = 0;; batch++) {
        fixture_spawn_keys(fx, "w", NULL, "k", batch * 50, 50);
        uint32_t created = fx->spawned.created;
        if (write(out, &created, sizeof created) < 0)
            _exit(1);
        fixture_linger(fx, US_PER_MS);
        for (int i = 0; i < 4 && fx->n_held; i++)
            froe_task_succeed(fixture_release(fx, 0));
    }
}

static void test_kill(void **state) {
    FX;
    for (int round = 0; round < 8; round++) {
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(pipe_fds[0]);
            child(fx, pipe_fds[1]);
        }
        close(pipe_fds[1]);
        uint32_t told, created = 0;
        for (int i = 0; i < 3 + round; i++) {
            if (read(pipe_fds[0], &told, sizeof told) == sizeof told)
                created = told;
        }
        usleep((useconds_t)(round * 700));
        kill(pid, SIGKILL);
        while (read(pipe_fds[0], &told, sizeof told) == sizeof told)
            created = told;
        close(pipe_fds[0]);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status) && created > 0);

        uint64_t live, done;
        check_store(fx, &live, &done);
        assert_true(live + done >= created); /* more when the last answer was not heard of */
        fixture_open(fx);
        fixture_workflow(fx, "w", NULL, 0, NULL);
        assert_int_equal(fixture_group(fx, "w", "").live, live);
        fx->run = run_succeed;
        fx->n_ran = 0;
        fixture_start(fx);
        UNTIL(fx, fixture_group(fx, "w", "").live == 0);
        assert_int_equal(fx->n_ran, live);
        fixture_close(fx);
        fixture_remove(fx);
        fixture_init(fx);
    }
}

static void test_lost_lease(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 30);
    UNTIL(fx, fx->n_held == 8);
    assert_true(froe_task_holds_lease(fx->held[0]));
    fixture_move(fx, fx->options.lease_us + 1);
    assert_false(froe_task_holds_lease(fx->held[0]));
    UNTIL(fx, fixture_told(fx, FROE_EVENT_LEASE_LOST) == 1);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(froe_task_cancelled(fx->held[i]), FROE_CANCELLED_LEASE_LOST);
        assert_false(froe_task_holds_lease(fx->held[i]));
    }
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(fx->n_ran, 8);            /* nothing while something still runs */
    froe_task_succeed(fixture_release(fx, 0)); /* ignored, or not: it may run again, but is done once */
    while (fx->n_held)
        froe_task_fail(fixture_release(fx, 0), 0, "lost");
    fx->run = run_succeed;
    UNTIL(fx, fixture_group(fx, "w", "").done == 30 && fixture_group(fx, "w", "").live == 0);
    assert_int_equal(fixture_told(fx, FROE_EVENT_LEASE_LOST), 1);
    for (size_t i = 0; i < fx->n_ran; i++)
        assert_int_equal(fx->ran[i].attempt, 1);
}

static void wrap(struct fixture *fx, struct failing_store **ret_failing) {
    struct store *real;
    struct err err;
    struct store_options how = {.clock = &fx->clock.clock, .lease_us = fx->options.lease_us};
    if (store_open(fx->uri, &how, &real, &err) < 0)
        fail_msg("%s", err.text);
    *ret_failing = failing_make(real);
    fx->store = failing_store(*ret_failing);
}

static void test_slow_heartbeat(void **state) {
    FX;
    struct failing_store *failing;
    fx->options.lease_us = 10 * US_PER_MIN;
    wrap(fx, &failing);
    fixture_open(fx);
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 30);
    UNTIL(fx, fx->n_held == 8);
    for (int i = 0; i < 6; i++) { /* two leases long, heartbeats keep it */
        int64_t before = atomic_load(&fx->froe->holds_until_mono_us);
        fixture_move(fx, fx->options.lease_us / 3 + US_PER_S);
        UNTIL(fx, atomic_load(&fx->froe->holds_until_mono_us) > before);
    }
    assert_true(froe_task_holds_lease(fx->held[0]));
    assert_int_equal(fixture_told(fx, FROE_EVENT_LEASE_LOST), 0);
    failing_stall(failing, true);
    fixture_move(fx, fx->options.lease_us / 3 + US_PER_S);
    UNTIL(fx, fx->froe->heartbeat_inflight); /* and is not answered */
    fixture_move(fx, fx->options.lease_us);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_LEASE_LOST) == 1);
    assert_false(froe_task_holds_lease(fx->held[0]));
    while (fx->n_held)
        froe_task_fail(fixture_release(fx, 0), 0, "lost");
    fixture_linger(fx, 20 * US_PER_MS);
    fx->run = run_succeed;
    failing_stall(failing, false);
    UNTIL(fx, fixture_group(fx, "w", "").done == 30);
}

static void test_lease_lost_while_stopping(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 30);
    UNTIL(fx, fx->n_held == 8);
    froe_stop(fx->froe, FROE_STOP_FINISH, NULL, NULL);
    fixture_linger(fx, 10 * US_PER_MS);
    fixture_move(fx, fx->options.lease_us + 1);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_LEASE_LOST) == 1);
    assert_int_equal(froe_task_cancelled(fx->held[0]), FROE_CANCELLED_LEASE_LOST);
    while (fx->n_held)
        froe_task_fail(fixture_release(fx, 0), 0, "lost");
    fixture_stop(fx, FROE_STOP_FINISH);
    fixture_close(fx);
    uint64_t live, done;
    check_store(fx, &live, &done);
    assert_int_equal(live, 30);
}

static void test_nothing_is_asked_when_there_is_nothing_to_do(void **state) {
    FX;
    struct failing_store *failing;
    wrap(fx, &failing);
    fixture_open(fx);
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 3000);
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .n = 1, .delay_us = US_PER_HOUR};
    fixture_spawn(fx, &spawn);
    UNTIL(fx, fixture_group(fx, "w", "").done == 3000);
    uint64_t before = 0;
    for (int i = 0; i < 100 && failing_calls(failing) != before; i++) { /* what it had to ask may take a while */
        before = failing_calls(failing);
        fixture_linger(fx, 500 * US_PER_MS);
    }
    assert_int_equal(failing_calls(failing), before);
}

static size_t puts_done, puts_failed;

static void on_put(void *arg, const froe_error *error) {
    puts_done++;
    puts_failed += error != NULL;
}

static void cancel_ends(struct fixture *fx, froe_task *task) {
    assert_int_equal(froe_task_cancelled(task), FROE_CANCELLED_LEASE_LOST);
    for (size_t i = 0; i < fx->n_held; i++)
        if (fx->held[i] == task)
            froe_task_fail(fixture_release(fx, i), 0, "the store is gone");
}

/* Whichever call fails: it is told once, every callback comes, the engine ends, and the store is whole. */
static void test_failing_store(void **state) {
    FX;
    uint64_t last = 1;
    for (uint64_t at = 1; at <= last; at += at < 60 ? 1 : 7) {
        struct failing_store *failing;
        wrap(fx, &failing);
        fixture_open(fx);
        failing_at(failing, failing_calls(failing) + at, at % 2 ? STORE_ERR_IO : STORE_ERR_FULL);
        uint64_t before = failing_calls(failing);
        fx->n_told = fx->n_held = fx->n_ran = fx->spawns_done = puts_done = puts_failed = 0;
        fx->run = NULL;
        fx->cancel = cancel_ends;
        froe_workflow given = {.retries = 1, .backoff_us = 1000};
        fixture_workflow(fx, "w", NULL, 0, &given);
        fixture_start(fx);
        static froe_item items[60];
        static char keys[60];
        for (size_t i = 0; i < 60; i++) {
            keys[i] = (char)('0' + i);
            items[i] = (froe_item){.child_key = &keys[i], .child_key_n = 1};
        }
        froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .items = items, .n = 60};
        size_t spawns = 0, puts = 0;
        spawns += froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, NULL) == FROE_OK;
        size_t steps = 0;
        fixture_guard(fx);
        while (fixture_told(fx, FROE_EVENT_STORE_FAILED) == 0 && steps < 120) {
            uv_run(&fx->loop, fx->n_held ? UV_RUN_NOWAIT : UV_RUN_ONCE);
            if (fx->n_held == 0)
                continue;
            froe_task_log(fx->held[0], FROE_INFO, "line");
            if (steps % 3 == 0)
                froe_task_fail(fixture_release(fx, 0), 0, "no");
            else if (steps % 7 == 1)
                froe_task_again(fixture_release(fx, 0), US_PER_S, "in memory");
            else
                froe_task_succeed(fixture_release(fx, 0));
            if (steps % 5 == 0)
                puts += froe_value_put(fx->froe, "v", "x", 1, on_put, NULL, NULL) == FROE_OK;
            steps++;
            assert_false(fx->timed_out);
            if (fixture_group(fx, "w", "").live == 0)
                break;
        }
        fixture_linger(fx, 5 * US_PER_MS);
        bool failed = fixture_told(fx, FROE_EVENT_STORE_FAILED) > 0;
        if (failed) {
            assert_int_equal(fixture_told(fx, FROE_EVENT_STORE_FAILED), 1);
            int code = fixture_last(fx, FROE_EVENT_STORE_FAILED)->code;
            assert_int_equal(code, at % 2 ? FROE_ERR_STORE : FROE_ERR_FULL);
            assert_non_null(strstr(fixture_last(fx, FROE_EVENT_STORE_FAILED)->text, "the disk is gone"));
            froe_error error = {0};
            assert_int_equal(froe_spawn_many(fx->froe, &spawn, NULL, NULL, &error), code);
            size_t ran = fx->n_ran;
            fixture_linger(fx, 5 * US_PER_MS);
            assert_int_equal(fx->n_ran, ran);
        }
        last = failing_calls(failing) - before + (failed ? 1 : 0);
        if (!failed)
            failing_at(failing, 0, 0);
        fixture_stop(fx, FROE_STOP_NOW);
        fixture_close(fx);
        fx->cancel = NULL;
        assert_int_equal(fx->spawns_done, spawns);
        assert_int_equal(puts_done, puts);
        uint64_t live, done;
        check_store(fx, &live, &done);
        fixture_remove(fx);
        size_t options_lease = (size_t)fx->options.lease_us;
        fx->ran = NULL;
        fixture_init(fx);
        fx->options.lease_us = (int64_t)options_lease;
    }
}

/* Whichever allocation fails: the call says so, or the engine ends as when the store fails; nothing acknowledged is
 * lost. */
static void test_no_memory(void **state) {
    FX;
    size_t failures = 0;
    for (uint64_t n = 1; n < 400; n += n < 150 ? 1 : 5) {
        fixture_open(fx);
        fx->n_told = fx->n_held = 0;
        fx->spawned = (froe_spawned){0};
        fx->run = run_fail;
        fx->cancel = cancel_ends;
        mem_fail_at(n, 0);
        froe_rule rule = {"input.a + 'x'", 0, FROE_GROUP_ROUND_ROBIN};
        froe_workflow workflow = {.size = sizeof workflow, .name = "w", .rules = &rule, .n_rules = 1, .retries = 0};
        workflow.run = fixture_run;
        workflow.arg = fx;
        froe_error error;
        int r = froe_workflow_add(fx->froe, &workflow, &error);
        if (r == FROE_OK)
            r = froe_start(fx->froe, &error);
        froe_item items[] = {{.child_key = "1", .child_key_n = 1},
                             {.child_key = "2", .child_key_n = 1, .input = "{\"a\":\"b\"}"}};
        froe_spawn spawn = {
            .size = sizeof spawn, .workflow = "w", .input = "{\"a\":\"1\"}", .metadata = "{}", .items = items, .n = 2};
        if (r == FROE_OK)
            r = froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, &error);
        if (r != FROE_OK) {
            assert_int_equal(r, FROE_ERR_MEMORY);
            failures++;
        }
        fixture_guard(fx);
        while (r == FROE_OK && fixture_told(fx, FROE_EVENT_PARKED) < fx->spawned.created + (fx->spawned.created == 0) &&
               !fx->froe->failed && fx->spawned.duplicates == 0) {
            uv_run(&fx->loop, UV_RUN_ONCE);
            if (mem_fail_count() >= n && fx->froe->n_tasks == 0 && fx->spawned.created == 2 &&
                fixture_group(fx, "w", "1x").live + fixture_group(fx, "w", "bx").live == 0)
                break; /* only the telling failed */
            assert_false(fx->timed_out);
        }
        bool failed = fx->froe->failed;
        failures += failed;
        mem_fail_at(0, 0);
        fixture_close(fx);
        uint64_t live, done;
        check_store(fx, &live, &done);
        fixture_remove(fx);
        fx->ran = NULL;
        fixture_init(fx);
    }
    assert_true(failures > 50);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define C(name) cmocka_unit_test_setup_teardown(name, fixture_setup_closed, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_finish),
        T(test_finish_then_now),
        T(test_stop_and_close_at_any_time),
        T(test_only_one_process_at_a_time),
        C(test_kill),
        T(test_lost_lease),
        C(test_slow_heartbeat),
        T(test_lease_lost_while_stopping),
        C(test_nothing_is_asked_when_there_is_nothing_to_do),
        C(test_failing_store),
        C(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
