/* progress.c - the picture of a running drain: a row per bucket that is redrawn in place, or a log line now and then.
 */
#include "progress.h"

#include "cleanup.h"
#include "map.h"
#include "text.h"

#include <inttypes.h>
#include <sys/ioctl.h>

#define DRAW_EVERY_MS 200
#define LOG_EVERY_MS 5000
#define RATE_HALF_LIFE_US (2 * US_PER_S)

/* Widths of a row's parts. The narrow one leaves room for an ETA within 80 columns. */
struct layout {
    int name, bar, number, rate;
};
static const struct layout narrow = {19, 9, 7, 5}, wide = {24, 20, 8, 7};
#define WIDE_COLUMNS 100
#define ROWS_LEAST 4 /* the sum, what is left out, and the cursor's line */

struct row {
    struct pipeline_bucket numbers; /* name points into the pipeline */
    uint64_t waiting;               /* live now */
    uint64_t parked;
    uint64_t done_before;
    double rate; /* objects a second, smoothed */
};

struct progress {
    struct progress_options options;
    uv_timer_t timer;
    struct row *rows; /* by name */
    size_t n, cap;
    unsigned drawn; /* lines on the terminal that the next drawing replaces */
    int64_t began_mono_us, before_mono_us;
    uint64_t done, failed, bytes, listed, live, parked, results, done_before;
    double rate;
    bool complete;
    struct buf out;
    void (*sink_before)(void *arg, enum log_level level, struct bytes line);
    void *sink_arg_before;
};

/* ---- numbers ---- */

