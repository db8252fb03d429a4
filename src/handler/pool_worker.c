/* pool_worker.c - a process that is written to and read from without ever blocking.
 *
 * Its input is closed when it retires and nowhere else while it lives, and the spawner holds a copy of it: a worker
 * that waits for the rest of a body sees no end of its input, whatever becomes of froe. */
#include "pool_worker.h"

#include "cleanup.h"
#include "pool_channel.h"
#include "program_end.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#define READ_BYTES (16 * 1024)
#define LAST_READS 64 /* of READ_BYTES: what the largest pipe an unprivileged user can make may hold */

static const char no_memory[] = "out of memory while working with the worker";

/* ---- memory ---- */

static void free_worker(struct pool_worker *worker) {
    buf_free(&worker->line);
    pool_answer_free(&worker->answer);
    stderr_tail_free(&worker->tail);
    mem_free(worker);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct pool_worker *worker = handle->data;
    if (--worker->handles == 0)
        free_worker(worker);
}

static void close_fd(uv_poll_t *poll, int *fd) {
    if (*fd < 0)
        return;
    uv_poll_stop(poll);
    uv_close((uv_handle_t *)poll, on_handle_closed);
    close(TAKE_FD(*fd));
}

static void close_channel(struct pool_worker *worker) {
    cleanup_close_fd(&worker->channel_fd);
    worker->channel_fd = -1;
}

static void let_go(struct pool_worker *worker) {
    close_channel(worker);
    close_fd(&worker->input_poll, &worker->input_fd);
    close_fd(&worker->output_poll, &worker->output_fd);
    close_fd(&worker->stderr_poll, &worker->stderr_fd);
    uv_close((uv_handle_t *)&worker->timer, on_handle_closed);
}

/* ---- ending it ---- */

static void on_timer(uv_timer_t *timer) {
    struct pool_worker *worker = timer->data;
    if (!worker->spawned)
        return;
    spawner_kill(worker->spawned, worker->next_signal);
    if (worker->next_signal != SIGKILL)
        uv_timer_start(timer, on_timer, worker->kind->kill_grace_ms, 0);
    worker->next_signal = SIGKILL;
}

static void signal_after_grace(struct pool_worker *worker, int signal) {
    worker->next_signal = signal;
    uv_timer_start(&worker->timer, on_timer, worker->kind->kill_grace_ms, 0);
}

/* It sees the end of its input, wherever it waits. */
static void close_input(struct pool_worker *worker) {
    close_channel(worker);
    if (worker->input_fd >= 0) {
        close_fd(&worker->input_poll, &worker->input_fd);
        spawner_release(worker->spawned);
    }
}

void pool_worker_retire(struct pool_worker *worker) {
    if (worker->killed || !worker->spawned)
        return;
    worker->ending = worker->killed = true;
    close_input(worker);
    signal_after_grace(worker, SIGTERM);
}

void pool_worker_stop(struct pool_worker *worker) {
    if (worker->killed || !worker->spawned)
        return;
    worker->ending = worker->killed = true;
    if (worker->kind->kill_grace_ms == 0) {
        spawner_kill(worker->spawned, SIGKILL);
        return;
    }
    spawner_kill(worker->spawned, SIGTERM);
    signal_after_grace(worker, SIGKILL);
}

void pool_worker_fault(struct pool_worker *worker, enum handler_end end, const char *text) {
    if (worker->killed)
        return;
    worker->ending = worker->killed = true;
    err_set(&worker->fault, end == HANDLER_NOT_RUN ? -EAGAIN : -EPROTO, "%s", text);
    if (worker->spawned)
        spawner_kill(worker->spawned, SIGKILL);
}

/* It has closed its end of a pipe, so it is on its way out, or will be. */
static void on_closed_end(struct pool_worker *worker) {
    if (worker->ending)
        return;
    worker->ending = true;
    signal_after_grace(worker, SIGTERM);
}

/* ---- input ---- */

bool pool_worker_usable(const struct pool_worker *worker) {
    return worker->spawned && !worker->busy && !worker->ending;
}

/* One that has just been started has used nothing yet. */
static void renew_cpu(const struct pool_worker *worker) {
    pid_t pid = spawner_pid_of(worker->spawned);
    if (worker->kind->cpu_s && pid > 0)
        confine_renew_cpu(pid, worker->kind->cpu_s);
}

void pool_worker_begin(struct pool_worker *worker, uint64_t id) {
    renew_cpu(worker);
    worker->busy = true;
    worker->id = id;
    worker->written = 0;
    worker->tail.total = 0;
}

int pool_worker_send(struct pool_worker *worker, int fd) {
    int r = pool_channel_send(worker->channel_fd, fd);
    if (r != -EPIPE)
        return r;
    close_input(worker); /* a line without its body must not reach it */
    on_closed_end(worker);
    return 0;
}

