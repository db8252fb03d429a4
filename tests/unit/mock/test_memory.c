/* Memory that runs out at every place of every kind of request: the answer is 500, or the connection ends, and the
 * server goes on with nothing half done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "mock_client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct client client;

static int open_client(void **state) {
    client_open(&client, NULL);
    return 0;
}

static int close_client(void **state) {
    client_close(&client);
    return 0;
}

/* Sends the bytes on a new connection and reads the status of the last answer, without allocating. 0: none came. */
static int raw_call(struct bytes request, int answers) {
    static char data[65536];
    size_t n = 0;
    int fd = client_connect(&client);
    client.fd = -1;
    (void)!send(fd, request.p, request.n, MSG_NOSIGNAL);
    int status = 0, seen = 0;
    while (seen < answers && n < sizeof(data) - 1) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        if (poll(&poll_fd, 1, 60000) != 1)
            fail_msg("no answer within a minute");
        ssize_t got = recv(fd, data + n, sizeof(data) - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        data[n] = '\0';
        seen = 0;
        for (const char *at = data; (at = strstr(at, "HTTP/1.1 ")); at += 9) {
            status = atoi(at + 9);
            seen++;
        }
    }
    close(fd);
    return seen < answers ? 0 : status;
}

/* Fails each allocation in turn; returns how many there were. */
static uint64_t starve(struct bytes request, int answers, int wanted) {
    for (uint64_t at = 1;; at++) {
        uint64_t objects = mock_count(client.mock, BYTES("starved"));
        mem_fail_at(at, 0);
        int status = raw_call(request, answers);
        uint64_t made = mem_fail_count();
        mem_fail_at(0, 0);
        if (made < at) {
            assert_int_equal(status, wanted);
            return at - 1;
        }
        if (status != 0 && status != 500 && status != wanted)
            fail_msg("allocation %d: %d", (int)at, status);
        if (status == 500)
            assert_int_equal(mock_count(client.mock, BYTES("starved")), objects);
    }
}

static void every_request(void **state) {
    static const struct {
        const char *method, *key, *param, *body;
        int status;
    } cases[] = {
        {"PUT", "a key", NULL, "body", 200},
        {"GET", "a key", NULL, "", 200},
        {"HEAD", "a key", NULL, "", 200},
        {"GET", "", "list-type", "", 400},
        {"GET", "", "prefix", "", 200},
        {"GET", "", "versions", "", 200},
        {"GET", "", "versioning", "", 200},
        {"DELETE", "a key", NULL, "", 204},
        {"GET", "gone", NULL, "", 404},
        {"PUT", "", "versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", 200},
        {"DELETE", "a key", NULL, "", 204},
        {"GET", "a key", NULL, "", 404},
    };
    uint64_t total = 0;
    assert_int_equal(mock_put(client.mock, BYTES("starved"), BYTES("here"), BYTES("x"), "text/plain"), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf request = {0};
        struct param params[] = {{cases[i].param, "/"}, {NULL, NULL}};
        struct field fields[] = {{"x-amz-meta-x", "y"}, {"content-md5", "hBotaJrYa9FhFEdFPCLG/A=="}, {NULL, NULL}};
        struct call call = {.method = cases[i].method,
                            .bucket = BYTES("starved"),
                            .key = bytes_str(cases[i].key),
                            .params = params,
                            .body = bytes_str(cases[i].body),
                            .fields = i == 0 ? fields : NULL};
        client_add_request(&client, &call, &request);
        total += starve(buf_bytes(&request), 1, cases[i].status);
        if (i == 1) { /* chunked, and two on one connection */
            call.chunked = true;
            client_add_request(&client, &call, &request);
            total += starve(buf_bytes(&request), 2, 200);
        }
        buf_free(&request);
    }
    assert_true(total > 60);
}

/* Requests that need fields: copies, tags and uploads. */
static uint64_t starve_call(struct call call, int wanted) {
    struct buf request = {0};
    call.bucket = BYTES("starved");
    client_add_request(&client, &call, &request);
    uint64_t allocations = starve(buf_bytes(&request), 1, wanted);
    buf_free(&request);
    return allocations;
}

static void begin_upload(char id[64]) {
    const struct param uploads[] = {{"uploads", ""}, {NULL, NULL}};
    struct call begin = {.method = "POST", .bucket = BYTES("starved"), .key = BYTES("up"), .params = uploads};
    struct reply reply = {0};
    client_call(&client, &begin, &reply);
    assert_int_equal(reply.status, 200);
    const char *start = memmem(reply.body.p, reply.body.n, "<UploadId>", 10);
    assert_non_null(start);
    snprintf(id, 64, "%.*s", (int)strcspn(start + 10, "<"), start + 10);
    reply_free(&reply);
}

