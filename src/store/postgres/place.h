/* place.h - where a PostgreSQL store is: the parts of its URI.
 *
 * froe_schema=NAME is froe's own and is taken out before libpq sees the URI. Everything else is libpq's, with defaults
 * of ours for what notices a dead server (keepalives, tcp_user_timeout). */
#pragma once

#include "bytes.h"
#include "err.h"

struct place {
    char **keywords; /* NULL-terminated, for PQconnectStartParams */
    char **values;
    char *schema;   /* as it is: letters a-z, digits, '_' */
    char *channel;  /* of NOTIFY */
    char *text;     /* "host:5432/db", for people, without user and password */
    char *password; /* NULL: none; only to keep it out of texts */
};

/* -EINVAL for a URI that libpq does not take (whose text is not repeated: there may be a password in it) or a bad name
 * of a schema; -ENOMEM. */
int place_parse(struct place *place, const char *uri, struct err *err);
void place_free(struct place *place);
/* Takes the password out of a text, should it be in it. */
void place_scrub(const struct place *place, char *text);
