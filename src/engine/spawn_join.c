/* spawn_join.c - small spawns of one kind that are executed one right after the other share a page.
 *
 * Where many clients each spawn a run, what the store does would else be for each run what it can as well do for a page
 * of them. Joined are spawns that give their runs the same workflow, keys, metadata, parent, priority and times, so
 * that no run can tell; each hears of its own runs alone. */
#include "spawn.h"

#include "mem.h"

#define JOINT_BYTES_MAX (1024 * 1024) /* of items; larger ones gain nothing by it */

struct spawn_joint {
    struct spawn_request *last; /* of those that are joined: from the owner on by request.next */
    struct store_item *items;
    struct store_place *placed;
    struct store_page page;
    struct store_spawned spawned;
};

void spawn_joint_free(struct spawn_joint *joint) {
    if (!joint)
        return;
    mem_free(joint->items);
    mem_free(joint->placed);
    mem_free(joint);
}

static struct spawn_joint *joint_new(size_t n) {
    struct spawn_joint *joint = mem_zalloc(sizeof *joint);
    if (!joint)
        return NULL;
    joint->items = mem_calloc(n, sizeof *joint->items);
    joint->placed = mem_calloc(n, sizeof *joint->placed);
    if (!joint->items || !joint->placed) {
        spawn_joint_free(joint);
        return NULL;
    }
    return joint;
}

static bool same_keys(const struct spawn_request *a, const struct spawn_request *b) {
    for (size_t i = 0; i < a->workflow->n_rules; i++)
        if (!bytes_equal(a->sets->keys[i], b->sets->keys[i]))
            return false;
    return true;
}

static bool may_join(const struct spawn_request *spawn) {
    return spawn->workflow->shares_pages && spawn->tick_utc_us == 0 && spawn->n_pages == 1 &&
           spawn->sets->failed.n == 0;
}

static bool of_one_kind(const struct spawn_request *a, const struct spawn_request *b) {
    return b->workflow == a->workflow && b->priority == a->priority && b->parent_page == a->parent_page &&
           b->parent_index == a->parent_index && b->not_before_utc_us == a->not_before_utc_us &&
           b->start_by_utc_us == a->start_by_utc_us && bytes_equal(b->metadata, a->metadata) && same_keys(a, b);
}

static size_t bytes_of_items(const struct spawn_request *spawn) {
    size_t n = 0;
    for (size_t i = 0; i < spawn->n_items; i++) {
        const struct store_item *item = &spawn->items[i];
        n += item->child_key.n + item->generation.n + (item->input.n ? item->input.n : spawn->input.n);
    }
    return n;
}

static struct spawn_request *next_spawn(const struct spawn_request *spawn) {
    struct request *next = spawn->request.next;
    return next && next->execute == spawn->request.execute ? (struct spawn_request *)(void *)next : NULL;
}

/* The last one that can share a page with this one; itself when none can. */
static struct spawn_request *find_last(struct spawn_request *spawn, size_t *ret_items) {
    struct spawn_request *last = spawn;
    size_t n_items = spawn->n_items, n_bytes = 0;
    *ret_items = n_items;
    for (struct spawn_request *next = next_spawn(spawn); next; next = next_spawn(next)) {
        if (!may_join(next) || !of_one_kind(spawn, next))
            break;
        n_items += next->n_items;
        n_bytes += bytes_of_items(next) + (last == spawn ? bytes_of_items(spawn) : 0);
        if (n_items > STORE_PAGE_MAX || n_bytes > JOINT_BYTES_MAX)
            break;
        last = next;
        *ret_items = n_items;
    }
    return last;
}

static void add_items(struct spawn_joint *joint, const struct spawn_request *spawn) {
    for (size_t i = 0; i < spawn->n_items; i++) {
        struct store_item *item = &joint->items[joint->page.n++];
        *item = spawn->items[i];
        if (item->input.n == 0 && !bytes_equal(spawn->input, joint->page.input))
            item->input = spawn->input;
    }
}

static void mark(struct spawn_request *spawn, const struct spawn_request *last, bool joined) {
    while (spawn != last) {
        spawn = next_spawn(spawn);
        spawn->joined = joined;
    }
}

int spawn_join(struct spawn_request *spawn, struct store *store, bool *ret_joined, struct err *err) {
    *ret_joined = false;
    size_t n;
    struct spawn_request *last = may_join(spawn) ? find_last(spawn, &n) : spawn;
    mark(spawn, last, false); /* of a transaction that was lost */
    if (last == spawn)
        return 0;
    struct spawn_joint *joint = spawn->joint = joint_new(n);
    if (!joint)
        return err_set(err, -ENOMEM, "out of memory");
    joint->last = last;
    joint->page = (struct store_page){
        .workflow = spawn->workflow->store_id,
        .keys = spawn->sets->keys,
        .n_keys = spawn->workflow->n_rules,
        .input = spawn->input,
        .metadata = spawn->metadata,
        .parent_page = spawn->parent_page,
        .parent_index = spawn->parent_index,
        .not_before_utc_us = spawn->not_before_utc_us,
        .items = joint->items,
        .priority = spawn->priority,
        .start_by_utc_us = spawn->start_by_utc_us,
        .ret_runs = joint->placed,
    };
    for (const struct spawn_request *each = spawn; each; each = each == last ? NULL : next_spawn(each))
        add_items(joint, each);
    struct err why = {0};
    int r = store_spawn(store, &joint->page, &joint->spawned, &why);
    if (r == -EINVAL) { /* each is refused by itself then, or is not */
        spawn_joint_free(joint);
        spawn->joint = NULL;
        return 0;
    }
    if (r < 0)
        return err_set(err, r, "%s", why.text);
    mark(spawn, last, true);
    *ret_joined = true;
    return 0;
}

/* Its part of what the store says of all. */
static size_t tell(struct spawn_joint *joint, size_t at, struct spawn_request *spawn) {
    struct store_spawned part = {0};
    for (size_t i = 0; i < spawn->n_items; i++) {
        const struct store_place *placed = &joint->placed[at + i];
        part.created += placed->created;
        part.superseded += placed->superseded;
        part.duplicates += placed->page && !placed->created;
        if (placed->created)
            part.page = placed->page;
        if (spawn->placed)
            spawn->placed[i] = *placed;
    }
    spawn->pages[0].spawned = part;
    joint->spawned.duplicates -= part.duplicates;
    return at + spawn->n_items;
}

void spawn_joint_tell(struct spawn_request *spawn) {
    struct spawn_joint *joint = spawn->joint;
    size_t at = 0;
    for (struct spawn_request *each = spawn; each; each = each == joint->last ? NULL : next_spawn(each))
        at = tell(joint, at, each);
    /* None where the rules are as this process knows them; another one may have given the workflow others. */
    struct store_spawned *first = &spawn->pages[0].spawned;
    first->duplicates += joint->spawned.duplicates;
    first->cancelled = joint->spawned.cancelled;
    first->driven_out = joint->spawned.driven_out;
    first->cancels = joint->spawned.cancels;
}
