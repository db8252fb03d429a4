/* Attempts: backoff, parking, generations, checkpoints, timeouts, putting back, log lines. */
#include "fixture.h"
#include "fixture_postgres.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state

static const froe_workflow three_retries = {.retries = 3, .backoff_us = 10 * US_PER_S, .backoff_max_us = 30 * US_PER_S};

static void spawn_key(struct fixture *fx, const char *key, const char *generation) {
    froe_item item = {.child_key = key,
                      .child_key_n = strlen(key),
                      .generation = generation,
                      .generation_n = generation ? strlen(generation) : 0};
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "w", .items = &item, .n = 1};
    fixture_spawn(fx, &spawn);
}

static void test_backoff_and_parking(void **state) {
    FX;
    fx->run = run_fail;
    fixture_workflow(fx, "w", NULL, 0, &three_retries);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 40);
    static const int64_t nominal[] = {10, 20, 30};
    for (size_t attempt = 1; attempt <= 3; attempt++) {
        UNTIL(fx, fixture_told(fx, FROE_EVENT_RETRY) == 40 * attempt);
        int64_t least = INT64_MAX, most = 0;
        for (size_t i = 40 * (attempt - 1); i < 40 * attempt; i++) {
            assert_int_equal(fx->told[i].kind, FROE_EVENT_RETRY);
            assert_int_equal(fx->told[i].level, FROE_WARN);
            assert_int_equal(fx->told[i].attempt, attempt);
            assert_string_equal(fx->told[i].text, "it broke");
            int64_t delay_us = fx->told[i].delay_us;
            least = delay_us < least ? delay_us : least;
            most = delay_us > most ? delay_us : most;
        }
        int64_t whole = nominal[attempt - 1] * US_PER_S;
        assert_true(least >= whole / 2 && most <= whole);
        assert_true(most - least > whole / 10); /* jitter there is */
        assert_int_equal(fixture_group(fx, "w", "").waiting, 40);
        size_t before = fx->n_ran;
        fixture_move(fx, least - 2 * US_PER_S);
        fixture_linger(fx, 30 * US_PER_MS);
        assert_int_equal(fx->n_ran, before);
        fixture_move(fx, whole);
        UNTIL(fx, fx->n_ran == 40 * (attempt + 1));
    }
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 40);
    assert_int_equal(fixture_last(fx, FROE_EVENT_PARKED)->attempt, 4);
    froe_group group = fixture_group(fx, "w", "");
    assert_int_equal(group.live, 0);
    assert_int_equal(group.parked, 40);
    assert_int_equal(group.failed, 160);
    assert_int_equal(group.waiting, 0);
    fixture_move(fx, US_PER_DAY / 2);
    fixture_linger(fx, 30 * US_PER_MS);
    assert_int_equal(fx->n_ran, 160); /* parked for good */
}

static char parked_keys[10][40];
static size_t n_parked;
static char last_id[40], parked_error[64], parked_generation[16];
static uint32_t parked_attempts;

static void note_parked(void *arg, const froe_parked *parked) {
    snprintf(parked_keys[n_parked++ % 10], 40, "%.*s", (int)parked->child_key_n, (const char *)parked->child_key);
    snprintf(last_id, sizeof last_id, "%s", parked->run_id);
    snprintf(parked_error, sizeof parked_error, "%s", parked->error);
    snprintf(parked_generation, sizeof parked_generation, "%.*s", (int)parked->generation_n,
             parked->generation ? (const char *)parked->generation : "");
    parked_attempts = parked->attempts;
    assert_string_equal(parked->workflow, "w");
    assert_true(parked->parked_utc_us >= T0_UTC_US);
}

static uint64_t list_parked(struct fixture *fx, const froe_parked_filter *filter) {
    n_parked = 0;
    size_t before = fx->done_calls;
    assert_int_equal(froe_parked_list(fx->froe, filter, note_parked, fixture_counted, fx, &fx->error), FROE_OK);
    UNTIL(fx, fx->done_calls > before);
    assert_int_equal(fx->count, n_parked);
    return fx->count;
}

