/* test_s3_endpoint.c - where requests go: URLs by endpoint and style, and options that cannot be right. */
#include "s3_endpoint.h"
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void urls_by_endpoint_and_style(void **state) {
    static const struct {
        const char *endpoint;
        enum s3_addressing addressing;
        const char *region, *bucket, *key, *url, *host;
    } cases[] = {
        {NULL, S3_ADDRESS_AUTO, "us-east-1", "buck", "a b", "https://buck.s3.us-east-1.amazonaws.com/a%20b",
         "buck.s3.us-east-1.amazonaws.com"},
        {NULL, S3_ADDRESS_AUTO, "eu-west-1", "buck", "", "https://buck.s3.eu-west-1.amazonaws.com/",
         "buck.s3.eu-west-1.amazonaws.com"},
        {NULL, S3_ADDRESS_AUTO, "eu-west-1", "buck", "/k", "https://buck.s3.eu-west-1.amazonaws.com//k",
         "buck.s3.eu-west-1.amazonaws.com"},
        {NULL, S3_ADDRESS_AUTO, "eu-west-1", "with.dots", "k", "https://s3.eu-west-1.amazonaws.com/with.dots/k",
         "s3.eu-west-1.amazonaws.com"},
        {NULL, S3_ADDRESS_AUTO, "eu-west-1", "Upper", "k", "https://s3.eu-west-1.amazonaws.com/Upper/k",
         "s3.eu-west-1.amazonaws.com"},
        {NULL, S3_ADDRESS_AUTO, "eu-west-1", "-edge", "k", "https://s3.eu-west-1.amazonaws.com/-edge/k",
         "s3.eu-west-1.amazonaws.com"},
        {NULL, S3_ADDRESS_AUTO, "eu-west-1", "ab", "k", "https://s3.eu-west-1.amazonaws.com/ab/k",
         "s3.eu-west-1.amazonaws.com"},
        {NULL, S3_ADDRESS_AUTO, "eu-west-1", "", "", "https://s3.eu-west-1.amazonaws.com/",
         "s3.eu-west-1.amazonaws.com"},
        {NULL, S3_ADDRESS_AUTO, "cn-north-1", "buck", "k", "https://buck.s3.cn-north-1.amazonaws.com.cn/k",
         "buck.s3.cn-north-1.amazonaws.com.cn"},
        {NULL, S3_ADDRESS_AUTO, "us-iso-east-1", "buck", "k", "https://buck.s3.us-iso-east-1.c2s.ic.gov/k",
         "buck.s3.us-iso-east-1.c2s.ic.gov"},
        {NULL, S3_ADDRESS_AUTO, "us-isob-east-1", "buck", "k", "https://buck.s3.us-isob-east-1.sc2s.sgov.gov/k",
         "buck.s3.us-isob-east-1.sc2s.sgov.gov"},
        {NULL, S3_ADDRESS_AUTO, "us-gov-west-1", "buck", "k", "https://buck.s3.us-gov-west-1.amazonaws.com/k",
         "buck.s3.us-gov-west-1.amazonaws.com"},
        {NULL, S3_ADDRESS_PATH, "eu-west-1", "buck", "k", "https://s3.eu-west-1.amazonaws.com/buck/k",
         "s3.eu-west-1.amazonaws.com"},
        {"http://Example.COM:80", S3_ADDRESS_VIRTUAL, "r", "buck", "k", "http://buck.example.com/k",
         "buck.example.com"},
        {"http://Example.COM:80", S3_ADDRESS_VIRTUAL, "r", "with.dots", "k", "http://with.dots.example.com/k",
         "with.dots.example.com"},
        {"https://example.com:9000/", S3_ADDRESS_VIRTUAL, "r", "with.dots", "k", "https://example.com:9000/with.dots/k",
         "example.com:9000"},
        {"https://minio.example:443", S3_ADDRESS_AUTO, "r", "buck", "k", "https://minio.example/buck/k",
         "minio.example"},
        {"http://[::1]:9000", S3_ADDRESS_AUTO, "r", "buck", "", "http://[::1]:9000/buck", "[::1]:9000"},
        {"http://[::1]", S3_ADDRESS_AUTO, "r", "", "", "http://[::1]/", "[::1]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct s3_options o = {.endpoint = cases[i].endpoint, .addressing = cases[i].addressing};
        struct s3_endpoint endpoint;
        struct err err = {0};
        assert_int_equal(s3_endpoint_init(&endpoint, &o, &err), 0);
        struct buf out = {0};
        struct s3_url url;
        assert_int_equal(s3_endpoint_url(&endpoint, bytes_str(cases[i].region), bytes_str(cases[i].bucket),
                                         bytes_str(cases[i].key), &out, &url),
                         0);
        assert_string_equal(out.p, cases[i].url);
        assert_true(bytes_equal(bytes_of(out.p + url.host_at, url.host_n), bytes_str(cases[i].host)));
        assert_ptr_equal(strchr(out.p + 8, '/'), out.p + url.path_at);
        assert_int_equal(url.path_at + url.path_n, out.n);
        buf_free(&out);
        s3_endpoint_free(&endpoint);
    }
}

static void options_that_cannot_be_right(void **state) {
    static const char *const endpoints[] = {"",           "example.com",   "ftp://x",    "http://",
                                            "http://a/b", "http://u@h",    "http://h:0", "http://h:65536",
                                            "http://h:",  "http://h:x",    "http://h?q", "http://[::1",
                                            "http://a b", "http://[::1]x", "http://h\n"};
    struct err err = {0};
    struct s3_client *client;
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        struct s3_options o = world_options();
        o.endpoint = endpoints[i];
        err.text[0] = '\0';
        assert_int_equal(s3_client_new(&world.loop, &o, &client, &err), -EINVAL);
        assert_non_null(strstr(err.text, "endpoint"));
    }
    struct s3_options o = world_options();
    o.region = "eu west";
    assert_int_equal(s3_client_new(&world.loop, &o, &client, &err), -EINVAL);
    o = world_options();
    o.ca_bundle = "/nonexistent/ca.pem";
    assert_int_equal(s3_client_new(&world.loop, &o, &client, &err), -EINVAL);
    o = world_options();
    o.user_agent = "a\r\nb: c";
    assert_int_equal(s3_client_new(&world.loop, &o, &client, &err), -EINVAL);
    o = world_options();
    o.addressing = S3_ADDRESS_VIRTUAL;
    assert_int_equal(s3_client_new(&world.loop, &o, &client, &err), -EINVAL);
    o = world_options();
    o.credentials = NULL;
    assert_int_equal(s3_client_new(&world.loop, &o, &client, &err), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(urls_by_endpoint_and_style),
        WORLD_TEST(options_that_cannot_be_right),
    };
    return cmocka_run_group_tests_name("s3 endpoint", tests, NULL, NULL);
}
