/* main.c - froe-plugin: a process that froe run --plugin keeps for a plugin.
 *
 *     froe-plugin FILE [ARG...]           serves as a worker of a pool, see docs/pool.md
 *     froe-plugin --check FILE [ARG...]   loads it, lets it begin and end
 *
 * It leaves by _exit: what a plugin's libraries have for the end of a process has nothing more to say to froe. */
#include "host.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static _Noreturn void leave(int code) {
    fflush(NULL);
    _exit(code);
}

static _Noreturn void fail(const struct err *err) {
    fprintf(stderr, "%s\n", err->text);
    leave(1);
}

/* Requests and answers go by descriptors that a plugin does not know. */
static void take_descriptors(int *ret_input, int *ret_output) {
    *ret_input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    *ret_output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (*ret_input < 0 || *ret_output < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        struct err err;
        err_set(&err, -errno, "cannot set up standard input and output: %s", err_errno_text(-errno));
        fail(&err);
    }
    close(null);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

int main(int argc, char **argv) {
    bool check = argc > 1 && strcmp(argv[1], "--check") == 0;
    int first = check ? 2 : 1, input, output;
    if (argc <= first || (!check && argv[1][0] == '-')) {
        fputs("usage: froe-plugin [--check] FILE [ARG...]; it is started by froe run --plugin\n", stderr);
        return 2;
    }
    struct err err = {0};
    struct plugin plugin;
    take_descriptors(&input, &output);
    if (plugin_load(argv[first], &plugin, &err) < 0 ||
        plugin_begin(&plugin, argc - first - 1, argv + first + 1, &err) < 0)
        fail(&err);
    if (!check && plugin_serve(&plugin, input, output, &err) < 0)
        fail(&err);
    plugin_end(&plugin);
    leave(0);
}
