/* test_pool_memory.c - forty large objects at once through a pool that keeps results: what that costs in memory. A
 * program of its own, as the kernel counts a process's peak once. */
#include "pool_support.h"

#include "cleanup.h"

#include <stdio.h>
#include <stdlib.h>

enum { N = 40 };
#define MIB (UINT64_C(1) << 20)
#define SIZE (20 * MIB)
#define BUDGET (16 * MIB)
#define PIECE 65536

/* A sanitizer's own memory is many times as much. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif

static size_t peak_bytes(void) {
    _cleanup_fclose_ FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    size_t kib = 0;
    while (file && fgets(line, sizeof line, file) && sscanf(line, "VmHWM: %zu", &kib) != 1)
        ;
    assert_true(kib > 0);
    return kib * 1024;
}

struct slot {
    struct attempt attempt;
    size_t fed;
    bool full, finished;
};

/* As a download would: a piece, unless it has to pause. True: it has ended. */
static bool go_on(struct slot *slot, const char *piece) {
    if (slot->attempt.done) {
        if (slot->attempt.text) {
            assert_int_equal(slot->attempt.end, HANDLER_OK);
            assert_int_equal(slot->attempt.parts[0].body.n, SIZE);
            attempt_free(&slot->attempt);
        }
        return true;
    }
    if (slot->finished || (slot->full && !slot->attempt.room))
        return false;
    slot->full = !attempt_write(&slot->attempt, bytes_of(piece, PIECE));
    slot->fed += PIECE;
    if (slot->fed == SIZE) {
        attempt_finish(&slot->attempt);
        slot->finished = true;
    }
    return false;
}

static void test_stays_inside(void **state) {
    struct world *world = *state;
    static struct slot slots[N];
    static char piece[PIECE];
    char key[64];
    uint64_t most = 0;
    size_t before = peak_bytes(), done = 0;
    keep_results(world, BUDGET, 0);
    use_pool(world, (struct handler_pool_options){.workers = 8}, "");
    snprintf(key, sizeof key, "give:%zu", (size_t)SIZE);
    for (int i = 0; i < N; i++) {
        struct handler_object object = object_of(key, SIZE);
        attempt_start(world, &slots[i].attempt, &object);
    }
    while (done < N) {
        done = 0;
        for (int i = 0; i < N; i++)
            done += go_on(&slots[i], piece);
        most = world->budget.used_bytes > most ? world->budget.used_bytes : most;
        assert_true(world->budget.used_bytes <= BUDGET);
        uv_run(&world->loop, UV_RUN_NOWAIT);
    }
    size_t grown = peak_bytes() - before;
    print_message("budget used at most: %zu KiB; this process grew by %zu KiB\n", (size_t)most / 1024, grown / 1024);
    assert_true(most > 0);
    if (!SANITIZED)
        assert_true(grown < N * (HANDLER_BUFFER_MAX + 2 * PIECE) + 4 * MIB);
    assert_int_equal(world->budget.used_bytes, 0);
}

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    play_worker_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_stays_inside, world_up, world_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
