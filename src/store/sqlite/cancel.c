/* cancel.c - ends runs that no worker ends, and asks workers to end those they have.
 *
 * Who calls writes the history that is noted here (history_write) before the reasons are gone. */
#include "cleanup.h"
#include "sqlite_store.h"
#include "text.h"

/* How many runs one claim cancels for having waited too long, about, before it leaves the rest to the next. */
#define LATE_AT_ONCE (10 * STORE_PAGE_MAX)

static const struct bytes driven_out_reason = BYTES("driven out by a newer run");
static const struct bytes asked_reason = BYTES("cancelled; its worker was lost before it had ended");

/* ---- runs of a page ---- */

static int end_items(struct sqlite_store *store, struct page *page, const uint64_t *which, uint32_t n,
                     struct bytes reason, struct packing_reader *reader, struct err *err) {
    struct packing_record record = {.outcome = STORE_CANCELLED, .error = reason};
    for (uint32_t i = 0; n > 0; i++) {
        struct store_item item;
        if (i >= page->n || packing_next(reader, &item) < 0)
            return db_corrupt(&store->db, err, "page %lld is damaged", (long long)page->work.page);
        if (!bit_get(which, i))
            continue;
        record.index = i;
        int r = work_forget_key(store, page->work.lane, item.child_key, err);
        if (r == 0)
            r = history_note(store, page->work.page, &record);
        if (r < 0)
            return r;
        n--;
    }
    return 0;
}

int cancel_queued(struct sqlite_store *store, struct page *page, const uint64_t *which, struct bytes reason,
                  struct err *err) {
    struct lane *lane = page->work.lane;
    uint32_t n = 0;
    for (uint32_t i = 0; i < page_words(page); i++)
        n += (uint32_t)__builtin_popcountll(which[i]);
    struct db_use get;
    struct packing_reader reader;
    int r = batch_need(store, err);
    if (r == 0)
        r = work_open_page(store, page->work.page, &get, &reader, err);
    if (r < 0)
        return r;
    r = end_items(store, page, which, n, reason, &reader, err);
    db_done(&get);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < page_words(page); i++) {
        uint64_t gone = which[i];
        page_queued_bits(page)[i] &= ~gone;
        page_live_bits(page)[i] &= ~gone;
    }
    page->queued = (uint16_t)(page->queued - n);
    page->live = (uint16_t)(page->live - n);
    lane_count(lane, LANE_QUEUED, -(int64_t)n);
    lane->cancelled += n;
    work_page_dirty(store, page);
    work_lane_dirty(store, lane);
    page_deadline_changed(store, page);
    if (page->queued == 0)
        work_unqueue(store, &page->work);
    return 0;
}

int cancel_queued_one(struct sqlite_store *store, struct page *page, uint32_t index, struct bytes reason,
                      struct err *err) {
    uint64_t which[STORE_PAGE_MAX / 64 + 1] = {0};
    bit_set(which, index);
    return cancel_queued(store, page, which, reason, err);
}

/* ---- runs in trouble ---- */

static int copy_row(struct sqlite_store *store, struct db_use *get, struct packing_own *own, struct err *err) {
    *own = (struct packing_own){
        .lane = db_get_int(get, 8),
        .created_utc_us = db_get_int(get, 6),
        .parent_page = db_get_int(get, 12),
        .parent_index = (uint32_t)db_get_int(get, 13),
        .priority = (uint32_t)db_get_int(get, 11),
    };
    struct bytes *const into[] = {&own->child_key, &own->generation, &own->input, &own->metadata};
    int r = 0;
    for (int i = 0; i < 4 && r == 0; i++) {
        struct bytes value;
        r = db_get_blob(get, i + 1, &value, err);
        if (r == 0)
            r = history_copy(store, value, into[i]);
    }
    return r;
}

static int drop_row(struct sqlite_store *store, int64_t page, uint32_t index, struct err *err) {
    struct db_use drop = db_use(&store->db, DB_RUN_DROP);
    db_int(&drop, 1, page);
    db_int(&drop, 2, index);
    return db_run(&drop, "drop a run in trouble", err);
}

