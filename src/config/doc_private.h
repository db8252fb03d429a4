/* doc_private.h - what doc.c and doc_parse.c share. */
#pragma once

#include "doc.h"

/* Memory that lives as long as the document; NULL when there is none. */
void *doc_alloc(struct doc *doc, size_t n);

/* Appends a key as an error shows it: printable, its beginning, and without the password of a store's URI that was
 * written where a key belongs. -ENOMEM. */
int doc_add_key(struct buf *buf, const struct doc_node *key);
/* As doc_error, of a text that shows the key by doc_add_key alone. */
int doc_key_error(const struct doc *doc, const struct doc_node *key, struct err *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
