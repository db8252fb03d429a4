/* ops_upload.c - multipart uploads up to their end: creation, parts, copied parts, aborting, listing.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html and its kin */
#include "ops.h"

#include "mem.h"
#include "text.h"
#include "xml.h"

#include <errno.h>
#include <stdio.h>

#define LIST_MAX 1000

static struct bytes param(const struct request *request, const char *name) {
    const struct bytes *value = request_param(request, name);
    return value ? *value : BYTES_NONE;
}

struct fail ops_find_upload(const struct mock *mock, const struct request *request, const struct bucket *bucket,
                            struct upload **ret_upload) {
    *ret_upload = upload_find(&mock->objects, bucket, request->key, param(request, "uploadId"));
    return *ret_upload ? FAIL_NONE : FAIL_NO_UPLOAD;
}

int ops_add_stored(struct buf *xml, struct bytes etag, const char *checksum_header, const char *checksum) {
    int r = xml_add_element(xml, "ETag", etag);
    if (r < 0 || !checksum_header || !checksum[0])
        return r;
    char name[32] = "Checksum";
    size_t n = strlen(name);
    for (const char *c = checksum_header + strlen("x-amz-checksum-"); *c && n + 1 < sizeof(name); c++)
        name[n++] = *c >= 'a' && *c <= 'z' ? (char)(*c - ('a' - 'A')) : *c;
    name[n] = '\0';
    return xml_add_element(xml, name, bytes_str(checksum));
}

/* ---- creation ---- */

/* The algorithm that the parts' checksums will have, and whether the object's is of its bytes. */
static struct fail read_checksum(const struct request *request, struct upload *upload) {
    static const struct {
        const char *name, *header;
        enum checksum_kind kind;
        bool composite, whole; /* may be so */
    } kinds[] = {
        {"CRC32", "x-amz-checksum-crc32", CHECKSUM_CRC32, true, true},
        {"CRC32C", "x-amz-checksum-crc32c", CHECKSUM_CRC32C, true, true},
        {"CRC64NVME", "x-amz-checksum-crc64nvme", CHECKSUM_CRC64NVME, false, true},
        {"SHA1", "x-amz-checksum-sha1", CHECKSUM_SHA1, true, false},
        {"SHA256", "x-amz-checksum-sha256", CHECKSUM_SHA256, true, false},
    };
    struct bytes algorithm = head_get(&request->head, "x-amz-checksum-algorithm");
    struct bytes type = head_get(&request->head, "x-amz-checksum-type");
    bool whole = bytes_equal(type, BYTES("FULL_OBJECT"));
    if (!algorithm.n)
        return type.n ? FAIL_REQUEST("The x-amz-checksum-type header can only be used with the "
                                     "x-amz-checksum-algorithm header.")
                      : FAIL_NONE;
    if (type.n && !whole && !bytes_equal(type, BYTES("COMPOSITE")))
        return FAIL_REQUEST("Value for x-amz-checksum-type header is invalid.");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!bytes_equal_nocase(algorithm, bytes_str(kinds[i].name)))
            continue;
        if ((whole && !kinds[i].whole) || (type.n && !whole && !kinds[i].composite))
            return FAIL_REQUEST("The checksum type cannot be used with that checksum algorithm.");
        upload->checksum = kinds[i].kind;
        upload->checksum_header = kinds[i].header;
        upload->whole = whole || !kinds[i].composite;
        return FAIL_NONE;
    }
    return FAIL_REQUEST("Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
                        "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
}

static struct fail answer_created(struct mock *mock, const struct request *request, const struct upload *upload,
                                  struct answer *answer) {
    struct buf *xml = &mock->xml;
    char id[VERSION_ID_MAX];
    buf_reset(xml);
    int r = buf_add_str(xml, XML_HEAD "<InitiateMultipartUploadResult" XML_NAMESPACE ">");
    if (r == 0)
        r = xml_add_element(xml, "Bucket", request->bucket);
    if (r == 0)
        r = xml_add_element(xml, "Key", request->key);
    if (r == 0)
        r = xml_add_element(xml, "UploadId", bytes_of(id, upload_id_text(&mock->objects, upload, id)));
    if (r == 0)
        r = buf_add_str(xml, "</InitiateMultipartUploadResult>");
    if (r < 0)
        return FAIL_MEMORY;
    answer_begin(mock, answer, 200);
    answer_end(answer, "application/xml", buf_bytes(xml));
    return FAIL_NONE;
}

