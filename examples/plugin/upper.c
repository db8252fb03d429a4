/* upper.c - a plugin: makes every text upper case.
 *
 *     cc -shared -fPIC -o upper.so upper.c
 *     froe run --bucket-prefix texts- --output "s3://upper/{key}" --plugin ./upper.so */
#include <froe_plugin.h>

#include <ctype.h>
#include <stdlib.h>

static int upper(void *state, const froe_plugin_host *host, froe_plugin_call *call, const froe_plugin_object *object) {
    const unsigned char *text = object->body;
    char *made = malloc(object->body_n + 1);
    if (!made) {
        host->reason(call, "not enough memory for this text");
        return FROE_PLUGIN_RETRY;
    }
    for (size_t i = 0; i < object->body_n; i++)
        made[i] = (char)toupper(text[i]);
    froe_plugin_result result = {sizeof result, "", "text/plain", "txt", made, object->body_n};
    int kept = host->result(call, &result);
    free(made);
    return kept == 0 ? FROE_PLUGIN_OK : FROE_PLUGIN_FAIL;
}

const froe_plugin froe_plugin_table = {
    .size = sizeof(froe_plugin), .version = FROE_PLUGIN_VERSION, .name = "upper", .process = upper};
