/* batch.c - the course of a batch: connect, lock, read, do what is queued, write, commit; and what follows when the
 * connection breaks on the way. */
#include "postgres_store.h"

#include "cleanup.h"

#include <stdio.h>
#include <time.h>

#define OTHERS_SEEN 64           /* so many batches on, others' changes are expected */
#define RELOAD_BEHIND 1000       /* batches: from then on all lanes are read, not the changed ones */
#define DOUBT_US (60 * US_PER_S) /* how long to find out whether a commit took effect */
#define BACKOFF_US (50 * US_PER_MS)
#define BACKOFF_MAX_US (800 * US_PER_MS)

int pg_corrupt(struct postgres_store *store, struct err *err, const char *format, ...) {
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(err, STORE_ERR_CORRUPT, "PostgreSQL %s, schema %s: %s", store->place.text, store->place.schema,
                   text);
}

/* ---- time ---- */

void pg_args_now(const struct postgres_store *store, struct args *args) {
    if (store->own_clock)
        args_int(args, clock_utc_us(store->own_clock));
    else
        args_null_int(args);
}

void pg_set_now(struct postgres_store *store, int64_t now_utc_us) {
    store->now_utc_us = now_utc_us;
    store->now_mono_us = clock_mono_us(&clock_system);
}

int64_t pg_now(const struct postgres_store *store) {
    return store->own_clock ? clock_utc_us(store->own_clock)
                            : store->now_utc_us + clock_mono_us(&clock_system) - store->now_mono_us;
}

/* ---- memory ---- */

static int absorb_meta(struct postgres_store *store, const PGresult *answer, struct err *err) {
    if (wire_rows(answer) != 1)
        return pg_corrupt(store, err, "its table meta is empty");
    if (wire_int(answer, 0, 0) != SCHEMA_VERSION)
        return pg_corrupt(store, err,
                          "its tables are of version %lld, this froe knows version %d: another froe has changed them, "
                          "update this one, too",
                          (long long)wire_int(answer, 0, 0), SCHEMA_VERSION);
    int64_t *const into[] = {
        &store->meta.batch,         &store->meta.next_page,     &store->meta.next_id,  &store->meta.next_lane,
        &store->meta.next_workflow, &store->meta.turn,          &store->meta.next_log, &store->meta.first_log,
        &store->meta.history_runs,  &store->meta.history_bytes,
    };
    for (int i = 0; i < 10; i++)
        *into[i] = wire_int(answer, 0, 1 + i);
    store->sched.hash_key = (struct hash_key){(uint64_t)wire_int(answer, 0, 11), (uint64_t)wire_int(answer, 0, 12)};
    pg_set_now(store, wire_int(answer, 0, 13));
    store->locked_next_page = store->meta.next_page;
    return 0;
}

int pg_synced(struct postgres_store *store, int64_t batch, struct bytes id, struct err *err) {
    if (id.n != sizeof store->synced_id)
        return pg_corrupt(store, err, "batch %lld is damaged", (long long)batch);
    memcpy(store->synced_id, id.p, id.n);
    store->synced = batch;
    return 0;
}

/* A server that crashes, or a standby that takes over, may have lost the newest batches: none that was acknowledged,
 * but others may have seen them. Their numbers and ids of pages are then given again, and what was learnt of them is
 * wrong. So before memory is relied on after a new connection, the batch that it is as of is looked for. A pooler
 * exchanges connections unseen. */
static void send_known(struct postgres_store *store, struct args *args, PGresult **ret_answer) {
    args_int(args, store->synced);
    wire_send(&store->wire, SQL_COMMITTED, args, ret_answer);
}

static bool is_known(const struct postgres_store *store, const PGresult *answer) {
    return wire_rows(answer) == 1 &&
           bytes_equal(wire_bytes(answer, 0, 0), bytes_of(store->synced_id, sizeof store->synced_id));
}

static void forget_learned(struct postgres_store *store) {
    keys_free(&store->keys);
    cache_free(TAKE_PTR(store->cache));
    for (size_t i = store->n_workers; i-- > 0;)
        if (!store->workers[i].ours)
            pg_worker_forget(store, store->workers[i].id);
    store->oldest_past_utc_us = 0;
    store->synced = 0;
    store->stale = true;
}

