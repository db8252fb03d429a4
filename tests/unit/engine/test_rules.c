/* Rules: places, caps, turns, chains, limits for now. */
#include "fixture.h"
#include "fixture_postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX struct fixture *fx = *state

static size_t held_in(const struct fixture *fx, const char *group) {
    size_t n = 0;
    for (size_t i = 0; i < fx->n_held; i++)
        n += strcmp(froe_task_group(fx->held[i]), group) == 0;
    return n;
}

static void spawn_one(struct fixture *fx, const char *workflow, const char *input) {
    froe_spawn spawn = {.size = sizeof spawn, .workflow = workflow, .input = input, .n = 1};
    fixture_spawn(fx, &spawn);
}

static void test_cancel_newest_keeps_its_place_through_retries(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"input.bucket", 1, FROE_CANCEL_NEWEST};
    froe_workflow given = {.retries = 1, .backoff_us = 10 * US_PER_S};
    fixture_workflow(fx, "w", &rule, 1, &given);
    fixture_start(fx);
    spawn_one(fx, "w", "{\"bucket\":\"a\"}");
    spawn_one(fx, "w", "{\"bucket\":\"a\"}"); /* queued counts */
    assert_int_equal(fx->spawned.created, 1);
    assert_int_equal(fx->spawned.cancelled, 1);
    spawn_one(fx, "w", "{\"bucket\":\"b\"}");
    UNTIL(fx, fx->n_held == 2);
    spawn_one(fx, "w", "{\"bucket\":\"a\"}"); /* running too */
    assert_int_equal(fx->spawned.cancelled, 2);
    UNTIL(fx, fixture_told(fx, FROE_EVENT_REFUSED) == 2);
    assert_int_equal(fixture_last(fx, FROE_EVENT_REFUSED)->count, 1);
    assert_string_equal(fixture_last(fx, FROE_EVENT_REFUSED)->workflow, "w");
    while (fx->n_held)
        froe_task_fail(fixture_release(fx, 0), 0, "no");
    UNTIL(fx, fixture_told(fx, FROE_EVENT_RETRY) == 2);
    assert_int_equal(fixture_group(fx, "w", "").waiting, 2);
    spawn_one(fx, "w", "{\"bucket\":\"a\"}"); /* waiting for its retry */
    assert_int_equal(fx->spawned.cancelled, 3);
    fixture_move(fx, 11 * US_PER_S);
    UNTIL(fx, fx->n_held == 2);
    assert_int_equal(fixture_group(fx, "w", "").waiting, 0);
    froe_task_succeed(fixture_release(fx, 0));
    froe_task_fail(fixture_release(fx, 0), 0, "no");
    UNTIL(fx, fixture_told(fx, FROE_EVENT_PARKED) == 1 && fixture_group(fx, "w", "").live == 0);
    spawn_one(fx, "w", "{\"bucket\":\"a\"}"); /* done and parked hold none */
    spawn_one(fx, "w", "{\"bucket\":\"b\"}");
    assert_int_equal(fx->spawned.created, 4);
    froe_group group = fixture_group(fx, "w", "");
    assert_int_equal(group.live, 2);
    assert_int_equal(group.parked, 1);
    assert_int_equal(group.failed, 3);
    assert_int_equal(group.cancelled, 3);
    assert_int_equal(group.done, 1);
}

