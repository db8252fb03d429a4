/* rates.h - how many units of each rate limit were used in its present window, in memory. No I/O.
 *
 * A rate is what all RATE_LIMIT rules with the same key and period count together. Windows begin at multiples of the
 * period since 1970; a rate is in use from the first unit in a window until rates_turn finds that window over. */
#pragma once

#include "heap.h"
#include "map.h"

struct rate {
    int64_t period_us;
    int64_t window_utc_us; /* when the present window began */
    uint64_t used;         /* in it; 0: not in use */
    struct list rule_keys; /* struct rule_key, by its `of_rate` */
    struct heap_link ending, full_link;
    bool in_full;
    bool dirty; /* the file has another count */
    struct rate *next_dirty;
    size_t key_n;
    char key[];
};

struct rates {
    struct map map;     /* period and key -> struct rate, owned */
    struct heap ending; /* those in use, by the end of their window */
    struct heap full;   /* those of which some rule has nothing left (or had, when its max_runs were less) */
    struct rate *dirty;
    int64_t now_utc_us; /* of the last turn */
};

void rates_init(struct rates *rates);
void rates_free(struct rates *rates);
/* Finds it or makes it; -ENOMEM. */
int rates_get(struct rates *rates, int64_t period_us, struct bytes key, struct rate **ret_rate);
void rates_use(struct rates *rates, struct rate *rate, uint64_t n);
/* As the file has it: not dirty unless that window is over. */
void rates_restore(struct rates *rates, struct rate *rate, int64_t window_utc_us, uint64_t used);
/* Notes the time; gives a rate whose window is over, not in use any more, or NULL. Call until then. Also those of
 * windows that are in the future by more than a period, as the clock was put back. */
struct rate *rates_turn(struct rates *rates, int64_t now_utc_us);
/* Frees one that no rule's key has any more, that is not in use, and whose row is gone (not dirty). */
void rates_drop_unused(struct rates *rates, struct rate *rate);
void rates_mark_full(struct rates *rates, struct rate *rate);
/* When the next window of a full rate begins; 0: none is full. `is_full` judges. */
int64_t rates_next(struct rates *rates, bool (*is_full)(const struct rate *rate));

static inline struct bytes rate_key(const struct rate *rate) {
    return bytes_of(rate->key, rate->key_n);
}
