/* confine_files.c - the file system as a confined program sees it: to be read, but for what is hidden; to be written
 * where that was said.
 *
 * Landlock knows only what is allowed, and a rule on a directory holds for all below it. So what is hidden is left out
 * by allowing, instead of each directory on the way to it, what is in that one at this moment. These directories
 * themselves can then not be listed, and what is made in them later cannot be opened. */
#include "confine.h"

#include "bytes.h"
#include "cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Newer than the headers of Debian 12. */
#define ACCESS_TRUNCATE (UINT64_C(1) << 14)  /* ABI 3 */
#define ACCESS_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5 */
#define SCOPE_ABSTRACT_UNIX_SOCKET (UINT64_C(1) << 0)
#define SCOPE_SIGNAL (UINT64_C(1) << 1) /* both: ABI 6 */
struct ruleset_attr {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

#define ACCESS_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_OF_FILES                                                                                            \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE | \
     ACCESS_IOCTL_DEV)
#define ACCESS_DEVICES (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK) /* to nobody */

struct ruleset {
    int fd;
    uint64_t handled;
    char **hidden; /* real paths, NULL-terminated */
};

static uint64_t accesses_of(int abi) {
    uint64_t accesses = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* all of ABI 1 */
    if (abi >= 2)
        accesses |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        accesses |= ACCESS_TRUNCATE;
    if (abi >= 5)
        accesses |= ACCESS_IOCTL_DEV;
    return accesses;
}