int cancel_drop_row(struct sqlite_store *store, int64_t page, const struct packing_record *record,
                    struct bytes *ret_key, struct err *err) {
    if (store->history_us == 0 && !ret_key)
        return drop_row(store, page, record->index, err);
    struct bytes place;
    struct packing_own *own;
    int r = history_copy(store, bytes_of(&(struct packing_own){0}, sizeof *own), &place);
    if (r < 0)
        return r;
    own = (struct packing_own *)(uintptr_t)place.p; /* in the arena, aligned for any type */
    struct db_use get = db_use(&store->db, DB_RUN_READ);
    db_int(&get, 1, page);
    db_int(&get, 2, record->index);
    r = db_row(&get, "read a run in trouble", err);
    if (r == 0)
        return db_corrupt(&store->db, err, "run %lld:%u is missing", (long long)page, record->index);
    if (r < 0)
        return r;
    r = copy_row(store, &get, own, err);
    db_done(&get);
    if (r == 0)
        r = drop_row(store, page, record->index, err);
    struct packing_record noted = *record;
    noted.own = own;
    if (r == 0)
        r = history_note(store, page, &noted);
    if (r == 0 && ret_key)
        *ret_key = own->child_key;
    return r;
}

static int end_trouble(struct sqlite_store *store, struct lane *lane, int64_t page, uint32_t index,
                       enum store_outcome outcome, struct bytes reason, struct bytes *ret_key, struct err *err) {
    struct packing_record record = {.index = index, .outcome = outcome, .error = reason};
    int r = batch_need(store, err);
    if (r == 0)
        r = cancel_drop_row(store, page, &record, ret_key, err);
    if (r == 0)
        r = work_forget_key(store, lane, *ret_key, err);
    if (r == 0 && outcome == STORE_CANCELLED) {
        lane->cancelled++;
        work_lane_dirty(store, lane);
    }
    return r;
}

int cancel_retry(struct sqlite_store *store, struct retry *retry, enum store_outcome outcome, struct bytes reason,
                 struct err *err) {
    struct lane *lane = retry->work.lane;
    struct bytes key;
    int r = end_trouble(store, lane, retry->work.page, retry->work.index, outcome, reason, &key, err);
    if (r < 0)
        return r;
    work_unqueue(store, &retry->work);
    lane_count(lane, LANE_RETRIES, -1);
    retry_free(store, retry);
    return 0;
}

int cancel_parked(struct sqlite_store *store, struct lane *lane, int64_t page, uint32_t index,
                  enum store_outcome outcome, struct bytes reason, struct err *err) {
    struct bytes key;
    int r = end_trouble(store, lane, page, index, outcome, reason, &key, err);
    if (r < 0)
        return r;
    parked_unremember(store, lane, key);
    lane_count(lane, LANE_PARKED, -1);
    return 0;
}

/* ---- asking ---- */

struct ask_id {
    int64_t page;
    int64_t index;
};

static struct bytes id_bytes(const struct ask_id *id) {
    return bytes_of(id, sizeof *id);
}

struct ask *cancel_asked(const struct sqlite_store *store, int64_t page, uint32_t index) {
    struct ask_id id = {page, index};
    return store->asks.count ? map_get(&store->asks, id_bytes(&id)) : NULL;
}

int cancel_ask(struct sqlite_store *store, struct lease *lease, uint32_t index, bool driven_out, struct err *err) {
    struct ask_id id = {lease->work->page, index};
    if (cancel_asked(store, id.page, index))
        return 0;
    struct db_use add = db_use(&store->db, DB_ASK_ADD);
    db_int(&add, 1, id.page);
    db_int(&add, 2, index);
    db_int(&add, 3, driven_out);
    int r = db_run(&add, "ask a run to end", err);
    if (r < 0)
        return r;
    struct ask *ask = mem_zalloc(sizeof *ask);
    if (!ask)
        return -ENOMEM;
    *ask = (struct ask){.page = id.page, .index = index, .lease = lease->id, .driven_out = driven_out};
    list_init(&ask->link);
    if (map_put(&store->asks, id_bytes(&id), ask) < 0) {
        mem_free(ask);
        return -ENOMEM;
    }
    list_push_back(&lease->hold->worker->asks, &ask->link);
    lane_asked(lease->hold->lane, 1);
    return 0;
}

