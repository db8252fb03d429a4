/* output_file.c - see output_file.h. */
#include "output_file.h"

#include "cleanup.h"
#include "text.h"

#include <fcntl.h>
#include <sys/random.h>

#define NAME_BYTES_MAX 255
#define PIECE (256 * 1024)
#define TEMP_MAX 40 /* ".froe-0123456789abcdef0123.tmp" */

static int system_openat(int directory, const char *path, int flags, mode_t mode) {
    return openat(directory, path, flags, mode);
}

const struct output_file_calls output_file_system = {
    system_openat, mkdirat, pread, write, fsync, linkat, renameat, unlinkat,
};

/* ---- names ---- */

static int check_component(struct bytes name, struct err *err) {
    if (name.n == 0)
        return err_set(err, -EINVAL, "no file can be called so: it begins or ends with '/', or has two in a row");
    if (bytes_equal(name, BYTES(".")) || bytes_equal(name, BYTES("..")))
        return err_set(err, -EINVAL, "no file can be called so: '%.*s' means a directory", (int)name.n, name.p);
    if (name.n > NAME_BYTES_MAX)
        return err_set(err, -EINVAL, "no file can be called so: between two '/' there are at most %d bytes",
                       NAME_BYTES_MAX);
    return 0;
}

/* The first component of *path, which is left with what follows its '/'. */
static struct bytes next_component(struct bytes *path, bool *ret_last) {
    const char *slash = path->n ? memchr(path->p, '/', path->n) : NULL;
    struct bytes name = {path->p, slash ? (size_t)(slash - path->p) : path->n};
    *ret_last = !slash;
    size_t used = name.n + (slash != NULL);
    *path = bytes_of(used ? path->p + used : path->p, path->n - used);
    return name;
}

