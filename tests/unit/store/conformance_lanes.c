/* conformance_lanes.c - lanes come with their first run and go some time after the last one: rule keys that are ever
 * new fill neither memory nor the store. */
#include "conformance_steps.h"

#include <malloc.h>
#include <stdio.h>

#define KEPT_S 10 /* seconds of the suite that history is kept here, and so lanes */

static int64_t kept_us(const struct steps *steps) {
    return steps->sut->own_clock ? KEPT_S * US_PER_S : 3 * US_PER_S / 2;
}

static void keep_shortly(struct steps *steps) {
    struct store_options options = steps->options;
    options.history_us = kept_us(steps);
    options.lease_us = LEASE_US;
    steps_open_with(steps, options);
}

/* ---- looking ---- */

struct sums {
    size_t lanes;
    uint64_t done, failed, cancelled;
};

static int add_lane(void *arg, const struct store_lane_info *info) {
    (void)info;
    ((struct sums *)arg)->lanes++;
    return 0;
}

static int add_workflow(void *arg, const struct store_workflow_info *info) {
    struct sums *sums = arg;
    sums->done += info->done;
    sums->failed += info->failed;
    sums->cancelled += info->cancelled;
    return 0;
}

static struct sums sums_of(struct steps *steps) {
    struct sums sums = {0};
    MUST(store_lanes_each(steps->store, add_lane, &sums, &err));
    MUST(store_workflows_each(steps->store, add_workflow, &sums, &err));
    return sums;
}

static bool is_known(struct steps *steps, int64_t lane) {
    struct store_lane_info info;
    int r = store_lane_get(steps->store, lane, &info, NULL);
    assert_true(r == 0 || r == -ENOENT);
    return r == 0;
}

/* Commits until so many lanes are left; each drops only a piece, and the store of a server looks now and then only. */
static void tidy_down_to(struct steps *steps, size_t lanes) {
    for (int i = 0; i < 4000 && sums_of(steps).lanes > lanes; i++) {
        char line[32];
        int n = snprintf(line, sizeof line, "tidy %d", i);
        steps_begin(steps);
        MUST(store_log_add(steps->store, 0, 0, 1, bytes_of(line, (size_t)n), &err));
        steps_commit(steps);
    }
    assert_int_equal(sums_of(steps).lanes, lanes);
}

/* ---- one lane ---- */

static void a_lane_goes_after_its_history(void **state) {
    struct steps *steps = *state;
    keep_shortly(steps);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(1)), lane = 0;
    steps_spawn(steps, workflow, "g", "a b");
    struct held a = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    lane = a.lane;
    struct store_settled failed = {.lease = a.lease,
                                   .index = a.index,
                                   .outcome = STORE_FAILED,
                                   .failed = true,
                                   .attempt = 1,
                                   .child_key = BYTES("a"),
                                   .error = BYTES("no")};
    assert_int_equal(steps_settle(steps, a.worker, &failed, 1), 0);
    assert_string_equal(steps_drain(steps, workflow), "b");
    steps_reopen(steps);
    assert_true(is_known(steps, lane));
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.group = BYTES("g")}), "b:D a:F");
    steps_pass(steps, kept_us(steps));
    tidy_down_to(steps, 0);
    assert_false(is_known(steps, lane));
    assert_string_equal(steps_runs(steps, &(struct store_runs_filter){.group = BYTES("g")}), "");
    struct sums sums = sums_of(steps);
    assert_int_equal(sums.done, 1);
    assert_int_equal(sums.failed, 1);

    /* It comes back as a new one, and its numbers are added to those of before. */
    steps_spawn(steps, workflow, "g", "a c");
    struct held again = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "a");
    assert_int_not_equal(again.lane, lane);
    const struct store_claimed *more = steps_claim_more(steps, 0, lane, 1, 1);
    assert_int_equal(more->n, 0);
    assert_int_equal(more->held[0], 0);
    assert_int_equal(steps_lane(steps, workflow, "g").done, 0);
    assert_claimed(steps_claim(steps, steps_worker(steps), workflow, 1, 1, 1), ""); /* its rule holds */
    steps_done(steps, &again);
    assert_string_equal(steps_drain(steps, workflow), "c");
    assert_int_equal(steps_lane(steps, workflow, "g").done, 2);
    assert_int_equal(sums_of(steps).done, 3);
    steps_crash(steps);
    assert_int_equal(sums_of(steps).done, 3);
    assert_int_equal(sums_of(steps).failed, 1);
    steps_pass(steps, kept_us(steps)); /* it goes also when it was idle before the store was opened */
    tidy_down_to(steps, 0);
    assert_int_equal(sums_of(steps).done, 3);
    steps_reopen(steps);
    assert_int_equal(sums_of(steps).lanes, 0);
    assert_int_equal(sums_of(steps).done, 3);
}

