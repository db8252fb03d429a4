/* pool_files.h - bodies in files: a private directory, and files in it that are written without blocking the loop.
 *
 * The directory is made under TMPDIR, else /tmp, for this user alone, and is held by a lock. What a process that was
 * killed left there is removed by the next one that makes a directory of its own. Thread: the loop's. */
#pragma once

#include "bytes.h"
#include "err.h"

#include <uv.h>

struct pool_files;
struct pool_file;

/* -ENOMEM, or the errno for which the directory could not be made; with a text. */
int pool_files_new(uv_loop_t *loop, struct pool_files **ret_files, struct err *err);
/* All files must have been freed; waits until they are gone, removes the directory, then calls `closed` from the loop,
 * or before it returns. */
void pool_files_close(struct pool_files *files, void (*closed)(void *arg), void *arg);
const char *pool_files_directory(const struct pool_files *files);

/* An empty file. `progress` comes from the loop whenever nothing is being written any more, and once when writing
 * failed. -ENOMEM, or an errno. */
int pool_file_new(struct pool_files *files, void (*progress)(void *arg), void *arg, struct pool_file **ret_file);
/* Copies the piece, and writes when much has gathered. -ENOMEM: it was not added. */
int pool_file_add(struct pool_file *file, struct bytes piece);
/* Nothing will be added any more: the rest is written too. `progress` follows, unless nothing is waiting already. */
void pool_file_flush(struct pool_file *file);
size_t pool_file_waiting(const struct pool_file *file); /* bytes not yet written; 0 after a failure */
int pool_file_error(const struct pool_file *file);      /* 0, or why writing failed: from then on all is dropped */
const char *pool_file_path(const struct pool_file *file);
void pool_file_free(struct pool_file *file); /* at any time; the file is removed in the background */
