/* pool_results.c - see pool_results.h. What a worker says about its parts ends up in keys, paths and header fields, so
 * it is looked at closely before anything is read. */
#include "pool_results.h"

#include "cleanup.h"
#include "text.h"

struct part {
    uint64_t n; /* as announced */
    char name[HANDLER_PART_NAME_MAX + 1], content_type[POOL_CONTENT_TYPE_MAX + 1], extension[POOL_EXTENSION_MAX + 1];
    struct spool body;
    struct handler_part told; /* of the above */
};

struct pool_results {
    uint64_t n_bytes, taken;
    size_t n, filling; /* parts; the one whose turn it is */
    bool begun;
    struct part parts[HANDLER_PARTS_MAX];
    struct handler_part told[HANDLER_PARTS_MAX];
};

/* ---- what is announced ---- */

static bool is_lower_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_name(struct bytes text) {
    for (size_t i = 0; i < text.n; i++)
        if (!is_lower_or_digit(text.p[i]) && text.p[i] != '-' && text.p[i] != '_')
            return false;
    return text.n > 0 && text.n <= HANDLER_PART_NAME_MAX;
}

/* A header field's value: printable, and no space at its ends. */
static bool is_content_type(struct bytes text) {
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < ' ' || text.p[i] > '~')
            return false;
    return text.n <= POOL_CONTENT_TYPE_MAX && bytes_trim(text).n == text.n;
}

/* "webp", "tar.gz": never anything that leads elsewhere in a path. */
static bool is_extension(struct bytes text) {
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool inner_dot = c == '.' && i > 0 && i < text.n - 1 && text.p[i - 1] != '.';
        if (!is_lower_or_digit(c) && !(c >= 'A' && c <= 'Z') && !inner_dot)
            return false;
    }
    return text.n <= POOL_EXTENSION_MAX;
}

/* A member that is a text of a kind; absent and null are "". */
static int take_text(const json_t *from, const char *member, bool (*is_good)(struct bytes text), const char *what,
                     char *to, struct bytes *ret_text, struct err *err) {
    const json_t *value = json_object_get(from, member);
    struct bytes text = bytes_of(json_string_value(value), json_string_length(value));
    if (value && !json_is_null(value) && (!json_is_string(value) || !is_good(text)))
        return err_set(err, -EINVAL, "a result's \"%s\" is not %s", member, what);
    if (text.n)
        memcpy(to, text.p, text.n);
    to[text.n] = '\0';
    *ret_text = bytes_of(to, text.n);
    return 0;
}

static int take_about(struct part *part, const json_t *from, struct err *err) {
    int r = take_text(from, "content_type", is_content_type, "a media type of up to 255 characters", part->content_type,
                      &part->told.content_type, err);
    return r < 0 ? r
                 : take_text(from, "extension", is_extension, "up to 32 letters, digits and inner dots",
                             part->extension, &part->told.extension, err);
}

static int take_length(struct pool_results *results, struct part *part, const json_t *from, const char *member,
                       struct err *err) {
    const json_t *length = json_object_get(from, member);
    json_int_t n = json_integer_value(length);
    if (!json_is_integer(length) || n < 0 || __builtin_add_overflow(results->n_bytes, (uint64_t)n, &results->n_bytes))
        return err_set(err, -EINVAL, "a result's \"%s\" is no length", member);
    part->n = (uint64_t)n;
    return 0;
}

static int take_name(struct pool_results *results, struct part *part, const json_t *from, struct err *err) {
    int r = take_text(from, "name", is_name, "1 to 64 of a-z, 0-9, '-' and '_'", part->name, &part->told.name, err);
    if (r == 0 && part->told.name.n == 0)
        return err_set(err, -EINVAL, "a result has no \"name\"");
    for (size_t i = 0; r == 0 && i < results->n; i++)
        if (bytes_equal(results->parts[i].told.name, part->told.name))
            return err_set(err, -EINVAL, "two results have the \"name\" %s", part->name);
    return r;
}

