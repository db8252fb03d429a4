/* s3_upload.c - multipart uploads: one call to the caller, several requests to S3, each a call of its own.
 *
 *     put:   CREATE -> PUT PART ... -> COMPLETE
 *     copy:  CREATE -> COPY PART ... -> COMPLETE     (and what s3_upload_copy.c does before and between)
 *     both:  -> PUT TAGS, where there are some and the server is not AWS: others ignore those that CREATE told (Ceph)
 *            what fails or is cancelled after CREATE: ABORT
 *     probe: CREATE -> ABORT
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html. An answer to CREATE that is lost on the way
 * leaves an upload whose id nobody knows; only a lifecycle rule of the bucket can clear that. */
#include "s3_upload.h"

#include "mem.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>

#define ABORT_TEXT_MAX 400
#define COMPOSITE_MAX (S3_CRC32_TEXT + 8) /* "<crc32>-<parts>" */

static void on_step(struct s3_call *child, const struct s3_result *result);

void s3_upload_free(struct s3_upload *upload) {
    if (!upload)
        return;
    struct buf *bufs[] = {&upload->texts,    &upload->tagging, &upload->etag, &upload->id,
                          &upload->document, &upload->crcs,    &upload->md5s, &upload->left};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_free(bufs[i]);
    mem_free(upload->metadata);
    mem_free(upload);
}

struct bytes s3_upload_left(const struct s3_upload *upload) {
    return buf_bytes(&upload->left);
}

/* ---- how the object is to be stored ---- */

static struct bytes keep(struct s3_upload *upload, struct bytes text) {
    size_t at = upload->texts.n;
    buf_add_bytes(&upload->texts, text); /* reserved */
    return bytes_of(upload->texts.p + at, text.n);
}

int s3_upload_take_options(struct s3_upload *upload, const struct s3_put_options *options,
                           const struct bytes standard[S3_STANDARD_N]) {
    size_t total = options->content_type.n + options->storage_class.n + options->tagging.n;
    for (size_t i = 0; i < options->n_metadata; i++)
        total += options->metadata[i].name.n + options->metadata[i].value.n;
    for (size_t i = 0; i < S3_STANDARD_N; i++)
        total += standard ? standard[i].n : 0;
    struct buf before = upload->texts; /* the options may be what was taken before */
    struct s3_header *metadata =
        mem_reallocarray(NULL, options->n_metadata ? options->n_metadata : 1, sizeof *metadata);
    upload->texts = (struct buf){0};
    if (!metadata || buf_reserve(&upload->texts, total + 1) < 0) {
        mem_free(metadata);
        upload->texts = before;
        return -ENOMEM;
    }
    for (size_t i = 0; i < options->n_metadata; i++)
        metadata[i] =
            (struct s3_header){keep(upload, options->metadata[i].name), keep(upload, options->metadata[i].value)};
    for (size_t i = 0; i < S3_STANDARD_N; i++)
        upload->standard[i] = standard ? keep(upload, standard[i]) : BYTES_NONE;
    struct s3_put_options taken = {
        .content_type = keep(upload, options->content_type),
        .storage_class = keep(upload, options->storage_class),
        .tagging = keep(upload, options->tagging),
        .metadata = metadata,
        .n_metadata = options->n_metadata,
    };
    buf_free(&before);
    mem_free(upload->metadata);
    upload->metadata = metadata;
    upload->options = taken;
    return 0;
}

/* ---- its end ---- */

static void end(struct s3_upload *upload) {
    s3_call_end(upload->call, upload->status); /* frees the upload, too */
}

int s3_upload_ask(struct s3_upload *upload, enum s3_op op, size_t args_n, size_t n_headers,
                  struct s3_call **ret_child) {
    struct s3_call *call = upload->call, *child;
    int r = s3_ask(call->client, op, call->bucket.n + call->key.n + upload->id.n + args_n, n_headers, &child);
    if (r < 0)
        return r;
    child->to.step = on_step;
    child->arg = upload;
    child->bucket = s3_ask_keep(child, call->bucket);
    child->key = s3_ask_keep(child, call->key);
    if (op != S3_OP_CREATE_UPLOAD)
        s3_ask_param(child, BYTES("uploadId"), buf_bytes(&upload->id));
    *ret_child = child;
    return 0;
}

