/* cel_json.c - a scanner that checks what it passes over. */
#include "cel_json.h"

#include "cel_number.h"
#include "text.h"

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int hex_value(char c) {
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void skip_space(struct cel_json_scan *scan) {
    while (scan->at < scan->end && is_space(*scan->at))
        scan->at++;
}

static bool fail(struct cel_json_scan *scan, int code) {
    scan->failed = code;
    return false;
}

static char peek(const struct cel_json_scan *scan) {
    return scan->at < scan->end ? *scan->at : '\0';
}

static bool skip_escape(struct cel_json_scan *scan) {
    scan->at++;
    char c = peek(scan);
    if (c == '\0' || !strchr("\"\\/bfnrtu", c))
        return fail(scan, -EINVAL);
    scan->at++;
    for (int i = 0; c == 'u' && i < 4; i++, scan->at++)
        if (hex_value(peek(scan)) < 0)
            return fail(scan, -EINVAL);
    return true;
}

static bool skip_string(struct cel_json_scan *scan) {
    if (peek(scan) != '"')
        return fail(scan, -EINVAL);
    const char *from = ++scan->at, *at = from, *end = scan->end;
    unsigned char seen = 0;
    for (;;) {
        while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
            seen |= (unsigned char)*at++;
        scan->at = at;
        if (at == end || (unsigned char)*at < 0x20)
            return fail(scan, -EINVAL);
        if (*at == '"')
            break;
        if (!skip_escape(scan))
            return false;
        at = scan->at;
    }
    if (seen >= 0x80 && !text_is_utf8(bytes_of(from, (size_t)(at - from))))
        return fail(scan, -EINVAL);
    scan->at = at + 1;
    return true;
}

static bool skip_digits(struct cel_json_scan *scan) {
    const char *from = scan->at;
    while (is_digit(peek(scan)))
        scan->at++;
    return scan->at > from ? true : fail(scan, -EINVAL);
}

static bool skip_number(struct cel_json_scan *scan) {
    if (peek(scan) == '-')
        scan->at++;
    bool leading_zero = peek(scan) == '0';
    const char *from = scan->at;
    if (!skip_digits(scan))
        return false;
    if (leading_zero && scan->at > from + 1)
        return fail(scan, -EINVAL);
    if (peek(scan) == '.') {
        scan->at++;
        if (!skip_digits(scan))
            return false;
    }
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-')
            scan->at++;
        return skip_digits(scan);
    }
    return true;
}

static bool skip_word(struct cel_json_scan *scan, struct bytes word) {
    if ((size_t)(scan->end - scan->at) < word.n || memcmp(scan->at, word.p, word.n) != 0)
        return fail(scan, -EINVAL);
    scan->at += word.n;
    return true;
}

static bool skip_value(struct cel_json_scan *scan, unsigned depth);

/* The members of a container whose bracket was read. */
static bool skip_members(struct cel_json_scan *scan, char close, unsigned depth) {
    for (bool is_first = true;; is_first = false) {
        skip_space(scan);
        if (peek(scan) == close && is_first) {
            scan->at++;
            return true;
        }
        if (close == '}') {
            if (!skip_string(scan))
                return false;
            skip_space(scan);
            if (peek(scan) != ':')
                return fail(scan, -EINVAL);
            scan->at++;
            skip_space(scan);
        }
        if (!skip_value(scan, depth))
            return false;
        skip_space(scan);
        char c = peek(scan);
        if (c != ',' && c != close)
            return fail(scan, -EINVAL);
        scan->at++;
        if (c == close)
            return true;
    }
}

static bool skip_value(struct cel_json_scan *scan, unsigned depth) {
    switch (peek(scan)) {
    case '"':
        return skip_string(scan);
    case '{':
    case '[':
        if (depth == CEL_NESTING_MAX)
            return fail(scan, -E2BIG);
        scan->at++;
        return skip_members(scan, scan->at[-1] == '{' ? '}' : ']', depth + 1);
    case 't':
        return skip_word(scan, BYTES("true"));
    case 'f':
        return skip_word(scan, BYTES("false"));
    case 'n':
        return skip_word(scan, BYTES("null"));
    default:
        return skip_number(scan);
    }
}

int cel_json_begin(struct cel_json_scan *scan, struct bytes container, char open) {
    *scan = (struct cel_json_scan){.start = container.p, .at = container.p, .end = container.p + container.n};
    skip_space(scan);
    if (peek(scan) != open)
        return scan->failed = -EINVAL;
    scan->at++;
    scan->close = open == '{' ? '}' : ']';
    scan->is_first = true;
    return 0;
}

