/* s3_upload.c - multipart uploads: one call to the caller, several requests to S3, each a call of its own.
 *
 *     put:   CREATE -> PUT PART ... -> COMPLETE
 *     copy:  HEAD -> GET TAGS -> CREATE -> COPY PART ... -> COMPLETE     (a copy in parts takes over nothing by itself)
 *     both:  what fails or is cancelled after CREATE: ABORT
 *     probe: CREATE -> ABORT
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html. An answer to CREATE that is lost on the way
 * leaves an upload whose id nobody knows; only a lifecycle rule of the bucket can clear that. */
#include "s3_private.h"

#include "mem.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>

#define ABORT_TEXT_MAX 400
#define COMPOSITE_MAX (S3_CRC32_TEXT + 8) /* "<crc32>-<parts>" */

struct s3_upload {
    struct s3_call *call;  /* the caller's */
    struct s3_call *child; /* the request under way */
    uint64_t size, part_bytes;
    uint32_t part, parts; /* the one under way, from 1; how many there are */
    s3_read_fn *read;     /* NULL: it is a copy, or a probe */
    bool probe;           /* nothing is to be stored */
    struct s3_copy_source source;
    struct bytes source_text;      /* as x-amz-copy-source */
    struct s3_put_options options; /* views into `texts` */
    struct s3_header *metadata;
    struct bytes standard[S3_STANDARD_N];
    struct buf texts, tagging;
    struct buf id;       /* of the upload; empty: there is none */
    struct buf document; /* that completes it */
    struct buf crcs, md5s;
    enum s3_status status; /* what it came to */
    struct buf left;       /* words on an abort that failed */
};

static void on_step(struct s3_call *child, const struct s3_result *result);
static void on_head(void *arg, const struct s3_result *result, const struct s3_object_info *info);
static void on_tags(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n);

