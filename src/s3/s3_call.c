/* s3_call.c - one call from start to end: keys, signing, the attempt, what its answer means, and what follows.
 *
 *     start -> BODY -> KEYS -> HTTP -> end   (only a body that is not in memory; keys that are at hand come at once)
 *                       ^       |
 *                       |       +-> ASLEEP -+     a failure that is worth another attempt
 *                       +-------------------+     or one that can be mended: region, clock, keys
 *
 * Callbacks are made from s3_call_end alone, which only runs from the loop; what fails earlier goes through
 * s3_call_end_soon. */
#include "s3_private.h"

#include "mem.h"

#include <errno.h>

#define SERVICE "s3"
#define CLOSING_US (5 * US_PER_S)           /* for clearing up once the client is to be closed */
#define CLOCK_TOLERANCE_US (5 * US_PER_MIN) /* AWS allows 15 */

static const struct s3_verdict no_memory = {S3_NO_MEMORY, S3_REMEDY_NONE};

/* ---- the end ---- */

void s3_call_end(struct s3_call *call, enum s3_status status) {
    struct s3_client *client = call->client;
    if (call->cancelled)
        status = S3_CANCELLED;
    call->stage = S3_STAGE_TELLING;
    list_remove(&call->queue);
    if (status == S3_OK && !call->upload)
        s3_quota_give(&client->quota, call->quota_taken ? call->quota_taken : 1);
    struct s3_result result = {
        .status = status,
        .http_status = call->http_status,
        .code = call->code,
        .text = status == S3_OK ? "" : s3_call_text(call, status),
        .attempts = call->attempts,
        .throttled = call->throttled,
        .duration_us = clock_mono_us(client->clock) - call->start_mono_us,
    };
    s3_op_tell(call, &result);
    s3_call_release(call);
    s3_client_check_closed(client);
}

void s3_call_refuse(struct s3_call *call, struct s3_verdict verdict, const char *message) {
    call->refused = verdict;
    s3_call_set_message(call, bytes_str(message));
    if (call->http)
        http_cancel(call->http);
}

void s3_call_end_soon(struct s3_call *call, struct s3_verdict verdict, const char *message) {
    call->refused = verdict;
    s3_call_set_message(call, bytes_str(message));
    call->stage = S3_STAGE_ENDING;
    list_move_back(&call->client->ending, &call->queue);
    s3_client_wake(call->client);
}

void s3_cancel(struct s3_call *call) {
    static const struct s3_verdict cancelled = {S3_CANCELLED, S3_REMEDY_NONE};
    if (call->cancelled || call->stage == S3_STAGE_TELLING || call->op == S3_OP_ABORT_UPLOAD)
        return; /* an abort clears up what was cancelled */
    call->cancelled = true;
    if (call->upload)
        s3_upload_cancel(call);
    else if (call->http)
        http_cancel(call->http);
    else
        s3_call_end_soon(call, cancelled, "");
}

void s3_get_resume(struct s3_call *call) {
    if (call->http)
        http_resume(call->http);
}

/* ---- another attempt ---- */

static bool go_to_region(struct s3_call *call) {
    struct s3_client *client = call->client;
    const char *name = s3_regions_name(&client->regions, bytes_str(call->region_told));
    if (!name || name == call->region)
        return false;
    s3_regions_set(&client->regions, call->bucket, name == client->region ? NULL : name);
    call->redirected = true;
    call->region = name;
    call->url_is_good = false;
    call->attempts--; /* the answer was a redirect */
    client->counters.redirects++;
    s3_call_send(call);
    return true;
}

static bool mend_region(struct s3_call *call, struct s3_verdict verdict) {
    if (call->redirected)
        return false;
    if (call->region_told[0])
        return go_to_region(call);
    if (call->bucket.n == 0)
        return false;
    call->probing = true; /* a HEAD of the bucket tells, whatever its status */
    call->url_is_good = false;
    call->refused = verdict; /* should it not tell */
    s3_call_send(call);
    return true;
}

static void probed(struct s3_call *call) {
    call->probing = false;
    call->url_is_good = false;
    if (!call->cancelled && call->region_told[0] && go_to_region(call))
        return;
    s3_call_end(call, call->refused.status);
}

