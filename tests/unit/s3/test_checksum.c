/* Checksums: published check values, every split and alignment against the bit-by-bit definition, and the headers. */
#include "checksum.h"
#include "crc.h"
#include "mem.h"
#include "rng.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t by_bits(uint64_t crc, uint64_t poly, uint64_t mask, struct bytes data) {
    crc = ~crc & mask;
    for (size_t i = 0; i < data.n; i++) {
        crc ^= (unsigned char)data.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ poly : crc >> 1;
    }
    return ~crc & mask;
}

/* Check values of the catalogue of parametrised CRC algorithms. */
static void test_check_values(void **state) {
    struct bytes digits = BYTES("123456789");
    assert_int_equal(crc_32(0, digits), 0xcbf43926);
    assert_int_equal(checksum_crc32(0, digits), 0xcbf43926);
    assert_int_equal(crc_32c(0, digits), 0xe3069283);
    assert_true(crc_64nvme(0, digits) == UINT64_C(0xae8b14860a799888));
    assert_int_equal(crc_32(0, BYTES_NONE), 0);
    assert_int_equal(crc_32c(0, BYTES_NONE), 0);
    assert_true(crc_64nvme(0, BYTES_NONE) == 0);
    /* RFC 3720, B.4: 32 bytes of zeroes, of ones, and ascending. */
    char block[32] = {0};
    assert_int_equal(crc_32c(0, bytes_of(block, 32)), 0x8a9136aa);
    memset(block, 0xff, sizeof block);
    assert_int_equal(crc_32c(0, bytes_of(block, 32)), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        block[i] = (char)i;
    assert_int_equal(crc_32c(0, bytes_of(block, 32)), 0x46dd794e);
    /* NVM Express: 4 KiB of zeroes and of ones. */
    static char page[4096];
    assert_true(crc_64nvme(0, bytes_of(page, sizeof page)) == UINT64_C(0x6482d367eb22b64e));
    memset(page, 0xff, sizeof page);
    assert_true(crc_64nvme(0, bytes_of(page, sizeof page)) == UINT64_C(0xc0ddba7302eca3ac));
}

static void test_against_definition(void **state) {
    char data[500]; /* long ones are worked on in another way */
    struct rng rng;
    rng_seed(&rng, 7);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)rng_next(&rng);
    for (size_t start = 0; start < 9; start++)
        for (size_t n = 0; start + n <= sizeof data; n += n < 40 ? 1 : 29) {
            struct bytes whole = bytes_of(data + start, n);
            size_t split = n ? (size_t)rng_below(&rng, n + 1) : 0;
            struct bytes a = bytes_of(data + start, split), b = bytes_of(data + start + split, n - split);
            uint64_t want = by_bits(0, 0xedb88320, UINT32_MAX, whole);
            assert_true(crc_32(0, whole) == want);
            assert_true(crc_32(crc_32(0, a), b) == want);
            want = by_bits(0, 0x82f63b78, UINT32_MAX, whole);
            assert_true(crc_32c(0, whole) == want);
            assert_true(crc_32c(crc_32c(0, a), b) == want);
            want = by_bits(0, UINT64_C(0x9a6c9329ac4bc9b5), UINT64_MAX, whole);
            assert_true(crc_64nvme(0, whole) == want);
            assert_true(crc_64nvme(crc_64nvme(0, a), b) == want);
        }
}

static const struct {
    enum checksum_kind kind;
    struct bytes header;
    const char *text, *of_nothing; /* base64, of "123456789" and of the empty body */
    size_t size;
} kinds[] = {
    {CHECKSUM_CRC32, {"x-amz-checksum-crc32", 20}, "y/Q5Jg==", "AAAAAA==", 4},
    {CHECKSUM_CRC32C, {"x-amz-checksum-crc32c", 21}, "4waSgw==", "AAAAAA==", 4},
    {CHECKSUM_CRC64NVME, {"x-amz-checksum-crc64nvme", 24}, "rosUhgp5mIg=", "AAAAAAAAAAA=", 8},
    {CHECKSUM_SHA1, {"x-amz-checksum-sha1", 19}, "98O8HYCOBHMq32eZZczDTKeuNEE=", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", 20},
    {CHECKSUM_SHA256,
     {"x-amz-checksum-sha256", 21},
     "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
     "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
     32},
    {CHECKSUM_MD5, {NULL, 0}, "JfnnlDI7RTiF9RgfG2JNCw==", "1B2M2Y8AsgTpgAmY7PhCfg==", 16},
};

/* One object, reused for every kind, in pieces. */
static void test_streams(void **state) {
    struct checksum *checksum;
    unsigned char digest[CHECKSUM_SIZE_MAX];
    size_t size;
    bool comparable;
    assert_int_equal(checksum_new(&checksum), 0);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            assert_int_equal(checksum_begin(checksum, kinds[i].kind), 0);
            assert_int_equal(checksum_update(checksum, BYTES("12")), 0);
            assert_int_equal(checksum_update(checksum, BYTES_NONE), 0);
            assert_int_equal(checksum_update(checksum, BYTES("3456789")), 0);
            assert_int_equal(checksum_end(checksum, digest, &size), 0);
            assert_int_equal(size, kinds[i].size);
            assert_true(checksum_header_matches(bytes_str(kinds[i].text), digest, size, &comparable));
            assert_true(comparable);
            assert_false(checksum_header_matches(bytes_str(kinds[i].of_nothing), digest, size, &comparable));
            assert_true(comparable);
            assert_int_equal(checksum_begin(checksum, kinds[i].kind), 0);
            assert_int_equal(checksum_end(checksum, digest, &size), 0);
            assert_true(checksum_header_matches(bytes_str(kinds[i].of_nothing), digest, size, &comparable));
        }
    assert_int_equal(checksum_begin(checksum, CHECKSUM_NONE), 0);
    assert_int_equal(checksum_update(checksum, BYTES("x")), 0);
    assert_int_equal(checksum_end(checksum, digest, &size), 0);
    assert_int_equal(size, 0);
    checksum_free(checksum);
    checksum_free(NULL);
}

