/* text_date.c - dates as text: ISO 8601 as S3 writes it, and HTTP-dates (RFC 9110, 5.6.7). UTC only. */
#include "text.h"

#include "clock.h"

#include <errno.h>

static bool take(struct bytes *text, struct bytes literal) {
    if (!bytes_starts(*text, literal))
        return false;
    text->p += literal.n;
    text->n -= literal.n;
    return true;
}

static bool take_number(struct bytes *text, size_t digits, int *ret_value) {
    int value = 0;
    if (text->n < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (text->p[i] < '0' || text->p[i] > '9')
            return false;
        value = value * 10 + (text->p[i] - '0');
    }
    text->p += digits;
    text->n -= digits;
    *ret_value = value;
    return true;
}

/* The place, from 0, of the three letters that the text begins with among `names`, which has nothing else; -1 when they
 * are not there. */
static int take_letters(struct bytes *text, const char *names) {
    for (int i = 0; text->n >= 3 && names[i]; i += 3)
        if (text->p[0] == names[i] && text->p[1] == names[i + 1] && text->p[2] == names[i + 2]) {
            *text = bytes_of(text->p + 3, text->n - 3);
            return i / 3;
        }
    return -1;
}

static bool take_month(struct bytes *text, int *ret_month) {
    *ret_month = take_letters(text, "JanFebMarAprMayJunJulAugSepOctNovDec") + 1;
    return *ret_month > 0;
}

static bool take_clock(struct bytes *text, struct clock_date *date) {
    return take_number(text, 2, &date->hour) && take(text, BYTES(":")) && take_number(text, 2, &date->minute) &&
           take(text, BYTES(":")) && take_number(text, 2, &date->second);
}

static int finish(const struct clock_date *date, int64_t *ret_utc_us) {
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (date->month < 1 || date->month > 12)
        return -EINVAL;
    bool leap = date->year % 4 == 0 && (date->year % 100 != 0 || date->year % 400 == 0);
    int days = lengths[date->month - 1] + (date->month == 2 && leap);
    /* Second 60 is a leap second; microsecond time has none, so it is the next minute's first. */
    if (date->day < 1 || date->day > days || date->hour > 23 || date->minute > 59 || date->second > 60)
        return -EINVAL;
    *ret_utc_us = clock_from_date_utc(date);
    return 0;
}

int text_parse_iso8601(struct bytes text, int64_t *ret_utc_us) {
    struct clock_date date = {0};
    if (!(take_number(&text, 4, &date.year) && take(&text, BYTES("-")) && take_number(&text, 2, &date.month) &&
          take(&text, BYTES("-")) && take_number(&text, 2, &date.day) && take(&text, BYTES("T")) &&
          take_clock(&text, &date)))
        return -EINVAL;
    if (take(&text, BYTES("."))) {
        int digit, unit = 100000;
        if (!take_number(&text, 1, &digit))
            return -EINVAL;
        do { /* digits below a microsecond are read and dropped */
            date.us += digit * unit;
            unit /= 10;
        } while (take_number(&text, 1, &digit));
    }
    if (!bytes_equal(text, BYTES("Z")))
        return -EINVAL;
    return finish(&date, ret_utc_us);
}

/* After "Sun, ": 06 Nov 1994 08:49:37 GMT */
static bool parse_imf_fixdate(struct bytes text, struct clock_date *date) {
    return take_number(&text, 2, &date->day) && take(&text, BYTES(" ")) && take_month(&text, &date->month) &&
           take(&text, BYTES(" ")) && take_number(&text, 4, &date->year) && take(&text, BYTES(" ")) &&
           take_clock(&text, date) && bytes_equal(text, BYTES(" GMT"));
}

/* After "Sunday, ": 06-Nov-94 08:49:37 GMT */
static bool parse_rfc850(struct bytes text, struct clock_date *date) {
    if (!(take_number(&text, 2, &date->day) && take(&text, BYTES("-")) && take_month(&text, &date->month) &&
          take(&text, BYTES("-")) && take_number(&text, 2, &date->year) && take(&text, BYTES(" ")) &&
          take_clock(&text, date) && bytes_equal(text, BYTES(" GMT"))))
        return false;
    date->year += date->year < 70 ? 2000 : 1900;
    return true;
}

/* After "Sun ": Nov  6 08:49:37 1994 */
static bool parse_asctime(struct bytes text, struct clock_date *date) {
    if (!(take_month(&text, &date->month) && take(&text, BYTES(" "))))
        return false;
    size_t day_digits = take(&text, BYTES(" ")) ? 1 : 2;
    return take_number(&text, day_digits, &date->day) && take(&text, BYTES(" ")) && take_clock(&text, date) &&
           take(&text, BYTES(" ")) && take_number(&text, 4, &date->year) && text.n == 0;
}

int text_parse_http_date(struct bytes text, int64_t *ret_utc_us) {
    static const char *const endings[] = {"day", "day", "sday", "nesday", "rsday", "day", "urday"};
    struct clock_date date = {0};
    int weekday = take_letters(&text, "SunMonTueWedThuFriSat");
    bool good = false;
    if (weekday >= 0 && take(&text, BYTES(", ")))
        good = parse_imf_fixdate(text, &date);
    else if (weekday >= 0 && take(&text, BYTES(" ")))
        good = parse_asctime(text, &date);
    else if (weekday >= 0)
        good = take(&text, bytes_str(endings[weekday])) && take(&text, BYTES(", ")) && parse_rfc850(text, &date);
    return good ? finish(&date, ret_utc_us) : -EINVAL;
}

int text_add_iso8601(struct buf *buf, int64_t utc_us, bool with_ms) {
    struct clock_date d;
    clock_date_utc(utc_us, &d);
    if (with_ms)
        return buf_printf(buf, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", d.year, d.month, d.day, d.hour, d.minute,
                          d.second, d.us / 1000);
    return buf_printf(buf, "%04d-%02d-%02dT%02d:%02d:%02dZ", d.year, d.month, d.day, d.hour, d.minute, d.second);
}
