/* spec.c - reading a spec by the table of its keys. */
#include "spec.h"

#include "mem.h"
#include "nearest.h"
#include "spec_keys.h"
#include "text.h"

#define LOADERS_DEFAULT                                                                                              \
    (1u << IMAGE_JPEG | 1u << IMAGE_PNG | 1u << IMAGE_WEBP | 1u << IMAGE_GIF | 1u << IMAGE_TIFF | 1u << IMAGE_AVIF | \
     1u << IMAGE_HEIF)

struct reading {
    struct image_spec *spec;
    struct image_place *place;
    struct err *err;
};

#define refuse(reading, ...) err_set((reading)->err, -EINVAL, __VA_ARGS__)

/* ---- the place ---- */

static size_t enter(struct reading *reading, const char *key) {
    char *path = reading->place->path;
    size_t before = strlen(path), room = sizeof reading->place->path;
    snprintf(path + before, room - before, "%s%.60s", before ? "/" : "", key);
    return before;
}

/* After success only: an error leaves the place where it was. */
static void leave(struct reading *reading, size_t before) {
    reading->place->path[before] = '\0';
}

/* ---- values ---- */

static const char *what(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "a mapping";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a text";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "nothing";
}

static struct bytes text_of(const json_t *value) {
    return bytes_of(json_string_value(value), json_string_length(value));
}

static int take_number(struct reading *reading, const struct image_key *key, const json_t *value, void *place) {
    if (!json_is_integer(value))
        return refuse(reading, "%s is a number, without quotes, not %s", key->name, what(value));
    double number = (double)json_integer_value(value);
    if (number < key->least || number > key->most)
        return refuse(reading, "%s is from %.0f to %.0f, not %.0f", key->name, key->least, key->most, number);
    if (key->kind == KEY_NUMBER)
        *(uint32_t *)place = (uint32_t)json_integer_value(value);
    else
        *(uint64_t *)place = (uint64_t)json_integer_value(value);
    return 0;
}

static int take_fraction(struct reading *reading, const struct image_key *key, const json_t *value, double *place) {
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= key->least && number <= key->most))
        return refuse(reading, "%s is a number from %g to %g, without quotes", key->name, key->least, key->most);
    *place = number;
    return 0;
}

static void list_words(const struct image_word *words, char *list, size_t size) {
    size_t n = 0;
    for (const struct image_word *word = words; word->word && n < size; word++)
        n += (size_t)snprintf(list + n, size - n, "%s%s", n ? ", " : "", word->word);
}

static int take_word(struct reading *reading, const struct image_key *key, const json_t *value, void *place) {
    char list[200] = "";
    struct nearest nearest = {.name = text_of(value)};
    for (const struct image_word *word = key->words; word->word; word++) {
        if (bytes_equal(nearest.name, bytes_str(word->word))) {
            if (key->size == sizeof(bool))
                *(bool *)place = word->value != 0;
            else
                *(int *)place = word->value;
            return 0;
        }
        nearest_offer(&nearest, word->word);
    }
    list_words(key->words, list, sizeof list);
    if (!json_is_string(value))
        return refuse(reading, "%s is one of %s, not %s", key->name, list, what(value));
    return refuse(reading, "%s: '%.60s' is none of %s%s%s%s", key->name, nearest.name.p, list,
                  nearest.found ? "; did you mean " : "", nearest.found ? nearest.found : "", nearest.found ? "?" : "");
}

static int take_flag(struct reading *reading, const struct image_key *key, const json_t *value, bool *place) {
    if (!json_is_boolean(value))
        return refuse(reading, "%s is true or false, not %s", key->name, what(value));
    *place = json_is_true(value);
    return 0;
}

/* A name becomes a part of keys and of the protocol's lines. */
static bool is_name(struct bytes text) {
    for (size_t i = 0; i < text.n; i++)
        if (!((text.p[i] >= 'a' && text.p[i] <= 'z') || (text.p[i] >= '0' && text.p[i] <= '9') || text.p[i] == '-' ||
              text.p[i] == '_'))
            return false;
    return true;
}

