/* cel_lexer.c - words, numbers and strings with their escapes (langdef.md, "Syntax"). */
#include "cel_lexer.h"

#include "cel_arena.h"
#include "cel_number.h"

static char peek(const struct cel_lexer *lexer, uint32_t at) {
    return at < lexer->source.n ? lexer->source.p[at] : '\0';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool begins_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static int digit_value(char c) {
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 16;
}

/* Numbers. */

/* `digits` of that base; false past 2^64 - 1. */
static bool read_natural(struct bytes digits, unsigned base, uint64_t *ret_natural) {
    uint64_t value = 0;
    for (size_t i = 0; i < digits.n; i++)
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit_value(digits.p[i]), &value))
            return false;
    *ret_natural = value;
    return true;
}

static int lex_integer(struct cel_lexer *lexer, struct bytes digits, unsigned base) {
    uint64_t natural;
    bool fits = read_natural(digits, base, &natural);
    char suffix = peek(lexer, lexer->next);
    if (suffix == 'u' || suffix == 'U') {
        lexer->next++;
        if (!fits)
            return cel_refuse(lexer->compiler, CEL_SYNTAX, lexer->at, "this number is too large for a uint");
        lexer->value = (struct cel_value){.kind = CEL_UINT, .natural = natural};
        return 0;
    }
    lexer->is_min = fits && natural == (uint64_t)INT64_MAX + 1;
    if (!lexer->is_min && (!fits || natural > INT64_MAX))
        return cel_refuse(lexer->compiler, CEL_SYNTAX, lexer->at, "this number is too large for an int");
    lexer->value = (struct cel_value){.kind = CEL_INT, .integer = lexer->is_min ? INT64_MAX : (int64_t)natural};
    return 0;
}

static int lex_number(struct cel_lexer *lexer) {
    uint32_t at = lexer->at;
    bool is_double = false;
    lexer->token = TOKEN_VALUE;
    int r;
    if (peek(lexer, at) == '0' && (peek(lexer, at + 1) == 'x' || peek(lexer, at + 1) == 'X')) {
        uint32_t from = at += 2;
        while (digit_value(peek(lexer, at)) < 16)
            at++;
        lexer->next = at;
        if (at == from)
            return cel_refuse(lexer->compiler, CEL_SYNTAX, lexer->at,
                              "a number that begins with 0x needs hexadecimal digits");
        r = lex_integer(lexer, bytes_of(lexer->source.p + from, at - from), 16);
    } else {
        while (is_digit(peek(lexer, at)))
            at++;
        if (peek(lexer, at) == '.' && is_digit(peek(lexer, at + 1))) {
            is_double = true;
            for (at++; is_digit(peek(lexer, at)); at++)
                ;
        }
        if (peek(lexer, at) == 'e' || peek(lexer, at) == 'E') {
            uint32_t digits = at + 1 + (peek(lexer, at + 1) == '+' || peek(lexer, at + 1) == '-');
            if (is_digit(peek(lexer, digits))) {
                is_double = true;
                for (at = digits; is_digit(peek(lexer, at)); at++)
                    ;
            }
        }
        lexer->next = at;
        struct bytes text = bytes_of(lexer->source.p + lexer->at, at - lexer->at);
        double number = 0;
        if (!is_double)
            r = lex_integer(lexer, text, 10);
        else if (cel_parse_double(text, &number))
            r = 0, lexer->value = (struct cel_value){.kind = CEL_DOUBLE, .number = number};
        else
            r = cel_refuse(lexer->compiler, CEL_SYNTAX, lexer->at, "this number is too large for a double");
    }
    if (r == 0 && (begins_name(peek(lexer, lexer->next)) || is_digit(peek(lexer, lexer->next))))
        r = cel_refuse(lexer->compiler, CEL_SYNTAX, lexer->next, "a number cannot go on like this");
    return r;
}

/* Strings. */

