/* s3_retry.h - what an answer means, whether it is worth another attempt, and when.
 *
 * As the AWS SDKs' standard mode: full jitter, and a quota of retries that successes fill again, so that a broken
 * server is not hammered. Source: AWS SDKs and Tools Reference Guide, "Retry behavior"; Amazon S3 "Error responses".
 * Pure; private to the S3 client and its tests. */
#pragma once

#include "rng.h"
#include "s3.h"

enum s3_remedy {
    S3_REMEDY_NONE,
    S3_REMEDY_RETRY,    /* after a short wait */
    S3_REMEDY_THROTTLE, /* after a longer one */
    S3_REMEDY_TIMEOUT,  /* like RETRY, but dearer */
    S3_REMEDY_REGION,   /* another region's bucket */
    S3_REMEDY_CLOCK,    /* our clock is off */
    S3_REMEDY_KEYS,     /* new credentials */
};

struct s3_verdict {
    enum s3_status status;
    enum s3_remedy remedy;
};

/* An answer that is not the one asked for. `code` is S3's, empty when there was none; http_status is 2xx when an error
 * came in the body of a success. of_key: the request was about an object. empty: the answer had no body, or its request
 * was a HEAD. */
struct s3_verdict s3_classify(int http_status, struct bytes code, bool of_key, bool empty);
/* Do these codes say that the keys themselves are no longer good? */
bool s3_code_refuses_keys(struct bytes code);

#define S3_QUOTA_MAX 500
#define S3_QUOTA_RETRY 5
#define S3_QUOTA_TIMEOUT 10

struct s3_quota {
    int left;
};
bool s3_quota_take(struct s3_quota *quota, int cost); /* false: not enough left, nothing taken */
void s3_quota_give(struct s3_quota *quota, int amount);

#define S3_WAIT_MAX_US (20 * US_PER_S)

/* The wait before the n-th retry (1 is the first): random in [0, min(base x 2^(n-1), 20 s)), base a tenth unless
 * throttled; but at least what the server asked for (at most 20 s of it; 0: nothing). */
int64_t s3_wait_us(struct rng *rng, int64_t base_us, bool throttled, uint32_t retry, int64_t asked_us);
