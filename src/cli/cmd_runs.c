/* cmd_runs.c - froe runs: list and show; the other verbs are in runs_watch.c and runs_change.c. */
#include "clock.h"
#include "commands.h"
#include "json_set.h"
#include "local_time.h"
#include "runs_show.h"
#include "table.h"
#include "text.h"

#include <froe.h>

#define LIST_DEFAULT 100
#define PART 1000
#define ERROR_SHOWN 300

/* ---- shared ---- */

json_t *runs_request(const struct options *options, unsigned states) {
    json_t *request = json_pack("{s:s}", "op", "runs_list");
    if (options->workflow)
        json_object_set_new(request, "workflow", json_string(options->workflow));
    if (options->bucket)
        json_object_set_new(request, "bucket", json_string(options->bucket));
    if (options->key) {
        _cleanup_buf_ struct buf url = {0};
        if (text_add_percent(&url, bytes_str(options->key), true) == 0)
            json_object_set_new(request, "key_url", json_string(url.p ? url.p : ""));
    }
    if (options->meta_name) {
        json_object_set_new(request, "meta_name", json_string(options->meta_name));
        json_object_set_new(request, "meta_value", json_string(options->meta_value));
    }
    if (options->since_utc_us)
        json_object_set_new(request, "since_us", json_integer(options->since_utc_us));
    if (options->until_utc_us)
        json_object_set_new(request, "until_us", json_integer(options->until_utc_us));
    if (states)
        json_object_set_new(request, "states", json_integer(states));
    return request;
}

int runs_next(struct asker *asker, json_t *request, uint64_t most, json_t **ret_answer, bool *ret_more) {
    json_t *answer = NULL;
    json_object_set_new(request, "limit", json_integer(most < PART ? (json_int_t)most : PART));
    int r = ask(asker, request, &answer);
    if (r != 0)
        return r;
    json_t *runs = json_object_get(answer, "runs");
    size_t n = json_array_size(runs);
    *ret_more = json_is_true(json_object_get(answer, "more")) && n > 0 && n < most;
    if (n > 0)
        json_object_set(request, "before", json_object_get(json_array_get(runs, n - 1), "run_id"));
    *ret_answer = answer;
    return 0;
}

void runs_print_json(const json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
}

void runs_add_text(struct buf *buf, const json_t *object, const char *name, size_t most) {
    const json_t *value = json_object_get(object, name);
    struct bytes text = bytes_of(json_string_value(value), json_string_length(value));
    if (text.n <= most) {
        text_add_printable(buf, text);
        return;
    }
    size_t n = most;
    while (n > 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80)
        n--;
    text_add_printable(buf, bytes_of(text.p, n));
    buf_add_str(buf, "...");
}

/* A key that is not UTF-8 comes percent-encoded already. */
static void add_key(struct buf *buf, const json_t *run, const char *name, const char *name_url) {
    if (json_object_get(run, name))
        runs_add_text(buf, run, name, SIZE_MAX);
    else
        buf_add_str(buf, json_text(run, name_url));
}

void runs_add_what(struct buf *buf, const json_t *run) {
    if (json_object_get(run, "key") || json_object_get(run, "key_url")) {
        runs_add_text(buf, run, "bucket", SIZE_MAX);
        buf_add_byte(buf, '/');
        add_key(buf, run, "key", "key_url");
        return;
    }
    runs_add_text(buf, run, "workflow", SIZE_MAX);
    if (json_object_get(run, "child_key") || json_object_get(run, "child_key_url")) {
        buf_add_byte(buf, ' ');
        add_key(buf, run, "child_key", "child_key_url");
    }
}

static void add_ms(struct buf *buf, const json_t *duration) {
    if (json_is_number(duration))
        text_add_duration(buf, (int64_t)(json_number_value(duration) * (double)US_PER_MS));
    else
        buf_add_byte(buf, '-');
}

void runs_add_took(struct buf *buf, const json_t *run) {
    add_ms(buf, json_object_get(run, "duration_ms"));
}

