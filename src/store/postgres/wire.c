/* wire.c - see wire.h. */
#include "wire.h"

#include "cleanup.h"
#include "clock.h"
#include "place.h"

#include <endian.h>
#include <poll.h>
#include <sched.h>
#include <string.h>

/* ---- results ---- */

void wire_free(PGresult **answer) {
    PQclear(*answer);
    *answer = NULL;
}

bool wire_is_null(const PGresult *answer, int row, int column) {
    return PQgetisnull(answer, row, column);
}

int64_t wire_int(const PGresult *answer, int row, int column) {
    const char *value = PQgetvalue(answer, row, column);
    uint64_t u64;
    uint32_t u32;
    uint16_t u16;
    switch (PQgetisnull(answer, row, column) ? 0 : PQgetlength(answer, row, column)) {
    case 8:
        memcpy(&u64, value, sizeof u64);
        return (int64_t)be64toh(u64);
    case 4:
        memcpy(&u32, value, sizeof u32);
        return (int32_t)be32toh(u32);
    case 2:
        memcpy(&u16, value, sizeof u16);
        return (int16_t)be16toh(u16);
    case 1:
        return *value;
    default:
        return 0;
    }
}

struct bytes wire_bytes(const PGresult *answer, int row, int column) {
    if (PQgetisnull(answer, row, column))
        return BYTES_NONE;
    return bytes_of(PQgetvalue(answer, row, column), (size_t)PQgetlength(answer, row, column));
}

/* ---- errors ---- */

/* What libpq says about the connection, on one line. */
static int fail_lost(struct wire *wire, const char *doing, struct err *err) {
    char text[256];
    const char *message = wire->pg ? PQerrorMessage(wire->pg) : "";
    snprintf(text, sizeof text, "%s", *message ? message : "the connection was closed");
    for (char *at = text; *at; at++)
        if (*at == '\n')
            *at = at[1] ? ' ' : '\0';
    place_scrub(wire->place, text);
    wire_close(wire);
    return err_set(err, STORE_ERR_LOST, "PostgreSQL %s: %s: %s", wire->place->text, doing, text);
}

/* Which of our errors an SQLSTATE is. */
static int code_of(const char *state) {
    static const struct {
        const char *prefix;
        int code;
    } codes[] = {
        {"22012", STORE_ERR_AGAIN}, /* SQL_LOCK_SAME */
        {"53100", STORE_ERR_FULL},  {"XX001", STORE_ERR_CORRUPT}, {"XX002", STORE_ERR_CORRUPT},
        {"08", STORE_ERR_LOST},     {"40", STORE_ERR_LOST},       {"53", STORE_ERR_LOST},
        {"57", STORE_ERR_LOST},     {"55P03", STORE_ERR_LOST},    {"25006", STORE_ERR_LOST},
        {"25P03", STORE_ERR_LOST},  {"25P02", STORE_ERR_LOST},    {"26000", STORE_ERR_LOST},
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strncmp(state, codes[i].prefix, strlen(codes[i].prefix)) == 0)
            return codes[i].code;
    return STORE_ERR_IO;
}

static int fail_sql(struct wire *wire, const PGresult *answer, struct err *err) {
    const char *state = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY);
    if (!state) /* libpq itself: the connection broke */
        return fail_lost(wire, "the connection broke", err);
    int r = err_set(err, code_of(state), "PostgreSQL %s: %s (%s)", wire->place->text, primary ? primary : "an error",
                    state);
    if (err)
        place_scrub(wire->place, err->text);
    return r;
}

/* ---- waiting ---- */

static int64_t mono_us(void) {
    return clock_mono_us(&clock_system);
}

/* Until the socket is ready for these events; 0, or -ETIMEDOUT. */
static int wait_for(int fd, short events, int64_t until_mono_us) {
    for (;;) {
        int64_t left = until_mono_us - mono_us();
        struct pollfd poll_fd = {.fd = fd, .events = events};
        int n = poll(&poll_fd, 1, left > 0 ? (int)((left + 999) / 1000) : 0);
        if (n > 0)
            return 0;
        if (n == 0 && left <= 0)
            return -ETIMEDOUT;
        if (n < 0 && errno != EINTR)
            return -ETIMEDOUT;
    }
}

