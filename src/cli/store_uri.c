/* store_uri.c - see store_uri.h. */
#include "store_uri.h"

#include "uri.h"

#include <stdio.h>

enum store_kind store_uri_kind(const char *uri) {
    if (bytes_starts(bytes_str(uri), BYTES("sqlite:")))
        return uri[strlen("sqlite:")] ? STORE_KIND_SQLITE : STORE_KIND_NONE;
    if (bytes_starts(bytes_str(uri), BYTES("postgres://")) || bytes_starts(bytes_str(uri), BYTES("postgresql://")))
        return STORE_KIND_POSTGRES;
    return STORE_KIND_NONE;
}

const char *store_uri_path(const char *uri) {
    return store_uri_kind(uri) == STORE_KIND_SQLITE ? uri + strlen("sqlite:") : NULL;
}

bool store_uri_has_password(const char *uri) {
    return !store_uri_path(uri) && uri_has_password(uri);
}

int store_uri_add_shown(struct buf *buf, const char *uri) {
    return store_uri_path(uri) ? buf_add_str(buf, uri) : uri_add_shown(buf, uri);
}

static int decode(struct bytes encoded, char **ret_text) {
    struct buf text = {0};
    int r = 0;
    for (size_t i = 0; i < encoded.n && r == 0; i++) {
        unsigned byte;
        if (encoded.p[i] == '%' && encoded.n - i > 2 && sscanf(encoded.p + i + 1, "%2x", &byte) == 1 && byte) {
            r = buf_add_byte(&text, (char)byte);
            i += 2;
        } else {
            r = buf_add_byte(&text, encoded.p[i]);
        }
    }
    if (r == 0)
        r = buf_add_byte(&text, '\0');
    if (r < 0)
        buf_free(&text);
    else
        *ret_text = buf_detach(&text);
    return r;
}

int store_uri_parameter(const char *uri, const char *name, char **ret_value) {
    struct bytes found = BYTES_NONE;
    size_t name_n = strlen(name);
    const char *at = store_uri_kind(uri) == STORE_KIND_POSTGRES ? strchr(uri, '?') : NULL;
    for (; at; at = strchr(at + 1, '&'))
        if (strncmp(at + 1, name, name_n) == 0 && at[1 + name_n] == '=') {
            const char *value = at + 2 + name_n;
            found = bytes_of(value, strcspn(value, "&"));
        }
    if (!found.n)
        return 0;
    int r = decode(found, ret_value);
    return r < 0 ? r : 1;
}
