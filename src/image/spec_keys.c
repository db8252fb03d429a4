/* spec_keys.c - all keys of a spec. */
#include "spec_keys.h"

static const struct image_word fits[] = {
    {"inside", IMAGE_FIT_INSIDE}, {"cover", IMAGE_FIT_COVER}, {"fill", IMAGE_FIT_FILL}, {NULL, 0}};

static const struct image_word positions[] = {{"centre", IMAGE_CENTRE},
                                              {"center", IMAGE_CENTRE},
                                              {"top", IMAGE_TOP},
                                              {"bottom", IMAGE_BOTTOM},
                                              {"left", IMAGE_LEFT},
                                              {"right", IMAGE_RIGHT},
                                              {"top-left", IMAGE_TOP_LEFT},
                                              {"top-right", IMAGE_TOP_RIGHT},
                                              {"bottom-left", IMAGE_BOTTOM_LEFT},
                                              {"bottom-right", IMAGE_BOTTOM_RIGHT},
                                              {"attention", IMAGE_ATTENTION},
                                              {"smart", IMAGE_ATTENTION},
                                              {"entropy", IMAGE_ENTROPY},
                                              {NULL, 0}};

static const struct image_word formats[] = {{"same", IMAGE_NONE},
                                            {"jpeg", IMAGE_JPEG},
                                            {"jpg", IMAGE_JPEG},
                                            {"png", IMAGE_PNG},
                                            {"webp", IMAGE_WEBP},
                                            {"gif", IMAGE_GIF},
                                            {"tiff", IMAGE_TIFF},
                                            {"avif", IMAGE_AVIF},
                                            {"heif", IMAGE_HEIF},
                                            {"heic", IMAGE_HEIF},
                                            {NULL, 0}};

static const struct image_word metadata[] = {{"strip", false}, {"keep", true}, {NULL, 0}};
static const struct image_word icc[] = {{"srgb", false}, {"keep", true}, {NULL, 0}};
static const struct image_word frames[] = {{"keep", IMAGE_FRAMES_KEEP}, {"first", IMAGE_FRAMES_FIRST}, {NULL, 0}};
static const struct image_word extensions[] = {{"match", false}, {"ignore", true}, {NULL, 0}};

/* Those of an output stand outside of `outputs` too. */
#define OUTPUT(name, kind, member, least, most, words, help)                     \
    {                                                                            \
        name, kind, OF_OUTPUT | OF_SPEC, offsetof(struct image_output, member),  \
            sizeof(((struct image_output *)0)->member), least, most, words, help \
    }
#define MARK(name, kind, member, least, most, words, help)                                                            \
    {                                                                                                                 \
        name, kind, OF_MARK, offsetof(struct image_watermark, member), sizeof(((struct image_watermark *)0)->member), \
            least, most, words, help                                                                                  \
    }
#define SPEC(name, kind, member, least, most, words, help)                                                         \
    {                                                                                                              \
        name, kind, OF_SPEC, offsetof(struct image_spec, member), sizeof(((struct image_spec *)0)->member), least, \
            most, words, help                                                                                      \
    }

const struct image_key image_keys[] = {
    {"name", KEY_NAME, OF_OUTPUT, offsetof(struct image_output, name), sizeof(const char *), 1, IMAGE_NAME_MAX, NULL,
     "what the result is called: {name} in the output's key"},
    OUTPUT("width", KEY_NUMBER, width, 1, IMAGE_SIDE_MAX, NULL, "pixels"),
    OUTPUT("height", KEY_NUMBER, height, 1, IMAGE_SIDE_MAX, NULL, "pixels"),
    OUTPUT("fit", KEY_WORD, fit, 0, 0, fits,
           "inside: as large as fits in width and height; cover: fills them, the rest is cut off; fill: stretched"),
    OUTPUT("position", KEY_WORD, position, 0, 0, positions, "which part stays when fit: cover cuts off"),
    OUTPUT("enlarge", KEY_FLAG, enlarge, 0, 0, NULL, "also make small images larger"),
    OUTPUT("format", KEY_WORD, format, 0, 0, formats, "what is written; same: as what was read"),
    OUTPUT("quality", KEY_NUMBER, quality, 1, 100, NULL, "of jpeg, webp, avif and heif"),
    OUTPUT("lossless", KEY_FLAG, lossless, 0, 0, NULL, "of webp, avif and heif"),
    OUTPUT("metadata", KEY_WORD, keep_metadata, 0, 0, metadata, "strip or keep EXIF, XMP, IPTC and the like"),
    OUTPUT("autorotate", KEY_FLAG, autorotate, 0, 0, NULL, "turn it upright by its EXIF orientation"),
    OUTPUT("icc", KEY_WORD, keep_icc, 0, 0, icc, "srgb: convert to it; keep: leave colours and profile as they are"),
    OUTPUT("animated", KEY_WORD, frames, 0, 0, frames, "all frames of GIF and WebP, or the first"),
    OUTPUT("background", KEY_COLOUR, background, 0, 0, NULL, "what shows through in formats without transparency"),
    OUTPUT("watermark", KEY_MARK, watermark, 0, 0, NULL, "an image that is laid over the result"),
    MARK("file", KEY_FILE, file, 1, 4096, NULL, "the path of the image"),
    MARK("position", KEY_WORD, position, 0, 0, positions, "where it stands"),
    MARK("opacity", KEY_FRACTION, opacity, 0, 1, NULL, "1: as it is"),
    MARK("scale", KEY_FRACTION, scale, 0.001, 1, NULL, "its width as a part of the result's"),
    MARK("margin", KEY_FRACTION, margin, 0, 0.5, NULL, "its distance from the edges as a part of the result's width"),
    {"outputs", KEY_OUTPUTS, OF_SPEC, 0, 0, 1, IMAGE_OUTPUTS_MAX, NULL, "several results from one read"},
    SPEC("max_pixels", KEY_BIG, max_pixels, 1, 1e12, NULL, "of an image, all frames together; more is refused unread"),
    SPEC("max_bytes", KEY_SIZE, max_bytes, 1, 1e12, NULL, "of the object"),
    SPEC("max_time", KEY_TIME, max_time_us, 1e3, 86400e6, NULL, "for the work on one image"),
    SPEC("loaders", KEY_LOADERS, loaders, 1, IMAGE_FORMATS, NULL, "formats that are read at all"),
    SPEC("extension", KEY_WORD, any_extension, 0, 0, extensions,
         "match: a key that ends like another format than the object has is refused; ignore: it is not"),
};
const size_t n_image_keys = sizeof image_keys / sizeof image_keys[0];
