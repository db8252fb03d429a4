/* guard.c - deleting exactly what was read.
 *
 * A versioned object is deleted by its version id, which can never hit a newer write. Otherwise the delete carries
 * If-Match with the ETag that was read. Servers that do not know that header ignore it in silence and delete whatever
 * is there, so a server that is not AWS is asked once, with a conditional delete of a key that does not exist: 404 or
 * 412 mean that it looks at the condition. If it does not, a HEAD right before the delete compares the ETag; the window
 * between the two is open, and status, log and metrics say "unguarded". The header is sent all the same unless the
 * server refuses it: some honour it for keys that exist. */
#include "private.h"

static const struct bytes null_version = {"null",
                                          4}; /* the version of a bucket whose versioning is suspended: not unique */

bool read_state_is_version(const struct read_state *read) {
    return read->version_id.n > 0 && !bytes_equal(read->version_id, null_version);
}

static bool by_version(const struct guarded_delete *deletion) {
    return read_state_is_version(&deletion->read);
}

bool read_state_is_exact(const struct read_state *read) {
    return read->etag.n > 0 || read_state_is_version(read);
}

static void end(struct guarded_delete *deletion, enum deleted deleted, const char *text) {
    deletion->call = NULL;
    deletion->done(deletion, deleted, text);
}

/* The next step could not be taken. */
static void end_unsent(struct guarded_delete *deletion, int r) {
    end(deletion, DELETE_LATER,
        r == -ECANCELED ? "the lease on this run is not certain any more" : "the request could not be made");
}