static void test_caps_hold(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"input.bucket", 2, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_start(fx);
    static const char *const buckets[] = {"a", "b", "c"};
    for (size_t b = 0; b < 3; b++) {
        char input[40];
        snprintf(input, sizeof input, "{\"bucket\":\"%s\"}", buckets[b]);
        fixture_spawn_keys(fx, "w", input, buckets[b], 0, 40);
    }
    uint64_t seed = 5;
    struct rng rng;
    rng_seed(&rng, seed);
    size_t left[] = {40, 40, 40};
    for (size_t done = 0; done < 120; done++) {
        size_t may_run = 0;
        for (size_t b = 0; b < 3; b++)
            may_run += left[b] < 2 ? left[b] : 2;
        UNTIL(fx, fx->n_held >= may_run);
        for (size_t b = 0; b < 3; b++) {
            assert_true(held_in(fx, buckets[b]) <= 2);
            assert_int_equal(fixture_group(fx, "w", buckets[b]).running, held_in(fx, buckets[b]));
        }
        froe_task *task = fixture_release(fx, (size_t)rng_below(&rng, fx->n_held));
        left[froe_task_group(task)[0] - 'a']--;
        froe_task_succeed(task);
    }
    UNTIL(fx, fixture_group(fx, "w", "c").live == 0 && fixture_group(fx, "w", "b").live == 0);
    assert_int_equal(fixture_group(fx, "w", "a").max_runs, 2);
}

static uint32_t cap_of(void *arg, const char *workflow, const char *group, uint32_t max_runs) {
    assert_string_equal(workflow, "w");
    assert_int_equal(max_runs, 2);
    return group[0] == 'a' ? 1 : group[0] == 'c' ? 4 : group[0] == 'd' ? 0 : max_runs;
}

static uint32_t stores_cap_of(void *arg, struct bytes workflow, struct bytes key, uint32_t max_runs) {
    assert_true(bytes_equal(workflow, BYTES("w")) && key.n == 1);
    return cap_of(arg, "w", key.p, max_runs);
}

static void test_caps_of_single_groups(void **state) {
    FX;
    fx->run = NULL;
    fx->options.slots = 12;
    fx->options.max_runs_of = cap_of;
    fx->caps.max_runs = stores_cap_of;
    fixture_open(fx);
    froe_rule rule = {"input.bucket", 2, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_start(fx);
    static const char *const buckets[] = {"a", "b", "c", "d"};
    static const size_t caps[] = {1, 2, 4, 5}; /* what the others leave of the slots, where there is none */
    size_t left[] = {20, 20, 20, 20};
    for (size_t b = 0; b < 4; b++) {
        char input[40];
        snprintf(input, sizeof input, "{\"bucket\":\"%s\"}", buckets[b]);
        fixture_spawn_keys(fx, "w", input, buckets[b], 0, 20);
    }
    struct rng rng;
    rng_seed(&rng, 5);
    for (size_t done = 0; done < 80; done++) {
        size_t may_run = 0;
        for (size_t b = 0; b < 4; b++)
            may_run += left[b] < caps[b] ? left[b] : caps[b];
        UNTIL(fx, fx->n_held >= may_run);
        for (size_t b = 0; b < 3; b++)
            assert_true(held_in(fx, buckets[b]) <= caps[b]);
        froe_task *task = fixture_release(fx, (size_t)rng_below(&rng, fx->n_held));
        left[froe_task_group(task)[0] - 'a']--;
        froe_task_succeed(task);
    }
    assert_int_equal(fixture_group(fx, "w", "a").max_runs, 1);
    assert_int_equal(fixture_group(fx, "w", "b").max_runs, 2);
    assert_int_equal(fixture_group(fx, "w", "d").max_runs, 0);
}

/* Ends one task per turn of the loop, in order of start. */
static void drain(struct fixture *fx, size_t runs) {
    fixture_guard(fx);
    while (fx->n_ran < runs || fx->n_held > 0) {
        uv_run(&fx->loop, fx->n_held ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        if (fx->n_held)
            froe_task_succeed(fixture_release(fx, 0));
        assert_false(fx->timed_out);
    }
}

static size_t last_of(const struct fixture *fx, const char *group) {
    for (size_t i = fx->n_ran; i-- > 0;)
        if (strcmp(fx->ran[i].group, group) == 0)
            return i;
    return 0;
}

/* Likewise, but none while the store is asked for more (or, `paced`, is about to be): then it does not matter how long
 * a task takes and how long an answer, and the order is only that of turns. */
static void drain_with_answers(struct fixture *fx, size_t runs, bool paced) {
    fixture_guard(fx);
    while (fx->n_ran < runs || fx->n_held > 0) {
        bool waits = fx->froe->claim_inflight || (paced && fx->froe->claim_paced);
        uv_run(&fx->loop, fx->n_held && !waits ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        if (fx->n_held && !fx->froe->claim_inflight && !(paced && fx->froe->claim_paced))
            froe_task_succeed(fixture_release(fx, 0));
        assert_false(fx->timed_out);
    }
}

static void test_small_groups_finish_in_one_rotation(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"input.bucket", 0, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"big\"}", "big", 0, 5000);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"middle\"}", "middle", 0, 200);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"small\"}", "small", 0, 20);
    fixture_start(fx);
    drain_with_answers(fx, 5220, true);
    assert_true(last_of(fx, "small") <= 20 * 3 + 8);
    assert_true(last_of(fx, "middle") <= 200 * 2 + 20 + 8);
}

