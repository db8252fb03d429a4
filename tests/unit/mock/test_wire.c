/* The server on the wire: pieces, pipelines, smuggling, chunked and aws-chunked bodies, and connections that faults
 * end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "mock_client.h"
#include "text.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static struct client client;

static int open_client(void **state) {
    client_open(&client, NULL);
    assert_int_equal(mock_put(client.mock, BYTES("b-1"), BYTES("k"), BYTES("body"), "text/plain"), 0);
    return 0;
}

static int close_client(void **state) {
    client_close(&client);
    return 0;
}

static void order(const char *text) {
    struct reply reply = {0};
    assert_int_equal(client_admin(&client, "DELETE", "faults", "", &reply), 200);
    assert_int_equal(client_admin(&client, "POST", "faults", text, &reply), 200);
    reply_free(&reply);
}

static int64_t now_us(void) {
    return clock_mono_us(&clock_system);
}

/* Asks, over a connection of its own, until the answer has that text. */
static void admin_tells(const char *path, const char *text) {
    struct client asker = {.fd = -1, .mock = client.mock};
    struct reply reply = {0};
    int64_t end = now_us() + US_PER_MIN;
    do {
        if (now_us() > end)
            fail_msg("%s never told: %s", path, text);
        usleep(1000);
        assert_int_equal(client_admin(&asker, "GET", path, "", &reply), 200);
    } while (!reply_has(&reply, text));
    client_disconnect(&asker);
    buf_free(&asker.in);
    reply_free(&reply);
}

static void split_at_every_byte(void **state) {
    struct reply reply = {0};
    struct buf out = {0};
    struct call call = {.method = "PUT", .bucket = BYTES("b-1"), .key = BYTES("split"), .body = BYTES("12345")};
    client_add_request(&client, &call, &out);
    for (size_t at = 1; at < out.n; at += at < 40 || at > out.n - 20 ? 1 : 17) {
        client_send(&client, bytes_of(out.p, at));
        usleep(200);
        client_send(&client, bytes_of(out.p + at, out.n - at));
        client_read(&client, false, &reply);
        assert_int_equal(reply.status, 200);
    }
    for (size_t at = 0; at < out.n; at++) /* and byte by byte */
        client_send(&client, bytes_of(out.p + at, 1));
    client_read(&client, false, &reply);
    assert_int_equal(reply.status, 200);
    assert_int_equal(client_do(&client, "GET", "b-1", "split", &reply), 200);
    assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("12345")));
    buf_free(&out);
    reply_free(&reply);
}

static void pipelined(void **state) {
    enum { N = 300 };
    struct reply reply = {0};
    struct buf out = {0};
    for (int i = 0; i < N; i++) {
        char key[16], body[16];
        snprintf(key, sizeof(key), "p%d", i / 3);
        snprintf(body, sizeof(body), "body %d", i / 3);
        const char *method = i % 3 == 0 ? "PUT" : i % 3 == 1 ? "GET" : "DELETE";
        struct call call = {.method = method, .bucket = BYTES("b-1"), .key = bytes_str(key)};
        if (i % 3 == 0)
            call.body = bytes_str(body);
        client_add_request(&client, &call, &out);
    }
    client_send(&client, buf_bytes(&out));
    for (int i = 0; i < N; i++) {
        char body[16];
        client_read(&client, false, &reply);
        assert_int_equal(reply.status, i % 3 == 2 ? 204 : 200);
        snprintf(body, sizeof(body), "body %d", i / 3);
        if (i % 3 == 1)
            assert_true(bytes_equal(buf_bytes(&reply.body), bytes_str(body)));
    }
    buf_free(&out);
    reply_free(&reply);
}

