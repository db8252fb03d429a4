/* conformance_turns.c - limits and turns: who may run, and who is next. */
#include "conformance_steps.h"

#include <stdio.h>

/* ---- GROUP_ROUND_ROBIN: limits ---- */

static void tokens_keep_to_the_limit(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(3)), second = steps_worker(steps), third = steps_worker(steps);
    steps_spawn(steps, workflow, "g", "a b c d e f g h");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 4, 2);
    assert_claimed(claimed, "a b c d"); /* more runs than tokens: they queue at the worker */
    assert_int_equal(claimed->leases[0].tokens, 2);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c"), d = steps_hold(steps, claimed, "d");
    claimed = steps_claim(steps, second, workflow, 1, 2, 2);
    assert_claimed(claimed, "e f");
    assert_int_equal(claimed->leases[0].tokens, 1);
    claimed = steps_claim(steps, third, workflow, 1, 2, 2);
    assert_int_equal(claimed->n, 0);
    assert_false(claimed->more);
    assert_int_equal(steps_lane(steps, workflow, "g").tokens, 3);
    steps_done(steps, &a);
    steps_done(steps, &b);
    steps_done(steps, &c);
    assert_int_equal(steps_claim(steps, third, workflow, 1, 2, 2)->n, 0); /* its tokens are still held */
    steps_done(steps, &d);
    assert_int_equal(steps_lane(steps, workflow, "g").tokens, 1);
    claimed = steps_claim(steps, third, workflow, 1, 2, 9);
    assert_claimed(claimed, "g h");
    assert_int_equal(claimed->leases[0].tokens, 2);
}

static void a_worker_asks_for_more(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(4)), second = steps_worker(steps);
    steps_spawn(steps, workflow, "g", "a b c d e f g h i j");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 4);
    assert_claimed(claimed, "a");
    struct held a = steps_hold(steps, claimed, "a");
    assert_int_equal(a.tokens, 1);
    claimed = steps_claim_more(steps, 0, a.lane, 2, 9);
    assert_claimed(claimed, "b c");
    struct held b = steps_hold(steps, claimed, "b"), c = steps_hold(steps, claimed, "c");
    assert_int_equal(b.tokens, 3); /* one for each run */
    assert_int_equal(claimed->held[0], 3);
    claimed = steps_claim_more(steps, 0, a.lane, 3, 9);
    assert_claimed(claimed, "d e f");
    assert_int_equal(claimed->held[0], 4); /* the limit */
    struct held d = steps_hold(steps, claimed, "d"), e = steps_hold(steps, claimed, "e"),
                f = steps_hold(steps, claimed, "f");
    claimed = steps_claim_more(steps, 0, a.lane, 0, 1); /* may be less */
    assert_int_equal(claimed->n, 0);
    assert_int_equal(claimed->held[0], 1);
    claimed = steps_claim(steps, second, workflow, 1, 9, 9);
    assert_claimed(claimed, "g h i j");
    assert_int_equal(claimed->leases[0].tokens, 3);
    claimed = steps_claim_more(steps, 0, a.lane, 0, 0); /* but never none */
    assert_int_equal(claimed->held[0], 1);
    claimed = steps_claim_more(steps, 0, a.lane, 0, 4);
    assert_int_equal(claimed->held[0], 1);
    steps_done(steps, &b), steps_done(steps, &c), steps_done(steps, &d), steps_done(steps, &e), steps_done(steps, &f);
    steps_done(steps, &a);
    claimed = steps_claim_more(steps, 0, a.lane, 1, 1); /* it holds nothing there any more */
    assert_int_equal(claimed->n, 0);
    assert_int_equal(claimed->held[0], 0);
    claimed = steps_claim_more(steps, 0, 12345, 1, 1);
    assert_int_equal(claimed->held[0], 0);
}

