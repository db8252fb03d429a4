/* handler.h - what is done with an object: the user's code behind one interface.
 *
 * A handler makes jobs; a job is one attempt on one object. Thread: the loop's for everything; callbacks never run
 * inside the function that caused them. The life of a job:
 *
 *     handler_start      -> the job runs; feed it
 *     handler_write *    -> pieces of the body, in order, as they are downloaded
 *     handler_finish     -> the body was whole and verified; only now does a program see the end of its input
 *     or handler_abort   -> it was not, or time is up: the job is killed
 *     done callback      -> once, after finish or abort, or earlier when the handler ended by itself (it then still waits
 *                           for the caller's finish or abort, see `early` below); the job is gone after it
 */
#pragma once

#include "bytes.h"
#include "err.h"

#include <uv.h>

struct handler;
struct handler_job;

/* Borrowed during handler_start. */
struct handler_object {
    struct bytes bucket, key, etag, version_id, content_type;
    uint64_t size;
    uint32_t attempt; /* 1 is the first */
    const char *run_id;
    const struct handler_meta {
        struct bytes name, value; /* user metadata, name without x-amz-meta- */
    } *metadata;
    size_t n_metadata;
};

enum handler_end {
    HANDLER_OK,      /* processed, and the body was verified (handler_finish was called) */
    HANDLER_AGAIN,   /* the user's code asks for another try (exit 75, EX_TEMPFAIL) */
    HANDLER_FAILED,  /* it failed; `text` says how, with the last lines of its stderr */
    HANDLER_ABORTED, /* handler_abort ended it */
};
struct handler_result {
    enum handler_end end;
    const char *text; /* for a person; borrowed; "" for OK */
};

struct handler_events {
    /* handler_write returned "full": there is room again. */
    void (*room)(void *arg);
    /* It has decided without the rest of the body (closed its input, or ended): further writes are dropped cheaply. The caller goes on
     * downloading, as the body must be verified before success counts, or aborts. At most once. Not called for the normal case. */
    void (*early)(void *arg, bool success_so_far);
    void (*done)(void *arg, const struct handler_result *result);
};

/* ---- for callers ---- */

/* 0 and a job, or -ENOMEM, -EAGAIN (out of processes or descriptors: not the object's fault, try later), or another
 * code with a text (program cannot be executed). On failure there is no job and no callback. */
int handler_start(struct handler *handler, const struct handler_object *object, const struct handler_events *events,
                  void *arg, struct handler_job **ret_job, struct err *err);
/* The piece is taken whole (copied if need be). Returns true when more may follow at once, false when the caller should
 * pause until `room`. Memory held per job is bounded by HANDLER_BUFFER_MAX + one piece. */
bool handler_write(struct handler_job *job, struct bytes piece);
#define HANDLER_BUFFER_MAX (256 * 1024)
void handler_finish(struct handler_job *job);
/* Kills what runs (a program's whole process group). `reason` goes into nothing but the result's text. */
void handler_abort(struct handler_job *job, const char *reason);
/* No jobs may be left. Calls `closed` from the loop when all is gone. */
void handler_close(struct handler *handler, void (*closed)(void *arg), void *arg);
/* One line for a person: "program convert - out.png", "discard". */
const char *handler_describe(const struct handler *handler);

/* ---- for kinds of handlers ---- */

struct handler_ops {
    int (*start)(struct handler *handler, const struct handler_object *object, const struct handler_events *events,
                 void *arg, struct handler_job **ret_job, struct err *err);
    bool (*write)(struct handler_job *job, struct bytes piece);
    void (*finish)(struct handler_job *job);
    void (*abort)(struct handler_job *job, const char *reason);
    void (*close)(struct handler *handler, void (*closed)(void *arg), void *arg);
    const char *(*describe)(const struct handler *handler);
};
struct handler { /* the first member of each kind's own struct */
    const struct handler_ops *ops;
};
struct handler_job {
    struct handler *handler;
};

/* Accepts and drops every body: `--discard`. */
int handler_discard_new(uv_loop_t *loop, struct handler **ret_handler);

/* A program per object. Body on stdin; stdout is froe's own stdout; stderr is kept (its last HANDLER_STDERR_MAX bytes)
 * for the error text. Environment: PATH, HOME, LANG, LC_*, TZ, TMPDIR, USER, LOGNAME, SHELL from froe's own when set, then FROE_BUCKET, FROE_KEY, FROE_SIZE,
 * FROE_ETAG (without quotes), FROE_VERSION_ID, FROE_ATTEMPT, FROE_RUN_ID, FROE_CONTENT_TYPE (all always set, maybe empty) and
 * FROE_META_<NAME> for user metadata (upper case, other characters than A-Z 0-9 become '_'); nothing else, so no AWS secrets. A
 * value cannot hold a NUL byte: FROE_KEY of a key with one is cut there and FROE_KEY_URL has it percent-encoded whole
 * (always set). Exit 0: OK; 75: AGAIN; others and signals: FAILED. */
#define HANDLER_STDERR_MAX 4096

struct handler_program_options {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
    struct spawner *spawner; /* borrowed; see spawner.h */
    int64_t kill_grace_us;   /* between SIGTERM and SIGKILL on abort; 0: SIGKILL at once */
};
/* Copies the options. -ENOENT / -EACCES when the program cannot be found or executed, with a text. */
int handler_program_new(uv_loop_t *loop, const struct handler_program_options *options, struct handler **ret_handler,
                        struct err *err);
