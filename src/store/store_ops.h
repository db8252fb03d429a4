/* store_ops.h - what a kind of store implements: the calls of store.h as function pointers.
 *
 * A kind's own struct begins with `struct store`. store.c hands every call on as it is; it checks nothing, so each kind
 * keeps the promises of store.h by itself. */
#pragma once

#include "store.h"

struct store {
    const struct store_ops *ops;
};

struct store_ops {
    void (*close)(struct store *store);
    int (*lock_fd)(const struct store *store);
    uint64_t (*recovered)(const struct store *store);
    const char *(*describe)(const struct store *store);
    bool (*shared)(const struct store *store);
    int (*begin)(struct store *store, struct err *err);
    int (*commit)(struct store *store, struct err *err);

    int (*workflow_put)(struct store *store, struct bytes name, const struct store_rule *rules, size_t n_rules,
                        int64_t *ret_workflow, struct err *err);
    int (*workflow_pause)(struct store *store, struct bytes name, bool paused, struct err *err);
    int (*workflows_each)(struct store *store, int (*each)(void *arg, const struct store_workflow_info *info),
                          void *arg, struct err *err);
    int (*worker_add)(struct store *store, struct bytes name, uint32_t slots, int64_t *ret_worker, struct err *err);
    int (*heartbeat)(struct store *store, int64_t worker, struct store_cancels *ret_cancels, struct err *err);
    int (*worker_remove)(struct store *store, int64_t worker, struct err *err);
    int (*workers_each)(struct store *store, int (*each)(void *arg, const struct store_worker_info *info), void *arg,
                        struct err *err);

    int (*spawn)(struct store *store, const struct store_page *page, struct store_spawned *ret_spawned,
                 struct err *err);
    int (*page_reserve)(struct store *store, int64_t *ret_page, struct err *err);
    int (*claim)(struct store *store, const struct store_claim *claim, struct store_claimed *ret_claimed,
                 struct err *err);
    int (*settle)(struct store *store, int64_t worker, const struct store_settled *settled, size_t n,
                  size_t *ret_ignored, struct err *err);

    int (*tick)(struct store *store, int64_t workflow, int64_t tick_utc_us, bool *ret_first, struct err *err);
    int (*tick_last)(struct store *store, int64_t workflow, int64_t *ret_tick_utc_us, struct err *err);
    int (*value_put)(struct store *store, struct bytes name, struct bytes value, struct err *err);
    int (*value_get)(struct store *store, struct bytes name, struct buf *ret_value, bool *ret_found, struct err *err);
    int (*log_add)(struct store *store, int64_t page, uint32_t index, int level, struct bytes text, struct err *err);
    int (*log_each)(struct store *store, int64_t page, uint32_t index,
                    int (*each)(void *arg, int64_t page, uint32_t index, int64_t utc_us, int level, struct bytes text),
                    void *arg, struct err *err);

    int (*lanes_each)(struct store *store, int (*each)(void *arg, const struct store_lane_info *info), void *arg,
                      struct err *err);
    int (*lane_get)(struct store *store, int64_t lane, struct store_lane_info *ret_info, struct err *err);
    int (*parked_each)(struct store *store, const struct store_parked_filter *filter,
                       int (*each)(void *arg, const struct store_parked *parked), void *arg, struct err *err);
    int (*parked_retry)(struct store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                        struct err *err);
    int (*parked_drop)(struct store *store, const struct store_parked_filter *filter, uint64_t *ret_count,
                       struct err *err);
    int (*runs_each)(struct store *store, const struct store_runs_filter *filter,
                     int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err);
    int (*run_get)(struct store *store, int64_t page, uint32_t index,
                   int (*each)(void *arg, const struct store_run_info *run), void *arg, struct err *err);
    int (*attempts_each)(struct store *store, int64_t page, uint32_t index,
                         int (*each)(void *arg, const struct store_attempt *attempt), void *arg, struct err *err);
    int (*run_cancel)(struct store *store, int64_t page, uint32_t index, enum store_state *ret_state, struct err *err);
    int (*history_size)(struct store *store, uint64_t *ret_runs, uint64_t *ret_bytes, struct err *err);
    int (*check)(struct store *store, struct err *err);
};

/* Opens a store of this kind; `path` is what stands after "sqlite:" and is not empty. */
int sqlite_store_open(const char *path, const struct store_options *options, struct store **ret_store, struct err *err);
/* `uri` is the whole of it. */
int postgres_store_open(const char *uri, const struct store_options *options, struct store **ret_store,
                        struct err *err);