void runs_print_line(const json_t *line, bool with_run) {
    _cleanup_buf_ struct buf text = {0};
    int64_t utc_us = local_read(line, "time");
    local_add_short(&text, utc_us);
    buf_printf(&text, ".%03d %-5s ", (int)(utc_us / US_PER_MS % 1000), json_text(line, "level"));
    if (with_run)
        buf_printf(&text, "%s  ", json_text(line, "run_id")[0] ? json_text(line, "run_id") : "-");
    runs_add_text(&text, line, "text", SIZE_MAX);
    puts(text.p ? text.p : "");
}

/* ---- list ---- */

static const char *const columns[] = {"RUN", "STATE", "WHEN", ">TOOK", ">TRY", "WORKER", "WHAT"};
#define N_COLUMNS (sizeof columns / sizeof columns[0])

static void add_row(struct table *table, const json_t *run) {
    _cleanup_buf_ struct buf when = {0}, took = {0}, worker = {0}, what = {0}, error = {0};
    int64_t ended = local_read(run, "ended_at");
    local_add_short(&when, ended ? ended : local_read(run, "created_at"));
    runs_add_took(&took, run);
    runs_add_text(&worker, run, "worker", 100);
    runs_add_what(&what, run);
    runs_add_text(&error, run, "error", ERROR_SHOWN);
    bool asked = json_is_true(json_object_get(run, "cancel_asked"));
    table_cell(table, "%s", json_text(run, "run_id"));
    table_cell(table, "%s", asked ? "ending" : json_text(run, "state"));
    table_cell(table, "%s", when.p);
    table_cell(table, "%s", took.p);
    table_cell(table, "%jd", (intmax_t)json_number(run, "attempts"));
    table_cell(table, "%s", worker.n ? worker.p : "-");
    table_cell(table, "%s", what.p ? what.p : "");
    if (error.n)
        table_note(table, "%s", error.p);
}

static void say_nothing_found(const struct options *options) {
    if (options->key)
        puts("nothing is known of this object: froe did not come across it, or its history is over");
    else
        puts("no runs match");
}

static int list(const struct options *options, struct asker *asker) {
    json_t *request = runs_request(options, options->states);
    uint64_t left = options->limit ? options->limit : LIST_DEFAULT, shown = 0;
    struct table table;
    table_init(&table, columns, N_COLUMNS);
    int r = 0;
    for (bool more = true; r == 0 && more;) {
        json_t *answer = NULL, *run;
        size_t i;
        r = runs_next(asker, request, left, &answer, &more);
        json_array_foreach(json_object_get(answer, "runs"), i, run) {
            if (options->json)
                runs_print_json(run);
            else
                add_row(&table, run);
            shown++;
            left--;
        }
        if (!options->json)
            table_print(&table);
        more = more && left > 0;
        json_decref(answer);
    }
    if (r == 0 && !options->json && shown == 0)
        say_nothing_found(options);
    if (r == 0 && !options->json && shown > 0) {
        _cleanup_buf_ struct buf zone = {0};
        local_add_zone(&zone);
        printf("(times are %s%s)\n", zone.p, left == 0 ? "; these are the newest, --limit N shows more" : "");
    }
    if (table.failed && r == 0)
        r = command_fail(EXIT_INTERNAL, "out of memory");
    table_free(&table);
    json_decref(request);
    return r;
}

/* ---- show ---- */

static void print_field(const char *name, const char *text) {
    if (text && text[0])
        printf("  %-11s %s\n", name, text);
}

static void print_time(const char *name, const json_t *object, const char *member) {
    _cleanup_buf_ struct buf text = {0};
    int64_t utc_us = local_read(object, member);
    if (utc_us == 0)
        return;
    local_add_long(&text, utc_us);
    print_field(name, text.p);
}

static void print_text(const char *name, const json_t *object, const char *member) {
    _cleanup_buf_ struct buf text = {0};
    runs_add_text(&text, object, member, SIZE_MAX);
    print_field(name, text.p);
}

static void print_json_field(const char *name, const json_t *object, const char *member) {
    const json_t *value = json_object_get(object, member);
    if (!value || json_is_null(value))
        return;
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    _cleanup_buf_ struct buf printable = {0};
    if (text && text_add_printable(&printable, bytes_str(text)) == 0)
        print_field(name, printable.p);
    free(text);
}

