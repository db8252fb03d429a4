/* s3_ops.c - the small operations' arguments and requests, and what is made of a good answer of any. */
#include "s3_private.h"

#include "mem.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>

#define TOKEN_MAX 8192 /* bytes of a continuation token */
#define PAGE_OF_BUCKETS 1000
#define ETAG_OF_NOTHING "\"00000000000000000000000000000000\""

static const struct s3_verdict good = {S3_OK, S3_REMEDY_NONE};
static const struct s3_verdict bad_answer = {S3_CORRUPT, S3_REMEDY_RETRY};
static const struct s3_verdict no_memory = {S3_NO_MEMORY, S3_REMEDY_NONE};

const char *const s3_standard_names[S3_STANDARD_N] = {"cache-control", "content-disposition", "content-encoding",
                                                      "content-language", "expires"};

static const struct {
    const char *method, *verb;
} ops[] = {
    [S3_OP_LIST_BUCKETS] = {"GET", "LIST"},
    [S3_OP_LIST_OBJECTS] = {"GET", "LIST"},
    [S3_OP_HEAD] = {"HEAD", "HEAD"},
    [S3_OP_GET] = {"GET", "GET"},
    [S3_OP_PUT] = {"PUT", "PUT"},
    [S3_OP_DELETE] = {"DELETE", "DELETE"},
    [S3_OP_VERSIONING] = {"GET", "GET versioning of"},
    [S3_OP_COPY] = {"PUT", "COPY to"},
    [S3_OP_GET_TAGS] = {"GET", "GET tags of"},
    [S3_OP_PUT_TAGS] = {"PUT", "PUT tags of"},
    [S3_OP_UPLOAD] = {"", "PUT in parts of"},
    [S3_OP_CREATE_UPLOAD] = {"POST", "CREATE upload of"},
    [S3_OP_PUT_PART] = {"PUT", "PUT part of"},
    [S3_OP_COPY_PART] = {"PUT", "COPY part of"},
    [S3_OP_COMPLETE_UPLOAD] = {"POST", "COMPLETE upload of"},
    [S3_OP_ABORT_UPLOAD] = {"DELETE", "ABORT upload of"},
};

const char *s3_op_method(enum s3_op op) {
    return ops[op].method;
}

const char *s3_op_verb(enum s3_op op) {
    return ops[op].verb;
}

/* ---- asking ---- */

int s3_list_buckets(struct s3_client *client, struct bytes prefix, struct bytes token, s3_buckets_fn *done, void *arg,
                    struct s3_call **ret_call) {
    if (prefix.n > 255 || token.n > TOKEN_MAX)
        return -EINVAL;
    struct s3_call *call;
    int r = s3_ask(client, S3_OP_LIST_BUCKETS, 2 * prefix.n + token.n + sizeof call->number, 0, &call);
    if (r < 0)
        return r;
    call->to.buckets = done;
    call->arg = arg;
    call->prefix = s3_ask_keep(call, prefix);
    if (token.n)
        s3_ask_param(call, BYTES("continuation-token"), token);
    /* A request that pages is told the buckets' regions. */
    snprintf(call->number, sizeof call->number, "%d", PAGE_OF_BUCKETS);
    s3_ask_param(call, BYTES("max-buckets"), bytes_str(call->number));
    if (prefix.n)
        s3_ask_param(call, BYTES("prefix"), prefix);
    s3_call_start(call, true, ret_call);
    return 0;
}

