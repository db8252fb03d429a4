/* confine.c - a policy made ready to be applied, and what the kernel has for it. */
#include "confine.h"

#include "cleanup.h"
#include "mem.h"

#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

const int confined_resources[CONFINED_LIMITS] = {
    [CONFINED_DATA] = RLIMIT_DATA,     [CONFINED_FSIZE] = RLIMIT_FSIZE, [CONFINED_CPU] = RLIMIT_CPU,
    [CONFINED_NOFILE] = RLIMIT_NOFILE, [CONFINED_NPROC] = RLIMIT_NPROC, [CONFINED_CORE] = RLIMIT_CORE,
};

/* ---- the kernel ---- */

void confine_look(struct confine_kernel *ret_kernel) {
    const uint32_t action = SECCOMP_RET_ERRNO;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    *ret_kernel = (struct confine_kernel){
        .landlock_abi = abi > 0 && abi < INT32_MAX ? (int)abi : 0,
        .filter = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0,
        .processes = getuid() != 0, /* root is exempt, also without capabilities (fork's is_rlimit_overlimit) */
    };
}

const char *confine_gaps(int landlock_abi) {
    switch (landlock_abi) {
    case 1:
    case 2:
        return "truncating files, device ioctls and signals to other processes are not covered (Linux 6.12 has all)";
    case 3:
    case 4:
        return "device ioctls and signals to other processes are not covered (Linux 6.12 has both)";
    case 5:
        return "signals to other processes are not covered (Linux 6.12 has that)";
    default:
        return "";
    }
}

void confine_renew_cpu(pid_t pid, uint64_t cpu_s) {
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
        return;
    const struct rlimit limit = {(rlim_t)used.tv_sec + (used.tv_nsec > 0) + cpu_s, RLIM_INFINITY};
    prlimit(pid, RLIMIT_CPU, &limit, NULL);
}

/* ---- a policy ---- */

static void set_limits(const struct confine *confine, struct confined *confined) {
    for (int i = 0; i < CONFINED_LIMITS; i++)
        confined->limits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    const uint64_t wanted[CONFINED_LIMITS] = {
        [CONFINED_DATA] = confine->memory_bytes,
        [CONFINED_FSIZE] = confine->file_bytes,
        [CONFINED_CPU] = confine->cpu_s,
        [CONFINED_NOFILE] = confine->files,
        [CONFINED_NPROC] = confine->processes,
        /* Not 0: with that a core_pattern that is a pipe is served all the same; 1 is the kernel's word for "no". */
        [CONFINED_CORE] = confine->level == CONFINE_NO ? 0 : 1,
    };
    for (int i = 0; i < CONFINED_LIMITS; i++)
        if (wanted[i])
            confined->limits[i] = (struct rlimit){wanted[i], wanted[i]};
    if (confine->cpu_s)
        confined->limits[CONFINED_CPU].rlim_max =
            confine->cpu_per_object ? RLIM_INFINITY : confine->cpu_s + CONFINE_CPU_GRACE_S;
}

static int check(const struct confine_kernel *kernel, const struct confine *confine, struct err *err) {
    if (confine->files && confine->files < CONFINE_FILES_LEAST)
        return err_set(err, -EINVAL, "limit_files: no program can start with fewer than %d", CONFINE_FILES_LEAST);
    if (confine->processes && !kernel->processes)
        return err_set(
            err, -EOPNOTSUPP,
            "limit_processes means nothing to the kernel when froe runs as root: run it as a user of its own");
    if (confine->level != CONFINE_STRICT || confine->best_effort)
        return 0;
    if (!kernel->landlock_abi)
        return err_set(err, -EOPNOTSUPP,
                       "confine: this kernel has no Landlock (or a container forbids it), so a program cannot be kept "
                       "from writing and from reading secrets; best-effort goes without");
    if (!kernel->filter)
        return err_set(err, -EOPNOTSUPP,
                       "confine: this kernel has no seccomp (or a container forbids it), so a program cannot be kept "
                       "from the network; best-effort goes without");
    return 0;
}

int confined_new_on(const struct confine_kernel *kernel, const struct confine *confine, struct confined **ret_confined,
                    struct err *err) {
    struct sock_filter filter[CONFINED_FILTER_MAX];
    uint32_t n = 0;
    int r = check(kernel, confine, err);
    if (r < 0)
        return r;
    if (confine->level != CONFINE_NO && kernel->filter) {
        bool strict = confine->level == CONFINE_STRICT;
        r = confine_build_filter(strict, confine->network || !strict, filter, &n);
        if (r < 0)
            return err_set(err, r, "cannot make a filter of system calls: %s", err_errno_text(r));
    }
    _cleanup_close_ int ruleset_fd = -1;
    if (confine->level == CONFINE_STRICT && kernel->landlock_abi) {
        r = confine_build_ruleset(confine, kernel->landlock_abi, &ruleset_fd, err);
        if (r < 0)
            return r;
    }
    struct confined *confined = mem_zalloc(sizeof *confined + n * sizeof filter[0]);
    if (!confined)
        return err_set(err, -ENOMEM, "out of memory");
    confined->level = confine->level;
    set_limits(confine, confined);
    confined->nice = confine->nice;
    confined->no_new_privs = confine->level != CONFINE_NO;
    confined->no_capabilities = confine->level == CONFINE_STRICT;
    confined->ruleset_fd = TAKE_FD(ruleset_fd);
    confined->n_filter = n;
    memcpy(confined->filter, filter, n * sizeof filter[0]);
    *ret_confined = confined;
    return 0;
}

int confined_new(const struct confine *confine, struct confined **ret_confined, struct err *err) {
    struct confine_kernel kernel;
    confine_look(&kernel);
    return confined_new_on(&kernel, confine, ret_confined, err);
}

void confined_free(struct confined *confined) {
    if (!confined)
        return;
    if (confined->ruleset_fd >= 0)
        close(confined->ruleset_fd);
    mem_free(confined);
}
