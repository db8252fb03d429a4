/* schema.c - see schema.h. In all texts '@' stands for the schema's name and a dot. */
#include "schema.h"

#include "bytes.h"
#include "mem.h"
#include "wire.h"

#define MAKE_US (60 * US_PER_S)

/* Blobs, not text: names, keys and the like may hold any byte. Times are microseconds since 1970 UTC.
 *
 * A page's row stays until its runs' history is over. What is long is stored beside the row and uncompressed (it is
 * packed already), so that settling writes short rows only; the room left in each block lets most of those updates do
 * without touching an index. live and queued are bitmaps; NULL: all. keys has the child keys, rest their generations
 * and inputs (packing.h).
 *
 * A run in trouble (waiting, parked, leased again) has all it needs in a row of its own. `kept` has what a leased run
 * of a page gave to be kept while it runs. */
#define KEPT_TABLE                                                                                          \
    "CREATE TABLE @kept (page int8, idx int4, attempts int8 NOT NULL, child_key bytea NOT NULL,"            \
    " generation bytea NOT NULL, input bytea NOT NULL, checkpoint bytea NOT NULL, PRIMARY KEY (page, idx))" \
    " WITH (fillfactor = 50);"
/* done, failed, cancelled of a workflow: of its lanes that are gone. */
#define IDLE_COLUMNS                                                                              \
    "ALTER TABLE @workflow ADD done int8 NOT NULL DEFAULT 0, ADD failed int8 NOT NULL DEFAULT 0," \
    " ADD cancelled int8 NOT NULL DEFAULT 0; ALTER TABLE @lane ADD used int8 NOT NULL DEFAULT 0;" \
    "UPDATE @lane SET used = (extract(epoch FROM clock_timestamp()) * 1000000)::int8;"
/* Child keys are looked for by what they begin with: lone ones by an index that has them all, those of pages of many by
 * one with a page's least and greatest. */
#define KEY_INDEXES                                                                     \
    "CREATE INDEX page_key ON @page (first_key) WHERE n = 1 AND first_key IS NOT NULL;" \
    "CREATE INDEX page_keys ON @page (first_key, last_key) WHERE n > 1 AND first_key IS NOT NULL;"
