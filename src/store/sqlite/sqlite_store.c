/* sqlite_store.c - the store as a whole: opening and closing, batches, and what happens after an error.
 *
 * After any failure but a refusal (-EINVAL, -ESTALE, -ENOENT) memory and file may differ, so nothing more is done:
 * every later call gives the same error. SQLite rolls the open batch back when the connection is closed. */
#include "sqlite_store.h"

#include "cleanup.h"

#define LEASE_DEFAULT_US (30 * US_PER_S)
#define HISTORY_DEFAULT_US (24 * US_PER_HOUR)
#define HISTORY_BYTES_DEFAULT (INT64_C(256) << 20)
#define LEASE_MAX_US (INT64_C(366) * 24 * US_PER_HOUR)

static struct sqlite_store *of(struct store *store) {
    return (struct sqlite_store *)(void *)store;
}

static const struct sqlite_store *of_const(const struct store *store) {
    return (const struct sqlite_store *)(const void *)store;
}

static void set_failed(struct sqlite_store *store, int code, const struct err *why) {
    if (why->code == code)
        store->failed = *why;
    else if (code == -ENOMEM)
        err_set(&store->failed, code, "store '%s': out of memory", store->db.path);
    else /* a code that no call may end with: something in memory is not as it must be */
        err_set(&store->failed, STORE_ERR_CORRUPT, "store '%s': its state in memory is wrong (%d)", store->db.path,
                code);
}

/* To begin a call with: 0, or what failed before. */
static int ready(const struct sqlite_store *store, struct err *err) {
    return store->failed.code ? err_set(err, store->failed.code, "%s", store->failed.text) : 0;
}

static int ready_in_batch(const struct sqlite_store *store, struct err *err) {
    int r = ready(store, err);
    if (r == 0 && !store->in_batch)
        r = err_set(err, -EINVAL, "a change outside of a batch");
    return r;
}

static bool refused(int r) {
    return r == -EINVAL || r == -ESTALE || r == -ENOENT;
}

static int commit_steps(struct sqlite_store *store, struct err *err);

/* To end a call with: commits the batch that it needed for itself, passes its result on, and remembers a failure. */
static int ended(struct sqlite_store *store, int r, struct err *inner, struct err *err) {
    if (store->own_batch && (r >= 0 || refused(r))) {
        struct err of_commit = {0};
        store->own_batch = false;
        int committed = commit_steps(store, &of_commit);
        if (committed < 0) {
            r = committed;
            *inner = of_commit;
        }
    }
    if (r >= 0)
        return r;
    if (refused(r))
        return err_set(err, r, "%s", inner->text);
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

/* ---- batches ---- */

static int begin_steps(struct sqlite_store *store, struct err *err) {
    struct db_use begin = db_use(&store->db, DB_BEGIN);
    int r = db_run(&begin, "begin", err);
    if (r == 0)
        store->in_batch = true;
    return r;
}

int batch_need(struct sqlite_store *store, struct err *err) {
    if (store->in_batch)
        return 0;
    int r = begin_steps(store, err);
    store->own_batch = r == 0;
    return r;
}

static int begin(struct store *base, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    if (r < 0)
        return r;
    if (store->in_batch)
        return err_set(err, -EINVAL, "a batch within a batch");
    return CALL(store, err, begin_steps(store, &inner));
}

static int commit_steps(struct sqlite_store *store, struct err *err) {
    int after = 0, r = work_flush(store, err);
    if (r == 0)
        r = db_commit(&store->db, &after, err);
    if (r < 0)
        return r;
    store->in_batch = false;
    if (after < 0)
        set_failed(store, after, err); /* this batch is durable; the next call fails */
    return 0;
}

static int commit(struct store *base, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    if (r < 0)
        return r;
    r = CALL(store, err, commit_steps(store, &inner));
    lock_note(&store->lock, store->leased);
    return r;
}

/* ---- calls ---- */

static int workflow_put_call(struct store *base, struct bytes name, const struct store_rule *rules, size_t n_rules,
                             int64_t *ret_workflow, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, workflow_put(store, name, rules, n_rules, ret_workflow, &inner));
}

