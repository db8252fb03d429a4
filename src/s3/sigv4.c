/* sigv4.c - canonical request, string to sign, signature; the derived keys of the day are kept keyed and ready. */
#include "sigv4.h"

#include "clock.h"
#include "mem.h"
#include "text.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define TERMINATOR "aws4_request"
#define SHA256_SIZE 32
#define SHA256_HEX 64
#define DATE_SIZE 16 /* 20260102T030405Z */
#define DAY_SIZE 8   /* the first characters of that */
#define PLACES 8

/* One derived key: its HMAC context has the key inside, so signing with it starts from the prepared state. */
struct place {
    bool used;
    uint64_t generation, last_use;
    char day[DAY_SIZE];
    char region[SIGV4_REGION_MAX], service[SIGV4_SERVICE_MAX];
    size_t region_size, service_size;
    EVP_MAC_CTX *mac;
};

struct sigv4_signer {
    EVP_MD *md;
    EVP_MD_CTX *md_ctx;
    EVP_MAC *mac;
    struct place places[PLACES];
    uint64_t uses;
    struct buf canonical, text; /* kept between signatures; the canonical request may hold a session token */
};

static void cut(struct buf *buf, size_t n) {
    buf->n = n;
    if (buf->p)
        buf->p[n] = '\0';
}

static void write_digits(char *at, int value, int width) {
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

static int format_date(int64_t utc_us, char ret_text[DATE_SIZE]) {
    struct clock_date date;
    clock_date_utc(utc_us, &date);
    if (date.year < 0 || date.year > 9999)
        return -EINVAL;
    write_digits(ret_text, date.year, 4);
    write_digits(ret_text + 4, date.month, 2);
    write_digits(ret_text + 6, date.day, 2);
    ret_text[8] = 'T';
    write_digits(ret_text + 9, date.hour, 2);
    write_digits(ret_text + 11, date.minute, 2);
    write_digits(ret_text + 13, date.second, 2);
    ret_text[15] = 'Z';
    return 0;
}

int sigv4_add_date(struct buf *out, int64_t utc_us) {
    char text[DATE_SIZE];
    int r = format_date(utc_us, text);
    return r < 0 ? r : buf_add(out, text, sizeof text);
}

static void write_hex(char *at, const unsigned char *data, size_t n) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        at[2 * i] = digits[data[i] >> 4];
        at[2 * i + 1] = digits[data[i] & 15];
    }
}

/* ---- order ---- */

/* A stable insertion sort of indexes: callers mostly give fields in order already, and there are few. */
static void sort_indexes(uint16_t *order, size_t n, const void *fields, int (*compare)(const void *, size_t, size_t)) {
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        while (at > 0 && compare(fields, order[at - 1], i) > 0) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = (uint16_t)i;
    }
}

