/* The _sync forms of what asks the store, on a thread of its own, in a task that may block, and before froe_main. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state

/* For other threads than the test's own, where cmocka's assertions do not work. */
#define MUST(condition)                                                             \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

struct caller {
    froe *engine;
    void (*calls)(froe *engine);
    atomic_bool over;
};

static void *call(void *arg) {
    struct caller *caller = arg;
    caller->calls(caller->engine);
    atomic_store(&caller->over, true);
    return NULL;
}

static void call_from_thread(struct fixture *fx, void (*calls)(froe *engine)) {
    struct caller caller = {.engine = fx->froe, .calls = calls};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call, &caller), 0);
    fixture_guard(fx);
    while (!atomic_load(&caller.over)) {
        uv_run(&fx->loop, UV_RUN_NOWAIT);
        assert_false(fx->timed_out);
    }
    pthread_join(thread, NULL);
}

/* ---- values ---- */

static void use_values(froe *engine) {
    static char big[FROE_VALUE_MAX], got[FROE_VALUE_MAX];
    froe_error error;
    size_t n = 77;
    MUST(froe_value_get_sync(engine, "v", got, sizeof got, &n, &error) == FROE_ERR_NOT_FOUND);
    MUST(error.code == FROE_ERR_NOT_FOUND && error.text[0] && n == 77);
    MUST(froe_value_put_sync(engine, "v", "a\0b", 3, &error) == FROE_OK);
    MUST(froe_value_get_sync(engine, "v", got, sizeof got, &n, &error) == FROE_OK);
    MUST(n == 3 && memcmp(got, "a\0b", 3) == 0);
    memset(got, 'x', sizeof got);
    MUST(froe_value_get_sync(engine, "v", got, 2, &n, &error) == FROE_ERR_INVALID);
    MUST(n == 3 && got[0] == 'x' && strstr(error.text, "3 bytes"));
    MUST(froe_value_get_sync(engine, "v", NULL, 0, &n, NULL) == FROE_ERR_INVALID && n == 3);
    memset(big, 'y', sizeof big);
    MUST(froe_value_put_sync(engine, "v", big, sizeof big, &error) == FROE_OK);
    MUST(froe_value_get_sync(engine, "v", got, sizeof got, NULL, &error) == FROE_OK);
    MUST(memcmp(big, got, sizeof big) == 0);
    MUST(froe_value_put_sync(engine, "v", big, sizeof big + 1, &error) == FROE_ERR_INVALID);
    MUST(froe_value_put_sync(engine, "", "x", 1, NULL) == FROE_ERR_INVALID);
    MUST(froe_value_put_sync(engine, "v", NULL, 0, &error) == FROE_OK);
    MUST(froe_value_get_sync(engine, "v", got, sizeof got, &n, &error) == FROE_ERR_NOT_FOUND);
}

static void test_values(void **state) {
    FX;
    call_from_thread(fx, use_values);
    size_t n;
    /* The loop's own thread would wait for itself. */
    assert_int_equal(froe_value_get_sync(fx->froe, "v", NULL, 0, &n, &fx->error), FROE_ERR_STATE);
    assert_int_equal(froe_value_put_sync(fx->froe, "v", "x", 1, &fx->error), FROE_ERR_STATE);
    assert_int_equal(froe_runs_list_sync(fx->froe, NULL, NULL, NULL, NULL, &fx->error), FROE_ERR_STATE);
}

/* ---- lists ---- */

static froe_run_id id_of[4]; /* of a, b, c, d */
static char seen[400];

static void see_run(void *arg, const froe_run *run) {
    MUST(arg == seen);
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%.*s:%d ", (int)run->child_key_n,
             (const char *)run->child_key, (int)run->state);
    if (run->child_key_n == 1)
        id_of[*(const char *)run->child_key - 'a'] = run->id;
}

static void see_one(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n) {
    MUST(arg == seen);
    snprintf(seen, sizeof seen, "%s %zu %s", run->workflow, n, n ? attempts[0].error : "");
}

static void see_line(void *arg, const froe_log_line *line) {
    MUST(arg == seen);
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s;", line->text);
}

static void see_parked(void *arg, const froe_parked *parked) {
    MUST(arg == seen);
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%.*s ", (int)parked->child_key_n,
             (const char *)parked->child_key);
}

static void see_workflow(void *arg, const froe_workflow_info *workflow) {
    MUST(arg == seen);
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s:%d:%d ", workflow->name, workflow->paused,
             (int)workflow->parked);
}

static void see_worker(void *arg, const froe_worker_info *worker) {
    MUST(arg == seen);
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%d ", worker->self);
}

static void see_group(void *arg, const froe_group_info *group) {
    MUST(arg == seen);
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s/%s:%d ", group->workflow, group->group,
             (int)group->parked);
}

#define SAW(text_) (strcmp(seen, (text_)) == 0 && (seen[0] = '\0') == '\0')

