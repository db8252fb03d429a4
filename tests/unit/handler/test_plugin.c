/* test_plugin.c - plugins through their handler: the whole way from a file to an object's end. */
#include "pool_support.h"

#include "cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>

#define PLAY PLUGIN_DIRECTORY "/play.so"

static int use(struct world *world, const char *file, const char *const *args, const struct confine *confine,
               struct err *err) {
    const char *argv[8] = {file};
    for (size_t i = 0; args && args[i]; i++)
        argv[i + 1] = args[i];
    const struct handler_pool_options options = {
        .argv = argv, .spawner = world->spawner, .workers = 1, .confine = confine};
    return handler_plugin_new(&world->loop, PLUGIN_HOST, &options, &world->handler, err);
}

static void use_play(struct world *world, const char *file) {
    struct err err = {0};
    assert_null(world->handler);
    if (use(world, file, NULL, NULL, &err) < 0)
        fail_msg("%s", err.text);
}

static void test_ends(void **state) {
    struct world *world = *state;
    use_play(world, PLAY);
    for (int i = 0; i < 3; i++) {
        ends(world, "fine", BYTES("x"), HANDLER_OK, "");
        ends(world, "empty", BYTES(""), HANDLER_OK, "");
        ends(world, "retry", BYTES("x"), HANDLER_AGAIN, "not yet");
        ends(world, "fail", BYTES("x"), HANDLER_FAILED, "broken \"text\"\nof two lines");
        ends(world, "number", BYTES("x"), HANDLER_FAILED, "");
        ends(world, "print", BYTES("x"), HANDLER_OK, "");
        ends(world, "secrets", BYTES("x"), HANDLER_OK, "");
    }
    assert_string_equal(handler_describe(world->handler), "plugin " PLAY);
}

/* The object fails, the next one finds another process. */
static void test_bad_ends(void **state) {
    struct world *world = *state;
    use_play(world, PLAY);
    ends(world, "crash", BYTES("x"), HANDLER_FAILED, "SIGABRT");
    ends(world, "fine", BYTES("x"), HANDLER_OK, "");
    ends(world, "exit", BYTES("x"), HANDLER_FAILED, "ended without an answer");
    ends(world, "fine", BYTES("x"), HANDLER_OK, "");
    struct attempt attempt;
    whole(world, &attempt, "hang", BYTES("x"));
    run_for_ms(world, 100);
    assert_false(attempt.done);
    attempt_abort(&attempt, "time is up");
    attempt_ends(world, &attempt, HANDLER_ABORTED);
    attempt_free(&attempt);
    ends(world, "fine", BYTES("x"), HANDLER_OK, "");
}

static void bodies_are_whole(struct world *world, const char *file) {
    use_play(world, file);
    static const size_t sizes[] = {0, 1, 65535, 65536, 3000001};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        _cleanup_free_ char *body = make_body(sizes[i] + 1);
        unsigned long sum = 5381;
        for (size_t k = 0; k < sizes[i]; k++)
            sum = sum * 33 + (unsigned char)body[k];
        char text[64];
        snprintf(text, sizeof text, "%zu bytes, %lx", sizes[i], sum & 0xffffffff);
        ends(world, "body", bytes_of(body, sizes[i]), HANDLER_FAILED, text);
    }
}

static void test_whole_bodies(void **state) {
    bodies_are_whole(*state, PLAY);
}

static void test_streamed_bodies(void **state) {
    bodies_are_whole(*state, PLUGIN_DIRECTORY "/play_streams.so");
}

/* A plugin need not read what it streams. */
static void test_unread(void **state) {
    struct world *world = *state;
    _cleanup_free_ char *body = make_body(2000000);
    use_play(world, PLUGIN_DIRECTORY "/play_streams.so");
    ends(world, "fine", bytes_of(body, 2000000), HANDLER_OK, "");
    ends(world, "fail", bytes_of(body, 2000000), HANDLER_FAILED, "broken");
    ends(world, "retry", bytes_of(body, 10), HANDLER_AGAIN, "not yet");
    ends(world, "fine", bytes_of(body, 10), HANDLER_OK, "");
}

static void test_object(void **state) {
    struct world *world = *state;
    use_play(world, PLAY);
    const struct handler_meta meta = {BYTES("colour"), BYTES("blue \"x\"")};
    struct handler_object object = plain_object;
    object.key = BYTES("object\xff\0/..\n");
    object.content_type = BYTES("text/plain");
    object.size = 0;
    object.metadata = &meta;
    object.n_metadata = 1;
    struct attempt attempt;
    attempt_start(world, &attempt, &object);
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_FAILED);
    assert_string_equal(attempt.text, "bucket-1|12|object%FF%00%2F..%0A|abc|text/plain|7:3|1|1|colour=blue \"x\"");
    attempt_free(&attempt);
}

/* ---- at the start ---- */

static void refused(struct world *world, const char *file, const char *const *args, int code, const char *text) {
    struct err err = {0};
    int r = use(world, file, args, NULL, &err);
    if (r == 0)
        handler_close(TAKE_PTR(world->handler), (void (*)(void *))free, NULL);
    if (r != code || !strstr(err.text, text))
        fail_msg("%s: %d instead of %d: '%s' has no '%s'", file, r, code, err.text, text);
}

static void test_wrong_files(void **state) {
    struct world *world = *state;
    char path[128];
    file_path(world, "text.so", path);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    refused(world, "/nonexistent/x.so", NULL, -ENOENT, "cannot load the plugin '/nonexistent/x.so': No such file");
    refused(world, "libm.so.6", NULL, -ENOENT, "No such file");
    refused(world, path, NULL, -EINVAL, "cannot load the plugin:");
    refused(world, PLUGIN_DIRECTORY "/play_no_table.so", NULL, -EINVAL, "is no plugin: it has no symbol");
    refused(world, PLUGIN_DIRECTORY "/play_version.so", NULL, -EINVAL,
            "a plugin of version 99; this froe takes version 1");
    refused(world, PLUGIN_DIRECTORY "/play_size.so", NULL, -EINVAL, "a plugin of version 0");
}

