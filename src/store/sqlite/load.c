/* load.c - derives at open what is kept in memory, from the file alone. */
#include "cleanup.h"
#include "packing.h"
#include "sqlite_store.h"

/* Each workflow hashes its child keys in its own way, so that equal keys of two workflows differ. */
static struct hash_key hash_key_of(const struct sqlite_store *store, int64_t workflow) {
    struct hash128 hash = hash128(&store->hash_key, bytes_of(&workflow, sizeof workflow));
    return (struct hash_key){hash.lo, hash.hi};
}

int load_new_workflow(struct sqlite_store *store, struct bytes name, struct workflow **ret_workflow) {
    return lanes_workflow_add(&store->lanes, name, hash_key_of(store, (int64_t)store->lanes.n_workflows + 1),
                              ret_workflow);
}

static int load_workflow(struct sqlite_store *store, struct db_use *use, struct err *err) {
    struct bytes name, packed;
    int r = db_get_blob(use, 1, &name, err);
    if (r == 0)
        r = db_get_blob(use, 2, &packed, err);
    if (r < 0)
        return r;
    struct store_rule rules[STORE_RULES_MAX];
    int n = packing_read_rules(packed, rules);
    if (n < 0 || db_get_int(use, 0) != (int64_t)store->lanes.n_workflows + 1)
        return db_corrupt(&store->db, err, "workflow %lld is damaged", (long long)db_get_int(use, 0));
    struct workflow *workflow;
    r = load_new_workflow(store, name, &workflow);
    if (r == 0) {
        workflow->paused = db_get_int(use, 3);
        workflow->past_done = (uint64_t)db_get_int(use, 4);
        workflow->past_failed = (uint64_t)db_get_int(use, 5);
        workflow->past_cancelled = (uint64_t)db_get_int(use, 6);
    }
    return r < 0 ? r : lanes_rules_set(&store->lanes, workflow, rules, (size_t)n);
}

static int load_lane(struct sqlite_store *store, struct db_use *use, struct err *err) {
    int64_t id = db_get_int(use, 0), numbers[3];
    struct workflow *workflow = lanes_workflow(&store->lanes, db_get_int(use, 1));
    struct bytes packed;
    int r = db_get_blob(use, 2, &packed, err);
    if (r < 0)
        return r;
    bool sound = workflow && id >= store->lanes.next_lane && id < INT64_MAX && !lanes_lane_with(workflow, packed);
    for (int i = 0; i < 3; i++) {
        numbers[i] = db_get_int(use, 3 + i);
        sound = sound && numbers[i] >= 0;
    }
    struct lane *lane;
    if (sound)
        store->lanes.next_lane = id;
    r = sound ? lanes_lane_add(&store->lanes, workflow, packed, work_heap_pages(), work_heap_retries(), &lane)
              : -EBADMSG;
    if (r == -EBADMSG)
        return db_corrupt(&store->db, err, "lane %lld is damaged", (long long)id);
    if (r < 0)
        return r;
    lane->done = (uint64_t)numbers[0];
    lane->failed = (uint64_t)numbers[1];
    lane->cancelled = (uint64_t)numbers[2];
    lane->idle_utc_us = db_get_int(use, 6);
    lane->last_ended = db_get_int(use, 7);
    return 0;
}

static int add_live_key(struct sqlite_store *store, const struct lane *lane, struct bytes key, int64_t page,
                        uint32_t index, struct err *err) {
    if (key.n == 0)
        return 0;
    int r = work_take_key(store, work_fingerprint(lane->workflow, key), WORK_PLACE(page, index));
    if (r == -EEXIST)
        return db_corrupt(&store->db, err, "the child key of run %lld:%u is live twice", (long long)page, index);
    return r;
}

/* Leaves the bits of the runs that are left in the page; false when they make no sense. */
static bool read_live(struct page *page, struct bytes bits) {
    size_t size = page_words(page) * sizeof(uint64_t);
    uint32_t live = 0;
    if (bits.n != (page->deadline ? 2 * size : size))
        return false;
    if (page->deadline)
        memcpy(page->deadline->bits, bits.p + size, size);
    memcpy(page_live_bits(page), bits.p, size);
    memcpy(page_queued_bits(page), bits.p, size);
    for (uint32_t i = 0; i < page_words(page) * 64; i++) {
        if (!bit_get(page_live_bits(page), i))
            continue;
        if (i >= page->n)
            return false;
        live++;
    }
    page->live = page->queued = (uint16_t)live;
    return live > 0;
}