/* What worked although its answer could not be written cannot be done again: each try has an upload of its own. */
static void end_an_upload_without_memory(void) {
    static const char list[] = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"
                               "\"841a2d689ad86bd1611447453c22c6fc\"</ETag></Part></CompleteMultipartUpload>";
    int status = 0;
    for (uint64_t at = 1;; at++) {
        char id[64];
        begin_upload(id);
        const struct param part[] = {{"partNumber", "1"}, {"uploadId", id}, {NULL, NULL}};
        struct call call = {
            .method = "PUT", .bucket = BYTES("starved"), .key = BYTES("up"), .params = part, .body = BYTES("body")};
        struct reply reply = {0};
        client_call(&client, &call, &reply);
        assert_int_equal(reply.status, 200);
        client_do(&client, "DELETE", "starved", "up", &reply);
        reply_free(&reply);
        call = (struct call){.method = "POST",
                             .bucket = BYTES("starved"),
                             .key = BYTES("up"),
                             .params = part + 1,
                             .body = bytes_str(list)};
        struct buf request = {0};
        client_add_request(&client, &call, &request);
        uint64_t uploads = mock_uploads(client.mock), objects = mock_count(client.mock, BYTES("starved"));
        mem_fail_at(at, 0);
        status = raw_call(buf_bytes(&request), 1);
        uint64_t made = mem_fail_count();
        mem_fail_at(0, 0);
        buf_free(&request);
        bool done = mock_uploads(client.mock) < uploads;
        assert_int_equal(mock_count(client.mock, BYTES("starved")), objects + done); /* both or neither */
        assert_true(status == 0 || status == (done ? 200 : 500));
        if (made < at)
            break;
    }
    assert_int_equal(status, 200);
}

static void copies_tags_and_uploads(void **state) {
    static const char document[] = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    const struct field tags[] = {{"x-amz-tagging", "a=b&c=d"}, {"x-amz-meta-x", "y"}, {NULL, NULL}};
    const struct field copy[] = {{"x-amz-copy-source", "starved/tagged"}, {NULL, NULL}};
    const struct field sum[] = {{"content-md5", "jqzPL3CP1xqTN8blcrX3gg=="}, {NULL, NULL}};
    const struct param tagging[] = {{"tagging", ""}, {NULL, NULL}}, uploads[] = {{"uploads", ""}, {NULL, NULL}};
    assert_int_equal(mock_put(client.mock, BYTES("starved"), BYTES("here"), BYTES("x"), "text/plain"), 0);
    uint64_t total = 0, before = mock_uploads(client.mock);
    total +=
        starve_call((struct call){.method = "PUT", .key = BYTES("tagged"), .fields = tags, .body = BYTES("body")}, 200);
    total += starve_call((struct call){.method = "PUT", .key = BYTES("copy"), .fields = copy}, 200);
    total += starve_call(
        (struct call){
            .method = "PUT", .key = BYTES("here"), .params = tagging, .fields = sum, .body = bytes_str(document)},
        200);
    total += starve_call((struct call){.method = "GET", .key = BYTES("here"), .params = tagging}, 200);
    total += starve_call((struct call){.method = "DELETE", .key = BYTES("here"), .params = tagging}, 204);
    total += starve_call((struct call){.method = "POST", .key = BYTES("up"), .params = uploads, .fields = tags}, 200);
    assert_true(mock_uploads(client.mock) > before);
    char id[64];
    begin_upload(id);
    const struct param part[] = {{"partNumber", "1"}, {"uploadId", id}, {NULL, NULL}},
                       by_id[] = {{"uploadId", id}, {NULL, NULL}};
    total += starve_call((struct call){.method = "PUT", .key = BYTES("up"), .params = part, .fields = copy}, 200);
    total +=
        starve_call((struct call){.method = "PUT", .key = BYTES("up"), .params = part, .body = BYTES("body")}, 200);
    total += starve_call((struct call){.method = "GET", .key = BYTES("up"), .params = by_id}, 200);
    total += starve_call((struct call){.method = "GET", .params = uploads}, 200);
    assert_true(total > 60);
    end_an_upload_without_memory();
}

static void admin_requests(void **state) {
    static const struct {
        const char *method, *path, *body;
    } cases[] = {
        {"POST", "faults", "latency ms=0 key=\"a b\"; slowdown rate=1000000"},
        {"GET", "faults", ""},
        {"GET", "stats", ""},
        {"GET", "trace", ""},
        {"GET", "log", ""},
        {"DELETE", "faults", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf request = {0};
        buf_printf(&request, "%s /_mock/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                   cases[i].method, cases[i].path, strlen(cases[i].body), cases[i].body);
        for (uint64_t at = 1;; at++) {
            mem_fail_at(at, 0);
            int status = raw_call(buf_bytes(&request), 1);
            uint64_t made = mem_fail_count();
            mem_fail_at(0, 0);
            if (made < at) {
                assert_int_equal(status, 200);
                break;
            }
            if (status != 0 && status != 400 && status != 500 && status != 200)
                fail_msg("%s: allocation %d: %d", cases[i].path, (int)at, status);
        }
        buf_free(&request);
    }
}

static void starting(void **state) {
    struct mock_options options = {.faults = "latency ms=1"};
    for (uint64_t at = 1;; at++) {
        struct err err = {0};
        struct mock *mock = NULL;
        mem_fail_at(at, 0);
        int r = mock_start(&options, &mock, &err);
        mem_fail_at(0, 0);
        if (r == 0) {
            mock_stop(mock);
            assert_true(at > 6);
            return;
        }
        assert_int_equal(r, -ENOMEM);
        assert_non_null(strstr(err.text, "memory"));
        assert_null(mock);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request),
        cmocka_unit_test(copies_tags_and_uploads),
        cmocka_unit_test(admin_requests),
        cmocka_unit_test(starting),
    };
    return cmocka_run_group_tests(tests, open_client, close_client);
}
