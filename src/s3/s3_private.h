/* s3_private.h - what the files of the client share: s3.c (the client), s3_call.c (a call from start to end, over its
 * attempts), s3_call_text.c (its words), s3_ask.c (building a call), s3_ops.c (what is made of each operation's answer,
 * and the small operations), s3_put.c (storing an object), s3_body.c (the bodies that are sent), s3_copy.c and
 * s3_tags.c, s3_upload.c and s3_upload_copy.c (calls that are several requests). */
#pragma once

#include "http.h"
#include "list.h"
#include "s3.h"
#include "s3_answer.h"
#include "s3_endpoint.h"
#include "s3_retry.h"
#include "s3_xml.h"
#include "sigv4.h"

#define S3_PARAMS_MAX 6
#define S3_OWN_HEADERS_MAX 4   /* of an operation, metadata not counted */
#define S3_ADDED_HEADERS_MAX 6 /* of every request: host, payload hash, date, token, authorization, user agent */
#define S3_CODE_MAX 64         /* bytes kept of an error code */
#define S3_MESSAGE_MAX 300     /* and of its message */
#define S3_ERROR_BODY_MAX (64u * 1024)
#define S3_LONG_BODY_MAX (1024u * 1024) /* of an answer that is kept alive with blanks or news of its progress */
#define S3_SHA256_HEX 64
#define S3_CRC32_TEXT 8            /* in base64 */
#define S3_BODY_SMALL (64u * 1024) /* a body up to this is kept in memory once it was read */
#define S3_METADATA_MAX 200        /* entries of user metadata to send */
#define S3_METADATA_BYTES 8192     /* in all; also of any other header that is sent */

enum s3_op {
    S3_OP_LIST_BUCKETS,
    S3_OP_LIST_OBJECTS,
    S3_OP_HEAD,
    S3_OP_GET,
    S3_OP_PUT,
    S3_OP_DELETE,
    S3_OP_VERSIONING,
    S3_OP_COPY,
    S3_OP_GET_TAGS,
    S3_OP_PUT_TAGS,
    S3_OP_UPLOAD, /* sends nothing itself: the following do, one after the other */
    S3_OP_CREATE_UPLOAD,
    S3_OP_PUT_PART,
    S3_OP_COPY_PART,
    S3_OP_COMPLETE_UPLOAD,
    S3_OP_ABORT_UPLOAD,
};

struct s3_upload; /* s3_upload.h */

/* Fields of an object beside its type and metadata, in the order of s3_standard_names. */
#define S3_STANDARD_N 5

struct s3_key_request { /* outlives a client that closes while the credentials are fetched */
    struct s3_client *client;
    bool asked;
};

struct s3_client {
    uv_loop_t *loop;
    struct http *http;
    struct s3_endpoint endpoint;
    struct s3_regions regions;
    const char *region; /* of buckets whose own is not known; from `regions` */
    char *user_agent;
    struct credentials_provider *credentials;
    struct s3_key_request *key_request;
    struct sigv4_signer *signer;
    struct hashers *hashers; /* NULL: none */
    const struct clock *clock;
    int64_t clock_offset_us; /* the servers' clock minus ours, once one complained */
    struct rng rng;
    struct s3_quota quota;
    uint32_t max_attempts, max_free;
    int64_t call_deadline_us, retry_base_us;
    uint64_t copy_max, copy_part; /* bytes that one request copies, and that a part has of what is more */
    struct list calls;            /* all that live, by `link` */
    struct list free;             /* for reuse, by `link` */
    struct list keys;             /* that wait for credentials, by `queue` */
    struct list asleep;           /* until their next attempt, by `queue` */
    struct list bodies;           /* whose body is read a first time, by `queue` */
    struct list ending;           /* whose end is to be told from the loop, by `queue` */
    size_t n_free;
    uv_timer_t timer;
    uint64_t timer_at_ms; /* 0: not set */
    uv_idle_t soon;
    int open_handles;
    struct s3_counters counters;
    bool closing, http_closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Where a call is. */
enum s3_stage {
    S3_STAGE_NEW,
    S3_STAGE_BODY,
    S3_STAGE_KEYS,
    S3_STAGE_HTTP,
    S3_STAGE_ASLEEP,
    S3_STAGE_UPLOAD, /* calls of its own are under way */
    S3_STAGE_ENDING,
    S3_STAGE_TELLING, /* inside its callback */
};

struct s3_call {
    struct list link, queue;
    struct s3_client *client;
    enum s3_op op;
    enum s3_stage stage;