static struct row *find(struct progress *progress, struct bytes name) {
    size_t low = 0, high = progress->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(progress->rows[middle].numbers.name, name);
        if (order == 0)
            return &progress->rows[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (progress->n == progress->cap) {
        size_t cap = progress->cap ? progress->cap * 2 : 16;
        struct row *rows = mem_reallocarray(progress->rows, cap, sizeof *rows);
        if (!rows)
            return NULL;
        progress->rows = rows;
        progress->cap = cap;
    }
    memmove(&progress->rows[low + 1], &progress->rows[low], (progress->n - low) * sizeof *progress->rows);
    progress->n++;
    progress->rows[low] = (struct row){0};
    return &progress->rows[low];
}

static void take_bucket(void *arg, const struct pipeline_bucket *numbers) {
    struct progress *progress = arg;
    struct row *row = find(progress, numbers->name);
    if (!row)
        return;
    row->numbers = *numbers;
    froe_group group;
    froe_group_get(progress->options.engine, PIPELINE_PROCESS_OBJECT, numbers->name.p, &group);
    row->waiting = group.live;
    row->parked = group.parked;
    progress->done += numbers->done;
    progress->failed += numbers->failed;
    progress->bytes += numbers->bytes;
    progress->results += numbers->results;
    progress->listed += numbers->listed;
    progress->live += group.live;
    progress->parked += group.parked;
}

/* Forgets half of what it knew in a half-life, however often it is asked. */
static double smooth(double rate, uint64_t done, int64_t us) {
    if (us <= 0)
        return rate;
    double now = (double)done * (double)US_PER_S / (double)us;
    double weight = (double)us / (double)(us + RATE_HALF_LIFE_US);
    return rate > 0 ? rate + (now - rate) * weight : now;
}

static void take_numbers(struct progress *progress) {
    int64_t now = clock_mono_us(progress->options.clock), passed = now - progress->before_mono_us;
    progress->done = progress->failed = progress->bytes = progress->listed = progress->live = progress->parked = 0;
    progress->results = 0;
    pipeline_buckets_each(progress->options.pipeline, take_bucket, progress);
    for (size_t i = 0; i < progress->n; i++) {
        struct row *row = &progress->rows[i];
        row->rate = smooth(row->rate, row->numbers.done - row->done_before, passed);
        row->done_before = row->numbers.done;
    }
    progress->rate = smooth(progress->rate, progress->done - progress->done_before, passed);
    progress->done_before = progress->done;
    progress->before_mono_us = now;
    progress->complete = pipeline_listing_complete(progress->options.pipeline);
}

/* -1: cannot be told yet. */
static int64_t eta_us(const struct progress *progress, uint64_t left, double rate) {
    if (!progress->complete || rate < 0.01)
        return -1;
    double us = (double)left / rate * (double)US_PER_S;
    return us > 1e15 ? -1 : (int64_t)us;
}

/* ---- terminal ---- */

static void terminal_size(int fd, unsigned *ret_rows, unsigned *ret_columns) {
    struct winsize size;
    bool known = ioctl(fd, TIOCGWINSZ, &size) == 0;
    *ret_rows = !known || size.ws_row == 0 ? 24 : size.ws_row > ROWS_LEAST ? size.ws_row : ROWS_LEAST;
    *ret_columns = known && size.ws_col > 0 ? size.ws_col : 80;
}

static void erase(struct progress *progress) {
    if (progress->drawn)
        buf_printf(&progress->out, "\x1b[%uA\r\x1b[J", progress->drawn);
    progress->drawn = 0;
}

static void flush(struct progress *progress) {
    size_t at = 0;
    while (at < progress->out.n) {
        ssize_t n = write(progress->options.terminal_fd, progress->out.p + at, progress->out.n - at);
        if (n < 0 && errno != EINTR)
            break; /* a terminal that is gone is no reason to stop draining */
        at += n > 0 ? (size_t)n : 0;
    }
    buf_reset(&progress->out);
}

/* Cuts what does not fit, so that a row stays one line and the next drawing finds its place. */
static void add_line(struct progress *progress, struct buf *line, unsigned columns) {
    size_t n = line->n < columns ? line->n : columns - 1;
    buf_add(&progress->out, line->p, n);
    buf_add_byte(&progress->out, '\n');
    buf_reset(line);
    progress->drawn++;
}

static void add_bar(struct buf *line, int width, uint64_t done, uint64_t all) {
    int full = all ? (int)((double)done / (double)all * width) : 0;
    buf_add_byte(line, '[');
    for (int i = 0; i < width; i++)
        buf_add_byte(line, i < full ? '#' : '.');
    buf_add_byte(line, ']');
}

static void add_eta(struct buf *line, int64_t eta) {
    if (eta < 0)
        return;
    buf_add_str(line, "  ETA ");
    text_add_duration(line, eta - eta % US_PER_S + US_PER_S);
}

/* What is done but not yet settled is among the live too, so the sum of the two may be a little too much; what was
 * listed is exact, but does not know of what an earlier froe listed. */
static uint64_t total(uint64_t listed, uint64_t done, uint64_t live) {
    return listed >= done ? listed : done + live;
}

static void add_numbers(struct buf *line, const struct layout *layout, const char *name, uint64_t done, uint64_t all,
                        uint64_t failed, double rate) {
    buf_printf(line, "%-*.*s ", layout->name, layout->name, name);
    add_bar(line, layout->bar, done, all);
    buf_printf(line, " %*" PRIu64 "/%-*" PRIu64 " failed %-4" PRIu64 " %*.0f/s", layout->number, done, layout->number,
               all, failed, layout->rate, rate);
}

static void draw_row(struct progress *progress, struct buf *line, const struct layout *layout, const struct row *row) {
    const struct pipeline_bucket *numbers = &row->numbers;
    uint64_t all = total(numbers->listed, numbers->done, row->waiting);
    add_numbers(line, layout, numbers->name.p, numbers->done, all, numbers->failed, row->rate);
    if (row->parked)
        buf_printf(line, "  parked %" PRIu64, row->parked);
    if (numbers->throttled)
        buf_add_str(line, "  throttled");
    if (numbers->listing != LISTING_COMPLETE)
        buf_add_str(line, "  listing");
    else if (row->waiting)
        add_eta(line, eta_us(progress, row->waiting, row->rate));
}

static void draw(struct progress *progress) {
    unsigned rows, columns;
    terminal_size(progress->options.terminal_fd, &rows, &columns);
    const struct layout *layout = columns >= WIDE_COLUMNS ? &wide : &narrow;
    _cleanup_buf_ struct buf line = {0};
    erase(progress);
    size_t room = rows - 3, shown = progress->n <= room ? progress->n : room - 1;
    /* Too many for the screen: those with work, in order. */
    size_t left = shown;
    for (size_t i = 0; i < progress->n && left > 0; i++) {
        bool busy = progress->rows[i].waiting > 0;
        if (shown < progress->n && !busy)
            continue;
        draw_row(progress, &line, layout, &progress->rows[i]);
        add_line(progress, &line, columns);
        left--;
    }
    if (shown < progress->n) {
        buf_printf(&line, "... of %zu buckets", progress->n);
        add_line(progress, &line, columns);
    }
    add_numbers(&line, layout, progress->complete ? "all" : "all so far", progress->done,
                total(progress->listed, progress->done, progress->live), progress->failed, progress->rate);
    if (progress->live)
        add_eta(&line, eta_us(progress, progress->live, progress->rate));
    add_line(progress, &line, columns);
    flush(progress);
}

static void line_between(void *arg, enum log_level level, struct bytes line) {
    (void)level;
    struct progress *progress = arg;
    erase(progress);
    buf_add_bytes(&progress->out, line);
    buf_add_byte(&progress->out, '\n');
    draw(progress);
}

/* ---- log ---- */

static void log_progress(struct progress *progress) {
    int64_t eta = eta_us(progress, progress->live, progress->rate);
    log_info(progress->options.log, "progress", LOG_INT("buckets", (int64_t)progress->n),
             LOG_INT("listed", (int64_t)progress->listed), LOG_INT("done", (int64_t)progress->done),
             LOG_INT("results", (int64_t)progress->results), LOG_INT("live", (int64_t)progress->live),
             LOG_INT("failed_attempts", (int64_t)progress->failed), LOG_INT("parked", (int64_t)progress->parked),
             LOG_INT("rate", (int64_t)progress->rate), LOG_INT("eta_s", eta < 0 ? -1 : eta / US_PER_S));
}

static void tick(uv_timer_t *timer) {
    struct progress *progress = timer->data;
    take_numbers(progress);
    if (progress->options.terminal_fd >= 0)
        draw(progress);
    else
        log_progress(progress);
}

/* ---- life ---- */

int progress_new(uv_loop_t *loop, const struct progress_options *options, struct progress **ret_progress,
                 struct err *err) {
    struct progress *progress = mem_zalloc(sizeof *progress);
    if (!progress)
        return err_set(err, -ENOMEM, "out of memory");
    progress->options = *options;
    if (!progress->options.clock)
        progress->options.clock = &clock_system;
    progress->began_mono_us = progress->before_mono_us = clock_mono_us(progress->options.clock);
    bool terminal = options->terminal_fd >= 0;
    if (terminal) {
        progress->sink_before = options->log->sink;
        progress->sink_arg_before = options->log->sink_arg;
        options->log->sink = line_between;
        options->log->sink_arg = progress;
    }
    uv_timer_init(loop, &progress->timer);
    progress->timer.data = progress;
    uint64_t every = terminal ? DRAW_EVERY_MS : LOG_EVERY_MS;
    uv_timer_start(&progress->timer, tick, every, every);
    *ret_progress = progress;
    return 0;
}

static void timer_closed(uv_handle_t *handle) {
    struct progress *progress = handle->data;
    buf_free(&progress->out);
    mem_free(progress->rows);
    mem_free(progress);
}

void progress_end(struct progress *progress, bool drained) {
    if (!progress)
        return;
    struct log *log = progress->options.log;
    bool terminal = progress->options.terminal_fd >= 0;
    take_numbers(progress);
    if (terminal) {
        draw(progress);
        log->sink = progress->sink_before;
        log->sink_arg = progress->sink_arg_before;
    }
    int64_t took = progress->before_mono_us - progress->began_mono_us;
    double rate = took > 0 ? (double)progress->done * (double)US_PER_S / (double)took : 0;
    uint64_t skipped = 0, no_rule = 0;
    for (size_t i = 0; i < progress->n; i++) {
        for (int skip = SKIP_NOT + 1; skip < SKIP_KINDS; skip++)
            skipped += progress->rows[i].numbers.skipped[skip];
        no_rule += progress->rows[i].numbers.skipped[SKIP_NO_RULE];
    }
    log_info(log, drained ? "drained" : "stopped", LOG_INT("objects", (int64_t)progress->done),
             LOG_INT("buckets", (int64_t)progress->n), LOG_INT("failed_attempts", (int64_t)progress->failed),
             LOG_INT("parked", (int64_t)progress->parked), LOG_INT("left", (int64_t)progress->live),
             LOG_INT("bytes", (int64_t)progress->bytes), LOG_INT("results", (int64_t)progress->results),
             LOG_INT("skipped", (int64_t)skipped), LOG_INT("no_rule", (int64_t)no_rule), /* of the last listings */
             LOG_NUM("seconds", (double)(took / US_PER_MS) / 1000), LOG_INT("rate", (int64_t)rate));
    if (progress->parked)
        log_warn(log, "some objects are parked; see froe parked list", LOG_INT("parked", (int64_t)progress->parked));
    uv_close((uv_handle_t *)&progress->timer, timer_closed);
}
