/* Everything at once, at random: what must hold whatever happens. No child key runs twice at once, no cap is exceeded,
 * nothing is lost, and the groups' numbers are those of the store. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS 7
#define KEYS 60
#define CAP 3

struct soak {
    struct rng rng;
    bool running[BUCKETS][KEYS]; /* of workflow "w" */
    uint32_t lister_running[BUCKETS];
};

static struct soak soak;

static void place(const froe_task *task, size_t *ret_bucket, size_t *ret_key) {
    size_t n;
    const char *key = froe_task_child_key(task, &n);
    assert_true(n == 8);
    char digits[7] = {0};
    memcpy(digits, key + 2, 6);
    *ret_bucket = (size_t)(key[0] - 'a');
    *ret_key = strtoul(digits, NULL, 10);
    assert_true(*ret_bucket < BUCKETS && *ret_key < KEYS);
}

static void spawn_some(struct fixture *fx, froe_task *parent) {
    char keys[20][9], input[40];
    froe_item items[20] = {0};
    size_t bucket = rng_below(&soak.rng, BUCKETS), n = 1 + rng_below(&soak.rng, 20);
    for (size_t i = 0; i < n; i++) {
        snprintf(keys[i], sizeof keys[i], "%c/%06u", (char)('a' + (char)bucket), (unsigned)rng_below(&soak.rng, KEYS));
        items[i] = (froe_item){.child_key = keys[i], .child_key_n = 8};
        if (rng_below(&soak.rng, 3) == 0) {
            items[i].generation = rng_below(&soak.rng, 2) ? "v1" : "v2";
            items[i].generation_n = 2;
        }
    }
    snprintf(input, sizeof input, "{\"bucket\":\"%c\"}", (char)('a' + (char)bucket));
    froe_spawn spawn = {
        .size = sizeof spawn, .workflow = "w", .parent = parent, .input = input, .items = items, .n = n};
    if (rng_below(&soak.rng, 10) == 0)
        spawn.delay_us = (int64_t)rng_below(&soak.rng, (uint64_t)(100 * US_PER_S));
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, NULL), FROE_OK);
}

static void spawn_lister(struct fixture *fx) {
    char input[40];
    snprintf(input, sizeof input, "{\"bucket\":\"%c\"}", (char)('a' + (char)rng_below(&soak.rng, BUCKETS)));
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "lister", .input = input, .n = 1};
    assert_int_equal(froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, NULL), FROE_OK);
}

static void on_start(struct fixture *fx, froe_task *task) {
    fx->held[fx->n_held++] = task;
    if (strcmp(froe_task_workflow(task), "lister") == 0) {
        assert_string_equal(froe_task_group(task), "all");
        size_t listers = 0;
        for (size_t i = 0; i < fx->n_held; i++)
            listers += strcmp(froe_task_workflow(fx->held[i]), "lister") == 0;
        assert_true(listers <= 2);
        size_t bucket = (size_t)(froe_task_input(task)[11] - 'a');
        assert_int_equal(soak.lister_running[bucket]++, 0);
        return;
    }
    size_t bucket, key, in_bucket = 0;
    place(task, &bucket, &key);
    assert_false(soak.running[bucket][key]);
    soak.running[bucket][key] = true;
    for (size_t i = 0; i < KEYS; i++)
        in_bucket += soak.running[bucket][i];
    assert_true(in_bucket <= CAP);
}

static void finish(struct fixture *fx, froe_task *task) {
    if (strcmp(froe_task_workflow(task), "lister") == 0) {
        soak.lister_running[froe_task_input(task)[11] - 'a']--;
        for (uint64_t n = rng_below(&soak.rng, 4); n > 0; n--)
            spawn_some(fx, task);
        froe_task_succeed(task);
        return;
    }
    size_t bucket, key;
    place(task, &bucket, &key);
    soak.running[bucket][key] = false;
    if (rng_below(&soak.rng, 8) == 0)
        froe_task_set_checkpoint(task, "c", 1);
    if (rng_below(&soak.rng, 8) == 0)
        froe_task_set_generation(task, rng_below(&soak.rng, 2) ? "v1" : "v3", 2);
    if (rng_below(&soak.rng, 8) == 0)
        froe_task_log(task, FROE_INFO, "a line");
    switch (rng_below(&soak.rng, 12)) {
    case 0:
    case 1:
        froe_task_fail(task, 0, "at random");
        break;
    case 2:
        froe_task_fail(task, FROE_FAIL_FINAL, "for good");
        break;
    case 3:
        froe_task_again(task, (int64_t)rng_below(&soak.rng, (uint64_t)(3 * US_PER_S)), "put back");
        break;
    default:
        froe_task_succeed(task);
    }
}

static void on_cancel(struct fixture *fx, froe_task *task) {
    for (size_t i = 0; i < fx->n_held; i++)
        if (fx->held[i] == task)
            finish(fx, fixture_release(fx, i));
}

