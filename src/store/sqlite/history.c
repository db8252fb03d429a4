/* history.c - what is kept of attempts that ended: written in one row for each page and call, and tidied away, the
 * oldest first, a piece with each commit.
 *
 * A page's row stays as long as the page has such rows. A record of a run that had a row of its own carries all that is
 * to be known of it, as its page may be gone by then. */
#include "arena.h"
#include "cleanup.h"
#include "sqlite_store.h"

#define ROW_MAX ((size_t)4 << 20) /* a row is not made longer than this and one record more */
#define TIDY_MIN 32               /* rows that a commit may drop, and twice as many as it brought */

static bool keeps(const struct sqlite_store *store) {
    return store->history_us > 0;
}

/* ---- noting ---- */

int history_note(struct sqlite_store *store, int64_t page, const struct packing_record *record) {
    if (!keeps(store))
        return 0;
    if (store->n_notes == store->cap_notes) {
        size_t cap = store->cap_notes ? store->cap_notes * 2 : 64;
        struct note *bigger = mem_reallocarray(store->notes, cap, sizeof *bigger);
        if (!bigger)
            return -ENOMEM;
        store->notes = bigger;
        store->cap_notes = cap;
    }
    uint32_t order = (uint32_t)store->n_notes;
    store->notes[store->n_notes++] = (struct note){.page = page, .order = order, .record = *record};
    return 0;
}

int history_copy(struct sqlite_store *store, struct bytes data, struct bytes *ret_copy) {
    if (!store->notes_arena)
        store->notes_arena = arena_new();
    return store->notes_arena ? arena_copy(store->notes_arena, data, ret_copy) : -ENOMEM;
}

static void forget_notes(struct sqlite_store *store) {
    store->n_notes = 0;
    arena_free(store->notes_arena);
    store->notes_arena = NULL;
}

/* ---- writing ---- */

static bool is_last(enum store_outcome outcome) {
    return outcome != STORE_RETRY && outcome != STORE_PARKED;
}

