/* claim.c - gives a worker runs of the lanes it holds and of lanes whose turn it is, within what rules let it hold.
 *
 * When there is nothing to give, that is found out without the lock, in one round trip that writes nothing. Else, under
 * the lock: which lanes may be granted memory tells; their retries and pages are read together, for as many lanes as
 * the claim may get; then all is decided one lane after the other, as each grant changes what the rules leave. */
#include "claim.h"

#include "cleanup.h"

#define TOO_LATE BYTES("not started in time")

/* ---- the server's view: times and workers ---- */

static int absorb_look(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)err;
    struct look *look = arg;
    pg_set_now(store, wire_int(answer, 0, 0));
    look->retry_due = wire_int(answer, 0, 1);
    look->delayed_due = wire_int(answer, 0, 2);
    look->start_due = wire_int(answer, 0, 3);
    look->expires = wire_int(answer, 0, 4);
    look->own_expires = wire_int(answer, 0, 5);
    if (store->locked)
        pg_look_known(store, look);
    return 0;
}

static void want_look(struct postgres_store *store, int64_t worker, struct look *look) {
    struct args *args = pg_want(store, SQL_LOOK, absorb_look, look);
    look->worker = worker;
    pg_args_now(store, args);
    args_int(args, worker);
}

static void granted(struct postgres_store *store, struct lane *lane) {
    int64_t turn = ++store->meta.turn;
    sched_set(&store->sched, lane, LN_TURN, turn);
    sched_set(&store->sched, lane, LN_GROUP_TURN, turn);
    sched_set(&store->sched, lane, LN_GRANTED, store->now_utc_us);
}

/* ---- lanes that it holds ---- */

static struct hold_row *hold_of(const struct claiming *claiming, const struct lane *lane) {
    struct hold_row *hold = lane ? rows_hold(&claiming->store->rows, claiming->claim->worker, lane->id) : NULL;
    return hold && hold->leased ? hold : NULL;
}

static int serve_wants(struct claiming *claiming, struct err *err) {
    const struct store_claim *claim = claiming->claim;
    struct sched *sched = &claiming->store->sched;
    for (size_t i = 0; i < claim->n_wants; i++) {
        const struct store_want *want = &claim->wants[i];
        struct lane *lane = sched_lane(sched, want->lane);
        struct hold_row *hold = hold_of(claiming, lane);
        claiming->held[i] = 0;
        if (!hold)
            continue;
        int r = claim_serve(claiming, lane, hold, want->runs, want->tokens, err);
        if (r < 0)
            return r;
        claiming->held[i] = hold->tokens;
        if (r > 0)
            granted(claiming->store, lane);
    }
    return 0;
}

/* ---- lanes in turn ---- */

struct candidates {
    struct lane **lanes;
    size_t n;
};

static int by_turn(const void *a, const void *b) {
    const struct lane *x = *(struct lane *const *)a, *y = *(struct lane *const *)b;
    return x == y ? 0 : sched_before(x, y) ? -1 : 1;
}

static void mark_workflows(struct claiming *claiming) {
    struct sched *sched = &claiming->store->sched;
    sched->mark++;
    for (size_t i = 0; i < claiming->claim->n_workflows; i++) {
        struct workflow *workflow = sched_workflow(sched, claiming->claim->workflows[i]);
        if (workflow)
            workflow->mark = sched->mark;
    }
}

/* All lanes that may be granted as things are, in turn. */
static int find_candidates(struct claiming *claiming, struct candidates *ret_candidates) {
    struct sched *sched = &claiming->store->sched;
    size_t n = 0, cap = 0;
    struct lane **lanes = NULL;
    mark_workflows(claiming);
    LIST_EACH (link, &sched->busy) {
        struct lane *lane = LIST_ENTRY(link, struct lane, busy);
        if (lane->workflow->mark != sched->mark || !sched_admissible(lane, claiming->store->now_utc_us) ||
            hold_of(claiming, lane))
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : 64;
            struct lane **more = mem_reallocarray(lanes, cap, sizeof(struct lane *));
            if (!more) {
                mem_free(lanes);
                return -ENOMEM;
            }
            lanes = more;
        }
        lanes[n++] = lane;
    }
    if (n > 1)
        qsort(lanes, n, sizeof(struct lane *), by_turn);
    *ret_candidates = (struct candidates){lanes, n};
    return 0;
}

