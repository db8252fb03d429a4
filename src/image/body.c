/* body.c - see body.h. */
#include "body.h"

#include "cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int copy(int fd, struct image_body *body) {
    struct buf *read_in = &body->read;
    int r = buf_reserve(read_in, (size_t)body->size + 1);
    while (r == 0 && read_in->n < body->size) {
        ssize_t n = read(fd, read_in->p + read_in->n, (size_t)body->size - read_in->n);
        if (n < 0 && errno != EINTR)
            r = -errno;
        if (n == 0)
            break;
        read_in->n += n > 0 ? (size_t)n : 0;
    }
    if (r < 0)
        buf_free(read_in);
    else
        body->bytes = buf_bytes(read_in);
    return r;
}

/* Of any other file the end may go away beneath a mapping, and with it the process. With F_SEAL_FUTURE_WRITE froe alone
 * can write, and does so when it has its answer. */
static bool is_sealed(int fd) {
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
}

static int map(int fd, struct image_body *body) {
    void *mapping = mmap(NULL, (size_t)body->size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (mapping == MAP_FAILED)
        return -errno;
    body->mapping = mapping;
    body->bytes = bytes_of(mapping, (size_t)body->size);
    return 0;
}

static int size_of(int fd, uint64_t *ret_size) {
    struct stat about;
    if (fstat(fd, &about) < 0)
        return -errno;
    *ret_size = (uint64_t)about.st_size;
    return 0;
}

static int take(int fd, uint64_t size, uint64_t max_bytes, struct image_body *ret_body) {
    struct image_body body = {.size = size};
    int r = 0;
    if (body.size > 0 && body.size <= max_bytes)
        r = is_sealed(fd) ? map(fd, &body) : copy(fd, &body);
    if (r == 0)
        *ret_body = body;
    return r;
}

int image_body_read(const char *path, uint64_t max_bytes, struct image_body *ret_body) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t size = 0;
    int r = fd < 0 ? -errno : size_of(fd, &size);
    return r < 0 ? r : take(fd, size, max_bytes, ret_body);
}

int image_body_receive(int channel_fd, uint64_t size, uint64_t max_bytes, struct image_body *ret_body) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    do
        n = recvmsg(channel_fd, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    const struct cmsghdr *rights = n == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!rights || rights->cmsg_type != SCM_RIGHTS || rights->cmsg_len != CMSG_LEN(sizeof(int)))
        return -EPROTO;
    _cleanup_close_ int fd = -1;
    memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    uint64_t file_size = 0;
    int r = size_of(fd, &file_size);
    if (r == 0 && file_size < size)
        r = -EPROTO;
    return r < 0 ? r : take(fd, size, max_bytes, ret_body);
}

void image_body_free(struct image_body *body) {
    if (body->mapping)
        munmap(body->mapping, (size_t)body->size);
    buf_free(&body->read);
    *body = (struct image_body){0};
}
