/* Files of time zones that are made here: whole, damaged, and with all kinds of closing rules. */
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
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOUR_S INT64_C(3600)
#define DAY_S (24 * HOUR_S)

static int64_t at(const char *text) {
    int64_t us = 0;
    if (text_parse_iso8601(bytes_str(text), &us) != 0)
        fail_msg("bad date %s", text);
    return us / US_PER_S;
}

static void check_span(const char *name, const struct zone *zone, int64_t utc_s, const struct zone_span *span) {
    if (utc_s < span->from_s || (utc_s >= span->until_s && span->until_s != INT64_MAX))
        fail_msg("%s: %jd is not in its span %jd to %jd", name, (intmax_t)utc_s, (intmax_t)span->from_s,
                 (intmax_t)span->until_s);
    assert_int_equal(zone_offset_at(zone, span->from_s), span->offset_s);
    assert_int_equal(zone_offset_at(zone, span->until_s == INT64_MAX ? INT64_MAX : span->until_s - 1), span->offset_s);
}

struct made {
    int version; /* 1: short times only */
    int n_types;
    int32_t offsets[4];
    int n;
    int64_t times[8];
    unsigned char types[8];
    const char *footer; /* NULL: none at all */
    uint32_t leaps;
};

static void add_number(struct buf *out, int64_t value, size_t size) {
    for (size_t i = size; i-- > 0;)
        assert_int_equal(buf_add_byte(out, (char)(unsigned char)((uint64_t)value >> (8 * i))), 0);
}

static void add_block(struct buf *out, const struct made *made, bool empty, size_t time_size) {
    static const char blanks[15] = {0};
    assert_int_equal(buf_add(out, "TZif", 4), 0);
    assert_int_equal(buf_add_byte(out, made->version == 1 ? '\0' : (char)('0' + made->version)), 0);
    assert_int_equal(buf_add(out, blanks, sizeof blanks), 0);
    int counts[] = {0, 0, empty ? 0 : (int)made->leaps, empty ? 0 : made->n, empty ? 1 : made->n_types, 4};
    for (size_t i = 0; i < 6; i++)
        add_number(out, counts[i], 4);
    for (int i = 0; i < counts[3]; i++)
        add_number(out, made->times[i], time_size);
    for (int i = 0; i < counts[3]; i++)
        add_number(out, made->types[i], 1);
    for (int i = 0; i < counts[4]; i++) {
        add_number(out, empty ? 0 : made->offsets[i], 4);
        add_number(out, i % 2, 1);
        add_number(out, 0, 1);
    }
    assert_int_equal(buf_add(out, "LMT", 4), 0);
    for (int i = 0; i < counts[2]; i++)
        add_number(out, 78796800, time_size), add_number(out, 1, 4);
}

static void make(struct buf *out, const struct made *made) {
    buf_reset(out);
    add_block(out, made, made->version > 1, 4);
    if (made->version > 1) {
        add_block(out, made, false, 8);
        if (made->footer)
            assert_int_equal(buf_printf(out, "\n%s\n", made->footer), 0);
    }
}

static struct zone *parse(const struct made *made) {
    _cleanup_buf_ struct buf file = {0};
    make(&file, made);
    struct zone *zone = NULL;
    struct err err = {0};
    if (zone_parse(BYTES("Test/Made"), buf_bytes(&file), &zone, &err) != 0)
        fail_msg("refused: %s", err.text);
    return zone;
}

static const struct made whole = {
    .version = 2,
    .n_types = 3,
    .offsets = {600, 3600, 7200},
    .n = 3,
    .times = {-1000, 1000, INT64_C(5000000000)},
    .types = {1, 2, 1},
    .footer = "AAA-1",
};

