/* tags.h - an object's tags: the two forms they come in, S3's rules for them, and how they are told. No HTTP.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html */
#pragma once

#include "fail.h"

#define TAGS_MAX 10
#define TAG_NAME_MAX 128 /* characters */
#define TAG_VALUE_MAX 256

struct tags {
    size_t n;
    struct tag {
        struct bytes name, value; /* views into `text` */
    } tag[TAGS_MAX];
    char text[];
};

/* Of the header x-amz-tagging: "name=value&name=value", encoded as a query. `*ret_tags` NULL when there are none. */
struct fail tags_of_query(struct bytes query, struct tags **ret_tags);
/* Of PutObjectTagging's document. */
struct fail tags_of_document(struct bytes document, struct tags **ret_tags);
int tags_copy(const struct tags *tags, struct tags **ret_tags); /* NULL gives NULL; -ENOMEM */
int tags_add_xml(const struct tags *tags, struct buf *xml);     /* <TagSet>; NULL: an empty one */
