/* batch.h — a batch of samples on its way into the network.
 *
 *   inputs    read where they lie, through the addresses of their rows; or as the stored
 *             entries of CSR rows; or copied into `x` (B × ldx) where something is done to
 *             them: augmentation, batch norm, corruption, masks
 *   targets   copied into `t` (B × ldt), labels as one-hot rows; missing ones are NaN
 */
#ifndef MLP_NETWORK_BATCH_H
#define MLP_NETWORK_BATCH_H

#include "network/batch_norm.h"
#include "training/thinned.h"

/* Rows lie a whole number of cache lines apart, never a multiple of 2 KiB: a column of tiles
 * would meet in two sets of the first-level cache (512 columns: 186 → 257 GFLOP/s). */
static size_t row_stride(size_t n)
{
    const size_t s = round_up(n ? n : 1, LINE);
    return s * sizeof(real) % 2048 ? s : s + LINE;
}

INLINE real *at(void *buffer, size_t row, size_t ld) { return (real *)buffer + row * ld; }

INLINE size_t sample_at(const data_t *d, size_t i) { return d->order ? (size_t)d->order[i] : i; }

INLINE double weight_of(const data_t *d, size_t sample)
{
    return d->weights ? ((const real *)d->weights)[sample] : 1;
}

/* Whether the first layer meets the stored entries as they lie. */
INLINE int goes_sparse(const plan_t *p, const data_t *d) { return d->indptr && p->corrupt == 0; }

/* a row of stored entries, with its zeros */
static void scatter_row(const data_t *d, size_t sample, real *row, size_t n)
{
    memset(row, 0, n * sizeof(real));
    for (int64_t k = d->indptr[sample]; k < d->indptr[sample + 1]; k++)
        row[d->indices[k]] = ((const real *)d->values)[k];
}

INLINE void fill(real *to, real value, size_t n)
{
    for (size_t j = 0; j < n; j += LANES)
        v_store_n(to + j, v_set1(value), min_size(LANES, n - j));
}

/* one row of targets: copied, or one-hot from labels; padding and missing ones are NaN */
static void gather_target(const plan_t *p, const data_t *d, size_t sample, real *t)
{
    const real nan = (real)NAN;
    if (d->autoencode) {
        scatter_row(d, sample, t, p->n_outputs);
    } else if (!d->labels) {
        memcpy(t, (const real *)d->targets + sample * d->ldt, p->n_outputs * sizeof(real));
    } else {
        for (size_t g = 0; g < p->loss.n_groups; g++) {
            const size_t from = p->loss.group[g], n = p->loss.group[g + 1] - from;
            const int32_t label = d->labels[sample * p->loss.n_groups + g];
            const real rest = (real)(d->smoothing / (n == 1 ? 2 : n));
            fill(t + from, label < 0 ? nan : rest, n);
            if (label >= 0 && n > 1)
                t[from + label] = rest + (real)(1 - d->smoothing);
            else if (label > 0)
                t[from] = rest + (real)(1 - d->smoothing);
        }
    }
    fill(t + p->n_outputs, nan, p->ldt - p->n_outputs);
}

/* a call of memcpy costs more than a short row */
INLINE void copy_row(real *to, const real *from, size_t n)
{
    if (n > 8 * LANES) {
        memcpy(to, from, n * sizeof(real));
        return;
    }
    size_t j = 0;
    for (; j + LANES <= n; j += LANES)
        v_store(to + j, v_load(from + j));
    if (j < n)
        v_store_n(to + j, v_load_n(from + j, n - j, 0), n - j);
}

/* Shuffled rows lie anywhere in memory, and each costs a trip to it before the hardware sees
 * the pattern: ask for a row this many rows before it is copied. */
#define ROWS_AHEAD 4

INLINE void fetch_row(const plan_t *p, const data_t *d, size_t i)
{
    const char *row = (const char *)((const real *)d->x + sample_at(d, i) * d->ldx);
    for (size_t at = 0; at < p->n_features * sizeof(real); at += 64)
        PREFETCH(row + at, 0);
}

/* The same for the stored entries of sample i of the order, if there is one (5000-100, 1 %
 * stored: 234–252 → 217–228 µs a step). */
INLINE void fetch_entries(const data_t *d, size_t i)
{
    if (i >= d->n_samples)
        return;
    const size_t sample = sample_at(d, i);
    const int64_t first = d->indptr[sample], end = d->indptr[sample + 1];
    const real *values = d->values;
    for (int64_t k = first; k < end; k += 64 / (int64_t)sizeof(int32_t))
        PREFETCH(d->indices + k, 0);
    for (int64_t k = first; k < end; k += 64 / (int64_t)sizeof(real))
        PREFETCH(values + k, 0);
}

