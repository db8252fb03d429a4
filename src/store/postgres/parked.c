/* parked.c - parked runs: listing, queueing again, dropping. */
#include "postgres_store.h"

#include "cleanup.h"

#define AT_ONCE 256
#define DROPPED BYTES("dropped while it was parked")

bool pg_lane_matches(const struct lane *lane, struct bytes workflow, struct bytes group) {
    return (workflow.n == 0 || bytes_equal(workflow, bytes_of(lane->workflow->name, lane->workflow->name_n))) &&
           (group.n == 0 || bytes_equal(group, sched_group_key(lane)));
}

void pg_args_lanes(struct args *args, const struct sched *sched, struct bytes workflow, struct bytes group) {
    bool any = workflow.n == 0 && group.n == 0;
    args_array(args, ARGS_INTS);
    for (size_t i = 0; i < sched->n_lanes && !any; i++)
        if (sched->lanes[i] && pg_lane_matches(sched->lanes[i], workflow, group))
            args_array_int(args, sched->lanes[i]->id);
    args_array_end(args);
    args_int(args, !any);
}

static void want_parked(struct postgres_store *store, const struct store_parked_filter *filter, int64_t page,
                        int64_t index, uint32_t limit, PGresult **keep) {
    struct args *args = pg_want(store, SQL_PARKED, NULL, NULL);
    args_int(args, page);
    args_int(args, index);
    pg_args_lanes(args, &store->sched, filter->workflow, filter->group);
    args_bytes(args, filter->child_key);
    args_int(args, limit);
    args_int(args, filter->run_page);
    args_int(args, filter->run_index);
    pg_want_keep(store, keep);
}

int pg_parked_each(struct postgres_store *store, const struct store_parked_filter *filter,
                   int (*each)(void *arg, const struct store_parked *parked), void *arg, int *ret_stop,
                   struct err *err) {
    uint32_t left = filter->limit ? filter->limit : UINT32_MAX;
    int64_t page = filter->after_page, index = page ? (int64_t)filter->after_index : -1;
    int r = pg_look(store, err); /* lanes that came meanwhile */
    for (int n = 1; r == 0 && n > 0 && left > 0;) {
        _cleanup_answer_ PGresult *answer = NULL;
        want_parked(store, filter, page, index, left < AT_ONCE ? left : AT_ONCE, &answer);
        r = pg_look(store, err);
        n = wire_rows(answer);
        for (int row = 0; row < n && r == 0; row++, left--) {
            page = wire_int(answer, row, 0);
            index = wire_int(answer, row, 1);
            const struct lane *lane = sched_lane(&store->sched, wire_int(answer, row, 2));
            if (!lane)
                return pg_corrupt(store, err, "run %lld:%lld is damaged", (long long)page, (long long)index);
            struct store_parked parked = {
                .page = page,
                .index = (uint32_t)index,
                .workflow_name = bytes_of(lane->workflow->name, lane->workflow->name_n),
                .group = sched_group_key(lane),
                .child_key = wire_bytes(answer, row, 3),
                .generation = wire_bytes(answer, row, 4),
                .error = wire_bytes(answer, row, 5),
                .attempts = (uint32_t)wire_int(answer, row, 6),
                .parked_utc_us = wire_int(answer, row, 7),
            };
            int stop = each(arg, &parked);
            if (stop < 0) {
                *ret_stop = stop;
                return 0;
            }
        }
    }
    return r;
}

/* ---- changing ---- */

static int requeue(struct postgres_store *store, struct trouble_row *trouble, uint64_t *count) {
    struct lane *lane = sched_lane(&store->sched, trouble->lane);
    if (sched_places(lane) == 0)
        return 0;
    sched_add(&store->sched, lane, LN_PARKED, -1);
    trouble->attempts = 0;
    trouble->due_utc_us = pg_now(store);
    pg_trouble_queue(store, trouble);
    (*count)++;
    return 0;
}

static int drop(struct postgres_store *store, struct trouble_row *trouble, uint64_t *count) {
    (*count)++;
    return pg_cancel_trouble(store, trouble, STORE_FORGOTTEN, DROPPED);
}

static int row_of(struct postgres_store *store, const PGresult *answer, int row, struct trouble_row **ret_trouble,
                  struct err *err) {
    int64_t page = wire_int(answer, row, 0), index = wire_int(answer, row, 1);
    *ret_trouble = rows_trouble(&store->rows, page, (uint32_t)index);
    if (*ret_trouble)
        return 0;
    struct trouble_row *trouble = rows_trouble_add(&store->rows, page, (uint32_t)index);
    if (!trouble)
        return -ENOMEM;
    trouble->lane = wire_int(answer, row, 2);
    trouble->state = TROUBLE_PARKED;
    trouble->attempts = (uint32_t)wire_int(answer, row, 6);
    trouble->due_utc_us = wire_int(answer, row, 7);
    trouble->size = wire_int(answer, row, 8);
    *ret_trouble = trouble;
    if (!sched_lane(&store->sched, trouble->lane))
        return pg_corrupt(store, err, "run %lld:%lld is damaged", (long long)page, (long long)index);
    return rows_trouble_generation(trouble, wire_bytes(answer, row, 4));
}

static int change_all(struct postgres_store *store, const struct store_parked_filter *filter,
                      int (*change)(struct postgres_store *store, struct trouble_row *trouble, uint64_t *count),
                      uint64_t *ret_count, struct err *err) {
    int64_t page = 0, index = -1;
    uint64_t count = 0;
    int r = pg_run_ops(store, err);
    if (r == 0)
        r = pg_load(store, err); /* lanes that came meanwhile */
    for (int n = 1; r == 0 && n > 0;) {
        _cleanup_answer_ PGresult *answer = NULL;
        want_parked(store, filter, page, index, AT_ONCE, &answer);
        r = pg_load(store, err);
        n = wire_rows(answer);
        for (int row = 0; row < n && r == 0; row++) {
            struct trouble_row *trouble;
            page = wire_int(answer, row, 0);
            index = wire_int(answer, row, 1);
            r = row_of(store, answer, row, &trouble, err);
            if (r == 0 && trouble->state == TROUBLE_PARKED)
                r = change(store, trouble, &count);
        }
    }
    if (r == 0)
        *ret_count = count;
    return r;
}

int pg_parked_retry(struct postgres_store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                    struct err *err) {
    return change_all(store, filter, requeue, ret_count, err);
}

int pg_parked_drop(struct postgres_store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                   struct err *err) {
    return change_all(store, filter, drop, ret_count, err);
}
