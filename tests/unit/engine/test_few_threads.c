/* FROE_BLOCKING tasks while the system gives fewer threads than there are slots. Linked so that the engine's
 * thread_start is the one here. */
#include "fixture.h"

#include "thread.h"

#include <string.h>
#include <unistd.h>

#define FX struct fixture *fx = *state

int __real_thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg);
int __wrap_thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg);

static int threads_left;

int __wrap_thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg) {
    if (threads_left == 0)
        return -EAGAIN;
    threads_left--;
    return __real_thread_start(ret_thread, run, arg);
}

static int setup(void **state) {
    threads_left = 1; /* the store's */
    return fixture_setup(state);
}

static void add(struct fixture *fx, const char *name, froe_task_fn *run, uint32_t retries) {
    const froe_workflow workflow = {.size = sizeof workflow,
                                    .name = name,
                                    .run = run,
                                    .flags = FROE_BLOCKING | FROE_NEVER_PARK,
                                    .backoff_us = 1,
                                    .retries = retries};
    if (froe_workflow_add(fx->froe, &workflow, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
}

static size_t warnings(const struct fixture *fx) {
    size_t n = 0;
    for (size_t i = 0; i < fx->n_told; i++)
        n += fx->told[i].kind == FROE_EVENT_LOG && fx->told[i].level == FROE_WARN &&
             strstr(fx->told[i].text, "no thread can be started");
    return n;
}

static void nap(froe_task *task, void *arg) {
    usleep(3000);
    froe_task_succeed(task);
}

static void test_few_do_it_all(void **state) {
    FX;
    add(fx, "w", nap, 0);
    threads_left = 2;
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 50);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").done == 50);
    assert_int_equal(fx->froe->pool.n_threads, 2);
    assert_int_equal(warnings(fx), 1);
    fixture_move(fx, 10 * US_PER_S); /* nobody waits for a thread any more: nothing is tried */
    threads_left = 5;
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(threads_left, 5);
}

static void test_none_for_now(void **state) {
    FX;
    add(fx, "w", nap, 0);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 3);
    fixture_start(fx);
    UNTIL(fx, warnings(fx) == 1);
    fixture_move(fx, 2 * US_PER_S);
    fixture_linger(fx, 50 * US_PER_MS);
    assert_int_equal(fixture_group(fx, "w", "").done, 0);
    assert_int_equal(warnings(fx), 1);
    threads_left = 8;
    fixture_move(fx, 2 * US_PER_S);
    UNTIL(fx, fixture_group(fx, "w", "").done == 3);
    assert_int_equal(fixture_group(fx, "w", "").failed, 0);
}

/* ---- all threads wait ---- */

static atomic_bool parent_waits;
static _Atomic froe_state child_state;
static char child_error[200];

static void wait_for_child(froe_task *task, void *arg) {
    froe *engine = froe_task_engine(task);
    const froe_spawn given = {.size = sizeof given, .workflow = "child", .parent = task, .n = 1};
    froe_run_id child;
    froe_result *results = NULL;
    int r = froe_spawn_sync(engine, &given, NULL, &child, NULL);
    atomic_store(&parent_waits, true);
    if (r == FROE_OK)
        r = froe_wait_sync(engine, task, &child, 1, 0, &results, NULL);
    if (r == FROE_OK) {
        snprintf(child_error, sizeof child_error, "%s", results[0].error ? results[0].error : "");
        atomic_store(&child_state, results[0].state);
    }
    froe_results_free(results);
    froe_task_succeed(task);
}

static void start_parent(struct fixture *fx, uint32_t child_retries) {
    add(fx, "parent", wait_for_child, 0);
    add(fx, "child", nap, child_retries);
    atomic_store(&parent_waits, false);
    atomic_store(&child_state, 0);
    threads_left = 1;
    fixture_spawn_keys(fx, "parent", NULL, "k", 0, 1);
    fixture_start(fx);
    UNTIL(fx, atomic_load(&parent_waits) && warnings(fx) == 1);
}

/* The clock goes on by seconds, and between them what is waited for can happen. */
static void seconds_until(struct fixture *fx, const struct group *group, uint64_t done) {
    for (int i = 0; i < 600 && group->done < done; i++) {
        fixture_move(fx, US_PER_S);
        fixture_linger(fx, 20 * US_PER_MS);
    }
    assert_int_equal(group->done, done);
}

static struct group *group_of(struct fixture *fx, const char *workflow) {
    return group_get(workflow_find(fx->froe, workflow), BYTES_NONE, true);
}

static void test_a_child_does_not_wait_for_ever(void **state) {
    FX;
    start_parent(fx, 1);
    seconds_until(fx, group_of(fx, "parent"), 1);
    assert_int_equal(atomic_load(&child_state), FROE_FAILED);
    assert_non_null(strstr(child_error, "no thread can be started"));
    assert_int_equal(group_of(fx, "child")->failed, 2); /* both attempts */
    assert_int_equal(fixture_told(fx, FROE_EVENT_RETRY), 1);
}

static void test_a_child_gets_its_thread_later(void **state) {
    FX;
    start_parent(fx, 0);
    fixture_move(fx, US_PER_S); /* once is not for ever */
    fixture_linger(fx, 20 * US_PER_MS);
    threads_left = 1;
    seconds_until(fx, group_of(fx, "parent"), 1);
    assert_int_equal(atomic_load(&child_state), FROE_SUCCEEDED);
    assert_int_equal(group_of(fx, "child")->failed, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_few_do_it_all),
        T(test_none_for_now),
        T(test_a_child_does_not_wait_for_ever),
        T(test_a_child_gets_its_thread_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
