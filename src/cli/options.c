/* options.c - the command line, the environment and the file, by the table. */
#include "options_table.h"

#include "config_output.h"
#include "config_rules.h"
#include "doc.h"
#include "mem.h"
#include "nearest.h"
#include "store_uri.h"
#include "uri.h"

#include <stdlib.h>

/* ---- the command line ---- */

static bool is_given(const struct options *options, size_t o) {
    return options->origins[o].from == FROM_COMMAND_LINE;
}

static int unknown_option(const char *name, enum command_id command, struct err *err) {
    struct nearest nearest = {.name = bytes_str(name)};
    for (size_t i = 0; i < n_options; i++)
        if (option_is_for(&option_table[i], command))
            nearest_offer(&nearest, option_table[i].name);
    if (nearest.found)
        return err_set(err, -EINVAL, "unknown option '--%.100s'; did you mean --%s?", name, nearest.found);
    return err_set(err, -EINVAL, "unknown option '--%.100s'; see froe help %s", name, command_table[command].name);
}

/* One argument that starts with "--"; may take the next one too. */
static int parse_option(struct options *options, int argc, char **argv, int *i, struct err *err) {
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    for (size_t o = 0; o < n_options; o++) {
        const struct option *option = &option_table[o];
        if (!option_is_for(option, options->command) || strlen(option->name) != n || memcmp(option->name, name, n) != 0)
            continue;
        char origin[64];
        snprintf(origin, sizeof origin, "--%s", option->name);
        const char *value = equals ? equals + 1 : NULL;
        if (option->kind == KIND_FLAG) {
            if (value)
                return err_set(err, -EINVAL, "%s takes no value", origin);
        } else if (!value) {
            if (*i + 1 >= argc || strcmp(argv[*i + 1], "--") == 0)
                return err_set(err, -EINVAL, "%s needs a value: %s %s", origin, origin, option->argument);
            value = argv[++*i];
        }
        options->origins[o] = (struct option_origin){.from = FROM_COMMAND_LINE, .given = value ? value : "true"};
        return option_set(options, option, value, origin, err);
    }
    char cut[101];
    snprintf(cut, sizeof cut, "%.*s", (int)(n < 100 ? n : 100), name);
    return unknown_option(cut, options->command, err);
}

static int default_store(struct options *options, struct err *err) {
    const char *state = secure_getenv("XDG_STATE_HOME"), *home = secure_getenv("HOME");
    struct buf path = {0};
    int r;
    if (state && state[0] == '/') /* relative ones are to be ignored, says the XDG base directory specification */
        r = buf_printf(&path, "sqlite:%s/froe/froe.db", state);
    else if (home && home[0])
        r = buf_printf(&path, "sqlite:%s/.local/state/froe/froe.db", home);
    else
        return err_set(err, -EINVAL,
                       "no place for the store: neither HOME nor XDG_STATE_HOME is set; give --store sqlite:PATH");
    if (r < 0)
        return err_set(err, r, "out of memory");
    options->store = buf_detach(&path);
    return 0;
}

static int take_variable(struct options *options, size_t at, const char *value, struct err *err) {
    options->origins[at] = (struct option_origin){.from = FROM_VARIABLE, .given = value};
    return option_set(options, &option_table[at], value, option_table[at].variable, err);
}

/* Before anything else: the file has values for the other options. */
static int open_file(struct options *options, struct err *err) {
    /* A schema is the same whatever the file is like that a variable names. */
    bool schema = options->command == COMMAND_CONFIG && options->action && strcmp(options->action, "schema") == 0;
    for (size_t o = 0; o < n_options && !schema; o++) {
        const struct option *option = &option_table[o];
        if (option->offset != OPTION_AT(config) || !option_is_for(option, options->command))
            continue;
        const char *value = is_given(options, o) ? NULL : secure_getenv(option->variable);
        int r = value ? take_variable(options, o, value, err) : 0;
        if (r < 0)
            return r;
    }
    return options->config ? options_load_file(options, err) : 0;
}

/* What the command line left open comes from the environment, then from the file, then from the table. */
static int fill_in(struct options *options, struct err *err) {
    int r = open_file(options, err);
    for (size_t o = 0; r == 0 && o < n_options; o++) {
        const struct option *option = &option_table[o];
        if (is_given(options, o) || !option_is_for(option, options->command) || option->offset == OPTION_AT(config))
            continue;
        char key[OPTION_KEY_MAX];
        const struct doc_node *entry = NULL;
        if (options->doc && option_in_file(option))
            entry = doc_get(options->doc->root, option_key(option, key));
        const char *value = option->variable ? secure_getenv(option->variable) : NULL;
        if (value) {
            r = take_variable(options, o, value, err);
        } else if (entry) {
            options->origins[o] = (struct option_origin){
                .from = FROM_FILE, .line = entry->line, .given = entry->kind == DOC_TEXT ? entry->text.p : NULL};
            r = option_set_from_file(options, option, entry, err);
        } else if (option->initial) {
            options->origins[o] = (struct option_origin){.from = FROM_DEFAULT, .given = option->initial};
            r = option_set(options, option, option->initial, option->name, err);
        }
    }
    if (r == 0 && options->doc)
        r = options_program_from_file(options, err);
    if (r < 0)
        return r;
    if (!options->store && ((FOR_RUN | FOR_LOOKING | FOR_CONFIG) & (1u << options->command)))
        return default_store(options, err);
    if (!options->store && options->command == COMMAND_CHECK && default_store(options, err) == -ENOMEM)
        return -ENOMEM; /* without a place for one there is just none to look at */
    return 0;
}