static int take_text(struct reading *reading, const struct image_key *key, const json_t *value, const char **place) {
    struct bytes text = text_of(value);
    if (!json_is_string(value))
        return refuse(reading, "%s is a text, not %s%s", key->name, what(value),
                      json_is_number(value) || json_is_boolean(value) ? "; write it in quotes" : "");
    if (text.n == 0 || text.n > (size_t)key->most)
        return refuse(reading, "%s is %s", key->name, text.n ? "too long" : "empty");
    if (key->kind == KEY_NAME ? !is_name(text) : memchr(text.p, '\0', text.n) != NULL)
        return refuse(reading, "%s: '%.64s' may only have small letters, digits, '-' and '_'", key->name, text.p);
    *place = text.p;
    return 0;
}

static int take_colour(struct reading *reading, const struct image_key *key, const json_t *value, uint32_t *place) {
    struct bytes text = text_of(value);
    static const char digits[] = "0123456789abcdef";
    uint32_t colour = 0;
    bool fine = text.n == 7 && text.p[0] == '#';
    for (size_t i = 1; fine && i < text.n; i++) {
        char c = text.p[i] >= 'A' && text.p[i] <= 'F' ? (char)(text.p[i] - 'A' + 'a') : text.p[i];
        const char *digit = c ? strchr(digits, c) : NULL;
        fine = digit != NULL;
        colour = colour << 4 | (uint32_t)(fine ? digit - digits : 0);
    }
    if (!fine)
        return refuse(reading, "%s is a colour in quotes, as in \"#ffffff\"", key->name);
    *place = colour;
    return 0;
}

static int take_size(struct reading *reading, const struct image_key *key, const json_t *value, uint64_t *place) {
    uint64_t bytes = 0;
    int r = -EINVAL;
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        bytes = (uint64_t)json_integer_value(value);
        r = 0;
    } else if (json_is_string(value)) {
        r = text_parse_size(text_of(value), &bytes);
    }
    if (r < 0 || (double)bytes < key->least || (double)bytes > key->most)
        return refuse(reading, "%s is a size, as in 64MiB, and at most 1TB", key->name);
    *place = bytes;
    return 0;
}

static int take_time(struct reading *reading, const struct image_key *key, const json_t *value, int64_t *place) {
    int64_t us = 0;
    if (!json_is_string(value) || text_parse_duration(text_of(value), &us) < 0 || (double)us < key->least ||
        (double)us > key->most)
        return refuse(reading, "%s is a time from 1ms to 24h, as in 30s", key->name);
    *place = us;
    return 0;
}

static int take_loader(struct reading *reading, const json_t *value, unsigned *loaders) {
    struct nearest nearest = {.name = text_of(value)};
    for (int f = IMAGE_NONE + 1; f < IMAGE_FORMATS; f++) {
        const char *name = image_format_name((enum image_format)f);
        if (bytes_equal(nearest.name, bytes_str(name))) {
            *loaders |= 1u << f;
            return 0;
        }
        nearest_offer(&nearest, name);
    }
    if (nearest.distance > 1) /* svg is not meant to be png */
        nearest.found = NULL;
    if (!json_is_string(value))
        return refuse(reading, "loaders are names of formats, not %s", what(value));
    return refuse(reading,
                  "loaders: '%.40s' is none of jpeg, png, webp, gif, tiff, avif, heif%s%s%s; what libvips itself calls "
                  "unsafe for files of strangers (svg, pdf, magick ...) is never read",
                  nearest.name.p, nearest.found ? ", did you mean " : "", nearest.found ? nearest.found : "",
                  nearest.found ? "?" : "");
}

static int take_loaders(struct reading *reading, const struct image_key *key, const json_t *value, unsigned *place) {
    unsigned loaders = 0;
    if (!json_is_array(value) || json_array_size(value) == 0 || json_array_size(value) >= IMAGE_FORMATS)
        return refuse(reading, "%s is a list of formats, as in [jpeg, png]", key->name);
    for (size_t i = 0; i < json_array_size(value); i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        size_t before = enter(reading, index);
        int r = take_loader(reading, json_array_get(value, i), &loaders);
        if (r < 0)
            return r;
        leave(reading, before);
    }
    *place = loaders;
    return 0;
}

/* ---- mappings ---- */

static int take_mapping(struct reading *reading, unsigned of, const char *where, json_t *mapping, void *spec,
                        void *output);