/* Sends what is buffered and reads until there is a result (or the end of results: NULL). Always reads while it writes,
 * or both sides might wait for each other. */
static int next_result(struct wire *wire, int64_t until_mono_us, PGresult **ret_result) {
    for (;;) {
        int left = PQflush(wire->pg);
        if (left < 0)
            return -ECONNRESET;
        if (!PQisBusy(wire->pg) && left == 0)
            break;
        short events = (short)(POLLIN | (left ? POLLOUT : 0));
        int r = wait_for(PQsocket(wire->pg), events, until_mono_us);
        if (r < 0)
            return r;
        if (!PQconsumeInput(wire->pg))
            return -ECONNRESET;
    }
    *ret_result = PQgetResult(wire->pg);
    return 0;
}

static int broken(struct wire *wire, int r, struct err *err) {
    if (r == -ETIMEDOUT) {
        wire_close(wire);
        return err_set(err, STORE_ERR_LOST, "PostgreSQL %s: no answer in time", wire->place->text);
    }
    return fail_lost(wire, "the connection broke", err);
}

/* ---- statements ---- */

struct expected {
    PGresult **into; /* NULL: nobody wants it */
};

static int expect(struct wire *wire, PGresult **into) {
    if (wire->n_expected == wire->cap_expected) {
        size_t cap = wire->cap_expected ? wire->cap_expected * 2 : 64;
        struct expected *more = mem_reallocarray(wire->expected, cap, sizeof *more);
        if (!more)
            return -ENOMEM;
        wire->expected = more;
        wire->cap_expected = cap;
    }
    wire->expected[wire->n_expected++] = (struct expected){into};
    return 0;
}

static int prepare(struct wire *wire, const char *name, const char *text, const struct params *params) {
    return PQsendPrepare(wire->pg, name, text, params->n, params->types) ? expect(wire, NULL) : -ENOMEM;
}

static int send_prepared(struct wire *wire, const char *name, const struct params *params, PGresult **ret_answer) {
    return PQsendQueryPrepared(wire->pg, name, params->n, params->values, params->lengths, params->formats, 1)
               ? expect(wire, ret_answer)
               : -ENOMEM;
}

static int send_statement(struct wire *wire, enum sql_statement statement, const struct args *args,
                          PGresult **ret_answer) {
    struct params params;
    bool one = wire->sql->one[statement] && args_of_one(args);
    const char *text = one ? wire->sql->one[statement] : wire->sql->text[statement];
    params.n = 0;
    int r = params_add(&params, args, one);
    if (r < 0)
        return r;
    if (wire->pooled)
        return PQsendQueryParams(wire->pg, text, params.n, params.types, params.values, params.lengths, params.formats,
                                 1)
                   ? expect(wire, ret_answer)
                   : -ENOMEM;
    char name[16];
    snprintf(name, sizeof name, "froe%d%s", (int)statement, one ? "one" : "");
    if (!wire->prepared[one][statement])
        r = prepare(wire, name, text, &params);
    wire->prepared[one][statement] |= r == 0;
    return r < 0 ? r : send_prepared(wire, name, &params, ret_answer);
}

static int send_joined(struct wire *wire, struct joined *joined, const struct args *last, struct args *const *parts,
                       size_t n, PGresult **ret_answer) {
    struct params params;
    params.n = 0;
    int r = params_add(&params, last, false);
    for (size_t i = 0; i < n && r == 0; i++)
        r = params_add(&params, parts[i], true);
    if (r < 0)
        return r;
    char name[24];
    snprintf(name, sizeof name, "froejoined%d", joined->number);
    if (!joined->prepared)
        r = prepare(wire, name, joined->text, &params);
    joined->prepared |= r == 0;
    return r < 0 ? r : send_prepared(wire, name, &params, ret_answer);
}

/* wire_sync says so when it cannot. */
static bool can_send(const struct wire *wire) {
    return !wire->failed && wire->pg && PQstatus(wire->pg) == CONNECTION_OK;
}

static void sent(struct wire *wire, int r) {
    wire->failed = PQstatus(wire->pg) == CONNECTION_OK ? r : 0;
}

void wire_send(struct wire *wire, enum sql_statement statement, struct args *args, PGresult **ret_answer) {
    static const struct args none;
    if (ret_answer)
        *ret_answer = NULL;
    if (can_send(wire))
        sent(wire, send_statement(wire, statement, args ? args : &none, ret_answer));
}

