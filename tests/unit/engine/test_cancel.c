/* Cancelling: asked for, driven out, timed out; the grace period; what becomes of the runs. */
#include "fixture.h"
#include "fixture_postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state

static size_t cancels;
static froe_cancel_reason last_reason;

static void note_cancel(struct fixture *fx, froe_task *task) {
    cancels++;
    last_reason = froe_task_cancelled(task);
}

static int setup(void **state) {
    fixture_setup(state);
    ((struct fixture *)*state)->cancel = note_cancel;
    cancels = 0;
    last_reason = FROE_NOT_CANCELLED;
    return 0;
}

static int setup_two_slots(void **state) {
    fixture_setup_closed(state);
    struct fixture *fx = *state;
    fx->options.slots = 2;
    fx->options.cancel_grace_us = 5 * US_PER_S;
    fixture_open(fx);
    fx->cancel = note_cancel;
    cancels = 0;
    return 0;
}

/* ---- one run, looked at ---- */

struct seen {
    bool done;
    froe_state state;
    char error[200], result[200], worker[64];
    uint32_t attempts;
    int64_t duration_us;
    size_t n_attempts;
    froe_attempt last;
    int code;
};

static void on_seen(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n, const froe_error *error) {
    struct seen *seen = arg;
    seen->done = true;
    seen->code = error ? error->code : FROE_OK;
    if (!run)
        return;
    seen->state = run->state;
    seen->attempts = run->attempts;
    seen->duration_us = run->duration_us;
    snprintf(seen->error, sizeof seen->error, "%s", run->error ? run->error : "");
    snprintf(seen->result, sizeof seen->result, "%s", run->result ? run->result : "");
    snprintf(seen->worker, sizeof seen->worker, "%s", run->worker ? run->worker : "");
    seen->n_attempts = n;
    if (n)
        seen->last = attempts[n - 1];
}

static struct seen see(struct fixture *fx, froe_run_id id) {
    struct seen seen = {0};
    assert_int_equal(froe_run_get(fx->froe, id, on_seen, &seen, &fx->error), FROE_OK);
    UNTIL(fx, seen.done);
    return seen;
}

struct asked {
    bool done;
    froe_state was;
};

static void on_asked(void *arg, froe_state was, const froe_error *error) {
    struct asked *asked = arg;
    asked->done = true;
    asked->was = error ? FROE_UNKNOWN : was;
}

static froe_state ask(struct fixture *fx, froe_run_id id) {
    struct asked asked = {0};
    assert_int_equal(froe_run_cancel(fx->froe, id, on_asked, &asked, &fx->error), FROE_OK);
    UNTIL(fx, asked.done);
    return asked.was;
}

static froe_run_id spawn_one(struct fixture *fx, const char *workflow, const char *input) {
    froe_spawn spawn = {.size = sizeof spawn, .workflow = workflow, .input = input, .n = 1};
    fixture_spawn(fx, &spawn);
    return fx->runs[0];
}

/* ---- asked for ---- */

static void test_a_running_one_ends_cancelled(void **state) {
    FX;
    fx->run = NULL;
    froe_workflow given = {.retries = 5};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    froe_run_id id = spawn_one(fx, "w", NULL);
    UNTIL(fx, fx->n_held == 1);
    assert_int_equal(ask(fx, id), FROE_RUNNING);
    UNTIL(fx, cancels == 1);
    assert_int_equal(last_reason, FROE_CANCELLED_ASKED);
    assert_true(froe_task_holds_lease(fx->held[0])); /* it may still tidy up */
    froe_task_fail(fixture_release(fx, 0), 0, "whatever");
    UNTIL(fx, fixture_told(fx, FROE_EVENT_CANCELLED) == 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_CANCELLED)->text, "cancelled: somebody asked for it");
    struct seen seen = see(fx, id);
    assert_int_equal(seen.state, FROE_CANCELLED);
    assert_string_equal(seen.error, "cancelled: somebody asked for it");
    assert_int_equal(fixture_group(fx, "w", "").live, 0);
    assert_int_equal(fixture_told(fx, FROE_EVENT_RETRY), 0);
}