/* Reads workflows and lanes, in the transaction or outside of one. */
static int reload(struct postgres_store *store, struct err *err) {
    _cleanup_args_ struct args args = {0}, known_args = {0};
    _cleanup_answer_ PGresult *known = NULL, *tip = NULL, *meta = NULL, *workflows = NULL, *lanes = NULL;
    bool doubtful = !store->locked && store->synced > 0;
    sched_free(&store->sched);
    if (doubtful)
        send_known(store, &known_args, &known);
    wire_send(&store->wire, SQL_TIP, NULL, &tip);
    pg_args_now(store, &args);
    if (!store->locked)
        wire_send(&store->wire, SQL_META, &args, &meta);
    wire_send(&store->wire, SQL_WORKFLOWS, NULL, &workflows);
    wire_send(&store->wire, SQL_LANES, NULL, &lanes);
    int r = wire_sync(&store->wire, store->answer_us, err);
    if (r == 0 && meta)
        r = absorb_meta(store, meta, err);
    if (r == 0)
        r = pg_absorb_workflows(store, workflows, err);
    if (r == 0)
        r = pg_absorb_lanes(store, lanes, 0, err);
    if (r < 0)
        return r;
    if (doubtful && !is_known(store, known))
        forget_learned(store);
    if (wire_rows(tip))
        r = pg_synced(store, wire_int(tip, 0, 0), wire_bytes(tip, 0, 1), err);
    store->stale = false;
    return r;
}

static void send_delta(struct postgres_store *store, struct args *args, PGresult **ret_answer) {
    args_int(args, store->synced);
    wire_send(&store->wire, SQL_DELTA, args, ret_answer);
}

/* Takes in what others changed. Under the lock it must reach the newest batch. */
static int take_delta(struct postgres_store *store, const PGresult *answer, struct err *err) {
    bool complete = false, workflows = false;
    int r = pg_absorb_delta(store, answer, &complete, &workflows, err);
    if (r == 0 && workflows) {
        _cleanup_answer_ PGresult *all = NULL;
        wire_send(&store->wire, SQL_WORKFLOWS, NULL, &all);
        r = wire_sync(&store->wire, store->answer_us, err);
        if (r == 0)
            r = pg_absorb_workflows(store, all, err);
        if (r == 0)
            r = pg_absorb_delta(store, answer, &complete, NULL, err);
    }
    if (r == 0 && (!complete || (store->locked && store->synced != store->meta.batch)))
        r = reload(store, err);
    return r;
}

static int catch_up(struct postgres_store *store, const PGresult *delta, struct err *err) {
    if (store->synced == store->meta.batch) {
        if (store->others)
            store->others--;
        return 0;
    }
    store->others = OTHERS_SEEN;
    if (delta)
        return take_delta(store, delta, err);
    if (store->meta.batch - store->synced > RELOAD_BEHIND)
        return reload(store, err);
    _cleanup_args_ struct args args = {0};
    _cleanup_answer_ PGresult *answer = NULL;
    send_delta(store, &args, &answer);
    int r = wire_sync(&store->wire, store->answer_us, err);
    return r < 0 ? r : take_delta(store, answer, err);
}

/* ---- connecting ---- */

static void sleep_us(int64_t us) {
    struct timespec ts = {.tv_sec = us / US_PER_S, .tv_nsec = us % US_PER_S * 1000};
    nanosleep(&ts, NULL);
}

/* The first attempt after a loss comes at once, the next ones ever later, with jitter. */
static void back_off(struct postgres_store *store) {
    if (store->failures == 0)
        return;
    int64_t us = BACKOFF_US << (store->failures < 5 ? store->failures - 1 : 4);
    us = us < BACKOFF_MAX_US ? us : BACKOFF_MAX_US;
    sleep_us(us / 2 + (int64_t)rng_below(&store->rng, (uint64_t)us / 2));
}

static int reconnect(struct postgres_store *store, struct err *err) {
    back_off(store);
    /* A server or a host under load may need longer than the first tries allow. */
    int r = wire_connect(&store->wire, CONNECT_US << (store->failures < 3 ? store->failures : 3), err);
    if (r == STORE_ERR_IO) /* it took us once; a password or a rule that was changed may be changed back */
        r = STORE_ERR_LOST;
    store->failures = r < 0 ? store->failures + 1 : 0;
    return r;
}

int pg_connect(struct postgres_store *store, struct err *err) {
    int r = 0;
    if (!wire_connected(&store->wire))
        r = reconnect(store, err);
    if (r == 0 && store->stale)
        r = reload(store, err);
    return r;
}

/* ---- reading ---- */

