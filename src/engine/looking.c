/* looking.c - looking at workflows, workers and groups as the store knows them, and pausing a workflow. */
#include "asking.h"

#include "cleanup.h"
#include "mem.h"

/* ---- lists ---- */

struct kind;

struct look_request {
    struct request request;
    const struct kind *kind;
    struct buf found;
    uint64_t count;
    char workflow[FROE_NAME_MAX + 1]; /* groups: only of this one; "": of all */
    void (*each)(void);               /* of the kind's own type */
    froe_counted_fn *done;
    void *arg;
};

struct kind {
    int (*read)(struct look_request *look, struct store *store, struct err *err);
    void (*tell)(const struct look_request *look, const froe *engine);
};

static int execute_look(struct request *request, struct store *store, struct err *err) {
    struct look_request *look = (struct look_request *)(void *)request;
    buf_reset(&look->found);
    look->count = 0;
    int r = look->kind->read(look, store, err);
    return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
}

static void finish_look(struct request *request, struct froe *engine) {
    struct look_request *look = (struct look_request *)(void *)request;
    froe_error storage;
    const froe_error *failed = asking_failed(request, &storage);
    if (!failed)
        look->kind->tell(look, engine);
    if (look->done)
        look->done(look->arg, failed ? 0 : look->count, failed);
    buf_free(&look->found);
    mem_free(look);
}

struct look_call {
    froe *engine;
    froe_error *error;
    const struct kind *kind;
    const char *workflow;
    void (*each)(void);
    froe_counted_fn *done;
    void *arg;
};

static int call_look(void *args) {
    const struct look_call *call = args;
    struct bytes workflow = bytes_str(call->workflow);
    if (!call->each)
        return engine_error(call->error, FROE_ERR_INVALID, "a list without somebody to tell it to");
    if (workflow.n > FROE_NAME_MAX)
        return engine_error(call->error, FROE_ERR_INVALID, "no workflow has a name of %zu bytes", workflow.n);
    int r = asking_check(call->engine, call->error);
    if (r != FROE_OK)
        return r;
    struct look_request *look = mem_zalloc(sizeof *look);
    if (!look)
        return engine_error(call->error, FROE_ERR_MEMORY, "out of memory");
    if (workflow.n)
        memcpy(look->workflow, workflow.p, workflow.n);
    look->kind = call->kind;
    look->each = call->each;
    look->done = call->done;
    look->arg = call->arg;
    look->request.execute = execute_look;
    look->request.finish = finish_look;
    settle_flush(call->engine);
    engine_submit(call->engine, &look->request);
    return FROE_OK;
}

/* ---- workflows ---- */

static const size_t workflow_texts[] = {offsetof(struct store_workflow_info, name)};
static const struct record record_workflow = {sizeof(struct store_workflow_info), workflow_texts, 1};

static int keep_workflow(void *arg, const struct store_workflow_info *info) {
    struct look_request *look = arg;
    look->count++;
    return record_keep(&look->found, &record_workflow, info);
}

static int read_workflows(struct look_request *look, struct store *store, struct err *err) {
    return store_workflows_each(store, keep_workflow, look, err);
}

typedef void workflow_fn(void *arg, const froe_workflow_info *workflow);

static void tell_workflows(const struct look_request *look, const froe *engine) {
    (void)engine;
    for (size_t at = 0; at < look->found.n;) {
        struct store_workflow_info info;
        record_take(&look->found, &at, &record_workflow, &info);
        froe_workflow_info told = {
            .name = info.name.p,
            .paused = info.paused,
            .n_rules = info.n_rules,
            .queued = info.queued,
            .waiting = info.waiting,
            .running = info.leased,
            .parked = info.parked,
            .done = info.done,
            .failed = info.failed,
            .cancelled = info.cancelled,
            .last_tick_utc_us = info.last_tick_utc_us,
        };
        ((workflow_fn *)look->each)(look->arg, &told);
    }
}

static const struct kind workflows = {read_workflows, tell_workflows};

int froe_workflows_list(froe *engine, workflow_fn *each, froe_counted_fn *done, void *arg, froe_error *error) {
    struct look_call call = {engine, error, &workflows, NULL, (void (*)(void))each, done, arg};
    return engine_call_or(engine, call_look, &call, error);
}

/* ---- workers ---- */

