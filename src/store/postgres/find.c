/* find.c - single runs and their history: listing, looking one up, cancelling one.
 *
 * A run is found in three places: its page's row (live: by its bits; finished: by a record in `ended`), or, once it was
 * in trouble, in a row of its own, which then says all. */
#include "postgres_store.h"

#include "cleanup.h"
#include "packing.h"

#define PAGES_AT_ONCE 64
#define CANCELLED_REASON BYTES("cancelled on request")

/* ---- what is read of some pages ---- */

struct reading {
    struct postgres_store *store;
    PGresult *pages, *troubles, *leases, *ended, *kept;
    int page_at, trouble_at, ended_at; /* they are in the order in which pages are gone through */
};

static void reading_free(struct reading *reading) {
    PQclear(reading->pages);
    PQclear(reading->troubles);
    PQclear(reading->leases);
    PQclear(reading->ended);
    PQclear(reading->kept);
}

static void want_runs(struct reading *reading, const int64_t *ids, size_t n) {
    static const enum sql_statement statements[] = {SQL_RUN_PAGES, SQL_RUN_TROUBLES, SQL_RUN_LEASES, SQL_RUN_ENDED,
                                                    SQL_RUN_KEPT};
    PGresult **into[] = {&reading->pages, &reading->troubles, &reading->leases, &reading->ended, &reading->kept};
    for (int i = 0; i < 5; i++) {
        args_ints(pg_want(reading->store, statements[i], NULL, NULL), ids, n);
        pg_want_keep(reading->store, into[i]);
    }
}

/* The newest record of a run. */
struct last {
    struct record record;
    int64_t at_utc_us;
    struct bytes worker;
    bool known, final;
    uint32_t highest; /* attempt */
};

/* One page while its runs are gone through. */
struct paging {
    struct reading *reading;
    int64_t id;
    int row; /* of reading->pages; -1: the page's history is over */
    int trouble_from, trouble_to;
    uint32_t n;
    struct bits live, queued;
    struct arena *arena; /* of the items */
    struct store_item *items;
    struct last last[STORE_PAGE_MAX];
};

static int read_records(struct paging *paging, struct err *err) {
    struct reading *reading = paging->reading;
    const PGresult *ended = reading->ended;
    memset(paging->last, 0, sizeof paging->last);
    for (; reading->ended_at < wire_rows(ended) && wire_int(ended, reading->ended_at, 0) >= paging->id;
         reading->ended_at++) {
        int row = reading->ended_at, r;
        if (wire_int(ended, row, 0) != paging->id)
            continue;
        struct bytes what = wire_bytes(ended, row, 3);
        struct record record;
        while ((r = pg_history_next(&what, &record)) > 0) {
            struct last *last = &paging->last[record.index];
            uint32_t highest = record.attempt > last->highest ? record.attempt : last->highest;
            last->highest = highest;
            if (last->final) /* in one batch records of different workers have no order */
                continue;
            *last = (struct last){.record = record,
                                  .at_utc_us = wire_int(ended, row, 1),
                                  .worker = wire_bytes(ended, row, 2),
                                  .known = true,
                                  .final = pg_history_is_final(record.outcome),
                                  .highest = highest};
        }
        if (r < 0)
            return pg_corrupt(reading->store, err, "the history of page %lld is damaged", (long long)paging->id);
    }
    return 0;
}

static int read_items(struct paging *paging) {
    struct packing_reader keys, rest;
    struct bytes packed_keys = wire_bytes(paging->reading->pages, paging->row, 19);
    struct bytes packed_rest = wire_bytes(paging->reading->pages, paging->row, 20);
    int r = packed_keys.n ? packing_reader_init(&keys, packed_keys) : 0;
    if (r == 0 && packed_rest.n)
        r = packing_reader_init(&rest, packed_rest);
    for (uint32_t i = 0; i < paging->n && r == 0; i++) {
        struct store_item key = {0}, other = {0};
        if (packed_keys.n)
            r = packing_next(&keys, &key);
        if (r == 0 && packed_rest.n)
            r = packing_next(&rest, &other);
        if (r == 0)
            r = arena_copy(paging->arena, key.child_key, &paging->items[i].child_key);
        paging->items[i].generation = other.generation;
        paging->items[i].input = other.input;
    }
    return r;
}