static int workflow_pause_call(struct store *base, struct bytes name, bool paused, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, workflow_pause(store, name, paused, &inner));
}

static int worker_add(struct store *base, struct bytes name, uint32_t slots, int64_t *ret_worker, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, leases_worker_add(store, name, slots, ret_worker, &inner));
}

/* A store whose files were taken away goes on as if nothing were wrong, and a second process could start on new ones.
 */
static int heartbeat_steps(struct sqlite_store *store, int64_t worker, struct store_cancels *ret_cancels,
                           struct err *err) {
    int moved = 0;
    if (sqlite3_file_control(store->db.handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK)
        moved = 0;
    if (moved || !lock_in_place(&store->lock))
        return err_set(err, STORE_ERR_IO, "store: '%s' or its lock file was removed or replaced while it is in use",
                       store->db.path);
    return leases_heartbeat(store, worker, ret_cancels, err);
}

static int heartbeat(struct store *base, int64_t worker, struct store_cancels *ret_cancels, struct err *err) {
    if (ret_cancels)
        *ret_cancels = (struct store_cancels){0};
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, heartbeat_steps(store, worker, ret_cancels, &inner));
}

static int worker_remove(struct store *base, int64_t worker, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, leases_worker_remove(store, worker, &inner));
    lock_note(&store->lock, store->leased);
    return r;
}

static int spawn(struct store *base, const struct store_page *page, struct store_spawned *ret_spawned,
                 struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, spawn_page(store, page, ret_spawned, &inner));
}

static int page_reserve_call(struct store *base, int64_t *ret_page, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, page_reserve(store, ret_page, &inner));
}

static int claim(struct store *base, const struct store_claim *what, struct store_claimed *ret_claimed,
                 struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, claim_runs(store, what, ret_claimed, &inner));
    lock_note(&store->lock, store->leased);
    return r;
}

static int settle(struct store *base, int64_t worker, const struct store_settled *settled, size_t n,
                  size_t *ret_ignored, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, settle_runs(store, worker, settled, n, ret_ignored, &inner));
}

static int tick(struct store *base, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, notes_tick(store, workflow, tick_utc_us, ret_first, &inner));
}

static int tick_last(struct store *base, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, notes_tick_last(store, workflow, ret_tick_utc_us, &inner));
}

static int value_put(struct store *base, struct bytes name, struct bytes value, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, notes_value_put(store, name, value, &inner));
}

static int value_get(struct store *base, struct bytes name, struct buf *ret_value, bool *ret_found, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, notes_value_get(store, name, ret_value, ret_found, &inner));
}

static int log_add(struct store *base, int64_t page, uint32_t index, int level, struct bytes text, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, notes_log_add(store, page, index, level, text, &inner));
}

static int log_each(struct store *base, int64_t page, uint32_t index,
                    int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                    void *arg, struct err *err) {
    struct sqlite_store *store = of(base);
    int stop = 0, r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, notes_log_each(store, page, index, each, arg, &stop, &inner));
    return r < 0 ? r : stop < 0 ? stop : 0;
}

static int parked_each_call(struct store *base, const struct store_parked_filter *filter,
                            int (*each)(void *arg, const struct store_parked *parked), void *arg, struct err *err) {
    struct sqlite_store *store = of(base);
    int stop = 0, r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, parked_each(store, filter, each, arg, &stop, &inner));
    return r < 0 ? r : stop < 0 ? stop : 0;
}

static int parked_retry_call(struct store *base, const struct store_parked_filter *filter, uint64_t *ret_count,
                             struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, parked_retry(store, filter, ret_count, &inner));
}

static int parked_drop_call(struct store *base, const struct store_parked_filter *filter, uint64_t *ret_count,
                            struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, parked_drop(store, filter, ret_count, &inner));
}

