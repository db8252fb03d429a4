/* Rate limits, keys of run ids, priorities, and runs that were not started in time. */
#include "fixture.h"
#include "fixture_postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state

static void spawn_n(struct fixture *fx, const char *workflow, const char *input, size_t n, unsigned priority) {
    froe_item items[64] = {0};
    assert_true(n <= 64);
    froe_spawn spawn = {
        .size = sizeof spawn, .workflow = workflow, .input = input, .items = items, .n = n, .priority = priority};
    fixture_spawn(fx, &spawn);
}

/* To the beginning of the next minute, by the wall clock. */
static void next_minute(struct fixture *fx) {
    int64_t now = clock_utc_us(&fx->clock.clock);
    fixture_move(fx, US_PER_MIN - now % US_PER_MIN + US_PER_MS);
}

static int one_slot(void **state) {
    fixture_setup_closed(state);
    struct fixture *fx = *state;
    fx->options.slots = 1;
    fixture_open(fx);
    return 0;
}

static size_t ran(const struct fixture *fx, const char *workflow) {
    size_t n = 0;
    for (size_t i = 0; i < fx->n_ran; i++)
        n += strcmp(fx->ran[i].workflow, workflow) == 0;
    return n;
}

static void test_a_rate_is_kept(void **state) {
    FX;
    froe_rule rule = {"input.host", 3, FROE_RATE_LIMIT, US_PER_MIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    next_minute(fx);
    spawn_n(fx, "w", "{\"host\":\"a\"}", 10, 0);
    spawn_n(fx, "w", "{\"host\":\"b\"}", 2, 0);
    fixture_start(fx);
    UNTIL(fx, fx->n_ran == 5);
    fixture_linger(fx, 50 * US_PER_MS);
    assert_int_equal(fx->n_ran, 5);
    for (size_t minute = 1; minute <= 2; minute++) {
        next_minute(fx);
        UNTIL(fx, fx->n_ran == 5 + 3 * minute);
        fixture_linger(fx, 50 * US_PER_MS);
        assert_int_equal(fx->n_ran, 5 + 3 * minute);
    }
    next_minute(fx);
    UNTIL(fx, fx->n_ran == 12 && fixture_group(fx, "w", "").done == 12);
}

/* Who waits for the window holds no slot, and the same key with the same period is one rate for all workflows. */
static void test_a_rate_is_shared_and_holds_no_slot(void **state) {
    FX;
    froe_rule rule = {"'api'", 4, FROE_RATE_LIMIT, US_PER_MIN};
    fixture_workflow(fx, "one", &rule, 1, NULL);
    fixture_workflow(fx, "two", &rule, 1, NULL);
    fixture_workflow(fx, "free", NULL, 0, NULL);
    next_minute(fx);
    spawn_n(fx, "one", NULL, 20, 0);
    spawn_n(fx, "two", NULL, 20, 0);
    fixture_start(fx);
    UNTIL(fx, fx->n_ran == 4);
    fixture_spawn_keys(fx, "free", NULL, "k", 0, 50);
    UNTIL(fx, ran(fx, "free") == 50);
    assert_int_equal(fx->n_ran, 54);
    assert_int_equal(fx->froe->running, 0);
    for (size_t minute = 1; minute <= 9; minute++) {
        next_minute(fx);
        UNTIL(fx, fx->n_ran == 54 + 4 * minute);
        fixture_linger(fx, 10 * US_PER_MS);
        assert_int_equal(fx->n_ran, 54 + 4 * minute);
    }
    /* Turns, not one after the other. */
    assert_true(ran(fx, "one") == 20 && ran(fx, "two") == 20);
    size_t first_half = 0;
    for (size_t i = 0, seen = 0; i < fx->n_ran && seen < 20; i++) {
        first_half += strcmp(fx->ran[i].workflow, "two") == 0;
        seen += strcmp(fx->ran[i].workflow, "free") != 0;
    }
    assert_in_range(first_half, 4, 16);
}

static void test_a_chain_with_a_rate(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rules[] = {{"input.bucket", 2, FROE_GROUP_ROUND_ROBIN, 0}, {"'all'", 5, FROE_RATE_LIMIT, US_PER_MIN}};
    fixture_workflow(fx, "w", rules, 2, NULL);
    next_minute(fx);
    spawn_n(fx, "w", "{\"bucket\":\"a\"}", 10, 0);
    spawn_n(fx, "w", "{\"bucket\":\"b\"}", 10, 0);
    fixture_start(fx);
    size_t n = 0;
    UNTIL(fx, fx->n_held == 4); /* two of each */
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_held, 4);
    froe_task_succeed(fixture_release(fx, 0));
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fx->n_ran == 5);
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 5); /* the minute is used up */
    assert_int_equal(fx->n_held, 3);
    next_minute(fx);
    UNTIL(fx, fx->n_ran == 6);
    for (n = 0; fx->n_held > 0; n++)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fx->n_ran == 10);
}

