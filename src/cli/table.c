/* table.c - see table.h. */
#include "table.h"

#include <stdio.h>

void table_init(struct table *table, const char *const *names, size_t n_columns) {
    *table = (struct table){.names = names, .n_columns = n_columns};
}

void table_free(struct table *table) {
    buf_free(&table->text);
}

__attribute__((format(printf, 3, 0))) static void add(struct table *table, const char *before, const char *format,
                                                      va_list args) {
    if (buf_add_str(&table->text, before) < 0 || buf_vprintf(&table->text, format, args) < 0 ||
        buf_add_byte(&table->text, '\0') < 0)
        table->failed = true;
}

void table_cell(struct table *table, const char *format, ...) {
    va_list args;
    va_start(args, format);
    add(table, "", format, args);
    va_end(args);
}

void table_note(struct table *table, const char *format, ...) {
    va_list args;
    va_start(args, format);
    add(table, "\n", format, args);
    va_end(args);
}

/* Characters, not bytes; wide ones count as one, which only bends the table a little. */
static size_t width_of(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static const char *name_of(const struct table *table, size_t column) {
    return table->names[column] + (table->names[column][0] == '>');
}

static void widen(struct table *table) {
    for (size_t i = 0; i < table->n_columns && !table->header_done; i++)
        table->widths[i] = width_of(name_of(table, i));
    size_t column = 0;
    for (const char *cell = table->text.p; cell < table->text.p + table->text.n; cell += strlen(cell) + 1) {
        if (cell[0] == '\n')
            continue;
        size_t width = width_of(cell);
        if (width > table->widths[column])
            table->widths[column] = width;
        column = (column + 1) % table->n_columns;
    }
}

static void print_cell(const struct table *table, size_t column, const char *text) {
    int pad = (int)(table->widths[column] - width_of(text));
    bool right = table->names[column][0] == '>', last = column + 1 == table->n_columns;
    printf("%*s%s", right ? pad : 0, "", text);
    if (last)
        putchar('\n');
    else
        printf("%*s  ", right ? 0 : pad, "");
}

void table_print(struct table *table) {
    if (table->text.n == 0)
        return;
    widen(table);
    for (size_t i = 0; i < table->n_columns && !table->header_done; i++)
        print_cell(table, i, name_of(table, i));
    table->header_done = true;
    size_t column = 0;
    for (const char *cell = table->text.p; cell < table->text.p + table->text.n; cell += strlen(cell) + 1) {
        if (cell[0] == '\n') {
            printf("    %s\n", cell + 1);
            continue;
        }
        print_cell(table, column, cell);
        column = (column + 1) % table->n_columns;
    }
    buf_reset(&table->text);
}
