/* throttle.c - slowing one bucket when S3 asks for it, and lending its slots to the others meanwhile. */
#include "private.h"

#define PAUSE_FIRST_US (200 * US_PER_MS)
#define PAUSE_MAX_US (20 * US_PER_S)
/* Calls that were under way together fail together; they are one hit. */
#define SAME_HIT_US (100 * US_PER_MS)
#define HITS_MAX 16

void throttle_init(struct throttle *throttle) {
    *throttle = (struct throttle){.limit = UINT32_MAX};
}

static int64_t pause_us(struct pipeline *pipeline, uint32_t hits) {
    int64_t most = PAUSE_FIRST_US;
    for (uint32_t i = 1; i < hits && most < PAUSE_MAX_US; i++)
        most *= 2;
    if (most > PAUSE_MAX_US)
        most = PAUSE_MAX_US;
    return most / 2 + (int64_t)rng_below(&pipeline->rng, (uint64_t)(most / 2) + 1);
}

static void apply(struct bucket *bucket, int64_t pause) {
    froe_group_limit(bucket->pipeline->options.engine, PIPELINE_PROCESS_OBJECT, bucket->name, bucket->throttle.limit,
                     pause);
    bucket->throttle.pause_until_mono_us = pipeline_mono_us(bucket->pipeline) + pause;
    bucket->stats.throttled = bucket->throttle.limit != UINT32_MAX;
    bucket->stats.limit = bucket->throttle.limit;
}

void throttle_hit(struct bucket *bucket, int64_t took_us) {
    struct throttle *throttle = &bucket->throttle;
    int64_t now = pipeline_mono_us(bucket->pipeline);
    if (throttle->limit != UINT32_MAX && now - took_us < throttle->hit_mono_us + SAME_HIT_US)
        return;
    throttle->hit_mono_us = now;
    throttle->successes = 0;
    if (throttle->hits < HITS_MAX)
        throttle->hits++;
    uint32_t running = bucket->running ? bucket->running : 1;
    uint32_t from = throttle->limit < running ? throttle->limit : running;
    throttle->limit = from > 1 ? from / 2 : 1;
    int64_t pause = pause_us(bucket->pipeline, throttle->hits);
    apply(bucket, pause);
    log_info(bucket->pipeline->options.log, "bucket throttled", LOG_BYTES("bucket", bucket->stats.name),
             LOG_INT("limit", throttle->limit), LOG_INT("pause_ms", pause / US_PER_MS));
}

void throttle_success(struct bucket *bucket) {
    struct throttle *throttle = &bucket->throttle;
    /* What succeeds during the pause was under way before it. */
    if (throttle->limit == UINT32_MAX || pipeline_mono_us(bucket->pipeline) < throttle->pause_until_mono_us)
        return;
    if (++throttle->successes < throttle->limit)
        return;
    throttle->successes = 0;
    throttle->hits = throttle->hits > 0 ? throttle->hits - 1 : 0;
    if (++throttle->limit >= bucket->pipeline->options.slots) {
        throttle->limit = UINT32_MAX;
        throttle->hits = 0;
        log_info(bucket->pipeline->options.log, "bucket no longer throttled", LOG_BYTES("bucket", bucket->stats.name));
    }
    apply(bucket, 0);
}

int64_t throttle_delay_us(struct bucket *bucket) {
    return pause_us(bucket->pipeline, bucket->throttle.hits ? bucket->throttle.hits : 1);
}
