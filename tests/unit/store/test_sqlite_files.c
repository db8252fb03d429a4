/* test_sqlite_files.c - the SQLite store and the file system: who may open what, what is refused and how, how much
 * space is used. */
#include "mem.h"
#include "old_format.h"
#include "rng.h"
#include "workload.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct store_options no_wait = {.lock_wait_us = -1};
static const struct store_options no_history = {.lock_wait_us = -1, .history_us = -1};

static int setup(void **state) {
    struct sqlite_place *place = mem_zalloc(sizeof *place);
    assert_non_null(place);
    sqlite_place_make(place);
    *state = place;
    return 0;
}

static int teardown(void **state) {
    sqlite_place_remove(*state);
    mem_free(*state);
    return 0;
}

static struct store *open_with(struct sqlite_place *place, const struct store_options *options) {
    struct store *store = NULL;
    struct err err = {0};
    if (sqlite_place_open(place, options, &store, &err) < 0)
        fail_msg("%s", err.text);
    return store;
}

static struct store *open_it(struct sqlite_place *place) {
    return open_with(place, &no_wait);
}

/* Cannot be opened: with this code, and a text that has these words and names the file. */
static void assert_refused(struct sqlite_place *place, int code, const char *words) {
    struct store *store = NULL;
    struct err err = {0};
    int r = sqlite_place_open(place, &no_wait, &store, &err);
    if (r != code || !strstr(err.text, words) || !strstr(err.text, place->path))
        fail_msg("%d %s", r, err.text);
    assert_null(store);
}

