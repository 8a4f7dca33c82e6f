/* step.h — one step: the update of every parameter from a batch's gradient, and the penalties.
 *
 * A step takes the parameters span by span (weights, biases, … that are trained), each span in
 * blocks of BLOCK, which the threads divide.
 */
#ifndef MLP_TRAINING_STEP_H
#define MLP_TRAINING_STEP_H

#include "network/rbf_layer.h"
#include "training/optimizer.h"

INLINE size_t n_blocks(size_t n) { return (n + BLOCK - 1) / BLOCK; }

/* ---- a step's constants ---------------------------------------------------------------- */

/* The factor of a step on parameters of dropped units, if those decay at all: that of plain
 * gradient descent on the penalties, whatever the solver, and of adamw's decay. */
static double dropped_factor(const plan_t *p, const step_t *step, int kind)
{
    const objective_t *q = &p->objective;
    const optimizer_t *o = &p->optimizer;
    if (kind == WEIGHTS)
        return 1 - step->rate * (q->alpha / step->weight_sum + 2 * q->l2 +
                                 (o->code == SOLVER_ADAMW ? o->decay : 0));
    return kind == BIASES && q->l2_bias ? 1 - step->rate * 2 * q->l2 : 1;
}

/* The constants for one kind of parameter; only weights, and with l2_bias biases, are
 * penalised.  `length` is the schedule's rate, corrected for Adam. */
static update_t update_of(const plan_t *p, const step_t *step, double length, int kind)
{
    const objective_t *q = &p->objective;
    const optimizer_t *o = &p->optimizer;
    const int biases = kind >= WIDTHS, penalised = kind == WEIGHTS;
    const int with_l2 = penalised || (kind == BIASES && q->l2_bias);
    update_t s;
    s.rate = v_set1((real)length);
    s.momentum = v_set1((real)o->momentum);
    s.b1 = v_set1((real)o->beta_1[biases]);
    s.b2 = v_set1((real)o->beta_2[biases]);
    /* 1 − β before it is rounded: float32 rounds β₂ = 1 − 1e-8 to 1 */
    s.rest1 = v_set1((real)(1 - o->beta_1[biases]));
    s.rest2 = v_set1((real)(1 - o->beta_2[biases]));
    s.eps = v_set1(at_least_normal(o->epsilon));
    s.l2 = v_set1(
        (real)((penalised ? q->alpha / step->weight_sum : 0) + (with_l2 ? 2 * q->l2 : 0)));
    s.sum_l1 = penalised && q->l1 != 0;
    s.with_l1 = s.sum_l1 && !q->l1_proximal;
    s.l1 = v_set1((real)(s.with_l1 ? q->l1 : 0));
    s.with_threshold = s.sum_l1 && q->l1_proximal;
    s.threshold = v_set1((real)(length * q->l1));
    s.keep = v_set1((real)(penalised ? 1 - step->rate * o->decay : 1));
    const int decays = p->noise.drop_decays_all;
    s.dropped = v_set1((real)(decays ? dropped_factor(p, step, kind) : 1));
    s.dropped_l1 = v_set1((real)(decays && s.sum_l1 ? step->rate * q->l1 : 0));
    s.with_clip = o->clip_value != 0;
    s.clip = v_set1((real)o->clip_value);
    s.scale = v_set1(1);
    s.sum_l2 = (penalised && q->alpha != 0) || (with_l2 && q->l2 != 0);
    s.with_floor = kind == WIDTHS;
    s.floor = v_set1(SMALLEST_WIDTH);
    return s;
}

/* The rate of step t, corrected for the moments' start at 0 if there are two of them. */
static double corrected_rate(const optimizer_t *o, const step_t *step, int biases)
{
    if (moments_of(o->code) < 2)
        return step->rate;
    return step->rate * sqrt(1 - pow(o->beta_2[biases], (double)step->t)) /
           (1 - pow(o->beta_1[biases], (double)step->t));
}

static void updates_of(const plan_t *p, const step_t *step, update_t s[N_KINDS])
{
    const optimizer_t *o = &p->optimizer;
    const int same = o->beta_1[0] == o->beta_1[1] && o->beta_2[0] == o->beta_2[1];
    const double length = corrected_rate(o, step, 0);
    const double bias_length = same ? length : corrected_rate(o, step, 1);
    for (int k = 0; k < N_KINDS; k++)
        s[k] = update_of(p, step, k >= WIDTHS ? bias_length : length, k);
}

/* ---- clipping by the global norm --------------------------------------------------------- */

static void clip_gradient(const plan_t *p, double squares, update_t s[N_KINDS])
{
    const double norm = sqrt(squares), limit = p->optimizer.clip_norm;
    for (int k = 0; k < N_KINDS; k++) {
        const vec f = v_set1((real)(norm > limit ? limit / norm : 1));
        s[k].scale = f;
        s[k].l2 *= f;
        s[k].l1 *= f;
    }
}

