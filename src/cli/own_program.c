/* own_program.c - see own_program.h. */
#include "own_program.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef FROE_LIBEXEC /* where a distributor has put it */
#define FROE_LIBEXEC NULL
#endif

static bool is_there(const char *folder, const char *name, char ret_path[PATH_MAX]) {
    int length = snprintf(ret_path, PATH_MAX, "%s/%s", folder, name);
    return length > 0 && length < PATH_MAX && access(ret_path, X_OK) == 0;
}

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
        char folder[PATH_MAX];
        int length = snprintf(folder, sizeof folder, "%s/%s", own, folders[i]);
        if (length > 0 && length < PATH_MAX && is_there(folder, name, ret_path))
            return 0;
    }
    const char *given = FROE_LIBEXEC;
    if (given && is_there(given, name, ret_path))
        return 0;
    if (given)
        return err_set(err, -ENOENT, "%s is neither in '%.200s' nor in '%.200s'", name, own, given);
    return err_set(err, -ENOENT, "%s is neither in '%.200s' nor in '../libexec/froe' beside it", name, own);
}
