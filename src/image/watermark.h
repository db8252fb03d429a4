/* watermark.h - an image that is laid over results. */
#pragma once

#include "err.h"
#include "spec.h"

#include <vips/vips.h>

/* Reads it, with its opacity applied. -EINVAL with a text. */
int watermark_load(const struct image_watermark *watermark, VipsImage **ret_mark, struct err *err);
/* Over each frame of *image, which is replaced. 0, or -1 with libvips's error set. */
int watermark_lay(VipsImage **image, VipsImage *mark, const struct image_watermark *watermark);
