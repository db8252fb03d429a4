/* fetch_objects.c - fetch_s3_objects: lists a bucket from its cursor while there is look-ahead, spawns a process_object
 * per key, and ends; it never waits for room on its slot. After PAGES_A_TURN pages it ends, too, so that buckets of
 * which little is taken let others be listed.
 *
 * The saved value "cursor/<bucket>" is the key after which to go on; none means from the start. It is saved after the
 * spawns it stands for, and values become durable in order, so a crash lists some keys again but never skips one; those
 * that are live are duplicates and dropped by their child keys.
 *
 * When a lister ends before the last key this process spawns the next one when there is room. In a fleet that would be
 * lost with the process, and those who make room may be others: there the same run is put back into the queue for a
 * while. It holds no slot meanwhile, stays the bucket's only lister, and any host may go on with it.
 *
 * A bucket that no rule can want anything of is listed for the number of its objects. That it cannot be is worth a
 * line, but no failure. */
#include "private.h"

#include "text.h"

#define PAGES_A_TURN 50

struct objects_task {
    struct pipeline *pipeline;
    struct bucket *bucket;
    froe_task *task;
    struct s3_call *call;
    struct buf cursor; /* the last key whose page was spawned, or whose page is being spawned */
    bool truncated;    /* more follows it */
    uint32_t pages;    /* of this turn */
    uint64_t skipped[SKIP_KINDS];
};

static const char begun[] = "begun"; /* the checkpoint of a run that was put back */

static void next_page(struct objects_task *run);

/* FROE_VALUE names are text and cursors are bytes, so only the bucket's name is in the value's name. */
static void save_cursor(struct objects_task *run, struct bytes cursor) {
    _cleanup_buf_ struct buf name = {0};
    if (buf_printf(&name, "cursor/%s", run->bucket->name) == 0 &&
        froe_value_put(run->pipeline->options.engine, name.p, cursor.p, cursor.n, NULL, NULL, NULL) == FROE_OK)
        run->bucket->restart = false;
    bucket_set_cursor(run->bucket,
                      cursor); /* on failure the status shows the old one; the next listing reads the saved one */
}

static froe_task *dispose(struct objects_task *run) {
    froe_task *task = run->task;
    run->bucket->lister_spawned = false;
    buf_free(&run->cursor);
    mem_free(run);
    return task;
}

static void uncounted(struct objects_task *run, const char *text) {
    struct bucket *bucket = run->bucket;
    if (!bucket->uncounted)
        log_info(
            run->pipeline->options.log,
            "a bucket that no rule wants anything of cannot be listed; its objects are left alone, and not counted",
            LOG_BYTES("bucket", bucket->stats.name), LOG_STR("error", text));
    bucket->uncounted = true;
    bucket->count_due_mono_us = 0;
    bucket->stats.listing = LISTING_NONE; /* not to be gone on with before the next tick */
    bucket->listing_failed = bucket->listing_denied = false;
}

static void fail(struct objects_task *run, const char *text) {
    struct pipeline *pipeline = run->pipeline;
    struct bytes name = run->bucket->stats.name;
    if (pipeline_plan_wants(pipeline->options.plan, name, NULL)) {
        log_error(pipeline->options.log, "bucket cannot be listed", LOG_BYTES("bucket", name), LOG_STR("error", text));
        run->bucket->listing_failed = true;
    } else
        uncounted(run, text);
    _cleanup_buf_ struct buf copy = {0};
    const char *kept = buf_add_str(&copy, text) == 0 ? copy.p : "listing failed";
    froe_task_fail(dispose(run), FROE_FAIL_FORGET, kept); /* the next tick is the retry */
}

/* The same run comes again, from the cursor that was saved last. */
static void again(struct objects_task *run, int64_t delay_us, const char *text) {
    struct bucket *bucket = run->bucket;
    _cleanup_buf_ struct buf copy = {0};
    const char *kept = buf_add_str(&copy, text) == 0 ? copy.p : "listing failed";
    froe_task_again(dispose(run), delay_us, kept);
    bucket->lister_spawned = true;
}

