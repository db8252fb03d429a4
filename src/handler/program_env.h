/* program_env.h - what a program finds in its environment, and where a program is found. */
#pragma once

#include "bytes.h"
#include "err.h"
#include "handler.h"

struct program_env {
    char **fixed; /* NAME=value from froe's own environment, copied once */
    size_t n_fixed;
    /* Used again for each object, so that a start allocates nothing once these have grown. */
    struct buf text;
    const char **vars;
    size_t cap;
};

int program_env_init(struct program_env *env); /* -ENOMEM */
void program_env_free(struct program_env *env);
/* The environment for one object (the list is in handler.h), NULL-terminated, valid until the next call. Without an
 * object it is what all have in common. -ENOMEM, -E2BIG over SPAWNER_STRINGS_MAX. */
int program_env_build(struct program_env *env, const struct handler_object *object, const char *const **ret_envp);

/* The absolute path of a program: of the name itself when it has a slash, else the first executable file of that name
 * in PATH. The caller frees it. -ENOENT, -EACCES (found, but not executable), -ENOMEM; with a text. */
int program_find(const char *name, char **ret_path, struct err *err);