bool pool_worker_received(const struct pool_worker *worker) {
    return worker->channel_fd < 0 || pool_channel_is_empty(worker->channel_fd);
}

/* In one call where there are two: a worker is not woken for the line and then again for the body. */
static ssize_t write_both(int fd, const struct bytes data[2]) {
    struct iovec pieces[2];
    int n = 0;
    for (int i = 0; i < 2; i++)
        if (data[i].n)
            pieces[n++] = (struct iovec){(void *)(uintptr_t)data[i].p, data[i].n}; /* only read from */
    return writev(fd, pieces, n);
}

bool pool_worker_write(struct pool_worker *worker, struct bytes data[2]) {
    while (data[0].n + data[1].n && worker->input_fd >= 0 && !worker->killed) {
        ssize_t n = write_both(worker->input_fd, data);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            on_closed_end(worker);
            return false;
        }
        worker->written += (size_t)n;
        for (size_t left = (size_t)n, i = 0; i < 2; i++) {
            size_t of_this = left < data[i].n ? left : data[i].n;
            data[i] = bytes_of(data[i].p + of_this, data[i].n - of_this);
            left -= of_this;
        }
    }
    return data[0].n + data[1].n == 0;
}

static void on_input_room(uv_poll_t *poll, int status, int events) {
    struct pool_worker *worker = poll->data;
    uv_poll_stop(poll);
    worker->kind->room(worker); /* when it does not read any more, writing will tell */
}

void pool_worker_want_room(struct pool_worker *worker) {
    if (worker->input_fd >= 0 && uv_poll_start(&worker->input_poll, UV_WRITABLE, on_input_room) < 0)
        pool_worker_fault(worker, HANDLER_NOT_RUN, "the worker's input cannot be watched");
}

