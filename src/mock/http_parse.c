/* http_parse.c - request heads and the chunked coding. */
#include "http_parse.h"

#include "text.h"

#include <errno.h>

/* RFC 9110 5.6.2: what names are made of, a bit a byte. */
static const uint32_t token_bits[8] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff, 0, 0, 0, 0};

static inline bool is_token(unsigned char c) {
    return token_bits[c >> 5] >> (c & 31) & 1;
}

static int refuse(const char **ret_why, int status, const char *why) {
    *ret_why = why;
    return -status;
}

static enum http_method method_of(struct bytes text) {
    static const struct {
        struct bytes name;
        enum http_method method;
    } methods[] = {{{"GET", 3}, HTTP_GET},
                   {{"HEAD", 4}, HTTP_HEAD},
                   {{"PUT", 3}, HTTP_PUT},
                   {{"POST", 4}, HTTP_POST},
                   {{"DELETE", 6}, HTTP_DELETE}};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (bytes_equal(methods[i].name, text))
            return methods[i].method;
    return HTTP_OTHER;
}

static int parse_request_line(struct bytes line, struct head *head, const char **ret_why) {
    const char *space = line.n ? memchr(line.p, ' ', line.n) : NULL;
    if (!space || space == line.p)
        return refuse(ret_why, 400, "the request line is not \"METHOD target HTTP/1.1\"");
    head->method_text = bytes_of(line.p, (size_t)(space - line.p));
    for (size_t i = 0; i < head->method_text.n; i++)
        if (!is_token((unsigned char)head->method_text.p[i]))
            return refuse(ret_why, 400, "the method is not a token");
    head->method = method_of(head->method_text);
    struct bytes rest = bytes_of(space + 1, line.n - head->method_text.n - 1);
    space = rest.n ? memchr(rest.p, ' ', rest.n) : NULL;
    if (!space)
        return refuse(ret_why, 400, "the request line has no version");
    head->target = bytes_of(rest.p, (size_t)(space - rest.p));
    struct bytes version = bytes_of(space + 1, rest.n - head->target.n - 1);
    if (head->target.n > HEAD_TARGET_MAX)
        return refuse(ret_why, 414, "the target is too long");
    if (head->target.n == 0 || head->target.p[0] != '/')
        return refuse(ret_why, 400, "the target does not start with '/'");
    for (size_t i = 0; i < head->target.n; i++) {
        unsigned char c = (unsigned char)head->target.p[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return refuse(ret_why, 400, "the target holds a byte that must be percent-encoded");
    }
    if (!bytes_equal(version, BYTES("HTTP/1.1"))) {
        bool http = version.n == 8 && bytes_starts(version, BYTES("HTTP/")) && version.p[6] == '.';
        return http ? refuse(ret_why, 505, "only HTTP/1.1 is spoken")
                    : refuse(ret_why, 400, "the version is not HTTP/1.1");
    }
    return 0;
}

static void parse_connection(struct bytes value, struct head *head) {
    while (value.n) {
        const char *comma = memchr(value.p, ',', value.n);
        size_t n = comma ? (size_t)(comma - value.p) : value.n;
        if (bytes_equal_nocase(bytes_trim(bytes_of(value.p, n)), BYTES("close")))
            head->close = true;
        n += comma ? 1 : 0;
        value = bytes_of(value.p + n, value.n - n);
    }
}

/* The few fields that frame the message. */
static int take_field(const struct head_field *field, struct head *head, const char **ret_why) {
    struct bytes name = field->name, value = field->value;
    switch (name.n) {
    case 4:
        if (bytes_equal(name, BYTES("host"))) {
            if (head->host.p)
                return refuse(ret_why, 400, "more than one Host");
            if (value.n == 0)
                return refuse(ret_why, 400, "the Host is empty");
            head->host = value;
        }
        break;
    case 6:
        if (bytes_equal(name, BYTES("expect"))) {
            if (!bytes_equal_nocase(value, BYTES("100-continue")))
                return refuse(ret_why, 417, "an expectation other than 100-continue");
            head->expect_continue = true;
        }
        break;
    case 10:
        if (bytes_equal(name, BYTES("connection")))
            parse_connection(value, head);
        break;
    case 14:
        if (bytes_equal(name, BYTES("content-length"))) {
            if (head->has_length)
                return refuse(ret_why, 400, "more than one Content-Length");
            if (text_parse_u64(value, &head->length) < 0)
                return refuse(ret_why, 400, "the Content-Length is not a number");
            head->has_length = true;
        }
        break;
    case 17:
        if (bytes_equal(name, BYTES("transfer-encoding"))) {
            if (head->chunked)
                return refuse(ret_why, 400, "more than one Transfer-Encoding");
            if (!bytes_equal_nocase(value, BYTES("chunked")))
                return refuse(ret_why, 501, "a transfer coding other than chunked");
            head->chunked = true;
        }
        break;
    default:
        break;
    }
    return 0;
}

static int parse_field(char *line, size_t n, struct head *head, const char **ret_why) {
    if (head->n_fields == HEAD_FIELDS_MAX)
        return refuse(ret_why, 431, "too many header fields");
    size_t at = 0;
    while (at < n && is_token((unsigned char)line[at])) {
        if (line[at] >= 'A' && line[at] <= 'Z')
            line[at] = (char)(line[at] + ('a' - 'A'));
        at++;
    }
    if (at == 0 || at == n || line[at] != ':')
        return refuse(ret_why, 400, "a header field is not \"name: value\"");
    struct bytes value = bytes_of(line + at + 1, n - at - 1);
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return refuse(ret_why, 400, "a control character in a header field");
    }
    struct head_field *field = &head->fields[head->n_fields++];
    *field = (struct head_field){bytes_of(line, at), bytes_trim(value)};
    return take_field(field, head, ret_why);
}

