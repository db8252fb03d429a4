/* test_s3_client.c - what s3.h promises, against canned answers on a loopback socket. */
#include "mem.h"
#include "s3.h"
#include "s3_endpoint.h"
#include "s3_retry.h"
#include "script_server.h"
#include "sigv4.h"
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECRET "very-secret-key"
#define TOKEN "very-secret-token"
#define BUCKET BYTES("bucket-1")
#define KEY BYTES("key")
#define EMPTY_OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

/* ---- credentials, as the test wants them ---- */

struct credentials_provider {
    struct credentials keys;
    bool fails, late; /* late: kept until `waiting` is answered */
    credentials_fn *waiting;
    void *waiting_arg;
    int asked, refused;
    bool renews;
};

static struct credentials_provider provider;

static void answer_keys(credentials_fn *done, void *arg) {
    if (provider.fails) {
        struct err err = {0};
        err_set(&err, -ENOENT, "no credentials were found anywhere");
        done(arg, NULL, &err);
    } else {
        done(arg, &provider.keys, NULL);
    }
}

void credentials_get(struct credentials_provider *p, credentials_fn *done, void *arg) {
    p->asked++;
    if (p->late) {
        assert_null(p->waiting);
        p->waiting = done;
        p->waiting_arg = arg;
    } else {
        answer_keys(done, arg);
    }
}

void credentials_refused(struct credentials_provider *p, uint64_t generation) {
    p->refused++;
    if (p->renews && generation == p->keys.generation) {
        p->keys.generation++;
        p->keys.access_key_id = BYTES("AKIDNEW");
    }
}

static void keys_come(void) {
    credentials_fn *done = provider.waiting;
    assert_non_null(done);
    provider.waiting = NULL;
    provider.late = false;
    answer_keys(done, provider.waiting_arg);
}

/* ---- the world ---- */

static int64_t fake_utc_us;

static int64_t test_utc_us(void *arg) {
    return fake_utc_us ? fake_utc_us : clock_utc_us(&clock_system);
}

static int64_t test_mono_us(void *arg) {
    return clock_mono_us(&clock_system);
}

static const struct clock test_clock = {test_utc_us, test_mono_us, NULL};

static struct world {
    uv_loop_t loop;
    struct script_server *server;
    struct s3_client *client;
    bool closed;
} w;

static bool busy; /* inside a function of s3.h */

static struct s3_options options(void) {
    return (struct s3_options){
        .endpoint = w.server->url,
        .credentials = &provider,
        .stall_timeout_us = 150 * US_PER_MS,
        .connect_timeout_us = US_PER_S,
        .call_deadline_us = 5 * US_PER_S,
        .retry_base_us = 20 * US_PER_MS,
        .clock = &test_clock,
        .rng_seed = 1,
    };
}

static void on_closed(void *arg) {
    assert_false(busy);
    w.closed = true;
}

static void close_client(void) {
    busy = true;
    s3_client_close(w.client, on_closed, NULL);
    busy = false;
    while (!w.closed)
        uv_run(&w.loop, UV_RUN_ONCE);
}

static void use(struct s3_options o) {
    if (w.client)
        close_client();
    w.closed = false;
    struct err err = {0};
    assert_int_equal(s3_client_new(&w.loop, &o, &w.client, &err), 0);
}

static int setup(void **state) {
    memset(&w, 0, sizeof w);
    fake_utc_us = 0;
    provider = (struct credentials_provider){
        .keys = {BYTES("AKID"), BYTES(SECRET), BYTES_NONE, 0, 1},
    };
    uv_loop_init(&w.loop);
    w.server = script_server_new(&w.loop);
    use(options());
    return 0;
}

static int teardown(void **state) {
    if (!w.closed)
        close_client();
    script_server_close(w.server);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w.loop), 0);
    return 0;
}

static void run_ms(uint64_t ms) {
    uint64_t end = uv_hrtime() + ms * 1000000;
    while (uv_hrtime() < end) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
}

/* ---- what comes back ---- */

struct seen {
    int dones, infos, pieces;
    enum s3_status status;
    int http_status;
    char code[128], text[8192];
    uint32_t attempts, throttled;
    int64_t duration_us;
    struct buf out; /* the answer, written down */
    struct buf body;
    enum s3_versioning versioning;
    struct s3_call *call;
    int pause_every;
    bool paused, cancel_in_info, cancel_in_data, resume_in_data, close_in_done;
};

static void seen_free(struct seen *s) {
    buf_free(&s->out);
    buf_free(&s->body);
    *s = (struct seen){0};
}

static void ended(struct seen *s, const struct s3_result *result) {
    assert_false(busy);
    s->dones++;
    assert_int_equal(s->dones, 1);
    s->status = result->status;
    s->http_status = result->http_status;
    snprintf(s->code, sizeof s->code, "%s", result->code);
    snprintf(s->text, sizeof s->text, "%s", result->text);
    s->attempts = result->attempts;
    s->throttled = result->throttled;
    s->duration_us = result->duration_us;
    s->call = NULL;
    assert_true(result->duration_us >= 0);
    assert_int_equal(result->status == S3_OK, result->text[0] == '\0');
    assert_null(strchr(result->text, '\n'));
    assert_null(strstr(result->text, SECRET));
    assert_null(strstr(result->text, TOKEN));
    assert_null(strstr(result->text, "Signature="));
    if (s->close_in_done)
        s3_client_close(w.client, on_closed, NULL);
}

static void on_buckets(void *arg, const struct s3_result *result, const struct s3_bucket_page *page) {
    struct seen *s = arg;
    assert_int_equal(result->status == S3_OK, page != NULL);
    for (size_t i = 0; page && i < page->n; i++)
        buf_printf(&s->out, "%.*s@%.*s ", (int)page->buckets[i].name.n, page->buckets[i].name.p,
                   (int)page->buckets[i].region.n, page->buckets[i].region.p);
    if (page)
        buf_printf(&s->out, "next=%.*s", (int)page->next_token.n, page->next_token.p);
    ended(s, result);
}

static void on_objects(void *arg, const struct s3_result *result, const struct s3_object_page *page) {
    struct seen *s = arg;
    assert_int_equal(result->status == S3_OK, page != NULL);
    for (size_t i = 0; page && i < page->n; i++)
        buf_printf(&s->out, "%.*s:%llu:%.*s ", (int)page->objects[i].key.n, page->objects[i].key.p,
                   (unsigned long long)page->objects[i].size, (int)page->objects[i].etag.n, page->objects[i].etag.p);
    if (page)
        buf_printf(&s->out, "more=%d last=%.*s", page->truncated, (int)page->last_key.n, page->last_key.p);
    ended(s, result);
}

static void write_info(struct buf *out, const struct s3_object_info *info) {
    buf_printf(out, "%lld %.*s %.*s %.*s %lld", (long long)info->size, (int)info->etag.n, info->etag.p,
               (int)info->version_id.n, info->version_id.p, (int)info->content_type.n, info->content_type.p,
               (long long)info->modified_utc_us);
    for (size_t i = 0; i < info->n_metadata; i++)
        buf_printf(out, " %.*s=%.*s", (int)info->metadata[i].name.n, info->metadata[i].name.p,
                   (int)info->metadata[i].value.n, info->metadata[i].value.p);
}

static void on_info(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct seen *s = arg;
    assert_int_equal(result->status == S3_OK, info != NULL);
    if (info)
        write_info(&s->out, info);
    ended(s, result);
}

static void get_info(void *arg, const struct s3_object_info *info) {
    struct seen *s = arg;
    assert_false(busy);
    assert_int_equal(++s->infos, 1);
    write_info(&s->out, info);
    if (s->cancel_in_info)
        s3_cancel(s->call);
}

static bool get_data(void *arg, struct bytes piece) {
    struct seen *s = arg;
    assert_false(busy);
    assert_false(s->paused);
    assert_int_equal(s->infos, 1);
    s->pieces++;
    buf_add_bytes(&s->body, piece);
    if (s->cancel_in_data)
        s3_cancel(s->call);
    s->paused = s->pause_every && s->pieces % s->pause_every == 0;
    if (s->paused && s->resume_in_data) {
        s3_get_resume(s->call);
        s->paused = false;
        return false;
    }
    return !s->paused;
}

static void get_done(void *arg, const struct s3_result *result) {
    ended(arg, result);
}

static const struct s3_get_handler get_handler = {get_info, get_data, get_done};

static void on_put(void *arg, const struct s3_result *result, struct bytes etag, struct bytes version_id) {
    struct seen *s = arg;
    buf_printf(&s->out, "%.*s %.*s", (int)etag.n, etag.p, (int)version_id.n, version_id.p);
    ended(s, result);
}

static void on_delete(void *arg, const struct s3_result *result) {
    ended(arg, result);
}

static void on_versioning(void *arg, const struct s3_result *result, enum s3_versioning versioning) {
    struct seen *s = arg;
    s->versioning = versioning;
    ended(s, result);
}

