/* test_output_file.c - files: nothing leads out of the directory, nothing half is ever seen, and each system call may
 * fail. */
#include "output_file.h"

#include "bytes.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64], outside[64];

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int up(void **state) {
    (void)state;
    strcpy(root, "/tmp/froe-output-XXXXXX");
    strcpy(outside, "/tmp/froe-outside-XXXXXX");
    return mkdtemp(root) && mkdtemp(outside) ? 0 : -1;
}

static int down(void **state) {
    (void)state;
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    nftw(outside, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* ---- calls that are counted and fail ---- */

static int calls_made, fail_at, fail_with;
static bool no_tmpfile;
static char trace[4096];

static int next_call(const char *what) {
    size_t n = strlen(trace);
    snprintf(trace + n, sizeof trace - n, "%s ", what);
    if (++calls_made != fail_at)
        return 0;
    errno = fail_with;
    return -1;
}

static int my_openat(int directory, const char *path, int flags, mode_t mode) {
    if ((flags & O_TMPFILE) == O_TMPFILE && no_tmpfile) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return next_call("open") < 0 ? -1 : openat(directory, path, flags, mode);
}
static int my_mkdirat(int directory, const char *path, mode_t mode) {
    return next_call("mkdir") < 0 ? -1 : mkdirat(directory, path, mode);
}
static ssize_t my_pread(int fd, void *to, size_t n, off_t offset) {
    return next_call("read") < 0 ? -1 : pread(fd, to, n, offset);
}
static ssize_t my_write(int fd, const void *data, size_t n) {
    return next_call("write") < 0 ? -1 : write(fd, data, n > 100000 ? 100000 : n); /* short ones, too */
}
static int my_fsync(int fd) {
    return next_call("fsync") < 0 ? -1 : fsync(fd);
}
static int my_linkat(int directory, const char *path, int to_directory, const char *to_path, int flags) {
    return next_call("link") < 0 ? -1 : linkat(directory, path, to_directory, to_path, flags);
}
static int my_renameat(int directory, const char *path, int to_directory, const char *to_path) {
    return next_call("rename") < 0 ? -1 : renameat(directory, path, to_directory, to_path);
}
static const struct output_file_calls my_calls = {my_openat, my_mkdirat, my_pread,    my_write,
                                                  my_fsync,  my_linkat,  my_renameat, unlinkat};

/* ---- writing ---- */

static int body_of(const char *text, size_t n) {
    char path[] = "/tmp/froe-body-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, text, n), n);
    return fd;
}

static int put_bytes(struct bytes path, const char *text, size_t n, struct err *err) {
    atomic_bool cancelled = false;
    int fd = n ? body_of(text, n) : -1;
    const struct output_file file = {root, path, fd, n};
    calls_made = 0;
    trace[0] = '\0';
    int r = output_file_write(&my_calls, &file, &cancelled, err);
    if (fd >= 0)
        close(fd);
    return r;
}

static int put(const char *path, const char *text, struct err *err) {
    return put_bytes(bytes_str(path), text, strlen(text), err);
}

static void expect_content(const char *path, const char *text) {
    char whole[256], content[256] = {0};
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    FILE *file = fopen(whole, "r");
    assert_non_null(file);
    content[fread(content, 1, sizeof content - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(content, text);
}

/* Entries of the directory and all below. */
static int count_in(const char *path) {
    int n = 0;
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        n++;
        char below[512];
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (entry->d_type == DT_DIR)
            n += count_in(below);
    }
    closedir(directory);
    return n;
}

static void test_writes(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        no_tmpfile = i == 1;
        assert_int_equal(put("a", "one", NULL), 0);
        assert_string_equal(trace, i == 0 ? "open open read write fsync link fsync "
                                          : "open open read write fsync rename fsync ");
        expect_content("a", "one");
        assert_int_equal(put("a", "two", NULL), 0); /* replaces */
        expect_content("a", "two");
        assert_int_equal(put("d/e/f", "deep", NULL), 0);
        expect_content("d/e/f", "deep");
        assert_int_equal(put("empty", "", NULL), 0);
        expect_content("empty", "");
        assert_int_equal(count_in(root), 5);
    }
    no_tmpfile = false;
    static char big[700000];
    memset(big, 'b', sizeof big);
    assert_int_equal(put_bytes(BYTES("big"), big, sizeof big, NULL), 0);
    struct stat info;
    char path[128];
    snprintf(path, sizeof path, "%s/big", root);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, sizeof big);
}

/* Each new directory is durable in the one above before the file is. */
static void test_new_directories_are_durable(void **state) {
    (void)state;
    assert_int_equal(put("x/y/z", "1", NULL), 0);
    assert_string_equal(trace, "open open mkdir open fsync open mkdir open fsync open read write fsync link fsync ");
    assert_int_equal(put("x/y/z", "2", NULL), 0); /* also when somebody else has just made them */
    assert_string_equal(trace, "open open fsync open fsync open read write fsync link link rename fsync ");
}

static void refuse(struct bytes path, const char *part) {
    struct err err = {0};
    assert_int_equal(output_file_check(path, &err), -EINVAL);
    if (!strstr(err.text, part))
        fail_msg("%.*s: %s", (int)path.n, path.p, err.text);
    assert_int_equal(put_bytes(path, "x", 1, &err), -EINVAL);
    assert_int_equal(calls_made, 0);
}

static void test_names_that_cannot_be(void **state) {
    (void)state;
    refuse(BYTES(""), "begins or ends with '/'");
    refuse(BYTES("/etc/passwd"), "begins or ends with '/'");
    refuse(BYTES("a/"), "begins or ends with '/'");
    refuse(BYTES("a//b"), "two in a row");
    refuse(BYTES(".."), "means a directory");
    refuse(BYTES("."), "means a directory");
    refuse(BYTES("../x"), "means a directory");
    refuse(BYTES("a/../../x"), "means a directory");
    refuse(BYTES("a/./b"), "means a directory");
    refuse(BYTES("a/.."), "means a directory");
    refuse(BYTES("a\0b"), "NUL");
    char longer[257];
    memset(longer, 'n', sizeof longer);
    refuse(bytes_of(longer, 256), "at most 255 bytes");
    assert_int_equal(put_bytes(bytes_of(longer, 255), "x", 1, NULL), 0);
    assert_int_equal(put("..a", "x", NULL), 0);
    assert_int_equal(put("...", "x", NULL), 0);
    assert_int_equal(put("a\\..\\b", "x", NULL), 0);
    assert_int_equal(put("\xff\n\t*", "x", NULL), 0);
    assert_int_equal(count_in(root), 5);
}

static void test_links_lead_nowhere(void **state) {
    (void)state;
    char path[128];
    struct err err = {0};
    snprintf(path, sizeof path, "%s/out", root);
    assert_int_equal(symlink(outside, path), 0);
    assert_int_equal(put("out/x", "x", &err), -ENOTDIR);
    assert_non_null(strstr(err.text, "a file or a symbolic link 'out' where a directory must be"));
    assert_int_equal(put("out/deeper/x", "x", &err), -ENOTDIR);
    assert_int_equal(put("out", "mine", NULL), 0); /* the link itself is replaced, not what it points to */
    expect_content("out", "mine");
    assert_int_equal(count_in(outside), 0);
}

static void test_file_or_directory(void **state) {
    (void)state;
    struct err err = {0};
    assert_int_equal(put("a", "file", NULL), 0);
    assert_int_equal(put("a/b", "below", &err), -ENOTDIR);
    assert_non_null(strstr(err.text, "there is a file or a symbolic link 'a'"));
    expect_content("a", "file");
    assert_int_equal(put("c/d", "below", NULL), 0);
    assert_int_equal(put("c", "file", &err), -EISDIR);
    assert_non_null(strstr(err.text, "there is a directory of that name"));
    expect_content("c/d", "below");
    assert_int_equal(count_in(root), 3);
}

/* Whatever fails: an error, the old content or the new one under the name, and nothing else left. */
static void test_each_call_fails(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        bool done = false;
        no_tmpfile = i == 1;
        for (int n = 1; !done; n++) {
            struct err err = {0};
            fail_at = 0;
            assert_int_equal(put("d/f", "old", NULL), 0);
            fail_at = n;
            fail_with = ENOSPC;
            int r = put("d/f", "new", &err);
            done = calls_made < n;
            assert_int_equal(r, done ? 0 : -ENOSPC);
            if (!done)
                assert_non_null(strstr(err.text, "No space left on device"));
            const char *last = strstr(trace, "rename fsync");
            expect_content("d/f", done || (last && r < 0) ? "new" : "old");
            assert_int_equal(count_in(root), 2);
        }
    }
    fail_at = 0;
    no_tmpfile = false;
}

