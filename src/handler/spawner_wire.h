/* spawner_wire.h - the messages between froe and its spawner process, over one SOCK_SEQPACKET pair.
 *
 * Both ends are the same executable, so the format is plain structs. A message is never empty and never split. */
#pragma once

#include "spawner.h"

#include <stdint.h>

/* Where the spawner process finds its descriptors. */
#define WIRE_SOCKET_FD 3
#define WIRE_HOLD_FD 4

enum wire_kind {
    WIRE_START = 1, /* to the spawner: struct wire_start, strings, and descriptors as SCM_RIGHTS */
    WIRE_SIGNAL,    /* to the spawner: struct wire_order */
    WIRE_RELEASE,   /* to the spawner: struct wire_order */
    WIRE_ALIVE,     /* to the spawner: struct wire_order, with the milliseconds in `signal` */
    WIRE_HELLO,     /* to froe, once, when the spawner is ready: struct wire_report */
    WIRE_STARTED,   /* to froe, with the pid, before the program begins: struct wire_report */
    WIRE_EXITED,    /* to froe, the last one about this id: struct wire_report */
};

/* Followed by the file, then the arguments, then the environment, each with its NUL. The descriptors are stdin, stdout,
 * stderr and, when there is a fourth, the one to guard. */
struct wire_start {
    uint32_t kind;
    uint32_t id; /* chosen by froe, its own until WIRE_EXITED */
    uint32_t n_argv, n_envp;
};
#define WIRE_FDS_MAX 4
#define WIRE_START_MAX (sizeof(struct wire_start) + SPAWNER_STRINGS_MAX)

struct wire_order {
    uint32_t kind, id;
    int32_t signal;
};

struct wire_report {
    uint32_t kind, id;
    int32_t pid;
    int32_t start_error, status;
};
