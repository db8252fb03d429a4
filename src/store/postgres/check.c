/* check.c - for tests: recounts from the rows what is kept as sums, and compares. */
#include "postgres_store.h"

#include "cleanup.h"
#include "packing.h"

#define BAD(checking_, err_, ...) pg_corrupt((checking_)->store, (err_), "check: " __VA_ARGS__)

struct recount {
    int64_t v[LANE_NUMBERS];
};

struct checking {
    struct postgres_store *store;
    PGresult *pages, *troubles, *leases, *holds, *lanes, *history, *kept;
    struct recount *lanes_found; /* by lane id */
    struct map leased;           /* page -> struct bits of leased runs, owned */
    struct fingerprints live;    /* child keys of live runs, of all workflows */
};

static int page_of(struct checking *checking, int64_t page, struct bits **ret_bits) {
    struct bytes key = bytes_of(&page, sizeof page);
    *ret_bits = map_get(&checking->leased, key);
    if (*ret_bits)
        return 0;
    *ret_bits = mem_zalloc(sizeof **ret_bits);
    if (!*ret_bits)
        return -ENOMEM;
    int r = map_put(&checking->leased, key, *ret_bits);
    if (r < 0)
        mem_free(*ret_bits);
    return r;
}

static int check_leases(struct checking *checking, struct err *err) {
    for (int row = 0; row < wire_rows(checking->leases); row++) {
        int64_t id = wire_int(checking->leases, row, 0), page = wire_int(checking->leases, row, 3);
        const struct lease_row *lease = rows_lease(&checking->store->rows, id);
        if (!lease || lease->n == 0)
            return BAD(checking, err, "lease %lld is empty", (long long)id);
        struct hold_row *hold = rows_hold(&checking->store->rows, lease->worker, lease->lane);
        if (!hold || hold->leased < lease->n || hold->tokens == 0)
            return BAD(checking, err, "lease %lld is not in a hold", (long long)id);
        if (LEASE_IS_RETRY(id) != (lease->retry >= 0))
            return BAD(checking, err, "lease %lld has the wrong kind of number", (long long)id);
        checking->lanes_found[lease->lane].v[LN_LEASED] += lease->n;
        const struct trouble_row *trouble =
            lease->retry >= 0 ? rows_trouble(&checking->store->rows, page, (uint32_t)lease->retry) : NULL;
        if (lease->retry >= 0 && (!trouble || trouble->state != TROUBLE_LEASED || lease->n != 1))
            return BAD(checking, err, "lease %lld is of no run in trouble", (long long)id);
        struct bits *bits;
        int r = lease->retry < 0 ? page_of(checking, page, &bits) : 0;
        if (r < 0)
            return r;
        for (int i = 0; i < PAGE_WORDS && lease->retry < 0; i++) {
            if (bits->w[i] & lease->bits.w[i])
                return BAD(checking, err, "a run of page %lld is leased twice", (long long)page);
            bits->w[i] |= lease->bits.w[i];
        }
    }
    return 0;
}

/* What is kept is of runs of pages that are leased. */
static int check_kept(struct checking *checking, struct err *err) {
    for (int row = 0; row < wire_rows(checking->kept); row++) {
        int64_t page = wire_int(checking->kept, row, 0), index = wire_int(checking->kept, row, 1);
        const struct bits *leased = map_get(&checking->leased, bytes_of(&page, sizeof page));
        if (!leased || index < 0 || index >= STORE_PAGE_MAX || !bits_get(leased, (uint32_t)index))
            return BAD(checking, err, "of run %lld:%lld a checkpoint is kept, and it is not leased so", (long long)page,
                       (long long)index);
    }
    return 0;
}

static int check_holds(struct checking *checking, struct err *err) {
    for (int row = 0; row < wire_rows(checking->holds); row++) {
        int64_t worker = wire_int(checking->holds, row, 0), lane = wire_int(checking->holds, row, 1);
        int64_t tokens = wire_int(checking->holds, row, 2), leased = wire_int(checking->holds, row, 3), found = 0;
        for (int i = 0; i < wire_rows(checking->leases); i++)
            if (wire_int(checking->leases, i, 1) == worker && wire_int(checking->leases, i, 2) == lane)
                found += wire_int(checking->leases, i, 5);
        if (found != leased || leased == 0 || tokens == 0)
            return BAD(checking, err, "worker %lld has %lld runs of lane %lld, not %lld, with %lld tokens",
                       (long long)worker, (long long)found, (long long)lane, (long long)leased, (long long)tokens);
        checking->lanes_found[lane].v[LN_TOKENS] += tokens;
    }
    return 0;
}

static int check_key(struct checking *checking, const struct workflow *workflow, struct bytes key, int64_t page,
                     uint32_t index, struct err *err) {
    if (key.n == 0)
        return 0;
    struct hash128 hash = hash128(&workflow->hash_key, key);
    int r = fingerprints_add(&checking->live, hash, NULL);
    if (r == -EEXIST)
        return BAD(checking, err, "the child key of run %lld:%u is live twice", (long long)page, index);
    const struct keyset *set = keys_known(&checking->store->keys, workflow->id);
    uint64_t place = set && (set->fresh || set->synced > page) ? keys_find(set, hash) : KEYS_PLACE(page, index);
    if (r == 0 && place != KEYS_PLACE(page, index))
        r = BAD(checking, err, "the child key of run %lld:%u is not known as live", (long long)page, index);
    return r;
}

