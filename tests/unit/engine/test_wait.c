/* Waiting for results: what this worker settles, what was over before, what the store decides; timeouts; many waits at
 * once; on threads that block. */
#include "fixture.h"

#include "mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state
#define MANY 100000

static froe_run_id *ids;
static size_t n_ids;

static void note_ids(void *arg, const froe_spawned *spawned, const froe_error *error) {
    struct fixture *fx = arg;
    assert_null(error);
    ids = realloc(ids, (n_ids + spawned->n) * sizeof *ids);
    memcpy(ids + n_ids, spawned->runs, spawned->n * sizeof *ids);
    n_ids += spawned->n;
    fx->spawns_done++;
}

static int setup(void **state) {
    n_ids = 0;
    return fixture_setup(state);
}

static int teardown(void **state) {
    free(ids);
    ids = NULL;
    return fixture_teardown(state);
}

static void spawn(struct fixture *fx, const char *workflow, size_t n) {
    froe_item *items = calloc(n, sizeof *items);
    froe_spawn given = {.size = sizeof given, .workflow = workflow, .items = items, .n = n};
    size_t before = fx->spawns_done;
    if (froe_spawn_many(fx->froe, &given, note_ids, fx, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    free(items);
    UNTIL(fx, fx->spawns_done > before);
}

struct answer {
    size_t calls, n;
    int code;
    froe_run_id first;
    froe_state states[16];
    char results[16][60], errors[16][60];
};

static void told(void *arg, const froe_result *results, size_t n, const froe_error *error) {
    struct answer *answer = arg;
    answer->calls++;
    answer->n = n;
    answer->code = error ? error->code : 0;
    answer->first = n > 0 ? results[0].id : (froe_run_id){0};
    for (size_t i = 0; i < n && i < 16; i++) {
        answer->states[i] = results[i].state;
        snprintf(answer->results[i], 60, "%s", results[i].result ? results[i].result : "-");
        snprintf(answer->errors[i], 60, "%s", results[i].error ? results[i].error : "-");
    }
}

static void begin(struct fixture *fx, const froe_run_id *runs, size_t n, int64_t timeout_us, struct answer *answer) {
    if (froe_wait(fx->froe, runs, n, timeout_us, told, answer, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
}

static struct answer wait_for(struct fixture *fx, const froe_run_id *runs, size_t n, int64_t timeout_us) {
    struct answer answer = {0};
    begin(fx, runs, n, timeout_us, &answer);
    assert_int_equal(answer.calls, 0); /* never from inside the call */
    UNTIL(fx, answer.calls == 1);
    assert_int_equal(answer.n, n);
    return answer;
}

/* By its index: a result, a failure without parking, a parked one, one that forgets itself. */
static void run_by_index(struct fixture *fx, froe_task *task) {
    char text[60];
    switch (froe_task_id(task).index % 4) {
    case 0:
        snprintf(text, sizeof text, "{\"n\":%u}", froe_task_id(task).index);
        assert_int_equal(froe_task_succeed_with(task, text), FROE_OK);
        break;
    case 1:
        froe_task_succeed(task);
        break;
    case 2:
        froe_task_fail(task, FROE_FAIL_FINAL, "no point");
        break;
    default:
        froe_task_fail(task, FROE_FAIL_FORGET, "never mind");
    }
}

static void check_by_index(const struct answer *answer) {
    assert_int_equal(answer->code, 0);
    assert_int_equal(answer->states[0], FROE_SUCCEEDED);
    assert_string_equal(answer->results[0], "{\"n\":0}");
    assert_int_equal(answer->states[1], FROE_SUCCEEDED);
    assert_string_equal(answer->results[1], "-");
    assert_int_equal(answer->states[2], FROE_PARKED);
    assert_string_equal(answer->errors[2], "no point");
    assert_int_equal(answer->states[3], FROE_CANCELLED);
    assert_string_equal(answer->errors[3], "never mind");
    assert_string_equal(answer->results[4], "{\"n\":4}");
}

static void test_results(void **state) {
    FX;
    fx->run = run_by_index;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    spawn(fx, "w", 5);
    struct answer answer = {0};
    begin(fx, ids, 5, 0, &answer);
    fixture_linger(fx, 50 * US_PER_MS);
    assert_int_equal(answer.calls, 0); /* nothing runs yet */
    fixture_start(fx);
    UNTIL(fx, answer.calls == 1);
    check_by_index(&answer);
    assert_memory_equal(&answer.first, &ids[0], sizeof ids[0]);
    answer = wait_for(fx, ids, 5, 0); /* they are over now */
    check_by_index(&answer);
    fixture_close(fx);
    fixture_open(fx);
    answer = wait_for(fx, ids, 5, US_PER_S); /* by another process */
    check_by_index(&answer);
}

static void test_odd_waits(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    spawn(fx, "w", 1);
    struct answer answer = wait_for(fx, NULL, 0, 0);
    assert_int_equal(answer.code, 0);
    /* Twice the same, one that was never created, one that never was. */
    froe_run_id runs[] = {ids[0], {0}, {.page = 4000, .index = 3}, ids[0]};
    answer = wait_for(fx, runs, 4, 0);
    assert_int_equal(answer.code, 0);
    assert_int_equal(answer.states[0], FROE_SUCCEEDED);
    assert_int_equal(answer.states[1], FROE_UNKNOWN);
    assert_int_equal(answer.states[2], FROE_UNKNOWN);
    assert_int_equal(answer.states[3], FROE_SUCCEEDED);
    assert_int_equal(froe_wait(fx->froe, ids, FROE_WAIT_MAX + 1, 0, told, NULL, &fx->error), FROE_ERR_INVALID);
    assert_int_equal(froe_wait(fx->froe, NULL, 1, 0, told, NULL, &fx->error), FROE_ERR_INVALID);
    assert_string_equal(fx->error.text, "1 runs to wait for, and no ids of them");
    assert_int_equal(froe_wait(fx->froe, ids, 1, -1, told, NULL, &fx->error), FROE_ERR_INVALID);
    assert_int_equal(froe_wait(fx->froe, ids, 1, 0, NULL, NULL, &fx->error), FROE_ERR_INVALID);
}

static void test_timeout(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    spawn(fx, "w", 3);
    UNTIL(fx, fx->n_held == 3);
    froe_task *last = fixture_release(fx, 2);
    froe_run_id last_id = froe_task_id(last);
    assert_int_equal(froe_task_succeed_with(last, "7"), FROE_OK);
    struct answer answer = wait_for(fx, ids, 3, 300 * US_PER_MS);
    assert_int_equal(answer.code, FROE_ERR_TIMEOUT);
    for (size_t i = 0; i < 3; i++) {
        bool ended = ids[i].index == last_id.index;
        assert_int_equal(answer.states[i], ended ? FROE_SUCCEEDED : FROE_RUNNING);
        assert_string_equal(answer.results[i], ended ? "7" : "-");
    }
    answer = wait_for(fx, ids, 3, 1); /* as good as reading them: they are asked for once */
    assert_int_equal(answer.code, FROE_ERR_TIMEOUT);
    assert_int_equal(answer.states[last_id.index], FROE_SUCCEEDED);
    while (fx->n_held > 0)
        froe_task_succeed(fixture_release(fx, 0));
    answer = wait_for(fx, ids, 3, US_PER_HOUR);
    assert_int_equal(answer.code, 0);
}

/* Nobody tells which runs a rule drove out: they are asked for. */
static void test_what_the_store_decides(void **state) {
    FX;
    static const froe_rule newest[] = {{"'x'", 1, FROE_CANCEL_IN_PROGRESS, 0}};
    fixture_workflow(fx, "w", newest, 1, NULL);
    spawn(fx, "w", 1);
    struct answer answer = {0};
    begin(fx, ids, 1, 0, &answer);
    fixture_linger(fx, 100 * US_PER_MS);
    assert_int_equal(answer.calls, 0);
    spawn(fx, "w", 1);
    UNTIL(fx, answer.calls == 1);
    assert_int_equal(answer.code, 0);
    assert_int_equal(answer.states[0], FROE_CANCELLED);
    assert_string_not_equal(answer.errors[0], "-");
}

static void nothing(void *arg, froe_state was, const froe_error *error) {
    assert_null(error);
}

static void test_cancelled_from_here(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    spawn(fx, "w", 2);
    static struct answer answers[2]; /* one of them is told by the teardown */
    memset(answers, 0, sizeof answers);
    begin(fx, ids, 1, 0, &answers[0]);
    begin(fx, ids + 1, 1, 0, &answers[1]);
    fixture_linger(fx, 2 * US_PER_S); /* the intervals are long now */
    assert_int_equal(froe_run_cancel(fx->froe, ids[0], nothing, NULL, &fx->error), FROE_OK);
    int64_t began = clock_mono_us(&clock_system);
    UNTIL(fx, answers[0].calls == 1);
    assert_true(clock_mono_us(&clock_system) - began < 500 * US_PER_MS);
    assert_int_equal(answers[0].states[0], FROE_CANCELLED);
    assert_int_equal(answers[1].calls, 0);
}

static void test_retries_are_waited_for(void **state) {
    FX;
    const froe_workflow once_more = {.retries = 1, .backoff_us = 10 * US_PER_S};
    fx->run = run_fail;
    fixture_workflow(fx, "w", NULL, 0, &once_more);
    fixture_start(fx);
    spawn(fx, "w", 1);
    struct answer answer = {0};
    begin(fx, ids, 1, 0, &answer);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_RETRY) == 1);
    fixture_linger(fx, 100 * US_PER_MS);
    assert_int_equal(answer.calls, 0);
    fx->run = run_succeed;
    fixture_move(fx, US_PER_MIN);
    UNTIL(fx, answer.calls == 1);
    assert_int_equal(answer.states[0], FROE_SUCCEEDED);
}

/* A hundred thousand at once, one run each: quick to begin, cheap to keep, all told. */
static void test_many_waits(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    spawn(fx, "w", MANY);
    struct answer answer = {0};
    int64_t began = clock_mono_us(&clock_system);
    for (size_t i = 0; i < MANY; i++)
        begin(fx, ids + i, 1, i % 2 ? US_PER_HOUR : 0, &answer);
    assert_true(clock_mono_us(&clock_system) - began < 5 * US_PER_S);
    fixture_linger(fx, US_PER_S);
    assert_int_equal(answer.calls, 0);
    fixture_start(fx);
    UNTIL(fx, answer.calls == MANY);
    assert_int_equal(answer.code, 0);
}

static void test_one_wait_for_many(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    spawn(fx, "w", MANY);
    struct answer answer = wait_for(fx, ids, MANY, 0);
    assert_int_equal(answer.code, 0);
    assert_int_equal(answer.states[15], FROE_SUCCEEDED);
    answer = wait_for(fx, ids, MANY, 0);
    assert_int_equal(answer.states[0], FROE_SUCCEEDED);
}

static void test_closing(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    spawn(fx, "w", 1);
    struct answer answer = {0};
    begin(fx, ids, 1, 0, &answer);
    fixture_close(fx);
    assert_int_equal(answer.calls, 1);
    assert_int_equal(answer.code, FROE_ERR_STATE);
}

static void test_no_memory(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    spawn(fx, "w", 40);
    fixture_linger(fx, 20 * US_PER_MS);
    struct answer answer = {0};
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n, 0);
        int r = froe_wait(fx->froe, ids, 40, 0, told, &answer, &fx->error);
        mem_fail_at(0, 0);
        if (r == FROE_OK)
            break;
        assert_int_equal(r, FROE_ERR_MEMORY);
    }
    fixture_start(fx);
    UNTIL(fx, answer.calls == 1);
    assert_int_equal(answer.code, 0);
}

