/* watermark.c - see watermark.h. */
#include "watermark.h"

#include "setup.h"

static void replace(VipsImage **image, VipsImage *other) {
    g_object_unref(*image);
    *image = other;
}

/* sRGB with transparency, 8 bits. */
static int to_rgba(VipsImage **image) {
    VipsImage *next = NULL;
    if (vips_colourspace(*image, &next, VIPS_INTERPRETATION_sRGB, NULL) != 0)
        return -1;
    replace(image, next);
    if (!vips_image_hasalpha(*image)) {
        if (vips_addalpha(*image, &next, NULL) != 0)
            return -1;
        replace(image, next);
    }
    if (vips_cast_uchar(*image, &next, NULL) != 0)
        return -1;
    replace(image, next);
    return 0;
}

static int fade(VipsImage **image, double opacity) {
    double factors[] = {1, 1, 1, opacity}, offsets[] = {0, 0, 0, 0};
    VipsImage *next = NULL;
    if (vips_linear(*image, &next, factors, offsets, 4, "uchar", TRUE, NULL) != 0)
        return -1;
    replace(image, next);
    next = vips_image_copy_memory(*image);
    if (!next)
        return -1;
    replace(image, next);
    return 0;
}

int watermark_load(const struct image_watermark *watermark, VipsImage **ret_mark, struct err *err) {
    VipsImage *mark = vips_image_new_from_file(watermark->file, NULL);
    if (!mark || to_rgba(&mark) != 0 || fade(&mark, watermark->opacity) != 0) {
        char words[300];
        image_vips_words(words, sizeof words);
        g_clear_object(&mark);
        return err_set(err, -EINVAL, "the watermark cannot be read: %s", words);
    }
    *ret_mark = mark;
    return 0;
}

static int along(int all, int part, int margin, int low_high) {
    int at = low_high < 0 ? margin : low_high > 0 ? all - part - margin : (all - part) / 2;
    return at < 0 ? 0 : at;
}

/* As large as a frame, transparent but for the mark in its place. */
static int place(VipsImage *mark, const struct image_watermark *watermark, int width, int height,
                 VipsImage **ret_layer) {
    static const int x[] = {0, 0, 0, -1, 1, -1, 1, -1, 1}, y[] = {0, -1, 1, 0, 0, -1, -1, 1, 1};
    VipsImage *scaled = NULL;
    int margin = (int)(watermark->margin * width), wanted = (int)(watermark->scale * width + 0.5);
    if (vips_thumbnail_image(mark, &scaled, wanted > 0 ? wanted : 1, "height", height, NULL) != 0)
        return -1;
    int r = vips_embed(scaled, ret_layer, along(width, scaled->Xsize, margin, x[watermark->position]),
                       along(height, scaled->Ysize, margin, y[watermark->position]), width, height, NULL);
    g_object_unref(scaled);
    return r;
}

static int lay(VipsImage *image, VipsImage *layer, VipsImage **ret_image) {
    VipsImage *over = NULL, *bytes = NULL;
    if (vips_composite2(image, layer, &over, VIPS_BLEND_MODE_OVER, NULL) != 0)
        return -1;
    int r = vips_cast_uchar(over, &bytes, NULL);
    g_object_unref(over);
    if (r != 0)
        return -1;
    if (vips_image_hasalpha(image)) {
        *ret_image = bytes;
        return 0;
    }
    r = vips_extract_band(bytes, ret_image, 0, "n", bytes->Bands - 1, NULL);
    g_object_unref(bytes);
    return r;
}

int watermark_lay(VipsImage **image, VipsImage *mark, const struct image_watermark *watermark) {
    VipsImage *base = NULL, *layer = NULL, *layers = NULL, *laid = NULL;
    int height = vips_image_get_page_height(*image), n = (*image)->Ysize / height;
    int r = vips_colourspace(*image, &base, VIPS_INTERPRETATION_sRGB, NULL);
    if (r == 0)
        r = place(mark, watermark, base->Xsize, height, &layer);
    if (r == 0)
        r = vips_replicate(layer, &layers, 1, n, NULL);
    if (r == 0)
        r = lay(base, layers, &laid);
    g_clear_object(&layers);
    g_clear_object(&layer);
    g_clear_object(&base);
    if (r == 0)
        replace(image, laid);
    return r;
}