struct fail op_create_upload(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct upload asked = {0}, *upload = NULL;
    struct meta *meta = NULL;
    struct fail fail = read_checksum(request, &asked);
    if (!fail.status)
        fail = ops_read_storage(request, &asked.storage);
    if (!fail.status)
        fail = ops_read_meta(mock, request, &meta);
    if (!fail.status) {
        int r = upload_new(&mock->objects, bucket, request->key, meta, mock->now_utc_us, &upload);
        fail = r == -ENOSPC ? FAIL_FULL : r < 0 ? FAIL_MEMORY : FAIL_NONE;
    }
    if (fail.status) {
        meta_free(meta);
        return fail;
    }
    upload->storage = asked.storage;
    upload->checksum = asked.checksum;
    upload->checksum_header = asked.checksum_header;
    upload->whole = asked.whole;
    fail = answer_created(mock, request, upload, answer);
    if (fail.status)
        upload_free(&mock->objects, bucket, upload);
    return fail;
}

/* ---- parts ---- */

static struct fail read_number(const struct request *request, uint32_t *ret_number) {
    uint64_t number;
    if (text_parse_u64(param(request, "partNumber"), &number) < 0 || number < 1 || number > PART_NUMBER_MAX)
        return FAIL_ARGUMENT("Part number must be an integer between 1 and 10000, inclusive");
    *ret_number = (uint32_t)number;
    return FAIL_NONE;
}

/* Stores the part of those bytes. */
static struct fail store(struct mock *mock, struct upload *upload, uint32_t number, struct bytes body,
                         struct part *ret_part) {
    struct part part = {.number = number, .modified_utc_us = mock->now_utc_us};
    struct buf sum = {0};
    if (upload->checksum != CHECKSUM_NONE) {
        struct fail fail = ops_digest(mock, upload->checksum, body, &sum);
        if (fail.status || sum.n >= sizeof(part.checksum)) {
            buf_free(&sum);
            return FAIL_MEMORY;
        }
        memcpy(part.checksum, sum.p, sum.n);
        buf_free(&sum);
    }
    int r = blob_new(&mock->objects, body, &part.blob);
    if (r < 0)
        return r == -ENOSPC ? FAIL_FULL : FAIL_MEMORY;
    if (upload_put_part(&mock->objects, upload, &part) < 0) {
        blob_unref(&mock->objects, part.blob);
        return FAIL_MEMORY;
    }
    *ret_part = part;
    return FAIL_NONE;
}

struct fail op_upload_part(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct upload *upload = NULL;
    struct part part = {0};
    uint32_t number = 0;
    const char *header = NULL;
    struct bytes value;
    bool any;
    struct fail fail = read_number(request, &number);
    if (!fail.status)
        fail = ops_find_upload(mock, request, bucket, &upload);
    if (!fail.status)
        fail = ops_check_digests(mock, request, &header, &value, &any);
    bool same = !header ? !upload || upload->checksum == CHECKSUM_NONE || upload->whole
                        : upload && upload->checksum_header && strcmp(header, upload->checksum_header) == 0;
    if (!fail.status && !same)
        fail = FAIL_REQUEST("Checksum Type mismatch occurred: the part's checksum is not of the type that the upload "
                            "was created with");
    if (!fail.status)
        fail = store(mock, upload, number, buf_bytes(&request->body), &part);
    if (fail.status)
        return fail;
    char etag[ETAG_MAX];
    answer_begin(mock, answer, 200);
    answer_field(answer, "ETag", bytes_of(etag, blob_etag(part.blob, etag)));
    if (upload->checksum_header)
        answer_field(answer, upload->checksum_header, bytes_str(part.checksum));
    answer_end(answer, NULL, BYTES_NONE);
    return FAIL_NONE;
}

/* "bytes=first-last", both given, both inside. */
static struct fail read_range(struct bytes range, uint64_t size, uint64_t *ret_from, uint64_t *ret_n) {
    uint64_t first, last;
    const char *dash = range.n ? memchr(range.p, '-', range.n) : NULL;
    *ret_from = 0;
    *ret_n = size;
    if (!range.p)
        return FAIL_NONE;
    if (!bytes_starts(range, BYTES("bytes=")) || !dash ||
        text_parse_u64(bytes_of(range.p + 6, (size_t)(dash - range.p) - 6), &first) < 0 ||
        text_parse_u64(bytes_of(dash + 1, range.n - (size_t)(dash - range.p) - 1), &last) < 0 || last < first)
        return FAIL_ARGUMENT("The x-amz-copy-source-range value must be of the form bytes=first-last where first and "
                             "last are the zero-based offsets of the first and last bytes to copy");
    if (last >= size)
        return FAIL_ARGUMENT("Range specified is not valid for the source object's size");
    *ret_from = first;
    *ret_n = last - first + 1;
    return FAIL_NONE;
}

