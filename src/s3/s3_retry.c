/* s3_retry.c - codes and statuses to verdicts, the quota, and the jitter. */
#include "s3_retry.h"

const char *s3_status_name(enum s3_status status) {
    switch (status) {
    case S3_OK:
        return "ok";
    case S3_NO_KEY:
        return "no such key";
    case S3_NO_BUCKET:
        return "no such bucket";
    case S3_PRECONDITION:
        return "precondition failed";
    case S3_CONFLICT:
        return "conflict";
    case S3_DENIED:
        return "denied";
    case S3_ARCHIVED:
        return "archived";
    case S3_CREDENTIALS:
        return "credentials refused";
    case S3_THROTTLED:
        return "throttled";
    case S3_UNREACHABLE:
        return "unreachable";
    case S3_SERVER:
        return "server error";
    case S3_CORRUPT:
        return "corrupt answer";
    case S3_TIMEOUT:
        return "timeout";
    case S3_BAD_REQUEST:
        return "bad request";
    case S3_NOT_SUPPORTED:
        return "not supported";
    case S3_CANCELLED:
        return "cancelled";
    case S3_NO_MEMORY:
        return "out of memory";
    }
    return "unknown";
}

/* ---- meaning ---- */

#define OF_CODE(name, status_, remedy_) \
    {                                   \
        name, sizeof(name) - 1, {       \
            status_, remedy_            \
        }                               \
    }

static const struct {
    const char *code;
    size_t n;
    struct s3_verdict verdict;
} codes[] = {
    OF_CODE("NoSuchKey", S3_NO_KEY, S3_REMEDY_NONE),
    OF_CODE("NoSuchVersion", S3_NO_KEY, S3_REMEDY_NONE),
    OF_CODE("NoSuchBucket", S3_NO_BUCKET, S3_REMEDY_NONE),
    OF_CODE("NoSuchUpload", S3_CONFLICT, S3_REMEDY_NONE), /* somebody else ended it */
    OF_CODE("PreconditionFailed", S3_PRECONDITION, S3_REMEDY_NONE),
    /* Both mean that another request was in the middle of it; AWS says to try again. */
    OF_CODE("ConditionalRequestConflict", S3_CONFLICT, S3_REMEDY_RETRY),
    OF_CODE("OperationAborted", S3_CONFLICT, S3_REMEDY_RETRY),
    OF_CODE("AccessDenied", S3_DENIED, S3_REMEDY_NONE),
    OF_CODE("AllAccessDisabled", S3_DENIED, S3_REMEDY_NONE),
    OF_CODE("AccountProblem", S3_DENIED, S3_REMEDY_NONE),
    OF_CODE("InvalidObjectState", S3_ARCHIVED, S3_REMEDY_NONE),
    OF_CODE("ObjectNotInActiveTierError", S3_ARCHIVED, S3_REMEDY_NONE), /* of a copy's source */
    OF_CODE("InvalidAccessKeyId", S3_CREDENTIALS, S3_REMEDY_NONE),
    OF_CODE("SignatureDoesNotMatch", S3_CREDENTIALS, S3_REMEDY_NONE),
    OF_CODE("InvalidToken", S3_CREDENTIALS, S3_REMEDY_NONE),
    OF_CODE("InvalidSecurity", S3_CREDENTIALS, S3_REMEDY_NONE),
    OF_CODE("UnrecognizedClientException", S3_CREDENTIALS, S3_REMEDY_NONE),
    OF_CODE("ExpiredToken", S3_CREDENTIALS, S3_REMEDY_KEYS),
    OF_CODE("ExpiredTokenException", S3_CREDENTIALS, S3_REMEDY_KEYS),
    OF_CODE("TokenRefreshRequired", S3_CREDENTIALS, S3_REMEDY_KEYS),
    OF_CODE("RequestExpired", S3_CREDENTIALS, S3_REMEDY_KEYS),
    OF_CODE("RequestTimeTooSkewed", S3_CREDENTIALS, S3_REMEDY_CLOCK),
    OF_CODE("AuthorizationHeaderMalformed", S3_CREDENTIALS, S3_REMEDY_REGION),
    OF_CODE("IllegalLocationConstraintException", S3_BAD_REQUEST, S3_REMEDY_REGION),
    OF_CODE("PermanentRedirect", S3_BAD_REQUEST, S3_REMEDY_REGION),
    OF_CODE("TemporaryRedirect", S3_BAD_REQUEST, S3_REMEDY_REGION),
    OF_CODE("Redirect", S3_BAD_REQUEST, S3_REMEDY_REGION),
    OF_CODE("ServiceUnavailable", S3_THROTTLED, S3_REMEDY_THROTTLE),
    OF_CODE("RequestLimitExceeded", S3_THROTTLED, S3_REMEDY_THROTTLE),
    OF_CODE("BandwidthLimitExceeded", S3_THROTTLED, S3_REMEDY_THROTTLE),
    OF_CODE("LimitExceededException", S3_THROTTLED, S3_REMEDY_THROTTLE),
    OF_CODE("ProvisionedThroughputExceededException", S3_THROTTLED, S3_REMEDY_THROTTLE),
    OF_CODE("EC2ThrottledException", S3_THROTTLED, S3_REMEDY_THROTTLE),
    OF_CODE("InternalError", S3_SERVER, S3_REMEDY_RETRY),
    OF_CODE("PriorRequestNotComplete", S3_SERVER, S3_REMEDY_RETRY),
    OF_CODE("RequestTimeout", S3_TIMEOUT, S3_REMEDY_TIMEOUT),
    OF_CODE("RequestTimeoutException", S3_TIMEOUT, S3_REMEDY_TIMEOUT),
    /* What we sent arrived changed. */
    OF_CODE("BadDigest", S3_CORRUPT, S3_REMEDY_RETRY),
    OF_CODE("XAmzContentSHA256Mismatch", S3_CORRUPT, S3_REMEDY_RETRY),
    OF_CODE("NotImplemented", S3_NOT_SUPPORTED, S3_REMEDY_NONE),
    OF_CODE("MethodNotAllowed", S3_NOT_SUPPORTED, S3_REMEDY_NONE),
};

