/* Encodings, dates, lengths of time and globs: any text is taken or refused, and what was taken comes back. */
#include "text.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static void check_encodings(struct bytes text) {
    _cleanup_buf_ struct buf percent = {0}, decoded = {0}, base64 = {0}, from_base64 = {0}, printable = {0}, json = {0};
    MUST(text_add_percent(&percent, text, text.n % 2) == 0);
    MUST(text_add_unpercent(&decoded, buf_bytes(&percent), text.n % 3) == 0);
    MUST(bytes_equal(buf_bytes(&decoded), text));
    MUST(text_add_base64(&base64, text.p, text.n) == 0);
    MUST(text_add_unbase64(&from_base64, buf_bytes(&base64)) == 0);
    MUST(bytes_equal(buf_bytes(&from_base64), text));
    MUST(text_add_printable(&printable, text) == 0);
    MUST(text_is_utf8(buf_bytes(&printable)));
    for (size_t i = 0; i < printable.n; i++)
        MUST((unsigned char)printable.p[i] >= ' ' && printable.p[i] != 0x7f);
    MUST(text_add_json(&json, text) == 0);
    MUST(text_is_utf8(buf_bytes(&json)));
}

static void check_decoders(struct bytes text) {
    _cleanup_buf_ struct buf out = {0}, encoded = {0};
    MUST(buf_add_byte(&out, 'x') == 0);
    int r = text_add_unpercent(&out, text, text.n % 2);
    MUST(r == 0 || (r == -EINVAL && out.n == 1));
    buf_reset(&out);
    r = text_add_unbase64(&out, text);
    MUST(r == 0 || (r == -EINVAL && out.n == 0));
    if (r == 0) { /* each value has one text */
        MUST(text_add_base64(&encoded, out.p, out.n) == 0);
        MUST(bytes_equal(buf_bytes(&encoded), text));
    }
}

static void check_times(struct bytes text) {
    _cleanup_buf_ struct buf out = {0};
    int64_t us, again;
    if (text_parse_iso8601(text, &us) == 0 || text_parse_http_date(text, &us) == 0) {
        MUST(text_add_iso8601(&out, us, false) == 0);
        MUST(out.n > 20 ||
             text_parse_iso8601(buf_bytes(&out), &again) == 0); /* 9999-12-31T23:59:60Z is the year 10000 */
        MUST(out.n > 20 || (us - again >= 0 && us - again < 1000000));
    }
    buf_reset(&out);
    int r = text_parse_duration(text, &us);
    MUST(r == 0 || r == -EINVAL || r == -ERANGE);
    if (r == 0) {
        MUST(us >= 0);
        MUST(text_add_duration(&out, us) == 0);
        MUST(text_parse_duration(buf_bytes(&out), &again) == 0);
        MUST(again <= us);
    }
}

/* The text up to the first newline is the pattern, the rest is what it is tried on. */
static void check_glob(struct bytes text) {
    const char *newline = text.n ? memchr(text.p, '\n', text.n) : NULL;
    struct bytes pattern = newline ? bytes_of(text.p, (size_t)(newline - text.p)) : text;
    struct bytes subject = newline ? bytes_of(newline + 1, text.n - pattern.n - 1) : text;
    bool match = text_glob(pattern, subject);
    MUST(!match || text_glob_check(pattern) == 0);
    _cleanup_buf_ struct buf quoted = {0};
    for (size_t i = 0; i < pattern.n; i++) {
        MUST(buf_add_byte(&quoted, '\\') == 0);
        MUST(buf_add_byte(&quoted, pattern.p[i]) == 0);
    }
    MUST(text_glob(buf_bytes(&quoted), pattern)); /* every text matches itself, quoted */
    MUST(buf_add_byte(&quoted, '*') == 0);
    MUST(text_glob(buf_bytes(&quoted), text)); /* and all that it begins */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 4096)
        return 0;
    struct bytes text = bytes_of(data, size);
    uint64_t u;
    int64_t i;
    bool b;
    check_encodings(text);
    check_decoders(text);
    check_times(text);
    check_glob(text);
    (void)text_parse_u64(text, &u);
    (void)text_parse_i64(text, &i);
    (void)text_parse_bool(text, &b);
    return 0;
}
