/* gemm_narrow.h — the last columns of a product that would leave most lanes idle.
 *
 * 100 columns are six vectors of 16 and a seventh with 4 lanes used; an output layer may have
 * one or two.  Such columns are computed along the other direction: with vectors over k (NN)
 * or over the rows of C (TN), FEW columns at a time, so that no lane idles (784-100-10, batch
 * 200: 7 → 6.25 vectors' worth of work).  The sum of NN is then one of LANES sums, k by k in
 * turn, added up as v_sum does; a row by itself (gemv.h) is summed in the same order.
 */
#ifndef MLP_PRODUCTS_GEMM_NARROW_H
#define MLP_PRODUCTS_GEMM_NARROW_H

#include "machine/simd.h"

/* Columns of a panel of C. */
#define NV 2
#define NR (NV * LANES)
/* Terms of a sum between two rests in C: 4 KiB of a row of A.  A panel of B of KC rows is 128
 * KiB, which stays in a 1 MiB L2 beside 128 such rows of A; 784 floats (the commonest input)
 * are whole. */
#define KC (4096 / sizeof(real))

enum product { NN, NT, TN };

#define FEW 4
#define MOST_FEW (LANES / 2)
#define FEW_ROWS_NN 5
#define FEW_VECS_TN 6

/* NN: c (m × few) from the rows at a and the columns of b, transposed: bt (few × k), ldt apart */
INLINE void few_columns_nn(const size_t m, const size_t few, size_t k_len, const real *const *a,
                           const real *bt, size_t ldt, real *c, size_t ldc, int resume)
{
    vec acc[FEW_ROWS_NN][FEW];
    _Pragma("GCC unroll 8") for (size_t i = 0; i < m; i++)
        _Pragma("GCC unroll 8") for (size_t q = 0; q < few; q++) acc[i][q] = v_zero();
    size_t k = 0;
    for (; k + LANES <= k_len; k += LANES)
        _Pragma("GCC unroll 8") for (size_t q = 0; q < few; q++) {
            const vec b = v_load(bt + q * ldt + k);
            _Pragma("GCC unroll 8") for (size_t i = 0; i < m; i++)
                acc[i][q] += v_load(a[i] + k) * b;
        }
    if (k < k_len)
        for (size_t q = 0; q < few; q++) {
            const vec b = v_load_n(bt + q * ldt + k, k_len - k, 0);
            for (size_t i = 0; i < m; i++)
                acc[i][q] += v_load_n(a[i] + k, k_len - k, 0) * b;
        }
    for (size_t i = 0; i < m; i++)
        for (size_t q = 0; q < few; q++)
            c[i * ldc + q] = v_sum(acc[i][q]) + (resume ? c[i * ldc + q] : 0);
}

/* TN: c (nv·LANES × few, or `m` of them) = Σ_k a[k, first…] b[k, columns], where row k of a is
 * at rows[k], or without `rows` at a + k lda */
INLINE void few_columns_tn(const size_t nv, const size_t few, size_t k_len, const real *a,
                           size_t lda, const real *const *rows, size_t first, const real *b,
                           size_t ldb, real *c, size_t ldc, size_t m, int resume)
{
    vec acc[FEW_VECS_TN][FEW];
    _Pragma("GCC unroll 8") for (size_t v = 0; v < nv; v++)
        _Pragma("GCC unroll 8") for (size_t q = 0; q < few; q++) acc[v][q] = v_zero();
    for (size_t k = 0; k < k_len; k++, b += ldb) {
        const real *row = (rows ? rows[k] : a + k * lda) + first;
        vec av[FEW_VECS_TN];
        for (size_t v = 0; rows && v < nv; v++) /* anywhere: asked for 16 terms ahead */
            PREFETCH(rows[min_size(k + 16, k_len - 1)] + first + v * LANES, 0);
        _Pragma("GCC unroll 8") for (size_t v = 0; v < nv; v++)
            av[v] = nv > 1 ? v_load(row + v * LANES) : v_load_n(row, m, 0);
        _Pragma("GCC unroll 8") for (size_t q = 0; q < few; q++) {
            const vec bq = v_set1(b[q]);
            _Pragma("GCC unroll 8") for (size_t v = 0; v < nv; v++) acc[v][q] += av[v] * bq;
        }
    }
    for (size_t v = 0; v < nv; v++)
        for (size_t q = 0; q < few; q++) {
            real column[LANES];
            v_store(column, acc[v][q]);
            for (size_t i = 0; i < LANES && v * LANES + i < m; i++) {
                real *to = c + (v * LANES + i) * ldc + q;
                *to = column[i] + (resume ? *to : 0);
            }
        }
}

/* NN for one row: z (cols) = bias + x (k_len) · w (k_len × cols) */
static void few_columns_row(real *z, const real *bias, const real *x, size_t k_len,
                            const real *w, size_t ldw, size_t cols)
{
    vec sum = v_zero();
    for (size_t k0 = 0; k0 < k_len; k0 += KC, x += KC, w += KC * ldw) {
        const size_t len = min_size(KC, k_len - k0);
        vec acc[LANES];
        _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES; i++) acc[i] = v_zero();
        size_t k = 0;
        for (; k + LANES <= len; k += LANES)
            _Pragma("GCC unroll 16") for (size_t i = 0; i < LANES; i++)
                acc[i] += v_set1(x[k + i]) * v_load_n(w + (k + i) * ldw, cols, 0);
        for (size_t i = 0; k < len; i++, k++)
            acc[i] += v_set1(x[k]) * v_load_n(w + k * ldw, cols, 0);
        for (size_t half = LANES / 2; half > 0; half /= 2)
            for (size_t i = 0; i < half; i++)
                acc[i] += acc[i + half];
        sum = k0 ? acc[0] + sum : acc[0];
    }
    v_store_n(z, bias ? sum + v_load_n(bias, cols, 0) : sum, cols);
}

/* Is that less work?  A sum across the lanes takes as long as ten terms, a column's way to its
 * place in C as long as 32. */
INLINE int goes_apart(enum product kind, size_t cols, size_t k)
{
    if (kind == NT || cols > MOST_FEW || k < LANES)
        return 0;
    return kind == NN ? cols * (k / LANES + 10) < k : cols * (k + 32) < LANES * k;
}

#endif
