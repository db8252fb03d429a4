/* confine.h - what is taken from a program before it runs: limits, privileges, the network, the file system.
 *
 * A policy (struct confine) says what is wanted. confined_new makes of it, once per handler and in froe's own process,
 * what the spawner's child only has to apply before its exec: numbers, a system call filter, a Landlock ruleset. What
 * each of these does not cover is in docs/confine.md.
 *
 * Nothing here changes the process that calls it. Thread: any. */
#pragma once

#include "err.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum confine_level {
    CONFINE_NO,     /* limits alone, where there are any */
    CONFINE_BASIC,  /* no new privileges, no core dumps, no system calls that no handler needs: as far as the kernel can
                     */
    CONFINE_STRICT, /* the same, and no network, no writing, no reading of what is hidden, no capabilities */
};

/* All-zero takes nothing. What it points to is borrowed by confined_new alone. */
struct confine {
    enum confine_level level;
    bool best_effort; /* of STRICT: without what the kernel does not have, instead of an error */
    /* Of STRICT: */
    bool network;             /* is left */
    const char *const *write; /* directories below which it may write all the same */
    size_t n_write;
    const char *const *hide; /* files and directories that it cannot open; what is not there is not hidden */
    size_t n_hide;
    /* Limits of each process, whatever the level. 0: those of froe. */
    uint64_t memory_bytes; /* RLIMIT_DATA */
    uint64_t file_bytes;   /* RLIMIT_FSIZE */
    uint64_t cpu_s;        /* RLIMIT_CPU: SIGXCPU, and SIGKILL CONFINE_CPU_GRACE_S later */
    bool cpu_per_object;   /* the process lives long: counted anew by confine_renew_cpu, and SIGXCPU alone */
    uint32_t files;        /* RLIMIT_NOFILE */
    uint32_t processes;    /* RLIMIT_NPROC: of the user, in all */
    uint32_t nice;         /* added to froe's own, 0 to 19 */
};
#define CONFINE_CPU_GRACE_S 5
#define CONFINE_FILES_LEAST 8 /* with less not even the C library can be loaded */

/* What this kernel offers to this process. */
struct confine_kernel {
    int landlock_abi; /* 0: none */
    bool filter;      /* seccomp */
    bool processes;   /* RLIMIT_NPROC means something: not for root */
};
void confine_look(struct confine_kernel *ret_kernel);
/* A Landlock ABI's gaps in what STRICT promises, for a person; "" when there is none. */
const char *confine_gaps(int landlock_abi);

#define CONFINED_FILTER_MAX 1024 /* instructions */
enum { CONFINED_DATA, CONFINED_FSIZE, CONFINED_CPU, CONFINED_NOFILE, CONFINED_NPROC, CONFINED_CORE, CONFINED_LIMITS };
extern const int confined_resources[CONFINED_LIMITS]; /* RLIMIT_... of each */

struct confined {
    enum confine_level level;
    struct rlimit limits[CONFINED_LIMITS]; /* both RLIM_INFINITY: is left alone */
    uint32_t nice;
    bool no_new_privs, no_capabilities;
    int ruleset_fd; /* -1: none */
    uint32_t n_filter;
    struct sock_filter filter[]; /* n_filter; none: no filter */
};

/* -EOPNOTSUPP for what the kernel cannot do; -EINVAL, -ENOENT and the like for a directory; -ENOMEM. With a text. */
int confined_new(const struct confine *confine, struct confined **ret_confined, struct err *err);
/* The same for a kernel that has this and no more: for tests. */
int confined_new_on(const struct confine_kernel *kernel, const struct confine *confine, struct confined **ret_confined,
                    struct err *err);
void confined_free(struct confined *confined); /* NULL is fine */

/* For cpu_per_object: the process may use `cpu_s` seconds from now. Fails silently when it is gone. */
void confine_renew_cpu(pid_t pid, uint64_t cpu_s);

/* confine_filter.c: the filter as instructions, up to CONFINED_FILTER_MAX of them. -E2BIG, -ENOMEM or what libseccomp
 * says. */
int confine_build_filter(bool strict, bool network, struct sock_filter *ret_filter, uint32_t *ret_n);
/* confine_files.c: a ruleset of that ABI. Errors of confined_new. */
int confine_build_ruleset(const struct confine *confine, int landlock_abi, int *ret_fd, struct err *err);
