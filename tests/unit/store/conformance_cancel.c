/* conformance_cancel.c - ending runs before their time: by order, by asking their worker, because nobody started them.
 */
#include "conformance_steps.h"

#include <stdio.h>

/* ---- store_run_cancel ---- */

static void a_queued_run_is_cancelled_at_once(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    int64_t page = steps_spawn(steps, workflow, "g", "a b c").page;
    int64_t later = steps_spawn_later(steps, workflow, "g", "d", steps_now(steps) + US_PER_MIN).page;
    assert_int_equal(steps_cancel_run(steps, page, 1), STORE_STATE_QUEUED);
    assert_int_equal(steps_cancel_run(steps, later, 0), STORE_STATE_WAITING);
    assert_int_equal(steps_cancel_run(steps, page, 1), STORE_STATE_CANCELLED); /* nothing is done to a finished one */
    assert_int_equal(steps_cancel_run(steps, page, 3), 0);
    assert_int_equal(steps_cancel_run(steps, page + 1000, 0), 0);
    assert_int_equal(steps_lane(steps, workflow, "g").cancelled, 2);
    assert_lane(steps, workflow, "g", 2, 0, 0, 0);
    steps_crash(steps);
    assert_int_equal(steps_state(steps, page, 1), STORE_STATE_CANCELLED);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "d:C c:Q b:C a:Q");
    assert_spawned(steps_spawn(steps, workflow, "g", "a b c d"), 2, 2, 0, 0); /* their child keys are free */
    assert_string_equal(steps_drain(steps, workflow), "a c b d");
}

static void runs_in_trouble_are_cancelled_at_once(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    int64_t page = steps_spawn(steps, workflow, "g", "a b c").page;
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c");
    steps_retry(steps, &a, 1, US_PER_MIN);
    steps_retry(steps, &b, 1, 0);
    steps_park(steps, &c);
    assert_int_equal(steps_cancel_run(steps, page, 0), STORE_STATE_WAITING);
    assert_int_equal(steps_cancel_run(steps, page, 1), STORE_STATE_QUEUED);
    assert_int_equal(steps_cancel_run(steps, page, 2), STORE_STATE_PARKED);
    assert_lane(steps, workflow, "g", 0, 0, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "g").cancelled, 3);
    steps_crash(steps);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "c:C b:C a:C");
    assert_int_equal(steps_cancel_run(steps, page, 2), STORE_STATE_CANCELLED);
    assert_spawned(steps_spawn(steps, workflow, "g", "a b c"), 3, 0, 0, 0);
}

static void finished_runs_stay_what_they_are(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    int64_t page = steps_spawn(steps, workflow, "g", "a b c d").page;
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    static const enum store_outcome outcomes[] = {STORE_DONE, STORE_FAILED, STORE_CANCELLED, STORE_FORGOTTEN};
    static const enum store_state states[] = {STORE_STATE_DONE, STORE_STATE_FAILED, STORE_STATE_CANCELLED,
                                              STORE_STATE_CANCELLED};
    static const char *const keys[] = {"a", "b", "c", "d"};
    struct held held[4];
    for (int i = 0; i < 4; i++)
        held[i] = steps_hold(steps, claimed, keys[i]);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(steps_end(steps, &held[i], outcomes[i]), 0);
        assert_int_equal(steps_cancel_run(steps, page, (uint32_t)i), states[i]);
        assert_state(steps, &held[i], states[i]);
    }
    struct store_lane_info info = steps_lane(steps, workflow, "g");
    assert_int_equal(info.done, 1);
    assert_int_equal(info.cancelled, 1);
    assert_lane(steps, workflow, "g", 0, 0, 0, 0);
    assert_string_equal(steps_asks(steps, 0), "");
    assert_spawned(steps_spawn(steps, workflow, "g", "a b c d"), 4, 0, 0, 0);
}

/* ---- asking ---- */