static int take_mark(struct reading *reading, json_t *value, struct image_watermark *mark) {
    *mark = (struct image_watermark){.position = IMAGE_BOTTOM_RIGHT, .opacity = 1, .scale = 0.2, .margin = 0.02};
    int r = take_mapping(reading, OF_MARK, " of a watermark", value, mark, NULL);
    if (r < 0)
        return r;
    if (!mark->file)
        return refuse(reading, "a watermark needs its file");
    if (mark->position >= IMAGE_ATTENTION)
        return refuse(reading, "a watermark has a place, as in bottom-right: attention and entropy are for crops");
    return 0;
}

static int take(struct reading *reading, const struct image_key *key, json_t *value, void *base) {
    void *place = (char *)base + key->offset;
    switch (key->kind) {
    case KEY_NUMBER:
    case KEY_BIG:
        return take_number(reading, key, value, place);
    case KEY_FRACTION:
        return take_fraction(reading, key, value, place);
    case KEY_WORD:
        return take_word(reading, key, value, place);
    case KEY_FLAG:
        return take_flag(reading, key, value, place);
    case KEY_FILE:
    case KEY_NAME:
        return take_text(reading, key, value, place);
    case KEY_COLOUR:
        return take_colour(reading, key, value, place);
    case KEY_SIZE:
        return take_size(reading, key, value, place);
    case KEY_TIME:
        return take_time(reading, key, value, place);
    case KEY_LOADERS:
        return take_loaders(reading, key, value, place);
    case KEY_MARK:
        return take_mark(reading, value, place);
    case KEY_OUTPUTS:
        break; /* when all else is known, see take_outputs */
    }
    return 0;
}

static const struct image_key *find(struct bytes name, unsigned of, struct nearest *nearest) {
    for (size_t i = 0; i < n_image_keys; i++) {
        if (!(image_keys[i].of & of))
            continue;
        if (bytes_equal(name, bytes_str(image_keys[i].name)))
            return &image_keys[i];
        nearest_offer(nearest, image_keys[i].name);
    }
    return NULL;
}

/* `first` is where the mapping's own values go, `output` where those of an output go. */
static int take_mapping(struct reading *reading, unsigned of, const char *where, json_t *mapping, void *first,
                        void *output) {
    const char *name;
    json_t *value;
    if (!json_is_object(mapping))
        return refuse(reading, "this is a mapping, as in {width: 512}, not %s", what(mapping));
    json_object_foreach(mapping, name, value) {
        struct nearest nearest = {.name = bytes_str(name)};
        const struct image_key *key = find(nearest.name, of, &nearest);
        size_t before = enter(reading, name);
        if (!key) {
            reading->place->key = true;
            return refuse(reading, "unknown key '%.60s'%s%s%s%s", name, where, nearest.found ? "; did you mean " : "",
                          nearest.found ? nearest.found : "", nearest.found ? "?" : "");
        }
        int r = take(reading, key, value, (key->of & OF_OUTPUT) ? output : first);
        if (r < 0)
            return r;
        leave(reading, before);
    }
    return 0;
}

/* ---- what goes together ---- */

/* Is the key given in the output itself? What all outputs share need not fit each. */
static int refuse_key(struct reading *reading, const json_t *mapping, const char *key, const char *text) {
    if (!json_object_get(mapping, key))
        return 0;
    enter(reading, key);
    return refuse(reading, "%s", text);
}

static int check_size(struct reading *reading, const json_t *mapping, const struct image_output *output) {
    bool sized = output->width || output->height, both = output->width && output->height;
    int r = 0;
    if (output->fit != IMAGE_FIT_INSIDE && !both)
        return refuse(reading, "fit: %s needs a width and a height", output->fit == IMAGE_FIT_COVER ? "cover" : "fill");
    if (output->fit != IMAGE_FIT_COVER)
        r = refuse_key(reading, mapping, "position", "position is for fit: cover, as nothing else cuts anything off");
    if (r == 0 && !sized && output->enlarge)
        r = refuse_key(reading, mapping, "enlarge", "enlarge needs a width or a height");
    if (r == 0 && output->fit == IMAGE_FIT_FILL && !output->enlarge)
        r = refuse_key(reading, mapping, "enlarge", "fit: fill has exactly the size that is asked for, so it enlarges");
    return r;
}

