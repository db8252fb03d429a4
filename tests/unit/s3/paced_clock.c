/* paced_clock.c - see paced_clock.h. */
#include "paced_clock.h"

static int64_t mono_us(void *arg) {
    return paced_clock_us(arg);
}

static int64_t utc_us(void *arg) {
    return clock_utc_us(&clock_system);
}

static void turned(struct paced_clock *paced) {
    int64_t now = clock_mono_us(&clock_system), took = now - paced->seen_us;
    paced->mono_us += took < PACED_TURN_US ? took : PACED_TURN_US;
    paced->seen_us = now;
}

static void on_turn(uv_check_t *turn) {
    turned(turn->data);
}

static void on_tick(uv_timer_t *tick) {
}

void paced_clock_init(struct paced_clock *paced, uv_loop_t *loop) {
    *paced = (struct paced_clock){.mono_us = US_PER_S, .seen_us = clock_mono_us(&clock_system)};
    paced->clock = (struct clock){utc_us, mono_us, paced};
    uv_check_init(loop, &paced->turn);
    uv_timer_init(loop, &paced->tick);
    paced->turn.data = paced;
    uv_check_start(&paced->turn, on_turn);
    uv_timer_start(&paced->tick, on_tick, PACED_TURN_US / US_PER_MS, PACED_TURN_US / US_PER_MS);
    uv_unref((uv_handle_t *)&paced->turn);
    uv_unref((uv_handle_t *)&paced->tick);
}

void paced_clock_close(struct paced_clock *paced) {
    uv_close((uv_handle_t *)&paced->turn, NULL);
    uv_close((uv_handle_t *)&paced->tick, NULL);
}

int64_t paced_clock_us(const struct paced_clock *paced) {
    return paced->mono_us;
}

void paced_clock_run(struct paced_clock *paced, int64_t us) {
    for (int64_t end = paced->mono_us + us; paced->mono_us < end; turned(paced)) {
        uv_run(paced->turn.loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
}
