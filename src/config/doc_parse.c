/* doc_parse.c - from libyaml's events to the tree. */
#include "doc_private.h"

#include "mem.h"

#include <yaml.h>

struct parse {
    struct doc *doc;
    struct err *err;
    yaml_parser_t yaml;
    struct bytes bytes;
    /* What is open, outermost first. `last`: where the next child goes; `key`: of a mapping's entry whose value is due.
     */
    struct {
        struct doc_node *node;
        const struct doc_node **last;
        const struct doc_node *key;
    } open[DOC_DEPTH_MAX];
    size_t depth;
};

static struct doc_node at(yaml_mark_t mark) {
    return (struct doc_node){.line = (uint32_t)mark.line + 1, .column = (uint32_t)mark.column + 1};
}

static int no_memory(struct parse *parse) {
    return err_set(parse->err, -ENOMEM, "out of memory");
}

static int fail_at(struct parse *parse, yaml_mark_t mark, const char *text) {
    struct doc_node node = at(mark);
    return doc_error(parse->doc, &node, parse->err, "%s", text);
}

/* Where libyaml knows the byte alone. */
static struct doc_node place_of_byte(struct bytes bytes, size_t offset) {
    struct doc_node place = {.line = 1, .column = 1};
    for (size_t i = 0; i < offset && i < bytes.n; i++) {
        unsigned char c = (unsigned char)bytes.p[i];
        if (c == '\n') {
            place.line++;
            place.column = 1;
        } else {
            place.column += (c & 0xc0) != 0x80;
        }
    }
    return place;
}

/* libyaml's texts name what it was doing and what it did not find; the usual slip deserves a better one. */
static int not_yaml(struct parse *parse) {
    const yaml_parser_t *yaml = &parse->yaml;
    const char *context = yaml->context ? yaml->context : "", *problem = yaml->problem ? yaml->problem : "not YAML";
    if (yaml->error == YAML_MEMORY_ERROR)
        return no_memory(parse);
    if (yaml->error == YAML_READER_ERROR) {
        struct doc_node place = place_of_byte(parse->bytes, yaml->problem_offset);
        return doc_error(parse->doc, &place, parse->err, "%s; the file has to be UTF-8", problem);
    }
    if (strstr(context, "alias") || strstr(context, "anchor"))
        return fail_at(parse, yaml->context_mark, "a text that begins with * or & has to be in quotes: \"*.jpg\"");
    if (strstr(context, "tag") || strstr(context, "directive"))
        return fail_at(parse, yaml->context_mark, "a text that begins with ! or % has to be in quotes");
    if (strstr(problem, "cannot start any token"))
        return fail_at(parse, yaml->problem_mark,
                       "no text begins with this character (a tab, @, ` or %); put it in quotes, and indent by spaces");
    struct doc_node place = at(yaml->problem_mark);
    return doc_error(parse->doc, &place, parse->err, "not YAML: %s%s%s", context, context[0] ? ": " : "", problem);
}

static int check_new(struct parse *parse, const struct doc_node *map, const struct doc_node *key) {
    const struct doc_node *entry = map->first;
    while (entry && !bytes_equal(entry->key->text, key->text))
        entry = entry->next;
    _cleanup_buf_ struct buf shown = {0};
    if (entry && doc_add_key(&shown, key) < 0)
        return no_memory(parse);
    return entry
               ? doc_key_error(parse->doc, key, parse->err, "the key '%s' stands twice; it was first given in line %u",
                               shown.p ? shown.p : "", entry->key->line)
               : 0;
}

/* Puts the node where one is due. */
static int place(struct parse *parse, struct doc_node *node) {
    if (parse->depth == 0) {
        parse->doc->root = node;
        return 0;
    }
    struct doc_node *parent = parse->open[parse->depth - 1].node;
    if (parent->kind == DOC_MAP && !parse->open[parse->depth - 1].key) {
        if (node->kind != DOC_TEXT)
            return doc_error(parse->doc, node, parse->err, "a key has to be a text, not %s", doc_what(node));
        parse->open[parse->depth - 1].key = node;
        return check_new(parse, parent, node);
    }
    node->key = parse->open[parse->depth - 1].key;
    parse->open[parse->depth - 1].key = NULL;
    *parse->open[parse->depth - 1].last = node;
    parse->open[parse->depth - 1].last = &node->next;
    parent->n++;
    return 0;
}