/* What could be taken for two requests, or for none, ends the connection after a 400; what follows is not looked at. */
static void smuggling(void **state) {
    static const struct {
        int status;
        const char *text;
    } cases[] = {
        {400, "POST /b-1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"},
        {400, "POST /b-1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "GET /b-1 HTTP/1.1\nHost: h\n\n"},
        {400, "GET /b-1 HTTP/1.1\r\nHost: h\r\n X: folded\r\n\r\n"},
        {400, "GET /b-1 HTTP/1.1\r\nHost: h\r\nContent-Length : 4\r\n\r\nabcd"},
        {501, "POST /b-1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
        {400, "POST /_mock/reset HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"},
        {505, "GET / HTTP/1.0\r\nHost: h\r\n\r\n"},
        {413, "POST /_mock/faults HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0000001FFFFF\r\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reply reply = {0};
        struct buf text = {0};
        buf_add_str(&text, cases[i].text);
        while (cases[i].status == 413 && text.n < 1100000)
            buf_add_str(&text, "# a very long comment indeed\n");
        buf_add_str(&text, "DELETE /_mock/faults HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client_send(&client, buf_bytes(&text));
        client_read(&client, false, &reply);
        if (reply.status != cases[i].status)
            fail_msg("%s: %d", cases[i].text, reply.status);
        assert_int_equal(client.fd, -1); /* "Connection: close" was said */
        reply_free(&reply);
        buf_free(&text);
    }
    assert_int_equal(mock_count(client.mock, BYTES("b-1")), 2);
}

static void bodies(void **state) {
    struct reply reply = {0};
    struct buf body = {0};
    for (int i = 0; i < 300000; i++)
        buf_add_byte(&body, (char)(i * 7));
    for (int chunked = 0; chunked < 2; chunked++) {
        static const size_t sizes[] = {0, 1, 100, 16383, 16384, 16385, 65536, 300000};
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct call put = {.method = "PUT",
                               .bucket = BYTES("b-1"),
                               .key = BYTES("sized"),
                               .body = bytes_of(body.p, sizes[i]),
                               .chunked = chunked};
            client_call(&client, &put, &reply);
            assert_int_equal(reply.status, 200);
            assert_int_equal(client_do(&client, "GET", "b-1", "sized", &reply), 200);
            assert_true(bytes_equal(buf_bytes(&reply.body), put.body));
            char text[256];
            assert_int_equal(client_do(&client, "HEAD", "b-1", "sized", &reply), 200);
            uint64_t length = 0;
            assert_int_equal(text_parse_u64(bytes_str(reply_field(&reply, "content-length", text)), &length), 0);
            assert_int_equal(length, sizes[i]);
        }
    }
    /* A PUT must say how long it is. */
    struct buf out = {0};
    struct call call = {.method = "PUT", .bucket = BYTES("b-1"), .key = BYTES("x")};
    client_add_request(&client, &call, &out);
    char *length = strstr(out.p, "Content-Length: 0\r\n");
    memmove(length, length + 19, strlen(length + 19) + 1);
    client_send(&client, bytes_of(out.p, strlen(out.p)));
    client_read(&client, false, &reply);
    assert_int_equal(reply.status, 411);
    buf_free(&out);
    buf_free(&body);
    reply_free(&reply);
}

static int put_streaming(const char *payload, const char *body, const char *length, const char *trailer, bool chunked,
                         struct reply *reply) {
    struct field fields[4] = {{"x-amz-decoded-content-length", length}, {"content-encoding", "aws-chunked"}};
    if (trailer)
        fields[2] = (struct field){"x-amz-trailer", trailer};
    struct call call = {.method = "PUT",
                        .bucket = BYTES("b-1"),
                        .key = BYTES("streamed"),
                        .body = bytes_str(body),
                        .payload = payload,
                        .fields = fields,
                        .chunked = chunked};
    client_call(&client, &call, reply);
    return reply->status;
}

static void aws_chunked(void **state) {
    static const char unsigned_trailer[] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    static const char good[] = "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    struct reply reply = {0};
    char text[256];
    for (int chunked = 0; chunked < 2; chunked++) {
        assert_int_equal(put_streaming(unsigned_trailer, good, "11", "x-amz-checksum-crc32", chunked, &reply), 200);
        struct field mode[] = {{"x-amz-checksum-mode", "ENABLED"}, {NULL, NULL}};
        struct call get = {.method = "GET", .bucket = BYTES("b-1"), .key = BYTES("streamed"), .fields = mode};
        client_call(&client, &get, &reply);
        assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("hello world")));
        assert_string_equal(reply_field(&reply, "x-amz-checksum-crc32", text), "DUoRhQ==");
        assert_null(reply_field(&reply, "content-encoding", text)); /* it was for the way only */
    }
    assert_int_equal(put_streaming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                                   "5;chunk-signature=00\r\nhello\r\n0;chunk-signature=00\r\n\r\n", "5", NULL, false,
                                   &reply),
                     200);
    static const char bad_sum[] = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    assert_int_equal(put_streaming(unsigned_trailer, bad_sum, "5", "x-amz-checksum-crc32", false, &reply), 400);
    assert_true(reply_has(&reply, "<Code>BadDigest</Code>"));
    assert_int_equal(put_streaming(unsigned_trailer, good, "12", "x-amz-checksum-crc32", false, &reply), 400);
    assert_true(reply_has(&reply, "<Code>IncompleteBody</Code>"));
    assert_int_equal(
        put_streaming(unsigned_trailer, "5\r\nhello\r\n0\r\n\r\n", "5", "x-amz-checksum-crc32", false, &reply), 400);
    assert_true(reply_has(&reply, "<Code>MalformedTrailerError</Code>"));
    assert_int_equal(put_streaming(unsigned_trailer, "5\r\nhello\r\n0\r\n\r\nmore", "5", NULL, false, &reply), 400);
    assert_int_equal(put_streaming(unsigned_trailer, "5\r\nhello\r\n", "5", NULL, false, &reply), 400);
    assert_int_equal(client_do(&client, "GET", "b-1", "streamed", &reply), 200);
    assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("hello"))); /* nothing of all that was stored */
    reply_free(&reply);
}

