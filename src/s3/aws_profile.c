/* aws_profile.c - finding and reading the two files, and picking one profile out of them. */
#include "aws_profile.h"

#include "cleanup.h"
#include "config_file.h"

#include <errno.h>
#include <fcntl.h>

const char *env_get(const struct env *env, const char *name) {
    const char *value = env->get(env->arg, name);
    return value && *value ? value : NULL;
}

/* A variable's path, where "~/" is the home directory, or the file under it that is used when the variable is not set.
 */
static int find_path(const struct env *env, const char *name, const char *under_home, char **ret_path) {
    const char *home = env_get(env, "HOME"), *path = env_get(env, name);
    struct buf buf = {0};
    int r = 0;
    bool in_home = !path || strncmp(path, "~/", 2) == 0;
    if (in_home && !home) {
        *ret_path = NULL;
        return 0;
    }
    if (in_home)
        r = buf_add_str(&buf, home);
    if (r >= 0)
        r = buf_add_str(&buf, !path ? under_home : in_home ? path + 1 : path);
    if (r < 0) {
        buf_free(&buf);
        return r;
    }
    *ret_path = buf_detach(&buf);
    return 0;
}

int aws_paths_find(const struct env *env, const char *profile, struct aws_paths *ret_paths, struct err *err) {
    struct aws_paths paths = {0};
    if (!profile || !*profile)
        profile = env_get(env, "AWS_PROFILE");
    paths.named = profile != NULL;
    paths.profile = mem_strdup(profile ? profile : "default");
    int r = paths.profile ? 0 : -ENOMEM;
    if (r >= 0)
        r = find_path(env, "AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials", &paths.credentials_file);
    if (r >= 0)
        r = find_path(env, "AWS_CONFIG_FILE", "/.aws/config", &paths.config_file);
    if (r < 0) {
        aws_paths_free(&paths);
        return err_set(err, r, "out of memory");
    }
    *ret_paths = paths;
    return 0;
}

void aws_paths_free(struct aws_paths *paths) {
    mem_free(paths->credentials_file);
    mem_free(paths->config_file);
    mem_free(paths->profile);
    *paths = (struct aws_paths){0};
}

/* ---- a file's bytes ---- */

static int cannot_read(const char *path, int code, struct err *err) {
    if (code == -ENOENT || code == -ENOTDIR)
        return 0;
    int r = code == -ENOMEM ? code : code == -EACCES || code == -EPERM ? -EACCES : -EINVAL;
    return err_set(err, r, "cannot read %s: %s", path, err_errno_text(code));
}

static int read_file(const char *path, struct secret *text, struct err *err) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return cannot_read(path, -errno, err);
    for (;;) {
        int r = secret_reserve(text, 4096);
        if (r < 0)
            return err_set(err, r, "out of memory");
        ssize_t n = read(fd, text->p + text->n, text->cap - text->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cannot_read(path, -errno, err);
        if (n == 0)
            return 0;
        text->n += (size_t)n;
        if (text->n > CONFIG_FILE_MAX)
            return err_set(err, -EINVAL, "%s: larger than %d bytes", path, CONFIG_FILE_MAX);
    }
}

/* ---- picking the profile ---- */

static const char *const key_names[AWS_KEYS] = {
    [AWS_ACCESS_KEY_ID] = "aws_access_key_id",
    [AWS_SECRET_ACCESS_KEY] = "aws_secret_access_key",
    [AWS_SESSION_TOKEN] = "aws_session_token",
    [AWS_CREDENTIAL_PROCESS] = "credential_process",
    [AWS_REGION] = "region",
    [AWS_ENDPOINT_URL] = "endpoint_url",
    [AWS_IGNORE_ENDPOINT_URLS] = "ignore_configured_endpoint_urls",
    [AWS_SERVICES] = "services",
    [AWS_CA_BUNDLE] = "ca_bundle",
    [AWS_MAX_ATTEMPTS] = "max_attempts",
    [AWS_ROLE_ARN] = "role_arn",
    [AWS_WEB_IDENTITY] = "web_identity_token_file",
    [AWS_SSO_SESSION] = "sso_session",
    [AWS_SSO_START_URL] = "sso_start_url",
    [AWS_LOGIN_SESSION] = "login_session",
};

const char *aws_key_name(enum aws_key key) {
    return key_names[key];
}

