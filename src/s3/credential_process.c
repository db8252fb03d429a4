/* credential_process.c - splitting the command, running it within its limits, reading its answer. */
#include "credential_process.h"

#include "cleanup.h"
#include "clock.h"
#include "credential_json.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#define STDERR_KEPT 4096
#define STDERR_SHOWN 200

/* ---- words ---- */

void command_words_free(struct command_words *words) {
    if (!words)
        return;
    secret_free(&words->text);
    mem_free(words->argv);
    *words = (struct command_words){0};
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Writes the words, each with a NUL after it. Returns what is wrong, or NULL. */
static const char *split_words(struct bytes command, struct secret *out, size_t *ret_n) {
    char quote = '\0';
    bool in_word = false;
    *ret_n = 0;
    for (size_t i = 0; i < command.n; i++) {
        char c = command.p[i];
        if (c == '\0')
            return "a NUL";
        if (!quote && is_space(c)) {
            if (in_word)
                out->p[out->n++] = '\0';
            in_word = false;
            continue;
        }
        if (!in_word)
            ++*ret_n;
        in_word = true;
        if (c == quote) {
            quote = '\0';
            continue;
        }
        if (!quote && (c == '"' || c == '\'')) {
            quote = c;
            continue;
        }
        if (c == '\\' && quote != '\'') {
            if (i + 1 == command.n)
                return quote ? "an open quote" : "a backslash at its end";
            char next = command.p[i + 1];
            if (next == '\0')
                return "a NUL";
            if (!quote || next == '"' || next == '\\') {
                c = next;
                i++;
            }
        }
        out->p[out->n++] = c;
    }
    if (quote)
        return "an open quote";
    if (in_word)
        out->p[out->n++] = '\0';
    return *ret_n ? NULL : "no word in it";
}

int command_words_split(struct bytes command, struct command_words *ret_words, struct err *err) {
    struct command_words words = {0};
    int r = secret_reserve(&words.text, command.n + 1); /* the words are never longer than the command and a NUL */
    if (r < 0)
        return err_set(err, r, "out of memory");
    const char *wrong = split_words(command, &words.text, &words.n);
    if (!wrong && words.n > CREDENTIAL_PROCESS_WORDS_MAX)
        wrong = "too many words";
    if (wrong) {
        command_words_free(&words);
        return err_set(err, -EINVAL, "the command has %s", wrong);
    }
    words.argv = mem_calloc(words.n + 1, sizeof *words.argv);
    if (!words.argv) {
        command_words_free(&words);
        return err_set(err, -ENOMEM, "out of memory");
    }
    char *at = words.text.p;
    for (size_t i = 0; i < words.n; i++) {
        words.argv[i] = at;
        at += strlen(at) + 1;
    }
    *ret_words = words;
    return 0;
}

/* ---- starting ---- */

/* Above 2, so that moving them to 0, 1 and 2 in the child cannot overwrite one of them. */
static int make_pipe(int ret_fds[2]) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        if (fds[i] <= STDERR_FILENO) {
            int high = fcntl(fds[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
            if (high < 0) {
                int code = -errno;
                close(fds[0]);
                close(fds[1]);
                return code;
            }
            close(fds[i]);
            fds[i] = high;
        }
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr, int out_fd, int err_fd) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, out_fd, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, err_fd, STDERR_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
    if (r == 0)
        r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (r == 0)
        r = posix_spawnattr_setpgroup(attr, 0);
    if (r == 0)
        r = posix_spawnattr_setsigmask(attr, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(attr, &all);
    return -r;
}

static int start(char *const *argv, int out_fd, int err_fd, pid_t *ret_pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r = -posix_spawn_file_actions_init(&actions);
    if (r < 0)
        return r;
    r = -posix_spawnattr_init(&attr);
    if (r == 0) {
        r = prepare(&actions, &attr, out_fd, err_fd);
        if (r == 0)
            r = -posix_spawnp(ret_pid, argv[0], &actions, &attr, argv, environ);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

/* ---- waiting ---- */

struct child {
    pid_t pid;
    int out_fd, err_fd; /* -1: ended */
    struct secret out;
    struct buf tail; /* of stderr */
};

/* Reads what is there. 0, or -E2BIG, -ENOMEM. */
static int read_some(struct child *child, int *fd) {
    char piece[4096];
    int r = 0;
    ssize_t n = read(*fd, piece, sizeof piece);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        close(*fd);
        *fd = -1;
        return 0;
    }
    struct bytes data = bytes_of(piece, (size_t)n);
    if (fd == &child->err_fd) {
        if (child->tail.n + data.n > STDERR_KEPT)
            buf_consume(&child->tail, child->tail.n < data.n ? child->tail.n : data.n);
        r = buf_add_bytes(&child->tail, data);
    } else if (child->out.n + data.n > CREDENTIAL_PROCESS_OUTPUT_MAX) {
        r = -E2BIG;
    } else {
        r = secret_add(&child->out, data);
    }
    explicit_bzero(piece, sizeof piece);
    return r;
}

static int poll_timeout_ms(int64_t left_us) {
    int64_t ms = (left_us + US_PER_MS - 1) / US_PER_MS;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* Waits until both outputs have ended, then for the process itself. 0 with the wait status, or -ETIMEDOUT, -ECANCELED,
 * -E2BIG, -ENOMEM, -ECHILD with the process still to be killed. */
static int follow(struct child *child, int64_t timeout_us, int cancel_fd, int *ret_status) {
    int64_t deadline_mono_us;
    if (__builtin_add_overflow(clock_mono_us(&clock_system), timeout_us, &deadline_mono_us))
        deadline_mono_us = INT64_MAX;
    int64_t pause_us = US_PER_MS; /* between looks at a process that has closed its outputs but not ended */
    for (;;) {
        bool reading = child->out_fd >= 0 || child->err_fd >= 0;
        if (!reading) {
            pid_t got = waitpid(child->pid, ret_status, WNOHANG);
            if (got == child->pid)
                return 0;
            if (got < 0 && errno != EINTR)
                return -errno;
        }
        int64_t left_us = deadline_mono_us - clock_mono_us(&clock_system);
        if (left_us <= 0)
            return -ETIMEDOUT;
        if (!reading) {
            left_us = left_us < pause_us ? left_us : pause_us;
            pause_us = pause_us < 50 * US_PER_MS ? pause_us * 2 : pause_us;
        }
        struct pollfd fds[] = {{.fd = child->out_fd, .events = POLLIN},
                               {.fd = child->err_fd, .events = POLLIN},
                               {.fd = cancel_fd, .events = POLLIN}};
        if (poll(fds, 3, poll_timeout_ms(left_us)) < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (fds[2].revents)
            return -ECANCELED;
        int r = 0;
        if (fds[0].revents)
            r = read_some(child, &child->out_fd);
        if (r >= 0 && fds[1].revents)
            r = read_some(child, &child->err_fd);
        if (r < 0)
            return r;
    }
}

static void kill_group(pid_t pid) {
    kill(-pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* ": <last line of stderr>", printable and short; nothing when there is none. */
static void add_last_line(struct buf *out, struct bytes text) {
    text = bytes_trim(text);
    const char *newline = text.n ? memrchr(text.p, '\n', text.n) : NULL;
    if (newline)
        text = bytes_trim(bytes_of(newline + 1, text.n - (size_t)(newline + 1 - text.p)));
    if (text.n > STDERR_SHOWN)
        text.n = STDERR_SHOWN;
    size_t before = out->n;
    if (text.n && (buf_add_str(out, ": ") < 0 || text_add_printable(out, text) < 0))
        out->n = before; /* no memory for the detail: the message goes without it */
}

static const char *signal_name(int signal) {
    const char *name = sigabbrev_np(signal);
    return name ? name : "?";
}

static int failed(int status, struct bytes tail, struct err *err) {
    _cleanup_buf_ struct buf line = {0};
    add_last_line(&line, tail);
    int n = (int)line.n;
    const char *p = n ? line.p : "";
    if (WIFSIGNALED(status))
        return err_set(err, -EIO, "it was ended by signal %d (SIG%s)%.*s", WTERMSIG(status),
                       signal_name(WTERMSIG(status)), n, p);
    return err_set(err, -EIO, "it ended with exit code %d%.*s", WEXITSTATUS(status), n, p);
}

static int explain(int code, int64_t timeout_us, struct err *err) {
    switch (code) {
    case -ETIMEDOUT:
        return err_set(err, code, "it did not end within %.3g s and was killed", (double)timeout_us / (double)US_PER_S);
    case -ECANCELED:
        return err_set(err, code, "it was stopped");
    case -E2BIG:
        return err_set(err, code, "it wrote more than %d bytes", CREDENTIAL_PROCESS_OUTPUT_MAX);
    default:
        return err_set(err, code, "it could not be followed: %s", err_errno_text(code));
    }
}

/* ---- what it says ---- */

/* ISO 8601 in UTC or with an offset ("+00:00" is what Python writes). */
static int parse_expiration(struct bytes text, int64_t *ret_utc_us) {
    char utc[64];
    int64_t offset_us = 0;
    if (text.n > 6 && text.n < sizeof utc && (text.p[text.n - 6] == '+' || text.p[text.n - 6] == '-') &&
        text.p[text.n - 3] == ':') {
        uint64_t hours, minutes;
        if (text_parse_u64(bytes_of(text.p + text.n - 5, 2), &hours) < 0 || hours > 23 ||
            text_parse_u64(bytes_of(text.p + text.n - 2, 2), &minutes) < 0 || minutes > 59)
            return -EINVAL;
        offset_us = (int64_t)hours * US_PER_HOUR + (int64_t)minutes * US_PER_MIN;
        if (text.p[text.n - 6] == '-')
            offset_us = -offset_us;
        memcpy(utc, text.p, text.n - 6);
        utc[text.n - 6] = 'Z';
        text = bytes_of(utc, text.n - 5);
    }
    int64_t utc_us;
    int r = text_parse_iso8601(text, &utc_us);
    if (r < 0)
        return r;
    *ret_utc_us = utc_us - offset_us;
    return 0;
}

static int use_json(const struct credential_json *json, int64_t utc_us, struct credential_keys *ret_keys,
                    struct err *err) {
    static const char *const names[3] = {"AccessKeyId", "SecretAccessKey", "SessionToken"};
    int64_t expires_utc_us = 0;
    if (json->expiration.n) {
        if (parse_expiration(json->expiration, &expires_utc_us) < 0)
            return err_set(err, -EBADMSG, "Expiration is not a date as in 2030-12-31T23:59:59Z");
        if (expires_utc_us <= utc_us)
            return err_set(err, -EBADMSG, "the keys that it gave have expired already");
    }
    return credential_keys_set(ret_keys, names, json->access_key_id, json->secret_access_key, json->session_token,
                               expires_utc_us, err);
}

int credential_process_read(struct bytes output, int64_t utc_us, struct credential_keys *ret_keys, struct err *err) {
    struct credential_json json;
    int r = credential_json_parse(output, &json, err);
    if (r < 0)
        return r;
    r = use_json(&json, utc_us, ret_keys, err);
    credential_json_free(&json);
    return r;
}

int credential_process_run(char *const *argv, int64_t timeout_us, int cancel_fd, int64_t utc_us,
                           struct credential_keys *ret_keys, struct err *err) {
    int out_fds[2], err_fds[2];
    int r = make_pipe(out_fds);
    if (r < 0)
        return err_set(err, r, "no pipe: %s", err_errno_text(r));
    r = make_pipe(err_fds);
    if (r < 0) {
        close(out_fds[0]);
        close(out_fds[1]);
        return err_set(err, r, "no pipe: %s", err_errno_text(r));
    }
    struct child child = {.out_fd = out_fds[0], .err_fd = err_fds[0]};
    int status = 0;
    r = start(argv, out_fds[1], err_fds[1], &child.pid);
    close(out_fds[1]);
    close(err_fds[1]);
    if (r < 0) {
        err_set(err, r, "it cannot be started: %s", err_errno_text(r));
    } else {
        r = follow(&child, timeout_us, cancel_fd, &status);
        if (r < 0) {
            if (r != -ECHILD) /* else someone has reaped it, and the number may be another's by now */
                kill_group(child.pid);
            explain(r, timeout_us, err);
        } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            r = failed(status, buf_bytes(&child.tail), err);
        } else {
            r = credential_process_read(secret_bytes(&child.out), utc_us, ret_keys, err);
        }
    }
    if (child.out_fd >= 0)
        close(child.out_fd);
    if (child.err_fd >= 0)
        close(child.err_fd);
    secret_free(&child.out);
    buf_wipe(&child.tail);
    return r;
}
