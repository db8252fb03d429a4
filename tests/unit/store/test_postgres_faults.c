/* test_postgres_faults.c - the connection to PostgreSQL is cut at every statement of a workload, in every way, and the
 * server crashes: nothing is lost and nothing is done twice.
 *
 * The workload uses all of the store in batches that are repeated when they are lost, as an engine does. What the store
 * holds at its end must be, to the letter, what it holds when nothing was cut. */
#include "cleanup.h"
#include "postgres_proxy.h"
#include "postgres_server.h"
#include "postgres_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Under a sanitizer all takes three to five times as long, and is looked at in fewer places: those of a build without
 * are spread over the same course. */
#if defined(__SANITIZE_ADDRESS__)
#define SPARSE 4
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define SPARSE 4
#endif
#endif
#ifndef SPARSE
#define SPARSE 1
#endif

#define HOUR (3600 * US_PER_S)
static struct postgres_server server;

/* ---- the workload ---- */

struct going {
    struct store *store;
    int64_t workflow, singleton, latest, rated, worker, reserved;
    int64_t now_utc_us;
    struct store_claimed claimed;
    struct store_settled settled[200];
    size_t n_settled, ignored;
    struct store_spawned spawned;
    struct store_page page;
    struct store_item items[64];
    struct bytes key;
    char keys[64][24];
    uint64_t lost;
    struct err err;
    uint64_t count;
    bool first;
    enum store_state state;
    int64_t cancel_page;
};

static int put_workflows(struct going *going) {
    static const struct store_rule robin = {STORE_GROUP_ROUND_ROBIN, 50, 0}, cancel = {STORE_CANCEL_NEWEST, 2, 0},
                                   latest = {STORE_CANCEL_IN_PROGRESS, 1, 0}, rate = {STORE_RATE_LIMIT, 3, 24 * HOUR};
    int r = store_workflow_put(going->store, BYTES("many"), &robin, 1, &going->workflow, &going->err);
    if (r == 0)
        r = store_workflow_put(going->store, BYTES("single"), &cancel, 1, &going->singleton, &going->err);
    if (r == 0)
        r = store_workflow_put(going->store, BYTES("latest"), &latest, 1, &going->latest, &going->err);
    if (r == 0)
        r = store_workflow_put(going->store, BYTES("rated"), &rate, 1, &going->rated, &going->err);
    return r;
}

static int spawn(struct going *going, int64_t workflow, const char *group, int from, int n, const char *generation) {
    for (int i = 0; i < n; i++) {
        snprintf(going->keys[i], sizeof going->keys[i], "a/key/%04d", from + i);
        going->items[i] =
            (struct store_item){.child_key = bytes_str(going->keys[i]), .generation = bytes_str(generation)};
    }
    going->key = bytes_str(group);
    int64_t id = going->page.id;
    going->page = (struct store_page){.workflow = workflow,
                                      .keys = &going->key,
                                      .n_keys = 1,
                                      .input = BYTES("{\"a\":1}"),
                                      .metadata = BYTES("{}"),
                                      .items = going->items,
                                      .n = (size_t)n,
                                      .id = id};
    return store_spawn(going->store, &going->page, &going->spawned, &going->err);
}

static int claim(struct going *going, uint32_t runs) {
    const int64_t all[] = {going->workflow, going->singleton, going->latest, going->rated};
    struct store_claim what = {.worker = going->worker,
                               .new_lanes = 4,
                               .new_runs = runs,
                               .new_tokens = 50,
                               .workflows = all,
                               .n_workflows = 4};
    store_claimed_free(&going->claimed);
    return store_claim(going->store, &what, &going->claimed, &going->err);
}

static enum store_outcome outcome_of(uint32_t i) {
    return i % 7 == 3   ? STORE_RETRY
           : i % 7 == 5 ? STORE_PARKED
           : i % 7 == 6 ? STORE_RELEASED
           : i % 7 == 2 ? STORE_FAILED
                        : STORE_DONE;
}