/* What may pass is tried again with --once, where no next tick would do it. */
static void fail_for_now(struct objects_task *run, const char *text) {
    if (!run->pipeline->options.once || ++run->bucket->list_failures > LIST_FAILURES_MAX) {
        fail(run, text);
        return;
    }
    log_warn(run->pipeline->options.log, "listing will be tried again", LOG_BYTES("bucket", run->bucket->stats.name),
             LOG_STR("error", text));
    again(run, throttle_delay_us(run->bucket), text);
}

static void settle_listing(struct objects_task *run, enum pipeline_listing listing, struct bytes cursor) {
    struct bucket *bucket = run->bucket;
    save_cursor(run, cursor);
    bucket->stats.listing = listing;
    bucket->listing_failed = bucket->listing_denied = bucket->uncounted = false;
    bucket_set_skipped(bucket, run->skipped);
    bucket_note_listing(bucket);
}

/* The whole bucket was seen: the next pass begins at its first key. */
static void complete(struct objects_task *run) {
    settle_listing(run, LISTING_COMPLETE, BYTES_NONE);
    froe_task_succeed(dispose(run));
}

/* A later turn goes on with it, in a fleet after the delay. */
static void end_turn(struct objects_task *run, int64_t delay_us, const char *text) {
    struct pipeline *pipeline = run->pipeline;
    settle_listing(run, LISTING_PARTIAL, buf_bytes(&run->cursor));
    if (pipeline->options.fleet) {
        froe_task_set_checkpoint(run->task, begun, sizeof begun - 1); /* without memory: from the first key again */
        froe_task_again(dispose(run), delay_us, text);
        return;
    }
    froe_task_succeed(dispose(run));
    pipeline_watch(pipeline); /* the backlog may have drained while the last page was on its way */
}

static void spawned(void *arg, const froe_spawned *result, const froe_error *error) {
    struct objects_task *run = arg;
    if (error) {
        fail(run, error->text);
        return;
    }
    run->bucket->stats.listed += result->created;
    if (run->truncated)
        next_page(run);
    else
        complete(run);
}

/* -ENOMEM, or 0 and how many items; keys of the page go into `keys` as "bucket/key" one after the other. */
static int take_page(struct objects_task *run, const struct s3_object_page *page, froe_item *items, bool *may_be_kept,
                     struct buf *keys, size_t *ret_n) {
    struct pipeline *pipeline = run->pipeline;
    int64_t now = clock_utc_us(pipeline->options.clock);
    size_t n = 0, total = 0;
    for (size_t i = 0; i < page->n; i++)
        total += run->bucket->stats.name.n + 1 + page->objects[i].key.n;
    int r = buf_reserve(keys, total); /* so that the items' pointers stay */
    if (r < 0)
        return r;
    for (size_t i = 0; i < page->n; i++) {
        const struct s3_object *object = &page->objects[i];
        enum pipeline_skip skip = pipeline_plan_object(pipeline->options.plan, run->bucket->stats.name, object, now);
        run->skipped[skip]++;
        if (skip != SKIP_NOT)
            continue;
        size_t at = keys->n;
        r = buf_add_bytes(keys, run->bucket->stats.name);
        r = r < 0 ? r : buf_add_byte(keys, '/');
        r = r < 0 ? r : buf_add_bytes(keys, object->key);
        if (r < 0)
            return r;
        may_be_kept[n] = plan_may_keep(pipeline->options.plan, run->bucket->stats.name, object);
        items[n++] = (froe_item){.child_key = keys->p + at,
                                 .child_key_n = keys->n - at,
                                 .generation = object->etag.p,
                                 .generation_n = object->etag.n};
    }
    *ret_n = n;
    return 0;
}

