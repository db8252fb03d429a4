/* config_options.c - the options' values in a configuration file: one key for each option of froe run that means
 * something there, by the table of options itself. */
#include "options_table.h"

#include "config_image.h"
#include "config_output.h"
#include "config_rules.h"
#include "doc.h"
#include "mem.h"
#include "text.h"

#define ORIGIN_MAX 200

static int set_text(struct options *options, const struct option *option, const struct doc_node *value, const char *key,
                    struct err *err) {
    const struct doc *doc = options->doc;
    if (doc_is_nothing(value))
        return doc_error(doc, value, err, "%s has no value", key);
    if (value->kind != DOC_TEXT)
        return doc_error(doc, value, err, "%s is one value, not %s", key, doc_what(value));
    bool number = option->kind == KIND_U32 || option->kind == KIND_U64;
    if (number && !value->plain)
        return doc_error(doc, value, err, "%s is a number: write it without quotes", key);
    char origin[ORIGIN_MAX];
    snprintf(origin, sizeof origin, "%.*s:%u:%u: %s", ORIGIN_MAX - 100, doc->name, value->line, value->column, key);
    return option_set(options, option, value->text.p, origin, err);
}

static int set_flag(struct options *options, const struct option *option, const struct doc_node *value, const char *key,
                    struct err *err) {
    bool *place = (bool *)((char *)options + option->offset);
    bool plain = value->kind == DOC_TEXT && value->plain;
    if (plain && bytes_equal(value->text, BYTES("true")))
        *place = true;
    else if (plain && bytes_equal(value->text, BYTES("false")))
        *place = false;
    else
        return doc_error(options->doc, value, err, "%s is true or false%s", key,
                         doc_is_nothing(value) ? "; it has no value" : "");
    return 0;
}

