/* settle.c - what came of leased runs. */
#include "sqlite_store.h"

static int check_settled(const struct store_settled *settled, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        const struct store_settled *one = &settled[i];
        if (one->outcome < STORE_DONE || one->outcome > STORE_RELEASED)
            return err_set(err, -EINVAL, "an unknown outcome (%d)", (int)one->outcome);
        if (one->child_key.n > STORE_NAME_MAX || one->generation.n > STORE_NAME_MAX)
            return err_set(err, -EINVAL, "a child key or generation is longer than %d bytes", STORE_NAME_MAX);
        if (one->input.n > STORE_DATA_MAX || one->checkpoint.n > STORE_DATA_MAX || one->error.n > STORE_DATA_MAX)
            return err_set(err, -EINVAL, "input, checkpoint or error is longer than %d bytes", STORE_DATA_MAX);
    }
    return 0;
}

/* The run is not a part of its page any more: settled, or with a row of its own. */
static void leave_page(struct sqlite_store *store, struct page *page, uint32_t index) {
    bit_clear(page_live_bits(page), index);
    page->live--;
    work_page_dirty(store, page);
}

static int drop_run(struct sqlite_store *store, const struct work *work, struct err *err) {
    struct db_use drop = db_use(&store->db, DB_RUN_DROP);
    db_int(&drop, 1, work->page);
    db_int(&drop, 2, work->index);
    return db_run(&drop, "drop a settled run", err);
}

/* Writes the row of a run in trouble: a new one, or the one it has. */
static int write_run(struct sqlite_store *store, const struct work *work, const struct store_settled *settled,
                     int state, int64_t at_utc_us, struct err *err) {
    struct db_use put = db_use(&store->db, work->retry ? DB_RUN_UPDATE : DB_RUN_ADD);
    db_int(&put, 1, work->page);
    db_int(&put, 2, settled->index);
    db_int(&put, 3, work->lane->id);
    db_int(&put, 4, state);
    db_int(&put, 5, at_utc_us);
    db_int(&put, 6, settled->attempts);
    db_blob(&put, 7, settled->child_key);
    db_blob(&put, 8, settled->generation);
    db_blob(&put, 9, settled->input);
    db_blob(&put, 10, settled->checkpoint);
    db_blob(&put, 11, settled->error);
    int r = db_run(&put, "write a run in trouble", err);
    if (r == 0 && sqlite3_changes(store->db.handle) != 1)
        r = db_corrupt(&store->db, err, "run %lld:%u is missing, or has another child key", (long long)work->page,
                       settled->index);
    return r;
}

static int settle_done(struct sqlite_store *store, struct work *work, const struct store_settled *settled,
                       struct err *err) {
    struct lane *lane = work->lane;
    int r = work_forget_key(store, lane, settled->child_key, err);
    if (r < 0)
        return r;
    if (settled->outcome == STORE_DONE) {
        lane->done++;
        work_lane_dirty(store, lane);
    }
    if (!work->retry) {
        leave_page(store, LIST_ENTRY(work, struct page, work), settled->index);
        return 0;
    }
    r = drop_run(store, work, err);
    if (r == 0)
        retry_free(store, LIST_ENTRY(work, struct retry, work));
    return r;
}

static int settle_retry(struct sqlite_store *store, struct work *work, const struct store_settled *settled,
                        int64_t now_utc_us, struct err *err) {
    struct lane *lane = work->lane;
    int r = write_run(store, work, settled, DB_RUN_WAITING, settled->due_utc_us, err);
    if (r < 0)
        return r;
    struct retry *retry = work->retry ? LIST_ENTRY(work, struct retry, work) : NULL;
    if (retry) {
        retry->leased = false;
        retry->work.due_utc_us = settled->due_utc_us;
    } else {
        retry = retry_new(store, lane, work->page, settled->index, settled->due_utc_us);
        if (!retry)
            return -ENOMEM;
        leave_page(store, LIST_ENTRY(work, struct page, work), settled->index);
    }
    lane_count(lane, LANE_RETRIES, 1);
    work_queue(store, &retry->work, now_utc_us);
    return 0;
}

static int settle_parked(struct sqlite_store *store, struct work *work, const struct store_settled *settled,
                         int64_t now_utc_us, struct err *err) {
    struct lane *lane = work->lane;
    int r = write_run(store, work, settled, DB_RUN_PARKED, now_utc_us, err);
    if (r == 0)
        r = parked_remember(store, lane, settled->child_key, work->page, settled->index);
    if (r < 0)
        return r;
    lane_count(lane, LANE_PARKED, 1);
    if (work->retry)
        retry_free(store, LIST_ENTRY(work, struct retry, work));
    else
        leave_page(store, LIST_ENTRY(work, struct page, work), settled->index);
    return 0;
}

static void settle_released(struct sqlite_store *store, struct work *work, uint32_t index, int64_t now_utc_us) {
    if (work->retry) {
        LIST_ENTRY(work, struct retry, work)->leased = false;
    } else {
        struct page *page = LIST_ENTRY(work, struct page, work);
        bit_set(page_queued_bits(page), index);
        page->queued++;
    }
    lane_count(work->lane, work->retry ? LANE_RETRIES : LANE_QUEUED, 1);
    if (work->place == WORK_OUT)
        work_queue(store, work, now_utc_us);
}

int settle_runs(struct sqlite_store *store, int64_t worker, const struct store_settled *settled, size_t n,
                size_t *ret_ignored, struct err *err) {
    int r = check_settled(settled, n, err);
    if (r < 0)
        return r;
    int64_t now_utc_us = clock_utc_us(store->clock);
    size_t ignored = 0;
    for (size_t i = 0; i < n; i++) {
        const struct store_settled *one = &settled[i];
        struct lease *lease = leases_find(store, worker, one->lease, one->index);
        if (!lease) {
            ignored++;
            continue;
        }
        struct work *work = lease->work;
        struct lane *lane = work->lane;
        leases_finish(store, lease, one->index);
        if (one->failed && one->outcome != STORE_DONE && one->outcome != STORE_RELEASED) {
            lane->failed++;
            work_lane_dirty(store, lane);
        }
        switch (one->outcome) {
        case STORE_DONE:
        case STORE_FORGOTTEN:
        case STORE_CANCELLED:
        case STORE_FAILED:
            r = settle_done(store, work, one, err);
            break;
        case STORE_RETRY:
            r = settle_retry(store, work, one, now_utc_us, err);
            break;
        case STORE_PARKED:
            r = settle_parked(store, work, one, now_utc_us, err);
            break;
        case STORE_RELEASED:
            settle_released(store, work, one->index, now_utc_us);
            break;
        }
        if (r < 0)
            return r;
    }
    *ret_ignored = ignored;
    return 0;
}
