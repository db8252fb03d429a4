/* spawn_keys.c - what is read to decide which child keys of a new page are live. */
#include "postgres_store.h"

#include "cleanup.h"
#include "packing.h"

/* ---- child keys: before the lock ---- */

static bool has_keys(const struct store_page *page) {
    bool has = false;
    for (size_t i = 0; i < page->n && !has && page->failed.n == 0; i++)
        has = page->items[i].child_key.n > 0;
    return has;
}

static int learn_pages(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    struct keyset *set = arg;
    const struct workflow *workflow = sched_workflow(&store->sched, set->workflow);
    for (int row = 0; row < wire_rows(answer); row++) {
        int64_t id = wire_int(answer, row, 0);
        uint32_t n = (uint32_t)wire_int(answer, row, 1);
        struct bytes packed = wire_bytes(answer, row, 3);
        set->read_to = id;
        if (packed.n == 0)
            continue;
        struct packing_reader reader;
        struct bits live;
        bool sound = workflow && n <= STORE_PAGE_MAX && bits_read(&live, wire_bytes(answer, row, 2), n) &&
                     packing_reader_init(&reader, packed) == 0;
        if (sound && wire_is_null(answer, row, 2))
            bits_fill(&live, n);
        for (uint32_t i = 0; i < n && sound; i++) {
            struct store_item item;
            sound = packing_next(&reader, &item) == 0;
            if (!sound || !bits_get(&live, i) || item.child_key.n == 0)
                continue;
            int r = keys_learn(set, hash128(&workflow->hash_key, item.child_key), KEYS_PLACE(id, i));
            if (r < 0)
                return r;
        }
        if (!sound)
            return pg_corrupt(store, err, "page %lld is damaged", (long long)id);
    }
    return 0;
}

static int learn_troubles(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    struct keyset *set = arg;
    const struct workflow *workflow = sched_workflow(&store->sched, set->workflow);
    int r = workflow ? 0 : pg_corrupt(store, err, "workflow %lld is missing", (long long)set->workflow);
    for (int row = 0; row < wire_rows(answer) && r == 0; row++) {
        struct bytes key = wire_bytes(answer, row, 2);
        if (key.n)
            r = keys_learn(set, hash128(&workflow->hash_key, key),
                           KEYS_PLACE(wire_int(answer, row, 0), wire_int(answer, row, 1)));
    }
    return r;
}

static int look_or_load(struct postgres_store *store, struct err *err) {
    return store->locked ? pg_load(store, err) : pg_look(store, err);
}

static int absorb_next_page(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)store;
    (void)err;
    *(int64_t *)arg = wire_int(answer, 0, 2);
    return 0;
}

/* Reads all live child keys of the workflow. What comes meanwhile is learnt under the lock. */
static int learn_all(struct postgres_store *store, struct keyset *set, struct err *err) {
    int64_t next_page = store->locked_next_page;
    int r = 0;
    if (!store->locked) {
        args_null_int(pg_want(store, SQL_META, absorb_next_page, &next_page));
        r = pg_look(store, err);
    }
    set->read_to = 0;
    for (int64_t before = -1; r == 0 && before != set->read_to;) {
        before = set->read_to;
        struct args *args = pg_want(store, SQL_KEYS_ALL, learn_pages, set);
        args_int(args, set->workflow);
        args_int(args, before);
        r = look_or_load(store, err);
    }
    if (r == 0) {
        args_int(pg_want(store, SQL_KEYS_TROUBLES_ALL, learn_troubles, set), set->workflow);
        r = look_or_load(store, err);
    }
    if (r == 0)
        set->synced = next_page;
    return r;
}

static int absorb_gone(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)store;
    (void)err;
    struct keyset *set = arg;
    size_t n = (size_t)wire_rows(answer);
    int64_t *gone = mem_calloc(n + 1, sizeof *gone);
    if (!gone)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        gone[i] = wire_int(answer, (int)i, 0);
    keys_drop_pages(set, gone, n);
    mem_free(gone);
    return 0;
}

/* Drops what belongs to pages of which nothing is left: settled by other processes. */
static int tidy_keys(struct postgres_store *store, struct keyset *set, struct err *err) {
    _cleanup_free_ int64_t *pages = NULL;
    size_t n;
    int r = keys_pages(set, &pages, &n);
    if (r < 0)
        return r;
    args_ints(pg_want(store, SQL_KEYS_GONE, absorb_gone, set), pages, n);
    return look_or_load(store, err);
}

