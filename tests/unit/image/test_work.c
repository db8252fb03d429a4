/* test_work.c - work on images in this process: results, and what is said of objects that cannot be worked on. */
#include "setup.h"
#include "work.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char spec_text[] = "{\"max_pixels\":1000000,\"loaders\":[\"jpeg\",\"png\",\"gif\"],\"outputs\":["
                                "{\"name\":\"small\",\"width\":40,\"format\":\"jpeg\"},"
                                "{\"name\":\"square\",\"width\":16,\"height\":16,\"fit\":\"cover\",\"format\":\"png\"},"
                                "{\"name\":\"again\",\"width\":40,\"format\":\"webp\"}]}";

static struct image_spec *spec;
static struct image_tool *tool;

static int up(void **state) {
    struct err err = {0};
    if (image_spec_parse(bytes_str(spec_text), &spec, &err) < 0 || image_tool_new(spec, &tool, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    return 0;
}

static int down(void **state) {
    image_tool_free(tool);
    image_spec_free(spec);
    return 0;
}

static struct bytes png(int width, int height) {
    VipsImage *image;
    void *data;
    size_t n;
    assert_int_equal(vips_black(&image, width, height, "bands", 3, NULL), 0);
    assert_int_equal(vips_pngsave_buffer(image, &data, &n, NULL), 0);
    g_object_unref(image);
    return bytes_of(data, n);
}

static void drop(struct bytes file) {
    g_free((void *)(uintptr_t)file.p);
}

static void test_results(void **state) {
    struct bytes file = png(80, 60);
    struct image_answer answer = {0};
    image_work(tool, BYTES("k.png"), file, &answer);
    assert_string_equal(answer.reason, "");
    assert_true(answer.status == IMAGE_OK && answer.n_parts == 3);
    static const struct {
        const char *name, *content_type, *extension;
        enum image_format format;
    } parts[] = {{"small", "image/jpeg", "jpg", IMAGE_JPEG},
                 {"square", "image/png", "png", IMAGE_PNG},
                 {"again", "image/webp", "webp", IMAGE_WEBP}};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(answer.parts[i].name, parts[i].name);
        assert_string_equal(answer.parts[i].content_type, parts[i].content_type);
        assert_string_equal(answer.parts[i].extension, parts[i].extension);
        assert_int_equal(image_sniff(bytes_of(answer.parts[i].data, answer.parts[i].n)).format, parts[i].format);
    }
    image_answer_free(&answer);
    drop(file);
}

static void refused(struct bytes key, struct bytes file, const char *words) {
    struct image_answer answer = {0};
    image_work(tool, key, file, &answer);
    assert_true(answer.status == IMAGE_FAIL && answer.final && answer.n_parts == 0);
    if (!strstr(answer.reason, words) || strchr(answer.reason, '\n'))
        fail_msg("'%s' is not in '%s'", words, answer.reason);
    image_answer_free(&answer);
}

static void test_refusals(void **state) {
    struct bytes file = png(80, 60), large = png(2000, 1000);
    refused(BYTES("k"), BYTES(""), "the object is empty");
    refused(BYTES("k.png"), BYTES("hello"), "not an image");
    refused(BYTES("k"), BYTES("%PDF-1.4"), "a PDF document, which is not among the loaders");
    refused(BYTES("k"), BYTES("II*\0\10\0\0\0"), "tiff, which is not among the loaders");
    refused(BYTES("k.jpg"), file, "wrong extension: the key says jpeg, the object is png");
    refused(BYTES("k"), large, "too many pixels: 2000x1000 are more than max_pixels, 1000000");
    refused(BYTES("k"), bytes_of(file.p, 20), "truncated png");
    refused(BYTES("k"), bytes_of(file.p, file.n * 2 / 3), "truncated png");
    drop(large);
    drop(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_results), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, up, down);
}
