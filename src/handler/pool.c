/* pool.c - the handler that keeps workers: bodies are gathered, wait for a worker in turn, and are fed to it.
 *
 * What makes a body whole for a worker is its last byte, and with it the line before an empty one or a path: that is
 * sent after handler_finish and not earlier. So nothing need be taken back when a download breaks off, and a worker has
 * to be ended only when a large body was being streamed to it. */
#include "handler.h"

#include "cleanup.h"
#include "later.h"
#include "pool_crew.h"
#include "pool_files.h"
#include "program_command.h"
#include "program_env.h"

/* A body of this size is streamed, and the caller paused as long as so much of it waits. As a buffer doubles when it
 * grows, that is well inside what the header promises. */
#define PAUSE_BYTES (64 * 1024)
_Static_assert(PAUSE_BYTES * 2 <= HANDLER_BUFFER_MAX, "the promise of HANDLER_BUFFER_MAX");
/* Likewise where bodies go to files: what is being written, and what gathers meanwhile. */
#define PAUSE_FILE_BYTES (224 * 1024)

#define REASON_MAX 512

struct pool {
    struct handler handler;
    struct later later;
    struct pool_crew crew;
    struct program_command command;
    struct program_env env;
    struct confined *confined; /* NULL: nothing is taken from workers */
    enum handler_pool_body body;
    struct pool_files *files; /* NULL: bodies are sent inline */
    struct list ready;        /* jobs that wait for a worker */
    size_t n_jobs;
    uint64_t last_id;
    bool closing;
    char scratch[POOL_SCRATCH_BYTES];
    unsigned open; /* of later, the crew, files: not yet closed */
    void (*closed)(void *arg);
    void *closed_arg;
};

struct pool_job {
    struct handler_job job;
    struct handler_events events;
    void *arg;
    struct later_item later;
    struct list ready;
    struct pool_worker *worker; /* NULL: none, or not any more */
    struct pool_file *file;

    struct buf object, line, body; /* members of the line about the object; the line; what is here of the body */
    size_t line_sent, body_sent;   /* bytes of these that the pipe took */
    uint64_t size, received;       /* as was told beforehand; so far */

    bool finished, aborted, owes_room;
    bool final;    /* the worker said so of its failure */
    bool consumed; /* the beginning of the body is not here any more */
    bool over;     /* `end` and `text` say how */
    enum handler_end end;
    struct buf text; /* or the reason of the abort */
};

static struct pool *pool_of(const struct pool_job *job) {
    return (struct pool *)job->job.handler;
}

/* ---- the end of a job ---- */

/* The job is gone when the caller is told: what that does next may be the end of the pool. */
static void end_with(struct pool_job *job, enum handler_end end, const char *text, const struct pool_results *results) {
    struct handler_events events = job->events;
    void *arg = job->arg;
    struct buf kept = job->text;
    struct handler_result result = {.end = job->aborted ? HANDLER_ABORTED : end};
    result.final = job->final && result.end == HANDLER_FAILED;
    if (results && result.end == HANDLER_OK)
        result.parts = pool_results_parts(results, &result.n_parts);
    if (job->aborted)
        result.text = kept.n ? kept.p : "aborted";
    else
        result.text = end == HANDLER_OK ? "" : text;
    pool_of(job)->n_jobs--;
    list_remove(&job->ready);
    later_cancel(&job->later);
    pool_file_free(job->file);
    buf_free(&job->object);
    buf_free(&job->line);
    buf_free(&job->body);
    mem_free(job);
    events.done(arg, &result);
    buf_free(&kept);
}

static void end(struct pool_job *job, enum handler_end end, const char *text) {
    end_with(job, end, text, NULL);
}

static const char *text_of(const struct pool_job *job) {
    return job->text.n ? job->text.p : "failed, and its reason could not be kept: out of memory";
}

/* Decides how it ends, and stops gathering. */
static void decide(struct pool_job *job, enum handler_end end, const char *text) {
    if (job->over || job->aborted)
        return;
    job->over = true;
    job->end = end;
    job->owes_room = false;
    buf_add_str(&job->text, text);
    list_remove(&job->ready);
}

/* For inside a call: the caller is told soon. */
static void decide_and_end(struct pool_job *job, enum handler_end end, const char *text) {
    decide(job, end, text);
    later_add(&pool_of(job)->later, &job->later);
}

/* ---- feeding a worker ---- */

