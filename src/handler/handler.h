/* handler.h - what is done with an object: the user's code behind one interface.
 *
 * A handler makes jobs; a job is one attempt on one object. Thread: the loop's for everything; callbacks never run
 * inside the function that caused them. The life of a job:
 *
 *     handler_start      -> the job runs; feed it
 *     handler_write *    -> pieces of the body, in order, as they are downloaded
 *     handler_finish     -> the body was whole and verified; only now does a program see the end of its input
 *     or handler_abort   -> it was not, or time is up: the job is killed. Also after handler_finish
 *     done callback      -> exactly once; the job is gone when it is called
 *
 * When `done` comes:
 *   - A success counts only with a verified body. A handler that succeeds before handler_finish says `early`, and is
 *     held back until the caller's finish (then HANDLER_OK) or abort (then HANDLER_ABORTED).
 *   - A failure (HANDLER_FAILED) or a wish for another try (HANDLER_AGAIN, HANDLER_NOT_RUN) cannot change any more:
 * `done` comes at once, at any time after handler_start returned, without waiting for finish or abort. The caller then
 * drops its download and must not touch the job.
 *   - After handler_abort the end is always HANDLER_ABORTED, whatever the handler was about to say. `done` comes when
 *     nothing of it runs any more. */
#pragma once

#include "bytes.h"
#include "confine.h"
#include "err.h"
#include "spool.h"

#include <uv.h>

struct handler;
struct handler_job;

/* Borrowed during handler_start. */
struct handler_object {
    struct bytes bucket, key, etag, version_id, content_type;
    uint64_t size;
    uint32_t attempt; /* 1 is the first */
    const char *run_id;
    const struct handler_meta { struct bytes name, value; /* user metadata, name without x-amz-meta- */ } * metadata;
    size_t n_metadata;
};

enum handler_end {
    HANDLER_OK,      /* processed, and the body was verified (handler_finish was called) */
    HANDLER_AGAIN,   /* the user's code asks for another try (exit 75, EX_TEMPFAIL) */
    HANDLER_NOT_RUN, /* the machine could not run it now, or the spawner died under it or had to kill it because this
                        process stood still: not the object's fault */
    HANDLER_FAILED,  /* it failed; `text` says how, with the last lines of its stderr */
    HANDLER_ABORTED, /* handler_abort ended it */
};

/* What the user's code made of an object: a whole of its own. */
struct handler_part {
    struct bytes name;         /* "" unless there are several: then each has another */
    struct bytes content_type; /* "": not known */
    struct bytes extension;    /* "webp", without a dot; "": that of the object */
    struct spool *body;        /* may be empty */
};
#define HANDLER_PARTS_MAX 16
#define HANDLER_PART_NAME_MAX 64

struct handler_result {
    enum handler_end end;
    /* With HANDLER_OK of a handler that was made to keep results (`results` in its options): all parts, as many as it
     * gave, maybe none. Borrowed during the callback, but what `body` points to may be moved out of (copy the struct,
     * then spool_init it): who does so frees it. */
    const struct handler_part *parts;
    size_t n_parts;
    bool final; /* with FAILED: the user's code says that it would fail each time */
    /* For a person; borrowed; "" for OK. Printable UTF-8 with '\n' between lines; up to HANDLER_TEXT_MAX bytes. */
    const char *text;
};

#define HANDLER_TEXT_MAX (20 * 1024)

struct handler_events {
    /* handler_write returned "full": there is room again. Once for each time. */
    void (*room)(void *arg);
    /* It does not want the rest of the body, before handler_finish: `ended` says whether it has ended, with success, or
     * merely closed its input and still runs. Further writes are dropped cheaply and never full; a caller that was
     * paused gets its `room` first. The caller goes on downloading, as the body must be verified before success counts,
     * or aborts. At most once. May be NULL. */
    void (*early)(void *arg, bool ended);
    void (*done)(void *arg, const struct handler_result *result);
};

/* ---- for callers ---- */

/* 0 and a job, or -ENOMEM, -EAGAIN (out of processes or descriptors: not the object's fault, try later), -E2BIG
 * (metadata that does not fit into an environment), -EPIPE (the spawner died: no program can be started any more) or
 * another code, each with a text. On failure there is no job and no callback. `events` is copied. */
