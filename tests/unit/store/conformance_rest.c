/* conformance_rest.c - workers and leases, batches and crashes, ticks, values, log lines, refusals. */
#include "conformance_steps.h"

#include <stdio.h>

/* ---- leases ---- */

static void a_silent_worker_loses_its_runs(void **state) {
    struct steps *steps = *state;
    steps_short_leases(steps);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(2)), second = steps_worker(steps);
    steps_spawn(steps, workflow, "g", "a b c");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 2, 2);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    steps_pass_most(steps, steps->lease_us);
    assert_int_equal(store_heartbeat(steps->store, steps->worker, NULL, NULL), 0);
    assert_int_equal(store_heartbeat(steps->store, second, NULL, NULL), 0);
    steps_pass_most(steps, steps->lease_us);
    assert_int_equal(store_heartbeat(steps->store, second, NULL, NULL), 0);
    assert_int_equal(steps_claim(steps, second, workflow, 1, 2, 2)->n, 0);
    steps_done(steps, &a);
    steps_pass_rest(steps, steps->lease_us);
    claimed = steps_claim(steps, second, workflow, 1, 9, 9);
    assert_claimed(claimed, "b c");
    struct held stolen = steps_hold(steps, claimed, "b");
    assert_int_equal(stolen.tokens, 2);
    assert_int_not_equal(stolen.lease, b.lease);

    struct err err = {0};
    assert_int_equal(store_heartbeat(steps->store, steps->worker, NULL, &err), -ESTALE);
    struct store_claim claim = {.worker = steps->worker};
    struct store_claimed none;
    assert_int_equal(store_claim(steps->store, &claim, &none, &err), -ESTALE);
    assert_int_equal(steps_done(steps, &b), 1); /* the old lease */
    b.lease = stolen.lease;
    assert_int_equal(steps_done(steps, &b), 1); /* another's lease */
    assert_int_equal(steps_park(steps, &b), 1);
    assert_int_equal(steps_retry(steps, &b, 1, 0), 1);
    assert_int_equal(steps_release(steps, &b), 1);
    assert_lane(steps, workflow, "g", 0, 2, 0, 0);
    stolen.worker = second;
    assert_int_equal(steps_done(steps, &stolen), 0);
    assert_int_equal(steps_done(steps, &stolen), 1); /* twice */
    stolen.index = 77;
    assert_int_equal(steps_done(steps, &stolen), 1);
    assert_int_equal(steps_lane(steps, workflow, "g").done, 2);
}

static void a_late_heartbeat_is_too_late(void **state) {
    struct steps *steps = *state;
    steps_short_leases(steps);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(2));
    steps_spawn(steps, workflow, "g", "a");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_pass(steps, steps->lease_us);
    assert_int_equal(store_heartbeat(steps->store, steps->worker, NULL, NULL), -ESTALE);
    assert_lane(steps, workflow, "g", 1, 0, 0, 0);
    assert_int_equal(steps_done(steps, &a), 1);
    steps->worker = steps_worker(steps);
    assert_string_equal(steps_drain(steps, workflow), "a");
}

static void a_worker_that_leaves_gives_all_back(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(2), CANCEL(9)), second = steps_worker(steps);
    steps_spawn(steps, workflow, "g|c", "a b c");
    steps_spawn(steps, workflow, "h|c", "x");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 2, 2, 2);
    assert_claimed(claimed, "a b x");
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    steps_retry(steps, &a, 1, 0);
    claimed = steps_claim_more(steps, 0, a.lane, 1, 2);
    assert_claimed(claimed, "a");
    assert_int_equal(store_worker_remove(steps->store, steps->worker, NULL), 0);
    assert_int_equal(store_worker_remove(steps->store, steps->worker, NULL), 0);
    assert_int_equal(store_heartbeat(steps->store, steps->worker, NULL, NULL), -ESTALE);
    assert_lane(steps, workflow, "g", 3, 0, 0, 0);
    assert_int_equal(steps_done(steps, &b), 1);
    claimed = steps_claim(steps, second, workflow, 9, 9, 9);
    assert_claimed(claimed, "x a b");
    assert_int_equal(claimed->leases[1].runs[0].attempts, 1);
}

static void a_lease_never_comes_again(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(2)), worker = steps->worker;
    steps_spawn(steps, workflow, "g", "a b");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 2, 2), "a");
    steps_crash(steps);
    assert_int_not_equal(steps->worker, worker);
    assert_int_equal(store_heartbeat(steps->store, worker, NULL, NULL), -ESTALE);
    steps_claim(steps, 0, workflow, 1, 2, 2);
    assert_int_equal(steps_done(steps, &a), 1); /* neither worker nor lease are those of before */
    a.worker = steps->worker;
    assert_int_equal(steps_done(steps, &a), 1);
    assert_lane(steps, workflow, "g", 0, 2, 0, 0);
}

