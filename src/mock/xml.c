/* xml.c - escaping, and expat turned into (path, text) pairs. */
#include "xml.h"

#include <errno.h>
#include <expat.h>

int xml_add_text(struct buf *buf, struct bytes text) {
    size_t from = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        const char *escape = NULL;
        switch (c) {
        case '&':
            escape = "&amp;";
            break;
        case '<':
            escape = "&lt;";
            break;
        case '>':
            escape = "&gt;";
            break;
        case '"':
            escape = "&quot;";
            break;
        default:
            if (c >= ' ' && c != 0x7f)
                continue;
            break;
        }
        r = buf_add(buf, text.p + from, i - from);
        if (r == 0)
            r = escape ? buf_add_str(buf, escape) : buf_printf(buf, "&#x%x;", c);
        from = i + 1;
    }
    return r < 0 || from == text.n ? r : buf_add(buf, text.p + from, text.n - from);
}

int xml_add_element(struct buf *buf, const char *name, struct bytes text) {
    int r = buf_add_byte(buf, '<');
    if (r == 0)
        r = buf_add_str(buf, name);
    if (r == 0)
        r = buf_add_byte(buf, '>');
    if (r == 0)
        r = xml_add_text(buf, text);
    if (r == 0)
        r = buf_add(buf, "</", 2);
    if (r == 0)
        r = buf_add_str(buf, name);
    return r < 0 ? r : buf_add_byte(buf, '>');
}

int xml_add_url(struct buf *buf, struct bytes text) {
    static const char digits[] = "0123456789ABCDEF";
    int r = buf_reserve(buf, 3 * text.n); /* keys are short, so the product is no danger */
    if (r < 0)
        return r;
    char *to = buf->p + buf->n;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (letter || c == '-' || c == '.' || c == '_' || c == '*' || c == '/') {
            *to++ = (char)c;
        } else if (c == ' ') {
            *to++ = '+';
        } else {
            *to++ = '%';
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        }
    }
    *to = '\0';
    buf->n = (size_t)(to - buf->p);
    return 0;
}

struct reading {
    XML_Parser parser;
    int (*end)(void *arg, const char *path, struct bytes text);
    void *arg;
    char path[XML_PATH_MAX];
    size_t path_n;
    int depth;
    struct buf text;
    int result;
};

static void stop(struct reading *reading, int result) {
    if (reading->result == 0)
        reading->result = result;
    XML_StopParser(reading->parser, XML_FALSE);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes) {
    struct reading *reading = arg;
    size_t n = strlen(name);
    if (++reading->depth > XML_DEPTH_MAX || reading->path_n + n + 2 > XML_PATH_MAX) {
        stop(reading, -EINVAL);
        return;
    }
    if (reading->path_n)
        reading->path[reading->path_n++] = '/';
    memcpy(reading->path + reading->path_n, name, n);
    reading->path_n += n;
    reading->path[reading->path_n] = '\0';
    buf_reset(&reading->text);
}

static void on_end(void *arg, const XML_Char *name) {
    struct reading *reading = arg;
    int r = reading->end(reading->arg, reading->path, buf_bytes(&reading->text));
    if (r < 0) {
        stop(reading, r);
        return;
    }
    reading->depth--;
    size_t n = strlen(name);
    reading->path_n -= reading->path_n == n ? n : n + 1;
    reading->path[reading->path_n] = '\0';
    buf_reset(&reading->text);
}

static void on_text(void *arg, const XML_Char *text, int n) {
    struct reading *reading = arg;
    if (buf_add(&reading->text, text, (size_t)n) < 0)
        stop(reading, -ENOMEM);
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal) {
    stop(arg, -EINVAL);
}

int xml_read(struct bytes document, int (*end)(void *arg, const char *path, struct bytes text), void *arg) {
    if (document.n > XML_DOCUMENT_MAX)
        return -EINVAL;
    struct reading reading = {.parser = XML_ParserCreate("UTF-8"), .end = end, .arg = arg};
    if (!reading.parser)
        return -ENOMEM;
    XML_SetUserData(reading.parser, &reading);
    XML_SetElementHandler(reading.parser, on_start, on_end);
    XML_SetCharacterDataHandler(reading.parser, on_text);
    XML_SetStartDoctypeDeclHandler(reading.parser, on_doctype);
    if (XML_Parse(reading.parser, document.n ? document.p : "", (int)document.n, 1) != XML_STATUS_OK &&
        reading.result == 0)
        reading.result = XML_GetErrorCode(reading.parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EINVAL;
    XML_ParserFree(reading.parser);
    buf_free(&reading.text);
    return reading.result;
}
