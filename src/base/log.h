/* log.h - what the program says while it works: one line an event, as text for people or JSON for machines.
 *
 *     log_info(log, "object parked", LOG_STR("bucket", name), LOG_BYTES("key", key), LOG_INT("attempts", 3));
 *
 * A `struct log` is given to whoever may speak; there is no global one. Any thread may write; a line is written with
 * one write(2). Messages and values are escaped, so a key cannot forge a line. Times are UTC. Never pass a secret.
 *
 *     2026-11-22 09:00:01.234 INFO  object parked bucket=b key="a b" attempts=3
 *     {"time":"2026-11-22T09:00:01.234Z","level":"info","message":"object parked","key":"a b"}
 *
 * In text a value with a space, a quote, a backslash or anything but printable ASCII stands in quotes, escaped as by
 * text_add_printable and with \" for a quote. In JSON bytes that are not UTF-8 become U+FFFD. */
#pragma once

#include "bytes.h"
#include "clock.h"

#define LOG_LINE_MAX 16384 /* bytes with the newline; a value that does not fit is cut and says how much is missing */

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field {
    const char *name;
    enum { LOG_FIELD_BYTES, LOG_FIELD_INT, LOG_FIELD_DOUBLE } kind;
    struct bytes bytes;
    int64_t integer;
    double number;
};

#define LOG_BYTES(name_, value_) ((struct log_field){.name = (name_), .kind = LOG_FIELD_BYTES, .bytes = (value_)})
#define LOG_STR(name_, value_) LOG_BYTES(name_, bytes_str(value_))
#define LOG_INT(name_, value_) ((struct log_field){.name = (name_), .kind = LOG_FIELD_INT, .integer = (value_)})
#define LOG_NUM(name_, value_) ((struct log_field){.name = (name_), .kind = LOG_FIELD_DOUBLE, .number = (value_)})

struct log {
    enum log_level level; /* lines below it are dropped; set before other threads use the log */
    enum log_format format;
    int fd;                    /* not owned */
    bool colour;               /* text only */
    const struct clock *clock; /* NULL: clock_system */
    /* When set, called instead of writing to fd, with the finished line without its newline. */
    void (*sink)(void *arg, enum log_level level, struct bytes line);
    void *sink_arg;
};

/* `log` may be NULL: silence. Fields are copied before the call returns. */
void log_write(struct log *log, enum log_level level, const char *message, const struct log_field *fields, size_t n);

static inline bool log_wants(const struct log *log, enum log_level level) {
    return log && level >= log->level;
}

#define LOG_AT(log_, level_, message_, ...)                                                                          \
    do {                                                                                                             \
        if (log_wants((log_), (level_)))                                                                             \
            log_write((log_), (level_), (message_), (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}},       \
                      sizeof((const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}}) / sizeof(struct log_field) - \
                          1);                                                                                        \
    } while (0)
#define log_debug(log_, ...) LOG_AT(log_, LOG_DEBUG, __VA_ARGS__)
#define log_info(log_, ...) LOG_AT(log_, LOG_INFO, __VA_ARGS__)
#define log_warn(log_, ...) LOG_AT(log_, LOG_WARN, __VA_ARGS__)
#define log_error(log_, ...) LOG_AT(log_, LOG_ERROR, __VA_ARGS__)
