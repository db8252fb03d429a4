/* s3_upload_copy.c - copies that take several requests: in parts, which take over nothing of the source by themselves,
 * and those whose server may ignore that they name an ETag.
 *
 *     in parts:  HEAD -> GET TAGS -> s3_upload.c, with a HEAD before COMPLETE
 *     in one:    HEAD -> COPY -> HEAD; not the last one if the copy has the very ETag that was asked for, which proves
 * it
 *
 * AWS obeys x-amz-copy-source-if-match, and is not looked after. Ceph did not for long
 * (https://tracker.ceph.com/issues/40808), and for parts it does not; others know no such condition either. There the
 * source is looked at before and after it is copied. Is it another one before, nothing is copied; is it another one
 * after, then it was overwritten just then: the call says so, and of a copy in parts nothing stays. */
#include "s3_upload.h"

#include "text.h"

#include <errno.h>
#include <stdio.h>

static bool is_sure(const struct s3_upload *upload) {
    return upload->source.version_id.n || s3_endpoint_is_aws(&upload->call->client->endpoint);
}

static void on_tags(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n);
static int copy_whole(struct s3_upload *upload);

/* ---- the first look, and what a copy in parts takes over ---- */

static int ask_tags(struct s3_upload *upload) {
    const struct s3_copy_source *source = &upload->source;
    if (upload->options.tagging.n)
        return s3_upload_create(upload);
    return s3_get_tags(upload->call->client, source->bucket, source->key, source->version_id, on_tags, upload,
                       &upload->child);
}

static int take_info(struct s3_upload *upload, const struct s3_object_info *info,
                     const struct bytes standard[S3_STANDARD_N]) {
    struct s3_put_options options = upload->options;
    int r = buf_add_bytes(&upload->etag, info->etag);
    upload->source.etag = buf_bytes(&upload->etag); /* all parts are of one object, whichever it is */
    if (r < 0 || s3_put_replaces(&options))
        return r;
    options.content_type = info->content_type;
    options.metadata = info->metadata;
    options.n_metadata = info->n_metadata;
    return s3_upload_take_options(upload, &options, standard);
}

static bool is_source(const struct s3_upload *upload, const struct s3_object_info *info) {
    return !upload->source.etag.n || bytes_equal(info->etag, upload->source.etag);
}

/* Ceph (16) decodes the name of a part's source twice: "a%20b" is another object's then, which would be copied in
 * place of it, or that of a version of one. Nothing that it answers tells. */
static bool may_be_mistaken(const struct s3_upload *upload) {
    static const char version[] = "?versionId=";
    struct bytes key = upload->source.key;
    return !s3_endpoint_is_aws(&upload->call->client->endpoint) &&
           (memchr(key.p, '%', key.n) || memmem(key.p, key.n, version, sizeof version - 1));
}

static void on_head(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct s3_upload *upload = arg;
    const struct s3_call *child = upload->child;
    s3_upload_count(upload, result);
    if (!info) {
        s3_upload_fail(upload, result);
        return;
    }
    if (!is_source(upload, info) || (!upload->in_one && info->size != upload->size)) {
        s3_upload_fail_here(upload, S3_PRECONDITION, "the source was overwritten");
        return;
    }
    if (!upload->in_one && may_be_mistaken(upload)) {
        s3_upload_fail_here(
            upload, S3_NOT_SUPPORTED,
            "it is too large for one request, and in parts a server that is not AWS may take a name with "
            "a '%' or '?versionId=' in it for another one");
        return;
    }
    upload->modified_utc_us = info->modified_utc_us;
    int r = upload->in_one ? 0 : take_info(upload, info, child->standard);
    if (r >= 0 && upload->call->cancelled)
        r = -ECANCELED;
    if (r >= 0)
        r = upload->in_one ? copy_whole(upload) : ask_tags(upload);
    if (r < 0)
        s3_upload_fail_code(upload, r);
}

static void on_tags(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    struct s3_upload *upload = arg;
    int r = 0;
    s3_upload_count(upload, result);
    if (result->status != S3_OK && result->status != S3_NOT_SUPPORTED) {
        s3_upload_fail(upload, result);
        return;
    }
    for (size_t i = 0; r >= 0 && i < n; i++) {
        r = buf_add_str(&upload->tagging, i ? "&" : "");
        if (r >= 0)
            r = text_add_percent(&upload->tagging, tags[i].name, false);
        if (r >= 0)
            r = buf_add_byte(&upload->tagging, '=');
        if (r >= 0)
            r = text_add_percent(&upload->tagging, tags[i].value, false);
    }
    upload->options.tagging = buf_bytes(&upload->tagging);
    if (r >= 0 && upload->call->cancelled)
        r = -ECANCELED;
    if (r >= 0)
        r = s3_upload_create(upload);
    if (r < 0)
        s3_upload_fail_code(upload, r);
}

