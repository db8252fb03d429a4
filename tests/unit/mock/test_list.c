/* Listings against a model that looks at every key: prefixes, delimiters, pages of all sizes, both forms of keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mock_client.h"
#include "rng.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS_MAX 400
#define KEY_MAX 24

static struct client client;
static struct reply reply;

struct keys { /* sorted, each once */
    char text[KEYS_MAX][KEY_MAX];
    size_t n;
};

static int by_bytes(const void *a, const void *b) {
    return strcmp(a, b);
}

static void make_keys(struct rng *rng, struct keys *keys) {
    static const char *const parts[] = {"a", "b", "/", "//", "a/", "-", " ", "+", "%", "\xc3\xa9", "\x01", "&", "z"};
    struct keys raw = {.n = 0};
    while (raw.n < 300) {
        char *key = raw.text[raw.n++];
        key[0] = '\0';
        for (uint64_t left = 1 + rng_below(rng, 6); left; left--)
            strcat(key, parts[rng_below(rng, sizeof(parts) / sizeof(parts[0]))]);
    }
    qsort(raw.text, raw.n, KEY_MAX, by_bytes);
    keys->n = 0;
    for (size_t i = 0; i < raw.n; i++)
        if (i == 0 || strcmp(raw.text[i], raw.text[i - 1]) != 0)
            strcpy(keys->text[keys->n++], raw.text[i]);
}

/* What a listing must give: keys and common prefixes in one order, each marked. */
struct item {
    char text[KEY_MAX + 1];
    bool is_prefix;
};

static size_t expected(const struct keys *keys, const char *prefix, const char *delimiter, const char *after,
                       struct item *items) {
    size_t n = 0;
    for (size_t i = 0; i < keys->n; i++) {
        const char *key = keys->text[i];
        if (strncmp(key, prefix, strlen(prefix)) != 0 || (*after && strcmp(key, after) <= 0))
            continue;
        const char *at = *delimiter ? strstr(key + strlen(prefix), delimiter) : NULL;
        struct item item = {.is_prefix = at != NULL};
        if (at)
            memcpy(item.text, key, (size_t)(at - key) + strlen(delimiter));
        else
            strcpy(item.text, key);
        if (at && n && items[n - 1].is_prefix && strcmp(items[n - 1].text, item.text) == 0)
            continue;
        items[n++] = item;
    }
    return n;
}

/* The text between two marks, from *at on; moves *at behind it. */
static bool between(const char **at, const char *open, const char *close, struct bytes *ret_text) {
    const char *from = strstr(*at, open);
    const char *to = from ? strstr(from, close) : NULL;
    if (!to)
        return false;
    from += strlen(open);
    *ret_text = bytes_of(from, (size_t)(to - from));
    *at = to;
    return true;
}

static struct bytes element(const char *open, const char *close) {
    const char *at = reply.body.p;
    struct bytes text = BYTES_NONE;
    return between(&at, open, close, &text) ? text : BYTES_NONE;
}

static void take_items(struct item *items, size_t *n, bool prefixes) {
    const char *at = reply.body.p;
    struct bytes text;
    while (between(&at, prefixes ? "<CommonPrefixes><Prefix>" : "<Contents><Key>", prefixes ? "</Prefix>" : "</Key>",
                   &text)) {
        struct buf decoded = {0};
        assert_int_equal(text_add_unpercent(&decoded, text, true), 0);
        assert_true(decoded.n < KEY_MAX && *n < KEYS_MAX);
        items[*n] = (struct item){.is_prefix = prefixes};
        memcpy(items[(*n)++].text, decoded.p, decoded.n);
        buf_free(&decoded);
    }
}

static int by_text(const void *a, const void *b) {
    return strcmp(((const struct item *)a)->text, ((const struct item *)b)->text);
}

