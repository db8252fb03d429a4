/* cmd_config.c - froe config: checks a configuration file, shows what becomes of it, describes it for editors. */
#include "commands.h"
#include "config_output.h"
#include "config_rules.h"
#include "config_schema.h"
#include "doc.h"
#include "image_program.h"
#include "options_table.h"
#include "text.h"

static int flushed(void) {
    return fflush(stdout) == 0 ? EXIT_DRAINED : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}

static int print_json(json_t *value) {
    if (!value)
        return command_fail(EXIT_INTERNAL, "out of memory");
    json_dumpf(value, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(value);
    return flushed();
}

/* ---- check ---- */

/* Can it be done here, and not only be said? *ret_asked: there was a froe-image to be asked. */
static int check_image(const struct options *options, const char *spec, const struct doc_node *node, bool *ret_asked,
                       struct err *err) {
    char path[PATH_MAX];
    struct err why = {0};
    *ret_asked = image_program_find(path, &why) == 0;
    if (*ret_asked && image_program_check(path, spec, &why) < 0)
        return doc_error(options->doc, node, err, "%s", why.text);
    return 0;
}

static int check_images(const struct options *options, bool *ret_asked, struct err *err) {
    int r = 0;
    *ret_asked = true;
    if (options->image)
        r = check_image(options, options->image, doc_get(options->doc->root, "image"), ret_asked, err);
    for (size_t i = 0; options->rules && i < options->rules->n && r == 0; i++) {
        const struct config_rule *rule = &options->rules->rules[i];
        if (rule->image)
            r = check_image(options, rule->image, doc_get(rule->node, "handler"), ret_asked, err);
    }
    return r;
}

static int check(const struct options *options) {
    const struct doc_node *root = options->doc->root;
    size_t keys = root && root->kind == DOC_MAP ? root->n : 0, rules = options->rules ? options->rules->n : 0;
    struct err err = {0};
    bool asked;
    if (check_images(options, &asked, &err) < 0)
        return command_fail(EXIT_USAGE, err.text);
    printf("%s: fine: %zu keys, %zu rules%s\n", options->config, keys, rules,
           asked ? "" : "; froe-image is not here, so nobody was asked which formats can be written");
    return flushed();
}

/* ---- show ---- */

static int add_origin(struct buf *buf, const struct options *options, const struct option_origin *origin,
                      const char *variable) {
    switch (origin->from) {
    case FROM_COMMAND_LINE:
        return buf_add_str(buf, "command line");
    case FROM_VARIABLE:
        return buf_printf(buf, "variable %s", variable);
    case FROM_FILE:
        return buf_printf(buf, "%s:%u", options->config, origin->line);
    case FROM_DEFAULT:
    case FROM_NOWHERE:
        break;
    }
    return buf_add_str(buf, "default");
}

static json_t *words(const char *const *items, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; array && i < n; i++) {
        _cleanup_buf_ struct buf shown = {0};
        struct bytes text = bytes_str(items[i]);
        if (!text_is_utf8(text) && text_add_printable(&shown, text) == 0)
            text = buf_bytes(&shown);
        json_array_append_new(array, json_stringn(text.p, text.n));
    }
    return array;
}

/* As JSON: numbers and flags as such, lists as arrays, all else as it was written; null for what has no value. */
static json_t *value_of(const struct options *options, const struct option *option,
                        const struct option_origin *origin) {
    const void *place = (const char *)options + option->offset;
    switch (option->kind) {
    case KIND_FLAG: /* a default has no text */
        return json_boolean(*(const bool *)place);
    case KIND_U32:
        return json_integer(*(const uint32_t *)place);
    case KIND_U64:
        return json_integer((json_int_t) * (const uint64_t *)place);
    case KIND_GLOB:
        return option->offset == OPTION_AT(include) ? words(options->include, options->n_include)
                                                    : words(options->exclude, options->n_exclude);
    case KIND_DIRECTORIES:
        return words(options->confine.write, options->confine.n_write);
    case KIND_OUTPUT:
        return config_outputs_json(options->outputs);
    case KIND_THEN:
        return config_then_json(options->then);
    case KIND_STORE: /* never the one with a password */
        return options->store_shown ? json_string(options->store_shown) : json_null();
    default:
        return origin->given ? json_string(origin->given) : json_null();
    }
}

static size_t count_words(char *const *program) {
    size_t n = 0;
    while (program && program[n])
        n++;
    return n;
}

static json_t *program_of(char *const *program) {
    return program ? words((const char *const *)program, count_words(program)) : json_null();
}

