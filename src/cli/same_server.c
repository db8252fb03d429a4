/* same_server.c - see same_server.h. */
#include "same_server.h"

#include "bytes.h"

#include <string.h>

struct server {
    struct bytes host, port; /* port empty: the scheme's */
};

static bool cut(struct bytes *text, struct bytes head) {
    if (text->n < head.n || !bytes_equal_nocase(bytes_of(text->p, head.n), head))
        return false;
    *text = bytes_of(text->p + head.n, text->n - head.n);
    return true;
}

static struct server parse(const char *endpoint) {
    struct bytes rest = bytes_str(endpoint);
    bool tls = cut(&rest, BYTES("https://"));
    if (!tls)
        cut(&rest, BYTES("http://"));
    while (rest.n && rest.p[rest.n - 1] == '/')
        rest.n--;
    const char *bracket = rest.n ? memrchr(rest.p, ']', rest.n) : NULL;
    const char *colon = rest.n ? memrchr(rest.p, ':', rest.n) : NULL;
    struct server server = {.host = rest};
    if (colon && (!bracket || colon > bracket)) {
        server.host.n = (size_t)(colon - rest.p);
        server.port = bytes_of(colon + 1, rest.n - server.host.n - 1);
    }
    if (bytes_equal(server.port, BYTES("80")) || bytes_equal(server.port, BYTES("443")))
        server.port = BYTES_NONE;
    if (server.host.n && server.host.p[server.host.n - 1] == '.')
        server.host.n--;
    return server;
}

static bool ends(struct bytes text, struct bytes tail) {
    return text.n >= tail.n && bytes_equal_nocase(bytes_of(text.p + text.n - tail.n, tail.n), tail);
}

static bool is_aws(const char *endpoint) {
    if (!endpoint)
        return true;
    struct bytes host = parse(endpoint).host;
    return ends(host, BYTES(".amazonaws.com")) || ends(host, BYTES(".amazonaws.com.cn")) ||
           ends(host, BYTES(".api.aws"));
}

static bool is_loopback(struct bytes host) {
    return bytes_equal_nocase(host, BYTES("localhost")) || ends(host, BYTES(".localhost")) ||
           bytes_starts(host, BYTES("127.")) || bytes_equal(host, BYTES("[::1]"));
}

bool same_server(const char *a, const char *b) {
    if (is_aws(a) || is_aws(b))
        return is_aws(a) && is_aws(b);
    struct server x = parse(a), y = parse(b);
    bool hosts = bytes_equal_nocase(x.host, y.host) || (is_loopback(x.host) && is_loopback(y.host));
    return hosts && bytes_equal(x.port, y.port);
}