static bool mend(struct s3_call *call, struct s3_verdict verdict) {
    struct s3_client *client = call->client;
    switch (verdict.remedy) {
    case S3_REMEDY_REGION:
        return mend_region(call, verdict);
    case S3_REMEDY_CLOCK:
        if (call->clock_mended || call->date_utc_us == 0)
            return false;
        call->clock_mended = true;
        client->clock_offset_us = call->date_utc_us - clock_utc_us(client->clock);
        break;
    case S3_REMEDY_KEYS:
        credentials_refused(client->credentials, call->key_generation);
        if (call->keys_renewed)
            return false;
        call->keys_renewed = true;
        break;
    default:
        return false;
    }
    client->counters.retries++;
    s3_call_send(call);
    return true;
}

static bool retry(struct s3_call *call, enum s3_remedy remedy) {
    struct s3_client *client = call->client;
    bool throttled = remedy == S3_REMEDY_THROTTLE;
    if (!throttled && remedy != S3_REMEDY_RETRY && remedy != S3_REMEDY_TIMEOUT)
        return false;
    call->failures++;
    int cost = remedy == S3_REMEDY_TIMEOUT ? S3_QUOTA_TIMEOUT : S3_QUOTA_RETRY;
    if (call->failures >= client->max_attempts || !s3_quota_take(&client->quota, cost))
        return false;
    int64_t wait_us = s3_wait_us(&client->rng, client->retry_base_us, throttled, call->failures, call->retry_after_us);
    uint64_t wake_ms = s3_now_ms(client) + (uint64_t)(wait_us + 999) / 1000;
    if (call->deadline_ms && wake_ms >= call->deadline_ms) {
        s3_quota_give(&client->quota, cost);
        return false;
    }
    call->quota_taken += cost;
    client->counters.retries++;
    call->stage = S3_STAGE_ASLEEP;
    call->wake_ms = wake_ms;
    list_move_back(&client->asleep, &call->queue);
    s3_client_wake_at(client, wake_ms);
    return true;
}

static void failed(struct s3_call *call, struct s3_verdict verdict) {
    if (verdict.status == S3_THROTTLED) {
        call->throttled++;
        call->client->counters.throttled++;
    }
    if (s3_code_refuses_keys(bytes_str(call->code)))
        credentials_refused(call->client->credentials, call->key_generation);
    if (call->last || (!mend(call, verdict) && !retry(call, verdict.remedy)))
        s3_call_end(call, verdict.status);
}

/* ---- the answer ---- */

static struct s3_verdict verdict_of_end(const struct s3_call *call, enum http_end end) {
    switch (end) {
    case HTTP_DONE:
        break;
    case HTTP_NO_ANSWER:
    case HTTP_UNREACHABLE:
        return (struct s3_verdict){S3_UNREACHABLE, S3_REMEDY_RETRY};
    case HTTP_STALLED:
        if (call->deadline_ms && s3_now_ms(call->client) >= call->deadline_ms)
            return (struct s3_verdict){S3_TIMEOUT, S3_REMEDY_NONE};
        return (struct s3_verdict){S3_TIMEOUT, S3_REMEDY_TIMEOUT};
    case HTTP_TRUNCATED:
    case HTTP_BAD_ANSWER:
        return (struct s3_verdict){S3_CORRUPT, S3_REMEDY_RETRY};
    case HTTP_CANCELLED:
        return (struct s3_verdict){S3_CANCELLED, S3_REMEDY_NONE};
    case HTTP_NO_MEMORY:
        return no_memory;
    case HTTP_UNREADABLE:
        return (struct s3_verdict){S3_BAD_REQUEST, S3_REMEDY_NONE};
    }
    return (struct s3_verdict){S3_OK, S3_REMEDY_NONE};
}

/* A HEAD's answer cannot say in words what is wrong. */
static struct s3_verdict guess(const struct s3_call *call, struct s3_verdict verdict) {
    const struct s3_client *client = call->client;
    if (call->http_status == 403 && call->date_utc_us) {
        int64_t off = call->date_utc_us - clock_utc_us(client->clock) - client->clock_offset_us;
        if (off > CLOCK_TOLERANCE_US || off < -CLOCK_TOLERANCE_US)
            return (struct s3_verdict){S3_CREDENTIALS, S3_REMEDY_CLOCK};
    }
    if (call->http_status == 400 && call->temporary_keys)
        return (struct s3_verdict){S3_BAD_REQUEST, S3_REMEDY_KEYS};
    return verdict;
}

