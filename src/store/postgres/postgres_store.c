/* postgres_store.c - the store as a whole: opening and closing, batches, and what happens after an error.
 *
 * After a lost connection the batch is dropped and the store goes on; after any other failure but a refusal (-EINVAL,
 * -ESTALE, -ENOENT) every later call gives the same error, as memory and tables may differ. */
#include "postgres_store.h"

#include "cleanup.h"
#include "text.h"

#include <stdio.h>

#define LEASE_DEFAULT_US (30 * US_PER_S)
#define LEASE_MAX_US (INT64_C(366) * 24 * US_PER_HOUR)
#define HISTORY_DEFAULT_US (24 * US_PER_HOUR)
#define HISTORY_DEFAULT_BYTES (INT64_C(256) * 1024 * 1024)
#define OPEN_CONNECT_US (10 * US_PER_S)

static const struct postgres_store *of_const(const struct store *store) {
    return (const struct postgres_store *)(const void *)store;
}

/* ---- errors ---- */

static bool is_refusal(int r) {
    return r == -EINVAL || r == -ESTALE || r == -ENOENT;
}

static int ready(const struct postgres_store *store, struct err *err) {
    return store->failed.code ? err_set(err, store->failed.code, "%s", store->failed.text) : 0;
}

static int ready_in_batch(const struct postgres_store *store, struct err *err) {
    int r = ready(store, err);
    return r == 0 && !store->in_batch ? err_set(err, -EINVAL, "a change outside of a batch") : r;
}

static void set_failed(struct postgres_store *store, int code, const struct err *why) {
    if (why->code == code)
        store->failed = *why;
    else if (code == -ENOMEM)
        err_set(&store->failed, code, "PostgreSQL %s: out of memory", store->place.text);
    else /* a code that no call may end with */
        err_set(&store->failed, STORE_ERR_CORRUPT, "PostgreSQL %s: its state in memory is wrong (%d)",
                store->place.text, code);
}

/* To end a call with: passes its result on, and draws the consequences. */
static int ended(struct postgres_store *store, int r, const struct err *inner, struct err *err) {
    if (r >= 0)
        return r;
    if (is_refusal(r)) {
        if (!store->in_batch && store->locked) { /* of a call outside of a batch: nothing was to be changed */
            pg_drop_batch(store);
            store->stale = true;
        }
        return err_set(err, r, "%s", inner->text);
    }
    pg_drop_batch(store);
    if (r == STORE_ERR_LOST || r == STORE_ERR_AGAIN)
        return err_set(err, r, "%s", inner->code == r ? inner->text : "the connection to PostgreSQL broke");
    set_failed(store, r, inner);
    return ready(store, err);
}

/* Runs `call` (which uses `inner`) as one of the store's. */
#define CALL(store_, err_, call_)                 \
    ({                                            \
        struct err inner;                         \
        inner.code = 0;                           \
        inner.text[0] = '\0';                     \
        int called_ = (call_);                    \
        ended((store_), called_, &inner, (err_)); \
    })

/* A call that takes the lock, outside of a batch: is a batch of its own. */
static int alone(struct postgres_store *store, int r, struct err *err) {
    return r == 0 && !store->in_batch ? pg_commit(store, err) : r;
}

/* ---- batches ---- */

static int begin(struct store *base, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready(store, err);
    if (r < 0)
        return r;
    if (store->in_batch)
        return err_set(err, -EINVAL, "a batch within a batch");
    r = CALL(store, err, pg_connect(store, &inner));
    store->in_batch = r == 0;
    return r;
}

static int commit(struct store *base, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    if (r < 0)
        return r;
    r = CALL(store, err, pg_commit(store, &inner));
    store->in_batch = false;
    if (r == 0 && !store->failed.code) {
        struct err inner = {0};
        int tidied = pg_tidy(store, &inner);
        if (tidied < 0)
            ended(store, tidied, &inner, NULL); /* the batch is durable; what is wrong shows at the next */
    }
    return r;
}

/* ---- changes, which are queued ---- */

static struct op *new_op(struct postgres_store *store) {
    if (store->n_ops == store->cap_ops) {
        size_t cap = store->cap_ops ? store->cap_ops * 2 : 16;
        struct op *ops = mem_reallocarray(store->ops, cap, sizeof *ops);
        if (!ops)
            return NULL;
        store->ops = ops;
        store->cap_ops = cap;
    }
    struct op *op = &store->ops[store->n_ops++];
    *op = (struct op){0};
    return op;
}

