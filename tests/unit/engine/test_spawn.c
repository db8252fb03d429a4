/* Spawning: fan-out, deduplication, keys, metadata, limits, order. */
#include "failing.h"
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state

static void test_fan_out(void **state) {
    FX;
    fx->options.slots = 8;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", "{\"a\":1}", "k", 0, 12345);
    assert_int_equal(fx->spawned.created, 12345);
    assert_int_equal(fx->spawned.duplicates, 0);
    UNTIL(fx, fx->n_ran == 12345 && fixture_group(fx, "w", "").live == 0);
    froe_group group = fixture_group(fx, "w", "");
    assert_int_equal(group.done, 12345);
    assert_int_equal(group.running, 0);
    assert_int_equal(group.failed, 0);
    char *seen = calloc(12345, 1);
    for (size_t i = 0; i < fx->n_ran; i++) {
        size_t key = strtoul(fx->ran[i].key + 1, NULL, 10);
        assert_true(key < 12345);
        assert_int_equal(seen[key]++, 0);
    }
    free(seen);
}

static void test_dedup_across_spawns_and_reopen(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_workflow(fx, "other", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1500);
    fixture_spawn_keys(fx, "w", NULL, "k", 1000, 1000); /* 500 are live */
    assert_int_equal(fx->spawned.created, 2000);
    assert_int_equal(fx->spawned.duplicates, 500);
    fixture_spawn_keys(fx, "other", NULL, "k", 0, 10); /* the workflow is part of the key */
    assert_int_equal(fx->spawned.created, 2010);
    fixture_close(fx);

    fixture_open(fx);
    assert_int_equal(fixture_group(fx, "w", "").live, 2000);
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 2000);
    assert_int_equal(fx->spawned.duplicates, 2500);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").live == 0);
    assert_int_equal(fx->n_ran, 2000); /* "other" is not a workflow of this program */
    /* Settled: the keys are free again. */
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 1);
    UNTIL(fx, fx->n_ran == 2001);
    assert_int_equal(fixture_group(fx, "other", "").live, 10);
}

static void test_same_key_twice_in_one_spawn(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    froe_item items[] = {{.child_key = "a", .child_key_n = 1}, {.child_key = "a", .child_key_n = 1}, {0}, {0}};
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .items = items, .n = 4};
    fixture_spawn(fx, &spawn);
    assert_int_equal(fx->spawned.created, 3); /* those without a key are never duplicates */
    assert_int_equal(fx->spawned.duplicates, 1);
}

struct told_runs {
    froe_run_id runs[4000];
    froe_spawned spawned;
    bool done;
};

static void note_runs(void *arg, const froe_spawned *spawned, const froe_error *error) {
    struct told_runs *told = arg;
    assert_null(error);
    memcpy(told->runs, spawned->runs, spawned->n * sizeof told->runs[0]);
    told->spawned = *spawned;
    told->done = true;
}

/* Items by `by` from `from` on, each of which has its key twice, in three groups that are mixed. */
static void spawn_pairs(struct fixture *fx, size_t from, struct told_runs *told, unsigned char *created) {
    static char keys[4000][8], inputs[3][16];
    static froe_item items[4000];
    for (size_t i = 0; i < 4000; i++) {
        size_t key = from + i % 2000;
        items[i] = (froe_item){
            .child_key = keys[i],
            .child_key_n = (size_t)snprintf(keys[i], sizeof keys[i], "%zu", key),
            .input = inputs[i % 3],
        };
        snprintf(inputs[i % 3], sizeof inputs[0], "{\"g\":\"%zu\"}", i % 3);
    }
    const froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .items = items, .n = 4000, .ret_created = created};
    told->done = false;
    memset(created, 9, 4000);
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, note_runs, told, &fx->error), FROE_OK);
    UNTIL(fx, told->done);
}

static void assert_same_run(froe_run_id a, froe_run_id b) {
    assert_int_equal(a.page, b.page);
    assert_int_equal(a.index, b.index);
    assert_true(a.page > 0);
}

