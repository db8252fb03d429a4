/* join.h - a transaction's statements as one: those that write a row each become parts of the last one (common table
 * expressions), so that the server prepares, starts and ends one statement instead of five or six.
 *
 * All parts see what was there before the statement, and their order is the server's choice. So only such are joined as
 * neither read nor write what another one writes. */
#pragma once

#include "args.h"
#include "schema.h"

#define JOIN_MOST 8   /* parts */
#define JOINS_MOST 32 /* different ones on a connection */

struct joined {
    enum sql_statement parts[JOIN_MOST], last;
    size_t n;
    char *text;
    bool prepared;
    int number;
};

struct joins {
    struct joined *list[JOINS_MOST];
    size_t n;
};

void joins_free(struct joins *joins);
/* Of parts, each for one row, and the last one, whose text begins with WITH; args->statement says which they are. The
 * parameters are the last one's, then the parts' in their order. *ret_joined is NULL when they cannot be joined.
 * -ENOMEM. */
int joins_get(struct joins *joins, const struct sql *sql, const struct args *last, struct args *const *parts, size_t n,
              struct joined **ret_joined);