static void test_interrupted_calls_go_on(void **state) {
    (void)state;
    fail_with = EINTR;
    for (fail_at = 3; fail_at <= 4; fail_at++) /* read, write */
        assert_int_equal(put("a", "x", NULL), 0);
    fail_at = 0;
}

static void test_body_that_is_shorter(void **state) {
    (void)state;
    atomic_bool cancelled = false;
    int fd = body_of("abc", 3);
    const struct output_file file = {root, BYTES("a"), fd, 4};
    assert_int_equal(output_file_write(&output_file_system, &file, &cancelled, NULL), -EIO);
    close(fd);
    assert_int_equal(count_in(root), 0);
}

static void test_cancelled(void **state) {
    (void)state;
    atomic_bool cancelled = true;
    int fd = body_of("abc", 3);
    struct err err = {0};
    const struct output_file file = {root, BYTES("a"), fd, 3}, empty = {root, BYTES("b"), -1, 0};
    assert_int_equal(output_file_write(&output_file_system, &file, &cancelled, &err), -ECANCELED);
    assert_int_equal(output_file_write(&output_file_system, &empty, &cancelled, &err), -ECANCELED);
    close(fd);
    assert_int_equal(count_in(root), 0);
}

static void test_no_root(void **state) {
    (void)state;
    atomic_bool cancelled = false;
    struct err err = {0};
    const struct output_file file = {"/tmp/froe-is-not-there", BYTES("a"), -1, 0};
    assert_int_equal(output_file_write(&output_file_system, &file, &cancelled, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/tmp/froe-is-not-there/a: the directory cannot be opened"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)
    const struct CMUnitTest tests[] = {
        TEST(test_writes),
        TEST(test_new_directories_are_durable),
        TEST(test_names_that_cannot_be),
        TEST(test_links_lead_nowhere),
        TEST(test_file_or_directory),
        TEST(test_each_call_fails),
        TEST(test_interrupted_calls_go_on),
        TEST(test_body_that_is_shorter),
        TEST(test_cancelled),
        TEST(test_no_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