static int absorb_wants(struct postgres_store *store, struct err *err) {
    int r = 0;
    for (struct want *want = store->wants; want && r == 0; want = want->next) {
        r = want->absorb ? want->absorb(store, want->answer, want->arg, err) : 0;
        if (r == 0 && want->keep)
            *want->keep = TAKE_PTR(want->answer);
    }
    return r;
}

static void send_lock(struct postgres_store *store, struct args *args, PGresult **ret_answer) {
    pg_args_now(store, args);
    wire_send(&store->wire, SQL_BEGIN, NULL, NULL);
    if (store->wire.pooled)
        wire_send(&store->wire, SQL_LOCAL, NULL, NULL);
    wire_send(&store->wire, SQL_LOCK, args, ret_answer);
}

static int load_steps(struct postgres_store *store, struct err *err) {
    _cleanup_args_ struct args lock_args = {0}, known_args = {0}, delta_args = {0};
    _cleanup_answer_ PGresult *lock = NULL, *known = NULL, *delta = NULL;
    _cleanup_args_ struct args same_args = {0};
    bool locking = !store->locked, doubtful = locking && store->wire.pooled && store->synced > 0;
    int r = 0;
    if (locking)
        send_lock(store, &lock_args, &lock);
    if (doubtful)
        send_known(store, &known_args, &known);
    if (locking && store->others)
        send_delta(store, &delta_args, &delta);
    if (store->optimistic) {
        wire_send(&store->wire, SQL_BEGIN, NULL, NULL);
        pg_send_lock_same(store, &same_args, NULL);
    }
    if (!locking)
        r = pg_write_rows(store);
    if (r < 0)
        return r;
    for (struct want *want = store->wants; want; want = want->next)
        wire_send(&store->wire, want->statement, &want->args, &want->answer);
    store->loads++;
    r = wire_sync(&store->wire, store->answer_us, err);
    pg_forget_sent(store);
    if (r == 0 && doubtful && !is_known(store, known)) {
        forget_learned(store);
        return err_set(err, STORE_ERR_LOST, "PostgreSQL %s: batches that were seen are gone", store->place.text);
    }
    if (r == 0 && locking) {
        store->locked = true;
        r = absorb_meta(store, lock, err);
        if (r == 0)
            r = catch_up(store, delta, err);
        store->sched.woke = false;
    }
    if (r == 0)
        store->optimistic = false;
    return r < 0 ? r : absorb_wants(store, err);
}

int pg_load(struct postgres_store *store, struct err *err) {
    int r = store->want_failed ? -ENOMEM : pg_connect(store, err);
    if (r == 0)
        r = load_steps(store, err);
    pg_free_wants(store);
    return r;
}

static int look_steps(struct postgres_store *store, struct err *err) {
    _cleanup_args_ struct args args = {0};
    _cleanup_answer_ PGresult *delta = NULL;
    send_delta(store, &args, &delta);
    for (struct want *want = store->wants; want; want = want->next)
        wire_send(&store->wire, want->statement, &want->args, &want->answer);
    int r = wire_sync(&store->wire, store->answer_us, err);
    if (r == 0)
        r = take_delta(store, delta, err);
    return r < 0 ? r : absorb_wants(store, err);
}

int pg_look(struct postgres_store *store, struct err *err) {
    if (store->locked || (!store->running && (store->n_ops || store->rows.notes))) {
        int r = pg_run_ops(store, err);
        return r < 0 ? r : pg_load(store, err);
    }
    int r = store->want_failed ? -ENOMEM : pg_connect(store, err);
    if (r == 0)
        r = look_steps(store, err);
    pg_free_wants(store);
    return r;
}

/* ---- what is queued ---- */

static void free_ops(struct postgres_store *store) {
    for (size_t i = 0; i < store->n_ops; i++) {
        mem_free(store->ops[i].hashes);
        mem_free(store->ops[i].unread);
    }
    store->n_ops = 0;
}

static void put_wants_back(struct postgres_store *store, struct want *wants, struct want **end) {
    if (!wants)
        return;
    *store->wants_end = wants;
    store->wants_end = end;
}

