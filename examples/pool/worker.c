/* A worker: cc -O2 -o worker worker.c && froe run --pool ... -- ./worker */
#include <stdio.h>
#include <stdlib.h>

static int process(const char *line, const char *body, size_t n) {
    return body && fprintf(stderr, "%zu bytes: %s", n, line) > 0; /* your code; 0 when it failed */
}

int main(void) {
    char *line = NULL, *body = NULL;
    size_t line_size = 0, id, n;
    while (getline(&line, &line_size, stdin) > 0) {
        /* The beginning is always like that; what else is in the line takes a JSON parser. */
        if (sscanf(line, "{\"id\":%zu,\"body_bytes\":%zu,", &id, &n) != 2 || !(body = realloc(body, n + 1)))
            return 1;
        if (fread(body, 1, n, stdin) != n)
            return 1;
        if (process(line, body, n))
            printf("{\"id\":%zu,\"status\":\"ok\"}\n", id);
        else
            printf("{\"id\":%zu,\"status\":\"fail\",\"reason\":\"see above\"}\n", id);
        fflush(stdout);
    }
    return 0;
}