static void test_parked_list_retry_drop(void **state) {
    FX;
    fx->run = run_fail_final;
    fixture_workflow(fx, "w", NULL, 0, &three_retries);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 5);
    spawn_key(fx, "g", "v1");
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 6);
    assert_int_equal(fixture_told(fx, FROE_EVENT_RETRY), 0);
    assert_int_equal(list_parked(fx, NULL), 6);
    assert_string_equal(parked_keys[5], "g");
    assert_string_equal(parked_error, "no point");
    assert_string_equal(parked_generation, "v1");
    assert_int_equal(parked_attempts, 1);

    froe_parked_filter filter = {.size = sizeof filter, .limit = 2};
    assert_int_equal(list_parked(fx, &filter), 2);
    assert_string_equal(parked_keys[0], "k000000");
    filter.after = last_id;
    assert_int_equal(list_parked(fx, &filter), 2);
    assert_string_equal(parked_keys[0], "k000002");
    filter = (froe_parked_filter){.size = sizeof filter, .after = "nonsense"};
    assert_int_equal(froe_parked_list(fx->froe, &filter, NULL, NULL, NULL, NULL), FROE_ERR_INVALID);
    filter = (froe_parked_filter){.size = sizeof filter, .workflow = "nobody"};
    assert_int_equal(list_parked(fx, &filter), 0);

    /* Retry one: attempt 1 again. */
    filter = (froe_parked_filter){.size = sizeof filter, .workflow = "w", .child_key = "k000003", .child_key_n = 7};
    fx->run = run_succeed;
    size_t calls = fx->done_calls, ran = fx->n_ran;
    assert_int_equal(froe_parked_retry(fx->froe, &filter, fixture_counted, fx, NULL), FROE_OK);
    UNTIL(fx, fx->done_calls > calls && fx->n_ran > ran);
    assert_int_equal(fx->count, 1);
    assert_string_equal(fx->ran[ran].key, "k000003");
    assert_int_equal(fx->ran[ran].attempt, 1);
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    assert_int_equal(fixture_group(fx, "w", "").parked, 5);

    filter = (froe_parked_filter){.size = sizeof filter, .child_key = "g", .child_key_n = 1};
    calls = fx->done_calls;
    assert_int_equal(froe_parked_drop(fx->froe, &filter, fixture_counted, fx, NULL), FROE_OK);
    UNTIL(fx, fx->done_calls > calls);
    assert_int_equal(fixture_group(fx, "w", "").parked, 4);
    calls = fx->done_calls;
    assert_int_equal(froe_parked_retry(fx->froe, NULL, fixture_counted, fx, NULL), FROE_OK);
    UNTIL(fx, fx->done_calls > calls && fixture_group(fx, "w", "").live == 0);
    assert_int_equal(fx->count, 4);
    assert_int_equal(fixture_group(fx, "w", "").done, 5);
    assert_int_equal(fixture_group(fx, "w", "").parked, 0);
}

static void test_a_new_generation_takes_a_parked_place(void **state) {
    FX;
    fx->run = run_fail_final;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    spawn_key(fx, "k", "v1");
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 1);
    spawn_key(fx, "k", "v1");
    assert_int_equal(fx->spawned.duplicates, 1);
    spawn_key(fx, "k", "v2");
    assert_int_equal(fx->spawned.superseded, 1);
    assert_int_equal(fx->spawned.created, 2);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 2);
    froe_group group = fixture_group(fx, "w", "");
    assert_int_equal(group.parked, 1);
    assert_int_equal(group.live, 0);
}