static bool is_unreserved(unsigned char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

/* The order of the encoded forms, told from the raw ones: an encoded byte starts with '%', which is below every
 * unreserved character, and two encoded bytes compare as their hex digits do. */
static int compare_encoded(struct bytes a, struct bytes b) {
    size_t n = a.n < b.n ? a.n : b.n;
    for (size_t i = 0; i < n; i++) {
        unsigned char x = (unsigned char)a.p[i], y = (unsigned char)b.p[i];
        if (x != y)
            return (int)(is_unreserved(x) ? 256u + x : x) - (int)(is_unreserved(y) ? 256u + y : y);
    }
    return (a.n > b.n) - (a.n < b.n);
}

static int compare_params(const void *fields, size_t a, size_t b) {
    const struct sigv4_param *params = fields;
    int order = compare_encoded(params[a].name, params[b].name);
    return order ? order : compare_encoded(params[a].value, params[b].value);
}

static int compare_headers(const void *fields, size_t a, size_t b) {
    const struct sigv4_header *headers = fields;
    return bytes_compare(headers[a].name, headers[b].name);
}

/* ---- texts ---- */

int sigv4_add_query(struct buf *out, const struct sigv4_param *params, size_t n) {
    uint16_t order[SIGV4_FIELDS_MAX];
    if (n > SIGV4_FIELDS_MAX)
        return -E2BIG;
    sort_indexes(order, n, params, compare_params);
    size_t before = out->n;
    int r = 0;
    for (size_t i = 0; i < n && r >= 0; i++) {
        const struct sigv4_param *param = &params[order[i]];
        if (i)
            r = buf_add_byte(out, '&');
        if (r >= 0)
            r = text_add_percent(out, param->name, false);
        if (r >= 0)
            r = buf_add_byte(out, '=');
        if (r >= 0)
            r = text_add_percent(out, param->value, false);
    }
    if (r < 0)
        cut(out, before);
    return r < 0 ? r : 0;
}

/* Trimmed, and each run of spaces inside is one space. */
static int add_header_value(struct buf *out, struct bytes value) {
    value = bytes_trim(value);
    size_t from = 0;
    for (size_t i = 1; i < value.n; i++) {
        if (value.p[i] != ' ' || value.p[i - 1] != ' ')
            continue;
        int r = buf_add(out, value.p + from, i - from);
        if (r < 0)
            return r;
        while (i + 1 < value.n && value.p[i + 1] == ' ')
            i++;
        from = i + 1;
    }
    return value.n ? buf_add(out, value.p + from, value.n - from) : 0;
}

static bool same_name(const struct sigv4_request *request, const uint16_t *order, size_t i) {
    return i > 0 && bytes_equal(request->headers[order[i]].name, request->headers[order[i - 1]].name);
}

static int add_headers(struct buf *out, const struct sigv4_request *request, const uint16_t *order) {
    for (size_t i = 0; i < request->n_headers; i++) {
        const struct sigv4_header *header = &request->headers[order[i]];
        int r;
        if (same_name(request, order, i)) {
            cut(out, out->n - 1); /* its newline: this is one more value of the same header */
            r = buf_add_byte(out, ',');
        } else {
            r = buf_add_bytes(out, header->name);
            if (r >= 0)
                r = buf_add_byte(out, ':');
        }
        if (r >= 0)
            r = add_header_value(out, header->value);
        if (r >= 0)
            r = buf_add_byte(out, '\n');
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_header_names(struct buf *out, const struct sigv4_request *request, const uint16_t *order) {
    for (size_t i = 0; i < request->n_headers; i++) {
        if (same_name(request, order, i))
            continue;
        int r = i ? buf_add_byte(out, ';') : 0;
        if (r >= 0)
            r = buf_add_bytes(out, request->headers[order[i]].name);
        if (r < 0)
            return r;
    }
    return 0;
}

static int sort_headers(const struct sigv4_request *request, uint16_t *order) {
    if (request->n_headers > SIGV4_FIELDS_MAX)
        return -E2BIG;
    sort_indexes(order, request->n_headers, request->headers, compare_headers);
    return 0;
}

static int add_canonical(struct buf *out, const struct sigv4_request *request, const uint16_t *order) {
    int r = buf_add_str(out, request->method);
    if (r >= 0)
        r = buf_add_byte(out, '\n');
    if (r >= 0)
        r = buf_add_bytes(out, request->path);
    if (r >= 0)
        r = buf_add_byte(out, '\n');
    if (r >= 0)
        r = sigv4_add_query(out, request->params, request->n_params);
    if (r >= 0)
        r = buf_add_byte(out, '\n');
    if (r >= 0)
        r = add_headers(out, request, order);
    if (r >= 0)
        r = buf_add_byte(out, '\n');
    if (r >= 0)
        r = add_header_names(out, request, order);
    if (r >= 0)
        r = buf_add_byte(out, '\n');
    if (r >= 0)
        r = buf_add_bytes(out, request->payload_hash);
    return r < 0 ? r : 0;
}

int sigv4_add_canonical_request(struct buf *out, const struct sigv4_request *request) {
    uint16_t order[SIGV4_FIELDS_MAX];
    int r = sort_headers(request, order);
    if (r < 0)
        return r;
    size_t before = out->n;
    r = add_canonical(out, request, order);
    if (r < 0)
        cut(out, before);
    return r;
}

/* "20260102/us-east-1/s3/aws4_request" */
static int add_scope(struct buf *out, const struct sigv4_request *request, const char *date) {
    int r = buf_add(out, date, DAY_SIZE);
    if (r >= 0)
        r = buf_add_byte(out, '/');
    if (r >= 0)
        r = buf_add_bytes(out, request->region);
    if (r >= 0)
        r = buf_add_byte(out, '/');
    if (r >= 0)
        r = buf_add_bytes(out, request->service);
    if (r >= 0)
        r = buf_add_bytes(out, BYTES("/" TERMINATOR));
    return r;
}

static int add_text_of_hash(struct buf *out, const struct sigv4_request *request, const char *date,
                            const unsigned char hash[SHA256_SIZE]) {
    char hex[SHA256_HEX];
    write_hex(hex, hash, SHA256_SIZE);
    int r = buf_add_bytes(out, BYTES(ALGORITHM "\n"));
    if (r >= 0)
        r = buf_add(out, date, DATE_SIZE);
    if (r >= 0)
        r = buf_add_byte(out, '\n');
    if (r >= 0)
        r = add_scope(out, request, date);
    if (r >= 0)
        r = buf_add_byte(out, '\n');
    if (r >= 0)
        r = buf_add(out, hex, sizeof hex);
    return r < 0 ? r : 0;
}

int sigv4_add_string_to_sign(struct buf *out, const struct sigv4_request *request, struct bytes canonical_request) {
    char date[DATE_SIZE];
    unsigned char hash[SHA256_SIZE];
    int r = format_date(request->now_utc_us, date);
    if (r < 0)
        return r;
    size_t size = 0;
    if (EVP_Q_digest(NULL, "SHA256", NULL, canonical_request.p, canonical_request.n, hash, &size) != 1) {
        ERR_clear_error();
        return -EIO;
    }
    size_t before = out->n;
    r = add_text_of_hash(out, request, date, hash);
    if (r < 0)
        cut(out, before);
    return r;
}

/* ---- keys ---- */

int sigv4_signer_new(struct sigv4_signer **ret_signer) {
    struct sigv4_signer *signer = mem_zalloc(sizeof *signer);
    if (!signer)
        return -ENOMEM;
    signer->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    signer->md_ctx = EVP_MD_CTX_new();
    signer->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    bool made = signer->md && signer->md_ctx && signer->mac;
    for (size_t i = 0; i < PLACES && made; i++) {
        signer->places[i].mac = EVP_MAC_CTX_new(signer->mac);
        made = signer->places[i].mac != NULL;
    }
    if (!made) {
        bool missing = !signer->md || !signer->mac;
        ERR_clear_error();
        sigv4_signer_free(signer);
        return missing ? -EIO : -ENOMEM;
    }
    *ret_signer = signer;
    return 0;
}

void sigv4_signer_free(struct sigv4_signer *signer) {
    if (!signer)
        return;
    for (size_t i = 0; i < PLACES; i++)
        EVP_MAC_CTX_free(signer->places[i].mac); /* OpenSSL wipes the key in it */
    EVP_MAC_free(signer->mac);
    EVP_MD_CTX_free(signer->md_ctx);
    EVP_MD_free(signer->md);
    buf_wipe(&signer->canonical);
    buf_wipe(&signer->text);
    mem_free(signer);
}

/* `key` NULL: the key that is in the context already. */
static int hmac(EVP_MAC_CTX *mac, const unsigned char *key, size_t key_size, struct bytes data,
                unsigned char ret_mac[SHA256_SIZE]) {
    size_t size = 0;
    if (EVP_MAC_init(mac, key, key_size, NULL) == 1 &&
        EVP_MAC_update(mac, (const unsigned char *)data.p, data.n) == 1 &&
        EVP_MAC_final(mac, ret_mac, &size, SHA256_SIZE) == 1 && size == SHA256_SIZE)
        return 0;
    ERR_clear_error();
    return -EIO;
}

static int derive(EVP_MAC_CTX *mac, struct bytes secret, const char *day, struct bytes region, struct bytes service) {
    unsigned char first[4 + CREDENTIALS_SECRET_MAX], key[SHA256_SIZE];
    if (secret.n > CREDENTIALS_SECRET_MAX)
        return -EINVAL;
    memcpy(first, "AWS4", 4);
    if (secret.n)
        memcpy(first + 4, secret.p, secret.n);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    int r = EVP_MAC_CTX_set_params(mac, params) == 1 ? 0 : -EIO;
    if (r >= 0)
        r = hmac(mac, first, 4 + secret.n, bytes_of(day, DAY_SIZE), key);
    if (r >= 0)
        r = hmac(mac, key, sizeof key, region, key);
    if (r >= 0)
        r = hmac(mac, key, sizeof key, service, key);
    if (r >= 0)
        r = hmac(mac, key, sizeof key, BYTES(TERMINATOR), key);
    if (r >= 0 && EVP_MAC_init(mac, key, sizeof key, NULL) != 1)
        r = -EIO;
    if (r < 0)
        ERR_clear_error();
    explicit_bzero(first, sizeof first);
    explicit_bzero(key, sizeof key);
    return r;
}

static bool place_is_for(const struct place *place, uint64_t generation, const char *day,
                         const struct sigv4_request *request) {
    return place->used && place->generation == generation && memcmp(place->day, day, DAY_SIZE) == 0 &&
           bytes_equal(bytes_of(place->region, place->region_size), request->region) &&
           bytes_equal(bytes_of(place->service, place->service_size), request->service);
}

static int find_place(struct sigv4_signer *signer, const struct credentials *keys, const struct sigv4_request *request,
                      const char *day, struct place **ret_place) {
    struct place *oldest = &signer->places[0];
    for (size_t i = 0; i < PLACES; i++) {
        struct place *place = &signer->places[i];
        if (place_is_for(place, keys->generation, day, request)) {
            place->last_use = ++signer->uses;
            *ret_place = place;
            return 0;
        }
        if (place->last_use < oldest->last_use)
            oldest = place;
    }
    if (request->region.n > sizeof oldest->region || request->service.n > sizeof oldest->service)
        return -EINVAL;
    oldest->used = false;
    int r = derive(oldest->mac, keys->secret_access_key, day, request->region, request->service);
    if (r < 0)
        return r;
    oldest->used = true;
    oldest->generation = keys->generation;
    oldest->last_use = ++signer->uses;
    memcpy(oldest->day, day, DAY_SIZE);
    oldest->region_size = request->region.n;
    oldest->service_size = request->service.n;
    if (request->region.n)
        memcpy(oldest->region, request->region.p, request->region.n);
    if (request->service.n)
        memcpy(oldest->service, request->service.p, request->service.n);
    *ret_place = oldest;
    return 0;
}

static int hash_bytes(struct sigv4_signer *signer, struct bytes data, unsigned char ret_hash[SHA256_SIZE]) {
    if (EVP_DigestInit_ex2(signer->md_ctx, signer->md, NULL) == 1 &&
        EVP_DigestUpdate(signer->md_ctx, data.p, data.n) == 1 &&
        EVP_DigestFinal_ex(signer->md_ctx, ret_hash, NULL) == 1)
        return 0;
    ERR_clear_error();
    return -EIO;
}

static int sign(struct sigv4_signer *signer, const struct credentials *keys, const struct sigv4_request *request,
                const uint16_t *order, const char *date, char ret_hex[SHA256_HEX]) {
    unsigned char hash[SHA256_SIZE];
    struct place *place;
    int r = find_place(signer, keys, request, date, &place);
    if (r < 0)
        return r;
    buf_reset(&signer->canonical);
    buf_reset(&signer->text);
    r = add_canonical(&signer->canonical, request, order);
    if (r >= 0)
        r = hash_bytes(signer, buf_bytes(&signer->canonical), hash);
    if (r >= 0)
        r = add_text_of_hash(&signer->text, request, date, hash);
    if (r >= 0)
        r = hmac(place->mac, NULL, 0, buf_bytes(&signer->text), hash);
    if (r < 0)
        return r;
    write_hex(ret_hex, hash, SHA256_SIZE);
    return 0;
}

int sigv4_signature(struct sigv4_signer *signer, const struct credentials *keys, const struct sigv4_request *request,
                    char ret_hex[65]) {
    uint16_t order[SIGV4_FIELDS_MAX];
    char date[DATE_SIZE], hex[SHA256_HEX];
    int r = sort_headers(request, order);
    if (r >= 0)
        r = format_date(request->now_utc_us, date);
    if (r >= 0)
        r = sign(signer, keys, request, order, date, hex);
    if (r < 0)
        return r;
    memcpy(ret_hex, hex, sizeof hex);
    ret_hex[SHA256_HEX] = '\0';
    return 0;
}

static int add_authorization(struct buf *out, struct bytes key_id, const struct sigv4_request *request,
                             const uint16_t *order, const char *date, const char *hex) {
    int r = buf_add_bytes(out, BYTES(ALGORITHM " Credential="));
    if (r >= 0)
        r = buf_add_bytes(out, key_id);
    if (r >= 0)
        r = buf_add_byte(out, '/');
    if (r >= 0)
        r = add_scope(out, request, date);
    if (r >= 0)
        r = buf_add_bytes(out, BYTES(", SignedHeaders="));
    if (r >= 0)
        r = add_header_names(out, request, order);
    if (r >= 0)
        r = buf_add_bytes(out, BYTES(", Signature="));
    if (r >= 0)
        r = buf_add(out, hex, SHA256_HEX);
    return r < 0 ? r : 0;
}

int sigv4_sign(struct sigv4_signer *signer, const struct credentials *keys, const struct sigv4_request *request,
               struct buf *authorization) {
    uint16_t order[SIGV4_FIELDS_MAX];
    char date[DATE_SIZE], hex[SHA256_HEX];
    int r = sort_headers(request, order);
    if (r >= 0)
        r = format_date(request->now_utc_us, date);
    if (r >= 0)
        r = sign(signer, keys, request, order, date, hex);
    if (r < 0)
        return r;
    size_t before = authorization->n;
    r = add_authorization(authorization, keys->access_key_id, request, order, date, hex);
    if (r < 0)
        cut(authorization, before);
    return r;
}
