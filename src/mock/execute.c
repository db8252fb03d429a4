/* execute.c - operations, bent by fault orders. */
#include "execute.h"

#include "auth.h"
#include "ops.h"

#include <stdio.h>

void execute_plan(struct mock *mock, struct request *request) {
    if (!request->fail.status)
        request->fail = auth_check_body(mock, request);
    if (request->fail.status)
        return;
    faults_plan(&mock->faults, request->op, request->bucket, request->key, mock->now_mono_us, &request->plan);
}

static const char *default_code(int status) {
    switch (status) {
    case 400:
        return "InvalidRequest";
    case 403:
        return "AccessDenied";
    case 404:
        return "NoSuchKey";
    case 429:
        return "TooManyRequests";
    case 500:
        return "InternalError";
    case 501:
        return "NotImplemented";
    case 503:
        return "ServiceUnavailable";
    default:
        return "Error";
    }
}

static void answer_ordered_error(struct mock *mock, const struct request *request, struct answer *answer) {
    char code[65] = {0};
    struct bytes ordered = request->plan.code;
    if (ordered.n && ordered.n < sizeof(code))
        memcpy(code, ordered.p, ordered.n);
    answer_fail(mock, request, answer,
                FAIL(request->plan.status, code[0] ? code : default_code(request->plan.status),
                     "Please reduce your request rate, or whatever else the fault order wants you to do."),
                BYTES_NONE);
}

/* Somebody else writes the object right after it was read. */
static void overwrite(struct mock *mock, const struct request *request) {
    struct bucket *bucket = bucket_find(&mock->objects, request->bucket);
    char text[64];
    int n = snprintf(text, sizeof(text), "overwritten by order, number %llu\n", (unsigned long long)++mock->overwrites);
    struct blob *blob;
    if (!bucket || blob_new(&mock->objects, bytes_of(text, (size_t)n), &blob) < 0)
        return;
    if (object_put(&mock->objects, bucket, request->key, blob, NULL, STORAGE_STANDARD, mock->now_utc_us, NULL) < 0)
        blob_unref(&mock->objects, blob);
    else if (bucket->stats)
        bucket->stats->puts++;
}

static void spoil_xml(struct mock *mock, const struct request *request, struct answer *answer) {
    struct bytes body = bytes_of(answer->out.p + answer->body_at, answer->out.n - answer->body_at);
    struct buf spoilt = {0};
    int r = 0;
    switch (request->plan.badxml) {
    case BADXML_NONE:
        return;
    case BADXML_CUT:
        r = buf_add(&spoilt, body.p, body.n * 2 / 3);
        break;
    case BADXML_JUNK:
        r = buf_add_str(&spoilt, "<html><head><title>Welcome</title><body>this is not <the> XML & you know it");
        break;
    case BADXML_ERROR:
        r = buf_add_str(&spoilt, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InternalError</Code>"
                                 "<Message>We encountered an internal error. Please try again.</Message></Error>");
        break;
    }
    if (r < 0)
        answer->broken = true;
    answer_begin(mock, answer, answer->status);
    answer_end(answer, "application/xml", buf_bytes(&spoilt));
    buf_free(&spoilt);
}

static bool is_document(enum op op) {
    return op == OP_LIST || op == OP_LIST_BUCKETS || op == OP_LIST_VERSIONS || op == OP_DELETE_OBJECTS ||
           op == OP_GET_VERSIONING || op == OP_GET_LOCATION || op == OP_COPY || op == OP_GET_TAGGING ||
           op == OP_CREATE_UPLOAD || op == OP_UPLOAD_PART_COPY || op == OP_COMPLETE_UPLOAD || op == OP_LIST_UPLOADS ||
           op == OP_LIST_PARTS;
}

static void set_limit(const struct answer *answer, uint64_t after, enum then then, struct limit *limit) {
    uint64_t body = answer->out.n - answer->body_at + (answer->blob_end - answer->blob_at);
    if (after == FAULT_NEVER || after >= body || answer->body_at + after >= limit->bytes)
        return;
    limit->bytes = answer->body_at + after;
    limit->then = then;
}

static void spoil(struct mock *mock, const struct request *request, struct answer *answer, struct limit *limit) {
    const struct fault_plan *plan = &request->plan;
    bool read = request->op == OP_GET && (answer->status == 200 || answer->status == 206);
    if (plan->overwrite && read)
        overwrite(mock, request);
    if (plan->badsum_body && read && answer->out.n > answer->body_at)
        answer->out.p[answer->body_at + (answer->out.n - answer->body_at) / 2] ^= 0x20;
    if (plan->badxml && answer->status == 200 && is_document(request->op))
        spoil_xml(mock, request, answer);
    set_limit(answer, plan->truncate_after, THEN_CLOSE, limit);
    set_limit(answer, plan->stall_after, THEN_STALL, limit);
    set_limit(answer, plan->reset_after, THEN_RESET, limit);
}

/* These may have sent a 200 before they come to fail. */
static bool may_fail_late(enum op op) {
    return op == OP_COPY || op == OP_UPLOAD_PART_COPY || op == OP_COMPLETE_UPLOAD;
}

bool execute_request(struct mock *mock, struct request *request, struct answer *answer, struct limit *ret_limit) {
    const struct fault_plan *plan = &request->plan;
    if (request->fail.status) {
        answer_fail(mock, request, answer, request->fail, BYTES_NONE);
        return true;
    }
    if (plan->verdict == PLAN_SERVE && plan->badxml == BADXML_ERROR && may_fail_late(request->op)) {
        answer_begin(mock, answer, 200); /* with the error in it, below */
        answer_end(answer, NULL, BYTES_NONE);
    } else if (plan->verdict == PLAN_SERVE || plan->applied) {
        ops_run(mock, request, answer);
    }
    if (plan->verdict == PLAN_RESET)
        return false;
    if (plan->verdict == PLAN_ERROR) {
        blob_unref(&mock->objects, answer->blob);
        answer->blob = NULL;
        answer->blob_at = answer->blob_end = 0;
        answer_ordered_error(mock, request, answer);
    } else if (plan->any) {
        spoil(mock, request, answer, ret_limit);
    }
    return true;
}
