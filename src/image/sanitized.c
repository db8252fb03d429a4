/* sanitized.c - a part of sanitized builds alone: what the sanitizers are not to say of libvips and its friends, which
 * are not built with them. Nothing is left out that froe itself allocates, frees or locks. */
const char *__lsan_default_suppressions(void);
const char *__tsan_default_options(void);

/* What x265 keeps for all of the process when it has written once; it calls nothing of froe's, so no leak of froe's has
 * it in its stack. */
const char *__lsan_default_suppressions(void) {
    return "leak:libx265.so\n";
}

/* Their threads hand things over by locks that were not compiled for the sanitizer, so that each image would be dozens
 * of races. Accesses that froe's own code makes are watched all the same. */
const char *__tsan_default_options(void) {
    return "ignore_noninstrumented_modules=1";
}
