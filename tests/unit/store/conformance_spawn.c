/* conformance_spawn.c - spawns random pages and compares what the store did of them with what the model does. */
#include "conformance_model.h"

#include "mem.h"

#include <stdio.h>

#define ITEMS 30

struct spawning {
    struct pending pending; /* first */
    struct store_spawned spawned, expected;
    int workflow, group, other;
    size_t n;
    int key[ITEMS], generation[ITEMS];
    char keys[ITEMS][16], generations[ITEMS][16], rule_keys[2][16];
    struct bytes both[2];
    struct store_item items[ITEMS];
    struct store_page page;
    struct store_place runs[ITEMS], older[ITEMS]; /* older: live ones that items are duplicates of; page 0: none */
    bool superseding[ITEMS];
    size_t chosen[ITEMS]; /* items that are created */
    uint32_t n_chosen;
};

static struct run *live_key(struct model *model, int workflow, int key) {
    for (int i = 0; i < RUNS; i++)
        if (model->runs[i].state != FREE && model->runs[i].key == key &&
            model->lanes[model->runs[i].lane].workflow == workflow)
            return &model->runs[i];
    return NULL;
}

static struct run *free_run(struct model *model) {
    for (int i = 0; i < RUNS; i++)
        if (model->runs[i].state == FREE)
            return &model->runs[i];
    fail_msg("the model is too small");
    return NULL;
}

/* ---- lanes ---- */

static int64_t newest_lane;
static int see_lane(void *arg, const struct store_lane_info *info) {
    (void)arg;
    newest_lane = info->lane > newest_lane ? info->lane : newest_lane;
    return 0;
}

static int lane_of(struct play *play, const struct spawning *spawning) {
    struct model *model = &play->now;
    int n_keys = (int)spawning->page.n_keys;
    for (int i = 0; i < model->n_lanes; i++) {
        const struct lane *lane = &model->lanes[i];
        if (lane->workflow == spawning->workflow && lane->n_keys == n_keys &&
            (n_keys < 1 || lane->group == spawning->group) && (n_keys < 2 || lane->other == spawning->other))
            return i;
    }
    assert_true(model->n_lanes < LANES);
    model->lanes[model->n_lanes] = (struct lane){
        .workflow = spawning->workflow, .group = spawning->group, .other = spawning->other, .n_keys = n_keys};
    return model->n_lanes++;
}

/* The lane is there from now on: it gets its turn, and its group too if it is new. */
static void lane_is_born(struct play *play, struct lane *lane) {
    newest_lane = 0;
    MUST(store_lanes_each(play->steps->store, see_lane, NULL, &err));
    lane->id = newest_lane;
    lane->turn = ++play->turn;
    bool first = true;
    for (int i = 0; i < play->now.n_lanes; i++)
        if (&play->now.lanes[i] != lane && play->now.lanes[i].id &&
            model_group_turn(play, &play->now.lanes[i]) == model_group_turn(play, lane))
            first = false;
    if (first)
        *model_group_turn(play, lane) = lane->turn;
}

/* ---- what is spawned ---- */

/* One that was reserved, or none: one of then. When results come late, the model could not know that one. */
static void choose_id(struct play *play, struct spawning *spawning) {
    bool late = play->steps->sut->late;
    if (play->n_reserved < (late ? 1 : RESERVED) && (late || below(play, 6) == 0))
        MUST(store_page_reserve(play->steps->store, &play->reserved[play->n_reserved++], &err));
    else if (!late && below(play, 3) == 0)
        return;
    if (play->n_reserved)
        spawning->page.id = play->reserved[below(play, (uint64_t)play->n_reserved)];
}

static void id_is_used(struct play *play, int64_t id) {
    for (int i = 0; i < play->n_reserved; i++)
        if (play->reserved[i] == id)
            play->reserved[i] = play->reserved[--play->n_reserved];
}

