/* program.c - the handler that runs a program per object.
 *
 * A job is some descriptors and a process: the body goes down one pipe without ever blocking, stderr comes back on
 * another and, where results are kept, stdout on a third; the spawner tells the end. The program's input is closed in
 * handler_finish and nowhere else while it lives: an end of file must mean that the body was whole. So an aborted job's
 * input stays open until the program is dead, and the spawner holds a copy of it in case froe itself is killed. */
#include "handler.h"

#include "cleanup.h"
#include "later.h"
#include "program_command.h"
#include "program_end.h"
#include "program_env.h"
#include "program_output.h"
#include "spawner.h"
#include "stderr_tail.h"

#include <fcntl.h>
#include <signal.h>

/* So much is gathered before the pipe is written to, as each write wakes the program, and at this much that the pipe
 * did not take the caller is paused: enough to keep a program busy, and as a buffer doubles when it grows, well inside
 * what the header promises. */
#define PAUSE_BYTES (128 * 1024)
_Static_assert(PAUSE_BYTES * 2 <= HANDLER_BUFFER_MAX, "the promise of HANDLER_BUFFER_MAX");

/* Through a pipe that holds more a large body goes with fewer turns between froe and the program. There is a limit on
 * what the pipes of a user may hold together, and one that is over it gets tiny ones; so only a few times the usual. */
#define LARGE_BYTES (1024 * 1024)
#define LARGE_PIPE_BYTES (256 * 1024)

#define SCRATCH_BYTES (64 * 1024)
#define LAST_READS 16 /* of SCRATCH_BYTES: what the largest pipe an unprivileged user can make may hold */
#define REASON_MAX 512

struct program {
    struct handler handler;
    uv_loop_t *loop;
    struct spawner *spawner;
    struct later later;
    struct program_command command;
    struct program_env env;
    struct confined *confined; /* NULL: nothing is taken from it */
    int stdout_fd;
    bool stdout_is_ours;
    const struct handler_results *results; /* NULL: stdout_fd is where it writes to */
    uint64_t kill_grace_ms;
    size_t n_jobs; /* in memory */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    char scratch[SCRATCH_BYTES];
};

struct program_job {
    struct handler_job job;
    struct handler_events events;
    void *arg;
    struct later_item later;
    struct spawned *spawned; /* NULL: dead */
    struct spawn_exit exit;  /* valid when dead */

    uv_poll_t input_poll, stdout_poll, stderr_poll;
    uv_timer_t grace;
    int input_fd, stdout_fd, stderr_fd; /* -1: closed */
    unsigned handles;                   /* not yet closed */

    struct buf waiting; /* what the pipe had no room for; the first `sent` bytes of it are gone */
    size_t sent;
    struct program_output output; /* only with results */
    struct stderr_tail tail;
    char *reason;     /* of the abort */
    struct err fault; /* code 0: none. Else why froe killed it */

    bool finished, aborted;
    bool blocked; /* the pipe is full, and watched for room */
    bool owes_room;
    bool early_due, early_said;
};

static struct program *program_of(struct program_job *job) {
    return (struct program *)job->job.handler;
}

/* ---- memory ---- */

static void free_program(struct program *program) {
    if (program->stdout_is_ours)
        close(program->stdout_fd);
    program_env_free(&program->env);
    program_command_free(&program->command);
    confined_free(program->confined);
    mem_free(program);
}
DEFINE_CLEANUP(struct program, free_program)

static void on_later_closed(void *arg) {
    struct program *program = arg;
    void (*closed)(void *arg) = program->closed;
    void *closed_arg = program->closed_arg;
    free_program(program);
    closed(closed_arg);
}

static void close_when_empty(struct program *program) {
    if (program->closing && program->n_jobs == 0)
        later_close(&program->later, on_later_closed, program);
}

static void free_job(struct program_job *job) {
    struct program *program = program_of(job);
    buf_free(&job->waiting);
    stderr_tail_free(&job->tail);
    mem_free(job->reason);
    mem_free(job);
    program->n_jobs--;
    close_when_empty(program);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct program_job *job = handle->data;
    if (--job->handles == 0)
        free_job(job);
}

