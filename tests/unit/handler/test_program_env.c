/* test_program_env.c - what programs find in their environment, and how they are found. */
#include "support.h"

#include "cleanup.h"
#include "program_env.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *value_of(const char *const *envp, const char *name) {
    size_t n = strlen(name);
    const char *value = NULL;
    for (; *envp; envp++)
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=') {
            assert_null(value); /* no name twice */
            value = *envp + n + 1;
        }
    return value;
}

static size_t count(const char *const *envp) {
    size_t n = 0;
    while (envp[n])
        n++;
    return n;
}

static void set_own_environment(void) {
    clearenv();
    setenv("PATH", "/usr/bin:/bin", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("TZ", "UTC", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    setenv("AWS_SESSION_TOKEN", "secret", 1);
    setenv("PATHOLOGY", "x", 1);
    setenv("LD_PRELOAD_", "x", 1);
}

static void test_object(void **state) {
    set_own_environment();
    struct program_env env;
    assert_int_equal(program_env_init(&env), 0);
    const struct handler_meta metadata[] = {
        {BYTES("Colour-Space"), BYTES("caf\xc3\xa9 \xff")},
        {BYTES("colour_space"), BYTES("a second one of that name")},
        {BYTES("colour"), BYTES("its name begins an earlier one's")},
        {BYTES("x=y"), BYTES("a\0b")},
        {BYTES("empty"), BYTES_NONE},
    };
    struct handler_object object = {
        .bucket = BYTES("bucket-1"),
        .key = BYTES("../a b\n\xc3\xbc+%\0=z"),
        .etag = BYTES("\"d41d8cd9-2\""),
        .version_id = BYTES("v.1"),
        .content_type = BYTES("image/png"),
        .size = UINT64_MAX,
        .attempt = 3,
        .run_id = "12:34",
        .metadata = metadata,
        .n_metadata = 5,
    };
    const char *const *envp;
    for (int again = 0; again < 2; again++) { /* the second time in used memory */
        assert_int_equal(program_env_build(&env, &object, &envp), 0);
        assert_string_equal(value_of(envp, "FROE_BUCKET"), "bucket-1");
        assert_string_equal(value_of(envp, "FROE_KEY"), "../a b\n\xc3\xbc+%");
        assert_string_equal(value_of(envp, "FROE_KEY_URL"), "..%2Fa%20b%0A%C3%BC%2B%25%00%3Dz");
        assert_string_equal(value_of(envp, "FROE_SIZE"), "18446744073709551615");
        assert_string_equal(value_of(envp, "FROE_ETAG"), "d41d8cd9-2");
        assert_string_equal(value_of(envp, "FROE_VERSION_ID"), "v.1");
        assert_string_equal(value_of(envp, "FROE_ATTEMPT"), "3");
        assert_string_equal(value_of(envp, "FROE_RUN_ID"), "12:34");
        assert_string_equal(value_of(envp, "FROE_CONTENT_TYPE"), "image/png");
        assert_string_equal(value_of(envp, "FROE_META_COLOUR_SPACE"), "caf\xc3\xa9 \xff");
        assert_string_equal(value_of(envp, "FROE_META_COLOUR"), "its name begins an earlier one's");
        assert_string_equal(value_of(envp, "FROE_META_X_Y"), "a");
        assert_string_equal(value_of(envp, "FROE_META_EMPTY"), "");
        assert_string_equal(value_of(envp, "PATH"), "/usr/bin:/bin");
        assert_string_equal(value_of(envp, "LC_ALL"), "C.UTF-8");
        assert_string_equal(value_of(envp, "TZ"), "UTC");
        assert_int_equal(count(envp), 3 + 9 + 4); /* and nothing else */
    }
    object = (struct handler_object){.run_id = ""};
    assert_int_equal(program_env_build(&env, &object, &envp), 0);
    assert_string_equal(value_of(envp, "FROE_KEY"), "");
    assert_string_equal(value_of(envp, "FROE_ETAG"), "");
    assert_int_equal(count(envp), 3 + 9); /* nothing left of the one before */
    program_env_free(&env);
}

static void test_too_much(void **state) {
    set_own_environment();
    struct program_env env;
    assert_int_equal(program_env_init(&env), 0);
    static char large[SPAWNER_STRINGS_MAX];
    memset(large, 'x', sizeof large);
    struct handler_meta meta = {BYTES("large"), bytes_of(large, sizeof large)};
    struct handler_object object = {.run_id = "", .metadata = &meta, .n_metadata = 1};
    const char *const *envp;
    assert_int_equal(program_env_build(&env, &object, &envp), -E2BIG);
    object.n_metadata = 0;
    assert_int_equal(program_env_build(&env, &object, &envp), 0);
    program_env_free(&env);
}

static void test_without_memory(void **state) {
    set_own_environment();
    for (uint64_t n = 1;; n++) {
        struct program_env env;
        const struct handler_meta meta = {BYTES("a"), BYTES("b")};
        struct handler_object object = {.run_id = "", .metadata = &meta, .n_metadata = 1};
        const char *const *envp;
        mem_fail_at(n, 0);
        int r = program_env_init(&env);
        if (r == 0) {
            r = program_env_build(&env, &object, &envp);
            program_env_free(&env);
        }
        bool reached = mem_fail_count() >= n;
        mem_fail_at(0, 0);
        assert_int_equal(r, reached ? -ENOMEM : 0);
        if (!reached)
            break;
    }
}

static void make_file(const char *directory, const char *name, mode_t mode) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    _cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

static void finds(const char *name, int code, const char *expected) {
    _cleanup_free_ char *path = NULL;
    struct err err = {0};
    assert_int_equal(program_find(name, &path, &err), code);
    if (expected) {
        assert_non_null(path);
        size_t n = strlen(path), m = strlen(expected);
        assert_true(path[0] == '/' && n >= m);
        assert_string_equal(path + n - m, expected);
    } else {
        assert_null(path);
        if (name[0])
            assert_non_null(strstr(err.text, name));
    }
}

static void test_finding(void **state) {
    char top[] = "/tmp/froe-find-XXXXXX", first[64], second[64], variable[256], here[4096];
    assert_non_null(mkdtemp(top));
    snprintf(first, sizeof first, "%s/1", top);
    snprintf(second, sizeof second, "%s/2", top);
    assert_int_equal(mkdir(first, 0755), 0);
    assert_int_equal(mkdir(second, 0755), 0);
    make_file(first, "plain", 0644);
    make_file(first, "both", 0644);
    make_file(second, "both", 0755);
    make_file(second, "good", 0755);
    snprintf(variable, sizeof variable, "/nonexistent:%s:%s/", first, second);
    setenv("PATH", variable, 1);
    finds("good", 0, "/2/good");
    finds("both", 0, "/2/both"); /* the one that cannot be run does not hide the one that can */
    finds("plain", -EACCES, NULL);
    finds("nowhere", -ENOENT, NULL);
    finds("", -ENOENT, NULL);
    snprintf(variable, sizeof variable, "%s/good", second);
    finds(variable, 0, variable);
    snprintf(variable, sizeof variable, "%s/plain", first);
    finds(variable, -EACCES, NULL);
    finds(second, -EACCES, NULL); /* a directory */
    snprintf(variable, sizeof variable, "%s/good/not-a-directory", second);
    finds(variable, -ENOENT, NULL);
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(second), 0);
    finds("./good", 0, "/2/./good"); /* absolute, whatever becomes the working directory */
    setenv("PATH", ":/nonexistent", 1);
    finds("good", 0, "/2/good");
    assert_int_equal(chdir(here), 0);
    unsetenv("PATH");
    finds("sh", 0, "/bin/sh");
    for (uint64_t n = 1; n < 3; n++) {
        char *path = NULL;
        mem_fail_at(n, 1);
        int r = program_find("sh", &path, NULL);
        bool reached = mem_fail_count() >= n;
        mem_fail_at(0, 0);
        if (reached)
            assert_int_equal(r, -ENOMEM);
        mem_free(path);
    }
    snprintf(variable, sizeof variable, "rm -r '%s'", top);
    setenv("PATH", "/usr/bin:/bin", 1);
    assert_int_equal(system(variable), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_object),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