static void test_unless_it_succeeds(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    froe_run_id id = spawn_one(fx, "w", NULL);
    UNTIL(fx, fx->n_held == 1);
    ask(fx, id);
    UNTIL(fx, cancels == 1);
    assert_int_equal(froe_task_succeed_with(fixture_release(fx, 0), "[1,\"x\"]"), FROE_OK);
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    struct seen seen = see(fx, id);
    assert_int_equal(seen.state, FROE_SUCCEEDED);
    assert_string_equal(seen.result, "[1,\"x\"]");
}

static void test_one_asked_before_its_timeout_matters(void **state) {
    FX;
    fx->run = NULL;
    froe_workflow given = {.retries = 5, .timeout_us = 10 * US_PER_S};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    froe_run_id id = spawn_one(fx, "w", NULL);
    UNTIL(fx, fx->n_held == 1);
    fixture_move(fx, 11 * US_PER_S);
    UNTIL(fx, cancels == 1);
    assert_int_equal(last_reason, FROE_CANCELLED_TIMEOUT);
    ask(fx, id); /* told to end already, now for good */
    UNTIL(fx, froe_task_cancelled(fx->held[0]) == FROE_CANCELLED_ASKED);
    assert_int_equal(cancels, 1);
    froe_task_fail(fixture_release(fx, 0), 0, "late");
    UNTIL(fx, fixture_told(fx, FROE_EVENT_CANCELLED) == 1);
    assert_int_equal(see(fx, id).state, FROE_CANCELLED);
}

static void run_first_quickly(struct fixture *fx, froe_task *task) {
    if (fx->n_ran <= 20)
        froe_task_succeed(task);
    else
        fx->held[fx->n_held++] = task;
}

/* Leased, but not started yet: it never is. */
static void test_one_that_was_not_started(void **state) {
    FX;
    fx->run = run_first_quickly;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 60);
    froe_run_id ids[60];
    memcpy(ids, fx->runs, sizeof ids);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 8);
    size_t asked = 0;
    for (size_t i = 40; i < 60; i++)
        asked += ask(fx, ids[i]) == FROE_RUNNING;
    assert_true(asked > 0);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_CANCELLED) == asked);
    assert_int_equal(cancels, 0);
    struct seen seen = see(fx, ids[59]);
    assert_int_equal(seen.state, FROE_CANCELLED);
    fx->run = run_succeed;
    while (fx->n_held)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "").done == 40);
    assert_int_equal(fx->n_ran, 40);
    UNTIL(fx, fixture_group(fx, "w", "").live == 0);
}

static void run_again(struct fixture *fx, froe_task *task) {
    froe_task_again(task, 900 * US_PER_MS, "not now");
}

static void test_one_that_waits_in_memory(void **state) {
    FX;
    fx->run = run_again;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    froe_run_id id = spawn_one(fx, "w", NULL);
    UNTIL(fx, fx->froe->n_waiting == 1);
    assert_int_equal(ask(fx, id), FROE_RUNNING);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_CANCELLED) == 1);
    assert_int_equal(fx->froe->n_waiting, 0);
    assert_int_equal(see(fx, id).state, FROE_CANCELLED);
    fixture_move(fx, 2 * US_PER_S);
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(fx->n_ran, 1);
}

static void test_queued_ones_at_once(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    froe_run_id id = spawn_one(fx, "w", NULL);
    assert_int_equal(ask(fx, id), FROE_QUEUED);
    assert_int_equal(ask(fx, id), FROE_CANCELLED);
    fixture_start(fx);
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 0);
}

/* ---- driven out ---- */

static void test_a_newer_run_drives_out(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"input.branch", 1, FROE_CANCEL_IN_PROGRESS, 0};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_start(fx);
    froe_run_id first = spawn_one(fx, "w", "{\"branch\":\"a\"}");
    UNTIL(fx, fx->n_held == 1);
    froe_run_id second = spawn_one(fx, "w", "{\"branch\":\"a\"}");
    UNTIL(fx, cancels == 1);
    assert_int_equal(last_reason, FROE_CANCELLED_DRIVEN_OUT);
    assert_int_equal(fx->spawned.driven_out, 0); /* it runs: it is only asked */
    froe_run_id third = spawn_one(fx, "w", "{\"branch\":\"a\"}");
    /* The second never starts, whether it was queued still or leased already. */
    spawn_one(fx, "w", "{\"branch\":\"b\"}"); /* of another branch */
    UNTIL(fx, fx->n_held == 2);
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_held, 2); /* the third waits until the first has ended */
    assert_int_equal(cancels, 1);
    UNTIL(fx, see(fx, second).state == FROE_CANCELLED);
    froe_task_fail(fixture_release(fx, 0), 0, "as told");
    UNTIL(fx, fx->n_held == 2);
    assert_true(froe_task_id(fx->held[1]).page == third.page);
    UNTIL(fx, see(fx, first).state == FROE_CANCELLED);
    assert_non_null(strstr(see(fx, first).error, "newer"));
    assert_int_equal(see(fx, third).state, FROE_RUNNING);
    UNTIL(fx, fixture_group(fx, "w", "").live == 2);
}

