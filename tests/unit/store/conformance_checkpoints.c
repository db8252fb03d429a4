/* conformance_checkpoints.c - what a running run gives to be kept: whoever gets the run next has it, however it came
 * back; and nothing is left of it when the run has ended. Each teardown checks the store, and with that that no
 * checkpoint is left that is no leased run's. */
#include "conformance_steps.h"

#include <stdio.h>

#define INPUT BYTES("{\"of\":\"run\"}")

static struct store_settled checkpoint_of(const struct held *held, const char *text) {
    return (struct store_settled){.lease = held->lease,
                                  .index = held->index,
                                  .outcome = STORE_CHECKPOINT,
                                  .child_key = bytes_str(held->child_key),
                                  .generation = BYTES("g2"),
                                  .input = INPUT,
                                  .checkpoint = bytes_str(text),
                                  .attempts = 3};
}

static size_t keep(struct steps *steps, const struct held *held, const char *text) {
    struct store_settled settled = checkpoint_of(held, text);
    return steps_settle(steps, held->worker, &settled, 1);
}

static struct store_settled end_of(const struct held *held, enum store_outcome outcome) {
    return (struct store_settled){.lease = held->lease,
                                  .index = held->index,
                                  .outcome = outcome,
                                  .checkpointed = true,
                                  .child_key = bytes_str(held->child_key),
                                  .input = INPUT,
                                  .checkpoint = BYTES("at the end"),
                                  .attempts = 1,
                                  .attempt = 1,
                                  .error = BYTES("why"),
                                  .due_utc_us = 1};
}

static size_t end(struct steps *steps, const struct held *held, enum store_outcome outcome) {
    struct store_settled settled = end_of(held, outcome);
    return steps_settle(steps, held->worker, &settled, 1);
}

/* The runs of a claim as "KEY=CHECKPOINT/GENERATION*ATTEMPTS", in its order. */
static const char *checkpoints(const struct store_claimed *claimed) {
    static char text[2000];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < claimed->n; i++)
        for (size_t j = 0; j < claimed->leases[i].n; j++) {
            const struct store_run *run = &claimed->leases[i].runs[j];
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s=%.*s/%.*s*%u", n ? " " : "", (int)run->child_key.n,
                                  run->child_key.p, (int)run->checkpoint.n, run->checkpoint.n ? run->checkpoint.p : "",
                                  (int)run->generation.n, run->generation.n ? run->generation.p : "", run->attempts);
        }
    return text;
}
#define assert_checkpoints(steps_, workflow_, text_) \
    assert_string_equal(checkpoints(steps_claim((steps_), 0, (workflow_), 9, 99, 99)), (text_))

struct look {
    char checkpoint[40], generation[40], error[40];
    uint32_t attempts;
    enum store_state state;
};

static int see(void *arg, const struct store_run_info *run) {
    struct look *look = arg;
    snprintf(look->checkpoint, sizeof look->checkpoint, "%.*s", (int)run->checkpoint.n,
             run->checkpoint.n ? run->checkpoint.p : "");
    snprintf(look->generation, sizeof look->generation, "%.*s", (int)run->generation.n,
             run->generation.n ? run->generation.p : "");
    snprintf(look->error, sizeof look->error, "%.*s", (int)run->error.n, run->error.n ? run->error.p : "");
    look->attempts = run->attempts;
    look->state = run->state;
    return 0;
}

static struct look look_at(struct steps *steps, const struct held *held) {
    struct look look = {0};
    MUST(store_run_get(steps->store, held->page, held->index, see, &look, &err));
    return look;
}

struct three {
    int64_t workflow;
    struct held a, b, c;
};

/* a, b and c of one page, leased. */
static struct three lease_three(struct steps *steps) {
    struct three three = {.workflow = steps_workflow(steps, "w", ROBIN(9))};
    steps_spawn(steps, three.workflow, "g", "a:g1 b:g1 c:g1");
    const struct store_claimed *claimed = steps_claim(steps, 0, three.workflow, 1, 9, 9);
    three.a = steps_hold(steps, claimed, "a");
    three.b = steps_hold(steps, claimed, "b");
    three.c = steps_hold(steps, claimed, "c");
    return three;
}

