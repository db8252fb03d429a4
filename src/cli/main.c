/* main.c - the program froe: which command, and what holds for all of them. */
#include "commands.h"
#include "spawner.h"

#include <fcntl.h>
#include <froe.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER 0
#endif

int command_fail(int exit_code, const char *text) {
    fprintf(stderr, "froe: %s\n", text);
    return exit_code;
}

void command_log_init(struct log *log, const struct options *options) {
    bool terminal = isatty(STDERR_FILENO);
    *log = (struct log){
        .level = options->log_level,
        .format = options->log_format_set ? options->log_format
                  : terminal              ? LOG_TEXT
                                          : LOG_JSON,
        .fd = STDERR_FILENO,
        .clock = &clock_system,
    };
    const char *no_colour = getenv("NO_COLOR"); /* no-color.org */
    log->colour = terminal && log->format == LOG_TEXT && !(no_colour && no_colour[0]);
}

static int flushed(void) {
    return fflush(stdout) == 0 ? EXIT_DRAINED : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}

static int help(const struct options *options) {
    enum command_id command = options->help ? options->command : COMMAND_HELP;
    struct err err;
    if (options->action && options->command == COMMAND_HELP && options_command(options->action, &command, &err) < 0)
        return command_fail(EXIT_USAGE, err.text);
    options_help(stdout, command);
    return flushed();
}

/* A peer that closes a connection, or a program that does not read its input, is not froe's end. For commands that only
 * print, a reader that has seen enough is. */
static bool talks(enum command_id command) {
    return command == COMMAND_RUN || command == COMMAND_CHECK || command == COMMAND_DEMO;
}

static int dispatch(const struct options *options) {
    if (options->help || options->command == COMMAND_HELP)
        return help(options);
    switch (options->command) {
    case COMMAND_RUN:
        return command_run(options);
    case COMMAND_STATUS:
        return command_status(options);
    case COMMAND_PARKED:
        return command_parked(options);
    case COMMAND_RUNS:
        return command_runs(options);
    case COMMAND_WORKFLOWS:
        return command_workflows(options);
    case COMMAND_WORKERS:
        return command_workers(options);
    case COMMAND_CHECK:
        return command_check(options);
    case COMMAND_DEMO:
        return command_demo(options);
    case COMMAND_CRON:
        return command_cron(options);
    case COMMAND_CONFIG:
        return command_config(options);
    case COMMAND_VERSION:
        printf("froe %s\n", froe_version());
        return flushed();
    case COMMAND_HELP:
        break;
    }
    return EXIT_INTERNAL;
}

/* Who is started without one of them would give its number to a socket or to the store; libuv does not stand for it. */
static void fill_standard_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            _exit(EXIT_INTERNAL);
}

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    fill_standard_descriptors();
    /* Memory holds secrets: no core dumps, no tracing by others. The leak checker would need to be one. */
    if (!UNDER_SANITIZER)
        prctl(PR_SET_DUMPABLE, 0);
    struct options options;
    struct err err = {0};
    if (options_parse(argc, argv, &options, &err) < 0)
        return command_fail(EXIT_USAGE, err.text);
    if (talks(options.command))
        signal(SIGPIPE, SIG_IGN);
    int r = dispatch(&options);
    options_free(&options);
    return r;
}
