/* credentials.c - the provider: where keys come from, when they are renewed, who waits for them. */
#include "credentials.h"

#include "aws_profile.h"
#include "credential_process.h"
#include "list.h"
#include "mem.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RENEW_BEFORE_US (5 * US_PER_MIN)
#define PAUSE_US (5 * US_PER_S) /* between two runs of the process, or readings of the files */

static const char *get_process_env(void *arg, const char *name) {
    return secure_getenv(name);
}

const struct env env_process = {get_process_env, NULL};

enum kind { FROM_ENVIRONMENT, FROM_FILE, FROM_PROCESS };

/* What environment and files say. */
struct source {
    enum kind kind;
    struct credential_keys keys; /* not FROM_PROCESS */
    struct secret command;       /* FROM_PROCESS: may hold a secret itself */
    char *text;                  /* for people */
};

/* One run of the process, on a thread of libuv's pool. The thread touches `words`, `cancel_fd`, `utc_us` and the
 * results. */
struct job {
    uv_work_t work;
    struct credentials_provider *provider; /* NULL: closed meanwhile */
    struct command_words words;
    int cancel_fd;
    int64_t utc_us;
    struct credential_keys keys;
    struct err err;
    int code;
};

struct waiter {
    struct list link;
    credentials_fn *done;
    void *arg;
    uint64_t round;
};

struct credentials_provider {
    uv_loop_t *loop;
    const struct clock *clock;
    struct aws_paths paths;
    struct source source;
    struct credential_keys keys; /* those in use; empty: none yet */
    uint64_t generation;
    bool refused;              /* the keys were, by the server */
    int64_t pause_end_mono_us; /* no renewal before */
    struct err failure;        /* of the last renewal; code 0: it went well */
    struct job *job;
    struct list waiters;
    uint64_t round;
    bool *closed; /* set by close when a callback does it */
};

/* ---- where keys come from ---- */

static void source_free(struct source *source) {
    credential_keys_free(&source->keys);
    secret_free(&source->command);
    mem_free(source->text);
    *source = (struct source){0};
}

static int set_text(struct source *source, const char *format, const char *profile, const char *path, struct err *err) {
    struct buf buf = {0};
    int r = buf_add_str(&buf, format);
    if (r >= 0 && profile)
        r = buf_printf(&buf, " '%s' in %s", profile, path);
    if (r < 0) {
        buf_free(&buf);
        return err_set(err, r, "out of memory");
    }
    source->text = buf_detach(&buf);
    return 0;
}

/* 1: the environment has keys. */
static int from_environment(const struct env *env, struct source *source, struct err *err) {
    static const char *const names[3] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"};
    const char *id = env_get(env, names[0]), *secret = env_get(env, names[1]);
    if (!id && !secret)
        return 0;
    if (!id || !secret)
        return err_set(err, -EINVAL, "%s is set, but %s is not", names[id ? 0 : 1], names[id ? 1 : 0]);
    int r = credential_keys_set(&source->keys, names, bytes_str(id), bytes_str(secret),
                                bytes_str(env_get(env, names[2])), 0, err);
    if (r < 0)
        return r;
    source->kind = FROM_ENVIRONMENT;
    r = set_text(source, "environment", NULL, NULL, err);
    return r < 0 ? r : 1;
}

/* 1: the file has keys for the profile. */
static int from_file(const struct aws_file *file, const char *profile, struct source *source, struct err *err) {
    const struct aws_value *values[3] = {&file->values[AWS_ACCESS_KEY_ID], &file->values[AWS_SECRET_ACCESS_KEY],
                                         &file->values[AWS_SESSION_TOKEN]};
    if (values[0]->text.n == 0 && values[1]->text.n == 0)
        return 0;
    size_t set = values[0]->text.n == 0;
    if (values[!set]->text.n == 0)
        return err_set(err, -EINVAL, "%s:%u: profile '%s' has %s but no %s", file->path, values[set]->line, profile,
                       aws_key_name(set ? AWS_SECRET_ACCESS_KEY : AWS_ACCESS_KEY_ID),
                       aws_key_name(set ? AWS_ACCESS_KEY_ID : AWS_SECRET_ACCESS_KEY));
    char texts[3][ERR_TEXT_MAX];
    const char *names[3];
    for (size_t i = 0; i < 3; i++) {
        int n = snprintf(texts[i], sizeof texts[i], "%s:%u: %s", file->path, values[i]->line,
                         aws_key_name(AWS_ACCESS_KEY_ID + (enum aws_key)i));
        names[i] = n < 0 ? "a key" : texts[i];
    }
    int r = credential_keys_set(&source->keys, names, values[0]->text, values[1]->text, values[2]->text, 0, err);
    if (r < 0)
        return r;
    source->kind = FROM_FILE;
    r = set_text(source, "profile", profile, file->path, err);
    return r < 0 ? r : 1;
}

