/* conformance_steps.c - see conformance_steps.h. */
#include "conformance_steps.h"

#include "mem.h"

#include <stdio.h>
#include <time.h>

/* Results that the steps hand out are kept here until the next of their kind. */
static struct store_claimed last_claimed;
static struct buf last_keys, last_drained, last_runs, last_attempts, last_asks;

static int64_t utc_us(void *arg) {
    return ((struct store_under_test *)arg)->utc_us;
}

static int64_t mono_us(void *arg) {
    return ((struct store_under_test *)arg)->mono_us;
}

void steps_open(struct steps *steps) {
    struct store_under_test *sut = steps->sut;
    steps->store = NULL; /* it was closed: what tears down after a failure must not meet it */
    MUST(sut->open(sut, &steps->options, &steps->store, &err));
    for (int64_t i = 0; i < steps->n_workers && store_shared(steps->store); i++)
        MUST(store_worker_remove(steps->store, steps->workers[i], &err));
    steps->n_workers = 0;
    steps->worker = steps_worker(steps);
}

void steps_reset_clock(struct steps *steps) {
    steps->sut->utc_us = INT64_C(1700000000) * US_PER_S;
    steps->sut->mono_us = 1000;
}

int steps_setup(void **state) {
    struct store_under_test *sut = *state;
    struct steps *steps = mem_zalloc(sizeof *steps);
    assert_non_null(steps);
    steps->sut = sut;
    steps->lease_us = LEASE_US;
    steps->second_us = sut->own_clock ? US_PER_S : 600 * US_PER_MS;
    steps->options = (struct store_options){.clock = &sut->clock, .lease_us = LEASE_US};
    sut->clock = (struct clock){utc_us, mono_us, sut};
    steps_reset_clock(steps);
    sut->wipe(sut);
    steps_open(steps);
    *state = steps;
    return 0;
}

int steps_teardown(void **state) {
    struct steps *steps = *state;
    struct err err = {0};
    int r = steps->store ? store_check(steps->store, &err) : 0;
    if (r < 0)
        print_error("%s\n", err.text);
    store_claimed_free(&last_claimed);
    buf_free(&last_keys);
    buf_free(&last_drained);
    buf_free(&last_runs);
    buf_free(&last_attempts);
    buf_free(&last_asks);
    store_close(steps->store);
    *state = steps->sut;
    mem_free(steps);
    return r < 0 ? -1 : 0;
}

void steps_reopen(struct steps *steps) {
    MUST(store_check(steps->store, &err));
    store_close(steps->store);
    steps_open(steps);
    MUST(store_check(steps->store, &err));
}

void steps_crash(struct steps *steps) {
    steps->sut->crash(steps->sut, steps->store);
    steps_open(steps);
    MUST(store_check(steps->store, &err));
}

void steps_open_with(struct steps *steps, struct store_options options) {
    steps->options = options;
    steps->lease_us = options.lease_us;
    steps_reopen(steps);
}

/* ---- time ---- */

int64_t steps_now(const struct steps *steps) {
    return steps->sut->own_clock ? steps->sut->utc_us : clock_utc_us(&clock_system);
}

static void let_pass(struct steps *steps, int64_t us, int64_t more_us) {
    if (steps->sut->own_clock) {
        steps->sut->utc_us += us;
        steps->sut->mono_us += us;
        return;
    }
    us += more_us;
    assert_true(us < 5 * US_PER_S); /* a test that waits longer should not */
    nanosleep(&(struct timespec){us / US_PER_S, us % US_PER_S * 1000}, NULL);
}

void steps_pass(struct steps *steps, int64_t us) {
    let_pass(steps, us, 20 * US_PER_MS);
}

void steps_pass_most(struct steps *steps, int64_t us) {
    let_pass(steps, steps->sut->own_clock ? us - 1 : us / 2, 0);
}

void steps_pass_rest(struct steps *steps, int64_t us) {
    let_pass(steps, steps->sut->own_clock ? 1 : us - us / 2, 20 * US_PER_MS);
}

void steps_short_leases(struct steps *steps) {
    if (steps->sut->own_clock)
        return;
    struct store_options options = steps->options;
    options.lease_us = 2 * US_PER_S; /* of which a test waits for halves */
    steps_open_with(steps, options);
}

void steps_begin(struct steps *steps) {
    MUST(store_begin(steps->store, &err));
}

void steps_commit(struct steps *steps) {
    MUST(store_commit(steps->store, &err));
}

int64_t steps_worker(struct steps *steps) {
    int64_t worker = 0;
    MUST(store_worker_add(steps->store, BYTES("w"), 4, &worker, &err));
    assert_true(steps->n_workers < STEPS_WORKERS);
    steps->workers[steps->n_workers++] = worker;
    return worker;
}

