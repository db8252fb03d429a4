/* pipeline.c - puts the three workflows together, and knows when a drain has come to its end. */
#include "private.h"

#define LOOK_MS 20
#define LOOK_FLEET_US (300 * US_PER_MS) /* between questions to a store that others change */

const char *pipeline_guard_name(enum pipeline_guard guard) {
    static const char *const names[] = {"unknown", "guarded", "versioned", "unguarded"};
    return names[guard];
}

static int add_workflows(struct pipeline *pipeline, struct err *err) {
    const struct pipeline_options *options = &pipeline->options;
    const froe_rule singleton = {"'singleton'", 1, FROE_CANCEL_NEWEST};
    const froe_rule pollers[] = {{"input.bucket", 1, FROE_CANCEL_NEWEST},
                                 {"input.bucket", 1, FROE_GROUP_ROUND_ROBIN}, /* makes the bucket the group */
                                 {"'constant'", options->max_pollers, FROE_GROUP_ROUND_ROBIN}};
    const froe_rule per_bucket = {"input.bucket", options->max_runs_per_bucket, FROE_GROUP_ROUND_ROBIN};
    const froe_workflow workflows[] = {
        {
            .size = sizeof(froe_workflow),
            .name = PIPELINE_FETCH_BUCKETS,
            .run = fetch_buckets_run,
            .cancel = fetch_buckets_cancel,
            .arg = pipeline,
            .rules = &singleton,
            .n_rules = 1,
            .cron = options->once ? NULL : pipeline->cron,
        },
        {
            .size = sizeof(froe_workflow),
            .name = PIPELINE_FETCH_OBJECTS,
            .run = fetch_objects_run,
            .cancel = fetch_objects_cancel,
            .arg = pipeline,
            .rules = pollers,
            .n_rules = 3,
        },
        {
            .size = sizeof(froe_workflow),
            .name = PIPELINE_PROCESS_OBJECT,
            .run = process_object_run,
            .cancel = process_object_cancel,
            .arg = pipeline,
            .rules = &per_bucket,
            .n_rules = 1,
            .retries = PIPELINE_RETRIES_MAX, /* which attempt is the last is the rule's to say */
            .timeout_us = pipeline->timeout_us,
            .backoff_us = options->backoff_us,
        },
    };
    for (size_t i = 0; i < sizeof workflows / sizeof workflows[0]; i++) {
        froe_error error = {0};
        int r = froe_workflow_add(options->engine, &workflows[i], &error);
        if (r != FROE_OK)
            return err_set(err, r, "%s", error.text);
    }
    return 0;
}

int pipeline_new(uv_loop_t *loop, const struct pipeline_options *options, struct pipeline **ret_pipeline,
                 struct err *err) {
    struct pipeline *pipeline = mem_zalloc(sizeof *pipeline);
    if (!pipeline)
        return err_set(err, -ENOMEM, "out of memory");
    pipeline->loop = loop;
    pipeline->options = *options;
    pipeline->timeout_us = options->plan->way.timeout_us;
    plan_settle(options->plan);
    if (!pipeline->options.clock)
        pipeline->options.clock = &clock_system;
    list_init(&pipeline->free_objects);
    list_init(&pipeline->guard.waiting);
    pipeline->guard.state = options->trust_if_match ? PROBE_GUARDED : PROBE_NEEDED;
    rng_seed_system(&pipeline->rng);
    pipeline->prefix = mem_strdup(options->bucket_prefix);
    pipeline->cron = mem_strdup(options->cron ? options->cron : "");
    int r = pipeline->prefix && pipeline->cron ? 0 : err_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        r = add_workflows(pipeline, err);
    if (r < 0) {
        mem_free(pipeline->prefix);
        mem_free(pipeline->cron);
        mem_free(pipeline);
        return r;
    }
    pipeline->options.bucket_prefix = pipeline->prefix;
    uv_timer_init(loop, &pipeline->timer);
    pipeline->timer.data = pipeline;
    *ret_pipeline = pipeline;
    return 0;
}

void pipeline_end(struct pipeline *pipeline, enum pipeline_end end, const char *text) {
    if (pipeline->ended)
        return;
    pipeline->ended = true;
    uv_timer_stop(&pipeline->timer);
    pipeline->options.ended(pipeline->options.arg, end, text);
}

