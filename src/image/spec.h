/* spec.h - what is to be made of an image: the `image:` of a configuration file, which is froe-image's argument too.
 *
 * A JSON object. froe makes it of the YAML that it read, checks it by the same parser, and hands it on as text. The
 * keys of an output may also stand outside of `outputs`: then they are what outputs without them have; and without
 * `outputs` they are the only one, which has no name. docs/images.md tells users what they mean.
 *
 * Pure. */
#pragma once

#include "err.h"
#include "format.h"

#include <jansson.h>

#define IMAGE_SPEC_MAX (64 * 1024) /* bytes of JSON */
#define IMAGE_OUTPUTS_MAX 16
#define IMAGE_NAME_MAX 64
#define IMAGE_SIDE_MAX 65535

enum image_fit { IMAGE_FIT_INSIDE, IMAGE_FIT_COVER, IMAGE_FIT_FILL };

enum image_position { /* where what is cut off or laid over stays */
                      IMAGE_CENTRE,
                      IMAGE_TOP,
                      IMAGE_BOTTOM,
                      IMAGE_LEFT,
                      IMAGE_RIGHT,
                      IMAGE_TOP_LEFT,
                      IMAGE_TOP_RIGHT,
                      IMAGE_BOTTOM_LEFT,
                      IMAGE_BOTTOM_RIGHT,
                      IMAGE_ATTENTION, /* a crop only: where the eye goes */
                      IMAGE_ENTROPY,   /* a crop only: where most is to be seen */
};

enum image_frames { IMAGE_FRAMES_KEEP, IMAGE_FRAMES_FIRST };

struct image_watermark {
    const char *file; /* NULL: none */
    int position;     /* enum image_position */
    double opacity;   /* 0 to 1 */
    double scale;     /* of the output's width */
    double margin;    /* likewise */
};

struct image_output {
    const char *name;       /* "": the only one */
    uint32_t width, height; /* 0: as it comes */
    int fit, position;      /* enum image_fit, image_position */
    bool enlarge;
    int format;       /* enum image_format; NONE: as the source */
    uint32_t quality; /* 0: the format's own default */
    bool lossless;
    bool keep_metadata;
    bool autorotate;
    bool keep_icc;       /* else sRGB */
    int frames;          /* enum image_frames */
    uint32_t background; /* 0xRRGGBB, for formats without transparency */
    struct image_watermark watermark;
};

struct image_spec {
    json_t *json; /* owned; strings point into it */
    size_t n_outputs;
    struct image_output outputs[IMAGE_OUTPUTS_MAX];
    uint64_t max_pixels, max_bytes;
    int64_t max_time_us;
    unsigned loaders; /* 1 << enum image_format, or-ed */
    bool any_extension;
};

/* Where in the JSON an error is: keys and list indexes with '/' between them, "outputs/1/width"; "" for the whole. */
struct image_place {
    char path[160];
    bool key; /* the key itself is wrong, not its value */
};

/* Takes a reference to the JSON. -EINVAL with a text and the place, -ENOMEM. */
int image_spec_new(json_t *json, struct image_spec **ret_spec, struct image_place *ret_place, struct err *err);
/* The same of text; the error's text has the place in it. */
int image_spec_parse(struct bytes text, struct image_spec **ret_spec, struct err *err);
void image_spec_free(struct image_spec *spec); /* NULL is fine */

/* A JSON Schema of it: what that refuses image_spec_new refuses too. NULL when memory is out. */
json_t *image_spec_schema(void);
