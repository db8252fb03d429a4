/* Signature Version 4: the examples of the S3 API Reference, the published test suite, and the edges.
 *
 * The suite is read from the folder given as first argument; where that is absent its test is skipped. Its cases are
 * for services in general. S3's rule is that a path is encoded once and never normalised, so a case does not apply when
 *   - it asks for a normalised path and its path is one that normalising changes (empty, "." or ".." segments), or
 *   - it asks that the session token be added after signing ("omit_session_token"), which S3 does not do.
 * All others must match in all three texts. */
#include "clock.h"
#include "mem.h"
#include "sigv4.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char *suite_dir;

#define HASH_SIZE 65
static void hex_sha256(struct bytes data, char ret_hex[HASH_SIZE]) {
    unsigned char hash[32];
    assert_int_equal(EVP_Q_digest(NULL, "SHA256", NULL, data.p, data.n, hash, NULL), 1);
    struct buf hex = {0};
    assert_int_equal(text_add_hex(&hex, hash, sizeof hash), 0);
    memcpy(ret_hex, hex.p, HASH_SIZE);
    buf_free(&hex);
}

static struct credentials example_keys(void) {
    return (struct credentials){
        .access_key_id = BYTES("AKIAIOSFODNN7EXAMPLE"),
        .secret_access_key = BYTES("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        .generation = 1,
    };
}

static int64_t utc(int year, int month, int day, int hour, int minute, int second) {
    return clock_from_date_utc(&(struct clock_date){
        .year = year, .month = month, .day = day, .hour = hour, .minute = minute, .second = second});
}

/* ---- the S3 API Reference's examples ("Signature Calculations for the Authorization Header") ---- */

static void check_example(const char *method, struct bytes path, const struct sigv4_param *params, size_t n_params,
                          const struct sigv4_header *headers, size_t n_headers, struct bytes payload_hash,
                          const char *signature) {
    struct sigv4_request request = {
        .method = method,
        .path = path,
        .params = params,
        .n_params = n_params,
        .headers = headers,
        .n_headers = n_headers,
        .payload_hash = payload_hash,
        .region = BYTES("us-east-1"),
        .service = BYTES("s3"),
        .now_utc_us = utc(2013, 5, 24, 0, 0, 0),
    };
    struct credentials keys = example_keys();
    struct sigv4_signer *signer;
    assert_int_equal(sigv4_signer_new(&signer), 0);
    for (int again = 0; again < 2; again++) { /* the second time with the cached key */
        char hex[65];
        assert_int_equal(sigv4_signature(signer, &keys, &request, hex), 0);
        assert_string_equal(hex, signature);
    }
    sigv4_signer_free(signer);
}

static void test_example_get(void **state) {
    const struct sigv4_header headers[] = {
        {BYTES("host"), BYTES("examplebucket.s3.amazonaws.com")},
        {BYTES("range"), BYTES("bytes=0-9")},
        {BYTES("x-amz-content-sha256"), BYTES(SIGV4_EMPTY_SHA256)},
        {BYTES("x-amz-date"), BYTES("20130524T000000Z")},
    };
    check_example("GET", BYTES("/test.txt"), NULL, 0, headers, 4, BYTES(SIGV4_EMPTY_SHA256),
                  "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void test_example_put(void **state) {
    struct bytes hash = BYTES("44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
    const struct sigv4_header headers[] = {
        /* out of order on purpose */
        {BYTES("x-amz-storage-class"), BYTES("REDUCED_REDUNDANCY")},
        {BYTES("x-amz-date"), BYTES("20130524T000000Z")},
        {BYTES("x-amz-content-sha256"), hash},
        {BYTES("host"), BYTES("examplebucket.s3.amazonaws.com")},
        {BYTES("date"), BYTES("Fri, 24 May 2013 00:00:00 GMT")},
    };
    check_example("PUT", BYTES("/test%24file.text"), NULL, 0, headers, 5, hash,
                  "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static const struct sigv4_header plain_headers[] = {
    {{"host", 4}, {"examplebucket.s3.amazonaws.com", 30}},
    {{"x-amz-content-sha256", 20}, {SIGV4_EMPTY_SHA256, 64}},
    {{"x-amz-date", 10}, {"20130524T000000Z", 16}},
};

static void test_example_lifecycle(void **state) {
    const struct sigv4_param params[] = {{BYTES("lifecycle"), BYTES_NONE}};
    check_example("GET", BYTES("/"), params, 1, plain_headers, 3, BYTES(SIGV4_EMPTY_SHA256),
                  "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

static void test_example_list(void **state) {
    const struct sigv4_param params[] = {{BYTES("prefix"), BYTES("J")}, {BYTES("max-keys"), BYTES("2")}};
    check_example("GET", BYTES("/"), params, 2, plain_headers, 3, BYTES(SIGV4_EMPTY_SHA256),
                  "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

/* ---- the published suite ---- */

#define FIELDS 32

struct sample {
    json_t *context;
    char *file; /* request.txt */
    char method[16];
    struct buf path, params_text;
    struct sigv4_param params[FIELDS];
    struct sigv4_header headers[FIELDS];
    size_t n_params, n_headers;
    struct buf names[FIELDS]; /* lower-case header names, decoded parameters */
    size_t n_names;
    char payload_hash[HASH_SIZE], date[17];
    struct bytes raw_path;
    bool applies;
};

static char *read_file(const char *folder, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s/%s", suite_dir, folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    char *text = calloc(1, 65536);
    assert_non_null(text);
    assert_true(fread(text, 1, 65535, file) < 65535);
    fclose(file);
    return text;
}

static struct bytes keep(struct sample *sample, struct bytes text, bool lower, bool decode) {
    assert_true(sample->n_names < FIELDS);
    struct buf *buf = &sample->names[sample->n_names++];
    assert_int_equal(decode ? text_add_unpercent(buf, text, false) : buf_add_bytes(buf, text), 0);
    for (size_t i = 0; lower && i < buf->n; i++)
        if (buf->p[i] >= 'A' && buf->p[i] <= 'Z')
            buf->p[i] = (char)(buf->p[i] + 32);
    return buf_bytes(buf);
}

static void add_header(struct sample *sample, struct bytes name, struct bytes value) {
    assert_true(sample->n_headers < FIELDS);
    sample->headers[sample->n_headers++] = (struct sigv4_header){keep(sample, name, true, false), value};
}

static struct bytes cut_at(struct bytes *rest, char c) { /* what is before c; *rest is what follows it */
    const char *at = rest->n ? memchr(rest->p, c, rest->n) : NULL;
    struct bytes piece = at ? bytes_of(rest->p, (size_t)(at - rest->p)) : *rest;
    *rest = at ? bytes_of(at + 1, rest->n - piece.n - 1) : BYTES_NONE;
    return piece;
}

static bool normalising_changes(struct bytes path) {
    struct bytes rest = path;
    cut_at(&rest, '/');
    while (rest.n) {
        bool last = !memchr(rest.p, '/', rest.n);
        struct bytes segment = cut_at(&rest, '/');
        if (bytes_equal(segment, BYTES(".")) || bytes_equal(segment, BYTES("..")) || (segment.n == 0 && !last))
            return true;
    }
    return false;
}

static void read_sample(const char *folder, struct sample *sample) {
    *sample = (struct sample){0};
    char *context = read_file(folder, "context.json");
    sample->context = json_loads(context, 0, NULL);
    assert_non_null(sample->context);
    free(context);
    sample->file = read_file(folder, "request.txt");
    struct bytes rest = bytes_str(sample->file), line = cut_at(&rest, '\n');
    assert_true(bytes_ends(line, BYTES(" HTTP/1.1")));
    line.n -= strlen(" HTTP/1.1");
    struct bytes method = cut_at(&line, ' '), path = cut_at(&line, '?');
    assert_true(method.n < sizeof sample->method);
    memcpy(sample->method, method.p, method.n);
    sample->raw_path = path;
    /* The request gives some paths raw and some encoded; the encoded form is what goes on the wire. */
    assert_int_equal(memchr(path.p, '%', path.n) ? buf_add_bytes(&sample->path, path)
                                                 : text_add_percent(&sample->path, path, true),
                     0);
    while (line.n) {
        struct bytes value = cut_at(&line, '&'), name = cut_at(&value, '=');
        struct bytes raw_name = keep(sample, name, false, true);
        sample->params[sample->n_params++] = (struct sigv4_param){raw_name, keep(sample, value, false, true)};
    }
    while (rest.n) {
        line = cut_at(&rest, '\n');
        if (line.n == 0)
            break;
        struct bytes name = cut_at(&line, ':');
        add_header(sample, name, line);
    }
    bool sign_body = json_is_true(json_object_get(sample->context, "sign_body"));
    hex_sha256(sign_body ? rest : BYTES_NONE, sample->payload_hash);
    if (sign_body)
        add_header(sample, BYTES("x-amz-content-sha256"), bytes_str(sample->payload_hash));
    sample->applies = !json_is_true(json_object_get(sample->context, "omit_session_token")) &&
                      !(json_is_true(json_object_get(sample->context, "normalize")) && normalising_changes(path));
}

static void free_sample(struct sample *sample) {
    for (size_t i = 0; i < sample->n_names; i++)
        buf_free(&sample->names[i]);
    buf_free(&sample->path);
    free(sample->file);
    json_decref(sample->context);
}

static void check_text(const char *folder, const char *name, struct bytes got) {
    char *want = read_file(folder, name);
    struct bytes expected = bytes_trim(bytes_str(want));
    if (!bytes_equal(expected, got))
        fail_msg("%s/%s: got\n%.*s", folder, name, (int)got.n, got.p);
    free(want);
}

static void check_sample(const char *folder, struct sample *sample) {
    json_t *context = sample->context, *credentials = json_object_get(context, "credentials");
    struct credentials keys = {
        .access_key_id = bytes_str(json_string_value(json_object_get(credentials, "access_key_id"))),
        .secret_access_key = bytes_str(json_string_value(json_object_get(credentials, "secret_access_key"))),
        .session_token = bytes_str(json_string_value(json_object_get(credentials, "token"))),
    };
    int64_t now;
    assert_int_equal(text_parse_iso8601(bytes_str(json_string_value(json_object_get(context, "timestamp"))), &now), 0);
    struct buf date = {0};
    assert_int_equal(sigv4_add_date(&date, now), 0);
    add_header(sample, BYTES("x-amz-date"), buf_bytes(&date));
    if (keys.session_token.n)
        add_header(sample, BYTES("x-amz-security-token"), keys.session_token);
    struct sigv4_request request = {
        .method = sample->method,
        .path = buf_bytes(&sample->path),
        .params = sample->params,
        .n_params = sample->n_params,
        .headers = sample->headers,
        .n_headers = sample->n_headers,
        .payload_hash = bytes_str(sample->payload_hash),
        .region = bytes_str(json_string_value(json_object_get(context, "region"))),
        .service = bytes_str(json_string_value(json_object_get(context, "service"))),
        .now_utc_us = now,
    };
    struct buf canonical = {0}, text = {0}, authorization = {0};
    assert_int_equal(sigv4_add_canonical_request(&canonical, &request), 0);
    check_text(folder, "header-canonical-request.txt", buf_bytes(&canonical));
    assert_int_equal(sigv4_add_string_to_sign(&text, &request, buf_bytes(&canonical)), 0);
    check_text(folder, "header-string-to-sign.txt", buf_bytes(&text));
    struct sigv4_signer *signer;
    assert_int_equal(sigv4_signer_new(&signer), 0);
    char hex[65];
    assert_int_equal(sigv4_signature(signer, &keys, &request, hex), 0);
    check_text(folder, "header-signature.txt", bytes_str(hex));
    assert_int_equal(sigv4_sign(signer, &keys, &request, &authorization), 0);
    char *signed_request = read_file(folder, "header-signed-request.txt");
    const char *header = strstr(signed_request, "Authorization:");
    assert_non_null(header);
    struct bytes rest = bytes_str(header + strlen("Authorization:")), line = cut_at(&rest, '\n');
    assert_true(bytes_equal(line, buf_bytes(&authorization)));
    free(signed_request);
    sigv4_signer_free(signer);
    buf_free(&canonical);
    buf_free(&text);
    buf_free(&authorization);
    buf_free(&date);
}

static void test_suite(void **state) {
    DIR *dir = suite_dir ? opendir(suite_dir) : NULL;
    if (!dir) {
        print_message("the published SigV4 cases are not there (%s): skipped\n",
                      suite_dir ? suite_dir : "no folder given");
        skip();
    }
    int checked = 0, other = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        struct sample sample;
        read_sample(entry->d_name, &sample);
        if (sample.applies) {
            check_sample(entry->d_name, &sample);
            checked++;
        } else {
            assert_null(strstr(entry->d_name, "-unnormalized")); /* those are made for S3 */
            other++;
        }
        free_sample(&sample);
    }
    closedir(dir);
    print_message("%d cases checked, %d do not apply to S3\n", checked, other);
    assert_true(checked > 0);
}

static void test_rule_for_cases(void **state) {
    assert_true(normalising_changes(BYTES("//")));
    assert_true(normalising_changes(BYTES("//example//")));
    assert_true(normalising_changes(BYTES("/example/..")));
    assert_true(normalising_changes(BYTES("/./example")));
    assert_false(normalising_changes(BYTES("/")));
    assert_false(normalising_changes(BYTES("/example/")));
    assert_false(normalising_changes(BYTES("/example space/..x")));
}

/* ---- edges ---- */

static void check_query(const struct sigv4_param *params, size_t n, const char *expected) {
    struct buf out = {0};
    assert_int_equal(buf_add_str(&out, "?"), 0);
    assert_int_equal(sigv4_add_query(&out, params, n), 0);
    assert_string_equal(out.p + 1, expected);
    buf_free(&out);
}

static void test_query(void **state) {
    check_query(NULL, 0, "");
    /* By the encoded form: '%' comes before '-', digits and letters, though the raw bytes come after them. */
    const struct sigv4_param mixed[] = {
        {BYTES("b"), BYTES("2")},    {BYTES("b"), BYTES("\xff")},   {BYTES("b"), BYTES("1")}, {BYTES("a-"), BYTES_NONE},
        {BYTES("a\xe1"), BYTES("")}, {BYTES("a"), BYTES("+ /=&~")}, {BYTES("a~"), BYTES("")}, {BYTES("a "), BYTES("")},
    };
    check_query(mixed, 8, "a=%2B%20%2F%3D%26~&a%20=&a%E1=&a-=&a~=&b=%FF&b=1&b=2");
    const struct sigv4_param nul[] = {{bytes_of("k\0l", 3), bytes_of("\0", 1)}};
    check_query(nul, 1, "k%00l=%00");
}

static void test_too_many(void **state) {
    static struct sigv4_param params[SIGV4_FIELDS_MAX + 1];
    static struct sigv4_header headers[SIGV4_FIELDS_MAX + 1];
    struct buf out = {0};
    assert_int_equal(sigv4_add_query(&out, params, SIGV4_FIELDS_MAX), 0);
    assert_int_equal(out.n, 2 * SIGV4_FIELDS_MAX - 1);
    assert_int_equal(sigv4_add_query(&out, params, SIGV4_FIELDS_MAX + 1), -E2BIG);
    assert_int_equal(out.n, 2 * SIGV4_FIELDS_MAX - 1);
    struct sigv4_request request = {
        .method = "GET", .path = BYTES("/"), .headers = headers, .n_headers = SIGV4_FIELDS_MAX + 1};
    assert_int_equal(sigv4_add_canonical_request(&out, &request), -E2BIG);
    assert_int_equal(out.n, 2 * SIGV4_FIELDS_MAX - 1);
    buf_free(&out);
}

static void test_dates(void **state) {
    struct buf out = {0};
    assert_int_equal(sigv4_add_date(&out, utc(2024, 2, 29, 23, 59, 59) + 999999), 0);
    assert_int_equal(sigv4_add_date(&out, 0), 0);
    assert_string_equal(out.p, "20240229T235959Z19700101T000000Z");
    assert_int_equal(sigv4_add_date(&out, utc(10000, 1, 1, 0, 0, 0)), -EINVAL);
    assert_int_equal(sigv4_add_date(&out, utc(-1, 12, 31, 0, 0, 0)), -EINVAL);
    assert_int_equal(out.n, 32);
    buf_free(&out);
}

static void test_header_values(void **state) {
    const struct sigv4_header headers[] = {
        {BYTES("a"), BYTES(" \t x  y   z ")}, {BYTES("a"), BYTES("")},          {BYTES("a"), BYTES("   ")},
        {BYTES("b"), BYTES("1\t  2")},        {BYTES("a-"), BYTES("\"q  q\"")},
    };
    struct sigv4_request request = {
        .method = "GET", .path = BYTES("/a//../b"), .headers = headers, .n_headers = 5, .payload_hash = BYTES("H")};
    struct buf out = {0};
    assert_int_equal(sigv4_add_canonical_request(&out, &request), 0);
    assert_string_equal(out.p, "GET\n/a//../b\n\na:x y z,,\na-:\"q q\"\nb:1\t 2\n\na;a-;b\nH");
    buf_free(&out);
}

static void signature_of(struct sigv4_signer *signer, const struct credentials *keys, struct bytes region, int64_t now,
                         char ret_hex[65]) {
    struct sigv4_request request = {
        .method = "GET",
        .path = BYTES("/"),
        .headers = plain_headers,
        .n_headers = 3,
        .payload_hash = BYTES(SIGV4_UNSIGNED_PAYLOAD),
        .region = region,
        .service = BYTES("s3"),
        .now_utc_us = now,
    };
    assert_int_equal(sigv4_signature(signer, keys, &request, ret_hex), 0);
}

/* Whatever is cached, the signature is that of a signer that has nothing cached. */
static void test_cache(void **state) {
    struct sigv4_signer *signer;
    assert_int_equal(sigv4_signer_new(&signer), 0);
    struct credentials keys = example_keys();
    for (int i = 0; i < 200; i++) {
        char region[16], got[65], want[65];
        snprintf(region, sizeof region, "r-%d", i % 11); /* more than there are places */
        keys.generation = (uint64_t)(i / 50);
        keys.secret_access_key = i / 50 % 2 ? BYTES("other/secret") : example_keys().secret_access_key;
        int64_t now = utc(2026, 1, 1 + i % 3, 23, 59, 59);
        struct sigv4_signer *fresh;
        assert_int_equal(sigv4_signer_new(&fresh), 0);
        signature_of(signer, &keys, bytes_str(region), now, got);
        signature_of(fresh, &keys, bytes_str(region), now, want);
        assert_string_equal(got, want);
        sigv4_signer_free(fresh);
    }
    sigv4_signer_free(signer);
}

static void test_limits(void **state) {
    struct sigv4_signer *signer;
    assert_int_equal(sigv4_signer_new(&signer), 0);
    char text[CREDENTIALS_SECRET_MAX + 1], hex[65] = "untouched";
    memset(text, 'x', sizeof text);
    struct credentials keys = example_keys();
    struct sigv4_request request = {.method = "GET",
                                    .path = BYTES("/"),
                                    .region = bytes_of(text, SIGV4_REGION_MAX + 1),
                                    .service = BYTES("s3"),
                                    .now_utc_us = utc(2026, 1, 1, 0, 0, 0)};
    assert_int_equal(sigv4_signature(signer, &keys, &request, hex), -EINVAL);
    request.region = bytes_of(text, SIGV4_REGION_MAX);
    assert_int_equal(sigv4_signature(signer, &keys, &request, hex), 0);
    request.service = bytes_of(text, SIGV4_SERVICE_MAX + 1);
    assert_int_equal(sigv4_signature(signer, &keys, &request, hex), -EINVAL);
    request.service = BYTES("s3");
    keys.generation++;
    keys.secret_access_key = bytes_of(text, CREDENTIALS_SECRET_MAX + 1);
    assert_int_equal(sigv4_signature(signer, &keys, &request, hex), -EINVAL);
    keys.secret_access_key.n--;
    assert_int_equal(sigv4_signature(signer, &keys, &request, hex), 0);
    sigv4_signer_free(signer);
    sigv4_signer_free(NULL);
}

static void test_no_memory(void **state) {
    struct credentials keys = example_keys();
    const struct sigv4_param params[] = {{BYTES("prefix"), BYTES("J")}};
    struct sigv4_request request = {
        .method = "GET",
        .path = BYTES("/a%20path%20that%20is%20longer%20than%20the%20first%20piece%20of%20memory%20of%20a%20buffer"),
        .params = params,
        .n_params = 1,
        .headers = plain_headers,
        .n_headers = 3,
        .payload_hash = BYTES(SIGV4_EMPTY_SHA256),
        .region = BYTES("us-east-1"),
        .service = BYTES("s3"),
        .now_utc_us = utc(2013, 5, 24, 0, 0, 0),
    };
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        struct sigv4_signer *signer = NULL;
        struct buf out = {0};
        mem_fail_at(n, 0);
        int r = sigv4_signer_new(&signer);
        if (r >= 0)
            r = sigv4_sign(signer, &keys, &request, &out);
        uint64_t calls = mem_fail_count();
        mem_fail_at(0, 0);
        if (r < 0) {
            failures++;
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(out.n, 0);
            if (signer) { /* and it works afterwards */
                assert_int_equal(sigv4_sign(signer, &keys, &request, &out), 0);
                assert_true(out.n > 0);
            }
        }
        buf_free(&out);
        sigv4_signer_free(signer);
        if (calls < n)
            break;
    }
    assert_true(failures > 3);
}

int main(int argc, char **argv) {
    suite_dir = argc > 1 ? argv[1] : NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_get),
        cmocka_unit_test(test_example_put),
        cmocka_unit_test(test_example_lifecycle),
        cmocka_unit_test(test_example_list),
        cmocka_unit_test(test_suite),
        cmocka_unit_test(test_rule_for_cases),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_header_values),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("s3/sigv4", tests, NULL, NULL);
}
