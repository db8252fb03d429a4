/* fixture_place.h - where the stores of fixtures are when they are no files. It knows neither the engine's inside nor a
 * store's. */
#pragma once

#include "store.h"

struct fixture_place {
    void (*make)(char *ret_uri, size_t size); /* an empty one */
    int (*open)(const char *uri, const struct store_options *options, struct store **ret_store, struct err *err);
    void (*unmake)(const char *uri);
};

void fixture_stores_are_in(const struct fixture_place *place); /* all from now on */