size_t pool_worker_unread(const struct pool_worker *worker) {
    int n = 0;
    return worker->input_fd >= 0 && ioctl(worker->input_fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}

/* ---- output ---- */

struct pool_output {
    bool answered;
    struct pool_answer answer;
};

static bool is_blank(struct bytes text) {
    return bytes_trim(text).n == 0;
}

/* What comes after an answer costs the worker its place; after results it costs them their credit, too. */
static void unasked(struct pool_worker *worker, const struct pool_output *output) {
    pool_worker_fault(worker, HANDLER_FAILED,
                      pool_results_bytes(output->answer.results)
                          ? "the worker wrote more than the results that it had announced"
                          : "the worker wrote to its stdout without having an object");
}

/* Cannot keep, or must not take, what it gives. */
static void fault_of(struct pool_worker *worker, int r, const char *text) {
    bool ours = r == -ENOMEM || r == -EMFILE || r == -ENFILE;
    pool_worker_fault(worker, ours ? HANDLER_NOT_RUN : HANDLER_FAILED, text);
}

static void look_whether_whole(struct pool_worker *worker, struct pool_output *output) {
    const struct pool_results *results = worker->answer.results;
    if (worker->killed || (results && pool_results_taken(results) < pool_results_bytes(results)))
        return;
    output->answered = true;
    output->answer = worker->answer;
    worker->answer = (struct pool_answer){0};
    worker->receiving = worker->busy = false;
    worker->answers++;
}

static void take_results(struct pool_worker *worker, struct bytes *data, struct pool_output *output) {
    struct err err = {0};
    int r = pool_results_take(worker->answer.results, data, &err);
    if (r < 0)
        fault_of(worker, r, err.text);
    look_whether_whole(worker, output);
}

static void begin_results(struct pool_worker *worker) {
    struct pool_answer *answer = &worker->answer;
    struct err err = {0};
    int r = 0;
    if (worker->kind->results) {
        r = pool_results_begin(answer->results, worker->kind->results, &err);
    } else if (pool_results_bytes(answer->results)) {
        r = err_set(&err, -EINVAL,
                    "the worker has a result, and there is nowhere for it to go: say where, with `output` in the rule");
    } else { /* of nothing */
        pool_results_free(answer->results);
        answer->results = NULL;
    }
    if (r < 0)
        fault_of(worker, r, err.text);
}

static void take_line(struct pool_worker *worker, struct bytes line, struct pool_output *output) {
    if (worker->killed || is_blank(line))
        return;
    if (!worker->busy) {
        unasked(worker, output);
        return;
    }
    struct err err = {0};
    int r = pool_parse_answer(line, worker->id, &worker->answer, &err);
    if (r < 0) {
        fault_of(worker, r, err.text);
        return;
    }
    worker->receiving = true;
    if (worker->answer.results)
        begin_results(worker);
    look_whether_whole(worker, output);
}

/* The beginning of a line, to be kept for the rest of it. */
static void keep_part(struct pool_worker *worker, struct bytes part, struct pool_output *output) {
    if (worker->killed || part.n == 0)
        return;
    if (!worker->busy && !is_blank(part)) {
        unasked(worker, output);
        return;
    }
    int r = buf_add_bytes(&worker->line, part);
    if (r == -E2BIG)
        pool_worker_fault(worker, HANDLER_FAILED, "the worker wrote a line of more than 64 KiB to its stdout");
    else if (r < 0)
        pool_worker_fault(worker, HANDLER_NOT_RUN, no_memory);
}
_Static_assert(POOL_ANSWER_MAX == 64 * 1024, "what the text above says");

static void take_pieces(struct pool_worker *worker, struct bytes data, struct pool_output *output) {
    while (data.n && !worker->killed) {
        if (worker->receiving) {
            take_results(worker, &data, output);
            continue;
        }
        const char *newline = memchr(data.p, '\n', data.n);
        size_t n = newline ? (size_t)(newline - data.p) : data.n;
        struct bytes part = bytes_of(data.p, n);
        if (!newline || worker->line.n)
            keep_part(worker, part, output);
        if (newline) {
            take_line(worker, worker->line.n ? buf_bytes(&worker->line) : part, output);
            buf_reset(&worker->line);
        }
        n += newline ? 1 : 0;
        data = bytes_of(data.p + n, data.n - n);
    }
}

/* Takes all lines before it tells of an answer: what follows that may cost the worker its place. Behind results it
 * looks for more that may be there: whoever writes another length than announced is not to be believed. */
static void take_output(struct pool_worker *worker, struct bytes data) {
    struct pool_output output = {0};
    take_pieces(worker, data, &output);
    if (!output.answered)
        return;
    bool has_results = pool_results_bytes(output.answer.results) > 0;
    if (has_results && !worker->killed) {
        ssize_t n = read(worker->output_fd, worker->kind->scratch, POOL_SCRATCH_BYTES);
        if (n > 0)
            take_pieces(worker, bytes_of(worker->kind->scratch, (size_t)n), &output);
    }
    if (!has_results || !worker->killed) /* else its end tells */
        worker->kind->answered(worker, &output.answer);
    pool_answer_free(&output.answer);
}

static void on_output(uv_poll_t *poll, int status, int events) {
    struct pool_worker *worker = poll->data;
    ssize_t n = read(worker->output_fd, worker->kind->scratch, POOL_SCRATCH_BYTES);
    if (n > 0) {
        take_output(worker, bytes_of(worker->kind->scratch, (size_t)n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close_fd(&worker->output_poll, &worker->output_fd);
        on_closed_end(worker);
    }
}

static void on_stderr(uv_poll_t *poll, int status, int events) {
    struct pool_worker *worker = poll->data;
    char piece[READ_BYTES];
    ssize_t n = read(worker->stderr_fd, piece, sizeof piece);
    if (n > 0)
        stderr_tail_add(&worker->tail, bytes_of(piece, (size_t)n));
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_fd(&worker->stderr_poll, &worker->stderr_fd);
}

/* What is in a pipe now. Somebody who left the group may hold the other end, so neither the end nor the last byte is
 * waited for. */
static void read_rest(struct pool_worker *worker, int fd, void (*take)(struct pool_worker *worker, struct bytes data)) {
    char piece[READ_BYTES];
    for (int i = 0; i < LAST_READS && fd >= 0; i++) {
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        take(worker, bytes_of(piece, (size_t)n));
    }
}

static void take_stderr(struct pool_worker *worker, struct bytes data) {
    stderr_tail_add(&worker->tail, data);
}

int pool_worker_add_said(struct pool_worker *worker, struct buf *text) {
    read_rest(worker, worker->stderr_fd, take_stderr);
    return stderr_tail_text(&worker->tail, text);
}

/* /proc/PID/statm: pages in all, pages resident, ... */
int64_t pool_worker_resident(const struct pool_worker *worker) {
    char path[64], line[128];
    pid_t pid = worker->spawned ? spawner_pid_of(worker->spawned) : 0;
    if (pid <= 0)
        return 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (n <= 0)
        return 0;
    line[n] = '\0';
    long pages = 0;
    return sscanf(line, "%*s %ld", &pages) == 1 ? (int64_t)pages * sysconf(_SC_PAGESIZE) : 0;
}

/* ---- the process ---- */

static int add_end_text(struct pool_worker *worker, const struct spawn_exit *exit, struct buf *text) {
    if (worker->fault.code == 0) {
        int r = 0;
        if (worker->receiving)
            r = buf_printf(text, "the worker ended after %" PRIu64 " of the %" PRIu64 " bytes of its results: ",
                           pool_results_taken(worker->answer.results), pool_results_bytes(worker->answer.results));
        else if (!exit->start_error && !exit->stalled)
            r = buf_add_str(text, "the worker ended without an answer: ");
        return r < 0 ? r : program_end_text(exit, worker->kind->file, &worker->tail, text);
    }
    int r = buf_add_str(text, worker->fault.text);
    if (r == 0 && worker->tail.total)
        r = buf_add_str(text, ": ");
    return r < 0 ? r : stderr_tail_text(&worker->tail, text);
}

static enum handler_end end_of(const struct pool_worker *worker, const struct spawn_exit *exit) {
    if (worker->fault.code)
        return worker->fault.code == -EAGAIN ? HANDLER_NOT_RUN : HANDLER_FAILED;
    return exit->start_error || exit->stalled ? program_end(exit) : HANDLER_FAILED;
}

static void on_exited(void *arg, const struct spawn_exit *exit) {
    struct pool_worker *worker = arg;
    worker->spawned = NULL;
    uv_timer_stop(&worker->timer);
    read_rest(worker, worker->stderr_fd, take_stderr);
    read_rest(worker, worker->output_fd, take_output); /* an answer may have been its last word */
    _cleanup_buf_ struct buf text = {.max = HANDLER_TEXT_MAX};
    bool by_itself = !worker->killed && !exit->stalled && exit->start_error != EPIPE;
    struct pool_worker_exit end = {
        .end = end_of(worker, exit),
        .text =
            add_end_text(worker, exit, &text) < 0 ? "failed, and its reason could not be kept: out of memory" : text.p,
        .young = by_itself && worker->answers == 0,
        .unread = by_itself && worker->answers > 0 && worker->busy && !worker->receiving &&
                  pool_worker_unread(worker) == worker->written,
        .lost = exit->start_error == EPIPE,
    };
    worker->kind->ended(worker, &end);
    let_go(worker);
}

/* Makes a pipe and watches froe's end of it; the other is *ret_theirs. */
static int open_pipe(struct pool_worker *worker, uv_poll_t *poll, bool we_write, int *ret_ours, int *ret_theirs) {
    uv_file fds[2];
    int r = uv_pipe(fds, we_write ? 0 : UV_NONBLOCK_PIPE, we_write ? UV_NONBLOCK_PIPE : 0);
    if (r < 0)
        return r;
    _cleanup_close_ int ours = fds[we_write ? 1 : 0];
    _cleanup_close_ int theirs = fds[we_write ? 0 : 1];
    r = uv_poll_init(worker->kind->loop, poll, ours);
    if (r < 0)
        return r;
    poll->data = worker;
    worker->handles++;
    *ret_ours = TAKE_FD(ours);
    *ret_theirs = TAKE_FD(theirs);
    return 0;
}

static int launch(struct pool_worker *worker) {
    _cleanup_close_ int their_channel = -1;
    _cleanup_close_ int their_input = -1;
    _cleanup_close_ int their_output = -1;
    _cleanup_close_ int their_stderr = -1;
    int r = open_pipe(worker, &worker->input_poll, true, &worker->input_fd, &their_input);
    if (r == 0)
        r = open_pipe(worker, &worker->output_poll, false, &worker->output_fd, &their_output);
    if (r == 0)
        r = open_pipe(worker, &worker->stderr_poll, false, &worker->stderr_fd, &their_stderr);
    if (r == 0 && worker->kind->channel)
        r = pool_channel_open(&worker->channel_fd, &their_channel);
    if (r == 0)
        r = uv_poll_start(&worker->output_poll, UV_READABLE, on_output);
    if (r == 0)
        r = uv_poll_start(&worker->stderr_poll, UV_READABLE, on_stderr);
    if (r < 0)
        return r;
    const struct spawn_request request = {
        .file = worker->kind->file,
        .argv = worker->kind->argv,
        .envp = worker->kind->envp,
        .stdin_fd = their_input,
        .stdout_fd = their_output,
        .stderr_fd = their_stderr,
        .guard_fd = worker->input_fd,
        .channel_fd = their_channel > 0 ? their_channel : 0,
        .confined = worker->kind->confined,
    };
    return spawner_start(worker->kind->spawner, &request, on_exited, worker, &worker->spawned);
}

int pool_worker_new(const struct pool_worker_kind *kind, void *arg, struct pool_worker **ret_worker) {
    struct pool_worker *worker = mem_zalloc(sizeof *worker);
    if (!worker)
        return -ENOMEM;
    worker->kind = kind;
    worker->arg = arg;
    worker->input_fd = worker->output_fd = worker->stderr_fd = worker->channel_fd = -1;
    list_init(&worker->all);
    list_init(&worker->idle);
    buf_init(&worker->line, POOL_ANSWER_MAX);
    uv_timer_init(kind->loop, &worker->timer); /* cannot fail */
    worker->timer.data = worker;
    worker->handles = 1;
    int r = launch(worker);
    if (r < 0) {
        let_go(worker);
        return r;
    }
    *ret_worker = worker;
    return 0;
}
