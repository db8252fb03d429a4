/* conformance_history.c - what is known of runs while they live and after they ended, and for how long. */
#include "conformance_steps.h"

#include "mem.h"

#include <stdio.h>

/* ---- one run ---- */

static void attempts_are_kept_in_order(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5)), second = 0;
    assert_int_equal(store_worker_add(steps->store, BYTES("second"), 1, &second, NULL), 0);
    steps_spawn(steps, workflow, "g", "a b");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    assert_string_equal(steps_attempts(steps, a.page, a.index), "");
    steps_retry(steps, &a, 1, 0);
    a = steps_hold(steps, steps_claim(steps, second, workflow, 1, 1, 1), "a");
    a.worker = second;
    steps_retry(steps, &a, 2, 0);
    a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    struct store_settled again = {.lease = a.lease, .index = a.index, .outcome = STORE_RETRY, .child_key = BYTES("a")};
    assert_int_equal(steps_settle(steps, a.worker, &again, 1), 0); /* no failed attempt: not there */
    a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_park(steps, &a);
    static const char before[] = "1 RETRY w went wrong -;2 RETRY second went wrong -;4 PARKED w went wrong -;";
    assert_string_equal(steps_attempts(steps, a.page, a.index), before);
    uint64_t count;
    steps_begin(steps);
    assert_int_equal(store_parked_retry(steps->store, &(struct store_parked_filter){0}, &count, NULL), 0);
    steps_commit(steps);
    a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_release(steps, &a); /* not there either */
    assert_string_equal(steps_attempts(steps, a.page, a.index), before);
    steps_crash(steps);
    a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_done(steps, &a);
    char all[256];
    snprintf(all, sizeof all, "%s1 DONE w - {\"done\":1};", before);
    assert_string_equal(steps_attempts(steps, a.page, a.index), all);
    steps_reopen(steps);
    assert_string_equal(steps_attempts(steps, a.page, a.index), all);
    assert_string_equal(steps_attempts(steps, a.page, a.index + 1), "");
    assert_string_equal(steps_attempts(steps, a.page + 77, 0), "");
}

struct copied {
    struct store_run_info info;
    char text[1024];
    int calls;
};

static int copy_run(void *arg, const struct store_run_info *run) {
    struct copied *copied = arg;
    copied->info = *run;
    copied->calls++;
    const struct bytes parts[] = {run->workflow_name, run->group,      run->child_key, run->generation, run->input,
                                  run->metadata,      run->checkpoint, run->error,     run->result,     run->worker};
    copied->text[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        size_t n = strlen(copied->text);
        snprintf(copied->text + n, sizeof copied->text - n, "%.*s,", (int)parts[i].n, parts[i].p ? parts[i].p : "");
    }
    return 0;
}

static struct copied get(struct steps *steps, int64_t page, uint32_t index) {
    struct copied copied = {0};
    assert_int_equal(store_run_get(steps->store, page, index, copy_run, &copied, NULL), 0);
    assert_int_equal(copied.calls, 1);
    assert_int_equal(copied.info.page, page);
    assert_int_equal(copied.info.index, index);
    return copied;
}

