/* engine.c - drives libfroe for the engine's table of `make bench`; one measurement a call, printed as a line of JSON:
 *
 *     enginebench STORE lifecycle PER-SPAWN RUNS    runs spawned PER-SPAWN at a time, an empty task, until all is
 *                                                   settled; spawning keeps a few thousand runs ahead
 *     enginebench STORE clients CLIENTS RUNS        each client spawns one run, waits for its result, spawns the next
 *     enginebench STORE dedup LIVE                  spawns of 1000 into an empty store, and beside LIVE live runs
 *     enginebench STORE latency RUNS                from the call that spawns a run to the call of its task
 *
 * Child keys are 67 bytes long. Every acknowledgement is durable. */
#include <froe.h>

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define KEY_BYTES 67
#define AHEAD_RUNS 20000
#define AHEAD_SPAWNS 64
#define SPAWN_MOST 1000

static uv_loop_t *loop;
static froe *engine;
static uint64_t n_spawned, n_acked, n_done, n_wanted;
static sqlite3 *sqlite;

static void die(const char *what, const char *text) {
    fprintf(stderr, "enginebench: %s: %s\n", what, text);
    exit(1);
}

static double now_s(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- spawning ---- */

struct batch {
    char keys[SPAWN_MOST][KEY_BYTES + 1];
    froe_item items[SPAWN_MOST];
};

static void spawn(uint32_t n, froe_spawned_fn *done, void *arg) {
    static struct batch batch;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(batch.keys[i], sizeof batch.keys[i], "%-50s/%016" PRIx64, "bucket-of-images/2026/11/22/camera-7/take",
                 n_spawned + i);
        batch.items[i] = (froe_item){.child_key = batch.keys[i], .child_key_n = KEY_BYTES};
    }
    n_spawned += n;
    froe_spawn spawn = {.size = sizeof spawn,
                        .workflow = "bench",
                        .input = "{\"bucket\":\"bucket-of-images\"}",
                        .items = batch.items,
                        .n = n};
    froe_error error;
    if (froe_spawn_many(engine, &spawn, done, arg, &error) != FROE_OK)
        die("spawn", error.text);
}

static const froe_spawned *acked(const froe_spawned *spawned, const froe_error *error) {
    if (error)
        die("spawn", error->text);
    if (spawned->duplicates > 0)
        die("spawn", "duplicates among keys that are all different");
    n_acked += spawned->created;
    return spawned;
}

static void empty_task(froe_task *task, void *arg) {
    (void)arg;
    n_done++;
    froe_task_succeed(task);
}

/* ---- opening ---- */

static int remember_sqlite(sqlite3 *db, char **text, const struct sqlite3_api_routines *routines) {
    (void)text;
    (void)routines;
    sqlite = db;
    return SQLITE_OK;
}

static void event(void *arg, const froe_event *event) {
    (void)arg;
    if (event->kind == FROE_EVENT_STORE_FAILED || event->kind == FROE_EVENT_PARKED)
        die("the engine", event->text);
}

static void open_engine(const char *store, uint32_t slots, froe_task_fn *task) {
    sqlite3_auto_extension((void (*)(void))remember_sqlite);
    loop = uv_default_loop();
    froe_options options = {.size = sizeof options, .store = store, .loop = loop, .slots = slots, .event = event};
    froe_error error;
    if (froe_open(&options, &engine, &error) != FROE_OK)
        die("open", error.text);
    froe_workflow workflow = {.size = sizeof workflow, .name = "bench", .run = task};
    if (froe_workflow_add(engine, &workflow, &error) != FROE_OK)
        die("workflow", error.text);
}

static void start(void) {
    froe_error error;
    if (froe_start(engine, &error) != FROE_OK)
        die("start", error.text);
}

static void set_flag(void *arg) {
    *(int *)arg = 1;
}

/* All that ended is settled and durable when this returns. */
static void stop(void) {
    int stopped = 0;
    froe_stop(engine, FROE_STOP_FINISH, set_flag, &stopped);
    while (!stopped)
        uv_run(loop, UV_RUN_ONCE);
}

