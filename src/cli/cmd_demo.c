/* cmd_demo.c - froe demo: a drain from end to end on a machine with nothing set up.
 *
 * Starts the built-in S3 server in a thread, fills it, and then does what `froe run --once` does against any server,
 * with a store in a folder that is removed at the end. */
#include "cleanup.h"
#include "commands.h"
#include "demo_image.h"
#include "mock.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned images;
} buckets[] = {{"demo-archive", 1500}, {"demo-camera", 300}, {"demo-inbox", 60}, {"demo-urgent", 8}};
#define N_BUCKETS (sizeof buckets / sizeof buckets[0])

/* Looks at the first bytes of its input and notes the size that a PNG file has there; anything else is an error. */
static const char program[] =
    "#!/bin/sh\n"
    "set -e\n"
    "head=$(od -An -tu1 -N24 | tr -s ' \\n' ' ')\n"
    "set -- $head\n"
    "[ \"$1 $2 $3 $4\" = '137 80 78 71' ] || { echo 'not a PNG file' >&2; exit 1; }\n"
    "cat >/dev/null\n"
    "echo \"$FROE_BUCKET/$FROE_KEY: $((${19} * 256 + ${20})) x $((${23} * 256 + ${24}))\" >>\"${0%/*}/record\"\n";

static int fill(struct mock *mock) {
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t b = 0; b < N_BUCKETS; b++) {
        for (unsigned i = 0; i < buckets[b].images; i++) {
            _cleanup_buf_ struct buf key = {0}, image = {0};
            if (buf_printf(&key, "2026/picture-%04u.png", i) < 0 || demo_image(&rng, &image) < 0 ||
                mock_put(mock, bytes_str(buckets[b].name), buf_bytes(&key), buf_bytes(&image), "image/png") < 0)
                return -ENOMEM;
        }
    }
    return mock_put(mock, BYTES("demo-inbox"), BYTES("2026/broken.png"), BYTES("this was never a picture"),
                    "image/png");
}

/* The drain reads its settings from where AWS users keep them; in this process they are the demo's. */
static void set_environment(uint16_t port) {
    static const char *const unwanted[] = {"AWS_PROFILE",
                                           "AWS_SESSION_TOKEN",
                                           "AWS_CA_BUNDLE",
                                           "AWS_ENDPOINT_URL_S3",
                                           "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                                           "AWS_DEFAULT_REGION",
                                           "AWS_MAX_ATTEMPTS"};
    for (size_t i = 0; i < sizeof unwanted / sizeof unwanted[0]; i++)
        unsetenv(unwanted[i]);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", port);
    setenv("AWS_ENDPOINT_URL", endpoint, 1);
    setenv("AWS_ACCESS_KEY_ID", "demo", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "demo", 1);
    setenv("AWS_REGION", "us-east-1", 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static uint64_t count_lines(const char *path, char *ret_last, size_t size) {
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    uint64_t n = 0;
    ret_last[0] = '\0';
    while (file && fgets(ret_last, (int)size, file))
        n++;
    ret_last[strcspn(ret_last, "\n")] = '\0';
    return n;
}

static int write_program(const char *path) {
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    return fd >= 0 && write(fd, program, sizeof program - 1) == (ssize_t)sizeof program - 1 ? 0 : -EIO;
}

static int drain(const struct options *asked, const char *folder, struct mock *mock) {
    _cleanup_buf_ struct buf store = {0}, file = {0}, record = {0};
    if (buf_printf(&store, "sqlite:%s/froe.db", folder) < 0 || buf_printf(&record, "%s/record", folder) < 0 ||
        buf_printf(&file, "%s/png-size", folder) < 0)
        return command_fail(EXIT_INTERNAL, "out of memory");
    if (write_program(file.p) < 0)
        return command_fail(EXIT_INTERNAL, "the demo's program cannot be written to /tmp");
    char *argv[] = {file.p, NULL};
    struct options options = *asked;
    options.command = COMMAND_RUN;
    options.bucket_prefix = "demo-";
    options.max_pollers = 10;
    options.max_runs_per_bucket = 8;
    options.slots = 16;
    options.retries = 2;
    options.look_ahead = 10000;
    options.timeout_us = 60 * US_PER_S;
    options.backoff_us = 300 * US_PER_MS;
    options.once = true;
    options.cron = "* * * * *";
    options.store = options.store_shown = store.p;
    options.lease_us = 30 * US_PER_S;
    options.history_us = 24 * US_PER_HOUR;
    options.history_bytes = 256 * 1024 * 1024;
    options.program = argv;
    int r = command_run(&options);
    char last[256];
    uint64_t processed = count_lines(record.p, last, sizeof last);
    printf("\n%" PRIu64 " pictures went through the program, the last one: %s\n", processed, last);
    uint64_t left = 0;
    for (size_t b = 0; b < N_BUCKETS; b++) {
        uint64_t n = mock_count(mock, bytes_str(buckets[b].name));
        printf("  %-14s %4u pictures, %" PRIu64 " left\n", buckets[b].name, buckets[b].images, n);
        left += n;
    }
    if (r == EXIT_PARKED && left == 1) {
        puts("The one left is demo-inbox/2026/broken.png, which is not a picture. Its attempts are used up, so it is\n"
             "parked with its error, and blocks nothing: `froe parked list` shows such, `froe parked retry` tries "
             "again.");
        return EXIT_DRAINED;
    }
    return r ? r : EXIT_INTERNAL;
}

int command_demo(const struct options *options) {
    char folder[] = "/tmp/froe-demo-XXXXXX";
    struct err err = {0};
    if (!mkdtemp(folder))
        return command_fail(EXIT_INTERNAL, "no temporary folder can be made in /tmp");
    const struct mock_options server = {.access_key = "demo", .secret_key = "demo"};
    struct mock *mock = NULL;
    int r = mock_start(&server, &mock, &err) < 0 ? command_fail(EXIT_INTERNAL, err.text) : 0;
    if (r == 0) {
        printf("An S3 server runs in this process, with %zu buckets of 8 to 1500 pictures. froe drains them through a "
               "small shell\n"
               "program, 16 at once and at most 8 of one bucket.\n\n",
               N_BUCKETS);
        fflush(stdout);
        r = fill(mock) < 0 ? command_fail(EXIT_INTERNAL, "out of memory") : 0;
    }
    if (r == 0) {
        set_environment(mock_port(mock));
        r = drain(options, folder, mock);
    }
    if (mock)
        mock_stop(mock);
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    fflush(stdout);
    return r;
}
