/* conformance_rates.c - RATE_LIMIT: so many are leased in each window, and no more. */
#include "conformance_steps.h"

#define PERIOD US_PER_S /* the least that there is */

/* Lets the next window begin; returns when it ends. What must happen within a window comes right after it. */
static int64_t next_window(struct steps *steps) {
    int64_t now = steps_now(steps), end = now - now % PERIOD + PERIOD;
    steps_pass(steps, end - now);
    return end + PERIOD;
}

static void so_many_are_leased_in_a_window(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", RATE(2, PERIOD));
    steps_spawn(steps, workflow, "k", "a b c d e");
    steps_spawn(steps, workflow, "other", "x");
    int64_t end = next_window(steps);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 9, 9, 9);
    assert_claimed(claimed, "a b x");
    assert_int_equal(claimed->leases[0].tokens, 2);
    assert_int_equal(claimed->next_due_utc_us, end);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    steps_done(steps, &a);
    claimed = steps_claim_more(steps, 0, b.lane, 1, 9);
    assert_int_equal(claimed->n, 0); /* what is done has used its unit */
    assert_int_equal(claimed->held[0], 1);
    steps_release(steps, &b);                                    /* so has what came back */
    assert_int_equal(steps_lane(steps, workflow, "").tokens, 1); /* x; the lane of k waits without */
    claimed = steps_claim(steps, 0, workflow, 9, 9, 9);
    assert_int_equal(claimed->n, 0);
    assert_false(claimed->more);
    assert_int_equal(claimed->next_due_utc_us, end);
    steps_crash(steps); /* it is durable */
    claimed = steps_claim(steps, 0, workflow, 9, 9, 9);
    assert_claimed(claimed, "x"); /* its second in this window */
    assert_int_equal(claimed->next_due_utc_us, end);
    next_window(steps);
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "b c");
}

static void no_more_are_leased_than_tokens(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(3), RATE(5, PERIOD));
    steps_spawn(steps, workflow, "g|k", "a b c d e f g h");
    int64_t end = next_window(steps), second = steps_worker(steps);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 2);
    assert_claimed(claimed, "a b");
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    claimed = steps_claim(steps, second, workflow, 1, 9, 9);
    assert_claimed(claimed, "c"); /* three at once */
    assert_int_equal(claimed->next_due_utc_us, 0);
    steps_done(steps, &a);
    claimed = steps_claim_more(steps, 0, b.lane, 9, 2);
    assert_claimed(claimed, "d");
    struct held d = steps_hold(steps, claimed, "d");
    steps_done(steps, &b);
    claimed = steps_claim_more(steps, 0, b.lane, 9, 2);
    assert_claimed(claimed, "e"); /* five in the window */
    steps_done(steps, &d);
    claimed = steps_claim_more(steps, 0, b.lane, 9, 2);
    assert_claimed(claimed, "");
    assert_int_equal(claimed->next_due_utc_us, end);
}

static void workflows_share_a_count(void **state) {
    struct steps *steps = *state;
    int64_t all[] = {
        steps_workflow(steps, "one", RATE(3, PERIOD)), steps_workflow(steps, "two", ROBIN(9), RATE(2, PERIOD)),
        steps_workflow(steps, "longer", RATE(3, 3600 * PERIOD)), /* another period is another count */
    };
    steps_spawn(steps, all[0], "k", "a1 a2 a3 a4");
    steps_spawn(steps, all[1], "g|k", "b1 b2 b3 b4");
    steps_spawn(steps, all[1], "k|z", "z1"); /* the same text as a key of another rule counts nothing */
    steps_spawn(steps, all[2], "k", "c1 c2 c3 c4");
    next_window(steps);
    assert_claimed(steps_claim(steps, 0, all[0], 1, 1, 1), "a1");
    assert_claimed(steps_claim(steps, 0, all[1], 1, 9, 9), "b1"); /* two have started then, which is its limit */
    assert_claimed(steps_claim(steps, 0, all[1], 9, 9, 9), "z1");
    int64_t second = steps_worker(steps);
    assert_claimed(steps_claim(steps, second, all[0], 1, 9, 9), "a2"); /* the limit of the first is three */
    assert_claimed(steps_claim(steps, 0, all[2], 9, 9, 9), "c1 c2 c3");
    assert_claimed(steps_claim(steps, second, all[1], 9, 9, 9), "");
}

static void two_rules_that_count_together_count_once(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", RATE(4, PERIOD), RATE(3, PERIOD));
    steps_spawn(steps, workflow, "k|k", "a b c d e");
    next_window(steps);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_claimed(claimed, "a");
    struct held a = steps_hold(steps, claimed, "a");
    assert_claimed(steps_claim_more(steps, 0, a.lane, 1, 9), "b");
    assert_claimed(steps_claim_more(steps, 0, a.lane, 9, 9), "c");
}

static void each_attempt_uses_a_unit(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", RATE(2, PERIOD));
    steps_spawn(steps, workflow, "k", "a b");
    next_window(steps);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 9, 1, 9);
    struct held a = steps_hold(steps, claimed, "a");
    steps_retry(steps, &a, 1, 0);
    claimed = steps_claim(steps, 0, workflow, 9, 9, 9);
    assert_claimed(claimed, "a");
    a = steps_hold(steps, claimed, "a");
    steps_retry(steps, &a, 2, 0);
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "");
    next_window(steps);
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "a b");
}

static void lanes_take_turns_through_windows(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9), RATE(1, PERIOD));
    steps_spawn(steps, workflow, "g|k", "a1 a2");
    steps_spawn(steps, workflow, "h|k", "b1 b2");
    steps_spawn(steps, workflow, "i|free", "c1 c2");
    static const char *const turns[] = {"a1", "b1", "a2"};
    for (int i = 0; i < 3; i++) {
        next_window(steps);
        const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 9, 1, 1);
        assert_claimed(claimed, i == 0 ? "a1 c1" : i == 1 ? "b1 c2" : "a2");
        struct held held = steps_hold(steps, claimed, turns[i]);
        if (i < 2) {
            struct held c = steps_hold(steps, claimed, i ? "c2" : "c1");
            steps_done(steps, &c);
        }
        steps_done(steps, &held);
    }
}

static void a_count_is_rolled_back_with_its_batch(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", RATE(1, PERIOD));
    steps_spawn(steps, workflow, "k", "a b");
    next_window(steps);
    steps_begin(steps);
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "a");
    steps_crash(steps);
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "a");
}

const struct CMUnitTest conformance_rates[] = {
    CONFORMANCE_TEST(so_many_are_leased_in_a_window),
    CONFORMANCE_TEST(no_more_are_leased_than_tokens),
    CONFORMANCE_TEST(workflows_share_a_count),
    CONFORMANCE_TEST(two_rules_that_count_together_count_once),
    CONFORMANCE_TEST(each_attempt_uses_a_unit),
    CONFORMANCE_TEST(lanes_take_turns_through_windows),
    CONFORMANCE_TEST(a_count_is_rolled_back_with_its_batch),
};
const size_t conformance_rates_n = sizeof conformance_rates / sizeof conformance_rates[0];
