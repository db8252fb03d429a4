/* cmd_workflows.c - froe workflows list|pause|resume. */
#include "ask.h"
#include "clock.h"
#include "commands.h"
#include "json_set.h"
#include "local_time.h"
#include "mem.h"
#include "table.h"
#include "text.h"

#include <stdlib.h>

static void print_json(const json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
}

static const char *wanted(const struct options *options) {
    return options->n_names > 0 ? options->names[0] : NULL;
}

static void add_number(struct table *table, const json_t *object, const char *name) {
    table_cell(table, "%jd", (intmax_t)json_number(object, name));
}

static void add_text(struct table *table, const char *text) {
    _cleanup_buf_ struct buf printable = {0};
    text_add_printable(&printable, bytes_str(text));
    table_cell(table, "%s", printable.p ? printable.p : "");
}

static void add_time(struct table *table, const json_t *object, const char *name) {
    _cleanup_buf_ struct buf time = {0};
    local_add_short(&time, local_read(object, name));
    table_cell(table, "%s", time.p);
}

static void end_table(struct table *table) {
    _cleanup_buf_ struct buf zone = {0};
    table_print(table);
    local_add_zone(&zone);
    if (table->header_done)
        printf("(times are %s)\n", zone.p);
    table_free(table);
}

static int not_there(const struct options *options) {
    struct err err;
    err_set(&err, -ENOENT, "there is no workflow \"%.80s\" in %.200s", wanted(options), options->store_shown);
    return command_fail(EXIT_INTERNAL, err.text);
}

/* ---- workflows ---- */

static int list_workflows(const struct options *options, json_t *answer) {
    static const char *const columns[] = {"WORKFLOW", "STATE", ">QUEUED", ">WAITING",   ">RUNNING",
                                          ">PARKED",  ">DONE", ">FAILED", ">CANCELLED", "TICK"};
    struct table table;
    table_init(&table, columns, sizeof columns / sizeof columns[0]);
    size_t i, shown = 0;
    json_t *workflow;
    json_array_foreach(json_object_get(answer, "workflows"), i, workflow) {
        if (wanted(options) && strcmp(wanted(options), json_text(workflow, "workflow")) != 0)
            continue;
        shown++;
        if (options->json) {
            print_json(workflow);
            continue;
        }
        add_text(&table, json_text(workflow, "workflow"));
        table_cell(&table, "%s", json_is_true(json_object_get(workflow, "paused")) ? "paused" : "active");
        add_number(&table, workflow, "queued");
        add_number(&table, workflow, "waiting");
        add_number(&table, workflow, "running");
        add_number(&table, workflow, "parked");
        add_number(&table, workflow, "done");
        add_number(&table, workflow, "failed");
        add_number(&table, workflow, "cancelled");
        add_time(&table, workflow, "last_tick_at");
    }
    end_table(&table);
    if (shown == 0 && wanted(options))
        return not_there(options);
    if (shown == 0 && !options->json)
        puts("no workflows yet");
    return 0;
}

/* ---- groups: those with work first, who waits longest for its turn on top ---- */

static int by_need(const void *a, const void *b) {
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    bool x_busy = json_number(x, "backlog") + json_number(x, "leased") > 0;
    bool y_busy = json_number(y, "backlog") + json_number(y, "leased") > 0;
    if (x_busy != y_busy)
        return x_busy ? -1 : 1;
    int order = strcmp(json_text(x, "workflow"), json_text(y, "workflow"));
    return order ? order : strcmp(json_text(x, "group"), json_text(y, "group"));
}

static int list_groups(const struct options *options, json_t *answer) {
    static const char *const columns[] = {">BACKLOG", ">ADMITTED", ">LIMIT",   ">PARKED",
                                          ">DONE",    "GRANTED",   "WORKFLOW", "GROUP"};
    json_t *groups = json_object_get(answer, "groups");
    size_t n = json_array_size(groups);
    const json_t **sorted = mem_calloc(n, sizeof *sorted);
    if (!sorted)
        return command_fail(EXIT_INTERNAL, "out of memory");
    for (size_t i = 0; i < n; i++)
        sorted[i] = json_array_get(groups, i);
    qsort(sorted, n, sizeof *sorted, by_need);
    struct table table;
    table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < n; i++) {
        const json_t *group = sorted[i];
        if (options->json) {
            print_json(group);
            continue;
        }
        add_number(&table, group, "backlog");
        add_number(&table, group, "admitted");
        if (json_is_integer(json_object_get(group, "limit")))
            add_number(&table, group, "limit");
        else
            table_cell(&table, "none");
        add_number(&table, group, "parked");
        add_number(&table, group, "done");
        add_time(&table, group, "last_granted_at");
        add_text(&table, json_text(group, "workflow"));
        add_text(&table, json_text(group, "group"));
    }
    end_table(&table);
    mem_free(sorted);
    if (n == 0 && !options->json)
        puts("no groups yet");
    return 0;
}

static int list(const struct options *options, struct asker *asker) {
    json_t *request = json_pack("{s:s}", "op", options->groups ? "groups_list" : "workflows_list"), *answer = NULL;
    if (options->groups && wanted(options))
        json_object_set_new(request, "workflow", json_string(wanted(options)));
    int r = ask(asker, request, &answer);
    if (r == 0)
        r = options->groups ? list_groups(options, answer) : list_workflows(options, answer);
    json_decref(request);
    json_decref(answer);
    return r;
}

/* ---- pausing ---- */

static int set_paused(const struct options *options, struct asker *asker) {
    bool pause = options->action[0] == 'p';
    int r = 0;
    for (size_t i = 0; i < options->n_names && r == 0; i++) {
        json_t *request =
            json_pack("{s:s, s:s, s:b}", "op", "workflow_pause", "workflow", options->names[i], "paused", pause);
        json_t *answer = NULL;
        r = ask(asker, request, &answer);
        json_decref(request);
        json_decref(answer);
        if (r == 0 && options->json) {
            json_t *done = json_pack("{s:s, s:b}", "workflow", options->names[i], "paused", pause);
            print_json(done);
            json_decref(done);
        } else if (r == 0) {
            printf("%s is %s\n", options->names[i], pause ? "paused: nothing of it is started" : "active");
        }
    }
    return r;
}

int command_workflows(const struct options *options) {
    struct asker *asker = asker_new(options);
    if (!asker)
        return EXIT_INTERNAL;
    int r = options->action[0] == 'l' ? list(options, asker) : set_paused(options, asker);
    asker_free(asker);
    return fflush(stdout) == 0 ? r : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}
