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

/* Of at most `max`. */
static int read_number(const unsigned char **at, const unsigned char *end, size_t max, size_t *ret_value) {
    uint64_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
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
    }
    return r;
}

int packing_read_rules(struct bytes packed, struct store_rule *rules) {
    const unsigned char *at = start_of(packed), *end = at + packed.n;
    size_t n, max_runs;
    int r = read_number(&at, end, STORE_RULES_MAX, &n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (at == end || (*at != STORE_GROUP_ROUND_ROBIN && *at != STORE_CANCEL_NEWEST))
            return -EBADMSG;
        rules[i].strategy = (enum store_strategy) * at++;
        r = read_number(&at, end, UINT32_MAX, &max_runs);
        if (r == 0)
            rules[i].max_runs = (uint32_t)max_runs;
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
