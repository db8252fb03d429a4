/* s3.h - the S3 client: the operations a drain needs, asynchronous, on one libuv loop.
 *
 * Thread: everything here is called on the loop's thread, and every callback runs there, never from inside the call
 * that started the operation. A call ends exactly once, with its callback; after that its pointer is gone.
 *
 * What the client does by itself: signs (SigV4), finds a bucket's region and follows a redirect once (re-signed,
 * remembered), retries as the AWS SDKs' standard mode does (full jitter, a retry quota, a deadline a call), verifies
 * lengths and checksums, and keeps connections warm. What it leaves to the caller: how many calls run at once, and what
 * throttling means for the bucket (it reports it). */
#pragma once

#include "bytes.h"
#include "clock.h"
#include "credentials.h"
#include "err.h"

#include <uv.h>

#define S3_KEY_MAX 1024     /* bytes, AWS "Object key names" */
#define S3_BUCKET_MAX 63    /* characters; older buckets may have up to 255, which virtual-host style cannot address */
#define S3_ETAG_MAX 256     /* bytes kept of an ETag, quotes included; a longer one is refused as a broken answer */
#define S3_VERSION_MAX 1024 /* bytes of a version id */
#define S3_LIST_MAX 1000    /* keys a page */

struct s3_client;
struct s3_call;

/* How a call ended, by what the caller can do about it. */
enum s3_status {
    S3_OK,
    S3_NO_KEY,        /* 404 NoSuchKey, or a 404 without a body: the object is gone */
    S3_NO_BUCKET,     /* 404 NoSuchBucket */
    S3_PRECONDITION,  /* 412: If-Match did not hold: overwritten */
    S3_CONFLICT,      /* 409 */
    S3_DENIED,        /* 403 AccessDenied and kin: permission, object lock */
    S3_ARCHIVED,      /* 403 InvalidObjectState: needs a restore first */
    S3_CREDENTIALS,   /* none found, expired, unknown key id, signature refused, clock skew that could not be mended */
    S3_THROTTLED,     /* 503 SlowDown, 429 and kin, still so after the retries */
    S3_UNREACHABLE,   /* DNS, connect, TLS, or no answer: the endpoint as a whole */
    S3_SERVER,        /* 5xx that is not throttling, after the retries */
    S3_CORRUPT,       /* body shorter or longer than promised, checksum wrong, XML that does not parse */
    S3_TIMEOUT,       /* the call's deadline or the stall limit passed */
    S3_BAD_REQUEST,   /* other 4xx, or an argument refused before anything was sent */
    S3_NOT_SUPPORTED, /* 501 NotImplemented, 405 */
    S3_CANCELLED,     /* s3_cancel */
    S3_NO_MEMORY,
};
const char *s3_status_name(enum s3_status status); /* "no such key" ... static text */

/* What every callback gets. Borrowed: valid during the callback. */
struct s3_result {
    enum s3_status status;
    int http_status;    /* of the last answer; 0: none came */
    const char *code;   /* S3's error code ("AccessDenied"), "" when none */
    const char *text;   /* one line for a person: operation, bucket, key, what happened, request id; no secrets; ""
                           when S3_OK */
    uint32_t attempts;  /* requests sent, redirects not counted */
    uint32_t throttled; /* how many of the attempts were answered with throttling, also when the call succeeded */
    int64_t duration_us;
};

/* ---- the client ---- */

enum s3_addressing { S3_ADDRESS_AUTO, S3_ADDRESS_PATH, S3_ADDRESS_VIRTUAL };

struct s3_options {
    const char *endpoint;  /* "http[s]://host[:port]", no path; NULL: AWS, https://s3.<region>.amazonaws.com and its
                              regional kin (China and ISO partitions by region prefix) */
    const char *region;    /* NULL: us-east-1 */
    const char *ca_bundle; /* PEM file; NULL: the system's */
    enum s3_addressing addressing; /* AUTO: path style for a custom endpoint, virtual host for AWS, where names with
                                      dots are path style too (the TLS wildcard covers one label) */
    struct credentials_provider *credentials; /* borrowed; outlives the client */
    uint32_t max_connections;                 /* open at once; 0: 256 */
    uint32_t max_attempts;                    /* requests a call; 0: 3 (AWS_MAX_ATTEMPTS) */
    int64_t call_deadline_us;                 /* a call without a body stream, all retries included; 0: 60 s */
    int64_t connect_timeout_us;               /* 0: 5 s */
    int64_t stall_timeout_us;  /* no byte moved in a body for so long (pauses by the caller not counted); 0: 30 s */
    const char *user_agent;    /* NULL: froe/<version> */
    int64_t retry_base_us;     /* the wait before the n-th retry is random below this x 2^(n-1), at most 20 s, after
                                  throttling; a tenth of this after other failures. 0: 1 s */
    const struct clock *clock; /* for dates, durations and limits, but that of connecting. NULL: clock_system */
    uint64_t rng_seed;         /* 0: from the kernel */
    uint32_t hash_threads;     /* that compute the checksums of large bodies; 0: the loop's own does */
};

