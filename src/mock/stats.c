/* stats.c - counters, the timeline of deletes, and the ring of recent requests. */
#include "stats.h"

#include "mem.h"
#include "text.h"

int stats_init(struct stats *stats, int64_t now_mono_us) {
    *stats = (struct stats){.start_mono_us = now_mono_us};
    stats->log = mem_calloc(LOG_MAX, sizeof(*stats->log));
    return stats->log ? 0 : -ENOMEM;
}

static void free_bucket(void *arg, struct index_entry *entry) {
    struct bucket_stats *bucket = (struct bucket_stats *)(void *)entry;
    mem_free(bucket->trace);
    mem_free(bucket);
}

void stats_free(struct stats *stats) {
    index_clear(&stats->buckets, free_bucket, NULL);
    mem_free(stats->log);
    stats->log = NULL;
}

void stats_reset(struct stats *stats, int64_t now_mono_us) {
    struct stats fresh = {.start_mono_us = now_mono_us,
                          .buckets = stats->buckets,
                          .log = stats->log,
                          .connections_now = stats->connections_now};
    *stats = fresh;
    struct index_cursor cursor;
    index_seek(&stats->buckets, BYTES_NONE, false, &cursor);
    for (struct index_entry *entry; (entry = index_next(&cursor));) {
        struct bucket_stats *bucket = (struct bucket_stats *)(void *)entry;
        bucket->puts = bucket->gets = bucket->deletes = 0;
        bucket->gets_peak = bucket->gets_now;
        bucket->trace_n = bucket->trace_first = 0;
    }
}

struct bucket_stats *stats_bucket(struct stats *stats, struct bytes name) {
    struct bucket_stats *bucket = (struct bucket_stats *)(void *)index_find(&stats->buckets, name);
    if (bucket || name.n > sizeof(bucket->name) || stats->buckets.count >= STATS_BUCKETS_MAX)
        return bucket;
    bucket = mem_zalloc(sizeof(*bucket));
    if (!bucket)
        return NULL;
    if (name.n)
        memcpy(bucket->name, name.p, name.n);
    bucket->entry = (struct index_entry){bucket->name, (uint32_t)name.n};
    if (index_insert(&stats->buckets, &bucket->entry) < 0) {
        mem_free(bucket);
        return NULL;
    }
    return bucket;
}

void stats_deleted(const struct stats *stats, struct bucket_stats *bucket, int64_t now_mono_us) {
    bucket->deletes++;
    uint32_t step = (uint32_t)((now_mono_us - stats->start_mono_us) / TRACE_STEP_US);
    if (bucket->trace_n) {
        struct trace_point *last = &bucket->trace[(bucket->trace_first + bucket->trace_n - 1) % TRACE_MAX];
        if (last->step == step) {
            last->deletes = bucket->deletes;
            return;
        }
    }
    if (bucket->trace_n == bucket->trace_cap && bucket->trace_cap < TRACE_MAX) {
        uint32_t cap = bucket->trace_cap ? bucket->trace_cap * 2 : 64;
        struct trace_point *trace = mem_reallocarray(bucket->trace, cap, sizeof(*trace));
        if (!trace)
            return; /* a point is missing; the next one carries its count */
        bucket->trace = trace;
        bucket->trace_cap = cap;
    }
    if (bucket->trace_n == TRACE_MAX)
        bucket->trace_first = (bucket->trace_first + 1) % TRACE_MAX;
    else
        bucket->trace_n++;
    bucket->trace[(bucket->trace_first + bucket->trace_n - 1) % TRACE_MAX] =
        (struct trace_point){step, bucket->deletes};
}

void stats_log(struct stats *stats, const struct log_entry *entry, struct bytes bucket, struct bytes key) {
    struct log_entry *at = &stats->log[stats->logged++ % LOG_MAX];
    *at = *entry;
    at->bucket_n = (uint8_t)(bucket.n < sizeof(at->bucket) ? bucket.n : sizeof(at->bucket));
    at->key_n = (uint8_t)(key.n < sizeof(at->key) ? key.n : sizeof(at->key));
    if (at->bucket_n)
        memcpy(at->bucket, bucket.p, at->bucket_n);
    if (at->key_n)
        memcpy(at->key, key.p, at->key_n);
}

static int add_trace(const struct bucket_stats *bucket, bool first, struct buf *out) {
    int r = buf_add_str(out, first ? "" : ",");
    if (r == 0)
        r = text_add_json(out, index_key(&bucket->entry));
    if (r == 0)
        r = buf_add_str(out, ":[");
    for (uint32_t i = 0; r == 0 && i < bucket->trace_n; i++) {
        const struct trace_point *point = &bucket->trace[(bucket->trace_first + i) % TRACE_MAX];
        r = buf_printf(out, "%s[%llu,%llu]", i ? "," : "", (unsigned long long)point->step * (TRACE_STEP_US / 1000),
                       (unsigned long long)point->deletes);
    }
    return r < 0 ? r : buf_add_str(out, "]");
}

int stats_add_trace(const struct stats *stats, struct bytes name, struct buf *out) {
    int r = buf_printf(out, "{\"step_ms\":%d,\"buckets\":{", TRACE_STEP_US / 1000);
    struct index_cursor cursor;
    bool first = true;
    index_seek(&stats->buckets, name, false, &cursor);
    for (struct index_entry *entry; r == 0 && (entry = index_next(&cursor)); first = false) {
        if (name.n && !bytes_equal(index_key(entry), name))
            break;
        r = add_trace((const struct bucket_stats *)(const void *)entry, first, out);
    }
    return r < 0 ? r : buf_add_str(out, "}}\n");
}

int stats_add_log(const struct stats *stats, struct buf *out) {
    uint64_t from = stats->logged > LOG_MAX ? stats->logged - LOG_MAX : 0;
    int r = buf_add_str(out, "[");
    for (uint64_t i = from; r == 0 && i < stats->logged; i++) {
        const struct log_entry *entry = &stats->log[i % LOG_MAX];
        r = buf_printf(out, "%s\n{\"at_us\":%lld,\"took_us\":%lld,\"op\":\"%s\",\"status\":%d,\"fault\":%s,\"bucket\":",
                       i == from ? "" : ",", (long long)(entry->mono_us - stats->start_mono_us),
                       (long long)entry->took_us, op_name(entry->op), entry->status, entry->fault ? "true" : "false");
        if (r == 0)
            r = text_add_json(out, bytes_of(entry->bucket, entry->bucket_n));
        if (r == 0)
            r = buf_add_str(out, ",\"key\":");
        if (r == 0)
            r = text_add_json(out, bytes_of(entry->key, entry->key_n));
        if (r == 0)
            r = buf_add_str(out, "}");
    }
    return r < 0 ? r : buf_add_str(out, "]\n");
}
