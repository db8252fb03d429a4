/* text.c - numbers, lengths of time, sizes and globs. Encodings are in text_encoding.c, dates in text_date.c. */
#include "text.h"

#include "clock.h"

#include <errno.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

int text_parse_u64(struct bytes text, uint64_t *ret_value) {
    uint64_t value = 0;
    bool over = false;
    for (size_t i = 0; i < text.n; i++) {
        if (!is_digit(text.p[i]))
            return -EINVAL;
        over = over || __builtin_mul_overflow(value, 10, &value) ||
               __builtin_add_overflow(value, (uint64_t)(text.p[i] - '0'), &value);
    }
    if (text.n == 0)
        return -EINVAL;
    if (over)
        return -ERANGE;
    *ret_value = value;
    return 0;
}

int text_parse_i64(struct bytes text, int64_t *ret_value) {
    bool negative = text.n && text.p[0] == '-';
    uint64_t magnitude;
    int r = text_parse_u64(negative ? bytes_of(text.p + 1, text.n - 1) : text, &magnitude);
    if (r < 0)
        return r;
    uint64_t limit = (uint64_t)INT64_MAX + negative;
    if (magnitude > limit)
        return -ERANGE;
    if (negative)
        *ret_value = magnitude == limit ? INT64_MIN : -(int64_t)magnitude;
    else
        *ret_value = (int64_t)magnitude;
    return 0;
}

int text_parse_bool(struct bytes text, bool *ret_value) {
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true},   {"yes", true}, {"on", true},   {"1", true},
                 {"false", false}, {"no", false}, {"off", false}, {"0", false}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (bytes_equal_nocase(text, bytes_str(words[i].word))) {
            *ret_value = words[i].value;
            return 0;
        }
    }
    return -EINVAL;
}

static const struct duration_unit {
    const char *name;
    int64_t us;
} duration_units[] = {/* "ms" must be tried before "m" */
                      {"us", 1},         {"ms", US_PER_MS},  {"s", US_PER_S},
                      {"m", US_PER_MIN}, {"h", US_PER_HOUR}, {"d", 24 * US_PER_HOUR}};

static const struct duration_unit *take_unit(struct bytes *text) {
    for (size_t i = 0; i < sizeof duration_units / sizeof duration_units[0]; i++) {
        struct bytes name = bytes_str(duration_units[i].name);
        if (bytes_starts(*text, name)) {
            text->p += name.n;
            text->n -= name.n;
            return &duration_units[i];
        }
    }
    return NULL;
}

static struct bytes take_digits(struct bytes *text) {
    struct bytes digits = {text->p, 0};
    while (digits.n < text->n && is_digit(text->p[digits.n]))
        digits.n++;
    text->p += digits.n;
    text->n -= digits.n;
    return digits;
}

int text_parse_duration(struct bytes text, int64_t *ret_us) {
    if (bytes_equal(text, BYTES("0"))) {
        *ret_us = 0;
        return 0;
    }
    if (text.n == 0)
        return -EINVAL;
    int64_t total = 0;
    bool over = false;
    while (text.n) {
        struct bytes whole = take_digits(&text), fraction = BYTES_NONE;
        if (whole.n == 0)
            return -EINVAL;
        if (text.n && text.p[0] == '.') {
            text.p++;
            text.n--;
            fraction = take_digits(&text);
            if (fraction.n == 0)
                return -EINVAL;
        }
        const struct duration_unit *unit = take_unit(&text);
        if (!unit)
            return -EINVAL;
        /* From the last digit to the first, so that nothing is lost above a microsecond and nothing can overflow. */
        int64_t part = 0;
        for (size_t i = fraction.n; i-- > 0;)
            part = ((fraction.p[i] - '0') * unit->us + part) / 10;
        int64_t value = 0;
        int r = text_parse_i64(whole, &value);
        over = over || r == -ERANGE || __builtin_mul_overflow(value, unit->us, &value) ||
               __builtin_add_overflow(total, value, &total) || __builtin_add_overflow(total, part, &total);
    }
    if (over)
        return -ERANGE;
    *ret_us = total;
    return 0;
}

int text_parse_size(struct bytes text, uint64_t *ret_bytes) {
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"B", 1},
                 {"KB", 1000},
                 {"MB", 1000000},
                 {"GB", 1000000000},
                 {"TB", UINT64_C(1000000000000)},
                 {"KiB", 1 << 10},
                 {"MiB", 1 << 20},
                 {"GiB", 1 << 30},
                 {"TiB", UINT64_C(1) << 40},
                 {"", 1}};
    size_t digits = 0;
    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    uint64_t number;
    if (text_parse_u64(bytes_of(text.p, digits), &number) < 0)
        return -EINVAL;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (bytes_equal_nocase(bytes_of(text.p + digits, text.n - digits), bytes_str(units[i].name)))
            return __builtin_mul_overflow(number, units[i].bytes, ret_bytes) ? -ERANGE : 0;
    return -EINVAL;
}

