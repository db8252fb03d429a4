/* text.h - reading and writing small pieces of text: numbers, durations, percent and hex encoding, globs, UTF-8.
 *
 * Pure functions. The text_add_* append to a buffer: 0, or the buffer's -ENOMEM / -E2BIG; the content is then as
 * before. */
#pragma once

#include "bytes.h"

/* Whole-string parsers: no leading or trailing space, no sign for unsigned, no overflow. 0 or -EINVAL / -ERANGE; the
 * out-parameter is then untouched. */
int text_parse_u64(struct bytes text, uint64_t *ret_value);
int text_parse_i64(struct bytes text, int64_t *ret_value);
int text_parse_bool(struct bytes text, bool *ret_value); /* true/false, yes/no, on/off, 1/0; any case */

/* A length of time: one or more of <number><unit> with unit us, ms, s, m, h or d, summed ("1h30m", "1.5s", "250ms").
 * "0" needs no unit; any other bare number is refused, as its unit would be a guess. Microseconds, rounded down;
 * -EINVAL, or -ERANGE past INT64_MAX. */
int text_parse_duration(struct bytes text, int64_t *ret_us);
/* A number of bytes: "4096", or with one of B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (of 1024), any
 * case. */
int text_parse_size(struct bytes text, uint64_t *ret_bytes);
/* Short form for people, rounded down: "350ms", "1.5s", "1m20s", "2h05m", "3d". text_parse_duration reads it. */
int text_add_duration(struct buf *buf, int64_t us);
int text_add_size(struct buf *buf, uint64_t bytes); /* "512 B", "1.2 MiB"; rounded down */

/* RFC 3986 percent-encoding: unreserved characters stay, with keep_slash '/' too, all else becomes %XX (upper case). */
int text_add_percent(struct buf *buf, struct bytes text, bool keep_slash);
/* Decodes %XX; with plus_is_space '+' becomes a space. -EINVAL on a broken escape. */
int text_add_unpercent(struct buf *buf, struct bytes text, bool plus_is_space);

int text_add_hex(struct buf *buf, const void *data, size_t n); /* lower case */
int text_add_base64(struct buf *buf, const void *data, size_t n);
int text_add_unbase64(struct buf *buf, struct bytes text); /* strict, padded; -EINVAL */

/* The text as it may be shown on a terminal or in a log line: printable UTF-8 stays, all else becomes \xHH, and '\'
 * becomes "\\". Characters that hide or reorder text (zero-width, bidirectional) count as not printable. Unambiguous,
 * so a person can copy it. */
int text_add_printable(struct buf *buf, struct bytes text);
/* A JSON string with its quotes. Each byte that is not part of UTF-8 becomes U+FFFD. */
int text_add_json(struct buf *buf, struct bytes text);

bool text_is_utf8(struct bytes text); /* well-formed: no surrogates, no overlong forms */

/* Shell-like match of the whole text: '*' any run of bytes ('/' too), '?' one byte, [a-z] [!a-z] sets (a leading ']'
 * is a member), '\' quotes, in sets too. Works on bytes. Linear in text x pattern; never recursive. A pattern that
 * text_glob_check refuses matches nothing. */
bool text_glob(struct bytes pattern, struct bytes text);
/* 0, or -EINVAL for a pattern that could not mean anything (an open '[', a range backwards, a trailing '\'). */
int text_glob_check(struct bytes pattern);

/* Dates. `2006-01-02T15:04:05[.frac]Z` and RFC 9110 HTTP-dates (`Sun, 06 Nov 1994 08:49:37 GMT` and the two obsolete
 * forms; in the one with a two-digit year 70-99 are 19xx, the others 20xx). Microseconds UTC; -EINVAL. The name of the
 * weekday is read but not checked against the date. */
int text_parse_iso8601(struct bytes text, int64_t *ret_utc_us);
int text_parse_http_date(struct bytes text, int64_t *ret_utc_us);
int text_add_iso8601(struct buf *buf, int64_t utc_us, bool with_ms); /* 2026-01-02T03:04:05[.678]Z */