int pg_spawn_prepare(struct postgres_store *store, struct op *op, struct err *err) {
    const struct store_page *page = op->page;
    if (!has_keys(page))
        return 0;
    struct keyset *set = keys_set(&store->keys, page->workflow);
    if (!set)
        return -ENOMEM;
    int r = 0;
    if (set->synced == 0)
        r = learn_all(store, set, err);
    else if (set->main.count > set->tidy_at)
        r = tidy_keys(store, set, err);
    struct workflow *workflow = sched_workflow(&store->sched, page->workflow);
    op->hashes = r == 0 ? mem_calloc(page->n, sizeof *op->hashes) : NULL;
    if (!op->hashes)
        return r < 0 ? r : -ENOMEM;
    for (size_t i = 0; i < page->n; i++)
        if (page->items[i].child_key.n)
            op->hashes[i] = hash128(&workflow->hash_key, page->items[i].child_key);
    return 0;
}

/* ---- child keys: what is read with the lock ---- */

struct page_ids {
    int64_t list[STORE_PAGE_MAX];
    size_t n;
};

static void ids_add(struct page_ids *ids, int64_t id) {
    for (size_t i = ids->n; i-- > 0;)
        if (ids->list[i] == id)
            return;
    ids->list[ids->n++] = id;
}

/* The pages that runs with these child keys are in, as far as is known, and that were not read yet. */
static void find_unread(const struct postgres_store *store, const struct op *op, const struct keyset *set) {
    struct page_ids *ids = op->unread;
    ids->n = 0;
    for (size_t i = 0; i < op->page->n; i++) {
        uint64_t place = op->page->items[i].child_key.n ? keys_find(set, op->hashes[i]) : 0;
        const struct page_row *page = place ? rows_page(&store->rows, KEYS_PAGE(place)) : NULL;
        if (place && !(page && page->trouble_known))
            ids_add(ids, KEYS_PAGE(place));
    }
}

static void want_unread(struct postgres_store *store, const struct op *op) {
    if (op->unread->n == 0)
        return;
    args_ints(pg_want(store, SQL_PAGES, pg_absorb_pages, NULL), op->unread->list, op->unread->n);
    pg_want_troubles(store, op->unread->list, op->unread->n);
}

/* After they were read: a page that was not found has no run left. */
static int note_read(struct postgres_store *store, const struct op *op) {
    for (size_t i = 0; i < op->unread->n; i++) {
        struct page_row *page = rows_page(&store->rows, op->unread->list[i]);
        if (!page)
            page = rows_page_add(&store->rows, op->unread->list[i]);
        if (!page)
            return -ENOMEM;
        page->trouble_known = true;
    }
    op->unread->n = 0;
    return 0;
}

int pg_spawn_want(struct postgres_store *store, struct op *op) {
    struct keyset *set = op->hashes ? keys_known(&store->keys, op->page->workflow) : NULL;
    if (!set)
        return 0;
    op->unread = mem_zalloc(sizeof *op->unread);
    if (!op->unread)
        return -ENOMEM;
    bool nothing_new = store->optimistic && set->synced == store->locked_next_page;
    if (!set->fresh && !set->asked && !nothing_new) {
        set->asked = true;
        struct args *args = pg_want(store, SQL_KEYS_NEW, learn_pages, set);
        args_int(args, set->workflow);
        args_int(args, set->synced);
        args = pg_want(store, SQL_KEYS_TROUBLES_NEW, learn_troubles, set);
        args_int(args, set->workflow);
        args_int(args, set->synced);
    }
    find_unread(store, op, set);
    want_unread(store, op);
    return 0;
}

int pg_spawn_read_keys(struct postgres_store *store, struct op *op, struct keyset *set, struct err *err) {
    if (!set->fresh) {
        set->fresh = true;
        set->synced = store->locked_next_page;
    }
    int r = note_read(store, op);
    if (r == 0)
        find_unread(store, op, set);
    if (r < 0 || op->unread->n == 0)
        return r;
    want_unread(store, op);
    r = pg_load(store, err);
    return r < 0 ? r : note_read(store, op);
}
