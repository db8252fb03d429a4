/* s3_copy.c - CopyObject: an object copied inside S3, in one request as far as one can. */
#include "s3_private.h"

#include "text.h"

#include <errno.h>

int s3_copy_add_source(struct buf *out, const struct s3_copy_source *source) {
    int r = buf_add_bytes(out, source->bucket);
    if (r == 0)
        r = buf_add_byte(out, '/');
    if (r == 0)
        r = text_add_percent(out, source->key, true);
    if (r == 0 && source->version_id.n)
        r = buf_add_str(out, "?versionId=");
    return r < 0 || source->version_id.n == 0 ? r : text_add_percent(out, source->version_id, false);
}

static int check_source(const struct s3_copy_source *source) {
    if (source->version_id.n > S3_VERSION_MAX || source->etag.n > S3_ETAG_MAX || !s3_ask_fits_header(source->etag))
        return -EINVAL;
    return s3_ask_check_object(source->bucket, source->key);
}

int s3_copy_whole(struct s3_client *client, const struct s3_copy_source *source, struct bytes bucket, struct bytes key,
                  const struct s3_put_options *options, s3_put_fn *done, void *arg, struct s3_call **ret_call) {
    size_t bytes, headers;
    _cleanup_buf_ struct buf from = {0};
    struct s3_call *call;
    int r = s3_put_check(options, &bytes, &headers);
    if (r >= 0)
        r = s3_copy_add_source(&from, source);
    if (r >= 0)
        r = s3_ask(client, S3_OP_COPY, bucket.n + key.n + from.n + source->etag.n + bytes, headers + 4, &call);
    if (r < 0)
        return r;
    call->to.put = done;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    call->key = s3_ask_keep(call, key);
    s3_ask_header(call, BYTES("x-amz-copy-source"), s3_ask_keep(call, buf_bytes(&from)));
    if (source->etag.n)
        s3_ask_header(call, BYTES("x-amz-copy-source-if-match"), s3_ask_keep(call, source->etag));
    if (s3_put_replaces(options))
        s3_ask_header(call, BYTES("x-amz-metadata-directive"), BYTES("REPLACE"));
    if (options && options->tagging.n)
        s3_ask_header(call, BYTES("x-amz-tagging-directive"), BYTES("REPLACE"));
    s3_put_add(call, options);
    r = s3_body_take(call, BYTES_NONE, false); /* a PUT has a length */
    if (r < 0)
        s3_call_release(call);
    else
        s3_call_start(call, false, ret_call);
    return r;
}

int s3_copy(struct s3_client *client, const struct s3_copy_source *source, struct bytes bucket, struct bytes key,
            const struct s3_put_options *options, s3_put_fn *done, void *arg, struct s3_call **ret_call) {
    if (s3_ask_check_object(bucket, key) < 0 || check_source(source) < 0)
        return -EINVAL;
    if (source->size > client->copy_max || s3_copy_must_be_looked_after(client, source))
        return s3_upload_start(client, bucket, key, source->size, client->copy_part, NULL, source, options, done, arg,
                               ret_call);
    return s3_copy_whole(client, source, bucket, key, options, done, arg, ret_call);
}
