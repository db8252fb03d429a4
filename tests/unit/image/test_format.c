/* test_format.c - what files are by their first bytes, and what keys promise. */
#include "format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct image_sniffed sniff(struct bytes file) {
    /* Exactly so many bytes, so that a sanitizer sees who looks further. */
    char *copy = malloc(file.n ? file.n : 1);
    assert_non_null(copy);
    if (file.n)
        memcpy(copy, file.p, file.n);
    struct image_sniffed found = image_sniff(bytes_of(copy, file.n));
    free(copy);
    return found;
}

static void test_sniff(void **state) {
    static const struct {
        struct bytes file;
        enum image_format format;
        const char *what;
    } table[] = {
        {BYTES("\xFF\xD8\xFF\xE0"), IMAGE_JPEG, "jpeg"},
        {BYTES("\x89PNG\r\n\x1A\n"), IMAGE_PNG, "png"},
        {BYTES("GIF89a"), IMAGE_GIF, "gif"},
        {BYTES("GIF88a"), IMAGE_NONE, NULL},
        {BYTES("RIFF\1\2\3\4WEBP"), IMAGE_WEBP, "webp"},
        {BYTES("RIFX\1\2\3\4WEBP"), IMAGE_NONE, NULL},
        {BYTES("RIFF\1\2\3\4WAVE"), IMAGE_NONE, NULL},
        {BYTES("II*\0"), IMAGE_TIFF, "tiff"},
        {BYTES("MM\0*"), IMAGE_TIFF, "tiff"},
        {BYTES("\0\0\0\x18"
               "ftypheic\0\0\0\0mif1"),
         IMAGE_HEIF, "heif"},
        {BYTES("\0\0\0\x18"
               "ftypmif1\0\0\0\0avif"),
         IMAGE_AVIF, "avif"},
        {BYTES("\0\0\0\x10"
               "ftypmif1\0\0\0\0avif"),
         IMAGE_HEIF, "heif"}, /* no more of the box than that is */
        {BYTES("\0\0\0\x18"
               "ftypisom\0\0\0\0mp42"),
         IMAGE_NONE, "a video, or another MP4 file"},
        {BYTES("\0\0\xFF\xFF"
               "ftypisom\0\0\0\0avi"),
         IMAGE_NONE, "a video, or another MP4 file"},
        {BYTES("%PDF-1.7"), IMAGE_NONE, "a PDF document"},
        {BYTES("<svg xmlns"), IMAGE_NONE, "an SVG drawing"},
        {BYTES("push graphic-context"), IMAGE_NONE, "an ImageMagick drawing (MVG)"},
        {BYTES("hello"), IMAGE_NONE, NULL},
        {BYTES(""), IMAGE_NONE, NULL},
        {BYTES("\xFF\xD8"), IMAGE_NONE, NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct image_sniffed found = sniff(table[i].file);
        assert_int_equal(found.format, table[i].format);
        if (table[i].what)
            assert_string_equal(found.what, table[i].what);
        else
            assert_null(found.what);
    }
}

static void test_keys(void **state) {
    assert_int_equal(image_format_of_key(BYTES("a/b.jpg")), IMAGE_JPEG);
    assert_int_equal(image_format_of_key(BYTES("a/b.x.JPEG")), IMAGE_JPEG);
    assert_int_equal(image_format_of_key(BYTES(".webp")), IMAGE_WEBP);
    assert_int_equal(image_format_of_key(BYTES("a.jpg/b")), IMAGE_NONE);
    assert_int_equal(image_format_of_key(BYTES("a.txt")), IMAGE_NONE);
    assert_int_equal(image_format_of_key(BYTES("jpg")), IMAGE_NONE);
    assert_int_equal(image_format_of_key(BYTES("a.")), IMAGE_NONE);
    assert_int_equal(image_format_of_key(BYTES_NONE), IMAGE_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sniff), cmocka_unit_test(test_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
