/* Time zones of the system, against what the C library says of them. Files made for the purpose: test_zone_file.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "mem.h"
#include "rng.h"
#include "text.h"
#include "zone.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define HOUR_S INT64_C(3600)
#define DAY_S (24 * HOUR_S)

static const char *const names[] = {
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Caracas",
    "America/Nuuk",
    "America/Anchorage",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Africa/Monrovia",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Gaza",
    "Asia/Kolkata",
    "Asia/Manila",
    "Asia/Pyongyang",
    "Asia/Beirut",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Australia/Sydney",
    "Australia/Eucla",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Pacific/Chatham",
    "Pacific/Auckland",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
    "Etc/GMT-14",
    "UTC",
    "Etc/UTC",
};
#define N_NAMES (sizeof names / sizeof names[0])

static struct zone *load(const char *name) {
    struct zone *zone = NULL;
    struct err err = {0};
    if (zone_load(bytes_str(name), &zone, &err) != 0)
        fail_msg("%s: %s", name, err.text);
    return zone;
}

static int64_t at(const char *text) {
    int64_t us = 0;
    if (text_parse_iso8601(bytes_str(text), &us) != 0)
        fail_msg("bad date %s", text);
    return us / US_PER_S;
}

static void test_names(void **state) {
    static const char *const good[] = {"UTC",        "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5",
                                       "Etc/GMT-14", "EST5EDT",       "America/Port-au-Prince",         "a/b/c"};
    static const char *const bad[] = {"",
                                      "/",
                                      "/Europe/Berlin",
                                      "Europe/",
                                      "Europe//Berlin",
                                      "..",
                                      "../Europe/Berlin",
                                      "Europe/..",
                                      ".",
                                      "./UTC",
                                      "Europe/Berlin ",
                                      " UTC",
                                      "zone.tab",
                                      "Europe\\x",
                                      "Europe/B\xc3\xa9",
                                      "a\nb",
                                      "~",
                                      "CET-1CEST,",
                                      ":UTC",
                                      "<+01>-1",
                                      "$HOME",
                                      "Europe/Ber*",
                                      "\x1b[2J",
                                      "A23456789B23456789C23456789D23456789E23456789F23456789G2345678910"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(zone_name_valid(bytes_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct zone *zone = NULL;
        struct err err = {0};
        if (zone_name_valid(bytes_str(bad[i])))
            fail_msg("\"%s\" is taken for a name", bad[i]);
        assert_int_equal(zone_load(bytes_str(bad[i]), &zone, &err), -EINVAL);
        assert_null(zone);
        assert_non_null(strstr(err.text, "write it like Europe/Berlin"));
        assert_null(strchr(err.text, '\x1b'));
        assert_null(strchr(err.text, '\n'));
        assert_int_equal(zone_load(bytes_str(bad[i]), &zone, NULL), -EINVAL);
    }
    assert_false(zone_name_valid(bytes_of("UTC\0", 4)));
    assert_true(zone_name_valid(bytes_of(bad[23], ZONE_NAME_MAX)));
}

static void test_not_there(void **state) {
    static const char *const missing[] = {"Europe/Atlantis", "Europe", "UTC/x", "europe-berlin"};
    struct zone *zone = NULL;
    struct err err = {0};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        assert_int_equal(zone_load(bytes_str(missing[i]), &zone, &err), -ENOENT);
        assert_non_null(strstr(err.text, missing[i]));
        assert_non_null(strstr(err.text, "tzdata"));
    }
    assert_null(zone);
    setenv("TZDIR", "/nonexistent/zones", 1);
    assert_int_equal(zone_load(BYTES("Europe/Berlin"), &zone, &err), -ENOENT);
    assert_non_null(strstr(err.text, "\"Europe/Berlin\""));
    assert_non_null(strstr(err.text, "/nonexistent/zones"));
    assert_non_null(strstr(err.text, "install the package tzdata"));
    assert_int_equal(zone_load(BYTES("Europe/Berlin"), &zone, NULL), -ENOENT);
    struct zone *utc = load("UTC"), *also = load("Etc/UTC"); /* need no files */
    assert_int_equal(zone_offset_at(utc, 0), 0);
    assert_int_equal(zone_offset_at(also, INT64_MAX), 0);
    zone_free(utc);
    zone_free(also);
    setenv("TZDIR", "relative", 1); /* does not count */
    zone_free(load("Europe/Berlin"));
    unsetenv("TZDIR");
    zone_free(NULL);
}

