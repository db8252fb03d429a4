/* doc_private.h - what doc.c and doc_parse.c share. */
#pragma once

#include "doc.h"

/* Memory that lives as long as the document; NULL when there is none. */
void *doc_alloc(struct doc *doc, size_t n);