static int check_steps(struct sqlite_store *store, struct err *err) {
    bool alone = !store->in_batch;
    int r = alone ? begin_steps(store, err) : 0;
    if (r == 0)
        r = work_flush(store, err); /* claims may have cancelled runs since the last commit */
    if (r == 0)
        r = check_all(store, err);
    if (r == 0 && alone)
        r = commit_steps(store, err);
    return r;
}

static int check(struct store *base, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, check_steps(store, &inner));
}

/* ---- looking ---- */

static int lanes_each(struct store *base, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                      struct err *err) {
    struct sqlite_store *store = of(base);
    int stop = 0, r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, infos_lanes(store, each, arg, &stop, &inner));
    return r < 0 ? r : stop < 0 ? stop : 0;
}

static int lane_get(struct store *base, int64_t lane, struct store_lane_info *ret_info, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    return r < 0 ? r : CALL(store, err, infos_lane(store, lane, ret_info, &inner));
}

static int workflows_each(struct store *base, int (*each)(void *arg, const struct store_workflow_info *info), void *arg,
                          struct err *err) {
    struct sqlite_store *store = of(base);
    int stop = 0, r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, infos_workflows(store, each, arg, &stop, &inner));
    return r < 0 ? r : stop < 0 ? stop : 0;
}

static int workers_each(struct store *base, int (*each)(void *arg, const struct store_worker_info *info), void *arg,
                        struct err *err) {
    struct sqlite_store *store = of(base);
    int stop = 0, r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, infos_workers(store, each, arg, &stop, &inner));
    return r < 0 ? r : stop < 0 ? stop : 0;
}

static int runs_each_call(struct store *base, const struct store_runs_filter *filter,
                          int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err) {
    struct sqlite_store *store = of(base);
    int stop = 0, r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, runs_each(store, filter, each, arg, &stop, &inner));
    return r < 0 ? r : stop < 0 ? stop : 0;
}

static int run_get_call(struct store *base, int64_t page, uint32_t index,
                        int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err) {
    struct sqlite_store *store = of(base);
    int stop = 0, r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, run_get(store, page, index, each, arg, &stop, &inner));
    return r < 0 ? r : stop < 0 ? stop : 0;
}

static int attempts_each_call(struct store *base, int64_t page, uint32_t index,
                              int (*each)(void *arg, const struct store_attempt *attempt), void *arg, struct err *err) {
    struct sqlite_store *store = of(base);
    int stop = 0, r = ready(store, err);
    if (r == 0)
        r = CALL(store, err, attempts_each(store, page, index, each, arg, &stop, &inner));
    return r < 0 ? r : stop < 0 ? stop : 0;
}

static int run_cancel_call(struct store *base, int64_t page, uint32_t index, enum store_state *ret_state,
                           struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready_in_batch(store, err);
    return r < 0 ? r : CALL(store, err, run_cancel(store, page, index, ret_state, &inner));
}

static int history_size(struct store *base, uint64_t *ret_runs, uint64_t *ret_bytes, struct err *err) {
    struct sqlite_store *store = of(base);
    int r = ready(store, err);
    if (r < 0)
        return r;
    *ret_runs = store->history_runs;
    *ret_bytes = store->history_bytes;
    return 0;
}

/* ---- opening and closing ---- */

static int lock_fd(const struct store *base) {
    return of_const(base)->lock.fd;
}

static uint64_t recovered(const struct store *base) {
    return of_const(base)->recovered;
}

static const char *describe(const struct store *base) {
    return of_const(base)->description;
}

static void close_store(struct store *base) {
    struct sqlite_store *store = of(base);
    for (size_t i = 0; i < store->lanes.n_lanes; i++) {
        struct lane *lane = store->lanes.lanes[i];
        LIST_EACH_SAFE (link, next, &lane->all_pages)
            page_free(store, (struct page *)(void *)LIST_ENTRY(link, struct work, all));
        LIST_EACH_SAFE (link, next, &lane->all_retries)
            retry_free(store, (struct retry *)(void *)LIST_ENTRY(link, struct work, all));
    }
    mem_free(store->known);
    cancel_free(store);
    leases_free(store);
    history_free(store);
    lanes_free(&store->lanes);
    fingerprints_free(&store->live);
    fingerprints_free(&store->parked);
    db_close(&store->db, !store->failed.code && !store->in_batch);
    lock_release(&store->lock);
    mem_free(store->description);
    mem_free(store);
}

