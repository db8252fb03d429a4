/* Where keys come from: environment, files, profiles, precedence, broken files. */
#include "credentials_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void refuse(const char *profile, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void refuse(const char *profile, int code, const char *format, ...) {
    struct credentials_provider *provider = NULL;
    struct err err = {0};
    char want[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(want, sizeof want, format, args);
    va_end(args);
    assert_int_equal(credentials_open(&world.loop, &world_env, profile, &world_clock, &provider, &err), code);
    assert_null(provider);
    assert_string_equal(err.text, want);
    assert_int_equal(err.code, code);
}

static void check_static(const char *profile, const char *id, const char *secret, const char *token, const char *source,
                         const char *file) {
    struct credentials_provider *provider = world_open(profile);
    struct answer answer = answer_now(provider);
    assert_true(answer.keys);
    assert_string_equal(answer.id, id);
    assert_string_equal(answer.secret, secret);
    assert_string_equal(answer.token, token);
    char want[512];
    snprintf(want, sizeof want, "%s%s%s", source, file ? world.home : "", file ? file : "");
    assert_string_equal(credentials_source(provider), want);
    credentials_close(provider);
}

static void test_environment(void **state) {
    world_set("AWS_ACCESS_KEY_ID", "ENVID");
    world_set("AWS_SECRET_ACCESS_KEY", "env/secret");
    check_static(NULL, "ENVID", "env/secret", "", "environment", NULL);
    world_set("AWS_SESSION_TOKEN", "tok==");
    check_static(NULL, "ENVID", "env/secret", "tok==", "environment", NULL);
    /* The files are not even read then. */
    world_write_credentials("broken");
    check_static(NULL, "ENVID", "env/secret", "tok==", "environment", NULL);
    world_set("AWS_PROFILE", "%s", "");
    check_static(NULL, "ENVID", "env/secret", "tok==", "environment", NULL);
    /* Renewing gives nothing new. */
    struct credentials_provider *provider = world_open("");
    struct answer answer = answer_now(provider);
    credentials_refused(provider, answer.generation);
    struct answer again = answer_now(provider);
    assert_true(again.keys);
    assert_int_equal(again.generation, answer.generation);
    credentials_close(provider);
    credentials_close(NULL);
}

static void test_broken_environment(void **state) {
    world_set("AWS_SECRET_ACCESS_KEY", "env/secret");
    refuse(NULL, -EINVAL, "AWS_SECRET_ACCESS_KEY is set, but AWS_ACCESS_KEY_ID is not");
    world_set("AWS_SECRET_ACCESS_KEY", "%s", "");
    world_set("AWS_ACCESS_KEY_ID", "ENVID");
    refuse(NULL, -EINVAL, "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not");
    world_set("AWS_SECRET_ACCESS_KEY", "env/secret\n");
    refuse(NULL, -EINVAL,
           "AWS_SECRET_ACCESS_KEY holds a space or a character that is not printable ASCII (character 11)");
    char longest[CREDENTIALS_SECRET_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    world_set("AWS_SECRET_ACCESS_KEY", "%s", longest);
    refuse(NULL, -EINVAL, "AWS_SECRET_ACCESS_KEY is longer than %d characters", CREDENTIALS_SECRET_MAX);
    world_set("AWS_SECRET_ACCESS_KEY", "%s", longest + 1);
    check_static(NULL, "ENVID", longest + 1, "", "environment", NULL);
}

static void test_files(void **state) {
    world_write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S # c\n"
                            "[two]\nAWS_Access_Key_Id = A2\naws_secret_access_key = S2\naws_session_token = T2\n"
                            "[two words]\naws_access_key_id = A3\naws_secret_access_key = S3\n"
                            "[profile odd]\naws_access_key_id = no\naws_secret_access_key = no\n");
    world_write_config("[default]\nregion = eu-west-1\naws_access_key_id = C\naws_secret_access_key = CS\n"
                       "[profile four]\naws_access_key_id = A4\naws_secret_access_key = S4\n"
                       "[profile \"five x\"]\naws_access_key_id = A5\naws_secret_access_key = S5\n"
                       "[six]\naws_access_key_id = no\naws_secret_access_key = no\n");
    check_static(NULL, "A", "S", "", "profile 'default' in ", "/.aws/credentials");
    check_static("two", "A2", "S2", "T2", "profile 'two' in ", "/.aws/credentials");
    check_static("two words", "A3", "S3", "", "profile 'two words' in ", "/.aws/credentials");
    check_static("four", "A4", "S4", "", "profile 'four' in ", "/.aws/config");
    check_static("five x", "A5", "S5", "", "profile 'five x' in ", "/.aws/config");
    refuse("six", -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not looked at when a profile is asked for by name, and there is no "
           "profile 'six' in %s/.aws/credentials or %s/.aws/config",
           world.home, world.home);
    refuse("odd", -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not looked at when a profile is asked for by name, and there is no "
           "profile 'odd' in %s/.aws/credentials or %s/.aws/config",
           world.home, world.home);
    /* A profile asked for by name counts more than keys in the environment; the argument more than AWS_PROFILE. */
    world_set("AWS_ACCESS_KEY_ID", "ENVID");
    world_set("AWS_SECRET_ACCESS_KEY", "env/secret");
    check_static(NULL, "ENVID", "env/secret", "", "environment", NULL);
    world_set("AWS_PROFILE", "two");
    check_static(NULL, "A2", "S2", "T2", "profile 'two' in ", "/.aws/credentials");
    check_static("four", "A4", "S4", "", "profile 'four' in ", "/.aws/config");
    world_set("AWS_PROFILE", "default");
    check_static(NULL, "A", "S", "", "profile 'default' in ", "/.aws/credentials");
}

