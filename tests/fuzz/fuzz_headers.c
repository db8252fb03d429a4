/* What comes in answer headers: ETags, checksum values, dates, and the values that go into a signature. */
#include "checksum.h"
#include "sigv4.h"
#include "text.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static void check_etag(struct bytes text) {
    unsigned char md5[16];
    struct buf hex = {0};
    if (!checksum_etag_md5(text, md5))
        return;
    struct bytes inside = text.n == 34 ? bytes_of(text.p + 1, 32) : text;
    MUST(text_add_hex(&hex, md5, sizeof md5) == 0 && bytes_equal_nocase(buf_bytes(&hex), inside));
    buf_free(&hex);
}

/* A value matches a digest exactly when it is the digest's base64. */
static void check_checksum(struct bytes text) {
    unsigned char digest[CHECKSUM_SIZE_MAX] = {0};
    static const size_t sizes[] = {4, 8, 16, 20, 32};
    struct buf raw = {0};
    bool comparable, decodes = text_add_unbase64(&raw, text) == 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bool same = decodes && raw.n == sizes[i];
        if (same)
            memcpy(digest, raw.p, raw.n);
        bool matches = checksum_header_matches(text, digest, sizes[i], &comparable);
        MUST(!matches || comparable);
        MUST(!same || (matches && comparable));
        digest[0] ^= 1;
        MUST(!same || !checksum_header_matches(text, digest, sizes[i], &comparable));
    }
    buf_free(&raw);
    (void)checksum_of_header(text);
}

static void check_dates(struct bytes text) {
    int64_t utc_us = INT64_MIN, again_utc_us;
    struct buf iso = {0};
    int r = text_parse_http_date(text, &utc_us);
    MUST(r == 0 || (r == -EINVAL && utc_us == INT64_MIN));
    if (r == 0) {
        MUST(text_add_iso8601(&iso, utc_us, false) == 0);
        MUST(text_parse_iso8601(buf_bytes(&iso), &again_utc_us) == 0 && again_utc_us == utc_us);
    }
    r = text_parse_iso8601(text, &utc_us);
    MUST(r == 0 || r == -EINVAL);
    buf_free(&iso);
}

/* Whatever a header or parameter holds, the canonical request has the lines it should have. */
static void check_canonical(struct bytes text) {
    size_t half = text.n / 2;
    struct bytes a = bytes_of(text.p, half), b = bytes_of(text.p + half, text.n - half);
    const struct sigv4_param params[] = {{a, b}, {b, a}, {a, a}};
    const struct sigv4_header headers[] = {{BYTES("x-b"), a}, {BYTES("x-a"), b}, {BYTES("x-b"), b}};
    struct sigv4_request request = {.method = "GET",
                                    .path = BYTES("/"),
                                    .params = params,
                                    .n_params = 3,
                                    .headers = headers,
                                    .n_headers = 3,
                                    .payload_hash = BYTES("h")};
    struct buf out = {0}, query = {0};
    MUST(sigv4_add_canonical_request(&out, &request) == 0);
    MUST(bytes_starts(buf_bytes(&out), BYTES("GET\n/\n")) && bytes_ends(buf_bytes(&out), BYTES("\n\nx-a;x-b\nh")));
    MUST(sigv4_add_query(&query, params, 3) == 0);
    size_t equals = 0;
    for (size_t i = 0; i < query.n; i++) {
        MUST(query.p[i] > ' ' && query.p[i] <= '~');
        equals += query.p[i] == '=';
    }
    MUST(equals == 3);
    /* The parts between the ampersands are in order. */
    struct bytes rest = buf_bytes(&query), last = BYTES_NONE;
    while (rest.n) {
        const char *end = memchr(rest.p, '&', rest.n);
        size_t n = end ? (size_t)(end - rest.p) : rest.n;
        struct bytes name = bytes_of(rest.p, (size_t)((const char *)memchr(rest.p, '=', n) - rest.p));
        MUST(bytes_compare(last, name) <= 0);
        last = name;
        rest = end ? bytes_of(end + 1, rest.n - n - 1) : BYTES_NONE;
    }
    buf_free(&out);
    buf_free(&query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes text = bytes_of(data, size);
    check_etag(text);
    check_checksum(text);
    check_dates(text);
    check_canonical(text);
    return 0;
}
