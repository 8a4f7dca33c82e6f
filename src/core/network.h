/* network.h — a mini-batch through the network and back, and the epoch around it.
 *
 *   forward   z_{l+1} = y_l W_l + b_l,  y_{l+1} = f(z_{l+1})                     [S 65.31]
 *   loss      Q and δ_L                                                          (loss.h)
 *   backward  δ_l = (δ_{l+1} W_lᵀ) ⊙ f′,  ∂W_l = y_lᵀ δ_{l+1},  ∂b_l = Σ δ_{l+1} [S 65.80–81]
 *   update    every parameter                                               (optimizer.h)
 *
 * With dense rows y_0 is the gathered batch `x` (B × ldx), with CSR rows the stored entries as
 * they lie.  δ of the layer above and of this one alternate between `delta[0]` and `delta[1]`.
 * All δ carry the sample's weight divided by the batch's, so gradients are weighted means.
 *
 * Threads.  Every thread runs the same code, in step; each phase is cut by outputs — rows of
 * a batch, tiles of a product, columns of a sum — and ends at a barrier where the next phase
 * reads what others wrote.  No sum is ever cut by thread.  One thread meets no barrier.
 */
#ifndef MLP_NETWORK_H
#define MLP_NETWORK_H

#include "gemm.h"
#include "loss.h"
#include "optimizer.h"
#include "rows.h"
#include "team.h"

/* Fewer rows than this go one by one (rows.h): packing W would cost more than it saves. */
#define FEW_ROWS 4

/* Thread `tid`'s share of n things in runs of `grain`. */
INLINE void share(size_t n, size_t grain, size_t tid, size_t n_threads, size_t *from, size_t *to)
{
    const size_t grains = (n + grain - 1) / grain;
    *from = min_size(n, grains * tid / n_threads * grain);
    *to = min_size(n, grains * (tid + 1) / n_threads * grain);
}

INLINE void wait_all(const plan_t *p)
{
    if (p->n_threads > 1)
        team_wait(p->barrier, p->n_threads);
}

/* Rows lie a whole number of cache lines apart, never a multiple of 2 KiB: a column of tiles
 * would meet in two sets of the first-level cache (512 columns: 186 → 257 GFLOP/s). */
static size_t row_stride(size_t n)
{
    const size_t line = 64 / sizeof(real), s = round_up(n ? n : 1, line);
    return s * sizeof(real) % 2048 ? s : s + line;
}

/* ---- samples into the workspace ------------------------------------------------------ */

INLINE size_t sample_at(const data_t *d, size_t i) { return d->order ? (size_t)d->order[i] : i; }

/* one row of targets: copied, or one-hot from labels; padding and missing ones are NaN */
static void gather_target(const plan_t *p, const data_t *d, size_t sample, real *t)
{
    const real nan = (real)NAN;
    if (!d->labels) {
        memcpy(t, (const real *)d->targets + sample * d->ldt, p->n_outputs * sizeof(real));
    } else {
        for (size_t g = 0; g < p->loss.n_groups; g++) {
            const size_t from = p->loss.group[g], n = p->loss.group[g + 1] - from;
            const int32_t label = d->labels[sample * p->loss.n_groups + g];
            const real rest = (real)(d->smoothing / (n == 1 ? 2 : n));
            for (size_t j = 0; j < n; j++)
                t[from + j] = label < 0 ? nan : rest;
            if (label >= 0 && n > 1)
                t[from + label] += (real)(1 - d->smoothing);
            else if (label > 0)
                t[from] += (real)(1 - d->smoothing);
        }
    }
    for (size_t j = p->n_outputs; j < p->ldt; j++)
        t[j] = nan;
}

