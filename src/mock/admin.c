/* admin.c - what tests and benchmarks ask the server itself. Answers are JSON; errors are {"error": text} with 400 or
 * 404. */
#include "admin.h"

#include "mem.h"
#include "seed.h"
#include "text.h"

#include <stdio.h>

static void answer_json(struct mock *mock, struct answer *answer, int status, const struct buf *json) {
    answer_begin(mock, answer, status);
    answer_end(answer, "application/json", buf_bytes(json));
}

static void answer_error(struct mock *mock, struct answer *answer, int status, const char *text) {
    struct buf json = {0};
    if (buf_add_str(&json, "{\"error\":") < 0 || text_add_json(&json, bytes_str(text)) < 0 ||
        buf_add_str(&json, "}\n") < 0)
        answer->broken = true;
    answer_json(mock, answer, status, &json);
    buf_free(&json);
}

static struct bytes param(const struct request *request, const char *name) {
    const struct bytes *value = request_param(request, name);
    return value ? *value : BYTES_NONE;
}

/* ---- stats ---- */

static int add_counter(struct buf *json, bool *first, const char *name, uint64_t value) {
    int r = buf_printf(json, "%s\"%s\":%llu", *first ? "" : ",", name, (unsigned long long)value);
    *first = false;
    return r;
}

static int add_buckets(const struct mock *mock, struct buf *json) {
    struct index_cursor cursor;
    bool first = true;
    int r = buf_add_str(json, ",\"buckets\":{");
    index_seek(&mock->stats.buckets, BYTES_NONE, false, &cursor);
    for (struct index_entry *entry; r == 0 && (entry = index_next(&cursor)); first = false) {
        const struct bucket_stats *stats = (const struct bucket_stats *)(const void *)entry;
        const struct bucket *bucket = bucket_find(&mock->objects, index_key(entry));
        if (!first)
            r = buf_add_str(json, ",");
        if (r == 0)
            r = text_add_json(json, index_key(entry));
        if (r == 0)
            r = buf_printf(
                json,
                ":{\"objects\":%llu,\"keys\":%llu,\"bytes\":%llu,\"puts\":%llu,\"gets\":%llu,\"deletes\":%llu,"
                "\"gets_now\":%llu,\"gets_peak\":%llu,\"uploads\":%llu}",
                (unsigned long long)(bucket ? bucket->live : 0),
                (unsigned long long)(bucket ? bucket->objects.count : 0),
                (unsigned long long)(bucket ? bucket->bytes : 0), (unsigned long long)stats->puts,
                (unsigned long long)stats->gets, (unsigned long long)stats->deletes,
                (unsigned long long)stats->gets_now, (unsigned long long)stats->gets_peak,
                (unsigned long long)(bucket ? bucket->n_uploads : 0));
    }
    return r < 0 ? r : buf_add_str(json, "}");
}

static int add_stats(const struct mock *mock, struct buf *json) {
    const struct stats *stats = &mock->stats;
    uint64_t total = 0;
    bool first = true;
    int r = buf_add_str(json, "{\"requests\":{");
    for (int op = 0; r == 0 && op < OP_COUNT; op++) {
        total += stats->requests[op];
        r = add_counter(json, &first, op_name((enum op)op), stats->requests[op]);
    }
    if (r == 0)
        r = buf_printf(json, "},\"requests_total\":%llu,\"admin\":%llu,\"refused\":%llu,\"statuses\":{",
                       (unsigned long long)total, (unsigned long long)stats->admin, (unsigned long long)stats->refused);
    first = true;
    for (int status = 0; r == 0 && status < 600; status++) {
        char name[8];
        snprintf(name, sizeof(name), "%d", status);
        if (stats->statuses[status])
            r = add_counter(json, &first, name, stats->statuses[status]);
    }
    if (r == 0)
        r = buf_add_str(json, "},\"faults\":{");
    first = true;
    for (int kind = 0; r == 0 && kind < FAULT_USER; kind++)
        r = add_counter(json, &first, fault_name((enum fault_kind)kind), mock->faults.fired[kind]);
    if (r == 0)
        r = buf_printf(json,
                       "},\"objects\":%llu,\"uploads\":%llu,\"memory_bytes\":%llu,\"bytes_in\":%llu,\"bytes_out\":%llu,"
                       "\"connections\":%llu,\"connections_now\":%llu,\"uptime_us\":%lld",
                       (unsigned long long)mock->objects.live, (unsigned long long)mock->objects.uploads,
                       (unsigned long long)mock->objects.bytes, (unsigned long long)stats->bytes_in,
                       (unsigned long long)stats->bytes_out, (unsigned long long)stats->connections,
                       (unsigned long long)stats->connections_now,
                       (long long)(mock->now_mono_us - stats->start_mono_us));
    if (r == 0)
        r = add_buckets(mock, json);
    return r < 0 ? r : buf_add_str(json, "}\n");
}

/* ---- faults ---- */

static int add_faults(const struct mock *mock, struct buf *json) {
    int r = buf_add_str(json, "[");
    for (size_t i = 0; r == 0 && i < mock->faults.n; i++) {
        const struct fault *fault = mock->faults.list[i];
        r = buf_add_str(json, i ? ",\n{\"order\":" : "\n{\"order\":");
        if (r == 0)
            r = text_add_json(json, bytes_str(fault->order));
        if (r == 0)
            r = buf_printf(json, ",\"matched\":%llu,\"fired\":%llu}", (unsigned long long)fault->matched,
                           (unsigned long long)fault->fired);
    }
    return r < 0 ? r : buf_add_str(json, "]\n");
}