static int read_page(struct paging *paging, struct err *err) {
    const PGresult *pages = paging->reading->pages;
    paging->n = (uint32_t)wire_int(pages, paging->row, 3);
    bool sound = paging->n >= 1 && paging->n <= STORE_PAGE_MAX &&
                 bits_read(&paging->live, wire_bytes(pages, paging->row, 12), paging->n) &&
                 bits_read(&paging->queued, wire_bytes(pages, paging->row, 13), paging->n);
    if (sound && wire_is_null(pages, paging->row, 12))
        bits_fill(&paging->live, wire_int(pages, paging->row, 10) ? paging->n : 0);
    if (sound && wire_is_null(pages, paging->row, 13))
        bits_fill(&paging->queued, wire_int(pages, paging->row, 11) ? paging->n : 0);
    if (sound) {
        paging->items = arena_alloc(paging->arena, paging->n * sizeof *paging->items);
        if (!paging->items)
            return -ENOMEM;
    }
    int r = sound ? read_items(paging) : -EBADMSG;
    return r == -EBADMSG ? pg_corrupt(paging->reading->store, err, "page %lld is damaged", (long long)paging->id) : r;
}

static int open_paging(struct paging *paging, int64_t id, struct err *err) {
    struct reading *reading = paging->reading;
    const PGresult *troubles = reading->troubles;
    paging->id = id;
    paging->row = -1;
    paging->n = 0;
    arena_free(paging->arena);
    paging->arena = arena_new();
    if (!paging->arena)
        return -ENOMEM;
    if (reading->page_at < wire_rows(reading->pages) && wire_int(reading->pages, reading->page_at, 0) == id)
        paging->row = reading->page_at++;
    int at = reading->trouble_at, n = wire_rows(troubles);
    for (; at < n && wire_int(troubles, at, 0) > id; at++)
        ;
    paging->trouble_from = at;
    for (; at < n && wire_int(troubles, at, 0) == id; at++)
        ;
    paging->trouble_to = reading->trouble_at = at;
    int r = read_records(paging, err);
    return r == 0 && paging->row >= 0 ? read_page(paging, err) : r;
}

/* ---- one run ---- */

static int lease_of(const struct paging *paging, uint32_t index, bool *ret_asked) {
    const PGresult *leases = paging->reading->leases;
    for (int row = 0; row < wire_rows(leases); row++) {
        struct bits bits, asked;
        uint32_t n = (uint32_t)wire_int(leases, row, 6);
        if (wire_int(leases, row, 3) != paging->id || n > STORE_PAGE_MAX ||
            !bits_read(&bits, wire_bytes(leases, row, 7), n) || !bits_read(&asked, wire_bytes(leases, row, 8), n) ||
            index >= n || !bits_get(&bits, index))
            continue;
        *ret_asked = bits_get(&asked, index);
        return row;
    }
    return -1;
}

static enum store_state state_of(enum store_outcome outcome) {
    return outcome == STORE_DONE     ? STORE_STATE_DONE
           : outcome == STORE_FAILED ? STORE_STATE_FAILED
                                     : STORE_STATE_CANCELLED;
}

static void fill_lane(const struct paging *paging, int64_t id, struct store_run_info *info) {
    const struct lane *lane = sched_lane(&paging->reading->store->sched, id);
    if (!lane)
        return;
    info->workflow_name = bytes_of(lane->workflow->name, lane->workflow->name_n);
    info->group = sched_group_key(lane);
}

static struct bytes input_or(struct bytes own, struct bytes page) {
    return own.n ? own : page.n ? page : BYTES("{}");
}

static void fill_from_trouble(const struct paging *paging, int row, struct store_run_info *info) {
    const PGresult *from = paging->reading->troubles;
    enum trouble_state state = (enum trouble_state)wire_int(from, row, 3);
    int64_t due = wire_int(from, row, 4);
    fill_lane(paging, wire_int(from, row, 2), info);
    info->attempts = (uint32_t)wire_int(from, row, 5);
    info->generation = wire_bytes(from, row, 6);
    info->priority = (unsigned)wire_int(from, row, 9);
    info->created_utc_us = wire_int(from, row, 10);
    info->parent_page = wire_int(from, row, 11);
    info->parent_index = (uint32_t)wire_int(from, row, 12);
    info->child_key = wire_bytes(from, row, 13);
    info->input = input_or(wire_bytes(from, row, 14), BYTES_NONE);
    info->metadata = wire_bytes(from, row, 15);
    info->checkpoint = wire_bytes(from, row, 16);
    info->error = wire_bytes(from, row, 17);
    bool waits = due > paging->reading->store->now_utc_us;
    info->state = state == TROUBLE_PARKED    ? STORE_STATE_PARKED
                  : state == TROUBLE_LEASED  ? STORE_STATE_LEASED
                  : state == TROUBLE_WAITING ? (waits ? STORE_STATE_WAITING : STORE_STATE_QUEUED)
                                             : state_of((enum store_outcome)wire_int(from, row, 8));
    if (info->state == STORE_STATE_WAITING)
        info->due_utc_us = due;
}

