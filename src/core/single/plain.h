/* plain.h — one sample of the per-sample path, without dropout [S 65.87, 65.150].
 *
 * One sample's arithmetic is two operations per weight; most of the time is spent on reading and
 * writing W.  So each weight is read and written once per sample (read twice if a hidden layer
 * needs it forward):
 *
 *   hidden layers   while row i of W is read for d_i = W_i·δ it is updated: W_i −= c y_i δ
 *   first layer     its update with this sample and its product with the next sample's inputs
 *                   are one pass:  W_i −= c x_i δ;  z_next += x_next,i W_i; or, if it is large
 *                   and its inputs are dense, it is updated once in many samples (delayed.h)
 *   zeros           a row whose y_i is exactly 0 adds nothing forward, gets no update, and with
 *                   relu propagates nothing back: it is not touched at all
 *   decay           W = s V.  (1 − μ(alpha + 2 l2)) multiplies s alone; an update of W by u is
 *                   one of V by u/s (state.h).
 *
 * δ of a layer uses the weights before this step's update [S 65.82].  The results equal the
 * plain order of operations up to rounding (tests/test_online.py).
 *
 * Threads.  Each has a range of every layer's units: their columns of V, their z, y, δ and
 * offsets.  Columns are divided by strips (rows.h), so that a layer of 512 units occupies two
 * threads.  A narrow layer and the loss belong to thread 0.  Threads wait for each other
 *
 *   forward    before a layer's product, which needs every y of the layer below.  A narrow layer
 *              is summed from per-thread partial products; the barrier is before that sum.
 *   loss       before and after it
 *   backward   for the partial sums of V δ over each thread's columns; after a narrow layer's δ
 */
#ifndef MLP_SINGLE_PLAIN_H
#define MLP_SINGLE_PLAIN_H

#include "network/passes.h"
#include "single/state.h"

/* ---- forward ------------------------------------------------------------------------- */

/* y_{l+1} = f(s z + b) */
static void activate(view_t *h, size_t l, const real *z)
{
    const layer_t *layer = &h->p->net.layers[l];
    const activation_t f = layer_activation(&h->p->net, l, h->p->objective.loss.from_logits);
    const size_t from = h->own[l].from, n = n_own(h, l);
    const real *b = (const real *)h->p->net.params + layer->b;
    real *y = layer->y;
    const vec s = v_set1((real)h->s);
    if (n == 0)
        return;
    for (size_t j = from; j < from + n; j += LANES)
        v_store(y + j, s * v_load(z + j) + v_load_n(b + j, min_size(LANES, from + n - j), 0));
    activation_forward(&f, &(region_t){y + from, (real *)layer->s + from, 0, 1,
                                       round_up(n, LANES), from});
    record_outputs(h, l);
}

/* z of a narrow layer, each strip of its inputs by its owner. */
static void narrow_forward(view_t *h, size_t l)
{
    state_t *o = h->o;
    const layer_t *layer = &h->p->net.layers[l];
    const real *y = layer[-1].y;
    const size_t ld = row_stride(layer->n_in);
    FOR_STRIPS (h->own[l - 1])
        matrix_times_row(j ? o->sums[0] + j / STRIP * o->ld_sums : o->z[l], o->vt[l] + j, ld,
                         layer->n_out, y + j, n);
    barrier_wait(h->w);
    for (size_t strip = 1; n_own(h, l) && strip < n_strips(layer->n_in); strip++)
        add_scaled(o->z[l], 1, o->sums[0] + strip * o->ld_sums, layer->n_out);
}

static void plain_forward(view_t *h)
{
    state_t *o = h->o;
    const network_t *net = &h->p->net;
    activate(h, 0, h->z);
    for (size_t l = 1; l < net->n_layers; l++) {
        const layer_t *layer = &net->layers[l];
        if (o->vt[l]) {
            narrow_forward(h, l);
        } else {
            barrier_wait(h->w);
            strips_forward(&o->v[l], h->own[l], (sample_t){layer->n_in, layer[-1].y, NULL},
                           &h->list, o->z[l]);
        }
        activate(h, l, o->z[l]);
    }
    if (!o->vt[net->n_layers - 1])
        barrier_wait(h->w);
}

/* ---- backward and update ----------------------------------------------------------------- */

/* This thread's δ of the layer below l, from the strips' partial sums of V δ. */
static void add_strips(const view_t *h, size_t l, const real *sums, real *below)
{
    const size_t from = h->own[l - 1].from, n = n_own(h, l - 1);
    memcpy(below + from, sums + from, n * sizeof(real));
    for (size_t strip = 1; strip < n_strips(h->p->net.layers[l].n_out); strip++)
        add_scaled(below + from, 1, sums + strip * h->o->ld_sums + from, n);
}

/* b −= rate δ for this thread's units */
static void update_offsets(const view_t *h, size_t l, double rate, const real *delta)
{
    const network_t *net = &h->p->net;
    const size_t from = h->own[l].from;
    if (!net->no_offsets)
        add_scaled((real *)net->params + net->layers[l].b + from, (real)-rate, delta + from,
                   n_own(h, l));
}

