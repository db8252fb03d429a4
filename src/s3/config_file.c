/* config_file.c - lines, sections, keys and what is indented under them. */
#include "config_file.h"

#include <errno.h>

struct config_parse {
    config_item_fn *item;
    void *arg;
    struct err *err;
    bool in_section, has_key;
    struct bytes section, key, value; /* key and value: the last one, not yet handed out while has_key */
    unsigned line, key_line;
    size_t indent;   /* of the key */
    bool nests;      /* the key has no value, so that keys may be indented under it */
    struct buf name; /* "key.subkey" */
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static int broken(const struct config_parse *parse, const char *what) {
    return err_set(parse->err, -EINVAL, "line %u: %s", parse->line, what);
}

/* The rest of a line up to a comment, which starts after a space or where the text starts. */
static struct bytes without_comment(struct bytes text) {
    for (size_t i = 0; i < text.n; i++)
        if ((text.p[i] == '#' || text.p[i] == ';') && (i == 0 || is_blank(text.p[i - 1])))
            return bytes_of(text.p, i);
    return text;
}

/* A value may go on in the next line, so a key is handed out when the line after it is known. */
static int flush(struct config_parse *parse) {
    if (!parse->has_key)
        return 0;
    parse->has_key = false;
    return parse->item(parse->arg, parse->section, parse->key, bytes_trim(parse->value), parse->key_line);
}

static int parse_section(struct config_parse *parse, struct bytes text) {
    const char *close = memchr(text.p, ']', text.n);
    if (!close)
        return broken(parse, "a section without its ']'");
    size_t used = (size_t)(close - text.p) + 1;
    if (bytes_trim(without_comment(bytes_of(text.p + used, text.n - used))).n)
        return broken(parse, "text after the section's ']'");
    parse->section = bytes_trim(bytes_of(text.p + 1, used - 2));
    if (parse->section.n == 0)
        return broken(parse, "a section without a name");
    parse->in_section = true;
    parse->nests = false;
    parse->key = BYTES_NONE;
    return parse->item(parse->arg, parse->section, BYTES_NONE, BYTES_NONE, parse->line);
}

/* "name = value", trimmed. */
static int split(struct config_parse *parse, struct bytes text, struct bytes *ret_key, struct bytes *ret_value) {
    const char *equals = memchr(text.p, '=', text.n);
    if (!equals)
        return broken(parse, "neither a [section], nor key = value, nor a comment");
    size_t used = (size_t)(equals - text.p) + 1;
    *ret_key = bytes_trim(bytes_of(text.p, used - 1));
    *ret_value = bytes_trim(without_comment(bytes_of(text.p + used, text.n - used)));
    return ret_key->n ? 0 : broken(parse, "a value without its key");
}

static int parse_key(struct config_parse *parse, struct bytes text, size_t indent) {
    struct bytes key, value;
    int r = split(parse, text, &key, &value);
    if (r < 0)
        return r;
    if (!parse->in_section)
        return broken(parse, "a key before the first [section]");
    parse->key = key;
    parse->value = value;
    parse->key_line = parse->line;
    parse->indent = indent;
    parse->nests = value.n == 0;
    parse->has_key = true;
    return parse->nests ? flush(parse) : 0;
}

static int parse_nested(struct config_parse *parse, struct bytes text) {
    struct bytes key, value;
    int r = split(parse, text, &key, &value);
    if (r < 0)
        return r;
    buf_reset(&parse->name);
    r = buf_add_bytes(&parse->name, parse->key);
    if (r >= 0)
        r = buf_add_byte(&parse->name, '.');
    if (r >= 0)
        r = buf_add_bytes(&parse->name, key);
    if (r < 0)
        return err_set(parse->err, r, "line %u: out of memory", parse->line);
    return parse->item(parse->arg, parse->section, buf_bytes(&parse->name), value, parse->line);
}

static int parse_line(struct config_parse *parse, struct bytes line) {
    struct bytes text = bytes_trim(line);
    if (text.n == 0 || text.p[0] == '#' || text.p[0] == ';')
        return 0;
    size_t indent = (size_t)(text.p - line.p);
    bool under_key = parse->key.n && indent > parse->indent;
    if (under_key && parse->nests)
        return parse_nested(parse, text);
    if (under_key) {
        text = bytes_trim(without_comment(text));
        parse->value.n = (size_t)(text.p + text.n - parse->value.p);
        return 0;
    }
    int r = flush(parse);
    if (r < 0)
        return r;
    return text.p[0] == '[' ? parse_section(parse, text) : parse_key(parse, text, indent);
}

int config_parse(struct bytes text, config_item_fn *item, void *arg, struct err *err) {
    if (text.n > CONFIG_FILE_MAX)
        return err_set(err, -E2BIG, "larger than %d bytes", CONFIG_FILE_MAX);
    struct config_parse parse = {.item = item, .arg = arg, .err = err};
    if (bytes_starts(text, BYTES("\xef\xbb\xbf"))) /* a byte order mark, as editors on Windows leave it */
        text = bytes_of(text.p + 3, text.n - 3);
    int r = 0;
    while (text.n && r >= 0) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t size = end ? (size_t)(end - text.p) : text.n;
        size_t used = end ? size + 1 : size;
        parse.line++;
        r = parse_line(&parse, bytes_of(text.p, size));
        text = bytes_of(text.p + used, text.n - used);
    }
    if (r >= 0)
        r = flush(&parse);
    buf_free(&parse.name);
    return r < 0 ? r : 0;
}
