/* err.h - how froe reports errors.
 *
 * A function that can fail returns 0 or more for success and a negative code for failure. At a module's boundary it
 * also takes a `struct err *` and, when that is not NULL, leaves a text there that a person can act on: what was being
 * done, on what, what went wrong and, where there is one, the remedy. Library code never prints or logs an error; who
 * receives it decides.
 *
 * Codes are negated errno values where one fits (-ENOMEM, -EINVAL, -ENOENT ...). Layers add their own below -1000 in
 * their own headers. */
#pragma once

#include <errno.h>
#include <stddef.h>

#define ERR_TEXT_MAX 512

struct err {
    int code; /* 0: nothing was set */
    char text[ERR_TEXT_MAX];
};

/* Sets code and text (cut to fit, always NUL-terminated) and returns `code`, so that `return err_set(...)` works.
 * `err` may be NULL. */
int err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "<prefix>: " before the text already there, if both fit. Gives no code back: with a NULL `err` there is none. */
void err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The text of a negated errno value, for use inside err_set's arguments. Thread-safe; never NULL. */
const char *err_errno_text(int negative_errno);