/* Walks all pages; items come out sorted. */
static size_t listed(bool v2, const char *prefix, const char *delimiter, const char *after, const char *page,
                     uint64_t most, struct item *items) {
    size_t n = 0;
    struct buf marker = {0};
    for (int pages = 0;; pages++) {
        struct param params[8] = {
            {"encoding-type", "url"}, {"prefix", prefix}, {"delimiter", delimiter}, {"max-keys", page}};
        size_t count = 4;
        if (v2)
            params[count++] = (struct param){"list-type", "2"};
        if (v2 && *after)
            params[count++] = (struct param){"start-after", after};
        if (marker.n)
            params[count++] = (struct param){v2 ? "continuation-token" : "marker", marker.p};
        else if (!v2 && *after)
            params[count++] = (struct param){"marker", after};
        struct call call = {.method = "GET", .bucket = BYTES("listed"), .params = params};
        client_call(&client, &call, &reply);
        assert_int_equal(reply.status, 200);
        size_t before = n;
        take_items(items, &n, false);
        take_items(items, &n, true);
        assert_true(n - before <= most);
        bool truncated = reply_has(&reply, "<IsTruncated>true</IsTruncated>");
        if (v2) {
            char key_count[64];
            snprintf(key_count, sizeof(key_count), "<KeyCount>%zu</KeyCount>", n - before);
            assert_true(reply_has(&reply, key_count));
        }
        if (!truncated)
            break;
        assert_int_equal(n - before, most);
        buf_reset(&marker);
        struct bytes next = v2 ? element("<NextContinuationToken>", "</NextContinuationToken>")
                               : element("<NextMarker>", "</NextMarker>");
        if (v2)
            buf_add_bytes(&marker, next);
        else if (next.n)
            text_add_unpercent(&marker, next, true);
        else
            buf_add_str(&marker, items[n - 1].text); /* without a delimiter the last key is the marker */
        assert_true(marker.n > 0 && pages < 1000);
    }
    buf_free(&marker);
    qsort(items, n, sizeof(items[0]), by_text);
    return n;
}

static void compare(const struct keys *keys, bool v2, const char *prefix, const char *delimiter, const char *after,
                    const char *page, uint64_t most) {
    static struct item wanted[KEYS_MAX], got[KEYS_MAX];
    size_t n = expected(keys, prefix, delimiter, after, wanted);
    qsort(wanted, n, sizeof(wanted[0]), by_text);
    size_t have = listed(v2, prefix, delimiter, after, page, most, got);
    bool same = n == have;
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(wanted[i].text, got[i].text) == 0 && wanted[i].is_prefix == got[i].is_prefix;
    if (!same)
        fail_msg("v%d prefix '%s' delimiter '%s' after '%s' page %s: %zu of %zu", v2 + 1, prefix, delimiter, after,
                 page, have, n);
}

static void against_model(void **state) {
    static const char *const prefixes[] = {"", "a", "a/", "/", "//", "b-", "nothing", "\xc3\xa9", "%", " "};
    static const char *const delimiters[] = {"", "/", "//", "a", "a/"};
    static const struct {
        const char *text;
        uint64_t most;
    } pages[] = {{"", 1000}, {"1", 1}, {"3", 3}, {"17", 17}, {"5000", 1000}};
    struct rng rng;
    rng_seed(&rng, 3);
    static struct keys keys;
    make_keys(&rng, &keys);
    for (size_t i = 0; i < keys.n; i++)
        assert_int_equal(mock_put(client.mock, BYTES("listed"), bytes_str(keys.text[i]), BYTES("x"), NULL), 0);
    for (size_t p = 0; p < sizeof(prefixes) / sizeof(prefixes[0]); p++)
        for (size_t d = 0; d < sizeof(delimiters) / sizeof(delimiters[0]); d++)
            for (size_t s = 0; s < sizeof(pages) / sizeof(pages[0]); s++)
                for (int v2 = 0; v2 < 2; v2++) {
                    if (pages[s].most == 1 && d != 1 && p > 2)
                        continue; /* long, and nothing new */
                    compare(&keys, v2, prefixes[p], delimiters[d], "", pages[s].text, pages[s].most);
                }
    for (int i = 0; i < 40; i++) { /* from any place, there or not */
        const char *key = keys.text[rng_below(&rng, keys.n)];
        char after[KEY_MAX + 2];
        snprintf(after, sizeof(after), "%s%s", key, i % 2 ? "" : "!");
        compare(&keys, true, i % 3 ? "" : "a", i % 5 == 0 ? "/" : "", after, "20", 20);
        if (i % 5)
            compare(&keys, false, i % 3 ? "" : "a", "", after, "20", 20);
    }
}

static int list_with(const char *name, const char *value) {
    struct param params[] = {{"list-type", "2"}, {name, value}, {NULL, NULL}};
    struct call call = {.method = "GET", .bucket = BYTES("listed"), .params = params};
    client_call(&client, &call, &reply);
    return reply.status;
}

