/* credential_keys.c - checking and holding a set of keys. */
#include "credential_keys.h"

#include <errno.h>

static int check(const char *name, struct bytes value, size_t max, struct err *err) {
    if (value.n > max)
        return err_set(err, -EINVAL, "%s is longer than %zu characters", name, max);
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] <= ' ' || value.p[i] > '~')
            return err_set(err, -EINVAL, "%s holds a space or a character that is not printable ASCII (character %zu)",
                           name, i + 1);
    return 0;
}

int credential_keys_set(struct credential_keys *keys, const char *const names[3], struct bytes access_key_id,
                        struct bytes secret_access_key, struct bytes session_token, int64_t expires_utc_us,
                        struct err *err) {
    if (access_key_id.n == 0)
        return err_set(err, -EINVAL, "%s is missing or empty", names[0]);
    if (secret_access_key.n == 0)
        return err_set(err, -EINVAL, "%s is missing or empty", names[1]);
    int r = check(names[0], access_key_id, CREDENTIALS_KEY_ID_MAX, err);
    if (r >= 0)
        r = check(names[1], secret_access_key, CREDENTIALS_SECRET_MAX, err);
    if (r >= 0)
        r = check(names[2], session_token, CREDENTIALS_TOKEN_MAX, err);
    if (r < 0)
        return r;
    struct secret memory = {0};
    r = secret_reserve(&memory, access_key_id.n + secret_access_key.n + session_token.n);
    if (r < 0)
        return err_set(err, r, "out of memory");
    secret_add(&memory, access_key_id); /* none of these can fail now, nor move what is there */
    secret_add(&memory, secret_access_key);
    secret_add(&memory, session_token);
    uint64_t generation = keys->keys.generation;
    credential_keys_free(keys);
    *keys = (struct credential_keys){
        .keys = {.access_key_id = bytes_of(memory.p, access_key_id.n),
                 .secret_access_key = bytes_of(memory.p + access_key_id.n, secret_access_key.n),
                 .session_token = session_token.n
                                      ? bytes_of(memory.p + access_key_id.n + secret_access_key.n, session_token.n)
                                      : BYTES_NONE,
                 .expires_utc_us = expires_utc_us,
                 .generation = generation},
        .memory = memory,
    };
    return 0;
}

bool credential_keys_equal(const struct credential_keys *a, const struct credential_keys *b) {
    return bytes_equal(a->keys.access_key_id, b->keys.access_key_id) &&
           bytes_equal(a->keys.secret_access_key, b->keys.secret_access_key) &&
           bytes_equal(a->keys.session_token, b->keys.session_token);
}

void credential_keys_free(struct credential_keys *keys) {
    secret_free(&keys->memory);
    *keys = (struct credential_keys){0};
}
