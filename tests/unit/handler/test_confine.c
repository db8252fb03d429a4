/* test_confine.c - what is taken from a program, as it finds out itself by trying. */
#include "confine_try.h"
#include "support.h"

#include "cleanup.h"
#include "clock.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static struct confine_kernel kernel;

static const struct confine nothing = {.level = CONFINE_NO}, basic = {.level = CONFINE_BASIC},
                            strict = {.level = CONFINE_STRICT};

#define NEEDS(what)                                        \
    do {                                                   \
        if (!(what)) {                                     \
            print_message("this kernel: " #what ": no\n"); \
            skip();                                        \
        }                                                  \
    } while (0)

static struct confined *make_on(const struct confine_kernel *on, const struct confine *confine) {
    struct confined *confined;
    struct err err = {0};
    if (confined_new_on(on, confine, &confined, &err) < 0)
        fail_msg("%s", err.text);
    return confined;
}

/* How the program that tries this ends. */
static struct spawn_exit run(const struct confined *confined, const char *name, const char *argument) {
    static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    const char *const argv[] = {"try", CONFINE_TRY, name, argument, NULL};
    _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const struct spawn_request request = {.file = "/proc/self/exe",
                                          .argv = argv,
                                          .envp = envp,
                                          .stdin_fd = null,
                                          .stdout_fd = null,
                                          .stderr_fd = STDERR_FILENO,
                                          .guard_fd = -1,
                                          .confined = confined};
    struct spawn_exit exit;
    struct err err = {0};
    if (spawner_try(&request, 60 * US_PER_S, &exit, &err) < 0)
        fail_msg("%s: %s", name, err.text);
    if (exit.start_error)
        fail_msg("%s: not started (%s): %s", name, exit.confining ? "confining" : "running",
                 err_errno_text(-exit.start_error));
    return exit;
}

static struct spawn_exit run_with(const struct confine *confine, const char *name, const char *argument) {
    struct confined *confined = make_on(&kernel, confine);
    struct spawn_exit exit = run(confined, name, argument);
    confined_free(confined);
    return exit;
}

static void ends_with(const struct confine *confine, const char *name, const char *argument, int code) {
    struct spawn_exit exit = run_with(confine, name, argument);
    if (!WIFEXITED(exit.status))
        fail_msg("%s %s: signal %d", name, argument, WTERMSIG(exit.status));
    if (WEXITSTATUS(exit.status) != code)
        fail_msg("%s %s: %d (%s) instead of %d", name, argument, WEXITSTATUS(exit.status),
                 strerror(WEXITSTATUS(exit.status)), code);
}

static void is_killed(const struct confine *confine, const char *name, const char *argument, int signal) {
    struct spawn_exit exit = run_with(confine, name, argument);
    if (!WIFSIGNALED(exit.status) || WTERMSIG(exit.status) != signal)
        fail_msg("%s %s: status %x instead of signal %d", name, argument, (unsigned)exit.status, signal);
    assert_false(WCOREDUMP(exit.status));
}

/* ---- a directory with things in it ---- */

struct place {
    char top[64], open[80], secret[80], file[96], secret_file[96], socket[96];
    int listener, unix_listener;
    char port[16];
};

static void make_file(const char *path) {
    _cleanup_close_ int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "content", 7), 7);
}

