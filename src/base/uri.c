/* uri.c - see uri.h. */
#include "uri.h"

#include <strings.h>

static const char *last_at(const char *begin, char end) {
    const char *at = NULL;
    for (const char *p = begin; *p && *p != end; p++)
        if (*p == '@')
            at = p;
    return at;
}

/* Its beginning and length; NULL when there is none. libpq takes what stands before the first '@', if that comes before
 * the first '/'. Where such a character was not encoded in the password, the rest must not be shown either. */
static const char *user_password(const char *uri, size_t *ret_n) {
    const char *begin = strstr(uri, "://");
    if (!begin)
        return NULL;
    begin += 3;
    const char *at = last_at(begin, '/');
    if (!at)
        at = last_at(begin, '?');
    const char *colon = at ? memchr(begin, ':', (size_t)(at - begin)) : NULL;
    if (!colon)
        return NULL;
    *ret_n = (size_t)(at - colon - 1);
    return colon + 1;
}

static const char *const password_names[] = {"password", "sslpassword"};

/* The names may be percent-encoded, as libpq decodes them: whatever could be one is taken for one. */
static bool names_password(struct bytes name) {
    for (size_t i = 0; i < sizeof password_names / sizeof password_names[0]; i++)
        if (bytes_equal_nocase(name, bytes_str(password_names[i])))
            return true;
    return name.n && memchr(name.p, '%', name.n) != NULL;
}

static const char *parameter_password(const char *from, size_t *ret_n) {
    for (const char *p = from; *p; p++) {
        if (*p != '?' && *p != '&')
            continue;
        size_t name_n = strcspn(p + 1, "=&");
        if (p[1 + name_n] != '=' || !names_password(bytes_of(p + 1, name_n)))
            continue;
        const char *value = p + 1 + name_n + 1;
        *ret_n = strcspn(value, "&");
        return value;
    }
    return NULL;
}

/* "host=h password = x" (libpq, 34.1.1.1 Keyword/Value Connection Strings). The value may be quoted in several ways:
 * all that follows is taken for it. */
static const char *keyword_password(const char *from, size_t *ret_n) {
    for (const char *p = from; *p; p += strcspn(p, " \t\n")) {
        p += strspn(p, " \t\n");
        for (size_t i = 0; i < sizeof password_names / sizeof password_names[0]; i++) {
            size_t name_n = strlen(password_names[i]);
            if (strncasecmp(p, password_names[i], name_n) != 0)
                continue;
            const char *equals = p + name_n + strspn(p + name_n, " \t\n");
            if (*equals != '=')
                continue;
            *ret_n = strlen(equals + 1);
            return equals + 1;
        }
    }
    return NULL;
}

bool uri_has_password(const char *uri) {
    size_t n;
    return user_password(uri, &n) || parameter_password(uri, &n) || keyword_password(uri, &n);
}

int uri_add_shown(struct buf *buf, const char *uri) {
    size_t n;
    const char *password = user_password(uri, &n), *rest = uri;
    int r = 0;
    if (password) {
        r = buf_printf(buf, "%.*s***", (int)(password - uri), uri);
        rest = password + n;
    }
    while (r == 0 && (password = parameter_password(rest, &n))) {
        r = buf_printf(buf, "%.*s***", (int)(password - rest), rest);
        rest = password + n;
    }
    if (r == 0 && (password = keyword_password(rest, &n))) {
        r = buf_printf(buf, "%.*s***", (int)(password - rest), rest);
        rest = password + n;
    }
    return r == 0 ? buf_add_str(buf, rest) : r;
}
