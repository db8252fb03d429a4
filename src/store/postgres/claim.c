/* claim.c - gives a worker runs of the lanes it holds and of lanes whose turn it is, within what rules let it hold.
 *
 * When there is nothing to give, that is found out without the lock, in one round trip that writes nothing. Else, under
 * the lock: which lanes may be granted memory tells; their retries and pages are read together, for as many lanes as
 * the claim may get; then all is decided one lane after the other, as each grant changes what the rules leave. */
#include "postgres_store.h"

#include "cleanup.h"
#include "packing.h"

/* How many runs one claim cancels (CANCEL_NEWEST after GROUP_ROUND_ROBIN) before it gives the rest to the next. */
#define CANCEL_AT_ONCE (10 * STORE_PAGE_MAX)
#define PAGES_AT_ONCE 64
#define NO_PLACE BYTES("the newest beyond the limit")
#define TOO_LATE BYTES("not started in time")

/* What was read of one lane. */
struct lane_work {
    struct lane *lane;
    uint32_t want_retries, want_pages, max;
    PGresult *retries, *pages;
    int retry_at, page_at;
    bool all_retries, all_pages;
    int64_t last_rank;
    bool asked;
    int64_t as_of[LANE_NUMBERS]; /* the lane's numbers when it was asked for */
    struct lane_work *next;
};

struct claiming {
    struct postgres_store *store;
    const struct store_claim *claim;
    struct arena *arena;
    struct lane_work *works;
    struct store_lease *leases; /* growing; moved into the arena at the end */
    size_t n, cap;
    uint32_t *held; /* in the arena */
    uint32_t cancelled;
    bool cut_short;
    bool look_again; /* what will be late next has changed */
};

/* ---- the server's view: times and workers ---- */

struct look {
    int64_t retry_due, delayed_due, start_due, expires, own_expires; /* 0: none */
};

static int absorb_look(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)err;
    struct look *look = arg;
    pg_set_now(store, wire_int(answer, 0, 0));
    look->retry_due = wire_int(answer, 0, 1);
    look->delayed_due = wire_int(answer, 0, 2);
    look->start_due = wire_int(answer, 0, 3);
    look->expires = wire_int(answer, 0, 4);
    look->own_expires = wire_int(answer, 0, 5);
    return 0;
}

static void want_look(struct postgres_store *store, int64_t worker, struct look *look) {
    struct args *args = pg_want(store, SQL_LOOK, absorb_look, look);
    pg_args_now(store, args);
    args_int(args, worker);
}

/* ---- reading the work of lanes ---- */

static struct lane_work *work_of(struct claiming *claiming, struct lane *lane) {
    for (struct lane_work *work = claiming->works; work; work = work->next)
        if (work->lane == lane)
            return work;
    struct lane_work *work = mem_zalloc(sizeof *work);
    if (!work)
        return NULL;
    work->lane = lane;
    work->last_rank = -1;
    work->next = claiming->works;
    claiming->works = work;
    return work;
}

static int absorb_retries(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    struct lane_work *work = arg;
    work->retry_at = 0;
    work->all_retries = wire_rows(answer) < (int)work->want_retries;
    return pg_absorb_troubles(store, answer, NULL, err);
}

static int absorb_work_pages(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    struct lane_work *work = arg;
    int n = wire_rows(answer);
    work->page_at = 0;
    work->all_pages = n < (int)work->want_pages;
    if (n)
        work->last_rank = wire_int(answer, n - 1, 15);
    return pg_absorb_pages(store, answer, NULL, err);
}