static void test_duplicates_are_told_their_runs(void **state) {
    FX;
    static struct told_runs first, second;
    static unsigned char created[4000], again[4000];
    const froe_rule rule = {"input.g", 0, FROE_GROUP_ROUND_ROBIN, 0};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    spawn_pairs(fx, 0, &first, created);
    assert_int_equal(first.spawned.created, 2000);
    assert_int_equal(first.spawned.duplicates, 2000);
    for (size_t i = 0; i < 2000; i++) {
        /* Of a pair the one in the group whose pages are written first is created: not always the first. */
        assert_int_equal(created[i] + created[i + 2000], 1);
        assert_same_run(first.runs[i], first.runs[i + 2000]);
    }
    fixture_close(fx);
    fixture_open(fx);
    fixture_workflow(fx, "w", &rule, 1, NULL);
    spawn_pairs(fx, 1000, &second, again);
    assert_int_equal(second.spawned.created, 1000);
    assert_int_equal(second.spawned.duplicates, 3000);
    for (size_t i = 0; i < 1000; i++) {
        assert_same_run(second.runs[i], first.runs[i + 1000]);
        assert_int_equal(again[i] + again[i + 2000], 0);
        assert_int_equal(again[i + 1000] + again[i + 3000], 1);
        assert_same_run(second.runs[i + 1000], second.runs[i + 3000]);
    }
}

static void test_refused_items_have_no_run(void **state) {
    FX;
    static struct told_runs told;
    unsigned char created[4] = {9, 9, 9, 9};
    const froe_rule rule = {"'one'", 1, FROE_CANCEL_NEWEST, 0};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    froe_item items[4] = {{.child_key = "a", .child_key_n = 1}, {.child_key = "b", .child_key_n = 1}};
    const froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .items = items, .n = 3, .ret_created = created};
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, note_runs, &told, &fx->error), FROE_OK);
    UNTIL(fx, told.done);
    assert_int_equal(told.spawned.cancelled, 2);
    assert_int_equal(memcmp(created, "\1\0\0\11", 4), 0);
    assert_true(told.runs[0].page > 0);
    assert_int_equal(told.runs[1].page, 0);
    assert_int_equal(told.runs[2].page, 0);
}

/* Whichever call of the store fails: all of a spawn of several pages is there afterwards, or nothing. */
static void test_a_spawn_is_all_or_nothing(void **state) {
    FX;
    size_t kept = 0, lost = 0;
    for (uint64_t at = 1; kept == 0; at++) {
        struct store *real;
        const struct store_options options = {.clock = &fx->clock.clock};
        assert_int_equal(store_open(fx->uri, &options, &real, NULL), 0);
        struct failing_store *failing = failing_make(real);
        fx->store = failing_store(failing);
        fixture_open(fx);
        fixture_workflow(fx, "w", NULL, 0, NULL);
        fixture_spawn_keys(fx, "w", NULL, "first", 0, 1);
        failing_at(failing, failing_calls(failing) + at, STORE_ERR_IO);
        size_t failed = fx->spawns_failed;
        fixture_spawn_keys(fx, "w", NULL, "k", 0, 3500);
        failed = fx->spawns_failed - failed;
        failing_at(failing, 0, 0);
        fixture_close(fx);
        fixture_open(fx);
        assert_int_equal(fixture_group(fx, "w", "").live, failed ? 1 : 3501);
        fixture_close(fx);
        *(failed ? &lost : &kept) += 1;
    }
    assert_true(lost >= 5); /* begin, four pages, commit */
}

static void run_parent(struct fixture *fx, froe_task *task) {
    if (strcmp(froe_task_workflow(task), "child") == 0) {
        fx->held[fx->n_held++] = task;
        return;
    }
    froe_item items[] = {{.child_key = "x", .child_key_n = 1}, {.child_key = "y", .child_key_n = 1}};
    froe_spawn spawn = {.size = sizeof spawn,
                        .workflow = "child",
                        .parent = task,
                        .metadata = "{\"who\":\"child\",\"own\":[1,2]}",
                        .items = items,
                        .n = 2};
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, NULL), FROE_OK);
    froe_task_succeed(task);
}