static void test_made_files(void **state) {
    static const int64_t when[] = {INT64_MIN,           -1001,    -1000, 999, 1000, INT64_C(4999999999),
                                   INT64_C(5000000000), INT64_MAX};
    static const int32_t expected[] = {600, 600, 3600, 3600, 7200, 7200, 3600, 3600};
    for (int version = 2; version <= 4; version++) {
        struct made made = whole;
        made.version = version;
        for (int rule = 0; rule < 2; rule++) {
            made.footer = rule ? "AAA-1" : ""; /* without one the last type goes on */
            struct zone *zone = parse(&made);
            for (size_t i = 0; i < sizeof when / sizeof when[0]; i++)
                assert_int_equal(zone_offset_at(zone, when[i]), expected[i]);
            zone_free(zone);
        }
    }
    struct made old = whole;
    old.version = 1;
    old.n = 2;
    struct zone *zone = parse(&old);
    assert_int_equal(zone_offset_at(zone, -1001), 600);
    assert_int_equal(zone_offset_at(zone, -1000), 3600);
    assert_int_equal(zone_offset_at(zone, INT64_MAX), 7200);
    zone_free(zone);

    /* A change of nothing but the name is none. */
    struct made named = whole;
    named.types[1] = 1;
    named.offsets[0] = 3600;
    named.types[0] = 0;
    zone = parse(&named);
    struct zone_span span;
    zone_span_at(zone, 0, &span);
    assert_true(span.from_s == INT64_MIN && span.until_s == INT64_C(5000000000) && span.offset_s == 3600);
    zone_free(zone);

    /* Without any change the rule holds since ever. */
    struct made bare = {.version = 2, .n_types = 1, .offsets = {600}, .footer = "AAA-2"};
    zone = parse(&bare);
    assert_int_equal(zone_offset_at(zone, INT64_MIN), 7200);
    zone_free(zone);
}

static void test_rules(void **state) {
    static const struct {
        const char *rule, *when;
        int32_t offset_s;
    } table[] = {
        {"UTC0", "2026-01-01T00:00:00Z", 0},
        {"<+0545>-5:45", "2026-01-01T00:00:00Z", 20700},
        {"<-03>3", "2026-01-01T00:00:00Z", -10800},
        {"ABC+1:02:03", "2026-01-01T00:00:00Z", -3723},
        {"ABC-24:59:59", "2026-01-01T00:00:00Z", 89999},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-03-08T06:59:59Z", -18000},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-03-08T07:00:00Z", -14400},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-11-01T05:59:59Z", -14400},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-11-01T06:00:00Z", -18000},
        {"EST5EDT4:30,M3.2.0,M11.1.0", "2026-07-01T00:00:00Z", -16200},
        /* summer time that lies below the standard, and over the end of the year */
        {"IST-1GMT0,M10.5.0,M3.5.0/1", "2060-12-31T23:59:59Z", 0},
        {"IST-1GMT0,M10.5.0,M3.5.0/1", "2060-01-01T00:00:00Z", 0},
        {"IST-1GMT0,M10.5.0,M3.5.0/1", "2060-07-01T00:00:00Z", 3600},
        {"AEST-10AEDT,M10.1.0,M4.1.0/3", "2060-01-01T00:00:00Z", 39600},
        /* times of day below 0 and above 24 h */
        {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T00:59:59Z", -7200},
        {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T01:00:00Z", -3600},
        {"IST-2IDT,M3.4.4/26,M10.5.0", "2026-03-26T23:59:59Z", 7200},
        {"IST-2IDT,M3.4.4/26,M10.5.0", "2026-03-27T00:00:00Z", 10800},
        {"AAA0BBB,J1/-167,J365/167", "2026-01-05T00:00:00Z", 3600}, /* last year's lasts into this one */
        /* days of the year: J60 is 1 March in each year, 59 is 29 February when there is one */
        {"AAA0BBB,J60/0,J300/0", "2028-02-29T23:59:59Z", 0},
        {"AAA0BBB,J60/0,J300/0", "2028-03-01T00:00:00Z", 3600},
        {"AAA0BBB,J60/0,J300/0", "2027-03-01T00:00:00Z", 3600},
        {"AAA0BBB,J59/0,J300/0", "2028-02-28T00:00:00Z", 3600},
        {"AAA0BBB,59/0,300/0", "2028-02-29T00:00:00Z", 3600},
        {"AAA0BBB,59/0,300/0", "2027-02-28T23:59:59Z", 0},
        {"AAA0BBB,59/0,300/0", "2027-03-01T00:00:00Z", 3600},
        /* summer all year */
        {"EST5EDT,0/0,J365/25", "2026-01-01T04:59:59Z", -14400},
        {"EST5EDT,0/0,J365/25", "2026-01-01T05:00:00Z", -14400},
        {"EST5EDT,0/0,J365/25", "2028-12-31T12:00:00Z", -14400},
        {"EST5EDT,0/0,J365/25", "2026-07-01T00:00:00Z", -14400},
        /* the last weekday of a month with and without a fifth, and of February */
        {"AAA0BBB,M2.5.4/0,M11.5.0/0", "2024-02-29T00:00:00Z", 3600},
        {"AAA0BBB,M2.5.4/0,M11.5.0/0", "2024-02-28T23:59:59Z", 0},
        {"AAA0BBB,M2.5.4/0,M11.5.0/0", "2026-02-26T00:00:00Z", 3600},
        {"AAA0BBB,M2.5.4/0,M11.5.0/0", "2026-11-28T22:59:59Z", 3600},
    };
    struct made made = {.version = 3, .n_types = 1, .offsets = {600}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        made.footer = table[i].rule;
        struct zone *zone = parse(&made);
        int64_t when = at(table[i].when);
        /* The same after 400 and before 1600 years, and as near to the ends of time as 400 years allow. */
        static const int64_t cycles[] = {0, 1, -4, 730692561 - 100, -730692561 + 100};
        for (size_t k = 0; k < sizeof cycles / sizeof cycles[0]; k++) {
            int64_t moved = when + cycles[k] * 146097 * DAY_S;
            if (zone_offset_at(zone, moved) != table[i].offset_s)
                fail_msg("%s at %s: %d, not %d", table[i].rule, table[i].when, zone_offset_at(zone, moved),
                         table[i].offset_s);
            struct zone_span span;
            zone_span_at(zone, moved, &span);
            check_span(table[i].rule, zone, moved, &span);
        }
        zone_free(zone);
    }
}

