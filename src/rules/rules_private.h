/* rules_private.h - what rules.c and when.c share. */
#pragma once

#include "rules.h"

enum when_answer { WHEN_NO, WHEN_YES, WHEN_LATER, WHEN_FAILED };
enum when_answer rule_when_ask(const struct rule_when *when, const struct rule_object *object, struct err *err);
