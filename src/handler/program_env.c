/* program_env.c - builds environments from an allow-list; looks programs up. */
#include "program_env.h"

#include "cleanup.h"
#include "spawner.h"
#include "text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

/* ---- environment ---- */

static bool is_allowed(const char *variable) {
    static const struct bytes names[] = {BYTES("PATH="),    BYTES("HOME="),   BYTES("LANG="),
                                         BYTES("TZ="),      BYTES("TMPDIR="), BYTES("USER="),
                                         BYTES("LOGNAME="), BYTES("SHELL="),  BYTES("LC_")};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(variable, names[i].p, names[i].n) == 0)
            return true;
    return false;
}

int program_env_init(struct program_env *env) {
    *env = (struct program_env){0};
    buf_init(&env->text, SPAWNER_STRINGS_MAX);
    size_t n = 0;
    for (char **variable = environ; *variable; variable++)
        n += is_allowed(*variable);
    env->fixed = mem_calloc(n, sizeof *env->fixed);
    if (!env->fixed)
        return -ENOMEM;
    for (char **variable = environ; *variable; variable++) {
        if (!is_allowed(*variable))
            continue;
        if (!(env->fixed[env->n_fixed] = mem_strdup(*variable))) {
            program_env_free(env);
            return -ENOMEM;
        }
        env->n_fixed++;
    }
    return 0;
}

void program_env_free(struct program_env *env) {
    for (size_t i = 0; i < env->n_fixed; i++)
        mem_free(env->fixed[i]);
    mem_free(env->fixed);
    mem_free(env->vars);
    buf_free(&env->text);
    *env = (struct program_env){0};
}

static struct bytes until_nul(struct bytes value) {
    return bytes_of(value.p, value.n ? strnlen(value.p, value.n) : 0);
}

/* Appends "NAME=value" and its NUL. */
static int add(struct buf *text, const char *name, struct bytes value) {
    int r = buf_printf(text, "%s=", name);
    if (r == 0)
        r = buf_add_bytes(text, until_nul(value));
    return r < 0 ? r : buf_add_byte(text, '\0');
}

static int add_number(struct buf *text, const char *name, uint64_t value) {
    int r = buf_printf(text, "%s=%" PRIu64, name, value);
    return r < 0 ? r : buf_add_byte(text, '\0');
}

static int add_key_url(struct buf *text, struct bytes key) {
    int r = buf_add_str(text, "FROE_KEY_URL=");
    if (r == 0)
        r = text_add_percent(text, key, false);
    return r < 0 ? r : buf_add_byte(text, '\0');
}

