/* pool_files.h - bodies in files that are written without blocking the loop: files in a private directory, or files
 * without a name, of which a descriptor is handed out; of the latter small ones are in memory within a budget.
 *
 * The directory is made under TMPDIR, else /tmp, for this user alone, and is held by a lock. What a process that was
 * killed left there is removed by the next one that makes a directory of its own. Thread: the loop's. */
#pragma once

#include "bytes.h"
#include "err.h"
#include "spool.h"

#include <uv.h>

struct pool_files;
struct pool_file;

/* -ENOMEM, or the errno for which the directory could not be made; with a text. */
int pool_files_new(uv_loop_t *loop, struct pool_files **ret_files, struct err *err);
/* Files without names, in spool_directory(); what is expected to have up to SPOOL_RESERVED_MAX, or has up to
 * SPOOL_MEMORY_MAX unexpectedly, is in memory (a spool) as long as the budget, borrowed, has room. `shared`: in memory
 * that is used again, where the size is known (shared_buffers.h). -ENOMEM, with a text. */
int pool_files_new_nameless(uv_loop_t *loop, struct budget *budget, bool shared, struct pool_files **ret_files,
                            struct err *err);
/* All files must have been freed; waits until they are gone, removes the directory, then calls `closed` from the loop,
 * or before it returns. */
void pool_files_close(struct pool_files *files, void (*closed)(void *arg), void *arg);
const char *pool_files_directory(const struct pool_files *files);

/* An empty file. `size` is what is expected, 0 when nobody knows: what turns out larger than that and than what may be
 * in memory is written to its file at once, on the loop. `progress` comes from the loop whenever nothing is being
 * written any more, and once when writing failed. -ENOMEM, or an errno. */
int pool_file_new(struct pool_files *files, uint64_t size, void (*progress)(void *arg), void *arg,
                  struct pool_file **ret_file);
/* Copies the piece, and writes when much has gathered. -ENOMEM, or of one in memory what spool_add says: it was not
 * added. */
int pool_file_add(struct pool_file *file, struct bytes piece);
/* Nothing will be added any more: the rest is written too. `progress` follows, unless nothing is waiting already. */
void pool_file_flush(struct pool_file *file);
size_t pool_file_waiting(const struct pool_file *file);   /* bytes not yet written; 0 after a failure */
int pool_file_error(const struct pool_file *file);        /* 0, or why writing failed: from then on all is dropped */
const char *pool_file_path(const struct pool_file *file); /* NULL: it has no name */
/* Of one without a name, when all is written: a descriptor as of spool_open, or of a shared buffer, whose file is
 * larger. A negative errno. */
int pool_file_open(struct pool_file *file, int *ret_fd);
void pool_file_free(struct pool_file *file); /* at any time; the file is removed in the background */
