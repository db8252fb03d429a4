/* err.c - filling in struct err. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *format, ...) {
    if (!err)
        return code;
    err->code = code;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n < 0)
        err->text[0] = '\0';
    return code;
}

int err_prefix(struct err *err, const char *format, ...) {
    if (!err)
        return 0;
    char old[ERR_TEXT_MAX];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n < 0)
        n = 0;
    size_t at = (size_t)n < sizeof err->text ? (size_t)n : sizeof err->text - 1;
    /* The cause matters more than where it happened: if both do not fit, the prefix yields. */
    if (at + 2 + strlen(old) >= sizeof err->text)
        memcpy(err->text, old, sizeof old);
    else
        snprintf(err->text + at, sizeof err->text - at, ": %s", old);
    return err->code;
}

const char *err_errno_text(int negative_errno) {
    const char *text = strerrordesc_np(-negative_errno);
    return text ? text : "unknown error";
}