int s3_list_objects(struct s3_client *client, struct bytes bucket, struct bytes prefix, struct bytes start_after,
                    uint32_t max_keys, s3_objects_fn *done, void *arg, struct s3_call **ret_call) {
    if (prefix.n > S3_KEY_MAX || start_after.n > S3_KEY_MAX || max_keys > S3_LIST_MAX ||
        s3_check_bucket_name(bucket, NULL) < 0)
        return -EINVAL;
    struct s3_call *call;
    int r = s3_ask(client, S3_OP_LIST_OBJECTS, bucket.n + 2 * prefix.n + start_after.n + 64, 1, &call);
    if (r < 0)
        return r;
    call->to.objects = done;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    call->prefix = s3_ask_keep(call, prefix);
    snprintf(call->number, sizeof call->number, "%u", max_keys ? max_keys : S3_LIST_MAX);
    s3_ask_param(call, BYTES("encoding-type"), BYTES("url"));
    s3_ask_param(call, BYTES("list-type"), BYTES("2"));
    s3_ask_param(call, BYTES("max-keys"), bytes_str(call->number));
    if (prefix.n)
        s3_ask_param(call, BYTES("prefix"), prefix);
    if (start_after.n)
        s3_ask_param(call, BYTES("start-after"), start_after);
    s3_ask_header(call, BYTES("x-amz-optional-object-attributes"), BYTES("RestoreStatus"));
    s3_call_start(call, true, ret_call);
    return 0;
}

int s3_head(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id, s3_info_fn *done,
            void *arg, struct s3_call **ret_call) {
    if (s3_ask_check_object(bucket, key) < 0 || version_id.n > S3_VERSION_MAX)
        return -EINVAL;
    struct s3_call *call;
    int r = s3_ask(client, S3_OP_HEAD, bucket.n + key.n + version_id.n, 0, &call);
    if (r < 0)
        return r;
    call->to.info = done;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    call->key = s3_ask_keep(call, key);
    if (version_id.n)
        s3_ask_param(call, BYTES("versionId"), version_id);
    s3_call_start(call, true, ret_call);
    return 0;
}

int s3_get(struct s3_client *client, struct bytes bucket, struct bytes key, const struct s3_get_handler *handler,
           void *arg, struct s3_call **ret_call) {
    if (s3_ask_check_object(bucket, key) < 0)
        return -EINVAL;
    struct s3_call *call;
    int r = s3_ask(client, S3_OP_GET, bucket.n + key.n, 1, &call);
    if (r < 0)
        return r;
    call->to.get = *handler;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    call->key = s3_ask_keep(call, key);
    s3_ask_header(call, BYTES("x-amz-checksum-mode"), BYTES("ENABLED"));
    s3_call_start(call, false, ret_call);
    return 0;
}

int s3_delete(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
              struct bytes if_match, s3_delete_fn *done, void *arg, struct s3_call **ret_call) {
    if (s3_ask_check_object(bucket, key) < 0 || version_id.n > S3_VERSION_MAX || if_match.n > S3_ETAG_MAX ||
        !s3_ask_fits_header(if_match) || (version_id.n && if_match.n))
        return -EINVAL;
    struct s3_call *call;
    int r = s3_ask(client, S3_OP_DELETE, bucket.n + key.n + version_id.n + if_match.n, 1, &call);
    if (r < 0)
        return r;
    call->to.deleted = done;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    call->key = s3_ask_keep(call, key);
    if (version_id.n)
        s3_ask_param(call, BYTES("versionId"), version_id);
    if (if_match.n)
        s3_ask_header(call, BYTES("if-match"), s3_ask_keep(call, if_match));
    s3_call_start(call, true, ret_call);
    return 0;
}

int s3_probe_conditional_delete(struct s3_client *client, struct bytes bucket, s3_delete_fn *done, void *arg,
                                struct s3_call **ret_call) {
    char key[64];
    int n = snprintf(key, sizeof key, ".froe-probe-%016llx%016llx", (unsigned long long)rng_next(&client->rng),
                     (unsigned long long)rng_next(&client->rng));
    return s3_delete(client, bucket, bytes_of(key, (size_t)n), BYTES_NONE, BYTES(ETAG_OF_NOTHING), done, arg, ret_call);
}

