/* control.c - the control socket: a server on the loop, and a blocking client. */
#include "control.h"

#include "cleanup.h"
#include "list.h"

#include <fcntl.h>
#include <libgen.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#define ANSWER_MAX (256 * 1024 * 1024)
#define CLIENTS_MAX 64
#define CLIENT_WAIT_S 30

struct control {
    uv_pipe_t listener;
    struct admin *admin;
    struct list clients;
    size_t n_clients;
    char *path;
    int folder_fd;
    bool closing;
    void (*closed)(void *arg);
    void *arg;
};

struct client {
    struct list link;
    struct control *control;
    uv_pipe_t pipe;
    uv_write_t write;
    struct buf request, answer;
    bool asked; /* an answer is being made: the record must stay */
    bool gone;  /* closed before its answer came */
    char chunk[4096];
};

#define ADDRESS_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

/* A socket's address holds 107 bytes, a path more: reached through an open descriptor of its folder it is short. */
static int short_path(const char *store_path, int *ret_folder_fd, char address[ADDRESS_MAX], char **ret_full) {
    _cleanup_buf_ struct buf full = {0}, folder = {0}, name = {0};
    if (buf_printf(&full, "%s.sock", store_path) < 0 || buf_add_str(&folder, full.p) < 0 ||
        buf_add_str(&name, full.p) < 0)
        return -ENOMEM;
    const char *base = basename(name.p);
    _cleanup_close_ int fd = open(dirname(folder.p), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if ((size_t)snprintf(address, ADDRESS_MAX, "/proc/self/fd/%d/%s", fd, base) >= ADDRESS_MAX)
        return -ENAMETOOLONG;
    if (ret_full)
        *ret_full = buf_detach(&full);
    *ret_folder_fd = TAKE_FD(fd);
    return 0;
}

/* ---- server ---- */

static void maybe_closed(struct control *control) {
    if (!control->closing || control->n_clients > 0 || uv_is_active((uv_handle_t *)&control->listener) ||
        control->listener.data)
        return;
    void (*closed)(void *arg) = control->closed;
    void *arg = control->arg;
    if (control->folder_fd >= 0)
        close(control->folder_fd);
    mem_free(control->path);
    mem_free(control);
    if (closed)
        closed(arg);
}

static void client_free(struct client *client) {
    struct control *control = client->control;
    list_remove(&client->link);
    control->n_clients--;
    buf_free(&client->request);
    buf_free(&client->answer);
    mem_free(client);
    maybe_closed(control);
}

static void client_closed(uv_handle_t *handle) {
    struct client *client = handle->data;
    client->gone = true;
    if (!client->asked)
        client_free(client);
}

static void client_close(struct client *client) {
    if (!uv_is_closing((uv_handle_t *)&client->pipe))
        uv_close((uv_handle_t *)&client->pipe, client_closed);
}

static void written(uv_write_t *write, int status) {
    (void)status;
    client_close(write->data);
}

static void answered(void *arg, json_t *answer) {
    struct client *client = arg;
    client->asked = false;
    if (client->gone) {
        json_decref(answer);
        client_free(client);
        return;
    }
    char *text = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    int r = text ? buf_add_str(&client->answer, text) : -ENOMEM;
    free(text);
    if (r == 0)
        r = buf_add_byte(&client->answer, '\n');
    uv_buf_t piece = {.base = client->answer.p, .len = client->answer.n};
    client->write.data = client;
    if (r < 0 || uv_write(&client->write, (uv_stream_t *)&client->pipe, &piece, 1, written) < 0)
        client_close(client);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct client *client = handle->data;
    *buf = uv_buf_init(client->chunk, sizeof client->chunk);
}

static void received(uv_stream_t *stream, ssize_t n, const uv_buf_t *chunk) {
    struct client *client = stream->data;
    if (n < 0 || buf_add(&client->request, chunk->base, (size_t)n) < 0) {
        client_close(client);
        return;
    }
    const char *newline = client->request.p ? memchr(client->request.p, '\n', client->request.n) : NULL;
    if (!newline)
        return;
    uv_read_stop(stream);
    json_t *request =
        json_loadb(client->request.p, (size_t)(newline - client->request.p), JSON_REJECT_DUPLICATES, NULL);
    client->asked = true;
    admin_ask(client->control->admin, request, answered, client);
    json_decref(request);
}

static void connected(uv_stream_t *listener, int status) {
    struct control *control = listener->data;
    if (status < 0 || control->closing)
        return;
    struct client *client = mem_zalloc(sizeof *client);
    if (!client)
        return;
    client->control = control;
    buf_init(&client->request, CONTROL_REQUEST_MAX);
    uv_pipe_init(listener->loop, &client->pipe, 0);
    client->pipe.data = client;
    list_push_back(&control->clients, &client->link);
    control->n_clients++;
    if (uv_accept(listener, (uv_stream_t *)&client->pipe) < 0 || control->n_clients > CLIENTS_MAX ||
        uv_read_start((uv_stream_t *)&client->pipe, allocate, received) < 0)
        client_close(client);
}

static void listener_closed(uv_handle_t *handle) {
    struct control *control = handle->data;
    control->listener.data = NULL;
    maybe_closed(control);
}

int control_open(uv_loop_t *loop, const char *store_path, struct admin *admin, struct control **ret_control,
                 struct err *err) {
    struct control *control = mem_zalloc(sizeof *control);
    if (!control)
        return err_set(err, -ENOMEM, "out of memory");
    list_init(&control->clients);
    control->admin = admin;
    control->folder_fd = -1;
    uv_pipe_init(loop, &control->listener, 0);
    control->listener.data = control;
    char address[ADDRESS_MAX];
    int r = short_path(store_path, &control->folder_fd, address, &control->path);
    if (r == 0) {
        unlink(address);
        mode_t mask = umask(0177);
        r = uv_pipe_bind(&control->listener, address);
        umask(mask);
    }
    if (r == 0)
        r = uv_listen((uv_stream_t *)&control->listener, 16, connected);
    if (r < 0) {
        err_set(err, r, "%s.sock: %s", store_path, err_errno_text(r));
        control_close(control, NULL, NULL);
        return r;
    }
    *ret_control = control;
    return 0;
}

void control_close(struct control *control, void (*closed)(void *arg), void *arg) {
    control->closing = true;
    control->closed = closed;
    control->arg = arg;
    if (control->path)
        unlink(control->path);
    LIST_EACH (link, &control->clients)
        client_close(LIST_ENTRY(link, struct client, link));
    uv_close((uv_handle_t *)&control->listener, listener_closed);
}

/* ---- client ---- */

static int exchange(int fd, const char *request, struct buf *answer) {
    size_t n = strlen(request);
    for (size_t at = 0; at < n;) {
        ssize_t sent = send(fd, request + at, n - at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return -errno;
        at += sent > 0 ? (size_t)sent : 0;
    }
    for (;;) {
        char chunk[16384];
        ssize_t got = recv(fd, chunk, sizeof chunk, 0);
        if (got == 0)
            return 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        int r = buf_add(answer, chunk, (size_t)got);
        if (r < 0)
            return r;
    }
}

int control_call(const char *store_path, json_t *request, json_t **ret_answer, struct err *err) {
    _cleanup_close_ int folder_fd = -1, fd = -1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int r = short_path(store_path, &folder_fd, address.sun_path, NULL);
    if (r == -ENOENT || r == -ENOTDIR)
        return -ECONNREFUSED;
    if (r < 0)
        return err_set(err, r, "%s.sock: %s", store_path, err_errno_text(r));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, -errno, "no socket: %s", err_errno_text(-errno));
    const struct timeval wait = {.tv_sec = CLIENT_WAIT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return -ECONNREFUSED;
        return err_set(err, -errno, "%s.sock: %s", store_path, err_errno_text(-errno));
    }
    _cleanup_buf_ struct buf answer = {.max = ANSWER_MAX}, line = {0};
    char *text = json_dumps(request, JSON_COMPACT);
    r = text ? buf_printf(&line, "%s\n", text) : -ENOMEM;
    free(text);
    if (r == 0)
        r = exchange(fd, line.p, &answer);
    if (r < 0)
        return err_set(err, r, "the froe that runs on %s does not answer: %s", store_path, err_errno_text(r));
    json_t *json = json_loadb(answer.p ? answer.p : "", answer.n, 0, NULL);
    if (!json)
        return err_set(err, -EBADMSG, "the froe that runs on %s ended without an answer", store_path);
    *ret_answer = json;
    return 0;
}
