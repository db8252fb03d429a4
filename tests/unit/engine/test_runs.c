/* Looking at runs: lists and their filters, one run with its attempts, log lines; and cancelling, retrying, replaying
 * them. */
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state
#define MANY 12000 /* more than a list is read in one piece */

static const froe_rule per_group[] = {{"input.g", 100, FROE_GROUP_ROUND_ROBIN, 0}};

/* ---- spawning, with ids ---- */

static froe_run_id ids[MANY];
static size_t n_ids;

static void note_ids(void *arg, const froe_spawned *spawned, const froe_error *error) {
    struct fixture *fx = arg;
    assert_null(error);
    assert_true(spawned->n <= MANY);
    memcpy(ids, spawned->runs, spawned->n * sizeof *ids);
    n_ids = spawned->n;
    fx->spawns_done++;
}

static void spawn(struct fixture *fx, const froe_spawn *given) {
    size_t before = fx->spawns_done;
    if (froe_spawn_many(fx->froe, given, note_ids, fx, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    UNTIL(fx, fx->spawns_done > before);
}

static froe_run_id spawn_one(struct fixture *fx, const char *workflow, const char *key, const char *input,
                             const char *metadata) {
    froe_item item = {.child_key = key, .child_key_n = key ? strlen(key) : 0};
    spawn(fx, &(froe_spawn){.size = sizeof(froe_spawn),
                            .workflow = workflow,
                            .input = input,
                            .metadata = metadata,
                            .items = &item,
                            .n = 1});
    return ids[0];
}

/* ---- lists ---- */

struct kept {
    froe_run_id id;
    froe_state state;
    int cancel_asked;
    char key[40], group[40], worker[80], error[80], result[80], input[80], metadata[80], generation[40];
    uint32_t attempts;
    unsigned priority;
    froe_run_id parent;
    int64_t created, due, ended, duration;
};

static struct kept listed[MANY];
static size_t n_listed;

static void copy(char *to, size_t size, const void *p, size_t n) {
    snprintf(to, size, "%.*s", (int)n, p ? (const char *)p : "");
}

static struct kept keep(const froe_run *run) {
    struct kept kept = {.id = run->id,
                        .state = run->state,
                        .cancel_asked = run->cancel_asked,
                        .attempts = run->attempts,
                        .priority = run->priority,
                        .parent = run->parent,
                        .created = run->created_utc_us,
                        .due = run->due_utc_us,
                        .ended = run->ended_utc_us,
                        .duration = run->duration_us};
    char id[FROE_RUN_ID_MAX];
    froe_run_id_text(run->id, id);
    assert_string_equal(id, run->run_id);
    copy(kept.key, sizeof kept.key, run->child_key, run->child_key_n);
    copy(kept.generation, sizeof kept.generation, run->generation, run->generation_n);
    snprintf(kept.group, sizeof kept.group, "%s", run->group);
    snprintf(kept.input, sizeof kept.input, "%s", run->input);
    snprintf(kept.metadata, sizeof kept.metadata, "%s", run->metadata);
    snprintf(kept.worker, sizeof kept.worker, "%s", run->worker ? run->worker : "-");
    snprintf(kept.error, sizeof kept.error, "%s", run->error ? run->error : "-");
    snprintf(kept.result, sizeof kept.result, "%s", run->result ? run->result : "-");
    return kept;
}

static void note_listed(void *arg, const froe_run *run) {
    assert_true(n_listed < MANY);
    listed[n_listed++] = keep(run);
}

static uint64_t list(struct fixture *fx, froe_runs_filter filter) {
    filter.size = sizeof filter;
    size_t before = fx->done_calls;
    n_listed = 0;
    if (froe_runs_list(fx->froe, &filter, note_listed, fixture_counted, fx, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    UNTIL(fx, fx->done_calls > before);
    assert_int_equal(fx->count, n_listed);
    for (size_t i = 1; i < n_listed; i++) /* the newest first */
        assert_true(listed[i].id.page < listed[i - 1].id.page ||
                    (listed[i].id.page == listed[i - 1].id.page && listed[i].id.index < listed[i - 1].id.index));
    return n_listed;
}

static void test_list(void **state) {
    FX;
    fixture_workflow(fx, "w", per_group, 1, NULL);
    fixture_workflow(fx, "v", NULL, 0, NULL);
    assert_int_equal(list(fx, (froe_runs_filter){0}), 0);
    fixture_spawn_keys(fx, "w", "{\"g\":\"a\"}", "k", 0, 3);
    fixture_spawn_keys(fx, "w", "{\"g\":\"b\"}", "l", 0, 2);
    spawn(fx,
          &(froe_spawn){.size = sizeof(froe_spawn), .workflow = "v", .n = 1, .delay_us = US_PER_HOUR, .priority = 3});
    assert_int_equal(list(fx, (froe_runs_filter){0}), 6);
    assert_int_equal(listed[0].state, FROE_WAITING);
    assert_int_equal(listed[0].priority, 3);
    assert_true(listed[0].due >= T0_UTC_US + US_PER_HOUR);
    assert_string_equal(listed[0].worker, "-");
    for (size_t i = 1; i < 6; i++)
        assert_int_equal(listed[i].state, FROE_QUEUED);
    assert_string_equal(listed[5].key, "k000000");
    assert_string_equal(listed[5].input, "{\"g\":\"a\"}");
    assert_string_equal(listed[5].metadata, "{}");
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "a").done + fixture_group(fx, "w", "b").done == 5);

    assert_int_equal(list(fx, (froe_runs_filter){.workflow = "w"}), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(listed[i].state, FROE_SUCCEEDED);
        assert_int_equal(listed[i].attempts, 1);
        assert_string_not_equal(listed[i].worker, "-");
        assert_true(listed[i].created >= T0_UTC_US && listed[i].ended >= listed[i].created);
        assert_true(listed[i].duration >= 0 && listed[i].duration < US_PER_MIN);
        assert_string_equal(listed[i].input, i < 2 ? "{\"g\":\"b\"}" : "{\"g\":\"a\"}");
    }
    assert_int_equal(list(fx, (froe_runs_filter){.group = "b"}), 2);
    assert_int_equal(list(fx, (froe_runs_filter){.workflow = "v", .group = "b"}), 0);
    assert_int_equal(list(fx, (froe_runs_filter){.workflow = "nope"}), 0);
    assert_int_equal(list(fx, (froe_runs_filter){.child_key = "k000001", .child_key_n = 7}), 1);
    assert_string_equal(listed[0].key, "k000001");
    assert_int_equal(list(fx, (froe_runs_filter){.child_key = "k00000", .child_key_n = 6}), 0);
    assert_int_equal(list(fx, (froe_runs_filter){.states = 1u << FROE_WAITING}), 1);
    assert_int_equal(list(fx, (froe_runs_filter){.states = 1u << FROE_SUCCEEDED | 1u << FROE_WAITING}), 6);
    assert_int_equal(list(fx, (froe_runs_filter){.states = 1u << FROE_RUNNING}), 0);

    /* In parts. */
    assert_int_equal(list(fx, (froe_runs_filter){.limit = 2}), 2);
    froe_run_id last = listed[1].id;
    assert_int_equal(list(fx, (froe_runs_filter){.before = last}), 4);
    assert_int_equal(list(fx, (froe_runs_filter){.before = last, .limit = 3, .states = 1u << FROE_SUCCEEDED}), 3);
    assert_int_equal(list(fx, (froe_runs_filter){.before = listed[2].id}), 1);
    assert_int_equal(list(fx, (froe_runs_filter){.before = listed[0].id}), 0);
}

static void test_since_and_until(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "old", 0, 2);
    UNTIL(fx, fixture_group(fx, "w", "").done == 2);
    fixture_move(fx, US_PER_HOUR);
    int64_t between = T0_UTC_US + US_PER_HOUR / 2;
    fixture_spawn_keys(fx, "w", NULL, "new", 0, 3);
    UNTIL(fx, fixture_group(fx, "w", "").done == 5);
    assert_int_equal(list(fx, (froe_runs_filter){.since_utc_us = between}), 3);
    assert_int_equal(list(fx, (froe_runs_filter){.until_utc_us = between}), 2);
    assert_int_equal(list(fx, (froe_runs_filter){.since_utc_us = between, .until_utc_us = between + 1}), 0);
    assert_int_equal(list(fx, (froe_runs_filter){.since_utc_us = between, .until_utc_us = between + US_PER_HOUR}), 3);
}

/* A list that is read in many pieces: of what its metadata leaves out, too. */
static void test_long_lists(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    spawn_one(fx, "w", "x1", NULL, "{\"tenant\":\"blue\",\"n\":1}");
    spawn_one(fx, "w", "x2", NULL, "{\"tenant\":{\"blue\":\"blue\"}}");
    spawn_one(fx, "w", "x3", NULL, "{\"other\":\"blue\"}");
    spawn_one(fx, "w", "x4", NULL, "{\"t\\u0065nant\":\"bl\\u0075e\"}"); /* the same text */
    fixture_spawn_keys(fx, "w", NULL, "k", 0, MANY - 4);
    assert_int_equal(list(fx, (froe_runs_filter){.metadata_name = "tenant", .metadata_value = "blue"}), 2);
    assert_string_equal(listed[0].key, "x4");
    assert_string_equal(listed[1].key, "x1");
    assert_int_equal(list(fx, (froe_runs_filter){.metadata_name = "n", .metadata_value = "1"}), 0); /* no string */
    assert_int_equal(list(fx, (froe_runs_filter){.metadata_name = "other", .metadata_value = "blue", .limit = 1}), 1);
    assert_int_equal(list(fx, (froe_runs_filter){0}), 1000);
    assert_int_equal(list(fx, (froe_runs_filter){.limit = 7001}), 7001);
    assert_int_equal(list(fx, (froe_runs_filter){.limit = UINT32_MAX}), 10000);
    assert_int_equal(list(fx, (froe_runs_filter){.before = listed[9999].id, .limit = 10000}), 2000);
}

static void test_bad_filters(void **state) {
    FX;
    char long_name[FROE_NAME_MAX + 2];
    memset(long_name, 'x', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    const froe_runs_filter bad[] = {
        {.size = 1},
        {.size = sizeof bad[0], .states = 1u << FROE_UNKNOWN},
        {.size = sizeof bad[0], .states = 2u << FROE_CANCELLED},
        {.size = sizeof bad[0], .metadata_name = "a"},
        {.size = sizeof bad[0], .metadata_name = "", .metadata_value = "b"},
        {.size = sizeof bad[0], .workflow = long_name},
        {.size = sizeof bad[0], .since_utc_us = -1},
        {.size = sizeof bad[0], .before = {.page = -4}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(froe_runs_list(fx->froe, &bad[i], note_listed, fixture_counted, fx, &fx->error),
                         FROE_ERR_INVALID);
    assert_int_equal(froe_runs_list(fx->froe, NULL, NULL, fixture_counted, fx, &fx->error), FROE_ERR_INVALID);
    assert_int_equal(froe_runs_list(fx->froe, NULL, note_listed, NULL, NULL, &fx->error), FROE_OK); /* no `done` */
}

/* ---- one run ---- */

static struct kept got;
static froe_attempt attempts[10];
static char attempt_errors[10][40], attempt_results[10][40], attempt_workers[10][80];
static size_t n_attempts;

static void note_got(void *arg, const froe_run *run, const froe_attempt *told, size_t n, const froe_error *error) {
    struct fixture *fx = arg;
    fx->done_calls++;
    fx->error = error ? *error : (froe_error){0};
    assert_true(!run == (error != NULL));
    n_attempts = n;
    if (!run)
        return;
    got = keep(run);
    for (size_t i = 0; i < n; i++) {
        attempts[i] = told[i];
        snprintf(attempt_errors[i], 40, "%s", told[i].error ? told[i].error : "-");
        snprintf(attempt_results[i], 40, "%s", told[i].result ? told[i].result : "-");
        snprintf(attempt_workers[i], 80, "%s", told[i].worker ? told[i].worker : "-");
    }
}

static int get(struct fixture *fx, froe_run_id id) {
    size_t before = fx->done_calls;
    if (froe_run_get(fx->froe, id, note_got, fx, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    UNTIL(fx, fx->done_calls > before);
    return fx->error.code;
}

static void run_fail_once(struct fixture *fx, froe_task *task) {
    froe_task_log(task, FROE_WARN, "attempt %u", froe_task_attempt(task));
    if (froe_task_attempt(task) == 1)
        froe_task_fail(task, 0, "it broke");
    else
        assert_int_equal(froe_task_succeed_with(task, "{\"answer\":42}"), FROE_OK);
}

static char lines[20][60];
static size_t n_lines;

static void note_line(void *arg, const froe_log_line *line) {
    char id[FROE_RUN_ID_MAX];
    froe_run_id_text(line->id, id);
    assert_true(line->utc_us >= T0_UTC_US);
    snprintf(lines[n_lines++], sizeof lines[0], "%s %d %s", id, (int)line->level, line->text);
}

static uint64_t logs(struct fixture *fx, froe_run_id id) {
    size_t before = fx->done_calls;
    n_lines = 0;
    if (froe_run_logs(fx->froe, id, note_line, fixture_counted, fx, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    UNTIL(fx, fx->done_calls > before);
    assert_int_equal(fx->count, n_lines);
    return fx->count;
}

static void test_get(void **state) {
    FX;
    const froe_workflow two = {.retries = 2, .backoff_us = 10 * US_PER_S};
    fx->run = run_fail_once;
    fixture_workflow(fx, "w", NULL, 0, &two);
    fixture_start(fx);
    froe_run_id id = spawn_one(fx, "w", "key", "{\"a\":1}", "{\"b\":2}");
    UNTIL(fx, fixture_told(fx, FROE_EVENT_RETRY) == 1);
    assert_int_equal(get(fx, id), 0);
    assert_int_equal(got.state, FROE_WAITING);
    assert_int_equal(got.attempts, 1);
    assert_string_equal(got.error, "it broke");
    assert_true(got.due > T0_UTC_US);
    assert_int_equal(n_attempts, 1);
    fixture_move(fx, US_PER_MIN);
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    assert_int_equal(get(fx, id), 0);
    assert_int_equal(got.state, FROE_SUCCEEDED);
    assert_int_equal(got.attempts, 2);
    assert_string_equal(got.result, "{\"answer\":42}");
    assert_string_equal(got.input, "{\"a\":1}");
    assert_string_equal(got.metadata, "{\"b\":2}");
    assert_int_equal(n_attempts, 2);
    assert_int_equal(attempts[0].attempt, 1);
    assert_int_equal(attempts[0].state, FROE_WAITING);
    assert_string_equal(attempt_errors[0], "it broke");
    assert_string_not_equal(attempt_workers[0], "-");
    assert_int_equal(attempts[1].attempt, 2);
    assert_int_equal(attempts[1].state, FROE_SUCCEEDED);
    assert_string_equal(attempt_results[1], "{\"answer\":42}");
    assert_string_equal(attempt_errors[1], "-");
    assert_true(attempts[1].ended_utc_us > attempts[0].ended_utc_us);

    froe_run_id other = spawn_one(fx, "w", "other", NULL, NULL);
    UNTIL(fx, fx->n_ran == 3);
    assert_int_equal(logs(fx, id), 2);
    char expected[60], text[FROE_RUN_ID_MAX];
    froe_run_id_text(id, text);
    snprintf(expected, sizeof expected, "%s %d attempt 1", text, FROE_WARN);
    assert_string_equal(lines[0], expected);
    assert_int_equal(logs(fx, other), 1);
    assert_int_equal(logs(fx, (froe_run_id){0}), 3);
    assert_int_equal(logs(fx, (froe_run_id){.page = 4000}), 0);

    assert_int_equal(get(fx, (froe_run_id){.page = 4000, .index = 1}), FROE_ERR_NOT_FOUND);
    assert_non_null(strstr(fx->error.text, "4000:1"));
    assert_int_equal(froe_run_get(fx->froe, (froe_run_id){0}, note_got, fx, &fx->error), FROE_ERR_INVALID);
    assert_int_equal(froe_run_get(fx->froe, id, NULL, fx, &fx->error), FROE_ERR_INVALID);
}

/* ---- cancel ---- */

static froe_state was;

static void note_was(void *arg, froe_state state_before, const froe_error *error) {
    struct fixture *fx = arg;
    was = state_before;
    fx->error = error ? *error : (froe_error){0};
    fx->done_calls++;
}

static int cancel(struct fixture *fx, froe_run_id id) {
    size_t before = fx->done_calls;
    if (froe_run_cancel(fx->froe, id, note_was, fx, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    UNTIL(fx, fx->done_calls > before);
    return fx->error.code;
}

static void cancel_by_failing(struct fixture *fx, froe_task *task) {
    if (froe_task_cancelled(task) != FROE_CANCELLED_ASKED)
        return;
    for (size_t i = 0; i < fx->n_held; i++)
        if (fx->held[i] == task)
            froe_task_fail(fixture_release(fx, i), 0, "was told to stop");
}

static void test_cancel(void **state) {
    FX;
    const froe_workflow hourly = {.retries = 1, .backoff_us = US_PER_HOUR};
    fx->run = NULL;
    fx->cancel = cancel_by_failing;
    fixture_workflow(fx, "w", NULL, 0, &hourly);
    /* queued */
    froe_run_id queued = spawn_one(fx, "w", "queued", NULL, NULL);
    assert_int_equal(cancel(fx, queued), 0);
    assert_int_equal(was, FROE_QUEUED);
    assert_int_equal(fixture_group(fx, "w", "").live, 0); /* at once */
    get(fx, queued);
    assert_int_equal(got.state, FROE_CANCELLED);
    /* delayed */
    spawn(fx, &(froe_spawn){.size = sizeof(froe_spawn), .workflow = "w", .n = 1, .delay_us = US_PER_HOUR});
    assert_int_equal(cancel(fx, ids[0]), 0);
    assert_int_equal(was, FROE_WAITING);
    /* running: it is asked, and ends */
    fixture_start(fx);
    froe_run_id running = spawn_one(fx, "w", "running", NULL, NULL);
    UNTIL(fx, fx->n_held == 1);
    assert_int_equal(cancel(fx, running), 0);
    assert_int_equal(was, FROE_RUNNING);
    UNTIL(fx, fx->n_held == 0);
    UNTIL(fx, fixture_group(fx, "w", "").live == 0);
    get(fx, running);
    assert_int_equal(got.state, FROE_CANCELLED);
    /* waiting for a retry, then its key is free */
    fx->run = run_fail;
    froe_run_id waiting = spawn_one(fx, "w", "waiting", NULL, NULL);
    UNTIL(fx, fixture_group(fx, "w", "").waiting == 1);
    assert_int_equal(cancel(fx, waiting), 0);
    assert_int_equal(was, FROE_WAITING);
    assert_int_equal(fixture_group(fx, "w", "").waiting, 0);
    /* parked */
    fx->run = run_fail_final;
    froe_run_id parked = spawn_one(fx, "w", "waiting", NULL, NULL);
    UNTIL(fx, fixture_group(fx, "w", "").parked == 1);
    assert_int_equal(cancel(fx, parked), 0);
    assert_int_equal(was, FROE_PARKED);
    assert_int_equal(fixture_group(fx, "w", "").parked, 0);
    /* finished: left as it is */
    fx->run = run_succeed;
    froe_run_id done = spawn_one(fx, "w", "waiting", NULL, NULL);
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    assert_int_equal(cancel(fx, done), 0);
    assert_int_equal(was, FROE_SUCCEEDED);
    get(fx, done);
    assert_int_equal(got.state, FROE_SUCCEEDED);
    assert_int_equal(cancel(fx, (froe_run_id){.page = 5000}), FROE_ERR_NOT_FOUND);
    assert_int_equal(froe_run_cancel(fx->froe, (froe_run_id){.page = -1}, note_was, fx, &fx->error), FROE_ERR_INVALID);
    assert_int_equal(list(fx, (froe_runs_filter){.states = 1u << FROE_CANCELLED}), 5);
}

/* Many at once, and the numbers are right when the last one is told. */
static void test_cancel_many(void **state) {
    FX;
    fixture_workflow(fx, "w", per_group, 1, NULL);
    fixture_spawn_keys(fx, "w", "{\"g\":\"a\"}", "k", 0, 500);
    assert_int_equal(list(fx, (froe_runs_filter){0}), 500);
    size_t before = fx->done_calls;
    for (size_t i = 0; i < 400; i++)
        assert_int_equal(froe_run_cancel(fx->froe, listed[i].id, note_was, fx, &fx->error), FROE_OK);
    UNTIL(fx, fx->done_calls == before + 400);
    assert_int_equal(fixture_group(fx, "w", "a").live, 100);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "a").done == 100);
    assert_int_equal(fx->n_ran, 100);
}

/* ---- retry ---- */

static void note_retried(void *arg, const froe_error *error) {
    struct fixture *fx = arg;
    fx->error = error ? *error : (froe_error){0};
    fx->done_calls++;
}

static int retry(struct fixture *fx, froe_run_id id) {
    size_t before = fx->done_calls;
    if (froe_run_retry(fx->froe, id, note_retried, fx, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    UNTIL(fx, fx->done_calls > before);
    return fx->error.code;
}

/* That one alone, though nothing but its id tells it from the others. */
static void test_retry(void **state) {
    FX;
    fx->run = run_fail_final;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    froe_item items[5] = {0};
    spawn(fx, &(froe_spawn){.size = sizeof(froe_spawn), .workflow = "w", .items = items, .n = 5});
    UNTIL(fx, fixture_group(fx, "w", "").parked == 5);
    fx->run = NULL;
    assert_int_equal(retry(fx, ids[2]), 0);
    assert_int_equal(fixture_group(fx, "w", "").parked, 4);
    UNTIL(fx, fx->n_held == 1);
    assert_int_equal(froe_task_attempt(fx->held[0]), 1);
    assert_int_equal(froe_task_id(fx->held[0]).index, ids[2].index);
    assert_int_equal(retry(fx, ids[2]), FROE_ERR_STATE);
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    assert_int_equal(retry(fx, ids[2]), FROE_ERR_STATE);
    assert_non_null(strstr(fx->error.text, "not parked"));
    assert_int_equal(retry(fx, (froe_run_id){.page = 5000}), FROE_ERR_NOT_FOUND);
    assert_int_equal(list(fx, (froe_runs_filter){.states = 1u << FROE_PARKED}), 4);
}

static void test_retry_without_a_place(void **state) {
    FX;
    static const froe_rule one[] = {{"'x'", 1, FROE_CANCEL_NEWEST, 0}};
    fx->run = run_fail_final;
    fixture_workflow(fx, "w", one, 1, NULL);
    fixture_start(fx);
    froe_run_id parked = spawn_one(fx, "w", "a", NULL, NULL);
    UNTIL(fx, fixture_group(fx, "w", "").parked == 1);
    fx->run = NULL;
    spawn_one(fx, "w", "b", NULL, NULL);
    UNTIL(fx, fx->n_held == 1);
    assert_int_equal(retry(fx, parked), FROE_ERR_STATE);
    assert_non_null(strstr(fx->error.text, "stays parked"));
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    assert_int_equal(retry(fx, parked), 0);
}

/* ---- replay ---- */

static froe_run_id replayed_as;

static void note_replayed(void *arg, froe_run_id id, const froe_error *error) {
    struct fixture *fx = arg;
    fx->error = error ? *error : (froe_error){0};
    replayed_as = id;
    fx->done_calls++;
}

static int replay(struct fixture *fx, froe_run_id id) {
    size_t before = fx->done_calls;
    if (froe_run_replay(fx->froe, id, note_replayed, fx, &fx->error) != FROE_OK)
        fail_msg("%s", fx->error.text);
    UNTIL(fx, fx->done_calls > before);
    assert_int_equal(replayed_as.page == 0, fx->error.code != 0);
    return fx->error.code;
}

static froe_run_id spawn_full(struct fixture *fx, const char *workflow) {
    froe_item item = {.child_key = "key", .child_key_n = 3, .generation = "gen", .generation_n = 3};
    spawn(fx, &(froe_spawn){.size = sizeof(froe_spawn),
                            .workflow = workflow,
                            .input = "{\"g\":\"a\"}",
                            .metadata = "{\"m\":1}",
                            .items = &item,
                            .n = 1,
                            .priority = 2});
    return ids[0];
}

static void check_replayed(struct fixture *fx) {
    assert_int_equal(get(fx, replayed_as), 0);
    assert_string_equal(got.key, "key");
    assert_string_equal(got.generation, "gen");
    assert_string_equal(got.input, "{\"g\":\"a\"}");
    assert_string_equal(got.metadata, "{\"m\":1}");
    assert_string_equal(got.group, "a");
    assert_int_equal(got.priority, 2);
}

static void test_replay(void **state) {
    FX;
    fixture_workflow(fx, "w", per_group, 1, NULL);
    fixture_start(fx);
    froe_run_id first = spawn_full(fx, "w");
    UNTIL(fx, fixture_group(fx, "w", "a").done == 1);
    fx->run = NULL;
    assert_int_equal(replay(fx, first), 0);
    assert_true(replayed_as.page != first.page);
    UNTIL(fx, fx->n_held == 1);
    check_replayed(fx);
    froe_run_id second = replayed_as;
    assert_int_equal(replay(fx, first), FROE_ERR_STATE); /* its child key is live again */
    assert_non_null(strstr(fx->error.text, "child key"));
    assert_int_equal(replay(fx, second), FROE_ERR_STATE);
    assert_non_null(strstr(fx->error.text, "not finished"));
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "a").done == 2);
    assert_int_equal(replay(fx, (froe_run_id){.page = 5000}), FROE_ERR_NOT_FOUND);
}

/* By a tool that does not have the workflow. */
static void test_replay_elsewhere(void **state) {
    FX;
    static const froe_rule first_come[] = {{"input.g", 1, FROE_CANCEL_NEWEST, 0}};
    fixture_workflow(fx, "w", per_group, 1, NULL);
    fixture_workflow(fx, "v", first_come, 1, NULL);
    fixture_start(fx);
    froe_run_id known = spawn_full(fx, "w"), unknown = spawn_full(fx, "v");
    UNTIL(fx, fixture_group(fx, "w", "a").done == 1 && fixture_group(fx, "v", "").done == 1);
    fixture_close(fx);
    fixture_open(fx);
    assert_int_equal(replay(fx, known), 0);
    check_replayed(fx);
    assert_int_equal(got.state, FROE_QUEUED);
    assert_int_equal(fixture_group(fx, "w", "a").live, 1);
    assert_int_equal(replay(fx, known), FROE_ERR_STATE);
    assert_int_equal(replay(fx, unknown), FROE_ERR_STATE);
    assert_non_null(strstr(fx->error.text, "has its workflow"));
}

/* ---- from another thread ---- */

struct elsewhere {
    struct fixture *fx;
    uint64_t count;
    _Atomic bool done;
    int code;
};

static void count_run(void *arg, const froe_run *run) {
    ((struct elsewhere *)arg)->count++;
}

static void told_elsewhere(void *arg, uint64_t count, const froe_error *error) {
    struct elsewhere *elsewhere = arg;
    elsewhere->code = error ? error->code : count == elsewhere->count ? 0 : -1;
    atomic_store(&elsewhere->done, true);
}

static void *list_elsewhere(void *arg) {
    struct elsewhere *elsewhere = arg;
    froe_error error;
    if (froe_runs_list(elsewhere->fx->froe, NULL, count_run, told_elsewhere, elsewhere, &error) != FROE_OK) {
        elsewhere->code = error.code;
        atomic_store(&elsewhere->done, true);
    }
    return NULL;
}

static void test_from_another_thread(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 10);
    struct elsewhere elsewhere = {.fx = fx};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, list_elsewhere, &elsewhere), 0);
    UNTIL(fx, atomic_load(&elsewhere.done));
    pthread_join(thread, NULL);
    assert_int_equal(elsewhere.code, 0);
    assert_int_equal(elsewhere.count, 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_since_and_until, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_long_lists, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_bad_filters, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_get, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_cancel, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_cancel_many, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_retry, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_retry_without_a_place, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_replay, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_replay_elsewhere, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_from_another_thread, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