/* Counted from the first failure on, as there may be no calls at all while the user's code takes its time. */
static void note_unreachable(struct pipeline *pipeline, const struct s3_result *result) {
    int64_t now = pipeline_mono_us(pipeline);
    if (!pipeline->unreachable) {
        pipeline->unreachable = true;
        pipeline->unreachable_mono_us = now;
    } else if (pipeline->options.once && now - pipeline->unreachable_mono_us > PIPELINE_GIVE_UP_US)
        pipeline_end(pipeline, PIPELINE_UNREACHABLE, result->text);
}

void pipeline_note(struct pipeline *pipeline, struct bucket *bucket, const struct s3_result *result) {
    if (result->throttled && bucket)
        throttle_hit(bucket, result->duration_us);
    switch (result->status) {
    case S3_OK:
        if (bucket && !result->throttled)
            throttle_success(bucket);
        break;
    case S3_UNREACHABLE:
        note_unreachable(pipeline, result);
        return;
    case S3_CREDENTIALS:
        if (!pipeline->s3_worked || pipeline->options.once)
            pipeline_end(pipeline, PIPELINE_NO_CREDENTIALS, result->text);
        return;
    case S3_CANCELLED:
    case S3_TIMEOUT:
    case S3_NO_MEMORY:
    case S3_BAD_REQUEST:
        return;
    default: /* any other answer shows that somebody is there */
        break;
    }
    pipeline->s3_worked = true;
    pipeline->unreachable = false;
}

bool pipeline_wants(struct pipeline *pipeline, struct bytes bucket, const struct bytes *key) {
    if (bytes_starts(bucket, bytes_str(pipeline->prefix)) &&
        (!key || pipeline_plan_wants(pipeline->options.plan, bucket, key)))
        return true;
    if (!pipeline->left_alone)
        log_info(pipeline->options.log,
                 "the store has work of an earlier run that the prefix, the patterns or the rules leave out now; it is "
                 "dropped, the objects are left alone",
                 LOG_BYTES("bucket", bucket));
    pipeline->left_alone = true;
    return false;
}

/* ---- what is left to do? ---- */

static void add_live(void *arg, const froe_group *group) {
    *(uint64_t *)arg += group->live;
}

bool pipeline_listing_complete(const struct pipeline *pipeline) {
    if (!pipeline->buckets_listed || pipeline->options.fleet)
        return false;
    struct bytes name;
    void *value;
    for (size_t at = 0; map_next(&pipeline->buckets, &at, &name, &value);) {
        const struct bucket *bucket = value;
        if (bucket->lister_spawned || (bucket->stats.listing == LISTING_PARTIAL && !bucket->listing_failed))
            return false;
    }
    return true;
}

static void end_drained(struct pipeline *pipeline) {
    bool failed = false, denied = false;
    struct bytes name;
    void *value;
    for (size_t at = 0; map_next(&pipeline->buckets, &at, &name, &value);) {
        failed |= ((struct bucket *)value)->listing_failed;
        denied |= ((struct bucket *)value)->listing_denied;
    }
    if (denied)
        pipeline_end(pipeline, PIPELINE_DENIED, "not every bucket may be listed");
    else if (failed)
        pipeline_end(pipeline, PIPELINE_LISTING_FAILED, "not every bucket could be listed");
    else
        pipeline_end(pipeline, PIPELINE_DRAINED, "");
}

static void look_whether_drained(struct pipeline *pipeline) {
    if (!pipeline_listing_complete(pipeline))
        return;
    uint64_t live = 0;
    froe_groups_each(pipeline->options.engine, NULL, add_live, &live);
    if (live == 0)
        end_drained(pipeline);
}

/* ---- likewise, in a fleet ---- */

static void pass_spawned(void *arg, const froe_spawned *spawned, const froe_error *error) {
    struct pipeline *pipeline = arg;
    /* Refused: an earlier pass is under way, which may have seen too little. */
    pipeline->pass = spawned && spawned->created > 0 ? PASS_SPAWNED : PASS_NONE;
}

