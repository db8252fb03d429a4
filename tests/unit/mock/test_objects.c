/* Keys, versions and delete markers against a model, through changes of the bucket's versioning; and memory that runs
 * out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "objects.h"
#include "rng.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define KEYS 5
#define VERSIONS_MAX 512

struct model_version {
    uint64_t id; /* 0: null */
    int body;    /* -1: a delete marker */
};

struct model {
    struct {
        struct model_version versions[VERSIONS_MAX]; /* oldest first */
        size_t n;
    } keys[KEYS];
    enum versioning versioning;
};

static struct bytes key_name(int key) {
    static const char *const names[KEYS] = {"a", "a/b", "a/b/c", "b", "\xff\xfe"};
    return bytes_str(names[key]);
}

static void model_drop(struct model *model, int key, uint64_t id) {
    size_t n = model->keys[key].n, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (model->keys[key].versions[i].id != id)
            model->keys[key].versions[kept++] = model->keys[key].versions[i];
    model->keys[key].n = kept;
}

static void model_add(struct model *model, int key, uint64_t id, int body) {
    if (model->versioning != VERSIONING_ENABLED)
        model_drop(model, key, 0);
    assert_true(model->keys[key].n < VERSIONS_MAX);
    model->keys[key].versions[model->keys[key].n++] = (struct model_version){id, body};
}

static void check(const struct objects *objects, const struct bucket *bucket, const struct model *model) {
    uint64_t live = 0, keys = 0, bytes = 0;
    for (int key = 0; key < KEYS; key++) {
        size_t n = model->keys[key].n;
        const struct object *object = object_find(bucket, key_name(key));
        assert_int_equal(object != NULL, n > 0);
        keys += n > 0;
        live += n > 0 && model->keys[key].versions[n - 1].body >= 0;
        const struct version *version = object ? object->newest : NULL;
        for (size_t i = n; i-- > 0; version = version->older) {
            const struct model_version *wanted = &model->keys[key].versions[i];
            assert_non_null(version);
            assert_int_equal(version->id, wanted->id);
            assert_int_equal(version->blob != NULL, wanted->body >= 0);
            if (version->blob) {
                assert_int_equal(version->blob->size, (uint64_t)wanted->body);
                bytes += version->blob->size;
            }
            assert_ptr_equal(object_version(object, wanted->id), version);
        }
        assert_null(version);
    }
    assert_int_equal(bucket->live, live);
    assert_int_equal(objects->live, live);
    assert_int_equal(bucket->objects.count, keys);
    assert_int_equal(bucket->bytes, bytes);
    assert_int_equal(objects->bytes, bytes);
}

static void against_model(void **state) {
    static char body[64];
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct rng rng;
        struct objects objects;
        struct bucket *bucket;
        static struct model model;
        memset(&model, 0, sizeof(model));
        rng_seed(&rng, seed);
        assert_int_equal(objects_init(&objects, 1 << 20, seed), 0);
        assert_int_equal(bucket_make(&objects, BYTES("bucket"), BYTES("us-east-1"), 5, &bucket), 0);
        for (int step = 0; step < 2500; step++) {
            int key = (int)rng_below(&rng, KEYS);
            uint64_t what = rng_below(&rng, 100);
            struct deletion deletion;
            if (what < 35) {
                struct blob *blob;
                struct version *version;
                int size = (int)rng_below(&rng, sizeof(body));
                assert_int_equal(blob_new(&objects, bytes_of(body, (size_t)size), &blob), 0);
                assert_int_equal(object_put(&objects, bucket, key_name(key), blob, NULL, 0, step, &version), 0);
                assert_int_equal(version->id != 0, model.versioning == VERSIONING_ENABLED);
                model_add(&model, key, version->id, size);
            } else if (what < 55) {
                assert_int_equal(object_delete(&objects, bucket, key_name(key), step, &deletion), 0);
                if (model.versioning == VERSIONING_OFF) {
                    assert_null(deletion.made);
                    model_drop(&model, key, 0);
                } else {
                    assert_non_null(deletion.made);
                    model_add(&model, key, deletion.made->id, -1);
                }
            } else if (what < 98) {
                size_t n = model.keys[key].n;
                struct model_version victim = {77777, 0}; /* one that never was */
                if (n && rng_below(&rng, 10))
                    victim = model.keys[key].versions[rng_below(&rng, n)];
                object_delete_version(&objects, bucket, key_name(key), victim.id, &deletion);
                assert_int_equal(deletion.marker, victim.body < 0);
                model_drop(&model, key, victim.id);
            } else if (step > 300) { /* once on, it can be suspended, never off again */
                model.versioning = rng_below(&rng, 2) ? VERSIONING_ENABLED : VERSIONING_SUSPENDED;
                bucket->versioning = model.versioning;
            }
            check(&objects, bucket, &model);
        }
        objects_reset(&objects);
        assert_int_equal(objects.bytes, 0);
        assert_int_equal(objects.live, 0);
        objects_free(&objects);
    }
}

static void version_ids(void **state) {
    struct objects objects;
    assert_int_equal(objects_init(&objects, 1 << 20, 0x1234567890abcdef), 0);
    for (uint64_t id = 0; id < 1000; id++) {
        struct version version = {.id = id};
        char text[VERSION_ID_MAX];
        uint64_t back = 99;
        size_t n = version_id_text(&objects, &version, text);
        assert_int_equal(n, id ? VERSION_ID_MAX : 4);
        assert_true(version_id_parse(&objects, bytes_of(text, n), &back));
        assert_int_equal(back, id);
        if (id) { /* any other text is no id */
            text[id % n] = text[id % n] == '0' ? '1' : '0';
            assert_false(version_id_parse(&objects, bytes_of(text, n), &back));
        }
    }
    uint64_t id;
    assert_false(version_id_parse(&objects, BYTES(""), &id));
    assert_false(version_id_parse(&objects, BYTES("nul"), &id));
    assert_false(version_id_parse(&objects, BYTES("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"), &id));
    objects_free(&objects);
}

