/* claim.c - gives runs out: first on lanes that the worker has tokens on, then on lanes in turn. */
#include "arena.h"
#include "cleanup.h"
#include "packing.h"
#include "sqlite_store.h"

/* How many runs one claim cancels (CANCEL_NEWEST after GROUP_ROUND_ROBIN) before it gives the rest to the next. */
#define CANCEL_AT_ONCE (10 * STORE_PAGE_MAX)

struct claiming {
    struct sqlite_store *store;
    struct worker *worker;
    struct arena *arena;
    int64_t now_utc_us;
    struct store_lease *leases; /* growing; moved into the arena at the end */
    size_t n, cap;
    uint32_t *held; /* in the arena */
    uint32_t cancelled;
    bool cut_short;
};

/* ---- reading what was leased ---- */

static int copy(struct claiming *claiming, struct bytes data, struct bytes *ret_copy) {
    return arena_copy(claiming->arena, data, ret_copy);
}

/* The input of a run is its own or its page's; nothing is an empty object. */
static struct bytes input_or(struct bytes own, struct bytes page) {
    return own.n ? own : page.n ? page : BYTES("{}");
}

static int start_lease(struct claiming *claiming, const struct lease *lease, struct store_lease **ret_out,
                       struct store_run **ret_runs) {
    if (claiming->n == claiming->cap) {
        size_t cap = claiming->cap ? claiming->cap * 2 : 8;
        struct store_lease *bigger = mem_reallocarray(claiming->leases, cap, sizeof *bigger);
        if (!bigger)
            return -ENOMEM;
        claiming->leases = bigger;
        claiming->cap = cap;
    }
    struct lane *lane = lease->work->lane;
    struct store_run *runs = arena_alloc(claiming->arena, lease->left * sizeof *runs);
    if (!runs)
        return -ENOMEM;
    struct store_lease *out = &claiming->leases[claiming->n++];
    *out = (struct store_lease){
        .id = lease->id,
        .page = lease->work->page,
        .workflow = lane->workflow->id,
        .lane = lane->id,
        .runs = runs,
        .n = lease->left,
    };
    memset(runs, 0, lease->left * sizeof *runs);
    *ret_out = out;
    *ret_runs = runs;
    return copy(claiming, lane_group_key(lane), &out->group);
}

static int read_run(struct claiming *claiming, const struct lease *lease, struct store_lease *out,
                    struct store_run *run, struct err *err) {
    struct db *db = &claiming->store->db;
    struct db_use get = db_use(db, DB_RUN_READ);
    db_int(&get, 1, lease->work->page);
    db_int(&get, 2, lease->work->index);
    int r = db_row(&get, "read a run", err);
    if (r == 0)
        return db_corrupt(db, err, "run %lld:%u is missing", (long long)lease->work->page, lease->work->index);
    if (r < 0)
        return r;
    run->index = lease->work->index;
    run->attempts = (uint32_t)db_get_int(&get, 0);
    run->created_utc_us = db_get_int(&get, 6);
    struct bytes *const into[] = {&run->child_key, &run->generation, &run->input, &out->metadata, &run->checkpoint};
    r = 0;
    for (int i = 0; i < 5 && r == 0; i++) {
        struct bytes value;
        r = db_get_blob(&get, i + 1, &value, err);
        if (r == 0)
            r = copy(claiming, into[i] == &run->input ? input_or(value, BYTES_NONE) : value, into[i]);
    }
    db_done(&get);
    return r;
}

/* Copies the leased runs out of an open page. */
static int copy_runs(struct claiming *claiming, const struct lease *lease, struct store_run *runs,
                     struct packing_reader *reader, struct bytes page_input, int64_t created_utc_us, struct err *err) {
    struct bytes shared_input;
    int r = copy(claiming, input_or(BYTES_NONE, page_input), &shared_input);
    for (uint32_t i = 0, n = 0; r == 0 && n < lease->left; i++) {
        struct store_item item;
        if (packing_next(reader, &item) < 0)
            return db_corrupt(&claiming->store->db, err, "page %lld is damaged", (long long)lease->work->page);
        if (i < lease->first || !bit_get(lease->bits, i - lease->first))
            continue;
        struct store_run *run = &runs[n++];
        run->index = i;
        run->input = shared_input;
        run->created_utc_us = created_utc_us;
        r = copy(claiming, item.child_key, &run->child_key);
        if (r == 0)
            r = copy(claiming, item.generation, &run->generation);
        if (r == 0 && item.input.n)
            r = copy(claiming, item.input, &run->input);
    }
    return r;
}

static int read_page(struct claiming *claiming, const struct lease *lease, struct store_lease *out,
                     struct store_run *runs, struct err *err) {
    struct db_use get;
    struct packing_reader reader;
    int r = work_open_page(claiming->store, lease->work->page, &get, &reader, err);
    if (r < 0)
        return r;
    struct bytes input, metadata;
    r = db_get_blob(&get, 0, &input, err);
    if (r == 0)
        r = db_get_blob(&get, 1, &metadata, err);
    if (r == 0)
        r = copy(claiming, metadata, &out->metadata);
    if (r == 0)
        r = copy_runs(claiming, lease, runs, &reader, input, db_get_int(&get, 3), err);
    db_done(&get);
    return r;
}