static void test_headers(void **state) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].header.n)
            assert_int_equal(checksum_of_header(kinds[i].header), kinds[i].kind);
    assert_int_equal(checksum_of_header(BYTES("x-amz-checksum-crc3")), CHECKSUM_NONE);
    assert_int_equal(checksum_of_header(BYTES("x-amz-checksum-type")), CHECKSUM_NONE);
    assert_int_equal(checksum_of_header(BYTES("x-amz-checksum-xxhash64")), CHECKSUM_NONE);
    assert_int_equal(checksum_of_header(BYTES_NONE), CHECKSUM_NONE);
}

static void test_values(void **state) {
    const unsigned char digest[4] = {0xcb, 0xf4, 0x39, 0x26};
    bool comparable;
    static const struct {
        const char *value;
        bool matches, comparable;
    } cases[] = {
        {"y/Q5Jg==", true, true},   {"y/Q5Jw==", false, true},    {"y/Q5Jg", false, true},
        {"", false, true},          {"y/Q5Jg==-3", false, false}, {"y/Q5Jg==-10000", false, false},
        {"y/Q5Jg==-", false, true}, {"-3", false, false},         {"y/Q5Jg==-x3", false, true},
        {" y/Q5Jg==", false, true}, {"12345678", false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(checksum_header_matches(bytes_str(cases[i].value), digest, 4, &comparable), cases[i].matches);
        assert_int_equal(comparable, cases[i].comparable);
    }
}

static void test_etags(void **state) {
    const unsigned char want[16] = {0x25, 0xf9, 0xe7, 0x94, 0x32, 0x3b, 0x45, 0x38,
                                    0x85, 0xf5, 0x18, 0x1f, 0x1b, 0x62, 0x4d, 0x0b};
    unsigned char md5[16];
    const char *right[] = {"\"25f9e794323b453885f5181f1b624d0b\"", "\"25F9E794323B453885F5181F1B624D0B\"",
                           "25f9e794323b453885f5181f1b624d0b"};
    for (size_t i = 0; i < 3; i++) {
        memset(md5, 0, sizeof md5);
        assert_true(checksum_etag_md5(bytes_str(right[i]), md5));
        assert_memory_equal(md5, want, 16);
    }
    const char *wrong[] = {"",
                           "\"\"",
                           "\"25f9e794323b453885f5181f1b624d0b-2\"",
                           "W/\"25f9e794323b453885f5181f1b624d0b\"",
                           "\"25f9e794323b453885f5181f1b624d0\"",
                           "\"25f9e794323b453885f5181f1b624d0g\"",
                           "\"25f9e794323b453885f5181f1b624d0b",
                           "'25f9e794323b453885f5181f1b624d0b'",
                           "\"25f9e794323b453885f5181f1b624d0b0\""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(checksum_etag_md5(bytes_str(wrong[i]), md5));
    assert_memory_equal(md5, want, 16);
}

static void test_no_memory(void **state) {
    struct checksum *checksum = NULL;
    mem_fail_at(1, 0);
    int r = checksum_new(&checksum);
    mem_fail_at(0, 0);
    assert_int_equal(r, -ENOMEM);
    assert_null(checksum);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_values), cmocka_unit_test(test_against_definition),
        cmocka_unit_test(test_streams),      cmocka_unit_test(test_headers),
        cmocka_unit_test(test_values),       cmocka_unit_test(test_etags),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("s3/checksum", tests, NULL, NULL);
}
