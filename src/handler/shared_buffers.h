/* shared_buffers.h - memory that other processes can read by a descriptor, and that is used again and again.
 *
 * The kernel takes longer to find, charge and give back the pages of a memory file than to fill them, so one whose
 * bytes are done with holds others next. It is sealed (F_SEAL_FUTURE_WRITE, _SHRINK, _GROW: Linux 5.1, fcntl(2)): only
 * the mapping here can write, so whoever gets a descriptor can neither change what it reads nor cut it off. But the
 * file is larger than what is in it, and who keeps a descriptor sees what comes later: this is for froe's own
 * processes. Thread: the loop's. */
#pragma once

#include "list.h"
#include "spool.h"

struct shared_buffers {
    struct budget *budget; /* borrowed; in it counts all that is here, spare ones too */
    struct list spare;     /* the one used last first */
    uint64_t spare_bytes;
};

struct shared_buffer {
    struct list link;
    int fd; /* to be handed out by spool_reopen */
    char *data;
    size_t capacity;
};

void shared_buffers_init(struct shared_buffers *buffers, struct budget *budget);
/* For at least `n` bytes, 1 to SPOOL_RESERVED_MAX. NULL: there is no room, or the kernel does not have it. */
struct shared_buffer *shared_buffers_take(struct shared_buffers *buffers, uint64_t n);
/* Of one that was taken, when nobody reads it any more. NULL does nothing. */
void shared_buffers_give(struct shared_buffers *buffers, struct shared_buffer *buffer);
/* All must have been given back. */
void shared_buffers_free(struct shared_buffers *buffers);
