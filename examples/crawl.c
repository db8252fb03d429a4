/* crawl.c - a polite crawler: saves the pages below the addresses it is given, and follows their links. Of each host it
 * fetches at most two pages at once and five a second; hosts take turns; what fails is tried again later, less and less
 * often. Kill it at any moment and start it again: no page is missed.
 *
 *     cc crawl.c $(pkg-config --cflags --libs froe libcurl) -o crawl
 *     ./crawl http://localhost:8000/
 */
#include "web.h"

#include <froe.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WAITS_MAX = 20 };

/* ---- adding pages ---- */

struct adding {
    froe *engine;
    froe_task *parent; /* the page that has the link; NULL: none */
    char **roots;      /* beginnings of the addresses that are ours, NULL ends them */
    froe_error error;
    int code;
};

static int is_ours(char **roots, const char *url) {
    while (*roots && strncmp(url, *roots, strlen(*roots)) != 0)
        roots++;
    return *roots != NULL;
}

static void add_page(void *arg, const char *url, const char *host) {
    struct adding *adding = arg;
    char file[WEB_FILE_ROOM], input[WEB_URL_ROOM + 20];
    if (!is_ours(adding->roots, url) || web_file_name(url, "", file) < 0 || access(file, F_OK) == 0)
        return;
    snprintf(input, sizeof input, "{\"host\": \"%s\"}", host);
    /* The child key is the address: while that page waits or is fetched, another link to it adds nothing. */
    froe_item item = {.child_key = url, .child_key_n = strlen(url), .input = input};
    froe_spawn spawn = {.size = sizeof spawn, .workflow = "fetch", .parent = adding->parent, .items = &item, .n = 1};
    int code = froe_spawn_many(adding->engine, &spawn, NULL, NULL, &adding->error);
    if (code != FROE_OK)
        adding->code = code;
}

/* ---- fetch: one page ---- */

static void save(froe_task *task, const char *url, const char *part, const char *file, char **roots) {
    struct adding adding = {.engine = froe_task_engine(task), .parent = task, .roots = roots};
    if (web_links(url, part, add_page, &adding) < 0) {
        froe_task_fail(task, 0, "the page cannot be read again");
    } else if (adding.code != FROE_OK) {
        froe_task_fail(task, 0, adding.error.text);
    } else if (rename(part, file) != 0) {
        froe_task_fail(task, 0, "the page cannot be saved");
    } else {
        froe_task_log(task, FROE_INFO, "saved");
        froe_task_succeed(task); /* what a task spawned is on disk before its end is, so no link gets lost */
    }
}

/* The host wants to be left alone for a while. That is no fault of the page, so no attempt is counted; a checkpoint,
 * which the next attempt sees, keeps it from going on for ever. */
static void wait_for_host(froe_task *task, long seconds) {
    int waits = 0;
    size_t n;
    const void *checkpoint = froe_task_checkpoint(task, &n);
    if (n == sizeof waits)
        memcpy(&waits, checkpoint, n);
    if (++waits > WAITS_MAX || froe_task_set_checkpoint(task, &waits, sizeof waits) != FROE_OK)
        froe_task_fail(task, 0, "the host does not want to be asked");
    else
        froe_task_again(task, seconds * 1000000, "the host asks to wait");
}

static void fetch(froe_task *task, void *roots) {
    size_t n;
    const char *key = froe_task_child_key(task, &n);
    char url[WEB_URL_ROOM], file[WEB_FILE_ROOM], part[WEB_FILE_ROOM], text[64];
    snprintf(url, sizeof url, "%.*s", (int)n, key);
    if (web_file_name(url, "", file) < 0 || web_file_name(url, ".part", part) < 0) {
        froe_task_fail(task, FROE_FAIL_FINAL, "the address is too long");
        return;
    }
    long retry_after_s, status = web_get(url, part, &retry_after_s);
    if (status == 200) {
        save(task, url, part, file, roots);
    } else if (status == 404) {
        froe_task_log(task, FROE_INFO, "no such page");
        froe_task_fail(task, FROE_FAIL_FORGET, "no such page"); /* not now and not later: nothing to be kept */
    } else if (retry_after_s > 0) {
        wait_for_host(task, retry_after_s);
    } else { /* a failed attempt; others follow; after the last one the page is parked */
        snprintf(text, sizeof text, status ? "status %ld" : "no answer", status);
        froe_task_fail(task, 0, text);
    }
}

/* ---- watch: ends the program when no page is left ---- */

static void add_live(void *arg, const froe_group *group) {
    *(uint64_t *)arg += group->live;
}

static void watch(froe_task *task, void *arg) {
    froe *engine = froe_task_engine(task);
    uint64_t live = 0; /* queued, running, waiting for another attempt */
    froe_groups_each(engine, "fetch", add_live, &live);
    froe_task_succeed(task);
    if (live == 0)
        froe_stop(engine, FROE_STOP_FINISH, NULL, NULL); /* froe_main returns */
}

static void print_event(void *arg, const froe_event *event) {
    if (event->child_key != NULL)
        printf("%.*s: ", (int)event->child_key_n, (const char *)event->child_key);
    printf("%s", event->text);
    if (event->delay_us > 0)
        printf(", again in %.1f s", (double)event->delay_us / 1e6);
    printf("\n");
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line is seen at once, through a pipe too */
    curl_global_init(CURL_GLOBAL_DEFAULT);
    froe_rule rules[] = {
        {.expression = "input.host", .max_runs = 2, .strategy = FROE_GROUP_ROUND_ROBIN},
        {.expression = "input.host", .max_runs = 5, .strategy = FROE_RATE_LIMIT, .period_us = 1000000},
    };
    froe_workflow page = {.size = sizeof page, .name = "fetch", .run = fetch, .rules = rules, .n_rules = 2};
    page.flags = FROE_BLOCKING;
    page.arg = argv + 1;
    page.retries = 4;
    page.backoff_us = 200000;
    froe_workflow watching = {.size = sizeof watching, .name = "watch", .run = watch, .cron = "* * * * * *"};
    froe_options options = {.size = sizeof options, .store = "sqlite:crawl.db", .event = print_event};
    struct adding adding = {.roots = argv + 1};
    if (froe_open(&options, &adding.engine, &adding.error) == FROE_OK &&
        froe_workflow_add(adding.engine, &page, &adding.error) == FROE_OK &&
        froe_workflow_add(adding.engine, &watching, &adding.error) == FROE_OK) {
        for (int i = 1; i < argc; i++)
            web_link(argv[i], argv[i], add_page, &adding);
        if (adding.code == FROE_OK && froe_main(adding.engine, &adding.error) == FROE_OK)
            return 0;
    }
    fprintf(stderr, "crawl: %s\n", adding.error.text);
    return 1;
}
