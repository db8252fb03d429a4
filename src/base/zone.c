/* zone.c - time zones: reading TZif files and their closing rule, and looking things up in them. */
#include "zone.h"

#include "cleanup.h"
#include "clock.h"
#include "text.h"

#include <fcntl.h>
#include <sys/stat.h>

#define ZONE_FOLDER "/usr/share/zoneinfo"

#define HOUR_S 3600
#define DAY_S (24 * HOUR_S)
#define OFFSET_LEAST_S (-25 * HOUR_S + 1)
#define OFFSET_MOST_S (26 * HOUR_S - 1)
/* After 400 years the calendar repeats, weekdays included. */
#define CYCLE_S (INT64_C(146097) * DAY_S)

/* When in a year the rule's change is; see POSIX.1, 8.3, TZ. */
struct rule_date {
    enum { DAY_WITHOUT_LEAP, DAY_FROM_ZERO, WEEKDAY_OF_MONTH } kind;
    int day;                  /* of the year, by kind from 1 or from 0 */
    int month, week, weekday; /* week 5: the last one */
    int32_t time_s;           /* of that day; may be below 0 or above a day */
};

struct rule {
    int32_t standard_s, summer_s; /* offsets */
    bool has_summer;
    struct rule_date start, end; /* of summer time, each in the local time that holds before it */
};

struct change {
    int64_t at_s;
    int32_t offset_s; /* from then on */
};

struct zone {
    int32_t first_s; /* the offset before all changes */
    bool has_rule;
    int64_t rule_from_s;
    struct rule rule; /* holds from there on */
    size_t n;
    struct change changes[]; /* ascending */
};

static int64_t add_within(int64_t a, int64_t b) {
    int64_t sum;
    return !__builtin_add_overflow(a, b, &sum) ? sum : b < 0 ? INT64_MIN : INT64_MAX;
}

/* ---- names ---- */

bool zone_name_valid(struct bytes name) {
    if (name.n == 0 || name.n > ZONE_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-' || c == '+';
        bool inner_slash = c == '/' && i > 0 && i + 1 < name.n && name.p[i - 1] != '/';
        if (!word && !inner_slash)
            return false;
    }
    return true;
}

/* ---- the rule: "CET-1CEST,M3.5.0,M10.5.0/3" ---- */

static bool take(struct bytes *text, char c) {
    if (text->n == 0 || text->p[0] != c)
        return false;
    text->p++;
    text->n--;
    return true;
}

static bool take_number(struct bytes *text, int least, int most, int *ret_value) {
    int value = 0;
    size_t digits = 0;
    while (digits < text->n && digits < 4 && text->p[digits] >= '0' && text->p[digits] <= '9')
        value = value * 10 + (text->p[digits++] - '0');
    if (digits == 0 || value < least || value > most)
        return false;
    text->p += digits;
    text->n -= digits;
    *ret_value = value;
    return true;
}

/* The names of standard and summer time are not kept. */
static bool take_name(struct bytes *text) {
    bool quoted = take(text, '<');
    size_t n = 0;
    for (; n < text->n; n++) {
        char c = text->p[n];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(quoted && ((c >= '0' && c <= '9') || c == '+' || c == '-')))
            break;
    }
    if (n < 3)
        return false;
    text->p += n;
    text->n -= n;
    return !quoted || take(text, '>');
}

/* [+-]h[h[h]][:mm[:ss]] */
static bool take_time(struct bytes *text, int most_hours, int32_t *ret_s) {
    int hours, minutes = 0, seconds = 0;
    bool negative = take(text, '-');
    if (!negative)
        take(text, '+');
    if (!take_number(text, 0, most_hours, &hours))
        return false;
    if (take(text, ':')) {
        if (!take_number(text, 0, 59, &minutes) || (take(text, ':') && !take_number(text, 0, 59, &seconds)))
            return false;
    }
    int32_t s = hours * HOUR_S + minutes * 60 + seconds;
    *ret_s = negative ? -s : s;
    return true;
}

