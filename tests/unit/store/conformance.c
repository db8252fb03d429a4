/* conformance.c - runs all parts of the conformance suite over one store. */
#include "conformance_steps.h"

#include "mem.h"

#include <stdio.h>

static struct store_under_test *under_test; /* cmocka's group setup takes no argument */

static int group_setup(void **state) {
    *state = under_test;
    return 0;
}

/* Takes the tests that are to be left out from the n ones; how many are left, or 0 when there is no test of a name. */
static size_t leave_out(struct CMUnitTest *tests, size_t n, const char *const *names) {
    for (; names && *names; names++) {
        size_t i = 0;
        while (i < n && strcmp(tests[i].name, *names) != 0)
            i++;
        if (i == n) {
            fprintf(stderr, "there is no test %s\n", *names);
            return 0;
        }
        memmove(tests + i, tests + i + 1, (--n - i) * sizeof *tests);
    }
    return n;
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
        {conformance_lookups, conformance_lookups_n},   {conformance_random, conformance_random_n},
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
    n = leave_out(tests, n, sut->leave_out);
    int failed = n == 0 ? 1 : _cmocka_run_group_tests("store conformance", tests, n, group_setup, NULL);
    mem_free(tests);
    return failed;
}
