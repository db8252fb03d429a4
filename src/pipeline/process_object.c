/* process_object.c - process_object: GET, verify, hand to the user's code, delete exactly what was read.
 *
 * Two things run side by side, the download and the handler's job; when both have ended it is decided what comes next.
 * An object that was processed but could not be deleted keeps that fact (its ETag and version id) as the run's
 * checkpoint: the next attempt goes straight to the delete and never runs the user's code on it again. */
#include "private.h"

struct object_task {
    struct list link; /* in free_objects */
    struct pipeline *pipeline;
    struct bucket *bucket;
    froe_task *task;
    struct bytes key;

    struct s3_call *get; /* NULL: not running */
    enum s3_status get_status;
    bool got;                /* the GET has ended */
    struct handler_job *job; /* NULL: none, or ended */
    bool job_started;
    enum handler_end job_end;
    bool paused;
    uint64_t read_bytes;
    struct buf text; /* what went wrong, of the download or the job */

    struct buf read; /* etag, then version id: what deletion.read points into */
    size_t etag_n;
    bool deleting;
    struct guarded_delete deletion;
};

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
        mem_free(run);
    }
}

/* Ends the record, not the task. The texts stay readable until the next take(). */
static froe_task *put_back(struct object_task *run) {
    struct pipeline *pipeline = run->pipeline;
    froe_task *task = run->task;
    run->bucket->running--;
    run->task = NULL;
    list_push_front(&pipeline->free_objects, &run->link);
    return task;
}

static void set_text(struct object_task *run, const char *text) {
    buf_reset(&run->text);
    if (buf_add_str(&run->text, text) < 0)
        buf_add_str(&run->text, "out of memory");
}

static const char *text_of(const struct object_task *run) {
    return run->text.n ? run->text.p : "";
}

/* ---- the ends of a task ---- */

static void end_done(struct object_task *run) {
    struct bucket *bucket = run->bucket;
    bucket->stats.done++;
    froe_task_succeed(put_back(run));
    bucket_refill(bucket);
}

static void end_gone(struct object_task *run, const char *what) {
    froe_task_log(run->task, FROE_INFO, "skipped: %s", what);
    run->bucket->stats.gone++;
    end_done(run);
}

static void end_failed(struct object_task *run) {
    struct bucket *bucket = run->bucket;
    bucket->stats.failed++;
    froe_task_fail(put_back(run), 0, text_of(run));
    bucket_refill(bucket); /* it may be parked now */
}

static void end_again(struct object_task *run, int64_t delay_us) {
    froe_task_again(put_back(run), delay_us, text_of(run));
}

/* ---- the delete ---- */

/* To be kept when the delete does not come to its end: a byte for the ETag's length would do, but a line each reads
 * better in the store. Neither can hold a newline, being header values. */
static bool keep_processed(struct object_task *run) {
    _cleanup_buf_ struct buf checkpoint = {0};
    struct bytes etag = run->deletion.read.etag, version_id = run->deletion.read.version_id;
    return buf_add_str(&checkpoint, "processed\n") == 0 && buf_add_bytes(&checkpoint, etag) == 0 &&
           buf_add_byte(&checkpoint, '\n') == 0 && buf_add_bytes(&checkpoint, version_id) == 0 &&
           froe_task_set_checkpoint(run->task, checkpoint.p, checkpoint.n) == FROE_OK;
}

static struct read_state read_state(const struct object_task *run) {
    return (struct read_state){bytes_of(run->read.p, run->etag_n),
                               bytes_of(run->read.p + run->etag_n, run->read.n - run->etag_n)};
}

/* What an earlier attempt has processed: 1, 0 when there was none, or -ENOMEM. */
static int was_processed(struct object_task *run) {
    size_t n;
    const void *data = froe_task_checkpoint(run->task, &n);
    struct bytes text = bytes_of(data, n), head = BYTES("processed\n");
    if (!bytes_starts(text, head))
        return 0;
    text.p += head.n;
    text.n -= head.n;
    const char *newline = memchr(text.p, '\n', text.n);
    if (!newline)
        return 0;
    size_t etag_n = (size_t)(newline - text.p);
    buf_reset(&run->read);
    if (buf_add(&run->read, text.p, etag_n) < 0 || buf_add(&run->read, newline + 1, text.n - etag_n - 1) < 0)
        return -ENOMEM;
    run->etag_n = etag_n;
    struct read_state read = read_state(run);
    return read_state_is_exact(&read);
}

