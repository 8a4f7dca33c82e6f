/* rows.h — what the per-sample path does with the rows of W.
 *
 * A sample lists the rows that it touches, those whose factor is not exactly zero, and the list
 * is processed four rows at a time:
 *
 *   forward_rows          z += x_i V_i
 *   backward_and_update   back_i = V_i·δ, then V_i −= k_i δ
 *   update_and_forward    V_i −= k_i δ, and with the next sample's inputs z += next_i V_i
 *
 * A wide layer is copied into strips of columns, which are processed one after the other.  Of a
 * narrow layer the transpose is kept instead, whose rows are the outputs.
 */
#ifndef MLP_SINGLE_ROWS_H
#define MLP_SINGLE_ROWS_H

#include "network/batch.h"
#include "products/gemm.h"
#include "products/gemv.h"

/* A sample's inputs, or the inputs of a layer. */
typedef struct {
    size_t length;
    const real *x;        /* values                                                       */
    const int32_t *index; /* their rows of W, or NULL for 0, 1, 2, …                      */
} sample_t;

static sample_t sample_of(const data_t *d, size_t sample, size_t n_features)
{
    if (d->indptr) {
        const entries_t e = entries_of(d, sample);
        return (sample_t){e.n, e.values, e.indices};
    }
    return (sample_t){n_features, (const real *)d->x + sample * d->ldx, NULL};
}

/* Columns of a strip: 1 KiB of a row.  A sum over columns is the sum of its strips' sums, in
 * order, whichever thread computed them. */
#define STRIP (1024 / sizeof(real))

INLINE size_t n_strips(size_t n) { return (n + STRIP - 1) / STRIP; }

/* V of a layer during an epoch: strip by strip (strips × n_in × ld), rows at whole cache lines.
 * If threads had their columns in the rows of one matrix, the hardware would prefetch each
 * other's lines. */
typedef struct {
    real *v;
    size_t n_in, ld;
} strips_t;

INLINE real *strip_of(const strips_t *w, size_t column)
{
    return w->v + column / STRIP * w->n_in * w->ld;
}

/* ---- rows of W, four at a time -------------------------------------------------------- */

/* W is larger than the second-level cache, and the rows that will be touched are known: while
 * four are processed, the next four are prefetched (31 → 26 µs per sample on the
 * 784-512-512-10 network). */
#define AT_ONCE 4

typedef struct {
    size_t n;       /* rows listed; the arrays are AT_ONCE longer                         */
    uint32_t *row;  /* their indices                                                      */
    real *now;      /* each row's factor                                                  */
    real *next;     /* in the first layer: the next sample's input                        */
} row_list_t;

#define FETCH(i) PREFETCH(ahead[i] + j, 1)

/* V_i −= k_i δ and z += next_i V_i */
INLINE void update_and_forward(const size_t rows, real *const *row, real *const *ahead,
                               const real *k, const real *next, const real *RESTRICT delta,
                               real *RESTRICT z, size_t n)
{
    vec kv[AT_ONCE], xv[AT_ONCE];
    for (size_t i = 0; i < rows; i++) {
        kv[i] = v_set1(k[i]);
        xv[i] = v_set1(next[i]);
    }
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vec d = v_load(delta + j);
        vec sum = v_load(z + j);
        for (size_t i = 0; i < rows; i++) {
            FETCH(i);
            const vec v = v_load(row[i] + j) - kv[i] * d;
            v_store(row[i] + j, v);
            sum += xv[i] * v;
        }
        v_store(z + j, sum);
    }
    if (j < n) {
        const size_t m = n - j;
        const vec d = v_load_n(delta + j, m, 0);
        vec sum = v_load(z + j);
        for (size_t i = 0; i < rows; i++) {
            const vec v = v_load_n(row[i] + j, m, 0) - kv[i] * d;
            v_store_n(row[i] + j, v, m);
            sum += xv[i] * v;
        }
        v_store(z + j, sum);
    }
}

/* back_i = V_i·δ, then V_i −= k_i δ */
INLINE void backward_and_update(const size_t rows, real *const *row, real *const *ahead,
                                const real *k, const real *RESTRICT delta, real *back, size_t n)
{
    vec acc[AT_ONCE], kv[AT_ONCE];
    for (size_t i = 0; i < rows; i++) {
        acc[i] = v_zero();
        kv[i] = v_set1(k[i]);
    }
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vec d = v_load(delta + j);
        for (size_t i = 0; i < rows; i++) {
            FETCH(i);
            const vec v = v_load(row[i] + j);
            acc[i] += v * d;
            v_store(row[i] + j, v - kv[i] * d);
        }
    }
    if (j < n) {
        const size_t m = n - j;
        const vec d = v_load_n(delta + j, m, 0);
        for (size_t i = 0; i < rows; i++) {
            const vec v = v_load_n(row[i] + j, m, 0);
            acc[i] += v * d;
            v_store_n(row[i] + j, v - kv[i] * d, m);
        }
    }
    for (size_t i = 0; i < rows; i++)
        back[i] = v_sum(acc[i]);
}

