/* absorb.c - takes rows that were read into memory: of the small tables for good, of the others for the batch. */
#include "postgres_store.h"

#include "cleanup.h"

#define RULE_BYTES 16 /* strategy, max_runs: 4 bytes each; period_us: 8; little-endian */

/* ---- workflows and lanes ---- */

static int read_rules(struct bytes packed, struct store_rule *rules) {
    size_t n = packed.n / RULE_BYTES;
    if (packed.n % RULE_BYTES || n > STORE_RULES_MAX)
        return -EBADMSG;
    for (size_t i = 0; i < n; i++) {
        uint32_t two[2];
        memcpy(two, packed.p + i * RULE_BYTES, sizeof two);
        memcpy(&rules[i].period_us, packed.p + i * RULE_BYTES + sizeof two, sizeof rules[i].period_us);
        rules[i].strategy = (enum store_strategy)two[0];
        rules[i].max_runs = two[1];
        if (two[0] < STORE_GROUP_ROUND_ROBIN || two[0] > STORE_RATE_LIMIT ||
            (two[0] == STORE_RATE_LIMIT && rules[i].period_us < 1))
            return -EBADMSG;
    }
    return (int)n;
}

int pg_absorb_workflows(struct postgres_store *store, const PGresult *answer, struct err *err) {
    for (int row = 0; row < wire_rows(answer); row++) {
        struct store_rule rules[STORE_RULES_MAX];
        int64_t id = wire_int(answer, row, 0);
        int n = read_rules(wire_bytes(answer, row, 2), rules);
        int r = n < 0 ? n
                      : sched_workflow_put(&store->sched, id, wire_bytes(answer, row, 1), rules, (size_t)n,
                                           wire_int(answer, row, 3), NULL);
        if (r == -EBADMSG)
            return pg_corrupt(store, err, "workflow %lld is damaged", (long long)id);
        if (r < 0)
            return r;
    }
    return 0;
}

static int absorb_lane(struct postgres_store *store, const PGresult *answer, int row, int column, struct err *err) {
    int64_t id = wire_int(answer, row, column), numbers[LANE_NUMBERS];
    struct workflow *workflow = sched_workflow(&store->sched, wire_int(answer, row, column + 1));
    for (int i = 0; i < LANE_NUMBERS; i++)
        numbers[i] = wire_int(answer, row, column + 3 + i);
    int r = workflow ? sched_lane_put(&store->sched, id, workflow, wire_bytes(answer, row, column + 2), numbers, NULL)
                     : -EBADMSG;
    return r == -EBADMSG ? pg_corrupt(store, err, "lane %lld is damaged", (long long)id) : r;
}

int pg_absorb_lanes(struct postgres_store *store, const PGresult *answer, int first_column, struct err *err) {
    int r = 0;
    for (int row = 0; row < wire_rows(answer) && r == 0; row++)
        r = absorb_lane(store, answer, row, first_column, err);
    return r;
}

/* A row for each lane of each batch since the last one: number, whether workflows changed, the batch's id, the lane's
 * id or NULL, its row or NULLs when it is gone. With ret_workflows it stops when workflows have to be read first. */
int pg_absorb_delta(struct postgres_store *store, const PGresult *answer, bool *ret_complete, bool *ret_workflows,
                    struct err *err) {
    int64_t reached = store->synced;
    *ret_complete = true;
    for (int row = 0; row < wire_rows(answer); row++) {
        int64_t number = wire_int(answer, row, 0);
        if (ret_workflows && wire_int(answer, row, 1))
            *ret_workflows = true;
        if (number != reached && number != reached + 1) { /* some are gone already */
            *ret_complete = false;
            return 0;
        }
        reached = number;
    }
    if (ret_workflows && *ret_workflows)
        return 0;
    int r = 0, n = wire_rows(answer);
    for (int row = 0; row < n && r == 0; row++)
        if (!wire_is_null(answer, row, 4))
            r = absorb_lane(store, answer, row, 4, err);
        else if (!wire_is_null(answer, row, 3))
            sched_lane_drop(&store->sched, sched_lane(&store->sched, wire_int(answer, row, 3)));
    return r == 0 && n ? pg_synced(store, reached, wire_bytes(answer, n - 1, 2), err) : r;
}

/* ---- rows of a batch ---- */

int pg_absorb_pages(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)arg;
    for (int row = 0; row < wire_rows(answer); row++) {
        int64_t id = wire_int(answer, row, 0);
        if (rows_page(&store->rows, id))
            continue;
        struct page_row *page = rows_page_add(&store->rows, id);
        if (!page)
            return -ENOMEM;
        int at = 1;
        page->seq = wire_int(answer, row, at++);
        page->lane = wire_int(answer, row, at++);
        page->n = (uint32_t)wire_int(answer, row, at++);
        page->place = (enum page_place)wire_int(answer, row, at++);
        page->priority = (unsigned)wire_int(answer, row, at++);
        page->not_before_utc_us = wire_int(answer, row, at++);
        page->start_by_utc_us = wire_int(answer, row, at++);
        page->created_utc_us = wire_int(answer, row, at++);
        page->size = wire_int(answer, row, at++);
        page->n_live = (uint32_t)wire_int(answer, row, at++);
        page->n_queued = (uint32_t)wire_int(answer, row, at++);
        bool all_live = wire_is_null(answer, row, at), sound = page->n >= 1 && page->n <= STORE_PAGE_MAX;
        sound = sound && bits_read(&page->live, wire_bytes(answer, row, at++), page->n);
        bool all_queued = wire_is_null(answer, row, at);
        sound = sound && bits_read(&page->queued, wire_bytes(answer, row, at++), page->n);
        sound = sound && bits_read(&page->touched, wire_bytes(answer, row, at++), page->n);
        if (sound && all_live)
            bits_fill(&page->live, page->n);
        if (sound && all_queued)
            bits_fill(&page->queued, page->n);
        sound = sound && bits_count(&page->live) == page->n_live && bits_count(&page->queued) == page->n_queued &&
                sched_lane(&store->sched, page->lane);
        if (!sound)
            return pg_corrupt(store, err, "page %lld is damaged", (long long)id);
    }
    return 0;
}