int64_t steps_workflow_of(struct steps *steps, const char *name, const struct store_rule *rules, size_t n) {
    int64_t workflow = 0;
    steps_begin(steps);
    MUST(store_workflow_put(steps->store, bytes_str(name), rules, n, &workflow, &err));
    steps_commit(steps);
    return workflow;
}

/* ---- spawning ---- */

static size_t split(const char *text, char at, struct bytes *parts, size_t max) {
    size_t n = 0;
    for (const char *p = text;; n++) {
        const char *end = strchr(p, at);
        assert_true(n < max);
        parts[n] = bytes_of(p, end ? (size_t)(end - p) : strlen(p));
        if (!end)
            return n + 1;
        p = end + 1;
    }
}

struct store_spawned steps_spawn_as(struct steps *steps, int64_t workflow, const char *keys, const char *items,
                                    const struct store_page *more) {
    struct bytes key[STORE_RULES_MAX], part[64];
    struct store_item item[64];
    size_t n_keys = *keys ? split(keys, '|', key, STORE_RULES_MAX) : 0, n = split(items, ' ', part, 64);
    for (size_t i = 0; i < n; i++) {
        const char *colon = memchr(part[i].p, ':', part[i].n);
        size_t key_n = colon ? (size_t)(colon - part[i].p) : part[i].n;
        item[i] = (struct store_item){.child_key = bytes_of(part[i].p, key_n)};
        if (colon)
            item[i].generation = bytes_of(colon + 1, part[i].n - key_n - 1);
        if (bytes_equal(part[i], BYTES("-")))
            item[i].child_key = BYTES_NONE;
    }
    struct store_page page = *more;
    page.workflow = workflow;
    page.keys = key;
    page.n_keys = n_keys;
    page.input = BYTES("{\"of\":\"page\"}");
    page.metadata = BYTES("{\"meta\":1}");
    page.items = item;
    page.n = n;
    struct store_spawned spawned = {0};
    steps_begin(steps);
    MUST(store_spawn(steps->store, &page, &spawned, &err));
    steps_commit(steps);
    return spawned;
}

struct store_spawned steps_spawn_later(struct steps *steps, int64_t workflow, const char *keys, const char *items,
                                       int64_t not_before_utc_us) {
    return steps_spawn_as(steps, workflow, keys, items, &(struct store_page){.not_before_utc_us = not_before_utc_us});
}

struct store_spawned steps_spawn(struct steps *steps, int64_t workflow, const char *keys, const char *items) {
    return steps_spawn_later(steps, workflow, keys, items, 0);
}

/* ---- claiming ---- */

const struct store_claimed *steps_claim_as(struct steps *steps, const struct store_claim *claim) {
    store_claimed_free(&last_claimed);
    MUST(store_claim(steps->store, claim, &last_claimed, &err));
    return &last_claimed;
}

const struct store_claimed *steps_claim(struct steps *steps, int64_t worker, int64_t workflow, uint32_t lanes,
                                        uint32_t runs, uint32_t tokens) {
    struct store_claim claim = {
        .worker = worker ? worker : steps->worker,
        .new_lanes = lanes,
        .new_runs = runs,
        .new_tokens = tokens,
        .workflows = &workflow,
        .n_workflows = 1,
    };
    return steps_claim_as(steps, &claim);
}

const struct store_claimed *steps_claim_more(struct steps *steps, int64_t worker, int64_t lane, uint32_t runs,
                                             uint32_t tokens) {
    struct store_want want = {lane, runs, tokens};
    struct store_claim claim = {.worker = worker ? worker : steps->worker, .wants = &want, .n_wants = 1};
    return steps_claim_as(steps, &claim);
}

static void add_word(struct buf *buf, struct bytes word) {
    assert_int_equal(buf->n ? buf_add_byte(buf, ' ') : 0, 0);
    assert_int_equal(buf_add_bytes(buf, word), 0);
}

const char *steps_keys(const struct store_claimed *claimed) {
    buf_reset(&last_keys);
    assert_int_equal(buf_add_str(&last_keys, ""), 0);
    for (size_t i = 0; i < claimed->n; i++)
        for (size_t j = 0; j < claimed->leases[i].n; j++)
            add_word(&last_keys, claimed->leases[i].runs[j].child_key);
    return last_keys.p;
}