static int queue_spawn(struct postgres_store *store, const struct store_page *page, struct store_spawned *ret_spawned,
                       struct err *err) {
    int r = pg_spawn_check(store, page, err);
    struct op *op = r == 0 ? new_op(store) : NULL;
    if (!op)
        return r < 0 ? r : -ENOMEM;
    op->kind = OP_SPAWN;
    op->page = page;
    op->ret_spawned = ret_spawned;
    return 0;
}

static int spawn(struct store *base, const struct store_page *page, struct store_spawned *ret_spawned,
                 struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, queue_spawn(store, page, ret_spawned, &inner));
}

static int queue_settle(struct postgres_store *store, int64_t worker, const struct store_settled *settled, size_t n,
                        size_t *ret_ignored, struct err *err) {
    int r = pg_settle_check(settled, n, err);
    struct op *op = r == 0 ? new_op(store) : NULL;
    if (!op)
        return r < 0 ? r : -ENOMEM;
    op->kind = OP_SETTLE;
    op->worker = worker;
    op->settled = settled;
    op->n = n;
    op->ret_ignored = ret_ignored;
    return 0;
}

static int settle(struct store *base, int64_t worker, const struct store_settled *settled, size_t n,
                  size_t *ret_ignored, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, queue_settle(store, worker, settled, n, ret_ignored, &inner));
}

static int value_put(struct store *base, struct bytes name, struct bytes value, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, pg_value_put(store, name, value, &inner));
}

static int log_add(struct store *base, int64_t page, uint32_t index, int level, struct bytes text, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, pg_log_add(store, page, index, level, text, &inner));
}

/* ---- changes that are made at once ---- */

static int workflow_put(struct store *base, struct bytes name, const struct store_rule *rules, size_t n_rules,
                        int64_t *ret_workflow, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, pg_workflow_put(store, name, rules, n_rules, ret_workflow, &inner));
}

static int workflow_pause(struct store *base, struct bytes name, bool paused, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, pg_workflow_pause(store, name, paused, &inner));
}

static int tick(struct store *base, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, pg_tick(store, workflow, tick_utc_us, ret_first, &inner));
}

static int parked_retry(struct store *base, const struct store_parked_filter *filter, uint64_t *ret_count,
                        struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, pg_parked_retry(store, filter, ret_count, &inner));
}

static int parked_drop(struct store *base, const struct store_parked_filter *filter, uint64_t *ret_count,
                       struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, pg_parked_drop(store, filter, ret_count, &inner));
}

static int run_cancel(struct store *base, int64_t page, uint32_t index, enum store_state *ret_state, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, pg_run_cancel(store, page, index, ret_state, &inner));
}

/* ---- in a batch or a batch of their own ---- */

static int page_reserve(struct store *base, int64_t *ret_page, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int64_t page = 0;
    int r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, alone(store, pg_page_reserve(store, &page, &inner), &inner));
    if (r == 0)
        *ret_page = page;
    return r;
}

static int worker_add(struct store *base, struct bytes name, uint32_t slots, int64_t *ret_worker, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int64_t worker = 0;
    int r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, alone(store, pg_worker_add(store, name, slots, &worker, &inner), &inner));
    if (r == 0)
        *ret_worker = worker;
    return r;
}

static int heartbeat_steps(struct postgres_store *store, int64_t worker, struct store_cancels *ret_cancels,
                           struct err *err) {
    int r = pg_heartbeat(store, worker, ret_cancels, err);
    if (r != -ESTALE)
        return r;
    r = alone(store, pg_heartbeat_late(store, worker, err), err);
    return r < 0 ? r
                 : err_set(err, -ESTALE, "the leases of worker %lld ran out and were taken back", (long long)worker);
}

static int heartbeat(struct store *base, int64_t worker, struct store_cancels *ret_cancels, struct err *err) {
    struct postgres_store *store = pg_of(base);
    if (ret_cancels)
        *ret_cancels = (struct store_cancels){0};
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, heartbeat_steps(store, worker, ret_cancels, &inner));
}

static int worker_remove(struct store *base, int64_t worker, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, alone(store, pg_worker_remove(store, worker, &inner), &inner));
}

static int claim(struct store *base, const struct store_claim *what, struct store_claimed *ret_claimed,
                 struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, pg_claim(store, what, !store->in_batch, ret_claimed, &inner));
}