static struct s3_verdict verdict_of_refusal(struct s3_call *call) {
    bool empty = call->op == S3_OP_HEAD || (call->in.n == 0 && !call->in_over);
    struct s3_xml xml = {0};
    if (!empty && s3_xml_error(buf_bytes(&call->in), &xml) == 0)
        s3_call_take_error(call, &xml.error);
    s3_xml_free(&xml);
    if (call->op == S3_OP_GET_TAGS && strcmp(call->code, "NoSuchTagSet") == 0)
        return (struct s3_verdict){S3_OK, S3_REMEDY_NONE}; /* as some servers say that there are none */
    struct s3_verdict verdict = s3_classify(call->http_status, bytes_str(call->code), call->key.n > 0, empty);
    int status = call->http_status;
    bool elsewhere = call->region_told[0] && strcmp(call->region_told, call->region) != 0;
    if (elsewhere && !call->code[0] && (status == 400 || status == 403))
        verdict.remedy = S3_REMEDY_REGION;
    else if (call->op == S3_OP_HEAD)
        verdict = guess(call, verdict);
    return verdict;
}

static void on_done(void *arg, enum http_end end, const char *text) {
    struct s3_call *call = arg;
    call->http = NULL;
    if (call->probing) {
        probed(call);
        return;
    }
    if (call->cancelled) {
        s3_call_end(call, S3_CANCELLED);
        return;
    }
    struct s3_verdict verdict = call->refused;
    if (verdict.status == S3_OK && (end == HTTP_DONE || call->in_over)) {
        verdict = call->http_status / 100 == 2 ? s3_op_whole(call) : verdict_of_refusal(call);
    } else if (verdict.status == S3_OK) {
        verdict = verdict_of_end(call, end);
        s3_call_set_message(call, bytes_str(text));
    }
    if (verdict.status == S3_OK)
        s3_call_end(call, S3_OK);
    else
        failed(call, verdict);
}

static void on_head(void *arg, int status, const struct http_field *fields, size_t n) {
    struct s3_call *call = arg;
    struct s3_answer answer;
    s3_answer_read(fields, n, &answer);
    if (answer.region.n)
        s3_call_copy_word(call->region_told, SIGV4_REGION_MAX, answer.region);
    if (call->probing)
        return;
    call->http_status = status;
    call->date_utc_us = answer.date_utc_us;
    call->retry_after_us = answer.retry_after_us;
    s3_call_copy_word(call->request_id, S3_REQUEST_ID_MAX, answer.request_id);
    if (status / 100 == 2)
        s3_op_head(call, &answer, fields, n);
}

static bool on_data(void *arg, struct bytes piece) {
    struct s3_call *call = arg;
    call->client->counters.bytes_in += piece.n;
    if (call->probing || call->in_over || call->refused.status != S3_OK)
        return true;
    if (call->http_status / 100 == 2)
        return s3_op_data(call, piece);
    if (call->in.n + piece.n > S3_ERROR_BODY_MAX) {
        call->in_over = true; /* the status has to do */
        http_cancel(call->http);
    } else if (buf_add_bytes(&call->in, piece) < 0) {
        s3_call_refuse(call, no_memory, "out of memory");
    }
    return true;
}

/* ---- an attempt ---- */

static void forget_answer(struct s3_call *call) {
    call->http_status = 0;
    call->refused = (struct s3_verdict){S3_OK, S3_REMEDY_NONE};
    call->in_over = false;
    buf_reset(&call->in);
    s3_xml_free(&call->xml);
    call->xml = (struct s3_xml){0};
    buf_reset(&call->kept);
    buf_reset(&call->message);
    call->date_utc_us = call->retry_after_us = 0;
    call->code[0] = call->request_id[0] = call->region_told[0] = '\0';
}

static int write_url(struct s3_call *call) {
    if (call->url_is_good)
        return 0;
    int r = s3_endpoint_url(&call->client->endpoint, bytes_str(call->region), call->bucket,
                            call->probing ? BYTES_NONE : call->key, &call->url, &call->url_parts);
    if (r >= 0 && call->n_params && !call->probing) {
        r = buf_add_byte(&call->url, '?');
        if (r >= 0)
            r = sigv4_add_query(&call->url, call->params, call->n_params);
    }
    call->url_is_good = r >= 0;
    return r;
}