static void close_fd(uv_poll_t *poll, int *fd) {
    if (*fd < 0)
        return;
    uv_poll_stop(poll);
    uv_close((uv_handle_t *)poll, on_handle_closed);
    close(TAKE_FD(*fd));
}

static void let_go(struct program_job *job) {
    close_fd(&job->input_poll, &job->input_fd);
    close_fd(&job->stdout_poll, &job->stdout_fd);
    close_fd(&job->stderr_poll, &job->stderr_fd);
    if (program_of(job)->results)
        program_output_free(&job->output);
    uv_close((uv_handle_t *)&job->grace, on_handle_closed);
}

/* ---- telling the caller ---- */

static enum handler_end end_of(const struct program_job *job) {
    if (job->aborted)
        return HANDLER_ABORTED;
    switch (job->fault.code) {
    case 0:
        return program_end(&job->exit);
    case -ENOMEM: /* of the machine, not of the object */
    case -EMFILE:
    case -ENFILE:
        return HANDLER_NOT_RUN;
    default:
        return HANDLER_FAILED;
    }
}

static int add_result_text(struct program_job *job, struct buf *text) {
    if (job->fault.code == 0 && !job->aborted)
        return program_end_text(&job->exit, program_of(job)->command.file, &job->tail, text);
    int r = buf_add_str(text, !job->aborted ? job->fault.text : job->reason ? job->reason : "aborted");
    if (r == 0 && job->tail.total)
        r = buf_add_str(text, ": ");
    return r < 0 ? r : stderr_tail_text(&job->tail, text);
}

static void end(struct program_job *job) {
    struct handler_result result = {.end = end_of(job), .text = ""};
    const struct handler_part part = {.body = &job->output.spool};
    _cleanup_buf_ struct buf text = {.max = HANDLER_TEXT_MAX};
    if (result.end != HANDLER_OK) {
        result.text =
            add_result_text(job, &text) < 0 ? "failed, and its reason could not be kept: out of memory" : text.p;
    } else if (program_of(job)->results) {
        result.parts = &part;
        result.n_parts = 1;
    }
    later_cancel(&job->later);
    job->events.done(job->arg, &result);
    let_go(job);
}

/* The program is dead. A success waits for the caller's word on the body; all else is final. */
static void settle(struct program_job *job) {
    bool held = !job->finished && end_of(job) == HANDLER_OK;
    if (!held)
        end(job);
}

static void say_early(struct program_job *job) {
    job->early_due = false;
    if (job->early_said || job->finished || job->aborted)
        return;
    job->early_said = true;
    if (job->owes_room) {
        job->owes_room = false;
        job->events.room(job->arg);
    }
    if (job->events.early && !job->finished && !job->aborted)
        job->events.early(job->arg, !job->spawned);
}

static void push(struct program_job *job);

static void on_turn(struct later_item *item) {
    struct program_job *job = LIST_ENTRY(item, struct program_job, later);
    if (job->early_due)
        say_early(job);
    if (!job->spawned)
        settle(job);
    else if (job->input_fd >= 0 && !job->blocked && job->waiting.n)
        push(job);
}

/* ---- input ---- */

static void drop_waiting(struct program_job *job) {
    buf_free(&job->waiting);
    job->sent = 0;
}

/* The program closed its end. It need not read what it does not want. */
static void on_unwanted(struct program_job *job) {
    drop_waiting(job);
    close_fd(&job->input_poll, &job->input_fd);
    job->early_due = true;
    later_add(&program_of(job)->later, &job->later);
}

static void end_input(struct program_job *job) {
    close_fd(&job->input_poll, &job->input_fd);
    if (job->spawned)
        spawner_release(job->spawned);
}

