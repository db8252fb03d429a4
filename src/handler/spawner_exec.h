/* spawner_exec.h - one program, from a request to a running process. Part of the spawner's own process. */
#pragma once

#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct spawner_exec {
    const char *file;
    char *const *argv, *const *envp;
    int fds[3]; /* its stdin, stdout, stderr; each above 2 */
    struct rlimit files;
    /* Called in the new process, which may change no memory, right before it executes the file: so who is to end it
     * knows of it before it has done anything. The file may still turn out not to be executable. */
    void (*begins)(const struct spawner_exec *exec, pid_t pid);
    uint32_t id; /* the caller's */
};

/* 0 and the pid of a process that runs the file: leader of a group of its own, no signal blocked, nothing open but the
 * three, killed by the kernel when this process ends. Else an errno, and there is no process. The caller is
 * single-threaded, has all signals blocked, and has set no signal to be ignored. */
int spawner_exec(const struct spawner_exec *exec, pid_t *ret_pid);