static void finish(struct seen *s) {
    while (!s->dones)
        assert_true(uv_run(&w.loop, UV_RUN_ONCE) || s->dones);
}

enum kind { LIST_BUCKETS, LIST, HEAD, GET, PUT, DELETE, VERSIONING };

static void begin(struct seen *s, enum kind kind) {
    int r = -1;
    busy = true;
    switch (kind) {
    case LIST_BUCKETS:
        r = s3_list_buckets(w.client, BYTES_NONE, BYTES_NONE, on_buckets, s, &s->call);
        break;
    case LIST:
        r = s3_list_objects(w.client, BUCKET, BYTES_NONE, BYTES_NONE, 0, on_objects, s, &s->call);
        break;
    case HEAD:
        r = s3_head(w.client, BUCKET, KEY, BYTES_NONE, on_info, s, &s->call);
        break;
    case GET:
        r = s3_get(w.client, BUCKET, KEY, &get_handler, s, &s->call);
        break;
    case PUT:
        r = s3_put(w.client, BUCKET, KEY, BYTES("some body"), BYTES_NONE, NULL, 0, on_put, s, &s->call);
        break;
    case DELETE:
        r = s3_delete(w.client, BUCKET, KEY, BYTES_NONE, BYTES_NONE, on_delete, s, &s->call);
        break;
    case VERSIONING:
        r = s3_get_versioning(w.client, BUCKET, on_versioning, s, &s->call);
        break;
    }
    busy = false;
    assert_int_equal(r, 0);
    assert_int_equal(s->dones, 0);
}

static void call(struct seen *s, enum kind kind) {
    begin(s, kind);
    finish(s);
}

static struct s3_counters counters(void) {
    struct s3_counters c;
    s3_client_counters(w.client, &c);
    return c;
}

static void add_error(int status, const char *fields, const char *code, const char *more) {
    char body[1024];
    snprintf(body, sizeof body,
             "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>Words about %s</Message>%s"
             "<RequestId>RID1</RequestId></Error>",
             code, code, more);
    script_add_body(w.server, status, fields, body);
}

/* ---- is what was sent signed as it was sent? ---- */

static void split_query(const char *query, struct sigv4_param *params, size_t *n, struct buf *store) {
    if (!query)
        return;
    buf_reserve(store, strlen(query) + 1);
    while (*query) {
        size_t size = strcspn(query, "&"), name = strcspn(query, "=");
        size_t at = store->n;
        text_add_unpercent(store, bytes_of(query, name), false);
        params[*n].name = bytes_of(store->p + at, store->n - at);
        at = store->n;
        text_add_unpercent(store, bytes_of(query + name + 1, size - name - 1), false);
        params[(*n)++].value = bytes_of(store->p + at, store->n - at);
        query += size + (query[size] == '&');
    }
}

static void check_signature(size_t request, const char *region) {
    char authorization[4096], method[16] = "", path[8192] = "", names[1024] = "", got[80] = "", want[65], scope[128];
    const char *value = script_header(w.server, request, "authorization");
    assert_non_null(value);
    snprintf(authorization, sizeof authorization, "%s", value);
    assert_int_equal(sscanf(script_target(w.server, request), "%15s %8191s", method, path), 2);
    const char *at = strstr(authorization, "SignedHeaders="), *end = strstr(authorization, ", Signature=");
    assert_true(at && end);
    snprintf(names, sizeof names, "%.*s", (int)(end - at - 14), at + 14);
    snprintf(got, sizeof got, "%s", end + 12);
    char *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    struct sigv4_param params[16];
    struct sigv4_header headers[64];
    size_t n_params = 0, n_headers = 0;
    struct buf store = {0}, values = {0};
    split_query(query, params, &n_params, &store);
    buf_reserve(&values, 65536);
    for (char *save, *name = strtok_r(names, ";", &save); name; name = strtok_r(NULL, ";", &save)) {
        value = script_header(w.server, request, strcmp(name, "host") == 0 ? "Host" : name);
        assert_non_null(value);
        size_t place = values.n;
        buf_add_str(&values, value);
        headers[n_headers++] = (struct sigv4_header){bytes_str(name), bytes_of(values.p + place, values.n - place)};
    }
    char hash[80];
    snprintf(hash, sizeof hash, "%s", script_header(w.server, request, "x-amz-content-sha256"));
    struct clock_date date = {0};
    const char *amz_date = script_header(w.server, request, "x-amz-date");
    assert_int_equal(sscanf(amz_date, "%4d%2d%2dT%2d%2d%2dZ", &date.year, &date.month, &date.day, &date.hour,
                            &date.minute, &date.second),
                     6);
    struct sigv4_request r = {
        .method = method,
        .path = bytes_str(path),
        .params = params,
        .n_params = n_params,
        .headers = headers,
        .n_headers = n_headers,
        .payload_hash = bytes_str(hash),
        .region = bytes_str(region),
        .service = BYTES("s3"),
        .now_utc_us = clock_from_date_utc(&date),
    };
    struct sigv4_signer *signer;
    assert_int_equal(sigv4_signer_new(&signer), 0);
    assert_int_equal(sigv4_signature(signer, &provider.keys, &r, want), 0);
    sigv4_signer_free(signer);
    assert_string_equal(got, want);
    snprintf(scope, sizeof scope, "/%s/s3/aws4_request", region);
    assert_non_null(strstr(authorization, scope));
    buf_free(&store);
    buf_free(&values);
}

static bool is_signed(size_t request, const char *name) {
    char text[1024], pattern[128];
    snprintf(text, sizeof text, "%s", script_header(w.server, request, "authorization"));
    snprintf(pattern, sizeof pattern, "%s", name);
    char *at = strstr(text, "SignedHeaders=");
    return at && strstr(at, pattern);
}

/* ---- requests ---- */

static void odd_keys_go_out_as_they_are(void **state) {
    static const struct {
        struct bytes key;
        const char *target;
    } cases[] = {
        {{"plain", 5}, "GET /bucket-1/plain"},
        {{"a b+c%d", 7}, "GET /bucket-1/a%20b%2Bc%25d"},
        {{"%20", 3}, "GET /bucket-1/%2520"},
        {{"'\"<>&", 5}, "GET /bucket-1/%27%22%3C%3E%26"},
        {{"line\nbreak\r", 11}, "GET /bucket-1/line%0Abreak%0D"},
        {{"a//b", 4}, "GET /bucket-1/a//b"},
        {{"a/../b/./c", 10}, "GET /bucket-1/a/../b/./c"},
        {{"..", 2}, "GET /bucket-1/.."},
        {{"/lead", 5}, "GET /bucket-1//lead"},
        {{"//", 2}, "GET /bucket-1///"},
        {{"dir/", 4}, "GET /bucket-1/dir/"},
        {{"?x=1#y", 6}, "GET /bucket-1/%3Fx%3D1%23y"},
        {{"\xc3\xa4\xe2\x82\xac", 5}, "GET /bucket-1/%C3%A4%E2%82%AC"},
        {{"\x00\x01\x7f\xff", 4}, "GET /bucket-1/%00%01%7F%FF"},
        {{"-_.~", 4}, "GET /bucket-1/-_.~"},
        {{"{}[]|\\^`*!()$,;:=@", 18}, "GET /bucket-1/%7B%7D%5B%5D%7C%5C%5E%60%2A%21%28%29%24%2C%3B%3A%3D%40"},
    };
    w.server->fallback.text = EMPTY_OK;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen s = {0};
        assert_int_equal(s3_get(w.client, BUCKET, cases[i].key, &get_handler, &s, NULL), 0);
        finish(&s);
        assert_int_equal(s.status, S3_OK);
        assert_string_equal(script_target(w.server, i), cases[i].target);
        check_signature(i, "us-east-1");
        seen_free(&s);
    }
    assert_int_equal(w.server->n_accepted, 1);
}

static void the_longest_key_works_and_longer_ones_are_refused(void **state) {
    char key[S3_KEY_MAX + 1];
    memset(key, ' ', sizeof key);
    w.server->fallback.text = EMPTY_OK;
    struct seen s = {0};
    assert_int_equal(s3_get(w.client, BUCKET, bytes_of(key, S3_KEY_MAX), &get_handler, &s, NULL), 0);
    finish(&s);
    assert_int_equal(s.status, S3_OK);
    check_signature(0, "us-east-1");
    assert_int_equal(s3_get(w.client, BUCKET, bytes_of(key, S3_KEY_MAX + 1), &get_handler, &s, NULL), -EINVAL);
    assert_int_equal(s3_get(w.client, BUCKET, BYTES_NONE, &get_handler, &s, NULL), -EINVAL);
    assert_int_equal(s3_get(w.client, BYTES("no/slash"), KEY, &get_handler, &s, NULL), -EINVAL);
    assert_int_equal(s3_get(w.client, BYTES(".."), KEY, &get_handler, &s, NULL), -EINVAL);
    assert_int_equal(s3_delete(w.client, BUCKET, KEY, BYTES("v"), BYTES("\"e\""), on_delete, &s, NULL), -EINVAL);
    assert_int_equal(s3_delete(w.client, BUCKET, KEY, BYTES_NONE, BYTES("\"e\r\nx: y\""), on_delete, &s, NULL),
                     -EINVAL);
    assert_int_equal(s3_list_objects(w.client, BUCKET, BYTES_NONE, BYTES_NONE, 1001, on_objects, &s, NULL), -EINVAL);
    const struct s3_header bad = {BYTES("Upper"), BYTES("x")};
    assert_int_equal(s3_put(w.client, BUCKET, KEY, BYTES_NONE, BYTES_NONE, &bad, 1, on_put, &s, NULL), -EINVAL);
    seen_free(&s);
    assert_int_equal(w.server->n_requests, 1);
}

