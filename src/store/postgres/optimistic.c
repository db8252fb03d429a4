/* optimistic.c - a batch of somebody who writes alone: decided from memory, sent as a whole.
 *
 * While nobody else writes, all that a batch has to read is what the batch before it left: so its rows are kept
 * (pg_keep_known), and what the server was asked about times. The next batch takes them up, takes for granted that
 * there was no other batch, and sends everything together, first of all a lock that fails unless that is true
 * (SQL_LOCK_SAME). If it fails, or as soon as something has to be read after all, it is as any other batch. */
#include "postgres_store.h"

#define LANES_MOST 1000 /* they are read anew when it fails */
#define ROWS_MOST 256   /* for so few, keeping them costs less than reading them */

static bool may_begin(const struct postgres_store *store) {
    const struct known *known = &store->known;
    return store->repeats && !store->locked && !store->stale && store->others == 0 && wire_connected(&store->wire) &&
           !store->wire.pooled && known->batch > 0 && known->batch == store->synced &&
           known->batch == store->meta.batch && store->sched.n_lanes <= LANES_MOST && store->rows.pages.count == 0 &&
           store->rows.leases.count == 0 && store->rows.holds.count == 0 && store->rows.holds_known.count == 0;
}

void pg_begin_optimistic(struct postgres_store *store) {
    if (!may_begin(store))
        return;
    rows_take(&store->rows, &store->known.rows);
    pg_set_now(store, pg_now(store));
    store->locked_next_page = store->meta.next_page;
    store->sched.woke = false;
    store->locked = store->optimistic = true;
}

void pg_send_lock_same(struct postgres_store *store, struct args *args, PGresult **ret_answer) {
    pg_args_now(store, args);
    args_int(args, store->meta.batch);
    args_int(args, SCHEMA_VERSION);
    wire_send(&store->wire, SQL_LOCK_SAME, args, ret_answer);
}

void pg_keep_known(struct postgres_store *store) {
    struct known *known = &store->known;
    rows_clear(&known->rows);
    known->batch = 0;
    if (known->look_batch == store->meta.batch - 1)
        known->look_batch++;
    const struct rows *rows = &store->rows;
    if (!store->repeats || rows->pages.count + rows->leases.count + rows->holds.count > ROWS_MOST)
        return;
    if (rows_keep(&known->rows, &store->rows) == 0)
        known->batch = store->meta.batch;
}

void pg_forget_known(struct postgres_store *store) {
    rows_clear(&store->known.rows);
    store->known.batch = store->known.look_batch = 0;
}

/* ---- times ---- */

void pg_look_at_rows(const struct postgres_store *store, struct look *look) {
    for (const struct page_row *page = store->rows.dirty_pages; page; page = page->next_dirty) {
        if (page->place == PAGE_DELAYED)
            look->delayed_due = pg_earlier(look->delayed_due, page->not_before_utc_us);
        look->start_due = pg_earlier(look->start_due, page->start_by_utc_us);
    }
    for (const struct trouble_row *run = store->rows.dirty_troubles; run; run = run->next_dirty)
        if (run->state == TROUBLE_WAITING && run->due_utc_us > store->now_utc_us)
            look->retry_due = pg_earlier(look->retry_due, run->due_utc_us);
}

void pg_look_known(struct postgres_store *store, const struct look *look) {
    store->known.look = *look;
    store->known.look_batch = store->meta.batch;
}

static bool is_ahead(int64_t due_utc_us, int64_t now_utc_us) {
    return due_utc_us == 0 || due_utc_us > now_utc_us;
}

bool pg_knows_look(const struct postgres_store *store, int64_t worker, struct look *ret_look) {
    const struct look *look = &store->known.look;
    int64_t now = pg_now(store);
    if (store->known.look_batch == 0 || store->known.look_batch != store->meta.batch || look->worker != worker ||
        look->own_expires == 0 || !is_ahead(look->own_expires, now) || !is_ahead(look->expires, now) ||
        !is_ahead(look->delayed_due, now) || !is_ahead(look->start_due, now) || !is_ahead(look->retry_due, now))
        return false;
    *ret_look = *look;
    return true;
}
