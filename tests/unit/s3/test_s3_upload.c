/* test_s3_upload.c - multipart uploads, copies and tags against the fake server: what comes out whole, and what is left
 * behind when any of the requests fails. */
#include "mem.h"
#include "mock.h"
#include "s3_private.h"
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define PART 1000
#define SIZE 3500  /* four parts */
#define REQUESTS 6 /* that one upload takes: its beginning, four parts, its end */

/* A body whose bytes follow from their places, and what came of storing it. */
struct source {
    struct seen seen; /* the first: the callbacks' one argument is both */
    uint64_t size;
    uint64_t fails_at; /* the first byte that cannot be read; 0: none */
};

static struct mock *mock;

static char byte_at(uint64_t at) {
    return (char)('a' + at * 7 % 23);
}

static int64_t read_source(void *arg, uint64_t offset, void *to, size_t n) {
    const struct source *source = arg;
    assert_true(offset + n <= source->size);
    if (source->fails_at && offset + n > source->fails_at)
        return -EIO;
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = byte_at(offset + i);
    return (int64_t)n;
}

static struct s3_options mock_client_options(void) {
    static char url[64];
    struct s3_options o = world_options();
    snprintf(url, sizeof url, "http://127.0.0.1:%u", mock_port(mock));
    o.endpoint = url;
    o.stall_timeout_us = 10 * US_PER_S;
    o.retry_base_us = 10;
    return o;
}

static void start_mock(const char *faults) {
    struct err err = {0};
    const struct mock_options options = {.faults = faults, .min_part = PART};
    if (mock)
        mock_stop(mock);
    mock = NULL;
    assert_int_equal(mock_start(&options, &mock, &err), 0);
    assert_int_equal(mock_put(mock, BUCKET, BYTES("other"), BYTES("x"), NULL), 0);
    world.provider.keys.access_key_id = BYTES("test");
    world.provider.keys.secret_access_key = BYTES("test");
    world_use(mock_client_options());
}

static int stop_mock(void **state) {
    int r = world_teardown(state);
    mock_stop(mock);
    mock = NULL;
    return r;
}
#define MOCK_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, stop_mock)

static int begin(struct source *source, const struct s3_put_options *options) {
    world.busy = true;
    int r = s3_put_stream(world.client, BUCKET, KEY, source->size, read_source, options, PART, seen_put, source,
                          &source->seen.call);
    world.busy = false;
    return r;
}

static void put(struct source *source, const struct s3_put_options *options) {
    assert_int_equal(begin(source, options), 0);
    seen_finish(&source->seen);
}

static bool exists(void) {
    struct seen s = {0};
    world_call(&s, HEAD);
    bool is = s.status == S3_OK;
    assert_true(is || s.status == S3_NO_KEY);
    seen_free(&s);
    return is;
}

static void check_stored(uint64_t size) {
    struct seen s = {0};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(s.body.n, size);
    for (uint64_t i = 0; i < size; i++)
        assert_int_equal(s.body.p[i], byte_at(i));
    seen_free(&s);
}

static void parts_become_one_object(void **state) {
    static const struct {
        uint64_t size;
        const char *parts;
    } cases[] = {{1000, ""}, {1001, "-2\""}, {2000, "-2\""}, {3500, "-4\""}, {100000, "-100\""}};
    start_mock(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct source source = {.size = cases[i].size};
        put(&source, NULL);
        assert_string_equal(source.seen.text, "");
        assert_int_equal(source.seen.status, S3_OK);
        assert_non_null(strstr(source.seen.out.p, cases[i].parts));
        assert_int_equal(mock_uploads(mock), 0);
        check_stored(cases[i].size);
        seen_free(&source.seen);
    }
    assert_int_equal(world_counters().put, 1);
    struct source large = {.size = PART * UINT64_C(10000) + 1};
    assert_int_equal(begin(&large, NULL), -EINVAL);
}