/* ---- batches ---- */

static void a_crash_loses_nothing_committed(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5));
    steps_spawn(steps, workflow, "g", "a b c d");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 3, 3);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    steps_done(steps, &a);

    struct store_item item = {.child_key = BYTES("lost")};
    struct bytes key = BYTES("g");
    struct store_page page = {.workflow = workflow, .keys = &key, .n_keys = 1, .items = &item, .n = 1};
    struct store_spawned spawned;
    struct store_settled done = {.lease = b.lease, .index = b.index, .outcome = STORE_DONE, .child_key = BYTES("b")};
    size_t ignored;
    bool first;
    steps_begin(steps);
    assert_int_equal(store_spawn(steps->store, &page, &spawned, NULL), 0);
    assert_int_equal(store_settle(steps->store, steps->worker, &done, 1, &ignored, NULL), 0);
    assert_int_equal(store_value_put(steps->store, BYTES("n"), BYTES("v"), NULL), 0);
    assert_int_equal(store_tick(steps->store, workflow, 60, &first, NULL), 0);
    steps_crash(steps);
    if (!store_shared(steps->store))
        assert_int_equal(store_recovered(steps->store), 2); /* as of the last commit or claim: b and c */
    assert_lane(steps, workflow, "g", 3, 0, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "g").done, 1);
    steps_begin(steps);
    assert_int_equal(store_tick(steps->store, workflow, 60, &first, NULL), 0);
    assert_true(first);
    steps_commit(steps);
    assert_string_equal(steps_drain(steps, workflow), "b c d");
    steps_reopen(steps);
    assert_int_equal(store_recovered(steps->store), 0);
    assert_int_equal(steps_lane(steps, workflow, "g").done, 4);
}

static void page_ids_never_come_again(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5)), last = 0;
    for (int i = 0; i < 5; i++) {
        struct store_spawned spawned = steps_spawn(steps, workflow, "g", "a");
        assert_true(spawned.page > last);
        last = spawned.page;
        steps_drain(steps, workflow);
        if (i % 2)
            steps_reopen(steps);
        else
            steps_crash(steps);
    }
}

static void all_of_a_batch_sees_what_came_before(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5));
    struct store_item items[] = {{.child_key = BYTES("a")}, {.child_key = BYTES("b")}};
    struct bytes key = BYTES("g");
    struct store_page page = {.workflow = workflow, .keys = &key, .n_keys = 1, .items = items, .n = 2};
    struct store_spawned spawned;
    steps_begin(steps);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_spawn(steps->store, &page, &spawned, NULL), 0);
        assert_spawned(spawned, 2, 0, 0, 0);
        const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
        assert_claimed(claimed, "a b");
        for (uint32_t j = 0; j < 2; j++) {
            struct store_settled settled = {
                .lease = claimed->leases[0].id, .index = j, .outcome = STORE_DONE, .child_key = items[j].child_key};
            size_t ignored;
            assert_int_equal(store_settle(steps->store, steps->worker, &settled, 1, &ignored, NULL), 0);
            assert_int_equal(ignored, 0);
        }
        assert_int_equal(store_check(steps->store, NULL), 0);
    }
    steps_commit(steps);
    steps_crash(steps);
    assert_int_equal(steps_lane(steps, workflow, "g").done, 6);
}

/* ---- ticks, values, log lines ---- */

static bool tick(struct steps *steps, int64_t workflow, int64_t at) {
    bool first = false;
    steps_begin(steps);
    assert_int_equal(store_tick(steps->store, workflow, at, &first, NULL), 0);
    steps_commit(steps);
    return first;
}

static void a_tick_comes_once(void **state) {
    struct steps *steps = *state;
    int64_t w = steps_workflow_of(steps, "w", NULL, 0), v = steps_workflow_of(steps, "v", NULL, 0);
    for (int64_t at = 60; at < 60 * 100; at += 60) {
        assert_true(tick(steps, w, at));
        assert_false(tick(steps, w, at));
        assert_true(tick(steps, v, at));
    }
    steps_crash(steps);
    assert_false(tick(steps, w, 60 * 99));
    assert_false(tick(steps, w, 60 * 98));
    assert_false(tick(steps, w, 60)); /* long ago: it may be known no more, and is not given again */
    assert_true(tick(steps, w, 60 * 100));
}

static void value_is(struct steps *steps, struct bytes name, const char *value) {
    struct buf buf = {0};
    bool found = !value;
    assert_int_equal(store_value_get(steps->store, name, &buf, &found, NULL), 0);
    assert_int_equal(found, value != NULL);
    if (value)
        assert_true(bytes_equal(buf_bytes(&buf), bytes_str(value)));
    buf_free(&buf);
}

