/* notes.c - cron ticks, named values, log lines. */
#include "postgres_store.h"

#include "cleanup.h"

#define TICKS_KEPT 16

int pg_tick(struct postgres_store *store, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err) {
    int r = pg_run_ops(store, err);
    if (r < 0)
        return r;
    _cleanup_answer_ PGresult *answer = NULL;
    args_int(pg_want(store, SQL_TICKS, NULL, NULL), workflow);
    pg_want_keep(store, &answer);
    r = pg_load(store, err);
    if (r < 0)
        return r;
    if (!sched_workflow(&store->sched, workflow))
        return err_set(err, -EINVAL, "workflow %lld is not known", (long long)workflow);
    int n = wire_rows(answer);
    bool known = n >= TICKS_KEPT && tick_utc_us < wire_int(answer, TICKS_KEPT - 1, 0);
    for (int row = 0; row < n && !known; row++)
        known = wire_int(answer, row, 0) == tick_utc_us;
    *ret_first = !known; /* older than what is kept counts as known: better never than twice */
    if (known)
        return 0;
    struct note *note = rows_note(&store->rows);
    if (!note)
        return -ENOMEM;
    note->kind = NOTE_TICK;
    note->workflow = workflow;
    note->utc_us = tick_utc_us;
    note->oldest_utc_us = n >= TICKS_KEPT ? wire_int(answer, TICKS_KEPT - 1, 0) : INT64_MIN;
    return 0;
}

static int absorb_one(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)store;
    (void)err;
    if (wire_rows(answer))
        *(int64_t *)arg = wire_int(answer, 0, 0);
    return 0;
}

int pg_tick_last(struct postgres_store *store, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err) {
    int64_t last = 0;
    args_int(pg_want(store, SQL_TICK_LAST, absorb_one, &last), workflow);
    int r = pg_look(store, err);
    if (r < 0)
        return r;
    if (!sched_workflow(&store->sched, workflow))
        return err_set(err, -EINVAL, "workflow %lld is not known", (long long)workflow);
    *ret_tick_utc_us = last;
    return 0;
}

int pg_value_put(struct postgres_store *store, struct bytes name, struct bytes value, struct err *err) {
    if (name.n == 0 || name.n > STORE_NAME_MAX || value.n > STORE_DATA_MAX)
        return err_set(err, -EINVAL, "a value has a name of 1 to %d bytes and at most %d bytes", STORE_NAME_MAX,
                       STORE_DATA_MAX);
    struct note *note = rows_note(&store->rows);
    if (!note)
        return -ENOMEM;
    note->kind = NOTE_VALUE;
    note->name = name;
    note->value = value;
    return 0;
}

/* What the batch has put so far; NULL: nothing under this name. */
static const struct note *put_before(const struct postgres_store *store, struct bytes name) {
    const struct note *last = NULL;
    for (const struct note *note = store->rows.notes; note; note = note->next)
        if (note->kind == NOTE_VALUE && bytes_equal(note->name, name))
            last = note;
    return last;
}

static int give_value(struct bytes value, struct buf *ret_value, struct err *err) {
    buf_reset(ret_value);
    int r = buf_add_bytes(ret_value, value);
    return r == -E2BIG ? err_set(err, -EINVAL, "a value of %zu bytes does not fit into the buffer", value.n) : r;
}

int pg_value_get(struct postgres_store *store, struct bytes name, struct buf *ret_value, bool *ret_found,
                 struct err *err) {
    const struct note *put = put_before(store, name);
    if (put) {
        *ret_found = put->value.n > 0;
        return *ret_found ? give_value(put->value, ret_value, err) : 0;
    }
    struct hash128 hash = hash128(&store->sched.hash_key, name);
    _cleanup_answer_ PGresult *answer = NULL;
    args_uuid(pg_want(store, SQL_VALUE_GET, NULL, NULL), &hash);
    pg_want_keep(store, &answer);
    int r = pg_look(store, err);
    if (r < 0)
        return r;
    *ret_found = wire_rows(answer) > 0;
    return *ret_found ? give_value(wire_bytes(answer, 0, 0), ret_value, err) : 0;
}

int pg_log_add(struct postgres_store *store, int64_t page, uint32_t index, int level, struct bytes text,
               struct err *err) {
    if (text.n > STORE_DATA_MAX)
        return err_set(err, -EINVAL, "a log line is longer than %d bytes", STORE_DATA_MAX);
    struct note *note = rows_note(&store->rows);
    if (!note)
        return -ENOMEM;
    note->kind = NOTE_LOG;
    note->page = page;
    note->index = index;
    note->level = level;
    note->value = text;
    return 0;
}

int pg_log_each(struct postgres_store *store, int64_t page, uint32_t index,
                int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                void *arg, int *ret_stop, struct err *err) {
    int64_t last = 0;
    for (int n = 1; n > 0;) {
        _cleanup_answer_ PGresult *answer = NULL;
        struct args *args = pg_want(store, page ? SQL_LOG_OF_RUN : SQL_LOG_EACH, NULL, NULL);
        args_int(args, last);
        if (page) {
            args_int(args, page);
            args_int(args, index);
        }
        pg_want_keep(store, &answer);
        int r = pg_look(store, err);
        if (r < 0)
            return r;
        n = wire_rows(answer);
        for (int row = 0; row < n; row++) {
            last = wire_int(answer, row, 0);
            r = each(arg, wire_int(answer, row, 1), (uint32_t)wire_int(answer, row, 2), wire_int(answer, row, 3),
                     (int)wire_int(answer, row, 4), wire_bytes(answer, row, 5));
            if (r < 0) {
                *ret_stop = r;
                return 0;
            }
        }
    }
    return 0;
}
