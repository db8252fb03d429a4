/* test_progress.c - the picture of a drain, drawn into a pipe in place of a terminal and read back by a little
 * terminal. */
#include "progress.h"

#include "mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#define ROWS 24 /* what progress takes for a terminal that does not tell its size */
#define COLUMNS 80
#define LINES_MAX 400

struct world {
    uv_loop_t loop;
    struct clock clock;
    int64_t mono_us;
    struct log log;
    struct buf logged;
    int read_fd, write_fd;
    struct progress *progress;
    struct pipeline_bucket buckets[200];
    froe_group groups[200];
    char names[200][64];
    size_t n;
    bool complete;
    /* The little terminal: all lines ever, and the one that is written to. */
    char screen[LINES_MAX][COLUMNS + 40];
    size_t line, bottom, column;
    struct buf raw;
};

/* ---- instead of pipeline and engine ---- */

static struct world *the_world; /* the functions below are given no argument of ours */

void pipeline_buckets_each(struct pipeline *pipeline, void (*each)(void *arg, const struct pipeline_bucket *bucket),
                           void *arg) {
    for (size_t i = the_world->n; i-- > 0;) /* in no particular order */
        each(arg, &the_world->buckets[i]);
}

bool pipeline_listing_complete(const struct pipeline *pipeline) {
    return the_world->complete;
}

void froe_group_get(froe *froe_, const char *workflow, const char *group, froe_group *ret_group) {
    assert_string_equal(workflow, PIPELINE_PROCESS_OBJECT);
    *ret_group = (froe_group){0};
    for (size_t i = 0; i < the_world->n; i++)
        if (strcmp(the_world->names[i], group) == 0)
            *ret_group = the_world->groups[i];
}

/* ---- the world ---- */

static int64_t mono(void *arg) {
    return ((struct world *)arg)->mono_us;
}

static int64_t utc(void *arg) {
    return 0;
}

static void keep(void *arg, enum log_level level, struct bytes line) {
    struct world *world = arg;
    buf_add_bytes(&world->logged, line);
    buf_add_byte(&world->logged, '\n');
}

static int up(void **state) {
    struct world *world = calloc(1, sizeof *world);
    int fds[2];
    assert_non_null(world);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    fcntl(fds[1], F_SETPIPE_SZ, 1024 * 1024);
    world->read_fd = fds[0];
    world->write_fd = fds[1];
    assert_int_equal(uv_loop_init(&world->loop), 0);
    world->mono_us = US_PER_S;
    world->clock = (struct clock){utc, mono, world};
    world->log = (struct log){
        .level = LOG_INFO, .format = LOG_TEXT, .fd = -1, .clock = &world->clock, .sink = keep, .sink_arg = world};
    the_world = world;
    *state = world;
    return 0;
}

static void begin(struct world *world, bool terminal) {
    const struct progress_options options = {
        .log = &world->log, .terminal_fd = terminal ? world->write_fd : -1, .clock = &world->clock};
    struct err err = {0};
    assert_int_equal(progress_new(&world->loop, &options, &world->progress, &err), 0);
}

static void end(struct world *world, bool drained) {
    progress_end(world->progress, drained);
    world->progress = NULL;
}

static int down(void **state) {
    struct world *world = *state;
    end(world, false); /* when the test did not come so far */
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    close(world->read_fd);
    close(world->write_fd);
    buf_free(&world->logged);
    buf_free(&world->raw);
    free(world);
    return 0;
}

static struct pipeline_bucket *add(struct world *world, const char *name, uint64_t listed, uint64_t done) {
    size_t i = world->n++;
    snprintf(world->names[i], sizeof world->names[i], "%s", name);
    world->buckets[i] = (struct pipeline_bucket){
        .name = bytes_str(world->names[i]), .listed = listed, .done = done, .bytes = done * 10, .limit = UINT32_MAX};
    world->groups[i] = (froe_group){.live = listed - done};
    return &world->buckets[i];
}

/* ---- the little terminal ---- */

static void put(struct world *world, char c) {
    assert_true(c >= ' ' && c <= '~'); /* nothing that moves the cursor by surprise */
    assert_true(world->column < COLUMNS);
    world->screen[world->line][world->column++] = c;
}

static void newline(struct world *world) {
    world->line++;
    world->column = 0;
    assert_true(world->line < LINES_MAX - 1);
    if (world->line > world->bottom)
        world->bottom = world->line;
}

/* CSI n A (up) and CSI J (clear below) are all it may use. */
static const char *escape(struct world *world, const char *at) {
    assert_int_equal(at[1], '[');
    char *end;
    unsigned long n = strtoul(at + 2, &end, 10);
    if (*end == 'A') {
        assert_in_range(n, 1, ROWS - 1); /* the cursor cannot go above the screen */
        assert_true(n <= world->line);
        world->line -= n;
    } else {
        assert_int_equal(*end, 'J');
        for (size_t i = world->line; i <= world->bottom; i++)
            memset(world->screen[i] + (i == world->line ? world->column : 0), 0,
                   sizeof world->screen[i] - (i == world->line ? world->column : 0));
        world->bottom = world->line;
    }
    return end + 1;
}