static void put_value(struct store *store, const char *name, const char *value) {
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_value_put(store, bytes_str(name), bytes_str(value), NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
}

static void assert_value(struct store *store, const char *name, const char *value) {
    struct buf buf = {0};
    bool found = false;
    assert_int_equal(store_value_get(store, bytes_str(name), &buf, &found, NULL), 0);
    assert_true(found);
    assert_string_equal(buf.p, value);
    buf_free(&buf);
}

/* ---- making ---- */

static unsigned mode_of(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void made_for_its_owner_alone(void **state) {
    struct sqlite_place *place = *state, inside = {0};
    char name[160];
    mode_t before = umask(022);
    snprintf(name, sizeof name, "%s/a", place->folder);
    assert_true(strlen(name) < sizeof inside.folder);
    strcpy(inside.folder, name);
    snprintf(inside.path, sizeof inside.path, "%s/a/b/s.db", place->folder);
    struct store *store = open_it(&inside);
    put_value(store, "n", "v");
    assert_int_equal(mode_of(inside.folder), 0700);
    snprintf(name, sizeof name, "%s/a/b", place->folder);
    assert_int_equal(mode_of(name), 0700);
    assert_int_equal(mode_of(inside.path), 0600);
    static const char *const others[] = {"-wal", ".lock"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s", inside.path, others[i]);
        assert_int_equal(mode_of(name), 0600);
    }
    store_close(store);
    umask(before);
    sqlite_place_wipe(&inside);
    snprintf(name, sizeof name, "%s/a/b", place->folder);
    assert_int_equal(rmdir(name), 0);
    assert_int_equal(rmdir(inside.folder), 0);
}

static void a_name_is_only_a_name(void **state) {
    struct sqlite_place *place = *state;
    static const char *const names[] = {":memory:", "file:x?mode=memory", "-dash", "with space & ?"};
    char before[4096], name[64];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(place->folder), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct store *store = NULL;
        snprintf(name, sizeof name, "sqlite:%s", names[i]);
        for (int round = 0; round < 2; round++) {
            assert_int_equal(store_open(name, &no_wait, &store, NULL), 0);
            assert_non_null(strstr(store_describe(store), names[i]));
            if (round == 0)
                put_value(store, "n", "v");
            assert_value(store, "n", "v");
            store_close(store);
        }
        assert_int_equal(unlink(names[i]), 0);
        snprintf(name, sizeof name, "%s-wal", names[i]);
        assert_int_equal(unlink(name), 0);
        snprintf(name, sizeof name, "%s.lock", names[i]);
        assert_int_equal(unlink(name), 0);
    }
    assert_int_equal(chdir(before), 0);
    assert_int_equal(store_open("sqlite:", &no_wait, &(struct store *){NULL}, NULL), -EINVAL);
}

static void where_no_file_can_be(void **state) {
    struct sqlite_place *place = *state, inside = {0};
    sqlite_place_write(place, "", BYTES("a plain file"));
    snprintf(inside.path, sizeof inside.path, "%.100s/below/s.db", place->path);
    struct store *store;
    struct err err = {0};
    assert_int_equal(sqlite_place_open(&inside, &no_wait, &store, &err), STORE_ERR_IO);
    assert_non_null(strstr(err.text, place->path));
    sqlite_place_wipe(place);
    assert_int_equal(mkdir(place->path, 0700), 0);
    assert_refused(place, STORE_ERR_IO, "open");
    assert_int_equal(rmdir(place->path), 0);
    strcpy(inside.path, "/proc/no-such-place/s.db");
    assert_int_equal(sqlite_place_open(&inside, &no_wait, &store, &err), STORE_ERR_IO);
}

/* What somebody gets who is not root, whom nothing stops. */
static int opened_by_another(struct sqlite_place *place) {
    pid_t child = fork();
    if (child == 0) {
        struct store *store;
        struct err err = {0};
        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
            _exit(99);
        int r = sqlite_place_open(place, &no_wait, &store, &err);
        _exit(r == STORE_ERR_IO && strstr(err.text, place->path) ? 1 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void what_cannot_be_written(void **state) {
    struct sqlite_place *place = *state;
    assert_int_equal(chmod(place->folder, 0555), 0);
    assert_int_equal(opened_by_another(place), 1);
    assert_int_equal(chmod(place->folder, 0777), 0);
    store_close(open_it(place));
    char lock[160];
    snprintf(lock, sizeof lock, "%s.lock", place->path);
    assert_int_equal(chmod(lock, 0666), 0);
    assert_int_equal(chmod(place->path, 0444), 0);
    assert_int_equal(opened_by_another(place), 1);
}

/* ---- one at a time ---- */

static void the_second_is_told_who_is_first(void **state) {
    struct sqlite_place *place = *state;
    char pid[32];
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    struct store *store = open_it(place);
    assert_refused(place, STORE_ERR_BUSY, pid);
    put_value(store, "n", "v"); /* the first does not notice */
    store_close(store);
    store_close(open_it(place));
}

static void another_name_for_the_same_file(void **state) {
    struct sqlite_place *place = *state, other = *place;
    strcat(other.path, "2");
    assert_int_equal(symlink(place->path, other.path), 0);
    struct store *store = open_it(place);
    struct store *second;
    struct err err = {0};
    assert_int_equal(sqlite_place_open(&other, &no_wait, &second, &err), STORE_ERR_BUSY);
    put_value(store, "n", "v");
    store_close(store);
    sqlite_place_wipe(&other);
}

/* A helper process that was given the lock keeps the store taken until it is gone, also when froe itself is. */
static void helpers_keep_the_lock(void **state) {
    struct sqlite_place *place = *state;
    struct store *store = open_it(place);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    assert_true(fcntl(store_lock_fd(store), F_GETFD) & FD_CLOEXEC);
    pid_t helper = fork();
    if (helper == 0) {
        char byte;
        close(ready[1]);
        ssize_t n = read(ready[0], &byte, 1);
        usleep(100 * 1000);
        _exit((int)n);
    }
    close(ready[0]);
    store_close(store);
    assert_refused(place, STORE_ERR_BUSY, "held by another froe");
    close(ready[1]); /* the helper ends a little later: worth waiting for */
    struct store_options wait = {.lock_wait_us = 20 * US_PER_S};
    assert_int_equal(sqlite_place_open(place, &wait, &store, NULL), 0);
    int status;
    assert_int_equal(waitpid(helper, &status, 0), helper);
    store_close(store);
}

/* ---- files that are not ours, or not whole ---- */

static void sql(struct sqlite_place *place, const char *text) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void a_foreign_file_is_left_alone(void **state) {
    struct sqlite_place *place = *state;
    struct buf before = {0}, after = {0};
    char text[4096];
    memset(text, 'x', sizeof text);
    sqlite_place_write(place, "", bytes_of(text, sizeof text));
    assert_refused(place, STORE_ERR_CORRUPT, "not a database");
    sqlite_place_read(place, "", &after);
    assert_true(bytes_equal(buf_bytes(&after), bytes_of(text, sizeof text)));

    static const char *const foreign[] = {"CREATE TABLE precious(x); INSERT INTO precious VALUES(1)",
                                          "PRAGMA application_id=7", "PRAGMA user_version=7"};
    for (int i = 0; i < 3; i++) {
        sqlite_place_wipe(place);
        sql(place, foreign[i]);
        sqlite_place_read(place, "", &before);
        assert_refused(place, STORE_ERR_CORRUPT, "not froe's");
        sqlite_place_read(place, "", &after);
        assert_true(bytes_equal(buf_bytes(&after), buf_bytes(&before)));
    }
    buf_free(&before);
    buf_free(&after);
}

static void a_newer_format_is_refused(void **state) {
    struct sqlite_place *place = *state;
    store_close(open_it(place));
    sql(place, "PRAGMA user_version=99");
    assert_refused(place, STORE_ERR_CORRUPT, "newer");
    sql(place, "PRAGMA user_version=0");
    assert_refused(place, STORE_ERR_CORRUPT, "format 0");
    sql(place, "PRAGMA user_version=4; DROP TABLE page");
    assert_refused(place, STORE_ERR_CORRUPT, "page");
}

static void an_older_format_is_brought_up(void **state) {
    struct sqlite_place *place = *state;
    old_format_make(place);
    old_format_verify(place);
}

/* Format 2 had no table of checkpoints, and lanes were never idle. */
static void so_is_format_2(void **state) {
    struct sqlite_place *place = *state;
    static const struct store_options options = {
        .clock = &workload_clock, .lock_wait_us = -1, .history_bytes = 8 << 20};
    struct buf before = {0}, after = {0};
    int done;
    struct err err;
    for (int i = 0; i < 2; i++) {
        sqlite_place_wipe(place);
        assert_int_equal(workload_run(place, 9, &done, NULL, &err), 0);
        store_close(open_with(place, &options)); /* no checkpoints of leased runs are left */
        if (i == 0)                              /* claims, so that it is another store afterwards */
            assert_int_equal(workload_describe(place, &before, &err), 0);
    }
    sql(place, "DROP INDEX page_keys; UPDATE page SET first_key = NULL WHERE n = 1;"
               "DROP TABLE kept; ALTER TABLE workflow DROP COLUMN done; ALTER TABLE workflow DROP COLUMN failed;"
               "ALTER TABLE workflow DROP COLUMN cancelled; ALTER TABLE lane DROP COLUMN idle;"
               "ALTER TABLE lane DROP COLUMN last_ended; PRAGMA user_version=2");
    if (workload_describe(place, &after, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(before.p, after.p);
    struct store *store = open_it(place);
    assert_int_equal(store_check(store, &err), 0); /* which reads the table */
    store_close(store);
    buf_free(&before);
    buf_free(&after);
}

static int count_run(void *arg, const struct store_run_info *run) {
    ++*(int *)arg;
    return 0;
}

static int runs_with(struct store *store, struct bytes key) {
    int n = 0;
    struct err err;
    if (store_runs_each(store, &(struct store_runs_filter){.child_key = key}, count_run, &n, &err) < 0)
        fail_msg("%s", err.text);
    return n;
}

static void spawn_keys(struct store *store, const char *const *keys, size_t n) {
    struct store_item items[4];
    int64_t workflow;
    struct store_page page = {.items = items, .n = n};
    struct store_spawned spawned;
    for (size_t i = 0; i < n; i++)
        items[i] = (struct store_item){.child_key = bytes_str(keys[i])};
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_workflow_put(store, BYTES("w"), NULL, 0, &workflow, NULL), 0);
    page.workflow = workflow;
    assert_int_equal(store_spawn(store, &page, &spawned, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    assert_int_equal(spawned.created, n);
}

/* Format 3 had no index of what a child key is looked for in, and nothing was noted of the key of a page of one. */
static void so_is_format_3(void **state) {
    struct sqlite_place *place = *state;
    static const char *const old[] = {"one", "many-1", "many-2", ""}, *const new[] = {"two", "more-1", "more-2", ""};
    struct store *store = open_it(place);
    spawn_keys(store, old, 1);
    spawn_keys(store, old + 1, 2);
    spawn_keys(store, old + 3, 1);
    store_close(store);
    sql(place, "DROP INDEX page_keys; UPDATE page SET first_key = NULL WHERE n = 1; PRAGMA user_version=3");
    for (int round = 0; round < 2; round++) {
        store = open_it(place);
        if (round == 0) {
            spawn_keys(store, new, 1);
            spawn_keys(store, new + 1, 2);
            spawn_keys(store, new + 3, 1);
        }
        for (int i = 0; i < 3; i++) {
            assert_int_equal(runs_with(store, bytes_str(old[i])), 1);
            assert_int_equal(runs_with(store, bytes_str(new[i])), 1);
        }
        assert_int_equal(runs_with(store, BYTES("on")), 0);
        assert_int_equal(runs_with(store, BYTES("many-15")), 0);
        assert_int_equal(store_check(store, NULL), 0);
        store_close(store);
    }
}

static void fill(struct sqlite_place *place, struct buf *content) {
    int done;
    struct err err;
    assert_int_equal(workload_run(place, 9, &done, NULL, &err), 0);
    sqlite_place_read(place, "", content);
}

/* A file is refused when something of it is missing (the end of it may have been free). */
static void a_truncated_file_is_refused(void **state) {
    struct sqlite_place *place = *state;
    struct buf content = {0}, whole = {0}, text = {0};
    struct err err = {0};
    int refused = 0;
    fill(place, &content);
    assert_int_equal(workload_describe(place, &whole, &err), 0);
    assert_true(content.n > 10 * 4096);
    for (size_t n = 2; n < content.n; n += n < 200 ? 37 : 1777) {
        sqlite_place_wipe(place);
        sqlite_place_write(place, "", bytes_of(content.p, n));
        int r = workload_describe(place, &text, &err);
        if (r != STORE_ERR_CORRUPT && (r < 0 || !bytes_equal(buf_bytes(&text), buf_bytes(&whole))))
            fail_msg("%zu of %zu bytes: %d %s", n, content.n, r, err.text);
        refused += r < 0;
    }
    assert_true(refused > 20);
    buf_free(&content);
    buf_free(&whole);
    buf_free(&text);
}

/* Damage of what the file is made of is found when the store is opened or when the damaged place is read, or does not
 * matter. (Bytes within a key or an input are not summed up: SQLite has no check for those.) None makes the program
 * crash. */
static void damage_is_found_or_harmless(void **state) {
    struct sqlite_place *place = *state;
    struct buf content = {0}, damaged = {0}, text = {0};
    struct rng rng;
    int found = 0;
    fill(place, &content);
    rng_seed(&rng, 5);
    for (int i = 0; i < 400; i++) {
        buf_reset(&damaged);
        assert_int_equal(buf_add_bytes(&damaged, buf_bytes(&content)), 0);
        size_t at = rng_below(&rng, damaged.n), n = 1 + rng_below(&rng, 8);
        for (size_t j = at; j < at + n && j < damaged.n; j++)
            damaged.p[j] = (char)rng_next(&rng);
        sqlite_place_wipe(place);
        sqlite_place_write(place, "", buf_bytes(&damaged));
        struct err err = {0};
        int r = workload_describe(place, &text, &err);
        found += r == STORE_ERR_CORRUPT;
        if (r != 0 && r != STORE_ERR_CORRUPT)
            fail_msg("damage at %zu: %d %s", at, r, err.text);
    }
    assert_in_range(found, 50, 350);
    buf_free(&content);
    buf_free(&damaged);
    buf_free(&text);
}

/* ---- space ---- */

static long long size_of(struct sqlite_place *place, const char *suffix) {
    char name[160];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", place->path, suffix);
    return stat(name, &st) == 0 ? (long long)st.st_size : 0;
}

static int64_t put_workflow(struct store *store) {
    int64_t workflow = 0;
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_workflow_put(store, BYTES("w"), NULL, 0, &workflow, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    return workflow;
}

static void spawn_bytes(struct store *store, int64_t workflow, size_t n, size_t each) {
    static char input[STORE_DATA_MAX];
    static struct store_item items[STORE_PAGE_MAX];
    memset(input, 'i', sizeof input);
    for (size_t i = 0; i < n; i++)
        items[i] = (struct store_item){.input = bytes_of(input, each)};
    struct store_page page = {.workflow = workflow, .items = items, .n = n};
    struct store_spawned spawned;
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_spawn(store, &page, &spawned, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
}

static void drain(struct store *store, int64_t workflow) {
    struct store_claim claim = {
        .new_lanes = 1, .new_runs = STORE_PAGE_MAX, .new_tokens = 1, .workflows = &workflow, .n_workflows = 1};
    struct store_claimed claimed;
    size_t ignored, n;
    assert_int_equal(store_worker_add(store, BYTES("w"), 4, &claim.worker, NULL), 0);
    do {
        assert_int_equal(store_begin(store, NULL), 0);
        assert_int_equal(store_claim(store, &claim, &claimed, NULL), 0);
        n = claimed.n;
        for (size_t i = 0; i < claimed.n; i++)
            for (size_t j = 0; j < claimed.leases[i].n; j++) {
                struct store_settled done = {.lease = claimed.leases[i].id, .index = claimed.leases[i].runs[j].index};
                assert_int_equal(store_settle(store, claim.worker, &done, 1, &ignored, NULL), 0);
            }
        store_claimed_free(&claimed);
        assert_int_equal(store_commit(store, NULL), 0);
    } while (n);
}

static void space_is_used_again(void **state) {
    struct sqlite_place *place = *state;
    struct store *store = open_with(place, &no_history);
    int64_t workflow = put_workflow(store);
    long long wal = 0;
    for (int i = 0; i < 60; i++) {
        spawn_bytes(store, workflow, 1000, 1000);
        drain(store, workflow);
        wal = size_of(place, "-wal") > wal ? size_of(place, "-wal") : wal;
    }
    assert_true(wal > 8 << 20); /* 60 MB went through it */
    assert_true(wal < 20 << 20);
    store_close(store);
    assert_int_equal(size_of(place, "-wal"), 0);
    assert_true(size_of(place, "") < 4 << 20);
}

static void history_keeps_to_its_size(void **state) {
    static const struct store_options options = {.lock_wait_us = -1, .history_bytes = 8 << 20};
    struct sqlite_place *place = *state;
    struct store *store = open_with(place, &options);
    int64_t workflow = put_workflow(store);
    uint64_t runs, bytes;
    for (int i = 0; i < 60; i++) {
        spawn_bytes(store, workflow, 1000, 1000);
        drain(store, workflow);
        assert_int_equal(store_history_size(store, &runs, &bytes, NULL), 0);
        assert_true(bytes < 10 << 20);
    }
    assert_true(runs >= 7000);
    assert_int_equal(store_check(store, NULL), 0);
    store_close(store);
    assert_true(size_of(place, "") < 16 << 20);
}

static void an_almost_empty_file_is_made_small(void **state) {
    struct sqlite_place *place = *state;
    struct store *store = open_with(place, &no_history);
    int64_t workflow = put_workflow(store);
    put_value(store, "kept", "value");
    spawn_bytes(store, workflow, 100, STORE_DATA_MAX);
    store_close(store);
    assert_true(size_of(place, "") > 100 << 20);
    store = open_with(place, &no_history);
    assert_true(size_of(place, "") > 100 << 20);
    drain(store, workflow);
    store_close(store);
    assert_true(size_of(place, "") > 100 << 20);
    store = open_with(place, &no_history);
    assert_true(size_of(place, "") < 1 << 20);
    assert_value(store, "kept", "value");
    assert_int_equal(store_check(store, NULL), 0);
    store_close(store);
}

/* ---- taken away while in use ---- */

static void notices_that_it_was_taken_away(void **state) {
    struct sqlite_place *place = *state;
    static const char *const suffixes[] = {"", ".lock"};
    for (size_t i = 0; i < 2; i++) {
        struct store *store = open_it(place);
        int64_t worker;
        char name[160];
        struct err err = {0};
        assert_int_equal(store_begin(store, NULL), 0);
        assert_int_equal(store_worker_add(store, BYTES("w"), 4, &worker, NULL), 0);
        assert_int_equal(store_heartbeat(store, worker, NULL, NULL), 0);
        assert_int_equal(store_commit(store, NULL), 0);
        snprintf(name, sizeof name, "%s%s", place->path, suffixes[i]);
        assert_int_equal(unlink(name), 0);
        assert_int_equal(store_begin(store, NULL), 0);
        assert_int_equal(store_heartbeat(store, worker, NULL, &err), STORE_ERR_IO);
        assert_non_null(strstr(err.text, place->path));
        store_close(store);
        sqlite_place_wipe(place);
    }
}

#define TEST(function_) cmocka_unit_test_setup_teardown(function_, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(notices_that_it_was_taken_away),
        TEST(made_for_its_owner_alone),
        TEST(a_name_is_only_a_name),
        TEST(where_no_file_can_be),
        TEST(what_cannot_be_written),
        TEST(the_second_is_told_who_is_first),
        TEST(another_name_for_the_same_file),
        TEST(helpers_keep_the_lock),
        TEST(a_foreign_file_is_left_alone),
        TEST(a_newer_format_is_refused),
        TEST(an_older_format_is_brought_up),
        TEST(so_is_format_2),
        TEST(so_is_format_3),
        TEST(a_truncated_file_is_refused),
        TEST(damage_is_found_or_harmless),
        TEST(space_is_used_again),
        TEST(history_keeps_to_its_size),
        TEST(an_almost_empty_file_is_made_small),
    };
    return cmocka_run_group_tests_name("sqlite files", tests, NULL, NULL);
}