/* z += x_i V_i */
INLINE void forward_rows(const size_t rows, real *const *row, real *const *ahead, const real *x,
                         real *RESTRICT z, size_t n)
{
    vec xv[AT_ONCE];
    for (size_t i = 0; i < rows; i++)
        xv[i] = v_set1(x[i]);
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        vec sum = v_load(z + j);
        for (size_t i = 0; i < rows; i++) {
            FETCH(i);
            sum += xv[i] * v_load(row[i] + j);
        }
        v_store(z + j, sum);
    }
    if (j < n) {
        vec sum = v_load(z + j);
        for (size_t i = 0; i < rows; i++)
            sum += xv[i] * v_load_n(row[i] + j, n - j, 0);
        v_store(z + j, sum);
    }
}

/* Addresses of the listed rows from `at` on; past the end, the last one again. */
INLINE void rows_at(real *v, size_t ld, const row_list_t *list, size_t at, real **row)
{
    for (size_t i = 0; i < AT_ONCE; i++)
        row[i] = v + (size_t)list->row[min_size(at + i, list->n - 1)] * ld;
}

/* Processes the listed rows of V, ld apart, four at a time, then one at a time. */
#define FOR_LISTED(list, v, ld, four, one)                                                   \
    if ((list)->n) {                                                                         \
        real *row[AT_ONCE], *ahead[AT_ONCE];                                                 \
        size_t at = 0;                                                                       \
        for (; at + AT_ONCE <= (list)->n; at += AT_ONCE) {                                   \
            rows_at(v, ld, list, at, row);                                                   \
            rows_at(v, ld, list, at + AT_ONCE, ahead);                                       \
            four;                                                                            \
        }                                                                                    \
        for (; at < (list)->n; at++) {                                                       \
            rows_at(v, ld, list, at, row);                                                   \
            rows_at(v, ld, list, at + 1, ahead);                                             \
            one;                                                                             \
        }                                                                                    \
    }

INLINE void clear(real *z, size_t n)
{
    for (size_t j = 0; j < n; j += LANES)
        v_store(z + j, v_zero());
}

/* The entries of a sample that are kept (NULL: all) and not exactly zero (unless `zeros`), or
 * whose `following` is not zero, as rows, with k x_i.  With AVX-512 a vector at a time; lists
 * have space for one vector more. */
static void list_rows(row_list_t *list, sample_t s, real k, const real *following,
                      const real *kept, int zeros)
{
    size_t n = 0;
#if MLP_VBYTES == 64
    const vec kv = v_set1(k);
    __m512i row = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (size_t i = 0; i < s.length; i += LANES) {
        const size_t m = min_size(LANES, s.length - i);
        const vec x = v_load_n(s.x + i, m, 0);
        unsigned keep = zeros ? M_LANES(m) : v_nonzero(x);
        if (following) {
            const vec f = v_load_n(following + i, m, 0);
            keep |= v_nonzero(f);
            v_store(list->next + n, v_packed(f, keep));
        }
        if (kept)
            keep &= v_nonzero(v_load_n(kept + i, m, 0));
        if (s.index)
            row = _mm512_maskz_loadu_epi32((__mmask16)M_LANES(m), s.index + i);
        v_store(list->now + n, v_packed(kv * x, keep));
        _mm512_storeu_si512(list->row + n, _mm512_maskz_compress_epi32((__mmask16)keep, row));
        row = _mm512_add_epi32(row, _mm512_set1_epi32(LANES));
        n += (size_t)__builtin_popcount(keep);
    }
#else
    for (size_t i = 0; i < s.length; i++) {
        list->row[n] = s.index ? (uint32_t)s.index[i] : (uint32_t)i;
        list->now[n] = k * s.x[i];
        if (following)
            list->next[n] = following[i];
        n += (!kept || kept[i] != 0) && (zeros || s.x[i] != 0 || (following && following[i] != 0));
    }
#endif
    list->n = n;
}

/* ---- a layer, strip by strip ------------------------------------------------------------ */

#define FOR_STRIPS(own)                                                                      \
    for (size_t j = (own).from, n = min_size(STRIP, (own).to - j); j < (own).to;             \
         j += STRIP, n = min_size(STRIP, (own).to - j))