static void put_value(struct steps *steps, struct bytes name, struct bytes value) {
    steps_begin(steps);
    assert_int_equal(store_value_put(steps->store, name, value, NULL), 0);
    steps_commit(steps);
}

static void values_are_kept(void **state) {
    struct steps *steps = *state;
    value_is(steps, BYTES("a"), NULL);
    put_value(steps, BYTES("a"), BYTES("one"));
    put_value(steps, BYTES("a\0b"), BYTES("two"));
    put_value(steps, BYTES("a"), BYTES("three"));
    steps_crash(steps);
    value_is(steps, BYTES("a"), "three");
    value_is(steps, BYTES("a\0b"), "two");
    put_value(steps, BYTES("a"), BYTES_NONE);
    put_value(steps, BYTES("never"), BYTES_NONE);
    value_is(steps, BYTES("a"), NULL);
    steps_begin(steps); /* a batch sees what it has put */
    assert_int_equal(store_value_put(steps->store, BYTES("a"), BYTES("four"), NULL), 0);
    value_is(steps, BYTES("a"), "four");
    assert_int_equal(store_value_put(steps->store, BYTES("a"), BYTES("five"), NULL), 0);
    assert_int_equal(store_value_put(steps->store, BYTES("a\0b"), BYTES_NONE, NULL), 0);
    value_is(steps, BYTES("a"), "five");
    value_is(steps, BYTES("a\0b"), NULL);
    assert_int_equal(store_value_put(steps->store, BYTES("a\0b"), BYTES("two"), NULL), 0);
    assert_int_equal(store_value_put(steps->store, BYTES("a"), BYTES_NONE, NULL), 0);
    value_is(steps, BYTES("a"), NULL);
    steps_commit(steps);
    value_is(steps, BYTES("a"), NULL);
    steps_reopen(steps);
    value_is(steps, BYTES("a"), NULL);
    value_is(steps, BYTES("a\0b"), "two");
}

struct lines {
    int64_t n;
    char first[32], last[32];
    int stop;
};

static int see_line(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text) {
    struct lines *lines = arg;
    assert_true(utc_us > 0);
    assert_int_equal(level, 2);
    assert_int_equal(page % 10, index);
    if (lines->n++ == 0)
        snprintf(lines->first, sizeof lines->first, "%.*s", (int)text.n, text.p);
    snprintf(lines->last, sizeof lines->last, "%.*s", (int)text.n, text.p);
    return lines->stop;
}

static struct lines see_lines(struct steps *steps, int64_t page, uint32_t index) {
    struct lines lines = {0};
    assert_int_equal(store_log_each(steps->store, page, index, see_line, &lines, NULL), 0);
    return lines;
}

static void add_lines(struct steps *steps, int from, int to) {
    steps_begin(steps);
    for (int i = from; i < to; i++) {
        char text[32];
        int n = snprintf(text, sizeof text, "line %d", i);
        assert_int_equal(store_log_add(steps->store, i % 100 + 1, (uint32_t)((i % 100 + 1) % 10), 2,
                                       bytes_of(text, (size_t)n), NULL),
                         0);
    }
    steps_commit(steps);
}

static void the_newest_log_lines_are_kept(void **state) {
    struct steps *steps = *state;
    add_lines(steps, 0, 250);
    struct lines lines = see_lines(steps, 0, 0);
    assert_int_equal(lines.n, 250);
    assert_string_equal(lines.first, "line 0");
    lines = see_lines(steps, 43, 3);
    assert_int_equal(lines.n, 3);
    assert_string_equal(lines.first, "line 42");
    assert_string_equal(lines.last, "line 242");
    assert_int_equal(see_lines(steps, 43, 4).n, 0);
    lines = (struct lines){.stop = -5};
    assert_int_equal(store_log_each(steps->store, 0, 0, see_line, &lines, NULL), -5);
    assert_int_equal(lines.n, 1);
    for (int i = 0; i < 5; i++) {
        add_lines(steps, 250 + i * 9000, 250 + (i + 1) * 9000);
        if (i == 2)
            steps_crash(steps);
        lines = see_lines(steps, 0, 0);
        assert_in_range(lines.n, i ? STORE_LOG_LINES_MAX : 9250, 2 * STORE_LOG_LINES_MAX);
    }
    assert_string_equal(see_lines(steps, 0, 0).last, "line 45249");
}

/* ---- refusals ---- */

