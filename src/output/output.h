/* output.h - where results land: in a bucket or in a directory, and durable there before anybody is told.
 *
 * An output says where; a writing puts all parts that a handler made of one object into all outputs, one after the
 * other. What is there already under a name is replaced, so an attempt that is repeated leaves the same behind.
 *
 * Thread: the loop's. Files are written by libuv's threads. */
#pragma once

#include "handler.h"
#include "key_template.h"
#include "s3.h"

#define OUTPUTS_MAX 8 /* of one object */

/* All borrowed during output_new. */
struct output_options {
    const char *bucket;    /* NULL: a directory */
    const char *directory; /* must exist */
    const char *key;       /* template; below the directory, or in the bucket */
    /* Of a bucket: */
    const char *content_type;  /* of results that have none of their own; NULL: by the name's extension */
    const char *storage_class; /* NULL: the bucket's */
    bool copy_metadata;        /* of the object */
    bool copy_tags;            /* likewise; they are asked for before */
    uint64_t part_bytes;       /* larger results are uploaded in parts of so many; 0: S3_PART_BYTES */
};

struct output;

/* Copies. `s3` is the client of the bucket, borrowed (NULL for a directory). -EINVAL for a template that is wrong, with
 * a text; -ENOMEM. */
int output_new(const struct output_options *options, struct s3_client *s3, struct output **ret_output, struct err *err);
void output_free(struct output *output);           /* NULL is fine */
const char *output_content_type(struct bytes key); /* by the extension; "" for one that is not known */

/* The object that the results are of. */
struct output_source {
    struct key_object object;
    const struct s3_header *metadata; /* names without x-amz-meta- */
    size_t n_metadata;
};
/* A copy in one piece of memory, for mem_free; NULL when there is none. */
struct output_source *output_source_copy(const struct output_source *source);

enum output_end {
    OUTPUT_WRITTEN,   /* all of it, durable */
    OUTPUT_LATER,     /* throttled, or out of memory: nobody's fault */
    OUTPUT_FAILED,    /* the text says what and where; what was written before it stays */
    OUTPUT_CANCELLED, /* likewise */
};
struct output_result {
    enum output_end end;
    const char *text; /* borrowed; "" when all was written */
    uint32_t results; /* written */
    uint64_t bytes;
};
struct output_events {
    void (*called)(void *arg, const struct s3_result *result); /* an S3 call has ended: for throttling. May be NULL */
    void (*done)(void *arg, const struct output_result *result);
};

struct output_file_calls;
struct output_job {
    uv_loop_t *loop;
    const struct output *const *outputs; /* borrowed until done */
    size_t n_outputs;
    struct s3_client *source_s3;        /* where the object's tags are asked for */
    const struct output_source *source; /* borrowed until done */
    struct handler_part *parts;         /* likewise, with all in them; at least one */
    size_t n_parts;
    const struct output_file_calls *calls; /* NULL: the system's */
};
struct output_writing;
/* Does one of the outputs want the object's metadata? Only then they need to be in the source. */
bool outputs_want_metadata(const struct output *const *outputs, size_t n);
/* 0, and done comes once, later. Otherwise it does not: -EINVAL for names that cannot be (too long, not a file's, two
 * results of the same name), which another attempt would not change, with a text; -ENOMEM. */
int output_write(const struct output_job *job, const struct output_events *events, void *arg,
                 struct output_writing **ret_writing, struct err *err);
/* Ends it soon. An upload in parts is aborted, a file that has no name yet goes away. */
void output_cancel(struct output_writing *writing);