static void a_run_tells_all_of_itself(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5)), t0 = steps_now(steps);
    struct store_page more = {.parent_page = 7, .parent_index = 3, .priority = 2};
    int64_t page = steps_spawn_as(steps, workflow, "g", "a:1 b:1", &more).page, t1 = steps_now(steps);
    struct copied run = get(steps, page, 0);
    assert_string_equal(run.text, "w,g,a,1,{\"of\":\"page\"},{\"meta\":1},,,,,");
    assert_int_equal(run.info.state, STORE_STATE_QUEUED);
    assert_int_equal(run.info.priority, 2);
    assert_int_equal(run.info.parent_page, 7);
    assert_int_equal(run.info.parent_index, 3);
    assert_int_equal(run.info.attempts, 0);
    assert_in_range(run.info.created_utc_us, t0, t1);
    assert_int_equal(run.info.due_utc_us + run.info.ended_utc_us + run.info.duration_us, 0);

    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    run = get(steps, page, 0);
    assert_string_equal(run.text, "w,g,a,1,{\"of\":\"page\"},{\"meta\":1},,,,w,");
    assert_int_equal(run.info.state, STORE_STATE_LEASED);
    assert_false(run.info.cancel_asked);

    strcpy(a.generation, "2");
    int64_t t2 = steps_now(steps);
    steps_retry(steps, &a, 1, US_PER_MIN);
    int64_t t3 = steps_now(steps);
    for (int round = 0; round < 2; round++) {
        run = get(steps, page, 0);
        assert_string_equal(run.text, "w,g,a,2,{\"of\":\"run\"},{\"meta\":1},checkpoint,went wrong,,w,");
        assert_int_equal(run.info.state, STORE_STATE_WAITING);
        assert_int_equal(run.info.attempts, 1);
        assert_int_equal(run.info.priority, 2);
        assert_int_equal(run.info.parent_page, 7);
        assert_in_range(run.info.created_utc_us, t0, t1);
        assert_in_range(run.info.due_utc_us, t2 + US_PER_MIN, t3 + US_PER_MIN);
        assert_in_range(run.info.ended_utc_us, t2, t3);
        assert_int_equal(run.info.duration_us, 1500);
        steps_crash(steps);
    }

    struct held b = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "b");
    steps_park(steps, &b);
    run = get(steps, page, 1);
    assert_string_equal(run.text, "w,g,b,1,{\"of\":\"run\"},{\"meta\":1},checkpoint,went wrong,,w,");
    assert_int_equal(run.info.state, STORE_STATE_PARKED);
    assert_int_equal(run.info.attempts, 4);
    assert_int_equal(run.info.due_utc_us, 0);
    assert_true(run.info.ended_utc_us >= t3);

    assert_int_equal(steps_cancel_run(steps, page, 0), STORE_STATE_WAITING);
    int64_t t4 = steps_now(steps), third = steps_spawn(steps, workflow, "g", "c:9").page;
    struct held c = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "c");
    steps_done(steps, &c);
    for (int round = 0; round < 2; round++) {
        run = get(steps, page, 0);
        assert_int_equal(run.info.state, STORE_STATE_CANCELLED);
        assert_true(strstr(run.text, "w,g,a,2,{\"of\":\"run\"},{\"meta\":1},") == run.text);
        assert_null(strstr(run.text, "went wrong"));
        assert_int_equal(run.info.attempts, 1);
        assert_in_range(run.info.created_utc_us, t0, t1);
        assert_in_range(run.info.ended_utc_us, t3, t4);
        run = get(steps, third, 0);
        assert_string_equal(run.text, "w,g,c,9,{\"of\":\"page\"},{\"meta\":1},,,{\"done\":1},w,");
        assert_int_equal(run.info.state, STORE_STATE_DONE);
        assert_int_equal(run.info.attempts, 1);
        assert_int_equal(run.info.priority, 1);
        assert_int_equal(run.info.duration_us, 1500);
        assert_true(run.info.ended_utc_us >= t4);
        steps_crash(steps);
    }
    struct err err = {0};
    assert_int_equal(store_run_get(steps->store, page, 2, copy_run, &run, &err), -ENOENT);
    assert_int_equal(store_run_get(steps->store, page, UINT32_MAX, copy_run, &run, &err), -ENOENT);
    assert_int_equal(store_run_get(steps->store, page + 99, 0, copy_run, &run, &err), -ENOENT);
    assert_true(strlen(err.text) > 0);
}

static int stop_with(void *arg, const struct store_run_info *run) {
    int *left = arg;
    return --left[0] == 0 ? left[1] : 0;
}

static void a_callback_may_stop(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5)), page = steps_spawn(steps, workflow, "g", "a b c").page;
    const struct store_runs_filter any = {0};
    int stop[] = {2, 1};
    assert_int_equal(store_runs_each(steps->store, &any, stop_with, stop, NULL), 0);
    assert_int_equal(stop[0], 0); /* not asked a third time */
    int fail[] = {2, -77};
    assert_int_equal(store_runs_each(steps->store, &any, stop_with, fail, NULL), -77);
    assert_int_equal(fail[0], 0);
    int one[] = {1, -78};
    assert_int_equal(store_run_get(steps->store, page, 1, stop_with, one, NULL), -78);
}

