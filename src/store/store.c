/* store.c - finds the kind of store that a URI names, and hands calls on to it. */
#include "store.h"

#include "arena.h"
#include "store_ops.h"

#include <string.h>

static const struct {
    const char *prefix;
    bool whole; /* the kind wants the whole URI */
    int (*open)(const char *place, const struct store_options *options, struct store **ret_store, struct err *err);
} kinds[] = {
    {"sqlite:", false, sqlite_store_open},
    {"postgres://", true, postgres_store_open},
    {"postgresql://", true, postgres_store_open},
};

int store_open(const char *uri, const struct store_options *options, struct store **ret_store, struct err *err) {
    static const struct store_options defaults = {0};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i].prefix);
        if (strncmp(uri, kinds[i].prefix, n) != 0)
            continue;
        if (!uri[n] && !kinds[i].whole)
            return err_set(err, -EINVAL, "store '%s': a path must follow '%s'", uri, kinds[i].prefix);
        return kinds[i].open(kinds[i].whole ? uri : uri + n, options ? options : &defaults, ret_store, err);
    }
    /* No more than the kind is repeated: a password may follow. */
    return err_set(err, -EINVAL, "store '%.*s...': not a known kind of store (sqlite:PATH, postgres://USER@HOST/DB)",
                   (int)strcspn(uri, ":/@"), uri);
}

void store_close(struct store *store) {
    if (store)
        store->ops->close(store);
}

int store_lock_fd(const struct store *store) {
    return store->ops->lock_fd(store);
}

uint64_t store_recovered(const struct store *store) {
    return store->ops->recovered(store);
}

const char *store_describe(const struct store *store) {
    return store->ops->describe(store);
}

bool store_shared(const struct store *store) {
    return store->ops->shared(store);
}

int store_begin(struct store *store, struct err *err) {
    return store->ops->begin(store, err);
}

int store_commit(struct store *store, struct err *err) {
    return store->ops->commit(store, err);
}

int store_workflow_put(struct store *store, struct bytes name, const struct store_rule *rules, size_t n_rules,
                       int64_t *ret_workflow, struct err *err) {
    return store->ops->workflow_put(store, name, rules, n_rules, ret_workflow, err);
}

int store_workflow_pause(struct store *store, struct bytes name, bool paused, struct err *err) {
    return store->ops->workflow_pause(store, name, paused, err);
}

int store_workflows_each(struct store *store, int (*each)(void *arg, const struct store_workflow_info *info), void *arg,
                         struct err *err) {
    return store->ops->workflows_each(store, each, arg, err);
}

int store_worker_add(struct store *store, struct bytes name, uint32_t slots, int64_t *ret_worker, struct err *err) {
    return store->ops->worker_add(store, name, slots, ret_worker, err);
}

int store_heartbeat(struct store *store, int64_t worker, struct store_cancels *ret_cancels, struct err *err) {
    return store->ops->heartbeat(store, worker, ret_cancels, err);
}

int store_worker_remove(struct store *store, int64_t worker, struct err *err) {
    return store->ops->worker_remove(store, worker, err);
}

int store_spawn(struct store *store, const struct store_page *page, struct store_spawned *ret_spawned,
                struct err *err) {
    return store->ops->spawn(store, page, ret_spawned, err);
}

int store_claim(struct store *store, const struct store_claim *claim, struct store_claimed *ret_claimed,
                struct err *err) {
    return store->ops->claim(store, claim, ret_claimed, err);
}

void store_claimed_free(struct store_claimed *claimed) {
    if (!claimed)
        return;
    arena_free(claimed->arena);
    *claimed = (struct store_claimed){0};
}

void store_cancels_free(struct store_cancels *cancels) {
    if (!cancels)
        return;
    arena_free(cancels->arena);
    *cancels = (struct store_cancels){0};
}

int store_settle(struct store *store, int64_t worker, const struct store_settled *settled, size_t n,
                 size_t *ret_ignored, struct err *err) {
    return store->ops->settle(store, worker, settled, n, ret_ignored, err);
}

int store_tick(struct store *store, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err) {
    return store->ops->tick(store, workflow, tick_utc_us, ret_first, err);
}

int store_value_put(struct store *store, struct bytes name, struct bytes value, struct err *err) {
    return store->ops->value_put(store, name, value, err);
}

int store_value_get(struct store *store, struct bytes name, struct buf *ret_value, bool *ret_found, struct err *err) {
    return store->ops->value_get(store, name, ret_value, ret_found, err);
}

int store_log_add(struct store *store, int64_t page, uint32_t index, int level, struct bytes text, struct err *err) {
    return store->ops->log_add(store, page, index, level, text, err);
}

int store_log_each(struct store *store, int64_t page, uint32_t index,
                   int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                   void *arg, struct err *err) {
    return store->ops->log_each(store, page, index, each, arg, err);
}

int store_lanes_each(struct store *store, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                     struct err *err) {
    return store->ops->lanes_each(store, each, arg, err);
}

int store_lane_get(struct store *store, int64_t lane, struct store_lane_info *ret_info, struct err *err) {
    return store->ops->lane_get(store, lane, ret_info, err);
}

int store_parked_each(struct store *store, const struct store_parked_filter *filter,
                      int (*each)(void *arg, const struct store_parked *parked), void *arg, struct err *err) {
    return store->ops->parked_each(store, filter, each, arg, err);
}

int store_parked_retry(struct store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                       struct err *err) {
    return store->ops->parked_retry(store, filter, ret_count, err);
}

int store_parked_drop(struct store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                      struct err *err) {
    return store->ops->parked_drop(store, filter, ret_count, err);
}

int store_check(struct store *store, struct err *err) {
    return store->ops->check(store, err);
}

int store_workers_each(struct store *store, int (*each)(void *arg, const struct store_worker_info *info), void *arg,
                       struct err *err) {
    return store->ops->workers_each(store, each, arg, err);
}

int store_page_reserve(struct store *store, int64_t *ret_page, struct err *err) {
    return store->ops->page_reserve(store, ret_page, err);
}

int store_tick_last(struct store *store, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err) {
    return store->ops->tick_last(store, workflow, ret_tick_utc_us, err);
}

int store_runs_each(struct store *store, const struct store_runs_filter *filter,
                    int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err) {
    return store->ops->runs_each(store, filter, each, arg, err);
}

int store_run_get(struct store *store, int64_t page, uint32_t index,
                  int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err) {
    return store->ops->run_get(store, page, index, each, arg, err);
}

int store_attempts_each(struct store *store, int64_t page, uint32_t index,
                        int (*each)(void *arg, const struct store_attempt *attempt), void *arg, struct err *err) {
    return store->ops->attempts_each(store, page, index, each, arg, err);
}

int store_run_cancel(struct store *store, int64_t page, uint32_t index, enum store_state *ret_state, struct err *err) {
    return store->ops->run_cancel(store, page, index, ret_state, err);
}

int store_history_size(struct store *store, uint64_t *ret_runs, uint64_t *ret_bytes, struct err *err) {
    return store->ops->history_size(store, ret_runs, ret_bytes, err);
}
