/* lock.h - the lock file beside a store's file: who has it has the store.
 *
 * The lock is flock(2) on an open file description, so it lasts until every copy of the descriptor is closed: a froe
 * that died keeps it as long as one of its helper processes lives. The file is never removed (removing it would let two
 * processes lock two files of the same name); while held it says, for people and for the next opener, who holds it and
 * how many runs are leased. That is written without syncing: it tells of a process that was killed, not of a power cut.
 */
#pragma once

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

struct lock {
    int fd; /* -1: not held */
    uint64_t noted;
};

/* Makes the file if need be. Waits up to wait_us. `ret_leased` is what the holder before left there. STORE_ERR_BUSY
 * names the file and the holder's pid, STORE_ERR_IO, STORE_ERR_FULL, -ENOMEM. */
int lock_take(const char *path, int64_t wait_us, struct lock *ret_lock, uint64_t *ret_leased, struct err *err);
void lock_note(struct lock *lock, uint64_t leased); /* best effort; writes only what changed */
bool lock_in_place(const struct lock *lock);        /* is the locked file still the one that others would open? */
void lock_release(struct lock *lock);

/* Makes the missing folders above `path`, each 0700 and synced into the one above it. STORE_ERR_IO, STORE_ERR_FULL. */
int lock_make_folders(const char *path, struct err *err);
/* Makes an empty file with mode 0600 when there is none. */
int lock_make_file(const char *path, struct err *err);
