/* cmd_parked.c - froe parked list|retry|drop. */
#include "ask.h"
#include "commands.h"
#include "text.h"

#include <jansson.h>

static json_t *make_request(const struct options *options, const char *op) {
    json_t *request = json_pack("{s:s}", "op", op);
    if (options->bucket)
        json_object_set_new(request, "bucket", json_string(options->bucket));
    if (options->key) {
        _cleanup_buf_ struct buf url = {0};
        if (text_add_percent(&url, bytes_str(options->key), true) == 0)
            json_object_set_new(request, "key_url", json_string(url.p ? url.p : ""));
    }
    return request;
}

static const char *text(json_t *object, const char *name) {
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "";
}

/* A key as it may be shown on a terminal; one that is not UTF-8 comes percent-encoded already. */
static void print_item(json_t *item) {
    _cleanup_buf_ struct buf key = {0}, error = {0};
    json_t *raw = json_object_get(item, "key");
    if (raw)
        text_add_printable(&key, bytes_of(json_string_value(raw), json_string_length(raw)));
    else
        buf_add_str(&key, text(item, "key_url"));
    text_add_printable(&error, bytes_str(text(item, "error")));
    printf("%s  %s/%s  attempts %" JSON_INTEGER_FORMAT "  %s\n", text(item, "parked_at"), text(item, "bucket"),
           key.p ? key.p : "", json_integer_value(json_object_get(item, "attempts")), error.p ? error.p : "");
}

/* The listing comes in parts, each asked for after the last run id of the one before. */
static int list(const struct options *options) {
    struct asker *asker = asker_new(options);
    if (!asker)
        return EXIT_INTERNAL;
    json_t *request = make_request(options, "parked_list");
    size_t shown = 0;
    for (bool more = true; more;) {
        json_t *answer = NULL, *item;
        int r = ask(asker, request, &answer);
        if (r != 0) {
            json_decref(request);
            asker_free(asker);
            return r;
        }
        json_t *items = json_object_get(answer, "parked");
        size_t i;
        json_array_foreach(items, i, item) {
            if (options->json) {
                json_dumpf(item, stdout, JSON_COMPACT);
                putchar('\n');
            } else
                print_item(item);
            shown++;
        }
        more = json_is_true(json_object_get(answer, "more")) && json_array_size(items) > 0;
        if (more)
            json_object_set(request, "after",
                            json_object_get(json_array_get(items, json_array_size(items) - 1), "run_id"));
        json_decref(answer);
    }
    json_decref(request);
    asker_free(asker);
    if (!options->json && shown == 0)
        puts("nothing is parked");
    return EXIT_DRAINED;
}

static int change(const struct options *options) {
    bool retry = options->action[0] == 'r';
    json_t *request = make_request(options, retry ? "parked_retry" : "parked_drop"), *answer = NULL;
    int r = command_ask(options, request, &answer);
    json_decref(request);
    if (r != 0)
        return r;
    if (options->json) {
        json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
    } else
        printf("%" JSON_INTEGER_FORMAT " %s\n", json_integer_value(json_object_get(answer, "count")),
               retry ? "retried" : "dropped");
    json_decref(answer);
    return EXIT_DRAINED;
}

int command_parked(const struct options *options) {
    int r = options->action[0] == 'l' ? list(options) : change(options);
    if (fflush(stdout) != 0)
        return command_fail(EXIT_INTERNAL, "cannot write to standard output");
    return r;
}
