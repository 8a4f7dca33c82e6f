/* region.h — a rectangle of a workspace matrix, as elementwise functions work on it. */
#ifndef MLP_MACHINE_REGION_H
#define MLP_MACHINE_REGION_H

#include "machine/simd.h"

/* m rows of n values (whole vectors) at c, and their counterparts at s, rows ld apart; the first
 * value is that of unit `col`. */
typedef struct {
    real *c, *s;
    size_t ld, m, n, col;
} region_t;

#endif