/* A range of a layer's units, columns of V. */
typedef struct {
    size_t from, to;
} range_t;

/* z = Σ x_i V_i over the rows with x_i ≠ 0 */
static void strips_forward(const strips_t *v, range_t own, sample_t s, row_list_t *list, real *z)
{
    if (own.from == own.to)
        return;
    list_rows(list, s, 1, NULL, NULL, 0);
    FOR_STRIPS (own) {
        real *rows = strip_of(v, j);
        clear(z + j, n);
        FOR_LISTED(list, rows, v->ld,
                   forward_rows(AT_ONCE, row, ahead, list->now + at, z + j, n),
                   forward_rows(1, row, ahead, list->now + at, z + j, n))
    }
}

/* An update of V by k x δᵀ; `zeros`: rows with x_i = 0 propagate δ too. */
typedef struct {
    sample_t x;
    real k;
    const real *delta;
    int zeros;
} outer_t;

/* The first layer: V_i −= k x_i δ for the rows with x_i ≠ 0, and z of the next sample. */
static void first_layer(const strips_t *v, range_t own, const outer_t *u, const sample_t *next,
                        row_list_t *list, real *z)
{
    const int fused = next && !u->x.index && !next->index;
    const real *delta = u->delta;
    if (own.from == own.to)
        return;
    list_rows(list, u->x, u->k, fused ? next->x : NULL, NULL, 0);
    if (!fused)
        memset(list->next, 0, list->n * sizeof(real));
    FOR_STRIPS (own) {
        real *rows = strip_of(v, j);
        clear(z + j, n);
        FOR_LISTED(list, rows, v->ld,
                   update_and_forward(AT_ONCE, row, ahead, list->now + at, list->next + at,
                                      delta + j, z + j, n),
                   update_and_forward(1, row, ahead, list->now + at, list->next + at, delta + j,
                                      z + j, n))
    }
    if (next && !fused)
        strips_forward(v, own, *next, list, z);
}

/* A hidden layer: back (strips × n_in, ld_back) = V δ of each strip, and the update. */
static void hidden_layer(const strips_t *v, range_t own, const outer_t *u, row_list_t *list,
                         real *back, size_t ld_back)
{
    const real *delta = u->delta;
    if (own.from == own.to)
        return;
    list_rows(list, u->x, u->k, NULL, NULL, u->zeros);
    FOR_STRIPS (own) {
        real *rows = strip_of(v, j), *sums = back + j / STRIP * ld_back;
        /* the products are kept in `next` */
        FOR_LISTED(list, rows, v->ld,
                   backward_and_update(AT_ONCE, row, ahead, list->now + at, delta + j,
                                       list->next + at, n),
                   backward_and_update(1, row, ahead, list->now + at, delta + j,
                                       list->next + at, n))
        memset(sums, 0, v->n_in * sizeof(real));
        for (size_t i = 0; i < list->n; i++)
            sums[list->row[i]] = list->next[i];
    }
}

/* Copies a range of W's columns (n_in × n_out) into the strips, or back. */
static void copy_strips(const strips_t *v, real *plain, size_t n_out, range_t own, int back)
{
    FOR_STRIPS (own)
        for (size_t i = 0; i < v->n_in; i++) {
            real *copy = strip_of(v, j) + i * v->ld, *row = plain + i * n_out + j;
            memcpy(back ? row : copy, back ? copy : row, n * sizeof(real));
        }
}

/* ---- narrow layers, transposed -------------------------------------------------------- */

/* For n_in inputs: back = V δ, and the update.  vt (n × n_in), ld apart. */
static void transposed_backward(real *vt, size_t ld, const outer_t *u, size_t n, real *back)
{
    const size_t n_in = u->x.length;
    const real *y = u->x.x, *delta = u->delta;
    const real k = u->k;
    for (size_t j = 0; j < n_in; j += LANES) {
        const size_t m = min_size(LANES, n_in - j);
        const vec yj = v_load_n(y + j, m, 0);
        vec sum = v_zero();
        for (size_t q = 0; q < n; q++) {
            const vec v = v_load(vt + q * ld + j);
            sum += v_set1(delta[q]) * v;
            v_store(vt + q * ld + j, v - v_set1(k * delta[q]) * yj);
        }
        v_store(back + j, sum);
    }
}

/* ‖w‖², in parts: one float32 sum of millions would lose digits. */
static double squared_sum(const real *w, size_t n)
{
    const size_t part = 4096;
    double total = 0;
    for (size_t i = 0; i < n; i += part)
        total += (double)dot(w + i, w + i, min_size(part, n - i));
    return total;
}

#endif
