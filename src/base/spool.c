/* spool.c - see spool.h. All is written with offsets, so a descriptor that was handed on stands at the beginning.
 *
 * Memory is the better place but never the only one: whatever goes wrong there, the bytes go into a file, and only what
 * goes wrong with that is an error. */
#include "spool.h"

#include "cleanup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES                                                                                    \
    4096 /* in which the kernel gives out memory; where pages are larger the budget counts too little \
          */
#define COPY_BYTES (64 * 1024)

/* ---- system calls, behind a seam ---- */

static uint64_t fail_at, n_calls;
static int fail_with;

void spool_fail_at(uint64_t n, int error) {
    fail_at = n;
    fail_with = error;
    n_calls = 0;
}

uint64_t spool_fail_count(void) {
    return n_calls;
}

static bool must_fail(void) {
    if (fail_at == 0 || ++n_calls != fail_at)
        return false;
    errno = fail_with;
    return true;
}

static ssize_t write_at(int fd, struct bytes piece, uint64_t offset) {
    return must_fail() ? -1 : pwrite(fd, piece.p, piece.n, (off_t)offset);
}

static ssize_t read_at(int fd, void *to, size_t n, uint64_t offset) {
    return must_fail() ? -1 : pread(fd, to, n, (off_t)offset);
}

