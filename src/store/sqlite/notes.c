/* notes.c - cron ticks, named values, log lines: rows without anything in memory. */
#include "sqlite_store.h"

#define TICKS_KEPT 16

int notes_tick(struct sqlite_store *store, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err) {
    if (!lanes_workflow(&store->lanes, workflow))
        return err_set(err, -EINVAL, "workflow %lld is not known", (long long)workflow);
    struct db_use oldest = db_use(&store->db, DB_TICK_OLDEST);
    db_int(&oldest, 1, workflow);
    db_int(&oldest, 2, TICKS_KEPT);
    int r = db_row(&oldest, "read the ticks", err);
    if (r < 0)
        return r;
    bool full = r > 0;
    int64_t at = full ? db_get_int(&oldest, 0) : 0;
    db_done(&oldest);
    if (full && tick_utc_us < at) {
        *ret_first = false; /* older than what is kept, so it may well have been recorded: better never than twice */
        return 0;
    }
    struct db_use add = db_use(&store->db, DB_TICK_ADD);
    db_int(&add, 1, workflow);
    db_int(&add, 2, tick_utc_us);
    r = db_run(&add, "record a tick", err);
    if (r < 0)
        return r;
    *ret_first = sqlite3_changes(store->db.handle) > 0;
    if (!full || !*ret_first)
        return 0;
    struct db_use trim = db_use(&store->db, DB_TICK_TRIM);
    db_int(&trim, 1, workflow);
    db_int(&trim, 2, at);
    return db_run(&trim, "drop old ticks", err);
}

int notes_tick_last(struct sqlite_store *store, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err) {
    if (!lanes_workflow(&store->lanes, workflow))
        return err_set(err, -EINVAL, "workflow %lld is not known", (long long)workflow);
    struct db_use last = db_use(&store->db, DB_TICK_LAST);
    db_int(&last, 1, workflow);
    int r = db_row(&last, "read the ticks", err);
    if (r <= 0)
        return r;
    *ret_tick_utc_us = db_get_int(&last, 0);
    db_done(&last);
    return 0;
}

int notes_value_put(struct sqlite_store *store, struct bytes name, struct bytes value, struct err *err) {
    if (name.n == 0 || name.n > STORE_NAME_MAX || value.n > STORE_DATA_MAX)
        return err_set(err, -EINVAL, "a value has a name of 1 to %d bytes and at most %d bytes", STORE_NAME_MAX,
                       STORE_DATA_MAX);
    struct db_use put = db_use(&store->db, value.n ? DB_VALUE_PUT : DB_VALUE_DROP);
    db_blob(&put, 1, name);
    if (value.n)
        db_blob(&put, 2, value);
    return db_run(&put, "write a value", err);
}

int notes_value_get(struct sqlite_store *store, struct bytes name, struct buf *ret_value, bool *ret_found,
                    struct err *err) {
    struct db_use get = db_use(&store->db, DB_VALUE_GET);
    db_blob(&get, 1, name);
    int r = db_row(&get, "read a value", err);
    if (r < 0)
        return r;
    if (r > 0) {
        struct bytes value;
        r = db_get_blob(&get, 0, &value, err);
        if (r == 0) {
            buf_reset(ret_value);
            r = buf_add_bytes(ret_value, value);
            if (r == -E2BIG)
                r = err_set(err, -EINVAL, "a value of %zu bytes does not fit into the buffer", value.n);
        }
        db_done(&get);
        if (r < 0)
            return r;
        *ret_found = true;
        return 0;
    }
    *ret_found = false;
    return 0;
}

int notes_log_add(struct sqlite_store *store, int64_t page, uint32_t index, int level, struct bytes text,
                  struct err *err) {
    if (text.n > STORE_DATA_MAX)
        return err_set(err, -EINVAL, "a log line is longer than %d bytes", STORE_DATA_MAX);
    struct db_use add = db_use(&store->db, DB_LOG_ADD);
    db_int(&add, 1, store->next_log++);
    db_int(&add, 2, page);
    db_int(&add, 3, index);
    db_int(&add, 4, clock_utc_us(store->clock));
    db_int(&add, 5, level);
    db_blob(&add, 6, text);
    int r = db_run(&add, "write a log line", err);
    if (r < 0 || store->next_log - store->first_log <= 2 * STORE_LOG_LINES_MAX)
        return r;
    store->first_log = store->next_log - STORE_LOG_LINES_MAX;
    struct db_use trim = db_use(&store->db, DB_LOG_TRIM);
    db_int(&trim, 1, store->first_log);
    return db_run(&trim, "drop old log lines", err);
}

int notes_log_each(struct sqlite_store *store, int64_t page, uint32_t index,
                   int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                   void *arg, int *ret_stop, struct err *err) {
    struct db_use use = db_use(&store->db, page ? DB_LOG_OF_RUN : DB_LOG_EACH);
    if (page) {
        db_int(&use, 1, page);
        db_int(&use, 2, index);
    }
    int r;
    while ((r = db_row(&use, "read the log", err)) > 0) {
        struct bytes text;
        r = db_get_blob(&use, 4, &text, err);
        if (r == 0)
            *ret_stop = each(arg, db_get_int(&use, 0), (uint32_t)db_get_int(&use, 1), db_get_int(&use, 2),
                             (int)db_get_int(&use, 3), text);
        if (r < 0 || *ret_stop < 0) {
            db_done(&use);
            return r;
        }
    }
    return r;
}
