/* check.c - for tests: recounts from the rows and from the parts what is kept as sums, and compares. */
#include "cleanup.h"
#include "packing.h"
#include "sqlite_store.h"

/* The number of lanes bounds everything here; one of these for each lane. */
struct recount {
    uint64_t counts[LANE_KINDS], waiting, tokens;
};

struct checking {
    struct sqlite_store *store;
    struct recount *recounts; /* by lane id - 1 */
    uint64_t leased, keys, parked_keys, pages, retries;
};

#define BAD(checking_, err_, ...) db_corrupt(&(checking_)->store->db, (err_), "check: " __VA_ARGS__)

static int check_key(struct checking *checking, const struct lane *lane, struct bytes key, int64_t page, uint32_t index,
                     bool parked, struct err *err) {
    if (key.n == 0)
        return 0;
    struct hash128 hash = work_fingerprint(lane->workflow, key);
    checking->keys++;
    if (!fingerprints_find(&checking->store->live, hash))
        return BAD(checking, err, "the child key of run %lld:%u is not known as live", (long long)page, index);
    const struct parked *at = fingerprints_find(&checking->store->parked, hash);
    if (parked != (at != NULL))
        return BAD(checking, err, "run %lld:%u is %sparked, memory says otherwise", (long long)page, index,
                   parked ? "" : "not ");
    if (at && (at->page != page || at->index != index))
        return BAD(checking, err, "the child key of parked run %lld:%u leads elsewhere", (long long)page, index);
    checking->parked_keys += parked;
    return 0;
}

/* ---- memory against memory ---- */

static int check_leases(struct checking *checking, struct err *err) {
    uint64_t n_leases = 0;
    LIST_EACH (link, &checking->store->workers) {
        LIST_EACH (at, &LIST_ENTRY(link, struct worker, link)->holds) {
            const struct hold *hold = LIST_ENTRY(at, struct hold, of_worker);
            struct recount *recount = &checking->recounts[hold->lane->id - 1];
            uint32_t leased = 0;
            LIST_EACH (lease_link, &hold->leases) {
                const struct lease *lease = LIST_ENTRY(lease_link, struct lease, link);
                uint32_t bits = 0;
                for (uint32_t i = 0; i < lease->words; i++) {
                    bits += (uint32_t)__builtin_popcountll(lease->bits[i]);
                    if (lease->work->retry)
                        continue;
                    struct page *page = LIST_ENTRY(lease->work, struct page, work);
                    uint32_t word = lease->first / 64 + i;
                    if ((lease->bits[i] & ~page_live_bits(page)[word]) ||
                        (lease->bits[i] & page_queued_bits(page)[word]))
                        return BAD(checking, err, "lease %lld has runs that are queued or settled",
                                   (long long)lease->id);
                }
                if (bits != lease->left || bits == 0)
                    return BAD(checking, err, "lease %lld has %u runs, not %u", (long long)lease->id, bits,
                               lease->left);
                leased += bits;
                n_leases++;
            }
            if (leased != hold->leased || leased == 0 || hold->tokens == 0)
                return BAD(checking, err, "a worker has %u runs leased on lane %lld, not %u, with %u tokens", leased,
                           (long long)hold->lane->id, hold->leased, hold->tokens);
            recount->counts[LANE_LEASED] += leased;
            recount->tokens += hold->tokens;
            checking->leased += leased;
        }
    }
    if (checking->leased != checking->store->leased || n_leases != checking->store->leases.count)
        return BAD(checking, err, "%llu runs are leased, not %llu", (unsigned long long)checking->leased,
                   (unsigned long long)checking->store->leased);
    return 0;
}

static int check_work(struct checking *checking, struct err *err) {
    LIST_EACH (link, &checking->store->pages) {
        struct page *page = LIST_ENTRY(LIST_ENTRY(link, struct work, all), struct page, work);
        uint32_t live = 0, queued = 0;
        for (uint32_t i = 0; i < page_words(page); i++) {
            live += (uint32_t)__builtin_popcountll(page_live_bits(page)[i]);
            queued += (uint32_t)__builtin_popcountll(page_queued_bits(page)[i]);
        }
        if (live != page->live || queued != page->queued || live == 0 || (queued > 0) != (page->work.place != WORK_OUT))
            return BAD(checking, err, "page %lld counts its runs wrongly", (long long)page->work.page);
        checking->recounts[page->work.lane->id - 1].counts[LANE_QUEUED] += queued;
        checking->pages++;
    }
    LIST_EACH (link, &checking->store->retries) {
        const struct retry *retry = LIST_ENTRY(LIST_ENTRY(link, struct work, all), struct retry, work);
        struct recount *recount = &checking->recounts[retry->work.lane->id - 1];
        if (retry->leased != (retry->work.place == WORK_OUT))
            return BAD(checking, err, "run %lld:%u is in the wrong place", (long long)retry->work.page,
                       retry->work.index);
        recount->counts[LANE_RETRIES] += !retry->leased;
        recount->waiting += retry->work.place == WORK_DUE;
        checking->retries++;
    }
    return 0;
}