static void it_is_stored_as_the_options_say(void **state) {
    const struct s3_header metadata = {BYTES("m"), BYTES("n")};
    const struct s3_put_options options = {.content_type = BYTES("a/b"),
                                           .storage_class = BYTES("STANDARD_IA"),
                                           .tagging = BYTES("t=1%202&u="),
                                           .metadata = &metadata,
                                           .n_metadata = 1};
    static const uint64_t sizes[] = {10, SIZE};
    for (size_t i = 0; i < 2; i++) {
        start_mock(NULL);
        struct source source = {.size = sizes[i]};
        put(&source, &options);
        assert_int_equal(source.seen.status, S3_OK);
        seen_free(&source.seen);
        struct seen s = {0};
        world_call(&s, HEAD);
        assert_non_null(strstr(s.out.p, " a/b "));
        assert_non_null(strstr(s.out.p, " m=n"));
        seen_free(&s);
        assert_int_equal(s3_get_tags(world.client, BUCKET, KEY, BYTES_NONE, seen_tags, &s, NULL), 0);
        seen_finish(&s);
        assert_string_equal(s.out.p, "t=1 2;u=;");
        seen_free(&s);
    }
}

/* The n-th request of the upload fails, for every n: once, so that it is mended, and for good. */
static void any_request_may_fail(void **state) {
    static const char *const faults[] = {"error status=500", "error status=503 code=SlowDown", "reset"};
    char order[200];
    for (size_t kind = 0; kind < sizeof faults / sizeof *faults; kind++) {
        for (int n = 0; n < REQUESTS; n++) {
            for (int times = 1; times <= 3; times += 2) {
                snprintf(order, sizeof order, "%s op=create-upload,upload-part,complete-upload count=%d after-n=%d",
                         faults[kind], times == 1 ? 1 : 1000, n);
                start_mock(order);
                struct source source = {.size = SIZE};
                put(&source, NULL);
                assert_int_equal(source.seen.status == S3_OK, times == 1);
                assert_int_equal(source.seen.throttled, kind == 1 ? times : 0);
                assert_null(strstr(source.seen.text, "left behind"));
                assert_int_equal(mock_uploads(mock), 0);
                assert_int_equal(exists(), times == 1);
                if (times == 1)
                    check_stored(SIZE);
                else
                    assert_non_null(strstr(source.seen.text, " of bucket-1/key"));
                seen_free(&source.seen);
            }
        }
    }
}

static void a_lost_answer_to_a_part_or_the_end_changes_nothing(void **state) {
    char order[200];
    for (int n = 1; n < REQUESTS; n++) {
        snprintf(order, sizeof order, "reset op=upload applied=yes count=1 after-n=%d", n);
        start_mock(order);
        struct source source = {.size = SIZE};
        put(&source, NULL);
        assert_string_equal(source.seen.text, "");
        assert_int_equal(source.seen.status, S3_OK);
        assert_non_null(strstr(source.seen.out.p, "-4\""));
        assert_int_equal(mock_uploads(mock), 0);
        check_stored(SIZE);
        seen_free(&source.seen);
    }
}

static void an_error_in_a_200_is_an_error(void **state) {
    static const char *const how[] = {"error", "cut", "junk"};
    char order[200];
    for (size_t i = 0; i < 3; i++) {
        for (int times = 1; times <= 3; times += 2) {
            snprintf(order, sizeof order, "badxml op=complete-upload how=%s count=%d", how[i], times);
            start_mock(order);
            struct source source = {.size = SIZE};
            put(&source, NULL);
            /* cut and junk: it was completed, which only a look tells */
            assert_int_equal(source.seen.status, i > 0 || times == 1 ? S3_OK : S3_SERVER);
            assert_int_equal(exists(), source.seen.status == S3_OK);
            assert_int_equal(mock_uploads(mock), 0);
            seen_free(&source.seen);
        }
    }
}