/* ---- on a thread that blocks ---- */

struct blocked {
    struct fixture *fx;
    int64_t timeout_us;
    size_t n;
    froe_result *results;
    froe_error error;
    int r;
    _Atomic bool done;
};

static void *block(void *arg) {
    struct blocked *blocked = arg;
    blocked->r = froe_wait_sync(blocked->fx->froe, NULL, ids, blocked->n, blocked->timeout_us, &blocked->results,
                                &blocked->error);
    atomic_store(&blocked->done, true);
    return NULL;
}

static void run_blocked(struct blocked *blocked) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, block, blocked), 0);
    for (unsigned i = 0; i < 2000 && !atomic_load(&blocked->done); i++) /* it does not wake the loop */
        fixture_linger(blocked->fx, 10 * US_PER_MS);
    assert_true(atomic_load(&blocked->done));
    pthread_join(thread, NULL);
}

static void test_sync(void **state) {
    FX;
    fx->run = run_by_index;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    spawn(fx, "w", 4);
    struct blocked blocked = {.fx = fx, .n = 4};
    run_blocked(&blocked);
    assert_int_equal(blocked.r, FROE_OK);
    assert_string_equal(blocked.results[0].result, "{\"n\":0}");
    assert_null(blocked.results[0].error);
    assert_int_equal(blocked.results[2].state, FROE_PARKED);
    assert_string_equal(blocked.results[2].error, "no point");
    froe_results_free(blocked.results);

    fx->run = NULL;
    spawn(fx, "w", 1);
    ids[0] = ids[4];
    blocked = (struct blocked){.fx = fx, .n = 1, .timeout_us = 100 * US_PER_MS};
    run_blocked(&blocked);
    assert_int_equal(blocked.r, FROE_ERR_TIMEOUT);
    assert_int_equal(blocked.error.code, FROE_ERR_TIMEOUT);
    assert_int_equal(blocked.results[0].state, FROE_RUNNING);
    froe_results_free(blocked.results);
    froe_results_free(NULL);

    blocked = (struct blocked){.fx = fx, .n = FROE_WAIT_MAX + 1};
    run_blocked(&blocked);
    assert_int_equal(blocked.r, FROE_ERR_INVALID);
    assert_null(blocked.results);
    /* The loop's own thread would wait for itself. */
    froe_result *results = NULL;
    assert_int_equal(froe_wait_sync(fx->froe, NULL, ids, 1, 0, &results, &fx->error), FROE_ERR_STATE);
}

