/* join.c - see join.h. */
#include "join.h"

#include "cleanup.h"
#include "mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool may_join(const struct args *args) {
    static const bool joins[SQL_STATEMENTS] = {
        [SQL_PAGE_ADD] = true,  [SQL_PAGE_PUT] = true,  [SQL_LANE_ADD] = true,   [SQL_LANE_PUT] = true,
        [SQL_LEASE_ADD] = true, [SQL_LEASE_PUT] = true, [SQL_LEASE_DROP] = true, [SQL_HOLD_PUT] = true,
        [SQL_HOLD_DROP] = true, [SQL_ENDED_ADD] = true,
    };
    return joins[args->statement] && args_of_one(args);
}

static bool is_it(const struct joined *joined, const struct args *last, struct args *const *parts, size_t n) {
    if (joined->n != n || (int)joined->last != last->statement)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((int)joined->parts[i] != parts[i]->statement)
            return false;
    return true;
}

/* A statement whose parameters come after `before` others. */
static int add_text(struct buf *text, const char *from, int before) {
    int r = 0;
    for (const char *at; (at = strchr(from, '$')) && r == 0;) {
        char *end;
        long number = strtol(at + 1, &end, 10);
        r = buf_add(text, from, (size_t)(at - from));
        if (r == 0)
            r = buf_printf(text, "$%ld", number + before);
        from = end;
    }
    return r < 0 ? r : buf_add_str(text, from);
}

static int make_text(const struct sql *sql, const struct args *last, struct args *const *parts, size_t n,
                     char **ret_text) {
    _cleanup_buf_ struct buf text = {0};
    int before = last->n, r = buf_add_str(&text, "WITH ");
    for (size_t i = 0; i < n && r == 0; i++) {
        int statement = parts[i]->statement;
        r = buf_printf(&text, "part%zu AS (", i);
        if (r == 0)
            r = add_text(&text, sql->one[statement] ? sql->one[statement] : sql->text[statement], before);
        if (r == 0)
            r = buf_add_str(&text, "), ");
        before += parts[i]->n;
    }
    if (r == 0)
        r = buf_add_str(&text, sql->text[last->statement] + strlen("WITH "));
    if (r == 0)
        *ret_text = buf_detach(&text);
    return r;
}

static int make(struct joins *joins, const struct sql *sql, const struct args *last, struct args *const *parts,
                size_t n, struct joined **ret_joined) {
    struct joined *joined = mem_zalloc(sizeof *joined);
    if (!joined)
        return -ENOMEM;
    int r = make_text(sql, last, parts, n, &joined->text);
    if (r < 0) {
        mem_free(joined);
        return r;
    }
    for (size_t i = 0; i < n; i++)
        joined->parts[i] = (enum sql_statement)parts[i]->statement;
    joined->last = (enum sql_statement)last->statement;
    joined->n = n;
    joined->number = (int)joins->n;
    joins->list[joins->n++] = joined;
    *ret_joined = joined;
    return 0;
}

int joins_get(struct joins *joins, const struct sql *sql, const struct args *last, struct args *const *parts, size_t n,
              struct joined **ret_joined) {
    *ret_joined = NULL;
    if (n == 0 || n > JOIN_MOST)
        return 0;
    int n_params = last->n;
    for (size_t i = 0; i < n; i++) {
        n_params += parts[i]->n;
        if (!may_join(parts[i]) || n_params > PARAMS_MAX)
            return 0;
    }
    for (size_t i = 0; i < joins->n && !*ret_joined; i++)
        if (is_it(joins->list[i], last, parts, n))
            *ret_joined = joins->list[i];
    return *ret_joined || joins->n == JOINS_MOST ? 0 : make(joins, sql, last, parts, n, ret_joined);
}

void joins_free(struct joins *joins) {
    for (size_t i = 0; i < joins->n; i++) {
        mem_free(joins->list[i]->text);
        mem_free(joins->list[i]);
    }
    *joins = (struct joins){0};
}
