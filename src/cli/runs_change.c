/* runs_change.c - froe runs cancel, retry, replay: by ids, or all that match a filter. */
#include "commands.h"
#include "json_set.h"
#include "runs_show.h"

#include <froe.h>

#define PART 1000

struct change {
    const struct options *options;
    struct asker *asker;
    unsigned states; /* in which it can be done */
    const char *op, *done;
    bool by_id;
    uint64_t changed, asked, failed;
    json_t *results; /* by id only */
};

static void say(const json_t *result, bool finished) {
    struct err err;
    err_set(&err, -EINVAL, "run %s is finished already", json_text(result, "run_id"));
    command_fail(0, finished ? err.text : json_text(result, "error"));
}

/* One run's result. What was named must be done; of what matched, some may have changed since. */
static void take(struct change *change, json_t *result) {
    const char *was = json_text(result, "was"), *replayed = json_text(result, "replayed");
    bool finished = strcmp(was, "succeeded") == 0 || strcmp(was, "failed") == 0 || strcmp(was, "cancelled") == 0;
    if (json_object_get(result, "error") || finished) {
        change->failed++;
        if (change->by_id)
            say(result, finished);
    } else if (strcmp(was, "running") == 0) {
        change->asked++;
    } else {
        change->changed++;
        if (change->by_id && replayed[0] && !change->options->json)
            printf("%s is replayed as %s\n", json_text(result, "run_id"), replayed);
    }
    if (change->by_id)
        json_array_append(change->results, result);
}

static int apply(struct change *change, json_t *ids) {
    json_t *request = json_pack("{s:s, s:O}", "op", change->op, "runs", ids), *answer = NULL, *result;
    int r = ask(change->asker, request, &answer);
    size_t i;
    json_array_foreach(json_object_get(answer, "results"), i, result) take(change, result);
    json_decref(request);
    json_decref(answer);
    return r;
}

static int change_named(struct change *change) {
    const struct options *options = change->options;
    int r = 0;
    for (size_t at = 0; at < options->n_names && r == 0;) {
        json_t *ids = json_array();
        for (size_t n = 0; n < PART && at < options->n_names; n++)
            json_array_append_new(ids, json_string(options->names[at++]));
        r = apply(change, ids);
        json_decref(ids);
    }
    return r;
}

static int change_matching(struct change *change) {
    const struct options *options = change->options;
    unsigned states = options->states ? options->states & change->states : change->states;
    if (!states) {
        struct err err;
        err_set(&err, -EINVAL, "no run in such a state can be %s", change->done);
        return command_fail(EXIT_USAGE, err.text);
    }
    json_t *request = runs_request(options, states);
    uint64_t left = options->limit ? options->limit : UINT64_MAX;
    int r = 0;
    for (bool more = true; r == 0 && more && left > 0;) {
        json_t *answer = NULL, *run, *ids = json_array();
        size_t i;
        r = runs_next(change->asker, request, left, &answer, &more);
        json_array_foreach(json_object_get(answer, "runs"), i, run)
            json_array_append(ids, json_object_get(run, "run_id"));
        left -= json_array_size(ids);
        if (r == 0 && json_array_size(ids) > 0)
            r = apply(change, ids);
        json_decref(ids);
        json_decref(answer);
    }
    json_decref(request);
    return r;
}

static void print(const struct change *change) {
    bool cancel = change->op[5] == 'c';
    if (change->options->json) {
        json_t *sum = json_object();
        json_set_count(sum, "count", change->changed + change->asked);
        if (cancel)
            json_set_count(sum, "asked", change->asked);
        json_set_count(sum, "failed", change->failed);
        if (change->by_id)
            json_object_set(sum, "results", change->results);
        runs_print_json(sum);
        json_decref(sum);
        return;
    }
    printf("%llu %s", (unsigned long long)change->changed, change->done);
    if (change->asked)
        printf(", %llu running: asked to end", (unsigned long long)change->asked);
    if (change->failed)
        printf(", %llu not", (unsigned long long)change->failed);
    putchar('\n');
}

int runs_change(const struct options *options, struct asker *asker) {
    const unsigned finished = 1u << FROE_SUCCEEDED | 1u << FROE_FAILED | 1u << FROE_CANCELLED;
    const unsigned live = 1u << FROE_QUEUED | 1u << FROE_WAITING | 1u << FROE_RUNNING | 1u << FROE_PARKED;
    bool cancel = options->action[0] == 'c', retry = strcmp(options->action, "retry") == 0;
    struct change change = {
        .options = options,
        .asker = asker,
        .states = cancel  ? live
                  : retry ? 1u << FROE_PARKED
                          : finished,
        .op = cancel  ? "runs_cancel"
              : retry ? "runs_retry"
                      : "runs_replay",
        .done = cancel  ? "cancelled"
                : retry ? "retried"
                        : "replayed",
        .by_id = options->n_names > 0,
        .results = json_array(),
    };
    int r = change.by_id ? change_named(&change) : change_matching(&change);
    if (r == 0) {
        print(&change);
        r = change.by_id && change.failed > 0 ? EXIT_INTERNAL : EXIT_DRAINED;
    }
    json_decref(change.results);
    return r;
}