/* ---- many runs ---- */

static void runs_are_listed_from_the_newest(void **state) {
    struct steps *steps = *state;
    int64_t w = steps_workflow(steps, "w", ROBIN(9)), v = steps_workflow(steps, "v", ROBIN(9));
    int64_t first = steps_spawn(steps, w, "g", "a b c").page;
    steps_spawn(steps, w, "h", "d e");
    steps_spawn_later(steps, v, "g", "a", steps_now(steps) + US_PER_HOUR);
    const struct store_claimed *claimed = steps_claim(steps, 0, w, 9, 9, 9);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c"), d = steps_hold(steps, claimed, "d");
    steps_done(steps, &a);
    steps_end(steps, &b, STORE_FAILED);
    steps_park(steps, &c);
    steps_end(steps, &d, STORE_FORGOTTEN);
    steps_spawn(steps, w, "g", "a f");
    static const char all[] = "f:Q a:Q a:W e:L d:C c:P b:F a:D";
    const struct {
        struct store_runs_filter filter;
        const char *expected;
    } cases[] = {
        {{.group = BYTES_NONE}, all},
        {{.workflow = BYTES("w")}, "f:Q a:Q e:L d:C c:P b:F a:D"},
        {{.workflow = BYTES("v")}, "a:W"},
        {{.workflow = BYTES("none")}, ""},
        {{.group = BYTES("g")}, "f:Q a:Q a:W c:P b:F a:D"},
        {{.group = BYTES("h")}, "e:L d:C"},
        {{.child_key = BYTES("a")}, "a:Q a:W a:D"},
        {{.child_key = BYTES("c")}, "c:P"},
        {{.child_key = BYTES("none")}, ""},
        {{.child_key = BYTES("a"), .workflow = BYTES("w")}, "a:Q a:D"},
        {{.child_key = BYTES("a"), .states = 1 << STORE_STATE_DONE}, "a:D"},
        {{.states = 1 << STORE_STATE_QUEUED}, "f:Q a:Q"},
        {{.states = 1 << STORE_STATE_LEASED | 1 << STORE_STATE_PARKED}, "e:L c:P"},
        {{.states = 1 << STORE_STATE_WAITING | 1 << STORE_STATE_DONE}, "a:W a:D"},
        {{.states = 1 << STORE_STATE_FAILED | 1 << STORE_STATE_CANCELLED}, "d:C b:F"},
        {{.before_page = first, .before_index = 2}, "b:F a:D"},
        {{.before_page = first, .before_index = 0}, ""},
        {{.before_page = first + 1000000, .before_index = 7}, all},
    };
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const char *runs = steps_runs(steps, &cases[i].filter);
            char expected[128];
            strcpy(expected, cases[i].expected);
            for (char *p = expected; round && (p = strchr(p, 'L')); p++)
                *p = 'Q'; /* its lease is gone */
            if (round && cases[i].filter.states & (1 << STORE_STATE_QUEUED | 1 << STORE_STATE_LEASED))
                continue;
            if (strcmp(runs, expected) != 0)
                fail_msg("case %zu: '%s' and not '%s'", i, runs, expected);
        }
        steps_crash(steps);
    }
}

static void runs_are_listed_by_time(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), second = steps->second_us, times[4];
    for (int i = 0; i < 3; i++) {
        times[i] = steps_now(steps);
        steps_spawn(steps, workflow, "g", i == 0 ? "a b" : i == 1 ? "c" : "d");
        steps_pass(steps, second);
    }
    times[3] = steps_now(steps);
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_done(steps, &a);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.since_utc_us = times[1]}), "d:Q c:Q a:D");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.until_utc_us = times[1]}), "b:Q a:D");
    assert_string_equal(
        steps_runs(steps, &(struct store_runs_filter){.since_utc_us = times[1], .until_utc_us = times[2]}), "c:Q");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.since_utc_us = times[3]}), "a:D");
    steps_pass(steps, second);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.since_utc_us = steps_now(steps)}), "");
}