static void serve_faults(struct mock *mock, struct request *request, struct answer *answer) {
    struct err err = {0};
    if (request->head.method == HTTP_POST &&
        faults_add(&mock->faults, buf_bytes(&request->body), FAULT_SEED, &err) < 0) {
        answer_error(mock, answer, 400, err.text);
        return;
    }
    if (request->head.method == HTTP_DELETE)
        faults_clear(&mock->faults);
    struct buf json = {0};
    if (add_faults(mock, &json) < 0)
        answer->broken = true;
    answer_json(mock, answer, 200, &json);
    buf_free(&json);
}

/* ---- orders ---- */

static void serve_reset(struct mock *mock, const struct request *request, struct answer *answer) {
    struct bytes what = param(request, "what");
    bool all = !what.n || bytes_equal(what, BYTES("all"));
    bool objects = bytes_equal(what, BYTES("objects")), faults = bytes_equal(what, BYTES("faults"));
    bool stats = bytes_equal(what, BYTES("stats"));
    if (!all && !objects && !faults && !stats) {
        answer_error(mock, answer, 400, "what must be all, objects, faults or stats");
        return;
    }
    if (all || objects)
        objects_reset(&mock->objects);
    if (all || faults)
        faults_clear(&mock->faults);
    if (all || stats) {
        stats_reset(&mock->stats, mock->now_mono_us);
        memset(mock->faults.fired, 0, sizeof(mock->faults.fired));
    }
    answer_begin(mock, answer, 200);
    answer_end(answer, "application/json", BYTES("{}\n"));
}

static bool number(const struct request *request, const char *name, uint64_t *value) {
    struct bytes text = param(request, name);
    return !text.n || text_parse_u64(text, value) == 0;
}

static void serve_seed(struct mock *mock, const struct request *request, struct answer *answer) {
    struct seed seed = {.bucket = param(request, "bucket"),
                        .prefix = request_param(request, "prefix") ? param(request, "prefix") : BYTES("object-"),
                        .region = param(request, "region"),
                        .count = 1,
                        .size = 1024};
    struct err err = {0};
    if (!number(request, "count", &seed.count) || !number(request, "size", &seed.size) ||
        !number(request, "start", &seed.start)) {
        answer_error(mock, answer, 400, "count, size and start must be numbers");
        return;
    }
    if (seed_run(mock, &seed, &err) < 0) {
        answer_error(mock, answer, 400, err.text);
        return;
    }
    struct buf json = {0};
    if (buf_printf(&json, "{\"count\":%llu}\n", (unsigned long long)seed.count) < 0)
        answer->broken = true;
    answer_json(mock, answer, 200, &json);
    buf_free(&json);
}

static void serve_restore(struct mock *mock, const struct request *request, struct answer *answer) {
    const struct bucket *bucket = bucket_find(&mock->objects, param(request, "bucket"));
    const struct object *object = bucket ? object_find(bucket, param(request, "key")) : NULL;
    if (!object || !object->newest->blob) {
        answer_error(mock, answer, 404, "there is no such object");
        return;
    }
    object->newest->restored = true;
    answer_begin(mock, answer, 200);
    answer_end(answer, "application/json", BYTES("{}\n"));
}

/* ---- what there is to read ---- */

static void serve_text(struct mock *mock, struct answer *answer, int r, struct buf *json) {
    if (r < 0)
        answer->broken = true;
    answer_json(mock, answer, 200, json);
    buf_free(json);
}

static bool serve_get(struct mock *mock, const struct request *request, struct bytes name, struct answer *answer) {
    struct buf json = {0};
    if (bytes_equal(name, BYTES("health"))) {
        answer_begin(mock, answer, 200);
        answer_end(answer, "application/json", BYTES("{}\n"));
    } else if (bytes_equal(name, BYTES("stats"))) {
        serve_text(mock, answer, add_stats(mock, &json), &json);
    } else if (bytes_equal(name, BYTES("log"))) {
        serve_text(mock, answer, stats_add_log(&mock->stats, &json), &json);
    } else if (bytes_equal(name, BYTES("trace"))) {
        serve_text(mock, answer, stats_add_trace(&mock->stats, param(request, "bucket"), &json), &json);
    } else {
        return false;
    }
    return true;
}

/* A page in somebody's browser can reach a port on loopback, too, but only under a name of its own. */
static bool is_local_host(struct bytes host) {
    const char *colon = host.p[0] == '[' ? NULL : memrchr(host.p, ':', host.n);
    struct bytes name = bytes_of(host.p, colon ? (size_t)(colon - host.p) : host.n);
    return bytes_equal(name, BYTES("localhost")) || bytes_starts(name, BYTES("127.")) ||
           bytes_starts(name, BYTES("[::1]"));
}

void admin_run(struct mock *mock, struct request *request, struct answer *answer) {
    struct bytes name = bytes_of(request->path.p + strlen("/_mock/"), request->path.n - strlen("/_mock/"));
    enum http_method method = request->head.method;
    if (request->fail.status)
        answer_error(mock, answer, request->fail.status, request->fail.message);
    else if (!is_local_host(request->head.host))
        answer_error(mock, answer, 403, "the Host must be a loopback address");
    else if (bytes_equal(name, BYTES("faults")) && (method == HTTP_GET || method == HTTP_POST || method == HTTP_DELETE))
        serve_faults(mock, request, answer);
    else if (method == HTTP_POST && bytes_equal(name, BYTES("reset")))
        serve_reset(mock, request, answer);
    else if (method == HTTP_POST && bytes_equal(name, BYTES("seed")))
        serve_seed(mock, request, answer);
    else if (method == HTTP_POST && bytes_equal(name, BYTES("restore")))
        serve_restore(mock, request, answer);
    else if (method != HTTP_GET || !serve_get(mock, request, name, answer))
        answer_error(mock, answer, 404, "there is no such endpoint");
}
