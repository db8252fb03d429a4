/* clock.c - the system's clocks and the proleptic Gregorian calendar. */
#include "clock.h"

#include <time.h>

static int64_t read_clock(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts); /* cannot fail for these two clocks */
    return (int64_t)ts.tv_sec * US_PER_S + ts.tv_nsec / 1000;
}

static int64_t system_utc_us(void *arg) {
    (void)arg;
    return read_clock(CLOCK_REALTIME);
}

static int64_t system_mono_us(void *arg) {
    (void)arg;
    return read_clock(CLOCK_BOOTTIME);
}

const struct clock clock_system = {system_utc_us, system_mono_us, 0};

/* Days since 1970-01-01 of a civil date, by counting years from March so that the leap day comes last. */
static int64_t days_from_civil(int64_t y, int m, int d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

int64_t clock_from_date_utc(const struct clock_date *date) {
    int64_t days = days_from_civil(date->year, date->month, date->day);
    int64_t seconds = ((days * 24 + date->hour) * 60 + date->minute) * 60 + date->second;
    int64_t us = date->us;
    if (seconds < 0) { /* towards zero first, so that the earliest times that have a date also have a way back */
        seconds++;
        us -= US_PER_S;
    }
    return seconds * US_PER_S + us;
}

void clock_date_utc(int64_t utc_us, struct clock_date *ret_date) {
    int64_t day_us = 24 * US_PER_HOUR;
    int64_t days = utc_us / day_us, rest = utc_us % day_us;
    if (rest < 0) {
        rest += day_us;
        days--;
    }
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *ret_date = (struct clock_date){
        .year = (int)(yoe + era * 400 + (month <= 2)),
        .month = month,
        .day = (int)(doy - (153 * mp + 2) / 5 + 1),
        .hour = (int)(rest / US_PER_HOUR),
        .minute = (int)(rest / US_PER_MIN % 60),
        .second = (int)(rest / US_PER_S % 60),
        .us = (int)(rest % US_PER_S),
        .weekday = (int)(((days % 7) + 7 + 4) % 7),
    };
}