static bool take_date(struct bytes *text, struct rule_date *ret_date) {
    struct rule_date date = {.time_s = 2 * HOUR_S};
    if (take(text, 'M')) {
        date.kind = WEEKDAY_OF_MONTH;
        if (!(take_number(text, 1, 12, &date.month) && take(text, '.') && take_number(text, 1, 5, &date.week) &&
              take(text, '.') && take_number(text, 0, 6, &date.weekday)))
            return false;
    } else if (take(text, 'J')) {
        date.kind = DAY_WITHOUT_LEAP;
        if (!take_number(text, 1, 365, &date.day))
            return false;
    } else {
        date.kind = DAY_FROM_ZERO;
        if (!take_number(text, 0, 365, &date.day))
            return false;
    }
    if (take(text, '/') && !take_time(text, 167, &date.time_s))
        return false;
    *ret_date = date;
    return true;
}

static bool parse_rule(struct bytes text, struct rule *ret_rule) {
    struct rule rule = {0};
    int32_t west_s;
    if (!take_name(&text) || !take_time(&text, 24, &west_s))
        return false;
    rule.standard_s = -west_s;
    if (text.n > 0) {
        rule.has_summer = true;
        rule.summer_s = rule.standard_s + HOUR_S;
        if (!take_name(&text))
            return false;
        if (text.n > 0 && text.p[0] != ',') {
            if (!take_time(&text, 24, &west_s))
                return false;
            rule.summer_s = -west_s;
        }
        if (!(take(&text, ',') && take_date(&text, &rule.start) && take(&text, ',') && take_date(&text, &rule.end)))
            return false;
    }
    *ret_rule = rule;
    return text.n == 0;
}

static int64_t date_in_year(const struct rule_date *date, int year) {
    struct clock_date first = {.year = year, .month = date->kind == WEEKDAY_OF_MONTH ? date->month : 1, .day = 1};
    int64_t first_utc_us = clock_from_date_utc(&first);
    int64_t day_s = first_utc_us / US_PER_S;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (date->kind == WEEKDAY_OF_MONTH) {
        static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        clock_date_utc(first_utc_us, &first);
        int days = (date->weekday - first.weekday + 7) % 7 + 7 * (date->week - 1);
        if (days >= lengths[date->month - 1] + (leap && date->month == 2))
            days -= 7;
        day_s += (int64_t)days * DAY_S;
    } else if (date->kind == DAY_WITHOUT_LEAP) {
        day_s += (int64_t)(date->day - 1 + (leap && date->day >= 60)) * DAY_S;
    } else {
        day_s += (int64_t)date->day * DAY_S;
    }
    return day_s + date->time_s;
}

/* The changes of five years around the instant, moved into the 400 years from 1970 on: those of its own year and its
 * neighbours would do, were it not that times of day may reach a week beyond the year. */
static void rule_span(const struct rule *rule, int64_t utc_s, struct zone_span *ret_span) {
    *ret_span = (struct zone_span){INT64_MIN, INT64_MAX, rule->standard_s};
    if (!rule->has_summer)
        return;
    int64_t at_s = utc_s % CYCLE_S;
    if (at_s < 0)
        at_s += CYCLE_S;
    struct clock_date date;
    clock_date_utc(at_s * US_PER_S, &date);
    int64_t from_s = INT64_MIN, until_s = INT64_MAX;
    for (int year = date.year - 2; year <= date.year + 2; year++) {
        int64_t start_s = date_in_year(&rule->start, year) - rule->standard_s;
        int64_t end_s = date_in_year(&rule->end, year) - rule->summer_s;
        /* Where one summer time ends as the next one starts, it is summer all year. */
        if (end_s <= at_s && end_s > from_s) {
            from_s = end_s;
            ret_span->offset_s = rule->standard_s;
        }
        if (start_s <= at_s && start_s >= from_s) {
            from_s = start_s;
            ret_span->offset_s = rule->summer_s;
        }
        if (start_s > at_s && start_s < until_s)
            until_s = start_s;
        if (end_s > at_s && end_s < until_s)
            until_s = end_s;
    }
    ret_span->from_s = add_within(utc_s, from_s - at_s);
    ret_span->until_s = add_within(utc_s, until_s - at_s);
}

