/* gemv.h — products with one sample, dense or sparse.
 *
 *   row_times_matrix   z (n) = bias + Σ_k x_k W[k, :]     forward   [S 65.31]
 *   matrix_times_row   d (m) = W (m×n) · δ (n)            backward  [S 65.80]
 *
 * Bound by reading W: nothing is packed; eight vectors of z stay in registers while the rows of
 * W are read.  With `index`, x_k multiplies row index[k] (CSR), at a cost per stored entry.  The
 * forward sum is that of the tiles (gemm.h): from 0, k ascending, the bias last; or that of the
 * narrow columns (gemm_narrow.h).  A row's bits are therefore the same by either product, and
 * for any division of the rows between threads.
 */
#ifndef MLP_PRODUCTS_GEMV_H
#define MLP_PRODUCTS_GEMV_H

#include "products/gemm_narrow.h"

#define Z_VECS 8
/* Stored entries' rows of W are scattered: they are prefetched this many entries ahead (5000-100,
 * 1 % stored, batch 200: with the gradient's, 261 → 223 µs per step). */
#define AHEAD 6

INLINE void row_chunk(const size_t nv, size_t last, real *RESTRICT z, const real *bias,
                      const real *x, const int32_t *index, size_t k_len, const real *w,
                      size_t ldw)
{
    vec acc[Z_VECS];
    for (size_t v = 0; v < nv; v++)
        acc[v] = v_zero();
    for (size_t k = 0; k < k_len; k++) {
        const real *row = w + (index ? (size_t)index[k] : k) * ldw;
        if (index) {
            const real *ahead = w + (size_t)index[min_size(k + AHEAD, k_len - 1)] * ldw;
            for (size_t v = 0; v < nv; v++)
                PREFETCH(ahead + v * LANES, 0);
        }
        const vec xk = v_set1(x[k]);
        for (size_t v = 0; v + 1 < nv; v++)
            acc[v] += xk * v_load(row + v * LANES);
        acc[nv - 1] += xk * v_load_n(row + (nv - 1) * LANES, last, 0);
    }
    for (size_t v = 0; bias && v < nv; v++)
        acc[v] += v_load_n(bias + v * LANES, v + 1 < nv ? LANES : last, 0);
    for (size_t v = 0; v + 1 < nv; v++)
        v_store(z + v * LANES, acc[v]);
    v_store_n(z + (nv - 1) * LANES, acc[nv - 1], last);
}

static void row_times_matrix(real *RESTRICT z, const real *bias, const real *x,
                             const int32_t *index, size_t k_len, const real *w, size_t ldw,
                             size_t n)
{
    const size_t last_columns = n % NR ? n % NR : NR;
    if (!index && use_narrow_kernel(NN, last_columns, k_len)) {
        n -= last_columns;
        narrow_row(z + n, bias ? bias + n : NULL, x, k_len, w + n, ldw, last_columns);
    }
    for (size_t j = 0; j < n; j += Z_VECS * LANES) {
        const size_t cols = min_size(Z_VECS * LANES, n - j), nv = (cols + LANES - 1) / LANES;
        const size_t last = cols - (nv - 1) * LANES;
        const real *b = bias ? bias + j : NULL;
        switch (nv) { /* a constant count keeps the sums in registers */
#define ROW_CASE(c) case c: row_chunk(c, last, z + j, b, x, index, k_len, w + j, ldw); break;
            ROW_CASE(1) ROW_CASE(2) ROW_CASE(3) ROW_CASE(4)
            ROW_CASE(5) ROW_CASE(6) ROW_CASE(7) ROW_CASE(8)
        }
    }
}

INLINE void dot_rows(const size_t rows, real *d, const real *const *w, const real *delta,
                     size_t n)
{
    vec acc[4];
    for (size_t i = 0; i < rows; i++)
        acc[i] = v_zero();
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vec e = v_load(delta + j);
        for (size_t i = 0; i < rows; i++)
            acc[i] += v_load(w[i] + j) * e;
    }
    if (j < n) {
        const vec e = v_load_n(delta + j, n - j, 0);
        for (size_t i = 0; i < rows; i++)
            acc[i] += v_load_n(w[i] + j, n - j, 0) * e;
    }
    for (size_t i = 0; i < rows; i++)
        d[i] = v_sum(acc[i]);
}

static void matrix_times_row(real *d, const real *w, size_t ldw, size_t m, const real *delta,
                             size_t n)
{
    size_t i = 0;
    for (; i + 4 <= m; i += 4) {
        const real *rows[] = {w, w + ldw, w + 2 * ldw, w + 3 * ldw};
        dot_rows(4, d + i, rows, delta, n);
        w += 4 * ldw;
    }
    for (; i < m; i++, w += ldw)
        dot_rows(1, d + i, &w, delta, n);
}

/* The same with m rows at any addresses */
static void rows_times_row(real *d, const real *const *rows, size_t m, const real *x, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= m; i += 4)
        dot_rows(4, d + i, rows + i, x, n);
    for (; i < m; i++)
        dot_rows(1, d + i, rows + i, x, n);
}

/* x·y */
INLINE real dot(const real *x, const real *y, size_t n)
{
    vec sum = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        sum += v_load_n(x + j, m, 0) * v_load_n(y + j, m, 0);
    }
    return v_sum(sum);
}

/* to ← a · from, n values exactly */
INLINE void scaled_row(real *to, real a, const real *from, size_t n)
{
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        v_store_n(to + j, v_set1(a) * v_load_n(from + j, m, 0), m);
    }
}

/* y ← y + a x */
INLINE void add_scaled(real *RESTRICT y, real a, const real *RESTRICT x, size_t n)
{
    const vec av = v_set1(a);
    size_t j = 0;
    for (; j + LANES <= n; j += LANES)
        v_store(y + j, v_load(y + j) + av * v_load(x + j));
    if (j < n)
        v_store_n(y + j, v_load_n(y + j, n - j, 0) + av * v_load_n(x + j, n - j, 0), n - j);
}

#endif