int s3_get_versioning(struct s3_client *client, struct bytes bucket, s3_versioning_fn *done, void *arg,
                      struct s3_call **ret_call) {
    if (s3_check_bucket_name(bucket, NULL) < 0)
        return -EINVAL;
    struct s3_call *call;
    int r = s3_ask(client, S3_OP_VERSIONING, bucket.n, 0, &call);
    if (r < 0)
        return r;
    call->to.versioning = done;
    call->arg = arg;
    call->bucket = s3_ask_keep(call, bucket);
    s3_ask_param(call, BYTES("versioning"), BYTES_NONE);
    s3_call_start(call, true, ret_call);
    return 0;
}

/* ---- the head of a good answer ---- */

static bool read_info(struct s3_call *call, const struct s3_answer *answer, const struct http_field *fields, size_t n) {
    if (answer->n_metadata > call->metadata_cap) {
        struct s3_header *metadata = mem_reallocarray(call->metadata, answer->n_metadata, sizeof *metadata);
        if (!metadata)
            return false;
        call->metadata = metadata;
        call->metadata_cap = answer->n_metadata;
    }
    s3_answer_metadata(fields, n, call->metadata);
    call->info = (struct s3_object_info){
        .size = answer->length,
        .etag = answer->etag,
        .version_id = answer->version_id,
        .content_type = answer->content_type,
        .modified_utc_us = answer->modified_utc_us,
        .metadata = call->metadata,
        .n_metadata = answer->n_metadata,
    };
    return true;
}

static void move_view(struct buf *to, struct bytes *view) {
    size_t at = to->n;
    buf_add_bytes(to, *view); /* reserved */
    *view = bytes_of(to->p + at, view->n);
}

/* The header fields are gone when the caller is told, so the views have to point elsewhere. */
static bool keep_info(struct s3_call *call) {
    struct s3_object_info *info = &call->info;
    size_t total = info->etag.n + info->version_id.n + info->content_type.n + S3_ETAG_MAX + 2;
    for (size_t i = 0; i < S3_STANDARD_N; i++)
        total += call->standard[i].n;
    for (size_t i = 0; i < info->n_metadata; i++)
        total += info->metadata[i].name.n + info->metadata[i].value.n;
    if (buf_reserve(&call->kept, total) < 0)
        return false;
    move_view(&call->kept, &info->etag);
    move_view(&call->kept, &info->version_id);
    move_view(&call->kept, &info->content_type);
    for (size_t i = 0; i < info->n_metadata; i++) {
        move_view(&call->kept, &call->metadata[i].name);
        move_view(&call->kept, &call->metadata[i].value);
    }
    for (size_t i = 0; i < S3_STANDARD_N; i++)
        move_view(&call->kept, &call->standard[i]);
    return true;
}

/* What the document says is the ETag, with the quotes that some servers leave out there. */
static void keep_etag(struct s3_call *call) {
    struct bytes etag = call->xml.etag;
    if (etag.n == 0)
        return;
    bool bare = !bytes_ends(etag, BYTES("\""));
    size_t at = call->kept.n;
    if (bare) /* there is room for all this */
        buf_add_byte(&call->kept, '"');
    buf_add_bytes(&call->kept, etag);
    if (bare)
        buf_add_byte(&call->kept, '"');
    call->info.etag = bytes_of(call->kept.p + at, call->kept.n - at);
}

static void read_standard(struct s3_call *call, const struct http_field *fields, size_t n) {
    for (size_t i = 0; i < S3_STANDARD_N; i++) {
        call->standard[i] = BYTES_NONE;
        for (size_t f = 0; f < n; f++)
            if (bytes_equal(fields[f].name, bytes_str(s3_standard_names[i])))
                call->standard[i] = fields[f].value;
    }
}

/* Is what the headers say to be told, or needed? */
static bool has_info(enum s3_op op) {
    switch (op) {
    case S3_OP_GET:
    case S3_OP_HEAD:
    case S3_OP_PUT:
    case S3_OP_COPY:
    case S3_OP_PUT_PART:
    case S3_OP_COPY_PART:
    case S3_OP_COMPLETE_UPLOAD:
        return true;
    default:
        return false;
    }
}