static void test_children_inherit_and_dedup_across_parents(void **state) {
    FX;
    fx->run = run_parent;
    froe_rule rule = {"additional_metadata.bucket", 0, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "parent", NULL, 0, NULL);
    fixture_workflow(fx, "child", &rule, 1, NULL);
    fixture_start(fx);
    froe_spawn spawn = {.size = sizeof spawn,
                        .workflow = "parent",
                        .metadata = "{\"bucket\":\"b\",\"who\":\"parent\",\"froe__cron\":\"x\"}",
                        .n = 1};
    fixture_spawn(fx, &spawn);
    fixture_spawn(fx, &spawn);
    UNTIL(fx, fx->spawns_done == 4 && fx->n_held == 2);
    assert_int_equal(fx->spawned.created, 2 + 2);
    assert_int_equal(fx->spawned.duplicates, 2); /* the other parent's */
    assert_string_equal(froe_task_group(fx->held[0]), "b");
    const char *metadata = froe_task_metadata(fx->held[0]);
    assert_non_null(strstr(metadata, "\"bucket\":\"b\""));
    assert_non_null(strstr(metadata, "\"who\":\"child\""));
    assert_non_null(strstr(metadata, "\"own\":[1,2]"));
    assert_null(strstr(metadata, "froe__"));
    assert_string_equal(froe_task_input(fx->held[0]), "{}");
    while (fx->n_held)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "child", "b").done == 2);
}

static void test_items_with_their_own_input(void **state) {
    FX;
    fx->run = NULL;
    fx->options.slots = 8;
    froe_rule rule = {"'g/' + input.bucket", 0, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_start(fx);
    froe_item items[] = {
        {.child_key = "1", .child_key_n = 1, .input = "{\"bucket\":\"a\"}"},
        {.child_key = "2", .child_key_n = 1, .input = "{\"bucket\":\"b\"}"},
        {.child_key = "3", .child_key_n = 1},
        {.child_key = "4", .child_key_n = 1, .input = "{\"bucket\":\"a\"}"},
        {.child_key = "5", .child_key_n = 1, .input = "{\"bucket\":5}"},
        {.child_key = "6", .child_key_n = 1, .input = "{\"bucket\":\"a\\u0000b\"}"},
        {.child_key = "7", .child_key_n = 1, .input = "{}"},
    };
    froe_spawn spawn = {
        .size = sizeof spawn, .workflow = "w", .input = "{\"bucket\":\"shared\"}", .items = items, .n = 7};
    fixture_spawn(fx, &spawn);
    assert_int_equal(fx->spawned.created, 4);
    assert_int_equal(fx->spawned.failed, 3);
    UNTIL(fx, fx->n_held == 4 && fixture_told(fx, FROE_EVENT_FAILED) == 3);
    assert_int_equal(fixture_last(fx, FROE_EVENT_FAILED)->level, FROE_ERROR);
    assert_non_null(strstr(fixture_last(fx, FROE_EVENT_FAILED)->text, "rule 1"));
    assert_string_equal(fixture_last(fx, FROE_EVENT_FAILED)->key, "7");
    for (size_t i = 0; i < 4; i++) {
        size_t n;
        char key = *(const char *)froe_task_child_key(fx->held[i], &n);
        const char *group = key == '2' ? "g/b" : key == '3' ? "g/shared" : "g/a";
        const char *input = key == '2'   ? "{\"bucket\":\"b\"}"
                            : key == '3' ? "{\"bucket\":\"shared\"}"
                                         : "{\"bucket\":\"a\"}";
        assert_string_equal(froe_task_group(fx->held[i]), group);
        assert_string_equal(froe_task_input(fx->held[i]), input);
    }
}

static void test_shared_failure_is_said_once(void **state) {
    FX;
    froe_rule rule = {"input.bucket", 0, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_spawn_keys(fx, "w", "{\"no\":1}", "k", 0, 3000);
    assert_int_equal(fx->spawned.failed, 3000);
    assert_int_equal(fx->spawned.created, 0);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_FAILED) == 1);
    assert_int_equal(fixture_last(fx, FROE_EVENT_FAILED)->count, 3000);
}

static void refuse(struct fixture *fx, froe_spawn spawn, int code) {
    spawn.size = sizeof spawn;
    if (!spawn.workflow)
        spawn.workflow = "w";
    froe_error error = {0};
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, &error), code);
    assert_int_equal(error.code, code);
    assert_true(error.text[0] != '\0');
}

