/* main.c - froe-image: the worker in which froe works on images, apart from froe itself, so that a file that is made to
 * break a decoder breaks nothing else. froe starts it by itself; docs/images.md tells of it. */
#include "loop.h"
#include "memory.h"
#include "serve.h"
#include "work.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define CHANNEL_FD 3 /* as docs/pool.md says */

static int usage(void) {
    fputs("usage: froe-image SPEC             works on images for froe, by the protocol of docs/pool.md\n"
          "       froe-image --check SPEC     is the specification fine, and can this libvips do it?\n"
          "       froe-image --formats        what this libvips reads and writes\n"
          "       froe-image --loop DIRECTORY SPEC [DIRECTORY]\n"
          "                                   the same work on all files of a directory; a line of figures\n"
          "SPEC is JSON: what an `image:` of froe's configuration file has in YAML, see docs/images.md\n",
          stderr);
    return 2;
}

static int fail(const struct err *err) {
    fprintf(stderr, "froe-image: %s\n", err->text);
    return 1;
}

static int formats(void) {
    json_t *formats = image_formats();
    if (!formats)
        return 1;
    json_dumpf(formats, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(formats);
    return fflush(stdout) == 0 ? 0 : 1;
}

static void work(void *arg, struct bytes key, struct bytes body, struct image_answer *answer) {
    image_work(arg, key, body, answer);
}

/* One image after the other, beside froe, which is to have the processor at once when it needs it for a moment: without
 * it they have nothing to do. Nor do they take it from each other, or their own threads, more often than must be. */
static void be_a_worker(void) {
    sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
    image_memory_begin();
}

/* With --check everything but the work. */
static int serve(const char *text, bool check) {
    struct image_spec *spec;
    struct image_tool *tool;
    struct err err = {0};
    be_a_worker();
    if (image_spec_parse(bytes_str(text), &spec, &err) < 0)
        return fail(&err);
    int r = image_tool_new(spec, &tool, &err);
    if (r == 0) {
        const struct image_server server = {.input_fd = STDIN_FILENO,
                                            .output_fd = STDOUT_FILENO,
                                            .channel_fd = CHANNEL_FD,
                                            .max_bytes = spec->max_bytes,
                                            .max_time_us = spec->max_time_us,
                                            .work = work,
                                            .arg = tool};
        r = check ? 0 : image_serve(&server, &err);
        image_tool_free(tool);
    }
    image_spec_free(spec);
    return r < 0 ? fail(&err) : 0;
}

static int loop(const char *from, const char *text, const char *to) {
    struct image_spec *spec;
    struct err err = {0};
    if (image_spec_parse(bytes_str(text), &spec, &err) < 0)
        return fail(&err);
    int r = image_loop(spec, from, to, &err);
    image_spec_free(spec);
    return r < 0 ? fail(&err) : 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--formats") == 0)
        return formats();
    if (argc == 3 && strcmp(argv[1], "--check") == 0)
        return serve(argv[2], true);
    if ((argc == 4 || argc == 5) && strcmp(argv[1], "--loop") == 0)
        return loop(argv[2], argv[3], argc == 5 ? argv[4] : NULL);
    if (argc != 2 || argv[1][0] == '-')
        return usage();
    return serve(argv[1], false);
}