/* 1: `*ret_size` bytes up to and with the empty line; 0: not yet. */
static int find_end(const char *data, size_t n, size_t *scanned, size_t *ret_size, const char **ret_why) {
    while (*scanned < n) {
        const char *lf = memchr(data + *scanned, '\n', n - *scanned);
        if (!lf) {
            *scanned = n;
            break;
        }
        size_t at = (size_t)(lf - data);
        if (at == 0 || data[at - 1] != '\r')
            return refuse(ret_why, 400, "a line ends with a bare LF");
        if (at == 1)
            return refuse(ret_why, 400, "an empty line before the request line");
        *scanned = at + 1;
        if (at >= 3 && data[at - 2] == '\n') {
            *ret_size = at + 1;
            return 1;
        }
    }
    return 0;
}

int head_parse(char *data, size_t n, size_t *scanned, struct head *ret_head, const char **ret_why) {
    size_t size = 0;
    size_t look = n < HEAD_SIZE_MAX ? n : HEAD_SIZE_MAX;
    int r = find_end(data, look, scanned, &size, ret_why);
    if (r < 0)
        return r;
    if (r == 0)
        return n >= HEAD_SIZE_MAX ? refuse(ret_why, 431, "the head is too long") : 0;
    struct head *head = ret_head;
    head->n_fields = 0;
    head->host = BYTES_NONE;
    head->close = head->expect_continue = head->chunked = head->has_length = false;
    head->length = 0;
    head->size = size;
    size_t at = 0;
    for (bool first = true; at + 2 < size; first = false) {
        char *cr = memchr(data + at, '\r', size - at);
        if (cr[1] != '\n') /* there is one: the head ends in CR LF */
            return refuse(ret_why, 400, "a bare CR");
        size_t line = (size_t)(cr - (data + at));
        r = first ? parse_request_line(bytes_of(data + at, line), head, ret_why)
                  : parse_field(data + at, line, head, ret_why);
        if (r < 0)
            return r;
        at += line + 2;
    }
    if (!head->host.p)
        return refuse(ret_why, 400, "no Host");
    if (head->chunked && head->has_length)
        return refuse(ret_why, 400, "both Content-Length and Transfer-Encoding");
    return 1;
}

struct bytes head_get(const struct head *head, const char *name) {
    struct bytes wanted = bytes_str(name);
    for (size_t i = 0; i < head->n_fields; i++)
        if (bytes_equal(head->fields[i].name, wanted))
            return head->fields[i].value;
    return BYTES_NONE;
}

