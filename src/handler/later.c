/* later.c - a queue that a check handle empties. */
#include "later.h"

/* Items that are added meanwhile wait for the turn after this one, so that the loop is never starved. */
static void turn(uv_check_t *check) {
    struct later *later = check->data;
    struct list now;
    list_init(&now);
    list_splice_back(&now, &later->items);
    for (struct list *link; (link = list_pop_front(&now));) {
        struct later_item *item = LIST_ENTRY(link, struct later_item, link);
        item->run(item);
    }
    if (list_empty(&later->items)) {
        uv_check_stop(&later->check);
        uv_idle_stop(&later->idle);
    }
}

static void nothing(uv_idle_t *idle) {
}

void later_init(struct later *later, uv_loop_t *loop) {
    *later = (struct later){.open = 2};
    uv_check_init(loop, &later->check); /* these two cannot fail */
    uv_idle_init(loop, &later->idle);
    later->check.data = later->idle.data = later;
    list_init(&later->items);
}

static void on_closed(uv_handle_t *handle) {
    struct later *later = handle->data;
    if (--later->open == 0)
        later->closed(later->arg);
}

void later_close(struct later *later, void (*closed)(void *arg), void *arg) {
    later->closed = closed;
    later->arg = arg;
    uv_close((uv_handle_t *)&later->check, on_closed);
    uv_close((uv_handle_t *)&later->idle, on_closed);
}

void later_item_init(struct later_item *item, void (*run)(struct later_item *item)) {
    list_init(&item->link);
    item->run = run;
}

void later_add(struct later *later, struct later_item *item) {
    if (!list_empty(&item->link))
        return;
    list_push_back(&later->items, &item->link);
    uv_check_start(&later->check, turn); /* no effect when they are started */
    uv_idle_start(&later->idle, nothing);
}

void later_cancel(struct later_item *item) {
    list_remove(&item->link);
}
