/* ops_complete.c - CompleteMultipartUpload: the list of parts is checked, and they become one object.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html */
#include "ops.h"

#include "mem.h"
#include "text.h"
#include "xml.h"

#include <errno.h>
#include <stdio.h>

struct wanted { /* of the document */
    uint32_t number;
    char etag[ETAG_MAX + 1], checksum[48];
    bool with_etag, with_checksum, of_kind;
};

struct list_of_parts {
    const char *checksum_header; /* of the upload; NULL: it has none */
    struct wanted *parts;
    size_t n, cap;
};

static int copy_text(char *to, size_t size, struct bytes text) {
    if (text.n >= size)
        return -EINVAL;
    memset(to, 0, size);
    if (text.n)
        memcpy(to, text.p, text.n);
    return 0;
}

static struct wanted *wanted_now(struct list_of_parts *list) {
    if (list->n == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 16;
        struct wanted *parts = mem_reallocarray(list->parts, cap, sizeof(*parts));
        if (!parts)
            return NULL;
        memset(parts + list->cap, 0, (cap - list->cap) * sizeof(*parts));
        list->parts = parts;
        list->cap = cap;
    }
    return &list->parts[list->n];
}

static bool is_of_kind(const char *checksum_header, const char *element) {
    return checksum_header && bytes_equal_nocase(bytes_str(checksum_header + strlen("x-amz-checksum-")),
                                                 bytes_str(element + strlen("Checksum")));
}

static int read_element(void *arg, const char *path, struct bytes text) {
    static const char part_path[] = "CompleteMultipartUpload/Part";
    struct list_of_parts *list = arg;
    struct wanted *part = wanted_now(list);
    uint64_t number;
    if (!part)
        return -ENOMEM;
    if (strcmp(path, "CompleteMultipartUpload") == 0)
        return 0;
    if (strncmp(path, part_path, sizeof(part_path) - 1) != 0)
        return -EINVAL;
    const char *name = path + sizeof(part_path) - 1;
    if (*name == '\0') {
        if (!part->number || !part->with_etag || ++list->n > PART_NUMBER_MAX)
            return -EINVAL;
    } else if (strcmp(name, "/PartNumber") == 0) {
        if (text_parse_u64(bytes_trim(text), &number) < 0 || number < 1 || number > PART_NUMBER_MAX)
            return -EINVAL;
        part->number = (uint32_t)number;
    } else if (strcmp(name, "/ETag") == 0) {
        part->with_etag = true;
        return copy_text(part->etag, sizeof(part->etag), bytes_trim(text));
    } else if (strncmp(name, "/Checksum", 9) == 0) {
        part->with_checksum = true;
        part->of_kind = is_of_kind(list->checksum_header, name + 1);
        return copy_text(part->checksum, sizeof(part->checksum), bytes_trim(text));
    }
    return 0;
}

static struct fail check_part(const struct upload *upload, const struct wanted *wanted) {
    static const struct fail invalid = {
        400,
        "InvalidPart",
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag.",
        {NULL, 0}};
    const struct part *part = upload_part(upload, wanted->number);
    if (!part)
        return invalid;
    char etag[ETAG_MAX];
    size_t n = blob_etag(part->blob, etag);
    if (!ops_etag_matches(bytes_str(wanted->etag), bytes_of(etag, n)) || strcmp(wanted->etag, "*") == 0)
        return invalid;
    if (wanted->with_checksum && (!wanted->of_kind || strcmp(wanted->checksum, part->checksum) != 0))
        return invalid;
    if (upload->checksum != CHECKSUM_NONE && !upload->whole && !wanted->with_checksum)
        return FAIL_REQUEST("The upload was created using a checksum. The complete request must include the checksum "
                            "for each part.");
    return FAIL_NONE;
}

