/* Random worlds against the promises: one live run per child key, limits, nothing lost, nothing fails in silence, each
 * run ends once, a tick makes one run, whatever crashes, jumps or is cancelled meanwhile; and true rotation. */
#include "property_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_worlds(void **state) {
    property_live(NULL, 8);
}

/* ---- rotation ---- */

/* Is the store asked for more, or about to be? No task ends then: what is looked at are turns, and not how long an
 * answer takes and how many tasks fit in there. */
static bool waits_for_runs(const struct fixture *fx) {
    return fx->froe->claim_inflight || fx->froe->claim_paced;
}

/* Groups with random backlogs, tasks that take at random: how long does one that has work wait for its turn, counted in
 * starts of others? What failed is done again by the seed that it printed, in FROE_ROTATION_SEED. */
static void test_rotation(void **state) {
    for (int round = 0; round < 3; round++) {
        void *fixture = NULL;
        fixture_setup_closed(&fixture);
        struct fixture *fx = fixture;
        struct rng rng;
        uint64_t seed;
        rng_seed_system(&rng);
        const char *given = getenv("FROE_ROTATION_SEED");
        seed = given ? strtoull(given, NULL, 10) : rng_below(&rng, 1000000000);
        print_message("rotation, seed %ju\n", (uintmax_t)seed);
        rng_seed(&rng, seed);
        size_t groups = 2 + (size_t)rng_below(&rng, 20), total = 0;
        fx->options.slots = 1 + (uint32_t)rng_below(&rng, 8);
        fixture_open(fx);
        froe_rule rule = {"input.g", (uint32_t)rng_below(&rng, 2) * 100, FROE_GROUP_ROUND_ROBIN, 0};
        fixture_workflow(fx, "a", &rule, 1, NULL);
        fixture_workflow(fx, "b", &rule, 1, NULL);
        fx->run = NULL;
        size_t backlog[32] = {0}, started[32] = {0}, last[32] = {0};
        for (size_t g = 0; g < groups; g++) {
            char input[40], prefix[20];
            backlog[g] = 20 + (size_t)rng_below(&rng, g ? 60 : 2000);
            total += backlog[g];
            snprintf(input, sizeof input, "{\"g\":\"%zu\"}", g);
            snprintf(prefix, sizeof prefix, "%zu/", g);
            fixture_spawn_keys(fx, rng_below(&rng, 2) ? "a" : "b", input, prefix, 0, backlog[g]);
        }
        fixture_start(fx);
        fixture_guard(fx);
        while (fx->n_ran < total) {
            uv_run(&fx->loop, fx->n_held && !waits_for_runs(fx) ? UV_RUN_NOWAIT : UV_RUN_ONCE);
            if (fx->n_held && !waits_for_runs(fx) && rng_below(&rng, 2))
                froe_task_succeed(fixture_release(fx, (size_t)rng_below(&rng, fx->n_held)));
            assert_false(fx->timed_out);
        }
        while (fx->n_held)
            froe_task_succeed(fixture_release(fx, 0));
        for (size_t i = 0; i < fx->n_ran; i++) {
            size_t g = (size_t)atoi(fx->ran[i].group);
            /* Once all others had a turn, and the slots were free for it, it is its turn. */
            if (started[g] > 0 && i - last[g] > 2 * groups + fx->options.slots)
                fail_msg("group %zu waited for %zu starts of others; %zu groups, %u slots, seed %ju", g, i - last[g],
                         groups, fx->options.slots, (uintmax_t)seed);
            started[g]++;
            last[g] = i;
        }
        fixture_close(fx);
        fixture_remove(fx);
        free(fx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worlds),
        cmocka_unit_test(test_rotation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
