/* conformance_orders.c - what a page is spawned with (id, priority, indexes, a reason to fail at once), pausing, and
 * what workflows, workers and ticks say of themselves. */
#include "conformance_steps.h"

#include <stdio.h>

/* ---- priorities ---- */

static void higher_priorities_go_first(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), later = steps_now(steps) + 5 * steps->second_us;
    steps_spawn(steps, workflow, "g", "a1 a2"); /* 0 is 1 */
    steps_spawn_as(steps, workflow, "g", "c1 c2", &(struct store_page){.priority = 3});
    steps_spawn_as(steps, workflow, "g", "b1", &(struct store_page){.priority = 2});
    steps_spawn_as(steps, workflow, "g", "a3", &(struct store_page){.priority = 1});
    steps_spawn_as(steps, workflow, "g", "c3", &(struct store_page){.priority = 3});
    steps_spawn_as(steps, workflow, "g", "c0", &(struct store_page){.priority = 3, .not_before_utc_us = later});
    steps_spawn_as(steps, workflow, "other", "x",
                   &(struct store_page){.priority = 3}); /* a priority in its lane alone */
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_claimed(claimed, "c1");
    struct held c1 = steps_hold(steps, claimed, "c1");
    steps_retry(steps, &c1, 1, 0);
    claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_claimed(claimed, "x");
    claimed = steps_claim(steps, 0, workflow, 1, 4, 4);
    assert_claimed(claimed, "c1 c2 c3 b1"); /* the retry goes before all */
    struct held b1 = steps_hold(steps, claimed, "b1");
    struct held c2 = steps_hold(steps, claimed, "c2");
    c1 = steps_hold(steps, claimed, "c1");
    steps_release(steps, &b1);
    steps_release(steps, &c2);
    steps_retry(steps, &c1, 1, 0);
    steps_crash(steps);
    steps_pass(steps, 5 * steps->second_us);
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    if (bytes_equal(claimed->leases[0].group, BYTES("other"))) /* turns are not kept everywhere */
        claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_claimed(claimed, "c1 c2 c3 c0 b1 a1 a2 a3");
}

static void a_retry_of_low_priority_goes_first(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    steps_spawn(steps, workflow, "g", "a");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_spawn_as(steps, workflow, "g", "b", &(struct store_page){.priority = 3});
    steps_retry(steps, &a, 1, 0);
    assert_claimed(steps_claim(steps, 0, workflow, 1, 9, 9), "a b");
}

/* ---- ids and indexes ---- */

static int64_t reserve(struct steps *steps) {
    int64_t page = 0;
    assert_int_equal(store_page_reserve(steps->store, &page, NULL), 0);
    assert_true(page > 0);
    return page;
}

static void a_reserved_id_is_the_pages(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    int64_t first = reserve(steps), second = reserve(steps), unused = reserve(steps);
    assert_true(first != second && second != unused && first != unused);
    int64_t between = steps_spawn(steps, workflow, "g", "x").page;
    assert_true(between != first && between != second && between != unused);
    assert_int_equal(steps_spawn_as(steps, workflow, "g", "b", &(struct store_page){.id = second}).page, second);
    assert_int_equal(steps_spawn_as(steps, workflow, "g", "b", &(struct store_page){.id = first}).page, 0);
    assert_int_equal(steps_spawn_as(steps, workflow, "g", "a", &(struct store_page){.id = first}).page, first);
    struct store_item item = {.child_key = BYTES("again")};
    struct bytes key = BYTES("g");
    struct store_page again = {.workflow = workflow, .keys = &key, .n_keys = 1, .items = &item, .n = 1};
    struct store_spawned spawned;
    steps_begin(steps);
    for (int i = 0; i < 2; i++) {
        again.id = i ? INT64_MAX : second;
        assert_int_equal(store_spawn(steps->store, &again, &spawned, NULL), -EINVAL);
    }
    int64_t inside = reserve(steps);
    again.id = inside;
    assert_int_equal(store_spawn(steps->store, &again, &spawned, NULL), 0);
    assert_int_equal(spawned.page, inside);
    steps_commit(steps);
    assert_claimed(steps_claim(steps, 0, workflow, 1, 9, 9), "a b x again"); /* in the order of their ids */
    int64_t last = 0;
    for (int i = 0; i < 200; i++) {
        int64_t id = reserve(steps);
        assert_true(id > last);
        last = id;
    }
    steps_crash(steps);
    assert_true(reserve(steps) > last);
    assert_true(steps_spawn(steps, workflow, "g", "y").page > last);
}

