// re2_shim.cc - see the header. Compiled without the rest of C++'s ways: no class of our own, no exception gets out.
#include "re2_shim.h"

#include <re2/re2.h>

#include <cerrno>
#include <cstdio>
#include <new>

struct re2_regex {
    RE2 pattern;
};

int re2_regex_compile(const char *pattern, size_t n, int64_t max_bytes, struct re2_regex **ret_regex, char *ret_text,
                      size_t text_max) {
    try {
        RE2::Options options;
        options.set_log_errors(false);
        options.set_max_mem(max_bytes);
        options.set_never_capture(true);
        auto *regex = new re2_regex{RE2(re2::StringPiece(pattern, n), options)};
        if (regex->pattern.ok()) {
            *ret_regex = regex;
            return 0;
        }
        snprintf(ret_text, text_max, "%s", regex->pattern.error().c_str());
        bool too_large = regex->pattern.error_code() == RE2::ErrorPatternTooLarge;
        delete regex;
        return too_large ? -E2BIG : -EINVAL;
    } catch (...) { // nothing but bad_alloc can be thrown
        return -ENOMEM;
    }
}

void re2_regex_free(struct re2_regex *regex) {
    delete regex;
}

int re2_regex_matches(const struct re2_regex *regex, const char *text, size_t n) {
    try {
        return regex->pattern.Match(re2::StringPiece(text, n), 0, n, RE2::UNANCHORED, nullptr, 0) ? 1 : 0;
    } catch (...) {
        return -ENOMEM;
    }
}
