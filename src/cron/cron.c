/* cron.c - reading and writing expressions: fields become bitmaps. */
#include "cron.h"

#include "cron_bits.h"
#include "text.h"

#include <errno.h>

enum field_id { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                          "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
static const char *const weekday_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

static const struct field {
    const char *name;
    unsigned low, high;       /* what a text may say; weekday 7 becomes 0 */
    const char *const *names; /* of `low`, low + 1, ...; NULL: numbers only */
    unsigned names_n;
    const char *allowed;
} fields[FIELDS] = {
    [SECOND] = {"second", 0, 59, NULL, 0, "0-59"},
    [MINUTE] = {"minute", 0, 59, NULL, 0, "0-59"},
    [HOUR] = {"hour", 0, 23, NULL, 0, "0-23"},
    [DAY] = {"day-of-month", 1, 31, NULL, 0, "1-31"},
    [MONTH] = {"month", 1, 12, month_names, 12, "1-12 or JAN-DEC"},
    [WEEKDAY] = {"day-of-week", 0, 7, weekday_names, 7, "0-7 (0 and 7 are Sunday) or SUN-SAT"},
};

/* Reading. */

struct reader {
    struct bytes text; /* all of it */
    size_t at;
    const struct field *field;
    struct err *err;
};

#define EXCERPT_MAX 24
struct excerpt {
    char text[EXCERPT_MAX * 4 + sizeof "..."];
};

/* A piece of the expression as an error may show it. */
static struct excerpt excerpt_of(struct bytes piece) {
    struct excerpt excerpt = {{0}};
    struct buf out = {.p = excerpt.text, .cap = sizeof excerpt.text, .max = sizeof excerpt.text - 1};
    bool cut = piece.n > EXCERPT_MAX;
    if (text_add_printable(&out, cut ? bytes_of(piece.p, EXCERPT_MAX) : piece) == 0 && cut)
        (void)buf_add_str(&out, "...");
    return excerpt;
}

#define REFUSE(reader_, place_, format_, ...)                                  \
    err_set((reader_)->err, -EINVAL, "column %zu, %s: " format_, (place_) + 1, \
            (reader_)->field->name __VA_OPT__(, ) __VA_ARGS__)

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool next_is(const struct reader *reader, char c) {
    return reader->at < reader->text.n && reader->text.p[reader->at] == c;
}

/* The item (up to a comma or blank) around a place, for errors. */
static struct excerpt item_at(const struct reader *reader, size_t place) {
    size_t end = place;
    while (end < reader->text.n && !is_blank(reader->text.p[end]) && reader->text.p[end] != ',')
        end++;
    return excerpt_of(bytes_of(reader->text.p + place, end - place));
}

static int read_value(struct reader *reader, unsigned *ret_value, bool *ret_named) {
    const struct field *field = reader->field;
    size_t start = reader->at, end = start;
    while (end < reader->text.n && is_word(reader->text.p[end]))
        end++;
    struct bytes word = bytes_of(reader->text.p + start, end - start);
    if (word.n == 0)
        return REFUSE(reader, start, "\"%s\" is not a value; write * or %s", item_at(reader, start).text,
                      field->allowed);
    for (unsigned i = 0; i < field->names_n; i++) {
        if (bytes_equal_nocase(word, bytes_str(field->names[i]))) {
            reader->at = end;
            *ret_value = field->low + i;
            *ret_named = true;
            return 0;
        }
    }
    uint64_t value;
    int r = text_parse_u64(word, &value);
    if (r == -EINVAL)
        return REFUSE(reader, start, "\"%s\" is not known here; write * or %s", excerpt_of(word).text, field->allowed);
    if (r < 0 || value < field->low || value > field->high)
        return REFUSE(reader, start, "%s is out of range; write %s", excerpt_of(word).text, field->allowed);
    reader->at = end;
    *ret_value = (unsigned)value;
    *ret_named = false;
    return 0;
}

static int read_step(struct reader *reader, unsigned *ret_step) {
    size_t start = reader->at, end = start;
    while (end < reader->text.n && reader->text.p[end] >= '0' && reader->text.p[end] <= '9')
        end++;
    unsigned most = reader->field->high - reader->field->low + 1;
    uint64_t step;
    int r = text_parse_u64(bytes_of(reader->text.p + start, end - start), &step);
    if (r == -EINVAL)
        return REFUSE(reader, start, "a number has to follow the /, as in */5");
    if (r < 0 || step == 0 || step > most)
        return REFUSE(reader, start, "a step of %s cannot be; write 1 to %u",
                      excerpt_of(bytes_of(reader->text.p + start, end - start)).text, most);
    reader->at = end;
    *ret_step = (unsigned)step;
    return 0;
}

/* One item of a list: a star or a range, either with a step, or one value. */
static int read_item(struct reader *reader, uint64_t *bits) {
    const struct field *field = reader->field;
    unsigned low = field->low, high = field->high, step = 1;
    size_t start = reader->at;
    bool range = true;
    if (next_is(reader, '*')) {
        reader->at++;
    } else {
        bool low_named, high_named;
        int r = read_value(reader, &low, &low_named);
        if (r < 0)
            return r;
        high = low;
        range = next_is(reader, '-');
        if (range) {
            reader->at++;
            r = read_value(reader, &high, &high_named);
            if (r < 0)
                return r;
            if (field == &fields[WEEKDAY] && high == 0 && high_named && low > 0)
                high = 7; /* FRI-SUN */
        }
        if (high < low)
            return REFUSE(reader, start, "the range %s runs backwards; write it as two, such as %u-%u,%u-%u",
                          item_at(reader, start).text, low, field->high, field->low, high);
    }
    if (next_is(reader, '/')) {
        if (!range)
            return REFUSE(reader, reader->at, "a step needs a range before it; write %u-%u/n", low, field->high);
        reader->at++;
        int r = read_step(reader, &step);
        if (r < 0)
            return r;
    }
    *bits |= bits_between(low, high, step);
    return 0;
}

static int read_field(struct reader *reader, uint64_t *ret_bits) {
    uint64_t bits = 0;
    for (;;) {
        if (reader->at == reader->text.n || is_blank(reader->text.p[reader->at]) || next_is(reader, ','))
            return REFUSE(reader, reader->at, "a value is missing beside the comma");
        int r = read_item(reader, &bits);
        if (r < 0)
            return r;
        if (reader->at == reader->text.n || is_blank(reader->text.p[reader->at]))
            break;
        if (!next_is(reader, ','))
            return REFUSE(reader, reader->at, "\"%s\" is not understood; allowed are * , - / and %s",
                          item_at(reader, reader->at).text, reader->field->allowed);
        reader->at++;
    }
    if (reader->field == &fields[WEEKDAY] && bits & UINT64_C(1) << 7)
        bits = (bits | 1) & 0x7f;
    *ret_bits = bits;
    return 0;
}

static void skip_blanks(struct reader *reader) {
    while (reader->at < reader->text.n && is_blank(reader->text.p[reader->at]))
        reader->at++;
}

/* From the place on, which is not within a field. */
static int count_fields(const struct reader *reader) {
    struct bytes text = reader->text;
    int count = 0;
    for (size_t i = reader->at; i < text.n; i++)
        count += !is_blank(text.p[i]) && (i == reader->at || is_blank(text.p[i - 1]));
    return count;
}

static bool either_day(const struct cron *cron) {
    return !cron->any_day && !cron->any_weekday;
}

static bool can_fire(const struct cron *cron) {
    if (either_day(cron))
        return true; /* every month has every weekday */
    for (int month = 1; month <= 12; month++)
        if (cron->months >> month & 1 && cron->days & bits_between(1, (unsigned)longest_month(month), 1))
            return true;
    return false;
}

/* `CRON_TZ=` or `TZ=` with a name, before all else. */
static int read_zone(struct reader *reader, char ret_name[ZONE_NAME_MAX + 1]) {
    struct bytes rest = bytes_of(reader->text.p + reader->at, reader->text.n - reader->at);
    size_t n = bytes_starts(rest, BYTES("CRON_TZ=")) ? 8 : bytes_starts(rest, BYTES("TZ=")) ? 3 : 0;
    if (n == 0)
        return 0;
    reader->at += n;
    size_t end = reader->at;
    while (end < reader->text.n && !is_blank(reader->text.p[end]))
        end++;
    struct bytes name = bytes_of(reader->text.p + reader->at, end - reader->at);
    if (!zone_name_valid(name))
        return err_set(reader->err, -EINVAL,
                       "column %zu, time zone: \"%s\" cannot be the name of one; write it like CRON_TZ=Europe/Berlin",
                       reader->at + 1, excerpt_of(name).text);
    memcpy(ret_name, name.p, name.n);
    ret_name[name.n] = '\0';
    reader->at = end;
    return 0;
}

/* @daily and its kin: the fields in its place. */
static int read_nickname(const struct reader *reader, struct bytes *ret_fields) {
    static const struct {
        const char *name, *fields;
    } known[] = {
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
        {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
    };
    size_t end = reader->at;
    while (end < reader->text.n && !is_blank(reader->text.p[end]))
        end++;
    struct bytes name = bytes_of(reader->text.p + reader->at, end - reader->at);
    size_t column = reader->at + 1;
    if (bytes_equal_nocase(name, BYTES("@reboot")))
        return err_set(reader->err, -EINVAL,
                       "column %zu: @reboot is not a time; start a run when the program starts instead", column);
    if (bytes_equal_nocase(name, BYTES("@every")))
        return err_set(reader->err, -EINVAL,
                       "column %zu: @every is not a time, but counts from an unsaid start; write a step, as in "
                       "\"*/5 * * * *\"",
                       column);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!bytes_equal_nocase(name, bytes_str(known[i].name)))
            continue;
        while (end < reader->text.n && is_blank(reader->text.p[end]))
            end++;
        if (end < reader->text.n)
            return err_set(reader->err, -EINVAL, "column %zu: nothing may follow %s, but there is \"%s\"", end + 1,
                           known[i].name, item_at(reader, end).text);
        *ret_fields = bytes_str(known[i].fields);
        return 0;
    }
    return err_set(reader->err, -EINVAL,
                   "column %zu: \"%s\" is not known; write @hourly, @daily, @midnight, @weekly, @monthly, @yearly, "
                   "@annually, or 5 fields",
                   column, excerpt_of(name).text);
}

