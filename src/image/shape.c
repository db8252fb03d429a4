/* shape.c - see shape.h. */
#include "shape.h"

#include <math.h>

static double wanted(uint32_t asked) {
    return asked ? asked : IMAGE_UNBOUNDED;
}

static int rounded(double pixels) {
    return pixels < 1 ? 1 : pixels > IMAGE_UNBOUNDED ? IMAGE_UNBOUNDED : (int)lround(pixels);
}

/* Of the part that stays: -1 the beginning, 1 the end. */
static int horizontal(int position) {
    if (position == IMAGE_LEFT || position == IMAGE_TOP_LEFT || position == IMAGE_BOTTOM_LEFT)
        return -1;
    return position == IMAGE_RIGHT || position == IMAGE_TOP_RIGHT || position == IMAGE_BOTTOM_RIGHT;
}

static int vertical(int position) {
    if (position == IMAGE_TOP || position == IMAGE_TOP_LEFT || position == IMAGE_TOP_RIGHT)
        return -1;
    return position == IMAGE_BOTTOM || position == IMAGE_BOTTOM_LEFT || position == IMAGE_BOTTOM_RIGHT;
}

/* Of an image that is scaled so, of which no more than this stays. */
static double area(int width, int height, double scale, double most_x, double most_y) {
    return fmin(most_x, fmax(1, width * scale)) * fmin(most_y, fmax(1, height * scale));
}

struct image_shape image_shape_of(const struct image_output *output, int width, int height) {
    double x = wanted(output->width) / width, y = wanted(output->height) / height;
    bool sized = output->width || output->height;
    struct image_shape shape = {.width = (int)wanted(output->width), .height = (int)wanted(output->height)};
    if (!sized) {
        shape.width = width;
        shape.height = IMAGE_UNBOUNDED;
        x = y = 1;
    }
    shape.exact = output->fit == IMAGE_FIT_FILL;
    shape.down_only = !shape.exact && (!sized || !output->enlarge);
    shape.crop = output->fit == IMAGE_FIT_COVER;
    shape.attention = shape.crop && output->position == IMAGE_ATTENTION;
    shape.entropy = shape.crop && output->position == IMAGE_ENTROPY;
    if (shape.crop) /* the side that does not decide the scale is the one that is cut */
        shape.low_high = x < y ? horizontal(output->position) : vertical(output->position);
    double scale = shape.crop ? fmax(x, y) : fmin(x, y);
    if (shape.down_only && scale > 1)
        scale = 1;
    shape.uncut_pixels = (uint64_t)area(width, height, scale, INFINITY, INFINITY);
    shape.pixels = (uint64_t)area(width, height, scale, shape.width, shape.height);
    if (shape.exact)
        shape.pixels = shape.uncut_pixels = (uint64_t)shape.width * (uint64_t)shape.height;
    return shape;
}

static int placed(int low_high, int all, int part) {
    return low_high < 0 ? 0 : low_high > 0 ? all - part : (all - part) / 2;
}

struct image_crop image_crop_of(const struct image_output *output, int width, int height) {
    double scale = fmax((double)output->width / width, (double)output->height / height);
    if (scale > 1 && !output->enlarge)
        scale = 1;
    struct image_crop crop = {.scaled_width = rounded(width * scale), .scaled_height = rounded(height * scale)};
    crop.width = (int)output->width < crop.scaled_width ? (int)output->width : crop.scaled_width;
    crop.height = (int)output->height < crop.scaled_height ? (int)output->height : crop.scaled_height;
    crop.left = placed(horizontal(output->position), crop.scaled_width, crop.width);
    crop.top = placed(vertical(output->position), crop.scaled_height, crop.height);
    return crop;
}