/* Rows [position, position + rows) of the order into x, t, row_weight; returns Σ weights. */
static double gather(const plan_t *p, const data_t *d, size_t position, size_t rows, size_t tid)
{
    size_t from, to;
    share(rows, 4, tid, p->n_threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t sample = sample_at(d, position + i);
        if (!d->indptr)
            memcpy((real *)p->x + i * p->ldx, (const real *)d->x + sample * d->ldx,
                   p->n_features * sizeof(real));
        gather_target(p, d, sample, (real *)p->t + i * p->ldt);
    }
    if (!d->weights)
        return (double)rows;
    double total = 0;
    for (size_t i = 0; i < rows; i++)
        total += ((const real *)d->weights)[sample_at(d, position + i)];
    return total;
}

/* ---- forward ------------------------------------------------------------------------- */

/* What a layer's product goes through at once.  The last one leaves z_L where a softmax or,
 * in training, a loss on logits takes it from there. */
static activation_t product_activation(const plan_t *p, size_t l, int training)
{
    activation_t f = p->layers[l].f;
    if (f.code == ACT_SOFTMAX || (training && l + 1 == p->n_layers && p->loss.from_logits)) {
        f.code = ACT_IDENTITY;
        f.n_kinds = 0;
    }
    return f;
}

/* The stored entries of a CSR row times W into z. */
INLINE void csr_row(const plan_t *p, const data_t *d, size_t sample, const real *w,
                    const real *bias, size_t n, real *z)
{
    (void)p;
    const int64_t from = d->indptr[sample];
    row_times_matrix(z, bias, (const real *)d->values + from, d->indices + from,
                     (size_t)(d->indptr[sample + 1] - from), w, n, n);
}

/* y (rows × n_out, ld) of layer l from its inputs a (lda), or from CSR rows of `data` */
static void forward_layer(const plan_t *p, size_t l, const real *a, size_t lda,
                          const data_t *csr, size_t position, size_t rows, real *y, real *s,
                          size_t ld, int training, real *pack, size_t tid, size_t n_threads)
{
    const layer_t *layer = &p->layers[l];
    const activation_t f = product_activation(p, l, training);
    const real *w = (const real *)p->params + layer->w, *b = (const real *)p->params + layer->b;
    if (csr || rows < FEW_ROWS) {
        size_t from, to;
        share(rows, 1, tid, n_threads, &from, &to);
        for (size_t i = from; i < to; i++)
            if (csr)
                csr_row(p, csr, sample_at(csr, position + i), w, b, layer->n_out, y + i * ld);
            else
                row_times_matrix(y + i * ld, b, a + i * lda, NULL, layer->n_in, w, layer->n_out,
                                 layer->n_out);
        activation_forward(&f, y + from * ld, s + from * ld, ld, to - from,
                           round_up(layer->n_out, LANES), 0);
        return;
    }
    const epilogue_t epi = {EPI_FORWARD, &f, b, s};
    const gemm_t g = {NN, rows, layer->n_out, layer->n_in, a, w, y, lda, layer->n_out, ld, 0,
                      &epi};
    gemm(&g, pack, tid, n_threads);
}

static void forward_batch(const plan_t *p, const data_t *d, size_t position, size_t rows,
                          size_t tid)
{
    const real *a = p->x;
    size_t lda = p->ldx;
    real *pack = (real *)p->pack + tid * p->pack_size;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        forward_layer(p, l, a, lda, l == 0 && d->indptr ? d : NULL, position, rows, layer->y,
                      layer->s, layer->ld, 1, pack, tid, p->n_threads);
        wait_all(p);
        a = layer->y;
        lda = layer->ld;
    }
}

/* ---- loss ---------------------------------------------------------------------------- */

/* δ_L of every row into delta[0], times the row's weight × scale; losses into row_loss */
static void loss_batch(const plan_t *p, const data_t *d, size_t position, size_t rows,
                       double scale, size_t tid)
{
    const layer_t *top = &p->layers[p->n_layers - 1];
    size_t from, to;
    share(rows, 4, tid, p->n_threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        real *delta = (real *)p->delta[0] + i * top->ld;
        const double weight =
            d->weights ? ((const real *)d->weights)[sample_at(d, position + i)] : 1;
        p->row_loss[i] = weight * loss_row(&p->loss, &top->f, (real *)top->y + i * top->ld,
                                           (real *)top->s + i * top->ld,
                                           (real *)p->t + i * p->ldt, delta, p->n_outputs);
        const vec factor = v_set1((real)(weight * scale));
        for (size_t j = 0; j < p->n_outputs; j += LANES)
            v_store(delta + j, v_load(delta + j) * factor);
    }
    wait_all(p);
}

