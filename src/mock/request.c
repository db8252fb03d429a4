/* request.c - from head and target to operation, bucket, key; and the body's layers of coding. */
#include "request.h"

#include "mem.h"
#include "objects.h"
#include "text.h"

#include <errno.h>

#define BODY_KEEP (256 * 1024) /* of a body's memory, for the next request on the connection */

void request_init(struct request *request) {
    memset(request, 0, sizeof(*request));
    chunked_init(&request->http_chunks);
    chunked_init(&request->aws_chunks);
}

void request_free(struct request *request) {
    buf_free(&request->text);
    buf_free(&request->body);
    chunked_free(&request->http_chunks);
    chunked_free(&request->aws_chunks);
}

void request_reset(struct request *request) {
    if (request->body.cap > BODY_KEEP)
        buf_free(&request->body);
    request->body.n = request->text.n = 0;
    request->admin = request->discard = request->aws_chunked = request->aws_done = request->streaming_trailer = false;
    request->bucket = request->key = request->access = request->region = request->payload_hash = BYTES_NONE;
    request->n_params = 0;
    request->payload = PAYLOAD_UNSIGNED;
    request->fail = FAIL_NONE;
    request->framing = BODY_NONE;
    request->left = 0;
}

/* ---- the target ---- */

static int decode(struct request *request, struct bytes raw, bool plus_is_space, struct bytes *ret_text) {
    if (!raw.n || (!memchr(raw.p, '%', raw.n) && !(plus_is_space && memchr(raw.p, '+', raw.n)))) {
        *ret_text = raw.n ? raw : BYTES("");
        return 0;
    }
    size_t from = request->text.n; /* room was reserved, so the memory stays where it is */
    int r = text_add_unpercent(&request->text, raw, plus_is_space);
    if (r == 0)
        *ret_text = bytes_of(request->text.p + from, request->text.n - from);
    return r;
}

static int parse_query(struct request *request) {
    struct bytes rest = request->query;
    while (rest.n) {
        const char *end = memchr(rest.p, '&', rest.n);
        struct bytes pair = bytes_of(rest.p, end ? (size_t)(end - rest.p) : rest.n);
        size_t skip = pair.n + (end ? 1 : 0);
        rest = bytes_of(rest.p + skip, rest.n - skip);
        if (!pair.n)
            continue;
        if (request->n_params == PARAMS_MAX)
            return -E2BIG;
        const char *equals = memchr(pair.p, '=', pair.n);
        size_t name_n = equals ? (size_t)(equals - pair.p) : pair.n;
        struct sigv4_param *param = &request->params[request->n_params++];
        struct bytes value = equals ? bytes_of(equals + 1, pair.n - name_n - 1) : BYTES("");
        if (decode(request, bytes_of(pair.p, name_n), true, &param->name) < 0 ||
            decode(request, value, true, &param->value) < 0)
            return -EINVAL;
    }
    return 0;
}

/* The bucket that the Host names; empty for path style. `<bucket>.s3[.-]<anything>.localhost`, `<bucket>.localhost` and
 * `<bucket>.<host>` are virtual-host style. */
static struct bytes host_bucket(struct bytes header, struct bytes host) {
    struct bytes name = header;
    const char *colon = header.p[0] == '[' ? NULL : memrchr(header.p, ':', header.n);
    if (colon)
        name.n = (size_t)(colon - header.p);
    if (name.n > host.n + 1 && bytes_ends(name, host) && name.p[name.n - host.n - 1] == '.')
        return bytes_of(name.p, name.n - host.n - 1);
    struct bytes suffix = BYTES(".localhost");
    if (!bytes_ends(name, suffix))
        return BYTES_NONE;
    name.n -= suffix.n;
    for (size_t i = 0; i + 2 <= name.n; i++) { /* a label that is "s3" or starts with "s3-" */
        bool starts = i == 0 || name.p[i - 1] == '.';
        bool ends = i + 2 == name.n || name.p[i + 2] == '.' || name.p[i + 2] == '-';
        if (starts && ends && name.p[i] == 's' && name.p[i + 1] == '3')
            return i ? bytes_of(name.p, i - 1) : BYTES_NONE;
    }
    return name;
}

static bool has(const struct request *request, const char *name) {
    return request_param(request, name) != NULL;
}

/* Subresources and parameters that S3 has and this server has not: they must not be taken for a plain GET or DELETE. */
static bool is_upload(enum op op) {
    return op >= OP_CREATE_UPLOAD && op <= OP_LIST_PARTS;
}

static bool is_known(enum op op, const char *name) {
    if (strcmp(name, "tagging") == 0)
        return op == OP_GET_TAGGING || op == OP_PUT_TAGGING || op == OP_DELETE_TAGGING;
    if (strcmp(name, "uploads") == 0)
        return op == OP_CREATE_UPLOAD || op == OP_LIST_UPLOADS;
    if (strcmp(name, "partNumber") == 0)
        return op == OP_UPLOAD_PART || op == OP_UPLOAD_PART_COPY;
    return strcmp(name, "uploadId") == 0 && is_upload(op);
}

