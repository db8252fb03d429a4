/* Any bytes are a specification that keeps its limits, or are refused in words; the same bytes are recognised, or not,
 * as an image without looking past their end. */
#include "spec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static void look(const struct image_output *output) {
    MUST(strlen(output->name) <= IMAGE_NAME_MAX && output->width <= IMAGE_SIDE_MAX && output->height <= IMAGE_SIDE_MAX);
    MUST(output->quality <= 100 && output->background <= 0xffffff);
    MUST(output->format >= IMAGE_NONE && output->format < IMAGE_FORMATS);
    MUST(output->fit == IMAGE_FIT_INSIDE || (output->width && output->height));
    if (output->watermark.file)
        MUST(output->watermark.opacity >= 0 && output->watermark.opacity <= 1 && output->watermark.scale > 0 &&
             output->watermark.scale <= 1 && output->watermark.position < IMAGE_ATTENTION);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct image_spec *spec;
    struct err err = {0};
    struct bytes bytes = bytes_of(data, size);
    struct image_sniffed found = image_sniff(bytes);
    MUST(found.format == IMAGE_NONE || found.what);
    image_format_of_key(bytes);
    int r = image_spec_parse(bytes, &spec, &err);
    if (r < 0) {
        MUST(r == -EINVAL && err.text[0]);
        return 0;
    }
    MUST(spec->n_outputs >= 1 && spec->n_outputs <= IMAGE_OUTPUTS_MAX && spec->loaders && spec->max_pixels >= 1);
    for (size_t i = 0; i < spec->n_outputs; i++)
        look(&spec->outputs[i]);
    image_spec_free(spec);
    return 0;
}