/* A blocking task waits for its children; when it is cancelled the wait is over. */
static _Atomic int parent_code;
static _Atomic unsigned parent_state;
static _Atomic bool parent_waits;

static void wait_for_children(froe_task *task, void *arg) {
    froe *engine = froe_task_engine(task);
    froe_item items[3] = {0};
    froe_spawn given = {.size = sizeof given, .workflow = "child", .parent = task, .items = items, .n = 3};
    froe_run_id children[3];
    froe_spawned spawned;
    froe_result *results = NULL;
    froe_error error = {0};
    int r = froe_spawn_sync(engine, &given, &spawned, children, &error);
    atomic_store(&parent_waits, true);
    if (r == FROE_OK)
        r = froe_wait_sync(engine, task, children, 3, 0, &results, &error);
    atomic_store(&parent_state, results ? (unsigned)results[0].state : 99u);
    froe_results_free(results);
    atomic_store(&parent_code, r == FROE_OK ? 1 : r);
    froe_task_succeed(task);
}

static void add_parent(struct fixture *fx) {
    const froe_workflow parent = {
        .size = sizeof parent, .name = "parent", .run = wait_for_children, .flags = FROE_BLOCKING};
    fixture_workflow(fx, "child", NULL, 0, NULL);
    assert_int_equal(froe_workflow_add(fx->froe, &parent, &fx->error), FROE_OK);
    atomic_store(&parent_code, 0);
    atomic_store(&parent_waits, false);
}

