/* Task functions on threads: FROE_BLOCKING workflows, and tasks that other threads end. */
#include "fixture.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FX struct fixture *fx = *state

/* For other threads than the test's own, where cmocka's assertions do not work. */
#define MUST(condition)                                                             \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

static atomic_size_t inside, most_inside, n_ended, n_cancelled;
static atomic_bool let_go;
static char seen[200];

static int reset(void **state) {
    fixture_setup(state);
    atomic_store(&inside, 0);
    atomic_store(&most_inside, 0);
    atomic_store(&n_ended, 0);
    atomic_store(&n_cancelled, 0);
    atomic_store(&let_go, false);
    return 0;
}

static void come_in(void) {
    size_t n = atomic_fetch_add(&inside, 1) + 1, most = atomic_load(&most_inside);
    while (n > most && !atomic_compare_exchange_weak(&most_inside, &most, n))
        ;
}

static void on_cancel(froe_task *task, void *arg) {
    assert_true(engine_on_loop(froe_task_engine(task)));
    atomic_fetch_add(&n_cancelled, 1);
}

static void add(struct fixture *fx, const char *name, froe_task_fn *run, unsigned flags, const froe_workflow *given) {
    froe_workflow workflow = given ? *given : (froe_workflow){0};
    workflow.size = sizeof workflow;
    workflow.name = name;
    workflow.run = run;
    workflow.cancel = on_cancel;
    workflow.arg = fx;
    workflow.flags = flags;
    if (froe_workflow_add(fx->froe, &workflow, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
}

/* Like UNTIL, for what other threads do. */
#define UNTIL_SOON(fx, met)                            \
    do {                                               \
        for (int i_ = 0; i_ < 4000 && !(met); i_++)    \
            fixture_linger(fx, 5 * US_PER_MS);         \
        if (!(met))                                    \
            fail_msg("not within the time: %s", #met); \
    } while (0)

/* ---- FROE_BLOCKING ---- */

static void block(froe_task *task, void *arg) {
    MUST(!engine_on_loop(froe_task_engine(task)));
    come_in();
    usleep(3000);
    MUST(froe_task_holds_lease(task));
    MUST(froe_task_cancelled(task) == FROE_NOT_CANCELLED);
    MUST(strstr(froe_task_run_id(task), ":"));
    atomic_fetch_sub(&inside, 1);
    atomic_fetch_add(&n_ended, 1);
    froe_task_succeed(task);
}

static void test_as_many_as_slots(void **state) {
    FX;
    add(fx, "w", block, FROE_BLOCKING, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 100);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").done == 100);
    assert_int_equal(atomic_load(&n_ended), 100);
    assert_int_equal(atomic_load(&most_inside), 8);
}

static void look_at_all(froe_task *task, void *arg) {
    char name[16] = "";
    sigset_t blocked;
    pthread_getname_np(pthread_self(), name, sizeof name);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    MUST(strcmp(name, "froe-task") == 0);
    MUST(sigismember(&blocked, SIGTERM));
    MUST(!sigismember(&blocked, SIGSEGV));
    size_t n;
    const char *checkpoint = froe_task_checkpoint(task, &n);
    if (froe_task_attempt(task) == 1) {
        MUST(!checkpoint);
        froe_task_log(task, FROE_INFO, "first %d", 1);
        MUST(froe_task_set_checkpoint(task, "half", 4) == FROE_OK);
        froe_task_fail(task, 0, "not yet");
        return;
    }
    const char *key = froe_task_child_key(task, NULL);
    snprintf(seen, sizeof seen, "%s %.*s %.*s %s", froe_task_input(task), (int)n, checkpoint, 7, key,
             froe_task_metadata(task));
    froe_task_succeed(task);
}

static void test_what_a_thread_may_do(void **state) {
    FX;
    froe_workflow given = {.retries = 2, .backoff_us = 10 * US_PER_MS};
    add(fx, "w", look_at_all, FROE_BLOCKING, &given);
    fixture_spawn_keys(fx, "w", "{\"a\":1}", "k", 0, 1);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    assert_string_equal(seen, "{\"a\":1} half k000000 {}");
    assert_int_equal(fixture_told(fx, FROE_EVENT_RETRY), 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_LOG)->text, "first 1");
}

static void forget_to_end(froe_task *task, void *arg) {
}

static void test_one_that_forgets_to_end(void **state) {
    FX;
    add(fx, "w", forget_to_end, FROE_BLOCKING, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 3);
    fixture_start(fx);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 3);
    assert_non_null(strstr(fixture_last(fx, FROE_EVENT_PARKED)->text, "without ending"));
}

static void wait_for_cancel(froe_task *task, void *arg) {
    come_in();
    while (froe_task_cancelled(task) == FROE_NOT_CANCELLED)
        usleep(1000);
    froe_task_fail(task, 0, "as told");
}

static void test_a_timeout_reaches_a_thread(void **state) {
    FX;
    froe_workflow given = {.timeout_us = 30 * US_PER_MS};
    add(fx, "w", wait_for_cancel, FROE_BLOCKING, &given);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1);
    fixture_start(fx);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_PARKED)->text, "timed out after 30ms");
    assert_int_equal(atomic_load(&n_cancelled), 1);
}

