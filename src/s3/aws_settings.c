/* aws_settings.c - endpoint, region and the like, from the environment and the profile. */
#include "aws_profile.h"
#include "credentials.h"
#include "mem.h"
#include "text.h"

#include <errno.h>

struct lookup {
    const struct env *env;
    const struct aws_profile *profile;
    struct err *err;
};

static int copy(struct bytes text, char **ret_text, struct err *err) {
    if (memchr(text.p, '\0', text.n))
        return err_set(err, -EINVAL, "a setting holds a NUL");
    *ret_text = mem_memdup(text.p, text.n);
    return *ret_text ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int copy_setting(const struct lookup *lookup, const char *name, const char *other_name, enum aws_key key,
                        char **ret_text) {
    const char *path, *value = env_get(lookup->env, name);
    if (!value && other_name)
        value = env_get(lookup->env, other_name);
    if (value)
        return copy(bytes_str(value), ret_text, lookup->err);
    const struct aws_value *set = aws_profile_get(lookup->profile, key, &path);
    return set ? copy(set->text, ret_text, lookup->err) : 0;
}

static int read_endpoints_ignored(const struct lookup *lookup, bool *ret_ignored) {
    const char *path, *name = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", *value = env_get(lookup->env, name);
    *ret_ignored = false;
    if (value) {
        if (bytes_equal_nocase(bytes_str(value), BYTES("true")))
            *ret_ignored = true;
        else if (!bytes_equal_nocase(bytes_str(value), BYTES("false")))
            return err_set(lookup->err, -EINVAL, "%s must be true or false", name);
        return 0;
    }
    const struct aws_value *set = aws_profile_get(lookup->profile, AWS_IGNORE_ENDPOINT_URLS, &path);
    if (!set)
        return 0;
    if (bytes_equal_nocase(set->text, BYTES("true")))
        *ret_ignored = true;
    else if (!bytes_equal_nocase(set->text, BYTES("false")))
        return err_set(lookup->err, -EINVAL, "%s:%u: %s must be true or false", path, set->line,
                       aws_key_name(AWS_IGNORE_ENDPOINT_URLS));
    return 0;
}

/* Service-specific ones before general ones, the environment before the file. */
static int read_endpoint(const struct lookup *lookup, char **ret_endpoint) {
    bool ignored;
    int r = read_endpoints_ignored(lookup, &ignored);
    if (r < 0 || ignored)
        return r;
    bool in_env = env_get(lookup->env, "AWS_ENDPOINT_URL_S3") || env_get(lookup->env, "AWS_ENDPOINT_URL");
    struct bytes of_services = lookup->profile->config.services_endpoint.text;
    if (!in_env && of_services.n)
        return copy(of_services, ret_endpoint, lookup->err);
    return copy_setting(lookup, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", AWS_ENDPOINT_URL, ret_endpoint);
}

static bool parse_attempts(struct bytes text, uint32_t *ret_attempts) {
    uint64_t value;
    if (text_parse_u64(text, &value) < 0 || value < 1 || value > UINT32_MAX)
        return false;
    *ret_attempts = (uint32_t)value;
    return true;
}

static int read_attempts(const struct lookup *lookup, uint32_t *ret_attempts) {
    const char *path, *name = "AWS_MAX_ATTEMPTS", *value = env_get(lookup->env, name);
    if (value)
        return parse_attempts(bytes_str(value), ret_attempts)
                   ? 0
                   : err_set(lookup->err, -EINVAL, "%s must be a whole number from 1", name);
    const struct aws_value *set = aws_profile_get(lookup->profile, AWS_MAX_ATTEMPTS, &path);
    if (!set || parse_attempts(set->text, ret_attempts))
        return 0;
    return err_set(lookup->err, -EINVAL, "%s:%u: %s must be a whole number from 1", path, set->line,
                   aws_key_name(AWS_MAX_ATTEMPTS));
}

static int read_all(const struct lookup *lookup, struct aws_settings *settings) {
    int r = read_endpoint(lookup, &settings->endpoint);
    if (r >= 0)
        r = copy_setting(lookup, "AWS_REGION", "AWS_DEFAULT_REGION", AWS_REGION, &settings->region);
    if (r >= 0)
        r = copy_setting(lookup, "AWS_CA_BUNDLE", NULL, AWS_CA_BUNDLE, &settings->ca_bundle);
    if (r >= 0)
        r = read_attempts(lookup, &settings->max_attempts);
    return r;
}

int aws_settings_read(const struct env *env, const char *profile, struct aws_settings *ret_settings, struct err *err) {
    struct aws_paths paths;
    struct aws_profile read;
    struct aws_settings settings = {0};
    int r = aws_paths_find(env, profile, &paths, err);
    if (r < 0)
        return r;
    r = aws_profile_read(&paths, &read, err);
    if (r >= 0) {
        if (paths.named && !read.credentials.there && !read.config.there)
            r = err_set(err, -ENOENT, "there is no profile '%s' in %s or %s", paths.profile,
                        paths.credentials_file ? paths.credentials_file : "~/.aws/credentials",
                        paths.config_file ? paths.config_file : "~/.aws/config");
        else
            r = read_all(&(struct lookup){env, &read, err}, &settings);
        aws_profile_free(&read);
    }
    aws_paths_free(&paths);
    if (r < 0) {
        aws_settings_free(&settings);
        return r;
    }
    *ret_settings = settings;
    return 0;
}

void aws_settings_free(struct aws_settings *settings) {
    if (!settings)
        return;
    mem_free(settings->endpoint);
    mem_free(settings->region);
    mem_free(settings->ca_bundle);
    *settings = (struct aws_settings){0};
}
