/* demo_image.h - small pictures for the demo. */
#pragma once

#include "bytes.h"
#include "rng.h"

/* Appends a PNG of a random gradient, 24 to 71 pixels wide and high, uncompressed inside. -ENOMEM. */
int demo_image(struct rng *rng, struct buf *out);
