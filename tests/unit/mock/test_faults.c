/* The language of fault orders, and when they fire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "faults.h"
#include "mem.h"

#include <stdlib.h>

#define B BYTES("bucket-1")

static void add(struct faults *faults, const char *text) {
    struct err err = {0};
    if (faults_add(faults, bytes_str(text), 1, &err) < 0)
        fail_msg("%s: %s", text, err.text);
}

static struct fault_plan plan(struct faults *faults, enum op op, const char *key) {
    struct fault_plan result;
    faults_plan(faults, op, B, bytes_str(key), 0, &result);
    return result;
}

static void wrong_orders(void **state) {
    static const struct {
        const char *order, *says;
    } cases[] = {
        {"lag op=get", "must start with"},
        {"latency", "needs \"ms\""},
        {"latency ms", "\"ms\" must be"},
        {"latency ms=", "\"ms\" must be"},
        {"latency ms=x", "\"ms\" must be"},
        {"latency ms=-1", "\"ms\" must be"},
        {"latency ms=1e3", "\"ms\" must be"},
        {"latency ms=nan", "\"ms\" must be"},
        {"latency ms=1 ms=2", "given twice"},
        {"latency ms=1 op=fetch", "\"op\" must be"},
        {"latency ms=1 op=get,", NULL},
        {"latency ms=1 op=get,,put", "\"op\" must be"},
        {"latency ms=1 rate=5", "does not take \"rate\""},
        {"latency ms=1 =5", "does not take \"\""},
        {"latency ms=1 p=1.5", "\"p\" must be"},
        {"latency ms=1 every=0", "\"every\" must be"},
        {"latency ms=1 count=0", "\"count\" must be"},
        {"latency ms=1 bucket=[", "\"bucket\" must be"},
        {"latency ms=1 key=\"open", "quote is not closed"},
        {"\"latency ms=1", "quote is not closed"},
        {"slowdown op=get", "needs \"rate\""},
        {"slowdown rate=5 burst=0", "\"burst\" must be"},
        {"error op=get", "needs \"status\""},
        {"error status=200", "\"status\" must be"},
        {"error status=600", "\"status\" must be"},
        {"error status=500 code=a<b", "\"code\" must be"},
        {"error status=500 code=", "\"code\" must be"},
        {"error status=500 applied=maybe", "\"applied\" must be"},
        {"badsum where=nowhere", "\"where\" must be"},
        {"badxml how=nice", "\"how\" must be"},
        {"stall applied=yes", "does not take"},
        {"deny access=a", "needs \"action\""},
        {"deny access=a action=b op=get", "does not take"},
        {"user access=a", "needs \"secret\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct faults faults = {0};
        struct err err = {0};
        int r = faults_add(&faults, bytes_str(cases[i].order), 1, &err);
        if (!cases[i].says) { /* a trailing comma is forgiven */
            assert_int_equal(r, 0);
            faults_clear(&faults);
            continue;
        }
        if (r != -EINVAL || !strstr(err.text, cases[i].says))
            fail_msg("%s: %d %s", cases[i].order, r, err.text);
        assert_non_null(strstr(err.text, "fault order"));
        assert_int_equal(faults.n, 0);
    }
    struct faults faults = {0};
    assert_int_equal(faults_add(&faults, BYTES("stall\0x"), 1, NULL), -EINVAL);
}

static void all_or_none(void **state) {
    struct faults faults = {0};
    struct err err = {0};
    add(&faults, "# a comment; with a semicolon\n\n  latency ms=5 ; stall\nbadsum key=\"a;b c\\\"d\"");
    assert_int_equal(faults.n, 3);
    faults_clear(&faults);
    add(&faults, "stall");
    assert_int_equal(faults_add(&faults, BYTES("latency ms=1\nreset\nnonsense"), 1, &err), -EINVAL);
    assert_int_equal(faults.n, 1);
    assert_true(plan(&faults, OP_GET, "k").stall_after == 0);
    faults_clear(&faults);
    /* Too many. */
    struct buf text = {0};
    for (int i = 0; i < FAULTS_MAX + 1; i++)
        buf_add_str(&text, "stall;");
    assert_int_equal(faults_add(&faults, buf_bytes(&text), 1, &err), -E2BIG);
    assert_int_equal(faults.n, 0);
    text.n -= strlen("stall;");
    assert_int_equal(faults_add(&faults, buf_bytes(&text), 1, &err), 0);
    assert_int_equal(faults.n, FAULTS_MAX);
    faults_clear(&faults);
    buf_reset(&text);
    buf_add_str(&text, "stall key=");
    while (text.n <= FAULT_ORDER_MAX)
        buf_add_byte(&text, 'k');
    assert_int_equal(faults_add(&faults, buf_bytes(&text), 1, &err), -E2BIG);
    buf_free(&text);
}

