/* config_rules.h - the `rules:` of a configuration file, checked and compiled. */
#pragma once

#include "options.h"
#include "rules.h"

#define CONFIG_RULES_MAX 1000
#define CONFIG_PROGRAM_MAX 1000 /* words of a program's command line */

enum config_handler {
    CONFIG_HANDLER_GENERAL /* that of all */,
    CONFIG_HANDLER_DISCARD,
    CONFIG_HANDLER_PROGRAM,
    CONFIG_HANDLER_POOL,
    CONFIG_HANDLER_PLUGIN,
    CONFIG_HANDLER_IMAGE
};

struct config_rule {
    const struct doc_node *node; /* where it stands */
    struct rule_when *when;      /* owned */
    const char **globs[3];       /* owned: buckets, include, exclude; their strings are the document's */
    enum config_handler handler;
    char **program;                 /* owned, NULL-terminated */
    char *image;                    /* owned: for froe-image */
    bool keeps_results;             /* what its handler makes of an object is wanted; see config_rules_settle */
    struct config_outputs *outputs; /* owned; NULL: the general ones */
    struct config_then *then;       /* owned; NULL: the general one */
    /* Those that the rule does not give are the general ones, see config_rules_settle. */
    bool has_retries, has_timeout, has_min_age, has_cap;
    uint32_t retries, cap; /* cap: max_runs_per_bucket, see config_rules_cap */
    int64_t timeout_us, min_age_us;
    struct options_confine confine;
    unsigned has_confine; /* bits of its parts */
};

struct config_rules {
    size_t n;
    struct config_rule *rules;
    struct rule *matches; /* of each, for rules_find */
};

/* Reads the list. -EINVAL with "FILE:LINE:COLUMN: ..."; -ENOMEM. */
int config_rules_parse(const struct doc *doc, const struct doc_node *list, struct config_rules **ret_rules,
                       struct err *err);
void config_rules_free(struct config_rules *rules); /* NULL is fine */
/* Once the general options are known: gives them to the rules that say nothing else, and refuses rules that can never
 * match for the bucket prefix. `need_handler`: also those that have no handler where there is no general one. */
int config_rules_settle(const struct options *options, bool need_handler, struct err *err);

/* The same for what is taken from programs alone. */
void config_rules_settle_confine(const struct options *options);

/* The cap on a bucket: of the first rule that has one and wants anything of that bucket, or else the general one. */
uint32_t config_rules_cap(const struct config_rules *rules, struct bytes bucket, uint32_t general);

/* A program's words: a list of texts, the first not empty. *ret_program is NULL-terminated, for mem_free. */
int config_program_parse(const struct doc *doc, const struct doc_node *node, char ***ret_program, struct err *err);

/* The keys of a rule, for the schema: name, a JSON Schema as text or NULL for that of the option of that name, and a
 * line for people. */
struct config_rule_key {
    const char *name, *schema, *help;
    int (*read)(const struct doc *doc, const struct doc_node *value, struct config_rule *rule, struct rule *match,
                struct err *err);
};
extern const struct config_rule_key config_rule_keys[];
extern const size_t n_config_rule_keys;
