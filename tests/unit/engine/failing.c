/* failing.c - see failing.h. */
#include "failing.h"

#include "mem.h"
#include "store_ops.h"

#include <unistd.h>

struct failing_store {
    struct store store; /* first */
    struct store *real;
    _Atomic uint64_t calls, fail_at;
    _Atomic int code;
    _Atomic bool stalled, lost, frozen;
    bool shared, gone; /* gone: the real store is closed, until the next batch */
    _Atomic uint64_t batches, restart_at;
    int gone_code;
    const char *uri;
    const struct store_options *options;
};

static struct failing_store *of(const struct store *store) {
    return (struct failing_store *)(uintptr_t)store;
}

static int call(struct store *store, struct err *err) {
    struct failing_store *failing = of(store);
    while (atomic_load(&failing->frozen))
        usleep(1000);
    uint64_t n = atomic_fetch_add(&failing->calls, 1) + 1, at = atomic_load(&failing->fail_at);
    if (n == atomic_load(&failing->restart_at)) {
        store_close(failing->real);
        failing->real = NULL;
        failing->gone = true;
    }
    if (failing->gone)
        return err_set(err, failing->gone_code, "the server is gone");
    if (at == 0 || n < at)
        return 0;
    return err_set(err, atomic_load(&failing->code), "the disk is gone");
}

