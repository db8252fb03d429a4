/* count.c - a plugin: counts the lines of each object and appends them to a file.
 *
 *     cc -shared -fPIC -o count.so count.c
 *     froe run --bucket-prefix logs- --plugin ./count.so -- counts.txt */
#include <froe_plugin.h>

#include <stdio.h>
#include <string.h>

static int begin(const froe_plugin_host *host, int argc, char **argv, void **state, char *reason, size_t reason_n) {
    FILE *file = argc == 1 ? fopen(argv[0], "a") : NULL; /* in whole lines, so several processes may share it */
    if (!file)
        snprintf(reason, reason_n, "give it one file that it can append to");
    *state = file;
    return file ? 0 : -1;
}

static int count(void *state, const froe_plugin_host *host, froe_plugin_call *call, const froe_plugin_object *object) {
    const char *at = object->body, *end = at + object->body_n;
    unsigned long lines = 0;
    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        lines++;
    }
    fprintf(state, "%s/%s %lu\n", object->bucket, object->key_url, lines);
    if (fflush(state) == 0)
        return FROE_PLUGIN_OK;
    host->reason(call, "the counts cannot be written now");
    return FROE_PLUGIN_RETRY;
}

const froe_plugin froe_plugin_table = {
    .size = sizeof(froe_plugin), .version = FROE_PLUGIN_VERSION, .name = "count", .begin = begin, .process = count};
