/* Firings where a zone's local time jumps: known ones, and against a model that lives through each second as Debian's
 * daemon does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "cron.h"
#include "rng.h"
#include "text.h"

#define HOUR_S INT64_C(3600)
#define DAY_S (24 * HOUR_S)

static struct cron parse(const char *text) {
    struct cron cron;
    struct err err = {0};
    if (cron_parse(bytes_str(text), &cron, &err) != 0)
        fail_msg("\"%s\" was refused: %s", text, err.text);
    return cron;
}

static struct zone *load(const char *name) {
    struct zone *zone = NULL;
    struct err err = {0};
    if (zone_load(bytes_str(name), &zone, &err) != 0)
        fail_msg("%s: %s", name, err.text);
    return zone;
}

static int64_t utc(const char *text) {
    int64_t us = 0;
    if (text_parse_iso8601(bytes_str(text), &us) != 0)
        fail_msg("bad date %s", text);
    return us;
}

/* "03:00+2:00" or, on another day than the first, "2012-01-01 03:00+2:00". */
static void add_local(struct buf *out, const struct zone *zone, int64_t utc_us, int *day) {
    int32_t offset_s = zone_offset_at(zone, utc_us / US_PER_S), size_s = offset_s < 0 ? -offset_s : offset_s;
    struct clock_date date;
    clock_date_utc(utc_us + offset_s * US_PER_S, &date);
    const char *blank = out->n ? " " : "";
    int this_day = (date.year * 100 + date.month) * 100 + date.day;
    if (*day != 0 && *day != this_day)
        assert_int_equal(buf_printf(out, "%s%04d-%02d-%02d", blank, date.year, date.month, date.day), 0), blank = " ";
    assert_int_equal(buf_printf(out, "%s%02d:%02d", blank, date.hour, date.minute), 0);
    if (date.second)
        assert_int_equal(buf_printf(out, ":%02d", date.second), 0);
    assert_int_equal(buf_printf(out, "%c%d:%02d", offset_s < 0 ? '-' : '+', size_s / 3600, size_s / 60 % 60), 0);
    *day = this_day;
}

