/* admin.h - the unsigned endpoints under /_mock/: counters, fault orders, seeding. */
#pragma once

#include "answer.h"

#define ADMIN_BODY_MAX (1024 * 1024)

void admin_run(struct mock *mock, struct request *request, struct answer *answer);
