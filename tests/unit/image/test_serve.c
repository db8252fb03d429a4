/* test_serve.c - the worker's side of the pool's protocol, with work that makes no images. */
#include "serve.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SPIN_CALLS 1
#endif
#endif

/* The thread sanitizer hands a signal over when some function that it knows is called, and not before. */
static void spin(void) {
#ifdef SPIN_CALLS
    usleep(1000);
#endif
}

/* By the body: an echo of it, or what it asks for. */
static void work(void *arg, struct bytes key, struct bytes body, struct image_answer *answer) {
    static char two[] = "22";
    if (bytes_equal(body, BYTES("fail"))) {
        image_answer_fail(answer, true, "two\nlines of \"%.*s\"", (int)key.n, key.p);
    } else if (bytes_equal(body, BYTES("retry"))) {
        image_answer_fail(answer, false, "later");
        answer->status = IMAGE_RETRY;
    } else if (bytes_equal(body, BYTES("hang"))) {
        for (;;)
            spin();
    } else if (bytes_equal(body, BYTES("many"))) {
        answer->parts[0] = (struct image_part){"a", "image/png", "png", two, 1};
        answer->parts[1] = (struct image_part){"b", "image/gif", "gif", two, 2};
        answer->n_parts = 2;
    } else {
        char *copy = malloc(body.n + 1);
        assert_non_null(copy);
        memcpy(copy, body.p ? body.p : "", body.n);
        answer->parts[0] = (struct image_part){"", "x/y", "z", copy, body.n};
        answer->n_parts = 1;
        answer->free_data = free;
    }
}

struct feeding {
    int fd;
    struct bytes input;
    size_t piece;
};

static void *feed(void *arg) {
    struct feeding *feeding = arg;
    for (size_t at = 0; at < feeding->input.n;) {
        size_t n = feeding->input.n - at < feeding->piece ? feeding->input.n - at : feeding->piece;
        ssize_t written = write(feeding->fd, feeding->input.p + at, n);
        if (written <= 0)
            break;
        at += (size_t)written;
    }
    close(feeding->fd);
    return NULL;
}

static int channel = -1; /* over which descriptors come */

/* What it answers to that input, which comes in pieces of that size. */
static int answer_to(struct bytes input, size_t piece, char *output, size_t size, struct err *err) {
    int in[2], out[2];
    pthread_t thread;
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    assert_true(fcntl(out[1], F_SETPIPE_SZ, 1 << 20) > 0);
    struct feeding feeding = {in[1], input, piece};
    assert_int_equal(pthread_create(&thread, NULL, feed, &feeding), 0);
    const struct image_server server = {
        .input_fd = in[0], .output_fd = out[1], .channel_fd = channel, .max_bytes = 100000, .work = work};
    int r = image_serve(&server, err);
    close(in[0]);
    pthread_join(thread, NULL);
    close(out[1]);
    size_t n = 0;
    for (ssize_t got; n + 1 < size && (got = read(out[0], output + n, size - n - 1)) > 0;)
        n += (size_t)got;
    output[n] = '\0';
    close(out[0]);
    return r;
}

static void expect(const char *input, const char *output) {
    char got[4096];
    struct err err = {0};
    for (size_t piece = 1; piece < 4096; piece *= 3) {
        assert_int_equal(answer_to(bytes_str(input), piece, got, sizeof got, &err), 0);
        assert_string_equal(got, output);
    }
}

static void test_answers(void **state) {
    expect("", "");
    expect("{\"id\":1,\"body_bytes\":2,\"key\":\"k\"}\nab",
           "{\"id\":1,\"status\":\"ok\",\"result_bytes\":2,\"content_type\":\"x/y\",\"extension\":\"z\"}\nab");
    expect("{\"id\":1,\"body_bytes\":0,\"key\":null}\n",
           "{\"id\":1,\"status\":\"ok\",\"result_bytes\":0,\"content_type\":\"x/y\",\"extension\":\"z\"}\n");
    expect("{\"id\":1,\"body_bytes\":4,\"key\":\"k\"}\nfail{\"id\":2,\"body_bytes\":5}\nretry",
           "{\"id\":1,\"status\":\"fail\",\"final\":true,\"reason\":\"two lines of \\\"k\\\"\"}\n"
           "{\"id\":2,\"status\":\"retry\",\"reason\":\"later\"}\n");
    expect("{\"id\":9,\"body_bytes\":4}\nmany",
           "{\"id\":9,\"status\":\"ok\",\"results\":["
           "{\"name\":\"a\",\"bytes\":1,\"content_type\":\"image/png\",\"extension\":\"png\"},"
           "{\"name\":\"b\",\"bytes\":2,\"content_type\":\"image/gif\",\"extension\":\"gif\"}]}\n222");
}

