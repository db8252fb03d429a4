/* Any text is read as a cron expression or refused with a reason; what was read can be written and read again, and
 * fires, in any zone. */
#include "cron.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static bool equal(const struct cron *a, const struct cron *b) {
    return a->seconds == b->seconds && a->minutes == b->minutes && a->hours == b->hours && a->days == b->days &&
           a->months == b->months && a->weekdays == b->weekdays && a->any_day == b->any_day &&
           a->any_weekday == b->any_weekday && a->wild == b->wild && strcmp(a->zone_name, b->zone_name) == 0;
}

static const struct zone *zone_of(uint8_t byte) {
    static const char *const names[] = {
        NULL, "UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Antarctica/Casey"};
    static struct zone *loaded[sizeof names / sizeof names[0]];
    size_t i = byte % (sizeof names / sizeof names[0]);
    if (names[i] && !loaded[i])
        MUST(zone_load(bytes_str(names[i]), &loaded[i], NULL) == 0);
    return loaded[i];
}

/* The first eight bytes are the time to start from, the next one the zone, the others the expression. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t at;
    if (size < sizeof at + 1)
        return 0;
    memcpy(&at, data, sizeof at);
    const struct zone *zone = zone_of(data[sizeof at]);
    data += sizeof at + 1;
    size -= sizeof at + 1;
    struct cron cron, again;
    struct err err = {0};
    int r = cron_parse(bytes_of(data, size), &cron, &err);
    if (r < 0) {
        MUST(r == -EINVAL && err.code == -EINVAL && err.text[0]);
        return 0;
    }
    MUST(!cron.zone_name[0] || zone_name_valid(bytes_str(cron.zone_name)));
    _cleanup_buf_ struct buf first = {0}, second = {0};
    MUST(cron_format(&cron, &first) == 0);
    MUST(cron_parse(buf_bytes(&first), &again, NULL) == 0);
    MUST(equal(&cron, &again));
    MUST(cron_format(&again, &second) == 0);
    MUST(bytes_equal(buf_bytes(&first), buf_bytes(&second)));

    int64_t next = cron_next(&cron, zone, at);
    MUST(next > at || next == INT64_MAX);
    if (at >= INT64_MAX / 2)
        return 0; /* near the end of time there need not be one */
    if (next == INT64_MAX) {
        MUST(zone && cron.wild); /* at times that the zone always skips */
        return 0;
    }
    MUST(next % 1000000 == 0);
    MUST(cron_next(&cron, zone, next - 1) == next);
    MUST(cron_next(&cron, zone, at + (next - 1 - at) / 2) == next); /* and none in between */
    return 0;
}
