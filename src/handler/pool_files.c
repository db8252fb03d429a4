/* pool_files.c - each file has two buffers: one that a thread of libuv's writes, one that gathers what comes. */
#include "pool_files.h"

#include "cleanup.h"
#include "list.h"
#include "shared_buffers.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>

#define NAME "froe-pool-"
#define TRIES 10
#define WRITE_BYTES (112 * 1024) /* gathered before a thread is woken for it; with a piece of 16 KiB still 128 KiB */

struct pool_files {
    uv_loop_t *loop;
    char *directory;
    bool nameless;
    struct budget *budget; /* of the nameless */
    bool shared;
    struct shared_buffers buffers;
    int lock_fd; /* of the directory itself; -1: it is not froe's own */
    uint64_t next;
    size_t n_files; /* not yet removed */
    bool closing;
    void (*closed)(void *arg);
    void *arg;
};

struct pool_file {
    struct pool_files *files;
    uv_fs_t request;
    int fd;     /* -1: see `memory` and `buffer` */
    char *path; /* NULL: nameless */
    bool small; /* in `memory`; nothing of the rest is used */
    struct spool memory;
    struct shared_buffer *buffer; /* NULL: none; with one nothing of the rest is used */
    size_t buffered;
    struct buf writing, gathering;
    size_t done; /* of `writing` */
    uint64_t offset;
    bool busy, freed;
    bool flushing; /* nothing more comes: what was gathered is written, however little */
    int error;
    void (*progress)(void *arg);
    void *arg;
};

/* ---- the directory ---- */

static void empty(int fd) {
    DIR *directory = fdopendir(fd);
    if (!directory) {
        close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory));)
        unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
}

/* Of this user, of nobody else's, and held by nobody: its owner is dead. */
static void remove_when_stale(int parent_fd, const char *name) {
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat about;
    if (fd < 0)
        return;
    if (fstat(fd, &about) < 0 || about.st_uid != geteuid() || flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        return;
    }
    empty(fd);
    unlinkat(parent_fd, name, AT_REMOVEDIR); /* also one that was just being made: see make_directory */
}

static void remove_stale(const char *parent) {
    DIR *directory = opendir(parent);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strncmp(entry->d_name, NAME, strlen(NAME)) == 0)
            remove_when_stale(dirfd(directory), entry->d_name);
    closedir(directory);
}

static int make_directory(struct pool_files *files, const char *parent) {
    for (int i = 0; i < TRIES; i++) {
        _cleanup_buf_ struct buf path = {0};
        int r = buf_printf(&path, "%s/" NAME "XXXXXX", parent);
        if (r < 0)
            return r;
        if (!mkdtemp(path.p))
            return -errno;
        _cleanup_close_ int fd = open(path.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat about;
        /* Somebody who tidies up may have found it before it was locked. */
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &about) < 0 || about.st_nlink == 0)
            continue;
        files->directory = buf_detach(&path);
        files->lock_fd = TAKE_FD(fd);
        return 0;
    }
    return -EBUSY;
}

int pool_files_new_nameless(uv_loop_t *loop, struct budget *budget, bool shared, struct pool_files **ret_files,
                            struct err *err) {
    _cleanup_free_ struct pool_files *files = mem_zalloc(sizeof *files);
    char *directory = files ? mem_strdup(spool_directory()) : NULL;
    if (!directory)
        return err_set(err, -ENOMEM, "out of memory");
    *files = (struct pool_files){.loop = loop,
                                 .directory = directory,
                                 .nameless = true,
                                 .budget = budget,
                                 .shared = shared && budget,
                                 .lock_fd = -1};
    if (files->shared)
        shared_buffers_init(&files->buffers, budget);
    *ret_files = TAKE_PTR(files);
    return 0;
}

int pool_files_new(uv_loop_t *loop, struct pool_files **ret_files, struct err *err) {
    const char *parent = spool_directory();
    _cleanup_free_ struct pool_files *files = mem_zalloc(sizeof *files);
    if (!files)
        return err_set(err, -ENOMEM, "out of memory");
    files->loop = loop;
    remove_stale(parent);
    int r = make_directory(files, parent);
    if (r < 0)
        return err_set(err, r, "cannot make a directory for bodies in '%s' (TMPDIR): %s", parent, err_errno_text(r));
    *ret_files = TAKE_PTR(files);
    return 0;
}

static void close_when_empty(struct pool_files *files) {
    if (!files->closing || files->n_files > 0)
        return;
    void (*closed)(void *arg) = files->closed;
    void *arg = files->arg;
    if (files->lock_fd >= 0) {
        rmdir(files->directory);
        close(files->lock_fd);
    }
    if (files->shared)
        shared_buffers_free(&files->buffers);
    mem_free(files->directory);
    mem_free(files);
    closed(arg);
}

void pool_files_close(struct pool_files *files, void (*closed)(void *arg), void *arg) {
    files->closing = true;
    files->closed = closed;
    files->arg = arg;
    close_when_empty(files);
}

const char *pool_files_directory(const struct pool_files *files) {
    return files->directory;
}

/* ---- a file ---- */

static void on_removed(uv_fs_t *request) {
    struct pool_file *file = request->data;
    struct pool_files *files = file->files;
    uv_fs_req_cleanup(request);
    mem_free(file->path);
    mem_free(file);
    files->n_files--;
    close_when_empty(files);
}

