/* fixture_postgres.c - see fixture_postgres.h. */
#include "fixture_postgres.h"

#include "fixture_place.h"
#include "postgres_server.h"
#include "postgres_store.h"

#include <stdio.h>
#include <string.h>

static struct postgres_server server;

static void make(char *ret_uri, size_t size) {
    static unsigned n_schemas;
    char schema[24];
    snprintf(schema, sizeof schema, "engine%u", ++n_schemas);
    postgres_server_uri(&server, POSTGRES_SOCKET, 0, schema, ret_uri, size);
}

/* By the clock that the test moves, instead of the server's. */
static int open_store(const char *uri, const struct store_options *options, struct store **ret_store, struct err *err) {
    int r = store_open(uri, options, ret_store, err);
    if (r == 0)
        postgres_store_use_clock(*ret_store, options->clock);
    return r;
}

static void unmake(const char *uri) {
    postgres_server_wipe(&server, strstr(uri, "froe_schema=") + strlen("froe_schema="));
}

int fixture_over(int argc, char **argv) {
    static const struct fixture_place place = {make, open_store, unmake};
    if (argc < 2)
        return 0;
    if (argc > 2 || strcmp(argv[1], "postgres") != 0) {
        fprintf(stderr, "usage: %s [postgres]\n", argv[0]);
        return 2;
    }
    if (postgres_server_missing()) {
        printf("skipped: there is no %s here\n", postgres_server_missing());
        return 77;
    }
    postgres_server_start(&server);
    fixture_stores_are_in(&place);
    return 0;
}
