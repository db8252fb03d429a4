/* test_spawn_join.c - small spawns that come together share a page of the store, and nobody can tell but by the ids. */
#include "failing.h"
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state
#define MANY 60

/* One spawn, and what it was told. */
struct one {
    char key[16], generation[8], input[40];
    froe_item item;
    froe_spawn spawn;
    unsigned char created;
    froe_spawned spawned;
    froe_run_id run;
    froe_error error;
    int calls;
};

static void note(void *arg, const froe_spawned *spawned, const froe_error *error) {
    struct one *one = arg;
    one->calls++;
    if (error) {
        one->error = *error;
        return;
    }
    assert_int_equal(spawned->n, 1);
    one->spawned = *spawned;
    one->run = spawned->runs[0];
}

static void make(struct one *one, const char *workflow, int key, const char *generation) {
    *one = (struct one){0};
    snprintf(one->key, sizeof one->key, "k%d", key);
    snprintf(one->generation, sizeof one->generation, "%s", generation);
    snprintf(one->input, sizeof one->input, "{\"key\":\"k%d\"}", key);
    one->item = (froe_item){.child_key = one->key,
                            .child_key_n = strlen(one->key),
                            .generation = one->generation,
                            .generation_n = strlen(one->generation)};
    one->spawn = (froe_spawn){.size = sizeof one->spawn,
                              .workflow = workflow,
                              .input = one->input,
                              .items = &one->item,
                              .n = 1,
                              .ret_created = &one->created};
}

/* In one transaction: the store has nothing else to do. */
static void submit(struct fixture *fx, struct one *ones, size_t n) {
    UNTIL(fx, fx->froe->inflight == 0);
    for (size_t i = 0; i < n; i++) {
        ones[i].calls = 0;
        ones[i].spawn.items = &ones[i].item;
        ones[i].spawn.input = ones[i].input;
        ones[i].spawn.ret_created = &ones[i].created;
        assert_int_equal(froe_spawn_many(fx->froe, &ones[i].spawn, note, &ones[i], &fx->error), FROE_OK);
    }
}

static bool all_told(const struct one *ones, size_t n) {
    bool all = true;
    for (size_t i = 0; i < n; i++)
        all &= ones[i].calls > 0;
    return all;
}

static void send_and_wait(struct fixture *fx, struct one *ones, size_t n) {
    submit(fx, ones, n);
    UNTIL(fx, all_told(ones, n));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ones[i].calls, 1);
}

static bool share(const struct one *a, const struct one *b) {
    assert_true(a->run.page > 0 && b->run.page > 0);
    return a->run.page == b->run.page;
}

static void check_input(struct fixture *fx, froe_task *task) {
    char expected[40];
    size_t n;
    const char *key = froe_task_child_key(task, &n);
    snprintf(expected, sizeof expected, "{\"key\":\"%.*s\"}", (int)n, key);
    assert_string_equal(froe_task_input(task), expected);
    fx->count++;
    froe_task_succeed(task);
}

static void test_many_share_a_page(void **state) {
    FX;
    static struct one ones[MANY];
    bool seen[MANY] = {false};
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fx->run = check_input;
    for (int i = 0; i < MANY; i++)
        make(&ones[i], "w", i, "1");
    send_and_wait(fx, ones, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_true(share(&ones[0], &ones[i]));
        assert_true(ones[i].run.index < MANY && !seen[ones[i].run.index]);
        seen[ones[i].run.index] = true;
        assert_int_equal(ones[i].created, 1);
        assert_int_equal(ones[i].spawned.created, 1);
        assert_int_equal(ones[i].spawned.duplicates + ones[i].spawned.superseded, 0);
    }
    assert_int_equal(fixture_group(fx, "w", "").live, MANY);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").live == 0);
    assert_int_equal(fx->count, MANY);
}

