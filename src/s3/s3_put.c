/* s3_put.c - storing an object: its headers, and PutObject with a body in memory or one that is read. */
#include "s3_private.h"

#include <errno.h>

#define METADATA_PREFIX "x-amz-meta-"
#define STORAGE_CLASS_MAX 64

/* ---- how it is stored ---- */

static int check_metadata(const struct s3_header *metadata, size_t n, size_t *ret_bytes) {
    size_t total = 0;
    if (n > S3_METADATA_MAX)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        struct bytes name = metadata[i].name;
        if (name.n == 0 || name.n > S3_METADATA_BYTES || metadata[i].value.n > S3_METADATA_BYTES ||
            !s3_ask_fits_header(metadata[i].value))
            return -EINVAL;
        for (size_t c = 0; c < name.n; c++)
            if (!(name.p[c] >= 'a' && name.p[c] <= 'z') && !(name.p[c] >= '0' && name.p[c] <= '9') &&
                (name.p[c] == '\0' || !strchr("!#$%&'*+-.^_`|~", name.p[c])))
                return -EINVAL;
        total += name.n + metadata[i].value.n;
    }
    *ret_bytes = total;
    return total > S3_METADATA_BYTES ? -EINVAL : 0;
}

int s3_put_check(const struct s3_put_options *options, size_t *ret_bytes, size_t *ret_headers) {
    size_t metadata;
    *ret_bytes = *ret_headers = 0;
    if (!options)
        return 0;
    if (options->content_type.n > S3_METADATA_BYTES || !s3_ask_fits_header(options->content_type) ||
        options->storage_class.n > STORAGE_CLASS_MAX || !s3_ask_fits_header(options->storage_class) ||
        options->tagging.n > S3_METADATA_BYTES || !s3_ask_fits_header(options->tagging) ||
        check_metadata(options->metadata, options->n_metadata, &metadata) < 0)
        return -EINVAL;
    *ret_bytes = options->content_type.n + options->storage_class.n + options->tagging.n + metadata +
                 options->n_metadata * sizeof METADATA_PREFIX;
    *ret_headers = 3 + options->n_metadata;
    return 0;
}

static void add_kept(struct s3_call *call, struct bytes name, struct bytes value) {
    if (value.n)
        s3_ask_header(call, name, s3_ask_keep(call, value));
}

void s3_put_add(struct s3_call *call, const struct s3_put_options *options) {
    if (!options)
        return;
    add_kept(call, BYTES("content-type"), options->content_type);
    add_kept(call, BYTES("x-amz-storage-class"), options->storage_class);
    add_kept(call, BYTES("x-amz-tagging"), options->tagging);
    for (size_t i = 0; i < options->n_metadata; i++) {
        struct bytes name = s3_ask_keep(call, BYTES(METADATA_PREFIX));
        name.n += s3_ask_keep(call, options->metadata[i].name).n;
        s3_ask_header(call, name, s3_ask_keep(call, options->metadata[i].value));
    }
}

/* ---- the request ---- */

/* A call that has all but its body, for which there are `body_room` bytes among its arguments. */
static int ask(struct s3_client *client, struct bytes bucket, struct bytes key, size_t body_room,
               const struct s3_put_options *options, s3_put_fn *done, void *arg, struct s3_call **ret_call) {
    size_t bytes, headers, total;
    if (s3_ask_check_object(bucket, key) < 0 || s3_put_check(options, &bytes, &headers) < 0 ||
        __builtin_add_overflow(bucket.n + key.n + bytes, body_room, &total))
        return -EINVAL;
    struct s3_call *call;
    int r = s3_ask(client, S3_OP_PUT, total, headers + 1, &call);
    if (r < 0)
        return r;
    call->to.put = done;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    call->key = s3_ask_keep(call, key);
    s3_put_add(call, options);
    *ret_call = call;
    return 0;
}

static int start(struct s3_call *call, int r, bool with_deadline, struct s3_call **ret_call) {
    if (r < 0)
        s3_call_release(call);
    else
        s3_call_start(call, with_deadline, ret_call);
    return r;
}

int s3_put(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes body,
           struct bytes content_type, const struct s3_header *metadata, size_t n_metadata, s3_put_fn *done, void *arg,
           struct s3_call **ret_call) {
    struct s3_put_options options = {.content_type = content_type, .metadata = metadata, .n_metadata = n_metadata};
    struct s3_call *call;
    int r = ask(client, bucket, key, body.n, &options, done, arg, &call);
    return r < 0 ? r : start(call, s3_body_take(call, s3_ask_keep(call, body), true), true, ret_call);
}

int s3_put_stream(struct s3_client *client, struct bytes bucket, struct bytes key, uint64_t size, s3_read_fn *read,
                  const struct s3_put_options *options, uint64_t part_bytes, s3_put_fn *done, void *arg,
                  struct s3_call **ret_call) {
    if (!read || part_bytes == 0 || part_bytes > S3_PUT_MAX)
        return -EINVAL;
    if (size > part_bytes)
        return s3_upload_start(client, bucket, key, size, part_bytes, read, NULL, options, done, arg, ret_call);
    struct s3_call *call;
    int r = ask(client, bucket, key, s3_body_room(size), options, done, arg, &call);
    return r < 0 ? r : start(call, s3_body_read(call, read, arg, 0, size), false, ret_call);
}

int s3_probe_put(struct s3_client *client, struct bytes bucket, struct bytes key, const struct s3_put_options *options,
                 s3_put_fn *done, void *arg, struct s3_call **ret_call) {
    return s3_upload_start(client, bucket, key, 1, 1, NULL, NULL, options, done, arg, ret_call);
}