static void test_stopping_while_threads_work(void **state) {
    FX;
    add(fx, "w", wait_for_cancel, FROE_BLOCKING, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 20);
    fixture_start(fx);
    UNTIL_SOON(fx, atomic_load(&most_inside) == 8);
    fixture_stop(fx, FROE_STOP_NOW);
    assert_int_equal(fixture_group(fx, "w", "").live, 20);
    assert_int_equal(fixture_group(fx, "w", "").failed, 0);
}

/* ---- spawning, from a thread ---- */

static void fan_out(froe_task *task, void *arg) {
    froe *engine = froe_task_engine(task);
    froe_item items[50] = {0};
    char keys[50][12];
    for (size_t i = 0; i < 50; i++) {
        items[i].child_key = keys[i];
        items[i].child_key_n = (size_t)snprintf(keys[i], sizeof keys[i], "c%02zu", i);
    }
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "child", .parent = task, .items = items, .n = 50};
    froe_spawned spawned;
    froe_run_id runs[50];
    froe_error error;
    if (froe_spawn_sync(engine, &spawn, &spawned, runs, &error) != FROE_OK) {
        froe_task_fail(task, 0, error.text);
        return;
    }
    MUST(spawned.created == 50);
    MUST(spawned.runs == runs);
    MUST(spawned.n == 50);
    for (size_t i = 0; i < 50; i++)
        MUST(runs[i].page > 0);
    froe_group group;
    froe_group_get(engine, "child", "", &group);
    MUST(group.live + group.done >= 50);
    froe_task_succeed(task);
}

static void test_spawning_from_threads(void **state) {
    FX;
    add(fx, "w", fan_out, FROE_BLOCKING, NULL);
    add(fx, "child", block, FROE_BLOCKING, NULL);
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .n = 1};
    fixture_spawn(fx, &spawn);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "child", "").done == 50 && fixture_group(fx, "w", "").done == 1);
    assert_int_equal(fixture_told(fx, FROE_EVENT_PARKED), 0);
}

/* ---- ended by others ---- */

struct ender {
    pthread_mutex_t mutex;
    froe_task *tasks[1000];
    size_t n;
    bool over;
};
static struct ender ender = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void hand_over(froe_task *task, void *arg) {
    pthread_mutex_lock(&ender.mutex);
    ender.tasks[ender.n++] = task;
    pthread_mutex_unlock(&ender.mutex);
}

static void *end_them(void *arg) {
    for (bool over = false; !over;) {
        froe_task *task = NULL;
        pthread_mutex_lock(&ender.mutex);
        if (ender.n > 0)
            task = ender.tasks[--ender.n];
        over = ender.over && !task;
        pthread_mutex_unlock(&ender.mutex);
        if (!task) {
            usleep(200);
            continue;
        }
        char text[20];
        snprintf(text, sizeof text, "{\"n\":%u}", (unsigned)froe_task_id(task).index);
        froe_task_log(task, FROE_DEBUG, "ends with %s", text);
        MUST(froe_task_succeed_with(task, "{") == FROE_ERR_INVALID); /* it is not ended */
        MUST(froe_task_succeed_with(task, text) == FROE_OK);
    }
    return NULL;
}

