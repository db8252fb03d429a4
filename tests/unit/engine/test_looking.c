/* Workflows, workers and groups as the store knows them; pausing a workflow. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

#define FX struct fixture *fx = *state

static const froe_rule rules[] = {{"input.g", 2, FROE_GROUP_ROUND_ROBIN, 0}, {"input.h", 0, FROE_GROUP_ROUND_ROBIN, 0}};

/* ---- lists ---- */

static froe_workflow_info workflows[4];
static char workflow_names[4][40];
static froe_worker_info workers[4];
static char worker_names[4][80];
static froe_group_info groups[8];
static char group_names[8][40];
static size_t n_told;

static void note_workflow(void *arg, const froe_workflow_info *workflow) {
    snprintf(workflow_names[n_told], 40, "%s", workflow->name);
    workflows[n_told++] = *workflow;
}

static void note_worker(void *arg, const froe_worker_info *worker) {
    snprintf(worker_names[n_told], 80, "%s", worker->name);
    workers[n_told++] = *worker;
}

static void note_group(void *arg, const froe_group_info *group) {
    snprintf(group_names[n_told], 40, "%s/%s", group->workflow, group->group);
    groups[n_told++] = *group;
}

#define LIST(call)                           \
    do {                                     \
        size_t before_ = fx->done_calls;     \
        n_told = 0;                          \
        assert_int_equal((call), FROE_OK);   \
        UNTIL(fx, fx->done_calls > before_); \
        assert_int_equal(fx->count, n_told); \
    } while (0)

static void list_workflows(struct fixture *fx) {
    LIST(froe_workflows_list(fx->froe, note_workflow, fixture_counted, fx, &fx->error));
}

static void list_workers(struct fixture *fx) {
    LIST(froe_workers_list(fx->froe, note_worker, fixture_counted, fx, &fx->error));
}

static void list_groups(struct fixture *fx, const char *workflow) {
    LIST(froe_groups_list(fx->froe, workflow, note_group, fixture_counted, fx, &fx->error));
}

static const froe_group_info *group(const char *name) {
    for (size_t i = 0; i < n_told; i++)
        if (strcmp(group_names[i], name) == 0)
            return &groups[i];
    fail_msg("no group %s", name);
    return NULL;
}

static const froe_workflow_info *workflow(const char *name) {
    for (size_t i = 0; i < n_told; i++)
        if (strcmp(workflow_names[i], name) == 0)
            return &workflows[i];
    fail_msg("no workflow %s", name);
    return NULL;
}