/* ---- the file ---- */

struct header {
    int version; /* 1 to 4 */
    size_t isutcnt, isstdcnt, leapcnt, timecnt, typecnt, charcnt;
};

#define HEADER_SIZE 44

static uint64_t big_endian(const char *at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | (unsigned char)at[i];
    return value;
}

static bool take_header(struct bytes *file, struct header *ret_header) {
    if (file->n < HEADER_SIZE || memcmp(file->p, "TZif", 4) != 0)
        return false;
    char version = file->p[4];
    if (version != '\0' && (version < '2' || version > '9'))
        return false;
    *ret_header = (struct header){
        .version = version ? version - '0' : 1,
        .isutcnt = big_endian(file->p + 20, 4),
        .isstdcnt = big_endian(file->p + 24, 4),
        .leapcnt = big_endian(file->p + 28, 4),
        .timecnt = big_endian(file->p + 32, 4),
        .typecnt = big_endian(file->p + 36, 4),
        .charcnt = big_endian(file->p + 40, 4),
    };
    file->p += HEADER_SIZE;
    file->n -= HEADER_SIZE;
    return true;
}

/* The counts have 32 bits, so this cannot overflow. */
static size_t block_size(const struct header *header, size_t time_size) {
    return header->timecnt * (time_size + 1) + header->typecnt * 6 + header->charcnt +
           header->leapcnt * (time_size + 4) + header->isstdcnt + header->isutcnt;
}

static int64_t time_at(const char *times, size_t i, size_t time_size) {
    uint64_t value = big_endian(times + i * time_size, time_size);
    return time_size == 4 ? (int32_t)(uint32_t)value : (int64_t)value;
}

/* The changes of a block whose size was checked; what is wrong with it, or NULL. */
static const char *read_changes(struct zone *zone, const char *block, const struct header *header, size_t time_size) {
    const char *indices = block + header->timecnt * time_size, *types = indices + header->timecnt;
    for (size_t i = 0; i < header->typecnt; i++) {
        int64_t offset_s = time_at(types + i * 6, 0, 4);
        if (offset_s < OFFSET_LEAST_S || offset_s > OFFSET_MOST_S)
            return "an offset is out of range";
        if ((unsigned char)types[i * 6 + 4] > 1 || (unsigned char)types[i * 6 + 5] >= header->charcnt)
            return "a type of local time is not well-formed";
    }
    zone->first_s = (int32_t)time_at(types, 0, 4);
    zone->rule_from_s = INT64_MIN;
    int32_t offset_s = zone->first_s;
    for (size_t i = 0; i < header->timecnt; i++) {
        int64_t at_s = time_at(block, i, time_size);
        size_t type = (unsigned char)indices[i];
        if (i > 0 && at_s <= zone->rule_from_s)
            return "its changes are not in order";
        if (type >= header->typecnt)
            return "a change leads to a type that is not there";
        zone->rule_from_s = at_s;
        /* Changes of the name, or of what counts as summer time, alone are no changes here. */
        int32_t next_s = (int32_t)time_at(types + type * 6, 0, 4);
        if (next_s != offset_s)
            zone->changes[zone->n++] = (struct change){at_s, next_s};
        offset_s = next_s;
    }
    return NULL;
}

static const char *check_header(const struct header *header, struct bytes file, size_t time_size) {
    if (header->typecnt == 0 || header->typecnt > 256 || header->charcnt == 0 ||
        (header->isutcnt != 0 && header->isutcnt != header->typecnt) ||
        (header->isstdcnt != 0 && header->isstdcnt != header->typecnt))
        return "its header is not well-formed";
    if (file.n < block_size(header, time_size))
        return "it is cut off";
    return NULL;
}

