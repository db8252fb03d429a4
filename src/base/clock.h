/* clock.h - time, behind a seam so that tests can move it.
 *
 * Two kinds that must never be mixed: utc (microseconds since 1970, for data that outlives the process; may jump) and
 * mono (microseconds since some start, for intervals and timeouts; never goes back). Names carry `_utc_us` or
 * `_mono_us`; a length of time ends in `_us` alone. */
#pragma once

#include <stdint.h>

struct clock {
    int64_t (*utc_us)(void *arg);
    int64_t (*mono_us)(void *arg);
    void *arg;
};

/* CLOCK_REALTIME and CLOCK_BOOTTIME: time in which the machine slept has passed, too (CLOCK_MONOTONIC would let who
 * wakes up believe that what others took over meanwhile is still his). */
extern const struct clock clock_system;

static inline int64_t clock_utc_us(const struct clock *clock) {
    return clock->utc_us(clock->arg);
}

static inline int64_t clock_mono_us(const struct clock *clock) {
    return clock->mono_us(clock->arg);
}

#define US_PER_MS INT64_C(1000)
#define US_PER_S INT64_C(1000000)
#define US_PER_MIN (60 * US_PER_S)
#define US_PER_HOUR (60 * US_PER_MIN)

/* UTC calendar time from microseconds since 1970, without the process's time zone. */
struct clock_date {
    int year, month, day; /* month 1-12, day 1-31 */
    int hour, minute, second, us;
    int weekday; /* 0: Sunday */
};
void clock_date_utc(int64_t utc_us, struct clock_date *ret_date);
/* The way back; weekday is not read, and the year must be one that microseconds reach (within 292 thousand of 1970). */
int64_t clock_from_date_utc(const struct clock_date *date);
