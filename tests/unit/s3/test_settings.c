/* Where settings come from: environment, files, profiles, and values that cannot be right. */
#include "credentials_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct aws_settings settings_of(const char *profile) {
    struct aws_settings settings;
    struct err err = {0};
    int r = aws_settings_read(&world_env, profile, &settings, &err);
    if (r != 0)
        fail_msg("%s", err.text);
    return settings;
}

static void check_settings(const char *profile, const char *endpoint, const char *region, const char *ca_bundle,
                           uint32_t max_attempts) {
    struct aws_settings settings = settings_of(profile);
    assert_string_equal(settings.endpoint ? settings.endpoint : "-", endpoint);
    assert_string_equal(settings.region ? settings.region : "-", region);
    assert_string_equal(settings.ca_bundle ? settings.ca_bundle : "-", ca_bundle);
    assert_int_equal(settings.max_attempts, max_attempts);
    aws_settings_free(&settings);
    aws_settings_free(&settings);
}

static void refuse_settings(const char *profile, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse_settings(const char *profile, int code, const char *format, ...) {
    struct aws_settings settings;
    struct err err = {0};
    char want[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(want, sizeof want, format, args);
    va_end(args);
    assert_int_equal(aws_settings_read(&world_env, profile, &settings, &err), code);
    assert_string_equal(err.text, want);
}

static void test_settings(void **state) {
    check_settings(NULL, "-", "-", "-", 0);
    world_write_config(
        "[default]\nregion = eu-west-1\nmax_attempts = 5\n[profile x]\nregion=x-1\nendpoint_url = http://x:1 # c\n"
        "ca_bundle = /x.pem\n[profile y]\nservices = own\nendpoint_url = http://y\n"
        "[services own]\ndynamodb =\n  endpoint_url = http://no\ns3 =\n  endpoint_url = http://s3.y\n"
        "[services other]\ns3 =\n  endpoint_url = http://no\n[profile empty]\n");
    check_settings(NULL, "-", "eu-west-1", "-", 5);
    check_settings("x", "http://x:1", "x-1", "/x.pem", 0);
    check_settings("y", "http://s3.y", "-", "-", 0);
    check_settings("empty", "-", "-", "-", 0);
    refuse_settings("z", -ENOENT, "there is no profile 'z' in %s/.aws/credentials or %s/.aws/config", world.home,
                    world.home);
    world_write_credentials("[z]\nregion = z-1\n");
    check_settings("z", "-", "z-1", "-", 0);
    /* The environment counts more. */
    world_set("AWS_PROFILE", "y");
    world_set("AWS_DEFAULT_REGION", "d-1");
    world_set("AWS_ENDPOINT_URL", "http://e");
    check_settings(NULL, "http://e", "d-1", "-", 0);
    world_set("AWS_REGION", "r-1");
    world_set("AWS_ENDPOINT_URL_S3", "http://s");
    world_set("AWS_CA_BUNDLE", "/e.pem");
    world_set("AWS_MAX_ATTEMPTS", "7");
    check_settings(NULL, "http://s", "r-1", "/e.pem", 7);
    world_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True");
    check_settings(NULL, "-", "r-1", "/e.pem", 7);
    world_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false");
    check_settings(NULL, "http://s", "r-1", "/e.pem", 7);
}

static void test_broken_settings(void **state) {
    static const char *const bad[] = {"0", "-1", "x", "4294967296", "3 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        world.n_variables = 1;
        world_set("AWS_MAX_ATTEMPTS", "%s", bad[i]);
        refuse_settings(NULL, -EINVAL, "AWS_MAX_ATTEMPTS must be a whole number from 1");
    }
    world.n_variables = 1;
    world_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "maybe");
    refuse_settings(NULL, -EINVAL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS must be true or false");
    world.n_variables = 1;
    world_write_config("[default]\nmax_attempts = many\n[profile x]\nignore_configured_endpoint_urls = perhaps\n"
                       "[profile y]\nendpoint_url = http://y\nignore_configured_endpoint_urls = true\n");
    refuse_settings(NULL, -EINVAL, "%s/.aws/config:2: max_attempts must be a whole number from 1", world.home);
    refuse_settings("x", -EINVAL, "%s/.aws/config:4: ignore_configured_endpoint_urls must be true or false",
                    world.home);
    check_settings("y", "-", "-", "-", 0);
    world_write_config("oops");
    refuse_settings(NULL, -EINVAL, "%s/.aws/config: line 1: neither a [section], nor key = value, nor a comment",
                    world.home);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_settings),
        WORLD_TEST(test_broken_settings),
    };
    return cmocka_run_group_tests_name("s3/settings", tests, NULL, NULL);
}