/* `digits` digits of an escape that begins at `at`; the next byte is then at `from` + `digits`. */
static int read_digits(struct cel_lexer *lexer, uint32_t at, uint32_t from, uint32_t end, unsigned digits,
                       unsigned base, uint32_t *ret_code) {
    uint32_t code = 0;
    for (uint32_t i = from; i < from + digits; i++) {
        unsigned value = i < end ? (unsigned)digit_value(lexer->source.p[i]) : 16;
        if (value >= base)
            return cel_refuse(lexer->compiler, CEL_SYNTAX, at, "this escape needs %u %s digits", digits,
                              base == 16 ? "hexadecimal" : "octal");
        code = code * base + value;
    }
    *ret_code = code;
    return 0;
}

/* The escape at *at, written to *out; both go on. */
static int lex_escape(struct cel_lexer *lexer, bool is_bytes, uint32_t end, uint32_t *at, char **out) {
    static const char plain[] = "\\?\"'`", letters[] = "abfnrtv", meant[] = "\a\b\f\n\r\t\v";
    uint32_t start = *at, code = 0;
    char c = peek(lexer, start + 1);
    int r = 0;
    if (c && strchr(plain, c)) {
        code = (unsigned char)c;
        *at += 2;
    } else if (c && strchr(letters, c)) {
        code = (unsigned char)meant[strchr(letters, c) - letters];
        *at += 2;
    } else if (c == 'x' || c == 'X') {
        r = read_digits(lexer, start, start + 2, end, 2, 16, &code);
        *at += 4;
    } else if (c >= '0' && c <= '3') {
        r = read_digits(lexer, start, start + 1, end, 3, 8, &code);
        *at += 4;
    } else if ((c == 'u' || c == 'U') && !is_bytes) {
        unsigned digits = c == 'u' ? 4 : 8;
        r = read_digits(lexer, start, start + 2, end, digits, 16, &code);
        *at += 2 + digits;
        uint32_t low = 0;
        if (r == 0 && c == 'u' && code >= 0xd800 && code < 0xdc00 && peek(lexer, *at) == '\\' &&
            peek(lexer, *at + 1) == 'u' && *at + 6 <= end) { /* a surrogate pair */
            r = read_digits(lexer, *at, *at + 2, end, 4, 16, &low);
            if (r == 0 && low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                *at += 6;
            }
        }
        if (r == 0 && ((code >= 0xd800 && code < 0xe000) || code > 0x10ffff))
            r = cel_refuse(lexer->compiler, CEL_SYNTAX, start, "this escape is not a Unicode character");
    } else if (c == 'u' || c == 'U') {
        r = cel_refuse(lexer->compiler, CEL_SYNTAX, start, "bytes have no \\%c escapes; write \\xHH", c);
    } else {
        r = cel_refuse(lexer->compiler, CEL_SYNTAX, start,
                       "unknown escape; supported are \\\\ \\' \\\" \\` \\? \\a \\b \\f \\n \\r \\t \\v \\xHH \\ooo%s",
                       is_bytes ? "" : " \\uHHHH \\UHHHHHHHH");
    }
    if (r < 0)
        return r;
    if (is_bytes && code > 0x7f)
        *(*out)++ = (char)(unsigned char)code;
    else
        *out += cel_utf8_write(code, *out);
    return 0;
}

/* From the first quote on, which `lexer->next` is at. */
static int lex_string(struct cel_lexer *lexer, bool is_raw, bool is_bytes) {
    uint32_t open = lexer->next, at = open;
    char quote = peek(lexer, at);
    bool triple = peek(lexer, at + 1) == quote && peek(lexer, at + 2) == quote;
    uint32_t width = triple ? 3 : 1;
    for (at += width;; at++) {
        char c = peek(lexer, at);
        if (at >= lexer->source.n)
            return cel_refuse(lexer->compiler, CEL_SYNTAX, lexer->at, "this string has no closing %.*s", (int)width,
                              lexer->source.p + open);
        if (c == quote && (!triple || (peek(lexer, at + 1) == quote && peek(lexer, at + 2) == quote)))
            break;
        if (!triple && (c == '\n' || c == '\r'))
            return cel_refuse(lexer->compiler, CEL_SYNTAX, at,
                              "a string cannot go on in the next line; write \\n, or three quotes around it");
        if (c == '\\' && !is_raw && peek(lexer, at + 1) != '\n' && peek(lexer, at + 1) != '\r')
            at++;
    }
    uint32_t from = open + width, end = at;
    lexer->next = end + width;
    char *text = cel_arena_alloc(&lexer->compiler->program->arena, end - from);
    if (!text)
        return cel_refuse_memory(lexer->compiler);
    char *out = text;
    for (at = from; at < end;) {
        if (lexer->source.p[at] == '\\' && !is_raw) {
            int r = lex_escape(lexer, is_bytes, end, &at, &out);
            if (r < 0)
                return r;
        } else {
            *out++ = lexer->source.p[at++];
        }
    }
    lexer->token = TOKEN_VALUE;
    lexer->value =
        (struct cel_value){.kind = is_bytes ? CEL_BYTES : CEL_STRING, .text = bytes_of(text, (size_t)(out - text))};
    return 0;
}

