/* s3.c - the client: its options, its timer, its pool of calls, its end. */
#include "s3_private.h"

#include "cleanup.h"
#include "mem.h"

#include <errno.h>

#define DEFAULT_REGION "us-east-1"
#define DEFAULT_CONNECTIONS 256
#define DEFAULT_ATTEMPTS 3
#define DEFAULT_DEADLINE_US (60 * US_PER_S)
#define DEFAULT_RETRY_BASE_US US_PER_S
#define COPY_MAX (UINT64_C(5) * 1024 * 1024 * 1024) /* AWS "Copying, moving, and renaming objects" */
#define COPY_PART (UINT64_C(256) * 1024 * 1024)     /* few seconds of the server's work, less than the stall limit */
#define KEEP_BYTES (64u * 1024)                     /* of a buffer, in a call kept for reuse */

/* ---- calls ---- */

static void call_free(struct s3_call *call) {
    s3_upload_free(call->upload);
    buf_free(&call->args);
    mem_free(call->headers);
    mem_free(call->fields);
    buf_free(&call->url);
    buf_wipe(&call->authorization);
    buf_free(&call->in);
    mem_free(call->metadata);
    buf_free(&call->kept);
    s3_check_free(&call->check);
    buf_free(&call->message);
    buf_free(&call->text);
    mem_free(call);
}

struct s3_call *s3_call_new(struct s3_client *client, enum s3_op op) {
    struct list *link = list_pop_front(&client->free);
    struct s3_call *call;
    if (link) {
        call = LIST_ENTRY(link, struct s3_call, link);
        client->n_free--;
    } else {
        call = mem_zalloc(sizeof *call);
        if (!call)
            return NULL;
        call->client = client;
        list_init(&call->link);
        list_init(&call->queue);
    }
    call->op = op;
    list_push_back(&client->calls, &call->link);
    return call;
}

static void shrink(struct buf *buf) {
    if (buf->cap > KEEP_BYTES)
        buf_free(buf);
    else if (buf->n)
        buf_reset(buf);
}

void s3_call_release(struct s3_call *call) {
    struct s3_client *client = call->client;
    list_remove(&call->link);
    list_remove(&call->queue);
    s3_xml_free(&call->xml);
    s3_check_stop(&call->check);
    s3_upload_free(call->upload);
    call->upload = NULL;
    if (client->closing || client->n_free >= client->max_free) {
        call_free(call);
        return;
    }
    struct buf *bufs[] = {&call->args, &call->url,     &call->authorization, &call->in,
                          &call->kept, &call->message, &call->text};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        shrink(bufs[i]);
    /* What holds memory stays; all else begins anew. */
    *call = (struct s3_call){
        .client = client,
        .args = call->args,
        .headers = call->headers,
        .fields = call->fields,
        .headers_cap = call->headers_cap,
        .url = call->url,
        .authorization = call->authorization,
        .in = call->in,
        .metadata = call->metadata,
        .metadata_cap = call->metadata_cap,
        .kept = call->kept,
        .check.sum = call->check.sum,
        .message = call->message,
        .text = call->text,
    };
    list_init(&call->queue);
    list_push_front(&client->free, &call->link);
    client->n_free++;
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer) {
    struct s3_client *client = timer->data;
    uint64_t now = s3_now_ms(client), next = UINT64_MAX;
    struct list late;
    list_init(&late);
    client->timer_at_ms = 0;
    LIST_EACH_SAFE (link, following, &client->keys) {
        struct s3_call *call = LIST_ENTRY(link, struct s3_call, queue);
        if (call->deadline_ms && call->deadline_ms <= now)
            list_move_back(&late, link);
        else if (call->deadline_ms && call->deadline_ms < next)
            next = call->deadline_ms;
    }
    struct list awake;
    list_init(&awake);
    LIST_EACH_SAFE (link, following, &client->asleep) {
        struct s3_call *call = LIST_ENTRY(link, struct s3_call, queue);
        if (call->wake_ms <= now)
            list_move_back(&awake, link);
        else if (call->wake_ms < next)
            next = call->wake_ms;
    }
    if (next != UINT64_MAX)
        s3_client_wake_at(client, next);
    struct list *link;
    while ((link = list_pop_front(&awake)))
        s3_call_send(LIST_ENTRY(link, struct s3_call, queue));
    static const struct s3_verdict timeout = {S3_TIMEOUT, S3_REMEDY_NONE};
    while ((link = list_pop_front(&late)))
        s3_call_end_soon(LIST_ENTRY(link, struct s3_call, queue), timeout, "no credentials came in time");
}