/* Globs and directories: one, or a list. */
static int set_list(struct options *options, const struct option *option, const struct doc_node *value, const char *key,
                    struct err *err) {
    if (value->kind != DOC_LIST)
        return set_text(options, option, value, key, err);
    if (value->n == 0)
        return doc_error(options->doc, value, err, "%s: an empty list %s; leave the key out", key,
                         option->kind == KIND_GLOB ? "matches nothing" : "says nothing");
    for (const struct doc_node *item = value->first; item; item = item->next) {
        int r = set_text(options, option, item, key, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int option_set_from_file(struct options *options, const struct option *option, const struct doc_node *entry,
                         struct err *err) {
    char key[OPTION_KEY_MAX];
    option_key(option, key);
    if (option->kind == KIND_FLAG)
        return set_flag(options, option, entry, key, err);
    if (option->kind == KIND_OUTPUT)
        return config_outputs_read(options->doc, entry, &options->outputs, err);
    if (option->kind == KIND_THEN)
        return config_then_read(options->doc, entry, &options->then, err);
    if (option->kind == KIND_GLOB || option->kind == KIND_DIRECTORIES)
        return set_list(options, option, entry, key, err);
    return set_text(options, option, entry, key, err);
}

static int check_keys(const struct doc *doc, struct err *err) {
    char keys[OPTIONS_MAX][OPTION_KEY_MAX];
    const char *known[OPTIONS_MAX + 5];
    size_t n = 0;
    for (size_t o = 0; o < n_options; o++)
        if (option_in_file(&option_table[o])) {
            known[n] = option_key(&option_table[o], keys[n]);
            n++;
        }
    known[n++] = "program";
    known[n++] = "plugin";
    known[n++] = "image";
    known[n++] = "rules";
    known[n] = NULL;
    return doc_check_keys(doc, doc->root, known, "", err);
}

/* Also of values that something else overrides: a file is right or wrong as it stands. */
static int check_values(const struct options *options, struct err *err) {
    struct options scratch = {.doc = options->doc};
    int r = 0;
    for (size_t o = 0; o < n_options && r == 0; o++) {
        char key[OPTION_KEY_MAX];
        const struct doc_node *entry = NULL;
        if (option_in_file(&option_table[o]))
            entry = doc_get(options->doc->root, option_key(&option_table[o], key));
        if (entry)
            r = option_set_from_file(&scratch, &option_table[o], entry, err);
    }
    scratch.doc = NULL; /* borrowed */
    options_free(&scratch);
    return r;
}

static bool needs_rules(enum command_id command) {
    return command == COMMAND_RUN || command == COMMAND_CHECK || command == COMMAND_CONFIG;
}

int options_take_doc(struct options *options, struct err *err) {
    struct doc *doc = options->doc;
    if (!doc->root || doc_is_nothing(doc->root))
        return 0;
    if (doc->root->kind != DOC_MAP)
        return doc_error(doc, doc->root, err, "a configuration file is a mapping, as in \"slots: 40\", not %s",
                         doc_what(doc->root));
    int r = check_keys(doc, err);
    if (r == 0)
        r = check_values(options, err);
    const struct doc_node *rules = doc_get(doc->root, "rules");
    if (r == 0 && rules && needs_rules(options->command))
        r = config_rules_parse(doc, rules, &options->rules, err);
    return r;
}

int options_load_file(struct options *options, struct err *err) {
    int r = doc_read(options->config, &options->doc, err);
    if (r < 0)
        return r == -ENOMEM ? r : -EINVAL;
    return options_take_doc(options, err);
}

static struct option_origin *origin_of(struct options *options, size_t offset) {
    size_t o = 0;
    while (option_table[o].offset != offset)
        o++;
    return &options->origins[o];
}

static void drop_flag(struct options *options, size_t offset) {
    struct option_origin *origin = origin_of(options, offset);
    if (origin->from != FROM_FILE)
        return;
    *(bool *)((char *)options + offset) = false;
    *origin = (struct option_origin){0};
}

static void settle_image(struct options *options, const struct doc_node *image, bool discard) {
    if (discard || options->plugin_file || options->program_origin.from == FROM_COMMAND_LINE) {
        mem_free(options->image);
        options->image = NULL;
    } else if (image) {
        options->image_origin = (struct option_origin){.from = FROM_FILE, .line = image->line};
    }
}

/* What the command line says of the handler wins over all that the file says of it. */
int options_program_from_file(struct options *options, struct err *err) {
    const struct doc_node *program = doc_get(options->doc->root, "program");
    int r = program ? config_program_parse(options->doc, program, &options->file_program, err) : 0;
    const struct doc_node *plugin = doc_get(options->doc->root, "plugin");
    if (r == 0 && plugin)
        r = config_program_parse(options->doc, plugin, &options->plugin, err);
    const struct doc_node *image = doc_get(options->doc->root, "image");
    if (r == 0 && image)
        r = config_image_parse(options->doc, image, &options->image, err);
    if (r < 0)
        return r;
    bool discard = origin_of(options, OPTION_AT(discard))->from == FROM_COMMAND_LINE;
    settle_image(options, image, discard);
    if (options->plugin_file) {
        drop_flag(options, OPTION_AT(discard));
        drop_flag(options, OPTION_AT(pool));
        return 0;
    }
    if (options->program || discard)
        drop_flag(options, options->program ? OPTION_AT(discard) : OPTION_AT(pool));
    else if (program) {
        options->program = options->file_program;
        options->program_origin = (struct option_origin){.from = FROM_FILE, .line = program->line};
    }
    if (plugin && (discard || options->program_origin.from == FROM_COMMAND_LINE)) {
        mem_free(options->plugin);
        options->plugin = NULL;
    } else if (plugin) {
        options->plugin_origin = (struct option_origin){.from = FROM_FILE, .line = plugin->line};
    }
    return 0;
}

int options_settle_plugin(struct options *options, struct err *err) {
    size_t n = 0;
    if (!options->plugin_file)
        return 0;
    while (options->program && options->program[n])
        n++;
    char **plugin = mem_calloc(n + 2, sizeof *plugin);
    if (!plugin)
        return err_set(err, -ENOMEM, "out of memory");
    plugin[0] = (char *)(uintptr_t)options->plugin_file;
    for (size_t i = 0; i < n; i++)
        plugin[i + 1] = options->program[i];
    mem_free(options->plugin); /* the file's */
    options->plugin = plugin;
    options->plugin_origin = (struct option_origin){.from = FROM_COMMAND_LINE};
    options->program = NULL;
    options->program_origin = (struct option_origin){0};
    return 0;
}