static void each_item_is_told_its_run(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", CANCEL(4));
    struct store_place runs[64];
    int64_t first = steps_spawn(steps, workflow, "g", "b").page;
    memset(runs, 0x55, sizeof runs);
    struct store_spawned spawned =
        steps_spawn_as(steps, workflow, "g", "a b c a - d e", &(struct store_page){.ret_runs = runs});
    assert_spawned(spawned, 3, 2, 0, 2);
    const struct store_place expected[] = {{spawned.page, 0, true},  {first, 0, false},       {spawned.page, 1, true},
                                           {spawned.page, 0, false}, {spawned.page, 2, true}, {.created = false},
                                           {.created = false}};
    for (int i = 0; i < 7; i++)
        assert_place(runs[i], expected[i].page, expected[i].index, expected[i].created);
    assert_int_equal(steps_state(steps, spawned.page, 2), STORE_STATE_QUEUED);
    assert_int_equal(steps_state(steps, spawned.page, 3), 0);
    assert_int_equal(steps_spawn_as(steps, workflow, "g", "a f b", &(struct store_page){.ret_runs = runs}).page, 0);
    assert_place(runs[0], spawned.page, 0, false);
    assert_place(runs[1], 0, 0, false);
    assert_place(runs[2], first, 0, false);
}

static void created_is_when_it_was_spawned(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), before = steps_now(steps);
    steps_spawn(steps, workflow, "g", "a b");
    int64_t after = steps_now(steps);
    steps_pass(steps, steps->second_us);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_in_range(claimed->leases[0].runs[1].created_utc_us, before, after);
    struct held a = steps_hold(steps, claimed, "a");
    steps_retry(steps, &a, 1, 0);
    steps_crash(steps);
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_claimed(claimed, "a b");
    assert_in_range(claimed->leases[0].runs[0].created_utc_us, before, after);
    assert_in_range(claimed->leases[1].runs[0].created_utc_us, before, after);
}

/* ---- pages that fail at once ---- */

static void runs_may_fail_as_they_come(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9), CANCEL(1));
    steps_spawn(steps, workflow, "g|c", "a");
    struct store_place runs[64];
    const struct store_page failed = {.failed = BYTES("no such key"), .ret_runs = runs};
    struct store_spawned spawned = steps_spawn_as(steps, workflow, "", "a b a", &failed);
    assert_spawned(spawned, 3, 0, 0, 0);
    assert_place(runs[2], spawned.page, 2, true);
    struct store_spawned grouped = steps_spawn_as(steps, workflow, "g|c", "z", &failed);
    assert_spawned(grouped, 1, 0, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "g").failed, 1);
    assert_lane(steps, workflow, "g", 1, 0, 0, 0);
    steps_crash(steps);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(steps_state(steps, spawned.page, i), STORE_STATE_FAILED);
        assert_string_equal(steps_attempts(steps, spawned.page, i), "0 FAILED - no such key -;");
    }
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.child_key = BYTES("a")}), "a:F a:F a:Q");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.group = BYTES("g")}), "z:F a:Q");
    assert_spawned(steps_spawn(steps, workflow, "g|d", "b"), 1, 0, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "").failed, 3);
    assert_string_equal(steps_drain(steps, workflow), "a b");
}

/* ---- pausing ---- */

static void pause_it(struct steps *steps, const char *name, bool paused) {
    steps_begin(steps);
    assert_int_equal(store_workflow_pause(steps->store, bytes_str(name), paused, NULL), 0);
    steps_commit(steps);
}

