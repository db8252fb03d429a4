/* runs.c - changes that several calls make: to a page's runs, to runs in trouble, to what a worker holds. */
#include "postgres_store.h"

#include "cleanup.h"

#define LOST_REASON BYTES("asked to end; its lease was lost")
#define ASKED_REASON BYTES("asked to end")

/* ---- pages ---- */

int64_t pg_page_rank(const struct page_row *page) {
    if (page->place == PAGE_DELAYED)
        return page->not_before_utc_us;
    return page->place == PAGE_READY ? (int64_t)(3 - page->priority) << 60 | page->id : 0;
}

void pg_page_changed(struct postgres_store *store, struct page_row *page, uint32_t n_queued_before) {
    struct sched *sched = &store->sched;
    struct lane *lane = sched_lane(sched, page->lane);
    enum page_place before = page->place;
    page->place = page->n_live == 0        ? PAGE_FINISHED
                  : page->n_queued == 0    ? PAGE_LEASED
                  : before == PAGE_DELAYED ? PAGE_DELAYED
                                           : PAGE_READY;
    sched_add(sched, lane, LN_QUEUED, (int64_t)page->n_queued - (int64_t)n_queued_before);
    sched_add(sched, lane, LN_DELAYED,
              (page->place == PAGE_DELAYED ? (int64_t)page->n_queued : 0) -
                  (before == PAGE_DELAYED ? (int64_t)n_queued_before : 0));
    sched_add(sched, lane, LN_PAGES, (page->place == PAGE_READY) - (before == PAGE_READY));
    bool may_be_late = false;
    for (int i = 0; i < PAGE_WORDS && page->start_by_utc_us; i++)
        may_be_late |= page->queued.w[i] & ~page->touched.w[i];
    if (!may_be_late)
        page->start_by_utc_us = 0;
    if (page->place == PAGE_FINISHED && before != PAGE_FINISHED) {
        store->finished_pages++;
        if (store->history_us >= 0)
            store->meta.history_bytes += page->size;
    }
    rows_page_dirty(&store->rows, page);
}

void pg_page_due(struct postgres_store *store, struct page_row *page) {
    struct lane *lane = sched_lane(&store->sched, page->lane);
    if (page->place != PAGE_DELAYED)
        return;
    page->place = PAGE_READY;
    sched_add(&store->sched, lane, LN_DELAYED, -(int64_t)page->n_queued);
    sched_add(&store->sched, lane, LN_PAGES, 1);
    rows_page_dirty(&store->rows, page);
}

int pg_cancel_queued(struct postgres_store *store, struct page_row *page, uint32_t index, struct bytes reason) {
    struct record record = {.index = index, .outcome = STORE_CANCELLED, .error = reason};
    uint32_t before = page->n_queued;
    bits_clear(&page->queued, index);
    bits_clear(&page->live, index);
    page->n_queued--;
    page->n_live--;
    pg_page_changed(store, page, before);
    sched_add(&store->sched, sched_lane(&store->sched, page->lane), LN_CANCELLED, 1);
    return pg_history_add(store, page->id, BYTES_NONE, &record);
}

/* ---- runs in trouble ---- */

void pg_trouble_finish(struct postgres_store *store, struct trouble_row *trouble, enum store_outcome outcome) {
    trouble->state = TROUBLE_FINISHED;
    trouble->outcome = outcome;
    trouble->due_utc_us = store->now_utc_us;
    if (store->history_us >= 0)
        store->meta.history_bytes += trouble->size;
    rows_trouble_dirty(&store->rows, trouble);
}

int pg_cancel_trouble(struct postgres_store *store, struct trouble_row *trouble, enum store_outcome outcome,
                      struct bytes reason) {
    struct lane *lane = sched_lane(&store->sched, trouble->lane);
    struct record record = {.index = trouble->index, .outcome = outcome, .error = reason};
    sched_add(&store->sched, lane, trouble->state == TROUBLE_PARKED ? LN_PARKED : LN_RETRIES, -1);
    if (outcome == STORE_CANCELLED)
        sched_add(&store->sched, lane, LN_CANCELLED, 1);
    pg_trouble_finish(store, trouble, outcome);
    return pg_history_add(store, trouble->page, BYTES_NONE, &record);
}

void pg_trouble_queue(struct postgres_store *store, struct trouble_row *trouble) {
    struct lane *lane = sched_lane(&store->sched, trouble->lane);
    trouble->state = TROUBLE_WAITING;
    sched_add(&store->sched, lane, LN_RETRIES, 1);
    sched_retry_due(&store->sched, lane, trouble->due_utc_us);
    rows_trouble_dirty(&store->rows, trouble);
}

/* ---- leases ---- */

