/* check.c - for tests: recounts from the rows and from the parts what is kept as sums, and compares. */
#include "cleanup.h"
#include "packing.h"
#include "sqlite_store.h"

/* The number of lanes bounds everything here; one of these for each lane. */
struct recount {
    uint64_t counts[LANE_KINDS], waiting, tokens, asked;
};

struct checking {
    struct sqlite_store *store;
    struct recount *recounts; /* by the lane's place in lanes->lanes */
    uint64_t leased, keys, parked_keys, pages, retries;
    uint64_t history_bytes, history_runs;
};

static struct recount *recount_of(struct checking *checking, const struct lane *lane) {
    return &checking->recounts[lanes_index(&checking->store->lanes, lane->id)];
}

#define BAD(checking_, err_, ...) db_corrupt(&(checking_)->store->db, (err_), "check: " __VA_ARGS__)

static int check_key(struct checking *checking, const struct lane *lane, struct bytes key, int64_t page, uint32_t index,
                     bool parked, struct err *err) {
    if (key.n == 0)
        return 0;
    struct hash128 hash = work_fingerprint(lane->workflow, key);
    checking->keys++;
    const uint64_t *place = fingerprints_find(&checking->store->live, hash);
    if (!place)
        return BAD(checking, err, "the child key of run %lld:%u is not known as live", (long long)page, index);
    if (*place != WORK_PLACE(page, index))
        return BAD(checking, err, "the child key of run %lld:%u leads elsewhere", (long long)page, index);
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
            struct recount *recount = recount_of(checking, hold->lane);
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

static int check_page(struct checking *checking, struct page *page, struct err *err) {
    uint32_t live = 0, queued = 0;
    bool fresh = false; /* was some live run never leased? */
    for (uint32_t i = 0; i < page_words(page); i++) {
        live += (uint32_t)__builtin_popcountll(page_live_bits(page)[i]);
        queued += (uint32_t)__builtin_popcountll(page_queued_bits(page)[i]);
        fresh |= page->deadline && (page_live_bits(page)[i] & ~page->deadline->bits[i]);
    }
    if (live != page->live || queued != page->queued || live == 0 || (queued > 0) != (page->work.place != WORK_OUT))
        return BAD(checking, err, "page %lld counts its runs wrongly", (long long)page->work.page);
    if (page->deadline && page->deadline->waits != fresh)
        return BAD(checking, err, "page %lld waits wrongly for its start", (long long)page->work.page);
    if (page_find(checking->store, page->work.page) != page)
        return BAD(checking, err, "page %lld is not found by its id", (long long)page->work.page);
    recount_of(checking, page->work.lane)->counts[LANE_QUEUED] += queued;
    checking->pages++;
    return 0;
}

static int check_retry(struct checking *checking, const struct retry *retry, struct err *err) {
    struct recount *recount = recount_of(checking, retry->work.lane);
    if (retry->leased != (retry->work.place == WORK_OUT) ||
        retry_find(checking->store, retry->work.page, retry->work.index) != retry)
        return BAD(checking, err, "run %lld:%u is in the wrong place", (long long)retry->work.page, retry->work.index);
    recount->counts[LANE_RETRIES] += !retry->leased;
    recount->waiting += retry->work.place == WORK_DUE;
    checking->retries++;
    return 0;
}

static int check_work(struct checking *checking, struct err *err) {
    const struct lanes *lanes = &checking->store->lanes;
    int r = 0;
    for (size_t i = 0; i < lanes->n_lanes && r == 0; i++) {
        LIST_EACH (link, &lanes->lanes[i]->all_pages)
            if (r == 0)
                r = check_page(checking, LIST_ENTRY(LIST_ENTRY(link, struct work, all), struct page, work), err);
        LIST_EACH (link, &lanes->lanes[i]->all_retries)
            if (r == 0)
                r = check_retry(checking, LIST_ENTRY(LIST_ENTRY(link, struct work, all), struct retry, work), err);
    }
    if (r == 0 && checking->store->known_n != checking->pages + checking->retries)
        r = BAD(checking, err, "%zu pages and runs in trouble are known by their ids, not %llu",
                checking->store->known_n, (unsigned long long)(checking->pages + checking->retries));
    return r;
}

/* Who was asked to end: rows and memory, each a run that is leased. */
static int check_asks(struct checking *checking, struct err *err) {
    struct sqlite_store *store = checking->store;
    struct db_use use = db_use(&store->db, DB_ASK_EACH);
    uint64_t rows = 0;
    int r;
    while ((r = db_row(&use, "check who was asked to end", err)) > 0) {
        int64_t id = db_get_int(&use, 0);
        uint32_t index = (uint32_t)db_get_int(&use, 1);
        const struct ask *ask = cancel_asked(store, id, index);
        const struct page *page = page_find(store, id);
        const struct retry *retry = retry_find(store, id, index);
        const struct lease *lease = retry  ? leases_of_run(&retry->work, index)
                                    : page ? leases_of_run(&page->work, index)
                                           : NULL;
        if (!ask || !lease || lease->id != ask->lease || ask->driven_out != db_get_int(&use, 2)) {
            db_done(&use);
            return BAD(checking, err, "run %lld:%u was asked to end and is not leased so", (long long)id, index);
        }
        recount_of(checking, lease->hold->lane)->asked++;
        rows++;
    }
    if (r == 0 && rows != store->asks.count)
        r = BAD(checking, err, "%llu runs were asked to end, not %zu", (unsigned long long)rows, store->asks.count);
    return r;
}

/* What is kept is of runs of pages that are leased. */
static int check_kept(struct checking *checking, struct err *err) {
    struct sqlite_store *store = checking->store;
    struct db_use use = db_use(&store->db, DB_KEPT_EACH);
    db_int(&use, 1, 0);
    db_int(&use, 2, 0);
    int r;
    while ((r = db_row(&use, "check the checkpoints", err)) > 0) {
        int64_t id = db_get_int(&use, 0);
        uint32_t index = (uint32_t)db_get_int(&use, 1);
        const struct page *page = page_find(store, id);
        if (!store->any_kept || !page || !leases_of_run(&page->work, index)) {
            db_done(&use);
            return BAD(checking, err, "of run %lld:%u a checkpoint is kept, and it is not leased so", (long long)id,
                       index);
        }
    }
    return r;
}

/* ---- rows against memory ---- */

static int check_page_row(struct checking *checking, struct db_use *use, struct err *err) {
    int64_t id = db_get_int(use, 0);
    struct page *page = page_find(checking->store, id);
    struct bytes packed, bits;
    int r = db_get_blob(use, 4, &packed, err);
    if (r == 0)
        r = db_get_blob(use, 5, &bits, err);
    if (r < 0)
        return r;
    if (!page || page->work.lane->id != db_get_int(use, 1) || page->n != db_get_int(use, 2) ||
        page->work.priority != db_get_int(use, 7) || page->cost != db_get_int(use, 8) ||
        (page->deadline ? page->deadline->start_by_utc_us : 0) != db_get_int(use, 6))
        return BAD(checking, err, "page %lld is not the one in memory", (long long)id);
    size_t size = page_words(page) * sizeof(uint64_t);
    bool same = bits.n == 0 ? page->live == page->n
                            : bits.n == (page->deadline ? 2 * size : size) && memcmp(bits.p, page->bits, size) == 0;
    if (same && page->deadline)
        for (uint32_t i = 0; i < page_words(page) && same; i++)
            same = bits.n ? memcmp(bits.p + size, page->deadline->bits, size) == 0 : page->deadline->bits[i] == 0;
    if (!same)
        return BAD(checking, err, "page %lld has other runs left than memory says", (long long)id);
    struct packing_reader reader;
    if (packing_reader_init(&reader, packed) < 0)
        return BAD(checking, err, "page %lld does not unpack", (long long)id);
    for (uint32_t i = 0; r == 0 && i < page->n; i++) {
        struct store_item item;
        if (packing_next(&reader, &item) < 0)
            r = BAD(checking, err, "page %lld does not unpack", (long long)id);
        else if (bit_get(page_live_bits(page), i))
            r = check_key(checking, page->work.lane, item.child_key, id, i, false, err);
    }
    return r;
}

static int check_page_rows(struct checking *checking, struct err *err) {
    struct db_use use = db_use(&checking->store->db, DB_LIVE_EACH);
    uint64_t rows = 0;
    int r;
    while ((r = db_row(&use, "check the pages", err)) > 0) {
        r = check_page_row(checking, &use, err);
        if (r < 0) {
            db_done(&use);
            return r;
        }
        rows++;
    }
    if (r == 0 && rows != checking->pages)
        r = BAD(checking, err, "%llu pages, not %llu", (unsigned long long)rows, (unsigned long long)checking->pages);
    return r;
}

/* Pages that have no live runs any more: there because of their history. */
static int check_past_pages(struct checking *checking, struct err *err) {
    struct db_use use = db_use(&checking->store->db, DB_PAGE_PAST);
    int r;
    while ((r = db_row(&use, "check the pages of the past", err)) > 0) {
        checking->history_bytes += (uint64_t)db_get_int(&use, 1);
        if (!db_get_int(&use, 2)) {
            r = BAD(checking, err, "page %lld has neither live runs nor a history", (long long)db_get_int(&use, 0));
            db_done(&use);
            return r;
        }
    }
    return r;
}

static int check_ended_row(struct checking *checking, struct db_use *use, struct err *err) {
    struct bytes packed;
    int r = db_get_blob(use, 4, &packed, err);
    if (r < 0)
        return r;
    struct packing_records records;
    struct packing_record record;
    uint64_t runs = 0;
    bool own = false, needs_page = false;
    r = packing_records_init(&records, packed);
    while (r >= 0 && (r = packing_next_record(&records, &record)) > 0) {
        bool last = record.outcome != STORE_RETRY && record.outcome != STORE_PARKED;
        runs += last;
        own |= record.own != NULL;
        needs_page |= last && !record.own;
    }
    if (r < 0 || runs != (uint64_t)db_get_int(use, 2) || own != (db_get_int(use, 3) != 0) ||
        (needs_page && !db_get_int(use, 6)))
        return BAD(checking, err, "what ended of page %lld is not sound", (long long)db_get_int(use, 1));
    checking->history_runs += runs;
    checking->history_bytes += (uint64_t)db_get_int(use, 5);
    return 0;
}

static int check_ended_rows(struct checking *checking, struct err *err) {
    struct sqlite_store *store = checking->store;
    struct db_use use = db_use(&store->db, DB_ENDED_EACH);
    int64_t expected = store->first_ended;
    int r;
    while ((r = db_row(&use, "check what ended", err)) > 0) {
        if (expected++ != db_get_int(&use, 0))
            r = BAD(checking, err, "row %lld of what ended is missing", (long long)expected - 1);
        else
            r = check_ended_row(checking, &use, err);
        if (r < 0) {
            db_done(&use);
            return r;
        }
    }
    if (r == 0 && expected != store->next_ended)
        r = BAD(checking, err, "%lld rows of what ended, not %lld", (long long)(expected - store->first_ended),
                (long long)(store->next_ended - store->first_ended));
    if (r == 0 && (checking->history_bytes != store->history_bytes || checking->history_runs != store->history_runs))
        r = BAD(checking, err, "the history has %llu bytes and %llu runs, not %llu and %llu",
                (unsigned long long)checking->history_bytes, (unsigned long long)checking->history_runs,
                (unsigned long long)store->history_bytes, (unsigned long long)store->history_runs);
    return r;
}

static int check_rates(struct checking *checking, struct err *err) {
    struct sqlite_store *store = checking->store;
    struct db_use use = db_use(&store->db, DB_RATE_EACH);
    uint64_t rows = 0, used = 0;
    int r;
    while ((r = db_row(&use, "check the rates", err)) > 0) {
        struct bytes key;
        struct rate *rate = NULL;
        r = db_get_blob(&use, 1, &key, err);
        if (r == 0)
            r = rates_get(&store->lanes.rates, db_get_int(&use, 0), key, &rate);
        if (r == 0 && (rate->window_utc_us != db_get_int(&use, 2) || (int64_t)rate->used != db_get_int(&use, 3)))
            r = BAD(checking, err, "a rate counts wrongly");
        if (r < 0) {
            db_done(&use);
            return r;
        }
        rows++;
    }
    struct bytes name;
    void *value;
    for (size_t at = 0; map_next(&store->lanes.rates.map, &at, &name, &value);)
        used += ((struct rate *)value)->used > 0;
    if (r == 0 && rows != used)
        r = BAD(checking, err, "%llu rates are in use, not %llu", (unsigned long long)rows, (unsigned long long)used);
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
            recount_of(checking, lane)->counts[LANE_PARKED]++;
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
            (uint64_t)db_get_int(&use, 5) != lane->cancelled ||
            (!lane_has_runs(lane) && (db_get_int(&use, 6) != lane->idle_utc_us ||
                                      db_get_int(&use, 7) != lane->last_ended || list_empty(&lane->idle)))) {
            r = BAD(checking, err, "lane %lld has other numbers than memory says", (long long)db_get_int(&use, 0));
            db_done(&use);
            return r;
        }
    }
    if (r == 0 && rows != store->lanes.n_lanes - store->lanes.n_gone)
        r = BAD(checking, err, "%llu lanes, not %zu", (unsigned long long)rows,
                store->lanes.n_lanes - store->lanes.n_gone);
    return r;
}

