/* sigv4.h - AWS Signature Version 4 for S3, in the Authorization header.
 *
 * Source: "Signing AWS API requests" (AWS General Reference) and "Authenticating Requests (AWS Signature Version 4)"
 * (S3 API Reference). For S3 the path is encoded once and never normalised. */
#pragma once

#include "bytes.h"
#include "credentials.h"

struct sigv4_param { /* a query parameter, raw (not encoded) */
    struct bytes name, value;
};
struct sigv4_header { /* name in lower case; value as it will be sent */
    struct bytes name, value;
};

#define SIGV4_FIELDS_MAX 256 /* parameters, and headers, of one request */
#define SIGV4_REGION_MAX 64  /* bytes */
#define SIGV4_SERVICE_MAX 16
#define SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define SIGV4_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct sigv4_request {
    const char *method;
    struct bytes path; /* already percent-encoded, as it goes on the wire; starts with '/' */
    const struct sigv4_param *params;
    size_t n_params;
    const struct sigv4_header *headers; /* all that are to be signed; host and x-amz-date among them */
    size_t n_headers;
    struct bytes payload_hash; /* hex SHA-256, or UNSIGNED-PAYLOAD */
    struct bytes region, service;
    int64_t now_utc_us;
};

/* All functions that append leave `out` as it was when they fail. Errors: -ENOMEM (or -E2BIG at the buffer's limit),
 * -E2BIG past SIGV4_FIELDS_MAX, -EINVAL for a year that has not four digits, a region or service over its limit, or a
 * secret over CREDENTIALS_SECRET_MAX, -EIO when OpenSSL fails. */

/* Writes the query as it must go on the wire: encoded, sorted by name then value, `a=b&c=`. */
int sigv4_add_query(struct buf *out, const struct sigv4_param *params, size_t n);
/* "20260102T030405Z" */
int sigv4_add_date(struct buf *out, int64_t utc_us);

/* The day's signing keys, cached: one per (generation of the keys, day, region, service), a handful of places. Not
 * thread-safe. */
struct sigv4_signer;
int sigv4_signer_new(struct sigv4_signer **ret_signer);
void sigv4_signer_free(struct sigv4_signer *signer); /* wipes the keys */

/* Appends the value of the Authorization header. */
int sigv4_sign(struct sigv4_signer *signer, const struct credentials *keys, const struct sigv4_request *request,
               struct buf *authorization);
/* The intermediate texts, for conformance tests and for a server that verifies. */
int sigv4_add_canonical_request(struct buf *out, const struct sigv4_request *request);
int sigv4_add_string_to_sign(struct buf *out, const struct sigv4_request *request, struct bytes canonical_request);
/* The lower-case hex signature alone (64 characters). */
int sigv4_signature(struct sigv4_signer *signer, const struct credentials *keys, const struct sigv4_request *request,
                    char ret_hex[65]);
