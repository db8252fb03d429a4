/* ops_delete.c - DeleteObject and DeleteObjects, conditional ones among them.
 *
 * The condition looks at the current version alone: nothing there, or a delete marker: 404; another ETag: 412. A
 * version id and a condition together are refused.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html */
#include "ops.h"

#include "mem.h"
#include "text.h"
#include "xml.h"

#include <errno.h>

#define DELETE_OBJECTS_MAX 1000

struct target {
    struct bytes key, version, if_match; /* NULL: not given */
};

struct outcome {
    bool with_id; /* the version `id` was asked for and is gone */
    uint64_t id;
    bool marker;
    bool made; /* the marker `id` was made */
};

static struct fail check_if_match(const struct mock *mock, const struct bucket *bucket, const struct target *target) {
    if (!target->if_match.p || mock->ignore_if_match)
        return FAIL_NONE;
    if (target->version.p)
        return FAIL_REQUEST("A condition cannot be given together with a version id.");
    const struct object *object = object_find(bucket, target->key);
    if (!object || !object->newest->blob)
        return FAIL_NO_KEY;
    char etag[ETAG_MAX];
    size_t n = blob_etag(object->newest->blob, etag);
    return ops_etag_matches(target->if_match, bytes_of(etag, n)) ? FAIL_NONE : FAIL_PRECONDITION;
}

static struct fail delete_one(struct mock *mock, struct bucket *bucket, const struct target *target,
                              struct outcome *ret_outcome) {
    struct deletion deletion;
    *ret_outcome = (struct outcome){.with_id = target->version.p != NULL};
    struct fail fail = check_if_match(mock, bucket, target);
    if (fail.status)
        return fail;
    if (target->version.p && !version_id_parse(&mock->objects, target->version, &ret_outcome->id))
        return FAIL_ARGUMENT("Invalid version id specified");
    uint64_t live = bucket->live, versions = bucket->bytes;
    if (target->version.p)
        object_delete_version(&mock->objects, bucket, target->key, ret_outcome->id, &deletion);
    else if (object_delete(&mock->objects, bucket, target->key, mock->now_utc_us, &deletion) < 0)
        return FAIL_MEMORY;
    ret_outcome->marker = deletion.marker;
    if (deletion.made) {
        ret_outcome->made = true;
        ret_outcome->id = deletion.made->id;
    }
    if (bucket->stats && (bucket->live < live || bucket->bytes < versions))
        stats_deleted(&mock->stats, bucket->stats, mock->now_mono_us);
    return FAIL_NONE;
}

static struct bytes id_text(const struct mock *mock, uint64_t id, char text[VERSION_ID_MAX]) {
    struct version version = {.id = id};
    size_t n = version_id_text(&mock->objects, &version, text);
    return bytes_of(text, n);
}

struct fail op_delete(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    const struct bytes *version = request_param(request, "versionId");
    struct target target = {.key = request->key, .if_match = head_get(&request->head, "if-match")};
    if (version)
        target.version = *version;
    /* Of directory buckets only. */
    if (head_get(&request->head, "x-amz-if-match-last-modified-time").p ||
        head_get(&request->head, "x-amz-if-match-size").p)
        return FAIL_NOT_IMPLEMENTED;
    struct outcome outcome;
    struct fail fail = delete_one(mock, bucket, &target, &outcome);
    if (fail.status)
        return fail;
    char id[VERSION_ID_MAX];
    answer_begin(mock, answer, 204);
    if (outcome.marker)
        answer_raw(answer, BYTES("x-amz-delete-marker: true\r\n"));
    if (outcome.made || outcome.with_id)
        answer_field(answer, "x-amz-version-id", id_text(mock, outcome.id, id));
    answer_end_empty(answer);
    return FAIL_NONE;
}

/* ---- DeleteObjects ---- */

/* The keys of a document: views into `text`, as offsets while it still grows. */
struct place {
    size_t at, n;
    bool given;
};

struct batch {
    struct buf text;
    struct {
        struct place key, version, if_match;
    } targets[DELETE_OBJECTS_MAX + 1];
    size_t n;
    bool quiet;
    bool unsupported; /* a condition of directory buckets */
};

static int place(struct batch *batch, struct bytes text, struct place *ret_place) {
    if (ret_place->given || !text.n)
        return -EINVAL;
    *ret_place = (struct place){batch->text.n, text.n, true};
    return buf_add_bytes(&batch->text, text);
}

