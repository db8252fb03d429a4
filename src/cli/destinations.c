/* destinations.c - see destinations.h. */
#include "destinations.h"

#include "config_output.h"
#include "config_rules.h"
#include "doc.h"
#include "mem.h"

#include <sys/stat.h>

struct client { /* of a region or an endpoint of its own */
    struct client *next;
    struct s3_client *s3;
    const char *region, *endpoint; /* NULL: the source's */
};

struct destination {
    struct output *outputs[OUTPUTS_MAX];
    size_t n;
    struct pipeline_then then;
    struct key_template *key; /* of a move */
};

struct destinations {
    uv_loop_t *loop;
    const struct options *options;
    const struct aws *aws; /* NULL: nothing lands in a bucket */
    struct client *clients;
    struct destination *all;
    size_t n;
    uv_timer_t later; /* tells that all is closed, when there are no clients to wait for */
    size_t open;
    void (*closed)(void *arg);
    void *arg;
};

static bool same(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static int find_client(struct destinations *destinations, const struct config_output *output, struct s3_client **ret_s3,
                       struct err *err) {
    const struct aws *aws = destinations->aws;
    if (!aws)
        return err_set(err, -EINVAL, "there is no S3 here");
    if (!output->region && !output->endpoint) {
        *ret_s3 = aws->s3;
        return 0;
    }
    for (const struct client *client = destinations->clients; client; client = client->next)
        if (same(client->region, output->region) && same(client->endpoint, output->endpoint)) {
            *ret_s3 = client->s3;
            return 0;
        }
    struct client *client = mem_zalloc(sizeof *client);
    if (!client)
        return err_set(err, -ENOMEM, "out of memory");
    const struct s3_options options = {
        .endpoint = output->endpoint ? output->endpoint : aws->settings.endpoint,
        .region = output->region ? output->region : aws->settings.region,
        .ca_bundle = aws->settings.ca_bundle,
        .credentials = aws->credentials,
        .max_connections = destinations->options->slots + 8,
        .max_attempts = aws->settings.max_attempts,
    };
    int r = s3_client_new(destinations->loop, &options, &client->s3, err);
    if (r < 0) {
        mem_free(client);
        return r;
    }
    client->region = output->region;
    client->endpoint = output->endpoint;
    client->next = destinations->clients;
    destinations->clients = client;
    *ret_s3 = client->s3;
    return 0;
}

static int check_directory(const char *path, struct err *err) {
    struct stat info;
    if (stat(path, &info) < 0)
        return err_set(err, -EINVAL, "the directory %s: %s; froe makes directories below it, but not itself", path,
                       err_errno_text(-errno));
    return S_ISDIR(info.st_mode) ? 0 : err_set(err, -EINVAL, "%s is not a directory", path);
}

static int open_output(struct destinations *destinations, const struct config_output *from, struct output **ret_output,
                       struct err *err) {
    struct s3_client *s3 = NULL;
    int r = from->options.bucket ? find_client(destinations, from, &s3, err)
                                 : check_directory(from->options.directory, err);
    if (r == 0)
        r = output_new(&from->options, s3, ret_output, err);
    if (r == -EINVAL)
        err_prefix(err, "output");
    return r;
}

/* Nobody wants images to be made for nothing; a program may have done something else. */
static bool makes_image(const struct options *options, const struct config_rule *rule) {
    if (rule && rule->handler != CONFIG_HANDLER_GENERAL)
        return rule->handler == CONFIG_HANDLER_IMAGE;
    return options->image && (rule || !options->rules);
}

static int open_one(struct destinations *destinations, const struct config_rule *rule, struct destination *into,
                    struct err *err) {
    const struct config_outputs *outputs = config_outputs_of(destinations->options, rule);
    const struct config_then *then = config_then_of(destinations->options, rule);
    int r = 0;
    for (size_t i = 0; outputs && i < outputs->n && r == 0; i++) {
        r = open_output(destinations, &outputs->items[i], &into->outputs[i], err);
        into->n += r == 0;
    }
    if (r == 0 && into->n == 0 && makes_image(destinations->options, rule))
        return err_set(err, -EINVAL,
                       "the images that are made would land nowhere, and the object would be deleted: give an output");
    if (r < 0 || !then)
        return r;
    if (then->kind == THEN_MOVE)
        r = key_template_compile(bytes_str(then->key), false, &into->key, err);
    into->then.kind = then->kind;
    into->then.bucket = then->bucket;
    into->then.key = into->key;
    into->then.tags = then->tags;
    into->then.n_tags = then->n_tags;
    return r;
}

static void free_all(struct destinations *destinations) {
    for (size_t i = 0; destinations->all && i < destinations->n; i++) {
        for (size_t o = 0; o < destinations->all[i].n; o++)
            output_free(destinations->all[i].outputs[o]);
        key_template_free(destinations->all[i].key);
    }
    mem_free(destinations->all);
    for (struct client *client = destinations->clients, *next; client; client = next) {
        next = client->next;
        mem_free(client);
    }
    mem_free(destinations);
}

static void timer_closed(uv_handle_t *handle) {
    struct destinations *destinations = handle->data;
    void (*closed)(void *arg) = destinations->closed;
    void *arg = destinations->arg;
    free_all(destinations);
    closed(arg);
}

static void client_closed(void *arg) {
    struct destinations *destinations = arg;
    if (--destinations->open == 0)
        uv_close((uv_handle_t *)&destinations->later, timer_closed);
}

void destinations_close(struct destinations *destinations, void (*closed)(void *arg), void *arg) {
    destinations->closed = closed;
    destinations->arg = arg;
    destinations->open = 1;
    for (struct client *client = destinations->clients; client; client = client->next) {
        destinations->open++;
        s3_client_close(client->s3, client_closed, destinations);
    }
    client_closed(destinations);
}

static void nothing(void *arg) {
    (void)arg;
}

int destinations_open(uv_loop_t *loop, const struct options *options, const struct aws *aws,
                      struct destinations **ret_destinations, struct err *err) {
    size_t n_rules = options->rules ? options->rules->n : 0;
    struct destinations *destinations = mem_zalloc(sizeof *destinations);
    if (destinations)
        destinations->all = mem_calloc(n_rules + 1, sizeof *destinations->all);
    if (!destinations || !destinations->all) {
        mem_free(destinations);
        return err_set(err, -ENOMEM, "out of memory");
    }
    destinations->loop = loop;
    destinations->options = options;
    destinations->aws = aws;
    destinations->n = n_rules + 1;
    uv_timer_init(loop, &destinations->later);
    destinations->later.data = destinations;
    int r = config_outputs_settle(options, aws ? aws->settings.endpoint : NULL, err);
    for (size_t i = 0; i <= n_rules && r == 0; i++) {
        r = open_one(destinations, i < n_rules ? &options->rules->rules[i] : NULL, &destinations->all[i], err);
        if (r < 0 && i < n_rules)
            err_prefix(err, "rule %zu", i + 1);
    }
    if (r < 0) {
        destinations_close(destinations, nothing, NULL);
        return r;
    }
    *ret_destinations = destinations;
    return 0;
}

void destinations_set(const struct destinations *destinations, size_t rule, struct pipeline_way *way) {
    const struct destination *from = &destinations->all[rule];
    way->outputs = (const struct output *const *)from->outputs;
    way->n_outputs = from->n;
    way->then = from->then;
}

bool destinations_any(const struct destinations *destinations, size_t rule) {
    return destinations->all[rule].n > 0;
}
