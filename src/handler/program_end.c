/* program_end.c - exit codes and words for them. */
#include "program_end.h"

#include "text.h"

#include <signal.h>
#include <sys/wait.h>
#include <sysexits.h>

enum handler_end program_end(const struct spawn_exit *exit) {
    if (exit->start_error && exit->confining)
        return HANDLER_FAILED; /* it would be no better the next time */
    switch (exit->start_error) {
    case 0:
        break;
    case EPIPE: /* the spawner's death, not the program's fault */
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ETXTBSY: /* it is being replaced right now */
        return HANDLER_NOT_RUN;
    default:
        return HANDLER_FAILED;
    }
    if (exit->stalled)
        return HANDLER_NOT_RUN;
    if (WIFEXITED(exit->status) && WEXITSTATUS(exit->status) == 0)
        return HANDLER_OK;
    if (WIFEXITED(exit->status) && WEXITSTATUS(exit->status) == EX_TEMPFAIL)
        return HANDLER_AGAIN;
    return HANDLER_FAILED;
}

static int start_error_text(const struct spawn_exit *exit, const char *file, struct buf *text) {
    int error = exit->start_error;
    if (error == EPIPE)
        return buf_add_str(text, "the process that starts programs died");
    int r = buf_add_str(text, exit->confining ? "cannot confine '" : "cannot run '");
    if (r == 0)
        r = text_add_printable(text, bytes_str(file));
    if (r == 0)
        r = buf_printf(text, "': %s", err_errno_text(-error));
    if (exit->confining)
        return r;
    if (r == 0 && error == ENOEXEC)
        r = buf_add_str(text, " (is its first line, #!, missing?)");
    if (r == 0 && error == ENOENT)
        r = buf_add_str(text, " (it, or the interpreter that it names)");
    return r;
}

/* Of signals by which the kernel enforces a limit. */
static const char *limit_of(int signal) {
    return signal == SIGXCPU   ? ": it used more CPU time than limit_cpu allows"
           : signal == SIGXFSZ ? ": it made a file larger than limit_file_size allows"
                               : "";
}

static int status_text(int status, struct buf *text) {
    if (WIFEXITED(status))
        return buf_printf(text, "exit status %d", WEXITSTATUS(status));
    const char *name = sigabbrev_np(WTERMSIG(status));
    return name ? buf_printf(text, "killed by signal %d (SIG%s)%s", WTERMSIG(status), name, limit_of(WTERMSIG(status)))
                : buf_printf(text, "killed by signal %d", WTERMSIG(status));
}

int program_end_text(const struct spawn_exit *exit, const char *file, const struct stderr_tail *tail,
                     struct buf *text) {
    int r = exit->start_error ? start_error_text(exit, file, text)
            : exit->stalled   ? buf_add_str(text, "killed, because froe itself stood still for too long")
                              : status_text(exit->status, text);
    if (r == 0 && tail->total)
        r = buf_add_str(text, ": ");
    return r < 0 ? r : stderr_tail_text(tail, text);
}