/* Removing a large file takes its time, so that is not done here. One without a name goes when it is closed. */
static void remove_file(struct pool_file *file) {
    buf_free(&file->writing);
    buf_free(&file->gathering);
    if (!file->path) {
        uv_fs_close(file->files->loop, &file->request, file->fd, on_removed);
        return;
    }
    close(file->fd);
    uv_fs_unlink(file->files->loop, &file->request, file->path, on_removed);
}

static void write_on(struct pool_file *file);

static void on_written(uv_fs_t *request) {
    struct pool_file *file = request->data;
    ssize_t n = request->result;
    uv_fs_req_cleanup(request);
    file->busy = false;
    if (file->freed) {
        remove_file(file);
        return;
    }
    if (n <= 0 && n != -EINTR) {
        file->error = n < 0 ? (int)n : -EIO;
        buf_free(&file->writing);
        buf_free(&file->gathering);
        file->progress(file->arg);
        return;
    }
    file->done += n > 0 ? (size_t)n : 0;
    file->offset += n > 0 ? (uint64_t)n : 0;
    if (file->done == file->writing.n) {
        buf_reset(&file->writing);
        file->done = 0;
    }
    write_on(file);
    if (!file->busy)
        file->progress(file->arg);
}

static void write_on(struct pool_file *file) {
    if (file->writing.n == 0 && (file->flushing || file->gathering.n >= WRITE_BYTES)) {
        struct buf swapped = file->writing;
        file->writing = file->gathering;
        file->gathering = swapped;
    }
    if (file->writing.n == 0)
        return;
    const uv_buf_t piece =
        uv_buf_init(file->writing.p + file->done, (unsigned)(file->writing.n - file->done)); /* far below 4 GiB */
    file->busy = true;
    uv_fs_write(file->files->loop, &file->request, file->fd, &piece, 1, (int64_t)file->offset, on_written);
}

static int open_named(struct pool_file *file) {
    struct pool_files *files = file->files;
    _cleanup_buf_ struct buf path = {0};
    int r = buf_printf(&path, "%s/%" PRIu64, files->directory, files->next++);
    if (r < 0)
        return r;
    file->fd = open(path.p, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file->fd < 0)
        return -errno;
    file->path = buf_detach(&path);
    return 0;
}

/* Of an unknown size it is taken to be small, as most are. */
static int open_nameless(struct pool_file *file, uint64_t size) {
    struct pool_files *files = file->files;
    if (files->shared && (file->buffer = shared_buffers_take(&files->buffers, size)))
        return 0;
    spool_init(&file->memory, files->budget, files->directory);
    file->small = spool_reserve(&file->memory, size);
    if (file->small)
        return 0;
    file->fd = spool_open_file(files->directory);
    return file->fd < 0 ? file->fd : 0;
}

int pool_file_new(struct pool_files *files, uint64_t size, void (*progress)(void *arg), void *arg,
                  struct pool_file **ret_file) {
    _cleanup_free_ struct pool_file *file = mem_zalloc(sizeof *file);
    if (!file)
        return -ENOMEM;
    file->files = files;
    file->fd = -1;
    int r = files->nameless ? open_nameless(file, size) : open_named(file);
    if (r < 0)
        return r;
    file->progress = progress;
    file->arg = arg;
    file->request.data = file;
    files->n_files++;
    *ret_file = TAKE_PTR(file);
    return 0;
}

static void give_buffer(struct pool_file *file) {
    shared_buffers_give(&file->files->buffers, file->buffer);
    file->buffer = NULL;
}

/* It is larger than was expected, so it goes on in a file. */
static int leave_buffer(struct pool_file *file) {
    int r = buf_add(&file->gathering, file->buffer->data, file->buffered);
    if (r < 0)
        return r;
    file->fd = spool_open_file(file->files->directory);
    if (file->fd < 0) {
        buf_free(&file->gathering);
        return file->fd;
    }
    give_buffer(file);
    return 0;
}

static int add_to_buffer(struct pool_file *file, struct bytes piece) {
    memcpy(file->buffer->data + file->buffered, piece.p, piece.n);
    file->buffered += piece.n;
    return 0;
}

int pool_file_add(struct pool_file *file, struct bytes piece) {
    if (file->error || piece.n == 0)
        return 0;
    if (file->buffer && piece.n <= file->buffer->capacity - file->buffered)
        return add_to_buffer(file, piece);
    if (file->buffer) {
        int r = leave_buffer(file);
        if (r < 0)
            return r;
    }
    if (file->small)
        return spool_add(&file->memory, piece, NULL);
    int r = buf_add_bytes(&file->gathering, piece);
    if (r == 0 && !file->busy)
        write_on(file);
    return r;
}

void pool_file_flush(struct pool_file *file) {
    file->flushing = true;
    if (!file->error && !file->busy)
        write_on(file);
}

size_t pool_file_waiting(const struct pool_file *file) {
    return file->writing.n - file->done + file->gathering.n;
}

int pool_file_error(const struct pool_file *file) {
    return file->error;
}

const char *pool_file_path(const struct pool_file *file) {
    return file->path;
}

int pool_file_open(struct pool_file *file, int *ret_fd) {
    if (file->small)
        return spool_open(&file->memory, ret_fd, NULL);
    return spool_reopen(file->buffer ? file->buffer->fd : file->fd, ret_fd);
}

void pool_file_free(struct pool_file *file) {
    if (!file)
        return;
    if (file->small || file->buffer) {
        if (file->buffer)
            give_buffer(file);
        else
            spool_free(&file->memory);
        file->files->n_files--;
        mem_free(file);
        return;
    }
    file->freed = true;
    if (!file->busy)
        remove_file(file);
}
