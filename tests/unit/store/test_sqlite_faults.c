/* test_sqlite_faults.c - whatever fails, and wherever the process or the power ends: what was committed is there, the
 * rest is not, and the store says what is the matter.
 *
 * With the argument "some" (under sanitizers, which are slow, and find out nothing about files) only at some places of
 * each kind. */
#include "fault_vfs.h"
#include "mem.h"
#include "old_format.h"
#include "workload.h"

#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct sqlite_place place;
static struct workload_expected expected;
static uint64_t leap = 1; /* of so many places one is tried */

static int setup(void **state) {
    (void)state;
    sqlite_place_make(&place);
    workload_expect(&place, &expected);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    workload_expected_free(&expected);
    fault_vfs_record(true);
    fault_vfs_record(false);
    sqlite_place_remove(&place);
    return 0;
}

/* ---- files that fail ---- */

static void fail_everywhere(enum fault_kind kind, bool sticky, bool reads, uint64_t stride) {
    uint64_t hits = 0;
    for (uint64_t n = 1;; n += stride * leap) {
        struct err err = {0};
        int done;
        sqlite_place_wipe(&place);
        fault_vfs_at(kind, n, sticky, reads);
        int r = workload_run(&place, WORKLOAD_STEPS, &done, NULL, &err);
        bool hit = fault_vfs_hit();
        fault_vfs_at(FAULT_NONE, 0, false, false);
        if (!hit) {
            assert_int_equal(r, 0);
            break;
        }
        hits++;
        if (r < 0) {
            bool full = kind == FAULT_ENOSPC && r == STORE_ERR_FULL;
            if (r != STORE_ERR_IO && !full)
                fail_msg("operation %llu: %d %s", (unsigned long long)n, r, err.text);
            assert_non_null(strstr(err.text, place.path));
        }
        char when[64];
        snprintf(when, sizeof when, "operation %llu failed", (unsigned long long)n);
        workload_verify(&place, &expected, done, when);
    }
    assert_true(hits > 20); /* or nothing was tried */
}

static void any_write_may_fail_once(void **state) {
    fail_everywhere(FAULT_EIO, false, false, 1);
}

static void any_write_may_fail_for_good(void **state) {
    fail_everywhere(FAULT_EIO, true, false, 1);
}

static void the_disk_may_be_full_once(void **state) {
    fail_everywhere(FAULT_ENOSPC, false, false, 2);
}

static void the_disk_may_be_full_for_good(void **state) {
    fail_everywhere(FAULT_ENOSPC, true, false, 1);
}

static void any_read_may_fail(void **state) {
    fail_everywhere(FAULT_EIO, false, true, 3);
    fail_everywhere(FAULT_EIO, true, true, 7);
}

/* Whatever fails while an older file is brought to today's format, it is all as before or all done. */
static void an_upgrade_is_whole_or_none(void **state) {
    static const struct store_options options = {.lock_wait_us = -1};
    uint64_t hits = 0;
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1;; n += leap) {
            struct store *store = NULL;
            struct err err = {0};
            old_format_make(&place);
            fault_vfs_at(sticky ? FAULT_ENOSPC : FAULT_EIO, n, sticky, false);
            int r = sqlite_place_open(&place, &options, &store, &err);
            bool hit = fault_vfs_hit();
            store_close(store);
            fault_vfs_at(FAULT_NONE, 0, false, false);
            old_format_verify(&place);
            if (!hit) {
                assert_int_equal(r, 0);
                break;
            }
            hits++;
        }
    assert_true(hits > 20);
}

/* ---- memory that runs out ---- */

static void run_without_memory(const char *when) {
    struct err err = {0};
    int done, r = workload_run(&place, WORKLOAD_STEPS, &done, NULL, &err);
    mem_fail_at(0, 0);
    if (r < 0 && r != -ENOMEM)
        fail_msg("%s: %d %s", when, r, err.text);
    if (r < 0)
        assert_non_null(strstr(err.text, "memory"));
    workload_verify(&place, &expected, done, when);
    sqlite_place_wipe(&place);
}

/* Own memory: each allocation. */
static void any_allocation_may_fail(void **state) {
    sqlite_place_wipe(&place);
    mem_fail_at(UINT64_MAX, 0);
    int done;
    struct err err;
    assert_int_equal(workload_run(&place, WORKLOAD_STEPS, &done, NULL, &err), 0);
    uint64_t all = mem_fail_count();
    assert_true(all > 100);
    sqlite_place_wipe(&place);
    for (uint64_t n = 1; n <= all; n += n < 60 ? 1 : leap * (1 + all / 300)) {
        char when[64];
        snprintf(when, sizeof when, "allocation %llu failed", (unsigned long long)n);
        mem_fail_at(n, n % 2 == 0);
        run_without_memory(when);
    }
}

/* SQLite's memory, with a count of its own. */
static uint64_t sqlite_allocations, sqlite_fail_at;

static bool sqlite_must_fail(void) {
    sqlite_allocations++;
    return sqlite_fail_at && sqlite_allocations >= sqlite_fail_at;
}

static void *sqlite_alloc(int n) {
    if (sqlite_must_fail())
        return NULL;
    int64_t *p = malloc((size_t)n + 16);
    if (!p)
        return NULL;
    *p = n;
    return p + 2;
}

static void sqlite_free(void *p) {
    if (p)
        free((int64_t *)p - 2);
}