static void a_batch_sees_its_own_history(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    steps_spawn(steps, workflow, "g", "a b");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    struct store_settled done = {.lease = a.lease, .index = a.index, .outcome = STORE_DONE, .child_key = BYTES("a")};
    size_t ignored;
    steps_begin(steps);
    assert_int_equal(store_settle(steps->store, a.worker, &done, 1, &ignored, NULL), 0);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "b:Q a:D");
    steps_crash(steps);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "b:Q a:Q");
}

static void many_pages_many_runs(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow_of(steps, "w", NULL, 0);
    static struct store_item items[STORE_PAGE_MAX];
    static char keys[STORE_PAGE_MAX][16];
    char least[16] = "z";
    for (int page = 0; page < 6; page++) { /* sorted, and not */
        for (int i = 0; i < STORE_PAGE_MAX; i++) {
            int n =
                snprintf(keys[i], 16, "k%05d", page < 3 ? page * STORE_PAGE_MAX + i : (i * 7919 + page) % 6007 + 3000);
            items[i].child_key = bytes_of(keys[i], (size_t)n);
            if (page == 4 && strcmp(keys[i], least) < 0)
                strcpy(least, keys[i]);
        }
        struct store_page spawn = {.workflow = workflow, .items = items, .n = STORE_PAGE_MAX};
        struct store_spawned spawned;
        steps_begin(steps);
        assert_int_equal(store_spawn(steps->store, &spawn, &spawned, NULL), 0);
        steps_commit(steps);
        assert_int_equal(store_heartbeat(steps->store, steps->worker, NULL, NULL), 0); /* a slow disk takes its time */
        steps_drain(steps, workflow);
    }
    uint64_t runs = 0, bytes = 0;
    assert_int_equal(store_history_size(steps->store, &runs, &bytes, NULL), 0);
    assert_in_range(runs, 3001, 6000);
    assert_in_range(bytes, 6000, 1000000);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.child_key = BYTES("k00000")}), "k00000:D");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.child_key = BYTES("k01500")}), "k01500:D");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.child_key = BYTES("k02999")}), "k02999:D");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.child_key = BYTES("k0299")}), "");
    assert_non_null(strstr(steps_runs(steps, &(struct store_runs_filter){.child_key = bytes_str(least)}), least));
    const char *all = steps_runs(steps, &(struct store_runs_filter){.workflow = BYTES("w")});
    uint64_t n = 0;
    for (const char *p = all; (p = strstr(p, ":D")); p++)
        n++;
    assert_int_equal(n, runs);
}

/* ---- what is there, and what is not ---- */

static void every_end_has_a_reason(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(2), CANCEL(1));
    steps_spawn(steps, workflow, "g|c", "a:1 b c:1");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 2);
    assert_claimed(claimed, "a"); /* b and c found no place */
    struct held a = steps_hold(steps, claimed, "a");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "c:C b:C a:L");
    assert_true(strncmp(steps_attempts(steps, a.page, 1), "0 CANCELLED - ", 14) == 0);
    steps_park(steps, &a);
    assert_spawned(steps_spawn(steps, workflow, "g|c", "a:2"), 1, 0, 1, 0);
    assert_state(steps, &a, STORE_STATE_CANCELLED); /* gave way */
    assert_non_null(strstr(steps_attempts(steps, a.page, a.index), "4 PARKED w went wrong -;0 FORGOTTEN - "));
    struct held again = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_park(steps, &again);
    uint64_t count;
    steps_begin(steps);
    assert_int_equal(store_parked_drop(steps->store, &(struct store_parked_filter){0}, &count, NULL), 0);
    steps_commit(steps);
    assert_state(steps, &again, STORE_STATE_CANCELLED);
    assert_non_null(strstr(steps_attempts(steps, again.page, again.index), "0 FORGOTTEN - "));
    steps_reopen(steps);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "a:C c:C b:C a:C");
    int64_t single = steps_workflow(steps, "single", CANCEL(1));
    steps_spawn(steps, single, "s", "x y z"); /* those that never came into being are only counted */
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.workflow = BYTES("single")}), "x:Q");
}