static void list_failed(struct objects_task *run, const struct s3_result *result) {
    struct pipeline *pipeline = run->pipeline;
    if (result->status == S3_NO_BUCKET) { /* deleted since it was found */
        log_info(pipeline->options.log, "bucket is gone", LOG_BYTES("bucket", run->bucket->stats.name));
        complete(run);
        return;
    }
    if (run->cursor.n > 0) { /* the pages before this one need not be listed again */
        save_cursor(run, buf_bytes(&run->cursor));
        bucket_set_skipped(run->bucket, run->skipped);
        bucket_note_listing(run->bucket);
    }
    enum s3_status status = result->status;
    run->bucket->listing_denied = status == S3_DENIED;
    if (status == S3_THROTTLED || (status == S3_UNREACHABLE && pipeline->options.once)) /* the pipeline may give up */
        again(run, throttle_delay_us(run->bucket), result->text);
    else if (status == S3_DENIED || status == S3_BAD_REQUEST || status == S3_CREDENTIALS)
        fail(run, result->text);
    else
        fail_for_now(run, result->text);
}

static void spawn_page(struct objects_task *run, const froe_item *items, size_t n) {
    if (n == 0) {
        if (run->truncated)
            next_page(run);
        else
            complete(run);
        return;
    }
    froe_spawn spawn = {.size = sizeof spawn,
                        .workflow = PIPELINE_PROCESS_OBJECT,
                        .parent = run->task,
                        .input = froe_task_input(run->task),
                        .items = items,
                        .n = n};
    froe_error error = {0};
    if (froe_spawn_many(run->pipeline->options.engine, &spawn, spawned, run, &error) != FROE_OK)
        fail_for_now(run, error.text);
}

static void records_told(void *arg, const froe_item *items, size_t n, size_t n_kept) {
    struct objects_task *run = arg;
    if (!items) {
        fail_for_now(run, "the records of what was kept cannot be read");
        return;
    }
    run->skipped[SKIP_KEPT] += n_kept;
    run->skipped[SKIP_NOT] -= n_kept;
    spawn_page(run, items, n);
}

static void listed(void *arg, const struct s3_result *result, const struct s3_object_page *page) {
    struct objects_task *run = arg;
    struct pipeline *pipeline = run->pipeline;
    run->call = NULL;
    pipeline_note(pipeline, run->bucket, result);
    if (result->status == S3_CANCELLED) {
        again(run, 0, "stopped");
        return;
    }
    if (result->status != S3_OK) {
        list_failed(run, result);
        return;
    }
    run->bucket->list_failures = 0;
    _cleanup_free_ froe_item *items = mem_calloc(page->n, sizeof *items);
    _cleanup_free_ bool *may_be_kept = mem_calloc(page->n, sizeof *may_be_kept);
    _cleanup_buf_ struct buf keys = {0};
    size_t n;
    if (!items || !may_be_kept || take_page(run, page, items, may_be_kept, &keys, &n) < 0) {
        fail_for_now(run, "out of memory");
        return;
    }
    if (page->truncated && bytes_compare(page->last_key, buf_bytes(&run->cursor)) <= 0) {
        fail(run, "the server's listing does not go on: it ignores start-after, or its keys are not sorted");
        return;
    }
    run->truncated = page->truncated;
    if (page->last_key.n > 0) {
        buf_reset(&run->cursor);
        if (buf_add_bytes(&run->cursor, page->last_key) < 0) {
            fail_for_now(run, "out of memory");
            return;
        }
    }
    int r = records_filter_page(pipeline, run->bucket->stats.name, items, may_be_kept, n, records_told, run);
    if (r > 0)
        spawn_page(run, items, n);
    else if (r < 0)
        fail_for_now(run, "out of memory");
}

static uint64_t room_of(const struct bucket *bucket) {
    const struct pipeline_options *options = &bucket->pipeline->options;
    froe_group group;
    froe_group_get(options->engine, PIPELINE_PROCESS_OBJECT, bucket->name, &group);
    return group.live < options->look_ahead ? options->look_ahead - group.live : 0;
}