static int check(struct store *base, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, alone(store, pg_check(store, &inner), &inner));
}

/* ---- reading ---- */

static int value_get(struct store *base, struct bytes name, struct buf *ret_value, bool *ret_found, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, pg_value_get(store, name, ret_value, ret_found, &inner));
}

static int tick_last(struct store *base, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, pg_tick_last(store, workflow, ret_tick_utc_us, &inner));
}

static int lane_get(struct store *base, int64_t lane, struct store_lane_info *ret_info, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, pg_lane_get(store, lane, ret_info, &inner));
}

static int history_size(struct store *base, uint64_t *ret_runs, uint64_t *ret_bytes, struct err *err) {
    struct postgres_store *store = pg_of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, pg_history_size(store, ret_runs, ret_bytes, &inner));
}

/* A call with a callback: what it stopped with is not an error of the store's. */
#define EACH(call_)                             \
    struct postgres_store *store = pg_of(base); \
    int stop = 0, r = ready(store, err);        \
    if (r == 0)                                 \
        r = CALL(store, err, (call_));          \
    return r < 0 ? r : stop

static int workflows_each(struct store *base, int (*each)(void *arg, const struct store_workflow_info *info), void *arg,
                          struct err *err) {
    EACH(pg_workflows_each(store, each, arg, &stop, &inner));
}

static int workers_each(struct store *base, int (*each)(void *arg, const struct store_worker_info *info), void *arg,
                        struct err *err) {
    EACH(pg_workers_each(store, each, arg, &stop, &inner));
}

static int lanes_each(struct store *base, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                      struct err *err) {
    EACH(pg_lanes_each(store, each, arg, &stop, &inner));
}

static int log_each(struct store *base, int64_t page, uint32_t index,
                    int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                    void *arg, struct err *err) {
    EACH(pg_log_each(store, page, index, each, arg, &stop, &inner));
}

static int parked_each(struct store *base, const struct store_parked_filter *filter,
                       int (*each)(void *arg, const struct store_parked *parked), void *arg, struct err *err) {
    EACH(pg_parked_each(store, filter, each, arg, &stop, &inner));
}

static int runs_each(struct store *base, const struct store_runs_filter *filter,
                     int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err) {
    EACH(pg_runs_each(store, filter, each, arg, &stop, &inner));
}

static int run_get(struct store *base, int64_t page, uint32_t index,
                   int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err) {
    EACH(pg_run_get(store, page, index, each, arg, &stop, &inner));
}

static int attempts_each(struct store *base, int64_t page, uint32_t index,
                         int (*each)(void *arg, const struct store_attempt *attempt), void *arg, struct err *err) {
    EACH(pg_attempts_each(store, page, index, each, arg, &stop, &inner));
}

/* ---- opening and closing ---- */

static int lock_fd(const struct store *base) {
    (void)base;
    return -1; /* other processes may have it, too */
}

static uint64_t recovered(const struct store *base) {
    (void)base;
    return 0;
}

static const char *describe(const struct store *base) {
    return of_const(base)->description;
}

static bool shared(const struct store *base) {
    (void)base;
    return true;
}

static void free_store(struct postgres_store *store) {
    listener_stop(store->listener);
    pg_drop_batch(store);
    sched_free(&store->sched);
    keys_free(&store->keys);
    cache_free(store->cache);
    for (size_t i = 0; i < store->cap_sent; i++)
        if (store->sent[i]) {
            args_free(store->sent[i]);
            mem_free(store->sent[i]);
        }
    for (size_t i = 0; i < store->n_workers; i++)
        mem_free(store->workers[i].name);
    mem_free(store->sent);
    mem_free(store->workers);
    mem_free(store->reserved);
    mem_free(store->used);
    mem_free(store->changed_lanes);
    mem_free(store->ops);
    mem_free(store->description);
    sql_free(&store->sql);
    place_free(&store->place);
    mem_free(store);
}

/* Gives back what its workers still have, so that nobody waits for their leases to end. */
static void close_store(struct store *base) {
    struct postgres_store *store = pg_of(base);
    struct err err;
    bool orderly = !store->failed.code && !store->in_batch && wire_connected(&store->wire);
    for (size_t i = store->n_workers; i-- > 0 && orderly;)
        if (store->workers[i].ours && pg_worker_remove(store, store->workers[i].id, &err) < 0)
            orderly = false;
    if (orderly)
        pg_commit(store, &err);
    free_store(store);
}