static void every_operation_asks_as_documented(void **state) {
    struct seen s = {0};
    provider.keys.session_token = BYTES(TOKEN);

    script_add_body(w.server, 200, "",
                    "<ListAllMyBucketsResult><Buckets><Bucket><Name>pre-1</Name><BucketRegion>eu-west-1"
                    "</BucketRegion></Bucket><Bucket><Name>other</Name></Bucket></Buckets>"
                    "<ContinuationToken>t2</ContinuationToken></ListAllMyBucketsResult>");
    assert_int_equal(s3_list_buckets(w.client, BYTES("pre-"), BYTES("t 1"), on_buckets, &s, NULL), 0);
    finish(&s);
    assert_string_equal(s.out.p, "pre-1@eu-west-1 next=t2");
    assert_string_equal(script_target(w.server, 0), "GET /?continuation-token=t%201&max-buckets=1000&prefix=pre-");
    assert_string_equal(script_header(w.server, 0, "x-amz-security-token"), TOKEN);
    assert_true(is_signed(0, "x-amz-security-token"));
    check_signature(0, "us-east-1");
    seen_free(&s);

    script_add_body(w.server, 200, "",
                    "<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>"
                    "<Contents><Key>a%20b</Key><Size>7</Size><ETag>\"e1\"</ETag></Contents>"
                    "<Contents><Key>c%2Bd</Key><Size>0</Size></Contents></ListBucketResult>");
    assert_int_equal(s3_list_objects(w.client, BUCKET, BYTES("a b/"), BYTES("a\n"), 2, on_objects, &s, NULL), 0);
    finish(&s);
    assert_string_equal(s.out.p, "a b:7:\"e1\" c+d:0: more=1 last=c+d");
    assert_string_equal(script_target(w.server, 1),
                        "GET /bucket-1?encoding-type=url&list-type=2&max-keys=2&prefix=a%20b%2F&start-after=a%0A");
    assert_string_equal(script_header(w.server, 1, "x-amz-optional-object-attributes"), "RestoreStatus");
    check_signature(1, "us-east-1");
    seen_free(&s);

    const char *head = "HTTP/1.1 200 OK\r\nETag: \"e2\"\r\nContent-Length: 77\r\nx-amz-version-id: v1\r\n"
                       "Content-Type: image/png\r\nLast-Modified: Thu, 01 Jan 1970 00:00:01 GMT\r\n"
                       "x-amz-meta-One: first\r\nX-Amz-Meta-two: second thing\r\n\r\n";
    script_add(w.server, (struct script_answer){.text = head});
    assert_int_equal(s3_head(w.client, BUCKET, KEY, BYTES("v/1"), on_info, &s, NULL), 0);
    finish(&s);
    assert_string_equal(s.out.p, "77 \"e2\" v1 image/png 1000000 one=first two=second thing");
    assert_string_equal(script_target(w.server, 2), "HEAD /bucket-1/key?versionId=v%2F1");
    check_signature(2, "us-east-1");
    seen_free(&s);

    script_add_body(w.server, 200, "ETag: \"e3\"\r\nx-amz-meta-m: n\r\n", "hello");
    call(&s, GET);
    assert_string_equal(s.out.p, "5 \"e3\"   0 m=n");
    assert_string_equal(s.body.p, "hello");
    assert_string_equal(script_header(w.server, 3, "x-amz-checksum-mode"), "ENABLED");
    assert_true(is_signed(3, "x-amz-checksum-mode"));
    assert_string_equal(script_header(w.server, 3, "x-amz-content-sha256"), SIGV4_EMPTY_SHA256);
    assert_non_null(script_header(w.server, 3, "user-agent"));
    assert_null(script_header(w.server, 3, "Accept"));
    check_signature(3, "us-east-1");
    seen_free(&s);

    script_add_body(w.server, 200, "ETag: \"e4\"\r\nx-amz-version-id: v9\r\n", "");
    const struct s3_header metadata[] = {{BYTES("a"), BYTES("1 2")}, {BYTES("b"), BYTES("x")}};
    assert_int_equal(s3_put(w.client, BUCKET, KEY, BYTES("123456789"), BYTES("text/x"), metadata, 2, on_put, &s, NULL),
                     0);
    finish(&s);
    assert_string_equal(s.out.p, "\"e4\" v9");
    assert_string_equal(script_target(w.server, 4), "PUT /bucket-1/key");
    assert_string_equal(script_header(w.server, 4, "x-amz-checksum-crc32"), "y/Q5Jg==");
    assert_string_equal(script_header(w.server, 4, "x-amz-content-sha256"),
                        "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
    assert_string_equal(script_header(w.server, 4, "content-type"), "text/x");
    assert_string_equal(script_header(w.server, 4, "x-amz-meta-a"), "1 2");
    assert_string_equal(script_header(w.server, 4, "Content-Length"), "9");
    assert_null(script_header(w.server, 4, "Expect"));
    check_signature(4, "us-east-1");
    seen_free(&s);

    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 204 No Content\r\n\r\n"});
    assert_int_equal(s3_delete(w.client, BUCKET, KEY, BYTES_NONE, BYTES("\"e4\""), on_delete, &s, NULL), 0);
    finish(&s);
    assert_int_equal(s.status, S3_OK);
    assert_string_equal(script_target(w.server, 5), "DELETE /bucket-1/key");
    assert_string_equal(script_header(w.server, 5, "if-match"), "\"e4\"");
    assert_true(is_signed(5, "if-match"));
    check_signature(5, "us-east-1");
    seen_free(&s);

    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 204 No Content\r\n\r\n"});
    assert_int_equal(s3_delete(w.client, BUCKET, KEY, BYTES("v+1"), BYTES_NONE, on_delete, &s, NULL), 0);
    finish(&s);
    assert_string_equal(script_target(w.server, 6), "DELETE /bucket-1/key?versionId=v%2B1");
    assert_null(script_header(w.server, 6, "if-match"));
    check_signature(6, "us-east-1");
    seen_free(&s);

    script_add_body(w.server, 200, "", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    call(&s, VERSIONING);
    assert_int_equal(s.versioning, S3_VERSIONING_ENABLED);
    assert_string_equal(script_target(w.server, 7), "GET /bucket-1?versioning=");
    check_signature(7, "us-east-1");
    seen_free(&s);

    add_error(404, "", "NoSuchKey", "");
    assert_int_equal(s3_probe_conditional_delete(w.client, BUCKET, on_delete, &s, NULL), 0);
    finish(&s);
    assert_int_equal(s.status, S3_NO_KEY);
    assert_non_null(strstr(script_target(w.server, 8), "DELETE /bucket-1/.froe-probe-"));
    assert_non_null(script_header(w.server, 8, "if-match"));
    seen_free(&s);

    struct s3_counters c = counters();
    assert_int_equal(c.list_buckets, 1);
    assert_int_equal(c.list_objects, 1);
    assert_int_equal(c.head, 1);
    assert_int_equal(c.get, 1);
    assert_int_equal(c.put, 1);
    assert_int_equal(c.delete, 3);
    assert_int_equal(c.other, 1);
    assert_int_equal(c.retries, 0);
    assert_int_equal(c.bytes_out, 9);
    assert_int_equal(w.server->n_accepted, 1);
}

static void listing_pages_of_servers_that_ignore_paging(void **state) {
    struct seen s = {0};
    script_add_body(w.server, 200, "",
                    "<ListAllMyBucketsResult><Buckets><Bucket><Name>zz</Name></Bucket></Buckets>"
                    "</ListAllMyBucketsResult>");
    assert_int_equal(s3_list_buckets(w.client, BYTES("pre"), BYTES_NONE, on_buckets, &s, NULL), 0);
    finish(&s);
    assert_string_equal(s.out.p, "next=");
    seen_free(&s);
}

/* ---- where to ---- */

static void check_url(struct s3_options o, const char *region, const char *bucket, const char *key, const char *want,
                      const char *want_host) {
    struct s3_endpoint endpoint;
    struct err err = {0};
    assert_int_equal(s3_endpoint_init(&endpoint, &o, &err), 0);
    struct buf out = {0};
    struct s3_url url;
    assert_int_equal(s3_endpoint_url(&endpoint, bytes_str(region), bytes_str(bucket), bytes_str(key), &out, &url), 0);
    assert_string_equal(out.p, want);
    assert_true(bytes_equal(bytes_of(out.p + url.host_at, url.host_n), bytes_str(want_host)));
    assert_ptr_equal(strchr(out.p + 8, '/'), out.p + url.path_at);
    assert_int_equal(url.path_at + url.path_n, out.n);
    buf_free(&out);
    s3_endpoint_free(&endpoint);
}

static void urls_by_endpoint_and_style(void **state) {
    struct s3_options aws = {0}, path = {.addressing = S3_ADDRESS_PATH}, virt = {.addressing = S3_ADDRESS_VIRTUAL};
    check_url(aws, "us-east-1", "buck", "a b", "https://buck.s3.us-east-1.amazonaws.com/a%20b",
              "buck.s3.us-east-1.amazonaws.com");
    check_url(aws, "eu-west-1", "buck", "", "https://buck.s3.eu-west-1.amazonaws.com/",
              "buck.s3.eu-west-1.amazonaws.com");
    check_url(aws, "eu-west-1", "buck", "/k", "https://buck.s3.eu-west-1.amazonaws.com//k",
              "buck.s3.eu-west-1.amazonaws.com");
    check_url(aws, "eu-west-1", "with.dots", "k", "https://s3.eu-west-1.amazonaws.com/with.dots/k",
              "s3.eu-west-1.amazonaws.com");
    check_url(aws, "eu-west-1", "Upper", "k", "https://s3.eu-west-1.amazonaws.com/Upper/k",
              "s3.eu-west-1.amazonaws.com");
    check_url(aws, "eu-west-1", "-edge", "k", "https://s3.eu-west-1.amazonaws.com/-edge/k",
              "s3.eu-west-1.amazonaws.com");
    check_url(aws, "eu-west-1", "ab", "k", "https://s3.eu-west-1.amazonaws.com/ab/k", "s3.eu-west-1.amazonaws.com");
    check_url(aws, "eu-west-1", "", "", "https://s3.eu-west-1.amazonaws.com/", "s3.eu-west-1.amazonaws.com");
    check_url(aws, "cn-north-1", "buck", "k", "https://buck.s3.cn-north-1.amazonaws.com.cn/k",
              "buck.s3.cn-north-1.amazonaws.com.cn");
    check_url(aws, "us-iso-east-1", "buck", "k", "https://buck.s3.us-iso-east-1.c2s.ic.gov/k",
              "buck.s3.us-iso-east-1.c2s.ic.gov");
    check_url(aws, "us-isob-east-1", "buck", "k", "https://buck.s3.us-isob-east-1.sc2s.sgov.gov/k",
              "buck.s3.us-isob-east-1.sc2s.sgov.gov");
    check_url(aws, "us-gov-west-1", "buck", "k", "https://buck.s3.us-gov-west-1.amazonaws.com/k",
              "buck.s3.us-gov-west-1.amazonaws.com");
    check_url(path, "eu-west-1", "buck", "k", "https://s3.eu-west-1.amazonaws.com/buck/k",
              "s3.eu-west-1.amazonaws.com");
    virt.endpoint = "http://Example.COM:80";
    check_url(virt, "r", "buck", "k", "http://buck.example.com/k", "buck.example.com");
    check_url(virt, "r", "with.dots", "k", "http://with.dots.example.com/k", "with.dots.example.com");
    virt.endpoint = "https://example.com:9000/";
    check_url(virt, "r", "with.dots", "k", "https://example.com:9000/with.dots/k", "example.com:9000");
    aws.endpoint = "https://minio.example:443";
    check_url(aws, "r", "buck", "k", "https://minio.example/buck/k", "minio.example");
    aws.endpoint = "http://[::1]:9000";
    check_url(aws, "r", "buck", "", "http://[::1]:9000/buck", "[::1]:9000");
    aws.endpoint = "http://[::1]";
    check_url(aws, "r", "", "", "http://[::1]/", "[::1]");
}

static void options_that_cannot_be_right(void **state) {
    static const char *const endpoints[] = {"",           "example.com",   "ftp://x",    "http://",
                                            "http://a/b", "http://u@h",    "http://h:0", "http://h:65536",
                                            "http://h:",  "http://h:x",    "http://h?q", "http://[::1",
                                            "http://a b", "http://[::1]x", "http://h\n"};
    struct err err = {0};
    struct s3_client *client;
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        struct s3_options o = options();
        o.endpoint = endpoints[i];
        err.text[0] = '\0';
        assert_int_equal(s3_client_new(&w.loop, &o, &client, &err), -EINVAL);
        assert_non_null(strstr(err.text, "endpoint"));
    }
    struct s3_options o = options();
    o.region = "eu west";
    assert_int_equal(s3_client_new(&w.loop, &o, &client, &err), -EINVAL);
    o = options();
    o.ca_bundle = "/nonexistent/ca.pem";
    assert_int_equal(s3_client_new(&w.loop, &o, &client, &err), -EINVAL);
    o = options();
    o.user_agent = "a\r\nb: c";
    assert_int_equal(s3_client_new(&w.loop, &o, &client, &err), -EINVAL);
    o = options();
    o.addressing = S3_ADDRESS_VIRTUAL;
    assert_int_equal(s3_client_new(&w.loop, &o, &client, &err), -EINVAL);
    o = options();
    o.credentials = NULL;
    assert_int_equal(s3_client_new(&w.loop, &o, &client, &err), -EINVAL);
}

/* ---- what answers mean ---- */

static void statuses_and_codes(void **state) {
    struct s3_options o = options();
    o.max_attempts = 1;
    use(o);
    static const struct {
        enum kind kind;
        int status;
        const char *code; /* NULL: no body; "-": a body that is not S3's */
        enum s3_status want;
    } cases[] = {
        {GET, 404, "NoSuchKey", S3_NO_KEY},
        {GET, 404, NULL, S3_NO_KEY},
        {GET, 404, "-", S3_BAD_REQUEST},
        {GET, 404, "NoSuchBucket", S3_NO_BUCKET},
        {HEAD, 404, NULL, S3_NO_KEY},
        {DELETE, 404, "NoSuchKey", S3_NO_KEY},
        {DELETE, 404, "NoSuchVersion", S3_NO_KEY},
        {DELETE, 412, "PreconditionFailed", S3_PRECONDITION},
        {DELETE, 412, NULL, S3_PRECONDITION},
        {DELETE, 409, "ConditionalRequestConflict", S3_CONFLICT},
        {DELETE, 501, "NotImplemented", S3_NOT_SUPPORTED},
        {DELETE, 405, "MethodNotAllowed", S3_NOT_SUPPORTED},
        {LIST, 404, "NoSuchBucket", S3_NO_BUCKET},
        {LIST, 404, NULL, S3_NO_BUCKET},
        {GET, 403, "AccessDenied", S3_DENIED},
        {HEAD, 403, NULL, S3_DENIED},
        {GET, 403, "InvalidObjectState", S3_ARCHIVED},
        {GET, 403, "InvalidAccessKeyId", S3_CREDENTIALS},
        {GET, 403, "SignatureDoesNotMatch", S3_CREDENTIALS},
        {GET, 400, "InvalidToken", S3_CREDENTIALS},
        {GET, 400, "InvalidArgument", S3_BAD_REQUEST},
        {GET, 416, "InvalidRange", S3_BAD_REQUEST},
        {GET, 500, "InternalError", S3_SERVER},
        {GET, 502, "-", S3_SERVER},
        {GET, 503, "SlowDown", S3_THROTTLED},
        {HEAD, 503, NULL, S3_THROTTLED},
        {GET, 503, "ServiceUnavailable", S3_THROTTLED},
        {GET, 503, "SomethingElse", S3_SERVER},
        {GET, 429, NULL, S3_THROTTLED},
        {PUT, 400, "ThrottlingException", S3_THROTTLED},
        {PUT, 400, "RequestTimeout", S3_TIMEOUT},
        {PUT, 400, "BadDigest", S3_CORRUPT},
        {GET, 206, "-", S3_CORRUPT},
        {GET, 304, NULL, S3_BAD_REQUEST},
        {LIST, 200, "InternalError", S3_SERVER},
        {LIST, 200, "SlowDown", S3_THROTTLED},
        {LIST, 200, "AccessDenied", S3_DENIED},
        {LIST, 200, "WhoKnows", S3_SERVER},
        {LIST, 200, "-", S3_CORRUPT},
        {LIST, 200, NULL, S3_CORRUPT},
        {LIST_BUCKETS, 200, "-", S3_CORRUPT},
        {VERSIONING, 200, "-", S3_CORRUPT},
        {VERSIONING, 403, "AccessDenied", S3_DENIED},
        {DELETE, 200, "InternalError", S3_SERVER},
        {DELETE, 200, NULL, S3_OK},
        {DELETE, 200, "-", S3_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *code = cases[i].code;
        if (cases[i].kind == HEAD || cases[i].status == 304 || cases[i].status == 204) {
            static char text[64];
            snprintf(text, sizeof text, "HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n", cases[i].status,
                     cases[i].status == 304 ? 0 : 100);
            script_add(w.server, (struct script_answer){.text = text});
        } else if (!code || code[0] == '-') {
            script_add_body(w.server, cases[i].status, "", code ? "<html>no</html>" : "");
        } else {
            add_error(cases[i].status, "", code, "");
        }
        struct seen s = {0};
        call(&s, cases[i].kind);
        if (s.status != cases[i].want)
            print_error("case %zu: %s\n", i, s.text);
        assert_int_equal(s.status, cases[i].want);
        assert_int_equal(s.http_status, cases[i].status);
        assert_int_equal(s.attempts, 1);
        assert_string_equal(s.code, code && code[0] != '-' && cases[i].kind != HEAD ? code : "");
        assert_int_equal(s.throttled, s.status == S3_THROTTLED);
        seen_free(&s);
    }
}

static void the_text_says_what_happened(void **state) {
    struct seen s = {0};
    add_error(403, "", "AccessDenied", "");
    assert_int_equal(s3_get(w.client, BUCKET, BYTES("a\nb\x1b[2J"), &get_handler, &s, NULL), 0);
    finish(&s);
    assert_string_equal(s.text,
                        "GET bucket-1/a\\x0ab\\x1b[2J: 403 AccessDenied: Words about AccessDenied (request id RID1)");
    seen_free(&s);
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 403 no\r\nx-amz-request-id: RID2\r\n\r\n"});
    call(&s, HEAD);
    assert_string_equal(s.text, "HEAD bucket-1/key: 403 denied (request id RID2)");
    seen_free(&s);
    script_add_body(w.server, 400, "",
                    "<Error><Code>Bad\x07"
                    "Code</Code><Message>x</Message></Error>"); /* not even XML 1.0 */
    call(&s, GET);
    assert_int_equal(s.status, S3_BAD_REQUEST);
    assert_string_equal(s.code, "");
    seen_free(&s);
    /* a message without end is cut */
    struct buf body = {0};
    buf_add_str(&body, "<Error><Code>Long</Code><Message>");
    for (int i = 0; i < 5000; i++)
        buf_add_byte(&body, 'm');
    buf_add_str(&body, "</Message></Error>");
    script_add_body(w.server, 400, "", body.p);
    call(&s, GET);
    assert_string_equal(s.code, "Long");
    assert_true(strlen(s.text) < 600);
    seen_free(&s);
    /* an error body past its bound is not read to its end */
    buf_reset(&body);
    for (int i = 0; i < 200000; i++)
        buf_add_byte(&body, 'x');
    script_add_body(w.server, 403, "", body.p);
    call(&s, GET);
    assert_int_equal(s.status, S3_DENIED);
    seen_free(&s);
    buf_free(&body);
}

static void a_chunked_error_body_is_read(void **state) {
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                                        "1b\r\n<Error><Code>NoSuchKey</Cod\r\n"
                                                        "b\r\ne></Error>\n\r\n0\r\n\r\n"});
    struct seen s = {0};
    call(&s, GET);
    assert_int_equal(s.status, S3_NO_KEY);
    assert_string_equal(s.code, "NoSuchKey");
    seen_free(&s);
}

