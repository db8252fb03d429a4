/* confine_try.c - see confine_try.h. _exit everywhere: what a sanitizer does at an end is not what is tested. */
#include "confine_try.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int result(long r) {
    return r < 0 ? errno : 0;
}

static int try_connect(const char *argument) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argument))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return result(fd < 0 ? fd : connect(fd, (const struct sockaddr *)&to, sizeof to));
}

static int try_connect_unix(const char *argument) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, argument, sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return result(fd < 0 ? fd : connect(fd, (const struct sockaddr *)&to, sizeof to));
}

static int try_netlink(const char *argument) {
    return result(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int try_socketpair(const char *argument) {
    int fds[2];
    return result(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
}

static int try_io_uring(const char *argument) {
    char parameters[256] = {0};
    return result(syscall(SYS_io_uring_setup, 4, parameters));
}

static int try_create(const char *argument) {
    return result(open(argument, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int try_write(const char *argument) {
    return result(open(argument, O_WRONLY | O_CLOEXEC));
}

static int try_truncate(const char *argument) {
    return result(truncate(argument, 0));
}

static int try_open_truncate(const char *argument) {
    return result(open(argument, O_RDONLY | O_TRUNC | O_CLOEXEC));
}

static int try_unlink(const char *argument) {
    return result(unlink(argument));
}

static int try_mkdir(const char *argument) {
    return result(mkdir(argument, 0700));
}

static int try_rename(const char *argument) {
    char to[256];
    snprintf(to, sizeof to, "%s.renamed", argument);
    return result(rename(argument, to));
}

static int try_symlink(const char *argument) {
    return result(symlink("/etc/passwd", argument));
}

static int try_mknod(const char *argument) {
    return result(mknod(argument, S_IFCHR | 0600, 0x103));
}

static int try_read(const char *argument) {
    char byte;
    int fd = open(argument, O_RDONLY | O_CLOEXEC);
    return result(fd < 0 ? fd : read(fd, &byte, 1));
}

static int try_capabilities(const char *argument) {
    char line[128];
    FILE *status = fopen("/proc/self/status", "re");
    unsigned long long all = 0, one;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "Cap%*[A-Za-z]: %llx", &one) == 1 && (getuid() == 0 || strncmp(line, "CapBnd", 6) != 0))
            all |= one; /* the bounding set is of use to root alone, as there are no new privileges */
    return !status ? 255 : all != 0;
}

static int try_list(const char *argument) {
    return opendir(argument) ? 0 : errno;
}

/* Their number. */
static int try_descriptors(const char *argument) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Opens until it fails; how many then are open, if the reason is the limit. */
static int try_files(const char *argument) {
    int n = 3;
    while (n < 200 && open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
        n++;
    return errno == EMFILE ? n : 255;
}

static int try_memory(const char *argument) {
    size_t n = (size_t)atoi(argument) << 20;
    char *memory = malloc(n);
    if (!memory)
        return errno;
    memset(memory, 1, n);
    return memory[n / 2] == 1 ? 0 : 255;
}

static int try_cpu(const char *argument) {
    volatile bool burning = true;
    while (burning)
        ;
    return 0;
}

/* The CPU time's signal is only a warning. */
static int try_cpu_stubborn(const char *argument) {
    signal(SIGXCPU, SIG_IGN);
    return try_cpu(argument);
}

static int try_file_size(const char *argument) {
    static char piece[4096];
    int fd = open(argument, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; fd >= 0 && i < 16; i++)
        if (write(fd, piece, sizeof piece) < 0)
            return errno;
    return fd < 0 ? errno : 0;
}

/* As another user where it is root, for whom the limit does not hold. */
static int try_fork(const char *argument) {
    if (getuid() == 0 && setresuid(65533, 65533, 65533) < 0)
        return 255;
    for (int i = 0; i < 32; i++) {
        pid_t pid = fork();
        if (pid < 0)
            return errno;
        if (pid == 0) {
            pause();
            _exit(0);
        }
    }
    return 0;
}

static int try_ptrace(const char *argument) {
    return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_mount(const char *argument) {
    return result(mount("none", "/mnt", "tmpfs", 0, NULL));
}

static int try_bpf(const char *argument) {
    return result(syscall(SYS_bpf, 0, NULL, 0));
}

static int try_keyctl(const char *argument) {
    return result(syscall(SYS_keyctl, 0, 0, 0));
}

static int try_perf(const char *argument) {
    return result(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}

static int try_kexec(const char *argument) {
    return result(syscall(SYS_kexec_load, 0, 0, NULL, 0));
}

static int try_tiocsti(const char *argument) {
    char byte = 'x';
    return result(ioctl(STDIN_FILENO, TIOCSTI, &byte));
}

static int try_unshare(const char *argument) {
    return result(unshare(CLONE_NEWUSER));
}

static int try_clone(const char *argument) {
    long pid = syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    return result(pid);
}

static int try_clone3(const char *argument) {
    return result(syscall(SYS_clone3, NULL, 0));
}

static int try_x32(const char *argument) {
#ifdef __x86_64__
    return result(syscall(0x40000000 | SYS_getpid));
#else
    return ENOSYS;
#endif
}

/* As 32-bit code calls. */
static int call_32_bit(int number, int a, int b, int c) {
#ifdef __x86_64__
    int r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    return r < 0 ? -r : 0;
#else
    return ENOSYS;
#endif
}

static int try_32_bit(const char *argument) {
    return call_32_bit(20, 0, 0, 0); /* getpid */
}

static int try_32_bit_ptrace(const char *argument) {
    return call_32_bit(26, PTRACE_TRACEME, 0, 0);
}

static int try_32_bit_socket(const char *argument) {
    return call_32_bit(359, AF_INET, SOCK_STREAM, 0);
}

static int try_32_bit_socketcall(const char *argument) {
    return call_32_bit(102, 1, 0, 0); /* socket, with its arguments at an address that is none */
}

static int try_kill(const char *argument) {
    return result(kill(atoi(argument), 0));
}

static void *nothing(void *argument) {
    return argument;
}

/* What every program does: a thread, a child, a pipe, a shell. */
static int try_ordinary(const char *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 250;
    execl("/bin/sh", "sh", "-c",
          "echo x >/dev/null && test \"$(cat /etc/passwd | wc -l)\" -gt 0 && ls /usr >/dev/null && (exit 7); test $? "
          "= 7",
          (char *)NULL);
    return 251;
}

static int try_no_new_privs(const char *argument) {
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
}

static int try_nice(const char *argument) {
    errno = 0;
    return getpriority(PRIO_PROCESS, 0);
}

static int try_crash(const char *argument) {
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return 255;
}

static int try_group(const char *argument) {
    return getpgrp() == getpid() ? 0 : 255;
}

#define TRY(name) \
    { #name, try_##name }
static const struct {
    const char *name;
    int (*function)(const char *argument);
} tries[] = {
    TRY(connect),       TRY(connect_unix),  TRY(netlink),
    TRY(socketpair),    TRY(io_uring),      TRY(create),
    TRY(write),         TRY(truncate),      TRY(open_truncate),
    TRY(unlink),        TRY(mkdir),         TRY(rename),
    TRY(symlink),       TRY(mknod),         TRY(read),
    TRY(list),          TRY(capabilities),  TRY(descriptors),
    TRY(files),         TRY(memory),        TRY(cpu),
    TRY(cpu_stubborn),  TRY(file_size),     TRY(fork),
    TRY(ptrace),        TRY(mount),         TRY(bpf),
    TRY(keyctl),        TRY(perf),          TRY(kexec),
    TRY(tiocsti),       TRY(unshare),       TRY(clone),
    TRY(clone3),        TRY(x32),           TRY(32_bit),
    TRY(32_bit_ptrace), TRY(32_bit_socket), TRY(32_bit_socketcall),
    TRY(kill),          TRY(ordinary),      TRY(no_new_privs),
    TRY(nice),          TRY(crash),         TRY(group),
};

void confine_try(const char *name, const char *argument) {
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++)
        if (strcmp(tries[i].name, name) == 0)
            _exit(tries[i].function(argument));
    _exit(254);
}
