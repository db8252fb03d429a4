/* test_control.c - the control socket: a server on a loop in a thread of its own, and clients, well and badly behaved.
 */
#include "control.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define HUGE_ANSWER (5 * 1024 * 1024)

struct server {
    char folder[256], store[1024], socket[1024];
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t stop;
    struct admin admin;
    struct control *control;
    struct err err;
    int opened;
    pthread_barrier_t ready;
    unsigned closed; /* read after the thread has ended */
};

/* ---- instead of admin.c ---- */

struct late {
    uv_timer_t timer;
    admin_answer_fn *answer;
    void *arg;
};

static void late_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void late_answer(uv_timer_t *timer) {
    struct late *late = timer->data;
    late->answer(late->arg, json_pack("{s:s}", "late", "yes"));
    uv_close((uv_handle_t *)timer, late_closed);
}

void admin_ask(struct admin *admin, json_t *request, admin_answer_fn *answer, void *arg) {
    struct server *server = (struct server *)(void *)((char *)admin - offsetof(struct server, admin));
    const char *op = json_string_value(json_object_get(request, "op"));
    if (op && strcmp(op, "echo") == 0)
        answer(arg, json_pack("{s:O}", "echo", request));
    else if (op && strcmp(op, "huge") == 0) {
        char *text = malloc(HUGE_ANSWER + 1);
        memset(text, 'x', HUGE_ANSWER);
        text[HUGE_ANSWER] = '\0';
        answer(arg, json_pack("{s:s}", "huge", text));
        free(text);
    } else if (op && strcmp(op, "late") == 0) {
        struct late *late = calloc(1, sizeof *late);
        uv_timer_init(&server->loop, &late->timer);
        late->timer.data = late;
        late->answer = answer;
        late->arg = arg;
        uv_timer_start(&late->timer, late_answer, 300, 0);
    } else
        answer(arg, json_pack("{s:s}", "error", "unknown request"));
}

/* ---- the server's thread ---- */

static void closed(void *arg) {
    ((struct server *)arg)->closed++;
}

static void stop(uv_async_t *async) {
    struct server *server = async->data;
    control_close(server->control, closed, server);
    uv_close((uv_handle_t *)async, NULL);
}

static void *serve(void *arg) {
    struct server *server = arg;
    server->opened = control_open(&server->loop, server->store, &server->admin, &server->control, &server->err);
    if (server->opened < 0)
        uv_close((uv_handle_t *)&server->stop, NULL);
    pthread_barrier_wait(&server->ready);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    return NULL;
}

static struct server *server_new(void) {
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    strcpy(server->folder, "/tmp/froe-control-XXXXXX");
    assert_non_null(mkdtemp(server->folder));
    snprintf(server->store, sizeof server->store, "%s/froe.db", server->folder);
    snprintf(server->socket, sizeof server->socket, "%s/froe.db.sock", server->folder);
    return server;
}

static void server_start(struct server *server) {
    pthread_barrier_init(&server->ready, NULL, 2);
    assert_int_equal(uv_loop_init(&server->loop), 0);
    uv_async_init(&server->loop, &server->stop, stop);
    server->stop.data = server;
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
    pthread_barrier_wait(&server->ready);
}

static void server_stop(struct server *server) {
    if (server->opened == 0)
        uv_async_send(&server->stop);
    pthread_join(server->thread, NULL);
    assert_int_equal(server->closed, server->opened == 0 ? 1 : 0);
    server->closed = 0;
    assert_int_equal(uv_loop_close(&server->loop), 0); /* nothing was left open */
    pthread_barrier_destroy(&server->ready);
}

static void server_free(struct server *server) {
    rmdir(server->folder); /* fails when something was left in it */
    assert_int_not_equal(access(server->folder, F_OK), 0);
    free(server);
}

static int up(void **state) {
    struct server *server = server_new();
    server_start(server);
    if (server->opened < 0)
        fail_msg("%s", server->err.text);
    *state = server;
    return 0;
}

static int down(void **state) {
    server_stop(*state);
    server_free(*state);
    return 0;
}

/* ---- clients ---- */

static json_t *ask(const struct server *server, const char *op) {
    struct err err = {0};
    json_t *request = json_pack("{s:s, s:i}", "op", op, "number", 7), *answer = NULL;
    if (control_call(server->store, request, &answer, &err) < 0)
        fail_msg("%s", err.text);
    json_decref(request);
    return answer;
}

