/* plan_confine.c - what is taken from programs, as the handlers want to be told, and which files are hidden from those
 * that are confined: where froe's own credentials are kept, or may be. */
#include "plan.h"

#include "bytes.h"
#include "config_rules.h"
#include "mem.h"
#include "store_uri.h"

#include <stdlib.h>

static int add(struct plan_confine *confine, const char *directory, const char *name) {
    struct buf path = {0};
    if (!directory || !directory[0])
        return 0;
    if (buf_printf(&path, "%s%s", directory, name) < 0)
        return -ENOMEM;
    confine->secrets[confine->n_secrets++] = buf_detach(&path);
    return 0;
}

static const char *const of_store[] = {"passfile", "sslkey"};

static int add_of_store(struct plan_confine *confine, const char *store) {
    for (size_t i = 0; i < sizeof of_store / sizeof of_store[0]; i++) {
        int r = store_uri_parameter(store, of_store[i], &confine->secrets[confine->n_secrets]);
        if (r < 0)
            return r;
        confine->n_secrets += (size_t)r;
    }
    return 0;
}

int plan_confine_init(struct plan_confine *confine, const char *store) {
    static const char *const variables[] = {"AWS_SHARED_CREDENTIALS_FILE",
                                            "AWS_CONFIG_FILE",
                                            "AWS_WEB_IDENTITY_TOKEN_FILE",
                                            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                            "PGPASSFILE",
                                            "PGSERVICEFILE",
                                            "PGSSLKEY"};
    static const char *const at_home[] = {"/.aws", "/.pgpass", "/.pg_service.conf", "/.postgresql"};
    _Static_assert(sizeof variables / sizeof variables[0] + sizeof at_home / sizeof at_home[0] +
                           sizeof of_store / sizeof of_store[0] <=
                       PLAN_SECRETS_MAX,
                   "room for all");
    int r = 0;
    *confine = (struct plan_confine){0};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0] && r == 0; i++)
        r = add(confine, secure_getenv(variables[i]), "");
    for (size_t i = 0; i < sizeof at_home / sizeof at_home[0] && r == 0; i++)
        r = add(confine, secure_getenv("HOME"), at_home[i]);
    if (r == 0 && store)
        r = add_of_store(confine, store);
    if (r < 0)
        plan_confine_free(confine);
    return r;
}

void plan_confine_free(struct plan_confine *confine) {
    for (size_t i = 0; i < confine->n_secrets; i++)
        mem_free(confine->secrets[i]);
    confine->n_secrets = 0;
}

struct confine plan_confine_of(const struct plan_confine *confine, const struct options_confine *options,
                               bool strictest) {
    struct confine policy = {
        .level = options->level,
        .best_effort = options->best_effort,
        .network = options->network,
        .write = options->write,
        .n_write = options->n_write,
        .hide = (const char *const *)confine->secrets,
        .n_hide = confine->n_secrets,
        .memory_bytes = options->memory_bytes,
        .file_bytes = options->file_bytes,
        .cpu_s = (uint64_t)((options->cpu_us + US_PER_S - 1) / US_PER_S),
        .files = options->files,
        .processes = options->processes,
        .nice = options->nice,
    };
    if (strictest) {
        policy.best_effort = options->level != CONFINE_STRICT || options->best_effort;
        policy.level = CONFINE_STRICT;
        policy.network = false;
        policy.n_write = 0;
    }
    return policy;
}

static int check_one(const struct plan_confine *confine, const struct options_confine *options, struct err *err) {
    const struct confine policy = plan_confine_of(confine, options, false);
    struct confined *confined;
    int r = confined_new(&policy, &confined, err);
    if (r == 0)
        confined_free(confined);
    return r;
}

int plan_check_confine(const struct options *options, struct err *err) {
    struct plan_confine confine;
    if (plan_confine_init(&confine, options->store) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    int r = check_one(&confine, &options->confine, err);
    for (size_t i = 0; options->rules && i < options->rules->n && r == 0; i++) {
        r = check_one(&confine, &options->rules->rules[i].confine, err);
        if (r < 0)
            err_prefix(err, "rule %zu", i + 1);
    }
    plan_confine_free(&confine);
    return r;
}

bool plan_confines_all(const struct options *options) {
    bool all = options->confine.level != CONFINE_NO;
    for (size_t i = 0; options->rules && i < options->rules->n; i++)
        all = all && options->rules->rules[i].confine.level != CONFINE_NO;
    return all;
}
