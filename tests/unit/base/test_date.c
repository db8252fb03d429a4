/* The calendar, and dates as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "rng.h"
#include "text.h"

#include <errno.h>
#include <time.h>

static void test_round_trip(void **state) {
    struct rng rng;
    rng_seed(&rng, 11);
    for (int i = 0; i < 300000; i++) {
        int64_t utc_us = (int64_t)(rng_next(&rng) >> rng_below(&rng, 40));
        if (i < 4)
            utc_us = (const int64_t[]){INT64_MIN, INT64_MIN + 1, INT64_MAX, -1}[i];
        struct clock_date date;
        clock_date_utc(utc_us, &date);
        if (clock_from_date_utc(&date) != utc_us)
            fail_msg("%jd does not come back", (intmax_t)utc_us);
        assert_in_range(date.month, 1, 12);
        assert_in_range(date.day, 1, 31);
        assert_in_range(date.hour, 0, 23);
        assert_in_range(date.minute, 0, 59);
        assert_in_range(date.second, 0, 59);
        assert_in_range(date.us, 0, 999999);
        assert_in_range(date.weekday, 0, 6);
    }
}

/* Every day from 1600 to 2400 is what the C library says it is. */
static void test_against_the_c_library(void **state) {
    for (int64_t day = -135140; day <= 157054; day++) {
        time_t seconds = (time_t)(day * 86400 + (day & 0xffff));
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        struct clock_date date;
        clock_date_utc((int64_t)seconds * US_PER_S, &date);
        if (date.year != tm.tm_year + 1900 || date.month != tm.tm_mon + 1 || date.day != tm.tm_mday ||
            date.hour != tm.tm_hour || date.minute != tm.tm_min || date.second != tm.tm_sec ||
            date.weekday != tm.tm_wday)
            fail_msg("day %jd differs", (intmax_t)day);
    }
}

static void test_system_clock(void **state) {
    int64_t before = clock_mono_us(&clock_system);
    assert_true(clock_mono_us(&clock_system) >= before);
    int64_t off = clock_utc_us(&clock_system) - (int64_t)time(NULL) * US_PER_S;
    assert_true(off > -5 * US_PER_S && off < 5 * US_PER_S);
}

#define BAD INT64_MIN

static void test_iso8601(void **state) {
    static const struct {
        const char *text;
        int64_t us;
    } table[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1969-12-31T23:59:59.999999Z", -1},
        {"2009-10-12T17:50:30.000Z", INT64_C(1255369830000000)},
        {"2009-10-12T17:50:30Z", INT64_C(1255369830000000)},
        {"2009-10-12T17:50:30.5Z", INT64_C(1255369830500000)},
        {"2009-10-12T17:50:30.0000019999Z", INT64_C(1255369830000001)},
        {"2000-02-29T00:00:00Z", INT64_C(951782400000000)},
        {"2016-12-31T23:59:60Z", INT64_C(1483228800000000)},
        {"0000-01-01T00:00:00Z", INT64_C(-62167219200000000)},
        {"9999-12-31T23:59:59Z", INT64_C(253402300799000000)},
        {"", BAD},
        {"2009-10-12", BAD},
        {"2009-10-12T17:50:30", BAD},
        {"2009-10-12 17:50:30Z", BAD},
        {"2009-10-12t17:50:30z", BAD},
        {"2009-10-12T17:50:30.Z", BAD},
        {"2009-10-12T17:50:30,5Z", BAD},
        {"2009-10-12T17:50:30+00:00", BAD},
        {"2009-10-12T17:50:30Z ", BAD},
        {" 2009-10-12T17:50:30Z", BAD},
        {"2009-10-12T17:50Z", BAD},
        {"2009-1-12T17:50:30Z", BAD},
        {"2009-13-12T17:50:30Z", BAD},
        {"2009-00-12T17:50:30Z", BAD},
        {"2009-10-00T17:50:30Z", BAD},
        {"2009-10-32T17:50:30Z", BAD},
        {"2009-02-29T17:50:30Z", BAD},
        {"1900-02-29T17:50:30Z", BAD},
        {"2009-04-31T17:50:30Z", BAD},
        {"2009-10-12T24:00:00Z", BAD},
        {"2009-10-12T17:60:30Z", BAD},
        {"2009-10-12T17:50:61Z", BAD},
        {"2009-10-12T+7:50:30Z", BAD},
        {"-009-10-12T17:50:30Z", BAD},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int64_t us = BAD;
        int r = text_parse_iso8601(bytes_str(table[i].text), &us);
        if (r != (table[i].us == BAD ? -EINVAL : 0) || us != table[i].us)
            fail_msg("%s: %d, %jd", table[i].text, r, (intmax_t)us);
    }
    struct rng rng;
    rng_seed(&rng, 2);
    for (int i = 0; i < 20000; i++) {
        int64_t us = (int64_t)rng_below(&rng, UINT64_C(250000000000) * US_PER_S), again = BAD;
        _cleanup_buf_ struct buf with_ms = {0}, without = {0};
        assert_int_equal(text_add_iso8601(&with_ms, us, true), 0);
        assert_int_equal(text_parse_iso8601(buf_bytes(&with_ms), &again), 0);
        assert_int_equal(again, us / 1000 * 1000);
        assert_int_equal(text_add_iso8601(&without, us, false), 0);
        assert_int_equal(text_parse_iso8601(buf_bytes(&without), &again), 0);
        assert_int_equal(again, us / US_PER_S * US_PER_S);
    }
    _cleanup_buf_ struct buf out = {0};
    assert_int_equal(text_add_iso8601(&out, INT64_C(1767323045678901), true), 0);
    assert_string_equal(out.p, "2026-01-02T03:04:05.678Z");
}