static void parameters(void **state) {
    assert_int_equal(mock_put(client.mock, BYTES("listed"), BYTES("<&>\"\r\n'\x01"), BYTES("x"), NULL), 0);
    assert_int_equal(list_with("prefix", "<"), 200); /* not url-encoded: escaped */
    assert_true(reply_has(&reply, "<Key>&lt;&amp;&gt;&quot;&#xd;&#xa;'&#x1;</Key>"));
    assert_true(reply_has(&reply, "<Prefix>&lt;</Prefix>"));
    assert_true(reply_has(&reply, "<ETag>&quot;9dd4e461268c8034f5c8564e155c67a6&quot;</ETag>"));
    assert_int_equal(list_with("max-keys", "0"), 200);
    assert_true(reply_has(&reply, "<IsTruncated>false</IsTruncated>"));
    assert_true(reply_has(&reply, "<KeyCount>0</KeyCount>"));
    assert_int_equal(list_with("max-keys", "-1"), 400);
    assert_int_equal(list_with("max-keys", "x"), 400);
    assert_int_equal(list_with("encoding-type", "base64"), 400);
    assert_int_equal(list_with("continuation-token", "?"), 400);
    assert_int_equal(list_with("continuation-token", ""), 400);
    assert_int_equal(list_with("list-type", "3"), 200); /* the first one counts */
    assert_int_equal(list_with("fetch-owner", "true"), 200);
    assert_true(reply_has(&reply, "<Owner>"));
    struct call call = {.method = "DELETE", .bucket = BYTES("listed"), .key = BYTES("<&>\"\r\n'\x01")};
    client_call(&client, &call, &reply);
    assert_int_equal(reply.status, 204);
}

/* Keys deleted behind and before the cursor while it moves: what stays is seen once. */
static void deletes_between_pages(void **state) {
    assert_int_equal(client_admin(&client, "POST", "seed?bucket=moving&count=1000&size=1", "", &reply), 200);
    size_t seen = 0;
    char after[KEY_MAX] = "";
    for (;;) {
        struct param params[] = {{"list-type", "2"}, {"start-after", after}, {"max-keys", "100"}, {NULL, NULL}};
        struct call call = {.method = "GET", .bucket = BYTES("moving"), .params = params};
        client_call(&client, &call, &reply);
        const char *at = reply.body.p;
        struct bytes text = BYTES_NONE;
        size_t before = seen;
        char keys[100][KEY_MAX];
        for (; between(&at, "<Contents><Key>", "</Key>", &text); seen++)
            snprintf(keys[seen - before], KEY_MAX, "%.*s", (int)text.n, text.p);
        if (seen == before)
            break;
        struct reply deleted = {0};
        for (size_t i = 0; i < seen - before; i++)
            assert_int_equal(client_do(&client, "DELETE", "moving", keys[i], &deleted), 204);
        reply_free(&deleted);
        strcpy(after, keys[seen - before - 1]);
    }
    assert_int_equal(seen, 1000);
    assert_int_equal(mock_count(client.mock, BYTES("moving")), 0);
}