/* ---- backward ------------------------------------------------------------------------ */

/* ∂b = Σ over rows of δ, for a share of the columns */
static void sum_rows(real *out, const real *delta, size_t ld, size_t rows, size_t n,
                     int accumulate, size_t tid, size_t n_threads)
{
    size_t from, to;
    share(n, LANES, tid, n_threads, &from, &to);
    for (size_t j = from; j < to; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        vec sum = accumulate ? v_load_n(out + j, m, 0) : v_zero();
        for (size_t i = 0; i < rows; i++)
            sum += v_load(delta + i * ld + j);
        v_store_n(out + j, sum, m);
    }
}

/* ∂W of the first layer from CSR rows, for a share of the columns: no two threads add to the
 * same element */
static void csr_gradient(const plan_t *p, const data_t *d, size_t position, size_t rows,
                         const real *delta, size_t ld, real *gw, int accumulate, size_t tid)
{
    const size_t n = p->layers[0].n_out;
    size_t from, to;
    share(n, LANES, tid, p->n_threads, &from, &to);
    if (from == to)
        return;
    if (!accumulate)
        for (size_t i = 0; i < p->layers[0].n_in; i++)
            memset(gw + i * n + from, 0, (to - from) * sizeof(real));
    for (size_t i = 0; i < rows; i++) {
        const size_t sample = sample_at(d, position + i);
        for (int64_t k = d->indptr[sample]; k < d->indptr[sample + 1]; k++)
            add_scaled(gw + (size_t)d->indices[k] * n + from, ((const real *)d->values)[k],
                       delta + i * ld + from, to - from);
    }
}

/* δ_l from δ_{l+1} = `above` */
static void backward_delta(const plan_t *p, size_t l, const real *above, real *below,
                           size_t rows, size_t tid)
{
    const layer_t *layer = &p->layers[l], *under = &p->layers[l - 1];
    const real *w = (const real *)p->params + layer->w;
    if (rows < FEW_ROWS) {
        size_t from, to;
        share(rows, 1, tid, p->n_threads, &from, &to);
        for (size_t i = from; i < to; i++)
            matrix_times_row(below + i * under->ld, w, layer->n_out, layer->n_in,
                             above + i * layer->ld, layer->n_out);
        activation_backward(&under->f, below + from * under->ld,
                            (real *)under->s + from * under->ld, under->ld, to - from,
                            round_up(under->n_out, LANES), 0);
        return;
    }
    const epilogue_t epi = {EPI_BACKWARD, &under->f, NULL, under->s};
    const gemm_t g = {NT, rows, layer->n_in, layer->n_out, above, w, below, layer->ld,
                      layer->n_out, under->ld, 0, &epi};
    gemm(&g, (real *)p->pack + tid * p->pack_size, tid, p->n_threads);
}

static void backward_batch(const plan_t *p, const data_t *d, size_t position, size_t rows,
                           int accumulate, size_t tid)
{
    real *above = p->delta[0], *below = p->delta[1];
    for (size_t l = p->n_layers; l-- > p->first_trained;) {
        const layer_t *layer = &p->layers[l];
        real *gw = (real *)p->grads + layer->w, *gb = (real *)p->grads + layer->b;
        const real *a = l ? p->layers[l - 1].y : p->x;
        const size_t lda = l ? p->layers[l - 1].ld : p->ldx;
        if (l > p->first_trained)
            backward_delta(p, l, above, below, rows, tid);
        if (l == 0 && d->indptr) {
            csr_gradient(p, d, position, rows, above, layer->ld, gw, accumulate, tid);
        } else {
            const gemm_t g = {TN, layer->n_in, layer->n_out, rows, a, above, gw, lda, layer->ld,
                              layer->n_out, accumulate, NULL};
            gemm(&g, NULL, tid, p->n_threads);
        }
        sum_rows(gb, above, layer->ld, rows, layer->n_out, accumulate, tid, p->n_threads);
        wait_all(p);
        real *t = above;
        above = below;
        below = t;
    }
}

