/* check_store.c - see check_store.h. */
#include "check_store.h"

#include "control.h"
#include "json_set.h"

#include <froe.h>
#include <libgen.h>
#include <unistd.h>

static void finding(json_t *report, bool good, const char *what) {
    json_object_set_new(report, "ok", json_boolean(good));
    json_set_text(report, "what", what);
}

/* The folder in which the first missing part of the path would be made. */
static bool can_be_made(const char *path) {
    _cleanup_buf_ struct buf at = {0};
    if (buf_add_str(&at, path) < 0)
        return false;
    for (char *folder = dirname(at.p);; folder = dirname(folder)) {
        if (access(folder, F_OK) == 0)
            return access(folder, W_OK | X_OK) == 0;
        if (strcmp(folder, "/") == 0 || strcmp(folder, ".") == 0)
            return false;
    }
}

/* A froe that runs on it has it open already; that it answers is proof enough. */
static bool runs_there(const char *path, json_t *report) {
    json_t *request = json_pack("{s:s}", "op", "workers_list"), *answer = NULL;
    struct err err = {0};
    int r = control_call(path, request, &answer, &err);
    json_decref(request);
    json_decref(answer);
    if (r == 0)
        finding(report, true, "a froe works on it");
    else if (r != -ECONNREFUSED)
        finding(report, false, err.text);
    return r != -ECONNREFUSED;
}

json_t *check_store(const struct options *options) {
    const char *path = options_store_path(options);
    json_t *report = json_object();
    json_set_text(report, "uri", options->store_shown);
    if (path && access(path, F_OK) < 0 && errno == ENOENT) {
        bool good = can_be_made(path);
        finding(report, good, good ? "will be made by the first froe run" : "is not there, and cannot be made there");
        return report;
    }
    if (path && runs_there(path, report))
        return report;
    /* Who only looks must not make history shorter than those want who work. */
    const froe_options opening = {
        .size = sizeof opening,
        .store = options->store,
        .lock_wait_us = -1,
        .history_us = INT64_MAX / 4,
        .history_bytes = INT64_MAX / 4,
    };
    froe *engine = NULL;
    froe_error error = {0};
    if (froe_open(&opening, &engine, &error) != FROE_OK) {
        finding(report, false, error.text);
        return report;
    }
    finding(report, true, froe_store_describe(engine));
    froe_close(engine, NULL, NULL);
    return report;
}