static void test_known_offsets(void **state) {
    static const struct {
        const char *name, *when;
        int32_t offset_s;
    } table[] = {
        {"Europe/Berlin", "2026-03-29T00:59:59Z", 3600},
        {"Europe/Berlin", "2026-03-29T01:00:00Z", 7200},
        {"Europe/Berlin", "2026-10-25T00:59:59Z", 7200},
        {"Europe/Berlin", "2026-10-25T01:00:00Z", 3600},
        {"Europe/Berlin", "2500-07-01T00:00:00Z", 7200}, /* by the rule behind the last change */
        {"Europe/Berlin", "2500-01-01T00:00:00Z", 3600},
        {"Europe/Berlin", "1800-01-01T00:00:00Z", 3208}, /* local mean time */
        {"Europe/Dublin", "2060-01-01T00:00:00Z", 0},    /* where winter time is the exception */
        {"Europe/Dublin", "2060-07-01T00:00:00Z", 3600},
        {"America/New_York", "2026-03-08T06:59:59Z", -5 * 3600},
        {"America/New_York", "2026-03-08T07:00:00Z", -4 * 3600},
        {"Australia/Lord_Howe", "2026-10-03T15:29:59Z", 37800},
        {"Australia/Lord_Howe", "2026-10-03T15:30:00Z", 39600},
        {"Australia/Sydney", "2099-01-01T00:00:00Z", 39600}, /* summer across the year's end */
        {"Australia/Sydney", "2099-07-01T00:00:00Z", 36000},
        {"Asia/Kathmandu", "2026-01-01T00:00:00Z", 20700},
        {"Pacific/Apia", "2011-12-30T09:59:59Z", -36000},
        {"Pacific/Apia", "2011-12-30T10:00:00Z", 50400},
        {"Etc/GMT+5", "2026-01-01T00:00:00Z", -18000},
        {"UTC", "2026-01-01T00:00:00Z", 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct zone *zone = load(table[i].name);
        int32_t offset_s = zone_offset_at(zone, at(table[i].when));
        if (offset_s != table[i].offset_s)
            fail_msg("%s at %s: %d, not %d", table[i].name, table[i].when, offset_s, table[i].offset_s);
        zone_free(zone);
    }
    assert_int_equal(zone_offset_at(NULL, 4711), 0);
}

/* The C library reads the same files; here, in a test of one thread, its global zone does no harm. */
static void test_against_c_library(void **state) {
    struct rng rng;
    rng_seed(&rng, 2026);
    for (size_t i = 0; i < N_NAMES; i++) {
        struct zone *zone = load(names[i]);
        setenv("TZ", names[i], 1);
        tzset();
        for (int round = 0; round < 4000; round++) {
            /* From 1833 to 2106, and now and then from 800 to 3100. */
            int64_t reach = round % 4 ? INT64_C(1) << 32 : INT64_C(1) << 35;
            time_t when = (int64_t)rng_below(&rng, (uint64_t)(2 * reach)) - reach;
            struct tm tm;
            if (round % 2) { /* right beside a change */
                struct zone_span span;
                zone_span_at(zone, when, &span);
                if (span.until_s != INT64_MAX)
                    when = span.until_s - (round / 2 % 2);
            }
            assert_non_null(localtime_r(&when, &tm));
            if (zone_offset_at(zone, when) != tm.tm_gmtoff)
                fail_msg("%s at %jd: %d, not %ld", names[i], (intmax_t)when, zone_offset_at(zone, when), tm.tm_gmtoff);
        }
        zone_free(zone);
    }
    unsetenv("TZ");
    tzset();
}

static void check_span(const char *name, const struct zone *zone, int64_t utc_s, const struct zone_span *span) {
    if (utc_s < span->from_s || (utc_s >= span->until_s && span->until_s != INT64_MAX))
        fail_msg("%s: %jd is not in its span %jd to %jd", name, (intmax_t)utc_s, (intmax_t)span->from_s,
                 (intmax_t)span->until_s);
    assert_int_equal(zone_offset_at(zone, span->from_s), span->offset_s);
    assert_int_equal(zone_offset_at(zone, span->until_s == INT64_MAX ? INT64_MAX : span->until_s - 1), span->offset_s);
}

/* Spans lie end to end, and meet in the middle where the rule takes over. */
static void test_spans(void **state) {
    for (size_t i = 0; i < N_NAMES; i++) {
        struct zone *zone = load(names[i]);
        struct zone_span span, again;
        int64_t utc_s = INT64_MIN, end_s = at("2600-01-01T00:00:00Z");
        for (int n = 0; utc_s < end_s; n++) {
            zone_span_at(zone, utc_s, &span);
            check_span(names[i], zone, utc_s, &span);
            assert_int_equal(span.from_s, utc_s);
            zone_span_at(zone, span.from_s + (span.until_s / 2 - span.from_s / 2), &again);
            assert_memory_equal(&span, &again, sizeof span);
            utc_s = span.until_s;
            assert_true(n < 3000);
        }
        static const int64_t ends[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX - 1, INT64_MAX, -1, 0, 1};
        for (size_t k = 0; k < sizeof ends / sizeof ends[0]; k++) {
            zone_span_at(zone, ends[k], &span);
            check_span(names[i], zone, ends[k], &span);
            struct zone_instants instants;
            int count = zone_local_to_utc(zone, ends[k], &instants);
            assert_true(count >= 0 && count <= 2);
        }
        zone_free(zone);
    }
    struct zone_span span;
    zone_span_at(NULL, 5, &span);
    assert_true(span.from_s == INT64_MIN && span.until_s == INT64_MAX && span.offset_s == 0);
}

static void test_known_local_times(void **state) {
    static const struct {
        const char *name, *local;
        int count;
        const char *first, *last;
        int32_t jump_s;
    } table[] = {
        {"UTC", "2026-03-29T02:30:00Z", 1, "2026-03-29T02:30:00Z", "2026-03-29T02:30:00Z", 0},
        {"Asia/Kathmandu", "2026-01-01T00:00:00Z", 1, "2025-12-31T18:15:00Z", "2025-12-31T18:15:00Z", 0},
        {"Europe/Berlin", "2026-03-29T01:59:59Z", 1, "2026-03-29T00:59:59Z", "2026-03-29T00:59:59Z", 0},
        {"Europe/Berlin", "2026-03-29T02:00:00Z", 0, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", 3600},
        {"Europe/Berlin", "2026-03-29T02:59:59Z", 0, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", 3600},
        {"Europe/Berlin", "2026-03-29T03:00:00Z", 1, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", 0},
        {"Europe/Berlin", "2026-10-25T01:59:59Z", 1, "2026-10-24T23:59:59Z", "2026-10-24T23:59:59Z", 0},
        {"Europe/Berlin", "2026-10-25T02:00:00Z", 2, "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", 0},
        {"Europe/Berlin", "2026-10-25T02:59:59Z", 2, "2026-10-25T00:59:59Z", "2026-10-25T01:59:59Z", 0},
        {"Europe/Berlin", "2026-10-25T03:00:00Z", 1, "2026-10-25T02:00:00Z", "2026-10-25T02:00:00Z", 0},
        {"Australia/Lord_Howe", "2026-10-04T02:15:00Z", 0, "2026-10-03T15:30:00Z", "2026-10-03T15:30:00Z", 1800},
        {"Australia/Lord_Howe", "2026-04-05T01:45:00Z", 2, "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z", 0},
        {"Pacific/Apia", "2011-12-30T12:00:00Z", 0, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", 86400},
        {"Pacific/Kwajalein", "1969-09-30T12:00:00Z", 2, "1969-09-30T01:00:00Z", "1969-10-01T00:00:00Z", 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct zone *zone = load(table[i].name);
        struct zone_instants found;
        int count = zone_local_to_utc(zone, at(table[i].local), &found);
        if (count != table[i].count || found.first_utc_s != at(table[i].first) ||
            found.last_utc_s != at(table[i].last) || found.jump_s != table[i].jump_s)
            fail_msg("%s at %s: %d, %jd, %jd, %d", table[i].name, table[i].local, count, (intmax_t)found.first_utc_s,
                     (intmax_t)found.last_utc_s, found.jump_s);
        assert_int_equal(found.jump_utc_s, count ? 0 : found.first_utc_s);
        zone_free(zone);
    }
    struct zone_instants found;
    assert_int_equal(zone_local_to_utc(NULL, 77, &found), 1);
    assert_true(found.first_utc_s == 77 && found.last_utc_s == 77);
}

/* Each offset that holds within two days is tried. */
static int model_local(const struct zone *zone, int64_t local_s, int64_t *ret_first_s, int64_t *ret_last_s) {
    int count = 0;
    for (int64_t near_s = local_s - 48 * HOUR_S; near_s <= local_s + 48 * HOUR_S; near_s += HOUR_S / 2) {
        int64_t utc_s = local_s - zone_offset_at(zone, near_s);
        if (zone_offset_at(zone, utc_s) != local_s - utc_s)
            continue;
        if (count == 0 || utc_s < *ret_first_s)
            *ret_first_s = utc_s;
        if (count == 0 || utc_s > *ret_last_s)
            *ret_last_s = utc_s;
        count++;
    }
    return count == 0 ? 0 : *ret_first_s == *ret_last_s ? 1 : 2;
}

static void test_local_against_model(void **state) {
    struct rng rng;
    rng_seed(&rng, 77);
    int seen[3] = {0};
    for (size_t i = 0; i < N_NAMES; i++) {
        struct zone *zone = load(names[i]);
        for (int round = 0; round < 400; round++) {
            struct zone_span span;
            zone_span_at(zone, (int64_t)rng_below(&rng, UINT64_C(8000000000)) - INT64_C(4000000000), &span);
            int64_t near_s = span.until_s == INT64_MAX ? 0 : span.until_s + span.offset_s;
            int64_t local_s = near_s + (int64_t)rng_below(&rng, 6 * (uint64_t)HOUR_S) - 3 * HOUR_S;
            struct zone_instants found;
            int64_t first_s = 0, last_s = 0;
            int expected = model_local(zone, local_s, &first_s, &last_s);
            int count = zone_local_to_utc(zone, local_s, &found);
            if (count != expected || (count && (found.first_utc_s != first_s || found.last_utc_s != last_s)))
                fail_msg("%s, local %jd: %d, not %d", names[i], (intmax_t)local_s, count, expected);
            if (count == 0) {
                int32_t before_s = zone_offset_at(zone, found.jump_utc_s - 1);
                assert_int_equal(zone_offset_at(zone, found.jump_utc_s) - before_s, found.jump_s);
                assert_true(local_s >= found.jump_utc_s + before_s);
                assert_true(local_s < found.jump_utc_s + before_s + found.jump_s);
            }
            seen[count]++;
        }
        zone_free(zone);
    }
    assert_true(seen[0] > 300 && seen[1] > 300 && seen[2] > 300);
}

static void test_without_memory(void **state) {
    static const char *const tried[] = {"UTC", "Europe/Berlin"};
    for (size_t i = 0; i < 2; i++) {
        struct zone *zone = NULL;
        uint64_t n = 1;
        for (;; n++) {
            struct err err = {0};
            mem_fail_at(n, 0);
            int r = zone_load(bytes_str(tried[i]), &zone, &err);
            mem_fail_at(0, 0);
            if (r == 0)
                break;
            assert_int_equal(r, -ENOMEM);
            assert_string_equal(err.text, "out of memory");
            assert_null(zone);
            assert_true(n < 20);
        }
        assert_true(n > i + 1); /* something did fail */
        zone_free(zone);
    }
    struct zone *zone = NULL;
    mem_fail_at(1, 1);
    int r = zone_load(BYTES("../x"), &zone, NULL);
    mem_fail_at(0, 0);
    assert_int_equal(r, -ENOMEM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_not_there),
        cmocka_unit_test(test_known_offsets),
        cmocka_unit_test(test_against_c_library),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_known_local_times),
        cmocka_unit_test(test_local_against_model),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