/* After the last member: nothing but space may follow. */
static int end_of(struct cel_json_scan *scan) {
    scan->at++;
    skip_space(scan);
    return scan->at == scan->end ? 0 : (scan->failed = -EINVAL);
}

int cel_json_next(struct cel_json_scan *scan, struct bytes *ret_key, struct bytes *ret_value) {
    skip_space(scan);
    if (peek(scan) == scan->close)
        return end_of(scan);
    if (!scan->is_first) {
        if (peek(scan) != ',')
            return scan->failed = -EINVAL;
        scan->at++;
        skip_space(scan);
    }
    scan->is_first = false;
    *ret_key = BYTES_NONE;
    if (scan->close == '}') {
        const char *key = scan->at;
        if (!skip_string(scan))
            return scan->failed;
        *ret_key = bytes_of(key, (size_t)(scan->at - key));
        skip_space(scan);
        if (peek(scan) != ':')
            return scan->failed = -EINVAL;
        scan->at++;
        skip_space(scan);
    }
    const char *value = scan->at;
    if (!skip_value(scan, 1))
        return scan->failed;
    *ret_value = bytes_of(value, (size_t)(scan->at - value));
    return 1;
}

/* The next character of a string, from inside its quotes; `at` goes on. -1: half of a surrogate pair. */
static int64_t next_unit(const char **at) {
    const char *p = *at + 2;
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    char c = (*at)[1];
    if (c != 'u') {
        *at = p;
        const char *letter = strchr(letters, c);
        return letter ? meant[letter - letters] : c;
    }
    int64_t unit = 0;
    for (int i = 0; i < 4; i++)
        unit = unit * 16 + hex_value(*p++);
    *at = p;
    if (unit < 0xd800 || unit >= 0xe000)
        return unit;
    if (unit >= 0xdc00 || p[0] != '\\' || p[1] != 'u')
        return -1;
    int64_t low = 0;
    for (int i = 2; i < 6; i++)
        low = low * 16 + hex_value(p[i]);
    if (low < 0xdc00 || low >= 0xe000)
        return -1;
    *at = p + 6;
    return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

bool cel_json_has_escapes(struct bytes text) {
    return memchr(text.p, '\\', text.n) != NULL;
}

int cel_json_unescape(struct bytes text, char *room, struct bytes *ret_text) {
    char *out = room;
    for (const char *at = text.p + 1, *end = text.p + text.n - 1; at < end;) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        int64_t unit = next_unit(&at);
        if (unit < 0)
            return -EINVAL;
        out += cel_utf8_write((uint32_t)unit, out);
    }
    *ret_text = bytes_of(room, (size_t)(out - room));
    return 0;
}

/* Is the string with its quotes, `text`, this key? Escapes only ever make it longer. */
static bool is_key(struct bytes text, struct bytes key) {
    if (text.n < key.n + 2)
        return false;
    if (text.n == key.n + 2 && bytes_equal(bytes_of(text.p + 1, key.n), key))
        return !key.n || !memchr(key.p, '\\', key.n); /* then it stands for something shorter */
    if (!cel_json_has_escapes(text))
        return false;
    size_t n = 0;
    for (const char *at = text.p + 1, *end = text.p + text.n - 1; at < end;) {
        char bytes[4] = {*at};
        size_t width = 1;
        if (*at == '\\') {
            int64_t unit = next_unit(&at);
            if (unit < 0)
                return false;
            width = cel_utf8_write((uint32_t)unit, bytes);
        } else {
            at++;
        }
        if (key.n - n < width || memcmp(key.p + n, bytes, width) != 0) /* width > 0, so there is a key */
            return false;
        n += width;
    }
    return n == key.n;
}

int cel_json_find(struct bytes object, struct bytes key, struct bytes *ret_value, size_t *ret_bad_at) {
    struct cel_json_scan scan;
    struct bytes name, value;
    int found = 0;
    int r = cel_json_begin(&scan, object, '{');
    if (r == 0)
        while ((r = cel_json_next(&scan, &name, &value)) > 0)
            if (is_key(name, key)) {
                *ret_value = value;
                found = 1;
            }
    if (r < 0)
        *ret_bad_at = (size_t)(scan.at - scan.start);
    return r < 0 ? r : found;
}
