/* fetch_buckets.c - fetch_s3_buckets: pages through the buckets and spawns a fetch_s3_objects for each.
 *
 * Those that no rule can want anything of are listed for their number alone, so less often. */
#include "private.h"

#include "text.h"

struct buckets_task {
    struct pipeline *pipeline;
    froe_task *task;
    struct s3_call *call;
    struct buf token; /* of the next page; empty after the last */
    uint64_t found, unwanted;
    struct buf first_unwanted; /* its name */
};

static void next_page(struct buckets_task *run);

static froe_task *dispose(struct buckets_task *run) {
    froe_task *task = run->task;
    buf_free(&run->token);
    buf_free(&run->first_unwanted);
    mem_free(run);
    return task;
}

/* The next tick is the retry; with --once there is none, so the same run comes again. In a fleet others have to see,
 * too, that it cannot be done. */
static void fail(struct buckets_task *run, const char *text) {
    struct pipeline *pipeline = run->pipeline;
    if (pipeline->options.once && (!pipeline->ended || pipeline->options.fleet))
        froe_task_again(dispose(run), US_PER_S, text);
    else
        froe_task_fail(dispose(run), FROE_FAIL_FORGET, text);
}

/* A pattern that was mistyped would else show in numbers alone. Said once for a number of buckets. */
static void tell_unwanted(struct buckets_task *run) {
    struct pipeline *pipeline = run->pipeline;
    if (run->unwanted > 0 && run->unwanted != pipeline->unwanted_buckets)
        LOG_AT(pipeline->options.log, run->unwanted == run->found ? LOG_WARN : LOG_INFO,
               "no rule wants anything of some buckets; their objects are left alone and counted",
               LOG_INT("buckets", (int64_t)run->unwanted), LOG_BYTES("first", buf_bytes(&run->first_unwanted)));
    pipeline->unwanted_buckets = run->unwanted;
}

static void spawned(void *arg, const froe_spawned *result, const froe_error *error) {
    struct buckets_task *run = arg;
    (void)result;
    if (error) {
        fail(run, error->text);
        return;
    }
    if (run->token.n > 0) {
        next_page(run);
        return;
    }
    run->pipeline->buckets_listed = true;
    log_debug(run->pipeline->options.log, "buckets listed", LOG_INT("buckets", (int64_t)run->found));
    tell_unwanted(run);
    if (run->found == 0)
        log_warn(run->pipeline->options.log, "no bucket's name starts with the prefix",
                 LOG_STR("prefix", run->pipeline->prefix));
    froe_task_succeed(dispose(run));
}

static bool is_wanted(const struct pipeline *pipeline, struct bytes bucket) {
    return pipeline_plan_wants(pipeline->options.plan, bucket, NULL);
}

static bool is_due(const struct bucket *bucket, bool wanted) {
    const struct pipeline *pipeline = bucket->pipeline;
    if (pipeline->options.once && !pipeline->options.fleet &&
        (bucket->lister_spawned || bucket->stats.listing != LISTING_NONE))
        return false; /* --once lists each bucket once */
    return wanted || pipeline_mono_us(pipeline) >= bucket->count_due_mono_us;
}

static void note_lister(struct bucket *bucket) {
    const struct pipeline *pipeline = bucket->pipeline;
    bucket->lister_spawned |= !pipeline->options.fleet;
    bucket->count_due_mono_us =
        is_wanted(pipeline, bucket->stats.name) ? 0 : pipeline_mono_us(pipeline) + COUNT_EVERY_US;
}