static int absorb_rates(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)arg;
    (void)err;
    for (int row = 0; row < wire_rows(answer); row++) {
        struct rate *rate = map_get(&store->sched.rates_by_hash, wire_bytes(answer, row, 0));
        if (!rate || rate->dirty)
            continue;
        rate->window_utc_us = wire_int(answer, row, 1);
        rate->used = wire_int(answer, row, 2);
    }
    return 0;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void want_retries(struct postgres_store *store, struct lane_work *work) {
    PQclear(work->retries);
    work->retries = NULL;
    work->want_retries = (uint32_t)least(work->max, least((uint64_t)work->lane->v[LN_RETRIES], INT32_MAX - 1)) + 1;
    struct args *args = pg_want(store, SQL_CLAIM_RETRIES, absorb_retries, work);
    args_int(args, work->lane->id);
    args_int(args, work->want_retries);
    pg_want_keep(store, &work->retries);
}

/* About as many pages as it takes for so many runs. */
static void want_pages(struct postgres_store *store, struct lane_work *work) {
    const struct lane *lane = work->lane;
    uint64_t pages = (uint64_t)lane->v[LN_PAGES], runs = (uint64_t)(lane->v[LN_QUEUED] - lane->v[LN_DELAYED]);
    uint64_t n = runs ? least(work->max, runs) * pages / runs + 2 : 1;
    PQclear(work->pages);
    work->pages = NULL;
    work->want_pages = (uint32_t)least(n, PAGES_AT_ONCE);
    struct args *args = pg_want(store, SQL_CLAIM_PAGES, absorb_work_pages, work);
    args_int(args, lane->id);
    args_int(args, work->last_rank);
    args_int(args, work->want_pages);
    cache_ids(store->cache, args);
    pg_want_keep(store, &work->pages);
}

/* What others have used of the rates that lanes with work depend on. One that is known to be used up stays so. */
static void want_rates(struct postgres_store *store) {
    struct sched *sched = &store->sched;
    struct args *args = NULL;
    sched->mark++;
    LIST_EACH (link, &sched->busy) {
        const struct lane *lane = LIST_ENTRY(link, struct lane, busy);
        for (size_t i = 0; lane->workflow->rated && i < lane->n_keys; i++) {
            struct rate *rate = lane->keys[i].rate;
            if (!rate || rate->mark == sched->mark || rate_used_up(lane, i, store->now_utc_us))
                continue;
            rate->mark = sched->mark;
            if (!args) {
                args = pg_want(store, SQL_RATES, absorb_rates, NULL);
                args_array(args, ARGS_UUIDS);
            }
            args_array_bytes(args, bytes_of(&rate->hash, sizeof rate->hash));
        }
    }
    if (args)
        args_array_end(args);
}

/* Likewise for one lane, which may have come just now. */
static void want_rates_of(struct postgres_store *store, const struct lane *lane) {
    struct args *args = pg_want(store, SQL_RATES, absorb_rates, NULL);
    args_array(args, ARGS_UUIDS);
    for (size_t i = 0; i < lane->n_keys; i++)
        if (lane->keys[i].rate)
            args_array_bytes(args, bytes_of(&lane->keys[i].rate->hash, sizeof lane->keys[i].rate->hash));
    args_array_end(args);
}

/* Asks for what a lane has, for up to `max` runs. */
static int want_work(struct claiming *claiming, struct lane *lane, uint64_t max) {
    struct postgres_store *store = claiming->store;
    struct lane_work *work = work_of(claiming, lane);
    if (!work)
        return -ENOMEM;
    if (work->asked || max == 0)
        return 0;
    work->asked = true;
    memcpy(work->as_of, lane->v, sizeof work->as_of);
    work->max = (uint32_t)least(max, UINT32_MAX);
    work->all_retries = lane->v[LN_RETRIES] == 0 || lane->v[LN_RETRY_DUE] > store->now_utc_us;
    work->all_pages = lane->v[LN_PAGES] == 0;
    if (!work->all_retries)
        want_retries(store, work);
    if (!work->all_pages)
        want_pages(store, work);
    if (lane->workflow->rated)
        want_rates_of(store, lane);
    return 0;
}

/* ---- giving out ---- */

static int copy(struct claiming *claiming, struct bytes data, struct bytes *ret_copy) {
    return arena_copy(claiming->arena, data, ret_copy);
}