bool wire_send_joined(struct wire *wire, const struct args *last, struct args *const *parts, size_t n,
                      PGresult **ret_answer) {
    struct joined *joined = NULL;
    *ret_answer = NULL;
    if (!can_send(wire))
        return true;
    int r = wire->pooled ? 0 : joins_get(&wire->joins, wire->sql, last, parts, n, &joined);
    if (r == 0 && !joined)
        return false;
    sent(wire, r < 0 ? r : send_joined(wire, joined, last, parts, n, ret_answer));
    return true;
}

/* The answer to one statement. *ret_r: what the first one that failed says. */
static int read_answer(struct wire *wire, const struct expected *expected, int64_t until_mono_us, int *ret_r,
                       struct err *err) {
    PGresult *answer = NULL, *end = NULL;
    int r = next_result(wire, until_mono_us, &answer);
    if (r < 0)
        return r;
    ExecStatusType status = answer ? PQresultStatus(answer) : PGRES_FATAL_ERROR;
    bool good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    if (!answer)
        r = -ECONNRESET;
    else if (!good && *ret_r == 0)
        *ret_r = status == PGRES_FATAL_ERROR ? fail_sql(wire, answer, err) : -ECONNRESET;
    if (good && expected->into)
        *expected->into = TAKE_PTR(answer);
    PQclear(answer);
    if (r < 0 || !wire->pg)
        return r < 0 ? r : -ECONNRESET;
    r = next_result(wire, until_mono_us, &end);
    PQclear(end);
    return r;
}

static int read_sync(struct wire *wire, int64_t until_mono_us) {
    PGresult *answer = NULL;
    int r = next_result(wire, until_mono_us, &answer);
    if (r == 0 && (!answer || PQresultStatus(answer) != PGRES_PIPELINE_SYNC))
        r = -ECONNRESET;
    PQclear(answer);
    return r;
}

/* To be woken takes a fair part of what a short answer takes (tens of microseconds on a virtual machine). So the thread
 * is awake from EARLY_US before the answer is due, as far as the last ones tell, until LATE_US after that, and gives
 * way to any other that wants to run. */
#define SOON_US 1000
#define EARLY_US 150
#define LATE_US 50

static bool readable(int fd, int64_t within_us) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    struct timespec time = {.tv_nsec = within_us > 0 ? within_us * 1000 : 0};
    return ppoll(&poll_fd, 1, &time, NULL) != 0;
}

static void watch_for(struct wire *wire, int64_t due_mono_us) {
    bool here = readable(PQsocket(wire->pg), due_mono_us - EARLY_US - mono_us());
    while (!here && mono_us() < due_mono_us + LATE_US) {
        sched_yield();
        here = readable(PQsocket(wire->pg), 0);
    }
}

static int read_all(struct wire *wire, int64_t until_mono_us, struct err *err) {
    int r = 0, sql = 0;
    for (size_t i = 0; i < wire->n_expected && r == 0; i++)
        r = read_answer(wire, &wire->expected[i], until_mono_us, &sql, err);
    wire->n_expected = 0;
    if (r == 0)
        r = read_sync(wire, until_mono_us);
    if (sql < 0) { /* the server's own words say more than that it hung up then */
        wire_close(wire);
        return sql == -ECONNRESET ? broken(wire, sql, err) : sql;
    }
    return r < 0 ? broken(wire, r, err) : 0;
}

/* The least that it takes lately: forgotten step by step. */
static void note_usual(struct wire *wire, int64_t took_us) {
    bool less = wire->usual_us == 0 || took_us < wire->usual_us;
    wire->usual_us = less ? took_us : wire->usual_us + (took_us - wire->usual_us) / 8;
}

static int sync_all(struct wire *wire, int64_t within_us, bool soon, struct err *err) {
    if (!wire->pg)
        return err_set(err, STORE_ERR_LOST, "PostgreSQL %s: not connected", wire->place->text);
    int64_t began = mono_us();
    if (!wire->failed && !PQpipelineSync(wire->pg) && PQstatus(wire->pg) == CONNECTION_OK)
        wire->failed = -ENOMEM;
    int failed = wire->failed;
    wire->failed = 0;
    if (failed) {
        wire_close(wire);
        return failed;
    }
    if (PQstatus(wire->pg) != CONNECTION_OK)
        return fail_lost(wire, "the connection broke", err);
    if (soon && wire->usual_us && wire->usual_us < SOON_US && PQflush(wire->pg) == 0)
        watch_for(wire, began + wire->usual_us);
    int r = read_all(wire, began + within_us, err);
    if (soon && r == 0)
        note_usual(wire, mono_us() - began);
    return r;
}

