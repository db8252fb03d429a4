/* rules.c - the first rule that matches. */
#include "rules_private.h"

#include "text.h"

static bool any_matches(const struct rule_globs *globs, struct bytes text) {
    for (size_t i = 0; i < globs->n; i++)
        if (text_glob(bytes_str(globs->globs[i]), text))
            return true;
    return false;
}

static bool by_names(const struct rule *rule, struct bytes bucket, const struct bytes *key) {
    if (rule->buckets.n > 0 && !any_matches(&rule->buckets, bucket))
        return false;
    return !key || ((rule->include.n == 0 || any_matches(&rule->include, *key)) && !any_matches(&rule->exclude, *key));
}

enum rules_found rules_find(const struct rule *rules, size_t n, const struct rule_object *object, size_t *ret_at,
                            struct err *err) {
    for (size_t i = 0; i < n; i++) {
        if (!by_names(&rules[i], object->bucket, &object->key))
            continue;
        *ret_at = i;
        switch (rules[i].when ? rule_when_ask(rules[i].when, object, err) : WHEN_YES) {
        case WHEN_NO:
            break;
        case WHEN_YES:
            return RULES_FOUND;
        case WHEN_LATER:
            return RULES_LATER;
        case WHEN_FAILED:
            return RULES_FAILED;
        }
    }
    return RULES_NONE;
}

bool rules_may_match(const struct rule *rules, size_t n, struct bytes bucket, const struct bytes *key) {
    for (size_t i = 0; i < n; i++)
        if (by_names(&rules[i], bucket, key))
            return true;
    return false;
}
