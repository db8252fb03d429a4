/* credential_json.h - reads what a credential process writes: {"Version": 1, "AccessKeyId": ...}.
 *
 * Not done with the JSON library, because that leaves copies of what it reads in freed memory, and this is all secrets.
 * Pure function over bytes. Source: AWS SDKs and Tools Reference Guide, "Process credential provider". */
#pragma once

#include "err.h"
#include "secret.h"

#define CREDENTIAL_JSON_DEPTH_MAX 32

struct credential_json {
    struct bytes access_key_id, secret_access_key, session_token, expiration; /* empty: missing or null */
    struct secret memory;                                                     /* what they point into */
};

/* Strict JSON (RFC 8259): one object; members that are not known are skipped, of two with one name the last counts.
 * -EBADMSG for anything else, for a Version that is not 1 and for a member of another type; no text holds what was in
 * it. -ENOMEM. Free with credential_json_free. */
int credential_json_parse(struct bytes text, struct credential_json *ret_json, struct err *err);
void credential_json_free(struct credential_json *json); /* wipes */
