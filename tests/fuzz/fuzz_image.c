/* Any bytes are an image, of which small ones are made, or are refused in one line: all the way through libvips and the
 * libraries under it. */
#include "work.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

static const char text[] =
    "{\"max_pixels\":1000000,\"extension\":\"ignore\",\"outputs\":[{\"name\":\"a\",\"width\":16,\"format\":\"png\"},"
    "{\"name\":\"b\",\"width\":9,\"height\":9,\"fit\":\"cover\",\"format\":\"gif\"},"
    "{\"name\":\"c\",\"width\":16,\"format\":\"jpeg\",\"metadata\":\"keep\"}]}";

/* Once in the process, as libvips is begun once. */
static struct image_tool *tool(void) {
    static struct image_tool *tool;
    static struct image_spec *spec;
    if (!tool)
        MUST(image_spec_parse(bytes_str(text), &spec, NULL) == 0 && image_tool_new(spec, &tool, NULL) == 0);
    return tool;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct image_answer answer = {0};
    image_work(tool(), BYTES("key"), bytes_of(data, size), &answer);
    if (answer.status == IMAGE_OK)
        for (size_t i = 0; i < answer.n_parts; i++)
            MUST(image_sniff(bytes_of(answer.parts[i].data, answer.parts[i].n)).format != IMAGE_NONE);
    else
        MUST(answer.n_parts == 0 && answer.reason[0] && !strchr(answer.reason, '\n'));
    image_answer_free(&answer);
    return 0;
}