static void next_page(struct objects_task *run) {
    struct pipeline *pipeline = run->pipeline;
    uint64_t room = room_of(run->bucket);
    if (room == 0 || pipeline->ended) {
        end_turn(run, LIST_AGAIN_US, PIPELINE_NO_ROOM);
        return;
    }
    if (run->pages == PAGES_A_TURN) {
        end_turn(run, 0, PIPELINE_NEXT_TURN);
        return;
    }
    uint32_t keys = room < S3_LIST_MAX ? (uint32_t)room : S3_LIST_MAX;
    /* A page that is nearly empty costs as much as a full one: better to wait for the low mark than to list crumbs. */
    if (keys < S3_LIST_MAX && keys < pipeline->options.look_ahead / 4 && run->cursor.n > 0) {
        end_turn(run, LIST_AGAIN_US, PIPELINE_NO_ROOM);
        return;
    }
    run->pages++;
    if (s3_list_objects(pipeline->options.s3, run->bucket->stats.name, BYTES_NONE, buf_bytes(&run->cursor), keys,
                        listed, run, &run->call) < 0)
        fail_for_now(run, "out of memory, or a bucket name that cannot be sent");
}

static bool restart(const struct objects_task *run) {
    size_t n = 0;
    if (run->pipeline->options.fleet) {
        froe_task_checkpoint(run->task, &n);
        return run->pipeline->options.once && n == 0;
    }
    return run->bucket->restart;
}

static void counts_read(void *arg, const struct pipeline_bucket *noted) {
    struct objects_task *run = arg;
    memcpy(run->skipped, noted->skipped, sizeof run->skipped);
    memcpy(run->bucket->late_skipped, run->bucket->late_unnoted, sizeof run->bucket->late_skipped);
    next_page(run);
}

/* A pass that goes on goes on with its counts; it may have been another process that made them. */
static void begin(struct objects_task *run) {
    struct bucket *bucket = run->bucket;
    struct pipeline *pipeline = run->pipeline;
    bool goes_on = run->cursor.n > 0;
    if (goes_on && (pipeline->options.fleet || bucket->stats.listing == LISTING_NONE)) {
        if (pipeline_read_notes(pipeline->options.engine, bucket->name, counts_read, run) < 0)
            fail_for_now(run, "the notes of the listing cannot be read");
        return;
    }
    if (goes_on)
        memcpy(run->skipped, bucket->stats.skipped, sizeof run->skipped);
    memset(bucket->late_skipped, 0, sizeof bucket->late_skipped);
    memset(bucket->late_unnoted, 0, sizeof bucket->late_unnoted);
    next_page(run);
}

static void cursor_read(void *arg, const void *data, size_t n, const froe_error *error) {
    struct objects_task *run = arg;
    if (error) {
        fail(run, error->text);
        return;
    }
    if (!restart(run) && buf_add(&run->cursor, data, n) < 0) {
        fail_for_now(run, "out of memory");
        return;
    }
    begin(run);
}

void fetch_objects_run(froe_task *task, void *arg) {
    struct pipeline *pipeline = arg;
    size_t n;
    const void *name = froe_task_child_key(task, &n);
    if (!pipeline_wants(pipeline, bytes_of(name, n), NULL)) {
        froe_task_fail(task, FROE_FAIL_FORGET, "left out by the prefix");
        return;
    }
    struct bucket *bucket = bucket_get(pipeline, bytes_of(name, n));
    if (bucket && pipeline->options.fleet && room_of(bucket) == 0) {
        froe_task_again(task, LIST_AGAIN_US, PIPELINE_NO_ROOM);
        return;
    }
    struct objects_task *run = bucket ? mem_zalloc(sizeof *run) : NULL;
    if (!run) {
        froe_task_again(task, US_PER_S, "out of memory");
        return;
    }
    bucket->lister_spawned = true;
    run->pipeline = pipeline;
    run->bucket = bucket;
    run->task = task;
    froe_task_set_data(task, run);
    _cleanup_buf_ struct buf value = {0};
    froe_error cause = {0};
    if (buf_printf(&value, "cursor/%s", bucket->name) < 0 ||
        froe_value_get(pipeline->options.engine, value.p, cursor_read, run, &cause) != FROE_OK)
        fail_for_now(run, cause.code ? cause.text : "out of memory");
}

void fetch_objects_cancel(froe_task *task, void *arg) {
    (void)arg;
    struct objects_task *run = froe_task_data(task);
    if (run && run->call)
        s3_cancel(run->call);
}
