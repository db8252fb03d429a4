/* options_table.c - all options and commands, and the help texts made of them. */
#include "options_table.h"

#include "clock.h"
#include "nearest.h"

#define DAY_US ((uint64_t)(24 * US_PER_HOUR))

const struct option option_table[] = {
    {"config", "FROE_CONFIG", "FILE", KIND_TEXT, FOR_RUN | FOR_CHECK | FOR_LOOKING | FOR_CONFIG, OPTION_AT(config), 0,
     0, NULL, "a file with options and rules, see docs/config.md; what is given otherwise wins"},
    {"bucket-prefix", "S3_WORKER_BUCKET_PREFIX", "PREFIX", KIND_PREFIX, FOR_RUN | FOR_CHECK, OPTION_AT(bucket_prefix),
     0, 0, "bucket-", "drain the buckets whose names start with PREFIX"},
    {"max-pollers", "S3_WORKER_MAX_CONCURRENT_BUCKET_POLLERS", "N", KIND_U32, FOR_RUN, OPTION_AT(max_pollers), 1, 10000,
     "10", "buckets listed at once"},
    {"max-runs-per-bucket", "S3_WORKER_MAX_RUNS_PER_BUCKET", "N", KIND_U32, FOR_RUN, OPTION_AT(max_runs_per_bucket), 0,
     100000, "20", "objects of one bucket processed at once; 0: no cap, buckets just take turns"},
    {"slots", "S3_WORKER_SLOTS", "N", KIND_U32, FOR_RUN, OPTION_AT(slots), 1, 10000, "40",
     "things done at once in all"},
    {"cron", "S3_WORKER_CRON", "EXPR", KIND_CRON, FOR_RUN, OPTION_AT(cron), 0, 0, "* * * * *",
     "when to look for buckets and objects: 5 fields, or 6 with leading seconds; UTC, or\n"
     "after CRON_TZ=ZONE"},
    {"store", "FROE_STORE", "URI", KIND_STORE, FOR_RUN | FOR_CHECK | FOR_LOOKING, OPTION_AT(store), 0, 0, NULL,
     "where the state is kept: sqlite:PATH, or postgres://USER@HOST/DATABASE, which any number of hosts share\n"
     "(default: sqlite:$XDG_STATE_HOME/froe/froe.db, else under ~/.local/state)"},
    {"worker", "FROE_WORKER", "NAME", KIND_TEXT, FOR_RUN, OPTION_AT(worker), 0, 0, NULL,
     "what this froe is called in lists and histories (default: HOST:PID)"},
    {"lease", "FROE_LEASE", "TIME", KIND_DURATION, FOR_RUN, OPTION_AT(lease_us), US_PER_S, DAY_US, "30s",
     "a froe that the store does not hear of for so long loses what it runs to others"},
    {"history", "FROE_HISTORY", "TIME", KIND_DURATION, FOR_RUN, OPTION_AT(history_us), 0, 3650 * DAY_US, "24h",
     "how long finished runs can be looked at; 0: not at all"},
    {"history-size", "FROE_HISTORY_SIZE", "SIZE", KIND_SIZE, FOR_RUN, OPTION_AT(history_bytes), 1 << 20,
     UINT64_C(1) << 50, "256MiB", "and how much of the store they may fill; the oldest go first"},
    {"retries", "FROE_RETRIES", "N", KIND_U32, FOR_RUN, OPTION_AT(retries), 0, 1000, "3",
     "attempts after the first before an object is parked"},
    {"timeout", "FROE_TIMEOUT", "TIME", KIND_DURATION, FOR_RUN, OPTION_AT(timeout_us), US_PER_MS, 7 * DAY_US, "60s",
     "of one attempt, download and delete included"},
    {"backoff", "FROE_BACKOFF", "TIME", KIND_DURATION, FOR_RUN, OPTION_AT(backoff_us), US_PER_MS, DAY_US, "1s",
     "before the first retry; doubles each time, with jitter, up to 5m"},
    {"min-age", "FROE_MIN_AGE", "TIME", KIND_DURATION, FOR_RUN, OPTION_AT(min_age_us), 0, 3650 * DAY_US, "0s",
     "leave objects alone that were written more recently"},
    {"include", "FROE_INCLUDE", "GLOB", KIND_GLOB, FOR_RUN, OPTION_AT(include), 0, 0, NULL,
     "only keys that match (may be given several times; * also matches /)"},
    {"exclude", "FROE_EXCLUDE", "GLOB", KIND_GLOB, FOR_RUN, OPTION_AT(exclude), 0, 0, NULL,
     "no keys that match (may be given several times)"},
    {"look-ahead", "FROE_LOOK_AHEAD", "N", KIND_U64, FOR_RUN, OPTION_AT(look_ahead), 1, 10000000, "10000",
     "keys of a bucket listed but not yet processed"},
    {"once", NULL, NULL, KIND_FLAG, FOR_RUN, OPTION_AT(once), 0, 0, NULL,
     "list everything once, process until drained, exit"},
    {"dry-run", NULL, NULL, KIND_FLAG, FOR_RUN, OPTION_AT(dry_run), 0, 0, NULL,
     "list, say what would be done, touch nothing"},
    {"discard", NULL, NULL, KIND_FLAG, FOR_RUN, OPTION_AT(discard), 0, 0, NULL,
     "instead of a program: read, verify and delete without processing"},
    {"pool", NULL, NULL, KIND_FLAG, FOR_RUN, OPTION_AT(pool), 0, 0, NULL,
     "keep processes of the program and hand them object after object: see docs/pool.md"},
    {"plugin", NULL, "FILE", KIND_TEXT, FOR_RUN, OPTION_AT(plugin_file), 0, 0, NULL,
     "instead of a program: a function in a shared object, see docs/plugin.md"},
    {"pool-workers", "FROE_POOL_WORKERS", "N", KIND_U32, FOR_RUN, OPTION_AT(pool_workers), 0, 1000, "0",
     "how many of them at most; 0: as many as cores"},
    {"pool-body", "FROE_POOL_BODY", "inline|path|memfd", KIND_POOL_BODY, FOR_RUN, OPTION_AT(pool_body), 0, 0, "inline",
     "how they get a body: on their standard input, as the path of a file under TMPDIR, or as a descriptor\n"
     "of memory within --memory, else of a file without a name"},
    {"pool-recycle", "FROE_POOL_RECYCLE", "N", KIND_U32, FOR_RUN, OPTION_AT(pool_recycle), 0, 1000000000, "0",
     "replace each after so many objects; 0: never"},
    {"pool-memory", "FROE_POOL_MEMORY", "SIZE", KIND_SIZE, FOR_RUN, OPTION_AT(pool_memory_bytes), 0, UINT64_C(1) << 50,
     "0", "or when it has more than so much memory resident after an object; 0: never"},
    {"memory", "FROE_MEMORY", "SIZE", KIND_SIZE, FOR_RUN, OPTION_AT(memory_bytes), 0, UINT64_C(1) << 50, "512MiB",
     "what results, images, and bodies of --pool-body memfd may take of it; what is more goes into files under TMPDIR"},
    {"confine", "FROE_CONFINE", "no|basic|yes|best-effort", KIND_CONFINE, FOR_RUN | FOR_CHECK, OPTION_AT(confine.level),
     0, 0, "basic",
     "what programs may not do; yes: no network, no writing, no reading of credentials;\n"
     "best-effort: the same as far as the kernel can. See docs/confine.md"},
    {"allow-network", NULL, NULL, KIND_FLAG, FOR_RUN | FOR_CHECK, OPTION_AT(confine.network), 0, 0, NULL,
     "what --confine yes leaves: the network"},
    {"allow-write", "FROE_ALLOW_WRITE", "DIR", KIND_DIRECTORIES, FOR_RUN | FOR_CHECK, OPTION_AT(confine.write), 0, 0,
     NULL, "and writing below DIR (may be given several times)"},
    {"limit-memory", "FROE_LIMIT_MEMORY", "SIZE", KIND_SIZE, FOR_RUN | FOR_CHECK, OPTION_AT(confine.memory_bytes), 0,
     UINT64_C(1) << 50, "0", "of each process of a program; 0: none, here and below"},
    {"limit-cpu", "FROE_LIMIT_CPU", "TIME", KIND_DURATION, FOR_RUN | FOR_CHECK, OPTION_AT(confine.cpu_us), 0,
     365 * DAY_US, "0s", "CPU time of each process, in whole seconds; of a pool's for each object"},
    {"limit-files", "FROE_LIMIT_FILES", "N", KIND_U32, FOR_RUN | FOR_CHECK, OPTION_AT(confine.files), 0, 1000000000,
     "0", "open files of each process"},
    {"limit-processes", "FROE_LIMIT_PROCESSES", "N", KIND_U32, FOR_RUN | FOR_CHECK, OPTION_AT(confine.processes), 0,
     1000000000, "0", "processes and threads of froe's user in all"},
    {"limit-file-size", "FROE_LIMIT_FILE_SIZE", "SIZE", KIND_SIZE, FOR_RUN | FOR_CHECK, OPTION_AT(confine.file_bytes),
     0, UINT64_C(1) << 50, "0", "of a file that it writes"},
    {"nice", "FROE_NICE", "N", KIND_U32, FOR_RUN | FOR_CHECK, OPTION_AT(confine.nice), 0, 19, "0",
     "lets programs yield the CPU to others"},
    {"output", "FROE_OUTPUT", "DEST", KIND_OUTPUT, FOR_RUN | FOR_CHECK, OPTION_AT(outputs), 0, 0, NULL,
     "where the program's standard output is stored before the object is deleted: s3://BUCKET/{key} or\n"
     "DIRECTORY/{stem}.txt, see docs/output.md (may be given several times; none: nowhere)"},
    {"then", "FROE_THEN", "WHAT", KIND_THEN, FOR_RUN | FOR_CHECK, OPTION_AT(then), 0, 0, "delete",
     "what becomes of a processed object: delete, keep, move:s3://BUCKET/{key} or tag:NAME=VALUE,..."},
    {"workflow", NULL, "NAME", KIND_TEXT, FOR_RUNS, OPTION_AT(workflow), 0, 0, NULL,
     "only runs of this workflow; froe's own: process_object, fetch_s3_objects, fetch_s3_buckets"},
    {"bucket", NULL, "BUCKET", KIND_TEXT, FOR_PARKED, OPTION_AT(bucket), 0, 0, NULL,
     "only parked objects of this bucket"},
    {"bucket", NULL, "BUCKET", KIND_TEXT, FOR_RUNS, OPTION_AT(bucket), 0, 0, NULL,
     "only runs for objects of this bucket"},
    {"key", NULL, "KEY", KIND_TEXT, FOR_PARKED | FOR_RUNS, OPTION_AT(key), 0, 0, NULL,
     "only the object with this key (needs --bucket)"},
    {"state", NULL, "STATE,...", KIND_STATES, FOR_RUNS, OPTION_AT(states), 0, 0, NULL,
     "only runs that are queued, waiting, running, parked, succeeded, failed, cancelled;\n"
     "live: the first three; finished: the last three"},
    {"meta", NULL, "NAME=VALUE", KIND_META, FOR_RUNS, OPTION_AT(meta_name), 0, 0, NULL,
     "only runs with this text in their metadata"},
    {"since", NULL, "TIME", KIND_TIME, FOR_RUNS, OPTION_AT(since_utc_us), 0, 0, NULL,
     "only runs created or ended since: 2026-03-29T08:00:00Z, 2026-03-29T08:00 (local), or an age: 10m"},
    {"until", NULL, "TIME", KIND_TIME, FOR_RUNS, OPTION_AT(until_utc_us), 0, 0, NULL,
     "only runs created or ended before"},
    {"limit", NULL, "N", KIND_U32, FOR_RUNS, OPTION_AT(limit), 1, 100000000, NULL,
     "at most so many, the newest (default: list 100, others all)"},
    {"follow", NULL, NULL, KIND_FLAG, FOR_RUNS, OPTION_AT(follow), 0, 0, NULL, "logs: go on with what comes"},
    {"all", NULL, NULL, KIND_FLAG, FOR_PARKED, OPTION_AT(all), 0, 0, NULL, "all parked objects"},
    {"all", NULL, NULL, KIND_FLAG, FOR_RUNS, OPTION_AT(all), 0, 0, NULL, "cancel, retry, replay: all runs"},
    {"groups", NULL, NULL, KIND_FLAG, FOR_WORKFLOWS, OPTION_AT(groups), 0, 0, NULL,
     "list: each group's backlog, admitted runs, limit and last turn"},
    {"tz", NULL, "ZONE", KIND_TEXT, FOR_CRON, OPTION_AT(tz), 0, 0, NULL,
     "the time zone, like Europe/Berlin (default: UTC)"},
    {"count", NULL, "N", KIND_U32, FOR_CRON, OPTION_AT(count), 1, 10000, "5", "how many firings"},
    {"from", NULL, "TIME", KIND_TEXT, FOR_CRON, OPTION_AT(from), 0, 0, NULL,
     "not before 2026-03-29, \"2026-03-29 01:30\" (in the zone) or 2026-03-29T00:30:00Z (default: now)"},
    {"json", NULL, NULL, KIND_FLAG, FOR_LOOKING | FOR_CHECK | FOR_CRON | FOR_CONFIG, OPTION_AT(json), 0, 0, NULL,
     "machine-readable output"},
    {"log", "FROE_LOG", "text|json", KIND_LOG, FOR_RUN | FOR_DEMO, OPTION_AT(log_format), 0, 0, NULL,
     "form of the log on stderr (default: text on a terminal, json otherwise)"},
    {"log-level", "FROE_LOG_LEVEL", "LEVEL", KIND_LEVEL, FOR_RUN | FOR_DEMO, OPTION_AT(log_level), 0, 0, "info",
     "debug, info, warn or error"},
    {"help", NULL, NULL, KIND_FLAG, ~0u, OPTION_AT(help), 0, 0, NULL, "show this text"},
};
const size_t n_options = sizeof option_table / sizeof option_table[0];
_Static_assert(sizeof option_table / sizeof option_table[0] <= OPTIONS_MAX, "struct options has an origin for each");

