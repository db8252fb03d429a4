/* infos.c - what lanes, workflows and workers have now. */
#include "sqlite_store.h"

/* ---- lanes ---- */

static struct store_lane_info info_of(const struct lane *lane) {
    uint64_t retries = lane->counts[LANE_RETRIES];
    const struct workflow *workflow = lane->workflow;
    size_t robin = workflow->first_round_robin;
    const struct rule_key *key = robin < lane->n_keys ? lane->keys[robin].rule_key : NULL;
    return (struct store_lane_info){
        .lane = lane->id,
        .workflow = workflow->id,
        .workflow_name = bytes_of(workflow->name, workflow->name_n),
        .group = lane_group_key(lane),
        .queued = lane->counts[LANE_QUEUED] + retries - lane->waiting,
        .leased = lane->counts[LANE_LEASED],
        .waiting = lane->waiting,
        .parked = lane->counts[LANE_PARKED],
        .done = lane->done,
        .failed = lane->failed,
        .cancelled = lane->cancelled,
        .tokens = (uint32_t)(lane->tokens < UINT32_MAX ? lane->tokens : UINT32_MAX),
        .max_runs = key ? key->max_runs : 0,
        .last_granted_utc_us = lane->last_granted_utc_us,
        .paused = workflow->paused,
    };
}

int infos_lanes(struct sqlite_store *store, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                int *ret_stop, struct err *err) {
    (void)err;
    work_promote(store, clock_utc_us(store->clock));
    for (size_t i = 0; i < store->lanes.n_lanes && *ret_stop >= 0; i++) {
        if (store->lanes.lanes[i]->gone)
            continue;
        struct store_lane_info info = info_of(store->lanes.lanes[i]);
        *ret_stop = each(arg, &info);
    }
    return 0;
}

int infos_lane(struct sqlite_store *store, int64_t id, struct store_lane_info *ret_info, struct err *err) {
    const struct lane *lane = lanes_lane(&store->lanes, id);
    if (!lane)
        return err_set(err, -ENOENT, "lane %lld is not known", (long long)id);
    work_promote(store, clock_utc_us(store->clock));
    *ret_info = info_of(lane);
    return 0;
}

/* ---- workflows ---- */

static void add_lane(struct store_workflow_info *info, const struct lane *lane) {
    struct store_lane_info one = info_of(lane);
    info->queued += one.queued;
    info->leased += one.leased;
    info->waiting += one.waiting;
    info->parked += one.parked;
    info->done += one.done;
    info->failed += one.failed;
    info->cancelled += one.cancelled;
}

/* The lanes are gone through once for each workflow: there are few of those. */
int infos_workflows(struct sqlite_store *store, int (*each)(void *arg, const struct store_workflow_info *info),
                    void *arg, int *ret_stop, struct err *err) {
    work_promote(store, clock_utc_us(store->clock));
    for (size_t i = 0; i < store->lanes.n_workflows && *ret_stop >= 0; i++) {
        const struct workflow *workflow = store->lanes.workflows[i];
        struct store_workflow_info info = {
            .id = workflow->id,
            .name = bytes_of(workflow->name, workflow->name_n),
            .paused = workflow->paused,
            .rules = workflow->rules,
            .n_rules = workflow->n_rules,
            .done = workflow->past_done,
            .failed = workflow->past_failed,
            .cancelled = workflow->past_cancelled,
        };
        for (size_t j = 0; j < store->lanes.n_lanes; j++)
            if (store->lanes.lanes[j]->workflow == workflow && !store->lanes.lanes[j]->gone)
                add_lane(&info, store->lanes.lanes[j]);
        int r = notes_tick_last(store, workflow->id, &info.last_tick_utc_us, err);
        if (r < 0)
            return r;
        *ret_stop = each(arg, &info);
    }
    return 0;
}

/* ---- workers ---- */

int infos_workers(struct sqlite_store *store, int (*each)(void *arg, const struct store_worker_info *info), void *arg,
                  int *ret_stop, struct err *err) {
    int r = leases_expire(store, err);
    if (r < 0)
        return r;
    LIST_EACH (link, &store->workers) {
        const struct worker *worker = LIST_ENTRY(link, struct worker, link);
        struct store_worker_info info = {
            .id = worker->id,
            .name = bytes_of(worker->name, worker->name_n),
            .slots = worker->slots,
            .since_utc_us = worker->since_utc_us,
            .heard_utc_us = worker->heard_utc_us,
            .expires_utc_us = worker->heard_utc_us + store->lease_us,
        };
        LIST_EACH (at, &worker->holds)
            info.leased += LIST_ENTRY(at, struct hold, of_worker)->leased;
        if (*ret_stop >= 0)
            *ret_stop = each(arg, &info);
    }
    return 0;
}