/* 1: the profile has a credential_process. */
static int from_process(const struct aws_profile *read, const char *profile, struct source *source, struct err *err) {
    const char *path;
    const struct aws_value *command = aws_profile_get(read, AWS_CREDENTIAL_PROCESS, &path);
    if (!command)
        return 0;
    struct command_words words;
    struct err inner = {0};
    int r = command_words_split(command->text, &words, &inner); /* to say now what is wrong with it */
    if (r < 0)
        return err_set(err, r, "%s:%u: credential_process: %s", path, command->line, inner.text);
    command_words_free(&words);
    r = secret_add(&source->command, command->text);
    if (r < 0)
        return err_set(err, r, "out of memory");
    source->kind = FROM_PROCESS;
    r = set_text(source, "credential_process of profile", profile, path, err);
    return r < 0 ? r : 1;
}

#define REMEDY                                                                                                     \
    "; a profile with credential_process = aws configure export-credentials --profile %s --format process can be " \
    "used "                                                                                                        \
    "instead"

/* Keys beside a role are there to assume it with: using them as they are would be another identity. */
static int refuse_roles(const struct aws_profile *read, const char *profile, struct err *err) {
    static const enum aws_key keys[] = {AWS_ROLE_ARN, AWS_WEB_IDENTITY};
    const char *path;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct aws_value *value = aws_profile_get(read, keys[i], &path);
        if (value)
            return err_set(err, -EINVAL, "%s:%u: profile '%s' has %s, which froe does not follow" REMEDY, path,
                           value->line, profile, aws_key_name(keys[i]), profile);
    }
    return 0;
}

static int nothing_found(const struct aws_paths *paths, const struct aws_profile *read, struct err *err) {
    const char *path;
    for (enum aws_key key = AWS_SSO_SESSION; key < AWS_KEYS; key++) {
        const struct aws_value *value = aws_profile_get(read, key, &path);
        if (value)
            return err_set(err, -ENOENT, "%s:%u: profile '%s' gets its keys by %s, which froe does not follow" REMEDY,
                           path, value->line, paths->profile, aws_key_name(key), paths->profile);
    }
    bool there = read->credentials.there || read->config.there;
    return err_set(err, -ENOENT, "no credentials: %s, and %s '%s' in %s or %s%s",
                   paths->named ? "AWS_ACCESS_KEY_ID is not looked at when a profile is asked for by name"
                                : "AWS_ACCESS_KEY_ID is not set",
                   there ? "neither keys nor a credential_process are set for profile" : "there is no profile",
                   paths->profile, paths->credentials_file ? paths->credentials_file : "~/.aws/credentials",
                   paths->config_file ? paths->config_file : "~/.aws/config",
                   paths->credentials_file && paths->config_file ? "" : " (HOME is not set)");
}

static int from_profile(const struct aws_paths *paths, struct source *source, struct err *err) {
    struct aws_profile read;
    int r = aws_profile_read(paths, &read, err);
    if (r < 0)
        return r;
    r = refuse_roles(&read, paths->profile, err);
    if (r == 0)
        r = from_file(&read.credentials, paths->profile, source, err);
    if (r == 0)
        r = from_process(&read, paths->profile, source, err);
    if (r == 0)
        r = from_file(&read.config, paths->profile, source, err);
    if (r == 0)
        r = nothing_found(paths, &read, err);
    aws_profile_free(&read);
    return r < 0 ? r : 0;
}

/* ---- the keys in use ---- */

/* Takes the keys over; the same ones again keep their generation. */
static void use_keys(struct credentials_provider *provider, struct credential_keys *keys) {
    if (!credential_keys_equal(&provider->keys, keys))
        provider->generation++;
    credential_keys_free(&provider->keys);
    provider->keys = *keys;
    provider->keys.keys.generation = provider->generation;
    *keys = (struct credential_keys){0};
    provider->refused = false;
}