static int serve_new_lane(struct claiming *claiming, struct lane *lane, struct err *err) {
    struct postgres_store *store = claiming->store;
    int64_t worker = claiming->claim->worker;
    struct hold_row *hold = rows_hold(&store->rows, worker, lane->id);
    if (!hold)
        hold = rows_hold_add(&store->rows, worker, lane->id);
    return hold ? claim_serve(claiming, lane, hold, claiming->claim->new_runs, claiming->claim->new_tokens, err)
                : -ENOMEM;
}

/* Reads this lane's work, and that of those that will be next in this round. */
static int read_ahead(struct claiming *claiming, const struct candidates *candidates, size_t at, uint32_t left,
                      struct err *err) {
    struct postgres_store *store = claiming->store;
    struct lane_work *work = claim_work_of(claiming, candidates->lanes[at]);
    if (!work)
        return -ENOMEM;
    if (work->asked)
        return 0;
    int r = 0;
    for (uint32_t n = 0; at < candidates->n && n < left && r == 0; at++) {
        struct lane *lane = candidates->lanes[at];
        if (lane->group->mark == store->sched.mark)
            continue;
        uint32_t runs = claiming->claim->new_runs, tokens = claiming->claim->new_tokens;
        claim_limits(lane, NULL, store->now_utc_us, &runs, &tokens);
        r = claim_want_work(claiming, lane, runs);
        n++;
    }
    return r < 0 ? r : claim_load(store, err);
}

static bool any_admissible(const struct claiming *claiming, struct lane *const *lanes, size_t n) {
    bool any = false;
    for (size_t i = 0; i < n && !any; i++)
        any = sched_admissible(lanes[i], claiming->store->now_utc_us);
    return any;
}

/* A round: each group gets one lane served. The lanes of served groups come to the front of the list, for the next. */
static int serve_round(struct claiming *claiming, struct candidates *candidates, uint32_t *left, bool *ret_more,
                       struct err *err) {
    struct postgres_store *store = claiming->store;
    size_t again = 0;
    store->sched.mark++;
    for (size_t i = 0; i < candidates->n; i++) {
        struct lane *lane = candidates->lanes[i];
        if (*left == 0) {
            *ret_more = any_admissible(claiming, candidates->lanes, again) ||
                        any_admissible(claiming, candidates->lanes + i, candidates->n - i);
            again = 0;
            break;
        }
        if (lane->group->mark == store->sched.mark) {
            candidates->lanes[again++] = lane;
            continue;
        }
        if (!sched_admissible(lane, store->now_utc_us))
            continue;
        int r = read_ahead(claiming, candidates, i, *left, err);
        if (r < 0)
            return r;
        if (!sched_admissible(lane, store->now_utc_us)) /* others have used its rate */
            continue;
        int got = serve_new_lane(claiming, lane, err);
        if (got < 0)
            return got;
        if (got > 0) {
            granted(store, lane);
            lane->group->mark = store->sched.mark;
            (*left)--;
        }
        if (claiming->cut_short) {
            *ret_more = true;
            again = 0;
            break;
        }
    }
    candidates->n = again;
    if (again > 1)
        qsort(candidates->lanes, again, sizeof(struct lane *), by_turn);
    return 0;
}

static int serve_new_lanes(struct claiming *claiming, bool *ret_more, struct err *err) {
    const struct store_claim *claim = claiming->claim;
    uint32_t left = claim->new_runs && claim->new_tokens ? claim->new_lanes : 0;
    struct candidates candidates = {0};
    int r = find_candidates(claiming, &candidates);
    *ret_more = false;
    while (r == 0 && candidates.n)
        r = serve_round(claiming, &candidates, &left, ret_more, err);
    if (r == 0 && claiming->cut_short)
        *ret_more = true;
    mem_free(candidates.lanes);
    return r;
}

