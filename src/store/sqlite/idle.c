/* idle.c - lanes without runs: since when, and when they go.
 *
 * A lane goes when its last run ended longer ago than history is kept, or, when there are too many, before; the longest
 * idle first, a piece with each commit. Never as long as a row of the history may be about it, which would not know
 * then whose it is: rows of `ended` are numbered, and a lane knows the last number when its last run ended. Its numbers
 * stay in its workflow's. */
#include "cleanup.h"
#include "sqlite_store.h"

#define KEPT_US (24 * US_PER_HOUR) /* when no history is kept */
#define LANES_MOST 65536           /* with more of them the idle ones go before their time */
#define TIDY_MIN 32                /* that a commit may drop, and twice as many as it brought */

static void set_idle(struct sqlite_store *store, struct lane *lane, int64_t now_utc_us) {
    lane->idle_utc_us = now_utc_us;
    lane->last_ended = store->next_ended - 1;
    work_lane_dirty(store, lane);
}

void idle_note(struct sqlite_store *store) {
    int64_t now_utc_us = clock_utc_us(store->clock);
    for (size_t i = 0; i < store->lanes.n_workflows; i++)
        for (struct list *link; (link = list_pop_front(&store->lanes.workflows[i]->emptied));) {
            struct lane *lane = LIST_ENTRY(link, struct lane, idle);
            if (lane_has_runs(lane))
                continue;
            set_idle(store, lane, now_utc_us);
            list_push_back(&store->lanes.idle, &lane->idle);
        }
}

static int idle_longer(const void *a, const void *b) {
    const struct lane *const *x = a, *const *y = b;
    if ((*x)->last_ended != (*y)->last_ended)
        return (*x)->last_ended < (*y)->last_ended ? -1 : 1;
    return (*x)->idle_utc_us < (*y)->idle_utc_us ? -1 : (*x)->idle_utc_us > (*y)->idle_utc_us;
}

int idle_load(struct sqlite_store *store) {
    int64_t now_utc_us = clock_utc_us(store->clock);
    _cleanup_free_ struct lane **idle = mem_calloc(store->lanes.n_lanes + 1, sizeof(struct lane *));
    size_t n = 0;
    if (!idle)
        return -ENOMEM;
    for (size_t i = 0; i < store->lanes.n_lanes; i++) {
        struct lane *lane = store->lanes.lanes[i];
        list_remove(&lane->idle);
        if (lane_has_runs(lane))
            continue;
        if (lane->idle_utc_us == 0) /* it comes from an earlier format */
            set_idle(store, lane, now_utc_us);
        idle[n++] = lane;
    }
    qsort(idle, n, sizeof(struct lane *), idle_longer);
    for (size_t i = 0; i < n; i++)
        list_push_back(&store->lanes.idle, &idle[i]->idle);
    store->lanes.added = 0;
    return 0;
}

static bool is_over(const struct sqlite_store *store, const struct lane *lane, int64_t now_utc_us) {
    int64_t kept_us = store->history_us > 0 ? store->history_us : KEPT_US;
    if (lane->last_ended >= store->first_ended)
        return false;
    return store->lanes.n_lanes - store->lanes.n_gone > LANES_MOST || now_utc_us - lane->idle_utc_us >= kept_us;
}

static int write_past(struct sqlite_store *store, struct workflow *workflow, struct err *err) {
    struct db_use put = db_use(&store->db, DB_WORKFLOW_PAST);
    db_int(&put, 1, workflow->id);
    db_int(&put, 2, (int64_t)workflow->past_done);
    db_int(&put, 3, (int64_t)workflow->past_failed);
    db_int(&put, 4, (int64_t)workflow->past_cancelled);
    workflow->past_dirty = false;
    return db_run(&put, "write the numbers of a workflow", err);
}

int idle_tidy(struct sqlite_store *store, struct err *err) {
    int64_t now_utc_us = clock_utc_us(store->clock);
    struct lanes *lanes = &store->lanes;
    uint64_t left = TIDY_MIN + 2 * lanes->added;
    lanes->added = 0;
    for (; left > 0 && !list_empty(&lanes->idle); left--) {
        struct lane *lane = LIST_ENTRY(lanes->idle.next, struct lane, idle);
        if (lane_has_runs(lane)) {
            list_remove(&lane->idle);
            continue;
        }
        if (!is_over(store, lane, now_utc_us))
            break;
        struct db_use drop = db_use(&store->db, DB_LANE_DROP);
        db_int(&drop, 1, lane->id);
        int r = db_run(&drop, "drop a lane", err);
        if (r < 0)
            return r;
        lanes_lane_drop(lanes, lane);
    }
    int r = 0;
    for (size_t i = 0; i < lanes->n_workflows && r == 0; i++)
        if (lanes->workflows[i]->past_dirty)
            r = write_past(store, lanes->workflows[i], err);
    return r;
}