/* ---- retries ---- */

static void throttling_is_waited_out_and_counted(void **state) {
    add_error(503, "", "SlowDown", "");
    add_error(429, "", "TooManyRequests", "");
    script_add_body(w.server, 200, "", "hello");
    struct seen s = {0};
    call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(s.attempts, 3);
    assert_int_equal(s.throttled, 2);
    assert_string_equal(s.body.p, "hello");
    struct s3_counters c = counters();
    assert_int_equal(c.get, 3);
    assert_int_equal(c.retries, 2);
    assert_int_equal(c.throttled, 2);
    seen_free(&s);
    for (int i = 0; i < 3; i++)
        add_error(503, "", "SlowDown", "");
    call(&s, DELETE);
    assert_int_equal(s.status, S3_THROTTLED);
    assert_int_equal(s.attempts, 3);
    assert_non_null(strstr(s.text, "SlowDown"));
    assert_non_null(strstr(s.text, "after 3 attempts"));
    seen_free(&s);
}

static void broken_attempts_are_retried(void **state) {
    static const struct script_answer broken[] = {
        {.text = "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n"},
        {.text = "HTTP/1.1 504 x\r\nContent-Length: 0\r\n\r\n"},
        {.text = NULL, .then = SCRIPT_RESET},
        {.text = NULL, .then = SCRIPT_CLOSE},
        {.text = NULL, .then = SCRIPT_HANG},
        {.text = "garbage\r\n\r\n", .then = SCRIPT_CLOSE},
        {.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<ListBucketResult>", .then = SCRIPT_CLOSE},
        {.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<ListBucketResult>", .then = SCRIPT_HANG},
        {.text = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n<ListBucketResult>"},
        {.text = "HTTP/1.1 200 OK\r\nContent-Length: 53\r\n\r\n<Error><Code>InternalError</Code><Message/></Error>   "},
        {.text = "HTTP/1.1 404 x\r\nContent-Length: 100\r\n\r\n", .then = SCRIPT_CLOSE},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        script_close_connections(w.server);
        run_ms(2);
        script_add(w.server, broken[i]);
        script_add_body(w.server, 200, "", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>");
        struct seen s = {0};
        call(&s, LIST);
        if (s.status != S3_OK || s.attempts != 2)
            print_error("case %zu: %d %s\n", i, (int)s.attempts, s.text);
        assert_int_equal(s.status, S3_OK);
        assert_int_equal(s.attempts, 2);
        seen_free(&s);
    }
}

static void what_remains_after_the_retries(void **state) {
    struct s3_options o = options();
    o.max_attempts = 2;
    use(o);
    static const struct {
        struct script_answer answer;
        enum s3_status want;
    } cases[] = {
        {{.text = NULL, .then = SCRIPT_CLOSE}, S3_UNREACHABLE},
        {{.text = NULL, .then = SCRIPT_HANG}, S3_TIMEOUT},
        {{.text = "garbage\r\n\r\n", .then = SCRIPT_CLOSE}, S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n<ListBucketResult>"}, S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<ListBucketResult>", .then = SCRIPT_CLOSE},
         S3_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script_close_connections(w.server);
        run_ms(2);
        script_add(w.server, cases[i].answer);
        script_add(w.server, cases[i].answer);
        struct seen s = {0};
        call(&s, LIST);
        assert_int_equal(s.status, cases[i].want);
        assert_int_equal(s.attempts, 2);
        seen_free(&s);
    }
    o.endpoint = "http://127.0.0.1:1";
    use(o);
    struct seen s = {0};
    call(&s, GET);
    assert_int_equal(s.status, S3_UNREACHABLE);
    assert_int_equal(s.http_status, 0);
    assert_int_equal(s.attempts, 2);
    assert_non_null(strstr(s.text, "127.0.0.1"));
    seen_free(&s);
}

static void a_put_is_sent_whole_again(void **state) {
    add_error(500, "", "InternalError", "");
    script_add_body(w.server, 200, "ETag: \"x\"\r\n", "");
    struct seen s = {0};
    call(&s, PUT);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(w.server->n_requests, 2);
    for (size_t i = 0; i < 2; i++)
        assert_non_null(strstr(w.server->requests[i].p, "\r\n\r\nsome body"));
    seen_free(&s);
}

static void the_server_says_when(void **state) {
    add_error(503, "x-amz-retry-after: 120\r\n", "SlowDown", "");
    script_add_body(w.server, 200, "", "");
    struct seen s = {0};
    uint64_t before = uv_hrtime();
    call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_true(uv_hrtime() - before >= 119 * 1000000);
    seen_free(&s);
    /* longer than the deadline: there is no use in waiting */
    add_error(503, "Retry-After: 15\r\n", "SlowDown", "");
    before = uv_hrtime();
    call(&s, DELETE);
    assert_int_equal(s.status, S3_THROTTLED);
    assert_int_equal(s.attempts, 1);
    assert_true(uv_hrtime() - before < 1000000000);
    seen_free(&s);
}

static void waits_are_random_and_bounded(void **state) {
    struct rng rng;
    rng_seed(&rng, 7);
    int64_t most[8] = {0};
    for (int i = 0; i < 2000; i++) {
        for (uint32_t n = 1; n < 8; n++) {
            int64_t wait = s3_wait_us(&rng, US_PER_S, true, n, 0);
            int64_t bound = US_PER_S << (n - 1);
            bound = bound > 20 * US_PER_S ? 20 * US_PER_S : bound;
            assert_in_range(wait, 0, bound - 1);
            most[n] = wait > most[n] ? wait : most[n];
        }
        assert_in_range(s3_wait_us(&rng, US_PER_S, false, 1, 0), 0, US_PER_S / 10);
    }
    for (uint32_t n = 2; n < 5; n++)
        assert_true(most[n] > most[n - 1]);
    assert_int_equal(s3_wait_us(&rng, US_PER_S, false, 1, 3 * US_PER_S), 3 * US_PER_S);
    assert_int_equal(s3_wait_us(&rng, US_PER_S, false, 1, 300 * US_PER_S), 20 * US_PER_S);
    assert_in_range(s3_wait_us(&rng, US_PER_S, true, UINT32_MAX, 0), 0, 20 * US_PER_S);
}

static void a_broken_server_is_not_hammered(void **state) {
    struct s3_options o = options();
    o.retry_base_us = 10;
    use(o);
    w.server->fallback.text = "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n";
    struct seen s = {0};
    for (int i = 0; i < 200; i++) {
        call(&s, GET);
        assert_int_equal(s.status, S3_SERVER);
        seen_free(&s);
    }
    assert_int_equal(counters().retries, S3_QUOTA_MAX / S3_QUOTA_RETRY);
    /* successes fill it again, one token each */
    w.server->fallback.text = EMPTY_OK;
    for (int i = 0; i < S3_QUOTA_RETRY; i++) {
        call(&s, GET);
        assert_int_equal(s.status, S3_OK);
        seen_free(&s);
    }
    w.server->fallback.text = "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n";
    call(&s, GET);
    assert_int_equal(s.attempts, 2);
    seen_free(&s);
}

static void the_deadline_covers_all_attempts(void **state) {
    struct s3_options o = options();
    o.call_deadline_us = 120 * US_PER_MS;
    o.stall_timeout_us = 50 * US_PER_MS;
    o.max_attempts = 100;
    use(o);
    struct seen s = {0};
    uint64_t before = uv_hrtime();
    call(&s, DELETE); /* nobody answers */
    uint64_t took = uv_hrtime() - before;
    assert_int_equal(s.status, S3_TIMEOUT);
    assert_in_range(took, 60 * 1000000, UINT64_C(2) * 1000000000);
    assert_true(s.duration_us >= 60 * US_PER_MS);
    seen_free(&s);
}

/* ---- what can be mended ---- */

static void another_region_is_followed_once_and_remembered(void **state) {
    static const struct {
        int status;
        const char *fields, *code, *more;
    } cases[] = {
        {301, "x-amz-bucket-region: eu-west-1\r\n", "PermanentRedirect", ""},
        {307, "x-amz-bucket-region: eu-west-1\r\n", "TemporaryRedirect", ""},
        {400, "", "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"},
        {400, "x-amz-bucket-region: eu-west-1\r\n", "IllegalLocationConstraintException", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        use(options());
        size_t first = w.server->n_requests;
        add_error(cases[i].status, cases[i].fields, cases[i].code, cases[i].more);
        script_add_body(w.server, 200, "", "hello");
        script_add_body(w.server, 200, "", "again");
        struct seen s = {0};
        call(&s, GET);
        assert_int_equal(s.status, S3_OK);
        assert_int_equal(s.attempts, 1);
        assert_string_equal(s.body.p, "hello");
        check_signature(first, "us-east-1");
        check_signature(first + 1, "eu-west-1");
        seen_free(&s);
        call(&s, GET);
        assert_int_equal(s.status, S3_OK);
        check_signature(first + 2, "eu-west-1");
        seen_free(&s);
        struct s3_counters c = counters();
        assert_int_equal(c.redirects, 1);
        assert_int_equal(c.get, 3);
        assert_int_equal(c.retries, 0);
    }
}

static void a_second_redirect_is_not_followed(void **state) {
    add_error(301, "x-amz-bucket-region: eu-west-1\r\n", "PermanentRedirect", "");
    add_error(301, "x-amz-bucket-region: eu-west-2\r\n", "PermanentRedirect", "");
    struct seen s = {0};
    call(&s, GET);
    assert_int_equal(s.status, S3_BAD_REQUEST);
    assert_int_equal(w.server->n_requests, 2);
    seen_free(&s);
    /* nor one to where we are, or to nowhere that a host name could hold */
    add_error(301, "x-amz-bucket-region: eu-west-1\r\n", "PermanentRedirect", "");
    call(&s, GET);
    assert_int_equal(s.status, S3_BAD_REQUEST);
    assert_int_equal(w.server->n_requests, 3);
    seen_free(&s);
}

static void a_region_that_is_not_told_is_asked_for(void **state) {
    add_error(301, "", "PermanentRedirect", "");
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 403 x\r\nx-amz-bucket-region: ap-south-1\r\n\r\n"});
    script_add_body(w.server, 200, "", "hello");
    struct seen s = {0};
    const struct s3_header metadata = {BYTES("m"), BYTES("n")};
    assert_int_equal(s3_put(w.client, BUCKET, KEY, BYTES("b"), BYTES("text/x"), &metadata, 1, on_put, &s, NULL), 0);
    finish(&s);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(s.attempts, 1);
    assert_string_equal(script_target(w.server, 1), "HEAD /bucket-1");
    check_signature(1, "us-east-1");
    assert_null(script_header(w.server, 1, "x-amz-meta-m"));
    check_signature(2, "ap-south-1");
    assert_string_equal(script_header(w.server, 2, "x-amz-meta-m"), "n");
    assert_non_null(strstr(w.server->requests[2].p, "\r\n\r\nb"));
    assert_int_equal(counters().head, 1);
    seen_free(&s);
    /* it does not tell: the first answer is the result */
    use(options());
    add_error(301, "", "PermanentRedirect", "");
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 403 x\r\n\r\n"});
    call(&s, GET);
    assert_int_equal(s.status, S3_BAD_REQUEST);
    assert_int_equal(s.http_status, 301);
    assert_string_equal(s.code, "PermanentRedirect");
    seen_free(&s);
}

static void a_head_is_redirected_without_words(void **state) {
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 400 x\r\nx-amz-bucket-region: eu-west-1\r\n\r\n"});
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\n"});
    struct seen s = {0};
    call(&s, HEAD);
    assert_int_equal(s.status, S3_OK);
    check_signature(1, "eu-west-1");
    seen_free(&s);
}

static void a_server_of_another_region_is_understood_without_a_bucket(void **state) {
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            add_error(400, "", "AuthorizationHeaderMalformed", "<Region>garage</Region>");
        script_add_body(w.server, 200, "", "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>");
        struct seen s = {0};
        call(&s, LIST_BUCKETS);
        assert_int_equal(s.status, S3_OK);
        check_signature((size_t)i + 1, "garage");
        seen_free(&s);
    }
    assert_int_equal(counters().redirects, 1);
}

static void regions_in_the_bucket_list_are_used(void **state) {
    script_add_body(w.server, 200, "",
                    "<ListAllMyBucketsResult><Buckets><Bucket><Name>bucket-1</Name><BucketRegion>sa-east-1"
                    "</BucketRegion></Bucket></Buckets></ListAllMyBucketsResult>");
    script_add_body(w.server, 200, "", "");
    struct seen s = {0};
    call(&s, LIST_BUCKETS);
    seen_free(&s);
    call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    check_signature(1, "sa-east-1");
    seen_free(&s);
}

static void a_wrong_clock_is_corrected(void **state) {
    fake_utc_us = INT64_C(1000000000) * US_PER_S;
    const char *date = "Date: Sun, 09 Sep 2001 02:46:40 GMT\r\n"; /* an hour later */
    add_error(403, date, "RequestTimeTooSkewed", "");
    script_add_body(w.server, 200, "", "");
    script_add_body(w.server, 200, "", "");
    struct seen s = {0};
    call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_string_equal(script_header(w.server, 0, "x-amz-date"), "20010909T014640Z");
    assert_string_equal(script_header(w.server, 1, "x-amz-date"), "20010909T024640Z");
    check_signature(1, "us-east-1");
    seen_free(&s);
    call(&s, GET); /* and stays so */
    assert_string_equal(script_header(w.server, 2, "x-amz-date"), "20010909T024640Z");
    seen_free(&s);
    use(options()); /* a HEAD has no code to say it with */
    script_add(w.server,
               (struct script_answer){.text = "HTTP/1.1 403 x\r\nDate: Sun, 09 Sep 2001 02:46:40 GMT\r\n\r\n"});
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\n"});
    call(&s, HEAD);
    assert_int_equal(s.status, S3_OK);
    seen_free(&s);
    use(options()); /* only once */
    for (int i = 0; i < 2; i++)
        add_error(403, date, "RequestTimeTooSkewed", "");
    call(&s, GET);
    assert_int_equal(s.status, S3_CREDENTIALS);
    assert_int_equal(s.attempts, 2);
    seen_free(&s);
}

static void expired_keys_are_renewed_once(void **state) {
    static const char *const codes[] = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"};
    for (size_t i = 0; i < 3; i++) {
        provider.refused = 0;
        provider.renews = true;
        size_t first = w.server->n_requests;
        add_error(400, "", codes[i], "");
        script_add_body(w.server, 200, "", "");
        struct seen s = {0};
        call(&s, GET);
        assert_int_equal(s.status, S3_OK);
        assert_int_equal(s.attempts, 2);
        assert_int_equal(provider.refused, 1);
        assert_non_null(strstr(script_header(w.server, first + 1, "authorization"), "AKIDNEW"));
        seen_free(&s);
        add_error(400, "", codes[i], "");
        add_error(400, "", codes[i], "");
        call(&s, GET);
        assert_int_equal(s.status, S3_CREDENTIALS);
        assert_int_equal(s.attempts, 2);
        seen_free(&s);
    }
    provider.refused = 0;
    add_error(403, "", "InvalidAccessKeyId", "");
    struct seen s = {0};
    call(&s, GET);
    assert_int_equal(s.status, S3_CREDENTIALS);
    assert_int_equal(s.attempts, 1);
    assert_int_equal(provider.refused, 1);
    seen_free(&s);
}

static void keys_that_come_late_or_never(void **state) {
    w.server->fallback.text = EMPTY_OK;
    provider.late = true;
    struct seen s[4] = {0};
    provider.asked = 0;
    for (int i = 0; i < 4; i++)
        begin(&s[i], i % 2 ? GET : DELETE);
    run_ms(20);
    assert_int_equal(provider.asked, 1);
    assert_int_equal(w.server->n_requests, 0);
    busy = true;
    s3_cancel(s[3].call);
    busy = false;
    finish(&s[3]);
    assert_int_equal(s[3].status, S3_CANCELLED);
    busy = true;
    keys_come();
    busy = false;
    for (int i = 0; i < 3; i++) {
        finish(&s[i]);
        assert_int_equal(s[i].status, S3_OK);
    }
    for (int i = 0; i < 4; i++)
        seen_free(&s[i]);

    provider.fails = true;
    call(&s[0], GET);
    assert_int_equal(s[0].status, S3_CREDENTIALS);
    assert_non_null(strstr(s[0].text, "no credentials were found"));
    assert_int_equal(s[0].attempts, 0);
    seen_free(&s[0]);
    provider.fails = false;

    struct s3_options o = options(); /* the deadline goes on while keys are fetched */
    o.call_deadline_us = 50 * US_PER_MS;
    use(o);
    provider.late = true;
    call(&s[0], DELETE);
    assert_int_equal(s[0].status, S3_TIMEOUT);
    seen_free(&s[0]);
    keys_come();

    provider.late = true; /* the client may go before the keys come */
    begin(&s[0], GET);
    close_client();
    assert_int_equal(s[0].status, S3_CANCELLED);
    keys_come();
    seen_free(&s[0]);
}

/* ---- GET ---- */

static void bodies_are_verified(void **state) {
    static const struct {
        const char *fields, *body;
        enum s3_status want;
    } cases[] = {
        {"x-amz-checksum-crc32: y/Q5Jg==\r\n", "123456789", S3_OK},
        {"x-amz-checksum-crc32: y/Q5Jh==\r\n", "123456789", S3_CORRUPT},
        {"x-amz-checksum-crc32: y/Q5Jg==\r\n", "123456780", S3_CORRUPT},
        {"x-amz-checksum-crc32c: 4waSgw==\r\n", "123456789", S3_OK},
        {"x-amz-checksum-crc32c: 4waSgw==\r\n", "123456788", S3_CORRUPT},
        {"x-amz-checksum-crc64nvme: rosUhgp5mIg=\r\n", "123456789", S3_OK},
        {"x-amz-checksum-crc64nvme: rosUhgp5mIk=\r\n", "123456789", S3_CORRUPT},
        {"x-amz-checksum-sha1: 98O8HYCOBHMqcliYpQNzSsN+Brk=\r\n", "123456789", S3_CORRUPT},
        {"x-amz-checksum-sha256: FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=\r\n", "123456789", S3_OK},
        {"x-amz-checksum-sha256: FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiV=\r\n", "123456789", S3_CORRUPT},
        {"x-amz-checksum-crc32: y/Q5Jg==-3\r\n", "something else", S3_OK}, /* a checksum of checksums */
        {"x-amz-checksum-xxhash64: AAAA\r\n", "something else", S3_OK},    /* not one that we know */
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\n", "123456789", S3_OK},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\n", "12345678x", S3_CORRUPT},
        {"ETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n", "", S3_OK},
        {"ETag: \"d41d8cd98f00b204e9800998ecf8427f\"\r\n", "", S3_CORRUPT},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b-2\"\r\n", "anything", S3_OK},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\nx-amz-server-side-encryption: aws:kms\r\n", "anything", S3_OK},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\nx-amz-server-side-encryption: AES256\r\n", "anything",
         S3_CORRUPT},
        {"ETag: \"25f9e794323b453885f5181f1b624d0b\"\r\nx-amz-server-side-encryption-customer-algorithm: AES256\r\n",
         "anything", S3_OK},
        /* the checksum counts, not an ETag that is no MD5 by this server's rules */
        {"ETag: \"00000000000000000000000000000000\"\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n", "123456789", S3_OK},
        {"x-amz-checksum-crc32: y/Q5Jg==-3\r\nETag: \"25f9e794323b453885f5181f1b624d0b\"\r\n", "wrong", S3_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script_add_body(w.server, 200, cases[i].fields, cases[i].body);
        struct seen s = {0};
        call(&s, GET);
        if (s.status != cases[i].want)
            print_error("case %zu: %s %s\n", i, s3_status_name(s.status), s.text);
        assert_int_equal(s.status, cases[i].want);
        assert_int_equal(s.infos, 1);
        assert_int_equal(s.attempts, 1); /* bytes were handed out */
        assert_string_equal(s.body.p ? s.body.p : "", cases[i].body);
        seen_free(&s);
    }
}

static void bodies_that_end_early(void **state) {
    static const struct {
        struct script_answer answer;
        enum s3_status want;
    } cases[] = {
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_CLOSE}, S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_RESET}, S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_HANG}, S3_TIMEOUT},
        {{.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", .then = SCRIPT_CLOSE},
         S3_CORRUPT},
        {{.text = "HTTP/1.1 200 OK\r\n\r\nhello", .then = SCRIPT_CLOSE}, S3_CORRUPT}, /* no length at all */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script_close_connections(w.server);
        run_ms(2);
        size_t before = w.server->n_requests;
        script_add(w.server, cases[i].answer);
        struct seen s = {0};
        call(&s, GET);
        assert_int_equal(s.status, cases[i].want);
        assert_int_equal(s.infos, 1);
        assert_int_equal(w.server->n_requests, before + 1);
        seen_free(&s);
    }
    script_add(w.server,
               (struct script_answer){.text = "HTTP/1.1 200 OK\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n\r\n123456789",
                                      .then = SCRIPT_CLOSE});
    struct seen s = {0};
    call(&s, GET); /* the checksum says that it is whole */
    assert_int_equal(s.status, S3_OK);
    seen_free(&s);
    script_add(w.server, (struct script_answer){.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                                        "5\r\nhello\r\n0\r\n\r\n"});
    call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_non_null(strstr(s.out.p, "-1 ")); /* S3_SIZE_UNKNOWN */
    seen_free(&s);
}

