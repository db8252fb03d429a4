/* MD5 of several messages side by side: RFC 1321's own examples, and OpenSSL's word on messages of all lengths, as many
 * at once as there are lanes or fewer, in pieces that end anywhere. */
#include "md5.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <stdio.h>

/* As RFC 1321, appendix A.5 prints it. */
static void check(const char *text, const char *want) {
    struct md5 md5;
    unsigned char digest[MD5_SIZE];
    char hex[2 * MD5_SIZE + 1];
    struct bytes data = bytes_str(text);
    md5_begin(&md5);
    md5_update(&(struct md5 *){&md5}, &data, 1);
    md5_end(&md5, digest);
    for (size_t i = 0; i < MD5_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(hex, want);
}

static void test_examples(void **state) {
    check("", "d41d8cd98f00b204e9800998ecf8427e");
    check("a", "0cc175b9c0f1b6a831c399e269772661");
    check("abc", "900150983cd24fb0d6963f7d28e17f72");
    check("message digest", "f96b697d7cb7938d525a2f31aaf161d0");
    check("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b");
    check("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f");
    check("12345678901234567890123456789012345678901234567890123456789012345678901234567890",
          "57edf4a22be3c955ac49da2e2107b67a");
}

#define MESSAGE_MAX 4000

static unsigned char text[MD5_LANES][MESSAGE_MAX];

static void fill(void) {
    uint32_t x = 7;
    for (size_t i = 0; i < sizeof text; i++) {
        x = x * 1664525u + 1013904223u;
        text[i / MESSAGE_MAX][i % MESSAGE_MAX] = (unsigned char)(x >> 24);
    }
}

/* Message i has length[i] bytes and comes in pieces of up to piece[i]. */
static void compare(size_t n, const size_t length[], const size_t piece[]) {
    struct md5 md5[MD5_LANES], *those[MD5_LANES];
    size_t at[MD5_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        md5_begin(those[i] = &md5[i]);
    for (bool more = true; more;) {
        struct bytes data[MD5_LANES];
        more = false;
        for (size_t i = 0; i < n; i++) {
            size_t left = length[i] - at[i], some = left < piece[i] ? left : piece[i];
            data[i] = bytes_of(text[i] + at[i], some);
            at[i] += some;
            more = more || some;
        }
        md5_update(those, data, n);
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char digest[MD5_SIZE], want[EVP_MAX_MD_SIZE];
        md5_end(&md5[i], digest);
        assert_int_equal(EVP_Q_digest(NULL, "MD5", NULL, text[i], length[i], want, NULL), 1);
        assert_memory_equal(digest, want, MD5_SIZE);
    }
}

static void test_all_lengths(void **state) {
    fill();
    for (size_t n = 1; n <= MD5_LANES; n++)
        for (size_t some = 0; some <= 4 * MD5_BLOCK; some++) {
            size_t length[MD5_LANES], piece[MD5_LANES];
            for (size_t i = 0; i < n; i++) {
                length[i] = some + i;
                piece[i] = MESSAGE_MAX;
            }
            compare(n, length, piece);
        }
}

static void test_uneven(void **state) {
    uint32_t x = 3;
    fill();
    for (int turn = 0; turn < 2000; turn++) {
        size_t length[MD5_LANES], piece[MD5_LANES];
        for (size_t i = 0; i < MD5_LANES; i++) {
            x = x * 1664525u + 1013904223u;
            length[i] = (x >> 8) % (MESSAGE_MAX + 1);
            x = x * 1664525u + 1013904223u;
            piece[i] = 1 + (x >> 8) % (turn % 2 ? 150 : MESSAGE_MAX);
        }
        compare(1 + (size_t)turn % MD5_LANES, length, piece);
    }
}

/* 512 MiB of zeros: the length in bits does not fit into 32 bits. As md5sum says. */
static void test_long(void **state) {
    static const unsigned char want[MD5_SIZE] = {0xaa, 0x55, 0x9b, 0x4e, 0x35, 0x23, 0xa6, 0xc9,
                                                 0x31, 0xf0, 0x8f, 0x4d, 0xf5, 0x2d, 0x58, 0xf2};
    static const unsigned char zeros[1 << 20];
    unsigned char digest[MD5_SIZE];
    struct md5 md5;
    struct bytes data = bytes_of(zeros, sizeof zeros);
    md5_begin(&md5);
    for (int i = 0; i < 512; i++)
        md5_update(&(struct md5 *){&md5}, &data, 1);
    md5_end(&md5, digest);
    assert_memory_equal(digest, want, MD5_SIZE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_all_lengths),
        cmocka_unit_test(test_uneven),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