/* No claim is held back after the first one: the group that runs low first must not get the next answer for itself, and
 * then go on alone. */
static void test_groups_that_run_low_are_refilled_together(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"input.bucket", 0, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"big\"}", "big", 0, 1500);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"small\"}", "small", 0, 20);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 8);
    fixture_move(fx, 2 * CLAIM_PACE_US);
    drain_with_answers(fx, 1520, false);
    assert_true(last_of(fx, "small") <= 20 * 2 + 8);
}

static void test_a_new_group_does_not_wait_for_a_big_one(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"input.bucket", 0, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"big\"}", "big", 0, 5000);
    UNTIL(fx, fx->n_held == 8);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"small\"}", "small", 0, 4);
    UNTIL(fx, fx->froe->n_lanes == 2); /* all slots are busy, and yet it is claimed */
    size_t before = fx->n_ran;
    drain(fx, before + 100);
    assert_true(last_of(fx, "small") <= before + 4 * 2);
}

static void test_a_chain_of_rules(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rules[] = {{"input.bucket", 1, FROE_CANCEL_NEWEST}, {"'constant'", 2, FROE_GROUP_ROUND_ROBIN}};
    fixture_workflow(fx, "w", rules, 2, NULL);
    fixture_start(fx);
    for (int i = 0; i < 6; i++) {
        char input[40];
        snprintf(input, sizeof input, "{\"bucket\":\"%d\"}", i % 3);
        spawn_one(fx, "w", input);
    }
    assert_int_equal(fx->spawned.created, 3);
    assert_int_equal(fx->spawned.cancelled, 3);
    for (size_t done = 0; done < 3; done++) {
        UNTIL(fx, fx->n_held == (done < 2 ? 2 : 1));
        fixture_linger(fx, 40 * US_PER_MS);
        assert_true(fx->n_held <= 2);
        froe_task_succeed(fixture_release(fx, 0));
    }
    UNTIL(fx, fixture_group(fx, "w", "constant").done == 3);
    spawn_one(fx, "w", "{\"bucket\":\"0\"}");
    assert_int_equal(fx->spawned.created, 4);
}

/* A run that is put back lets the others of a shared rule begin first, however short its pause. */
static void test_put_back_lets_others_go_first(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rules[] = {{"input.bucket", 1, FROE_GROUP_ROUND_ROBIN}, {"'constant'", 1, FROE_GROUP_ROUND_ROBIN}};
    fixture_workflow(fx, "w", rules, 2, NULL);
    fixture_start(fx);
    spawn_one(fx, "w", "{\"bucket\":\"a\"}");
    UNTIL(fx, fx->n_held == 1);
    spawn_one(fx, "w", "{\"bucket\":\"b\"}");
    for (int turn = 0; turn < 20; turn++) {
        UNTIL(fx, fx->n_held == 1);
        assert_true(fixture_ran_in(fx, "a") <= fixture_ran_in(fx, "b") + 2);
        assert_true(fixture_ran_in(fx, "b") <= fixture_ran_in(fx, "a"));
        froe_task_again(fixture_release(fx, 0), 0, "others first");
    }
    /* With a pause whoever is due first goes first, but nobody is kept out. */
    size_t a = fixture_ran_in(fx, "a"), b = fixture_ran_in(fx, "b");
    for (int turn = 0; fixture_ran_in(fx, "a") < a + 5 || fixture_ran_in(fx, "b") < b + 5; turn++) {
        assert_true(turn < 1000);
        UNTIL(fx, fx->n_held == 1);
        froe_task_again(fixture_release(fx, 0), US_PER_MS, "others first");
    }
}

