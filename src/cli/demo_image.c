/* demo_image.c - writes PNG files (RFC 2083) with stored deflate blocks (RFC 1951), for which no library is needed. */
#include "demo_image.h"

#include "checksum.h"

#include <arpa/inet.h>
#include <errno.h>

static int add_u32(struct buf *out, uint32_t value) {
    uint32_t big = htonl(value);
    return buf_add(out, &big, 4);
}

static int add_chunk(struct buf *out, const char *type, struct bytes data) {
    _cleanup_buf_ struct buf body = {0};
    if (buf_add(&body, type, 4) < 0 || buf_add_bytes(&body, data) < 0 || add_u32(out, (uint32_t)data.n) < 0 ||
        buf_add_bytes(out, buf_bytes(&body)) < 0)
        return -ENOMEM;
    return add_u32(out, checksum_crc32(0, buf_bytes(&body)));
}

static uint32_t adler32(struct bytes data) {
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < data.n; i++) {
        a = (a + (unsigned char)data.p[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

/* `pixels` must fit one stored block: at most 65535 bytes. */
static int add_zlib_stored(struct buf *out, struct bytes pixels) {
    uint16_t n = (uint16_t)pixels.n;
    const unsigned char head[] = {
        0x78, 0x01, 0x01, (unsigned char)n, (unsigned char)(n >> 8), (unsigned char)~n, (unsigned char)(~n >> 8)};
    if (buf_add(out, head, sizeof head) < 0 || buf_add_bytes(out, pixels) < 0)
        return -ENOMEM;
    return add_u32(out, adler32(pixels));
}

int demo_image(struct rng *rng, struct buf *out) {
    uint32_t width = 24 + (uint32_t)rng_below(rng, 48), height = 24 + (uint32_t)rng_below(rng, 48);
    uint32_t red = (uint32_t)rng_below(rng, 256), green = (uint32_t)rng_below(rng, 256),
             blue = (uint32_t)rng_below(rng, 256);
    _cleanup_buf_ struct buf pixels = {0}, header = {0}, data = {0};
    for (uint32_t y = 0; y < height; y++) {
        if (buf_add_byte(&pixels, 0) < 0) /* this row is not filtered */
            return -ENOMEM;
        for (uint32_t x = 0; x < width; x++) {
            const unsigned char pixel[] = {(unsigned char)(red + x * 2), (unsigned char)(green + y * 2),
                                           (unsigned char)(blue + x + y)};
            if (buf_add(&pixels, pixel, 3) < 0)
                return -ENOMEM;
        }
    }
    static const char signature[] = {'\x89', 'P', 'N', 'G', '\r', '\n', '\x1a', '\n'};
    static const char rgb_8_bit[] = {8, 2, 0, 0, 0};
    if (add_u32(&header, width) < 0 || add_u32(&header, height) < 0 || buf_add(&header, rgb_8_bit, 5) < 0 ||
        add_zlib_stored(&data, buf_bytes(&pixels)) < 0 || buf_add(out, signature, 8) < 0 ||
        add_chunk(out, "IHDR", buf_bytes(&header)) < 0 || add_chunk(out, "IDAT", buf_bytes(&data)) < 0)
        return -ENOMEM;
    return add_chunk(out, "IEND", BYTES_NONE);
}
