/* spawn.c - workflows and new pages. */
#include "cleanup.h"
#include "packing.h"
#include "sqlite_store.h"

/* ---- workflows ---- */

static bool same_rules(const struct workflow *workflow, const struct store_rule *rules, size_t n) {
    bool same = workflow->n_rules == n;
    for (size_t i = 0; i < n && same; i++)
        same = workflow->rules[i].strategy == rules[i].strategy && workflow->rules[i].max_runs == rules[i].max_runs;
    return same;
}

static int check_rules(struct bytes name, const struct store_rule *rules, size_t n, struct err *err) {
    if (name.n == 0 || name.n > STORE_NAME_MAX)
        return err_set(err, -EINVAL, "a workflow's name has 1 to %d bytes", STORE_NAME_MAX);
    if (n > STORE_RULES_MAX)
        return err_set(err, -EINVAL, "a workflow has at most %d rules", STORE_RULES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (rules[i].strategy != STORE_GROUP_ROUND_ROBIN && rules[i].strategy != STORE_CANCEL_NEWEST)
            return err_set(err, -EINVAL, "rule %zu has an unknown strategy", i + 1);
        if (rules[i].strategy == STORE_CANCEL_NEWEST && rules[i].max_runs == 0)
            return err_set(err, -EINVAL, "rule %zu: CANCEL_NEWEST needs a max_runs", i + 1);
    }
    return 0;
}

int workflow_put(struct sqlite_store *store, struct bytes name, const struct store_rule *rules, size_t n_rules,
                 int64_t *ret_workflow, struct err *err) {
    int r = check_rules(name, rules, n_rules, err);
    if (r < 0)
        return r;
    struct workflow *workflow = lanes_workflow_named(&store->lanes, name);
    bool known = workflow;
    if (!known)
        r = load_new_workflow(store, name, &workflow);
    if (r < 0)
        return r;
    if (!known || !same_rules(workflow, rules, n_rules)) {
        _cleanup_buf_ struct buf packed = {0};
        r = packing_add_rules(&packed, rules, n_rules);
        if (r < 0)
            return r;
        struct db_use put = db_use(&store->db, DB_WORKFLOW_PUT);
        db_int(&put, 1, workflow->id);
        db_blob(&put, 2, name);
        db_blob(&put, 3, buf_bytes(&packed));
        r = db_run(&put, "write a workflow", err);
        if (r == 0)
            r = lanes_rules_set(&store->lanes, workflow, rules, n_rules);
        if (r < 0)
            return r;
    }
    *ret_workflow = workflow->id;
    return 0;
}

/* ---- pages ---- */

static int check_page(struct sqlite_store *store, const struct store_page *page, struct err *err) {
    const struct workflow *workflow = lanes_workflow(&store->lanes, page->workflow);
    if (!workflow)
        return err_set(err, -EINVAL, "workflow %lld is not known", (long long)page->workflow);
    if (page->n_keys != workflow->n_rules)
        return err_set(err, -EINVAL, "%zu keys for %zu rules", page->n_keys, workflow->n_rules);
    if (page->n < 1 || page->n > STORE_PAGE_MAX)
        return err_set(err, -EINVAL, "a page has 1 to %d runs", STORE_PAGE_MAX);
    for (size_t i = 0; i < page->n_keys; i++)
        if (page->keys[i].n > STORE_NAME_MAX)
            return err_set(err, -EINVAL, "a rule key is longer than %d bytes", STORE_NAME_MAX);
    if (page->input.n > STORE_DATA_MAX || page->metadata.n > STORE_DATA_MAX)
        return err_set(err, -EINVAL, "input or metadata is longer than %d bytes", STORE_DATA_MAX);
    size_t size = 0;
    for (size_t i = 0; i < page->n; i++) {
        const struct store_item *item = &page->items[i];
        if (item->child_key.n > STORE_NAME_MAX || item->generation.n > STORE_NAME_MAX)
            return err_set(err, -EINVAL, "a child key or generation is longer than %d bytes", STORE_NAME_MAX);
        if (item->input.n > STORE_DATA_MAX)
            return err_set(err, -EINVAL, "an input is longer than %d bytes", STORE_DATA_MAX);
        size += item->child_key.n + item->generation.n + item->input.n;
    }
    if (size > STORE_ITEMS_MAX)
        return err_set(err, -EINVAL, "the items of a page are longer than %d bytes together", STORE_ITEMS_MAX);
    return 0;
}

static int new_lane(struct sqlite_store *store, struct workflow *workflow, struct bytes packed, struct lane **ret_lane,
                    struct err *err) {
    int r = lanes_lane_add(&store->lanes, workflow, packed, work_heap_pages(), work_heap_retries(), ret_lane);
    if (r < 0)
        return r;
    struct db_use add = db_use(&store->db, DB_LANE_ADD);
    db_int(&add, 1, (*ret_lane)->id);
    db_int(&add, 2, workflow->id);
    db_blob(&add, 3, packed);
    return db_run(&add, "write a lane", err);
}

/* A live run has the item's child key. Does it give way? It does when it is parked and of another generation: it is
 * then forgotten, and the place is free. */
