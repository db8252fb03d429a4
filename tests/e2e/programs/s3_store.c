/* s3_store.c - calls the S3 client's operations for results, for test_s3_store.py. Keys and endpoint come from the
 * environment; the answer is one line: the status, then what was told.
 *
 *     s3_store put BUCKET KEY SIZE PART_BYTES [TAGGING]     the body is (offset * 7 % 251) a byte
 *     s3_store copy BUCKET KEY TO_BUCKET TO_KEY [ETAG]
 *     s3_store copy-in-parts BUCKET KEY TO_BUCKET TO_KEY SIZE PART_BYTES [ETAG]     as of what one request cannot copy
 *     s3_store get-tags BUCKET KEY
 *     s3_store put-tags BUCKET KEY [NAME VALUE]... */
#include "s3_private.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct run {
    struct s3_client *client;
    struct credentials_provider *credentials;
    bool ok;
};

static void closed(void *arg) {
    struct run *run = arg;
    credentials_close(run->credentials);
}

static void end(struct run *run, const struct s3_result *result) {
    run->ok = result->status == S3_OK;
    printf("\n");
    if (!run->ok)
        fprintf(stderr, "%s\n", result->text);
    s3_client_close(run->client, closed, run);
}

static int64_t read_body(void *arg, uint64_t offset, void *to, size_t n) {
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)to)[i] = (unsigned char)((offset + i) * 7 % 251);
    return (int64_t)n;
}

static void on_put(void *arg, const struct s3_result *result, struct bytes etag, struct bytes version_id) {
    printf("%s %.*s", s3_status_name(result->status), (int)etag.n, etag.p ? etag.p : "");
    end(arg, result);
}

static void on_tags(void *arg, const struct s3_result *result, const struct s3_tag *tags, size_t n) {
    printf("%s", s3_status_name(result->status));
    for (size_t i = 0; i < n; i++)
        printf(" %.*s=%.*s", (int)tags[i].name.n, tags[i].name.p, (int)tags[i].value.n,
               tags[i].value.p ? tags[i].value.p : "");
    end(arg, result);
}

static int start(struct run *run, int n, char **words) {
    struct bytes what = bytes_str(words[1]), bucket = bytes_str(words[2]), key = bytes_str(words[3]);
    if (bytes_equal(what, BYTES("put")) && n >= 6) {
        const struct s3_header metadata = {BYTES("m"), BYTES("n")};
        struct s3_put_options options = {.content_type = BYTES("a/b"), .metadata = &metadata, .n_metadata = 1};
        options.tagging = n > 6 ? bytes_str(words[6]) : BYTES_NONE;
        return s3_put_stream(run->client, bucket, key, strtoull(words[4], NULL, 10), read_body, &options,
                             strtoull(words[5], NULL, 10), on_put, run, NULL);
    }
    if (bytes_equal(what, BYTES("copy")) && n >= 6) {
        struct s3_copy_source source = {.bucket = bucket, .key = key};
        source.etag = n > 6 ? bytes_str(words[6]) : BYTES_NONE;
        return s3_copy(run->client, &source, bytes_str(words[4]), bytes_str(words[5]), NULL, on_put, run, NULL);
    }
    if (bytes_equal(what, BYTES("copy-in-parts")) && n >= 8) {
        struct s3_copy_source source = {.bucket = bucket, .key = key, .size = strtoull(words[6], NULL, 10)};
        source.etag = n > 8 ? bytes_str(words[8]) : BYTES_NONE;
        run->client->copy_max = run->client->copy_part = strtoull(words[7], NULL, 10);
        return s3_copy(run->client, &source, bytes_str(words[4]), bytes_str(words[5]), NULL, on_put, run, NULL);
    }
    if (bytes_equal(what, BYTES("get-tags")))
        return s3_get_tags(run->client, bucket, key, BYTES_NONE, on_tags, run, NULL);
    struct s3_tag tags[S3_TAGS_MAX];
    size_t count = 0;
    for (int i = 4; i + 1 < n && count < S3_TAGS_MAX; i += 2)
        tags[count++] = (struct s3_tag){bytes_str(words[i]), bytes_str(words[i + 1])};
    return s3_put_tags(run->client, bucket, key, BYTES_NONE, tags, count, on_tags, run, NULL);
}

int main(int n, char **words) {
    struct run run = {0};
    struct err err = {0};
    struct aws_settings settings = {0};
    uv_loop_t loop;
    if (n < 4)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&loop);
    if (aws_settings_read(&env_process, NULL, &settings, &err) < 0 ||
        credentials_open(&loop, &env_process, NULL, &clock_system, &run.credentials, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    struct s3_options options = {.endpoint = settings.endpoint,
                                 .region = settings.region,
                                 .ca_bundle = settings.ca_bundle,
                                 .credentials = run.credentials};
    if (s3_client_new(&loop, &options, &run.client, &err) < 0 || start(&run, n, words) < 0) {
        fprintf(stderr, "%s\n", err.text[0] ? err.text : "refused");
        return 2;
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    aws_settings_free(&settings);
    if (uv_loop_close(&loop) < 0) {
        fprintf(stderr, "something is left on the loop\n");
        return 2;
    }
    return run.ok ? 0 : 1;
}
