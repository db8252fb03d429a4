/* faults.h - orders to misbehave: their small language, and what they mean for one request.
 *
 * The language is described in docs/s3mock.md. One order a line or between ';'; '#' starts a comment:
 *
 *     KIND [name=value]...        latency op=get ms=30 jitter=10
 *
 * Two kinds are not faults but go the same way: `user` (another access key) and `deny` (an action refused to a key). */
#pragma once

#include "err.h"
#include "map.h"
#include "op.h"
#include "rng.h"

#define FAULTS_MAX 256
#define FAULT_ORDER_MAX (4 * 1024) /* bytes of one order */

enum fault_kind {
    FAULT_LATENCY,
    FAULT_SLOWDOWN,
    FAULT_ERROR,
    FAULT_RESET,
    FAULT_STALL,
    FAULT_TRUNCATE,
    FAULT_BADSUM,
    FAULT_BADXML,
    FAULT_OVERWRITE,
    FAULT_DENY,
    FAULT_USER,
    FAULT_COUNT,
};
const char *fault_name(enum fault_kind kind);

enum badxml { BADXML_NONE, BADXML_CUT, BADXML_JUNK, BADXML_ERROR };

struct fault {
    enum fault_kind kind;
    uint32_t ops;             /* bits 1 << enum op */
    char *order;              /* as shown to a person: without a user's secret */
    char *text;               /* the memory that the views below look into */
    struct bytes bucket, key; /* globs; NULL: any */
    struct bytes prefix;      /* of the key */
    double p;                 /* fires with this probability */
    uint64_t every, count,
        skip; /* fires at each every-th match after the first `skip`, `count` times at most (0: no limit) */
    int64_t delay_us, jitter_us;
    double rate, burst;
    int status;
    struct bytes code;
    uint64_t after; /* bytes of the body that still pass */
    bool applied;   /* the operation is carried out first */
    bool in_header; /* badsum */
    enum badxml badxml;
    struct bytes access, secret, token, action;
    bool expired;
    uint64_t generation; /* never the same for two orders: for caches of keys derived from a user's secret */
    /* state */
    uint64_t matched, fired;
    struct rng rng;
    struct map rates; /* bucket -> struct fault_rate, of slowdown */
};

struct faults {
    struct fault *list[FAULTS_MAX];
    size_t n;
    uint32_t ops; /* of all orders that are looked at for every request */
    uint64_t fired[FAULT_COUNT];
    uint64_t generation; /* the last one given */
};

/* Adds the orders in `text`: all, or none when one is wrong. Random choices follow `seed`, so that the same orders and
 * the same requests give the same faults. -EINVAL with a text that quotes the order; -ENOMEM; -E2BIG. */
int faults_add(struct faults *faults, struct bytes text, uint64_t seed, struct err *err);
void faults_clear(struct faults *faults); /* the counts in `fired` stay */

#define FAULT_NEVER UINT64_MAX

/* What is to happen to one request. */
struct fault_plan {
    bool any;
    int64_t delay_us;
    enum { PLAN_SERVE, PLAN_ERROR, PLAN_RESET } verdict;
    bool applied; /* the verdict comes after the operation was carried out */
    int status;
    struct bytes code;                                 /* borrowed from the order */
    uint64_t reset_after, stall_after, truncate_after; /* bytes of the body; FAULT_NEVER */
    bool badsum_body, badsum_header;
    enum badxml badxml;
    bool overwrite;
};

void faults_plan(struct faults *faults, enum op op, struct bytes bucket, struct bytes key, int64_t now_mono_us,
                 struct fault_plan *ret_plan);

/* The `user` order for that access key; NULL when there is none. */
const struct fault *faults_user(const struct faults *faults, struct bytes access);
/* Does a `deny` order refuse the action to that key? Counts as fired. */
bool faults_denied(struct faults *faults, struct bytes access, struct bytes action, struct bytes bucket,
                   struct bytes key);
