/* witness.c - processes one object and bears witness of who else does so at the same time.
 *
 *     witness FOLDER WORKER MS [GLOB MS]...
 *
 * Reads its input to the end, takes MS milliseconds (those of the first GLOB that the key matches), exits 0. It appends
 * to FOLDER/record, each line by one write(2):
 *
 *     begin TIME PID BUCKET KEY ATTEMPT WORKER IN_BUCKET IN_WORKER TWICE
 *     end   TIME PID BUCKET KEY ATTEMPT WORKER 0 0 0
 *
 * TIME is CLOCK_MONOTONIC in milliseconds, KEY is percent-encoded. IN_BUCKET and IN_WORKER are how many programs of the
 * bucket and of the worker were live, this one included; TWICE is 1 when another program had the same object. The
 * kernel counts, not froe: each program holds locks on bytes of FOLDER/locks, which end with the process, however it
 * ends and before anybody can learn that it did. A program takes the first free place of its bucket, alone in doing so;
 * to get place N it must have found N-1 others. Overlapping programs so give a number above the cap at least once. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int locks;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int lock(off_t byte, short type, int command) {
    struct flock64 range = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int r;
    do
        r = fcntl(locks, command, &range);
    while (r < 0 && errno == EINTR);
    if (r < 0 && errno != EAGAIN && errno != EACCES)
        die("lock");
    return r;
}

static off_t place(const char *kind, const char *name) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *p = kind; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    for (const char *p = name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    return (off_t)(hash & 0x3fffffffffff) << 16;
}

/* How many hold one now, with this one. */
static int count(off_t first) {
    lock(first, F_WRLCK, F_OFD_SETLKW);
    int n = 1;
    while (lock(first + n, F_WRLCK, F_OFD_SETLK) < 0)
        n++;
    lock(first, F_UNLCK, F_OFD_SETLK);
    return n;
}

static void say(int record, const char *what, const char *worker, int in_bucket, int in_worker, int twice) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char line[8192];
    int n = snprintf(line, sizeof line, "%s %lld %ld %s %s %s %s %d %d %d\n", what,
                     (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000, (long)getpid(), getenv("FROE_BUCKET"),
                     getenv("FROE_KEY_URL"), getenv("FROE_ATTEMPT"), worker, in_bucket, in_worker, twice);
    if (n < 0 || (size_t)n >= sizeof line || write(record, line, (size_t)n) != n)
        die("record");
}

int main(int argc, char **argv) {
    if (argc < 4 || argc % 2 != 0 || !getenv("FROE_BUCKET") || !getenv("FROE_KEY_URL"))
        return 2;
    char path[4096], object[4096];
    snprintf(path, sizeof path, "%s/locks", argv[1]);
    locks = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    snprintf(path, sizeof path, "%s/record", argv[1]);
    int record = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (locks < 0 || record < 0)
        die(argv[1]);
    snprintf(object, sizeof object, "%s/%s", getenv("FROE_BUCKET"), getenv("FROE_KEY_URL"));
    int twice = lock(place("object ", object), F_WRLCK, F_OFD_SETLK) < 0;
    int in_bucket = count(place("bucket ", getenv("FROE_BUCKET")));
    int in_worker = count(place("worker ", argv[2]));
    say(record, "begin", argv[2], in_bucket, in_worker, twice);
    char buffer[65536];
    ssize_t n;
    while ((n = read(STDIN_FILENO, buffer, sizeof buffer)) > 0)
        ;
    if (n < 0)
        die("input");
    const char *ms = argv[3];
    for (int i = 4; i + 1 < argc; i += 2)
        if (fnmatch(argv[i], getenv("FROE_KEY_URL"), 0) == 0) {
            ms = argv[i + 1];
            break;
        }
    struct timespec left = {atoi(ms) / 1000, atoi(ms) % 1000 * 1000000L};
    while (nanosleep(&left, &left) < 0)
        ;
    say(record, "end", argv[2], 0, 0, 0);
    return 0;
}