static int load_page(struct sqlite_store *store, struct db_use *use, int64_t now_utc_us, struct err *err) {
    int64_t id = db_get_int(use, 0), n = db_get_int(use, 2);
    struct lane *lane = lanes_lane(&store->lanes, db_get_int(use, 1));
    struct bytes packed, bits;
    int r = db_get_blob(use, 4, &packed, err);
    if (r == 0)
        r = db_get_blob(use, 5, &bits, err);
    if (r < 0)
        return r;
    int64_t start_by = db_get_int(use, 6), priority = db_get_int(use, 7);
    if (!lane || n < 1 || n > STORE_PAGE_MAX || id < 1 || id >= store->next_page || priority < 1 || priority > 3)
        return db_corrupt(&store->db, err, "page %lld is damaged", (long long)id);
    struct page *page = page_new(store, lane, id, (uint32_t)n, db_get_int(use, 3), start_by, (unsigned)priority);
    if (!page)
        return -ENOMEM;
    page->cost = (uint32_t)db_get_int(use, 8);
    struct packing_reader reader;
    bool sound = (bits.n == 0 || read_live(page, bits)) && packing_reader_init(&reader, packed) == 0;
    for (uint32_t i = 0; i < page->n && sound; i++) {
        struct store_item item;
        sound = packing_next(&reader, &item) == 0;
        r = sound && bit_get(page_live_bits(page), i) ? add_live_key(store, lane, item.child_key, id, i, err) : 0;
        if (r < 0)
            return r;
    }
    if (!sound || !packing_at_end(&reader))
        return db_corrupt(&store->db, err, "page %lld is damaged", (long long)id);
    lane_count(lane, LANE_QUEUED, page->queued);
    page_deadline_changed(store, page);
    work_queue(store, &page->work, now_utc_us);
    return 0;
}

static int load_rate(struct sqlite_store *store, struct db_use *use, struct err *err) {
    int64_t period = db_get_int(use, 0), window = db_get_int(use, 2), used = db_get_int(use, 3);
    struct bytes key;
    int r = db_get_blob(use, 1, &key, err);
    if (r < 0)
        return r;
    if (period < 1 || window < 0 || used < 1 || window > INT64_MAX - period)
        return db_corrupt(&store->db, err, "the count of a rate is damaged");
    return lanes_rate_restore(&store->lanes, period, key, window, (uint64_t)used);
}

static int load_run(struct sqlite_store *store, struct db_use *use, int64_t now_utc_us, struct err *err) {
    int64_t page = db_get_int(use, 0), index = db_get_int(use, 1), state = db_get_int(use, 3);
    struct lane *lane = lanes_lane(&store->lanes, db_get_int(use, 2));
    struct bytes key;
    int r = db_get_blob(use, 5, &key, err);
    if (r < 0)
        return r;
    if (!lane || page < 1 || page >= store->next_page || index < 0 || index >= STORE_PAGE_MAX ||
        (state != DB_RUN_WAITING && state != DB_RUN_PARKED))
        return db_corrupt(&store->db, err, "run %lld:%lld is damaged", (long long)page, (long long)index);
    r = add_live_key(store, lane, key, page, (uint32_t)index, err);
    if (r < 0)
        return r;
    if (state == DB_RUN_PARKED) {
        lane_count(lane, LANE_PARKED, 1);
        return parked_remember(store, lane, key, page, (uint32_t)index);
    }
    struct retry *retry = retry_new(store, lane, page, (uint32_t)index, db_get_int(use, 4));
    if (!retry)
        return -ENOMEM;
    lane_count(lane, LANE_RETRIES, 1);
    work_queue(store, &retry->work, now_utc_us);
    return 0;
}

