/* test_postgres_rewound.c - a server that comes back without the newest batches, as after a crash or when a standby
 * takes over that was behind: what hosts learnt of those batches is forgotten. */
#include "postgres_hosts.h"

static struct postgres_server server;

static int fresh(void **state) {
    (void)state;
    postgres_server_wipe(&server, "fleet");
    return 0;
}

/* The keys are claimed, each once, and no others. */
static void claims(struct host *host, const int *keys, size_t n) {
    assert_int_equal(host_claim(host, 100), n);
    size_t seen = 0;
    for (size_t k = 0; k < n; k++) {
        char text[24];
        snprintf(text, sizeof text, "key-%05d", keys[k]);
        for (size_t i = 0; i < host->claimed.n; i++)
            for (size_t j = 0; j < host->claimed.leases[i].n; j++)
                seen += bytes_equal(host->claimed.leases[i].runs[j].child_key, bytes_str(text));
        assert_int_equal(seen, k + 1);
    }
    assert_int_equal(host_settle(host, STORE_DONE), 0);
}

static void rewind_under(enum postgres_way way) {
    struct host a, b;
    host_open(&a, &server, way, NULL, 100);
    host_open(&b, &server, way, NULL, 100);
    assert_spawned(host_spawn(&a, "g", 0, 10, "1"), 10, 0, 0);
    assert_spawned(host_spawn(&b, "g", 0, 1, "1"), 0, 1, 0);
    postgres_server_crash(&server);
    postgres_server_save(&server);
    postgres_server_again(&server);

    /* b sees what will be gone: its numbers, its child keys, and the content of its page. */
    assert_spawned(host_spawn(&a, "g", 10, 10, "1"), 10, 0, 0);
    assert_spawned(host_spawn(&b, "g", 10, 10, "1"), 0, 10, 0);
    assert_int_equal(host_claim(&b, 15), 15);
    assert_int_equal(host_settle(&b, STORE_RELEASED), 0);
    postgres_server_crash(&server);
    postgres_server_restore(&server);
    postgres_server_again(&server);

    /* As many batches as were lost, with the same numbers and page ids. */
    assert_spawned(host_spawn(&a, "g", 20, 10, "1"), 10, 0, 0);
    assert_spawned(host_spawn(&a, "h", 0, 1, "1"), 0, 1, 0);
    assert_spawned(host_spawn(&a, "h", 40, 1, "1"), 1, 0, 0);
    assert_spawned(host_spawn(&a, "h", 41, 1, "1"), 1, 0, 0);
    assert_spawned(host_spawn(&b, "g", 20, 10, "1"), 0, 10, 0);
    assert_spawned(host_spawn(&b, "h", 40, 2, "1"), 0, 2, 0);
    host_check(&b);
    static const int left[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 40, 41};
    claims(&b, left, sizeof left / sizeof left[0]);
    host_check(&a);
    host_close(&a);
    host_check(&b);
    host_close(&b);
}

static void what_is_gone_is_forgotten(void **state) {
    (void)state;
    rewind_under(POSTGRES_SOCKET);
}

/* Through a pooler no connection is seen to break. */
static void what_is_gone_is_forgotten_behind_a_pooler(void **state) {
    (void)state;
    const char *missing = postgres_pooler_missing();
    if (missing) {
        print_message("skipped: there is no %s here\n", missing);
        skip();
    }
    postgres_pooler_start(&server);
    rewind_under(POSTGRES_POOLER);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_gone_is_forgotten, fresh),
        cmocka_unit_test_setup(what_is_gone_is_forgotten_behind_a_pooler, fresh),
    };
    if (postgres_server_missing()) {
        printf("skipped: there is no %s here\n", postgres_server_missing());
        return 77;
    }
    postgres_server_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_server_stop(&server);
    return failed;
}
