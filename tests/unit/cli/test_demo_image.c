/* test_demo_image.c - the demo's pictures are PNG files that any reader takes: checked down to the pixels. */
#include "demo_image.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint32_t u32(const char *at) {
    const unsigned char *p = (const unsigned char *)at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ISO 3309, bit by bit. */
static uint32_t crc32(const char *data, size_t n) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ UINT32_C(0xEDB88320) : crc >> 1;
    }
    return ~crc;
}

static uint32_t adler32(const char *data, size_t n) {
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < n; i++) {
        a = (a + (unsigned char)data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

/* The next chunk, of that type; its CRC is right. */
static struct bytes chunk(struct bytes *png, const char *type) {
    assert_true(png->n >= 12);
    uint32_t n = u32(png->p);
    assert_true(png->n >= 12 + (size_t)n);
    assert_memory_equal(png->p + 4, type, 4);
    assert_int_equal(u32(png->p + 8 + n), crc32(png->p + 4, 4 + (size_t)n));
    struct bytes data = bytes_of(png->p + 8, n);
    png->p += 12 + n;
    png->n -= 12 + (size_t)n;
    return data;
}

static void check_png(struct bytes png) {
    assert_memory_equal(png.p, "\x89PNG\r\n\x1a\n", 8);
    png.p += 8;
    png.n -= 8;
    struct bytes header = chunk(&png, "IHDR");
    assert_int_equal(header.n, 13);
    uint32_t width = u32(header.p), height = u32(header.p + 4);
    assert_in_range(width, 24, 71);
    assert_in_range(height, 24, 71);
    assert_memory_equal(header.p + 8, "\x08\x02\x00\x00\x00", 5); /* 8 bits, RGB, not interlaced */
    struct bytes data = chunk(&png, "IDAT");
    size_t row = 1 + 3 * (size_t)width, pixels = row * height;
    assert_int_equal(data.n, 2 + 5 + pixels + 4);
    unsigned zlib = (unsigned)(unsigned char)data.p[0] << 8 | (unsigned char)data.p[1];
    assert_int_equal(data.p[0] & 0x0f, 8); /* deflate */
    assert_int_equal(zlib % 31, 0);
    const unsigned char *block = (const unsigned char *)data.p + 2;
    assert_int_equal(block[0], 1); /* the last block, stored */
    unsigned length = block[1] | (unsigned)block[2] << 8, inverse = block[3] | (unsigned)block[4] << 8;
    assert_int_equal(length, pixels);
    assert_int_equal(inverse, ~length & 0xffff);
    assert_int_equal(u32(data.p + 7 + pixels), adler32(data.p + 7, pixels));
    for (uint32_t y = 0; y < height; y++)
        assert_int_equal(data.p[7 + y * row], 0); /* no filter */
    assert_int_equal(chunk(&png, "IEND").n, 0);
    assert_int_equal(png.n, 0);
}

static void test_many_pictures(void **state) {
    struct rng rng;
    rng_seed(&rng, 42);
    struct buf png = {0};
    for (int i = 0; i < 500; i++) {
        buf_reset(&png);
        assert_int_equal(demo_image(&rng, &png), 0);
        check_png(buf_bytes(&png));
    }
    buf_free(&png);
}

static void test_is_appended_and_repeatable(void **state) {
    struct rng rng;
    struct buf one = {0}, two = {0};
    rng_seed(&rng, 7);
    buf_add_str(&one, "before");
    assert_int_equal(demo_image(&rng, &one), 0);
    rng_seed(&rng, 7);
    assert_int_equal(demo_image(&rng, &two), 0);
    assert_int_equal(one.n, two.n + 6);
    assert_memory_equal(one.p + 6, two.p, two.n);
    buf_free(&one);
    buf_free(&two);
}

static void test_any_allocation_may_fail(void **state) {
    for (uint64_t n = 1;; n++) {
        struct rng rng;
        struct buf png = {0};
        rng_seed(&rng, 1);
        mem_fail_at(n, 0);
        int r = demo_image(&rng, &png);
        mem_fail_at(0, 0);
        if (r == 0)
            check_png(buf_bytes(&png));
        else
            assert_int_equal(r, -12 /* ENOMEM */);
        buf_free(&png);
        if (r == 0)
            break;
        assert_true(n < 1000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_pictures),
        cmocka_unit_test(test_is_appended_and_repeatable),
        cmocka_unit_test(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
