/* doc.h - a configuration file: the part of YAML that such a file needs, read into a tree that knows its places.
 *
 * Mappings, lists and texts, in block or flow style, one document. Refused, each with its place: anchors, aliases and
 * tags (so that no small file can stand for a big one), keys that stand twice, keys that are no text, a second
 * document, and whatever is not YAML. What a text means (a number, a length of time ...) is for who reads the tree;
 * `plain` tells whether it was written without quotes.
 *
 * Errors read "FILE:LINE:COLUMN: what is wrong", lines and columns from 1, columns counted in characters. */
#pragma once

#include "bytes.h"
#include "err.h"

#define DOC_BYTES_MAX (1 << 20) /* of a file */
#define DOC_DEPTH_MAX 16        /* lists and mappings inside each other */
#define DOC_NODES_MAX 20000

enum doc_kind { DOC_TEXT, DOC_LIST, DOC_MAP };

struct doc_node {
    enum doc_kind kind;
    bool plain; /* a text without quotes, on a line */
    uint32_t line, column;
    struct bytes text; /* TEXT: UTF-8 without NUL, and a NUL after it */
    size_t n;          /* LIST: items; MAP: entries */
    const struct doc_node *first;
    /* In a list or a mapping: */
    const struct doc_node *next;
    const struct doc_node *key; /* of an entry of a mapping: a TEXT */
};

struct doc {
    char *name;                  /* as in errors */
    const struct doc_node *root; /* NULL: the file is empty, or comments alone */
    struct doc_chunk *chunks;    /* where all lives */
    size_t n_nodes;
};

/* `name` is for errors. -EINVAL with a text, -E2BIG for more than DOC_BYTES_MAX, -ENOMEM. The caller frees it with
 * doc_free; the bytes are not needed afterwards. */
int doc_parse(const char *name, struct bytes bytes, struct doc **ret_doc, struct err *err);
/* The same of a file; also what open and read can answer, -EISDIR and the like, with a text that names the file. */
int doc_read(const char *path, struct doc **ret_doc, struct err *err);
void doc_free(struct doc *doc); /* NULL is fine */

/* An error at that node: "FILE:LINE:COLUMN: TEXT". Returns -EINVAL. Where the node looks like a URI with a password the
 * text is another, which shows nothing of it: texts may quote what stands at the node. */
int doc_error(const struct doc *doc, const struct doc_node *node, struct err *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "a text", "a list", "a mapping", "nothing" (an empty plain text, or null): for errors. */
const char *doc_what(const struct doc_node *node);
bool doc_is_nothing(const struct doc_node *node);

/* The entry of that key, or NULL. */
const struct doc_node *doc_get(const struct doc_node *map, const char *key);
/* Every key of the mapping is one of the `known` (NULL-terminated), or an error that names the nearest. `where` says
 * of what, as in "of a rule"; "" for none. */
int doc_check_keys(const struct doc *doc, const struct doc_node *map, const char *const *known, const char *where,
                   struct err *err);