static int check_page(struct checking *checking, int row, struct err *err) {
    const struct page_row *page = rows_page(&checking->store->rows, wire_int(checking->pages, row, 0));
    if (!page)
        return BAD(checking, err, "a page is missing");
    const struct workflow *workflow = sched_lane(&checking->store->sched, page->lane)->workflow;
    struct recount *found = &checking->lanes_found[page->lane];
    const struct bits *leased = map_get(&checking->leased, bytes_of(&page->id, sizeof page->id));
    static const struct bits none;
    bool sound = page->place == PAGE_FINISHED  ? page->n_live == 0
                 : page->place == PAGE_LEASED  ? page->n_live > 0 && page->n_queued == 0
                 : page->place == PAGE_DELAYED ? page->n_queued > 0 && page->not_before_utc_us > 0
                                               : page->n_queued > 0;
    for (int i = 0; i < PAGE_WORDS; i++)
        sound = sound && ((leased ? leased : &none)->w[i] | page->queued.w[i]) == page->live.w[i] &&
                ((leased ? leased : &none)->w[i] & page->queued.w[i]) == 0;
    sound = sound && pg_page_rank(page) == wire_int(checking->pages, row, 15) &&
            workflow->id == wire_int(checking->pages, row, 17) &&
            wire_is_null(checking->pages, row, 16) == (page->place != PAGE_FINISHED);
    if (!sound)
        return BAD(checking, err, "page %lld counts its runs wrongly", (long long)page->id);
    found->v[LN_QUEUED] += page->n_queued;
    found->v[LN_DELAYED] += page->place == PAGE_DELAYED ? page->n_queued : 0;
    found->v[LN_PAGES] += page->place == PAGE_READY;
    struct packing_reader reader;
    struct bytes packed = wire_bytes(checking->pages, row, 18);
    int r = packed.n ? packing_reader_init(&reader, packed) : 0;
    for (uint32_t i = 0; i < page->n && packed.n && r == 0; i++) {
        struct store_item item;
        r = packing_next(&reader, &item);
        if (r == 0 && bits_get(&page->live, i))
            r = check_key(checking, workflow, item.child_key, page->id, i, err);
    }
    return r == -EBADMSG ? BAD(checking, err, "page %lld does not unpack", (long long)page->id) : r;
}

static int check_troubles(struct checking *checking, struct err *err) {
    int r = 0;
    for (int row = 0; row < wire_rows(checking->troubles) && r == 0; row++) {
        int64_t page = wire_int(checking->troubles, row, 0), due = wire_int(checking->troubles, row, 4);
        uint32_t index = (uint32_t)wire_int(checking->troubles, row, 1);
        enum trouble_state state = (enum trouble_state)wire_int(checking->troubles, row, 3);
        const struct lane *lane = sched_lane(&checking->store->sched, wire_int(checking->troubles, row, 2));
        const struct page_row *of = rows_page(&checking->store->rows, page);
        if (of && bits_get(&of->live, index))
            return BAD(checking, err, "run %lld:%u is in its page and in trouble", (long long)page, index);
        struct recount *found = &checking->lanes_found[lane->id];
        found->v[LN_RETRIES] += state == TROUBLE_WAITING;
        found->v[LN_PARKED] += state == TROUBLE_PARKED;
        if (state == TROUBLE_WAITING && (lane->v[LN_RETRY_DUE] == 0 || lane->v[LN_RETRY_DUE] > (due > 0 ? due : 1)))
            return BAD(checking, err, "lane %lld does not know when run %lld:%u is due", (long long)lane->id,
                       (long long)page, index);
        if (state != TROUBLE_FINISHED)
            r = check_key(checking, lane->workflow, wire_bytes(checking->troubles, row, 8), page, index, err);
    }
    return r;
}

/* Memory, the lane's row, and what was counted. */
static int check_lanes(struct checking *checking, struct err *err) {
    static const enum lane_number counted[] = {LN_QUEUED, LN_DELAYED, LN_PAGES, LN_RETRIES,
                                               LN_LEASED, LN_PARKED,  LN_TOKENS};
    for (int row = 0; row < wire_rows(checking->lanes); row++) {
        int64_t id = wire_int(checking->lanes, row, 0);
        const struct lane *lane = sched_lane(&checking->store->sched, id);
        if (!lane)
            return BAD(checking, err, "lane %lld is not in memory", (long long)id);
        for (int i = 0; i < LANE_NUMBERS; i++)
            if (wire_int(checking->lanes, row, 3 + i) != lane->v[i])
                return BAD(checking, err, "number %d of lane %lld is %lld in its row, %lld in memory", i, (long long)id,
                           (long long)wire_int(checking->lanes, row, 3 + i), (long long)lane->v[i]);
        for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++)
            if (checking->lanes_found[id].v[counted[i]] != lane->v[counted[i]])
                return BAD(checking, err, "number %d of lane %lld is %lld, not %lld", (int)counted[i], (long long)id,
                           (long long)checking->lanes_found[id].v[counted[i]], (long long)lane->v[counted[i]]);
    }
    return 0;
}

