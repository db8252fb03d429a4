/* stats.h - what the server counts: requests by kind, per-bucket concurrency, a timeline of deletes, recent requests.
 */
#pragma once

#include "faults.h"
#include "index.h"

#define TRACE_STEP_US 10000
#define TRACE_MAX (64 * 1024) /* points a bucket; the oldest are dropped */
#define LOG_MAX 1024          /* recent requests */
#define LOG_KEY_MAX 96
#define STATS_BUCKETS_MAX 100000

struct trace_point {
    uint32_t step;    /* of TRACE_STEP_US since the last reset */
    uint64_t deletes; /* until the end of that step */
};

struct bucket_stats {
    struct index_entry entry;
    uint64_t puts, gets, deletes; /* that succeeded */
    uint64_t gets_now, gets_peak; /* from the head of the request to the last byte of the answer */
    struct trace_point *trace;    /* a ring once it holds TRACE_MAX points */
    uint32_t trace_n, trace_cap, trace_first;
    char name[64];
};

struct log_entry {
    int64_t mono_us, took_us;
    enum op op;
    int status; /* 0: the connection ended without an answer */
    bool fault;
    uint8_t bucket_n, key_n;
    char bucket[63], key[LOG_KEY_MAX];
};

struct stats {
    uint64_t requests[OP_COUNT];
    uint64_t statuses[600];
    uint64_t admin, refused; /* not HTTP, or not ours */
    uint64_t connections, connections_now;
    uint64_t bytes_in, bytes_out; /* of bodies */
    int64_t start_mono_us;
    struct index buckets; /* struct bucket_stats, kept until stats_free */
    struct log_entry *log;
    uint64_t logged;
};

int stats_init(struct stats *stats, int64_t now_mono_us); /* -ENOMEM */
void stats_free(struct stats *stats);
void stats_reset(struct stats *stats, int64_t now_mono_us); /* what runs now stays counted as running */

/* The counters of that name, made when missing; NULL when memory runs out or there are too many. */
struct bucket_stats *stats_bucket(struct stats *stats, struct bytes name);
void stats_deleted(const struct stats *stats, struct bucket_stats *bucket, int64_t now_mono_us);
void stats_log(struct stats *stats, const struct log_entry *entry, struct bytes bucket, struct bytes key);

/* JSON for the admin endpoints. -ENOMEM. */
int stats_add_trace(const struct stats *stats, struct bytes bucket, struct buf *out); /* empty name: all */
int stats_add_log(const struct stats *stats, struct buf *out);