int text_add_duration(struct buf *buf, int64_t us) {
    const char *sign = us < 0 ? "-" : "";
    uint64_t length = us < 0 ? -(uint64_t)us : (uint64_t)us;
    uint64_t second = (uint64_t)US_PER_S, s = length / second, m = s / 60, h = m / 60;
    if (length == 0)
        return buf_add_str(buf, "0s");
    if (length < (uint64_t)US_PER_MS)
        return buf_printf(buf, "%s%juus", sign, (uintmax_t)length);
    if (s == 0)
        return buf_printf(buf, "%s%jums", sign, (uintmax_t)(length / (uint64_t)US_PER_MS));
    if (s < 10 && length % second >= second / 10)
        return buf_printf(buf, "%s%ju.%jus", sign, (uintmax_t)s, (uintmax_t)(length % second * 10 / second));
    if (m == 0)
        return buf_printf(buf, "%s%jus", sign, (uintmax_t)s);
    /* Above that, the two largest units; the smaller one is left out when it is zero. */
    uint64_t high, low;
    char high_unit, low_unit;
    if (h == 0)
        high = m, low = s % 60, high_unit = 'm', low_unit = 's';
    else if (h < 24)
        high = h, low = m % 60, high_unit = 'h', low_unit = 'm';
    else
        high = h / 24, low = h % 24, high_unit = 'd', low_unit = 'h';
    if (low == 0)
        return buf_printf(buf, "%s%ju%c", sign, (uintmax_t)high, high_unit);
    return buf_printf(buf, "%s%ju%c%02ju%c", sign, (uintmax_t)high, high_unit, (uintmax_t)low, low_unit);
}

int text_add_size(struct buf *buf, uint64_t bytes) {
    if (bytes < 1024)
        return buf_printf(buf, "%ju B", (uintmax_t)bytes);
    int shift = 10;
    while (shift < 60 && bytes >> (shift + 10))
        shift += 10;
    uint64_t tenths = (bytes & ((UINT64_C(1) << shift) - 1)) * 10 >> shift; /* below 2^60, times 10 fits */
    return buf_printf(buf, "%ju.%ju %ciB", (uintmax_t)(bytes >> shift), (uintmax_t)tenths, "KMGTPE"[shift / 10 - 1]);
}

/* One element of a glob other than '*': whether it is well-formed, whether it matches `c`, and where the next begins.
 */
static bool glob_element(struct bytes pattern, size_t *at, unsigned char c, bool *ret_match) {
    size_t i = *at;
    char first = pattern.p[i++];
    if (first == '?') {
        *ret_match = true;
    } else if (first == '[') {
        bool negated = i < pattern.n && pattern.p[i] == '!', in = false;
        i += negated;
        for (bool begun = false;; begun = true) {
            if (i >= pattern.n)
                return false;
            if (pattern.p[i] == ']' && begun) { /* a leading ']' is a member */
                i++;
                break;
            }
            unsigned char bounds[2];
            for (int b = 0; b < 2; b++) {
                if (i < pattern.n && pattern.p[i] == '\\')
                    i++;
                if (i >= pattern.n)
                    return false;
                bounds[b] = (unsigned char)pattern.p[i++];
                if (b == 0) {
                    bounds[1] = bounds[0];
                    if (i + 1 >= pattern.n || pattern.p[i] != '-' || pattern.p[i + 1] == ']')
                        break;
                    i++;
                }
            }
            if (bounds[0] > bounds[1])
                return false;
            in = in || (c >= bounds[0] && c <= bounds[1]);
        }
        *ret_match = in != negated;
    } else {
        if (first == '\\') {
            if (i >= pattern.n)
                return false;
            first = pattern.p[i++];
        }
        *ret_match = c == (unsigned char)first;
    }
    *at = i;
    return true;
}

bool text_glob(struct bytes pattern, struct bytes text) {
    size_t p = 0, t = 0, star_p = 0, star_t = 0;
    bool star = false;
    while (t < text.n || p < pattern.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = true;
            star_p = ++p;
            star_t = t;
            continue;
        }
        if (p < pattern.n && t < text.n) {
            bool match;
            if (!glob_element(pattern, &p, (unsigned char)text.p[t], &match))
                return false;
            if (match) {
                t++;
                continue;
            }
        }
        /* Only the last star needs to be tried again, as an earlier one could not reach further; and with the text used
         * up a later start has even less of it. */
        if (!star || t >= text.n)
            return false;
        p = star_p;
        t = ++star_t;
    }
    return true;
}

int text_glob_check(struct bytes pattern) {
    bool match;
    for (size_t i = 0; i < pattern.n;) {
        if (pattern.p[i] == '*')
            i++;
        else if (!glob_element(pattern, &i, 0, &match))
            return -EINVAL;
    }
    return 0;
}
