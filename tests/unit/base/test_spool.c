/* Spools: where the bytes are, what the budget says, and every system call failing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cleanup.h"
#include "mem.h"
#include "spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char directory[] = "/tmp/froe-spool-test-XXXXXX";

static size_t count_entries(const char *path) {
    DIR *listing = opendir(path);
    assert_non_null(listing);
    size_t n = 0;
    for (struct dirent *entry; (entry = readdir(listing));)
        n += entry->d_name[0] != '.';
    closedir(listing);
    return n;
}

static char *make_bytes(size_t n) {
    char *data = mem_alloc(n);
    assert_non_null(data);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)((i * 2654435761u) >> 13);
    return data;
}

static void holds(const struct spool *spool, const char *data, size_t n) {
    _cleanup_free_ char *got = mem_alloc(n + 1);
    assert_int_equal(spool->n, n);
    assert_int_equal(spool_read(spool, 0, got, n + 1), n);
    assert_memory_equal(got, data, n);
}

static void add_in_pieces(struct spool *spool, const char *data, size_t n, size_t piece) {
    for (size_t at = 0; at < n; at += piece) {
        struct err err = {0};
        if (spool_add(spool, bytes_of(data + at, n - at < piece ? n - at : piece), &err) < 0)
            fail_msg("%s", err.text);
    }
}

static void test_sizes(void **state) {
    static const size_t sizes[] = {
        0, 1, 4095, 4096, 4097, SPOOL_MEMORY_MAX - 1, SPOOL_MEMORY_MAX, SPOOL_MEMORY_MAX + 1, 3 * SPOOL_MEMORY_MAX + 5};
    static const size_t pieces[] = {1000, 4096, 70000, 4 * SPOOL_MEMORY_MAX};
    _cleanup_free_ char *data = make_bytes(4 * SPOOL_MEMORY_MAX);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t k = 0; k < 4; k++) {
            struct budget budget = {.max_bytes = 2 * SPOOL_MEMORY_MAX};
            struct spool spool;
            spool_init(&spool, &budget, directory);
            assert_int_equal(spool_add(&spool, BYTES_NONE, NULL), 0);
            assert_int_equal(spool.fd, -1); /* nothing costs nothing */
            add_in_pieces(&spool, data, sizes[i], pieces[k]);
            assert_int_equal(spool.in_file, sizes[i] > SPOOL_MEMORY_MAX);
            assert_int_equal(budget.used_bytes, spool.in_file ? 0 : (sizes[i] + 4095) / 4096 * 4096);
            assert_int_equal(budget.used_bytes, spool.counted);
            holds(&spool, data, sizes[i]);
            spool_free(&spool);
            assert_int_equal(budget.used_bytes, 0);
            assert_true(spool.fd == -1 && spool.n == 0 && !spool.in_file);
            add_in_pieces(&spool, "again", 5, 2); /* it is as good as new */
            holds(&spool, "again", 5);
            spool_free(&spool);
            assert_int_equal(budget.used_bytes, 0);
        }
    assert_int_equal(count_entries(directory), 0); /* also while they were there: see test_no_name */
}

static void test_no_name(void **state) {
    struct spool spool;
    spool_init(&spool, NULL, directory);
    add_in_pieces(&spool, "bytes", 5, 5);
    assert_true(spool.in_file); /* without a budget */
    assert_int_equal(count_entries(directory), 0);
    assert_true(fcntl(spool.fd, F_GETFD) & FD_CLOEXEC);
    /* Whoever is given the descriptor reads from the beginning. */
    char got[8];
    assert_int_equal(read(spool.fd, got, sizeof got), 5);
    assert_memory_equal(got, "bytes", 5);
    spool_free(&spool);
}

static void test_reading(void **state) {
    struct budget budget = {.max_bytes = 1 << 20};
    struct spool spool;
    char got[16];
    spool_init(&spool, &budget, directory);
    assert_int_equal(spool_read(&spool, 0, got, 16), 0);
    add_in_pieces(&spool, "0123456789", 10, 3);
    assert_int_equal(spool_read(&spool, 4, got, 3), 3);
    assert_memory_equal(got, "456", 3);
    assert_int_equal(spool_read(&spool, 8, got, 16), 2);
    assert_memory_equal(got, "89", 2);
    assert_int_equal(spool_read(&spool, 10, got, 16), 0);
    assert_int_equal(spool_read(&spool, UINT64_MAX, got, 16), 0);
    assert_int_equal(spool_read(&spool, 0, got, 0), 0);
    spool_free(&spool);
}