static int supersede(struct sqlite_store *store, struct hash128 hash, const struct store_item *item,
                     bool *ret_gives_way, struct err *err) {
    *ret_gives_way = false;
    const struct parked *found = fingerprints_find(&store->parked, hash);
    if (!found)
        return 0;
    struct parked parked = *found;
    struct db_use get = db_use(&store->db, DB_RUN_GENERATION);
    db_int(&get, 1, parked.page);
    db_int(&get, 2, parked.index);
    struct bytes generation = BYTES_NONE;
    int r = db_row(&get, "read a parked run", err);
    if (r == 0)
        return db_corrupt(&store->db, err, "parked run %lld:%u is missing", (long long)parked.page, parked.index);
    if (r < 0)
        return r;
    r = db_get_blob(&get, 0, &generation, err);
    bool differs = !bytes_equal(generation, item->generation);
    struct lane *lane = lanes_lane(&store->lanes, db_get_int(&get, 1));
    db_done(&get);
    if (r < 0 || !differs)
        return r;
    r = parked_forget(store, lane, item->child_key, parked.page, parked.index, err);
    *ret_gives_way = r == 0;
    return r;
}

/* Takes the child key for the item: 1, or 0 when a live run has it. */
static int take_key(struct sqlite_store *store, struct hash128 hash, const struct store_item *item,
                    struct store_spawned *spawned, struct err *err) {
    int r = fingerprints_add(&store->live, hash, NULL);
    if (r != -EEXIST)
        return r < 0 ? r : 1;
    bool gives_way;
    r = supersede(store, hash, item, &gives_way, err);
    if (r < 0 || !gives_way)
        return r;
    spawned->superseded++;
    r = fingerprints_add(&store->live, hash, NULL);
    return r < 0 ? r : 1;
}

/* Decides for each item; `which` gets the indexes of the created ones. */
static int choose(struct sqlite_store *store, const struct workflow *workflow, const struct store_page *page,
                  struct store_spawned *spawned, uint16_t *which, struct err *err) {
    uint64_t places = workflow_places_at_spawn(workflow, page->keys, page->n_keys);
    for (size_t i = 0; i < page->n; i++) {
        const struct store_item *item = &page->items[i];
        bool room = spawned->created < places, is_new = true;
        if (item->child_key.n) {
            struct hash128 hash = work_fingerprint(workflow, item->child_key);
            int r = room ? take_key(store, hash, item, spawned, err) : !fingerprints_find(&store->live, hash);
            if (r < 0)
                return r;
            is_new = r;
        }
        if (!is_new)
            spawned->duplicates++;
        else if (room)
            which[spawned->created++] = (uint16_t)i;
        else
            spawned->cancelled++;
    }
    return 0;
}

static int write_page(struct sqlite_store *store, const struct lane *lane, const struct store_page *page, int64_t id,
                      const uint16_t *which, size_t n, struct err *err) {
    _cleanup_buf_ struct buf packed = {0};
    int r = packing_add_items(&packed, page->items, which, n);
    if (r < 0)
        return r;
    struct db_use add = db_use(&store->db, DB_PAGE_ADD);
    db_int(&add, 1, id);
    db_int(&add, 2, lane->id);
    db_int(&add, 3, (int64_t)n);
    db_int(&add, 4, page->not_before_utc_us);
    db_int(&add, 5, page->parent_page);
    db_int(&add, 6, page->parent_index);
    db_blob(&add, 7, page->input);
    db_blob(&add, 8, page->metadata);
    db_blob(&add, 9, buf_bytes(&packed));
    return db_run(&add, "write a page", err);
}

/* A lane comes into being with its first run, created or cancelled. */
static int find_lane(struct sqlite_store *store, const struct store_page *page, struct lane **ret_lane,
                     struct err *err) {
    struct workflow *workflow = lanes_workflow(&store->lanes, page->workflow);
    _cleanup_buf_ struct buf packed = {0};
    int r = packing_add_keys(&packed, page->keys, page->n_keys);
    if (r < 0)
        return r;
    *ret_lane = lanes_lane_with(workflow, buf_bytes(&packed));
    return *ret_lane ? 0 : new_lane(store, workflow, buf_bytes(&packed), ret_lane, err);
}

int spawn_page(struct sqlite_store *store, const struct store_page *page, struct store_spawned *ret_spawned,
               struct err *err) {
    int r = check_page(store, page, err);
    if (r < 0)
        return r;
    struct store_spawned spawned = {0};
    uint16_t which[STORE_PAGE_MAX];
    struct lane *lane = NULL;
    r = choose(store, lanes_workflow(&store->lanes, page->workflow), page, &spawned, which, err);
    if (r == 0 && (spawned.created || spawned.cancelled))
        r = find_lane(store, page, &lane, err);
    if (r < 0)
        return r;
    if (spawned.cancelled) {
        lane->cancelled += spawned.cancelled;
        work_lane_dirty(store, lane);
    }
    if (spawned.created) {
        spawned.page = store->next_page++;
        r = write_page(store, lane, page, spawned.page, which, spawned.created, err);
        if (r < 0)
            return r;
        struct page *made = page_new(store, lane, spawned.page, spawned.created, page->not_before_utc_us);
        if (!made)
            return -ENOMEM;
        lane_count(lane, LANE_QUEUED, spawned.created);
        work_queue(store, &made->work, clock_utc_us(store->clock));
    }
    *ret_spawned = spawned;
    return 0;
}
