/* test_s3_upload_copy.c - copies against the fake server: what they take over, that they are of the very object that
 * was named, and what is left behind when any of their requests fails. */
#include "mem.h"
#include "mock_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static int begin(struct seen *s, const struct s3_copy_source *source) {
    world.busy = true;
    int r = s3_copy(world.client, source, BUCKET, KEY, NULL, seen_put, s, &s->call);
    world.busy = false;
    return r;
}

static void copy(struct seen *s, const struct s3_copy_source *source) {
    assert_int_equal(begin(s, source), 0);
    seen_finish(s);
}

static struct s3_copy_source copied(const struct seen *s) {
    return (struct s3_copy_source){.bucket = BUCKET, .key = COPIED_KEY, .etag = buf_bytes(&s->out), .size = SIZE};
}

static void in_parts(void) {
    world.client->copy_max = 2 * PART;
    world.client->copy_part = PART;
}

static void copies_in_one_and_in_parts(void **state) {
    for (int in_parts = 0; in_parts < 2; in_parts++) {
        for (int replaces = 0; replaces < 2; replaces++) {
            mock_world_start(NULL);
            struct seen s = {0}, t = {0};
            mock_world_put_copied(&s);
            if (in_parts) {
                world.client->copy_max = 2 * PART;
                world.client->copy_part = PART;
            }
            struct s3_copy_source source = {
                .bucket = BUCKET, .key = COPIED_KEY, .etag = buf_bytes(&s.out), .size = SIZE};
            struct s3_put_options options = {.content_type = BYTES("c/d"), .tagging = BYTES("only=this")};
            assert_int_equal(
                s3_copy(world.client, &source, BUCKET, KEY, replaces ? &options : NULL, seen_put, &t, &t.call), 0);
            seen_finish(&t);
            assert_string_equal(t.text, "");
            assert_int_equal(t.status, S3_OK);
            assert_int_equal(strstr(t.out.p, "-4\"") != NULL, in_parts);
            seen_free(&t);
            mock_world_check(SIZE);
            world_call(&t, HEAD);
            assert_non_null(strstr(t.out.p, replaces ? " c/d " : " a/b "));
            assert_int_equal(strstr(t.out.p, " m=n") != NULL, !replaces);
            seen_free(&t);
            mock_world_check_tags(replaces ? "only=this;" : "t 1=a+b;u=;");
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

/* Any of its requests fails, once, so that it is mended, or for good. */
#define COPY_REQUESTS 10 /* HEAD, tags, beginning, four parts, HEAD, end, tags */
static void a_copy_in_parts_may_fail_anywhere(void **state) {
    static const char *const faults[] = {"error status=500", "error status=503 code=SlowDown", "reset",
                                         "reset applied=yes"};
    enum { AT_BEGINNING = 2, AT_END = COPY_REQUESTS - 2, AT_TAGS = COPY_REQUESTS - 1 };
    char order[200];
    for (int i = 0; i < 4 * COPY_REQUESTS * 2; i++) {
        int kind = i / 2 / COPY_REQUESTS, n = i / 2 % COPY_REQUESTS;
        bool once = i % 2 == 0, lost = kind == 3; /* only the answer is */
        if (lost && n == AT_BEGINNING)
            continue; /* nobody knows of what has begun then */
        snprintf(
            order, sizeof order,
            "%s op=head,get-tagging,create-upload,upload-part-copy,complete-upload,put-tagging after-n=%d count=%d",
            faults[kind], 1 + n, once ? 1 : 1000); /* the first is of the source's tags */
        mock_world_start(order);
        struct seen s = {0}, t = {0};
        mock_world_put_copied(&s);
        in_parts();
        struct s3_copy_source source = copied(&s);
        copy(&t, &source);
        bool stored = once || n == AT_TAGS || (lost && n == AT_END);
        assert_int_equal(t.status == S3_OK, once);
        assert_int_equal(t.throttled, kind != 1 ? 0 : once ? 1 : 3);
        assert_int_equal(mock_uploads(mock), 0);
        assert_int_equal(mock_count(mock, BUCKET), stored ? 3 : 2);
        if (stored)
            mock_world_check(SIZE);
        if (once)
            mock_world_check_tags("t 1=a+b;u=;");
        else
            assert_non_null(strstr(t.text, "bucket-1/"));
        seen_free(&s);
        seen_free(&t);
    }
}

static void cancelled_after_any_request(void **state) {
    mock_world_start(NULL);
    struct seen s = {0};
    mock_world_put_copied(&s);
    struct s3_copy_source source = copied(&s);
    for (int parts = 0; parts < 2; parts++) {
        if (parts)
            in_parts();
        for (uint64_t n = 0; n < (parts ? COPY_REQUESTS : 2); n++) {
            struct seen t = {0};
            struct s3_counters c = world_counters();
            uint64_t before = c.upload + c.head + c.tagging + c.copy;
            assert_int_equal(begin(&t, &source), 0);
            for (uint64_t now = before; now < before + n + 1 && !t.dones;
                 now = c.upload + c.head + c.tagging + c.copy) {
                uv_run(&world.loop, UV_RUN_ONCE);
                c = world_counters();
            }
            if (!t.dones)
                s3_cancel(t.call);
            seen_finish(&t);
            assert_true(t.status == S3_CANCELLED || t.status == S3_OK);
            assert_null(strstr(t.text, "left behind"));
            assert_int_equal(mock_uploads(mock), 0);
            seen_free(&t);
            world_call(&t, DELETE);
            seen_free(&t);
        }
    }
    seen_free(&s);
}

/* ---- the very object that was named ---- */

static void the_source_is_looked_at_first(void **state) {
    mock_world_start_with(&(struct mock_options){.ignore_if_match = true});
    struct seen s = {0}, t = {0};
    mock_world_put_copied(&s);
    struct s3_copy_source source = copied(&s);
    copy(&t, &source); /* then the copy's ETag tells */
    assert_int_equal(t.status, S3_OK);
    assert_int_equal(world_counters().head, 1);
    assert_int_equal(t.attempts, 2);
    seen_free(&t);
    world_call(&t, DELETE);
    seen_free(&t);
    source.etag = BYTES("\"00000000000000000000000000000000\"");
    for (int parts = 0; parts < 2; parts++) {
        if (parts)
            in_parts();
        copy(&t, &source);
        assert_int_equal(t.status, S3_PRECONDITION);
        assert_string_equal(t.text, "COPY to bucket-1/key: the source was overwritten");
        assert_string_equal(t.out.p, " ");
        assert_int_equal(t.attempts, 1);
        assert_false(mock_world_exists());
        seen_free(&t);
    }
    assert_int_equal(mock_uploads(mock), 0);
    seen_free(&s);
}

/* Stored in parts and copied in one, so it gets another ETag; and then somebody overwrites it, or not. */
static void a_copy_with_an_etag_of_its_own_is_looked_after(void **state) {
    static const struct {
        const char *faults;
        bool overwritten;
        enum s3_status status;
        uint64_t heads;
    } cases[] = {
        {NULL, false, S3_OK, 2},
        {"error op=head status=403 after-n=1", false, S3_DENIED, 2},
        {"latency op=copy ms=20", true, S3_PRECONDITION, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mock_world_start_with(&(struct mock_options){.ignore_if_match = true, .faults = cases[i].faults});
        struct source source = {.size = SIZE};
        source_put(&source, NULL);
        struct s3_copy_source of = {.bucket = BUCKET, .key = KEY, .size = SIZE};
        struct seen t = {0};
        of.etag = bytes_of(source.seen.out.p, source.seen.out.n - 1);
        assert_int_equal(s3_copy(world.client, &of, BUCKET, BYTES("k2"), NULL, seen_put, &t, &t.call), 0);
        while (cases[i].overwritten && world_counters().copy == 0)
            uv_run(&world.loop, UV_RUN_ONCE);
        if (cases[i].overwritten)
            assert_int_equal(mock_put(mock, BUCKET, KEY, BYTES("other"), NULL), 0);
        seen_finish(&t);
        assert_int_equal(t.status, cases[i].status);
        assert_int_equal(world_counters().head, cases[i].heads);
        assert_null(strstr(t.out.p, "-4"));
        if (cases[i].overwritten)
            assert_non_null(strstr(t.text, "overwritten, and the server copied what is there now"));
        seen_free(&t);
        of.etag = BYTES_NONE; /* of any: nothing to be sure of */
        assert_int_equal(s3_copy(world.client, &of, BUCKET, BYTES("k2"), NULL, seen_put, &t, &t.call), 0);
        seen_finish(&t);
        assert_int_equal(t.status, S3_OK);
        assert_int_equal(world_counters().head, cases[i].heads);
        seen_free(&t);
        seen_free(&source.seen);
    }
}

/* Ceph would copy another object, and nothing that it answers would tell. */
static void names_that_may_be_mistaken_are_copied_in_one_only(void **state) {
    static const char *const keys[] = {"a%20b", "100%", "%", "a?versionId=1", "?versionId="};
    static const char body[SIZE] = {'b'};
    for (size_t i = 0; i < 2 * sizeof keys / sizeof *keys; i++) {
        bool parts = i % 2;
        mock_world_start(NULL);
        struct bytes key = bytes_str(keys[i / 2]);
        assert_int_equal(mock_put(mock, BUCKET, key, bytes_of(body, SIZE), NULL), 0);
        if (parts)
            in_parts();
        struct seen t = {0};
        copy(&t, &(struct s3_copy_source){.bucket = BUCKET, .key = key, .size = SIZE});
        assert_int_equal(t.status, parts ? S3_NOT_SUPPORTED : S3_OK);
        if (parts)
            assert_non_null(strstr(t.text, "COPY to bucket-1/key: it is too large for one request, and in parts"));
        assert_int_equal(mock_uploads(mock), 0);
        assert_int_equal(mock_count(mock, BUCKET), parts ? 2 : 3); /* one is there from the start */
        seen_free(&t);
    }
}

/* It was there when it was looked at. If it is gone the next look says so; until then nobody is to believe it. */
static void a_copy_that_finds_no_source_is_no_end(void **state) {
    for (int parts = 0; parts < 2; parts++) {
        mock_world_start(parts ? "error op=upload-part-copy status=404 code=NoSuchKey count=1 after-n=1"
                               : "error op=copy status=404 code=NoSuchKey count=1");
        struct seen s = {0}, t = {0};
        mock_world_put_copied(&s);
        if (parts)
            in_parts();
        struct s3_copy_source source = copied(&s);
        copy(&t, &source);
        assert_int_equal(t.status, S3_CONFLICT);
        assert_int_equal(t.http_status, 404);
        assert_string_equal(t.code, "NoSuchKey");
        assert_int_equal(mock_uploads(mock), 0);
        seen_free(&t);
        copy(&t, &source);
        assert_int_equal(t.status, S3_OK);
        mock_world_check(SIZE);
        seen_free(&s);
        seen_free(&t);
    }
}

static void aws_and_versions_need_no_look(void **state) {
    struct s3_options o = world_options();
    o.endpoint = NULL;
    world_use(o);
    struct s3_copy_source source = {.bucket = BUCKET, .key = KEY, .etag = BYTES("\"e\"")};
    assert_false(s3_copy_must_be_looked_after(world.client, &source));
    static const struct {
        const char *endpoint;
        bool look;
    } cases[] = {{"https://s3.eu-west-1.amazonaws.com", false},
                 {"https://s3.cn-north-1.amazonaws.com.cn", false},
                 {"https://S3.Amazonaws.com", false},
                 {"http://s3.amazonaws.com", true},
                 {"https://s3.amazonaws.com.example.org", true},
                 {"https://notamazonaws.com", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.endpoint = cases[i].endpoint;
        world_use(o);
        source.version_id = BYTES_NONE;
        assert_int_equal(s3_copy_must_be_looked_after(world.client, &source), cases[i].look);
        source.version_id = BYTES("v");
        assert_false(s3_copy_must_be_looked_after(world.client, &source));
    }
}

static void overwritten_between_the_parts(void **state) {
    static const char other[SIZE] = {'o'};
    for (int ignores = 0; ignores < 2; ignores++) {
        for (int named = 0; named < 2; named++) {
            for (uint64_t n = 1; n <= 5; n++) {
                mock_world_start_with(
                    &(struct mock_options){.ignore_if_match = ignores, .faults = "latency op=upload-part-copy ms=5"});
                struct seen s = {0}, t = {0};
                mock_world_put_copied(&s);
                in_parts();
                struct s3_copy_source source = copied(&s);
                if (!named)
                    source.etag = BYTES_NONE;
                assert_int_equal(begin(&t, &source), 0);
                while (world_counters().upload < n && !t.dones)
                    uv_run(&world.loop, UV_RUN_ONCE);
                assert_int_equal(t.dones, 0);
                assert_int_equal(mock_put(mock, BUCKET, COPIED_KEY, bytes_of(other, SIZE), NULL), 0);
                seen_finish(&t);
                assert_int_equal(t.status, S3_PRECONDITION);
                assert_int_equal(mock_uploads(mock), 0);
                assert_false(mock_world_exists());
                seen_free(&s);
                seen_free(&t);
            }
        }
    }
}

static void without_memory_it_fails_whole(void **state) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\nETag: \"s\"\r\nx-amz-meta-m: n\r\n\r\n";
    static const char *const bodies[] = {
        "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
        "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
        "<CopyPartResult><ETag>e</ETag></CopyPartResult>",
        "<CopyPartResult><ETag>e</ETag></CopyPartResult>",
        "",
        "<CompleteMultipartUploadResult><ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>",
        "",
    };
    world_close_client();
    for (uint64_t n = 1;; n++) {
        script_server_close(world.server);
        world_run_ms(1);
        world.server = script_server_new(&world.loop);
        for (size_t i = 0; i < 16; i++)
            buf_reserve(&world.server->requests[i], 8192);
        script_add(world.server, (struct script_answer){.text = head});
        for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
            if (i == 4)
                script_add(world.server, (struct script_answer){.text = head});
            else
                script_add_body(world.server, 200, "", bodies[i]);
        world.server->fallback.text = "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n";
        struct s3_options o = world_options();
        o.max_attempts = 1;
        o.stall_timeout_us = 100 * US_PER_MS;
        struct err err = {0};
        struct seen s = {0};
        struct s3_copy_source source = {.bucket = BUCKET, .key = COPIED_KEY, .etag = BYTES("\"s\""), .size = 2 * PART};
        buf_reserve(&s.out, 4096);
        mem_fail_at(n, 0);
        int r = s3_client_new(&world.loop, &o, &world.client, &err);
        bool made = r == 0;
        if (made) {
            world.client->copy_max = world.client->copy_part = PART;
            r = s3_copy(world.client, &source, BUCKET, KEY, NULL, seen_put, &s, &s.call);
        }
        if (r == 0)
            seen_finish(&s);
        uint64_t used = mem_fail_count();
        mem_fail_at(0, 0);
        if (made) {
            world.closed = false;
            world_close_client();
        }
        assert_true(r == 0 || r == -ENOMEM);
        bool over = r == 0 && used < n;
        if (over)
            assert_int_equal(s.status, S3_OK);
        seen_free(&s);
        world.server->n_requests = 16; /* all that was reserved is freed */
        if (over)
            break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MOCK_TEST(copies_in_one_and_in_parts),
        MOCK_TEST(a_copy_in_parts_may_fail_anywhere),
        MOCK_TEST(cancelled_after_any_request),
        MOCK_TEST(names_that_may_be_mistaken_are_copied_in_one_only),
        MOCK_TEST(a_copy_that_finds_no_source_is_no_end),
        MOCK_TEST(the_source_is_looked_at_first),
        WORLD_TEST(aws_and_versions_need_no_look),
        MOCK_TEST(a_copy_with_an_etag_of_its_own_is_looked_after),
        MOCK_TEST(overwritten_between_the_parts),
        WORLD_TEST(without_memory_it_fails_whole),
    };
    return cmocka_run_group_tests_name("s3 copies in steps", tests, NULL, NULL);
}
