/* workers.c - workers come, are heard, and go; what they are told. */
#include "postgres_store.h"

#include "cleanup.h"

int pg_worker_add(struct postgres_store *store, struct bytes name, uint32_t slots, int64_t *ret_worker,
                  struct err *err) {
    if (name.n > STORE_NAME_MAX)
        return err_set(err, -EINVAL, "a worker's name is longer than %d bytes", STORE_NAME_MAX);
    int r = pg_run_ops(store, err);
    if (r == 0)
        r = pg_load(store, err);
    if (r == 0)
        r = pg_expire_silent(store, err);
    if (r < 0)
        return r;
    int64_t id = pg_next_id(store);
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    pg_args_now(store, args);
    args_int(args, id);
    args_bytes(args, name);
    args_int(args, slots);
    args_int(args, store->lease_us);
    wire_send(&store->wire, SQL_WORKER_ADD, args, NULL);
    store->changed = true;
    r = pg_worker_remember(store, id, name, true);
    if (r == 0)
        *ret_worker = id;
    return r;
}

static int take_cancels(const PGresult *answer, struct worker_name *worker, struct store_cancels *ret_cancels) {
    int n = 0, rows = wire_rows(answer);
    struct arena *arena = arena_new();
    struct store_cancel *items = arena ? arena_alloc(arena, (size_t)rows * sizeof *items) : NULL;
    if (!items) {
        arena_free(arena);
        return -ENOMEM;
    }
    for (int row = 0; row < rows; row++) {
        if (wire_is_null(answer, row, 0))
            continue;
        worker->told = wire_int(answer, row, 0);
        items[n++] = (struct store_cancel){
            .lease = wire_int(answer, row, 1),
            .page = wire_int(answer, row, 2),
            .index = (uint32_t)wire_int(answer, row, 3),
            .driven_out = wire_int(answer, row, 4),
        };
    }
    if (n == 0) {
        arena_free(arena);
        return 0;
    }
    *ret_cancels = (struct store_cancels){items, (size_t)n, arena};
    return 0;
}

/* One statement, without the lock. Cancellations stay in their table until their runs end, and this process remembers
 * what it was told: so an answer that is lost loses none. Somebody who does not want to be told now will be later. */
int pg_heartbeat(struct postgres_store *store, int64_t id, struct store_cancels *ret_cancels, struct err *err) {
    struct worker_name *worker = pg_worker(store, id);
    _cleanup_answer_ PGresult *answer = NULL;
    struct args *args = pg_want(store, SQL_HEARTBEAT, NULL, NULL);
    pg_args_now(store, args);
    args_int(args, store->lease_us);
    args_int(args, id);
    args_int(args, worker && ret_cancels ? worker->told : INT64_MAX);
    pg_want_keep(store, &answer);
    int r = pg_look(store, err);
    if (r < 0)
        return r;
    if (store->locked)
        store->changed = true;
    if (wire_rows(answer) == 0)
        return -ESTALE;
    return worker && ret_cancels ? take_cancels(answer, worker, ret_cancels) : 0;
}

int pg_heartbeat_late(struct postgres_store *store, int64_t id, struct err *err) {
    int r = pg_run_ops(store, err);
    if (r == 0)
        r = pg_load(store, err);
    if (r == 0)
        r = pg_expire_silent(store, err);
    (void)id;
    return r;
}

int pg_worker_remove(struct postgres_store *store, int64_t worker, struct err *err) {
    int r = pg_run_ops(store, err);
    if (r == 0)
        r = pg_expire(store, &worker, 1, err);
    if (r == 0)
        pg_worker_forget(store, worker);
    return r;
}

struct each_worker {
    int (*each)(void *arg, const struct store_worker_info *info);
    void *arg;
    int *stop;
};

static int give_workers(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)store;
    (void)err;
    struct each_worker *each = arg;
    for (int row = 0; row < wire_rows(answer) && *each->stop == 0; row++) {
        struct store_worker_info info = {
            .id = wire_int(answer, row, 0),
            .name = wire_bytes(answer, row, 1),
            .slots = (uint32_t)wire_int(answer, row, 2),
            .leased = (uint64_t)wire_int(answer, row, 3),
            .since_utc_us = wire_int(answer, row, 4),
            .heard_utc_us = wire_int(answer, row, 5),
            .expires_utc_us = wire_int(answer, row, 6),
        };
        int r = each->each(each->arg, &info);
        *each->stop = r < 0 ? r : 0;
    }
    return 0;
}

int pg_workers_each(struct postgres_store *store, int (*each)(void *arg, const struct store_worker_info *info),
                    void *arg, int *ret_stop, struct err *err) {
    struct each_worker how = {each, arg, ret_stop};
    pg_args_now(store, pg_want(store, SQL_WORKERS_EACH, give_workers, &how));
    return pg_look(store, err);
}
