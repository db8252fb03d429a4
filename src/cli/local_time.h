/* local_time.h - times for people: local, short. */
#pragma once

#include "bytes.h"

/* "14:20:08" today, "11-21 14:20" this year, else "2025-11-21"; "-" for 0. */
void local_add_short(struct buf *buf, int64_t utc_us);
/* "2026-11-22 14:20:08.123 +05:45"; "-" for 0. */
void local_add_long(struct buf *buf, int64_t utc_us);
/* The offset now, for a header: "UTC+05:45", or "UTC". */
void local_add_zone(struct buf *buf);
/* The time in a member of an answer, 0: none. */
struct json_t;
int64_t local_read(const struct json_t *object, const char *name);
