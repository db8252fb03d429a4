/* test_results.c - results are stored before anything is done to the object, and when they cannot be, nothing is. */
#include "world.h"

#include "output_file.h"

#include <dirent.h>
#include <unistd.h>

struct fixture {
    struct world *world;
    struct budget budget;
    struct output *outputs[2];
    char directory[64];
};

static struct fixture fixture;

static void add_output(const struct output_options *options, struct s3_client *s3) {
    struct err err = {0};
    struct pipeline_way *way = &fixture.world->plan.way;
    if (output_new(options, s3, &fixture.outputs[way->n_outputs], &err) < 0)
        fail_msg("%s", err.text);
    way->outputs = (const struct output *const *)fixture.outputs;
    way->n_outputs++;
}

static int up(void **state) {
    assert_int_equal(world_up(state), 0);
    fixture = (struct fixture){.world = *state, .budget = {.max_bytes = 1000000}};
    strcpy(fixture.directory, "/tmp/froe-results-XXXXXX");
    assert_non_null(mkdtemp(fixture.directory));
    fixture.world->options.trust_if_match = true;
    fixture.world->options.bucket_prefix = "bucket-";
    return 0;
}

static int down(void **state) {
    char command[128];
    assert_int_equal(world_down(state), 0);
    output_free(fixture.outputs[0]);
    output_free(fixture.outputs[1]);
    assert_int_equal(fixture.budget.used_bytes, 0); /* no spool was left */
    snprintf(command, sizeof command, "rm -r %s", fixture.directory);
    return system(command);
}

static void into_bucket(void) {
    add_output(&(struct output_options){.bucket = "results", .key = "{stem}-{name}.{ext}"}, &fixture.world->s3);
}

static struct fake_job *begun(const char *etag) {
    struct world *world = fixture.world;
    world_object(world, "bucket-1", "a/b.txt");
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, etag, "", 5);
    assert_true(fake_get_data(get, "hello"));
    fake_end(get, S3_OK);
    return world_job(world);
}

static struct handler_part part_of(struct spool *spool, const char *name, const char *extension, const char *body) {
    spool_init(spool, &fixture.budget, "/tmp");
    if (body[0])
        assert_int_equal(spool_add(spool, bytes_str(body), NULL), 0);
    return (struct handler_part){bytes_str(name), BYTES_NONE, bytes_str(extension), spool};
}

static void makes_one(struct fake_job *job) {
    struct spool spool;
    struct handler_part part = part_of(&spool, "", "", "made");
    world_job_makes(fixture.world, job, &part, 1);
    assert_int_equal(spool.fd, -1); /* moved */
}

static void time_passes(struct world *world) {
    world_settle(world);
    world->mono_us += 20 * US_PER_S;
    world_settle(world);
}

static void test_stored_before_the_delete(void **state) {
    struct world *world = *state;
    into_bucket();
    world_open(world);
    struct spool spools[2];
    struct fake_job *job = begun("\"e1\"");
    struct handler_part parts[] = {part_of(&spools[0], "small", "webp", "one"), part_of(&spools[1], "large", "", "")};
    world_job_makes(world, job, parts, 2);
    struct s3_call *put = fake_call(&world->s3, FAKE_PUT);
    assert_string_equal(put->bucket, "results");
    assert_string_equal(put->key, "a/b-small.webp");
    assert_string_equal(put->content_type, "image/webp");
    assert_null(fake_call(&world->s3, FAKE_DELETE));
    assert_true(fake_serve(&world->s3));
    put = fake_call(&world->s3, FAKE_PUT);
    assert_string_equal(put->key, "a/b-large.txt");
    assert_null(fake_call(&world->s3, FAKE_DELETE));
    assert_true(fake_serve(&world->s3));
    assert_string_equal(fake_find(&world->s3, "results", "a/b-small.webp")->body, "one");
    assert_string_equal(fake_find(&world->s3, "results", "a/b-large.txt")->body, "");
    assert_string_equal(fake_call(&world->s3, FAKE_DELETE)->if_match, "\"e1\"");
    fake_end(fake_call(&world->s3, FAKE_DELETE), S3_OK);
    assert_int_equal(world->engine.done, 1);
    const struct pipeline_bucket *stats = &world_bucket(world, "bucket-1")->stats;
    assert_int_equal(stats->results, 2);
    assert_int_equal(stats->result_bytes, 3);
}

