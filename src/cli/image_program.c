/* image_program.c - see image_program.h. */
#include "image_program.h"

#include "bytes.h"
#include "cleanup.h"
#include "own_program.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

int image_program_find(char path[PATH_MAX], struct err *err) {
    struct err why = {0};
    int r = own_program_find("froe-image", "../image", path, &why);
    if (r == -ENOENT)
        return err_set(err, r, "images need froe-image, a part of builds with libvips (libvips-dev): %s", why.text);
    return r < 0 ? err_set(err, r, "%s", why.text) : 0;
}

static void read_words(int fd, struct buf *words) {
    char piece[512];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && words->n < ERR_TEXT_MAX)
            (void)buf_add(words, piece, (size_t)n);
}

static int start(const char *path, const char *spec, int stderr_fd, pid_t *ret_pid) {
    char *argv[] = {(char *)(uintptr_t)path, (char *)(uintptr_t) "--check", (char *)(uintptr_t)spec, NULL};
    char *envp[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL}; /* and no secrets */
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, stderr_fd, STDERR_FILENO);
        r = posix_spawn(ret_pid, path, &actions, NULL, argv, envp);
        posix_spawn_file_actions_destroy(&actions);
    }
    return -r;
}

int image_program_check(const char *path, const char *spec, struct err *err) {
    _cleanup_buf_ struct buf words = {0};
    int fds[2], status = 0;
    pid_t pid, ended;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_set(err, -errno, "cannot ask froe-image: %s", err_errno_text(-errno));
    int r = start(path, spec, fds[1], &pid);
    close(fds[1]);
    if (r == 0)
        read_words(fds[0], &words);
    close(fds[0]);
    if (r < 0)
        return err_set(err, r, "cannot start '%.200s': %s", path, err_errno_text(r));
    do
        ended = waitpid(pid, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    struct bytes said = bytes_trim(buf_bytes(&words)), own = BYTES("froe-image: ");
    if (bytes_starts(said, own))
        said = bytes_of(said.p + own.n, said.n - own.n);
    return err_set(err, -EINVAL, "froe-image: %.*s", (int)said.n, said.n ? said.p : "it ended without a word");
}
