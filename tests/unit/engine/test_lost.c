/* A store whose server cannot be reached for a while, or starts again: what is repeated, what is believed meanwhile,
 * and how an engine stops then. And what a store that others use, too, is asked when there is nothing to do. */
#include "fixture.h"

#include "failing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state

static struct failing_store *failing;
static struct store_options options;
static size_t cancels, held_while_lost;

static void note_cancel(struct fixture *fx, froe_task *task) {
    cancels++;
    assert_int_equal(froe_task_cancelled(task), FROE_CANCELLED_LEASE_LOST);
    assert_false(froe_task_holds_lease(task));
}

static void open_failing(struct fixture *fx, bool shared) {
    struct store *real;
    struct err err;
    options = (struct store_options){.clock = &fx->clock.clock, .lease_us = fx->options.lease_us};
    if (store_open(fx->uri, &options, &real, &err) < 0)
        fail_msg("%s", err.text);
    failing = failing_make(real);
    failing_shared(failing, shared);
    fx->store = failing_store(failing);
    fixture_open(fx);
}

static int setup(void **state) {
    fixture_setup_closed(state);
    struct fixture *fx = *state;
    fx->options.lease_us = 30 * US_PER_S;
    open_failing(fx, false);
    fx->cancel = note_cancel;
    cancels = held_while_lost = 0;
    return 0;
}

static void test_lost_for_a_moment(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 10);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 8);
    failing_lose(failing, true);
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_told(fx, FROE_EVENT_STORE_LOST) == 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_STORE_LOST)->text, "the server cannot be reached");
    assert_int_equal(fixture_group(fx, "w", "").done, 0);
    assert_true(froe_task_holds_lease(fx->held[0])); /* for some time still */
    /* What is asked for meanwhile is done later, in order. */
    size_t before = fx->spawns_done;
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .n = 1};
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, &fx->error), FROE_OK);
    fixture_linger(fx, 300 * US_PER_MS);
    assert_int_equal(fx->spawns_done, before);
    failing_lose(failing, false);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_STORE_BACK) == 1 && fixture_group(fx, "w", "").done == 1);
    UNTIL(fx, fx->spawns_done == before + 1);
    assert_int_equal(fx->spawns_failed, 0);
    assert_int_equal(fixture_told(fx, FROE_EVENT_STORE_LOST), 1);
    assert_int_equal(cancels, 0);
    fx->run = run_succeed;
    while (fx->n_held)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "").done == 11);
    assert_int_equal(fx->n_ran, 11);
}

static void test_lost_for_longer_than_the_lease(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 20);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 8);
    failing_lose(failing, true);
    fixture_move(fx, 20 * US_PER_S); /* a heartbeat is sent */
    UNTIL(fx, fixture_told(fx, FROE_EVENT_STORE_LOST) == 1);
    assert_int_equal(cancels, 0);
    assert_true(froe_task_holds_lease(fx->held[0]));
    /* Before the lease can have ended elsewhere nothing is believed any more, without waiting for the loop. */
    atomic_fetch_add(&fx->clock.mono_us, 5 * US_PER_S);
    atomic_fetch_add(&fx->clock.utc_us, 5 * US_PER_S);
    assert_false(froe_task_holds_lease(fx->held[0]));
    engine_clock_moved(fx->froe);
    UNTIL(fx, cancels == 8);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_LEASE_LOST) == 1);
    while (fx->n_held)
        froe_task_fail(fixture_release(fx, 0), 0, "cancelled");
    fixture_linger(fx, 100 * US_PER_MS);
    assert_int_equal(fx->n_ran, 8); /* nothing is started */
    fixture_move(fx, 60 * US_PER_S);
    fx->run = run_succeed;
    failing_lose(failing, false);
    UNTIL(fx, fixture_group(fx, "w", "").done == 20);
    assert_int_equal(fx->n_ran, 28);
    assert_int_equal(fixture_group(fx, "w", "").failed, 0);
    assert_int_equal(fixture_told(fx, FROE_EVENT_STORE_BACK), 1);
    assert_int_equal(fixture_told(fx, FROE_EVENT_STORE_FAILED), 0);
}