static const char tables[] =
    "CREATE TABLE @meta (one int2 PRIMARY KEY CHECK (one = 1), version int4 NOT NULL, batch int8 NOT NULL,"
    " next_page int8 NOT NULL, next_id int8 NOT NULL, next_lane int8 NOT NULL, next_workflow int8 NOT NULL,"
    " turn int8 NOT NULL, next_log int8 NOT NULL, first_log int8 NOT NULL, history_runs int8 NOT NULL,"
    " history_bytes int8 NOT NULL, hash0 int8 NOT NULL, hash1 int8 NOT NULL) WITH (fillfactor = 10);"
    "CREATE TABLE @batch (number int8 PRIMARY KEY, session uuid NOT NULL, lanes int8[], workflows bool NOT NULL);"
    "CREATE TABLE @workflow (id int8 PRIMARY KEY, name bytea NOT NULL, rules bytea NOT NULL, paused bool NOT NULL);"
    "CREATE TABLE @lane (id int8 PRIMARY KEY, workflow int8 NOT NULL, keys bytea NOT NULL, turn int8 NOT NULL,"
    " group_turn int8 NOT NULL, granted int8 NOT NULL, queued int8 NOT NULL, delayed int8 NOT NULL,"
    " pages int8 NOT NULL, retries int8 NOT NULL, retry_due int8 NOT NULL, leased int8 NOT NULL,"
    " parked int8 NOT NULL, done int8 NOT NULL, failed int8 NOT NULL, cancelled int8 NOT NULL,"
    " tokens int8 NOT NULL) WITH (fillfactor = 50);"
    "CREATE TABLE @page (id int8 PRIMARY KEY, seq int8 NOT NULL, workflow int8 NOT NULL, lane int8 NOT NULL,"
    " n int4 NOT NULL, place int4 NOT NULL, rank int8 NOT NULL, priority int4 NOT NULL, created int8 NOT NULL,"
    " not_before int8 NOT NULL, start_by int8 NOT NULL, parent_page int8 NOT NULL, parent_index int8 NOT NULL,"
    " size int8 NOT NULL, n_live int4 NOT NULL, n_queued int4 NOT NULL, changed int8 NOT NULL, ended int8,"
    " live bytea, queued bytea, touched bytea, first_key bytea, last_key bytea, input bytea NOT NULL,"
    " metadata bytea NOT NULL, keys bytea, rest bytea) WITH (fillfactor = 70);"
    "ALTER TABLE @page ALTER keys SET STORAGE EXTERNAL, ALTER rest SET STORAGE EXTERNAL;"
    "CREATE INDEX page_work ON @page (lane, place, rank) WHERE place <> 0;"
    "CREATE INDEX page_delayed ON @page (rank) WHERE place = 2;"
    "CREATE INDEX page_start ON @page (start_by) WHERE start_by <> 0;"
    "CREATE INDEX page_past ON @page (ended, id) WHERE place = 0;" KEY_INDEXES
    "CREATE INDEX page_seq ON @page (seq) WHERE seq <> id;"
    "CREATE TABLE @trouble (page int8, idx int4, seq int8 NOT NULL, workflow int8 NOT NULL, lane int8 NOT NULL,"
    " state int4 NOT NULL, due int8 NOT NULL, attempts int8 NOT NULL, outcome int4 NOT NULL, size int8 NOT NULL,"
    " priority int4 NOT NULL, created int8 NOT NULL, parent_page int8 NOT NULL, parent_index int8 NOT NULL,"
    " child_key bytea NOT NULL, generation bytea NOT NULL, input bytea NOT NULL, metadata bytea NOT NULL,"
    " checkpoint bytea NOT NULL, error bytea NOT NULL, PRIMARY KEY (page, idx)) WITH (fillfactor = 80);"
    "CREATE INDEX trouble_work ON @trouble (lane, state, due);"
    "CREATE INDEX trouble_due ON @trouble (state, due);"
    "CREATE INDEX trouble_key ON @trouble (substring(child_key FROM 1 FOR 256));"
    "CREATE INDEX trouble_seq ON @trouble (seq) WHERE seq <> page;"
    "CREATE TABLE @lease (id int8 PRIMARY KEY, worker int8 NOT NULL, lane int8 NOT NULL, page int8 NOT NULL,"
    " idx int4 NOT NULL, n int4 NOT NULL, n_page int4 NOT NULL, bits bytea NOT NULL, asked bytea NOT NULL)"
    " WITH (fillfactor = 70);"
    "CREATE INDEX lease_worker ON @lease (worker);"
    "CREATE INDEX lease_page ON @lease (page);"
    "CREATE TABLE @hold (worker int8, lane int8, tokens int8 NOT NULL, leased int8 NOT NULL,"
    " PRIMARY KEY (worker, lane)) WITH (fillfactor = 50);"
    "CREATE INDEX hold_lane ON @hold (lane);"
    "CREATE TABLE @worker (id int8 PRIMARY KEY, name bytea NOT NULL, slots int8 NOT NULL, since int8 NOT NULL,"
    " heard int8 NOT NULL, expires int8 NOT NULL) WITH (fillfactor = 50);"
    "CREATE TABLE @ask (id int8 PRIMARY KEY, worker int8 NOT NULL, lease int8 NOT NULL, page int8 NOT NULL,"
    " idx int4 NOT NULL, driven_out bool NOT NULL);"
    "CREATE INDEX ask_worker ON @ask (worker, id);"
    "CREATE INDEX ask_lease ON @ask (lease);"
    "CREATE TABLE @ended (id int8 PRIMARY KEY, page int8 NOT NULL, at int8 NOT NULL, runs int4 NOT NULL,"
    " size int8 NOT NULL, worker bytea NOT NULL, what bytea NOT NULL);"
    "ALTER TABLE @ended ALTER what SET STORAGE EXTERNAL;"
    "CREATE INDEX ended_page ON @ended (page);"
    "CREATE TABLE @tick (workflow int8, at int8, PRIMARY KEY (workflow, at));"
    "CREATE TABLE @value (hash uuid PRIMARY KEY, name bytea NOT NULL, value bytea NOT NULL);"
    "CREATE TABLE @log (id int8 PRIMARY KEY, page int8 NOT NULL, idx int8 NOT NULL, level int8 NOT NULL,"
    " at int8 NOT NULL, line bytea NOT NULL);"
    "CREATE INDEX log_run ON @log (page, idx, id);"
    "CREATE TABLE @rate (hash uuid PRIMARY KEY, starts int8 NOT NULL, ends int8 NOT NULL, used int8 NOT NULL)"
    " WITH (fillfactor = 50);"
    "CREATE INDEX rate_ends ON @rate (ends);" KEPT_TABLE IDLE_COLUMNS
    "INSERT INTO @meta VALUES (1, 4, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0,"
    " ('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::int8,"
    " ('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::int8);";

/* From version i + 1 to i + 2. */
static const char *const migrations[] = {KEPT_TABLE, IDLE_COLUMNS, "DROP INDEX @page_key;" KEY_INDEXES, NULL};

#define NOW_OR(own_) "coalesce(" own_ "::int8, (extract(epoch FROM clock_timestamp()) * 1000000)::int8)"
#define NOW NOW_OR("$1")
#define META                                                                                                 \
    "version, batch, next_page, next_id, next_lane, next_workflow, turn, next_log, first_log, history_runs," \
    " history_bytes, hash0, hash1, " NOW
#define LANE_COLUMNS                                                                                       \
    "turn, group_turn, granted, queued, delayed, pages, retries, retry_due, leased, parked, done, failed," \
    " cancelled, tokens, used"
#define PAGE                                                                                                \
    "p.id, p.seq, p.lane, p.n, p.place, p.priority, p.not_before, p.start_by, p.created, p.size, p.n_live," \
    " p.n_queued, p.live, p.queued, p.touched"
#define TROUBLE_SIZE                                                                                            \
    "octet_length(t.child_key) + octet_length(t.generation) + octet_length(t.input) + octet_length(t.metadata)" \
    " + octet_length(t.checkpoint) + octet_length(t.error) + 160"
#define TROUBLE "t.page, t.idx, t.lane, t.state, t.due, t.attempts, t.generation, (" TROUBLE_SIZE ")::int8"
#define NEW_PAGE                                                                                                    \
    "id, seq, workflow, lane, n, place, rank, priority, created, not_before, start_by, parent_page, parent_index, " \
    "size,"                                                                                                         \
    " n_live, n_queued, live, queued, touched, first_key, last_key, input, metadata, keys, rest"