static void too_long_an_etag_is_a_broken_answer(void **state) {
    char fields[512];
    snprintf(fields, sizeof fields, "ETag: \"%0300d\"\r\n", 1);
    for (int i = 0; i < 3; i++)
        script_add_body(w.server, 200, fields, "hello");
    struct seen s = {0};
    call(&s, GET);
    assert_int_equal(s.status, S3_CORRUPT);
    assert_int_equal(s.infos, 0);
    assert_int_equal(s.attempts, 3);
    seen_free(&s);
}

static void a_get_pauses_and_goes_on(void **state) {
    size_t n = 400000;
    char *body = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)('a' + (i * 11 + i / 1000) % 26);
    body[n] = '\0';
    struct buf text = {0};
    buf_printf(&text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    buf_add(&text, body, n);
    script_add(w.server, (struct script_answer){.text = text.p, .n = text.n});
    struct seen s = {.pause_every = 1};
    begin(&s, GET);
    while (!s.dones) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        if (!s.paused)
            continue;
        for (int i = 0; i < 3; i++)
            uv_run(&w.loop, UV_RUN_NOWAIT);
        assert_int_equal(s.dones, 0);
        s.paused = false;
        busy = true;
        s3_get_resume(s.call);
        busy = false;
    }
    assert_int_equal(s.status, S3_OK);
    assert_true(s.pieces > 5);
    assert_int_equal(s.body.n, n);
    assert_memory_equal(s.body.p, body, n);
    seen_free(&s);
    script_add(w.server, (struct script_answer){.text = text.p, .n = text.n});
    s = (struct seen){.pause_every = 2, .resume_in_data = true};
    call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(s.body.n, n);
    seen_free(&s);
    buf_free(&text);
    free(body);
}

