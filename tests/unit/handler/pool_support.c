/* pool_support.c - see pool_support.h. */
#include "pool_support.h"

#include "cleanup.h"

#include <fcntl.h>
#include <stdlib.h>

void play_worker_if_asked(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], PLAY_WORKER) == 0)
        play_worker(argv[2], argv[3]);
}

void use_pool(struct world *world, struct handler_pool_options options, const char *mode) {
    assert_null(world->handler);
    const char *const argv[] = {"/proc/self/exe", PLAY_WORKER, world->directory, mode, NULL};
    options.argv = argv;
    options.spawner = world->spawner;
    options.results = world->keeps ? &world->results : NULL;
    struct err err = {0};
    if (handler_pool_new(&world->loop, &options, &world->handler, &err) < 0)
        fail_msg("%s", err.text);
}

static void on_flag(void *arg) {
    *(bool *)arg = true;
}

void close_pool(struct world *world) {
    world->flag = false;
    handler_close(TAKE_PTR(world->handler), on_flag, &world->flag);
    run_until(world, &world->flag);
}

char *make_body(size_t n) {
    char *body = mem_alloc(n);
    assert_non_null(body);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)((i * 2654435761u) >> 13);
    return body;
}

struct handler_object object_of(const char *key, uint64_t size) {
    struct handler_object object = plain_object;
    object.key = bytes_str(key);
    object.size = size;
    return object;
}

void feed(struct world *world, struct attempt *attempt, struct bytes body, size_t piece) {
    while (body.n && !attempt->done) {
        size_t n = body.n < piece ? body.n : piece;
        if (!attempt_write(attempt, bytes_of(body.p, n)))
            while (!attempt->room && !attempt->done)
                uv_run(&world->loop, UV_RUN_ONCE);
        body = bytes_of(body.p + n, body.n - n);
    }
}

void whole(struct world *world, struct attempt *attempt, const char *key, struct bytes body) {
    struct handler_object object = object_of(key, body.n);
    attempt_start(world, attempt, &object);
    feed(world, attempt, body, 16384);
    if (!attempt->done)
        attempt_finish(attempt);
}

void ends(struct world *world, const char *key, struct bytes body, enum handler_end end, const char *text) {
    struct attempt attempt;
    whole(world, &attempt, key, body);
    attempt_ends(world, &attempt, end);
    if (!strstr(attempt.text, text))
        fail_msg("%s: '%s' is not in '%s'", key, text, attempt.text);
    assert_int_equal(attempt.earlies, 0);
    attempt_free(&attempt);
}

struct played last_played(const struct world *world) {
    struct played played = {0};
    _cleanup_free_ char *log = file_read(world, "log", NULL);
    for (const char *line = log; line && *line; line = strchr(line, '\n') + 1) {
        assert_int_equal(sscanf(line, "%d %255s %llu %llx", &played.pid, played.key, &played.n, &played.hash), 4);
        played.objects++;
    }
    return played;
}

void played_is(const struct world *world, const char *key, struct bytes body) {
    struct played played = last_played(world);
    assert_string_equal(played.key, key);
    assert_int_equal(played.n, body.n);
    assert_int_equal(played.hash, play_hash(body.p, body.n));
}

size_t count_lines(const struct world *world, const char *file) {
    _cleanup_free_ char *text = file_read(world, file, NULL);
    size_t n = 0;
    for (const char *at = text; at && (at = strchr(at, '\n')); at++)
        n++;
    return n;
}

void touch(const struct world *world, const char *file) {
    char path[128];
    file_path(world, file, path);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}
