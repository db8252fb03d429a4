/* save.c - see save.h. Where the spec is silent libvips's own defaults hold. */
#include "save.h"

#define QUALITY_DEFAULT 75      /* libvips's for jpeg and webp */
#define QUALITY_DEFAULT_HEIF 50 /* and for heif */

/* Texts and data, whatever they are called: EXIF, XMP, comments, descriptions. What an image needs are numbers. */
static void *note_personal(VipsImage *image, const char *name, GValue *value, void *arg) {
    GType type = G_VALUE_TYPE(value);
    bool words = type == VIPS_TYPE_REF_STRING || type == VIPS_TYPE_BLOB || type == G_TYPE_STRING;
    if (words && strcmp(name, VIPS_META_ICC_NAME) != 0)
        *(GSList **)arg = g_slist_prepend(*(GSList **)arg, g_strdup(name));
    return NULL;
}

/* All but the profile, which the colours depend on. */
static void remove_personal(VipsImage *image) {
    GSList *names = NULL;
    vips_image_map(image, note_personal, &names);
    for (const GSList *name = names; name; name = name->next)
        vips_image_remove(image, name->data);
    g_slist_free_full(names, g_free);
}

static int flatten(VipsImage *image, uint32_t colour, VipsImage **ret_image) {
    double background[] = {colour >> 16 & 0xff, colour >> 8 & 0xff, colour & 0xff};
    double grey[] = {0.299 * background[0] + 0.587 * background[1] + 0.114 * background[2]};
    bool is_grey = image->Bands < 3;
    VipsArrayDouble *array = vips_array_double_new(is_grey ? grey : background, is_grey ? 1 : 3);
    int r = vips_flatten(image, ret_image, "background", array, NULL);
    vips_area_unref(VIPS_AREA(array));
    return r;
}

/* Its own, so that what is taken out of it is not taken out of what others are made of. */
static int prepare(VipsImage *image, enum image_format format, const struct image_output *output,
                   VipsImage **ret_image) {
    if (format == IMAGE_JPEG && vips_image_hasalpha(image))
        return flatten(image, output->background, ret_image);
    return vips_copy(image, ret_image, NULL);
}

static int write_as(VipsImage *image, enum image_format format, const struct image_output *output, bool strip,
                    void **data, size_t *n) {
    int quality = output->quality ? (int)output->quality : QUALITY_DEFAULT;
    int heif = output->quality ? (int)output->quality : QUALITY_DEFAULT_HEIF;
    switch (format) {
    case IMAGE_JPEG:
        return vips_jpegsave_buffer(image, data, n, "Q", quality, "strip", strip, NULL);
    case IMAGE_PNG:
        return vips_pngsave_buffer(image, data, n, "strip", strip, NULL);
    case IMAGE_WEBP:
        return vips_webpsave_buffer(image, data, n, "Q", quality, "lossless", output->lossless, "strip", strip, NULL);
    case IMAGE_GIF:
        return vips_gifsave_buffer(image, data, n, "strip", strip, NULL);
    case IMAGE_TIFF:
        return vips_tiffsave_buffer(image, data, n, "compression", VIPS_FOREIGN_TIFF_COMPRESSION_DEFLATE, "predictor",
                                    VIPS_FOREIGN_TIFF_PREDICTOR_HORIZONTAL, "strip", strip, NULL);
    case IMAGE_AVIF:
    case IMAGE_HEIF:
        return vips_heifsave_buffer(
            image, data, n, "Q", heif, "lossless", output->lossless, "strip", strip, "bitdepth", 8, "compression",
            format == IMAGE_AVIF ? VIPS_FOREIGN_HEIF_COMPRESSION_AV1 : VIPS_FOREIGN_HEIF_COMPRESSION_HEVC, NULL);
    case IMAGE_NONE:
    case IMAGE_FORMATS:
        break;
    }
    return -1;
}

int image_save(VipsImage *image, enum image_format format, const struct image_output *output, void **ret_data,
               size_t *ret_n) {
    VipsImage *prepared = NULL;
    if (prepare(image, format, output, &prepared) != 0)
        return -1;
    if (!output->keep_metadata && output->keep_icc)
        remove_personal(prepared);
    int r = write_as(prepared, format, output, !output->keep_metadata && !output->keep_icc, ret_data, ret_n);
    g_object_unref(prepared);
    return r;
}