static void test_no_results_are_fine(void **state) {
    struct world *world = *state;
    into_bucket();
    world_open(world);
    world_job_makes(world, begun("\"e1\""), NULL, 0);
    assert_int_equal(world->s3.sent[FAKE_PUT], 0);
    assert_non_null(fake_call(&world->s3, FAKE_DELETE));
}

/* The next attempt runs the handler again; its result takes the place of the first one's. */
static void test_not_stored_not_deleted(void **state) {
    struct world *world = *state;
    into_bucket();
    world_open(world);
    world_object(world, "bucket-1", "k");
    froe_task *task = NULL;
    for (uint32_t attempt = 1; attempt <= 4; attempt++) {
        struct s3_call *get = fake_call(&world->s3, FAKE_GET);
        fake_get_info(get, "\"e1\"", "", 0);
        fake_end(get, S3_OK);
        task = fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, "bucket-1/k", FAKE_RUNNING);
        assert_int_equal(task->attempt, attempt);
        makes_one(world_job(world));
        fake_end(fake_call(&world->s3, FAKE_PUT), S3_DENIED);
        assert_string_equal(task->error.p, "processed, but its result could not be stored: it failed");
        assert_int_equal(task->checkpoint.n, 0);
        time_passes(world);
    }
    assert_int_equal(task->state, FAKE_PARKED);
    assert_int_equal(world->handler.started, 4);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
}

static void test_throttled_destination_counts_no_attempt_and_slows_the_source(void **state) {
    struct world *world = *state;
    into_bucket();
    world_open(world);
    makes_one(begun("\"e1\""));
    fake_end_throttled(fake_call(&world->s3, FAKE_PUT), S3_THROTTLED, 3);
    froe_task *task = fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, "bucket-1/a/b.txt", FAKE_QUEUED);
    assert_non_null(task);
    assert_int_equal(task->end, FAKE_AGAIN);
    assert_true(world_bucket(world, "bucket-1")->stats.throttled);
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
}

static void test_cancelled_while_storing(void **state) {
    struct world *world = *state;
    static const froe_cancel_reason reasons[] = {FROE_CANCELLED_STOP, FROE_CANCELLED_LEASE_LOST,
                                                 FROE_CANCELLED_TIMEOUT};
    into_bucket();
    world_open(world);
    for (size_t i = 0; i < 3; i++) {
        makes_one(begun("\"e1\""));
        froe_task *task = fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, "bucket-1/a/b.txt", FAKE_RUNNING);
        fake_cancel(task, reasons[i]);
        assert_true(fake_call(&world->s3, FAKE_PUT)->cancelled);
        assert_true(fake_s3_step(&world->s3));
        assert_int_equal(task->end, reasons[i] == FROE_CANCELLED_TIMEOUT ? FAKE_FAILED : FAKE_AGAIN);
        assert_int_equal(task->checkpoint.n, 0);
        task->cancelled = FROE_NOT_CANCELLED;
        if (i == 2)
            break;
        time_passes(world);
        struct s3_call *get = fake_call(&world->s3, FAKE_GET);
        fake_end(get, S3_NO_KEY);
        world_settle(world);
    }
    assert_int_equal(world->s3.sent[FAKE_DELETE], 0);
    assert_int_equal(world_bucket(world, "bucket-1")->stats.results, 0);
}

static void test_lease_that_is_not_certain(void **state) {
    struct world *world = *state;
    into_bucket();
    world_open(world);
    struct fake_job *job = begun("\"e1\"");
    world->engine.lost = true;
    makes_one(job);
    assert_int_equal(world->s3.sent[FAKE_PUT], 0);
    world->engine.lost = false;
}

/* What another attempt would not change is parked at once. */
static void test_names_that_cannot_be(void **state) {
    struct world *world = *state;
    add_output(&(struct output_options){.bucket = "results", .key = "{stem}"}, &world->s3);
    world_open(world);
    struct fake_job *job = begun("\"e1\"");
    struct spool spools[2];
    struct handler_part parts[] = {part_of(&spools[0], "x", "", "one"), part_of(&spools[1], "y", "", "two")};
    world_job_makes(world, job, parts, 2);
    assert_int_equal(world->engine.parked, 1);
    froe_task *task = fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, NULL, FAKE_PARKED);
    assert_string_equal(task->error.p, "processed, but its result could not be stored: s3://results/{stem}: two "
                                       "results of this object would be called 'a/b'; put {name} into it");
    assert_int_equal(world->s3.sent[FAKE_PUT], 0);
}

