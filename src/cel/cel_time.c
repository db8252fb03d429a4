/* cel_time.c - timestamps and durations: reading, writing, adding, and their parts in any time zone. */
#include "cel_eval.h"
#include "clock.h"
#include "zone.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_S 1000000000
#define ZONE_COST 2000 /* of loading a time zone while evaluating */

__extension__ typedef __int128 int128;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Reading. */

struct reader {
    const char *at, *end;
};

static bool take(struct reader *reader, char c) {
    if (reader->at == reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

static bool take_number(struct reader *reader, int digits, int least, int most, int *ret_number) {
    int number = 0;
    for (int i = 0; i < digits; i++, reader->at++) {
        if (reader->at == reader->end || !is_digit(*reader->at))
            return false;
        number = number * 10 + (*reader->at - '0');
    }
    *ret_number = number;
    return number >= least && number <= most;
}

static int days_of(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Digits after a point, as nanoseconds; what is smaller is cut. */
static bool take_fraction(struct reader *reader, int32_t *ret_ns) {
    int32_t ns = 0, unit = NS_PER_S / 10;
    const char *from = reader->at;
    for (; reader->at < reader->end && is_digit(*reader->at); reader->at++, unit /= 10)
        ns += (*reader->at - '0') * unit;
    *ret_ns = ns;
    return reader->at > from;
}

static bool take_offset(struct reader *reader, int32_t *ret_offset_s) {
    int hours, minutes, sign = 1;
    if (take(reader, '-'))
        sign = -1;
    else
        take(reader, '+');
    if (!take_number(reader, 2, 0, 23, &hours) || !take(reader, ':') || !take_number(reader, 2, 0, 59, &minutes))
        return false;
    *ret_offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool cel_parse_timestamp(struct bytes text, struct cel_value *ret_value) {
    struct reader reader = {text.p, text.p + text.n};
    struct clock_date date = {0};
    int32_t ns = 0, offset_s = 0;
    if (!take_number(&reader, 4, 0, 9999, &date.year) || !take(&reader, '-') ||
        !take_number(&reader, 2, 1, 12, &date.month) || !take(&reader, '-') ||
        !take_number(&reader, 2, 1, days_of(date.year, date.month), &date.day) ||
        !(take(&reader, 'T') || take(&reader, 't')) || !take_number(&reader, 2, 0, 23, &date.hour) ||
        !take(&reader, ':') || !take_number(&reader, 2, 0, 59, &date.minute) || !take(&reader, ':') ||
        !take_number(&reader, 2, 0, 59, &date.second) || (take(&reader, '.') && !take_fraction(&reader, &ns)))
        return false;
    if (!take(&reader, 'Z') && !take(&reader, 'z') &&
        (reader.at == reader.end || is_digit(*reader.at) || !take_offset(&reader, &offset_s)))
        return false;
    int64_t seconds = clock_from_date_utc(&date) / US_PER_S - offset_s;
    if (reader.at != reader.end || seconds < CEL_TIMESTAMP_MIN || seconds > CEL_TIMESTAMP_MAX)
        return false;
    *ret_value = (struct cel_value){.kind = CEL_TIMESTAMP, .integer = seconds, .ns = ns};
    return true;
}

static bool make_duration(int128 total_ns, struct cel_value *ret_value) {
    int128 max = (int128)CEL_DURATION_MAX * NS_PER_S;
    if (total_ns > max || total_ns < -max)
        return false;
    *ret_value = (struct cel_value){
        .kind = CEL_DURATION, .integer = (int64_t)(total_ns / NS_PER_S), .ns = (int32_t)(total_ns % NS_PER_S)};
    return true;
}

static bool make_timestamp(int128 total_ns, struct cel_value *ret_value) {
    int128 seconds = total_ns / NS_PER_S, ns = total_ns % NS_PER_S;
    if (ns < 0) {
        ns += NS_PER_S;
        seconds--;
    }
    if (seconds < CEL_TIMESTAMP_MIN || seconds > CEL_TIMESTAMP_MAX)
        return false;
    *ret_value = (struct cel_value){.kind = CEL_TIMESTAMP, .integer = (int64_t)seconds, .ns = (int32_t)ns};
    return true;
}

/* One <number><unit>, added to *total_ns. */
static bool take_amount(struct reader *reader, int128 *total_ns) {
    static const struct {
        struct bytes name;
        int64_t ns;
    } units[] = {{{"h", 1}, INT64_C(3600) * NS_PER_S},
                 {{"ms", 2}, 1000000},
                 {{"m", 1}, INT64_C(60) * NS_PER_S},
                 {{"s", 1}, NS_PER_S},
                 {{"us", 2}, 1000},
                 {{"\xc2\xb5s", 3}, 1000},
                 {{"\xce\xbcs", 3}, 1000},
                 {{"ns", 2}, 1}};
    int64_t whole = 0;
    int32_t part = 0; /* billionths */
    const char *from = reader->at;
    for (; reader->at < reader->end && is_digit(*reader->at); reader->at++)
        if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, *reader->at - '0', &whole))
            return false;
    bool has_whole = reader->at > from;
    if (take(reader, '.') && !take_fraction(reader, &part) && !has_whole)
        return false;
    if (!has_whole && reader->at == from)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (!bytes_starts(bytes_of(reader->at, (size_t)(reader->end - reader->at)), units[i].name))
            continue;
        reader->at += units[i].name.n;
        *total_ns += (int128)whole * units[i].ns + (int128)part * units[i].ns / NS_PER_S;
        return *total_ns <= (int128)CEL_DURATION_MAX * NS_PER_S;
    }
    return false;
}

bool cel_parse_duration(struct bytes text, struct cel_value *ret_value) {
    struct reader reader = {text.p, text.p + text.n};
    bool negative = take(&reader, '-');
    if (!negative)
        take(&reader, '+');
    int128 total_ns = 0;
    if (reader.end - reader.at == 1 && *reader.at == '0')
        return make_duration(0, ret_value);
    do {
        if (!take_amount(&reader, &total_ns))
            return false;
    } while (reader.at < reader.end);
    return make_duration(negative ? -total_ns : total_ns, ret_value);
}

/* Writing. */

/* ".5" for half a second; nothing for none. Returns the end. */
static char *write_fraction(char *at, int32_t ns) {
    if (ns == 0)
        return at;
    int n = snprintf(at, 12, ".%09d", (int)(ns < 0 ? -ns : ns) % NS_PER_S);
    for (at += n; at[-1] == '0'; at--)
        ;
    return at;
}

size_t cel_format_timestamp(const struct cel_value *value, char ret_text[48]) {
    struct clock_date date;
    clock_date_utc(value->integer * US_PER_S, &date);
    char *at = ret_text + snprintf(ret_text, 32, "%04d-%02d-%02dT%02d:%02d:%02d", date.year, date.month, date.day,
                                   date.hour, date.minute, date.second);
    at = write_fraction(at, value->ns);
    *at++ = 'Z';
    return (size_t)(at - ret_text);
}

size_t cel_format_duration(const struct cel_value *value, char ret_text[48]) {
    bool negative = value->integer < 0 || value->ns < 0;
    char *at = ret_text;
    at += snprintf(at, 32, "%s%" PRId64, negative ? "-" : "", negative ? -value->integer : value->integer);
    at = write_fraction(at, value->ns);
    *at++ = 's';
    return (size_t)(at - ret_text);
}

/* Adding. */

static int128 total_of(const struct cel_value *value) {
    return (int128)value->integer * NS_PER_S + value->ns;
}

bool cel_add_times(const struct cel_value *a, const struct cel_value *b, int sign, enum cel_kind kind,
                   struct cel_value *ret_value) {
    int128 total_ns = total_of(a) + sign * total_of(b);
    return kind == CEL_TIMESTAMP ? make_timestamp(total_ns, ret_value) : make_duration(total_ns, ret_value);
}

/* Parts. */

bool cel_fixed_zone(struct bytes name, int32_t *ret_offset_s) {
    struct reader reader = {name.p, name.p + name.n};
    *ret_offset_s = 0;
    return bytes_equal(name, BYTES("UTC")) || (take_offset(&reader, ret_offset_s) && reader.at == reader.end);
}

/* The date in the zone that the call names, UTC if none. CEL_ERROR when there is no such zone. */
static struct cel_value local_date(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                                   size_t n, struct clock_date *ret_date) {
    int64_t utc_s = args[0].integer;
    int32_t offset_s = 0;
    if (n == 2 && node->zone) {
        offset_s = zone_offset_at(node->zone, utc_s);
    } else if (n == 2 && !cel_fixed_zone(args[1].text, &offset_s)) {
        struct zone *zone;
        struct err err;
        if (!cel_charge(eval, node, ZONE_COST))
            return (struct cel_value){.kind = CEL_ERROR, .error = &eval->fatal_error};
        int r = zone_load(args[1].text, &zone, &err);
        if (r < 0)
            return cel_fail(eval, node, r == -ENOMEM ? CEL_NO_MEMORY : CEL_BAD_ARGUMENT, "%s", err.text);
        offset_s = zone_offset_at(zone, utc_s);
        zone_free(zone);
    }
    clock_date_utc((utc_s + offset_s) * US_PER_S, ret_date);
    return (struct cel_value){.kind = CEL_NULL};
}

#define DATE_PART(linkage_, name_, expression_)                                                                       \
    linkage_ struct cel_value name_(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args, \
                                    size_t n) {                                                                       \
        struct clock_date date;                                                                                       \
        struct cel_value failed = local_date(eval, node, args, n, &date);                                             \
        return failed.kind == CEL_ERROR ? failed : cel_int(expression_);                                              \
    }

static int day_of_year(const struct clock_date *date) {
    int days = date->day;
    for (int month = 1; month < date->month; month++)
        days += days_of(date->year, month);
    return days;
}

DATE_PART(, cel_full_year, date.year)
DATE_PART(, cel_month, date.month - 1)
DATE_PART(, cel_date, date.day)
DATE_PART(, cel_day_of_month, date.day - 1)
DATE_PART(, cel_day_of_week, date.weekday)
DATE_PART(, cel_day_of_year, day_of_year(&date) - 1)

/* Of a duration: the whole of it in that unit, but for milliseconds, which are those within the second. */
DATE_PART(static, hour_of_day, date.hour)
DATE_PART(static, minute_of_hour, date.minute)
DATE_PART(static, second_of_minute, date.second)

struct cel_value cel_hours(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args, size_t n) {
    return args[0].kind == CEL_DURATION ? cel_int(args[0].integer / 3600) : hour_of_day(eval, node, args, n);
}

struct cel_value cel_minutes(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                             size_t n) {
    return args[0].kind == CEL_DURATION ? cel_int(args[0].integer / 60) : minute_of_hour(eval, node, args, n);
}

struct cel_value cel_seconds(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                             size_t n) {
    return args[0].kind == CEL_DURATION ? cel_int(args[0].integer) : second_of_minute(eval, node, args, n);
}

struct cel_value cel_milliseconds(struct cel_eval *eval, const struct cel_node *node, const struct cel_value *args,
                                  size_t n) {
    struct clock_date date;
    struct cel_value failed = {.kind = CEL_NULL};
    if (n == 2) /* the zone changes nothing, but has to be one */
        failed = local_date(eval, node, args, n, &date);
    return failed.kind == CEL_ERROR ? failed : cel_int(args[0].ns / 1000000);
}
