/* test_shared_buffers.c - memory that others can only read, is used again, and counts in a budget; and bodies in it. */
#include "pool_support.h"

#include "cleanup.h"
#include "pool_files.h"
#include "shared_buffers.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static void test_used_again(void **state) {
    struct budget budget = {.max_bytes = 64 * MIB};
    struct shared_buffers buffers;
    shared_buffers_init(&buffers, &budget);
    struct shared_buffer *first = shared_buffers_take(&buffers, 100 * KIB), *second;
    assert_non_null(first);
    assert_true(first->capacity >= 100 * KIB && budget.used_bytes == first->capacity);
    memset(first->data, 'a', 100 * KIB);
    second = shared_buffers_take(&buffers, 100 * KIB);
    assert_true(second && second != first && second->fd != first->fd);
    char *data = first->data;
    shared_buffers_give(&buffers, first);
    assert_int_equal(budget.used_bytes, 2 * second->capacity); /* it is still there */
    first = shared_buffers_take(&buffers, 90 * KIB);           /* about as large */
    assert_ptr_equal(first->data, data);
    shared_buffers_give(&buffers, first);
    first = shared_buffers_take(&buffers, 64 * KIB); /* that would be waste */
    assert_true(first->capacity == 64 * KIB && first->data != data);
    shared_buffers_give(&buffers, first);
    first = shared_buffers_take(&buffers, 129 * KIB);
    assert_true(first->capacity >= 129 * KIB && first->data != data);
    shared_buffers_give(&buffers, first);
    shared_buffers_give(&buffers, second);
    shared_buffers_give(&buffers, NULL);
    shared_buffers_free(&buffers);
    assert_int_equal(budget.used_bytes, 0);
}

static void test_sizes(void **state) {
    struct budget budget = {.max_bytes = 64 * MIB}, none = {0};
    struct shared_buffers buffers;
    shared_buffers_init(&buffers, &budget);
    static const uint64_t bad[] = {0, SPOOL_RESERVED_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_null(shared_buffers_take(&buffers, bad[i]));
    static const uint64_t good[] = {1, 64 * KIB, 64 * KIB + 1, SPOOL_RESERVED_MAX};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct shared_buffer *buffer = shared_buffers_take(&buffers, good[i]);
        assert_true(buffer && buffer->capacity >= good[i]);
        assert_true(buffer->capacity <= good[i] + good[i] / 4 || buffer->capacity == 64 * KIB);
        buffer->data[good[i] - 1] = 'x';
        shared_buffers_give(&buffers, buffer);
    }
    shared_buffers_free(&buffers);
    shared_buffers_init(&buffers, &none);
    assert_null(shared_buffers_take(&buffers, 1));
    shared_buffers_free(&buffers);
}

/* Spare ones make room for others, and only a part of the budget lies idle. */
static void test_room(void **state) {
    struct budget budget = {.max_bytes = 16 * MIB};
    struct shared_buffers buffers;
    shared_buffers_init(&buffers, &budget);
    struct shared_buffer *many[16];
    for (size_t i = 0; i < 16; i++)
        assert_non_null(many[i] = shared_buffers_take(&buffers, MIB));
    assert_null(shared_buffers_take(&buffers, 1));
    for (size_t i = 0; i < 16; i++)
        shared_buffers_give(&buffers, many[i]);
    assert_int_equal(budget.used_bytes, MIB); /* a sixteenth */
    struct shared_buffer *large = shared_buffers_take(&buffers, 16 * MIB);
    assert_non_null(large);
    shared_buffers_give(&buffers, large); /* too large to be kept */
    assert_int_equal(budget.used_bytes, 0);
    shared_buffers_free(&buffers);
}

