/* cmd_check.c - froe check: tries, bucket by bucket, what a drain would need, and changes nothing.
 *
 * Reading, tagging and deleting are tried on a key that does not exist, so a permission that depends on the key can
 * look better or worse here than it is for the objects. */
#include "aws.h"
#include "check_confine.h"
#include "check_handlers.h"
#include "check_needs.h"
#include "check_outputs.h"
#include "check_store.h"
#include "cleanup.h"
#include "commands.h"
#include "config_output.h"
#include "config_rules.h"
#include "json_set.h"
#include "pipeline.h"
#include "text.h"

#include <jansson.h>

#define MISSING_KEY "froe-check/does-not-exist"

struct check {
    const struct options *options;
    uv_loop_t loop;
    struct aws aws;
    json_t *report, *buckets, *store, *confine, *handlers, *outputs;
    json_t *bucket; /* the one that is being looked at */
    char **names;
    size_t n_names, at;
    struct buf token;
    bool versioned; /* or perhaps so, when that is not known */
    bool versioning_known;
    struct check_needs needs;
    int exit_code;
};

static void next_bucket(struct check *check);

static void nothing(void *arg) {
    (void)arg;
}

static void outputs_checked(void *arg, int exit_code) {
    struct check *check = arg;
    if (check->exit_code == EXIT_DRAINED)
        check->exit_code = exit_code;
    aws_close(&check->aws, nothing, NULL);
}

static void finish(struct check *check) {
    for (size_t i = 0; i < check->n_names; i++)
        mem_free(check->names[i]);
    mem_free(check->names);
    check->names = NULL;
    check->n_names = check->at = 0;
    check_outputs(&check->loop, check->options, &check->aws, check->outputs, outputs_checked, check);
}

/* Notes a finding on the bucket; a bad one also decides the exit code. */
static void note(struct check *check, const char *what, const char *finding, int bad_exit_code) {
    json_object_set_new(check->bucket, what, json_string(finding));
    if (bad_exit_code && check->exit_code == EXIT_DRAINED)
        check->exit_code = bad_exit_code;
}

static int exit_code_of(enum s3_status status) {
    return status == S3_DENIED ? EXIT_DENIED : status == S3_CREDENTIALS ? EXIT_CREDENTIALS : EXIT_UNREACHABLE;
}

static void end_bucket(struct check *check) {
    check->at++;
    next_bucket(check);
}

static void deleted(void *arg, const struct s3_result *result) {
    struct check *check = arg;
    switch (result->status) {
    case S3_NO_KEY:
    case S3_PRECONDITION:
        note(check, "delete", "ok", 0);
        note(check, "deletes", check->versioned && check->versioning_known ? "versioned" : "guarded", 0);
        break;
    case S3_OK:
    case S3_NOT_SUPPORTED:
        note(check, "delete", "ok", 0);
        note(check, "deletes", "unguarded", 0);
        break;
    default:
        note(check, "delete", result->text, exit_code_of(result->status));
    }
    end_bucket(check);
}

static void try_delete(struct check *check, struct bytes name) {
    /* On a server that ignores the condition the probe would leave a delete marker in a versioned bucket. */
    if (!check->needs.deletes) {
        note(check, "delete", "not tried: nothing is deleted from it", 0);
        end_bucket(check);
    } else if (check->versioned && check->aws.settings.endpoint) {
        bool known = check->versioning_known;
        note(check, "delete", known ? "not tried: the bucket has versions" : "not tried: the bucket may have versions",
             0);
        note(check, "deletes", known ? "versioned" : "unknown", 0);
        end_bucket(check);
    } else if (s3_probe_conditional_delete(check->aws.s3, name, deleted, check, NULL) < 0)
        finish(check);
}

static void versioning_told(void *arg, const struct s3_result *result, enum s3_versioning versioning) {
    struct check *check = arg;
    static const char *const names[] = {
        [S3_VERSIONING_OFF] = "off", [S3_VERSIONING_ENABLED] = "enabled", [S3_VERSIONING_SUSPENDED] = "suspended"};
    /* Not being allowed to ask is fine: froe learns it from each object it reads. */
    bool known = result->status == S3_OK;
    check->versioning_known = known;
    check->versioned = known ? versioning != S3_VERSIONING_OFF : true;
    note(check, "versioning",
         known                         ? names[versioning]
         : result->status == S3_DENIED ? "unknown (no s3:GetBucketVersioning)"
                                       : result->text,
         0);
    try_delete(check, bytes_str(check->names[check->at]));
}