static struct bytes payload_hash(const struct s3_call *call) {
    if (!call->has_body || call->probing)
        return BYTES(SIGV4_EMPTY_SHA256);
    if (call->client->endpoint.tls)
        return BYTES(SIGV4_UNSIGNED_PAYLOAD); /* TLS keeps it whole already */
    return bytes_of(call->payload_hash, sizeof call->payload_hash);
}

/* Signs, and leaves the fields to send in call->fields. */
static int write_fields(struct s3_call *call, const struct credentials *keys, size_t *ret_n) {
    struct s3_client *client = call->client;
    int64_t now_utc_us = clock_utc_us(client->clock) + client->clock_offset_us;
    struct buf *authorization = &call->authorization; /* the date, and after it the header's value */
    buf_reset(authorization);
    int r = sigv4_add_date(authorization, now_utc_us);
    if (r < 0)
        return r;
    size_t date_n = authorization->n, n = call->n_own, first = call->probing ? call->n_own : 0;
    struct sigv4_header *headers = call->headers;
    struct bytes host = bytes_of(call->url.p + call->url_parts.host_at, call->url_parts.host_n);
    headers[n++] = (struct sigv4_header){BYTES("host"), host};
    headers[n++] = (struct sigv4_header){BYTES("x-amz-content-sha256"), payload_hash(call)};
    headers[n++] = (struct sigv4_header){BYTES("x-amz-date"), bytes_of(authorization->p, date_n)};
    if (keys->session_token.n)
        headers[n++] = (struct sigv4_header){BYTES("x-amz-security-token"), keys->session_token};
    struct sigv4_request request = {
        .method = call->probing ? "HEAD" : s3_op_method(call->op),
        .path = bytes_of(call->url.p + call->url_parts.path_at, call->url_parts.path_n),
        .params = call->params,
        .n_params = call->probing ? 0 : call->n_params,
        .headers = headers + first,
        .n_headers = n - first,
        .payload_hash = payload_hash(call),
        .region = bytes_str(call->region),
        .service = BYTES(SERVICE),
        .now_utc_us = now_utc_us,
    };
    r = sigv4_sign(client->signer, keys, &request, authorization);
    if (r < 0)
        return r;
    size_t out = 0;
    for (size_t i = first; i < n; i++)
        if (i != call->n_own) /* HTTP writes the host itself */
            call->fields[out++] = (struct http_field){headers[i].name, headers[i].value};
    call->fields[out - (keys->session_token.n ? 2 : 1)].value = bytes_of(authorization->p, date_n); /* may have moved */
    call->fields[out++] =
        (struct http_field){BYTES("authorization"), bytes_of(authorization->p + date_n, authorization->n - date_n)};
    call->fields[out++] = (struct http_field){BYTES("user-agent"), bytes_str(client->user_agent)};
    *ret_n = out;
    return 0;
}

static void count(struct s3_call *call) {
    struct s3_counters *counters = &call->client->counters;
    switch (call->probing ? S3_OP_HEAD : call->op) {
    case S3_OP_LIST_BUCKETS:
        counters->list_buckets++;
        break;
    case S3_OP_LIST_OBJECTS:
        counters->list_objects++;
        break;
    case S3_OP_HEAD:
        counters->head++;
        break;
    case S3_OP_GET:
        counters->get++;
        break;
    case S3_OP_PUT:
        counters->put++;
        break;
    case S3_OP_DELETE:
        counters->delete += 1;
        break;
    case S3_OP_COPY:
        counters->copy++;
        break;
    case S3_OP_GET_TAGS:
    case S3_OP_PUT_TAGS:
        counters->tagging++;
        break;
    case S3_OP_CREATE_UPLOAD:
    case S3_OP_PUT_PART:
    case S3_OP_COPY_PART:
    case S3_OP_COMPLETE_UPLOAD:
    case S3_OP_ABORT_UPLOAD:
        counters->upload++;
        break;
    case S3_OP_VERSIONING:
    case S3_OP_UPLOAD:
        counters->other++;
        break;
    }
    if (!call->probing) {
        counters->bytes_out += call->read ? call->read_n : call->body.n;
        call->attempts++;
    }
}

