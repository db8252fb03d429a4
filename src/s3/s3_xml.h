/* s3_xml.h - S3's XML answers, parsed: bounded depth and size, no DTD, no external anything; and text for
 * the few documents that are sent.
 *
 * Each parser takes the whole body and hands out views into an arena that the result owns; free it with s3_xml_free.
 * -EBADMSG: not well-formed, a DTD, the wrong root element, missing required elements, a bad number or date, or an
 * escape that does not decode; -E2BIG: over the limits; -ENOMEM. "A 200 OK response can contain valid or invalid XML"
 * (AWS), so callers treat -EBADMSG as a failed attempt. An <Error> root in a 200 is reported as S3XML_ERROR_IN_BODY
 * with `error` filled as far as the answer told. After any other negative code *ret_xml is all-zero, so that
 * s3_xml_free is always right.
 *
 * Elements that are not asked for are ignored, as is any namespace. Elements may come in any order; one that may come
 * once and comes twice is -EBADMSG. Blanks ahead of the document are skipped. */
#pragma once

#include "bytes.h"
#include "s3.h"

#define S3_XML_MAX (16u * 1024 * 1024) /* bytes of an answer: ten thousand buckets or a thousand longest keys fit */
#define S3_XML_DEPTH_MAX 16
#define S3_UPLOAD_ID_MAX 1024
#define S3XML_ERROR_IN_BODY (-2001)

struct s3_xml_error {
    struct bytes code, message, region, request_id, bucket, key;
};

struct s3_xml {
    struct s3_xml_error error;
    struct s3_bucket_page buckets; /* after s3_xml_buckets; buckets without a filter */
    struct s3_object_page objects; /* after s3_xml_objects */
    enum s3_versioning versioning; /* after s3_xml_versioning */
    struct bytes upload_id;        /* after s3_xml_upload */
    struct bytes etag, crc32;      /* after s3_xml_stored */
    const struct s3_tag *tags;     /* after s3_xml_tags */
    size_t n_tags;
    void *arena; /* private */
};

/* The answer to a failed request. Code is required; the rest may be empty. */
int s3_xml_error(struct bytes body, struct s3_xml *ret_xml);
/* A bucket needs its name; BucketRegion and ContinuationToken may be missing. */
int s3_xml_buckets(struct bytes body, struct s3_xml *ret_xml);
/* IsTruncated, and each object's Key and Size, are required; ETag, StorageClass, LastModified (0 then) and
 * RestoreStatus are not. A key over S3_KEY_MAX (decoded) or an ETag over S3_ETAG_MAX is -EBADMSG. Keys are
 * percent-decoded (`+` is a space) when the answer says <EncodingType>url</EncodingType>; a truncated page that holds
 * no key is -EBADMSG, since the next page could never be asked for. */
int s3_xml_objects(struct bytes body, struct s3_xml *ret_xml);
/* No Status (never set): S3_VERSIONING_OFF. */
int s3_xml_versioning(struct bytes body, struct s3_xml *ret_xml);
/* The id is required. */
int s3_xml_upload(struct bytes body, struct s3_xml *ret_xml);
/* The answers to CopyObject, UploadPartCopy and CompleteMultipartUpload. The ETag is required. */
int s3_xml_stored(struct bytes body, struct s3_xml *ret_xml);
/* A tag needs its name. */
int s3_xml_tags(struct bytes body, struct s3_xml *ret_xml);
/* Appends text for a document that is sent. -EINVAL for what XML cannot hold. */
int s3_xml_add_text(struct buf *buf, struct bytes text);
void s3_xml_free(struct s3_xml *xml);
