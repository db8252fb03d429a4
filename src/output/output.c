/* output.c - outputs as they are configured, and the object that results are of. */
#include "output_private.h"

#include "mem.h"

static int copy_text(const char *text, char **ret_text) {
    *ret_text = text ? mem_strdup(text) : NULL;
    return text && !*ret_text ? -ENOMEM : 0;
}

static int fill(struct output *output, const struct output_options *options, struct err *err) {
    bool s3 = options->bucket != NULL;
    const char *place = s3 ? options->bucket : options->directory;
    output->copy_metadata = options->copy_metadata;
    output->copy_tags = options->copy_tags;
    output->part_bytes = options->part_bytes ? options->part_bytes : (uint64_t)S3_PART_BYTES;
    int r = key_template_compile(bytes_str(options->key), true, &output->key, err);
    if (r < 0)
        return r;
    if (copy_text(place, &output->place) < 0 || copy_text(options->content_type, &output->content_type) < 0 ||
        copy_text(options->storage_class, &output->storage_class) < 0 ||
        buf_printf(&output->described, "%s%s%s%s", s3 ? "s3://" : "", place,
                   bytes_ends(bytes_str(place), BYTES("/")) ? "" : "/", options->key) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    return 0;
}

int output_new(const struct output_options *options, struct s3_client *s3, struct output **ret_output,
               struct err *err) {
    struct output *output = mem_zalloc(sizeof *output);
    if (!output)
        return err_set(err, -ENOMEM, "out of memory");
    output->s3 = s3;
    int r = fill(output, options, err);
    if (r < 0) {
        output_free(output);
        return r;
    }
    *ret_output = output;
    return 0;
}

void output_free(struct output *output) {
    if (!output)
        return;
    key_template_free(output->key);
    mem_free(output->place);
    mem_free(output->content_type);
    mem_free(output->storage_class);
    buf_free(&output->described);
    mem_free(output);
}

bool outputs_want_metadata(const struct output *const *outputs, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (outputs[i]->copy_metadata)
            return true;
    return false;
}

/* ---- the object ---- */

static struct bytes put(char **at, struct bytes text) {
    if (text.n)
        memcpy(*at, text.p, text.n);
    struct bytes copy = bytes_of(*at, text.n);
    *at += text.n;
    return copy;
}

struct output_source *output_source_copy(const struct output_source *source) {
    const struct key_object *object = &source->object;
    size_t n = object->bucket.n + object->key.n + object->etag.n + object->version_id.n;
    for (size_t i = 0; i < source->n_metadata; i++)
        n += source->metadata[i].name.n + source->metadata[i].value.n;
    struct output_source *copy = mem_alloc(sizeof *copy + source->n_metadata * sizeof *copy->metadata + n);
    if (!copy)
        return NULL;
    struct s3_header *metadata = (struct s3_header *)(void *)(copy + 1);
    char *at = (char *)(metadata + source->n_metadata);
    *copy = (struct output_source){
        .object = {.bucket = put(&at, object->bucket),
                   .key = put(&at, object->key),
                   .etag = put(&at, object->etag),
                   .version_id = put(&at, object->version_id),
                   .modified_utc_us = object->modified_utc_us},
        .metadata = metadata,
        .n_metadata = source->n_metadata,
    };
    for (size_t i = 0; i < source->n_metadata; i++)
        metadata[i] = (struct s3_header){put(&at, source->metadata[i].name), put(&at, source->metadata[i].value)};
    return copy;
}