static int attempt(struct s3_call *call, const struct credentials *keys) {
    static const struct http_handler handler = {on_head, on_data, on_done};
    struct s3_client *client = call->client;
    if (!call->probing)
        forget_answer(call);
    call->key_generation = keys->generation;
    call->temporary_keys = keys->session_token.n > 0;
    struct http_send send = {.method = call->probing ? "HEAD" : s3_op_method(call->op)};
    int r = write_url(call);
    if (r >= 0)
        r = write_fields(call, keys, &send.n_fields);
    if (r < 0)
        return r;
    send.url = call->url.p;
    send.fields = call->fields;
    if (call->has_body && !call->probing) {
        send.has_body = true;
        send.body = call->body;
        send.read = call->read ? s3_body_send : NULL;
        send.read_arg = call;
        send.read_n = call->read_n;
    }
    if (call->deadline_ms) {
        uint64_t now = s3_now_ms(client);
        send.deadline_us = call->deadline_ms > now ? (int64_t)(call->deadline_ms - now) * US_PER_MS : 1;
    }
    call->stage = S3_STAGE_HTTP;
    r = http_start(client->http, &send, &handler, call, &call->http);
    if (r >= 0)
        count(call);
    return r;
}

static void keys_come(void *arg, const struct credentials *keys, const struct err *err) {
    static const struct s3_verdict none = {S3_CREDENTIALS, S3_REMEDY_NONE};
    static const struct s3_verdict unsendable = {S3_BAD_REQUEST, S3_REMEDY_NONE};
    struct s3_key_request *key_request = arg;
    struct s3_client *client = key_request->client;
    key_request->asked = false;
    if (!client) {
        mem_free(key_request);
        return;
    }
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, &client->keys);
    struct list *link;
    while ((link = list_pop_front(&batch))) {
        struct s3_call *call = LIST_ENTRY(link, struct s3_call, queue);
        if (!keys) {
            s3_call_end_soon(call, err->code == -ENOMEM ? no_memory : none, err->text);
            continue;
        }
        int r = attempt(call, keys);
        if (r == -ENOMEM)
            s3_call_end_soon(call, no_memory, "out of memory");
        else if (r < 0)
            s3_call_end_soon(call, unsendable, "the request cannot be signed or written");
    }
}

void s3_call_send(struct s3_call *call) {
    struct s3_client *client = call->client;
    call->stage = S3_STAGE_KEYS;
    list_move_back(&client->keys, &call->queue);
    if (!client->key_request->asked) {
        client->key_request->asked = true;
        credentials_get(client->credentials, keys_come, client->key_request);
    }
    if (call->stage == S3_STAGE_KEYS && call->deadline_ms)
        s3_client_wake_at(client, call->deadline_ms);
}

static void read_body(struct s3_call *call) {
    call->stage = S3_STAGE_BODY;
    list_move_back(&call->client->bodies, &call->queue);
    s3_client_wake(call->client);
}

void s3_call_read_on(struct s3_call *call) {
    enum s3_status status;
    struct err err = {0};
    int r = s3_body_step(call, &status, &err);
    if (call->stage != S3_STAGE_BODY)
        return; /* cancelled by who was asked for the bytes */
    if (r == 0)
        read_body(call);
    else if (r > 0)
        s3_call_send(call);
    else
        s3_call_end_soon(call, (struct s3_verdict){status, S3_REMEDY_NONE}, err.text);
}

void s3_call_start(struct s3_call *call, bool with_deadline, struct s3_call **ret_call) {
    struct s3_client *client = call->client;
    const char *region = s3_regions_of(&client->regions, call->bucket);
    call->region = region ? region : client->region;
    call->start_mono_us = clock_mono_us(client->clock);
    int64_t limit_us = client->call_deadline_us;
    if (client->closing && limit_us > CLOSING_US)
        limit_us = CLOSING_US;
    if (with_deadline)
        call->deadline_ms = s3_now_ms(client) + (uint64_t)(limit_us + 999) / 1000;
    if (ret_call)
        *ret_call = call;
    if (call->read)
        read_body(call);
    else
        s3_call_send(call);
}