static void use_source(struct credentials_provider *provider, struct source *source) {
    source_free(&provider->source);
    provider->source = *source;
    *source = (struct source){0};
    if (provider->source.kind != FROM_PROCESS)
        use_keys(provider, &provider->source.keys);
}

static bool usable(const struct credentials_provider *provider) {
    int64_t expires_utc_us = provider->keys.keys.expires_utc_us;
    return provider->keys.memory.n > 0 && (expires_utc_us == 0 || clock_utc_us(provider->clock) < expires_utc_us);
}

static bool wants_renewal(const struct credentials_provider *provider) {
    int64_t expires_utc_us = provider->keys.keys.expires_utc_us;
    return provider->refused || !usable(provider) ||
           (expires_utc_us && expires_utc_us - clock_utc_us(provider->clock) <= RENEW_BEFORE_US);
}

static bool may_renew(const struct credentials_provider *provider) {
    return !provider->job && (clock_mono_us(provider->clock) >= provider->pause_end_mono_us ||
                              (!usable(provider) && provider->failure.code == 0));
}

static void renewal_ended(struct credentials_provider *provider, const struct err *failure) {
    provider->pause_end_mono_us = clock_mono_us(provider->clock) + PAUSE_US;
    provider->failure = failure ? *failure : (struct err){0};
}

/* The files may have been written again since; the old keys stay if they cannot be read. */
static void read_files_again(struct credentials_provider *provider) {
    struct source source = {0};
    struct err err = {0};
    int r = from_profile(&provider->paths, &source, &err);
    if (r >= 0)
        use_source(provider, &source);
    source_free(&source);
    provider->refused = false;
    renewal_ended(provider, r < 0 ? &err : NULL);
    if (r >= 0 && provider->source.kind == FROM_PROCESS) { /* it is one now: its first run need not wait */
        provider->pause_end_mono_us = INT64_MIN;
        credential_keys_free(&provider->keys);
    }
}

/* ---- the process ---- */

static void job_free(struct job *job) {
    command_words_free(&job->words);
    credential_keys_free(&job->keys);
    if (job->cancel_fd >= 0)
        close(job->cancel_fd);
    mem_free(job);
}

static void run_job(uv_work_t *work) {
    struct job *job = work->data;
    job->code = credential_process_run(job->words.argv, CREDENTIAL_PROCESS_TIMEOUT_US, job->cancel_fd, job->utc_us,
                                       &job->keys, &job->err);
}

/* Calls all who waited when this began. A callback may ask again, cancel another or close the provider. */
static void answer_waiters(struct credentials_provider *provider, const struct err *failure) {
    bool closed = false;
    uint64_t round = provider->round++;
    provider->closed = &closed;
    while (!closed && !list_empty(&provider->waiters)) {
        struct waiter *waiter = LIST_ENTRY(provider->waiters.next, struct waiter, link);
        if (waiter->round > round)
            break;
        list_remove(&waiter->link);
        credentials_fn *done = waiter->done;
        void *arg = waiter->arg;
        mem_free(waiter);
        if (failure)
            done(arg, NULL, failure);
        else
            done(arg, &provider->keys.keys, NULL);
    }
    if (!closed)
        provider->closed = NULL;
}

static void answer(struct credentials_provider *provider) {
    bool keys = usable(provider) && !(provider->refused && provider->failure.code);
    struct err failure = provider->failure;
    answer_waiters(provider, keys ? NULL : &failure);
}

static void job_ended(uv_work_t *work, int status) {
    struct job *job = work->data;
    struct credentials_provider *provider = job->provider;
    if (provider) {
        provider->job = NULL;
        if (status < 0)
            job->code = err_set(&job->err, -ECANCELED, "it was stopped");
        if (job->code >= 0) {
            use_keys(provider, &job->keys);
            renewal_ended(provider, NULL);
        } else {
            err_prefix(&job->err, "%s", provider->source.text);
            renewal_ended(provider, &job->err);
        }
    }
    job_free(job);
    if (provider)
        answer(provider);
}

