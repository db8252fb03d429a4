/* confine_filter.c - which system calls a confined program has not got.
 *
 * A list of what is refused and not of what is allowed: handlers are any program, and a C library that is newer than
 * froe must not break. A call is answered with an error, never with a signal, so that a program that merely tries
 * (libraries do) goes on without. libseccomp knows the numbers; those of 32-bit code too, which runs and is filtered
 * like the rest. Calls of yet other kinds (x32), by which all of this could be gone around, are refused as a whole. */
#include "confine.h"

#include "bytes.h"
#include "cleanup.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* Of every level: what changes the machine, looks into other processes, or is a kernel interface for administrators. */
static const int refused[] = {
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(process_madvise),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(kcmp),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(bpf),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(mount),
    SCMP_SYS(umount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(move_mount),
    SCMP_SYS(open_tree),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount),
    SCMP_SYS(fspick),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(quotactl),
    SCMP_SYS(quotactl_fd),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(acct),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(reboot),
    SCMP_SYS(syslog),
    SCMP_SYS(vhangup),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(settimeofday),
    SCMP_SYS(stime),
    SCMP_SYS(clock_settime),
    SCMP_SYS(clock_settime64),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(lookup_dcookie),
    SCMP_SYS(nfsservctl),
};

/* Of STRICT alone, as programs that contain others (browsers, container tools) do use them. */
static const int refused_strictly[] = {SCMP_SYS(setns), SCMP_SYS(unshare), SCMP_SYS(chroot)};

#define NEW_NAMESPACES \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static int add(scmp_filter_ctx filter, int error, int number) {
    int r = seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)error), number, 0);
    return r == -EDOM ? 0 : r; /* this architecture has no such call */
}

/* Typing into froe's terminal, where it is its standard output. */
static int refuse_ioctl(scmp_filter_ctx filter, unsigned long request) {
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                            SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, request));
}

/* Each flag by itself: a comparison is of all bits under a mask. */
static int refuse_namespaces(scmp_filter_ctx filter) {
    int r = 0;
    for (unsigned bit = 0; bit < 32 && r == 0; bit++) {
        uint64_t flag = (uint64_t)1 << bit;
        if (flag & (uint32_t)NEW_NAMESPACES)
            r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                 SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
    }
    /* Its flags are out of a filter's sight; the C library then uses clone. */
    return r == 0 ? add(filter, ENOSYS, SCMP_SYS(clone3)) : r;
}

static int add_architectures(scmp_filter_ctx filter) {
#if defined(__x86_64__)
    return seccomp_arch_add(filter, SCMP_ARCH_X86);
#elif defined(__aarch64__)
    return seccomp_arch_add(filter, SCMP_ARCH_ARM);
#else
    return 0;
#endif
}

static int add_rules(scmp_filter_ctx filter, bool strict, bool network) {
    int r = 0;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0] && r == 0; i++)
        r = add(filter, EPERM, refused[i]);
    if (r == 0)
        r = refuse_ioctl(filter, TIOCSTI);
    if (r == 0)
        r = refuse_ioctl(filter, TIOCLINUX);
    for (size_t i = 0; strict && i < sizeof refused_strictly / sizeof refused_strictly[0] && r == 0; i++)
        r = add(filter, EPERM, refused_strictly[i]);
    if (r == 0 && strict)
        r = refuse_namespaces(filter);
    /* It opens sockets, and more to come, without the calls that are refused here. Libraries do without. */
    if (r == 0 && strict)
        r = add(filter, ENOSYS, SCMP_SYS(io_uring_setup));
    /* All families: by a Unix socket others can be asked to connect. socketpair stays. */
    if (r == 0 && !network)
        r = add(filter, EACCES, SCMP_SYS(socket));
    return r;
}

/* libseccomp 2.5 exports to a descriptor alone. */
static int export(scmp_filter_ctx filter, struct sock_filter *ret_filter, uint32_t *ret_n) {
    _cleanup_close_ int fd = memfd_create("froe-filter", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = seccomp_export_bpf(filter, fd);
    if (r < 0)
        return r;
    off_t n = lseek(fd, 0, SEEK_END);
    if (n < 0)
        return -errno;
    if ((size_t)n > CONFINED_FILTER_MAX * sizeof *ret_filter)
        return -E2BIG;
    if (pread(fd, ret_filter, (size_t)n, 0) != n)
        return -EIO;
    *ret_n = (uint32_t)((size_t)n / sizeof *ret_filter);
    return 0;
}

int confine_build_filter(bool strict, bool network, struct sock_filter *ret_filter, uint32_t *ret_n) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return -ENOMEM;
    int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary search */
    if (r == 0)
        r = add_architectures(filter);
    if (r == 0)
        r = add_rules(filter, strict, network);
    if (r == 0)
        r = export(filter, ret_filter, ret_n);
    seccomp_release(filter);
    return r;
}