static void test_beginning(void **state) {
    struct world *world = *state;
    refused(world, PLAY, (const char *const[]){"refuse", "x.bin", NULL}, -EINVAL,
            "plugin play cannot begin: no model x.bin");
    refused(world, PLAY, (const char *const[]){"refuse-silently", NULL}, -EINVAL, "it says no reason");
    refused(world, PLAY, (const char *const[]){"crash", NULL}, -EINVAL, "cannot begin: killed by signal 6 (SIGABRT)");
    refused(world, PLAY, (const char *const[]){"hang", NULL}, -EINVAL, "does not begin within 10 seconds");
    refused(world, PLUGIN_DIRECTORY "/play_bare.so", (const char *const[]){"word", NULL}, -EINVAL,
            "takes no arguments");
    use_play(world, PLUGIN_DIRECTORY "/play_bare.so");
    ends(world, "fine", BYTES("x"), HANDLER_OK, "");
}

/* The plugin begins as its workers will, not with more. */
static void test_confined(void **state) {
    struct world *world = *state;
    const struct confine strict = {.level = CONFINE_STRICT, .best_effort = true};
    struct err err = {0};
    if (use(world, PLAY, NULL, &strict, &err) < 0)
        fail_msg("%s", err.text);
    ends(world, "fine", BYTES("x"), HANDLER_OK, "");
    ends(world, "secrets", BYTES("x"), HANDLER_OK, "");
    close_pool(world);
    refused(world, PLAY, (const char *const[]){"hang", NULL}, -EINVAL, "within");
}

/* ---- results, as the protocol has them ---- */

static char *serve(const struct world *world, const char *key, size_t *ret_n) {
    char in[128], command[600];
    file_path(world, "in", in);
    _cleanup_fclose_ FILE *file = fopen(in, "we");
    fprintf(file,
            "{\"id\":1,\"body_bytes\":2,\"size\":2,\"bucket\":\"b\",\"key\":null,\"key_url\":\"%s\",\"etag\":\"\","
            "\"version_id\":\"\",\"content_type\":\"\",\"attempt\":1,\"run_id\":\"\",\"metadata\":{}}\nhi",
            key);
    fclose(TAKE_PTR(file));
    snprintf(command, sizeof command, "%s %s <%s >%s/out 2>%s/err", PLUGIN_HOST, PLAY, in, world->directory,
             world->directory);
    assert_int_equal(system(command), 0);
    _cleanup_free_ char *said = file_read(world, "err", NULL);
    assert_non_null(strstr(said, "ended 42"));
    return file_read(world, "out", ret_n);
}

static void serves(const struct world *world, const char *key, const char *answer, size_t n) {
    size_t given;
    _cleanup_free_ char *out = serve(world, key, &given);
    if (given != n || memcmp(out, answer, n) != 0)
        fail_msg("%s: %.*s", key, (int)given, out);
}
#define SERVES(key, answer) serves(*state, key, answer, sizeof answer - 1)

static void test_results(void **state) {
    SERVES("none", "{\"id\":1,\"status\":\"ok\"}\n");
    SERVES("result",
           "{\"id\":1,\"status\":\"ok\",\"result_bytes\":10,\"content_type\":\"text/x\",\"extension\":\"x\"}\n"
           "made\nof it");
    SERVES("results", "{\"id\":1,\"status\":\"ok\",\"results\":["
                      "{\"name\":\"small\",\"bytes\":1,\"content_type\":\"text/x\",\"extension\":\"x\"},"
                      "{\"name\":\"none\",\"bytes\":0,\"content_type\":\"text/x\",\"extension\":\"x\"},"
                      "{\"name\":\"b\",\"bytes\":2,\"content_type\":\"text/x\",\"extension\":\"x\"}]}\ns\0\n");
    SERVES("wrong%20text", "{\"id\":1,\"status\":\"ok\"}\n");
    size_t n;
    _cleanup_free_ char *out = serve(*state, "too%20many", &n);
    assert_true(bytes_starts(bytes_of(out, n), BYTES("{\"id\":1,\"status\":\"ok\",\"results\":[")));
}

static void test_bad_requests(void **state) {
    const struct world *world = *state;
    static const struct {
        const char *input, *text;
    } cases[] = {
        {"{\"id\":1}\\n", "no request"},
        {"x\\n", "no request"},
        {"{\"id\":1", "cannot read a request"},
        {"{\"id\":1,\"body_bytes\":9,\"size\":9,\"bucket\":\"b\",\"key_url\":\"k\",\"etag\":\"\",\"version_id\":\"\","
         "\"content_type\":\"\",\"attempt\":1,\"run_id\":\"\",\"metadata\":{}}\\nhi",
         "in the midst of a body"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char command[1200];
        snprintf(command, sizeof command, "printf '%s' | %s %s 2>%s/err", cases[i].input, PLUGIN_HOST, PLAY,
                 world->directory);
        assert_int_equal(system(command), 1 << 8);
        _cleanup_free_ char *said = file_read(world, "err", NULL);
        if (!strstr(said, cases[i].text))
            fail_msg("%s: %s", cases[i].input, said);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(test_ends),     TEST(test_bad_ends), TEST(test_whole_bodies), TEST(test_streamed_bodies),
        TEST(test_unread),   TEST(test_object),   TEST(test_wrong_files),  TEST(test_beginning),
        TEST(test_confined), TEST(test_results),  TEST(test_bad_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