void pg_hold_less(struct postgres_store *store, struct lane *lane, int64_t worker, uint32_t n) {
    struct hold_row *hold = rows_hold(&store->rows, worker, lane->id);
    sched_add(&store->sched, lane, LN_LEASED, -(int64_t)n);
    if (!hold)
        return;
    hold->leased -= n < hold->leased ? n : hold->leased;
    if (hold->leased == 0) {
        sched_add(&store->sched, lane, LN_TOKENS, -(int64_t)hold->tokens);
        hold->tokens = 0;
    }
    rows_hold_dirty(&store->rows, hold);
}

static int damaged(struct postgres_store *store, const struct lease_row *lease, struct err *err) {
    return pg_corrupt(store, err, "what lease %lld is on is missing", (long long)lease->id);
}

/* One run of the lease goes back; it does not run again when it was asked to end. */
static int give_back_retry(struct postgres_store *store, struct lease_row *lease, struct bytes reason,
                           struct err *err) {
    struct trouble_row *trouble = rows_trouble(&store->rows, lease->page, (uint32_t)lease->retry);
    if (!trouble)
        return damaged(store, lease, err);
    pg_trouble_queue(store, trouble);
    bool asked = bits_get(&lease->asked, (uint32_t)lease->retry);
    return asked ? pg_cancel_trouble(store, trouble, STORE_CANCELLED, reason) : 0;
}

int pg_give_back(struct postgres_store *store, struct lease_row *lease, uint32_t index, struct err *err) {
    if (lease->retry >= 0)
        return give_back_retry(store, lease, ASKED_REASON, err);
    struct page_row *page = rows_page(&store->rows, lease->page);
    if (!page)
        return damaged(store, lease, err);
    uint32_t before = page->n_queued;
    bits_set(&page->queued, index);
    page->n_queued++;
    pg_page_changed(store, page, before);
    return bits_get(&lease->asked, index) ? pg_cancel_queued(store, page, index, ASKED_REASON) : 0;
}

static int take_back_pages(struct postgres_store *store, struct lease_row *lease, struct err *err) {
    struct page_row *page = rows_page(&store->rows, lease->page);
    if (!page)
        return damaged(store, lease, err);
    uint32_t before = page->n_queued;
    for (int i = 0; i < PAGE_WORDS; i++)
        page->queued.w[i] |= lease->bits.w[i];
    page->n_queued += lease->n;
    pg_page_changed(store, page, before);
    int r = 0;
    for (uint32_t i = 0; i < page->n && r == 0; i++)
        if (bits_get(&lease->bits, i) && bits_get(&lease->asked, i))
            r = pg_cancel_queued(store, page, i, LOST_REASON);
    for (uint32_t i = 0; i < page->n && r == 0 && store->rows.kept.count; i++)
        if (bits_get(&lease->bits, i))
            r = pg_kept_requeue(store, page, i);
    return r;
}

static int take_back(struct postgres_store *store, struct lease_row *lease, struct err *err) {
    struct lane *lane = sched_lane(&store->sched, lease->lane);
    int r = lease->retry >= 0 ? give_back_retry(store, lease, LOST_REASON, err) : take_back_pages(store, lease, err);
    pg_hold_less(store, lane, lease->worker, lease->n);
    lease->n = 0;
    lease->bits = (struct bits){0};
    lease->gone = true;
    rows_lease_dirty(&store->rows, lease);
    return r;
}

int pg_expire(struct postgres_store *store, const int64_t *workers, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        args_int(pg_want(store, SQL_LEASES_OF, pg_absorb_leases, NULL), workers[i]);
        args_int(pg_want(store, SQL_LEASES_OF_PAGES, pg_absorb_pages, NULL), workers[i]);
        args_int(pg_want(store, SQL_LEASES_OF_TROUBLES, pg_absorb_troubles, NULL), workers[i]);
        args_int(pg_want(store, SQL_KEPT_OF, pg_absorb_kept, NULL), workers[i]);
        pg_want_holds(store, workers[i]);
    }
    int r = pg_load(store, err);
    struct bytes key;
    void *row;
    for (size_t at = 0; r == 0 && map_next(&store->rows.leases, &at, &key, &row);) {
        struct lease_row *lease = row;
        bool theirs = false;
        for (size_t i = 0; i < n && !theirs; i++)
            theirs = lease->worker == workers[i] && !lease->gone;
        if (theirs)
            r = take_back(store, lease, err);
    }
    struct args *args = r == 0 ? pg_write(store) : NULL;
    if (!args)
        return r < 0 ? r : -ENOMEM;
    args_ints(args, workers, n);
    wire_send(&store->wire, SQL_WORKER_DROP, args, NULL);
    store->changed = true;
    return 0;
}