static int load_state(struct sqlite_store *store, struct err *err) {
    static const int names[] = {DB_STATE_NEXT_PAGE, DB_STATE_EPOCH, DB_STATE_HISTORY_BYTES, DB_STATE_HISTORY_RUNS};
    int64_t values[4];
    for (int i = 0; i < 4; i++) {
        struct db_use get = db_use(&store->db, DB_STATE_GET);
        db_int(&get, 1, names[i]);
        int r = db_row(&get, "read its state", err);
        if (r < 0)
            return r;
        values[i] = r ? db_get_int(&get, 0) : -1;
        db_done(&get);
    }
    /* 2^23 opens of 2^40 leases each. */
    if (values[0] < 1 || values[1] < 0 || values[1] >= INT64_C(1) << 23 || values[2] < 0 || values[3] < 0)
        return db_corrupt(&store->db, err, "its state is damaged");
    store->next_page = store->written_next_page = values[0];
    store->next_id = (values[1] + 1) << 40;
    store->history_bytes = store->written_history_bytes = (uint64_t)values[2];
    store->history_runs = store->written_history_runs = (uint64_t)values[3];

    struct db_use begin = db_use(&store->db, DB_BEGIN), put = db_use(&store->db, DB_STATE_PUT);
    int r = db_run(&begin, "begin", err), after = 0;
    if (r < 0)
        return r;
    db_int(&put, 1, DB_STATE_EPOCH);
    db_int(&put, 2, values[1] + 1);
    r = db_run(&put, "write its state", err);
    return r < 0 ? r : db_commit(&store->db, &after, err);
}

static int load_range(struct sqlite_store *store, enum db_statement which, int64_t *ret_first, int64_t *ret_next,
                      struct err *err) {
    struct db_use range = db_use(&store->db, which);
    int r = db_row(&range, "read its tables", err);
    if (r <= 0)
        return r;
    *ret_first = db_get_int(&range, 0);
    *ret_next = db_get_int(&range, 1) + 1;
    db_done(&range);
    return 0;
}

static int has_rows(struct sqlite_store *store, enum db_statement each, bool *ret_any, struct err *err) {
    struct db_use use = db_use(&store->db, each);
    if (each == DB_KEPT_EACH) {
        db_int(&use, 1, 0);
        db_int(&use, 2, 0);
    }
    int r = db_row(&use, "read what was leased", err);
    if (r > 0)
        db_done(&use);
    *ret_any = r > 0;
    return r < 0 ? r : 0;
}

/* What was leased when the process ended, beyond being queued again. */
static int end_left_over(struct sqlite_store *store, struct err *err) {
    bool asked;
    int r = has_rows(store, DB_ASK_EACH, &asked, err), after = 0;
    if (r == 0)
        r = has_rows(store, DB_KEPT_EACH, &store->any_kept, err);
    if (r < 0 || (!asked && !store->any_kept))
        return r;
    struct db_use begin = db_use(&store->db, DB_BEGIN);
    r = db_run(&begin, "begin", err);
    store->in_batch = r == 0;
    if (r == 0)
        r = cancel_left_over(store, err);
    if (r == 0)
        r = kept_requeue(store, err);
    if (r == 0)
        r = work_flush(store, err);
    if (r == 0)
        r = db_commit(&store->db, &after, err);
    store->in_batch = store->any_kept = false;
    return r < 0 ? r : after;
}

int load_all(struct sqlite_store *store, struct err *err) {
    int64_t now_utc_us = clock_utc_us(store->clock);
    int r = load_state(store, err);
    if (r == 0)
        r = load_range(store, DB_LOG_RANGE, &store->first_log, &store->next_log, err);
    if (r == 0)
        r = load_range(store, DB_ENDED_RANGE, &store->first_ended, &store->next_ended, err);
    static const enum db_statement tables[] = {DB_WORKFLOW_EACH, DB_LANE_EACH, DB_LIVE_EACH, DB_RUN_EACH, DB_RATE_EACH};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0] && r == 0; i++) {
        struct db_use use = db_use(&store->db, tables[i]);
        while ((r = db_row(&use, "read its tables", err)) > 0) {
            r = tables[i] == DB_WORKFLOW_EACH ? load_workflow(store, &use, err)
                : tables[i] == DB_LANE_EACH   ? load_lane(store, &use, err)
                : tables[i] == DB_LIVE_EACH   ? load_page(store, &use, now_utc_us, err)
                : tables[i] == DB_RUN_EACH    ? load_run(store, &use, now_utc_us, err)
                                              : load_rate(store, &use, err);
            if (r < 0) {
                db_done(&use);
                break;
            }
        }
    }
    if (r == 0)
        r = idle_load(store);
    return r < 0 ? r : end_left_over(store, err);
}
