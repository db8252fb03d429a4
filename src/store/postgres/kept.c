/* kept.c - what a leased run of a page gave to be kept while it runs: a row beside the page's, until the run ends.
 *
 * When the run goes back without having ended, it leaves its page with that: so claims need not look here. A run that
 * has a row of its own anyway keeps it there. */
#include "write.h"

#include "cleanup.h"

#define AT_ONCE_BYTES ((size_t)16 * 1024 * 1024) /* in one statement */

/* ---- reading ---- */

int pg_absorb_kept(struct postgres_store *store, const PGresult *answer, void *arg, struct err *err) {
    (void)arg;
    (void)err;
    for (int row = 0; row < wire_rows(answer); row++) {
        int64_t page = wire_int(answer, row, 0);
        uint32_t index = (uint32_t)wire_int(answer, row, 1);
        if (rows_kept(&store->rows, page, index))
            continue;
        struct kept_row *kept = rows_kept_add(&store->rows, page, index);
        if (!kept)
            return -ENOMEM;
        struct store_settled *own = &kept->own;
        struct bytes *const into[] = {&own->child_key, &own->generation, &own->input, &own->checkpoint};
        size_t size = 0;
        for (int i = 0; i < 4; i++)
            size += wire_bytes(answer, row, 3 + i).n;
        kept->memory = mem_alloc(size + 1);
        if (!kept->memory)
            return -ENOMEM;
        char *at = kept->memory;
        for (int i = 0; i < 4; i++) {
            struct bytes value = wire_bytes(answer, row, 3 + i);
            *into[i] = bytes_of(at, value.n);
            if (value.n)
                memcpy(at, value.p, value.n);
            at += value.n;
        }
        own->index = index;
        own->attempts = (uint32_t)wire_int(answer, row, 2);
        kept->data = own;
    }
    return 0;
}

/* ---- changing ---- */

int pg_kept_put(struct postgres_store *store, int64_t page, const struct store_settled *one) {
    struct kept_row *kept = rows_kept_add(&store->rows, page, one->index);
    if (!kept)
        return -ENOMEM;
    kept->data = one;
    kept->gone = false;
    rows_kept_dirty(&store->rows, kept);
    return 0;
}

int pg_kept_drop(struct postgres_store *store, int64_t page, uint32_t index) {
    struct kept_row *kept = rows_kept_add(&store->rows, page, index);
    if (!kept)
        return -ENOMEM;
    kept->gone = true;
    rows_kept_dirty(&store->rows, kept);
    return 0;
}

int pg_kept_requeue(struct postgres_store *store, struct page_row *page, uint32_t index) {
    struct kept_row *kept = rows_kept(&store->rows, page->id, index);
    if (!kept || kept->gone)
        return 0;
    kept->gone = true;
    rows_kept_dirty(&store->rows, kept);
    if (!bits_get(&page->queued, index)) /* it was asked to end, and has */
        return 0;
    const struct store_settled *data = kept->data;
    struct trouble_row *trouble = rows_trouble_add(&store->rows, page->id, index);
    if (!trouble)
        return -ENOMEM;
    uint32_t before = page->n_queued;
    bits_clear(&page->queued, index);
    bits_clear(&page->live, index);
    page->n_queued--;
    page->n_live--;
    pg_page_changed(store, page, before);
    trouble->lane = page->lane;
    trouble->is_new = true;
    trouble->data = data;
    trouble->attempts = data->attempts;
    trouble->due_utc_us = store->now_utc_us;
    trouble->size =
        (int64_t)(data->child_key.n + data->generation.n + data->input.n + data->checkpoint.n) + HISTORY_TROUBLE_COST;
    pg_trouble_queue(store, trouble);
    return rows_trouble_generation(trouble, data->generation);
}

/* ---- writing ---- */

/* The rows from `first` on up to `last`. */
static int put(struct postgres_store *store, const struct kept_row *first, const struct kept_row *last) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
#define COLUMN(kind_, add_, value_)                                                  \
    do {                                                                             \
        args_array(args, (kind_));                                                   \
        for (const struct kept_row *row = first; row != last; row = row->next_dirty) \
            if (!row->gone)                                                          \
                add_(args, (value_));                                                \
        args_array_end(args);                                                        \
    } while (0)
    COLUMN(ARGS_INTS, args_array_int, row->page);
    COLUMN(ARGS_INTS, args_array_int, row->index);
    COLUMN(ARGS_INTS, args_array_int, row->data->attempts);
    COLUMN(ARGS_BYTES, args_array_bytes, row->data->child_key);
    COLUMN(ARGS_BYTES, args_array_bytes, row->data->generation);
    COLUMN(ARGS_BYTES, args_array_bytes, row->data->input);
    COLUMN(ARGS_BYTES, args_array_bytes, row->data->checkpoint);
#undef COLUMN
    return pg_send_write(store, SQL_KEPT_PUT, args);
}

static int drop(struct postgres_store *store) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    args_array(args, ARGS_INTS);
    for (const struct kept_row *row = store->rows.dirty_kept; row; row = row->next_dirty)
        if (row->gone)
            args_array_int(args, row->page);
    args_array_end(args);
    args_array(args, ARGS_INTS);
    for (const struct kept_row *row = store->rows.dirty_kept; row; row = row->next_dirty)
        if (row->gone)
            args_array_int(args, row->index);
    args_array_end(args);
    return pg_send_write(store, SQL_KEPT_DROP, args);
}

int pg_kept_write(struct postgres_store *store) {
    const struct kept_row *first = store->rows.dirty_kept;
    size_t size = 0, n = 0;
    bool gone = false;
    int r = 0;
    for (const struct kept_row *row = first; row && r == 0; row = row->next_dirty) {
        gone |= row->gone;
        if (!row->gone) {
            const struct store_settled *data = row->data;
            size += data->child_key.n + data->generation.n + data->input.n + data->checkpoint.n;
            n++;
        }
        if (n && (size >= AT_ONCE_BYTES || !row->next_dirty)) {
            r = put(store, first, row->next_dirty);
            first = row->next_dirty;
            size = n = 0;
        }
    }
    if (r == 0 && gone)
        r = drop(store);
    for (struct kept_row *row = store->rows.dirty_kept; row; row = row->next_dirty)
        row->dirty = false;
    store->rows.dirty_kept = NULL;
    return r;
}
