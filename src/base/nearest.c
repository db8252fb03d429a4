/* nearest.c - see nearest.h. */
#include "nearest.h"

#define CHANGES_MAX 3

size_t nearest_distance(struct bytes a, struct bytes b) {
    size_t row[NEAREST_FAR];
    if (b.n >= NEAREST_FAR || a.n > 2 * NEAREST_FAR)
        return NEAREST_FAR;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 0; i < a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = diagonal + (a.p[i] != b.p[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b.n];
}

void nearest_offer(struct nearest *nearest, const char *known) {
    size_t most = nearest->name.n / 2 + 1; /* of a short name nearly everything is near */
    if (most > CHANGES_MAX)
        most = CHANGES_MAX;
    size_t distance = nearest_distance(nearest->name, bytes_str(known));
    if (distance > most || (nearest->found && distance >= nearest->distance))
        return;
    nearest->found = known;
    nearest->distance = distance;
}

const char *nearest_of(struct bytes name, const char *const *words) {
    struct nearest nearest = {.name = name};
    for (; *words; words++)
        nearest_offer(&nearest, *words);
    return nearest.found;
}
