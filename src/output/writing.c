/* writing.c - all parts of one object into all outputs, one after the other; the first that fails ends it. */
#include "output_private.h"

#include "mem.h"
#include "text.h"

#include <unistd.h>

struct destination {
    const struct output *output;
    struct handler_part *part;
    size_t key_at, key_n; /* in keys */
};

struct output_writing {
    struct output_job job;
    struct output_events events;
    void *arg;
    struct buf keys, tags; /* tags: as a query string */
    struct destination *to;
    size_t n, at;
    struct s3_call *call; /* NULL: none under way */
    struct {
        uv_work_t work;
        struct output_file file;
        struct err err;
        int r;
        bool running;
        atomic_bool cancelled;
    } file;
    struct buf text;
    uint32_t results;
    uint64_t bytes;
    bool cancelled;
};

static struct bytes key_of(const struct output_writing *writing, const struct destination *to) {
    return bytes_of(writing->keys.p + to->key_at, to->key_n);
}

static void free_writing(struct output_writing *writing) {
    buf_free(&writing->keys);
    buf_free(&writing->tags);
    buf_free(&writing->text);
    mem_free(writing->to);
    mem_free(writing);
}

static void finish(struct output_writing *writing, enum output_end end) {
    const struct output_result result = {end, writing->text.n ? writing->text.p : "", writing->results, writing->bytes};
    writing->events.done(writing->arg, &result);
    free_writing(writing);
}

static void finish_with(struct output_writing *writing, enum output_end end, const char *text) {
    buf_reset(&writing->text);
    buf_add_str(&writing->text, text);
    finish(writing, end);
}

static int step(struct output_writing *writing);

static void next(struct output_writing *writing) {
    int r = 0;
    if (writing->at == writing->n) {
        finish(writing, OUTPUT_WRITTEN);
        return;
    }
    if (writing->cancelled)
        finish_with(writing, OUTPUT_CANCELLED, "cancelled");
    else
        r = step(writing);
    if (r < 0)
        finish_with(writing, r == -EINVAL ? OUTPUT_FAILED : OUTPUT_LATER,
                    r == -EINVAL ? "S3 has no such key, bucket, content type or storage class, or it takes too many "
                                   "parts, or metadata or "
                                   "tags that do not fit"
                                 : "the request could not be made");
}

static void wrote_one(struct output_writing *writing) {
    writing->results++;
    writing->bytes += writing->to[writing->at].part->body->n;
    writing->at++;
    next(writing);
}

/* ---- into a bucket ---- */

static bool ended_well(struct output_writing *writing, const struct s3_result *result) {
    writing->call = NULL;
    if (writing->events.called)
        writing->events.called(writing->arg, result);
    switch (result->status) {
    case S3_OK:
        return true;
    case S3_THROTTLED:
    case S3_NO_MEMORY:
        finish_with(writing, OUTPUT_LATER, result->text);
        return false;
    case S3_CANCELLED:
        finish_with(writing, OUTPUT_CANCELLED, result->text[0] ? result->text : "cancelled");
        return false;
    default:
        finish_with(writing, OUTPUT_FAILED, result->text);
        return false;
    }
}

static void put(void *arg, const struct s3_result *result, struct bytes etag, struct bytes version_id) {
    struct output_writing *writing = arg;
    (void)etag;
    (void)version_id;
    if (ended_well(writing, result))
        wrote_one(writing);
}

static int64_t read_body(void *arg, uint64_t offset, void *to, size_t n) {
    const struct output_writing *writing = arg;
    return spool_read(writing->to[writing->at].part->body, offset, to, n);
}

static struct bytes content_type(const struct output_writing *writing, const struct destination *to) {
    if (to->part->content_type.n)
        return to->part->content_type;
    return bytes_str(to->output->content_type ? to->output->content_type : output_content_type(key_of(writing, to)));
}

static int start_put(struct output_writing *writing, const struct destination *to) {
    const struct output *output = to->output;
    const struct output_source *source = writing->job.source;
    const struct s3_put_options options = {
        .content_type = content_type(writing, to),
        .storage_class = bytes_str(output->storage_class),
        .tagging = output->copy_tags ? buf_bytes(&writing->tags) : BYTES_NONE,
        .metadata = output->copy_metadata ? source->metadata : NULL,
        .n_metadata = output->copy_metadata ? source->n_metadata : 0,
    };
    return s3_put_stream(output->s3, bytes_str(output->place), key_of(writing, to), to->part->body->n, read_body,
                         &options, output->part_bytes, put, writing, &writing->call);
}

/* ---- into a directory ---- */

static void write_file(uv_work_t *work) {
    struct output_writing *writing = work->data;
    const struct output_file_calls *calls = writing->job.calls ? writing->job.calls : &output_file_system;
    writing->file.r = output_file_write(calls, &writing->file.file, &writing->file.cancelled, &writing->file.err);
}

static void file_written(uv_work_t *work, int status) {
    struct output_writing *writing = work->data;
    writing->file.running = false;
    int r = status < 0 ? -ECANCELED : writing->file.r;
    if (r == 0)
        wrote_one(writing);
    else if (r == -ECANCELED)
        finish_with(writing, OUTPUT_CANCELLED, "cancelled");
    else
        finish_with(writing, r == -ENOMEM ? OUTPUT_LATER : OUTPUT_FAILED, writing->file.err.text);
}

