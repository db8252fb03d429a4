/* look.c - workflows and lanes for people: what memory has, as of now. */
#include "postgres_store.h"

#include "cleanup.h"

static void want_waiting(struct postgres_store *store, int64_t lane, PGresult **keep) {
    struct args *args = pg_want(store, SQL_WAITING, NULL, NULL);
    pg_args_now(store, args);
    args_int(args, lane);
    pg_want_keep(store, keep);
}

/* How many retries of each lane are not due yet, by lane id. */
static int waiting_by_lane(const struct postgres_store *store, const PGresult *answer, uint64_t **ret_waiting) {
    uint64_t *waiting = mem_calloc(store->sched.n_lanes + 1, sizeof *waiting);
    if (!waiting)
        return -ENOMEM;
    for (int row = 0; row < wire_rows(answer); row++) {
        int64_t lane = wire_int(answer, row, 0);
        if (sched_lane(&store->sched, lane))
            waiting[lane] = (uint64_t)wire_int(answer, row, 1);
    }
    *ret_waiting = waiting;
    return 0;
}

static uint64_t up_to(uint64_t value, uint64_t max) {
    return value < max ? value : max;
}

static struct store_lane_info info_of(const struct lane *lane, uint64_t waiting) {
    const struct workflow *workflow = lane->workflow;
    const int64_t *v = lane->v;
    size_t first = workflow->first_round_robin;
    const struct rule_key *key = first < lane->n_keys ? lane->keys[first].rule_key : NULL;
    waiting = up_to(waiting, (uint64_t)v[LN_RETRIES]);
    return (struct store_lane_info){
        .lane = lane->id,
        .workflow = workflow->id,
        .workflow_name = bytes_of(workflow->name, workflow->name_n),
        .group = sched_group_key(lane),
        .queued = (uint64_t)(v[LN_QUEUED] + v[LN_RETRIES]) - waiting,
        .leased = (uint64_t)v[LN_LEASED],
        .waiting = waiting,
        .parked = (uint64_t)v[LN_PARKED],
        .done = (uint64_t)v[LN_DONE],
        .failed = (uint64_t)v[LN_FAILED],
        .cancelled = (uint64_t)v[LN_CANCELLED],
        .tokens = (uint32_t)up_to((uint64_t)v[LN_TOKENS], UINT32_MAX),
        .max_runs = key ? key->max_runs : 0,
        .last_granted_utc_us = v[LN_GRANTED],
        .paused = workflow->paused,
    };
}

int pg_lanes_each(struct postgres_store *store, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                  int *ret_stop, struct err *err) {
    _cleanup_answer_ PGresult *answer = NULL;
    _cleanup_free_ uint64_t *waiting = NULL;
    want_waiting(store, 0, &answer);
    int r = pg_look(store, err);
    if (r == 0)
        r = waiting_by_lane(store, answer, &waiting);
    for (size_t i = 0; i < store->sched.n_lanes && r == 0 && *ret_stop == 0; i++) {
        const struct lane *lane = store->sched.lanes[i];
        if (!lane)
            continue;
        struct store_lane_info info = info_of(lane, waiting[lane->id]);
        int stop = each(arg, &info);
        *ret_stop = stop < 0 ? stop : 0;
    }
    return r;
}

int pg_lane_get(struct postgres_store *store, int64_t id, struct store_lane_info *ret_info, struct err *err) {
    _cleanup_answer_ PGresult *answer = NULL;
    want_waiting(store, id, &answer);
    int r = pg_look(store, err);
    if (r < 0)
        return r;
    const struct lane *lane = sched_lane(&store->sched, id);
    if (!lane)
        return err_set(err, -ENOENT, "lane %lld is not known", (long long)id);
    *ret_info = info_of(lane, wire_rows(answer) ? (uint64_t)wire_int(answer, 0, 1) : 0);
    return 0;
}

static void sum_lanes(const struct postgres_store *store, const struct workflow *workflow, const uint64_t *waiting,
                      struct store_workflow_info *info) {
    for (size_t i = 0; i < store->sched.n_lanes; i++) {
        const struct lane *lane = store->sched.lanes[i];
        if (!lane || lane->workflow != workflow)
            continue;
        struct store_lane_info one = info_of(lane, waiting[lane->id]);
        info->queued += one.queued;
        info->leased += one.leased;
        info->waiting += one.waiting;
        info->parked += one.parked;
        info->done += one.done;
        info->failed += one.failed;
        info->cancelled += one.cancelled;
    }
}

int pg_workflows_each(struct postgres_store *store, int (*each)(void *arg, const struct store_workflow_info *info),
                      void *arg, int *ret_stop, struct err *err) {
    _cleanup_answer_ PGresult *answer = NULL, *ticks = NULL, *past = NULL;
    _cleanup_free_ uint64_t *waiting = NULL;
    want_waiting(store, 0, &answer);
    pg_want(store, SQL_TICKS_LAST, NULL, NULL);
    pg_want_keep(store, &ticks);
    pg_want(store, SQL_WORKFLOWS_PAST, NULL, NULL);
    pg_want_keep(store, &past);
    int r = pg_look(store, err);
    if (r == 0)
        r = waiting_by_lane(store, answer, &waiting);
    for (size_t i = 0; i < store->sched.n_workflows && r == 0 && *ret_stop == 0; i++) {
        const struct workflow *workflow = store->sched.workflows[i];
        if (!workflow)
            continue;
        struct store_workflow_info info = {
            .id = workflow->id,
            .name = bytes_of(workflow->name, workflow->name_n),
            .paused = workflow->paused,
            .rules = workflow->rules,
            .n_rules = workflow->n_rules,
        };
        sum_lanes(store, workflow, waiting, &info);
        for (int row = 0; row < wire_rows(past); row++) {
            if (wire_int(past, row, 0) != workflow->id)
                continue;
            info.done += (uint64_t)wire_int(past, row, 1);
            info.failed += (uint64_t)wire_int(past, row, 2);
            info.cancelled += (uint64_t)wire_int(past, row, 3);
        }
        for (int row = 0; row < wire_rows(ticks); row++)
            if (wire_int(ticks, row, 0) == workflow->id)
                info.last_tick_utc_us = wire_int(ticks, row, 1);
        int stop = each(arg, &info);
        *ret_stop = stop < 0 ? stop : 0;
    }
    return r;
}

static int absorb_size(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)store;
    (void)err;
    int64_t *both = arg;
    both[0] = wire_int(answer, 0, 9);
    both[1] = wire_int(answer, 0, 10);
    return 0;
}

int pg_history_size(struct postgres_store *store, uint64_t *ret_runs, uint64_t *ret_bytes, struct err *err) {
    int64_t both[2] = {0, 0};
    args_null_int(pg_want(store, SQL_META, absorb_size, both));
    int r = pg_look(store, err);
    if (r < 0)
        return r;
    if (store->locked) {
        both[0] = store->meta.history_runs;
        both[1] = store->meta.history_bytes;
    }
    *ret_runs = (uint64_t)(both[0] > 0 ? both[0] : 0);
    *ret_bytes = (uint64_t)(both[1] > 0 ? both[1] : 0);
    return 0;
}
