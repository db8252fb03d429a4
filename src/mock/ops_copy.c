/* ops_copy.c - CopyObject, and the source that it and UploadPartCopy name.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html */
#include "ops.h"

#include "mem.h"
#include "text.h"

#include <errno.h>

/* ---- the source ---- */

struct source {
    struct buf text; /* decoded */
    struct bytes bucket, key, version;
    bool with_version;
};

/* "/bucket/key?versionId=id", encoded as in a URL, with or without the first slash. */
static struct fail read_source(struct bytes header, struct source *source) {
    static const struct fail wrong = {400,
                                      "InvalidArgument",
                                      "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
                                      {NULL, 0}};
    struct bytes query = BYTES("?versionId="), path = header;
    const char *question = header.n ? memmem(header.p, header.n, query.p, query.n) : NULL;
    if (question)
        path.n = (size_t)(question - header.p);
    if (bytes_starts(path, BYTES("/")))
        path = bytes_of(path.p + 1, path.n - 1);
    if (buf_reserve(&source->text, header.n) < 0)
        return FAIL_MEMORY; /* so that the memory stays where it is */
    if (text_add_unpercent(&source->text, path, true) < 0)
        return wrong;
    struct bytes name = buf_bytes(&source->text);
    const char *slash = name.n ? memchr(name.p, '/', name.n) : NULL;
    if (!slash || slash == name.p || slash + 1 == name.p + name.n)
        return wrong;
    source->bucket = bytes_of(name.p, (size_t)(slash - name.p));
    source->key = bytes_of(slash + 1, name.n - source->bucket.n - 1);
    if (!question)
        return FAIL_NONE;
    size_t at = source->text.n;
    struct bytes id = bytes_of(question + query.n, header.n - (size_t)(question - header.p) - query.n);
    if (text_add_unpercent(&source->text, id, true) < 0)
        return wrong;
    source->version = bytes_of(source->text.p + at, source->text.n - at);
    source->with_version = true;
    return FAIL_NONE;
}

static bool denied(struct mock *mock, const struct request *request, const struct source *source, const char *action) {
    return mock->faults.n &&
           faults_denied(&mock->faults, request->access, bytes_str(action), source->bucket, source->key);
}

static struct fail find(struct mock *mock, const struct request *request, const struct source *source,
                        struct bucket **ret_bucket, struct object **ret_object, struct version **ret_version) {
    uint64_t id = 0;
    if (denied(mock, request, source, source->with_version ? "s3:GetObjectVersion" : "s3:GetObject"))
        return FAIL_DENIED;
    struct bucket *bucket = bucket_find(&mock->objects, source->bucket);
    if (!bucket)
        return FAIL_NO_BUCKET;
    if (source->with_version && !version_id_parse(&mock->objects, source->version, &id))
        return FAIL_ARGUMENT("Invalid version id specified");
    struct object *object = object_find(bucket, source->key);
    struct version *version = !object ? NULL : source->with_version ? object_version(object, id) : object->newest;
    if (!version)
        return source->with_version ? FAIL_NO_VERSION : FAIL_NO_KEY;
    if (!version->blob)
        return source->with_version ? FAIL_REQUEST("The source of a copy request may not specifically refer to a "
                                                   "delete marker by version id.")
                                    : FAIL_NO_KEY;
    bool tagged = version->meta && version->meta->tags && request->op == OP_COPY &&
                  !bytes_equal(head_get(&request->head, "x-amz-tagging-directive"), BYTES("REPLACE"));
    if (tagged &&
        denied(mock, request, source, source->with_version ? "s3:GetObjectVersionTagging" : "s3:GetObjectTagging"))
        return FAIL_DENIED;
    if (version_archived(version))
        return FAIL(403, "ObjectNotInActiveTierError",
                    "The source object of the COPY action is not in the active tier");
    *ret_bucket = bucket;
    *ret_object = object;
    *ret_version = version;
    return FAIL_NONE;
}

static bool conditions_hold(const struct head *head, const struct version *version) {
    char etag_text[ETAG_MAX];
    struct bytes etag = bytes_of(etag_text, blob_etag(version->blob, etag_text));
    struct bytes match = head_get(head, "x-amz-copy-source-if-match");
    struct bytes none_match = head_get(head, "x-amz-copy-source-if-none-match");
    int64_t modified = version->modified_utc_us / US_PER_S, since;
    if (match.p && !ops_etag_matches(match, etag))
        return false;
    if (!match.p && text_parse_http_date(head_get(head, "x-amz-copy-source-if-unmodified-since"), &since) == 0 &&
        modified > since / US_PER_S)
        return false;
    if (none_match.p)
        return !ops_etag_matches(none_match, etag);
    return text_parse_http_date(head_get(head, "x-amz-copy-source-if-modified-since"), &since) < 0 ||
           modified > since / US_PER_S;
}

struct fail ops_copy_source(struct mock *mock, const struct request *request, struct bucket **ret_bucket,
                            struct object **ret_object, struct version **ret_version) {
    struct source source = {0};
    struct fail fail = read_source(head_get(&request->head, "x-amz-copy-source"), &source);
    if (!fail.status)
        fail = find(mock, request, &source, ret_bucket, ret_object, ret_version);
    if (!fail.status && !mock->ignore_if_match && !conditions_hold(&request->head, *ret_version))
        fail = FAIL_PRECONDITION;
    buf_free(&source.text);
    return fail;
}