static int spawn_pass(struct pipeline *pipeline, froe_error *error) {
    froe_spawn spawn = {.size = sizeof spawn, .workflow = PIPELINE_FETCH_BUCKETS, .n = 1};
    int r = froe_spawn_many(pipeline->options.engine, &spawn, pass_spawned, pipeline, error);
    if (r == FROE_OK)
        pipeline->pass = PASS_ASKED;
    return r;
}

static void add_fleets_live(void *arg, const froe_group_info *group) {
    ((struct pipeline *)arg)->live += group->backlog + group->leased;
}

static void fleet_told(void *arg, uint64_t count, const froe_error *error) {
    struct pipeline *pipeline = arg;
    pipeline->looking = false;
    if (!error && pipeline->live == 0 && !pipeline->ended)
        end_drained(pipeline);
}

/* A pass that began after this process did, and nothing live in the store: a bucket's lister is live until it has seen
 * the last key, and what a run spawns is there before the run has ended. */
static void look_whether_fleet_drained(struct pipeline *pipeline) {
    int64_t now = pipeline_mono_us(pipeline);
    if (pipeline->ended || pipeline->looking || now - pipeline->looked_mono_us < LOOK_FLEET_US)
        return;
    pipeline->looked_mono_us = now;
    if (pipeline->pass == PASS_NONE) {
        spawn_pass(pipeline, NULL);
    } else if (pipeline->pass == PASS_SPAWNED) {
        pipeline->live = 0;
        pipeline->looking =
            froe_groups_list(pipeline->options.engine, NULL, add_fleets_live, fleet_told, pipeline, NULL) == FROE_OK;
    }
}

/* The engine's numbers follow what tasks do a little later, so the end of a bucket's last run is too early to see that
 * there is room again. */
static void look(uv_timer_t *timer) {
    struct pipeline *pipeline = timer->data;
    bool waits = false;
    struct bytes name;
    void *value;
    for (size_t at = 0; map_next(&pipeline->buckets, &at, &name, &value);) {
        struct bucket *bucket = value;
        bucket_refill(bucket);
        waits |= bucket->stats.listing == LISTING_PARTIAL && !bucket->listing_failed;
    }
    if (pipeline->options.once && pipeline->options.fleet)
        look_whether_fleet_drained(pipeline);
    else if (pipeline->options.once)
        look_whether_drained(pipeline);
    else if (!waits)
        uv_timer_stop(timer);
}

void pipeline_watch(struct pipeline *pipeline) {
    if (!pipeline->ended && !uv_is_active((uv_handle_t *)&pipeline->timer))
        uv_timer_start(&pipeline->timer, look, LOOK_MS, LOOK_MS);
}

int pipeline_begin(struct pipeline *pipeline, struct err *err) {
    froe_error error = {0};
    int r = spawn_pass(pipeline, &error);
    if (r != FROE_OK)
        return err_set(err, r, "%s", error.text);
    records_ask(pipeline);
    if (pipeline->options.once)
        pipeline_watch(pipeline);
    return 0;
}

void pipeline_buckets_each(struct pipeline *pipeline, void (*each)(void *arg, const struct pipeline_bucket *bucket),
                           void *arg) {
    struct bytes name;
    void *value;
    for (size_t at = 0; map_next(&pipeline->buckets, &at, &name, &value);)
        each(arg, &((struct bucket *)value)->stats);
}

static void timer_closed(uv_handle_t *handle) {
    struct pipeline *pipeline = handle->data;
    void (*closed)(void *arg) = pipeline->closed;
    void *arg = pipeline->closed_arg;
    struct bytes name;
    void *value;
    for (size_t at = 0; map_next(&pipeline->buckets, &at, &name, &value);)
        bucket_free(value);
    map_free(&pipeline->buckets);
    process_object_free_all(pipeline);
    mem_free(pipeline->prefix);
    mem_free(pipeline->cron);
    mem_free(pipeline);
    closed(arg);
}

void pipeline_close(struct pipeline *pipeline, void (*closed)(void *arg), void *arg) {
    pipeline->closed = closed;
    pipeline->closed_arg = arg;
    pipeline->ended = true;
    uv_close((uv_handle_t *)&pipeline->timer, timer_closed);
}
