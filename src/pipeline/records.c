/* records.c - what was processed and stays in its bucket (`then: keep`, `then: tag`): a record of each such object and
 * the ETag it had keeps that state of it from being processed again.
 *
 * A record is a value of the store, "kept/<bucket>/<hash of the key>" with a hash of the ETag: some 100 bytes, whatever
 * the key's length. There is one for each key that was ever kept; it is replaced when the object is kept in another
 * state, and goes when froe finds the object gone or deletes it. Both hashes have 128 bits, so two keys or ETags are
 * not mistaken for each other. Records are read when a listing finds the object again, and once more when its run
 * begins, as that listing may have been faster than the record.
 *
 * Where no rule keeps (any more) nothing is read, and what is deleted has its record removed unseen. So that this costs
 * nothing in a store that never had any, the first one leaves the value "kept" there.
 *
 * Values become durable in the order of ends of tasks, so a run that is settled has left its record. */
#include "private.h"

#include "hash.h"
#include "text.h"

/* The same for ever: it is what the store's names are made with. */
static const struct hash_key hash_key = {UINT64_C(0x66726f65206b6570), UINT64_C(0x7420726563726473)};

static const char mark[] = "kept"; /* records have a '/' after it */

static int add_hash(struct buf *buf, struct bytes data) {
    struct hash128 hash = hash128(&hash_key, data);
    unsigned char raw[16];
    for (int i = 0; i < 8; i++) {
        raw[i] = (unsigned char)(hash.lo >> (8 * i));
        raw[8 + i] = (unsigned char)(hash.hi >> (8 * i));
    }
    return text_add_hex(buf, raw, sizeof raw);
}

static int add_name(struct buf *name, struct bytes bucket, struct bytes key) {
    int r = buf_add_str(name, "kept/");
    r = r < 0 ? r : buf_add_bytes(name, bucket);
    r = r < 0 ? r : buf_add_byte(name, '/');
    return r < 0 ? r : add_hash(name, key);
}

static int put_mark(struct pipeline *pipeline) {
    if (froe_value_put(pipeline->options.engine, mark, "1", 1, NULL, NULL, NULL) != FROE_OK)
        return -ENOMEM;
    pipeline->records = RECORDS_SOME;
    return 0;
}

int records_put(struct pipeline *pipeline, struct bytes bucket, struct bytes key, struct bytes etag) {
    _cleanup_buf_ struct buf name = {0}, value = {0};
    int r = add_name(&name, bucket, key);
    if (r == 0 && etag.n > 0)
        r = add_hash(&value, bytes_unquoted(etag));
    if (r == 0 && etag.n > 0 && pipeline->records != RECORDS_SOME)
        r = put_mark(pipeline);
    if (r == 0 && froe_value_put(pipeline->options.engine, name.p, value.p, value.n, NULL, NULL, NULL) != FROE_OK)
        r = -ENOMEM;
    return r;
}

int records_get(struct pipeline *pipeline, struct bytes bucket, struct bytes key,
                void (*got)(void *arg, const void *data, size_t n, const froe_error *error), void *arg) {
    _cleanup_buf_ struct buf name = {0};
    int r = add_name(&name, bucket, key);
    if (r == 0 && froe_value_get(pipeline->options.engine, name.p, got, arg, NULL) != FROE_OK)
        r = -ENOMEM;
    return r;
}

static void asked(void *arg, const void *data, size_t n, const froe_error *error) {
    struct pipeline *pipeline = arg;
    (void)n;
    if (!error && pipeline->records == RECORDS_MAYBE) /* else one was put meanwhile */
        pipeline->records = data ? RECORDS_SOME : RECORDS_NONE;
}

void records_ask(struct pipeline *pipeline) {
    froe_value_get(pipeline->options.engine, mark, asked, pipeline, NULL);
}

bool records_match(struct bytes record, struct bytes etag) {
    _cleanup_buf_ struct buf value = {0};
    return etag.n > 0 && record.n > 0 && add_hash(&value, bytes_unquoted(etag)) == 0 &&
           bytes_equal(buf_bytes(&value), record);
}

/* ---- a page of a listing ---- */

struct asked {
    struct records_page *page;
    size_t at;
    bool kept;
};

struct records_page {
    froe_item *items;
    struct buf memory; /* keys and generations */
    struct asked *asked;
    size_t n, open;
    bool failed;
    records_page_fn *done;
    void *arg;
};

static void free_page(struct records_page *page) {
    mem_free(page->items);
    mem_free(page->asked);
    buf_free(&page->memory);
    mem_free(page);
}

static void end_one(struct records_page *page) {
    if (--page->open > 0)
        return;
    size_t n = 0;
    for (size_t i = 0; i < page->n; i++)
        if (!page->asked[i].kept)
            page->items[n++] = page->items[i];
    page->done(page->arg, page->failed ? NULL : page->items, n, page->n - n);
    free_page(page);
}

static void told(void *arg, const void *data, size_t n, const froe_error *error) {
    struct asked *asked = arg;
    struct records_page *page = asked->page;
    const froe_item *item = &page->items[asked->at];
    page->failed |= error != NULL;
    asked->kept = !error && records_match(bytes_of(data, n), bytes_of(item->generation, item->generation_n));
    end_one(page);
}

static int copy_items(struct records_page *page, const froe_item *items, size_t n) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += items[i].child_key_n + items[i].generation_n;
    page->items = mem_calloc(n, sizeof *items);
    page->asked = mem_calloc(n, sizeof *page->asked);
    if (!page->items || !page->asked || buf_reserve(&page->memory, total) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        page->items[i] = items[i];
        page->items[i].child_key = page->memory.p + page->memory.n;
        buf_add(&page->memory, items[i].child_key, items[i].child_key_n);
        page->items[i].generation = page->memory.p + page->memory.n;
        buf_add(&page->memory, items[i].generation, items[i].generation_n);
    }
    page->n = n;
    return 0;
}

int records_filter_page(struct pipeline *pipeline, struct bytes bucket, const froe_item *items, const bool *may_be,
                        size_t n, records_page_fn *done, void *arg) {
    struct records_page *page = mem_zalloc(sizeof *page);
    if (!page)
        return -ENOMEM;
    if (copy_items(page, items, n) < 0) {
        free_page(page);
        return -ENOMEM;
    }
    page->done = done;
    page->arg = arg;
    size_t asked = 0;
    page->open = 1;
    for (size_t i = 0; i < n && !page->failed; i++) {
        page->asked[i] = (struct asked){.page = page, .at = i};
        if (!may_be[i])
            continue;
        struct bytes key =
            bytes_of((const char *)page->items[i].child_key + bucket.n + 1, page->items[i].child_key_n - bucket.n - 1);
        page->open++;
        if (records_get(pipeline, bucket, key, told, &page->asked[i]) < 0) {
            page->open--;
            page->failed = true;
        } else
            asked++;
    }
    if (asked == 0) { /* nobody would ever tell */
        bool failed = page->failed;
        free_page(page);
        return failed ? -ENOMEM : 1;
    }
    page->open--;
    return 0;
}