int wire_sync(struct wire *wire, int64_t within_us, struct err *err) {
    return sync_all(wire, within_us, false, err);
}

int wire_sync_soon(struct wire *wire, int64_t within_us, struct err *err) {
    return sync_all(wire, within_us, true, err);
}

int wire_script(struct wire *wire, const char *script, int64_t within_us, struct err *err) {
    int64_t until = mono_us() + within_us;
    PGresult *answer = NULL;
    int r = 0, sql = 0;
    if (wire->in_pipeline && !PQexitPipelineMode(wire->pg))
        return fail_lost(wire, "the connection broke", err);
    wire->in_pipeline = false;
    if (!PQsendQuery(wire->pg, script))
        return fail_lost(wire, "the connection broke", err);
    while (r == 0 && (r = next_result(wire, until, &answer)) == 0 && answer) {
        ExecStatusType status = PQresultStatus(answer);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY && sql == 0)
            sql = fail_sql(wire, answer, err);
        PQclear(answer);
        if (!wire->pg)
            return sql;
    }
    if (sql < 0) {
        wire_close(wire);
        return sql;
    }
    if (r < 0)
        return broken(wire, r, err);
    if (!PQenterPipelineMode(wire->pg))
        return fail_lost(wire, "the connection broke", err);
    wire->in_pipeline = true;
    return 0;
}

/* ---- connecting ---- */

void wire_init(struct wire *wire, const struct place *place, const struct sql *sql) {
    *wire = (struct wire){.place = place, .sql = sql};
}

void wire_close(struct wire *wire) {
    PQfinish(wire->pg);
    wire->pg = NULL;
    wire->n_expected = 0;
    wire->failed = 0;
    wire->in_pipeline = false;
    memset(wire->prepared, 0, sizeof wire->prepared);
    joins_free(&wire->joins);
    if (wire->expected) {
        mem_free(wire->expected);
        wire->expected = NULL;
        wire->cap_expected = 0;
    }
}

bool wire_connected(const struct wire *wire) {
    return wire->pg != NULL;
}

int wire_fd(const struct wire *wire) {
    return wire->pg ? PQsocket(wire->pg) : -1;
}

int wire_notified(struct wire *wire, const char *session) {
    if (!wire->pg || !PQconsumeInput(wire->pg))
        return STORE_ERR_LOST;
    int others = 0;
    for (PGnotify *notify; (notify = PQnotifies(wire->pg)); PQfreemem(notify))
        others |= strcmp(notify->extra, session) != 0;
    return others;
}

/* Refusals that waiting does not mend. libpq gives no SQLSTATE for them, so what the connection lacks is asked. */
static bool is_refusal(PGconn *pg) {
    const char *message = PQerrorMessage(pg);
    static const char *const texts[] = {
        "authentication failed", "no pg_hba.conf entry", "pg_hba.conf rejects", "does not exist",
        "no password supplied",  "permission denied",    "is not permitted to", "SSL",
        "certificate",           "could not translate",  "invalid port",        "authentication method",
        "no such user",          "auth failed",
    };
    bool found = PQconnectionNeedsPassword(pg);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && !found; i++)
        found = strstr(message, texts[i]);
    return found;
}