/* The same, in a batch each with a retry before, so that each has a row of its own. */
static struct three lease_three_in_trouble(struct steps *steps) {
    struct three three = lease_three(steps);
    steps_retry(steps, &three.a, 1, 0);
    steps_retry(steps, &three.b, 1, 0);
    steps_retry(steps, &three.c, 1, 0);
    const struct store_claimed *claimed = steps_claim(steps, 0, three.workflow, 9, 9, 9);
    three.a = steps_hold(steps, claimed, "a");
    three.b = steps_hold(steps, claimed, "b");
    three.c = steps_hold(steps, claimed, "c");
    return three;
}

static void check(struct steps *steps) {
    MUST(store_check(steps->store, &err));
}

/* ---- it survives ---- */

static void a_checkpoint_survives_a_crash(void **state) {
    struct steps *steps = *state;
    struct three three = lease_three(steps);
    assert_int_equal(keep(steps, &three.b, "half"), 0);
    assert_lane(steps, three.workflow, "g", 0, 3, 0, 0);
    check(steps);
    steps_crash(steps);
    assert_lane(steps, three.workflow, "g", 3, 0, 0, 0);
    check(steps);
    steps_crash(steps); /* nor is it lost by the next one */
    assert_checkpoints(steps, three.workflow, "b=half/g2*3 a=/g1*0 c=/g1*0");
    assert_string_equal(steps_drain(steps, three.workflow), "");
    assert_spawned(steps_spawn(steps, three.workflow, "g", "a b c d"), 1, 3, 0,
                   0); /* the child keys are as they were */
}

static void so_does_that_of_a_run_that_was_in_trouble(void **state) {
    struct steps *steps = *state;
    struct three three = lease_three_in_trouble(steps);
    assert_int_equal(keep(steps, &three.b, "half"), 0);
    assert_string_equal(look_at(steps, &three.b).checkpoint, "half");
    assert_int_equal(look_at(steps, &three.b).state, STORE_STATE_LEASED);
    check(steps);
    steps_crash(steps);
    assert_checkpoints(steps, three.workflow, "a=checkpoint/g1*1 b=half/g2*3 c=checkpoint/g1*1");
}

static void a_lost_lease_gives_it_to_the_next(void **state) {
    struct steps *steps = *state;
    steps_short_leases(steps);
    struct three three = lease_three(steps);
    assert_int_equal(keep(steps, &three.a, "half"), 0);
    assert_int_equal(keep(steps, &three.c, "most"), 0);
    steps_pass(steps, steps->lease_us);
    int64_t second = steps_worker(steps);
    const struct store_claimed *claimed = steps_claim(steps, second, three.workflow, 9, 99, 99);
    assert_string_equal(checkpoints(claimed), "a=half/g2*3 c=most/g2*3 b=/g1*0");
    struct held now = steps_hold(steps, claimed, "a");
    now.worker = second;
    check(steps);
    /* What the first one still says is not heard. */
    assert_int_equal(keep(steps, &three.a, "late"), 1);
    assert_int_equal(keep(steps, &three.b, "late"), 1);
    assert_string_equal(look_at(steps, &now).checkpoint, "half");
    assert_string_equal(look_at(steps, &three.b).checkpoint, "");
    check(steps);
    assert_int_equal(keep(steps, &now, "more"), 0);
    assert_string_equal(look_at(steps, &now).checkpoint, "more");
}

static void so_does_a_worker_that_leaves(void **state) {
    struct steps *steps = *state;
    struct three three = lease_three(steps);
    keep(steps, &three.c, "half");
    MUST(store_worker_remove(steps->store, steps->worker, &err));
    check(steps);
    assert_lane(steps, three.workflow, "g", 3, 0, 0, 0);
    steps->worker = steps_worker(steps);
    assert_checkpoints(steps, three.workflow, "c=half/g2*3 a=/g1*0 b=/g1*0");
}

static void other_workers_keep_theirs(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9)), second = steps_worker(steps);
    steps_spawn(steps, workflow, "g", "a b c");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    struct held b = steps_hold(steps, steps_claim(steps, second, workflow, 1, 1, 1), "b");
    b.worker = second;
    assert_int_equal(keep(steps, &a, "of a"), 0);
    assert_int_equal(keep(steps, &b, "of b"), 0);
    MUST(store_worker_remove(steps->store, steps->worker, &err));
    check(steps);
    assert_string_equal(look_at(steps, &b).checkpoint, "of b");
    assert_int_equal(look_at(steps, &b).state, STORE_STATE_LEASED);
    assert_int_equal(end(steps, &b, STORE_DONE), 0);
    steps->worker = second;
    assert_checkpoints(steps, workflow, "a=of a/g2*3 c=/*0");
}

