/* plugin_program.c - see plugin_program.h. */
#include "plugin_program.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* From the folder of froe itself. */
static const char *const places[] = {"froe-plugin", "../libexec/froe/froe-plugin", "../plugin/froe-plugin"};

int plugin_program_find(char ret_path[PATH_MAX], struct err *err) {
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n < 0)
        return err_set(err, -errno, "cannot tell where froe itself is: %s", err_errno_text(-errno));
    own[n] = '\0';
    char *slash = strrchr(own, '/');
    *(slash ? slash : own) = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int length = snprintf(ret_path, PATH_MAX, "%s/%s", own, places[i]);
        if (length > 0 && length < PATH_MAX && access(ret_path, X_OK) == 0)
            return 0;
    }
    return err_set(err, -ENOENT, "a plugin needs froe-plugin, which is neither in '%.200s' nor in '../libexec/froe'",
                   own);
}