static void test_a_stop_gives_up(void **state) {
    FX;
    fx->run = NULL;
    fx->cancel = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 8);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 8);
    failing_lose(failing, true);
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_told(fx, FROE_EVENT_STORE_LOST) == 1);
    froe_stop(fx->froe, FROE_STOP_NOW, NULL, NULL);
    UNTIL(fx, froe_task_cancelled(fx->held[0]));
    while (fx->n_held)
        froe_task_fail(fixture_release(fx, 0), 0, "stopped");
    fixture_linger(fx, 300 * US_PER_MS);
    assert_false(fx->froe->failed);
    fixture_move(fx, 31 * US_PER_S);
    fixture_stop(fx, FROE_STOP_NOW);
    fixture_close(fx);
    /* All is there; also what ended, but was never acknowledged. */
    fixture_open(fx);
    assert_int_equal(fixture_group(fx, "w", "").live, 8);
}

static void test_closing_what_never_started(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1);
    failing_lose(failing, true);
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .n = 1};
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, &fx->error), FROE_OK);
    froe_stop(fx->froe, FROE_STOP_NOW, NULL, NULL);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_STORE_LOST) == 1);
    fixture_move(fx, 31 * US_PER_S);
    UNTIL(fx, fx->spawns_failed == 1);
    assert_int_equal(fx->error.code, FROE_ERR_STORE);
}

/* ---- a server that starts again, at any moment ---- */

static void run_mixed(struct fixture *fx, froe_task *task) {
    size_t key_n;
    const char *key = froe_task_child_key(task, &key_n);
    int n = key[key_n - 1] - '0'; /* no NUL follows it */
    if (n % 5 == 1 && froe_task_attempt(task) == 1)
        froe_task_fail(task, 0, "at first");
    else if (n % 5 == 2)
        froe_task_fail(task, FROE_FAIL_FINAL, "never");
    else
        froe_task_succeed(task);
}

static void on_value(void *arg, const froe_error *error) {
    assert_null(error);
    ++*(size_t *)arg;
}

static void look(void *arg, const froe_parked *parked) {
    ++*(size_t *)arg;
}

/* Everything an engine asks of a store, once. Returns whether the restart came in the midst of it. */
static bool live_through(uint64_t n, int code) {
    void *state = NULL;
    fixture_setup_closed(&state);
    struct fixture *fx = state;
    fx->options.lease_us = 30 * US_PER_S;
    fx->options.slots = 4;
    open_failing(fx, false);
    failing_restart_at(failing, n, code, fx->uri, &options);
    froe_rule rules[] = {{"'g'", 3, FROE_GROUP_ROUND_ROBIN, 0}, {"workflow_run_id", 1, FROE_GROUP_ROUND_ROBIN, 0}};
    froe_workflow given = {.retries = 1, .backoff_us = 1, .backoff_max_us = 1};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_workflow(fx, "v", rules, 2, &given);
    fx->run = run_mixed;
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", "{}", "k", 0, 10);
    size_t values = 0;
    assert_int_equal(froe_value_put(fx->froe, "a", "1", 1, on_value, &values, NULL), FROE_OK);
    fixture_spawn_keys(fx, "v", "{}", "k", 0, 5);
    fixture_spawn_keys(fx, "w", "{}", "k", 0, 10); /* of these only those that are done are new */
    UNTIL(fx, values == 1);
    UNTIL(fx, fixture_group(fx, "w", "").live == 0 && fixture_group(fx, "v", "g").live == 0);
    assert_int_equal(fixture_group(fx, "w", "").parked, 2);
    assert_int_equal(fixture_group(fx, "v", "g").parked, 1);
    assert_int_equal(fixture_group(fx, "w", "").done + fixture_group(fx, "v", "g").done, fx->spawned.created - 3);
    assert_true(fx->spawned.created >= 15 && fx->spawned.created + fx->spawned.duplicates == 25);
    size_t seen = 0;
    fx->done_calls = 0;
    assert_int_equal(froe_parked_list(fx->froe, NULL, look, NULL, &seen, &fx->error), FROE_OK);
    assert_int_equal(froe_parked_drop(fx->froe, NULL, fixture_counted, fx, &fx->error), FROE_OK);
    UNTIL(fx, fx->done_calls == 1);
    assert_int_equal(seen, 3);
    assert_int_equal(fixture_told(fx, FROE_EVENT_STORE_FAILED), 0);
    if (code == STORE_ERR_AGAIN) /* it is told of nothing */
        assert_int_equal(fixture_told(fx, FROE_EVENT_STORE_LOST), 0);
    bool reached = failing_calls(failing) >= n;
    fixture_stop(fx, FROE_STOP_FINISH);
    fixture_close(fx);
    struct store *store;
    struct err err;
    assert_int_equal(store_open(fx->uri, &options, &store, &err), 0);
    if (store_check(store, &err) < 0)
        fail_msg("after a restart at call %ju: %s", (uintmax_t)n, err.text);
    store_close(store);
    fixture_remove(fx);
    free(fx);
    return reached;
}

