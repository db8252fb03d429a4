/* mock_world.c - see mock_world.h. */
#include "mock_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

struct mock *mock;

static char byte_at(uint64_t at) {
    return (char)('a' + at * 7 % 23);
}

int64_t source_read(void *arg, uint64_t offset, void *to, size_t n) {
    const struct source *source = arg;
    assert_true(offset + n <= source->size);
    if (source->fails_at && offset + n > source->fails_at)
        return -EIO;
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = byte_at(offset + i);
    return (int64_t)n;
}

static struct s3_options client_options(void) {
    static char url[64];
    struct s3_options o = world_options();
    snprintf(url, sizeof url, "http://127.0.0.1:%u", mock_port(mock));
    o.endpoint = url;
    o.stall_timeout_us = 10 * US_PER_S;
    o.retry_base_us = 10;
    return o;
}

void mock_world_start_with(const struct mock_options *options) {
    struct err err = {0};
    struct mock_options all = *options;
    all.min_part = PART;
    if (mock)
        mock_stop(mock);
    mock = NULL;
    assert_int_equal(mock_start(&all, &mock, &err), 0);
    assert_int_equal(mock_put(mock, BUCKET, BYTES("other"), BYTES("x"), NULL), 0);
    world.provider.keys.access_key_id = BYTES("test");
    world.provider.keys.secret_access_key = BYTES("test");
    world_use(client_options());
}

void mock_world_start(const char *faults) {
    mock_world_start_with(&(struct mock_options){.faults = faults});
}

int mock_world_stop(void **state) {
    int r = world_teardown(state);
    mock_stop(mock);
    mock = NULL;
    return r;
}

int source_begin(struct source *source, const struct s3_put_options *options) {
    world.busy = true;
    int r = s3_put_stream(world.client, BUCKET, KEY, source->size, source_read, options, PART, seen_put, source,
                          &source->seen.call);
    world.busy = false;
    return r;
}

void source_put(struct source *source, const struct s3_put_options *options) {
    assert_int_equal(source_begin(source, options), 0);
    seen_finish(&source->seen);
}

bool mock_world_exists(void) {
    struct seen s = {0};
    world_call(&s, HEAD);
    bool is = s.status == S3_OK;
    assert_true(is || s.status == S3_NO_KEY);
    seen_free(&s);
    return is;
}

void mock_world_check(uint64_t size) {
    struct seen s = {0};
    world_call(&s, GET);
    assert_int_equal(s.status, S3_OK);
    assert_int_equal(s.body.n, size);
    for (uint64_t i = 0; i < size; i++)
        assert_int_equal(s.body.p[i], byte_at(i));
    seen_free(&s);
}

void mock_world_check_tags(const char *wanted) {
    struct seen s = {0};
    assert_int_equal(s3_get_tags(world.client, BUCKET, KEY, BYTES_NONE, seen_tags, &s, NULL), 0);
    seen_finish(&s);
    assert_int_equal(s.status, S3_OK);
    assert_string_equal(s.out.p ? s.out.p : "", wanted);
    seen_free(&s);
}

void mock_world_put_copied(struct seen *s) {
    static char body[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        body[i] = byte_at(i);
    const struct s3_header metadata = {BYTES("m"), BYTES("n")};
    assert_int_equal(
        s3_put(world.client, BUCKET, COPIED_KEY, bytes_of(body, SIZE), BYTES("a/b"), &metadata, 1, seen_put, s, NULL),
        0);
    seen_finish(s);
    assert_int_equal(s->status, S3_OK);
    s->out.n = 34; /* the ETag alone */
    const struct s3_tag tags[] = {{BYTES("t 1"), BYTES("a+b")}, {BYTES("u"), BYTES_NONE}};
    struct seen t = {0};
    assert_int_equal(s3_put_tags(world.client, BUCKET, COPIED_KEY, BYTES_NONE, tags, 2, seen_tags, &t, NULL), 0);
    seen_finish(&t);
    assert_int_equal(t.status, S3_OK);
    seen_free(&t);
}
