/* s3_signed.c - see s3_signed.h. */
#include "s3_signed.h"

#include "s3_world.h"
#include "sigv4.h"
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void split_query(const char *query, struct sigv4_param *params, size_t *n, struct buf *store) {
    if (!query)
        return;
    buf_reserve(store, strlen(query) + 1);
    while (*query) {
        size_t size = strcspn(query, "&"), name = strcspn(query, "=");
        size_t at = store->n;
        text_add_unpercent(store, bytes_of(query, name), false);
        params[*n].name = bytes_of(store->p + at, store->n - at);
        at = store->n;
        text_add_unpercent(store, bytes_of(query + name + 1, size - name - 1), false);
        params[(*n)++].value = bytes_of(store->p + at, store->n - at);
        query += size + (query[size] == '&');
    }
}

void signed_check(size_t request, const char *region) {
    char authorization[4096], method[16] = "", path[8192] = "", names[1024] = "", got[80] = "", want[65], scope[128];
    const char *value = script_header(world.server, request, "authorization");
    assert_non_null(value);
    snprintf(authorization, sizeof authorization, "%s", value);
    assert_int_equal(sscanf(script_target(world.server, request), "%15s %8191s", method, path), 2);
    const char *at = strstr(authorization, "SignedHeaders="), *end = strstr(authorization, ", Signature=");
    assert_true(at && end);
    snprintf(names, sizeof names, "%.*s", (int)(end - at - 14), at + 14);
    snprintf(got, sizeof got, "%s", end + 12);
    char *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    struct sigv4_param params[16];
    struct sigv4_header headers[64];
    size_t n_params = 0, n_headers = 0;
    struct buf store = {0}, values = {0};
    split_query(query, params, &n_params, &store);
    buf_reserve(&values, 65536);
    for (char *save, *name = strtok_r(names, ";", &save); name; name = strtok_r(NULL, ";", &save)) {
        value = script_header(world.server, request, strcmp(name, "host") == 0 ? "Host" : name);
        assert_non_null(value);
        size_t place = values.n;
        buf_add_str(&values, value);
        headers[n_headers++] = (struct sigv4_header){bytes_str(name), bytes_of(values.p + place, values.n - place)};
    }
    char hash[80];
    snprintf(hash, sizeof hash, "%s", script_header(world.server, request, "x-amz-content-sha256"));
    struct clock_date date = {0};
    const char *amz_date = script_header(world.server, request, "x-amz-date");
    assert_int_equal(sscanf(amz_date, "%4d%2d%2dT%2d%2d%2dZ", &date.year, &date.month, &date.day, &date.hour,
                            &date.minute, &date.second),
                     6);
    struct sigv4_request r = {
        .method = method,
        .path = bytes_str(path),
        .params = params,
        .n_params = n_params,
        .headers = headers,
        .n_headers = n_headers,
        .payload_hash = bytes_str(hash),
        .region = bytes_str(region),
        .service = BYTES("s3"),
        .now_utc_us = clock_from_date_utc(&date),
    };
    struct sigv4_signer *signer;
    assert_int_equal(sigv4_signer_new(&signer), 0);
    assert_int_equal(sigv4_signature(signer, &world.provider.keys, &r, want), 0);
    sigv4_signer_free(signer);
    assert_string_equal(got, want);
    snprintf(scope, sizeof scope, "/%s/s3/aws4_request", region);
    assert_non_null(strstr(authorization, scope));
    buf_free(&store);
    buf_free(&values);
}

bool signed_covers(size_t request, const char *name) {
    char text[1024], pattern[128];
    snprintf(text, sizeof text, "%s", script_header(world.server, request, "authorization"));
    snprintf(pattern, sizeof pattern, "%s", name);
    char *at = strstr(text, "SignedHeaders=");
    return at && strstr(at, pattern);
}
