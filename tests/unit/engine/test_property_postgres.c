/* The random worlds of test_property.c over PostgreSQL: several engines on one schema and the real clock. What happens
 * to them besides: connections are cut, an engine stands still for longer than its lease lasts and goes on as if
 * nothing had been, the server crashes and starts again. */
#include "postgres_server.h"
#include "property_life.h"

#include <stdio.h>

static struct postgres_server server;

static void wipe(void) {
    postgres_server_wipe(&server, "property");
}

static void cut(uint64_t which) {
    postgres_server_sql(&server,
                        "SELECT pg_terminate_backend((array_agg(pid ORDER BY backend_start, pid))[1 + %ju %% count(*)])"
                        " FROM pg_stat_activity WHERE usename = 'froe'",
                        (uintmax_t)which);
}

static void restart(void) {
    postgres_server_crash(&server);
    postgres_server_again(&server);
}

static void test_worlds_of_a_fleet(void **state) {
    char uri[256];
    postgres_server_uri(&server, POSTGRES_SOCKET, 0, "property", uri, sizeof uri);
    property_live(&(struct world_server){.uri = uri, .wipe = wipe, .cut = cut, .restart = restart}, 30);
}

int main(void) {
    if (postgres_server_missing()) {
        printf("skipped: there is no %s here\n", postgres_server_missing());
        return 77;
    }
    postgres_server_start(&server);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_worlds_of_a_fleet)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_server_stop(&server);
    return failed;
}
