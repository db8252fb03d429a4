/* dry_run.c - `--dry-run`: lists what would be processed, and touches nothing. */
#include "mem.h"
#include "pipeline.h"

struct dry_run {
    struct dry_run_options options;
    char *prefix;
    struct buf token; /* of the next page of buckets */
    bool last_page;
    char **names; /* the buckets of this page that are still to be listed */
    size_t n_names, at;
    struct pipeline_bucket bucket;
    struct buf cursor;
    uint64_t buckets;
};

static void list_next_bucket(struct dry_run *run);

static void free_names(struct dry_run *run) {
    for (size_t i = 0; i < run->n_names; i++)
        mem_free(run->names[i]);
    mem_free(run->names);
    run->names = NULL;
    run->n_names = run->at = 0;
}

static void finish(struct dry_run *run, const struct s3_result *failed) {
    run->options.done(run->options.arg, failed, run->buckets);
    free_names(run);
    buf_free(&run->token);
    buf_free(&run->cursor);
    mem_free(run->prefix);
    mem_free(run);
}

static void no_memory(struct dry_run *run) {
    struct s3_result result = {.status = S3_NO_MEMORY, .code = "", .text = "out of memory"};
    finish(run, &result);
}

static void objects_listed(void *arg, const struct s3_result *result, const struct s3_object_page *page) {
    struct dry_run *run = arg;
    if (result->status != S3_OK && result->status != S3_NO_BUCKET) {
        run->options.bucket(run->options.arg, &run->bucket, result);
        run->at++;
        list_next_bucket(run);
        return;
    }
    bool more = false;
    if (result->status == S3_OK) {
        int64_t now = clock_utc_us(run->options.clock);
        for (size_t i = 0; i < page->n; i++) {
            enum pipeline_skip skip = pipeline_plan_object(run->options.plan, run->bucket.name, &page->objects[i], now);
            run->bucket.skipped[skip]++;
            if (skip == SKIP_NOT) {
                run->bucket.listed++;
                run->bucket.bytes += page->objects[i].size;
            }
        }
        more = page->truncated;
        buf_reset(&run->cursor);
        if (buf_add_bytes(&run->cursor, page->last_key) < 0) {
            no_memory(run);
            return;
        }
    }
    if (more && s3_list_objects(run->options.s3, run->bucket.name, BYTES_NONE, buf_bytes(&run->cursor), S3_LIST_MAX,
                                objects_listed, run, NULL) == 0)
        return;
    if (more) {
        no_memory(run);
        return;
    }
    run->bucket.listing = LISTING_COMPLETE;
    run->options.bucket(run->options.arg, &run->bucket, NULL);
    run->at++;
    list_next_bucket(run);
}

static void buckets_listed(void *arg, const struct s3_result *result, const struct s3_bucket_page *page) {
    struct dry_run *run = arg;
    if (result->status != S3_OK) {
        finish(run, result);
        return;
    }
    free_names(run);
    buf_reset(&run->token);
    run->names = mem_calloc(page->n, sizeof *run->names);
    if (!run->names || buf_add_bytes(&run->token, page->next_token) < 0) {
        no_memory(run);
        return;
    }
    for (size_t i = 0; i < page->n; i++) {
        run->names[i] = mem_memdup(page->buckets[i].name.p, page->buckets[i].name.n);
        if (!run->names[i]) {
            no_memory(run);
            return;
        }
        run->n_names++;
    }
    run->last_page = run->token.n == 0;
    list_next_bucket(run);
}

static int list_buckets(struct dry_run *run) {
    return s3_list_buckets(run->options.s3, bytes_str(run->prefix), buf_bytes(&run->token), buckets_listed, run, NULL);
}

static void list_next_bucket(struct dry_run *run) {
    if (run->at == run->n_names) {
        if (run->last_page)
            finish(run, NULL);
        else if (list_buckets(run) < 0)
            no_memory(run);
        return;
    }
    run->buckets++;
    run->bucket = (struct pipeline_bucket){.name = bytes_str(run->names[run->at]), .limit = UINT32_MAX};
    buf_reset(&run->cursor);
    if (s3_list_objects(run->options.s3, run->bucket.name, BYTES_NONE, BYTES_NONE, S3_LIST_MAX, objects_listed, run,
                        NULL) < 0)
        no_memory(run);
}

int dry_run_start(const struct dry_run_options *options, struct err *err) {
    struct dry_run *run = mem_zalloc(sizeof *run);
    if (!run)
        return err_set(err, -ENOMEM, "out of memory");
    run->options = *options;
    if (!run->options.clock)
        run->options.clock = &clock_system;
    run->prefix = mem_strdup(options->bucket_prefix);
    if (!run->prefix || list_buckets(run) < 0) {
        mem_free(run->prefix);
        mem_free(run);
        return err_set(err, -ENOMEM, "out of memory");
    }
    return 0;
}