/* ---- what time brings ---- */

int pg_expire_silent(struct postgres_store *store, struct err *err) {
    _cleanup_answer_ PGresult *answer = NULL;
    pg_args_now(store, pg_want(store, SQL_WORKERS_EXPIRED, NULL, NULL));
    pg_want_keep(store, &answer);
    int r = pg_load(store, err);
    size_t n = (size_t)wire_rows(answer);
    if (r < 0 || n == 0)
        return r;
    _cleanup_free_ int64_t *ids = mem_calloc(n, sizeof *ids);
    if (!ids)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        ids[i] = wire_int(answer, (int)i, 0);
    return pg_expire(store, ids, n, err);
}

/* Delayed pages whose time has come. */
static int promote(struct postgres_store *store, struct err *err) {
    _cleanup_answer_ PGresult *answer = NULL;
    args_int(pg_want(store, SQL_PAGES_DELAYED, pg_absorb_pages, NULL), store->now_utc_us);
    pg_want_keep(store, &answer);
    int r = pg_load(store, err);
    for (int row = 0; row < wire_rows(answer) && r == 0; row++)
        pg_page_due(store, rows_page(&store->rows, wire_int(answer, row, 0)));
    return r;
}

static int cancel_late(struct claiming *claiming, struct err *err) {
    struct postgres_store *store = claiming->store;
    _cleanup_answer_ PGresult *answer = NULL;
    args_int(pg_want(store, SQL_PAGES_LATE, pg_absorb_pages, NULL), store->now_utc_us);
    pg_want_keep(store, &answer);
    int r = pg_load(store, err);
    for (int row = 0; row < wire_rows(answer) && r == 0; row++) {
        struct page_row *page = rows_page(&store->rows, wire_int(answer, row, 0));
        page->start_by_utc_us = 0;
        rows_page_dirty(&store->rows, page);
        for (uint32_t i = 0; i < page->n && r == 0; i++)
            if (bits_get(&page->queued, i) && !bits_get(&page->touched, i)) {
                r = pg_cancel_queued(store, page, i, TOO_LATE);
                claiming->cancelled++;
            }
    }
    return r;
}

/* ---- what is read with the lock ---- */

static int read_early(struct claiming *claiming) {
    const struct store_claim *claim = claiming->claim;
    struct sched *sched = &claiming->store->sched;
    struct candidates candidates;
    if (claiming->store->stale)
        return 0;
    int r = find_candidates(claiming, &candidates);
    if (r < 0)
        return r;
    sched->mark++;
    for (size_t i = 0; i < claim->n_wants && r == 0; i++) {
        struct lane *lane = sched_lane(sched, claim->wants[i].lane);
        if (lane && !lane->workflow->paused)
            r = claim_want_work(claiming, lane, claim->wants[i].runs);
    }
    uint32_t left = claim->new_runs && claim->new_tokens ? claim->new_lanes : 0;
    for (size_t i = 0; i < candidates.n && left > 0 && r == 0; i++) {
        struct lane *lane = candidates.lanes[i];
        uint32_t runs = claim->new_runs, tokens = claim->new_tokens;
        if (lane->group->mark == sched->mark)
            continue;
        lane->group->mark = sched->mark;
        claim_limits(lane, NULL, claiming->store->now_utc_us, &runs, &tokens);
        r = claim_want_work(claiming, lane, runs);
        left--;
    }
    mem_free(candidates.lanes);
    return r;
}

static bool knows_holds(const struct claiming *claiming) {
    const int64_t worker = claiming->claim->worker;
    return map_get(&claiming->store->rows.holds_known, bytes_of(&worker, sizeof worker)) != NULL;
}

/* Does what is queued. What a claim looks at may be known. When nobody is known to have work, all that there will be to
 * claim is likely to be made by that, and what a claim looks at is read together with what that needs: *ret_looked. */