/* ---- parts ---- */

int s3_upload_copy_part(struct s3_upload *upload, uint64_t from, uint64_t n) {
    char range[64];
    struct s3_call *child;
    int range_n =
        snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)from, (unsigned long long)(from + n - 1));
    int r = s3_upload_ask(upload, S3_OP_COPY_PART, sizeof child->number + sizeof range, 3, &child);
    if (r < 0)
        return r;
    snprintf(child->number, sizeof child->number, "%u", upload->part);
    s3_ask_param(child, BYTES("partNumber"), bytes_str(child->number));
    s3_ask_header(child, BYTES("x-amz-copy-source"), upload->source_text);
    s3_ask_header(child, BYTES("x-amz-copy-source-range"), s3_ask_keep(child, bytes_of(range, (size_t)range_n)));
    if (upload->source.etag.n)
        s3_ask_header(child, BYTES("x-amz-copy-source-if-match"), upload->source.etag);
    return s3_upload_send(upload, child, s3_body_take(child, BYTES_NONE, false), false);
}

/* ---- looking again ---- */

static void on_look(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct s3_upload *upload = arg;
    s3_upload_count(upload, result);
    upload->looked = true;
    if (!info) {
        s3_upload_fail(upload, result);
    } else if (!is_source(upload, info) || info->modified_utc_us != upload->modified_utc_us) {
        s3_upload_fail_here(upload, S3_PRECONDITION,
                            upload->in_one ? "the source was overwritten, and the server copied what is there now"
                                           : "the source was overwritten");
    } else if (upload->in_one) {
        s3_upload_succeed(upload);
    } else {
        int r = upload->call->cancelled ? -ECANCELED : s3_upload_complete(upload);
        if (r < 0)
            s3_upload_fail_code(upload, r);
    }
}

bool s3_upload_copy_must_look(const struct s3_upload *upload) {
    return !upload->read && !upload->looked && !is_sure(upload);
}

int s3_upload_copy_look(struct s3_upload *upload) {
    const struct s3_copy_source *source = &upload->source;
    return s3_head(upload->call->client, source->bucket, source->key, BYTES_NONE, on_look, upload, &upload->child);
}

/* ---- in one ---- */

static void on_copied(void *arg, const struct s3_result *result, struct bytes etag, struct bytes version_id) {
    struct s3_upload *upload = arg;
    s3_upload_count(upload, result);
    if (result->status != S3_OK) {
        s3_upload_fail_gone(upload, result);
        return;
    }
    bool same = bytes_equal(etag, upload->source.etag);
    int r = s3_upload_stored(upload, etag, version_id);
    if (r >= 0 && !same)
        r = s3_upload_copy_look(upload);
    if (r < 0)
        s3_upload_fail_code(upload, r);
    else if (same)
        s3_upload_succeed(upload);
}

static int copy_whole(struct s3_upload *upload) {
    struct s3_call *call = upload->call;
    return s3_copy_whole(call->client, &upload->source, call->bucket, call->key, &upload->options, on_copied, upload,
                         &upload->child);
}

bool s3_copy_must_be_looked_after(const struct s3_client *client, const struct s3_copy_source *source) {
    return source->etag.n && !source->version_id.n && !s3_endpoint_is_aws(&client->endpoint);
}

/* ---- their beginning ---- */

int s3_upload_copy_start(struct s3_upload *upload, const struct s3_copy_source *source, struct bytes source_text) {
    struct s3_call *call = upload->call;
    upload->source = (struct s3_copy_source){
        .bucket = s3_ask_keep(call, source->bucket),
        .key = s3_ask_keep(call, source->key),
        .version_id = s3_ask_keep(call, source->version_id),
        .etag = s3_ask_keep(call, source->etag),
        .size = source->size,
    };
    upload->source_text = s3_ask_keep(call, source_text);
    upload->in_one = upload->size <= call->client->copy_max;
    return s3_head(call->client, upload->source.bucket, upload->source.key, upload->source.version_id, on_head, upload,
                   &upload->child);
}