/* Copies the options. -EINVAL with a text for an endpoint, region or CA file that cannot be right; -ENOMEM. */
int s3_client_new(uv_loop_t *loop, const struct s3_options *options, struct s3_client **ret_client, struct err *err);

/* Cancels what runs (callbacks get S3_CANCELLED), closes connections, then calls `closed`; the client is then gone. */
void s3_client_close(struct s3_client *client, void (*closed)(void *arg), void *arg);

/* Requests sent by kind, attempts and redirects included, since the client was made. */
struct s3_counters {
    uint64_t list_buckets, list_objects, head, get, put, delete, copy, tagging;
    uint64_t upload; /* all requests of multipart uploads */
    uint64_t other;
    uint64_t retries, throttled, redirects;
    uint64_t bytes_in, bytes_out; /* bodies */
};
void s3_client_counters(const struct s3_client *client, struct s3_counters *ret_counters);

/* Is the name one that can be sent at all: 1-255 of [A-Za-z0-9._-], not "." or ".."? -EINVAL with a text. */
int s3_check_bucket_name(struct bytes name, struct err *err);
/* Are they such as s3_client_new takes? NULL is fine. -EINVAL with a text, -ENOMEM. */
int s3_check_place(const char *endpoint, const char *region, struct err *err);

/* Ends the call soon with S3_CANCELLED (later, from the loop; not from inside this function). */
void s3_cancel(struct s3_call *call);

/* ---- operations ----
 * All copy their arguments. On 0 the call is under way and `*ret_call` (may be NULL) can be cancelled until the
 * callback. On a negative code nothing was started and no callback comes: -EINVAL (an argument out of its limits),
 * -ENOMEM, or -ECANCELED once s3_client_close was called. */

struct s3_bucket {
    struct bytes name, region; /* region empty when the server did not say */
};
struct s3_bucket_page {
    const struct s3_bucket *buckets;
    size_t n;
    struct bytes next_token; /* empty: this was the last page */
};
typedef void s3_buckets_fn(void *arg, const struct s3_result *result, const struct s3_bucket_page *page);
/* GET /?max-buckets=&prefix=&continuation-token= . One page. A server that ignores paging answers all at once; one that
 * ignores the prefix answers too much: the page holds only names that start with `prefix` either way. Regions seen are
 * remembered for later calls. https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html */
int s3_list_buckets(struct s3_client *client, struct bytes prefix, struct bytes token, s3_buckets_fn *done, void *arg,
                    struct s3_call **ret_call);

struct s3_object {
    struct bytes key;           /* raw bytes, decoded */
    struct bytes etag;          /* as sent, with its quotes; empty when the server gave none */
    struct bytes storage_class; /* empty: STANDARD */
    uint64_t size;
    int64_t modified_utc_us;
    bool restored; /* an archived object with a restored copy that can be read */
};
struct s3_object_page {
    const struct s3_object *objects; /* in key order on servers that sort (all but directory buckets) */
    size_t n;
    bool truncated;        /* more keys follow the last one */
    struct bytes last_key; /* start_after of the next page; empty when n is 0 */
};
typedef void s3_objects_fn(void *arg, const struct s3_result *result, const struct s3_object_page *page);
/* ListObjectsV2, encoding-type=url, stateless: the next page starts after the last key of this one, so deletes behind
 * the cursor do not matter. max_keys 1-1000 (0: 1000).
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html */
int s3_list_objects(struct s3_client *client, struct bytes bucket, struct bytes prefix, struct bytes start_after,
                    uint32_t max_keys, s3_objects_fn *done, void *arg, struct s3_call **ret_call);

struct s3_header {
    struct bytes name, value; /* name in lower case */
};
#define S3_SIZE_UNKNOWN UINT64_MAX
struct s3_object_info {
    uint64_t size;           /* S3_SIZE_UNKNOWN: not told (a chunked answer) */
    struct bytes etag;       /* with quotes, as If-Match wants it; empty when the server gave none */
    struct bytes version_id; /* empty: none or unversioned; "null" is an id */
    struct bytes content_type;
    int64_t modified_utc_us;          /* 0: not told */
    const struct s3_header *metadata; /* x-amz-meta-*, the name without that prefix */
    size_t n_metadata;
};
typedef void s3_info_fn(void *arg, const struct s3_result *result, const struct s3_object_info *info);
/* `info` is NULL unless S3_OK. version_id may be empty. */
int s3_head(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id, s3_info_fn *done,
            void *arg, struct s3_call **ret_call);

