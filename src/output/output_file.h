/* output_file.h - a result as a file: under a temporary name or none, written, fsynced, and only then given its name,
 * which is durable itself when this returns.
 *
 * The name is a path below a directory, made of an object's key, which anybody may have chosen. Each of its components
 * is opened by itself and never through a symbolic link, so it cannot lead out. */
#pragma once

#include "bytes.h"
#include "err.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Could the path be a file's below a directory? -EINVAL with a text: an empty component (also before or after the
 * path), "." or "..", a NUL byte, a component longer than 255 bytes. */
int output_file_check(struct bytes path, struct err *err);

/* The system calls, so that tests can make them fail. */
struct output_file_calls {
    int (*openat)(int directory, const char *path, int flags, mode_t mode);
    int (*mkdirat)(int directory, const char *path, mode_t mode);
    ssize_t (*pread)(int fd, void *to, size_t n, off_t offset);
    ssize_t (*write)(int fd, const void *data, size_t n);
    int (*fsync)(int fd);
    int (*linkat)(int directory, const char *path, int to_directory, const char *to_path, int flags);
    int (*renameat)(int directory, const char *path, int to_directory, const char *to_path);
    int (*unlinkat)(int directory, const char *path, int flags);
};
extern const struct output_file_calls output_file_system;

struct output_file {
    const char *root;  /* an existing directory */
    struct bytes path; /* below it; missing directories are made. What is there under that name is replaced */
    int body_fd;       /* read by pread from 0 on; -1: there is nothing to read */
    uint64_t body_n;
};
/* Blocks for as long as the file system does; any thread. `cancelled` is looked at between pieces: -ECANCELED, and
 * nothing is left. Else 0 or a negative code, with a text; nothing half is ever there under the name. After a failure
 * of the last fsync the whole file may be there. */
int output_file_write(const struct output_file_calls *calls, const struct output_file *file,
                      const atomic_bool *cancelled, struct err *err);
