/* Each allocation fails in turn, of the newer paths: keys of run ids, runs without a key, results, checkpoints,
 * threads, drive-outs, the cron. The call says so, or the engine ends as when the store fails; nothing acknowledged is
 * lost, and nothing leaks. (test_stop.c does the same with the oldest paths.) */
#include "fixture.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void run_result(froe_task *task, void *arg) {
    if (froe_task_attempt(task) == 1 && froe_task_set_checkpoint(task, "half", 4) == FROE_OK) {
        froe_task_fail(task, 0, "at first");
        return;
    }
    if (froe_task_succeed_with(task, "[1, 2, 3]") != FROE_OK)
        froe_task_succeed(task);
}

static void run_blocking(froe_task *task, void *arg) {
    froe_task_log(task, FROE_INFO, "from a thread");
    froe_task_set_checkpoint_sync(task, "half", 4, NULL);
    froe_task_set_checkpoint(task, "more", 4);
    if (froe_task_succeed_with(task, "{}") != FROE_OK)
        froe_task_succeed(task);
}

static int add_all(struct fixture *fx) {
    froe_rule own[] = {{"input.a", 2, FROE_GROUP_ROUND_ROBIN, 0}, {"workflow_run_id", 1, FROE_GROUP_ROUND_ROBIN, 0}};
    froe_rule driving = {"'x'", 1, FROE_CANCEL_IN_PROGRESS, 0};
    froe_rule rate = {"input.a", 100, FROE_RATE_LIMIT, US_PER_MIN};
    froe_workflow workflows[] = {
        {.name = "own", .run = run_result, .rules = own, .n_rules = 2, .retries = 1, .backoff_us = 1},
        {.name = "drives", .run = run_blocking, .rules = &driving, .n_rules = 1, .flags = FROE_BLOCKING},
        {.name = "rate",
         .run = run_result,
         .rules = &rate,
         .n_rules = 1,
         .retries = 1,
         .backoff_us = 1,
         .cron = "0 0 1 1 *",
         .timezone = "Europe/Berlin",
         .cron_input = "{\"a\":\"c\"}",
         .flags = FROE_CATCH_UP | FROE_NEVER_PARK,
         .schedule_timeout_us = US_PER_HOUR},
    };
    for (size_t i = 0; i < 3; i++) {
        workflows[i].size = sizeof workflows[i];
        workflows[i].arg = fx;
        int r = froe_workflow_add(fx->froe, &workflows[i], &fx->error);
        if (r != FROE_OK)
            return r;
    }
    return FROE_OK;
}

static int spawn_all(struct fixture *fx) {
    froe_item items[] = {{.child_key = "1", .child_key_n = 1, .input = "{\"a\":\"1\"}"},
                         {.child_key = "2", .child_key_n = 1, .input = "{\"a\":\"2\"}"},
                         {.child_key = "3", .child_key_n = 1, .input = "{\"no\":\"2\"}"}};
    static const char *const names[] = {"own", "drives", "drives", "rate"};
    for (size_t i = 0; i < 4; i++) {
        froe_spawn spawn = {.size = sizeof spawn, .workflow = names[i], .items = items, .n = 3, .priority = 2};
        int r = froe_spawn_many(fx->froe, &spawn, fixture_spawned, fx, &fx->error);
        if (r != FROE_OK)
            return r;
    }
    return FROE_OK;
}

static bool all_over(struct fixture *fx) {
    uint64_t live = fixture_group(fx, "own", "1").live + fixture_group(fx, "own", "2").live +
                    fixture_group(fx, "drives", "").live + fixture_group(fx, "rate", "").live;
    return fx->froe->failed || (fx->spawns_done == 4 && live == 0 && fx->froe->n_tasks == 0);
}

/* How many runs the store counts as over or live. */
static int add_up(void *arg, const struct store_lane_info *info) {
    uint64_t *sums = arg;
    sums[0] += info->queued + info->leased + info->waiting + info->parked + info->done;
    sums[1] += info->cancelled;
    return 0;
}

static void check_store(struct fixture *fx, bool failed) {
    struct store_options options = {.clock = &fx->clock.clock};
    struct store *store;
    struct err err;
    uint64_t sums[2] = {0};
    if (store_open(fx->uri, &options, &store, &err) < 0 || store_check(store, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(store_lanes_each(store, add_up, sums, &err), 0);
    store_close(store);
    /* What was acknowledged as created is somewhere; more may be, which was not acknowledged. */
    assert_true(sums[0] + sums[1] >= fx->spawned.created);
    if (!failed)
        assert_int_equal(sums[0] + sums[1], fx->spawned.created + fx->spawned.cancelled);
}

static bool live_through(uint64_t n, bool *ret_failed) {
    void *state = NULL;
    fixture_setup_closed(&state);
    struct fixture *fx = state;
    fixture_open(fx);
    mem_fail_at(n, 0);
    int r = add_all(fx);
    if (r == FROE_OK)
        r = froe_start(fx->froe, &fx->error);
    if (r == FROE_OK)
        r = spawn_all(fx);
    if (r != FROE_OK)
        assert_int_equal(r, FROE_ERR_MEMORY);
    else
        UNTIL(fx, all_over(fx));
    bool failed = fx->froe->failed || r != FROE_OK, reached = mem_fail_count() >= n;
    mem_fail_at(0, 0);
    fixture_close(fx);
    check_store(fx, failed);
    fixture_remove(fx);
    free(fx);
    *ret_failed = failed;
    return reached;
}

static void test_each_allocation(void **state) {
    size_t failures = 0;
    bool failed, reached = true;
    for (uint64_t n = 1; reached; n += n < 250 ? 1 : 7) {
        reached = live_through(n, &failed);
        failures += failed;
    }
    assert_false(failed); /* the last one ran into nothing */
    assert_true(failures > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
