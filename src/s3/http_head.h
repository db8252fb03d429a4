/* http_head.h - the head of an HTTP answer, line by line: interim answers skipped, header names in lower case.
 *
 * Pure; private to the HTTP client and its tests. https://www.rfc-editor.org/rfc/rfc9112 */
#pragma once

#include "http.h"

struct http_head {
    struct buf text;           /* the lines since the last status line; names lowered in place once whole */
    struct http_field *fields; /* views into `text`, once whole */
    size_t n, cap;
    size_t seen; /* bytes, interim answers included */
    int status;
    int minor; /* of HTTP/1.x */
    bool begun, whole;
};

/* One line as it came, with or without its CRLF, but without a line feed before that; an empty one ends the head. 1:
 * the head of a final answer is whole, status and fields can be read; 0: more is to come (after a 1xx answer:
 * everything). Lines after the end are trailers and ignored. -EBADMSG: not HTTP; -E2BIG: more than HTTP_HEADERS_MAX in
 * all, interim answers included; -ENOMEM. */
int http_head_add(struct http_head *head, struct bytes line);
void http_head_reset(struct http_head *head); /* for the next answer; keeps the memory unless it grew large */
void http_head_free(struct http_head *head);