static void what_is_released_has_it(void **state) {
    struct steps *steps = *state;
    struct three three = lease_three(steps);
    keep(steps, &three.b, "half");
    assert_int_equal(end(steps, &three.b, STORE_RELEASED), 0);
    check(steps);
    assert_lane(steps, three.workflow, "g", 1, 2, 0, 0);
    struct store_settled both[] = {checkpoint_of(&three.c, "at once"), end_of(&three.c, STORE_RELEASED)};
    assert_int_equal(steps_settle(steps, steps->worker, both, 2), 0); /* in one batch */
    check(steps);
    steps_release(steps, &three.a);
    assert_checkpoints(steps, three.workflow, "b=half/g2*3 c=at once/g2*3 a=/g1*0");
    check(steps);
}

static void the_newest_counts(void **state) {
    struct steps *steps = *state;
    struct three three = lease_three(steps);
    keep(steps, &three.a, "one");
    keep(steps, &three.b, "one");
    struct store_settled two[] = {checkpoint_of(&three.a, "two"), checkpoint_of(&three.a, "three")};
    two[0].checkpointed = two[1].checkpointed = true;
    assert_int_equal(steps_settle(steps, steps->worker, two, 2), 0);
    struct look look = look_at(steps, &three.a);
    assert_string_equal(look.checkpoint, "three");
    assert_string_equal(look.generation, "g2");
    assert_int_equal(look.attempts, 3);
    assert_int_equal(look.state, STORE_STATE_LEASED);
    assert_int_equal(keep(steps, &three.b, ""), 0); /* removes it */
    assert_string_equal(look_at(steps, &three.b).checkpoint, "");
    steps_crash(steps);
    assert_checkpoints(steps, three.workflow, "a=three/g2*3 b=/g2*3 c=/g1*0");
}

static void a_batch_that_is_not_committed_keeps_nothing(void **state) {
    struct steps *steps = *state;
    struct three three = lease_three(steps);
    keep(steps, &three.a, "one");
    struct store_settled settled = checkpoint_of(&three.a, "two");
    size_t ignored;
    steps_begin(steps);
    MUST(store_settle(steps->store, steps->worker, &settled, 1, &ignored, &err));
    steps_crash(steps);
    assert_checkpoints(steps, three.workflow, "a=one/g2*3 b=/g1*0 c=/g1*0");
}

static void large_ones_fit(void **state) {
    static char big[STORE_DATA_MAX + 1];
    struct steps *steps = *state;
    struct three three = lease_three(steps);
    memset(big, 'x', sizeof big);
    struct store_settled settled = checkpoint_of(&three.a, "");
    settled.checkpoint = bytes_of(big, STORE_DATA_MAX);
    assert_int_equal(steps_settle(steps, steps->worker, &settled, 1), 0);
    settled.checkpoint = bytes_of(big, STORE_DATA_MAX + 1);
    size_t ignored;
    steps_begin(steps);
    assert_int_equal(store_settle(steps->store, steps->worker, &settled, 1, &ignored, NULL), -EINVAL);
    steps_commit(steps);
    steps_crash(steps);
    const struct store_claimed *claimed = steps_claim(steps, 0, three.workflow, 1, 1, 1);
    assert_int_equal(claimed->leases[0].runs[0].checkpoint.n, STORE_DATA_MAX);
}

/* ---- it ends with the run ---- */