static int run_ops(struct claiming *claiming, struct look *look, bool *ret_looked, struct err *err) {
    struct postgres_store *store = claiming->store;
    *ret_looked = false;
    if (pg_knows_look(store, claiming->claim->worker, look)) {
        int r = pg_run_ops(store, err);
        *look = store->known.look;
        pg_look_at_rows(store, look);
        *ret_looked = store->locked && store->known.look_batch == store->meta.batch && knows_holds(claiming);
        return r;
    }
    if (store->n_ops == 0 || store->stale || !list_empty(&store->sched.busy))
        return pg_run_ops(store, err);
    want_look(store, claiming->claim->worker, look);
    pg_want_holds(store, claiming->claim->worker);
    uint64_t loads = store->loads;
    int r = pg_run_ops_with_wants(store, err);
    *ret_looked = store->loads == loads + 1; /* else some of it was written, and is not in memory only */
    pg_look_at_rows(store, look);
    return r;
}

/* Looks at the clock, under the lock, until nothing is left to be done. */
static int let_time_pass(struct claiming *claiming, struct look *look, bool looked, struct err *err) {
    struct postgres_store *store = claiming->store;
    uint64_t generation = store->sched.generation;
    int r = looked ? 0 : read_early(claiming);
    for (bool first = true; r == 0; first = looked = false) {
        if (!looked) {
            want_look(store, claiming->claim->worker, look);
            pg_want_holds(store, claiming->claim->worker);
            claim_want_rates(store);
            r = pg_load(store, err);
            claim_keep_what_holds(claiming, generation, !first);
        }
        if (r < 0)
            return r;
        if (look->expires && look->expires <= store->now_utc_us)
            r = pg_expire_silent(store, err);
        else if (look->delayed_due && look->delayed_due <= store->now_utc_us)
            r = promote(store, err);
        else if (look->start_due && look->start_due <= store->now_utc_us)
            r = cancel_late(claiming, err);
        else
            return 0;
    }
    return r;
}

static int64_t next_due(const struct claiming *claiming, const struct look *look) {
    const struct postgres_store *store = claiming->store;
    int64_t due = pg_earlier(pg_earlier(look->retry_due, look->delayed_due), look->start_due);
    LIST_EACH (link, &store->sched.busy) {
        const struct lane *lane = LIST_ENTRY(link, struct lane, busy);
        if (lane->workflow->rated && sched_has_work(lane, store->now_utc_us))
            due = pg_earlier(due, sched_rate_next(lane, store->now_utc_us));
    }
    return due;
}

/* ---- without the lock ---- */

static bool wants_change(const struct claiming *claiming) {
    const struct postgres_store *store = claiming->store;
    for (size_t i = 0; i < claiming->claim->n_wants; i++) {
        const struct store_want *want = &claiming->claim->wants[i];
        const struct lane *lane = sched_lane(&store->sched, want->lane);
        const struct hold_row *hold = hold_of(claiming, lane);
        if (!hold)
            continue;
        uint32_t runs = want->runs, tokens = want->tokens;
        claim_limits(lane, hold, store->now_utc_us, &runs, &tokens);
        if ((runs && sched_has_work(lane, store->now_utc_us)) || least(tokens, hold->leased) != hold->tokens)
            return true;
    }
    return false;
}

static int has_candidates(struct claiming *claiming) {
    struct candidates candidates;
    int r = find_candidates(claiming, &candidates);
    if (r < 0)
        return r;
    mem_free(candidates.lanes);
    return candidates.n > 0;
}

/* 1: there is something to do under the lock; 0: nothing, and the claim is answered. */
static int look_first(struct claiming *claiming, struct look *look, struct err *err) {
    struct postgres_store *store = claiming->store;
    if (!store->stale && wire_connected(&store->wire)) {
        int some = has_candidates(claiming); /* as far as is known */
        if (some)
            return some;
    }
    want_look(store, claiming->claim->worker, look);
    claim_want_rates(store);
    if (claiming->claim->n_wants)
        pg_want_holds(store, claiming->claim->worker);
    int r = pg_look(store, err);
    int64_t now = store->now_utc_us;
    if (r == 0)
        r = look->own_expires == 0 || look->expires <= now || (look->delayed_due && look->delayed_due <= now) ||
            (look->start_due && look->start_due <= now) || wants_change(claiming);
    if (r == 0)
        r = has_candidates(claiming);
    for (size_t i = 0; i < claiming->claim->n_wants && r == 0; i++) {
        const struct hold_row *hold = hold_of(claiming, sched_lane(&store->sched, claiming->claim->wants[i].lane));
        claiming->held[i] = hold ? hold->tokens : 0;
    }
    rows_clear(&store->rows); /* nothing of it holds without the lock */
    return r;
}