#define KEPT "k.page, k.idx, k.attempts, k.child_key, k.generation, k.input, k.checkpoint"
#define RUN_FILTER                                                                                               \
    "($4 = 0 OR lane = ANY ($3)) AND ($5 = 0 OR place <> 0) AND ($6 = 0 OR created < $6) AND ($7 = 0 OR created" \
    " >= $7 OR changed >= $7)"
#define RUN_FILTER_TROUBLE "($4 = 0 OR lane = ANY ($3)) AND ($5 = 0 OR state <> 0)"
#define LEASE "l.id, l.worker, l.lane, l.page, l.idx, l.n, l.n_page, l.bits, l.asked"

const char schema_settings[] =
    "SET synchronous_commit = off; SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '14s';"
    " SET statement_timeout = '14s'; SET enable_seqscan = off; SET jit = off; SET plan_cache_mode = force_generic_plan";

static const char *const templates[SQL_STATEMENTS] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_LOCK] = "SELECT " META " FROM @meta WHERE one = 1 FOR UPDATE",
    /* A division by zero when another batch has the number, or the tables another version. */
    [SQL_LOCK_SAME] = "SELECT " NOW ", 1 / (batch = $2 AND version = $3)::int FROM @meta WHERE one = 1 FOR UPDATE",
    [SQL_LOCAL] = "SELECT set_config('synchronous_commit', 'off', true),"
                  " set_config('idle_in_transaction_session_timeout', '10s', true),"
                  " set_config('lock_timeout', '14s', true), set_config('statement_timeout', '14s', true),"
                  " set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)",
    [SQL_NOTIFY] = "SELECT pg_notify($1, $2)",
    [SQL_FINISH] = "WITH b AS (INSERT INTO @batch (number, session, lanes, workflows) VALUES ($1, $2, $3, $4))"
                   " UPDATE @meta SET batch = $1, next_page = $5, next_id = $6, next_lane = $7, next_workflow = $8,"
                   " turn = $9, next_log = $10, first_log = $11, history_runs = $12, history_bytes = $13"
                   " WHERE one = 1 RETURNING set_config('synchronous_commit', $14, true)",
    /* The same for who has not taken the lock: a division by zero unless the batch before is the newest. */
    [SQL_FINISH_SAME] = "WITH b AS (INSERT INTO @batch (number, session, lanes, workflows) VALUES ($1, $2, $3, $4))"
                        " UPDATE @meta SET one = 1 / (batch = $1 - 1 AND version = $15)::int, batch = $1,"
                        " next_page = $5, next_id = $6, next_lane = $7, next_workflow = $8, turn = $9,"
                        " next_log = $10, first_log = $11, history_runs = $12, history_bytes = $13"
                        " WHERE one = 1 RETURNING set_config('synchronous_commit', $14, true), " NOW_OR("$16"),
    [SQL_COMMIT] = "COMMIT",
    /* Writes to the log, so that its commit waits for the disk, and with that for all that was committed before. */
    [SQL_FLUSH] = "SELECT set_config('synchronous_commit', 'on', true), pg_logical_emit_message(true, 'froe', '')",
    [SQL_COMMITTED] = "SELECT session FROM @batch WHERE number = $1",

    [SQL_META] = "SELECT " META " FROM @meta WHERE one = 1",
    [SQL_WORKFLOWS] = "SELECT id, name, rules, paused FROM @workflow ORDER BY id",
    [SQL_LANES] = "SELECT id, workflow, keys, " LANE_COLUMNS " FROM @lane ORDER BY id",
    [SQL_TIP] = "SELECT b.number, b.session FROM @meta m JOIN @batch b ON b.number = m.batch WHERE m.one = 1",
    [SQL_DELTA] = "SELECT b.number, b.workflows, b.session, u.id, l.id, l.workflow, l.keys, " LANE_COLUMNS
                  " FROM @batch b LEFT JOIN LATERAL unnest(b.lanes) AS u (id) ON true"
                  " LEFT JOIN LATERAL (SELECT * FROM @lane WHERE id = u.id OFFSET 0) l ON true"
                  " WHERE b.number > $1 ORDER BY b.number",
    [SQL_LOOK] = "SELECT " NOW ", (SELECT min(due) FROM @trouble WHERE state = 1 AND due > " NOW "),"
                 " (SELECT min(rank) FROM @page WHERE place = 2),"
                 " (SELECT min(start_by) FROM @page WHERE start_by <> 0),"
                 " (SELECT min(expires) FROM @worker), (SELECT expires FROM @worker WHERE id = $2)",
    [SQL_RATES] = "SELECT hash, starts, used FROM @rate WHERE hash = ANY ($1)",

    [SQL_LEASES] = "SELECT " LEASE " FROM @lease l WHERE l.id = ANY ($1)",
    [SQL_LEASES_PAGES] = "SELECT " PAGE " FROM @page p WHERE p.id = ANY"
                         " (ARRAY(SELECT page FROM @lease WHERE id = ANY ($1) AND idx < 0))",
    [SQL_LEASES_TROUBLES] = "SELECT " TROUBLE " FROM @lease l JOIN @trouble t ON t.page = l.page AND t.idx = l.idx"
                            " WHERE l.id = ANY ($1)",
    [SQL_LEASES_OF] = "SELECT " LEASE " FROM @lease l WHERE l.worker = $1",
    [SQL_LEASES_OF_PAGES] = "SELECT " PAGE " FROM @page p WHERE p.id = ANY"
                            " (ARRAY(SELECT page FROM @lease WHERE worker = $1 AND idx < 0))",
    [SQL_LEASES_OF_TROUBLES] = "SELECT " TROUBLE " FROM @lease l JOIN @trouble t ON t.page = l.page AND t.idx = l.idx"
                               " WHERE l.worker = $1",
    [SQL_LEASES_ON] = "SELECT " LEASE " FROM @lease l WHERE l.page = ANY ($1)",
    [SQL_LEASES_ON_LANES] = "SELECT " LEASE " FROM @hold h JOIN @lease l ON l.worker = h.worker AND l.lane = h.lane"
                            " WHERE h.lane = ANY ($1)",
    [SQL_KEPT] = "SELECT " KEPT " FROM unnest($1, $2) AS u (lease, idx) JOIN @lease l ON l.id = u.lease"
                 " JOIN @kept k ON k.page = l.page AND k.idx = u.idx",
    [SQL_KEPT_OF] = "SELECT " KEPT " FROM @kept k WHERE k.page = ANY"
                    " (ARRAY(SELECT page FROM @lease WHERE worker = $1 AND idx < 0))",
    [SQL_HOLDS] = "SELECT worker, lane, tokens, leased FROM @hold WHERE worker = $1",
    [SQL_PAGES] = "SELECT " PAGE " FROM @page p WHERE p.id = ANY ($1)",
    [SQL_PAGES_OF_LANES] = "SELECT " PAGE " FROM @page p WHERE p.lane = ANY ($1) AND p.place <> 0",
    [SQL_PAGES_DELAYED] = "SELECT " PAGE " FROM @page p WHERE p.place = 2 AND p.rank <= $1 ORDER BY p.rank LIMIT 1000",
    [SQL_PAGES_LATE] = "SELECT " PAGE " FROM @page p WHERE p.start_by <> 0 AND p.start_by <= $1 ORDER BY p.start_by"
                       " LIMIT 1000",
    [SQL_TROUBLES_OF_PAGES] = "SELECT " TROUBLE " FROM @trouble t WHERE t.page = ANY ($1) AND t.state <> 0",
    [SQL_TROUBLES_OF_LANES] = "SELECT " TROUBLE " FROM @trouble t WHERE t.lane = ANY ($1) AND t.state IN (1, 3)",
    [SQL_TROUBLE] = "SELECT " TROUBLE " FROM @trouble t WHERE t.page = $1 AND t.idx = $2",
    [SQL_PAGE_KNOWN] = "SELECT EXISTS (SELECT 1 FROM @page WHERE id = $1) OR EXISTS (SELECT 1 FROM @trouble WHERE page"
                       " = $1) OR EXISTS (SELECT 1 FROM @ended WHERE page = $1), next_page FROM @meta WHERE one = 1",
    [SQL_CLAIM_RETRIES] = "SELECT " TROUBLE ", t.created, t.child_key, t.input, t.metadata, t.checkpoint"
                          " FROM @trouble t WHERE t.lane = $1 AND t.state = 1 ORDER BY t.due, t.page, t.idx LIMIT $2",
    [SQL_CLAIM_PAGES] = "SELECT " PAGE ", p.rank, p.input, p.metadata,"
                        " CASE WHEN p.id = ANY ($4) THEN NULL ELSE p.keys END,"
                        " CASE WHEN p.id = ANY ($4) THEN NULL ELSE p.rest END"
                        " FROM @page p WHERE p.lane = $1 AND p.place = 1 AND p.rank > $2 ORDER BY p.rank LIMIT $3",
    [SQL_WORKERS] = "SELECT id, name FROM @worker WHERE id = ANY ($1)",
    [SQL_WORKERS_EXPIRED] = "SELECT id, name FROM @worker WHERE expires <= " NOW " FOR UPDATE",
    /* A row for each cancellation that was not told yet, or one of NULLs; none: the worker is gone. */
    [SQL_HEARTBEAT] = "WITH n AS (SELECT " NOW " AS at), w AS (UPDATE @worker SET heard = at, expires = at + $2 FROM n"
                      " WHERE id = $3 AND expires > at RETURNING id)"
                      " SELECT a.id, a.lease, a.page, a.idx, a.driven_out, set_config('synchronous_commit', 'on', true)"
                      " FROM w LEFT JOIN @ask a ON a.worker = w.id AND a.id > $4 ORDER BY a.id",
    [SQL_WORKER_EXPIRES] = "SELECT expires FROM @worker WHERE id = $1",

    [SQL_KEYS_ALL] = "SELECT id, n, live, keys FROM @page WHERE workflow = $1 AND place <> 0 AND id > $2"
                     " ORDER BY id LIMIT 200",
    [SQL_KEYS_TROUBLES_ALL] = "SELECT page, idx, child_key FROM @trouble WHERE workflow = $1 AND state <> 0",
    [SQL_KEYS_NEW] = "SELECT id, n, live, keys FROM @page WHERE id >= $2 AND workflow = $1 AND place <> 0 UNION ALL"
                     " SELECT id, n, live, keys FROM @page WHERE seq >= $2 AND seq <> id AND workflow = $1"
                     " AND place <> 0",
    [SQL_KEYS_TROUBLES_NEW] = "SELECT page, idx, child_key FROM @trouble WHERE page >= $2 AND workflow = $1"
                              " AND state <> 0 UNION ALL SELECT page, idx, child_key FROM @trouble"
                              " WHERE seq >= $2 AND seq <> page AND workflow = $1 AND state <> 0",
    [SQL_KEYS_GONE] = "SELECT u FROM unnest($1) u WHERE NOT EXISTS (SELECT 1 FROM @page WHERE id = u AND place <> 0)"
                      " AND NOT EXISTS (SELECT 1 FROM @trouble WHERE page = u AND state <> 0) ORDER BY u",

    [SQL_PAGE_ADD] = "INSERT INTO @page (" NEW_PAGE ", changed, ended) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,"
                     " $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,"
                     " CASE WHEN $6 = 0 THEN $26 END)",
    [SQL_PAGES_ADD] = "INSERT INTO @page (" NEW_PAGE ", changed, ended) SELECT id, seq, workflow, lane, n, place, rank,"
                      " priority, created, not_before, start_by, parent_page, parent_index, size, n_live, n_queued,"
                      " nullif(live, ''), nullif(queued, ''), nullif(touched, ''), nullif(first_key, ''),"
                      " nullif(last_key, ''), input, metadata, nullif(keys, ''), nullif(rest, ''), $26,"
                      " CASE WHEN place = 0 THEN $26 END FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
                      " $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25) AS u (" NEW_PAGE ")",
    [SQL_PAGE_PUT] = "UPDATE @page p SET place = u.place, rank = u.rank, n_live = u.n_live, n_queued = u.n_queued,"
                     " start_by = u.start_by, changed = $7, ended = CASE WHEN u.place = 0 THEN $7 END, live = u.live,"
                     " queued = u.queued, touched = u.touched FROM unnest($1, $2, $3, $4, $5, $6, $8, $9, $10)"
                     " AS u (id, place, rank, n_live, n_queued, start_by, live, queued, touched) WHERE p.id = u.id",
    [SQL_PAGE_DROP] = "DELETE FROM @page WHERE id = ANY ($1)",
    [SQL_LANE_ADD] = "INSERT INTO @lane (id, workflow, keys, " LANE_COLUMNS ") SELECT * FROM unnest($1, $2, $3, $4, $5,"
                     " $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) AS u",
    [SQL_LANE_PUT] = "UPDATE @lane l SET turn = u.turn, group_turn = u.group_turn, granted = u.granted,"
                     " queued = u.queued, delayed = u.delayed, pages = u.pages, retries = u.retries,"
                     " retry_due = u.retry_due, leased = u.leased, parked = u.parked, done = u.done,"
                     " failed = u.failed, cancelled = u.cancelled, tokens = u.tokens, used = u.used"
                     " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
                     " AS u (id, " LANE_COLUMNS ") WHERE l.id = u.id",
    [SQL_LANE_DROP] =
        "WITH gone AS (DELETE FROM @lane WHERE id = ANY ($1) RETURNING workflow, done, failed, cancelled),"
        " s AS (SELECT workflow, sum(done)::int8 AS done, sum(failed)::int8 AS failed,"
        " sum(cancelled)::int8 AS cancelled FROM gone GROUP BY workflow) UPDATE @workflow w"
        " SET done = w.done + s.done, failed = w.failed + s.failed,"
        " cancelled = w.cancelled + s.cancelled FROM s WHERE w.id = s.workflow",
    [SQL_LEASE_ADD] = "INSERT INTO @lease (id, worker, lane, page, idx, n, n_page, bits, asked)"
                      " SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS u",
    [SQL_LEASE_PUT] = "UPDATE @lease l SET n = u.n, bits = u.bits, asked = u.asked FROM unnest($1, $2, $3, $4)"
                      " AS u (id, n, bits, asked) WHERE l.id = u.id",
    [SQL_LEASE_DROP] = "DELETE FROM @lease l USING unnest($1) AS u (id) WHERE l.id = u.id",
    [SQL_HOLD_PUT] = "INSERT INTO @hold (worker, lane, tokens, leased) SELECT * FROM unnest($1, $2, $3, $4) AS u"
                     " ON CONFLICT (worker, lane) DO UPDATE SET tokens = excluded.tokens, leased = excluded.leased",
    [SQL_HOLD_DROP] = "DELETE FROM @hold h USING unnest($1, $2) AS u (worker, lane)"
                      " WHERE h.worker = u.worker AND h.lane = u.lane",
    /* What the page says is copied, as a run in trouble may outlive its page. */
    [SQL_TROUBLE_ADD] = "INSERT INTO @trouble (page, idx, seq, workflow, lane, state, due, attempts, outcome, size,"
                        " priority, created, parent_page, parent_index, child_key, generation, input, metadata,"
                        " checkpoint, error) SELECT u.page, u.idx, p.seq, p.workflow, p.lane, u.state, u.due,"
                        " u.attempts, u.outcome, u.size, p.priority, p.created, p.parent_page, p.parent_index,"
                        " u.child_key, u.generation, u.input, p.metadata,"
                        " CASE WHEN u.state <> 0 THEN u.checkpoint ELSE '' END, u.error"
                        " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS u (page, idx, state, due,"
                        " attempts, outcome, size, child_key, generation, input, checkpoint, error)"
                        " JOIN @page p ON p.id = u.page",
    /* What is kept of a running one (state 3) says nothing of the error before; one that ended needs no checkpoint. */
    [SQL_TROUBLE_PUT] = "UPDATE @trouble t SET state = u.state, due = u.due, attempts = u.attempts,"
                        " outcome = u.outcome, size = u.size, generation = u.generation, input = u.input,"
                        " checkpoint = CASE WHEN u.state <> 0 THEN u.checkpoint ELSE '' END,"
                        " error = CASE WHEN u.state <> 3 THEN u.error ELSE t.error END"
                        " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS u (page, idx, state, due,"
                        " attempts, outcome, size, child_key, generation, input, checkpoint, error)"
                        " WHERE t.page = u.page AND t.idx = u.idx",
    [SQL_TROUBLE_STATE] = "UPDATE @trouble t SET state = u.state, due = u.due, attempts = u.attempts,"
                          " outcome = u.outcome, size = u.size,"
                          " checkpoint = CASE WHEN u.state <> 0 THEN t.checkpoint ELSE '' END"
                          " FROM unnest($1, $2, $3, $4, $5, $6, $7)"
                          " AS u (page, idx, state, due, attempts, outcome, size)"
                          " WHERE t.page = u.page AND t.idx = u.idx",
    [SQL_TROUBLE_DROP] = "DELETE FROM @trouble t USING unnest($1, $2) AS u (page, idx)"
                         " WHERE t.page = u.page AND t.idx = u.idx",
    [SQL_KEPT_PUT] = "INSERT INTO @kept (page, idx, attempts, child_key, generation, input, checkpoint)"
                     " SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) AS u ON CONFLICT (page, idx) DO UPDATE"
                     " SET attempts = excluded.attempts, generation = excluded.generation,"
                     " checkpoint = excluded.checkpoint",
    [SQL_KEPT_DROP] = "DELETE FROM @kept k USING unnest($1, $2) AS u (page, idx)"
                      " WHERE k.page = u.page AND k.idx = u.idx",
    [SQL_ENDED_ADD] = "INSERT INTO @ended (id, page, at, runs, size, worker, what)"
                      " SELECT u.id, u.page, $3, u.runs, u.size, u.worker, u.what FROM unnest($1, $2, $4, $5, $6, $7)"
                      " AS u (id, page, runs, size, worker, what)",
    [SQL_ASK_ADD] = "INSERT INTO @ask (id, worker, lease, page, idx, driven_out)"
                    " SELECT id, worker, lease, page, idx, driven <> 0 FROM unnest($1, $2, $3, $4, $5, $6)"
                    " AS u (id, worker, lease, page, idx, driven)",
    [SQL_ASK_DROP] = "DELETE FROM @ask a USING unnest($1, $2) AS u (lease, idx)"
                     " WHERE a.lease = u.lease AND a.idx = u.idx",
    [SQL_ASK_DROP_LEASES] = "DELETE FROM @ask WHERE lease = ANY ($1)",
    [SQL_WORKFLOW_PUT] = "INSERT INTO @workflow (id, name, rules, paused) VALUES ($1, $2, $3, $4)"
                         " ON CONFLICT (id) DO UPDATE SET rules = excluded.rules, paused = excluded.paused",
    [SQL_WORKER_ADD] = "INSERT INTO @worker (id, name, slots, since, heard, expires)"
                       " SELECT $2, $3, $4, at, at, at + $5 FROM (SELECT " NOW " AS at) n",
    [SQL_WORKER_DROP] = "DELETE FROM @worker WHERE id = ANY ($1)",
    [SQL_RATE_PUT] = "INSERT INTO @rate (hash, starts, ends, used) SELECT * FROM unnest($1, $2, $3, $4) AS u"
                     " ON CONFLICT (hash) DO UPDATE SET starts = excluded.starts, ends = excluded.ends,"
                     " used = excluded.used",
    [SQL_VALUE_PUT] = "INSERT INTO @value (hash, name, value) VALUES ($1, $2, $3)"
                      " ON CONFLICT (hash) DO UPDATE SET value = excluded.value",
    [SQL_VALUE_DROP] = "DELETE FROM @value WHERE hash = $1",
    [SQL_VALUE_GET] = "SELECT value FROM @value WHERE hash = $1",
    [SQL_LOG_ADD] = "INSERT INTO @log (id, page, idx, level, at, line) SELECT u.id, u.page, u.idx, u.level, $5, u.line"
                    " FROM unnest($1, $2, $3, $4, $6) AS u (id, page, idx, level, line)",
    [SQL_LOG_TRIM] = "DELETE FROM @log WHERE id < $1",
    [SQL_LOG_EACH] = "SELECT id, page, idx, at, level, line FROM @log WHERE id > $1 ORDER BY id LIMIT 1000",
    [SQL_LOG_OF_RUN] = "SELECT id, page, idx, at, level, line FROM @log WHERE page = $2 AND idx = $3 AND id > $1"
                       " ORDER BY id LIMIT 1000",
    [SQL_TICKS] = "SELECT at FROM @tick WHERE workflow = $1 ORDER BY at DESC LIMIT 17",
    [SQL_TICK_ADD] = "INSERT INTO @tick (workflow, at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    [SQL_TICK_TRIM] = "DELETE FROM @tick WHERE workflow = $1 AND at < $2",
    [SQL_TICK_LAST] = "SELECT coalesce(max(at), 0) FROM @tick WHERE workflow = $1",

    [SQL_WAITING] = "SELECT lane, count(*) FROM @trouble WHERE state = 1 AND due > " NOW " AND ($2 = 0 OR lane = $2)"
                    " GROUP BY lane",
    [SQL_WORKFLOWS_PAST] = "SELECT id, done, failed, cancelled FROM @workflow",
    [SQL_TICKS_LAST] = "SELECT workflow, max(at) FROM @tick GROUP BY workflow",
    [SQL_WORKERS_EACH] =
        "SELECT w.id, w.name, w.slots, coalesce((SELECT sum(leased) FROM @hold WHERE worker = w.id),"
        " 0)::int8, w.since, w.heard, w.expires FROM @worker w WHERE w.expires > " NOW " ORDER BY w.id",
    [SQL_PARKED] = "SELECT t.page, t.idx, t.lane, t.child_key, t.generation, t.error, t.attempts, t.due,"
                   " (" TROUBLE_SIZE ")::int8 FROM @trouble t WHERE t.state = 2 AND (t.page, t.idx) > ($1, $2)"
                   " AND ($4 = 0 OR t.lane = ANY ($3)) AND (octet_length($5) = 0 OR t.child_key = $5)"
                   " AND ($7 = 0 OR (t.page = $7 AND t.idx = $8)) ORDER BY t.page, t.idx LIMIT $6",
    /* Pages that may have runs of the filter, the newest first: of these lanes (all when $4 is 0), only live ones or
     * all, created before, and created or changed since. */
    [SQL_RUN_IDS] =
        "SELECT id FROM (SELECT id FROM @page WHERE id <= $1 AND " RUN_FILTER
        " UNION SELECT page FROM @trouble WHERE page <= $1 AND " RUN_FILTER_TROUBLE ") u ORDER BY id DESC LIMIT $2",
    /* Those that may have runs with this child key. OFFSET 0: only the key says which index is used. */
    [SQL_RUN_IDS_KEY] =
        "SELECT id FROM (SELECT id FROM (SELECT id, lane, place, created, changed FROM @page"
        " WHERE n = 1 AND first_key = substring($8 FROM 1 FOR 256) UNION ALL"
        " SELECT id, lane, place, created, changed FROM @page WHERE n > 1"
        " AND first_key <= substring($8 FROM 1 FOR 256) AND last_key >= substring($8 FROM 1 FOR 256) OFFSET 0) p"
        " WHERE id <= $1 AND " RUN_FILTER
        " UNION SELECT page FROM (SELECT page, lane, state FROM @trouble WHERE substring(child_key FROM 1 FOR 256)"
        " = substring($8 FROM 1 FOR 256) AND child_key = $8 OFFSET 0) t WHERE page <= $1 AND " RUN_FILTER_TROUBLE
        ") u ORDER BY id DESC LIMIT $2",
    [SQL_RUN_PAGES] = "SELECT " PAGE ", p.parent_page, p.parent_index, p.input, p.metadata, p.keys, p.rest FROM @page p"
                      " WHERE p.id = ANY ($1) ORDER BY p.id DESC",
    [SQL_RUN_TROUBLES] = "SELECT " TROUBLE ", t.outcome, t.priority, t.created, t.parent_page, t.parent_index,"
                         " t.child_key, t.input, t.metadata, t.checkpoint, t.error FROM @trouble t"
                         " WHERE t.page = ANY ($1) ORDER BY t.page DESC, t.idx DESC",
    [SQL_RUN_LEASES] = "SELECT " LEASE ", w.name FROM @lease l LEFT JOIN @worker w ON w.id = l.worker"
                       " WHERE l.page = ANY ($1)",
    [SQL_RUN_KEPT] = "SELECT k.page, k.idx, k.attempts, k.generation, k.checkpoint FROM @kept k"
                     " WHERE k.page = ANY ($1)",
    [SQL_RUN_ENDED] = "SELECT page, at, worker, what FROM @ended WHERE page = ANY ($1) ORDER BY page DESC, id",

    [SQL_PAST_PAGES] = "SELECT id, ended, size FROM @page WHERE place = 0 ORDER BY ended, id LIMIT $1",
    [SQL_PAST_TROUBLES] = "SELECT page, idx, due, size FROM @trouble WHERE state = 0 ORDER BY due, page, idx LIMIT $1",
    [SQL_PAST_ENDED] = "SELECT id, at, size, runs, true FROM @ended WHERE page = ANY ($1) UNION ALL"
                       " (SELECT id, at, size, runs, false FROM @ended WHERE page <> ALL ($1) ORDER BY id LIMIT $2)",
    [SQL_PAST_DROP] = "DELETE FROM @ended WHERE id = ANY ($1)",
    [SQL_BATCHES_TRIM] = "DELETE FROM @batch WHERE number < $1",
    [SQL_RATES_TRIM] = "DELETE FROM @rate WHERE ends < " NOW,

    [SQL_CHECK_PAGES] = "SELECT " PAGE ", p.rank, p.ended, p.workflow, p.keys FROM @page p ORDER BY p.id",
    [SQL_CHECK_TROUBLES] = "SELECT " TROUBLE ", t.child_key, t.workflow, t.size FROM @trouble t ORDER BY t.page, t.idx",
    [SQL_CHECK_LEASES] = "SELECT " LEASE " FROM @lease l ORDER BY l.id",
    [SQL_CHECK_HOLDS] = "SELECT worker, lane, tokens, leased FROM @hold",
    [SQL_CHECK_KEPT] = "SELECT page, idx FROM @kept",
    [SQL_CHECK_HISTORY] = "SELECT (SELECT coalesce(sum(size), 0) FROM @page WHERE place = 0)::int8"
                          " + (SELECT coalesce(sum(size), 0) FROM @trouble WHERE state = 0)::int8"
                          " + (SELECT coalesce(sum(size), 0) FROM @ended)::int8,"
                          " (SELECT coalesce(sum(runs), 0) FROM @ended)::int8",
};

