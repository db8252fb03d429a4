/* packing.c - varints, shared prefixes, lengths. */
#include "packing.h"

#define VERSION 1

enum { HAS_GENERATIONS = 1, HAS_INPUTS = 2 };

static int add_number(struct buf *buf, uint64_t value) {
    unsigned char bytes[10];
    size_t n = 0;
    do {
        bytes[n] = (unsigned char)(value & 0x7f);
        value >>= 7;
        if (value)
            bytes[n] |= 0x80;
        n++;
    } while (value);
    return buf_add(buf, bytes, n);
}

static int add_bytes(struct buf *buf, struct bytes bytes) {
    int r = add_number(buf, bytes.n);
    return r < 0 ? r : buf_add_bytes(buf, bytes);
}

/* Of at most `max`, which is at most INT64_MAX. */
static int read_number(const unsigned char **at, const unsigned char *end, uint64_t max, size_t *ret_value) {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
        if (*at == end)
            return -EBADMSG;
        unsigned char byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        if (value > max)
            return -EBADMSG;
        *ret_value = (size_t)value;
        return 0;
    }
    return -EBADMSG;
}

static int read_bytes(const unsigned char **at, const unsigned char *end, size_t max, struct bytes *ret_bytes) {
    size_t n;
    int r = read_number(at, end, max, &n);
    if (r < 0)
        return r;
    if ((size_t)(end - *at) < n)
        return -EBADMSG;
    *ret_bytes = n ? bytes_of(*at, n) : BYTES_NONE;
    *at += n;
    return 0;
}

int packing_add_keys(struct buf *buf, const struct bytes *keys, size_t n) {
    int r = add_number(buf, n);
    for (size_t i = 0; i < n && r == 0; i++)
        r = add_bytes(buf, keys[i]);
    return r;
}

static const unsigned char *start_of(struct bytes packed) {
    return (const unsigned char *)packed.p;
}

int packing_read_keys(struct bytes packed, struct bytes *keys) {
    const unsigned char *at = start_of(packed), *end = at + packed.n;
    size_t n;
    int r = read_number(&at, end, STORE_RULES_MAX, &n);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = read_bytes(&at, end, STORE_NAME_MAX, &keys[i]);
    if (r == 0 && at != end)
        r = -EBADMSG;
    return r < 0 ? r : (int)n;
}

int packing_add_rules(struct buf *buf, const struct store_rule *rules, size_t n) {
    int r = add_number(buf, n);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = buf_add_byte(buf, (char)rules[i].strategy);
        if (r == 0)
            r = add_number(buf, rules[i].max_runs);
        if (r == 0 && rules[i].strategy == STORE_RATE_LIMIT)
            r = add_number(buf, (uint64_t)rules[i].period_us);
    }
    return r;
}

int packing_read_rules(struct bytes packed, struct store_rule *rules) {
    const unsigned char *at = start_of(packed), *end = at + packed.n;
    size_t n, max_runs, period;
    int r = read_number(&at, end, STORE_RULES_MAX, &n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (at == end || *at < STORE_GROUP_ROUND_ROBIN || *at > STORE_RATE_LIMIT)
            return -EBADMSG;
        rules[i] = (struct store_rule){.strategy = (enum store_strategy) * at++};
        r = read_number(&at, end, UINT32_MAX, &max_runs);
        if (r == 0)
            rules[i].max_runs = (uint32_t)max_runs;
        if (r == 0 && rules[i].strategy == STORE_RATE_LIMIT) {
            r = read_number(&at, end, INT64_MAX, &period);
            rules[i].period_us = r == 0 && period > 0 ? (int64_t)period : 1;
        }
    }
    if (r == 0 && at != end)
        r = -EBADMSG;
    return r < 0 ? r : (int)n;
}

static size_t shared_prefix(struct bytes a, struct bytes b) {
    size_t max = a.n < b.n ? a.n : b.n, n = 0;
    while (n < max && a.p[n] == b.p[n])
        n++;
    return n;
}

