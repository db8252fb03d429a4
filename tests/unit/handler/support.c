/* support.c - see support.h. */
#include "support.h"

#include "cleanup.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

const struct handler_object plain_object = {
    .bucket = BYTES("bucket-1"),
    .key = BYTES("a key"),
    .etag = BYTES("\"abc\""),
    .size = 5,
    .attempt = 1,
    .run_id = "7:3",
};

int world_up(void **state) {
    signal(SIGPIPE, SIG_IGN); /* what handler.h asks of a process */
    struct world *world = calloc(1, sizeof *world);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    strcpy(world->directory, "/tmp/froe-handler-XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    setenv("AWS_SECRET_ACCESS_KEY", "not-for-programs", 1);
    struct err err = {0};
    if (spawner_new(&world->loop, -1, NULL, &world->spawner, &err) < 0)
        fail_msg("%s", err.text);
    *state = world;
    return 0;
}

static void count_down(void *arg) {
    struct world *world = arg;
    world->down++;
}

static void remove_directory(const char *path) {
    DIR *directory = opendir(path);
    for (struct dirent *entry; (entry = readdir(directory));)
        unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(path);
}

int world_down(void **state) {
    struct world *world = *state;
    if (world->spawner)
        kill(spawner_pid(world->spawner), SIGCONT); /* a test that failed may have left it stopped */
    handler_close(world->handler, count_down, world);
    while (world->down < 1)
        uv_run(&world->loop, UV_RUN_ONCE);
    spawner_close(world->spawner, count_down, world);
    while (world->down < 2)
        uv_run(&world->loop, UV_RUN_ONCE);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0); /* no handle was forgotten */
    remove_directory(world->directory);
    free(world);
    return 0;
}

static void set_flag(uv_timer_t *timer) {
    *(bool *)timer->data = true;
}

static void run_with_timer(struct world *world, const bool *flag, uint64_t ms, bool *over) {
    uv_timer_t timer;
    uv_timer_init(&world->loop, &timer);
    timer.data = over;
    /* Repeating, as UV_RUN_ONCE waits for events even when a timer was due at its start. */
    uv_timer_start(&timer, set_flag, ms, 10);
    while (!*flag && !*over)
        uv_run(&world->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&world->loop, UV_RUN_NOWAIT);
}

void run_until(struct world *world, const bool *flag) {
    bool over = false;
    run_with_timer(world, flag, 60000, &over);
    if (!*flag)
        fail_msg("nothing happened for a minute");
}

void run_for_ms(struct world *world, uint64_t ms) {
    bool never = false, over = false;
    run_with_timer(world, &never, ms, &over);
}

void keep_results(struct world *world, uint64_t budget_bytes, uint64_t max_bytes) {
    world->budget.max_bytes = budget_bytes;
    world->results = (struct handler_results){&world->budget, world->directory, max_bytes};
    world->keeps = true;
}

void use_script(struct world *world, const char *script, int64_t kill_grace_us) {
    assert_null(world->handler);
    char *text = NULL;
    assert_true(asprintf(&text, "D=%s\n%s", world->directory, script) > 0);
    const char *const argv[] = {"sh", "-c", text, NULL};
    struct handler_program_options options = {.argv = argv,
                                              .spawner = world->spawner,
                                              .kill_grace_us = kill_grace_us,
                                              .results = world->keeps ? &world->results : NULL};
    struct err err = {0};
    if (handler_program_new(&world->loop, &options, &world->handler, &err) < 0)
        fail_msg("%s", err.text);
    free(text);
}

static void on_room(void *arg) {
    struct attempt *attempt = arg;
    assert_false(attempt->inside);
    assert_false(attempt->done);
    attempt->rooms++;
    attempt->room = true;
}

static void on_early(void *arg, bool ended) {
    struct attempt *attempt = arg;
    assert_false(attempt->inside);
    assert_false(attempt->done);
    attempt->earlies++;
    attempt->early = true;
    attempt->early_ended = ended;
}

static void copy_text(char *to, size_t size, struct bytes text) {
    assert_true(text.n < size);
    memcpy(to, text.p ? text.p : "", text.n);
    to[text.n] = '\0';
}

static void take_part(struct attempt *attempt, const struct handler_part *part) {
    assert_true(attempt->n_parts < HANDLER_PARTS_MAX);
    struct attempt_part *taken = &attempt->parts[attempt->n_parts++];
    copy_text(taken->name, sizeof taken->name, part->name);
    copy_text(taken->content_type, sizeof taken->content_type, part->content_type);
    copy_text(taken->extension, sizeof taken->extension, part->extension);
    taken->body = *part->body;
    spool_init(part->body, part->body->budget, part->body->directory);
}

