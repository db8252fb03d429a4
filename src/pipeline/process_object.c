/* process_object.c - process_object: GET, verify, hand to the user's code, store its results, delete exactly what was
 * read (or what else its rule says, then.c).
 *
 * Two things run side by side, the download and the handler's job; when both have ended it is decided what comes next.
 * Results are in their outputs and durable before anything is done to the object; when they cannot be stored the
 * attempt has failed, and the next one runs the user's code again. An object that was processed, with its results
 * stored, but could not be deleted keeps that fact (its ETag and version id) as the run's checkpoint: the next attempt
 * goes straight to the delete and never runs the user's code on it again. */
#include "process_object.h"

/* ---- life ---- */

static struct object_task *take(struct pipeline *pipeline) {
    struct list *link = list_pop_front(&pipeline->free_objects);
    if (link)
        return LIST_ENTRY(link, struct object_task, link);
    struct object_task *run = mem_zalloc(sizeof *run);
    if (run) {
        buf_init(&run->text, HANDLER_TEXT_MAX + FROE_ERROR_KEPT_MAX);
        list_init(&run->link);
    }
    return run;
}

void process_object_free_all(struct pipeline *pipeline) {
    for (struct list *link; (link = list_pop_front(&pipeline->free_objects));) {
        struct object_task *run = LIST_ENTRY(link, struct object_task, link);
        buf_free(&run->text);
        buf_free(&run->read);
        buf_free(&run->record);
        buf_free(&run->how);
        mem_free(run);
    }
}

/* Ends the record, not the task. The texts stay readable until the next take(). */
static froe_task *put_back(struct object_task *run) {
    struct pipeline *pipeline = run->pipeline;
    froe_task *task = run->task;
    run->bucket->running--;
    if (run->bucket->running == 0)
        bucket_note_late(run->bucket);
    results_free(TAKE_PTR(run->results));
    plan_end(pipeline, run->plan);
    run->plan = NULL;
    run->task = NULL;
    list_push_front(&pipeline->free_objects, &run->link);
    return task;
}

void object_set_text(struct object_task *run, const char *text) {
    buf_reset(&run->text);
    if (buf_add_str(&run->text, text) < 0)
        buf_add_str(&run->text, "out of memory");
}

const char *object_text(const struct object_task *run) {
    return run->text.n ? run->text.p : "";
}

/* ---- the ends of a task ---- */

void object_end_done(struct object_task *run) {
    struct bucket *bucket = run->bucket;
    bucket->stats.done++;
    froe_task_succeed(put_back(run));
    bucket_refill(bucket);
}

void object_drop_record(struct object_task *run) {
    if (run->asked ? run->record.n > 0 : run->pipeline->records != RECORDS_NONE)
        records_put(run->pipeline, run->bucket->stats.name, run->key, BYTES_NONE);
}

static void end_gone(struct object_task *run, const char *what) {
    froe_task_log(run->task, FROE_INFO, "skipped: %s", what);
    object_drop_record(run);
    run->bucket->stats.gone++;
    object_end_done(run);
}

void object_end_failed(struct object_task *run) {
    struct bucket *bucket = run->bucket;
    bool last = run->hopeless || froe_task_attempt(run->task) > run->way.retries;
    bucket->stats.failed++;
    froe_task_fail(put_back(run), last ? FROE_FAIL_FINAL : 0, object_text(run));
    bucket_refill(bucket); /* it may be parked now */
}

void object_end_again(struct object_task *run, int64_t delay_us) {
    froe_task_again(put_back(run), delay_us, object_text(run));
}

static void end_left(struct object_task *run, enum pipeline_skip skip, const char *what) {
    bucket_skip_late(run->bucket, skip);
    froe_task_log(run->task, FROE_DEBUG, "skipped: %s", what);
    froe_task_fail(put_back(run), FROE_FAIL_FORGET, what);
}

void object_end_cancelled(struct object_task *run) {
    if (froe_task_cancelled(run->task) == FROE_CANCELLED_TIMEOUT)
        object_end_failed(run);
    else
        object_end_again(run, 0);
}

/* ---- the download and the job ---- */

