/* http_text.h - what goes out before a request's body: request line and fields, from an absolute URL.
 *
 * Pure; private to the HTTP client and its tests. https://www.rfc-editor.org/rfc/rfc9112 */
#pragma once

#include "http.h"

struct http_url {
    struct bytes base;      /* "https://host:port", as it stands: equal ones can share a connection */
    struct bytes authority; /* "host:port" without the scheme's own port: the Host field */
    struct bytes target;    /* "/path?query", without its first "/" when `rootless` */
    bool tls, rootless;
};

/* Views into `url`. -EINVAL: not an absolute URL, a user in it, or a character that has to be encoded. */
int http_url_cut(const char *url, struct http_url *ret_url);
/* Appends the head, with Content-Length when there is a body, and leaves room for `more` bytes after it. -EINVAL: a
 * method that is none, or a line break or NUL in
 * a field; -ENOMEM. */
int http_text_head(struct buf *text, const struct http_url *url, const struct http_send *send, size_t more);
