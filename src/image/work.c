/* work.c - from the bytes of an image to its results: looks at the header first, then reads and makes. */
#include "work.h"

#include "container.h"
#include "frames.h"
#include "mem.h"
#include "memory.h"
#include "save.h"
#include "setup.h"
#include "shape.h"
#include "watermark.h"

#include <inttypes.h>

struct image_tool {
    const struct image_spec *spec;
    VipsImage *marks[IMAGE_OUTPUTS_MAX]; /* of each output; NULL: none */
    uint64_t marks_bytes;                /* that they take */
};

/* One image under work. */
struct task {
    struct image_tool *tool;
    struct bytes body;
    enum image_format format;
    int width, height; /* of a frame, as stored */
    int pages;
    uint64_t pixels; /* of all frames */
    int orientation; /* of EXIF, 1 to 8 */
    bool profiled;   /* it has a colour profile of its own */
    bool inks;       /* CMYK: libvips scales it as sRGB */
};

/* ---- memory ---- */

#define BYTES_A_PIXEL 64 /* of the slowest writer, AVIF without loss, a bit less was seen */
/* Before its header is known: libvips has room for the largest WebP, a GiB, when it opens one, used or not. */
#define PIXELS_TO_OPEN (UINT64_C(1) << 24)

/* For the work on so many pixels, those of the largest result included. */
static void limit_memory(const struct task *task, uint64_t pixels) {
    uint64_t bytes = pixels < UINT64_MAX / BYTES_A_PIXEL / 2 ? pixels * BYTES_A_PIXEL : UINT64_MAX / 2;
    image_memory_limit(bytes + task->tool->marks_bytes + 4 * (uint64_t)task->body.n);
}

/* ---- what went wrong ---- */

static bool mentions(const char *words, const char *const *texts) {
    for (; *texts; texts++)
        if (strcasestr(words, *texts))
            return true;
    return false;
}

/* libheif has other words for memory that it does not get. */
static const char *hint(const struct task *task, bool is_cut) {
    bool heif = task->format == IMAGE_AVIF || task->format == IMAGE_HEIF;
    return heif && !is_cut && image_memory_is_bounded() ? " (or limit_memory is too little for it)" : "";
}

/* libvips was reading, or writing what it read at the same moment: its words tell which. */
static void blame(const struct task *task, enum image_format target, struct image_answer *answer) {
    static const char *const cut[] = {"premature",  "truncat", "unexpected end", "end of", "insufficient data",
                                      "not enough", NULL};
    /* A thread is not there for want of a stack. libheif's security limits are about the file. */
    static const char *const memory[] = {"out of memory",     "insufficient memory", "not enough memory",
                                         "memory allocation", "unable to allocate",  "cannot allocate",
                                         "no space for",      "creating thread",     NULL};
    static const char *const limits[] = {"security limit", NULL};
    static const char *const saving[] = {"save", NULL};
    /* of loaders that were asked and may not be used, which says nothing of the file */
    static const char *const unknown[] = {"operation is blocked", "not in a known format", NULL};
    char words[250];
    image_vips_words(words, sizeof words);
    const char *format = image_format_name(task->format);
    if (mentions(words, unknown))
        words[0] = '\0';
    if (mentions(words, saving)) {
        image_answer_fail(answer, true, "cannot be written as %s: %s", image_format_name(target), words);
    } else if (mentions(words, memory) && !mentions(words, limits)) {
        image_answer_fail(answer, false, "not enough memory: %s", words);
        answer->status = IMAGE_RETRY;
    } else {
        bool is_cut = mentions(words, cut) || image_is_cut(task->format, task->body);
        const char *between = words[0] ? ": " : is_cut ? "" : ", or truncated";
        image_answer_fail(answer, true, "%s %s%s%s%s", is_cut ? "truncated" : "damaged", format, between, words,
                          hint(task, is_cut));
    }
}

