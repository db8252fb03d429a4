/* test_container.c - files that end before their own end, and what codes the images in HEIF and AVIF. */
#include "container.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Exactly so many bytes, so that a sanitizer sees who looks further. */
static struct bytes exactly(struct bytes file) {
    char *copy = malloc(file.n ? file.n : 1);
    assert_non_null(copy);
    memcpy(copy, file.p, file.n);
    return bytes_of(copy, file.n);
}

static bool is_cut(enum image_format format, struct bytes file) {
    struct bytes copy = exactly(file);
    bool cut = image_is_cut(format, copy);
    free((void *)(uintptr_t)copy.p);
    return cut;
}

static unsigned codings(struct bytes file) {
    struct bytes copy = exactly(file);
    unsigned found = image_codings(copy);
    free((void *)(uintptr_t)copy.p);
    return found;
}

#define PNG "\x89PNG\r\n\x1A\n"
#define RIFF "RIFF\x0C\0\0\0WEBPVP8 "
#define FTYP     \
    "\0\0\0\x10" \
    "ftypheic\0\0\0\0"
#define META     \
    "\0\0\0\x14" \
    "meta\0\0\0\0hvcC\0\0\0\0"
#define LARGE  \
    "\0\0\0\1" \
    "mdat\0\0\0\0\0\0\0\x12xx"

static void test_whole_until_a_byte_is_missing(void **state) {
    static const struct {
        enum image_format format;
        struct bytes file;
    } table[] = {
        {IMAGE_PNG, BYTES(PNG "\0\0\0\2tEXtab1234"
                              "\0\0\0\0IEND1234")},
        {IMAGE_WEBP, BYTES(RIFF "1234")},
        {IMAGE_HEIF, BYTES("\0\0\0\x18"
                           "ftypheic\0\0\0\0mif1heic")},
        {IMAGE_AVIF, BYTES(LARGE)},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_false(is_cut(table[i].format, table[i].file));
        for (size_t n = 1; n < table[i].file.n; n++)
            assert_true(is_cut(table[i].format, bytes_of(table[i].file.p, n)));
    }
}

static void test_not_cut(void **state) {
    assert_false(is_cut(IMAGE_PNG, BYTES(PNG "\0\0\0\0IEND1234and what somebody hid behind it")));
    assert_false(is_cut(IMAGE_HEIF, BYTES(FTYP "\0\0\0\0mdat")));            /* up to the end */
    assert_false(is_cut(IMAGE_HEIF, BYTES(FTYP "\0\0\0\7mdat")));            /* no box at all */
    assert_false(is_cut(IMAGE_HEIF, BYTES("\0\0\0\1mdat\0\0\0\0\0\0\0\0"))); /* and this would never end */
    assert_true(is_cut(IMAGE_HEIF, BYTES("\0\0\0\1mdat\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")));
    assert_true(is_cut(IMAGE_PNG, BYTES(PNG "\xFF\xFF\xFF\xFFtEXtab1234")));
    assert_false(is_cut(IMAGE_JPEG, BYTES("\xFF\xD8\xFF"))); /* libvips knows better */
}

static void test_codings(void **state) {
    assert_int_equal(codings(BYTES(FTYP META)), 1u << IMAGE_HEIF);
    assert_int_equal(codings(BYTES(FTYP "\0\0\0\x14"
                                        "meta\0\0\0\0av1C\0\0\0\0" LARGE META)),
                     1u << IMAGE_AVIF | 1u << IMAGE_HEIF);
    assert_int_equal(codings(BYTES(FTYP "\0\0\0\x14"
                                        "mdat\0\0\0\0av1C\0\0\0\0")),
                     0); /* pixels may look like that */
    assert_int_equal(codings(BYTES(FTYP)), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole_until_a_byte_is_missing),
                                       cmocka_unit_test(test_not_cut), cmocka_unit_test(test_codings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