static void look(struct world *world) {
    char chunk[65536];
    buf_reset(&world->raw);
    for (ssize_t n; (n = read(world->read_fd, chunk, sizeof chunk)) > 0;)
        buf_add(&world->raw, chunk, (size_t)n);
    for (const char *at = world->raw.p; at && at < world->raw.p + world->raw.n;) {
        if (*at == '\x1b') {
            at = escape(world, at);
            continue;
        }
        if (*at == '\n')
            newline(world);
        else if (*at == '\r')
            world->column = 0;
        else
            put(world, *at);
        at++;
    }
    assert_int_equal(world->column, 0); /* each drawing ends at the start of a line */
}

static size_t lines(const struct world *world) {
    return world->line;
}

static const char *line_with(const struct world *world, const char *text) {
    const char *found = NULL;
    for (size_t i = 0; i < world->line; i++)
        if (strstr(world->screen[i], text)) {
            assert_null(found); /* each thing is there once */
            found = world->screen[i];
        }
    return found;
}

/* A drawing, without waiting for the timer. */
static void draw(struct world *world) {
    log_info(&world->log, "tick"); /* a line redraws the picture below it */
    look(world);
}

static int drawn(const struct world *world) {
    int n = 0;
    assert_int_equal(ioctl(world->read_fd, FIONREAD, &n), 0);
    return n;
}

static void wait_for_tick(struct world *world, int64_t after_us) {
    int before = drawn(world);
    world->mono_us += after_us;
    while (drawn(world) == before)
        uv_run(&world->loop, UV_RUN_ONCE); /* may return a little before the timer is due */
}

static void test_a_row_per_bucket(void **state) {
    struct world *world = *state;
    begin(world, true);
    add(world, "bucket-b", 1000, 250)->failed = 3;
    add(world, "bucket-a", 10, 10)->listing = LISTING_COMPLETE;
    wait_for_tick(world, US_PER_S);
    look(world);
    assert_int_equal(lines(world), 3);
    assert_non_null(strstr(world->screen[0], "bucket-a")); /* by name */
    assert_non_null(strstr(world->screen[0], "[#########]"));
    assert_non_null(strstr(world->screen[0], "10/10"));
    assert_null(strstr(world->screen[0], "listing"));
    assert_non_null(strstr(world->screen[1], "bucket-b"));
    assert_non_null(strstr(world->screen[1], "[##.......]"));
    assert_non_null(strstr(world->screen[1], "250/1000"));
    assert_non_null(strstr(world->screen[1], "failed 3"));
    assert_non_null(strstr(world->screen[1], "listing"));
    assert_non_null(strstr(world->screen[2], "all so far"));
    assert_non_null(strstr(world->screen[2], "260/1010"));
    assert_null(strstr(world->screen[2], "ETA")); /* the listing is not complete */
    end(world, false);
}

static void test_is_redrawn_in_place(void **state) {
    struct world *world = *state;
    begin(world, true);
    struct pipeline_bucket *bucket = add(world, "bucket-a", 1000, 0);
    for (uint64_t done = 0; done <= 1000; done += 250) {
        bucket->done = done;
        world->groups[0].live = 1000 - done;
        wait_for_tick(world, US_PER_S);
        look(world);
        assert_int_equal(lines(world), 2);
    }
    add(world, "bucket-c", 5, 0); /* one more row */
    wait_for_tick(world, US_PER_S);
    look(world);
    assert_int_equal(lines(world), 3);
    world->n = 1; /* and one less: the engine may forget, but the picture keeps what it has seen */
    wait_for_tick(world, US_PER_S);
    look(world);
    assert_int_equal(lines(world), 3);
    end(world, true);
}

static void test_rate_and_eta(void **state) {
    struct world *world = *state;
    begin(world, true);
    struct pipeline_bucket *bucket = add(world, "bucket-a", 10000, 0);
    bucket->listing = LISTING_COMPLETE;
    world->complete = true;
    for (int i = 0; i < 20; i++) { /* 100 a second */
        bucket->done += 100;
        world->groups[0].live -= 100;
        world->mono_us += US_PER_S;
        wait_for_tick(world, 0);
    }
    look(world);
    const char *all = line_with(world, "all ");
    assert_non_null(strstr(all, " 100/s"));
    assert_non_null(strstr(all, "ETA 1m2")); /* 8000 left */
    end(world, true);
}