static void fill_from_kept(const struct paging *paging, uint32_t index, struct store_run_info *info) {
    const PGresult *kept = paging->reading->kept;
    for (int row = 0; row < wire_rows(kept); row++) {
        if (wire_int(kept, row, 0) != paging->id || wire_int(kept, row, 1) != index)
            continue;
        info->attempts = (uint32_t)wire_int(kept, row, 2);
        info->generation = wire_bytes(kept, row, 3);
        info->checkpoint = wire_bytes(kept, row, 4);
    }
}

/* False: the run's history is over. */
static bool fill_from_page(const struct paging *paging, uint32_t index, struct store_run_info *info) {
    const PGresult *from = paging->reading->pages;
    int row = paging->row;
    const struct store_item *item = &paging->items[index];
    int64_t not_before = wire_int(from, row, 6);
    fill_lane(paging, wire_int(from, row, 2), info);
    info->priority = (unsigned)wire_int(from, row, 5);
    info->created_utc_us = wire_int(from, row, 8);
    info->parent_page = wire_int(from, row, 15);
    info->parent_index = (uint32_t)wire_int(from, row, 16);
    info->child_key = item->child_key;
    info->generation = item->generation;
    info->input = input_or(item->input, wire_bytes(from, row, 17));
    info->metadata = wire_bytes(from, row, 18);
    if (bits_get(&paging->live, index)) {
        bool waits = not_before > paging->reading->store->now_utc_us;
        info->state = !bits_get(&paging->queued, index) ? STORE_STATE_LEASED
                      : waits                           ? STORE_STATE_WAITING
                                                        : STORE_STATE_QUEUED;
        if (info->state == STORE_STATE_WAITING)
            info->due_utc_us = not_before;
        if (info->state == STORE_STATE_LEASED)
            fill_from_kept(paging, index, info);
        return true;
    }
    info->state = state_of(paging->last[index].record.outcome);
    return paging->last[index].final;
}

static void fill_from_history(const struct paging *paging, uint32_t index, struct store_run_info *info) {
    const struct last *last = &paging->last[index];
    if (!last->known)
        return;
    info->worker = last->worker;
    info->ended_utc_us = last->at_utc_us;
    info->duration_us = last->record.duration_us;
    info->result = last->record.result;
    if (info->state >= STORE_STATE_DONE || info->error.n == 0)
        info->error = last->record.error;
    if (info->state >= STORE_STATE_DONE)
        info->attempts = last->highest;
}

/* Whether there is such a run. */
static bool fill(const struct paging *paging, uint32_t index, struct store_run_info *info) {
    int trouble = -1;
    for (int row = paging->trouble_from; row < paging->trouble_to && trouble < 0; row++)
        if (wire_int(paging->reading->troubles, row, 1) == index)
            trouble = row;
    *info = (struct store_run_info){.page = paging->id, .index = index};
    if (trouble >= 0)
        fill_from_trouble(paging, trouble, info);
    else if (index >= paging->n || !fill_from_page(paging, index, info))
        return false;
    fill_from_history(paging, index, info);
    if (trouble >= 0 && info->state == STORE_STATE_DONE)
        info->error = BYTES_NONE; /* of the attempt before */
    if (info->state != STORE_STATE_LEASED)
        return true;
    bool asked = false;
    int lease = lease_of(paging, index, &asked);
    info->cancel_asked = asked;
    info->worker = lease >= 0 ? wire_bytes(paging->reading->leases, lease, 9) : BYTES_NONE;
    return true;
}

/* ---- listing ---- */

static bool matches(const struct store_runs_filter *filter, const struct store_run_info *run) {
    int64_t since = filter->since_utc_us, until = filter->until_utc_us ? filter->until_utc_us : INT64_MAX;
    bool in_time = (run->created_utc_us >= since && run->created_utc_us < until) ||
                   (run->ended_utc_us && run->ended_utc_us >= since && run->ended_utc_us < until);
    return in_time && (filter->states == 0 || (filter->states >> run->state & 1)) &&
           (filter->workflow.n == 0 || bytes_equal(filter->workflow, run->workflow_name)) &&
           (filter->group.n == 0 || bytes_equal(filter->group, run->group)) &&
           (filter->child_key.n == 0 || bytes_equal(filter->child_key, run->child_key));
}

