/* gemm_narrow.h — the last columns of a product, which would leave most lanes idle.
 *
 * 100 columns are six vectors of 16 and a seventh with 4 lanes used; an output layer may have
 * one or two.  Such columns are computed along the other direction: with vectors over k (NN) or
 * over the rows of C (TN), NARROW_WIDTH columns at a time, so that no lane idles (784-100-10,
 * batch 200: the work of 6.25 vectors instead of 7).  The sum of NN is then LANES partial sums,
 * which take the terms in turn and are added up as v_sum does; a single row (gemv.h) is summed
 * in the same order.
 */
#ifndef MLP_PRODUCTS_GEMM_NARROW_H
#define MLP_PRODUCTS_GEMM_NARROW_H

#include "products/product.h"

#define NARROW_WIDTH 4
#define MOST_NARROW (LANES / 2)
#define NARROW_ROWS_NN 5
#define NARROW_VECS_TN 6

/* NN: c (m × width) from the rows at a and the columns of b, transposed: bt (width × k), rows ldt
 * apart */
INLINE void narrow_nn(const size_t m, const size_t width, size_t k_len, const real *const *a,
                           const real *bt, size_t ldt, real *c, size_t ldc, int resume)
{
    vec acc[NARROW_ROWS_NN][NARROW_WIDTH];
    _Pragma("GCC unroll 8") for (size_t i = 0; i < m; i++)
        _Pragma("GCC unroll 8") for (size_t q = 0; q < width; q++) acc[i][q] = v_zero();
    size_t k = 0;
    for (; k + LANES <= k_len; k += LANES)
        _Pragma("GCC unroll 8") for (size_t q = 0; q < width; q++) {
            const vec b = v_load(bt + q * ldt + k);
            _Pragma("GCC unroll 8") for (size_t i = 0; i < m; i++)
                acc[i][q] += v_load(a[i] + k) * b;
        }
    if (k < k_len)
        for (size_t q = 0; q < width; q++) {
            const vec b = v_load_n(bt + q * ldt + k, k_len - k, 0);
            for (size_t i = 0; i < m; i++)
                acc[i][q] += v_load_n(a[i] + k, k_len - k, 0) * b;
        }
    for (size_t i = 0; i < m; i++)
        for (size_t q = 0; q < width; q++)
            c[i * ldc + q] = v_sum(acc[i][q]) + (resume ? c[i * ldc + q] : 0);
}

/* TN: c (nv·LANES × width, or `m` of them) = Σ_k a[k, first…] b[k, columns], where row k of a is
 * at rows[k], or without `rows` at a + k lda */
INLINE void narrow_tn(const size_t nv, const size_t width, size_t k_len, const real *a,
                           size_t lda, const real *const *rows, size_t first, const real *b,
                           size_t ldb, real *c, size_t ldc, size_t m, int resume)
{
    vec acc[NARROW_VECS_TN][NARROW_WIDTH];
    _Pragma("GCC unroll 8") for (size_t v = 0; v < nv; v++)
        _Pragma("GCC unroll 8") for (size_t q = 0; q < width; q++) acc[v][q] = v_zero();
    for (size_t k = 0; k < k_len; k++, b += ldb) {
        const real *row = (rows ? rows[k] : a + k * lda) + first;
        vec av[NARROW_VECS_TN];
        for (size_t v = 0; rows && v < nv; v++) /* scattered: prefetched 16 terms ahead */
            PREFETCH(rows[min_size(k + 16, k_len - 1)] + first + v * LANES, 0);
        _Pragma("GCC unroll 8") for (size_t v = 0; v < nv; v++)
            av[v] = nv > 1 ? v_load(row + v * LANES) : v_load_n(row, m, 0);
        _Pragma("GCC unroll 8") for (size_t q = 0; q < width; q++) {
            const vec bq = v_set1(b[q]);
            _Pragma("GCC unroll 8") for (size_t v = 0; v < nv; v++) acc[v][q] += av[v] * bq;
        }
    }
    for (size_t v = 0; v < nv; v++)
        for (size_t q = 0; q < width; q++) {
            real column[LANES];
            v_store(column, acc[v][q]);
            for (size_t i = 0; i < LANES && v * LANES + i < m; i++) {
                real *to = c + (v * LANES + i) * ldc + q;
                *to = column[i] + (resume ? *to : 0);
            }
        }
}

