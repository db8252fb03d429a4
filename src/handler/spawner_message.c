/* spawner_message.c - see spawner_message.h. */
#include "spawner_message.h"

#include <sys/socket.h>

/* ---- encoding ---- */

static int add_strings(struct buf *message, const char *const *strings, uint32_t *ret_n) {
    uint32_t n = 0;
    for (; strings[n]; n++) {
        int r = buf_add(message, strings[n], strlen(strings[n]) + 1);
        if (r < 0)
            return r;
    }
    *ret_n = n;
    return 0;
}

void spawner_message_fds(const struct spawn_request *request, int ret_fds[WIRE_FDS_MAX]) {
    ret_fds[WIRE_STDIN] = request->stdin_fd;
    ret_fds[WIRE_STDOUT] = request->stdout_fd;
    ret_fds[WIRE_STDERR] = request->stderr_fd;
    ret_fds[WIRE_GUARD] = request->guard_fd;
    ret_fds[WIRE_CHANNEL] = request->channel_fd > 0 ? request->channel_fd : -1;
    ret_fds[WIRE_RULESET] = request->confined ? request->confined->ruleset_fd : -1;
}

/* Is all that the kernel is to be told of this policy, but for limits, in force already? */
static bool is_inherited(const struct confined *confined, bool basic) {
    return basic && confined->level == CONFINE_BASIC;
}

static int add_filter(struct buf *message, const struct confined *confined, struct wire_start *head) {
    head->no_new_privs = confined->no_new_privs;
    head->n_filter = confined->n_filter;
    return buf_add(message, confined->filter, confined->n_filter * sizeof confined->filter[0]);
}

static int add_confined(struct buf *message, const struct confined *confined, bool basic, struct wire_start *head) {
    if (!confined) {
        for (int i = 0; i < CONFINED_LIMITS; i++)
            head->limits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
        return 0;
    }
    head->nice = confined->nice;
    head->no_capabilities = confined->no_capabilities;
    memcpy(head->limits, confined->limits, sizeof head->limits);
    return is_inherited(confined, basic) ? 0 : add_filter(message, confined, head);
}

int spawner_message_start(struct buf *message, uint32_t id, const struct spawn_request *request, bool basic,
                          const int fds[WIRE_FDS_MAX]) {
    struct wire_start head = {.kind = WIRE_START, .id = id};
    for (unsigned place = 0; place < WIRE_FDS_MAX; place++)
        head.fds |= fds[place] >= 0 ? 1u << place : 0;
    buf_reset(message);
    message->max = WIRE_START_MAX;
    int r = buf_add(message, &head, sizeof head);
    if (r == 0)
        r = add_confined(message, request->confined, basic, &head);
    message->max = message->n + SPAWNER_STRINGS_MAX;
    if (r == 0)
        r = buf_add(message, request->file, strlen(request->file) + 1);
    if (r == 0)
        r = add_strings(message, request->argv, &head.n_argv);
    if (r == 0)
        r = add_strings(message, request->envp, &head.n_envp);
    if (r == 0)
        memcpy(message->p, &head, sizeof head);
    return r;
}

int spawner_message_begin(struct buf *message, const struct confined *basic) {
    struct wire_start head = {.kind = WIRE_BEGIN};
    buf_reset(message);
    int r = buf_add(message, &head, sizeof head);
    if (r == 0 && basic)
        r = add_filter(message, basic, &head);
    if (r == 0)
        memcpy(message->p, &head, sizeof head);
    return r;
}

/* ---- sending ---- */

int spawner_message_send(int fd, const void *data, size_t n, const int fds[WIRE_FDS_MAX]) {
    int there[WIRE_FDS_MAX];
    size_t n_fds = 0;
    for (size_t i = 0; fds && i < WIRE_FDS_MAX; i++)
        if (fds[i] >= 0)
            there[n_fds++] = fds[i];
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec piece = {.iov_len = n};
    memcpy(&piece.iov_base, &data, sizeof data); /* only read from, but the type cannot say so */
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (n_fds) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(rights), there, n_fds * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}