/* ---- before anything is decoded ---- */

/* Its brand names one decoder that is allowed; is it for that one? */
static int look_at_coding(const struct task *task, struct image_answer *answer) {
    if (task->format != IMAGE_AVIF && task->format != IMAGE_HEIF)
        return 0;
    unsigned others = image_codings(task->body) & ~task->tool->spec->loaders;
    if (!others)
        return 0;
    image_answer_fail(answer, true, "%s that is coded as %s, which is not among the loaders",
                      image_format_name(task->format),
                      image_format_name(others & 1u << IMAGE_AVIF ? IMAGE_AVIF : IMAGE_HEIF));
    return -1;
}

static int look_at_bytes(struct task *task, struct bytes key, struct image_answer *answer) {
    const struct image_spec *spec = task->tool->spec;
    if (task->body.n == 0) {
        image_answer_fail(answer, true, "not an image: the object is empty");
        return -1;
    }
    struct image_sniffed found = image_sniff(task->body);
    if (!found.what) {
        image_answer_fail(answer, true, "not an image: no format that is known here begins like this");
        return -1;
    }
    if (!(spec->loaders & 1u << found.format)) {
        image_answer_fail(answer, true, "%s, which is not among the loaders", found.what);
        return -1;
    }
    task->format = found.format;
    if (look_at_coding(task, answer) < 0)
        return -1;
    enum image_format promised = image_format_of_key(key);
    bool heif = (promised == IMAGE_HEIF && found.format == IMAGE_AVIF);
    if (promised != IMAGE_NONE && promised != found.format && !heif && !spec->any_extension) {
        image_answer_fail(answer, true,
                          "wrong extension: the key says %s, the object is %s (extension: ignore takes it)",
                          image_format_name(promised), found.what);
        return -1;
    }
    return 0;
}

static enum image_format target_of(const struct task *task, const struct image_output *output) {
    return output->format == IMAGE_NONE ? task->format : (enum image_format)output->format;
}

static bool wants_frames(const struct task *task, const struct image_output *output) {
    return output->frames == IMAGE_FRAMES_KEEP && image_format_animated(target_of(task, output)) &&
           (task->format == IMAGE_GIF || task->format == IMAGE_WEBP);
}

static bool any_wants_frames(const struct task *task) {
    const struct image_spec *spec = task->tool->spec;
    for (size_t i = 0; i < spec->n_outputs; i++)
        if (wants_frames(task, &spec->outputs[i]))
            return true;
    return false;
}

/* The header alone: libvips decodes nothing before it is asked for pixels. */
static int look_at_header(struct task *task, struct image_answer *answer) {
    uint64_t most = task->tool->spec->max_pixels;
    VipsImage *image =
        vips_image_new_from_buffer(task->body.p, task->body.n, any_wants_frames(task) ? "n=-1" : "", "access",
                                   VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_ERROR, NULL);
    if (!image) {
        blame(task, IMAGE_NONE, answer);
        return -1;
    }
    task->width = image->Xsize;
    task->height = vips_image_get_page_height(image);
    task->pages = image->Ysize / task->height;
    task->orientation = vips_image_get_orientation(image);
    task->profiled = vips_image_get_typeof(image, VIPS_META_ICC_NAME) != 0;
    task->inks = image->Type == VIPS_INTERPRETATION_CMYK;
    task->pixels = (uint64_t)image->Xsize * (uint64_t)image->Ysize;
    g_object_unref(image);
    if (task->pixels > most) {
        image_answer_fail(answer, true, "too many pixels: %dx%d%s%.0d%s are more than max_pixels, %" PRIu64,
                          task->width, task->height, task->pages > 1 ? " in " : "", task->pages > 1 ? task->pages : 0,
                          task->pages > 1 ? " frames" : "", most);
        return -1;
    }
    return 0;
}