static void a_paused_workflow_rests(void **state) {
    struct steps *steps = *state;
    int64_t both[] = {steps_workflow(steps, "w", ROBIN(9)), steps_workflow(steps, "v", ROBIN(9))};
    steps_spawn(steps, both[0], "g", "a b c d");
    steps_spawn(steps, both[1], "g", "x");
    const struct store_claimed *claimed = steps_claim(steps, 0, both[0], 1, 2, 2);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    pause_it(steps, "w", true);
    claimed = steps_claim_more(steps, 0, a.lane, 1, 2); /* not for a want either, but it keeps what it has */
    assert_int_equal(claimed->n, 0);
    assert_int_equal(claimed->held[0], 2);
    assert_int_equal(steps_retry(steps, &a, 1, 0), 0);
    assert_int_equal(steps_done(steps, &b), 0);
    struct store_claim claim = {
        .worker = steps->worker, .new_lanes = 9, .new_runs = 9, .new_tokens = 9, .workflows = both, .n_workflows = 2};
    claimed = steps_claim_as(steps, &claim);
    assert_claimed(claimed, "x");
    assert_false(claimed->more);
    claim.new_lanes = 0;
    assert_false(steps_claim_as(steps, &claim)->more);
    assert_spawned(steps_spawn(steps, both[0], "g", "e"), 1, 0, 0, 0);
    steps_crash(steps); /* it is durable */
    assert_int_equal(steps_claim(steps, 0, both[0], 9, 9, 9)->n, 0);
    assert_lane(steps, both[0], "g", 4, 0, 0, 0);
    assert_string_equal(
        steps_runs(steps, &(struct store_runs_filter){.workflow = BYTES("w"), .states = 1 << STORE_STATE_QUEUED}),
        "e:Q d:Q c:Q a:Q");
    steps_workflow(steps, "w", ROBIN(8)); /* as it is when it is put again */
    assert_int_equal(steps_claim(steps, 0, both[0], 9, 9, 9)->n, 0);
    pause_it(steps, "w", false);
    assert_claimed(steps_claim(steps, 0, both[0], 9, 9, 9), "a c d e");
    steps_begin(steps);
    assert_int_equal(store_workflow_pause(steps->store, BYTES("none"), true, NULL), -ENOENT);
    steps_commit(steps);
    assert_int_equal(store_workflow_pause(steps->store, BYTES("w"), true, NULL), -EINVAL); /* outside of a batch */
}

/* ---- what they say of themselves ---- */

static int see_workflow(void *arg, const struct store_workflow_info *info) {
    char *text = arg;
    size_t n = strlen(text);
    snprintf(text + n, 512 - n, "%.*s%s %llu %llu %llu %llu / %llu %llu %llu, %lld;", (int)info->name.n, info->name.p,
             info->paused ? "(paused)" : "", (unsigned long long)info->queued, (unsigned long long)info->leased,
             (unsigned long long)info->waiting, (unsigned long long)info->parked, (unsigned long long)info->done,
             (unsigned long long)info->failed, (unsigned long long)info->cancelled, (long long)info->last_tick_utc_us);
    assert_true(info->id > 0);
    if (bytes_equal(info->name, BYTES("w"))) {
        assert_int_equal(info->n_rules, 2);
        assert_int_equal(info->rules[0].max_runs, 7);
        assert_int_equal(info->rules[1].strategy, STORE_RATE_LIMIT);
        assert_int_equal(info->rules[1].period_us, US_PER_MIN);
    }
    return 0;
}

static void workflows_say_what_they_have(void **state) {
    struct steps *steps = *state;
    int64_t w = steps_workflow(steps, "w", ROBIN(7), RATE(100, US_PER_MIN)), last = -1;
    steps_workflow(steps, "v", CANCEL(1));
    steps_spawn(steps, w, "g|r", "a b c d e f h");
    steps_spawn(steps, w, "h|r", "x");
    const struct store_claimed *claimed = steps_claim(steps, 0, w, 1, 6, 6);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c"), d = steps_hold(steps, claimed, "d"),
                e = steps_hold(steps, claimed, "e");
    assert_int_equal(steps_lane(steps, w, "g").max_runs, 7);
    steps_done(steps, &a);
    steps_retry(steps, &b, 1, US_PER_MIN);
    steps_park(steps, &c);
    steps_end(steps, &d, STORE_CANCELLED);
    steps_end(steps, &e, STORE_FAILED);
    assert_int_equal(store_tick_last(steps->store, w, &last, NULL), 0);
    assert_int_equal(last, 0);
    bool first;
    steps_begin(steps);
    for (int64_t at = 60; at < 60 * 50; at += 60)
        assert_int_equal(store_tick(steps->store, w, at, &first, NULL), 0);
    steps_commit(steps);
    assert_int_equal(store_tick_last(steps->store, w, &last, NULL), 0);
    assert_int_equal(last, 60 * 49);
    assert_int_equal(store_tick_last(steps->store, 12345, &last, NULL), -EINVAL);
    pause_it(steps, "v", true);
    char text[512] = "";
    assert_int_equal(store_workflows_each(steps->store, see_workflow, text, NULL), 0);
    assert_string_equal(text, "w 2 1 1 1 / 1 2 1, 2940;v(paused) 0 0 0 0 / 0 0 0, 0;");
}

struct workers {
    struct store_worker_info info[8];
    char name[8][16];
    int n, stop;
};