static void test_other_paths(void **state) {
    world_write_file("c", "[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
    world_write_file("d", "[default]\naws_access_key_id = B\naws_secret_access_key = no\n"
                          "[profile default]\naws_access_key_id = B\n"
                          "[default]\naws_secret_access_key = no\n"
                          "[profile default]\naws_secret_access_key = S\n");
    world_set("AWS_SHARED_CREDENTIALS_FILE", "%s/c", world.home);
    check_static(NULL, "A", "S", "", "profile 'default' in ", "/c");
    world_set("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/c");
    world_set("AWS_CONFIG_FILE", "~/d"); /* and there [profile default] counts more than [default] */
    check_static(NULL, "B", "S", "", "profile 'default' in ", "/d");
    world_set("AWS_CONFIG_FILE", "/dev/null");
    refuse(NULL, -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not set, and there is no profile 'default' in /nonexistent/c or "
           "/dev/null");
    world.n_variables = 0; /* no HOME */
    refuse(NULL, -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not set, and there is no profile 'default' in ~/.aws/credentials or "
           "~/.aws/config (HOME is not set)");
}

static void test_broken_files(void **state) {
    world_write_credentials("[default]\naws_access_key_id = A\n");
    refuse(NULL, -EINVAL, "%s/.aws/credentials:2: profile 'default' has aws_access_key_id but no aws_secret_access_key",
           world.home);
    world_write_credentials("[default]\n\naws_secret_access_key = S\naws_access_key_id =\n");
    refuse(NULL, -EINVAL, "%s/.aws/credentials:3: profile 'default' has aws_secret_access_key but no aws_access_key_id",
           world.home);
    world_write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S E\n");
    refuse(NULL, -EINVAL,
           "%s/.aws/credentials:3: aws_secret_access_key holds a space or a character that is not printable ASCII "
           "(character 2)",
           world.home);
    world_write_credentials("[default]\nS/E/C/R/E/T\n");
    refuse(NULL, -EINVAL, "%s/.aws/credentials: line 2: neither a [section], nor key = value, nor a comment",
           world.home);
    world_write_credentials("[default]\nregion = x\n");
    refuse(NULL, -ENOENT,
           "no credentials: AWS_ACCESS_KEY_ID is not set, and neither keys nor a credential_process are set for "
           "profile 'default' in %s/.aws/credentials or %s/.aws/config",
           world.home, world.home);
    world_write_config("[default\n");
    refuse(NULL, -EINVAL, "%s/.aws/config: line 1: a section without its ']'", world.home);
    world_write_config("[default]\ncredential_process = a 'b\n");
    refuse(NULL, -EINVAL, "%s/.aws/config:2: credential_process: the command has an open quote", world.home);
    world_set("AWS_CONFIG_FILE", "%s", world.home);
    refuse(NULL, -EINVAL, "cannot read %s: Is a directory", world.home);
    world_set("AWS_CONFIG_FILE", "/dev/zero");
    refuse(NULL, -EINVAL, "/dev/zero: larger than 1048576 bytes");
    world_set("AWS_CONFIG_FILE", "/dev/null");
    if (geteuid() == 0)
        return; /* root can read everything */
    char path[256];
    snprintf(path, sizeof path, "%s/.aws/credentials", world.home);
    assert_int_equal(chmod(path, 0), 0);
    refuse(NULL, -EACCES, "cannot read %s: Permission denied", path);
}

static void test_other_ways(void **state) {
    world_write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S\n"
                            "[base]\naws_access_key_id = A\naws_secret_access_key = S\n");
    world_write_config("[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = base\n"
                       "[profile sso]\nregion = r\nsso_session = s\n");
    struct credentials_provider *provider = NULL;
    struct err err = {0};
    assert_int_equal(credentials_open(&world.loop, &world_env, NULL, &world_clock, &provider, &err), -EINVAL);
    assert_non_null(strstr(err.text, "/.aws/config:2: profile 'default' has role_arn, which froe does not follow"));
    assert_non_null(strstr(err.text, "aws configure export-credentials --profile default --format process"));
    assert_int_equal(credentials_open(&world.loop, &world_env, "sso", &world_clock, &provider, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/.aws/config:6: profile 'sso' gets its keys by sso_session"));
}

/* Keys of the credentials file, then a process of either file, then keys of the config file. */
static void test_order_in_profile(void **state) {
    world_write_config("[default]\naws_access_key_id = C\naws_secret_access_key = S\n"
                       "credential_process = echo '{\"Version\":1,\"AccessKeyId\":\"P\",\"SecretAccessKey\":\"S\"}'\n");
    struct credentials_provider *provider = world_open(NULL);
    assert_string_equal(answer_later(provider).id, "P");
    credentials_close(provider);
    world_write_credentials(
        "[default]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"Q\",\"SecretAccessKey\":\"S\"}'");
    provider = world_open(NULL);
    assert_string_equal(answer_later(provider).id, "Q");
    credentials_close(provider);
    world_write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
    check_static(NULL, "A", "S", "", "profile 'default' in ", "/.aws/credentials");
}

static void test_process_environment(void **state) {
    assert_int_equal(setenv("FROE_TEST_OF_ENV", "x", 1), 0);
    assert_string_equal(env_process.get(env_process.arg, "FROE_TEST_OF_ENV"), "x");
    assert_null(env_process.get(env_process.arg, "FROE_TEST_OF_ENV_2"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_environment),      WORLD_TEST(test_broken_environment),  WORLD_TEST(test_files),
        WORLD_TEST(test_other_paths),      WORLD_TEST(test_broken_files),        WORLD_TEST(test_other_ways),
        WORLD_TEST(test_order_in_profile), WORLD_TEST(test_process_environment),
    };
    return cmocka_run_group_tests_name("s3/credentials", tests, NULL, NULL);
}
