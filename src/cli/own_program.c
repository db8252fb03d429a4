/* own_program.c - see own_program.h. */
#include "own_program.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int own_program_find(const char *name, const char *build_folder, char ret_path[PATH_MAX], struct err *err) {
    const char *const folders[] = {".", "../libexec/froe", build_folder}; /* from that of froe itself */
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n < 0)
        return err_set(err, -errno, "cannot tell where froe itself is: %s", err_errno_text(-errno));
    own[n] = '\0';
    char *slash = strrchr(own, '/');
    *(slash ? slash : own) = '\0';
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        int length = snprintf(ret_path, PATH_MAX, "%s/%s/%s", own, folders[i], name);
        if (length > 0 && length < PATH_MAX && access(ret_path, X_OK) == 0)
            return 0;
    }
    return err_set(err, -ENOENT, "%s is neither in '%.200s' nor in '../libexec/froe' beside it", name, own);
}