static int make(struct parse *parse, enum doc_kind kind, const yaml_event_t *event, const yaml_char_t *anchor,
                const yaml_char_t *tag, struct doc_node **ret_node) {
    if (anchor)
        return fail_at(parse, event->start_mark,
                       "anchors (&name) are not supported; a text that begins with & has to be in quotes");
    if (tag)
        return fail_at(parse, event->start_mark,
                       "tags (!name) are not supported; a text that begins with ! has to be in quotes");
    if (++parse->doc->n_nodes > DOC_NODES_MAX)
        return fail_at(parse, event->start_mark, "more than a configuration file may hold");
    struct doc_node *node = doc_alloc(parse->doc, sizeof *node);
    if (!node)
        return no_memory(parse);
    *node = at(event->start_mark);
    node->kind = kind;
    *ret_node = node;
    return 0;
}

static int add_text(struct parse *parse, const yaml_event_t *event) {
    size_t n = event->data.scalar.length;
    struct doc_node *node;
    int r = make(parse, DOC_TEXT, event, event->data.scalar.anchor, event->data.scalar.tag, &node);
    if (r < 0)
        return r;
    if (memchr(event->data.scalar.value, 0, n))
        return fail_at(parse, event->start_mark, "a text with a NUL character");
    char *copy = doc_alloc(parse->doc, n + 1);
    if (!copy)
        return no_memory(parse);
    if (n)
        memcpy(copy, event->data.scalar.value, n);
    node->text = bytes_of(copy, n);
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return place(parse, node);
}

static int open_node(struct parse *parse, enum doc_kind kind, const yaml_event_t *event, const yaml_char_t *anchor,
                     const yaml_char_t *tag) {
    struct doc_node *node;
    int r = make(parse, kind, event, anchor, tag, &node);
    if (r == 0)
        r = place(parse, node);
    if (r < 0)
        return r;
    if (parse->depth == DOC_DEPTH_MAX)
        return fail_at(parse, event->start_mark, "lists and mappings are nested too deeply");
    parse->open[parse->depth].node = node;
    parse->open[parse->depth].last = &node->first;
    parse->open[parse->depth].key = NULL;
    parse->depth++;
    return 0;
}

/* 0: go on; 1: that was the end. */
static int take(struct parse *parse, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (parse->doc->root)
            return fail_at(parse, event->start_mark, "a second document: a configuration file has one");
        return 0;
    case YAML_ALIAS_EVENT:
        return fail_at(parse, event->start_mark,
                       "aliases (*name) are not supported; a text that begins with * has to be in quotes");
    case YAML_SCALAR_EVENT:
        return add_text(parse, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_node(parse, DOC_LIST, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return open_node(parse, DOC_MAP, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        parse->depth--;
        return 0;
    case YAML_STREAM_END_EVENT:
        return 1;
    default:
        return 0;
    }
}

static int parse_all(struct parse *parse) {
    for (int r = 0; r == 0;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parse->yaml, &event))
            return not_yaml(parse);
        r = take(parse, &event);
        yaml_event_delete(&event);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    return 0;
}

int doc_parse(const char *name, struct bytes bytes, struct doc **ret_doc, struct err *err) {
    if (bytes.n > DOC_BYTES_MAX)
        return err_set(err, -E2BIG, "%s: larger than a configuration file may be (%d KiB)", name, DOC_BYTES_MAX / 1024);
    if (bytes_starts(bytes, BYTES("\xef\xbb\xbf"))) /* libyaml would count it as a column */
        bytes = bytes_of(bytes.p + 3, bytes.n - 3);
    struct doc *doc = mem_zalloc(sizeof *doc);
    if (doc)
        doc->name = mem_strdup(name);
    struct parse parse = {.doc = doc, .err = err, .bytes = bytes};
    if (!doc || !doc->name || !yaml_parser_initialize(&parse.yaml)) {
        doc_free(doc);
        return err_set(err, -ENOMEM, "out of memory");
    }
    yaml_parser_set_encoding(&parse.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parse.yaml, (const unsigned char *)(bytes.n ? bytes.p : ""), bytes.n);
    int r = parse_all(&parse);
    yaml_parser_delete(&parse.yaml);
    if (r < 0) {
        doc_free(doc);
        return r;
    }
    *ret_doc = doc;
    return 0;
}