static int run_ops(struct postgres_store *store, bool with_wants, struct err *err) {
    store->running = true;
    struct want *callers = store->wants, **callers_end = store->wants_end;
    store->wants = NULL;
    store->wants_end = &store->wants;
    int r = pg_connect(store, err);
    for (size_t i = 0; i < store->n_ops && r == 0; i++)
        if (store->ops[i].kind == OP_SPAWN)
            r = pg_spawn_prepare(store, &store->ops[i], err);
    if (r == 0)
        pg_begin_optimistic(store);
    if (with_wants) {
        put_wants_back(store, callers, callers_end);
        callers = NULL;
    }
    for (size_t i = 0; i < store->n_ops && r == 0; i++) {
        if (store->ops[i].kind == OP_SPAWN)
            r = pg_spawn_want(store, &store->ops[i]);
        else
            r = pg_settle_want(store, &store->ops[i]);
    }
    if (r < 0)
        pg_free_wants(store);
    else if (!store->optimistic || store->wants || store->want_failed)
        r = pg_load(store, err);
    for (size_t i = 0; i < store->n_ops && r == 0; i++)
        r = store->ops[i].kind == OP_SPAWN ? pg_spawn(store, &store->ops[i], err)
                                           : pg_settle(store, &store->ops[i], err);
    free_ops(store);
    store->running = false;
    put_wants_back(store, callers, callers_end);
    return r;
}

int pg_run_ops(struct postgres_store *store, struct err *err) {
    return store->n_ops == 0 || store->running ? 0 : run_ops(store, false, err);
}

int pg_run_ops_with_wants(struct postgres_store *store, struct err *err) {
    return run_ops(store, true, err);
}

/* ---- committing ---- */

static void forget_batch(struct postgres_store *store) {
    rows_clear(&store->rows);
    free_ops(store);
    pg_free_wants(store);
    pg_forget_sent(store);
    store->locked = store->optimistic = store->changed = store->meta_changed = false;
    store->n_changed_lanes = 0;
}

void pg_drop_batch(struct postgres_store *store) {
    wire_close(&store->wire);
    if (store->optimistic)
        store->others = OTHERS_SEEN;
    forget_batch(store);
    pg_forget_known(store);
    keys_rollback(&store->keys);
    store->n_used = 0;
    store->in_batch = false;
    store->stale = true;
}

static void send_notify(struct postgres_store *store, struct args *notify) {
    if (!store->sched.woke)
        return;
    args_text(notify, store->place.channel);
    args_text(notify, store->session_text);
    wire_send(&store->wire, SQL_NOTIFY, notify, NULL);
}

static void args_finish(const struct postgres_store *store, struct args *finish, bool durable) {
    const struct meta *meta = &store->meta;
    args_int(finish, meta->batch);
    args_uuid(finish, store->batch_id);
    args_ints(finish, store->changed_lanes, store->n_changed_lanes);
    args_bool(finish, store->sched.workflows_dirty);
    const int64_t numbers[] = {meta->next_page, meta->next_id,   meta->next_lane,    meta->next_workflow, meta->turn,
                               meta->next_log,  meta->first_log, meta->history_runs, meta->history_bytes};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        args_int(finish, numbers[i]);
    args_text(finish, durable ? "on" : "off");
}

static void send_finish(struct postgres_store *store, struct args *notify, struct args *finish) {
    bool alone = store->others == 0;
    send_notify(store, notify);
    args_finish(store, finish, alone);
    wire_send(&store->wire, SQL_FINISH, finish, NULL);
    wire_send(&store->wire, SQL_COMMIT, NULL, NULL);
    if (!alone)
        wire_send(&store->wire, SQL_FLUSH, NULL, NULL);
}

/* The whole of an optimistic batch, which the pipeline makes one transaction. */
static void send_whole(struct postgres_store *store, struct args *notify, struct args *finish,
                       PGresult **ret_finished) {
    args_finish(store, finish, true);
    args_int(finish, SCHEMA_VERSION);
    pg_args_now(store, finish);
    finish->statement = SQL_FINISH_SAME;
    if (!wire_send_joined(&store->wire, finish, store->sent, store->n_sent, ret_finished)) {
        wire_send(&store->wire, SQL_FINISH_SAME, finish, ret_finished);
        pg_send_held(store);
    }
    send_notify(store, notify);
}

/* Did the batch with this number, of which the answer was lost, take effect? The lock is free only when its transaction
 * has ended one way or the other. And what it wrote is made durable, as its own end may have been on its way still. */
static int ask_committed(struct postgres_store *store, int64_t number, bool *ret_committed, struct err *err) {
    _cleanup_args_ struct args lock_args = {0}, args = {0};
    _cleanup_answer_ PGresult *lock = NULL, *row = NULL;
    send_lock(store, &lock_args, &lock);
    args_int(&args, number);
    wire_send(&store->wire, SQL_COMMITTED, &args, &row);
    wire_send(&store->wire, SQL_COMMIT, NULL, NULL);
    wire_send(&store->wire, SQL_FLUSH, NULL, NULL);
    int r = wire_sync(&store->wire, store->answer_us, err);
    if (r < 0)
        return r;
    *ret_committed =
        wire_rows(row) == 1 && bytes_equal(wire_bytes(row, 0, 0), bytes_of(store->batch_id, sizeof store->batch_id));
    return 0;
}