/* The input of a run is its own or its page's; nothing is an empty object. */
static struct bytes input_or(struct bytes own, struct bytes page) {
    return own.n ? own : page.n ? page : BYTES("{}");
}

static int start_lease(struct claiming *claiming, struct lane *lane, int64_t id, int64_t page, uint32_t n,
                       struct store_lease **ret_out, struct store_run **ret_runs) {
    if (claiming->n == claiming->cap) {
        size_t cap = claiming->cap ? claiming->cap * 2 : 8;
        struct store_lease *bigger = mem_reallocarray(claiming->leases, cap, sizeof *bigger);
        if (!bigger)
            return -ENOMEM;
        claiming->leases = bigger;
        claiming->cap = cap;
    }
    struct store_run *runs = arena_alloc(claiming->arena, n * sizeof *runs);
    if (!runs)
        return -ENOMEM;
    memset(runs, 0, n * sizeof *runs);
    struct store_lease *out = &claiming->leases[claiming->n++];
    *out = (struct store_lease){
        .id = id, .page = page, .workflow = lane->workflow->id, .lane = lane->id, .runs = runs, .n = n};
    *ret_out = out;
    *ret_runs = runs;
    return copy(claiming, sched_group_key(lane), &out->group);
}

static struct lease_row *new_lease(struct claiming *claiming, struct hold_row *hold, struct lane *lane, int64_t page,
                                   bool retry, uint32_t n) {
    struct postgres_store *store = claiming->store;
    struct lease_row *lease = rows_lease_add(&store->rows, pg_next_id(store) * 2 + retry);
    if (!lease)
        return NULL;
    lease->worker = hold->worker;
    lease->lane = lane->id;
    lease->page = page;
    lease->n = n;
    lease->is_new = true;
    rows_lease_dirty(&store->rows, lease);
    hold->leased += n;
    rows_hold_dirty(&store->rows, hold);
    sched_rate_use(&store->sched, lane, n, store->now_utc_us);
    return lease;
}

static int lease_retry(struct claiming *claiming, struct hold_row *hold, struct lane_work *work,
                       struct trouble_row *trouble) {
    struct postgres_store *store = claiming->store;
    const PGresult *from = work->retries;
    int row = work->retry_at++;
    struct lease_row *lease = new_lease(claiming, hold, work->lane, trouble->page, true, 1);
    if (!lease)
        return -ENOMEM;
    lease->retry = (int32_t)trouble->index;
    lease->n_page = trouble->index + 1;
    bits_set(&lease->bits, trouble->index);
    trouble->state = TROUBLE_LEASED;
    rows_trouble_dirty(&store->rows, trouble);
    sched_add(&store->sched, work->lane, LN_RETRIES, -1);
    sched_add(&store->sched, work->lane, LN_LEASED, 1);
    struct store_lease *out;
    struct store_run *run;
    int r = start_lease(claiming, work->lane, lease->id, trouble->page, 1, &out, &run);
    if (r < 0)
        return r;
    run->index = trouble->index;
    run->attempts = trouble->attempts;
    run->created_utc_us = wire_int(from, row, 8);
    struct bytes *const into[] = {&run->generation, &run->child_key, &run->input, &out->metadata, &run->checkpoint};
    static const int columns[] = {6, 9, 10, 11, 12};
    for (int i = 0; i < 5 && r == 0; i++) {
        struct bytes value = wire_bytes(from, row, columns[i]);
        r = copy(claiming, columns[i] == 10 ? input_or(value, BYTES_NONE) : value, into[i]);
    }
    return r;
}

/* The content of a page that was read for a claim, at the row of its answer. */
struct opened {
    struct packing_reader keys, rest;
    bool has_keys, has_rest;
    struct bytes input, metadata;
};

