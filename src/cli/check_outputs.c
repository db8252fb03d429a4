/* check_outputs.c - see check_outputs.h. */
#include "check_outputs.h"

#include "config_output.h"
#include "config_rules.h"
#include "mem.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    const char *bucket, *directory, *key, *region, *endpoint, *storage_class;
    bool tags, moved;
};

struct checking {
    uv_loop_t *loop;
    const struct options *options;
    const struct aws *aws;
    json_t *report;
    struct place *places;
    size_t n, at;
    struct s3_client *own; /* of a place with a region or endpoint of its own */
    struct buf key;
    bool without_tags; /* tags were denied: is it they? */
    int exit_code;
    void (*done)(void *arg, int exit_code);
    void *arg;
};

static void next(struct checking *checking);

static bool same(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void add(struct checking *checking, const struct place *place) {
    for (size_t i = 0; i < checking->n; i++) {
        const struct place *other = &checking->places[i];
        if (same(place->bucket, other->bucket) && same(place->directory, other->directory) &&
            same(place->region, other->region) && same(place->endpoint, other->endpoint) &&
            same(place->storage_class, other->storage_class) && place->tags == other->tags &&
            (place->directory || same(place->key, other->key))) /* what is allowed in a bucket may depend on the key */
            return;
    }
    checking->places[checking->n++] = *place;
}

static void gather(struct checking *checking, const struct config_outputs *outputs, const struct config_then *then) {
    for (size_t i = 0; outputs && i < outputs->n; i++) {
        const struct config_output *output = &outputs->items[i];
        add(checking, &(struct place){.bucket = output->options.bucket,
                                      .directory = output->options.directory,
                                      .key = output->options.key,
                                      .region = output->region,
                                      .endpoint = output->endpoint,
                                      .storage_class = output->options.storage_class,
                                      .tags = output->options.copy_tags});
    }
    if (then && then->kind == THEN_MOVE)
        add(checking, &(struct place){.bucket = then->bucket, .key = then->key, .tags = true, .moved = true});
}

static void note(struct checking *checking, const char *finding, bool good, int bad_exit_code) {
    const struct place *place = &checking->places[checking->at];
    json_t *where = place->bucket ? json_sprintf("s3://%s/%s", place->bucket, place->key)
                                  : json_sprintf("%s/%s", place->directory, place->key);
    json_array_append_new(checking->report, json_pack("{s:o,s:s,s:b}", "output", where ? where : json_string(""),
                                                      "finding", finding, "ok", good));
    if (!good && checking->exit_code == EXIT_DRAINED)
        checking->exit_code = bad_exit_code;
    checking->at++;
}

/* ---- a directory ---- */

/* 0, or a negative errno. Where the file system has no files without a name, permissions are all that can be told. */
static int try_directory(const char *path) {
    int fd = open(path, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    else if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)
        return access(path, R_OK | W_OK | X_OK) < 0 ? -errno : 0;
    else
        return -errno;
    return access(path, R_OK) < 0 ? -errno : 0; /* to be opened, and fsynced */
}

static void check_directory(struct checking *checking) {
    const char *path = checking->places[checking->at].directory;
    struct stat info;
    int r = stat(path, &info) < 0 ? -errno : 0;
    if (r < 0 || !S_ISDIR(info.st_mode))
        note(checking, r < 0 ? err_errno_text(r) : "not a directory", false, EXIT_USAGE);
    else if ((r = try_directory(path)) < 0) {
        struct err err = {0};
        err_set(&err, r, "files cannot be made in it: %s", err_errno_text(r));
        note(checking, err.text, false, r == -EACCES || r == -EPERM || r == -EROFS ? EXIT_DENIED : EXIT_USAGE);
    } else
        note(checking, "may be written", true, 0);
    next(checking);
}

/* ---- a bucket ---- */

static void own_closed(void *arg) {
    next(arg);
}

static void end_bucket(struct checking *checking, const char *finding, bool good, int bad_exit_code) {
    struct s3_client *own = checking->own;
    note(checking, finding, good, bad_exit_code);
    checking->own = NULL;
    checking->without_tags = false;
    if (own)
        s3_client_close(own, own_closed, checking);
    else
        next(checking);
}

static void end_bucket_bad(struct checking *checking, const struct s3_result *result) {
    end_bucket(checking, result->text, false,
               result->status == S3_DENIED                                          ? EXIT_DENIED
               : result->status == S3_CREDENTIALS                                   ? EXIT_CREDENTIALS
               : result->status == S3_NO_BUCKET || result->status == S3_BAD_REQUEST ? EXIT_USAGE
                                                                                    : EXIT_UNREACHABLE);
}

static struct s3_client *client_of(const struct checking *checking) {
    return checking->own ? checking->own : checking->aws->s3;
}

static void unsent(struct checking *checking) {
    end_bucket(checking, "the request could not be made", false, EXIT_INTERNAL);
}

static void listed(void *arg, const struct s3_result *result, const struct s3_object_page *page) {
    struct checking *checking = arg;
    (void)page;
    if (result->status == S3_OK)
        end_bucket(checking,
                   "the bucket is there; whether it may be written is not known, as the server has no uploads in "
                   "parts to try that with",
                   true, 0);
    else
        end_bucket_bad(checking, result);
}

static void try_bucket(struct checking *checking);

static void probed(void *arg, const struct s3_result *result, struct bytes etag, struct bytes version_id) {
    struct checking *checking = arg;
    const struct place *place = &checking->places[checking->at];
    (void)etag;
    (void)version_id;
    if (result->status == S3_NOT_SUPPORTED) {
        if (s3_list_objects(client_of(checking), bytes_str(place->bucket), BYTES_NONE, BYTES_NONE, 1, listed, checking,
                            NULL) < 0)
            unsent(checking);
    } else if (result->status == S3_DENIED && place->tags && !checking->without_tags) {
        checking->without_tags = true;
        try_bucket(checking);
    } else if (result->status != S3_OK) {
        end_bucket_bad(checking, result);
    } else if (!checking->without_tags) {
        end_bucket(checking, place->moved ? "objects may be moved there" : "may be written", true, 0);
    } else if (place->moved) {
        end_bucket(checking, "objects may be moved there, but none that has tags: s3:PutObjectTagging is denied", true,
                   0);
    } else {
        end_bucket(checking, "may be written, but not with the tags of copy_tags: s3:PutObjectTagging is denied", false,
                   EXIT_DENIED);
    }
}

/* A name as a result would have, as what is allowed may depend on how it begins. */
static int choose_key(struct checking *checking) {
    const struct place *place = &checking->places[checking->at];
    const struct key_object object = {.bucket = bytes_str(checking->options->bucket_prefix),
                                      .key = BYTES("froe-check/does-not-exist"),
                                      .etag = BYTES("00000000000000000000000000000000"),
                                      .version_id = BYTES("froe-check"),
                                      .modified_utc_us = clock_utc_us(&clock_system)};
    struct key_template *template;
    int r = key_template_compile(bytes_str(place->key), true, &template, NULL);
    if (r < 0)
        return r;
    buf_reset(&checking->key);
    r = key_template_expand(template, &object, BYTES("froe-check"), BYTES_NONE, &checking->key, NULL);
    key_template_free(template);
    return r;
}

static void try_bucket(struct checking *checking) {
    const struct place *place = &checking->places[checking->at];
    const struct s3_put_options options = {
        .storage_class = bytes_str(place->storage_class),
        .tagging = place->tags && !checking->without_tags ? BYTES("froe-check=") : BYTES_NONE,
    };
    int r = choose_key(checking);
    if (r == 0)
        r = s3_probe_put(client_of(checking), bytes_str(place->bucket), buf_bytes(&checking->key), &options, probed,
                         checking, NULL);
    if (r < 0)
        unsent(checking);
}

static void check_bucket(struct checking *checking) {
    const struct place *place = &checking->places[checking->at];
    const struct aws *aws = checking->aws;
    struct err err = {0};
    if (place->region || place->endpoint) {
        const struct s3_options options = {
            .endpoint = place->endpoint ? place->endpoint : aws->settings.endpoint,
            .region = place->region ? place->region : aws->settings.region,
            .ca_bundle = aws->settings.ca_bundle,
            .credentials = aws->credentials,
            .max_connections = 2,
        };
        if (s3_client_new(checking->loop, &options, &checking->own, &err) < 0) {
            note(checking, err.text, false, EXIT_USAGE);
            next(checking);
            return;
        }
    }
    try_bucket(checking);
}

/* ---- all of them ---- */

static void next(struct checking *checking) {
    if (checking->at < checking->n) {
        if (checking->places[checking->at].bucket)
            check_bucket(checking);
        else
            check_directory(checking);
        return;
    }
    checking->done(checking->arg, checking->exit_code);
    mem_free(checking->places);
    buf_free(&checking->key);
    mem_free(checking);
}

void check_outputs(uv_loop_t *loop, const struct options *options, const struct aws *aws, json_t *report,
                   void (*done)(void *arg, int exit_code), void *arg) {
    size_t n_rules = options->rules ? options->rules->n : 0;
    struct checking *checking = mem_zalloc(sizeof *checking);
    if (checking)
        checking->places = mem_calloc((n_rules + 1) * (OUTPUTS_MAX + 1), sizeof *checking->places);
    if (!checking || !checking->places) {
        mem_free(checking);
        done(arg, EXIT_INTERNAL);
        return;
    }
    checking->loop = loop;
    checking->options = options;
    checking->aws = aws;
    checking->report = report;
    checking->done = done;
    checking->arg = arg;
    for (size_t i = 0; i < n_rules; i++)
        gather(checking, config_outputs_of(options, &options->rules->rules[i]),
               config_then_of(options, &options->rules->rules[i]));
    if (n_rules == 0)
        gather(checking, config_outputs_of(options, NULL), options->then);
    next(checking);
}