static int settle(struct going *going, bool all_done) {
    size_t n = 0;
    for (size_t i = 0; i < going->claimed.n; i++)
        for (size_t j = 0; j < going->claimed.leases[i].n && n < 200; j++) {
            const struct store_run *run = &going->claimed.leases[i].runs[j];
            going->settled[n++] = (struct store_settled){
                .lease = going->claimed.leases[i].id,
                .index = run->index,
                .outcome = all_done ? STORE_DONE : outcome_of(run->index),
                .attempts = run->attempts + 1,
                .attempt = run->attempts + 1,
                .failed = !all_done && run->index % 2,
                .due_utc_us = run->index % 2 ? going->now_utc_us + HOUR : 0,
                .duration_us = 5,
                .child_key = run->child_key,
                .input = run->input,
                .generation = run->generation,
                .checkpoint = BYTES("half way"),
                .error = BYTES("it did not work"),
                .result = BYTES("[1]"),
            };
        }
    going->n_settled = n;
    return store_settle(going->store, going->worker, going->settled, n, &going->ignored, &going->err);
}

#define IN_BATCH_STEPS 13
static int batch(struct going *going, int step) {
    struct going *g = going;
    const struct store_parked_filter any = {0};
    int r;
    switch (step) {
    case 0:
        return put_workflows(g);
    case 1:
        r = spawn(g, g->workflow, "big", 0, 40, "g1");
        return r < 0 ? r : store_log_add(g->store, 1, 2, 3, BYTES("a line"), &g->err);
    case 2:
        return spawn(g, g->workflow, "small", 30, 30, "g1");
    case 3:
        return settle(g, false);
    case 4:
        r = store_tick(g->store, g->workflow, 60, &g->first, &g->err);
        return r < 0 ? r : store_value_put(g->store, BYTES("cursor"), BYTES("a/key/0300"), &g->err);
    case 5:
        r = spawn(g, g->singleton, "one", 0, 3, "");
        return r;
    case 6: /* a claim and its settlement at once */
        r = claim(g, 12);
        return r < 0 ? r : settle(g, false);
    case 7:
        return spawn(g, g->workflow, "big", 0, 40, "g2"); /* some supersede */
    case 8:
        return store_parked_retry(g->store, &any, &g->count, &g->err);
    case 9:
        g->page.id = g->reserved;
        r = spawn(g, g->latest, "x", 500, 3, "");
        g->page.id = 0;
        return r;
    case 10:
        r = store_run_cancel(g->store, g->cancel_page, 0, &g->state, &g->err);
        return r == -ENOENT ? 0 : r;
    case 11:
        return settle(g, true);
    default:
        g->page.id = 0;
        return spawn(g, g->rated, "third", 1000, 5, "g1");
    }
}

/* What is a batch of its own, before the batch of that number. */
static int before(struct going *going, int step) {
    switch (step) {
    case 0:
        return store_worker_add(going->store, BYTES("w"), 4, &going->worker, &going->err);
    case 3:
        return claim(going, 15);
    case 9:
        return store_page_reserve(going->store, &going->reserved, &going->err);
    case 11:
        return claim(going, 100);
    case 12:
        return store_heartbeat(going->store, going->worker, NULL, &going->err);
    default:
        return 0;
    }
}

static void must(struct going *going, int r, const char *what, int step) {
    if (r < 0)
        fail_msg("%s, step %d: %d %s", what, step, r, going->err.text);
}

/* Repeats what was lost, as an engine does. Returns how often. */
static void run_workload(struct going *going) {
    going->cancel_page = 2;
    for (int step = 0; step < IN_BATCH_STEPS; step++) {
        int r;
        while ((r = before(going, step)) == STORE_ERR_LOST)
            going->lost++;
        must(going, r, "before", step);
        do {
            r = store_begin(going->store, &going->err);
            if (r == 0)
                r = batch(going, step);
            if (r == 0)
                r = store_commit(going->store, &going->err);
            going->lost += r == STORE_ERR_LOST;
        } while (r == STORE_ERR_LOST);
        must(going, r, "batch", step);
        if (step == 3 || step == 11)
            assert_int_equal(going->ignored, 0);
    }
    store_claimed_free(&going->claimed);
}

/* The same without repeating: the first error, or 0. */
static int run_once(struct going *going) {
    going->cancel_page = 2;
    int r = 0;
    for (int step = 0; step < IN_BATCH_STEPS && r == 0; step++) {
        r = before(going, step);
        if (r == 0)
            r = store_begin(going->store, &going->err);
        if (r == 0)
            r = batch(going, step);
        if (r == 0)
            r = store_commit(going->store, &going->err);
    }
    store_claimed_free(&going->claimed);
    return r;
}

/* ---- what is there ---- */