void s3_client_wake_at(struct s3_client *client, uint64_t at_ms) {
    if (client->timer_at_ms && client->timer_at_ms <= at_ms)
        return;
    uint64_t now = s3_now_ms(client);
    client->timer_at_ms = at_ms;
    uv_timer_start(&client->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
}

static void on_soon(uv_idle_t *idle) {
    struct s3_client *client = idle->data;
    uv_idle_stop(idle);
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, &client->ending);
    struct list *link;
    while ((link = list_pop_front(&batch))) {
        struct s3_call *call = LIST_ENTRY(link, struct s3_call, queue);
        s3_call_end(call, call->refused.status);
    }
    list_splice_back(&batch, &client->bodies);
    while ((link = list_pop_front(&batch)))
        s3_call_read_on(LIST_ENTRY(link, struct s3_call, queue));
    s3_client_check_closed(client);
}

void s3_client_wake(struct s3_client *client) {
    uv_idle_start(&client->soon, on_soon);
}

/* ---- begin ---- */

static void client_free(struct s3_client *client) {
    struct list *link;
    while ((link = list_pop_front(&client->free)))
        call_free(LIST_ENTRY(link, struct s3_call, link));
    if (client->key_request && client->key_request->asked)
        client->key_request->client = NULL; /* freed when the answer comes */
    else
        mem_free(client->key_request);
    s3_endpoint_free(&client->endpoint);
    s3_regions_free(&client->regions);
    sigv4_signer_free(client->signer);
    hashers_free(client->hashers);
    mem_free(client->user_agent);
    mem_free(client);
}

static int check_region(const char *region, struct err *err) {
    if (!s3_region_is_valid(bytes_str(region)))
        return err_set(err, -EINVAL, "region '%.100s' is not a region's name", region);
    return 0;
}

int s3_check_place(const char *endpoint, const char *region, struct err *err) {
    struct s3_endpoint read;
    int r = s3_endpoint_init(&read, &(const struct s3_options){.endpoint = endpoint}, err);
    s3_endpoint_free(&read);
    return r == 0 && region ? check_region(region, err) : r;
}

static int read_options(struct s3_client *client, const struct s3_options *options, struct err *err) {
    int r = s3_endpoint_init(&client->endpoint, options, err);
    if (r < 0)
        return r;
    const char *region =
        options->region && strcmp(options->region, "aws-global") != 0 ? options->region : DEFAULT_REGION;
    if (!options->credentials)
        return err_set(err, -EINVAL, "no credentials provider was given");
    r = check_region(region, err);
    if (r < 0)
        return r;
    if (options->addressing == S3_ADDRESS_VIRTUAL && client->endpoint.address_is_ip)
        return err_set(err, -EINVAL, "endpoint '%.200s' is an address: bucket names cannot go before it",
                       options->endpoint);
    for (const char *c = options->user_agent; c && *c; c++)
        if (*c < 32 || *c == 127)
            return err_set(err, -EINVAL, "the user agent has a character that a header cannot hold");
    client->region = s3_regions_name(&client->regions, bytes_str(region));
    client->user_agent = mem_strdup(options->user_agent ? options->user_agent : "froe/" FROE_VERSION);
    client->key_request = mem_zalloc(sizeof *client->key_request);
    if (!client->region || !client->user_agent || !client->key_request)
        return err_set(err, -ENOMEM, "out of memory");
    client->key_request->client = client;
    client->credentials = options->credentials;
    client->clock = options->clock ? options->clock : &clock_system;
    if (options->rng_seed)
        rng_seed(&client->rng, options->rng_seed);
    else
        rng_seed_system(&client->rng);
    client->quota.left = S3_QUOTA_MAX;
    client->copy_max = COPY_MAX;
    client->copy_part = COPY_PART;
    client->max_attempts = options->max_attempts ? options->max_attempts : DEFAULT_ATTEMPTS;
    client->max_free = options->max_connections ? options->max_connections : DEFAULT_CONNECTIONS;
    client->call_deadline_us = options->call_deadline_us > 0 ? options->call_deadline_us : DEFAULT_DEADLINE_US;
    client->retry_base_us = options->retry_base_us > 0 ? options->retry_base_us : DEFAULT_RETRY_BASE_US;
    return 0;
}

