/* events.c - events wait here until the pump tells them. */
#include "engine.h"

#include "mem.h"

#include <stdarg.h>
#include <stdio.h>

struct event_node {
    struct list link;
    froe_event event;
    char run_id[FROE_RUN_ID_MAX];
    char texts[]; /* the text and the group, each with its NUL, then the child key */
};

static void tell_now(froe *engine, froe_event event) {
    event.level = FROE_ERROR;
    event.workflow = event.group = event.run_id = "";
    if (engine->event)
        engine->event(engine->event_arg, &event);
}

struct event_node *event_make(const froe_event *event, struct bytes text) {
    struct bytes group = bytes_str(event->group ? event->group : "");
    struct event_node *node = mem_alloc(sizeof *node + text.n + 1 + group.n + 1 + event->child_key_n);
    if (!node)
        return NULL;
    char *group_text = node->texts + text.n + 1, *child_key = group_text + group.n + 1;
    node->event = *event;
    if (text.n)
        memcpy(node->texts, text.p, text.n);
    node->texts[text.n] = '\0';
    node->event.text = node->texts;
    memcpy(group_text, group.p, group.n + 1);
    node->event.group = group_text;
    if (event->child_key_n) {
        memcpy(child_key, event->child_key, event->child_key_n);
        node->event.child_key = child_key;
    }
    snprintf(node->run_id, sizeof node->run_id, "%s", event->run_id ? event->run_id : "");
    node->event.run_id = node->run_id;
    if (!node->event.workflow)
        node->event.workflow = "";
    list_init(&node->link);
    return node;
}

void event_free(struct event_node *node) {
    mem_free(node);
}

void event_tell_later(froe *engine, struct event_node *node) {
    if (!node)
        return;
    if (!engine->event) {
        event_free(node);
        return;
    }
    list_push_back(&engine->events, &node->link);
    engine->dirty = true;
}

/* They must be told also when there is no memory. */
static void tell_bad_news(froe *engine) {
    if (engine->tell_lost) {
        froe_event event = {.kind = FROE_EVENT_LEASE_LOST, .text = engine->tell_lost};
        engine->tell_lost = NULL;
        tell_now(engine, event);
    }
    if (engine->tell_failure) {
        froe_event event = {.kind = FROE_EVENT_STORE_FAILED, .text = engine->failure.text};
        event.code = engine_public_code(engine->failure.code);
        engine->tell_failure = false;
        tell_now(engine, event);
    }
}

void events_tell(froe *engine) {
    tell_bad_news(engine);
    /* Those that telling causes wait for the next turn. */
    struct list now;
    list_init(&now);
    list_splice_back(&now, &engine->events);
    struct list *link;
    while ((link = list_pop_front(&now))) {
        struct event_node *node = LIST_ENTRY(link, struct event_node, link);
        engine->event(engine->event_arg, &node->event);
        event_free(node);
    }
}

void events_free(froe *engine) {
    struct list *link;
    while ((link = list_pop_front(&engine->events)))
        event_free(LIST_ENTRY(link, struct event_node, link));
}

void event_refused(froe *engine, const struct workflow *workflow, const struct group *group, uint64_t count) {
    froe_event event = {
        .kind = FROE_EVENT_REFUSED,
        .level = FROE_DEBUG,
        .workflow = workflow ? workflow->name : NULL,
        .group = group ? group->key : NULL,
        .count = count,
    };
    event_tell_later(engine, event_make(&event, BYTES("cancelled: runs before it have all places of a rule")));
}

void event_log(froe *engine, froe_level level, const struct workflow *workflow, const char *format, ...) {
    char text[LOG_TEXT_MAX + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    froe_event event = {.kind = FROE_EVENT_LOG, .level = level, .workflow = workflow ? workflow->name : NULL};
    event_tell_later(engine, event_make(&event, bytes_str(text)));
}