static int lease_work(struct claiming *claiming, struct hold *hold, struct work *work, uint32_t n, struct err *err) {
    struct sqlite_store *store = claiming->store;
    struct lease *lease = leases_new(store, hold, work, n);
    struct store_lease *out;
    struct store_run *runs;
    int r = lease ? start_lease(claiming, lease, &out, &runs) : -ENOMEM;
    lane_rate_use(&store->lanes, hold->lane, n);
    if (r == 0 &&
        (hold->lane->workflow->limits_rate || (!work->retry && LIST_ENTRY(work, struct page, work)->deadline)))
        r = batch_need(store, err); /* what was used and started is durable when the runs are told */
    if (r < 0)
        return r;
    out->waited = work->retry;
    return work->retry ? read_run(claiming, lease, out, runs, err) : read_page(claiming, lease, out, runs, err);
}

/* ---- taking runs of a lane ---- */

static uint32_t least(uint64_t a, uint64_t b) {
    uint64_t less = a < b ? a : b;
    return less < UINT32_MAX ? (uint32_t)less : UINT32_MAX;
}

/* All queued runs of a page for which a CANCEL_NEWEST rule has no place. */
static int refuse_runs(struct claiming *claiming, struct page *page, struct err *err) {
    uint64_t which[STORE_PAGE_MAX / 64 + 1];
    memcpy(which, page_queued_bits(page), page_words(page) * sizeof which[0]);
    claiming->cancelled += page->queued;
    return cancel_queued(claiming->store, page, which, BYTES("refused: as many as its rule allows were running"), err);
}

static bool is_late(const struct claiming *claiming, const struct page *page) {
    return page->deadline && page->deadline->waits && page->deadline->start_by_utc_us <= claiming->now_utc_us;
}

/* Leases up to `max` runs of the lane: due retries, which hold what places they need, then pages. */
static int take_runs(struct claiming *claiming, struct hold *hold, uint32_t max, struct err *err) {
    struct lane *lane = hold->lane;
    for (uint32_t got = 0; got < max;) {
        struct heap_link *top = heap_top(&lane->retries);
        uint32_t n = 1;
        int r;
        if (top) {
            r = lease_work(claiming, hold, LIST_ENTRY(top, struct work, link), 1, err);
        } else if ((top = heap_top(&lane->pages))) {
            struct page *page = LIST_ENTRY(LIST_ENTRY(top, struct work, link), struct page, work);
            uint64_t places = lane_places_at_claim(lane);
            n = least(page->queued, least(max - got, places));
            if (is_late(claiming, page)) {
                n = 0;
                r = cancel_late_page(claiming->store, page, &claiming->cancelled, err);
            } else if (n > 0) {
                r = lease_work(claiming, hold, &page->work, n, err);
            } else if (claiming->cancelled >= CANCEL_AT_ONCE) {
                claiming->cut_short = true;
                return 0;
            } else {
                r = refuse_runs(claiming, page, err);
            }
        } else {
            return 0;
        }
        if (r < 0)
            return r;
        got += n;
    }
    return 0;
}

static void tell_tokens(struct claiming *claiming, size_t from, uint32_t tokens) {
    for (size_t i = from; i < claiming->n; i++)
        claiming->leases[i].tokens = tokens;
}

/* Leases up to `runs` more runs of the hold's lane and lets it have up to `tokens` tokens in all, but none that it has
 * no runs for. Returns how many runs it got; 0 may mean that the hold is gone. */
static int serve(struct claiming *claiming, struct hold *hold, uint32_t runs, uint32_t tokens, uint32_t *ret_tokens,
                 struct err *err) {
    struct lane *lane = hold->lane;
    size_t from = claiming->n;
    uint32_t before = hold->leased;
    uint32_t most = least(tokens ? tokens : 1, lane_tokens_free(lane, hold->tokens));
    if (most == 0)
        most = 1; /* its rules were tightened; what it has leased may go on, one at a time */
    if (lane_claims_by_token(lane)) {
        uint32_t left = most > hold->leased ? most - hold->leased : 0;
        runs = least(least(runs, left), lane_rate_room(lane));
    }
    if (lane->workflow->paused)
        runs = 0;
    int r = take_runs(claiming, hold, runs, err);
    if (r < 0)
        return r;
    uint32_t got = hold->leased - before;
    leases_hold_tokens(hold, least(most, hold->leased));
    *ret_tokens = hold->tokens;
    tell_tokens(claiming, from, hold->tokens);
    leases_hold_drop_empty(hold);
    return (int)got;
}