static struct image_shape shape_of(const struct task *task, const struct image_output *output) {
    bool turned = output->autorotate && task->orientation >= 5;
    return image_shape_of(output, turned ? task->height : task->width, turned ? task->width : task->height);
}

static struct image_crop crop_of_frames(const struct task *task, const struct image_output *output) {
    bool turned = output->autorotate && task->orientation >= 5;
    return image_crop_of(output, turned ? task->height : task->width, turned ? task->width : task->height);
}

static uint64_t pixels_of_largest(const struct task *task) {
    const struct image_spec *spec = task->tool->spec;
    uint64_t largest = 0;
    for (size_t i = 0; i < spec->n_outputs; i++) {
        struct image_shape shape = shape_of(task, &spec->outputs[i]);
        uint64_t frames = wants_frames(task, &spec->outputs[i]) ? (uint64_t)task->pages : 1;
        /* Such a one is not made. */
        if (shape.uncut_pixels <= spec->max_pixels / frames && shape.uncut_pixels * frames > largest)
            largest = shape.uncut_pixels * frames;
    }
    return largest;
}

static int look_at_result(const struct task *task, const struct image_output *output, const struct image_shape *shape,
                          bool frames, struct image_answer *answer) {
    uint64_t most = task->tool->spec->max_pixels, n = frames ? (uint64_t)task->pages : 1;
    if (shape->pixels <= most / n && shape->uncut_pixels <= most / n)
        return 0;
    image_answer_fail(answer, true, "the result%s%s would have more than max_pixels, %" PRIu64 "%s",
                      output->name[0] ? " " : "", output->name, most,
                      shape->pixels <= most / n ? ", before it is cut" : "");
    return -1;
}

/* ---- making ---- */

static VipsInteresting crop_of(const struct image_shape *shape) {
    if (!shape->crop)
        return VIPS_INTERESTING_NONE;
    if (shape->attention || shape->entropy)
        return shape->attention ? VIPS_INTERESTING_ATTENTION : VIPS_INTERESTING_ENTROPY;
    return shape->low_high < 0   ? VIPS_INTERESTING_LOW
           : shape->low_high > 0 ? VIPS_INTERESTING_HIGH
                                 : VIPS_INTERESTING_CENTRE;
}

static int thumbnail(const struct task *task, const struct image_output *output, const struct image_shape *shape,
                     bool frames, VipsImage **ret_image) {
    VipsSize size = shape->exact ? VIPS_SIZE_FORCE : shape->down_only ? VIPS_SIZE_DOWN : VIPS_SIZE_BOTH;
    /* What has no profile is sRGB already; told to convert that too, libvips would shift its colours. A profile of inks
     * cannot be kept: not told to convert, libvips would do so all the same, and leave that profile on the result. */
    const char *profile = task->profiled && (!output->keep_icc || task->inks) ? "srgb" : NULL;
    /* It does not write there. `fail_on` is given to the loader, as what is given to vips_thumbnail_buffer does not
     * come as far in 8.14. */
    return vips_thumbnail_buffer((void *)(uintptr_t)task->body.p, task->body.n, ret_image, shape->width, "height",
                                 shape->height, "size", size, "crop", crop_of(shape), "no_rotate", !output->autorotate,
                                 "export_profile", profile, "option_string",
                                 frames ? "fail_on=error,n=-1" : "fail_on=error", NULL);
}

static int make(const struct task *task, size_t at, bool frames, VipsImage **ret_image, struct image_answer *answer) {
    const struct image_output *output = &task->tool->spec->outputs[at];
    struct image_shape shape = shape_of(task, output);
    if (look_at_result(task, output, &shape, frames, answer) < 0)
        return -1;
    struct image_crop crop = crop_of_frames(task, output);
    bool by_frame = frames && task->pages > 1 && shape.crop;
    if (by_frame) /* libvips would cut the strip of all frames */
        shape = (struct image_shape){.width = crop.scaled_width, .height = crop.scaled_height, .exact = true};
    VipsImage *image = NULL;
    int r = thumbnail(task, output, &shape, frames, &image);
    if (r == 0 && by_frame)
        r = frames_crop(&image, output, &crop);
    if (r == 0 && task->tool->marks[at])
        r = watermark_lay(&image, task->tool->marks[at], &output->watermark);
    if (r == 0) {
        *ret_image = image;
        return 0;
    }
    if (image)
        g_object_unref(image);
    blame(task, target_of(task, output), answer);
    return -1;
}