int packing_add_items(struct buf *buf, const struct store_item *items, const uint16_t *which, size_t n) {
    unsigned has = 0;
    for (size_t i = 0; i < n; i++) {
        const struct store_item *item = &items[which[i]];
        has |= (item->generation.n ? HAS_GENERATIONS : 0u) | (item->input.n ? HAS_INPUTS : 0u);
    }
    char head[2] = {VERSION, (char)has};
    int r = buf_add(buf, head, sizeof head);
    struct bytes before = BYTES_NONE;
    for (size_t i = 0; i < n && r == 0; i++) {
        const struct store_item *item = &items[which[i]];
        struct bytes key = item->child_key;
        size_t shared = shared_prefix(before, key);
        before = key;
        r = add_number(buf, shared);
        if (r == 0)
            r = add_bytes(buf, key.n ? bytes_of(key.p + shared, key.n - shared) : BYTES_NONE);
        if (r == 0 && (has & HAS_GENERATIONS))
            r = add_bytes(buf, item->generation);
        if (r == 0 && (has & HAS_INPUTS))
            r = add_bytes(buf, item->input);
    }
    return r;
}

int packing_reader_init(struct packing_reader *reader, struct bytes packed) {
    if (packed.n < 2 || packed.p[0] != VERSION)
        return -EBADMSG;
    reader->at = start_of(packed) + 2;
    reader->end = start_of(packed) + packed.n;
    reader->has = (unsigned char)packed.p[1];
    reader->key_n = 0;
    return 0;
}

int packing_next(struct packing_reader *reader, struct store_item *ret_item) {
    size_t shared;
    struct bytes rest;
    int r = read_number(&reader->at, reader->end, reader->key_n, &shared);
    if (r == 0)
        r = read_bytes(&reader->at, reader->end, STORE_NAME_MAX - shared, &rest);
    if (r < 0)
        return r;
    struct store_item item = {0};
    if (rest.n)
        memcpy(reader->key + shared, rest.p, rest.n);
    reader->key_n = shared + rest.n;
    if (reader->key_n)
        item.child_key = bytes_of(reader->key, reader->key_n);
    if (reader->has & HAS_GENERATIONS)
        r = read_bytes(&reader->at, reader->end, STORE_NAME_MAX, &item.generation);
    if (r == 0 && (reader->has & HAS_INPUTS))
        r = read_bytes(&reader->at, reader->end, STORE_DATA_MAX, &item.input);
    if (r == 0)
        *ret_item = item;
    return r;
}

bool packing_at_end(const struct packing_reader *reader) {
    return reader->at == reader->end;
}

/* ---- ended attempts ---- */

enum {
    RECORD_OUTCOME = 7,
    RECORD_NUMBER = 8,
    RECORD_ERROR = 16,
    RECORD_RESULT = 32,
    RECORD_OWN = 64,
    RECORD_INDEX = 128
};

/* Errors come in whole batches of the same: a reason. Longer ones are only looked at when they lie in one place. */
static bool same_error(struct bytes a, struct bytes b) {
    return a.n == b.n && (a.p == b.p || (a.n < 256 && memcmp(a.p, b.p, a.n) == 0));
}

static int add_own(struct buf *buf, const struct packing_own *own) {
    const uint64_t numbers[] = {(uint64_t)own->lane, (uint64_t)own->created_utc_us, (uint64_t)own->parent_page,
                                own->parent_index, own->priority};
    const struct bytes values[] = {own->child_key, own->generation, own->input, own->metadata};
    int r = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && r == 0; i++)
        r = add_number(buf, numbers[i]);
    for (size_t i = 0; i < sizeof values / sizeof values[0] && r == 0; i++)
        r = add_bytes(buf, values[i]);
    return r;
}