/* What was leased for one window, and found no slot in it, does not come on top of the next one's. */
static void test_a_rate_counts_starts(void **state) {
    FX;
    froe_rule rule = {"'api'", 3, FROE_RATE_LIMIT, US_PER_MIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_workflow(fx, "long", NULL, 0, NULL);
    fx->run = NULL;
    next_minute(fx);
    spawn_n(fx, "long", NULL, 1, 0);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 1); /* the only slot */
    spawn_n(fx, "w", NULL, 10, 0);
    fixture_linger(fx, 500 * US_PER_MS); /* longer than a lease may be late for its window */
    fx->run = run_succeed;
    for (size_t minute = 1; minute <= 2; minute++) {
        next_minute(fx);
        fixture_linger(fx, 500 * US_PER_MS);
        if (fx->n_held)
            froe_task_succeed(fixture_release(fx, 0));
        UNTIL(fx, ran(fx, "w") == 3 * minute);
        fixture_linger(fx, 50 * US_PER_MS);
        assert_int_equal(ran(fx, "w"), 3 * minute);
    }
}

static void run_not_yet(struct fixture *fx, froe_task *task) {
    froe_task_again(task, 0, "not yet");
}

/* Being put back costs nothing, starting once more does. */
static void test_a_rate_counts_every_start(void **state) {
    FX;
    froe_rule rule = {"'api'", 3, FROE_RATE_LIMIT, US_PER_MIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fx->run = run_not_yet;
    next_minute(fx);
    spawn_n(fx, "w", NULL, 2, 0);
    fixture_start(fx);
    UNTIL(fx, fx->n_ran == 3);
    fixture_linger(fx, 50 * US_PER_MS);
    assert_int_equal(fx->n_ran, 3);
    next_minute(fx);
    UNTIL(fx, fx->n_ran == 6);
    fixture_linger(fx, 50 * US_PER_MS);
    assert_int_equal(fx->n_ran, 6);
    assert_int_equal(fixture_group(fx, "w", "").failed, 0);
}

/* ---- run ids ---- */

static void test_keys_of_run_ids(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"input.bucket + '/' + workflow_run_id", 1, FROE_GROUP_ROUND_ROBIN, 0};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    froe_item items[] = {
        {.child_key = "1", .child_key_n = 1, .input = "{\"bucket\":\"a\"}"},
        {.child_key = "2", .child_key_n = 1, .input = "{\"bucket\":\"b\"}"},
        {.child_key = "1", .child_key_n = 1, .input = "{\"bucket\":\"c\"}"},
        {.child_key = "4", .child_key_n = 1, .input = "{\"no\":1}"},
    };
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .items = items, .n = 4};
    fixture_spawn(fx, &spawn);
    assert_int_equal(fx->spawned.created, 2);
    assert_int_equal(fx->spawned.duplicates, 1);
    assert_int_equal(fx->spawned.failed, 1);
    assert_true(fx->runs[0].page != 0 && fx->runs[1].page != 0 && fx->runs[0].page != fx->runs[1].page);
    assert_true(fx->runs[2].page == fx->runs[0].page && fx->runs[2].index == fx->runs[0].index);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_FAILED) == 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_FAILED)->key, "4");
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 2);
    for (size_t i = 0; i < 2; i++) {
        char id[FROE_RUN_ID_MAX], group[80];
        froe_run_id_text(fx->runs[i], id);
        snprintf(group, sizeof group, "%c/%s", i == 0 ? 'a' : 'b', id);
        size_t at = strcmp(froe_task_run_id(fx->held[0]), id) == 0 ? 0 : 1;
        assert_string_equal(froe_task_run_id(fx->held[at]), id);
        assert_string_equal(froe_task_group(fx->held[at]), group);
        assert_int_equal(fixture_group(fx, "w", group).live, 1);
    }
}

