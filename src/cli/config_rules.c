/* config_rules.c - reading the rules of a configuration file. */
#include "config_rules.h"

#include "config_image.h"
#include "config_output.h"
#include "doc.h"
#include "mem.h"
#include "nearest.h"
#include "options_table.h"
#include "text.h"

enum { BUCKETS, INCLUDE, EXCLUDE };

/* ---- globs ---- */

static int take_glob(const struct doc *doc, const struct doc_node *node, const char *what, const char **place,
                     struct err *err) {
    if (node->kind != DOC_TEXT || doc_is_nothing(node))
        return doc_error(doc, node, err, "%s: a pattern is a text, not %s", what, doc_what(node));
    if (node->text.n == 0 || text_glob_check(node->text) < 0)
        return doc_error(doc, node, err,
                         "%s: '%.100s' is not a pattern: an empty one, an open '[' or a '\\' at the end", what,
                         node->text.p);
    if (node->text.n > GLOB_BYTES_MAX)
        return doc_error(doc, node, err, "%s: a pattern has at most %d bytes", what, GLOB_BYTES_MAX);
    *place = node->text.p;
    return 0;
}

/* One pattern, or a list of them. */
static int read_globs(const struct doc *doc, const struct doc_node *value, const char *what, struct config_rule *rule,
                      int kind, struct rule_globs *globs, struct err *err) {
    bool list = value->kind == DOC_LIST;
    size_t n = list ? value->n : 1;
    if (n == 0)
        return doc_error(doc, value, err, "%s: an empty list matches nothing; leave the key out to match all", what);
    if (n > GLOBS_MAX)
        return doc_error(doc, value, err, "%s: more than %d patterns", what, GLOBS_MAX);
    const char **array = mem_calloc(n, sizeof *array);
    if (!array)
        return err_set(err, -ENOMEM, "out of memory");
    rule->globs[kind] = array;
    size_t at = 0;
    for (const struct doc_node *item = list ? value->first : value; item; item = list ? item->next : NULL) {
        int r = take_glob(doc, item, what, &array[at++], err);
        if (r < 0)
            return r;
    }
    *globs = (struct rule_globs){array, n};
    return 0;
}

static int read_buckets(const struct doc *doc, const struct doc_node *value, struct config_rule *rule,
                        struct rule *match, struct err *err) {
    return read_globs(doc, value, "buckets", rule, BUCKETS, &match->buckets, err);
}

static int read_keys(const struct doc *doc, const struct doc_node *value, struct config_rule *rule, struct rule *match,
                     struct err *err) {
    static const char *const known[] = {"include", "exclude", NULL};
    if (value->kind != DOC_MAP)
        return read_globs(doc, value, "keys", rule, INCLUDE, &match->include, err);
    int r = doc_check_keys(doc, value, known, "of keys", err);
    for (const struct doc_node *entry = value->first; entry && r == 0; entry = entry->next) {
        bool include = bytes_equal(entry->key->text, BYTES("include"));
        r = include ? read_globs(doc, entry, "include", rule, INCLUDE, &match->include, err)
                    : read_globs(doc, entry, "exclude", rule, EXCLUDE, &match->exclude, err);
    }
    return r;
}

/* ---- the others ---- */

static int read_when(const struct doc *doc, const struct doc_node *value, struct config_rule *rule, struct rule *match,
                     struct err *err) {
    struct err why = {0};
    if (value->kind != DOC_TEXT || value->text.n == 0)
        return doc_error(doc, value, err, "when: an expression is a text, not %s",
                         value->kind == DOC_TEXT ? "nothing" : doc_what(value));
    int r = rule_when_compile(value->text, &rule->when, &why);
    if (r == -ENOMEM)
        return err_set(err, r, "out of memory");
    if (r < 0)
        return doc_error(doc, value, err, "when: %s", why.text);
    match->when = rule->when;
    return 0;
}

int config_program_parse(const struct doc *doc, const struct doc_node *node, char ***ret_program, struct err *err) {
    if (node->kind != DOC_LIST || node->n == 0)
        return doc_error(doc, node, err, "a program is a list of words, as in [convert, \"-\", png:-], not %s",
                         node->kind == DOC_LIST ? "an empty one" : doc_what(node));
    if (node->n > CONFIG_PROGRAM_MAX)
        return doc_error(doc, node, err, "program: more than %d words", CONFIG_PROGRAM_MAX);
    for (const struct doc_node *word = node->first; word; word = word->next) {
        if (word->kind != DOC_TEXT || doc_is_nothing(word))
            return doc_error(doc, word, err, "program: each word is a text, not %s%s", doc_what(word),
                             word->kind == DOC_TEXT ? "; an empty word is \"\"" : "");
        if (word == node->first && word->text.n == 0)
            return doc_error(doc, word, err, "program: its name is empty");
    }
    char **program = mem_calloc(node->n + 1, sizeof *program);
    if (!program)
        return err_set(err, -ENOMEM, "out of memory");
    size_t at = 0;
    for (const struct doc_node *word = node->first; word; word = word->next)
        program[at++] = (char *)(uintptr_t)word->text.p;
    *ret_program = program;
    return 0;
}