static void long_results_are_kept_whole(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow_of(steps, "w", NULL, 0);
    int64_t page = steps_spawn(steps, workflow, "", "a b c d e f g h").page;
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 1);
    struct store_settled settled[8];
    char *text = mem_alloc(STORE_DATA_MAX);
    assert_non_null(text);
    memset(text, 'r', STORE_DATA_MAX);
    for (uint32_t i = 0; i < 8; i++)
        settled[i] = (struct store_settled){.lease = claimed->leases[0].id,
                                            .index = i,
                                            .outcome = i % 2 ? STORE_FAILED : STORE_DONE,
                                            .child_key = claimed->leases[0].runs[i].child_key,
                                            .result = bytes_of(text, STORE_DATA_MAX),
                                            .error = bytes_of(text, STORE_DATA_MAX)};
    assert_int_equal(steps_settle(steps, steps->worker, settled, 8), 0);
    struct copied run;
    for (uint32_t i = 0; i < 8; i++) {
        run = get(steps, page, i);
        assert_int_equal(run.info.result.n, i % 2 ? 0 : STORE_DATA_MAX);
        assert_int_equal(run.info.error.n, i % 2 ? STORE_DATA_MAX : 0);
    }
    mem_free(text);
}

/* ---- how long ---- */

static void one_run(struct steps *steps, int64_t workflow, const char *key) {
    steps_spawn(steps, workflow, "g", key);
    assert_string_equal(steps_drain(steps, workflow), key);
}

static void open_with_history(struct steps *steps, int64_t us, int64_t bytes) {
    struct store_options options = steps->options;
    options.history_us = us;
    options.history_bytes = bytes;
    steps_open_with(steps, options);
}

/* Commits until what is too old or too much has been tidied away. */
static void tidy(struct steps *steps) {
    for (int i = 0; i < 20; i++) {
        steps_begin(steps);
        assert_int_equal(store_value_put(steps->store, BYTES("n"), BYTES("v"), NULL), 0);
        steps_commit(steps);
    }
}

static void old_runs_are_forgotten(void **state) {
    struct steps *steps = *state;
    int64_t second = steps->second_us;
    open_with_history(steps, 4 * second, 0);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    steps_spawn(steps, workflow, "g", "a b c d");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c"), d = steps_hold(steps, claimed, "d");
    steps_park(steps, &a);
    steps_retry(steps, &b, 1, US_PER_HOUR);
    steps_done(steps, &c);
    steps_pass(steps, 2 * second);
    steps_done(steps, &d);
    tidy(steps);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "d:D c:D b:W a:P");
    steps_pass(steps, 2 * second + second / 2);
    tidy(steps);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "d:D b:W a:P");
    assert_state(steps, &c, 0);
    assert_string_equal(steps_attempts(steps, a.page, a.index), ""); /* as far as the history reaches */
    steps_crash(steps);
    steps_pass(steps, 2 * second);
    tidy(steps);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "b:W a:P"); /* live and parked ones stay */
    uint64_t runs = 9, bytes = 9;
    assert_int_equal(store_history_size(steps->store, &runs, &bytes, NULL), 0);
    assert_int_equal(runs, 0);
    struct copied run = get(steps, a.page, a.index);
    assert_string_equal(run.text, "w,g,a,,{\"of\":\"run\"},{\"meta\":1},checkpoint,went wrong,,,");
    /* Of their ends all is known, though their page is long forgotten. */
    assert_int_equal(steps_cancel_run(steps, a.page, a.index), STORE_STATE_PARKED);
    assert_int_equal(steps_cancel_run(steps, b.page, b.index), STORE_STATE_WAITING);
    steps_reopen(steps);
    run = get(steps, a.page, a.index);
    assert_int_equal(run.info.state, STORE_STATE_CANCELLED);
    assert_true(strstr(run.text, "w,g,a,,{\"of\":\"run\"},{\"meta\":1},") == run.text);
    assert_true(run.info.created_utc_us > 0);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.child_key = BYTES("b")}), "b:C");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "b:C a:C");
    steps_pass(steps, 4 * second + second / 2);
    tidy(steps);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "");
}