void s3_op_head(struct s3_call *call, const struct s3_answer *answer, const struct http_field *fields, size_t n) {
    if (call->op == S3_OP_DELETE || call->op == S3_OP_ABORT_UPLOAD)
        return;
    if (call->http_status != 200) {
        s3_call_refuse(call, bad_answer, "an answer with this status cannot be what was asked for");
        return;
    }
    if (!has_info(call->op))
        return;
    if (answer->etag.n > S3_ETAG_MAX || answer->version_id.n > S3_VERSION_MAX) {
        s3_call_refuse(call, bad_answer, "the ETag or version id is too long");
        return;
    }
    if (call->op == S3_OP_HEAD)
        read_standard(call, fields, n);
    if (!read_info(call, answer, fields, n) || (call->op != S3_OP_GET && !keep_info(call))) {
        s3_call_refuse(call, no_memory, "out of memory");
        return;
    }
    if (call->op == S3_OP_PUT || call->op == S3_OP_PUT_PART) {
        const char *wrong = s3_body_check(call, answer);
        if (wrong)
            s3_call_refuse(call, bad_answer, wrong);
    }
    if (call->op != S3_OP_GET)
        return;
    call->check.hashers = call->client->hashers;
    int r = s3_check_begin(&call->check, answer);
    if (r < 0) {
        s3_call_refuse(call, no_memory, r == -ENOMEM ? "out of memory" : "OpenSSL cannot compute the checksum");
        return;
    }
    call->last = true;
    call->to.get.info(call->arg, &call->info);
}

/* ---- its body ---- */

static size_t answer_max(enum s3_op op) {
    switch (op) {
    case S3_OP_LIST_BUCKETS:
    case S3_OP_LIST_OBJECTS:
        return S3_XML_MAX;
    case S3_OP_COPY:
    case S3_OP_COPY_PART:
    case S3_OP_COMPLETE_UPLOAD:
        return S3_LONG_BODY_MAX;
    default:
        return S3_ERROR_BODY_MAX;
    }
}

bool s3_op_data(struct s3_call *call, struct bytes piece) {
    if (call->op == S3_OP_GET) {
        if (s3_check_add(&call->check, piece) < 0) {
            s3_call_refuse(call, bad_answer, "OpenSSL cannot compute the checksum");
            return true;
        }
        return call->to.get.data(call->arg, piece);
    }
    if (call->in.n + piece.n > answer_max(call->op))
        s3_call_refuse(call, bad_answer, "the answer is too long");
    else if (buf_add_bytes(&call->in, piece) < 0)
        s3_call_refuse(call, no_memory, "out of memory");
    return true;
}

static struct s3_verdict parse_error(struct s3_call *call, const char *what) {
    s3_call_refuse(call, bad_answer, what);
    return bad_answer;
}

/* "A 200 OK response can contain valid or invalid XML." */
static struct s3_verdict parse(struct s3_call *call) {
    struct bytes body = buf_bytes(&call->in);
    int r;
    switch (call->op) {
    case S3_OP_LIST_BUCKETS:
        r = s3_xml_buckets(body, &call->xml);
        break;
    case S3_OP_LIST_OBJECTS:
        r = s3_xml_objects(body, &call->xml);
        break;
    case S3_OP_VERSIONING:
        r = s3_xml_versioning(body, &call->xml);
        break;
    case S3_OP_COPY:
    case S3_OP_COPY_PART:
    case S3_OP_COMPLETE_UPLOAD:
        r = s3_xml_stored(body, &call->xml);
        if (r == 0)
            keep_etag(call);
        break;
    case S3_OP_CREATE_UPLOAD:
        r = s3_xml_upload(body, &call->xml);
        break;
    case S3_OP_GET_TAGS:
        r = s3_xml_tags(body, &call->xml);
        break;
    default: /* these have no body, but some servers put an error there */
        r = body.n && s3_xml_error(body, &call->xml) == 0 ? S3XML_ERROR_IN_BODY : 0;
        break;
    }
    if (r == S3XML_ERROR_IN_BODY) {
        s3_call_take_error(call, &call->xml.error);
        return s3_classify(call->http_status, bytes_str(call->code), call->key.n > 0, false);
    }
    if (r == -ENOMEM)
        return no_memory;
    return r < 0 ? parse_error(call, "the answer's XML is broken") : good;
}