static void close_engine(void) {
    int closed = 0;
    froe_close(engine, set_flag, &closed);
    while (!closed)
        uv_run(loop, UV_RUN_ONCE);
}

static uint64_t bytes_written(void) {
    FILE *file = fopen("/proc/self/io", "r");
    char line[128];
    uint64_t bytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "write_bytes: %" SCNu64, &bytes) == 1)
            break;
    if (file)
        fclose(file);
    return bytes;
}

static uint64_t resident_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long size = 0, resident = 0;
    if (!file || fscanf(file, "%lu %lu", &size, &resident) != 2)
        die("/proc/self/statm", "cannot be read");
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- lifecycle ---- */

static uint32_t per_spawn;
static uint32_t n_in_flight;

static void spawn_more(void);
static void lifecycle_acked(void *arg, const froe_spawned *spawned, const froe_error *error) {
    (void)arg;
    acked(spawned, error);
    n_in_flight--;
    spawn_more();
}

static void spawn_more(void) {
    while (n_spawned < n_wanted && n_in_flight < AHEAD_SPAWNS && n_spawned - n_done < AHEAD_RUNS) {
        uint64_t left = n_wanted - n_spawned;
        n_in_flight++;
        spawn(left < per_spawn ? (uint32_t)left : per_spawn, lifecycle_acked, NULL);
    }
}

static void more_after_turn(uv_check_t *check) {
    (void)check;
    spawn_more();
}

static void lifecycle(void) {
    uv_check_t check;
    uv_check_init(loop, &check);
    uv_check_start(&check, more_after_turn);
    uint64_t bytes = bytes_written();
    int64_t rows = sqlite ? sqlite3_total_changes64(sqlite) : 0;
    double wall = now_s(CLOCK_MONOTONIC), cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
    start();
    spawn_more();
    while (n_done < n_wanted)
        uv_run(loop, UV_RUN_ONCE);
    stop();
    wall = now_s(CLOCK_MONOTONIC) - wall;
    cpu = now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    if (sqlite)
        rows = sqlite3_total_changes64(sqlite) - rows;
    bytes = bytes_written() - bytes;
    uv_close((uv_handle_t *)&check, NULL);
    printf("{\"runs\": %" PRIu64 ", \"seconds\": %.6f, \"per_second\": %.1f, \"cpu_us_per_run\": %.3f", n_wanted, wall,
           (double)n_wanted / wall, cpu * 1e6 / (double)n_wanted);
    if (sqlite)
        printf(", \"rows_per_1000\": %.2f, \"bytes_per_1000\": %.0f", (double)rows * 1000 / (double)n_wanted,
               (double)bytes * 1000 / (double)n_wanted);
    printf("}\n");
}

/* ---- clients ---- */

static void client_next(void);

static void client_answered(void *arg, const froe_result *results, size_t n, const froe_error *error) {
    (void)arg;
    if (error)
        die("wait", error->text);
    if (n != 1 || results[0].state != FROE_SUCCEEDED)
        die("wait", "the run did not succeed");
    n_in_flight--;
    client_next();
}

static void client_spawned(void *arg, const froe_spawned *spawned, const froe_error *error) {
    (void)arg;
    acked(spawned, error);
    froe_error failure;
    if (froe_wait(engine, spawned->runs, 1, 0, client_answered, NULL, &failure) != FROE_OK)
        die("wait", failure.text);
}

static void client_next(void) {
    if (n_spawned >= n_wanted)
        return;
    n_in_flight++;
    spawn(1, client_spawned, NULL);
}

static void clients(uint32_t n) {
    start();
    double wall = now_s(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < n; i++)
        client_next();
    while (n_in_flight > 0)
        uv_run(loop, UV_RUN_ONCE);
    wall = now_s(CLOCK_MONOTONIC) - wall;
    printf("{\"clients\": %u, \"runs\": %" PRIu64 ", \"seconds\": %.6f, \"per_second\": %.1f}\n", n, n_spawned, wall,
           (double)n_spawned / wall);
    stop();
}

/* ---- dedup ---- */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int spawn_done;
static void one_acked(void *arg, const froe_spawned *spawned, const froe_error *error) {
    (void)arg;
    acked(spawned, error);
    spawn_done = 1;
}