/* ---- rows against memory ---- */

static int check_page_rows(struct checking *checking, struct err *err) {
    struct sqlite_store *store = checking->store;
    struct list *at = store->pages.next; /* in the order of their ids, as they are made in it */
    struct db_use use = db_use(&store->db, DB_PAGE_EACH);
    uint64_t rows = 0;
    int r;
    while ((r = db_row(&use, "check the pages", err)) > 0) {
        int64_t id = db_get_int(&use, 0);
        struct page *page =
            at == &store->pages ? NULL : LIST_ENTRY(LIST_ENTRY(at, struct work, all), struct page, work);
        struct bytes packed, bits;
        r = db_get_blob(&use, 4, &packed, err);
        if (r == 0)
            r = db_get_blob(&use, 5, &bits, err);
        if (r == 0 && (!page || page->work.page != id || page->work.lane->id != db_get_int(&use, 1) ||
                       page->n != db_get_int(&use, 2)))
            r = BAD(checking, err, "page %lld is not the one in memory", (long long)id);
        size_t size = page ? page_words(page) * sizeof(uint64_t) : 0;
        if (r == 0 &&
            (page->has_live != (bits.n != 0) || (bits.n && (bits.n != size || memcmp(bits.p, page->bits, size))) ||
             (bits.n == 0 && page->live != page->n)))
            r = BAD(checking, err, "page %lld has other runs left than memory says", (long long)id);
        struct packing_reader reader;
        if (r == 0 && packing_reader_init(&reader, packed) < 0)
            r = BAD(checking, err, "page %lld does not unpack", (long long)id);
        for (uint32_t i = 0; r == 0 && i < page->n; i++) {
            struct store_item item;
            if (packing_next(&reader, &item) < 0)
                r = BAD(checking, err, "page %lld does not unpack", (long long)id);
            else if (bit_get(page_live_bits(page), i))
                r = check_key(checking, page->work.lane, item.child_key, id, i, false, err);
        }
        if (r < 0) {
            db_done(&use);
            return r;
        }
        rows++;
        at = at->next;
    }
    if (r == 0 && rows != checking->pages)
        r = BAD(checking, err, "%llu pages, not %llu", (unsigned long long)rows, (unsigned long long)checking->pages);
    return r;
}

static int check_run_rows(struct checking *checking, struct err *err) {
    struct sqlite_store *store = checking->store;
    struct db_use use = db_use(&store->db, DB_RUN_EACH);
    uint64_t waiting = 0;
    int r;
    while ((r = db_row(&use, "check the runs", err)) > 0) {
        int64_t page = db_get_int(&use, 0);
        uint32_t index = (uint32_t)db_get_int(&use, 1);
        bool parked = db_get_int(&use, 3) == DB_RUN_PARKED;
        struct lane *lane = lanes_lane(&store->lanes, db_get_int(&use, 2));
        struct bytes key;
        r = db_get_blob(&use, 5, &key, err);
        if (r == 0 && !lane)
            r = BAD(checking, err, "run %lld:%u has no lane", (long long)page, index);
        if (r == 0)
            r = check_key(checking, lane, key, page, index, parked, err);
        if (r < 0) {
            db_done(&use);
            return r;
        }
        if (parked)
            checking->recounts[lane->id - 1].counts[LANE_PARKED]++;
        else
            waiting++;
    }
    if (r == 0 && waiting != checking->retries)
        r = BAD(checking, err, "%llu runs wait, not %llu", (unsigned long long)waiting,
                (unsigned long long)checking->retries);
    return r;
}

static int check_lane_rows(struct checking *checking, struct err *err) {
    struct sqlite_store *store = checking->store;
    struct db_use use = db_use(&store->db, DB_LANE_EACH);
    uint64_t rows = 0;
    int r;
    while ((r = db_row(&use, "check the lanes", err)) > 0) {
        const struct lane *lane = lanes_lane(&store->lanes, db_get_int(&use, 0));
        rows++;
        if (!lane || (uint64_t)db_get_int(&use, 3) != lane->done || (uint64_t)db_get_int(&use, 4) != lane->failed ||
            (uint64_t)db_get_int(&use, 5) != lane->cancelled) {
            r = BAD(checking, err, "lane %lld has other numbers than memory says", (long long)db_get_int(&use, 0));
            db_done(&use);
            return r;
        }
    }
    if (r == 0 && rows != store->lanes.n_lanes)
        r = BAD(checking, err, "%llu lanes, not %zu", (unsigned long long)rows, store->lanes.n_lanes);
    return r;
}

