/* s3_world.c - see s3_world.h. */
#include "s3_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- credentials, as the test wants them ---- */

static void answer_keys(credentials_fn *done, void *arg) {
    if (world.provider.fails) {
        struct err err = {0};
        err_set(&err, -ENOENT, "no credentials were found anywhere");
        done(arg, NULL, &err);
    } else {
        done(arg, &world.provider.keys, NULL);
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

void world_keys_come(void) {
    credentials_fn *done = world.provider.waiting;
    assert_non_null(done);
    world.provider.waiting = NULL;
    world.provider.late = false;
    answer_keys(done, world.provider.waiting_arg);
}

/* ---- the world ---- */

static int64_t test_utc_us(void *arg) {
    return world.utc_us ? world.utc_us : clock_utc_us(&clock_system);
}

static int64_t test_mono_us(void *arg) {
    return paced_clock_us(&world.pace);
}

static const struct clock test_clock = {test_utc_us, test_mono_us, NULL};

struct world world;

struct s3_options world_options(void) {
    return (struct s3_options){
        .endpoint = world.server->url,
        .credentials = &world.provider,
        .stall_timeout_us = 150 * US_PER_MS,
        .connect_timeout_us = US_PER_MIN,
        .call_deadline_us = 5 * US_PER_S,
        .retry_base_us = 20 * US_PER_MS,
        .clock = &test_clock,
        .rng_seed = 1,
    };
}

static void on_closed(void *arg) {
    assert_false(world.busy);
    world.closed = true;
}

void world_close_client(void) {
    world.busy = true;
    s3_client_close(world.client, on_closed, NULL);
    world.busy = false;
    while (!world.closed)
        uv_run(&world.loop, UV_RUN_ONCE);
}

void world_use(struct s3_options o) {
    if (world.client)
        world_close_client();
    world.closed = false;
    struct err err = {0};
    assert_int_equal(s3_client_new(&world.loop, &o, &world.client, &err), 0);
}

int world_setup(void **state) {
    memset(&world, 0, sizeof world);
    world.provider = (struct credentials_provider){
        .keys = {BYTES("AKID"), BYTES(SECRET), BYTES_NONE, 0, 1},
    };
    uv_loop_init(&world.loop);
    paced_clock_init(&world.pace, &world.loop);
    world.server = script_server_new(&world.loop);
    world_use(world_options());
    return 0;
}

int world_teardown(void **state) {
    if (!world.closed)
        world_close_client();
    script_server_close(world.server);
    paced_clock_close(&world.pace);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world.loop), 0);
    return 0;
}

int64_t world_now_us(void) {
    return paced_clock_us(&world.pace);
}

void world_run_ms(int64_t ms) {
    paced_clock_run(&world.pace, ms * US_PER_MS);
}

/* ---- what comes back ---- */

void seen_free(struct seen *s) {
    buf_free(&s->out);
    buf_free(&s->body);
    *s = (struct seen){0};
}

static void seen_end(struct seen *s, const struct s3_result *result) {
    assert_false(world.busy);
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
        s3_client_close(world.client, on_closed, NULL);
}

void seen_buckets(void *arg, const struct s3_result *result, const struct s3_bucket_page *page) {
    struct seen *s = arg;
    assert_int_equal(result->status == S3_OK, page != NULL);
    for (size_t i = 0; page && i < page->n; i++)
        buf_printf(&s->out, "%.*s@%.*s ", (int)page->buckets[i].name.n, page->buckets[i].name.p,
                   (int)page->buckets[i].region.n, page->buckets[i].region.p);
    if (page)
        buf_printf(&s->out, "next=%.*s", (int)page->next_token.n, page->next_token.p);
    seen_end(s, result);
}

void seen_objects(void *arg, const struct s3_result *result, const struct s3_object_page *page) {
    struct seen *s = arg;
    assert_int_equal(result->status == S3_OK, page != NULL);
    for (size_t i = 0; page && i < page->n; i++)
        buf_printf(&s->out, "%.*s:%llu:%.*s ", (int)page->objects[i].key.n, page->objects[i].key.p,
                   (unsigned long long)page->objects[i].size, (int)page->objects[i].etag.n, page->objects[i].etag.p);
    if (page)
        buf_printf(&s->out, "more=%d last=%.*s", page->truncated, (int)page->last_key.n, page->last_key.p);
    seen_end(s, result);
}