static int sqlite_size(void *p) {
    return p ? (int)((int64_t *)p)[-2] : 0;
}

static void *sqlite_resize(void *p, int n) {
    if (sqlite_must_fail())
        return NULL;
    int64_t *bigger = realloc((int64_t *)p - 2, (size_t)n + 16);
    if (!bigger)
        return NULL;
    *bigger = n;
    return bigger + 2;
}

static int sqlite_roundup(int n) {
    return (n + 7) & ~7;
}

static int sqlite_mem_init(void *arg) {
    (void)arg;
    return SQLITE_OK;
}

static void sqlite_mem_end(void *arg) {
    (void)arg;
}

static void sqlite_may_lack_memory(void **state) {
    sqlite_place_wipe(&place);
    sqlite_allocations = 0;
    int done;
    struct err err;
    assert_int_equal(workload_run(&place, WORKLOAD_STEPS, &done, NULL, &err), 0);
    uint64_t all = sqlite_allocations;
    assert_true(all > 300);
    sqlite_place_wipe(&place);
    for (uint64_t n = 1; n <= all; n += leap * (1 + all / 250)) {
        char when[64];
        snprintf(when, sizeof when, "SQLite's allocation %llu failed", (unsigned long long)n);
        sqlite_allocations = 0;
        sqlite_fail_at = n;
        int r = workload_run(&place, WORKLOAD_STEPS, &done, NULL, &err);
        sqlite_fail_at = 0;
        if (r < 0 && r != -ENOMEM)
            fail_msg("%s: %d %s", when, r, err.text);
        workload_verify(&place, &expected, done, when);
        sqlite_place_wipe(&place);
    }
}

/* ---- kill -9 ---- */

static int told_fd;

static void tell(int done) {
    char byte = (char)done;
    if (write(told_fd, &byte, 1) != 1)
        _exit(1);
}

static void killed_anywhere(void **state) {
    uint64_t kills = 0;
    for (uint64_t n = 1;; n += 2 * leap) {
        int fds[2], status, done = 0;
        sqlite_place_wipe(&place);
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct err err;
            told_fd = fds[1];
            fault_vfs_at(FAULT_KILL, n, false, false);
            _exit(workload_run(&place, WORKLOAD_STEPS, &done, tell, &err) < 0);
        }
        close(fds[1]);
        for (char byte; read(fds[0], &byte, 1) == 1;)
            done = byte;
        close(fds[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            assert_int_equal(done, WORKLOAD_STEPS);
            break;
        }
        assert_int_equal(WTERMSIG(status), SIGKILL);
        kills++;
        char when[64];
        snprintf(when, sizeof when, "killed at operation %llu", (unsigned long long)n);
        workload_verify(&place, &expected, done, when);
    }
    assert_true(kills > 20);
}

/* ---- power cuts ---- */

static void mark(int done) {
    (void)done;
    fault_vfs_mark();
}

static size_t restore_image(size_t n, enum fault_keep keep, uint64_t seed) {
    static const char *const suffixes[] = {"", "-wal", "-journal"};
    struct buf content = {0};
    size_t marks = 0;
    sqlite_place_wipe(&place);
    for (int i = 0; i < 3; i++) {
        bool exists;
        marks = fault_vfs_image(n, suffixes[i], keep, seed + (uint64_t)i, &content, &exists);
        if (exists)
            sqlite_place_write(&place, suffixes[i], buf_bytes(&content));
    }
    buf_free(&content);
    return marks;
}

static void the_power_goes_anywhere(void **state) {
    struct err err;
    int done;
    sqlite_place_wipe(&place);
    fault_vfs_record(true);
    assert_int_equal(workload_run(&place, WORKLOAD_STEPS, &done, mark, &err), 0);
    fault_vfs_record(false);
    size_t n = fault_vfs_recorded();
    assert_true(n > 100);
    for (size_t i = 1; i <= n; i += leap) {
        enum fault_keep keep = i % 5 == 0 ? FAULT_KEEP_NONE : i % 5 == 1 ? FAULT_KEEP_ALL : FAULT_KEEP_SOME;
        char when[64];
        snprintf(when, sizeof when, "power cut after operation %zu of %zu, keeping %d", i, n, (int)keep);
        size_t marks = restore_image(i, keep, i);
        workload_verify(&place, &expected, (int)marks, when);
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "some") == 0)
        leap = 4;
    static const sqlite3_mem_methods memory = {sqlite_alloc,   sqlite_free,     sqlite_resize,  sqlite_size,
                                               sqlite_roundup, sqlite_mem_init, sqlite_mem_end, NULL};
    sqlite3_config(SQLITE_CONFIG_MALLOC, &memory);
    fault_vfs_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_write_may_fail_once),   cmocka_unit_test(any_write_may_fail_for_good),
        cmocka_unit_test(the_disk_may_be_full_once), cmocka_unit_test(the_disk_may_be_full_for_good),
        cmocka_unit_test(any_read_may_fail),         cmocka_unit_test(an_upgrade_is_whole_or_none),
        cmocka_unit_test(any_allocation_may_fail),   cmocka_unit_test(sqlite_may_lack_memory),
        cmocka_unit_test(killed_anywhere),           cmocka_unit_test(the_power_goes_anywhere),
    };
    return cmocka_run_group_tests_name("sqlite faults", tests, setup, teardown);
}
