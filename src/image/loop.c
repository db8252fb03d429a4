/* loop.c - see loop.h. */
#include "loop.h"

#include "cleanup.h"
#include "mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

struct shared { /* between the processes */
    _Atomic size_t next, made, failed;
    _Atomic uint64_t result_bytes;
};

struct looping {
    const struct image_spec *spec;
    const char *from, *to;
    struct dirent **files;
    size_t n_files;
    struct shared *shared;
};

static int cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static int read_whole(const char *path, struct buf *body) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) < 0 || buf_reserve(body, (size_t)about.st_size + 1) < 0)
        return -1;
    ssize_t n;
    while ((n = read(fd, body->p + body->n, body->cap - body->n - 1)) > 0)
        body->n += (size_t)n;
    return n < 0 ? -1 : 0;
}

static int write_part(const struct looping *looping, const char *file, const struct image_part *part) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s%s%s.%s", looping->to, file, part->name[0] ? "." : "", part->name,
             part->extension);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return fd >= 0 && write(fd, part->data, part->n) == (ssize_t)part->n ? 0 : -1;
}

static void do_file(const struct looping *looping, struct image_tool *tool, const char *name) {
    char path[PATH_MAX];
    struct image_answer answer = {0};
    _cleanup_buf_ struct buf body = {0};
    snprintf(path, sizeof path, "%s/%s", looping->from, name);
    int r = read_whole(path, &body);
    if (r == 0) {
        image_work(tool, bytes_str(name), buf_bytes(&body), &answer);
        r = answer.status == IMAGE_OK ? 0 : -1;
    }
    for (size_t i = 0; i < answer.n_parts && r == 0; i++) {
        looping->shared->result_bytes += answer.parts[i].n;
        r = looping->to ? write_part(looping, name, &answer.parts[i]) : 0;
    }
    if (r == 0)
        looping->shared->made++;
    else
        looping->shared->failed++;
    image_answer_free(&answer);
}

static int child(const struct looping *looping) {
    struct image_tool *tool;
    struct err err = {0};
    if (image_tool_new(looping->spec, &tool, &err) < 0) {
        fprintf(stderr, "froe-image: %s\n", err.text);
        return 1;
    }
    for (size_t i; (i = looping->shared->next++) < looping->n_files;)
        do_file(looping, tool, looping->files[i]->d_name);
    image_tool_free(tool);
    return 0;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double seconds(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void print(const struct looping *looping, int n, double wall) {
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("{\"images\":%zu,\"failed\":%zu,\"processes\":%d,\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"peak_kib\":%ld,"
           "\"result_bytes\":%llu}\n",
           looping->shared->made, looping->shared->failed, n, wall, seconds(usage.ru_utime) + seconds(usage.ru_stime),
           usage.ru_maxrss, (unsigned long long)looping->shared->result_bytes);
}

/* Before libvips is begun: it has threads, which a fork leaves behind. */
static int run(const struct looping *looping, struct err *err) {
    int n = cores(), ended = 0, worst = 0;
    double began = now();
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid < 0)
            return err_set(err, -errno, "cannot start a process: %s", err_errno_text(-errno));
        if (pid == 0)
            _exit(child(looping));
    }
    for (int status; ended < n && wait(&status) > 0; ended++)
        worst = status ? status : worst;
    print(looping, n, now() - began);
    return worst ? err_set(err, -EIO, "a process ended with status %d", worst) : 0;
}

static int is_file(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

int image_loop(const struct image_spec *spec, const char *from, const char *to, struct err *err) {
    struct looping looping = {spec, from, to, NULL, 0, NULL};
    int n = scandir(from, &looping.files, is_file, alphasort);
    if (n < 0)
        return err_set(err, -errno, "cannot list '%.200s': %s", from, err_errno_text(-errno));
    looping.n_files = (size_t)n;
    void *shared = mmap(NULL, sizeof *looping.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int r = shared == MAP_FAILED ? err_set(err, -ENOMEM, "out of memory") : 0;
    if (r == 0) {
        looping.shared = shared;
        r = run(&looping, err);
        munmap(shared, sizeof *looping.shared);
    }
    for (int i = 0; i < n; i++)
        free(looping.files[i]); /* scandir's */
    free(looping.files);
    return r;
}