/* Median time of spawns of 1000, each acknowledged before the next. */
static double spawn_time(void) {
    double times[51];
    for (size_t i = 0; i < 51; i++) {
        double began = now_s(CLOCK_MONOTONIC);
        spawn_done = 0;
        spawn(SPAWN_MOST, one_acked, NULL);
        while (!spawn_done)
            uv_run(loop, UV_RUN_ONCE);
        times[i] = now_s(CLOCK_MONOTONIC) - began;
    }
    qsort(times, 51, sizeof times[0], compare);
    return times[25];
}

static void fill_acked(void *arg, const froe_spawned *spawned, const froe_error *error) {
    (void)arg;
    acked(spawned, error);
}

static void dedup(uint64_t live) {
    double first = spawn_time();
    uint64_t before = resident_bytes(), spawned_before = n_spawned;
    while (n_acked < live) {
        while (n_spawned < live && n_spawned - n_acked < AHEAD_RUNS)
            spawn(SPAWN_MOST, fill_acked, NULL);
        uv_run(loop, UV_RUN_ONCE);
    }
    double bytes = (double)(resident_bytes() - before) / (double)(n_spawned - spawned_before);
    sync(); /* what the filling left to the disk is not the next spawn's */
    double beside = spawn_time();
    printf("{\"live\": %" PRIu64
           ", \"first_us\": %.1f, \"beside_us\": %.1f, \"ratio\": %.3f, \"bytes_per_queued\": %.1f}\n",
           live, first * 1e6, beside * 1e6, beside / first, bytes);
}

/* ---- latency ---- */

static double spawned_at_s;
static double *latencies;

static void timed_task(froe_task *task, void *arg) {
    (void)arg;
    latencies[n_done++] = now_s(CLOCK_MONOTONIC) - spawned_at_s;
    froe_task_succeed(task);
}

static void latency_next(uv_timer_t *timer) {
    (void)timer;
    spawned_at_s = now_s(CLOCK_MONOTONIC);
    spawn(1, fill_acked, NULL);
}

/* Each run comes to an engine that has been idle for a few milliseconds. */
static void latency(void) {
    start();
    uv_timer_t timer;
    uv_timer_init(loop, &timer);
    for (uint64_t i = 0; i < n_wanted; i++) {
        uv_timer_start(&timer, latency_next, 5, 0);
        while (n_done <= i)
            uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    stop();
    qsort(latencies, n_wanted, sizeof latencies[0], compare);
    printf("{\"runs\": %" PRIu64 ", \"p50_us\": %.1f, \"p99_us\": %.1f}\n", n_wanted, latencies[n_wanted / 2] * 1e6,
           latencies[n_wanted * 99 / 100] * 1e6);
}

int main(int argc, char **argv) {
    const char *mode = argc > 3 ? argv[2] : "";
    uint64_t number = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    n_wanted = argc > 4 ? strtoull(argv[4], NULL, 10) : number;
    if (number == 0 || n_wanted == 0) {
        fprintf(
            stderr,
            "usage: enginebench STORE lifecycle PER-SPAWN RUNS | clients CLIENTS RUNS | dedup LIVE | latency RUNS\n");
        return 2;
    }
    if (strcmp(mode, "lifecycle") == 0 && number <= SPAWN_MOST) {
        per_spawn = (uint32_t)number;
        open_engine(argv[1], 40, empty_task);
        lifecycle();
    } else if (strcmp(mode, "clients") == 0 && number <= 10000) {
        open_engine(argv[1], 1000, empty_task);
        clients((uint32_t)number);
    } else if (strcmp(mode, "dedup") == 0) {
        open_engine(argv[1], 40, empty_task);
        dedup(number);
    } else if (strcmp(mode, "latency") == 0 && (latencies = calloc(n_wanted, sizeof latencies[0]))) {
        open_engine(argv[1], 40, timed_task);
        latency();
    } else {
        fprintf(stderr, "enginebench: no such measurement: %s %s\n", mode, argv[3]);
        return 2;
    }
    close_engine();
    free(latencies);
    return 0;
}