int s3_upload_send(struct s3_upload *upload, struct s3_call *child, int r, bool with_deadline) {
    if (r < 0) {
        s3_call_release(child);
        return r;
    }
    upload->child = child;
    s3_call_start(child, with_deadline, NULL);
    return r;
}

static void leave(struct s3_upload *upload, const char *why) {
    size_t n = strlen(why);
    buf_printf(&upload->left, "; its upload is left behind: %.*s", (int)(n < ABORT_TEXT_MAX ? n : ABORT_TEXT_MAX), why);
}

static void give_up(struct s3_upload *upload) {
    struct s3_call *child;
    if (upload->id.n && s3_upload_ask(upload, S3_OP_ABORT_UPLOAD, 0, 0, &child) == 0) {
        s3_upload_send(upload, child, 0, true);
        return;
    }
    if (upload->id.n)
        leave(upload, "out of memory");
    end(upload);
}

static void take_end(struct s3_upload *upload, const struct s3_result *result) {
    struct s3_call *call = upload->call;
    upload->status = result->status;
    call->http_status = result->http_status;
    snprintf(call->code, sizeof call->code, "%s", result->code);
    buf_reset(&call->message);
    buf_add_str(&call->message, result->text); /* without memory there are just fewer words */
}

void s3_upload_fail(struct s3_upload *upload, const struct s3_result *result) {
    take_end(upload, result);
    give_up(upload);
}

void s3_upload_fail_gone(struct s3_upload *upload, const struct s3_result *result) {
    struct s3_result failed = *result;
    if (failed.status == S3_NO_KEY)
        failed.status = S3_CONFLICT;
    s3_upload_fail(upload, &failed);
}

/* As `result`, in other words. */
static void fail_as(struct s3_upload *upload, const struct s3_result *result, const char *why) {
    _cleanup_buf_ struct buf text = {0};
    struct s3_result failed = *result;
    struct s3_call *call = upload->call;
    int r = buf_printf(&text, "%s ", s3_op_verb(call->op));
    if (r >= 0)
        r = text_add_printable(&text, call->bucket);
    if (r >= 0)
        r = buf_add_byte(&text, '/');
    if (r >= 0)
        r = text_add_printable(&text, call->key);
    if (r >= 0)
        r = buf_printf(&text, ": %s", why);
    failed.text = r < 0 ? why : text.p;
    s3_upload_fail(upload, &failed);
}

void s3_upload_fail_here(struct s3_upload *upload, enum s3_status status, const char *why) {
    fail_as(upload, &(struct s3_result){.status = status, .code = ""}, why);
}

void s3_upload_fail_code(struct s3_upload *upload, int r) {
    if (r == -ECANCELED)
        s3_upload_fail_here(upload, S3_CANCELLED, "cancelled");
    else if (r == -ENOMEM)
        s3_upload_fail_here(upload, S3_NO_MEMORY, "out of memory");
    else
        s3_upload_fail_here(upload, S3_BAD_REQUEST, "the request cannot be made");
}

/* A cancelled CREATE is waited for: once it is sent, only its answer tells what there is to abort. */
void s3_upload_cancel(struct s3_call *call) {
    struct s3_call *child = call->upload->child;
    if (!child)
        return;
    if (child->op == S3_OP_CREATE_UPLOAD && child->stage == S3_STAGE_HTTP && !call->client->closing)
        child->last = true;
    else
        s3_cancel(child);
}

/* ---- the requests ---- */

int s3_upload_create(struct s3_upload *upload) {
    size_t bytes, headers, more = 0;
    int r = s3_put_check(&upload->options, &bytes, &headers);
    for (size_t i = 0; i < S3_STANDARD_N; i++)
        more += upload->standard[i].n;
    struct s3_call *child;
    if (r >= 0)
        r = s3_upload_ask(upload, S3_OP_CREATE_UPLOAD, bytes + more, headers + S3_STANDARD_N + 1, &child);
    if (r < 0)
        return r;
    s3_ask_param(child, BYTES("uploads"), BYTES_NONE);
    if (upload->read) /* then each part, and the end, tell theirs */
        s3_ask_header(child, BYTES("x-amz-checksum-algorithm"), BYTES("CRC32"));
    for (size_t i = 0; i < S3_STANDARD_N; i++)
        if (upload->standard[i].n)
            s3_ask_header(child, bytes_str(s3_standard_names[i]), s3_ask_keep(child, upload->standard[i]));
    s3_put_add(child, &upload->options);
    return s3_upload_send(upload, child, s3_body_take(child, BYTES_NONE, false), true);
}

