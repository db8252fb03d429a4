/* write.h - what the parts of writing a batch share: write.c (runs in trouble, leases, lanes and the rest, and the
 * whole) and write_pages.c. */
#pragma once

#include "postgres_store.h"

/* An array of a column, over a list of rows of which some are meant. */
#define INTS(args_, list_, link_, type_, cond_, value_)         \
    do {                                                        \
        args_array((args_), ARGS_INTS);                         \
        for (const type_ *row = (list_); row; row = row->link_) \
            if (cond_)                                          \
                args_array_int((args_), (int64_t)(value_));     \
        args_array_end(args_);                                  \
    } while (0)
#define BLOBS(args_, list_, link_, type_, cond_, value_)        \
    do {                                                        \
        args_array((args_), ARGS_BYTES);                        \
        for (const type_ *row = (list_); row; row = row->link_) \
            if (cond_)                                          \
                args_array_bytes((args_), (value_));            \
        args_array_end(args_);                                  \
    } while (0)

/* Queues a statement that changes rows, or holds it back for pg_send_held. args: of pg_write; NULL: -ENOMEM. */
int pg_send_write(struct postgres_store *store, enum sql_statement statement, struct args *args);

int pg_write_pages(struct postgres_store *store);
/* After its runs that are in trouble took from a page what they need. */
int pg_write_finished_pages(struct postgres_store *store);