static void make_up(struct play *play, struct spawning *spawning) {
    spawning->workflow = (int)below(play, WORKFLOWS);
    spawning->group = (int)below(play, GROUPS);
    spawning->other = (int)below(play, 2);
    spawning->n = 1 + below(play, below(play, 4) ? 6 : ITEMS);
    for (size_t i = 0; i < spawning->n; i++) {
        spawning->key[i] = below(play, 10) ? (int)below(play, KEYS) : -1;
        spawning->generation[i] = (int)below(play, 3);
        snprintf(spawning->keys[i], sizeof spawning->keys[i], "key-%03d", spawning->key[i]);
        snprintf(spawning->generations[i], sizeof spawning->generations[i], "%d", spawning->generation[i]);
        spawning->items[i] =
            (struct store_item){.child_key = spawning->key[i] < 0 ? BYTES_NONE : bytes_str(spawning->keys[i]),
                                .generation = bytes_str(spawning->generations[i])};
    }
    snprintf(spawning->rule_keys[0], sizeof spawning->rule_keys[0], "%d", spawning->group);
    snprintf(spawning->rule_keys[1], sizeof spawning->rule_keys[1], "%d", spawning->other);
    spawning->both[0] = bytes_str(spawning->rule_keys[0]);
    spawning->both[1] = bytes_str(spawning->rule_keys[1]);
    spawning->page = (struct store_page){
        .workflow = play->workflows[spawning->workflow],
        .keys = spawning->both,
        .n_keys = play->now.n_rules[spawning->workflow],
        .not_before_utc_us = below(play, 5) ? 0 : model_some_time(play, 5 * US_PER_S),
        .start_by_utc_us = below(play, 5) ? 0 : model_some_time(play, 4 * US_PER_S) + US_PER_S,
        .priority = (unsigned)below(play, 4),
        .items = spawning->items,
        .n = spawning->n,
        .ret_runs = spawning->runs,
    };
    choose_id(play, spawning);
    if (below(play, 25) == 0)
        spawning->page.failed = BYTES("for a reason");
}

/* ---- what becomes of it ---- */

static void choose(struct play *play, struct spawning *spawning, const struct lane *lane,
                   struct store_spawned *expected) {
    struct model *model = &play->now;
    uint64_t places = model_least_places(play, lane, 1);
    for (size_t i = 0; i < spawning->n; i++) {
        struct run *live = spawning->key[i] < 0 ? NULL : live_key(model, spawning->workflow, spawning->key[i]);
        bool fits = spawning->n_chosen < places, taken = false;
        for (uint32_t j = 0; j < spawning->n_chosen && spawning->key[i] >= 0; j++)
            taken |= spawning->key[spawning->chosen[j]] == spawning->key[i];
        if (taken || (live && !(fits && live->state == PARKED && live->generation != spawning->generation[i]))) {
            expected->duplicates++;
            if (live && !taken)
                spawning->older[i] = (struct store_place){.page = live->page, .index = live->index};
        } else if (!fits) {
            expected->cancelled++;
        } else {
            if (live) {
                expected->superseded++;
                spawning->superseding[i] = true;
                model_end(play, live, STORE_STATE_CANCELLED);
            }
            spawning->chosen[spawning->n_chosen++] = i;
        }
    }
}

/* Takes the oldest away until no more than the rule's are left. Of a page that has no id yet all are newer than all. */
static void drive_out(struct play *play, struct spawning *spawning, const struct lane *lane, size_t rule,
                      struct store_spawned *expected) {
    struct model *model = &play->now;
    int64_t id = spawning->page.id ? spawning->page.id : INT64_MAX;
    for (;;) {
        uint64_t n = spawning->n_chosen;
        struct run *oldest = NULL;
        for (int i = 0; i < RUNS; i++) {
            struct run *run = &model->runs[i];
            if (run->state == FREE || run->state == PARKED || run->asked ||
                !model_same_key(model, lane, &model->lanes[run->lane], rule))
                continue;
            n++;
            if (!oldest || run->page < oldest->page || (run->page == oldest->page && run->index < oldest->index))
                oldest = run;
        }
        if (n <= model->rules[spawning->workflow][rule].max_runs)
            return;
        play->driven_out++;
        if (spawning->n_chosen && (!oldest || oldest->page > id)) {
            memmove(spawning->chosen, spawning->chosen + 1, --spawning->n_chosen * sizeof spawning->chosen[0]);
            expected->cancelled++;
        } else if (oldest->lease) {
            model_ask(play, oldest, true);
            expected->cancels = true;
        } else {
            model_cancel(play, oldest);
            expected->driven_out++;
        }
    }
}

