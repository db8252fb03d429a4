/* Any bytes are an answer of S3's or refused; what is handed out keeps its promises. The first byte chooses the parser.
 *
 * Plain answers have a reader of their own. With a comment behind it an answer is the same and not plain: then expat
 * must find in it what was found before. */
#include "s3_xml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static bool same_error(const struct s3_xml_error *a, const struct s3_xml_error *b) {
    return bytes_equal(a->code, b->code) && bytes_equal(a->message, b->message) && bytes_equal(a->region, b->region) &&
           bytes_equal(a->request_id, b->request_id) && bytes_equal(a->bucket, b->bucket) &&
           bytes_equal(a->key, b->key);
}

static void must_be_same(const struct s3_xml *a, const struct s3_xml *b) {
    MUST(same_error(&a->error, &b->error) && a->versioning == b->versioning);
    MUST(a->objects.n == b->objects.n && a->objects.truncated == b->objects.truncated);
    for (size_t i = 0; i < a->objects.n; i++) {
        const struct s3_object *one = &a->objects.objects[i], *other = &b->objects.objects[i];
        MUST(bytes_equal(one->key, other->key) && bytes_equal(one->etag, other->etag) && one->size == other->size &&
             bytes_equal(one->storage_class, other->storage_class) && one->restored == other->restored &&
             one->modified_utc_us == other->modified_utc_us);
    }
    MUST(a->buckets.n == b->buckets.n && bytes_equal(a->buckets.next_token, b->buckets.next_token));
    for (size_t i = 0; i < a->buckets.n; i++)
        MUST(bytes_equal(a->buckets.buckets[i].name, b->buckets.buckets[i].name) &&
             bytes_equal(a->buckets.buckets[i].region, b->buckets.buckets[i].region));
}

static void read_again(const uint8_t *data, size_t size, int (*parser)(struct bytes, struct s3_xml *), int r,
                       const struct s3_xml *xml) {
    static const char comment[] = "<!---->";
    size_t n = sizeof comment - 1;
    char *longer = malloc(size + n);
    MUST(longer);
    memcpy(longer, data, size);
    memcpy(longer + size, comment, n);
    struct s3_xml other;
    MUST(parser(bytes_of(longer, size + n), &other) == r);
    must_be_same(xml, &other);
    s3_xml_free(&other);
    free(longer);
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
    read_again(data + 1, size - 1, parsers[data[0] % 4], r, &xml);
    s3_xml_free(&xml);
    return 0;
}
