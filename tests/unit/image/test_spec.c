/* test_spec.c - specifications: what they mean, and what is said about mistakes. */
#include "spec.h"

#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct image_spec *get(const char *text) {
    struct image_spec *spec;
    struct err err = {0};
    if (image_spec_parse(bytes_str(text), &spec, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return spec;
}

static void test_defaults(void **state) {
    struct image_spec *spec = get("{}");
    assert_int_equal(spec->n_outputs, 1);
    const struct image_output *output = &spec->outputs[0];
    assert_string_equal(output->name, "");
    assert_true(output->width == 0 && output->height == 0 && output->fit == IMAGE_FIT_INSIDE && !output->enlarge);
    assert_true(output->format == IMAGE_NONE && output->quality == 0 && !output->lossless && !output->keep_metadata);
    assert_true(output->autorotate && !output->keep_icc && output->frames == IMAGE_FRAMES_KEEP);
    assert_true(output->background == 0xffffff && !output->watermark.file);
    assert_true(spec->max_pixels == 100000000 && spec->max_bytes == 64 << 20 && spec->max_time_us == 30000000);
    for (int f = IMAGE_NONE + 1; f < IMAGE_FORMATS; f++)
        assert_true(spec->loaders & 1u << f);
    assert_false(spec->any_extension);
    image_spec_free(spec);
}

static void test_everything(void **state) {
    struct image_spec *spec = get(
        "{\"quality\":70,\"fit\":\"cover\",\"watermark\":{\"file\":\"w.png\",\"position\":\"top-left\",\"opacity\":0.5,"
        "\"scale\":0.25,\"margin\":0},"
        "\"outputs\":[{\"name\":\"small\",\"width\":100,\"height\":50,\"position\":\"smart\",\"format\":\"webp\"},"
        "{\"name\":\"l-1_x\",\"width\":1000,\"height\":1000,\"fit\":\"inside\",\"format\":\"png\",\"enlarge\":true,"
        "\"metadata\":\"keep\",\"autorotate\":false,\"icc\":\"keep\",\"animated\":\"first\",\"background\":\"#00fF10\"}"
        ","
        "{\"name\":\"n\",\"width\":9,\"height\":9,\"format\":\"avif\",\"quality\":30}],"
        "\"max_pixels\":1000,\"max_bytes\":\"2KiB\",\"max_time\":\"1.5s\",\"loaders\":[\"jpeg\",\"avif\"],"
        "\"extension\":\"ignore\"}");
    const struct image_output *one = &spec->outputs[0], *two = &spec->outputs[1], *three = &spec->outputs[2];
    assert_int_equal(spec->n_outputs, 3);
    assert_string_equal(one->name, "small");
    assert_true(one->fit == IMAGE_FIT_COVER && one->position == IMAGE_ATTENTION && one->format == IMAGE_WEBP);
    assert_true(one->quality == 70 && three->quality == 30 && three->fit == IMAGE_FIT_COVER);
    assert_true(two->fit == IMAGE_FIT_INSIDE && two->enlarge && two->keep_metadata && !two->autorotate &&
                two->keep_icc);
    assert_true(two->frames == IMAGE_FRAMES_FIRST && two->background == 0x00ff10);
    assert_string_equal(three->watermark.file, "w.png");
    assert_true(three->watermark.position == IMAGE_TOP_LEFT && three->watermark.opacity > 0.49 &&
                three->watermark.scale < 0.26 && three->watermark.margin < 0.01);
    assert_true(spec->max_pixels == 1000 && spec->max_bytes == 2048 && spec->max_time_us == 1500000);
    assert_true(spec->loaders == (1u << IMAGE_JPEG | 1u << IMAGE_AVIF) && spec->any_extension);
    image_spec_free(spec);
}

static void test_mistakes(void **state) {
    static const struct {
        const char *text, *words;
    } table[] = {
        {"", "no JSON"},
        {"[]", "a mapping, as in {width: 512}, not a list"},
        {"{\"a\":1,\"a\":1}", "no JSON"},
        {"{\"widht\":1}", "widht: unknown key 'widht' of image; did you mean width?"},
        {"{\"name\":\"x\"}", "unknown key 'name' of image"},
        {"{\"width\":0}", "width: width is from 1 to 65535, not 0"},
        {"{\"width\":65536}", "from 1 to 65535"},
        {"{\"width\":\"512\"}", "without quotes, not a text"},
        {"{\"width\":1.5}", "is a number"},
        {"{\"fit\":\"crop\"}", "'crop' is none of inside, cover, fill"},
        {"{\"fit\":\"insde\"}", "did you mean inside?"},
        {"{\"fit\":1}", "not a number"},
        {"{\"fit\":\"cover\",\"width\":9}", "fit: cover needs a width and a height"},
        {"{\"fit\":\"fill\",\"height\":9}", "fit: fill needs a width and a height"},
        {"{\"width\":9,\"position\":\"top\"}", "position: position is for fit: cover"},
        {"{\"enlarge\":true}", "enlarge needs a width or a height"},
        {"{\"enlarge\":\"yes\"}", "true or false, not a text"},
        {"{\"enlarge\":false,\"fit\":\"fill\",\"width\":1,\"height\":1}", "so it enlarges"},
        {"{\"format\":\"png\",\"quality\":3}", "quality: png has no quality"},
        {"{\"quality\":101}", "from 1 to 100"},
        {"{\"format\":\"jpeg\",\"lossless\":true}", "lossless: jpeg cannot"},
        {"{\"format\":\"webp\",\"lossless\":true,\"quality\":3}", "exclude each other"},
        {"{\"format\":\"webp\",\"width\":20000}", "webp holds at most 16383 pixels"},
        {"{\"format\":\"bmp\"}", "'bmp' is none of same, jpeg"},
        {"{\"metadata\":true}", "metadata is one of strip, keep, not true or false"},
        {"{\"background\":\"white\"}", "as in \"#ffffff\""},
        {"{\"background\":\"#fffff\"}", "as in"},
        {"{\"background\":\"#gggggg\"}", "as in"},
        {"{\"watermark\":{}}", "watermark: a watermark needs its file"},
        {"{\"watermark\":\"x.png\"}", "a mapping"},
        {"{\"watermark\":{\"file\":\"\"}}", "watermark/file: file is empty"},
        {"{\"watermark\":{\"file\":\"x\",\"opacity\":1.5}}", "from 0 to 1"},
        {"{\"watermark\":{\"file\":\"x\",\"position\":\"smart\"}}", "for crops"},
        {"{\"watermark\":{\"file\":\"x\",\"opacty\":1}}", "did you mean opacity?"},
        {"{\"outputs\":{}}", "outputs: outputs are a list of 1 to 16"},
        {"{\"outputs\":[]}", "outputs are a list"},
        {"{\"outputs\":[3]}", "outputs/0: this is a mapping"},
        {"{\"outputs\":[{\"width\":1}]}", "outputs/0: an output in a list needs a name"},
        {"{\"outputs\":[{\"name\":\"a\"},{\"name\":\"a\"}]}", "outputs/1/name: two outputs are called 'a'"},
        {"{\"outputs\":[{\"name\":\"a/b\"}]}", "may only have small letters"},
        {"{\"outputs\":[{\"name\":\".a\"}]}", "may only have"},
        {"{\"outputs\":[{\"name\":7}]}", "not a number; write it in quotes"},
        {"{\"outputs\":[{\"name\":\"a\",\"max_pixels\":1}]}", "unknown key 'max_pixels' of an output"},
        {"{\"outputs\":[{\"name\":\"a\",\"format\":\"gif\",\"quality\":1}]}", "outputs/0/quality: gif has no quality"},
        {"{\"max_pixels\":0}", "max_pixels is from 1"},
        {"{\"max_bytes\":\"64 MiB\"}", "is a size, as in 64MiB"},
        {"{\"max_bytes\":-1}", "is a size"},
        {"{\"max_time\":30}", "as in 30s"},
        {"{\"max_time\":\"0s\"}", "from 1ms"},
        {"{\"loaders\":\"jpeg\"}", "a list of formats"},
        {"{\"loaders\":[]}", "a list of formats"},
        {"{\"loaders\":[\"jepg\"]}", "loaders/0: "},
        {"{\"loaders\":[\"png\",\"svg\"]}", "loaders/1: loaders: 'svg' is none of"},
        {"{\"loaders\":[1]}", "names of formats, not a number"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct image_spec *spec;
        struct err err = {0};
        assert_int_equal(image_spec_parse(bytes_str(table[i].text), &spec, &err), -EINVAL);
        if (!strstr(err.text, table[i].words))
            fail_msg("%s: '%s' is not in '%s'", table[i].text, table[i].words, err.text);
    }
}

/* What all outputs share need not mean something for each. */
static void test_shared_keys(void **state) {
    image_spec_free(get("{\"quality\":9,\"lossless\":false,\"outputs\":[{\"name\":\"a\",\"format\":\"png\"}]}"));
    image_spec_free(
        get("{\"fit\":\"cover\",\"position\":\"top\",\"outputs\":[{\"name\":\"a\",\"width\":1,\"fit\":\"inside\"}]}"));
}

static void test_limits(void **state) {
    struct image_spec *spec;
    struct err err = {0};
    char *large = calloc(1, IMAGE_SPEC_MAX + 2);
    assert_non_null(large);
    memset(large, ' ', IMAGE_SPEC_MAX + 1);
    assert_int_equal(image_spec_parse(bytes_str(large), &spec, &err), -EINVAL);
    assert_non_null(strstr(err.text, "65536 bytes"));
    free(large);
    mem_fail_at(1, 0);
    assert_int_equal(image_spec_parse(BYTES("{}"), &spec, &err), -ENOMEM);
    mem_fail_at(0, 0);
}

static void test_schema(void **state) {
    json_t *schema = image_spec_schema();
    assert_non_null(schema);
    const json_t *properties = json_object_get(schema, "properties");
    assert_non_null(json_object_get(properties, "outputs"));
    assert_non_null(json_object_get(properties, "width"));
    assert_null(json_object_get(properties, "name"));
    json_decref(schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults), cmocka_unit_test(test_everything),
                                       cmocka_unit_test(test_mistakes), cmocka_unit_test(test_shared_keys),
                                       cmocka_unit_test(test_limits),   cmocka_unit_test(test_schema)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
