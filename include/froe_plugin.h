/* froe_plugin.h - a handler as a function of your own, without a main program:
 *
 *     cc -shared -fPIC -o count.so count.c
 *     froe run --bucket-prefix in- --plugin ./count.so -- ARG...
 *
 * A plugin is a shared object with one symbol, `froe_plugin_table`. froe loads it into processes of its own
 * (froe-plugin: as many as --pool-workers says) and calls its `process` once for each object. Such a process has one
 * thread and one object at a time; nothing is shared between two of them. What a plugin does to its process is no harm
 * to froe: when it crashes, hangs past --timeout, or calls exit, its object fails and another process takes its place.
 * docs/plugin.md tells more, docs/confine.md what may be taken from it.
 *
 * The contract: this header is C99 and C++. Structs begin with their size, as the side that made them knows it; new
 * members come at the end, and both sides read only what the other one's size covers. FROE_PLUGIN_VERSION changes when
 * something here changes its meaning; froe refuses a plugin of another version when it starts. */
#ifndef FROE_PLUGIN_H
#define FROE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FROE_PLUGIN_VERSION 1

/* How an object ended. Any other number is a failure. */
#define FROE_PLUGIN_OK 0    /* processed: its results are stored, then it is deleted */
#define FROE_PLUGIN_RETRY 1 /* try again later; counts as an attempt */
#define FROE_PLUGIN_FAIL 2  /* a failed attempt */

typedef struct froe_plugin_meta {
    const char *name, *value; /* user metadata, the name without x-amz-meta- */
} froe_plugin_meta;

/* An object. All of it is valid until `process` returns. Texts end with a NUL and are never NULL. */
typedef struct froe_plugin_object {
    size_t size;
    const char *bucket;
    const char *key; /* any bytes; key_n without the NUL after it. Never a path! */
    size_t key_n;
    const char *key_url; /* the same percent-encoded, slashes too: safe as a file's name */
    const char *etag, *version_id, *content_type, *run_id;
    uint32_t attempt; /* 1 is the first */
    uint32_t n_metadata;
    const froe_plugin_meta *metadata;
    uint64_t body_n;
    const void *body; /* NULL when the plugin streams, see FROE_PLUGIN_STREAMS */
} froe_plugin_object;

/* Something made of an object. */
typedef struct froe_plugin_result {
    size_t size;
    const char *name;         /* "" or NULL, unless there are several: then each another, of a-z, 0-9, - and _ */
    const char *content_type; /* "" or NULL: not known */
    const char *extension;    /* "webp", without a dot; "" or NULL: that of the object */
    const void *data;
    size_t n;
} froe_plugin_result;

typedef struct froe_plugin_call froe_plugin_call; /* of `process`, for the functions below */

/* What the host does for a plugin. Only for the call that is running. */
typedef struct froe_plugin_host {
    size_t size;
    /* The next bytes of the body, up to n: how many; 0 at its end; -1 when it cannot be read any more (give up then).
     * The end comes only after froe has verified length and checksums: who acts on a body before it has seen the end
     * acts on one that may turn out to be broken. */
    ptrdiff_t (*read)(froe_plugin_call *call, void *to, size_t n);
    /* Keeps a copy of the result until `process` has returned FROE_PLUGIN_OK. 0; -1: out of memory, more than
     * FROE_PLUGIN_RESULTS_MAX, or a text in it that is too long. Where nothing says what is to become of results
     * (output, in the configuration file) an object with any fails. */
    int (*result)(froe_plugin_call *call, const froe_plugin_result *result);
    /* Why it will retry or fail: for people, in `froe parked list` and the log. Copied; the last one counts. */
    void (*reason)(froe_plugin_call *call, const char *text);
} froe_plugin_host;
#define FROE_PLUGIN_RESULTS_MAX 16

#define FROE_PLUGIN_STREAMS 1u /* flag: bodies are not gathered in memory, but read by host->read */

typedef struct froe_plugin {
    size_t size; /* sizeof(froe_plugin) */
    unsigned version, flags;
    const char *name; /* for people */
    /* Once in each process, before any object, and once more at the start of froe to see whether it works. argv are the
     * words after --plugin FILE --, NULL-terminated; `host` and argv stay valid until `end`. 0 and in *state whatever
     * `process` needs; else a text of why, at most reason_n bytes with its NUL, in `reason`, and froe does not start.
     * NULL: there is nothing to prepare, and arguments are an error. */
    int (*begin)(const froe_plugin_host *host, int argc, char **argv, void **state, char *reason, size_t reason_n);
    /* One object: FROE_PLUGIN_OK, _RETRY or _FAIL. Standard output is standard error in here, and standard input is
     * empty. */
    int (*process)(void *state, const froe_plugin_host *host, froe_plugin_call *call, const froe_plugin_object *object);
    /* When the process ends in order. May be NULL. */
    void (*end)(void *state);
} froe_plugin;

#if defined(__GNUC__)
#define FROE_PLUGIN_EXPORT __attribute__((visibility("default")))
#else
#define FROE_PLUGIN_EXPORT
#endif

/* To be defined by the plugin. */
extern FROE_PLUGIN_EXPORT const froe_plugin froe_plugin_table;

#ifdef __cplusplus
}
#endif

#endif
