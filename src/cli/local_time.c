/* local_time.c - see local_time.h. */
#include "local_time.h"

#include "clock.h"
#include "json_set.h"
#include "text.h"

#include <stdlib.h>
#include <time.h>

static void to_local(int64_t utc_us, struct tm *ret_tm) {
    time_t seconds = (time_t)(utc_us / US_PER_S);
    localtime_r(&seconds, ret_tm);
}

static void add_offset(struct buf *buf, long offset_s) {
    long minutes = labs(offset_s) / 60;
    buf_printf(buf, "%c%02ld:%02ld", offset_s < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

void local_add_short(struct buf *buf, int64_t utc_us) {
    struct tm then, now;
    if (utc_us == 0) {
        buf_add_byte(buf, '-');
        return;
    }
    to_local(utc_us, &then);
    to_local(clock_utc_us(&clock_system), &now);
    if (then.tm_year != now.tm_year)
        buf_printf(buf, "%04d-%02d-%02d", then.tm_year + 1900, then.tm_mon + 1, then.tm_mday);
    else if (then.tm_yday != now.tm_yday)
        buf_printf(buf, "%02d-%02d %02d:%02d", then.tm_mon + 1, then.tm_mday, then.tm_hour, then.tm_min);
    else
        buf_printf(buf, "%02d:%02d:%02d", then.tm_hour, then.tm_min, then.tm_sec);
}

void local_add_long(struct buf *buf, int64_t utc_us) {
    struct tm tm;
    if (utc_us == 0) {
        buf_add_byte(buf, '-');
        return;
    }
    to_local(utc_us, &tm);
    buf_printf(buf, "%04d-%02d-%02d %02d:%02d:%02d.%03d ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
               tm.tm_min, tm.tm_sec, (int)(utc_us / US_PER_MS % 1000));
    add_offset(buf, tm.tm_gmtoff);
}

void local_add_zone(struct buf *buf) {
    struct tm now;
    to_local(clock_utc_us(&clock_system), &now);
    buf_add_str(buf, "UTC");
    if (now.tm_gmtoff)
        add_offset(buf, now.tm_gmtoff);
}

int64_t local_read(const json_t *object, const char *name) {
    int64_t utc_us;
    return text_parse_iso8601(bytes_str(json_text(object, name)), &utc_us) == 0 ? utc_us : 0;
}
