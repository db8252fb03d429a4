/* frames.h - the frames of an animation, which libvips has one below the other in one image. */
#pragma once

#include "shape.h"

#include <vips/vips.h>

/* Cuts each frame alike, as the crop says; with attention or entropy where the first frame has it. Puts the result into
 * *image. 0, or -1 with libvips's error set. */
int frames_crop(VipsImage **image, const struct image_output *output, const struct image_crop *crop);