int s3_client_new(uv_loop_t *loop, const struct s3_options *options, struct s3_client **ret_client, struct err *err) {
    struct s3_client *client = mem_zalloc(sizeof *client);
    if (!client)
        return err_set(err, -ENOMEM, "out of memory");
    struct list *lists[] = {&client->calls,  &client->free,   &client->keys,
                            &client->asleep, &client->bodies, &client->ending};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        list_init(lists[i]);
    s3_regions_init(&client->regions);
    client->loop = loop;
    int r = read_options(client, options, err);
    if (r >= 0) {
        r = sigv4_signer_new(&client->signer);
        if (r < 0)
            err_set(err, r, r == -ENOMEM ? "out of memory" : "OpenSSL has no HMAC or no SHA-256");
    }
    if (r >= 0 && options->hash_threads) {
        r = hashers_new(options->hash_threads, &client->hashers);
        if (r < 0)
            err_set(err, r, "cannot start threads: %s", err_errno_text(r));
    }
    if (r >= 0)
        r = http_new(loop,
                     &(struct http_options){.ca_bundle = options->ca_bundle,
                                            .max_connections = options->max_connections,
                                            .connect_timeout_us = options->connect_timeout_us,
                                            .stall_timeout_us = options->stall_timeout_us,
                                            .clock = options->clock},
                     &client->http, err);
    if (r < 0) {
        client_free(client);
        return r;
    }
    uv_timer_init(loop, &client->timer); /* these two cannot fail */
    uv_idle_init(loop, &client->soon);
    client->timer.data = client->soon.data = client;
    client->open_handles = 2;
    *ret_client = client;
    return 0;
}

void s3_client_counters(const struct s3_client *client, struct s3_counters *ret_counters) {
    *ret_counters = client->counters;
}

/* ---- end ---- */

static void on_handle_closed(uv_handle_t *handle) {
    struct s3_client *client = handle->data;
    if (--client->open_handles)
        return;
    void (*closed)(void *arg) = client->closed;
    void *arg = client->closed_arg;
    client_free(client);
    closed(arg);
}

static void on_http_closed(void *arg) {
    struct s3_client *client = arg;
    uv_close((uv_handle_t *)&client->timer, on_handle_closed);
    uv_close((uv_handle_t *)&client->soon, on_handle_closed);
}

void s3_client_check_closed(struct s3_client *client) {
    if (!client->closing || client->http_closing || !list_empty(&client->calls))
        return;
    client->http_closing = true;
    http_close(client->http, on_http_closed, client);
}

void s3_client_close(struct s3_client *client, void (*closed)(void *arg), void *arg) {
    client->closing = true;
    client->closed = closed;
    client->closed_arg = arg;
    LIST_EACH (link, &client->calls)
        s3_cancel(LIST_ENTRY(link, struct s3_call, link));
    s3_client_wake(client);
}