static void selectors(void **state) {
    struct faults faults = {0};
    add(&faults, "latency ms=1 op=get,put bucket=bucket-* key=*.jpg prefix=img/");
    assert_true(plan(&faults, OP_GET, "img/a.jpg").any);
    assert_true(plan(&faults, OP_PUT, "img/a.jpg").any);
    assert_false(plan(&faults, OP_HEAD, "img/a.jpg").any);
    assert_false(plan(&faults, OP_GET, "img/a.png").any);
    assert_false(plan(&faults, OP_GET, "x/img/a.jpg").any);
    struct fault_plan result;
    faults_plan(&faults, OP_GET, BYTES("other"), BYTES("img/a.jpg"), 0, &result);
    assert_false(result.any);
    faults_clear(&faults);
    /* Kinds that spoil bodies mean GET, unless told. */
    add(&faults, "overwrite; badsum; truncate after=3");
    assert_false(plan(&faults, OP_PUT, "k").any);
    struct fault_plan get = plan(&faults, OP_GET, "k");
    assert_true(get.overwrite && get.badsum_body && !get.badsum_header && get.truncate_after == 3);
    assert_true(get.stall_after == FAULT_NEVER && get.reset_after == FAULT_NEVER);
    faults_clear(&faults);
    add(&faults, "latency ms=1 key=\"a \\\"b\\\";c\"");
    assert_true(plan(&faults, OP_GET, "a \"b\";c").any);
    faults_clear(&faults);
}

static unsigned fire_mask(const char *order, unsigned n) {
    struct faults faults = {0};
    unsigned mask = 0;
    add(&faults, order);
    for (unsigned i = 0; i < n; i++)
        mask |= plan(&faults, OP_GET, "k").any ? 1U << i : 0U;
    faults_clear(&faults);
    return mask;
}

static void triggers(void **state) {
    assert_int_equal(fire_mask("latency ms=1", 8), 0xff);
    assert_int_equal(fire_mask("latency ms=1 every=3", 9), 0x124);
    assert_int_equal(fire_mask("latency ms=1 count=2", 8), 0x03);
    assert_int_equal(fire_mask("latency ms=1 after-n=3", 8), 0xf8);
    assert_int_equal(fire_mask("latency ms=1 after-n=2 every=2 count=2", 12), 0x28);
    assert_int_equal(fire_mask("latency ms=1 p=0", 32), 0);
    unsigned once = fire_mask("latency ms=1 p=0.5", 32);
    assert_true(once != 0 && once != UINT32_MAX);
    assert_int_equal(fire_mask("latency ms=1 p=0.5", 32), once); /* the same each time */
    assert_int_not_equal(fire_mask("latency ms=1 p=0.5 seed=99", 32), once);
}

static void effects_add_up(void **state) {
    struct faults faults = {0};
    add(&faults, "latency ms=30 jitter=10; latency ms=1.5");
    for (int i = 0; i < 100; i++) {
        int64_t delay_us = plan(&faults, OP_LIST, "").delay_us;
        assert_true(delay_us >= 31500 && delay_us <= 41500);
    }
    faults_clear(&faults);
    /* The first verdict stands; those behind it have not fired; latency still counts. */
    add(&faults, "error status=503 code=SlowDown count=1; reset applied=yes; latency ms=1");
    struct fault_plan first = plan(&faults, OP_DELETE, "k"), second = plan(&faults, OP_DELETE, "k");
    assert_true(first.verdict == PLAN_ERROR && first.status == 503 && bytes_equal(first.code, BYTES("SlowDown")));
    assert_true(!first.applied && first.delay_us == 1000);
    assert_true(second.verdict == PLAN_RESET && second.applied);
    assert_int_equal(faults.fired[FAULT_RESET], 1);
    assert_int_equal(faults.fired[FAULT_LATENCY], 202);
    faults_clear(&faults);
    assert_int_equal(faults.fired[FAULT_RESET], 1);
    add(&faults, "badxml; badsum where=header; reset after=7; error status=404 op=head");
    assert_int_equal(plan(&faults, OP_LIST, "").badxml, BADXML_CUT);
    struct fault_plan get = plan(&faults, OP_GET, "k");
    assert_true(get.badsum_header && !get.badsum_body && get.reset_after == 7 && get.verdict == PLAN_SERVE);
    faults_clear(&faults);
}