static bool shared(const struct store *base) {
    (void)base;
    return false;
}

static const struct store_ops ops = {
    .close = close_store,
    .lock_fd = lock_fd,
    .recovered = recovered,
    .describe = describe,
    .shared = shared,
    .begin = begin,
    .commit = commit,
    .workflow_put = workflow_put_call,
    .workflow_pause = workflow_pause_call,
    .workflows_each = workflows_each,
    .worker_add = worker_add,
    .heartbeat = heartbeat,
    .worker_remove = worker_remove,
    .workers_each = workers_each,
    .spawn = spawn,
    .page_reserve = page_reserve_call,
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
    .parked_each = parked_each_call,
    .parked_retry = parked_retry_call,
    .parked_drop = parked_drop_call,
    .runs_each = runs_each_call,
    .run_get = run_get_call,
    .attempts_each = attempts_each_call,
    .run_cancel = run_cancel_call,
    .history_size = history_size,
    .check = check,
};

/* What the lock file said may be about a file that was put in the place of this one. */
static void note_recovered(struct sqlite_store *store) {
    uint64_t all = 0;
    for (size_t i = 0; i < store->lanes.n_lanes; i++)
        all += store->lanes.lanes[i]->counts[LANE_QUEUED] + store->lanes.lanes[i]->counts[LANE_RETRIES];
    if (store->recovered > all)
        store->recovered = all;
}

static int open_steps(struct sqlite_store *store, const char *path, const struct store_options *options,
                      struct err *err) {
    _cleanup_buf_ struct buf lock_path = {0}, description = {0};
    if (buf_printf(&lock_path, "%s.lock", path) < 0 ||
        buf_printf(&description, "SQLite %s, %s", sqlite3_libversion(), path) < 0)
        return -ENOMEM;
    store->description = buf_detach(&description);
    int r = lock_make_folders(path, err);
    if (r == 0)
        r = lock_take(lock_path.p, options->lock_wait_us, &store->lock, &store->recovered, err);
    if (r == 0)
        r = lock_make_file(path, err);
    if (r == 0)
        r = db_open(&store->db, path, err);
    if (r == 0)
        r = load_all(store, err);
    if (r == 0)
        note_recovered(store);
    return r;
}

int sqlite_store_open(const char *path, const struct store_options *options, struct store **ret_store,
                      struct err *err) {
    if (options->lease_us < 0)
        return err_set(err, -EINVAL, "a lease of less than no time");
    struct sqlite_store *store = mem_zalloc(sizeof *store);
    if (!store)
        return err_set(err, -ENOMEM, "store '%s': out of memory", path);
    store->store.ops = &ops;
    store->lock.fd = -1;
    store->clock = options->clock ? options->clock : &clock_system;
    store->lease_us = options->lease_us ? options->lease_us : LEASE_DEFAULT_US;
    if (store->lease_us > LEASE_MAX_US)
        store->lease_us = LEASE_MAX_US;
    list_init(&store->workers);
    store->due = work_heap_due();
    store->deadlines = work_heap_deadlines();
    lanes_init(&store->lanes, &options->caps);
    store->history_us = options->history_us == 0  ? HISTORY_DEFAULT_US
                        : options->history_us < 0 ? 0
                                                  : options->history_us;
    store->history_bytes_max = options->history_bytes > 0 ? options->history_bytes : HISTORY_BYTES_DEFAULT;
    hash_key_random(&store->hash_key);
    fingerprints_init(&store->live, sizeof(uint64_t));
    fingerprints_init(&store->parked, sizeof(struct parked));
    int r = open_steps(store, path, options, err);
    if (r < 0) {
        if (r == -ENOMEM)
            err_set(err, r, "store '%s': out of memory", path);
        store->failed.code = r; /* close without writing */
        close_store(&store->store);
        return r;
    }
    *ret_store = &store->store;
    return 0;
}