/* Appends "FROE_META_<NAME>=". */
static int add_meta_name(struct buf *text, struct bytes name) {
    int r = buf_add_str(text, "FROE_META_");
    for (size_t i = 0; r == 0 && i < name.n; i++) {
        char c = name.p[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        bool plain = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        r = buf_add_byte(text, plain ? c : '_');
    }
    return r < 0 ? r : buf_add_byte(text, '=');
}

static bool has_variable(struct bytes text, struct bytes name_and_equals) {
    while (text.n) {
        if (bytes_starts(text, name_and_equals))
            return true;
        size_t n = strlen(text.p) + 1;
        text = bytes_of(text.p + n, text.n - n);
    }
    return false;
}

static int add_meta(struct buf *text, size_t first_meta, const struct handler_meta *meta) {
    size_t before = text->n;
    int r = add_meta_name(text, meta->name);
    if (r < 0)
        return r;
    struct bytes earlier = bytes_of(text->p + first_meta, before - first_meta);
    if (has_variable(earlier, bytes_of(text->p + before, text->n - before))) {
        text->n = before;
        return 0;
    }
    r = buf_add_bytes(text, until_nul(meta->value));
    return r < 0 ? r : buf_add_byte(text, '\0');
}

static int add_object(struct buf *text, const struct handler_object *object) {
    int r = add(text, "FROE_BUCKET", object->bucket);
    if (r == 0)
        r = add(text, "FROE_KEY", object->key);
    if (r == 0)
        r = add_key_url(text, object->key);
    if (r == 0)
        r = add_number(text, "FROE_SIZE", object->size);
    if (r == 0)
        r = add(text, "FROE_ETAG", bytes_unquoted(object->etag));
    if (r == 0)
        r = add(text, "FROE_VERSION_ID", object->version_id);
    if (r == 0)
        r = add_number(text, "FROE_ATTEMPT", object->attempt);
    if (r == 0)
        r = add(text, "FROE_RUN_ID", bytes_str(object->run_id));
    if (r == 0)
        r = add(text, "FROE_CONTENT_TYPE", object->content_type);
    size_t first_meta = text->n;
    for (size_t i = 0; r == 0 && i < object->n_metadata; i++)
        r = add_meta(text, first_meta, &object->metadata[i]);
    return r;
}

int program_env_build(struct program_env *env, const struct handler_object *object, const char *const **ret_envp) {
    buf_reset(&env->text);
    int r = object ? add_object(&env->text, object) : 0;
    if (r < 0)
        return r;
    size_t n = env->n_fixed;
    for (size_t at = 0; at < env->text.n; at += strlen(env->text.p + at) + 1)
        n++;
    if (n + 1 > env->cap) {
        const char **vars = mem_reallocarray(env->vars, n + 1, sizeof *vars);
        if (!vars)
            return -ENOMEM;
        env->vars = vars;
        env->cap = n + 1;
    }
    n = 0;
    for (; n < env->n_fixed; n++)
        env->vars[n] = env->fixed[n];
    for (size_t at = 0; at < env->text.n; at += strlen(env->text.p + at) + 1)
        env->vars[n++] = env->text.p + at;
    env->vars[n] = NULL;
    *ret_envp = env->vars;
    return 0;
}

/* ---- finding ---- */

/* 0, or why the file cannot be run. */
static int check_executable(const char *path) {
    struct stat about;
    if (stat(path, &about) < 0)
        return errno == ENOTDIR ? -ENOENT : -errno;
    if (!S_ISREG(about.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
        return -EACCES;
    return 0;
}

/* The working directory may change later: what is relative to it is made absolute now. */
static int make_path(struct bytes directory, const char *name, char **ret_path) {
    _cleanup_buf_ struct buf path = {0};
    int r = 0;
    if (directory.n == 0 || directory.p[0] != '/') {
        char *here = getcwd(NULL, 0);
        if (!here)
            return -errno;
        r = buf_printf(&path, "%s/", here);
        free(here);
    }
    if (r == 0 && directory.n)
        r = buf_add_bytes(&path, directory);
    if (r == 0 && directory.n && directory.p[directory.n - 1] != '/')
        r = buf_add_byte(&path, '/');
    if (r == 0)
        r = buf_add_str(&path, name);
    if (r < 0)
        return r;
    *ret_path = buf_detach(&path);
    return 0;
}

static int try_directory(struct bytes directory, const char *name, char **ret_path) {
    _cleanup_free_ char *path = NULL;
    int r = make_path(directory, name, &path);
    if (r == 0)
        r = check_executable(path);
    if (r == 0)
        *ret_path = TAKE_PTR(path);
    return r;
}

static int search_path(const char *name, char **ret_path) {
    const char *rest = getenv("PATH");
    if (!rest)
        rest = "/usr/local/bin:/usr/bin:/bin";
    int why = -ENOENT;
    for (;;) {
        size_t n = strcspn(rest, ":");
        int r = try_directory(bytes_of(rest, n), name, ret_path);
        if (r == 0 || r == -ENOMEM)
            return r;
        if (r == -EACCES)
            why = r; /* as a shell: worth telling, unless a later one will do */
        if (!rest[n])
            return why;
        rest += n + 1;
    }
}

int program_find(const char *name, char **ret_path, struct err *err) {
    bool is_path = strchr(name, '/') != NULL;
    int r = -ENOENT;
    if (is_path)
        r = name[0] == '/' ? try_directory(BYTES("/"), name + 1, ret_path) : try_directory(BYTES_NONE, name, ret_path);
    else if (name[0])
        r = search_path(name, ret_path);
    if (r == -ENOENT)
        return err_set(err, r, "cannot run '%s': %s", name,
                       is_path ? "there is no such file" : "there is no such program in PATH");
    if (r == -EACCES)
        return err_set(err, r, "cannot run '%s': it is not an executable file (chmod +x?)", name);
    return r < 0 ? err_set(err, r, "cannot run '%s': %s", name, err_errno_text(r)) : 0;
}
