/* objects.c - buckets, keys, versions and bodies. */
#include "objects.h"

#include "mem.h"
#include "uploads.h"

#include <arpa/inet.h>
#include <errno.h>

static const char digits_hex[] = "0123456789abcdef";

struct bytes storage_name(enum storage_class storage) {
    static const struct bytes names[STORAGE_COUNT] = {
        [STORAGE_STANDARD] = {"STANDARD", 8},
        [STORAGE_REDUCED_REDUNDANCY] = {"REDUCED_REDUNDANCY", 18},
        [STORAGE_STANDARD_IA] = {"STANDARD_IA", 11},
        [STORAGE_ONEZONE_IA] = {"ONEZONE_IA", 10},
        [STORAGE_INTELLIGENT_TIERING] = {"INTELLIGENT_TIERING", 19},
        [STORAGE_GLACIER_IR] = {"GLACIER_IR", 10},
        [STORAGE_GLACIER] = {"GLACIER", 7},
        [STORAGE_DEEP_ARCHIVE] = {"DEEP_ARCHIVE", 12},
    };
    return names[storage];
}

bool storage_parse(struct bytes name, enum storage_class *ret_storage) {
    for (int i = 0; i < STORAGE_COUNT; i++)
        if (bytes_equal(storage_name((enum storage_class)i), name)) {
            *ret_storage = (enum storage_class)i;
            return true;
        }
    return false;
}

void meta_set_checksum(struct meta *meta, const char *header, struct bytes checksum) {
    memset(meta->checksum, 0, sizeof(meta->checksum));
    meta->checksum_header = header;
    if (checksum.n && checksum.n < sizeof(meta->checksum))
        memcpy(meta->checksum, checksum.p, checksum.n);
}

struct meta *meta_new(struct bytes headers, const char *checksum_header, struct bytes checksum) {
    struct meta *meta = headers.n < UINT32_MAX ? mem_alloc(sizeof(*meta) + headers.n) : NULL;
    if (!meta)
        return NULL;
    *meta = (struct meta){.headers_n = (uint32_t)headers.n};
    meta_set_checksum(meta, checksum_header, checksum);
    if (headers.n)
        memcpy(meta->headers, headers.p, headers.n);
    return meta;
}

void meta_free(struct meta *meta) {
    if (meta)
        mem_free(meta->tags);
    mem_free(meta);
}

/* ---- lifecycle ---- */

int objects_init(struct objects *objects, uint64_t max_bytes, uint64_t id_seed) {
    *objects = (struct objects){.max_bytes = max_bytes, .id_seed = id_seed};
    objects->md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    return objects->md5 ? 0 : -ENOMEM;
}

static void version_free(struct objects *objects, struct version *version) {
    blob_unref(objects, version->blob);
    meta_free(version->meta);
    mem_free(version);
}

static void free_object(void *arg, struct index_entry *entry) {
    struct object *object = (struct object *)(void *)entry;
    for (struct version *version = object->newest, *older; version; version = older) {
        older = version->older;
        version_free(arg, version);
    }
    mem_free(object);
}

static void free_bucket(void *arg, struct index_entry *entry) {
    struct bucket *bucket = (struct bucket *)(void *)entry;
    index_clear(&bucket->objects, free_object, arg);
    while (!list_empty(&bucket->uploads))
        upload_free(arg, bucket, LIST_ENTRY(bucket->uploads.next, struct upload, link));
    mem_free(bucket);
}

void objects_reset(struct objects *objects) {
    index_clear(&objects->buckets, free_bucket, objects);
    objects->live = 0;
}

void objects_free(struct objects *objects) {
    objects_reset(objects);
    EVP_MD_free(objects->md5);
    objects->md5 = NULL;
}

/* ---- buckets ---- */

static bool is_alnum_lower(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool bucket_name_ok(struct bytes name) {
    if (name.n < BUCKET_NAME_MIN || name.n > BUCKET_NAME_MAX)
        return false;
    if (!is_alnum_lower(name.p[0]) || !is_alnum_lower(name.p[name.n - 1]))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!is_alnum_lower(c) && c != '-' && c != '.')
            return false;
        if (c == '.' && name.p[i + 1] == '.')
            return false;
    }
    char text[BUCKET_NAME_MAX + 1] = {0};
    struct in_addr address;
    memcpy(text, name.p, name.n);
    if (inet_pton(AF_INET, text, &address) == 1)
        return false;
    return !bytes_starts(name, BYTES("xn--")) && !bytes_ends(name, BYTES("-s3alias"));
}

struct bucket *bucket_find(const struct objects *objects, struct bytes name) {
    return (struct bucket *)(void *)index_find(&objects->buckets, name);
}