static void test_known(void **state) {
    static const struct {
        const char *zone, *from, *expression, *fires;
    } table[] = {
        /* Nothing jumps. */
        {"Asia/Kathmandu", "2026-01-01T00:00:00Z", "0 6,12 * * *", "06:00+5:45 12:00+5:45 2026-01-02 06:00+5:45"},
        {"Asia/Kathmandu", "2026-01-01T00:00:00Z", "50 * * * *", "05:50+5:45 06:50+5:45 07:50+5:45"},
        {"Asia/Kathmandu", "2026-01-01T00:00:00Z", "0 0 1 * *", "00:00+5:45 2026-03-01 00:00+5:45"},
        {"UTC", "2026-01-01T00:00:00Z", "0 6,12 * * *", "06:00+0:00 12:00+0:00 2026-01-02 06:00+0:00"},
        /* In 1986 Nepal went from +05:30 to +05:45, at midnight: 00:00 to 00:14 were skipped. */
        {"Asia/Kathmandu", "1985-12-31T17:00:00Z", "5 0 * * *", "00:15+5:45 1986-01-02 00:05+5:45"},
        {"Asia/Kathmandu", "1985-12-31T17:00:00Z", "5 * * * *", "23:05+5:30 1986-01-01 01:05+5:45"},
        /* Berlin goes forward at 02:00. */
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "0 2 * * *", "03:00+2:00 2026-03-30 02:00+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "30 2 * * *", "03:00+2:00 2026-03-30 02:30+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "59 2 29 3 *", "03:00+2:00 2027-03-29 02:59+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "0,30 2 * * *", "03:00+2:00 2026-03-30 02:00+2:00 02:30+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "0,30 2,3 * * *", "03:00+2:00 03:30+2:00 2026-03-30 02:00+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "30 1-3 * * *", "01:30+1:00 03:00+2:00 03:30+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "15 30 2 * * *", "03:00+2:00 2026-03-30 02:30:15+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "*/20 30 2 * * *", "03:00+2:00 2026-03-30 02:30+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "0-59/30 * * * *", "01:30+1:00 03:00+2:00 03:30+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "*/30 * * * *", "01:30+1:00 03:00+2:00 03:30+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "*/30 2 * * *", "02:00+2:00 02:30+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "0 */2 * * *", "04:00+2:00 06:00+2:00"},
        {"Europe/Berlin", "2026-03-29T00:00:00Z", "@hourly", "03:00+2:00 04:00+2:00"},
        {"Europe/Berlin", "2026-03-29T01:00:00Z", "30 2 * * *", "02:30+2:00"}, /* the jump itself is over */
        {"Europe/Berlin", "2026-03-29T00:59:59.999999Z", "30 2 * * *", "03:00+2:00"},
        /* and back at 03:00. */
        {"Europe/Berlin", "2026-10-24T23:00:00Z", "30 2 * * *", "02:30+2:00 2026-10-26 02:30+1:00"},
        {"Europe/Berlin", "2026-10-24T23:00:00Z", "0 2,3 * * *", "02:00+2:00 03:00+1:00 2026-10-26 02:00+1:00"},
        {"Europe/Berlin", "2026-10-25T00:30:00Z", "30 2 * * *", "02:30+1:00"}, /* right after the first 02:30 */
        {"Europe/Berlin", "2026-10-25T01:00:00Z", "30 2 * * *", "02:30+1:00"}, /* at the second 02:00 */
        {"Europe/Berlin", "2026-10-25T01:10:00Z", "0-59 2 * * *", "02:00+1:00 02:01+1:00"},
        {"Europe/Berlin", "2026-10-24T23:00:00Z", "30 * * * *", "01:30+2:00 02:30+2:00 02:30+1:00 03:30+1:00"},
        {"Europe/Berlin", "2026-10-24T23:40:00Z", "*/30 2 * * *", "02:00+2:00 02:30+2:00 02:00+1:00 02:30+1:00"},
        {"Europe/Berlin", "2026-10-24T23:40:00Z", "0 */2 * * *", "02:00+2:00 02:00+1:00 04:00+1:00"},
        /* By the rule behind the last change in the file. */
        {"Europe/Berlin", "2300-03-25T00:00:00Z", "30 2 * * *", "03:00+2:00 2300-03-26 02:30+2:00"},
        {"America/New_York", "2026-03-08T06:00:00Z", "30 2 * * *", "03:00-4:00 2026-03-09 02:30-4:00"},
        {"America/New_York", "2026-03-08T06:00:00Z", "*/15 * * * *", "01:15-5:00 01:30-5:00 01:45-5:00 03:00-4:00"},
        {"America/New_York", "2026-11-01T05:00:00Z", "30 1 * * *", "01:30-4:00 2026-11-02 01:30-5:00"},
        {"America/New_York", "2026-11-01T05:00:00Z", "*/30 1 * * *", "01:30-4:00 01:00-5:00 01:30-5:00"},
        {"America/New_York", "2026-11-01T05:00:00Z", "0 0 1,2 11 *", "00:00-5:00 2027-11-01 00:00-4:00"},
        /* Lord Howe Island's summer time is half an hour. */
        {"Australia/Lord_Howe", "2026-10-03T14:00:00Z", "15 2 * * *", "02:30+11:00 2026-10-05 02:15+11:00"},
        {"Australia/Lord_Howe", "2026-10-03T14:00:00Z", "45 2 * * *", "02:45+11:00 2026-10-05 02:45+11:00"},
        {"Australia/Lord_Howe", "2026-10-03T14:35:00Z", "*/15 * * * *",
         "01:15+10:30 01:30+10:30 01:45+10:30 02:30+11:00"},
        {"Australia/Lord_Howe", "2026-04-04T14:00:00Z", "45 1 * * *", "01:45+11:00 2026-04-06 01:45+10:30"},
        {"Australia/Lord_Howe", "2026-04-04T14:00:00Z", "45 * * * *", "01:45+11:00 01:45+10:30 02:45+10:30"},
        /* Apia moved over the date line: after the 29th came the 31st. */
        {"Pacific/Apia", "2011-12-30T00:00:00Z", "0 12 * * *", "12:00+14:00 2012-01-01 12:00+14:00"},
        {"Pacific/Apia", "2011-12-29T00:00:00Z", "0 12 * * *", "12:00-10:00 2011-12-31 12:00+14:00"},
        {"Pacific/Apia", "2011-12-29T00:00:00Z", "0 12 30 12 *", "12:00+14:00"},
        {"Pacific/Apia", "2011-12-30T08:30:00Z", "0 */6 * * *", "00:00+14:00 06:00+14:00"},
        {"Pacific/Apia", "2011-12-29T00:00:00Z", "0 0 * * FRI", "00:00+14:00"}, /* the 30th was one */
        /* Kwajalein moved the other way in 1969, by 23 hours. */
        {"Pacific/Kwajalein", "1969-09-30T00:00:00Z", "30 12 30 9 *", "12:30+11:00 12:30-12:00"},
        /* At midnight: the day begins at 01:00. */
        {"Asia/Beirut", "2024-03-30T12:00:00Z", "0 0 * * *", "01:00+3:00 2024-04-01 00:00+3:00"},
        {"Asia/Beirut", "2024-03-30T12:00:00Z", "@daily", "01:00+3:00 2024-04-01 00:00+3:00"},
        {"Asia/Beirut", "2024-10-26T12:00:00Z", "30 23 * * *", "23:30+3:00 2024-10-27 23:30+2:00"},
        /* Two hours at once: summer time of Troll station. */
        {"Antarctica/Troll", "2026-03-29T00:00:00Z", "30 1,2 * * *", "03:00+2:00 2026-03-30 01:30+2:00"},
        {"Antarctica/Troll", "2026-10-24T23:30:00Z", "15 2 * * *", "02:15+2:00 2026-10-26 02:15+0:00"},
        /* Three hours at once are a correction: Casey station in 2010, at 02:00 back to 23:00. */
        {"Antarctica/Casey", "2010-03-04T12:00:00Z", "30 23 * * *", "23:30+11:00 23:30+8:00"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct zone *zone = load(table[i].zone);
        struct cron cron = parse(table[i].expression);
        _cleanup_buf_ struct buf out = {0};
        int64_t at = utc(table[i].from);
        int day = 0;
        size_t n = strlen(table[i].fires);
        while (out.n < n) {
            at = cron_next(&cron, zone, at);
            assert_true(at != INT64_MAX);
            add_local(&out, zone, at, &day);
        }
        if (strcmp(out.p, table[i].fires) != 0)
            fail_msg("%s in %s from %s:\n%s, not\n%s", table[i].expression, table[i].zone, table[i].from, out.p,
                     table[i].fires);
        zone_free(zone);
    }
}

/* ---- the model ---- */

static bool matches(const struct cron *cron, int64_t local_s) {
    struct clock_date date;
    clock_date_utc(local_s * US_PER_S, &date);
    bool day = cron->days >> date.day & 1, weekday = cron->weekdays >> date.weekday & 1;
    bool either = !cron->any_day && !cron->any_weekday;
    return (cron->seconds >> date.second & 1) && (cron->minutes >> date.minute & 1) && (cron->hours >> date.hour & 1) &&
           (cron->months >> date.month & 1) && (either ? day || weekday : day && weekday);
}

/* Debian's daemon, had it no other work and a clock that ticks each `step_s` seconds: it remembers up to which local
 * time it has run, and compares that with the clock on the wall. */
struct daemon {
    const struct cron *cron;
    const struct zone *zone;
    int64_t step_s, run_until_local_s;
};

static bool daemon_tick(struct daemon *daemon, int64_t utc_s) {
    int64_t now_s = utc_s + zone_offset_at(daemon->zone, utc_s), step_s = daemon->step_s;
    int64_t jumped_s = now_s - (daemon->run_until_local_s + step_s);
    bool fires = matches(daemon->cron, now_s);
    if (jumped_s < 0 && jumped_s > -3 * HOUR_S)
        return fires && daemon->cron->wild; /* until what was run is reached again */
    if (jumped_s > 0 && jumped_s < 3 * HOUR_S && !daemon->cron->wild)
        for (int64_t s = now_s - jumped_s; s < now_s; s += step_s)
            fires = fires || matches(daemon->cron, s);
    daemon->run_until_local_s = now_s;
    return fires;
}

static void compare(const char *zone_name, const struct zone *zone, const char *text, int64_t from_s, int64_t until_s,
                    int64_t step_s) {
    struct cron cron = parse(text);
    struct daemon daemon = {&cron, zone, step_s, from_s - step_s + zone_offset_at(zone, from_s - step_s)};
    int64_t next = cron_next(&cron, zone, from_s * US_PER_S - 1);
    for (int64_t s = from_s; s < until_s; s += step_s) {
        bool fires = daemon_tick(&daemon, s);
        if (fires != (next == s * US_PER_S)) {
            _cleanup_buf_ struct buf out = {0};
            assert_int_equal(text_add_iso8601(&out, s * US_PER_S, false), 0);
            fail_msg("\"%s\" in %s %s at %s", text, zone_name, fires ? "does not fire" : "fires", out.p);
        }
        if (fires) {
            assert_true(cron_next(&cron, zone, next - 1) == next);
            next = cron_next(&cron, zone, next);
            assert_true(next > s * US_PER_S);
        }
    }
}

static const char *pick(struct rng *rng, const char *const *from) {
    uint64_t n = 0;
    while (from[n])
        n++;
    return from[rng_below(rng, n)];
}

static void write_random(struct rng *rng, bool with_seconds, struct buf *out) {
    static const char *const seconds[] = {"0", "0", "30", "*/20", "59", "7-50/11", NULL};
    static const char *const minutes[] = {"*",     "*/15",    "*/7", "0",    "0",  "30",
                                          "15,45", "0-59/10", "59",  "0-59", "14", NULL};
    static const char *const hours[] = {"*",   "*",   "*/2", "*/3",       "0",    "1",      "2",  "3",
                                        "0-3", "1,2", "23",  "22-23,0,1", "0-23", "0-23/2", "12", NULL};
    static const char *const days[] = {"*", "*", "*", "1-31", "*/2", "30", "31", "1,29", NULL};
    static const char *const weekdays[] = {"*", "*", "SUN", "SUN,SAT,FRI", "*/2", "0-6", NULL};
    buf_reset(out);
    if (with_seconds)
        assert_int_equal(buf_printf(out, "%s ", pick(rng, seconds)), 0);
    const char *minute = pick(rng, minutes), *hour = pick(rng, hours), *day = pick(rng, days);
    assert_int_equal(buf_printf(out, "%s %s %s * %s", minute, hour, day, pick(rng, weekdays)), 0);
}

static const char *const names[] = {
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Europe/Dublin",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Asia/Beirut",
    "Pacific/Kwajalein",
    "Asia/Pyongyang",
    "America/Caracas",
    "America/Sao_Paulo",
    "America/Nuuk",
    "Australia/Sydney",
    "Pacific/Chatham",
    "Asia/Manila",
    "America/St_Johns",
    "Europe/London",
    "America/Argentina/San_Luis",
};
#define N_NAMES (sizeof names / sizeof names[0])

/* Each second of some hours around each change of each zone, those of past centuries too. */
static void test_seconds_around_changes(void **state) {
    struct rng rng;
    rng_seed(&rng, 2026);
    int runs = 0;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct zone *zone = load(names[i]);
        struct zone_span span;
        zone_span_at(zone, INT64_MIN, &span);
        for (int n = 0; span.until_s != INT64_MAX && n < 220; n++) {
            int64_t change_s = span.until_s;
            zone_span_at(zone, change_s, &span);
            if (rng_below(&rng, 3) > 0 && n > 4)
                continue;
            _cleanup_buf_ struct buf text = {0};
            write_random(&rng, rng_below(&rng, 2), &text);
            compare(names[i], zone, text.p, change_s - HOUR_S - (int64_t)rng_below(&rng, 1000), change_s + 4 * HOUR_S,
                    1);
            runs++;
        }
        zone_free(zone);
    }
    assert_true(runs > 300);
}