int handler_start(struct handler *handler, const struct handler_object *object, const struct handler_events *events,
                  void *arg, struct handler_job **ret_job, struct err *err);
/* The piece is taken whole (copied if need be). Returns true when more may follow at once, false when the caller should
 * pause until `room`. Memory held per job for the body is bounded by HANDLER_BUFFER_MAX + twice the largest piece. When
 * that memory is not to be had, the job ends with HANDLER_NOT_RUN. */
bool handler_write(struct handler_job *job, struct bytes piece);
#define HANDLER_BUFFER_MAX (256 * 1024)
void handler_finish(struct handler_job *job);
/* Kills what runs (a program's whole process group). `reason` is copied and goes into nothing but the result's text. A
 * second abort of the same job has no effect. */
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

/* Of handlers that keep what the user's code made of an object. Borrowed, as is all in it. */
struct handler_results {
    struct budget *budget; /* for what is held in memory */
    const char *directory; /* for what is not */
    uint64_t max_bytes;    /* of one object's parts together; more: FAILED. 0: no limit */
};

/* Accepts and drops every body: `--discard`. */
int handler_discard_new(uv_loop_t *loop, struct handler **ret_handler);

/* A program per object. Body on stdin; stdout is froe's own stdout (/dev/null when froe has none); stderr is kept (its
 * last HANDLER_STDERR_MAX bytes) for the error text. It runs in a process group of its own, without a terminal, in
 * froe's working directory.
 *
 * Environment: PATH, HOME, LANG, LC_*, TZ, TMPDIR, USER, LOGNAME, SHELL from froe's own when set (as they were at
 * handler_program_new), then FROE_BUCKET, FROE_KEY, FROE_KEY_URL, FROE_SIZE, FROE_ETAG (without quotes),
 * FROE_VERSION_ID, FROE_ATTEMPT, FROE_RUN_ID, FROE_CONTENT_TYPE (all always set, maybe empty) and FROE_META_<NAME> for
 * user metadata (upper case, other characters than A-Z 0-9 become '_'; of several that become one name the first is
 * passed); nothing else, so no AWS secrets. Values are bytes, whatever their encoding. A value cannot hold a NUL byte:
 * it is cut there. FROE_KEY_URL is the whole key percent-encoded, slashes and NUL bytes too, so never a path. All of
 * it, with the arguments, is limited to 128 KiB.
 *
 * End: exit 0: OK; 75: AGAIN; others and signals: FAILED. NOT_RUN when the system was out of processes or memory to
 * start it, or the spawner died under it or killed it because this process stood still (spawner_alive). Its process
 * group is dead before `done`.
 *
 * With `results` its stdout is a pipe that is always read, however slowly it reads its stdin, and what it wrote there
 * until its group was dead is the result: one part, maybe empty, whether or not it closed its stdout before. It counts
 * only with an exit 0. FAILED when it is more than max_bytes (it is killed then), when it cannot be kept, and when
 * somebody who left its group still holds the pipe, as then nobody knows whether more would come; NOT_RUN when there
 * are no descriptors or no memory to keep it.
 *
 * Writing to a program that closed its stdin raises SIGPIPE, and a library may not change how a process takes signals:
 * the process must ignore SIGPIPE. */
#define HANDLER_STDERR_MAX 4096

struct handler_program_options {
    const char *const *argv;               /* NULL-terminated; argv[0] is looked up in PATH */
    const struct confine *confine;         /* what is taken from it, see confine.h; NULL: nothing */
    struct spawner *spawner;               /* borrowed, outlives the handler; see spawner.h */
    int64_t kill_grace_us;                 /* between SIGTERM and SIGKILL on abort; 0: SIGKILL at once */
    const struct handler_results *results; /* its stdout is one part, without a name; NULL: stdout is froe's own */
};
/* Copies the options. -ENOENT / -EACCES when the program cannot be found or executed, or what confined_new says; with a
 * text. */
int handler_program_new(uv_loop_t *loop, const struct handler_program_options *options, struct handler **ret_handler,
                        struct err *err);

