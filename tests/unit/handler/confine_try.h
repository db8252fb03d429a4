/* confine_try.h - what a confined program tries: run by the tests as a program of its own. */
#pragma once

#define CONFINE_TRY "__try"

/* Tries what `name` says with the argument. Its exit code is 0 when that worked, else the errno; numbers where the
 * name says so. */
_Noreturn void confine_try(const char *name, const char *argument);
