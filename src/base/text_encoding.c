/* text_encoding.c - UTF-8, and text written so that something else can read it: URLs, JSON, terminals, hex, base64. */
#include "text.h"

#include <errno.h>

/* An append that fails half-way must leave the buffer as it was. */
static int undo(struct buf *buf, size_t n, int r) {
    buf->n = n;
    if (buf->p)
        buf->p[n] = '\0';
    return r;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

int text_add_percent(struct buf *buf, struct bytes text, bool keep_slash) {
    size_t escapes = 0, need;
    for (size_t i = 0; i < text.n; i++)
        escapes += !(is_unreserved(text.p[i]) || (keep_slash && text.p[i] == '/'));
    if (__builtin_mul_overflow(escapes, 2, &need) || __builtin_add_overflow(need, text.n, &need))
        return -ENOMEM;
    int r = buf_reserve(buf, need);
    if (r < 0)
        return r;
    char *out = buf->p + buf->n;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (is_unreserved(c) || (keep_slash && c == '/')) {
            *out++ = c;
        } else {
            *out++ = '%';
            *out++ = "0123456789ABCDEF"[(unsigned char)c >> 4];
            *out++ = "0123456789ABCDEF"[(unsigned char)c & 15];
        }
    }
    *out = '\0';
    buf->n += need;
    return 0;
}

