/* cron.c - fields become bitmaps, and the next firing is found by scanning bits: months, then days, then the time of
 * day. */
#include "cron.h"

#include "clock.h"
#include "text.h"

#include <errno.h>

enum field_id { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

/* On the longest road from one firing to the next, 29 February on one given weekday over a century without a leap day,
 * lie 40 years. */
#define SEARCH_YEARS 41

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                          "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
static const char *const weekday_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

static const struct field {
    const char *name;
    unsigned low, high;       /* what a text may say; weekday 7 becomes 0 */
    const char *const *names; /* of `low`, low + 1, ...; NULL: numbers only */
    unsigned names_n;
    const char *allowed;
} fields[FIELDS] = {
    [SECOND] = {"second", 0, 59, NULL, 0, "0-59"},
    [MINUTE] = {"minute", 0, 59, NULL, 0, "0-59"},
    [HOUR] = {"hour", 0, 23, NULL, 0, "0-23"},
    [DAY] = {"day-of-month", 1, 31, NULL, 0, "1-31"},
    [MONTH] = {"month", 1, 12, month_names, 12, "1-12 or JAN-DEC"},
    [WEEKDAY] = {"day-of-week", 0, 7, weekday_names, 7, "0-7 (0 and 7 are Sunday) or SUN-SAT"},
};

/* The bits from `low` to `high` (at most 63), every `step`-th. */
static uint64_t bits_between(unsigned low, unsigned high, unsigned step) {
    uint64_t bits = 0;
    for (unsigned i = low; i <= high; i += step)
        bits |= UINT64_C(1) << i;
    return bits;
}

/* The lowest set bit that is not below `from`; -1 when there is none. */
static int next_bit(uint64_t bits, int from) {
    bits = from > 63 ? 0 : bits >> from << from;
    return bits ? __builtin_ctzll(bits) : -1;
}

/* Reading. */

struct reader {
    struct bytes text; /* all of it */
    size_t at;
    const struct field *field;
    struct err *err;
};

#define EXCERPT_MAX 24
struct excerpt {
    char text[EXCERPT_MAX * 4 + sizeof "..."];
};

/* A piece of the expression as an error may show it. */
static struct excerpt excerpt_of(struct bytes piece) {
    struct excerpt excerpt = {{0}};
    struct buf out = {.p = excerpt.text, .cap = sizeof excerpt.text, .max = sizeof excerpt.text - 1};
    bool cut = piece.n > EXCERPT_MAX;
    if (text_add_printable(&out, cut ? bytes_of(piece.p, EXCERPT_MAX) : piece) == 0 && cut)
        (void)buf_add_str(&out, "...");
    return excerpt;
}

#define REFUSE(reader_, place_, format_, ...)                                  \
    err_set((reader_)->err, -EINVAL, "column %zu, %s: " format_, (place_) + 1, \
            (reader_)->field->name __VA_OPT__(, ) __VA_ARGS__)

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool next_is(const struct reader *reader, char c) {
    return reader->at < reader->text.n && reader->text.p[reader->at] == c;
}

/* The item (up to a comma or blank) around a place, for errors. */
static struct excerpt item_at(const struct reader *reader, size_t place) {
    size_t end = place;
    while (end < reader->text.n && !is_blank(reader->text.p[end]) && reader->text.p[end] != ',')
        end++;
    return excerpt_of(bytes_of(reader->text.p + place, end - place));
}

static int read_value(struct reader *reader, unsigned *ret_value, bool *ret_named) {
    const struct field *field = reader->field;
    size_t start = reader->at, end = start;
    while (end < reader->text.n && is_word(reader->text.p[end]))
        end++;
    struct bytes word = bytes_of(reader->text.p + start, end - start);
    if (word.n == 0)
        return REFUSE(reader, start, "\"%s\" is not a value; write * or %s", item_at(reader, start).text,
                      field->allowed);
    for (unsigned i = 0; i < field->names_n; i++) {
        if (bytes_equal_nocase(word, bytes_str(field->names[i]))) {
            reader->at = end;
            *ret_value = field->low + i;
            *ret_named = true;
            return 0;
        }
    }
    uint64_t value;
    int r = text_parse_u64(word, &value);
    if (r == -EINVAL)
        return REFUSE(reader, start, "\"%s\" is not known here; write * or %s", excerpt_of(word).text, field->allowed);
    if (r < 0 || value < field->low || value > field->high)
        return REFUSE(reader, start, "%s is out of range; write %s", excerpt_of(word).text, field->allowed);
    reader->at = end;
    *ret_value = (unsigned)value;
    *ret_named = false;
    return 0;
}

static int read_step(struct reader *reader, unsigned *ret_step) {
    size_t start = reader->at, end = start;
    while (end < reader->text.n && reader->text.p[end] >= '0' && reader->text.p[end] <= '9')
        end++;
    unsigned most = reader->field->high - reader->field->low + 1;
    uint64_t step;
    int r = text_parse_u64(bytes_of(reader->text.p + start, end - start), &step);
    if (r == -EINVAL)
        return REFUSE(reader, start, "a number has to follow the /, as in */5");
    if (r < 0 || step == 0 || step > most)
        return REFUSE(reader, start, "a step of %s cannot be; write 1 to %u",
                      excerpt_of(bytes_of(reader->text.p + start, end - start)).text, most);
    reader->at = end;
    *ret_step = (unsigned)step;
    return 0;
}

/* One item of a list: a star or a range, either with a step, or one value. */
static int read_item(struct reader *reader, uint64_t *bits) {
    const struct field *field = reader->field;
    unsigned low = field->low, high = field->high, step = 1;
    size_t start = reader->at;
    bool range = true;
    if (next_is(reader, '*')) {
        reader->at++;
    } else {
        bool low_named, high_named;
        int r = read_value(reader, &low, &low_named);
        if (r < 0)
            return r;
        high = low;
        range = next_is(reader, '-');
        if (range) {
            reader->at++;
            r = read_value(reader, &high, &high_named);
            if (r < 0)
                return r;
            if (field == &fields[WEEKDAY] && high == 0 && high_named && low > 0)
                high = 7; /* FRI-SUN */
        }
        if (high < low)
            return REFUSE(reader, start, "the range %s runs backwards; write it as two, such as %u-%u,%u-%u",
                          item_at(reader, start).text, low, field->high, field->low, high);
    }
    if (next_is(reader, '/')) {
        if (!range)
            return REFUSE(reader, reader->at, "a step needs a range before it; write %u-%u/n", low, field->high);
        reader->at++;
        int r = read_step(reader, &step);
        if (r < 0)
            return r;
    }
    *bits |= bits_between(low, high, step);
    return 0;
}

static int read_field(struct reader *reader, uint64_t *ret_bits) {
    uint64_t bits = 0;
    for (;;) {
        if (reader->at == reader->text.n || is_blank(reader->text.p[reader->at]) || next_is(reader, ','))
            return REFUSE(reader, reader->at, "a value is missing beside the comma");
        int r = read_item(reader, &bits);
        if (r < 0)
            return r;
        if (reader->at == reader->text.n || is_blank(reader->text.p[reader->at]))
            break;
        if (!next_is(reader, ','))
            return REFUSE(reader, reader->at, "\"%s\" is not understood; allowed are * , - / and %s",
                          item_at(reader, reader->at).text, reader->field->allowed);
        reader->at++;
    }
    if (reader->field == &fields[WEEKDAY] && bits & UINT64_C(1) << 7)
        bits = (bits | 1) & 0x7f;
    *ret_bits = bits;
    return 0;
}

static int count_fields(struct bytes text) {
    int count = 0;
    for (size_t i = 0; i < text.n; i++)
        count += !is_blank(text.p[i]) && (i == 0 || is_blank(text.p[i - 1]));
    return count;
}

/* The most days that a month ever has. */
static int longest_month(int month) {
    return month == 2 ? 29 : month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

static bool either_day(const struct cron *cron) {
    return !cron->any_day && !cron->any_weekday;
}

static bool can_fire(const struct cron *cron) {
    if (either_day(cron))
        return true; /* every month has every weekday */
    for (int month = 1; month <= 12; month++)
        if (cron->months >> month & 1 && cron->days & bits_between(1, (unsigned)longest_month(month), 1))
            return true;
    return false;
}

int cron_parse(struct bytes text, struct cron *ret_cron, struct err *err) {
    if (text.n > CRON_TEXT_MAX)
        return err_set(err, -EINVAL, "a cron expression has at most %d bytes, this one has %zu", CRON_TEXT_MAX, text.n);
    int count = count_fields(text);
    if (count != 5 && count != 6)
        return err_set(err, -EINVAL,
                       "a cron expression has 5 fields (minute hour day-of-month month day-of-week), or 6 with seconds "
                       "first; \"%s\" has %d",
                       excerpt_of(text).text, count);
    uint64_t bits[FIELDS] = {[SECOND] = 1};
    bool star[FIELDS] = {false};
    struct reader reader = {.text = text, .err = err};
    for (int i = count == 6 ? SECOND : MINUTE; i < FIELDS; i++) {
        while (is_blank(text.p[reader.at]))
            reader.at++;
        reader.field = &fields[i];
        star[i] = next_is(&reader, '*');
        int r = read_field(&reader, &bits[i]);
        if (r < 0)
            return r;
    }
    struct cron cron = {
        .seconds = bits[SECOND],
        .minutes = bits[MINUTE],
        .hours = (uint32_t)bits[HOUR],
        .days = (uint32_t)bits[DAY],
        .months = (uint32_t)bits[MONTH],
        .weekdays = (uint32_t)bits[WEEKDAY],
        .any_day = star[DAY],
        .any_weekday = star[WEEKDAY],
    };
    if (!can_fire(&cron))
        return err_set(err, -EINVAL,
                       "the cron expression \"%s\" never fires: none of its months has that day; change the "
                       "day-of-month or the month field",
                       excerpt_of(text).text);
    *ret_cron = cron;
    return 0;
}

/* The next firing. */

static int month_length(int year, int month) {
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && !leap ? 28 : longest_month(month);
}

/* The days on which it fires in a month of that length and with that weekday on its first; bit n: the n-th. */
static uint64_t firing_days(const struct cron *cron, int length, int first_weekday) {
    uint64_t week = (cron->weekdays >> first_weekday | cron->weekdays << (7 - first_weekday)) & 0x7f;
    uint64_t by_weekday = (week | week << 7 | week << 14 | week << 21 | week << 28) << 1;
    uint64_t days = either_day(cron) ? cron->days | by_weekday : cron->days & by_weekday;
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

int64_t cron_next(const struct cron *cron, int64_t after_utc_us) {
    if (after_utc_us > INT64_MAX - (SEARCH_YEARS + 1) * 366 * 24 * US_PER_HOUR)
        return INT64_MAX;
    int64_t rest = after_utc_us % US_PER_S;
    int64_t start_utc_us = after_utc_us - rest + (rest < 0 ? 0 : US_PER_S);
    struct clock_date date;
    clock_date_utc(start_utc_us, &date);
    date.us = 0;
    int first_weekday = (date.weekday + 36 - date.day) % 7; /* 36: a multiple of 7, and 1, above any day */
    for (int month = 0; month <= SEARCH_YEARS * 12; month++) {
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
                    break;
            }
            if (day >= 0) {
                date.day = day;
                return clock_from_date_utc(&date);
            }
        }
        first_weekday = (first_weekday + length) % 7;
        date.day = 1;
        date.hour = date.minute = date.second = 0;
        date.month = date.month % 12 + 1;
        date.year += date.month == 1;
    }
    return INT64_MAX;
}

/* Writing. */

enum star { STAR_MAY, STAR_MUST, STAR_NEVER };

static int add_ranges(struct buf *out, uint64_t bits, const char *separator) {
    for (int low = next_bit(bits, 0); low >= 0;) {
        int high = low;
        while (bits >> (high + 1) & 1)
            high++;
        int r = high == low ? buf_printf(out, "%s%d", separator, low)
                            : buf_printf(out, high == low + 1 ? "%s%d,%d" : "%s%d-%d", separator, low, high);
        if (r < 0)
            return r;
        separator = ",";
        low = next_bit(bits, high + 1);
    }
    return 0;
}

/* Whether a day field begins with '*' is part of its meaning and has to be kept; elsewhere a '*' is merely shorter. */
static int add_field(struct buf *out, uint64_t bits, unsigned low, unsigned high, enum star star) {
    unsigned span = high - low + 1;
    for (unsigned step = 1; step <= span && star != STAR_NEVER; step++) {
        uint64_t covered = bits_between(low, high, step);
        bool fits = star == STAR_MUST ? (covered & ~bits) == 0 : covered == bits && step < span && span % step == 0;
        if (!fits)
            continue;
        int r = step == 1 ? buf_add_str(out, "*") : buf_printf(out, "*/%u", step);
        return r < 0 ? r : add_ranges(out, bits & ~covered, ",");
    }
    return add_ranges(out, bits, "");
}

int cron_format(const struct cron *cron, struct buf *out) {
    const struct {
        uint64_t bits;
        unsigned low, high;
        enum star star;
    } parts[FIELDS] = {
        [SECOND] = {cron->seconds, 0, 59, STAR_MAY},
        [MINUTE] = {cron->minutes, 0, 59, STAR_MAY},
        [HOUR] = {cron->hours, 0, 23, STAR_MAY},
        [DAY] = {cron->days, 1, 31, cron->any_day ? STAR_MUST : STAR_NEVER},
        [MONTH] = {cron->months, 1, 12, STAR_MAY},
        [WEEKDAY] = {cron->weekdays, 0, 6, cron->any_weekday ? STAR_MUST : STAR_NEVER},
    };
    size_t before = out->n;
    int r = 0;
    for (int i = 0; i < FIELDS && r == 0; i++) {
        r = i == 0 ? 0 : buf_add_byte(out, ' ');
        if (r == 0)
            r = add_field(out, parts[i].bits, parts[i].low, parts[i].high, parts[i].star);
    }
    if (r < 0 && out->p) {
        out->n = before;
        out->p[before] = '\0';
    }
    return r;
}