static void test_large_bodies(void **state) {
    enum { HEAD = 64, MOST = 100001 };
    static char input[HEAD + MOST], output[HEAD + MOST + 100];
    struct err err = {0};
    for (int i = 0; i < 2; i++) {
        int n = MOST - 1 + i, head = snprintf(input, HEAD, "{\"id\":1,\"body_bytes\":%d}\n", n);
        memset(input + head, 'x', (size_t)n);
        assert_int_equal(answer_to(bytes_of(input, (size_t)(head + n)), 50000, output, sizeof output, &err), 0);
        if (i == 0)
            assert_non_null(strstr(output, "\"result_bytes\":100000"));
        else
            assert_string_equal(output,
                                "{\"id\":1,\"status\":\"fail\",\"final\":true,\"reason\":\"the object has 100001 "
                                "bytes, more than max_bytes, 100000\"}\n");
    }
}

static void test_files(void **state) {
    char path[] = "/tmp/test_serve.XXXXXX", input[200];
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "many", 4) == 4);
    snprintf(input, sizeof input, "{\"id\":1,\"body_bytes\":0,\"size\":4,\"path\":\"%s\"}\n", path);
    expect(input, "{\"id\":1,\"status\":\"ok\",\"results\":["
                  "{\"name\":\"a\",\"bytes\":1,\"content_type\":\"image/png\",\"extension\":\"png\"},"
                  "{\"name\":\"b\",\"bytes\":2,\"content_type\":\"image/gif\",\"extension\":\"gif\"}]}\n222");
    assert_int_equal(ftruncate(fd, 100001), 0);
    expect(input, "{\"id\":1,\"status\":\"fail\",\"final\":true,\"reason\":\"the object has 100001 bytes, more than "
                  "max_bytes, 100000\"}\n");
    close(fd);
    unlink(path);
    expect(input,
           "{\"id\":1,\"status\":\"retry\",\"reason\":\"cannot read the object's file: No such file or directory\"}\n");
}

enum kind { NOTHING, SEALED, SHARED, FILE_ALONE };

static int make_file(enum kind kind, size_t n) {
    static char xs[100001];
    char path[] = "/tmp/test_serve.XXXXXX";
    int fd = kind == FILE_ALONE ? mkstemp(path) : memfd_create("test", MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    if (kind == FILE_ALONE)
        unlink(path);
    memset(xs, 'x', sizeof xs);
    assert_int_equal(write(fd, n == 4 ? "many" : xs, n), n);
    if (kind == SHARED) { /* larger, and froe can still write through its mapping */
        assert_int_equal(ftruncate(fd, (off_t)n + 5000), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    }
    if (kind == SEALED)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0); /* as froe hands them over */
    return fd;
}

static void hand_over(int socket, enum kind kind, size_t n) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 0;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    int fd = kind == NOTHING ? -1 : make_file(kind, n);
    if (kind != NOTHING) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    assert_int_equal(sendmsg(socket, &message, 0), 1);
    if (fd >= 0)
        close(fd);
}

