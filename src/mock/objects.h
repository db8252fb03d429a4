/* objects.h - what the server holds: buckets, keys, versions and bodies, all in memory. No HTTP, no XML, no locks.
 *
 * A key has a chain of versions, newest first; without versioning the chain is one long, its id 0 ("null"). A delete
 * marker is a version without a body. */
#pragma once

#include "index.h"
#include "list.h"
#include "tags.h"

#include <openssl/evp.h>

#define OBJECT_KEY_MAX 1024
#define BUCKET_NAME_MIN 3
#define BUCKET_NAME_MAX 63
#define BUCKETS_MAX 100000
#define REGION_MAX 32

enum versioning { VERSIONING_OFF, VERSIONING_ENABLED, VERSIONING_SUSPENDED };

/* A body, shared by reference. */
struct blob {
    uint32_t refs;
    uint32_t parts; /* of the multipart upload that made it; 0: a plain one */
    uint64_t size;
    unsigned char md5[16]; /* what the ETag shows */
    char data[];
};

enum storage_class {
    STORAGE_STANDARD,
    STORAGE_REDUCED_REDUNDANCY,
    STORAGE_STANDARD_IA,
    STORAGE_ONEZONE_IA,
    STORAGE_INTELLIGENT_TIERING,
    STORAGE_GLACIER_IR,
    STORAGE_GLACIER,
    STORAGE_DEEP_ARCHIVE,
    STORAGE_COUNT,
};
struct bytes storage_name(enum storage_class storage);
bool storage_parse(struct bytes name, enum storage_class *ret_storage);

/* What a PUT said about its object, ready to be sent again. */
struct meta {
    struct tags *tags;           /* owned; NULL: none */
    const char *checksum_header; /* "x-amz-checksum-crc32", static; NULL: none was stored */
    char checksum[64];           /* its value, base64 */
    uint32_t headers_n;
    char headers[]; /* "name: value\r\n" lines: content-type, x-amz-meta-* and kin */
};
/* NULL when memory runs out. `checksum` may end in "-parts". */
struct meta *meta_new(struct bytes headers, const char *checksum_header, struct bytes checksum);
void meta_free(struct meta *meta); /* NULL is fine */
void meta_set_checksum(struct meta *meta, const char *header, struct bytes checksum);
static inline bool meta_is_composite(const struct meta *meta) {
    return strchr(meta->checksum, '-') != NULL;
}
#define META_PLAIN BYTES("Content-Type: binary/octet-stream\r\n") /* what an object without a meta says */

struct version {
    struct version *older;
    struct blob *blob; /* NULL: a delete marker */
    struct meta *meta; /* NULL: nothing was said */
    int64_t modified_utc_us;
    uint64_t id;     /* 0: "null" */
    uint8_t storage; /* enum storage_class */
    bool restored;   /* an archived object with a copy that can be read */
};

/* Must be restored before it can be read. */
static inline bool version_archived(const struct version *version) {
    return (version->storage == STORAGE_GLACIER || version->storage == STORAGE_DEEP_ARCHIVE) && !version->restored;
}

struct object {
    struct index_entry entry;
    struct version *newest; /* never NULL */
    char key[];
};

/* Counters of a bucket's name; they outlive the bucket. */
struct bucket_stats;

struct bucket {
    struct index_entry entry; /* the name */
    struct index objects;
    uint64_t live;  /* keys whose newest version is no delete marker */
    uint64_t bytes; /* of all versions' bodies, shared ones counted each time */
    int64_t created_utc_us;
    enum versioning versioning;
    struct bucket_stats *stats; /* borrowed; may be NULL */
    struct list uploads;        /* under way, oldest first: struct upload */
    uint64_t n_uploads;
    char region[REGION_MAX + 1];
    char name[BUCKET_NAME_MAX + 1];
};

struct objects {
    struct index buckets;
    uint64_t bytes, max_bytes; /* bodies in memory, shared ones counted once */
    uint64_t live;             /* current objects in all buckets */
    uint64_t uploads;          /* under way in all buckets */
    uint64_t last_id;
    uint64_t id_seed;
    EVP_MD *md5;
};

int objects_init(struct objects *objects, uint64_t max_bytes, uint64_t id_seed); /* -ENOMEM */
void objects_reset(struct objects *objects);                                     /* drops all buckets */
void objects_free(struct objects *objects);

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html */
bool bucket_name_ok(struct bytes name);
struct bucket *bucket_find(const struct objects *objects, struct bytes name); /* NULL when absent */
/* -EEXIST, -ENOMEM, -EINVAL (name or region), -ENOSPC (too many buckets). */
int bucket_make(struct objects *objects, struct bytes name, struct bytes region, int64_t now_utc_us,
                struct bucket **ret_bucket);
int bucket_drop(struct objects *objects, struct bucket *bucket); /* -ENOTEMPTY */

/* A body with one reference, its MD5 computed. -ENOSPC past max_bytes, -ENOMEM. */
int blob_new(struct objects *objects, struct bytes data, struct blob **ret_blob);
/* One body of several, as a multipart upload makes it; the parts stay. */
int blob_join(struct objects *objects, struct blob *const *parts, size_t n, struct blob **ret_blob);
static inline struct blob *blob_ref(struct blob *blob) {
    blob->refs++;
    return blob;
}
void blob_unref(struct objects *objects, struct blob *blob); /* NULL is fine */

#define ETAG_MAX 44 /* with quotes and "-parts" */
size_t blob_etag(const struct blob *blob, char ret_etag[ETAG_MAX]);

#define VERSION_ID_MAX 32
size_t version_id_text(const struct objects *objects, const struct version *version, char ret_text[VERSION_ID_MAX]);
/* The id that a text stands for (0 for "null"); false when no id looks like that. */
bool version_id_parse(const struct objects *objects, struct bytes text, uint64_t *ret_id);

struct object *object_find(const struct bucket *bucket, struct bytes key);
struct version *object_version(const struct object *object, uint64_t id); /* NULL when absent */

/* Adds a new version as the bucket's versioning says, taking over one reference of `blob` and `meta` on success.
 * -ENOMEM, with nothing changed. */
int object_put(struct objects *objects, struct bucket *bucket, struct bytes key, struct blob *blob, struct meta *meta,
               enum storage_class storage, int64_t now_utc_us, struct version **ret_version);

struct deletion {
    bool marker;                /* a delete marker was made, or the version removed was one */
    const struct version *made; /* the marker made; NULL: none */
};
/* DELETE without a version id: removes the object, or adds a delete marker, as the bucket's versioning says. A key that
 * is not there is fine. -ENOMEM. */
int object_delete(struct objects *objects, struct bucket *bucket, struct bytes key, int64_t now_utc_us,
                  struct deletion *ret_deletion);
/* Removes one version for good; one that is not there is fine. */
void object_delete_version(struct objects *objects, struct bucket *bucket, struct bytes key, uint64_t id,
                           struct deletion *ret_deletion);