static void two_limits_hold_together(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(2), ROBIN(3));
    steps_spawn(steps, workflow, "a|all", "a1 a2 a3 a4");
    steps_spawn(steps, workflow, "b|all", "b1 b2 b3 b4");
    steps_spawn(steps, workflow, "c|all", "c1 c2 c3 c4");
    steps_spawn(steps, workflow, "d|own", "d1 d2 d3 d4");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 9, 2, 2);
    assert_claimed(claimed, "a1 a2 b1 b2 d1 d2"); /* c finds no room under "all", and d is not held up by that */
    assert_int_equal(claimed->leases[0].tokens, 2);
    assert_int_equal(claimed->leases[1].tokens, 1);
    assert_false(claimed->more);
    struct held b1 = steps_hold(steps, claimed, "b1"), b2 = steps_hold(steps, claimed, "b2");
    struct held a1 = steps_hold(steps, claimed, "a1"), a2 = steps_hold(steps, claimed, "a2");
    steps_done(steps, &b1), steps_done(steps, &b2);
    claimed = steps_claim(steps, 0, workflow, 9, 1, 2);
    assert_claimed(claimed, "c1"); /* it waited longest */
    steps_done(steps, &a1), steps_done(steps, &a2);
    claimed = steps_claim(steps, 0, workflow, 1, 1, 2);
    assert_claimed(claimed, "a3");
    assert_true(claimed->more);
    claimed = steps_claim(steps, 0, workflow, 1, 1, 2);
    assert_claimed(claimed, "b3");
    assert_false(claimed->more);
}

static void no_limit_means_turns_alone(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(0));
    steps_spawn(steps, workflow, "g", "a b c");
    steps_spawn(steps, workflow, "h", "d e f");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 9, 2, 1000);
    assert_claimed(claimed, "a b d e");
    int64_t second = steps_worker(steps);
    claimed = steps_claim(steps, second, workflow, 9, 2, 1000);
    assert_claimed(claimed, "c f");
}

static uint32_t cap_of(void *arg, struct bytes workflow, struct bytes key, uint32_t max_runs) {
    assert_true(bytes_equal(workflow, BYTES("w")));
    return bytes_equal(key, BYTES("low")) ? 1 : bytes_equal(key, BYTES("none")) ? 0 : max_runs;
}

/* Of its first round-robin rule alone; also after a crash, and under other rules. */
static void a_key_may_have_a_limit_of_its_own(void **state) {
    struct steps *steps = *state;
    struct store_options options = steps->options;
    options.caps.max_runs = cap_of;
    options.lease_us = LEASE_US;
    steps_open_with(steps, options);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(2), ROBIN(3));
    steps_spawn(steps, workflow, "low|low", "a b c d");
    steps_spawn(steps, workflow, "other|low", "e f g h");
    steps_spawn(steps, workflow, "none|x", "i j k l m");
    for (uint32_t max = 2; max < 4; max++) {
        assert_int_equal(steps_claim(steps, 0, workflow, 9, 9, 9)->n, 3);
        assert_int_equal(steps_lane(steps, workflow, "low").tokens, 1);
        assert_int_equal(steps_lane(steps, workflow, "other").tokens, 2);
        assert_int_equal(steps_lane(steps, workflow, "none").tokens, 3); /* the second rule's */
        assert_int_equal(steps_lane(steps, workflow, "low").max_runs, 1);
        assert_int_equal(steps_lane(steps, workflow, "other").max_runs, max);
        assert_int_equal(steps_lane(steps, workflow, "none").max_runs, 0);
        steps_crash(steps);
        workflow = steps_workflow(steps, "w", ROBIN(3), ROBIN(3));
    }
}

static void a_limit_is_changed_for_all(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(4)), second = steps_worker(steps);
    steps_spawn(steps, workflow, "g", "a b c d e f g h");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 3, 3);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c");
    assert_int_equal(steps_workflow(steps, "w", ROBIN(2)), workflow);
    assert_int_equal(steps_claim(steps, second, workflow, 1, 1, 1)->n, 0);
    claimed = steps_claim_more(steps, 0, a.lane, 1, 3);
    assert_claimed(claimed, "d");
    assert_int_equal(claimed->held[0], 2);
    struct held d = steps_hold(steps, claimed, "d");
    steps_workflow(steps, "w", ROBIN(3));
    claimed = steps_claim(steps, second, workflow, 1, 9, 9);
    assert_claimed(claimed, "e f g h");
    assert_int_equal(claimed->leases[0].tokens, 1);
    steps_done(steps, &a), steps_done(steps, &b), steps_done(steps, &c), steps_done(steps, &d);
    steps_reopen(steps); /* rules are kept */
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_claimed(claimed, "e f g h");
    assert_int_equal(claimed->leases[0].tokens, 3);
}