static void the_worker_of_a_leased_run_is_asked_once(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), second = steps_worker(steps);
    steps_spawn(steps, workflow, "g", "a b c d");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 2, 2);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    claimed = steps_claim(steps, second, workflow, 1, 1, 1);
    struct held c = steps_hold(steps, claimed, "c");
    c.worker = second;
    assert_int_equal(steps_cancel_run(steps, a.page, a.index), STORE_STATE_LEASED);
    assert_int_equal(steps_cancel_run(steps, c.page, c.index), STORE_STATE_LEASED);
    assert_int_equal(steps_cancel_run(steps, a.page, a.index), STORE_STATE_LEASED); /* a second time is no other one */
    assert_int_equal(store_heartbeat(steps->store, second, NULL, NULL), 0);         /* who does not look is not told */
    assert_string_equal(steps_asks(steps, second), "c");
    assert_string_equal(steps_asks(steps, 0), "a");
    assert_string_equal(steps_asks(steps, 0), "");
    assert_int_equal(steps_cancel_run(steps, b.page, b.index), STORE_STATE_LEASED);
    assert_string_equal(steps_asks(steps, 0), "b");
    assert_lane(steps, workflow, "g", 1, 3, 0, 0); /* they stay what they are until they are settled */
    assert_int_equal(steps_end(steps, &a, STORE_CANCELLED), 0);
    assert_int_equal(steps_done(steps, &b), 0); /* it was quicker */
    assert_int_equal(steps_end(steps, &c, STORE_FAILED), 0);
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "d:Q c:F b:D a:C");
    assert_string_equal(steps_attempts(steps, a.page, a.index), "1 CANCELLED w went wrong -;");
    assert_int_equal(steps_lane(steps, workflow, "g").cancelled, 1);
}

static void who_was_asked_does_not_run_again(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), second = steps_worker(steps);
    steps_spawn(steps, workflow, "g", "a b c d e f");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    struct held a = steps_hold(steps, claimed, "a");
    steps_retry(steps, &a, 1, 0);
    claimed = steps_claim(steps, 0, workflow, 1, 4, 4);
    assert_claimed(claimed, "a b c d");
    struct held b = steps_hold(steps, claimed, "b"), c = steps_hold(steps, claimed, "c"),
                d = steps_hold(steps, claimed, "d");
    a = steps_hold(steps, claimed, "a");
    const struct held *const asked[] = {&a, &b, &c, &d};
    for (int i = 0; i < 4; i++)
        steps_cancel_run(steps, asked[i]->page, asked[i]->index);
    assert_string_equal(steps_asks(steps, 0), "a b c d");
    assert_int_equal(steps_release(steps, &a), 0);
    assert_int_equal(steps_retry(steps, &b, 1, 0), 0);
    assert_int_equal(steps_release(steps, &c), 0);
    assert_int_equal(steps_park(steps, &d), 0); /* that does not run again by itself */
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){0}), "f:Q e:Q d:P c:C b:C a:C");
    assert_string_equal(steps_attempts(steps, b.page, b.index), "1 CANCELLED w went wrong -;");
    assert_int_equal(steps_lane(steps, workflow, "g").cancelled, 3);
    assert_int_equal(steps_lane(steps, workflow, "g").failed, 3);
    /* Nor when its worker goes. */
    claimed = steps_claim(steps, second, workflow, 1, 2, 2);
    struct held e = steps_hold(steps, claimed, "e");
    steps_cancel_run(steps, e.page, e.index);
    assert_int_equal(store_worker_remove(steps->store, second, NULL), 0);
    assert_int_equal(steps_state(steps, e.page, e.index), STORE_STATE_CANCELLED);
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "f");
    assert_spawned(steps_spawn(steps, workflow, "g", "a b c d e f"), 4, 2, 0, 0);
}

static void asked_runs_of_a_lost_lease_are_cancelled(void **state) {
    struct steps *steps = *state;
    steps_short_leases(steps);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), second = steps_worker(steps);
    steps_spawn(steps, workflow, "g", "a b");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    steps_cancel_run(steps, a.page, a.index);
    steps_pass_most(steps, steps->lease_us);
    assert_int_equal(store_heartbeat(steps->store, second, NULL, NULL), 0);
    steps_pass_rest(steps, steps->lease_us);
    claimed = steps_claim(steps, second, workflow, 1, 9, 9);
    assert_claimed(claimed, "b");
    assert_state(steps, &a, STORE_STATE_CANCELLED);
    assert_int_equal(steps_done(steps, &a), 1);
    b = steps_hold(steps, claimed, "b");
    steps_cancel_run(steps, b.page, b.index);
    steps_crash(steps); /* and when the process ends */
    assert_state(steps, &b, STORE_STATE_CANCELLED);
    assert_lane(steps, workflow, "g", 0, 0, 0, 0);
    assert_int_equal(steps_lane(steps, workflow, "g").cancelled, 2);
    assert_spawned(steps_spawn(steps, workflow, "g", "a b"), 2, 0, 0, 0);
}

