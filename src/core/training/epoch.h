/* epoch.h — the update of every parameter, and the epoch around the batches.
 *
 * A batch larger than the workspace goes through it in pieces whose gradients add up; a step
 * is one call of update_parameters, or of update_thin where units sleep.
 */
#ifndef MLP_TRAINING_EPOCH_H
#define MLP_TRAINING_EPOCH_H

#include "training/gradient_norms.h"
#include "network/passes.h"

/* ---- update -------------------------------------------------------------------------- */

INLINE size_t n_blocks(size_t n) { return (n + BLOCK - 1) / BLOCK; }

/* The step size of the step after `t` of them. */
INLINE double rate_of(const epoch_t *e, int64_t t)
{
    return e->rates[min_size((size_t)(t - e->first), e->n_rates - 1)];
}

/* What a step multiplies the parameters of dropped units by, where they decay at all: as plain
 * gradient descent on the penalties does, whatever the solver, and adamw's decay. */
static double dropped_factor(const plan_t *p, double rate, int kind, double weight_sum)
{
    const solver_t *o = &p->solver;
    if (kind == WEIGHTS)
        return 1 - rate * (p->alpha / weight_sum + 2 * p->l2 +
                           (o->code == SOLVER_ADAMW ? o->decay : 0));
    return kind == BIASES && p->l2_bias ? 1 - rate * 2 * p->l2 : 1;
}

/* A step's constants for one kind of parameter; only weights, and with l2_bias offsets, are
 * penalised.  `rate` is the schedule's, `step` what Adam makes of it. */
static step_t step_of(const plan_t *p, double rate, double step, int kind, double weight_sum)
{
    const solver_t *o = &p->solver;
    const int biases = kind >= WIDTHS, penalised = kind == WEIGHTS;
    const int with_l2 = penalised || (kind == BIASES && p->l2_bias);
    step_t s;
    s.rate = v_set1((real)step);
    s.momentum = v_set1((real)o->momentum);
    s.b1 = v_set1((real)o->beta_1[biases]);
    s.b2 = v_set1((real)o->beta_2[biases]);
    /* 1 − β before it is rounded: float32 takes β₂ = 1 − 1e-8 for 1 */
    s.rest1 = v_set1((real)(1 - o->beta_1[biases]));
    s.rest2 = v_set1((real)(1 - o->beta_2[biases]));
    s.eps = v_set1((real)o->epsilon);
    s.l2 = v_set1((real)((penalised ? p->alpha / weight_sum : 0) + (with_l2 ? 2 * p->l2 : 0)));
    s.sum_l1 = penalised && p->l1 != 0;
    s.with_l1 = s.sum_l1 && !p->l1_proximal;
    s.l1 = v_set1((real)(s.with_l1 ? p->l1 : 0));
    s.with_threshold = s.sum_l1 && p->l1_proximal;
    s.threshold = v_set1((real)(step * p->l1));
    s.keep = v_set1((real)(penalised ? 1 - rate * o->decay : 1));
    const int decays = p->drop_decays_all;
    s.dropped = v_set1((real)(decays ? dropped_factor(p, rate, kind, weight_sum) : 1));
    s.dropped_l1 = v_set1((real)(decays && s.sum_l1 ? rate * p->l1 : 0));
    s.with_clip = o->clip_value != 0;
    s.clip = v_set1((real)o->clip_value);
    s.scale = v_set1(1);
    s.sum_l2 = (penalised && p->alpha != 0) || (with_l2 && p->l2 != 0);
    s.with_floor = kind == WIDTHS;
    s.floor = v_set1(SMALLEST_WIDTH);
    return s;
}

/* The length of step t, which in Adam makes good that the moments began at 0. */
static double corrected_rate(const solver_t *o, double rate, int64_t t, int biases)
{
    if (moments_of(o->code) < 2)
        return rate;
    return rate * sqrt(1 - pow(o->beta_2[biases], (double)t)) /
           (1 - pow(o->beta_1[biases], (double)t));
}

static void steps_of(const plan_t *p, double rate, int64_t t, double weight_sum,
                     step_t s[N_KINDS])
{
    const solver_t *o = &p->solver;
    const int same = o->beta_1[0] == o->beta_1[1] && o->beta_2[0] == o->beta_2[1];
    const double step = corrected_rate(o, rate, t, 0);
    const double bias_step = same ? step : corrected_rate(o, rate, t, 1);
    for (int k = 0; k < N_KINDS; k++)
        s[k] = step_of(p, rate, k >= WIDTHS ? bias_step : step, k, weight_sum);
}

/* A thread's blocks of a span: w ← w − …; the blocks' Σw², Σ∣w∣ into block_sums. */
static void update_span(const plan_t *p, const step_t *s, const span_t *span,
                        size_t first_block, size_t tid)
{
    size_t from, to;
    share(n_blocks(span->n), 1, tid, p->n_threads, &from, &to);
    for (size_t block = from; block < to; block++) {
        const size_t at = span->at + block * BLOCK;
        const size_t len = min_size(BLOCK, span->n - block * BLOCK);
        double *sums = p->block_sums + 2 * (first_block + block);
        real *m1 = p->moment_1 ? (real *)p->moment_1 + at : NULL;
        real *m2 = p->moment_2 ? (real *)p->moment_2 + at : NULL;
        update(p->solver.code, s, (real *)p->params + at, (const real *)p->grads + at, m1, m2,
               len, &sums[0], &sums[1]);
    }
}