static void a_lane_with_runs_stays(void **state) {
    struct steps *steps = *state;
    keep_shortly(steps);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(5), CANCEL(2));
    int64_t later = steps_now(steps) + 3 * kept_us(steps);
    steps_spawn(steps, workflow, "queued|q", "a");
    steps_spawn_later(steps, workflow, "delayed|d", "b", later);
    steps_spawn(steps, workflow, "waiting|w", "c");
    steps_spawn(steps, workflow, "parked|p", "d");
    steps_spawn(steps, workflow, "leased|l", "e");
    steps_spawn(steps, workflow, "idle|i", "f");
    steps_spawn(steps, workflow, "again|g", "g");
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 9, 9, 9);
    assert_claimed(claimed, "a c d e f g");
    struct held a = steps_hold(steps, claimed, "a"), c = steps_hold(steps, claimed, "c"),
                d = steps_hold(steps, claimed, "d"), e = steps_hold(steps, claimed, "e"),
                f = steps_hold(steps, claimed, "f"), g = steps_hold(steps, claimed, "g");
    steps_release(steps, &a);
    steps_retry(steps, &c, 1, 3 * kept_us(steps));
    steps_park(steps, &d);
    steps_done(steps, &f);
    steps_done(steps, &g);
    steps_spawn(steps, workflow, "again|g", "h");
    for (int i = 0; i < 2; i++) {
        steps_pass(steps, kept_us(steps));
        MUST(store_heartbeat(steps->store, steps->worker, NULL, &err));
    }
    tidy_down_to(steps, 6);
    assert_false(is_known(steps, f.lane));
    for (int i = 0; i < 40; i++)
        steps_workflow(steps, "other", ROBIN(1)); /* commits */
    assert_int_equal(sums_of(steps).lanes, 6);
    steps_done(steps, &e);
    assert_lane(steps, workflow, "again", 1, 0, 0, 0);
    assert_lane(steps, workflow, "queued", 1, 0, 0, 0);
    assert_lane(steps, workflow, "parked", 0, 0, 0, 1);
    assert_lane(steps, workflow, "waiting", 0, 0, 1, 0);
    steps_crash(steps);
    assert_int_equal(sums_of(steps).lanes, 6);
    uint64_t count;
    steps_begin(steps);
    assert_int_equal(store_parked_retry(steps->store, &(struct store_parked_filter){0}, &count, NULL), 0);
    steps_commit(steps);
    assert_int_equal(count, 1);
    steps_pass(steps, kept_us(steps));
    steps_pass(steps, kept_us(steps));
    claimed = steps_claim(steps, 0, workflow, 9, 9, 9);
    assert_int_equal(claimed->n, 5);
    steps_hold(steps, claimed, "a");
    steps_hold(steps, claimed, "b");
    steps_hold(steps, claimed, "c");
    steps_hold(steps, claimed, "d");
    steps_hold(steps, claimed, "h");
}

/* Tidying takes a piece at a time: as long as something is known of a lane's runs it stays, or whose are they? */
static void a_lane_stays_while_its_history_is_there(void **state) {
    struct steps *steps = *state;
    keep_shortly(steps);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(500));
    for (int i = 0; i < 200; i++)
        steps_spawn(steps, workflow, "g", "-");
    steps_drain(steps, workflow);
    steps_pass(steps, kept_us(steps));
    for (int i = 0; i < 3; i++)
        steps_workflow(steps, "other", ROBIN(1)); /* commits */
    bool known = steps_runs(steps, &(struct store_runs_filter){.group = BYTES("g")})[0] != '\0';
    assert_true(known || !steps->sut->own_clock || store_shared(steps->store)); /* that one takes greater pieces */
    assert_true(sums_of(steps).lanes == 1 || !known);
    MUST(store_check(steps->store, &err));
    tidy_down_to(steps, 0);
}

