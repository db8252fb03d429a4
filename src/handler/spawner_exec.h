/* spawner_exec.h - one program, from a request to a running process. Part of the spawner's own process. */
#pragma once

#include "confine.h"

#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct spawner_exec {
    const char *file;
    char *const *argv, *const *envp;
    int fds[3];          /* its stdin, stdout, stderr; each above 2 */
    int channel_fd;      /* -1, or what is to be its descriptor 3; above that */
    struct rlimit files; /* unless `limits` says something else */
    /* As in struct confined. */
    const struct rlimit *limits; /* CONFINED_LIMITS of them; NULL: none */
    uint32_t nice;
    bool no_new_privs, no_capabilities;
    int ruleset_fd;
    struct sock_filter *filter;
    uint32_t n_filter;
    /* Called in the new process, which may change no memory, right before it executes the file: so who is to end it
     * knows of it before it has done anything. The file may still turn out not to be executable. */
    void (*begins)(const struct spawner_exec *exec, pid_t pid);
    uint32_t id; /* the caller's */
};

/* 0 and the pid of a process that runs the file: leader of a group of its own, no signal blocked, nothing open but
 * these, killed by the kernel when this process ends. Else an errno, and there is no process; *ret_confining tells
 * whether it was confining that failed. The caller is single-threaded, has all signals blocked, and has set no signal
 * to be ignored. */
int spawner_exec(const struct spawner_exec *exec, pid_t *ret_pid, bool *ret_confining);