/* The factor that brings the gradient's norm down to clip_norm. */
INLINE double clip_factor(const plan_t *p, double squares)
{
    const double norm = sqrt(squares);
    return norm > p->solver.clip_norm ? p->solver.clip_norm / norm : 1;
}

static void scale_gradient(step_t s[N_KINDS], double factor)
{
    for (int k = 0; k < N_KINDS; k++) {
        const vec f = v_set1((real)factor);
        s[k].scale = f;
        s[k].l2 *= f;
        s[k].l1 *= f;
    }
}

/* Σ gradient² by blocks; every thread adds up all of them and gets the same. */
static double gradient_squares(const plan_t *p, const step_t s[N_KINDS], size_t tid)
{
    size_t first = 0;
    for (size_t k = 0; k < p->n_spans; k++) {
        const span_t *span = &p->spans[k];
        size_t from, to;
        share(n_blocks(span->n), 1, tid, p->n_threads, &from, &to);
        for (size_t block = from; block < to; block++) {
            const size_t at = span->at + block * BLOCK;
            p->block_sums[2 * (first + block)] =
                squared_norm(&s[span->kind], (const real *)p->params + at,
                             (const real *)p->grads + at, NULL,
                             min_size(BLOCK, span->n - block * BLOCK));
        }
        first += n_blocks(span->n);
    }
    wait_all(p);
    double total = 0;
    for (size_t block = 0; block < first; block++)
        total += p->block_sums[2 * block];
    wait_all(p);
    return total;
}

static void update_parameters(const plan_t *p, double rate, int64_t t, double weight_sum,
                              size_t tid)
{
    step_t s[N_KINDS];
    steps_of(p, rate, t, weight_sum, s);
    if (p->solver.clip_norm != 0)
        scale_gradient(s, clip_factor(p, gradient_squares(p, s, tid)));
    size_t first = 0;
    for (size_t k = 0; k < p->n_spans; k++) {
        update_span(p, &s[p->spans[k].kind], &p->spans[k], first, tid);
        first += n_blocks(p->spans[k].n);
    }
}

/* The same for the parameters of units that are awake, from the thinned network's gradient. */
static void update_thin(const plan_t *p, double rate, int64_t t, double weight_sum, size_t tid)
{
    step_t s[N_KINDS];
    steps_of(p, rate, t, weight_sum, s);
    if (p->solver.clip_norm != 0) {
        /* every thread sums all rows: the same order, the same bits */
        const double squares = for_rows_awake(p, row_norm, s, 0, 1, tid);
        wait_all(p);
        scale_gradient(s, clip_factor(p, squares));
    }
    for_rows_awake(p, row_update, s, tid, p->n_threads, tid);
    if (p->drop_decays_all)
        decay_dropped_rows(p, &s[WEIGHTS], tid);
}

INLINE double penalty_value(const plan_t *p, double weight_sum, double l2, double l1,
                            double l2_bias)
{
    return (p->alpha != 0 ? p->alpha / 2 / weight_sum * l2 : 0) + (p->l1 != 0 ? p->l1 * l1 : 0) +
           (p->l2 != 0 ? p->l2 * (l2 + (p->l2_bias ? l2_bias : 0)) : 0);
}

/* Penalties of the parameters as they were before the update, from its block sums. */
static double penalty(const plan_t *p, double weight_sum)
{
    double l2 = 0, l1 = 0, l2_bias = 0;
    size_t block = 0;
    for (size_t k = 0; k < p->n_spans; k++) {
        const int kind = p->spans[k].kind;
        for (const size_t end = block + n_blocks(p->spans[k].n); block < end; block++) {
            l2 += kind == WEIGHTS ? p->block_sums[2 * block] : 0;
            l1 += kind == WEIGHTS ? p->block_sums[2 * block + 1] : 0;
            l2_bias += kind == BIASES ? p->block_sums[2 * block] : 0;
        }
    }
    return penalty_value(p, weight_sum, l2, l1, l2_bias);
}

/* The same from the sums of rows, taken before update_thin changes them. */
static double thin_penalty(const plan_t *p, double weight_sum)
{
    double l2, l1, l2_bias;
    if (p->alpha == 0 && p->l2 == 0 && p->l1 == 0)
        return 0;
    thin_total(p, &l2, &l1, &l2_bias);
    return penalty_value(p, weight_sum, l2, l1, l2_bias);
}

/* ---- tied weights ---------------------------------------------------------------------- */

/* Elements of W, row by row n long, and their twins across the diagonal, in V row by row m
 * long; rows [from, to) of W.  By tiles, whose lines of both stay in the first-level cache:
 * ties cost an epoch of 784-512-784 in batches of 200 a twentieth, row by row four fifths. */