static const struct store_ops ops = {
    .close = close_store,
    .lock_fd = lock_fd,
    .recovered = recovered,
    .describe = describe,
    .shared = shared,
    .begin = begin,
    .commit = commit,
    .workflow_put = workflow_put,
    .workflow_pause = workflow_pause,
    .workflows_each = workflows_each,
    .worker_add = worker_add,
    .heartbeat = heartbeat,
    .worker_remove = worker_remove,
    .workers_each = workers_each,
    .spawn = spawn,
    .page_reserve = page_reserve,
    .claim = claim,
    .settle = settle,
    .tick = tick,
    .tick_last = tick_last,
    .value_put = value_put,
    .value_get = value_get,
    .log_add = log_add,
    .log_each = log_each,
    .lanes_each = lanes_each,
    .lane_get = lane_get,
    .parked_each = parked_each,
    .parked_retry = parked_retry,
    .parked_drop = parked_drop,
    .runs_each = runs_each,
    .run_get = run_get,
    .attempts_each = attempts_each,
    .run_cancel = run_cancel,
    .history_size = history_size,
    .check = check,
};

static int set_description(struct postgres_store *store) {
    _cleanup_buf_ struct buf text = {0};
    int version = store->wire.version;
    int r = buf_printf(&text, "PostgreSQL %d.%d, %s, schema %s%s", version / 10000, version % 10000, store->place.text,
                       store->place.schema,
                       store->wire.pooled ? ", through a connection pooler (no wake-ups, it is polled)"
                                          : ", workers wake each other (LISTEN works)");
    if (r == 0)
        store->description = buf_detach(&text);
    return r;
}

static int set_session(struct postgres_store *store) {
    struct hash_key random;
    _cleanup_buf_ struct buf hex = {0};
    hash_key_random(&random);
    int r = text_add_hex(&hex, &random, sizeof random);
    if (r == 0)
        memcpy(store->session_text, hex.p, sizeof store->session_text);
    return r;
}

static int open_steps(struct postgres_store *store, const char *uri, const struct store_options *options,
                      struct err *err) {
    int r = place_parse(&store->place, uri, err);
    if (r == 0)
        r = sql_make(&store->sql, store->place.schema);
    if (r < 0)
        return r;
    wire_init(&store->wire, &store->place, &store->sql);
    r = set_session(store);
    if (r == 0)
        r = wire_connect(&store->wire, OPEN_CONNECT_US, err);
    if (r == 0)
        r = schema_ready(&store->wire, store->place.schema, err);
    if (r == 0)
        r = set_description(store);
    if (r == 0)
        r = pg_connect(store, err);
    if (r == 0 && options->wake && !store->wire.pooled)
        r = listener_start(store, options, &store->listener);
    return r == STORE_ERR_LOST ? STORE_ERR_IO : r;
}

static int64_t or_default(int64_t value, int64_t otherwise) {
    return value ? value : otherwise;
}

int postgres_store_open(const char *uri, const struct store_options *options, struct store **ret_store,
                        struct err *err) {
    if (options->lease_us < 0)
        return err_set(err, -EINVAL, "a lease of less than no time");
    struct postgres_store *store = mem_zalloc(sizeof *store);
    if (!store)
        return err_set(err, -ENOMEM, "out of memory");
    store->store.ops = &ops;
    store->lease_us = or_default(options->lease_us, LEASE_DEFAULT_US);
    store->lease_us = store->lease_us < LEASE_MAX_US ? store->lease_us : LEASE_MAX_US;
    store->history_us = or_default(options->history_us, HISTORY_DEFAULT_US);
    store->history_bytes = or_default(options->history_bytes, HISTORY_DEFAULT_BYTES);
    store->answer_us = ANSWER_US;
    store->wants_end = &store->wants;
    store->stale = true;
    store->trimmed_mono_us = clock_mono_us(&clock_system);
    rng_seed_system(&store->rng);
    rows_init(&store->rows);
    rows_init(&store->known.rows);
    store->repeats = options->repeats;
    sched_init(&store->sched);
    store->sched.caps = options->caps;
    struct err inner = {0};
    int r = open_steps(store, uri, options, &inner);
    if (r < 0) {
        free_store(store);
        return err_set(err, r, "%s", inner.code ? inner.text : "out of memory");
    }
    *ret_store = &store->store;
    return 0;
}

void postgres_store_use_clock(struct store *store, const struct clock *clock) {
    pg_of(store)->own_clock = clock;
}
