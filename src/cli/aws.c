/* aws.c - puts credentials, settings and the client together. */
#include "aws.h"

#include "mem.h"
#include "options.h"

struct aws_closing {
    struct aws aws;
    void (*closed)(void *arg);
    void *arg;
};

#define HASH_THREADS_MAX 4 /* more than a loop can feed */

/* The loop is busy as well: with a core to itself a thread has several bodies to work on at once more often, which
 * costs less. On a single core it would only be in the way. */
static uint32_t hash_threads(void) {
    unsigned cores = uv_available_parallelism();
    return cores <= HASH_THREADS_MAX ? cores - 1 : HASH_THREADS_MAX;
}

int aws_open(uv_loop_t *loop, uint32_t max_connections, struct aws *ret_aws, struct err *err) {
    struct aws aws = {0};
    if (aws_settings_read(&env_process, NULL, &aws.settings, err) < 0)
        return EXIT_USAGE;
    int r = credentials_open(loop, &env_process, NULL, &clock_system, &aws.credentials, err);
    if (r < 0) {
        aws_settings_free(&aws.settings);
        return r == -ENOMEM ? EXIT_INTERNAL : EXIT_CREDENTIALS;
    }
    const struct s3_options options = {
        .endpoint = aws.settings.endpoint,
        .region = aws.settings.region,
        .ca_bundle = aws.settings.ca_bundle,
        .credentials = aws.credentials,
        .max_connections = max_connections,
        .max_attempts = aws.settings.max_attempts,
        .hash_threads = hash_threads(),
    };
    r = s3_client_new(loop, &options, &aws.s3, err);
    if (r < 0) {
        if (r == -EINVAL)
            err_prefix(err, "AWS_ENDPOINT_URL, AWS_REGION, AWS_CA_BUNDLE or the like in the profile");
        credentials_close(aws.credentials);
        aws_settings_free(&aws.settings);
        return r == -ENOMEM ? EXIT_INTERNAL : EXIT_USAGE;
    }
    *ret_aws = aws;
    return 0;
}

static void client_closed(void *arg) {
    struct aws_closing *closing = arg;
    credentials_close(closing->aws.credentials);
    aws_settings_free(&closing->aws.settings);
    closing->closed(closing->arg);
    mem_free(closing);
}

void aws_close(struct aws *aws, void (*closed)(void *arg), void *arg) {
    struct aws_closing *closing = aws->s3 ? mem_zalloc(sizeof *closing) : NULL;
    if (!closing) { /* nothing was opened, or memory is out on the way to the exit */
        closed(arg);
        return;
    }
    *closing = (struct aws_closing){*aws, closed, arg};
    *aws = (struct aws){0};
    s3_client_close(closing->aws.s3, client_closed, closing);
}
