/* place.c - see place.h. */
#include "place.h"

#include "cleanup.h"
#include "text.h"

#include <libpq-fe.h>

#define SCHEMA_DEFAULT "froe"
#define SCHEMA_MAX 48 /* PostgreSQL cuts names at 63 bytes; the channel has a prefix */
#define PARAMETER "froe_schema="

static const struct {
    const char *keyword, *value;
} defaults[] = {
    {"fallback_application_name", "froe"}, {"keepalives", "1"},       {"keepalives_idle", "10"},
    {"keepalives_interval", "5"},          {"keepalives_count", "3"}, {"tcp_user_timeout", "15000"},
};
#define N_DEFAULTS (sizeof defaults / sizeof defaults[0])

static bool is_schema(struct bytes name) {
    bool good = name.n > 0 && name.n <= SCHEMA_MAX && !(name.p[0] >= '0' && name.p[0] <= '9') &&
                !bytes_starts(name, BYTES("pg_"));
    for (size_t i = 0; i < name.n && good; i++)
        good = (name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= '0' && name.p[i] <= '9') || name.p[i] == '_';
    return good;
}

/* Takes our parameter out of the query part. */
static int take_schema(const char *uri, struct buf *rest, struct buf *schema) {
    const char *query = strchr(uri, '?');
    int r = buf_add(rest, uri, query ? (size_t)(query - uri) : strlen(uri));
    char before = '?';
    for (const char *at = query ? query + 1 : NULL, *end; at && r == 0; at = *end ? end + 1 : NULL) {
        end = strchrnul(at, '&');
        struct bytes one = bytes_of(at, (size_t)(end - at));
        if (bytes_starts(one, BYTES(PARAMETER))) {
            buf_reset(schema);
            size_t skip = sizeof PARAMETER - 1;
            r = text_add_unpercent(schema, bytes_of(at + skip, one.n - skip), false);
        } else if (one.n) {
            r = buf_add_byte(rest, before);
            before = '&';
            if (r == 0)
                r = buf_add_bytes(rest, one);
        }
    }
    return r;
}

static int put(struct place *place, size_t at, const char *keyword, const char *value) {
    place->values[at] = mem_strdup(value);
    place->keywords[at] = place->values[at] ? mem_strdup(keyword) : NULL; /* the last one ends at its keyword */
    if (place->keywords[at])
        return 0;
    mem_free(TAKE_PTR(place->values[at]));
    return -ENOMEM;
}

static const char *value_of(const PQconninfoOption *options, const char *keyword) {
    for (const PQconninfoOption *option = options; option->keyword; option++)
        if (strcmp(option->keyword, keyword) == 0)
            return option->val;
    return NULL;
}

static int take_options(struct place *place, const PQconninfoOption *options) {
    size_t n = 0, at = 0;
    while (options[n].keyword)
        n++;
    place->keywords = mem_calloc(n + N_DEFAULTS + 1, sizeof *place->keywords);
    place->values = mem_calloc(n + N_DEFAULTS + 1, sizeof *place->values);
    if (!place->keywords || !place->values)
        return -ENOMEM;
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        if (options[i].val)
            r = put(place, at++, options[i].keyword, options[i].val);
    for (size_t i = 0; i < N_DEFAULTS && r == 0; i++)
        if (!value_of(options, defaults[i].keyword))
            r = put(place, at++, defaults[i].keyword, defaults[i].value);
    const char *password = value_of(options, "password");
    if (r == 0 && password && *password) {
        place->password = mem_strdup(password);
        r = place->password ? 0 : -ENOMEM;
    }
    return r;
}

static const char *or_else(const char *value, const char *otherwise) {
    return value && *value ? value : otherwise;
}

static int describe(struct place *place, const PQconninfoOption *options) {
    _cleanup_buf_ struct buf text = {0}, channel = {0};
    const char *address = value_of(options, "hostaddr");
    int r = buf_printf(&text, "%s:%s/%s", or_else(value_of(options, "host"), or_else(address, "local")),
                       or_else(value_of(options, "port"), "5432"), or_else(value_of(options, "dbname"), "(default)"));
    if (r == 0)
        r = buf_printf(&channel, "froe_%s", place->schema);
    if (r < 0)
        return r;
    place->text = buf_detach(&text);
    place->channel = buf_detach(&channel);
    return 0;
}

int place_parse(struct place *place, const char *uri, struct err *err) {
    *place = (struct place){0};
    _cleanup_buf_ struct buf schema = {0};
    struct buf rest = {0};
    int r = buf_reserve(&rest, strlen(uri) + 1); /* it may have a password: no copies left behind by growing */
    if (r == 0)
        r = buf_add_str(&schema, SCHEMA_DEFAULT);
    if (r == 0)
        r = take_schema(uri, &rest, &schema);
    if (r == 0 && !is_schema(buf_bytes(&schema)))
        r = err_set(err, -EINVAL,
                    "the PostgreSQL store's URI: froe_schema is a name of a-z, 0-9 and '_' with at most %d bytes",
                    SCHEMA_MAX);
    else if (r == -EINVAL)
        err_set(err, r, "the PostgreSQL store's URI: a broken %%-escape in froe_schema");
    PQconninfoOption *options = r == 0 ? PQconninfoParse(rest.p, NULL) : NULL;
    if (r == 0 && !options)
        r = err_set(err, -EINVAL,
                    "the PostgreSQL store's URI is not one that libpq takes (postgres://user@host/db; are special "
                    "characters in user and password percent-encoded? are all parameters libpq's or froe_schema?)");
    if (r == 0)
        r = (place->schema = mem_strdup(schema.p)) ? 0 : -ENOMEM;
    if (r == 0)
        r = take_options(place, options);
    if (r == 0)
        r = describe(place, options);
    PQconninfoFree(options);
    buf_wipe(&rest);
    if (r < 0)
        place_free(place);
    return r;
}

void place_free(struct place *place) {
    for (size_t i = 0; place->keywords && place->keywords[i]; i++) {
        mem_free(place->keywords[i]);
        if (place->values[i])
            explicit_bzero(place->values[i], strlen(place->values[i]));
        mem_free(place->values[i]);
    }
    mem_free(place->keywords);
    mem_free(place->values);
    mem_free(place->schema);
    mem_free(place->channel);
    mem_free(place->text);
    if (place->password)
        explicit_bzero(place->password, strlen(place->password));
    mem_free(place->password);
    *place = (struct place){0};
}

void place_scrub(const struct place *place, char *text) {
    size_t n = place->password ? strlen(place->password) : 0;
    if (n == 0)
        return;
    for (char *at = text; (at = strstr(at, place->password)); at += n)
        memset(at, '*', n);
}