/* Allows it on what the descriptor is, and below. */
static int allow(const struct ruleset *ruleset, int fd, uint64_t accesses) {
    struct stat about;
    if (fstat(fd, &about) < 0)
        return -errno;
    if (S_ISLNK(about.st_mode))
        return 0; /* what counts is where it leads */
    accesses &= ruleset->handled & (S_ISDIR(about.st_mode) ? ~UINT64_C(0) : ACCESS_OF_FILES);
    struct landlock_path_beneath_attr rule = {.allowed_access = accesses, .parent_fd = fd};
    return syscall(SYS_landlock_add_rule, ruleset->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

/* Is `path` the same as `above`, or below it? Both absolute, without a slash at the end but for the root. */
static bool is_below(const char *path, const char *above) {
    size_t n = strcmp(above, "/") == 0 ? 0 : strlen(above);
    return strncmp(path, above, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static bool hides(const struct ruleset *ruleset, const char *path) {
    for (char **hidden = ruleset->hidden; *hidden; hidden++)
        if (is_below(path, *hidden))
            return true;
    return false;
}

static bool is_on_the_way(const struct ruleset *ruleset, const char *path) {
    for (char **hidden = ruleset->hidden; *hidden; hidden++)
        if (is_below(*hidden, path))
            return true;
    return false;
}

static int allow_reading(const struct ruleset *ruleset, const char *path);

/* Of a directory that may be gone through, but not listed: what is known to be in it. */
static int allow_known_entries(const struct ruleset *ruleset, const char *path) {
    int r = 0;
    for (char **hidden = ruleset->hidden; *hidden && r == 0; hidden++) {
        if (!is_below(*hidden, path))
            continue;
        _cleanup_buf_ struct buf below = {0};
        const char *slash = strchr(*hidden + (path[1] ? strlen(path) : 0) + 1, '/');
        r = buf_add(&below, *hidden, slash ? (size_t)(slash - *hidden) : strlen(*hidden));
        if (r == 0)
            r = buf_add_byte(&below, '\0');
        if (r == 0)
            r = allow_reading(ruleset, below.p);
    }
    return r;
}

static int allow_entries(const struct ruleset *ruleset, const char *path) {
    DIR *directory = opendir(path);
    if (!directory)
        return errno == ENOMEM || errno == EMFILE || errno == ENFILE ? -errno : allow_known_entries(ruleset, path);
    int r = 0;
    struct dirent *entry;
    while (r == 0 && (entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        _cleanup_buf_ struct buf below = {0};
        r = buf_printf(&below, "%s/%s", path[1] ? path : "", entry->d_name);
        if (r == 0)
            r = allow_reading(ruleset, below.p);
    }
    closedir(directory);
    return r;
}

/* The depth is that of what is hidden. */
static int allow_reading(const struct ruleset *ruleset, const char *path) {
    if (hides(ruleset, path))
        return 0;
    if (is_on_the_way(ruleset, path))
        return allow_entries(ruleset, path);
    _cleanup_close_ int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOMEM || errno == EMFILE || errno == ENFILE ? -errno : 0;
    return allow(ruleset, fd, ACCESS_READ);
}

/* What shell scripts take for granted. */
static int allow_devices(const struct ruleset *ruleset) {
    static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full"};
    int r = 0;
    for (size_t i = 0; i < sizeof devices / sizeof devices[0] && r == 0; i++) {
        _cleanup_close_ int fd = open(devices[i], O_PATH | O_CLOEXEC);
        if (fd >= 0)
            r = allow(ruleset, fd, ACCESS_OF_FILES);
    }
    return r;
}

static int allow_writing(const struct ruleset *ruleset, const char *path, struct err *err) {
    _cleanup_close_ int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, -errno, "allow_write: '%.200s': %s", path, err_errno_text(-errno));
    char *real = realpath(path, NULL);
    if (!real)
        return err_set(err, -errno, "allow_write: '%.200s': %s", path, err_errno_text(-errno));
    int r = 0;
    for (char **hidden = ruleset->hidden; *hidden && r == 0; hidden++)
        if (is_below(*hidden, real) || is_below(real, *hidden))
            r = err_set(err, -EINVAL, "allow_write: '%.200s' would show '%.200s', which is hidden", path, *hidden);
    free(real);
    if (r == 0 && (r = allow(ruleset, fd, ruleset->handled & ~(uint64_t)ACCESS_DEVICES)) < 0)
        err_set(err, r, "allow_write: '%.200s': %s", path, err_errno_text(r));
    return r;
}

static int fill(const struct confine *confine, const struct ruleset *ruleset, struct err *err) {
    int r = allow_reading(ruleset, "/");
    if (r == 0)
        r = allow_devices(ruleset);
    if (r < 0)
        return err_set(err, r, "cannot make a view of the file system: %s", err_errno_text(r));
    for (size_t i = 0; i < confine->n_write && r == 0; i++)
        r = allow_writing(ruleset, confine->write[i], err);
    return r;
}

static void free_paths(char **paths) {
    for (char **path = paths; path && *path; path++)
        free(*path);
    mem_free(paths);
}
DEFINE_CLEANUP(char *, free_paths)

/* 1 and its real path; 0: there is nothing to hide, as for what is not there for froe, and for /dev/null, by which
 * people say that there is no such file. */
static int find_hidden(const char *path, char **ret_real) {
    struct stat about;
    char *real = realpath(path, NULL);
    if (!real)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
    if (stat(real, &about) == 0 && S_ISCHR(about.st_mode)) {
        free(real);
        return 0;
    }
    *ret_real = real;
    return 1;
}

int confine_build_ruleset(const struct confine *confine, int landlock_abi, int *ret_fd, struct err *err) {
    _cleanup_(cleanup_free_paths) char **hidden = mem_calloc(confine->n_hide + 1, sizeof *hidden);
    if (!hidden)
        return err_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0, n = 0; i < confine->n_hide; i++) {
        int r = find_hidden(confine->hide[i], &hidden[n]);
        if (r < 0)
            return err_set(err, r, "cannot hide '%.200s': %s", confine->hide[i], err_errno_text(r));
        n += (size_t)r;
    }
    struct ruleset_attr attr = {.handled_access_fs = accesses_of(landlock_abi)};
    if (landlock_abi >= 6)
        attr.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    /* Older kernels take the longer struct as long as what they do not know is zero. */
    _cleanup_close_ int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (fd < 0)
        return err_set(err, -errno, "cannot make a Landlock ruleset: %s", err_errno_text(-errno));
    const struct ruleset ruleset = {.fd = fd, .handled = attr.handled_access_fs, .hidden = hidden};
    int r = fill(confine, &ruleset, err);
    if (r < 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 0;
}