#define PASS(function, ...)    \
    int r_ = call(store, err); \
    return r_ < 0 ? r_ : function(of(store)->real, ##__VA_ARGS__, err)

static void close_it(struct store *store) {
    store_close(of(store)->real);
    mem_free(of(store));
}
static int lock_fd(const struct store *store) {
    return store_lock_fd(of(store)->real);
}
static uint64_t recovered(const struct store *store) {
    return store_recovered(of(store)->real);
}
static const char *describe(const struct store *store) {
    return "failing";
}
static bool shared(const struct store *store) {
    return of(store)->shared;
}
static int begin(struct store *store, struct err *err) {
    struct failing_store *failing = of(store);
    if (atomic_load(&failing->lost))
        return err_set(err, STORE_ERR_LOST, "the server cannot be reached");
    if (failing->gone) {
        int r = store_open(failing->uri, failing->options, &failing->real, err);
        if (r < 0)
            return r;
        failing->gone = false;
    }
    PASS(store_begin);
}
static int commit(struct store *store, struct err *err) {
    atomic_fetch_add(&of(store)->batches, 1);
    PASS(store_commit);
}
static int workflow_put(struct store *store, struct bytes name, const struct store_rule *rules, size_t n_rules,
                        int64_t *ret_workflow, struct err *err) {
    PASS(store_workflow_put, name, rules, n_rules, ret_workflow);
}
static int workflow_pause(struct store *store, struct bytes name, bool paused, struct err *err) {
    PASS(store_workflow_pause, name, paused);
}
static int workflows_each(struct store *store, int (*each)(void *arg, const struct store_workflow_info *info),
                          void *arg, struct err *err) {
    PASS(store_workflows_each, each, arg);
}
static int workers_each(struct store *store, int (*each)(void *arg, const struct store_worker_info *info), void *arg,
                        struct err *err) {
    PASS(store_workers_each, each, arg);
}
static int page_reserve(struct store *store, int64_t *ret_page, struct err *err) {
    PASS(store_page_reserve, ret_page);
}
static int tick_last(struct store *store, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err) {
    PASS(store_tick_last, workflow, ret_tick_utc_us);
}
static int runs_each(struct store *store, const struct store_runs_filter *filter,
                     int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err) {
    PASS(store_runs_each, filter, each, arg);
}
static int run_get(struct store *store, int64_t page, uint32_t index,
                   int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err) {
    PASS(store_run_get, page, index, each, arg);
}
static int attempts_each(struct store *store, int64_t page, uint32_t index,
                         int (*each)(void *arg, const struct store_attempt *attempt), void *arg, struct err *err) {
    PASS(store_attempts_each, page, index, each, arg);
}
static int run_cancel(struct store *store, int64_t page, uint32_t index, enum store_state *ret_state, struct err *err) {
    PASS(store_run_cancel, page, index, ret_state);
}
static int history_size(struct store *store, uint64_t *ret_runs, uint64_t *ret_bytes, struct err *err) {
    PASS(store_history_size, ret_runs, ret_bytes);
}
static int worker_add(struct store *store, struct bytes name, uint32_t slots, int64_t *ret_worker, struct err *err) {
    PASS(store_worker_add, name, slots, ret_worker);
}
static int heartbeat(struct store *store, int64_t worker, struct store_cancels *ret_cancels, struct err *err) {
    while (atomic_load(&of(store)->stalled))
        usleep(1000);
    PASS(store_heartbeat, worker, ret_cancels);
}
static int worker_remove(struct store *store, int64_t worker, struct err *err) {
    PASS(store_worker_remove, worker);
}
static int spawn(struct store *store, const struct store_page *page, struct store_spawned *ret_spawned,
                 struct err *err) {
    PASS(store_spawn, page, ret_spawned);
}
static int claim(struct store *store, const struct store_claim *how, struct store_claimed *ret_claimed,
                 struct err *err) {
    PASS(store_claim, how, ret_claimed);
}
static int settle(struct store *store, int64_t worker, const struct store_settled *settled, size_t n,
                  size_t *ret_ignored, struct err *err) {
    PASS(store_settle, worker, settled, n, ret_ignored);
}
static int tick(struct store *store, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err) {
    PASS(store_tick, workflow, tick_utc_us, ret_first);
}
static int value_put(struct store *store, struct bytes name, struct bytes value, struct err *err) {
    PASS(store_value_put, name, value);
}
static int value_get(struct store *store, struct bytes name, struct buf *ret_value, bool *ret_found, struct err *err) {
    PASS(store_value_get, name, ret_value, ret_found);
}
static int log_add(struct store *store, int64_t page, uint32_t index, int level, struct bytes text, struct err *err) {
    PASS(store_log_add, page, index, level, text);
}
static int log_each(struct store *store, int64_t page, uint32_t index,
                    int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                    void *arg, struct err *err) {
    PASS(store_log_each, page, index, each, arg);
}
static int lanes_each(struct store *store, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                      struct err *err) {
    PASS(store_lanes_each, each, arg);
}
static int lane_get(struct store *store, int64_t lane, struct store_lane_info *ret_info, struct err *err) {
    PASS(store_lane_get, lane, ret_info);
}
static int parked_each(struct store *store, const struct store_parked_filter *filter,
                       int (*each)(void *arg, const struct store_parked *parked), void *arg, struct err *err) {
    PASS(store_parked_each, filter, each, arg);
}
static int parked_retry(struct store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                        struct err *err) {
    PASS(store_parked_retry, filter, ret_count);
}
static int parked_drop(struct store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                       struct err *err) {
    PASS(store_parked_drop, filter, ret_count);
}
static int check(struct store *store, struct err *err) {
    PASS(store_check);
}

static const struct store_ops ops = {
    .close = close_it,
    .lock_fd = lock_fd,
    .recovered = recovered,
    .describe = describe,
    .shared = shared,
    .begin = begin,
    .commit = commit,
    .workflow_put = workflow_put,
    .workflow_pause = workflow_pause,
    .workflows_each = workflows_each,
    .workers_each = workers_each,
    .page_reserve = page_reserve,
    .tick_last = tick_last,
    .runs_each = runs_each,
    .run_get = run_get,
    .attempts_each = attempts_each,
    .run_cancel = run_cancel,
    .history_size = history_size,
    .worker_add = worker_add,
    .heartbeat = heartbeat,
    .worker_remove = worker_remove,
    .spawn = spawn,
    .claim = claim,
    .settle = settle,
    .tick = tick,
    .value_put = value_put,
    .value_get = value_get,
    .log_add = log_add,
    .log_each = log_each,
    .lanes_each = lanes_each,
    .lane_get = lane_get,
    .parked_each = parked_each,
    .parked_retry = parked_retry,
    .parked_drop = parked_drop,
    .check = check,
};

struct failing_store *failing_make(struct store *real) {
    struct failing_store *failing = mem_zalloc(sizeof *failing);
    if (failing) {
        failing->store.ops = &ops;
        failing->real = real;
    }
    return failing;
}

struct store *failing_store(struct failing_store *failing) {
    return &failing->store;
}

void failing_at(struct failing_store *failing, uint64_t n, int code) {
    atomic_store(&failing->code, code);
    atomic_store(&failing->fail_at, n);
}

uint64_t failing_calls(const struct failing_store *failing) {
    return atomic_load(&failing->calls);
}

void failing_stall(struct failing_store *failing, bool stall) {
    atomic_store(&failing->stalled, stall);
}

void failing_freeze(struct failing_store *failing, bool freeze) {
    atomic_store(&failing->frozen, freeze);
}

void failing_lose(struct failing_store *failing, bool lose) {
    atomic_store(&failing->lost, lose);
}

void failing_restart_at(struct failing_store *failing, uint64_t n, int code, const char *uri,
                        const struct store_options *options) {
    failing->gone_code = code;
    failing->uri = uri;
    failing->options = options;
    atomic_store(&failing->restart_at, n ? atomic_load(&failing->calls) + n : 0);
}

void failing_shared(struct failing_store *failing, bool is_shared) {
    failing->shared = is_shared;
}

uint64_t failing_batches(const struct failing_store *failing) {
    return atomic_load(&failing->batches);
}
