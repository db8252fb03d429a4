/* credential_keys.h - a set of keys together with the memory that holds them. */
#pragma once

#include "credentials.h"
#include "secret.h"

/* All-zero is a valid empty one. `keys` points into `memory`. */
struct credential_keys {
    struct credentials keys; /* generation is not touched here */
    struct secret memory;
};

/* Copies the three texts. `names` says what each is called where it came from, for errors: an id or secret that is
 * empty, one over its limit, or one with anything but printable ASCII without spaces in it (it would end up in a
 * header) is -EINVAL. -ENOMEM. On failure *keys is as it was. */
int credential_keys_set(struct credential_keys *keys, const char *const names[3], struct bytes access_key_id,
                        struct bytes secret_access_key, struct bytes session_token, int64_t expires_utc_us,
                        struct err *err);
bool credential_keys_equal(const struct credential_keys *a, const struct credential_keys *b); /* the three texts */
void credential_keys_free(struct credential_keys *keys);                                      /* wipes; empty again */
