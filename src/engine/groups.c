/* groups.c - what is known of each group: its numbers, kept up from the store's answers, and its limits for now. */
#include "asking.h"

#include "mem.h"

#define RENEW_LEAST_US (100 * US_PER_MS) /* between readings of numbers that changed */
#define RENEW_SHARED_US (2 * US_PER_S)   /* between those of a store that others change, too */
#define GROUPS_LEAST 4096                /* so many may be known before it is looked which of them can go */

struct group *group_get(struct workflow *workflow, struct bytes key, bool create) {
    struct group *group = map_get(&workflow->groups, key);
    if (group || !create)
        return group;
    group = mem_zalloc(sizeof *group);
    char *copy = mem_memdup(key.p, key.n);
    if (!group || !copy)
        goto fail;
    group->workflow = workflow;
    group->key = copy;
    group->key_n = key.n;
    group->limit = UINT32_MAX;
    list_init(&group->startable_lanes);
    list_init(&group->in_rotation);
    list_init(&group->in_paused);
    if (map_put(&workflow->groups, key, group) < 0)
        goto fail;
    return group;
fail:
    mem_free(copy);
    mem_free(group);
    return NULL;
}

uint32_t group_max_runs(const struct froe *engine, const struct group *group) {
    const struct workflow *workflow = group->workflow;
    if (workflow->group_rule >= workflow->n_rules)
        return 0;
    uint32_t max = workflow->rules[workflow->group_rule].store.max_runs;
    return engine->max_runs_of ? engine->max_runs_of(engine->max_runs_arg, workflow->name, group->key, max) : max;
}

struct group *group_ref(struct group *group) {
    group->refs++;
    return group;
}

void group_unref(struct group *group) {
    if (group)
        group->refs--;
}

void group_free(struct group *group) {
    if (!group)
        return;
    mem_free(group->key);
    mem_free(group);
}

bool group_lets(const struct group *group) {
    return group->running < group->limit && group->paused_until_mono_us == 0;
}

void groups_resume(froe *engine, int64_t now_mono_us) {
    LIST_EACH_SAFE (link, following, &engine->paused) {
        struct group *group = LIST_ENTRY(link, struct group, in_paused);
        if (group->paused_until_mono_us > now_mono_us)
            continue;
        group->paused_until_mono_us = 0;
        list_remove(link);
        engine->thirsty = true;
        held_group_update(engine, group);
    }
}

/* ---- keeping the numbers up to date ---- */

static void renewed(struct renumbering *renumbering, froe *engine) {
    engine->numbers_coming = false;
    mem_free(renumbering);
}

void groups_renew(froe *engine) {
    engine->numbers_stale = engine->dirty = true;
}

void groups_used(froe *engine) {
    engine->numbers_used = true;
}

static size_t count_groups(const froe *engine) {
    size_t n = 0;
    for (size_t i = 0; i < engine->n_workflows; i++)
        n += engine->workflows[i]->groups.count;
    return n;
}

/* When they should be read; INT64_MAX: not at all. */
static int64_t renew_at(const froe *engine) {
    if (engine->failed || engine->closing || engine->numbers_coming)
        return INT64_MAX;
    if (engine->numbers_stale || count_groups(engine) > GROUPS_LEAST + 2 * engine->groups_left)
        return engine->numbers_read_mono_us + RENEW_LEAST_US;
    return engine->shared && engine->numbers_used ? engine->numbers_read_mono_us + RENEW_SHARED_US : INT64_MAX;
}

void groups_pump(froe *engine, int64_t now) {
    if (renew_at(engine) > now)
        return;
    struct renumbering *renumbering = mem_zalloc(sizeof *renumbering);
    if (!renumbering) {
        engine_fail(engine, &(struct err){.code = -ENOMEM, .text = "out of memory"});
        return;
    }
    renumbering->told = renewed;
    engine->numbers_coming = true;
    engine->numbers_stale = engine->numbers_used = false;
    engine->numbers_read_mono_us = now;
    numbers_renew(engine, renumbering);
}

int64_t groups_next_mono_us(const froe *engine) {
    int64_t next = renew_at(engine);
    LIST_EACH (link, &engine->paused) {
        const struct group *group = LIST_ENTRY(link, struct group, in_paused);
        if (group->paused_until_mono_us < next)
            next = group->paused_until_mono_us;
    }
    return next;
}

/* ---- runs that wait for a retry ---- */

struct waiting {
    struct group *group;
    uint64_t count;
};

static struct bytes lane_key(const int64_t *lane) {
    return bytes_of(lane, sizeof *lane);
}

int group_set_waiting(froe *engine, struct group *group, int64_t lane, uint64_t count) {
    struct waiting *waiting = map_get(&engine->retries, lane_key(&lane));
    if (!waiting) {
        if (count == 0)
            return 0;
        waiting = mem_zalloc(sizeof *waiting);
        if (!waiting)
            return -ENOMEM;
        waiting->group = group;
        if (map_put(&engine->retries, lane_key(&lane), waiting) < 0) {
            mem_free(waiting);
            return -ENOMEM;
        }
    }
    group->waiting = group->waiting - waiting->count + count;
    waiting->count = count;
    if (count == 0)
        mem_free(map_remove(&engine->retries, lane_key(&lane)));
    return 0;
}

