/* cel_json.h - looking into JSON text (RFC 8259) without building anything.
 *
 * Text of a variable comes from outside and is checked as it is read; spans that these functions have given are known
 * to be good and begin and end with their value. */
#pragma once

#include "cel.h"

struct cel_json_scan {
    const char *start, *at, *end;
    char close; /* '}' or ']' */
    bool is_first;
    int failed; /* 0, -EINVAL (bad JSON at `at`) or -E2BIG (nested deeper than CEL_NESTING_MAX) */
};

/* The value of the last member with that key, in *ret_value: 1, or 0 when there is none. The whole text is checked.
 * -EINVAL, -E2BIG, with the place in *ret_bad_at. */
int cel_json_find(struct bytes object, struct bytes key, struct bytes *ret_value, size_t *ret_bad_at);

/* Goes through an object's members or an array's elements (of which `ret_key` is empty). cel_json_begin reads the
 * bracket; cel_json_next gives 1 with a member, 0 at the end of the text, or the error. Keys come with their quotes. */
int cel_json_begin(struct cel_json_scan *scan, struct bytes container, char open);
int cel_json_next(struct cel_json_scan *scan, struct bytes *ret_key, struct bytes *ret_value);

/* The characters of a string with its quotes. Borrowed from the text, or, when there are escapes, written to `room`,
 * which has at least text.n bytes. -EINVAL: half of a surrogate pair. */
bool cel_json_has_escapes(struct bytes text);
int cel_json_unescape(struct bytes text, char *room, struct bytes *ret_text);
