/* sanitized.c - a part of sanitized builds alone: what the sanitizers are not to say of libvips and its friends, which
 * are not built with them. Of froe's own code they say all that they have to say. */
const char *__lsan_default_suppressions(void);
const char *__tsan_default_options(void);

const char *__lsan_default_suppressions(void) {
    return "leak:libx265.so\n";
}

/* Their threads hand things over in ways that cannot be seen from outside. */
const char *__tsan_default_options(void) {
    return "ignore_noninstrumented_modules=1";
}