static int open_memory(void) {
    return must_fail() ? -1 : memfd_create("froe-spool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static int open_tmpfile(const char *directory) {
    return must_fail() ? -1 : open(directory, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
}

static int open_named(char *template) {
    return must_fail() ? -1 : mkostemp(template, O_CLOEXEC);
}

static int seal(int fd) {
    return must_fail() ? -1 : fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
}

static int open_again(const char *path) {
    return must_fail() ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

/* ---- pieces ---- */

static int write_all(int fd, struct bytes piece, uint64_t offset) {
    while (piece.n) {
        ssize_t n = write_at(fd, piece, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        offset += (uint64_t)n;
        piece = bytes_of(piece.p + n, piece.n - (size_t)n);
    }
    return 0;
}

static int64_t read_all(int fd, uint64_t offset, char *to, size_t n) {
    size_t got = 0;
    while (got < n) {
        ssize_t r = read_at(fd, to + got, n - got, offset + got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (int64_t)got;
}

/* ---- files ---- */

/* For file systems that know no files without a name. */
static int open_unlinked(const char *directory) {
    _cleanup_buf_ struct buf path = {0};
    int r = buf_printf(&path, "%s/froe-spool-XXXXXX", directory);
    if (r < 0)
        return r;
    int fd = open_named(path.p);
    if (fd < 0)
        return -errno;
    unlink(path.p);
    return fd;
}

int spool_open_file(const char *directory) {
    int fd = open_tmpfile(directory);
    if (fd >= 0)
        return fd;
    bool unknown = errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL;
    return unknown ? open_unlinked(directory) : -errno;
}

static int copy(int from, int to, uint64_t n) {
    char piece[COPY_BYTES];
    for (uint64_t offset = 0; offset < n;) {
        int64_t got = read_all(from, offset, piece, n - offset < sizeof piece ? (size_t)(n - offset) : sizeof piece);
        if (got <= 0)
            return got < 0 ? (int)got : -EIO;
        int r = write_all(to, bytes_of(piece, (size_t)got), offset);
        if (r < 0)
            return r;
        offset += (uint64_t)got;
    }
    return 0;
}

static void give_back(struct spool *spool) {
    if (spool->counted)
        budget_give(spool->budget, spool->counted);
    spool->counted = 0;
}

/* With what is in memory so far. */
static int move_to_file(struct spool *spool) {
    _cleanup_close_ int fd = spool_open_file(spool->directory);
    if (fd < 0)
        return fd;
    int r = copy(spool->fd, fd, spool->n);
    if (r < 0)
        return r;
    if (spool->fd >= 0)
        close(spool->fd);
    give_back(spool);
    spool->fd = TAKE_FD(fd);
    spool->in_file = true;
    return 0;
}

/* ---- memory ---- */

static uint64_t in_pages(uint64_t n) {
    return (n + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

bool budget_take(struct budget *budget, uint64_t n) {
    if (!budget || budget->used_bytes > budget->max_bytes || n > budget->max_bytes - budget->used_bytes)
        return false;
    budget->used_bytes += n;
    return true;
}

void budget_give(struct budget *budget, uint64_t n) {
    budget->used_bytes -= n;
}

/* Counts as much of the budget as so many bytes take, if there is room for them. */
static bool count(struct spool *spool, uint64_t n) {
    uint64_t counted = in_pages(n);
    if (counted <= spool->counted)
        return true;
    if (!budget_take(spool->budget, counted - spool->counted))
        return false;
    spool->counted = counted;
    return true;
}

static bool may_hold(const struct spool *spool, size_t more) {
    uint64_t most = spool->reserved > SPOOL_MEMORY_MAX ? spool->reserved : SPOOL_MEMORY_MAX;
    return spool->n <= most && more <= most - spool->n;
}

/* False: it has to go into a file; what was there before is as it was. */
static bool add_to_memory(struct spool *spool, struct bytes piece) {
    if (!may_hold(spool, piece.n) || !count(spool, spool->n + piece.n))
        return false;
    if (spool->fd < 0)
        spool->fd = open_memory();
    return spool->fd >= 0 && write_all(spool->fd, piece, spool->n) == 0;
}

/* ---- the header's functions ---- */

const char *spool_directory(void) {
    const char *directory = secure_getenv("TMPDIR");
    return directory && directory[0] == '/' ? directory : "/tmp";
}

void spool_init(struct spool *spool, struct budget *budget, const char *directory) {
    *spool = (struct spool){.budget = budget, .directory = directory, .fd = -1};
}

bool spool_reserve(struct spool *spool, uint64_t n) {
    if (!spool->budget || n > SPOOL_RESERVED_MAX || !count(spool, n))
        return false;
    spool->reserved = n;
    return true;
}

static int not_kept(const struct spool *spool, int r, struct err *err) {
    return err_set(err, r, "cannot write to a file in '%s' (TMPDIR): %s", spool->directory, err_errno_text(r));
}

int spool_add(struct spool *spool, struct bytes piece, struct err *err) {
    if (piece.n == 0)
        return 0;
    if (spool->in_file || !add_to_memory(spool, piece)) {
        int r = spool->in_file ? 0 : move_to_file(spool);
        if (r == 0)
            r = write_all(spool->fd, piece, spool->n);
        if (r < 0)
            return not_kept(spool, r, err);
    }
    spool->n += piece.n;
    return 0;
}

int64_t spool_read(const struct spool *spool, uint64_t offset, void *to, size_t n) {
    if (spool->fd < 0 || offset >= spool->n)
        return 0;
    return read_all(spool->fd, offset, to, spool->n - offset < n ? (size_t)(spool->n - offset) : n);
}

/* By its own name: another description of it, so with an offset of its own. */
int spool_reopen(int fd, int *ret_fd) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open_again(path);
    if (again < 0)
        return -errno;
    *ret_fd = again;
    return 0;
}

int spool_open(struct spool *spool, int *ret_fd, struct err *err) {
    if (spool->fd < 0)
        spool->fd = open_memory();
    if (spool->fd < 0) {
        int r = move_to_file(spool);
        if (r < 0)
            return not_kept(spool, r, err);
    }
    int r = spool->in_file || seal(spool->fd) == 0 ? spool_reopen(spool->fd, ret_fd) : -errno;
    return r < 0 ? err_set(err, r, "cannot hand out what was gathered: %s", err_errno_text(r)) : 0;
}

void spool_free(struct spool *spool) {
    give_back(spool);
    if (spool->fd >= 0)
        close(spool->fd);
    spool_init(spool, spool->budget, spool->directory);
}