int bucket_make(struct objects *objects, struct bytes name, struct bytes region, int64_t now_utc_us,
                struct bucket **ret_bucket) {
    if (!bucket_name_ok(name) || region.n == 0 || region.n > REGION_MAX)
        return -EINVAL;
    if (objects->buckets.count >= BUCKETS_MAX)
        return -ENOSPC;
    struct bucket *bucket = mem_zalloc(sizeof(*bucket));
    if (!bucket)
        return -ENOMEM;
    memcpy(bucket->name, name.p, name.n);
    memcpy(bucket->region, region.p, region.n);
    bucket->entry = (struct index_entry){bucket->name, (uint32_t)name.n};
    bucket->created_utc_us = now_utc_us;
    list_init(&bucket->uploads);
    int r = index_insert(&objects->buckets, &bucket->entry);
    if (r < 0) {
        mem_free(bucket);
        return r;
    }
    *ret_bucket = bucket;
    return 0;
}

int bucket_drop(struct objects *objects, struct bucket *bucket) {
    if (bucket->objects.count)
        return -ENOTEMPTY;
    index_remove(&objects->buckets, index_key(&bucket->entry));
    free_bucket(objects, &bucket->entry);
    return 0;
}

/* ---- bodies ---- */

static int blob_room(const struct objects *objects, uint64_t n, struct blob **ret_blob) {
    if (n > objects->max_bytes || objects->bytes > objects->max_bytes - n)
        return -ENOSPC;
    size_t size;
    if (__builtin_add_overflow(sizeof(struct blob), n, &size))
        return -ENOMEM;
    struct blob *blob = mem_alloc(size);
    if (!blob)
        return -ENOMEM;
    *blob = (struct blob){.refs = 1, .size = n};
    *ret_blob = blob;
    return 0;
}

int blob_new(struct objects *objects, struct bytes data, struct blob **ret_blob) {
    struct blob *blob;
    int r = blob_room(objects, data.n, &blob);
    if (r < 0)
        return r;
    if (data.n)
        memcpy(blob->data, data.p, data.n);
    if (!EVP_Digest(data.n ? data.p : "", data.n, blob->md5, NULL, objects->md5, NULL)) {
        mem_free(blob);
        return -ENOMEM;
    }
    objects->bytes += data.n;
    *ret_blob = blob;
    return 0;
}

int blob_join(struct objects *objects, struct blob *const *parts, size_t n, struct blob **ret_blob) {
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(total, parts[i]->size, &total))
            return -ENOSPC;
    struct blob *blob;
    unsigned char *md5s = mem_calloc(n, sizeof(parts[0]->md5));
    int r = md5s ? blob_room(objects, total, &blob) : -ENOMEM;
    if (r < 0) {
        mem_free(md5s);
        return r;
    }
    char *at = blob->data;
    for (size_t i = 0; i < n; i++) {
        memcpy(at, parts[i]->data, parts[i]->size);
        at += parts[i]->size;
        memcpy(md5s + i * sizeof(parts[0]->md5), parts[i]->md5, sizeof(parts[0]->md5));
    }
    blob->parts = (uint32_t)n;
    bool ok = EVP_Digest(md5s, n * sizeof(parts[0]->md5), blob->md5, NULL, objects->md5, NULL);
    mem_free(md5s);
    if (!ok) {
        mem_free(blob);
        return -ENOMEM;
    }
    objects->bytes += total;
    *ret_blob = blob;
    return 0;
}

void blob_unref(struct objects *objects, struct blob *blob) {
    if (!blob || --blob->refs)
        return;
    objects->bytes -= blob->size;
    mem_free(blob);
}

static size_t add_hex(char *at, const unsigned char *data, size_t n) {
    for (size_t i = 0; i < n; i++) {
        at[2 * i] = digits_hex[data[i] >> 4];
        at[2 * i + 1] = digits_hex[data[i] & 15];
    }
    return 2 * n;
}

size_t blob_etag(const struct blob *blob, char ret_etag[ETAG_MAX]) {
    size_t n = 0;
    ret_etag[n++] = '"';
    n += add_hex(ret_etag + n, blob->md5, sizeof(blob->md5));
    if (blob->parts) {
        char digits[8];
        size_t count = 0;
        for (uint32_t left = blob->parts % 100000; left; left /= 10)
            digits[count++] = (char)('0' + left % 10);
        ret_etag[n++] = '-';
        while (count)
            ret_etag[n++] = digits[--count];
    }
    ret_etag[n++] = '"';
    return n;
}

/* ---- version ids: the counter, scrambled so that nobody takes it for one ---- */

