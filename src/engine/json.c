/* json.c - what is done with JSON texts: is it one, is it an object, and a child's metadata. */
#include "engine.h"

#include "mem.h"

#include <jansson.h>

#define OWN_KEYS "froe__" /* metadata that the engine sets; it is about one run, so children do not inherit it */

static int load(struct bytes text, size_t flags, json_t **ret_value) {
    json_error_t error;
    *ret_value = json_loadb(text.p ? text.p : "", text.n, JSON_ALLOW_NUL | flags, &error);
    if (*ret_value)
        return 0;
    return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EINVAL;
}

int json_check(struct bytes text) {
    json_t *value;
    int r = load(text, JSON_DECODE_ANY, &value);
    if (r == 0)
        json_decref(value);
    return r;
}

static int load_object(struct bytes text, json_t **ret_object) {
    json_t *value;
    int r = load(text, 0, &value);
    if (r < 0)
        return r;
    if (!json_is_object(value)) {
        json_decref(value);
        return -EINVAL;
    }
    *ret_object = value;
    return 0;
}

int json_check_object(struct bytes text) {
    if (bytes_equal(text, BYTES("{}")))
        return 0;
    json_t *object;
    int r = load_object(text, &object);
    if (r == 0)
        json_decref(object);
    return r;
}

static int merge(json_t *parent, json_t *child) {
    const char *key;
    json_t *value;
    json_object_foreach(parent, key, value) {
        if (strncmp(key, OWN_KEYS, sizeof OWN_KEYS - 1) == 0 || json_object_get(child, key))
            continue;
        if (json_object_set(child, key, value) < 0)
            return -ENOMEM;
    }
    return 0;
}

int json_inherit(struct bytes parent, struct bytes child, char **ret_text, size_t *ret_n) {
    json_t *from, *to;
    int r = load_object(parent, &from);
    if (r < 0)
        return r;
    r = load_object(child, &to);
    if (r < 0) {
        json_decref(from);
        return r;
    }
    r = merge(from, to);
    json_decref(from);
    char *text = r == 0 ? json_dumps(to, JSON_COMPACT) : NULL;
    json_decref(to);
    if (!text)
        return -ENOMEM;
    /* jansson's memory is not ours to hand on. */
    size_t n = strlen(text);
    char *copy = mem_memdup(text, n);
    free(text);
    if (!copy)
        return -ENOMEM;
    *ret_text = copy;
    *ret_n = n;
    return 0;
}
