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
    WIRE_BEGIN = 1, /* to the spawner, the first: struct wire_start with what holds for all programs, and its filter */
    WIRE_START,     /* to the spawner: struct wire_start, strings, and descriptors as SCM_RIGHTS */
    WIRE_SIGNAL,    /* to the spawner: struct wire_order */
    WIRE_RELEASE,   /* to the spawner: struct wire_order */
    WIRE_ALIVE,     /* to the spawner: struct wire_order, with the milliseconds in `signal` */
    WIRE_HELLO,     /* to froe, the answer to WIRE_BEGIN: struct wire_report, with an errno if it cannot serve */
    WIRE_STARTED,   /* to froe, with the pid, before the program begins: struct wire_report */
    WIRE_EXITED,    /* to froe, the last one about this id: struct wire_report */
};

/* Places of a start's descriptors. Those that there are travel in this order. */
enum { WIRE_STDIN, WIRE_STDOUT, WIRE_STDERR, WIRE_GUARD, WIRE_RULESET, WIRE_CHANNEL, WIRE_FDS_MAX };

/* Followed by the filter's instructions, then the file, the arguments and the environment, each with its NUL. */
struct wire_start {
    uint32_t kind;
    uint32_t id; /* chosen by froe, its own until WIRE_EXITED */
    uint32_t n_argv, n_envp;
    uint32_t fds; /* 1 << place, or-ed */
    uint32_t nice, no_new_privs, no_capabilities, n_filter;
    struct rlimit limits[CONFINED_LIMITS];
};
_Static_assert(sizeof(struct wire_start) % _Alignof(struct sock_filter) == 0, "instructions come right after it");
#define WIRE_FILTER_BYTES_MAX (CONFINED_FILTER_MAX * sizeof(struct sock_filter))
#define WIRE_START_MAX (sizeof(struct wire_start) + WIRE_FILTER_BYTES_MAX + SPAWNER_STRINGS_MAX)

struct wire_order {
    uint32_t kind, id;
    int32_t signal;
};

struct wire_report {
    uint32_t kind, id;
    int32_t pid;
    int32_t start_error, confining, status;
    uint32_t stalled; /* as in struct spawn_exit */
};