/* Writes what the pipe takes now. 0 with the rest left in *data, or an error other than -EAGAIN. */
static int write_some(int fd, struct bytes *data) {
    while (data->n) {
        ssize_t n = write(fd, data->p, data->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        *data = bytes_of(data->p + n, data->n - (size_t)n);
    }
    return 0;
}

/* It cannot go on, and is killed; job->fault says why. */
static void cut_off(struct program_job *job) {
    drop_waiting(job);
    if (job->input_fd >= 0)
        uv_poll_stop(&job->input_poll); /* open all the same: see the top */
    close_fd(&job->stdout_poll, &job->stdout_fd);
    if (job->spawned)
        spawner_kill(job->spawned, SIGKILL);
}

static void on_input_room(uv_poll_t *poll, int status, int events);

/* Writes what waits, as far as the pipe takes it now. It may turn out that the program closed its end. */
static void push(struct program_job *job) {
    struct bytes rest = bytes_of(job->waiting.p + job->sent, job->waiting.n - job->sent);
    if (write_some(job->input_fd, &rest) < 0) {
        on_unwanted(job);
        return;
    }
    job->sent = job->waiting.n - rest.n;
    if (rest.n && !job->blocked && uv_poll_start(&job->input_poll, UV_WRITABLE, on_input_room) < 0) {
        err_set(&job->fault, -ENOMEM, "the program's input cannot be watched");
        cut_off(job);
        return;
    }
    if (rest.n == 0 && job->blocked)
        uv_poll_stop(&job->input_poll);
    job->blocked = rest.n > 0;
    if (job->blocked)
        return;
    buf_reset(&job->waiting);
    job->sent = 0;
    if (job->finished)
        end_input(job);
}

static void on_input_room(uv_poll_t *poll, int status, int events) {
    struct program_job *job = poll->data;
    if (status < 0) {
        on_unwanted(job);
        return;
    }
    push(job);
    if (!job->blocked && job->input_fd >= 0 && job->owes_room) {
        job->owes_room = false;
        job->events.room(job->arg);
    }
}

static int keep(struct program_job *job, struct bytes piece) {
    if (job->sent) {
        buf_consume(&job->waiting, job->sent);
        job->sent = 0;
    }
    return buf_add_bytes(&job->waiting, piece);
}

static bool program_write(struct handler_job *handler_job, struct bytes piece) {
    struct program_job *job = (struct program_job *)handler_job;
    if (job->input_fd < 0 || job->aborted || job->fault.code)
        return true;
    if (keep(job, piece) < 0) {
        err_set(&job->fault, -ENOMEM, "out of memory while feeding the program");
        cut_off(job);
        return true;
    }
    if (!job->blocked && job->waiting.n >= PAUSE_BYTES)
        push(job);
    else if (!job->blocked)
        later_add(&program_of(job)->later, &job->later);
    job->owes_room = job->waiting.n - job->sent >= PAUSE_BYTES;
    return !job->owes_room;
}

static void program_finish(struct handler_job *handler_job) {
    struct program_job *job = (struct program_job *)handler_job;
    if (job->finished || job->aborted)
        return;
    job->finished = true;
    job->owes_room = false;
    if (!job->spawned)
        later_add(&program_of(job)->later, &job->later);
    else if (job->input_fd >= 0 && !job->blocked && !job->fault.code)
        push(job);
}

/* ---- stdout and stderr ---- */

static void on_stdout(uv_poll_t *poll, int status, int events) {
    struct program_job *job = poll->data;
    struct err err = {0};
    int r = program_output_read(&job->output, job->stdout_fd, program_of(job)->scratch, SCRATCH_BYTES, &err);
    if (r == 0)
        close_fd(&job->stdout_poll, &job->stdout_fd);
    if (r >= 0 || r == -EAGAIN)
        return;
    job->fault = err;
    cut_off(job);
}

static void read_last_stdout(struct program_job *job) {
    if (job->stdout_fd >= 0 && end_of(job) == HANDLER_OK)
        program_output_read_rest(&job->output, job->stdout_fd, program_of(job)->scratch, SCRATCH_BYTES, &job->fault);
    close_fd(&job->stdout_poll, &job->stdout_fd);
}

static void on_stderr(uv_poll_t *poll, int status, int events) {
    struct program_job *job = poll->data;
    struct program *program = program_of(job);
    /* One read a turn: a program that never stops writing gets no more of the loop than others. */
    ssize_t n = read(job->stderr_fd, program->scratch, sizeof program->scratch);
    if (n > 0)
        stderr_tail_add(&job->tail, bytes_of(program->scratch, (size_t)n));
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_fd(&job->stderr_poll, &job->stderr_fd);
}

/* Everything in its group is dead: what they wrote is in the pipe. Somebody who left the group may still hold the other
 * end, so neither the end of file nor the last byte is waited for. */
static void read_last_stderr(struct program_job *job) {
    for (int i = 0; i < LAST_READS && job->stderr_fd >= 0; i++) {
        ssize_t n = read(job->stderr_fd, program_of(job)->scratch, SCRATCH_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        stderr_tail_add(&job->tail, bytes_of(program_of(job)->scratch, (size_t)n));
    }
}

/* ---- the process ---- */

static void on_exited(void *arg, const struct spawn_exit *exit) {
    struct program_job *job = arg;
    job->spawned = NULL;
    job->exit = *exit;
    uv_timer_stop(&job->grace);
    drop_waiting(job);
    close_fd(&job->input_poll, &job->input_fd);
    read_last_stdout(job);
    read_last_stderr(job);
    close_fd(&job->stderr_poll, &job->stderr_fd);
    if (end_of(job) == HANDLER_OK)
        say_early(job);
    settle(job);
}

static void on_grace_over(uv_timer_t *timer) {
    struct program_job *job = timer->data;
    if (job->spawned)
        spawner_kill(job->spawned, SIGKILL);
}

static void program_abort(struct handler_job *handler_job, const char *reason) {
    struct program_job *job = (struct program_job *)handler_job;
    struct program *program = program_of(job);
    if (job->aborted)
        return;
    job->aborted = true;
    job->owes_room = false;
    job->reason = mem_memdup(reason, strnlen(reason, REASON_MAX));
    drop_waiting(job);
    if (!job->spawned) {
        later_add(&program->later, &job->later);
        return;
    }
    if (job->input_fd >= 0)
        uv_poll_stop(&job->input_poll); /* open all the same: see the top */
    if (program->kill_grace_ms == 0) {
        spawner_kill(job->spawned, SIGKILL);
        return;
    }
    spawner_kill(job->spawned, SIGTERM);
    uv_timer_start(&job->grace, on_grace_over, program->kill_grace_ms, 0);
}

/* Makes a pipe and watches froe's end of it; the other is *ret_theirs. */
static int open_pipe(struct program_job *job, uv_poll_t *poll, bool we_write, int *ret_ours, int *ret_theirs) {
    uv_file fds[2];
    int r = uv_pipe(fds, we_write ? 0 : UV_NONBLOCK_PIPE, we_write ? UV_NONBLOCK_PIPE : 0);
    if (r < 0)
        return r;
    _cleanup_close_ int ours = fds[we_write ? 1 : 0];
    _cleanup_close_ int theirs = fds[we_write ? 0 : 1];
    r = uv_poll_init(program_of(job)->loop, poll, ours);
    if (r < 0)
        return r;
    poll->data = job;
    job->handles++;
    *ret_ours = TAKE_FD(ours);
    *ret_theirs = TAKE_FD(theirs);
    return 0;
}

static int launch(struct program_job *job, const char *const *envp, uint64_t size) {
    struct program *program = program_of(job);
    _cleanup_close_ int their_input = -1;
    _cleanup_close_ int their_stdout = -1;
    _cleanup_close_ int their_stderr = -1;
    int r = open_pipe(job, &job->input_poll, true, &job->input_fd, &their_input);
    if (r == 0 && size >= LARGE_BYTES)
        fcntl(job->input_fd, F_SETPIPE_SZ, LARGE_PIPE_BYTES); /* when it may not, the usual one does */
    if (r == 0 && program->results)
        r = open_pipe(job, &job->stdout_poll, false, &job->stdout_fd, &their_stdout);
    if (r == 0 && program->results)
        r = uv_poll_start(&job->stdout_poll, UV_READABLE, on_stdout);
    if (r == 0)
        r = open_pipe(job, &job->stderr_poll, false, &job->stderr_fd, &their_stderr);
    if (r == 0)
        r = uv_poll_start(&job->stderr_poll, UV_READABLE, on_stderr);
    if (r < 0)
        return r;
    struct spawn_request request = {
        .file = program->command.file,
        .argv = (const char *const *)program->command.argv,
        .envp = envp,
        .stdin_fd = their_input,
        .stdout_fd = program->results ? their_stdout : program->stdout_fd,
        .stderr_fd = their_stderr,
        .guard_fd = job->input_fd,
        .confined = program->confined,
    };
    return spawner_start(program->spawner, &request, on_exited, job, &job->spawned);
}

static int start_failed(int r, struct err *err) {
    switch (r) {
    case -EMFILE:
    case -ENFILE:
    case -EAGAIN:
        return err_set(err, -EAGAIN, "cannot start the program now: out of processes or descriptors");
    case -ENOMEM:
        return err_set(err, r, "cannot start the program: out of memory");
    case -E2BIG:
        return err_set(err, r, "cannot start the program: its arguments and the object's metadata are over %d KiB",
                       SPAWNER_STRINGS_MAX / 1024);
    case -EPIPE:
        return err_set(err, r, "cannot start the program: the process that starts programs died");
    default:
        return err_set(err, r, "cannot start the program: %s", err_errno_text(r));
    }
}

static int program_start(struct handler *handler, const struct handler_object *object,
                         const struct handler_events *events, void *arg, struct handler_job **ret_job,
                         struct err *err) {
    struct program *program = (struct program *)handler;
    const char *const *envp;
    int r = program_env_build(&program->env, object, &envp);
    if (r < 0)
        return start_failed(r, err);
    struct program_job *job = mem_alloc(sizeof *job);
    if (!job)
        return start_failed(-ENOMEM, err);
    *job = (struct program_job){
        .job = {handler}, .events = *events, .arg = arg, .input_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
    if (program->results)
        program_output_init(&job->output, program->results);
    later_item_init(&job->later, on_turn);
    uv_timer_init(program->loop, &job->grace); /* cannot fail */
    job->grace.data = job;
    job->handles = 1;
    program->n_jobs++;
    r = launch(job, envp, object->size);
    if (r < 0) {
        let_go(job);
        return start_failed(r, err);
    }
    *ret_job = &job->job;
    return 0;
}

/* ---- the handler ---- */

static void program_close(struct handler *handler, void (*closed)(void *arg), void *arg) {
    struct program *program = (struct program *)handler;
    program->closing = true;
    program->closed = closed;
    program->closed_arg = arg;
    close_when_empty(program);
}

static const char *program_describe(const struct handler *handler) {
    return ((const struct program *)handler)->command.description;
}

int handler_program_new(uv_loop_t *loop, const struct handler_program_options *options, struct handler **ret_handler,
                        struct err *err) {
    static const struct handler_ops ops = {
        .start = program_start,
        .write = program_write,
        .finish = program_finish,
        .abort = program_abort,
        .close = program_close,
        .describe = program_describe,
    };
    _cleanup_(cleanup_free_program) struct program *program = mem_zalloc(sizeof *program);
    if (!program)
        return err_set(err, -ENOMEM, "out of memory");
    program->handler.ops = &ops;
    program->loop = loop;
    program->spawner = options->spawner;
    program->kill_grace_ms = (uint64_t)((options->kill_grace_us > 0 ? options->kill_grace_us : 0) + 999) / 1000;
    program->stdout_fd = STDOUT_FILENO;
    program->results = options->results;
    int r = program_command_init(&program->command, "program", options->argv, err);
    if (r == 0 && options->confine)
        r = confined_new(options->confine, &program->confined, err);
    if (r < 0)
        return r;
    r = program_env_init(&program->env);
    if (r < 0)
        return err_set(err, r, "out of memory");
    if (!program->results && fcntl(STDOUT_FILENO, F_GETFD) < 0) {
        program->stdout_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (program->stdout_fd < 0)
            return err_set(err, -errno, "/dev/null: %s", err_errno_text(-errno));
        program->stdout_is_ours = true;
    }
    later_init(&program->later, loop);
    *ret_handler = &TAKE_PTR(program)->handler;
    return 0;
}