struct fail op_upload_part_copy(struct mock *mock, struct request *request, struct bucket *bucket,
                                struct answer *answer) {
    struct upload *upload = NULL;
    struct bucket *source_bucket = NULL;
    struct object *object = NULL;
    struct version *source = NULL;
    struct part part = {0};
    uint32_t number = 0;
    uint64_t from = 0, n = 0;
    struct fail fail = read_number(request, &number);
    if (!fail.status)
        fail = ops_find_upload(mock, request, bucket, &upload);
    if (!fail.status)
        fail = ops_copy_source(mock, request, &source_bucket, &object, &source);
    if (!fail.status)
        fail = read_range(head_get(&request->head, "x-amz-copy-source-range"), source->blob->size, &from, &n);
    if (!fail.status)
        fail = store(mock, upload, number, bytes_of(source->blob->data + from, n), &part);
    if (fail.status)
        return fail;
    struct buf *xml = &mock->xml;
    char etag[ETAG_MAX];
    buf_reset(xml);
    int r = buf_add_str(xml, XML_HEAD "<CopyPartResult" XML_NAMESPACE "><LastModified>");
    if (r == 0)
        r = ops_add_time(xml, part.modified_utc_us);
    if (r == 0)
        r = buf_add_str(xml, "</LastModified>");
    if (r == 0)
        r = ops_add_stored(xml, bytes_of(etag, blob_etag(part.blob, etag)), upload->checksum_header, part.checksum);
    if (r == 0)
        r = buf_add_str(xml, "</CopyPartResult>");
    if (r < 0)
        return FAIL_MEMORY;
    answer_begin(mock, answer, 200);
    ops_copy_source_field(mock, source_bucket, source, answer);
    answer_end(answer, "application/xml", buf_bytes(xml));
    return FAIL_NONE;
}

struct fail op_abort_upload(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct upload *upload = NULL;
    struct fail fail = ops_find_upload(mock, request, bucket, &upload);
    if (fail.status)
        return fail;
    upload_free(&mock->objects, bucket, upload);
    answer_begin(mock, answer, 204);
    answer_end_empty(answer);
    return FAIL_NONE;
}

/* ---- listing ---- */

static int add_upload(const struct mock *mock, const struct upload *upload, bool url, struct buf *xml) {
    char id[VERSION_ID_MAX];
    int r = buf_add_str(xml, "<Upload><Key>");
    if (r == 0)
        r = url ? xml_add_url(xml, upload->key) : xml_add_text(xml, upload->key);
    if (r == 0)
        r = buf_add_str(xml, "</Key>");
    if (r == 0)
        r = xml_add_element(xml, "UploadId", bytes_of(id, upload_id_text(&mock->objects, upload, id)));
    if (r == 0)
        r = xml_add_element(xml, "StorageClass", storage_name(upload->storage));
    if (r == 0)
        r = buf_add_str(xml, "<Initiated>");
    if (r == 0)
        r = ops_add_time(xml, upload->started_utc_us);
    return r < 0 ? r : buf_add_str(xml, "</Initiated></Upload>");
}

/* In key order, then by age; there are few of them, so each step looks at all. */
static const struct upload *after(const struct bucket *bucket, struct bytes prefix, struct bytes key, uint64_t id) {
    const struct upload *best = NULL;
    LIST_EACH (link, &bucket->uploads) {
        const struct upload *upload = LIST_ENTRY(link, const struct upload, link);
        int order = bytes_compare(upload->key, key);
        if (!bytes_starts(upload->key, prefix) || order < 0 || (order == 0 && upload->id <= id))
            continue;
        int against = best ? bytes_compare(upload->key, best->key) : -1;
        if (against < 0 || (against == 0 && upload->id < best->id))
            best = upload;
    }
    return best;
}