/* ---- several results ---- */

static bool same_mark(const struct image_watermark *a, const struct image_watermark *b) {
    if (!a->file || !b->file)
        return a->file == b->file;
    return strcmp(a->file, b->file) == 0 && a->position == b->position && !(a->opacity < b->opacity) &&
           !(a->opacity > b->opacity) && !(a->scale < b->scale) && !(a->scale > b->scale) && !(a->margin < b->margin) &&
           !(a->margin > b->margin);
}

/* Have they the same pixels before they are written? */
static bool same_pixels(const struct task *task, const struct image_output *a, const struct image_output *b) {
    return a->width == b->width && a->height == b->height && a->fit == b->fit && a->position == b->position &&
           a->enlarge == b->enlarge && a->autorotate == b->autorotate && a->keep_icc == b->keep_icc &&
           wants_frames(task, a) == wants_frames(task, b) && same_mark(&a->watermark, &b->watermark);
}

static int write_result(const struct task *task, size_t at, VipsImage *image, struct image_answer *answer) {
    const struct image_output *output = &task->tool->spec->outputs[at];
    enum image_format target = target_of(task, output);
    uint32_t most = image_format_side_max(target);
    if ((uint32_t)image->Xsize > most || (uint32_t)vips_image_get_page_height(image) > most) {
        image_answer_fail(answer, true, "cannot be written as %s: %dx%d pixels, where %" PRIu32 " are the most",
                          image_format_name(target), image->Xsize, vips_image_get_page_height(image), most);
        return -1;
    }
    void *data = NULL;
    size_t n = 0;
    if (image_save(image, target, output, &data, &n) != 0) {
        blame(task, target, answer);
        return -1;
    }
    /* In the spec's order, whatever order they are made in. */
    answer->parts[at] =
        (struct image_part){output->name, image_format_content_type(target), image_format_extension(target), data, n};
    return 0;
}

/* Before 8.16 libvips's writer of animated WebP forgets its encoder, some times the size of a frame, when reading fails
 * under it: one broken GIF after the other would fill memory. */
static bool is_read_before(const struct task *task, const struct image_output *output, VipsImage *image) {
    bool forgets = vips_version(0) < 8 || (vips_version(0) == 8 && vips_version(1) < 16);
    return forgets && target_of(task, output) == IMAGE_WEBP && vips_image_get_page_height(image) < image->Ysize;
}

/* All outputs that have the same pixels as this one; with several, the pixels are kept. */
static int make_group(const struct task *task, size_t first, bool *done, struct image_answer *answer) {
    const struct image_spec *spec = task->tool->spec;
    size_t n = 0;
    bool keep = false;
    VipsImage *image = NULL, *kept = NULL;
    if (make(task, first, wants_frames(task, &spec->outputs[first]), &image, answer) < 0)
        return -1;
    for (size_t i = first; i < spec->n_outputs; i++)
        if (same_pixels(task, &spec->outputs[first], &spec->outputs[i])) {
            n++;
            keep = keep || n > 1 || is_read_before(task, &spec->outputs[i], image);
        }
    int r = 0;
    if (keep) {
        kept = vips_image_copy_memory(image);
        if (!kept) {
            blame(task, IMAGE_NONE, answer);
            r = -1;
        }
    }
    for (size_t i = first; i < spec->n_outputs && r == 0; i++)
        if (same_pixels(task, &spec->outputs[first], &spec->outputs[i])) {
            done[i] = true;
            r = write_result(task, i, kept ? kept : image, answer);
        }
    /* The first not before the copy: what libvips 8.14 reads of HEIF's metadata ends with it, though the copy refers to
     * it. */
    g_clear_object(&kept);
    g_object_unref(image);
    return r;
}