static void other_rules_leave_the_pages_their_keys(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(1));
    steps_spawn(steps, workflow, "g", "a b");
    steps_workflow(steps, "w", ROBIN(2), ROBIN(1));
    steps_spawn(steps, workflow, "g|x", "c d");
    steps_spawn(steps, workflow, "h|x", "e f");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 9, 2, 2);
    assert_claimed(claimed, "a b e f"); /* the first two have no key for the second rule, and fill the first */
    steps_reopen(steps);
    steps_workflow_of(steps, "w", NULL, 0);
    /* Whose turn it is outlives the process where others go on. */
    const char *turns = store_shared(steps->store) ? "c d a b e f" : "a b c d e f";
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), turns);
}

/* ---- turns ---- */

static void groups_take_turns(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9), ROBIN(0));
    steps_spawn(steps, workflow, "big|1", "a b c d e f g h i j");
    steps_spawn(steps, workflow, "big|2", "k l m n");
    steps_spawn(steps, workflow, "small|1", "x y");
    steps_spawn(steps, workflow, "tiny|1", "z");
    static const char *const turns[] = {"a", "x", "z", "k", "y", "b", "l", "c", "m", "d"};
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
        assert_claimed(claimed, turns[i]);
        struct held held = steps_hold(steps, claimed, turns[i]);
        steps_done(steps, &held);
    }
}

static void workflows_take_turns(void **state) {
    struct steps *steps = *state;
    int64_t both[] = {steps_workflow(steps, "one", ROBIN(9)), steps_workflow_of(steps, "two", NULL, 0)};
    steps_spawn(steps, both[0], "g", "a b c");
    steps_spawn(steps, both[0], "h", "k l m");
    steps_spawn(steps, both[1], "", "x y z");
    struct store_claim claim = {
        .worker = steps->worker, .new_lanes = 1, .new_runs = 1, .new_tokens = 1, .workflows = both, .n_workflows = 2};
    static const char *const turns[] = {"a", "k", "x", "b", "l", "y"};
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        const struct store_claimed *claimed = steps_claim_as(steps, &claim);
        assert_claimed(claimed, turns[i]);
        assert_true(claimed->more);
        struct held held = steps_hold(steps, claimed, turns[i]);
        steps_done(steps, &held);
    }
    claim.n_workflows = 1;
    claim.new_lanes = 9;
    assert_claimed(steps_claim_as(steps, &claim), "c m"); /* of the named workflows only */
    claim.n_workflows = 0;
    assert_int_equal(steps_claim_as(steps, &claim)->n, 0);
}

static void a_newcomer_waits_for_those_that_wait(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    steps_spawn(steps, workflow, "old", "o1 o2 o3 o4");
    for (int i = 0; i < 4; i++) {
        char group[16];
        snprintf(group, sizeof group, "new-%d", i);
        steps_spawn(steps, workflow, group, i == 0 ? "n0" : i == 1 ? "n1" : i == 2 ? "n2" : "n3");
        const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
        static const char *const turns[] = {"o1", "n0", "o2", "n1"};
        assert_claimed(claimed, turns[i]);
        struct held held = steps_hold(steps, claimed, turns[i]);
        steps_done(steps, &held);
    }
}

static void wants_are_served_first_and_count_as_turns(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), second = steps_worker(steps);
    steps_spawn(steps, workflow, "a", "a1 a2 a3 a4");
    steps_spawn(steps, workflow, "b", "b1 b2 b3 b4");
    struct held a1 = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a1");
    struct held b1 = steps_hold(steps, steps_claim(steps, second, workflow, 1, 1, 1), "b1");
    assert_int_equal(b1.worker, steps->worker);
    struct store_want want = {a1.lane, 1, 1};
    struct store_claim claim = {.worker = steps->worker,
                                .wants = &want,
                                .n_wants = 1,
                                .new_lanes = 1,
                                .new_runs = 1,
                                .new_tokens = 1,
                                .workflows = &workflow,
                                .n_workflows = 1};
    assert_claimed(steps_claim_as(steps, &claim), "a2 b2");
    int64_t third = steps_worker(steps);
    assert_claimed(steps_claim(steps, third, workflow, 1, 1, 1), "a3");
    assert_claimed(steps_claim(steps, third, workflow, 2, 1, 1), "b3"); /* not of a, which it holds */
}