static void deleted(struct guarded_delete *deletion, enum deleted deleted, const char *text) {
    struct object_task *run = LIST_ENTRY(deletion, struct object_task, deletion);
    struct pipeline *pipeline = run->pipeline;
    run->deleting = false;
    switch (deleted) {
    case DELETED:
        end_done(run);
        return;
    case DELETE_OVERWRITTEN:
        log_debug(pipeline->options.log, "overwritten while it was processed; what is there now will be processed",
                  LOG_BYTES("bucket", run->bucket->stats.name), LOG_BYTES("key", run->key));
        run->bucket->stats.again++;
        froe_task_set_checkpoint(run->task, NULL, 0);
        set_text(run, "overwritten while it was processed");
        end_again(run, 0);
        return;
    case DELETE_LATER:
    case DELETE_CANCELLED:
    case DELETE_FAILED:
        break;
    }
    keep_processed(run);
    buf_reset(&run->text);
    if (buf_printf(&run->text, "processed, but not deleted: %s", text) < 0)
        set_text(run, "processed, but not deleted");
    if (deleted == DELETE_FAILED)
        end_failed(run);
    else
        end_again(run, deleted == DELETE_LATER ? throttle_delay_us(run->bucket) : 0);
}

static void start_delete(struct object_task *run) {
    run->deletion = (struct guarded_delete){
        .pipeline = run->pipeline,
        .bucket = run->bucket,
        .task = run->task,
        .key = run->key,
        .read = read_state(run),
        .done = deleted,
    };
    run->deleting = true;
    int r = guarded_delete_start(&run->deletion);
    if (r < 0)
        deleted(&run->deletion, DELETE_LATER,
                r == -ECANCELED ? "the lease on this run is not certain any more" : "the request could not be made");
}

/* ---- the download and the job ---- */

static void decide(struct object_task *run) {
    if (run->get || run->job)
        return; /* the other one has not ended yet */
    froe_cancel_reason cancelled = froe_task_cancelled(run->task);
    if (run->job_started && run->job_end == HANDLER_OK && run->got && run->get_status == S3_OK) {
        run->bucket->stats.bytes += run->read_bytes;
        start_delete(run); /* also when cancelled: what was processed is better deleted than processed twice */
        return;
    }
    if (cancelled) {
        if (cancelled == FROE_CANCELLED_TIMEOUT)
            end_failed(run);
        else
            end_again(run, 0);
        return;
    }
    if (run->job_started && (run->job_end == HANDLER_FAILED || run->job_end == HANDLER_AGAIN)) {
        end_failed(run);
        return;
    }
    if (run->job_started && run->job_end == HANDLER_NOT_RUN) {
        end_again(run, throttle_delay_us(run->bucket));
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
        run->bucket->stats.skipped[SKIP_ARCHIVED]++;
        froe_task_log(run->task, FROE_INFO, "skipped: archived");
        froe_task_fail(put_back(run), FROE_FAIL_FORGET, "archived");
        return;
    case S3_THROTTLED:
    case S3_UNREACHABLE:
    case S3_CREDENTIALS:
    case S3_NO_MEMORY:
    case S3_CANCELLED: /* by ourselves, because no job could be started */
        end_again(run, throttle_delay_us(run->bucket));
        return;
    default:
        end_failed(run);
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
        set_text(run, text);
        return;
    }
    const char *tail = text + n - (FROE_ERROR_KEPT_MAX - head - sizeof ": ...\n");
    const char *line = strchr(tail, '\n');
    while (*tail && !line && ((unsigned char)*tail & 0xc0) == 0x80)
        tail++; /* not in the middle of a character */
    buf_reset(&run->text);
    if (buf_add(&run->text, text, head) < 0 || buf_add_str(&run->text, ": ...\n") < 0 ||
        buf_add_str(&run->text, line && line[1] ? line + 1 : tail) < 0)
        set_text(run, "out of memory");
}

