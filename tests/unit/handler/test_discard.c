/* test_discard.c - the handler that keeps nothing. */
#include "support.h"

static int discard_up(void **state) {
    world_up(state);
    struct world *world = *state;
    return handler_discard_new(&world->loop, &world->handler);
}

static void test_takes_everything(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    assert_string_equal(handler_describe(world->handler), "discard");
    attempt_start(world, &attempt, &plain_object);
    for (int i = 0; i < 1000; i++)
        assert_true(attempt_write(&attempt, BYTES("some of the body")));
    run_for_ms(world, 5);
    assert_false(attempt.done); /* not before the body was verified */
    attempt_finish(&attempt);
    attempt_ends(world, &attempt, HANDLER_OK);
    assert_int_equal(attempt.rooms + attempt.earlies, 0);
    attempt_free(&attempt);
}

static void test_abort(void **state) {
    struct world *world = *state;
    struct attempt first, second;
    char reason[] = "the download failed";
    attempt_start(world, &first, &plain_object);
    attempt_abort(&first, reason);
    memset(reason, 'x', sizeof reason - 1); /* it was copied */
    attempt_abort(&first, "again");
    attempt_ends(world, &first, HANDLER_ABORTED);
    assert_string_equal(first.text, "the download failed");
    attempt_start(world, &second, &plain_object);
    attempt_finish(&second);
    attempt_abort(&second, "too late is not too late"); /* `done` had not come yet */
    attempt_ends(world, &second, HANDLER_ABORTED);
    attempt_free(&first);
    attempt_free(&second);
}

static void test_many_at_once(void **state) {
    struct world *world = *state;
    static struct attempt attempts[1000];
    for (size_t i = 0; i < 1000; i++) {
        attempt_start(world, &attempts[i], &plain_object);
        attempt_finish(&attempts[i]);
    }
    for (size_t i = 0; i < 1000; i++) {
        attempt_ends(world, &attempts[i], HANDLER_OK);
        attempt_free(&attempts[i]);
    }
}

static void test_without_memory(void **state) {
    struct world *world = *state;
    struct handler_job *job = NULL;
    struct err err = {0};
    mem_fail_at(1, 0);
    int r = handler_start(world->handler, &plain_object, &(struct handler_events){0}, NULL, &job, &err);
    mem_fail_at(0, 0);
    assert_int_equal(r, -ENOMEM);
    assert_null(job);
    struct attempt attempt;
    attempt_start(world, &attempt, &plain_object);
    mem_fail_at(1, 0);
    attempt_abort(&attempt, "a reason");
    mem_fail_at(0, 0);
    attempt_ends(world, &attempt, HANDLER_ABORTED);
    assert_string_equal(attempt.text, "aborted");
    attempt_free(&attempt);
}

int main(int argc, char **argv) {
    spawner_main_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_takes_everything, discard_up, world_down),
        cmocka_unit_test_setup_teardown(test_abort, discard_up, world_down),
        cmocka_unit_test_setup_teardown(test_many_at_once, discard_up, world_down),
        cmocka_unit_test_setup_teardown(test_without_memory, discard_up, world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