/* ---- timeouts ---- */

static void test_a_timeout_can_be_refreshed(void **state) {
    FX;
    fx->run = NULL;
    froe_workflow given = {.timeout_us = 60 * US_PER_S};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 3);
    UNTIL(fx, fx->n_held == 3);
    froe_task_refresh_timeout(fx->held[0], 300 * US_PER_S);
    froe_task_refresh_timeout(fx->held[2], 30 * US_PER_S);
    fixture_move(fx, 31 * US_PER_S);
    UNTIL(fx, cancels == 1);
    assert_int_equal(froe_task_cancelled(fx->held[2]), FROE_CANCELLED_TIMEOUT);
    froe_task_refresh_timeout(fx->held[2], 300 * US_PER_S); /* too late */
    fixture_move(fx, 30 * US_PER_S);
    UNTIL(fx, cancels == 2);
    assert_int_equal(froe_task_cancelled(fx->held[1]), FROE_CANCELLED_TIMEOUT);
    assert_int_equal(froe_task_cancelled(fx->held[2]), FROE_CANCELLED_TIMEOUT);
    assert_int_equal(froe_task_cancelled(fx->held[0]), FROE_NOT_CANCELLED);
    fixture_move(fx, 238 * US_PER_S);
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(cancels, 2);
    fixture_move(fx, 5 * US_PER_S);
    UNTIL(fx, cancels == 3);
    /* One that starts now times out before one that was refreshed. */
    while (fx->n_held)
        froe_task_fail(fixture_release(fx, 0), 0, "");
}

/* ---- the grace period ---- */

static void test_what_does_not_end_is_abandoned(void **state) {
    FX;
    fx->run = NULL;
    froe_workflow given = {.retries = 1, .timeout_us = 10 * US_PER_S};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    froe_run_id id = spawn_one(fx, "w", "{\"a\":1}");
    UNTIL(fx, fx->n_held == 1);
    froe_task *hangs = fx->held[0];
    froe_task_set_checkpoint(hangs, "half", 4);
    fixture_move(fx, 11 * US_PER_S);
    UNTIL(fx, cancels == 1);
    fixture_move(fx, 4 * US_PER_S);
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(fixture_told(fx, FROE_EVENT_ABANDONED), 0);
    fixture_move(fx, 2 * US_PER_S);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_ABANDONED) == 1 && fixture_told(fx, FROE_EVENT_RETRY) == 1);
    assert_false(froe_task_holds_lease(hangs));
    /* A failed attempt: the next one starts, with what this one left, in the one slot that is left. */
    spawn_one(fx, "w", NULL);
    fixture_move(fx, 5 * US_PER_S);
    UNTIL(fx, fx->n_held == 2);
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(fx->n_held, 2);
    assert_string_equal(froe_task_input(hangs), "{\"a\":1}");
    size_t n;
    assert_memory_equal(froe_task_checkpoint(hangs, &n), "half", 4);
    froe_task_succeed(fixture_release(fx, 0)); /* late, and not heard */
    UNTIL(fx, fx->n_held == 2);                /* its slot is free */
    assert_int_equal(fixture_group(fx, "w", "").done, 0);
    while (fx->n_held)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "").done == 2);
    struct seen seen = see(fx, id);
    assert_int_equal(seen.state, FROE_SUCCEEDED);
    assert_int_equal(seen.n_attempts, 2);
}

static void test_asked_and_abandoned(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    froe_run_id id = spawn_one(fx, "w", NULL);
    UNTIL(fx, fx->n_held == 1);
    ask(fx, id);
    UNTIL(fx, cancels == 1);
    fixture_move(fx, 6 * US_PER_S);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_CANCELLED) == 1);
    struct seen seen = see(fx, id);
    assert_int_equal(seen.state, FROE_CANCELLED);
    assert_string_equal(seen.error, "cancelled: somebody asked for it; it did not end when it was told to");
    froe_task_succeed(fixture_release(fx, 0));
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(see(fx, id).state, FROE_CANCELLED);
}