static void test_http_date(void **state) {
    const int64_t example = INT64_C(784111777) * US_PER_S; /* RFC 9110, 5.6.7 */
    const struct {
        const char *text;
        int64_t us;
    } table[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", example},
        {"Sunday, 06-Nov-94 08:49:37 GMT", example},
        {"Sun Nov  6 08:49:37 1994", example},
        {"Sun Nov 06 08:49:37 1994", example},
        {"Wed, 21 Oct 2015 07:28:00 GMT", INT64_C(1445412480) * US_PER_S},
        {"Wed Oct 21 07:28:00 2015", INT64_C(1445412480) * US_PER_S},
        {"Wednesday, 21-Oct-15 07:28:00 GMT", INT64_C(1445412480) * US_PER_S},
        {"Thursday, 01-Jan-70 00:00:00 GMT", 0},
        {"Tuesday, 31-Dec-69 23:59:59 GMT", INT64_C(3155759999) * US_PER_S},
        {"Mon, 06 Nov 1994 08:49:37 GMT", example}, /* a wrong weekday is not our concern */
        {"Sat, 31 Dec 2016 23:59:60 GMT", INT64_C(1483228800) * US_PER_S},
        {"", BAD},
        {"Sun", BAD},
        {"Sun,", BAD},
        {"Sun, 6 Nov 1994 08:49:37 GMT", BAD},
        {"Sun, 06 Nov 1994 08:49:37", BAD},
        {"Sun, 06 Nov 1994 08:49:37 UTC", BAD},
        {"Sun, 06 Nov 1994 08:49:37 GMT ", BAD},
        {"Sun, 06 Nov 94 08:49:37 GMT", BAD},
        {"Sunday, 06 Nov 1994 08:49:37 GMT", BAD},
        {"Sun, 06-Nov-94 08:49:37 GMT", BAD},
        {"sun, 06 Nov 1994 08:49:37 GMT", BAD},
        {"Sun, 06 nov 1994 08:49:37 GMT", BAD},
        {"Sun, 31 Feb 1994 08:49:37 GMT", BAD},
        {"Sun, 06 Nov 1994 24:49:37 GMT", BAD},
        {"Sun Nov 6 08:49:37 1994", BAD},
        {"Sun Nov  6 08:49:37 1994 GMT", BAD},
        {"Xyz, 06 Nov 1994 08:49:37 GMT", BAD},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int64_t us = BAD;
        int r = text_parse_http_date(bytes_str(table[i].text), &us);
        if (r != (table[i].us == BAD ? -EINVAL : 0) || us != table[i].us)
            fail_msg("%s: %d, %jd", table[i].text, r, (intmax_t)us);
    }
    /* Cut anywhere, it is refused and nothing beyond its end is read. */
    static const char *const whole[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994", "2009-10-12T17:50:30.123Z"};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        for (size_t n = 0; n < strlen(whole[i]); n++) {
            _cleanup_buf_ struct buf cut = {0};
            int64_t us;
            assert_int_equal(buf_add(&cut, whole[i], n), 0);
            assert_int_equal((i == 3 ? text_parse_iso8601 : text_parse_http_date)(buf_bytes(&cut), &us), -EINVAL);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_against_the_c_library),
        cmocka_unit_test(test_system_clock), cmocka_unit_test(test_iso8601),
        cmocka_unit_test(test_http_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
