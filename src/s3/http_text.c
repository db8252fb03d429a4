/* http_text.c - cuts URLs, writes heads. */
#include "http_text.h"

#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static struct bytes without_port(struct bytes authority, struct bytes port) {
    return bytes_ends(authority, port) ? bytes_of(authority.p, authority.n - port.n) : authority;
}

int http_url_cut(const char *url, struct http_url *ret_url) {
    const char *scheme_end = strstr(url, "://");
    if (!scheme_end)
        return -EINVAL;
    for (const char *c = url; *c; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return -EINVAL;
    const char *authority = scheme_end + 3, *target = authority + strcspn(authority, "/?#");
    if (memchr(authority, '@', (size_t)(target - authority)))
        return -EINVAL;
    struct http_url cut = {
        .base = bytes_of(url, (size_t)(target - url)),
        .authority = bytes_of(authority, (size_t)(target - authority)),
        .target = bytes_of(target, strcspn(target, "#")),
        .tls = bytes_starts(bytes_str(url), BYTES("https:")),
        .rootless = *target != '/',
    };
    cut.authority = without_port(cut.authority, cut.tls ? BYTES(":443") : BYTES(":80"));
    *ret_url = cut;
    return 0;
}

static bool is_line(struct bytes text) {
    bool good = true;
    for (size_t i = 0; i < text.n; i++)
        good &= text.p[i] != '\0' && text.p[i] != '\r' && text.p[i] != '\n';
    return good;
}

static bool is_method(const char *method) {
    size_t n = strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return n > 0 && method[n] == '\0';
}

int http_text_head(struct buf *text, const struct http_url *url, const struct http_send *send, size_t more) {
    char length[48];
    uint64_t n = send->read ? send->read_n : send->body.n;
    int length_n = send->has_body ? snprintf(length, sizeof length, "Content-Length: %" PRIu64 "\r\n", n) : 0;
    size_t total = more + strlen(send->method) + url->target.n + url->authority.n + (size_t)length_n + 64;
    if (!is_method(send->method))
        return -EINVAL;
    for (size_t i = 0; i < send->n_fields; i++) {
        if (!is_line(send->fields[i].name) || !is_line(send->fields[i].value))
            return -EINVAL;
        total += send->fields[i].name.n + send->fields[i].value.n + 4;
    }
    int r = buf_reserve(text, total); /* all of it, so that no secret is left behind where the text grew */
    if (r < 0)
        return r;
    buf_add_str(text, send->method);
    buf_add_str(text, url->rootless ? " /" : " ");
    buf_add_bytes(text, url->target);
    buf_add_str(text, " HTTP/1.1\r\nHost: ");
    buf_add_bytes(text, url->authority);
    buf_add_str(text, "\r\n");
    for (size_t i = 0; i < send->n_fields; i++) {
        buf_add_bytes(text, send->fields[i].name);
        buf_add_str(text, send->fields[i].value.n ? ": " : ":");
        buf_add_bytes(text, send->fields[i].value);
        buf_add_str(text, "\r\n");
    }
    buf_add(text, length, (size_t)length_n);
    return buf_add_str(text, "\r\n");
}
