/* cmd_parked.c - froe parked list|retry|drop. */
#include "ask.h"
#include "commands.h"
#include "json_set.h"
#include "local_time.h"
#include "table.h"
#include "text.h"

#include <jansson.h>

static json_t *make_request(const struct options *options, const char *op) {
    json_t *request = json_pack("{s:s}", "op", op);
    if (options->bucket)
        json_object_set_new(request, "bucket", json_string(options->bucket));
    if (options->key) {
        _cleanup_buf_ struct buf url = {0};
        if (text_add_percent(&url, bytes_str(options->key), true) == 0)
            json_object_set_new(request, "key_url", json_string(url.p ? url.p : ""));
    }
    return request;
}

/* A key as it may be shown on a terminal; one that is not UTF-8 comes percent-encoded already. */
static void add_item(struct table *table, const json_t *item) {
    _cleanup_buf_ struct buf when = {0}, key = {0}, error = {0};
    json_t *raw = json_object_get(item, "key");
    if (raw)
        text_add_printable(&key, bytes_of(json_string_value(raw), json_string_length(raw)));
    else
        buf_add_str(&key, json_text(item, "key_url"));
    text_add_printable(&error, bytes_str(json_text(item, "error")));
    local_add_short(&when, local_read(item, "parked_at"));
    table_cell(table, "%s", json_text(item, "run_id"));
    table_cell(table, "%s", when.p ? when.p : "");
    table_cell(table, "%jd", (intmax_t)json_number(item, "attempts"));
    table_cell(table, "%s/%s", json_text(item, "bucket"), key.p ? key.p : "");
    if (error.n)
        table_note(table, "%s", error.p);
}

static const char *const columns[] = {"RUN", "PARKED", ">TRY", "OBJECT"};

/* The listing comes in parts, each asked for after the last run id of the one before. */
static int list(const struct options *options) {
    struct asker *asker = asker_new(options);
    if (!asker)
        return EXIT_INTERNAL;
    json_t *request = make_request(options, "parked_list");
    size_t shown = 0;
    struct table table;
    table_init(&table, columns, sizeof columns / sizeof columns[0]);
    int r = 0;
    for (bool more = true; more && r == 0;) {
        json_t *answer = NULL, *item;
        r = ask(asker, request, &answer);
        json_t *items = json_object_get(answer, "parked");
        size_t i;
        json_array_foreach(items, i, item) {
            if (options->json) {
                json_dumpf(item, stdout, JSON_COMPACT);
                putchar('\n');
            } else
                add_item(&table, item);
            shown++;
        }
        if (!options->json)
            table_print(&table);
        more = json_is_true(json_object_get(answer, "more")) && json_array_size(items) > 0;
        if (more)
            json_object_set(request, "after",
                            json_object_get(json_array_get(items, json_array_size(items) - 1), "run_id"));
        json_decref(answer);
    }
    json_decref(request);
    asker_free(asker);
    if (r == 0 && table.failed)
        r = command_fail(EXIT_INTERNAL, "out of memory");
    table_free(&table);
    if (r == 0 && !options->json && shown == 0)
        puts(options->bucket ? "nothing that matches is parked" : "nothing is parked");
    if (r == 0 && !options->json && shown > 0) {
        _cleanup_buf_ struct buf zone = {0};
        local_add_zone(&zone);
        printf("(times are %s)\n", zone.p ? zone.p : "");
    }
    return r;
}

static int change(const struct options *options) {
    bool retry = options->action[0] == 'r';
    json_t *request = make_request(options, retry ? "parked_retry" : "parked_drop"), *answer = NULL;
    int r = command_ask(options, request, &answer);
    json_decref(request);
    if (r != 0)
        return r;
    if (options->json) {
        json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
    } else
        printf("%" JSON_INTEGER_FORMAT " %s\n", json_integer_value(json_object_get(answer, "count")),
               retry ? "retried" : "dropped");
    json_decref(answer);
    return EXIT_DRAINED;
}

int command_parked(const struct options *options) {
    int r = options->action[0] == 'l' ? list(options) : change(options);
    if (fflush(stdout) != 0)
        return command_fail(EXIT_INTERNAL, "cannot write to standard output");
    return r;
}