static void job_done(void *arg, const struct handler_result *result) {
    struct object_task *run = arg;
    run->job = NULL;
    run->job_end = result->end;
    /* Of an aborted job the text says nothing that the download's end does not say better. */
    if (result->end == HANDLER_FAILED || result->end == HANDLER_AGAIN || result->end == HANDLER_NOT_RUN)
        set_failure(run, result->text[0] ? result->text : "the program asks to be run again");
    if (run->get)
        s3_cancel(run->get); /* it failed early; the rest of the body is of no use */
    decide(run);
}

/* A program that is done without its whole input changes nothing here: the body must be verified all the same. */
static const struct handler_events job_events = {.room = job_room, .done = job_done};

static void get_info(void *arg, const struct s3_object_info *info) {
    struct object_task *run = arg;
    const struct read_state read = {info->etag, info->version_id};
    /* After a sleep of this machine answers are read before anything tells that the lease is over. */
    if (!froe_task_holds_lease(run->task)) {
        set_text(run, "the lease on this run is not certain any more");
        s3_cancel(run->get);
        return;
    }
    if (!read_state_is_exact(&read)) {
        set_text(run, "the server sends neither an ETag nor a version id: the object could not be deleted safely");
        s3_cancel(run->get);
        run->job_end = HANDLER_FAILED;
        run->job_started = true;
        return;
    }
    buf_reset(&run->read);
    if (buf_add_bytes(&run->read, info->etag) < 0 || buf_add_bytes(&run->read, info->version_id) < 0 ||
        froe_task_set_generation(run->task, info->etag.p, info->etag.n) != FROE_OK) {
        set_text(run, "out of memory");
        s3_cancel(run->get);
        return;
    }
    run->etag_n = info->etag.n;

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
    int r = info->n_metadata && !metadata
                ? err_set(&err, -ENOMEM, "out of memory")
                : handler_start(run->pipeline->options.handler, &object, &job_events, run, &run->job, &err);
    if (r < 0) {
        run->job = NULL;
        set_text(run, err.text[0] ? err.text : err_errno_text(r));
        if (r == -EPIPE) /* nothing more can be started in this process */
            pipeline_end(run->pipeline, PIPELINE_BROKEN, text_of(run));
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
        set_text(run, result->text);
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
    run->got = run->job_started = run->paused = run->deleting = false;
    run->read_bytes = 0;
    buf_reset(&run->text);
    bucket->running++;
    froe_task_set_data(task, run);
    int r = was_processed(run);
    if (r > 0) {
        start_delete(run);
        return;
    }
    if (r == 0)
        r = s3_get(pipeline->options.s3, bucket->stats.name, run->key, &get_handler, run, &run->get);
    if (r == 0)
        return;
    run->get = NULL;
    set_text(run, r == -EINVAL ? "the request cannot be made: a key longer than 1024 bytes, or an odd bucket name"
                               : "the request could not be made");
    if (r == -EINVAL)
        end_failed(run);
    else
        end_again(run, throttle_delay_us(bucket));
}

void process_object_cancel(froe_task *task, void *arg) {
    (void)arg;
    struct object_task *run = froe_task_data(task);
    if (run->deleting) {
        /* A delete that was sent may be carried out all the same. It is given its own deadline to end rather than being
         * cut off not knowing; only when the lease is gone nothing more may be sent. */
        if (froe_task_cancelled(task) == FROE_CANCELLED_LEASE_LOST)
            guarded_delete_cancel(&run->deletion);
        return;
    }
    if (froe_task_cancelled(task) == FROE_CANCELLED_TIMEOUT)
        set_text(run, "timed out");
    if (run->get)
        s3_cancel(run->get);
    if (run->job)
        handler_abort(run->job, "cancelled");
}