struct s3_get_handler {
    /* The answer is a 200; the body follows. Called at most once: an attempt that fails before this point is retried
     * inside, one that fails after it ends the call, because bytes have been handed out. */
    void (*info)(void *arg, const struct s3_object_info *info);
    /* A piece of the body, in order. Return true to be given more; false pauses the call after this piece (which counts
     * as consumed) until s3_get_resume. */
    bool (*data)(void *arg, struct bytes piece);
    /* The end. S3_OK only when every byte promised came and every checksum that was sent and can be verified was right
     * (x-amz-checksum-crc32, -crc32c, -sha1, -sha256, -crc64nvme, not composite "-N" ones; and the ETag where it is the
     * MD5 of the body on a server that sent no such checksum: single-part, 32 hex digits, no SSE-KMS or SSE-C header).
     * S3_CORRUPT otherwise. An answer without a length or chunks ends where its connection does: only a right checksum
     * makes that S3_OK. */
    void (*done)(void *arg, const struct s3_result *result);
};
/* Streams an object. The deadline of other calls does not apply, the stall limit does. While it is paused only the end
 * by s3_cancel or s3_client_close comes. Resuming inside `data` undoes the pause. */
int s3_get(struct s3_client *client, struct bytes bucket, struct bytes key, const struct s3_get_handler *handler,
           void *arg, struct s3_call **ret_call);
void s3_get_resume(struct s3_call *call);

/* `etag` is as If-Match wants it, with quotes; never empty when S3_OK. */
typedef void s3_put_fn(void *arg, const struct s3_result *result, struct bytes etag, struct bytes version_id);
/* Stores a body that is in memory (copied), with a Content-Type (may be empty), user metadata, and
 * x-amz-checksum-crc32. Where the answer tells that checksum, or an ETag that is the MD5 of a small body, S3_OK means
 * that it was right. Needs s3:PutObject. */
int s3_put(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes body,
           struct bytes content_type, const struct s3_header *metadata, size_t n_metadata, s3_put_fn *done, void *arg,
           struct s3_call **ret_call);

/* How a result is stored. All copied; empty: left out. Tags need s3:PutObjectTagging. */
struct s3_put_options {
    struct bytes content_type, storage_class;
    struct bytes tagging;             /* as a query string: "name=value&name=value", percent-encoded */
    const struct s3_header *metadata; /* names without x-amz-meta- */
    size_t n_metadata;
};
/* Reads up to n bytes of the body at offset; fewer than asked for, or a negative errno, ends the call: S3_BAD_REQUEST.
 * Must not end or close the client; it may cancel its own call. */
typedef int64_t s3_read_fn(void *arg, uint64_t offset, void *to, size_t n);
/* Stores a body of a known size that is read piece by piece, so that it need not be in memory, and again for a retry:
 * `read` is called on the loop's thread, with the same `arg` as `done`, until `done` is. With x-amz-checksum-crc32 (the
 * CRC is computed in a first reading), the payload unsigned over TLS and signed (SHA-256) otherwise. Above part_bytes
 * as a multipart upload, a part after the other, aborted when it cannot be completed or is cancelled (one that is
 * cancelled while it begins ends when the server has answered); an abort that failed is told in the result's text.
 * Closing the client still lets an abort run, for 5 s at most. S3_OK means that S3 has it, whole and durable;
 * S3_CONFLICT, that somebody else ended the upload; of a look that was to tell, and failed, the status is that of the
 * look. No deadline: the stall limit applies. At most 10000 parts: they are
 * larger than part_bytes where that is not enough. Servers other than AWS are told the tags of an upload in parts once
 * more after it, as Ceph ignores them before: for a moment the object is there without. attempts and throttled are
 * those of all requests. Needs s3:PutObject; s3:AbortMultipartUpload; and s3:GetObject where the answer to the last
 * request was lost and the object has to be looked at.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html */
#define S3_PART_BYTES (INT64_C(16) * 1024 * 1024) /* the usual part_bytes; at least 5 MiB, at most 5 GiB on AWS */
int s3_put_stream(struct s3_client *client, struct bytes bucket, struct bytes key, uint64_t size, s3_read_fn *read,
                  const struct s3_put_options *options, uint64_t part_bytes, s3_put_fn *done, void *arg,
                  struct s3_call **ret_call);

