/* cmd_workers.c - froe workers: who works on the store. */
#include "ask.h"
#include "clock.h"
#include "commands.h"
#include "json_set.h"
#include "local_time.h"
#include "table.h"
#include "text.h"

/* By this machine's clock, which may differ from the store's by a little. */
static void add_age(struct table *table, int64_t utc_us, bool ahead) {
    _cleanup_buf_ struct buf text = {0};
    int64_t now = clock_utc_us(&clock_system), us = ahead ? utc_us - now : now - utc_us;
    us = us < 0 ? 0 : us;
    text_add_duration(&text, us - us % US_PER_S);
    table_cell(table, "%s%s", text.p ? text.p : "0s", ahead ? "" : " ago");
}

static void print_table(json_t *workers) {
    static const char *const columns[] = {">SLOTS", ">IN HAND", "SINCE", "HEARD", ">ITS OWN FOR", "WORKER"};
    struct table table;
    size_t i;
    json_t *worker;
    table_init(&table, columns, sizeof columns / sizeof columns[0]);
    json_array_foreach(workers, i, worker) {
        _cleanup_buf_ struct buf since = {0}, name = {0};
        local_add_short(&since, local_read(worker, "since"));
        text_add_printable(&name, bytes_str(json_text(worker, "worker")));
        table_cell(&table, "%jd", (intmax_t)json_number(worker, "slots"));
        table_cell(&table, "%jd", (intmax_t)json_number(worker, "leased"));
        table_cell(&table, "%s", since.p);
        add_age(&table, local_read(worker, "heard_at"), false);
        add_age(&table, local_read(worker, "expires_at"), true);
        table_cell(&table, "%s", name.p ? name.p : "");
    }
    table_print(&table);
    table_free(&table);
}

int command_workers(const struct options *options) {
    json_t *request = json_pack("{s:s}", "op", "workers_list"), *answer = NULL, *worker;
    int r = command_ask(options, request, &answer);
    json_decref(request);
    if (r != 0)
        return r;
    json_t *workers = json_object_get(answer, "workers");
    size_t i;
    if (options->json) {
        json_array_foreach(workers, i, worker) {
            json_dumpf(worker, stdout, JSON_COMPACT);
            putchar('\n');
        }
    } else if (json_array_size(workers) == 0) {
        puts("no worker: no froe runs on this store");
    } else {
        print_table(workers);
    }
    json_decref(answer);
    return fflush(stdout) == 0 ? EXIT_DRAINED : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}