struct held steps_hold(struct steps *steps, const struct store_claimed *claimed, const char *child_key) {
    for (size_t i = 0; i < claimed->n; i++)
        for (size_t j = 0; j < claimed->leases[i].n; j++) {
            const struct store_lease *lease = &claimed->leases[i];
            const struct store_run *run = &lease->runs[j];
            if (!bytes_equal(run->child_key, bytes_str(child_key)))
                continue;
            struct held held = {.worker = steps->worker,
                                .lease = lease->id,
                                .page = lease->page,
                                .lane = lease->lane,
                                .index = run->index,
                                .tokens = lease->tokens};
            assert_true(run->child_key.n < sizeof held.child_key && run->generation.n < sizeof held.generation);
            memcpy(held.child_key, run->child_key.p ? run->child_key.p : "", run->child_key.n);
            memcpy(held.generation, run->generation.p ? run->generation.p : "", run->generation.n);
            return held;
        }
    fail_msg("%s was not claimed", child_key);
    return (struct held){0};
}

/* ---- settling ---- */

size_t steps_settle(struct steps *steps, int64_t worker, const struct store_settled *settled, size_t n) {
    size_t ignored = 0;
    steps_begin(steps);
    MUST(store_settle(steps->store, worker, settled, n, &ignored, &err));
    steps_commit(steps);
    return ignored;
}

static struct store_settled settled_of(const struct held *held, enum store_outcome outcome) {
    return (struct store_settled){
        .lease = held->lease,
        .index = held->index,
        .outcome = outcome,
        .child_key = bytes_str(held->child_key),
        .generation = bytes_str(held->generation),
        .input = BYTES("{\"of\":\"run\"}"),
        .checkpoint = BYTES("checkpoint"),
        .error = BYTES("went wrong"),
        .result = BYTES("{\"done\":1}"),
        .attempt = 1,
        .duration_us = 1500,
    };
}

size_t steps_done(struct steps *steps, const struct held *held) {
    struct store_settled settled = settled_of(held, STORE_DONE);
    return steps_settle(steps, held->worker, &settled, 1);
}

size_t steps_retry(struct steps *steps, const struct held *held, uint32_t attempts, int64_t after_us) {
    struct store_settled settled = settled_of(held, STORE_RETRY);
    settled.attempts = settled.attempt = attempts;
    settled.failed = true;
    settled.due_utc_us = steps_now(steps) + after_us;
    return steps_settle(steps, held->worker, &settled, 1);
}

size_t steps_park(struct steps *steps, const struct held *held) {
    struct store_settled settled = settled_of(held, STORE_PARKED);
    settled.attempts = settled.attempt = 4;
    settled.failed = true;
    return steps_settle(steps, held->worker, &settled, 1);
}

size_t steps_release(struct steps *steps, const struct held *held) {
    struct store_settled settled = settled_of(held, STORE_RELEASED);
    return steps_settle(steps, held->worker, &settled, 1);
}

size_t steps_end(struct steps *steps, const struct held *held, enum store_outcome outcome) {
    struct store_settled settled = settled_of(held, outcome);
    return steps_settle(steps, held->worker, &settled, 1);
}

/* Some runs with each commit, as a worker does. */
static void drain_lease(struct steps *steps, const struct store_lease *lease) {
    struct store_settled settled[16];
    for (size_t n = 0, at = 0; at < lease->n; at += n) {
        for (n = 0; n < sizeof settled / sizeof settled[0] && at + n < lease->n; n++) {
            const struct store_run *run = &lease->runs[at + n];
            settled[n] = (struct store_settled){
                .lease = lease->id, .index = run->index, .outcome = STORE_DONE, .child_key = run->child_key};
            add_word(&last_drained, run->child_key);
        }
        assert_int_equal(steps_settle(steps, steps->worker, settled, n), 0);
    }
}

const char *steps_drain(struct steps *steps, int64_t workflow) {
    buf_reset(&last_drained);
    assert_int_equal(buf_add_str(&last_drained, ""), 0);
    for (;;) {
        const struct store_claimed *claimed = steps_claim(steps, 0, workflow, 100, STORE_PAGE_MAX, UINT32_MAX);
        if (claimed->n == 0)
            return last_drained.p;
        for (size_t i = 0; i < claimed->n; i++)
            drain_lease(steps, &claimed->leases[i]);
    }
}

/* ---- runs ---- */

enum store_state steps_cancel_run(struct steps *steps, int64_t page, uint32_t index) {
    enum store_state state = 0;
    struct err err = {0};
    steps_begin(steps);
    int r = store_run_cancel(steps->store, page, index, &state, &err);
    if (r < 0 && r != -ENOENT)
        fail_msg("%d %s", r, err.text);
    assert_int_equal(r < 0, state == 0);
    steps_commit(steps);
    return state;
}