int cron_parse(struct bytes text, struct cron *ret_cron, struct err *err) {
    if (text.n > CRON_TEXT_MAX)
        return err_set(err, -EINVAL, "a cron expression has at most %d bytes, this one has %zu", CRON_TEXT_MAX, text.n);
    struct cron cron = {0};
    struct reader reader = {.text = text, .err = err};
    skip_blanks(&reader);
    int r = read_zone(&reader, cron.zone_name);
    if (r < 0)
        return r;
    skip_blanks(&reader);
    if (next_is(&reader, '@')) {
        r = read_nickname(&reader, &reader.text);
        if (r < 0)
            return r;
        reader.at = 0;
    }
    int count = count_fields(&reader);
    if (count != 5 && count != 6)
        return err_set(err, -EINVAL,
                       "a cron expression has 5 fields (minute hour day-of-month month day-of-week), or 6 with seconds "
                       "first; \"%s\" has %d",
                       excerpt_of(text).text, count);
    uint64_t bits[FIELDS] = {[SECOND] = 1};
    bool star[FIELDS] = {false};
    for (int i = count == 6 ? SECOND : MINUTE; i < FIELDS; i++) {
        skip_blanks(&reader);
        reader.field = &fields[i];
        star[i] = next_is(&reader, '*');
        r = read_field(&reader, &bits[i]);
        if (r < 0)
            return r;
    }
    cron.seconds = bits[SECOND];
    cron.minutes = bits[MINUTE];
    cron.hours = (uint32_t)bits[HOUR];
    cron.days = (uint32_t)bits[DAY];
    cron.months = (uint32_t)bits[MONTH];
    cron.weekdays = (uint32_t)bits[WEEKDAY];
    cron.any_day = star[DAY];
    cron.any_weekday = star[WEEKDAY];
    cron.wild = star[MINUTE] || star[HOUR];
    if (!can_fire(&cron))
        return err_set(err, -EINVAL,
                       "the cron expression \"%s\" never fires: none of its months has that day; change the "
                       "day-of-month or the month field",
                       excerpt_of(text).text);
    *ret_cron = cron;
    return 0;
}