static void waits_for_continue(void **state) {
    struct reply reply = {0};
    struct buf out = {0};
    struct field expect[] = {{"expect", "100-continue"}, {NULL, NULL}};
    struct call call = {
        .method = "PUT", .bucket = BYTES("b-1"), .key = BYTES("e"), .body = BYTES("12345"), .fields = expect};
    client_add_request(&client, &call, &out);
    client_send(&client, bytes_of(out.p, out.n - 5));
    client_read(&client, false, &reply);
    assert_int_equal(reply.status, 100);
    client_send(&client, BYTES("12345"));
    client_read(&client, false, &reply);
    assert_int_equal(reply.status, 200);
    /* A refusal comes at once, and the body is never asked for. */
    buf_reset(&out);
    client.secret = "wrong";
    client_add_request(&client, &call, &out);
    client.secret = "test";
    client_send(&client, bytes_of(out.p, out.n - 5));
    client_read(&client, false, &reply);
    assert_int_equal(reply.status, 403);
    assert_int_equal(client.fd, -1);
    buf_free(&out);
    reply_free(&reply);
}

static void refused_bodies_are_passed_over(void **state) {
    struct reply reply = {0};
    struct buf body = {0};
    for (int i = 0; i < 200000; i++)
        buf_add_byte(&body, 'x');
    struct call call = {.method = "PUT", .bucket = BYTES("nowhere"), .key = BYTES("k"), .body = buf_bytes(&body)};
    client_call(&client, &call, &reply);
    assert_int_equal(reply.status, 404);
    client.secret = "wrong";
    client_call(&client, &call, &reply);
    client.secret = "test";
    assert_int_equal(reply.status, 403);
    assert_true(client.fd >= 0); /* the connection goes on */
    assert_int_equal(client_do(&client, "HEAD", "b-1", "k", &reply), 200);
    buf_free(&body);
    reply_free(&reply);
}

/* ---- faults that are felt on the wire ---- */

static void latency(void **state) {
    struct reply reply = {0};
    order("latency op=get ms=80 jitter=5");
    int64_t start = now_us();
    assert_int_equal(client_do(&client, "GET", "b-1", "k", &reply), 200);
    assert_true(now_us() - start >= 79 * US_PER_MS);
    order("");
    reply_free(&reply);
}