void s3_upload_free(struct s3_upload *upload) {
    if (!upload)
        return;
    struct buf *bufs[] = {&upload->texts, &upload->tagging, &upload->id,  &upload->document,
                          &upload->crcs,  &upload->md5s,    &upload->left};
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

/* Copies the options, and what a HEAD told of the source. */
static int take_options(struct s3_upload *upload, const struct s3_put_options *options,
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

static int ask(struct s3_upload *upload, enum s3_op op, size_t args_n, size_t n_headers, struct s3_call **ret_child) {
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

static void start(struct s3_upload *upload, struct s3_call *child, bool with_deadline) {
    upload->child = child;
    s3_call_start(child, with_deadline, NULL);
}

static void leave(struct s3_upload *upload, const char *why) {
    size_t n = strlen(why);
    buf_printf(&upload->left, "; its upload is left behind: %.*s", (int)(n < ABORT_TEXT_MAX ? n : ABORT_TEXT_MAX), why);
}

static void give_up(struct s3_upload *upload) {
    struct s3_call *child;
    if (upload->id.n && ask(upload, S3_OP_ABORT_UPLOAD, 0, 0, &child) == 0) {
        start(upload, child, true);
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

static void fail(struct s3_upload *upload, const struct s3_result *result) {
    take_end(upload, result);
    give_up(upload);
}

static void fail_here(struct s3_upload *upload, enum s3_status status, const char *why) {
    struct buf text = {0};
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
    fail(upload, &(struct s3_result){.status = status, .code = "", .text = r < 0 ? why : text.p});
    buf_free(&text);
}

static void fail_code(struct s3_upload *upload, int r) {
    if (r == -ECANCELED)
        fail_here(upload, S3_CANCELLED, "cancelled");
    else if (r == -ENOMEM)
        fail_here(upload, S3_NO_MEMORY, "out of memory");
    else
        fail_here(upload, S3_BAD_REQUEST, "the request cannot be made");
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

static int create(struct s3_upload *upload) {
    size_t bytes, headers, more = 0;
    int r = s3_put_check(&upload->options, &bytes, &headers);
    for (size_t i = 0; i < S3_STANDARD_N; i++)
        more += upload->standard[i].n;
    struct s3_call *child;
    if (r >= 0)
        r = ask(upload, S3_OP_CREATE_UPLOAD, bytes + more, headers + S3_STANDARD_N + 1, &child);
    if (r < 0)
        return r;
    s3_ask_param(child, BYTES("uploads"), BYTES_NONE);
    if (upload->read) /* then each part, and the end, tell theirs */
        s3_ask_header(child, BYTES("x-amz-checksum-algorithm"), BYTES("CRC32"));
    for (size_t i = 0; i < S3_STANDARD_N; i++)
        if (upload->standard[i].n)
            s3_ask_header(child, bytes_str(s3_standard_names[i]), s3_ask_keep(child, upload->standard[i]));
    s3_put_add(child, &upload->options);
    r = s3_body_take(child, BYTES_NONE, false);
    if (r < 0)
        s3_call_release(child);
    else
        start(upload, child, true);
    return r;
}

static int put_part(struct s3_upload *upload, uint64_t from, uint64_t n) {
    struct s3_call *child;
    int r = ask(upload, S3_OP_PUT_PART, sizeof child->number + s3_body_room(n), 1, &child);
    if (r < 0)
        return r;
    snprintf(child->number, sizeof child->number, "%u", upload->part);
    s3_ask_param(child, BYTES("partNumber"), bytes_str(child->number));
    r = s3_body_read(child, upload->read, upload->call->arg, from, n);
    if (r < 0)
        s3_call_release(child);
    else
        start(upload, child, false);
    return r;
}

static int copy_part(struct s3_upload *upload, uint64_t from, uint64_t n) {
    char range[64];
    struct s3_call *child;
    int range_n =
        snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)from, (unsigned long long)(from + n - 1));
    int r = ask(upload, S3_OP_COPY_PART, sizeof child->number + sizeof range, 3, &child);
    if (r < 0)
        return r;
    snprintf(child->number, sizeof child->number, "%u", upload->part);
    s3_ask_param(child, BYTES("partNumber"), bytes_str(child->number));
    s3_ask_header(child, BYTES("x-amz-copy-source"), upload->source_text);
    s3_ask_header(child, BYTES("x-amz-copy-source-range"), s3_ask_keep(child, bytes_of(range, (size_t)range_n)));
    if (upload->source.etag.n)
        s3_ask_header(child, BYTES("x-amz-copy-source-if-match"), upload->source.etag);
    r = s3_body_take(child, BYTES_NONE, false);
    if (r < 0)
        s3_call_release(child);
    else
        start(upload, child, false);
    return r;
}

static int complete(struct s3_upload *upload) {
    int r = buf_add_str(&upload->document, "</CompleteMultipartUpload>");
    struct s3_call *child;
    if (r >= 0)
        r = ask(upload, S3_OP_COMPLETE_UPLOAD, 0, 1, &child);
    if (r < 0)
        return r;
    s3_ask_header(child, BYTES("content-type"), BYTES("application/xml"));
    r = s3_body_take(child, buf_bytes(&upload->document), false);
    if (r < 0)
        s3_call_release(child);
    else
        start(upload, child, false);
    return r;
}

static int next_part(struct s3_upload *upload) {
    if (upload->part == upload->parts)
        return complete(upload);
    uint64_t from = upload->part * upload->part_bytes, left = upload->size - from;
    uint64_t n = left < upload->part_bytes ? left : upload->part_bytes;
    upload->part++;
    return upload->read ? put_part(upload, from, n) : copy_part(upload, from, n);
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

static void done(struct s3_upload *upload, struct bytes etag, struct bytes version_id) {
    struct s3_call *call = upload->call;
    if (buf_reserve(&call->kept, etag.n + version_id.n) < 0) {
        upload->id.n = 0; /* it is stored: there is nothing to abort */
        fail_code(upload, -ENOMEM);
        return;
    }
    call->http_status = 200;
    buf_add_bytes(&call->kept, etag);
    buf_add_bytes(&call->kept, version_id);
    call->info.etag = bytes_of(call->kept.p, etag.n);
    call->info.version_id = bytes_of(call->kept.p + etag.n, version_id.n);
    upload->status = S3_OK;
    end(upload);
}

static void completed(struct s3_upload *upload, const struct s3_call *child) {
    if (!composite_fits(upload, child->xml.crc32)) {
        upload->id.n = 0;
        fail_here(upload, S3_CORRUPT, "the server got parts with another checksum");
        return;
    }
    done(upload, child->info.etag, child->info.version_id);
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

static void on_look(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct s3_upload *upload = arg;
    char want[64];
    size_t n = expected_etag(upload, want, sizeof want);
    upload->child = NULL;
    upload->call->attempts += result->attempts;
    upload->call->throttled += result->throttled;
    upload->id.n = 0;
    if (info && n && info->size == upload->size && bytes_equal(info->etag, bytes_of(want, n)))
        done(upload, info->etag, info->version_id);
    else
        fail_here(upload, S3_CONFLICT, "somebody else ended its upload");
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

static void count(struct s3_upload *upload, const struct s3_result *result) {
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
        fail_code(upload, r);
}

static void on_step(struct s3_call *child, const struct s3_result *result) {
    struct s3_upload *upload = child->arg;
    struct s3_call *call = upload->call;
    count(upload, result);
    if (child->op == S3_OP_ABORT_UPLOAD) {
        aborted(upload, result);
    } else if (may_have_worked(child, result) && !call->cancelled &&
               s3_head(call->client, call->bucket, call->key, BYTES_NONE, on_look, upload, &upload->child) == 0) {
        return;
    } else if (result->status != S3_OK) {
        fail(upload, result);
    } else if (child->op == S3_OP_COMPLETE_UPLOAD) {
        completed(upload, child);
    } else {
        go_on(upload, child->op == S3_OP_CREATE_UPLOAD ? created(upload, child) : stored_part(upload, child));
    }
}

/* ---- what a copy takes over ---- */

static int ask_tags(struct s3_upload *upload) {
    const struct s3_copy_source *source = &upload->source;
    if (upload->options.tagging.n)
        return create(upload);
    return s3_get_tags(upload->call->client, source->bucket, source->key, source->version_id, on_tags, upload,
                       &upload->child);
}

static void on_head(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct s3_upload *upload = arg;
    const struct s3_call *child = upload->child;
    struct s3_put_options options = upload->options;
    int r = 0;
    count(upload, result);
    if (!info) {
        fail(upload, result);
        return;
    }
    if (info->size != upload->size || (upload->source.etag.n && !bytes_equal(info->etag, upload->source.etag))) {
        fail_here(upload, S3_PRECONDITION, "the source was overwritten");
        return;
    }
    if (!s3_put_replaces(&upload->options)) {
        options.content_type = info->content_type;
        options.metadata = info->metadata;
        options.n_metadata = info->n_metadata;
        r = take_options(upload, &options, child->standard);
    }
    if (r >= 0 && upload->call->cancelled)
        r = -ECANCELED;
    if (r >= 0)
        r = ask_tags(upload);
    if (r < 0)
        fail_code(upload, r);
}

static void on_tags(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    struct s3_upload *upload = arg;
    int r = 0;
    count(upload, result);
    if (result->status != S3_OK && result->status != S3_NOT_SUPPORTED) {
        fail(upload, result);
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
        r = create(upload);
    if (r < 0)
        fail_code(upload, r);
}

/* ---- its beginning ---- */

static int take_source(struct s3_upload *upload, const struct s3_copy_source *source, struct bytes source_text) {
    struct s3_call *call = upload->call;
    upload->source = (struct s3_copy_source){
        .bucket = s3_ask_keep(call, source->bucket),
        .key = s3_ask_keep(call, source->key),
        .version_id = s3_ask_keep(call, source->version_id),
        .etag = s3_ask_keep(call, source->etag),
        .size = source->size,
    };
    upload->source_text = s3_ask_keep(call, source_text);
    return s3_head(call->client, upload->source.bucket, upload->source.key, upload->source.version_id, on_head, upload,
                   &upload->child);
}

int s3_upload_start(struct s3_client *client, struct bytes bucket, struct bytes key, uint64_t size, uint64_t part_bytes,
                    s3_read_fn *read, const struct s3_copy_source *source, const struct s3_put_options *options,
                    s3_put_fn *done_fn, void *arg, struct s3_call **ret_call) {
    static const struct s3_put_options none = {0};
    size_t bytes, headers;
    if (source && (size - 1) / S3_PARTS_MAX >= part_bytes)
        part_bytes = (size - 1) / S3_PARTS_MAX + 1;
    if (s3_ask_check_object(bucket, key) < 0 || s3_put_check(options, &bytes, &headers) < 0 ||
        (size - 1) / part_bytes >= S3_PARTS_MAX)
        return -EINVAL;
    _cleanup_buf_ struct buf text = {0};
    struct s3_call *call;
    int r = source ? s3_copy_add_source(&text, source) : 0;
    size_t of_source = source ? source->bucket.n + source->key.n + source->version_id.n + source->etag.n + text.n : 0;
    if (r >= 0)
        r = s3_ask(client, S3_OP_UPLOAD, bucket.n + key.n + of_source, 0, &call);
    if (r < 0)
        return r;
    struct s3_upload *upload = call->upload = mem_zalloc(sizeof *upload);
    if (!upload) {
        s3_call_release(call);
        return -ENOMEM;
    }
    *upload = (struct s3_upload){
        .call = call, .size = size, .part_bytes = part_bytes, .read = read, .probe = !read && !source};
    upload->parts = (uint32_t)((size - 1) / part_bytes + 1);
    call->to.put = done_fn;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    call->key = s3_ask_keep(call, key);
    call->stage = S3_STAGE_UPLOAD;
    call->start_mono_us = clock_mono_us(client->clock);
    r = take_options(upload, options ? options : &none, NULL);
    if (r >= 0)
        r = source ? take_source(upload, source, buf_bytes(&text)) : create(upload);
    if (r < 0)
        s3_call_release(call);
    else if (ret_call)
        *ret_call = call;
    return r;
}
