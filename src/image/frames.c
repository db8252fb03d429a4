/* frames.c - see frames.h. */
#include "frames.h"

static int look(VipsImage *image, const struct image_output *output, struct image_crop *crop) {
    VipsImage *first = NULL, *cut = NULL;
    VipsInteresting how = output->position == IMAGE_ATTENTION ? VIPS_INTERESTING_ATTENTION : VIPS_INTERESTING_ENTROPY;
    int r = vips_extract_area(image, &first, 0, 0, crop->scaled_width, crop->scaled_height, NULL);
    if (r == 0)
        r = vips_smartcrop(first, &cut, crop->width, crop->height, "interesting", how, NULL);
    if (r == 0) { /* which tells by them what it has cut off */
        crop->left = -cut->Xoffset;
        crop->top = -cut->Yoffset;
    }
    g_clear_object(&cut);
    g_clear_object(&first);
    return r;
}

static int cut_frames(VipsImage *image, const struct image_crop *crop, VipsImage **frames, int n) {
    for (int i = 0; i < n; i++)
        if (vips_extract_area(image, &frames[i], crop->left, crop->top + i * crop->scaled_height, crop->width,
                              crop->height, NULL) != 0)
            return -1;
    return 0;
}

static int join(VipsImage **frames, int n, int height, VipsImage **ret_image) {
    VipsImage *joined = NULL;
    if (vips_arrayjoin(frames, &joined, n, "across", 1, NULL) != 0)
        return -1;
    int r = vips_copy(joined, ret_image, NULL);
    g_object_unref(joined);
    if (r == 0)
        vips_image_set_int(*ret_image, VIPS_META_PAGE_HEIGHT, height);
    return r;
}

int frames_crop(VipsImage **image, const struct image_output *output, const struct image_crop *crop) {
    struct image_crop place = *crop;
    VipsImage *kept = vips_image_copy_memory(*image), *joined = NULL;
    if (!kept)
        return -1;
    int n = kept->Ysize / crop->scaled_height, r = n > 0 ? 0 : -1;
    VipsImage **frames = g_new0(VipsImage *, (gsize)n + 1);
    if (r == 0 && (output->position == IMAGE_ATTENTION || output->position == IMAGE_ENTROPY))
        r = look(kept, output, &place);
    if (r == 0)
        r = cut_frames(kept, &place, frames, n);
    if (r == 0)
        r = join(frames, n, crop->height, &joined);
    for (int i = 0; i < n; i++)
        g_clear_object(&frames[i]);
    g_free(frames);
    g_object_unref(kept);
    if (r != 0)
        return -1;
    g_object_unref(*image);
    *image = joined;
    return 0;
}
