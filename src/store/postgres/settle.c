/* settle.c - what came of leased runs. */
#include "postgres_store.h"

#include "cleanup.h"

int pg_settle_check(const struct store_settled *settled, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        const struct store_settled *one = &settled[i];
        if (one->outcome < STORE_DONE || one->outcome > STORE_CHECKPOINT)
            return err_set(err, -EINVAL, "an unknown outcome (%d)", (int)one->outcome);
        if (one->child_key.n > STORE_NAME_MAX || one->generation.n > STORE_NAME_MAX)
            return err_set(err, -EINVAL, "a child key or generation is longer than %d bytes", STORE_NAME_MAX);
        if (one->input.n > STORE_DATA_MAX || one->checkpoint.n > STORE_DATA_MAX || one->error.n > STORE_DATA_MAX ||
            one->result.n > STORE_DATA_MAX)
            return err_set(err, -EINVAL, "input, checkpoint, error or result is longer than %d bytes", STORE_DATA_MAX);
    }
    return 0;
}

/* Is the lease in memory, with the row of what it is on? Leases alone are read to ask their holders to end. */
static bool is_here(const struct rows *rows, int64_t id) {
    const struct lease_row *lease = rows_lease(rows, id);
    if (!lease)
        return false;
    return lease->retry < 0 ? rows_page(rows, lease->page) != NULL
                            : rows_trouble(rows, lease->page, (uint32_t)lease->retry) != NULL;
}

static bool goes_back(const struct store_settled *one) {
    return one->outcome == STORE_RELEASED && one->checkpointed;
}

/* What was kept of runs that go back goes with them. */
static void want_kept(struct postgres_store *store, const struct op *op) {
    size_t n = 0;
    for (size_t i = 0; i < op->n; i++)
        n += goes_back(&op->settled[i]);
    if (n == 0)
        return;
    struct args *args = pg_want(store, SQL_KEPT, pg_absorb_kept, NULL);
    args_array(args, ARGS_INTS);
    for (size_t i = 0; i < op->n; i++)
        if (goes_back(&op->settled[i]))
            args_array_int(args, op->settled[i].lease);
    args_array_end(args);
    args_array(args, ARGS_INTS);
    for (size_t i = 0; i < op->n; i++)
        if (goes_back(&op->settled[i]))
            args_array_int(args, op->settled[i].index);
    args_array_end(args);
}

int pg_settle_want(struct postgres_store *store, const struct op *op) {
    _cleanup_free_ int64_t *ids = mem_calloc(op->n + 1, sizeof *ids);
    if (!ids)
        return -ENOMEM;
    size_t n = 0;
    bool retries = false;
    for (size_t i = 0; i < op->n; i++) {
        int64_t id = op->settled[i].lease;
        if ((n && ids[n - 1] == id) || is_here(&store->rows, id))
            continue;
        ids[n++] = id;
        retries |= LEASE_IS_RETRY(id);
    }
    if (n) {
        args_ints(pg_want(store, SQL_LEASES, pg_absorb_leases, NULL), ids, n);
        args_ints(pg_want(store, SQL_LEASES_PAGES, pg_absorb_pages, NULL), ids, n);
    }
    if (retries)
        args_ints(pg_want(store, SQL_LEASES_TROUBLES, pg_absorb_troubles, NULL), ids, n);
    want_kept(store, op);
    pg_want_holds(store, op->worker);
    if (!pg_worker(store, op->worker))
        args_ints(pg_want(store, SQL_WORKERS, pg_absorb_workers, NULL), &op->worker, 1);
    return 0;
}

struct settling {
    struct postgres_store *store;
    struct lease_row *lease;
    const struct store_settled *one;
    struct lane *lane;
    struct page_row *page;       /* NULL: */
    struct trouble_row *trouble; /* the run has a row of its own */
    struct bytes worker;
};

/* A child key that is free again. What is not removed here is found stale later. */
static int forget_key(struct settling *settling) {
    struct keyset *set = keys_known(&settling->store->keys, settling->lane->workflow->id);
    const struct store_settled *one = settling->one;
    if (!set || set->synced == 0 || one->child_key.n == 0)
        return 0;
    return keys_remove(set, hash128(&settling->lane->workflow->hash_key, one->child_key),
                       KEYS_PLACE(settling->lease->page, one->index));
}

static int note_attempt(struct settling *settling, enum store_outcome outcome) {
    const struct store_settled *one = settling->one;
    struct record record = {
        .index = one->index,
        .attempt = one->attempt,
        .outcome = outcome,
        .duration_us = one->duration_us,
        .error = outcome == STORE_DONE ? BYTES_NONE : one->error,
        .result = outcome == STORE_DONE ? one->result : BYTES_NONE,
    };
    return pg_history_add(settling->store, settling->lease->page, settling->worker, &record);
}

/* The run leaves its page: settled, or with a row of its own. */
static void leave_page(struct settling *settling) {
    struct page_row *page = settling->page;
    bits_clear(&page->live, settling->one->index);
    page->n_live--;
    if (page->n_live == 0)
        pg_page_changed(settling->store, page, page->n_queued);
    else
        rows_page_dirty(&settling->store->rows, page);
}

static int settle_over(struct settling *settling, enum store_outcome outcome) {
    struct postgres_store *store = settling->store;
    if (outcome == STORE_DONE)
        sched_add(&store->sched, settling->lane, LN_DONE, 1);
    if (outcome == STORE_CANCELLED)
        sched_add(&store->sched, settling->lane, LN_CANCELLED, 1);
    if (settling->page)
        leave_page(settling);
    else
        pg_trouble_finish(store, settling->trouble, outcome);
    int r = note_attempt(settling, outcome);
    return r < 0 ? r : forget_key(settling);
}