static uint64_t scramble(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

size_t version_id_text(const struct objects *objects, const struct version *version, char ret_text[VERSION_ID_MAX]) {
    if (version->id == 0) {
        memcpy(ret_text, "null", 4);
        return 4;
    }
    uint64_t words[2] = {version->id ^ objects->id_seed, scramble(version->id + objects->id_seed)};
    unsigned char raw[16];
    for (size_t i = 0; i < 16; i++)
        raw[i] = (unsigned char)(words[i / 8] >> (56 - 8 * (i % 8)));
    return add_hex(ret_text, raw, sizeof(raw));
}

bool version_id_parse(const struct objects *objects, struct bytes text, uint64_t *ret_id) {
    if (bytes_equal(text, BYTES("null"))) {
        *ret_id = 0;
        return true;
    }
    if (text.n != VERSION_ID_MAX)
        return false;
    uint64_t id = 0;
    for (size_t i = 0; i < 16; i++) {
        const char *digit = text.p[i] ? strchr(digits_hex, text.p[i]) : NULL;
        if (!digit)
            return false;
        id = id << 4 | (uint64_t)(digit - digits_hex);
    }
    id ^= objects->id_seed;
    char same[VERSION_ID_MAX];
    struct version version = {.id = id};
    if (id == 0 || version_id_text(objects, &version, same) != text.n || memcmp(same, text.p, text.n) != 0)
        return false;
    *ret_id = id;
    return true;
}

/* ---- objects ---- */

struct object *object_find(const struct bucket *bucket, struct bytes key) {
    return (struct object *)(void *)index_find(&bucket->objects, key);
}

struct version *object_version(const struct object *object, uint64_t id) {
    struct version *version = object->newest;
    while (version && version->id != id)
        version = version->older;
    return version;
}

static void count_version(struct bucket *bucket, const struct version *version, bool add) {
    uint64_t size = version->blob ? version->blob->size : 0;
    bucket->bytes = add ? bucket->bytes + size : bucket->bytes - size;
}

static void count_live(struct objects *objects, struct bucket *bucket, bool before, bool now) {
    if (before == now)
        return;
    bucket->live += now ? 1 : UINT64_MAX;
    objects->live += now ? 1 : UINT64_MAX;
}

static bool is_live(const struct object *object) {
    return object && object->newest && object->newest->blob;
}

static void unlink_version(struct objects *objects, struct bucket *bucket, struct object *object, uint64_t id) {
    for (struct version **link = &object->newest; *link; link = &(*link)->older) {
        struct version *version = *link;
        if (version->id != id)
            continue;
        *link = version->older;
        count_version(bucket, version, false);
        version_free(objects, version);
        return;
    }
}

/* Makes `version` the newest of its key, in place of the null version where the bucket does not keep versions. */
static int add_version(struct objects *objects, struct bucket *bucket, struct bytes key, struct version *version) {
    struct object *object = object_find(bucket, key);
    if (!object) {
        object = mem_alloc(sizeof(*object) + key.n);
        if (!object)
            return -ENOMEM;
        if (key.n)
            memcpy(object->key, key.p, key.n);
        object->entry = (struct index_entry){object->key, (uint32_t)key.n};
        object->newest = NULL;
        int r = index_insert(&bucket->objects, &object->entry);
        if (r < 0) {
            mem_free(object);
            return r;
        }
    }
    bool before = is_live(object);
    if (bucket->versioning == VERSIONING_ENABLED)
        version->id = ++objects->last_id;
    else
        unlink_version(objects, bucket, object, 0);
    version->older = object->newest;
    object->newest = version;
    count_version(bucket, version, true);
    count_live(objects, bucket, before, is_live(object));
    return 0;
}

int object_put(struct objects *objects, struct bucket *bucket, struct bytes key, struct blob *blob, struct meta *meta,
               enum storage_class storage, int64_t now_utc_us, struct version **ret_version) {
    if (key.n == 0 || key.n > OBJECT_KEY_MAX)
        return -EINVAL;
    struct version *version = mem_alloc(sizeof(*version));
    if (!version)
        return -ENOMEM;
    *version = (struct version){.blob = blob, .meta = meta, .modified_utc_us = now_utc_us, .storage = (uint8_t)storage};
    int r = add_version(objects, bucket, key, version);
    if (r < 0) {
        mem_free(version);
        return r;
    }
    if (ret_version)
        *ret_version = version;
    return 0;
}

static void drop_if_empty(struct bucket *bucket, struct object *object) {
    if (object->newest)
        return;
    index_remove(&bucket->objects, index_key(&object->entry));
    mem_free(object);
}

int object_delete(struct objects *objects, struct bucket *bucket, struct bytes key, int64_t now_utc_us,
                  struct deletion *ret_deletion) {
    *ret_deletion = (struct deletion){0};
    if (bucket->versioning == VERSIONING_OFF) {
        object_delete_version(objects, bucket, key, 0, ret_deletion);
        return 0;
    }
    struct version *marker = mem_alloc(sizeof(*marker));
    if (!marker)
        return -ENOMEM;
    *marker = (struct version){.modified_utc_us = now_utc_us};
    int r = add_version(objects, bucket, key, marker);
    if (r < 0) {
        mem_free(marker);
        return r;
    }
    *ret_deletion = (struct deletion){.marker = true, .made = marker};
    return 0;
}

void object_delete_version(struct objects *objects, struct bucket *bucket, struct bytes key, uint64_t id,
                           struct deletion *ret_deletion) {
    *ret_deletion = (struct deletion){0};
    struct object *object = object_find(bucket, key);
    const struct version *version = object ? object_version(object, id) : NULL;
    if (!version)
        return;
    ret_deletion->marker = version->blob == NULL;
    bool before = is_live(object);
    unlink_version(objects, bucket, object, id);
    count_live(objects, bucket, before, is_live(object));
    drop_if_empty(bucket, object);
}
