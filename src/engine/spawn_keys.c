/* spawn_keys.c - the keys that a workflow's rules give for an input. */
#include "spawn.h"

static int make_key(const struct cel_program *program, const struct cel_vars *vars, struct buf *keys, struct err *err) {
    size_t before = keys->n;
    int r = cel_eval_string(program, vars, keys, err);
    if (r < 0)
        return r;
    size_t n = keys->n - before;
    if (n > FROE_KEY_MAX)
        return err_set(err, -EINVAL, "it has %zu bytes; at most %d are taken", n, FROE_KEY_MAX);
    if (n > 0 && memchr(keys->p + before, '\0', n))
        return err_set(err, -EINVAL, "it holds a NUL");
    return 0;
}

int spawn_keys(const struct workflow *workflow, const struct cel_vars *vars, struct buf *keys,
               size_t lengths[FROE_RULES_MAX], struct err *err) {
    size_t at = keys->n;
    memset(lengths, 0, FROE_RULES_MAX * sizeof lengths[0]);
    for (size_t i = 0; i < workflow->n_rules; i++) {
        size_t before = keys->n;
        struct err why = {0};
        int r = make_key(workflow->rules[i].program, vars, keys, &why);
        if (r < 0) {
            keys->n = at;
            return r == -ENOMEM ? err_set(err, r, "out of memory")
                                : err_set(err, -EINVAL, "rule %zu gives no key: %.400s", i + 1, why.text);
        }
        lengths[i] = keys->n - before;
    }
    return 0;
}