static void cut_bodies(void **state) {
    struct reply reply = {0};
    struct buf body = {0};
    for (int i = 0; i < 100000; i++)
        buf_add_byte(&body, (char)i);
    assert_int_equal(mock_put(client.mock, BYTES("b-1"), BYTES("large"), buf_bytes(&body), NULL), 0);
    static const struct {
        const char *order, *key;
        size_t comes;
    } cases[] = {
        {"truncate after=3 count=1", "k", 3},
        {"truncate after=0 count=1", "k", 0},
        {"truncate after=60000 count=1", "large", 60000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        order(cases[i].order);
        assert_int_equal(client_do(&client, "GET", "b-1", cases[i].key, &reply), 200);
        assert_true(reply.cut);
        assert_int_equal(reply.body.n, cases[i].comes);
        assert_int_equal(client_do(&client, "GET", "b-1", cases[i].key, &reply), 200); /* count=1 */
        assert_false(reply.cut);
    }
    order("truncate after=4"); /* the body is no longer than that */
    assert_int_equal(client_do(&client, "GET", "b-1", "k", &reply), 200);
    assert_false(reply.cut);
    order("reset after=2 op=get");
    assert_int_equal(client_do(&client, "GET", "b-1", "k", &reply), 200);
    assert_true(reply.cut);
    order("");
    buf_free(&body);
    reply_free(&reply);
}

static void stalled(void **state) {
    struct reply reply = {0};
    struct buf out = {0};
    order("stall after=2 count=1");
    struct call call = {.method = "GET", .bucket = BYTES("b-1"), .key = BYTES("k")};
    client_add_request(&client, &call, &out);
    client_send(&client, buf_bytes(&out));
    struct pollfd poll_fd = {.fd = client.fd, .events = POLLIN};
    char data[4096];
    size_t got = 0;
    while (got < 6 || memcmp(data + got - 6, "\r\n\r\nbo", 6) != 0) {
        assert_int_equal(poll(&poll_fd, 1, 60000), 1);
        ssize_t n = recv(client.fd, data + got, sizeof(data) - got, 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(poll(&poll_fd, 1, 150), 0); /* and not a byte more */
    client_disconnect(&client);
    admin_tells("stats", "\"stall\":1");
    admin_tells("stats", "\"gets_now\":0");
    order("");
    buf_free(&out);
    reply_free(&reply);
}

static void resets_and_errors(void **state) {
    struct reply reply = {0};
    order("reset op=delete count=1");
    assert_int_equal(client_put(&client, "b-1", "d", "x"), 200);
    assert_int_equal(client_do(&client, "DELETE", "b-1", "d", &reply), 0);
    assert_int_equal(client_do(&client, "HEAD", "b-1", "d", &reply), 200); /* nothing was done */
    order("reset op=delete count=1 applied=yes");
    assert_int_equal(client_do(&client, "DELETE", "b-1", "d", &reply), 0);
    assert_int_equal(client_do(&client, "HEAD", "b-1", "d", &reply), 404); /* it was, and the answer got lost */
    order("error op=put status=500 count=1 applied=yes; error op=head status=503 code=SlowDown count=1");
    assert_int_equal(client_put(&client, "b-1", "e", "x"), 500);
    assert_int_equal(client_do(&client, "HEAD", "b-1", "e", &reply), 503);
    assert_int_equal(client_do(&client, "HEAD", "b-1", "e", &reply), 200);
    order("error op=get status=503 code=SlowDown");
    assert_int_equal(client_do(&client, "GET", "b-1", "e", &reply), 503);
    assert_true(reply_has(&reply, "<Code>SlowDown</Code>"));
    order("");
    reply_free(&reply);
}

static void spoilt_bodies(void **state) {
    struct reply reply = {0};
    char text[256];
    order("badsum");
    assert_int_equal(client_do(&client, "GET", "b-1", "k", &reply), 200);
    assert_int_equal(reply.body.n, 4);
    assert_false(bytes_equal(buf_bytes(&reply.body), BYTES("body")));
    order("badsum where=header");
    assert_int_equal(client_do(&client, "GET", "b-1", "k", &reply), 200);
    assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("body")));
    assert_non_null(reply_field(&reply, "x-amz-checksum-crc32", text));
    static const char *const how[] = {"cut", "junk", "error"};
    for (size_t i = 0; i < 3; i++) {
        char line[64];
        snprintf(line, sizeof(line), "badxml how=%s count=1", how[i]);
        order(line);
        assert_int_equal(client_do(&client, "GET", "b-1", "", &reply), 200);
        assert_null(i == 2 ? NULL : strstr(reply.body.p, "</ListBucketResult>"));
        assert_true(i != 2 || reply_has(&reply, "<Error><Code>InternalError</Code>"));
        assert_int_equal(client_do(&client, "GET", "b-1", "", &reply), 200);
        assert_true(reply_has(&reply, "</ListBucketResult>"));
    }
    order("");
    reply_free(&reply);
}

static void overwritten_between(void **state) {
    struct reply reply = {0};
    char etag[256], now[256];
    assert_int_equal(client_put(&client, "b-1", "o", "first"), 200);
    order("overwrite key=o count=1");
    assert_int_equal(client_do(&client, "GET", "b-1", "o", &reply), 200);
    assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("first")));
    reply_field(&reply, "etag", etag);
    struct field match[] = {{"if-match", etag}, {NULL, NULL}};
    struct call call = {.method = "DELETE", .bucket = BYTES("b-1"), .key = BYTES("o"), .fields = match};
    client_call(&client, &call, &reply);
    assert_int_equal(reply.status, 412);
    assert_int_equal(client_do(&client, "HEAD", "b-1", "o", &reply), 200);
    assert_string_not_equal(reply_field(&reply, "etag", now), etag);
    order("");
    reply_free(&reply);
}

