/* options_check.c - what does not go together on a command line, and what is missing. */
#include "options_table.h"

#include "config_output.h"
#include "config_rules.h"
#include "doc.h"
#include "text.h"

#include <froe.h>

static bool is(const struct options *options, const char *action) {
    return strcmp(options->action, action) == 0;
}

/* Is the word after the command one of those? `words` ends with NULL, `listed` names them for people. */
static int check_action(const struct options *options, const char *const *words, const char *what, const char *listed,
                        struct err *err) {
    if (!options->action)
        return err_set(err, -EINVAL, "say what to do: froe %s %s", command_table[options->command].name, listed);
    for (size_t i = 0; words[i]; i++)
        if (is(options, words[i]))
            return 0;
    return err_set(err, -EINVAL, "'%.100s' is not what can be done with %s: see froe %s %s", options->action, what,
                   command_table[options->command].name, listed);
}

static int check_object(const struct options *options, struct err *err) {
    if (options->key && !options->bucket)
        return err_set(err, -EINVAL, "--key needs --bucket: keys are only unique within one");
    return 0;
}

static int check_plugin(const struct options *options, struct err *err) {
    if (!options->plugin || (!options->program && !options->discard))
        return 0;
    if (options->plugin_origin.from == FROM_FILE)
        return doc_error(options->doc, doc_get(options->doc->root, "plugin"), err,
                         "a plugin excludes a program and discard");
    return err_set(err, -EINVAL, "--plugin and --discard exclude each other");
}

static int check_image(const struct options *options, struct err *err) {
    const char *other = options->program   ? "a program"
                        : options->plugin  ? "a plugin"
                        : options->discard ? "discard"
                                           : NULL;
    if (!options->image || !other)
        return 0;
    return doc_error(options->doc, doc_get(options->doc->root, "image"), err, "image and %s exclude each other", other);
}

static int check_handler(const struct options *options, struct err *err) {
    int r = check_plugin(options, err);
    if (r == 0)
        r = check_image(options, err);
    if (r < 0)
        return r;
    if (!options->program || !options->discard)
        return 0;
    if (options->program_origin.from == FROM_FILE)
        return doc_error(options->doc, doc_get(options->doc->root, "program"), err,
                         "a program and discard exclude each other");
    return err_set(err, -EINVAL, "a program and --discard exclude each other");
}

static int check_pool(const struct options *options, struct err *err) {
    if (!options->pool || options->program || options->plugin)
        return 0;
    return err_set(err, -EINVAL, "--pool needs the program of its workers: froe run ... --pool -- PROGRAM [ARG...]");
}

static int check_run(const struct options *options, struct err *err) {
    int r = options->dry_run ? 0 : check_handler(options, err);
    if (r == 0 && !options->dry_run)
        r = check_pool(options, err);
    if (r == 0)
        r = config_outputs_settle(options, "", err);
    if (r < 0)
        return r;
    if (options->rules)
        return config_rules_settle(options, !options->dry_run, err);
    if (!options->dry_run && !options->program && !options->discard && !options->plugin && !options->image)
        return err_set(
            err, -EINVAL,
            "nothing to do with the objects: give a program (froe run ... -- PROGRAM [ARG...]), or --discard to "
            "read, verify and delete them without processing");
    return 0;
}

static int check_parked(const struct options *options, struct err *err) {
    static const char *const words[] = {"list", "retry", "drop", NULL};
    int r = check_action(options, words, "parked objects", "list, retry or drop", err);
    if (r == 0)
        r = check_object(options, err);
    if (r < 0)
        return r;
    if (options->all && options->bucket)
        return err_set(err, -EINVAL, "--all and --bucket exclude each other");
    if (!is(options, "list") && !options->bucket && !options->all)
        return err_set(err, -EINVAL, "froe parked %s needs --bucket BUCKET [--key KEY], or --all", options->action);
    return 0;
}

static bool filtered(const struct options *options) {
    return options->workflow || options->bucket || options->states || options->meta_name || options->since_utc_us ||
           options->until_utc_us || options->limit;
}