static void the_oldest_go_when_they_are_too_many(void **state) {
    struct steps *steps = *state;
    open_with_history(steps, 0, 40000);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    for (int i = 0; i < 300; i++) {
        char key[200];
        snprintf(key, sizeof key, "key-%03d-%0100d", i, i);
        one_run(steps, workflow, key);
        if (i % 100 == 50)
            steps_crash(steps);
    }
    tidy(steps);
    uint64_t runs = 0, bytes = 0;
    assert_int_equal(store_history_size(steps->store, &runs, &bytes, NULL), 0);
    assert_in_range(runs, 20, 299);
    assert_in_range(bytes, 10000, 40000);
    const char *all = steps_runs(steps, &(struct store_runs_filter){0});
    char oldest[16], before[16];
    snprintf(oldest, sizeof oldest, "key-%03d-", (int)(300 - runs));
    snprintf(before, sizeof before, "key-%03d-", (int)(300 - runs) - 1);
    assert_true(strncmp(all, "key-299-", 8) == 0);
    assert_non_null(strstr(all, oldest));
    assert_null(strstr(all, before));
    open_with_history(steps, 0, 10000); /* a smaller one takes effect, too */
    tidy(steps);
    uint64_t fewer = 0;
    assert_int_equal(store_history_size(steps->store, &fewer, &bytes, NULL), 0);
    assert_true(fewer < runs && fewer > 0);
    assert_true(bytes <= 10000);
}

static void without_history_nothing_is_kept(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    steps_spawn(steps, workflow, "g", "a b c d e f");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_done(steps, &a);
    open_with_history(steps, -1, 0);
    tidy(steps); /* of before nothing is left either */
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "f:Q e:Q d:Q c:Q b:Q");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 4, 4);
    struct held b = steps_hold(steps, claimed, "b"), c = steps_hold(steps, claimed, "c"),
                d = steps_hold(steps, claimed, "d"), e = steps_hold(steps, claimed, "e");
    steps_done(steps, &b);
    steps_retry(steps, &c, 1, US_PER_MIN);
    steps_park(steps, &d);
    steps_cancel_run(steps, e.page, e.index);
    steps_end(steps, &e, STORE_CANCELLED);
    assert_int_equal(steps_cancel_run(steps, e.page, 5), STORE_STATE_QUEUED);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "d:P c:W");
    assert_int_equal(steps_cancel_run(steps, d.page, d.index), STORE_STATE_PARKED);
    struct store_spawned failed =
        steps_spawn_as(steps, workflow, "g", "x", &(struct store_page){.failed = BYTES("why")});
    assert_spawned(failed, 1, 0, 0, 0);
    assert_int_equal(steps_state(steps, failed.page, 0), 0);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "c:W");
    assert_string_equal(steps_attempts(steps, c.page, c.index), "");
    uint64_t runs = 9, bytes = 9;
    assert_int_equal(store_history_size(steps->store, &runs, &bytes, NULL), 0);
    assert_int_equal(runs, 0);
    assert_int_equal(bytes, 0);
    assert_spawned(steps_spawn(steps, workflow, "g", "a b c d e f x"), 6, 1, 0, 0);
}

const struct CMUnitTest conformance_history[] = {
    CONFORMANCE_TEST(attempts_are_kept_in_order),
    CONFORMANCE_TEST(a_run_tells_all_of_itself),
    CONFORMANCE_TEST(a_callback_may_stop),
    CONFORMANCE_TEST(runs_are_listed_from_the_newest),
    CONFORMANCE_TEST(runs_are_listed_by_time),
    CONFORMANCE_TEST(a_batch_sees_its_own_history),
    CONFORMANCE_TEST(many_pages_many_runs),
    CONFORMANCE_TEST(every_end_has_a_reason),
    CONFORMANCE_TEST(long_results_are_kept_whole),
    CONFORMANCE_TEST(old_runs_are_forgotten),
    CONFORMANCE_TEST(the_oldest_go_when_they_are_too_many),
    CONFORMANCE_TEST(without_history_nothing_is_kept),
};
const size_t conformance_history_n = sizeof conformance_history / sizeof conformance_history[0];