static void test_restarts_at_every_call(void **state) {
    uint64_t n = 1;
    while (live_through(n, STORE_ERR_LOST))
        n++;
    assert_true(n > 30);
}

static void test_batches_are_repeated_at_every_call(void **state) {
    uint64_t n = 1;
    while (live_through(n, STORE_ERR_AGAIN))
        n++;
    assert_true(n > 30);
}

/* ---- a shared store ---- */

static int setup_shared(void **state) {
    fixture_setup_closed(state);
    struct fixture *fx = *state;
    fx->options.lease_us = 30 * US_PER_S;
    open_failing(fx, true);
    return 0;
}

/* Lets time pass in steps, as an idle loop would see it. */
static void pass(struct fixture *fx, int64_t seconds) {
    for (int64_t i = 0; i < seconds; i++) {
        fixture_move(fx, US_PER_S);
        fixture_linger(fx, 2 * US_PER_MS);
    }
}

static void test_an_idle_worker_asks_little(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 10);
    UNTIL(fx, fixture_group(fx, "w", "").done == 10);
    pass(fx, 60);
    uint64_t before = failing_batches(failing);
    pass(fx, 300);
    uint64_t batches = failing_batches(failing) - before;
    /* A heartbeat every 10 s, a look every 7.5 to 10 s. */
    assert_in_range(batches, 50, 75);
}

static void test_work_of_others_is_found(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    pass(fx, 60);
    /* Added past the engine: what another host does. */
    struct store *store = fx->store;
    struct err err;
    int64_t id = 0;
    struct store_item item = {.child_key = BYTES("other")};
    struct store_page page = {.items = &item, .n = 1};
    struct store_spawned spawned;
    /* The committer's thread has nothing to do now, and the wrapped store takes one call at a time. */
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(store_workflow_put(store, BYTES("w"), NULL, 0, &id, &err), 0);
    page.workflow = id;
    assert_int_equal(store_spawn(store, &page, &spawned, &err), 0);
    assert_int_equal(store_commit(store, &err), 0);
    pass(fx, 11);
    UNTIL(fx, fx->n_ran == 1);
    assert_string_equal(fx->ran[0].key, "other");
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    assert_int_equal(fixture_group(fx, "w", "").live, 0); /* never less than nothing */
}

static uint64_t leased;

static void note_leased(void *arg, const froe_worker_info *worker) {
    (void)arg;
    leased = worker->leased;
}

/* A second later: are the runs that are started all that the worker has? */
static bool has_given_back(struct fixture *fx) {
    pass(fx, 1);
    size_t before = fx->done_calls;
    assert_int_equal(froe_workers_list(fx->froe, note_leased, fixture_counted, fx, &fx->error), FROE_OK);
    UNTIL(fx, fx->done_calls > before);
    return leased == fx->n_held;
}

static void test_pauses_of_others_are_heeded(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 100);
    UNTIL(fx, fx->n_held == 8); /* and others are leased */
    fixture_linger(fx, 100 * US_PER_MS);
    struct store *store = failing_store(failing);
    struct err err;
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(store_workflow_pause(store, BYTES("w"), true, &err), 0);
    assert_int_equal(store_commit(store, &err), 0);
    froe_task_succeed(fixture_release(fx, 0)); /* what others did is only of interest while something happens */
    UNTIL(fx, has_given_back(fx));
    while (fx->n_held > 0)
        froe_task_succeed(fixture_release(fx, 0));
    pass(fx, 3);
    assert_true(fx->n_ran <= 9);
    UNTIL(fx, fixture_group(fx, "w", "").done == fx->n_ran);
    assert_int_equal(fixture_group(fx, "w", "").live, 100 - fx->n_ran);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
#define T_SHARED(name) cmocka_unit_test_setup_teardown(name, setup_shared, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_lost_for_a_moment),
        T(test_lost_for_longer_than_the_lease),
        T(test_a_stop_gives_up),
        T(test_closing_what_never_started),
        cmocka_unit_test(test_restarts_at_every_call),
        cmocka_unit_test(test_batches_are_repeated_at_every_call),
        T_SHARED(test_an_idle_worker_asks_little),
        T_SHARED(test_work_of_others_is_found),
        T_SHARED(test_pauses_of_others_are_heeded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