/* Forward, loss and gradient of one piece of a batch.  `scale` multiplies every row's δ. */
static void batch_gradient(const plan_t *p, const data_t *d, size_t position, size_t rows,
                           double scale, int accumulate, size_t tid)
{
    forward_batch(p, d, position, rows, tid);
    loss_batch(p, d, position, rows, scale, tid);
    backward_batch(p, d, position, rows, accumulate, tid);
}

static double sum_losses(const plan_t *p, size_t rows)
{
    double total = 0;
    for (size_t i = 0; i < rows; i++)
        total += p->row_loss[i];
    return total;
}

/* ---- update -------------------------------------------------------------------------- */

/* The flat buffers in two segments (weights | biases and scales), each in blocks. */
INLINE size_t n_blocks(size_t n) { return (n + BLOCK - 1) / BLOCK; }

static step_t step_of(const plan_t *p, int64_t t, int biases, double weight_sum)
{
    const solver_t *o = &p->solver;
    const int penalised = !biases, with_l2 = penalised || p->l2_bias;
    double rate = o->rate;
    if (o->code >= SOLVER_ADAM)
        rate *= sqrt(1 - pow(o->beta_2[biases], (double)t)) /
                (1 - pow(o->beta_1[biases], (double)t));
    step_t s;
    s.rate = v_set1((real)rate);
    s.momentum = v_set1((real)o->momentum);
    s.b1 = v_set1((real)o->beta_1[biases]);
    s.b2 = v_set1((real)o->beta_2[biases]);
    s.eps = v_set1((real)o->epsilon);
    s.l2 = v_set1((real)((penalised ? p->alpha / weight_sum : 0) + (with_l2 ? 2 * p->l2 : 0)));
    s.with_l1 = penalised && p->l1 != 0;
    s.l1 = v_set1((real)(s.with_l1 ? p->l1 : 0));
    s.keep = v_set1((real)(penalised ? 1 - o->rate * o->decay : 1));
    s.with_clip = o->clip_value != 0;
    s.clip = v_set1((real)o->clip_value);
    s.scale = v_set1(1);
    s.sum_l2 = (penalised && p->alpha != 0) || (with_l2 && p->l2 != 0);
    s.sum_l1 = s.with_l1;
    return s;
}

/* Blocks [from, to) of a segment: w ← w − …; the blocks' Σw², Σ∣w∣ into block_sums. */
static void update_segment(const plan_t *p, const step_t *s, size_t offset, size_t n,
                           size_t first_block, size_t tid)
{
    size_t from, to;
    share(n_blocks(n), 1, tid, p->n_threads, &from, &to);
    for (size_t block = from; block < to; block++) {
        const size_t at = offset + block * BLOCK, len = min_size(BLOCK, n - block * BLOCK);
        double *sums = p->block_sums + 2 * (first_block + block);
        real *m1 = p->moment_1 ? (real *)p->moment_1 + at : NULL;
        real *m2 = p->moment_2 ? (real *)p->moment_2 + at : NULL;
        update(p->solver.code, s, (real *)p->params + at, (const real *)p->grads + at, m1, m2,
               len, &sums[0], &sums[1]);
    }
}

/* The factor that brings the gradient's norm down to clip_norm; every thread gets the same. */
static double clip_factor(const plan_t *p, const step_t s[2], size_t tid)
{
    const size_t n[2] = {p->n_weights, p->n_biases + p->n_scales};
    size_t offset = 0, first = 0;
    for (int k = 0; k < 2; k++) {
        size_t from, to;
        share(n_blocks(n[k]), 1, tid, p->n_threads, &from, &to);
        for (size_t block = from; block < to; block++)
            p->block_sums[2 * (first + block)] =
                squared_norm(&s[k], (const real *)p->params + offset + block * BLOCK,
                             (const real *)p->grads + offset + block * BLOCK,
                             min_size(BLOCK, n[k] - block * BLOCK));
        offset += n[k];
        first += n_blocks(n[k]);
    }
    wait_all(p);
    double total = 0;
    for (size_t block = 0; block < first; block++)
        total += p->block_sums[2 * block];
    wait_all(p);
    const double norm = sqrt(total);
    return norm > p->solver.clip_norm ? p->solver.clip_norm / norm : 1;
}

