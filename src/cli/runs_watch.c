/* runs_watch.c - froe runs watch and logs: what happens, line by line, as it comes. */
#include "clock.h"
#include "commands.h"
#include "json_set.h"
#include "local_time.h"
#include "map.h"
#include "mem.h"
#include "runs_show.h"
#include "text.h"

#include <froe.h>
#include <unistd.h>

#define POLL_US US_PER_S
#define POLL_FIRST_US (200 * US_PER_MS)
#define OVERLAP_US (2 * US_PER_S) /* what was written a little later may have a time a little earlier */
#define FORGET_AFTER 10           /* polls in which a run was not seen */
#define RUNNING_MAX 10000

static int flushed(void) {
    return fflush(stdout) == 0 ? 0 : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}

static void pause_between(struct asker *asker, int64_t us) {
    asker_rest(asker);
    usleep((useconds_t)us);
}

/* Nothing may ever come then, and who waits should know. */
static int say_when_nobody_works(struct asker *asker) {
    json_t *request = json_pack("{s:s}", "op", "workers_list"), *answer = NULL;
    int r = ask(asker, request, &answer);
    if (r == 0 && json_array_size(json_object_get(answer, "workers")) == 0)
        fputs("froe: no froe works on this store now; waiting for what comes (Ctrl-C ends this)\n", stderr);
    json_decref(request);
    json_decref(answer);
    return r;
}

/* "14:20:08 succeeded  4711:12  try 1  1.5s  host:99  bucket/key  error" */
static void print_change(const struct options *options, const json_t *run) {
    if (options->json) {
        runs_print_json(run);
        return;
    }
    _cleanup_buf_ struct buf line = {0};
    const char *state = json_text(run, "state");
    bool asked = json_is_true(json_object_get(run, "cancel_asked"));
    bool over = local_read(run, "ended_at") != 0 && strcmp(state, "running") != 0 && strcmp(state, "queued") != 0;
    local_add_short(&line, over ? local_read(run, "ended_at") : clock_utc_us(&clock_system));
    buf_printf(&line, "  %-9s  %-10s", asked ? "ending" : state, json_text(run, "run_id"));
    if (over && json_number(run, "attempts") > 0) {
        buf_printf(&line, "  try %jd  ", (intmax_t)json_number(run, "attempts"));
        runs_add_took(&line, run);
    }
    if (json_text(run, "worker")[0]) {
        buf_add_str(&line, "  ");
        runs_add_text(&line, run, "worker", 100);
    }
    buf_add_str(&line, "  ");
    runs_add_what(&line, run);
    if (over && json_text(run, "error")[0]) {
        buf_add_str(&line, "  ");
        runs_add_text(&line, run, "error", 300);
    }
    puts(line.p ? line.p : "");
}

/* ---- log lines: those after what was printed last ---- */

struct lines {
    int64_t utc_us;
    size_t same; /* so many of that very time were printed */
};

static void print_lines(const struct options *options, struct lines *printed, json_t *all, bool with_run) {
    size_t i, same = 0;
    json_t *line;
    int64_t before_us = printed->utc_us;
    size_t before_same = printed->same;
    json_array_foreach(all, i, line) {
        int64_t utc_us = local_read(line, "time");
        if (utc_us < before_us)
            continue;
        same = utc_us == before_us ? same + 1 : 0;
        if (utc_us == before_us && same <= before_same)
            continue;
        if (options->json)
            runs_print_json(line);
        else
            runs_print_line(line, with_run);
        printed->same = utc_us == printed->utc_us ? printed->same + 1 : 1;
        printed->utc_us = utc_us;
    }
}

int runs_logs(const struct options *options, struct asker *asker) {
    json_t *request = json_pack("{s:s}", "op", "run_logs");
    if (options->n_names > 0)
        json_object_set_new(request, "run", json_string(options->names[0]));
    struct lines printed = {0};
    bool told = false;
    int r;
    for (;;) {
        json_t *answer = NULL;
        r = ask(asker, request, &answer);
        json_t *lines = json_object_get(answer, "lines");
        if (r == 0 && !options->follow && !options->json && json_array_size(lines) == 0)
            puts("no log lines");
        print_lines(options, &printed, lines, options->n_names == 0);
        json_decref(answer);
        if (r == 0)
            r = flushed();
        if (r == 0 && options->follow && !told)
            r = say_when_nobody_works(asker);
        told = true;
        if (r != 0 || !options->follow)
            break;
        pause_between(asker, POLL_US);
    }
    json_decref(request);
    return r;
}

/* ---- one run, until it is over ---- */

static int exit_code_of(const char *state) {
    return strcmp(state, "succeeded") == 0 ? EXIT_DRAINED : strcmp(state, "parked") == 0 ? EXIT_PARKED : EXIT_INTERNAL;
}

static bool is_over(const char *state) {
    return strcmp(state, "succeeded") == 0 || strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0 ||
           strcmp(state, "parked") == 0;
}

/* What of it, when different, is worth a line. */
static void add_mark(struct buf *mark, const json_t *run) {
    buf_printf(mark, "%s %jd %d", json_text(run, "state"), (intmax_t)json_number(run, "attempts"),
               json_is_true(json_object_get(run, "cancel_asked")));
}