static void test_other_threads_end_tasks(void **state) {
    FX;
    add(fx, "w", hand_over, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1000);
    pthread_t threads[3];
    ender.over = false;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, end_them, NULL), 0);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").done == 1000);
    pthread_mutex_lock(&ender.mutex);
    ender.over = true;
    pthread_mutex_unlock(&ender.mutex);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

/* ---- those that do not end ---- */

static void hang(froe_task *task, void *arg) {
    char input[40];
    snprintf(input, sizeof input, "%s", froe_task_input(task));
    come_in();
    while (!atomic_load(&let_go))
        usleep(1000);
    /* All that it borrowed is still there, whatever became of the engine. */
    MUST(strcmp(froe_task_input(task), input) == 0);
    MUST(strcmp(froe_task_group(task), "") == 0);
    MUST(!froe_task_holds_lease(task));
    froe_task_log(task, FROE_INFO, "late");
    froe_task_set_checkpoint(task, "late", 4);
    atomic_fetch_add(&n_ended, 1);
    froe_task_succeed(task);
}

static int reset_short_grace(void **state) {
    fixture_setup_closed(state);
    struct fixture *fx = *state;
    fx->options.cancel_grace_us = 50 * US_PER_MS;
    fx->options.slots = 2;
    fixture_open(fx);
    atomic_store(&most_inside, 0);
    atomic_store(&inside, 0);
    atomic_store(&n_ended, 0);
    atomic_store(&let_go, false);
    return 0;
}

static void test_a_hanging_thread_keeps_its_slot(void **state) {
    FX;
    froe_workflow given = {.timeout_us = 30 * US_PER_MS};
    add(fx, "hangs", hang, FROE_BLOCKING, &given);
    add(fx, "w", block, FROE_BLOCKING, NULL);
    fixture_spawn_keys(fx, "hangs", "{\"x\":1}", "h", 0, 1);
    fixture_start(fx);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_ABANDONED) == 1);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_PARKED)->text,
                        "timed out after 30ms, and did not end when it was told to");
    atomic_store(&inside, 0);
    atomic_store(&most_inside, 0);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 20);
    UNTIL(fx, fixture_group(fx, "w", "").done == 20);
    assert_int_equal(atomic_load(&most_inside), 1); /* of two slots */
    atomic_store(&let_go, true);
    UNTIL(fx, fx->froe->n_hanging == 0);
    assert_int_equal(fixture_group(fx, "hangs", "").done, 0); /* what it said late is not heard */
    assert_int_equal(fixture_group(fx, "hangs", "").parked, 1);
    fixture_spawn_keys(fx, "w", NULL, "l", 0, 20);
    UNTIL(fx, fixture_group(fx, "w", "").done == 40);
    assert_int_equal(atomic_load(&most_inside), 2);
}

static void test_closing_leaves_a_hanging_thread(void **state) {
    FX;
    add(fx, "w", hang, FROE_BLOCKING, NULL);
    fixture_spawn_keys(fx, "w", "{\"x\":1}", "h", 0, 2);
    fixture_start(fx);
    UNTIL_SOON(fx, atomic_load(&most_inside) == 2);
    fixture_stop(fx, FROE_STOP_NOW);
    assert_int_equal(fixture_told(fx, FROE_EVENT_ABANDONED), 2);
    fixture_close(fx);
    /* The next engine gets the runs. */
    fixture_open(fx);
    add(fx, "w", block, FROE_BLOCKING, NULL);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").done == 2);
    atomic_store(&let_go, true);
    for (int i = 0; i < 2000 && atomic_load(&n_ended) < 4; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&n_ended), 4);
    usleep(20000); /* the memory of the first engine is freed by the last of them: leak checkers see */
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, reset, fixture_teardown)
#define T_GRACE(name) cmocka_unit_test_setup_teardown(name, reset_short_grace, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_as_many_as_slots),
        T(test_what_a_thread_may_do),
        T(test_one_that_forgets_to_end),
        T(test_a_timeout_reaches_a_thread),
        T(test_stopping_while_threads_work),
        T(test_spawning_from_threads),
        T(test_other_threads_end_tasks),
        T_GRACE(test_a_hanging_thread_keeps_its_slot),
        T_GRACE(test_closing_leaves_a_hanging_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
