/* write_pages.c - writes the pages that a batch has made and changed. */
#include "write.h"

#include "cleanup.h"

#define SMALL_BYTES 4096 /* of a page that is written together with others */
#define AT_ONCE 1000     /* of those */
#define NUMBERS 16
#define BLOBS_OF_PAGE 9

static void numbers_of(const struct postgres_store *store, const struct page_row *page, int64_t *ret_numbers) {
    const struct store_page *from = page->content->page;
    const int64_t numbers[NUMBERS] = {
        page->id,
        page->seq,
        sched_lane(&store->sched, page->lane)->workflow->id,
        page->lane,
        page->n,
        page->place,
        pg_page_rank(page),
        page->priority,
        page->created_utc_us,
        page->not_before_utc_us,
        page->start_by_utc_us,
        from->parent_page,
        from->parent_index,
        page->size,
        page->n_live,
        page->n_queued,
    };
    memcpy(ret_numbers, numbers, sizeof numbers);
}

/* Empty is NULL, but for input and metadata. */
static void blobs_of(const struct page_row *page, struct bytes *ret_blobs) {
    const struct page_content *content = page->content;
    const struct bytes blobs[BLOBS_OF_PAGE] = {
        page->n_live == page->n ? BYTES_NONE : bits_bytes(&page->live, page->n),
        page->n_queued == page->n ? BYTES_NONE : bits_bytes(&page->queued, page->n),
        page->start_by_utc_us ? bits_bytes(&page->touched, page->n) : BYTES_NONE,
        bytes_of(content->first_key, content->first_n),
        bytes_of(content->last_key, content->last_n),
        content->page->input,
        content->page->metadata,
        buf_bytes(&content->keys),
        buf_bytes(&content->rest),
    };
    memcpy(ret_blobs, blobs, sizeof blobs);
}
static const bool never_null[BLOBS_OF_PAGE] = {[5] = true, [6] = true};

static int add_page(struct postgres_store *store, const struct page_row *page) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    int64_t numbers[NUMBERS];
    struct bytes blobs[BLOBS_OF_PAGE];
    numbers_of(store, page, numbers);
    blobs_of(page, blobs);
    for (size_t i = 0; i < NUMBERS; i++)
        args_int(args, numbers[i]);
    for (size_t i = 0; i < BLOBS_OF_PAGE; i++)
        (never_null[i] ? args_bytes : args_bytes_or_null)(args, blobs[i]);
    args_int(args, store->now_utc_us);
    return pg_send_write(store, SQL_PAGE_ADD, args);
}

/* Spawns of few runs each come in numbers: a statement for each would take longer than all else. */
static int add_pages(struct postgres_store *store, const struct page_row *const *pages, size_t n) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    int64_t numbers[NUMBERS];
    struct bytes blobs[BLOBS_OF_PAGE];
    for (size_t column = 0; column < NUMBERS; column++) {
        args_array(args, ARGS_INTS);
        for (size_t i = 0; i < n; i++) {
            numbers_of(store, pages[i], numbers);
            args_array_int(args, numbers[column]);
        }
        args_array_end(args);
    }
    for (size_t column = 0; column < BLOBS_OF_PAGE; column++) {
        args_array(args, ARGS_BYTES);
        for (size_t i = 0; i < n; i++) {
            blobs_of(pages[i], blobs);
            args_array_bytes(args, blobs[column]);
        }
        args_array_end(args);
    }
    args_int(args, store->now_utc_us);
    return pg_send_write(store, SQL_PAGES_ADD, args);
}

static bool is_added(const struct postgres_store *store, const struct page_row *page) {
    return page->is_new && !(store->history_us < 0 && page->place == PAGE_FINISHED);
}

static bool is_small(const struct page_row *page) {
    const struct page_content *content = page->content;
    return content->keys.n + content->rest.n + content->page->input.n + content->page->metadata.n <= SMALL_BYTES;
}

static int add_new_pages(struct postgres_store *store) {
    const struct page_row *small[AT_ONCE];
    size_t n = 0;
    int r = 0;
    for (const struct page_row *page = store->rows.dirty_pages; page && r == 0; page = page->next_dirty) {
        if (!is_added(store, page))
            continue;
        if (!is_small(page)) {
            r = add_page(store, page);
            continue;
        }
        small[n++] = page;
        if (n == AT_ONCE) {
            r = add_pages(store, small, n);
            n = 0;
        }
    }
    if (r == 0 && n > 1)
        r = add_pages(store, small, n);
    else if (r == 0 && n == 1)
        r = add_page(store, small[0]);
    return r;
}

static int put_pages(struct postgres_store *store, const struct page_row *pages) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
#define PAGES(value_) INTS(args, pages, next_dirty, struct page_row, !row->is_new, value_)
    PAGES(row->id);
    PAGES(row->place);
    PAGES(pg_page_rank(row));
    PAGES(row->n_live);
    PAGES(row->n_queued);
    PAGES(row->start_by_utc_us);
    args_int(args, store->now_utc_us);
#undef PAGES
#define PAGES(value_) BLOBS(args, pages, next_dirty, struct page_row, !row->is_new, value_)
    PAGES(bits_bytes(&row->live, row->n));
    PAGES(bits_bytes(&row->queued, row->n));
    PAGES(bits_bytes(&row->touched, row->n));
#undef PAGES
    return pg_send_write(store, SQL_PAGE_PUT, args);
}

static int drop_pages(struct postgres_store *store, const struct page_row *pages) {
    struct args *args = pg_write(store);
    if (!args)
        return -ENOMEM;
    INTS(args, pages, next_dirty, struct page_row, row->place == PAGE_FINISHED && !row->is_new, row->id);
    return pg_send_write(store, SQL_PAGE_DROP, args);
}

int pg_write_pages(struct postgres_store *store) {
    const struct page_row *pages = store->rows.dirty_pages;
    bool old = false;
    for (const struct page_row *page = pages; page && !old; page = page->next_dirty)
        old = !page->is_new;
    int r = add_new_pages(store);
    return r == 0 && old ? put_pages(store, pages) : r;
}

int pg_write_finished_pages(struct postgres_store *store) {
    struct page_row *pages = store->rows.dirty_pages;
    bool gone = false;
    for (const struct page_row *page = pages; page; page = page->next_dirty)
        gone |= !page->is_new && page->place == PAGE_FINISHED;
    int r = gone && store->history_us < 0 ? drop_pages(store, pages) : 0;
    for (struct page_row *page = pages; page; page = page->next_dirty)
        page->dirty = page->is_new = false;
    store->rows.dirty_pages = NULL;
    return r;
}
