/* shared_buffers.c - in few sizes, so that what is about as large as others finds one to use again.
 *
 * Their memory is there from the beginning: where a mapping has none when it is written to, the process dies. */
#include "shared_buffers.h"

#include "cleanup.h"

#include <fcntl.h>
#include <sys/mman.h>

#define SMALLEST ((size_t)64 * 1024)
#define SIZES 4        /* between one power of two and the next */
#define SPARE_SHARE 16 /* of the budget one in so many bytes at most lies idle; in use are mostly all */

void shared_buffers_init(struct shared_buffers *buffers, struct budget *budget) {
    *buffers = (struct shared_buffers){.budget = budget};
    list_init(&buffers->spare);
}

static void destroy(struct shared_buffers *buffers, struct shared_buffer *buffer) {
    munmap(buffer->data, buffer->capacity);
    close(buffer->fd);
    budget_give(buffers->budget, buffer->capacity);
    mem_free(buffer);
}

static void take_out(struct shared_buffers *buffers, struct shared_buffer *buffer) {
    list_remove(&buffer->link);
    buffers->spare_bytes -= buffer->capacity;
}

/* False: there is none. */
static bool destroy_oldest(struct shared_buffers *buffers) {
    if (list_empty(&buffers->spare))
        return false;
    struct shared_buffer *oldest = LIST_ENTRY(buffers->spare.prev, struct shared_buffer, link);
    take_out(buffers, oldest);
    destroy(buffers, oldest);
    return true;
}

/* Of so many bytes, which the budget has counted. NULL: not possible. */
static struct shared_buffer *create(size_t capacity) {
    _cleanup_free_ struct shared_buffer *buffer = mem_zalloc(sizeof *buffer);
    _cleanup_close_ int fd = memfd_create("froe-spool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (!buffer || fd < 0 || fallocate(fd, 0, 0, (off_t)capacity) < 0)
        return NULL;
    void *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return NULL;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        munmap(data, capacity);
        return NULL;
    }
    list_init(&buffer->link);
    buffer->fd = TAKE_FD(fd);
    buffer->data = data;
    buffer->capacity = capacity;
    return TAKE_PTR(buffer);
}

static size_t capacity_for(size_t n) {
    size_t power = SMALLEST;
    while (power < n)
        power *= 2;
    size_t step = power / (2 * SIZES);
    return power == SMALLEST ? power : (n + step - 1) / step * step;
}

struct shared_buffer *shared_buffers_take(struct shared_buffers *buffers, uint64_t n) {
    if (n == 0 || n > SPOOL_RESERVED_MAX)
        return NULL;
    size_t capacity = capacity_for((size_t)n);
    LIST_EACH_SAFE (link, following, &buffers->spare) {
        struct shared_buffer *spare = LIST_ENTRY(link, struct shared_buffer, link);
        if (spare->capacity >= n && spare->capacity <= capacity + capacity / 2) {
            take_out(buffers, spare);
            return spare;
        }
    }
    while (!budget_take(buffers->budget, capacity))
        if (!destroy_oldest(buffers))
            return NULL;
    struct shared_buffer *buffer = create(capacity);
    if (!buffer)
        budget_give(buffers->budget, capacity);
    return buffer;
}

void shared_buffers_give(struct shared_buffers *buffers, struct shared_buffer *buffer) {
    if (!buffer)
        return;
    list_push_front(&buffers->spare, &buffer->link);
    buffers->spare_bytes += buffer->capacity;
    while (buffers->spare_bytes > buffers->budget->max_bytes / SPARE_SHARE)
        destroy_oldest(buffers);
}

void shared_buffers_free(struct shared_buffers *buffers) {
    while (destroy_oldest(buffers))
        ;
}
