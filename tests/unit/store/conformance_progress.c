/* conformance_progress.c - CANCEL_IN_PROGRESS: newer runs drive out older ones. */
#include "conformance_steps.h"

static void assert_drove_out(struct store_spawned spawned, uint32_t created, uint32_t driven_out, bool cancels) {
    assert_int_equal(spawned.created, created);
    assert_int_equal(spawned.driven_out, driven_out);
    assert_int_equal(spawned.cancels, cancels);
}

static void a_newer_run_drives_out_the_older(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", PROGRESS(1));
    int64_t a = steps_spawn(steps, workflow, "k", "a").page;
    assert_drove_out(steps_spawn(steps, workflow, "other", "x"), 1, 0, false);
    assert_drove_out(steps_spawn(steps, workflow, "k", "b"), 1, 1, false); /* a was not leased */
    assert_int_equal(steps_state(steps, a, 0), STORE_STATE_CANCELLED);
    assert_true(strncmp(steps_attempts(steps, a, 0), "0 CANCELLED - driven", 20) == 0);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 9, 9, 9);
    assert_claimed(claimed, "b x");
    struct held b = steps_hold(steps, claimed, "b");
    assert_drove_out(steps_spawn(steps, workflow, "k", "c"), 1, 0, true);
    assert_string_equal(steps_asks(steps, 0), "b!");
    assert_string_equal(steps_asks(steps, 0), "");
    assert_int_equal(steps_claim(steps, 0, workflow, 9, 9, 9)->n, 0); /* c starts when b has ended */
    int64_t second = steps_worker(steps);
    assert_int_equal(steps_claim(steps, second, workflow, 9, 9, 9)->n, 0);
    assert_drove_out(steps_spawn(steps, workflow, "k", "d"), 1, 1, false); /* c; b was asked already */
    assert_string_equal(steps_asks(steps, 0), "");
    assert_state(steps, &b, STORE_STATE_LEASED);
    steps_end(steps, &b, STORE_CANCELLED);
    assert_claimed(steps_claim(steps, second, workflow, 9, 9, 9), "d");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.states = 1 << STORE_STATE_CANCELLED}),
                        "c:C b:C a:C");
    assert_int_equal(steps_lane(steps, workflow, "").cancelled, 3);
    steps_crash(steps);
    assert_int_equal(steps_state(steps, a, 0), STORE_STATE_CANCELLED);
    assert_spawned(steps_spawn(steps, workflow, "other", "a b c"), 1, 0, 0, 2);
}

static void of_a_page_the_last_are_kept(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", PROGRESS(2));
    struct store_place runs[64];
    int64_t first = steps_spawn(steps, workflow, "k", "x y").page;
    struct store_spawned spawned =
        steps_spawn_as(steps, workflow, "k", "a b x c d a d", &(struct store_page){.ret_runs = runs});
    assert_spawned(spawned, 2, 3, 0, 2); /* x is there already, and counts as the older one it is */
    assert_int_equal(spawned.driven_out, 2);
    assert_place(runs[0], 0, 0, false);
    assert_place(runs[1], 0, 0, false);
    assert_place(runs[2], first, 0, false); /* driven out by this very page */
    assert_place(runs[3], spawned.page, 0, true);
    assert_place(runs[4], spawned.page, 1, true);
    assert_place(runs[5], 0, 0, false); /* as the one it is a duplicate of */
    assert_place(runs[6], spawned.page, 1, false);
    assert_int_equal(steps_lane(steps, workflow, "").cancelled, 4);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "d:Q c:Q y:C x:C");
    assert_spawned(steps_spawn(steps, workflow, "free", "a b"), 2, 0, 0, 0); /* their child keys are free */
    steps_crash(steps);
    assert_spawned(steps_spawn(steps, workflow, "third", "x y c"), 2, 1, 0, 0);
}

static void refused_ones_drive_nothing_out(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", PROGRESS(1), CANCEL(1));
    steps_spawn(steps, workflow, "k|c", "a");
    assert_drove_out(steps_spawn(steps, workflow, "k|c", "b"), 0, 0, false); /* no place */
    assert_drove_out(steps_spawn(steps, workflow, "k|d", "a"), 0, 0, false); /* a duplicate */
    assert_int_equal(steps_lane(steps, workflow, "").queued, 1);
    assert_drove_out(steps_spawn(steps, workflow, "k|d", "b"), 1, 1, false);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "b:Q a:C");
    assert_drove_out(steps_spawn(steps, workflow, "k|c", "a"), 1, 1,
                     false); /* the place of the first a is free again */
}

