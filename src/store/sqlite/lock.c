/* lock.c - see lock.h. */
#include "lock.h"

#include "bytes.h"
#include "cleanup.h"
#include "clock.h"
#include "store.h"
#include "text.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define WAIT_DEFAULT_US (3 * US_PER_S)
#define WAIT_STEP_US (20 * US_PER_MS)
#define NOTE_SIZE 64 /* the file's size while held: always overwritten as a whole */

static int fail(struct err *err, const char *what, const char *path, int error) {
    int code = error == ENOSPC || error == EDQUOT ? STORE_ERR_FULL : STORE_ERR_IO;
    return err_set(err, code, "store: cannot %s '%s': %s", what, path, err_errno_text(-error));
}

/* "PID LEASED\n", padded; what does not look like that counts as nothing. */
static void read_note(int fd, int64_t *ret_pid, uint64_t *ret_leased) {
    char text[NOTE_SIZE];
    *ret_pid = 0;
    *ret_leased = 0;
    ssize_t n = pread(fd, text, sizeof text, 0);
    if (n <= 0)
        return;
    struct bytes all = bytes_trim(bytes_of(text, (size_t)n));
    const char *space = all.n ? memchr(all.p, ' ', all.n) : NULL;
    if (!space)
        return;
    struct bytes pid = bytes_of(all.p, (size_t)(space - all.p));
    struct bytes leased = bytes_trim(bytes_of(space, all.n - pid.n));
    uint64_t value;
    if (text_parse_i64(pid, ret_pid) == 0 && text_parse_u64(leased, &value) == 0)
        *ret_leased = value;
}

static void write_note(int fd, uint64_t leased) {
    char text[NOTE_SIZE];
    int n = snprintf(text, sizeof text, "%ld %llu", (long)getpid(), (unsigned long long)leased);
    memset(text + n, ' ', sizeof text - (size_t)n);
    text[sizeof text - 1] = '\n';
    ssize_t written = pwrite(fd, text, sizeof text, 0);
    (void)written;
}

int lock_take(const char *path, int64_t wait_us, struct lock *ret_lock, uint64_t *ret_leased, struct err *err) {
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0)
        return fail(err, "open the lock file", path, errno);
    int64_t give_up = clock_mono_us(&clock_system) + (wait_us ? wait_us : WAIT_DEFAULT_US), pid;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return fail(err, "lock", path, errno);
        if (wait_us < 0 || clock_mono_us(&clock_system) >= give_up) {
            uint64_t leased;
            read_note(fd, &pid, &leased);
            if (pid > 0)
                return err_set(err, STORE_ERR_BUSY,
                               "store: '%s' is held by another froe (process %lld, or helpers it left behind)", path,
                               (long long)pid);
            return err_set(err, STORE_ERR_BUSY, "store: '%s' is held by another froe", path);
        }
        nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_US * 1000}, NULL);
    }
    read_note(fd, &pid, ret_leased);
    write_note(fd, 0);
    *ret_lock = (struct lock){.fd = TAKE_FD(fd)};
    return 0;
}

void lock_note(struct lock *lock, uint64_t leased) {
    if (lock->fd < 0 || lock->noted == leased)
        return;
    lock->noted = leased;
    write_note(lock->fd, leased);
}

bool lock_in_place(const struct lock *lock) {
    struct stat st;
    return lock->fd < 0 || fstat(lock->fd, &st) < 0 || st.st_nlink > 0;
}

void lock_release(struct lock *lock) {
    if (lock->fd < 0)
        return;
    lock_note(lock, 0);
    close(lock->fd);
    lock->fd = -1;
}

/* Syncs the folder that holds `path`. */
static int sync_above(const char *path, struct err *err) {
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *above = !slash          ? mem_strdup(".")
                                 : slash == path ? mem_strdup("/")
                                                 : mem_memdup(path, (size_t)(slash - path));
    if (!above)
        return -ENOMEM;
    _cleanup_close_ int fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return fail(err, "sync the folder", above, errno);
    return 0;
}

int lock_make_folders(const char *path, struct err *err) {
    _cleanup_free_ char *folder = mem_strdup(path);
    if (!folder)
        return -ENOMEM;
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0700) == 0) {
            int r = sync_above(folder, err);
            if (r < 0)
                return r;
        } else if (errno != EEXIST) {
            return fail(err, "make the folder", folder, errno);
        }
        *slash = '/';
    }
    return 0;
}

/* Made here and not by SQLite for its mode. Closing it cannot drop locks of ours on the same file: there was none. */
int lock_make_file(const char *path, struct err *err) {
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0 && errno != EEXIST)
        return fail(err, "make", path, errno);
    return 0;
}
