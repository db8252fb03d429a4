/* format.c - see format.h. The signatures are those of the formats' own specifications. */
#include "format.h"

static const struct {
    const char *name, *content_type, *extensions[4];
    uint32_t side_max;
    bool lossy, may_be_lossless, animated;
} formats[] = {
    [IMAGE_NONE] = {"same", "", {""}, UINT32_MAX, true, true, true},
    [IMAGE_JPEG] = {"jpeg", "image/jpeg", {"jpg", "jpeg", "jpe", "jfif"}, 65500, true, false, false},
    [IMAGE_PNG] = {"png", "image/png", {"png"}, INT32_MAX, false, false, false},
    [IMAGE_WEBP] = {"webp", "image/webp", {"webp"}, 16383, true, true, true},
    [IMAGE_GIF] = {"gif", "image/gif", {"gif"}, 65535, false, false, true},
    [IMAGE_TIFF] = {"tiff", "image/tiff", {"tif", "tiff"}, INT32_MAX, false, false, false},
    [IMAGE_AVIF] = {"avif", "image/avif", {"avif"}, 16384, true, true, false},
    [IMAGE_HEIF] = {"heif", "image/heic", {"heic", "heif"}, 16384, true, true, false},
};
_Static_assert(sizeof formats / sizeof formats[0] == IMAGE_FORMATS, "each format has its line");

const char *image_format_name(enum image_format format) {
    return formats[format].name;
}

const char *image_format_content_type(enum image_format format) {
    return formats[format].content_type;
}

const char *image_format_extension(enum image_format format) {
    return formats[format].extensions[0];
}

uint32_t image_format_side_max(enum image_format format) {
    return formats[format].side_max;
}

bool image_format_lossy(enum image_format format) {
    return formats[format].lossy;
}

bool image_format_may_be_lossless(enum image_format format) {
    return formats[format].may_be_lossless;
}

bool image_format_animated(enum image_format format) {
    return formats[format].animated;
}

/* ---- what a file is ---- */

struct signature {
    size_t at;
    struct bytes bytes;
    enum image_format format;
    const char *what;
};

#define SIGNATURE(at, literal, format, what) \
    { at, {literal, sizeof(literal) - 1}, format, what }
static const struct signature signatures[] = {
    SIGNATURE(0, "\xFF\xD8\xFF", IMAGE_JPEG, "jpeg"),
    SIGNATURE(0, "\x89PNG\r\n\x1A\n", IMAGE_PNG, "png"),
    SIGNATURE(0, "GIF87a", IMAGE_GIF, "gif"),
    SIGNATURE(0, "GIF89a", IMAGE_GIF, "gif"),
    SIGNATURE(8, "WEBP", IMAGE_WEBP, "webp"), /* after RIFF, see image_sniff */
    SIGNATURE(0, "II*\0", IMAGE_TIFF, "tiff"),
    SIGNATURE(0, "MM\0*", IMAGE_TIFF, "tiff"),
    SIGNATURE(0, "II+\0", IMAGE_TIFF, "tiff"),
    SIGNATURE(0, "MM\0+", IMAGE_TIFF, "tiff"),
    SIGNATURE(0, "%PDF", IMAGE_NONE, "a PDF document"),
    SIGNATURE(0, "%!PS", IMAGE_NONE, "a PostScript document"),
    SIGNATURE(0, "<svg", IMAGE_NONE, "an SVG drawing"),
    SIGNATURE(0, "<?xml", IMAGE_NONE, "an XML document (SVG?)"),
    SIGNATURE(0, "<!DOCTYPE", IMAGE_NONE, "an HTML or SVG document"),
    SIGNATURE(0, "<html", IMAGE_NONE, "an HTML document"),
    SIGNATURE(0, "BM", IMAGE_NONE, "a BMP image"),
    SIGNATURE(0, "\0\0\1\0", IMAGE_NONE, "an icon (ICO)"),
    SIGNATURE(0, "8BPS", IMAGE_NONE, "a Photoshop document"),
    SIGNATURE(0, "\xFF\x0A", IMAGE_NONE, "a JPEG XL image"),
    SIGNATURE(0, "\0\0\0\x0CJXL ", IMAGE_NONE, "a JPEG XL image"),
    SIGNATURE(0, "\0\0\0\x0CjP  ", IMAGE_NONE, "a JPEG 2000 image"),
    SIGNATURE(0, "\xFF\x4F\xFF\x51", IMAGE_NONE, "a JPEG 2000 image"),
    SIGNATURE(0, "v/1\x01", IMAGE_NONE, "an OpenEXR image"),
    SIGNATURE(0, "#?RADIANCE", IMAGE_NONE, "a Radiance HDR image"),
    SIGNATURE(0, "push graphic-context", IMAGE_NONE, "an ImageMagick drawing (MVG)"),
    SIGNATURE(0, "SIMPLE  =", IMAGE_NONE, "a FITS image"),
    SIGNATURE(0, "PK\3\4", IMAGE_NONE, "a ZIP archive"),
    SIGNATURE(0, "\x1F\x8B", IMAGE_NONE, "gzip data"),
    SIGNATURE(0,
              "\x7F"
              "ELF",
              IMAGE_NONE, "a program"),
    SIGNATURE(0, "#!", IMAGE_NONE, "a script"),
};

