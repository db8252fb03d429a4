/* plugin.c - a pool of froe-plugin's processes, after one of them has shown that the plugin works. */
#include "handler.h"

#include "cleanup.h"
#include "clock.h"
#include "program_end.h"
#include "program_env.h"
#include "spawner.h"
#include "text.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define CHECK "--check"

/* { host, CHECK, file, the plugin's arguments, NULL }; without CHECK it begins one later. */
static int make_argv(const char *host, const char *file, const char *const *given, const char ***ret_argv) {
    size_t n = 0;
    while (given[n])
        n++;
    const char **argv = mem_calloc(n + 3, sizeof *argv);
    if (!argv)
        return -ENOMEM;
    argv[0] = host;
    argv[1] = CHECK;
    argv[2] = file;
    for (size_t i = 1; i < n; i++)
        argv[2 + i] = given[i];
    *ret_argv = argv;
    return 0;
}

/* What it wrote to its stderr, and how it ended. */
static int explain(const struct spawn_exit *exit, const char *host, int said_fd, struct err *err) {
    char piece[HANDLER_STDERR_MAX];
    struct stderr_tail tail = {0};
    _cleanup_buf_ struct buf text = {.max = HANDLER_TEXT_MAX};
    ssize_t n = pread(said_fd, piece, sizeof piece, 0);
    if (n > 0)
        stderr_tail_add(&tail, bytes_of(piece, (size_t)n));
    bool in_its_words = exit->start_error == 0 && WIFEXITED(exit->status) && tail.total > 0;
    int r = in_its_words ? stderr_tail_text(&tail, &text) : program_end_text(exit, host, &tail, &text);
    stderr_tail_free(&tail);
    if (r < 0)
        return err_set(err, r, "out of memory");
    return err_set(err, -EINVAL, "%s%s", in_its_words ? "" : "the plugin cannot begin: ", text.p);
}

static int run_check(const char *const *argv, const struct confine *policy, struct program_env *env, struct err *err) {
    const char *const *envp;
    int r = program_env_build(env, NULL, &envp);
    if (r < 0)
        return err_set(err, r, "out of memory");
    _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    _cleanup_close_ int said = memfd_create("froe-plugin", MFD_CLOEXEC); /* holds what nobody reads meanwhile */
    if (null < 0 || said < 0)
        return err_set(err, -errno, "cannot try the plugin: %s", err_errno_text(-errno));
    struct confined *confined = NULL;
    r = policy ? confined_new(policy, &confined, err) : 0;
    if (r < 0)
        return r;
    const struct spawn_request request = {.file = argv[0],
                                          .argv = argv,
                                          .envp = envp,
                                          .stdin_fd = null,
                                          .stdout_fd = null,
                                          .stderr_fd = said,
                                          .guard_fd = -1,
                                          .confined = confined};
    struct spawn_exit exit;
    r = spawner_try(&request, HANDLER_PLUGIN_BEGIN_S * US_PER_S, &exit, err);
    confined_free(confined);
    if (r == -ETIMEDOUT)
        return err_set(err, -EINVAL, "the plugin does not begin within %d seconds", HANDLER_PLUGIN_BEGIN_S);
    if (r == 0 && (exit.start_error || !WIFEXITED(exit.status) || WEXITSTATUS(exit.status) != 0))
        r = explain(&exit, argv[0], said, err);
    return r;
}

static int check(const char *const *argv, const struct confine *policy, struct err *err) {
    struct program_env env;
    if (program_env_init(&env) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    int r = run_check(argv, policy, &env, err);
    program_env_free(&env);
    return r;
}

static int make_pool(uv_loop_t *loop, const char **argv, const char *given, const struct handler_pool_options *pool,
                     struct handler **ret_handler, struct err *err) {
    struct handler_pool_options options = *pool;
    _cleanup_buf_ struct buf description = {0};
    int r = buf_add_str(&description, "plugin ");
    if (r == 0)
        r = text_add_printable(&description, bytes_str(given));
    if (r < 0)
        return err_set(err, r, "out of memory");
    argv[1] = argv[0]; /* without CHECK */
    options.argv = argv + 1;
    options.body = HANDLER_POOL_INLINE;
    options.description = description.p;
    return handler_pool_new(loop, &options, ret_handler, err);
}

int handler_plugin_new(uv_loop_t *loop, const char *host, const struct handler_pool_options *pool,
                       struct handler **ret_handler, struct err *err) {
    const char *given = pool->argv[0];
    char *file = realpath(given, NULL); /* a name without a slash is no library's to be looked for */
    if (!file)
        return err_set(err, -errno, "cannot load the plugin '%.300s': %s", given, err_errno_text(-errno));
    _cleanup_free_ const char **argv = NULL;
    int r = make_argv(host, file, pool->argv, &argv);
    if (r < 0)
        err_set(err, r, "out of memory");
    if (r == 0)
        r = check(argv, pool->confine, err);
    if (r == 0)
        r = make_pool(loop, argv, given, pool, ret_handler, err);
    free(file);
    return r;
}