static void write_info(struct buf *out, const struct s3_object_info *info) {
    buf_printf(out, "%lld %.*s %.*s %.*s %lld", (long long)info->size, (int)info->etag.n, info->etag.p,
               (int)info->version_id.n, info->version_id.p, (int)info->content_type.n, info->content_type.p,
               (long long)info->modified_utc_us);
    for (size_t i = 0; i < info->n_metadata; i++)
        buf_printf(out, " %.*s=%.*s", (int)info->metadata[i].name.n, info->metadata[i].name.p,
                   (int)info->metadata[i].value.n, info->metadata[i].value.p);
}

void seen_info(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct seen *s = arg;
    assert_int_equal(result->status == S3_OK, info != NULL);
    if (info)
        write_info(&s->out, info);
    seen_end(s, result);
}

static void get_info(void *arg, const struct s3_object_info *info) {
    struct seen *s = arg;
    assert_false(world.busy);
    assert_int_equal(++s->infos, 1);
    write_info(&s->out, info);
    if (s->cancel_in_info)
        s3_cancel(s->call);
}

static bool get_data(void *arg, struct bytes piece) {
    struct seen *s = arg;
    assert_false(world.busy);
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
    seen_end(arg, result);
}

const struct s3_get_handler seen_get_handler = {get_info, get_data, get_done};

void seen_put(void *arg, const struct s3_result *result, struct bytes etag, struct bytes version_id) {
    struct seen *s = arg;
    buf_printf(&s->out, "%.*s %.*s", (int)etag.n, etag.p, (int)version_id.n, version_id.p);
    seen_end(s, result);
}

void seen_tags(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    struct seen *s = arg;
    for (size_t i = 0; i < n; i++)
        buf_printf(&s->out, "%.*s=%.*s;", (int)tags[i].name.n, tags[i].name.p, (int)tags[i].value.n, tags[i].value.p);
    seen_end(s, result);
}

void seen_delete(void *arg, const struct s3_result *result) {
    seen_end(arg, result);
}

void seen_versioning(void *arg, const struct s3_result *result, enum s3_versioning versioning) {
    struct seen *s = arg;
    s->versioning = versioning;
    seen_end(s, result);
}

void seen_run_to_piece(struct seen *s) {
    while (!s->pieces) {
        assert_int_equal(s->dones, 0);
        uv_run(&world.loop, UV_RUN_ONCE);
    }
}

void seen_finish(struct seen *s) {
    while (!s->dones)
        assert_true(uv_run(&world.loop, UV_RUN_ONCE) || s->dones);
}

void world_begin(struct seen *s, enum kind kind) {
    int r = -1;
    world.busy = true;
    switch (kind) {
    case LIST_BUCKETS:
        r = s3_list_buckets(world.client, BYTES_NONE, BYTES_NONE, seen_buckets, s, &s->call);
        break;
    case LIST:
        r = s3_list_objects(world.client, BUCKET, BYTES_NONE, BYTES_NONE, 0, seen_objects, s, &s->call);
        break;
    case HEAD:
        r = s3_head(world.client, BUCKET, KEY, BYTES_NONE, seen_info, s, &s->call);
        break;
    case GET:
        r = s3_get(world.client, BUCKET, KEY, &seen_get_handler, s, &s->call);
        break;
    case PUT:
        r = s3_put(world.client, BUCKET, KEY, BYTES("some body"), BYTES_NONE, NULL, 0, seen_put, s, &s->call);
        break;
    case DELETE:
        r = s3_delete(world.client, BUCKET, KEY, BYTES_NONE, BYTES_NONE, seen_delete, s, &s->call);
        break;
    case VERSIONING:
        r = s3_get_versioning(world.client, BUCKET, seen_versioning, s, &s->call);
        break;
    }
    world.busy = false;
    assert_int_equal(r, 0);
    assert_int_equal(s->dones, 0);
}

void world_call(struct seen *s, enum kind kind) {
    world_begin(s, kind);
    seen_finish(s);
}

struct s3_counters world_counters(void) {
    struct s3_counters c;
    s3_client_counters(world.client, &c);
    return c;
}

void world_add_error(int status, const char *fields, const char *code, const char *more) {
    char body[1024];
    snprintf(body, sizeof body,
             "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>Words about %s</Message>%s"
             "<RequestId>RID1</RequestId></Error>",
             code, code, more);
    script_add_body(world.server, status, fields, body);
}
