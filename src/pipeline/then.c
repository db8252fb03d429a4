/* then.c - what becomes of an object that was processed, and whose results are durable: it is deleted, moved, tagged or
 * kept.
 *
 * What is to be done is decided when the object's headers are known, and from then on a text:
 *
 *     ""                          delete
 *     "move BUCKET/KEY"           copied as it was read, then deleted
 *     "tag NAME=VALUE&..."        percent-encoded; added to the tags that it has, and a record kept of it
 *     "keep"                      a record kept of it
 *
 * so that an attempt that has to be repeated does what was decided, whatever the rules say by then. Only what was read
 * is touched: a copy names the ETag (and version), as a delete does. Tags cannot be set under a condition: a HEAD is
 * compared right before, unless they can name the version. */
#include "private.h"

#include "text.h"

static const struct bytes move_word = {"move ", 5}, tag_word = {"tag ", 4};

int then_resolve(const struct pipeline_then *then, const struct key_object *object, struct buf *how, struct err *err) {
    int r = 0;
    switch (then->kind) {
    case THEN_DELETE:
        return 0;
    case THEN_KEEP:
        r = buf_add_str(how, "keep");
        break;
    case THEN_TAG:
        r = buf_add_bytes(how, tag_word);
        for (size_t i = 0; i < then->n_tags && r == 0; i++) {
            r = i > 0 ? buf_add_byte(how, '&') : 0;
            r = r < 0 ? r : text_add_percent(how, then->tags[i].name, false);
            r = r < 0 ? r : buf_add_byte(how, '=');
            r = r < 0 ? r : text_add_percent(how, then->tags[i].value, false);
        }
        break;
    case THEN_MOVE:
        r = buf_printf(how, "move %s/", then->bucket);
        if (r == 0 && (r = key_template_expand(then->key, object, BYTES_NONE, BYTES_NONE, how, err)) < 0) {
            if (r != -ENOMEM)
                err_prefix(err, "it cannot be moved to %s", then->bucket);
            return r == -ENOMEM ? r : -EINVAL;
        }
        break;
    }
    return r < 0 ? err_set(err, r, "out of memory") : 0;
}

const char *then_failure(struct bytes how) {
    return bytes_starts(how, move_word)  ? "processed, but not moved"
           : bytes_starts(how, tag_word) ? "processed, but not tagged"
           : how.n > 0                   ? "processed, but that could not be recorded"
                                         : "processed, but not deleted";
}

static void end(struct aftermath *after, enum deleted ended, const char *text) {
    after->call = NULL;
    after->done(after, ended, text);
}

/* The next step could not be taken. */
static void end_unsent(struct aftermath *after, int r) {
    end(after, r == -EINVAL ? DELETE_FAILED : DELETE_LATER,
        r == -ECANCELED ? "the lease on this run is not certain any more"
        : r == -EINVAL  ? "such a request cannot be made"
                        : "the request could not be made");
}

static enum deleted judge(const struct s3_result *result) {
    switch (result->status) {
    case S3_NO_KEY:
        return DELETED; /* gone: nothing is left to be done */
    case S3_PRECONDITION:
        return DELETE_OVERWRITTEN;
    case S3_THROTTLED:
    case S3_UNREACHABLE:
    case S3_CREDENTIALS:
    case S3_NO_MEMORY:
        return DELETE_LATER;
    case S3_CANCELLED:
        return DELETE_CANCELLED;
    default:
        return DELETE_FAILED;
    }
}

/* True when the next step may follow. */
static bool went_well(struct aftermath *after, const struct s3_result *result) {
    after->call = NULL;
    pipeline_note(after->pipeline, after->bucket, result);
    if (result->status != S3_OK)
        end(after, judge(result), result->text);
    else if (after->cancelled)
        end(after, DELETE_CANCELLED, "cancelled");
    else
        return true;
    return false;
}

/* ---- delete ---- */

static void deleted(struct guarded_delete *deletion, enum deleted ended, const char *text) {
    struct aftermath *after = LIST_ENTRY(deletion, struct aftermath, deletion);
    after->deleting = false;
    end(after, ended, text);
}

static int start_delete(struct aftermath *after) {
    after->deletion = (struct guarded_delete){
        .pipeline = after->pipeline,
        .bucket = after->bucket,
        .task = after->task,
        .key = after->key,
        .read = after->read,
        .done = deleted,
    };
    after->deleting = true;
    int r = guarded_delete_start(&after->deletion);
    after->deleting = r == 0;
    return r;
}

/* ---- move ---- */

static void copied(void *arg, const struct s3_result *result, struct bytes etag, struct bytes version_id) {
    struct aftermath *after = arg;
    (void)etag;
    (void)version_id;
    if (result->status == S3_OK)
        after->copied = true; /* whatever follows, only the delete is left */
    if (!went_well(after, result))
        return;
    int r = start_delete(after);
    if (r < 0)
        end_unsent(after, r);
}

static struct bytes version_of(const struct aftermath *after) {
    return read_state_is_version(&after->read) ? after->read.version_id : BYTES_NONE;
}

static int start_move(struct aftermath *after, struct bytes to) {
    const char *slash = to.n ? memchr(to.p, '/', to.n) : NULL;
    if (!slash)
        return -EINVAL;
    size_t bucket_n = (size_t)(slash - to.p);
    const struct s3_copy_source source = {
        .bucket = after->bucket->stats.name,
        .key = after->key,
        .version_id = version_of(after),
        .etag = after->read.etag,
        .size = after->size,
    };
    return s3_copy(after->pipeline->options.s3, &source, bytes_of(to.p, bucket_n),
                   bytes_of(slash + 1, to.n - bucket_n - 1), NULL, copied, after, &after->call);
}

