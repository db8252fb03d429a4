/* sync.c - the _sync forms of what is asked of the store and done by it: the call with callbacks, and a wait for the
 * last of them. What `each` and `see` are given is told on the loop's thread, while the caller waits. */
#include "engine.h"

struct sync {
    struct engine_wait wait;
    froe_error *error;
    int r;
    void *arg; /* of the caller's function */
    union {
        void (*run)(void *arg, const froe_run *run);
        void (*line)(void *arg, const froe_log_line *line);
        void (*parked)(void *arg, const froe_parked *parked);
        void (*workflow)(void *arg, const froe_workflow_info *workflow);
        void (*worker)(void *arg, const froe_worker_info *worker);
        void (*group)(void *arg, const froe_group_info *group);
    } each;
    void (*see)(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n);
    uint64_t count;
    froe_state was;
    froe_run_id id;
    void *data;
    size_t size, data_n;
};

static void answered(struct sync *sync, const froe_error *error) {
    if (error) {
        sync->r = error->code;
        if (sync->error)
            *sync->error = *error;
    }
    engine_wait_signal(&sync->wait);
}

static void done(void *arg, const froe_error *error) {
    answered(arg, error);
}

static void counted(void *arg, uint64_t count, const froe_error *error) {
    struct sync *sync = arg;
    sync->count = count;
    answered(sync, error);
}

/* Between engine_wait_begin and here: r is what the call with callbacks said. */
static int wait_for(struct sync *sync, int r) {
    if (r == FROE_OK) {
        engine_wait_for(&sync->wait);
        r = sync->r;
    }
    engine_wait_end(&sync->wait);
    return r;
}

static int wait_count(struct sync *sync, int r, uint64_t *ret_count) {
    r = wait_for(sync, r);
    if (r == FROE_OK && ret_count)
        *ret_count = sync->count;
    return r;
}

static int begin(struct sync *sync, froe *engine) {
    return engine_wait_begin(&sync->wait, engine, NULL, sync->error);
}

/* ---- values ---- */

int froe_value_put_sync(froe *engine, const char *name, const void *data, size_t n, froe_error *error) {
    struct sync sync = {.error = error};
    int r = begin(&sync, engine);
    return r == FROE_OK ? wait_for(&sync, froe_value_put(engine, name, data, n, done, &sync, error)) : r;
}

static void got_value(void *arg, const void *data, size_t n, const froe_error *error) {
    struct sync *sync = arg;
    froe_error none;
    if (!error && !data) {
        engine_error(&none, FROE_ERR_NOT_FOUND, "there is no such value");
        error = &none;
    }
    sync->data_n = n;
    if (!error && n <= sync->size)
        memcpy(sync->data, data, n);
    answered(sync, error);
}

int froe_value_get_sync(froe *engine, const char *name, void *data, size_t size, size_t *ret_n, froe_error *error) {
    struct sync sync = {.error = error, .data = data, .size = data ? size : 0};
    int r = begin(&sync, engine);
    if (r == FROE_OK)
        r = wait_for(&sync, froe_value_get(engine, name, got_value, &sync, error));
    if (r != FROE_OK)
        return r;
    if (ret_n)
        *ret_n = sync.data_n;
    if (sync.data_n > sync.size)
        return engine_error(error, FROE_ERR_INVALID, "the value %s has %zu bytes, more than the %zu there is room for",
                            name, sync.data_n, sync.size);
    return FROE_OK;
}

/* ---- runs ---- */

static void each_run(void *arg, const froe_run *run) {
    const struct sync *sync = arg;
    sync->each.run(sync->arg, run);
}

int froe_runs_list_sync(froe *engine, const froe_runs_filter *filter, void (*each)(void *arg, const froe_run *run),
                        void *arg, uint64_t *ret_count, froe_error *error) {
    struct sync sync = {.error = error, .arg = arg, .each.run = each};
    int r = begin(&sync, engine);
    if (r != FROE_OK)
        return r;
    return wait_count(&sync, froe_runs_list(engine, filter, each ? each_run : NULL, counted, &sync, error), ret_count);
}

static void got_run(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n, const froe_error *error) {
    struct sync *sync = arg;
    if (!error)
        sync->see(sync->arg, run, attempts, n);
    answered(sync, error);
}

int froe_run_get_sync(froe *engine, froe_run_id id,
                      void (*see)(void *arg, const froe_run *run, const froe_attempt *attempts, size_t n), void *arg,
                      froe_error *error) {
    struct sync sync = {.error = error, .arg = arg, .see = see};
    int r = begin(&sync, engine);
    return r == FROE_OK ? wait_for(&sync, froe_run_get(engine, id, see ? got_run : NULL, &sync, error)) : r;
}

static void each_line(void *arg, const froe_log_line *line) {
    const struct sync *sync = arg;
    sync->each.line(sync->arg, line);
}

int froe_run_logs_sync(froe *engine, froe_run_id id, void (*each)(void *arg, const froe_log_line *line), void *arg,
                       uint64_t *ret_count, froe_error *error) {
    struct sync sync = {.error = error, .arg = arg, .each.line = each};
    int r = begin(&sync, engine);
    if (r != FROE_OK)
        return r;
    return wait_count(&sync, froe_run_logs(engine, id, each ? each_line : NULL, counted, &sync, error), ret_count);
}