/* Two lanes must not keep the tokens of a shared rule from the third. */
static void test_lanes_share_the_tokens_of_one_rule(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rules[] = {{"input.bucket", 0, FROE_GROUP_ROUND_ROBIN}, {"'constant'", 2, FROE_GROUP_ROUND_ROBIN}};
    fixture_workflow(fx, "w", rules, 2, NULL);
    static const char *const buckets[] = {"a", "b", "c", "d"};
    for (size_t b = 0; b < 4; b++) {
        char input[40];
        snprintf(input, sizeof input, "{\"bucket\":\"%s\"}", buckets[b]);
        fixture_spawn_keys(fx, "w", input, buckets[b], 0, 500);
    }
    fixture_start(fx);
    fixture_guard(fx);
    size_t ended = 0;
    while (ended < 2000) {
        uv_run(&fx->loop, fx->n_held ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        assert_true(fx->n_held <= 2);
        if (fx->n_held) {
            froe_task_succeed(fixture_release(fx, 0));
            ended++;
        }
        assert_false(fx->timed_out);
    }
    for (size_t b = 0; b < 4; b++)
        assert_int_equal(fixture_ran_in(fx, buckets[b]), 500);
}

static void test_more_groups_than_may_be_held(void **state) {
    FX;
    froe_rule rule = {"input.bucket", 3, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    for (int i = 0; i < 300; i++) {
        char input[40];
        snprintf(input, sizeof input, "{\"bucket\":\"%d\"}", i);
        fixture_spawn_keys(fx, "w", input, input, 0, 20);
    }
    fixture_start(fx);
    fixture_guard(fx);
    while (fx->n_ran < 6000) {
        uv_run(&fx->loop, UV_RUN_ONCE);
        assert_true(fx->froe->n_lanes <= 64);
        assert_false(fx->timed_out);
    }
    UNTIL(fx, fixture_group(fx, "w", "299").done == 20);
}

/* Where more groups wait than may be held, those that turned slow give back what they did not start. */
static void test_slow_lanes_let_go(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"input.bucket", 0, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    for (int i = 0; i < 80; i++) {
        char input[40];
        snprintf(input, sizeof input, "{\"bucket\":\"%d\"}", i);
        fixture_spawn_keys(fx, "w", input, input, 0, 20);
    }
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 8 && fx->froe->n_lanes == 64 && fx->froe->more);
    fixture_move(fx, fx->options.lease_us / 3 + 1);
    bool kept = true;
    fixture_guard(fx);
    while (kept) { /* the 56 lanes of which nothing runs are given up, and others come */
        uv_run(&fx->loop, UV_RUN_ONCE);
        kept = false;
        LIST_EACH (link, &fx->froe->lanes) {
            const struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
            kept = kept || (lane->running > 0 && lane->unstarted > 0);
        }
        assert_false(fx->timed_out);
    }
    drain(fx, 1600);
    for (int i = 0; i < 80; i++) {
        char bucket[12];
        snprintf(bucket, sizeof bucket, "%d", i);
        assert_int_equal(fixture_ran_in(fx, bucket), 20);
    }
}

static void test_cancel_newest_after_round_robin(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rules[] = {{"'all'", 0, FROE_GROUP_ROUND_ROBIN}, {"input.bucket", 1, FROE_CANCEL_NEWEST}};
    fixture_workflow(fx, "w", rules, 2, NULL);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"a\"}", "a", 0, 5);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"b\"}", "b", 0, 5);
    assert_int_equal(fx->spawned.created, 10);
    fixture_start(fx);
    /* Which are cancelled depends on when they are claimed; of those admitted never two at once. */
    fixture_guard(fx);
    while (fixture_group(fx, "w", "all").live > 0) {
        uv_run(&fx->loop, fx->n_held ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        assert_true(fx->n_held <= 2);
        if (fx->n_held)
            froe_task_succeed(fixture_release(fx, 0));
        assert_false(fx->timed_out);
    }
    froe_group group = fixture_group(fx, "w", "all");
    assert_int_equal(group.done + group.cancelled, 10);
    assert_true(group.done >= 2);
}