/* ---- the call ---- */

static int take_leases(struct claiming *claiming, struct store_claimed *claimed) {
    struct bytes leases;
    int r = arena_copy(claiming->arena, bytes_of(claiming->leases, claiming->n * sizeof *claiming->leases), &leases);
    if (r < 0)
        return r;
    claimed->leases = (const struct store_lease *)(const void *)leases.p;
    claimed->n = claiming->n;
    claimed->held = claiming->held;
    claimed->cancelled = claiming->cancelled;
    return 0;
}

/* What was not read with the lock. */
static int want_wants(struct claiming *claiming, struct err *err) {
    const struct store_claim *claim = claiming->claim;
    bool any = false;
    int r = 0;
    for (size_t i = 0; i < claim->n_wants && r == 0; i++) {
        struct lane *lane = sched_lane(&claiming->store->sched, claim->wants[i].lane);
        struct lane_work *work = hold_of(claiming, lane) && claim->wants[i].runs ? claim_work_of(claiming, lane) : NULL;
        if (!work || work->asked)
            continue;
        r = claim_want_work(claiming, lane, claim->wants[i].runs);
        any = true;
    }
    return r == 0 && any ? pg_load(claiming->store, err) : r;
}

static int claim_steps(struct claiming *claiming, bool alone, struct store_claimed *claimed, struct err *err) {
    struct postgres_store *store = claiming->store;
    struct look look = {0};
    int r = alone ? look_first(claiming, &look, err) : 1;
    if (r < 0)
        return r;
    if (r == 0) {
        claimed->next_due_utc_us = next_due(claiming, &look);
        return take_leases(claiming, claimed);
    }
    bool looked;
    r = run_ops(claiming, &look, &looked, err);
    if (r == 0)
        r = let_time_pass(claiming, &look, looked, err);
    if (r == 0 && look.own_expires == 0)
        return -ESTALE;
    if (r == 0)
        r = want_wants(claiming, err);
    if (r == 0)
        r = serve_wants(claiming, err);
    if (r == 0)
        r = serve_new_lanes(claiming, &claimed->more, err);
    if (r == 0 && claiming->look_again) {
        want_look(store, claiming->claim->worker, &look);
        r = pg_load(store, err);
    }
    if (r < 0)
        return r;
    claimed->next_due_utc_us = next_due(claiming, &look);
    return take_leases(claiming, claimed);
}

int pg_claim(struct postgres_store *store, const struct store_claim *claim, bool alone,
             struct store_claimed *ret_claimed, struct err *err) {
    if ((claim->n_wants && !claim->wants) || (claim->n_workflows && !claim->workflows))
        return err_set(err, -EINVAL, "a claim without its wants or workflows");
    struct claiming claiming = {.store = store, .claim = claim, .arena = arena_new()};
    struct store_claimed claimed = {0};
    if (claiming.arena)
        claiming.held = arena_alloc(claiming.arena, claim->n_wants * sizeof *claiming.held);
    int r = claiming.held ? claim_steps(&claiming, alone, &claimed, err) : -ENOMEM;
    if (r == 0)
        claim_cache_pages(&claiming);
    int committed = alone && (r == 0 || r == -ESTALE) ? pg_commit(store, err) : 0;
    if (committed < 0)
        r = committed;
    if (r == -ESTALE)
        err_set(err, r, "the leases of worker %lld ran out and were taken back", (long long)claim->worker);
    claim_work_free(&claiming);
    mem_free(claiming.leases);
    if (r < 0) {
        arena_free(claiming.arena);
        return r;
    }
    claimed.arena = claiming.arena;
    *ret_claimed = claimed;
    return 0;
}