#define HANDLER_IS                                                                                                  \
    "handler: it is discard, {program: [WORD, ...]}, {pool: [WORD, ...]}, {image: {...}} or {plugin: [FILE, WORD, " \
    "...]}"

static int read_handler(const struct doc *doc, const struct doc_node *value, struct config_rule *rule,
                        struct rule *match, struct err *err) {
    static const char *const known[] = {"program", "pool", "plugin", "image", NULL};
    (void)match;
    if (value->kind == DOC_TEXT && bytes_equal(value->text, BYTES("discard"))) {
        rule->handler = CONFIG_HANDLER_DISCARD;
        return 0;
    }
    if (value->kind == DOC_TEXT && nearest_of(value->text, (const char *[]){"discard", NULL}))
        return doc_error(doc, value, err, HANDLER_IS "; did you mean discard?");
    if (value->kind != DOC_MAP)
        return doc_error(doc, value, err, HANDLER_IS);
    int r = doc_check_keys(doc, value, known, "of a handler", err);
    if (r < 0)
        return r;
    if (value->n != 1)
        return doc_error(doc, value, err, HANDLER_IS);
    struct bytes kind = value->first->key->text;
    if (bytes_equal(kind, BYTES("image"))) {
        rule->handler = CONFIG_HANDLER_IMAGE;
        return config_image_parse(doc, value->first, &rule->image, err);
    }
    rule->handler = bytes_equal(kind, BYTES("pool"))     ? CONFIG_HANDLER_POOL
                    : bytes_equal(kind, BYTES("plugin")) ? CONFIG_HANDLER_PLUGIN
                                                         : CONFIG_HANDLER_PROGRAM;
    return config_program_parse(doc, value->first, &rule->program, err);
}

/* As the option of that name, into a struct options of its own. */
static int read_option(const struct doc *doc, const struct doc_node *value, const char *name, struct options *into,
                       struct err *err) {
    for (size_t o = 0; o < n_options; o++)
        if (strcmp(option_table[o].name, name) == 0 && option_in_file(&option_table[o])) {
            into->doc = (struct doc *)(uintptr_t)doc;
            int r = option_set_from_file(into, &option_table[o], value, err);
            into->doc = NULL;
            return r;
        }
    return -EINVAL;
}

static int read_retries(const struct doc *doc, const struct doc_node *value, struct config_rule *rule,
                        struct rule *match, struct err *err) {
    struct options read = {0};
    int r = read_option(doc, value, "retries", &read, err);
    rule->has_retries = true;
    rule->retries = read.retries;
    return r;
}

static int read_timeout(const struct doc *doc, const struct doc_node *value, struct config_rule *rule,
                        struct rule *match, struct err *err) {
    struct options read = {0};
    int r = read_option(doc, value, "timeout", &read, err);
    rule->has_timeout = true;
    rule->timeout_us = read.timeout_us;
    return r;
}

static int read_min_age(const struct doc *doc, const struct doc_node *value, struct config_rule *rule,
                        struct rule *match, struct err *err) {
    struct options read = {0};
    int r = read_option(doc, value, "min-age", &read, err);
    rule->has_min_age = true;
    rule->min_age_us = read.min_age_us;
    return r;
}

/* Parts of options_confine, each an option with that name. */
#define PART(name, first, last)                                                                       \
    {                                                                                                 \
        name, offsetof(struct options_confine, first),                                                \
            offsetof(struct options_confine, last) + sizeof(((struct options_confine *)NULL)->last) - \
                offsetof(struct options_confine, first)                                               \
    }
static const struct {
    const char *option;
    size_t offset, n;
} confine_parts[] = {
    PART("confine", level, best_effort),
    PART("allow-network", network, network),
    PART("allow-write", write, n_write),
    PART("limit-memory", memory_bytes, memory_bytes),
    PART("limit-cpu", cpu_us, cpu_us),
    PART("limit-files", files, files),
    PART("limit-processes", processes, processes),
    PART("limit-file-size", file_bytes, file_bytes),
    PART("nice", nice, nice),
};

static void copy_part(struct options_confine *to, const struct options_confine *from, size_t part) {
    memcpy((char *)to + confine_parts[part].offset, (const char *)from + confine_parts[part].offset,
           confine_parts[part].n);
}