int output_file_check(struct bytes path, struct err *err) {
    if (path.n && memchr(path.p, '\0', path.n))
        return err_set(err, -EINVAL, "no file can be called so: it holds a NUL byte");
    for (bool last = false; !last;) {
        int r = check_component(next_component(&path, &last), err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- writing ---- */

struct writing {
    const struct output_file_calls *calls;
    const struct output_file *file;
    const atomic_bool *cancelled;
    int directory, fd; /* -1: none */
    char name[NAME_BYTES_MAX + 1];
    char temp[TEMP_MAX]; /* "": it has no name yet */
    struct err *err;
};

static int fail(struct writing *writing, const char *what) {
    int r = -errno;
    _cleanup_buf_ struct buf shown = {0};
    text_add_printable(&shown, writing->file->path);
    return err_set(writing->err, r, "%s/%.300s: %s: %s", writing->file->root, shown.p ? shown.p : "", what,
                   err_errno_text(r));
}

/* A file is where a directory should be, or a link that might lead out. */
static int fail_open(struct writing *writing, const char *name) {
    if (errno != ENOTDIR && errno != ELOOP)
        return fail(writing, "its directory cannot be opened");
    _cleanup_buf_ struct buf shown = {0};
    text_add_printable(&shown, bytes_str(name));
    return err_set(writing->err, -ENOTDIR, "%s: there is a file or a symbolic link '%.200s' where a directory must be",
                   writing->file->root, shown.p ? shown.p : "");
}

static int open_directory(struct writing *writing, int parent, const char *name) {
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = writing->calls->openat(parent, name, flags, 0);
    if (fd < 0 && errno == ENOENT) {
        if (writing->calls->mkdirat(parent, name, 0777) < 0 && errno != EEXIST)
            return fail(writing, "its directory cannot be made");
        fd = writing->calls->openat(parent, name, flags, 0);
    }
    return fd < 0 ? fail_open(writing, name) : fd;
}

/* Down to the directory of the file. Each directory on the way is fsynced, also one that was there: whoever has made it
 * may not have come to that yet. */
static int walk(struct writing *writing) {
    struct bytes rest = writing->file->path;
    writing->directory = writing->calls->openat(AT_FDCWD, writing->file->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (writing->directory < 0)
        return fail(writing, "the directory cannot be opened");
    for (bool last = false;;) {
        struct bytes name = next_component(&rest, &last);
        memcpy(writing->name, name.p, name.n);
        writing->name[name.n] = '\0';
        if (last)
            return 0;
        int next = open_directory(writing, writing->directory, writing->name);
        if (next < 0)
            return next;
        int r = writing->calls->fsync(writing->directory);
        if (r < 0)
            r = fail(writing, "its directory cannot be made durable");
        close(writing->directory);
        writing->directory = next;
        if (r < 0)
            return r;
    }
}

static int choose_temp(struct writing *writing) {
    unsigned char random[10];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return fail(writing, "no random numbers");
    _cleanup_buf_ struct buf hex = {0};
    if (text_add_hex(&hex, random, sizeof random) < 0)
        return err_set(writing->err, -ENOMEM, "out of memory");
    snprintf(writing->temp, sizeof writing->temp, ".froe-%s.tmp", hex.p);
    return 0;
}

/* Without a name where the file system can do that, so that a crash leaves nothing behind. */
static int create(struct writing *writing) {
    writing->fd = writing->calls->openat(writing->directory, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    if (writing->fd >= 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT)
        return fail(writing, "it cannot be made");
    int r = choose_temp(writing);
    if (r < 0)
        return r;
    writing->fd = writing->calls->openat(writing->directory, writing->temp,
                                         O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (writing->fd >= 0)
        return 0;
    r = fail(writing, "it cannot be made");
    writing->temp[0] = '\0';
    return r;
}

static int write_piece(struct writing *writing, const char *data, size_t n) {
    while (n > 0) {
        ssize_t written = writing->calls->write(writing->fd, data, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            errno = written < 0 ? errno : EIO;
            return fail(writing, "it cannot be written");
        }
        data += written;
        n -= (size_t)written;
    }
    return 0;
}

static int copy(struct writing *writing) {
    const struct output_file *file = writing->file;
    _cleanup_free_ char *piece = mem_alloc(PIECE);
    if (!piece)
        return err_set(writing->err, -ENOMEM, "out of memory");
    for (uint64_t done = 0; done < file->body_n;) {
        uint64_t left = file->body_n - done;
        size_t n = left < PIECE ? (size_t)left : PIECE;
        if (atomic_load(writing->cancelled))
            return err_set(writing->err, -ECANCELED, "cancelled");
        ssize_t got = writing->calls->pread(file->body_fd, piece, n, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got < 0 ? errno : EIO;
            return fail(writing, "the result cannot be read");
        }
        int r = write_piece(writing, piece, (size_t)got);
        if (r < 0)
            return r;
        done += (uint64_t)got;
    }
    return 0;
}

static int link_as(struct writing *writing, const char *name) {
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", writing->fd);
    return writing->calls->linkat(AT_FDCWD, self, writing->directory, name, AT_SYMLINK_FOLLOW);
}

/* A link cannot take the place of what is there; that is for a rename, and needs another name first. True when the file
 * has its name already. */
static int give_name(struct writing *writing, bool *ret_done) {
    *ret_done = link_as(writing, writing->name) == 0;
    if (*ret_done)
        return 0;
    if (errno != EEXIST)
        return fail(writing, "it cannot be given its name");
    int r = choose_temp(writing);
    if (r == 0 && link_as(writing, writing->temp) < 0) {
        r = fail(writing, "it cannot be given a name");
        writing->temp[0] = '\0';
    }
    return r;
}

static int take_place(struct writing *writing) {
    if (writing->calls->renameat(writing->directory, writing->temp, writing->directory, writing->name) == 0) {
        writing->temp[0] = '\0';
        return 0;
    }
    if (errno != EISDIR && errno != ENOTEMPTY && errno != EEXIST)
        return fail(writing, "it cannot be renamed");
    errno = EISDIR;
    return fail(writing, "there is a directory of that name");
}

static int publish(struct writing *writing) {
    const struct output_file_calls *calls = writing->calls;
    if (calls->fsync(writing->fd) < 0)
        return fail(writing, "it cannot be made durable");
    if (atomic_load(writing->cancelled))
        return err_set(writing->err, -ECANCELED, "cancelled");
    bool named = false;
    int r = writing->temp[0] ? 0 : give_name(writing, &named);
    if (r == 0 && !named)
        r = take_place(writing);
    if (r < 0)
        return r;
    if (calls->fsync(writing->directory) < 0)
        return fail(writing, "its directory cannot be made durable");
    return 0;
}

int output_file_write(const struct output_file_calls *calls, const struct output_file *file,
                      const atomic_bool *cancelled, struct err *err) {
    struct err storage = {0};
    struct writing writing = {.calls = calls, .file = file, .cancelled = cancelled, .directory = -1, .fd = -1};
    writing.err = err ? err : &storage;
    int r = output_file_check(file->path, writing.err);
    if (r == 0)
        r = walk(&writing);
    if (r == 0)
        r = create(&writing);
    if (r == 0)
        r = copy(&writing);
    if (r == 0)
        r = publish(&writing);
    if (writing.temp[0])
        calls->unlinkat(writing.directory, writing.temp, 0);
    if (writing.fd >= 0)
        close(writing.fd);
    if (writing.directory >= 0)
        close(writing.directory);
    return r;
}
