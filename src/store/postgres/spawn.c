/* spawn.c - new pages. */
#include "postgres_store.h"

#include "cleanup.h"
#include "packing.h"

#define DRIVEN_OUT BYTES("driven out by a newer run")

/* ---- checking ---- */

static int check_items(const struct store_page *page, struct err *err) {
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

static int absorb_known(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)store;
    (void)err;
    int64_t *known = arg; /* whether there is such a page; the next page's number */
    known[0] = wire_int(answer, 0, 0);
    known[1] = wire_int(answer, 0, 1);
    return 0;
}

/* Is the id one that was reserved, and free? */
static int check_id(struct postgres_store *store, int64_t id, struct err *err) {
    bool ours = false, queued = false;
    for (size_t i = 0; i < store->n_reserved && !ours; i++)
        ours = store->reserved[i] == id;
    for (size_t i = 0; i < store->n_ops && !queued; i++)
        queued = store->ops[i].kind == OP_SPAWN && store->ops[i].page->id == id;
    int64_t known[2] = {0, id + 1};
    int r = queued ? pg_run_ops(store, err) : 0;
    for (size_t i = 0; i < store->n_used && ours; i++)
        ours = store->used[i] != id;
    if (r == 0 && !ours) {
        args_int(pg_want(store, SQL_PAGE_KNOWN, absorb_known, known), id);
        r = pg_look(store, err);
    }
    if (r == 0 && (known[0] || id < 1 || id >= known[1]))
        r = err_set(err, -EINVAL, "page %lld was not reserved, or is used already", (long long)id);
    return r;
}

int pg_spawn_check(struct postgres_store *store, const struct store_page *page, struct err *err) {
    int r = 0;
    struct workflow *workflow = sched_workflow(&store->sched, page->workflow);
    if (!workflow || (page->n_keys != workflow->n_rules && !(page->failed.n && page->n_keys == 0)))
        r = pg_look(store, err); /* another process may have put it */
    if (r < 0)
        return r;
    workflow = sched_workflow(&store->sched, page->workflow);
    if (!workflow)
        return err_set(err, -EINVAL, "workflow %lld is not known", (long long)page->workflow);
    if (page->n_keys != workflow->n_rules && !(page->failed.n && page->n_keys == 0))
        return err_set(err, -EINVAL, "%zu keys for %zu rules", page->n_keys, workflow->n_rules);
    if (page->n < 1 || page->n > STORE_PAGE_MAX)
        return err_set(err, -EINVAL, "a page has 1 to %d runs", STORE_PAGE_MAX);
    if (page->priority > 3)
        return err_set(err, -EINVAL, "a priority is 1 to 3");
    for (size_t i = 0; i < page->n_keys; i++)
        if (page->keys[i].n > STORE_NAME_MAX)
            return err_set(err, -EINVAL, "a rule key is longer than %d bytes", STORE_NAME_MAX);
    if (page->input.n > STORE_DATA_MAX || page->metadata.n > STORE_DATA_MAX || page->failed.n > STORE_DATA_MAX)
        return err_set(err, -EINVAL, "input, metadata or a reason is longer than %d bytes", STORE_DATA_MAX);
    r = check_items(page, err);
    return r == 0 && page->id ? check_id(store, page->id, err) : r;
}

int pg_page_reserve(struct postgres_store *store, int64_t *ret_page, struct err *err) {
    int r = pg_run_ops(store, err);
    if (r == 0 && !store->locked)
        r = pg_load(store, err);
    if (r < 0)
        return r;
    if (store->n_reserved == store->cap_reserved) {
        size_t cap = store->cap_reserved ? store->cap_reserved * 2 : 16;
        int64_t *reserved = mem_reallocarray(store->reserved, cap, sizeof *reserved);
        if (!reserved)
            return -ENOMEM;
        store->reserved = reserved;
        store->cap_reserved = cap;
    }
    *ret_page = store->meta.next_page++;
    store->meta_changed = true;
    store->reserved[store->n_reserved++] = *ret_page;
    return 0;
}

