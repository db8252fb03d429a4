/* test_store_uri.c - which kind a store's URI names, and that a password in it is found and never shown. */
#include "store_uri.h"

#include "cleanup.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_kinds(void **state) {
    assert_int_equal(store_uri_kind("sqlite:/a"), STORE_KIND_SQLITE);
    assert_int_equal(store_uri_kind("sqlite:"), STORE_KIND_NONE);
    assert_int_equal(store_uri_kind("postgres://h/d"), STORE_KIND_POSTGRES);
    assert_int_equal(store_uri_kind("postgresql:///d"), STORE_KIND_POSTGRES);
    static const char *const none[] = {"", "/a", "postgres:h", "postgre://h", "mysql://h", "Sqlite:/a", "postgres//h"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(store_uri_kind(none[i]), STORE_KIND_NONE);
    assert_string_equal(store_uri_path("sqlite:rel/x"), "rel/x");
    assert_null(store_uri_path("postgres://h/d"));
}

static void shows(const char *uri, const char *expected) {
    _cleanup_buf_ struct buf shown = {0};
    assert_int_equal(store_uri_add_shown(&shown, uri), 0);
    assert_string_equal(shown.p, expected);
    assert_int_equal(store_uri_has_password(uri), strcmp(uri, expected) != 0);
    /* What is shown holds none any more, or one that is not worth anything. */
    assert_null(strstr(shown.p, "secret"));
}

static void test_passwords(void **state) {
    shows("sqlite:/u:p@x/?password=y", "sqlite:/u:p@x/?password=y"); /* a path */
    shows("postgres://h/d", "postgres://h/d");
    shows("postgres://u@h:5432/d?sslmode=require", "postgres://u@h:5432/d?sslmode=require");
    shows("postgres://h1:1,h2:2/d?application_name=a@b", "postgres://h1:1,h2:2/d?application_name=a@b");
    shows("postgres://u:secret@h/d", "postgres://u:***@h/d");
    shows("postgresql://u:secret@h/d", "postgresql://u:***@h/d");
    shows("postgres://:secret@h", "postgres://:***@h");
    shows("postgres://u:sec:secret%2Fret@h:1/d", "postgres://u:***@h:1/d");
    shows("postgres://u:sec@secret@h/d", "postgres://u:***@h/d");
    shows("postgres://u:a/secret@h/d", "postgres://u:***@h/d");
    shows("postgres://u:a?secret@h/d", "postgres://u:***@h/d");
    shows("postgres://h/d?password=secret", "postgres://h/d?password=***");
    shows("postgres://h/d?a=b&password=secret&c=d", "postgres://h/d?a=b&password=***&c=d");
    shows("postgres://h/d?PASSWORD=secret", "postgres://h/d?PASSWORD=***");
    shows("postgres://h/d?pass%77ord=secret", "postgres://h/d?pass%77ord=***");
    shows("postgres://h/d?sslpassword=secret", "postgres://h/d?sslpassword=***");
    shows("postgres://u:secret@h/d?password=secret&password=secret", "postgres://u:***@h/d?password=***&password=***");
    shows("host=h user=u password=secret dbname=d", "host=h user=u password=***");
    shows("password = 'a secret'", "password =***");
    shows("host=h\tSslPassword=secret", "host=h\tSslPassword=***");
    shows("host=password user=the-password", "host=password user=the-password");
    shows("mysql://u:secret@h/d", "mysql://u:***@h/d"); /* in an error about it */
}

static void has_file(const char *uri, const char *expected) {
    _cleanup_free_ char *value = NULL;
    assert_int_equal(store_uri_parameter(uri, "passfile", &value), expected != NULL);
    if (expected)
        assert_string_equal(value, expected);
}

static void test_parameters(void **state) {
    has_file("postgres://h/d?passfile=/etc/a", "/etc/a");
    has_file("postgres://h/d?a=b&passfile=/etc/a%20b%2Fc&c=d", "/etc/a b/c");
    has_file("postgres://h/d?passfile=/1&passfile=/2", "/2");
    has_file("postgres://h/d?passfile=%zz%2", "%zz%2");
    has_file("postgres://h/d?passfile=", NULL);
    has_file("postgres://h/d?passfiles=/a&xpassfile=/b", NULL);
    has_file("postgres://h/passfile=/a", NULL);
    has_file("sqlite:/a?passfile=/b", NULL);
    char *value;
    mem_fail_at(1, 0);
    assert_int_equal(store_uri_parameter("postgres://h?passfile=/a", "passfile", &value), -ENOMEM);
    mem_fail_at(0, 0);
}

static void test_any_allocation_may_fail(void **state) {
    for (uint64_t n = 1;; n++) {
        struct buf shown = {0};
        mem_fail_at(n, 0);
        int r = store_uri_add_shown(&shown, "postgres://u:secret@host.example.com/d?password=secret&a=b");
        bool done = mem_fail_count() < n;
        mem_fail_at(0, 0);
        buf_free(&shown);
        if (done) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
