/* s3_endpoint.h - where a request goes: host and path of a bucket's URL, and which region a bucket lives in.
 *
 * Private to the S3 client and its tests. */
#pragma once

#include "list.h"
#include "map.h"
#include "s3.h"
#include "sigv4.h"

struct s3_endpoint {
    char *authority; /* host[:port] in lower case, without the scheme's own port; NULL: AWS */
    bool tls, address_is_ip;
    enum s3_addressing addressing;
};

/* Reads `endpoint` and `addressing`. -EINVAL with a text, -ENOMEM. */
int s3_endpoint_init(struct s3_endpoint *endpoint, const struct s3_options *options, struct err *err);
void s3_endpoint_free(struct s3_endpoint *endpoint);
/* Is it AWS itself, by no endpoint or by a name of its own? What it is known to do need not be looked after. */
bool s3_endpoint_is_aws(const struct s3_endpoint *endpoint);

struct s3_url {             /* places in the text of a URL */
    size_t host_at, host_n; /* as the Host header will say */
    size_t path_at, path_n;
};
/* Empties `out` and writes the URL without its query. `bucket` may be empty, and so may `key`. -ENOMEM. */
int s3_endpoint_url(const struct s3_endpoint *endpoint, struct bytes region, struct bytes bucket, struct bytes key,
                    struct buf *out, struct s3_url *ret_url);

/* Letters, digits, '-' and '_', as a region goes into host names: up to SIGV4_REGION_MAX. */
bool s3_region_is_valid(struct bytes region);

/* Which region which bucket is in, as far as servers told. Bounded: it forgets all and begins anew when it is full. */
struct s3_regions {
    struct map buckets; /* to a name below */
    struct list names;
    size_t n_names;
};

void s3_regions_init(struct s3_regions *regions);
void s3_regions_free(struct s3_regions *regions);
/* The one copy of this name, good until s3_regions_free. NULL: not a region's name, too many names, or no memory. */
const char *s3_regions_name(struct s3_regions *regions, struct bytes name);
const char *s3_regions_of(const struct s3_regions *regions, struct bytes bucket); /* NULL: not known */
/* `name` is from s3_regions_name; NULL forgets the bucket. Without memory nothing is remembered. */
void s3_regions_set(struct s3_regions *regions, struct bytes bucket, const char *name);