/* ISO/IEC 14496-12 4.3: size, "ftyp", major brand, version, compatible brands. */
static enum image_format brand_of(struct bytes file) {
    static const char *const avif[] = {"avif", "avis"};
    static const char *const heif[] = {"heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1"};
    uint32_t box = (uint32_t)(uint8_t)file.p[2] << 8 | (uint8_t)file.p[3];
    size_t end = box < file.n ? box : file.n;
    enum image_format found = IMAGE_NONE;
    for (size_t at = 8; at + 4 <= end; at += at == 8 ? 8 : 4) {
        for (size_t i = 0; i < sizeof avif / sizeof avif[0]; i++)
            if (memcmp(file.p + at, avif[i], 4) == 0)
                return IMAGE_AVIF;
        for (size_t i = 0; i < sizeof heif / sizeof heif[0]; i++)
            if (memcmp(file.p + at, heif[i], 4) == 0)
                found = IMAGE_HEIF;
    }
    return found;
}

struct image_sniffed image_sniff(struct bytes file) {
    if (file.n >= 16 && memcmp(file.p, "\0\0", 2) == 0 && memcmp(file.p + 4, "ftyp", 4) == 0) {
        enum image_format format = brand_of(file);
        return (struct image_sniffed){format, format ? image_format_name(format) : "a video, or another MP4 file"};
    }
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
        const struct signature *one = &signatures[i];
        if (file.n < one->at + one->bytes.n || memcmp(file.p + one->at, one->bytes.p, one->bytes.n) != 0)
            continue;
        if (one->at == 0 || memcmp(file.p, "RIFF", 4) == 0)
            return (struct image_sniffed){one->format, one->what};
    }
    return (struct image_sniffed){IMAGE_NONE, NULL};
}

enum image_format image_format_of_key(struct bytes key) {
    size_t dot = key.n;
    while (dot > 0 && key.p[dot - 1] != '.' && key.p[dot - 1] != '/')
        dot--;
    if (dot == 0 || key.p[dot - 1] != '.')
        return IMAGE_NONE;
    struct bytes extension = bytes_of(key.p + dot, key.n - dot);
    for (int f = IMAGE_NONE + 1; f < IMAGE_FORMATS; f++)
        for (size_t i = 0; i < 4 && formats[f].extensions[i]; i++)
            if (bytes_equal_nocase(extension, bytes_str(formats[f].extensions[i])))
                return (enum image_format)f;
    return IMAGE_NONE;
}
