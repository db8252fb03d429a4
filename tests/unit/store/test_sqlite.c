/* test_sqlite.c - the conformance suite over the SQLite store: in a time of the suite's own, or, with the argument
 * "waiting", in the system's, as stores on a server have it. */
#include "conformance.h"
#include "conformance_steps.h"
#include "sqlite_files.h"

#include <stdio.h>
#include <stdlib.h>

struct place {
    struct sqlite_place files;
    char uri[300];
};

static void wipe(struct store_under_test *sut) {
    struct place *place = sut->arg;
    sqlite_place_wipe(&place->files);
}

static int open_store(struct store_under_test *sut, const struct store_options *options, struct store **ret_store,
                      struct err *err) {
    struct place *place = sut->arg;
    struct store_options changed = *options;
    if (!sut->own_clock)
        changed.clock = NULL;
    return store_open(place->uri, &changed, ret_store, err);
}

/* The files are put aside as they are, the store is closed (which writes), and the files are put back. */
static void crash(struct store_under_test *sut, struct store *store) {
    struct place *place = sut->arg;
    sqlite_place_save(&place->files);
    store_close(store);
    sqlite_place_restore(&place->files);
}

int main(int argc, char **argv) {
    struct place place;
    sqlite_place_make(&place.files);
    snprintf(place.uri, sizeof place.uri, "sqlite:%s", place.files.path);
    struct store_under_test sut = {.wipe = wipe,
                                   .open = open_store,
                                   .crash = crash,
                                   .own_clock = argc == 1,
                                   .seeds = argc == 1 ? 16 : 2,
                                   .arg = &place};
    if (getenv("CONFORMANCE_TEST")) /* one alone, by its name */
        cmocka_set_test_filter(getenv("CONFORMANCE_TEST"));
    int failed = conformance_run(&sut);
    sqlite_place_remove(&place.files);
    return failed;
}