static void test_run_id_texts(void **state) {
    froe_run_id id = {0};
    char text[FROE_RUN_ID_MAX];
    static const struct {
        int64_t page;
        uint32_t index;
        const char *text;
    } good[] = {
        {1, 0, "1:0"}, {INT64_MAX, UINT32_MAX, "9223372036854775807:4294967295"}, {1000000, 999, "1000000:999"}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(froe_run_id_parse(good[i].text, &id), FROE_OK);
        assert_true(id.page == good[i].page && id.index == good[i].index);
        froe_run_id_text(id, text);
        assert_string_equal(text, good[i].text);
    }
    static const char *const bad[] = {"",     "1",    "1:",   ":1",    "0:0",          "-1:0",
                                      "1:-1", "1:0 ", " 1:0", "1:0:0", "1:4294967296", "9223372036854775808:0"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(froe_run_id_parse(bad[i], &id), FROE_ERR_INVALID);
    assert_int_equal(froe_run_id_parse(NULL, &id), FROE_ERR_INVALID);
}

/* ---- what was created ---- */

static void test_each_item_knows_its_run(void **state) {
    FX;
    froe_rule rule = {"input.bucket", 0, FROE_GROUP_ROUND_ROBIN, 0};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    froe_item items[] = {
        {.child_key = "b", .child_key_n = 1, .input = "{\"bucket\":\"x\"}"},
        {.child_key = "a", .child_key_n = 1, .input = "{\"bucket\":\"y\"}"},
        {.child_key = "b", .child_key_n = 1, .input = "{\"bucket\":\"x\"}"},
        {.child_key = "c", .child_key_n = 1, .input = "{\"bucket\":\"x\"}"},
        {.child_key = "d", .child_key_n = 1, .input = "{\"bucket\":\"y\"}"},
    };
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .items = items, .n = 5};
    fixture_spawn(fx, &spawn);
    assert_int_equal(fx->spawned.created, 4);
    assert_true(fx->runs[2].page == fx->runs[0].page && fx->runs[2].index == fx->runs[0].index);
    assert_true(fx->runs[0].page == fx->runs[3].page && fx->runs[1].page == fx->runs[4].page);
    assert_true(fx->runs[0].page != fx->runs[1].page);
    fixture_start(fx);
    UNTIL(fx, fx->n_ran == 4);
    for (size_t i = 0; i < fx->n_ran; i++) {
        size_t item = fx->ran[i].key[0] == 'b' ? 0 : fx->ran[i].key[0] == 'a' ? 1 : fx->ran[i].key[0] == 'c' ? 3 : 4;
        char id[FROE_RUN_ID_MAX];
        froe_run_id_text(fx->runs[item], id);
        assert_string_equal(fx->ran[i].run_id, id);
    }
}

/* ---- priorities ---- */

static void test_priorities(void **state) {
    FX;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_spawn_keys(fx, "w", NULL, "low", 0, 1); /* 1 is the default */
    spawn_n(fx, "w", "{\"p\":2}", 1, 2);
    spawn_n(fx, "w", "{\"p\":1}", 1, 1);
    spawn_n(fx, "w", "{\"p\":3}", 1, 3);
    froe_run_id three = fx->runs[0];
    fx->run = NULL;
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 4);
    assert_string_equal(froe_task_input(fx->held[0]), "{\"p\":3}");
    assert_true(froe_task_id(fx->held[0]).page == three.page);
    assert_string_equal(froe_task_input(fx->held[1]), "{\"p\":2}");
    assert_string_equal(froe_task_input(fx->held[2]), "{}");
    assert_string_equal(froe_task_input(fx->held[3]), "{\"p\":1}");
}

/* ---- not started in time ---- */

/* Nothing is under way that began before the clock is moved, and would count from after it. */
#define QUIET(fx) \
    UNTIL(fx, (fx)->froe->inflight == 0 && !(fx)->froe->look[0] && !(fx)->froe->look[1] && !(fx)->froe->ends->n)

