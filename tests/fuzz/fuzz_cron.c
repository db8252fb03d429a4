/* Any text is read as a cron expression or refused with a reason; what was read can be written and read again, and
 * fires. */
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
           a->any_weekday == b->any_weekday;
}

/* The first eight bytes are the time to start from, the others the expression. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t at;
    if (size < sizeof at)
        return 0;
    memcpy(&at, data, sizeof at);
    struct cron cron, again;
    struct err err = {0};
    int r = cron_parse(bytes_of(data + sizeof at, size - sizeof at), &cron, &err);
    if (r < 0) {
        MUST(r == -EINVAL && err.code == -EINVAL && err.text[0]);
        return 0;
    }
    _cleanup_buf_ struct buf first = {0}, second = {0};
    MUST(cron_format(&cron, &first) == 0);
    MUST(cron_parse(buf_bytes(&first), &again, NULL) == 0);
    MUST(equal(&cron, &again));
    MUST(cron_format(&again, &second) == 0);
    MUST(bytes_equal(buf_bytes(&first), buf_bytes(&second)));

    int64_t next = cron_next(&cron, at);
    MUST(next > at || next == INT64_MAX);
    if (at < INT64_MAX / 2) { /* there is always one, but near the end of time */
        MUST(next % 1000000 == 0);
        MUST(cron_next(&cron, next - 1) == next);
        MUST(next - at == 1 || cron_next(&cron, at + (next - at) / 2) == next); /* and none in between */
    }
    return 0;
}