static void is_refused(const struct buf *file, const char *says) {
    struct zone *zone = NULL;
    struct err err = {0};
    assert_int_equal(zone_parse(BYTES("Test/Made"), buf_bytes(file), &zone, &err), -EINVAL);
    assert_null(zone);
    if (!strstr(err.text, "Test/Made") || !strstr(err.text, says))
        fail_msg("it says: %s", err.text);
    assert_int_equal(zone_parse(BYTES("Test/Made"), buf_bytes(file), &zone, NULL), -EINVAL);
}

static void test_bad_rules(void **state) {
    static const char *const bad[] = {
        "A",
        "AB0",
        "ABC",
        "0",
        "<AB>0",
        "<ABC0",
        "A1C0",
        "ABC25",
        "ABC1:60",
        "ABC1:00:60",
        "ABC1:",
        "ABC--1",
        "ABC0DEF",
        "ABC0DEF,M3.2.0",
        "ABC0DEF,M3.2.0,",
        "ABC0DEF,M0.2.0,M11.1.0",
        "ABC0DEF,M13.2.0,M11.1.0",
        "ABC0DEF,M3.0.0,M11.1.0",
        "ABC0DEF,M3.6.0,M11.1.0",
        "ABC0DEF,M3.2.7,M11.1.0",
        "ABC0DEF,M3.2,M11.1.0",
        "ABC0DEF,J0,J365",
        "ABC0DEF,J366,J365",
        "ABC0DEF,366,10",
        "ABC0DEF,1/168,10",
        "ABC0DEF,1/-168,10",
        "ABC0DEF,1,10,",
        "ABC0 ",
        " ABC0",
        "ABC99999999999999999999",
        ":Europe/Berlin",
    };
    _cleanup_buf_ struct buf file = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct made made = whole;
        made.footer = bad[i];
        make(&file, &made);
        is_refused(&file, "rule is not understood; install the package tzdata again");
    }
}

static void test_damaged_files(void **state) {
    _cleanup_buf_ struct buf file = {0};
    make(&file, &whole);
    for (size_t n = 0; n < file.n; n++) {
        struct buf cut = file;
        cut.n = n;
        is_refused(&cut, "; install the package tzdata again");
    }
    struct made made = whole;
    made.footer = NULL;
    make(&file, &made);
    is_refused(&file, "rule is missing");
    made = whole;
    made.leaps = 2;
    make(&file, &made);
    is_refused(&file, "leap seconds");
    made = whole;
    made.types[1] = 3;
    make(&file, &made);
    is_refused(&file, "a type that is not there");
    made = whole;
    made.times[1] = made.times[0];
    make(&file, &made);
    is_refused(&file, "not in order");
    made = whole;
    made.times[2] = INT64_MIN;
    make(&file, &made);
    is_refused(&file, "not in order");
    made = whole;
    made.n_types = 0;
    make(&file, &made);
    is_refused(&file, "header");
    static const int32_t offsets[] = {93600, -90000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        made = whole;
        made.offsets[2] = offsets[i];
        make(&file, &made);
        is_refused(&file, "out of range");
    }
    /* Counts that promise more than any file has. */
    for (size_t at_count = 20; at_count < 44; at_count += 4) {
        make(&file, &whole);
        memset(file.p + at_count, 0xff, 4);
        is_refused(&file, "");
        make(&file, &whole);
        size_t second = 44 + 6 + 4;
        assert_memory_equal(file.p + second, "TZif", 4);
        memset(file.p + second + at_count, 0xff, 4);
        is_refused(&file, "");
    }
    _cleanup_buf_ struct buf large = {0};
    assert_int_equal(buf_reserve(&large, ZONE_FILE_MAX + 1), 0);
    memset(large.p, 0, ZONE_FILE_MAX + 1);
    large.n = ZONE_FILE_MAX + 1;
    is_refused(&large, "too large");
}

