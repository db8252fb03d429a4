/* err.c - filling in struct err. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Both build the new text beside the old one, as the arguments may well point into the old one. */

int err_set(struct err *err, int code, const char *format, ...) {
    if (!err)
        return code;
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    err->code = code;
    memcpy(err->text, n < 0 ? "" : text, n < 0 ? 1 : strlen(text) + 1);
    return code;
}

void err_prefix(struct err *err, const char *format, ...) {
    if (!err)
        return;
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t prefix_n = n < 0 ? 0 : strlen(text), old_n = strlen(err->text);
    /* The cause matters more than where it happened: if both do not fit, the prefix yields. */
    if (prefix_n == 0 || prefix_n + 2 + old_n >= sizeof err->text)
        return;
    memmove(err->text + prefix_n + 2, err->text, old_n + 1);
    memcpy(err->text, text, prefix_n);
    memcpy(err->text + prefix_n, ": ", 2);
}

const char *err_errno_text(int negative_errno) {
    const char *text =
        negative_errno < -4095 ? NULL : strerrordesc_np(-negative_errno); /* the kernel has no larger ones */
    return text ? text : "unknown error";
}