static json_t *image_of(const char *spec) {
    return spec ? json_loads(spec, 0, NULL) : json_null();
}

/* That of all, as a rule would have it; *ret_origin is where it came from. */
static json_t *general_handler(const struct options *options, struct option_origin *ret_origin) {
    *ret_origin = (struct option_origin){0};
    if (options->plugin) {
        *ret_origin = options->plugin_origin;
        return json_pack("{s:o}", "plugin", program_of(options->plugin));
    }
    if (options->program) {
        *ret_origin = options->program_origin;
        return json_pack("{s:o}", options->pool ? "pool" : "program", program_of(options->program));
    }
    if (options->discard) {
        for (size_t o = 0; o < n_options; o++)
            if (option_table[o].offset == OPTION_AT(discard))
                *ret_origin = options->origins[o];
        return json_string("discard");
    }
    if (options->image) {
        *ret_origin = options->image_origin;
        return json_pack("{s:o}", "image", image_of(options->image));
    }
    return json_null();
}

static json_t *entry(const struct options *options, const char *key, json_t *value, const struct option_origin *origin,
                     const char *variable) {
    _cleanup_buf_ struct buf from = {0};
    if (add_origin(&from, options, origin, variable) < 0) {
        json_decref(value);
        return NULL;
    }
    return json_pack("{s:s,s:o,s:s}", "key", key, "value", value, "from", from.p);
}

static int add_duration(json_t *object, const char *name, int64_t us) {
    _cleanup_buf_ struct buf text = {0};
    return text_add_duration(&text, us) < 0 ? -1
                                            : json_object_set_new(object, name, json_string(text.p ? text.p : "0s"));
}

static int add_limit(json_t *object, const char *name, uint64_t value) {
    return value ? json_object_set_new(object, name, json_integer((json_int_t)value)) : 0;
}

/* Limits only where there are any. */
static int add_confine(json_t *object, const struct options_confine *confine) {
    int r = json_object_set_new(object, "confine", json_string(option_confine_word(confine)));
    if (r == 0 && confine->level == CONFINE_STRICT)
        r = json_object_set_new(object, "allow_network", json_boolean(confine->network));
    if (r == 0 && confine->level == CONFINE_STRICT)
        r = json_object_set_new(object, "allow_write", words(confine->write, confine->n_write));
    if (r == 0 && confine->cpu_us)
        r = add_duration(object, "limit_cpu", confine->cpu_us);
    if (r == 0)
        r = add_limit(object, "limit_memory", confine->memory_bytes);
    if (r == 0)
        r = add_limit(object, "limit_files", confine->files);
    if (r == 0)
        r = add_limit(object, "limit_processes", confine->processes);
    if (r == 0)
        r = add_limit(object, "limit_file_size", confine->file_bytes);
    return r < 0 ? r : add_limit(object, "nice", confine->nice);
}

/* Of a rule's values: its own by their lines, the others as those of all. */
static json_t *origins_of(const struct options *options, const struct config_rule *rule, const json_t *values) {
    json_t *origins = json_object();
    for (size_t i = 0; origins && i < n_config_rule_keys; i++) {
        const char *name = config_rule_keys[i].name;
        const struct doc_node *own = doc_get(rule->node, name);
        struct option_origin origin = {.from = own ? FROM_FILE : FROM_DEFAULT, .line = own ? own->line : 0};
        const char *variable = NULL;
        if (!own && strcmp(name, "handler") == 0)
            json_decref(general_handler(options, &origin));
        for (size_t o = 0; o < n_options && !own; o++) {
            char key[OPTION_KEY_MAX];
            if (!option_in_file(&option_table[o]) || strcmp(option_key(&option_table[o], key), name) != 0)
                continue;
            origin = options->origins[o];
            variable = option_table[o].variable;
        }
        _cleanup_buf_ struct buf from = {0};
        if (json_object_get(values, name) && (add_origin(&from, options, &origin, variable) < 0 ||
                                              json_object_set_new(origins, name, json_string(from.p)) < 0)) {
            json_decref(origins);
            return NULL;
        }
    }
    return origins;
}

static json_t *globs_of(const struct rule_globs *globs) {
    return words(globs->globs, globs->n);
}

