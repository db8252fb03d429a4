/* admin_changes.c - cancelling, retrying and replaying runs: many at once, each for itself. */
#include "admin_private.h"

#include "mem.h"

#define CHANGES_MAX 1000 /* runs in one request */

struct changes;

struct change {
    struct changes *changes;
    json_t *result; /* in the answer */
};

struct changes {
    admin_answer_fn *answer;
    void *arg;
    json_t *results;
    size_t left;
    struct change each[];
};

static void one_done(struct change *change, const froe_error *error) {
    struct changes *changes = change->changes;
    if (error) {
        json_set_text(change->result, "error", error->text);
        json_object_set_new(change->result, "code", json_integer(error->code));
    }
    if (--changes->left > 0)
        return;
    changes->answer(changes->arg, json_pack("{s:o}", "results", changes->results));
    mem_free(changes);
}

static void cancelled(void *arg, froe_state was, const froe_error *error) {
    struct change *change = arg;
    if (!error)
        json_object_set_new(change->result, "was", json_string(admin_state_name(was)));
    one_done(change, error);
}

static void retried(void *arg, const froe_error *error) {
    one_done(arg, error);
}

static void replayed(void *arg, froe_run_id id, const froe_error *error) {
    struct change *change = arg;
    char text[FROE_RUN_ID_MAX];
    froe_run_id_text(id, text);
    if (!error)
        json_object_set_new(change->result, "replayed", json_string(text));
    one_done(change, error);
}

static void begin(froe *engine, char verb, struct change *change, const char *id_text) {
    froe_run_id id;
    froe_error error = {0};
    int r = froe_run_id_parse(id_text, &id);
    if (r != FROE_OK) {
        error = (froe_error){.code = r, .text = "that is no run's id"};
        one_done(change, &error);
        return;
    }
    if (verb == 'c')
        r = froe_run_cancel(engine, id, cancelled, change, &error);
    else if (verb == 't')
        r = froe_run_retry(engine, id, retried, change, &error);
    else
        r = froe_run_replay(engine, id, replayed, change, &error);
    if (r != FROE_OK)
        one_done(change, &error);
}

bool admin_ask_changes(const struct question *question, const char *op) {
    static const struct {
        const char *op;
        char verb;
    } verbs[] = {{"runs_cancel", 'c'}, {"runs_retry", 't'}, {"runs_replay", 'p'}};
    char verb = 0;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(op, verbs[i].op) == 0)
            verb = verbs[i].verb;
    if (!verb)
        return false;
    json_t *ids = json_object_get(question->request, "runs");
    size_t n = json_array_size(ids);
    if (n == 0 || n > CHANGES_MAX) {
        question->answer(question->arg, admin_failure("between 1 and 1000 runs can be changed at once"));
        return true;
    }
    struct changes *changes = mem_zalloc(sizeof *changes + n * sizeof changes->each[0]);
    if (!changes) {
        question->answer(question->arg, admin_failure("out of memory"));
        return true;
    }
    changes->answer = question->answer;
    changes->arg = question->arg;
    changes->results = json_array();
    changes->left = n + 1; /* the answer waits until all were begun */
    for (size_t i = 0; i < n; i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        changes->each[i].changes = changes;
        changes->each[i].result = json_pack("{s:s}", "run_id", id ? id : "");
        json_array_append_new(changes->results, changes->each[i].result);
        begin(question->admin->engine, verb, &changes->each[i], id ? id : "");
    }
    one_done(&(struct change){.changes = changes}, NULL);
    return true;
}
