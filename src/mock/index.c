/* index.c - the B+ tree. Leaves are chained; an inner node's separators are own copies, cut to what tells two leaves
 * apart.
 *
 * A node is freed when it is empty and never merged before: a drain empties leaves in order, so merging would be work
 * for nothing, and a sparse leaf costs memory only. */
#include "index.h"

#include "mem.h"

#include <errno.h>

#define FANOUT 64
#define DEPTH_MAX 24

struct index_node {
    uint32_t n; /* entries of a leaf, children of an inner node */
    bool leaf;
    struct index_node *previous, *next; /* of leaves */
    union {
        struct index_entry *entries[FANOUT];
        struct {
            struct index_node *children[FANOUT];
            struct bytes separators[FANOUT - 1]; /* child i + 1 holds keys >= separators[i] */
        };
    };
};

struct path {
    struct index_node *nodes[DEPTH_MAX];
    uint32_t at[DEPTH_MAX];
    uint32_t n;
};

static struct index_node *node_new(bool leaf) {
    size_t size =
        leaf ? offsetof(struct index_node, entries) + sizeof(struct index_entry *) * FANOUT : sizeof(struct index_node);
    struct index_node *node = mem_alloc(size);
    if (!node)
        return NULL;
    node->n = 0;
    node->leaf = leaf;
    node->previous = node->next = NULL;
    return node;
}

