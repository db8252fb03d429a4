/* rows.c - see rows.h. */
#include "rows.h"

#include "mem.h"

#include <errno.h>

/* ---- bits ---- */

void bits_fill(struct bits *bits, uint32_t n) {
    *bits = (struct bits){0};
    for (uint32_t i = 0; i < n / 64; i++)
        bits->w[i] = UINT64_MAX;
    if (n % 64)
        bits->w[n / 64] = (UINT64_C(1) << (n % 64)) - 1;
}

uint32_t bits_count(const struct bits *bits) {
    uint32_t n = 0;
    for (int i = 0; i < PAGE_WORDS; i++)
        n += (uint32_t)__builtin_popcountll(bits->w[i]);
    return n;
}

bool bits_read(struct bits *bits, struct bytes from, uint32_t n) {
    struct bits all;
    bits_fill(&all, n);
    *bits = (struct bits){0};
    if (from.n > (n + 7) / 8)
        return false;
    if (from.n)
        memcpy(bits->w, from.p, from.n);
    for (int i = 0; i < PAGE_WORDS; i++)
        if (bits->w[i] & ~all.w[i])
            return false;
    return true;
}

/* ---- finding and adding ---- */

struct pair {
    int64_t a, b;
};

static struct bytes one(const int64_t *id) {
    return bytes_of(id, sizeof *id);
}

static struct bytes two(const struct pair *pair) {
    return bytes_of(pair, sizeof *pair);
}

static void *add(struct map *map, struct bytes key, size_t size) {
    void *row = mem_zalloc(size);
    if (row && map_put(map, key, row) < 0) {
        mem_free(row);
        return NULL;
    }
    return row;
}

struct page_row *rows_page(const struct rows *rows, int64_t id) {
    return map_get(&rows->pages, one(&id));
}

struct page_row *rows_page_add(struct rows *rows, int64_t id) {
    struct page_row *page = add(&rows->pages, one(&id), sizeof *page);
    if (page)
        page->id = id;
    return page;
}

struct trouble_row *rows_trouble(const struct rows *rows, int64_t page, uint32_t index) {
    struct pair pair = {page, index};
    return map_get(&rows->troubles, two(&pair));
}

struct trouble_row *rows_trouble_add(struct rows *rows, int64_t page, uint32_t index) {
    struct pair pair = {page, index};
    struct trouble_row *trouble = add(&rows->troubles, two(&pair), sizeof *trouble);
    if (trouble) {
        trouble->page = page;
        trouble->index = index;
    }
    return trouble;
}

struct lease_row *rows_lease(const struct rows *rows, int64_t id) {
    return map_get(&rows->leases, one(&id));
}

struct lease_row *rows_lease_add(struct rows *rows, int64_t id) {
    struct lease_row *lease = add(&rows->leases, one(&id), sizeof *lease);
    if (lease)
        lease->id = id;
    return lease;
}

struct hold_row *rows_hold(const struct rows *rows, int64_t worker, int64_t lane) {
    struct pair pair = {worker, lane};
    return map_get(&rows->holds, two(&pair));
}

struct hold_row *rows_hold_add(struct rows *rows, int64_t worker, int64_t lane) {
    struct pair pair = {worker, lane};
    struct hold_row *hold = add(&rows->holds, two(&pair), sizeof *hold);
    if (hold) {
        hold->worker = worker;
        hold->lane = lane;
    }
    return hold;
}

struct kept_row *rows_kept(const struct rows *rows, int64_t page, uint32_t index) {
    struct pair pair = {page, index};
    return rows->kept.count ? map_get(&rows->kept, two(&pair)) : NULL;
}

struct kept_row *rows_kept_add(struct rows *rows, int64_t page, uint32_t index) {
    struct pair pair = {page, index};
    struct kept_row *kept = rows_kept(rows, page, index);
    if (!kept)
        kept = add(&rows->kept, two(&pair), sizeof *kept);
    if (kept) {
        kept->page = page;
        kept->index = index;
    }
    return kept;
}

/* ---- what has to be written ---- */

#define MARK(list_, row_)                     \
    do {                                      \
        if (!(row_)->dirty) {                 \
            (row_)->dirty = true;             \
            (row_)->next_dirty = rows->list_; \
            rows->list_ = (row_);             \
        }                                     \
    } while (0)

void rows_page_dirty(struct rows *rows, struct page_row *page) {
    MARK(dirty_pages, page);
}

void rows_trouble_dirty(struct rows *rows, struct trouble_row *trouble) {
    MARK(dirty_troubles, trouble);
}

void rows_lease_dirty(struct rows *rows, struct lease_row *lease) {
    MARK(dirty_leases, lease);
}

void rows_hold_dirty(struct rows *rows, struct hold_row *hold) {
    MARK(dirty_holds, hold);
}

void rows_kept_dirty(struct rows *rows, struct kept_row *kept) {
    MARK(dirty_kept, kept);
}

