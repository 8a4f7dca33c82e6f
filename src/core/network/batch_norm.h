/* batch_norm.h — batch normalisation, forward and backward  [S 65.168–65.188, 65.221–65.232].
 *
 *   forward    z′ = (z − z̄) ξ,  ξ = (σ² + ε)^{−½},  v = a z′ + b      z̄, σ²: over the batch, 1/B
 *   backward   g = a δ;  ∂a = Σ δ z′;  ∂b = Σ δ
 *              exact      ∂z_b = ξ (g_b − mean g − z′_b mean(g z′))            [S P65.19]
 *              diagonal   ∂z_b = ξ (1 − 1/B − z′_b²/B) g_b    c_{b,b} alone [S 65.221, 65.229]
 *   running    s ← λ s + (1 − λ) batch value, the variance's unbiased          [S 65.176]
 *
 * The listing's diagonal form is for δ only: its ∂W sums c_{b,p} over all p [S 65.222], which
 * is the exact form.  Matrices are (B × ld); every thread has columns of its own, so that no sum
 * is divided and no barrier is needed inside.
 */
#ifndef MLP_NETWORK_BATCH_NORM_H
#define MLP_NETWORK_BATCH_NORM_H

#include "machine/region.h"
#include "network/piece.h"

#define PART_ROWS 1024

/* Σ over LANES columns at z, in parts: one float32 sum of a million rows loses four digits. */
INLINE vec column_sum(const real *z, size_t ld, size_t rows)
{
    vec sum = v_zero();
    for (size_t first = 0; first < rows; first += PART_ROWS) {
        vec part = v_zero();
        for (size_t i = first; i < min_size(first + PART_ROWS, rows); i++)
            part += v_load(z + i * ld);
        sum += part;
    }
    return sum;
}

/* Σ (a − a_shift)(b − b_shift), in the same parts */
INLINE vec column_inner(const real *a, vec a_shift, const real *b, vec b_shift, size_t ld,
                        size_t rows)
{
    vec sum = v_zero();
    for (size_t first = 0; first < rows; first += PART_ROWS) {
        vec part = v_zero();
        for (size_t i = first; i < min_size(first + PART_ROWS, rows); i++)
            part += (v_load(a + i * ld) - a_shift) * (v_load(b + i * ld) - b_shift);
        sum += part;
    }
    return sum;
}

/* z̄ and σ² (1/B) of LANES columns at z */
INLINE void column_moments(const real *z, size_t ld, size_t rows, vec *mean, vec *var)
{
    const vec n = v_set1((real)rows);
    *mean = column_sum(z, ld, rows) / n;
    *var = column_inner(z, *mean, z, *mean, ld, rows) / n;
}

/* One set of columns that is normalised. */
typedef struct {
    const norm_t *norm;
    const int32_t *unit;     /* thinned: index of each column's statistics; or NULL      */
    const real *a, *b;       /* NULL: z′ itself                                          */
    size_t n;
} normed_t;

/* s ← λ s + (1 − λ) s_batch for the units of LANES columns */
static void update_statistics(const piece_t *c, const normed_t *x, size_t column, vec mean,
                              vec var)
{
    const norm_t *norm = x->norm;
    const double momentum = c->net->norm_momentum;
    const double unbiased = c->rows > 1 ? (double)c->rows / (double)(c->rows - 1) : 1;
    for (size_t i = 0; i < min_size(LANES, x->n - column); i++) {
        const size_t k = x->unit ? (size_t)x->unit[column + i] : column + i;
        norm->mean[k] = momentum * norm->mean[k] + (1 - momentum) * (double)v_lane(mean, i);
        norm->var[k] =
            momentum * norm->var[k] + (1 - momentum) * unbiased * (double)v_lane(var, i);
        norm->seen[k] += 1;
    }
}

/* The worker's columns of z: z becomes a z′ + b, z′ is kept. */
static void norm_forward(const piece_t *c, const normed_t *x, const region_t *r)
{
    const norm_t *norm = x->norm;
    const size_t ld = r->ld, rows = c->rows, n = x->n;
    const vec eps = v_set1(at_least_normal(c->net->norm_epsilon));
    real *z = r->c;
    size_t from, to;
    split_range(c->w, n, LANES, &from, &to);
    for (size_t j = from; j < to; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        vec mean, var;
        column_moments(z + j, ld, rows, &mean, &var);
        if (!c->net->norm_frozen)
            update_statistics(c, x, j, mean, var);
        const vec inv = v_set1(1) / v_sqrt(var + eps);
        if (norm->inv_std)
            v_store((real *)norm->inv_std + j, inv);
        const vec scale = x->a ? v_load_n(x->a + j, m, 0) : v_set1(1);
        const vec shift = x->b ? v_load_n(x->b + j, m, 0) : v_zero();
        for (size_t i = 0; i < rows; i++) {
            const vec normal = (v_load(z + i * ld + j) - mean) * inv;
            if (norm->z_norm)
                v_store((real *)norm->z_norm + i * ld + j, normal);
            v_store(z + i * ld + j, scale * normal + shift);
        }
    }
}

/* The worker's columns of a layer: δ (of v) becomes ∂z, and ∂a and ∂b are written; `diagonal`,
 * if not NULL, receives the listing's form, from which the layer below then takes its δ. */
static void norm_backward(const piece_t *c, const layer_t *layer, real *delta, real *diagonal)
{
    const norm_t *norm = &layer->norm;
    const real *z_norm = norm->z_norm, *a = (const real *)c->net->params + norm->scale;
    real *grads = c->p->work.grads;
    const size_t ld = layer->ld, rows = c->rows, n = layer->n_out;
    const vec size = v_set1((real)rows), one = v_set1(1);
    size_t from, to;
    split_range(c->w, n, LANES, &from, &to);
    for (size_t j = from; j < to; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        const vec sum = column_sum(delta + j, ld, rows);
        const vec inner = column_inner(delta + j, v_zero(), z_norm + j, v_zero(), ld, rows);
        v_store_n(grads + norm->scale + j, inner, m);
        v_store_n(grads + layer->b + j, sum, m);
        const vec scale = v_load_n(a + j, m, 0) * v_load((const real *)norm->inv_std + j);
        const vec mean_g = sum / size, mean_gz = inner / size;
        for (size_t i = 0; i < rows; i++) {
            const vec d = v_load(delta + i * ld + j), z = v_load(z_norm + i * ld + j);
            if (diagonal)
                v_store(diagonal + i * ld + j, scale * d * (one - (one + z * z) / size));
            v_store(delta + i * ld + j, scale * (d - mean_g - z * mean_gz));
        }
    }
}

#endif
