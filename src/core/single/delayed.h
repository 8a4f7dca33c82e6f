/* delayed.h — the first layer of single samples, its updates delayed.
 *
 * The inputs of the samples to come are known before their steps.  Over a run of DELAY of them,
 * from the V with which the run begins,
 *
 *   z_t = V_tᵀ x_t = Vᵀ x_t − Σ_{j<t} (x_j·x_t) k_j δ_j        V_T = V − Σ_j x_j (k_j δ_j)ᵀ
 *
 * (k_j the step's rate in V's scale): the same sums in another order.  V is read and written
 * once a run, in matrix products, instead of once a sample; a sample keeps its row u_j = −k_j δ_j
 * and is multiplied with those before it, x_j·x_t.  Rows of V whose inputs are zero are not
 * left out.
 */
#ifndef MLP_SINGLE_DELAYED_H
#define MLP_SINGLE_DELAYED_H

#include "single/rows.h"

/* Samples of a run: two tiles of rows (784-512-512-10, µs a sample: 12 20.2, 24 19.0, 36 19.3,
 * 48 19.6; without delay 27). */
#define DELAY 24
/* Rows of V that are updated, and meet the next run while they lie in the second-level cache
 * (32 19.7, 64 19.4, 128 19.0, 256 19.0). */
#define ROWS_AT_ONCE 128

/* Bytes of W above which it pays (float32: 50-100-5 3 % slower, 100-100-10 23 % faster,
 * 784-100-10 60 %). */
#define LEAST_DELAYED 20480

/* Whether so many inputs are not zero that leaving out the others' rows would gain less, judged
 * by up to 64 samples (784-100-10, float32: as fast at 30 %, float64 at 35 %). */
static int delay_pays(const data_t *d, size_t n_features)
{
    const size_t n = min_size(64, d->n_samples);
    size_t nonzero = 0;
    for (size_t i = 0; !d->indptr && i < n; i++) {
        const real *x = (const real *)d->x + sample_at(d, i * d->n_samples / n) * d->ldx;
        for (size_t j = 0; j < n_features; j++)
            nonzero += x[j] != 0;
    }
    return 5 * nonzero > 2 * n * n_features;
}

typedef struct {
    real *z; /* (DELAY × ld) Vᵀ x_t                                                      */
    real *u; /* (DELAY × ld) −k_t δ_t of the steps that are done                         */
    size_t ld;
} delayed_t;

/* Addresses of the samples at `position` and after; how many, up to `n`. */
static size_t rows_of(const data_t *d, size_t position, size_t n, const real **x)
{
    n = min_size(n, d->n_samples - position);
    for (size_t t = 0; t < n; t++)
        x[t] = (const real *)d->x + sample_at(d, position + t) * d->ldx;
    return n;
}

/* V += Σ x uᵀ over the samples done, then z = Vᵀ x for the next ones, columns [from, to). */
static void next_run(const held_t *w, size_t from, size_t to, const delayed_t *run,
                     const real *const *done, size_t n_done, const real *const *next,
                     size_t n_next, real *pack)
{
    const real *past[DELAY], *coming[DELAY];
    FOR_STRIPS (from, to)
        for (size_t row = 0; row < w->n_in; row += ROWS_AT_ONCE) {
            const size_t rows = min_size(ROWS_AT_ONCE, w->n_in - row);
            real *v = strip_of(w, j) + row * w->ld;
            for (size_t t = 0; t < n_done; t++)
                past[t] = done[t] + row;
            for (size_t t = 0; t < n_next; t++)
                coming[t] = next[t] + row;
            const gemm_t update = {TN, rows, n, n_done, NULL, run->u + j, v, 0, run->ld, w->ld,
                                   1, NULL, past};
            const gemm_t product = {NN, n_next, n, rows, NULL, v, run->z + j, 0, w->ld, run->ld,
                                    row > 0, NULL, coming};
            if (n_done)
                gemm(&update, NULL, 0, 1);
            if (n_next)
                gemm(&product, pack, 0, 1);
        }
}

/* z of sample t of a run, columns [from, to) */
static void delayed_forward(const delayed_t *run, size_t from, size_t to,
                            const real *const *x, size_t t, size_t n_features, real *z)
{
    real products[DELAY];
    if (from == to)
        return;
    rows_times_row(products, x, t, x[t], n_features);
    row_times_matrix(z + from, run->z + t * run->ld + from, products, NULL, t, run->u + from,
                     run->ld, to - from);
}

#endif
