/* bucket.c - what is known about one bucket, and when to list it further. */
#include "private.h"

#include "text.h"

struct bucket *bucket_get(struct pipeline *pipeline, struct bytes name) {
    struct bucket *bucket = map_get(&pipeline->buckets, name);
    if (bucket)
        return bucket;
    bucket = mem_zalloc(sizeof *bucket);
    if (!bucket)
        return NULL;
    bucket->pipeline = pipeline;
    bucket->name = mem_memdup(name.p, name.n);
    if (!bucket->name || map_put(&pipeline->buckets, name, bucket) < 0) {
        bucket_free(bucket);
        return NULL;
    }
    bucket->stats.name = bytes_of(bucket->name, name.n);
    bucket->stats.limit = UINT32_MAX;
    bucket->restart = pipeline->options.once;
    throttle_init(&bucket->throttle);
    return bucket;
}

void bucket_free(struct bucket *bucket) {
    if (!bucket)
        return;
    buf_free(&bucket->cursor);
    mem_free(bucket->name);
    mem_free(bucket);
}

int bucket_set_cursor(struct bucket *bucket, struct bytes cursor) {
    struct buf next = {0};
    int r = buf_add_bytes(&next, cursor);
    if (r < 0)
        return r;
    buf_free(&bucket->cursor);
    bucket->cursor = next;
    bucket->stats.cursor = buf_bytes(&bucket->cursor);
    return 0;
}

static void refill_spawned(void *arg, const froe_spawned *result, const froe_error *error) {
    struct bucket *bucket = arg;
    /* Not created: another one is live, here (it will say when it ends) or on another host. */
    if (error || result->created == 0)
        bucket->lister_spawned = false;
}

void bucket_refill(struct bucket *bucket) {
    struct pipeline *pipeline = bucket->pipeline;
    /* One that failed waits for the next tick, or it would fail again and again. */
    if (bucket->stats.listing != LISTING_PARTIAL || bucket->lister_spawned || bucket->listing_failed ||
        pipeline->ended || pipeline->options.fleet)
        return;
    froe_group group;
    froe_group_get(pipeline->options.engine, PIPELINE_PROCESS_OBJECT, bucket->name, &group);
    if (group.live > pipeline->options.look_ahead / 2)
        return;
    _cleanup_buf_ struct buf input = {0};
    if (buf_add_str(&input, "{\"bucket\":") < 0 || text_add_json(&input, bucket->stats.name) < 0 ||
        buf_add_str(&input, "}") < 0)
        return; /* the next tick lists it */
    froe_item item = {.child_key = bucket->name, .child_key_n = bucket->stats.name.n};
    froe_spawn spawn = {
        .size = sizeof spawn, .workflow = PIPELINE_FETCH_OBJECTS, .input = input.p, .items = &item, .n = 1};
    if (froe_spawn_many(pipeline->options.engine, &spawn, refill_spawned, bucket, NULL) == FROE_OK)
        bucket->lister_spawned = true;
}