static void pages_go_in_spawn_order(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    int64_t now = steps_now(steps), later = 5 * steps->second_us;
    steps_spawn_later(steps, workflow, "g", "later", now + later);
    steps_spawn(steps, workflow, "g", "a b");
    steps_spawn(steps, workflow, "g", "c");
    steps_spawn_later(steps, workflow, "g", "past", now - 5);
    assert_lane(steps, workflow, "g", 5, 0, 0, 0);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_claimed(claimed, "a");
    assert_int_equal(claimed->next_due_utc_us, now + later);
    struct held a = steps_hold(steps, claimed, "a");
    claimed = steps_claim_more(steps, 0, a.lane, 2, 1);
    assert_claimed(claimed, "b c");
    assert_int_equal(claimed->n, 2); /* a lease is of one page */
    struct held c = steps_hold(steps, claimed, "c");
    steps_release(steps, &c);
    steps_release(steps, &a);
    steps_pass(steps, later);
    steps_crash(steps);
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_claimed(claimed, "later a b c past");
    assert_int_equal(claimed->next_due_utc_us, 0);
}

static void a_delayed_page_waits(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), due = steps_now(steps) + 5 * steps->second_us;
    steps_spawn_later(steps, workflow, "g", "a", due);
    assert_spawned(steps_spawn(steps, workflow, "g", "a"), 0, 1, 0, 0);
    for (int round = 0; round < 2; round++) {
        const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
        assert_int_equal(claimed->n, 0);
        assert_int_equal(claimed->next_due_utc_us, due);
        steps_reopen(steps);
    }
    steps_pass(steps, 5 * steps->second_us);
    assert_claimed(steps_claim(steps, 0, workflow, 1, 1, 1), "a");
}

/* ---- CANCEL_NEWEST ---- */

static void newest_are_cancelled_at_the_spawn(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", CANCEL(2), ROBIN(1));
    assert_spawned(steps_spawn(steps, workflow, "c|g", "a b d e"), 2, 0, 0, 2);
    assert_spawned(steps_spawn(steps, workflow, "c|h", "a f"), 0, 1, 0, 1); /* known ones are not cancelled */
    assert_spawned(steps_spawn(steps, workflow, "other|g", "f"), 1, 0, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "g").cancelled, 2);
    assert_int_equal(steps_lane(steps, workflow, "h").cancelled, 1);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 2, 1);
    assert_claimed(claimed, "a b");
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    assert_spawned(steps_spawn(steps, workflow, "c|g", "x"), 0, 0, 0, 1); /* while they run */
    steps_retry(steps, &a, 1, 0);
    assert_spawned(steps_spawn(steps, workflow, "c|g", "x"), 0, 0, 0, 1); /* while one waits for a retry */
    steps_reopen(steps);
    assert_spawned(steps_spawn(steps, workflow, "c|g", "x"), 0, 0, 0, 1);
    if (store_shared(steps->store)) { /* where turns outlive the process, the group's other lane is next */
        struct held f = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "f");
        steps_done(steps, &f);
    }
    claimed = steps_claim(steps, 0, workflow, 1, 2, 1);
    a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    steps_done(steps, &b);
    assert_spawned(steps_spawn(steps, workflow, "c|g", "x y"), 1, 0, 0, 1);
    steps_park(steps, &a); /* gives its place up */
    assert_spawned(steps_spawn(steps, workflow, "c|g", "y z"), 1, 0, 0, 1);
    uint64_t count;
    steps_begin(steps);
    assert_int_equal(store_parked_retry(steps->store, &(struct store_parked_filter){0}, &count, NULL), 0);
    assert_int_equal(count, 0); /* no place: it stays parked */
    steps_commit(steps);
    assert_int_equal(steps_lane(steps, workflow, "g").parked, 1);
    steps_workflow(steps, "w", CANCEL(3), ROBIN(1));
    steps_begin(steps);
    assert_int_equal(store_parked_retry(steps->store, &(struct store_parked_filter){0}, &count, NULL), 0);
    assert_int_equal(count, 1);
    steps_commit(steps);
    assert_spawned(steps_spawn(steps, workflow, "c|g", "q"), 0, 0, 0, 1);
}