static int open_page(struct claiming *claiming, const PGresult *from, int row, const struct page_row *page,
                     struct opened *ret_opened) {
    struct postgres_store *store = claiming->store;
    struct cached content;
    if (!cache_get(store->cache, page->id, &content))
        content = (struct cached){wire_bytes(from, row, 18), wire_bytes(from, row, 19)};
    ret_opened->has_keys = content.keys.n;
    ret_opened->has_rest = content.rest.n;
    ret_opened->input = wire_bytes(from, row, 16);
    ret_opened->metadata = wire_bytes(from, row, 17);
    int r = content.keys.n ? packing_reader_init(&ret_opened->keys, content.keys) : 0;
    return r == 0 && content.rest.n ? packing_reader_init(&ret_opened->rest, content.rest) : r;
}

static int next_item(struct opened *opened, struct store_item *ret_item) {
    struct store_item key = {0}, rest = {0};
    int r = opened->has_keys ? packing_next(&opened->keys, &key) : 0;
    if (r == 0 && opened->has_rest)
        r = packing_next(&opened->rest, &rest);
    *ret_item = (struct store_item){key.child_key, rest.generation, rest.input};
    return r;
}

static int copy_runs(struct claiming *claiming, const struct lease_row *lease, const struct page_row *page,
                     struct opened *opened, struct store_run *runs) {
    struct bytes shared_input;
    int r = copy(claiming, input_or(BYTES_NONE, opened->input), &shared_input);
    for (uint32_t i = 0, n = 0; r == 0 && n < lease->n; i++) {
        struct store_item item;
        r = i < page->n ? next_item(opened, &item) : -EBADMSG;
        if (r < 0 || !bits_get(&lease->bits, i))
            continue;
        struct store_run *run = &runs[n++];
        run->index = i;
        run->input = shared_input;
        run->created_utc_us = page->created_utc_us;
        r = copy(claiming, item.child_key, &run->child_key);
        if (r == 0)
            r = copy(claiming, item.generation, &run->generation);
        if (r == 0 && item.input.n)
            r = copy(claiming, item.input, &run->input);
    }
    return r;
}

/* Moves the first n queued runs of the page into the lease. */
static void take_bits(struct page_row *page, struct lease_row *lease) {
    for (uint32_t word = 0, got = 0; got < lease->n; word++)
        while (page->queued.w[word] && got < lease->n) {
            uint64_t lowest = page->queued.w[word] & -page->queued.w[word];
            page->queued.w[word] ^= lowest;
            lease->bits.w[word] |= lowest;
            got++;
        }
    for (int i = 0; i < PAGE_WORDS && page->start_by_utc_us; i++)
        page->touched.w[i] |= lease->bits.w[i];
}

static int lease_page(struct claiming *claiming, struct hold_row *hold, struct lane_work *work, struct page_row *page,
                      uint32_t n, struct err *err) {
    struct postgres_store *store = claiming->store;
    int row = work->page_at;
    struct lease_row *lease = new_lease(claiming, hold, work->lane, page->id, false, n);
    if (!lease)
        return -ENOMEM;
    lease->retry = -1;
    lease->n_page = page->n;
    uint32_t before = page->n_queued;
    claiming->look_again |= page->start_by_utc_us != 0;
    take_bits(page, lease);
    page->n_queued -= n;
    pg_page_changed(store, page, before);
    sched_add(&store->sched, work->lane, LN_LEASED, n);
    struct store_lease *out;
    struct store_run *runs;
    struct opened opened;
    int r = start_lease(claiming, work->lane, lease->id, page->id, n, &out, &runs);
    if (r == 0)
        r = open_page(claiming, work->pages, row, page, &opened);
    if (r == 0)
        r = copy(claiming, opened.metadata, &out->metadata);
    if (r == 0)
        r = copy_runs(claiming, lease, page, &opened, runs);
    return r == -EBADMSG ? pg_corrupt(store, err, "page %lld is damaged", (long long)page->id) : r;
}