/* Whether the products read the inputs where they lie: nothing is done to them on the way, and
 * their rows are no multiple of 2 KiB apart (784-100-10, batch 200 of 10,000 samples: 314 →
 * 294 µs a step, float64 672 → 620, with two threads 173 → 158; one lane a third slower). */
static int in_place(const plan_t *p, const data_t *d)
{
    const int untouched = !p->unit && !p->augment && !p->has_norm && p->corrupt == 0 &&
                          !(p->drop_per_sample && p->drop > 0);
    return LANES > 1 && d->x && d->ldx * sizeof(real) % 2048 && untouched &&
           !p->layers[0].edges && p->layers[0].f.code != ACT_RBF;
}

/* The rows' addresses, or NULL if the batch is in x */
INLINE const real *const *input_rows(const plan_t *p, const data_t *d)
{
    return in_place(p, d) ? (const real *const *)p->rows : NULL;
}

/* Rows [position, position + rows) of the order into x, unless `input_rows`, and t. */
static void gather(const plan_t *p, const data_t *d, size_t position, size_t rows, size_t tid)
{
    const int copied = d->x && !in_place(p, d);
    size_t from, to;
    share(rows, 4, tid, p->n_threads, &from, &to);
    for (size_t i = from; copied && i < min_size(from + ROWS_AHEAD, to); i++)
        fetch_row(p, d, position + i);
    for (size_t i = from; i < to; i++) {
        const size_t sample = sample_at(d, position + i);
        const real *row = (const real *)d->x + sample * d->ldx;
        if (copied && i + ROWS_AHEAD < to)
            fetch_row(p, d, position + i + ROWS_AHEAD);
        if (d->indptr && !goes_sparse(p, d))
            scatter_row(d, sample, at(p->x, i, p->ldx), p->n_inputs);
        else if (copied && p->unit && !p->augment)
            for (size_t j = 0; j < p->n_features; j++)
                at(p->x, i, p->ldx)[j] = row[p->unit[j]];
        else if (copied)
            copy_row(at(p->x, i, p->ldx), row, p->n_inputs);
        else if (d->x)
            ((const real **)p->rows)[i] = row;
        gather_target(p, d, sample, at(p->t, i, p->ldt));
    }
    wait_all(p);
}

/* Denoising: inputs set to 0 at random, a mask a sample [S ex. 65.5] */
static void corrupt_rows(const plan_t *p, size_t batch, size_t first, size_t from, size_t to)
{
    const uint64_t key = mask_key(p->seed, batch, 62); /* of no layer */
    for (size_t i = from; i < to; i++)
        for (size_t j = 0; j < p->n_features; j++)
            if (!is_kept(key, (uint64_t)(first + i) * p->n_features + j, p->corrupt))
                at(p->x, i, p->ldx)[j] = 0;
}

/* The inputs' augmentation, norm, corruption and mask. */
static int prepare_inputs(const plan_t *p, const data_t *d, size_t batch, size_t first,
                          size_t rows, size_t tid)
{
    size_t from, to;
    /* one thread: the caller's Python */
    if (p->augment && p->augment(p->augment_context, rows, p->ldx, p->x))
        return 1;
    share(rows, 4, tid, p->n_threads, &from, &to);
    if (p->unit && (p->augment || d->indptr))
        for (size_t i = from; i < to; i++)
            for (size_t j = 0; j < p->n_features; j++) /* unit[j] ≥ j: in place */
                at(p->x, i, p->ldx)[j] = at(p->x, i, p->ldx)[p->unit[j]];
    if (p->corrupt > 0) {
        corrupt_rows(p, batch, first, from, to);
        wait_all(p);
    }
    if (p->has_norm) {
        share(p->n_features, LANES, tid, p->n_threads, &from, &to);
        norm_forward(p, &p->norm, p->unit, p->x, p->ldx, rows, NULL, NULL, p->n_features, from,
                     to);
        wait_all(p);
    }
    if (p->drop_per_sample && p->drop > 0) {
        share(rows, 4, tid, p->n_threads, &from, &to);
        mask_rows(p, p->x, p->ldx, p->n_features, batch, 0, p->drop, first, from, to);
        wait_all(p);
    }
    return 0;
}

#endif