static void test_limits(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    static char big[FROE_INPUT_MAX + 20];
    memset(big, ' ', sizeof big - 1);
    big[0] = '{';
    big[FROE_INPUT_MAX] = '}';
    static froe_item item;
    refuse(fx, (froe_spawn){.n = 1, .workflow = "nobody"}, FROE_ERR_NOT_FOUND);
    refuse(fx, (froe_spawn){.n = 2}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = 1, .input = "[1]"}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = 1, .input = "{\"a\":\"\xff\"}"}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = 1, .input = "{\"a\":1"}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = 1, .input = big}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = 1, .metadata = big}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = 1, .metadata = "null"}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = 1, .delay_us = -1}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = 1, .priority = 4}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = 1, .delay_us = INT64_MAX}, FROE_ERR_INVALID);
    refuse(fx, (froe_spawn){.n = FROE_SPAWN_MAX + 1, .items = &item}, FROE_ERR_INVALID);
    item = (froe_item){.child_key = big, .child_key_n = FROE_CHILD_KEY_MAX + 1};
    refuse(fx, (froe_spawn){.n = 1, .items = &item}, FROE_ERR_INVALID);
    item = (froe_item){.child_key_n = 1};
    refuse(fx, (froe_spawn){.n = 1, .items = &item}, FROE_ERR_INVALID);
    item = (froe_item){.generation = big, .generation_n = FROE_GENERATION_MAX + 1};
    refuse(fx, (froe_spawn){.n = 1, .items = &item}, FROE_ERR_INVALID);
    item = (froe_item){.input = "7"};
    refuse(fx, (froe_spawn){.n = 1, .items = &item}, FROE_ERR_INVALID);
    assert_int_equal(fx->spawns_done, 0);

    /* Right at the limits. */
    big[FROE_INPUT_MAX] = '\0';
    big[FROE_INPUT_MAX - 1] = '}';
    item = (froe_item){
        .child_key = big, .child_key_n = FROE_CHILD_KEY_MAX, .generation = big, .generation_n = FROE_GENERATION_MAX};
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .input = big, .items = &item, .n = 1};
    fixture_spawn(fx, &spawn);
    spawn.n = 0;
    fixture_spawn(fx, &spawn);
    assert_int_equal(fx->spawned.created, 1);
}

static void test_delay(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .n = 1, .delay_us = US_PER_HOUR};
    int64_t due = clock_utc_us(&fx->clock.clock) + US_PER_HOUR;
    fixture_spawn(fx, &spawn);
    fixture_linger(fx, 100 * US_PER_MS);
    assert_int_equal(fx->n_ran, 0);
    fixture_move(fx, US_PER_HOUR - 10 * US_PER_S);
    fixture_linger(fx, 50 * US_PER_MS);
    assert_int_equal(fx->n_ran, 0);
    fixture_move(fx, 10 * US_PER_S);
    UNTIL(fx, fx->n_ran == 1);
    assert_true(fx->ran[0].utc_us >= due);
}

static int order[4], n_order;

static void on_first_value(void *arg, const void *data, size_t n, const froe_error *error) {
    assert_null(error);
    assert_int_equal(n, 3);
    assert_memory_equal(data, "two", 3);
    order[n_order++] = 2;
}

static void on_no_value(void *arg, const void *data, size_t n, const froe_error *error) {
    assert_null(error);
    assert_null(data);
    order[n_order++] = 4;
}

static void on_put(void *arg, const froe_error *error) {
    assert_null(error);
    order[n_order++] = *(int *)arg;
}

