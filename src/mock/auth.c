/* auth.c - reads the Authorization header and computes the signature again. */
#include "auth.h"

#include "text.h"

#include <openssl/crypto.h>

#define SKEW_MAX_US (15 * US_PER_MIN)
#define SIGNATURE_SIZE 64

#define MALFORMED(message) FAIL(400, "AuthorizationHeaderMalformed", (message))

struct authorization {
    struct bytes access, day, region, signed_headers, signature;
    struct bytes secret; /* borrowed from the server or the order */
    uint64_t generation;
};

/* Cuts the text up to `end` (or all of it) off `rest`. */
static struct bytes cut(struct bytes *rest, char end) {
    const char *at = rest->n ? memchr(rest->p, end, rest->n) : NULL;
    struct bytes head = bytes_of(rest->p, at ? (size_t)(at - rest->p) : rest->n);
    size_t skip = head.n + (at ? 1 : 0);
    *rest = bytes_of(rest->p + skip, rest->n - skip);
    return head;
}

static struct fail parse_credential(struct bytes text, struct authorization *auth) {
    auth->access = cut(&text, '/');
    auth->day = cut(&text, '/');
    auth->region = cut(&text, '/');
    struct bytes service = cut(&text, '/');
    if (!auth->access.n || auth->day.n != 8 || !bytes_equal(text, BYTES("aws4_request")))
        return MALFORMED("The authorization header is malformed; the Credential is mal-formed; expecting "
                         "\"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".");
    if (!bytes_equal(service, BYTES("s3")))
        return MALFORMED("The authorization header is malformed; incorrect service. This endpoint belongs to \"s3\".");
    if (!auth->region.n || auth->region.n > REGION_MAX)
        return MALFORMED(
            "The authorization header is malformed; a non-empty region must be provided in the credential.");
    return FAIL_NONE;
}

static struct fail parse_authorization(struct bytes header, struct authorization *auth) {
    struct bytes rest = header;
    if (!header.p)
        return FAIL_DENIED; /* nobody may come without a name */
    if (!bytes_equal(cut(&rest, ' '), BYTES("AWS4-HMAC-SHA256")))
        return FAIL_REQUEST(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.");
    struct bytes credential = BYTES_NONE;
    while (rest.n) {
        struct bytes value = bytes_trim(cut(&rest, ','));
        struct bytes name = cut(&value, '=');
        if (bytes_equal(name, BYTES("Credential")))
            credential = value;
        else if (bytes_equal(name, BYTES("SignedHeaders")))
            auth->signed_headers = value;
        else if (bytes_equal(name, BYTES("Signature")))
            auth->signature = value;
        else
            return MALFORMED("The authorization header is malformed; it holds an unknown part.");
    }
    if (!credential.n || !auth->signed_headers.n || auth->signature.n != SIGNATURE_SIZE)
        return MALFORMED("The authorization header is malformed; it requires three components: Credential, "
                         "SignedHeaders, and Signature.");
    return parse_credential(credential, auth);
}

static struct fail find_secret(const struct mock *mock, const struct request *request, struct authorization *auth) {
    struct bytes token = head_get(&request->head, "x-amz-security-token");
    struct bytes wanted = BYTES_NONE;
    const struct fault *user = NULL;
    auth->secret = bytes_str(mock->secret);
    auth->generation = 0;
    if (!bytes_equal(auth->access, bytes_str(mock->access))) {
        user = faults_user(&mock->faults, auth->access);
        if (!user)
            return FAIL(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.");
        wanted = user->token;
        auth->secret = user->secret;
        auth->generation = user->generation;
    }
    if (user && user->expired)
        return FAIL(400, "ExpiredToken", "The provided token has expired.");
    if (!bytes_equal(token, wanted))
        return FAIL(400, "InvalidToken", "The provided token is malformed or otherwise invalid.");
    return FAIL_NONE;
}

static bool digits(const char *p, size_t n, int *ret_number) {
    int number = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        number = number * 10 + (p[i] - '0');
    }
    *ret_number = number;
    return true;
}

/* "20260102T030405Z" */
static bool parse_date(struct bytes text, int64_t *ret_utc_us) {
    struct clock_date date = {0};
    if (text.n != 16 || text.p[8] != 'T' || text.p[15] != 'Z')
        return false;
    if (!digits(text.p, 4, &date.year) || !digits(text.p + 4, 2, &date.month) || !digits(text.p + 6, 2, &date.day) ||
        !digits(text.p + 9, 2, &date.hour) || !digits(text.p + 11, 2, &date.minute) ||
        !digits(text.p + 13, 2, &date.second))
        return false;
    if (date.year < 1970 || date.month < 1 || date.month > 12 || date.day < 1 || date.day > 31 || date.hour > 23 ||
        date.minute > 59 || date.second > 59)
        return false;
    *ret_utc_us = clock_from_date_utc(&date);
    return true;
}

static struct fail check_date(const struct mock *mock, const struct request *request, const struct authorization *auth,
                              int64_t *ret_utc_us) {
    struct bytes text = head_get(&request->head, "x-amz-date");
    if (!parse_date(text, ret_utc_us))
        return FAIL(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header");
    if (!bytes_starts(text, auth->day))
        return MALFORMED(
            "The authorization header is malformed; the date in the credential is not that of x-amz-date.");
    int64_t skew = *ret_utc_us - mock->now_utc_us;
    if (skew > SKEW_MAX_US || skew < -SKEW_MAX_US)
        return FAIL(403, "RequestTimeTooSkewed",
                    "The difference between the request time and the current time is too large.");
    return FAIL_NONE;
}

static bool is_hex64(struct bytes text) {
    if (text.n != 64)
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (!((text.p[i] >= '0' && text.p[i] <= '9') || (text.p[i] >= 'a' && text.p[i] <= 'f')))
            return false;
    return true;
}

static struct fail read_payload(struct request *request) {
    struct bytes hash = head_get(&request->head, "x-amz-content-sha256");
    if (!hash.p)
        return FAIL_REQUEST("Missing required header for this request: x-amz-content-sha256");
    request->payload_hash = hash;
    if (is_hex64(hash))
        request->payload = PAYLOAD_HASH;
    else if (bytes_equal(hash, BYTES(SIGV4_UNSIGNED_PAYLOAD)))
        request->payload = PAYLOAD_UNSIGNED;
    else if (bytes_equal(hash, BYTES("STREAMING-UNSIGNED-PAYLOAD-TRAILER")) ||
             bytes_equal(hash, BYTES("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")) ||
             bytes_equal(hash, BYTES("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")))
        request->payload = PAYLOAD_STREAMING;
    else
        return FAIL_ARGUMENT("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
                             "STREAMING-AWS4-HMAC-SHA256-PAYLOAD[-TRAILER] or a valid sha256 value.");
    return FAIL_NONE;
}

/* All fields of each signed name, in the order they were sent. Every x-amz-* field must be among them. */
static struct fail collect_headers(const struct request *request, struct bytes names, struct sigv4_header *headers,
                                   size_t *ret_n) {
    const struct head *head = &request->head;
    bool taken[HEAD_FIELDS_MAX] = {false};
    bool host = false;
    size_t n = 0;
    while (names.n) {
        struct bytes name = cut(&names, ';');
        bool found = false;
        for (size_t i = 0; i < head->n_fields; i++) {
            if (!bytes_equal(head->fields[i].name, name))
                continue;
            if (taken[i])
                return MALFORMED("The authorization header is malformed; a signed header is named twice.");
            taken[i] = found = true;
            headers[n++] = (struct sigv4_header){name, head->fields[i].value};
        }
        if (!found)
            return FAIL(403, "SignatureDoesNotMatch", "A header that was signed is not in the request.");
        host |= bytes_equal(name, BYTES("host"));
    }
    if (!host)
        return FAIL(403, "AccessDenied", "The Host header must be signed.");
    for (size_t i = 0; i < head->n_fields; i++)
        if (!taken[i] && bytes_starts(head->fields[i].name, BYTES("x-amz-")))
            return FAIL(403, "AccessDenied", "There were headers present in the request which were not signed");
    *ret_n = n;
    return FAIL_NONE;
}

static bool is_plain_path(struct bytes path) {
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (!plain)
            return false;
    }
    return true;
}

/* As S3 does: decodes the path and encodes it again, each byte once. */
static int canonical_path(struct bytes path, struct buf *out) {
    struct buf raw = {0};
    int r = text_add_unpercent(&raw, path, false);
    if (r == 0)
        r = text_add_percent(out, buf_bytes(&raw), true);
    buf_free(&raw);
    return r;
}

static const char *method_text(enum http_method method) {
    static const char *const texts[] = {
        [HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD", [HTTP_PUT] = "PUT", [HTTP_POST] = "POST", [HTTP_DELETE] = "DELETE"};
    return texts[method];
}

static struct fail check_signature(struct mock *mock, const struct request *request, const struct authorization *auth,
                                   int64_t utc_us) {
    struct sigv4_header headers[HEAD_FIELDS_MAX];
    struct sigv4_request signing = {.method = method_text(request->head.method),
                                    .path = request->path,
                                    .params = request->params,
                                    .n_params = request->n_params,
                                    .headers = headers,
                                    .payload_hash = request->payload_hash,
                                    .region = auth->region,
                                    .service = BYTES("s3"),
                                    .now_utc_us = utc_us};
    struct credentials keys = {
        .access_key_id = auth->access, .secret_access_key = auth->secret, .generation = auth->generation};
    struct fail fail = collect_headers(request, auth->signed_headers, headers, &signing.n_headers);
    if (fail.status)
        return fail;
    struct buf path = {0};
    char signature[SIGNATURE_SIZE + 1];
    int r = 0;
    if (!is_plain_path(request->path)) {
        r = canonical_path(request->path, &path);
        signing.path = buf_bytes(&path);
    }
    if (r == 0)
        r = sigv4_signature(mock->signer, &keys, &signing, signature);
    buf_free(&path);
    if (r < 0)
        return FAIL_MEMORY;
    if (CRYPTO_memcmp(signature, auth->signature.p, SIGNATURE_SIZE) != 0)
        return FAIL(403, "SignatureDoesNotMatch",
                    "The request signature we calculated does not match the signature you provided. Check your key and "
                    "signing method.");
    return FAIL_NONE;
}

bool auth_denied(struct mock *mock, const struct request *request, const char *action) {
    return mock->faults.n &&
           faults_denied(&mock->faults, request->access, bytes_str(action), request->bucket, request->key);
}

static bool denied_by_order(struct mock *mock, const struct request *request) {
    if (!mock->faults.n || request->op == OP_UNKNOWN)
        return false;
    bool version = request_param(request, "versionId") != NULL;
    if (request->op == OP_DELETE && version)
        return auth_denied(mock, request, "s3:DeleteObjectVersion");
    if ((request->op == OP_GET || request->op == OP_HEAD) && version)
        return auth_denied(mock, request, "s3:GetObjectVersion");
    if (request->op == OP_GET_TAGGING && version)
        return auth_denied(mock, request, "s3:GetObjectVersionTagging");
    if (request->op == OP_PUT_TAGGING && version)
        return auth_denied(mock, request, "s3:PutObjectVersionTagging");
    if (request->op == OP_DELETE_TAGGING && version)
        return auth_denied(mock, request, "s3:DeleteObjectVersionTagging");
    if (request->op == OP_DELETE_OBJECTS)
        return false; /* decided for each key */
    if (auth_denied(mock, request, op_action(request->op)))
        return true;
    bool stores = request->op == OP_PUT || request->op == OP_COPY || request->op == OP_CREATE_UPLOAD;
    if (stores && head_get(&request->head, "x-amz-tagging").p && auth_denied(mock, request, "s3:PutObjectTagging"))
        return true;
    /* The condition reads the object. */
    return request->op == OP_DELETE && head_get(&request->head, "if-match").p &&
           auth_denied(mock, request, "s3:GetObject");
}

void auth_check(struct mock *mock, struct request *request) {
    struct authorization auth = {.generation = 0};
    int64_t utc_us = 0;
    struct fail fail = FAIL_NONE;
    if (request->head.method == HTTP_OTHER || request->fail.status == 500)
        return; /* refused by routing, or not even understood for lack of memory */
    fail = parse_authorization(head_get(&request->head, "authorization"), &auth);
    if (!fail.status)
        fail = find_secret(mock, request, &auth);
    if (!fail.status)
        fail = check_date(mock, request, &auth, &utc_us);
    if (!fail.status)
        fail = read_payload(request);
    if (!fail.status)
        fail = check_signature(mock, request, &auth, utc_us);
    request->access = auth.access;
    request->region = auth.region;
    if (!fail.status && denied_by_order(mock, request))
        fail = FAIL_DENIED;
    if (fail.status)
        request->fail = fail;
}

struct fail auth_check_body(struct mock *mock, const struct request *request) {
    struct bytes body = buf_bytes(&request->body);
    if (request->payload == PAYLOAD_HASH) {
        static const char digits_hex[] = "0123456789abcdef";
        if (!body.n && bytes_equal(request->payload_hash, BYTES(SIGV4_EMPTY_SHA256)))
            return FAIL_NONE;
        unsigned char hash[32];
        if (!EVP_Digest(body.n ? body.p : "", body.n, hash, NULL, mock->sha256, NULL))
            return FAIL_MEMORY;
        for (size_t i = 0; i < sizeof(hash); i++)
            if (request->payload_hash.p[2 * i] != digits_hex[hash[i] >> 4] ||
                request->payload_hash.p[2 * i + 1] != digits_hex[hash[i] & 15])
                return FAIL(400, "XAmzContentSHA256Mismatch",
                            "The provided 'x-amz-content-sha256' header does not match what was computed.");
    }
    if (request->aws_chunked) {
        uint64_t length;
        if (text_parse_u64(head_get(&request->head, "x-amz-decoded-content-length"), &length) < 0)
            return FAIL(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
        if (length != body.n)
            return FAIL(400, "IncompleteBody",
                        "You did not provide the number of bytes specified by the Content-Length HTTP header");
    }
    return FAIL_NONE;
}
