/* table.h - rows of text in aligned columns, for people. Widths are those of what was printed before, too, so that a
 * long list can be printed in parts. The last column is not padded, and not cut: it is where long names go. */
#pragma once

#include "bytes.h"

#define TABLE_COLUMNS_MAX 16

struct table {
    const char *const
        *names; /* the header; a name that begins with '>' is for numbers: to the right, without the '>' */
    size_t n_columns;
    size_t widths[TABLE_COLUMNS_MAX];
    bool header_done;
    struct buf text; /* cells, each with a NUL; a cell that begins with '\n' is a line of its own under its row */
    bool failed;     /* out of memory */
};

void table_init(struct table *table, const char *const *names, size_t n_columns);
void table_free(struct table *table);
/* The next cell of the row; n_columns of them make a row. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line under the row that was just ended, indented. */
void table_note(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints the header, if it was not yet and there are rows, and all rows since the last time. */
void table_print(struct table *table);