/* NN for one row: z (cols) = bias + x (k_len) · w (k_len × cols) */
static void narrow_row(real *z, const real *bias, const real *x, size_t k_len,
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

/* ---- the remainder of a panel --------------------------------------------------------- */

#define SWITCH_WIDTH(call)                                                                     \
    switch (width) {                                                                           \
    case 1: call(1); break;                                                                  \
    case 2: call(2); break;                                                                  \
    case 3: call(3); break;                                                                  \
    default: call(4); break;                                                                 \
    }

/* Rows [i, i + m) of `width` columns of NN's C */
INLINE void narrow_rows(const size_t m, const size_t width, const gemm_t *g, const panel_t *p,
                        const real *bt, size_t i, size_t col)
{
    const real *a[NARROW_ROWS_NN];
    for (size_t r = 0; r < m; r++)
        a[r] = row_of_a(g, i + r) + p->k0;
    narrow_nn(m, width, p->k_len, a, bt, KC, g->c + i * g->ldc + col, g->ldc, p->resume);
}

/* Rows [from, to) of a panel of narrow columns. */
static void narrow_panel(const gemm_t *g, const panel_t *p, real *pack, size_t from, size_t to)
{
    for (size_t first = 0; first < p->cols; first += NARROW_WIDTH) {
        const size_t width = min_size(NARROW_WIDTH, p->cols - first), col = p->col + first;
        size_t i = from;
        if (g->kind == NN) {
            for (size_t k = 0; k < p->k_len; k++)
                for (size_t q = 0; q < width; q++)
                    pack[q * KC + k] = g->b[(p->k0 + k) * g->ldb + col + q];
#define NN_ROWS(q)                                                                           \
    for (; i + NARROW_ROWS_NN <= to; i += NARROW_ROWS_NN)                                          \
        narrow_rows(NARROW_ROWS_NN, q, g, p, pack, i, col);                                     \
    for (; i < to; i++)                                                                      \
        narrow_rows(1, q, g, p, pack, i, col)
            SWITCH_WIDTH(NN_ROWS)
        } else {
            const real *const *rows = g->rows ? g->rows + p->k0 : NULL;
            const real *a = rows ? NULL : g->a + p->k0 * g->lda;
            const real *b = g->b + p->k0 * g->ldb + col;
#define TN_VECS(nv, q)                                                                       \
    narrow_tn(nv, q, p->k_len, a, g->lda, rows, i, b, g->ldb,                           \
                   g->c + i * g->ldc + col, g->ldc, min_size(nv * LANES, to - i), p->resume); \
    i += nv * LANES
#define TN_ROWS(q)                                                                           \
    while (i + NARROW_VECS_TN * LANES <= to) { TN_VECS(NARROW_VECS_TN, q); }                       \
    if (i + 4 * LANES <= to) { TN_VECS(4, q); }                                              \
    if (i + 2 * LANES <= to) { TN_VECS(2, q); }                                              \
    while (i < to) { TN_VECS(1, q); }
            SWITCH_WIDTH(TN_ROWS)
        }
    }
}

/* Cost model, in multiply-adds: a horizontal sum costs 10, scattering a column into C 32. */
INLINE int use_narrow_kernel(enum product kind, size_t cols, size_t k)
{
    if (kind == NT || cols > MOST_NARROW || k < LANES)
        return 0;
    return kind == NN ? cols * (k / LANES + 10) < k : cols * (k + 32) < LANES * k;
}

#endif