static int say_lane(void *arg, const struct store_lane_info *info) {
    return buf_printf(
        arg,
        "lane %lld %.*s/%.*s queued %llu leased %llu waiting %llu parked %llu done %llu failed %llu cancelled "
        "%llu tokens %u\n",
        (long long)info->lane, (int)info->workflow_name.n, info->workflow_name.p, (int)info->group.n,
        info->group.p ? info->group.p : "", (unsigned long long)info->queued, (unsigned long long)info->leased,
        (unsigned long long)info->waiting, (unsigned long long)info->parked, (unsigned long long)info->done,
        (unsigned long long)info->failed, (unsigned long long)info->cancelled, info->tokens);
}

static int say_run(void *arg, const struct store_run_info *run) {
    return buf_printf(arg, "run %lld:%u %d %.*s %.*s attempts %u %.*s %.*s\n", (long long)run->page, run->index,
                      (int)run->state, (int)run->child_key.n, run->child_key.p, (int)run->generation.n,
                      run->generation.p ? run->generation.p : "", run->attempts, (int)run->error.n,
                      run->error.p ? run->error.p : "", (int)run->result.n, run->result.p ? run->result.p : "");
}

static int say_attempt(void *arg, const struct store_attempt *attempt) {
    return buf_printf(arg, " attempt %u %d %.*s;", attempt->attempt, (int)attempt->outcome, (int)attempt->worker.n,
                      attempt->worker.p ? attempt->worker.p : "");
}

static int say_line(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text) {
    (void)utc_us;
    return buf_printf(arg, "line %lld:%u %d %.*s\n", (long long)page, index, level, (int)text.n, text.p);
}

