/* property_life.h - random acts in random worlds, and whether all promises were kept in the end. */
#pragma once

#include "property_world.h"

/* One world after the other for about so many seconds. By the environment: FROE_PROPERTY_SECONDS, how long instead;
 * FROE_PROPERTY_FROM, the first one's seed (1), the next have the next numbers; FROE_PROPERTY_SEED, this one alone.
 * What the seed does not decide is how threads, the disk and a server's clock take turns. */
void property_live(const struct world_server *server, unsigned seconds);