static void refusals_change_nothing(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5)), id = 77;
    static char long_name[STORE_NAME_MAX + 1];
    struct bytes key = BYTES("g"), too_long = bytes_of(long_name, sizeof long_name);
    struct store_item item = {.child_key = BYTES("a")}, bad_item = {.child_key = too_long};
    struct store_page good = {.workflow = workflow, .keys = &key, .n_keys = 1, .items = &item, .n = 1}, bad;
    struct store_spawned spawned;
    struct err err = {0};

    assert_int_equal(store_spawn(steps->store, &good, &spawned, &err), -EINVAL); /* outside of a batch */
    assert_int_equal(store_commit(steps->store, &err), -EINVAL);
    steps_begin(steps);
    assert_int_equal(store_begin(steps->store, &err), -EINVAL);
    assert_int_equal(store_spawn(steps->store, &good, &spawned, &err), 0);
    bad = good, bad.workflow = 99;
    assert_int_equal(store_spawn(steps->store, &bad, &spawned, &err), -EINVAL);
    bad = good, bad.n_keys = 0;
    assert_int_equal(store_spawn(steps->store, &bad, &spawned, &err), -EINVAL);
    bad = good, bad.n = 0;
    assert_int_equal(store_spawn(steps->store, &bad, &spawned, &err), -EINVAL);
    bad = good, bad.n = STORE_PAGE_MAX + 1;
    assert_int_equal(store_spawn(steps->store, &bad, &spawned, &err), -EINVAL);
    bad = good, bad.items = &bad_item;
    assert_int_equal(store_spawn(steps->store, &bad, &spawned, &err), -EINVAL);
    bad = good, bad.keys = &too_long;
    assert_int_equal(store_spawn(steps->store, &bad, &spawned, &err), -EINVAL);
    struct store_rule rules[STORE_RULES_MAX + 1] = {{STORE_CANCEL_NEWEST, 0}};
    assert_int_equal(store_workflow_put(steps->store, BYTES("w"), rules, 1, &id, &err), -EINVAL);
    rules[0] = (struct store_rule){(enum store_strategy)9, 1};
    assert_int_equal(store_workflow_put(steps->store, BYTES("w"), rules, 1, &id, &err), -EINVAL);
    assert_int_equal(store_workflow_put(steps->store, BYTES("w"), rules, STORE_RULES_MAX + 1, &id, &err), -EINVAL);
    assert_int_equal(store_workflow_put(steps->store, BYTES(""), NULL, 0, &id, &err), -EINVAL);
    assert_int_equal(store_workflow_put(steps->store, too_long, NULL, 0, &id, &err), -EINVAL);
    assert_int_equal(store_value_put(steps->store, too_long, BYTES("v"), &err), -EINVAL);
    assert_int_equal(store_value_put(steps->store, BYTES(""), BYTES("v"), &err), -EINVAL);
    bool first;
    assert_int_equal(store_tick(steps->store, 99, 60, &first, &err), -EINVAL);
    struct store_lane_info info;
    assert_int_equal(store_lane_get(steps->store, 99, &info, &err), -ENOENT);
    assert_true(strlen(err.text) > 0);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    struct store_settled settled = {
        .lease = claimed->leases[0].id, .outcome = (enum store_outcome)77, .child_key = BYTES("a")};
    size_t ignored;
    assert_int_equal(store_settle(steps->store, steps->worker, &settled, 1, &ignored, &err), -EINVAL);
    steps_commit(steps);
    assert_int_equal(id, 77);
    steps_crash(steps);
    assert_lane(steps, workflow, "g", 1, 0, 0, 0);
    assert_int_equal(store_lane_get(steps->store, steps_lane(steps, workflow, "g").lane, &info, NULL), 0);
    assert_true(bytes_equal(info.workflow_name, BYTES("w")));
    assert_int_equal(info.queued, 1);
}

static void a_store_says_what_it_is(void **state) {
    struct steps *steps = *state;
    assert_true(strlen(store_describe(steps->store)) > 0);
    struct store *store = NULL;
    struct err err = {0};
    assert_int_equal(store_open("carrier-pigeon:x", NULL, &store, &err), -EINVAL);
    assert_null(store);
    assert_non_null(strstr(err.text, "carrier-pigeon"));
    store_close(NULL);
    store_claimed_free(NULL);
}

const struct CMUnitTest conformance_rest[] = {
    CONFORMANCE_TEST(a_silent_worker_loses_its_runs),
    CONFORMANCE_TEST(a_late_heartbeat_is_too_late),
    CONFORMANCE_TEST(a_worker_that_leaves_gives_all_back),
    CONFORMANCE_TEST(a_lease_never_comes_again),
    CONFORMANCE_TEST(a_crash_loses_nothing_committed),
    CONFORMANCE_TEST(page_ids_never_come_again),
    CONFORMANCE_TEST(all_of_a_batch_sees_what_came_before),
    CONFORMANCE_TEST(a_tick_comes_once),
    CONFORMANCE_TEST(values_are_kept),
    CONFORMANCE_TEST(the_newest_log_lines_are_kept),
    CONFORMANCE_TEST(refusals_change_nothing),
    CONFORMANCE_TEST(a_store_says_what_it_is),
};
const size_t conformance_rest_n = sizeof conformance_rest / sizeof conformance_rest[0];