int pg_absorb_troubles(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)arg;
    for (int row = 0; row < wire_rows(answer); row++) {
        int64_t page = wire_int(answer, row, 0), index = wire_int(answer, row, 1);
        if (rows_trouble(&store->rows, page, (uint32_t)index))
            continue;
        struct trouble_row *trouble = rows_trouble_add(&store->rows, page, (uint32_t)index);
        if (!trouble)
            return -ENOMEM;
        trouble->lane = wire_int(answer, row, 2);
        trouble->state = (enum trouble_state)wire_int(answer, row, 3);
        trouble->due_utc_us = wire_int(answer, row, 4);
        trouble->attempts = (uint32_t)wire_int(answer, row, 5);
        trouble->size = wire_int(answer, row, 7);
        int r = rows_trouble_generation(trouble, wire_bytes(answer, row, 6));
        if (r < 0)
            return r;
        if (!sched_lane(&store->sched, trouble->lane))
            return pg_corrupt(store, err, "run %lld:%lld is damaged", (long long)page, (long long)index);
    }
    return 0;
}

int pg_absorb_leases(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)arg;
    for (int row = 0; row < wire_rows(answer); row++) {
        int64_t id = wire_int(answer, row, 0);
        if (rows_lease(&store->rows, id))
            continue;
        struct lease_row *lease = rows_lease_add(&store->rows, id);
        if (!lease)
            return -ENOMEM;
        lease->worker = wire_int(answer, row, 1);
        lease->lane = wire_int(answer, row, 2);
        lease->page = wire_int(answer, row, 3);
        lease->retry = (int32_t)wire_int(answer, row, 4);
        lease->n = (uint32_t)wire_int(answer, row, 5);
        lease->n_page = (uint32_t)wire_int(answer, row, 6);
        if (lease->n_page < 1 || lease->n_page > STORE_PAGE_MAX ||
            !bits_read(&lease->bits, wire_bytes(answer, row, 7), lease->n_page) ||
            !bits_read(&lease->asked, wire_bytes(answer, row, 8), lease->n_page) ||
            bits_count(&lease->bits) != lease->n || !sched_lane(&store->sched, lease->lane))
            return pg_corrupt(store, err, "lease %lld is damaged", (long long)id);
    }
    return 0;
}

int pg_absorb_holds(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)arg;
    for (int row = 0; row < wire_rows(answer); row++) {
        int64_t worker = wire_int(answer, row, 0), lane = wire_int(answer, row, 1);
        if (rows_hold(&store->rows, worker, lane))
            continue;
        struct hold_row *hold = rows_hold_add(&store->rows, worker, lane);
        if (!hold)
            return -ENOMEM;
        hold->tokens = (uint32_t)wire_int(answer, row, 2);
        hold->leased = (uint32_t)wire_int(answer, row, 3);
        hold->in_table = true;
        if (!sched_lane(&store->sched, lane))
            return pg_corrupt(store, err, "a hold of worker %lld is damaged", (long long)worker);
    }
    return 0;
}

void pg_want_holds(struct postgres_store *store, int64_t worker) {
    struct bytes key = bytes_of(&worker, sizeof worker);
    if (map_get(&store->rows.holds_known, key))
        return;
    if (map_put(&store->rows.holds_known, key, store) < 0)
        store->want_failed = true;
    args_int(pg_want(store, SQL_HOLDS, pg_absorb_holds, NULL), worker);
}

void pg_want_troubles(struct postgres_store *store, const int64_t *pages, size_t n) {
    args_ints(pg_want(store, SQL_TROUBLES_OF_PAGES, pg_absorb_troubles, NULL), pages, n);
}

/* ---- names of workers ---- */

struct worker_name *pg_worker(struct postgres_store *store, int64_t id) {
    for (size_t i = store->n_workers; i-- > 0;)
        if (store->workers[i].id == id)
            return &store->workers[i];
    return NULL;
}

int pg_worker_remember(struct postgres_store *store, int64_t id, struct bytes name, bool ours) {
    if (pg_worker(store, id))
        return 0;
    if (store->n_workers == store->cap_workers) {
        size_t cap = store->cap_workers ? store->cap_workers * 2 : 8;
        struct worker_name *workers = mem_reallocarray(store->workers, cap, sizeof *workers);
        if (!workers)
            return -ENOMEM;
        store->workers = workers;
        store->cap_workers = cap;
    }
    char *copy = mem_memdup(name.p, name.n);
    if (!copy)
        return -ENOMEM;
    store->workers[store->n_workers++] = (struct worker_name){.id = id, .name = copy, .name_n = name.n, .ours = ours};
    return 0;
}

void pg_worker_forget(struct postgres_store *store, int64_t id) {
    struct worker_name *worker = pg_worker(store, id);
    if (!worker)
        return;
    mem_free(worker->name);
    *worker = store->workers[--store->n_workers];
}

int pg_absorb_workers(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)arg;
    (void)err;
    int r = 0;
    for (int row = 0; row < wire_rows(answer) && r == 0; row++)
        r = pg_worker_remember(store, wire_int(answer, row, 0), wire_bytes(answer, row, 1), false);
    return r;
}
