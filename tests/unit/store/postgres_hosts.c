/* postgres_hosts.c - see postgres_hosts.h. */
#include "postgres_hosts.h"

struct err host_err;

void host_open(struct host *host, const struct postgres_server *server, enum postgres_way way,
               const struct store_options *options, uint32_t max_runs) {
    char uri[256];
    const struct store_rule rule = {STORE_GROUP_ROUND_ROBIN, max_runs, 0};
    *host = (struct host){0};
    postgres_server_uri(server, way, 0, "fleet", uri, sizeof uri);
    MUST(store_open(uri, options, &host->store, &host_err));
    MUST(store_begin(host->store, &host_err));
    MUST(store_workflow_put(host->store, BYTES("w"), &rule, 1, &host->workflow, &host_err));
    MUST(store_commit(host->store, &host_err));
    MUST(store_worker_add(host->store, BYTES("host"), 10, &host->worker, &host_err));
}

void host_close(struct host *host) {
    store_claimed_free(&host->claimed);
    store_close(host->store);
}

static int spawn_once(struct host *host, const struct store_page *page, struct store_spawned *ret_spawned) {
    int r = store_begin(host->store, &host_err);
    if (r == 0)
        r = store_spawn(host->store, page, ret_spawned, &host_err);
    return r == 0 ? store_commit(host->store, &host_err) : r;
}

struct store_spawned host_spawn(struct host *host, const char *group, int from, int n, const char *generation) {
    struct store_item items[100];
    char keys[100][24];
    struct bytes key = bytes_str(group);
    for (int i = 0; i < n; i++) {
        snprintf(keys[i], sizeof keys[i], "key-%05d", from + i);
        items[i] = (struct store_item){.child_key = bytes_str(keys[i]), .generation = bytes_str(generation)};
    }
    struct store_page page = {.workflow = host->workflow, .keys = &key, .n_keys = 1, .items = items, .n = (size_t)n};
    struct store_spawned spawned;
    int r = STORE_ERR_LOST;
    for (int tries = 0; r == STORE_ERR_LOST && tries < 20; tries++)
        r = spawn_once(host, &page, &spawned);
    if (r < 0)
        fail_msg("a spawn: %d %s", r, host_err.text);
    return spawned;
}

size_t host_claim(struct host *host, uint32_t runs) {
    struct store_claim what = {.worker = host->worker,
                               .new_lanes = 9,
                               .new_runs = runs,
                               .new_tokens = runs,
                               .workflows = &host->workflow,
                               .n_workflows = 1};
    store_claimed_free(&host->claimed);
    MUST(store_claim(host->store, &what, &host->claimed, &host_err));
    size_t n = 0;
    for (size_t i = 0; i < host->claimed.n; i++)
        n += host->claimed.leases[i].n;
    return n;
}

size_t host_settle(struct host *host, enum store_outcome outcome) {
    struct store_settled settled[200];
    size_t n = 0, ignored = 0;
    for (size_t i = 0; i < host->claimed.n; i++)
        for (size_t j = 0; j < host->claimed.leases[i].n; j++) {
            const struct store_run *run = &host->claimed.leases[i].runs[j];
            settled[n++] = (struct store_settled){.lease = host->claimed.leases[i].id,
                                                  .index = run->index,
                                                  .outcome = outcome,
                                                  .attempts = 1,
                                                  .attempt = 1,
                                                  .child_key = run->child_key,
                                                  .generation = run->generation,
                                                  .error = BYTES("why")};
        }
    MUST(store_begin(host->store, &host_err));
    MUST(store_settle(host->store, host->worker, settled, n, &ignored, &host_err));
    MUST(store_commit(host->store, &host_err));
    return ignored;
}

void host_check(struct host *host) {
    MUST(store_check(host->store, &host_err));
}