static void test_only_read_by_others(void **state) {
    struct budget budget = {.max_bytes = 64 * MIB};
    struct shared_buffers buffers;
    shared_buffers_init(&buffers, &budget);
    struct shared_buffer *buffer = shared_buffers_take(&buffers, 10);
    assert_non_null(buffer);
    memcpy(buffer->data, "0123456789", 10);
    _cleanup_close_ int fd = -1;
    assert_int_equal(spool_reopen(buffer->fd, &fd), 0);
    char got[10];
    assert_int_equal(read(fd, got, sizeof got), 10);
    assert_memory_equal(got, "0123456789", 10);
    /* Not even by opening it once more. */
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    _cleanup_close_ int again = open(path, O_RDWR | O_CLOEXEC);
    assert_true(again >= 0);
    assert_int_equal(pwrite(again, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(again, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_ptr_equal(mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0), MAP_FAILED);
    const char *seen = mmap(NULL, 10, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(seen != MAP_FAILED && seen[3] == '3');
    buffer->data[3] = 'x'; /* by froe it is */
    assert_int_equal(seen[3], 'x');
    munmap((void *)(uintptr_t)seen, 10);
    shared_buffers_give(&buffers, buffer);
    shared_buffers_free(&buffers);
}

static void test_without_memory(void **state) {
    struct budget budget = {.max_bytes = 64 * MIB};
    struct shared_buffers buffers;
    shared_buffers_init(&buffers, &budget);
    mem_fail_at(1, 0);
    assert_null(shared_buffers_take(&buffers, 10));
    mem_fail_at(0, 0);
    assert_int_equal(budget.used_bytes, 0);
    struct rlimit limit, no_more;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    no_more = limit;
    no_more.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &no_more), 0);
    assert_null(shared_buffers_take(&buffers, 10));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(budget.used_bytes, 0);
    shared_buffers_free(&buffers);
}

/* ---- bodies ---- */

static void on_progress(void *arg) {
    ++*(unsigned *)arg;
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

static void check_content(struct pool_file *file, const char *body, size_t n) {
    _cleanup_close_ int fd = -1;
    _cleanup_free_ char *got = mem_alloc(n);
    assert_int_equal(pool_file_open(file, &fd), 0);
    assert_int_equal(read(fd, got, n), n);
    assert_memory_equal(got, body, n);
}

static void test_bodies(void **state) {
    struct world *world = *state;
    setenv("TMPDIR", world->directory, 1);
    struct budget budget = {.max_bytes = 16 * MIB};
    struct pool_files *files;
    struct pool_file *file;
    unsigned calls = 0;
    assert_int_equal(pool_files_new_nameless(&world->loop, &budget, true, &files, NULL), 0);
    size_t n = 300 * KIB;
    _cleanup_free_ char *body = make_body(n);
    assert_int_equal(pool_file_new(files, n, on_progress, &calls, &file), 0);
    for (size_t at = 0; at < n; at += 10 * KIB)
        assert_int_equal(pool_file_add(file, bytes_of(body + at, 10 * KIB)), 0);
    pool_file_flush(file);
    assert_true(pool_file_waiting(file) == 0 && !pool_file_path(file) && calls == 0);
    check_content(file, body, n);
    uint64_t used = budget.used_bytes;
    pool_file_free(file);
    assert_int_equal(budget.used_bytes, used); /* kept for the next */
    /* More than was told: all of it is in a file. */
    assert_int_equal(pool_file_new(files, 100, on_progress, &calls, &file), 0);
    for (size_t at = 0; at < n; at += 10 * KIB)
        assert_int_equal(pool_file_add(file, bytes_of(body + at, 10 * KIB)), 0);
    pool_file_flush(file);
    while (pool_file_waiting(file) > 0)
        uv_run(&world->loop, UV_RUN_ONCE);
    check_content(file, body, n);
    pool_file_free(file);
    /* Where the budget has no room, and where nobody knows the size. */
    assert_true(budget_take(&budget, budget.max_bytes - budget.used_bytes - 100 * KIB));
    for (size_t told = 0; told < 2; told++) {
        assert_int_equal(pool_file_new(files, told ? 2 * MIB : 0, on_progress, &calls, &file), 0);
        assert_int_equal(pool_file_add(file, bytes_of(body, n)), 0);
        pool_file_flush(file);
        while (pool_file_waiting(file) > 0)
            uv_run(&world->loop, UV_RUN_ONCE);
        check_content(file, body, n);
        pool_file_free(file);
    }
    bool closed = false;
    pool_files_close(files, on_closed, &closed);
    while (!closed)
        uv_run(&world->loop, UV_RUN_ONCE);
    unsetenv("TMPDIR");
}

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_used_again),     cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_room),           cmocka_unit_test(test_only_read_by_others),
        cmocka_unit_test(test_without_memory), cmocka_unit_test_setup_teardown(test_bodies, world_up, world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