static void nothing_is_left_of_what_ended(void **state) {
    struct steps *steps = *state;
    static const enum store_outcome outcomes[] = {STORE_DONE, STORE_FORGOTTEN, STORE_CANCELLED, STORE_FAILED};
    for (int trouble = 0; trouble < 2; trouble++)
        for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
            for (int at_once = 0; at_once < 2; at_once++) {
                struct three three = trouble ? lease_three_in_trouble(steps) : lease_three(steps);
                struct held *held[] = {&three.a, &three.b, &three.c};
                for (int j = 0; j < 3; j++) {
                    struct store_settled both[] = {checkpoint_of(held[j], "kept"), end_of(held[j], outcomes[i])};
                    assert_int_equal(steps_settle(steps, steps->worker, both, at_once ? 2 : 1), 0);
                    if (!at_once)
                        assert_int_equal(steps_settle(steps, steps->worker, both + 1, 1), 0);
                }
                assert_string_equal(look_at(steps, &three.b).checkpoint, "");
                assert_lane(steps, three.workflow, "g", 0, 0, 0, 0);
                check(steps);
            }
    steps_crash(steps);
    assert_string_equal(steps_drain(steps, steps_workflow(steps, "w", ROBIN(9))), "");
}

static void the_next_attempt_has_what_the_end_said(void **state) {
    struct steps *steps = *state;
    struct three three = lease_three(steps);
    keep(steps, &three.a, "before");
    keep(steps, &three.b, "before");
    assert_int_equal(end(steps, &three.a, STORE_RETRY), 0);
    assert_int_equal(end(steps, &three.b, STORE_PARKED), 0);
    struct store_settled both[] = {checkpoint_of(&three.c, "before"), end_of(&three.c, STORE_RETRY)};
    assert_int_equal(steps_settle(steps, steps->worker, both, 2), 0);
    check(steps);
    steps_crash(steps);
    assert_checkpoints(steps, three.workflow, "a=at the end/*1 c=at the end/*1");
    assert_string_equal(look_at(steps, &three.b).checkpoint, "at the end");
    uint64_t count;
    steps_begin(steps);
    MUST(store_parked_retry(steps->store, &(struct store_parked_filter){0}, &count, &err));
    steps_commit(steps);
    assert_string_equal(checkpoints(steps_claim_more(steps, 0, three.a.lane, 9, 9)), "b=at the end/*0");
}

static void a_retry_keeps_the_error_of_the_attempt_before(void **state) {
    struct steps *steps = *state;
    struct store_options options = steps->options;
    options.history_us = -1; /* where it would be, too */
    steps_open_with(steps, options);
    struct three three = lease_three_in_trouble(steps);
    keep(steps, &three.a, "half");
    assert_int_equal(end(steps, &three.a, STORE_RELEASED), 0);
    assert_string_equal(checkpoints(steps_claim_more(steps, 0, three.a.lane, 9, 9)), "a=half/g2*3");
    assert_string_equal(look_at(steps, &three.a).error, "went wrong");
}

static void one_that_was_asked_to_end_does_not_run_again(void **state) {
    struct steps *steps = *state;
    struct three three = lease_three(steps);
    keep(steps, &three.a, "half");
    keep(steps, &three.b, "half");
    assert_int_equal(steps_cancel_run(steps, three.a.page, three.a.index), STORE_STATE_LEASED);
    assert_int_equal(steps_cancel_run(steps, three.b.page, three.b.index), STORE_STATE_LEASED);
    assert_int_equal(keep(steps, &three.a, "more"), 0); /* it goes on until it ends */
    assert_int_equal(end(steps, &three.a, STORE_RELEASED), 0);
    assert_state(steps, &three.a, STORE_STATE_CANCELLED);
    check(steps);
    steps_crash(steps);
    assert_state(steps, &three.b, STORE_STATE_CANCELLED);
    assert_string_equal(look_at(steps, &three.b).checkpoint, "");
    check(steps);
    assert_checkpoints(steps, three.workflow, "c=/g1*0");
}

static void one_that_was_asked_and_lost_its_worker_neither(void **state) {
    struct steps *steps = *state;
    struct three three = lease_three(steps);
    keep(steps, &three.a, "half");
    keep(steps, &three.b, "half");
    steps_cancel_run(steps, three.a.page, three.a.index);
    MUST(store_worker_remove(steps->store, steps->worker, &err));
    check(steps);
    steps->worker = steps_worker(steps);
    assert_state(steps, &three.a, STORE_STATE_CANCELLED);
    assert_checkpoints(steps, three.workflow, "b=half/g2*3 c=/g1*0");
}

/* ---- with rules, times and histories ---- */

