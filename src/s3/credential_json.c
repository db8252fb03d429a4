/* credential_json.c - a JSON reader that keeps four strings and a number of the outermost object. */
#include "credential_json.h"

#include <errno.h>

struct reader {
    const char *p, *end;
    struct secret *out; /* reserved as large as the input: decoded text is never longer */
    const char *what;   /* the first thing that was wrong */
};

static bool wrong(struct reader *reader, const char *what) {
    if (!reader->what)
        reader->what = what;
    return false;
}

static void skip_space(struct reader *reader) {
    while (reader->p < reader->end &&
           (*reader->p == ' ' || *reader->p == '\t' || *reader->p == '\n' || *reader->p == '\r'))
        reader->p++;
}

static bool take(struct reader *reader, char c) {
    if (reader->p == reader->end || *reader->p != c)
        return false;
    reader->p++;
    return true;
}

static bool take_word(struct reader *reader, struct bytes word) {
    if (!bytes_starts(bytes_of(reader->p, (size_t)(reader->end - reader->p)), word))
        return false;
    reader->p += word.n;
    return true;
}

static bool read_hex4(struct reader *reader, uint32_t *ret_unit) {
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        char c = reader->p < reader->end ? *reader->p++ : '\0';
        if (c >= '0' && c <= '9')
            unit = unit << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            unit = unit << 4 | (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            unit = unit << 4 | (uint32_t)(c - 'A' + 10);
        else
            return wrong(reader, "a broken \\u escape");
    }
    *ret_unit = unit;
    return true;
}

static void put(struct reader *reader, uint32_t byte) {
    reader->out->p[reader->out->n++] = (char)byte;
}

static void put_utf8(struct reader *reader, uint32_t point) {
    if (point < 0x80) {
        put(reader, point);
    } else if (point < 0x800) {
        put(reader, 0xc0 | point >> 6);
        put(reader, 0x80 | (point & 63));
    } else if (point < 0x10000) {
        put(reader, 0xe0 | point >> 12);
        put(reader, 0x80 | (point >> 6 & 63));
        put(reader, 0x80 | (point & 63));
    } else {
        put(reader, 0xf0 | point >> 18);
        put(reader, 0x80 | (point >> 12 & 63));
        put(reader, 0x80 | (point >> 6 & 63));
        put(reader, 0x80 | (point & 63));
    }
}

static bool read_escape(struct reader *reader) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = reader->p < reader->end ? *reader->p++ : '\0';
    if (c == 'u') {
        uint32_t unit, low;
        if (!read_hex4(reader, &unit))
            return false;
        if (unit >= 0xd800 && unit < 0xdc00) {
            if (!take_word(reader, BYTES("\\u")) || !read_hex4(reader, &low) || low < 0xdc00 || low > 0xdfff)
                return wrong(reader, "half of a surrogate pair");
            unit = 0x10000 + ((unit - 0xd800) << 10 | (low - 0xdc00));
        } else if (unit >= 0xdc00 && unit < 0xe000) {
            return wrong(reader, "half of a surrogate pair");
        }
        put_utf8(reader, unit);
        return true;
    }
    const char *at = c ? strchr(names, c) : NULL;
    if (!at)
        return wrong(reader, "an unknown escape");
    put(reader, (unsigned char)values[at - names]);
    return true;
}

/* The decoded text is a view of the output, which keeps it until the caller sets `out->n` back. */
static bool read_string(struct reader *reader, struct bytes *ret_text) {
    size_t start = reader->out->n;
    if (!take(reader, '"'))
        return wrong(reader, "a string was due");
    while (!take(reader, '"')) {
        if (reader->p == reader->end)
            return wrong(reader, "a string without its end");
        char c = *reader->p++;
        if ((unsigned char)c < ' ')
            return wrong(reader, "a control character in a string");
        if (c != '\\')
            put(reader, (unsigned char)c);
        else if (!read_escape(reader))
            return false;
    }
    *ret_text = bytes_of(reader->out->p + start, reader->out->n - start);
    return true;
}

static bool read_digits(struct reader *reader) {
    const char *from = reader->p;
    while (reader->p < reader->end && *reader->p >= '0' && *reader->p <= '9')
        reader->p++;
    return reader->p > from || wrong(reader, "a broken number");
}

static bool read_number(struct reader *reader, struct bytes *ret_text) {
    const char *from = reader->p;
    take(reader, '-');
    if (!take(reader, '0') && !read_digits(reader))
        return false;
    if (take(reader, '.') && !read_digits(reader))
        return false;
    if (take(reader, 'e') || take(reader, 'E')) {
        if (!take(reader, '+'))
            take(reader, '-');
        if (!read_digits(reader))
            return false;
    }
    *ret_text = bytes_of(from, (size_t)(reader->p - from));
    return true;
}