static void test_lists(void **state) {
    FX;
    const froe_workflow no_retry = {.retries = 0};
    fx->run = NULL;
    fixture_workflow(fx, "w", rules, 2, &no_retry);
    fixture_workflow(fx, "v", NULL, 0, &no_retry);
    assert_non_null(strstr(froe_store_describe(fx->froe), "SQLite"));
    assert_non_null(strstr(froe_store_describe(fx->froe), fx->dir));
    list_workers(fx);
    assert_int_equal(n_told, 0);
    list_groups(fx, NULL);
    assert_int_equal(n_told, 0);
    /* Two lanes of one group. */
    fixture_spawn_keys(fx, "w", "{\"g\":\"a\",\"h\":\"1\"}", "k", 0, 5);
    fixture_spawn_keys(fx, "w", "{\"g\":\"a\",\"h\":\"2\"}", "l", 0, 4);
    fixture_spawn_keys(fx, "w", "{\"g\":\"b\",\"h\":\"1\"}", "m", 0, 3);
    list_groups(fx, NULL);
    assert_int_equal(n_told, 2);
    assert_int_equal(group("w/a")->backlog, 9);
    assert_int_equal(group("w/a")->admitted, 0);
    assert_int_equal(group("w/a")->limit, 2);
    assert_int_equal(group("w/b")->backlog, 3);
    list_workflows(fx);
    assert_int_equal(n_told, 2);
    assert_int_equal(workflow("w")->queued, 12);
    assert_int_equal(workflow("w")->n_rules, 2);
    assert_int_equal(workflow("v")->queued, 0);
    assert_false(workflow("w")->paused);

    fixture_start(fx);
    UNTIL(fx, fx->n_held == 4);
    list_groups(fx, "w");
    assert_int_equal(group("w/a")->admitted, 2);
    assert_true(group("w/a")->leased >= 2);
    assert_int_equal(group("w/a")->backlog + group("w/a")->leased, 9);
    assert_int_equal(group("w/b")->admitted, 2);
    assert_true(group("w/a")->last_granted_utc_us >= T0_UTC_US);
    list_groups(fx, "v");
    assert_int_equal(n_told, 0);
    list_workers(fx);
    assert_int_equal(n_told, 1);
    assert_true(workers[0].self);
    assert_int_equal(workers[0].slots, 8);
    assert_true(workers[0].leased >= 4);
    assert_true(workers[0].since_utc_us >= T0_UTC_US && workers[0].expires_utc_us > workers[0].heard_utc_us);
    assert_true(worker_names[0][0] != '\0');

    fx->run = run_succeed;
    froe_task_fail(fixture_release(fx, 0), 0, "broke");
    while (fx->n_held > 0)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "a").live + fixture_group(fx, "w", "b").live == 0);
    list_workflows(fx);
    assert_int_equal(workflow("w")->done, 11);
    assert_int_equal(workflow("w")->failed, 1);
    assert_int_equal(workflow("w")->parked, 1);
    list_groups(fx, "w");
    assert_int_equal(group("w/a")->done + group("w/b")->done, 11);
    assert_int_equal(group("w/a")->admitted + group("w/b")->admitted, 0);
    fixture_stop(fx, FROE_STOP_FINISH);
    list_workers(fx);
    assert_int_equal(n_told, 0);
    assert_int_equal(froe_workers_list(fx->froe, NULL, fixture_counted, fx, &fx->error), FROE_ERR_INVALID);
}

/* ---- pausing ---- */

static void note_paused(void *arg, const froe_error *error) {
    struct fixture *fx = arg;
    fx->error = error ? *error : (froe_error){0};
    fx->done_calls++;
}

static int pause_workflow(struct fixture *fx, const char *name, int paused) {
    size_t before = fx->done_calls;
    int r = froe_workflow_pause(fx->froe, name, paused, note_paused, fx, &fx->error);
    if (r != FROE_OK)
        return r;
    UNTIL(fx, fx->done_calls > before);
    return fx->error.code;
}

static void test_pause(void **state) {
    FX;
    fx->run = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_workflow(fx, "v", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 100);
    UNTIL(fx, fx->n_held == 8); /* the others may be leased already */
    assert_int_equal(pause_workflow(fx, "w", 1), 0);
    size_t before = fx->n_ran;
    while (fx->n_held > 0)
        froe_task_succeed(fixture_release(fx, 0)); /* what runs goes on */
    fixture_spawn_keys(fx, "w", NULL, "l", 0, 10); /* may be added */
    fx->run = run_succeed;
    fixture_spawn_keys(fx, "v", NULL, "v", 0, 5); /* others are not concerned */
    UNTIL(fx, fixture_group(fx, "v", "").done == 5);
    fixture_linger(fx, 200 * US_PER_MS);
    assert_int_equal(fx->n_ran, before + 5);
    assert_int_equal(fixture_group(fx, "w", "").live, 102);
    list_workflows(fx);
    assert_true(workflow("w")->paused);
    assert_int_equal(workflow("w")->queued, 102);

    fixture_close(fx); /* durable */
    fixture_open(fx);
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_linger(fx, 200 * US_PER_MS);
    assert_int_equal(fx->n_ran, before + 5);
    assert_int_equal(pause_workflow(fx, "w", 0), 0);
    UNTIL(fx, fixture_group(fx, "w", "").done == 110);

    assert_int_equal(pause_workflow(fx, "nope", 1), FROE_ERR_NOT_FOUND);
    assert_non_null(strstr(fx->error.text, "nope"));
    assert_int_equal(pause_workflow(fx, NULL, 1), FROE_ERR_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lists, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_pause, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