static int check_runs(const struct options *options, struct err *err) {
    static const char *const words[] = {"list", "show", "watch", "logs", "cancel", "retry", "replay", NULL};
    int r = check_action(options, words, "runs", "list, show, watch, logs, cancel, retry or replay", err);
    if (r == 0)
        r = check_object(options, err);
    if (r < 0)
        return r;
    froe_run_id id;
    for (size_t i = 0; i < options->n_names; i++)
        if (froe_run_id_parse(options->names[i], &id) != FROE_OK)
            return err_set(err, -EINVAL, "'%.100s' is no run's id; those are like 4711:12, see froe runs list",
                           options->names[i]);
    bool changes = is(options, "cancel") || is(options, "retry") || is(options, "replay");
    if (is(options, "list") && options->n_names > 0)
        return err_set(err, -EINVAL, "froe runs list takes no ids; see froe runs show %s", options->names[0]);
    if (is(options, "show") && options->n_names != 1)
        return err_set(err, -EINVAL, "froe runs show needs one run's id; find it by froe runs list");
    if (!changes && options->n_names > 1)
        return err_set(err, -EINVAL, "froe runs %s takes one run", options->action);
    if ((options->n_names > 0 || is(options, "logs")) && filtered(options))
        return err_set(err, -EINVAL, "froe runs %s takes %s", options->action,
                       is(options, "logs") ? "a run's id, or none; not a filter" : "ids or a filter, not both");
    if (options->all && !changes)
        return err_set(err, -EINVAL, "--all is for cancel, retry and replay");
    if (options->all && (options->n_names > 0 || filtered(options)))
        return err_set(err, -EINVAL, "--all and ids or a filter exclude each other");
    if (changes && options->n_names == 0 && !options->all && !filtered(options))
        return err_set(err, -EINVAL, "froe runs %s needs ids of runs, a filter such as --bucket BUCKET, or --all",
                       options->action);
    if (options->follow && !is(options, "logs"))
        return err_set(err, -EINVAL, "--follow is for logs; see froe runs watch");
    if (is(options, "watch") && (options->since_utc_us || options->until_utc_us || options->limit))
        return err_set(err, -EINVAL, "froe runs watch shows what comes: --since, --until and --limit are for list");
    if (options->since_utc_us && options->until_utc_us && options->since_utc_us >= options->until_utc_us)
        return err_set(err, -EINVAL, "--since is not before --until");
    return 0;
}

int options_check_config_action(const struct options *options, struct err *err) {
    static const char *const words[] = {"check", "show", "schema", NULL};
    return check_action(options, words, "a configuration file", "check, show or schema", err);
}

static int check_config(const struct options *options, struct err *err) {
    if (is(options, "check") && !options->config)
        return err_set(err, -EINVAL, "which file? froe config check FILE, or set FROE_CONFIG");
    int r = check_handler(options, err);
    /* A file with rules says what is done, and is held to all that a run of it is. Without them it may be about other
     * things alone, and the program be given on the command line. */
    bool runs = is(options, "check") && options->rules && !options->dry_run;
    if (r == 0 && runs)
        r = check_pool(options, err);
    if (r == 0)
        r = config_outputs_settle(options, "", err);
    return r == 0 && options->rules ? config_rules_settle(options, runs, err) : r;
}

static int check_workflows(const struct options *options, struct err *err) {
    static const char *const words[] = {"list", "pause", "resume", NULL};
    int r = check_action(options, words, "workflows", "list, pause or resume", err);
    if (r < 0)
        return r;
    if (is(options, "list") && options->n_names > 1)
        return err_set(err, -EINVAL, "froe workflows list takes one name, or none");
    if (!is(options, "list") && options->n_names == 0)
        return err_set(err, -EINVAL, "froe workflows %s needs the workflow's name; see froe workflows list",
                       options->action);
    if (!is(options, "list") && options->groups)
        return err_set(err, -EINVAL, "--groups is for list");
    for (size_t i = 0; i < options->n_names; i++)
        if (!text_is_utf8(bytes_str(options->names[i])) || !options->names[i][0])
            return err_set(err, -EINVAL, "that is no workflow's name");
    return 0;
}

int options_check(const struct options *options, struct err *err) {
    static const char *const list_only[] = {"list", NULL};
    switch (options->command) {
    case COMMAND_RUN:
        return check_run(options, err);
    case COMMAND_PARKED:
        return check_parked(options, err);
    case COMMAND_RUNS:
        return check_runs(options, err);
    case COMMAND_WORKFLOWS:
        return check_workflows(options, err);
    case COMMAND_WORKERS:
        return options->action ? check_action(options, list_only, "workers", "list", err) : 0;
    case COMMAND_CRON:
        if (!options->action)
            return err_set(err, -EINVAL, "give the expression in quotes: froe cron \"*/5 * * * *\"");
        return 0;
    case COMMAND_CONFIG:
        return check_config(options, err);
    case COMMAND_CHECK: {
        /* What a run takes from its own command line, a handler say, may be missing here. */
        int r = check_handler(options, err);
        if (r == 0)
            r = options->rules ? config_rules_settle(options, false, err) : 0;
        return r == 0 ? config_outputs_settle(options, "", err) : r;
    }
    case COMMAND_STATUS:
    case COMMAND_DEMO:
    case COMMAND_VERSION:
    case COMMAND_HELP:
        return 0;
    }
    return 0;
}
