/* http_exchange.h - one request on a connection that is made: it is sent, its answer is read and handed on.
 *
 * Private to the HTTP client. The functions below return true when the request is over: `end`, `reason` or `error`, and
 * `reusable` say how. Then, and while it is cancelled, none of them is called. They call the request's handler, but for
 * http_exchange_begin. */
#pragma once

#include "http_private.h"

/* Copies what is to be sent. -EINVAL, -ENOMEM. */
int http_exchange_prepare(struct http_request *request, const struct http_send *send);
/* On request->conn, from the first byte on; also once more on another connection. */
bool http_exchange_begin(struct http_request *request);
bool http_exchange_ready(struct http_request *request, bool readable, bool writable);
/* After a pause, or when `again` was set. */
bool http_exchange_resume(struct http_request *request);
/* What the request holds of the last exchange is given up, or kept for the next when it is small. */
void http_exchange_reset(struct http_request *request);
void http_exchange_free(struct http_request *request);