static int compare(struct bytes a, struct bytes b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static uint32_t child_of(const struct index_node *node, struct bytes key) {
    uint32_t low = 0, high = node->n - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (compare(key, node->separators[middle]) < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The first entry that is >= key. */
static uint32_t entry_of(const struct index_node *leaf, struct bytes key, bool *ret_equal) {
    uint32_t low = 0, high = leaf->n;
    *ret_equal = false;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = compare(index_key(leaf->entries[middle]), key);
        if (order == 0) {
            *ret_equal = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void descend(const struct index *index, struct bytes key, struct path *path) {
    struct index_node *node = index->root;
    path->n = 0;
    while (!node->leaf) {
        uint32_t at = child_of(node, key);
        path->nodes[path->n] = node;
        path->at[path->n++] = at;
        node = node->children[at];
    }
    path->nodes[path->n++] = node;
}

static struct index_node *leaf_of(const struct index *index, struct bytes key) {
    struct index_node *node = index->root;
    while (!node->leaf)
        node = node->children[child_of(node, key)];
    return node;
}

/* The shortest text that is > left and <= right. */
static bool separator_new(struct bytes left, struct bytes right, struct bytes *ret_separator) {
    size_t n = 0;
    while (n < left.n && left.p[n] == right.p[n])
        n++;
    char *copy = mem_memdup(right.p, n + 1);
    *ret_separator = (struct bytes){copy, n + 1};
    return copy != NULL;
}

static void separator_free(struct bytes separator) {
    mem_free((void *)(uintptr_t)separator.p);
}

static void put_child(struct index_node *node, uint32_t at, struct bytes separator, struct index_node *child) {
    memmove(&node->children[at + 1], &node->children[at], sizeof(node->children[0]) * (node->n - at));
    memmove(&node->separators[at], &node->separators[at - 1], sizeof(node->separators[0]) * (node->n - at));
    node->children[at] = child;
    node->separators[at - 1] = separator;
    node->n++;
}

/* Splits the full inner node in two and gives the separator between them. */
static struct bytes split_inner(struct index_node *node, struct index_node *right) {
    uint32_t keep = FANOUT / 2;
    right->n = FANOUT - keep;
    memcpy(right->children, &node->children[keep], sizeof(node->children[0]) * right->n);
    memcpy(right->separators, &node->separators[keep], sizeof(node->separators[0]) * (right->n - 1));
    node->n = keep;
    return node->separators[keep - 1];
}

/* Hands `child`, new to the right of the path's nodes below `depth`, to its parent, splitting upwards. `spare` holds as
 * many nodes as that takes. */
static void promote(struct index *index, struct path *path, struct bytes separator, struct index_node *child,
                    struct index_node **spare) {
    for (uint32_t depth = path->n - 1; depth-- > 0;) {
        struct index_node *node = path->nodes[depth];
        uint32_t at = path->at[depth] + 1;
        if (node->n < FANOUT) {
            put_child(node, at, separator, child);
            return;
        }
        struct index_node *right = *spare++;
        struct bytes up = split_inner(node, right);
        if (at <= node->n)
            put_child(node, at, separator, child);
        else
            put_child(right, at - node->n, separator, child);
        separator = up;
        child = right;
    }
    struct index_node *root = *spare;
    root->children[0] = index->root;
    root->children[1] = child;
    root->separators[0] = separator;
    root->n = 2;
    index->root = root;
}

static int split_leaf(struct index *index, struct path *path, uint32_t at, struct index_entry *entry) {
    struct index_node *leaf = path->nodes[path->n - 1];
    struct index_node *spare[DEPTH_MAX + 1];
    uint32_t wanted = 0, have = 0;
    for (uint32_t depth = path->n - 1;; depth--) {
        if (depth == 0) {
            wanted++; /* a new root */
            break;
        }
        if (path->nodes[depth - 1]->n < FANOUT)
            break;
        wanted++;
    }
    if (path->n + 1 >= DEPTH_MAX)
        return -ENOMEM;
    struct index_node *right = node_new(true);
    while (right && have < wanted && (spare[have] = node_new(false)))
        have++;
    /* Keys that come in order fill leaves to the brim. */
    bool appending = at == FANOUT && !leaf->next;
    uint32_t keep = appending ? FANOUT : FANOUT / 2;
    struct bytes first = appending ? index_key(entry) : index_key(leaf->entries[keep]);
    struct bytes last = index_key(leaf->entries[keep - 1]);
    if (!appending && at == keep) { /* the new entry becomes the last of the left leaf */
        last = index_key(entry);
    }
    struct bytes separator = BYTES_NONE;
    if (!right || have < wanted || !separator_new(last, first, &separator)) {
        mem_free(right);
        while (have)
            mem_free(spare[--have]);
        return -ENOMEM;
    }
    right->n = leaf->n - keep;
    memcpy(right->entries, &leaf->entries[keep], sizeof(leaf->entries[0]) * right->n);
    leaf->n = keep;
    struct index_node *target = leaf;
    if (appending || at > keep) {
        target = right;
        at -= keep;
    }
    memmove(&target->entries[at + 1], &target->entries[at], sizeof(target->entries[0]) * (target->n - at));
    target->entries[at] = entry;
    target->n++;
    right->next = leaf->next;
    right->previous = leaf;
    if (leaf->next)
        leaf->next->previous = right;
    leaf->next = right;
    promote(index, path, separator, right, spare);
    return 0;
}

int index_insert(struct index *index, struct index_entry *entry) {
    struct bytes key = index_key(entry);
    if (!index->root && !(index->root = node_new(true)))
        return -ENOMEM;
    struct path path;
    descend(index, key, &path);
    struct index_node *leaf = path.nodes[path.n - 1];
    bool equal;
    uint32_t at = entry_of(leaf, key, &equal);
    if (equal)
        return -EEXIST;
    if (leaf->n == FANOUT) {
        int r = split_leaf(index, &path, at, entry);
        if (r < 0)
            return r;
    } else {
        memmove(&leaf->entries[at + 1], &leaf->entries[at], sizeof(leaf->entries[0]) * (leaf->n - at));
        leaf->entries[at] = entry;
        leaf->n++;
    }
    index->count++;
    return 0;
}

struct index_entry *index_find(const struct index *index, struct bytes key) {
    if (!index->root)
        return NULL;
    const struct index_node *leaf = leaf_of(index, key);
    bool equal;
    uint32_t at = entry_of(leaf, key, &equal);
    return equal ? leaf->entries[at] : NULL;
}

static void drop_child(struct index_node *node, uint32_t at) {
    if (node->n > 1) {
        uint32_t separator = at ? at - 1 : 0;
        separator_free(node->separators[separator]);
        memmove(&node->separators[separator], &node->separators[separator + 1],
                sizeof(node->separators[0]) * (node->n - 2 - separator));
    }
    memmove(&node->children[at], &node->children[at + 1], sizeof(node->children[0]) * (node->n - at - 1));
    node->n--;
}

static void drop_empty_leaf(struct index *index, struct path *path) {
    struct index_node *node = path->nodes[path->n - 1];
    if (node->previous)
        node->previous->next = node->next;
    if (node->next)
        node->next->previous = node->previous;
    uint32_t depth = path->n - 1;
    for (;;) {
        mem_free(node);
        if (depth == 0) {
            index->root = NULL;
            return;
        }
        node = path->nodes[--depth];
        drop_child(node, path->at[depth]);
        if (node->n)
            break;
    }
    while (!index->root->leaf && index->root->n == 1) {
        struct index_node *root = index->root;
        index->root = root->children[0];
        mem_free(root);
    }
}

struct index_entry *index_remove(struct index *index, struct bytes key) {
    if (!index->root)
        return NULL;
    struct path path;
    descend(index, key, &path);
    struct index_node *leaf = path.nodes[path.n - 1];
    bool equal;
    uint32_t at = entry_of(leaf, key, &equal);
    if (!equal)
        return NULL;
    struct index_entry *entry = leaf->entries[at];
    memmove(&leaf->entries[at], &leaf->entries[at + 1], sizeof(leaf->entries[0]) * (leaf->n - at - 1));
    leaf->n--;
    index->count--;
    if (leaf->n == 0)
        drop_empty_leaf(index, &path);
    return entry;
}

void index_seek(const struct index *index, struct bytes key, bool after, struct index_cursor *ret_cursor) {
    *ret_cursor = (struct index_cursor){NULL, 0};
    if (!index->root)
        return;
    const struct index_node *leaf = leaf_of(index, key);
    bool equal;
    uint32_t at = entry_of(leaf, key, &equal);
    *ret_cursor = (struct index_cursor){leaf, at + (after && equal ? 1 : 0)};
}

struct index_entry *index_next(struct index_cursor *cursor) {
    while (cursor->leaf && cursor->at >= cursor->leaf->n)
        *cursor = (struct index_cursor){cursor->leaf->next, 0};
    return cursor->leaf ? cursor->leaf->entries[cursor->at++] : NULL;
}

/* Depth is bounded by DEPTH_MAX, so this recursion is too. */
static void node_free(struct index_node *node, void (*free_entry)(void *arg, struct index_entry *entry), void *arg) {
    for (uint32_t i = 0; i < node->n; i++) {
        if (!node->leaf) {
            node_free(node->children[i], free_entry, arg);
            if (i + 1 < node->n)
                separator_free(node->separators[i]);
        } else if (free_entry) {
            free_entry(arg, node->entries[i]);
        }
    }
    mem_free(node);
}

void index_clear(struct index *index, void (*free_entry)(void *arg, struct index_entry *entry), void *arg) {
    if (index->root)
        node_free(index->root, free_entry, arg);
    *index = (struct index){0};
}