static void ask_versioning(struct check *check) {
    if (s3_get_versioning(check->aws.s3, bytes_str(check->names[check->at]), versioning_told, check, NULL) < 0)
        finish(check);
}

static bool note_try(struct check *check, const char *what, const struct s3_result *result) {
    bool good = result->status == S3_NO_KEY || result->status == S3_OK;
    note(check, what, good ? "ok" : result->text, good ? 0 : exit_code_of(result->status));
    return good;
}

static void tags_written(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    struct check *check = arg;
    (void)tags;
    (void)n;
    note_try(check, "write_tags", result);
    ask_versioning(check);
}

static void tags_read(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    static const struct s3_tag tag = {{"froe-check", 10}, {"", 0}};
    struct check *check = arg;
    (void)tags;
    (void)n;
    if (check->needs.reads_tags)
        note_try(check, "read_tags", result);
    else if (result->status == S3_DENIED)
        note(check, "note", "objects that have tags cannot be moved: s3:GetObjectTagging is denied", 0);
    if (!check->needs.writes_tags)
        ask_versioning(check);
    else if (s3_put_tags(check->aws.s3, bytes_str(check->names[check->at]), BYTES(MISSING_KEY), BYTES_NONE, &tag, 1,
                         tags_written, check, NULL) < 0)
        finish(check);
}

static void read_tried(void *arg, const struct s3_result *result, const struct s3_object_info *info) {
    struct check *check = arg;
    (void)info;
    struct bytes name = bytes_str(check->names[check->at]);
    bool good = note_try(check, "read", result);
    check->needs = check_needs_of(check->options, name);
    if (!good || !(check->needs.reads_tags || check->needs.moves)) /* reading comes before all else */
        ask_versioning(check);
    else if (s3_get_tags(check->aws.s3, name, BYTES(MISSING_KEY), BYTES_NONE, tags_read, check, NULL) < 0)
        finish(check);
}

static void listed(void *arg, const struct s3_result *result, const struct s3_object_page *page) {
    struct check *check = arg;
    (void)page;
    bool good = result->status == S3_OK;
    note(check, "list", good ? "ok" : result->text, good ? 0 : exit_code_of(result->status));
    if (s3_head(check->aws.s3, bytes_str(check->names[check->at]), BYTES(MISSING_KEY), BYTES_NONE, read_tried, check,
                NULL) < 0)
        finish(check);
}

static void buckets_listed(void *arg, const struct s3_result *result, const struct s3_bucket_page *page);

/* Of a bucket that no rule wants anything of a run counts the objects, if it may. */
static void listed_to_count(void *arg, const struct s3_result *result, const struct s3_object_page *page) {
    struct check *check = arg;
    (void)page;
    note(check, "left", "no rule wants anything of it", 0);
    if (result->status != S3_OK)
        note(check, "uncounted", result->text, 0);
    end_bucket(check);
}

static bool is_wanted(const struct check *check, const char *name) {
    const struct config_rules *rules = check->options->rules;
    return !rules || rules_may_match(rules->matches, rules->n, bytes_str(name), NULL);
}

static void begin_bucket(struct check *check, const char *name) {
    check->bucket = json_pack("{s:s}", "bucket", name);
    json_array_append_new(check->buckets, check->bucket);
}

static void next_bucket(struct check *check) {
    if (check->at < check->n_names) {
        const char *name = check->names[check->at];
        begin_bucket(check, name);
        if (s3_list_objects(check->aws.s3, bytes_str(name), BYTES_NONE, BYTES_NONE, 1,
                            is_wanted(check, name) ? listed : listed_to_count, check, NULL) < 0)
            finish(check);
        return;
    }
    if (check->token.n == 0 || s3_list_buckets(check->aws.s3, bytes_str(check->options->bucket_prefix),
                                               buf_bytes(&check->token), buckets_listed, check, NULL) < 0)
        finish(check);
}

