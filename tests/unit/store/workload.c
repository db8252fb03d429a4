/* workload.c - see workload.h. */
#include "workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW_UTC_US (INT64_C(1700000000) * US_PER_S)

static int64_t stands_still(void *arg) {
    (void)arg;
    return NOW_UTC_US;
}
const struct clock workload_clock = {stands_still, stands_still, NULL};
/* So little history that it is tidied, too. */
static const struct store_options options = {.clock = &workload_clock, .lock_wait_us = -1, .history_bytes = 15000};

struct going {
    struct store *store;
    int64_t workflow, singleton, newest, slow, worker;
    int64_t page; /* that was spawned last */
    struct err *err;
};

/* ---- the steps ---- */

static int put_workflows(struct going *going) {
    static const struct store_rule robin = {STORE_GROUP_ROUND_ROBIN, 50}, cancel = {STORE_CANCEL_NEWEST, 2},
                                   progress = {STORE_CANCEL_IN_PROGRESS, 40}, rate = {STORE_RATE_LIMIT, 30, US_PER_MIN};
    int r = store_workflow_put(going->store, BYTES("many"), &robin, 1, &going->workflow, going->err);
    if (r == 0)
        r = store_workflow_put(going->store, BYTES("single"), &cancel, 1, &going->singleton, going->err);
    if (r == 0)
        r = store_workflow_put(going->store, BYTES("newest"), &progress, 1, &going->newest, going->err);
    if (r == 0)
        r = store_workflow_put(going->store, BYTES("slow"), &rate, 1, &going->slow, going->err);
    return r;
}

static int spawn_as(struct going *going, int64_t workflow, const char *group, int from, int n, const char *generation,
                    const struct store_page *more) {
    static struct store_item items[STORE_PAGE_MAX];
    static char keys[STORE_PAGE_MAX][24];
    for (int i = 0; i < n; i++) {
        snprintf(keys[i], sizeof keys[i], "a/key/%04d", from + i);
        items[i] = (struct store_item){.child_key = bytes_str(keys[i]), .generation = bytes_str(generation)};
    }
    struct bytes key = bytes_str(group);
    struct store_page page = *more;
    page.workflow = workflow;
    page.keys = &key;
    page.n_keys = 1;
    page.input = BYTES("{\"a\":1}");
    page.metadata = BYTES("{}");
    page.items = items;
    page.n = (size_t)n;
    struct store_spawned spawned;
    int r = store_spawn(going->store, &page, &spawned, going->err);
    if (r == 0)
        going->page = spawned.page;
    return r;
}

static int spawn(struct going *going, int64_t workflow, const char *group, int from, int n, const char *generation) {
    return spawn_as(going, workflow, group, from, n, generation, &(struct store_page){0});
}

static int spawn_reserved(struct going *going) {
    struct store_page more = {.priority = 3, .parent_page = 1};
    int r = store_page_reserve(going->store, &more.id, going->err);
    if (r == 0)
        r = spawn(going, going->slow, "reserved", 3000, 5, "");
    return r < 0 ? r : spawn_as(going, going->slow, "reserved", 3100, 5, "", &more);
}

