/* delayed.h — delayed updates of the first layer in the per-sample path.
 *
 * The inputs of the next samples are known before their steps.  Over a run of DELAY of them,
 * from the V with which the run begins,
 *
 *   z_t = V_tᵀ x_t = Vᵀ x_t − Σ_{j<t} (x_j·x_t) k_j δ_j        V_T = V − Σ_j x_j (k_j δ_j)ᵀ
 *
 * (k_j the step's rate in V's scale): the same sums in another order.  V is read and written
 * once per run, in matrix products, instead of once per sample; a sample keeps its row
 * u_j = −k_j δ_j, and later samples of the run use it with the inner product x_j·x_t.  Rows of V
 * whose inputs are zero are not skipped.
 */
#ifndef MLP_SINGLE_DELAYED_H
#define MLP_SINGLE_DELAYED_H

#include "single/rows.h"

/* Samples of a run: two tiles of rows (784-512-512-10, µs per sample: 12 20.2, 24 19.0, 36 19.3,
 * 48 19.6; without delay 27). */
#define DELAY 24
/* Rows of V that are updated and then multiplied with the next run while they are in the
 * second-level cache (32 19.7, 64 19.4, 128 19.0, 256 19.0). */
#define ROWS_AT_ONCE 128

/* Bytes of W above which it pays (float32: 50-100-5 3 % slower, 100-100-10 23 % faster,
 * 784-100-10 60 %). */
#define LEAST_DELAYED 20480

/* Whether so many inputs are nonzero that skipping the rows of the others would gain less,
 * estimated from up to 64 samples (784-100-10, float32: as fast at 30 %, float64 at 35 %). */
static int delay_pays(const samples_t *s, size_t n_features)
{
    const data_t *d = s->data;
    const size_t n = min_size(64, s->n);
    size_t nonzero = 0;
    for (size_t i = 0; !d->indptr && i < n; i++) {
        const real *x = (const real *)d->x + sample_at(s, i * s->n / n) * d->ldx;
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
static size_t rows_of(const samples_t *s, size_t position, size_t n, const real **x)
{
    n = min_size(n, s->n - position);
    for (size_t t = 0; t < n; t++)
        x[t] = (const real *)s->data->x + sample_at(s, position + t) * s->data->ldx;
    return n;
}

/* Samples of a run: how many, and their inputs. */
typedef struct {
    size_t n;
    const real *x[DELAY];
} run_t;

/* V += Σ x uᵀ over the run that is done, then z = Vᵀ x for the next one. */
static void next_run(const strips_t *w, range_t own, const delayed_t *delayed, const run_t *done,
                     const run_t *next, real *pack)
{
    const real *past[DELAY], *coming[DELAY];
    FOR_STRIPS (own)
        for (size_t row = 0; row < w->n_in; row += ROWS_AT_ONCE) {
            const size_t rows = min_size(ROWS_AT_ONCE, w->n_in - row);
            real *v = strip_of(w, j) + row * w->ld;
            for (size_t t = 0; t < done->n; t++)
                past[t] = done->x[t] + row;
            for (size_t t = 0; t < next->n; t++)
                coming[t] = next->x[t] + row;
            const gemm_t update = {TN, rows, n, done->n, NULL, delayed->u + j, v, 0, delayed->ld,
                                   w->ld, 1, NULL, past};
            const gemm_t product = {NN, next->n, n, rows, NULL, v, delayed->z + j, 0, w->ld,
                                    delayed->ld, row > 0, NULL, coming};
            if (done->n)
                gemm(&update, NULL, &alone);
            if (next->n)
                gemm(&product, pack, &alone);
        }
}

/* z of sample t of a run */
static void delayed_forward(const delayed_t *delayed, range_t own, const run_t *run, size_t t,
                            size_t n_features, real *z)
{
    const size_t from = own.from, ld = delayed->ld;
    real products[DELAY];
    if (from == own.to)
        return;
    rows_times_row(products, run->x, t, run->x[t], n_features);
    row_times_matrix(z + from, delayed->z + t * ld + from, products, NULL, t, delayed->u + from,
                     ld, own.to - from);
}

#endif
