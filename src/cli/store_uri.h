/* store_uri.h - what can be told of a store's URI without opening it; above all, how to show it without its password.
 */
#pragma once

#include "bytes.h"
#include "err.h"

enum store_kind { STORE_KIND_NONE, STORE_KIND_SQLITE, STORE_KIND_POSTGRES };

/* By its beginning: "sqlite:PATH" with a path, "postgres://..." or "postgresql://...". */
enum store_kind store_uri_kind(const char *uri);
/* A file's path (what follows "sqlite:"), else NULL. */
const char *store_uri_path(const char *uri);
/* "postgres://user:PASSWORD@..." or "...?password=PASSWORD" (libpq, 34.1.1.2 Connection URIs). True also for what only
 * looks like it, whatever the kind. */
bool store_uri_has_password(const char *uri);
/* The value of a parameter of a server's URI ("...?name=VALUE&..."), the last one as libpq takes it, decoded. 1 and an
 * owned text; 0: there is none; -ENOMEM. */
int store_uri_parameter(const char *uri, const char *name, char **ret_value);
/* The URI, with "***" in the place of each password. -ENOMEM. */
int store_uri_add_shown(struct buf *buf, const char *uri);
