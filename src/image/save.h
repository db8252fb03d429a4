/* save.h - images to bytes. */
#pragma once

#include "spec.h"

#include <vips/vips.h>

/* By the output's quality, lossless, metadata, icc and background. 0, or -1 with libvips's error set. *ret_data is for
 * g_free. */
int image_save(VipsImage *image, enum image_format format, const struct image_output *output, void **ret_data,
               size_t *ret_n);