/* Backward and update of all layers but the first; returns δ_1. */
static const real *plain_backward(view_t *h, double rate, double k)
{
    state_t *o = h->o;
    real *above = h->p->work.delta[0], *below = h->p->work.delta[1];
    for (size_t l = h->p->net.n_layers - 1; l > 0; l--) {
        const layer_t *layer = &h->p->net.layers[l], *under = layer - 1;
        const real *y = under->y;
        const size_t first = h->own[l - 1].from, n = n_own(h, l - 1);
        record_delta(h, l, o->z[l], above);
        update_offsets(h, l, rate, above);
        if (o->vt[l]) {
            const size_t ld = row_stride(layer->n_in);
            const outer_t u = {{n, y + first, NULL}, (real)k, above, 1};
            if (n)
                transposed_backward(o->vt[l] + first, ld, &u, layer->n_out, below + first);
        } else {
            real *sums = o->sums[l & 1];
            const int zeros = under->f.n_kinds || under->f.code != ACT_RELU;
            const outer_t u = {{layer->n_in, y, NULL}, (real)k, above, zeros};
            hidden_layer(&o->v[l], h->own[l], &u, &h->list, sums, o->ld_sums);
            barrier_wait(h->w);
            add_strips(h, l, sums, below);
        }
        if (n && h->s != 1)
            scaled_row(below + first, (real)h->s, below + first, n);
        if (n)
            activation_backward(&under->f, &(region_t){below + first, (real *)under->s + first, 0,
                                                       1, round_up(n, LANES), first});
        if (o->vt[l - 1])
            barrier_wait(h->w);
        real *t = above;
        above = below;
        below = t;
    }
    return above;
}

/* ---- the first layer's inputs -------------------------------------------------------------- */

/* The first sample of the run that i is in. */
INLINE size_t run_start(size_t i) { return i / DELAY * DELAY; }

/* Apply the steps before sample i, back to the beginning of their run, to V; unless the epoch
 * ends here, the run that begins at i is next. */
static void change_runs(view_t *h, size_t i, int last)
{
    const state_t *o = h->o;
    const samples_t *samples = &h->e->samples;
    const size_t first = i ? run_start(i - 1) : 0;
    run_t done = {.n = i - first};
    rows_of(samples, first, done.n, done.x);
    h->run.n = last ? 0 : rows_of(samples, i, DELAY, h->run.x);
    next_run(&o->v[0], h->own[0], &o->delayed, &done, &h->run, h->pack);
}

INLINE sample_t nth_sample(const view_t *h, size_t i)
{
    const samples_t *samples = &h->e->samples;
    return sample_of(samples->data, sample_at(samples, i), h->p->net.n_features);
}

/* Before the first sample, or when an epoch that was left is resumed at sample i. */
static void plain_enter(view_t *h, size_t i)
{
    state_t *o = h->o;
    h->next = nth_sample(h, i);
    if (i == 0) {
        copy_weights(h, 0);
        if (!o->delays)
            strips_forward(&o->v[0], h->own[0], h->next, &h->list, h->z_next);
    } else if (o->delays) {
        h->run.n = rows_of(&h->e->samples, run_start(i), DELAY, h->run.x);
    }
}

/* After the last sample, or if the rest is not wanted. */
static void plain_leave(view_t *h, size_t i)
{
    if (h->o->delays)
        change_runs(h, i, 1);
    fold_scale(h);
    copy_weights(h, 1);
}

/* ---- the sample ------------------------------------------------------------------------- */

/* The loss with penalties, and δ_L (thread 0). */
static void plain_loss(view_t *h, size_t i, const sample_t *x, double weight)
{
    state_t *o = h->o;
    plan_t *p = h->p;
    const samples_t *samples = &h->e->samples;
    const loss_t *loss = &p->objective.loss;
    const layer_t *top = &p->net.layers[p->net.n_layers - 1];
    gather_target(p, samples->data, sample_at(samples, i), p->work.t);
    h->e->loss += loss->value_scale *
                  loss_row(loss, &top->f, top->y, top->s, p->work.t, p->work.delta[0]);
    if (h->with_terms) {
        update_square(o);
        record_inputs(o, x);
        h->e->loss +=
            (p->objective.alpha / 2 / weight + p->objective.l2) * h->s * h->s * o->square;
    }
}

/* One step with sample i, whose Vᵀx is at z_next (unless delayed); leaves the next sample's
 * there.  A sample of weight 0 makes no step. */
static void plain_sample(view_t *h, size_t i, double rate, double weight)
{
    plan_t *p = h->p;
    state_t *o = h->o;
    const range_t own = h->own[0];
    const size_t t = i - run_start(i), n = own.to - own.from;
    const int more = i + 1 < h->e->samples.n;
    const sample_t x = h->next;
    real *u = o->delayed.u + t * o->delayed.ld + own.from;
    if (more)
        h->next = nth_sample(h, i + 1);
    if (o->delays && t == 0)
        change_runs(h, i, 0);
    if (!(weight > 0)) {
        if (o->delays)
            memset(u, 0, n * sizeof(real));
        else if (more)
            strips_forward(&o->v[0], own, h->next, &h->list, h->z_next);
        return;
    }
    const double decay = 1 - rate * (p->objective.alpha / weight + 2 * p->objective.l2);
    const double s = h->s * decay, k = rate / s;
    if (o->delays) {
        delayed_forward(&o->delayed, own, &h->run, t, p->net.n_features, h->z);
    } else {
        real *z = h->z;
        h->z = h->z_next;
        h->z_next = z;
    }
    plain_forward(h);
    if (h->w->tid == 0) {
        plain_loss(h, i, &x, weight);
        check_clock(h);
        o->k = k;
    }
    barrier_wait(h->w);
    const real *delta = plain_backward(h, rate, k);
    record_delta(h, 0, h->z, delta);
    update_offsets(h, 0, rate, delta);
    if (o->delays)
        scaled_row(u, (real)-k, delta + own.from, n);
    else
        first_layer(&o->v[0], own, &(outer_t){x, (real)k, delta, 0}, more ? &h->next : NULL,
                    &h->list, h->z_next);
    h->s = s;
    if (fabs(s) < SMALLEST_SCALE)
        fold_scale(h);
}

#endif