#define TIE_TILE 16

static void tie_rows(real *w, size_t n, real *v, size_t m, size_t from, size_t to, int after)
{
    for (size_t i0 = from; i0 < to; i0 += TIE_TILE)
        for (size_t j0 = 0; j0 < n; j0 += TIE_TILE)
            for (size_t j = j0; j < min_size(j0 + TIE_TILE, n); j++)
                for (size_t i = i0; i < min_size(i0 + TIE_TILE, to); i++) {
                    if (after)
                        v[j * m + i] = w[i * n + j];
                    else
                        w[i * n + j] += v[j * m + i];
                }
}

/* The gradient gathers both places of a tied W, and after the update the twin follows. */
static void for_ties(const plan_t *p, int after, size_t tid)
{
    for (size_t k = 0; k < p->n_ties; k++) {
        const layer_t *layer = &p->layers[p->ties[k].from];
        real *values = after ? p->params : p->grads;
        size_t from, to;
        share(layer->n_in, TIE_TILE, tid, p->n_threads, &from, &to);
        tie_rows(values + layer->w, layer->n_out, values + p->layers[p->ties[k].to].w,
                 layer->n_in, from, to, after);
    }
    if (p->n_ties)
        wait_all(p);
}

/* ---- the epoch ----------------------------------------------------------------------- */

typedef struct {
    plan_t *plan;
    const data_t *data;
    epoch_t *epoch;
} epoch_job;

static double batch_weight(const data_t *d, size_t position, size_t length)
{
    double sum = 0;
    if (!d->weights)
        return (double)length;
    for (size_t i = 0; i < length; i++)
        sum += weight_of(d, sample_at(d, position + i));
    return sum;
}

/* Samples of the batch at `position`.  Batch norm has no variance of one: a last batch of one
 * joins the one before it. */
INLINE size_t batch_length(const plan_t *p, const data_t *d, const epoch_t *e, size_t position)
{
    const size_t rest = d->n_samples - position;
    const size_t length = min_size(e->batch_size, rest);
    return p->joins_last && rest == length + 1 ? rest : length;
}

/* The gradient of a batch, piece by piece; its summed loss to thread 0.  Nonzero if a callback
 * failed. */
static int whole_gradient(const plan_t *p, const plan_t *q, const data_t *d, size_t position,
                          size_t length, double scale, size_t tid, double *loss)
{
    int failed = 0;
    for (size_t done = 0; done < length && !failed;) {
        const size_t rows = min_size(p->batch, length - done);
        failed = batch_gradient(q, d, position, position + done, rows, scale, done > 0, 1, tid);
        if (tid == 0)
            *loss += sum_losses(p, rows);
        done += rows;
    }
    return failed;
}

static void epoch_thread(void *arg, size_t tid, size_t n_threads)
{
    const epoch_job *job = arg;
    plan_t *p = job->plan, *q = p->thin ? &p->thin->plan : p;
    const data_t *d = job->data;
    epoch_t *e = job->epoch;
    const double deadline = team_seconds() + e->seconds;
    size_t position = e->position;
    int64_t t = p->solver.t;

    if (tid == 0 && p->thin) {
        q->n_threads = n_threads;
        q->barrier = p->barrier;
        q->seed = p->seed;
        thin_row_sums(p);
    }
    wait_all(p);
    while (position < d->n_samples && !e->stop && !e->abandon) {
        const size_t length = batch_length(p, d, e, position);
        const double weight_sum = batch_weight(d, position, length);
        const double scale = weight_sum > 0 ? 1 / weight_sum : 0, rate = rate_of(e, t);
        double loss = 0;
        if (p->thin) {
            if (tid == 0)
                thin_draw(p, position, goes_sparse(p, d));
            wait_all(p);
            thin_gather(p, tid);
            wait_all(p);
        }
        if (whole_gradient(p, q, d, position, length, scale, tid, &loss)) { /* one thread */
            e->failed = e->stop = 1;
            break;
        }
        const double thin_value =
            tid == 0 && p->thin && weight_sum > 0 ? thin_penalty(p, weight_sum) : 0;
        if (p->thin)
            wait_all(p);
        if (weight_sum > 0 && p->thin) {
            update_thin(p, rate, ++t, weight_sum, tid);
        } else if (weight_sum > 0) {
            for_ties(p, 0, tid);
            update_parameters(p, rate, ++t, weight_sum, tid);
            if (p->n_ties)
                wait_all(p);
            for_ties(p, 1, tid);
        }
        position += length;
        if (tid == 0 && team_seconds() > deadline)
            e->stop = 1;
        wait_all(p);
        if (tid == 0 && weight_sum > 0)
            e->loss += (p->loss.value_scale * loss / weight_sum +
                        (p->thin ? thin_value : penalty(p, weight_sum))) *
                       (double)length;
    }
    wait_all(p);
    if (tid == 0) {
        e->position = position;
        p->solver.t = t;
        if (e->gradient_norms && position >= d->n_samples)
            layer_gradient_norms(p, e->gradient_norms);
    }
}

#endif