static const size_t worker_texts[] = {offsetof(struct store_worker_info, name)};
static const struct record record_worker = {sizeof(struct store_worker_info), worker_texts, 1};

static int keep_worker(void *arg, const struct store_worker_info *info) {
    struct look_request *look = arg;
    look->count++;
    return record_keep(&look->found, &record_worker, info);
}

static int read_workers(struct look_request *look, struct store *store, struct err *err) {
    return store_workers_each(store, keep_worker, look, err);
}

typedef void worker_fn(void *arg, const froe_worker_info *worker);

static void tell_workers(const struct look_request *look, const froe *engine) {
    for (size_t at = 0; at < look->found.n;) {
        struct store_worker_info info;
        record_take(&look->found, &at, &record_worker, &info);
        froe_worker_info told = {
            .name = info.name.p,
            .self = engine->worker != 0 && engine->worker == info.id,
            .slots = info.slots,
            .leased = info.leased,
            .since_utc_us = info.since_utc_us,
            .heard_utc_us = info.heard_utc_us,
            .expires_utc_us = info.expires_utc_us,
        };
        ((worker_fn *)look->each)(look->arg, &told);
    }
}

static const struct kind workers = {read_workers, tell_workers};

int froe_workers_list(froe *engine, worker_fn *each, froe_counted_fn *done, void *arg, froe_error *error) {
    struct look_call call = {engine, error, &workers, NULL, (void (*)(void))each, done, arg};
    return engine_call_or(engine, call_look, &call, error);
}

/* ---- groups: the sums over their lanes ---- */

static const size_t lane_texts[] = {offsetof(struct store_lane_info, workflow_name),
                                    offsetof(struct store_lane_info, group)};
static const struct record record_lane = {sizeof(struct store_lane_info), lane_texts, 2};

struct lanes_reading {
    struct look_request *look;
    struct map sums; /* by workflow id and group: struct store_lane_info *, without texts */
    struct buf name;
};

static int add_lane(void *arg, const struct store_lane_info *info) {
    struct lanes_reading *reading = arg;
    if (reading->look->workflow[0] && !bytes_equal(info->workflow_name, bytes_str(reading->look->workflow)))
        return 0;
    buf_reset(&reading->name);
    int r = buf_add(&reading->name, &info->workflow, sizeof info->workflow);
    if (r == 0)
        r = buf_add_bytes(&reading->name, info->group);
    if (r < 0)
        return r;
    struct store_lane_info *sum = map_get(&reading->sums, buf_bytes(&reading->name));
    if (!sum) {
        size_t n = info->workflow_name.n + info->group.n;
        sum = mem_alloc(sizeof *sum + n + 1);
        if (!sum)
            return -ENOMEM;
        *sum = *info;
        char *texts = (char *)(sum + 1);
        sum->workflow_name.p = texts;
        sum->group.p = texts + info->workflow_name.n;
        memcpy(texts, info->workflow_name.p, info->workflow_name.n);
        if (info->group.n)
            memcpy(texts + info->workflow_name.n, info->group.p, info->group.n);
        r = map_put(&reading->sums, buf_bytes(&reading->name), sum);
        if (r < 0)
            mem_free(sum);
        return r;
    }
    sum->queued += info->queued;
    sum->leased += info->leased;
    sum->waiting += info->waiting;
    sum->parked += info->parked;
    sum->done += info->done;
    sum->failed += info->failed;
    sum->cancelled += info->cancelled;
    sum->tokens += info->tokens;
    if (info->last_granted_utc_us > sum->last_granted_utc_us)
        sum->last_granted_utc_us = info->last_granted_utc_us;
    return 0;
}

static int read_groups(struct look_request *look, struct store *store, struct err *err) {
    struct lanes_reading reading = {.look = look};
    int r = store_lanes_each(store, add_lane, &reading, err);
    size_t at = 0;
    struct bytes key;
    void *value;
    while (map_next(&reading.sums, &at, &key, &value)) {
        if (r == 0)
            r = record_keep(&look->found, &record_lane, value);
        look->count++;
        mem_free(value);
    }
    map_free(&reading.sums);
    buf_free(&reading.name);
    return r;
}

typedef void group_fn(void *arg, const froe_group_info *group);

