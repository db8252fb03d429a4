/* later.h - runs something soon, from the loop: what keeps callbacks out of the calls that caused them.
 *
 * Items run right after the loop's next look for events, which does not wait while there are any. */
#pragma once

#include "list.h"

#include <uv.h>

struct later {
    uv_check_t check; /* runs them */
    uv_idle_t idle;   /* its being active is what keeps the loop from waiting */
    struct list items;
    unsigned open;
    void (*closed)(void *arg);
    void *arg;
};

/* Embedded by its holder; all-zero is not valid: later_item_init. */
struct later_item {
    struct list link;
    void (*run)(struct later_item *item); /* from the loop; the item is free to be added again, or to go away */
};

void later_init(struct later *later, uv_loop_t *loop);
/* Nothing may be waiting. Calls `closed` from the loop; `later` may be freed in it. */
void later_close(struct later *later, void (*closed)(void *arg), void *arg);

void later_item_init(struct later_item *item, void (*run)(struct later_item *item));
void later_add(struct later *later, struct later_item *item); /* no effect when it waits already */
void later_cancel(struct later_item *item);                   /* no effect when it does not wait */