/* Writing. */

enum star { STAR_MAY, STAR_MUST, STAR_NEVER };

static int add_ranges(struct buf *out, uint64_t bits, const char *separator) {
    for (int low = next_bit(bits, 0); low >= 0;) {
        int high = low;
        while (bits >> (high + 1) & 1)
            high++;
        int r = high == low ? buf_printf(out, "%s%d", separator, low)
                            : buf_printf(out, high == low + 1 ? "%s%d,%d" : "%s%d-%d", separator, low, high);
        if (r < 0)
            return r;
        separator = ",";
        low = next_bit(bits, high + 1);
    }
    return 0;
}

/* The step of the `*` that a field may begin with, so that all it covers is in the set; 0: no star will do. */
static unsigned star_step(uint64_t bits, unsigned low, unsigned high, enum star star) {
    unsigned span = high - low + 1;
    for (unsigned step = 1; step <= span && star != STAR_NEVER; step++) {
        uint64_t covered = bits_between(low, high, step);
        if (star == STAR_MUST ? (covered & ~bits) == 0 : covered == bits && step < span && span % step == 0)
            return step;
    }
    return 0;
}

static int add_field(struct buf *out, uint64_t bits, unsigned low, unsigned high, enum star star) {
    unsigned step = star_step(bits, low, high, star);
    if (step == 0)
        return add_ranges(out, bits, "");
    int r = step == 1 ? buf_add_str(out, "*") : buf_printf(out, "*/%u", step);
    return r < 0 ? r : add_ranges(out, bits & ~bits_between(low, high, step), ",");
}