/* ---- choosing ---- */

struct choosing {
    struct postgres_store *store;
    const struct store_page *page;
    const struct op *op;
    struct workflow *workflow;
    struct keyset *set; /* NULL: no child keys */
    int64_t id;
    struct store_spawned spawned;
    uint16_t which[STORE_PAGE_MAX];        /* the items that are created */
    struct bits superseding;               /* to these items parked runs gave way */
    uint64_t duplicate_of[STORE_PAGE_MAX]; /* of each item: KEYS_PLACE of the run that has its key, in this page by the
                                              number of its item; 0: none */
};

/* Does a live run have this place? *ret_parked: it may give way. */
static bool is_live(const struct choosing *choosing, uint64_t place, struct trouble_row **ret_parked) {
    const struct rows *rows = &choosing->store->rows;
    *ret_parked = NULL;
    if (KEYS_PAGE(place) == choosing->id)
        return true; /* an earlier item of this page */
    const struct page_row *page = rows_page(rows, KEYS_PAGE(place));
    if (page && bits_get(&page->live, KEYS_INDEX(place)))
        return true;
    struct trouble_row *trouble = rows_trouble(rows, KEYS_PAGE(place), KEYS_INDEX(place));
    if (!trouble || trouble->state == TROUBLE_FINISHED)
        return false;
    if (trouble->state == TROUBLE_PARKED)
        *ret_parked = trouble;
    return true;
}

/* 1: the item is new, 0: a live run has its child key. */
static int take_key(struct choosing *choosing, size_t i, bool room) {
    const struct store_item *item = &choosing->page->items[i];
    struct hash128 hash = choosing->op->hashes[i];
    uint64_t place = keys_find(choosing->set, hash);
    struct trouble_row *parked;
    if (place && is_live(choosing, place, &parked)) {
        if (!room || !parked || bytes_equal(bytes_of(parked->generation, parked->generation_n), item->generation)) {
            choosing->duplicate_of[i] = place;
            return 0;
        }
        int r = pg_cancel_trouble(choosing->store, parked, STORE_FORGOTTEN, BYTES("gave way to a new generation"));
        if (r < 0)
            return r;
        choosing->spawned.superseded++;
        bits_set(&choosing->superseding, (uint32_t)i);
    }
    if (!room)
        return 1;
    int r = keys_add(choosing->set, hash, KEYS_PLACE(choosing->id, i));
    return r < 0 ? r : 1;
}

static int choose(struct choosing *choosing) {
    const struct store_page *page = choosing->page;
    uint64_t places = sched_places_at_spawn(choosing->workflow, page->keys, page->n_keys);
    for (size_t i = 0; i < page->n; i++) {
        bool room = choosing->spawned.created < places;
        int is_new = page->items[i].child_key.n ? take_key(choosing, i, room) : 1;
        if (is_new < 0)
            return is_new;
        if (!is_new)
            choosing->spawned.duplicates++;
        else if (room)
            choosing->which[choosing->spawned.created++] = (uint16_t)i;
        else
            choosing->spawned.cancelled++;
    }
    return 0;
}

/* ---- CANCEL_IN_PROGRESS ---- */

struct live_run {
    int64_t page;
    uint32_t index;
    enum { RUN_QUEUED, RUN_LEASED, RUN_TROUBLE, RUN_NEW } kind;
    struct lease_row *lease;
};

struct driving {
    struct live_run *runs;
    size_t n, cap;
};