struct listing {
    const struct store_runs_filter *filter;
    int (*each)(void *arg, const struct store_run_info *run);
    void *arg;
    bool stopped;
    int stop;
};

static int list_page(struct paging *paging, int64_t id, struct listing *listing, struct err *err) {
    const struct store_runs_filter *filter = listing->filter;
    int r = open_paging(paging, id, err);
    uint32_t from = STORE_PAGE_MAX;
    if (filter->before_page == id)
        from = filter->before_index < STORE_PAGE_MAX ? filter->before_index : STORE_PAGE_MAX;
    for (uint32_t i = from; i-- > 0 && r == 0 && !listing->stopped;) {
        struct store_run_info run;
        if (!fill(paging, i, &run) || !matches(filter, &run))
            continue;
        int stop = listing->each(listing->arg, &run);
        listing->stopped = stop != 0;
        listing->stop = stop < 0 ? stop : 0;
    }
    return r;
}

static int list_pages(struct postgres_store *store, struct paging *paging, const int64_t *ids, size_t n,
                      struct listing *listing, struct err *err) {
    struct reading reading = {.store = store};
    paging->reading = &reading;
    want_runs(&reading, ids, n);
    int r = pg_look(store, err);
    for (size_t i = 0; i < n && r == 0 && !listing->stopped; i++)
        r = list_page(paging, ids[i], listing, err);
    reading_free(&reading);
    return r;
}

static int find_ids(struct postgres_store *store, const struct store_runs_filter *filter, int64_t from, int64_t *ids,
                    size_t *ret_n, struct err *err) {
    const unsigned finished = 1u << STORE_STATE_DONE | 1u << STORE_STATE_FAILED | 1u << STORE_STATE_CANCELLED;
    _cleanup_answer_ PGresult *answer = NULL, *now = NULL;
    struct args *args = pg_want(store, SQL_META, NULL, NULL);
    pg_args_now(store, args);
    pg_want_keep(store, &now);
    args = pg_want(store, filter->child_key.n ? SQL_RUN_IDS_KEY : SQL_RUN_IDS, NULL, NULL);
    args_int(args, from);
    args_int(args, PAGES_AT_ONCE);
    pg_args_lanes(args, &store->sched, filter->workflow, filter->group);
    args_int(args, filter->states && !(filter->states & finished));
    args_int(args, filter->until_utc_us);
    args_int(args, filter->since_utc_us);
    if (filter->child_key.n)
        args_bytes(args, filter->child_key);
    pg_want_keep(store, &answer);
    int r = pg_look(store, err);
    if (r < 0)
        return r;
    pg_set_now(store, wire_int(now, 0, 13));
    *ret_n = (size_t)wire_rows(answer);
    for (size_t i = 0; i < *ret_n; i++)
        ids[i] = wire_int(answer, (int)i, 0);
    return 0;
}

int pg_runs_each(struct postgres_store *store, const struct store_runs_filter *filter,
                 int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop, struct err *err) {
    struct listing listing = {.filter = filter, .each = each, .arg = arg};
    struct paging *paging = mem_zalloc(sizeof *paging);
    if (!paging)
        return -ENOMEM;
    int64_t ids[PAGES_AT_ONCE], from = filter->before_page ? filter->before_page : INT64_MAX;
    int r = pg_look(store, err); /* lanes that came meanwhile */
    for (size_t n = 1; n > 0 && r == 0 && !listing.stopped;) {
        r = find_ids(store, filter, from, ids, &n, err);
        if (r == 0 && n > 0)
            r = list_pages(store, paging, ids, n, &listing, err);
        if (n > 0)
            from = ids[n - 1] - 1;
    }
    arena_free(paging->arena);
    mem_free(paging);
    *ret_stop = listing.stop;
    return r;
}

/* ---- one run by its id ---- */

/* Reads the page of a run, with or without the lock. */
static int read_one(struct postgres_store *store, int64_t page, struct reading *reading, struct paging *paging,
                    struct err *err) {
    _cleanup_answer_ PGresult *now = NULL;
    reading->store = store;
    paging->reading = reading;
    struct args *args = pg_want(store, SQL_META, NULL, NULL);
    pg_args_now(store, args);
    pg_want_keep(store, &now);
    want_runs(reading, &page, 1);
    int r = pg_look(store, err);
    if (r < 0)
        return r;
    pg_set_now(store, wire_int(now, 0, 13));
    return open_paging(paging, page, err);
}

static int no_run(int64_t page, uint32_t index, struct err *err) {
    return err_set(err, -ENOENT, "run %lld:%u is not known, or its history is over", (long long)page, index);
}