static void buckets_listed(void *arg, const struct s3_result *result, const struct s3_bucket_page *page) {
    struct check *check = arg;
    bool good = result->status == S3_OK;
    json_object_set_new(check->report, "list_buckets", json_string(good ? "ok" : result->text));
    if (!good) {
        check->exit_code = exit_code_of(result->status);
        finish(check);
        return;
    }
    for (size_t i = 0; i < check->n_names; i++)
        mem_free(check->names[i]);
    mem_free(check->names);
    check->n_names = check->at = 0;
    buf_reset(&check->token);
    check->names = mem_calloc(page->n, sizeof *check->names);
    for (size_t i = 0; check->names && i < page->n; i++) {
        check->names[i] = mem_memdup(page->buckets[i].name.p, page->buckets[i].name.n);
        if (!check->names[i])
            break;
        check->n_names++;
    }
    if (check->n_names < page->n || buf_add_bytes(&check->token, page->next_token) < 0) {
        check->exit_code = EXIT_INTERNAL;
        finish(check);
        return;
    }
    next_bucket(check);
}

/* ---- report ---- */

static void print_line(const char *what, const char *finding, bool good) {
    _cleanup_buf_ struct buf printable = {0};
    text_add_printable(&printable, bytes_str(finding));
    printf("%-5s %s: %s\n", good ? "ok" : "FAIL", what, printable.p ? printable.p : "");
}

/* One line when all is well; else a line for each thing that is not. */
static void print_bucket(json_t *bucket) {
    static const char *const tried[] = {"list", "read", "read_tags", "write_tags", "delete"};
    static const char *const names[] = {"list", "read", "read tags", "write tags", "delete"};
    const char *name = json_string_value(json_object_get(bucket, "bucket"));
    const char *versioning = json_string_value(json_object_get(bucket, "versioning"));
    const char *deletes = json_string_value(json_object_get(bucket, "deletes"));
    const char *more = json_string_value(json_object_get(bucket, "note"));
    const char *left = json_string_value(json_object_get(bucket, "left"));
    const char *uncounted = json_string_value(json_object_get(bucket, "uncounted"));
    bool tags = json_object_get(bucket, "write_tags") != NULL;
    bool good = true;
    if (left) {
        printf("ok    %s: left alone: %s\n", name, left);
        if (uncounted)
            printf("note  %s: it cannot be listed, so its objects are not counted: %s\n", name, uncounted);
        return;
    }
    for (size_t t = 0; t < sizeof tried / sizeof tried[0]; t++) {
        const char *finding = json_string_value(json_object_get(bucket, tried[t]));
        _cleanup_buf_ struct buf what = {0};
        if (!finding || strcmp(finding, "ok") == 0 || bytes_starts(bytes_str(finding), BYTES("not tried")))
            continue;
        good = false;
        if (buf_printf(&what, "%s: %s", name, names[t]) == 0)
            print_line(what.p, finding, false);
    }
    if (good && deletes)
        printf("ok    %s: can be listed, read%s and deleted from; versioning %s, deletes %s\n", name,
               tags ? ", tagged" : "", versioning ? versioning : "unknown", deletes);
    else if (good)
        printf("ok    %s: can be listed and read%s; nothing is deleted from it; versioning %s\n", name,
               tags ? ", and its objects tagged" : "", versioning ? versioning : "unknown");
    if (more)
        printf("note  %s: %s\n", name, more);
    if (deletes && strcmp(deletes, "unguarded") == 0)
        printf("note  %s: the server ignores If-Match on DELETE; froe compares a HEAD right before each delete, and an "
               "overwrite in "
               "between would be lost\n",
               name);
}

static void print_handlers(const json_t *handlers) {
    size_t i;
    json_t *item;
    json_array_foreach(handlers, i, item) {
        char what[64];
        long long rule = json_integer_value(json_object_get(item, "rule"));
        if (rule)
            snprintf(what, sizeof what, "%s of rule %lld", json_text(item, "handler"), rule);
        else
            snprintf(what, sizeof what, "%s", json_text(item, "handler"));
        print_line(what, json_text(item, "finding"), json_is_true(json_object_get(item, "ok")));
    }
}

