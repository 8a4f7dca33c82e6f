/* batch.h — a piece of a batch enters the workspace.
 *
 *   inputs    read in place, through the addresses of their rows; or as the stored entries of
 *             CSR rows; or copied into `x` (B × ldx) if they are changed: augmentation, batch
 *             norm, corruption, masks
 *   targets   copied into `t` (B × ldt), labels as one-hot rows; missing ones are NaN
 */
#ifndef MLP_NETWORK_BATCH_H
#define MLP_NETWORK_BATCH_H

#include "network/batch_norm.h"
#include "network/mask.h"

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

/* One row of targets: copied, or one-hot from labels; padding and missing ones are NaN. */
static void gather_target(const plan_t *p, const data_t *d, size_t sample, real *t)
{
    const loss_t *loss = &p->objective.loss;
    const size_t n_outputs = p->net.n_outputs;
    const real nan = (real)NAN;
    if (d->autoencode) {
        scatter_row(d, sample, t, n_outputs);
    } else if (!d->labels) {
        memcpy(t, (const real *)d->targets + sample * d->ldt, n_outputs * sizeof(real));
    } else {
        for (size_t g = 0; g < loss->n_groups; g++) {
            const size_t from = loss->group[g], n = loss->group[g + 1] - from;
            const int32_t label = d->labels[sample * loss->n_groups + g];
            const real rest = (real)(d->smoothing / (n == 1 ? 2 : n));
            fill(t + from, label < 0 ? nan : rest, n);
            if (label >= 0 && n > 1)
                t[from + label] = rest + (real)(1 - d->smoothing);
            else if (label > 0)
                t[from] = rest + (real)(1 - d->smoothing);
        }
    }
    fill(t + n_outputs, nan, p->work.ldt - n_outputs);
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

INLINE void prefetch_row(const samples_t *s, size_t i, size_t n_features)
{
    const data_t *d = s->data;
    const char *row = (const char *)((const real *)d->x + sample_at(s, i) * d->ldx);
    for (size_t at = 0; at < n_features * sizeof(real); at += 64)
        PREFETCH(row + at, 0);
}

INLINE int masks_inputs(const plan_t *p) { return p->noise.drop_per_sample && p->noise.drop > 0; }

/* Whether the products read the inputs in place: nothing changes them, and their rows are not a
 * multiple of 2 KiB apart (784-100-10, batch 200 of 10,000 samples: 314 → 294 µs per step,
 * float64 672 → 620, with two threads 173 → 158; one lane is a third slower). */
static int in_place(const piece_t *c, const data_t *d)
{
    const plan_t *p = c->p;
    const layer_t *first = &c->net->layers[0];
    const int unchanged = !c->net->unit && !p->noise.augment && !c->net->has_norm &&
                          p->noise.corrupt == 0 && !masks_inputs(p);
    return LANES > 1 && d->x && d->ldx * sizeof(real) % 2048 && unchanged && !first->sparse &&
           first->f.code != ACT_RBF;
}

/* The first layer's inputs, once the piece is in the workspace. */
INLINE input_t first_input(const piece_t *c)
{
    const workspace_t *work = &c->p->work;
    const int direct = in_place(c, c->samples->data);
    return (input_t){work->x, work->ldx, direct ? (const real *const *)work->rows : NULL,
                     reads_stored(c)};
}

/* The piece's rows into x, unless they are read in place, and t. */
static void gather(const piece_t *c)
{
    const plan_t *p = c->p;
    const network_t *net = c->net;
    const workspace_t *work = &p->work;
    const samples_t *s = c->samples;
    const data_t *d = s->data;
    const int copied = d->x && !in_place(c, d);
    size_t from, to;
    split_range(c->w, c->rows, 4, &from, &to);
    for (size_t i = from; copied && i < min_size(from + ROWS_AHEAD, to); i++)
        prefetch_row(s, c->position + i, net->n_features);
    for (size_t i = from; i < to; i++) {
        const size_t sample = sample_at(s, c->position + i);
        const real *row = (const real *)d->x + sample * d->ldx;
        if (copied && i + ROWS_AHEAD < to)
            prefetch_row(s, c->position + i + ROWS_AHEAD, net->n_features);
        if (d->indptr && !reads_stored(c))
            scatter_row(d, sample, at(work->x, i, work->ldx), net->n_inputs);
        else if (copied && net->unit && !p->noise.augment)
            for (size_t j = 0; j < net->n_features; j++)
                at(work->x, i, work->ldx)[j] = row[net->unit[j]];
        else if (copied)
            copy_row(at(work->x, i, work->ldx), row, net->n_inputs);
        else if (d->x)
            ((const real **)work->rows)[i] = row;
        gather_target(p, d, sample, at(work->t, i, work->ldt));
    }
    barrier_wait(c->w);
}

/* Denoising: inputs set to 0 at random, a mask per sample [S ex. 65.5]. */
static void corrupt_rows(const piece_t *c, size_t from, size_t to)
{
    const noise_t *noise = &c->p->noise;
    const size_t first = c->position - c->batch, n = c->net->n_features;
    const uint64_t key = mask_key(noise->seed, c->batch, 62); /* not the key of a layer */
    for (size_t i = from; i < to; i++)
        for (size_t j = 0; j < n; j++)
            if (!is_kept(key, (uint64_t)(first + i) * n + j, noise->corrupt))
                at(c->p->work.x, i, c->p->work.ldx)[j] = 0;
}

/* y ← y ⊙ mask over the worker's rows of n units of a layer, ld apart: a mask per sample. */
static void mask_rows(const piece_t *c, size_t layer, real *y, size_t n, size_t ld)
{
    const plan_t *p = c->p;
    const double drop = drop_rate(p, layer);
    const uint64_t key = mask_key(p->noise.seed, c->batch, layer);
    const real scale = kept_scale(p, layer);
    const size_t first = c->position - c->batch;
    size_t from, to;
    split_range(c->w, c->rows, 4, &from, &to);
    for (size_t i = from; i < to; i++)
        for (size_t j = 0; j < n; j++)
            y[i * ld + j] =
                is_kept(key, (uint64_t)(first + i) * n + j, drop) ? y[i * ld + j] * scale : 0;
}

/* Augmentation, corruption, norm and mask of the inputs.  Nonzero if a callback failed. */
static int prepare_inputs(const piece_t *c)
{
    const plan_t *p = c->p;
    const network_t *net = c->net;
    const workspace_t *work = &p->work;
    const noise_t *noise = &p->noise;
    const size_t n = net->n_features;
    size_t from, to;
    /* one thread: the caller's Python */
    if (noise->augment && noise->augment(noise->context, c->rows, work->ldx, work->x))
        return 1;
    split_range(c->w, c->rows, 4, &from, &to);
    if (net->unit && (noise->augment || c->samples->data->indptr))
        for (size_t i = from; i < to; i++)
            for (size_t j = 0; j < n; j++) /* unit[j] ≥ j: in place */
                at(work->x, i, work->ldx)[j] = at(work->x, i, work->ldx)[net->unit[j]];
    if (noise->corrupt > 0) {
        corrupt_rows(c, from, to);
        barrier_wait(c->w);
    }
    if (net->has_norm) {
        norm_forward(c, &(normed_t){&net->norm, net->unit, NULL, NULL, n},
                     &(region_t){work->x, NULL, work->ldx, c->rows, n, 0});
        barrier_wait(c->w);
    }
    if (masks_inputs(p)) {
        mask_rows(c, 0, work->x, n, work->ldx);
        barrier_wait(c->w);
    }
    return 0;
}

#endif