static enum deleted judge(const struct s3_result *result) {
    switch (result->status) {
    case S3_OK:
    case S3_NO_KEY:
    case S3_NO_BUCKET:
        return DELETED;
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

static int step(struct guarded_delete *deletion);

static void deleted(void *arg, const struct s3_result *result) {
    struct guarded_delete *deletion = arg;
    struct pipeline *pipeline = deletion->pipeline;
    deletion->call = NULL;
    pipeline_note(pipeline, deletion->bucket, result);
    if (result->status == S3_NOT_SUPPORTED && pipeline->guard.state != PROBE_REFUSES_CONDITION &&
        !by_version(deletion)) {
        pipeline->guard.state = PROBE_REFUSES_CONDITION;
        int r = step(deletion);
        if (r < 0)
            end_unsent(deletion, r);
        return;
    }
    end(deletion, judge(result), result->text);
}

static void compared(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct guarded_delete *deletion = arg;
    struct pipeline *pipeline = deletion->pipeline;
    deletion->call = NULL;
    pipeline_note(pipeline, deletion->bucket, result);
    if (result->status != S3_OK) {
        end(deletion, judge(result), result->text);
        return;
    }
    if (!bytes_equal(info->etag, deletion->read.etag)) {
        end(deletion, DELETE_OVERWRITTEN, "overwritten");
        return;
    }
    if (deletion->cancelled) {
        end(deletion, DELETE_CANCELLED, "cancelled");
        return;
    }
    bool null_one = deletion->read.version_id.n > 0; /* only then no delete marker is left behind */
    bool condition = !null_one && pipeline->guard.state != PROBE_REFUSES_CONDITION;
    int r = froe_task_holds_lease(deletion->task) ? 0 : -ECANCELED;
    if (r == 0)
        r = s3_delete(pipeline->options.s3, deletion->bucket->stats.name, deletion->key, deletion->read.version_id,
                      condition ? deletion->read.etag : BYTES_NONE, deleted, deletion, &deletion->call);
    if (r < 0)
        end_unsent(deletion, r);
}

/* `failed` NULL: the answer is known. */
static void wake_waiting(struct pipeline *pipeline, const struct s3_result *failed) {
    const struct bucket *asked = pipeline->guard.bucket;
    struct list waiting;
    list_init(&waiting);
    list_splice_back(&waiting, &pipeline->guard.waiting);
    for (struct list *link; (link = list_pop_front(&waiting));) {
        struct guarded_delete *deletion = LIST_ENTRY(link, struct guarded_delete, waiting);
        /* That the bucket asked is gone says something of that one only. */
        bool concerned = failed && (failed->status != S3_NO_BUCKET || deletion->bucket == asked);
        int r = 0;
        if (deletion->cancelled)
            end(deletion, DELETE_CANCELLED, "cancelled");
        else if (concerned)
            end(deletion, judge(failed), failed->text);
        else
            r = step(deletion);
        if (r < 0)
            end_unsent(deletion, r);
    }
}

static void probed(void *arg, const struct s3_result *result) {
    struct pipeline *pipeline = arg;
    struct guard *guard = &pipeline->guard;
    pipeline_note(pipeline, NULL, result);
    switch (result->status) {
    case S3_NO_KEY:
    case S3_PRECONDITION:
        guard->state = PROBE_GUARDED;
        break;
    case S3_OK:
        guard->state = PROBE_UNGUARDED;
        break;
    case S3_NOT_SUPPORTED:
        guard->state = PROBE_REFUSES_CONDITION;
        break;
    case S3_DENIED: /* nothing was learnt, and a policy may allow only some keys: take the careful way */
        guard->state = PROBE_UNGUARDED;
        break;
    default: /* asked again for the next delete */
        guard->state = PROBE_NEEDED;
        wake_waiting(pipeline, result);
        return;
    }
    if (result->status == S3_DENIED)
        log_warn(pipeline->options.log,
                 "deletes are unguarded: trying whether the server honours If-Match on DELETE was denied; a HEAD is "
                 "compared before each",
                 LOG_STR("error", result->text));
    else if (guard->state != PROBE_GUARDED)
        log_warn(pipeline->options.log,
                 "deletes are unguarded: the server ignores If-Match on DELETE; a HEAD is compared before each");
    wake_waiting(pipeline, NULL);
}

/* Does the next thing that the delete needs. */
static int step(struct guarded_delete *deletion) {
    struct pipeline *pipeline = deletion->pipeline;
    struct guard *guard = &pipeline->guard;
    struct s3_client *s3 = pipeline->options.s3;
    struct bucket *bucket = deletion->bucket;
    if (!froe_task_holds_lease(deletion->task))
        return -ECANCELED;
    if (by_version(deletion)) {
        bucket_set_guard(bucket, GUARD_VERSION);
        return s3_delete(s3, bucket->stats.name, deletion->key, deletion->read.version_id, BYTES_NONE, deleted,
                         deletion, &deletion->call);
    }
    /* The probe would leave a delete marker in a bucket that has versions. */
    bool may_probe = deletion->read.version_id.n == 0;
    if ((guard->state == PROBE_NEEDED && may_probe) || guard->state == PROBE_RUNNING) {
        if (guard->state == PROBE_NEEDED) {
            int r = s3_probe_conditional_delete(s3, bucket->stats.name, probed, pipeline, NULL);
            if (r < 0)
                return r;
            guard->state = PROBE_RUNNING;
            guard->bucket = bucket;
        }
        list_push_back(&guard->waiting, &deletion->waiting);
        return 0;
    }
    if (guard->state == PROBE_GUARDED) {
        bucket_set_guard(bucket, GUARD_IF_MATCH);
        return s3_delete(s3, bucket->stats.name, deletion->key, BYTES_NONE, deletion->read.etag, deleted, deletion,
                         &deletion->call);
    }
    bucket_set_guard(bucket, GUARD_UNGUARDED);
    return s3_head(s3, bucket->stats.name, deletion->key, BYTES_NONE, compared, deletion, &deletion->call);
}

int guarded_delete_start(struct guarded_delete *deletion) {
    deletion->call = NULL;
    deletion->cancelled = false;
    list_init(&deletion->waiting);
    return step(deletion);
}

void guarded_delete_cancel(struct guarded_delete *deletion) {
    deletion->cancelled = true;
    if (deletion->call)
        s3_cancel(deletion->call);
}