/* Each minute of years. */
static void test_minutes_of_years(void **state) {
    struct rng rng;
    rng_seed(&rng, 47);
    for (size_t i = 0; i < N_NAMES; i++) {
        struct zone *zone = load(names[i]);
        for (int round = 0; round < 2; round++) {
            /* Offsets are whole minutes since 1972; the years behind 2037 come from the rule. */
            int64_t from_s = (int64_t)(3 * 365 + (int)rng_below(&rng, 80 * 365)) * DAY_S;
            if (round == 0 && strcmp(names[i], "Pacific/Apia") == 0)
                from_s = utc("2011-06-01T00:00:00Z") / US_PER_S;
            _cleanup_buf_ struct buf text = {0};
            write_random(&rng, false, &text);
            compare(names[i], zone, text.p, from_s, from_s + 400 * DAY_S, 60);
        }
        zone_free(zone);
    }
}

/* What never comes is found out, and whatever comes is found from everywhere. */
static void test_never(void **state) {
    struct zone *berlin = load("Europe/Berlin");
    struct cron skipped = parse("* 2 30 3 */7"), leap = parse("30 2 29 2 */7"), often = parse("* * * * * *"),
                none = {0};
    assert_true(cron_next(&skipped, NULL, 0) != INT64_MAX);
    /* From 1980 on there is summer time; a 30 March that is a Sunday is then always the day on which it begins. */
    assert_true(cron_next(&skipped, berlin, utc("1981-01-01T00:00:00Z")) == INT64_MAX);
    assert_true(cron_next(&leap, berlin, utc("2088-03-01T00:00:00Z")) == utc("2128-02-29T01:30:00Z"));
    assert_true(cron_next(&none, berlin, 0) == INT64_MAX);
    static const char *const everywhere[] = {"Europe/Berlin", "Pacific/Apia", "Etc/GMT+12", "Etc/GMT-14"};
    for (size_t i = 0; i < sizeof everywhere / sizeof everywhere[0]; i++) {
        struct zone *zone = load(everywhere[i]);
        assert_true(cron_next(&often, zone, INT64_MAX) == INT64_MAX);
        assert_true(cron_next(&often, zone, INT64_MAX / 2) == INT64_MAX / 2 / US_PER_S * US_PER_S + US_PER_S);
        assert_true(cron_next(&often, zone, -1) == 0);
        static const int64_t early[] = {INT64_MIN, INT64_MIN + 1, INT64_MIN + DAY_S * US_PER_S};
        for (size_t k = 0; k < sizeof early / sizeof early[0]; k++) {
            int64_t next = cron_next(&often, zone, early[k]);
            assert_true(next > early[k] && next <= early[k] + 2 * DAY_S * US_PER_S && next % US_PER_S == 0);
            assert_true(cron_next(&leap, zone, early[k]) > early[k]);
        }
        zone_free(zone);
    }
    zone_free(berlin);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_seconds_around_changes),
        cmocka_unit_test(test_minutes_of_years),
        cmocka_unit_test(test_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