static size_t waiting(const struct pool_job *job) {
    return job->file ? pool_file_waiting(job->file) : job->body.n - job->body_sent;
}

/* What has gathered is enough for now. */
static bool is_full(const struct pool_job *job) {
    return waiting(job) >= (job->file ? PAUSE_FILE_BYTES : PAUSE_BYTES);
}

static bool all_sent(const struct pool_job *job) {
    return job->finished && job->line_sent == job->line.n && (job->file || job->body_sent == job->body.n);
}

/* There is room, and the caller is to be told as soon as that may be. */
static void owe_room(struct pool_job *job) {
    if (job->owes_room && !is_full(job))
        later_add(&pool_of(job)->later, &job->later);
}

/* Writes what the worker takes now, but for a last byte that was not verified. */
static void feed(struct pool_job *job) {
    struct bytes data[2] = {bytes_of(job->line.p + job->line_sent, job->line.n - job->line_sent)};
    if (!job->file && job->body.n > job->body_sent)
        data[1] = bytes_of(job->body.p + job->body_sent, job->body.n - job->body_sent - (job->finished ? 0 : 1));
    size_t body_n = data[1].n;
    bool reads = pool_worker_write(job->worker, data);
    job->line_sent = job->line.n - data[0].n;
    job->body_sent += body_n - data[1].n;
    if (reads && (data[0].n || data[1].n))
        pool_worker_want_room(job->worker);
    owe_room(job);
}

static void on_worker_room(struct pool_worker *worker) {
    struct pool_job *job = worker->job;
    if (job && !job->over && !job->aborted)
        feed(job);
}

/* ---- who works on what ---- */

static void fail_ready(struct pool *pool, enum handler_end end, const char *text) {
    while (!list_empty(&pool->ready))
        decide_and_end(LIST_ENTRY(pool->ready.next, struct pool_job, ready), end, text);
}

static void cannot_start(struct pool *pool, int r) {
    _cleanup_buf_ struct buf text = {0};
    bool our_fault = r != -E2BIG;
    if (buf_printf(&text, "cannot start a worker: %s",
                   r == -EPIPE ? "the process that starts programs died" : err_errno_text(r)) < 0)
        buf_add_str(&text, "cannot start a worker");
    fail_ready(pool, our_fault ? HANDLER_NOT_RUN : HANDLER_FAILED, text.n ? text.p : "out of memory");
}

/* What goes ahead of the line. */
static int send_body(struct pool_job *job, struct pool_worker *worker) {
    _cleanup_close_ int fd = -1;
    if (!pool_sends_descriptors(pool_of(job)->body))
        return 0;
    int r = pool_file_open(job->file, &fd);
    return r < 0 ? r : pool_worker_send(worker, fd);
}

static void cannot_give(struct pool_job *job, int r) {
    struct err err = {0};
    err_set(&err, r, "cannot hand the object to a worker: %s", err_errno_text(r));
    decide_and_end(job, HANDLER_NOT_RUN, r == -ENOMEM ? "out of memory" : err.text);
}

static void give(struct pool_job *job, struct pool_worker *worker) {
    struct pool *pool = pool_of(job);
    buf_reset(&job->line);
    job->line_sent = job->body_sent = 0;
    int r = pool_add_request(&job->line, pool->last_id + 1, job->finished ? job->received : job->size, pool->body,
                             job->file ? pool_file_path(job->file) : NULL, buf_bytes(&job->object));
    if (r == 0)
        r = send_body(job, worker);
    if (r < 0) {
        pool_crew_put_back(&pool->crew, worker);
        cannot_give(job, r);
        return;
    }
    job->worker = worker;
    worker->job = job;
    pool_worker_begin(worker, ++pool->last_id);
    feed(job);
}

static void dispatch(struct pool *pool) {
    while (!list_empty(&pool->ready)) {
        int r;
        struct pool_worker *worker = pool_crew_take(&pool->crew, &r);
        if (r < 0)
            cannot_start(pool, r);
        if (!worker)
            return;
        give(LIST_ENTRY(list_pop_front(&pool->ready), struct pool_job, ready), worker);
    }
}

static void on_again(void *arg) {
    dispatch(arg);
}

static void make_ready(struct pool_job *job) {
    list_push_back(&pool_of(job)->ready, &job->ready);
    dispatch(pool_of(job));
}

/* ---- answers and ends of workers ---- */