static int read_batch(void *arg, const char *path, struct bytes text) {
    struct batch *batch = arg;
    if (strcmp(path, "Delete/Object/Key") == 0)
        return place(batch, text, &batch->targets[batch->n].key);
    if (strcmp(path, "Delete/Object/VersionId") == 0)
        return text.n ? place(batch, text, &batch->targets[batch->n].version) : 0;
    if (strcmp(path, "Delete/Object/ETag") == 0)
        return place(batch, text, &batch->targets[batch->n].if_match);
    if (strcmp(path, "Delete/Object/Size") == 0 || strcmp(path, "Delete/Object/LastModifiedTime") == 0)
        batch->unsupported = true;
    if (strcmp(path, "Delete/Object") == 0) {
        const struct place *key = &batch->targets[batch->n].key;
        if (!key->given || ++batch->n > DELETE_OBJECTS_MAX)
            return -EINVAL;
    }
    if (strcmp(path, "Delete/Quiet") == 0)
        return text_parse_bool(text, &batch->quiet);
    return 0;
}

static struct bytes view(const struct batch *batch, struct place place) {
    return place.given ? bytes_of(batch->text.p + place.at, place.n) : BYTES_NONE;
}

static int add_deleted(const struct mock *mock, const struct target *target, const struct outcome *outcome,
                       struct buf *xml) {
    char id[VERSION_ID_MAX];
    int r = buf_add_str(xml, "<Deleted>");
    if (r == 0)
        r = xml_add_element(xml, "Key", target->key);
    if (r == 0 && outcome->with_id)
        r = xml_add_element(xml, "VersionId", id_text(mock, outcome->id, id));
    if (r == 0 && outcome->marker)
        r = buf_add_str(xml, "<DeleteMarker>true</DeleteMarker>");
    if (r == 0 && outcome->marker)
        r = xml_add_element(xml, "DeleteMarkerVersionId", id_text(mock, outcome->id, id));
    return r < 0 ? r : buf_add_str(xml, "</Deleted>");
}

static int add_error(const struct target *target, struct fail fail, struct buf *xml) {
    int r = buf_add_str(xml, "<Error>");
    if (r == 0)
        r = xml_add_element(xml, "Key", target->key);
    if (r == 0 && target->version.p)
        r = xml_add_element(xml, "VersionId", target->version);
    if (r == 0)
        r = xml_add_element(xml, "Code", bytes_str(fail.code));
    if (r == 0)
        r = xml_add_element(xml, "Message", bytes_str(fail.message));
    return r < 0 ? r : buf_add_str(xml, "</Error>");
}

static struct fail delete_allowed(struct mock *mock, const struct request *request, struct bucket *bucket,
                                  const struct target *target, struct outcome *ret_outcome) {
    struct bytes action = target->version.p ? BYTES("s3:DeleteObjectVersion") : BYTES("s3:DeleteObject");
    if (mock->faults.n && faults_denied(&mock->faults, request->access, action, request->bucket, target->key))
        return FAIL_DENIED;
    if (mock->faults.n && target->if_match.p &&
        faults_denied(&mock->faults, request->access, BYTES("s3:GetObject"), request->bucket, target->key))
        return FAIL_DENIED;
    if (target->key.n > OBJECT_KEY_MAX)
        return FAIL(400, "KeyTooLongError", "Your key is too long");
    return delete_one(mock, bucket, target, ret_outcome);
}

static int run_batch(struct mock *mock, const struct request *request, struct bucket *bucket,
                     const struct batch *batch) {
    struct buf *xml = &mock->xml;
    buf_reset(xml);
    int r = buf_add_str(xml, XML_HEAD "<DeleteResult" XML_NAMESPACE ">");
    for (size_t i = 0; r == 0 && i < batch->n; i++) {
        struct target target = {view(batch, batch->targets[i].key), view(batch, batch->targets[i].version),
                                view(batch, batch->targets[i].if_match)};
        struct outcome outcome;
        struct fail fail = delete_allowed(mock, request, bucket, &target, &outcome);
        if (fail.status)
            r = add_error(&target, fail, xml);
        else if (!batch->quiet)
            r = add_deleted(mock, &target, &outcome, xml);
    }
    return r < 0 ? r : buf_add_str(xml, "</DeleteResult>");
}

struct fail op_delete_objects(struct mock *mock, struct request *request, struct bucket *bucket,
                              struct answer *answer) {
    const char *header;
    struct bytes value;
    bool any;
    struct fail fail = ops_check_digests(mock, request, &header, &value, &any);
    if (fail.status)
        return fail;
    if (!any)
        return FAIL_REQUEST("Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
    struct batch *batch = mem_zalloc(sizeof(*batch));
    if (!batch)
        return FAIL_MEMORY;
    int r = xml_read(buf_bytes(&request->body), read_batch, batch);
    if (r < 0)
        fail = r == -ENOMEM ? FAIL_MEMORY : FAIL_XML;
    else if (batch->n == 0)
        fail = FAIL_XML;
    else if (batch->unsupported)
        fail = FAIL_NOT_IMPLEMENTED;
    else if (run_batch(mock, request, bucket, batch) < 0)
        fail = FAIL_MEMORY;
    else
        answer_xml(mock, answer, &mock->xml);
    buf_free(&batch->text);
    mem_free(batch);
    return fail;
}
