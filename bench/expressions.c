/* expressions.c - what it costs to evaluate the expression of a rule on a run.
 *
 *     expressions EVALUATIONS
 *
 * Prints a JSON object: nanoseconds of CPU by expression. */
#include "cel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *const expressions[] = {"input.bucket", "additional_metadata['bucket-name']",
                                          "input.bucket + '/' + input.key.lowerAscii()", "checksum(input.key)"};

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int evaluate(const struct cel_program *program, uint64_t n, struct err *err) {
    const struct cel_vars vars = {
        .input = BYTES("{\"bucket\":\"incoming-a\",\"key\":\"2026/01/02/Some-Key.jpg\",\"size\":123456}"),
        .additional_metadata = BYTES("{\"bucket-name\":\"incoming-a\"}"),
        .workflow_run_id = BYTES("1:2"),
    };
    struct buf key = {0};
    int r = 0;
    for (uint64_t i = 0; i < n && r == 0; i++) {
        buf_reset(&key);
        r = cel_eval_string(program, &vars, &key, err);
    }
    buf_free(&key);
    return r;
}

int main(int argc, char **argv) {
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    if (n == 0) {
        fprintf(stderr, "usage: expressions EVALUATIONS\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof expressions / sizeof expressions[0]; i++) {
        struct cel_program *program;
        struct err err = {0};
        int r = cel_compile(bytes_str(expressions[i]), &program, &err);
        double began = now_ns();
        if (r == 0) {
            r = evaluate(program, n, &err);
            printf("%s\"%s\": %.0f", i ? ", " : "{", expressions[i], (now_ns() - began) / (double)n);
            cel_free(program);
        }
        if (r < 0) {
            fprintf(stderr, "expressions: %s: %s\n", expressions[i], err.text);
            return 1;
        }
    }
    puts("}");
    return 0;
}