static int by_page(const void *a, const void *b) {
    const struct note *x = a, *y = b;
    if (x->page != y->page)
        return x->page < y->page ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void sort_notes(struct sqlite_store *store) {
    for (size_t i = 1; i < store->n_notes; i++)
        if (store->notes[i].page < store->notes[i - 1].page) {
            qsort(store->notes, store->n_notes, sizeof store->notes[0], by_page);
            return;
        }
}

static int add_row(struct sqlite_store *store, int64_t page, uint64_t runs, bool own, struct bytes worker,
                   int64_t now_utc_us, struct bytes records, struct err *err) {
    if (store->first_ended == store->next_ended)
        store->oldest_ended_utc_us = now_utc_us;
    struct db_use add = db_use(&store->db, DB_ENDED_ADD);
    db_int(&add, 1, store->next_ended++);
    db_int(&add, 2, page);
    db_int(&add, 3, now_utc_us);
    db_int(&add, 4, (int64_t)runs);
    db_int(&add, 5, own);
    db_blob(&add, 6, worker);
    db_blob(&add, 7, records);
    store->history_bytes += records.n + worker.n + DB_ENDED_COST;
    store->history_runs += runs;
    store->ended_added++;
    return db_run(&add, "write what ended", err);
}

static int write_notes(struct sqlite_store *store, struct bytes worker, int64_t now_utc_us, struct err *err) {
    _cleanup_buf_ struct buf records = {0};
    for (size_t i = 0; i < store->n_notes;) {
        int64_t page = store->notes[i].page;
        const struct packing_record *before = NULL;
        uint64_t runs = 0;
        bool own = false;
        buf_reset(&records);
        for (; i < store->n_notes && store->notes[i].page == page && records.n < ROW_MAX; i++) {
            const struct packing_record *record = &store->notes[i].record;
            int r = packing_add_record(&records, before, record);
            if (r < 0)
                return r;
            runs += is_last(record->outcome);
            own |= record->own != NULL;
            before = record;
        }
        struct page *known = page_find(store, page);
        if (known)
            known->ended = PAGE_ENDED;
        int r = add_row(store, page, runs, own, worker, now_utc_us, buf_bytes(&records), err);
        if (r < 0)
            return r;
    }
    return 0;
}

int history_write(struct sqlite_store *store, struct bytes worker, struct err *err) {
    if (store->n_notes == 0) {
        forget_notes(store);
        return 0;
    }
    sort_notes(store);
    int r = write_notes(store, worker, clock_utc_us(store->clock), err);
    forget_notes(store);
    return r;
}

/* ---- pages ---- */

static int has_rows(struct sqlite_store *store, int64_t page, struct err *err) {
    struct db_use has = db_use(&store->db, DB_ENDED_HAS);
    db_int(&has, 1, page);
    int r = db_row(&has, "look for what ended", err);
    if (r > 0)
        db_done(&has);
    return r;
}

int history_page_ended(struct sqlite_store *store, struct page *page, bool *ret_keep, struct err *err) {
    int r = page->ended == PAGE_ENDED;
    if (page->ended == PAGE_MAYBE_ENDED && store->first_ended < store->next_ended)
        r = has_rows(store, page->work.page, err);
    if (r < 0)
        return r;
    *ret_keep = r;
    if (r)
        store->history_bytes += page->cost;
    return 0;
}

void history_page_added(struct sqlite_store *store, uint64_t cost) {
    store->history_bytes += cost;
}

/* ---- tidying ---- */

static int drop_page(struct sqlite_store *store, int64_t id, struct err *err) {
    int r = has_rows(store, id, err);
    if (r != 0)
        return r < 0 ? r : 0;
    struct page *page = page_find(store, id);
    if (page) {
        page->ended = PAGE_NONE_ENDED;
        return 0;
    }
    struct db_use drop = db_use(&store->db, DB_PAGE_DROP_PAST);
    db_int(&drop, 1, id);
    r = db_row(&drop, "drop a page of the past", err);
    if (r > 0) {
        store->history_bytes -= (uint64_t)db_get_int(&drop, 0);
        db_done(&drop);
    }
    return r < 0 ? r : 0;
}

struct ended_row {
    int64_t id, page, at_utc_us;
    uint64_t runs, cost;
};

/* 0: there is none. */
static int first_row(struct sqlite_store *store, struct ended_row *ret_row, struct err *err) {
    struct db_use first = db_use(&store->db, DB_ENDED_FIRST);
    int r = db_row(&first, "read what ended first", err);
    if (r <= 0)
        return r;
    *ret_row = (struct ended_row){.id = db_get_int(&first, 0),
                                  .page = db_get_int(&first, 1),
                                  .at_utc_us = db_get_int(&first, 2),
                                  .runs = (uint64_t)db_get_int(&first, 3),
                                  .cost = (uint64_t)db_get_int(&first, 4)};
    db_done(&first);
    return 1;
}

static bool is_due(const struct sqlite_store *store, int64_t now_utc_us) {
    if (store->first_ended == store->next_ended)
        return false;
    return store->history_bytes > (uint64_t)store->history_bytes_max || store->oldest_ended_utc_us == 0 ||
           now_utc_us - store->oldest_ended_utc_us >= store->history_us;
}

int history_tidy(struct sqlite_store *store, struct err *err) {
    int64_t now_utc_us = clock_utc_us(store->clock);
    uint64_t left = TIDY_MIN + 2 * store->ended_added;
    store->ended_added = 0;
    for (; left > 0 && is_due(store, now_utc_us); left--) {
        struct ended_row row;
        int r = first_row(store, &row, err);
        if (r < 0)
            return r;
        store->first_ended = r ? row.id : store->next_ended;
        store->oldest_ended_utc_us = r ? row.at_utc_us : 0;
        if (!is_due(store, now_utc_us))
            return 0;
        struct db_use drop = db_use(&store->db, DB_ENDED_DROP);
        db_int(&drop, 1, row.id);
        r = db_run(&drop, "drop what ended first", err);
        if (r < 0)
            return r;
        store->first_ended = row.id + 1;
        store->oldest_ended_utc_us = 0;
        store->history_bytes -= row.cost;
        store->history_runs -= row.runs;
        r = drop_page(store, row.page, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- sums ---- */

static int write_sum(struct sqlite_store *store, int name, uint64_t value, uint64_t *written, struct err *err) {
    if (value == *written)
        return 0;
    struct db_use put = db_use(&store->db, DB_STATE_PUT);
    db_int(&put, 1, name);
    db_int(&put, 2, (int64_t)value);
    int r = db_run(&put, "write the history's size", err);
    if (r == 0)
        *written = value;
    return r;
}

int history_flush(struct sqlite_store *store, struct err *err) {
    int r = write_sum(store, DB_STATE_HISTORY_BYTES, store->history_bytes, &store->written_history_bytes, err);
    if (r == 0)
        r = write_sum(store, DB_STATE_HISTORY_RUNS, store->history_runs, &store->written_history_runs, err);
    return r;
}

void history_free(struct sqlite_store *store) {
    forget_notes(store);
    mem_free(store->notes);
}
