/* spawn.c - workflows and new pages. */
#include "cleanup.h"
#include "packing.h"
#include "sqlite_store.h"

/* ---- workflows ---- */

static bool same_rules(const struct workflow *workflow, const struct store_rule *rules, size_t n) {
    bool same = workflow->n_rules == n;
    for (size_t i = 0; i < n && same; i++)
        same = workflow->rules[i].strategy == rules[i].strategy && workflow->rules[i].max_runs == rules[i].max_runs &&
               (rules[i].strategy != STORE_RATE_LIMIT || workflow->rules[i].period_us == rules[i].period_us);
    return same;
}

static int check_rules(struct bytes name, const struct store_rule *rules, size_t n, struct err *err) {
    if (name.n == 0 || name.n > STORE_NAME_MAX)
        return err_set(err, -EINVAL, "a workflow's name has 1 to %d bytes", STORE_NAME_MAX);
    if (n > STORE_RULES_MAX)
        return err_set(err, -EINVAL, "a workflow has at most %d rules", STORE_RULES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (rules[i].strategy < STORE_GROUP_ROUND_ROBIN || rules[i].strategy > STORE_RATE_LIMIT)
            return err_set(err, -EINVAL, "rule %zu has an unknown strategy", i + 1);
        if (rules[i].strategy != STORE_GROUP_ROUND_ROBIN && rules[i].max_runs == 0)
            return err_set(err, -EINVAL, "rule %zu needs a max_runs", i + 1);
        if (rules[i].strategy == STORE_RATE_LIMIT &&
            (rules[i].period_us < US_PER_S || rules[i].period_us > 24 * US_PER_HOUR))
            return err_set(err, -EINVAL, "rule %zu: a rate's period is 1 second to 1 day", i + 1);
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

int workflow_pause(struct sqlite_store *store, struct bytes name, bool paused, struct err *err) {
    struct workflow *workflow = lanes_workflow_named(&store->lanes, name);
    if (!workflow)
        return err_set(err, -ENOENT, "workflow '%.*s' is not known", (int)name.n, name.p ? name.p : "");
    workflow->paused = paused;
    struct db_use put = db_use(&store->db, DB_WORKFLOW_PAUSE);
    db_int(&put, 1, workflow->id);
    db_int(&put, 2, paused);
    return db_run(&put, "pause a workflow", err);
}

/* ---- pages ---- */

#define RESERVED_AT_ONCE 64 /* ids that one write makes safe to hand out */

int page_reserve(struct sqlite_store *store, int64_t *ret_page, struct err *err) {
    if (!store->in_batch && store->next_page >= store->written_next_page) {
        int r = batch_need(store, err);
        struct db_use put = db_use(&store->db, DB_STATE_PUT);
        db_int(&put, 1, DB_STATE_NEXT_PAGE);
        db_int(&put, 2, store->next_page + RESERVED_AT_ONCE);
        if (r == 0)
            r = db_run(&put, "reserve pages' numbers", err);
        if (r < 0)
            return r;
        store->written_next_page = store->next_page + RESERVED_AT_ONCE;
    }
    *ret_page = store->next_page++;
    return 0;
}

static int check_id(struct sqlite_store *store, int64_t id, struct err *err) {
    if (id == 0)
        return 0;
    struct db_use known = db_use(&store->db, DB_PAGE_KNOWN);
    db_int(&known, 1, id);
    int r = db_row(&known, "look for a page", err);
    if (r < 0)
        return r;
    bool used = r > 0 && db_get_int(&known, 0);
    db_done(&known);
    if (id < 1 || id >= store->next_page || used)
        return err_set(err, -EINVAL, "page id %lld was not reserved, or is used already", (long long)id);
    return 0;
}

static int check_page(struct sqlite_store *store, const struct store_page *page, struct err *err) {
    const struct workflow *workflow = lanes_workflow(&store->lanes, page->workflow);
    if (!workflow)
        return err_set(err, -EINVAL, "workflow %lld is not known", (long long)page->workflow);
    if (page->n_keys != workflow->n_rules && !(page->failed.n && page->n_keys == 0))
        return err_set(err, -EINVAL, "%zu keys for %zu rules", page->n_keys, workflow->n_rules);
    if (page->n < 1 || page->n > STORE_PAGE_MAX)
        return err_set(err, -EINVAL, "a page has 1 to %d runs", STORE_PAGE_MAX);
    for (size_t i = 0; i < page->n_keys; i++)
        if (page->keys[i].n > STORE_NAME_MAX)
            return err_set(err, -EINVAL, "a rule key is longer than %d bytes", STORE_NAME_MAX);
    if (page->input.n > STORE_DATA_MAX || page->metadata.n > STORE_DATA_MAX || page->failed.n > STORE_DATA_MAX)
        return err_set(err, -EINVAL, "input, metadata or reason is longer than %d bytes", STORE_DATA_MAX);
    if (page->priority > 3)
        return err_set(err, -EINVAL, "a priority is 1 to 3");
    if (page->not_before_utc_us < 0 || page->start_by_utc_us < 0 || page->parent_page < 0)
        return err_set(err, -EINVAL, "a time or page below nothing");
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
    return check_id(store, page->id, err);
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
    r = lane ? cancel_parked(store, lane, parked.page, parked.index, STORE_FORGOTTEN,
                             BYTES("gave way to another generation"), err)
             : db_corrupt(&store->db, err, "run %lld:%u is damaged", (long long)parked.page, parked.index);
    *ret_gives_way = r == 0;
    return r;
}

/* Takes the child key for the item, to be at `place`: 1, or 0 when a live run has it. */
static int take_key(struct sqlite_store *store, struct hash128 hash, const struct store_item *item, uint64_t place,
                    struct store_spawned *spawned, bool *ret_superseded, struct err *err) {
    int r = work_take_key(store, hash, place);
    if (r != -EEXIST)
        return r < 0 ? r : 1;
    bool gives_way;
    r = supersede(store, hash, item, &gives_way, err);
    if (r < 0 || !gives_way)
        return r;
    spawned->superseded++;
    *ret_superseded = true;
    r = work_take_key(store, hash, place);
    return r < 0 ? r : 1;
}

/* The run that the item is a duplicate of; in the page itself by the number of its item, until all is decided. */
static void tell_duplicate(const struct sqlite_store *store, const struct store_page *page, size_t i,
                           struct hash128 hash) {
    const uint64_t *place = page->ret_runs ? fingerprints_find(&store->live, hash) : NULL;
    if (place)
        page->ret_runs[i] = (struct store_place){.page = WORK_PLACE_PAGE(*place), .index = WORK_PLACE_INDEX(*place)};
}

/* Decides for each item; `which` gets the indexes of the created ones. */
static int choose(struct sqlite_store *store, const struct workflow *workflow, const struct store_page *page,
                  int64_t id, struct store_spawned *spawned, uint16_t *which, struct err *err) {
    uint64_t places = workflow_places_at_spawn(workflow, page->keys, page->n_keys);
    for (size_t i = 0; i < page->n; i++) {
        const struct store_item *item = &page->items[i];
        bool room = spawned->created < places, is_new = true, superseded = false;
        if (item->child_key.n) {
            struct hash128 hash = work_fingerprint(workflow, item->child_key);
            int r = room ? take_key(store, hash, item, WORK_PLACE(id, i), spawned, &superseded, err)
                         : !fingerprints_find(&store->live, hash);
            if (r < 0)
                return r;
            is_new = r;
            if (!is_new)
                tell_duplicate(store, page, i, hash);
            else if (superseded && page->ret_runs)
                page->ret_runs[i].superseded = true;
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

/* The first n of the chosen ones are not to be created after all. */
static int give_up(struct sqlite_store *store, const struct workflow *workflow, const struct store_page *page,
                   struct store_spawned *spawned, uint16_t *which, uint32_t n, struct err *err) {
    for (uint32_t i = 0; i < n; i++) {
        struct bytes key = page->items[which[i]].child_key;
        if (key.n && !fingerprints_remove(&store->live, work_fingerprint(workflow, key)))
            return db_corrupt(&store->db, err, "a child key that was just taken is not known");
    }
    spawned->created -= n;
    spawned->cancelled += n;
    memmove(which, which + n, spawned->created * sizeof *which);
    return 0;
}

/* All is decided: the items become runs with indexes of their own. */
static void place_runs(struct sqlite_store *store, const struct workflow *workflow, const struct store_page *page,
                       int64_t id, const struct store_spawned *spawned, const uint16_t *which) {
    uint32_t index_of[STORE_PAGE_MAX];
    memset(index_of, 0xff, sizeof index_of);
    for (uint32_t i = 0; i < spawned->created; i++) {
        index_of[which[i]] = i;
        struct bytes key = page->items[which[i]].child_key;
        uint64_t *place =
            key.n && which[i] != i ? fingerprints_find(&store->live, work_fingerprint(workflow, key)) : NULL;
        if (place)
            *place = WORK_PLACE(id, i);
    }
    for (size_t i = 0; i < page->n && page->ret_runs; i++) {
        struct store_place *run = &page->ret_runs[i];
        bool created = index_of[i] != UINT32_MAX;
        if (run->page != 0 && run->page != id)
            continue; /* a duplicate of an older one */
        uint32_t index = run->page == id ? index_of[run->index] : index_of[i];
        *run = (struct store_place){.superseded = run->superseded};
        if (index != UINT32_MAX)
            *run = (struct store_place){id, index, created, run->superseded};
    }
}

/* The least and the greatest child key. */
static void key_range(const struct store_page *page, const uint16_t *which, size_t n, struct bytes *ret_first,
                      struct bytes *ret_last) {
    struct bytes first = BYTES(""), last = BYTES("");
    for (size_t i = 0; i < n; i++) {
        struct bytes key = page->items[which[i]].child_key;
        if (key.n == 0)
            continue;
        if (last.n == 0 || bytes_compare(key, last) > 0)
            last = key;
        else if (bytes_compare(key, first) < 0)
            first = key;
        if (first.n == 0)
            first = last;
    }
    *ret_first = first;
    *ret_last = last;
}

static int write_page(struct sqlite_store *store, const struct lane *lane, const struct store_page *page, int64_t id,
                      const uint16_t *which, size_t n, size_t *ret_cost, struct err *err) {
    _cleanup_buf_ struct buf packed = {0};
    int r = packing_add_items(&packed, page->items, which, n);
    if (r < 0)
        return r;
    struct bytes first = BYTES_NONE, last = BYTES_NONE;
    unsigned char print[DB_FINGERPRINT];
    struct db_use add = db_use(&store->db, DB_PAGE_ADD);
    db_int(&add, 1, id);
    db_int(&add, 2, lane->id);
    db_int(&add, 3, (int64_t)n);
    db_int(&add, 4, page->not_before_utc_us);
    db_int(&add, 5, page->start_by_utc_us);
    db_int(&add, 6, page->priority ? page->priority : 1);
    db_int(&add, 7, clock_utc_us(store->clock));
    db_int(&add, 8, page->parent_page);
    db_int(&add, 9, page->parent_index);
    if (n > 1) {
        key_range(page, which, n, &first, &last);
        db_blob(&add, 10, first);
        db_blob(&add, 11, last);
    } else {
        struct bytes key = page->items[which[0]].child_key;
        if (key.n)
            db_fingerprint(key, print);
        db_blob(&add, 10, bytes_of(print, key.n ? sizeof print : 0));
        db_null(&add, 11);
    }
    db_blob(&add, 12, buf_bytes(&packed));
    db_blob(&add, 13, page->input);
    db_blob(&add, 14, page->metadata);
    *ret_cost = packed.n + page->input.n + page->metadata.n + first.n + last.n + DB_PAGE_COST;
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

static int64_t take_id(struct sqlite_store *store, const struct store_page *page) {
    return page->id ? page->id : store->next_page++;
}

static int make_page(struct sqlite_store *store, struct lane *lane, const struct store_page *page, int64_t id,
                     const uint16_t *which, uint32_t n, struct err *err) {
    size_t cost;
    int r = write_page(store, lane, page, id, which, n, &cost, err);
    if (r < 0)
        return r;
    struct db_use add = db_use(&store->db, DB_LIVE_ADD);
    db_int(&add, 1, id);
    r = db_run(&add, "write a page", err);
    if (r < 0)
        return r;
    struct page *made = page_new(store, lane, id, n, page->not_before_utc_us, page->start_by_utc_us,
                                 page->priority ? page->priority : 1);
    if (!made)
        return -ENOMEM;
    made->cost = (uint32_t)cost;
    made->ended = PAGE_NONE_ENDED;
    lane_count(lane, LANE_QUEUED, n);
    work_queue(store, &made->work, clock_utc_us(store->clock));
    return 0;
}

/* Runs that end as they come: rows of the past, or only a number. */
static int make_failed(struct sqlite_store *store, const struct store_page *page, struct store_spawned *spawned,
                       struct err *err) {
    uint16_t which[STORE_PAGE_MAX];
    struct lane *lane;
    int r = find_lane(store, page, &lane, err);
    if (r < 0)
        return r;
    spawned->page = take_id(store, page);
    spawned->created = (uint32_t)page->n;
    lane->failed += page->n;
    work_lane_dirty(store, lane);
    for (uint32_t i = 0; i < page->n && r == 0; i++) {
        struct packing_record record = {.index = i, .outcome = STORE_FAILED, .error = page->failed};
        which[i] = (uint16_t)i;
        if (page->ret_runs)
            page->ret_runs[i] = (struct store_place){.page = spawned->page, .index = i, .created = true};
        r = history_note(store, spawned->page, &record);
    }
    size_t cost = 0;
    if (r == 0 && store->history_us > 0)
        r = write_page(store, lane, page, spawned->page, which, page->n, &cost, err);
    history_page_added(store, cost);
    return r < 0 ? r : history_write(store, BYTES_NONE, err);
}

static int make_runs(struct sqlite_store *store, const struct store_page *page, struct store_spawned *spawned,
                     uint16_t *which, struct err *err) {
    const struct workflow *workflow = lanes_workflow(&store->lanes, page->workflow);
    struct lane *lane = NULL;
    int64_t id = page->id ? page->id : store->next_page;
    uint32_t too_many = 0;
    if (page->ret_runs)
        memset(page->ret_runs, 0, page->n * sizeof *page->ret_runs);
    int r = choose(store, workflow, page, id, spawned, which, err);
    if (r == 0 && spawned->created)
        r = cancel_drive_out(store, workflow, page->keys, id, spawned->created, &too_many, spawned, err);
    if (r == 0)
        r = give_up(store, workflow, page, spawned, which, too_many, err);
    if (r == 0)
        place_runs(store, workflow, page, id, spawned, which);
    if (r == 0 && (spawned->created || spawned->cancelled))
        r = find_lane(store, page, &lane, err);
    if (r == 0)
        r = history_write(store, BYTES_NONE, err);
    if (r < 0)
        return r;
    if (spawned->cancelled) {
        lane->cancelled += spawned->cancelled;
        work_lane_dirty(store, lane);
    }
    if (spawned->created == 0)
        return 0;
    spawned->page = take_id(store, page);
    return make_page(store, lane, page, spawned->page, which, spawned->created, err);
}

int spawn_page(struct sqlite_store *store, const struct store_page *page, struct store_spawned *ret_spawned,
               struct err *err) {
    uint16_t which[STORE_PAGE_MAX];
    struct store_spawned spawned = {0};
    int r = check_page(store, page, err);
    if (r < 0)
        return r;
    if (page->failed.n)
        r = make_failed(store, page, &spawned, err);
    else
        r = make_runs(store, page, &spawned, which, err);
    if (r < 0)
        return r;
    *ret_spawned = spawned;
    return 0;
}
