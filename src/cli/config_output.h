/* config_output.h - `output` and `then` as they are written: on a command line as one text, in a file also as a mapping
 * or a list.
 *
 *     s3://BUCKET/TEMPLATE             delete
 *     DIRECTORY/TEMPLATE               keep
 *     none                             move:s3://BUCKET/TEMPLATE
 *                                      tag:NAME=VALUE,NAME=VALUE
 */
#pragma once

#include "options.h"
#include "output.h"
#include "pipeline.h"

struct config_rule;
struct doc_node;

struct config_output {
    char *owned;                   /* what strings point to that are not the document's */
    const struct doc_node *node;   /* where it stands; NULL: in no file */
    struct output_options options; /* bucket or directory, key ... */
    const char *region, *endpoint; /* NULL: those of the source */
};
struct config_outputs {
    size_t n; /* 0: "none" */
    struct config_output items[OUTPUTS_MAX];
};

struct config_then {
    char *owned;
    const struct doc_node *node;
    enum pipeline_then_kind kind;
    const char *bucket, *key; /* MOVE */
    struct s3_tag tags[S3_TAGS_MAX];
    size_t n_tags;
};

/* One text; appends to *outputs, which is made when it is NULL. `origin` names where it comes from. -EINVAL, -ENOMEM.
 */
int config_output_add(struct config_outputs **outputs, const char *text, const char *origin, struct err *err);
int config_then_set(struct config_then **then, const char *text, const char *origin, struct err *err);
/* An entry of a file; replaces. Errors with their place. */
int config_outputs_read(const struct doc *doc, const struct doc_node *entry, struct config_outputs **outputs,
                        struct err *err);
int config_then_read(const struct doc *doc, const struct doc_node *entry, struct config_then **then, struct err *err);
void config_outputs_free(struct config_outputs *outputs); /* NULL is fine */
void config_then_free(struct config_then *then);          /* NULL is fine */

/* What holds for a rule (NULL: without rules, or for the general handler): its own, or the general one, but for what
 * nothing comes of. NULL: none; for `then`: delete. */
const struct config_outputs *config_outputs_of(const struct options *options, const struct config_rule *rule);
const struct config_then *config_then_of(const struct options *options, const struct config_rule *rule);
/* What does not go together, and what would be drained in turn: a result or a moved object in a bucket that this froe
 * drains. -EINVAL. An output with an endpoint of its own counts when that is the server of `endpoint` (NULL: AWS; "":
 * not known yet, so none is). */
int config_outputs_settle(const struct options *options, const char *endpoint, struct err *err);

/* Is froe-image what handles a rule's objects (NULL: as above)? */
bool config_makes_images(const struct options *options, const struct config_rule *rule);

/* As JSON, for `froe config show`; null for none. And the JSON Schemas of both, as text. */
struct json_t;
struct json_t *config_outputs_json(const struct config_outputs *outputs);
struct json_t *config_then_json(const struct config_then *then);
extern const char config_output_schema[], config_then_schema[];