/* Handed out, twice: read only, each from the beginning, and in memory nobody can change it any more. */
static void test_open(void **state) {
    static const size_t sizes[] = {0, 5, SPOOL_MEMORY_MAX, SPOOL_MEMORY_MAX + 1};
    _cleanup_free_ char *data = make_bytes(SPOOL_MEMORY_MAX + 1), *got = mem_alloc(SPOOL_MEMORY_MAX + 2);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct budget budget = {.max_bytes = 2 * SPOOL_MEMORY_MAX};
        struct spool spool;
        spool_init(&spool, &budget, directory);
        add_in_pieces(&spool, data, sizes[i], 100000);
        for (int k = 0; k < 2; k++) {
            _cleanup_close_ int fd = -1;
            assert_int_equal(spool_open(&spool, &fd, NULL), 0);
            assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
            assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
            assert_int_equal(read(fd, got, SPOOL_MEMORY_MAX + 2), sizes[i]);
            assert_memory_equal(got, data, sizes[i]);
        }
        if (!spool.in_file) {
            assert_int_equal(pwrite(spool.fd, "x", 1, 0), -1);
            assert_int_equal(errno, EPERM);
            assert_int_equal(ftruncate(spool.fd, 1 << 30), -1);
            assert_true(sizes[i] == 0 || ftruncate(spool.fd, 0) == -1);
        }
        spool_free(&spool);
        assert_int_equal(budget.used_bytes, 0);
    }
}

/* What was promised stays in memory, whatever others take meanwhile; what is more than that is as if nothing was. */
static void test_reserve(void **state) {
    static const size_t sizes[] = {0, 5, SPOOL_MEMORY_MAX, SPOOL_MEMORY_MAX + 1, SPOOL_RESERVED_MAX};
    _cleanup_free_ char *data = make_bytes(SPOOL_RESERVED_MAX + 1);
    struct spool spool, other;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t more = 0; more < 2; more++) {
            struct budget budget = {.max_bytes = SPOOL_RESERVED_MAX};
            size_t pages = (sizes[i] + 4095) / 4096 * 4096;
            spool_init(&spool, &budget, directory);
            spool_init(&other, &budget, directory);
            assert_true(spool_reserve(&spool, sizes[i]));
            assert_int_equal(budget.used_bytes, pages);
            assert_false(spool_reserve(&other, SPOOL_RESERVED_MAX - pages + 1));
            assert_true(spool_reserve(&other, SPOOL_RESERVED_MAX - pages));
            assert_int_equal(budget.used_bytes, SPOOL_RESERVED_MAX);
            add_in_pieces(&spool, data, sizes[i] + more, 300000);
            assert_int_equal(spool.in_file, more && sizes[i] != 5); /* for which its page has room */
            holds(&spool, data, sizes[i] + more);
            spool_free(&spool);
            spool_free(&other);
            assert_int_equal(budget.used_bytes, 0);
        }
    struct budget small = {.max_bytes = 4096}, large = {.max_bytes = UINT64_MAX};
    spool_init(&spool, &small, directory);
    assert_true(!spool_reserve(&spool, 4097) && !spool_reserve(&spool, UINT64_MAX) && spool_reserve(&spool, 4096));
    spool_free(&spool);
    spool_init(&spool, &large, directory);
    assert_true(!spool_reserve(&spool, SPOOL_RESERVED_MAX + 1) && !spool_reserve(&spool, UINT64_MAX));
    spool_free(&spool);
    spool_init(&spool, NULL, directory);
    assert_false(spool_reserve(&spool, 0));
    spool_free(&spool);
}