    /* What is asked; views into `args`. */
    struct buf args;
    struct bytes bucket, key, prefix;
    struct sigv4_param params[S3_PARAMS_MAX];
    size_t n_params;
    struct sigv4_header *headers; /* the operation's own first, then those that each attempt adds */
    struct http_field *fields;
    size_t n_own, headers_cap;
    struct bytes body; /* in memory */
    bool has_body;
    s3_read_fn *read; /* a body that is not: of read_n bytes from read_from; NULL: none, or it is in memory by now */
    void *read_arg;
    uint64_t read_from, read_n, read_done; /* done: of the first reading */
    uint32_t crc;
    bool with_crc;
    char crc_text[S3_CRC32_TEXT];     /* of the body, where a header shows it */
    char payload_hash[S3_SHA256_HEX]; /* of the body */
    char number[24];                  /* a parameter as text */
    union {
        s3_buckets_fn *buckets;
        s3_objects_fn *objects;
        s3_info_fn *info;
        struct s3_get_handler get;
        s3_put_fn *put;
        s3_delete_fn *deleted;
        s3_versioning_fn *versioning;
        s3_tags_fn *tags;
        void (*step)(struct s3_call *call, const struct s3_result *result); /* a part of s3_call.arg, an upload */
    } to;
    void *arg;
    struct s3_upload *upload; /* S3_OP_UPLOAD's own */

    /* The request. */
    const char *region; /* that it is signed for; from the client's regions */
    bool probing;       /* asking for the bucket's region in between */
    bool url_is_good;   /* for this region and not for another */
    struct buf url, authorization;
    struct s3_url url_parts;
    struct http_request *http;
    uint64_t key_generation;
    bool temporary_keys;

    /* The course of the call. */
    int64_t start_mono_us;
    uint64_t deadline_ms; /* as s3_now_ms; 0: none */
    uint64_t wake_ms;
    uint32_t attempts, failures, throttled;
    int quota_taken;
    bool cancelled, redirected, clock_mended, keys_renewed;
    bool last; /* no more attempts: the caller has had a part of the answer, or waits for the end alone */

