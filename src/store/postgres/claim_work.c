/* claim_work.c - reads the work of lanes for a claim: due retries, pages, and what is used of their rates. */
#include "claim.h"

#include "cleanup.h"

#define PAGES_AT_ONCE 64

struct lane_work *claim_work_of(struct claiming *claiming, struct lane *lane) {
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

void claim_want_retries(struct postgres_store *store, struct lane_work *work) {
    PQclear(work->retries);
    work->retries = NULL;
    work->want_retries = (uint32_t)least(work->max, least((uint64_t)work->lane->v[LN_RETRIES], INT32_MAX - 1)) + 1;
    struct args *args = pg_want(store, SQL_CLAIM_RETRIES, absorb_retries, work);
    args_int(args, work->lane->id);
    args_int(args, work->want_retries);
    pg_want_keep(store, &work->retries);
}

/* About as many pages as it takes for so many runs. */
void claim_want_pages(struct postgres_store *store, struct lane_work *work) {
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
void claim_want_rates(struct postgres_store *store) {
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

static bool is_made_here(const struct page_row *page, const struct lane *lane) {
    return page->is_new && page->lane == lane->id && page->place == PAGE_READY;
}

static int by_rank(const void *a, const void *b) {
    int64_t x = pg_page_rank(*(struct page_row *const *)a), y = pg_page_rank(*(struct page_row *const *)b);
    return (x > y) - (x < y);
}

/* When all that a lane has was made by this batch and is not written yet, there is nothing to read. -ENOMEM. */
static int take_made(struct postgres_store *store, struct lane_work *work) {
    const struct lane *lane = work->lane;
    size_t n = 0;
    for (const struct page_row *page = store->rows.dirty_pages; page; page = page->next_dirty)
        n += is_made_here(page, lane);
    if (n == 0 || n != (size_t)lane->v[LN_PAGES] || lane->v[LN_RETRIES])
        return 0;
    work->made = mem_calloc(n, sizeof(struct page_row *));
    if (!work->made)
        return -ENOMEM;
    for (struct page_row *page = store->rows.dirty_pages; page; page = page->next_dirty)
        if (is_made_here(page, lane))
            work->made[work->n_made++] = page;
    qsort(work->made, n, sizeof(struct page_row *), by_rank);
    work->all_pages = true;
    return 0;
}

int claim_load(struct postgres_store *store, struct err *err) {
    return store->wants || store->want_failed ? pg_load(store, err) : 0;
}

/* Asks for what a lane has, for up to `max` runs. */
int claim_want_work(struct claiming *claiming, struct lane *lane, uint64_t max) {
    struct postgres_store *store = claiming->store;
    struct lane_work *work = claim_work_of(claiming, lane);
    if (!work)
        return -ENOMEM;
    if (work->asked || max == 0)
        return 0;
    work->asked = true;
    memcpy(work->as_of, lane->v, sizeof work->as_of);
    work->max = (uint32_t)least(max, UINT32_MAX);
    work->all_retries = lane->v[LN_RETRIES] == 0 || lane->v[LN_RETRY_DUE] > store->now_utc_us;
    work->all_pages = lane->v[LN_PAGES] == 0;
    int r = take_made(store, work);
    if (r < 0)
        return r;
    if (!work->all_retries)
        claim_want_retries(store, work);
    if (!work->all_pages)
        claim_want_pages(store, work);
    if (lane->workflow->rated)
        want_rates_of(store, lane);
    return 0;
}

static void forget_work(struct lane_work *work) {
    PQclear(work->retries);
    PQclear(work->pages);
    mem_free(work->made);
    *work = (struct lane_work){.lane = work->lane, .last_rank = -1, .next = work->next};
}

/* Forgets what was read of lanes that are not as they were expected to be. */
void claim_keep_what_holds(struct claiming *claiming, uint64_t generation, bool time_changed) {
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

/* Pages of which more is left to claim. Not those that this very batch made: it may yet be lost. (Not sooner: what was
 * in the cache when pages were read must stay there until they are used.) */
static void keep_pages(struct postgres_store *store, const struct lane_work *work) {
    for (int row = 0; row < wire_rows(work->pages); row++) {
        const struct page_row *page = rows_page(&store->rows, wire_int(work->pages, row, 0));
        if (page && !page->content && page->n_queued)
            cache_put(&store->cache, page->id, wire_bytes(work->pages, row, 18), wire_bytes(work->pages, row, 19));
    }
}

void claim_cache_pages(const struct claiming *claiming) {
    for (const struct lane_work *work = claiming->works; work; work = work->next)
        keep_pages(claiming->store, work);
}

void claim_work_free(struct claiming *claiming) {
    for (struct lane_work *work = claiming->works, *next; work; work = next) {
        next = work->next;
        forget_work(work);
        mem_free(work);
    }
    claiming->works = NULL;
}