static void a_cancelled_run_supersedes_nothing(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", CANCEL(1));
    steps_spawn(steps, workflow, "c", "a:1");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    steps_park(steps, &a);
    assert_spawned(steps_spawn(steps, workflow, "c", "b"), 1, 0, 0, 0);
    assert_spawned(steps_spawn(steps, workflow, "c", "a:2"), 0, 1, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "").parked, 1);
}

static void newest_are_cancelled_at_the_claim(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(3), CANCEL(2));
    steps_spawn(steps, workflow, "g|c", "a b");
    steps_spawn(steps, workflow, "g|c", "d e f");
    steps_spawn(steps, workflow, "h|x", "k l m n");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 1);
    assert_claimed(claimed, "a"); /* no more than are admitted */
    assert_int_equal(claimed->cancelled, 0);
    struct held a = steps_hold(steps, claimed, "a");
    claimed = steps_claim(steps, 0, workflow, 1, 9, 3);
    assert_claimed(claimed, "k l"); /* admitted up to three; the third finds no place, nor does what comes after it */
    assert_int_equal(claimed->cancelled, 2);
    assert_lane(steps, workflow, "h", 0, 2, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "h").cancelled, 2);
    assert_spawned(steps_spawn(steps, workflow, "h|x", "k m n"), 2, 1, 0, 0); /* cancelled ones are forgotten */
    steps_retry(steps, &a, 1, 5 * steps->second_us);
    steps_crash(steps); /* a holds its place still; k and l were not in trouble and are as if never claimed */
    claimed = steps_claim(steps, 0, workflow, 1, 9, 3);
    assert_claimed(claimed, "b");
    assert_int_equal(claimed->cancelled, 3);
    struct held b = steps_hold(steps, claimed, "b");
    steps_release(steps, &b); /* gives its place up again */
    steps_pass(steps, 5 * steps->second_us);
    claimed = steps_claim(steps, 0, workflow, 9, 9, 3);
    assert_claimed(claimed, "k l a b");
    assert_int_equal(claimed->cancelled, 2);
    steps_crash(steps);
    assert_lane(steps, workflow, "g", 2, 0, 0, 0);
}

static void a_singleton_after_its_group(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(1), CANCEL(1));
    steps_spawn(steps, workflow, "g|g", "a b c");
    assert_string_equal(steps_drain(steps, workflow), "a b c"); /* one after the other, as each is admitted alone */
    assert_int_equal(steps_lane(steps, workflow, "g").cancelled, 0);
}

const struct CMUnitTest conformance_turns[] = {
    CONFORMANCE_TEST(tokens_keep_to_the_limit),
    CONFORMANCE_TEST(a_worker_asks_for_more),
    CONFORMANCE_TEST(two_limits_hold_together),
    CONFORMANCE_TEST(no_limit_means_turns_alone),
    CONFORMANCE_TEST(a_key_may_have_a_limit_of_its_own),
    CONFORMANCE_TEST(a_limit_is_changed_for_all),
    CONFORMANCE_TEST(other_rules_leave_the_pages_their_keys),
    CONFORMANCE_TEST(groups_take_turns),
    CONFORMANCE_TEST(workflows_take_turns),
    CONFORMANCE_TEST(a_newcomer_waits_for_those_that_wait),
    CONFORMANCE_TEST(wants_are_served_first_and_count_as_turns),
    CONFORMANCE_TEST(pages_go_in_spawn_order),
    CONFORMANCE_TEST(a_delayed_page_waits),
    CONFORMANCE_TEST(newest_are_cancelled_at_the_spawn),
    CONFORMANCE_TEST(a_cancelled_run_supersedes_nothing),
    CONFORMANCE_TEST(newest_are_cancelled_at_the_claim),
    CONFORMANCE_TEST(a_singleton_after_its_group),
};
const size_t conformance_turns_n = sizeof conformance_turns / sizeof conformance_turns[0];