static void describe(struct store *store, struct buf *text) {
    struct err err = {0};
    struct buf value = {0};
    bool found;
    buf_reset(text);
    if (store_check(store, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(store_lanes_each(store, say_lane, text, &err), 0);
    assert_int_equal(store_runs_each(store, &(struct store_runs_filter){0}, say_run, text, &err), 0);
    for (int64_t page = 1; page < 9; page++)
        for (uint32_t i = 0; i < 40; i++)
            assert_int_equal(store_attempts_each(store, page, i, say_attempt, text, &err), 0);
    assert_int_equal(store_log_each(store, 0, 0, say_line, text, &err), 0);
    assert_int_equal(store_value_get(store, BYTES("cursor"), &value, &found, &err), 0);
    assert_int_equal(buf_printf(text, "\ncursor %s\n", found ? value.p : "none"), 0);
    buf_free(&value);
}

/* Opens through the port, runs it all, and says what is there. */
static uint64_t play(int port, struct buf *text) {
    char uri[256];
    static struct going going;
    going = (struct going){.now_utc_us = clock_utc_us(&clock_system)};
    postgres_server_uri(&server, POSTGRES_TCP, port, "faults", uri, sizeof uri);
    int r;
    do
        r = store_open(uri, NULL, &going.store, &going.err);
    while (r == STORE_ERR_IO && port); /* it may be cut right there */
    must(&going, r, "open", 0);
    run_workload(&going);
    store_close(going.store);
    postgres_server_uri(&server, POSTGRES_SOCKET, 0, "faults", uri, sizeof uri);
    must(&going, store_open(uri, NULL, &going.store, &going.err), "open again", 0);
    describe(going.store, text);
    store_close(going.store);
    return going.lost;
}

/* ---- tests ---- */

static struct proxy proxy;

/* `stride`: not every place, as it takes its time; FROE_TEST_THOROUGH in the environment: every one. */
static void cut_everywhere(enum proxy_cut cut, int64_t away_us, uint64_t stride) {
    stride = getenv("FROE_TEST_THOROUGH") ? 1 : stride * SPARSE;
    _cleanup_buf_ struct buf expected = {0}, text = {0};
    postgres_server_wipe(&server, "faults");
    play(0, &expected);
    uint64_t lost = 0, n;
    for (n = 1;; n += stride) {
        postgres_server_wipe(&server, "faults");
        proxy_cut_at(&proxy, cut, n, away_us);
        lost += play(proxy.port, &text);
        if (!proxy.happened)
            break;
        if (strcmp(text.p, expected.p) != 0)
            fail_msg("cut %d at %llu: there is\n%s\nnot\n%s", (int)cut, (unsigned long long)n, text.p, expected.p);
    }
    assert_true(n > 60);
    assert_true(lost > 0);
    printf("cut %d: %llu places, %llu batches lost\n", (int)cut, (unsigned long long)(n / stride),
           (unsigned long long)lost);
}

static void cut_before_each_statement(void **state) {
    (void)state;
    cut_everywhere(PROXY_BEFORE_STATEMENT, 0, 5);
}

static void cut_after_each_statement(void **state) {
    (void)state;
    cut_everywhere(PROXY_AFTER_STATEMENT, 0, 7);
}

static void cut_before_each_answer(void **state) {
    (void)state;
    cut_everywhere(PROXY_BEFORE_ANSWER, 0, 6);
}

static void cut_before_each_sync(void **state) {
    (void)state;
    cut_everywhere(PROXY_BEFORE_SYNC, 0, 3);
}

/* No answer and no end of the connection: after a while that counts as lost. */
static void a_server_that_stalls_is_given_up(void **state) {
    (void)state;
    char uri[256];
    struct going going = {.now_utc_us = clock_utc_us(&clock_system)};
    postgres_server_wipe(&server, "faults");
    postgres_server_uri(&server, POSTGRES_TCP, proxy.port, "faults", uri, sizeof uri);
    must(&going, store_open(uri, NULL, &going.store, &going.err), "open", 0);
    pg_of(going.store)->answer_us = US_PER_S / 2;
    must(&going, store_begin(going.store, &going.err), "begin", 0);
    must(&going, put_workflows(&going), "put", 0);
    must(&going, store_commit(going.store, &going.err), "commit", 0);
    for (uint64_t n = 1; n <= 2; n++) { /* at the lock, and at the commit */
        must(&going, store_begin(going.store, &going.err), "begin", 1);
        must(&going, store_value_put(going.store, BYTES("cursor"), BYTES("x"), &going.err), "put", 1);
        proxy_cut_at(&proxy, PROXY_STALL, n, 0);
        int64_t began = clock_mono_us(&clock_system);
        int r = store_commit(going.store, &going.err);
        int64_t took = clock_mono_us(&clock_system) - began;
        assert_true(proxy.happened);
        assert_int_equal(r, n == 1 ? STORE_ERR_LOST : 0); /* the second had taken effect, which was found out */
        assert_in_range(took, US_PER_S / 2, 5 * US_PER_S);
    }
    store_close(going.store);
}

static void the_server_is_away_for_a_while(void **state) {
    (void)state;
    cut_everywhere(PROXY_BEFORE_SYNC, 300 * US_PER_MS, 7);
}

/* An allocation that fails, anywhere: the store says so and takes nothing more, and what was committed is sound. */
static void no_memory_is_an_error(void **state) {
    (void)state;
    char uri[256];
    bool thorough = getenv("FROE_TEST_THOROUGH");
    uint64_t n, failed = 0;
    postgres_server_uri(&server, POSTGRES_SOCKET, 0, "faults", uri, sizeof uri);
    for (n = 1;; n += thorough ? 1 : 1 + n * SPARSE / 8) {
        static struct going going;
        going = (struct going){.now_utc_us = clock_utc_us(&clock_system)};
        postgres_server_wipe(&server, "faults");
        mem_fail_at(n, 0);
        int r = store_open(uri, NULL, &going.store, &going.err);
        if (r == 0)
            r = run_once(&going);
        bool happened = mem_fail_count() >= n;
        mem_fail_at(0, 0);
        if (r < 0 && going.store) {
            assert_int_equal(store_begin(going.store, NULL), r);
            assert_int_equal(store_check(going.store, NULL), r);
        }
        store_close(going.store);
        if (r < 0)
            assert_int_equal(r, -ENOMEM);
        failed += r < 0;
        going.store = NULL;
        must(&going, store_open(uri, NULL, &going.store, &going.err), "open", 0);
        must(&going, store_check(going.store, &going.err), "check", 0);
        store_close(going.store);
        if (!happened)
            break;
    }
    assert_true(failed > (SPARSE == 1 ? 25 : 8));
    printf("no memory: up to the %lluth allocation, %llu failures\n", (unsigned long long)n,
           (unsigned long long)failed);
}

static int setup(void **state) {
    (void)state;
    proxy_start(&proxy, server.port);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    proxy_stop(&proxy);
    return 0;
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_is_an_error),
        cmocka_unit_test_setup_teardown(cut_before_each_statement, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_after_each_statement, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_before_each_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_before_each_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_stalls_is_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(the_server_is_away_for_a_while, setup, teardown),
    };
    if (postgres_server_missing()) {
        printf("skipped: there is no %s here\n", postgres_server_missing());
        return 77;
    }
    postgres_server_start(&server);
    if (getenv("FAULTS_TEST")) /* one alone, by its name */
        cmocka_set_test_filter(getenv("FAULTS_TEST"));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_server_stop(&server);
    return failed;
}