static void run_loop(struct world *world) {
    uv_run(&world->loop, UV_RUN_DEFAULT); /* until the file is written: nothing else is in it */
}

static void test_into_a_directory_too(void **state) {
    struct world *world = *state;
    add_output(&(struct output_options){.directory = fixture.directory, .key = "{bucket}/{key}"}, NULL);
    add_output(&(struct output_options){.bucket = "results", .key = "{key}"}, &world->s3);
    world_open(world);
    makes_one(begun("\"e1\""));
    assert_null(fake_call(&world->s3, FAKE_PUT));
    run_loop(world);
    char path[128];
    snprintf(path, sizeof path, "%s/bucket-1/a/b.txt", fixture.directory);
    assert_int_equal(access(path, R_OK), 0);
    assert_null(fake_call(&world->s3, FAKE_DELETE));
    assert_true(fake_serve(&world->s3));
    assert_non_null(fake_call(&world->s3, FAKE_DELETE));
}

static void test_key_that_leads_out_is_parked(void **state) {
    struct world *world = *state;
    add_output(&(struct output_options){.directory = fixture.directory, .key = "{key}"}, NULL);
    world_open(world);
    world_object(world, "bucket-1", "../../etc/passwd");
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info(get, "\"e1\"", "", 0);
    fake_end(get, S3_OK);
    makes_one(world_job(world));
    assert_int_equal(world->engine.parked, 1);
    froe_task *task = fake_run(&world->engine, PIPELINE_PROCESS_OBJECT, NULL, FAKE_PARKED);
    assert_non_null(strstr(task->error.p, "as '../../etc/passwd': no file can be called so: '..' means a directory"));
}

static void test_tags_and_metadata_are_carried_over(void **state) {
    struct world *world = *state;
    add_output(&(struct output_options){.bucket = "results", .key = "{key}", .copy_metadata = true, .copy_tags = true},
               &world->s3);
    world_open(world);
    struct fake_object *object = fake_put(&world->s3, "bucket-1", "k", "");
    strcpy(object->tags, "a b=c&d;x=;");
    world_object(world, "bucket-1", "k");
    const struct s3_header metadata[] = {{BYTES("colour"), BYTES("red")}, {BYTES("n"), BYTES("1")}};
    const struct s3_object_info info = {
        .size = 0, .etag = bytes_str(object->etag), .metadata = metadata, .n_metadata = 2};
    struct s3_call *get = fake_call(&world->s3, FAKE_GET);
    fake_get_info_of(get, &info);
    fake_end(get, S3_OK);
    makes_one(world_job(world));
    assert_non_null(fake_call(&world->s3, FAKE_GET_TAGS));
    assert_true(fake_serve(&world->s3));
    struct s3_call *put = fake_call(&world->s3, FAKE_PUT);
    assert_string_equal(put->metadata, "colour=red;n=1;");
    assert_string_equal(put->tagging, "a%20b=c%26d&x=");
    assert_true(fake_serve(&world->s3));
    assert_non_null(fake_call(&world->s3, FAKE_DELETE));
}

static void test_without_memory(void **state) {
    struct world *world = *state;
    into_bucket();
    world_open(world);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct fake_job *job = begun("\"e1\"");
        assert_non_null(job);
        struct spool spool;
        struct handler_part part = part_of(&spool, "", "", "made");
        mem_fail_at(n, 0);
        world_job_makes(world, job, &part, 1);
        done = mem_fail_count() < n;
        mem_fail_at(0, 0);
        spool_free(&spool); /* what was not moved is the job's */
        struct s3_call *put = fake_call(&world->s3, FAKE_PUT);
        assert_int_equal(put != NULL, done);
        if (!done) { /* it comes again, and is gone */
            time_passes(world);
            fake_end(fake_call(&world->s3, FAKE_GET), S3_NO_KEY);
            time_passes(world);
        }
    }
    assert_int_equal(world->engine.failed_attempts, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)
    const struct CMUnitTest tests[] = {
        TEST(test_stored_before_the_delete),
        TEST(test_no_results_are_fine),
        TEST(test_not_stored_not_deleted),
        TEST(test_throttled_destination_counts_no_attempt_and_slows_the_source),
        TEST(test_cancelled_while_storing),
        TEST(test_lease_that_is_not_certain),
        TEST(test_names_that_cannot_be),
        TEST(test_into_a_directory_too),
        TEST(test_key_that_leads_out_is_parked),
        TEST(test_tags_and_metadata_are_carried_over),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