static json_t *rule_of(const struct options *options, const struct config_rule *rule, const struct rule *match) {
    _cleanup_buf_ struct buf from = {0};
    const char *when = rule->when ? rule_when_source(rule->when) : NULL;
    if (buf_printf(&from, "%s:%u", options->config, rule->node->line) < 0)
        return NULL;
    static const char *const kinds[] = {
        [CONFIG_HANDLER_PROGRAM] = "program", [CONFIG_HANDLER_POOL] = "pool", [CONFIG_HANDLER_PLUGIN] = "plugin"};
    struct option_origin origin;
    json_t *handler = rule->image     ? json_pack("{s:o}", "image", image_of(rule->image))
                      : rule->program ? json_pack("{s:o}", kinds[rule->handler], program_of(rule->program))
                      : rule->handler == CONFIG_HANDLER_DISCARD ? json_string("discard")
                                                                : general_handler(options, &origin);
    json_t *object =
        json_pack("{s:s,s:o,s:{s:o,s:o},s:s?,s:o,s:o,s:o,s:i}", "from", from.p, "buckets", globs_of(&match->buckets),
                  "keys", "include", globs_of(&match->include), "exclude", globs_of(&match->exclude), "when", when,
                  "handler", handler, "output", config_outputs_json(config_outputs_of(options, rule)), "then",
                  config_then_json(config_then_of(options, rule)), "retries", (int)rule->retries);
    if (object && ((rule->has_cap && json_object_set_new(object, "max_runs_per_bucket", json_integer(rule->cap)) < 0) ||
                   add_duration(object, "timeout", rule->timeout_us) < 0 ||
                   add_duration(object, "min_age", rule->min_age_us) < 0 || add_confine(object, &rule->confine) < 0 ||
                   json_object_set_new(object, "origins", origins_of(options, rule, object)) < 0)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *gather(const struct options *options) {
    json_t *answer = json_pack("{s:s?,s:[],s:[]}", "file", options->config, "options", "rules");
    json_t *entries = json_object_get(answer, "options"), *rules = json_object_get(answer, "rules");
    int r = answer ? 0 : -1;
    for (size_t o = 0; o < n_options && r == 0; o++) {
        const struct option *option = &option_table[o];
        char key[OPTION_KEY_MAX];
        if (option_in_file(option))
            r = json_array_append_new(entries, entry(options, option_key(option, key),
                                                     value_of(options, option, &options->origins[o]),
                                                     &options->origins[o], option->variable));
    }
    if (r == 0)
        r = json_array_append_new(
            entries, entry(options, "program", program_of(options->program), &options->program_origin, NULL));
    if (r == 0)
        r = json_array_append_new(entries,
                                  entry(options, "plugin", program_of(options->plugin), &options->plugin_origin, NULL));
    if (r == 0)
        r = json_array_append_new(entries,
                                  entry(options, "image", image_of(options->image), &options->image_origin, NULL));
    for (size_t i = 0; options->rules && i < options->rules->n && r == 0; i++)
        r = json_array_append_new(rules, rule_of(options, &options->rules->rules[i], &options->rules->matches[i]));
    if (r == 0)
        return answer;
    json_decref(answer);
    return NULL;
}

/* One line: a text alone as it is, all else as JSON. */
static void print_value(const json_t *value) {
    if (json_is_null(value)) {
        putchar('-');
    } else if (json_is_string(value)) {
        _cleanup_buf_ struct buf shown = {0};
        text_add_printable(&shown, bytes_of(json_string_value(value), json_string_length(value)));
        fputs(shown.p ? shown.p : "", stdout);
    } else {
        json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    }
}

static int print_people(json_t *answer) {
    size_t i;
    json_t *item;
    if (!answer)
        return command_fail(EXIT_INTERNAL, "out of memory");
    json_array_foreach(json_object_get(answer, "options"), i, item) {
        printf("%-20s ", json_string_value(json_object_get(item, "key")));
        print_value(json_object_get(item, "value"));
        printf("   (%s)\n", json_string_value(json_object_get(item, "from")));
    }
    json_array_foreach(json_object_get(answer, "rules"), i, item) {
        const char *key;
        json_t *value;
        printf("rule %zu   (%s)\n", i + 1, json_string_value(json_object_get(item, "from")));
        json_object_foreach(item, key, value) {
            const json_t *from = json_object_get(json_object_get(item, "origins"), key);
            if (!from)
                continue;
            printf("  %-20s ", key);
            print_value(value);
            printf("   (%s)\n", json_string_value(from));
        }
    }
    json_decref(answer);
    return flushed();
}

int command_config(const struct options *options) {
    if (strcmp(options->action, "check") == 0)
        return check(options);
    if (strcmp(options->action, "schema") == 0)
        return print_json(config_schema());
    return options->json ? print_json(gather(options)) : print_people(gather(options));
}
