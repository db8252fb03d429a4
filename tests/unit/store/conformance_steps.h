/* conformance_steps.h - short ways to say what the conformance tests do. Each checks that the store did not fail. */
#pragma once

#include "conformance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LEASE_US (30 * US_PER_S)
#define STEPS_WORKERS 1024

struct steps {
    struct store_under_test *sut;
    struct store *store;
    struct store_options options; /* that it was opened with */
    int64_t worker;
    int64_t lease_us;
    int64_t second_us;                         /* what the tests take for a second: 1 s when time is theirs */
    int64_t workers[STEPS_WORKERS], n_workers; /* all that were added since the store was wiped */
};

/* The call, which may name `&err`, succeeds; else the test fails with the store's text. */
#define MUST(call_)                                            \
    do {                                                       \
        struct err err = {0};                                  \
        if ((call_) < 0)                                       \
            fail_msg("%s: %d %s", #call_, err.code, err.text); \
    } while (0)

int steps_setup(void **state);        /* a fresh store with one worker; initial_state is the store_under_test */
int steps_teardown(void **state);     /* checks the store and closes it */
void steps_open(struct steps *steps); /* as steps_setup left it, and a worker of the new opening */
/* Also removes the workers of before, as a store that several processes share still has them. */
void steps_reopen(struct steps *steps);
void steps_crash(struct steps *steps);                                   /* and opens it again */
void steps_open_with(struct steps *steps, struct store_options options); /* closes it and opens it so */

/* Time. Without a clock of its own the suite waits, and then `most` is a half, so that what is done meanwhile may take
 * a while. */
int64_t steps_now(const struct steps *steps);
void steps_reset_clock(struct steps *steps);           /* the suite's own, to where it stands in a fresh store */
void steps_pass(struct steps *steps, int64_t us);      /* at least as long */
void steps_pass_most(struct steps *steps, int64_t us); /* a microsecond less than that */
void steps_pass_rest(struct steps *steps, int64_t us); /* what is then left */
/* For tests in which leases end: opens the store with leases that are worth waiting for; steps->lease_us tells. */
void steps_short_leases(struct steps *steps);

void steps_begin(struct steps *steps);
void steps_commit(struct steps *steps);
int64_t steps_worker(struct steps *steps);

#define ROBIN(max_) \
    { STORE_GROUP_ROUND_ROBIN, (max_) }
#define CANCEL(max_) \
    { STORE_CANCEL_NEWEST, (max_) }
#define PROGRESS(max_) \
    { STORE_CANCEL_IN_PROGRESS, (max_) }
#define RATE(max_, period_us_) \
    { STORE_RATE_LIMIT, (max_), (period_us_) }
/* In a batch of its own. */
int64_t steps_workflow_of(struct steps *steps, const char *name, const struct store_rule *rules, size_t n);
#define steps_workflow(steps_, name_, ...)                                         \
    steps_workflow_of((steps_), (name_), (const struct store_rule[]){__VA_ARGS__}, \
                      sizeof((const struct store_rule[]){__VA_ARGS__}) / sizeof(struct store_rule))

/* One page in a batch of its own. `keys`: rule keys with '|' between them. `items`: child keys with spaces between
 * them, each with its generation after a ':' ("k1:g1 k2 k3"); "-" is one without a child key. */
struct store_spawned steps_spawn(struct steps *steps, int64_t workflow, const char *keys, const char *items);
struct store_spawned steps_spawn_later(struct steps *steps, int64_t workflow, const char *keys, const char *items,
                                       int64_t not_before_utc_us);

/* With what `more` says of id, priority, times, parent, failed and ret_runs (room for 64). */
struct store_spawned steps_spawn_as(struct steps *steps, int64_t workflow, const char *keys, const char *items,
                                    const struct store_page *more);

/* Claims for a worker (0: the first one) from one workflow. Freed at the next claim or at the end: see steps_claimed.
 */
const struct store_claimed *steps_claim(struct steps *steps, int64_t worker, int64_t workflow, uint32_t lanes,
                                        uint32_t runs, uint32_t tokens);
const struct store_claimed *steps_claim_more(struct steps *steps, int64_t worker, int64_t lane, uint32_t runs,
                                             uint32_t tokens);
const struct store_claimed *steps_claim_as(struct steps *steps, const struct store_claim *claim);
/* All child keys of the claim, in its order, with spaces between them. */
const char *steps_keys(const struct store_claimed *claimed);
#define assert_claimed(claimed_, keys_) assert_string_equal(steps_keys(claimed_), (keys_))

/* A copy of a leased run, to be settled when the claim is gone. */
struct held {
    int64_t worker, lease, page, lane;
    uint32_t index, tokens;
    char child_key[64], generation[64];
};
struct held steps_hold(struct steps *steps, const struct store_claimed *claimed, const char *child_key);

/* In a batch of their own; return how many were ignored. */
size_t steps_settle(struct steps *steps, int64_t worker, const struct store_settled *settled, size_t n);
size_t steps_done(struct steps *steps, const struct held *held);
size_t steps_retry(struct steps *steps, const struct held *held, uint32_t attempts, int64_t after_us);
size_t steps_park(struct steps *steps, const struct held *held);
size_t steps_release(struct steps *steps, const struct held *held);
size_t steps_end(struct steps *steps, const struct held *held, enum store_outcome outcome); /* any other */
/* Claims all there is of the workflow and settles it as done; the child keys in the order in which they came. */
const char *steps_drain(struct steps *steps, int64_t workflow);

/* ---- runs ---- */

/* What store_run_cancel says it was; 0: there is no such run. */
enum store_state steps_cancel_run(struct steps *steps, int64_t page, uint32_t index);
/* The state of a run; 0: there is no such run. */
enum store_state steps_state(struct steps *steps, int64_t page, uint32_t index);
#define assert_state(steps_, held_, state_) \
    assert_int_equal(steps_state((steps_), (held_)->page, (held_)->index), (state_))
/* The runs that pass, each as "KEY:S", S the first letter of its state. Valid until the next call. */
const char *steps_runs(struct steps *steps, const struct store_runs_filter *filter);
/* Its attempts, each as "NUMBER OUTCOME WORKER ERROR RESULT;", "-" for what is empty. Valid until the next call. */
const char *steps_attempts(struct steps *steps, int64_t page, uint32_t index);
/* Whom a heartbeat of the worker (0: the first one) asks to end: "KEY" or "KEY!" when driven out, in byte order. */
const char *steps_asks(struct steps *steps, int64_t worker);

struct store_lane_info steps_lane(struct steps *steps, int64_t workflow, const char *group);
#define assert_lane(steps_, workflow_, group_, queued_, leased_, waiting_, parked_) \
    do {                                                                            \
        struct store_lane_info info_ = steps_lane((steps_), (workflow_), (group_)); \
        assert_int_equal(info_.queued, (queued_));                                  \
        assert_int_equal(info_.leased, (leased_));                                  \
        assert_int_equal(info_.waiting, (waiting_));                                \
        assert_int_equal(info_.parked, (parked_));                                  \
    } while (0)
#define assert_spawned(spawned_, created_, duplicates_, superseded_, cancelled_) \
    do {                                                                         \
        struct store_spawned it_ = (spawned_);                                   \
        assert_int_equal(it_.created, (created_));                               \
        assert_int_equal(it_.duplicates, (duplicates_));                         \
        assert_int_equal(it_.superseded, (superseded_));                         \
        assert_int_equal(it_.cancelled, (cancelled_));                           \
        assert_int_equal(it_.page != 0, it_.created != 0);                       \
    } while (0)

#define assert_place(place_, page_, index_, created_) \
    do {                                              \
        struct store_place it_ = (place_);            \
        assert_int_equal(it_.page, (page_));          \
        assert_int_equal(it_.index, (index_));        \
        assert_int_equal(it_.created, (created_));    \
    } while (0)

/* The tests, in parts. */
extern const struct CMUnitTest conformance_runs[], conformance_turns[];
extern const size_t conformance_runs_n, conformance_turns_n;
extern const struct CMUnitTest conformance_pieces[];
extern const size_t conformance_pieces_n;
extern const struct CMUnitTest conformance_rest[], conformance_random[];
extern const size_t conformance_rest_n, conformance_random_n;
extern const struct CMUnitTest conformance_orders[], conformance_cancel[], conformance_progress[];
extern const size_t conformance_orders_n, conformance_cancel_n, conformance_progress_n;
extern const struct CMUnitTest conformance_rates[], conformance_history[], conformance_duplicates[];
extern const size_t conformance_rates_n, conformance_history_n, conformance_duplicates_n;
extern const struct CMUnitTest conformance_lanes[], conformance_lookups[];
extern const size_t conformance_lanes_n, conformance_lookups_n;
extern const struct CMUnitTest conformance_checkpoints[];
extern const size_t conformance_checkpoints_n;
#define CONFORMANCE_TEST(function_) cmocka_unit_test_setup_teardown(function_, steps_setup, steps_teardown)
