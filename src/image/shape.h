/* shape.h - how large a result is, and how libvips is to be asked for it. Pure. */
#pragma once

#include "spec.h"

struct image_shape {
    int width, height;       /* for vips_thumbnail; IMAGE_UNBOUNDED where nothing is asked for */
    bool down_only, exact;   /* its `size` */
    bool crop;               /* it is more than is asked for by then: */
    int low_high;            /* which part stays: -1 low, 0 centre, 1 high along the side that is too long */
    bool attention, entropy; /* or by looking at it */
    uint64_t pixels;         /* of the result, one frame */
    uint64_t uncut_pixels;   /* and before what is too much is cut off, as it is in memory then */
};
#define IMAGE_UNBOUNDED 10000000 /* VIPS_MAX_COORD */

/* Of an image of that size, upright. */
struct image_shape image_shape_of(const struct image_output *output, int width, int height);

/* A crop that is made frame by frame: the size of a frame before it, and of what stays, and where that is. */
struct image_crop {
    int scaled_width, scaled_height, left, top, width, height;
};
struct image_crop image_crop_of(const struct image_output *output, int width, int height);