int text_add_unpercent(struct buf *buf, struct bytes text, bool plus_is_space) {
    size_t before = buf->n;
    int r = buf_reserve(buf, 0);
    for (size_t i = 0; r == 0 && i < text.n; i++) {
        char c = text.p[i];
        if (c == '%') {
            int high = i + 2 < text.n ? hex_value(text.p[i + 1]) : -1;
            int low = i + 2 < text.n ? hex_value(text.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return undo(buf, before, -EINVAL);
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        r = buf_add_byte(buf, c);
    }
    return r < 0 ? undo(buf, before, r) : 0;
}

int text_add_hex(struct buf *buf, const void *data, size_t n) {
    const unsigned char *in = data;
    size_t need;
    if (__builtin_mul_overflow(n, 2, &need))
        return -ENOMEM;
    int r = buf_reserve(buf, need);
    if (r < 0)
        return r;
    char *out = buf->p + buf->n;
    for (size_t i = 0; i < n; i++) {
        *out++ = "0123456789abcdef"[in[i] >> 4];
        *out++ = "0123456789abcdef"[in[i] & 15];
    }
    *out = '\0';
    buf->n += need;
    return 0;
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int text_add_base64(struct buf *buf, const void *data, size_t n) {
    const unsigned char *in = data;
    size_t need;
    if (__builtin_mul_overflow(n / 3 + (n % 3 != 0), 4, &need))
        return -ENOMEM;
    int r = buf_reserve(buf, need);
    if (r < 0)
        return r;
    char *out = buf->p + buf->n;
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t group = (uint32_t)in[i] << 16;
        if (have > 1)
            group |= (uint32_t)in[i + 1] << 8;
        if (have > 2)
            group |= in[i + 2];
        *out++ = base64_alphabet[group >> 18];
        *out++ = base64_alphabet[group >> 12 & 63];
        *out++ = have > 1 ? base64_alphabet[group >> 6 & 63] : '=';
        *out++ = have > 2 ? base64_alphabet[group & 63] : '=';
    }
    *out = '\0';
    buf->n += need;
    return 0;
}

int text_add_unbase64(struct buf *buf, struct bytes text) {
    if (text.n % 4)
        return -EINVAL;
    int r = buf_reserve(buf, text.n / 4 * 3 - (bytes_ends(text, BYTES("=")) ? 1 : 0) -
                                 (bytes_ends(text, BYTES("==")) ? 1 : 0));
    if (r < 0)
        return r;
    char *out = buf->p + buf->n;
    for (size_t i = 0; i < text.n; i += 4) {
        const char *in = text.p + i;
        bool last = i + 4 == text.n;
        int padding = !last || in[3] != '=' ? 0 : in[2] == '=' ? 2 : 1;
        uint32_t group = 0;
        for (int j = 0; j < 4; j++) {
            const char *found = j >= 4 - padding ? base64_alphabet : memchr(base64_alphabet, in[j], 64);
            if (!found)
                return undo(buf, buf->n, -EINVAL);
            group = group << 6 | (uint32_t)(found - base64_alphabet);
        }
        /* Bits that the padding leaves over must be zero, or one value would have several texts. */
        if (group & ((UINT32_C(1) << (8 * padding)) - 1))
            return undo(buf, buf->n, -EINVAL);
        *out++ = (char)(group >> 16);
        if (padding < 2)
            *out++ = (char)(group >> 8 & 255);
        if (padding < 1)
            *out++ = (char)(group & 255);
    }
    *out = '\0';
    buf->n = (size_t)(out - buf->p);
    return 0;
}

/* The length of the well-formed UTF-8 sequence that `text` begins with (Unicode 15, table 3-7), 0 when there is none.
 */
static size_t utf8_sequence(struct bytes text, uint32_t *ret_point) {
    const unsigned char *p = (const unsigned char *)text.p;
    if (text.n == 0)
        return 0;
    if (p[0] < 0x80) {
        *ret_point = p[0];
        return 1;
    }
    size_t n = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
               : p[0] >= 0xe0 && p[0] <= 0xef ? 3
               : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                              : 0;
    if (n == 0 || text.n < n)
        return 0;
    uint32_t point = p[0] & (0xffU >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (p[i] & 0x3f);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    *ret_point = point;
    return n;
}

bool text_is_utf8(struct bytes text) {
    while (text.n) {
        uint32_t point;
        size_t n = utf8_sequence(text, &point);
        if (n == 0)
            return false;
        text.p += n;
        text.n -= n;
    }
    return true;
}

/* Control characters, and the format characters that move, hide or reorder the text around them. */
static bool is_unprintable(uint32_t point) {
    static const struct {
        uint32_t first, last;
    } ranges[] = {{0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},
                  {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},
                  {0xfdd0, 0xfdef}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (point >= ranges[i].first && point <= ranges[i].last)
            return true;
    return (point & 0xfffe) == 0xfffe; /* the last two of every plane are not characters */
}

int text_add_printable(struct buf *buf, struct bytes text) {
    size_t before = buf->n;
    int r = buf_reserve(buf, 0);
    while (r == 0 && text.n) {
        uint32_t point = 0;
        size_t plain = 0, n = 0;
        while (plain < text.n && text.p[plain] != '\\') {
            n = utf8_sequence(bytes_of(text.p + plain, text.n - plain), &point);
            if (n == 0 || is_unprintable(point))
                break;
            plain += n;
            n = 0;
        }
        r = buf_add(buf, text.p, plain);
        text.p += plain;
        text.n -= plain;
        if (r < 0 || text.n == 0)
            break;
        if (text.p[0] == '\\') {
            n = 1;
            r = buf_add_str(buf, "\\\\");
        } else {
            n = n ? n : 1;
            for (size_t i = 0; r == 0 && i < n; i++)
                r = buf_printf(buf, "\\x%02x", (unsigned char)text.p[i]);
        }
        text.p += n;
        text.n -= n;
    }
    return r < 0 ? undo(buf, before, r) : 0;
}

static int add_json_escape(struct buf *buf, unsigned char c) {
    static const char short_forms[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                          {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
    for (size_t i = 0; i < sizeof short_forms / sizeof short_forms[0]; i++)
        if (c == (unsigned char)short_forms[i][0])
            return buf_add(buf, (char[]){'\\', short_forms[i][1]}, 2);
    if (c < 0x20)
        return buf_printf(buf, "\\u%04x", c);
    return buf_add_str(buf, "\xef\xbf\xbd");
}

int text_add_json(struct buf *buf, struct bytes text) {
    size_t before = buf->n;
    int r = buf_add_byte(buf, '"');
    while (r == 0 && text.n) {
        size_t plain = 0;
        while (plain < text.n) {
            uint32_t point;
            size_t n = utf8_sequence(bytes_of(text.p + plain, text.n - plain), &point);
            if (n == 0 || point < 0x20 || point == '"' || point == '\\')
                break;
            plain += n;
        }
        r = buf_add(buf, text.p, plain);
        text.p += plain;
        text.n -= plain;
        if (r == 0 && text.n) {
            r = add_json_escape(buf, (unsigned char)text.p[0]);
            text.p++;
            text.n--;
        }
    }
    if (r == 0)
        r = buf_add_byte(buf, '"');
    return r < 0 ? undo(buf, before, r) : 0;
}
