/* request.h - one request: what its target means, and its body with the layers of coding taken off. */
#pragma once

#include "checksum.h"
#include "fail.h"
#include "faults.h"
#include "http_parse.h"
#include "sigv4.h"

#define PARAMS_MAX 32

enum payload {
    PAYLOAD_UNSIGNED,  /* UNSIGNED-PAYLOAD */
    PAYLOAD_HASH,      /* the SHA-256 of the body */
    PAYLOAD_STREAMING, /* aws-chunked; the chunks' signatures are not looked at */
};

struct request {
    struct head head;
    bool admin;
    enum op op;
    struct bytes path, query; /* of the target, as sent */
    struct bytes bucket, key; /* decoded */
    struct sigv4_param params[PARAMS_MAX];
    size_t n_params;
    struct buf text; /* what the decoded views look into */

    struct bytes access, region; /* of the credential: views into the head */
    enum payload payload;
    struct bytes payload_hash;
    bool streaming_trailer;

    struct fail fail; /* found before the body was read; status 0: none */
    int64_t start_mono_us;
    struct fault_plan plan;

    /* the body */
    enum { BODY_NONE, BODY_LENGTH, BODY_CHUNKED } framing;
    uint64_t left, max; /* bytes still to come; the most that is kept */
    bool discard;       /* the request has failed already */
    bool aws_chunked;
    struct chunked http_chunks, aws_chunks;
    bool aws_done;
    struct buf body;
};

void request_init(struct request *request);
void request_reset(
    struct request *request); /* for the next request on the connection; keeps memory, if it is not much */
void request_free(struct request *request);

/* Finds bucket, key, parameters and operation from a parsed head. `host` is the name the server goes by (for
 * virtual-host style). A refusal is left in request->fail. */
void request_route(struct request *request, struct bytes host);

/* The value of a query parameter; NULL when it is not there (an empty value is a view that is not NULL). */
const struct bytes *request_param(const struct request *request, const char *name);

/* Prepares for the body after routing and signature; may fail with 411 and kin into request->fail. Bodies over `max`
 * are refused. */
void request_body_begin(struct request *request, uint64_t max);
/* Takes bytes off the wire. 1: the body is complete, `*ret_used` of the bytes were its; 0: more is needed; negative:
 * the coding is broken (-EINVAL), too much (-E2BIG) or memory is out; the connection cannot go on. */
int request_body_feed(struct request *request, struct bytes data, size_t *ret_used);
/* The value of an x-amz-checksum-* header or trailer; `*ret_header` is its static name. CHECKSUM_NONE when there is
 * none or, with request->fail set, when there are two. */
enum checksum_kind request_checksum(struct request *request, struct bytes *ret_value, const char **ret_header);