/* ---- texts ---- */

static char *filled_in(const char *text, const char *schema) {
    struct buf buf = {0};
    int r = buf_add_str(&buf, "");
    for (const char *at; (at = strchr(text, '@')) && r == 0; text = at + 1) {
        r = buf_add(&buf, text, (size_t)(at - text));
        if (r == 0)
            r = buf_printf(&buf, "\"%s\".", schema);
    }
    if (r == 0)
        r = buf_add_str(&buf, text);
    if (r < 0)
        buf_free(&buf);
    return buf_detach(&buf);
}

/* For one row, which need not be taken out of arrays: VALUES instead of unnest. NULL: the statement has none. */
static int for_one(const char *text, char **ret_text) {
    const char *from = strstr(text, "unnest($"), *to = from ? strchr(from, ')') : NULL;
    *ret_text = NULL;
    if (!to || strncmp(to, ") AS u", 6) != 0)
        return 0;
    const char *list = from + strlen("unnest(");
    struct buf buf = {0};
    int r = buf_add(&buf, text, (size_t)(from - text));
    if (r == 0)
        r = buf_printf(&buf, "(VALUES (%.*s))%s", (int)(to - list), list, to + 1);
    if (r < 0)
        buf_free(&buf);
    else
        *ret_text = buf_detach(&buf);
    return r;
}