static int serve_wants(struct claiming *claiming, const struct store_claim *claim, struct err *err) {
    for (size_t i = 0; i < claim->n_wants; i++) {
        const struct store_want *want = &claim->wants[i];
        struct lane *lane = lanes_lane(&claiming->store->lanes, want->lane);
        struct hold *hold = lane ? leases_hold(claiming->worker, lane) : NULL;
        claiming->held[i] = 0;
        if (!hold)
            continue;
        int r = serve(claiming, hold, want->runs, want->tokens, &claiming->held[i], err);
        if (r < 0)
            return r;
        if (r > 0)
            lane_granted(&claiming->store->lanes, lane, claiming->now_utc_us);
    }
    return 0;
}

/* ---- lanes in turn ---- */

static int serve_new_lane(struct claiming *claiming, struct lane *lane, const struct store_claim *claim,
                          struct err *err) {
    struct hold *hold = leases_hold_new(claiming->worker, lane);
    uint32_t tokens;
    return hold ? serve(claiming, hold, claim->new_runs, claim->new_tokens, &tokens, err) : -ENOMEM;
}

static int serve_new_lanes(struct claiming *claiming, const struct store_claim *claim, bool *ret_more,
                           struct err *err) {
    struct lanes *lanes = &claiming->store->lanes;
    uint32_t left = claim->new_runs && claim->new_tokens ? claim->new_lanes : 0;
    struct lane *aside = NULL; /* those that the worker has something of */
    int r = 0;
    *ret_more = false;
    for (struct lane *lane; r == 0 && (lane = lanes_next(lanes, claim->workflows, claim->n_workflows));) {
        bool holds = leases_hold(claiming->worker, lane);
        if (!holds && left == 0) {
            *ret_more = true;
            break;
        }
        lane_put_aside(lane);
        lane->next_aside = aside;
        aside = lane;
        if (holds)
            continue;
        int got = serve_new_lane(claiming, lane, claim, err);
        if (got > 0) {
            left--;
            lane_granted(lanes, lane, claiming->now_utc_us);
        }
        r = got < 0 ? got : 0;
        if (claiming->cut_short)
            break;
    }
    for (struct lane *lane; (lane = aside);) {
        aside = lane->next_aside;
        lane_put_back(lane);
    }
    if (claiming->cut_short)
        *ret_more = true;
    return r;
}

/* ---- the call ---- */

static int check_claim(const struct store_claim *claim, struct err *err) {
    if ((claim->n_wants && !claim->wants) || (claim->n_workflows && !claim->workflows))
        return err_set(err, -EINVAL, "a claim without its wants or workflows");
    return 0;
}

static int64_t next_due(struct sqlite_store *store) {
    struct heap_link *due = heap_top(&store->due), *deadline = heap_top(&store->deadlines);
    const int64_t times[] = {
        due ? LIST_ENTRY(due, struct work, link)->due_utc_us : 0,
        deadline ? LIST_ENTRY(deadline, struct deadline, link)->start_by_utc_us : 0,
        lanes_next_window(&store->lanes),
    };
    int64_t next = 0;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (times[i] && (next == 0 || times[i] < next))
            next = times[i];
    return next;
}

static int claim_steps(struct claiming *claiming, const struct store_claim *claim, struct store_claimed *claimed,
                       struct err *err) {
    claiming->arena = arena_new();
    if (!claiming->arena)
        return -ENOMEM;
    claiming->held = arena_alloc(claiming->arena, claim->n_wants * sizeof *claiming->held);
    if (!claiming->held)
        return -ENOMEM;
    int r = cancel_late(claiming->store, claiming->now_utc_us, &claiming->cancelled, err);
    if (r == 0)
        r = serve_wants(claiming, claim, err);
    if (r == 0)
        r = serve_new_lanes(claiming, claim, &claimed->more, err);
    if (r == 0)
        r = history_write(claiming->store, BYTES_NONE, err);
    if (r < 0)
        return r;
    struct bytes leases;
    r = arena_copy(claiming->arena, bytes_of(claiming->leases, claiming->n * sizeof *claiming->leases), &leases);
    if (r < 0)
        return r;
    claimed->leases = (const struct store_lease *)(const void *)leases.p;
    claimed->n = claiming->n;
    claimed->held = claiming->held;
    claimed->cancelled = claiming->cancelled;
    claimed->next_due_utc_us = next_due(claiming->store);
    claimed->arena = TAKE_PTR(claiming->arena);
    return 0;
}

int claim_runs(struct sqlite_store *store, const struct store_claim *claim, struct store_claimed *ret_claimed,
               struct err *err) {
    int r = check_claim(claim, err);
    if (r < 0)
        return r;
    r = leases_expire(store, err);
    if (r < 0)
        return r;
    struct claiming claiming = {.store = store, .now_utc_us = clock_utc_us(store->clock)};
    claiming.worker = leases_worker(store, claim->worker);
    if (!claiming.worker)
        return err_set(err, -ESTALE, "the leases of worker %lld ran out and were taken back", (long long)claim->worker);
    work_promote(store, claiming.now_utc_us);
    lanes_turn(&store->lanes, claiming.now_utc_us);
    struct store_claimed claimed = {0};
    r = claim_steps(&claiming, claim, &claimed, err);
    mem_free(claiming.leases);
    arena_free(claiming.arena);
    if (r == 0)
        *ret_claimed = claimed;
    return r;
}
