/* cmd_status.c - froe status: a line per bucket, and one more for what is out of the ordinary there. */
#include "commands.h"
#include "json_set.h"
#include "local_time.h"
#include "table.h"
#include "text.h"

#include <inttypes.h>
#include <jansson.h>

static void add_skipped(struct buf *note, const json_t *bucket) {
    const char *name, *between = note->n ? "; skipped: " : "skipped: ";
    json_t *count;
    json_object_foreach(json_object_get(bucket, "skipped"), name, count) {
        if (json_integer_value(count) > 0) {
            buf_printf(note, "%s%" JSON_INTEGER_FORMAT " %s", between, json_integer_value(count), name);
            between = ", ";
        }
    }
}

static void add_cursor(struct buf *note, const json_t *bucket) {
    const char *cursor = json_text(bucket, json_object_get(bucket, "cursor_url") ? "cursor_url" : "cursor");
    if (!cursor[0])
        return;
    buf_add_str(note, note->n ? "; the listing goes on after " : "the listing goes on after ");
    text_add_printable(note, bytes_str(cursor));
}

static void add_bucket(struct table *table, const json_t *bucket) {
    _cleanup_buf_ struct buf name = {0}, note = {0}, granted = {0};
    text_add_printable(&name, bytes_str(json_text(bucket, "bucket")));
    const json_t *max_runs = json_object_get(bucket, "max_runs");
    table_cell(table, "%s", name.p ? name.p : "");
    table_cell(table, "%jd", (intmax_t)json_number(bucket, "backlog"));
    if (json_is_integer(max_runs))
        table_cell(table, "%jd/%jd", (intmax_t)json_number(bucket, "admitted"), (intmax_t)json_integer_value(max_runs));
    else
        table_cell(table, "%jd", (intmax_t)json_number(bucket, "admitted"));
    static const char *const numbers[] = {"running", "waiting", "parked", "done", "failed"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        table_cell(table, "%jd", (intmax_t)json_number(bucket, numbers[i]));
    table_cell(table, "%s", json_text(bucket, "listing"));
    table_cell(table, "%s", json_text(bucket, "deletes"));
    if (json_is_true(json_object_get(bucket, "throttled")))
        buf_printf(&note, "throttled: %jd at once", (intmax_t)json_number(bucket, "limit"));
    if (json_number(bucket, "results") > 0) {
        buf_printf(&note, "%s%jd results stored, ", note.n ? "; " : "", (intmax_t)json_number(bucket, "results"));
        text_add_size(&note, (uint64_t)json_number(bucket, "result_bytes"));
    }
    add_skipped(&note, bucket);
    add_cursor(&note, bucket);
    int64_t granted_utc_us = local_read(bucket, "last_granted_at");
    if (granted_utc_us && json_number(bucket, "backlog") > 0) {
        local_add_short(&granted, granted_utc_us);
        buf_printf(&note, "%slast had its turn %s", note.n ? "; " : "", granted.p);
    }
    if (note.n)
        table_note(table, "%s", note.p);
}

static void print_people(const json_t *status) {
    static const char *const columns[] = {"BUCKET",  ">LEFT", ">ADMIT", ">RUN",    ">WAIT",
                                          ">PARKED", ">DONE", ">FAIL",  "LISTING", "DELETES"};
    const char *store = json_text(status, "store");
    if (!json_is_true(json_object_get(status, "running")))
        printf("%s: no froe runs on it\n", store);
    else if (json_is_integer(json_object_get(status, "pid")))
        printf("%s: froe %s runs on it, pid %jd, %jd slots\n", store, json_text(status, "version"),
               (intmax_t)json_number(status, "pid"), (intmax_t)json_number(status, "slots"));
    else
        printf("%s: %jd froe%s on it, %jd slots\n", store, (intmax_t)json_number(status, "workers"),
               json_number(status, "workers") == 1 ? " runs" : "s run", (intmax_t)json_number(status, "slots"));
    struct table table;
    size_t i;
    json_t *bucket;
    table_init(&table, columns, sizeof columns / sizeof columns[0]);
    json_array_foreach(json_object_get(status, "buckets"), i, bucket) add_bucket(&table, bucket);
    table_print(&table);
    table_free(&table);
    if (i == 0)
        puts("no buckets seen yet");
}

int command_status(const struct options *options) {
    json_t *request = json_pack("{s:s}", "op", "status"), *status = NULL;
    int r = command_ask(options, request, &status);
    json_decref(request);
    if (r != 0)
        return r;
    if (options->json) {
        json_dumpf(status, stdout, JSON_COMPACT);
        putchar('\n');
    } else
        print_people(status);
    json_decref(status);
    return fflush(stdout) == 0 ? EXIT_DRAINED : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}
