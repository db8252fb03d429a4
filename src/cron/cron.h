/* cron.h - cron expressions: parse once, ask for the next firing. Pure functions, no I/O; UTC.
 *
 * Five fields (minute hour day-of-month month day-of-week), or six with leading seconds. In each field: `*`, numbers,
 * names (JAN-DEC, SUN-SAT, any case), ranges a-b, steps `*`/n and a-b/n, lists with commas. Sunday is 0 or 7. When both
 * day-of-month and day-of-week are restricted (do not start with `*`), a day that matches either fires, as in Vixie
 * cron. Fields are separated by spaces or tabs. A step is at most as large as its field; SUN ends a range as 7
 * (FRI-SUN). */
#pragma once

#include "bytes.h"
#include "err.h"

#define CRON_TEXT_MAX 1024 /* bytes of expression */

struct cron {
    uint64_t seconds, minutes; /* bit n: fires at n */
    uint32_t hours, days, months, weekdays;
    bool any_day, any_weekday; /* the field began with '*' */
};

/* 0, or -EINVAL with the column, the field and what is allowed. An expression that never fires ("0 0 30 2 *") is
 * refused. */
int cron_parse(struct bytes text, struct cron *ret_cron, struct err *err);

/* The first firing strictly after `after_utc_us`, as microseconds UTC at a whole second. INT64_MAX, never, within 42
 * years of the end of time, and for an all-zero struct. */
int64_t cron_next(const struct cron *cron, int64_t after_utc_us);

/* The canonical text of what was parsed, six fields; parsing it again gives an equal struct. */
int cron_format(const struct cron *cron, struct buf *out);