int pg_run_get(struct postgres_store *store, int64_t page, uint32_t index,
               int (*each)(void *arg, const struct store_run_info *run), void *arg, int *ret_stop, struct err *err) {
    struct reading reading = {0};
    struct paging *paging = mem_zalloc(sizeof *paging);
    if (!paging)
        return -ENOMEM;
    struct store_run_info run;
    int r = read_one(store, page, &reading, paging, err);
    if (r == 0 && (index >= STORE_PAGE_MAX || !fill(paging, index, &run)))
        r = no_run(page, index, err);
    int stop = r == 0 ? each(arg, &run) : 0;
    *ret_stop = stop < 0 ? stop : 0;
    arena_free(paging->arena);
    mem_free(paging);
    reading_free(&reading);
    return r;
}

int pg_attempts_each(struct postgres_store *store, int64_t page, uint32_t index,
                     int (*each)(void *arg, const struct store_attempt *attempt), void *arg, int *ret_stop,
                     struct err *err) {
    _cleanup_answer_ PGresult *ended = NULL;
    args_ints(pg_want(store, SQL_RUN_ENDED, NULL, NULL), &page, 1);
    pg_want_keep(store, &ended);
    int r = pg_look(store, err);
    for (int row = 0; row < wire_rows(ended) && r == 0; row++) {
        struct bytes what = wire_bytes(ended, row, 3);
        struct record record;
        while ((r = pg_history_next(&what, &record)) > 0) {
            if (record.index != index)
                continue;
            struct store_attempt attempt = {
                .attempt = record.attempt,
                .outcome = record.outcome,
                .ended_utc_us = wire_int(ended, row, 1),
                .duration_us = record.duration_us,
                .worker = wire_bytes(ended, row, 2),
                .error = record.error,
                .result = record.result,
            };
            int stop = each(arg, &attempt);
            if (stop != 0) {
                *ret_stop = stop < 0 ? stop : 0;
                return 0;
            }
        }
        if (r < 0)
            return pg_corrupt(store, err, "the history of page %lld is damaged", (long long)page);
    }
    return r;
}

/* ---- cancelling ---- */

static int ask_holder(struct postgres_store *store, int64_t page, uint32_t index, struct err *err) {
    struct bytes key;
    void *row;
    for (size_t at = 0; map_next(&store->rows.leases, &at, &key, &row);) {
        struct lease_row *lease = row;
        if (lease->gone || lease->page != page || index >= lease->n_page || !bits_get(&lease->bits, index))
            continue;
        return bits_get(&lease->asked, index) ? 0 : pg_ask(store, lease, index, false);
    }
    return pg_corrupt(store, err, "nobody has leased run %lld:%u", (long long)page, index);
}

static int cancel(struct postgres_store *store, const struct store_run_info *run, struct err *err) {
    struct page_row *page = rows_page(&store->rows, run->page);
    struct trouble_row *trouble = rows_trouble(&store->rows, run->page, run->index);
    if (run->state >= STORE_STATE_DONE)
        return 0;
    if (run->state == STORE_STATE_LEASED)
        return ask_holder(store, run->page, run->index, err);
    if (trouble && trouble->state != TROUBLE_FINISHED)
        return pg_cancel_trouble(store, trouble, STORE_CANCELLED, CANCELLED_REASON);
    return page ? pg_cancel_queued(store, page, run->index, CANCELLED_REASON) : 0;
}

int pg_run_cancel(struct postgres_store *store, int64_t page, uint32_t index, enum store_state *ret_state,
                  struct err *err) {
    struct reading reading = {0};
    struct paging *paging = mem_zalloc(sizeof *paging);
    int r = paging ? pg_run_ops(store, err) : -ENOMEM;
    if (r == 0) {
        args_ints(pg_want(store, SQL_PAGES, pg_absorb_pages, NULL), &page, 1);
        args_ints(pg_want(store, SQL_LEASES_ON, pg_absorb_leases, NULL), &page, 1);
        struct args *args = pg_want(store, SQL_TROUBLE, pg_absorb_troubles, NULL);
        args_int(args, page);
        args_int(args, index);
        r = pg_load(store, err);
    }
    struct store_run_info run;
    if (r == 0)
        r = read_one(store, page, &reading, paging, err);
    if (r == 0 && (index >= STORE_PAGE_MAX || !fill(paging, index, &run)))
        r = no_run(page, index, err);
    if (r == 0)
        r = cancel(store, &run, err);
    if (r == 0)
        *ret_state = run.state;
    if (paging)
        arena_free(paging->arena);
    mem_free(paging);
    reading_free(&reading);
    return r;
}