/* A request that has come whole is carried out though its client is gone. */
static void client_vanishes(void **state) {
    struct reply reply = {0};
    struct buf out = {0};
    order("latency op=put ms=60");
    struct call call = {.method = "PUT", .bucket = BYTES("b-1"), .key = BYTES("late"), .body = BYTES("x")};
    client_add_request(&client, &call, &out);
    client_send(&client, buf_bytes(&out));
    struct linger at_once = {1, 0};
    admin_tells("faults", "\"fired\":1");
    setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    client_disconnect(&client);
    int64_t end = now_us() + US_PER_MIN;
    while (client_do(&client, "HEAD", "b-1", "late", &reply) == 404 && now_us() < end)
        usleep(1000);
    assert_int_equal(reply.status, 200);
    order("");
    buf_free(&out);
    reply_free(&reply);
}

static void counts(void **state) {
    struct reply reply = {0};
    assert_int_equal(client_admin(&client, "POST", "reset?what=stats", "", &reply), 200);
    client_do(&client, "GET", "b-1", "k", &reply);
    client_do(&client, "HEAD", "b-1", "k", &reply);
    client_do(&client, "GET", "b-1", "gone", &reply);
    client_put(&client, "b-1", "c", "x");
    client_do(&client, "DELETE", "b-1", "c", &reply);
    client_do(&client, "PATCH", "b-1", "c", &reply);
    assert_int_equal(client_admin(&client, "GET", "stats", "", &reply), 200);
    assert_true(reply_has(&reply, "\"get\":2,\"head\":1,\"put\":1,\"copy\":0,\"delete\":1,\"delete-objects\":0"));
    assert_true(reply_has(&reply, "\"unknown\":1"));
    assert_true(reply_has(&reply, "\"puts\":1,\"gets\":1,\"deletes\":1,\"gets_now\":0,\"gets_peak\":1"));
    assert_int_equal(client_admin(&client, "GET", "trace?bucket=b-1", "", &reply), 200);
    assert_true(reply_has(&reply, "\"b-1\":[["));
    assert_true(reply_has(&reply, ",1]]}"));
    assert_int_equal(client_admin(&client, "GET", "log", "", &reply), 200);
    assert_true(
        reply_has(&reply, "\"op\":\"delete\",\"status\":204,\"fault\":false,\"bucket\":\"b-1\",\"key\":\"c\"}"));
    reply_free(&reply);
}