static void add_verdict_text(struct pool_worker *worker, const struct pool_answer *answer, struct buf *text) {
    if (answer->reason.n) {
        buf_add_bytes(text, buf_bytes(&answer->reason));
        return;
    }
    static const char *const words[] = {
        [POOL_RETRY] = "the worker asks for another try", [POOL_FAIL] = "the worker says that it failed"};
    if (buf_printf(text, "%s: ", words[answer->status]) < 0)
        return;
    size_t head = text->n;
    if (pool_worker_add_said(worker, text) == 0 && text->n == head)
        text->n -= 2; /* it said nothing */
    text->p[text->n] = '\0';
}

static void on_answered(struct pool_worker *worker, const struct pool_answer *answer) {
    static const enum handler_end ends[] = {
        [POOL_OK] = HANDLER_OK, [POOL_RETRY] = HANDLER_AGAIN, [POOL_FAIL] = HANDLER_FAILED};
    struct pool *pool = worker->arg;
    struct pool_job *job = worker->job;
    bool received = pool_worker_received(worker);
    bool whole = all_sent(job) && pool_worker_unread(worker) == 0 && received;
    pool->crew.deaths = 0;
    if (!whole && answer->status == POOL_OK) {
        pool_worker_fault(worker, HANDLER_FAILED,
                          received ? "the worker answered without having read the whole body"
                                   : "the worker answered without having received the body's descriptor");
        return;
    }
    _cleanup_buf_ struct buf text = {.max = HANDLER_TEXT_MAX};
    if (answer->status != POOL_OK)
        add_verdict_text(worker, answer, &text);
    job->final = answer->final;
    if (!whole) { /* what it did not read would be taken for the next object */
        decide(job, ends[answer->status], text.n ? text.p : "");
        pool_worker_fault(worker, HANDLER_FAILED, "it left some of the body unread");
        return;
    }
    worker->job = NULL;
    job->worker = NULL;
    pool_crew_answered(&pool->crew, worker);
    dispatch(pool);
    end_with(job, ends[answer->status], text.n ? text.p : "", answer->results);
}

static void close_when_empty(struct pool *pool);

static void on_ended(struct pool_worker *worker, const struct pool_worker_exit *exit) {
    struct pool *pool = worker->arg;
    struct pool_job *job = worker->job;
    pool_crew_ended(&pool->crew, worker, exit);
    if (job) {
        job->worker = NULL;
        if (exit->unread && !job->consumed && !job->over && !job->aborted) {
            list_push_front(&pool->ready, &job->ready);
            job = NULL;
        }
    }
    dispatch(pool);
    if (!job)
        close_when_empty(pool);
    else if (job->over)
        end(job, job->end, text_of(job));
    else
        end(job, exit->unread ? HANDLER_NOT_RUN : exit->end, exit->text);
}

/* ---- the handler's functions ---- */

static void on_turn(struct later_item *item) {
    struct pool_job *job = LIST_ENTRY(item, struct pool_job, later);
    if (job->aborted || job->over) {
        if (!job->worker) /* else its end is waited for */
            end(job, job->end, text_of(job));
    } else if (job->owes_room) {
        job->owes_room = false;
        job->events.room(job->arg);
    }
}

static void cannot_write(struct pool_job *job, int r) {
    bool ours = r == -EMFILE || r == -ENFILE;
    struct err err = {0};
    err_set(&err, r, "cannot write the body to a file in %s: %s", pool_files_directory(pool_of(job)->files),
            err_errno_text(r));
    decide_and_end(job, ours ? HANDLER_NOT_RUN : HANDLER_FAILED, err.text);
}

static void on_file_progress(void *arg) {
    struct pool_job *job = arg;
    if (job->over || job->aborted)
        return;
    int r = pool_file_error(job->file);
    if (r < 0) {
        cannot_write(job, r);
    } else if (job->finished) {
        make_ready(job);
    } else {
        owe_room(job);
    }
}

static void length_is_wrong(struct pool_job *job) {
    struct err err = {0};
    err_set(&err, -EPROTO,
            "the body is not as long as was said beforehand: %llu bytes of %llu (a length that is not known needs "
            "--pool-body path or memfd)",
            (unsigned long long)job->received, (unsigned long long)job->size);
    decide_and_end(job, HANDLER_FAILED, err.text);
    if (job->worker)
        pool_worker_fault(job->worker, HANDLER_FAILED, err.text);
}

