/* spawner.h - starts programs from a small process of its own, so that the big one never forks.
 *
 * fork() copies the page tables of a large process and stops it for milliseconds; so at start froe runs itself once
 * more as a spawner: single-threaded, small, no secrets in memory or environment. Requests and pipe descriptors reach
 * it over a socket pair. It starts each program in a process group of its own, reaps it, and kills the group's remains
 * when its leader ended. When froe dies, however it dies, the spawner sees the socket close, kills every group with
 * SIGKILL, reaps and exits: no program outlives the froe that started it. (One that makes a session of its own has left
 * the group, and is beyond reach.)
 *
 * The spawner is in a session without a terminal, so a Ctrl-C in froe's terminal reaches neither it nor the programs,
 * and it takes no SIGTERM either: only froe ends it. Thread: the loop's. */
#pragma once

#include "bytes.h"
#include "confine.h"
#include "err.h"

#include <sys/types.h>
#include <uv.h>

struct spawner;
struct spawned;

#define SPAWNER_ARG "__spawner" /* argv[1] of the second froe */

/* To be called first thing in main(): when this process was started as a spawner it serves until the socket closes, and
 * never returns. Otherwise it returns at once. */
void spawner_main_if_asked(int argc, char **argv);

/* Starts the spawner process (posix_spawn of /proc/self/exe with SPAWNER_ARG) and waits until it answers: some
 * milliseconds. `basic` (borrowed for the call; NULL: nothing), of CONFINE_BASIC, confines the spawner itself, and so
 * whatever it starts from then on: to take in a filter at each start costs the kernel a tenth of a small program's.
 * It cannot be undone, and nothing that is to be less confined can be started. `hold_fd` (-1: none; borrowed) stays
 * open in it until its last program is dead: a lock (flock) on it is so long not free for a successor. Programs get the
 * resource limits that this process has now: raise RLIMIT_NOFILE afterwards. -errno with a text. */
int spawner_new(uv_loop_t *loop, int hold_fd, const struct confined *basic, struct spawner **ret_spawner,
                struct err *err);
/* Kills what runs (each still gets its `exited`), waits for the process to end, then calls `closed` from the loop. No
 * starts from now on. */
void spawner_close(struct spawner *spawner, void (*closed)(void *arg), void *arg);
/* From now on: when no further call of this came for that long, because this process stands still, the spawner kills
 * all programs that run then. Where others may be given the work of a froe that does not move, no program may go on
 * with it. Whole milliseconds. */
void spawner_alive(struct spawner *spawner, int64_t for_us);
pid_t spawner_pid(const struct spawner *spawner);

#define SPAWNER_STRINGS_MAX (128 * 1024) /* file, arguments and environment of one program */

struct spawn_request {
    const char *file;        /* absolute path of the program */
    const char *const *argv; /* NULL-terminated */
    const char *const *envp;
    int stdin_fd, stdout_fd, stderr_fd; /* borrowed: the caller closes its copies after the call */
    /* -1, or a descriptor (borrowed) of which the spawner keeps a copy until spawner_release or the program's death:
     * with the write end of the program's stdin, a froe that is killed half-way does not look like the end of the
     * input. */
    int guard_fd;
    int channel_fd;                  /* 0: none. Else what it has as descriptor 3 (borrowed), beside the other three */
    const struct confined *confined; /* borrowed; NULL: nothing is taken from it */
};
struct spawn_exit {
    int start_error; /* 0: it ran, see status. Else the errno for which it could not be executed; EPIPE: the spawner
                        died, and the program, if it ran, was killed */
    bool confining;  /* the start error is of what should have confined it */
    int status;      /* as from waitpid */
    bool stalled;    /* the spawner killed it, as nothing was heard from here for too long (spawner_alive) */
};
/* Starts a program; `exited` comes once, from the loop, after it and its process group are dead; `spawned` is gone
 * then. -ENOMEM, -E2BIG (over SPAWNER_STRINGS_MAX), -EAGAIN (out of descriptors), -EPERM (less confined than
 * the spawner itself), -EPIPE: the spawner died or is closing. */
int spawner_start(struct spawner *spawner, const struct spawn_request *request,
                  void (*exited)(void *arg, const struct spawn_exit *exit), void *arg, struct spawned **ret_spawned);
/* Runs a program to its end, or kills it after that time; blocks. By a spawner process of its own, so neither a loop
 * nor another spawner is needed. -ETIMEDOUT, -ENOMEM, -E2BIG, or why no spawner could be started; with a text. */
int spawner_try(const struct spawn_request *request, int64_t timeout_us, struct spawn_exit *ret_exit, struct err *err);
/* Sends a signal to the whole process group. No effect when it ended already. Of two signals sent before the first is
 * delivered one may be lost, but never a SIGKILL. */
void spawner_kill(struct spawned *spawned, int signal);
/* The program's process, 0 as long as it is not known to run. The number is its own until `exited`. */
pid_t spawner_pid_of(const struct spawned *spawned);
/* The spawner closes its copy of guard_fd. */
void spawner_release(struct spawned *spawned);