static void test_not_started_in_time(void **state) {
    FX;
    fx->run = NULL;
    froe_workflow given = {.schedule_timeout_us = US_PER_MIN,
                           .retries = 1,
                           .backoff_us = 10 * US_PER_MIN,
                           .backoff_max_us = 10 * US_PER_MIN};
    froe_rule rule = {"'x'", 1, FROE_GROUP_ROUND_ROBIN, 0};
    fixture_workflow(fx, "w", &rule, 1, &given);
    fixture_workflow(fx, "patient", &rule, 1, NULL);
    fixture_start(fx);
    spawn_n(fx, "w", NULL, 1, 0);
    UNTIL(fx, fx->n_held == 1);
    spawn_n(fx, "w", "{\"late\":1}", 3, 0);
    spawn_n(fx, "patient", NULL, 1, 0);
    froe_spawn delayed = {.size = sizeof delayed, .workflow = "w", .n = 1, .delay_us = 5 * US_PER_MIN};
    fixture_spawn(fx, &delayed);
    QUIET(fx);
    fixture_move(fx, 2 * US_PER_MIN);
    UNTIL(fx, fixture_group(fx, "w", "x").cancelled == 3); /* some by the store, some that were leased already */
    assert_int_equal(fixture_group(fx, "w", "x").live, 2);
    /* One that was started once is not late, however long its retry waits; nor a delayed one before its time. */
    froe_task_fail(fixture_release(fx, 0), 0, "no");
    UNTIL(fx, fx->n_held == 1);
    assert_string_equal(froe_task_workflow(fx->held[0]), "patient");
    froe_task_succeed(fixture_release(fx, 0));
    QUIET(fx);
    fixture_move(fx, 3 * US_PER_MIN);
    UNTIL(fx, fx->n_held == 1); /* the delayed one */
    froe_task_succeed(fixture_release(fx, 0));
    QUIET(fx);
    fixture_move(fx, 10 * US_PER_MIN);
    UNTIL(fx, fx->n_held == 1);
    assert_int_equal(froe_task_attempt(fx->held[0]), 2);
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "x").done == 2);
    assert_int_equal(fixture_group(fx, "w", "x").cancelled, 3);
}

/* Leased is not started. */
static void test_leased_but_not_started_in_time(void **state) {
    FX;
    fx->run = NULL;
    froe_workflow given = {.schedule_timeout_us = US_PER_MIN};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 3);
    UNTIL(fx, fx->n_held == 1);
    UNTIL(fx, !list_empty(&LIST_ENTRY(fx->froe->lanes.next, struct lane, in_lanes)->leases));
    fixture_move(fx, 61 * US_PER_S);
    UNTIL(fx, fixture_group(fx, "w", "").cancelled == 2);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_CANCELLED) > 0);
    assert_string_equal(fixture_last(fx, FROE_EVENT_CANCELLED)->text, "cancelled: not started in time");
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "").live == 0);
    assert_int_equal(fx->n_ran, 1);
}

/* ---- turns ---- */

/* With fewer slots than groups that have work, each group waits for at most one round of the others. */
static void test_a_round_is_bounded(void **state) {
    FX;
    froe_rule rule = {"input.g", 0, FROE_GROUP_ROUND_ROBIN, 0};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_workflow(fx, "v", &rule, 1, NULL);
    for (size_t i = 0; i < 12; i++) {
        char input[40], prefix[20];
        snprintf(input, sizeof input, "{\"g\":\"%zu\"}", i);
        snprintf(prefix, sizeof prefix, "%zu/", i);
        fixture_spawn_keys(fx, i % 2 ? "v" : "w", input, prefix, 0, i < 2 ? 2000 : 60);
    }
    fixture_start(fx);
    UNTIL(fx, fx->n_ran >= 12 * 60);
    size_t last[12] = {0}, longest = 0;
    for (size_t i = 0; i < 12 * 50; i++) {
        size_t g = (size_t)atoi(fx->ran[i].group);
        if (i - last[g] > longest)
            longest = i - last[g];
        last[g] = i;
    }
    assert_in_range(longest, 12, 24);
    UNTIL(fx, fx->n_ran == 4000 + 600);
}

int main(int argc, char **argv) {
    int over = fixture_over(argc, argv);
    if (over)
        return over;
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_rate_is_kept),
        T(test_a_rate_is_shared_and_holds_no_slot),
        T(test_a_chain_with_a_rate),
        cmocka_unit_test_setup_teardown(test_a_rate_counts_starts, one_slot, fixture_teardown),
        T(test_a_rate_counts_every_start),
        T(test_keys_of_run_ids),
        cmocka_unit_test(test_run_id_texts),
        T(test_each_item_knows_its_run),
        T(test_priorities),
        cmocka_unit_test_setup_teardown(test_not_started_in_time, one_slot, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_leased_but_not_started_in_time, one_slot, fixture_teardown),
        T(test_a_round_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