/* Σ gradient² by blocks; every thread adds up all of them and gets the same. */
static double gradient_squares(const plan_t *p, const update_t s[N_KINDS], const worker_t *w)
{
    const network_t *net = &p->net;
    double *sums = p->work.block_sums;
    size_t first = 0;
    for (size_t k = 0; k < net->n_spans; k++) {
        const span_t *span = &net->spans[k];
        size_t from, to;
        split_range(w, n_blocks(span->n), 1, &from, &to);
        for (size_t block = from; block < to; block++) {
            const size_t at = span->at + block * BLOCK;
            const slice_t x = slice_of(p, at, (const real *)p->work.grads + at,
                                       min_size(BLOCK, span->n - block * BLOCK));
            sums[2 * (first + block)] = squared_norm(&s[span->kind], &x, NULL);
        }
        first += n_blocks(span->n);
    }
    barrier_wait(w);
    double total = 0;
    for (size_t block = 0; block < first; block++)
        total += sums[2 * block];
    barrier_wait(w);
    return total;
}

/* ---- the update --------------------------------------------------------------------------- */

/* The worker's blocks of every span; the blocks' Σw², Σ∣w∣ into block_sums. */
static void update_parameters(const plan_t *p, const step_t *step, const worker_t *w)
{
    const network_t *net = &p->net;
    update_t s[N_KINDS];
    updates_of(p, step, s);
    if (p->optimizer.clip_norm != 0)
        clip_gradient(p, gradient_squares(p, s, w), s);
    size_t first = 0;
    for (size_t k = 0; k < net->n_spans; k++) {
        const span_t *span = &net->spans[k];
        size_t from, to;
        split_range(w, n_blocks(span->n), 1, &from, &to);
        for (size_t block = from; block < to; block++) {
            const size_t at = span->at + block * BLOCK;
            const slice_t x = slice_of(p, at, (const real *)p->work.grads + at,
                                       min_size(BLOCK, span->n - block * BLOCK));
            update(p->optimizer.code, &s[span->kind], &x,
                   p->work.block_sums + 2 * (first + block));
        }
        first += n_blocks(span->n);
    }
}

INLINE double penalty_value(const objective_t *q, double weight_sum, double l2, double l1,
                            double l2_bias)
{
    return (q->alpha != 0 ? q->alpha / 2 / weight_sum * l2 : 0) + (q->l1 != 0 ? q->l1 * l1 : 0) +
           (q->l2 != 0 ? q->l2 * (l2 + (q->l2_bias ? l2_bias : 0)) : 0);
}

/* Penalties of the parameters before the update, from its block sums. */
static double penalty(const plan_t *p, double weight_sum)
{
    const double *sums = p->work.block_sums;
    double l2 = 0, l1 = 0, l2_bias = 0;
    size_t block = 0;
    for (size_t k = 0; k < p->net.n_spans; k++) {
        const int kind = p->net.spans[k].kind;
        for (const size_t end = block + n_blocks(p->net.spans[k].n); block < end; block++) {
            l2 += kind == WEIGHTS ? sums[2 * block] : 0;
            l1 += kind == WEIGHTS ? sums[2 * block + 1] : 0;
            l2_bias += kind == BIASES ? sums[2 * block] : 0;
        }
    }
    return penalty_value(&p->objective, weight_sum, l2, l1, l2_bias);
}

/* ---- tied weights ---------------------------------------------------------------------- */

/* Tied matrices are transposed by tiles whose lines of both stay in the first-level cache: ties
 * then add 5 % to an epoch of 784-512-784 in batches of 200, row by row 80 %. */
#define TIE_TILE 16

enum tie_direction { GATHER_GRADIENT, COPY_WEIGHTS };

/* Elements of W, rows n long, and their images across the diagonal in V, rows m long; rows
 * [from, to) of W. */
INLINE void tie_rows(const tie_t *tie, const network_t *net, real *values, size_t from, size_t to,
                     enum tie_direction direction)
{
    const size_t n = net->layers[tie->from].n_out, m = net->layers[tie->from].n_in;
    real *w = values + net->layers[tie->from].w, *v = values + net->layers[tie->to].w;
    for (size_t i0 = from; i0 < to; i0 += TIE_TILE)
        for (size_t j0 = 0; j0 < n; j0 += TIE_TILE)
            for (size_t j = j0; j < min_size(j0 + TIE_TILE, n); j++)
                for (size_t i = i0; i < min_size(i0 + TIE_TILE, to); i++) {
                    if (direction == COPY_WEIGHTS) {
                        v[j * m + i] = w[i * n + j];
                    } else {
                        w[i * n + j] += v[j * m + i];
                        v[j * m + i] = 0;
                    }
                }
}

/* Before an update the gradient of a tied W is added to that of the W it follows; after it the
 * new weights are copied. */
static void apply_ties(const plan_t *p, enum tie_direction direction, const worker_t *w)
{
    const network_t *net = &p->net;
    for (size_t k = 0; k < net->n_ties; k++) {
        const tie_t *tie = &net->ties[k];
        real *values = direction == COPY_WEIGHTS ? net->params : p->work.grads;
        size_t from, to;
        split_range(w, net->layers[tie->from].n_in, TIE_TILE, &from, &to);
        tie_rows(tie, net, values, from, to, direction);
    }
    if (net->n_ties)
        barrier_wait(w);
}

#endif