bool rows_dirty(const struct rows *rows) {
    return rows->dirty_pages || rows->dirty_troubles || rows->dirty_leases || rows->dirty_holds || rows->dirty_kept ||
           rows->ended || rows->asks || rows->answered || rows->notes;
}

int rows_trouble_generation(struct trouble_row *trouble, struct bytes generation) {
    char *copy = mem_memdup(generation.p, generation.n);
    if (!copy)
        return -ENOMEM;
    mem_free(trouble->generation);
    trouble->generation = copy;
    trouble->generation_n = generation.n;
    return 0;
}

int rows_ask(struct ask **list, const struct ask *ask) {
    struct ask *copy = (void *)mem_memdup(ask, sizeof *ask);
    if (!copy)
        return -ENOMEM;
    copy->next = *list;
    *list = copy;
    return 0;
}

struct note *rows_note(struct rows *rows) {
    struct note *note = mem_zalloc(sizeof *note);
    if (!note)
        return NULL;
    *rows->notes_end = note;
    rows->notes_end = &note->next;
    return note;
}

/* ---- the end ---- */

void rows_init(struct rows *rows) {
    *rows = (struct rows){0};
    rows->notes_end = &rows->notes;
}

static void free_content(struct page_content *content) {
    if (!content)
        return;
    buf_free(&content->keys);
    buf_free(&content->rest);
    mem_free(content);
}

static void free_asks(struct ask *ask) {
    for (struct ask *next; ask; ask = next) {
        next = ask->next;
        mem_free(ask);
    }
}

static void free_page(struct page_row *page) {
    free_content(page->content);
    mem_free(page);
}

/* The maps keep their rows but for those that are over. */
static int keep_pages(struct map *into, struct map *from) {
    struct bytes key;
    void *row;
    int r = 0;
    for (size_t at = 0; map_next(from, &at, &key, &row);) {
        struct page_row *page = row;
        bool live = page->n_live > 0 && page->n > 0;
        if (r == 0 && live)
            r = map_put(into, key, page);
        if (r < 0 || !live) {
            free_page(page);
            continue;
        }
        free_content(page->content);
        page->content = NULL;
        page->is_new = page->dirty = page->trouble_known = false;
        page->next_dirty = NULL;
    }
    map_free(from);
    return r;
}

/* Not those on runs in trouble: such runs are not kept. */
static int keep_leases(struct map *into, struct map *from) {
    struct bytes key;
    void *row;
    int r = 0;
    for (size_t at = 0; map_next(from, &at, &key, &row);) {
        struct lease_row *lease = row;
        bool live = !lease->gone && lease->retry < 0;
        if (r == 0 && live)
            r = map_put(into, key, lease);
        if (r < 0 || !live) {
            mem_free(lease);
            continue;
        }
        lease->is_new = lease->dirty = false;
        lease->next_dirty = NULL;
    }
    map_free(from);
    return r;
}

int rows_keep(struct rows *into, struct rows *rows) {
    int r = keep_pages(&into->pages, &rows->pages), leases = keep_leases(&into->leases, &rows->leases);
    struct bytes key;
    void *row;
    into->holds = rows->holds;
    into->holds_known = rows->holds_known;
    rows->holds = rows->holds_known = (struct map){0};
    for (size_t at = 0; map_next(&into->holds, &at, &key, &row);) {
        struct hold_row *hold = row;
        hold->dirty = false;
        hold->next_dirty = NULL;
    }
    if (r < 0 || leases < 0) {
        rows_clear(into);
        return -ENOMEM;
    }
    return 0;
}

void rows_take(struct rows *rows, struct rows *kept) {
    rows->pages = kept->pages;
    rows->leases = kept->leases;
    rows->holds = kept->holds;
    rows->holds_known = kept->holds_known;
    rows_init(kept);
}

void rows_clear(struct rows *rows) {
    struct bytes key;
    void *row;
    for (size_t at = 0; map_next(&rows->pages, &at, &key, &row);)
        free_page(row);
    for (size_t at = 0; map_next(&rows->troubles, &at, &key, &row);) {
        mem_free(((struct trouble_row *)row)->generation);
        mem_free(row);
    }
    for (size_t at = 0; map_next(&rows->leases, &at, &key, &row);)
        mem_free(row);
    for (size_t at = 0; map_next(&rows->holds, &at, &key, &row);)
        mem_free(row);
    for (size_t at = 0; map_next(&rows->kept, &at, &key, &row);) {
        mem_free(((struct kept_row *)row)->memory);
        mem_free(row);
    }
    map_free(&rows->kept);
    map_free(&rows->pages);
    map_free(&rows->troubles);
    map_free(&rows->leases);
    map_free(&rows->holds);
    map_free(&rows->holds_known);
    for (struct ended_row *ended = rows->ended, *next; ended; ended = next) {
        next = ended->next;
        buf_free(&ended->what);
        mem_free(ended);
    }
    free_asks(rows->asks);
    free_asks(rows->answered);
    for (struct note *note = rows->notes, *next; note; note = next) {
        next = note->next;
        mem_free(note);
    }
    rows_init(rows);
}