static void test_each_is_told_of_its_own(void **state) {
    FX;
    static struct one first[4], second[6];
    const int keys[] = {1, 9, 3, 9, 2, 8}; /* of these 1, 2 and 3 are there, and the second 9 is a duplicate, too */
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fx->run = run_fail_final;
    for (int i = 0; i < 4; i++)
        make(&first[i], "w", i, "1");
    send_and_wait(fx, first, 4);
    fixture_start(fx);
    UNTIL(fx, fixture_group(fx, "w", "").parked == 4);
    for (int i = 0; i < 6; i++)
        make(&second[i], "w", keys[i], i == 2 ? "2" : "1"); /* 3 has changed */
    fx->run = NULL;
    send_and_wait(fx, second, 6);
    const uint32_t created[] = {0, 1, 1, 0, 0, 1}, superseded[] = {0, 0, 1, 0, 0, 0};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(second[i].spawned.created, created[i]);
        assert_int_equal(second[i].created, created[i]);
        assert_int_equal(second[i].spawned.duplicates, !created[i]);
        assert_int_equal(second[i].spawned.superseded, superseded[i]);
    }
    assert_memory_equal(&second[0].run, &first[1].run, sizeof first[1].run);
    assert_memory_equal(&second[4].run, &first[2].run, sizeof first[2].run);
    assert_memory_equal(&second[3].run, &second[1].run, sizeof second[1].run);
    assert_true(share(&second[1], &second[2]) && share(&second[1], &second[5]));
    assert_int_equal(fixture_group(fx, "w", "").parked, 3);
    assert_int_equal(fixture_group(fx, "w", "").live, 3);
}

/* Of each pair the second differs from the first in what its run would be. */
static void test_what_differs_stays_apart(void **state) {
    FX;
    struct one ones[9];
    const froe_rule newest = {"'g'", 100, FROE_CANCEL_NEWEST, 0},
                    id = {"workflow_run_id", 1, FROE_GROUP_ROUND_ROBIN, 0},
                    own = {"input.key", 1, FROE_GROUP_ROUND_ROBIN, 0};
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_workflow(fx, "x", NULL, 0, NULL);
    fixture_workflow(fx, "newest", &newest, 1, NULL);
    fixture_workflow(fx, "id", &id, 1, NULL);
    fixture_workflow(fx, "own", &own, 1, NULL);
    for (int i = 0; i < 5; i++)
        make(&ones[i], i == 1 ? "x" : "w", i, "1");
    ones[2].spawn.metadata = "{\"a\":1}";
    ones[3].spawn.priority = 3;
    ones[4].spawn.delay_us = US_PER_HOUR;
    send_and_wait(fx, ones, 5);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++)
            assert_false(share(&ones[i], &ones[j]));
    const char *const workflows[] = {"newest", "id", "own"};
    for (int i = 0; i < 6; i++)
        make(&ones[i], workflows[i / 2], 10 + i, "1");
    send_and_wait(fx, ones, 6);
    for (int i = 0; i < 6; i += 2)
        assert_false(share(&ones[i], &ones[i + 1]));
    make(&ones[0], "own", 20, "1");
    make(&ones[1], "own", 21, "1");
    snprintf(ones[1].input, sizeof ones[1].input, "%s", ones[0].input);
    send_and_wait(fx, ones, 2);
    assert_true(share(&ones[0], &ones[1]));
    assert_int_equal(fixture_group(fx, "own", "k20").live, 2);
}

/* A page has an end: so many items, and so many bytes. */
static void test_no_more_than_a_page_holds(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    static froe_item items[700];
    static struct one big[20];
    char *text = calloc(1, FROE_INPUT_MAX + 1);
    memset(text, ' ', FROE_INPUT_MAX);
    memcpy(text, "{}", 2);
    const froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .items = items, .n = 700};
    UNTIL(fx, fx->froe->inflight == 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, &fx->error), FROE_OK);
    for (int i = 0; i < 20; i++) {
        make(&big[i], "w", i, "1");
        big[i].spawn.input = text;
        assert_int_equal(froe_spawn_many(fx->froe, &big[i].spawn, note, &big[i], &fx->error), FROE_OK);
    }
    UNTIL(fx, all_told(big, 20) && fx->spawns_done == 2);
    assert_int_equal(fx->spawned.created, 1400);
    int with_first = 0;
    for (int i = 0; i < 20; i++)
        with_first += share(&big[0], &big[i]);
    assert_in_range(with_first, 1, 1024 * 1024 / FROE_INPUT_MAX);
    assert_int_equal(fixture_group(fx, "w", "").live, 1420);
    free(text);
}

