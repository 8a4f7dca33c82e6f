/* mask.h — which units a batch keeps  [S 65.120–65.124].
 *
 * A mask is a pure function of (seed of the epoch, batch, layer, unit[, row]): any thread can
 * compute any part of it, in any order, twice.  Inputs are layer 0, layer l's outputs l + 1.
 */
#ifndef MLP_NETWORK_MASK_H
#define MLP_NETWORK_MASK_H

#include "mlp_core.h"
#include "machine/simd.h"

/* splitmix64's finaliser: every input bit reaches every output bit */
INLINE uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

#define GOLDEN 0x9e3779b97f4a7c15ULL

/* the key of a layer's mask in a batch */
INLINE uint64_t mask_key(uint64_t seed, uint64_t batch, uint64_t layer)
{
    return mix(seed + GOLDEN * mix(batch * 64 + layer + 1));
}

INLINE int is_kept(uint64_t key, uint64_t index, double drop)
{
    return (double)(mix(key + GOLDEN * (index + 1)) >> 11) * 0x1p-53 >= drop;
}

/* Probability that a unit of a layer is dropped. */
INLINE double drop_rate(const plan_t *p, size_t layer)
{
    return layer ? p->net.layers[layer - 1].drop : p->noise.drop;
}

/* Whether training drops any units. */
static int drops_units(const plan_t *p)
{
    int any = 0;
    for (size_t layer = 0; layer <= p->net.n_layers; layer++)
        any = any || drop_rate(p, layer) > 0;
    return any;
}

/* The factor of kept units. */
INLINE real kept_scale(const plan_t *p, size_t layer)
{
    return p->noise.drop_inverted ? (real)(1 / (1 - drop_rate(p, layer))) : 1;
}

#endif
