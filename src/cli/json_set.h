/* json_set.h - members of JSON objects from what is not always UTF-8, or not always there. */
#pragma once

#include "bytes.h"

#include <jansson.h>

/* A key, an ETag: as it is when it is UTF-8, else percent-encoded under "NAME_url". */
void json_set_key(json_t *object, const char *name, struct bytes key);
/* Text for people: what is not UTF-8 is escaped as by text_add_printable. NULL: null. */
void json_set_text(json_t *object, const char *name, const char *text);
/* 2026-01-02T03:04:05.678Z; 0: null. */
void json_set_time(json_t *object, const char *name, int64_t utc_us);
void json_set_ms(json_t *object, const char *name, int64_t us); /* 12.345; negative: null */
/* A JSON text as what it says; one that cannot be read, as a string. NULL: null. */
void json_set_json(json_t *object, const char *name, const char *text);
void json_set_count(json_t *object, const char *name, uint64_t count);

/* Reading. "" and 0 for what is not there. */
const char *json_text(const json_t *object, const char *name);
int64_t json_number(const json_t *object, const char *name);