/* ---- sums ---- */

static int check_lanes(struct checking *checking, struct err *err) {
    const struct lanes *lanes = &checking->store->lanes;
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        const struct lane *lane = lanes->lanes[i];
        const struct recount *recount = &checking->recounts[i];
        if (memcmp(recount->counts, lane->counts, sizeof lane->counts) != 0 || recount->waiting != lane->waiting ||
            recount->tokens != lane->tokens)
            return BAD(checking, err, "lane %lld counts its runs or tokens wrongly", (long long)lane->id);
        bool work = heap_top(&lane->pages) || heap_top(&lane->retries);
        if (work != (lane->place != LANE_IDLE) || lane->place == LANE_ASIDE)
            return BAD(checking, err, "lane %lld is in the wrong place", (long long)lane->id);
        if (lane->place == LANE_BLOCKED && !lane->blocked_on->candidate && rule_key_room(lane->blocked_on) > 0)
            return BAD(checking, err, "lane %lld waits for room that is there", (long long)lane->id);
    }
    return 0;
}

static int check_rule_key(struct checking *checking, const struct workflow *workflow, size_t rule,
                          const struct rule_key *key, struct err *err) {
    const struct lanes *lanes = &checking->store->lanes;
    bool late = rule > workflow->first_round_robin, robin = workflow->rules[rule].strategy == STORE_GROUP_ROUND_ROBIN;
    uint64_t used = 0;
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        const struct lane *lane = lanes->lanes[i];
        if (lane->workflow != workflow || rule >= lane->n_keys || lane->keys[rule].rule_key != key)
            continue;
        used += robin  ? lane->tokens
                : late ? lane->counts[LANE_LEASED] + lane->counts[LANE_RETRIES]
                       : lane->counts[LANE_LEASED] + lane->counts[LANE_RETRIES] + lane->counts[LANE_QUEUED];
    }
    if (used != key->used)
        return BAD(checking, err, "a key of rule %zu of workflow %lld counts %llu, not %llu", rule + 1,
                   (long long)workflow->id, (unsigned long long)key->used, (unsigned long long)used);
    return 0;
}

static int check_rules(struct checking *checking, struct err *err) {
    const struct lanes *lanes = &checking->store->lanes;
    for (size_t i = 0; i < lanes->n_workflows; i++)
        for (size_t rule = 0; rule < lanes->workflows[i]->n_rules; rule++) {
            struct bytes name;
            void *key;
            for (size_t at = 0; map_next(&lanes->workflows[i]->keys[rule], &at, &name, &key);) {
                int r = check_rule_key(checking, lanes->workflows[i], rule, key, err);
                if (r < 0)
                    return r;
            }
        }
    return 0;
}

static int check_file(struct checking *checking, struct err *err) {
    struct sqlite_store *store = checking->store;
    struct db_use orphans = db_use(&store->db, DB_LIVE_ORPHANS);
    int r = db_row(&orphans, "check the file", err);
    if (r > 0) {
        r = BAD(checking, err, "what is left of page %lld, which is not there", (long long)db_get_int(&orphans, 0));
        db_done(&orphans);
    }
    if (r < 0)
        return r;
    struct db_use quick = db_use(&store->db, DB_QUICK_CHECK);
    r = db_row(&quick, "check the file", err);
    if (r <= 0)
        return r;
    struct bytes said;
    r = db_get_blob(&quick, 0, &said, err);
    if (r == 0 && !bytes_equal(said, BYTES("ok")))
        r = BAD(checking, err, "%.*s", (int)said.n, said.p);
    db_done(&quick);
    return r;
}

int check_all(struct sqlite_store *store, struct err *err) {
    struct checking checking = {.store = store};
    _cleanup_free_ struct recount *recounts = mem_calloc(store->lanes.n_lanes + 1, sizeof *recounts);
    if (!recounts)
        return -ENOMEM;
    checking.recounts = recounts;
    static int (*const steps[])(struct checking *, struct err *) = {
        check_leases,    check_work,  check_page_rows, check_run_rows,
        check_lane_rows, check_lanes, check_rules,     check_file,
    };
    int r = 0;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && r == 0; i++)
        r = steps[i](&checking, err);
    if (r == 0 && (checking.keys != store->live.count || checking.parked_keys != store->parked.count))
        r = BAD(&checking, err, "%zu child keys are known as live (%zu parked), not %llu (%llu)", store->live.count,
                store->parked.count, (unsigned long long)checking.keys, (unsigned long long)checking.parked_keys);
    return r;
}
