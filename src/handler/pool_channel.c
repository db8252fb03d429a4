/* pool_channel.c - see pool_channel.h. */
#include "pool_channel.h"

#include "cleanup.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int pool_channel_open(int *ret_ours, int *ret_theirs) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    *ret_ours = fds[0];
    *ret_theirs = fds[1];
    return 0;
}

static int send_error(int error) {
    switch (error) {
    case ECONNRESET: /* it was closed with something unread */
        return -EPIPE;
    case ETOOMANYREFS: /* more of this user's descriptors are on their way than it may have open */
        return -EMFILE;
    case ENOBUFS:
        return -ENOMEM;
    default:
        return -error;
    }
}

int pool_channel_send(int channel_fd, int fd) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 0;
    struct iovec piece = {&byte, sizeof byte};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    ssize_t n;
    do
        n = sendmsg(channel_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? send_error(errno) : 0;
}

/* SIOCOUTQ counts what the other end has not taken off the queue yet: in units of its own, but 0 is nothing. */
bool pool_channel_is_empty(int channel_fd) {
    int n = 0;
    return ioctl(channel_fd, SIOCOUTQ, &n) == 0 && n == 0;
}
