/* xml_plain.c - see xml_plain.h. Left out on purpose, as a whole parser is at hand: anything above ASCII, carriage
 * returns (which XML turns into line feeds), a bare '>' in text (of which "]]>" would be an error), prefixes,
 * comments, sections, instructions, types. */
#include "xml_plain.h"

#include <stdbool.h>
#include <string.h>

struct reading {
    const char *at, *end;
    const struct xml_plain_events *events;
    void *arg;
    struct bytes open[XML_PLAIN_DEPTH_MAX];
    size_t depth;
};

static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(char c) {
    return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

static bool is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\t';
}

/* Stands for itself in text and in an attribute's value. */
static bool is_plain(char c) {
    return (c >= ' ' && c <= '~' && c != '<' && c != '>' && c != '&') || is_blank(c);
}

static bool take(struct reading *reading, const char *text) {
    size_t n = strlen(text);
    if ((size_t)(reading->end - reading->at) < n || memcmp(reading->at, text, n) != 0)
        return false;
    reading->at += n;
    return true;
}

static void skip_blanks(struct reading *reading) {
    while (reading->at < reading->end && is_blank(*reading->at))
        reading->at++;
}

/* Empty: there is none. */
static struct bytes take_name(struct reading *reading) {
    const char *from = reading->at, *at = from;
    if (at < reading->end && is_name_start(*at))
        while (at < reading->end && is_name(*at))
            at++;
    reading->at = at;
    return bytes_of(from, (size_t)(at - from));
}

/* `="..."` */
static bool skip_value(struct reading *reading) {
    if (!take(reading, "=\""))
        return false;
    while (reading->at < reading->end && is_plain(*reading->at) && *reading->at != '"')
        reading->at++;
    return take(reading, "\"");
}

static int read_start(struct reading *reading) {
    struct bytes name = take_name(reading);
    if (name.n == 0 || reading->depth == XML_PLAIN_DEPTH_MAX)
        return XML_NOT_PLAIN;
    if (take(reading, " xmlns") && !skip_value(reading))
        return XML_NOT_PLAIN;
    bool is_empty = take(reading, "/");
    if (!take(reading, ">"))
        return XML_NOT_PLAIN;
    int r = reading->events->start(reading->arg, name);
    if (r < 0)
        return r;
    if (is_empty)
        return reading->events->end(reading->arg);
    reading->open[reading->depth++] = name;
    return 0;
}

static int read_end(struct reading *reading) {
    struct bytes name = take_name(reading);
    if (reading->depth == 0 || !bytes_equal(name, reading->open[reading->depth - 1]) || !take(reading, ">"))
        return XML_NOT_PLAIN;
    reading->depth--;
    return reading->events->end(reading->arg);
}

/* `#34;` or `#x22;`; 0: neither, or no printable character. */
static char take_number(struct reading *reading) {
    static const char digits[] = "0123456789abcdefABCDEF";
    unsigned base = take(reading, "#x") ? 16 : take(reading, "#") ? 10 : 0, code = 0;
    while (base && reading->at < reading->end && *reading->at != ';' && code < 128) {
        const char *digit = memchr(digits, *reading->at, base == 16 ? sizeof digits - 1 : 10);
        if (!digit)
            return 0;
        unsigned value = (unsigned)(digit - digits);
        code = code * base + (value < 16 ? value : value - 6);
        reading->at++;
    }
    return code >= ' ' && code <= '~' && take(reading, ";") ? (char)code : 0;
}

static int read_reference(struct reading *reading) {
    char c = take(reading, "quot;")   ? '"'
             : take(reading, "amp;")  ? '&'
             : take(reading, "lt;")   ? '<'
             : take(reading, "gt;")   ? '>'
             : take(reading, "apos;") ? '\''
                                      : take_number(reading);
    return c ? reading->events->text(reading->arg, bytes_of(&c, 1)) : XML_NOT_PLAIN;
}

static int read_text(struct reading *reading) {
    const char *from = reading->at, *at = from;
    while (at < reading->end && is_plain(*at))
        at++;
    if (at == from)
        return XML_NOT_PLAIN;
    reading->at = at;
    return reading->events->text(reading->arg, bytes_of(from, (size_t)(at - from)));
}

static void skip_declaration(struct reading *reading) {
    static const char *const declarations[] = {
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>",
        "<?xml version='1.0' encoding='UTF-8'?>",
        "<?xml version=\"1.0\"?>",
    };
    for (size_t i = 0; i < sizeof declarations / sizeof declarations[0]; i++)
        if (take(reading, declarations[i]))
            return;
}

int xml_plain_read(struct bytes document, const struct xml_plain_events *events, void *arg) {
    struct reading reading = {.at = document.p, .end = document.p + document.n, .events = events, .arg = arg};
    skip_declaration(&reading);
    skip_blanks(&reading);
    int r = take(&reading, "<") ? read_start(&reading) : XML_NOT_PLAIN;
    while (r == 0 && reading.depth > 0) {
        if (take(&reading, "</"))
            r = read_end(&reading);
        else if (take(&reading, "<"))
            r = read_start(&reading);
        else if (take(&reading, "&"))
            r = read_reference(&reading);
        else
            r = read_text(&reading);
    }
    skip_blanks(&reading);
    return r == 0 && reading.at < reading.end ? XML_NOT_PLAIN : r;
}