/* ---- keep, and tag ---- */

static int record(struct aftermath *after) {
    return records_put(after->pipeline, after->bucket->stats.name, after->key, after->read.etag);
}

static void tagged(void *arg, const struct s3_result *result) {
    struct aftermath *after = arg;
    after->call = NULL;
    pipeline_note(after->pipeline, after->bucket, result);
    int r = result->status == S3_OK ? record(after) : 0;
    if (r < 0)
        end_unsent(after, r);
    else
        end(after, result->status == S3_OK ? DELETED : judge(result), result->text);
}

static void tags_put(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    (void)tags;
    (void)n;
    tagged(arg, result);
}

struct merging {
    struct s3_tag tags[2 * S3_TAGS_MAX];
    size_t n;
    struct buf text[2 * S3_TAGS_MAX]; /* decoded; of name and value in turn */
    size_t n_text;
};

static int unpercent(struct merging *merging, struct bytes text, struct bytes *ret_text) {
    struct buf *into = &merging->text[merging->n_text++];
    int r = text_add_unpercent(into, text, false);
    *ret_text = buf_bytes(into);
    return r;
}

static int merge_one(struct merging *merging, struct bytes word) {
    const char *equals = word.n ? memchr(word.p, '=', word.n) : NULL;
    struct s3_tag tag;
    if (!equals || merging->n_text + 2 > 2 * S3_TAGS_MAX)
        return -EINVAL;
    size_t name_n = (size_t)(equals - word.p);
    int r = unpercent(merging, bytes_of(word.p, name_n), &tag.name);
    r = r < 0 ? r : unpercent(merging, bytes_of(equals + 1, word.n - name_n - 1), &tag.value);
    if (r < 0)
        return r;
    size_t i = 0;
    while (i < merging->n && !bytes_equal(merging->tags[i].name, tag.name))
        i++;
    merging->tags[i] = tag;
    merging->n += i == merging->n;
    return 0;
}

static int put_merged(struct aftermath *after, const struct s3_tag *tags, size_t n) {
    struct merging merging = {.n = n};
    struct bytes rest = bytes_of(after->how.p + tag_word.n, after->how.n - tag_word.n);
    if (n > S3_TAGS_MAX) { /* none of them may get lost */
        end(after, DELETE_FAILED, "it has more tags already than the 10 that S3 allows");
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        merging.tags[i] = tags[i];
    int r = 0;
    while (rest.n && r == 0) {
        const char *amp = memchr(rest.p, '&', rest.n);
        size_t word = amp ? (size_t)(amp - rest.p) : rest.n;
        r = merge_one(&merging, bytes_of(rest.p, word));
        rest = amp ? bytes_of(amp + 1, rest.n - word - 1) : BYTES_NONE;
    }
    if (r == 0 && merging.n > S3_TAGS_MAX)
        end(after, DELETE_FAILED, "with the tags that it has there would be more than the 10 that S3 allows");
    else if (r == 0)
        r = s3_put_tags(after->pipeline->options.s3, after->bucket->stats.name, after->key, version_of(after),
                        merging.tags, merging.n, tags_put, after, &after->call);
    for (size_t i = 0; i < merging.n_text; i++)
        buf_free(&merging.text[i]);
    return r;
}

static void tags_told(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    struct aftermath *after = arg;
    if (!went_well(after, result))
        return;
    int r = put_merged(after, tags, n);
    if (r < 0)
        end_unsent(after, r);
}

static int ask_for_tags(struct aftermath *after) {
    return s3_get_tags(after->pipeline->options.s3, after->bucket->stats.name, after->key, version_of(after), tags_told,
                       after, &after->call);
}

static void compared(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct aftermath *after = arg;
    if (!went_well(after, result))
        return;
    if (!bytes_equal(info->etag, after->read.etag)) {
        end(after, DELETE_OVERWRITTEN, "overwritten");
        return;
    }
    int r = ask_for_tags(after);
    if (r < 0)
        end_unsent(after, r);
}

static int start_tag(struct aftermath *after) {
    if (read_state_is_version(&after->read))
        return ask_for_tags(after);
    return s3_head(after->pipeline->options.s3, after->bucket->stats.name, after->key, BYTES_NONE, compared, after,
                   &after->call);
}

/* ---- all of them ---- */

void aftermath_start(struct aftermath *after) {
    struct bytes how = after->how;
    int r = froe_task_holds_lease(after->task) ? 0 : -ECANCELED;
    bool keep = bytes_equal(how, BYTES("keep"));
    after->call = NULL;
    after->deleting = after->cancelled = after->copied = false;
    if (r < 0)
        ;
    else if (how.n == 0)
        r = start_delete(after);
    else if (bytes_starts(how, move_word))
        r = start_move(after, bytes_of(how.p + move_word.n, how.n - move_word.n));
    else if (bytes_starts(how, tag_word))
        r = start_tag(after);
    else
        r = keep ? record(after) : -EINVAL;
    if (r < 0)
        end_unsent(after, r);
    else if (keep)
        end(after, DELETED, "");
}

void aftermath_cancel(struct aftermath *after, bool lease_lost) {
    /* A delete that was sent may be carried out all the same. It is given its own deadline to end rather than being cut
     * off not knowing; only when the lease is gone nothing more may be sent. All else can be done again. */
    if (after->deleting && lease_lost)
        guarded_delete_cancel(&after->deletion);
    else if (!after->deleting && after->call)
        s3_cancel(after->call);
    after->cancelled = !after->deleting;
}
