/* cmd_status.c - froe status: a line per bucket. */
#include "commands.h"
#include "text.h"

#include <inttypes.h>
#include <jansson.h>

static json_int_t number(json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}

static const char *string(json_t *object, const char *name) {
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "";
}

static void print_skipped(json_t *bucket) {
    const char *name;
    json_t *count;
    const char *between = "  skipped: ";
    json_object_foreach(json_object_get(bucket, "skipped"), name, count) {
        if (json_integer_value(count) > 0) {
            printf("%s%" JSON_INTEGER_FORMAT " %s", between, json_integer_value(count), name);
            between = ", ";
        }
    }
}

static void print_people(json_t *status) {
    json_t *buckets = json_object_get(status, "buckets");
    if (json_is_true(json_object_get(status, "running")))
        printf("%s: froe %s runs on it, pid %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " slots\n",
               string(status, "store"), string(status, "version"), number(status, "pid"), number(status, "slots"));
    else
        printf("%s: no froe runs on it\n", string(status, "store"));
    if (json_array_size(buckets) == 0) {
        puts("no buckets seen yet");
        return;
    }
    printf("%-32s %9s %7s %7s %7s %10s %7s  %-8s  %s\n", "bucket", "backlog", "running", "waiting", "parked", "done",
           "failed", "listing", "deletes");
    size_t i;
    json_t *bucket;
    json_array_foreach(buckets, i, bucket) {
        printf("%-32s %9" JSON_INTEGER_FORMAT " %7" JSON_INTEGER_FORMAT " %7" JSON_INTEGER_FORMAT
               " %7" JSON_INTEGER_FORMAT " %10" JSON_INTEGER_FORMAT " %7" JSON_INTEGER_FORMAT "  %-8s  %s",
               string(bucket, "bucket"), number(bucket, "backlog"), number(bucket, "running"),
               number(bucket, "waiting"), number(bucket, "parked"), number(bucket, "done"), number(bucket, "failed"),
               string(bucket, "listing"), string(bucket, "deletes"));
        if (json_is_true(json_object_get(bucket, "throttled")))
            printf("  throttled: %" JSON_INTEGER_FORMAT " at once", number(bucket, "limit"));
        print_skipped(bucket);
        const char *cursor = string(bucket, json_object_get(bucket, "cursor_url") ? "cursor_url" : "cursor");
        if (cursor[0]) {
            _cleanup_buf_ struct buf printable = {0};
            if (text_add_printable(&printable, bytes_str(cursor)) == 0)
                printf("  goes on after %s", printable.p);
        }
        putchar('\n');
    }
}

int command_status(const struct options *options) {
    json_t *request = json_pack("{s:s}", "op", "status"), *status = NULL;
    int r = command_ask(options, request, &status);
    json_decref(request);
    if (r != 0)
        return r;
    if (options->json) {
        json_dumpf(status, stdout, JSON_COMPACT);
        putchar('\n');
    } else
        print_people(status);
    json_decref(status);
    return fflush(stdout) == 0 ? EXIT_DRAINED : command_fail(EXIT_INTERNAL, "cannot write to standard output");
}