static void test_task_waits_for_children(void **state) {
    FX;
    add_parent(fx);
    fixture_start(fx);
    spawn(fx, "parent", 1);
    UNTIL(fx, atomic_load(&parent_code) != 0);
    assert_int_equal(atomic_load(&parent_code), 1);
    assert_int_equal(atomic_load(&parent_state), FROE_SUCCEEDED);
}

static void test_cancelled_task_waits_no_more(void **state) {
    FX;
    add_parent(fx);
    fx->run = NULL; /* the children never end */
    fixture_start(fx);
    spawn(fx, "parent", 1);
    UNTIL(fx, fx->n_held == 3 && atomic_load(&parent_waits));
    fixture_linger(fx, 50 * US_PER_MS);
    assert_int_equal(atomic_load(&parent_code), 0);
    assert_int_equal(froe_run_cancel(fx->froe, ids[0], nothing, NULL, &fx->error), FROE_OK);
    UNTIL(fx, atomic_load(&parent_code) != 0);
    assert_int_equal(atomic_load(&parent_code), FROE_ERR_STATE);
    assert_int_equal(atomic_load(&parent_state), FROE_RUNNING);
}

/* A parent that is run again spawns the same child keys, is told who has them, and waits for those. */
static froe_run_id gathered[2][3];
static unsigned char gathered_new[2][3];
static _Atomic int gatherings;