int cancel_unask(struct sqlite_store *store, struct lane *lane, int64_t page, uint32_t index, bool *ret_asked,
                 struct err *err) {
    struct ask_id id = {page, index};
    struct ask *ask = store->asks.count ? map_remove(&store->asks, id_bytes(&id)) : NULL;
    *ret_asked = ask;
    if (!ask)
        return 0;
    list_remove(&ask->link);
    mem_free(ask);
    lane_asked(lane, -1);
    struct db_use drop = db_use(&store->db, DB_ASK_DROP);
    db_int(&drop, 1, page);
    db_int(&drop, 2, index);
    return db_run(&drop, "forget that a run was asked to end", err);
}

int cancel_asked_one(struct sqlite_store *store, int64_t page, uint32_t index, bool driven_out, struct err *err) {
    struct page *in = page_find(store, page);
    struct retry *retry = retry_find(store, page, index);
    struct bytes reason = driven_out ? driven_out_reason : asked_reason;
    if (in && index < in->n && bit_get(page_queued_bits(in), index))
        return cancel_queued_one(store, in, index, reason, err);
    if (retry && !retry->leased)
        return cancel_retry(store, retry, STORE_CANCELLED, reason, err);
    return db_corrupt(&store->db, err, "run %lld:%u was asked to end, and is not there", (long long)page, index);
}

int cancel_left_over(struct sqlite_store *store, struct err *err) {
    for (;;) {
        struct db_use first = db_use(&store->db, DB_ASK_EACH);
        int r = db_row(&first, "read who was asked to end", err);
        if (r <= 0)
            return r < 0 ? r : history_write(store, BYTES_NONE, err);
        int64_t page = db_get_int(&first, 0), index = db_get_int(&first, 1);
        bool driven_out = db_get_int(&first, 2);
        db_done(&first);
        if (index < 0 || index >= STORE_PAGE_MAX)
            return db_corrupt(&store->db, err, "who was asked to end is damaged");
        r = cancel_asked_one(store, page, (uint32_t)index, driven_out, err);
        struct db_use drop = db_use(&store->db, DB_ASK_DROP);
        db_int(&drop, 1, page);
        db_int(&drop, 2, index);
        if (r == 0)
            r = db_run(&drop, "forget that a run was asked to end", err);
        if (r < 0)
            return r;
    }
}

void cancel_free(struct sqlite_store *store) {
    struct bytes key;
    void *ask;
    for (size_t at = 0; map_next(&store->asks, &at, &key, &ask);)
        mem_free(ask);
    map_free(&store->asks);
}

/* ---- not started in time ---- */

int cancel_late_page(struct sqlite_store *store, struct page *page, uint32_t *cancelled, struct err *err) {
    uint64_t which[STORE_PAGE_MAX / 64 + 1] = {0};
    uint32_t n = page->queued;
    for (uint32_t i = 0; i < page_words(page); i++)
        which[i] = page_queued_bits(page)[i] & ~page->deadline->bits[i];
    _cleanup_buf_ struct buf text = {0};
    struct bytes reason;
    int r = buf_add_str(&text, "not started by ");
    if (r == 0)
        r = text_add_iso8601(&text, page->deadline->start_by_utc_us, true);
    if (r == 0)
        r = history_copy(store, buf_bytes(&text), &reason);
    if (r == 0)
        r = cancel_queued(store, page, which, reason, err);
    *cancelled += n - page->queued;
    return r;
}

