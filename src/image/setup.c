/* setup.c - see setup.h. */
#include "setup.h"

#include "save.h"

static const char *const loader_classes[] = {
    [IMAGE_NONE] = NULL,
    [IMAGE_JPEG] = "VipsForeignLoadJpeg",
    [IMAGE_PNG] = "VipsForeignLoadPng",
    [IMAGE_WEBP] = "VipsForeignLoadWebp",
    [IMAGE_GIF] = "VipsForeignLoadNsgif",
    [IMAGE_TIFF] = "VipsForeignLoadTiff",
    [IMAGE_AVIF] = "VipsForeignLoadHeif",
    [IMAGE_HEIF] = "VipsForeignLoadHeif",
};

/* What went wrong is in an answer; what libraries mutter about files that they read all the same helps nobody. */
static void be_silent(const char *domain, GLogLevelFlags level, const char *message, gpointer arg) {
}

int image_vips_begin(struct err *err) {
    g_log_set_default_handler(be_silent, NULL);
    if (VIPS_INIT("froe-image") != 0) {
        char words[300];
        image_vips_words(words, sizeof words);
        return err_set(err, -EINVAL, "libvips cannot be begun: %s", words);
    }
    vips_concurrency_set(1); /* as many workers as cores: each has one */
    vips_cache_set_max(0);
    vips_cache_set_max_mem(0);
    vips_cache_set_max_files(0);
    vips_block_untrusted_set(TRUE);
    return 0;
}

void image_vips_allow(unsigned loaders) {
    vips_operation_block_set("VipsForeignLoad", TRUE);
    for (int f = IMAGE_NONE + 1; f < IMAGE_FORMATS; f++)
        if (loaders & (1u << f))
            vips_operation_block_set(loader_classes[f], FALSE);
}

bool image_vips_reads(enum image_format format) {
    return g_type_from_name(loader_classes[format]) != 0;
}

bool image_vips_writes(enum image_format format) {
    VipsImage *image = NULL;
    void *data = NULL;
    size_t n = 0;
    struct image_output output = {0};
    bool can = vips_black(&image, 16, 16, "bands", 3, NULL) == 0;
    if (can) {
        image->Type = VIPS_INTERPRETATION_sRGB;
        can = image_save(image, format, &output, &data, &n) == 0;
        g_free(data);
        g_object_unref(image);
    }
    return can;
}

/* What it says of each look past the end of a file tells nobody anything. */
static bool is_noise(struct bytes line) {
    return line.n == 0 || bytes_starts(line, BYTES("source: bad seek"));
}

void image_vips_words(char *words, size_t size) {
    size_t n = 0;
    words[0] = '\0';
    for (const char *at = vips_error_buffer(); *at && n < size;) {
        struct bytes line = bytes_of(at, strcspn(at, "\n"));
        if (!is_noise(line))
            n += (size_t)snprintf(words + n, size - n, "%s%.*s", n ? "; " : "", (int)line.n, line.p);
        at += line.n + (at[line.n] == '\n');
    }
    char *echo = strstr(words, "vips2"); /* a writer's word that it was not given all to write */
    if (echo && strstr(echo, "unable to write to target"))
        *echo = '\0';
    for (n = strlen(words); n > 0 && strchr("; ", words[n - 1]); n--)
        words[n - 1] = '\0';
    vips_error_clear();
}