static void use_lists(froe *engine) {
    froe_error error;
    uint64_t n = 77;
    froe_state was = FROE_UNKNOWN;
    froe_run_id replayed = {0};
    const froe_parked_filter a = {.size = sizeof a, .child_key = "a", .child_key_n = 1};
    seen[0] = '\0';
    MUST(froe_runs_list_sync(engine, NULL, see_run, seen, &n, &error) == FROE_OK);
    MUST(n == 4 && SAW("d:4 c:4 b:4 a:4 "));
    const froe_runs_filter wrong = {.size = 1};
    MUST(froe_runs_list_sync(engine, &wrong, see_run, seen, &n, &error) == FROE_ERR_INVALID && n == 4);
    MUST(froe_runs_list_sync(engine, NULL, NULL, seen, &n, &error) == FROE_ERR_INVALID);
    MUST(froe_run_get_sync(engine, id_of[0], see_one, seen, &error) == FROE_OK && SAW("w 1 broken"));
    MUST(froe_run_get_sync(engine, (froe_run_id){.page = 99}, see_one, seen, &error) == FROE_ERR_NOT_FOUND);
    MUST(froe_run_get_sync(engine, id_of[0], NULL, NULL, &error) == FROE_ERR_INVALID);
    MUST(froe_run_logs_sync(engine, id_of[1], see_line, seen, &n, &error) == FROE_OK && n == 1 && SAW("hello b;"));

    MUST(froe_parked_list_sync(engine, NULL, see_parked, seen, &n, &error) == FROE_OK && n == 4 && SAW("a b c d "));
    MUST(froe_workflow_pause_sync(engine, "w", 1, &error) == FROE_OK);
    MUST(froe_workflow_pause_sync(engine, "none", 1, &error) == FROE_ERR_NOT_FOUND);
    MUST(froe_parked_retry_sync(engine, &a, &n, &error) == FROE_OK && n == 1);
    MUST(froe_run_retry_sync(engine, id_of[0], &error) == FROE_ERR_STATE);
    MUST(froe_run_retry_sync(engine, id_of[1], &error) == FROE_OK);
    MUST(froe_run_cancel_sync(engine, id_of[2], &was, &error) == FROE_OK && was == FROE_PARKED);
    MUST(froe_run_cancel_sync(engine, (froe_run_id){.page = 99}, &was, NULL) == FROE_ERR_NOT_FOUND);
    MUST(froe_run_replay_sync(engine, id_of[0], &replayed, &error) == FROE_ERR_STATE && replayed.page == 0);
    MUST(froe_run_replay_sync(engine, id_of[2], &replayed, &error) == FROE_OK && replayed.page > 0);
    MUST(froe_workflows_list_sync(engine, see_workflow, seen, &n, &error) == FROE_OK && n == 1 && SAW("w:1:1 "));
    MUST(froe_groups_list_sync(engine, "w", see_group, seen, NULL, &error) == FROE_OK && SAW("w/:1 "));
    MUST(froe_workers_list_sync(engine, see_worker, seen, &n, NULL) == FROE_OK && n == 1 && SAW("1 "));
    MUST(froe_parked_drop_sync(engine, NULL, &n, NULL) == FROE_OK && n == 1);
    MUST(froe_runs_list_sync(engine, NULL, see_run, seen, NULL, NULL) == FROE_OK && SAW("c:1 d:7 c:7 b:1 a:1 "));
}

static void log_and_fail(struct fixture *fx, froe_task *task) {
    size_t n;
    const char *key = froe_task_child_key(task, &n);
    froe_task_log(task, FROE_INFO, "hello %.*s", (int)n, key);
    froe_task_fail(task, FROE_FAIL_FINAL, "broken");
}

static void test_lists(void **state) {
    FX;
    fx->run = log_and_fail;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    froe_item items[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        items[i].child_key = &"abcd"[i];
        items[i].child_key_n = 1;
    }
    const froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .items = items, .n = 4};
    fixture_spawn(fx, &spawn);
    fixture_start(fx);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 4);
    call_from_thread(fx, use_lists);
}

/* ---- in a task, and without a loop ---- */

static atomic_int in_task;

static void use_in_task(froe_task *task, void *arg) {
    froe *engine = froe_task_engine(task);
    char got[8];
    size_t n = 0;
    froe_error error;
    MUST(froe_value_put_sync(engine, "from a task", "1", 1, &error) == FROE_OK);
    MUST(froe_value_get_sync(engine, "from a task", got, sizeof got, &n, &error) == FROE_OK && n == 1);
    atomic_store(&in_task, 1);
    froe_task_succeed(task);
    froe_stop(engine, FROE_STOP_FINISH, NULL, NULL);
}

static void test_with_a_loop_of_the_engines_own(void **state) {
    FX;
    froe_options options = fx->options;
    options.loop = NULL;
    options.event = NULL;
    froe *engine;
    assert_int_equal(froe_open(&options, &engine, &fx->error), FROE_OK);
    const froe_workflow workflow = {.size = sizeof workflow, .name = "w", .run = use_in_task, .flags = FROE_BLOCKING};
    assert_int_equal(froe_workflow_add(engine, &workflow, &fx->error), FROE_OK);
    use_values(engine); /* before froe_main, on the loop's own thread */
    unsigned char created = 7;
    froe_run_id id;
    const froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .n = 1, .ret_created = &created};
    assert_int_equal(froe_spawn_sync(engine, &spawn, NULL, &id, &fx->error), FROE_OK);
    assert_int_equal(created, 1);
    assert_int_equal(froe_start(engine, &fx->error), FROE_OK); /* which froe_main then does not do */
    assert_int_equal(froe_main(engine, &fx->error), FROE_OK);
    assert_int_equal(atomic_load(&in_task), 1);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_values),
        T(test_lists),
        cmocka_unit_test_setup_teardown(test_with_a_loop_of_the_engines_own, fixture_setup_closed, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
