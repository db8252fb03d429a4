/* test_s3_keys.c - what a signature needs: the right time, and keys that are there and still count. */
#include "s3_signed.h"
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_wrong_clock_is_corrected(void **state) {
    world.utc_us = INT64_C(1000000000) * US_PER_S;
    const char *date = "Date: Sun, 09 Sep 2001 02:46:40 GMT\r\n"; /* an hour later */
    world_add_error(403, date, "RequestTimeTooSkewed", "");
    script_add_body(world.server, 200, "", "");
    script_add_body(world.server, 200, "", "");
    struct seen s = {0};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_string_equal(script_header(world.server, 0, "x-amz-date"), "20010909T014640Z");
    assert_string_equal(script_header(world.server, 1, "x-amz-date"), "20010909T024640Z");
    signed_check(1, "us-east-1");
    seen_free(&s);
    world_call(&s, GET); /* and stays so */
    assert_string_equal(script_header(world.server, 2, "x-amz-date"), "20010909T024640Z");
    seen_free(&s);
    world_use(world_options()); /* a HEAD has no code to say it with */
    script_add(world.server,
               (struct script_answer){.text = "HTTP/1.1 403 x\r\nDate: Sun, 09 Sep 2001 02:46:40 GMT\r\n\r\n"});
    script_add(world.server, (struct script_answer){.text = "HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\n"});
    world_call(&s, HEAD);
    assert_int_equal(s.status, S3_OK);
    seen_free(&s);
    world_use(world_options()); /* only once */
    for (int i = 0; i < 2; i++)
        world_add_error(403, date, "RequestTimeTooSkewed", "");
    world_call(&s, GET);
    assert_int_equal(s.status, S3_CREDENTIALS);
    assert_int_equal(s.attempts, 2);
    seen_free(&s);
}

static void expired_keys_are_renewed_once(void **state) {
    static const char *const codes[] = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"};
    for (size_t i = 0; i < 3; i++) {
        world.provider.refused = 0;
        world.provider.renews = true;
        size_t first = world.server->n_requests;
        world_add_error(400, "", codes[i], "");
        script_add_body(world.server, 200, "", "");
        struct seen s = {0};
        world_call(&s, GET);
        assert_int_equal(s.status, S3_OK);
        assert_int_equal(s.attempts, 2);
        assert_int_equal(world.provider.refused, 1);
        assert_non_null(strstr(script_header(world.server, first + 1, "authorization"), "AKIDNEW"));
        seen_free(&s);
        world_add_error(400, "", codes[i], "");
        world_add_error(400, "", codes[i], "");
        world_call(&s, GET);
        assert_int_equal(s.status, S3_CREDENTIALS);
        assert_int_equal(s.attempts, 2);
        seen_free(&s);
    }
    world.provider.refused = 0;
    world_add_error(403, "", "InvalidAccessKeyId", "");
    struct seen s = {0};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_CREDENTIALS);
    assert_int_equal(s.attempts, 1);
    assert_int_equal(world.provider.refused, 1);
    seen_free(&s);
}

static void keys_that_come_late_or_never(void **state) {
    world.server->fallback.text = EMPTY_OK;
    world.provider.late = true;
    struct seen s[4] = {0};
    world.provider.asked = 0;
    for (int i = 0; i < 4; i++)
        world_begin(&s[i], i % 2 ? GET : DELETE);
    world_run_ms(20);
    assert_int_equal(world.provider.asked, 1);
    assert_int_equal(world.server->n_requests, 0);
    world.busy = true;
    s3_cancel(s[3].call);
    world.busy = false;
    seen_finish(&s[3]);
    assert_int_equal(s[3].status, S3_CANCELLED);
    world.busy = true;
    world_keys_come();
    world.busy = false;
    for (int i = 0; i < 3; i++) {
        seen_finish(&s[i]);
        assert_int_equal(s[i].status, S3_OK);
    }
    for (int i = 0; i < 4; i++)
        seen_free(&s[i]);

    world.provider.fails = true;
    world_call(&s[0], GET);
    assert_int_equal(s[0].status, S3_CREDENTIALS);
    assert_non_null(strstr(s[0].text, "no credentials were found"));
    assert_int_equal(s[0].attempts, 0);
    seen_free(&s[0]);
    world.provider.fails = false;

    struct s3_options o = world_options(); /* the deadline goes on while keys are fetched */
    o.call_deadline_us = 50 * US_PER_MS;
    world_use(o);
    world.provider.late = true;
    world_call(&s[0], DELETE);
    assert_int_equal(s[0].status, S3_TIMEOUT);
    seen_free(&s[0]);
    world_keys_come();

    world.provider.late = true; /* the client may go before the keys come */
    world_begin(&s[0], GET);
    world_close_client();
    assert_int_equal(s[0].status, S3_CANCELLED);
    world_keys_come();
    seen_free(&s[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_wrong_clock_is_corrected),
        WORLD_TEST(expired_keys_are_renewed_once),
        WORLD_TEST(keys_that_come_late_or_never),
    };
    return cmocka_run_group_tests_name("s3 keys", tests, NULL, NULL);
}
