/* Any bytes are an answer of S3's or refused; what is handed out keeps its promises. The first byte chooses the parser.
 */
#include "s3_xml.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static size_t touched; /* so that every view is read, under the sanitizers */

static void touch(struct bytes text) {
    MUST(text.n == 0 || text.p);
    for (size_t i = 0; i < text.n; i++)
        touched += (unsigned char)text.p[i];
}

static void touch_error(const struct s3_xml_error *error) {
    touch(error->code);
    touch(error->message);
    touch(error->region);
    touch(error->request_id);
    touch(error->bucket);
    touch(error->key);
}

static void check_objects(const struct s3_object_page *page) {
    MUST(page->n > 0 || !page->truncated);
    for (size_t i = 0; i < page->n; i++) {
        const struct s3_object *object = &page->objects[i];
        MUST(object->key.n > 0 && object->key.n <= S3_KEY_MAX && object->etag.n <= S3_ETAG_MAX);
        touch(object->key);
        touch(object->etag);
        touch(object->storage_class);
    }
    MUST(page->n ? bytes_equal(page->last_key, page->objects[page->n - 1].key) : page->last_key.n == 0);
}

static void check_buckets(const struct s3_bucket_page *page) {
    for (size_t i = 0; i < page->n; i++) {
        MUST(page->buckets[i].name.n > 0);
        touch(page->buckets[i].name);
        touch(page->buckets[i].region);
    }
    touch(page->next_token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int (*const parsers[])(struct bytes, struct s3_xml *) = {s3_xml_error, s3_xml_buckets, s3_xml_objects,
                                                             s3_xml_versioning};
    if (size == 0)
        return 0;
    struct s3_xml xml;
    int r = parsers[data[0] % 4](bytes_of(data + 1, size - 1), &xml);
    MUST(r == 0 || r == -EBADMSG || r == -E2BIG || (r == S3XML_ERROR_IN_BODY && data[0] % 4 != 0));
    MUST(r == 0 || r == S3XML_ERROR_IN_BODY || !xml.arena);
    touch_error(&xml.error);
    check_objects(&xml.objects);
    check_buckets(&xml.buckets);
    s3_xml_free(&xml);
    return 0;
}
