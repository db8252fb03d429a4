/* zone.h - IANA time zones, read from the system's zoneinfo files.
 *
 * A zone tells how far local time is from UTC at any instant: a list of changes, and behind the last one a rule that
 * repeats for ever (TZif versions 1 to 4, RFC 9636; the rule is a TZ string as in POSIX.1, 8.3). The process's own
 * zone, TZ and localtime play no part. A loaded zone never changes, so any thread may use it; it is what the files said
 * when it was loaded. In all functions but zone_load a NULL zone is UTC.
 *
 * `utc_s` is seconds since 1970 in UTC, without leap seconds; any value will do. `local_s` is what a clock on the wall
 * shows, as if it were UTC: utc_s + offset. Offsets are seconds east of UTC, more than -25 h and less than +26 h. */
#pragma once

#include "bytes.h"
#include "err.h"

#define ZONE_NAME_MAX 64           /* bytes of a zone's name */
#define ZONE_FILE_MAX (128 * 1024) /* bytes of a zone's file; real ones have up to 4 KiB */

struct zone;

/* Whether it could be the name of a zone: letters, digits, '_', '-', '+' and single inner '/', up to ZONE_NAME_MAX. So
 * no name leads out of the folder of zones. Says nothing about whether there is such a zone. */
bool zone_name_valid(struct bytes name);

/* Reads $TZDIR/NAME, or /usr/share/zoneinfo/NAME when TZDIR is not set to an absolute path. "UTC" and "Etc/UTC" need no
 * file. The caller frees it with zone_free. Errors, with a text that names the zone:
 *   -EINVAL   a name that cannot be one; a damaged file, one that is no TZif file, one larger than ZONE_FILE_MAX, one
 *             that counts leap seconds ("right/...")
 *   -ENOENT   no such zone, or no zoneinfo on this machine; the text says how to mend it
 *   -ENOMEM, and what open and read can answer */
int zone_load(struct bytes name, struct zone **ret_zone, struct err *err);
/* The same from the bytes of a file. `name` is only for the error text. */
int zone_parse(struct bytes name, struct bytes file, struct zone **ret_zone, struct err *err);
void zone_free(struct zone *zone);

int32_t zone_offset_at(const struct zone *zone, int64_t utc_s);

/* A stretch of time with one offset: from `from_s` (INT64_MIN: since ever) until before `until_s` (INT64_MAX: for
 * ever). Neighbours may have the same offset. */
struct zone_span {
    int64_t from_s, until_s;
    int32_t offset_s;
};
void zone_span_at(const struct zone *zone, int64_t utc_s, struct zone_span *ret_span);

/* The instants at which a clock on the wall shows `local_s`. Returns how many there are:
 *   1  first_utc_s and last_utc_s are that instant
 *   2  the time is passed twice, as clocks were put back: the first and the last instant
 *   0  it is never shown, as clocks were put forward over it: `jump_utc_s` is the instant from which on the new time
 *      holds, `jump_s` by how much they were put forward; first_utc_s and last_utc_s are jump_utc_s
 * (More than two, which no real zone has, count as 2.) Near the ends of int64_t the instants are cut off to it. */
struct zone_instants {
    int64_t first_utc_s, last_utc_s;
    int64_t jump_utc_s;
    int32_t jump_s;
};
int zone_local_to_utc(const struct zone *zone, int64_t local_s, struct zone_instants *ret_instants);