/* Whatever is read of a damaged file answers within bounds. */
static void test_bytes_changed(void **state) {
    struct rng rng;
    rng_seed(&rng, 4711);
    struct made made = whole;
    made.footer = "AEST-10AEDT,M10.1.0,M4.1.0/3";
    _cleanup_buf_ struct buf file = {0};
    int taken = 0, refused = 0;
    for (int round = 0; round < 20000; round++) {
        make(&file, &made);
        for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
            file.p[rng_below(&rng, file.n)] = (char)(unsigned char)rng_next(&rng);
        struct zone *zone = NULL;
        struct err err = {0};
        int r = zone_parse(BYTES("Test/Made"), buf_bytes(&file), &zone, &err);
        if (r < 0) {
            assert_int_equal(r, -EINVAL);
            assert_true(err.text[0]);
            refused++;
            continue;
        }
        taken++;
        for (int k = 0; k < 4; k++) {
            int64_t when = (int64_t)rng_next(&rng) >> rng_below(&rng, 40);
            struct zone_span span;
            zone_span_at(zone, when, &span);
            check_span("changed", zone, when, &span);
            assert_true(span.offset_s > -25 * HOUR_S && span.offset_s < 26 * HOUR_S);
            struct zone_instants instants;
            int count = zone_local_to_utc(zone, when, &instants);
            if (count == 1 && instants.first_utc_s > INT64_MIN && instants.first_utc_s < INT64_MAX)
                assert_int_equal(instants.first_utc_s + zone_offset_at(zone, instants.first_utc_s), when);
        }
        zone_free(zone);
    }
    assert_true(taken > 1000 && refused > 1000);
}

static void test_folder_of_ones_own(void **state) {
    char folder[] = "/tmp/froe-zone-XXXXXX";
    assert_non_null(mkdtemp(folder));
    _cleanup_buf_ struct buf path = {0}, file = {0};
    assert_int_equal(buf_printf(&path, "%s/Mine", folder), 0);
    make(&file, &whole);
    FILE *out = fopen(path.p, "we");
    assert_non_null(out);
    assert_int_equal(fwrite(file.p, 1, file.n, out), file.n);
    assert_int_equal(fclose(out), 0);
    setenv("TZDIR", folder, 1);
    struct zone *zone = NULL;
    assert_int_equal(zone_load(BYTES("Mine"), &zone, NULL), 0);
    assert_int_equal(zone_offset_at(zone, 0), 3600);
    zone_free(zone);

    struct err err = {0};
    assert_int_equal(truncate(path.p, 50), 0);
    assert_int_equal(zone_load(BYTES("Mine"), &zone, &err), -EINVAL);
    assert_non_null(strstr(err.text, "\"Mine\""));
    assert_int_equal(truncate(path.p, 0), 0);
    assert_int_equal(zone_load(BYTES("Mine"), &zone, &err), -EINVAL);
    assert_int_equal(truncate(path.p, INT64_C(1) << 40), 0); /* with nothing in it; must not be read */
    assert_int_equal(zone_load(BYTES("Mine"), &zone, &err), -EINVAL);
    assert_int_equal(unlink(path.p), 0);
    assert_int_equal(mkfifo(path.p, 0600), 0); /* nobody will write; must not be waited for */
    assert_int_equal(zone_load(BYTES("Mine"), &zone, &err), -ENOENT);
    assert_int_equal(unlink(path.p), 0);
    assert_int_equal(symlink("Mine", path.p), 0);
    assert_int_equal(zone_load(BYTES("Mine"), &zone, &err), -ELOOP);
    assert_non_null(strstr(err.text, path.p));
    assert_int_equal(unlink(path.p), 0);
    assert_int_equal(rmdir(folder), 0);
    unsetenv("TZDIR");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_files),    cmocka_unit_test(test_rules),
        cmocka_unit_test(test_bad_rules),     cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_bytes_changed), cmocka_unit_test(test_folder_of_ones_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
