/* test_pool_files.c - a private directory, and files in it that are written in the background. */
#include "pool_support.h"

#include "cleanup.h"
#include "pool_files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

struct seen {
    unsigned calls;
    bool called;
};

static void on_progress(void *arg) {
    struct seen *seen = arg;
    seen->calls++;
    seen->called = true;
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

static struct pool_files *open_files(struct world *world) {
    struct pool_files *files;
    struct err err = {0};
    if (pool_files_new(&world->loop, &files, &err) < 0)
        fail_msg("%s", err.text);
    return files;
}

static void close_files(struct world *world, struct pool_files *files) {
    _cleanup_free_ char *path = mem_strdup(pool_files_directory(files));
    bool closed = false;
    pool_files_close(files, on_closed, &closed);
    while (!closed)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_write(void **state) {
    struct world *world = *state;
    setenv("TMPDIR", world->directory, 1);
    struct pool_files *files = open_files(world);
    struct stat about;
    assert_int_equal(stat(pool_files_directory(files), &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
    struct seen seen = {0};
    struct pool_file *file;
    assert_int_equal(pool_file_new(files, 0, on_progress, &seen, &file), 0);
    size_t n = 1000000;
    _cleanup_free_ char *body = make_body(n);
    for (size_t at = 0; at < n; at += 10000)
        assert_int_equal(pool_file_add(file, bytes_of(body + at, 10000)), 0);
    assert_true(pool_file_waiting(file) == n && seen.calls == 0);
    while (pool_file_waiting(file) > 0 || !seen.called)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(pool_file_error(file), 0);
    _cleanup_free_ char *got = mem_alloc(n + 1);
    _cleanup_close_ int fd = open(pool_file_path(file), O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0600);
    assert_int_equal(read(fd, got, n + 1), n);
    assert_memory_equal(got, body, n);
    pool_file_free(file);
    /* Freed while it is written: nobody is told. */
    seen = (struct seen){0};
    assert_int_equal(pool_file_new(files, 0, on_progress, &seen, &file), 0);
    assert_int_equal(pool_file_add(file, bytes_of(body, n)), 0);
    pool_file_free(file);
    close_files(world, files);
    assert_false(seen.called);
    unsetenv("TMPDIR");
}

/* Of several at a time each keeps its own; what a dead one left is removed, but not what only looks like it. */
static void test_several_and_stale_ones(void **state) {
    struct world *world = *state;
    char path[200];
    setenv("TMPDIR", world->directory, 1);
    struct pool_files *first = open_files(world);
    struct seen seen = {0};
    struct pool_file *file;
    assert_int_equal(pool_file_new(first, 0, on_progress, &seen, &file), 0);
    snprintf(path, sizeof path, "%s/froe-pool-abc", world->directory);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(symlink(pool_files_directory(first), strcat(path, "link")), 0);
    struct pool_files *second = open_files(world);
    assert_string_not_equal(pool_files_directory(first), pool_files_directory(second));
    assert_int_equal(access(pool_file_path(file), F_OK), 0);
    assert_int_equal(unlink(path), 0); /* nobody followed it */
    path[strlen(path) - 4] = '\0';
    assert_int_equal(access(path, F_OK), -1);
    pool_file_free(file);
    close_files(world, first);
    close_files(world, second);
    unsetenv("TMPDIR");
}

static void test_without_memory(void **state) {
    struct world *world = *state;
    setenv("TMPDIR", world->directory, 1);
    bool reached = true;
    unsigned refused = 0;
    for (uint64_t at = 1; reached; at++) {
        struct pool_files *files = NULL;
        struct pool_file *file = NULL;
        struct seen seen = {0};
        mem_fail_at(at, 0);
        int r = pool_files_new(&world->loop, &files, NULL);
        if (r == 0)
            r = pool_file_new(files, 0, on_progress, &seen, &file);
        if (r == 0)
            r = pool_file_add(file, BYTES("something"));
        reached = mem_fail_count() >= at;
        mem_fail_at(0, 0);
        assert_int_equal(r, reached ? -ENOMEM : 0);
        refused += reached;
        pool_file_free(file);
        if (files)
            close_files(world, files);
    }
    assert_true(refused >= 4);
    unsetenv("TMPDIR");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(test_write),
        TEST(test_several_and_stale_ones),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