static void admin(void **state) {
    struct reply reply = {0};
    assert_int_equal(
        client_admin(&client, "POST", "seed?bucket=seeded&count=1234&size=100&prefix=x/&start=5", "", &reply), 200);
    assert_int_equal(mock_count(client.mock, BYTES("seeded")), 1234);
    assert_int_equal(client_do(&client, "GET", "seeded", "x/00001238", &reply), 200);
    assert_int_equal(reply.body.n, 100);
    assert_int_equal(client_admin(&client, "POST", "seed?bucket=seeded&count=many", "", &reply), 400);
    assert_int_equal(client_admin(&client, "POST", "seed?bucket=NOT", "", &reply), 400);
    assert_int_equal(client_admin(&client, "POST", "seed?bucket=huge&size=99999999999", "", &reply), 400);
    assert_int_equal(client_admin(&client, "POST", "faults", "latency ms=1\nbogus", &reply), 400);
    assert_true(reply_has(&reply, "bogus"));
    assert_int_equal(client_admin(&client, "GET", "faults", "", &reply), 200);
    assert_true(bytes_equal(buf_bytes(&reply.body), BYTES("[]\n")));
    assert_int_equal(client_admin(&client, "GET", "nothing", "", &reply), 404);
    assert_int_equal(client_admin(&client, "POST", "stats", "", &reply), 404);
    assert_int_equal(client_admin(&client, "POST", "reset?what=else", "", &reply), 400);
    assert_int_equal(client_admin(&client, "GET", "health", "", &reply), 200);
    /* Not for pages in a browser, which come with a name of their own. */
    client_send(&client, BYTES("GET /_mock/stats HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
    client_read(&client, false, &reply);
    assert_int_equal(reply.status, 403);
    assert_int_equal(client_admin(&client, "POST", "reset", "", &reply), 200);
    assert_int_equal(mock_count(client.mock, BYTES("seeded")), 0);
    assert_int_equal(client_do(&client, "HEAD", "b-1", "", &reply), 404);
    reply_free(&reply);
}

/* ---- other threads, and starting ---- */

static void *put_many(void *arg) {
    for (int i = 0; i < 500; i++) {
        char key[32];
        int n = snprintf(key, sizeof(key), "%s-%d", (const char *)arg, i);
        if (mock_put(client.mock, BYTES("threads"), bytes_of(key, (size_t)n), BYTES("x"), NULL) < 0)
            return arg;
    }
    return NULL;
}

static void other_threads(void **state) {
    pthread_t threads[2];
    char names[2][2] = {"a", "b"};
    struct reply reply = {0};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, names[i]), 0);
    for (int i = 0; i < 50; i++)
        client_do(&client, "GET", "threads", "", &reply);
    for (int i = 0; i < 2; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(mock_count(client.mock, BYTES("threads")), 1000);
    assert_int_equal(mock_put(client.mock, BYTES("No"), BYTES("k"), BYTES("x"), NULL), -EINVAL);
    assert_int_equal(mock_put(client.mock, BYTES("threads"), BYTES(""), BYTES("x"), NULL), -EINVAL);
    assert_int_equal(mock_put(client.mock, BYTES("threads"), BYTES("k"), BYTES("x"), "a\r\nb: c"), -EINVAL);
    reply_free(&reply);
}

static void refused_options(void **state) {
    char long_secret[400];
    memset(long_secret, 's', sizeof(long_secret));
    long_secret[sizeof(long_secret) - 1] = '\0';
    const struct {
        struct mock_options options;
        const char *says;
    } cases[] = {
        {{.host = "0.0.0.0"}, "loopback"},
        {{.host = "192.168.1.1"}, "loopback"},
        {{.host = "::"}, "loopback"},
        {{.host = "example.org"}, "loopback"},
        {{.access_key = ""}, "access key"},
        {{.access_key = "a/b"}, "access key"},
        {{.secret_key = long_secret}, "secret key"},
        {{.region = "us east"}, "region"},
        {{.tls_cert = "/nonexistent"}, "both"},
        {{.tls_cert = "/nonexistent", .tls_key = "/nonexistent"}, "certificate /nonexistent"},
        {{.faults = "latency"}, "needs \"ms\""},
        {{.port = 0, .host = "127.0.0.1", .faults = "x"}, "must start with"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        struct mock *mock = NULL;
        assert_int_equal(mock_start(&cases[i].options, &mock, &err), -EINVAL);
        assert_null(mock);
        if (!strstr(err.text, cases[i].says))
            fail_msg("%s", err.text);
        assert_null(strstr(err.text, "ssss"));
    }
    struct mock_options same = {.port = mock_port(client.mock)};
    struct err err = {0};
    struct mock *mock = NULL;
    assert_int_equal(mock_start(&same, &mock, &err), -EADDRINUSE);
    struct mock_options six = {.host = "::1"};
    if (mock_start(&six, &mock, &err) == 0) /* where there is IPv6 */
        mock_stop(mock);
    mock_stop(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_at_every_byte),
        cmocka_unit_test(smuggling),
        cmocka_unit_test(pipelined),
        cmocka_unit_test(bodies),
        cmocka_unit_test(aws_chunked),
        cmocka_unit_test(waits_for_continue),
        cmocka_unit_test(refused_bodies_are_passed_over),
        cmocka_unit_test(latency),
        cmocka_unit_test(cut_bodies),
        cmocka_unit_test(stalled),
        cmocka_unit_test(resets_and_errors),
        cmocka_unit_test(spoilt_bodies),
        cmocka_unit_test(overwritten_between),
        cmocka_unit_test(client_vanishes),
        cmocka_unit_test(counts),
        cmocka_unit_test(other_threads),
        cmocka_unit_test(refused_options),
        cmocka_unit_test(admin),
    };
    return cmocka_run_group_tests(tests, open_client, close_client);
}