bool option_is_for(const struct option *option, enum command_id command) {
    unsigned commands = option->commands;
    if (commands & FOR_RUN)
        commands |= FOR_CONFIG;
    return commands & (1u << command);
}

bool option_in_file(const struct option *option) {
    return (option->commands & FOR_RUN) && option->offset != OPTION_AT(help) && option->offset != OPTION_AT(config) &&
           option->offset != OPTION_AT(plugin_file); /* its key is a list */
}

const char *option_key(const struct option *option, char key[OPTION_KEY_MAX]) {
    size_t i = 0;
    for (; option->name[i] && i < OPTION_KEY_MAX - 1; i++)
        key[i] = option->name[i] == '-' ? '_' : option->name[i];
    key[i] = '\0';
    return key;
}

const struct command command_table[] = {
    [COMMAND_RUN] =
        {"run",
         "froe run [OPTION...] -- PROGRAM [ARG...]\n       froe run [OPTION...] --discard\n"
         "       froe run [OPTION...] --plugin FILE [-- ARG...]\n"
         "       froe run --config FILE [OPTION...]",
         "drain buckets until told to stop, or once",
         "Lists the buckets with the prefix, runs PROGRAM once per object with the object's body on its standard\n"
         "input, and deletes each object that it processed (exit code 0), exactly as it was read. With --output\n"
         "what it wrote to its standard output is stored before, durably; --then says what becomes of the object\n"
         "instead of a delete. Exit code 75 asks for another try; any other code is a failed attempt. The program\n"
         "finds FROE_BUCKET, FROE_KEY, FROE_SIZE, FROE_ETAG, FROE_VERSION_ID, FROE_ATTEMPT, FROE_RUN_ID,\n"
         "FROE_CONTENT_TYPE, FROE_KEY_URL and FROE_META_* (user metadata) in its environment. Credentials, region\n"
         "and endpoint come from the AWS variables and ~/.aws.\n"
         "\n"
         "With --pool processes of PROGRAM are kept. Each reads, for object after object, a line of JSON and the body\n"
         "from its standard input, and answers with a line of JSON on its standard output: ok, retry or fail.\n"
         "With --plugin froe keeps processes of its own that call a function in FILE, a shared object.\n"
         "\n"
         "--confine, --allow-... and --limit-... say what these programs may not do, or not beyond which measure.\n"
         "\n"
         "The first SIGTERM or SIGINT finishes what runs and starts nothing new; a second stops now. Nothing is\n"
         "lost either way. With a configuration file SIGHUP reads it again.\n"
         "\n"
         "Exit codes: 0 drained, or stopped as asked; 1 internal error; 2 usage; 3 no valid credentials;\n"
         "4 S3 unreachable; 5 store unusable; 6 drained but for parked objects (--once); 7 interrupted;\n"
         "8 permission denied."},
    [COMMAND_STATUS] = {"status", "froe status [OPTION...]", "show each bucket's backlog, progress and guard",
                        "Works while `froe run` runs on the same store, and when nothing runs."},
    [COMMAND_PARKED] =
        {"parked", "froe parked list|retry|drop [OPTION...]", "list, retry or forget objects that kept failing",
         "An object whose attempts are used up is parked with its last error and stays in its bucket. `retry`\n"
         "queues it again with no attempts counted; `drop` forgets the failure (the object itself is not\n"
         "touched, and the next listing finds it again). retry and drop need --bucket, --key or --all."},
    [COMMAND_RUNS] =
        {"runs", "froe runs list|show|watch|logs|cancel|retry|replay [RUN...] [OPTION...]",
         "see and change what runs, ran and waits",
         "  list            the newest runs, and which worker did what, when, and for how long. What happened to an\n"
         "                  object: froe runs list --bucket BUCKET --key KEY\n"
         "  show RUN        all about one run: input, result, each attempt, its log lines\n"
         "  watch [RUN]     the run's changes until it is finished; without RUN those of all that match, until Ctrl-C\n"
         "  logs [RUN]      log lines, of all runs or one\n"
         "  cancel RUN...   ends runs; one that is running is asked to end. The object stays in its bucket, and the\n"
         "                  next listing finds it again: to leave it alone, --exclude it or pause the workflow\n"
         "  retry RUN...    queues parked runs again, with no attempts counted\n"
         "  replay RUN...   does finished runs once more, as new runs\n"
         "\n"
         "A RUN is an id as in the lists, like 4711:12. Instead of ids cancel, retry and replay take a filter, or\n"
         "--all. Finished runs are known as long as the --history of froe run says. Reaches the froe that runs on an\n"
         "SQLite store, and opens the store itself when none does. Running is what a worker has in hand: some of it\n"
         "may wait there for its turn, as froe status tells."},
    [COMMAND_WORKFLOWS] =
        {"workflows", "froe workflows list|pause|resume [NAME] [OPTION...]",
         "see workflows and their groups; pause one",
         "Of a paused workflow nothing is started, on no host, until it is resumed; what runs goes on. To stop\n"
         "processing and go on listing: froe workflows pause process_object"},
    [COMMAND_WORKERS] = {"workers", "froe workers [OPTION...]", "see which froes work on the store",
                         "Each with its slots, the runs that it has in hand, and how long these are its own if nothing "
                         "more is heard\n"
                         "of it."},
    [COMMAND_CHECK] =
        {"check", "froe check [OPTION...]", "say what would go wrong, before it does",
         "Looks at credentials, endpoint, permissions per matching bucket, versioning, whether deletes can be\n"
         "guarded, the store, and the places where results land. Deletes nothing: permissions are tried on a key that "
         "does not exist."},
    [COMMAND_DEMO] = {"demo", "froe demo [OPTION...]", "drain some generated buckets from a built-in S3 server",
                      "Starts a small S3 server in this process, fills buckets of very different sizes with generated "
                      "images, drains\n"
                      "them through a small program, prints what happened and leaves nothing behind."},
    [COMMAND_CRON] =
        {"cron", "froe cron EXPRESSION [OPTION...]", "show when a cron expression fires next",
         "EXPRESSION, in quotes, has 5 fields (minute hour day-of-month month day-of-week), or 6 with leading\n"
         "seconds, or is one of @hourly @daily @midnight @weekly @monthly @yearly @annually. It may begin with\n"
         "CRON_TZ=ZONE instead of --tz. Each line shows a firing in the zone's time and in UTC.\n"
         "\n"
         "Where clocks jump by less than three hours, an expression neither minute nor hour of which begins with\n"
         "* fires once: a skipped time right after the jump, a repeated one the first time. Others follow the clock."},
    [COMMAND_CONFIG] =
        {"config",
         "froe config check [FILE]\n       froe config show [OPTION...] [-- PROGRAM [ARG...]]\n"
         "       froe config schema",
         "look at a configuration file",
         "  check    says what is wrong with the file, with line and column, or that nothing is\n"
         "  show     every value as froe run would have it, and where it came from; takes the options of froe run\n"
         "  schema   a JSON Schema of the file, for editors\n"
         "\n"
         "The file is FILE, --config FILE or $FROE_CONFIG."},
    [COMMAND_VERSION] = {"version", "froe version", "show the version", ""},
    [COMMAND_HELP] = {"help", "froe help [COMMAND]", "show help", ""},
};
const size_t n_commands = sizeof command_table / sizeof command_table[0];