/* What rules count is the sum over the lanes with the key. */
static int check_rules(struct checking *checking, struct err *err) {
    const struct sched *sched = &checking->store->sched;
    for (size_t i = 0; i < sched->n_lanes; i++) {
        const struct lane *lane = sched->lanes[i];
        for (size_t j = 0; lane && j < lane->n_keys; j++) {
            const struct rule_key *key = lane->keys[j].rule_key;
            uint64_t tokens = 0, live = 0, claimed = 0;
            for (size_t k = 0; k < sched->n_lanes && key; k++) {
                const struct lane *other = sched->lanes[k];
                if (!other || j >= other->n_keys || other->keys[j].rule_key != key)
                    continue;
                tokens += (uint64_t)other->v[LN_TOKENS];
                claimed += (uint64_t)(other->v[LN_LEASED] + other->v[LN_RETRIES]);
                live += (uint64_t)(other->v[LN_LEASED] + other->v[LN_RETRIES] + other->v[LN_QUEUED]);
            }
            if (key && (key->tokens != tokens || key->live != live || key->claimed != claimed))
                return BAD(checking, err, "a key of rule %zu of workflow %lld counts wrongly", j + 1,
                           (long long)lane->workflow->id);
        }
    }
    return 0;
}

static int check_numbers(struct checking *checking, struct err *err) {
    const struct postgres_store *store = checking->store;
    const struct meta *meta = &store->meta;
    if (wire_int(checking->history, 0, 0) != meta->history_bytes ||
        wire_int(checking->history, 0, 1) != meta->history_runs)
        return BAD(checking, err, "the history has %lld runs and %lld bytes, not %lld and %lld",
                   (long long)wire_int(checking->history, 0, 1), (long long)wire_int(checking->history, 0, 0),
                   (long long)meta->history_runs, (long long)meta->history_bytes);
    for (int row = 0; row < wire_rows(checking->pages); row++)
        if (wire_int(checking->pages, row, 0) >= meta->next_page ||
            wire_int(checking->pages, row, 1) >= meta->next_page)
            return BAD(checking, err, "page %lld has a number that is not taken",
                       (long long)wire_int(checking->pages, row, 0));
    return 0;
}

static int check_steps(struct checking *checking, struct err *err) {
    checking->lanes_found = mem_calloc(checking->store->sched.n_lanes + 1, sizeof *checking->lanes_found);
    if (!checking->lanes_found)
        return -ENOMEM;
    int r = check_leases(checking, err);
    if (r == 0)
        r = check_kept(checking, err);
    if (r == 0)
        r = check_holds(checking, err);
    for (int row = 0; row < wire_rows(checking->pages) && r == 0; row++)
        r = check_page(checking, row, err);
    if (r == 0)
        r = check_troubles(checking, err);
    if (r == 0)
        r = check_lanes(checking, err);
    if (r == 0)
        r = check_rules(checking, err);
    return r == 0 ? check_numbers(checking, err) : r;
}

int pg_check(struct postgres_store *store, struct err *err) {
    struct checking checking = {.store = store};
    fingerprints_init(&checking.live, 0);
    int r = pg_run_ops(store, err);
    if (r == 0)
        r = pg_load(store, err);
    const struct {
        enum sql_statement statement;
        pg_absorb_fn *absorb;
        PGresult **keep;
    } wants[] = {
        {SQL_CHECK_PAGES, pg_absorb_pages, &checking.pages},
        {SQL_CHECK_TROUBLES, pg_absorb_troubles, &checking.troubles},
        {SQL_CHECK_LEASES, pg_absorb_leases, &checking.leases},
        {SQL_CHECK_HOLDS, pg_absorb_holds, &checking.holds},
        {SQL_LANES, NULL, &checking.lanes},
        {SQL_CHECK_HISTORY, NULL, &checking.history},
        {SQL_CHECK_KEPT, NULL, &checking.kept},
    };
    for (size_t i = 0; i < sizeof wants / sizeof wants[0] && r == 0; i++) {
        pg_want(store, wants[i].statement, wants[i].absorb, NULL);
        pg_want_keep(store, wants[i].keep);
    }
    if (r == 0)
        r = pg_load(store, err);
    if (r == 0)
        r = check_steps(&checking, err);
    for (size_t i = 0; i < sizeof wants / sizeof wants[0]; i++)
        PQclear(*wants[i].keep);
    struct bytes key;
    void *bits;
    for (size_t at = 0; map_next(&checking.leased, &at, &key, &bits);)
        mem_free(bits);
    map_free(&checking.leased);
    fingerprints_free(&checking.live);
    mem_free(checking.lanes_found);
    return r;
}