static void test_open_fails(void **state) {
    size_t before = count_entries("/proc/self/fd");
    for (int empty = 0; empty < 2; empty++) {
        unsigned failed = 0;
        bool reached = true;
        for (uint64_t at = 1; reached; at++) {
            struct budget budget = {.max_bytes = 1 << 20};
            struct spool spool;
            struct err err = {0};
            int fd = -1;
            spool_init(&spool, &budget, directory);
            if (!empty)
                add_in_pieces(&spool, "bytes", 5, 5);
            spool_fail_at(at, EMFILE);
            int r = spool_open(&spool, &fd, &err);
            reached = spool_fail_count() >= at;
            spool_fail_at(0, 0);
            assert_true(r == 0 ? fd >= 0 : r == -EMFILE && fd == -1 && err.text[0]);
            failed += r < 0;
            cleanup_close_fd(&fd);
            spool_free(&spool);
            assert_int_equal(count_entries("/proc/self/fd"), before);
        }
        assert_int_equal(failed, 2); /* sealing, opening; that there is no memory is no failure */
    }
}

/* Many share one budget: whoever finds no room goes into a file, and what they give back is there for the next. */
static void test_shared_budget(void **state) {
    enum { N = 10, EACH = 100000, PAGES = (EACH + 4095) / 4096 * 4096 };
    struct budget budget = {.max_bytes = 4 * PAGES + 4095}; /* room for four */
    struct spool spools[N];
    _cleanup_free_ char *data = make_bytes(EACH);
    for (int i = 0; i < N; i++) {
        spool_init(&spools[i], &budget, directory);
        add_in_pieces(&spools[i], data, EACH, 30000);
        assert_true(budget.used_bytes <= budget.max_bytes);
        assert_int_equal(spools[i].in_file, i >= 4);
    }
    assert_int_equal(budget.used_bytes, 4 * PAGES);
    for (int i = 0; i < N; i++)
        holds(&spools[i], data, EACH);
    spool_free(&spools[1]);
    spool_free(&spools[7]);
    assert_int_equal(budget.used_bytes, 3 * PAGES);
    add_in_pieces(&spools[7], data, EACH, EACH);
    assert_false(spools[7].in_file);
    assert_int_equal(budget.used_bytes, 4 * PAGES);
    /* One that was moved out of takes its part of the budget along. */
    struct spool moved = spools[0];
    spool_init(&spools[0], &budget, directory);
    spool_free(&spools[0]);
    holds(&moved, data, EACH);
    assert_int_equal(budget.used_bytes, 4 * PAGES);
    spool_free(&moved);
    for (int i = 1; i < N; i++)
        spool_free(&spools[i]);
    assert_int_equal(budget.used_bytes, 0);
}

/* A budget that was made smaller while it was in use. */
static void test_smaller_budget(void **state) {
    struct budget budget = {.max_bytes = 1 << 20};
    struct spool one, two;
    spool_init(&one, &budget, directory);
    spool_init(&two, &budget, directory);
    add_in_pieces(&one, "first", 5, 5);
    budget.max_bytes = 0;
    add_in_pieces(&two, "second", 6, 6);
    add_in_pieces(&one, "!", 1, 1); /* in the page that it has */
    assert_true(two.in_file);
    holds(&one, "first!", 6);
    holds(&two, "second", 6);
    spool_free(&one);
    spool_free(&two);
    assert_int_equal(budget.used_bytes, 0);
}