/* CANCEL_NEWEST after GROUP_ROUND_ROBIN: all that is queued of the page. */
static int cancel_page(struct claiming *claiming, struct page_row *page) {
    int r = 0;
    claiming->look_again |= page->start_by_utc_us != 0;
    for (uint32_t i = 0; i < page->n && r == 0; i++)
        if (bits_get(&page->queued, i)) {
            r = pg_cancel_queued(claiming->store, page, i, NO_PLACE);
            claiming->cancelled++;
        }
    return r;
}

/* ---- taking runs of a lane ---- */

/* The next due retry; NULL: none. *ret_more: perhaps, when more is read. */
static struct trouble_row *next_retry(struct claiming *claiming, struct lane_work *work, bool *ret_more) {
    struct postgres_store *store = claiming->store;
    for (; work->retry_at < wire_rows(work->retries); work->retry_at++) {
        struct trouble_row *trouble = rows_trouble(&store->rows, wire_int(work->retries, work->retry_at, 0),
                                                   (uint32_t)wire_int(work->retries, work->retry_at, 1));
        if (trouble->state == TROUBLE_WAITING)
            return trouble->due_utc_us <= store->now_utc_us ? trouble : NULL;
    }
    *ret_more = !work->all_retries;
    return NULL;
}

static struct page_row *next_page(struct claiming *claiming, struct lane_work *work, bool *ret_more) {
    struct postgres_store *store = claiming->store;
    for (; work->page_at < wire_rows(work->pages); work->page_at++) {
        struct page_row *page = rows_page(&store->rows, wire_int(work->pages, work->page_at, 0));
        if (page->n_queued)
            return page;
    }
    *ret_more = !work->all_pages;
    return NULL;
}

/* What the lane's first retry is due at now, as those that were taken are leased. */
static void note_retry_due(struct claiming *claiming, struct lane_work *work) {
    struct lane *lane = work->lane;
    struct sched *sched = &claiming->store->sched;
    bool more = false;
    if (work->retries && !next_retry(claiming, work, &more) && !more) {
        int64_t due = work->retry_at < wire_rows(work->retries) ? wire_int(work->retries, work->retry_at, 4) : 0;
        if (due != lane->v[LN_RETRY_DUE])
            sched_set(sched, lane, LN_RETRY_DUE, due);
    }
    if (lane->v[LN_RETRIES] == 0 && lane->v[LN_RETRY_DUE])
        sched_set(sched, lane, LN_RETRY_DUE, 0);
}

/* Leases up to `max` runs of the lane: due retries, which hold what places they need, then pages. */
static int take_runs(struct claiming *claiming, struct hold_row *hold, struct lane_work *work, uint32_t max,
                     struct err *err) {
    struct lane *lane = work->lane;
    int r = 0;
    for (uint32_t got = 0; got < max && r == 0;) {
        bool more_retries = false, more_pages = false;
        struct trouble_row *trouble = next_retry(claiming, work, &more_retries);
        struct page_row *page = trouble || more_retries ? NULL : next_page(claiming, work, &more_pages);
        if (trouble) {
            r = lease_retry(claiming, hold, work, trouble);
            got++;
        } else if (page) {
            uint32_t n = (uint32_t)least(page->n_queued, least(max - got, sched_places_at_claim(lane)));
            if (n == 0 && claiming->cancelled >= CANCEL_AT_ONCE) {
                claiming->cut_short = true;
                break;
            }
            r = n ? lease_page(claiming, hold, work, page, n, err) : cancel_page(claiming, page);
            got += n;
        } else if (more_retries || more_pages) {
            if (more_retries)
                want_retries(claiming->store, work);
            else
                want_pages(claiming->store, work);
            r = pg_load(claiming->store, err);
        } else {
            break;
        }
    }
    if (r == 0)
        note_retry_due(claiming, work);
    return r;
}

static void hold_tokens(struct postgres_store *store, struct lane *lane, struct hold_row *hold, uint32_t tokens) {
    if (tokens == hold->tokens)
        return;
    sched_add(&store->sched, lane, LN_TOKENS, (int64_t)tokens - (int64_t)hold->tokens);
    hold->tokens = tokens;
    rows_hold_dirty(&store->rows, hold);
}