static int take_piece(struct pool_job *job, struct bytes piece) {
    if (job->file)
        return pool_file_add(job->file, piece);
    if (job->worker && job->body_sent) {
        buf_consume(&job->body, job->body_sent);
        job->body_sent = 0;
        job->consumed = true;
    }
    return buf_add_bytes(&job->body, piece);
}

static bool pool_write(struct handler_job *handler_job, struct bytes piece) {
    struct pool_job *job = (struct pool_job *)handler_job;
    if (job->over || job->aborted || piece.n == 0)
        return true;
    int r = take_piece(job, piece);
    if (r < 0 && r != -ENOMEM) {
        cannot_write(job, r);
        return true;
    }
    if (r < 0) {
        decide_and_end(job, HANDLER_NOT_RUN, "out of memory while gathering the body");
        if (job->worker)
            pool_worker_fault(job->worker, HANDLER_NOT_RUN, "out of memory");
        return true;
    }
    job->received += piece.n;
    bool large = job->received >= PAUSE_BYTES && !job->file;
    if (large && job->received > job->size) {
        length_is_wrong(job);
        return true;
    }
    if (job->worker)
        feed(job);
    else if (large && job->received < job->size && list_empty(&job->ready))
        make_ready(job);
    /* With the last piece nothing more is held back: the end must come. */
    job->owes_room = !job->over && is_full(job) && (job->file || job->received < job->size);
    return !job->owes_room;
}

static void pool_finish(struct handler_job *handler_job) {
    struct pool_job *job = (struct pool_job *)handler_job;
    if (job->finished || job->over || job->aborted)
        return;
    job->finished = true;
    job->owes_room = false;
    if (job->file)
        pool_file_flush(job->file);
    if (job->worker && job->received != job->size)
        length_is_wrong(job);
    else if (job->worker)
        feed(job);
    else if (list_empty(&job->ready) && (!job->file || waiting(job) == 0))
        make_ready(job);
}

static void pool_abort(struct handler_job *handler_job, const char *reason) {
    struct pool_job *job = (struct pool_job *)handler_job;
    if (job->aborted)
        return;
    job->aborted = true;
    job->owes_room = false;
    buf_reset(&job->text);
    buf_add_bytes(&job->text, bytes_of(reason, strnlen(reason, REASON_MAX)));
    list_remove(&job->ready);
    if (job->worker)
        pool_worker_stop(job->worker);
    else
        later_add(&pool_of(job)->later, &job->later);
}

static int start_failed(int r, struct err *err) {
    switch (r) {
    case -ENOMEM:
        return err_set(err, r, "cannot hand the object to a worker: out of memory");
    case -EMFILE:
    case -ENFILE:
        return err_set(err, -EAGAIN, "cannot hand the object to a worker now: out of descriptors");
    case -E2BIG:
        return err_set(err, r, "cannot hand the object to a worker: its metadata is over %d KiB",
                       POOL_REQUEST_MAX / 1024);
    case -EPIPE:
        return err_set(err, r, "cannot start a worker: the process that starts programs died");
    default:
        return err_set(err, r, "cannot make a file for the body: %s", err_errno_text(r));
    }
}

static int pool_start(struct handler *handler, const struct handler_object *object, const struct handler_events *events,
                      void *arg, struct handler_job **ret_job, struct err *err) {
    struct pool *pool = (struct pool *)handler;
    if (pool->crew.lost)
        return start_failed(-EPIPE, err);
    struct pool_job *job = mem_zalloc(sizeof *job);
    if (!job)
        return start_failed(-ENOMEM, err);
    *job = (struct pool_job){
        .job = {handler}, .events = *events, .arg = arg, .size = object->size, .text = {.max = HANDLER_TEXT_MAX}};
    later_item_init(&job->later, on_turn);
    list_init(&job->ready);
    buf_init(&job->object, POOL_REQUEST_MAX);
    int r = pool_add_object(&job->object, object);
    if (r == 0 && pool->files)
        r = pool_file_new(pool->files, object->size, on_file_progress, job, &job->file);
    if (r < 0) {
        buf_free(&job->object);
        mem_free(job);
        return start_failed(r, err);
    }
    pool->n_jobs++;
    *ret_job = &job->job;
    return 0;
}

static const char *pool_describe(const struct handler *handler) {
    return ((const struct pool *)handler)->command.description;
}

/* ---- making and closing it ---- */

static void nothing(void *arg) {
}