static void create(struct play *play, const struct spawning *spawning, int lane, int64_t page) {
    for (uint32_t i = 0; i < spawning->n_chosen; i++)
        *free_run(&play->now) = (struct run){
            .state = QUEUED,
            .lane = lane,
            .key = spawning->key[spawning->chosen[i]],
            .generation = spawning->generation[spawning->chosen[i]],
            .priority = spawning->page.priority ? spawning->page.priority : 1,
            .page = page,
            .index = i,
            .due_utc_us = spawning->page.not_before_utc_us,
            .start_by_utc_us = spawning->page.start_by_utc_us,
        };
}

static void fail_all(struct play *play, struct spawning *spawning, struct lane *lane, int64_t page) {
    for (uint32_t i = 0; i < spawning->n; i++) {
        spawning->chosen[spawning->n_chosen++] = i;
        assert_true(play->now.n_past < PAST);
        play->now.past[play->now.n_past++] = (struct past){page, i, STORE_STATE_FAILED};
    }
    lane->failed += spawning->n;
}

/* A duplicate of an item of the page has the run of that one, if it has one. */
static void check_places(const struct spawning *spawning, int64_t page) {
    for (size_t i = 0; i < spawning->n; i++) {
        struct store_place expected = spawning->older[i];
        for (uint32_t j = 0; j < spawning->n_chosen && expected.page == 0; j++) {
            size_t of = spawning->chosen[j];
            bool same = !spawning->page.failed.n && spawning->key[i] >= 0 && spawning->key[of] == spawning->key[i];
            if (of == i || (same && of < i))
                expected = (struct store_place){.page = page, .index = j, .created = of == i};
        }
        assert_place(spawning->runs[i], expected.page, expected.index, expected.created);
        assert_int_equal(spawning->runs[i].superseded, spawning->superseding[i]);
    }
}

static void check_spawned(const struct pending *pending) {
    const struct spawning *spawning = (const struct spawning *)(const void *)pending;
    const struct store_spawned *spawned = &spawning->spawned, *expected = &spawning->expected;
    assert_spawned(*spawned, spawning->n_chosen, expected->duplicates, expected->superseded, expected->cancelled);
    assert_int_equal(spawned->driven_out, expected->driven_out);
    assert_int_equal(spawned->cancels, expected->cancels);
    if (spawned->page && spawning->page.id)
        assert_int_equal(spawned->page, spawning->page.id);
    check_places(spawning, spawned->page);
}

void model_spawn(struct play *play) {
    struct model *model = &play->now;
    struct spawning *spawning = mem_zalloc(sizeof *spawning);
    assert_non_null(spawning);
    model_begin(play);
    make_up(play, spawning);
    spawning->pending.check = check_spawned;
    MUST(store_spawn(play->steps->store, &spawning->page, &spawning->spawned, &err));
    int64_t page = spawning->page.id ? spawning->page.id : spawning->spawned.page;
    int at = lane_of(play, spawning);
    struct lane *lane = &model->lanes[at];
    struct store_spawned *expected = &spawning->expected;
    if (spawning->page.failed.n) {
        fail_all(play, spawning, lane, page);
    } else {
        choose(play, spawning, lane, expected);
        for (size_t rule = 0; rule < model->n_rules[spawning->workflow] && spawning->n_chosen; rule++)
            if (model_strategy(model, spawning->workflow, rule) == STORE_CANCEL_IN_PROGRESS)
                drive_out(play, spawning, lane, rule, expected);
        create(play, spawning, at, page);
    }
    if (spawning->n_chosen)
        id_is_used(play, page);
    lane->cancelled += expected->cancelled;
    play->spawned += spawning->n_chosen;
    if (lane->id == 0 && (spawning->n_chosen || expected->cancelled))
        lane_is_born(play, lane);
    else if (lane->id == 0)
        model->n_lanes--;
    model_pending(play, &spawning->pending);
}
