/* rates.c - see rates.h. */
#include "rates.h"

#include "cleanup.h"
#include "store.h"

static int64_t ends_utc_us(const struct rate *rate) {
    return rate->window_utc_us + rate->period_us;
}

static bool ends_before(struct heap_link *a, struct heap_link *b) {
    return ends_utc_us(LIST_ENTRY(a, struct rate, ending)) < ends_utc_us(LIST_ENTRY(b, struct rate, ending));
}

static bool full_before(struct heap_link *a, struct heap_link *b) {
    return ends_utc_us(LIST_ENTRY(a, struct rate, full_link)) < ends_utc_us(LIST_ENTRY(b, struct rate, full_link));
}

void rates_init(struct rates *rates) {
    *rates = (struct rates){.now_utc_us = INT64_MAX}; /* so that the first turn looks at all, too */
    heap_init(&rates->ending, ends_before);
    heap_init(&rates->full, full_before);
}

void rates_free(struct rates *rates) {
    struct bytes key;
    void *rate;
    for (size_t at = 0; map_next(&rates->map, &at, &key, &rate);)
        mem_free(rate);
    map_free(&rates->map);
}

int rates_get(struct rates *rates, int64_t period_us, struct bytes key, struct rate **ret_rate) {
    _cleanup_buf_ struct buf name = {0};
    int r = buf_add(&name, &period_us, sizeof period_us);
    if (r == 0)
        r = buf_add_bytes(&name, key);
    if (r < 0)
        return r;
    struct rate *rate = map_get(&rates->map, buf_bytes(&name));
    if (!rate) {
        rate = mem_zalloc(sizeof *rate + key.n);
        if (!rate)
            return -ENOMEM;
        rate->period_us = period_us;
        list_init(&rate->rule_keys);
        rate->key_n = key.n;
        if (key.n)
            memcpy(rate->key, key.p, key.n);
        if (map_put(&rates->map, buf_bytes(&name), rate) < 0) {
            mem_free(rate);
            return -ENOMEM;
        }
    }
    *ret_rate = rate;
    return 0;
}

void rates_drop_unused(struct rates *rates, struct rate *rate) {
    if (rate->used || rate->dirty || !list_empty(&rate->rule_keys))
        return;
    char name[sizeof rate->period_us + STORE_NAME_MAX];
    memcpy(name, &rate->period_us, sizeof rate->period_us);
    if (rate->key_n)
        memcpy(name + sizeof rate->period_us, rate->key, rate->key_n);
    map_remove(&rates->map, bytes_of(name, sizeof rate->period_us + rate->key_n));
    mem_free(rate);
}

static void set_dirty(struct rates *rates, struct rate *rate) {
    if (rate->dirty)
        return;
    rate->dirty = true;
    rate->next_dirty = rates->dirty;
    rates->dirty = rate;
}

void rates_restore(struct rates *rates, struct rate *rate, int64_t window_utc_us, uint64_t used) {
    rate->window_utc_us = window_utc_us;
    rate->used = used;
    heap_push(&rates->ending, &rate->ending);
}

void rates_use(struct rates *rates, struct rate *rate, uint64_t n) {
    if (n == 0)
        return;
    if (rate->used == 0) {
        rate->window_utc_us = rates->now_utc_us - rates->now_utc_us % rate->period_us;
        heap_push(&rates->ending, &rate->ending);
    }
    rate->used += n;
    set_dirty(rates, rate);
}

static void end_window(struct rates *rates, struct rate *rate) {
    heap_remove(&rates->ending, &rate->ending);
    if (rate->in_full)
        heap_remove(&rates->full, &rate->full_link);
    rate->in_full = false;
    rate->used = 0;
    set_dirty(rates, rate);
}

/* Looks at all of them; only when the clock went back. */
static struct rate *far_ahead(struct rates *rates, int64_t now_utc_us) {
    struct bytes key;
    void *value;
    for (size_t at = 0; map_next(&rates->map, &at, &key, &value);) {
        struct rate *rate = value;
        if (rate->used && rate->window_utc_us > now_utc_us + rate->period_us)
            return rate;
    }
    return NULL;
}

struct rate *rates_turn(struct rates *rates, int64_t now_utc_us) {
    struct heap_link *top = heap_top(&rates->ending);
    struct rate *rate = top ? LIST_ENTRY(top, struct rate, ending) : NULL;
    if (rate && ends_utc_us(rate) > now_utc_us)
        rate = NULL;
    if (!rate && now_utc_us < rates->now_utc_us)
        rate = far_ahead(rates, now_utc_us);
    if (rate)
        end_window(rates, rate);
    else
        rates->now_utc_us = now_utc_us;
    return rate;
}

void rates_mark_full(struct rates *rates, struct rate *rate) {
    if (rate->in_full || rate->used == 0)
        return;
    rate->in_full = true;
    heap_push(&rates->full, &rate->full_link);
}

int64_t rates_next(struct rates *rates, bool (*is_full)(const struct rate *rate)) {
    for (struct heap_link *top; (top = heap_top(&rates->full));) {
        struct rate *rate = LIST_ENTRY(top, struct rate, full_link);
        if (is_full(rate))
            return ends_utc_us(rate);
        heap_pop(&rates->full);
        rate->in_full = false;
    }
    return 0;
}