/* The row of a run in trouble: the one it has, or a new one. Its state is to be set. */
static int trouble_of(struct settling *settling, struct trouble_row **ret_trouble) {
    struct rows *rows = &settling->store->rows;
    const struct store_settled *one = settling->one;
    struct trouble_row *trouble = settling->trouble;
    if (!trouble) {
        trouble = rows_trouble_add(rows, settling->page->id, one->index);
        if (!trouble)
            return -ENOMEM;
        trouble->lane = settling->lane->id;
        trouble->is_new = true;
        leave_page(settling);
    }
    trouble->data = one;
    trouble->attempts = one->attempts;
    trouble->size = (int64_t)(one->child_key.n + one->generation.n + one->input.n + one->checkpoint.n + one->error.n) +
                    HISTORY_TROUBLE_COST;
    rows_trouble_dirty(rows, trouble);
    *ret_trouble = trouble;
    return rows_trouble_generation(trouble, one->generation);
}

static int settle_retry(struct settling *settling) {
    struct trouble_row *trouble;
    int r = trouble_of(settling, &trouble);
    if (r < 0)
        return r;
    trouble->due_utc_us = settling->one->due_utc_us;
    pg_trouble_queue(settling->store, trouble);
    return settling->one->failed ? note_attempt(settling, STORE_RETRY) : 0;
}

static int settle_parked(struct settling *settling) {
    struct trouble_row *trouble;
    int r = trouble_of(settling, &trouble);
    if (r < 0)
        return r;
    trouble->due_utc_us = settling->store->now_utc_us;
    trouble->state = TROUBLE_PARKED;
    sched_add(&settling->store->sched, settling->lane, LN_PARKED, 1);
    return note_attempt(settling, STORE_PARKED);
}

/* No end: in the run's own row if it has one. */
static int keep(struct settling *settling) {
    struct trouble_row *trouble;
    return settling->page ? pg_kept_put(settling->store, settling->page->id, settling->one)
                          : trouble_of(settling, &trouble);
}

static int release(struct settling *settling, struct err *err) {
    struct postgres_store *store = settling->store;
    uint32_t index = settling->one->index;
    int r = pg_give_back(store, settling->lease, index, err);
    return r == 0 && settling->page && settling->one->checkpointed ? pg_kept_requeue(store, settling->page, index) : r;
}

/* Takes the run out of the lease. */
static int finish(struct settling *settling, bool *ret_asked) {
    struct postgres_store *store = settling->store;
    struct lease_row *lease = settling->lease;
    uint32_t index = settling->one->index;
    bits_clear(&lease->bits, index);
    lease->n--;
    lease->gone = lease->n == 0;
    rows_lease_dirty(&store->rows, lease);
    pg_hold_less(store, settling->lane, lease->worker, 1);
    *ret_asked = bits_get(&lease->asked, index);
    if (!*ret_asked || lease->gone)
        return 0; /* with the lease go its questions */
    return rows_ask(&store->rows.answered, &(struct ask){.lease = lease->id, .index = index});
}

static int settle_one(struct settling *settling, struct err *err) {
    struct postgres_store *store = settling->store;
    const struct store_settled *one = settling->one;
    enum store_outcome outcome = one->outcome;
    bool asked;
    if (outcome == STORE_CHECKPOINT)
        return keep(settling);
    int r = finish(settling, &asked);
    if (r < 0)
        return r;
    if (one->failed && outcome != STORE_DONE && outcome != STORE_RELEASED)
        sched_add(&store->sched, settling->lane, LN_FAILED, 1);
    if (asked && (outcome == STORE_RETRY || outcome == STORE_RELEASED))
        outcome = STORE_CANCELLED; /* it does not run again */
    if (one->checkpointed && settling->page && outcome != STORE_RELEASED)
        r = pg_kept_drop(store, settling->page->id, one->index);
    if (r < 0)
        return r;
    switch (outcome) {
    case STORE_RETRY:
        return settle_retry(settling);
    case STORE_PARKED:
        return settle_parked(settling);
    case STORE_RELEASED:
        return release(settling, err);
    default:
        return settle_over(settling, outcome);
    }
}

int pg_settle(struct postgres_store *store, const struct op *op, struct err *err) {
    const struct worker_name *worker = pg_worker(store, op->worker);
    size_t ignored = 0;
    int r = 0;
    for (size_t i = 0; i < op->n && r == 0; i++) {
        const struct store_settled *one = &op->settled[i];
        struct lease_row *lease = rows_lease(&store->rows, one->lease);
        if (!lease || lease->gone || lease->worker != op->worker || one->index >= lease->n_page ||
            !bits_get(&lease->bits, one->index)) {
            ignored++;
            continue;
        }
        struct settling settling = {
            .store = store,
            .lease = lease,
            .one = one,
            .lane = sched_lane(&store->sched, lease->lane),
            .page = lease->retry < 0 ? rows_page(&store->rows, lease->page) : NULL,
            .trouble = lease->retry < 0 ? NULL : rows_trouble(&store->rows, lease->page, (uint32_t)lease->retry),
            .worker = worker ? bytes_of(worker->name, worker->name_n) : BYTES_NONE,
        };
        if (!settling.page && !settling.trouble)
            return pg_corrupt(store, err, "what lease %lld is on is missing", (long long)lease->id);
        r = settle_one(&settling, err);
    }
    if (r == 0 && op->ret_ignored)
        *op->ret_ignored = ignored;
    return r;
}