static const char *read_footer(struct zone *zone, struct bytes footer) {
    if (!take(&footer, '\n'))
        return "its closing rule is missing";
    const char *end = footer.n ? memchr(footer.p, '\n', footer.n) : NULL;
    if (!end)
        return "its closing rule is cut off";
    footer.n = (size_t)(end - footer.p);
    if (footer.n == 0)
        return NULL;
    zone->has_rule = true;
    return parse_rule(footer, &zone->rule) ? NULL : "its closing rule is not understood";
}

static int refuse(struct err *err, struct bytes name, const char *why, const char *remedy) {
    _cleanup_buf_ struct buf shown = {0};
    if (name.n > ZONE_NAME_MAX)
        name.n = ZONE_NAME_MAX;
    if (text_add_printable(&shown, name) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    return err_set(err, -EINVAL, "time zone \"%s\": %s; %s", shown.p ? shown.p : "", why, remedy);
}

static int damaged(struct err *err, struct bytes name, const char *why) {
    return refuse(err, name, why, "install the package tzdata again");
}

int zone_parse(struct bytes name, struct bytes file, struct zone **ret_zone, struct err *err) {
    struct header header;
    if (file.n > ZONE_FILE_MAX)
        return damaged(err, name, "it is too large");
    if (!take_header(&file, &header))
        return damaged(err, name, "it is no TZif file");
    size_t time_size = 4;
    if (header.version >= 2) { /* the same again with longer times */
        size_t skip = block_size(&header, time_size);
        if (file.n < skip)
            return damaged(err, name, "it is cut off");
        file.p += skip;
        file.n -= skip;
        if (!take_header(&file, &header))
            return damaged(err, name, "its second header is missing");
        time_size = 8;
    }
    if (header.leapcnt > 0)
        return refuse(err, name, "it counts leap seconds", "use the zone of the same name outside of right/");
    const char *why = check_header(&header, file, time_size);
    if (why)
        return damaged(err, name, why);
    _cleanup_free_ struct zone *zone = mem_zalloc(sizeof *zone + header.timecnt * sizeof zone->changes[0]);
    if (!zone)
        return err_set(err, -ENOMEM, "out of memory");
    why = read_changes(zone, file.p, &header, time_size);
    size_t size = block_size(&header, time_size);
    if (!why && time_size == 8)
        why = read_footer(zone, bytes_of(file.p + size, file.n - size));
    if (why)
        return damaged(err, name, why);
    *ret_zone = TAKE_PTR(zone);
    return 0;
}

static int read_file(struct bytes name, const char *folder, char **ret_data, size_t *ret_n, struct err *err) {
    _cleanup_buf_ struct buf path = {0};
    if (buf_printf(&path, "%s/%.*s", folder, (int)name.n, name.p) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    /* Nobody is waited for, whatever the name turns out to be. */
    _cleanup_close_ int fd = open(path.p, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) < 0) {
        int r = -errno;
        if (r != -ENOENT && r != -ENOTDIR)
            return err_set(err, r, "cannot read the time zone's file %.300s: %s", path.p, err_errno_text(r));
        if (access(folder, F_OK) < 0)
            return err_set(err, -ENOENT,
                           "time zone \"%.*s\": this machine has no time zones (%.200s is not there); install the "
                           "package tzdata",
                           (int)name.n, name.p, folder);
    }
    if (fd < 0 || !S_ISREG(stat.st_mode))
        return err_set(err, -ENOENT,
                       "there is no time zone \"%.*s\" in %.200s; write it like Europe/Berlin or UTC, or install the "
                       "package tzdata (for old names: tzdata-legacy)",
                       (int)name.n, name.p, folder);
    if (stat.st_size > ZONE_FILE_MAX)
        return damaged(err, name, "it is too large");
    size_t size = (size_t)stat.st_size, n = 0;
    _cleanup_free_ char *data = mem_alloc(size);
    if (!data)
        return err_set(err, -ENOMEM, "out of memory");
    while (n < size) {
        ssize_t got = read(fd, data + n, size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int r = -errno;
            return err_set(err, r, "cannot read the time zone's file %.300s: %s", path.p, err_errno_text(r));
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    *ret_data = TAKE_PTR(data);
    *ret_n = n;
    return 0;
}

int zone_load(struct bytes name, struct zone **ret_zone, struct err *err) {
    if (!zone_name_valid(name))
        return refuse(err, name, "that cannot be the name of one", "write it like Europe/Berlin or UTC");
    if (bytes_equal(name, BYTES("UTC")) || bytes_equal(name, BYTES("Etc/UTC"))) {
        struct zone *utc = mem_zalloc(sizeof *utc);
        if (!utc)
            return err_set(err, -ENOMEM, "out of memory");
        *ret_zone = utc;
        return 0;
    }
    const char *folder = secure_getenv("TZDIR");
    _cleanup_free_ char *data = NULL;
    size_t n = 0;
    int r = read_file(name, folder && folder[0] == '/' ? folder : ZONE_FOLDER, &data, &n, err);
    return r < 0 ? r : zone_parse(name, bytes_of(data, n), ret_zone, err);
}

void zone_free(struct zone *zone) {
    mem_free(zone);
}

/* ---- looking up ---- */

void zone_span_at(const struct zone *zone, int64_t utc_s, struct zone_span *ret_span) {
    *ret_span = (struct zone_span){INT64_MIN, INT64_MAX, zone ? zone->first_s : 0};
    if (!zone)
        return;
    if (zone->has_rule && utc_s >= zone->rule_from_s) {
        rule_span(&zone->rule, utc_s, ret_span);
        if (ret_span->from_s < zone->rule_from_s)
            ret_span->from_s = zone->rule_from_s;
        return;
    }
    size_t low = 0, high = zone->n; /* changes before `low` have been, those from `high` on are to come */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->changes[middle].at_s <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0) {
        ret_span->from_s = zone->changes[low - 1].at_s;
        ret_span->offset_s = zone->changes[low - 1].offset_s;
    }
    if (low < zone->n)
        ret_span->until_s = zone->changes[low].at_s;
    else if (zone->has_rule)
        ret_span->until_s = zone->rule_from_s;
}

int32_t zone_offset_at(const struct zone *zone, int64_t utc_s) {
    struct zone_span span;
    zone_span_at(zone, utc_s, &span);
    return span.offset_s;
}

/* Going through all spans that can hold the instant, as far as offsets reach. */
int zone_local_to_utc(const struct zone *zone, int64_t local_s, struct zone_instants *ret_instants) {
    int64_t last_s = add_within(local_s, -(int64_t)OFFSET_LEAST_S);
    struct zone_span span;
    zone_span_at(zone, add_within(local_s, -(int64_t)OFFSET_MOST_S), &span);
    struct zone_instants found = {0}, gap = {0};
    int count = 0;
    for (;;) {
        int64_t at_s = add_within(local_s, -(int64_t)span.offset_s);
        if (at_s >= span.from_s && (at_s < span.until_s || span.until_s == INT64_MAX)) {
            if (count == 0)
                found.first_utc_s = at_s;
            found.last_utc_s = at_s;
            count = count == 0 ? 1 : 2;
        }
        if (span.until_s == INT64_MAX || span.until_s > last_s)
            break;
        struct zone_span next;
        zone_span_at(zone, span.until_s, &next);
        if (add_within(span.until_s, span.offset_s) <= local_s && add_within(next.from_s, next.offset_s) > local_s)
            gap = (struct zone_instants){next.from_s, next.from_s, next.from_s, next.offset_s - span.offset_s};
        span = next;
    }
    *ret_instants = count ? found : gap;
    return count;
}