static int put_part(struct s3_upload *upload, uint64_t from, uint64_t n) {
    struct s3_call *child;
    int r = s3_upload_ask(upload, S3_OP_PUT_PART, sizeof child->number + s3_body_room(n), 1, &child);
    if (r < 0)
        return r;
    snprintf(child->number, sizeof child->number, "%u", upload->part);
    s3_ask_param(child, BYTES("partNumber"), bytes_str(child->number));
    return s3_upload_send(upload, child, s3_body_read(child, upload->read, upload->call->arg, from, n), false);
}

int s3_upload_complete(struct s3_upload *upload) {
    int r = buf_add_str(&upload->document, "</CompleteMultipartUpload>");
    struct s3_call *child;
    if (r >= 0)
        r = s3_upload_ask(upload, S3_OP_COMPLETE_UPLOAD, 0, 1, &child);
    if (r < 0)
        return r;
    s3_ask_header(child, BYTES("content-type"), BYTES("application/xml"));
    return s3_upload_send(upload, child, s3_body_take(child, buf_bytes(&upload->document), false), false);
}

static int next_part(struct s3_upload *upload) {
    if (upload->part == upload->parts && s3_upload_copy_must_look(upload))
        return s3_upload_copy_look(upload);
    if (upload->part == upload->parts)
        return s3_upload_complete(upload);
    uint64_t from = upload->part * upload->part_bytes, left = upload->size - from;
    uint64_t n = left < upload->part_bytes ? left : upload->part_bytes;
    upload->part++;
    return upload->read ? put_part(upload, from, n) : s3_upload_copy_part(upload, from, n);
}

/* ---- their answers ---- */