static void update_parameters(const plan_t *p, int64_t t, double weight_sum, size_t tid)
{
    step_t s[2] = {step_of(p, t, 0, weight_sum), step_of(p, t, 1, weight_sum)};
    if (p->solver.clip_norm != 0) {
        const vec factor = v_set1((real)clip_factor(p, s, tid));
        for (int k = 0; k < 2; k++) {
            s[k].scale = factor;
            s[k].l2 *= factor;
            s[k].l1 *= factor;
        }
    }
    update_segment(p, &s[0], 0, p->n_weights, 0, tid);
    update_segment(p, &s[1], p->n_weights, p->n_biases + p->n_scales, n_blocks(p->n_weights),
                   tid);
}

/* Penalties of the parameters as they were before the update, from its block sums. */
static double penalty(const plan_t *p, double weight_sum)
{
    double l2 = 0, l1 = 0, l2_bias = 0;
    const size_t nw = n_blocks(p->n_weights), nb = n_blocks(p->n_biases + p->n_scales);
    for (size_t block = 0; block < nw; block++) {
        l2 += p->block_sums[2 * block];
        l1 += p->block_sums[2 * block + 1];
    }
    for (size_t block = nw; block < nw + nb; block++)
        l2_bias += p->block_sums[2 * block];
    return (p->alpha != 0 ? p->alpha / 2 / weight_sum * l2 : 0) + (p->l1 != 0 ? p->l1 * l1 : 0) +
           (p->l2 != 0 ? p->l2 * (l2 + (p->l2_bias ? l2_bias : 0)) : 0);
}

/* ---- the epoch ----------------------------------------------------------------------- */

typedef struct {
    plan_t *plan;
    const data_t *data;
    epoch_t *epoch;
} epoch_job;

/* Batches larger than the workspace go through it in pieces whose gradients add up. */
static void epoch_thread(void *arg, size_t tid, size_t n_threads)
{
    const epoch_job *job = arg;
    plan_t *p = job->plan;
    const data_t *d = job->data;
    epoch_t *e = job->epoch;
    const double deadline = team_seconds() + e->seconds;
    size_t position = e->position;
    int64_t t = p->solver.t;
    (void)n_threads;

    while (position < d->n_samples && !e->stop && !e->abandon) {
        const size_t length = min_size(e->batch_size, d->n_samples - position);
        double weight_sum = 0, loss = 0;
        if (d->weights)
            for (size_t i = 0; i < length; i++)
                weight_sum += ((const real *)d->weights)[sample_at(d, position + i)];
        else
            weight_sum = (double)length;
        for (size_t done = 0; done < length;) {
            const size_t rows = min_size(p->batch, length - done);
            gather(p, d, position + done, rows, tid);
            wait_all(p);
            batch_gradient(p, d, position + done, rows, weight_sum > 0 ? 1 / weight_sum : 0,
                           done > 0, tid);
            if (tid == 0)
                loss += sum_losses(p, rows);
            done += rows;
        }
        if (weight_sum > 0)
            update_parameters(p, ++t, weight_sum, tid);
        position += length;
        if (tid == 0 && team_seconds() > deadline)
            e->stop = 1;
        wait_all(p);
        if (tid == 0 && weight_sum > 0)
            e->loss += (p->loss.value_scale * loss / weight_sum + penalty(p, weight_sum)) *
                       (double)length;
    }
    wait_all(p);
    if (tid == 0) {
        e->position = position;
        p->solver.t = t;
    }
}

#endif
