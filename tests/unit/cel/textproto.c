/* textproto.c - see the header. */
#include "textproto.h"

#include "mem.h"

struct reader {
    struct bytes text;
    size_t at;
    unsigned line;
    unsigned depth;
    struct err *err;
};

static int fail(struct reader *reader, const char *what) {
    return err_set(reader->err, -EINVAL, "line %u: %s", reader->line, what);
}

static char peek(const struct reader *reader) {
    return reader->at < reader->text.n ? reader->text.p[reader->at] : '\0';
}

static void skip_space(struct reader *reader) {
    for (;; reader->at++) {
        char c = peek(reader);
        if (c == '#')
            while (reader->at < reader->text.n && peek(reader) != '\n')
                reader->at++;
        c = peek(reader);
        if (c == '\n')
            reader->line++;
        else if (c != ' ' && c != '\t' && c != '\r')
            return;
    }
}

static bool take(struct reader *reader, char c) {
    skip_space(reader);
    if (peek(reader) != c || reader->at >= reader->text.n)
        return false;
    reader->at++;
    return true;
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '+' || c == '-' || c == '/';
}

static int digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 99;
}

static int add_code_point(struct buf *out, uint32_t c) {
    char bytes[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3f));
    bytes[0] = (char)(n == 1 ? c : (0xf00 >> n & 0xff) | c);
    return buf_add(out, bytes, n);
}

static int read_escape(struct reader *reader, struct buf *out) {
    static const char letters[] = "abfnrtv\\'\"?", meant[] = "\a\b\f\n\r\t\v\\'\"?";
    char c = peek(reader);
    const char *letter = c ? strchr(letters, c) : NULL;
    reader->at++;
    if (letter)
        return buf_add_byte(out, meant[letter - letters]);
    unsigned base = 16, most = 2;
    if (c == 'u' || c == 'U')
        most = c == 'u' ? 4 : 8;
    else if (c >= '0' && c <= '7')
        base = 8, most = 3, reader->at--;
    else if (c != 'x' && c != 'X')
        return fail(reader, "an unknown escape");
    uint32_t code = 0;
    for (unsigned i = 0; i < most && (unsigned)digit(peek(reader)) < base; i++, reader->at++)
        code = code * base + (unsigned)digit(peek(reader));
    return most > 3 ? add_code_point(out, code) : buf_add_byte(out, (char)(unsigned char)code);
}

static int read_string(struct reader *reader, struct buf *out) {
    char quote = peek(reader);
    for (reader->at++; peek(reader) != quote;) {
        if (reader->at >= reader->text.n || peek(reader) == '\n')
            return fail(reader, "a string without its end");
        int r;
        if (peek(reader) == '\\') {
            reader->at++;
            r = read_escape(reader, out);
        } else {
            r = buf_add_byte(out, peek(reader));
            reader->at++;
        }
        if (r < 0)
            return r;
    }
    reader->at++;
    return 0;
}

static int read_fields(struct reader *reader, char close, struct textproto **ret_first);

static int read_value(struct reader *reader, struct textproto *field) {
    skip_space(reader);
    if (take(reader, '{') || take(reader, '<')) {
        field->is_message = true;
        return read_fields(reader, reader->text.p[reader->at - 1] == '{' ? '}' : '>', &field->first);
    }
    _cleanup_buf_ struct buf text = {0};
    int r = 0;
    while (r == 0 && (peek(reader) == '"' || peek(reader) == '\'')) {
        field->is_string = true;
        r = read_string(reader, &text);
        skip_space(reader);
    }
    while (r == 0 && !field->is_string && is_word(peek(reader))) {
        r = buf_add_byte(&text, peek(reader));
        reader->at++;
    }
    if (r == 0 && !field->is_string && text.n == 0)
        r = fail(reader, "a value is missing");
    size_t n = text.n;
    field->text = bytes_of(buf_detach(&text), n);
    return r;
}

static int add_field(struct reader *reader, struct textproto ***end, struct bytes name, struct textproto **ret_field) {
    struct textproto *field = mem_zalloc(sizeof *field);
    char *copy = mem_memdup(name.p, name.n);
    if (!field || !copy) {
        mem_free(field);
        mem_free(copy);
        return -ENOMEM;
    }
    field->name = bytes_of(copy, name.n);
    field->line = reader->line;
    **end = field;
    *end = &field->next;
    *ret_field = field;
    return 0;
}

static int read_field(struct reader *reader, struct textproto ***end) {
    bool bracketed = take(reader, '[');
    size_t from = reader->at;
    while (is_word(peek(reader)))
        reader->at++;
    struct bytes name = bytes_of(reader->text.p + from, reader->at - from);
    if (name.n == 0 || (bracketed && !take(reader, ']')))
        return fail(reader, "the name of a field is missing");
    bool colon = take(reader, ':');
    struct textproto *field;
    int r;
    if (colon && take(reader, '[')) {
        while (!take(reader, ']')) {
            r = add_field(reader, end, name, &field);
            if (r == 0)
                r = read_value(reader, field);
            if (r < 0)
                return r;
            take(reader, ',');
        }
        return 0;
    }
    r = add_field(reader, end, name, &field);
    if (r == 0)
        r = read_value(reader, field);
    if (r == 0 && !colon && !field->is_message)
        r = fail(reader, "a ':' is missing");
    return r;
}

/* Up to `close`; '\0' stands for the end of the text. */
static int read_fields(struct reader *reader, char close, struct textproto **ret_first) {
    if (reader->depth++ > 100)
        return fail(reader, "messages too deep inside each other");
    struct textproto **end = ret_first;
    for (;;) {
        skip_space(reader);
        if (reader->at >= reader->text.n) {
            reader->depth--;
            return close ? fail(reader, "a message without its end") : 0;
        }
        if (close && take(reader, close)) {
            reader->depth--;
            return 0;
        }
        int r = read_field(reader, &end);
        if (r < 0)
            return r;
        if (!take(reader, ','))
            take(reader, ';');
    }
}

int textproto_read(struct bytes text, struct textproto **ret_root, struct err *err) {
    struct reader reader = {.text = text, .line = 1, .err = err};
    struct textproto *root = mem_zalloc(sizeof *root);
    if (!root)
        return -ENOMEM;
    root->is_message = true;
    int r = read_fields(&reader, '\0', &root->first);
    if (r < 0) {
        textproto_free(root);
        return r;
    }
    *ret_root = root;
    return 0;
}

void textproto_free(struct textproto *root) {
    while (root) {
        struct textproto *next = root->next;
        textproto_free(root->first);
        mem_free((void *)(uintptr_t)root->name.p);
        mem_free((void *)(uintptr_t)root->text.p);
        mem_free(root);
        root = next;
    }
}

static const struct textproto *find(const struct textproto *from, struct bytes name) {
    for (; from; from = from->next)
        if (bytes_equal(from->name, name))
            return from;
    return NULL;
}

const struct textproto *textproto_get(const struct textproto *message, const char *name) {
    return message ? find(message->first, bytes_str(name)) : NULL;
}

const struct textproto *textproto_again(const struct textproto *field) {
    return find(field->next, field->name);
}