/* ---- ending early ---- */

static void cancelled_in_every_phase(void **state) {
    struct seen s = {0};
    w.server->fallback =
        (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_HANG};
    begin(&s, GET); /* not yet sent */
    busy = true;
    s3_cancel(s.call);
    s3_cancel(s.call);
    busy = false;
    finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    assert_string_equal(s.text, "GET bucket-1/key: cancelled");
    seen_free(&s);

    begin(&s, GET); /* in its body */
    while (!s.pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    busy = true;
    s3_cancel(s.call);
    busy = false;
    finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    s.cancel_in_info = true;
    call(&s, GET);
    assert_int_equal(s.status, S3_CANCELLED);
    assert_int_equal(s.pieces, 0);
    seen_free(&s);

    s.cancel_in_data = true;
    call(&s, GET);
    assert_int_equal(s.status, S3_CANCELLED);
    assert_int_equal(s.pieces, 1);
    seen_free(&s);

    s.pause_every = 1; /* paused */
    begin(&s, GET);
    while (!s.pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    s3_cancel(s.call);
    finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    w.server->fallback = (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"};
    s.cancel_in_data = true; /* in its last piece */
    call(&s, GET);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    struct s3_options o = options(); /* between attempts */
    o.retry_base_us = 1000 * US_PER_S;
    o.call_deadline_us = 1000 * US_PER_S;
    use(o);
    w.server->fallback.text = "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n";
    begin(&s, DELETE);
    while (!counters().retries)
        uv_run(&w.loop, UV_RUN_ONCE);
    s3_cancel(s.call);
    finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    use(options()); /* while asking for the region */
    add_error(301, "", "PermanentRedirect", "");
    w.server->fallback = (struct script_answer){.text = NULL, .then = SCRIPT_HANG};
    begin(&s, GET);
    while (!counters().head)
        uv_run(&w.loop, UV_RUN_ONCE);
    s3_cancel(s.call);
    finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);

    provider.fails = true; /* failed already, but not told yet */
    begin(&s, GET);
    s3_cancel(s.call);
    finish(&s);
    assert_int_equal(s.status, S3_CANCELLED);
    seen_free(&s);
}

static void closing_ends_all_calls(void **state) {
    struct s3_options o = options();
    o.max_connections = 3;
    o.retry_base_us = 1000 * US_PER_S;
    o.call_deadline_us = 1000 * US_PER_S;
    use(o);
    struct seen s[6] = {0};
    script_add_body(w.server, 503, "", "");
    w.server->fallback =
        (struct script_answer){.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", .then = SCRIPT_HANG};
    begin(&s[0], DELETE);
    while (!counters().retries)
        uv_run(&w.loop, UV_RUN_ONCE);
    s[1].pause_every = 1;
    for (int i = 1; i < 6; i++)
        begin(&s[i], i == 4 ? LIST : GET);
    while (!s[1].pieces || !s[2].pieces)
        uv_run(&w.loop, UV_RUN_ONCE);
    close_client();
    for (int i = 0; i < 6; i++) {
        assert_int_equal(s[i].dones, 1);
        assert_int_equal(s[i].status, S3_CANCELLED);
        seen_free(&s[i]);
    }
}

static void closing_from_inside_a_callback(void **state) {
    w.server->fallback = (struct script_answer){.text = NULL, .then = SCRIPT_HANG};
    script_add_body(w.server, 200, "", "hello");
    struct seen s = {.close_in_done = true}, other = {0};
    begin(&s, GET);
    begin(&other, DELETE);
    finish(&s);
    assert_int_equal(s.status, S3_OK);
    while (!w.closed)
        uv_run(&w.loop, UV_RUN_ONCE);
    assert_int_equal(other.status, S3_CANCELLED);
    seen_free(&s);
    seen_free(&other);
}

/* ---- memory ---- */

static void out_of_memory_is_an_answer_and_leaks_nothing(void **state) {
    static const enum kind kinds[] = {GET, PUT, HEAD, LIST, LIST_BUCKETS};
    static const char *const texts[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nx-amz-checksum-crc32: y/Q5Jg==\r\nx-amz-meta-a: b\r\n\r\n123456789",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: \"e\"\r\nx-amz-meta-a: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 69\r\n\r\n"
        "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        "HTTP/1.1 200 OK\r\nContent-Length: 142\r\n\r\n<ListAllMyBucketsResult><Buckets><Bucket><Name>bbb</Name>"
        "<BucketRegion>eu-west-1</BucketRegion></Bucket></Buckets></ListAllMyBucketsResult>     ",
    };
    if (!w.closed)
        close_client();
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        for (uint64_t n = 1;; n++) {
            w.server->fallback.text = texts[kind];
            w.server->n_requests = 0;
            for (size_t i = 0; i < 4; i++) { /* the server's memory is not what is tested */
                buf_reset(&w.server->requests[i]);
                buf_reserve(&w.server->requests[i], 4096);
            }
            struct s3_options o = options();
            o.retry_base_us = 10;
            o.connect_timeout_us = o.stall_timeout_us = 100 * US_PER_MS;
            struct err err = {0};
            struct seen s = {0};
            buf_reserve(&s.out, 4096);
            buf_reserve(&s.body, 4096);
            mem_fail_at(n, 0);
            int r = s3_client_new(&w.loop, &o, &w.client, &err);
            bool made = r == 0;
            if (made) {
                switch (kinds[kind]) {
                case GET:
                    r = s3_get(w.client, BUCKET, KEY, &get_handler, &s, NULL);
                    break;
                case PUT:
                    r = s3_put(w.client, BUCKET, KEY, BYTES("body"), BYTES("a/b"), NULL, 0, on_put, &s, NULL);
                    break;
                case HEAD:
                    r = s3_head(w.client, BUCKET, KEY, BYTES_NONE, on_info, &s, NULL);
                    break;
                case LIST:
                    r = s3_list_objects(w.client, BUCKET, BYTES_NONE, BYTES_NONE, 0, on_objects, &s, NULL);
                    break;
                default:
                    r = s3_list_buckets(w.client, BYTES("b"), BYTES_NONE, on_buckets, &s, NULL);
                    break;
                }
                if (r == 0)
                    finish(&s);
            }
            uint64_t used = mem_fail_count();
            mem_fail_at(0, 0);
            assert_true(r == 0 || r == -ENOMEM);
            if (made) {
                w.closed = false;
                close_client();
            }
            bool over = r == 0 && s.status == S3_OK && used < n;
            if (r == 0)
                assert_true(s.status == S3_OK || s.status == S3_NO_MEMORY || s.status == S3_UNREACHABLE ||
                            s.status == S3_TIMEOUT);
            seen_free(&s);
            script_close_connections(w.server);
            run_ms(1);
            if (over)
                break;
        }
    }
    w.server->n_requests = 4;
    w.closed = true;
}

static void many_calls_share_what_there_is(void **state) {
    w.server->fallback.text = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n\r\n123456789";
    static struct seen s[64];
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 64; i++)
            begin(&s[i], GET);
        for (int i = 0; i < 64; i++) {
            finish(&s[i]);
            assert_int_equal(s[i].status, S3_OK);
            assert_string_equal(s[i].body.p, "123456789");
            seen_free(&s[i]);
        }
    }
    assert_true(w.server->n_accepted <= 64);
    assert_int_equal(counters().get, 640);
    assert_int_equal(counters().bytes_in, 640 * 9);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(odd_keys_go_out_as_they_are),
        TEST(the_longest_key_works_and_longer_ones_are_refused),
        TEST(every_operation_asks_as_documented),
        TEST(listing_pages_of_servers_that_ignore_paging),
        TEST(urls_by_endpoint_and_style),
        TEST(options_that_cannot_be_right),
        TEST(statuses_and_codes),
        TEST(the_text_says_what_happened),
        TEST(a_chunked_error_body_is_read),
        TEST(throttling_is_waited_out_and_counted),
        TEST(broken_attempts_are_retried),
        TEST(what_remains_after_the_retries),
        TEST(a_put_is_sent_whole_again),
        TEST(the_server_says_when),
        TEST(waits_are_random_and_bounded),
        TEST(a_broken_server_is_not_hammered),
        TEST(the_deadline_covers_all_attempts),
        TEST(another_region_is_followed_once_and_remembered),
        TEST(a_second_redirect_is_not_followed),
        TEST(a_region_that_is_not_told_is_asked_for),
        TEST(a_head_is_redirected_without_words),
        TEST(a_server_of_another_region_is_understood_without_a_bucket),
        TEST(regions_in_the_bucket_list_are_used),
        TEST(a_wrong_clock_is_corrected),
        TEST(expired_keys_are_renewed_once),
        TEST(keys_that_come_late_or_never),
        TEST(bodies_are_verified),
        TEST(bodies_that_end_early),
        TEST(too_long_an_etag_is_a_broken_answer),
        TEST(a_get_pauses_and_goes_on),
        TEST(cancelled_in_every_phase),
        TEST(closing_ends_all_calls),
        TEST(closing_from_inside_a_callback),
        TEST(out_of_memory_is_an_answer_and_leaks_nothing),
        TEST(many_calls_share_what_there_is),
    };
    return cmocka_run_group_tests_name("s3 client", tests, NULL, NULL);
}
