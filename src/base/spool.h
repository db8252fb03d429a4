/* spool.h - bytes that gather before anybody knows how many there will be: in memory while they are few and there is
 * room in a budget that many spools share, otherwise in a file without a name, so that nothing is left behind by a
 * crash. Either way it is a descriptor that can be read at any place, and handed to another process.
 *
 * Thread: a budget and its spools belong to one thread. Writing may block for as long as the file system does. */
#pragma once

#include "bytes.h"
#include "err.h"

#include <stdint.h>

struct budget {
    uint64_t max_bytes, used_bytes; /* all-zero: nothing fits, so everything goes into files */
};
/* Counts so many bytes, to be given back. False: there is no room for them; NULL has none. */
bool budget_take(struct budget *budget, uint64_t n);
void budget_give(struct budget *budget, uint64_t n);

#define SPOOL_MEMORY_MAX \
    (1024 * 1024) /* of one spool, in memory (memfd_create), when nobody knows how much will come */
#define SPOOL_RESERVED_MAX (16 * 1024 * 1024) /* of one for which room was taken beforehand */

struct spool {
    struct budget *budget;
    const char *directory; /* of files; borrowed */
    int fd;                /* -1: nothing was written yet */
    uint64_t n;            /* bytes written */
    uint64_t counted;      /* of the budget, in whole pages */
    uint64_t reserved;     /* bytes for which room was taken beforehand */
    bool in_file;
};

/* Where files for a while belong: $TMPDIR when that is an absolute path, else /tmp. */
const char *spool_directory(void);

/* `budget` may be NULL: all in files. The directory must allow O_TMPFILE, or a file that is unlinked at once. */
void spool_init(struct spool *spool, struct budget *budget, const char *directory);
/* Appends. A negative errno (-ENOSPC, -EMFILE ...) with a text that names the directory; then the spool is only to be
 * freed. */
int spool_add(struct spool *spool, struct bytes piece, struct err *err);
/* Of one that is empty: takes room in memory for so many bytes that will come, which then stay there. False, and
 * nothing was changed: there is none, or they are more than SPOOL_RESERVED_MAX. */
bool spool_reserve(struct spool *spool, uint64_t n);
/* Up to `n` bytes from `offset`; fewer only at the end. A negative errno. */
int64_t spool_read(const struct spool *spool, uint64_t offset, void *to, size_t n);
/* What is in it, for another process: a new descriptor that can be read only, stands at the beginning and is
 * close-on-exec. What is in memory is sealed (F_SEAL_WRITE, _SHRINK, _GROW), so that nobody changes it any more;
 * nothing is to be added from now on. May be called again. A negative errno with a text. */
int spool_open(struct spool *spool, int *ret_fd, struct err *err);
/* A file without a name, close-on-exec. A negative errno. */
int spool_open_file(const char *directory);
/* As spool_open for any file that this process has open. A negative errno. */
int spool_reopen(int fd, int *ret_fd);
/* Closes, gives its bytes back to the budget; empty again. */
void spool_free(struct spool *spool);

/* Tests only. The n-th system call for spools from now (1 is the next) fails with this errno; 0 turns it off.
 * spool_fail_count() tells how many were made since, while it was on. */
void spool_fail_at(uint64_t n, int error);
uint64_t spool_fail_count(void);