static void step(struct fixture *fx) {
    while (fx->n_held > 0 && rng_below(&soak.rng, 4) > 0)
        finish(fx, fixture_release(fx, rng_below(&soak.rng, fx->n_held)));
    char bucket[2] = {(char)('a' + (char)rng_below(&soak.rng, BUCKETS)), '\0'};
    switch (rng_below(&soak.rng, 60)) {
    case 0:
    case 1:
    case 2:
        spawn_some(fx, NULL);
        break;
    case 3:
    case 9:
    case 10:
    case 11:
    case 12:
        spawn_lister(fx);
        break;
    case 4:
        fixture_move(fx, (int64_t)rng_below(&soak.rng, (uint64_t)(4 * US_PER_S)));
        break;
    case 5:
        froe_group_limit(fx->froe, "w", bucket, (uint32_t)rng_below(&soak.rng, 4),
                         (int64_t)rng_below(&soak.rng, (uint64_t)US_PER_S));
        break;
    case 6:
        froe_group_limit(fx->froe, "w", bucket, UINT32_MAX, 0);
        break;
    case 7:
        assert_int_equal(froe_parked_retry(fx->froe, NULL, fixture_counted, fx, NULL), FROE_OK);
        break;
    case 8:
        if (rng_below(&soak.rng, 10) == 0)
            fixture_move(fx, fx->options.lease_us); /* loses the lease */
        break;
    default:
        break;
    }
    uv_run(&fx->loop, UV_RUN_NOWAIT);
    if (rng_below(&soak.rng, 4) == 0)
        usleep(300); /* the store gets its turn */
}

static void sum_groups(void *arg, const froe_group *group) {
    froe_group *sum = arg;
    sum->live += group->live;
    sum->waiting += group->waiting;
    sum->parked += group->parked;
    sum->done += group->done;
    sum->failed += group->failed;
    sum->cancelled += group->cancelled;
    assert_int_equal(group->running, 0);
}

static int sum_lanes(void *arg, const struct store_lane_info *info) {
    froe_group *sum = arg;
    sum->live += info->queued + info->leased + info->waiting;
    sum->waiting += info->waiting;
    sum->parked += info->parked;
    sum->done += info->done;
    sum->failed += info->failed;
    sum->cancelled += info->cancelled;
    return 0;
}

static void add_workflows(struct fixture *fx) {
    froe_rule cap = {"input.bucket", CAP, FROE_GROUP_ROUND_ROBIN};
    froe_rule chain[] = {{"input.bucket", 1, FROE_CANCEL_NEWEST}, {"'all'", 2, FROE_GROUP_ROUND_ROBIN}};
    froe_workflow given = {.retries = 2, .backoff_us = US_PER_S, .timeout_us = 20 * US_PER_S};
    fixture_workflow(fx, "w", &cap, 1, &given);
    fixture_workflow(fx, "lister", chain, 2, NULL);
}

static void test_soak(void **state) {
    struct fixture *fx = *state;
    uint64_t seed = 20260101;
    fx->options.lease_us = 5 * US_PER_MIN;
    fx->options.history_us = 3650 * US_PER_DAY; /* the store's numbers are summed over lanes: none may go meanwhile */
    uint64_t done = 0, failed = 0, cancelled = 0, lost = 0;
    for (int round = 0; round < 12; round++) {
        memset(&soak, 0, sizeof soak);
        rng_seed(&soak.rng, seed + (uint64_t)round);
        fixture_open(fx);
        fx->run = on_start;
        fx->cancel = on_cancel;
        fx->n_held = fx->n_told = 0;
        fx->options.slots = 4 + (uint32_t)round;
        add_workflows(fx);
        fixture_start(fx);
        fixture_guard(fx);
        for (int i = 0; i < 1500; i++)
            step(fx);
        if (round % 2 == 0) {
            /* To the end: all that is live is done or parked. */
            for (char bucket[2] = "a"; bucket[0] < 'a' + BUCKETS; bucket[0]++)
                froe_group_limit(fx->froe, "w", bucket, UINT32_MAX, 0);
            froe_group sum = {.live = 1};
            fixture_guard(fx);
            while (sum.live > 0) {
                while (fx->n_held)
                    finish(fx, fixture_release(fx, 0));
                fixture_move(fx, US_PER_S);
                uv_run(&fx->loop, UV_RUN_ONCE);
                sum = (froe_group){0};
                if (fx->froe->running == 0)
                    froe_groups_each(fx->froe, NULL, sum_groups, &sum);
                else
                    sum.live = 1;
                assert_false(fx->timed_out);
            }
        }
        froe_stop(fx->froe, round % 3 ? FROE_STOP_NOW : FROE_STOP_FINISH, NULL, NULL);
        while (fx->n_held) {
            finish(fx, fixture_release(fx, 0));
            uv_run(&fx->loop, UV_RUN_NOWAIT);
        }
        fixture_stop(fx, FROE_STOP_NOW);
        froe_group engine = {0}, store_sum = {0};
        fixture_linger(fx, 5 * US_PER_MS);
        froe_groups_each(fx->froe, NULL, sum_groups, &engine);
        fixture_close(fx);

        struct store *store;
        struct err err;
        struct store_options how = {.clock = &fx->clock.clock};
        if (store_open(fx->uri, &how, &store, &err) < 0 || store_check(store, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(store_recovered(store), 0);
        assert_int_equal(store_lanes_each(store, sum_lanes, &store_sum, &err), 0);
        store_close(store);
        assert_int_equal(engine.live, store_sum.live);
        assert_int_equal(engine.parked, store_sum.parked);
        assert_int_equal(engine.done, store_sum.done);
        assert_int_equal(engine.failed, store_sum.failed);
        assert_int_equal(engine.cancelled, store_sum.cancelled);
        assert_true(engine.waiting >= store_sum.waiting); /* the store counts those not due yet */
        if (round % 2 == 0)
            assert_int_equal(store_sum.live, 0);
        done = store_sum.done;
        failed = store_sum.failed;
        cancelled = store_sum.cancelled;
        lost += fixture_told(fx, FROE_EVENT_LEASE_LOST);
    }
    print_message("done %ju, failed attempts %ju, cancelled %ju, leases lost %ju\n", (uintmax_t)done, (uintmax_t)failed,
                  (uintmax_t)cancelled, (uintmax_t)lost);
    assert_true(done > 500 && failed > 100 && cancelled > 10 && lost > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_soak, fixture_setup_closed, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
