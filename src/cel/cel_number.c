/* cel_number.c - strtod and printf look at the process's locale; these do not. */
#include "cel_number.h"

#include "text.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DIGITS_MAX 1100 /* no double needs more digits than this to be told from its neighbours */
#define EXACT_DIGITS 15 /* that many digits, times or by a power of ten up to 10^22, are rounded only once */

static const double exact_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

struct decimal {
    uint64_t digits; /* the first EXACT_DIGITS + 1 significant ones */
    size_t n;        /* how many significant ones there are */
    int64_t exponent;
    bool negative;
};

static bool read_decimal(struct bytes text, struct decimal *ret_decimal) {
    struct decimal decimal = {0};
    size_t i = 0, digits = 0;
    if (i < text.n && (text.p[i] == '+' || text.p[i] == '-'))
        decimal.negative = text.p[i++] == '-';
    bool fraction = false;
    for (; i < text.n && (is_digit(text.p[i]) || (text.p[i] == '.' && !fraction)); i++) {
        if (text.p[i] == '.') {
            fraction = true;
            continue;
        }
        digits++;
        decimal.exponent -= fraction;
        if (decimal.n == 0 && text.p[i] == '0')
            continue;
        if (decimal.n <= EXACT_DIGITS)
            decimal.digits = decimal.digits * 10 + (uint64_t)(text.p[i] - '0');
        decimal.n++;
    }
    if (digits == 0)
        return false;
    if (i < text.n && (text.p[i] == 'e' || text.p[i] == 'E')) {
        i++;
        bool negative = i < text.n && text.p[i] == '-';
        if (i < text.n && (text.p[i] == '+' || text.p[i] == '-'))
            i++;
        if (i == text.n)
            return false;
        int64_t exponent = 0;
        for (; i < text.n && is_digit(text.p[i]); i++)
            if (exponent < 1000000000)
                exponent = exponent * 10 + (text.p[i] - '0');
        decimal.exponent += negative ? -exponent : exponent;
    }
    *ret_decimal = decimal;
    return i == text.n;
}

/* The C locale is a constant of the C library: this neither allocates nor fails. */
static double c_strtod(const char *text) {
    locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (locale == (locale_t)0)
        return NAN;
    double number = strtod_l(text, NULL, locale);
    freelocale(locale);
    return number;
}

bool cel_parse_double(struct bytes text, double *ret_number) {
    struct decimal decimal;
    if (!read_decimal(text, &decimal))
        return false;
    double number;
    if (decimal.n == 0) {
        number = 0;
    } else if (decimal.n <= EXACT_DIGITS && decimal.exponent >= -22 && decimal.exponent <= 22) {
        number = (double)decimal.digits;
        number =
            decimal.exponent < 0 ? number / exact_powers[-decimal.exponent] : number * exact_powers[decimal.exponent];
    } else {
        /* Written afresh: digits without a point, so that the text is bounded; what is cut cannot matter but for being
         * there at all, for which a last 1 stands. */
        char plain[DIGITS_MAX + 40];
        size_t n = 0, significant = 0;
        for (size_t i = 0; i < text.n && text.p[i] != 'e' && text.p[i] != 'E'; i++) {
            if (!is_digit(text.p[i]) || (significant == 0 && text.p[i] == '0'))
                continue;
            if (significant++ < DIGITS_MAX)
                plain[n++] = text.p[i];
        }
        int64_t exponent = decimal.exponent;
        if (significant > DIGITS_MAX) {
            exponent += (int64_t)(significant - DIGITS_MAX);
            plain[n - 1] = '1';
        }
        snprintf(plain + n, sizeof plain - n, "e%lld", (long long)exponent);
        number = c_strtod(plain);
    }
    if (!isfinite(number))
        return false;
    *ret_number = decimal.negative ? -number : number;
    return true;
}

size_t cel_format_double(double number, char ret_text[CEL_NUMBER_TEXT]) {
    if (!isfinite(number)) {
        const char *name = isnan(number) ? "NaN" : number > 0 ? "+Inf" : "-Inf";
        memcpy(ret_text, name, strlen(name) + 1);
        return strlen(name);
    }
    char digits[24];
    int n_digits = 0, exponent = 0;
    for (int precision = 1; precision <= 17; precision++) {
        char text[CEL_NUMBER_TEXT];
        snprintf(text, sizeof text, "%.*e", precision - 1, fabs(number));
        n_digits = 0;
        const char *at = text;
        for (; *at != 'e'; at++) /* whatever stands for the point is left out */
            if (is_digit(*at) && n_digits < 17)
                digits[n_digits++] = *at;
        exponent = (int)strtol(at + 1, NULL, 10);
        char again[CEL_NUMBER_TEXT];
        snprintf(again, sizeof again, "%.*se%d", n_digits, digits, exponent - (n_digits - 1));
        double same;
        if (cel_parse_double(bytes_str(again), &same) && same == fabs(number))
            break;
    }
    char *at = ret_text;
    if (signbit(number))
        *at++ = '-';
    if (exponent < -4 || exponent >= 21) {
        *at++ = digits[0];
        if (n_digits > 1)
            *at++ = '.';
        memcpy(at, digits + 1, (size_t)(n_digits - 1));
        at += n_digits - 1;
        at += snprintf(at, 8, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else {
        if (exponent < 0) {
            *at++ = '0';
            *at++ = '.';
            for (int i = exponent + 1; i < 0; i++)
                *at++ = '0';
        }
        for (int i = 0; i < n_digits || i <= exponent; i++) {
            if (i > 0 && i == exponent + 1)
                *at++ = '.';
            *at++ = i < n_digits ? digits[i] : '0';
        }
        *at = '\0';
    }
    return (size_t)(at - ret_text);
}

size_t cel_utf8_write(uint32_t c, char ret_bytes[4]) {
    if (c < 0x80) {
        ret_bytes[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        ret_bytes[0] = (char)(0xc0 | c >> 6);
        ret_bytes[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        ret_bytes[0] = (char)(0xe0 | c >> 12);
        ret_bytes[1] = (char)(0x80 | (c >> 6 & 0x3f));
        ret_bytes[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    ret_bytes[0] = (char)(0xf0 | c >> 18);
    ret_bytes[1] = (char)(0x80 | (c >> 12 & 0x3f));
    ret_bytes[2] = (char)(0x80 | (c >> 6 & 0x3f));
    ret_bytes[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}
