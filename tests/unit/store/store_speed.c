/* store_speed.c - how many runs a second a store takes from spawn to settlement, and how much memory a queued run
 * costs. Built with the tests and not run as one:
 *
 *     store_speed URI [runs [pages-a-commit [runs-a-claim [lanes]]]]
 *
 * Rounds: one that keeps the backlog short (spawn, claim, settle, again); one that spawns everything first, with what
 * the next page costs beside all that; finding a child key among as many finished runs, whose keys came sorted, in no
 * order, or one a page. For these, which are all that is done with 0 pages a commit, stores are made beside the one
 * that is named: files NAME-look1 and so on, or on a server, whose URI has to end with froe_schema=NAME, schemas
 * NAME_look1 and so on, which must not be there. */
#include "mem.h"
#include "store.h"

#include <malloc.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

static uint32_t lanes = 1;
static struct store *store;
static int64_t workflow, worker;
static uint64_t spawned, settled_n;
static uint32_t per_page = STORE_PAGE_MAX;
static bool shuffled; /* child keys */
static struct err err;

static void must(int r) {
    if (r < 0) {
        fprintf(stderr, "%d %s\n", r, err.text);
        exit(1);
    }
}

static double seconds(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What the batch was given and is answered has to live until it is committed. */
struct spawning {
    struct spawning *next;
    struct store_page page;
    struct store_spawned out;
    struct bytes key;
    char bucket[32];
    struct spawned_item {
        char key[48], tag[40];
    } * texts;
    struct store_item *items;
};
struct settling {
    struct settling *next;
    struct store_claimed claimed;
    struct store_settled *settled;
    size_t n, ignored;
};
static struct spawning *spawnings;
static struct settling *settlings;

static void *made(void *memory) {
    if (!memory)
        exit(1);
    return memory;
}

static void begin(void) {
    must(store_begin(store, &err));
}

static void commit(void) {
    must(store_commit(store, &err));
    for (struct spawning *spawning; (spawning = spawnings);) {
        if (spawning->out.created != spawning->page.n) {
            fprintf(stderr, "%u created\n", spawning->out.created);
            exit(1);
        }
        spawnings = spawning->next;
        mem_free(spawning->texts);
        mem_free(spawning->items);
        mem_free(spawning);
    }
    for (struct settling *settling; (settling = settlings);) {
        if (settling->ignored) {
            fprintf(stderr, "%zu ignored\n", settling->ignored);
            exit(1);
        }
        settlings = settling->next;
        store_claimed_free(&settling->claimed);
        mem_free(settling->settled);
        mem_free(settling);
    }
}

static void spawn_page(void) {
    struct spawning *spawning = made(mem_zalloc(sizeof *spawning));
    spawning->texts = made(mem_calloc(per_page, sizeof *spawning->texts));
    spawning->items = made(mem_calloc(per_page, sizeof *spawning->items));
    for (uint32_t i = 0; i < per_page; i++) {
        uint64_t at = shuffled ? (spawned + i) * UINT64_C(6364136223846793005) : spawned + i;
        struct spawned_item *text = &spawning->texts[i];
        int n = snprintf(text->key, sizeof text->key, "images/2026/11/22/%020llu.jpg", (unsigned long long)at);
        int m = snprintf(text->tag, sizeof text->tag, "\"%016llx%016llx\"",
                         (unsigned long long)(at * UINT64_C(0x9e3779b97f4a7c15)), (unsigned long long)(at * 77777777));
        spawning->items[i] = (struct store_item){.child_key = bytes_of(text->key, (size_t)n),
                                                 .generation = bytes_of(text->tag, (size_t)m)};
    }
    snprintf(spawning->bucket, sizeof spawning->bucket, "bucket-%u", (unsigned)(spawned / STORE_PAGE_MAX % lanes));
    spawning->key = bytes_str(spawning->bucket);
    spawning->page = (struct store_page){.workflow = workflow,
                                         .keys = &spawning->key,
                                         .n_keys = 1,
                                         .input = BYTES("{\"bucket\":\"bucket-1\"}"),
                                         .metadata = BYTES("{\"bucket\":\"bucket-1\"}"),
                                         .items = spawning->items,
                                         .n = per_page};
    spawning->next = spawnings;
    spawnings = spawning;
    must(store_spawn(store, &spawning->page, &spawning->out, &err));
    spawned += per_page;
}

/* Settles what the claim gave, in one call. */
static uint64_t settle(struct settling *settling) {
    const struct store_claimed *claimed = &settling->claimed;
    size_t all = 0, n = 0;
    for (size_t i = 0; i < claimed->n; i++)
        all += claimed->leases[i].n;
    settling->settled = made(mem_calloc(all + 1, sizeof *settling->settled));
    for (size_t i = 0; i < claimed->n; i++)
        for (size_t j = 0; j < claimed->leases[i].n; j++)
            settling->settled[n++] = (struct store_settled){.lease = claimed->leases[i].id,
                                                            .index = claimed->leases[i].runs[j].index,
                                                            .outcome = STORE_DONE,
                                                            .child_key = claimed->leases[i].runs[j].child_key,
                                                            .attempt = 1,
                                                            .duration_us = 12345 + (int64_t)j};
    must(store_settle(store, worker, settling->settled, n, &settling->ignored, &err));
    settled_n += n;
    return n;
}

static uint64_t claim_and_settle(uint32_t per_claim) {
    struct store_claim claim = {.worker = worker,
                                .new_lanes = lanes < 40 ? lanes : 40,
                                .new_runs = per_claim,
                                .new_tokens = 20,
                                .workflows = &workflow,
                                .n_workflows = 1};
    struct settling *settling = made(mem_zalloc(sizeof *settling));
    must(store_heartbeat(store, worker, NULL, &err));
    must(store_claim(store, &claim, &settling->claimed, &err));
    settling->next = settlings;
    settlings = settling;
    return settle(settling);
}

static void report(const char *what, uint64_t runs, double wall, double cpu) {
    printf("%-28s %9.0f runs/s  %6.2f us CPU a run  (%.2f s, %.2f s CPU)\n", what, (double)runs / wall,
           cpu * 1e6 / (double)runs, wall, cpu);
}

static int count(void *arg, const struct store_run_info *run) {
    *(uint64_t *)arg += run->state == STORE_STATE_DONE;
    return 0;
}

/* With a workflow and a worker. */
static void open_new(const char *uri, const struct store_options *options) {
    static const struct store_rule rule = {STORE_GROUP_ROUND_ROBIN, 20};
    must(store_open(uri, options, &store, &err));
    begin();
    must(store_workflow_put(store, BYTES("process"), &rule, 1, &workflow, &err));
    must(store_worker_add(store, BYTES("speed"), 4, &worker, &err));
    commit();
}

/* Finished runs with these keys, then how long one of them is looked for. */
static void look_up(const char *what, const char *uri, uint64_t runs) {
    static int looks;
    static const struct store_options options = {.history_bytes = INT64_C(4) << 30};
    char path[512], key[48];
    bool server = strncmp(uri, "postgres", 8) == 0;
    snprintf(path, sizeof path, "%s%clook%d", uri, server ? '_' : '-', ++looks);
    for (int i = 0; i < 3 && !server; i++) {
        static const char *const suffixes[] = {"", "-wal", ".lock"};
        char name[600];
        snprintf(name, sizeof name, "%s%s", path + strcspn(path, ":") + 1, suffixes[i]);
        (void)remove(name);
    }
    open_new(path, &options);
    spawned = settled_n = 0;
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (spawned < runs) {
        uint64_t before = spawned;
        begin();
        while (spawned < before + 1000)
            spawn_page();
        commit();
        begin();
        while (settled_n < spawned)
            claim_and_settle(STORE_PAGE_MAX);
        commit();
    }
    report(what, spawned, seconds(CLOCK_MONOTONIC) - wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    uint64_t kept, bytes, found = 0;
    must(store_history_size(store, &kept, &bytes, &err));
    store_close(store);
    double opening = seconds(CLOCK_MONOTONIC);
    must(store_open(path, &options, &store, &err));
    opening = seconds(CLOCK_MONOTONIC) - opening;
    double worst = 0, sum = 0;
    for (int i = 0; i < 10; i++) {
        uint64_t at = runs / 10 * (uint64_t)i + 7;
        int n = snprintf(key, sizeof key, "images/2026/11/22/%020llu.jpg",
                         (unsigned long long)(shuffled ? at * UINT64_C(6364136223846793005) : at));
        struct store_runs_filter filter = {.child_key = bytes_of(key, (size_t)n)};
        wall = seconds(CLOCK_MONOTONIC);
        must(store_runs_each(store, &filter, count, &found, &err));
        wall = seconds(CLOCK_MONOTONIC) - wall;
        sum += wall;
        worst = wall > worst ? wall : worst;
    }
    printf("  %llu kept in %llu bytes, opened in %.3f s; a key found in %.4f s, at most %.4f s (%llu of 10)\n",
           (unsigned long long)kept, (unsigned long long)bytes, opening, sum / 10, worst, (unsigned long long)found);
    store_close(store);
}

static void backlog(const char *uri, uint64_t runs, uint32_t per_commit, uint32_t per_claim) {
    open_new(uri, NULL);
    printf("%s\n", store_describe(store));
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (spawned < runs) {
        begin();
        for (uint32_t i = 0; i < per_commit; i++)
            spawn_page();
        commit();
        for (uint64_t left = (uint64_t)per_commit * STORE_PAGE_MAX; left > 0;) {
            begin();
            left -= claim_and_settle(per_claim);
            commit();
        }
    }
    report("short backlog", spawned, seconds(CLOCK_MONOTONIC) - wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);

    uint64_t base = spawned;
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (spawned < base + runs) {
        begin();
        for (uint32_t i = 0; i < per_commit; i++)
            spawn_page();
        commit();
    }
    report("spawn all", spawned - base, seconds(CLOCK_MONOTONIC) - wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
    printf("%-28s %9.1f bytes\n", "memory of a queued run", (double)(after - before) / (double)(spawned - base));
    wall = seconds(CLOCK_MONOTONIC);
    begin();
    spawn_page();
    commit();
    printf("%-28s %9.2f ms\n", "the next page beside these", 1e3 * (seconds(CLOCK_MONOTONIC) - wall));
    wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (settled_n < spawned) {
        begin();
        claim_and_settle(per_claim);
        commit();
    }
    report("claim and settle all", spawned - base, seconds(CLOCK_MONOTONIC) - wall,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    must(store_check(store, &err));
    store_close(store);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    uint32_t per_commit = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1;
    uint32_t per_claim = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : STORE_PAGE_MAX;
    lanes = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 1;
    if (per_commit)
        backlog(argv[1], runs, per_commit, per_claim);
    lanes = 1;
    look_up("finish, sorted keys", argv[1], runs);
    shuffled = true;
    look_up("finish, unsorted keys", argv[1], runs);
    per_page = 1;
    look_up("finish, one a page", argv[1], runs);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%-28s %9ld KiB\n", "peak memory", usage.ru_maxrss);
    return 0;
}
