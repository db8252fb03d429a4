/* xml.h - writing S3's answers and reading the few documents that clients send. */
#pragma once

#include "bytes.h"

#define XML_DOCUMENT_MAX (2 * 1024 * 1024) /* 1000 keys of 1024 bytes, escaped */
#define XML_DEPTH_MAX 8
#define XML_PATH_MAX 256

/* Escaped text. Control characters become references that XML 1.0 does not allow, as AWS answers: a client that wants
 * such keys asks for encoding-type=url. */
int xml_add_text(struct buf *buf, struct bytes text);
int xml_add_element(struct buf *buf, const char *name, struct bytes text); /* <name>escaped</name> */
/* The text as `encoding-type=url` sends it: like a form, but '/' stays. */
int xml_add_url(struct buf *buf, struct bytes text);

/* Calls `end` at the end of each element with its path ("Delete/Object/Key") and its text. A document type is refused.
 * 0; -EINVAL: not well-formed or over a limit; -ENOMEM; or what `end` returned when negative. */
int xml_read(struct bytes document, int (*end)(void *arg, const char *path, struct bytes text), void *arg);