static void help_option(FILE *out, const struct option *option) {
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    fprintf(out, "  %-26s ", left);
    for (const char *p = option->help; *p; p++)
        if (*p == '\n')
            fprintf(out, "\n  %-26s ", "");
        else
            fputc(*p, out);
    if (option->initial)
        fprintf(out, " (%s)", option->initial);
    fputc('\n', out);
    if (option->variable)
        fprintf(out, "  %-26s   variable: %s\n", "", option->variable);
}

void options_help(FILE *out, enum command_id command) {
    if (command == COMMAND_HELP) {
        fputs("froe drains S3 buckets: it lists them, runs each object through your program, and deletes exactly what "
              "was\n"
              "processed.\n\nusage: froe COMMAND [OPTION...]\n\n",
              out);
        for (size_t i = 0; i < n_commands; i++)
            fprintf(out, "  %-10s %s\n", command_table[i].name, command_table[i].summary);
        fputs("\nfroe help COMMAND tells more.\n", out);
        return;
    }
    fprintf(out, "usage: %s\n\n", command_table[command].usage);
    if (command_table[command].text[0])
        fprintf(out, "%s\n\n", command_table[command].text);
    fputs("options:\n", out);
    for (size_t i = 0; i < n_options; i++)
        if (option_table[i].commands & (1u << command))
            help_option(out, &option_table[i]);
}

int options_command(const char *name, enum command_id *ret_command, struct err *err) {
    for (size_t i = 0; i < n_commands; i++)
        if (strcmp(command_table[i].name, name) == 0) {
            *ret_command = (enum command_id)i;
            return 0;
        }
    struct nearest nearest = {.name = bytes_str(name)};
    for (size_t i = 0; i < n_commands; i++)
        nearest_offer(&nearest, command_table[i].name);
    return err_set(err, -EINVAL, "unknown command '%.100s'; %s%s%ssee froe help", name,
                   nearest.found ? "did you mean " : "", nearest.found ? nearest.found : "", nearest.found ? "? " : "");
}
