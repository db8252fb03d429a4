/* aws_profile.h - one profile's settings as the two shared files give them.
 *
 * Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files", "Format of the config file". */
#pragma once

#include "credentials.h"
#include "secret.h"

/* Where to look, worked out once from the environment. Strings are owned; a path is NULL when it cannot be told (no
 * HOME). */
struct aws_paths {
    char *credentials_file, *config_file;
    char *profile;
    bool named; /* the profile was asked for by name */
};
int aws_paths_find(const struct env *env, const char *profile, struct aws_paths *ret_paths,
                   struct err *err); /* -ENOMEM */
void aws_paths_free(struct aws_paths *paths);

/* The variable's value, or NULL when it is not set or empty. */
const char *env_get(const struct env *env, const char *name);

enum aws_key {
    AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN,
    AWS_CREDENTIAL_PROCESS,
    AWS_REGION,
    AWS_ENDPOINT_URL,
    AWS_IGNORE_ENDPOINT_URLS,
    AWS_SERVICES,
    AWS_CA_BUNDLE,
    AWS_MAX_ATTEMPTS,
    AWS_ROLE_ARN, /* from here on: ways to get keys that froe does not know, to be able to say so */
    AWS_WEB_IDENTITY,
    AWS_SSO_SESSION,
    AWS_SSO_START_URL,
    AWS_LOGIN_SESSION,
    AWS_KEYS,
};
const char *aws_key_name(enum aws_key key); /* as it is written in the files */

struct aws_value {
    struct bytes text; /* empty: not set */
    unsigned line;
};

/* What one file says of the profile; all empty when the file or the profile is not there. */
struct aws_file {
    const char *path; /* borrowed from aws_paths; may be NULL */
    bool there;       /* the profile has a section */
    struct aws_value values[AWS_KEYS];
    struct aws_value services_endpoint; /* endpoint_url of s3 in the section [services NAME] that the profile names */
    struct secret text;                 /* the whole file, which the values point into */
};

struct aws_profile {
    struct aws_file credentials, config;
};
/* Reads both files. A file that is not there is an empty one. -EACCES: one cannot be read; -EINVAL: one is broken
 * ("FILE: line N: ..."), too large, or not a file; -ENOMEM. `paths` must outlive the result. */
int aws_profile_read(const struct aws_paths *paths, struct aws_profile *ret_profile, struct err *err);
void aws_profile_free(struct aws_profile *profile); /* wipes */

/* The setting from the credentials file, else from the config file; NULL when neither has it. *ret_path says which. */
const struct aws_value *aws_profile_get(const struct aws_profile *profile, enum aws_key key, const char **ret_path);