static void make_all(const struct task *task, struct image_answer *answer) {
    size_t n = task->tool->spec->n_outputs;
    bool done[IMAGE_OUTPUTS_MAX] = {false};
    answer->n_parts = n; /* those that are not made yet have no data */
    for (size_t i = 0; i < n; i++)
        if (!done[i] && make_group(task, i, done, answer) < 0)
            return;
}

void image_work(struct image_tool *tool, struct bytes key, struct bytes body, struct image_answer *answer) {
    struct task task = {.tool = tool, .body = body};
    answer->free_data = g_free;
    vips_error_clear(); /* of mere warnings about the last one */
    if (look_at_bytes(&task, key, answer) < 0)
        return;
    limit_memory(&task, PIXELS_TO_OPEN);
    if (look_at_header(&task, answer) == 0) {
        limit_memory(&task, task.pixels + pixels_of_largest(&task));
        make_all(&task, answer);
    }
    image_memory_unlimit(); /* what comes next is froe's */
}

/* ---- the tool ---- */

static int check_formats(const struct image_spec *spec, struct err *err) {
    for (size_t i = 0; i < spec->n_outputs; i++) {
        enum image_format format = (enum image_format)spec->outputs[i].format;
        char words[200];
        if (format == IMAGE_NONE || image_vips_writes(format))
            continue;
        image_vips_words(words, sizeof words);
        return err_set(err, -EINVAL, "the libvips of this machine cannot write %s: %s", image_format_name(format),
                       words);
    }
    return 0;
}

static int load_mark(struct image_tool *tool, size_t at, struct err *err) {
    int r = watermark_load(&tool->spec->outputs[at].watermark, &tool->marks[at], err);
    if (r == 0)
        tool->marks_bytes += 4 * (uint64_t)tool->marks[at]->Xsize * (uint64_t)tool->marks[at]->Ysize;
    return r;
}

int image_tool_new(const struct image_spec *spec, struct image_tool **ret_tool, struct err *err) {
    struct image_tool *tool = mem_zalloc(sizeof *tool);
    if (!tool)
        return err_set(err, -ENOMEM, "out of memory");
    tool->spec = spec;
    int r = image_vips_begin(err);
    for (size_t i = 0; i < spec->n_outputs && r == 0; i++)
        if (spec->outputs[i].watermark.file)
            r = load_mark(tool, i, err);
    if (r == 0)
        r = check_formats(spec, err);
    if (r < 0) {
        image_tool_free(tool);
        return r;
    }
    image_vips_allow(spec->loaders);
    *ret_tool = tool;
    return 0;
}

void image_tool_free(struct image_tool *tool) {
    if (!tool)
        return;
    for (size_t i = 0; i < IMAGE_OUTPUTS_MAX; i++)
        if (tool->marks[i])
            g_object_unref(tool->marks[i]);
    mem_free(tool);
}

json_t *image_formats(void) {
    struct err err = {0};
    if (image_vips_begin(&err) < 0)
        return NULL;
    json_t *read = json_array(), *written = json_array();
    for (int f = IMAGE_NONE + 1; f < IMAGE_FORMATS; f++) {
        const char *name = image_format_name((enum image_format)f);
        if (image_vips_reads((enum image_format)f))
            json_array_append_new(read, json_string(name));
        if (image_vips_writes((enum image_format)f))
            json_array_append_new(written, json_string(name));
    }
    vips_error_clear();
    return json_pack("{s:s,s:o,s:o}", "libvips", vips_version_string(), "read", read, "write", written);
}