static int place_up(void **state) {
    struct place *place = calloc(1, sizeof *place);
    strcpy(place->top, "/tmp/froe-confine-XXXXXX");
    assert_non_null(mkdtemp(place->top));
    snprintf(place->open, sizeof place->open, "%s/open", place->top);
    snprintf(place->secret, sizeof place->secret, "%s/secret", place->top);
    snprintf(place->file, sizeof place->file, "%s/file", place->top);
    snprintf(place->secret_file, sizeof place->secret_file, "%s/credentials", place->secret);
    snprintf(place->socket, sizeof place->socket, "%s/socket", place->top);
    assert_int_equal(mkdir(place->open, 0700), 0);
    assert_int_equal(mkdir(place->secret, 0700), 0);
    make_file(place->file);
    make_file(place->secret_file);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof address;
    place->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(place->listener, (const struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(place->listener, 8), 0);
    assert_int_equal(getsockname(place->listener, (struct sockaddr *)&address, &n), 0);
    snprintf(place->port, sizeof place->port, "%d", ntohs(address.sin_port));
    struct sockaddr_un unix_address = {.sun_family = AF_UNIX};
    strcpy(unix_address.sun_path, place->socket);
    place->unix_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(place->unix_listener, (const struct sockaddr *)&unix_address, sizeof unix_address), 0);
    assert_int_equal(listen(place->unix_listener, 8), 0);
    *state = place;
    return 0;
}

static int place_down(void **state) {
    struct place *place = *state;
    char command[128];
    close(place->listener);
    close(place->unix_listener);
    snprintf(command, sizeof command, "rm -rf '%s'", place->top);
    int r = system(command);
    free(place);
    return r;
}

/* ---- limits ---- */

static void test_without_limits(void **state) {
    const struct place *place = *state;
    ends_with(&nothing, "files", "", 255);
    ends_with(&nothing, "memory", "128", 0);
    ends_with(&nothing, "fork", "", 0);
    ends_with(&nothing, "ptrace", "", 0);
    ends_with(&nothing, "file_size", place->file, 0);
    ends_with(&nothing, "no_new_privs", "", 0);
    ends_with(&nothing, "connect", place->port, 0);
    ends_with(&nothing, "connect_unix", place->socket, 0);
    ends_with(&nothing, "group", "", 0);
    ends_with(&nothing, "descriptors", "", 3);
}

static void test_files(void **state) {
    ends_with(&(struct confine){.files = 20}, "files", "", 20);
    ends_with(&(struct confine){.files = UINT32_MAX}, "descriptors", "", 3); /* more than there are: all there are */
}

static void test_memory(void **state) {
    NEEDS(!SANITIZED); /* its shadow is data too */
    const struct confine confine = {.memory_bytes = 64 << 20};
    ends_with(&confine, "memory", "128", ENOMEM);
    ends_with(&confine, "memory", "16", 0);
}

static void test_cpu(void **state) {
    const struct confine confine = {.cpu_s = 1};
    int64_t before_us = clock_mono_us(&clock_system);
    is_killed(&confine, "cpu", "", SIGXCPU);
    assert_true(clock_mono_us(&clock_system) - before_us > 900 * US_PER_MS);
    is_killed(&confine, "cpu_stubborn", "", SIGKILL);
    ends_with(&confine, "no_new_privs", "", 0); /* limits alone take nothing else */
}

static void test_file_size(void **state) {
    const struct place *place = *state;
    is_killed(&(struct confine){.file_bytes = 8192}, "file_size", place->file, SIGXFSZ);
    struct stat about;
    assert_int_equal(stat(place->file, &about), 0);
    assert_int_equal(about.st_size, 8192);
}

static void test_processes(void **state) {
    struct confine_kernel as_user = kernel;
    as_user.processes = true; /* the program makes itself another user */
    struct confined *confined = make_on(&as_user, &(struct confine){.processes = 10});
    struct spawn_exit exit = run(confined, "fork", "");
    assert_int_equal(WEXITSTATUS(exit.status), EAGAIN);
    confined_free(confined);
}

static void test_nice(void **state) {
    int own = WEXITSTATUS(run_with(&nothing, "nice", "").status);
    if (own > 9)
        own = 9;
    ends_with(&(struct confine){.nice = 10}, "nice", "", own + 10 > 19 ? 19 : own + 10);
}

/* ---- basic ---- */