static void slowdown_by_rate(void **state) {
    struct faults faults = {0};
    add(&faults, "slowdown rate=100 burst=10 prefix=hot/");
    int refused[2] = {0};
    for (int ms = 0; ms < 3000; ms++) {
        struct fault_plan result; /* 1000 a second to one bucket, 50 a second to another */
        faults_plan(&faults, OP_GET, B, BYTES("hot/k"), ms * US_PER_MS, &result);
        refused[0] += result.verdict == PLAN_ERROR && result.status == 503;
        if (ms % 20 == 0) {
            faults_plan(&faults, OP_GET, BYTES("bucket-2"), BYTES("hot/k"), ms * US_PER_MS, &result);
            refused[1] += result.any;
        }
        faults_plan(&faults, OP_GET, B, BYTES("cold/k"), ms * US_PER_MS, &result);
        assert_false(result.any);
    }
    assert_in_range(3000 - refused[0], 305, 315);
    assert_int_equal(refused[1], 0);
    faults_clear(&faults);
    add(&faults, "slowdown rate=0");
    assert_false(plan(&faults, OP_GET, "k").any); /* the burst of one */
    assert_true(plan(&faults, OP_GET, "k").any);
    faults_clear(&faults);
}

static void users_and_denials(void **state) {
    struct faults faults = {0};
    add(&faults, "user access=bob secret=\"hush hush\" token=tok; deny access=b* action=s3:Delete* bucket=bucket-*");
    const struct fault *bob = faults_user(&faults, BYTES("bob"));
    assert_non_null(bob);
    assert_true(bytes_equal(bob->secret, BYTES("hush hush")));
    assert_null(faults_user(&faults, BYTES("bo")));
    assert_null(strstr(bob->order, "hush"));
    assert_true(faults_denied(&faults, BYTES("bob"), BYTES("s3:DeleteObject"), B, BYTES("k")));
    assert_false(faults_denied(&faults, BYTES("bob"), BYTES("s3:GetObject"), B, BYTES("k")));
    assert_false(faults_denied(&faults, BYTES("ann"), BYTES("s3:DeleteObject"), B, BYTES("k")));
    assert_false(faults_denied(&faults, BYTES("bob"), BYTES("s3:DeleteObject"), BYTES("x"), BYTES("k")));
    assert_false(plan(&faults, OP_DELETE, "k").any);
    /* A later user of the same name never has the same generation. */
    uint64_t generation = bob->generation;
    faults_clear(&faults);
    add(&faults, "user access=bob secret=other");
    assert_true(faults_user(&faults, BYTES("bob"))->generation > generation);
    faults_clear(&faults);
    struct err err = {0};
    assert_int_equal(faults_add(&faults, BYTES("user access=bob secret=hush nonsense=1"), 1, &err), -EINVAL);
    assert_null(strstr(err.text, "hush"));
}

static void memory_runs_out(void **state) {
    static const char text[] = "latency ms=1 key=a; user access=b secret=c; slowdown rate=1";
    for (uint64_t at = 1;; at++) {
        struct faults faults = {0};
        mem_fail_at(at, 0);
        int r = faults_add(&faults, bytes_str(text), 1, NULL);
        mem_fail_at(0, 0);
        if (r == 0) {
            assert_int_equal(faults.n, 3);
            assert_true(at > 6);
            /* Without memory for its counter nobody is slowed down. */
            mem_fail_at(1, 1);
            assert_false(plan(&faults, OP_PUT, "x").any);
            mem_fail_at(0, 0);
            faults_clear(&faults);
            return;
        }
        assert_int_equal(r, -ENOMEM);
        assert_int_equal(faults.n, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_orders),      cmocka_unit_test(all_or_none),     cmocka_unit_test(selectors),
        cmocka_unit_test(triggers),          cmocka_unit_test(effects_add_up),  cmocka_unit_test(slowdown_by_rate),
        cmocka_unit_test(users_and_denials), cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
