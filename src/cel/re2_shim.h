/* re2_shim.h - regular expressions by RE2 (github.com/google/re2/wiki/Syntax): matching takes time linear in the text.
 *
 * The one place with C++ behind it. No exception crosses it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct re2_regex;

/* Compiles a UTF-8 pattern; what it uses, also while matching, stays below `max_bytes`. -EINVAL with a text of at most
 * `text_max` bytes (with its NUL) in `ret_text`; -E2BIG when the pattern needs more memory; -ENOMEM. The caller frees
 * it. */
int re2_regex_compile(const char *pattern, size_t n, int64_t max_bytes, struct re2_regex **ret_regex, char *ret_text,
                      size_t text_max);
void re2_regex_free(struct re2_regex *regex); /* NULL is fine */

/* 1 when some part of the text matches, 0 when none does, -ENOMEM. Any number of threads at a time. */
int re2_regex_matches(const struct re2_regex *regex, const char *text, size_t n);

#ifdef __cplusplus
}
#endif
