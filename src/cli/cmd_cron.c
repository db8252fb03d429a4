/* cmd_cron.c - froe cron: the next firings of an expression. */
#include "cleanup.h"
#include "clock.h"
#include "commands.h"
#include "cron.h"
#include "text.h"

#include <jansson.h>

DEFINE_CLEANUP(struct zone, zone_free)

/* "2026-03-29", "2026-03-29 01:30[:00]" (or with a T) in the zone, or the same with a Z in UTC. Where that is passed
 * twice, the first time; where it is skipped, what comes right after it. */
static int read_time(struct bytes text, const struct zone *zone, int64_t *ret_utc_us) {
    _cleanup_buf_ struct buf whole = {0};
    bool is_utc = bytes_ends(text, BYTES("Z"));
    text.n -= is_utc;
    struct bytes date = {text.p, text.n < 10 ? text.n : 10}, time = {text.p + date.n, text.n - date.n};
    if (time.n > 0 && (time.p[0] == ' ' || time.p[0] == 'T'))
        time = bytes_of(time.p + 1, time.n - 1);
    else if (time.n > 0 || is_utc)
        return -EINVAL;
    else
        time = BYTES("00:00");
    int r = buf_printf(&whole, "%.*sT%.*s%sZ", (int)date.n, date.p, (int)time.n, time.p, time.n == 5 ? ":00" : "");
    if (r < 0)
        return r;
    int64_t us;
    r = text_parse_iso8601(buf_bytes(&whole), &us);
    if (r < 0)
        return r;
    if (!is_utc) {
        int64_t rest_us = us % US_PER_S;
        rest_us += rest_us < 0 ? US_PER_S : 0;
        struct zone_instants instants;
        bool skipped = zone_local_to_utc(zone, (us - rest_us) / US_PER_S, &instants) == 0;
        us = instants.first_utc_s * US_PER_S + (skipped ? 0 : rest_us);
    }
    *ret_utc_us = us;
    return 0;
}

/* "2026-03-29T03:00:00+02:00", with seconds in the offset only where it has some. */
static int add_local(struct buf *out, int64_t utc_us, int32_t offset_s, char between, const char *before_offset) {
    struct clock_date d;
    clock_date_utc(utc_us + offset_s * US_PER_S, &d);
    int32_t size_s = offset_s < 0 ? -offset_s : offset_s;
    int r = buf_printf(out, "%04d-%02d-%02d%c%02d:%02d:%02d%s%c%02d:%02d", d.year, d.month, d.day, between, d.hour,
                       d.minute, d.second, before_offset, offset_s < 0 ? '-' : '+', size_s / 3600, size_s / 60 % 60);
    if (r == 0 && size_s % 60)
        r = buf_printf(out, ":%02d", size_s % 60);
    return r;
}

static int print_firing(int64_t utc_us, int32_t offset_s) {
    static const char *const weekdays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    struct clock_date local;
    clock_date_utc(utc_us + offset_s * US_PER_S, &local);
    _cleanup_buf_ struct buf line = {0};
    int r = buf_printf(&line, "%s ", weekdays[local.weekday]);
    if (r == 0)
        r = add_local(&line, utc_us, offset_s, ' ', " ");
    if (r == 0)
        r = buf_add_str(&line, "   ");
    if (r == 0)
        r = text_add_iso8601(&line, utc_us, false);
    if (r == 0)
        puts(line.p);
    return r;
}

static int add_firing(json_t *firings, int64_t utc_us, int32_t offset_s) {
    _cleanup_buf_ struct buf local = {0}, utc = {0};
    int r = add_local(&local, utc_us, offset_s, 'T', "");
    if (r == 0)
        r = text_add_iso8601(&utc, utc_us, false);
    if (r == 0 && json_array_append_new(firings, json_pack("{s:s,s:s}", "local", local.p, "utc", utc.p)) < 0)
        r = -ENOMEM;
    return r;
}

/* `firings` is NULL for people. -ENOENT: there are none. */
static int show(const struct cron *cron, const struct zone *zone, int64_t after_utc_us, uint32_t count,
                json_t *firings) {
    for (uint32_t i = 0; i < count; i++) {
        int64_t next = cron_next(cron, zone, after_utc_us);
        if (next == INT64_MAX)
            return i == 0 ? -ENOENT : 0;
        int32_t offset_s = zone_offset_at(zone, next / US_PER_S);
        int r = firings ? add_firing(firings, next, offset_s) : print_firing(next, offset_s);
        if (r < 0)
            return r;
        after_utc_us = next;
    }
    return 0;
}

static int show_json(const struct options *options, const char *zone_name, const struct cron *cron,
                     const struct zone *zone, int64_t after_utc_us) {
    json_t *answer = json_pack("{s:s,s:s,s:[]}", "expression", options->action, "zone", zone_name, "firings");
    json_t *firings = json_object_get(answer, "firings");
    int r = firings ? show(cron, zone, after_utc_us, options->count, firings) : -ENOMEM;
    if (r == 0) {
        json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
    }
    json_decref(answer);
    return r;
}

static int fail(const char *what, const char *value, const char *why) {
    _cleanup_buf_ struct buf shown = {0};
    struct err err;
    if (text_add_printable(&shown, bytes_str(value)) < 0)
        return command_fail(EXIT_INTERNAL, "out of memory");
    err_set(&err, -EINVAL, "%s'%.200s': %s", what, shown.p ? shown.p : "", why);
    return command_fail(EXIT_USAGE, err.text);
}

int command_cron(const struct options *options) {
    struct cron cron;
    struct err err = {0};
    if (cron_parse(bytes_str(options->action), &cron, &err) < 0)
        return fail("", options->action, err.text);
    if (options->tz && cron.zone_name[0])
        return command_fail(EXIT_USAGE, "the expression names a time zone itself; leave out --tz");
    const char *zone_name = options->tz ? options->tz : cron.zone_name[0] ? cron.zone_name : "UTC";
    _cleanup_(cleanup_zone_free) struct zone *zone = NULL;
    int r = zone_load(bytes_str(zone_name), &zone, &err);
    if (r < 0)
        return command_fail(r == -ENOMEM ? EXIT_INTERNAL : EXIT_USAGE, err.text);
    int64_t after_utc_us = clock_utc_us(&clock_system);
    if (options->from) {
        r = read_time(bytes_str(options->from), zone, &after_utc_us);
        if (r == -ENOMEM)
            return command_fail(EXIT_INTERNAL, "out of memory");
        if (r < 0)
            return fail("--from: ", options->from,
                        "that is no time; write it like 2026-03-29, \"2026-03-29 01:30\" or 2026-03-29T00:30:00Z");
        after_utc_us--; /* it itself may be the first */
    }
    r = options->json ? show_json(options, zone_name, &cron, zone, after_utc_us)
                      : show(&cron, zone, after_utc_us, options->count, NULL);
    if (r == -ENOENT)
        return fail("", options->action, "it never fires: the time zone always skips these times");
    if (r < 0)
        return command_fail(EXIT_INTERNAL, "out of memory");
    return fflush(stdout) == 0 ? EXIT_DRAINED : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}