/* What an attempt does, by its number among all. */
static void run_generations(struct fixture *fx, froe_task *task) {
    switch (fx->n_ran) {
    case 1: /* known from the spawn: v1 */
        assert_int_equal(froe_task_set_generation(task, "v1", 2), FROE_OK);
        assert_int_equal(froe_task_attempt(task), 1);
        assert_int_equal(froe_task_set_checkpoint(task, "first", 5), FROE_OK);
        froe_task_fail(task, 0, "1");
        break;
    case 2:
        assert_int_equal(froe_task_attempt(task), 2);
        assert_int_equal(froe_task_set_generation(task, "v1", 2), FROE_OK);
        assert_int_equal(froe_task_attempt(task), 2);
        assert_int_equal(froe_task_set_generation(task, "v2", 2), FROE_OK);
        assert_int_equal(froe_task_attempt(task), 1);
        size_t n;
        assert_null(froe_task_checkpoint(task, &n));
        assert_int_equal(n, 0);
        froe_task_fail(task, 0, "2");
        break;
    case 3:
        assert_int_equal(froe_task_attempt(task), 2);
        assert_int_equal(froe_task_set_checkpoint(task, "a", 1), FROE_OK);
        assert_int_equal(froe_task_set_checkpoint(task, "third", 5), FROE_OK);
        froe_task_again(task, 5 * US_PER_S, "not its fault");
        break;
    case 4:
        assert_int_equal(froe_task_attempt(task), 2);
        assert_int_equal(froe_task_set_checkpoint(task, NULL, 0), FROE_OK);
        froe_task_fail(task, 0, "4");
        break;
    case 5:
        assert_int_equal(froe_task_attempt(task), 3);
        froe_task_succeed(task);
        break;
    default:
        fail();
    }
}

static void test_checkpoints_and_generations(void **state) {
    FX;
    fx->run = run_generations;
    fixture_workflow(fx, "w", NULL, 0, &three_retries);
    fixture_start(fx);
    spawn_key(fx, "k", "v1");
    for (size_t n = 1; n < 5; n++) {
        UNTIL(fx, fx->n_ran == n && fixture_told(fx, FROE_EVENT_RETRY) == n);
        fixture_move(fx, US_PER_MIN);
    }
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    static const char *const checkpoints[] = {"", "first", "", "third", ""};
    static const char *const generations[] = {"v1", "v1", "v2", "v2", "v2"};
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(fx->ran[i].checkpoint, checkpoints[i]);
        assert_string_equal(fx->ran[i].generation, generations[i]);
        assert_string_equal(fx->ran[i].run_id, fx->ran[0].run_id);
        assert_string_equal(fx->ran[i].key, "k");
    }
    assert_int_equal(fixture_group(fx, "w", "").failed, 3); /* again is none */
    assert_int_equal(fx->told[2].level, FROE_DEBUG);
}

static void run_adopt(struct fixture *fx, froe_task *task) {
    size_t n;
    if (fx->n_ran == 2) {
        /* None was known: taken on without a reset. */
        assert_int_equal(froe_task_set_generation(task, "v1", 2), FROE_OK);
        assert_int_equal(froe_task_attempt(task), 2);
        assert_memory_equal(froe_task_checkpoint(task, &n), "kept", 4);
        assert_memory_equal(froe_task_generation(task, &n), "v1", 2);
        froe_task_succeed(task);
        return;
    }
    static char big[FROE_CHECKPOINT_MAX + 1];
    assert_int_equal(froe_task_set_checkpoint(task, big, sizeof big), FROE_ERR_INVALID);
    assert_int_equal(froe_task_set_generation(task, big, FROE_GENERATION_MAX + 1), FROE_ERR_INVALID);
    assert_int_equal(froe_task_set_checkpoint(task, "kept", 4), FROE_OK);
    froe_task_fail(task, 0, NULL);
}

static void test_adopting_a_generation(void **state) {
    FX;
    fx->run = run_adopt;
    fixture_workflow(fx, "w", NULL, 0, &three_retries);
    fixture_start(fx);
    spawn_key(fx, "k", NULL);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_RETRY) == 1);
    fixture_move(fx, US_PER_MIN);
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
}