static void an_ask_that_was_not_committed_was_none(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    steps_spawn(steps, workflow, "g", "a");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 9, 9), "a");
    enum store_state was;
    steps_begin(steps);
    assert_int_equal(store_run_cancel(steps->store, a.page, a.index, &was, NULL), 0);
    steps_crash(steps);
    assert_string_equal(steps_drain(steps, workflow), "a");
}

/* ---- start_by ---- */

static void who_is_not_started_in_time_is_cancelled(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), other = steps_workflow(steps, "v", ROBIN(1));
    int64_t by = steps_now(steps) + 10 * steps->second_us;
    int64_t page = steps_spawn_as(steps, workflow, "g", "a b c d", &(struct store_page){.start_by_utc_us = by}).page;
    steps_spawn(steps, workflow, "g", "free");
    struct store_page delayed = {.start_by_utc_us = by, .not_before_utc_us = by + US_PER_HOUR};
    int64_t late = steps_spawn_as(steps, other, "g", "late", &delayed).page;
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 3, 3);
    assert_claimed(claimed, "a b c");
    assert_int_equal(claimed->next_due_utc_us, by);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b"),
                c = steps_hold(steps, claimed, "c");
    steps_release(steps, &b);
    steps_retry(steps, &c, 1, 0);
    steps_pass_most(steps, 10 * steps->second_us);
    claimed = steps_claim(steps, 0, workflow, 0, 1, 1);
    assert_int_equal(claimed->cancelled, 0);
    steps_crash(steps); /* a was started, and is as if it never had been, but for this */
    steps_pass_rest(steps, 10 * steps->second_us);
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_int_equal(claimed->cancelled, 2); /* d, and late of another workflow */
    assert_claimed(claimed, "c a b free");
    assert_int_equal(claimed->next_due_utc_us, 0);
    assert_int_equal(steps_state(steps, page, 3), STORE_STATE_CANCELLED);
    assert_int_equal(steps_state(steps, late, 0), STORE_STATE_CANCELLED);
    assert_int_equal(steps_lane(steps, workflow, "g").cancelled, 1);
    assert_int_equal(steps_lane(steps, other, "g").cancelled, 1);
    assert_true(strncmp(steps_attempts(steps, page, 3), "0 CANCELLED - ", 14) == 0);
    assert_true(strlen(steps_attempts(steps, page, 3)) > 20); /* with a reason */
    assert_state(steps, &a, STORE_STATE_LEASED);
    steps_crash(steps); /* it was durable when the claim returned */
    assert_int_equal(steps_state(steps, page, 3), STORE_STATE_CANCELLED);
    assert_spawned(steps_spawn(steps, workflow, "g", "d a"), 1, 1, 0, 0);
    assert_spawned(steps_spawn(steps, other, "g", "late"), 1, 0, 0, 0);
}

static void a_paused_workflow_waits_no_longer(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), by = steps_now(steps) + 2 * steps->second_us;
    int64_t page = steps_spawn_as(steps, workflow, "g", "a", &(struct store_page){.start_by_utc_us = by}).page;
    steps_begin(steps);
    assert_int_equal(store_workflow_pause(steps->store, BYTES("w"), true, NULL), 0);
    steps_commit(steps);
    assert_int_equal(steps_claim(steps, 0, workflow, 9, 9, 9)->next_due_utc_us, by);
    steps_pass(steps, 2 * steps->second_us);
    assert_int_equal(steps_claim(steps, 0, workflow, 9, 9, 9)->cancelled, 1);
    assert_int_equal(steps_state(steps, page, 0), STORE_STATE_CANCELLED);
}

const struct CMUnitTest conformance_cancel[] = {
    CONFORMANCE_TEST(a_queued_run_is_cancelled_at_once),
    CONFORMANCE_TEST(runs_in_trouble_are_cancelled_at_once),
    CONFORMANCE_TEST(finished_runs_stay_what_they_are),
    CONFORMANCE_TEST(the_worker_of_a_leased_run_is_asked_once),
    CONFORMANCE_TEST(who_was_asked_does_not_run_again),
    CONFORMANCE_TEST(asked_runs_of_a_lost_lease_are_cancelled),
    CONFORMANCE_TEST(an_ask_that_was_not_committed_was_none),
    CONFORMANCE_TEST(who_is_not_started_in_time_is_cancelled),
    CONFORMANCE_TEST(a_paused_workflow_waits_no_longer),
};
const size_t conformance_cancel_n = sizeof conformance_cancel / sizeof conformance_cancel[0];