static void print_people(struct check *check) {
    print_line("credentials", json_string_value(json_object_get(check->report, "credentials")), true);
    print_line("endpoint", json_string_value(json_object_get(check->report, "endpoint")), true);
    if (check->store)
        print_line(json_text(check->store, "uri"), json_text(check->store, "what"),
                   json_is_true(json_object_get(check->store, "ok")));
    print_line("confinement", json_text(check->confine, "what"), json_is_true(json_object_get(check->confine, "ok")));
    print_handlers(check->handlers);
    const char *list = json_string_value(json_object_get(check->report, "list_buckets"));
    print_line("list buckets", list ? list : "not tried", list && strcmp(list, "ok") == 0);
    size_t i;
    json_t *bucket;
    json_array_foreach(check->buckets, i, bucket) print_bucket(bucket);
    json_t *output;
    json_array_foreach(check->outputs, i, output) print_line(json_text(output, "output"), json_text(output, "finding"),
                                                             json_is_true(json_object_get(output, "ok")));
    if (list && strcmp(list, "ok") == 0 && json_array_size(check->buckets) == 0)
        printf("note  no bucket's name starts with '%s'\n", check->options->bucket_prefix);
}

int command_check(const struct options *options) {
    struct check check = {
        .options = options, .report = json_object(), .buckets = json_array(), .outputs = json_array()};
    struct err err = {0};
    if (uv_loop_init(&check.loop) < 0)
        return command_fail(EXIT_INTERNAL, "no event loop");
    int r = aws_open(&check.loop, 4, &check.aws, &err);
    if (r == 0 && config_outputs_settle(options, check.aws.settings.endpoint, &err) < 0) {
        r = EXIT_USAGE;
        aws_close(&check.aws, nothing, NULL);
    }
    if (r != 0)
        command_fail(r, err.text);
    else {
        json_object_set_new(check.report, "credentials", json_string(credentials_source(check.aws.credentials)));
        json_object_set_new(check.report, "endpoint",
                            json_string(check.aws.settings.endpoint ? check.aws.settings.endpoint : "AWS"));
        if (check.aws.settings.region)
            json_object_set_new(check.report, "region", json_string(check.aws.settings.region));
        if (s3_list_buckets(check.aws.s3, bytes_str(options->bucket_prefix), BYTES_NONE, buckets_listed, &check, NULL) <
            0) {
            r = command_fail(EXIT_INTERNAL, "out of memory");
            finish(&check);
        }
    }
    uv_run(&check.loop, UV_RUN_DEFAULT);
    uv_loop_close(&check.loop);
    if (r == 0) {
        check.store = options->store ? check_store(options) : NULL;
        json_object_set_new(check.report, "store", check.store ? check.store : json_null());
        if (check.store && check.exit_code == EXIT_DRAINED && !json_is_true(json_object_get(check.store, "ok")))
            check.exit_code = EXIT_STORE;
        check.confine = check_confine(options);
        json_object_set_new(check.report, "confine", check.confine);
        if (check.exit_code == EXIT_DRAINED && !json_is_true(json_object_get(check.confine, "ok")))
            check.exit_code = EXIT_USAGE;
        bool handlers_ok = true;
        check.handlers = check_handlers(options, &handlers_ok);
        json_object_set_new(check.report, "handlers", check.handlers);
        if (check.exit_code == EXIT_DRAINED && (!check.handlers || !handlers_ok))
            check.exit_code = check.handlers ? EXIT_USAGE : EXIT_INTERNAL;
        r = check.exit_code;
        json_object_set_new(check.report, "ok", json_boolean(r == EXIT_DRAINED));
        json_object_set(check.report, "buckets", check.buckets);
        json_object_set(check.report, "outputs", check.outputs);
        if (options->json) {
            json_dumpf(check.report, stdout, JSON_COMPACT);
            putchar('\n');
        } else
            print_people(&check);
    }
    buf_free(&check.token);
    json_decref(check.buckets);
    json_decref(check.outputs);
    json_decref(check.report);
    return fflush(stdout) == 0 ? r : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}