static int see_worker(void *arg, const struct store_worker_info *info) {
    struct workers *workers = arg;
    assert_true(workers->n < 8);
    snprintf(workers->name[workers->n], 16, "%.*s", (int)info->name.n, info->name.p ? info->name.p : "");
    workers->info[workers->n++] = *info;
    return workers->stop;
}

static void workers_say_what_they_have(void **state) {
    struct steps *steps = *state;
    steps_short_leases(steps);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(7)), second = 0, since = steps_now(steps);
    assert_int_equal(store_worker_add(steps->store, BYTES("second"), 17, &second, NULL), 0);
    int64_t until = steps_now(steps);
    steps_spawn(steps, workflow, "g", "a b c");
    steps_claim(steps, second, workflow, 1, 2, 1);
    steps_pass_most(steps, steps->lease_us);
    int64_t heard = steps_now(steps);
    assert_int_equal(store_heartbeat(steps->store, second, NULL, NULL), 0);
    struct workers workers = {0};
    assert_int_equal(store_workers_each(steps->store, see_worker, &workers, NULL), 0);
    assert_int_equal(workers.n, 2);
    int at = workers.info[1].id == second;
    const struct store_worker_info *info = &workers.info[at];
    assert_int_equal(info->id, second);
    assert_string_equal(workers.name[at], "second");
    assert_int_equal(info->slots, 17);
    assert_int_equal(info->leased, 2);
    assert_in_range(info->since_utc_us, since, until);
    assert_in_range(info->heard_utc_us, heard, steps_now(steps));
    assert_int_equal(info->expires_utc_us, info->heard_utc_us + steps->lease_us);
    assert_int_equal(workers.info[!at].leased, 0);
    workers = (struct workers){.stop = -9};
    assert_int_equal(store_workers_each(steps->store, see_worker, &workers, NULL), -9);
    assert_int_equal(workers.n, 1);
    steps_pass_rest(steps, steps->lease_us); /* the first is silent for too long */
    workers = (struct workers){0};
    assert_int_equal(store_workers_each(steps->store, see_worker, &workers, NULL), 0);
    assert_int_equal(workers.n, 1);
    assert_int_equal(workers.info[0].id, second);
}

/* ---- refusals ---- */

static void what_makes_no_sense_is_refused(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5)), id = 77;
    struct bytes key = BYTES("g");
    struct store_item item = {.child_key = BYTES("a")};
    const struct store_page good = {.workflow = workflow, .keys = &key, .n_keys = 1, .items = &item, .n = 1};
    struct store_page bad = good;
    struct store_spawned spawned;
    enum store_state was;
    steps_begin(steps);
    bad.priority = 4;
    assert_int_equal(store_spawn(steps->store, &bad, &spawned, NULL), -EINVAL);
    bad = good, bad.n_keys = 0;
    assert_int_equal(store_spawn(steps->store, &bad, &spawned, NULL), -EINVAL); /* only of failed ones */
    bad = good, bad.id = 1 << 30;
    assert_int_equal(store_spawn(steps->store, &bad, &spawned, NULL), -EINVAL); /* was not reserved */
    static const struct store_rule rules[] = {PROGRESS(0), RATE(0, US_PER_S), RATE(1, US_PER_S - 1),
                                              RATE(1, 24 * US_PER_HOUR + 1)};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(store_workflow_put(steps->store, BYTES("v"), &rules[i], 1, &id, NULL), -EINVAL);
    assert_int_equal(store_run_cancel(steps->store, 12345, 0, &was, NULL), -ENOENT);
    steps_commit(steps);
    assert_int_equal(id, 77);
    assert_int_equal(store_run_cancel(steps->store, 1, 0, &was, NULL), -EINVAL); /* outside of a batch */
    assert_lane(steps, workflow, "g", 0, 0, 0, 0);
}

const struct CMUnitTest conformance_orders[] = {
    CONFORMANCE_TEST(higher_priorities_go_first),     CONFORMANCE_TEST(a_retry_of_low_priority_goes_first),
    CONFORMANCE_TEST(a_reserved_id_is_the_pages),     CONFORMANCE_TEST(each_item_is_told_its_run),
    CONFORMANCE_TEST(created_is_when_it_was_spawned), CONFORMANCE_TEST(runs_may_fail_as_they_come),
    CONFORMANCE_TEST(a_paused_workflow_rests),        CONFORMANCE_TEST(workflows_say_what_they_have),
    CONFORMANCE_TEST(workers_say_what_they_have),     CONFORMANCE_TEST(what_makes_no_sense_is_refused),
};
const size_t conformance_orders_n = sizeof conformance_orders / sizeof conformance_orders[0];