/* Several processes on one store. */
static void others_learn_that_a_lane_is_gone(void **state) {
    struct steps *steps = *state;
    if (!store_shared(steps->store))
        return;
    keep_shortly(steps);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(1)), worker = 0;
    steps_spawn(steps, workflow, "g", "a");
    int64_t lane = steps_lane(steps, workflow, "g").lane;
    struct store *mine = steps->store, *other = NULL;
    MUST(steps->sut->open(steps->sut, &steps->options, &other, &err));
    steps->store = other;
    assert_true(is_known(steps, lane));
    MUST(store_worker_add(other, BYTES("other"), 1, &worker, &err));
    steps->store = mine;
    assert_string_equal(steps_drain(steps, workflow), "a");
    steps_pass(steps, kept_us(steps));
    tidy_down_to(steps, 0);
    steps->store = other;
    assert_false(is_known(steps, lane));
    assert_int_equal(sums_of(steps).done, 1);
    steps_spawn(steps, workflow, "g", "a b");
    assert_int_not_equal(steps_lane(steps, workflow, "g").lane, lane);
    MUST(store_check(other, &err));
    steps->store = mine;
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "a b");
    steps->store = other;
    assert_claimed(steps_claim(steps, worker, workflow, 9, 9, 9), "");
    MUST(store_check(other, &err));
    steps->store = mine;
    store_close(other);
}

/* Lanes that never had a run: all of their items were refused. */
static void a_lane_of_refused_runs_goes(void **state) {
    struct steps *steps = *state;
    keep_shortly(steps);
    int64_t workflow = steps_workflow(steps, "w", CANCEL(1), ROBIN(1));
    steps_spawn(steps, workflow, "one|g", "a");
    assert_spawned(steps_spawn(steps, workflow, "one|h", "b"), 0, 0, 0, 1);
    assert_int_equal(sums_of(steps).lanes, 2);
    assert_int_equal(sums_of(steps).cancelled, 1);
    steps_pass(steps, kept_us(steps));
    tidy_down_to(steps, 1);
    assert_int_equal(sums_of(steps).cancelled, 1);
    assert_spawned(steps_spawn(steps, workflow, "one|h", "b"), 0, 0, 0, 1); /* the other lane still counts */
    assert_string_equal(steps_drain(steps, workflow), "a");
    assert_spawned(steps_spawn(steps, workflow, "one|h", "b"), 1, 0, 0, 0);
}

/* A unit of a rate stays used when the lane that used it is gone. */
static void a_rate_outlives_its_lanes(void **state) {
    struct steps *steps = *state;
    if (!steps->sut->own_clock)
        return;
    keep_shortly(steps);
    int64_t workflow = steps_workflow(steps, "w", RATE(1, 3600 * US_PER_S)), now = steps_now(steps);
    steps_pass(steps, 3600 * US_PER_S - now % (3600 * US_PER_S));
    steps_reopen(steps); /* with a worker that lives */
    steps_spawn(steps, workflow, "k", "a");
    assert_string_equal(steps_drain(steps, workflow), "a");
    steps_pass(steps, kept_us(steps));
    tidy_down_to(steps, 0);
    steps_spawn(steps, workflow, "k", "b");
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "");
    steps_reopen(steps);
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "");
    steps_pass(steps, 3600 * US_PER_S);
    steps_reopen(steps);
    assert_claimed(steps_claim(steps, 0, workflow, 9, 9, 9), "b");
}

/* ---- very many ---- */

#define AT_ONCE 500

