/* ops_list.c - ListObjectsV2, ListObjects and ListObjectVersions: one walk over the key index in three dresses.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html */
#include "ops.h"

#include "text.h"
#include "xml.h"

#include <errno.h>

#define LIST_MAX 1000

enum list_kind { LIST_V1, LIST_V2, LIST_VERSIONS };

struct walk {
    struct mock *mock;
    const struct bucket *bucket;
    enum list_kind kind;
    struct bytes prefix, delimiter;
    bool url;            /* encoding-type=url */
    bool owner;          /* say whose the objects are */
    bool restore_status; /* x-amz-optional-object-attributes */
    uint64_t most;
    /* where it starts */
    struct bytes start;
    bool after;               /* behind `start`, not at it */
    bool past_prefix;         /* behind all keys that start with `start` */
    const uint64_t *after_id; /* of versions: behind this version of the key `start` */
    /* what came of it */
    struct buf *items, *prefixes;
    uint64_t n;
    bool truncated;
    struct bytes last; /* key or common prefix: a view into the index */
    bool last_is_prefix;
    const struct version *last_version;
    /* the last time written: neighbours often have the same */
    int64_t second;
    char time[32];
    size_t time_n;
};

static int add_key(const struct walk *walk, struct buf *xml, struct bytes key) {
    return walk->url ? xml_add_url(xml, key) : xml_add_text(xml, key);
}

static int add_named(const struct walk *walk, struct buf *xml, const char *name, struct bytes key) {
    int r = buf_printf(xml, "<%s>", name);
    if (r == 0)
        r = add_key(walk, xml, key);
    return r < 0 ? r : buf_printf(xml, "</%s>", name);
}

static int add_time(struct walk *walk, int64_t utc_us) {
    int64_t second = utc_us / US_PER_S;
    if (!walk->time_n || walk->second != second) {
        struct buf text = {0};
        int r = ops_add_time(&text, utc_us);
        if (r == 0 && text.n < sizeof(walk->time)) {
            memcpy(walk->time, text.p, text.n);
            walk->time_n = text.n;
            walk->second = second;
        }
        buf_free(&text);
        if (r < 0)
            return r;
    }
    return buf_add(walk->items, walk->time, walk->time_n);
}

static int add_number(struct buf *xml, uint64_t value) {
    char digits[20];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    return buf_add(xml, digits + at, sizeof(digits) - at);
}

/* What objects and versions have in common: ETag, checksum, size, storage class. */
static int add_body_facts(const struct walk *walk, const struct version *version) {
    struct buf *xml = walk->items;
    char etag[ETAG_MAX];
    size_t n = blob_etag(version->blob, etag);
    int r = buf_add_str(xml, "<ETag>&quot;");
    if (r == 0)
        r = buf_add(xml, etag + 1, n - 2);
    if (r == 0)
        r = buf_add_str(xml, "&quot;</ETag>");
    if (r == 0 && version->meta && version->meta->checksum_header) {
        r = buf_add_str(xml, "<ChecksumAlgorithm>");
        for (const char *c = version->meta->checksum_header + strlen("x-amz-checksum-"); r == 0 && *c; c++)
            r = buf_add_byte(xml, *c >= 'a' && *c <= 'z' ? (char)(*c - ('a' - 'A')) : *c);
        if (r == 0)
            r = buf_printf(xml, "</ChecksumAlgorithm><ChecksumType>%s</ChecksumType>",
                           meta_is_composite(version->meta) ? "COMPOSITE" : "FULL_OBJECT");
    }
    if (r == 0)
        r = buf_add_str(xml, "<Size>");
    if (r == 0)
        r = add_number(xml, version->blob->size);
    if (r == 0)
        r = buf_add_str(xml, "</Size><StorageClass>");
    if (r == 0)
        r = buf_add_bytes(xml, storage_name((enum storage_class)version->storage));
    if (r == 0)
        r = buf_add_str(xml, "</StorageClass>");
    if (r == 0 && walk->restore_status && version->restored)
        r = buf_add_str(xml, "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
                             "<RestoreExpiryDate>2100-12-31T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>");
    return r;
}

static int add_owner(const struct walk *walk) {
    return walk->owner ? buf_add_str(walk->items, "<Owner><ID>" OWNER_ID "</ID></Owner>") : 0;
}

