/* cron_next.c - the next firing: in local time by scanning bits (months, then days, then the time of day), stretch by
 * stretch between the changes of the zone's offset. */
#include "cron.h"

#include "clock.h"
#include "cron_bits.h"

#define SEARCH_YEARS 400 /* the calendar repeats after them, weekdays included */
#define YEAR_MOST_S (366 * INT64_C(86400))
#define NONE INT64_MAX

/* From here on a jump is a correction of the clock. */
#define CORRECTION_S (3 * 3600)

static int month_length(int year, int month) {
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && !leap ? 28 : longest_month(month);
}

/* The days on which it fires in a month of that length and with that weekday on its first; bit n: the n-th. */
static uint64_t firing_days(const struct cron *cron, int length, int first_weekday) {
    uint64_t week = (cron->weekdays >> first_weekday | cron->weekdays << (7 - first_weekday)) & 0x7f;
    uint64_t by_weekday = (week | week << 7 | week << 14 | week << 21 | week << 28) << 1;
    bool either = !cron->any_day && !cron->any_weekday;
    uint64_t days = either ? cron->days | by_weekday : cron->days & by_weekday;
    return days & bits_between(1, (unsigned)length, 1);
}

/* Moves the time of day to the first firing that is not before it; false when the day has none left. */
static bool next_time_of_day(const struct cron *cron, struct clock_date *date) {
    int hour = date->hour, minute = date->minute, second = date->second;
    if (next_bit(cron->hours, hour) == hour) {
        if (next_bit(cron->minutes, minute) == minute) {
            second = next_bit(cron->seconds, second);
            if (second >= 0) {
                date->second = second;
                return true;
            }
        }
        minute = next_bit(cron->minutes, minute + 1);
        if (minute >= 0) {
            date->minute = minute;
            date->second = next_bit(cron->seconds, 0);
            return true;
        }
    }
    hour = next_bit(cron->hours, hour + 1);
    if (hour < 0)
        return false;
    date->hour = hour;
    date->minute = next_bit(cron->minutes, 0);
    date->second = next_bit(cron->seconds, 0);
    return true;
}

/* The first local time that the fields match, from `from_s` on and before `until_s`; NONE. */
static int64_t match(const struct cron *cron, int64_t from_s, int64_t until_s) {
    if (from_s >= until_s)
        return NONE;
    struct clock_date date;
    clock_date_utc(from_s * US_PER_S, &date);
    int first_weekday = (date.weekday + 36 - date.day) % 7; /* 36: a multiple of 7, and 1, above any day */
    int64_t month_s = from_s - (((date.day - 1) * 24 + date.hour) * 60 + date.minute) * INT64_C(60) - date.second;
    while (month_s < until_s) {
        int length = month_length(date.year, date.month);
        if (cron->months >> date.month & 1) {
            uint64_t days = firing_days(cron, length, first_weekday);
            int day = next_bit(days, date.day);
            /* Only on the day it starts from does the time of day matter: from the next on it is 00:00:00. */
            if (day > date.day)
                date.hour = date.minute = date.second = 0;
            if (day >= 0 && !next_time_of_day(cron, &date)) {
                day = next_bit(days, day + 1);
                date.hour = date.minute = date.second = 0;
                if (day >= 0 && !next_time_of_day(cron, &date))
                    return NONE; /* there is no time of day: nothing was ever parsed */
            }
            if (day >= 0) {
                date.day = day;
                int64_t found_s = clock_from_date_utc(&date) / US_PER_S;
                return found_s < until_s ? found_s : NONE;
            }
        }
        first_weekday = (first_weekday + length) % 7;
        month_s += length * INT64_C(86400);
        date.day = 1;
        date.hour = date.minute = date.second = 0;
        date.month = date.month % 12 + 1;
        date.year += date.month == 1;
    }
    return NONE;
}

int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after_utc_us) {
    static const int64_t first_local_s = INT64_MIN / US_PER_S;
    if (after_utc_us > INT64_MAX - (SEARCH_YEARS + 2) * YEAR_MOST_S * US_PER_S)
        return INT64_MAX;
    int64_t at_s = after_utc_us / US_PER_S + (after_utc_us % US_PER_S < 0 ? 0 : 1);
    int64_t end_s = at_s + SEARCH_YEARS * YEAR_MOST_S;
    while (at_s < end_s) {
        struct zone_span span;
        zone_span_at(zone, at_s, &span);
        int64_t until_s = span.until_s < end_s ? span.until_s : end_s;
        int64_t local_s = at_s + span.offset_s;
        if (!cron->wild && span.from_s > first_local_s) {
            int32_t before_s = zone_offset_at(zone, span.from_s - 1), jump_s = span.offset_s - before_s;
            if (jump_s > 0 && jump_s < CORRECTION_S && at_s == span.from_s &&
                match(cron, local_s - jump_s, local_s) != NONE)
                return at_s * US_PER_S;
            int64_t repeated_until_s = span.from_s + before_s;
            if (jump_s < 0 && jump_s > -CORRECTION_S && local_s < repeated_until_s)
                local_s = repeated_until_s;
        }
        if (local_s < first_local_s)
            local_s = first_local_s;
        int64_t found_s = match(cron, local_s, until_s + span.offset_s);
        if (found_s != NONE)
            return (found_s - span.offset_s) * US_PER_S;
        at_s = until_s;
    }
    return INT64_MAX;
}
