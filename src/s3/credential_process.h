/* credential_process.h - runs a profile's credential_process and reads the keys that it writes.
 *
 * Source: AWS SDKs and Tools Reference Guide, "Process credential provider". No shell is involved. */
#pragma once

#include "credential_keys.h"

#define CREDENTIAL_PROCESS_WORDS_MAX 256
#define CREDENTIAL_PROCESS_OUTPUT_MAX (64 * 1024)
#define CREDENTIAL_PROCESS_TIMEOUT_US (60 * US_PER_S)

struct command_words {
    char **argv; /* NULL-terminated */
    size_t n;
    struct secret text; /* a command line may hold a secret of its own */
};

/* Splits into words as a POSIX shell does, without expanding anything: spaces part words; '...' is literal; in "..." a
 * backslash quotes '"' and '\', outside quotes any character. -EINVAL: an open quote, a trailing backslash, a NUL, no
 * word, or more than CREDENTIAL_PROCESS_WORDS_MAX; -ENOMEM. Free with command_words_free, which wipes. */
int command_words_split(struct bytes command, struct command_words *ret_words, struct err *err);
void command_words_free(struct command_words *words);

/* Runs the program (looked up in PATH), in a process group of its own, with this process's environment, and waits for
 * it: not for a loop's thread. Blocks until the program has ended and closed its output, at most `timeout_us`, or until
 * `cancel_fd`
 * (-1: none) can be read; the whole group is then killed. `utc_us` is the time to judge the expiration by.
 * Errors: -ENOENT, -EACCES... as the program could not be started; -EIO: it failed (its last line of stderr is in the
 * text); -ETIMEDOUT; -ECANCELED; -E2BIG: more than CREDENTIAL_PROCESS_OUTPUT_MAX on stdout; -EBADMSG: not what it
 * should write, or keys that have expired; -EINVAL: keys that cannot be right; -ENOMEM. */
int credential_process_run(char *const *argv, int64_t timeout_us, int cancel_fd, int64_t utc_us,
                           struct credential_keys *ret_keys, struct err *err);
/* The second half of that: what the output says. */
int credential_process_read(struct bytes output, int64_t utc_us, struct credential_keys *ret_keys, struct err *err);
