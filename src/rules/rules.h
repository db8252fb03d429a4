/* rules.h - which of a list of rules an object falls under: the first one that matches.
 *
 * A rule looks at the bucket's name and the key by globs, and at the rest by an expression of the Common Expression
 * Language that gives a bool:
 *
 *     bucket, key, etag     string; the ETag without its quotes. What is not UTF-8 is shown as by text_add_printable
 *     size                  int
 *     last_modified         timestamp
 *     content_type          string; "" when there is none
 *     metadata              map of the user metadata: names in lower case, without x-amz-meta-
 *
 * The last two are known when the object's headers are, not from a listing. An expression that needs neither is decided
 * by the listing alone.
 *
 * Pure but for reading time zones (cel.h). Any thread. */
#pragma once

#include "bytes.h"
#include "err.h"

struct rule_when;

/* -EINVAL with a text that points into the expression, -E2BIG, -ENOMEM. The source is copied. */
int rule_when_compile(struct bytes source, struct rule_when **ret_when, struct err *err);
void rule_when_free(struct rule_when *when);                /* NULL is fine */
bool rule_when_needs_headers(const struct rule_when *when); /* content_type or metadata */
const char *rule_when_source(const struct rule_when *when);

struct rule_globs {
    const char *const *globs; /* as text_glob */
    size_t n;
};

/* All borrowed. */
struct rule {
    struct rule_globs buckets, include; /* none: all */
    struct rule_globs exclude;
    const struct rule_when *when; /* NULL: always */
};

struct rule_meta {
    struct bytes name, value;
};

#define RULE_SIZE_UNKNOWN UINT64_MAX
struct rule_object {
    struct bytes bucket, key, etag;
    uint64_t size;
    int64_t modified_utc_us; /* 0: not known */
    bool headers;            /* what follows is known */
    struct bytes content_type;
    const struct rule_meta *metadata; /* of names that stand twice the first counts */
    size_t n_metadata;
};

enum rules_found {
    RULES_NONE,   /* no rule matches */
    RULES_FOUND,  /* the one at *ret_at */
    RULES_LATER,  /* that depends on the headers */
    RULES_FAILED, /* the expression of the one at *ret_at ended in an error, which `err` tells: what would follow is not
                     looked at, as nobody can say whether this one was meant to match */
};
enum rules_found rules_find(const struct rule *rules, size_t n, const struct rule_object *object, size_t *ret_at,
                            struct err *err);
/* Could a rule match an object of that bucket, of that key (NULL: any)? */
bool rules_may_match(const struct rule *rules, size_t n, struct bytes bucket, const struct bytes *key);
