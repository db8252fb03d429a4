/* container.c - see container.h. */
#include "container.h"

static uint32_t be32(const char *p) {
    const uint8_t *byte = (const uint8_t *)p;
    return (uint32_t)byte[0] << 24 | (uint32_t)byte[1] << 16 | (uint32_t)byte[2] << 8 | byte[3];
}

static uint32_t le32(const char *p) {
    const uint8_t *byte = (const uint8_t *)p;
    return (uint32_t)byte[3] << 24 | (uint32_t)byte[2] << 16 | (uint32_t)byte[1] << 8 | byte[0];
}

/* ---- PNG: a signature, and chunks up to IEND: length, type, data, checksum ---- */

static bool png_is_cut(struct bytes file) {
    for (size_t at = 8; file.n >= at + 12;) {
        uint32_t length = be32(file.p + at);
        if (memcmp(file.p + at + 4, "IEND", 4) == 0)
            return false;
        if (length > file.n - at - 12)
            return true;
        at += 12 + (size_t)length;
    }
    return true;
}

/* ---- ISO/IEC 14496-12 4.2: boxes: size, type, content; a size of 1 is followed by one of 64 bits ---- */

struct box {
    struct bytes type, all;
};
enum box_found { BOX, BOX_CUT, BOX_END };

/* The one at *at, which goes on to the next. What is too small to be a size ends the file. */
static enum box_found next_box(struct bytes file, size_t *at, struct box *ret_box) {
    size_t left = file.n - *at;
    if (left < 8)
        return left ? BOX_CUT : BOX_END;
    uint64_t size = be32(file.p + *at);
    if (size == 1 && left < 16)
        return BOX_CUT;
    if (size == 1)
        size = (uint64_t)be32(file.p + *at + 8) << 32 | be32(file.p + *at + 12);
    else if (size == 0) /* up to the end */
        size = left;
    if (size < 8)
        return BOX_END;
    if (size > left)
        return BOX_CUT;
    *ret_box = (struct box){bytes_of(file.p + *at + 4, 4), bytes_of(file.p + *at, (size_t)size)};
    *at += (size_t)size;
    return BOX;
}

static bool boxes_are_cut(struct bytes file) {
    struct box box;
    enum box_found found;
    size_t at = 0;
    while ((found = next_box(file, &at, &box)) == BOX)
        continue;
    return found == BOX_CUT;
}

unsigned image_codings(struct bytes file) {
    struct box box;
    unsigned codings = 0;
    for (size_t at = 0; next_box(file, &at, &box) == BOX;) {
        if (!bytes_equal(box.type, BYTES("meta")))
            continue;
        /* The properties without which a decoder cannot begin, however deep they are in it. */
        if (memmem(box.all.p, box.all.n, "av1C", 4))
            codings |= 1u << IMAGE_AVIF;
        if (memmem(box.all.p, box.all.n, "hvcC", 4))
            codings |= 1u << IMAGE_HEIF;
    }
    return codings;
}

bool image_is_cut(enum image_format format, struct bytes file) {
    switch (format) {
    case IMAGE_PNG:
        return png_is_cut(file);
    case IMAGE_WEBP: /* RIFF: the length of what follows it */
        return file.n < 12 || le32(file.p + 4) > file.n - 8;
    case IMAGE_AVIF:
    case IMAGE_HEIF:
        return boxes_are_cut(file);
    case IMAGE_JPEG:
    case IMAGE_GIF:
    case IMAGE_TIFF:
    case IMAGE_NONE:
    case IMAGE_FORMATS:
        break;
    }
    return false;
}