static void all_groups_with_the_key_count(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5), PROGRESS(2));
    steps_spawn(steps, workflow, "g|k", "a");
    steps_spawn(steps, workflow, "h|k", "b");
    assert_drove_out(steps_spawn(steps, workflow, "i|k", "c"), 1, 1, false);
    assert_drove_out(steps_spawn(steps, workflow, "i|other", "d"), 1, 0, false);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.states = 1 << STORE_STATE_QUEUED}),
                        "d:Q c:Q b:Q");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_claimed(claimed, "b");
    /* It limits tokens, too: two of the key at once, over all groups. */
    assert_drove_out(steps_spawn(steps, workflow, "g|k", "e"), 1, 0, true);
    int64_t second = steps_worker(steps);
    claimed = steps_claim(steps, second, workflow, 9, 9, 9);
    assert_int_equal(claimed->n, 2); /* of c, d and e */
    assert_int_equal(steps_lane(steps, workflow, "g").tokens + steps_lane(steps, workflow, "h").tokens +
                         steps_lane(steps, workflow, "i").tokens,
                     3); /* b, one more of the key, d */
}

static void parked_ones_are_not_driven_out(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", PROGRESS(1));
    steps_spawn(steps, workflow, "k", "a");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_park(steps, &a);
    assert_drove_out(steps_spawn(steps, workflow, "k", "b"), 1, 0, false);
    assert_state(steps, &a, STORE_STATE_PARKED);
    struct held b = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "b");
    steps_retry(steps, &b, 1, US_PER_MIN);
    assert_drove_out(steps_spawn(steps, workflow, "k", "c"), 1, 1, false); /* one that waits for a retry is */
    assert_state(steps, &b, STORE_STATE_CANCELLED);
    uint64_t count;
    steps_begin(steps);
    assert_int_equal(store_parked_retry(steps->store, &(struct store_parked_filter){0}, &count, NULL), 0);
    steps_commit(steps);
    assert_int_equal(count, 1);
    assert_drove_out(steps_spawn(steps, workflow, "k", "d"), 1, 2, false); /* now a lives again, and c */
    assert_string_equal(steps_drain(steps, workflow), "d");
}

static void those_that_were_asked_count_no_more(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", PROGRESS(2));
    steps_spawn(steps, workflow, "k", "a b");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    steps_cancel_run(steps, b.page, b.index);
    assert_drove_out(steps_spawn(steps, workflow, "k", "c"), 1, 0, false); /* a and c */
    assert_string_equal(steps_asks(steps, 0), "b");
    assert_drove_out(steps_spawn(steps, workflow, "k", "d"), 1, 0, true);
    assert_string_equal(steps_asks(steps, 0), "a!");
    steps_release(steps, &a); /* it does not come back */
    assert_state(steps, &a, STORE_STATE_CANCELLED);
    steps_crash(steps);
    assert_string_equal(steps_drain(steps, workflow), "c d");
}

static void newer_is_who_has_the_greater_id(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", PROGRESS(2)), id;
    assert_int_equal(store_page_reserve(steps->store, &id, NULL), 0);
    steps_spawn(steps, workflow, "k", "x y");
    struct store_spawned spawned = steps_spawn_as(steps, workflow, "k", "late", &(struct store_page){.id = id});
    assert_spawned(spawned, 0, 0, 0, 1);
    assert_int_equal(spawned.driven_out, 0);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_claimed(claimed, "x");
    struct held x = steps_hold(steps, claimed, "x");
    steps_done(steps, &x);
    assert_spawned(steps_spawn_as(steps, workflow, "k", "late", &(struct store_page){.id = id}), 1, 0, 0, 0);
    assert_string_equal(steps_drain(steps, workflow), "late y");
}

static void several_rules_one_after_the_other(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", PROGRESS(2), PROGRESS(1));
    steps_spawn(steps, workflow, "k|m", "a");
    steps_spawn(steps, workflow, "k|n", "b");
    assert_drove_out(steps_spawn(steps, workflow, "k|n", "c"), 1, 2, false); /* a by the first, b by the second */
    /* c by the first, which counts both; the second leaves but one of them. */
    assert_drove_out(steps_spawn(steps, workflow, "k|o", "d e"), 1, 1, false);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.states = 1 << STORE_STATE_QUEUED}), "e:Q");
}

static void a_lower_limit_shows_at_the_next_spawn(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(4));
    steps_spawn(steps, workflow, "k", "a b c d");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_claimed(claimed, "a");
    steps_workflow(steps, "w", PROGRESS(3));
    assert_drove_out(steps_spawn(steps, workflow, "k", "e"), 1, 1, true);
    assert_string_equal(steps_asks(steps, 0), "a!");
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "e:Q d:Q c:Q b:C a:L");
}

const struct CMUnitTest conformance_progress[] = {
    CONFORMANCE_TEST(a_newer_run_drives_out_the_older),      CONFORMANCE_TEST(of_a_page_the_last_are_kept),
    CONFORMANCE_TEST(refused_ones_drive_nothing_out),        CONFORMANCE_TEST(all_groups_with_the_key_count),
    CONFORMANCE_TEST(parked_ones_are_not_driven_out),        CONFORMANCE_TEST(those_that_were_asked_count_no_more),
    CONFORMANCE_TEST(newer_is_who_has_the_greater_id),       CONFORMANCE_TEST(several_rules_one_after_the_other),
    CONFORMANCE_TEST(a_lower_limit_shows_at_the_next_spawn),
};
const size_t conformance_progress_n = sizeof conformance_progress / sizeof conformance_progress[0];
