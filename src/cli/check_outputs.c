/* check_outputs.c - see check_outputs.h. */
#include "check_outputs.h"

#include "config_output.h"
#include "config_rules.h"
#include "mem.h"

#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    const char *bucket, *directory, *key, *region, *endpoint;
    bool moved;
};

struct checking {
    uv_loop_t *loop;
    const struct options *options;
    const struct aws *aws;
    json_t *report;
    struct place *places;
    size_t n, at;
    struct s3_client *own; /* of a place with a region or endpoint of its own */
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
            same(place->region, other->region) && same(place->endpoint, other->endpoint))
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
                                      .endpoint = output->endpoint});
    }
    if (then && then->kind == THEN_MOVE)
        add(checking, &(struct place){.bucket = then->bucket, .key = then->key, .moved = true});
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

static void check_directory(struct checking *checking) {
    const char *path = checking->places[checking->at].directory;
    struct stat info;
    if (stat(path, &info) < 0)
        note(checking, err_errno_text(-errno), false, EXIT_USAGE);
    else if (!S_ISDIR(info.st_mode))
        note(checking, "not a directory", false, EXIT_USAGE);
    else if (access(path, R_OK | W_OK | X_OK) < 0)
        note(checking, "files cannot be made in it: it needs to be readable, writable and searchable", false,
             EXIT_DENIED);
    else
        note(checking, "may be written", true, 0);
    next(checking);
}

static void own_closed(void *arg) {
    next(arg);
}

static void listed(void *arg, const struct s3_result *result, const struct s3_object_page *page) {
    struct checking *checking = arg;
    const struct place *place = &checking->places[checking->at];
    (void)page;
    if (result->status == S3_OK)
        note(checking,
             place->moved ? "the bucket is there; whether objects may be copied to it (s3:PutObject, and "
                            "s3:GetObjectTagging and s3:PutObjectTagging for objects with tags) is not tried"
                          : "the bucket is there; whether it may be written (s3:PutObject, "
                            "s3:AbortMultipartUpload) is not tried",
             true, 0);
    else if (result->status == S3_DENIED)
        note(checking, "may not be listed, which writing does not need; so nothing is known of it", true, 0);
    else
        note(checking, result->text, false, result->status == S3_NO_BUCKET ? EXIT_USAGE : EXIT_UNREACHABLE);
    struct s3_client *own = checking->own;
    checking->own = NULL;
    if (own)
        s3_client_close(own, own_closed, checking);
    else
        next(checking);
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
    struct s3_client *s3 = checking->own ? checking->own : aws->s3;
    if (s3_list_objects(s3, bytes_str(place->bucket), BYTES_NONE, BYTES_NONE, 1, listed, checking, NULL) == 0)
        return;
    struct s3_result failed = {.status = S3_NO_MEMORY, .code = "", .text = "out of memory"};
    listed(checking, &failed, NULL);
}

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
