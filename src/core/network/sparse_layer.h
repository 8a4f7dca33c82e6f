/* sparse_layer.h — layers that have only some of their connections [S ex. 65.6, 65.114–65.119].
 *
 * W_l is the list of its edges' weights, in the order of their input units.  A product with it
 * picks units at random, so the samples stand side by side in memory instead of the units:
 *
 *   columns   of a matrix of n units: [samples / GROUP][n][GROUP], GROUP samples of a unit
 *             next to each other, the last group filled up with zeros
 *
 *   forward   z_j = b_j + Σ over edges into j of w y_i          a run of edges, sums in registers
 *   backward  ∂Q/∂y_i = Σ over edges out of i of w δ_j          the same with the edges turned
 *   gradient  ∂w = Σ over samples of y_i δ_j                    one product of two columns
 *
 * Threads share the units whose sums these are.  784-2000-2000-10 at 2 % of the connections,
 * batch 200, Adam, one core: 3.4 ms a step, fully connected 29 (bench/compare.py --only edges
 * edges-dense).  A GROUP is four vectors: an edge's index and weight are read once for all of
 * them, and the columns of 2,000 units (512 KiB) fit a second-level cache of 1 MiB.
 */
#ifndef MLP_NETWORK_SPARSE_LAYER_H
#define MLP_NETWORK_SPARSE_LAYER_H

#include "mlp_core.h"
#include "machine/simd.h"

#define GROUP_VECS 4
#define GROUP (GROUP_VECS * LANES)

/* ---- rows to columns and back ---------------------------------------------------------- */

#if defined(__GNUC__) && !defined(__clang__) && MLP_VBYTES > 0
/* LANES × LANES in registers: half-blocks of 8, 4, 2, 1 change places. */
INLINE void transpose(vec r[LANES])
{
#pragma GCC unroll 4
    for (size_t h = LANES / 2; h; h /= 2) {
        ivec low, high;
        for (size_t j = 0; j < LANES; j++) {
            low[j] = (ireal)(j & h ? LANES + j - h : j);
            high[j] = (ireal)(j & h ? LANES + j : j + h);
        }
#pragma GCC unroll 16
        for (size_t i = 0; i < LANES; i++)
            if (!(i & h)) {
                const vec a = r[i], b = r[i + h];
                r[i] = __builtin_shuffle(a, b, low);
                r[i + h] = __builtin_shuffle(a, b, high);
            }
    }
}
#else
INLINE void transpose(vec r[LANES])
{
    real *a = (real *)r;
    for (size_t i = 0; i < LANES; i++)
        for (size_t j = 0; j < i; j++) {
            const real t = a[i * LANES + j];
            a[i * LANES + j] = a[j * LANES + i];
            a[j * LANES + i] = t;
        }
}
#endif

/* Units [from, to) of `rows` samples, lda apart, into columns of n units; `from` is a multiple
 * of LANES. */
static void to_columns(real *columns, const real *a, size_t lda, size_t rows, size_t n,
                       size_t from, size_t to)
{
    vec block[LANES];
    for (size_t s = 0; s < rows; s += LANES) {
        real *group = columns + s / GROUP * GROUP * n + s % GROUP;
        for (size_t i = from; i < to; i += LANES) {
            const size_t units = min_size(LANES, to - i);
            for (size_t k = 0; k < LANES; k++)
                block[k] = s + k < rows ? v_load_n(a + (s + k) * lda + i, units, 0) : v_zero();
            transpose(block);
            for (size_t k = 0; k < units; k++)
                v_store(group + (i + k) * GROUP, block[k]);
        }
    }
}

/* vectors of the group that begins at sample s */
INLINE size_t group_vecs(size_t rows, size_t s)
{
    return (min_size(GROUP, rows - s) + LANES - 1) / LANES;
}

/* ---- products --------------------------------------------------------------------------- */

/* Sums over the edges of units, which end at `unit`, through columns of n such units. */
typedef struct {
    const int64_t *start;
    const int32_t *unit;
    const int64_t *place; /* of an edge's weight, or NULL: in the order of the edges        */
    const real *w, *bias, *columns;
    size_t n;
} edge_sums_t;