static void cancelled(void *arg, froe_state was, const froe_error *error) {
    struct sync *sync = arg;
    sync->was = was;
    answered(sync, error);
}

int froe_run_cancel_sync(froe *engine, froe_run_id id, froe_state *ret_was, froe_error *error) {
    struct sync sync = {.error = error};
    int r = begin(&sync, engine);
    if (r == FROE_OK)
        r = wait_for(&sync, froe_run_cancel(engine, id, cancelled, &sync, error));
    if (r == FROE_OK && ret_was)
        *ret_was = sync.was;
    return r;
}

int froe_run_retry_sync(froe *engine, froe_run_id id, froe_error *error) {
    struct sync sync = {.error = error};
    int r = begin(&sync, engine);
    return r == FROE_OK ? wait_for(&sync, froe_run_retry(engine, id, done, &sync, error)) : r;
}

static void replayed(void *arg, froe_run_id id, const froe_error *error) {
    struct sync *sync = arg;
    sync->id = id;
    answered(sync, error);
}

int froe_run_replay_sync(froe *engine, froe_run_id id, froe_run_id *ret_replayed, froe_error *error) {
    struct sync sync = {.error = error};
    int r = begin(&sync, engine);
    if (r == FROE_OK)
        r = wait_for(&sync, froe_run_replay(engine, id, replayed, &sync, error));
    if (r == FROE_OK && ret_replayed)
        *ret_replayed = sync.id;
    return r;
}

/* ---- parked runs ---- */

static void each_parked(void *arg, const froe_parked *parked) {
    const struct sync *sync = arg;
    sync->each.parked(sync->arg, parked);
}

int froe_parked_list_sync(froe *engine, const froe_parked_filter *filter,
                          void (*each)(void *arg, const froe_parked *parked), void *arg, uint64_t *ret_count,
                          froe_error *error) {
    struct sync sync = {.error = error, .arg = arg, .each.parked = each};
    int r = begin(&sync, engine);
    if (r != FROE_OK)
        return r;
    return wait_count(&sync, froe_parked_list(engine, filter, each ? each_parked : NULL, counted, &sync, error),
                      ret_count);
}

int froe_parked_retry_sync(froe *engine, const froe_parked_filter *filter, uint64_t *ret_count, froe_error *error) {
    struct sync sync = {.error = error};
    int r = begin(&sync, engine);
    return r == FROE_OK ? wait_count(&sync, froe_parked_retry(engine, filter, counted, &sync, error), ret_count) : r;
}

int froe_parked_drop_sync(froe *engine, const froe_parked_filter *filter, uint64_t *ret_count, froe_error *error) {
    struct sync sync = {.error = error};
    int r = begin(&sync, engine);
    return r == FROE_OK ? wait_count(&sync, froe_parked_drop(engine, filter, counted, &sync, error), ret_count) : r;
}

/* ---- workflows, workers, groups ---- */

static void each_workflow(void *arg, const froe_workflow_info *workflow) {
    const struct sync *sync = arg;
    sync->each.workflow(sync->arg, workflow);
}

int froe_workflows_list_sync(froe *engine, void (*each)(void *arg, const froe_workflow_info *workflow), void *arg,
                             uint64_t *ret_count, froe_error *error) {
    struct sync sync = {.error = error, .arg = arg, .each.workflow = each};
    int r = begin(&sync, engine);
    if (r != FROE_OK)
        return r;
    return wait_count(&sync, froe_workflows_list(engine, each ? each_workflow : NULL, counted, &sync, error),
                      ret_count);
}

int froe_workflow_pause_sync(froe *engine, const char *workflow, int paused, froe_error *error) {
    struct sync sync = {.error = error};
    int r = begin(&sync, engine);
    return r == FROE_OK ? wait_for(&sync, froe_workflow_pause(engine, workflow, paused, done, &sync, error)) : r;
}

static void each_worker(void *arg, const froe_worker_info *worker) {
    const struct sync *sync = arg;
    sync->each.worker(sync->arg, worker);
}

int froe_workers_list_sync(froe *engine, void (*each)(void *arg, const froe_worker_info *worker), void *arg,
                           uint64_t *ret_count, froe_error *error) {
    struct sync sync = {.error = error, .arg = arg, .each.worker = each};
    int r = begin(&sync, engine);
    if (r != FROE_OK)
        return r;
    return wait_count(&sync, froe_workers_list(engine, each ? each_worker : NULL, counted, &sync, error), ret_count);
}

static void each_group(void *arg, const froe_group_info *group) {
    const struct sync *sync = arg;
    sync->each.group(sync->arg, group);
}

int froe_groups_list_sync(froe *engine, const char *workflow, void (*each)(void *arg, const froe_group_info *group),
                          void *arg, uint64_t *ret_count, froe_error *error) {
    struct sync sync = {.error = error, .arg = arg, .each.group = each};
    int r = begin(&sync, engine);
    if (r != FROE_OK)
        return r;
    return wait_count(&sync, froe_groups_list(engine, workflow, each ? each_group : NULL, counted, &sync, error),
                      ret_count);
}