static void test_a_stop_does_not_wait_for_ever(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    spawn_one(fx, "w", "{\"a\":1}");
    UNTIL(fx, fx->n_held == 1);
    froe_stop(fx->froe, FROE_STOP_NOW, NULL, NULL);
    UNTIL(fx, cancels == 1);
    fixture_move(fx, 6 * US_PER_S);
    fixture_stop(fx, FROE_STOP_NOW);
    assert_int_equal(fixture_told(fx, FROE_EVENT_ABANDONED), 1);
    fixture_close(fx);
    /* The engine is closed; what the task may look at is not gone, and nothing it says does harm. */
    froe_task *task = fixture_release(fx, 0);
    assert_string_equal(froe_task_input(task), "{\"a\":1}");
    assert_false(froe_task_holds_lease(task));
    froe_task_log(task, FROE_INFO, "still here");
    assert_int_equal(froe_task_set_checkpoint(task, "x", 1), FROE_ERR_STATE);
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .n = 1};
    assert_int_equal(froe_spawn_many(froe_task_engine(task), &spawn, NULL, NULL, &fx->error), FROE_ERR_STATE);
    froe_task_succeed(task); /* frees it all */
    fixture_open(fx);
    fixture_workflow(fx, "w", NULL, 0, NULL);
    assert_int_equal(fixture_group(fx, "w", "").live, 1);
}

/* ---- what is kept ---- */

static void run_by_attempt(struct fixture *fx, froe_task *task) {
    if (froe_task_attempt(task) == 1)
        froe_task_fail(task, 0, "first");
    else
        assert_int_equal(froe_task_succeed_with(task, "{\"ok\":true}"), FROE_OK);
}

static void test_attempts_are_kept(void **state) {
    FX;
    fx->run = run_by_attempt;
    froe_workflow given = {.retries = 1, .backoff_us = US_PER_S};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    froe_run_id id = spawn_one(fx, "w", NULL);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_RETRY) == 1);
    struct seen seen = see(fx, id);
    assert_int_equal(seen.state, FROE_WAITING);
    assert_string_equal(seen.error, "first");
    fixture_move(fx, 2 * US_PER_S);
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    seen = see(fx, id);
    assert_int_equal(seen.state, FROE_SUCCEEDED);
    assert_string_equal(seen.result, "{\"ok\":true}");
    assert_int_equal(seen.n_attempts, 2);
    assert_int_equal(seen.last.attempt, 2);
    assert_string_equal(seen.worker, fx->froe->worker_name);
}

static void run_never_parked(struct fixture *fx, froe_task *task) {
    froe_task_fail(task, 0, "hopeless");
}

static void test_never_parked(void **state) {
    FX;
    fx->run = run_never_parked;
    froe_workflow given = {.flags = FROE_NEVER_PARK, .retries = 1, .backoff_us = US_PER_S};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1);
    froe_run_id id = fx->runs[0];
    UNTIL(fx, fixture_told(fx, FROE_EVENT_RETRY) == 1);
    fixture_move(fx, 2 * US_PER_S);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_FAILED) == 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_FAILED)->text, "hopeless");
    struct seen seen = see(fx, id);
    assert_int_equal(seen.state, FROE_FAILED);
    assert_string_equal(seen.error, "hopeless");
    assert_int_equal(fixture_group(fx, "w", "").parked, 0);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1); /* its child key is free */
    assert_int_equal(fx->spawned.created, 2);
}

int main(int argc, char **argv) {
    int over = fixture_over(argc, argv);
    if (over)
        return over;
#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
#define T_TWO(name) cmocka_unit_test_setup_teardown(name, setup_two_slots, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_running_one_ends_cancelled),
        T(test_unless_it_succeeds),
        T(test_one_asked_before_its_timeout_matters),
        T(test_one_that_was_not_started),
        T(test_one_that_waits_in_memory),
        T(test_queued_ones_at_once),
        T(test_a_newer_run_drives_out),
        T(test_a_timeout_can_be_refreshed),
        T_TWO(test_what_does_not_end_is_abandoned),
        T_TWO(test_asked_and_abandoned),
        T_TWO(test_a_stop_does_not_wait_for_ever),
        T(test_attempts_are_kept),
        T(test_never_parked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