static int add_object(struct walk *walk, const struct object *object) {
    const struct version *version = object->newest;
    int r = buf_add_str(walk->items, "<Contents><Key>");
    if (r == 0)
        r = add_key(walk, walk->items, index_key(&object->entry));
    if (r == 0)
        r = buf_add_str(walk->items, "</Key><LastModified>");
    if (r == 0)
        r = add_time(walk, version->modified_utc_us);
    if (r == 0)
        r = buf_add_str(walk->items, "</LastModified>");
    if (r == 0)
        r = add_body_facts(walk, version);
    if (r == 0)
        r = add_owner(walk);
    return r < 0 ? r : buf_add_str(walk->items, "</Contents>");
}

static int add_version(struct walk *walk, const struct object *object, const struct version *version) {
    const char *name = version->blob ? "Version" : "DeleteMarker";
    char id[VERSION_ID_MAX];
    size_t n = version_id_text(&walk->mock->objects, version, id);
    int r = buf_printf(walk->items, "<%s><Key>", name);
    if (r == 0)
        r = add_key(walk, walk->items, index_key(&object->entry));
    if (r == 0)
        r = buf_printf(walk->items, "</Key><VersionId>%.*s</VersionId><IsLatest>%s</IsLatest><LastModified>", (int)n,
                       id, version == object->newest ? "true" : "false");
    if (r == 0)
        r = add_time(walk, version->modified_utc_us);
    if (r == 0)
        r = buf_add_str(walk->items, "</LastModified>");
    if (r == 0 && version->blob)
        r = add_body_facts(walk, version);
    if (r == 0)
        r = add_owner(walk);
    return r < 0 ? r : buf_printf(walk->items, "</%s>", name);
}

/* ---- the walk ---- */

/* Places the cursor behind all keys that start with `prefix`; false when nothing can follow. */
static int seek_past(const struct walk *walk, struct bytes prefix, struct index_cursor *cursor, bool *ret_end) {
    while (prefix.n && (unsigned char)prefix.p[prefix.n - 1] == 0xff)
        prefix.n--;
    *ret_end = prefix.n == 0;
    if (*ret_end)
        return 0;
    struct buf next = {0};
    int r = buf_add_bytes(&next, prefix);
    if (r == 0) {
        next.p[next.n - 1] = (char)((unsigned char)next.p[next.n - 1] + 1);
        index_seek(&walk->bucket->objects, buf_bytes(&next), false, cursor);
    }
    buf_free(&next);
    return r;
}

/* The part of the key up to and with the first delimiter behind the prefix; empty when there is none. */
static struct bytes common_prefix(const struct walk *walk, struct bytes key) {
    if (!walk->delimiter.n || key.n <= walk->prefix.n)
        return BYTES_NONE;
    const char *at = memmem(key.p + walk->prefix.n, key.n - walk->prefix.n, walk->delimiter.p, walk->delimiter.n);
    return at ? bytes_of(key.p, (size_t)(at - key.p) + walk->delimiter.n) : BYTES_NONE;
}

static bool full(struct walk *walk) {
    if (walk->n < walk->most)
        return false;
    walk->truncated = true;
    return true;
}

static int emit_object(struct walk *walk, const struct object *object) {
    if (full(walk))
        return 0;
    walk->n++;
    walk->last = index_key(&object->entry);
    walk->last_is_prefix = false;
    return add_object(walk, object);
}

static int emit_versions(struct walk *walk, const struct object *object) {
    const struct version *version = object->newest;
    if (walk->after_id && bytes_equal(index_key(&object->entry), walk->start)) {
        while (version && version->id != *walk->after_id)
            version = version->older;
        version = version ? version->older : NULL;
    }
    for (int r = 0; version; version = version->older) {
        if (full(walk))
            return 0;
        walk->n++;
        walk->last = index_key(&object->entry);
        walk->last_version = version;
        walk->last_is_prefix = false;
        r = add_version(walk, object, version);
        if (r < 0)
            return r;
    }
    return 0;
}

static int emit_prefix(struct walk *walk, struct bytes common) {
    if (full(walk))
        return 0;
    walk->n++;
    walk->last = common;
    walk->last_is_prefix = true;
    walk->last_version = NULL;
    int r = buf_add_str(walk->prefixes, "<CommonPrefixes>");
    if (r == 0)
        r = add_named(walk, walk->prefixes, "Prefix", common);
    return r < 0 ? r : buf_add_str(walk->prefixes, "</CommonPrefixes>");
}

