/* Cron expressions: what is read, what is refused, and when they fire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "cron.h"
#include "mem.h"
#include "rng.h"
#include "text.h"

#include <errno.h>

static struct cron parse(const char *text) {
    struct cron cron;
    struct err err = {0};
    if (cron_parse(bytes_str(text), &cron, &err) != 0)
        fail_msg("\"%s\" was refused: %s", text, err.text);
    return cron;
}

static bool equal(const struct cron *a, const struct cron *b) {
    return a->seconds == b->seconds && a->minutes == b->minutes && a->hours == b->hours && a->days == b->days &&
           a->months == b->months && a->weekdays == b->weekdays && a->any_day == b->any_day &&
           a->any_weekday == b->any_weekday && a->wild == b->wild && strcmp(a->zone_name, b->zone_name) == 0;
}

static int64_t utc(const char *text) {
    int64_t us = 0;
    if (text_parse_iso8601(bytes_str(text), &us) != 0)
        fail_msg("bad date %s", text);
    return us;
}

static void test_next(void **state) {
    static const struct {
        const char *expression, *after, *next;
    } table[] = {
        {"* * * * *", "2026-11-22T09:00:00Z", "2026-11-22T09:01:00Z"},
        {"* * * * *", "2026-11-22T08:59:59.999999Z", "2026-11-22T09:00:00Z"},
        {"* * * * *", "2026-11-22T09:00:00.000001Z", "2026-11-22T09:01:00Z"},
        {"* * * * *", "2026-12-31T23:59:30Z", "2027-01-01T00:00:00Z"},
        {"* * * * * *", "2026-11-22T09:00:00Z", "2026-11-22T09:00:01Z"},
        {"* * * * * *", "2026-11-22T09:00:00.5Z", "2026-11-22T09:00:01Z"},
        {"* * * * * *", "1969-12-31T23:59:58.5Z", "1969-12-31T23:59:59Z"},
        {"*/15 * * * * *", "2026-11-22T09:00:46Z", "2026-11-22T09:01:00Z"},
        {"30 5 * * * *", "2026-11-22T09:05:30Z", "2026-11-22T10:05:30Z"},
        {"59 59 23 31 12 *", "2026-11-22T09:00:00Z", "2026-12-31T23:59:59Z"},
        {"0 0 * * *", "2026-11-22T09:00:00Z", "2026-11-23T00:00:00Z"},
        {"30 9 * * *", "2026-11-22T09:00:00Z", "2026-11-22T09:30:00Z"},
        {"30 9 * * *", "2026-11-22T09:30:00Z", "2026-11-23T09:30:00Z"},
        {"15,45 8-10 * * *", "2026-11-22T10:45:00Z", "2026-11-23T08:15:00Z"},
        {"5-59/20 * * * *", "2026-11-22T09:26:00Z", "2026-11-22T09:45:00Z"},
        {"\t 0  0\t1 * * ", "2026-11-22T09:00:00Z", "2026-12-01T00:00:00Z"},
        /* ends of months, leap days */
        {"0 0 31 * *", "2026-08-31T00:00:00Z", "2026-10-31T00:00:00Z"},
        {"0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
        {"0 0 29 2 *", "2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"},
        {"0 0 29 2 *", "2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"},
        {"0 0 29 2 *", "1996-02-29T00:00:00Z", "2000-02-29T00:00:00Z"},
        {"0 0 28-31 2 *", "2026-02-28T00:00:00Z", "2027-02-28T00:00:00Z"},
        {"0 12 30,31 4,5 *", "2026-04-30T12:00:00Z", "2026-05-30T12:00:00Z"},
        {"0 0 1 JAN *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
        /* both day fields restricted: either; one of them begins with a star: both */
        {"0 0 13 * FRI", "2026-11-02T00:00:00Z", "2026-11-06T00:00:00Z"},
        {"0 0 13 * FRI", "2026-12-11T12:00:00Z", "2026-12-13T00:00:00Z"},
        {"0 0 * * FRI", "2026-11-22T09:00:00Z", "2026-11-27T00:00:00Z"},
        {"0 0 13 * *", "2026-11-22T09:00:00Z", "2026-12-13T00:00:00Z"},
        {"0 0 */2 * MON", "2026-11-22T09:00:00Z", "2026-11-23T00:00:00Z"}, /* Monday the 23rd, an odd day */
        {"0 0 */2 * MON", "2026-11-23T09:00:00Z", "2026-12-07T00:00:00Z"},
        {"0 0 13 * */5", "2026-11-22T09:00:00Z", "2026-12-13T00:00:00Z"}, /* Sunday or Friday, and the 13th */
        {"0 0 13 * */5", "2026-12-13T09:00:00Z", "2027-06-13T00:00:00Z"},
        {"0 0 30 2 MON", "2026-11-22T09:00:00Z", "2027-02-01T00:00:00Z"}, /* no such day, but Mondays in February */
        {"0 0 29 2 */7", "2004-03-01T00:00:00Z", "2032-02-29T00:00:00Z"}, /* a leap day on a Sunday */
        {"0 0 29 2 */7", "2088-03-01T00:00:00Z", "2128-02-29T00:00:00Z"}, /* 40 years apart, as 2100 has none */
        /* names, Sunday */
        {"0 0 * * 0", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"},
        {"0 0 * * 7", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"},
        {"0 0 * * sun", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"},
        {"0 0 * * FRI-SUN", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"},
        {"0 0 * * 6-7", "2026-11-22T00:00:00Z", "2026-11-28T00:00:00Z"},
        {"0 0 * * Mon-Fri", "2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z"},
        {"0 0 1 jun-AUG *", "2026-08-02T00:00:00Z", "2027-06-01T00:00:00Z"},
        {"0 0 1 DEC,FEB *", "2026-02-02T00:00:00Z", "2026-12-01T00:00:00Z"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct cron cron = parse(table[i].expression);
        int64_t next = cron_next(&cron, NULL, utc(table[i].after));
        if (next != utc(table[i].next)) {
            _cleanup_buf_ struct buf out = {0};
            assert_int_equal(text_add_iso8601(&out, next, true), 0);
            fail_msg("%s after %s: %s, not %s", table[i].expression, table[i].after, out.p, table[i].next);
        }
    }
}

static void test_same_meaning(void **state) {
    static const char *const pairs[][2] = {
        {"* * * * *", "0 * * * * *"},
        {"0 0 * * 7", "0 0 * * 0"},
        {"0 0 * * 0-7", "0 0 * * 0-6"},
        {"0 0 * * SUN-SUN", "0 0 * * SUN"},
        {"0 0 * * 5-7/2", "0 0 * * FRI,SUN"},
        {"*/60 * * * *", "0 * * * *"},
        {"1,1,2-3,3-4 * * * *", "1-4 * * * *"},
        {"00 007 * * *", "0 7 * * *"},
        {"0 0 1 jan *", "0 0 1 1 *"},
        {"0-59/1 * * * *", "* * * * *"},
        {"@hourly", "0 * * * *"},
        {"@daily", "0 0 * * *"},
        {"@midnight", "0 0 * * *"},
        {"@weekly", "0 0 * * 0"},
        {"@monthly", "0 0 1 * *"},
        {"@yearly", "0 0 1 1 *"},
        {"@annually", "0 0 1 1 *"},
        {" @Daily\t", "@daily"},
        {"TZ=UTC  @HOURLY", "CRON_TZ=UTC 0 * * * *"},
        {"\tTZ=Asia/Kathmandu\t0 0 0 * * *", "CRON_TZ=Asia/Kathmandu 0 0 * * *"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct cron a = parse(pairs[i][0]), b = parse(pairs[i][1]);
        if (!equal(&a, &b))
            fail_msg("\"%s\" is not \"%s\"", pairs[i][0], pairs[i][1]);
    }
    struct cron any = parse("0 0 * * 1"), all = parse("0 0 1-31 * 1");
    assert_false(equal(&any, &all)); /* Mondays, and every day */
    static const char *const differ[][2] = {
        /* The same times, but only a star follows the clock where it jumps. */
        {"0 */24 * * *", "0 0 * * *"},
        {"0-59 0-23 * * *", "* * * * *"},
        {"TZ=UTC * * * * *", "* * * * *"},
        {"TZ=UTC * * * * *", "TZ=Etc/UTC * * * * *"},
    };
    for (size_t i = 0; i < sizeof differ / sizeof differ[0]; i++) {
        struct cron a = parse(differ[i][0]), b = parse(differ[i][1]);
        assert_false(equal(&a, &b));
    }
    assert_string_equal(parse("0 0 * * *").zone_name, "");
    assert_string_equal(parse("CRON_TZ=America/Argentina/Buenos_Aires 0 0 * * *").zone_name,
                        "America/Argentina/Buenos_Aires");
}

static void test_refusals(void **state) {
    static const struct {
        const char *text, *says;
    } table[] = {
        {"", "5 fields"},
        {"   ", "has 0"},
        {"* * * *", "has 4"},
        {"* * * * * * *", "has 7"},
        {"0 0 * * * * *", "5 fields (minute hour day-of-month month day-of-week), or 6 with seconds first"},
        {"@reboot", "column 1: @reboot is not a time; start a run when the program starts instead"},
        {"TZ=UTC @Reboot", "column 8: @reboot is not a time"},
        {"@every 5m", "column 1: @every is not a time, but counts from an unsaid start; write a step"},
        {"@every", "@every is not a time"},
        {"@often", "column 1: \"@often\" is not known; write @hourly, @daily"},
        {"@", "column 1: \"@\" is not known"},
        {"@dailyx", "\"@dailyx\" is not known"},
        {"@daily * * * * *", "column 8: nothing may follow @daily, but there is \"*\""},
        {"  @daily  CRON_TZ=UTC", "column 11: nothing may follow @daily, but there is \"CRON_TZ=UTC\""},
        {"@hourly\n", "is not known"},
        {"* * * * @daily", "column 9, day-of-week: \"@daily\" is not a value"},
        {"TZ=UTC", "has 0"},
        {"TZ=UTC* * * * *", "column 4, time zone: \"UTC*\" cannot be the name of one"},
        {"TZ= * * * * *", "column 4, time zone: \"\" cannot be the name of one; write it like CRON_TZ=Europe/Berlin"},
        {"CRON_TZ=/etc/passwd * * * * *", "column 9, time zone: \"/etc/passwd\" cannot be the name of one"},
        {"CRON_TZ=../x * * * * *", "column 9, time zone: \"../x\""},
        {" TZ=CET-1CEST,M3.5.0 * * * * *", "column 5, time zone"},
        {"TZ=UTC TZ=UTC * * * * *", "column 8, second: \"TZ\" is not known here"},
        {"tz=UTC * * * *", "column 1, minute: \"tz\" is not known here"},
        {"TZ=UTC 60 * * * *", "column 8, minute: 60 is out of range"},
        {"TZ=UTC * * * * * 8", "column 18, day-of-week: 8 is out of range"},
        {"TZ=UTC 0 0 30 2 *", "never fires"},
        {"60 * * * *", "column 1, minute: 60 is out of range; write 0-59"},
        {"0 24 * * *", "column 3, hour: 24 is out of range; write 0-23"},
        {"0 0 0 * *", "column 5, day-of-month: 0 is out of range; write 1-31"},
        {"0 0 32 * *", "column 5, day-of-month: 32"},
        {"0 0 1 13 *", "column 7, month: 13 is out of range; write 1-12 or JAN-DEC"},
        {"0 0 1 0 *", "column 7, month: 0"},
        {"0 0 1 * 8", "column 9, day-of-week: 8 is out of range; write 0-7 (0 and 7 are Sunday) or SUN-SAT"},
        {"60 * * * * *", "column 1, second: 60"},
        {"0 0 99999999999999999999999 * *", "column 5, day-of-month: 99999999999999999999"},
        {"-1 * * * *", "column 1, minute: \"-1\" is not a value; write * or 0-59"},
        {"1- * * * *", "column 3, minute: \"\" is not a value"},
        {"1-x * * * *", "column 3, minute: \"x\" is not known here"},
        {"a * * * *", "column 1, minute: \"a\" is not known here; write * or 0-59"},
        {"JAN * * * *", "minute: \"JAN\" is not known"},
        {"0 0 1 MON *", "column 7, month: \"MON\" is not known here; write * or 1-12 or JAN-DEC"},
        {"0 0 1 * JAN", "column 9, day-of-week: \"JAN\" is not known"},
        {"0 0 * * MONDAY", "\"MONDAY\" is not known"},
        {"0 0 ? * *", "column 5, day-of-month: \"?\" is not a value; write * or 1-31"},
        {"0 0 L * *", "\"L\" is not known"},
        {"0 0 15W * *", "\"15W\" is not known"},
        {"0 0 * * 5#2", "column 10, day-of-week: \"#2\" is not understood; allowed are * , - / and 0-7"},
        {"1.5 * * * *", "column 2, minute: \".5\" is not understood"},
        {"*5 * * * *", "column 2, minute: \"5\" is not understood"},
        {"*-5 * * * *", "column 2, minute: \"-5\" is not understood"},
        {"1-2-3 * * * *", "column 4, minute: \"-3\" is not understood"},
        {"*/ * * * *", "column 3, minute: a number has to follow the /, as in */5"},
        {"*/x * * * *", "column 3, minute: a number has to follow the /"},
        {"*/0 * * * *", "column 3, minute: a step of 0 cannot be; write 1 to 60"},
        {"*/61 * * * *", "column 3, minute: a step of 61 cannot be; write 1 to 60"},
        {"0 */99999999999999999999 * * *", "column 5, hour: a step of 99999999999999999999 cannot be; write 1 to 24"},
        {"*/5/5 * * * *", "column 4, minute: \"/5\" is not understood"},
        {"5/15 * * * *", "column 2, minute: a step needs a range before it; write 5-59/n"},
        {"50-10 * * * *", "column 1, minute: the range 50-10 runs backwards; write it as two, such as 50-59,0-10"},
        {"0 0 * * FRI-MON",
         "column 9, day-of-week: the range FRI-MON runs backwards; write it as two, such as 5-7,0-1"},
        {", * * * *", "column 1, minute: a value is missing beside the comma"},
        {"1, * * * *", "column 3, minute: a value is missing beside the comma"},
        {"1,,2 * * * *", "column 3, minute: a value is missing beside the comma"},
        {"* * * * 1,", "column 11, day-of-week: a value is missing"},
        {"0 0 30 2 *", "never fires"},
        {"0 0 31 2,4,6,9,11 *", "never fires"},
        {"0 0 31 2-2 */2", "never fires"},
        {"* * * *\n*", "has 4"},
        {"* * * * *\n", "column 10, day-of-week: \"\\x0a\" is not understood"},
        {"* * * * \x1b[2J", "\"\\x1b[2J\" is not a value"},
        {"* * * * \xff", "\"\\xff\" is not a value"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct cron cron = {.seconds = 4711};
        struct err err = {0};
        if (cron_parse(bytes_str(table[i].text), &cron, &err) != -EINVAL)
            fail_msg("\"%s\" was not refused", table[i].text);
        assert_int_equal(err.code, -EINVAL);
        if (!strstr(err.text, table[i].says))
            fail_msg("\"%s\" says: %s", table[i].text, err.text);
        assert_int_equal(cron.seconds, 4711);
        assert_int_equal(cron_parse(bytes_str(table[i].text), &cron, NULL), -EINVAL);
    }
    struct cron cron;
    struct err err;
    assert_int_equal(cron_parse(bytes_of("* * * * *\0", 10), &cron, &err), -EINVAL);
    static char long_text[CRON_TEXT_MAX + 2];
    memset(long_text, ' ', sizeof long_text - 1);
    memcpy(long_text, "* * * * *", 9);
    assert_int_equal(cron_parse(bytes_str(long_text), &cron, &err), -EINVAL);
    assert_non_null(strstr(err.text, "at most 1024 bytes"));
    long_text[CRON_TEXT_MAX] = '\0';
    assert_int_equal(cron_parse(bytes_str(long_text), &cron, &err), 0);
}

static void test_format(void **state) {
    static const char *const pairs[][2] = {
        {"* * * * *", "0 * * * * *"},
        {"*/5 0-23 * * *", "0 */5 * * * *"},
        {"*/7 * * * *", "0 0,7,14,21,28,35,42,49,56 * * * *"},
        {"0,30 9-17 1,2,3 6-8 1-5", "0 0,30 9-17 1-3 6-8 1-5"},
        {"*/30 9-17 1,2,3 6-8 1-5", "0 */30 9-17 1-3 6-8 1-5"},
        {"0-59 0-23 * * *", "0 0-59 0-23 * * *"},
        {"0-59 * * * *", "0 * * * * *"},
        {"30 */24 * * *", "0 30 */24 * * *"},
        {"*/7 2 * * *", "0 */7 2 * * *"},
        {"*/7 5-23,* * * *", "0 0,7,14,21,28,35,42,49,56 * * * *"},
        {"*/7,1 1-3 * * *", "0 */7,1 1-3 * * *"},
        {"0 *,5 * * *", "0 0 * * * *"},
        {"TZ=Europe/Berlin 0 2 * * *", "CRON_TZ=Europe/Berlin 0 0 2 * * *"},
        {"@weekly", "0 0 0 * * 0"},
        {"0 0 1-31 * *", "0 0 0 1-31 * *"},
        {"0 0 * * SUN-SAT", "0 0 0 * * 0-6"},
        {"0 0 */10 * *", "0 0 0 */10 * *"},
        {"0 0 */10,5,6,7 * *", "0 0 0 */10,5-7 * *"},
        {"0 0 *,5 * *", "0 0 0 * * *"},
        {"0 0 1,2 * *", "0 0 0 1,2 * *"},
        {"0 0 29 2 */8", "0 0 0 29 2 */7"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct cron cron = parse(pairs[i][0]);
        _cleanup_buf_ struct buf out = {0};
        assert_int_equal(cron_format(&cron, &out), 0);
        assert_string_equal(out.p, pairs[i][1]);
        struct cron again = parse(out.p);
        assert_true(equal(&cron, &again));
    }
}

static void test_format_without_room(void **state) {
    struct cron cron = parse("TZ=Asia/Tokyo 1,3,5-9 2,4 */3 */2 */3");
    _cleanup_buf_ struct buf whole = {0};
    assert_int_equal(cron_format(&cron, &whole), 0);
    for (size_t room = 1; room < whole.n; room++) {
        _cleanup_buf_ struct buf out;
        buf_init(&out, 1 + room);
        assert_int_equal(buf_add_byte(&out, 'x'), 0);
        assert_int_equal(cron_format(&cron, &out), -E2BIG);
        assert_string_equal(out.p, "x");
    }
    _cleanup_buf_ struct buf out = {0};
    mem_fail_at(1, 1);
    int r = cron_format(&cron, &out);
    mem_fail_at(0, 0);
    assert_int_equal(r, -ENOMEM);
    assert_int_equal(out.n, 0);
}

/* A model that knows nothing of bitmaps: the items of each field as they were written. */

struct item {
    int low, high, step;
};

struct model_field {
    struct item items[4];
    int n;
    bool star;
};

static const struct { int low, high; } limits[6] = {{0, 59}, {0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}};

static int pick(struct rng *rng, int low, int high) {
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

static void write_random(struct rng *rng, int at, struct model_field *field, struct buf *text) {
    int low = limits[at].low, high = limits[at].high;
    field->n = pick(rng, 1, 10) <= 7 ? 1 : pick(rng, 2, 4);
    for (int i = 0; i < field->n; i++) {
        struct item *item = &field->items[i];
        int kind = pick(rng, 0, 9), r;
        *item = (struct item){low, high, 1};
        if (kind <= 3) {
            r = buf_add_str(text, "*");
        } else if (kind <= 6) {
            item->low = item->high = pick(rng, low, high);
            r = buf_printf(text, "%d", item->low);
        } else {
            item->low = pick(rng, low, high);
            item->high = pick(rng, item->low, high);
            r = buf_printf(text, "%d-%d", item->low, item->high);
        }
        assert_int_equal(r, 0);
        if ((kind <= 3 || kind > 6) && pick(rng, 0, 1)) {
            item->step = pick(rng, 1, high - low + 1);
            assert_int_equal(buf_printf(text, "/%d", item->step), 0);
        }
        if (i == 0)
            field->star = kind <= 3;
        if (i + 1 < field->n)
            assert_int_equal(buf_add_byte(text, ','), 0);
    }
}

static bool field_has(const struct model_field *field, int value) {
    for (int i = 0; i < field->n; i++) {
        const struct item *item = &field->items[i];
        for (int v = item->low; v <= item->high; v += item->step)
            if (v == value)
                return true;
    }
    return false;
}

static bool day_fires(const struct model_field *fields, const struct clock_date *date) {
    bool day = field_has(&fields[3], date->day);
    bool weekday = field_has(&fields[5], date->weekday) || (date->weekday == 0 && field_has(&fields[5], 7));
    bool either = !fields[3].star && !fields[5].star;
    return field_has(&fields[4], date->month) && (either ? day || weekday : day && weekday);
}

/* By walking through days, hours, minutes and seconds one at a time. INT64_MAX: not within 50 years. */
static int64_t model_next(const struct model_field *fields, int64_t after_us) {
    int64_t day_us = 24 * US_PER_HOUR, day = after_us / day_us * day_us;
    for (int days = 0; days < 50 * 366; days++, day += day_us) {
        struct clock_date date;
        clock_date_utc(day, &date);
        if (!day_fires(fields, &date))
            continue;
        for (int h = 0; h < 24; h++) {
            for (int m = 0; field_has(&fields[2], h) && m < 60; m++) {
                for (int s = 0; field_has(&fields[1], m) && s < 60; s++) {
                    int64_t us = day + h * US_PER_HOUR + m * US_PER_MIN + s * US_PER_S;
                    if (us > after_us && field_has(&fields[0], s))
                        return us;
                }
            }
        }
    }
    return INT64_MAX;
}

static void test_against_model(void **state) {
    struct rng rng;
    rng_seed(&rng, 2026);
    int taken = 0, refused = 0;
    for (int i = 0; i < 3000; i++) {
        struct model_field fields[6] = {{.n = 1}};
        _cleanup_buf_ struct buf text = {0};
        bool with_seconds = pick(&rng, 0, 1);
        for (int f = with_seconds ? 0 : 1; f < 6; f++) {
            if (text.n)
                assert_int_equal(buf_add_byte(&text, ' '), 0);
            write_random(&rng, f, &fields[f], &text);
        }
        if (!with_seconds)
            fields[0].items[0] = (struct item){0, 0, 1};
        int64_t at = (int64_t)rng_below(&rng, UINT64_C(5000000000) * US_PER_S); /* up to 2128 */
        struct cron cron;
        if (cron_parse(buf_bytes(&text), &cron, NULL) < 0) {
            if (model_next(fields, at) != INT64_MAX)
                fail_msg("\"%s\" was refused", text.p);
            refused++;
            continue;
        }
        taken++;
        for (int step = 0; step < 4; step++) {
            int64_t expected = model_next(fields, at), next = cron_next(&cron, NULL, at);
            if (next != expected)
                fail_msg("\"%s\" after %jd: %jd, not %jd", text.p, (intmax_t)at, (intmax_t)next, (intmax_t)expected);
            at = next - (step == 2); /* a microsecond before a firing gives that firing again */
        }
        _cleanup_buf_ struct buf canonical = {0};
        assert_int_equal(cron_format(&cron, &canonical), 0);
        struct cron again = parse(canonical.p);
        if (!equal(&cron, &again))
            fail_msg("\"%s\" became \"%s\"", text.p, canonical.p);
    }
    assert_true(taken > 2500 && refused > 0);
}

/* Whatever parses does fire, from wherever one starts: the rarest are leap days on one weekday. */
static void test_rarest(void **state) {
    for (int weekday = 0; weekday < 7; weekday++) {
        struct cron cron = {.seconds = 1,
                            .minutes = 1,
                            .hours = 1,
                            .days = UINT32_C(1) << 29,
                            .months = 1 << 2,
                            .weekdays = UINT32_C(1) << weekday,
                            .any_weekday = true};
        int firings = 0;
        int64_t longest = 0, at = utc("1600-01-01T00:00:00Z");
        while (at < utc("2000-01-01T00:00:00Z")) {
            int64_t next = cron_next(&cron, NULL, at);
            assert_true(next > at && next != INT64_MAX);
            struct clock_date date;
            clock_date_utc(next, &date);
            assert_true(date.month == 2 && date.day == 29 && date.weekday == weekday);
            longest = next - at > longest ? next - at : longest;
            at = next;
            firings++;
        }
        assert_in_range(firings, 13, 16); /* 97 leap days in 400 years */
        assert_true(longest <= 40 * 366 * 24 * US_PER_HOUR);
    }
}

static void test_ends_of_time(void **state) {
    struct cron every_second = parse("* * * * * *"), leap = parse("0 0 29 2 *"), nothing = {0};
    assert_int_equal(cron_next(&every_second, NULL, INT64_MAX), INT64_MAX);
    assert_int_equal(cron_next(&leap, NULL, INT64_MAX - 1), INT64_MAX);
    assert_int_equal(cron_next(&nothing, NULL, 0), INT64_MAX);
    int64_t first = cron_next(&every_second, NULL, INT64_MIN);
    assert_true(first % US_PER_S == 0 && first - INT64_MIN <= US_PER_S);
    assert_true(cron_next(&leap, NULL, INT64_MIN) > INT64_MIN);
    assert_int_equal(cron_next(&every_second, NULL, -1), 0);
    assert_int_equal(cron_next(&every_second, NULL, -US_PER_S), 0);
    assert_int_equal(cron_next(&every_second, NULL, -US_PER_S - 1), -US_PER_S);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),   cmocka_unit_test(test_same_meaning),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_format), cmocka_unit_test(test_format_without_room), cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_rarest), cmocka_unit_test(test_ends_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
