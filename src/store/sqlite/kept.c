/* kept.c - what a run of a page gives to be kept while it runs: a row beside the page's, until the run ends.
 *
 * When the run is queued again without having ended, it leaves its page with that: so claims need not look here. A run
 * that has a row of its own anyway keeps it there. */
#include "sqlite_store.h"

static int put_in_run(struct sqlite_store *store, const struct work *work, const struct store_settled *settled,
                      struct err *err) {
    struct db_use put = db_use(&store->db, DB_RUN_CHECKPOINT);
    db_int(&put, 1, work->page);
    db_int(&put, 2, settled->index);
    db_int(&put, 3, work->lane->id);
    db_int(&put, 4, settled->attempts);
    db_blob(&put, 5, settled->generation);
    db_blob(&put, 6, settled->checkpoint);
    int r = db_run(&put, "keep a checkpoint", err);
    if (r == 0 && sqlite3_changes(store->db.handle) != 1)
        r = db_corrupt(&store->db, err, "run %lld:%u is missing", (long long)work->page, settled->index);
    return r;
}

int kept_put(struct sqlite_store *store, const struct work *work, const struct store_settled *settled,
             struct err *err) {
    if (work->retry)
        return put_in_run(store, work, settled, err);
    struct db_use put = db_use(&store->db, DB_KEPT_PUT);
    db_int(&put, 1, work->page);
    db_int(&put, 2, settled->index);
    db_int(&put, 3, settled->attempts);
    db_blob(&put, 4, settled->child_key);
    db_blob(&put, 5, settled->generation);
    db_blob(&put, 6, settled->input);
    db_blob(&put, 7, settled->checkpoint);
    store->any_kept = true;
    return db_run(&put, "keep a checkpoint", err);
}

int kept_drop(struct sqlite_store *store, int64_t page, uint32_t index, struct err *err) {
    struct db_use drop = db_use(&store->db, DB_KEPT_DROP);
    db_int(&drop, 1, page);
    db_int(&drop, 2, index);
    return db_run(&drop, "drop a checkpoint", err);
}

int kept_requeue_one(struct sqlite_store *store, struct page *page, uint32_t index, int64_t now_utc_us,
                     struct err *err) {
    struct lane *lane = page->work.lane;
    struct db_use move = db_use(&store->db, DB_KEPT_MOVE);
    db_int(&move, 1, page->work.page);
    db_int(&move, 2, index);
    db_int(&move, 3, now_utc_us);
    int r = db_run(&move, "queue a run with its checkpoint", err);
    if (r < 0 || sqlite3_changes(store->db.handle) == 0)
        return r;
    struct retry *retry = retry_new(store, lane, page->work.page, index, now_utc_us);
    if (!retry)
        return -ENOMEM;
    bit_clear(page_queued_bits(page), index);
    bit_clear(page_live_bits(page), index);
    page->queued--;
    page->live--;
    lane_count(lane, LANE_QUEUED, -1);
    lane_count(lane, LANE_RETRIES, 1);
    work_page_dirty(store, page);
    page_deadline_changed(store, page);
    if (page->queued == 0)
        work_unqueue(store, &page->work);
    work_queue(store, &retry->work, now_utc_us);
    return kept_drop(store, page->work.page, index, err);
}

/* The first row from this run on; 1: there is one. */
static int next_row(struct sqlite_store *store, int64_t *page, uint32_t *index, struct err *err) {
    struct db_use each = db_use(&store->db, DB_KEPT_EACH);
    db_int(&each, 1, *page);
    db_int(&each, 2, *index);
    int r = db_row(&each, "read the checkpoints", err);
    if (r <= 0)
        return r;
    int64_t at = db_get_int(&each, 1);
    *page = db_get_int(&each, 0);
    *index = (uint32_t)at;
    db_done(&each);
    return at < 0 || at >= STORE_PAGE_MAX ? db_corrupt(&store->db, err, "a checkpoint is damaged") : 1;
}

int kept_requeue(struct sqlite_store *store, struct err *err) {
    if (!store->any_kept)
        return 0;
    int64_t now_utc_us = clock_utc_us(store->clock), id = 0;
    uint32_t index = 0;
    int r = batch_need(store, err);
    for (; r == 0 && (r = next_row(store, &id, &index, err)) > 0; index++) {
        struct page *page = page_find(store, id);
        bool live = page && index < page->n && bit_get(page_live_bits(page), index);
        if (!live)
            r = kept_drop(store, id, index, err);
        else if (bit_get(page_queued_bits(page), index))
            r = kept_requeue_one(store, page, index, now_utc_us, err);
        else
            r = 0; /* another worker has it */
    }
    return r;
}