struct pick {
    struct aws_file *file;
    struct bytes profile, services;
    bool is_config;
    int rank; /* of the section that the values are from */
};

/* The words of a section's name after the first one, which must be `kind`; quotes around the rest go. */
static bool section_of_kind(struct bytes section, struct bytes kind, struct bytes *ret_name) {
    if (!bytes_starts(section, kind) || section.n == kind.n)
        return false;
    char after = section.p[kind.n];
    if (after != ' ' && after != '\t')
        return false;
    struct bytes name = bytes_trim(bytes_of(section.p + kind.n, section.n - kind.n));
    if (name.n >= 2 && (name.p[0] == '"' || name.p[0] == '\'') && name.p[name.n - 1] == name.p[0])
        name = bytes_of(name.p + 1, name.n - 2);
    *ret_name = name;
    return true;
}

/* 0: another profile's. In the config file [profile default] counts more than [default]. */
static int rank_of_section(const struct pick *pick, struct bytes section) {
    struct bytes name;
    if (!pick->is_config)
        return bytes_equal(section, pick->profile) ? 1 : 0;
    if (section_of_kind(section, BYTES("profile"), &name))
        return bytes_equal(name, pick->profile) ? 2 : 0;
    return bytes_equal(section, BYTES("default")) && bytes_equal(pick->profile, section) ? 1 : 0;
}

static int pick_profile(void *arg, struct bytes section, struct bytes key, struct bytes value, unsigned line) {
    struct pick *pick = arg;
    int rank = rank_of_section(pick, section);
    if (rank == 0 || rank < pick->rank)
        return 0;
    if (rank > pick->rank)
        memset(pick->file->values, 0, sizeof pick->file->values);
    pick->rank = rank;
    pick->file->there = true;
    for (enum aws_key i = 0; i < AWS_KEYS; i++)
        if (bytes_equal_nocase(key, bytes_str(key_names[i])))
            pick->file->values[i] = (struct aws_value){value, line};
    return 0;
}

static int pick_services(void *arg, struct bytes section, struct bytes key, struct bytes value, unsigned line) {
    struct pick *pick = arg;
    struct bytes name;
    if (section_of_kind(section, BYTES("services"), &name) && bytes_equal(name, pick->services) &&
        bytes_equal_nocase(key, BYTES("s3.endpoint_url")))
        pick->file->services_endpoint = (struct aws_value){value, line};
    return 0;
}

static int parse(const char *path, struct bytes text, config_item_fn *item, struct pick *pick, struct err *err) {
    struct err inner = {0};
    int r = config_parse(text, item, pick, &inner);
    return r < 0 ? err_set(err, r, "%s: %s", path, inner.text) : 0;
}

static int read_profile(const char *path, bool is_config, const char *profile, struct aws_file *file, struct err *err) {
    file->path = path;
    if (!path)
        return 0;
    int r = read_file(path, &file->text, err);
    if (r < 0)
        return r;
    struct pick pick = {.file = file, .profile = bytes_str(profile), .is_config = is_config};
    r = parse(path, secret_bytes(&file->text), pick_profile, &pick, err);
    if (r < 0 || !is_config || file->values[AWS_SERVICES].text.n == 0)
        return r;
    pick.services = file->values[AWS_SERVICES].text;
    return parse(path, secret_bytes(&file->text), pick_services, &pick, err);
}

int aws_profile_read(const struct aws_paths *paths, struct aws_profile *ret_profile, struct err *err) {
    struct aws_profile profile = {0};
    int r = read_profile(paths->credentials_file, false, paths->profile, &profile.credentials, err);
    if (r >= 0)
        r = read_profile(paths->config_file, true, paths->profile, &profile.config, err);
    if (r < 0) {
        aws_profile_free(&profile);
        return r;
    }
    *ret_profile = profile;
    return 0;
}

void aws_profile_free(struct aws_profile *profile) {
    secret_free(&profile->credentials.text);
    secret_free(&profile->config.text);
    *profile = (struct aws_profile){0};
}

const struct aws_value *aws_profile_get(const struct aws_profile *profile, enum aws_key key, const char **ret_path) {
    const struct aws_file *files[] = {&profile->credentials, &profile->config};
    for (size_t i = 0; i < 2; i++)
        if (files[i]->values[key].text.n) {
            *ret_path = files[i]->path;
            return &files[i]->values[key];
        }
    return NULL;
}