/* Could an object of that name and kind be stored? Begins an upload in parts and aborts it, which leaves nothing and
 * which nobody is notified of. S3_OK: it could, as far as the beginning tells (permissions, the storage class, tags,
 * keys of an encryption); a failed abort is a failure whose text says that an upload is left behind. Needs
 * s3:PutObject, s3:AbortMultipartUpload, and for tags s3:PutObjectTagging. */
int s3_probe_put(struct s3_client *client, struct bytes bucket, struct bytes key, const struct s3_put_options *options,
                 s3_put_fn *done, void *arg, struct s3_call **ret_call);

/* Copies an object as it is (metadata and tags with it) inside S3, of that very ETag (empty: of any; 412 otherwise:
 * S3_PRECONDITION; S3_NO_KEY: the source is gone) and version (empty: the current). Above 5 GiB, which one request
 * cannot copy, in parts of the copy's own. An answer of 200 with an error in it is that error. Servers that are not AWS
 * may ignore the ETag: there the source is looked at before and after, so that S3_OK means a copy of that very object
 * all the same; but what took its place just then may have been copied when the call ends with S3_PRECONDITION (not
 * above 5 GiB), and S3_CONFLICT means that a source which was there a moment ago was not found. Nor are they asked for
 * more than 5 GiB under a key with a '%' or "?versionId=" in it: S3_NOT_SUPPORTED, as Ceph 16 would copy another
 * object. With a content type or metadata in `options` (may be NULL) these replace all that the source has of both;
 * with tags, those replace its tags. The storage class is that of `options`, else STANDARD, not the source's. The
 * request goes to the region of the destination. No deadline: the stall limit applies. Needs s3:GetObject
 * (s3:GetObjectVersion) and s3:GetObjectTagging (s3:GetObjectVersionTagging) on the source, s3:PutObject and
 * s3:PutObjectTagging on the destination, and above 5 GiB s3:AbortMultipartUpload.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html */
struct s3_copy_source {
    struct bytes bucket, key, version_id, etag;
    uint64_t size;
};
int s3_copy(struct s3_client *client, const struct s3_copy_source *source, struct bytes bucket, struct bytes key,
            const struct s3_put_options *options, s3_put_fn *done, void *arg, struct s3_call **ret_call);

struct s3_tag {
    struct bytes name, value; /* decoded */
};
#define S3_TAGS_MAX 10 /* that can be put; a server may tell more */
typedef void s3_tags_fn(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n);
/* version_id may be empty. Getting needs s3:GetObjectTagging (with a version s3:GetObjectVersionTagging), putting,
 * which replaces all and then tells none, s3:PutObjectTagging (s3:PutObjectVersionTagging).
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectTagging.html and PutObject... */
int s3_get_tags(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
                s3_tags_fn *done, void *arg, struct s3_call **ret_call);
int s3_put_tags(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
                const struct s3_tag *tags, size_t n, s3_tags_fn *done, void *arg, struct s3_call **ret_call);

typedef void s3_delete_fn(void *arg, const struct s3_result *result);
/* Deletes one object. With a version id: that version for good. With if_match: only while the current ETag is that
 * (412: S3_PRECONDITION; 404: S3_NO_KEY, already gone). Not both: AWS refuses that. A retried delete that finds 404 is
 * S3_NO_KEY as well. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html */
int s3_delete(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
              struct bytes if_match, s3_delete_fn *done, void *arg, struct s3_call **ret_call);

/* Does the server honour If-Match on DELETE? Sends a conditional delete for a random key that does not exist:
 * S3_NO_KEY or S3_PRECONDITION mean it does, S3_OK that it ignores the condition (or, on Ceph, might not), and
 * S3_NOT_SUPPORTED that it refuses. Must not be sent to a versioned bucket of a server that may ignore it (it would
 * leave a delete marker). */
int s3_probe_conditional_delete(struct s3_client *client, struct bytes bucket, s3_delete_fn *done, void *arg,
                                struct s3_call **ret_call);

enum s3_versioning { S3_VERSIONING_OFF, S3_VERSIONING_ENABLED, S3_VERSIONING_SUSPENDED };
typedef void s3_versioning_fn(void *arg, const struct s3_result *result, enum s3_versioning versioning);
/* GET ?versioning. Needs s3:GetBucketVersioning; S3_DENIED is an answer a caller must live with. */
int s3_get_versioning(struct s3_client *client, struct bytes bucket, s3_versioning_fn *done, void *arg,
                      struct s3_call **ret_call);