/* Each leaves nothing open and nothing mapped. */
static void test_descriptors(void **state) {
    static const struct {
        enum kind kind;
        size_t n;
        const char *words;
        size_t too_much; /* that is told */
    } table[] = {
        {SEALED, 4, "\"results\":[{\"name\":\"a\",\"bytes\":1,"},
        {FILE_ALONE, 4, "\"results\":[{\"name\":\"a\",\"bytes\":1,"},
        {SEALED, 0, "\"result_bytes\":0,"},
        {FILE_ALONE, 0, "\"result_bytes\":0,"},
        {SEALED, 4097, "\"result_bytes\":4097,"},
        {FILE_ALONE, 100000, "\"result_bytes\":100000,"},
        {SEALED, 100000, "\"result_bytes\":100000,"},
        {SEALED, 100001, "\"final\":true,\"reason\":\"the object has 100001 bytes, more than max_bytes, 100000\""},
        {FILE_ALONE, 100001, "\"final\":true,\"reason\":\"the object has 100001 bytes, more than max_bytes"},
        {SHARED, 4, "\"results\":[{\"name\":\"a\",\"bytes\":1,"},
        {SHARED, 0, "\"result_bytes\":0,"},
        {SHARED, 100000, "\"result_bytes\":100000,"},
        {SHARED, 100001, "\"final\":true,\"reason\":\"the object has 100001 bytes, more than max_bytes, 100000\""},
        {SEALED, 4, "\"status\":\"retry\",\"reason\":\"cannot read the object's file: ", 1},
        {FILE_ALONE, 4, "\"status\":\"retry\",\"reason\":\"cannot read the object's file: ", 1},
        {NOTHING, 0, "\"status\":\"retry\",\"reason\":\"cannot read the object's file: "},
    };
    static char got[101000];
    int sockets[2], lowest = dup(0);
    struct err err = {0};
    close(lowest);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    channel = sockets[1];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        hand_over(sockets[0], table[i].kind, table[i].n);
        hand_over(sockets[0], SEALED, 4); /* and another object after it */
        char requests[200];
        int n = snprintf(requests, sizeof requests,
                         "{\"id\":1,\"body_bytes\":0,\"size\":%zu,\"socket\":3}\n"
                         "{\"id\":2,\"body_bytes\":0,\"size\":4,\"socket\":3}\n",
                         table[i].n + table[i].too_much);
        assert_int_equal(answer_to(bytes_of(requests, (size_t)n), 1000, got, sizeof got, &err), 0);
        assert_non_null(strstr(got, table[i].words));
        assert_non_null(strstr(got, "{\"id\":2,\"status\":\"ok\",\"results\":[{\"name\":\"a\","));
    }
    close(sockets[0]);
    assert_int_equal(
        answer_to(BYTES("{\"id\":1,\"body_bytes\":0,\"size\":1,\"socket\":3}\n"), 1000, got, sizeof got, &err), 0);
    assert_non_null(strstr(got, "\"retry\"")); /* nobody is there to send one */
    close(sockets[1]);
    channel = -1;
    int after = dup(0);
    assert_int_equal(after, lowest);
    close(after);
}

static void test_no_requests(void **state) {
    static const struct {
        const char *input, *words;
    } table[] = {
        {"hello\n", "no request"},
        {"{\"id\":1}\n", "no request"},
        {"{\"id\":\"1\",\"body_bytes\":1}\nx", "no request"},
        {"{\"id\":1,\"body_bytes\":-1}\n", "no request"},
        {"{\"id\":1,\"body_bytes\":0,\"socket\":3}\n", "no \"size\""},
        {"{\"id\":1", "in the midst"},
        {"{\"id\":1,\"body_bytes\":5}\nabc", "cannot read an object"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char got[100];
        struct err err = {0};
        assert_int_equal(answer_to(bytes_str(table[i].input), 7, got, sizeof got, &err), -EPROTO);
        assert_non_null(strstr(err.text, table[i].words));
        assert_string_equal(got, "");
    }
    static char huge[300000];
    char got[100];
    struct err err = {0};
    memset(huge, 'x', sizeof huge);
    assert_int_equal(answer_to(bytes_of(huge, sizeof huge), 65536, got, sizeof got, &err), -EPROTO);
    assert_non_null(strstr(err.text, "more than 262144 bytes"));
}

/* Work without an end ends with the process, after an answer. */
static void test_time(void **state) {
    int in[2], out[2], status = 0;
    char got[300] = "";
    static const char input[] =
        "{\"id\":1,\"body_bytes\":1}\nx{\"id\":2,\"body_bytes\":4}\nhang{\"id\":3,\"body_bytes\":1}\nx";
    assert_true(pipe(in) == 0 && pipe(out) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        const struct image_server server = {
            .input_fd = in[0], .output_fd = out[1], .max_bytes = 10, .max_time_us = 100000, .work = work};
        image_serve(&server, NULL);
        _exit(77);
    }
    close(out[1]);
    assert_int_equal(write(in[1], input, sizeof input - 1), sizeof input - 1);
    size_t n = 0;
    for (ssize_t more; (more = read(out[0], got + n, sizeof got - 1 - n)) > 0;)
        n += (size_t)more;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(got,
                        "{\"id\":1,\"status\":\"ok\",\"result_bytes\":1,\"content_type\":\"x/y\",\"extension\":\"z\"}\n"
                        "x{\"id\":2,\"status\":\"fail\",\"reason\":\"the work took longer than max_time, 100ms\"}\n");
    close(in[0]);
    close(in[1]);
    close(out[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers),     cmocka_unit_test(test_large_bodies),
                                       cmocka_unit_test(test_files),       cmocka_unit_test(test_descriptors),
                                       cmocka_unit_test(test_no_requests), cmocka_unit_test(test_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
