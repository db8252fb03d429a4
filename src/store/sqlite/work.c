/* work.c - pages and runs in trouble: where they wait, and what of them is not in the file yet. */
#include "mem.h"
#include "sqlite_store.h"

/* ---- order ---- */

static bool page_before(struct heap_link *a, struct heap_link *b) {
    const struct work *x = LIST_ENTRY(a, struct work, link), *y = LIST_ENTRY(b, struct work, link);
    return x->priority != y->priority ? x->priority > y->priority : x->page < y->page;
}

static bool deadline_before(struct heap_link *a, struct heap_link *b) {
    return LIST_ENTRY(a, struct deadline, link)->start_by_utc_us <
           LIST_ENTRY(b, struct deadline, link)->start_by_utc_us;
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

struct heap work_heap_deadlines(void) {
    return (struct heap){.before = deadline_before};
}

/* ---- finding by id ---- */

#define KNOWN_MIN 64

/* Pages have the index that no run has. */
static uint32_t index_of(const struct work *work) {
    return work->retry ? work->index : UINT32_MAX;
}

static size_t place_of(size_t cap, int64_t page, uint32_t index) {
    uint64_t mixed = ((uint64_t)page ^ (uint64_t)index << 40) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 20) & (cap - 1);
}

static int know(struct sqlite_store *store, struct work *work) {
    if (store->known_n >= store->known_cap) {
        size_t cap = store->known_cap ? store->known_cap * 2 : KNOWN_MIN;
        struct work **bigger = mem_calloc(cap, sizeof *bigger);
        if (!bigger)
            return -ENOMEM;
        for (size_t i = 0; i < store->known_cap; i++)
            for (struct work *one = store->known[i], *next; one; one = next) {
                next = one->next_known;
                struct work **place = &bigger[place_of(cap, one->page, index_of(one))];
                one->next_known = *place;
                *place = one;
            }
        mem_free(store->known);
        store->known = bigger;
        store->known_cap = cap;
    }
    struct work **place = &store->known[place_of(store->known_cap, work->page, index_of(work))];
    work->next_known = *place;
    *place = work;
    store->known_n++;
    return 0;
}

static void unknow(struct sqlite_store *store, struct work *work) {
    struct work **at = &store->known[place_of(store->known_cap, work->page, index_of(work))];
    while (*at != work)
        at = &(*at)->next_known;
    *at = work->next_known;
    store->known_n--;
}

static struct work *find(const struct sqlite_store *store, int64_t page, uint32_t index) {
    if (!store->known_cap)
        return NULL;
    struct work *work = store->known[place_of(store->known_cap, page, index)];
    while (work && (work->page != page || index_of(work) != index))
        work = work->next_known;
    return work;
}

struct page *page_find(const struct sqlite_store *store, int64_t page) {
    struct work *work = find(store, page, UINT32_MAX);
    return work ? LIST_ENTRY(work, struct page, work) : NULL;
}

