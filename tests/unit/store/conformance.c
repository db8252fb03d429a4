/* conformance.c - runs all parts of the conformance suite over one store. */
#include "conformance_steps.h"

#include "mem.h"

static struct store_under_test *under_test; /* cmocka's group setup takes no argument */

static int group_setup(void **state) {
    *state = under_test;
    return 0;
}

int conformance_run(struct store_under_test *sut) {
    const struct {
        const struct CMUnitTest *tests;
        size_t n;
    } parts[] = {
        {conformance_runs, conformance_runs_n},         {conformance_turns, conformance_turns_n},
        {conformance_pieces, conformance_pieces_n},     {conformance_rest, conformance_rest_n},
        {conformance_orders, conformance_orders_n},     {conformance_cancel, conformance_cancel_n},
        {conformance_progress, conformance_progress_n}, {conformance_rates, conformance_rates_n},
        {conformance_history, conformance_history_n},   {conformance_duplicates, conformance_duplicates_n},
        {conformance_lanes, conformance_lanes_n},       {conformance_checkpoints, conformance_checkpoints_n},
        {conformance_random, conformance_random_n},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        n += parts[i].n;
    struct CMUnitTest *tests = mem_calloc(n, sizeof *tests);
    if (!tests)
        return 1;
    for (size_t i = 0, at = 0; i < sizeof parts / sizeof parts[0]; at += parts[i].n, i++)
        memcpy(tests + at, parts[i].tests, parts[i].n * sizeof *tests);
    under_test = sut;
    int failed = _cmocka_run_group_tests("store conformance", tests, n, group_setup, NULL);
    mem_free(tests);
    return failed;
}
