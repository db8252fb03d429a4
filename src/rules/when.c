/* when.c - a rule's expression: compiling it, and asking it about an object. */
#include "rules_private.h"

#include "cel.h"
#include "clock.h"
#include "mem.h"
#include "text.h"

enum { BUCKET, KEY, SIZE, ETAG, LAST_MODIFIED, LISTED, CONTENT_TYPE = LISTED, METADATA, ALL };

static const struct cel_variable variables[ALL] = {
    [BUCKET] = {BYTES("bucket"), CEL_STRING},
    [KEY] = {BYTES("key"), CEL_STRING},
    [SIZE] = {BYTES("size"), CEL_INT},
    [ETAG] = {BYTES("etag"), CEL_STRING},
    [LAST_MODIFIED] = {BYTES("last_modified"), CEL_TIMESTAMP},
    [CONTENT_TYPE] = {BYTES("content_type"), CEL_STRING},
    [METADATA] = {BYTES("metadata"), CEL_MAP},
};

struct rule_when {
    struct cel_program *program;
    char *source;
    bool needs_headers;
};

/* One that compiles with what a listing tells needs no more. */
static int compile(struct rule_when *when, struct bytes source, struct err *err) {
    struct cel_options options = {.variables = variables, .n_variables = LISTED, .result = CEL_BOOL};
    int r = cel_compile_with(source, &options, &when->program, NULL, err);
    if (r == 0 || r == -ENOMEM)
        return r;
    options.n_variables = ALL;
    when->needs_headers = true;
    return cel_compile_with(source, &options, &when->program, NULL, err);
}

int rule_when_compile(struct bytes source, struct rule_when **ret_when, struct err *err) {
    struct rule_when *when = mem_zalloc(sizeof *when);
    if (when)
        when->source = mem_memdup(source.p ? source.p : "", source.n);
    int r = when && when->source ? compile(when, source, err) : err_set(err, -ENOMEM, "out of memory");
    if (r < 0) {
        rule_when_free(when);
        return r;
    }
    *ret_when = when;
    return 0;
}

void rule_when_free(struct rule_when *when) {
    if (!when)
        return;
    cel_free(when->program);
    mem_free(when->source);
    mem_free(when);
}

bool rule_when_needs_headers(const struct rule_when *when) {
    return when->needs_headers;
}

const char *rule_when_source(const struct rule_when *when) {
    return when->source;
}

/* Strings of the language are UTF-8. `spare` has room for all that are not, so what it holds does not move. */
static struct cel_value string(struct buf *spare, struct bytes text) {
    struct cel_value value = {.kind = CEL_STRING, .text = text};
    if (!text_is_utf8(text)) {
        size_t at = spare->n;
        text_add_printable(spare, text);
        value.text = bytes_of(spare->p + at, spare->n - at);
    }
    return value;
}

static size_t spare_room(struct bytes text) {
    return text_is_utf8(text) ? 0 : 4 * text.n; /* "\xHH" */
}

static bool stands_before(const struct rule_object *object, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (bytes_equal(object->metadata[i].name, object->metadata[n].name))
            return true;
    return false;
}

static void set_listed(const struct rule_object *object, struct buf *spare, struct cel_value *values) {
    values[BUCKET] = string(spare, object->bucket);
    values[KEY] = string(spare, object->key);
    values[ETAG] = string(spare, bytes_unquoted(object->etag));
    if (object->size <= INT64_MAX)
        values[SIZE] = (struct cel_value){.kind = CEL_INT, .integer = (int64_t)object->size};
    int64_t utc_us = object->modified_utc_us;
    if (utc_us > 0)
        values[LAST_MODIFIED] = (struct cel_value){
            .kind = CEL_TIMESTAMP, .integer = utc_us / US_PER_S, .ns = (int32_t)(utc_us % US_PER_S) * 1000};
}

static enum when_answer judge(const struct rule_when *when, const struct cel_value *values, struct err *err) {
    struct cel_arena arena = {0};
    struct cel_value result;
    enum when_answer answer = WHEN_FAILED;
    if (cel_eval(when->program, values, &arena, &result, err) < 0)
        err_prefix(err, "when");
    else if (result.kind == CEL_ERROR)
        err_set(err, -EINVAL, "when: line %u, column %u: %.*s", result.error->line, result.error->column,
                (int)result.error->text.n, result.error->text.p);
    else if (result.kind != CEL_BOOL)
        err_set(err, -EINVAL, "when: it gave %s, not a bool", cel_kind_name((enum cel_kind)result.kind));
    else
        answer = result.boolean ? WHEN_YES : WHEN_NO;
    cel_arena_free(&arena);
    return answer;
}

enum when_answer rule_when_ask(const struct rule_when *when, const struct rule_object *object, struct err *err) {
    if (when->needs_headers && !object->headers)
        return WHEN_LATER;
    size_t n_metadata = when->needs_headers ? object->n_metadata : 0;
    struct cel_value values[ALL] = {0}; /* CEL_DYN: no value */
    _cleanup_buf_ struct buf spare = {0};
    size_t room = spare_room(object->bucket) + spare_room(object->key) + spare_room(object->etag);
    if (when->needs_headers)
        room += spare_room(object->content_type);
    for (size_t i = 0; i < n_metadata; i++)
        room += spare_room(object->metadata[i].name) + spare_room(object->metadata[i].value);
    struct cel_entry *entries = mem_calloc(n_metadata, sizeof *entries);
    if (!entries || buf_reserve(&spare, room) < 0) {
        mem_free(entries);
        err_set(err, -ENOMEM, "out of memory");
        return WHEN_FAILED;
    }
    set_listed(object, &spare, values);
    struct cel_map map = {.entries = entries};
    for (size_t i = 0; i < n_metadata; i++)
        if (!stands_before(object, i))
            entries[map.n++] =
                (struct cel_entry){string(&spare, object->metadata[i].name), string(&spare, object->metadata[i].value)};
    if (when->needs_headers) {
        values[CONTENT_TYPE] = string(&spare, object->content_type);
        values[METADATA] = (struct cel_value){.kind = CEL_MAP, .map = &map};
    }
    enum when_answer answer = judge(when, values, err);
    mem_free(entries);
    return answer;
}
