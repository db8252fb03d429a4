/* test_program_end.c - exit codes, signals and failures to start, in words. */
#include "support.h"

#include "cleanup.h"
#include "program_end.h"

#include <signal.h>

static void means(struct spawn_exit exit, enum handler_end end, const char *text) {
    struct stderr_tail nothing = {0}, something = {0};
    assert_int_equal(program_end(&exit), end);
    _cleanup_buf_ struct buf alone = {0};
    assert_int_equal(program_end_text(&exit, "/bin/x\n", &nothing, &alone), 0);
    assert_string_equal(alone.p, text);
    stderr_tail_add(&something, BYTES("boom\n"));
    _cleanup_buf_ struct buf both = {0};
    assert_int_equal(program_end_text(&exit, "/bin/x\n", &something, &both), 0);
    assert_true(bytes_starts(buf_bytes(&both), buf_bytes(&alone)));
    assert_string_equal(both.p + alone.n, ": boom");
    stderr_tail_free(&something);
}

static void test_words(void **state) {
    means((struct spawn_exit){.status = 0}, HANDLER_OK, "exit status 0");
    means((struct spawn_exit){.status = 75 << 8}, HANDLER_AGAIN, "exit status 75");
    means((struct spawn_exit){.status = 1 << 8}, HANDLER_FAILED, "exit status 1");
    means((struct spawn_exit){.status = 255 << 8}, HANDLER_FAILED, "exit status 255");
    means((struct spawn_exit){.status = SIGKILL}, HANDLER_FAILED, "killed by signal 9 (SIGKILL)");
    means((struct spawn_exit){.status = SIGSEGV | 0x80}, HANDLER_FAILED, "killed by signal 11 (SIGSEGV)");
    means((struct spawn_exit){.status = 40}, HANDLER_FAILED, "killed by signal 40");
    means((struct spawn_exit){.start_error = EPIPE}, HANDLER_NOT_RUN, "the process that starts programs died");
    means((struct spawn_exit){.start_error = EAGAIN}, HANDLER_NOT_RUN,
          "cannot run '/bin/x\\x0a': Resource temporarily unavailable");
    means((struct spawn_exit){.start_error = EMFILE}, HANDLER_NOT_RUN, "cannot run '/bin/x\\x0a': Too many open files");
    means((struct spawn_exit){.start_error = EACCES}, HANDLER_FAILED, "cannot run '/bin/x\\x0a': Permission denied");
    means((struct spawn_exit){.start_error = ENOEXEC}, HANDLER_FAILED,
          "cannot run '/bin/x\\x0a': Exec format error (is its first line, #!, missing?)");
    means((struct spawn_exit){.start_error = ENOENT}, HANDLER_FAILED,
          "cannot run '/bin/x\\x0a': No such file or directory (it, or the interpreter that it names)");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
