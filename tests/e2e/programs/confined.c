/* confined.c - a plugin that tries what it may not, and fails with what came of it: ARG 0 is a file to write. */
#include <froe_plugin.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

static int begin(const froe_plugin_host *host, int argc, char **argv, void **state, char *reason, size_t reason_n) {
    *state = argv[0];
    return argc == 1 ? 0 : -1;
}

static const char *result(int fd) {
    const char *said = fd < 0 ? strerror(errno) : "done";
    if (fd >= 0)
        close(fd);
    return said;
}

static const char *opened(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    const char *said = file ? "done" : strerror(errno);
    if (file)
        fclose(file);
    return said;
}

static int process(void *state, const froe_plugin_host *host, froe_plugin_call *call,
                   const froe_plugin_object *object) {
    char text[512], credentials[300];
    const char *network = result(socket(AF_INET, SOCK_STREAM, 0)), *writing = opened(state, "w");
    int secrets = 0;
    for (char **variable = environ; *variable; variable++)
        secrets += strncmp(*variable, "AWS_", 4) == 0;
    struct rlimit core, files;
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_NOFILE, &files);
    snprintf(credentials, sizeof credentials, "%s/.aws/credentials", getenv("HOME"));
    snprintf(text, sizeof text, "network: %s; writing: %s; credentials: %s; secrets: %d; core dumps: %s; files: %lu",
             network, writing, opened(credentials, "r"), secrets,
             /* a sanitizer has 0 */ core.rlim_cur > 1 ? "done" : "none", (unsigned long)files.rlim_cur);
    host->reason(call, text);
    return FROE_PLUGIN_FAIL;
}

const froe_plugin froe_plugin_table = {.size = sizeof(froe_plugin),
                                       .version = FROE_PLUGIN_VERSION,
                                       .name = "confined",
                                       .begin = begin,
                                       .process = process};
