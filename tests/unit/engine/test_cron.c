/* The cron, against a clock that is moved. It begins at 2026-01-01T09:00:00Z and a bit. */
#include "fixture.h"
#include "fixture_postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state

static char scheduled[64][200];

static void run_tick(struct fixture *fx, froe_task *task) {
    snprintf(scheduled[(fx->n_ran - 1) % 64], 200, "%s", froe_task_metadata(task));
    assert_string_equal(froe_task_input(task), "{}");
    froe_task_succeed(task);
}

static void add(struct fixture *fx, const char *cron, const froe_rule *rules, size_t n_rules) {
    froe_workflow given = {.cron = cron};
    fixture_workflow(fx, "w", rules, n_rules, &given);
    fixture_start(fx);
    UNTIL(fx, fx->froe->state == WORKER_RUNNING);
    fixture_linger(fx, 5 * US_PER_MS);
}

/* To a time of the first day. */
static void move_to(struct fixture *fx, int64_t hours, int64_t minutes, int64_t seconds) {
    int64_t to = T0_UTC_US + (hours - 9) * US_PER_HOUR + minutes * US_PER_MIN + seconds * US_PER_S;
    fixture_move(fx, to - clock_utc_us(&fx->clock.clock));
}

static void test_ticks_are_exact(void **state) {
    FX;
    fx->run = run_tick;
    add(fx, "*/5 * * * *", NULL, 0);
    for (int64_t minute = 5; minute <= 20; minute += 5) {
        move_to(fx, 9, minute - 1, 30); /* not so near that a slow machine gets there by itself */
        fixture_linger(fx, 20 * US_PER_MS);
        assert_int_equal(fx->n_ran, minute / 5 - 1);
        move_to(fx, 9, minute, 0);
        UNTIL(fx, fx->n_ran == (size_t)minute / 5);
        char want[120];
        snprintf(want, sizeof want, "{\"froe__cron\":\"*/5 * * * *\",\"froe__scheduled\":\"2026-01-01T09:%02d:00Z\"}",
                 (int)minute);
        assert_string_equal(scheduled[fx->n_ran - 1], want);
    }
}

static void test_real_seconds(void **state) {
    FX;
    fx->run = run_tick;
    add(fx, "* * * * * *", NULL, 0);
    UNTIL(fx, fx->n_ran == 3);
    for (size_t i = 1; i < 3; i++)
        assert_true(strcmp(scheduled[i - 1], scheduled[i]) < 0); /* each second at most once */
}

static void test_missed_ticks_are_skipped(void **state) {
    FX;
    fx->run = run_tick;
    add(fx, "0 * * * *", NULL, 0);
    move_to(fx, 12, 30, 0); /* as after a sleep: 10, 11 and 12 o'clock are long over */
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 0);
    move_to(fx, 15, 0, 30); /* late, but not by much: one, the newest */
    UNTIL(fx, fx->n_ran == 1);
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 1);
    assert_non_null(strstr(scheduled[0], "2026-01-01T15:00:00Z"));
}

static void test_a_tick_is_made_once(void **state) {
    FX;
    fx->run = run_tick;
    add(fx, "0 * * * *", NULL, 0);
    move_to(fx, 10, 0, 0);
    UNTIL(fx, fx->n_ran == 1);
    /* The wall clock is set back, and comes by again. */
    atomic_fetch_sub(&fx->clock.utc_us, 30 * US_PER_MIN);
    engine_clock_moved(fx->froe);
    fixture_linger(fx, 20 * US_PER_MS);
    move_to(fx, 10, 0, 0);
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 1);
    move_to(fx, 11, 0, 0);
    UNTIL(fx, fx->n_ran == 2);
    /* Nor by the next process. */
    fixture_close(fx);
    fixture_open(fx);
    add(fx, "0 * * * *", NULL, 0);
    atomic_fetch_sub(&fx->clock.utc_us, 30 * US_PER_MIN);
    engine_clock_moved(fx->froe);
    fixture_linger(fx, 20 * US_PER_MS);
    move_to(fx, 11, 0, 0);
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 2);
}

static void test_a_refused_tick_is_an_event(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"'singleton'", 1, FROE_CANCEL_NEWEST};
    add(fx, "* * * * *", &rule, 1);
    move_to(fx, 9, 1, 0);
    UNTIL(fx, fx->n_held == 1);
    for (int minute = 2; minute <= 4; minute++) {
        move_to(fx, 9, minute, 0);
        UNTIL(fx, fixture_told(fx, FROE_EVENT_REFUSED) == (size_t)minute - 1);
    }
    froe_group group = fixture_group(fx, "w", "");
    assert_int_equal(group.cancelled, 3);
    assert_int_equal(group.live, 1);
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_group(fx, "w", "").live == 0);
    move_to(fx, 9, 5, 0);
    UNTIL(fx, fx->n_held == 1);
    froe_task_succeed(fixture_release(fx, 0));
}

static void test_a_tick_without_a_key_is_told(void **state) {
    FX;
    froe_rule rule = {"input.bucket", 1, FROE_CANCEL_NEWEST};
    add(fx, "* * * * *", &rule, 1);
    move_to(fx, 9, 1, 0);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_FAILED) == 1);
    assert_int_equal(fixture_last(fx, FROE_EVENT_FAILED)->level, FROE_ERROR);
}

static void test_no_ticks_after_a_stop(void **state) {
    FX;
    add(fx, "* * * * *", NULL, 0);
    fixture_stop(fx, FROE_STOP_FINISH);
    move_to(fx, 9, 1, 0);
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(fx->n_ran, 0);
    assert_int_equal(fixture_group(fx, "w", "").live, 0);
}

/* ---- zones, inputs, catching up ---- */