void ops_copy_source_field(const struct mock *mock, const struct bucket *bucket, const struct version *version,
                           struct answer *answer) {
    char id[VERSION_ID_MAX];
    if (bucket->versioning != VERSIONING_OFF)
        answer_field(answer, "x-amz-copy-source-version-id",
                     bytes_of(id, version_id_text(&mock->objects, version, id)));
}

/* ---- CopyObject ---- */

static struct fail read_directive(const struct request *request, const char *name, const char *unknown,
                                  bool *ret_replace) {
    struct bytes value = head_get(&request->head, name);
    *ret_replace = bytes_equal(value, BYTES("REPLACE"));
    return !value.n || *ret_replace || bytes_equal(value, BYTES("COPY")) ? FAIL_NONE : FAIL_ARGUMENT(unknown);
}

/* What the new object says: of the source, or of the request, for metadata and tags each on its own. */
static struct fail make_meta(struct mock *mock, const struct request *request, const struct meta *source,
                             bool replace_metadata, bool replace_tags, struct meta **ret_meta) {
    struct meta *asked = NULL, *meta = NULL;
    struct fail fail = ops_read_meta(mock, request, &asked); /* also refuses fields that are not known */
    if (fail.status)
        return fail;
    const struct meta *lines = replace_metadata || !source ? asked : source;
    const struct meta *tags = replace_tags ? asked : source;
    struct bytes plain = META_PLAIN;
    if (!replace_metadata && !source)
        meta = meta_new(plain, NULL, BYTES_NONE);
    else
        meta = meta_new(bytes_of(lines->headers, lines->headers_n), NULL, BYTES_NONE);
    if (!meta || tags_copy(tags ? tags->tags : NULL, &meta->tags) < 0)
        fail = FAIL_MEMORY;
    else if (source && source->checksum_header && !meta_is_composite(source))
        meta_set_checksum(meta, source->checksum_header, bytes_str(source->checksum));
    meta_free(asked);
    if (fail.status)
        meta_free(meta);
    else
        *ret_meta = meta;
    return fail;
}

/* A copy is one piece, whatever its source was made of, so its ETag is its MD5. */
static struct fail copy_blob(struct mock *mock, struct blob *source, struct blob **ret_blob) {
    if (!source->parts) {
        *ret_blob = blob_ref(source);
        return FAIL_NONE;
    }
    int r = blob_new(&mock->objects, bytes_of(source->data, source->size), ret_blob);
    return r == -ENOSPC ? FAIL_FULL : r < 0 ? FAIL_MEMORY : FAIL_NONE;
}

static struct fail answer_copy(struct mock *mock, const struct bucket *source_bucket, const struct version *source,
                               const struct bucket *bucket, const struct version *version, struct answer *answer) {
    struct buf *xml = &mock->xml;
    char etag[ETAG_MAX];
    struct meta *meta = version->meta;
    buf_reset(xml);
    int r = buf_add_str(xml, XML_HEAD "<CopyObjectResult" XML_NAMESPACE "><LastModified>");
    if (r == 0)
        r = ops_add_time(xml, version->modified_utc_us);
    if (r == 0)
        r = buf_add_str(xml, "</LastModified>");
    if (r == 0)
        r = ops_add_stored(xml, bytes_of(etag, blob_etag(version->blob, etag)), meta ? meta->checksum_header : NULL,
                           meta ? meta->checksum : "");
    if (r == 0)
        r = buf_add_str(xml, "</CopyObjectResult>");
    if (r < 0)
        return FAIL_MEMORY;
    answer_begin(mock, answer, 200);
    ops_copy_source_field(mock, source_bucket, source, answer);
    ops_version_field(mock, bucket, version, answer);
    answer_end(answer, "application/xml", buf_bytes(xml));
    return FAIL_NONE;
}

struct fail op_copy(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct bucket *source_bucket = NULL;
    struct object *object = NULL;
    struct version *source = NULL, *version = NULL;
    enum storage_class storage;
    bool replace_metadata, replace_tags;
    struct fail fail =
        read_directive(request, "x-amz-metadata-directive", "Unknown metadata directive.", &replace_metadata);
    if (!fail.status)
        fail = read_directive(request, "x-amz-tagging-directive", "Unknown tagging directive.", &replace_tags);
    if (!fail.status)
        fail = ops_read_storage(request, &storage);
    if (!fail.status)
        fail = ops_copy_source(mock, request, &source_bucket, &object, &source);
    if (fail.status)
        return fail;
    if (source_bucket == bucket && bytes_equal(index_key(&object->entry), request->key) && source == object->newest &&
        !replace_metadata && storage == (enum storage_class)source->storage)
        return FAIL_REQUEST("This copy request is illegal because it is trying to copy an object to itself without "
                            "changing the object's metadata, storage class, website redirect location or encryption "
                            "attributes.");
    struct meta *meta = NULL;
    struct blob *blob = NULL;
    struct version before = *source; /* may go when it is overwritten by its own copy */
    fail = make_meta(mock, request, source->meta, replace_metadata, replace_tags, &meta);
    if (!fail.status)
        fail = copy_blob(mock, source->blob, &blob);
    if (!fail.status &&
        object_put(&mock->objects, bucket, request->key, blob, meta, storage, mock->now_utc_us, &version) < 0) {
        blob_unref(&mock->objects, blob);
        fail = FAIL_MEMORY;
    }
    if (fail.status) {
        meta_free(meta);
        return fail;
    }
    if (bucket->stats)
        bucket->stats->puts++;
    return answer_copy(mock, source_bucket, &before, bucket, version, answer);
}