static bool names_missing_feature(const struct request *request) {
    static const char *const names[] = {
        "accelerate",
        "acl",
        "analytics",
        "attributes",
        "cors",
        "encryption",
        "inventory",
        "intelligent-tiering",
        "legal-hold",
        "lifecycle",
        "logging",
        "metadataTable",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "renameObject",
        "replication",
        "requestPayment",
        "restore",
        "retention",
        "select",
        "session",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "website",
        "X-Amz-Algorithm",
        "AWSAccessKeyId",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (has(request, names[i]) && !is_known(request->op, names[i]))
            return true;
    return false;
}

static enum op service_op(const struct request *request) {
    return request->head.method == HTTP_GET ? OP_LIST_BUCKETS : OP_UNKNOWN;
}

static enum op bucket_op(const struct request *request) {
    switch (request->head.method) {
    case HTTP_GET:
        if (has(request, "location"))
            return OP_GET_LOCATION;
        if (has(request, "versioning"))
            return OP_GET_VERSIONING;
        if (has(request, "uploads"))
            return OP_LIST_UPLOADS;
        return has(request, "versions") ? OP_LIST_VERSIONS : OP_LIST;
    case HTTP_HEAD:
        return OP_HEAD_BUCKET;
    case HTTP_PUT:
        return has(request, "versioning") ? OP_PUT_VERSIONING : OP_CREATE_BUCKET;
    case HTTP_DELETE:
        return has(request, "versioning") || has(request, "location") ? OP_UNKNOWN : OP_DELETE_BUCKET;
    case HTTP_POST:
        return has(request, "delete") ? OP_DELETE_OBJECTS : OP_UNKNOWN;
    default:
        return OP_UNKNOWN;
    }
}

static enum op object_op(const struct request *request) {
    bool upload = has(request, "uploadId"), tagging = has(request, "tagging");
    bool copy = head_get(&request->head, "x-amz-copy-source").p;
    switch (request->head.method) {
    case HTTP_GET:
        return upload ? OP_LIST_PARTS : tagging ? OP_GET_TAGGING : OP_GET;
    case HTTP_HEAD:
        return upload ? OP_UNKNOWN : OP_HEAD;
    case HTTP_PUT:
        if (upload && has(request, "partNumber"))
            return copy ? OP_UPLOAD_PART_COPY : OP_UPLOAD_PART;
        return upload ? OP_UNKNOWN : tagging ? OP_PUT_TAGGING : copy ? OP_COPY : OP_PUT;
    case HTTP_DELETE:
        return upload ? OP_ABORT_UPLOAD : tagging ? OP_DELETE_TAGGING : OP_DELETE;
    case HTTP_POST:
        if (upload)
            return OP_COMPLETE_UPLOAD;
        return has(request, "uploads") ? OP_CREATE_UPLOAD : OP_UNKNOWN;
    default:
        return OP_UNKNOWN;
    }
}

static void choose_op(struct request *request) {
    request->op = !request->bucket.n ? service_op(request) : !request->key.n ? bucket_op(request) : object_op(request);
    if (request->op == OP_UNKNOWN) {
        bool known = request->head.method == HTTP_POST || names_missing_feature(request);
        request->fail = known ? FAIL_NOT_IMPLEMENTED : FAIL_METHOD;
    } else if (request->n_params && names_missing_feature(request)) {
        request->op = OP_UNKNOWN;
        request->fail = FAIL_NOT_IMPLEMENTED;
    }
}

void request_route(struct request *request, struct bytes host) {
    struct bytes target = request->head.target;
    const char *question = memchr(target.p, '?', target.n);
    request->path = bytes_of(target.p, question ? (size_t)(question - target.p) : target.n);
    request->query = question ? bytes_of(question + 1, target.n - request->path.n - 1) : BYTES_NONE;
    request->op = OP_UNKNOWN;
    if (buf_reserve(&request->text, target.n + 1) < 0) {
        request->fail = FAIL_MEMORY;
        return;
    }
    int r = parse_query(request);
    if (r < 0) {
        request->fail = r == -E2BIG ? FAIL_ARGUMENT("Too many query parameters")
                                    : FAIL(400, "InvalidURI", "Couldn't parse the specified URI.");
        return;
    }
    struct bytes bucket = host_bucket(request->head.host, host);
    struct bytes key = bytes_of(request->path.p + 1, request->path.n - 1);
    if (!bucket.n && (request->admin = bytes_starts(request->path, BYTES("/_mock/"))))
        return;
    if (!bucket.n) {
        const char *slash = key.n ? memchr(key.p, '/', key.n) : NULL;
        bucket = bytes_of(key.p, slash ? (size_t)(slash - key.p) : key.n);
        size_t skip = bucket.n + (slash ? 1 : 0);
        key = bytes_of(key.p + skip, key.n - skip);
    }
    if (decode(request, bucket, false, &request->bucket) < 0 || decode(request, key, false, &request->key) < 0 ||
        !text_is_utf8(request->key)) {
        request->key = BYTES_NONE;
        request->fail = FAIL(400, "InvalidURI", "Couldn't parse the specified URI.");
        return;
    }
    choose_op(request);
    if (!request->fail.status && request->key.n > OBJECT_KEY_MAX)
        request->fail = FAIL(400, "KeyTooLongError", "Your key is too long");
}

const struct bytes *request_param(const struct request *request, const char *name) {
    if (!request->n_params)
        return NULL;
    struct bytes wanted = bytes_str(name);
    for (size_t i = 0; i < request->n_params; i++)
        if (bytes_equal(request->params[i].name, wanted))
            return &request->params[i].value;
    return NULL;
}

/* ---- the body ---- */

void request_body_begin(struct request *request, uint64_t max) {
    const struct head *head = &request->head;
    request->framing = head->chunked ? BODY_CHUNKED : head->has_length && head->length ? BODY_LENGTH : BODY_NONE;
    request->left = head->length;
    request->max = max;
    request->aws_chunked = request->payload == PAYLOAD_STREAMING && request->framing != BODY_NONE;
    request->http_chunks.state = request->aws_chunks.state = 0;
    request->http_chunks.left = request->aws_chunks.left = 0;
    request->http_chunks.digits = request->aws_chunks.digits = 0;
    request->http_chunks.line = request->aws_chunks.line = 0;
    request->http_chunks.trailers.n = request->aws_chunks.trailers.n = 0;
    if (!request->fail.status && (request->op == OP_PUT || request->op == OP_UPLOAD_PART) && !head->chunked &&
        !head->has_length)
        request->fail = FAIL(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
    if (!request->fail.status && head->has_length && head->length > max)
        request->fail = FAIL_FULL;
    request->discard = request->fail.status != 0;
}

static int keep(void *arg, struct bytes piece) {
    struct request *request = arg;
    if (request->discard)
        return 0;
    if (piece.n > request->max - request->body.n)
        return -E2BIG;
    return buf_add_bytes(&request->body, piece);
}

static int take_off_aws(void *arg, struct bytes piece) {
    struct request *request = arg;
    if (!request->aws_chunked || request->discard)
        return keep(request, piece);
    size_t used = 0;
    int r = request->aws_done ? 1 : chunked_feed(&request->aws_chunks, piece, &used, keep, request);
    if (r == 1) {
        request->aws_done = true;
        if (used != piece.n)
            return -EINVAL; /* something follows the last chunk */
    }
    return r < 0 ? r : 0;
}

int request_body_feed(struct request *request, struct bytes data, size_t *ret_used) {
    int r = 0;
    switch (request->framing) {
    case BODY_NONE:
        *ret_used = 0;
        return 1;
    case BODY_LENGTH: {
        size_t n = data.n < request->left ? data.n : (size_t)request->left;
        r = take_off_aws(request, bytes_of(data.p, n));
        request->left -= n;
        *ret_used = n;
        r = r < 0 ? r : request->left == 0;
        break;
    }
    case BODY_CHUNKED:
        r = chunked_feed(&request->http_chunks, data, ret_used, take_off_aws, request);
        break;
    }
    if (r == 1 && request->aws_chunked && !request->discard && !request->aws_done)
        return -EINVAL;
    return r;
}

enum checksum_kind request_checksum(struct request *request, struct bytes *ret_value, const char **ret_header) {
    static const char *const names[] = {
        [CHECKSUM_CRC32] = "x-amz-checksum-crc32",         [CHECKSUM_CRC32C] = "x-amz-checksum-crc32c",
        [CHECKSUM_CRC64NVME] = "x-amz-checksum-crc64nvme", [CHECKSUM_SHA1] = "x-amz-checksum-sha1",
        [CHECKSUM_SHA256] = "x-amz-checksum-sha256",
    };
    enum checksum_kind found = CHECKSUM_NONE;
    for (int kind = CHECKSUM_CRC32; kind <= CHECKSUM_SHA256; kind++) {
        struct bytes value = head_get(&request->head, names[kind]);
        if (!value.p && request->aws_chunked)
            value = chunked_trailer(&request->aws_chunks, bytes_str(names[kind]));
        if (!value.p)
            continue;
        if (found != CHECKSUM_NONE) {
            request->fail =
                FAIL_REQUEST("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.");
            return CHECKSUM_NONE;
        }
        found = (enum checksum_kind)kind;
        *ret_value = value;
        *ret_header = names[kind];
    }
    return found;
}