static bool is_throttling(struct bytes code) {
    return bytes_starts(code, BYTES("SlowDown")) || bytes_starts(code, BYTES("Throttl")) ||
           bytes_starts(code, BYTES("RequestThrottled")) || bytes_starts(code, BYTES("TooManyRequests"));
}

static struct s3_verdict classify_status(int http_status, bool coded, bool of_key, bool empty) {
    static const struct s3_verdict bad_request = {S3_BAD_REQUEST, S3_REMEDY_NONE};
    switch (http_status) {
    case 301:
    case 302:
    case 307:
    case 308:
        return (struct s3_verdict){S3_BAD_REQUEST, S3_REMEDY_REGION};
    case 401:
        return (struct s3_verdict){S3_CREDENTIALS, S3_REMEDY_NONE};
    case 403:
        return (struct s3_verdict){S3_DENIED, S3_REMEDY_NONE};
    case 404: /* with a body that is not S3's it may come from a proxy, and says nothing of the object */
        if (!empty)
            return bad_request;
        return (struct s3_verdict){of_key ? S3_NO_KEY : S3_NO_BUCKET, S3_REMEDY_NONE};
    case 405:
    case 501:
        return (struct s3_verdict){S3_NOT_SUPPORTED, S3_REMEDY_NONE};
    case 408:
        return (struct s3_verdict){S3_TIMEOUT, S3_REMEDY_TIMEOUT};
    case 409:
        return (struct s3_verdict){S3_CONFLICT, S3_REMEDY_NONE};
    case 412:
        return (struct s3_verdict){S3_PRECONDITION, S3_REMEDY_NONE};
    case 429:
    case 509:
        return (struct s3_verdict){S3_THROTTLED, S3_REMEDY_THROTTLE};
    case 503:
        if (!coded) /* a HEAD's SlowDown has no body to say so */
            return (struct s3_verdict){S3_THROTTLED, S3_REMEDY_THROTTLE};
        break;
    case 505:
        return bad_request;
    }
    if (http_status >= 500 || http_status < 300)
        return (struct s3_verdict){S3_SERVER, S3_REMEDY_RETRY};
    return bad_request;
}

struct s3_verdict s3_classify(int http_status, struct bytes code, bool of_key, bool empty) {
    if (is_throttling(code))
        return (struct s3_verdict){S3_THROTTLED, S3_REMEDY_THROTTLE};
    for (size_t i = 0; code.n && i < sizeof codes / sizeof *codes; i++)
        if (bytes_equal(code, bytes_of(codes[i].code, codes[i].n)))
            return codes[i].verdict;
    return classify_status(http_status, code.n > 0, of_key, empty);
}

bool s3_code_refuses_keys(struct bytes code) {
    return bytes_equal(code, BYTES("InvalidAccessKeyId")) || bytes_equal(code, BYTES("InvalidToken"));
}

/* ---- quota and waiting ---- */

bool s3_quota_take(struct s3_quota *quota, int cost) {
    if (quota->left < cost)
        return false;
    quota->left -= cost;
    return true;
}

void s3_quota_give(struct s3_quota *quota, int amount) {
    quota->left = quota->left + amount < S3_QUOTA_MAX ? quota->left + amount : S3_QUOTA_MAX;
}

int64_t s3_wait_us(struct rng *rng, int64_t base_us, bool throttled, uint32_t retry, int64_t asked_us) {
    int64_t bound = throttled ? base_us : base_us / 10;
    for (uint32_t i = 1; i < retry && bound < S3_WAIT_MAX_US; i++)
        bound *= 2;
    if (bound > S3_WAIT_MAX_US)
        bound = S3_WAIT_MAX_US;
    int64_t wait = bound > 0 ? (int64_t)rng_below(rng, (uint64_t)bound) : 0;
    if (asked_us > S3_WAIT_MAX_US)
        asked_us = S3_WAIT_MAX_US;
    return wait > asked_us ? wait : asked_us;
}