static void decide(struct object_task *run) {
    if (run->get || run->job)
        return; /* the other one has not ended yet */
    froe_cancel_reason cancelled = froe_task_cancelled(run->task);
    if (run->job_started && run->job_end == HANDLER_OK && run->got && run->get_status == S3_OK) {
        run->bucket->stats.bytes += run->read_bytes;
        if (!run->results || run->results->n == 0)
            object_finish(run);
        else if (cancelled)
            object_end_cancelled(run);
        else
            object_store_results(run);
        return;
    }
    if (cancelled) {
        object_end_cancelled(run);
        return;
    }
    if (run->left != SKIP_NOT) {
        end_left(run, run->left,
                 run->left == SKIP_NO_RULE ? "no rule matches it"
                 : run->left == SKIP_KEPT  ? "processed already, and kept"
                                           : "younger than its rule's min_age");
        return;
    }
    if (run->job_started && (run->job_end == HANDLER_FAILED || run->job_end == HANDLER_AGAIN)) {
        object_end_failed(run);
        return;
    }
    if (run->job_started && run->job_end == HANDLER_NOT_RUN) {
        object_end_again(run, throttle_delay_us(run->bucket));
        return;
    }
    switch (run->get_status) {
    case S3_NO_KEY:
        end_gone(run, "no such key");
        return;
    case S3_NO_BUCKET:
        end_gone(run, "no such bucket");
        return;
    case S3_ARCHIVED:
        end_left(run, SKIP_ARCHIVED, "archived");
        return;
    case S3_THROTTLED:
    case S3_UNREACHABLE:
    case S3_CREDENTIALS:
    case S3_NO_MEMORY:
    case S3_CANCELLED: /* by ourselves, because no job could be started */
        object_end_again(run, throttle_delay_us(run->bucket));
        return;
    default:
        object_end_failed(run);
        return;
    }
}

static void job_room(void *arg) {
    struct object_task *run = arg;
    if (run->paused && run->get) {
        run->paused = false;
        s3_get_resume(run->get);
    }
}

/* Of a failure that is too long to be kept whole, the beginning (how it ended) and the end (its last lines) tell most.
 */
static void set_failure(struct object_task *run, const char *text) {
    size_t n = strlen(text), head = strcspn(text, ":");
    if (n <= FROE_ERROR_KEPT_MAX || head > FROE_ERROR_KEPT_MAX / 4) {
        object_set_text(run, text);
        return;
    }
    const char *tail = text + n - (FROE_ERROR_KEPT_MAX - head - sizeof ": ...\n");
    const char *line = strchr(tail, '\n');
    while (*tail && !line && ((unsigned char)*tail & 0xc0) == 0x80)
        tail++; /* not in the middle of a character */
    buf_reset(&run->text);
    if (buf_add(&run->text, text, head) < 0 || buf_add_str(&run->text, ": ...\n") < 0 ||
        buf_add_str(&run->text, line && line[1] ? line + 1 : tail) < 0)
        object_set_text(run, "out of memory");
}

static void job_done(void *arg, const struct handler_result *result) {
    struct object_task *run = arg;
    run->job = NULL;
    run->job_end = result->end;
    run->hopeless = run->hopeless || result->final;
    /* Of an aborted job the text says nothing that the download's end does not say better. */
    if (result->end == HANDLER_OK && run->results && results_take(run->results, result) < 0) {
        run->job_end = HANDLER_NOT_RUN;
        object_set_text(run, "out of memory");
    }
    if (result->end == HANDLER_FAILED || result->end == HANDLER_AGAIN || result->end == HANDLER_NOT_RUN)
        set_failure(run, result->text[0] ? result->text : "the program asks to be run again");
    if (run->get)
        s3_cancel(run->get); /* it failed early; the rest of the body is of no use */
    decide(run);
}

/* A program that is done without its whole input changes nothing here: the body must be verified all the same. */
static const struct handler_events job_events = {.room = job_room, .done = job_done};

/* In place of what the attempt was given so far, from its beginning. */
static void set_timeout(struct object_task *run, int64_t timeout_us) {
    if (timeout_us == run->timeout_us)
        return;
    run->timeout_us = timeout_us;
    int64_t took_us = pipeline_mono_us(run->pipeline) - run->began_mono_us;
    froe_task_refresh_timeout(run->task, timeout_us > took_us ? timeout_us - took_us : 0);
}

