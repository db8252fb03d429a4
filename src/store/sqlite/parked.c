/* parked.c - parked runs: rows in the file; in memory only where the one with a child key is. */
#include "cleanup.h"
#include "sqlite_store.h"

#define AT_ONCE 256 /* changed between two reads */

int parked_remember(struct sqlite_store *store, const struct lane *lane, struct bytes child_key, int64_t page,
                    uint32_t index) {
    if (child_key.n == 0)
        return 0;
    void *place;
    int r = fingerprints_add(&store->parked, work_fingerprint(lane->workflow, child_key), &place);
    if (r < 0)
        return r;
    *(struct parked *)place = (struct parked){.page = page, .index = index};
    return 0;
}

void parked_unremember(struct sqlite_store *store, const struct lane *lane, struct bytes child_key) {
    if (child_key.n)
        fingerprints_remove(&store->parked, work_fingerprint(lane->workflow, child_key));
}

static bool matches(const struct store_parked_filter *filter, const struct store_parked *run) {
    return (filter->run_page == 0 || (filter->run_page == run->page && filter->run_index == run->index)) &&
           (filter->workflow.n == 0 || bytes_equal(filter->workflow, run->workflow_name)) &&
           (filter->group.n == 0 || bytes_equal(filter->group, run->group)) &&
           (filter->child_key.n == 0 || bytes_equal(filter->child_key, run->child_key));
}

/* Goes through the parked runs after page:index that match. `each` stops with 1. */
static int walk(struct sqlite_store *store, const struct store_parked_filter *filter, int64_t page, int64_t index,
                int (*each)(void *arg, struct lane *lane, const struct store_parked *run), void *arg, struct err *err) {
    struct db_use use = db_use(&store->db, DB_PARKED_EACH);
    db_int(&use, 1, page);
    db_int(&use, 2, index);
    int r;
    while ((r = db_row(&use, "read the parked runs", err)) > 0) {
        struct lane *lane = lanes_lane(&store->lanes, db_get_int(&use, 2));
        struct store_parked run = {
            .page = db_get_int(&use, 0),
            .index = (uint32_t)db_get_int(&use, 1),
            .parked_utc_us = db_get_int(&use, 3),
            .attempts = (uint32_t)db_get_int(&use, 4),
        };
        r = db_get_blob(&use, 5, &run.child_key, err);
        if (r == 0)
            r = db_get_blob(&use, 6, &run.generation, err);
        if (r == 0)
            r = db_get_blob(&use, 7, &run.error, err);
        if (r == 0 && !lane)
            r = db_corrupt(&store->db, err, "run %lld:%u is damaged", (long long)run.page, run.index);
        if (r == 0) {
            run.workflow_name = bytes_of(lane->workflow->name, lane->workflow->name_n);
            run.group = lane_group_key(lane);
            r = matches(filter, &run) ? each(arg, lane, &run) : 0;
        }
        if (r != 0) {
            db_done(&use);
            return r;
        }
    }
    return r;
}

/* ---- listing ---- */

struct listing {
    int (*each)(void *arg, const struct store_parked *parked);
    void *arg;
    int *stop;
    uint32_t left;
};

static int list_one(void *arg, struct lane *lane, const struct store_parked *run) {
    struct listing *listing = arg;
    (void)lane;
    *listing->stop = listing->each(listing->arg, run);
    return *listing->stop < 0 || --listing->left == 0;
}

int parked_each(struct sqlite_store *store, const struct store_parked_filter *filter,
                int (*each)(void *arg, const struct store_parked *parked), void *arg, int *ret_stop, struct err *err) {
    struct listing listing = {each, arg, ret_stop, filter->limit ? filter->limit : UINT32_MAX};
    int64_t after_index = filter->after_page ? (int64_t)filter->after_index : -1;
    int r = walk(store, filter, filter->after_page, after_index, list_one, &listing, err);
    return r < 0 ? r : 0;
}

/* ---- changing ---- */

struct found {
    struct lane *lane;
    int64_t page;
    uint32_t index;
    char *child_key; /* owned */
    size_t child_key_n;
};

struct batch {
    struct found found[AT_ONCE];
    size_t n, most;
};

static int collect(void *arg, struct lane *lane, const struct store_parked *run) {
    struct batch *batch = arg;
    char *key = mem_memdup(run->child_key.p, run->child_key.n);
    if (!key)
        return -ENOMEM;
    batch->found[batch->n++] = (struct found){lane, run->page, run->index, key, run->child_key.n};
    return batch->n == batch->most;
}

static int requeue(struct sqlite_store *store, const struct found *found, bool *ret_changed, struct err *err) {
    struct lane *lane = found->lane;
    int64_t now_utc_us = clock_utc_us(store->clock);
    *ret_changed = false;
    if (lane_places(lane) == 0)
        return 0;
    struct db_use put = db_use(&store->db, DB_RUN_REQUEUE);
    db_int(&put, 1, found->page);
    db_int(&put, 2, found->index);
    db_int(&put, 3, now_utc_us);
    int r = db_run(&put, "queue a parked run", err);
    if (r < 0)
        return r;
    struct retry *retry = retry_new(store, lane, found->page, found->index, now_utc_us);
    if (!retry)
        return -ENOMEM;
    parked_unremember(store, lane, bytes_of(found->child_key, found->child_key_n));
    lane_count(lane, LANE_PARKED, -1);
    lane_count(lane, LANE_RETRIES, 1);
    work_queue(store, &retry->work, now_utc_us);
    *ret_changed = true;
    return 0;
}

static int drop(struct sqlite_store *store, const struct found *found, bool *ret_changed, struct err *err) {
    *ret_changed = true;
    return cancel_parked(store, found->lane, found->page, found->index, STORE_FORGOTTEN, BYTES("dropped"), err);
}

static int change_all(struct sqlite_store *store, const struct store_parked_filter *filter,
                      int (*change)(struct sqlite_store *store, const struct found *found, bool *ret_changed,
                                    struct err *err),
                      uint64_t *ret_count, struct err *err) {
    _cleanup_free_ struct batch *batch = mem_alloc(sizeof *batch);
    if (!batch)
        return -ENOMEM;
    batch->most = filter->run_page ? 1 : AT_ONCE;
    int64_t page = filter->run_page, index = (int64_t)filter->run_index - 1;
    uint64_t count = 0;
    int r;
    do {
        batch->n = 0;
        int walked = walk(store, filter, page, index, collect, batch, err);
        r = walked < 0 ? walked : 0;
        for (size_t i = 0; i < batch->n; i++) {
            bool changed = false;
            if (r == 0)
                r = change(store, &batch->found[i], &changed, err);
            count += changed;
            page = batch->found[i].page;
            index = batch->found[i].index;
            mem_free(batch->found[i].child_key);
        }
        if (r == 0)
            r = history_write(store, BYTES_NONE, err);
    } while (r == 0 && batch->n == AT_ONCE);
    if (r == 0)
        *ret_count = count;
    return r;
}

int parked_retry(struct sqlite_store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                 struct err *err) {
    return change_all(store, filter, requeue, ret_count, err);
}

int parked_drop(struct sqlite_store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                struct err *err) {
    return change_all(store, filter, drop, ret_count, err);
}