static void test_group_limit_and_pause(void **state) {
    FX;
    fx->run = NULL;
    froe_rule rule = {"input.bucket", 0, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    assert_int_equal(froe_group_limit(fx->froe, "w", "slow", 1, 0), FROE_OK);
    assert_int_equal(froe_group_limit(fx->froe, "x", "slow", 1, 0), FROE_ERR_NOT_FOUND);
    assert_int_equal(froe_group_limit(fx->froe, "w", "slow", 1, -1), FROE_ERR_INVALID);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"slow\"}", "s", 0, 50);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"other\"}", "o", 0, 50);
    fixture_start(fx);
    UNTIL(fx, fx->n_held == 8);
    assert_int_equal(held_in(fx, "slow"), 1);
    assert_int_equal(held_in(fx, "other"), 7);
    assert_int_equal(fixture_group(fx, "w", "slow").limit, 1);

    /* Paused: its slot goes to the other. */
    assert_int_equal(froe_group_limit(fx->froe, "w", "slow", UINT32_MAX, US_PER_MIN), FROE_OK);
    assert_true(fixture_group(fx, "w", "slow").paused_us > 50 * US_PER_S);
    for (size_t i = 0; i < fx->n_held; i++) {
        if (strcmp(froe_task_group(fx->held[i]), "slow") != 0)
            continue;
        froe_task_succeed(fixture_release(fx, i));
        break;
    }
    UNTIL(fx, fx->n_held == 8);
    assert_int_equal(held_in(fx, "slow"), 0);
    fixture_move(fx, US_PER_MIN);
    fixture_linger(fx, 20 * US_PER_MS);
    assert_int_equal(fixture_group(fx, "w", "slow").paused_us, 0);
    for (int i = 0; i < 4; i++)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fx->n_held == 8);
    if (!fx->froe->shared)
        assert_int_equal(held_in(fx, "slow"), 2); /* turns again */
    while (held_in(fx, "slow") < 2) {             /* of a fleet's store too little is held for each turn to be kept */
        froe_task_succeed(fixture_release(fx, 0));
        UNTIL(fx, fx->n_held == 8);
    }
    /* None at all. */
    assert_int_equal(froe_group_limit(fx->froe, "w", "slow", 0, 0), FROE_OK);
    while (fx->n_held)
        froe_task_succeed(fixture_release(fx, 0));
    UNTIL(fx, fx->n_held == 8);
    assert_int_equal(held_in(fx, "slow"), 0);
    assert_int_equal(froe_group_limit(fx->froe, "w", "slow", UINT32_MAX, 0), FROE_OK);
    drain(fx, 100);
}

static void count_group(void *arg, const froe_group *group) {
    struct fixture *fx = arg;
    fx->count += group->live;
    fx->done_calls++;
}