static void an_abort_that_fails_is_told(void **state) {
    start_mock("error op=upload-part status=403 code=AccessDenied after-n=1; error op=abort-upload status=500");
    struct source source = {.size = SIZE};
    put(&source, NULL);
    assert_int_equal(source.seen.status, S3_DENIED);
    assert_int_equal(source.seen.http_status, 403);
    assert_string_equal(source.seen.code, "AccessDenied");
    assert_non_null(strstr(source.seen.text, "PUT part of bucket-1/key (part 2): 403"));
    assert_non_null(strstr(source.seen.text, "its upload is left behind: ABORT upload of bucket-1/key: 500"));
    assert_int_equal(mock_uploads(mock), 1);
    assert_false(exists());
    seen_free(&source.seen);
}

static void a_body_that_cannot_be_read_leaves_nothing(void **state) {
    start_mock(NULL);
    for (uint64_t at = 1; at < SIZE; at += 700) {
        struct source source = {.size = SIZE, .fails_at = at};
        put(&source, NULL);
        assert_int_equal(source.seen.status, S3_BAD_REQUEST);
        assert_non_null(strstr(source.seen.text, "cannot be read"));
        assert_int_equal(mock_uploads(mock), 0);
        assert_false(exists());
        seen_free(&source.seen);
    }
}

static void cancelled_after_any_request(void **state) {
    start_mock(NULL);
    for (uint64_t n = 0; n < REQUESTS; n++) {
        for (int later = 0; later < 3; later++) {
            struct source source = {.size = SIZE};
            uint64_t before = world_counters().upload;
            assert_int_equal(begin(&source, NULL), 0);
            while (world_counters().upload - before < n + 1 && !source.seen.dones)
                uv_run(&world.loop, UV_RUN_ONCE);
            for (int i = 0; i < later && !source.seen.dones; i++)
                uv_run(&world.loop, UV_RUN_ONCE);
            if (!source.seen.dones)
                s3_cancel(source.seen.call);
            seen_finish(&source.seen);
            assert_true(source.seen.status == S3_CANCELLED || source.seen.status == S3_OK);
            assert_null(strstr(source.seen.text, "left behind"));
            assert_int_equal(mock_uploads(mock), 0);
            seen_free(&source.seen);
            struct seen s = {0};
            world_call(&s, DELETE);
            seen_free(&s);
        }
    }
}

static void closing_clears_up(void **state) {
    for (uint64_t n = 1; n < REQUESTS - 1; n++) { /* while it begins, nobody knows what to clear up */
        start_mock(NULL);
        struct source source = {.size = SIZE};
        assert_int_equal(begin(&source, NULL), 0);
        while (world_counters().upload < n + 1)
            uv_run(&world.loop, UV_RUN_ONCE);
        world_close_client();
        world.client = NULL;
        assert_int_equal(source.seen.status, S3_CANCELLED);
        assert_int_equal(mock_uploads(mock), 0);
        seen_free(&source.seen);
    }
}

