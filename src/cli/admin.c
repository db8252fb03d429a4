/* admin.c - answers to what is asked about a store, each subject in a file of its own. */
#include "admin_private.h"

#include "text.h"

json_t *admin_failure(const char *text) {
    return json_pack("{s:s}", "error", text);
}

json_t *admin_failed(const froe_error *error) {
    json_t *answer = json_pack("{s:i}", "code", error->code);
    json_set_text(answer, "error", error->text);
    return answer;
}

const char *admin_state_name(froe_state state) {
    static const char *const names[] = {
        [FROE_UNKNOWN] = "unknown", [FROE_QUEUED] = "queued",       [FROE_WAITING] = "waiting",
        [FROE_RUNNING] = "running", [FROE_PARKED] = "parked",       [FROE_SUCCEEDED] = "succeeded",
        [FROE_FAILED] = "failed",   [FROE_CANCELLED] = "cancelled",
    };
    return (unsigned)state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

int admin_child_key(struct buf *child_key, const char *bucket, const char *key_url) {
    if (!bucket)
        return -EINVAL;
    int r = buf_printf(child_key, "%s/", bucket);
    return r < 0 ? r : text_add_unpercent(child_key, bytes_str(key_url), false);
}

void admin_ask(struct admin *admin, json_t *request, admin_answer_fn *answer, void *arg) {
    const char *op = json_string_value(json_object_get(request, "op"));
    const struct question question = {admin, request, answer, arg};
    if (!op || !(admin_ask_status(&question, op) || admin_ask_parked(&question, op) || admin_ask_runs(&question, op) ||
                 admin_ask_changes(&question, op) || admin_ask_workflows(&question, op)))
        answer(arg, admin_failure("unknown request"));
}