static struct fail check_list(const struct mock *mock, const struct upload *upload, const struct list_of_parts *list) {
    struct fail fail = FAIL_NONE;
    for (size_t i = 0; i < list->n; i++)
        if (i && list->parts[i].number <= list->parts[i - 1].number)
            return FAIL(400, "InvalidPartOrder",
                        "The list of parts was not in ascending order. Parts must be ordered by part number.");
    for (size_t i = 0; !fail.status && i < list->n; i++)
        fail = check_part(upload, &list->parts[i]);
    for (size_t i = 0; !fail.status && i + 1 < list->n; i++)
        if (upload_part(upload, list->parts[i].number)->blob->size < mock->part_min)
            fail = FAIL(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size");
    return fail;
}

/* ---- the object ---- */

static struct fail join(struct mock *mock, const struct upload *upload, const struct list_of_parts *list,
                        struct blob **ret_blob) {
    struct blob **blobs = mem_calloc(list->n, sizeof(*blobs));
    if (!blobs)
        return FAIL_MEMORY;
    for (size_t i = 0; i < list->n; i++)
        blobs[i] = upload_part(upload, list->parts[i].number)->blob;
    int r = blob_join(&mock->objects, blobs, list->n, ret_blob);
    mem_free(blobs);
    return r == -ENOSPC ? FAIL_FULL : r < 0 ? FAIL_MEMORY : FAIL_NONE;
}

/* Of the bytes, or of the parts' checksums with "-parts" behind it. */
static struct fail set_checksum(struct mock *mock, const struct request *request, struct upload *upload,
                                const struct list_of_parts *list, const struct blob *blob) {
    struct buf raw = {0}, sum = {0};
    struct fail fail = FAIL_NONE;
    int r = 0;
    if (upload->checksum == CHECKSUM_NONE)
        return FAIL_NONE;
    for (size_t i = 0; r == 0 && !upload->whole && i < list->n; i++)
        r = text_add_unbase64(&raw, bytes_str(upload_part(upload, list->parts[i].number)->checksum));
    if (r == 0)
        fail = ops_digest(mock, upload->checksum, upload->whole ? bytes_of(blob->data, blob->size) : buf_bytes(&raw),
                          &sum);
    if (r == 0 && !fail.status && !upload->whole)
        r = buf_printf(&sum, "-%zu", list->n);
    struct bytes told = upload->checksum_header ? head_get(&request->head, upload->checksum_header) : BYTES_NONE;
    if (r < 0)
        fail = FAIL_MEMORY;
    else if (!fail.status && told.n && !bytes_equal(told, buf_bytes(&sum)) &&
             (upload->whole || !bytes_starts(buf_bytes(&sum), told)))
        fail = FAIL_DIGEST("The checksum you specified did not match the calculated checksum.");
    else if (!fail.status)
        meta_set_checksum(upload->meta, upload->checksum_header, buf_bytes(&sum));
    buf_free(&raw);
    buf_free(&sum);
    return fail;
}

static struct fail write_answer(struct mock *mock, const struct request *request, const struct upload *upload,
                                const struct blob *blob) {
    struct buf *xml = &mock->xml;
    char etag[ETAG_MAX];
    buf_reset(xml);
    int r = buf_add_str(xml, XML_HEAD "<CompleteMultipartUploadResult" XML_NAMESPACE "><Location>http://");
    if (r == 0)
        r = xml_add_text(xml, request->head.host);
    if (r == 0)
        r = xml_add_text(xml, request->path);
    if (r == 0)
        r = buf_add_str(xml, "</Location>");
    if (r == 0)
        r = xml_add_element(xml, "Bucket", request->bucket);
    if (r == 0)
        r = xml_add_element(xml, "Key", request->key);
    if (r == 0)
        r = ops_add_stored(xml, bytes_of(etag, blob_etag(blob, etag)), upload->meta->checksum_header,
                           upload->meta->checksum);
    if (r == 0 && upload->meta->checksum_header)
        r = buf_printf(xml, "<ChecksumType>%s</ChecksumType>", upload->whole ? "FULL_OBJECT" : "COMPOSITE");
    if (r == 0)
        r = buf_add_str(xml, "</CompleteMultipartUploadResult>");
    return r < 0 ? FAIL_MEMORY : FAIL_NONE;
}

static struct fail complete(struct mock *mock, const struct request *request, struct bucket *bucket,
                            struct upload *upload, const struct list_of_parts *list, struct answer *answer) {
    struct blob *blob = NULL;
    struct version *version = NULL;
    struct fail fail = check_list(mock, upload, list);
    if (!fail.status)
        fail = join(mock, upload, list, &blob);
    if (!fail.status)
        fail = set_checksum(mock, request, upload, list, blob);
    if (!fail.status)
        fail = write_answer(mock, request, upload, blob);
    if (!fail.status && object_put(&mock->objects, bucket, request->key, blob, upload->meta, upload->storage,
                                   mock->now_utc_us, &version) < 0)
        fail = FAIL_MEMORY;
    if (fail.status) {
        blob_unref(&mock->objects, blob);
        return fail;
    }
    upload->meta = NULL; /* the object's by now */
    upload_free(&mock->objects, bucket, upload);
    if (bucket->stats)
        bucket->stats->puts++;
    answer_begin(mock, answer, 200);
    ops_version_field(mock, bucket, version, answer);
    answer_end(answer, "application/xml", buf_bytes(&mock->xml));
    return FAIL_NONE;
}

struct fail op_complete_upload(struct mock *mock, struct request *request, struct bucket *bucket,
                               struct answer *answer) {
    struct upload *upload = NULL;
    struct fail fail = ops_find_upload(mock, request, bucket, &upload);
    if (fail.status)
        return fail;
    struct list_of_parts list = {.checksum_header = upload->checksum_header};
    int r = xml_read(buf_bytes(&request->body), read_element, &list);
    if (r < 0 || list.n == 0)
        fail = r == -ENOMEM ? FAIL_MEMORY : FAIL_XML;
    else
        fail = complete(mock, request, bucket, upload, &list, answer);
    mem_free(list.parts);
    return fail;
}
