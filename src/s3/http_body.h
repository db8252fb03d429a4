/* http_body.h - where the body of an HTTP answer ends, and which of the bytes that come are its.
 *
 * Pure; private to the HTTP client and its tests. RFC 9112, sections 6 (which framing), 7.1 (chunks) and 9.3 (whether
 * the connection can be used again): https://www.rfc-editor.org/rfc/rfc9112 */
#pragma once

#include "http_head.h"

enum http_framing { HTTP_FRAMING_NONE, HTTP_FRAMING_LENGTH, HTTP_FRAMING_CHUNKED, HTTP_FRAMING_CLOSE };

struct http_body {
    enum http_framing framing;
    bool whole;     /* nothing more of this answer comes; never set by itself when the connection's end is the body's */
    bool keeps;     /* the connection can have another request afterwards */
    uint64_t left;  /* of the body, or of the chunk */
    int place;      /* within the chunks' framing */
    uint32_t extra; /* bytes of chunk lines and trailers since the last byte of the body */
    bool digits;    /* of a chunk's size were there */
};

/* By a head that is whole; `bodiless`: it answers HEAD. -EBADMSG: lengths that contradict each other or are none, or a
 * transfer coding other than chunked. */
int http_body_begin(struct http_body *body, const struct http_head *head, bool bodiless);
/* Takes from the front of *rest. 1: a piece of the body, a view into it, of at least a byte; 0: nothing more now,
 * because *rest is used up or the body is whole (what is left in *rest is then not of this answer). -EBADMSG: chunks
 * that are none; -E2BIG: their lines or trailers have more than HTTP_HEADERS_MAX. */
int http_body_take(struct http_body *body, struct bytes *rest, struct bytes *ret_piece);
