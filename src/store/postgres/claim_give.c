/* claim_give.c - gives runs of one lane out: its due retries and its pages, as leases, within what its rules let the
 * worker have. */
#include "claim.h"

#include "cleanup.h"
#include "packing.h"

/* How many runs one claim cancels (CANCEL_NEWEST after GROUP_ROUND_ROBIN) before it gives the rest to the next. */
#define CANCEL_AT_ONCE (10 * STORE_PAGE_MAX)
#define NO_PLACE BYTES("the newest beyond the limit")

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
    out->waited = true;
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

/* The content of a page: that this batch made, or that was read for the claim, at the row of its answer. */
struct opened {
    struct packing_reader keys, rest;
    bool has_keys, has_rest;
    struct bytes input, metadata;
};

static int open_page(struct claiming *claiming, const struct lane_work *work, int row, const struct page_row *page,
                     struct opened *ret_opened) {
    struct postgres_store *store = claiming->store;
    const PGresult *from = work->pages;
    const struct page_content *made = work->made ? page->content : NULL;
    struct cached content;
    if (made)
        content = (struct cached){buf_bytes(&made->keys), buf_bytes(&made->rest)};
    else if (!cache_get(store->cache, page->id, &content))
        content = (struct cached){wire_bytes(from, row, 18), wire_bytes(from, row, 19)};
    ret_opened->has_keys = content.keys.n;
    ret_opened->has_rest = content.rest.n;
    ret_opened->input = made ? made->page->input : wire_bytes(from, row, 16);
    ret_opened->metadata = made ? made->page->metadata : wire_bytes(from, row, 17);
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
        r = open_page(claiming, work, row, page, &opened);
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
    for (; work->made_at < work->n_made; work->made_at++)
        if (work->made[work->made_at]->n_queued)
            return work->made[work->made_at];
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
                claim_want_retries(claiming->store, work);
            else
                claim_want_pages(claiming->store, work);
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
void claim_limits(const struct lane *lane, const struct hold_row *hold, int64_t now_utc_us, uint32_t *runs,
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
int claim_serve(struct claiming *claiming, struct lane *lane, struct hold_row *hold, uint32_t runs, uint32_t tokens,
                struct err *err) {
    struct postgres_store *store = claiming->store;
    size_t from = claiming->n;
    uint32_t before = hold->leased;
    struct lane_work *work = claim_work_of(claiming, lane);
    claim_limits(lane, hold, store->now_utc_us, &runs, &tokens);
    int r = work ? 0 : -ENOMEM;
    if (r == 0 && runs && !work->asked) {
        r = claim_want_work(claiming, lane, runs);
        r = r < 0 ? r : claim_load(store, err);
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
