/* uri.h - showing a URI, or whatever may be one, without the passwords in it. */
#pragma once

#include "bytes.h"

/* "scheme://user:PASSWORD@..." or "...?password=PASSWORD" (libpq, 34.1.1.2 Connection URIs), or libpq's other form,
 * "host=... password=PASSWORD". True also for what only looks like it. */
bool uri_has_password(const char *uri);
/* Appends it with "***" in the place of each password. -ENOMEM. To be done before a text is cut: what marks a password
 * stands behind it. */
int uri_add_shown(struct buf *buf, const char *uri);
