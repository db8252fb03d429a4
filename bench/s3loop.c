/* s3loop.c - the yardstick of `make bench`: froe's own S3 client in a bare loop of GET and DELETE, with nothing around
 * it.
 *
 *     s3loop PREFIX SLOTS
 *
 * Lists every bucket whose name starts with PREFIX into memory, then reads and deletes (by If-Match) each object, SLOTS
 * at once, buckets in turn, all on one thread, the checksums of bodies too. Prints one line of JSON: objects, seconds
 * and CPU seconds of that second part alone.
 * Settings come from the AWS variables. */
#include "bytes.h"
#include "clock.h"
#include "mem.h"
#include "s3.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct key {
    char *p;
    size_t n;
};

struct source {
    char *name;
    size_t name_n;
    struct key *keys;
    size_t n, cap, next;
};

struct loop {
    struct s3_client *s3;
    struct source *sources;
    size_t n_sources, listing, turn;
    unsigned slots, running;
    uint64_t done, bytes;
    int64_t began_us;
    double began_cpu, seconds, cpu;
};

struct slot {
    struct loop *loop;
    struct source *source;
    struct key *key;
    char etag[S3_ETAG_MAX];
    size_t etag_n;
};

__attribute__((noreturn)) static void die(const char *text) {
    fprintf(stderr, "s3loop: %s\n", text);
    exit(1);
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void closed(void *arg) {
    (void)arg;
}

static void start(struct slot *slot);

static void deleted(void *arg, const struct s3_result *result) {
    struct slot *slot = arg;
    if (result->status != S3_OK)
        die(result->text);
    slot->loop->done++;
    start(slot);
}

static void got_info(void *arg, const struct s3_object_info *info) {
    struct slot *slot = arg;
    memcpy(slot->etag, info->etag.p, info->etag.n);
    slot->etag_n = info->etag.n;
}

static bool got_data(void *arg, struct bytes piece) {
    ((struct slot *)arg)->loop->bytes += piece.n;
    return true;
}

static void got(void *arg, const struct s3_result *result) {
    struct slot *slot = arg;
    if (result->status != S3_OK)
        die(result->text);
    if (s3_delete(slot->loop->s3, bytes_of(slot->source->name, slot->source->name_n),
                  bytes_of(slot->key->p, slot->key->n), BYTES_NONE, bytes_of(slot->etag, slot->etag_n), deleted, slot,
                  NULL) < 0)
        die("delete");
}

static const struct s3_get_handler handler = {got_info, got_data, got};

static void start(struct slot *slot) {
    struct loop *loop = slot->loop;
    for (size_t tried = 0; tried < loop->n_sources; tried++) {
        struct source *source = &loop->sources[loop->turn];
        loop->turn = (loop->turn + 1) % loop->n_sources;
        if (source->next == source->n)
            continue;
        slot->source = source;
        slot->key = &source->keys[source->next++];
        if (s3_get(loop->s3, bytes_of(source->name, source->name_n), bytes_of(slot->key->p, slot->key->n), &handler,
                   slot, NULL) < 0)
            die("get");
        return;
    }
    if (--loop->running > 0)
        return;
    loop->seconds = (double)(clock_mono_us(&clock_system) - loop->began_us) / 1e6;
    loop->cpu = cpu_seconds() - loop->began_cpu;
    s3_client_close(loop->s3, closed, NULL);
}

static void all_listed(struct loop *loop) {
    loop->began_us = clock_mono_us(&clock_system);
    loop->began_cpu = cpu_seconds();
    loop->running = loop->slots;
    struct slot *slots = mem_calloc(loop->slots, sizeof *slots);
    for (unsigned i = 0, n = loop->slots; slots && i < n; i++) {
        slots[i].loop = loop;
        start(&slots[i]);
    }
}

static void list_next(struct loop *loop);

static void listed(void *arg, const struct s3_result *result, const struct s3_object_page *page) {
    struct loop *loop = arg;
    struct source *source = &loop->sources[loop->listing];
    if (result->status != S3_OK)
        die(result->text);
    if (source->n + page->n > source->cap) {
        source->cap = source->cap * 2 + page->n;
        source->keys = mem_reallocarray(source->keys, source->cap, sizeof *source->keys);
    }
    for (size_t i = 0; source->keys && i < page->n; i++)
        source->keys[source->n++] =
            (struct key){mem_memdup(page->objects[i].key.p, page->objects[i].key.n), page->objects[i].key.n};
    if (!page->truncated)
        loop->listing++;
    list_next(loop);
}

static void list_next(struct loop *loop) {
    if (loop->listing == loop->n_sources) {
        all_listed(loop);
        return;
    }
    struct source *source = &loop->sources[loop->listing];
    struct bytes after =
        source->n ? bytes_of(source->keys[source->n - 1].p, source->keys[source->n - 1].n) : BYTES_NONE;
    if (s3_list_objects(loop->s3, bytes_of(source->name, source->name_n), BYTES_NONE, after, S3_LIST_MAX, listed, loop,
                        NULL) < 0)
        die("list");
}

static void buckets_listed(void *arg, const struct s3_result *result, const struct s3_bucket_page *page) {
    struct loop *loop = arg;
    if (result->status != S3_OK)
        die(result->text);
    loop->sources = mem_calloc(page->n, sizeof *loop->sources);
    for (size_t i = 0; loop->sources && i < page->n; i++, loop->n_sources++) {
        loop->sources[i].name = mem_memdup(page->buckets[i].name.p, page->buckets[i].name.n);
        loop->sources[i].name_n = page->buckets[i].name.n;
    }
    if (loop->n_sources == 0)
        die("no bucket with that prefix");
    list_next(loop);
}

int main(int argc, char **argv) {
    uint64_t slots;
    if (argc != 3 || text_parse_u64(bytes_str(argv[2]), &slots) < 0 || slots < 1 || slots > 10000)
        die("usage: s3loop PREFIX SLOTS");
    uv_loop_t uv;
    struct err err = {0};
    struct aws_settings settings;
    struct credentials_provider *credentials;
    struct loop loop = {.slots = (unsigned)slots};
    if (uv_loop_init(&uv) < 0 || aws_settings_read(&env_process, NULL, &settings, &err) < 0 ||
        credentials_open(&uv, &env_process, NULL, &clock_system, &credentials, &err) < 0)
        die(err.text);
    const struct s3_options options = {.endpoint = settings.endpoint,
                                       .region = settings.region,
                                       .ca_bundle = settings.ca_bundle,
                                       .credentials = credentials,
                                       .max_connections = loop.slots + 8};
    if (s3_client_new(&uv, &options, &loop.s3, &err) < 0 ||
        s3_list_buckets(loop.s3, bytes_str(argv[1]), BYTES_NONE, buckets_listed, &loop, NULL) < 0)
        die(err.text);
    uv_run(&uv, UV_RUN_DEFAULT);
    printf("{\"objects\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n",
           (unsigned long long)loop.done, (unsigned long long)loop.bytes, loop.seconds, loop.cpu);
    return 0;
}
