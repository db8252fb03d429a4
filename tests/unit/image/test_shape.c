/* test_shape.c - sizes of results. */
#include "shape.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct image_output sized(uint32_t width, uint32_t height, enum image_fit fit) {
    return (struct image_output){.name = "", .width = width, .height = height, .fit = (int)fit};
}

static void test_inside(void **state) {
    struct image_output output = sized(512, 0, IMAGE_FIT_INSIDE);
    struct image_shape shape = image_shape_of(&output, 1000, 500);
    assert_int_equal(shape.width, 512);
    assert_int_equal(shape.height, IMAGE_UNBOUNDED);
    assert_true(shape.down_only && !shape.exact && !shape.crop);
    assert_int_equal(shape.pixels, 512 * 256);
    shape = image_shape_of(&output, 100, 50); /* not made larger */
    assert_int_equal(shape.pixels, 100 * 50);
    output.enlarge = true;
    shape = image_shape_of(&output, 1, 65535); /* and what that would come to is known beforehand */
    assert_false(shape.down_only);
    assert_true(shape.pixels > 1000000000);
    output = sized(0, 0, IMAGE_FIT_INSIDE);
    shape = image_shape_of(&output, 300, 200);
    assert_true(shape.width == 300 && shape.down_only && shape.pixels == 300 * 200);
}

static void test_cover(void **state) {
    static const struct {
        int width, height;
        enum image_position position;
        int low_high;
    } table[] = {
        {400, 100, IMAGE_CENTRE, 0},     {400, 100, IMAGE_LEFT, -1},       {400, 100, IMAGE_RIGHT, 1},
        {400, 100, IMAGE_TOP, 0},        {400, 100, IMAGE_TOP_LEFT, -1},   {400, 100, IMAGE_BOTTOM_RIGHT, 1},
        {100, 400, IMAGE_TOP, -1},       {100, 400, IMAGE_BOTTOM, 1},      {100, 400, IMAGE_LEFT, 0},
        {100, 400, IMAGE_TOP_RIGHT, -1}, {100, 400, IMAGE_BOTTOM_LEFT, 1}, {100, 100, IMAGE_CENTRE, 0},
    };
    struct image_output output = sized(50, 50, IMAGE_FIT_COVER);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        output.position = (int)table[i].position;
        struct image_shape shape = image_shape_of(&output, table[i].width, table[i].height);
        assert_true(shape.crop && !shape.attention && !shape.entropy);
        assert_int_equal(shape.low_high, table[i].low_high);
        assert_int_equal(shape.pixels, 2500);
        assert_int_equal(shape.uncut_pixels, table[i].width == table[i].height ? 2500 : 10000);
    }
    output.position = IMAGE_CENTRE;
    assert_int_equal(image_shape_of(&output, 1, 3000).uncut_pixels, 3000); /* not made larger */
    assert_int_equal(image_shape_of(&output, 1, 3000).pixels, 50);
    output.enlarge = true;
    assert_int_equal(image_shape_of(&output, 1, 3000).uncut_pixels, 50 * 150000); /* of which 2500 stay */
    output.position = IMAGE_ATTENTION;
    assert_true(image_shape_of(&output, 9, 9).attention);
    output.position = IMAGE_ENTROPY;
    assert_true(image_shape_of(&output, 9, 9).entropy);
}

static void test_crop_of_frames(void **state) {
    struct image_output output = sized(50, 50, IMAGE_FIT_COVER);
    struct image_crop crop = image_crop_of(&output, 400, 100);
    assert_true(crop.scaled_width == 200 && crop.scaled_height == 50 && crop.width == 50 && crop.height == 50);
    assert_true(crop.left == 75 && crop.top == 0);
    output.position = IMAGE_BOTTOM_RIGHT;
    crop = image_crop_of(&output, 100, 400);
    assert_true(crop.left == 0 && crop.top == 150);
    crop = image_crop_of(&output, 20, 80); /* too small: cut where there is too much, and not made larger */
    assert_true(crop.scaled_width == 20 && crop.width == 20 && crop.height == 50 && crop.top == 30);
    output.enlarge = true;
    crop = image_crop_of(&output, 20, 80);
    assert_true(crop.scaled_width == 50 && crop.scaled_height == 200 && crop.width == 50 && crop.top == 150);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_inside), cmocka_unit_test(test_cover),
                                       cmocka_unit_test(test_crop_of_frames)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
