/* json_set.c - see json_set.h. */
#include "json_set.h"

#include "clock.h"
#include "text.h"

void json_set_key(json_t *object, const char *name, struct bytes key) {
    _cleanup_buf_ struct buf url = {0}, name_url = {0};
    if (text_is_utf8(key))
        json_object_set_new(object, name, json_stringn_nocheck(key.p ? key.p : "", key.n));
    else if (text_add_percent(&url, key, true) == 0 && buf_printf(&name_url, "%s_url", name) == 0)
        json_object_set_new(object, name_url.p, json_stringn_nocheck(url.p, url.n));
}

void json_set_text(json_t *object, const char *name, const char *text) {
    _cleanup_buf_ struct buf printable = {0};
    if (!text)
        json_object_set_new(object, name, json_null());
    else if (text_is_utf8(bytes_str(text)))
        json_object_set_new(object, name, json_string_nocheck(text));
    else if (text_add_printable(&printable, bytes_str(text)) == 0)
        json_object_set_new(object, name, json_string_nocheck(printable.p));
}

void json_set_time(json_t *object, const char *name, int64_t utc_us) {
    _cleanup_buf_ struct buf text = {0};
    if (utc_us == 0)
        json_object_set_new(object, name, json_null());
    else if (text_add_iso8601(&text, utc_us, true) == 0)
        json_object_set_new(object, name, json_string_nocheck(text.p));
}

void json_set_ms(json_t *object, const char *name, int64_t us) {
    json_object_set_new(object, name, us < 0 ? json_null() : json_real((double)us / (double)US_PER_MS));
}

void json_set_json(json_t *object, const char *name, const char *text) {
    if (!text) {
        json_object_set_new(object, name, json_null());
        return;
    }
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (value)
        json_object_set_new(object, name, value);
    else
        json_set_text(object, name, text);
}

void json_set_count(json_t *object, const char *name, uint64_t count) {
    json_object_set_new(object, name, json_integer(count > INT64_MAX ? INT64_MAX : (json_int_t)count));
}

const char *json_text(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

int64_t json_number(const json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}
