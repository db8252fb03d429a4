/* format.h - the image formats that froe-image reads and writes, and what the first bytes of a file say that it is.
 *
 * Pure. What a file is called does not count for what it is; it is only compared, see image_format_of_key. */
#pragma once

#include "bytes.h"

enum image_format {
    IMAGE_NONE, /* of an output: that of the source, "same" */
    IMAGE_JPEG,
    IMAGE_PNG,
    IMAGE_WEBP,
    IMAGE_GIF,
    IMAGE_TIFF,
    IMAGE_AVIF,
    IMAGE_HEIF,
    IMAGE_FORMATS
};

/* "jpeg", "png" ...; "same" for IMAGE_NONE. */
const char *image_format_name(enum image_format format);
const char *image_format_content_type(enum image_format format);
const char *image_format_extension(enum image_format format); /* "jpg" */
uint32_t image_format_side_max(enum image_format format);     /* pixels that the format can hold in one direction */
bool image_format_lossy(enum image_format format);            /* has a quality */
bool image_format_may_be_lossless(enum image_format format);  /* has one beside lossless, by option */
bool image_format_animated(enum image_format format);         /* can hold several frames as an animation */

struct image_sniffed {
    enum image_format format; /* NONE: none of ours */
    const char *what;         /* for people: "jpeg", "a PDF document"; NULL: nothing that is known here */
};
struct image_sniffed image_sniff(struct bytes file);

/* What the end of the key promises, as ".jpg" in any case; NONE: nothing that is known. */
enum image_format image_format_of_key(struct bytes key);