static int walk_keys(struct walk *walk) {
    struct index_cursor cursor;
    bool end = walk->most == 0;
    int r = 0;
    bool inside = bytes_compare(walk->start, walk->prefix) >= 0;
    if (walk->past_prefix && inside)
        r = seek_past(walk, walk->start, &cursor, &end);
    else
        index_seek(&walk->bucket->objects, inside ? walk->start : walk->prefix, inside && walk->start.n && walk->after,
                   &cursor);
    while (r == 0 && !end && !walk->truncated) {
        const struct object *object = (const struct object *)(const void *)index_next(&cursor);
        if (!object || !bytes_starts(index_key(&object->entry), walk->prefix))
            break;
        if (walk->kind != LIST_VERSIONS && !object->newest->blob)
            continue;
        struct bytes common = common_prefix(walk, index_key(&object->entry));
        if (common.n) {
            r = emit_prefix(walk, common);
            if (r == 0 && !walk->truncated)
                r = seek_past(walk, common, &cursor, &end);
        } else {
            r = walk->kind == LIST_VERSIONS ? emit_versions(walk, object) : emit_object(walk, object);
        }
    }
    return r;
}

/* ---- parameters ---- */

static struct bytes param(const struct request *request, const char *name) {
    const struct bytes *value = request_param(request, name);
    return value ? *value : BYTES_NONE;
}

static struct fail read_params(const struct request *request, struct walk *walk) {
    struct bytes encoding = param(request, "encoding-type");
    walk->prefix = param(request, "prefix");
    walk->delimiter = param(request, "delimiter");
    walk->url = bytes_equal(encoding, BYTES("url"));
    if (encoding.n && !walk->url)
        return FAIL_ARGUMENT("Invalid Encoding Method specified in Request");
    if (!ops_count_param(request, "max-keys", LIST_MAX, LIST_MAX, &walk->most))
        return FAIL_ARGUMENT("Argument maxKeys must be an integer between 0 and 2147483647");
    walk->restore_status =
        bytes_equal(head_get(&request->head, "x-amz-optional-object-attributes"), BYTES("RestoreStatus"));
    return FAIL_NONE;
}

static int begin_result(struct walk *walk, const char *root) {
    struct buf *xml = &walk->mock->xml;
    buf_reset(xml);
    int r = buf_printf(xml, XML_HEAD "<%s" XML_NAMESPACE ">", root);
    if (r == 0)
        r = xml_add_element(xml, "Name", index_key(&walk->bucket->entry));
    if (r == 0)
        r = add_named(walk, xml, "Prefix", walk->prefix);
    if (r == 0 && walk->delimiter.n)
        r = add_named(walk, xml, "Delimiter", walk->delimiter);
    if (r == 0)
        r = buf_printf(xml, "<MaxKeys>%llu</MaxKeys><IsTruncated>%s</IsTruncated>", (unsigned long long)walk->most,
                       walk->truncated ? "true" : "false");
    return r < 0 || !walk->url ? r : buf_add_str(xml, "<EncodingType>url</EncodingType>");
}

static struct fail end_result(struct walk *walk, int r, const char *root, struct answer *answer) {
    struct buf *xml = &walk->mock->xml;
    if (r == 0)
        r = buf_add_bytes(xml, buf_bytes(walk->items));
    if (r == 0)
        r = buf_add_bytes(xml, buf_bytes(walk->prefixes));
    if (r == 0)
        r = buf_printf(xml, "</%s>", root);
    if (r < 0)
        return FAIL_MEMORY;
    answer_xml(walk->mock, answer, xml);
    return FAIL_NONE;
}

static void walk_init(struct walk *walk, struct mock *mock, const struct bucket *bucket, enum list_kind kind) {
    *walk =
        (struct walk){.mock = mock, .bucket = bucket, .kind = kind, .items = &mock->items, .prefixes = &mock->prefixes};
    buf_reset(walk->items);
    buf_reset(walk->prefixes);
}

/* ---- ListObjectsV2: the token is what the last page ended with, marked 'k' for a key or 'p' for a common prefix ----
 */

static int add_token(const struct walk *walk, struct buf *xml) {
    struct buf raw = {0};
    int r = buf_add_byte(&raw, walk->last_is_prefix ? 'p' : 'k');
    if (r == 0)
        r = buf_add_bytes(&raw, walk->last);
    if (r == 0)
        r = buf_add_str(xml, "<NextContinuationToken>");
    if (r == 0)
        r = text_add_base64(xml, raw.p, raw.n);
    buf_free(&raw);
    return r < 0 ? r : buf_add_str(xml, "</NextContinuationToken>");
}

static int add_v2(struct walk *walk, const struct request *request) {
    struct buf *xml = &walk->mock->xml;
    const struct bytes *token = request_param(request, "continuation-token");
    const struct bytes *start_after = request_param(request, "start-after");
    int r = begin_result(walk, "ListBucketResult");
    if (r == 0)
        r = buf_printf(xml, "<KeyCount>%llu</KeyCount>", (unsigned long long)walk->n);
    if (r == 0 && token)
        r = xml_add_element(xml, "ContinuationToken", *token);
    if (r == 0 && start_after)
        r = add_named(walk, xml, "StartAfter", *start_after);
    return r < 0 || !walk->truncated ? r : add_token(walk, xml);
}