struct s3_verdict s3_op_whole(struct s3_call *call) {
    if (call->op != S3_OP_GET)
        return parse(call);
    const char *wrong = s3_check_end(&call->check);
    return wrong ? parse_error(call, wrong) : good;
}

/* ---- telling ---- */

static void tell_buckets(struct s3_call *call, const struct s3_result *result) {
    struct s3_client *client = call->client;
    struct s3_bucket_page page = call->xml.buckets;
    struct s3_bucket *matching = NULL;
    size_t n = 0;
    for (size_t i = 0; i < page.n; i++) {
        const struct s3_bucket *bucket = &page.buckets[i];
        if (!bytes_starts(bucket->name, call->prefix))
            continue;
        n++;
        const char *region = s3_regions_name(&client->regions, bucket->region);
        if (region)
            s3_regions_set(&client->regions, bucket->name, region == client->region ? NULL : region);
    }
    if (n < page.n && n > 0) {
        matching = mem_reallocarray(NULL, n, sizeof *matching);
        if (!matching) {
            struct s3_result failed = *result;
            failed.status = S3_NO_MEMORY;
            failed.text = "LIST buckets: out of memory";
            call->to.buckets(call->arg, &failed, NULL);
            return;
        }
        n = 0;
        for (size_t i = 0; i < page.n; i++)
            if (bytes_starts(page.buckets[i].name, call->prefix))
                matching[n++] = page.buckets[i];
        page.buckets = matching;
    }
    page.n = n;
    call->to.buckets(call->arg, result, &page);
    mem_free(matching);
}

void s3_op_tell(struct s3_call *call, const struct s3_result *result) {
    bool ok = result->status == S3_OK;
    switch (call->op) {
    case S3_OP_LIST_BUCKETS:
        if (ok)
            tell_buckets(call, result);
        else
            call->to.buckets(call->arg, result, NULL);
        break;
    case S3_OP_LIST_OBJECTS:
        call->to.objects(call->arg, result, ok ? &call->xml.objects : NULL);
        break;
    case S3_OP_HEAD:
        call->to.info(call->arg, result, ok ? &call->info : NULL);
        break;
    case S3_OP_GET:
        call->to.get.done(call->arg, result);
        break;
    case S3_OP_PUT:
    case S3_OP_COPY:
    case S3_OP_UPLOAD:
        call->to.put(call->arg, result, ok ? call->info.etag : BYTES_NONE, ok ? call->info.version_id : BYTES_NONE);
        break;
    case S3_OP_DELETE:
        call->to.deleted(call->arg, result);
        break;
    case S3_OP_VERSIONING:
        call->to.versioning(call->arg, result, ok ? call->xml.versioning : S3_VERSIONING_OFF);
        break;
    case S3_OP_GET_TAGS:
    case S3_OP_PUT_TAGS:
        call->to.tags(call->arg, result, call->xml.tags, ok ? call->xml.n_tags : 0);
        break;
    case S3_OP_CREATE_UPLOAD:
    case S3_OP_PUT_PART:
    case S3_OP_COPY_PART:
    case S3_OP_COMPLETE_UPLOAD:
    case S3_OP_ABORT_UPLOAD:
        call->to.step(call, result);
        break;
    }
}