struct fail op_list_uploads(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct bytes prefix = param(request, "prefix"), key = param(request, "key-marker");
    struct bytes id_marker = param(request, "upload-id-marker");
    uint64_t most, id = key.n ? UINT64_MAX : 0;
    bool url = bytes_equal(param(request, "encoding-type"), BYTES("url"));
    if (!ops_count_param(request, "max-uploads", LIST_MAX, LIST_MAX, &most))
        return FAIL_ARGUMENT("Provided max-uploads not an integer or within integer range");
    if (param(request, "delimiter").n)
        return FAIL_NOT_IMPLEMENTED;
    if (key.n && id_marker.n && !version_id_parse(&mock->objects, id_marker, &id))
        return FAIL_ARGUMENT("Invalid uploadId marker");
    struct buf *xml = &mock->xml, *items = &mock->items;
    const struct upload *upload = NULL, *last = NULL;
    buf_reset(xml);
    buf_reset(items);
    int r = 0;
    for (uint64_t n = 0; r == 0 && n < most && (upload = after(bucket, prefix, key, id)); n++) {
        r = add_upload(mock, upload, url, items);
        key = upload->key;
        id = upload->id;
        last = upload;
    }
    bool more = most && after(bucket, prefix, key, id);
    if (r == 0)
        r = buf_add_str(xml, XML_HEAD "<ListMultipartUploadsResult" XML_NAMESPACE ">");
    if (r == 0)
        r = xml_add_element(xml, "Bucket", request->bucket);
    if (r == 0)
        r = xml_add_element(xml, "Prefix", prefix);
    if (r == 0 && url)
        r = buf_add_str(xml, "<EncodingType>url</EncodingType>");
    if (r == 0 && more && last) {
        char text[VERSION_ID_MAX];
        r = xml_add_element(xml, "NextKeyMarker", last->key);
        if (r == 0)
            r = xml_add_element(xml, "NextUploadIdMarker", bytes_of(text, upload_id_text(&mock->objects, last, text)));
    }
    if (r == 0)
        r = buf_printf(xml, "<MaxUploads>%llu</MaxUploads><IsTruncated>%s</IsTruncated>", (unsigned long long)most,
                       more ? "true" : "false");
    if (r == 0)
        r = buf_add_bytes(xml, buf_bytes(items));
    if (r == 0)
        r = buf_add_str(xml, "</ListMultipartUploadsResult>");
    if (r < 0)
        return FAIL_MEMORY;
    answer_xml(mock, answer, xml);
    return FAIL_NONE;
}

static int add_part(const struct upload *upload, const struct part *part, struct buf *xml) {
    char etag[ETAG_MAX];
    int r = buf_printf(xml, "<Part><PartNumber>%u</PartNumber><LastModified>", part->number);
    if (r == 0)
        r = ops_add_time(xml, part->modified_utc_us);
    if (r == 0)
        r = buf_add_str(xml, "</LastModified>");
    if (r == 0)
        r = ops_add_stored(xml, bytes_of(etag, blob_etag(part->blob, etag)), upload->checksum_header, part->checksum);
    return r < 0 ? r : buf_printf(xml, "<Size>%llu</Size></Part>", (unsigned long long)part->blob->size);
}

struct fail op_list_parts(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct upload *upload = NULL;
    uint64_t most, marker;
    struct fail fail = ops_find_upload(mock, request, bucket, &upload);
    if (fail.status)
        return fail;
    if (!ops_count_param(request, "max-parts", LIST_MAX, LIST_MAX, &most) ||
        !ops_count_param(request, "part-number-marker", 0, PART_NUMBER_MAX, &marker))
        return FAIL_ARGUMENT("Provided max-parts or part-number-marker not an integer or within integer range");
    struct buf *xml = &mock->xml, *items = &mock->items;
    uint64_t n = 0, last = 0;
    bool more = false;
    int r = 0;
    buf_reset(xml);
    buf_reset(items);
    for (size_t i = 0; r == 0 && i < upload->n; i++) {
        if (upload->parts[i].number <= marker)
            continue;
        more = n == most;
        if (more)
            break;
        r = add_part(upload, &upload->parts[i], items);
        last = upload->parts[i].number;
        n++;
    }
    if (r == 0)
        r = buf_add_str(xml, XML_HEAD "<ListPartsResult" XML_NAMESPACE ">");
    if (r == 0)
        r = xml_add_element(xml, "Bucket", request->bucket);
    if (r == 0)
        r = xml_add_element(xml, "Key", request->key);
    if (r == 0)
        r = xml_add_element(xml, "UploadId", param(request, "uploadId"));
    if (r == 0)
        r = xml_add_element(xml, "StorageClass", storage_name(upload->storage));
    if (r == 0)
        r = buf_printf(xml,
                       "<PartNumberMarker>%llu</PartNumberMarker><NextPartNumberMarker>%llu</NextPartNumberMarker>"
                       "<MaxParts>%llu</MaxParts><IsTruncated>%s</IsTruncated>",
                       (unsigned long long)marker, (unsigned long long)last, (unsigned long long)most,
                       more ? "true" : "false");
    if (r == 0)
        r = buf_add_bytes(xml, buf_bytes(items));
    if (r == 0)
        r = buf_add_str(xml, "</ListPartsResult>");
    if (r < 0)
        return FAIL_MEMORY;
    answer_xml(mock, answer, xml);
    return FAIL_NONE;
}