static bool has_action(enum command_id command) {
    static const enum command_id those[] = {COMMAND_PARKED, COMMAND_RUNS,   COMMAND_WORKFLOWS, COMMAND_WORKERS,
                                            COMMAND_CRON,   COMMAND_CONFIG, COMMAND_HELP};
    for (size_t i = 0; i < sizeof those / sizeof those[0]; i++)
        if (those[i] == command)
            return true;
    return false;
}

static int add_name(struct options *options, const char *name, struct err *err) {
    const char **names = mem_reallocarray(options->names, options->n_names + 1, sizeof(char *));
    if (!names)
        return err_set(err, -ENOMEM, "out of memory");
    options->names = names;
    names[options->n_names++] = name;
    return 0;
}

static void take_program(struct options *options, char **program) {
    options->program = program;
    options->program_origin = (struct option_origin){.from = FROM_COMMAND_LINE};
}

/* `froe config check FILE`. */
static void take_config(struct options *options, const char *file) {
    options->config = file;
    for (size_t o = 0; o < n_options; o++)
        if (option_table[o].offset == OPTION_AT(config))
            options->origins[o] = (struct option_origin){.from = FROM_COMMAND_LINE, .given = file};
}

static int show_store(struct options *options, struct err *err) {
    struct buf shown = {0};
    if (!options->store)
        return 0;
    if (store_uri_add_shown(&shown, options->store) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    options->store_shown = buf_detach(&shown);
    return 0;
}

static int unexpected(const char *word, enum command_id command, struct err *err) {
    if (uri_has_password(word))
        return err_set(err, -EINVAL, "unexpected URI with a password, not shown here; see froe help %s",
                       command_table[command].name);
    if (command == COMMAND_CRON)
        return err_set(err, -EINVAL, "unexpected '%.100s'; put the expression in quotes: froe cron \"*/5 * * * *\"",
                       word);
    if (command == COMMAND_RUN)
        return err_set(err, -EINVAL, "unexpected '%.100s'; a program goes after --: froe run ... -- %.100s", word,
                       word);
    return err_set(err, -EINVAL, "unexpected '%.100s'; see froe help %s", word, command_table[command].name);
}

int options_parse(int argc, char **argv, struct options *ret_options, struct err *err) {
    struct options options = {.command = COMMAND_HELP, .argc = argc, .argv = argv};
    if (argc < 2)
        return err_set(err, -EINVAL, "no command; see froe help");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        *ret_options = options;
        return 0;
    }
    int r = strcmp(argv[1], "--version") == 0 ? (options.command = COMMAND_VERSION, 0)
                                              : options_command(argv[1], &options.command, err);
    for (int i = 2; r == 0 && i < argc; i++) {
        if (strcmp(argv[i], "--") == 0 && (options.command == COMMAND_RUN || options.command == COMMAND_CONFIG)) {
            if (i + 1 == argc)
                r = err_set(err, -EINVAL, "no program after --");
            else
                take_program(&options, argv + i + 1);
            break;
        }
        if (strcmp(argv[i], "-h") == 0)
            options.help = true;
        else if (strncmp(argv[i], "--", 2) == 0)
            r = parse_option(&options, argc, argv, &i, err);
        else if (has_action(options.command) && !options.action)
            options.action = argv[i];
        else if (options.command == COMMAND_RUNS || options.command == COMMAND_WORKFLOWS)
            r = add_name(&options, argv[i], err);
        else if (options.command == COMMAND_CONFIG && !options.config)
            take_config(&options, argv[i]);
        else
            r = unexpected(argv[i], options.command, err);
    }
    if (r == 0 && !options.help && options.command != COMMAND_HELP) {
        r = options.command == COMMAND_CONFIG ? options_check_config_action(&options, err) : 0;
        if (r == 0)
            r = fill_in(&options, err);
        if (r == 0)
            r = options_settle_plugin(&options, err);
        if (r == 0)
            r = options_check(&options, err);
        if (r == 0)
            r = show_store(&options, err);
    }
    if (r < 0) {
        options_free(&options);
        return r;
    }
    *ret_options = options;
    return 0;
}

void options_free(struct options *options) {
    config_rules_free(options->rules);
    config_outputs_free(options->outputs);
    config_then_free(options->then);
    options->outputs = NULL;
    options->then = NULL;
    mem_free(options->file_program);
    mem_free(options->plugin);
    mem_free(options->image);
    doc_free(options->doc);
    options->rules = NULL;
    options->file_program = NULL;
    options->plugin = NULL;
    options->image = NULL;
    options->doc = NULL;
    mem_free(options->store);
    mem_free(options->store_shown);
    mem_free(options->meta_name);
    mem_free(options->names);
    options->store = options->store_shown = options->meta_name = NULL;
    options->names = NULL;
    options->n_names = 0;
}

const char *options_store_path(const struct options *options) {
    return store_uri_path(options->store);
}
