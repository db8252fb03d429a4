/* cel_number.h - numbers to text and back, whatever the process's locale. */
#pragma once

#include "cel.h"

#define CEL_NUMBER_TEXT 40

/* [+-] digits [. digits] [e [+-] digits], with a digit before or after the point. The nearest double; false for other
 * text, and past the largest double. */
bool cel_parse_double(struct bytes text, double *ret_number);

/* The shortest text that gives the same number again: "0.1", "7", "1e+21", "NaN", "+Inf", "-Inf". Returns its length.
 */
size_t cel_format_double(double number, char ret_text[CEL_NUMBER_TEXT]);

size_t cel_utf8_write(uint32_t code_point, char ret_bytes[4]); /* returns the length, 1 to 4 */