static int settle_doubt(struct postgres_store *store, int64_t number, bool *ret_committed, struct err *err) {
    int64_t patience = store->lease_us * 2 > DOUBT_US ? store->lease_us * 2 : DOUBT_US;
    int64_t until = clock_mono_us(&clock_system) + patience;
    for (;;) {
        struct err why = {0};
        int r = wire_connected(&store->wire) ? 0 : reconnect(store, &why);
        if (r == 0)
            r = ask_committed(store, number, ret_committed, &why);
        if (r != STORE_ERR_LOST)
            return r < 0 ? err_set(err, r, "%s", why.text) : 0;
        if (clock_mono_us(&clock_system) > until)
            return err_set(err, STORE_ERR_IO, "whether the last batch was committed cannot be found out: %s", why.text);
    }
}

/* Pages that we made are likely to be claimed by us. */
static void cache_new_pages(struct postgres_store *store) {
    struct bytes key;
    void *row;
    for (size_t at = 0; map_next(&store->rows.pages, &at, &key, &row);) {
        const struct page_row *page = row;
        if (page->content && page->n_live)
            cache_put(&store->cache, page->id, buf_bytes(&page->content->keys), buf_bytes(&page->content->rest));
    }
}

/* The transaction is over and took effect. */
static int committed(struct postgres_store *store) {
    cache_new_pages(store);
    memcpy(store->synced_id, store->batch_id, sizeof store->synced_id);
    store->synced = store->meta.batch;
    int r = keys_commit(&store->keys, store->meta.next_page);
    for (size_t i = 0; i < store->n_used; i++)
        for (size_t j = 0; j < store->n_reserved; j++)
            if (store->reserved[j] == store->used[i]) {
                store->reserved[j] = store->reserved[--store->n_reserved];
                break;
            }
    store->n_used = 0;
    pg_keep_known(store);
    forget_batch(store);
    return r;
}

static int commit_changes(struct postgres_store *store, struct err *err) {
    _cleanup_args_ struct args notify = {0}, finish = {0};
    _cleanup_answer_ PGresult *finished = NULL;
    store->holding = store->optimistic;
    int r = pg_write_rows(store);
    store->holding = false;
    if (r < 0)
        return r;
    store->meta.batch++;
    const uint64_t id[2] = {rng_next(&store->rng), rng_next(&store->rng)};
    memcpy(store->batch_id, id, sizeof store->batch_id);
    if (store->optimistic)
        send_whole(store, &notify, &finish, &finished);
    else
        send_finish(store, &notify, &finish);
    r = (store->optimistic ? wire_sync_soon : wire_sync)(&store->wire, store->answer_us, err);
    pg_forget_sent(store);
    if (r == STORE_ERR_LOST) {
        bool took_effect = false;
        struct err why = {0};
        r = settle_doubt(store, store->meta.batch, &took_effect, &why);
        if (r == 0 && !took_effect)
            return STORE_ERR_LOST; /* with the text of what broke */
        if (r < 0)
            return err_set(err, r, "%s", why.text);
    }
    if (r < 0)
        return r;
    if (finished)
        pg_set_now(store, wire_int(finished, 0, 1));
    store->sched.workflows_dirty = false;
    return committed(store);
}

int pg_commit(struct postgres_store *store, struct err *err) {
    int r = pg_run_ops(store, err);
    if (r == 0 && !store->locked && store->rows.notes)
        r = pg_load(store, err);
    if (r < 0 || !store->locked)
        return r;
    if (store->changed || rows_dirty(&store->rows) || store->sched.dirty || store->sched.dirty_rates ||
        store->sched.workflows_dirty || store->meta_changed)
        return commit_changes(store, err);
    _cleanup_args_ struct args same = {0};
    if (store->optimistic) /* what was told was true */
        pg_send_lock_same(store, &same, NULL);
    else
        wire_send(&store->wire, SQL_COMMIT, NULL, NULL);
    r = wire_sync(&store->wire, store->answer_us, err);
    if (r < 0)
        return r;
    keys_rollback(&store->keys); /* nothing of this batch is in there */
    store->n_used = 0;
    forget_batch(store);
    return 0;
}
