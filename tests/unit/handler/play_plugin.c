/* play_plugin.c - a plugin that does what the key says. Built several times, see meson.build: STREAMS, VERSION, SIZE,
 * BARE (without begin), NO_TABLE. */
#include <froe_plugin.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef STREAMS
#define STREAMS 0
#endif
#ifndef BARE
#define BARE 0
#endif
#ifndef VERSION
#define VERSION FROE_PLUGIN_VERSION
#endif
#ifndef SIZE
#define SIZE sizeof(froe_plugin)
#endif

static int state_of_plugin = 42;

static int begin(const froe_plugin_host *host, int argc, char **argv, void **state, char *reason, size_t reason_n) {
    const char *word = argc > 0 ? argv[0] : "";
    *state = &state_of_plugin;
    if (host->size < sizeof *host || argv[argc])
        abort();
    if (strcmp(word, "refuse") == 0) {
        snprintf(reason, reason_n, "no model %s", argc > 1 ? argv[1] : "");
        return -1;
    }
    if (strcmp(word, "refuse-silently") == 0)
        return 5;
    if (strcmp(word, "crash") == 0)
        abort();
    if (strcmp(word, "hang") == 0)
        pause();
    return 0;
}

static void say(const froe_plugin_host *host, froe_plugin_call *call, const void *data, size_t n) {
    char text[64];
    unsigned long sum = 5381;
    for (size_t i = 0; i < n; i++)
        sum = sum * 33 + ((const unsigned char *)data)[i];
    snprintf(text, sizeof text, "%zu bytes, %lx", n, sum & 0xffffffff);
    host->reason(call, text);
}

static int say_body(const froe_plugin_host *host, froe_plugin_call *call, const froe_plugin_object *object) {
    if (object->body) {
        say(host, call, object->body, (size_t)object->body_n);
        return FROE_PLUGIN_FAIL;
    }
    char *body = malloc((size_t)object->body_n + 1);
    size_t n = 0;
    ptrdiff_t got;
    while ((got = host->read(call, body + n, 1000)) > 0)
        n += (size_t)got;
    if (got < 0 || host->read(call, body, 1) != 0)
        host->reason(call, "the body broke off");
    else
        say(host, call, body, n);
    free(body);
    return FROE_PLUGIN_FAIL;
}

static int say_object(const froe_plugin_host *host, froe_plugin_call *call, const froe_plugin_object *object) {
    char text[512];
    snprintf(text, sizeof text, "%s|%zu|%s|%s|%s|%s|%u|%u|%s=%s", object->bucket, object->key_n, object->key_url,
             object->etag, object->content_type, object->run_id, object->attempt, object->n_metadata,
             object->n_metadata ? object->metadata[0].name : "", object->n_metadata ? object->metadata[0].value : "");
    host->reason(call, text);
    return FROE_PLUGIN_FAIL;
}

static int give(const froe_plugin_host *host, froe_plugin_call *call, const char *name, const void *data, size_t n) {
    const froe_plugin_result result = {sizeof result, name, "text/x", "x", data, n};
    return host->result(call, &result);
}

static int process(void *state, const froe_plugin_host *host, froe_plugin_call *call,
                   const froe_plugin_object *object) {
    const char *key = object->key;
#if !BARE
    if (state != &state_of_plugin)
        abort();
#endif
    if (strcmp(key, "retry") == 0) {
        host->reason(call, "not yet");
        return FROE_PLUGIN_RETRY;
    }
    if (strcmp(key, "fail") == 0) {
        host->reason(call, "broken \"text\"\nof two lines");
        return FROE_PLUGIN_FAIL;
    }
    if (strcmp(key, "number") == 0)
        return -17;
    if (strcmp(key, "memory-plugin") == 0) {
        void *memory = malloc((size_t)1 << 30);
        host->reason(call, memory ? "there is memory" : "no memory for 1 GiB");
        free(memory);
        return FROE_PLUGIN_FAIL;
    }
    if (strcmp(key, "crash") == 0)
        abort();
    if (strcmp(key, "exit") == 0)
        _exit(0); /* what a sanitizer does at an end is not what is tested */
    if (strcmp(key, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(key, "print") == 0) {
        printf("{\"id\":1,\"status\":\"fail\"}\n");
        fflush(stdout);
        return write(STDOUT_FILENO, "xyz\n", 4) == 4 && getchar() == EOF ? FROE_PLUGIN_OK : FROE_PLUGIN_FAIL;
    }
    if (strcmp(key, "body") == 0)
        return say_body(host, call, object);
    if (strcmp(key, "secrets") == 0)
        return getenv("AWS_SECRET_ACCESS_KEY") ? FROE_PLUGIN_FAIL : FROE_PLUGIN_OK;
    if (strncmp(key, "object", 6) == 0)
        return say_object(host, call, object);
    if (strcmp(key, "result") == 0)
        return give(host, call, NULL, "made\nof it", 10);
    if (strcmp(key, "results") == 0)
        return give(host, call, "small", "s", 1) | give(host, call, "none", NULL, 0) | give(host, call, "b", "\0\n", 2);
    if (strcmp(key, "too many") == 0) {
        char name[16];
        for (int i = 0; i < FROE_PLUGIN_RESULTS_MAX; i++) {
            snprintf(name, sizeof name, "%d", i);
            if (give(host, call, name, "x", 1) != 0)
                abort();
        }
        return give(host, call, "one more", "x", 1) == -1 ? FROE_PLUGIN_OK : FROE_PLUGIN_FAIL;
    }
    if (strcmp(key, "wrong text") == 0)
        return give(host, call, "\xff", "x", 1) == -1 ? FROE_PLUGIN_OK : FROE_PLUGIN_FAIL;
    return FROE_PLUGIN_OK;
}

static void end(void *state) {
    fprintf(stderr, "ended %d\n", *(int *)state);
}

#ifdef NO_TABLE
extern const froe_plugin another_name;
const froe_plugin another_name =
#else
const froe_plugin froe_plugin_table =
#endif
    {
        .size = SIZE,
        .version = VERSION,
        .flags = STREAMS ? FROE_PLUGIN_STREAMS : 0,
        .name = "play",
        .begin = BARE ? NULL : begin,
        .process = process,
        .end = BARE ? NULL : end,
};