int cancel_late(struct sqlite_store *store, int64_t now_utc_us, uint32_t *cancelled, struct err *err) {
    uint32_t before = *cancelled;
    for (struct heap_link *top; (top = heap_top(&store->deadlines)) && *cancelled - before < LATE_AT_ONCE;) {
        struct deadline *deadline = LIST_ENTRY(top, struct deadline, link);
        if (deadline->start_by_utc_us > now_utc_us)
            return 0;
        int r = cancel_late_page(store, deadline->page, cancelled, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- CANCEL_IN_PROGRESS ---- */

struct one {
    int64_t page;
    uint32_t index;
    struct work *work;
};

static int older_first(const void *a, const void *b) {
    const struct one *x = a, *y = b;
    if (x->page != y->page)
        return x->page < y->page ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* All live runs with the key that were not asked to end; there is room for as many as the key counts. */
static size_t collect(struct sqlite_store *store, const struct rule_key *key, struct one *ones) {
    size_t n = 0;
    LIST_EACH (link, &key->lanes) {
        const struct lane *lane = LIST_ENTRY(link, struct lane_key, of_key)->lane;
        LIST_EACH (at, &lane->all_pages) {
            struct page *page = LIST_ENTRY(LIST_ENTRY(at, struct work, all), struct page, work);
            for (uint32_t i = 0; i < page->n; i++)
                if (bit_get(page_live_bits(page), i) && !cancel_asked(store, page->work.page, i))
                    ones[n++] = (struct one){page->work.page, i, &page->work};
        }
        LIST_EACH (at, &lane->all_retries) {
            struct work *work = LIST_ENTRY(at, struct work, all);
            if (!cancel_asked(store, work->page, work->index))
                ones[n++] = (struct one){work->page, work->index, work};
        }
    }
    qsort(ones, n, sizeof ones[0], older_first);
    return n;
}

static int drive_out_retry(struct sqlite_store *store, struct retry *retry, struct store_spawned *spawned,
                           struct err *err) {
    if (retry->leased) {
        spawned->cancels = true;
        return cancel_ask(store, leases_of_run(&retry->work, retry->work.index), retry->work.index, true, err);
    }
    spawned->driven_out++;
    return cancel_retry(store, retry, STORE_CANCELLED, driven_out_reason, err);
}

/* The first of them, as far as they are of one page's; returns how many, at least one. */
static int drive_out_some(struct sqlite_store *store, const struct one *ones, size_t n, struct store_spawned *spawned,
                          struct err *err) {
    if (ones[0].work->retry) {
        int r = drive_out_retry(store, LIST_ENTRY(ones[0].work, struct retry, work), spawned, err);
        return r < 0 ? r : 1;
    }
    struct page *page = LIST_ENTRY(ones[0].work, struct page, work);
    uint64_t which[STORE_PAGE_MAX / 64 + 1] = {0};
    uint32_t queued = 0;
    size_t i = 0;
    for (; i < n && ones[i].work == &page->work; i++) {
        if (bit_get(page_queued_bits(page), ones[i].index)) {
            bit_set(which, ones[i].index);
            queued++;
            continue;
        }
        spawned->cancels = true;
        int r = cancel_ask(store, leases_of_run(&page->work, ones[i].index), ones[i].index, true, err);
        if (r < 0)
            return r;
    }
    spawned->driven_out += queued;
    int r = queued ? cancel_queued(store, page, which, driven_out_reason, err) : 0;
    return r < 0 ? r : (int)i;
}

static int drive_out(struct sqlite_store *store, const struct rule_key *key, uint64_t excess, int64_t page,
                     uint32_t more, uint32_t *own, struct store_spawned *spawned, struct err *err) {
    _cleanup_free_ struct one *ones = mem_calloc((key ? key->live : 0) + 1, sizeof *ones);
    if (!ones)
        return -ENOMEM;
    size_t n = key ? collect(store, key, ones) : 0, older = 0;
    while (older < n && ones[older].page < page)
        older++;
    size_t first = older < excess ? older : (size_t)excess; /* then those that are to come, then newer ones */
    uint64_t rest = excess - first, theirs = rest < more ? rest : more;
    *own += (uint32_t)theirs;
    size_t last = (size_t)(rest - theirs);
    for (size_t i = 0; i < first + last;) {
        size_t at = i < first ? i : older + (i - first), end = i < first ? first : older + last;
        int r = drive_out_some(store, ones + at, end - at, spawned, err);
        if (r < 0)
            return r;
        i += (size_t)r;
    }
    return 0;
}

int cancel_drive_out(struct sqlite_store *store, const struct workflow *workflow, const struct bytes *keys,
                     int64_t page, uint32_t more, uint32_t *ret_own, struct store_spawned *spawned, struct err *err) {
    uint32_t own = 0;
    for (size_t i = 0; i < workflow->n_rules && workflow->drives_out; i++) {
        if (workflow->rules[i].strategy != STORE_CANCEL_IN_PROGRESS)
            continue;
        const struct rule_key *key = map_get(&workflow->keys[i], keys[i]);
        uint64_t excess = rule_key_excess(&workflow->rules[i], key, more - own);
        int r = excess ? drive_out(store, key, excess, page, more - own, &own, spawned, err) : 0;
        if (r < 0)
            return r;
    }
    *ret_own = own;
    return 0;
}