static void test_basic(void **state) {
    const struct place *place = *state;
    NEEDS(kernel.filter);
    static const char *const refused[] = {"ptrace", "mount", "bpf", "keyctl", "perf", "kexec", "tiocsti"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        ends_with(&basic, refused[i], "", EPERM);
    ends_with(&basic, "no_new_privs", "", 1);
    ends_with(&basic, "x32", "", ENOSYS);
    is_killed(&basic, "crash", "", SIGSEGV); /* without a core */
    /* What programs live by is left. */
    ends_with(&basic, "ordinary", "", 0);
    ends_with(&basic, "connect", place->port, 0);
    ends_with(&basic, "create", place->file, 0);
    ends_with(&basic, "socketpair", "", 0);
    ends_with(&basic, "descriptors", "", 3);
}

static void test_32_bit_calls(void **state) {
    NEEDS(kernel.filter);
    struct spawn_exit without = run_with(&nothing, "32_bit", "");
    NEEDS(WIFEXITED(without.status) && WEXITSTATUS(without.status) == 0);
    ends_with(&basic, "32_bit", "", 0); /* such programs run, no more freely than others */
    ends_with(&basic, "32_bit_ptrace", "", EPERM);
    ends_with(&basic, "32_bit_socket", "", 0);
    ends_with(&basic, "32_bit_socketcall", "", EFAULT);
    NEEDS(kernel.landlock_abi);
    ends_with(&strict, "32_bit", "", 0);
    ends_with(&strict, "32_bit_socket", "", EACCES);
    ends_with(&strict, "32_bit_socketcall", "", EACCES);
}

/* ---- strict ---- */

static void test_strict_network(void **state) {
    const struct place *place = *state;
    NEEDS(kernel.filter && kernel.landlock_abi);
    ends_with(&strict, "connect", place->port, EACCES);
    ends_with(&strict, "connect_unix", place->socket, EACCES);
    ends_with(&strict, "netlink", "", EACCES);
    ends_with(&strict, "io_uring", "", ENOSYS);
    ends_with(&strict, "socketpair", "", 0);
    const struct confine open = {.level = CONFINE_STRICT, .network = true};
    ends_with(&open, "connect", place->port, 0);
    ends_with(&open, "netlink", "", 0);
}

static void test_strict_processes(void **state) {
    NEEDS(kernel.filter && kernel.landlock_abi);
    ends_with(&strict, "unshare", "", EPERM);
    ends_with(&strict, "clone", "", EPERM);
    ends_with(&strict, "clone3", "", ENOSYS);
    ends_with(&strict, "ptrace", "", EPERM);
    ends_with(&strict, "ordinary", "", 0);
    ends_with(&strict, "descriptors", "", 3);
    ends_with(&strict, "capabilities", "", 0); /* of root, too */
    ends_with(&basic, "capabilities", "", getuid() == 0);
}

static void test_strict_files(void **state) {
    const struct place *place = *state;
    NEEDS(kernel.filter && kernel.landlock_abi);
    char fresh[128];
    snprintf(fresh, sizeof fresh, "%s/fresh", place->top);
    ends_with(&strict, "read", place->file, 0);
    ends_with(&strict, "list", place->top, 0);
    ends_with(&strict, "write", "/dev/null", 0);
    static const char *const on_a_file[] = {"write", "unlink", "rename"};
    for (size_t i = 0; i < sizeof on_a_file / sizeof on_a_file[0]; i++)
        ends_with(&strict, on_a_file[i], place->file, EACCES);
    static const char *const on_a_fresh_name[] = {"create", "mkdir", "symlink"};
    for (size_t i = 0; i < sizeof on_a_fresh_name / sizeof on_a_fresh_name[0]; i++)
        ends_with(&strict, on_a_fresh_name[i], fresh, EACCES);
    assert_int_equal(access(fresh, F_OK), -1);
    NEEDS(kernel.landlock_abi >= 3);
    ends_with(&strict, "truncate", place->file, EACCES);
    ends_with(&strict, "open_truncate", place->file, EACCES);
    struct stat about;
    assert_int_equal(stat(place->file, &about), 0);
    assert_int_equal(about.st_size, 7);
}

static void test_strict_signals(void **state) {
    NEEDS(kernel.filter && kernel.landlock_abi);
    NEEDS(kernel.landlock_abi >= 6);
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    ends_with(&basic, "kill", pid, 0);
    ends_with(&strict, "kill", pid, EPERM);
}

static void test_writable_directories(void **state) {
    const struct place *place = *state;
    NEEDS(kernel.filter && kernel.landlock_abi);
    const char *const write[] = {place->open};
    const struct confine confine = {.level = CONFINE_STRICT, .write = write, .n_write = 1};
    char inside[128], outside[128], device[128];
    snprintf(inside, sizeof inside, "%s/x", place->open);
    snprintf(outside, sizeof outside, "%s/x", place->top);
    snprintf(device, sizeof device, "%s/device", place->open);
    ends_with(&confine, "create", outside, EACCES);
    ends_with(&confine, "create", inside, 0);
    ends_with(&confine, "truncate", inside, 0);
    ends_with(&confine, "rename", inside, 0);
    ends_with(&confine, "mkdir", inside, 0);
    ends_with(&confine, "mknod", device, EACCES);
}

static void test_hidden(void **state) {
    const struct place *place = *state;
    NEEDS(kernel.filter && kernel.landlock_abi);
    char missing[128], link[128], sibling[128], by_link[160];
    snprintf(missing, sizeof missing, "%s/missing", place->top);
    snprintf(link, sizeof link, "%s/link", place->top);
    snprintf(sibling, sizeof sibling, "%s/secretary", place->top);
    snprintf(by_link, sizeof by_link, "%s/link/credentials", place->top);
    assert_int_equal(symlink(place->secret, link), 0);
    make_file(sibling);
    const char *const by_name[] = {missing, place->secret}, *const by_way[] = {link},
                      *const by_file[] = {place->secret_file};
    const struct {
        const char *const *hide;
        size_t n;
    } ways[] = {{by_name, 2}, {by_way, 1}, {by_file, 1}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        const struct confine confine = {.level = CONFINE_STRICT, .hide = ways[i].hide, .n_hide = ways[i].n};
        ends_with(&confine, "read", place->secret_file, EACCES);
        ends_with(&confine, "read", by_link, EACCES);
        ends_with(&confine, "list", place->secret, EACCES);
        ends_with(&confine, "read", place->file, 0);
        ends_with(&confine, "read", sibling, 0);
        ends_with(&confine, "ordinary", "", 0);
    }
    ends_with(&strict, "read", place->secret_file, 0);
    const char *const nothing_there[] = {"/dev/null"}; /* AWS_CONFIG_FILE=/dev/null: there is none */
    const struct confine confine = {.level = CONFINE_STRICT, .hide = nothing_there, .n_hide = 1};
    ends_with(&confine, "list", "/dev", 0);
    ends_with(&confine, "read", "/dev/null", 0);
}

/* A home is often in a directory that may not be listed. */
static void test_hidden_below_what_cannot_be_listed(void **state) {
    const struct place *place = *state;
    NEEDS(kernel.landlock_abi);
    char readable[128], secret[128];
    snprintf(readable, sizeof readable, "%s/notes", place->open);
    snprintf(secret, sizeof secret, "%s/secret", place->open);
    make_file(readable);
    make_file(secret);
    assert_int_equal(chmod(place->open, 0755), 0);
    assert_int_equal(chmod(place->top, 0111), 0);
    pid_t pid = fork();
    if (pid == 0) {
        const char *const hide[] = {secret};
        const struct confine confine = {.hide = hide, .n_hide = 1};
        int fd;
        if (getuid() == 0 && setresuid(65533, 65533, 65533) < 0)
            _exit(1);
        if (confine_build_ruleset(&confine, kernel.landlock_abi, &fd, NULL) < 0)
            _exit(2);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
            _exit(3);
        if (open(readable, O_RDONLY | O_CLOEXEC) < 0)
            _exit(4);
        _exit(open(secret, O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES ? 0 : 5);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(chmod(place->top, 0700), 0);
    assert_int_equal(status, 0);
}

/* With the same user's rights, and even with root's. */
static void test_the_environment_of_others_is_out_of_reach(void **state) {
    NEEDS(kernel.filter && kernel.landlock_abi);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)getpid());
    setenv("AWS_SECRET_ACCESS_KEY", "not-for-programs", 1);
    ends_with(&nothing, "read", path, 0);
    ends_with(&strict, "read", path, EACCES);
    snprintf(path, sizeof path, "/proc/%d/mem", (int)getpid());
    ends_with(&strict, "write", path, EACCES);
}

static void test_wrong_directories(void **state) {
    const struct place *place = *state;
    NEEDS(kernel.landlock_abi);
    char missing[128];
    snprintf(missing, sizeof missing, "%s/missing", place->top);
    const struct {
        const char *write;
        int code;
        const char *text;
    } cases[] = {{missing, -ENOENT, "/missing': No such file"},
                 {place->file, -ENOTDIR, "Not a directory"},
                 {place->top, -EINVAL, "would show"},
                 {place->secret, -EINVAL, "would show"},
                 {"/", -EINVAL, "would show"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const hide[] = {place->secret_file}, *const write[] = {cases[i].write};
        const struct confine confine = {
            .level = CONFINE_STRICT, .write = write, .n_write = 1, .hide = hide, .n_hide = 1};
        struct confined *confined;
        struct err err = {0};
        assert_int_equal(confined_new(&confine, &confined, &err), cases[i].code);
        assert_non_null(strstr(err.text, cases[i].text));
    }
}

/* ---- what the kernel has not ---- */

static void test_kernels_without(void **state) {
    struct confined *confined;
    struct err err = {0};
    const struct confine_kernel none = {0}, filter = {.filter = true}, landlock = {.landlock_abi = kernel.landlock_abi};
    assert_int_equal(confined_new_on(&none, &strict, &confined, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.text, "no Landlock"));
    assert_int_equal(confined_new_on(&filter, &strict, &confined, &err), -EOPNOTSUPP);
    if (kernel.landlock_abi) {
        assert_int_equal(confined_new_on(&landlock, &strict, &confined, &err), -EOPNOTSUPP);
        assert_non_null(strstr(err.text, "no seccomp"));
    }
    assert_int_equal(confined_new_on(&none, &(struct confine){.processes = 5}, &confined, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.text, "root"));
    assert_int_equal(confined_new_on(&none, &(struct confine){.files = 7}, &confined, &err), -EINVAL);
    /* What was not asked for in so many words is done as far as it goes. */
    const struct confine effort = {.level = CONFINE_STRICT, .best_effort = true};
    const struct confine *const taken[] = {&basic, &effort};
    for (size_t i = 0; i < 2; i++) {
        confined = make_on(&none, taken[i]);
        assert_true(confined->no_new_privs);
        assert_int_equal(confined->n_filter, 0);
        assert_int_equal(confined->ruleset_fd, -1);
        assert_int_equal(WEXITSTATUS(run(confined, "no_new_privs", "").status), 1);
        confined_free(confined);
    }
}

static void test_older_landlock(void **state) {
    const struct place *place = *state;
    NEEDS(kernel.filter && kernel.landlock_abi);
    for (int abi = 1; abi <= kernel.landlock_abi; abi++) {
        const struct confine_kernel older = {.landlock_abi = abi, .filter = true};
        struct confined *confined = make_on(&older, &strict);
        assert_int_equal(WEXITSTATUS(run(confined, "write", place->file).status), EACCES);
        assert_int_equal(WEXITSTATUS(run(confined, "ordinary", "").status), 0);
        /* The gap is told. */
        assert_int_equal(WEXITSTATUS(run(confined, "truncate", place->file).status), abi < 3 ? 0 : EACCES);
        assert_true((strstr(confine_gaps(abi), "truncating") != NULL) == (abi < 3));
        confined_free(confined);
    }
    assert_string_equal(confine_gaps(6), "");
}

/* Who cannot be confined does not run. */
static void test_failing_to_confine(void **state) {
    struct confined *confined = make_on(&kernel, &strict);
    if (confined->ruleset_fd >= 0)
        close(confined->ruleset_fd);
    confined->ruleset_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* no ruleset */
    static const char *const envp[] = {NULL};
    const char *const argv[] = {"true", NULL};
    const struct spawn_request request = {.file = "/bin/true",
                                          .argv = argv,
                                          .envp = envp,
                                          .stderr_fd = STDERR_FILENO,
                                          .stdout_fd = STDERR_FILENO,
                                          .stdin_fd = STDERR_FILENO,
                                          .guard_fd = -1,
                                          .confined = confined};
    struct spawn_exit exit;
    assert_int_equal(spawner_try(&request, 60 * US_PER_S, &exit, NULL), 0);
    assert_true(exit.start_error != 0 && exit.confining);
    confined_free(confined);
}

static void test_trying_takes_no_longer_than_it_may(void **state) {
    static const char *const envp[] = {NULL};
    const char *const argv[] = {"sleep", "1000", NULL};
    const struct spawn_request request = {.file = "/bin/sleep",
                                          .argv = argv,
                                          .envp = envp,
                                          .stderr_fd = STDERR_FILENO,
                                          .stdout_fd = STDERR_FILENO,
                                          .stdin_fd = STDERR_FILENO,
                                          .guard_fd = -1};
    struct spawn_exit exit;
    size_t before = count_fds(getpid());
    assert_int_equal(spawner_try(&request, 100 * US_PER_MS, &exit, NULL), -ETIMEDOUT);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left */
    assert_int_equal(count_fds(getpid()), before);
}

static void test_without_memory(void **state) {
    const struct place *place = *state;
    const char *const hide[] = {place->secret}, *const write[] = {place->open};
    const struct confine confine = {
        .level = CONFINE_STRICT, .best_effort = true, .hide = hide, .n_hide = 1, .write = write, .n_write = 1};
    for (uint64_t n = 1;; n++) {
        struct confined *confined = NULL;
        mem_fail_at(n, 0);
        int r = confined_new(&confine, &confined, NULL);
        bool reached = mem_fail_count() >= n;
        mem_fail_at(0, 0);
        assert_int_equal(r, reached ? -ENOMEM : 0);
        confined_free(confined);
        if (!reached)
            break;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, place_up, place_down)

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    if (argc == 4 && strcmp(argv[1], CONFINE_TRY) == 0)
        confine_try(argv[2], argv[3]);
    confine_look(&kernel);
    const struct CMUnitTest tests[] = {
        TEST(test_without_limits),
        TEST(test_files),
        TEST(test_memory),
        TEST(test_cpu),
        TEST(test_file_size),
        TEST(test_processes),
        TEST(test_nice),
        TEST(test_basic),
        TEST(test_32_bit_calls),
        TEST(test_strict_network),
        TEST(test_strict_processes),
        TEST(test_strict_files),
        TEST(test_strict_signals),
        TEST(test_writable_directories),
        TEST(test_hidden),
        TEST(test_hidden_below_what_cannot_be_listed),
        TEST(test_the_environment_of_others_is_out_of_reach),
        TEST(test_wrong_directories),
        TEST(test_kernels_without),
        TEST(test_older_landlock),
        TEST(test_failing_to_confine),
        TEST(test_trying_takes_no_longer_than_it_may),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
