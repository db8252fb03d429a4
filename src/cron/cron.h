/* cron.h - cron expressions: parse once, ask for the next firing in any time zone. Pure functions, no I/O; any thread.
 *
 * Five fields (minute hour day-of-month month day-of-week), or six with leading seconds. In each field: `*`, numbers,
 * names (JAN-DEC, SUN-SAT, any case), ranges a-b, steps `*`/n and a-b/n, lists with commas. Sunday is 0 or 7. When both
 * day-of-month and day-of-week are restricted (do not start with `*`), a day that matches either fires, as in Vixie
 * cron. Fields are separated by spaces or tabs. A step is at most as large as its field; SUN ends a range as 7
 * (FRI-SUN).
 *
 * Instead of the fields (any case): @yearly and @annually (0 0 1 1 *), @monthly (0 0 1 * *), @weekly (0 0 * * 0),
 * @daily and @midnight (0 0 * * *), @hourly (0 * * * *). @reboot and @every are refused: they are no times of a
 * calendar.
 *
 * Before either, `CRON_TZ=Europe/Berlin ` or `TZ=...` may name a zone. Parsing only keeps the name; who asks for
 * firings loads the zone (zone.h) and passes it.
 *
 * What happens where a zone's local time jumps is Debian's rule (cron(8) of Debian's package cron, the paragraphs on
 * changes of the clock by less than 3 hours; its source takes a job as one with a wildcard when the text of minute or
 * hour begins with `*`):
 *
 *   - A schedule with a wildcard (minute or hour begins with `*`, so `*`/15 and @hourly too) follows the clock on the
 *     wall: skipped times do not fire, repeated times fire twice.
 *   - A schedule at fixed times (neither does) fires once for what people would call once: when the clock goes forward
 *     by less than 3 hours, what was skipped fires at the instant of the jump; when it goes back by less than 3 hours,
 *     the repeated times do not fire again.
 *   - A jump of 3 hours or more is a correction, for all: skipped times do not fire, repeated times fire twice.
 *
 * A firing is an instant, so all that is due at one instant is one firing: several skipped times of a schedule make one
 * (Debian's daemon would run each), as does a skipped time together with one that is due at the jump anyway.
 *
 *   zone, day                       expression        fires (local)
 *   Europe/Berlin 2026-03-29        30 2 * * *        03:00 +02:00, as 02:00-02:59 is skipped
 *                                   0,30 2,3 * * *    03:00, 03:30
 *                                   0-59/30 * * * *   01:30, 03:00, 03:30: a wildcard in the hour
 *   Europe/Berlin 2026-10-25        30 2 * * *        02:30 +02:00 only
 *                                   30 * * * *        01:30, 02:30 +02:00, 02:30 +01:00, 03:30
 *   Australia/Lord_Howe 2026-10-04  15 2 * * *        02:30 +11:00, as 02:00-02:29 is skipped
 *   Pacific/Apia 2011-12-30         0 12 * * *        not at all: the whole day is skipped, by a jump of 24 hours */
#pragma once

#include "bytes.h"
#include "err.h"
#include "zone.h"

#define CRON_TEXT_MAX 1024 /* bytes of expression */

struct cron {
    uint64_t seconds, minutes; /* bit n: fires at n */
    uint32_t hours, days, months, weekdays;
    bool any_day, any_weekday;         /* the field began with '*' */
    bool wild;                         /* minute or hour did */
    char zone_name[ZONE_NAME_MAX + 1]; /* could be a zone's name, no more is checked; "": none was given */
};

/* 0, or -EINVAL with the column, the field and what is allowed. A date that never comes ("0 0 30 2 *") is refused. */
int cron_parse(struct bytes text, struct cron *ret_cron, struct err *err);

/* The first firing strictly after `after_utc_us`, as microseconds UTC at a whole second, by the rule above. `zone` is
 * the one to reckon in, NULL for UTC; `cron->zone_name` is not looked at.
 *
 * INT64_MAX, never: when there is none within 400 years. That is so for an all-zero struct, within 402 years of the end
 * of time, and for a wildcard at times that the zone always skips (each minute from 02:00 to 02:59 of a 30 March that
 * is a Sunday, in Europe/Berlin).
 *
 * Work: two steps for each month of each stretch between changes of the zone's offset until the firing is found. So at
 * most 4,800 months and, in real zones, 800 stretches: below a millisecond, a firing within the month below a
 * microsecond. */
int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after_utc_us);

/* The canonical text of what was parsed, six fields, with CRON_TZ= when a zone was named; parsing it again gives an
 * equal struct. 0, or the buffer's -ENOMEM / -E2BIG; the content is then as before. */
int cron_format(const struct cron *cron, struct buf *out);
