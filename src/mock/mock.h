/* mock.h - froe-s3mock: an S3 server in memory, for the demo, tests and benchmarks; strict, fast, and able to misbehave
 * on order.
 *
 * Runs in a thread of its own with its own loop, so that it can live inside another program (froe demo). It listens on
 * loopback only. */
#pragma once

#include "bytes.h"
#include "err.h"

struct mock;

struct mock_options {
    const char *host;               /* NULL: 127.0.0.1; anything but a loopback address is refused */
    uint16_t port;                  /* 0: any free one */
    const char *access_key;         /* NULL: "test" */
    const char *secret_key;         /* NULL: "test" */
    const char *region;             /* of buckets made without a LocationConstraint; NULL: us-east-1 */
    const char *tls_cert, *tls_key; /* PEM files; both NULL: plain HTTP */
    const char *faults;             /* initial fault orders, see README of the mock in docs/s3mock.md; NULL: none */
    bool ignore_if_match;           /* like servers that do not know conditional deletes and copies */
    bool default_checksum; /* objects put without a checksum get a CRC64NVME, as on AWS; else only what was sent is
                              stored */
    uint64_t max_bytes;    /* of all bodies; 0: 4 GiB */
    uint64_t min_part;     /* bytes of an upload's parts but the last; 0: 5 MiB, as on AWS */
};

/* Copies the options; the server runs when it returns. -EINVAL (an option, with a text that names it), -EADDRINUSE and
 * other errno values, -ENOMEM. */
int mock_start(const struct mock_options *options, struct mock **ret_mock, struct err *err);
uint16_t mock_port(const struct mock *mock);
/* Puts an object straight into memory (any thread); makes the bucket when missing. content_type NULL:
 * binary/octet-stream. -EINVAL (bucket name, key or type), -ENOSPC (max_bytes), -ENOMEM. */
int mock_put(struct mock *mock, struct bytes bucket, struct bytes key, struct bytes body, const char *content_type);
/* Objects now in a bucket (current versions that are no delete markers); 0 when there is none such. */
uint64_t mock_count(struct mock *mock, struct bytes bucket);
uint64_t mock_uploads(struct mock *mock); /* multipart uploads under way, in all buckets */
void mock_stop(struct mock *mock);        /* joins the thread, frees all; NULL is fine */
