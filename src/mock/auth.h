/* auth.h - who sent the request, and may they? Signature Version 4 in the Authorization header, checked strictly.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html */
#pragma once

#include "server.h"

/* Checks the signature, the clock, the session token and the `deny` orders. Fills access, region and payload; leaves a
 * refusal in request->fail. */
void auth_check(struct mock *mock, struct request *request);
/* After the body: is its SHA-256 the signed one, its announced length right? FAIL_NONE or the refusal. */
struct fail auth_check_body(struct mock *mock, const struct request *request);
/* Is this action refused to the request's key by an order? */
bool auth_denied(struct mock *mock, const struct request *request, const char *action);