/* ---- chunked ---- */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, LINE_START, LINE, LINE_LF, LAST_LF, DONE };

void chunked_init(struct chunked *chunked) {
    *chunked = (struct chunked){.state = SIZE};
    buf_init(&chunked->trailers, CHUNK_TRAILERS_MAX);
}

void chunked_free(struct chunked *chunked) {
    buf_free(&chunked->trailers);
}

static int hex_digit(unsigned char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int size_byte(struct chunked *chunked, unsigned char c) {
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (++chunked->digits > 15)
            return -EINVAL;
        chunked->left = chunked->left * 16 + (unsigned)digit;
        return 0;
    }
    if (chunked->digits == 0)
        return -EINVAL;
    chunked->state = c == ';' ? EXTENSION : SIZE_LF;
    return c == ';' || c == '\r' ? 0 : -EINVAL;
}

/* All of the coding but the data itself. */
static int control_byte(struct chunked *chunked, char c) {
    switch (chunked->state) {
    case SIZE:
        return size_byte(chunked, (unsigned char)c);
    case EXTENSION:
        if (++chunked->line > CHUNK_LINE_MAX)
            return -EINVAL;
        if (c == '\r')
            chunked->state = SIZE_LF;
        else if ((unsigned char)c < ' ' && c != '\t')
            return -EINVAL;
        return 0;
    case SIZE_LF:
        chunked->state = chunked->left ? DATA : LINE_START;
        return c == '\n' ? 0 : -EINVAL;
    case DATA_CR:
        chunked->state = DATA_LF;
        return c == '\r' ? 0 : -EINVAL;
    case DATA_LF:
        chunked->state = SIZE;
        chunked->digits = chunked->line = 0;
        return c == '\n' ? 0 : -EINVAL;
    case LINE_START:
        if (c == '\r') {
            chunked->state = LAST_LF;
            return 0;
        }
        chunked->state = LINE;
        return is_token((unsigned char)c) ? buf_add_byte(&chunked->trailers, c) : -EINVAL;
    case LINE:
        if (c == '\r')
            chunked->state = LINE_LF;
        else if ((unsigned char)c < ' ' && c != '\t')
            return -EINVAL;
        return buf_add_byte(&chunked->trailers, c) < 0 ? -EINVAL : 0;
    case LINE_LF:
        chunked->state = LINE_START;
        return c == '\n' && buf_add_byte(&chunked->trailers, c) == 0 ? 0 : -EINVAL;
    case LAST_LF:
        chunked->state = DONE;
        return c == '\n' ? 0 : -EINVAL;
    default:
        return -EINVAL;
    }
}

int chunked_feed(struct chunked *chunked, struct bytes data, size_t *ret_used,
                 int (*sink)(void *arg, struct bytes piece), void *arg) {
    size_t at = 0;
    while (at < data.n && chunked->state != DONE) {
        int r;
        if (chunked->state == DATA) {
            size_t n = data.n - at < chunked->left ? data.n - at : (size_t)chunked->left;
            r = sink(arg, bytes_of(data.p + at, n));
            at += n;
            chunked->left -= n;
            if (chunked->left == 0)
                chunked->state = DATA_CR;
        } else {
            r = control_byte(chunked, data.p[at++]);
        }
        if (r < 0)
            return r;
    }
    *ret_used = at;
    return chunked->state == DONE;
}

struct bytes chunked_trailer(const struct chunked *chunked, struct bytes name) {
    struct bytes rest = buf_bytes(&chunked->trailers);
    while (rest.n) {
        const char *lf = memchr(rest.p, '\n', rest.n);
        size_t n = lf ? (size_t)(lf - rest.p) + 1 : rest.n;
        const char *colon = memchr(rest.p, ':', n);
        if (colon && bytes_equal_nocase(bytes_of(rest.p, (size_t)(colon - rest.p)), name))
            return bytes_trim(bytes_of(colon + 1, n - (size_t)(colon - rest.p) - 1));
        rest = bytes_of(rest.p + n, rest.n - n);
    }
    return BYTES_NONE;
}