static void test_values_in_order(void **state) {
    FX;
    static int one = 1, three = 3;
    n_order = 0;
    assert_int_equal(froe_value_put(fx->froe, "cursor", "one", 3, NULL, NULL, NULL), FROE_OK);
    assert_int_equal(froe_value_put(fx->froe, "cursor", "two", 3, on_put, &one, NULL), FROE_OK);
    assert_int_equal(froe_value_get(fx->froe, "cursor", on_first_value, NULL, NULL), FROE_OK);
    assert_int_equal(froe_value_put(fx->froe, "cursor", NULL, 0, on_put, &three, NULL), FROE_OK);
    assert_int_equal(froe_value_get(fx->froe, "cursor", on_no_value, NULL, NULL), FROE_OK);
    assert_int_equal(n_order, 0); /* never from inside the call */
    UNTIL(fx, n_order == 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(order[i], i + 1);
    static char big[FROE_VALUE_MAX + 1];
    assert_int_equal(froe_value_put(fx->froe, "big", big, sizeof big, NULL, NULL, NULL), FROE_ERR_INVALID);
    assert_int_equal(froe_value_put(fx->froe, "", "x", 1, NULL, NULL, NULL), FROE_ERR_INVALID);
    assert_int_equal(froe_value_get(fx->froe, NULL, on_no_value, NULL, NULL), FROE_ERR_INVALID);
}

static void test_definitions_are_checked(void **state) {
    FX;
    froe_rule bad = {"input.", 1, FROE_CANCEL_NEWEST, 0}, number = {"1 + 1", 1, FROE_GROUP_ROUND_ROBIN, 0},
              none = {"'x'", 0, FROE_CANCEL_NEWEST, 0}, strange = {"'x'", 1, (froe_strategy)5, 0},
              zero = {"'x'", 1, (froe_strategy)0, 0}, endless = {"'x'", 0, FROE_CANCEL_IN_PROGRESS, 0},
              short_rate = {"'x'", 1, FROE_RATE_LIMIT, US_PER_S - 1},
              long_rate = {"'x'", 1, FROE_RATE_LIMIT, 24 * US_PER_HOUR + 1},
              no_rate = {"'x'", 0, FROE_RATE_LIMIT, US_PER_S}, period = {"'x'", 1, FROE_CANCEL_NEWEST, US_PER_S};
    fixture_workflow(fx, "taken", NULL, 0, NULL);
    froe_workflow workflow = {.size = sizeof workflow, .name = "w", .run = (froe_task_fn *)(uintptr_t)1};
    struct {
        const char *name, *cron;
        const froe_rule *rules;
        int code;
    } cases[] = {
        {"w", NULL, &bad, FROE_ERR_INVALID},        {"w", NULL, &number, FROE_ERR_INVALID},
        {"w", NULL, &zero, FROE_ERR_INVALID},       {"w", NULL, &endless, FROE_ERR_INVALID},
        {"w", NULL, &short_rate, FROE_ERR_INVALID}, {"w", NULL, &long_rate, FROE_ERR_INVALID},
        {"w", NULL, &no_rate, FROE_ERR_INVALID},    {"w", NULL, &period, FROE_ERR_INVALID},
        {"w", NULL, &none, FROE_ERR_INVALID},       {"w", NULL, &strange, FROE_ERR_INVALID},
        {"w", "* * *", NULL, FROE_ERR_INVALID},     {"", NULL, NULL, FROE_ERR_INVALID},
        {"a b", NULL, NULL, FROE_ERR_INVALID},      {"taken", NULL, NULL, FROE_ERR_STATE},
        {NULL, NULL, NULL, FROE_ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        workflow.name = cases[i].name;
        workflow.cron = cases[i].cron;
        workflow.rules = cases[i].rules;
        workflow.n_rules = cases[i].rules ? 1 : 0;
        froe_error error = {0};
        assert_int_equal(froe_workflow_add(fx->froe, &workflow, &error), cases[i].code);
        assert_true(error.text[0] != '\0');
    }
    /* After a refusal the name is still free. */
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    workflow.name = "late";
    workflow.cron = NULL;
    assert_int_equal(froe_workflow_add(fx->froe, &workflow, NULL), FROE_ERR_STATE);
    assert_int_equal(froe_start(fx->froe, NULL), FROE_ERR_STATE);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_fan_out),
        T(test_dedup_across_spawns_and_reopen),
        T(test_same_key_twice_in_one_spawn),
        T(test_duplicates_are_told_their_runs),
        T(test_refused_items_have_no_run),
        cmocka_unit_test_setup_teardown(test_a_spawn_is_all_or_nothing, fixture_setup_closed, fixture_teardown),
        T(test_children_inherit_and_dedup_across_parents),
        T(test_items_with_their_own_input),
        T(test_shared_failure_is_said_once),
        T(test_limits),
        T(test_delay),
        T(test_values_in_order),
        T(test_definitions_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