/* What is to be done when it was processed, and what its results need to know of it. */
static int choose_after(struct object_task *run, const struct s3_object_info *info, struct err *err) {
    const struct pipeline_way *way = &run->way;
    bool keeps = way->then.kind == THEN_KEEP || way->then.kind == THEN_TAG;
    bool metadata = outputs_want_metadata(way->outputs, way->n_outputs);
    const struct output_source source = {
        .object = {run->bucket->stats.name, run->key, info->etag, info->version_id, info->modified_utc_us},
        .metadata = metadata ? info->metadata : NULL,
        .n_metadata = metadata ? info->n_metadata : 0,
    };
    if (keeps && info->etag.n == 0)
        return err_set(err, -EINVAL,
                       "the server sends no ETag, so nobody could tell that this state of it was processed");
    if (keeps && records_match(buf_bytes(&run->record), info->etag)) {
        run->left = SKIP_KEPT;
        return 0;
    }
    int r = then_resolve(&way->then, &source.object, &run->how, err);
    if (r == 0 && way->n_outputs > 0) {
        run->results = results_new(&source);
        r = run->results ? 0 : err_set(err, -ENOMEM, "out of memory");
    }
    return r;
}

/* The rule that the object falls under. False: it is not to be handed over, and the download ends. */
static bool choose(struct object_task *run, const struct s3_object_info *info) {
    struct err err = {0};
    int r = plan_choose(run->pipeline, run->plan, run->bucket, run->key, info, &run->way, &run->left, &err);
    if (r == 0 && run->left == SKIP_NOT)
        r = choose_after(run, info, &err);
    if (r == 0 && run->left == SKIP_NOT) {
        set_timeout(run, run->way.timeout_us);
        return true;
    }
    if (r < 0)
        object_set_text(run, err.text);
    if (r == -EINVAL) {
        run->hopeless = true;
        run->job_started = true;
        run->job_end = HANDLER_FAILED;
    }
    s3_cancel(run->get);
    return false;
}

static void get_info(void *arg, const struct s3_object_info *info) {
    struct object_task *run = arg;
    const struct read_state read = {info->etag, info->version_id};
    /* After a sleep of this machine answers are read before anything tells that the lease is over. */
    if (!froe_task_holds_lease(run->task)) {
        object_set_text(run, "the lease on this run is not certain any more");
        s3_cancel(run->get);
        return;
    }
    if (!read_state_is_exact(&read)) {
        object_set_text(run,
                        "the server sends neither an ETag nor a version id: the object could not be deleted safely");
        s3_cancel(run->get);
        run->job_end = HANDLER_FAILED;
        run->job_started = true;
        return;
    }
    buf_reset(&run->read);
    if (buf_add_bytes(&run->read, info->etag) < 0 || buf_add_bytes(&run->read, info->version_id) < 0 ||
        froe_task_set_generation(run->task, info->etag.p, info->etag.n) != FROE_OK) {
        object_set_text(run, "out of memory");
        s3_cancel(run->get);
        return;
    }
    run->etag_n = info->etag.n;
    if (!choose(run, info))
        return;

    _cleanup_free_ struct handler_meta *metadata = NULL;
    if (info->n_metadata) {
        metadata = mem_calloc(info->n_metadata, sizeof *metadata);
        for (size_t i = 0; metadata && i < info->n_metadata; i++)
            metadata[i] = (struct handler_meta){info->metadata[i].name, info->metadata[i].value};
    }
    struct handler_object object = {
        .bucket = run->bucket->stats.name,
        .key = run->key,
        .etag = info->etag,
        .version_id = info->version_id,
        .content_type = info->content_type,
        .size = info->size == S3_SIZE_UNKNOWN ? 0 : info->size,
        .attempt = froe_task_attempt(run->task),
        .run_id = froe_task_run_id(run->task),
        .metadata = metadata,
        .n_metadata = metadata ? info->n_metadata : 0,
    };
    struct err err = {0};
    int r = info->n_metadata && !metadata ? err_set(&err, -ENOMEM, "out of memory")
                                          : handler_start(run->way.handler, &object, &job_events, run, &run->job, &err);
    if (r < 0) {
        run->job = NULL;
        object_set_text(run, err.text[0] ? err.text : err_errno_text(r));
        if (r == -EPIPE) /* nothing more can be started in this process */
            pipeline_end(run->pipeline, PIPELINE_BROKEN, object_text(run));
        else if (r != -EAGAIN && r != -ENOMEM) { /* this object cannot be handed over at all: a failed attempt */
            run->job_started = true;
            run->job_end = HANDLER_FAILED;
        }
        s3_cancel(run->get);
        return;
    }
    run->job_started = true;
}

static bool get_data(void *arg, struct bytes piece) {
    struct object_task *run = arg;
    run->read_bytes += piece.n;
    if (!run->job)
        return true; /* cancelled */
    if (handler_write(run->job, piece))
        return true;
    run->paused = true;
    return false;
}