static int by_age(const void *a, const void *b) {
    const struct live_run *x = a, *y = b;
    if (x->page != y->page)
        return x->page < y->page ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int driving_add(struct driving *driving, struct live_run run) {
    if (driving->n == driving->cap) {
        size_t cap = driving->cap ? driving->cap * 2 : 64;
        struct live_run *runs = mem_reallocarray(driving->runs, cap, sizeof *runs);
        if (!runs)
            return -ENOMEM;
        driving->runs = runs;
        driving->cap = cap;
    }
    driving->runs[driving->n++] = run;
    return 0;
}

/* Reads all live runs of these lanes, and who has leased them. */
static int read_live(struct postgres_store *store, const int64_t *lanes, size_t n, struct err *err) {
    args_ints(pg_want(store, SQL_PAGES_OF_LANES, pg_absorb_pages, NULL), lanes, n);
    args_ints(pg_want(store, SQL_TROUBLES_OF_LANES, pg_absorb_troubles, NULL), lanes, n);
    args_ints(pg_want(store, SQL_LEASES_ON_LANES, pg_absorb_leases, NULL), lanes, n);
    return pg_load(store, err);
}

static bool has_lane(const int64_t *lanes, size_t n, int64_t lane) {
    bool has = false;
    for (size_t i = 0; i < n && !has; i++)
        has = lanes[i] == lane;
    return has;
}

static int collect_pages(struct postgres_store *store, const int64_t *lanes, size_t n, struct driving *driving) {
    struct bytes key;
    void *row;
    int r = 0;
    for (size_t at = 0; r == 0 && map_next(&store->rows.pages, &at, &key, &row);) {
        const struct page_row *page = row;
        if (!has_lane(lanes, n, page->lane))
            continue;
        for (uint32_t i = 0; i < page->n && r == 0; i++)
            if (bits_get(&page->queued, i))
                r = driving_add(driving, (struct live_run){page->id, i, RUN_QUEUED, NULL});
    }
    for (size_t at = 0; r == 0 && map_next(&store->rows.troubles, &at, &key, &row);) {
        const struct trouble_row *trouble = row;
        if (trouble->state == TROUBLE_WAITING && has_lane(lanes, n, trouble->lane))
            r = driving_add(driving, (struct live_run){trouble->page, trouble->index, RUN_TROUBLE, NULL});
    }
    for (size_t at = 0; r == 0 && map_next(&store->rows.leases, &at, &key, &row);) {
        struct lease_row *lease = row;
        if (lease->gone || !has_lane(lanes, n, lease->lane))
            continue;
        for (uint32_t i = 0; i < lease->n_page && r == 0; i++)
            if (bits_get(&lease->bits, i) && !bits_get(&lease->asked, i)) /* a retry's bit is at its index, too */
                r = driving_add(driving, (struct live_run){lease->page, i, RUN_LEASED, lease});
    }
    return r;
}

int pg_ask(struct postgres_store *store, struct lease_row *lease, uint32_t index, bool driven_out) {
    bits_set(&lease->asked, index);
    rows_lease_dirty(&store->rows, lease);
    return rows_ask(&store->rows.asks, &(struct ask){.worker = lease->worker,
                                                     .lease = lease->id,
                                                     .page = lease->page,
                                                     .index = index,
                                                     .driven_out = driven_out});
}

static int drive_out(struct choosing *choosing, const struct live_run *run) {
    struct postgres_store *store = choosing->store;
    switch (run->kind) {
    case RUN_QUEUED:
        choosing->spawned.driven_out++;
        return pg_cancel_queued(store, rows_page(&store->rows, run->page), run->index, DRIVEN_OUT);
    case RUN_TROUBLE:
        choosing->spawned.driven_out++;
        return pg_cancel_trouble(store, rows_trouble(&store->rows, run->page, run->index), STORE_CANCELLED, DRIVEN_OUT);
    case RUN_LEASED:
        choosing->spawned.cancels = true;
        return pg_ask(store, run->lease, run->index, true);
    case RUN_NEW:
        break;
    }
    uint16_t item = choosing->which[run->index];
    if (choosing->page->items[item].child_key.n)
        keys_unadd(choosing->set, choosing->op->hashes[item]);
    choosing->which[run->index] = UINT16_MAX;
    choosing->spawned.cancelled++;
    return 0;
}

static int drive_out_for(struct choosing *choosing, uint32_t max, struct rule_key *key, struct err *err) {
    struct postgres_store *store = choosing->store;
    size_t n = 0;
    LIST_EACH (link, &key->lanes)
        n++;
    _cleanup_free_ int64_t *lanes = mem_calloc(n + 1, sizeof *lanes);
    if (!lanes)
        return -ENOMEM;
    n = 0;
    LIST_EACH (link, &key->lanes)
        lanes[n++] = LIST_ENTRY(link, struct lane_key, link)->lane->id;
    struct driving driving = {0};
    int r = read_live(store, lanes, n, err);
    if (r == 0)
        r = collect_pages(store, lanes, n, &driving);
    for (uint32_t i = 0; i < choosing->spawned.created && r == 0; i++)
        r = driving_add(&driving, (struct live_run){choosing->id, i, RUN_NEW, NULL});
    if (driving.n)
        qsort(driving.runs, driving.n, sizeof *driving.runs, by_age);
    for (size_t i = 0; i + max < driving.n && r == 0; i++)
        r = drive_out(choosing, &driving.runs[i]);
    mem_free(driving.runs);
    return r;
}

/* Older runs make room for these, or some of these do not come into being. */
static int make_room(struct choosing *choosing, struct err *err) {
    const struct workflow *workflow = choosing->workflow;
    int r = 0;
    for (size_t i = 0; i < choosing->page->n_keys && i < workflow->n_rules && r == 0; i++) {
        static struct rule_key none;
        struct rule_key *key = sched_rule_key(workflow, i, choosing->page->keys[i]);
        uint32_t max = workflow->rules[i].max_runs;
        if (workflow->rules[i].strategy != STORE_CANCEL_IN_PROGRESS || choosing->spawned.created == 0 ||
            (key ? key->live : 0) + choosing->spawned.created <= max)
            continue;
        struct rule_key empty = none;
        list_init(&empty.lanes);
        r = drive_out_for(choosing, max, key ? key : &empty, err);
        uint32_t kept = 0;
        for (uint32_t j = 0; j < choosing->spawned.created; j++)
            if (choosing->which[j] != UINT16_MAX)
                choosing->which[kept++] = choosing->which[j];
        choosing->spawned.created = kept;
    }
    return r;
}

/* ---- making it ---- */

static int find_lane(struct choosing *choosing, struct lane **ret_lane) {
    struct postgres_store *store = choosing->store;
    const struct store_page *page = choosing->page;
    _cleanup_buf_ struct buf packed = {0};
    int r = packing_add_keys(&packed, page->keys, page->n_keys);
    if (r < 0)
        return r;
    *ret_lane = sched_lane_with(choosing->workflow, buf_bytes(&packed));
    if (*ret_lane)
        return 0;
    int64_t numbers[LANE_NUMBERS] = {[LN_TURN] = ++store->meta.turn};
    if (!sched_group_known(choosing->workflow, page->keys, page->n_keys))
        numbers[LN_GROUP_TURN] = numbers[LN_TURN];
    r = sched_lane_put(&store->sched, store->meta.next_lane, choosing->workflow, buf_bytes(&packed), numbers, ret_lane);
    if (r < 0)
        return r;
    store->meta.next_lane++;
    (*ret_lane)->is_new = true;
    sched_lane_dirty(&store->sched, *ret_lane);
    return 0;
}

static int pack(const struct choosing *choosing, struct page_content *content) {
    const struct store_page *page = choosing->page;
    uint32_t n = choosing->spawned.created;
    bool keys = false, rest = false;
    _cleanup_free_ struct store_item *items = mem_calloc((size_t)n * 2, sizeof *items);
    _cleanup_free_ uint16_t *all = mem_calloc(n, sizeof *all);
    if (!items || !all)
        return -ENOMEM;
    struct bytes first = BYTES_NONE, last = BYTES_NONE;
    for (uint32_t i = 0; i < n; i++) {
        const struct store_item *item = &page->items[choosing->which[i]];
        all[i] = (uint16_t)i;
        items[i].child_key = item->child_key;
        items[n + i].generation = item->generation;
        items[n + i].input = item->input;
        rest |= item->generation.n || item->input.n;
        if (item->child_key.n == 0)
            continue;
        if (!keys || bytes_compare(item->child_key, first) < 0)
            first = item->child_key;
        if (!keys || bytes_compare(item->child_key, last) > 0)
            last = item->child_key;
        keys = true;
    }
    content->first_n = first.n < sizeof content->first_key ? first.n : sizeof content->first_key;
    content->last_n = last.n < sizeof content->last_key ? last.n : sizeof content->last_key;
    if (content->first_n)
        memcpy(content->first_key, first.p, content->first_n);
    if (content->last_n)
        memcpy(content->last_key, last.p, content->last_n);
    int r = keys ? packing_add_items(&content->keys, items, all, n) : 0;
    return r == 0 && rest ? packing_add_items(&content->rest, items + n, all, n) : r;
}

static int note_used(struct postgres_store *store, int64_t id) {
    if (store->n_used == store->cap_used) {
        size_t cap = store->cap_used ? store->cap_used * 2 : 16;
        int64_t *used = mem_reallocarray(store->used, cap, sizeof *used);
        if (!used)
            return -ENOMEM;
        store->used = used;
        store->cap_used = cap;
    }
    store->used[store->n_used++] = id;
    return 0;
}

static int new_page(struct choosing *choosing, const struct lane *lane, struct page_row **ret_page) {
    struct postgres_store *store = choosing->store;
    const struct store_page *from = choosing->page;
    struct page_row *page = rows_page_add(&store->rows, choosing->id);
    struct page_content *content = mem_zalloc(sizeof *content);
    if (page)
        page->content = content;
    else
        mem_free(content);
    int r = page && content ? pack(choosing, content) : -ENOMEM;
    if (r == 0 && from->id)
        r = note_used(store, from->id);
    if (r < 0)
        return r;
    content->page = from;
    page->seq = store->meta.next_page++;
    page->lane = lane->id;
    page->n = choosing->spawned.created;
    page->priority = from->priority ? from->priority : 1;
    page->not_before_utc_us = from->not_before_utc_us;
    page->start_by_utc_us = from->failed.n ? 0 : from->start_by_utc_us;
    page->created_utc_us = store->now_utc_us;
    page->size = (int64_t)(content->keys.n + content->rest.n + from->input.n + from->metadata.n) + HISTORY_PAGE_COST;
    page->trouble_known = page->is_new = true;
    rows_page_dirty(&store->rows, page);
    *ret_page = page;
    return 0;
}

static int make_page(struct choosing *choosing, struct lane *lane) {
    struct postgres_store *store = choosing->store;
    struct page_row *page;
    int r = new_page(choosing, lane, &page);
    if (r < 0)
        return r;
    page->n_live = page->n_queued = page->n;
    bits_fill(&page->live, page->n);
    bits_fill(&page->queued, page->n);
    bool delayed = page->not_before_utc_us > store->now_utc_us;
    page->place = delayed ? PAGE_DELAYED : PAGE_READY;
    if (delayed) /* first: else the lane would seem to have work */
        sched_add(&store->sched, lane, LN_DELAYED, page->n);
    sched_add(&store->sched, lane, LN_QUEUED, page->n);
    if (!delayed)
        sched_add(&store->sched, lane, LN_PAGES, 1);
    return 0;
}

/* Runs that end at once. */
static int make_failed(struct choosing *choosing, struct lane *lane) {
    struct postgres_store *store = choosing->store;
    struct page_row *page;
    int r = new_page(choosing, lane, &page);
    if (r < 0)
        return r;
    page->place = PAGE_FINISHED;
    store->finished_pages++;
    if (store->history_us >= 0)
        store->meta.history_bytes += page->size;
    sched_add(&store->sched, lane, LN_FAILED, page->n);
    for (uint32_t i = 0; i < page->n && r == 0; i++) {
        struct record record = {.index = i, .outcome = STORE_FAILED, .error = choosing->page->failed};
        r = pg_history_add(store, page->id, BYTES_NONE, &record);
    }
    return r;
}

static struct store_place place_of(const struct choosing *choosing, const uint32_t *index_of, size_t i) {
    uint64_t place = choosing->duplicate_of[i];
    if (place && KEYS_PAGE(place) != choosing->id)
        return (struct store_place){.page = KEYS_PAGE(place), .index = KEYS_INDEX(place)};
    uint32_t index = index_of[place ? KEYS_INDEX(place) : i];
    bool superseded = bits_get(&choosing->superseding, (uint32_t)i);
    if (index == UINT32_MAX)
        return (struct store_place){.superseded = superseded};
    return (struct store_place){choosing->id, index, !place, superseded};
}

static int tell(struct choosing *choosing, const struct op *op) {
    uint32_t index_of[STORE_PAGE_MAX]; /* of each item's run in the page */
    int r = 0;
    memset(index_of, 0xff, sizeof index_of);
    for (uint32_t i = 0; i < choosing->spawned.created && r == 0; i++) {
        uint16_t item = choosing->which[i];
        index_of[item] = i;
        if (choosing->set && op->page->items[item].child_key.n)
            r = keys_add(choosing->set, op->hashes[item], KEYS_PLACE(choosing->id, i));
    }
    for (size_t i = 0; i < op->page->n && op->page->ret_runs; i++)
        op->page->ret_runs[i] = place_of(choosing, index_of, i);
    choosing->spawned.page = choosing->spawned.created ? choosing->id : 0;
    *op->ret_spawned = choosing->spawned;
    return r;
}

static int spawn_failed(struct choosing *choosing, const struct op *op) {
    struct lane *lane;
    for (size_t i = 0; i < op->page->n; i++)
        choosing->which[i] = (uint16_t)i;
    choosing->spawned.created = (uint32_t)op->page->n;
    int r = find_lane(choosing, &lane);
    if (r == 0)
        r = make_failed(choosing, lane);
    return r < 0 ? r : tell(choosing, op);
}

int pg_spawn(struct postgres_store *store, struct op *op, struct err *err) {
    _cleanup_free_ struct choosing *choosing = mem_zalloc(sizeof *choosing);
    if (!choosing)
        return -ENOMEM;
    const struct store_page *page = op->page;
    choosing->store = store;
    choosing->page = page;
    choosing->op = op;
    choosing->workflow = sched_workflow(&store->sched, page->workflow);
    choosing->set = op->hashes ? keys_known(&store->keys, page->workflow) : NULL;
    choosing->id = page->id ? page->id : store->meta.next_page;
    if (page->failed.n)
        return spawn_failed(choosing, op);
    int r = choosing->set ? pg_spawn_read_keys(store, op, choosing->set, err) : 0;
    if (r == 0)
        r = choose(choosing);
    if (r == 0 && choosing->workflow->drives_out)
        r = make_room(choosing, err);
    struct lane *lane = NULL;
    if (r == 0 && (choosing->spawned.created || choosing->spawned.cancelled))
        r = find_lane(choosing, &lane);
    if (r < 0)
        return r;
    if (choosing->spawned.cancelled)
        sched_add(&store->sched, lane, LN_CANCELLED, choosing->spawned.cancelled);
    if (choosing->spawned.created)
        r = make_page(choosing, lane);
    return r < 0 ? r : tell(choosing, op);
}