static void test_timeout(void **state) {
    FX;
    fx->run = NULL;
    froe_workflow given = {.retries = 1, .timeout_us = US_PER_MIN, .backoff_us = US_PER_S};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    spawn_key(fx, "a", NULL);
    UNTIL(fx, fx->n_held == 1);
    fixture_move(fx, 30 * US_PER_S);
    spawn_key(fx, "b", NULL);
    UNTIL(fx, fx->n_held == 2);
    fixture_move(fx, 29 * US_PER_S);
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(froe_task_cancelled(fx->held[0]), FROE_NOT_CANCELLED);
    fixture_move(fx, US_PER_S);
    UNTIL(fx, froe_task_cancelled(fx->held[0]) == FROE_CANCELLED_TIMEOUT);
    assert_int_equal(froe_task_cancelled(fx->held[1]), FROE_NOT_CANCELLED);
    assert_int_equal(fixture_group(fx, "w", "").running, 2); /* its slot is taken until it has ended */
    froe_task_succeed(fixture_release(fx, 0));               /* too late */
    froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fixture_told(fx, FROE_EVENT_RETRY) == 1 && fixture_group(fx, "w", "").done == 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_RETRY)->text, "timed out after 1m");
    assert_string_equal(fixture_last(fx, FROE_EVENT_RETRY)->key, "a");
    fixture_move(fx, 2 * US_PER_S);
    UNTIL(fx, fx->n_held == 1);
    fixture_move(fx, US_PER_MIN);
    UNTIL(fx, froe_task_cancelled(fx->held[0]) == FROE_CANCELLED_TIMEOUT);
    froe_task_again(fixture_release(fx, 0), 0, "let me");
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 1);
}

/* Of a timeout too the task may say that it was the last attempt; the text tells the time that it was given. */
static void test_timeout_of_a_last_attempt(void **state) {
    FX;
    fx->run = NULL;
    froe_workflow given = {.retries = 5, .timeout_us = US_PER_MIN, .backoff_us = US_PER_S};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    spawn_key(fx, "a", NULL);
    UNTIL(fx, fx->n_held == 1);
    froe_task_refresh_timeout(fx->held[0], 5 * US_PER_S);
    fixture_move(fx, 5 * US_PER_S);
    UNTIL(fx, froe_task_cancelled(fx->held[0]) == FROE_CANCELLED_TIMEOUT);
    froe_task_fail(fixture_release(fx, 0), FROE_FAIL_FINAL, "enough");
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 1);
    assert_int_equal(fixture_told(fx, FROE_EVENT_RETRY), 0);
    assert_memory_equal(fixture_last(fx, FROE_EVENT_PARKED)->text, "timed out after 5", 17);
}

static void cancel_ends_all(struct fixture *fx, froe_task *task) {
    assert_int_equal(froe_task_cancelled(task), FROE_CANCELLED_TIMEOUT);
    while (fx->n_held)
        froe_task_fail(fixture_release(fx, 0), 0, "all at once");
}

static void test_cancel_may_end_others(void **state) {
    FX;
    fx->run = NULL;
    fx->cancel = cancel_ends_all;
    froe_workflow given = {.timeout_us = US_PER_MIN};
    fixture_workflow(fx, "w", NULL, 0, &given);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 8);
    UNTIL(fx, fx->n_held == 8);
    fixture_move(fx, US_PER_MIN);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 8);
    size_t timed_out = 0;
    for (size_t i = 0; i < fx->n_told; i++)
        timed_out += strcmp(fx->told[i].text, "timed out after 1m") == 0;
    assert_int_equal(timed_out, 1);
}

static void run_again_5(struct fixture *fx, froe_task *task) {
    assert_int_equal(froe_task_attempt(task), 1);
    assert_null(froe_task_data(task));
    froe_task_set_data(task, fx);
    if (fx->n_ran <= 5)
        froe_task_again(task, 100 * US_PER_MS, "busy");
    else
        froe_task_succeed(task);
}

