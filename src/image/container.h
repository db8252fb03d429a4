/* container.h - what can be seen in the structure of an image file without decoding any of it. Pure. */
#pragma once

#include "format.h"

/* By its own lengths there should be more of it. Of PNG, WebP, AVIF and HEIF; of others libvips tells itself. */
bool image_is_cut(enum image_format format, struct bytes file);

/* Of AVIF and HEIF: which decoders it asks for, 1 << enum image_format, or-ed. Its brand, by which it is called one or
 * the other, says nothing of that. */
unsigned image_codings(struct bytes file);