static void test_many_buckets_fit_the_screen(void **state) {
    struct world *world = *state;
    begin(world, true);
    for (size_t i = 0; i < 150; i++) {
        char name[64];
        snprintf(name, sizeof name, "bucket-%03zu", i);
        add(world, name, 100, i % 2 ? 100 : 50); /* every second one is done */
    }
    for (int i = 0; i < 3; i++) {
        wait_for_tick(world, US_PER_S);
        look(world);
        assert_in_range(lines(world), 10, ROWS - 1);
        assert_non_null(line_with(world, "of 150 buckets"));
        assert_non_null(line_with(world, "11250/15000"));
        assert_non_null(line_with(world, "bucket-000")); /* one with work */
        assert_null(line_with(world, "bucket-001"));     /* one without */
    }
    for (size_t i = 0; i < 150; i++)
        world->groups[i].live = 0;
    wait_for_tick(world, US_PER_S);
    look(world);
    assert_int_equal(lines(world), 2); /* none has work */
    end(world, true);
}

static void test_long_rows_are_cut(void **state) {
    struct world *world = *state;
    begin(world, true);
    struct pipeline_bucket *bucket = add(world, "bucket-with-a-name-of-sixty-three-characters-which-is-the-most",
                                         UINT64_C(99999999999), 12345678901);
    bucket->failed = 9999999999;
    bucket->throttled = true;
    wait_for_tick(world, US_PER_S);
    look(world); /* put() refuses a column too many */
    assert_int_equal(lines(world), 2);
    end(world, false);
}

static void test_log_lines_stand_above_the_picture(void **state) {
    struct world *world = *state;
    begin(world, true);
    add(world, "bucket-a", 10, 5);
    wait_for_tick(world, US_PER_S);
    look(world);
    draw(world);
    draw(world);
    assert_int_equal(lines(world), 4);
    assert_non_null(strstr(world->screen[0], "tick"));
    assert_non_null(strstr(world->screen[1], "tick"));
    assert_non_null(strstr(world->screen[2], "bucket-a"));
    assert_non_null(strstr(world->screen[3], "all"));
    end(world, true);
    look(world);
    assert_non_null(strstr(world->logged.p, "drained")); /* the log is given back before the summary */
    log_info(&world->log, "after");
    assert_non_null(strstr(world->logged.p, "after"));
}

static void test_terminal_that_is_gone_stops_nothing(void **state) {
    struct world *world = *state;
    begin(world, true);
    add(world, "bucket-a", 10, 5);
    fcntl(world->write_fd, F_SETPIPE_SZ, 4096);
    for (int i = 0; i < 100; i++) /* nobody reads: the pipe is full */
        log_info(&world->log, "a line that nobody sees, which is rather long so that the pipe is full soon enough");
    end(world, true);
    assert_non_null(strstr(world->logged.p, "drained"));
}

static void test_elsewhere_it_is_a_log_line(void **state) {
    struct world *world = *state;
    begin(world, false);
    add(world, "bucket-a", 100, 60)->failed = 2;
    struct pipeline_bucket *other = add(world, "bucket-b", 50, 50);
    other->skipped[SKIP_NO_RULE] = 3;
    other->skipped[SKIP_EXCLUDED] = 4;
    world->groups[0].parked = 1;
    world->mono_us += 10 * US_PER_S;
    end(world, true);
    assert_non_null(strstr(world->logged.p,
                           "drained objects=110 buckets=2 failed_attempts=2 parked=1 left=40 bytes=1100 "
                           "results=0 skipped=7 no_rule=3 seconds=10 rate=11"));
    assert_non_null(strstr(world->logged.p, "froe parked list"));
    char byte;
    assert_true(read(world->read_fd, &byte, 1) < 0); /* nothing is drawn */
    buf_reset(&world->logged);
    begin(world, false);
    end(world, false);
    assert_non_null(strstr(world->logged.p, "stopped objects=110"));
    progress_end(NULL, true);
}

static void test_any_allocation_may_fail(void **state) {
    struct world *world = *state;
    const struct progress_options options = {
        .log = &world->log, .terminal_fd = world->write_fd, .clock = &world->clock};
    for (size_t i = 0; i < 30; i++) {
        char name[64];
        snprintf(name, sizeof name, "bucket-%03zu", i);
        add(world, name, 100, 50);
    }
    for (uint64_t n = 1; n < 60; n++) {
        struct progress *progress = NULL;
        struct err err = {0};
        mem_fail_at(n, 0);
        int r = progress_new(&world->loop, &options, &progress, &err);
        if (r == 0) {
            log_info(&world->log, "line");
            progress_end(progress, true);
        }
        mem_fail_at(0, 0);
        assert_int_equal(r, n == 1 ? -12 /* ENOMEM */ : 0);
        assert_ptr_equal(world->log.sink, keep);
        char chunk[65536];
        while (read(world->read_fd, chunk, sizeof chunk) > 0)
            ;
        uv_run(&world->loop, UV_RUN_DEFAULT);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_row_per_bucket),
        TEST(test_is_redrawn_in_place),
        TEST(test_rate_and_eta),
        TEST(test_many_buckets_fit_the_screen),
        TEST(test_long_rows_are_cut),
        TEST(test_log_lines_stand_above_the_picture),
        TEST(test_terminal_that_is_gone_stops_nothing),
        TEST(test_elsewhere_it_is_a_log_line),
        TEST(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
