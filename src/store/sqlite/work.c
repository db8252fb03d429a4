/* work.c - pages and runs in trouble: where they wait, and what of them is not in the file yet. */
#include "mem.h"
#include "sqlite_store.h"

/* ---- order ---- */

static bool page_before(struct heap_link *a, struct heap_link *b) {
    return LIST_ENTRY(a, struct work, link)->page < LIST_ENTRY(b, struct work, link)->page;
}

static bool due_before(struct heap_link *a, struct heap_link *b) {
    const struct work *x = LIST_ENTRY(a, struct work, link), *y = LIST_ENTRY(b, struct work, link);
    if (x->due_utc_us != y->due_utc_us)
        return x->due_utc_us < y->due_utc_us;
    return x->page != y->page ? x->page < y->page : x->index < y->index;
}

struct heap work_heap_pages(void) {
    return (struct heap){.before = page_before};
}

struct heap work_heap_retries(void) {
    return (struct heap){.before = due_before};
}

struct heap work_heap_due(void) {
    return (struct heap){.before = due_before};
}

/* ---- pages and retries ---- */

uint32_t page_words(const struct page *page) {
    return ((uint32_t)page->n + 63) / 64;
}

uint64_t *page_live_bits(struct page *page) {
    return page->bits;
}

uint64_t *page_queued_bits(struct page *page) {
    return page->bits + page_words(page);
}

struct page *page_new(struct sqlite_store *store, struct lane *lane, int64_t id, uint32_t n,
                      int64_t not_before_utc_us) {
    uint32_t words = (n + 63) / 64;
    struct page *page = mem_zalloc(sizeof *page + 2 * words * sizeof page->bits[0]);
    if (!page)
        return NULL;
    page->work = (struct work){.lane = lane, .page = id, .due_utc_us = not_before_utc_us};
    page->n = page->live = page->queued = (uint16_t)n;
    for (uint32_t i = 0; i < n; i++) {
        bit_set(page_live_bits(page), i);
        bit_set(page_queued_bits(page), i);
    }
    list_push_back(&store->pages, &page->work.all);
    return page;
}

void page_free(struct sqlite_store *store, struct page *page) {
    list_remove(&page->work.all);
    mem_free(page);
}

struct retry *retry_new(struct sqlite_store *store, struct lane *lane, int64_t page, uint32_t index,
                        int64_t due_utc_us) {
    struct retry *retry = mem_zalloc(sizeof *retry);
    if (!retry)
        return NULL;
    retry->work = (struct work){.lane = lane, .page = page, .index = index, .due_utc_us = due_utc_us, .retry = true};
    list_push_back(&store->retries, &retry->work.all);
    return retry;
}

void retry_free(struct sqlite_store *store, struct retry *retry) {
    list_remove(&retry->work.all);
    mem_free(retry);
}

/* ---- queues ---- */

static struct heap *lane_heap(struct work *work) {
    return work->retry ? &work->lane->retries : &work->lane->pages;
}

void work_queue(struct sqlite_store *store, struct work *work, int64_t now_utc_us) {
    if (work->due_utc_us > now_utc_us) {
        heap_push(&store->due, &work->link);
        work->place = WORK_DUE;
        if (work->retry)
            work->lane->waiting++;
        return;
    }
    heap_push(lane_heap(work), &work->link);
    work->place = WORK_QUEUED;
    lane_work_changed(work->lane);
}

void work_unqueue(struct sqlite_store *store, struct work *work) {
    if (work->place == WORK_DUE) {
        heap_remove(&store->due, &work->link);
        if (work->retry)
            work->lane->waiting--;
    } else if (work->place == WORK_QUEUED) {
        heap_remove(lane_heap(work), &work->link);
        lane_work_changed(work->lane);
    }
    work->place = WORK_OUT;
}

void work_promote(struct sqlite_store *store, int64_t now_utc_us) {
    for (struct heap_link *top; (top = heap_top(&store->due));) {
        struct work *work = LIST_ENTRY(top, struct work, link);
        if (work->due_utc_us > now_utc_us)
            return;
        work_unqueue(store, work);
        work_queue(store, work, now_utc_us);
    }
}

/* ---- child keys ---- */

struct hash128 work_fingerprint(const struct workflow *workflow, struct bytes child_key) {
    return hash128(&workflow->hash_key, child_key);
}

int work_forget_key(struct sqlite_store *store, const struct lane *lane, struct bytes child_key, struct err *err) {
    if (child_key.n && !fingerprints_remove(&store->live, work_fingerprint(lane->workflow, child_key)))
        return db_corrupt(&store->db, err, "a child key of lane %lld is not known as live", (long long)lane->id);
    return 0;
}

/* ---- writing ---- */

void work_page_dirty(struct sqlite_store *store, struct page *page) {
    if (page->dirty)
        return;
    page->dirty = true;
    page->next_dirty = store->dirty_pages;
    store->dirty_pages = page;
}

void work_lane_dirty(struct sqlite_store *store, struct lane *lane) {
    if (lane->dirty)
        return;
    lane->dirty = true;
    lane->next_dirty = store->dirty_lanes;
    store->dirty_lanes = lane;
}

static int write_page(struct sqlite_store *store, struct page *page, struct err *err) {
    if (page->live > 0) {
        struct db_use put = db_use(&store->db, DB_LIVE_PUT);
        db_int(&put, 1, page->work.page);
        db_blob(&put, 2, bytes_of(page_live_bits(page), page_words(page) * sizeof(uint64_t)));
        page->has_live = true;
        return db_run(&put, "write what is left of a page", err);
    }
    if (page->has_live) {
        struct db_use drop = db_use(&store->db, DB_LIVE_DROP);
        db_int(&drop, 1, page->work.page);
        int r = db_run(&drop, "drop a finished page", err);
        if (r < 0)
            return r;
    }
    struct db_use drop = db_use(&store->db, DB_PAGE_DROP);
    db_int(&drop, 1, page->work.page);
    return db_run(&drop, "drop a finished page", err);
}

int work_flush(struct sqlite_store *store, struct err *err) {
    for (struct page *page; (page = store->dirty_pages);) {
        int r = write_page(store, page, err);
        if (r < 0)
            return r;
        store->dirty_pages = page->next_dirty;
        page->dirty = false;
        if (page->live == 0)
            page_free(store, page);
    }
    for (struct lane *lane; (lane = store->dirty_lanes);) {
        struct db_use put = db_use(&store->db, DB_LANE_NUMBERS);
        db_int(&put, 1, lane->id);
        db_int(&put, 2, (int64_t)lane->done);
        db_int(&put, 3, (int64_t)lane->failed);
        db_int(&put, 4, (int64_t)lane->cancelled);
        int r = db_run(&put, "write the numbers of a lane", err);
        if (r < 0)
            return r;
        store->dirty_lanes = lane->next_dirty;
        lane->dirty = false;
    }
    if (store->next_page != store->written_next_page) {
        struct db_use put = db_use(&store->db, DB_STATE_PUT);
        db_int(&put, 1, DB_STATE_NEXT_PAGE);
        db_int(&put, 2, store->next_page);
        int r = db_run(&put, "write the next page's number", err);
        if (r < 0)
            return r;
        store->written_next_page = store->next_page;
    }
    return 0;
}