/* The spool is nobody else's meanwhile, so its descriptor may be read on another thread. */
static int start_file(struct output_writing *writing, const struct destination *to) {
    const struct spool *body = to->part->body;
    writing->file.file = (struct output_file){to->output->place, key_of(writing, to), body->n ? body->fd : -1, body->n};
    writing->file.work.data = writing;
    writing->file.running = true;
    int r = uv_queue_work(writing->job.loop, &writing->file.work, write_file, file_written);
    writing->file.running = r == 0;
    return r < 0 ? -ENOMEM : 0;
}

static int step(struct output_writing *writing) {
    const struct destination *to = &writing->to[writing->at];
    return to->output->s3 ? start_put(writing, to) : start_file(writing, to);
}

/* ---- the object's tags ---- */

static int add_tags(struct buf *query, const struct s3_tag *tags, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((i > 0 && buf_add_byte(query, '&') < 0) || text_add_percent(query, tags[i].name, false) < 0 ||
            buf_add_byte(query, '=') < 0 || text_add_percent(query, tags[i].value, false) < 0)
            return -ENOMEM;
    return 0;
}

static void tags_told(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    struct output_writing *writing = arg;
    struct s3_result none = *result;
    if (result->status == S3_NO_KEY || result->status == S3_NO_BUCKET) { /* gone meanwhile, as will be seen later */
        none.status = S3_OK;
        n = 0;
    }
    if (!ended_well(writing, &none))
        return;
    if (add_tags(&writing->tags, tags, n) < 0)
        finish_with(writing, OUTPUT_LATER, "out of memory");
    else
        next(writing);
}

static bool wants_tags(const struct output_job *job) {
    for (size_t i = 0; i < job->n_outputs; i++)
        if (job->outputs[i]->copy_tags)
            return true;
    return false;
}

/* ---- the beginning ---- */

static int add_destination(struct output_writing *writing, const struct output *output, struct handler_part *part,
                           struct err *err) {
    struct destination *to = &writing->to[writing->n];
    size_t at = writing->keys.n;
    struct err why = {0};
    int r = key_template_expand(output->key, &writing->job.source->object, part->name, part->extension, &writing->keys,
                                &why);
    *to = (struct destination){output, part, at, writing->keys.n - at};
    if (r == 0 && !output->s3)
        r = output_file_check(key_of(writing, to), &why);
    if (r == -E2BIG)
        r = -EINVAL;
    if (r < 0) {
        _cleanup_buf_ struct buf shown = {0};
        text_add_printable(&shown, key_of(writing, to));
        return err_set(err, r, "%s%s%.200s%s: %s", output->described.p, shown.n ? " as '" : "", shown.n ? shown.p : "",
                       shown.n ? "'" : "", why.text);
    }
    writing->n++;
    return 0;
}

static int check_distinct(const struct output_writing *writing, struct err *err) {
    for (size_t i = 0; i < writing->n; i++)
        for (size_t k = 0; k < i; k++) {
            const struct destination *a = &writing->to[i], *b = &writing->to[k];
            if (a->output->s3 != b->output->s3 || strcmp(a->output->place, b->output->place) != 0 ||
                !bytes_equal(key_of(writing, a), key_of(writing, b)))
                continue;
            _cleanup_buf_ struct buf shown = {0};
            text_add_printable(&shown, key_of(writing, a));
            return err_set(err, -EINVAL, "%s: two results of this object would be called '%.200s'%s",
                           a->output->described.p, shown.p ? shown.p : "",
                           a->output == b->output ? "; put {name} into it" : "");
        }
    return 0;
}

static int choose_names(struct output_writing *writing, struct err *err) {
    const struct output_job *job = &writing->job;
    writing->to = mem_calloc(job->n_outputs * job->n_parts, sizeof *writing->to);
    if (!writing->to)
        return err_set(err, -ENOMEM, "out of memory");
    for (size_t o = 0; o < job->n_outputs; o++)
        for (size_t p = 0; p < job->n_parts; p++) {
            int r = add_destination(writing, job->outputs[o], &job->parts[p], err);
            if (r < 0)
                return r;
        }
    return check_distinct(writing, err);
}

static int start(struct output_writing *writing) {
    const struct key_object *object = &writing->job.source->object;
    if (!wants_tags(&writing->job))
        return step(writing);
    return s3_get_tags(writing->job.source_s3, object->bucket, object->key, object->version_id, tags_told, writing,
                       &writing->call);
}

int output_write(const struct output_job *job, const struct output_events *events, void *arg,
                 struct output_writing **ret_writing, struct err *err) {
    struct output_writing *writing = mem_zalloc(sizeof *writing);
    if (!writing)
        return err_set(err, -ENOMEM, "out of memory");
    writing->job = *job;
    writing->events = *events;
    writing->arg = arg;
    int r = choose_names(writing, err);
    if (r == 0) {
        r = start(writing);
        if (r < 0)
            err_set(err, r, "%s: the request cannot be made", writing->to[0].output->described.p);
    }
    if (r < 0) {
        free_writing(writing);
        return r;
    }
    *ret_writing = writing;
    return 0;
}

void output_cancel(struct output_writing *writing) {
    writing->cancelled = true;
    if (writing->call)
        s3_cancel(writing->call);
    if (writing->file.running) {
        atomic_store(&writing->file.cancelled, true);
        uv_cancel((uv_req_t *)&writing->file.work);
    }
}
