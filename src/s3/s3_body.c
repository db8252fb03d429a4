/* s3_body.c - bodies that are sent: in memory, or read twice, first for their checksums and then for sending.
 *
 * The first reading goes in steps, so that a large body does not hold up the loop. A small one stays in memory then,
 * because one that is sent together with the request's head costs half. */
#include "s3_private.h"

#include "text.h"

#include <errno.h>

#define STEP_BYTES (256u * 1024)
#define PIECE_BYTES (32u * 1024)

static const struct bytes crc_header = {"x-amz-checksum-crc32", 20};

void s3_body_crc_text(uint32_t crc, char ret_text[S3_CRC32_TEXT]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint64_t bits = (uint64_t)crc << 4; /* 32 bits make six digits, the last of them four bits short */
    for (int i = 5; i >= 0; i--, bits >>= 6)
        ret_text[i] = digits[bits & 63];
    ret_text[6] = ret_text[7] = '=';
}

static int write_hash(struct s3_call *call) {
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[CHECKSUM_SIZE_MAX];
    size_t size;
    int r = checksum_end(call->check.sum, digest, &size);
    for (size_t i = 0; r >= 0 && i < S3_SHA256_HEX / 2; i++) {
        call->payload_hash[2 * i] = digits[digest[i] >> 4];
        call->payload_hash[2 * i + 1] = digits[digest[i] & 15];
    }
    return r;
}

static bool is_signed(const struct s3_call *call) {
    return !call->client->endpoint.tls;
}

static int begin(struct s3_call *call, bool with_crc) {
    call->has_body = true;
    call->crc = 0;
    call->with_crc = with_crc;
    if (with_crc)
        s3_ask_header(call, crc_header, bytes_of(call->crc_text, sizeof call->crc_text));
    if (!is_signed(call))
        return 0;
    int r = call->check.sum ? 0 : checksum_new(&call->check.sum);
    if (r >= 0)
        r = checksum_begin(call->check.sum, CHECKSUM_SHA256);
    return r < 0 ? -ENOMEM : 0;
}

static int add(struct s3_call *call, struct bytes piece) {
    if (call->with_crc)
        call->crc = checksum_crc32(call->crc, piece);
    return is_signed(call) ? checksum_update(call->check.sum, piece) : 0;
}

static int end(struct s3_call *call) {
    if (call->with_crc)
        s3_body_crc_text(call->crc, call->crc_text);
    return is_signed(call) ? write_hash(call) : 0;
}

int s3_body_take(struct s3_call *call, struct bytes body, bool with_crc) {
    int r = begin(call, with_crc);
    if (r >= 0)
        r = add(call, body);
    if (r >= 0)
        r = end(call);
    call->body = body;
    return r < 0 ? -ENOMEM : 0;
}

int s3_body_read(struct s3_call *call, s3_read_fn *read, void *read_arg, uint64_t from, uint64_t n) {
    call->read = read;
    call->read_arg = read_arg;
    call->read_from = from;
    call->read_n = n;
    call->read_done = 0;
    return begin(call, true);
}

/* The next piece of the first reading, into the arguments or else into `scratch`. A negative errno. */
static int next_piece(struct s3_call *call, char scratch[PIECE_BYTES], struct bytes *ret_piece) {
    uint64_t left = call->read_n - call->read_done;
    size_t n = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    bool stays = call->read_n <= S3_BODY_SMALL;
    char *to = stays ? call->args.p + call->args.n : scratch;
    int64_t got = call->read(call->read_arg, call->read_from + call->read_done, to, n);
    if (got != (int64_t)n)
        return got < 0 ? (int)got : -EIO;
    if (stays) {
        call->args.n += n; /* the room that was made for it */
        call->body = bytes_of(to - call->read_done, (size_t)call->read_done + n);
    }
    *ret_piece = bytes_of(to, n);
    return 0;
}

int s3_body_step(struct s3_call *call, enum s3_status *ret_status, struct err *err) {
    char scratch[PIECE_BYTES];
    int r = 0;
    for (uint64_t stop = call->read_done + STEP_BYTES; r >= 0 && call->read_done < call->read_n;) {
        if (call->read_done >= stop)
            return 0;
        struct bytes piece;
        r = next_piece(call, scratch, &piece);
        if (r < 0) {
            *ret_status = S3_BAD_REQUEST;
            return err_set(err, r, "the body cannot be read: %s", err_errno_text(r));
        }
        call->read_done += piece.n;
        r = add(call, piece);
    }
    if (r >= 0)
        r = end(call);
    if (r < 0) {
        *ret_status = S3_NO_MEMORY;
        return err_set(err, r, "OpenSSL cannot compute the checksum");
    }
    if (call->read_n <= S3_BODY_SMALL)
        call->read = NULL;
    return 1;
}

int64_t s3_body_send(void *arg, uint64_t offset, void *to, size_t n) {
    struct s3_call *call = arg;
    return call->read(call->read_arg, call->read_from + offset, to, n);
}

/* A server that knows the checksum has verified it, and says so by telling it back. Of one that does not, the ETag is
 * often the MD5; computing that is cheap for a small body only. */
const char *s3_body_check(struct s3_call *call, const struct s3_answer *answer) {
    unsigned char told[16], digest[CHECKSUM_SIZE_MAX];
    size_t size;
    if (answer->etag.n == 0)
        return "the answer has no ETag";
    if (call->with_crc && answer->checksum_kind == CHECKSUM_CRC32)
        return bytes_equal(answer->checksum, bytes_of(call->crc_text, sizeof call->crc_text))
                   ? NULL
                   : "the server got a body with another checksum";
    if (call->read || call->body.n > S3_BODY_SMALL || answer->etag_is_opaque || !checksum_etag_md5(answer->etag, told))
        return NULL;
    struct checksum *sum = call->check.sum;
    if ((!sum && checksum_new(&sum) < 0) || checksum_begin(call->check.sum = sum, CHECKSUM_MD5) < 0 ||
        checksum_update(sum, call->body) < 0 || checksum_end(sum, digest, &size) < 0)
        return NULL; /* the system may forbid MD5: then nothing is compared */
    return memcmp(digest, told, sizeof told) == 0 ? NULL : "the ETag is not the MD5 of the body that was sent";
}
