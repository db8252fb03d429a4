/* fd.c - see fd.h. */
#include "fd.h"

#include <errno.h>
#include <unistd.h>

int fd_write(int fd, struct bytes data) {
    while (data.n > 0) {
        ssize_t n = write(fd, data.p, data.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data = bytes_of(data.p + n, data.n - (size_t)n);
    }
    return 0;
}