int group_add_waiting(froe *engine, struct group *group, int64_t lane) {
    const struct waiting *waiting = map_get(&engine->retries, lane_key(&lane));
    return group_set_waiting(engine, group, lane, waiting ? waiting->count + 1 : 1);
}

int group_less_waiting(froe *engine, struct group *group, int64_t lane, uint64_t by) {
    const struct waiting *waiting = map_get(&engine->retries, lane_key(&lane));
    uint64_t count = waiting ? waiting->count : 0;
    return group_set_waiting(engine, group, lane, count > by ? count - by : 0);
}

void groups_free_waiting(froe *engine) {
    size_t at = 0;
    struct bytes key;
    void *value;
    while (map_next(&engine->retries, &at, &key, &value))
        mem_free(value);
    map_free(&engine->retries);
}

/* ---- all numbers at once ---- */

struct seen_lane {
    int64_t lane;
    size_t workflow_at, workflow_n, group_at, group_n; /* in `names` */
    uint64_t live, waiting, parked, done, failed, cancelled;
    bool paused;
};

struct snapshot {
    struct buf names;
    struct seen_lane *lanes;
    size_t n, cap;
};

static int see_lane(void *arg, const struct store_lane_info *info) {
    struct snapshot *snapshot = arg;
    if (snapshot->n == snapshot->cap) {
        size_t cap = snapshot->cap ? snapshot->cap * 2 : 64;
        struct seen_lane *lanes = mem_reallocarray(snapshot->lanes, cap, sizeof *lanes);
        if (!lanes)
            return -ENOMEM;
        snapshot->lanes = lanes;
        snapshot->cap = cap;
    }
    struct seen_lane *lane = &snapshot->lanes[snapshot->n];
    *lane = (struct seen_lane){
        .lane = info->lane,
        .workflow_at = snapshot->names.n,
        .workflow_n = info->workflow_name.n,
        .group_at = snapshot->names.n + info->workflow_name.n,
        .group_n = info->group.n,
        .live = info->queued + info->leased + info->waiting,
        .waiting = info->waiting,
        .parked = info->parked,
        .done = info->done,
        .failed = info->failed,
        .cancelled = info->cancelled,
        .paused = info->paused,
    };
    int r = buf_add_bytes(&snapshot->names, info->workflow_name);
    if (r == 0)
        r = buf_add_bytes(&snapshot->names, info->group);
    if (r == 0)
        snapshot->n++;
    return r;
}

int snapshot_take(struct store *store, struct snapshot **ret_snapshot, struct err *err) {
    struct snapshot *snapshot = mem_zalloc(sizeof *snapshot);
    if (!snapshot)
        return err_set(err, -ENOMEM, "out of memory");
    int r = store_lanes_each(store, see_lane, snapshot, err);
    if (r < 0) {
        snapshot_free(snapshot);
        return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
    }
    *ret_snapshot = snapshot;
    return 0;
}

static void forget_numbers(struct workflow *workflow) {
    size_t at = 0;
    struct bytes key;
    void *value;
    while (map_next(&workflow->groups, &at, &key, &value)) {
        struct group *group = value;
        group->live = group->waiting = group->parked = group->done = group->failed = group->cancelled = 0;
    }
}

static bool is_unknown(const struct group *group) {
    return group->refs == 0 && group->limit == UINT32_MAX && group->paused_until_mono_us == 0 &&
           !(group->live || group->waiting || group->parked || group->done || group->failed || group->cancelled);
}

static int drop_unknown(struct workflow *workflow) {
    struct map known = {0};
    size_t at = 0, n_unknown = 0;
    struct bytes key;
    void *group;
    while (map_next(&workflow->groups, &at, &key, &group))
        n_unknown += is_unknown(group);
    if (n_unknown == 0)
        return 0;
    for (at = 0; map_next(&workflow->groups, &at, &key, &group);)
        if (!is_unknown(group) && map_put(&known, key, group) < 0) {
            map_free(&known);
            return -ENOMEM;
        }
    for (at = 0; map_next(&workflow->groups, &at, &key, &group);)
        if (is_unknown(group))
            group_free(group);
    map_free(&workflow->groups);
    workflow->groups = known;
    return 0;
}

int snapshot_apply(froe *engine, const struct snapshot *snapshot) {
    groups_free_waiting(engine);
    for (size_t i = 0; i < engine->n_workflows; i++)
        forget_numbers(engine->workflows[i]);
    for (size_t i = 0; i < snapshot->n; i++) {
        const struct seen_lane *lane = &snapshot->lanes[i];
        struct workflow *workflow =
            workflow_find_or_add(engine, bytes_of(snapshot->names.p + lane->workflow_at, lane->workflow_n));
        struct group *group =
            workflow ? group_get(workflow, bytes_of(snapshot->names.p + lane->group_at, lane->group_n), true) : NULL;
        if (!group || group_set_waiting(engine, group, lane->lane, lane->waiting) < 0)
            return -ENOMEM;
        group->live += lane->live;
        group->parked += lane->parked;
        group->done += lane->done;
        group->failed += lane->failed;
        group->cancelled += lane->cancelled;
    }
    for (size_t i = 0; i < engine->n_workflows; i++)
        if (drop_unknown(engine->workflows[i]) < 0)
            return -ENOMEM;
    engine->groups_left = count_groups(engine);
    return 0;
}