static void test_groups_each(void **state) {
    FX;
    froe_rule rule = {"input.bucket", 0, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fixture_workflow(fx, "v", NULL, 0, NULL);
    froe_groups_each(fx->froe, NULL, count_group, fx);
    assert_int_equal(fx->done_calls, 0);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"a\"}", "a", 0, 5);
    fixture_spawn_keys(fx, "w", "{\"bucket\":\"b\"}", "b", 0, 6);
    fixture_spawn_keys(fx, "v", NULL, "b", 0, 7);
    froe_group_limit(fx->froe, "w", "never seen", 1, 0);
    froe_groups_each(fx->froe, NULL, count_group, fx);
    assert_int_equal(fx->done_calls, 3);
    assert_int_equal(fx->count, 18);
    froe_groups_each(fx->froe, "w", count_group, fx);
    assert_int_equal(fx->done_calls, 5);
    froe_group none = fixture_group(fx, "w", "zzz");
    assert_int_equal(none.live, 0);
    assert_string_equal(none.group, "zzz");
}

/* A group for each user, say, and users who come once: what is known of them goes after their history. */
static void test_ever_new_groups(void **state) {
    enum { ROUND = 1000, ROUNDS = 24 };
    struct fixture *fx = *state;
    fx->options.history_us = US_PER_S;
    fx->options.slots = 64;
    fixture_open(fx);
    froe_rule rule = {"input.user", 1, FROE_GROUP_ROUND_ROBIN};
    fixture_workflow(fx, "w", &rule, 1, NULL);
    fx->run = run_fail_final;
    fixture_start(fx);
    fixture_spawn_keys(fx, "w", "{\"user\":\"stays\"}", "parked", 0, 1);
    UNTIL(fx, fixture_group(fx, "w", "stays").parked == 1);
    fx->run = run_succeed;
    const struct workflow *workflow = workflow_find(fx->froe, "w");
    size_t most = 0;
    for (int round = 0; round < ROUNDS; round++) {
        static char inputs[ROUND][48];
        static froe_item items[ROUND];
        for (int i = 0; i < ROUND; i++) {
            snprintf(inputs[i], sizeof inputs[i], "{\"user\":\"user %d of %d\"}", i, round);
            items[i] = (froe_item){.input = inputs[i]};
        }
        fixture_spawn(fx, &(froe_spawn){.size = sizeof(froe_spawn), .workflow = "w", .items = items, .n = ROUND});
        UNTIL(fx, fx->n_ran == 1 + ((size_t)round + 1) * ROUND);
        assert_int_equal(fixture_group(fx, "w", "stays").parked, 1);
        for (int i = 0; i < 5; i++) { /* the store tidies as a part of commits */
            fixture_move(fx, 2 * US_PER_S);
            fixture_spawn_keys(fx, "w", "{\"user\":\"stays\"}", "parked", 0, 1);
        }
        if (workflow->groups.count > most)
            most = workflow->groups.count;
    }
    assert_in_range(most, ROUND, 16 * ROUND); /* how soon the store drops them, it decides */
    assert_int_equal(fixture_group(fx, "w", "stays").parked, 1);
}

int main(int argc, char **argv) {
    int over = fixture_over(argc, argv);
    if (over)
        return over;
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_cancel_newest_keeps_its_place_through_retries),
        T(test_caps_hold),
        cmocka_unit_test_setup_teardown(test_caps_of_single_groups, fixture_setup_closed, fixture_teardown),
        T(test_small_groups_finish_in_one_rotation),
        T(test_groups_that_run_low_are_refilled_together),
        T(test_a_new_group_does_not_wait_for_a_big_one),
        T(test_a_chain_of_rules),
        T(test_put_back_lets_others_go_first),
        T(test_lanes_share_the_tokens_of_one_rule),
        T(test_more_groups_than_may_be_held),
        T(test_slow_lanes_let_go),
        T(test_cancel_newest_after_round_robin),
        T(test_group_limit_and_pause),
        T(test_groups_each),
        cmocka_unit_test_setup_teardown(test_ever_new_groups, fixture_setup_closed, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