static int see_state(void *arg, const struct store_run_info *run) {
    *(enum store_state *)arg = run->state;
    return 0;
}

enum store_state steps_state(struct steps *steps, int64_t page, uint32_t index) {
    enum store_state state = 0;
    struct err err = {0};
    int r = store_run_get(steps->store, page, index, see_state, &state, &err);
    if (r < 0 && r != -ENOENT)
        fail_msg("%d %s", r, err.text);
    return state;
}

static int list_run(void *arg, const struct store_run_info *run) {
    static const char states[] = "?QWLPDFC";
    char word[128];
    int n = snprintf(word, sizeof word, "%.*s:%c", (int)run->child_key.n, run->child_key.p ? run->child_key.p : "",
                     states[run->state]);
    add_word(arg, bytes_of(word, (size_t)n));
    return 0;
}

const char *steps_runs(struct steps *steps, const struct store_runs_filter *filter) {
    buf_reset(&last_runs);
    assert_int_equal(buf_add_str(&last_runs, ""), 0);
    MUST(store_runs_each(steps->store, filter, list_run, &last_runs, &err));
    return last_runs.p;
}

static int list_attempt(void *arg, const struct store_attempt *attempt) {
    static const char *const outcomes[] = {"DONE", "FORGOTTEN", "RETRY", "PARKED", "RELEASED", "CANCELLED", "FAILED"};
    const struct bytes parts[] = {attempt->worker, attempt->error, attempt->result};
    assert_int_equal(buf_printf(arg, "%u %s", attempt->attempt, outcomes[attempt->outcome]), 0);
    for (int i = 0; i < 3; i++)
        add_word(arg, parts[i].n ? parts[i] : BYTES("-"));
    assert_true(attempt->ended_utc_us > 0);
    assert_int_equal(attempt->duration_us, attempt->attempt ? 1500 : 0);
    return buf_add_byte(arg, ';');
}

const char *steps_attempts(struct steps *steps, int64_t page, uint32_t index) {
    buf_reset(&last_attempts);
    assert_int_equal(buf_add_str(&last_attempts, ""), 0);
    MUST(store_attempts_each(steps->store, page, index, list_attempt, &last_attempts, &err));
    return last_attempts.p;
}

static int see_key(void *arg, const struct store_run_info *run) {
    assert_int_equal(run->state, STORE_STATE_LEASED);
    assert_true(run->cancel_asked);
    snprintf(arg, 64, "%.*s", (int)run->child_key.n, run->child_key.p);
    return 0;
}

static int by_text(const void *a, const void *b) {
    return strcmp(a, b);
}

const char *steps_asks(struct steps *steps, int64_t worker) {
    struct store_cancels cancels = {0};
    char words[64][72];
    MUST(store_heartbeat(steps->store, worker ? worker : steps->worker, &cancels, &err));
    assert_true(cancels.n <= 64);
    for (size_t i = 0; i < cancels.n; i++) {
        MUST(store_run_get(steps->store, cancels.items[i].page, cancels.items[i].index, see_key, words[i], &err));
        if (cancels.items[i].driven_out)
            strcat(words[i], "!");
        assert_true(cancels.items[i].lease != 0);
    }
    qsort(words, cancels.n, sizeof words[0], by_text);
    buf_reset(&last_asks);
    assert_int_equal(buf_add_str(&last_asks, ""), 0);
    for (size_t i = 0; i < cancels.n; i++)
        add_word(&last_asks, bytes_str(words[i]));
    store_cancels_free(&cancels);
    store_cancels_free(&cancels);
    return last_asks.p;
}

/* ---- looking ---- */

struct looking {
    int64_t workflow;
    struct bytes group;
    struct store_lane_info *into;
};

/* Sums the lanes of the group. */
static int look(void *arg, const struct store_lane_info *info) {
    struct looking *looking = arg;
    if (info->workflow != looking->workflow || !bytes_equal(info->group, looking->group))
        return 0;
    struct store_lane_info *into = looking->into;
    into->lane = info->lane;
    into->max_runs = info->max_runs;
    into->queued += info->queued;
    into->leased += info->leased;
    into->waiting += info->waiting;
    into->parked += info->parked;
    into->done += info->done;
    into->failed += info->failed;
    into->cancelled += info->cancelled;
    into->tokens += info->tokens;
    return 0;
}

struct store_lane_info steps_lane(struct steps *steps, int64_t workflow, const char *group) {
    struct store_lane_info info = {.workflow = workflow};
    struct looking looking = {workflow, bytes_str(group), &info};
    MUST(store_lanes_each(steps->store, look, &looking, &err));
    return info;
}
