/* fake_s3.h - s3.h without a network: calls wait in a list until the test, or a little server, answers them. */
#pragma once

#include "list.h"
#include "s3.h"

enum fake_op {
    FAKE_LIST_BUCKETS,
    FAKE_LIST_OBJECTS,
    FAKE_HEAD,
    FAKE_GET,
    FAKE_DELETE,
    FAKE_PROBE,
    FAKE_PUT,
    FAKE_COPY,
    FAKE_GET_TAGS,
    FAKE_PUT_TAGS,
    FAKE_OPS
};

struct s3_call {
    struct list link;
    struct s3_client *client;
    enum fake_op op;
    char bucket[64], key[S3_KEY_MAX + 1], version_id[64], if_match[S3_ETAG_MAX + 1], prefix[64];
    char after[S3_KEY_MAX + 1]; /* of a listing; the token of a listing of buckets */
    uint32_t max_keys;
    bool cancelled, paused, begun;
    char from_bucket[64], from_key[S3_KEY_MAX + 1], from_etag[S3_ETAG_MAX + 1]; /* COPY */
    s3_read_fn *read;                                                           /* PUT */
    uint64_t size;
    char content_type[64], tagging[128], metadata[128]; /* PUT; metadata as "name=value;" */
    char tags[256];                                     /* PUT_TAGS, as "name=value;" */
    union {
        s3_buckets_fn *buckets;
        s3_objects_fn *objects;
        s3_info_fn *info;
        s3_delete_fn *deleted;
        s3_put_fn *put;
        s3_tags_fn *tags;
        struct s3_get_handler get;
    } done;
    void *arg;
};

struct fake_object {
    struct list link; /* in key order */
    char bucket[64], key[S3_KEY_MAX + 1], etag[64], version_id[64];
    char body[64];
    char content_type[64];
    char tags[256]; /* "name=value;" */
};

struct s3_client {
    struct list calls;
    uint64_t sent[FAKE_OPS];
    unsigned refuse; /* so many of the next calls return -ENOMEM at once */

    /* The little server; see fake_serve. */
    struct list objects;
    char buckets[8][64];
    size_t n_buckets;
    uint64_t etags;
    bool ignores_if_match, versioned;
    bool refuses_if_match;         /* deletes without any condition are then right */
    enum s3_status fail[FAKE_OPS]; /* what the next fail_n calls of a kind end with */
    uint64_t fail_n[FAKE_OPS];
    size_t page; /* buckets a page; 0: all */
    /* Asked before an object is deleted: was it processed? */
    void (*deleting)(void *arg, const struct fake_object *object);
    void *arg;
};

void fake_s3_init(struct s3_client *client);
void fake_s3_free(struct s3_client *client);
/* Ends calls that were cancelled. True when there was one. */
bool fake_s3_step(struct s3_client *client);
struct s3_call *fake_call(struct s3_client *client, enum fake_op op); /* the first that waits, or NULL */

/* Answers by hand. */
struct s3_result fake_result(enum s3_status status);
void fake_end(struct s3_call *call, enum s3_status status); /* without content */
void fake_end_throttled(struct s3_call *call, enum s3_status status, uint32_t throttled);
void fake_get_info(struct s3_call *call, const char *etag, const char *version_id, uint64_t size);
void fake_get_info_of(struct s3_call *call, const struct s3_object_info *info);
bool fake_get_data(struct s3_call *call, const char *piece);
void fake_head(struct s3_call *call, const char *etag);
/* Names and keys end with NULL. */
void fake_buckets(struct s3_call *call, const char *const *names, const char *next_token);
void fake_objects(struct s3_call *call, const char *const *keys, bool truncated);

/* The little server. */
struct fake_object *fake_put(struct s3_client *client, const char *bucket, const char *key, const char *body);
struct fake_object *fake_find(struct s3_client *client, const char *bucket, const char *key);
size_t fake_objects_left(struct s3_client *client);
/* Answers the first call that waits, as S3 would. False when none does. */
bool fake_serve(struct s3_client *client);