static void run_with_input(struct fixture *fx, froe_task *task) {
    snprintf(scheduled[(fx->n_ran - 1) % 64], 200, "%s %s", froe_task_metadata(task), froe_task_input(task));
    froe_task_succeed(task);
}

static void add_given(struct fixture *fx, froe_workflow given) {
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    UNTIL(fx, fx->froe->state == WORKER_RUNNING);
    fixture_linger(fx, 5 * US_PER_MS);
}

static void test_a_zone_and_an_input(void **state) {
    FX;
    fx->run = run_with_input;
    add_given(fx, (froe_workflow){.cron = "0 12 * * *", .timezone = "America/New_York", .cron_input = "{\"a\":[1]}"});
    move_to(fx, 16, 59, 59);
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(fx->n_ran, 0);
    move_to(fx, 17, 0, 0);
    UNTIL(fx, fx->n_ran == 1);
    assert_string_equal(scheduled[0],
                        "{\"froe__cron\":\"0 12 * * *\",\"froe__scheduled\":\"2026-01-01T17:00:00Z\"} {\"a\":[1]}");
}

static void test_a_zone_in_the_expression(void **state) {
    FX;
    fx->run = run_with_input;
    add_given(fx, (froe_workflow){.cron = "CRON_TZ=Asia/Tokyo 30 19 * * *"});
    move_to(fx, 10, 30, 0);
    UNTIL(fx, fx->n_ran == 1);
}

static void test_bad_schedules(void **state) {
    FX;
    static const froe_workflow bad[] = {
        {.cron = "* * * * *", .timezone = "Mars/Olympus"},
        {.cron = "CRON_TZ=Asia/Tokyo * * * * *", .timezone = "Europe/Berlin"},
        {.cron = "* * * * *", .cron_input = "[1]"},
        {.cron = "* * * * *", .cron_input = "{"},
        {.cron_input = "{}"},
        {.timezone = "UTC"},
        {.flags = FROE_CATCH_UP},
        {.flags = 1024},
        {.schedule_timeout_us = -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        froe_workflow workflow = bad[i];
        workflow.size = sizeof workflow;
        workflow.name = "w";
        workflow.run = fixture_run;
        froe_error error = {0};
        assert_int_equal(froe_workflow_add(fx->froe, &workflow, &error), FROE_ERR_INVALID);
        assert_non_null(strstr(error.text, "workflow w"));
    }
    fixture_workflow(fx, "w", NULL, 0, NULL);
}

/* Stops everything, lets time pass, and starts anew. */
static void be_away(struct fixture *fx, int64_t hours, int64_t minutes, froe_workflow given) {
    fixture_close(fx);
    int64_t to = T0_UTC_US + (hours - 9) * US_PER_HOUR + minutes * US_PER_MIN;
    atomic_fetch_add(&fx->clock.utc_us, to - clock_utc_us(&fx->clock.clock));
    fixture_open(fx);
    add_given(fx, given);
    fixture_linger(fx, 30 * US_PER_MS);
}

static void test_catching_up(void **state) {
    FX;
    fx->run = run_tick;
    froe_workflow given = {.cron = "0 * * * *", .flags = FROE_CATCH_UP};
    add_given(fx, given);
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 0); /* it never was before: nothing was missed */
    move_to(fx, 10, 0, 0);
    UNTIL(fx, fx->n_ran == 1);
    be_away(fx, 10, 40, given);
    assert_int_equal(fx->n_ran, 1);
    be_away(fx, 17, 40, given); /* 11 to 17 were missed: one run, for the newest */
    UNTIL(fx, fx->n_ran == 2);
    assert_non_null(strstr(scheduled[1], "2026-01-01T17:00:00Z"));
    be_away(fx, 17, 50, given);
    assert_int_equal(fx->n_ran, 2);
    /* A clock that jumps while it works misses ticks, too. */
    move_to(fx, 20, 20, 0);
    UNTIL(fx, fx->n_ran == 3);
    assert_non_null(strstr(scheduled[2], "2026-01-01T20:00:00Z"));
    /* Then all is as usual. */
    move_to(fx, 21, 0, 0);
    UNTIL(fx, fx->n_ran == 4);
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 4);
}

static void test_skipping_is_the_default(void **state) {
    FX;
    fx->run = run_tick;
    froe_workflow given = {.cron = "0 * * * *"};
    add_given(fx, given);
    move_to(fx, 10, 0, 0);
    UNTIL(fx, fx->n_ran == 1);
    be_away(fx, 17, 40, given);
    assert_int_equal(fx->n_ran, 1);
}

static void test_catching_up_after_very_long(void **state) {
    FX;
    fx->run = run_tick;
    froe_workflow given = {.cron = "*/10 * 9 * * 1-5", .flags = FROE_CATCH_UP}; /* every ten seconds, of an hour */
    add_given(fx, given);
    move_to(fx, 9, 10, 0);
    UNTIL(fx, fx->n_ran == 1);
    be_away(fx, 24 * 400, 0, given);
    UNTIL(fx, fx->n_ran == 2);
    assert_non_null(strstr(scheduled[1], ":59:50Z")); /* the last of the last hour */
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 2);
}

int main(int argc, char **argv) {
    int over = fixture_over(argc, argv);
    if (over)
        return over;
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_ticks_are_exact),
        T(test_real_seconds),
        T(test_missed_ticks_are_skipped),
        T(test_a_tick_is_made_once),
        T(test_a_refused_tick_is_an_event),
        T(test_a_tick_without_a_key_is_told),
        T(test_no_ticks_after_a_stop),
        T(test_a_zone_and_an_input),
        T(test_a_zone_in_the_expression),
        T(test_bad_schedules),
        T(test_catching_up),
        T(test_skipping_is_the_default),
        T(test_catching_up_after_very_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