static void spawn_round(struct steps *steps, int64_t workflow, int round) {
    static struct {
        char text[32];
        struct bytes keys[2];
        struct store_item item;
        struct store_page page;
        struct store_spawned spawned;
    } spawns[AT_ONCE]; /* which live until they are committed */
    steps_begin(steps);
    for (int i = 0; i < AT_ONCE; i++) {
        int n = snprintf(spawns[i].text, sizeof spawns[i].text, "user-%d-%d", round, i);
        struct bytes key = bytes_of(spawns[i].text, (size_t)n);
        spawns[i].keys[0] = spawns[i].keys[1] = key;
        spawns[i].item = (struct store_item){.child_key = key};
        spawns[i].page = (struct store_page){
            .workflow = workflow, .keys = spawns[i].keys, .n_keys = 2, .items = &spawns[i].item, .n = 1};
        MUST(store_spawn(steps->store, &spawns[i].page, &spawns[i].spawned, &err));
    }
    steps_commit(steps);
    for (int i = 0; i < AT_ONCE; i++)
        assert_int_equal(spawns[i].spawned.created, 1);
}

static void finish_round(struct steps *steps, int64_t workflow) {
    const struct store_claimed *claimed = steps_claim(steps, 0, workflow, AT_ONCE, 1, 1);
    static struct store_settled settled[AT_ONCE];
    assert_int_equal(claimed->n, AT_ONCE);
    for (size_t i = 0; i < AT_ONCE; i++)
        settled[i] = (struct store_settled){.lease = claimed->leases[i].id,
                                            .index = claimed->leases[i].runs[0].index,
                                            .outcome = STORE_DONE,
                                            .attempt = 1,
                                            .child_key = claimed->leases[i].runs[0].child_key};
    assert_int_equal(steps_settle(steps, steps->worker, settled, AT_ONCE), 0);
}

static void ever_new_keys_stay_bounded(void **state) {
    struct steps *steps = *state;
    if (!steps->sut->own_clock)
        return; /* it takes a while */
    keep_shortly(steps);
    int64_t workflow = steps_workflow(steps, "w", ROBIN(1), RATE(1, US_PER_S));
    const int rounds = store_shared(steps->store) ? 40 : 200;
    const size_t most = 40 * AT_ONCE; /* some of them have to be kept: those of ten seconds, and what is behind */
    size_t used = 0, lanes = 0;
    steps_spawn(steps, workflow, "lasting|one", "parked");
    struct held parked = steps_hold(steps, steps_claim(steps, 0, workflow, 1, 1, 1), "parked");
    steps_park(steps, &parked);
    for (int round = 0; round < rounds; round++) {
        spawn_round(steps, workflow, round);
        finish_round(steps, workflow);
        steps_pass(steps, US_PER_S);
        MUST(store_heartbeat(steps->store, steps->worker, NULL, &err));
        lanes = sums_of(steps).lanes;
        assert_true(lanes <= most);
        if (round == rounds / 2)
            steps_reopen(steps);
        if (round == rounds / 2 + rounds / 10)
            used = mallinfo2().uordblks;
    }
    size_t uses = mallinfo2().uordblks;
    if (uses > used + ((size_t)8 << 20))
        fail_msg("%zu bytes of memory are used, %zu were half way", uses, used);
    assert_int_equal(sums_of(steps).done, (uint64_t)rounds * AT_ONCE);
    steps_pass(steps, kept_us(steps));
    steps_reopen(steps);
    tidy_down_to(steps, 1);
    assert_int_equal(sums_of(steps).done, (uint64_t)rounds * AT_ONCE);
    assert_true(is_known(steps, parked.lane));
}

const struct CMUnitTest conformance_lanes[] = {
    CONFORMANCE_TEST(a_lane_goes_after_its_history),
    CONFORMANCE_TEST(a_lane_with_runs_stays),
    CONFORMANCE_TEST(a_lane_stays_while_its_history_is_there),
    CONFORMANCE_TEST(others_learn_that_a_lane_is_gone),
    CONFORMANCE_TEST(a_lane_of_refused_runs_goes),
    CONFORMANCE_TEST(a_rate_outlives_its_lanes),
    CONFORMANCE_TEST(ever_new_keys_stay_bounded),
};
const size_t conformance_lanes_n = sizeof conformance_lanes / sizeof conformance_lanes[0];