static void names(void **state) {
    static const char *const good[] = {"abc", "a-b", "a.b.c", "123", "0a0", "bucket-1", "a--b"};
    static const char *const bad[] = {"",           "ab",         "Abc", "a_b", "-abc",    "abc-",          ".abc",
                                      "abc.",       "a..b",       "a b", "a/b", "1.2.3.4", "192.168.10.10", "xn--abc",
                                      "ab\xc3\xa4", "abc-s3alias"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(bucket_name_ok(bytes_str(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(bucket_name_ok(bytes_str(bad[i])));
    char longest[64];
    memset(longest, 'a', sizeof(longest));
    assert_true(bucket_name_ok(bytes_of(longest, 63)));
    assert_false(bucket_name_ok(bytes_of(longest, 64)));
}

static void limits(void **state) {
    struct objects objects;
    struct bucket *bucket, *other;
    struct blob *blob, *second;
    char key[OBJECT_KEY_MAX + 1];
    memset(key, 'k', sizeof(key));
    assert_int_equal(objects_init(&objects, 10, 1), 0);
    assert_int_equal(bucket_make(&objects, BYTES("bucket"), BYTES("r"), 5, &bucket), 0);
    assert_int_equal(bucket_make(&objects, BYTES("bucket"), BYTES("r"), 5, &other), -EEXIST);
    assert_int_equal(bucket_make(&objects, BYTES("bucket2"), BYTES(""), 5, &other), -EINVAL);
    assert_int_equal(blob_new(&objects, BYTES("0123456789A"), &blob), -ENOSPC);
    assert_int_equal(blob_new(&objects, BYTES("012345678"), &blob), 0);
    assert_int_equal(blob_new(&objects, BYTES("01"), &second), -ENOSPC);
    assert_int_equal(blob_new(&objects, BYTES("0"), &second), 0);
    blob_unref(&objects, second);
    assert_int_equal(object_put(&objects, bucket, bytes_of(key, sizeof(key)), blob, NULL, 0, 0, NULL), -EINVAL);
    assert_int_equal(object_put(&objects, bucket, BYTES_NONE, blob, NULL, 0, 0, NULL), -EINVAL);
    assert_int_equal(object_put(&objects, bucket, bytes_of(key, sizeof(key) - 1), blob, NULL, 0, 0, NULL), 0);
    assert_int_equal(bucket_drop(&objects, bucket), -ENOTEMPTY);
    struct deletion deletion;
    assert_int_equal(object_delete(&objects, bucket, bytes_of(key, sizeof(key) - 1), 0, &deletion), 0);
    assert_int_equal(objects.bytes, 0);
    assert_int_equal(bucket_drop(&objects, bucket), 0);
    assert_null(bucket_find(&objects, BYTES("bucket")));
    objects_free(&objects);
}

static void etags(void **state) {
    struct objects objects;
    struct blob *blob;
    char etag[ETAG_MAX];
    assert_int_equal(objects_init(&objects, 10, 1), 0);
    assert_int_equal(blob_new(&objects, BYTES_NONE, &blob), 0);
    size_t n = blob_etag(blob, etag);
    assert_true(bytes_equal(bytes_of(etag, n), BYTES("\"d41d8cd98f00b204e9800998ecf8427e\"")));
    blob->parts = 10020;
    n = blob_etag(blob, etag);
    assert_true(bytes_equal(bytes_of(etag, n), BYTES("\"d41d8cd98f00b204e9800998ecf8427e-10020\"")));
    blob_unref(&objects, blob);
    objects_free(&objects);
}

static void memory_runs_out(void **state) {
    struct objects objects;
    struct bucket *bucket = NULL;
    assert_int_equal(objects_init(&objects, 1 << 20, 1), 0);
    uint64_t failures = 0;
    for (uint64_t at = 1; !bucket; at++, failures++) {
        mem_fail_at(at, 0);
        int r = bucket_make(&objects, BYTES("bucket"), BYTES("r"), 5, &bucket);
        mem_fail_at(0, 0);
        assert_true(r == 0 || (r == -ENOMEM && objects.buckets.count == 0));
    }
    for (int round = 0; round < 4; round++) {
        bucket->versioning = round < 2 ? VERSIONING_OFF : VERSIONING_ENABLED;
        bool put = false;
        for (uint64_t at = 1; !put; at++, failures++) {
            struct blob *blob = NULL;
            uint64_t bytes = objects.bytes, live = objects.live, keys = bucket->objects.count;
            mem_fail_at(at, 0);
            int r = blob_new(&objects, BYTES("body"), &blob);
            if (r == 0)
                r = object_put(&objects, bucket, BYTES("key"), blob, NULL, 0, 0, NULL);
            mem_fail_at(0, 0);
            put = r == 0;
            if (!put) {
                blob_unref(&objects, blob);
                assert_int_equal(r, -ENOMEM);
                assert_true(objects.bytes == bytes && objects.live == live && bucket->objects.count == keys);
            }
        }
    }
    assert_true(failures > 10);
    struct deletion deletion;
    mem_fail_at(1, 0);
    assert_int_equal(object_delete(&objects, bucket, BYTES("key"), 0, &deletion), -ENOMEM);
    mem_fail_at(0, 0);
    assert_int_equal(objects.live, 1);
    objects_free(&objects);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_model), cmocka_unit_test(version_ids), cmocka_unit_test(names),
        cmocka_unit_test(limits),        cmocka_unit_test(etags),       cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