static void places_are_held_on_the_way(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", CANCEL(1));
    steps_spawn(steps, workflow, "g", "a");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    keep(steps, &a, "half");
    assert_spawned(steps_spawn(steps, workflow, "g", "b"), 0, 0, 0, 1);
    steps_crash(steps);
    assert_spawned(steps_spawn(steps, workflow, "g", "b"), 0, 0, 0, 1);
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 1, 1);
    assert_string_equal(checkpoints(claimed), "a=half/g2*3");
    a = steps_hold(steps, claimed, "a");
    assert_int_equal(end(steps, &a, STORE_DONE), 0);
    assert_spawned(steps_spawn(steps, workflow, "g", "b"), 1, 0, 0, 0);
}

static void a_newer_run_drives_it_out(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", PROGRESS(1));
    steps_spawn(steps, workflow, "g", "a");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    keep(steps, &a, "half");
    steps_crash(steps);
    assert_int_equal(steps_spawn(steps, workflow, "g", "b").driven_out, 1);
    assert_state(steps, &a, STORE_STATE_CANCELLED);
    assert_checkpoints(steps, workflow, "b=/*0");
}

static void what_has_started_is_not_late(void **state) {
    struct steps *steps = *state;
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    struct store_page more = {.start_by_utc_us = steps_now(steps) + steps->second_us};
    steps_spawn_as(steps, workflow, "g", "a b", &more);
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    keep(steps, &a, "half");
    assert_int_equal(end(steps, &a, STORE_RELEASED), 0);
    check(steps);
    steps_pass(steps, steps->second_us);
    assert_checkpoints(steps, workflow, "a=half/g2*3");
    assert_int_equal(steps_lane(steps, workflow, "g").cancelled, 1);
}

static void without_a_history_nothing_is_lost_either(void **state) {
    struct steps *steps = *state;
    struct store_options options = steps->options;
    options.history_us = -1;
    steps_open_with(steps, options);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(9));
    steps_spawn(steps, workflow, "g", "a"); /* the only one of its page, which is over with it */
    steps_spawn(steps, workflow, "g", "b");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    struct held a = steps_hold(steps, claimed, "a"), b = steps_hold(steps, claimed, "b");
    keep(steps, &a, "half");
    assert_int_equal(end(steps, &a, STORE_RELEASED), 0);
    keep(steps, &b, "half");
    assert_int_equal(end(steps, &b, STORE_RETRY), 0);
    check(steps);
    steps_open_with(steps, options);
    claimed = steps_claim(steps, 0, workflow, 1, 9, 9);
    assert_string_equal(checkpoints(claimed), "b=at the end/*1 a=half/g2*3");
    a = steps_hold(steps, claimed, "a");
    b = steps_hold(steps, claimed, "b");
    keep(steps, &a, "more");
    assert_int_equal(end(steps, &a, STORE_DONE), 0);
    assert_int_equal(end(steps, &b, STORE_DONE), 0);
}

const struct CMUnitTest conformance_checkpoints[] = {
    CONFORMANCE_TEST(a_checkpoint_survives_a_crash),
    CONFORMANCE_TEST(so_does_that_of_a_run_that_was_in_trouble),
    CONFORMANCE_TEST(a_lost_lease_gives_it_to_the_next),
    CONFORMANCE_TEST(so_does_a_worker_that_leaves),
    CONFORMANCE_TEST(other_workers_keep_theirs),
    CONFORMANCE_TEST(what_is_released_has_it),
    CONFORMANCE_TEST(the_newest_counts),
    CONFORMANCE_TEST(a_batch_that_is_not_committed_keeps_nothing),
    CONFORMANCE_TEST(large_ones_fit),
    CONFORMANCE_TEST(nothing_is_left_of_what_ended),
    CONFORMANCE_TEST(the_next_attempt_has_what_the_end_said),
    CONFORMANCE_TEST(a_retry_keeps_the_error_of_the_attempt_before),
    CONFORMANCE_TEST(one_that_was_asked_to_end_does_not_run_again),
    CONFORMANCE_TEST(one_that_was_asked_and_lost_its_worker_neither),
    CONFORMANCE_TEST(places_are_held_on_the_way),
    CONFORMANCE_TEST(a_newer_run_drives_it_out),
    CONFORMANCE_TEST(what_has_started_is_not_late),
    CONFORMANCE_TEST(without_a_history_nothing_is_lost_either),
};
const size_t conformance_checkpoints_n = sizeof conformance_checkpoints / sizeof conformance_checkpoints[0];