static void print_attempts(const json_t *run) {
    static const char *const names[] = {">TRY", "OUTCOME", "STARTED", ">TOOK", "WORKER"};
    struct table table;
    size_t i;
    json_t *attempt;
    table_init(&table, names, sizeof names / sizeof names[0]);
    json_array_foreach(json_object_get(run, "attempt_list"), i, attempt) {
        _cleanup_buf_ struct buf started = {0}, took = {0}, worker = {0}, error = {0};
        int64_t at = local_read(attempt, "started_at");
        local_add_long(&started, at ? at : local_read(attempt, "ended_at"));
        runs_add_took(&took, attempt);
        runs_add_text(&worker, attempt, "worker", 100);
        runs_add_text(&error, attempt, "error", SIZE_MAX);
        const char *state = json_text(attempt, "state");
        table_cell(&table, "%jd", (intmax_t)json_number(attempt, "attempt"));
        table_cell(&table, "%s", strcmp(state, "waiting") == 0 ? "failed" : state);
        table_cell(&table, "%s", started.p);
        table_cell(&table, "%s", took.p);
        table_cell(&table, "%s", worker.n ? worker.p : "-");
        if (error.n)
            table_note(&table, "%s", error.p);
    }
    if (i > 0)
        putchar('\n');
    table_print(&table);
    table_free(&table);
}

static void print_run(const json_t *run) {
    _cleanup_buf_ struct buf what = {0}, took = {0};
    runs_add_what(&what, run);
    printf("%s  %s%s\n", json_text(run, "run_id"), json_text(run, "state"),
           json_is_true(json_object_get(run, "cancel_asked")) ? ", asked to end" : "");
    print_text("workflow", run, "workflow");
    if (json_object_get(run, "bucket"))
        print_field(json_object_get(run, "key") || json_object_get(run, "key_url") ? "object" : "bucket",
                    json_object_get(run, "key") || json_object_get(run, "key_url") ? what.p : json_text(run, "bucket"));
    else {
        print_text("child key", run, "child_key");
        print_text("child key", run, "child_key_url");
        print_text("group", run, "group");
    }
    print_text("generation", run, "generation");
    print_text("generation", run, "generation_url");
    print_text("parent", run, "parent");
    if (json_number(run, "priority") > 1)
        printf("  %-11s %jd\n", "priority", (intmax_t)json_number(run, "priority"));
    print_time("created", run, "created_at");
    print_time("due", run, "due_at");
    print_time("ended", run, "ended_at");
    if (json_is_number(json_object_get(run, "duration_ms"))) {
        runs_add_took(&took, run);
        print_field("took", took.p);
    }
    print_text("worker", run, "worker");
    printf("  %-11s %jd\n", "attempts", (intmax_t)json_number(run, "attempts"));
    print_json_field("input", run, "input");
    print_json_field("metadata", run, "metadata");
    print_json_field("result", run, "result");
    print_text("error", run, "error");
    print_attempts(run);
    size_t i;
    json_t *line;
    json_array_foreach(json_object_get(run, "log"), i, line) {
        if (i == 0)
            putchar('\n');
        runs_print_line(line, false);
    }
}

static int show(const struct options *options, struct asker *asker) {
    json_t *request = json_pack("{s:s, s:s}", "op", "run_get", "run", options->names[0]), *answer = NULL;
    int r = ask(asker, request, &answer);
    json_decref(request);
    if (r != 0)
        return r;
    const json_t *run = json_object_get(answer, "run");
    if (options->json)
        runs_print_json(run);
    else
        print_run(run);
    json_decref(answer);
    return 0;
}

int command_runs(const struct options *options) {
    static const struct {
        const char *verb;
        int (*run)(const struct options *options, struct asker *asker);
    } verbs[] = {{"list", list},          {"show", show},         {"watch", runs_watch},  {"logs", runs_logs},
                 {"cancel", runs_change}, {"retry", runs_change}, {"replay", runs_change}};
    struct asker *asker = asker_new(options);
    int r = EXIT_INTERNAL;
    for (size_t i = 0; asker && i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(options->action, verbs[i].verb) == 0)
            r = verbs[i].run(options, asker);
    asker_free(asker);
    return fflush(stdout) == 0 ? r : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}
