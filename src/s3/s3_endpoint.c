/* s3_endpoint.c - URLs in path and virtual-host style, AWS's host names by region, and the memory of regions. */
#include "s3_endpoint.h"

#include "mem.h"
#include "text.h"

#include <errno.h>

#define BUCKETS_MAX 16384 /* remembered with a region other than the client's own */
#define NAMES_MAX 256

/* ---- names ---- */

static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

int s3_check_bucket_name(struct bytes name, struct err *err) {
    if (name.n == 0 || name.n > 255)
        return err_set(err, -EINVAL, "a bucket's name has 1 to 255 characters, not %zu", name.n);
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!is_lower(c) && !is_upper(c) && !is_digit(c) && c != '.' && c != '_' && c != '-')
            return err_set(err, -EINVAL, "a bucket's name has letters, digits, '.', '_' and '-' only");
    }
    if (bytes_equal(name, BYTES(".")) || bytes_equal(name, BYTES("..")))
        return err_set(err, -EINVAL, "'.' and '..' are no bucket names");
    return 0;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html; a dot would make a second label, which
 * the certificate's wildcard does not cover. */
static bool fits_host(struct bytes bucket, bool dots) {
    if (bucket.n < 3 || bucket.n > S3_BUCKET_MAX)
        return false;
    for (size_t i = 0; i < bucket.n; i++) {
        char c = bucket.p[i];
        bool edge = i == 0 || i + 1 == bucket.n;
        if (is_lower(c) || is_digit(c))
            continue;
        if (edge || (c != '-' && !(dots && c == '.' && bucket.p[i - 1] != '.')))
            return false;
    }
    return true;
}

bool s3_region_is_valid(struct bytes region) {
    if (region.n == 0 || region.n > SIGV4_REGION_MAX)
        return false;
    for (size_t i = 0; i < region.n; i++) {
        char c = region.p[i];
        if (!is_lower(c) && !is_upper(c) && !is_digit(c) && c != '-' && c != '_')
            return false;
    }
    return true;
}

/* The partitions' domains: endpoint rules of the AWS SDKs. */
static const char *aws_domain(struct bytes region) {
    static const struct {
        const char *prefix, *domain;
    } partitions[] = {
        {"cn-", "amazonaws.com.cn"},    {"us-iso-", "c2s.ic.gov"},      {"us-isob-", "sc2s.sgov.gov"},
        {"us-isof-", "csp.hci.ic.gov"}, {"eu-isoe-", "cloud.adc-e.uk"}, {"eusc-", "amazonaws.eu"},
    };
    for (size_t i = 0; i < sizeof partitions / sizeof *partitions; i++)
        if (bytes_starts(region, bytes_str(partitions[i].prefix)))
            return partitions[i].domain;
    return "amazonaws.com";
}

/* ---- the endpoint ---- */

static int check_host(struct bytes host, bool *ret_ip) {
    if (host.n == 0 || host.n > 255)
        return -EINVAL;
    bool ip6 = host.p[0] == '[', ip4 = true;
    if (ip6 && (host.n < 4 || host.p[host.n - 1] != ']'))
        return -EINVAL;
    for (size_t i = ip6 ? 1 : 0; i < (ip6 ? host.n - 1 : host.n); i++) {
        char c = host.p[i];
        bool hex = is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (ip6 ? !(hex || c == ':' || c == '.') : !(is_lower(c) || is_upper(c) || is_digit(c) || strchr("-._", c)))
            return -EINVAL;
        ip4 = ip4 && (is_digit(c) || c == '.');
    }
    *ret_ip = ip6 || ip4;
    return 0;
}

static int read_endpoint(struct s3_endpoint *endpoint, struct bytes text) {
    if (bytes_starts(text, BYTES("https://")))
        endpoint->tls = true;
    else if (!bytes_starts(text, BYTES("http://")))
        return -EINVAL;
    size_t scheme = endpoint->tls ? 8 : 7;
    struct bytes host = {text.p + scheme, text.n - scheme}, port = BYTES_NONE;
    if (bytes_ends(host, BYTES("/")))
        host.n--;
    for (size_t i = host.n; i > 0 && host.p[i - 1] != ']'; i--) {
        if (host.p[i - 1] != ':')
            continue;
        port = bytes_of(host.p + i, host.n - i);
        host.n = i - 1;
        uint64_t number;
        if (text_parse_u64(port, &number) < 0 || number < 1 || number > 65535)
            return -EINVAL;
        if (number == (endpoint->tls ? 443 : 80))
            port.n = 0;
        break;
    }
    int r = check_host(host, &endpoint->address_is_ip);
    if (r < 0)
        return r;
    size_t n = host.n + (port.n ? 1 + port.n : 0);
    endpoint->authority = mem_memdup(host.p, n); /* the port follows the host in the text */
    if (!endpoint->authority)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (is_upper(endpoint->authority[i]))
            endpoint->authority[i] = (char)(endpoint->authority[i] + ('a' - 'A'));
    return 0;
}