static void on_done(void *arg, const struct handler_result *result) {
    struct attempt *attempt = arg;
    assert_false(attempt->inside);
    assert_false(attempt->done);
    attempt->done = true;
    attempt->end = result->end;
    attempt->text = strdup(result->text);
    attempt->job = NULL;
    assert_true(result->end == HANDLER_OK || result->n_parts == 0);
    for (size_t i = 0; i < result->n_parts; i++)
        take_part(attempt, &result->parts[i]);
}

int attempt_try(struct world *world, struct attempt *attempt, const struct handler_object *object, struct err *err) {
    static const struct handler_events events = {.room = on_room, .early = on_early, .done = on_done};
    *attempt = (struct attempt){.inside = true};
    int r = handler_start(world->handler, object, &events, attempt, &attempt->job, err);
    attempt->inside = false;
    return r;
}

void attempt_start(struct world *world, struct attempt *attempt, const struct handler_object *object) {
    struct err err = {0};
    if (attempt_try(world, attempt, object, &err) < 0)
        fail_msg("%s", err.text);
}

bool attempt_write(struct attempt *attempt, struct bytes piece) {
    attempt->inside = true;
    bool more = handler_write(attempt->job, piece);
    attempt->inside = false;
    if (!more)
        attempt->room = false;
    return more;
}

void attempt_finish(struct attempt *attempt) {
    attempt->inside = true;
    handler_finish(attempt->job);
    attempt->inside = false;
}

void attempt_abort(struct attempt *attempt, const char *reason) {
    attempt->inside = true;
    handler_abort(attempt->job, reason);
    attempt->inside = false;
}

void attempt_ends(struct world *world, struct attempt *attempt, enum handler_end end) {
    run_until(world, &attempt->done);
    if (attempt->end != end)
        fail_msg("end %d instead of %d: %s", attempt->end, end, attempt->text);
    if (end == HANDLER_OK)
        assert_string_equal(attempt->text, "");
}

void attempt_free(struct attempt *attempt) {
    free(attempt->text);
    attempt->text = NULL;
    for (size_t i = 0; i < attempt->n_parts; i++)
        spool_free(&attempt->parts[i].body);
    attempt->n_parts = 0;
}

void part_is(const struct attempt *attempt, size_t i, const char *name, struct bytes body) {
    assert_true(i < attempt->n_parts);
    const struct attempt_part *part = &attempt->parts[i];
    assert_string_equal(part->name, name);
    assert_int_equal(part->body.n, body.n);
    _cleanup_free_ char *got = mem_alloc(body.n);
    assert_int_equal(spool_read(&part->body, 0, got, body.n), body.n);
    assert_true(bytes_equal(bytes_of(got, body.n), body));
}

void file_path(const struct world *world, const char *name, char path[static 128]) {
    snprintf(path, 128, "%s/%s", world->directory, name);
}

bool file_exists(const struct world *world, const char *name) {
    char path[128];
    file_path(world, name, path);
    return access(path, F_OK) == 0;
}

char *file_read(const struct world *world, const char *name, size_t *ret_n) {
    char path[128];
    file_path(world, name, path);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file)
        return NULL;
    _cleanup_buf_ struct buf content = {0};
    assert_int_equal(buf_add(&content, "", 0), 0);
    char piece[65536];
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        assert_int_equal(buf_add(&content, piece, n), 0);
    if (ret_n)
        *ret_n = content.n;
    return buf_detach(&content);
}

pid_t file_pid(struct world *world, const char *name) {
    for (int i = 0; i < 3000; i++) {
        _cleanup_free_ char *text = file_read(world, name, NULL);
        if (text && strchr(text, '\n'))
            return (pid_t)strtol(text, NULL, 10);
        run_for_ms(world, 10);
    }
    fail_msg("no pid in %s", name);
    return -1;
}

char process_state(pid_t pid) {
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file || !fgets(line, sizeof line, file))
        return 'X';
    const char *state = strrchr(line, ')');
    assert_true(state && state[1] == ' ');
    return state[2];
}

bool is_dead(pid_t pid) {
    char state = process_state(pid);
    return state == 'Z' || state == 'X';
}

bool dies(struct world *world, pid_t pid) {
    for (int i = 0; i < 6000 && !is_dead(pid); i++)
        run_for_ms(world, 10);
    return is_dead(pid);
}

size_t count_fds(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    if (!directory)
        return 0;
    size_t n = 0;
    while (readdir(directory))
        n++;
    closedir(directory);
    return n;
}