/* One look. -1: it goes on; else the exit code. */
static int look_at_one(const struct options *options, struct asker *asker, json_t *request, struct buf *mark,
                       struct lines *printed) {
    json_t *answer = NULL;
    int code, r = ask_any(asker, request, &answer, &code);
    if (r != 0)
        return r;
    if (json_object_get(answer, "error")) {
        if (code == FROE_ERR_NOT_FOUND && mark->n > 0)
            r = command_fail(EXIT_INTERNAL, "the run is over, and no history of it is kept: how it ended is not known");
        else
            r = ask_failed(answer);
        json_decref(answer);
        return r;
    }
    const json_t *run = json_object_get(answer, "run");
    _cleanup_buf_ struct buf now = {0};
    add_mark(&now, run);
    print_lines(options, printed, json_object_get(run, "log"), false);
    if (!bytes_equal(buf_bytes(&now), buf_bytes(mark))) {
        print_change(options, run);
        buf_reset(mark);
        buf_add_bytes(mark, buf_bytes(&now));
    }
    r = is_over(json_text(run, "state")) ? exit_code_of(json_text(run, "state")) : -1;
    json_decref(answer);
    int printing = flushed();
    return printing != 0 ? printing : r;
}

static int watch_one(const struct options *options, struct asker *asker) {
    json_t *request = json_pack("{s:s, s:s}", "op", "run_get", "run", options->names[0]);
    _cleanup_buf_ struct buf mark = {0};
    struct lines printed = {0};
    int r;
    for (int64_t wait_us = POLL_FIRST_US;; wait_us = wait_us * 2 < POLL_US ? wait_us * 2 : POLL_US) {
        r = look_at_one(options, asker, request, &mark, &printed);
        if (r < 0 && wait_us == POLL_FIRST_US && (r = say_when_nobody_works(asker)) == 0)
            r = -1;
        if (r >= 0)
            break;
        pause_between(asker, wait_us);
    }
    json_decref(request);
    return r;
}

/* ---- all that match ---- */

struct seen {
    uint64_t poll;
    char mark[40];
};

struct watch {
    const struct options *options;
    struct asker *asker;
    struct map seen; /* by run id */
    uint64_t poll;   /* 0: the first, which prints nothing */
    int64_t high_utc_us;
    json_t *changed; /* of this poll, the newest first */
};

static void note_time(struct watch *watch, const json_t *run, const char *name) {
    int64_t utc_us = local_read(run, name);
    if (utc_us > watch->high_utc_us)
        watch->high_utc_us = utc_us;
}

static int note_run(struct watch *watch, json_t *run) {
    struct bytes id = bytes_str(json_text(run, "run_id"));
    struct seen *seen = map_get(&watch->seen, id);
    _cleanup_buf_ struct buf mark = {0};
    note_time(watch, run, "created_at");
    note_time(watch, run, "ended_at");
    add_mark(&mark, run);
    if (!seen) {
        seen = mem_zalloc(sizeof *seen);
        if (!seen || map_put(&watch->seen, id, seen) < 0) {
            mem_free(seen);
            return command_fail(EXIT_INTERNAL, "out of memory");
        }
    }
    seen->poll = watch->poll;
    if (mark.p && strcmp(mark.p, seen->mark) != 0) {
        snprintf(seen->mark, sizeof seen->mark, "%s", mark.p);
        json_array_append(watch->changed, run);
    }
    return 0;
}

static int note_all(struct watch *watch, json_t *request, uint64_t most) {
    int r = 0;
    for (bool more = true; r == 0 && more && most > 0;) {
        json_t *answer = NULL, *run;
        size_t i;
        r = runs_next(watch->asker, request, most, &answer, &more);
        json_t *runs = json_object_get(answer, "runs");
        json_array_foreach(runs, i, run) {
            if (r == 0)
                r = note_run(watch, run);
        }
        most -= json_array_size(runs);
        json_decref(answer);
    }
    json_decref(request);
    return r;
}

/* Those created or ended of late, and those that run. */
static int note_recent(struct watch *watch) {
    const struct options *options = watch->options;
    json_t *recent = runs_request(options, options->states);
    bool first = watch->poll == 0;
    if (watch->high_utc_us > OVERLAP_US)
        json_object_set_new(recent, "since_us", json_integer(watch->high_utc_us - OVERLAP_US));
    int r = note_all(watch, recent, first ? 1000 : UINT64_MAX);
    unsigned running = 1u << FROE_RUNNING;
    if (r == 0 && (!options->states || options->states & running))
        r = note_all(watch, runs_request(options, running), RUNNING_MAX);
    return r;
}

static int forget_old(struct watch *watch) {
    struct map kept = {0};
    size_t at = 0;
    struct bytes id;
    void *value;
    int r = 0;
    while (map_next(&watch->seen, &at, &id, &value)) {
        const struct seen *seen = value;
        if (seen->poll + FORGET_AFTER < watch->poll)
            mem_free(value);
        else if (map_put(&kept, id, value) < 0) {
            mem_free(value);
            r = command_fail(EXIT_INTERNAL, "out of memory");
        }
    }
    map_free(&watch->seen);
    watch->seen = kept;
    return r;
}

static void forget_all(struct watch *watch) {
    size_t at = 0;
    struct bytes id;
    void *value;
    while (map_next(&watch->seen, &at, &id, &value))
        mem_free(value);
    map_free(&watch->seen);
}

static int watch_all(const struct options *options, struct asker *asker) {
    struct watch watch = {.options = options, .asker = asker};
    int r = say_when_nobody_works(asker);
    for (; r == 0; watch.poll++) {
        watch.changed = json_array();
        r = note_recent(&watch);
        for (size_t i = json_array_size(watch.changed); watch.poll > 0 && i-- > 0;)
            print_change(options, json_array_get(watch.changed, i));
        json_decref(watch.changed);
        if (r == 0 && watch.poll % FORGET_AFTER == 0)
            r = forget_old(&watch);
        if (r == 0)
            r = flushed();
        if (r == 0)
            pause_between(asker, POLL_US);
    }
    forget_all(&watch);
    return r;
}

int runs_watch(const struct options *options, struct asker *asker) {
    return options->n_names > 0 ? watch_one(options, asker) : watch_all(options, asker);
}