int sql_make(struct sql *sql, const char *schema) {
    *sql = (struct sql){0};
    for (int i = 0; i < SQL_STATEMENTS; i++) {
        sql->text[i] = filled_in(templates[i], schema);
        if (!sql->text[i] || for_one(sql->text[i], &sql->one[i]) < 0) {
            sql_free(sql);
            return -ENOMEM;
        }
    }
    return 0;
}

void sql_free(struct sql *sql) {
    for (int i = 0; i < SQL_STATEMENTS; i++) {
        mem_free(sql->text[i]);
        mem_free(sql->one[i]);
    }
    *sql = (struct sql){0};
}

/* ---- making and migrating ---- */

static int add_migrations(struct buf *script, const char *schema) {
    int r = 0;
    for (size_t i = 0; i + 1 < sizeof migrations / sizeof migrations[0] && r == 0; i++) {
        char *text = filled_in(migrations[i], schema);
        r = text ? buf_printf(script, "IF v = %zu THEN EXECUTE $m$%s$m$; v := v + 1; END IF; ", i + 1, text) : -ENOMEM;
        mem_free(text);
    }
    return r;
}

/* Everything in one transaction: whoever comes second waits for the lock and finds all done. The number of the lock is
 * any that others will hardly take; it belongs to this database. */