static bool skip_scalar(struct reader *reader) {
    size_t kept = reader->out->n;
    struct bytes text;
    bool good;
    if (reader->p < reader->end && *reader->p == '"')
        good = read_string(reader, &text);
    else if (take_word(reader, BYTES("true")) || take_word(reader, BYTES("false")) || take_word(reader, BYTES("null")))
        good = true;
    else
        good = read_number(reader, &text);
    reader->out->n = kept;
    return good;
}

/* `"name" :`, the name dropped. */
static bool skip_name(struct reader *reader) {
    size_t kept = reader->out->n;
    struct bytes name;
    skip_space(reader);
    bool good = read_string(reader, &name);
    reader->out->n = kept;
    skip_space(reader);
    return good && (take(reader, ':') || wrong(reader, "a ':' was due"));
}

/* Any value, without recursion: `open` holds the bracket that closes each array or object that is open. */
static bool skip_value(struct reader *reader) {
    char open[CREDENTIAL_JSON_DEPTH_MAX];
    size_t depth = 0;
    for (;;) { /* a value is due */
        skip_space(reader);
        bool array = take(reader, '[');
        if (array || take(reader, '{')) {
            if (depth == sizeof open)
                return wrong(reader, "too many levels");
            open[depth++] = array ? ']' : '}';
            skip_space(reader);
            if (reader->p < reader->end && *reader->p != open[depth - 1]) {
                if (!array && !skip_name(reader))
                    return false;
                continue;
            }
        } else if (!skip_scalar(reader)) {
            return false;
        }
        for (;;) { /* a value has ended, or an array or object without values is open */
            skip_space(reader);
            if (depth == 0)
                return true;
            if (take(reader, open[depth - 1])) {
                depth--;
                continue;
            }
            if (!take(reader, ','))
                return wrong(reader, "a ',' or closing bracket was due");
            if (open[depth - 1] == '}' && !skip_name(reader))
                return false;
            break;
        }
    }
}

static bool read_text_member(struct reader *reader, struct bytes *ret_text) {
    if (take_word(reader, BYTES("null"))) {
        *ret_text = BYTES_NONE;
        return true;
    }
    if (reader->p == reader->end || *reader->p != '"')
        return wrong(reader, "a member that should be a string is not");
    return read_string(reader, ret_text);
}

static bool read_version(struct reader *reader, bool *ret_versioned) {
    struct bytes text;
    if (reader->p < reader->end && *reader->p == '"')
        return wrong(reader, "Version is a string, not the number 1");
    if (!read_number(reader, &text))
        return false;
    if (!bytes_equal(text, BYTES("1")))
        return wrong(reader, "its Version is not 1, which is the only one there is");
    *ret_versioned = true;
    return true;
}

static bool read_member(struct reader *reader, struct credential_json *json, bool *ret_versioned) {
    size_t kept = reader->out->n;
    struct bytes name;
    skip_space(reader);
    if (!read_string(reader, &name))
        return false;
    struct bytes *text = NULL;
    if (bytes_equal(name, BYTES("AccessKeyId")))
        text = &json->access_key_id;
    else if (bytes_equal(name, BYTES("SecretAccessKey")))
        text = &json->secret_access_key;
    else if (bytes_equal(name, BYTES("SessionToken")))
        text = &json->session_token;
    else if (bytes_equal(name, BYTES("Expiration")))
        text = &json->expiration;
    bool version = bytes_equal(name, BYTES("Version"));
    reader->out->n = kept; /* the name */
    skip_space(reader);
    if (!take(reader, ':'))
        return wrong(reader, "a ':' was due");
    skip_space(reader);
    if (version)
        return read_version(reader, ret_versioned);
    return text ? read_text_member(reader, text) : skip_value(reader);
}

static bool read_object(struct reader *reader, struct credential_json *json) {
    bool versioned = false;
    skip_space(reader);
    if (!take(reader, '{'))
        return wrong(reader, "it is not a JSON object");
    skip_space(reader);
    if (!take(reader, '}')) {
        do {
            if (!read_member(reader, json, &versioned))
                return false;
            skip_space(reader);
        } while (take(reader, ','));
        if (!take(reader, '}'))
            return wrong(reader, "a ',' or '}' was due");
    }
    skip_space(reader);
    if (reader->p != reader->end)
        return wrong(reader, "something follows the JSON object");
    return versioned || wrong(reader, "it has no Version");
}

int credential_json_parse(struct bytes text, struct credential_json *ret_json, struct err *err) {
    struct credential_json json = {0};
    int r = secret_reserve(&json.memory, text.n + 1); /* at least a page, so that p is there */
    if (r < 0)
        return err_set(err, r, "out of memory");
    struct reader reader = {.p = text.p, .end = text.n ? text.p + text.n : text.p, .out = &json.memory};
    if (!read_object(&reader, &json)) {
        credential_json_free(&json);
        return err_set(err, -EBADMSG, "%s", reader.what);
    }
    *ret_json = json;
    return 0;
}

void credential_json_free(struct credential_json *json) {
    if (!json)
        return;
    secret_free(&json->memory);
    *json = (struct credential_json){0};
}