static void test_no_place(void **state) {
    struct spool spool;
    struct err err = {0};
    spool_init(&spool, NULL, "/nonexistent/directory");
    assert_int_equal(spool_add(&spool, BYTES("x"), &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/directory"));
    assert_non_null(strstr(err.text, "TMPDIR"));
    spool_free(&spool);
}

/* Without O_TMPFILE: a file with a name, which goes at once. */
static void test_named_file(void **state) {
    static const int unknown[] = {EOPNOTSUPP, EISDIR, EINVAL};
    for (size_t i = 0; i < 3; i++) {
        struct spool spool;
        spool_init(&spool, NULL, directory);
        spool_fail_at(1, unknown[i]);
        add_in_pieces(&spool, "bytes", 5, 5);
        spool_fail_at(0, 0);
        assert_int_equal(count_entries(directory), 0);
        assert_true(fcntl(spool.fd, F_GETFD) & FD_CLOEXEC);
        holds(&spool, "bytes", 5);
        spool_free(&spool);
    }
    struct spool spool;
    spool_init(&spool, NULL, directory);
    spool_fail_at(1, EOPNOTSUPP);
    mem_fail_at(1, 0);
    assert_int_equal(spool_add(&spool, BYTES("x"), NULL), -ENOMEM);
    mem_fail_at(0, 0);
    spool_fail_at(0, 0);
    spool_free(&spool);
}

static size_t count_fds(void) {
    return count_entries("/proc/self/fd");
}

/* Each call fails in turn: the bytes are all there, or there is an error with a text; either way nothing is left. */
static void each_call_fails(int error) {
    enum { N = SPOOL_MEMORY_MAX + 200000, PIECE = 150000 };
    _cleanup_free_ char *data = make_bytes(N);
    size_t before = count_fds();
    unsigned failed = 0, well = 0;
    bool reached = true;
    for (uint64_t at = 1; reached; at++) {
        struct budget budget = {.max_bytes = 16 << 20};
        struct spool spool;
        struct err err = {0};
        int r = 0;
        spool_init(&spool, &budget, directory);
        spool_fail_at(at, error);
        for (size_t done = 0; done < N && r == 0; done += PIECE)
            r = spool_add(&spool, bytes_of(data + done, N - done < PIECE ? N - done : PIECE), &err);
        reached = spool_fail_count() >= at;
        spool_fail_at(0, 0);
        if (r == 0) {
            holds(&spool, data, N);
            well++;
        } else {
            assert_int_equal(r, -error);
            assert_non_null(strstr(err.text, directory));
            assert_non_null(strstr(err.text, strerror(error)));
            failed++;
        }
        spool_free(&spool);
        assert_int_equal(budget.used_bytes, 0);
        assert_int_equal(count_fds(), before);
    }
    assert_true(well > 5); /* what fails in memory is no failure */
    assert_true(error == EINTR || failed > 10);
    assert_int_equal(count_entries(directory), 0);
}

static void test_each_call_fails(void **state) {
    each_call_fails(ENOSPC);
    each_call_fails(EIO);
    each_call_fails(EMFILE);
}

/* A signal in the midst of reading or writing: nothing is lost. (Of making a file it is an error like others.) */
static void test_interrupted(void **state) {
    each_call_fails(EINTR);
}

static void test_failing_read(void **state) {
    struct spool spool;
    char got[8];
    spool_init(&spool, NULL, directory);
    add_in_pieces(&spool, "bytes", 5, 5);
    spool_fail_at(1, EIO);
    assert_int_equal(spool_read(&spool, 0, got, 8), -EIO);
    spool_fail_at(0, 0);
    spool_free(&spool);
}

/* The kernel's own refusals, not those of the seam. */
static void test_limits(void **state) {
    struct rlimit limit, small;
    struct spool spool;
    struct err err = {0};
    _cleanup_free_ char *data = make_bytes(200000);
    spool_init(&spool, NULL, directory);
    getrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    small = (struct rlimit){100000, limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    int r = spool_add(&spool, bytes_of(data, 200000), &err); /* the first write is short */
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(r, -EFBIG);
    assert_non_null(strstr(err.text, "File too large"));
    spool_free(&spool);

    getrlimit(RLIMIT_NOFILE, &limit);
    int lowest = dup(0);
    close(lowest);
    small = (struct rlimit){(rlim_t)lowest, limit.rlim_max};
    struct budget budget = {.max_bytes = 1 << 20};
    spool_init(&spool, &budget, directory);
    setrlimit(RLIMIT_NOFILE, &small);
    r = spool_add(&spool, bytes_of(data, 5), &err);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(r, -EMFILE);
    assert_non_null(strstr(err.text, "Too many open files"));
    spool_free(&spool);
    assert_int_equal(budget.used_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_no_name),
        cmocka_unit_test(test_reading),        cmocka_unit_test(test_shared_budget),
        cmocka_unit_test(test_smaller_budget), cmocka_unit_test(test_no_place),
        cmocka_unit_test(test_named_file),     cmocka_unit_test(test_each_call_fails),
        cmocka_unit_test(test_interrupted),    cmocka_unit_test(test_failing_read),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_open),
        cmocka_unit_test(test_reserve),        cmocka_unit_test(test_open_fails),
    };
    if (!mkdtemp(directory))
        return 1;
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    return rmdir(directory) < 0 ? 1 : r;
}
