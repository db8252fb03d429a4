/* process_after.c - of an object that was processed: its results are stored, then it is deleted, moved, tagged or kept.
 *
 * When that fails, that it was processed, and what is still to be done, becomes the run's checkpoint. */
#include "process_object.h"

#include "text.h"

/* ---- what becomes of it ---- */

/* To be kept when the delete does not come to its end: a byte for the ETag's length would do, but a line each reads
 * better in the store. Neither can hold a newline, being header values. What else is to be done than a delete follows,
 * with the size. */
static bool keep_processed(struct object_task *run) {
    _cleanup_buf_ struct buf checkpoint = {0};
    struct bytes etag = run->after.read.etag, version_id = run->after.read.version_id;
    struct bytes how = run->after.copied ? BYTES_NONE : run->after.how;
    int r = buf_add_str(&checkpoint, "processed\n");
    r = r < 0 ? r : buf_add_bytes(&checkpoint, etag);
    r = r < 0 ? r : buf_add_byte(&checkpoint, '\n');
    r = r < 0 ? r : buf_add_bytes(&checkpoint, version_id);
    if (r == 0 && how.n > 0) {
        r = buf_printf(&checkpoint, "\n%llu\n", (unsigned long long)run->read_bytes);
        r = r < 0 ? r : buf_add_bytes(&checkpoint, how);
    }
    return r == 0 && froe_task_set_checkpoint(run->task, checkpoint.p, checkpoint.n) == FROE_OK;
}

static struct read_state read_state(const struct object_task *run) {
    return (struct read_state){bytes_of(run->read.p, run->etag_n),
                               bytes_of(run->read.p + run->etag_n, run->read.n - run->etag_n)};
}

/* Cuts a line off, without its newline; false when there is none. */
static bool cut_line(struct bytes *text, struct bytes *ret_line) {
    const char *newline = text->n ? memchr(text->p, '\n', text->n) : NULL;
    if (!newline)
        return false;
    *ret_line = bytes_of(text->p, (size_t)(newline - text->p));
    *text = bytes_of(newline + 1, text->n - ret_line->n - 1);
    return true;
}

int object_was_processed(struct object_task *run) {
    size_t n;
    const void *data = froe_task_checkpoint(run->task, &n);
    struct bytes text = bytes_of(data, n), head = BYTES("processed\n"), etag, version_id, size;
    if (!bytes_starts(text, head))
        return 0;
    text = bytes_of(text.p + head.n, text.n - head.n);
    if (!cut_line(&text, &etag))
        return 0;
    if (!cut_line(&text, &version_id)) {
        version_id = text;
        text = BYTES_NONE;
    } else if (!cut_line(&text, &size) || text_parse_u64(size, &run->read_bytes) < 0) {
        return 0;
    }
    buf_reset(&run->read);
    if (buf_add_bytes(&run->read, etag) < 0 || buf_add_bytes(&run->read, version_id) < 0 ||
        buf_add_bytes(&run->how, text) < 0)
        return -ENOMEM;
    run->etag_n = etag.n;
    struct read_state read = read_state(run);
    return read_state_is_exact(&read);
}

static void finished(struct aftermath *after, enum deleted ended, const char *text) {
    struct object_task *run = LIST_ENTRY(after, struct object_task, after);
    struct pipeline *pipeline = run->pipeline;
    run->finishing = false;
    switch (ended) {
    case DELETED:
        if (after->how.n == 0 || after->copied)
            object_drop_record(run);
        object_end_done(run);
        return;
    case DELETE_OVERWRITTEN:
        log_debug(pipeline->options.log, "overwritten while it was processed; what is there now will be processed",
                  LOG_BYTES("bucket", run->bucket->stats.name), LOG_BYTES("key", run->key));
        run->bucket->stats.again++;
        froe_task_set_checkpoint(run->task, NULL, 0);
        object_set_text(run, "overwritten while it was processed");
        object_end_again(run, 0);
        return;
    case DELETE_LATER:
    case DELETE_CANCELLED:
    case DELETE_FAILED:
        break;
    }
    keep_processed(run);
    buf_reset(&run->text);
    if (buf_printf(&run->text, "%s: %s", then_failure(after->copied ? BYTES_NONE : after->how), text) < 0)
        object_set_text(run, "processed, but not deleted");
    if (ended == DELETE_FAILED || froe_task_cancelled(run->task) == FROE_CANCELLED_TIMEOUT)
        object_end_failed(run);
    else
        object_end_again(run, ended == DELETE_LATER ? throttle_delay_us(run->bucket) : 0);
}

void object_finish(struct object_task *run) {
    run->after = (struct aftermath){
        .pipeline = run->pipeline,
        .bucket = run->bucket,
        .task = run->task,
        .key = run->key,
        .read = read_state(run),
        .size = run->read_bytes,
        .how = buf_bytes(&run->how),
        .done = finished,
    };
    run->finishing = true;
    aftermath_start(&run->after);
}

/* ---- results ---- */

static void set_unstored(struct object_task *run, const char *text) {
    buf_reset(&run->text);
    if (buf_printf(&run->text, "processed, but its result could not be stored: %s", text) < 0)
        object_set_text(run, "processed, but its result could not be stored");
}

static void output_called(void *arg, const struct s3_result *result) {
    struct object_task *run = arg;
    if (result->throttled) /* the destination slows the source down */
        throttle_hit(run->bucket, result->duration_us);
}

static void output_done(void *arg, const struct output_result *result) {
    struct object_task *run = arg;
    run->writing = NULL;
    run->bucket->stats.results += result->results;
    run->bucket->stats.result_bytes += result->bytes;
    switch (result->end) {
    case OUTPUT_WRITTEN:
        results_free(TAKE_PTR(run->results)); /* before what may take its time */
        object_finish(run);
        return;
    case OUTPUT_CANCELLED:
        if (result->text[0])
            froe_task_log(run->task, FROE_INFO, "its result was not stored: %s", result->text);
        object_end_cancelled(run);
        return;
    case OUTPUT_LATER:
        set_unstored(run, result->text);
        object_end_again(run, throttle_delay_us(run->bucket));
        return;
    case OUTPUT_FAILED:
        set_unstored(run, result->text);
        object_end_failed(run);
        return;
    }
}

static const struct output_events output_events = {output_called, output_done};

void object_store_results(struct object_task *run) {
    struct pipeline *pipeline = run->pipeline;
    const struct output_job job = {
        .loop = pipeline->loop,
        .outputs = run->way.outputs,
        .n_outputs = run->way.n_outputs,
        .source_s3 = pipeline->options.s3,
        .source = run->results->source,
        .parts = run->results->parts,
        .n_parts = run->results->n,
    };
    struct err err = {0};
    if (!froe_task_holds_lease(run->task)) {
        object_set_text(run, "the lease on this run is not certain any more");
        object_end_again(run, 0);
        return;
    }
    int r = output_write(&job, &output_events, run, &run->writing, &err);
    if (r == 0)
        return;
    run->writing = NULL;
    set_unstored(run, err.text);
    run->hopeless = r == -EINVAL;
    if (r == -EINVAL)
        object_end_failed(run);
    else
        object_end_again(run, throttle_delay_us(run->bucket));
}