static int check_format(struct reading *reading, const json_t *mapping, const struct image_output *output) {
    enum image_format format = (enum image_format)output->format;
    char text[120];
    uint32_t most = image_format_side_max(format);
    if (output->width > most || output->height > most)
        return refuse(reading, "%s holds at most %u pixels in one direction", image_format_name(format), most);
    snprintf(text, sizeof text, "%s has no quality", image_format_name(format));
    int r = image_format_lossy(format) ? 0 : refuse_key(reading, mapping, "quality", text);
    snprintf(text, sizeof text, "%s cannot be made %s", image_format_name(format), "lossless by an option");
    if (r == 0 && !image_format_may_be_lossless(format))
        r = refuse_key(reading, mapping, "lossless", text);
    if (r == 0 && output->lossless)
        r = refuse_key(reading, mapping, "quality", "quality and lossless exclude each other");
    return r;
}

static int check_output(struct reading *reading, const json_t *mapping, const struct image_output *output) {
    int r = check_size(reading, mapping, output);
    return r < 0 ? r : check_format(reading, mapping, output);
}

static int take_output(struct reading *reading, json_t *mapping, const struct image_output *common, size_t at) {
    struct image_spec *spec = reading->spec;
    struct image_output *output = &spec->outputs[at];
    *output = *common;
    int r = take_mapping(reading, OF_OUTPUT, " of an output", mapping, NULL, output);
    if (r < 0)
        return r;
    if (!output->name[0])
        return refuse(reading, "an output in a list needs a name");
    for (size_t i = 0; i < at; i++)
        if (strcmp(spec->outputs[i].name, output->name) == 0) {
            enter(reading, "name");
            return refuse(reading, "two outputs are called '%s'", output->name);
        }
    return check_output(reading, mapping, output);
}

static int take_outputs(struct reading *reading, json_t *json, const struct image_output *common) {
    struct image_spec *spec = reading->spec;
    json_t *list = json_object_get(json, "outputs");
    if (!list) {
        spec->outputs[0] = *common;
        spec->n_outputs = 1;
        return check_output(reading, json, common);
    }
    size_t before = enter(reading, "outputs"), n = json_array_size(list);
    if (!json_is_array(list) || n == 0 || n > IMAGE_OUTPUTS_MAX)
        return refuse(reading, "outputs are a list of 1 to %d mappings", IMAGE_OUTPUTS_MAX);
    for (size_t i = 0; i < n; i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        size_t here = enter(reading, index);
        int r = take_output(reading, json_array_get(list, i), common, i);
        if (r < 0)
            return r;
        leave(reading, here);
        spec->n_outputs++;
    }
    leave(reading, before);
    return 0;
}

int image_spec_new(json_t *json, struct image_spec **ret_spec, struct image_place *ret_place, struct err *err) {
    struct image_spec *spec = mem_zalloc(sizeof *spec);
    struct image_output common = {.name = "", .autorotate = true, .background = 0xffffff};
    struct reading reading = {spec, ret_place, err};
    *ret_place = (struct image_place){0};
    if (!spec)
        return err_set(err, -ENOMEM, "out of memory");
    spec->json = json_incref(json);
    spec->max_pixels = 100000000;
    spec->max_bytes = 64 << 20;
    spec->max_time_us = 30000000;
    spec->loaders = LOADERS_DEFAULT;
    int r = take_mapping(&reading, OF_SPEC, " of image", json, spec, &common);
    if (r == 0)
        r = take_outputs(&reading, json, &common);
    if (r < 0) {
        image_spec_free(spec);
        return r;
    }
    *ret_spec = spec;
    return 0;
}

int image_spec_parse(struct bytes text, struct image_spec **ret_spec, struct err *err) {
    struct image_place place;
    json_error_t why;
    if (text.n > IMAGE_SPEC_MAX)
        return err_set(err, -EINVAL, "the specification has more than %d bytes", IMAGE_SPEC_MAX);
    json_t *json = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &why);
    if (!json)
        return err_set(err, -EINVAL, "the specification is no JSON: %s", why.text);
    int r = image_spec_new(json, ret_spec, &place, err);
    json_decref(json);
    if (r < 0 && place.path[0])
        err_prefix(err, "%s", place.path);
    return r;
}

void image_spec_free(struct image_spec *spec) {
    if (!spec)
        return;
    json_decref(spec->json);
    mem_free(spec);
}