/* The n-th call fails for good: each is told so, or of its run. */
static void fail_at(struct fixture *fx, uint64_t n, bool *ret_reached) {
    static struct one ones[5];
    struct store *real;
    struct err err;
    const struct store_options options = {.lease_us = 30 * US_PER_S};
    fixture_init(fx);
    assert_int_equal(store_open(fx->uri, &options, &real, &err), 0);
    struct failing_store *failing = failing_make(real);
    fx->store = failing_store(failing);
    fixture_open(fx);
    fixture_workflow(fx, "w", NULL, 0, NULL);
    for (int i = 0; i < 5; i++)
        make(&ones[i], "w", i, "1");
    UNTIL(fx, fx->froe->inflight == 0);
    failing_at(failing, failing_calls(failing) + n, STORE_ERR_IO);
    uint64_t before = failing_calls(failing);
    send_and_wait(fx, ones, 5);
    *ret_reached = failing_calls(failing) - before >= n;
    for (int i = 0; i < 5; i++)
        assert_int_equal(ones[i].error.code != 0, *ret_reached);
    failing_at(failing, 0, 0);
    fixture_close(fx);
    fx->store = NULL;
    fixture_open(fx);
    assert_int_equal(fixture_group(fx, "w", "").live, *ret_reached ? 0 : 5);
    fixture_close(fx);
    fixture_remove(fx);
}

static void test_a_store_that_fails(void **state) {
    (void)state;
    bool reached = true;
    uint64_t n = 1;
    for (; reached && n < 50; n++) {
        struct fixture *fx = calloc(1, sizeof *fx);
        fail_at(fx, n, &reached);
        free(fx);
    }
    assert_in_range(n, 3, 20);
}

/* The connection is lost at the n-th call: the transaction is repeated, and each run is created once. */
static void lose_at(struct fixture *fx, uint64_t n, int code, bool *ret_reached) {
    static struct one ones[8];
    struct store *real;
    struct err err;
    static const struct store_options options = {.lease_us = 30 * US_PER_S};
    fixture_init(fx);
    assert_int_equal(store_open(fx->uri, &options, &real, &err), 0);
    struct failing_store *failing = failing_make(real);
    fx->store = failing_store(failing);
    fixture_open(fx);
    fixture_workflow(fx, "w", NULL, 0, NULL);
    UNTIL(fx, fx->froe->inflight == 0);
    uint64_t before = failing_calls(failing);
    failing_restart_at(failing, n, code, fx->uri, &options);
    for (int i = 0; i < 8; i++)
        make(&ones[i], "w", i % 6, "1");
    send_and_wait(fx, ones, 8);
    *ret_reached = failing_calls(failing) - before >= n;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(ones[i].error.code, 0);
        assert_int_equal(ones[i].spawned.created, i < 6);
        assert_int_equal(ones[i].run.index, i % 6);
    }
    assert_int_equal(fixture_group(fx, "w", "").live, 6);
    fixture_close(fx);
    fixture_remove(fx);
}

static void lose_at_each(int code) {
    bool reached = true;
    uint64_t n = 1;
    for (; reached && n < 50; n++) {
        struct fixture *fx = calloc(1, sizeof *fx);
        lose_at(fx, n, code, &reached);
        free(fx);
    }
    assert_in_range(n, 3, 20);
}

static void test_a_connection_that_is_lost(void **state) {
    (void)state;
    lose_at_each(STORE_ERR_LOST);
}

static void test_a_batch_that_is_repeated(void **state) {
    (void)state;
    lose_at_each(STORE_ERR_AGAIN);
}

#define TEST(function_) cmocka_unit_test_setup_teardown(function_, fixture_setup, fixture_teardown)

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(test_many_share_a_page),
        TEST(test_each_is_told_of_its_own),
        TEST(test_what_differs_stays_apart),
        TEST(test_no_more_than_a_page_holds),
        cmocka_unit_test(test_a_store_that_fails),
        cmocka_unit_test(test_a_connection_that_is_lost),
        cmocka_unit_test(test_a_batch_that_is_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