static int take_list(struct pool_results *results, const json_t *list, struct err *err) {
    if (!json_is_array(list) || json_array_size(list) > HANDLER_PARTS_MAX)
        return err_set(err, -EINVAL, "\"results\" is no list of up to %d results", HANDLER_PARTS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *from = json_array_get(list, i);
        struct part *part = &results->parts[i];
        int r = take_name(results, part, from, err);
        if (r == 0)
            r = take_length(results, part, from, "bytes", err);
        if (r == 0)
            r = take_about(part, from, err);
        if (r < 0)
            return r;
        results->n++;
    }
    return 0;
}

static int take_only_one(struct pool_results *results, const json_t *answer, struct err *err) {
    int r = take_length(results, &results->parts[0], answer, "result_bytes", err);
    results->n = 1;
    return r < 0 ? r : take_about(&results->parts[0], answer, err);
}

int pool_results_parse(const json_t *answer, struct pool_results **ret_results, struct err *err) {
    const json_t *only = json_object_get(answer, "result_bytes"), *list = json_object_get(answer, "results");
    *ret_results = NULL;
    if ((!only || json_is_null(only)) && (!list || json_is_null(list)))
        return 0;
    if (only && list)
        return err_set(err, -EINVAL, "it has both \"result_bytes\" and \"results\"");
    struct pool_results *results = mem_zalloc(sizeof *results);
    if (!results)
        return err_set(err, -ENOMEM, "out of memory");
    int r = list ? take_list(results, list, err) : take_only_one(results, answer, err);
    if (r < 0 || results->n == 0)
        pool_results_free(results);
    else
        *ret_results = results;
    return r;
}

uint64_t pool_results_bytes(const struct pool_results *results) {
    return results ? results->n_bytes : 0;
}

/* ---- what comes ---- */

static void next_part(struct pool_results *results) {
    while (results->filling < results->n &&
           results->parts[results->filling].body.n == results->parts[results->filling].n)
        results->filling++;
}

int pool_results_begin(struct pool_results *results, const struct handler_results *where, struct err *err) {
    _cleanup_buf_ struct buf all = {0}, limit = {0};
    if (where->max_bytes && results->n_bytes > where->max_bytes) {
        if (text_add_size(&all, results->n_bytes) < 0 || text_add_size(&limit, where->max_bytes) < 0)
            return err_set(err, -ENOMEM, "out of memory");
        return err_set(err, -EFBIG, "the worker has results of %s, and %s is their limit", all.p, limit.p);
    }
    for (size_t i = 0; i < results->n; i++) {
        struct part *part = &results->parts[i];
        spool_init(&part->body, where->budget, where->directory);
        results->told[i] = part->told;
        results->told[i].body = &part->body;
    }
    results->begun = true;
    next_part(results);
    return 0;
}

int pool_results_take(struct pool_results *results, struct bytes *data, struct err *err) {
    while (data->n && results->filling < results->n) {
        struct part *part = &results->parts[results->filling];
        uint64_t left = part->n - part->body.n;
        size_t n = data->n < left ? data->n : (size_t)left;
        int r = spool_add(&part->body, bytes_of(data->p, n), err);
        if (r < 0) {
            err_prefix(err, "the worker's result cannot be kept");
            return r;
        }
        results->taken += n;
        *data = bytes_of(data->p + n, data->n - n);
        next_part(results);
    }
    return 0;
}

uint64_t pool_results_taken(const struct pool_results *results) {
    return results->taken;
}

const struct handler_part *pool_results_parts(const struct pool_results *results, size_t *ret_n) {
    *ret_n = results->n;
    return results->told;
}

void pool_results_free(struct pool_results *results) {
    for (size_t i = 0; results && results->begun && i < results->n; i++)
        spool_free(&results->parts[i].body);
    mem_free(results);
}