void snapshot_heed_pauses(froe *engine, const struct snapshot *snapshot) {
    for (size_t i = 0; i < snapshot->n; i++) {
        const struct seen_lane *lane = &snapshot->lanes[i];
        if (lane->paused)
            pause_put_back(engine, workflow_find_or_add(
                                       engine, bytes_of(snapshot->names.p + lane->workflow_at, lane->workflow_n)));
    }
}

void snapshot_free(struct snapshot *snapshot) {
    if (!snapshot)
        return;
    buf_free(&snapshot->names);
    mem_free(snapshot->lanes);
    mem_free(snapshot);
}

/* ---- public ---- */

static void tell(const froe *engine, const struct group *group, froe_group *ret_group) {
    const struct workflow *workflow = group->workflow;
    int64_t paused_us = group->paused_until_mono_us ? group->paused_until_mono_us - engine_mono_us(engine) : 0;
    *ret_group = (froe_group){
        .workflow = workflow->name,
        .group = group->key,
        .live = group->live,
        .running = group->running,
        .waiting = group->waiting + group->again,
        .parked = group->parked,
        .done = group->done,
        .failed = group->failed,
        .cancelled = group->cancelled,
        .max_runs = group_max_runs(engine, group),
        .limit = group->limit,
        .paused_us = paused_us > 0 ? paused_us : 0,
    };
}

struct group_call {
    froe *engine;
    const char *workflow, *group;
    froe_group *ret_group;
    void (*each)(void *arg, const froe_group *group);
    void *arg;
    uint32_t max_running;
    int64_t pause_us;
};

static int get(void *arg) {
    const struct group_call *call = arg;
    const struct workflow *workflow = workflow_find(call->engine, call->workflow);
    const struct group *group = workflow ? map_get(&workflow->groups, bytes_str(call->group)) : NULL;
    if (group)
        tell(call->engine, group, call->ret_group);
    call->ret_group->workflow = call->workflow; /* the engine's own names may be gone before the caller has read them */
    call->ret_group->group = call->group;
    groups_used(call->engine);
    return FROE_OK;
}

void froe_group_get(froe *engine, const char *workflow, const char *group, froe_group *ret_group) {
    *ret_group = (froe_group){.workflow = workflow, .group = group, .limit = UINT32_MAX};
    struct group_call call = {.engine = engine, .workflow = workflow, .group = group, .ret_group = ret_group};
    engine_call(engine, get, &call);
}

static int tell_each(void *arg) {
    const struct group_call *call = arg;
    froe *engine = call->engine;
    for (size_t i = 0; i < engine->n_workflows; i++) {
        const struct workflow *workflow = engine->workflows[i];
        if (call->workflow && strcmp(workflow->name, call->workflow) != 0)
            continue;
        size_t at = 0;
        struct bytes key;
        void *value;
        while (map_next(&workflow->groups, &at, &key, &value)) {
            froe_group told;
            tell(engine, value, &told);
            if (told.live || told.running || told.parked || told.done || told.failed || told.cancelled)
                call->each(call->arg, &told);
        }
    }
    groups_used(engine);
    return FROE_OK;
}

void froe_groups_each(froe *engine, const char *workflow, void (*each)(void *arg, const froe_group *group), void *arg) {
    struct group_call call = {.engine = engine, .workflow = workflow, .each = each, .arg = arg};
    engine_call(engine, tell_each, &call);
}

static int limit(void *arg) {
    const struct group_call *call = arg;
    froe *engine = call->engine;
    struct workflow *workflow = call->workflow ? workflow_find(engine, call->workflow) : NULL;
    if (!workflow)
        return FROE_ERR_NOT_FOUND;
    if (!call->group || strlen(call->group) > FROE_KEY_MAX || call->pause_us < 0)
        return FROE_ERR_INVALID;
    struct group *group = group_get(workflow, bytes_str(call->group), true);
    if (!group)
        return FROE_ERR_MEMORY;
    group->limit = call->max_running;
    list_remove(&group->in_paused);
    group->paused_until_mono_us = 0;
    if (call->pause_us > 0) {
        if (__builtin_add_overflow(engine_mono_us(engine), call->pause_us, &group->paused_until_mono_us))
            group->paused_until_mono_us = INT64_MAX;
        list_push_back(&engine->paused, &group->in_paused);
    }
    held_group_update(engine, group);
    engine->thirsty = true;
    engine->dirty = true;
    return FROE_OK;
}

int froe_group_limit(froe *engine, const char *workflow, const char *group, uint32_t max_running, int64_t pause_us) {
    struct group_call call = {
        .engine = engine, .workflow = workflow, .group = group, .max_running = max_running, .pause_us = pause_us};
    return engine_call_or(engine, limit, &call, NULL);
}