static int dial(const struct server *server) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(server->socket) < sizeof address.sun_path);
    strcpy(address.sun_path, server->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* What comes until the server closes. */
static size_t hear(int fd, char *text, size_t size) {
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = recv(fd, text + n, size - 1 - n, 0)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    return n;
}

static void test_question_and_answer(void **state) {
    for (int i = 0; i < 20; i++) {
        json_t *answer = ask(*state, "echo");
        assert_int_equal(json_integer_value(json_object_get(json_object_get(answer, "echo"), "number")), 7);
        json_decref(answer);
    }
    json_t *answer = ask(*state, "late");
    assert_string_equal(json_string_value(json_object_get(answer, "late")), "yes");
    json_decref(answer);
}

static void test_huge_answer(void **state) {
    json_t *answer = ask(*state, "huge");
    assert_int_equal(json_string_length(json_object_get(answer, "huge")), HUGE_ANSWER);
    json_decref(answer);
}

static void test_only_its_owner_may_ask(void **state) {
    const struct server *server = *state;
    struct stat st;
    assert_int_equal(stat(server->socket, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_odd_requests(void **state) {
    static const struct {
        const char *text;
        size_t n;
    } odd[] = {{"\n", 1},
               {"hello\n", 6},
               {"[1,2]\n", 6},
               {"{\"op\":1}\n", 9},
               {"{\"op\":\"a\",\"op\":\"echo\"}\n", 23},
               {"\0\0\0\n", 4},
               {"{\"op\":\"\xff\"}\n", 11},
               {"null\n", 5},
               {"{\"op\":\"x\"}\n{\"op\":\"echo\"}\n", 25}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char text[256];
        int fd = dial(*state);
        assert_int_equal(send(fd, odd[i].text, odd[i].n, MSG_NOSIGNAL), odd[i].n);
        hear(fd, text, sizeof text);
        assert_string_equal(text, "{\"error\":\"unknown request\"}\n"); /* one answer a connection */
        close(fd);
    }
    test_question_and_answer(state);
}

static void test_request_in_pieces(void **state) {
    static const char request[] = "{\"op\":\"echo\"}\n";
    char text[256];
    int fd = dial(*state);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        assert_int_equal(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
        usleep(1000);
    }
    hear(fd, text, sizeof text);
    assert_string_equal(text, "{\"echo\":{\"op\":\"echo\"}}\n");
    close(fd);
}

static void test_endless_request_is_cut_off(void **state) {
    static char noise[CONTROL_REQUEST_MAX];
    memset(noise, ' ', sizeof noise);
    int fd = dial(*state);
    for (int i = 0; i < 8 && send(fd, noise, sizeof noise, MSG_NOSIGNAL) > 0; i++)
        usleep(10000);
    char text[256];
    assert_int_equal(hear(fd, text, sizeof text), 0);
    close(fd);
    test_question_and_answer(state);
}

static void test_clients_that_go_away(void **state) {
    static const char *const texts[] = {"", "{\"op\":", "{\"op\":\"late\"}\n", "{\"op\":\"huge\"}\n",
                                        "{\"op\":\"echo\"}\n"};
    for (int round = 0; round < 10; round++)
        for (size_t i = 0; i < 5; i++) {
            int fd = dial(*state);
            size_t n = strlen(texts[i]);
            assert_int_equal(send(fd, texts[i], n, MSG_NOSIGNAL), n);
            close(fd);
        }
    test_question_and_answer(state);
}

static void *ask_often(void *arg) {
    for (int i = 0; i < 25; i++) {
        json_t *answer = ask(arg, "echo");
        assert_non_null(json_object_get(answer, "echo"));
        json_decref(answer);
    }
    return NULL;
}

static void test_many_clients_at_once(void **state) {
    pthread_t threads[16];
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, *state), 0);
    for (size_t i = 0; i < 16; i++)
        pthread_join(threads[i], NULL);
}

static void test_too_many_silent_clients(void **state) {
    const struct server *server = *state;
    int fds[64];
    char text[8];
    for (size_t i = 0; i < 64; i++)
        fds[i] = dial(server);
    int extra = dial(server);
    assert_int_equal(hear(extra, text, sizeof text), 0); /* closed at once */
    close(extra);
    struct err err = {0};
    json_t *request = json_pack("{s:s}", "op", "echo"), *answer = NULL;
    assert_true(control_call(server->store, request, &answer, &err) < 0);
    assert_non_null(strstr(err.text, server->store));
    assert_null(answer);
    json_decref(request);
    for (size_t i = 0; i < 32; i++)
        close(fds[i]);
    request = json_pack("{s:s}", "op", "echo"); /* as soon as it has noticed */
    for (int i = 0; i < 6000 && control_call(server->store, request, &answer, &err) < 0; i++)
        usleep(10000);
    assert_non_null(answer);
    json_decref(answer);
    json_decref(request);
    test_question_and_answer(state);
    for (size_t i = 32; i < 64; i++)
        close(fds[i]);
}

/* The server is closed while clients are connected, one of which waits for its answer. */
static void test_closing_with_clients(void **state) {
    struct server *server = *state;
    int silent = dial(server), waiting = dial(server);
    assert_int_equal(send(waiting, "{\"op\":\"late\"}\n", 14, MSG_NOSIGNAL), 14);
    usleep(50000); /* it is asked by now, or ends before that */
    server_stop(server);
    char text[64];
    assert_int_equal(hear(silent, text, sizeof text), 0);
    assert_int_equal(hear(waiting, text, sizeof text), 0);
    close(silent);
    close(waiting);
    assert_int_not_equal(access(server->socket, F_OK), 0); /* removed */
    server_start(server);
    test_question_and_answer(state);
}

/* ---- where no server is ---- */

static int ask_nobody(const char *store, struct err *err) {
    json_t *request = json_pack("{s:s}", "op", "echo"), *answer = NULL;
    int r = control_call(store, request, &answer, err);
    assert_null(answer);
    json_decref(request);
    return r;
}

static void test_nobody_there(void **state) {
    struct server *server = server_new();
    struct err err = {0};
    assert_int_equal(ask_nobody(server->store, &err), -ECONNREFUSED);
    assert_int_equal(ask_nobody("/nowhere/at/all.db", &err), -ECONNREFUSED);
    assert_int_equal(ask_nobody("/dev/null/x.db", &err), -ECONNREFUSED);
    assert_int_equal(err.code, 0); /* that is no error */
    server_free(server);
}

static void test_socket_of_the_dead_is_replaced(void **state) {
    struct server *server = server_new();
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, server->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    struct err err = {0};
    assert_int_equal(ask_nobody(server->store, &err), -ECONNREFUSED);
    server_start(server);
    assert_int_equal(server->opened, 0);
    json_decref(ask(server, "echo"));
    server_stop(server);
    server_free(server);
}

static void test_long_paths(void **state) {
    struct server *server = server_new();
    char folder[512], part[120];
    snprintf(folder, sizeof folder, "%s", server->folder);
    memset(part, 'd', sizeof part);
    part[0] = '/';
    part[sizeof part - 1] = '\0';
    for (int i = 0; i < 3; i++) {
        strcat(folder, part);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
    /* And a name that is long for a socket's address, too. */
    snprintf(server->store, sizeof server->store, "%s/a-store-with-a-name-that-says-what-it-is-for-and-when.db",
             folder);
    server_start(server);
    if (server->opened < 0)
        fail_msg("%s", server->err.text);
    json_decref(ask(server, "echo"));
    server_stop(server);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rmdir(folder), 0);
        *strrchr(folder, '/') = '\0';
    }
    server_free(server);
}

static void test_places_where_no_socket_can_be(void **state) {
    struct server *server = server_new();
    snprintf(server->store, sizeof server->store, "%s/missing/froe.db", server->folder);
    server_start(server);
    assert_int_equal(server->opened, -ENOENT);
    assert_non_null(strstr(server->err.text, "missing/froe.db.sock"));
    server_stop(server);
    memset(server->store, 'n', 200);
    server->store[200] = '\0';
    server_start(server);
    assert_int_equal(server->opened, -ENAMETOOLONG);
    server_stop(server);
    server_free(server);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN); /* as the program does */
#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)
    const struct CMUnitTest tests[] = {
        TEST(test_question_and_answer),      TEST(test_huge_answer),
        TEST(test_only_its_owner_may_ask),   TEST(test_odd_requests),
        TEST(test_request_in_pieces),        TEST(test_endless_request_is_cut_off),
        TEST(test_clients_that_go_away),     TEST(test_many_clients_at_once),
        TEST(test_too_many_silent_clients),  TEST(test_closing_with_clients),
        cmocka_unit_test(test_nobody_there), cmocka_unit_test(test_socket_of_the_dead_is_replaced),
        cmocka_unit_test(test_long_paths),   cmocka_unit_test(test_places_where_no_socket_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
