/* xml_plain.h - plain XML, read fast.
 *
 * Servers write their answers in a small part of XML: ASCII, elements without attributes but for `xmlns`, text with the
 * five entities and references to printable characters. That part is read here, at a fraction of what a whole parser
 * costs, which is a good part of what a listing costs. Whatever is not surely of that part, well-formed or not, is for
 * a whole parser to judge, from the document's beginning. */
#pragma once

#include "bytes.h"

#define XML_NOT_PLAIN 1
#define XML_PLAIN_DEPTH_MAX 16

/* Each returns 0, or a negative code, which ends the reading. What is handed out is good during the call. */
struct xml_plain_events {
    int (*start)(void *arg, struct bytes name);
    int (*text)(void *arg, struct bytes text); /* of the innermost open element, in pieces; also between elements */
    int (*end)(void *arg);                     /* of the innermost one */
};

/* 0: the document is well-formed and the events told all of it, as any parser of XML would have. A code of an event. Or
 * XML_NOT_PLAIN: it is more than plain, deeper, or not well-formed, and the events so far count nothing. Runs on the
 * caller's thread, allocates nothing. https://www.w3.org/TR/xml/ */
int xml_plain_read(struct bytes document, const struct xml_plain_events *events, void *arg);
