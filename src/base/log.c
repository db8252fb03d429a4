/* log.c - one event, one line, one write. A line is built on the stack, so running out of memory can still be logged.
 */
#include "log.h"

#include "text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static const struct level_name {
    const char *json, *text, *colour;
} level_names[] = {
    [LOG_DEBUG] = {"debug", "DEBUG", "\x1b[2m"},
    [LOG_INFO] = {"info", "INFO ", "\x1b[32m"},
    [LOG_WARN] = {"warn", "WARN ", "\x1b[33m"},
    [LOG_ERROR] = {"error", "ERROR", "\x1b[31m"},
};

static void truncate_to(struct buf *line, size_t n) {
    line->n = n;
    line->p[n] = '\0';
}

/* Text that needs no quotes to be told from what stands around it. */
static bool is_bare(struct bytes text) {
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\')
            return false;
    }
    return text.n > 0;
}

static int add_quoted(struct buf *line, struct bytes text) {
    int r = buf_add_byte(line, '"');
    while (r == 0) {
        const char *quote = text.n ? memchr(text.p, '"', text.n) : NULL;
        size_t n = quote ? (size_t)(quote - text.p) : text.n;
        r = text_add_printable(line, bytes_of(text.p, n));
        if (r < 0 || !quote)
            break;
        r = buf_add_str(line, "\\\"");
        text.p += n + 1;
        text.n -= n + 1;
    }
    return r < 0 ? r : buf_add_byte(line, '"');
}

enum quoting { PLAIN, QUOTED, JSON };

static int add_text(struct buf *line, enum quoting quoting, struct bytes text) {
    if (quoting == JSON)
        return text_add_json(line, text);
    if (quoting == PLAIN)
        return text_add_printable(line, text);
    return is_bare(text) ? buf_add_bytes(line, text) : add_quoted(line, text);
}

/* Appends a text of any length: all of it, or as much as fits into half of the room left (so that what follows has room
 * too) with a mark that says how much is missing. */
static int add_text_cut(struct buf *line, enum quoting quoting, struct bytes text) {
    size_t start = line->n, max = line->max, keep = text.n;
    line->max = start + (max - start) / 2;
    int r = keep < max ? add_text(line, quoting, text) : -E2BIG;
    while (r == -E2BIG && keep > 0) {
        truncate_to(line, start);
        keep = (keep < max ? keep : max) * 3 / 4;
        while (keep > 0 && ((unsigned char)text.p[keep] & 0xc0) == 0x80) /* not inside a UTF-8 sequence */
            keep--;
        char head[LOG_LINE_MAX];
        struct buf cut = {.p = head, .cap = sizeof head, .max = sizeof head - 1};
        r = buf_add(&cut, text.p, keep);
        if (r == 0)
            r = buf_printf(&cut, "...(%zu more bytes)", text.n - keep);
        if (r == 0)
            r = add_text(line, quoting, buf_bytes(&cut));
    }
    line->max = max;
    if (r < 0)
        truncate_to(line, start);
    return r;
}

/* "%g", but with a point whatever the locale says. */
static int add_number(struct buf *line, bool json, double number) {
    if (!isfinite(number))
        return buf_add_str(line, json ? "null" : isnan(number) ? "nan" : number < 0 ? "-inf" : "inf");
    char digits[64];
    int n = snprintf(digits, sizeof digits, "%.9g", number);
    for (int i = 0; i < n; i++)
        if (!strchr("0123456789+-e", digits[i]))
            digits[i] = '.';
    return buf_add_str(line, digits);
}

static int add_field(struct buf *line, bool json, const struct log_field *field) {
    size_t start = line->n;
    int r = buf_add_str(line, json ? "," : " ");
    if (r == 0)
        r = json ? text_add_json(line, bytes_str(field->name)) : buf_add_str(line, field->name);
    if (r == 0)
        r = buf_add_str(line, json ? ":" : "=");
    if (r == 0) {
        switch (field->kind) {
        case LOG_FIELD_BYTES:
            r = add_text_cut(line, json ? JSON : QUOTED, field->bytes);
            break;
        case LOG_FIELD_INT:
            r = buf_printf(line, "%jd", (intmax_t)field->integer);
            break;
        case LOG_FIELD_DOUBLE:
            r = add_number(line, json, field->number);
            break;
        }
    }
    if (r < 0)
        truncate_to(line, start);
    return r;
}

static int add_head(struct buf *line, const struct log *log, enum log_level level, const char *message) {
    const struct level_name *name = &level_names[level];
    int64_t now_utc_us = clock_utc_us(log->clock ? log->clock : &clock_system);
    int r;
    if (log->format == LOG_JSON) {
        r = buf_add_str(line, "{\"time\":\"");
        if (r == 0)
            r = text_add_iso8601(line, now_utc_us, true);
        if (r == 0)
            r = buf_printf(line, "\",\"level\":\"%s\",\"message\":", name->json);
        return r == 0 ? add_text_cut(line, JSON, bytes_str(message)) : r;
    }
    struct clock_date d;
    clock_date_utc(now_utc_us, &d);
    r = buf_printf(line, "%04d-%02d-%02d %02d:%02d:%02d.%03d %s%s%s ", d.year, d.month, d.day, d.hour, d.minute,
                   d.second, d.us / 1000, log->colour ? name->colour : "", name->text, log->colour ? "\x1b[0m" : "");
    return r == 0 ? add_text_cut(line, PLAIN, bytes_str(message)) : r;
}

static void write_line(int fd, struct bytes line) {
    int saved = errno;
    while (line.n) { /* once, unless a signal or a full pipe cuts the write short */
        ssize_t n = write(fd, line.p, line.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* whom to tell? */
        line.p += n;
        line.n -= (size_t)n;
    }
    errno = saved;
}

void log_write(struct log *log, enum log_level level, const char *message, const struct log_field *fields, size_t n) {
    if (!log_wants(log, level) || level >= LOG_OFF)
        return;
    bool json = log->format == LOG_JSON;
    char memory[LOG_LINE_MAX + 1];
    /* Room for "}" and the newline is kept back. As `max` is below `cap`, the buffer never allocates. */
    struct buf line = {.p = memory, .cap = sizeof memory, .max = LOG_LINE_MAX - 2};
    if (add_head(&line, log, level, message) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (add_field(&line, json, &fields[i]) < 0)
            break;
    line.max = LOG_LINE_MAX;
    if (json && buf_add_byte(&line, '}') < 0)
        return;
    if (log->sink)
        log->sink(log->sink_arg, level, buf_bytes(&line));
    else if (buf_add_byte(&line, '\n') == 0)
        write_line(log->fd, buf_bytes(&line));
}