/* Some that are queued, some that are leased, some in trouble. */
static int cancel(struct going *going, int64_t page) {
    for (uint32_t i = 0; i < 40; i += 3) {
        enum store_state was;
        int r = store_run_cancel(going->store, page, i, &was, going->err);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return 0;
}

static enum store_outcome outcome_of(uint32_t i) {
    return i % 7 == 3 ? STORE_RETRY : i % 7 == 5 ? STORE_PARKED : i % 7 == 6 ? STORE_RELEASED : STORE_DONE;
}

enum ends { SOME, ALL_DONE, NONE };
static int claim_and_settle(struct going *going, uint32_t runs, enum ends ends) {
    int64_t all[] = {going->workflow, going->singleton, going->newest, going->slow};
    struct store_claim claim = {.worker = going->worker,
                                .new_lanes = 9,
                                .new_runs = runs,
                                .new_tokens = 50,
                                .workflows = all,
                                .n_workflows = 4};
    struct store_claimed claimed;
    struct store_cancels cancels;
    int r = store_claim(going->store, &claim, &claimed, going->err);
    if (r < 0)
        return r;
    if (claimed.n) /* some of them are asked to end */
        r = cancel(going, claimed.leases[0].page);
    if (r == 0)
        r = store_heartbeat(going->store, going->worker, &cancels, going->err);
    if (r == 0)
        store_cancels_free(&cancels);
    for (size_t i = 0; i < claimed.n && r == 0; i++)
        for (size_t j = 0; j < claimed.leases[i].n && r == 0; j++) {
            const struct store_run *run = &claimed.leases[i].runs[j];
            struct store_settled settled = {
                .lease = claimed.leases[i].id,
                .index = run->index,
                .outcome = ends == ALL_DONE ? STORE_DONE : outcome_of(run->index),
                .attempts = run->attempts + 1,
                .failed = true,
                .due_utc_us = NOW_UTC_US + (run->index % 2 ? US_PER_S : 0),
                .child_key = run->child_key,
                .input = run->input,
                .generation = run->generation,
                .checkpoint = BYTES("half way"),
                .error = BYTES("it did not work"),
                .result = BYTES("{\"a\":\"result\"}"),
                .attempt = run->attempts + 1,
                .duration_us = 1000 * run->index,
            };
            struct store_settled kept = settled;
            kept.outcome = STORE_CHECKPOINT;
            kept.checkpoint = BYTES("a quarter");
            size_t ignored;
            settled.checkpointed = run->index % 4 == 1;
            if (settled.checkpointed)
                r = store_settle(going->store, going->worker, &kept, 1, &ignored, going->err);
            if (r == 0 && ends != NONE)
                r = store_settle(going->store, going->worker, &settled, 1, &ignored, going->err);
        }
    store_claimed_free(&claimed);
    return r;
}

static int note(struct going *going) {
    bool first;
    int r = store_tick(going->store, going->workflow, 60, &first, going->err);
    if (r == 0)
        r = store_value_put(going->store, BYTES("cursor"), BYTES("a/key/0300"), going->err);
    if (r == 0)
        r = store_log_add(going->store, 1, 2, 3, BYTES("a line"), going->err);
    return r;
}

static int one_step(struct going *going, int step) {
    uint64_t count;
    const struct store_parked_filter any = {0};
    switch (step) {
    case 0:
        return put_workflows(going);
    case 1:
        return spawn(going, going->workflow, "big", 0, 400, "g1");
    case 2:
        return spawn(going, going->workflow, "small", 300, 150, "g1");
    case 3:
        return claim_and_settle(going, 120, SOME);
    case 4:
        return note(going);
    case 5:
        return spawn(going, going->singleton, "one", 0, 3, "");
    case 6:
        return claim_and_settle(going, 60, SOME);
    case 7: /* some supersede */
        return spawn(going, going->workflow, "big", 0, 80, "g2");
    case 8:
        return store_parked_retry(going->store, &any, &count, going->err);
    case 9:
        return claim_and_settle(going, 300, SOME);
    case 10:
        return store_parked_drop(going->store, &any, &count, going->err);
    case 11:
        return store_value_put(going->store, BYTES("cursor"), BYTES_NONE, going->err);
    case 12:
        return claim_and_settle(going, 1000, ALL_DONE);
    case 13:
        return spawn(going, going->newest, "n", 0, 50, "");
    case 14:
        return spawn_reserved(going);
    case 15: /* those that are asked to end stay so */
        return claim_and_settle(going, 20, NONE);
    case 16: /* drives some out */
        return spawn(going, going->newest, "n", 100, 30, "");
    case 17:
        return spawn_as(going, going->workflow, "big", 2000, 60, "g1",
                        &(struct store_page){.start_by_utc_us = NOW_UTC_US - 1, .priority = 2});
    case 18:
        return claim_and_settle(going, 25, SOME);
    case 19:
        return spawn_as(going, going->workflow, "big", 2000, 30, "g1",
                        &(struct store_page){.failed = BYTES("as it came")});
    case 20:
        return spawn_as(going, going->workflow, "big", 2100, 60, "g1",
                        &(struct store_page){.not_before_utc_us = NOW_UTC_US + 9, .start_by_utc_us = NOW_UTC_US + 10});
    case 21:
        return cancel(going, going->page);
    case 22:
        return store_workflow_pause(going->store, BYTES("newest"), true, going->err);
    case 23:
        return claim_and_settle(going, 500, SOME);
    default:
        return spawn(going, going->workflow, "third", 1000, 1, "g1");
    }
}

static int open_store(struct sqlite_place *place, struct going *going) {
    int r = sqlite_place_open(place, &options, &going->store, going->err);
    return r < 0 ? r : store_worker_add(going->store, BYTES("w"), 4, &going->worker, going->err);
}

static int steps(struct sqlite_place *place, struct going *going, int *ret_done, int until, void (*told)(int done)) {
    int r = open_store(place, going);
    for (int step = 0; r == 0 && step < until; step++) {
        if (step == 6) {
            store_close(going->store);
            going->store = NULL;
            r = open_store(place, going);
            if (r < 0)
                return r;
        }
        r = store_begin(going->store, going->err);
        if (r == 0)
            r = one_step(going, step);
        if (r == 0)
            r = store_commit(going->store, going->err);
        if (r == 0) {
            *ret_done = step + 1;
            if (told)
                told(step + 1);
        }
    }
    return r;
}

int workload_run(struct sqlite_place *place, int until, int *ret_done, void (*told)(int done), struct err *err) {
    struct going going = {.err = err};
    *ret_done = 0;
    int r = steps(place, &going, ret_done, until, told);
    if (r < 0 && going.store) {
        struct err again = {0};
        struct store_claim claim = {.worker = going.worker};
        struct store_claimed claimed;
        assert_int_equal(store_begin(going.store, &again), r);
        assert_int_equal(store_claim(going.store, &claim, &claimed, &again), r);
        assert_int_equal(store_commit(going.store, &again), r);
        assert_int_equal(store_check(going.store, &again), r);
        assert_string_equal(again.text, err->text);
    }
    store_close(going.store);
    return r;
}

/* ---- what is there ---- */

static int say_lane(void *arg, const struct store_lane_info *info) {
    assert_int_equal(info->leased + info->tokens, 0);
    return buf_printf(
        arg, "lane %lld %.*s/%.*s queued %llu waiting %llu parked %llu done %llu failed %llu cancelled %llu\n",
        (long long)info->lane, (int)info->workflow_name.n, info->workflow_name.p, (int)info->group.n,
        info->group.p ? info->group.p : "", (unsigned long long)info->queued, (unsigned long long)info->waiting,
        (unsigned long long)info->parked, (unsigned long long)info->done, (unsigned long long)info->failed,
        (unsigned long long)info->cancelled);
}

static int say_parked(void *arg, const struct store_parked *parked) {
    return buf_printf(arg, "parked %lld:%u %.*s %.*s %u %.*s\n", (long long)parked->page, parked->index,
                      (int)parked->child_key.n, parked->child_key.p, (int)parked->generation.n,
                      parked->generation.p ? parked->generation.p : "", parked->attempts, (int)parked->error.n,
                      parked->error.p);
}

static int say_line(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text) {
    return buf_printf(arg, "line %lld:%u %lld %d %.*s\n", (long long)page, index, (long long)utc_us, level, (int)text.n,
                      text.p);
}

static int say_run(void *arg, const struct store_run_info *run) {
    return buf_printf(arg, "%lld:%u is %d, %u attempts, %.*s %.*s %.*s %.*s\n", (long long)run->page, run->index,
                      (int)run->state, run->attempts, (int)run->child_key.n, run->child_key.p, (int)run->generation.n,
                      run->generation.p ? run->generation.p : "", (int)run->error.n, run->error.p ? run->error.p : "",
                      (int)run->result.n, run->result.p ? run->result.p : "");
}

static int say_workflow(void *arg, const struct store_workflow_info *info) {
    return buf_printf(arg, "workflow %.*s%s\n", (int)info->name.n, info->name.p, info->paused ? " is paused" : "");
}

static int say_past(struct store *store, struct buf *text, struct err *err) {
    uint64_t runs, bytes;
    int r = store_workflows_each(store, say_workflow, text, err);
    if (r == 0)
        r = store_runs_each(store, &(struct store_runs_filter){0}, say_run, text, err);
    if (r == 0)
        r = store_history_size(store, &runs, &bytes, err);
    return r < 0 ? r
                 : buf_printf(text, "%llu runs of the past in %llu bytes\n", (unsigned long long)runs,
                              (unsigned long long)bytes);
}

/* Workflows that were never put are not known here, so the numbers they would get are tried. */
static int say_runs(struct store *store, struct buf *text, struct err *err) {
    static const int64_t workflows[] = {1, 2, 3, 4};
    struct store_claim claim = {
        .new_lanes = 100, .new_runs = 10000, .new_tokens = 100, .workflows = workflows, .n_workflows = 4};
    struct store_claimed claimed;
    int r = store_worker_add(store, BYTES("w"), 4, &claim.worker, err);
    if (r == 0)
        r = store_claim(store, &claim, &claimed, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < claimed.n; i++)
        for (size_t j = 0; j < claimed.leases[i].n; j++) {
            const struct store_run *run = &claimed.leases[i].runs[j];
            r = buf_printf(text, "run %lld:%u lane %lld %.*s %.*s %u %.*s %.*s\n", (long long)claimed.leases[i].page,
                           run->index, (long long)claimed.leases[i].lane, (int)run->child_key.n, run->child_key.p,
                           (int)run->generation.n, run->generation.p ? run->generation.p : "", run->attempts,
                           (int)run->input.n, run->input.p, (int)run->checkpoint.n,
                           run->checkpoint.p ? run->checkpoint.p : "");
            assert_int_equal(r, 0);
        }
    r = buf_printf(text, "next due %lld\n", (long long)claimed.next_due_utc_us);
    store_claimed_free(&claimed);
    return r;
}

int workload_describe(struct sqlite_place *place, struct buf *ret_text, struct err *err) {
    struct store *store = NULL;
    struct buf value = {0};
    bool found = false;
    buf_reset(ret_text);
    int r = sqlite_place_open(place, &options, &store, err);
    if (r == 0)
        r = store_check(store, err);
    if (r == 0)
        r = store_lanes_each(store, say_lane, ret_text, err);
    if (r == 0)
        r = store_parked_each(store, &(struct store_parked_filter){0}, say_parked, ret_text, err);
    if (r == 0)
        r = store_log_each(store, 0, 0, say_line, ret_text, err);
    if (r == 0)
        r = store_value_get(store, BYTES("cursor"), &value, &found, err);
    if (r == 0)
        r = buf_printf(ret_text, "cursor %s\n", found ? value.p : "none");
    if (r == 0)
        r = say_past(store, ret_text, err);
    if (r == 0)
        r = say_runs(store, ret_text, err);
    buf_free(&value);
    store_close(store);
    return r;
}

void workload_expect(struct sqlite_place *place, struct workload_expected *ret_expected) {
    *ret_expected = (struct workload_expected){0};
    for (int until = 0; until <= WORKLOAD_STEPS; until++) {
        struct err err = {0};
        int done;
        sqlite_place_wipe(place);
        if (workload_run(place, until, &done, NULL, &err) < 0 ||
            workload_describe(place, &ret_expected->text[until], &err) < 0)
            fail_msg("%s", err.text);
    }
    sqlite_place_wipe(place);
}

void workload_expected_free(struct workload_expected *expected) {
    for (int i = 0; i <= WORKLOAD_STEPS; i++)
        buf_free(&expected->text[i]);
}

void workload_verify(struct sqlite_place *place, const struct workload_expected *expected, int done, const char *when) {
    struct buf text = {0};
    struct err err = {0};
    if (workload_describe(place, &text, &err) < 0)
        fail_msg("%s, after %d steps: %s", when, done, err.text);
    if (strcmp(text.p, expected->text[done].p) != 0 &&
        (done == WORKLOAD_STEPS || strcmp(text.p, expected->text[done + 1].p) != 0))
        fail_msg("%s, after %d steps, the store holds\n%s", when, done, text.p);
    buf_free(&text);
}