static void versions(void **state) {
    struct call versioning = {.method = "PUT",
                              .bucket = BYTES("listed-v"),
                              .params = (struct param[]){{"versioning", ""}, {NULL, NULL}},
                              .body =
                                  BYTES("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")};
    assert_int_equal(mock_put(client.mock, BYTES("listed-v"), BYTES("a/0"), BYTES("x"), NULL), 0);
    client_call(&client, &versioning, &reply);
    assert_int_equal(reply.status, 200);
    for (int i = 0; i < 12; i++) {
        char key[8];
        snprintf(key, sizeof(key), i % 4 == 3 ? "a/%d" : "b%d", i % 3);
        if (i % 5 == 4)
            assert_int_equal(client_do(&client, "DELETE", "listed-v", key, &reply), 204);
        else
            assert_int_equal(client_put(&client, "listed-v", key, "y"), 200);
    }
    for (int delimited = 0; delimited < 2; delimited++) {
        struct buf whole = {0}, paged = {0};
        for (int size = 0; size < 2; size++) { /* all at once, then one by one */
            struct buf *ids = size ? &paged : &whole;
            struct buf key = {0}, id = {0};
            for (int pages = 0; pages < 40; pages++) {
                struct param params[8] = {{"versions", ""}, {"max-keys", size ? "1" : "1000"}};
                size_t n = 2;
                if (delimited)
                    params[n++] = (struct param){"delimiter", "/"};
                if (key.n)
                    params[n++] = (struct param){"key-marker", key.p};
                if (id.n)
                    params[n++] = (struct param){"version-id-marker", id.p};
                struct call call = {.method = "GET", .bucket = BYTES("listed-v"), .params = params};
                client_call(&client, &call, &reply);
                assert_int_equal(reply.status, 200);
                const char *at = reply.body.p;
                struct bytes text;
                while (between(&at, "<VersionId>", "</IsLatest>", &text)) {
                    buf_add_bytes(ids, text);
                    buf_add_byte(ids, '\n');
                }
                if (!reply_has(&reply, "<IsTruncated>true</IsTruncated>"))
                    break;
                buf_reset(&key);
                buf_reset(&id);
                buf_add_bytes(&key, element("<NextKeyMarker>", "</NextKeyMarker>"));
                buf_add_bytes(&id, element("<NextVersionIdMarker>", "</NextVersionIdMarker>"));
            }
            buf_free(&key);
            buf_free(&id);
        }
        assert_true(bytes_equal(buf_bytes(&whole), buf_bytes(&paged)));
        size_t lines = 0;
        for (size_t i = 0; i < whole.n; i++)
            lines += whole.p[i] == '\n';
        assert_int_equal(lines, delimited ? 9 : 13);
        buf_free(&whole);
        buf_free(&paged);
    }
    struct param bad[] = {{"versions", ""}, {"version-id-marker", "null"}, {NULL, NULL}};
    struct call call = {.method = "GET", .bucket = BYTES("listed-v"), .params = bad};
    client_call(&client, &call, &reply);
    assert_int_equal(reply.status, 400);
}

static int list_buckets(const struct param *params) {
    struct call call = {.method = "GET", .params = params};
    client_call(&client, &call, &reply);
    return reply.status;
}

static void buckets(void **state) {
    for (int i = 0; i < 25; i++) {
        char name[16];
        int n = snprintf(name, sizeof(name), "many-%02d", i);
        assert_int_equal(mock_put(client.mock, bytes_of(name, (size_t)n), BYTES("k"), BYTES("x"), NULL), 0);
    }
    assert_int_equal(list_buckets(NULL), 200);
    assert_true(reply_has(&reply, "<Name>many-00</Name>"));
    assert_false(reply_has(&reply, "<BucketRegion>")); /* told only to who asks for pages */
    size_t seen = 0;
    struct buf token = {0};
    for (;;) {
        struct param params[] = {
            {"prefix", "many-"}, {"max-buckets", "4"}, {"continuation-token", token.p}, {NULL, NULL}};
        if (!token.n)
            params[2].name = NULL;
        assert_int_equal(list_buckets(params), 200);
        const char *at = reply.body.p;
        struct bytes text;
        for (; between(&at, "<Name>", "</Name>", &text); seen++) {
            char name[16];
            snprintf(name, sizeof(name), "many-%02zu", seen);
            assert_true(bytes_equal(text, bytes_str(name)));
        }
        assert_true(reply_has(&reply, "<BucketRegion>us-east-1</BucketRegion>"));
        assert_true(reply_has(&reply, "<Prefix>many-</Prefix>"));
        struct bytes next = element("<ContinuationToken>", "</ContinuationToken>");
        if (!next.n)
            break;
        buf_reset(&token);
        buf_add_bytes(&token, next);
    }
    assert_int_equal(seen, 25);
    buf_free(&token);
    static const char *const bad[] = {"0", "10001", "-1", "x"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(list_buckets((struct param[]){{"max-buckets", bad[i]}, {NULL, NULL}}), 400);
    assert_int_equal(list_buckets((struct param[]){{"bucket-region", "eu-west-1"}, {NULL, NULL}}), 200);
    assert_false(reply_has(&reply, "<Bucket>"));
}

static int open_client(void **state) {
    client_open(&client, NULL);
    return 0;
}

static int close_client(void **state) {
    reply_free(&reply);
    client_close(&client);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_model), cmocka_unit_test(parameters), cmocka_unit_test(deletes_between_pages),
        cmocka_unit_test(versions),      cmocka_unit_test(buckets),
    };
    return cmocka_run_group_tests(tests, open_client, close_client);
}