static void get_done(void *arg, const struct s3_result *result) {
    struct object_task *run = arg;
    run->get = NULL;
    run->got = true;
    run->get_status = result->status;
    pipeline_note(run->pipeline, run->bucket, result);
    if (result->status != S3_OK && result->status != S3_CANCELLED)
        object_set_text(run, result->text);
    if (run->job) {
        if (result->status == S3_OK)
            handler_finish(run->job);
        else
            handler_abort(run->job, "the download failed");
        return; /* job_done decides */
    }
    decide(run);
}

static const struct s3_get_handler get_handler = {get_info, get_data, get_done};

static void start_get(struct object_task *run) {
    int r = s3_get(run->pipeline->options.s3, run->bucket->stats.name, run->key, &get_handler, run, &run->get);
    if (r == 0)
        return;
    run->get = NULL;
    object_set_text(run, r == -EINVAL
                             ? "the request cannot be made: a key longer than 1024 bytes, or an odd bucket name"
                             : "the request could not be made");
    if (r == -EINVAL)
        object_end_failed(run);
    else
        object_end_again(run, throttle_delay_us(run->bucket));
}

static void record_read(void *arg, const void *data, size_t n, const froe_error *error) {
    struct object_task *run = arg;
    run->asking = false;
    run->asked = !error;
    if (froe_task_cancelled(run->task)) {
        object_end_cancelled(run);
    } else if (error || buf_add(&run->record, data, n) < 0) {
        object_set_text(run, error ? error->text : "out of memory");
        object_end_again(run, US_PER_S);
    } else {
        start_get(run);
    }
}

void process_object_run(froe_task *task, void *arg) {
    struct pipeline *pipeline = arg;
    size_t n;
    const char *child_key = froe_task_child_key(task, &n);
    const char *slash = child_key ? memchr(child_key, '/', n) : NULL;
    if (!slash) {
        froe_task_fail(task, FROE_FAIL_FINAL, "a process_object run needs the child key bucket/key");
        return;
    }
    size_t name_n = (size_t)(slash - child_key), checkpoint_n;
    struct bytes key = bytes_of(slash + 1, n - name_n - 1);
    froe_task_checkpoint(task, &checkpoint_n); /* what is processed already is deleted all the same */
    if (checkpoint_n == 0 && !pipeline_wants(pipeline, bytes_of(child_key, name_n), &key)) {
        froe_task_fail(task, FROE_FAIL_FORGET, "left out by the prefix or the patterns");
        return;
    }
    struct bucket *bucket = bucket_get(pipeline, bytes_of(child_key, name_n));
    struct object_task *run = bucket ? take(pipeline) : NULL;
    if (!run) {
        froe_task_again(task, US_PER_S, "out of memory");
        return;
    }
    run->pipeline = pipeline;
    run->bucket = bucket;
    run->task = task;
    run->key = key;
    run->get = NULL;
    run->job = NULL;
    run->got = run->job_started = run->paused = run->finishing = run->asking = run->asked = false;
    run->results = NULL;
    run->writing = NULL;
    buf_reset(&run->how);
    buf_reset(&run->record);
    run->read_bytes = 0;
    run->left = SKIP_NOT;
    run->hopeless = false;
    run->plan = pipeline->options.plan;
    run->way = run->plan->way;
    run->began_mono_us = pipeline_mono_us(pipeline);
    run->timeout_us = pipeline->timeout_us;
    plan_begin(run->plan);
    buf_reset(&run->text);
    bucket->running++;
    froe_task_set_data(task, run);
    set_timeout(run, run->way.timeout_us);
    int r = object_was_processed(run);
    if (r > 0) {
        object_finish(run);
        return;
    }
    if (r == 0 && run->plan->keeps) {
        run->asking = true;
        r = records_get(pipeline, bucket->stats.name, run->key, record_read, run);
    } else if (r == 0) {
        start_get(run);
    }
    if (r < 0) {
        object_set_text(run, "out of memory");
        object_end_again(run, throttle_delay_us(bucket));
    }
}

void process_object_cancel(froe_task *task, void *arg) {
    (void)arg;
    struct object_task *run = froe_task_data(task);
    if (run->finishing) {
        aftermath_cancel(&run->after, froe_task_cancelled(task) == FROE_CANCELLED_LEASE_LOST);
        return;
    }
    if (froe_task_cancelled(task) == FROE_CANCELLED_TIMEOUT)
        object_set_text(run, "timed out");
    if (run->writing)
        output_cancel(run->writing);
    if (run->get)
        s3_cancel(run->get);
    if (run->job)
        handler_abort(run->job, "cancelled");
}
