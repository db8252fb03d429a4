/* credentials.h - where the keys come from, as AWS users keep them, and the settings that live beside them.
 *
 * Order: the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) unless a profile was asked for
 * by name (AWS_PROFILE); then the profile's aws_access_key_id + aws_secret_access_key [+ aws_session_token] in the
 * shared credentials file (AWS_SHARED_CREDENTIALS_FILE, ~/.aws/credentials), its credential_process in either file, its
 * keys in the config file (AWS_CONFIG_FILE, ~/.aws/config: sections [profile NAME] and [default]). A profile that
 * assumes a role (role_arn, web_identity_token_file) is refused, as its own keys would be another identity. Source: AWS
 * SDKs and Tools Reference Guide, "Standardized credential providers" and "Process credential provider".
 *
 * Secrets are kept in memory that is not dumped and is wiped when freed; no error text holds one. */
#pragma once

#include "bytes.h"
#include "clock.h"
#include "err.h"

#include <uv.h>

#define CREDENTIALS_KEY_ID_MAX 128 /* bytes; longer ones are refused where they are read */
#define CREDENTIALS_SECRET_MAX 256
#define CREDENTIALS_TOKEN_MAX (16 * 1024)

struct credentials {
    struct bytes access_key_id, secret_access_key, session_token; /* token may be empty */
    int64_t expires_utc_us;                                       /* 0: never */
    uint64_t generation; /* changes whenever the keys change: for caches of derived keys */
};

/* How the environment is read, so that tests can give their own. NULL for "not set"; an empty value counts as not set.
 */
struct env {
    const char *(*get)(void *arg, const char *name);
    void *arg;
};
extern const struct env env_process; /* secure_getenv */

struct credentials_provider;

/* Reads environment and files and remembers how to get keys. `profile` NULL: AWS_PROFILE or "default". `loop` and
 * `clock` must outlive the provider; `env` is used during the call only. -ENOENT: no keys anywhere (the text lists
 * where it looked); -EINVAL: a file or setting is broken (file:line), or the profile gets its keys in a way that froe
 * does not know; -EACCES: a file cannot be read; -ENOMEM. credential_process is run later, by credentials_get. */
int credentials_open(uv_loop_t *loop, const struct env *env, const char *profile, const struct clock *clock,
                     struct credentials_provider **ret_provider, struct err *err);
/* Wipes; NULL is fine. Who still waits for keys gets -ECANCELED, from inside this call. A credential process that runs
 * is killed; the loop then has one more callback to do before it can be closed. */
void credentials_close(struct credentials_provider *provider);

/* Calls `done` with the keys: at once, from inside this call, when there are some that have not expired and were not
 * refused, else on the loop after the credential process was run. Keys that expire within five minutes are renewed
 * meanwhile, and used until they expire if renewing fails; a process that was just run is not run again for five
 * seconds. `keys` is NULL on failure, with `err` set (-ENOMEM, and what is said in credential_process.h); both are
 * borrowed for the callback. */
typedef void credentials_fn(void *arg, const struct credentials *keys, const struct err *err);
void credentials_get(struct credentials_provider *provider, credentials_fn *done, void *arg);
/* Who waits with this `done` and `arg` waits no longer and is not called. */
void credentials_cancel(struct credentials_provider *provider, credentials_fn *done, void *arg);
/* The server said that these keys (of that generation) are expired or unknown: get new ones next time, if they can be:
 * by running the credential process, or reading the files again. If the same keys come again, the generation stays as
 * it is. */
void credentials_refused(struct credentials_provider *provider, uint64_t generation);
/* "environment", "profile 'x' in /home/u/.aws/credentials", "credential_process of profile 'x'": for froe check. */
const char *credentials_source(const struct credentials_provider *provider);

/* Settings from the environment and the config file's profile. Strings are owned by the struct. */
struct aws_settings {
    char *endpoint; /* AWS_ENDPOINT_URL_S3, else AWS_ENDPOINT_URL, else s3's endpoint_url in the [services NAME] section
                       that the profile's `services` names, else the profile's endpoint_url; NULL: AWS. All are ignored
                       when AWS_IGNORE_CONFIGURED_ENDPOINT_URLS (or the profile's ignore_configured_endpoint_urls) is
                       true. */
    char *region;   /* AWS_REGION, AWS_DEFAULT_REGION, the profile's region; NULL */
    char *ca_bundle;       /* AWS_CA_BUNDLE, the profile's ca_bundle; NULL */
    uint32_t max_attempts; /* AWS_MAX_ATTEMPTS, the profile's max_attempts; 0: not set */
};
/* 0, or -EINVAL / -EACCES / -ENOMEM with a text that names the variable or file:line. A profile asked for by name that
 * is in neither file is -ENOENT. */
int aws_settings_read(const struct env *env, const char *profile, struct aws_settings *ret_settings, struct err *err);
void aws_settings_free(struct aws_settings *settings);