static int start_job(struct credentials_provider *provider, struct err *err) {
    struct job *job = mem_zalloc(sizeof *job);
    if (!job)
        return err_set(err, -ENOMEM, "out of memory");
    job->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = job->cancel_fd < 0 ? err_set(err, -errno, "no eventfd: %s", err_errno_text(-errno)) : 0;
    if (r >= 0)
        r = command_words_split(secret_bytes(&provider->source.command), &job->words, err);
    if (r >= 0) {
        job->provider = provider;
        job->utc_us = clock_utc_us(provider->clock);
        job->work.data = job;
        r = uv_queue_work(provider->loop, &job->work, run_job, job_ended);
        if (r < 0)
            err_set(err, r, "no thread: %s", uv_strerror(r));
    }
    if (r < 0) {
        job_free(job);
        return r;
    }
    provider->job = job;
    return 0;
}

static void renew(struct credentials_provider *provider) {
    if (provider->source.kind == FROM_FILE)
        read_files_again(provider);
    if (provider->source.kind == FROM_ENVIRONMENT)
        provider->refused = false; /* there is nothing newer */
    if (provider->source.kind == FROM_PROCESS && may_renew(provider)) {
        struct err err = {0};
        if (start_job(provider, &err) < 0)
            renewal_ended(provider, &err);
    }
}

/* ---- the contract ---- */

int credentials_open(uv_loop_t *loop, const struct env *env, const char *profile, const struct clock *clock,
                     struct credentials_provider **ret_provider, struct err *err) {
    struct credentials_provider *provider = mem_zalloc(sizeof *provider);
    if (!provider)
        return err_set(err, -ENOMEM, "out of memory");
    provider->loop = loop;
    provider->clock = clock ? clock : &clock_system;
    provider->pause_end_mono_us = INT64_MIN;
    list_init(&provider->waiters);
    struct source source = {0};
    int r = aws_paths_find(env, profile, &provider->paths, err), found = 0;
    if (r >= 0 && !provider->paths.named)
        found = r = from_environment(env, &source, err);
    if (r >= 0 && !found)
        r = from_profile(&provider->paths, &source, err);
    if (r < 0) {
        source_free(&source);
        credentials_close(provider);
        return r;
    }
    use_source(provider, &source);
    *ret_provider = provider;
    return 0;
}

void credentials_close(struct credentials_provider *provider) {
    if (!provider)
        return;
    if (provider->closed)
        *provider->closed = true;
    if (provider->job) {
        provider->job->provider = NULL;
        (void)uv_cancel((uv_req_t *)&provider->job->work); /* works only while it waits for a thread */
        uint64_t one = 1;
        (void)!write(provider->job->cancel_fd, &one, sizeof one);
    }
    struct err err = {0};
    err_set(&err, -ECANCELED, "stopped before there were credentials");
    for (struct list *link; (link = list_pop_front(&provider->waiters));) {
        struct waiter *waiter = LIST_ENTRY(link, struct waiter, link);
        waiter->done(waiter->arg, NULL, &err);
        mem_free(waiter);
    }
    credential_keys_free(&provider->keys);
    source_free(&provider->source);
    aws_paths_free(&provider->paths);
    mem_free(provider);
}

void credentials_get(struct credentials_provider *provider, credentials_fn *done, void *arg) {
    if (wants_renewal(provider) && may_renew(provider))
        renew(provider);
    if (usable(provider) && !provider->refused) {
        done(arg, &provider->keys.keys, NULL);
        return;
    }
    if (!provider->job) { /* just now it failed, or gave the keys that are refused */
        struct err failure = provider->failure;
        if (usable(provider) && failure.code == 0)
            done(arg, &provider->keys.keys, NULL);
        else
            done(arg, NULL, &failure);
        return;
    }
    struct waiter *waiter = mem_alloc(sizeof *waiter);
    if (!waiter) {
        struct err err = {0};
        err_set(&err, -ENOMEM, "out of memory");
        done(arg, NULL, &err);
        return;
    }
    *waiter = (struct waiter){.done = done, .arg = arg, .round = provider->round};
    list_push_back(&provider->waiters, &waiter->link);
}

void credentials_cancel(struct credentials_provider *provider, credentials_fn *done, void *arg) {
    LIST_EACH_SAFE (link, following, &provider->waiters) {
        struct waiter *waiter = LIST_ENTRY(link, struct waiter, link);
        if (waiter->done == done && waiter->arg == arg) {
            list_remove(link);
            mem_free(waiter);
        }
    }
}

void credentials_refused(struct credentials_provider *provider, uint64_t generation) {
    if (provider->keys.memory.n && provider->keys.keys.generation == generation)
        provider->refused = true;
}

const char *credentials_source(const struct credentials_provider *provider) {
    return provider->source.text;
}