struct retry *retry_find(const struct sqlite_store *store, int64_t page, uint32_t index) {
    struct work *work = find(store, page, index);
    return work ? LIST_ENTRY(work, struct retry, work) : NULL;
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

static struct deadline *deadline_new(struct page *page, uint32_t words, int64_t start_by_utc_us) {
    struct deadline *deadline = mem_zalloc(sizeof *deadline + words * sizeof deadline->bits[0]);
    if (deadline) {
        deadline->page = page;
        deadline->start_by_utc_us = start_by_utc_us;
    }
    return deadline;
}

struct page *page_new(struct sqlite_store *store, struct lane *lane, int64_t id, uint32_t n, int64_t not_before_utc_us,
                      int64_t start_by_utc_us, unsigned priority) {
    uint32_t words = (n + 63) / 64;
    struct page *page = mem_zalloc(sizeof *page + 2 * words * sizeof page->bits[0]);
    if (!page)
        return NULL;
    page->work =
        (struct work){.lane = lane, .page = id, .due_utc_us = not_before_utc_us, .priority = (uint8_t)priority};
    if (start_by_utc_us)
        page->deadline = deadline_new(page, words, start_by_utc_us);
    if ((start_by_utc_us && !page->deadline) || know(store, &page->work) < 0) {
        mem_free(page->deadline);
        mem_free(page);
        return NULL;
    }
    page->n = page->live = page->queued = (uint16_t)n;
    for (uint32_t i = 0; i < n; i++) {
        bit_set(page_live_bits(page), i);
        bit_set(page_queued_bits(page), i);
    }
    list_push_back(&lane->all_pages, &page->work.all);
    page_deadline_changed(store, page);
    return page;
}

void page_free(struct sqlite_store *store, struct page *page) {
    unknow(store, &page->work);
    list_remove(&page->work.all);
    if (page->deadline && page->deadline->waits)
        heap_remove(&store->deadlines, &page->deadline->link);
    mem_free(page->deadline);
    mem_free(page);
}

void page_deadline_changed(struct sqlite_store *store, struct page *page) {
    struct deadline *deadline = page->deadline;
    if (!deadline)
        return;
    bool waits = false;
    for (uint32_t i = 0; i < page_words(page) && !waits; i++)
        waits = page_live_bits(page)[i] & ~deadline->bits[i];
    if (waits == deadline->waits)
        return;
    if (waits)
        heap_push(&store->deadlines, &deadline->link);
    else
        heap_remove(&store->deadlines, &deadline->link);
    deadline->waits = waits;
}

struct retry *retry_new(struct sqlite_store *store, struct lane *lane, int64_t page, uint32_t index,
                        int64_t due_utc_us) {
    struct retry *retry = mem_zalloc(sizeof *retry);
    if (!retry)
        return NULL;
    retry->work =
        (struct work){.lane = lane, .page = page, .index = (uint16_t)index, .due_utc_us = due_utc_us, .retry = true};
    if (know(store, &retry->work) < 0) {
        mem_free(retry);
        return NULL;
    }
    list_push_back(&lane->all_retries, &retry->work.all);
    return retry;
}

void retry_free(struct sqlite_store *store, struct retry *retry) {
    unknow(store, &retry->work);
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

int work_take_key(struct sqlite_store *store, struct hash128 hash, uint64_t place) {
    void *at;
    int r = fingerprints_add(&store->live, hash, &at);
    if (r == 0)
        *(uint64_t *)at = place;
    return r;
}

int work_forget_key(struct sqlite_store *store, const struct lane *lane, struct bytes child_key, struct err *err) {
    if (child_key.n && !fingerprints_remove(&store->live, work_fingerprint(lane->workflow, child_key)))
        return db_corrupt(&store->db, err, "a child key of lane %lld is not known as live", (long long)lane->id);
    return 0;
}

int work_open_page(struct sqlite_store *store, int64_t page, struct db_use *use, struct packing_reader *reader,
                   struct err *err) {
    *use = db_use(&store->db, DB_PAGE_READ);
    db_int(use, 1, page);
    int r = db_row(use, "read a page", err);
    if (r == 0)
        return db_corrupt(&store->db, err, "page %lld is missing", (long long)page);
    if (r < 0)
        return r;
    struct bytes packed;
    r = db_get_blob(use, 2, &packed, err);
    if (r == 0 && packing_reader_init(reader, packed) < 0)
        r = db_corrupt(&store->db, err, "page %lld is damaged", (long long)page);
    if (r < 0)
        db_done(use);
    return r;
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

static int write_live(struct sqlite_store *store, struct page *page, struct err *err) {
    size_t size = page_words(page) * sizeof(uint64_t);
    uint64_t bits[2 * STORE_PAGE_MAX / 64 + 2];
    memcpy(bits, page_live_bits(page), size);
    if (page->deadline)
        memcpy(bits + page_words(page), page->deadline->bits, size);
    struct db_use put = db_use(&store->db, DB_LIVE_PUT);
    db_int(&put, 1, page->work.page);
    db_blob(&put, 2, bytes_of(bits, page->deadline ? 2 * size : size));
    return db_run(&put, "write what is left of a page", err);
}

static int drop_with(struct sqlite_store *store, enum db_statement which, int64_t page, struct err *err) {
    struct db_use drop = db_use(&store->db, which);
    db_int(&drop, 1, page);
    return db_run(&drop, "drop a finished page", err);
}

static int write_page(struct sqlite_store *store, struct page *page, struct err *err) {
    if (page->live > 0)
        return write_live(store, page, err);
    bool keep = false;
    int r = drop_with(store, DB_LIVE_DROP, page->work.page, err);
    if (r == 0)
        r = history_page_ended(store, page, &keep, err);
    if (r == 0 && !keep)
        r = drop_with(store, DB_PAGE_DROP, page->work.page, err);
    return r;
}

static int write_lane(struct sqlite_store *store, const struct lane *lane, struct err *err) {
    struct db_use put = db_use(&store->db, DB_LANE_NUMBERS);
    db_int(&put, 1, lane->id);
    db_int(&put, 2, (int64_t)lane->done);
    db_int(&put, 3, (int64_t)lane->failed);
    db_int(&put, 4, (int64_t)lane->cancelled);
    db_int(&put, 5, lane->idle_utc_us);
    db_int(&put, 6, lane->last_ended);
    return db_run(&put, "write the numbers of a lane", err);
}

static int write_rate(struct sqlite_store *store, const struct rate *rate, struct err *err) {
    struct db_use put = db_use(&store->db, rate->used ? DB_RATE_PUT : DB_RATE_DROP);
    db_int(&put, 1, rate->period_us);
    db_blob(&put, 2, rate_key(rate));
    if (rate->used) {
        db_int(&put, 3, rate->window_utc_us);
        db_int(&put, 4, (int64_t)rate->used);
    }
    return db_run(&put, "write the count of a rate", err);
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
    idle_note(store);
    for (struct lane *lane; (lane = store->dirty_lanes);) {
        int r = write_lane(store, lane, err);
        if (r < 0)
            return r;
        store->dirty_lanes = lane->next_dirty;
        lane->dirty = false;
    }
    for (struct rate *rate; (rate = store->lanes.rates.dirty);) {
        int r = write_rate(store, rate, err);
        if (r < 0)
            return r;
        store->lanes.rates.dirty = rate->next_dirty;
        rate->dirty = false;
        rates_drop_unused(&store->lanes.rates, rate);
    }
    if (store->next_page > store->written_next_page) {
        struct db_use put = db_use(&store->db, DB_STATE_PUT);
        db_int(&put, 1, DB_STATE_NEXT_PAGE);
        db_int(&put, 2, store->next_page);
        int r = db_run(&put, "write the next page's number", err);
        if (r < 0)
            return r;
        store->written_next_page = store->next_page;
    }
    int r = history_tidy(store, err);
    if (r == 0)
        r = idle_tidy(store, err);
    return r < 0 ? r : history_flush(store, err);
}
