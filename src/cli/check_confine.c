/* check_confine.c - see check_confine.h. */
#include "check_confine.h"

#include "cleanup.h"
#include "config_output.h"
#include "config_rules.h"
#include "options_table.h"
#include "plan.h"

/* Workers for images are held as strictly as can be, whatever is asked for. NULL: without rules. */
static const char *word_of(const struct options *options, const struct config_rule *rule) {
    struct options_confine confine = rule ? rule->confine : options->confine;
    if (config_makes_images(options, rule)) {
        confine.best_effort = confine.level != CONFINE_STRICT || confine.best_effort;
        confine.level = CONFINE_STRICT;
    }
    return option_confine_word(&confine);
}

static const char *general_word(const struct options *options) {
    return options->rules ? option_confine_word(&options->confine) : word_of(options, NULL);
}

static int describe(const struct options *options, const struct confine_kernel *kernel, struct buf *text) {
    const char *gaps = confine_gaps(kernel->landlock_abi);
    int r = kernel->landlock_abi ? buf_printf(text, "Landlock ABI %d%s%s%s", kernel->landlock_abi, gaps[0] ? " (" : "",
                                              gaps, gaps[0] ? ")" : "")
                                 : buf_add_str(text, "no Landlock");
    if (r == 0)
        r = buf_printf(text, ", %sseccomp, limits%s; asked for: %s", kernel->filter ? "" : "no ",
                       kernel->processes ? "" : " but of processes (root)", general_word(options));
    return r;
}

/* Rules that want something else than what is asked for in general. */
static int describe_rules(const struct options *options, struct buf *text) {
    const char *general = general_word(options);
    int r = 0;
    for (size_t i = 0; options->rules && i < options->rules->n && r == 0; i++) {
        const char *word = word_of(options, &options->rules->rules[i]);
        if (strcmp(word, general) != 0)
            r = buf_printf(text, ", by rule %zu: %s", i + 1, word);
    }
    return r;
}

static json_t *levels_of_rules(const struct options *options) {
    json_t *levels = json_array();
    for (size_t i = 0; options->rules && i < options->rules->n; i++)
        if (json_array_append_new(levels, json_string(word_of(options, &options->rules->rules[i]))) < 0) {
            json_decref(levels);
            return NULL;
        }
    return levels;
}

json_t *check_confine(const struct options *options) {
    _cleanup_buf_ struct buf text = {0};
    struct confine_kernel kernel;
    struct err err = {0};
    confine_look(&kernel);
    int r = plan_check_confine(options, &err);
    if (r == 0 && (describe(options, &kernel, &text) < 0 || describe_rules(options, &text) < 0))
        return NULL;
    return json_pack("{s:b,s:s,s:s,s:o,s:i,s:b,s:b}", "ok", r == 0, "what", r == 0 ? text.p : err.text, "level",
                     general_word(options), "rules", levels_of_rules(options), "landlock", kernel.landlock_abi,
                     "seccomp", kernel.filter, "processes", kernel.processes);
}