/* One item a bucket, each with its own input: the bucket is what the rules of fetch_s3_objects group by. */
static int spawn_page(struct buckets_task *run, const struct s3_bucket_page *page) {
    struct pipeline *pipeline = run->pipeline;
    _cleanup_free_ froe_item *items = mem_calloc(page->n, sizeof *items);
    _cleanup_free_ size_t *at = mem_calloc(page->n, sizeof *at);
    _cleanup_buf_ struct buf inputs = {0};
    if (!items || !at)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < page->n; i++) {
        struct bytes name = page->buckets[i].name;
        run->found++;
        bool wanted = is_wanted(pipeline, name);
        if (!wanted && run->unwanted++ == 0 && buf_add_bytes(&run->first_unwanted, name) < 0)
            return -ENOMEM;
        struct bucket *bucket = bucket_get(pipeline, name);
        if (!bucket)
            return -ENOMEM;
        if (!is_due(bucket, wanted))
            continue;
        at[n] = inputs.n;
        if (buf_add_str(&inputs, "{\"bucket\":") < 0 || text_add_json(&inputs, name) < 0 ||
            buf_add(&inputs, "}", 2) < 0)
            return -ENOMEM;
        items[n] = (froe_item){.child_key = bucket->name, .child_key_n = name.n};
        n++;
    }
    for (size_t i = 0; i < n; i++)
        items[i].input = inputs.p + at[i];
    if (n == 0) {
        spawned(run, NULL, NULL);
        return 0;
    }
    froe_spawn spawn = {
        .size = sizeof spawn, .workflow = PIPELINE_FETCH_OBJECTS, .parent = run->task, .items = items, .n = n};
    int r = froe_spawn_many(pipeline->options.engine, &spawn, spawned, run, NULL);
    for (size_t i = 0; r == FROE_OK && i < n; i++)
        note_lister(bucket_get(pipeline, bytes_of(items[i].child_key, items[i].child_key_n)));
    return r;
}

static void listed(void *arg, const struct s3_result *result, const struct s3_bucket_page *page) {
    struct buckets_task *run = arg;
    struct pipeline *pipeline = run->pipeline;
    run->call = NULL;
    bool first_answer = !pipeline->s3_worked;
    pipeline_note(pipeline, NULL, result);
    if (result->status == S3_CANCELLED) {
        froe_task_again(dispose(run), 0, "stopped");
        return;
    }
    if (result->status != S3_OK) {
        log_error(pipeline->options.log, "buckets cannot be listed", LOG_STR("error", result->text));
        if (result->status == S3_DENIED && (first_answer || pipeline->options.once))
            pipeline_end(pipeline, PIPELINE_DENIED, result->text);
        if (result->status == S3_UNREACHABLE && first_answer && pipeline->options.once)
            pipeline_end(pipeline, PIPELINE_UNREACHABLE, result->text);
        bool passing = result->status == S3_UNREACHABLE || result->status == S3_THROTTLED;
        if (pipeline->options.once && !passing && ++pipeline->bucket_list_failures > LIST_FAILURES_MAX)
            pipeline_end(pipeline, PIPELINE_LISTING_FAILED, result->text);
        fail(run, result->text);
        return;
    }
    pipeline->bucket_list_failures = 0;
    buf_reset(&run->token);
    if (buf_add_bytes(&run->token, page->next_token) < 0 || spawn_page(run, page) < 0)
        fail(run, "out of memory");
}

static void next_page(struct buckets_task *run) {
    struct pipeline *pipeline = run->pipeline;
    if (s3_list_buckets(pipeline->options.s3, bytes_str(pipeline->prefix), buf_bytes(&run->token), listed, run,
                        &run->call) < 0)
        fail(run, "out of memory");
}

void fetch_buckets_run(froe_task *task, void *arg) {
    struct buckets_task *run = mem_zalloc(sizeof *run);
    if (!run) {
        froe_task_again(task, US_PER_S, "out of memory");
        return;
    }
    run->pipeline = arg;
    run->task = task;
    froe_task_set_data(task, run);
    next_page(run);
}

void fetch_buckets_cancel(froe_task *task, void *arg) {
    (void)arg;
    struct buckets_task *run = froe_task_data(task);
    if (run && run->call)
        s3_cancel(run->call);
}