static int script_for(struct buf *script, const char *schema) {
    char *text = filled_in(tables, schema);
    int r = text ? buf_printf(script,
                              "DO $froe$ DECLARE v int; BEGIN "
                              "PERFORM pg_advisory_xact_lock(hashtext('froe'), hashtext('%s')); "
                              "IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = '%s') THEN "
                              "CREATE SCHEMA \"%s\"; END IF; "
                              "IF to_regclass('\"%s\".meta') IS NULL THEN EXECUTE $t$%s$t$; END IF; "
                              "SELECT version INTO STRICT v FROM \"%s\".meta FOR UPDATE; ",
                              schema, schema, schema, schema, text, schema)
                 : -ENOMEM;
    mem_free(text);
    if (r == 0)
        r = add_migrations(script, schema);
    if (r == 0)
        r = buf_printf(script,
                       "IF v > %d THEN RAISE EXCEPTION USING ERRCODE = 'XX001', MESSAGE = "
                       "'the schema %s has tables of version ' || v || ', this froe knows version %d: update froe'; "
                       "END IF; UPDATE \"%s\".meta SET version = v WHERE version <> v; END $froe$",
                       SCHEMA_VERSION, schema, SCHEMA_VERSION, schema);
    return r;
}

int schema_ready(struct wire *wire, const char *schema, struct err *err) {
    _cleanup_buf_ struct buf script = {0};
    int r = script_for(&script, schema);
    return r < 0 ? r : wire_script(wire, script.p, MAKE_US, err);
}
