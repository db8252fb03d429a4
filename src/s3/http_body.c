/* http_body.c - chooses the framing, and cuts the framing out. */
#include "http_body.h"

#include "text.h"

#include <errno.h>

enum place { SIZE, EXTENSION, DATA, DATA_END, TRAILER, TRAILER_LINE };

/* Does a comma-separated list of tokens have this one? */
static bool has_token(struct bytes value, struct bytes token) {
    while (value.n) {
        const char *comma = memchr(value.p, ',', value.n);
        size_t n = comma ? (size_t)(comma - value.p) : value.n;
        if (bytes_equal_nocase(bytes_trim(bytes_of(value.p, n)), token))
            return true;
        n += comma != NULL;
        value = bytes_of(value.p + n, value.n - n);
    }
    return false;
}

int http_body_begin(struct http_body *body, const struct http_head *head, bool bodiless) {
    bool chunked = false, sized = false;
    uint64_t length = 0;
    *body = (struct http_body){.place = SIZE, .keeps = head->minor > 0};
    for (size_t i = 0; i < head->n; i++) {
        struct bytes name = head->fields[i].name, value = head->fields[i].value;
        if (bytes_equal(name, BYTES("connection"))) {
            if (has_token(value, BYTES("close")))
                body->keeps = false;
            else if (has_token(value, BYTES("keep-alive")))
                body->keeps = true;
        } else if (bytes_equal(name, BYTES("transfer-encoding"))) {
            if (chunked || !bytes_equal_nocase(value, BYTES("chunked")))
                return -EBADMSG;
            chunked = true;
        } else if (bytes_equal(name, BYTES("content-length"))) {
            uint64_t told;
            if (text_parse_u64(value, &told) < 0 || (sized && told != length))
                return -EBADMSG;
            length = told;
            sized = true;
        }
    }
    if (bodiless || head->status == 204 || head->status == 304) {
        body->whole = true;
        return 0;
    }
    if (chunked) {
        body->framing = HTTP_FRAMING_CHUNKED;
        if (sized || head->minor == 0) /* whoever wrote that may see another end than we do */
            body->keeps = false;
    } else if (sized) {
        body->framing = HTTP_FRAMING_LENGTH;
        body->left = length;
        body->whole = length == 0;
    } else {
        body->framing = HTTP_FRAMING_CLOSE;
        body->left = UINT64_MAX;
        body->keeps = false;
    }
    return 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int take_size(struct http_body *body, char c) {
    int digit = hex_digit(c);
    if (digit < 0) {
        body->place = EXTENSION;
        return body->digits ? 0 : -EBADMSG;
    }
    if (body->left > UINT64_MAX >> 4)
        return -EBADMSG;
    body->left = body->left << 4 | (uint64_t)digit;
    body->digits = true;
    return 0;
}

/* One byte of what stands between the chunks. */
static int take_framing(struct http_body *body, char c) {
    if (++body->extra > HTTP_HEADERS_MAX)
        return -E2BIG;
    if (body->place == SIZE) {
        int r = take_size(body, c);
        if (r < 0 || body->place == SIZE)
            return r;
    }
    switch ((enum place)body->place) {
    case EXTENSION:
        if (c == '\n') {
            body->place = body->left ? DATA : TRAILER;
            body->digits = false;
        }
        return 0;
    case DATA_END:
        if (c == '\n')
            body->place = SIZE;
        return c == '\n' || c == '\r' ? 0 : -EBADMSG;
    case TRAILER:
        body->whole = c == '\n';
        if (c != '\n' && c != '\r')
            body->place = TRAILER_LINE;
        return 0;
    case TRAILER_LINE:
        if (c == '\n')
            body->place = TRAILER;
        return 0;
    case SIZE:
    case DATA:
        break;
    }
    return -EBADMSG;
}

int http_body_take(struct http_body *body, struct bytes *rest, struct bytes *ret_piece) {
    bool chunked = body->framing == HTTP_FRAMING_CHUNKED;
    while (rest->n && !body->whole) {
        if (chunked && body->place != DATA) {
            int r = take_framing(body, *rest->p);
            if (r < 0)
                return r;
            *rest = bytes_of(rest->p + 1, rest->n - 1);
            continue;
        }
        size_t n = rest->n < body->left ? rest->n : (size_t)body->left;
        *ret_piece = bytes_of(rest->p, n);
        *rest = bytes_of(rest->p + n, rest->n - n);
        if (body->framing == HTTP_FRAMING_CLOSE)
            return 1;
        body->left -= n;
        if (chunked && body->left == 0) {
            body->place = DATA_END;
            body->extra = 0;
        }
        body->whole = !chunked && body->left == 0;
        return 1;
    }
    return 0;
}
