/* ops_tags.c - GetObjectTagging, PutObjectTagging and DeleteObjectTagging.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html */
#include "ops.h"

#include "mem.h"

static struct fail get(struct mock *mock, const struct version *version) {
    struct buf *xml = &mock->xml;
    buf_reset(xml);
    int r = buf_add_str(xml, XML_HEAD "<Tagging" XML_NAMESPACE ">");
    if (r == 0)
        r = tags_add_xml(version->meta ? version->meta->tags : NULL, xml);
    if (r == 0)
        r = buf_add_str(xml, "</Tagging>");
    return r < 0 ? FAIL_MEMORY : FAIL_NONE;
}

static struct fail put(struct mock *mock, struct request *request, struct version *version) {
    const char *header;
    struct bytes value;
    bool any;
    struct tags *tags = NULL;
    struct fail fail = ops_check_digests(mock, request, &header, &value, &any);
    if (!fail.status && !any)
        fail = FAIL_REQUEST("Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
    if (!fail.status)
        fail = tags_of_document(buf_bytes(&request->body), &tags);
    if (!fail.status && !version->meta && !(version->meta = meta_new(META_PLAIN, NULL, BYTES_NONE)))
        fail = FAIL_MEMORY;
    if (fail.status) {
        mem_free(tags);
        return fail;
    }
    mem_free(version->meta->tags);
    version->meta->tags = tags;
    return FAIL_NONE;
}

static void drop(struct version *version) {
    if (!version->meta)
        return;
    mem_free(version->meta->tags);
    version->meta->tags = NULL;
}

struct fail op_tagging(struct mock *mock, struct request *request, struct bucket *bucket, struct answer *answer) {
    struct version *version = NULL;
    bool answered = false;
    struct fail fail = ops_find_version(mock, request, bucket, answer, &version, &answered);
    if (fail.status || answered)
        return fail;
    if (request->op == OP_GET_TAGGING)
        fail = get(mock, version);
    else if (request->op == OP_PUT_TAGGING)
        fail = put(mock, request, version);
    else
        drop(version);
    if (fail.status)
        return fail;
    answer_begin(mock, answer, request->op == OP_DELETE_TAGGING ? 204 : 200);
    ops_version_field(mock, bucket, version, answer);
    if (request->op == OP_DELETE_TAGGING)
        answer_end_empty(answer);
    else if (request->op == OP_GET_TAGGING)
        answer_end(answer, "application/xml", buf_bytes(&mock->xml));
    else
        answer_end(answer, NULL, BYTES_NONE);
    return FAIL_NONE;
}