static void test_again_in_memory(void **state) {
    FX;
    fx->run = run_again_5;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    int64_t began = clock_utc_us(&fx->clock.clock);
    spawn_key(fx, "k", NULL);
    UNTIL(fx, fx->n_ran == 1);
    assert_int_equal(fixture_group(fx, "w", "").waiting, 1);
    UNTIL(fx, fixture_group(fx, "w", "").done == 1);
    assert_int_equal(fx->n_ran, 6);
    assert_true(clock_utc_us(&fx->clock.clock) - began >= 500 * US_PER_MS);
    assert_int_equal(fixture_group(fx, "w", "").waiting, 0);
    assert_int_equal(fixture_group(fx, "w", "").failed, 0);
    assert_int_equal(fixture_told(fx, FROE_EVENT_RETRY), 5);
}

/* All of a big page is put back, more than may wait in memory. */
static void run_again_until_late(struct fixture *fx, froe_task *task) {
    if (clock_utc_us(&fx->clock.clock) < T0_UTC_US + US_PER_HOUR)
        froe_task_again(task, US_PER_S / 2, NULL);
    else
        froe_task_succeed(task);
}

static void test_again_of_very_many(void **state) {
    FX;
    fx->run = run_again_until_late;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 300);
    UNTIL(fx, fx->n_ran >= 300);
    assert_int_equal(fixture_group(fx, "w", "").live, 300);
    fixture_move(fx, US_PER_HOUR);
    UNTIL(fx, fixture_group(fx, "w", "").done == 300);
    assert_int_equal(fixture_group(fx, "w", "").waiting, 0);
}

static void run_log(struct fixture *fx, froe_task *task) {
    char big[3000];
    memset(big, 'x', sizeof big - 1);
    memcpy(big + 999, "\xc3\xa4", 2); /* the limit falls inside it */
    big[sizeof big - 1] = '\0';
    froe_task_log(task, FROE_INFO, "%s", big);
    froe_task_log(task, FROE_WARN, "number %d", 7);
    froe_task_succeed(task);
}

static void test_log_lines(void **state) {
    FX;
    fx->run = run_log;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    spawn_key(fx, "k", NULL);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_LOG) == 2 && fixture_group(fx, "w", "").done == 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_LOG)->text, "number 7");
    assert_string_equal(fixture_last(fx, FROE_EVENT_LOG)->key, "k");
    assert_int_equal(fixture_last(fx, FROE_EVENT_LOG)->level, FROE_WARN);
    assert_string_equal(fixture_last(fx, FROE_EVENT_LOG)->run_id, fx->ran[0].run_id);
}

static size_t lines, longest;

static int count_line(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text) {
    lines++;
    if (text.n > longest)
        longest = text.n;
    assert_true(text_is_utf8(text));
    return 0;
}

static void test_log_lines_are_kept_and_bounded(void **state) {
    FX;
    fx->run = run_log;
    fx->froe->event = NULL;
    fixture_workflow(fx, "w", NULL, 0, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", NULL, "k", 0, 12000);
    UNTIL(fx, fixture_group(fx, "w", "").done == 12000);
    fixture_close(fx);
    struct store *store;
    struct err err;
    assert_int_equal(store_open(fx->uri, NULL, &store, &err), 0);
    lines = longest = 0;
    assert_int_equal(store_log_each(store, 0, 0, count_line, NULL, &err), 0);
    assert_true(lines >= STORE_LOG_LINES_MAX / 2 && lines <= 2 * STORE_LOG_LINES_MAX);
    assert_int_equal(longest, 999);
    assert_int_equal(store_check(store, &err), 0);
    store_close(store);
}

int main(int argc, char **argv) {
    int over = fixture_over(argc, argv);
    if (over)
        return over;
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_backoff_and_parking),
        T(test_parked_list_retry_drop),
        T(test_a_new_generation_takes_a_parked_place),
        T(test_checkpoints_and_generations),
        T(test_adopting_a_generation),
        T(test_timeout),
        T(test_timeout_of_a_last_attempt),
        T(test_cancel_may_end_others),
        T(test_again_in_memory),
        T(test_again_of_very_many),
        T(test_log_lines),
        T(test_log_lines_are_kept_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