static int fail_connect(struct wire *wire, bool timed_out, struct err *err) {
    int code = !timed_out && is_refusal(wire->pg) ? STORE_ERR_IO : STORE_ERR_LOST;
    static const struct {
        const char *of, *text, *hint; /* both are in what it says: many refusals name the database and the user */
    } hints[] = {
        {"database \"", "\" does not exist", " (make it with CREATE DATABASE, or name another one in the URI)"},
        {"role \"", "\" does not exist", " (make it with CREATE ROLE ... LOGIN, or name another user in the URI)"},
        {"role \"", "not permitted to log in", " (let it with ALTER ROLE ... LOGIN, or name another user in the URI)"},
        {"", "permission denied for database", " (let it in with GRANT CONNECT ON DATABASE)"},
        {"", "authentication failed",
         " (is the URI's user right, and the password in the URI, PGPASSWORD or ~/.pgpass?)"},
        {"no pg_hba.conf entry", "no encryption",
         " (the server's pg_hba.conf has to let this host, user and database in without TLS; does it want TLS, and the "
         "URI says otherwise, as with sslmode=disable?)"},
        {"", "no pg_hba.conf entry", " (the server's pg_hba.conf has to let this host, user and database in)"},
        {"", "pg_hba.conf rejects", " (the server's pg_hba.conf has to let this host, user and database in)"},
        {"", "could not translate", " (is the URI's host right?)"},
    };
    const char *hint = PQconnectionNeedsPassword(wire->pg)
                           ? " (the password belongs into the URI, PGPASSWORD, or better into ~/.pgpass)"
                           : "";
    for (size_t i = 0; i < sizeof hints / sizeof hints[0] && !*hint; i++)
        if (strstr(PQerrorMessage(wire->pg), hints[i].of) && strstr(PQerrorMessage(wire->pg), hints[i].text))
            hint = hints[i].hint;
    struct err why = {0};
    fail_lost(wire, timed_out ? "cannot connect, no answer in time" : "cannot connect", &why);
    return err_set(err, code, "%s%s", why.text, hint);
}

/* libpq would print what the server remarks; a library prints nothing. */
static void ignore_notice(void *arg, const PGresult *notice) {
    (void)arg;
    (void)notice;
}

static int start(struct wire *wire, int64_t until_mono_us, struct err *err) {
    wire->pg =
        PQconnectStartParams((const char *const *)wire->place->keywords, (const char *const *)wire->place->values, 0);
    if (!wire->pg)
        return -ENOMEM;
    PQsetNoticeReceiver(wire->pg, ignore_notice, NULL);
    if (PQstatus(wire->pg) == CONNECTION_BAD)
        return fail_connect(wire, false, err);
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        int r = wait_for(PQsocket(wire->pg), status == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_mono_us);
        if (r == 0)
            status = PQconnectPoll(wire->pg);
        if (r < 0 || status == PGRES_POLLING_FAILED)
            return fail_connect(wire, r < 0, err);
    }
    return 0;
}

/* A pooler tells its clients of a server process that is not there. */
static int find_pooler(struct wire *wire, int64_t until_mono_us, struct err *err) {
    PGresult *answer = NULL, *end = NULL;
    if (!PQsendQuery(wire->pg, "SELECT pg_backend_pid()"))
        return fail_lost(wire, "the connection broke", err);
    int r = next_result(wire, until_mono_us, &answer);
    if (r < 0)
        return broken(wire, r, err);
    if (PQresultStatus(answer) != PGRES_TUPLES_OK) {
        struct err why = {0};
        r = fail_sql(wire, answer, &why);
        PQclear(answer);
        wire_close(wire);
        return err_set(err, r, "%s", why.text);
    }
    wire->pooled = atoi(PQgetvalue(answer, 0, 0)) != PQbackendPID(wire->pg);
    PQclear(answer);
    do { /* to the end of the results */
        r = next_result(wire, until_mono_us, &end);
        PQclear(end);
    } while (r == 0 && end);
    return r < 0 ? broken(wire, r, err) : 0;
}

int wire_connect(struct wire *wire, int64_t within_us, struct err *err) {
    int64_t until = mono_us() + within_us;
    wire_close(wire);
    int r = start(wire, until, err);
    if (r < 0) {
        wire_close(wire);
        return r;
    }
    wire->version = PQserverVersion(wire->pg);
    if (PQsetnonblocking(wire->pg, 1) < 0)
        return fail_lost(wire, "the connection broke", err);
    if (wire->version < 140000) {
        int version = wire->version;
        wire_close(wire);
        return err_set(err, STORE_ERR_IO, "PostgreSQL %s: the server is version %d; froe needs 14 or newer",
                       wire->place->text, version / 10000);
    }
    r = find_pooler(wire, until, err);
    if (r < 0)
        return r;
    return wire_script(wire, wire->pooled ? "" : schema_settings, until - mono_us(), err);
}