    /* The last attempt's answer. */
    int http_status;
    struct s3_verdict refused; /* set with `reason` while the answer still comes; S3_OK: not */
    struct buf in;             /* its body, unless it is streamed */
    bool in_over;              /* longer than allowed; the rest was not read */
    struct s3_xml xml;
    struct s3_header *metadata;
    size_t metadata_cap;
    struct buf kept; /* header values, for operations that tell them at the end */
    struct s3_object_info info;
    struct bytes standard[S3_STANDARD_N]; /* of a HEAD */
    struct s3_check check;                /* of a body that comes; its `sum` also computes that of one that is sent */
    int64_t date_utc_us, retry_after_us;
    char code[S3_CODE_MAX + 1], request_id[S3_REQUEST_ID_MAX + 1], region_told[SIGV4_REGION_MAX + 1];
    struct buf message;
    struct buf text; /* of the result */
};

static inline uint64_t s3_now_ms(const struct s3_client *client) {
    return (uint64_t)clock_mono_us(client->clock) / 1000;
}

/* ---- s3.c ---- */
struct s3_call *s3_call_new(struct s3_client *client, enum s3_op op); /* NULL: out of memory */
void s3_call_release(struct s3_call *call);                           /* for reuse */
void s3_client_wake_at(struct s3_client *client, uint64_t at_ms);     /* as s3_now_ms */
void s3_client_wake(struct s3_client *client);                        /* soon */
void s3_client_check_closed(struct s3_client *client);

/* ---- s3_call.c ---- */
void s3_call_start(struct s3_call *call, bool with_deadline, struct s3_call **ret_call);
void s3_call_read_on(struct s3_call *call);                    /* the first reading of its body */
void s3_call_send(struct s3_call *call);                       /* the next attempt */
void s3_call_end(struct s3_call *call, enum s3_status status); /* tells and releases; from the loop only */
void s3_call_end_soon(struct s3_call *call, struct s3_verdict verdict, const char *message);
void s3_call_refuse(struct s3_call *call, struct s3_verdict verdict, const char *message); /* the answer under way */

/* ---- s3_call_text.c ---- */
void s3_call_set_message(struct s3_call *call, struct bytes text); /* what is told besides the code; what fits */
/* A code, an id, a region: empty if it is longer than `max`, or holds what such a word does not. */
void s3_call_copy_word(char *to, size_t max, struct bytes word);
void s3_call_take_error(struct s3_call *call, const struct s3_xml_error *error); /* what S3 said is wrong */
const char *s3_call_text(struct s3_call *call, enum s3_status status);           /* the result's; in call->text */

/* ---- s3_ask.c ---- */
/* A call with room for `args_n` bytes of arguments and for the operation's own headers. -ENOMEM, -ECANCELED. */
int s3_ask(struct s3_client *client, enum s3_op op, size_t args_n, size_t n_headers, struct s3_call **ret_call);
/* Into the room that s3_ask made: the views stay good. */
struct bytes s3_ask_keep(struct s3_call *call, struct bytes text);
void s3_ask_param(struct s3_call *call, struct bytes name, struct bytes value);  /* keeps the value */
void s3_ask_header(struct s3_call *call, struct bytes name, struct bytes value); /* keeps neither */
bool s3_ask_fits_header(struct bytes value);
int s3_ask_check_object(struct bytes bucket, struct bytes key); /* -EINVAL */

/* ---- s3_body.c ---- */
/* The call's body is in memory, and stays there as long as the call. With x-amz-checksum-crc32, if `with_crc` (one
 * header of its own). -ENOMEM. */
int s3_body_take(struct s3_call *call, struct bytes body, bool with_crc);
/* The call's body is to be read: `n` bytes from `from` on, with x-amz-checksum-crc32. s3_ask must have made room for
 * the body too if it is small (s3_body_room). -ENOMEM. */
int s3_body_read(struct s3_call *call, s3_read_fn *read, void *read_arg, uint64_t from, uint64_t n);
static inline size_t s3_body_room(uint64_t n) {
    return n <= S3_BODY_SMALL ? (size_t)n : 0;
}
/* A step of the first reading. 1: it is done; 0: there is more; or how the call ends, with words. */
int s3_body_step(struct s3_call *call, enum s3_status *ret_status, struct err *err);
http_read_fn s3_body_send;                                         /* the second one; its arg is the call */
void s3_body_crc_text(uint32_t crc, char ret_text[S3_CRC32_TEXT]); /* in base64, without a NUL */
/* Is what the server says of the body that it got what was sent? NULL, or what is wrong. */
const char *s3_body_check(struct s3_call *call, const struct s3_answer *answer);

/* ---- s3_put.c ---- */
/* Checks, and tells how many bytes and headers s3_put_add needs. -EINVAL. */
#define S3_PUT_MAX (UINT64_C(5) * 1024 * 1024 * 1024) /* bytes of one request, AWS "Uploading objects" */
int s3_put_check(const struct s3_put_options *options, size_t *ret_bytes, size_t *ret_headers);
void s3_put_add(struct s3_call *call, const struct s3_put_options *options); /* its headers */
/* Of a copy: are type and metadata other ones than the source's? */
static inline bool s3_put_replaces(const struct s3_put_options *options) {
    return options && (options->content_type.n || options->n_metadata);
}

/* ---- s3_copy.c ---- */
/* Appends "bucket/key?versionId=..." as x-amz-copy-source wants it. -ENOMEM. */
int s3_copy_add_source(struct buf *out, const struct s3_copy_source *source);
int s3_copy_whole(struct s3_client *client, const struct s3_copy_source *source, struct bytes bucket, struct bytes key,
                  const struct s3_put_options *options, s3_put_fn *done, void *arg, struct s3_call **ret_call);

/* ---- s3_upload_copy.c ---- */
/* Is it named by an ETag that the server may ignore? */
bool s3_copy_must_be_looked_after(const struct s3_client *client, const struct s3_copy_source *source);

/* ---- s3_tags.c ---- */
/* As s3_put_tags, of "name=value&...", percent-encoded. */
int s3_put_tags_of_query(struct s3_client *client, struct bytes bucket, struct bytes key, struct bytes version_id,
                         struct bytes query, s3_tags_fn *done, void *arg, struct s3_call **ret_call);

/* ---- s3_upload.c ---- */
#define S3_PARTS_MAX 10000 /* AWS "Multipart upload limits" */
/* Starts a multipart upload of a body that is read, or (read NULL) of a copy of `source`, or (source NULL too) one that
 * is only begun and aborted. -EINVAL, -ENOMEM, -ECANCELED. */
int s3_upload_start(struct s3_client *client, struct bytes bucket, struct bytes key, uint64_t size, uint64_t part_bytes,
                    s3_read_fn *read, const struct s3_copy_source *source, const struct s3_put_options *options,
                    s3_put_fn *done, void *arg, struct s3_call **ret_call);
void s3_upload_cancel(struct s3_call *call);                 /* its end comes later, from the loop */
struct bytes s3_upload_left(const struct s3_upload *upload); /* words on what could not be cleared; or empty */
void s3_upload_free(struct s3_upload *upload);               /* NULL is fine */

/* ---- s3_ops.c ---- */
extern const char *const s3_standard_names[S3_STANDARD_N];
const char *s3_op_method(enum s3_op op);
const char *s3_op_verb(enum s3_op op); /* for a person */
/* The head of a 2xx answer. May refuse it. */
void s3_op_head(struct s3_call *call, const struct s3_answer *answer, const struct http_field *fields, size_t n);
bool s3_op_data(struct s3_call *call, struct bytes piece); /* of such an answer; as http_handler's */
struct s3_verdict s3_op_whole(struct s3_call *call);       /* such an answer is in: is it good? */
void s3_op_tell(struct s3_call *call, const struct s3_result *result);