static void without_memory_it_fails_whole(void **state) {
    static const char created[] = "HTTP/1.1 200 OK\r\nContent-Length: 87\r\n\r\n<InitiateMultipartUploadResult>"
                                  "<UploadId>u</UploadId></InitiateMultipartUploadResult>  ";
    static const char part[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n";
    static const char completed[] = "HTTP/1.1 200 OK\r\nContent-Length: 91\r\n\r\n<CompleteMultipartUploadResult>"
                                    "<ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>          ";
    world_close_client();
    for (uint64_t n = 1;; n++) {
        script_server_close(world.server);
        world_run_ms(1);
        world.server = script_server_new(&world.loop);
        for (size_t i = 0; i < 8; i++)
            buf_reserve(&world.server->requests[i], 8192);
        const char *const answers[] = {created, part, part, completed};
        for (size_t i = 0; i < 4; i++)
            script_add(world.server, (struct script_answer){.text = answers[i]});
        world.server->fallback.text = "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n";
        struct s3_options o = world_options();
        o.max_attempts = 1;
        o.stall_timeout_us = 100 * US_PER_MS;
        struct err err = {0};
        struct source source = {.size = 2 * PART};
        buf_reserve(&source.seen.out, 4096);
        mem_fail_at(n, 0);
        int r = s3_client_new(&world.loop, &o, &world.client, &err);
        bool made = r == 0;
        if (made)
            r = s3_put_stream(world.client, BUCKET, KEY, source.size, read_source, NULL, PART, seen_put, &source,
                              &source.seen.call);
        if (r == 0)
            seen_finish(&source.seen);
        uint64_t used = mem_fail_count();
        mem_fail_at(0, 0);
        if (made) {
            world.closed = false;
            world_close_client();
        }
        assert_true(r == 0 || r == -ENOMEM);
        bool over = r == 0 && used < n;
        if (over)
            assert_int_equal(source.seen.status, S3_OK);
        seen_free(&source.seen);
        world.server->n_requests = 8; /* all that was reserved is freed */
        if (over)
            break;
    }
}

/* ---- only begun ---- */

static void probe(struct seen *s, const struct s3_put_options *options) {
    world.busy = true;
    assert_int_equal(s3_probe_put(world.client, BUCKET, KEY, options, seen_put, s, &s->call), 0);
    world.busy = false;
    seen_finish(s);
}

static void a_probe_tells_and_leaves_nothing(void **state) {
    const struct s3_put_options tagged = {.tagging = BYTES("a=b"), .storage_class = BYTES("STANDARD_IA")};
    static const struct {
        const char *faults;
        enum s3_status status;
        const char *text;
        size_t left;
    } cases[] = {
        {NULL, S3_OK, "", 0},
        {"error op=create-upload status=500 count=1", S3_OK, "", 0},
        {"error op=create-upload status=403 code=AccessDenied", S3_DENIED, "upload of bucket-1/key: 403", 0},
        {"error op=abort-upload status=403 code=AccessDenied", S3_DENIED, "its upload is left behind", 1},
        {"error op=abort-upload status=500", S3_SERVER, "its upload is left behind", 1},
        {"reset op=abort-upload applied=yes count=1", S3_OK, "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen s = {0};
        start_mock(cases[i].faults);
        probe(&s, i % 2 ? &tagged : NULL);
        assert_non_null(strstr(s.text, cases[i].text));
        assert_int_equal(s.status, cases[i].status);
        assert_int_equal(mock_uploads(mock), cases[i].left);
        assert_false(exists());
        seen_free(&s);
    }
}

/* ---- copies ---- */

static void put_source(struct seen *s) {
    static char body[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        body[i] = byte_at(i);
    const struct s3_header metadata = {BYTES("m"), BYTES("n")};
    assert_int_equal(s3_put(world.client, BUCKET, BYTES("a b/\xc3\xa9+%?"), bytes_of(body, SIZE), BYTES("a/b"),
                            &metadata, 1, seen_put, s, NULL),
                     0);
    seen_finish(s);
    assert_int_equal(s->status, S3_OK);
    s->out.n = 34; /* the ETag alone */
    const struct s3_tag tags[] = {{BYTES("t 1"), BYTES("a+b")}, {BYTES("u"), BYTES_NONE}};
    struct seen t = {0};
    assert_int_equal(
        s3_put_tags(world.client, BUCKET, BYTES("a b/\xc3\xa9+%?"), BYTES_NONE, tags, 2, seen_tags, &t, NULL), 0);
    seen_finish(&t);
    assert_int_equal(t.status, S3_OK);
    seen_free(&t);
}

static void copies_in_one_and_in_parts(void **state) {
    for (int in_parts = 0; in_parts < 2; in_parts++) {
        for (int replaces = 0; replaces < 2; replaces++) {
            start_mock(NULL);
            struct seen s = {0}, t = {0};
            put_source(&s);
            if (in_parts) {
                world.client->copy_max = 2 * PART;
                world.client->copy_part = PART;
            }
            struct s3_copy_source source = {
                .bucket = BUCKET, .key = BYTES("a b/\xc3\xa9+%?"), .etag = buf_bytes(&s.out), .size = SIZE};
            struct s3_put_options options = {.content_type = BYTES("c/d"), .tagging = BYTES("only=this")};
            assert_int_equal(
                s3_copy(world.client, &source, BUCKET, KEY, replaces ? &options : NULL, seen_put, &t, &t.call), 0);
            seen_finish(&t);
            assert_string_equal(t.text, "");
            assert_int_equal(t.status, S3_OK);
            assert_int_equal(strstr(t.out.p, "-4\"") != NULL, in_parts);
            seen_free(&t);
            check_stored(SIZE);
            world_call(&t, HEAD);
            assert_non_null(strstr(t.out.p, replaces ? " c/d " : " a/b "));
            assert_int_equal(strstr(t.out.p, " m=n") != NULL, !replaces);
            seen_free(&t);
            assert_int_equal(s3_get_tags(world.client, BUCKET, KEY, BYTES_NONE, seen_tags, &t, NULL), 0);
            seen_finish(&t);
            assert_string_equal(t.out.p, replaces ? "only=this;" : "t 1=a+b;u=;");
            seen_free(&t);
            /* somebody overwrote it */
            source.etag = BYTES("\"00000000000000000000000000000000\"");
            assert_int_equal(s3_copy(world.client, &source, BUCKET, BYTES("k2"), NULL, seen_put, &t, &t.call), 0);
            seen_finish(&t);
            assert_int_equal(t.status, S3_PRECONDITION);
            seen_free(&t);
            source.key = BYTES("gone");
            assert_int_equal(s3_copy(world.client, &source, BUCKET, BYTES("k2"), NULL, seen_put, &t, &t.call), 0);
            seen_finish(&t);
            assert_int_equal(t.status, S3_NO_KEY);
            seen_free(&t);
            assert_int_equal(mock_uploads(mock), 0);
            seen_free(&s);
        }
    }
}

static void a_copy_in_parts_may_fail_anywhere(void **state) {
    char order[200];
    for (int n = 0; n < REQUESTS; n++) {
        snprintf(order, sizeof order, "error op=upload status=500 count=3 after-n=%d", n);
        start_mock(order);
        struct seen s = {0}, t = {0};
        put_source(&s);
        world.client->copy_max = world.client->copy_part = PART;
        struct s3_copy_source source = {.bucket = BUCKET, .key = BYTES("a b/\xc3\xa9+%?"), .size = SIZE};
        assert_int_equal(s3_copy(world.client, &source, BUCKET, KEY, NULL, seen_put, &t, &t.call), 0);
        seen_finish(&t);
        assert_int_equal(t.status, S3_SERVER);
        assert_int_equal(mock_uploads(mock), 0);
        assert_false(exists());
        seen_free(&s);
        seen_free(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MOCK_TEST(parts_become_one_object),
        MOCK_TEST(it_is_stored_as_the_options_say),
        MOCK_TEST(any_request_may_fail),
        MOCK_TEST(a_lost_answer_to_a_part_or_the_end_changes_nothing),
        MOCK_TEST(an_error_in_a_200_is_an_error),
        MOCK_TEST(an_abort_that_fails_is_told),
        MOCK_TEST(a_body_that_cannot_be_read_leaves_nothing),
        MOCK_TEST(cancelled_after_any_request),
        MOCK_TEST(a_probe_tells_and_leaves_nothing),
        MOCK_TEST(closing_clears_up),
        WORLD_TEST(without_memory_it_fails_whole),
        MOCK_TEST(copies_in_one_and_in_parts),
        MOCK_TEST(a_copy_in_parts_may_fail_anywhere),
    };
    return cmocka_run_group_tests_name("s3 upload", tests, NULL, NULL);
}