static struct fail list_v2(struct walk *walk, const struct request *request, struct answer *answer) {
    struct buf token = {0};
    const struct bytes *sent = request_param(request, "continuation-token");
    int r = sent ? text_add_unbase64(&token, *sent) : 0;
    if (r < 0 || (sent && (token.n < 2 || (token.p[0] != 'k' && token.p[0] != 'p')))) {
        buf_free(&token);
        return r == -ENOMEM ? FAIL_MEMORY : FAIL_ARGUMENT("The continuation token provided is incorrect");
    }
    walk->start = param(request, "start-after");
    walk->after = true;
    if (sent) {
        walk->start = bytes_of(token.p + 1, token.n - 1);
        walk->past_prefix = token.p[0] == 'p';
    }
    const struct bytes *fetch_owner = request_param(request, "fetch-owner");
    walk->owner = fetch_owner && bytes_equal(*fetch_owner, BYTES("true"));
    r = walk_keys(walk);
    if (r == 0)
        r = add_v2(walk, request);
    buf_free(&token);
    return end_result(walk, r, "ListBucketResult", answer);
}

/* ---- ListObjects: the marker is a key, or a common prefix when it ends with the delimiter ---- */

static bool is_common_prefix(const struct walk *walk, struct bytes marker) {
    return bytes_starts(marker, walk->prefix) && common_prefix(walk, marker).n == marker.n && marker.n;
}

static struct fail list_v1(struct walk *walk, const struct request *request, struct answer *answer) {
    struct buf *xml = &walk->mock->xml;
    walk->start = param(request, "marker");
    walk->after = true;
    walk->past_prefix = is_common_prefix(walk, walk->start);
    walk->owner = true;
    int r = walk_keys(walk);
    if (r == 0)
        r = begin_result(walk, "ListBucketResult");
    if (r == 0)
        r = add_named(walk, xml, "Marker", walk->start);
    if (r == 0 && walk->truncated && walk->delimiter.n)
        r = add_named(walk, xml, "NextMarker", walk->last);
    return end_result(walk, r, "ListBucketResult", answer);
}

struct fail op_list(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct walk walk;
    const struct bytes *type = request_param(request, "list-type");
    if (type && !bytes_equal(*type, BYTES("2")))
        return FAIL_ARGUMENT("Invalid list-type");
    walk_init(&walk, mock, bucket, type ? LIST_V2 : LIST_V1);
    struct fail fail = read_params(request, &walk);
    if (fail.status)
        return fail;
    return type ? list_v2(&walk, request, answer) : list_v1(&walk, request, answer);
}

/* ---- ListObjectVersions ---- */

static int add_next_markers(const struct walk *walk, struct buf *xml) {
    char id[VERSION_ID_MAX];
    int r = add_named(walk, xml, "NextKeyMarker", walk->last);
    if (r < 0 || !walk->last_version)
        return r;
    size_t n = version_id_text(&walk->mock->objects, walk->last_version, id);
    return xml_add_element(xml, "NextVersionIdMarker", bytes_of(id, n));
}

struct fail op_list_versions(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct walk walk;
    walk_init(&walk, mock, bucket, LIST_VERSIONS);
    struct fail fail = read_params(request, &walk);
    if (fail.status)
        return fail;
    struct bytes id_text = param(request, "version-id-marker");
    uint64_t id;
    walk.start = param(request, "key-marker");
    if (id_text.n && !walk.start.n)
        return FAIL_ARGUMENT("A version-id marker cannot be specified without a key marker.");
    if (id_text.n && !version_id_parse(&mock->objects, id_text, &id))
        return FAIL_ARGUMENT("Invalid version id specified");
    walk.after = !id_text.n;
    walk.after_id = id_text.n ? &id : NULL;
    walk.past_prefix = !id_text.n && is_common_prefix(&walk, walk.start);
    walk.owner = true;
    int r = walk_keys(&walk);
    if (r == 0)
        r = begin_result(&walk, "ListVersionsResult");
    if (r == 0)
        r = add_named(&walk, &mock->xml, "KeyMarker", walk.start);
    if (r == 0)
        r = xml_add_element(&mock->xml, "VersionIdMarker", id_text);
    if (r == 0 && walk.truncated)
        r = add_next_markers(&walk, &mock->xml);
    return end_result(&walk, r, "ListVersionsResult", answer);
}