/* How many more runs, and how many tokens in all, somebody who has these gets at most. */
static void limits(const struct lane *lane, const struct hold_row *hold, int64_t now_utc_us, uint32_t *runs,
                   uint32_t *tokens) {
    uint64_t most = least(*tokens ? *tokens : 1, sched_tokens_free(lane, hold ? hold->tokens : 0));
    if (most == 0)
        most = 1; /* its rules were tightened; what it has leased may go on, one at a time */
    uint32_t leased = hold ? hold->leased : 0;
    if (sched_claims_by_token(lane))
        *runs = (uint32_t)least(*runs, most > leased ? most - leased : 0);
    *runs = lane->workflow->paused ? 0 : (uint32_t)least(*runs, sched_rate_free(lane, now_utc_us));
    *tokens = (uint32_t)least(most, UINT32_MAX);
}

/* Leases up to `runs` more runs of the lane and lets the hold have up to `tokens` tokens in all, but none that it has
 * no runs for. Returns how many runs it got. */
static int serve(struct claiming *claiming, struct lane *lane, struct hold_row *hold, uint32_t runs, uint32_t tokens,
                 struct err *err) {
    struct postgres_store *store = claiming->store;
    size_t from = claiming->n;
    uint32_t before = hold->leased;
    struct lane_work *work = work_of(claiming, lane);
    limits(lane, hold, store->now_utc_us, &runs, &tokens);
    int r = work ? 0 : -ENOMEM;
    if (r == 0 && runs && !work->asked) {
        r = want_work(claiming, lane, runs);
        r = r < 0 ? r : pg_load(store, err);
    }
    if (r == 0)
        r = take_runs(claiming, hold, work, runs, err);
    if (r < 0)
        return r;
    hold_tokens(store, lane, hold, (uint32_t)least(tokens, hold->leased));
    for (size_t i = from; i < claiming->n; i++)
        claiming->leases[i].tokens = hold->tokens;
    return (int)(hold->leased - before);
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
        int r = serve(claiming, lane, hold, want->runs, want->tokens, err);
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
    return hold ? serve(claiming, lane, hold, claiming->claim->new_runs, claiming->claim->new_tokens, err) : -ENOMEM;
}

/* Reads this lane's work, and that of those that will be next in this round. */
static int read_ahead(struct claiming *claiming, const struct candidates *candidates, size_t at, uint32_t left,
                      struct err *err) {
    struct postgres_store *store = claiming->store;
    struct lane_work *work = work_of(claiming, candidates->lanes[at]);
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
        limits(lane, NULL, store->now_utc_us, &runs, &tokens);
        r = want_work(claiming, lane, runs);
        n++;
    }
    return r < 0 ? r : pg_load(store, err);
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
            r = want_work(claiming, lane, claim->wants[i].runs);
    }
    uint32_t left = claim->new_runs && claim->new_tokens ? claim->new_lanes : 0;
    for (size_t i = 0; i < candidates.n && left > 0 && r == 0; i++) {
        struct lane *lane = candidates.lanes[i];
        uint32_t runs = claim->new_runs, tokens = claim->new_tokens;
        if (lane->group->mark == sched->mark)
            continue;
        lane->group->mark = sched->mark;
        limits(lane, NULL, claiming->store->now_utc_us, &runs, &tokens);
        r = want_work(claiming, lane, runs);
        left--;
    }
    mem_free(candidates.lanes);
    return r;
}

static void forget_work(struct lane_work *work) {
    PQclear(work->retries);
    PQclear(work->pages);
    *work = (struct lane_work){.lane = work->lane, .last_rank = -1, .next = work->next};
}