static int read_confine(const struct doc *doc, const struct doc_node *value, struct config_rule *rule,
                        struct rule *match, struct err *err) {
    struct options read = {0};
    for (size_t i = 0; i < sizeof confine_parts / sizeof confine_parts[0]; i++) {
        char key[OPTION_KEY_MAX];
        const struct option named = {.name = confine_parts[i].option};
        if (!bytes_equal(value->key->text, bytes_str(option_key(&named, key))))
            continue;
        rule->has_confine |= 1u << i;
        int r = read_option(doc, value, confine_parts[i].option, &read, err);
        copy_part(&rule->confine, &read.confine, i);
        return r;
    }
    return -EINVAL;
}

static int read_output(const struct doc *doc, const struct doc_node *value, struct config_rule *rule,
                       struct rule *match, struct err *err) {
    return config_outputs_read(doc, value, &rule->outputs, err);
}

static int read_then(const struct doc *doc, const struct doc_node *value, struct config_rule *rule, struct rule *match,
                     struct err *err) {
    return config_then_read(doc, value, &rule->then, err);
}

static int read_cap(const struct doc *doc, const struct doc_node *value, struct config_rule *rule, struct rule *match,
                    struct err *err) {
    struct options read = {0};
    int r = read_option(doc, value, "max-runs-per-bucket", &read, err);
    rule->has_cap = true;
    rule->cap = read.max_runs_per_bucket;
    return r;
}

#define GLOBS_SCHEMA "{\"$ref\":\"#/$defs/globs\"}"

const struct config_rule_key config_rule_keys[] = {
    {"buckets", GLOBS_SCHEMA, "patterns of bucket names; without it all buckets with the prefix", read_buckets},
    {"keys",
     "{\"anyOf\":[" GLOBS_SCHEMA
     ",{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"include\":" GLOBS_SCHEMA
     ",\"exclude\":" GLOBS_SCHEMA "}}]}",
     "patterns of keys: one, a list, or include and exclude", read_keys},
    {"when", "{\"type\":[\"string\",\"boolean\"],\"minLength\":1,\"maxLength\":4096}",
     "an expression (CEL) over bucket, key, size, etag, content_type, last_modified, metadata", read_when},
    {"handler",
     "{\"anyOf\":[{\"const\":\"discard\"},{\"type\":\"object\",\"additionalProperties\":false,\"minProperties\":1,"
     "\"maxProperties\":1,\"properties\":{\"program\":{\"$ref\":\"#/$defs/program\"},"
     "\"pool\":{\"$ref\":\"#/$defs/program\"},"
     "\"plugin\":{\"$ref\":\"#/$defs/program\"},"
     "\"image\":{\"$ref\":\"#/$defs/image\"}}}]}",
     "what is done with the object: discard, a program, a pool of its processes, work on images, or a plugin; without "
     "it the general one",
     read_handler},
    {"output", NULL, NULL, read_output},
    {"then", NULL, NULL, read_then},
    {"retries", NULL, NULL, read_retries},
    {"timeout", NULL, NULL, read_timeout},
    {"min_age", NULL, NULL, read_min_age},
    {"confine", NULL, NULL, read_confine},
    {"allow_network", NULL, NULL, read_confine},
    {"allow_write", NULL, NULL, read_confine},
    {"limit_memory", NULL, NULL, read_confine},
    {"limit_cpu", NULL, NULL, read_confine},
    {"limit_files", NULL, NULL, read_confine},
    {"limit_processes", NULL, NULL, read_confine},
    {"limit_file_size", NULL, NULL, read_confine},
    {"nice", NULL, NULL, read_confine},
    {"max_runs_per_bucket", NULL, NULL, read_cap},
};
const size_t n_config_rule_keys = sizeof config_rule_keys / sizeof config_rule_keys[0];

static int read_rule(const struct doc *doc, const struct doc_node *node, struct config_rule *rule, struct rule *match,
                     struct err *err) {
    const char *known[sizeof config_rule_keys / sizeof config_rule_keys[0] + 1] = {NULL};
    for (size_t i = 0; i < n_config_rule_keys; i++)
        known[i] = config_rule_keys[i].name;
    rule->node = node;
    if (node->kind != DOC_MAP)
        return doc_error(doc, node, err, "a rule is a mapping, as in \"- buckets: photos-*\", not %s", doc_what(node));
    int r = doc_check_keys(doc, node, known, "of a rule", err);
    for (const struct doc_node *entry = node->first; entry && r == 0; entry = entry->next)
        for (size_t i = 0; i < n_config_rule_keys && r == 0; i++)
            if (bytes_equal(entry->key->text, bytes_str(config_rule_keys[i].name)))
                r = config_rule_keys[i].read(doc, entry, rule, match, err);
    return r;
}