static int created(struct s3_upload *upload, const struct s3_call *child) {
    int r = buf_add_bytes(&upload->id, child->xml.upload_id);
    if (r >= 0)
        r = buf_add_str(&upload->document,
                        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    return r;
}

static int stored_part(struct s3_upload *upload, const struct s3_call *child) {
    struct buf *document = &upload->document;
    unsigned char md5[16], crc[4] = {(unsigned char)(child->crc >> 24), (unsigned char)(child->crc >> 16),
                                     (unsigned char)(child->crc >> 8), (unsigned char)child->crc};
    int r = buf_printf(document, "<Part><PartNumber>%u</PartNumber><ETag>", upload->part);
    if (r >= 0)
        r = s3_xml_add_text(document, child->info.etag);
    if (r >= 0)
        r = buf_add_str(document, "</ETag>");
    if (r >= 0 && child->with_crc)
        r = buf_printf(document, "<ChecksumCRC32>%.*s</ChecksumCRC32>", S3_CRC32_TEXT, child->crc_text);
    if (r >= 0)
        r = buf_add_str(document, "</Part>");
    if (r >= 0 && child->with_crc)
        r = buf_add(&upload->crcs, crc, sizeof crc);
    if (r >= 0 && checksum_etag_md5(child->info.etag, md5))
        r = buf_add(&upload->md5s, md5, sizeof md5);
    return r;
}

/* Is the checksum of the whole, if one was told, that of the parts' checksums? */
static bool composite_fits(const struct s3_upload *upload, struct bytes told) {
    char want[COMPOSITE_MAX + 1];
    if (!upload->read || told.n == 0 || !memchr(told.p, '-', told.n))
        return true;
    uint32_t crc = checksum_crc32(0, buf_bytes(&upload->crcs));
    s3_body_crc_text(crc, want);
    int n = snprintf(want + S3_CRC32_TEXT, sizeof want - S3_CRC32_TEXT, "-%u", upload->parts);
    return bytes_equal(told, bytes_of(want, S3_CRC32_TEXT + (size_t)n));
}

int s3_upload_stored(struct s3_upload *upload, struct bytes etag, struct bytes version_id) {
    struct s3_call *call = upload->call;
    upload->id.n = 0; /* there is nothing to abort */
    if (buf_reserve(&call->kept, etag.n + version_id.n) < 0)
        return -ENOMEM;
    buf_add_bytes(&call->kept, etag);
    buf_add_bytes(&call->kept, version_id);
    call->info.etag = bytes_of(call->kept.p, etag.n);
    call->info.version_id = bytes_of(call->kept.p + etag.n, version_id.n);
    return call->cancelled ? -ECANCELED : 0;
}

void s3_upload_succeed(struct s3_upload *upload) {
    upload->call->http_status = 200;
    upload->status = S3_OK;
    end(upload);
}

static void on_tagged(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    struct s3_upload *upload = arg;
    (void)tags;
    (void)n;
    s3_upload_count(upload, result);
    if (result->status == S3_OK)
        s3_upload_succeed(upload);
    else
        s3_upload_fail(upload, result);
}

static void completed(struct s3_upload *upload, struct bytes etag, struct bytes version_id) {
    struct s3_call *call = upload->call;
    bool tags = upload->options.tagging.n && !s3_endpoint_is_aws(&call->client->endpoint);
    int r = s3_upload_stored(upload, etag, version_id);
    if (r >= 0 && tags)
        r = s3_put_tags_of_query(call->client, call->bucket, call->key, call->info.version_id, upload->options.tagging,
                                 on_tagged, upload, &upload->child);
    if (r < 0)
        s3_upload_fail_code(upload, r);
    else if (!tags)
        s3_upload_succeed(upload);
}

static void on_completed(struct s3_upload *upload, const struct s3_call *child) {
    if (composite_fits(upload, child->xml.crc32)) {
        completed(upload, child->info.etag, child->info.version_id);
        return;
    }
    upload->id.n = 0;
    s3_upload_fail_here(upload, S3_CORRUPT, "the server got parts with another checksum");
}

/* ---- a COMPLETE that finds no upload: it may be the second, and the first have worked ---- */

/* "<md5 of the parts' md5s>-<parts>"; empty when the parts' ETags are no MD5s, or none can be computed. */
static size_t expected_etag(const struct s3_upload *upload, char *ret_text, size_t size) {
    unsigned char digest[CHECKSUM_SIZE_MAX];
    size_t digest_n = 0;
    struct checksum *sum = NULL;
    _cleanup_buf_ struct buf hex = {0};
    bool ok = upload->md5s.n == 16 * (size_t)upload->parts && checksum_new(&sum) == 0 &&
              checksum_begin(sum, CHECKSUM_MD5) == 0 && checksum_update(sum, buf_bytes(&upload->md5s)) == 0 &&
              checksum_end(sum, digest, &digest_n) == 0 && text_add_hex(&hex, digest, digest_n) == 0;
    checksum_free(sum);
    int n = ok ? snprintf(ret_text, size, "\"%s-%u\"", hex.p, upload->parts) : 0;
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

static void fail_unseen(struct s3_upload *upload, const struct s3_result *result) {
    _cleanup_buf_ struct buf why = {0};
    const char *head = "its upload has ended, and whether it was stored cannot be seen";
    int r = buf_printf(&why, "%s: %s", head, result->text);
    fail_as(upload, result, r < 0 ? head : why.p);
}

static void on_look(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct s3_upload *upload = arg;
    char want[64];
    size_t n = expected_etag(upload, want, sizeof want);
    s3_upload_count(upload, result);
    upload->id.n = 0;
    if (info && n && info->size == upload->size && bytes_equal(info->etag, bytes_of(want, n)))
        completed(upload, info->etag, info->version_id);
    else if (info || result->status == S3_NO_KEY)
        s3_upload_fail_here(upload, S3_CONFLICT, "somebody else ended its upload");
    else
        fail_unseen(upload, result);
}

static bool may_have_worked(const struct s3_call *child, const struct s3_result *result) {
    return child->op == S3_OP_COMPLETE_UPLOAD && strcmp(result->code, "NoSuchUpload") == 0;
}

static void aborted(struct s3_upload *upload, const struct s3_result *result) {
    bool gone = result->status == S3_OK || strcmp(result->code, "NoSuchUpload") == 0;
    if (!gone && upload->status == S3_OK) { /* a probe, of which that is the finding */
        take_end(upload, result);
        leave(upload, "it cannot be aborted");
    } else if (!gone) {
        leave(upload, result->text);
    }
    end(upload);
}

/* ---- from step to step ---- */

void s3_upload_count(struct s3_upload *upload, const struct s3_result *result) {
    upload->child = NULL;
    upload->call->attempts += result->attempts;
    upload->call->throttled += result->throttled;
}

static void go_on(struct s3_upload *upload, int r) {
    if (r >= 0 && upload->call->cancelled)
        r = -ECANCELED;
    if (r >= 0 && upload->probe) {
        upload->status = S3_OK;
        give_up(upload);
        return;
    }
    if (r >= 0)
        r = next_part(upload);
    if (r < 0)
        s3_upload_fail_code(upload, r);
}

static void on_step(struct s3_call *child, const struct s3_result *result) {
    struct s3_upload *upload = child->arg;
    struct s3_call *call = upload->call;
    s3_upload_count(upload, result);
    if (child->op == S3_OP_ABORT_UPLOAD) {
        aborted(upload, result);
    } else if (may_have_worked(child, result) && !call->cancelled &&
               s3_head(call->client, call->bucket, call->key, BYTES_NONE, on_look, upload, &upload->child) == 0) {
        return;
    } else if (child->op == S3_OP_COPY_PART && result->status != S3_OK) {
        s3_upload_fail_gone(upload, result);
    } else if (result->status != S3_OK) {
        s3_upload_fail(upload, result);
    } else if (child->op == S3_OP_COMPLETE_UPLOAD) {
        on_completed(upload, child);
    } else {
        go_on(upload, child->op == S3_OP_CREATE_UPLOAD ? created(upload, child) : stored_part(upload, child));
    }
}

/* ---- its beginning ---- */

int s3_upload_start(struct s3_client *client, struct bytes bucket, struct bytes key, uint64_t size, uint64_t part_bytes,
                    s3_read_fn *read, const struct s3_copy_source *source, const struct s3_put_options *options,
                    s3_put_fn *done_fn, void *arg, struct s3_call **ret_call) {
    static const struct s3_put_options none = {0};
    size_t bytes, headers;
    uint64_t last = size ? size - 1 : 0; /* its place; an empty object is copied in one */
    if (last / S3_PARTS_MAX >= part_bytes)
        part_bytes = last / S3_PARTS_MAX + 1;
    if (s3_ask_check_object(bucket, key) < 0 || s3_put_check(options, &bytes, &headers) < 0 || part_bytes > S3_PUT_MAX)
        return -EINVAL;
    _cleanup_buf_ struct buf text = {0};
    struct s3_call *call;
    int r = source ? s3_copy_add_source(&text, source) : 0;
    size_t of_source = source ? source->bucket.n + source->key.n + source->version_id.n + source->etag.n + text.n : 0;
    if (r >= 0)
        r = s3_ask(client, source ? S3_OP_COPY : S3_OP_UPLOAD, bucket.n + key.n + of_source, 0, &call);
    if (r < 0)
        return r;
    struct s3_upload *upload = call->upload = mem_zalloc(sizeof *upload);
    if (!upload) {
        s3_call_release(call);
        return -ENOMEM;
    }
    *upload = (struct s3_upload){
        .call = call, .size = size, .part_bytes = part_bytes, .read = read, .probe = !read && !source};
    upload->parts = (uint32_t)(last / part_bytes + 1);
    call->to.put = done_fn;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    call->key = s3_ask_keep(call, key);
    call->stage = S3_STAGE_UPLOAD;
    call->start_mono_us = clock_mono_us(client->clock);
    r = s3_upload_take_options(upload, options ? options : &none, NULL);
    if (r >= 0)
        r = source ? s3_upload_copy_start(upload, source, buf_bytes(&text)) : s3_upload_create(upload);
    if (r < 0)
        s3_call_release(call);
    else if (ret_call)
        *ret_call = call;
    return r;
}
