/* config_image.c - see config_image.h. What the keys mean is the image layer's matter: here YAML becomes JSON, and the
 * place of an error in it a place in the file. */
#include "config_image.h"

#include "doc.h"
#include "mem.h"
#include "spec.h"
#include "text.h"

#include <stdlib.h>

static json_t *to_json(const struct doc_node *node);

static bool is_digits(struct bytes text) {
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
    return text.n > 0;
}

/* As 0.25. */
static bool is_decimal(struct bytes text) {
    const char *dot = memchr(text.p, '.', text.n);
    if (!dot || text.n > 30)
        return false;
    size_t whole = (size_t)(dot - text.p);
    return is_digits(bytes_of(text.p, whole)) && is_digits(bytes_of(dot + 1, text.n - whole - 1));
}

static json_t *text_to_json(const struct doc_node *node) {
    struct bytes text = node->text;
    int64_t number;
    if (doc_is_nothing(node))
        return json_null();
    if (node->plain && (bytes_equal(text, BYTES("true")) || bytes_equal(text, BYTES("false"))))
        return json_boolean(text.p[0] == 't');
    bool canonical = text.n == 1 || (text.n > 1 && text.p[0] != '0');
    if (node->plain && canonical && is_digits(text) && text_parse_i64(text, &number) == 0)
        return json_integer(number);
    if (node->plain && is_decimal(text))
        return json_real(strtod(text.p, NULL));
    return json_stringn(text.p, text.n);
}

static json_t *list_to_json(const struct doc_node *node) {
    json_t *list = json_array();
    for (const struct doc_node *item = node->first; item && list; item = item->next)
        if (json_array_append_new(list, to_json(item)) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *map_to_json(const struct doc_node *node) {
    json_t *map = json_object();
    for (const struct doc_node *entry = node->first; entry && map; entry = entry->next)
        if (json_object_set_new(map, entry->key->text.p, to_json(entry)) < 0) {
            json_decref(map);
            return NULL;
        }
    return map;
}

static json_t *to_json(const struct doc_node *node) {
    switch (node->kind) {
    case DOC_LIST:
        return list_to_json(node);
    case DOC_MAP:
        return map_to_json(node);
    case DOC_TEXT:
        break;
    }
    return text_to_json(node);
}

static const struct doc_node *child(const struct doc_node *node, struct bytes name) {
    uint64_t index = 0;
    if (node->kind == DOC_LIST && text_parse_u64(name, &index) < 0)
        return NULL;
    for (const struct doc_node *one = node->first; one; one = one->next, index--)
        if (node->kind == DOC_LIST ? index == 0 : bytes_equal(one->key->text, name))
            return one;
    return NULL;
}

/* As far as the path leads. */
static const struct doc_node *find(const struct doc_node *node, const struct image_place *place) {
    struct bytes path = bytes_str(place->path);
    while (path.n > 0) {
        const char *end = memchr(path.p, '/', path.n);
        size_t n = end ? (size_t)(end - path.p) : path.n;
        const struct doc_node *next = child(node, bytes_of(path.p, n));
        if (!next)
            return node;
        node = next;
        path = bytes_of(path.p + n + (end != NULL), path.n - n - (end != NULL));
    }
    return place->key && node->key ? node->key : node;
}

int config_image_parse(const struct doc *doc, const struct doc_node *node, char **ret_spec, struct err *err) {
    struct image_spec *spec;
    struct image_place place;
    struct err why = {0};
    json_t *json = to_json(node);
    int r = json ? image_spec_new(json, &spec, &place, &why) : -ENOMEM;
    if (r == -EINVAL)
        r = doc_error(doc, find(node, &place), err, "%s", why.text);
    else if (r < 0)
        r = err_set(err, r, "out of memory");
    if (r < 0) {
        json_decref(json);
        return r;
    }
    image_spec_free(spec);
    char *dumped = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    *ret_spec = dumped ? mem_strdup(dumped) : NULL;
    bool too_long = dumped && strlen(dumped) > IMAGE_SPEC_MAX;
    free(dumped); /* jansson's */
    if (too_long) {
        mem_free(*ret_spec);
        return doc_error(doc, node, err, "image: more than %d bytes", IMAGE_SPEC_MAX);
    }
    return *ret_spec ? 0 : err_set(err, -ENOMEM, "out of memory");
}
