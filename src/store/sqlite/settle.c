/* settle.c - what came of leased runs. */
#include "sqlite_store.h"

static int check_settled(const struct store_settled *settled, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        const struct store_settled *one = &settled[i];
        if (one->outcome < STORE_DONE || one->outcome > STORE_CHECKPOINT)
            return err_set(err, -EINVAL, "an unknown outcome (%d)", (int)one->outcome);
        if (one->child_key.n > STORE_NAME_MAX || one->generation.n > STORE_NAME_MAX)
            return err_set(err, -EINVAL, "a child key or generation is longer than %d bytes", STORE_NAME_MAX);
        if (one->input.n > STORE_DATA_MAX || one->checkpoint.n > STORE_DATA_MAX || one->error.n > STORE_DATA_MAX ||
            one->result.n > STORE_DATA_MAX)
            return err_set(err, -EINVAL, "input, checkpoint, error or result is longer than %d bytes", STORE_DATA_MAX);
    }
    return 0;
}

/* The run is not a part of its page any more: settled, or with a row of its own. */
static void leave_page(struct sqlite_store *store, struct page *page, uint32_t index) {
    bit_clear(page_live_bits(page), index);
    page->live--;
    work_page_dirty(store, page);
    if (page->deadline)
        page_deadline_changed(store, page);
}

static struct packing_record record_of(const struct store_settled *settled, enum store_outcome outcome) {
    return (struct packing_record){
        .index = settled->index,
        .attempt = settled->attempt,
        .outcome = outcome,
        .duration_us = settled->duration_us,
        .error = outcome == STORE_DONE ? BYTES_NONE : settled->error,
        .result = outcome == STORE_DONE ? settled->result : BYTES_NONE,
    };
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

static int settle_ended(struct sqlite_store *store, struct work *work, const struct store_settled *settled,
                        enum store_outcome outcome, struct err *err) {
    struct lane *lane = work->lane;
    int r = work_forget_key(store, lane, settled->child_key, err);
    if (r < 0)
        return r;
    if (outcome == STORE_DONE || outcome == STORE_CANCELLED) {
        *(outcome == STORE_DONE ? &lane->done : &lane->cancelled) += 1;
        work_lane_dirty(store, lane);
    }
    struct packing_record record = record_of(settled, outcome);
    if (!work->retry) {
        leave_page(store, LIST_ENTRY(work, struct page, work), settled->index);
        return history_note(store, work->page, &record);
    }
    r = cancel_drop_row(store, work->page, &record, NULL, err);
    if (r == 0)
        retry_free(store, LIST_ENTRY(work, struct retry, work));
    return r;
}

static int settle_retry(struct sqlite_store *store, struct work *work, const struct store_settled *settled,
                        int64_t now_utc_us, struct err *err) {
    struct lane *lane = work->lane;
    struct packing_record record = record_of(settled, STORE_RETRY);
    int r = write_run(store, work, settled, DB_RUN_WAITING, settled->due_utc_us, err);
    if (r == 0 && settled->failed)
        r = history_note(store, work->page, &record);
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
    struct packing_record record = record_of(settled, STORE_PARKED);
    int r = write_run(store, work, settled, DB_RUN_PARKED, now_utc_us, err);
    if (r == 0)
        r = history_note(store, work->page, &record);
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

/* A run that was asked to end and did something else does not run again. */
static enum store_outcome outcome_of(const struct store_settled *settled, bool asked) {
    if (asked && (settled->outcome == STORE_RETRY || settled->outcome == STORE_RELEASED))
        return STORE_CANCELLED;
    return settled->outcome;
}

static int settle_one(struct sqlite_store *store, struct lease *lease, const struct store_settled *one,
                      int64_t now_utc_us, struct err *err) {
    struct work *work = lease->work;
    struct lane *lane = work->lane;
    bool asked;
    if (one->outcome == STORE_CHECKPOINT)
        return kept_put(store, work, one, err);
    int r = cancel_unask(store, lane, work->page, one->index, &asked, err);
    if (r < 0)
        return r;
    leases_finish(store, lease, one->index);
    struct page *kept_in = one->checkpointed && !work->retry ? LIST_ENTRY(work, struct page, work) : NULL;
    if (kept_in && outcome_of(one, asked) != STORE_RELEASED)
        r = kept_drop(store, work->page, one->index, err);
    if (r < 0)
        return r;
    if (one->failed && one->outcome != STORE_DONE && one->outcome != STORE_RELEASED) {
        lane->failed++;
        work_lane_dirty(store, lane);
    }
    switch (outcome_of(one, asked)) {
    case STORE_DONE:
    case STORE_FORGOTTEN:
    case STORE_CANCELLED:
    case STORE_FAILED:
        return settle_ended(store, work, one, outcome_of(one, asked), err);
    case STORE_RETRY:
        return settle_retry(store, work, one, now_utc_us, err);
    case STORE_PARKED:
        return settle_parked(store, work, one, now_utc_us, err);
    case STORE_RELEASED:
        settle_released(store, work, one->index, now_utc_us);
        return kept_in ? kept_requeue_one(store, kept_in, one->index, now_utc_us, err) : 0;
    case STORE_CHECKPOINT: /* no end */
        break;
    }
    return 0;
}

int settle_runs(struct sqlite_store *store, int64_t worker, const struct store_settled *settled, size_t n,
                size_t *ret_ignored, struct err *err) {
    int r = check_settled(settled, n, err);
    if (r < 0)
        return r;
    int64_t now_utc_us = clock_utc_us(store->clock);
    const struct worker *by = leases_worker(store, worker);
    size_t ignored = by ? 0 : n;
    for (size_t i = 0; i < n && by && r == 0; i++) {
        struct lease *lease = leases_find(store, worker, settled[i].lease, settled[i].index);
        if (lease)
            r = settle_one(store, lease, &settled[i], now_utc_us, err);
        else
            ignored++;
    }
    if (r == 0)
        r = history_write(store, by ? bytes_of(by->name, by->name_n) : BYTES_NONE, err);
    if (r == 0)
        *ret_ignored = ignored;
    return r;
}
