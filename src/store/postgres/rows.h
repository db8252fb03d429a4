/* rows.h - the rows that a batch has read and changed: pages, runs in trouble, leases, holds.
 *
 * Under the lock a row is read once, changed in memory, and written when the batch commits or before the next reading.
 * A row that is here is the truth; one read again is passed over. All of it is dropped with the batch. */
#pragma once

#include "bytes.h"
#include "list.h"
#include "map.h"
#include "store.h"

#define PAGE_WORDS ((STORE_PAGE_MAX + 63) / 64)
struct bits {
    uint64_t w[PAGE_WORDS];
};

static inline bool bits_get(const struct bits *bits, uint32_t i) {
    return bits->w[i / 64] >> (i % 64) & 1;
}
static inline void bits_set(struct bits *bits, uint32_t i) {
    bits->w[i / 64] |= UINT64_C(1) << (i % 64);
}
static inline void bits_clear(struct bits *bits, uint32_t i) {
    bits->w[i / 64] &= ~(UINT64_C(1) << (i % 64));
}
void bits_fill(struct bits *bits, uint32_t n);
uint32_t bits_count(const struct bits *bits);
static inline struct bytes bits_bytes(const struct bits *bits, uint32_t n) {
    return bytes_of(bits->w, (n + 7) / 8); /* little-endian words */
}
/* From a column; NULL means `otherwise`. False when it has runs beyond n. */
bool bits_read(struct bits *bits, struct bytes from, uint32_t n);

enum page_place {
    PAGE_FINISHED, /* no run is left; the row is history */
    PAGE_READY,    /* has queued runs */
    PAGE_DELAYED,  /* likewise, and waits for its time */
    PAGE_LEASED,   /* has runs, all of them leased */
};

/* What a new page's row needs beside the struct page_row. */
struct page_content {
    const struct store_page *page;
    struct buf keys, rest; /* packed items: child keys; generations and inputs */
    char first_key[256], last_key[256];
    size_t first_n, last_n;
};

struct page_row {
    int64_t id, seq, lane;
    int64_t not_before_utc_us, start_by_utc_us, created_utc_us, size;
    uint32_t n, n_live, n_queued;
    unsigned priority;
    enum page_place place;
    struct bits live, queued, touched; /* touched: ever leased; only kept when the page has a start_by */
    bool trouble_known;                /* all of its live runs in trouble are in memory */
    bool dirty, is_new;
    struct page_content *content; /* of a new one */
    struct page_row *next_dirty;
};

enum trouble_state { TROUBLE_FINISHED, TROUBLE_WAITING, TROUBLE_PARKED, TROUBLE_LEASED };

struct trouble_row {
    int64_t page, lane, due_utc_us, size;
    uint32_t index, attempts;
    enum trouble_state state;
    enum store_outcome outcome; /* FINISHED */
    char *generation;           /* owned */
    size_t generation_n;
    const struct store_settled *data; /* to be written whole */
    bool dirty, is_new;
    struct trouble_row *next_dirty;
};

struct lease_row {
    int64_t id, worker, lane, page;
    int32_t retry; /* the index of a run in trouble; -1: runs of the page */
    uint32_t n, n_page;
    struct bits bits, asked;
    bool dirty, is_new, gone;
    struct lease_row *next_dirty;
};

/* What a leased run of a page gave to be kept. */
struct kept_row {
    int64_t page;
    uint32_t index;
    const struct store_settled *data; /* the caller's or `own`; NULL: not known, nor of use */
    struct store_settled own;
    char *memory; /* of own */
    bool dirty, gone;
    struct kept_row *next_dirty;
};

/* A worker's tokens on a lane. */
struct hold_row {
    int64_t worker, lane;
    uint32_t tokens, leased;
    bool dirty, in_table;
    struct hold_row *next_dirty;
};

/* Attempts of one page that ended in this batch on one worker. */
struct ended_row {
    int64_t page;
    struct buf what; /* history.c */
    uint32_t runs;
    struct ended_row *next;
    struct bytes worker; /* points to `name` */
    char name[];
};

struct ask {
    int64_t worker, lease, page;
    uint32_t index;
    bool driven_out;
    struct ask *next;
};

struct note { /* a value or a log line */
    enum { NOTE_VALUE, NOTE_LOG, NOTE_TICK } kind;
    struct bytes name, value;
    int64_t page, workflow, utc_us, oldest_utc_us; /* ticks before this one are dropped */
    uint32_t index;
    int level;
    struct note *next;
};

struct rows {
    struct map pages, troubles, leases, holds, kept;
    struct page_row *dirty_pages;
    struct trouble_row *dirty_troubles;
    struct lease_row *dirty_leases;
    struct hold_row *dirty_holds;
    struct kept_row *dirty_kept;
    struct ended_row *ended;
    struct ask *asks, *answered; /* to be told to workers; settled before or after they were */
    struct note *notes, **notes_end;
    struct map holds_known; /* worker -> non-NULL when all its holds are here */
};

void rows_init(struct rows *rows);
void rows_clear(struct rows *rows);
bool rows_dirty(const struct rows *rows);
/* At the end of a batch: moves what the tables now say of pages with live runs, their leases and holds into `into`,
 * which is empty. -ENOMEM: nothing is in there. */
int rows_keep(struct rows *into, struct rows *rows);
void rows_take(struct rows *rows, struct rows *kept); /* at the start: what rows_keep gave, which is empty then */

struct page_row *rows_page(const struct rows *rows, int64_t id); /* NULL: not here */
struct page_row *rows_page_add(struct rows *rows, int64_t id);   /* zeroed; NULL: no memory */
struct trouble_row *rows_trouble(const struct rows *rows, int64_t page, uint32_t index);
struct trouble_row *rows_trouble_add(struct rows *rows, int64_t page, uint32_t index);
struct lease_row *rows_lease(const struct rows *rows, int64_t id);
struct lease_row *rows_lease_add(struct rows *rows, int64_t id);
struct hold_row *rows_hold(const struct rows *rows, int64_t worker, int64_t lane);
struct hold_row *rows_hold_add(struct rows *rows, int64_t worker, int64_t lane);
struct kept_row *rows_kept(const struct rows *rows, int64_t page, uint32_t index);
struct kept_row *rows_kept_add(struct rows *rows, int64_t page, uint32_t index); /* or the one that is here */

void rows_page_dirty(struct rows *rows, struct page_row *page);
void rows_trouble_dirty(struct rows *rows, struct trouble_row *trouble);
void rows_lease_dirty(struct rows *rows, struct lease_row *lease);
void rows_hold_dirty(struct rows *rows, struct hold_row *hold);
void rows_kept_dirty(struct rows *rows, struct kept_row *kept);
int rows_trouble_generation(struct trouble_row *trouble, struct bytes generation);
int rows_ask(struct ask **list, const struct ask *ask); /* a copy of it into the list */
struct note *rows_note(struct rows *rows);              /* zeroed, at the end of the list; NULL: no memory */