static void gather(froe_task *task, void *arg) {
    froe *engine = froe_task_engine(task);
    int which = atomic_load(&gatherings);
    froe_item items[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        items[i].child_key = &"abc"[i];
        items[i].child_key_n = 1;
    }
    const froe_spawn given = {.size = sizeof given,
                              .workflow = "child",
                              .parent = task,
                              .items = items,
                              .n = 3,
                              .ret_created = gathered_new[which]};
    froe_result *results = NULL;
    int r = froe_spawn_sync(engine, &given, NULL, gathered[which], NULL);
    atomic_store(&gatherings, which + 1);
    if (r == FROE_OK)
        r = froe_wait_sync(engine, task, gathered[which], 3, 0, &results, NULL);
    for (size_t i = 0; i < 3 && r == FROE_OK; i++)
        r = results[i].state == FROE_SUCCEEDED ? FROE_OK : FROE_ERR_STATE;
    froe_results_free(results);
    if (r == FROE_OK)
        froe_task_succeed(task);
    else
        froe_task_fail(task, 0, "not all of them");
}

static void add_gatherer(struct fixture *fx) {
    const froe_workflow parent = {.size = sizeof parent, .name = "parent", .run = gather, .flags = FROE_BLOCKING};
    fixture_workflow(fx, "child", NULL, 0, NULL);
    assert_int_equal(froe_workflow_add(fx->froe, &parent, &fx->error), FROE_OK);
    fixture_start(fx);
}

static void test_a_parent_finds_its_children_again(void **state) {
    FX;
    atomic_store(&gatherings, 0);
    fx->run = NULL;
    add_gatherer(fx);
    spawn(fx, "parent", 1);
    UNTIL(fx, fx->n_held == 3 && atomic_load(&gatherings) == 1);
    assert_int_equal(memcmp(gathered_new[0], "\1\1\1", 3), 0);
    for (size_t i = 0; i < 3; i++)
        if (froe_task_id(fx->held[i]).index == 0) { /* a has finished when the others are interrupted */
            froe_task_succeed(fixture_release(fx, i));
            break;
        }
    UNTIL(fx, fixture_group(fx, "child", "").done == 1);
    fixture_close(fx);

    fixture_open(fx);
    add_gatherer(fx);
    UNTIL(fx, fx->n_held == 3 && atomic_load(&gatherings) == 2);
    while (fx->n_held > 0)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "parent", "").done == 1);
    assert_int_equal(memcmp(gathered_new[1], "\1\0\0", 3), 0);
    assert_int_not_equal(gathered[1][0].page, gathered[0][0].page);
    for (size_t i = 1; i < 3; i++) {
        assert_int_equal(gathered[1][i].page, gathered[0][i].page);
        assert_int_equal(gathered[1][i].index, gathered[0][i].index);
    }
    assert_int_equal(fixture_group(fx, "child", "").done, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_results, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_the_store_decides, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_from_here, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries_are_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_wait_for_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_task_waits_for_children, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_task_waits_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_parent_finds_its_children_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