/* Whether a field begins with '*' is part of the meaning of the days, and of minute and hour taken together; elsewhere
 * a
 * '*' is merely shorter. */
int cron_format(const struct cron *cron, struct buf *out) {
    enum star minute = cron->wild ? STAR_MAY : STAR_NEVER, hour = minute;
    if (cron->wild && !star_step(cron->minutes, 0, 59, STAR_MAY) && !star_step(cron->hours, 0, 23, STAR_MAY)) {
        if (star_step(cron->hours, 0, 23, STAR_MUST))
            hour = STAR_MUST;
        else
            minute = STAR_MUST;
    }
    const struct {
        uint64_t bits;
        unsigned low, high;
        enum star star;
    } parts[FIELDS] = {
        [SECOND] = {cron->seconds, 0, 59, STAR_MAY},
        [MINUTE] = {cron->minutes, 0, 59, minute},
        [HOUR] = {cron->hours, 0, 23, hour},
        [DAY] = {cron->days, 1, 31, cron->any_day ? STAR_MUST : STAR_NEVER},
        [MONTH] = {cron->months, 1, 12, STAR_MAY},
        [WEEKDAY] = {cron->weekdays, 0, 6, cron->any_weekday ? STAR_MUST : STAR_NEVER},
    };
    size_t before = out->n;
    int r = cron->zone_name[0] ? buf_printf(out, "CRON_TZ=%s ", cron->zone_name) : 0;
    for (int i = 0; i < FIELDS && r == 0; i++) {
        r = i == 0 ? 0 : buf_add_byte(out, ' ');
        if (r == 0)
            r = add_field(out, parts[i].bits, parts[i].low, parts[i].high, parts[i].star);
    }
    if (r < 0 && out->p) {
        out->n = before;
        out->p[before] = '\0';
    }
    return r;
}