int s3_endpoint_init(struct s3_endpoint *endpoint, const struct s3_options *options, struct err *err) {
    *endpoint = (struct s3_endpoint){.addressing = options->addressing};
    if (!options->endpoint) {
        endpoint->tls = true;
        return 0;
    }
    int r = read_endpoint(endpoint, bytes_str(options->endpoint));
    if (r == -EINVAL && strchr(options->endpoint, '@')) /* what stands before it may be a password */
        return err_set(err, r,
                       "the endpoint is not http[s]://host[:port]: user names and passwords do not belong in it");
    if (r == -EINVAL)
        return err_set(err, r, "endpoint '%.200s' is not http[s]://host[:port]", options->endpoint);
    return r < 0 ? err_set(err, r, "out of memory") : 0;
}

void s3_endpoint_free(struct s3_endpoint *endpoint) {
    mem_free(endpoint->authority);
    *endpoint = (struct s3_endpoint){0};
}

bool s3_endpoint_is_aws(const struct s3_endpoint *endpoint) {
    struct bytes host = bytes_str(endpoint->authority);
    return !endpoint->authority || (endpoint->tls && (bytes_ends(host, BYTES(".amazonaws.com")) ||
                                                      bytes_ends(host, BYTES(".amazonaws.com.cn"))));
}

static bool is_virtual(const struct s3_endpoint *endpoint, struct bytes bucket) {
    switch (endpoint->addressing) {
    case S3_ADDRESS_PATH:
        return false;
    case S3_ADDRESS_VIRTUAL:
        return !endpoint->address_is_ip && fits_host(bucket, !endpoint->tls);
    case S3_ADDRESS_AUTO:
        break;
    }
    return !endpoint->authority && fits_host(bucket, false);
}

static int add_host(const struct s3_endpoint *endpoint, struct bytes region, struct bytes bucket, struct buf *out) {
    int r = bucket.n ? buf_add_bytes(out, bucket) : 0;
    if (r >= 0 && bucket.n)
        r = buf_add_byte(out, '.');
    if (r < 0)
        return r;
    if (endpoint->authority)
        return buf_add_str(out, endpoint->authority);
    r = buf_add_bytes(out, BYTES("s3."));
    if (r >= 0)
        r = buf_add_bytes(out, region);
    if (r >= 0)
        r = buf_add_byte(out, '.');
    return r < 0 ? r : buf_add_str(out, aws_domain(region));
}

int s3_endpoint_url(const struct s3_endpoint *endpoint, struct bytes region, struct bytes bucket, struct bytes key,
                    struct buf *out, struct s3_url *ret_url) {
    bool in_host = bucket.n && is_virtual(endpoint, bucket);
    buf_reset(out);
    int r = buf_add_str(out, endpoint->tls ? "https://" : "http://");
    struct s3_url url = {.host_at = out->n};
    if (r >= 0)
        r = add_host(endpoint, region, in_host ? bucket : BYTES_NONE, out);
    url.host_n = out->n - url.host_at;
    url.path_at = out->n;
    if (r >= 0)
        r = buf_add_byte(out, '/');
    if (r >= 0 && !in_host)
        r = buf_add_bytes(out, bucket);
    if (r >= 0 && !in_host && key.n)
        r = buf_add_byte(out, '/');
    if (r >= 0)
        r = text_add_percent(out, key, true);
    if (r < 0)
        return r;
    url.path_n = out->n - url.path_at;
    *ret_url = url;
    return 0;
}

/* ---- regions ---- */

struct name {
    struct list link;
    char text[SIGV4_REGION_MAX + 1];
};

void s3_regions_init(struct s3_regions *regions) {
    *regions = (struct s3_regions){0};
    list_init(&regions->names);
}

void s3_regions_free(struct s3_regions *regions) {
    map_free(&regions->buckets);
    struct list *link;
    while ((link = list_pop_front(&regions->names)))
        mem_free(LIST_ENTRY(link, struct name, link));
    regions->n_names = 0;
}

const char *s3_regions_name(struct s3_regions *regions, struct bytes name) {
    if (!s3_region_is_valid(name))
        return NULL;
    LIST_EACH (link, &regions->names) {
        struct name *known = LIST_ENTRY(link, struct name, link);
        if (bytes_equal(bytes_str(known->text), name))
            return known->text;
    }
    struct name *made = regions->n_names < NAMES_MAX ? mem_zalloc(sizeof *made) : NULL;
    if (!made)
        return NULL;
    memcpy(made->text, name.p, name.n);
    list_push_back(&regions->names, &made->link);
    regions->n_names++;
    return made->text;
}

const char *s3_regions_of(const struct s3_regions *regions, struct bytes bucket) {
    return map_get(&regions->buckets, bucket);
}

void s3_regions_set(struct s3_regions *regions, struct bytes bucket, const char *name) {
    if (!name) {
        map_remove(&regions->buckets, bucket);
        return;
    }
    if (regions->buckets.count >= BUCKETS_MAX)
        map_free(&regions->buckets);
    if (map_put(&regions->buckets, bucket, (void *)(uintptr_t)name) < 0)
        map_remove(&regions->buckets, bucket); /* what it said before is wrong */
}