int config_rules_parse(const struct doc *doc, const struct doc_node *list, struct config_rules **ret_rules,
                       struct err *err) {
    if (list->kind != DOC_LIST)
        return doc_error(doc, list, err, "rules are a list, as in \"- buckets: photos-*\", not %s", doc_what(list));
    if (list->n == 0)
        return doc_error(doc, list, err, "rules: an empty list would leave every object alone; leave the key out");
    if (list->n > CONFIG_RULES_MAX)
        return doc_error(doc, list, err, "more than %d rules", CONFIG_RULES_MAX);
    struct config_rules *rules = mem_zalloc(sizeof *rules);
    if (rules) {
        rules->rules = mem_calloc(list->n, sizeof *rules->rules);
        rules->matches = mem_calloc(list->n, sizeof *rules->matches);
    }
    int r = rules && rules->rules && rules->matches ? 0 : err_set(err, -ENOMEM, "out of memory");
    for (const struct doc_node *node = list->first; node && r == 0; node = node->next) {
        r = read_rule(doc, node, &rules->rules[rules->n], &rules->matches[rules->n], err);
        rules->n++; /* what it has got so far is freed with it */
    }
    if (r < 0) {
        config_rules_free(rules);
        return r;
    }
    *ret_rules = rules;
    return 0;
}

void config_rules_free(struct config_rules *rules) {
    if (!rules)
        return;
    for (size_t i = 0; i < rules->n; i++) {
        rule_when_free(rules->rules[i].when);
        mem_free(rules->rules[i].program);
        mem_free(rules->rules[i].image);
        config_outputs_free(rules->rules[i].outputs);
        config_then_free(rules->rules[i].then);
        for (size_t k = 0; k < sizeof rules->rules[i].globs / sizeof rules->rules[i].globs[0]; k++)
            mem_free(rules->rules[i].globs[k]);
    }
    mem_free(rules->rules);
    mem_free(rules->matches);
    mem_free(rules);
}

/* Could a name that starts with the prefix match the pattern? By the pattern's beginning, up to what is special. */
static bool may_start(const char *glob, const char *prefix) {
    size_t literal = strcspn(glob, "*?[\\"), n = strlen(prefix);
    if (memcmp(glob, prefix, literal < n ? literal : n) != 0)
        return false;
    return literal >= n || glob[literal] != '\0';
}

/* The n-th of the rule's patterns of buckets, as it stands in the file. */
static const struct doc_node *pattern_of(const struct config_rule *rule, size_t n) {
    const struct doc_node *node = doc_get(rule->node, "buckets");
    if (node->kind == DOC_LIST)
        for (node = node->first; n > 0; n--)
            node = node->next;
    return node;
}

uint32_t config_rules_cap(const struct config_rules *rules, struct bytes bucket, uint32_t general) {
    for (size_t i = 0; rules && i < rules->n; i++)
        if (rules->rules[i].has_cap && rules_may_match(&rules->matches[i], 1, bucket, NULL))
            return rules->rules[i].cap;
    return general;
}

void config_rules_settle_confine(const struct options *options) {
    for (size_t i = 0; options->rules && i < options->rules->n; i++)
        for (size_t part = 0; part < sizeof confine_parts / sizeof confine_parts[0]; part++)
            if (!(options->rules->rules[i].has_confine >> part & 1))
                copy_part(&options->rules->rules[i].confine, &options->confine, part);
}

int config_rules_settle(const struct options *options, bool need_handler, struct err *err) {
    struct config_rules *rules = options->rules;
    config_rules_settle_confine(options);
    for (size_t i = 0; i < rules->n; i++) {
        struct config_rule *rule = &rules->rules[i];
        const struct rule_globs *buckets = &rules->matches[i].buckets;
        rule->keeps_results = config_outputs_of(options, rule) != NULL;
        if (!rule->has_retries)
            rule->retries = options->retries;
        if (!rule->has_timeout)
            rule->timeout_us = options->timeout_us;
        if (!rule->has_min_age)
            rule->min_age_us = options->min_age_us;
        for (size_t k = 0; k < buckets->n; k++)
            if (!may_start(buckets->globs[k], options->bucket_prefix))
                return doc_error(options->doc, pattern_of(rule, k), err,
                                 "this rule's '%.100s' can never match: only buckets whose names start with '%s' are "
                                 "drained (bucket_prefix)",
                                 buckets->globs[k], options->bucket_prefix);
        if (need_handler && rule->handler == CONFIG_HANDLER_GENERAL && !options->program && !options->discard &&
            !options->plugin && !options->image)
            return doc_error(options->doc, rule->node, err,
                             "this rule has no handler, and there is neither a program nor discard for all");
    }
    return 0;
}