/* A pool of long-lived workers: processes of one program that are handed object after object, so that nobody pays for a
 * process per object. docs/pool.md is the protocol: a line of JSON and then the body on stdin, a line of JSON back on
 * stdout. stderr, environment (without FROE_*), process group, and SIGPIPE are as for programs.
 *
 * A body is whole for a worker only when it was verified: of one that is streamed the last byte is held back until
 * handler_finish. Bodies below 64 KiB are handed over when they are verified, larger ones are streamed; with
 * HANDLER_POOL_PATH each is first written to a private file, whose path is handed over, with HANDLER_POOL_MEMFD it is
 * gathered in a file without a name, in memory up to SPOOL_RESERVED_MAX and sealed there, of which a descriptor that
 * can only be read comes over a socket that the worker has as descriptor 3 (pool_channel.h), before the line. A job for
 * which no worker is free waits, with its body held back, in the order in which the bodies became ready.
 *
 * End: what the worker says: "ok" OK, "retry" AGAIN, "fail" FAILED. FAILED too when it ends, writes what is no answer,
 * says ok without having read the whole body or received its descriptor, or has results that are not as announced, more
 * than max_bytes, or not wanted here; it is then killed and another takes its place. A retry or fail may come before
 * the body's end, at the same price. FAILED when the body's file or the results cannot be written, and when the length
 * of a body that is to be streamed was not known beforehand. NOT_RUN when no worker can be started or result be kept
 * now (processes, memory, descriptors), or the spawner died, or killed it because this process stood still. `early` is
 * never called.
 *
 * A worker that exits before it has read anything of an object, having answered for others, has not failed it: the
 * object goes to another. Workers that end before their first answer are started again ever more slowly, up to a second
 * apart. A worker that did not end its object well is dead before `done`, and so is its group. */
enum handler_pool_body {
    HANDLER_POOL_INLINE, /* after the line */
    HANDLER_POOL_PATH,   /* in a file; the directory is a private one under TMPDIR, else /tmp */
    HANDLER_POOL_MEMFD,  /* in memory within `budget`, else in a file without a name there: a descriptor is sent */
    HANDLER_POOL_SHARED, /* the same for workers of froe's own, which take of a descriptor no more than the object's
                            size and nothing after their answer: the memory is used again (shared_buffers.h) */
};
struct handler_pool_options {
    const char *const *argv;       /* NULL-terminated; argv[0] is looked up in PATH */
    const struct confine *confine; /* as above; its CPU time is for each object anew */
    struct spawner *spawner;       /* borrowed, outlives the handler; see spawner.h */
    int64_t kill_grace_us;         /* between the end of its input, SIGTERM and SIGKILL; 0: SIGKILL at once on abort */
    uint32_t workers;              /* at most so many at work; 0: as many as this process may use cores */
    enum handler_pool_body body;
    struct budget *budget;                 /* of HANDLER_POOL_MEMFD and _SHARED, borrowed; NULL: all in files */
    const struct handler_results *results; /* NULL: an answer with results fails its object */
    const char *description;               /* copied; NULL: of argv */
    uint32_t recycle_objects;              /* a worker is replaced after so many; 0: never */
    int64_t recycle_bytes;                 /* or when it has more than so many resident after an answer; 0: never */
};
/* Copies the options; starts no worker. -ENOENT / -EACCES as for programs, those of confined_new, -ENOMEM, or what the
 * directory of HANDLER_POOL_PATH could not be made for; with a text. */
int handler_pool_new(uv_loop_t *loop, const struct handler_pool_options *options, struct handler **ret_handler,
                     struct err *err);

/* A plugin (include/froe_plugin.h): a pool of processes of `host`, froe's program for them, with a shared object of the
 * user's. `pool.argv` is the file and the plugin's arguments; bodies are sent inline. The file is loaded, and the
 * plugin begins and ends once, confined like the workers, before this returns: it blocks for as long as that takes, at
 * most HANDLER_PLUGIN_BEGIN_S. -ENOENT for a file that is not there or no plugin, -EINVAL for one that is wrong or
 * cannot begin, with its words; else as handler_pool_new. */
#define HANDLER_PLUGIN_BEGIN_S 10
int handler_plugin_new(uv_loop_t *loop, const char *host, const struct handler_pool_options *pool,
                       struct handler **ret_handler, struct err *err);