/* Nothing is known of a lane that is gone, and the numbers that it left are there. */
static int check_gone(struct checking *checking, struct err *err) {
    struct sqlite_store *store = checking->store;
    struct db_use missing = db_use(&store->db, DB_LANE_MISSING), each = db_use(&store->db, DB_WORKFLOW_EACH);
    int r = db_row(&missing, "check the lanes of pages", err);
    if (r > 0) {
        r = BAD(checking, err, "a page is of lane %lld, which is gone", (long long)db_get_int(&missing, 0));
        db_done(&missing);
    }
    while (r == 0 && (r = db_row(&each, "check the workflows", err)) > 0) {
        const struct workflow *workflow = lanes_workflow(&store->lanes, db_get_int(&each, 0));
        bool same = workflow && (uint64_t)db_get_int(&each, 4) == workflow->past_done &&
                    (uint64_t)db_get_int(&each, 5) == workflow->past_failed &&
                    (uint64_t)db_get_int(&each, 6) == workflow->past_cancelled;
        r = same ? 0 : BAD(checking, err, "workflow %lld has other numbers", (long long)db_get_int(&each, 0));
        if (r < 0)
            db_done(&each);
    }
    return r;
}

/* ---- sums ---- */

static int check_lanes(struct checking *checking, struct err *err) {
    const struct lanes *lanes = &checking->store->lanes;
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        const struct lane *lane = lanes->lanes[i];
        const struct recount *recount = &checking->recounts[i];
        if (memcmp(recount->counts, lane->counts, sizeof lane->counts) != 0 || recount->waiting != lane->waiting ||
            recount->tokens != lane->tokens || recount->asked != lane->asked)
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
    enum store_strategy strategy = workflow->rules[rule].strategy;
    bool late = rule > workflow->first_round_robin, progress = strategy == STORE_CANCEL_IN_PROGRESS,
         tokens = strategy == STORE_GROUP_ROUND_ROBIN || progress;
    uint64_t used = 0, live = 0, asked = 0, n_lanes = 0;
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        const struct lane *lane = lanes->lanes[i];
        if (lane->workflow != workflow || rule >= lane->n_keys || lane->keys[rule].rule_key != key)
            continue;
        n_lanes++;
        uint64_t started = lane->counts[LANE_LEASED] + lane->counts[LANE_RETRIES];
        uint64_t places = strategy != STORE_CANCEL_NEWEST ? 0 : started + (late ? 0 : lane->counts[LANE_QUEUED]);
        used += tokens ? lane->tokens : places;
        live += progress ? started + lane->counts[LANE_QUEUED] : 0;
        asked += progress ? lane->asked : 0;
    }
    if (n_lanes != key->n_lanes || n_lanes == 0)
        return BAD(checking, err, "a key of rule %zu of workflow %lld has %llu lanes, not %zu", rule + 1,
                   (long long)workflow->id, (unsigned long long)n_lanes, key->n_lanes);
    if (used != key->used || live != key->live || asked != key->asked)
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
    struct db_use quick = db_use(&store->db, DB_QUICK_CHECK);
    int r = db_row(&quick, "check the file", err);
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
        check_leases,   check_work,      check_asks, check_kept,  check_page_rows, check_past_pages, check_ended_rows,
        check_run_rows, check_lane_rows, check_gone, check_lanes, check_rules,     check_rates,      check_file,
    };
    int r = 0;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && r == 0; i++)
        r = steps[i](&checking, err);
    if (r == 0 && (checking.keys != store->live.count || checking.parked_keys != store->parked.count))
        r = BAD(&checking, err, "%zu child keys are known as live (%zu parked), not %llu (%llu)", store->live.count,
                store->parked.count, (unsigned long long)checking.keys, (unsigned long long)checking.parked_keys);
    return r;
}
