/* spec_keys.h - the table of a spec's keys, which its parser and its schema are made of. */
#pragma once

#include "spec.h"

enum image_key_kind {
    KEY_NUMBER,   /* uint32_t, least to most */
    KEY_BIG,      /* uint64_t, least to most */
    KEY_FRACTION, /* double, least to most */
    KEY_WORD,     /* int, or bool with two words: the value of one of `words` */
    KEY_FLAG,     /* bool */
    KEY_FILE,     /* const char *, a path */
    KEY_NAME,     /* const char * */
    KEY_COLOUR,   /* uint32_t, "#rrggbb" */
    KEY_SIZE,     /* uint64_t, "64MiB" or a number */
    KEY_TIME,     /* int64_t, "30s" */
    KEY_LOADERS,  /* unsigned, formats */
    KEY_MARK,     /* struct image_watermark, a mapping by its own keys */
    KEY_OUTPUTS,  /* a list of mappings */
};

enum { OF_SPEC = 1, OF_OUTPUT = 2, OF_MARK = 4 }; /* the mappings in which a key may stand */

struct image_word {
    const char *word;
    int value;
};

struct image_key {
    const char *name;
    enum image_key_kind kind;
    unsigned of;
    size_t offset; /* in the struct image_spec, image_output or image_watermark */
    size_t size;   /* of what is there */
    double least, most;
    const struct image_word *words; /* ends with an empty one */
    const char *help;
};
extern const struct image_key image_keys[];
extern const size_t n_image_keys;