int packing_add_record(struct buf *buf, const struct packing_record *before, const struct packing_record *record) {
    int r = before ? 0 : buf_add_byte(buf, VERSION);
    bool next = record->index == (before ? before->index + 1 : 0);
    unsigned head = (unsigned)record->outcome | (record->attempt != 1 ? RECORD_NUMBER : 0u) |
                    (record->error.n ? RECORD_ERROR : 0u) | (record->result.n ? RECORD_RESULT : 0u) |
                    (record->own ? RECORD_OWN : 0u) | (next ? 0u : RECORD_INDEX);
    if (r == 0)
        r = buf_add_byte(buf, (char)head);
    if (r == 0 && (head & RECORD_INDEX))
        r = add_number(buf, record->index);
    if (r == 0 && (head & RECORD_NUMBER))
        r = add_number(buf, record->attempt);
    if (r == 0)
        r = add_number(buf, record->duration_us > 0 ? (uint64_t)record->duration_us : 0);
    if (r == 0 && (head & RECORD_ERROR)) {
        bool same = before && same_error(before->error, record->error);
        r = add_number(buf, same ? 0 : record->error.n + 1);
        if (r == 0 && !same)
            r = buf_add_bytes(buf, record->error);
    }
    if (r == 0 && (head & RECORD_RESULT))
        r = add_bytes(buf, record->result);
    if (r == 0 && (head & RECORD_OWN))
        r = add_own(buf, record->own);
    return r;
}

int packing_records_init(struct packing_records *records, struct bytes packed) {
    if (packed.n < 1 || packed.p[0] != VERSION)
        return -EBADMSG;
    *records = (struct packing_records){
        .at = start_of(packed) + 1, .end = start_of(packed) + packed.n, .last.index = UINT32_MAX};
    return 0;
}

static int read_error(struct packing_records *records, struct bytes *error) {
    size_t n;
    int r = read_number(&records->at, records->end, STORE_DATA_MAX + 1, &n);
    if (r < 0 || n == 0) {
        *error = records->last.error;
        return r == 0 && error->n == 0 ? -EBADMSG : r;
    }
    n--;
    if (n == 0 || (size_t)(records->end - records->at) < n)
        return -EBADMSG;
    *error = bytes_of(records->at, n);
    records->at += n;
    return 0;
}

static int read_own(struct packing_records *records, struct packing_own *own) {
    size_t numbers[5];
    static const uint64_t most[] = {INT64_MAX, INT64_MAX, INT64_MAX, UINT32_MAX, 3};
    struct bytes *const values[] = {&own->child_key, &own->generation, &own->input, &own->metadata};
    static const size_t longest[] = {STORE_NAME_MAX, STORE_NAME_MAX, STORE_DATA_MAX, STORE_DATA_MAX};
    int r = 0;
    for (size_t i = 0; i < 5 && r == 0; i++)
        r = read_number(&records->at, records->end, most[i], &numbers[i]);
    for (size_t i = 0; i < 4 && r == 0; i++)
        r = read_bytes(&records->at, records->end, longest[i], values[i]);
    if (r < 0)
        return r;
    own->lane = (int64_t)numbers[0];
    own->created_utc_us = (int64_t)numbers[1];
    own->parent_page = (int64_t)numbers[2];
    own->parent_index = (uint32_t)numbers[3];
    own->priority = (uint32_t)numbers[4];
    return 0;
}

int packing_next_record(struct packing_records *records, struct packing_record *ret_record) {
    if (records->at == records->end)
        return 0;
    unsigned head = *records->at++;
    struct packing_record record = {
        .outcome = (enum store_outcome)(head & RECORD_OUTCOME), .index = records->last.index + 1, .attempt = 1};
    size_t value = record.index;
    int r = 0;
    if (head & RECORD_INDEX)
        r = read_number(&records->at, records->end, STORE_PAGE_MAX - 1, &value);
    record.index = (uint32_t)value;
    if (r == 0 && (head & RECORD_NUMBER)) {
        r = read_number(&records->at, records->end, UINT32_MAX, &value);
        record.attempt = (uint32_t)value;
    }
    if (r == 0)
        r = read_number(&records->at, records->end, INT64_MAX, &value);
    record.duration_us = (int64_t)value;
    if (r == 0 && (head & RECORD_ERROR))
        r = read_error(records, &record.error);
    if (r == 0 && (head & RECORD_RESULT))
        r = read_bytes(&records->at, records->end, STORE_DATA_MAX, &record.result);
    if (r == 0 && (head & RECORD_OWN)) {
        r = read_own(records, &records->own);
        record.own = &records->own;
    }
    if (r < 0 || record.index >= STORE_PAGE_MAX || record.outcome < STORE_DONE || record.outcome > STORE_FAILED)
        return -EBADMSG;
    records->last = record;
    *ret_record = record;
    return 1;
}