INLINE void sum_edges(const size_t nv, const edge_sums_t *e, size_t j, const real *columns,
                      vec *out, size_t stride)
{
    vec acc[GROUP_VECS];
    for (size_t v = 0; v < nv; v++)
        acc[v] = v_set1(e->bias ? e->bias[j] : 0);
    for (int64_t k = e->start[j]; k < e->start[j + 1]; k++) {
        const vec w = v_set1(e->w[e->place ? e->place[k] : k]);
        const real *column = columns + (size_t)e->unit[k] * GROUP;
        for (size_t v = 0; v < nv; v++)
            acc[v] += w * v_load(column + v * LANES);
    }
    for (size_t v = 0; v < nv; v++)
        out[v * stride] = acc[v];
}

/* The sums of units [from, to) into rows of y; `from` is a multiple of LANES. */
static void edge_sums(const edge_sums_t *e, real *y, size_t ld, size_t rows, size_t from,
                      size_t to)
{
    vec block[GROUP_VECS][LANES];
    for (size_t s = 0; s < rows; s += GROUP) {
        const real *columns = e->columns + s * e->n;
        const size_t nv = group_vecs(rows, s);
        for (size_t j = from; j < to; j += LANES) {
            for (size_t k = 0; k < LANES; k++) {
                if (j + k >= to)
                    for (size_t v = 0; v < nv; v++)
                        block[v][k] = v_zero();
                else
                    switch (nv) { /* a constant count keeps the sums in registers */
                    case 1: sum_edges(1, e, j + k, columns, &block[0][k], LANES); break;
                    case 2: sum_edges(2, e, j + k, columns, &block[0][k], LANES); break;
                    case 3: sum_edges(3, e, j + k, columns, &block[0][k], LANES); break;
                    default: sum_edges(4, e, j + k, columns, &block[0][k], LANES); break;
                    }
            }
            for (size_t v = 0; v < nv; v++) {
                const size_t first = s + v * LANES;
                transpose(block[v]);
                for (size_t k = 0; k < LANES && first + k < rows; k++)
                    v_store(y + (first + k) * ld + j, block[v][k]);
            }
        }
    }
}

INLINE real column_product(const size_t nv, const vec *x, const real *d)
{
    vec sum = x[0] * v_load(d);
    for (size_t v = 1; v < nv; v++)
        sum += x[v] * v_load(d + v * LANES);
    return v_sum(sum);
}

/* ∂w of the edges out of units [from, to) */
static void edge_gradient(const edges_t *e, size_t n_in, size_t n_out, const real *inputs,
                          const real *deltas, size_t rows, real *g, int accumulate, size_t from,
                          size_t to)
{
    for (size_t s = 0; s < rows; s += GROUP) {
        const real *x = inputs + s * n_in, *d = deltas + s * n_out;
        const size_t nv = group_vecs(rows, s);
        const int add = accumulate || s > 0;
        for (size_t i = from; i < to; i++) {
            vec xi[GROUP_VECS];
            for (size_t v = 0; v < nv; v++)
                xi[v] = v_load(x + i * GROUP + v * LANES);
            for (int64_t k = e->start[i]; k < e->start[i + 1]; k++) {
                const real *dj = d + (size_t)e->to[k] * GROUP;
                real sum;
                switch (nv) {
                case 1: sum = column_product(1, xi, dj); break;
                case 2: sum = column_product(2, xi, dj); break;
                case 3: sum = column_product(3, xi, dj); break;
                default: sum = column_product(4, xi, dj); break;
                }
                g[k] = add ? g[k] + sum : sum;
            }
        }
    }
}

/* ---- from stored entries (CSR) ------------------------------------------------------------ */

/* z += Σ over stored inputs of the edges out of them */
static void edges_of_entries(const edges_t *e, const real *w, const real *values,
                             const int32_t *indices, size_t n, real *z)
{
    for (size_t k = 0; k < n; k++)
        for (int64_t m = e->start[indices[k]]; m < e->start[indices[k] + 1]; m++)
            z[e->to[m]] += values[k] * w[m];
}

/* ∂w += value × δ for the stored inputs that are units [from, to) */
static void entries_gradient(const edges_t *e, const real *values, const int32_t *indices,
                             size_t n, const real *delta, real *g, size_t from, size_t to)
{
    for (size_t k = 0; k < n; k++)
        if ((size_t)indices[k] >= from && (size_t)indices[k] < to)
            for (int64_t m = e->start[indices[k]]; m < e->start[indices[k] + 1]; m++)
                g[m] += values[k] * delta[e->to[m]];
}

#endif
