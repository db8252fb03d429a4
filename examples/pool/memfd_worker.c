/* A worker that gets descriptors. Build it: cc -O2 -o worker memfd_worker.c
 * Then: froe run --pool --pool-body memfd ... -- ./worker */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static int process(const char *line, const char *body, size_t n) {
    return body && fprintf(stderr, "%zu bytes: %s", n, line) > 0; /* your code; 0 when it failed */
}

static int receive_body(void) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fd = -1;
    if (recvmsg(3, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

int main(void) {
    char *line = NULL;
    size_t line_size = 0, id, n;
    while (getline(&line, &line_size, stdin) > 0) {
        int fd = receive_body();
        if (sscanf(line, "{\"id\":%zu,\"body_bytes\":0,\"size\":%zu,", &id, &n) != 2 || fd < 0)
            return 1;
        void *body = n ? mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0) : NULL; /* nothing cannot be mapped */
        close(fd);
        if (process(line, n == 0 ? "" : body != MAP_FAILED ? body : NULL, n))
            printf("{\"id\":%zu,\"status\":\"ok\"}\n", id);
        else
            printf("{\"id\":%zu,\"status\":\"fail\",\"reason\":\"see above\"}\n", id);
        fflush(stdout);
        if (n && body != MAP_FAILED)
            munmap(body, n);
    }
    return 0;
}
