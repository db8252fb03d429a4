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
    return r < 0 ? r : lanes_rules_set(&store->lanes, workflow, rules, (size_t)n);
}

static int load_lane(struct sqlite_store *store, struct db_use *use, struct err *err) {
    int64_t id = db_get_int(use, 0), numbers[3];
    struct workflow *workflow = lanes_workflow(&store->lanes, db_get_int(use, 1));
    struct bytes packed;
    int r = db_get_blob(use, 2, &packed, err);
    if (r < 0)
        return r;
    bool sound = workflow && id == (int64_t)store->lanes.n_lanes + 1 && !lanes_lane_with(workflow, packed);
    for (int i = 0; i < 3; i++) {
        numbers[i] = db_get_int(use, 3 + i);
        sound = sound && numbers[i] >= 0;
    }
    struct lane *lane;
    r = sound ? lanes_lane_add(&store->lanes, workflow, packed, work_heap_pages(), work_heap_retries(), &lane)
              : -EBADMSG;
    if (r == -EBADMSG)
        return db_corrupt(&store->db, err, "lane %lld is damaged", (long long)id);
    if (r < 0)
        return r;
    lane->done = (uint64_t)numbers[0];
    lane->failed = (uint64_t)numbers[1];
    lane->cancelled = (uint64_t)numbers[2];
    return 0;
}

static int add_live_key(struct sqlite_store *store, const struct lane *lane, struct bytes key, int64_t page,
                        uint32_t index, struct err *err) {
    if (key.n == 0)
        return 0;
    int r = fingerprints_add(&store->live, work_fingerprint(lane->workflow, key), NULL);
    if (r == -EEXIST)
        return db_corrupt(&store->db, err, "the child key of run %lld:%u is live twice", (long long)page, index);
    return r;
}

/* Leaves the bits of the runs that are left in the page; false when they make no sense. */
static bool read_live(struct page *page, struct bytes bits) {
    size_t size = page_words(page) * sizeof(uint64_t);
    uint32_t live = 0;
    if (bits.n != size)
        return false;
    memcpy(page_live_bits(page), bits.p, size);
    memcpy(page_queued_bits(page), bits.p, size);
    for (uint32_t i = 0; i < page_words(page) * 64; i++) {
        if (!bit_get(page_live_bits(page), i))
            continue;
        if (i >= page->n)
            return false;
        live++;
    }
    page->has_live = true;
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
    if (!lane || n < 1 || n > STORE_PAGE_MAX || id < 1 || id >= store->next_page)
        return db_corrupt(&store->db, err, "page %lld is damaged", (long long)id);
    struct page *page = page_new(store, lane, id, (uint32_t)n, db_get_int(use, 3));
    if (!page)
        return -ENOMEM;
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
    work_queue(store, &page->work, now_utc_us);
    return 0;
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
    int64_t values[2];
    for (int i = 0; i < 2; i++) {
        struct db_use get = db_use(&store->db, DB_STATE_GET);
        db_int(&get, 1, i == 0 ? DB_STATE_NEXT_PAGE : DB_STATE_EPOCH);
        int r = db_row(&get, "read its state", err);
        if (r < 0)
            return r;
        values[i] = r ? db_get_int(&get, 0) : -1;
        db_done(&get);
    }
    /* 2^23 opens of 2^40 leases each. */
    if (values[0] < 1 || values[1] < 0 || values[1] >= INT64_C(1) << 23)
        return db_corrupt(&store->db, err, "its state is damaged");
    store->next_page = store->written_next_page = values[0];
    store->next_id = (values[1] + 1) << 40;

    struct db_use begin = db_use(&store->db, DB_BEGIN), put = db_use(&store->db, DB_STATE_PUT);
    int r = db_run(&begin, "begin", err), after = 0;
    if (r < 0)
        return r;
    db_int(&put, 1, DB_STATE_EPOCH);
    db_int(&put, 2, values[1] + 1);
    r = db_run(&put, "write its state", err);
    return r < 0 ? r : db_commit(&store->db, &after, err);
}

static int load_log(struct sqlite_store *store, struct err *err) {
    struct db_use range = db_use(&store->db, DB_LOG_RANGE);
    int r = db_row(&range, "read the log", err);
    if (r <= 0)
        return r;
    store->first_log = db_get_int(&range, 0);
    store->next_log = db_get_int(&range, 1) + 1;
    db_done(&range);
    return 0;
}

int load_all(struct sqlite_store *store, struct err *err) {
    int64_t now_utc_us = clock_utc_us(store->clock);
    int r = load_state(store, err);
    if (r == 0)
        r = load_log(store, err);
    static const enum db_statement tables[] = {DB_WORKFLOW_EACH, DB_LANE_EACH, DB_PAGE_EACH, DB_RUN_EACH};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0] && r == 0; i++) {
        struct db_use use = db_use(&store->db, tables[i]);
        while ((r = db_row(&use, "read its tables", err)) > 0) {
            r = tables[i] == DB_WORKFLOW_EACH ? load_workflow(store, &use, err)
                : tables[i] == DB_LANE_EACH   ? load_lane(store, &use, err)
                : tables[i] == DB_PAGE_EACH   ? load_page(store, &use, now_utc_us, err)
                                              : load_run(store, &use, now_utc_us, err);
            if (r < 0) {
                db_done(&use);
                break;
            }
        }
    }
    return r;
}