static void free_pool(struct pool *pool) {
    if (pool->files) /* without files in it, so it is gone at once */
        pool_files_close(pool->files, nothing, NULL);
    program_command_free(&pool->command);
    confined_free(pool->confined);
    program_env_free(&pool->env);
    mem_free(pool);
}
DEFINE_CLEANUP(struct pool, free_pool)

static void on_part_closed(void *arg) {
    struct pool *pool = arg;
    if (--pool->open > 0)
        return;
    void (*closed)(void *arg) = pool->closed;
    void *closed_arg = pool->closed_arg;
    free_pool(pool);
    closed(closed_arg);
}

static void on_timer_closed(uv_handle_t *timer) {
    struct pool_crew *crew = timer->data;
    on_part_closed(crew->arg);
}

static void close_when_empty(struct pool *pool) {
    if (!pool->closing || pool->crew.n_workers > 0)
        return;
    pool->open = pool->files ? 3 : 2;
    uv_close((uv_handle_t *)&pool->crew.restart, on_timer_closed);
    later_close(&pool->later, on_part_closed, pool);
    if (pool->files)
        pool_files_close(TAKE_PTR(pool->files), on_part_closed, pool);
}

static void pool_close(struct handler *handler, void (*closed)(void *arg), void *arg) {
    struct pool *pool = (struct pool *)handler;
    pool->closing = true;
    pool->closed = closed;
    pool->closed_arg = arg;
    pool_crew_retire(&pool->crew);
    close_when_empty(pool);
}

int handler_pool_new(uv_loop_t *loop, const struct handler_pool_options *options, struct handler **ret_handler,
                     struct err *err) {
    static const struct handler_ops ops = {
        .start = pool_start,
        .write = pool_write,
        .finish = pool_finish,
        .abort = pool_abort,
        .close = pool_close,
        .describe = pool_describe,
    };
    _cleanup_(cleanup_free_pool) struct pool *pool = mem_zalloc(sizeof *pool);
    if (!pool)
        return err_set(err, -ENOMEM, "out of memory");
    pool->handler.ops = &ops;
    pool_crew_init(&pool->crew);
    pool->crew.max_workers = options->workers ? options->workers : uv_available_parallelism();
    pool->crew.recycle_objects = options->recycle_objects;
    pool->crew.recycle_bytes = options->recycle_bytes;
    pool->body = options->body;
    pool->crew.again = on_again;
    pool->crew.arg = pool;
    list_init(&pool->ready);
    char what[64];
    snprintf(what, sizeof what, "pool of %u:", (unsigned)pool->crew.max_workers);
    int r = program_command_init(&pool->command, what, options->argv, err);
    /* Before the view of the file system is made, which may know only what is there then. */
    if (r == 0 && options->body == HANDLER_POOL_PATH)
        r = pool_files_new(loop, &pool->files, err);
    if (r == 0 && pool_sends_descriptors(options->body))
        r = pool_files_new_nameless(loop, options->budget, options->body == HANDLER_POOL_SHARED, &pool->files, err);
    if (r == 0 && options->confine) {
        struct confine confine = *options->confine;
        confine.cpu_per_object = true;
        r = confined_new(&confine, &pool->confined, err);
    }
    if (r == 0 && options->description) {
        mem_free(pool->command.description);
        pool->command.description = mem_strdup(options->description);
        r = pool->command.description ? 0 : err_set(err, -ENOMEM, "out of memory");
    }
    if (r < 0)
        return r;
    const char *const *envp;
    r = program_env_init(&pool->env);
    if (r == 0)
        r = program_env_build(&pool->env, NULL, &envp);
    if (r < 0)
        return err_set(err, r, "out of memory");
    pool->crew.kind = (struct pool_worker_kind){
        .loop = loop,
        .spawner = options->spawner,
        .file = pool->command.file,
        .argv = (const char *const *)pool->command.argv,
        .envp = envp,
        .kill_grace_ms = (uint64_t)((options->kill_grace_us > 0 ? options->kill_grace_us : 0) + 999) / 1000,
        .results = options->results,
        .scratch = pool->scratch,
        .channel = pool_sends_descriptors(options->body),
        .confined = pool->confined,
        .cpu_s = options->confine ? options->confine->cpu_s : 0,
        .room = on_worker_room,
        .answered = on_answered,
        .ended = on_ended,
    };
    later_init(&pool->later, loop);
    pool_crew_begin(&pool->crew);
    *ret_handler = &TAKE_PTR(pool)->handler;
    return 0;
}
