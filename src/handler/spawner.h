/* spawner.h - starts programs from a small process of its own, so that the big one never forks.
 *
 * fork() copies the page tables of a large process and stops it for milliseconds; so at start froe runs itself once more
 * as a spawner: single-threaded, a few hundred KiB, no secrets in memory or environment. Requests and pipe descriptors
 * reach it over a socket pair. It starts each program in a process group of its own, reaps it, and kills the group's
 * remains when its leader ended. When froe dies, however it dies, the spawner sees the socket close, kills every group
 * with SIGKILL, reaps and exits: no program outlives the froe that started it. Thread: the loop's. */
#pragma once

#include "bytes.h"
#include "err.h"

#include <uv.h>

struct spawner;
struct spawned;

#define SPAWNER_ARG "__spawner" /* argv[1] of the second froe */

/* To be called first thing in main(): when this process was started as a spawner it serves until the socket closes, and
 * never returns. Otherwise it returns at once. */
void spawner_main_if_asked(int argc, char **argv);

/* Starts the spawner process (posix_spawn of /proc/self/exe with SPAWNER_ARG). `hold_fd` (-1: none) stays open in it until its last
 * program is dead: a lock on it is so long not free for a successor. -errno with a text. */
int spawner_new(uv_loop_t *loop, int hold_fd, struct spawner **ret_spawner, struct err *err);
/* Kills what runs, waits for the process to end, then calls `closed`. */
void spawner_close(struct spawner *spawner, void (*closed)(void *arg), void *arg);

struct spawn_request {
    const char *file;          /* absolute path of the program */
    const char *const *argv;   /* NULL-terminated */
    const char *const *envp;
    int stdin_fd, stdout_fd, stderr_fd; /* borrowed: the caller closes its copies after the call */
};
struct spawn_exit {
    int start_error; /* errno of a program that could not be executed; 0: it ran */
    int status;      /* as from waitpid */
};
/* Starts a program; `exited` comes once, from the loop, after it and its process group are dead. -ENOMEM, -E2BIG (arguments
 * over 128 KiB), -EAGAIN (the socket is full), -EPIPE: the spawner died. */
int spawner_start(struct spawner *spawner, const struct spawn_request *request,
                  void (*exited)(void *arg, const struct spawn_exit *exit), void *arg, struct spawned **ret_spawned);
/* Sends a signal to the whole process group. No effect when it ended already. */
void spawner_kill(struct spawned *spawned, int signal);
