/* rows.h — what single samples do with the rows of W.
 *
 * A sample lists the rows that it touches — those whose factor is not exactly zero — and the
 * list is worked off four rows at a time:
 *
 *   forward_rows          z += x_i V_i
 *   backward_and_update   back_i = V_i·δ, then V_i −= k_i δ
 *   update_and_forward    V_i −= k_i δ, and with the next sample's inputs z += next_i V_i
 *
 * A wide layer is held in strips of columns, which are worked off one after the other.  Of a
 * narrow layer the transpose is held instead, whose rows are the outputs.
 */
#ifndef MLP_SINGLE_ROWS_H
#define MLP_SINGLE_ROWS_H

#include "training/epoch.h"

typedef struct {
    size_t length;
    const real *x;        /* values                                                       */
    const int32_t *index; /* their rows of W, or NULL for 0, 1, 2, …                      */
} sample_t;

static sample_t sample_of(const data_t *d, size_t sample, size_t n_features)
{
    if (d->indptr) {
        const int64_t from = d->indptr[sample];
        return (sample_t){(size_t)(d->indptr[sample + 1] - from),
                          (const real *)d->values + from, d->indices + from};
    }
    return (sample_t){n_features, (const real *)d->x + sample * d->ldx, NULL};
}

/* Columns of a strip: 1 KiB of a row.  A sum over columns is that of its strips' sums, in
 * order, whoever took which strip. */
#define STRIP (1024 / sizeof(real))

INLINE size_t n_strips(size_t n) { return (n + STRIP - 1) / STRIP; }

/* V of a layer for as long as an epoch: strip by strip (strips × n_in × ld), rows at whole
 * cache lines.  Threads that had their columns in the rows of one matrix would fetch each
 * other's lines ahead. */
typedef struct {
    real *v;
    size_t n_in, ld;
} held_t;

INLINE real *strip_of(const held_t *w, size_t column)
{
    return w->v + column / STRIP * w->n_in * w->ld;
}

/* ---- rows of W, four at a time -------------------------------------------------------- */

/* W is larger than the second-level cache, and the rows that are touched are known before
 * they are: while four pass by, the next four are fetched (31 → 26 µs a sample on the 784-512-
 * 512-10 network). */
#define AT_ONCE 4

typedef struct {
    size_t n;       /* rows listed; AT_ONCE more places follow                            */
    uint32_t *row;  /* their indices                                                      */
    real *now;      /* what each is multiplied by                                         */
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

/* Four by four through the list of V's rows, ld apart, then one by one. */
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

/* The entries of a sample that are `on` (NULL: all) and not exactly zero (unless `zeros`), or
 * whose `following` is not, as rows, with k x_i.  AVX-512 does it a vector at a time; lists
 * have room for one more. */
static void list_rows(row_list_t *list, sample_t s, real k, const real *following,
                      const real *on, int zeros)
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
        if (on)
            keep &= v_nonzero(v_load_n(on + i, m, 0));
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
        n += (!on || on[i] != 0) && (zeros || s.x[i] != 0 || (following && following[i] != 0));
    }
#endif
    list->n = n;
}

/* ---- a layer, strip by strip ------------------------------------------------------------ */

#define FOR_STRIPS(from, to)                                                                 \
    for (size_t j = from, n = min_size(STRIP, (to) - j); j < (to);                           \
         j += STRIP, n = min_size(STRIP, (to) - j))

/* z = Σ x_i V_i over the rows with x_i ≠ 0, columns [from, to) */
static void online_forward(const held_t *w, size_t from, size_t to, sample_t s, row_list_t *list,
                           real *z)
{
    if (from == to)
        return;
    list_rows(list, s, 1, NULL, NULL, 0);
    FOR_STRIPS (from, to) {
        real *v = strip_of(w, j);
        clear(z + j, n);
        FOR_LISTED(list, v, w->ld, forward_rows(AT_ONCE, row, ahead, list->now + at, z + j, n),
                   forward_rows(1, row, ahead, list->now + at, z + j, n))
    }
}

/* V_i −= k x_i δ for the rows of a sample with x_i ≠ 0, and z_next for a dense next sample */
static void first_layer(const held_t *w, size_t from, size_t to, sample_t now,
                        const sample_t *next, real k, const real *delta, row_list_t *list,
                        real *z)
{
    const int fused = next && !now.index && !next->index;
    if (from == to)
        return;
    list_rows(list, now, k, fused ? next->x : NULL, NULL, 0);
    if (!fused)
        memset(list->next, 0, list->n * sizeof(real));
    FOR_STRIPS (from, to) {
        real *v = strip_of(w, j);
        clear(z + j, n);
        FOR_LISTED(list, v, w->ld,
                   update_and_forward(AT_ONCE, row, ahead, list->now + at, list->next + at,
                                      delta + j, z + j, n),
                   update_and_forward(1, row, ahead, list->now + at, list->next + at, delta + j,
                                      z + j, n))
    }
    if (next && !fused)
        online_forward(w, from, to, *next, list, z);
}

/* A layer in the middle: back (strips × n_in, ld_back) = V δ of each strip, and the update.
 * `zeros`: rows of y_i = 0 send something back. */
static void middle_layer(const held_t *w, size_t from, size_t to, const real *y, int zeros,
                         real k, const real *delta, row_list_t *list, real *back,
                         size_t ld_back)
{
    if (from == to)
        return;
    list_rows(list, (sample_t){w->n_in, y, NULL}, k, NULL, NULL, zeros);
    FOR_STRIPS (from, to) {
        real *v = strip_of(w, j), *sums = back + j / STRIP * ld_back;
        /* the products wait in `next` */
        FOR_LISTED(list, v, w->ld,
                   backward_and_update(AT_ONCE, row, ahead, list->now + at, delta + j,
                                       list->next + at, n),
                   backward_and_update(1, row, ahead, list->now + at, delta + j,
                                       list->next + at, n))
        memset(sums, 0, w->n_in * sizeof(real));
        for (size_t i = 0; i < list->n; i++)
            sums[list->row[i]] = list->next[i];
    }
}

/* Copies columns [from, to) of W (n_in × n_out), to and fro. */
static void hold(const held_t *w, real *plain, size_t n_out, size_t from, size_t to, int back)
{
    FOR_STRIPS (from, to)
        for (size_t i = 0; i < w->n_in; i++) {
            real *held = strip_of(w, j) + i * w->ld, *row = plain + i * n_out + j;
            memcpy(back ? row : held, back ? held : row, n * sizeof(real));
        }
}

/* ---- narrow layers, transposed -------------------------------------------------------- */

/* for n_in of the inputs: back = V δ, and the update */
static void narrow_backward(real *vt, size_t ld, size_t n_in, size_t n, const real *y, real k,
                            const real *delta, real *back)
{
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

/* ---- one layer's bookkeeping ---------------------------------------------------------- */

static double squared_sum(const real *w, size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n; i += BLOCK)
        total += (double)dot(w + i, w + i, min_size(BLOCK, n - i));
    return total;
}

#endif