/* Forgets what was read of lanes that are not as they were expected to be. */
static void keep_what_holds(struct claiming *claiming, uint64_t generation, bool time_changed) {
    const struct sched *sched = &claiming->store->sched;
    for (struct lane_work **at = &claiming->works, *work; (work = *at);) {
        if (generation != sched->generation) {
            *at = work->next;
            forget_work(work);
            mem_free(work);
            continue;
        }
        const int64_t *v = work->lane->v;
        bool came_due = !work->retries && v[LN_RETRIES] > 0 && v[LN_RETRY_DUE] <= claiming->store->now_utc_us;
        if (time_changed || came_due || memcmp(work->as_of, v, sizeof work->as_of) != 0)
            forget_work(work);
        at = &work->next;
    }
}

/* Looks at the clock, under the lock, until nothing is left to be done. */
static int let_time_pass(struct claiming *claiming, struct look *look, struct err *err) {
    struct postgres_store *store = claiming->store;
    uint64_t generation = store->sched.generation;
    int r = read_early(claiming);
    for (bool first = true; r == 0; first = false) {
        want_look(store, claiming->claim->worker, look);
        pg_want_holds(store, claiming->claim->worker);
        want_rates(store);
        r = pg_load(store, err);
        keep_what_holds(claiming, generation, !first);
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

static int64_t earlier(int64_t a, int64_t b) {
    return a == 0 || (b && b < a) ? b : a;
}

static int64_t next_due(const struct claiming *claiming, const struct look *look) {
    const struct postgres_store *store = claiming->store;
    int64_t due = earlier(earlier(look->retry_due, look->delayed_due), look->start_due);
    LIST_EACH (link, &store->sched.busy) {
        const struct lane *lane = LIST_ENTRY(link, struct lane, busy);
        if (lane->workflow->rated && sched_has_work(lane, store->now_utc_us))
            due = earlier(due, sched_rate_next(lane, store->now_utc_us));
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
        limits(lane, hold, store->now_utc_us, &runs, &tokens);
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
    want_rates(store);
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

/* Pages of which more is left to claim. Not those that this very batch made: it may yet be lost. (Not sooner: what was
 * in the cache when pages were read must stay there until they are used.) */
static void keep_pages(struct postgres_store *store, const struct lane_work *work) {
    for (int row = 0; row < wire_rows(work->pages); row++) {
        const struct page_row *page = rows_page(&store->rows, wire_int(work->pages, row, 0));
        if (page && !page->content && page->n_queued)
            cache_put(&store->cache, page->id, wire_bytes(work->pages, row, 18), wire_bytes(work->pages, row, 19));
    }
}

/* What was not read with the lock. */
static int want_wants(struct claiming *claiming, struct err *err) {
    const struct store_claim *claim = claiming->claim;
    bool any = false;
    int r = 0;
    for (size_t i = 0; i < claim->n_wants && r == 0; i++) {
        struct lane *lane = sched_lane(&claiming->store->sched, claim->wants[i].lane);
        struct lane_work *work = hold_of(claiming, lane) && claim->wants[i].runs ? work_of(claiming, lane) : NULL;
        if (!work || work->asked)
            continue;
        r = want_work(claiming, lane, claim->wants[i].runs);
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
    r = pg_run_ops(store, err);
    if (r == 0)
        r = let_time_pass(claiming, &look, err);
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
    for (struct lane_work *work = claiming.works; work && r == 0; work = work->next)
        keep_pages(store, work);
    int committed = alone && (r == 0 || r == -ESTALE) ? pg_commit(store, err) : 0;
    if (committed < 0)
        r = committed;
    if (r == -ESTALE)
        err_set(err, r, "the leases of worker %lld ran out and were taken back", (long long)claim->worker);
    for (struct lane_work *work = claiming.works, *next; work; work = next) {
        next = work->next;
        PQclear(work->retries);
        PQclear(work->pages);
        mem_free(work);
    }
    mem_free(claiming.leases);
    if (r < 0) {
        arena_free(claiming.arena);
        return r;
    }
    claimed.arena = claiming.arena;
    *ret_claimed = claimed;
    return 0;
}