static void tell_groups(const struct look_request *look, const froe *engine) {
    (void)engine;
    for (size_t at = 0; at < look->found.n;) {
        struct store_lane_info info;
        record_take(&look->found, &at, &record_lane, &info);
        froe_group_info told = {
            .workflow = info.workflow_name.p,
            .group = info.group.p,
            .backlog = info.queued + info.waiting,
            .leased = info.leased,
            .admitted = info.tokens,
            .limit = info.max_runs,
            .parked = info.parked,
            .done = info.done,
            .failed = info.failed,
            .cancelled = info.cancelled,
            .last_granted_utc_us = info.last_granted_utc_us,
        };
        ((group_fn *)look->each)(look->arg, &told);
    }
}

static const struct kind groups = {read_groups, tell_groups};

int froe_groups_list(froe *engine, const char *workflow, group_fn *each, froe_counted_fn *done, void *arg,
                     froe_error *error) {
    struct look_call call = {engine, error, &groups, workflow, (void (*)(void))each, done, arg};
    return engine_call_or(engine, call_look, &call, error);
}

/* ---- pausing ---- */

typedef void paused_fn(void *arg, const froe_error *error);

struct pause_request {
    struct request request;
    char workflow[FROE_NAME_MAX + 1];
    bool paused;
    paused_fn *done;
    void *arg;
};

static int execute_pause(struct request *request, struct store *store, struct err *err) {
    struct pause_request *pause = (struct pause_request *)(void *)request;
    int r = store_workflow_pause(store, bytes_str(pause->workflow), pause->paused, err);
    return r == -ENOENT ? err_set(err, r, "there is no workflow \"%s\"", pause->workflow) : r;
}

static bool has_unstarted(const froe *engine, const struct workflow *workflow) {
    LIST_EACH (link, &engine->lanes) {
        const struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        if (lane->workflow == workflow && (lane->unstarted > 0 || !list_empty(&lane->again) || lane->group->again > 0))
            return true;
    }
    return false;
}

/* Claims that were answered before it may have given runs that were not started yet: they go back. */
void pause_put_back(froe *engine, const struct workflow *workflow) {
    if (engine->state != WORKER_RUNNING || !workflow || !has_unstarted(engine, workflow))
        return;
    tasks_release_waiting(engine); /* of all workflows: it is rare, and they are claimed again at once */
    LIST_EACH_SAFE (link, following, &engine->lanes) {
        struct lane *lane = LIST_ENTRY(link, struct lane, in_lanes);
        if (lane->workflow == workflow)
            held_release(engine, lane);
    }
    settle_flush(engine);
}

static void finish_pause(struct request *request, struct froe *engine) {
    struct pause_request *pause = (struct pause_request *)(void *)request;
    froe_error storage;
    const froe_error *failed = asking_failed(request, &storage);
    const struct workflow *workflow = workflow_find(engine, pause->workflow);
    if (!failed && pause->paused)
        pause_put_back(engine, workflow);
    else if (!failed && !pause->paused)
        claims_stir(engine, NULL);
    if (pause->done)
        pause->done(pause->arg, failed);
    mem_free(pause);
}

struct pause_call {
    froe *engine;
    froe_error *error;
    const char *workflow;
    bool paused;
    paused_fn *done;
    void *arg;
};

static int call_pause(void *args) {
    const struct pause_call *call = args;
    struct bytes workflow = bytes_str(call->workflow);
    if (workflow.n == 0 || workflow.n > FROE_NAME_MAX)
        return engine_error(call->error, FROE_ERR_NOT_FOUND, "there is no workflow \"%.80s\"",
                            call->workflow ? call->workflow : "");
    int r = asking_check(call->engine, call->error);
    if (r != FROE_OK)
        return r;
    struct pause_request *pause = mem_zalloc(sizeof *pause);
    if (!pause)
        return engine_error(call->error, FROE_ERR_MEMORY, "out of memory");
    memcpy(pause->workflow, workflow.p, workflow.n);
    pause->paused = call->paused;
    pause->done = call->done;
    pause->arg = call->arg;
    pause->request.execute = execute_pause;
    pause->request.finish = finish_pause;
    settle_flush(call->engine);
    engine_submit(call->engine, &pause->request);
    return FROE_OK;
}

int froe_workflow_pause(froe *engine, const char *workflow, int paused, paused_fn *done, void *arg, froe_error *error) {
    struct pause_call call = {engine, error, workflow, paused != 0, done, arg};
    return engine_call_or(engine, call_pause, &call, error);
}