/* All. */

static void skip_space(struct cel_lexer *lexer) {
    uint32_t at = lexer->next;
    for (;;) {
        char c = peek(lexer, at);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f') {
            at++;
        } else if (c == '/' && peek(lexer, at + 1) == '/') {
            while (at < lexer->source.n && lexer->source.p[at] != '\n')
                at++;
        } else {
            break;
        }
    }
    lexer->next = at;
}

static int lex_sign(struct cel_lexer *lexer) {
    char c = peek(lexer, lexer->at), second = peek(lexer, lexer->at + 1);
    bool pair = (second == '=' && c && strchr("<>=!", c)) || (second == c && (c == '&' || c == '|'));
    if (!pair && (c == '=' || c == '&' || c == '|'))
        return cel_refuse(lexer->compiler, CEL_SYNTAX, lexer->at, "'%c' alone means nothing; write %c%c", c, c, c);
    if (c == '`') {
        uint32_t end = lexer->at + 1;
        while (end < lexer->source.n &&
               (begins_name(peek(lexer, end)) || is_digit(peek(lexer, end)) || memchr("./- ", peek(lexer, end), 4)))
            end++;
        if (peek(lexer, end) != '`' || end == lexer->at + 1)
            return cel_refuse(lexer->compiler, CEL_SYNTAX, end,
                              "between backticks stand letters, digits, '_', '.', '-', '/' and spaces");
        lexer->token = TOKEN_QUOTED_NAME;
        lexer->text = bytes_of(lexer->source.p + lexer->at + 1, end - lexer->at - 1);
        lexer->next = end + 1;
        return 0;
    }
    if (!pair && (c == '\0' || !strchr(".,:?()[]{}+-*/%!<>", c))) {
        if (c > ' ' && c < 0x7f)
            return cel_refuse(lexer->compiler, CEL_SYNTAX, lexer->at, "'%c' means nothing here", c);
        return cel_refuse(lexer->compiler, CEL_SYNTAX, lexer->at, "an unexpected character");
    }
    lexer->token = TOKEN_SIGN;
    lexer->next = lexer->at + (pair ? 2 : 1);
    lexer->text = bytes_of(lexer->source.p + lexer->at, pair ? 2 : 1);
    return 0;
}

int cel_lex(struct cel_lexer *lexer) {
    skip_space(lexer);
    uint32_t at = lexer->at = lexer->next;
    lexer->is_min = false;
    lexer->text = BYTES_NONE;
    if (at >= lexer->source.n) {
        lexer->token = TOKEN_END;
        return 0;
    }
    char c = peek(lexer, at);
    if (is_digit(c) || (c == '.' && is_digit(peek(lexer, at + 1))))
        return lex_number(lexer);
    if (c == '\'' || c == '"')
        return lex_string(lexer, false, false);
    if (!begins_name(c))
        return lex_sign(lexer);
    while (begins_name(peek(lexer, at)) || is_digit(peek(lexer, at)))
        at++;
    lexer->next = at;
    lexer->text = bytes_of(lexer->source.p + lexer->at, at - lexer->at);
    if ((peek(lexer, at) == '\'' || peek(lexer, at) == '"') && lexer->text.n <= 2) {
        char last = lexer->text.p[lexer->text.n - 1];
        bool is_bytes = c == 'b' || c == 'B', is_raw = last == 'r' || last == 'R';
        if ((size_t)is_bytes + is_raw == lexer->text.n)
            return lex_string(lexer, is_raw, is_bytes);
    }
    lexer->token = TOKEN_NAME;
    return 0;
}
