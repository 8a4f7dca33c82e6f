/* single.h — stochastic gradient descent on single samples [S 65.87, 65.150].
 *
 * One sample's arithmetic is two operations a weight; reading and writing W is what takes the
 * time.  So each weight is read and written once a sample (twice read where a hidden layer
 * needs it forward):
 *
 *   hidden layers   while row i of W passes for d_i = W_i·δ it is updated: W_i −= c y_i δ
 *   first layer     its update with this sample and its product with the next sample's
 *                   inputs are one pass:  W_i −= c x_i δ;  z_next += x_next,i W_i; or, large
 *                   and of dense inputs, it is touched once in many samples (delayed.h)
 *   zeros           a row whose y_i is exactly 0 adds nothing forward, gets no update, and
 *                   under relu sends nothing back: it is not touched at all
 *   decay           W = s V.  (1 − μ(alpha + 2 l2)) multiplies s alone; an update of W by u
 *                   is one of V by u/s (state.h).
 *
 * δ of a layer uses the weights before this step's update [S 65.82].  The results equal the
 * plain order of operations up to rounding (tests/test_online.py).
 *
 * Threads.  Each has a run of every layer's units: their columns of V, their z, y, δ and
 * offsets.  Columns come in strips (rows.h), so that a layer of 512 units occupies two
 * threads.  A narrow layer and the loss belong to the first thread.
 * Threads wait for each other
 *
 *   forward    before a layer's product, which wants all y below; of a narrow layer each
 *              thread multiplies its own y, and the wait is for these parts of the sum
 *   loss       before and after it
 *   backward   for the parts of V δ that each thread's columns give; after a narrow layer's δ
 */
#ifndef MLP_SINGLE_SINGLE_H
#define MLP_SINGLE_SINGLE_H

#include "single/state.h"

/* ---- which epochs go this way ----------------------------------------------------------- */

/* The smallest factor by which a step decays the weights. */
static double least_decay(const plan_t *p, const data_t *d, const epoch_t *e)
{
    double least = 1, rate = 0;
    for (size_t i = 0; i < e->n_rates; i++)
        rate = e->rates[i] > rate ? e->rates[i] : rate;
    if (p->alpha != 0 && d->weights)
        for (size_t i = 0; i < d->n_samples; i++) {
            const double w = weight_of(d, sample_at(d, i));
            least = w > 0 && w < least ? w : least;
        }
    return 1 - rate * (p->alpha / least + 2 * p->l2);
}

/* Whether units may sleep. */
static int sleeps(const plan_t *p)
{
    int any = p->drop > 0;
    for (size_t l = 0; l < p->n_layers; l++)
        any = any || p->layers[l].drop > 0;
    return any;
}

/* Whether this path can train the epoch.  A plan is plain as long as no option beyond dense
 * layers, a built-in loss, alpha, l2 and a dropout mask per batch is set; all others train as a
 * batch of one row. */
static int single_possible(const plan_t *p, const data_t *d, const epoch_t *e)
{
    return p->plain && p->solver.code == SOLVER_SGD && e->batch_size == 1 &&
           p->n_layers <= MAX_LAYERS &&
           /* s must stay away from 0; no sensible rate decays by half per step */
           least_decay(p, d, e) > 0.5;
}

/* ---- the sample ------------------------------------------------------------------------- */

/* y_{l+1} = f(s z + b) */
static void online_activate(hand_t *h, size_t l, const real *z)
{
    const layer_t *layer = &h->o->p->layers[l];
    const activation_t f = layer_activation(h->o->p, l, 1);
    const size_t from = h->own[l].from, n = owned(h, l);
    const real *b = (const real *)h->o->p->params + layer->b;
    real *y = layer->y;
    const vec s = v_set1((real)h->s);
    if (n == 0)
        return;
    for (size_t j = from; j < from + n; j += LANES)
        v_store(y + j, s * v_load(z + j) + v_load_n(b + j, min_size(LANES, from + n - j), 0));
    activation_forward(&f, y + from, (real *)layer->s + from, 0, 1, round_up(n, LANES), from);
    note_y(h, l);
}

/* z of a narrow layer, each strip of its inputs by its owner */
static void narrow_forward(hand_t *h, size_t l)
{
    online_t *o = h->o;
    const layer_t *layer = &o->p->layers[l];
    const real *y = o->p->layers[l - 1].y;
    const size_t ld = row_stride(layer->n_in);
    FOR_STRIPS (h->own[l - 1].from, h->own[l - 1].to)
        matrix_times_row(j ? o->sums[0] + j / STRIP * o->ld_sums : o->z[l], o->vt[l] + j, ld,
                         layer->n_out, y + j, n);
    wait_all(o->p);
    for (size_t strip = 1; owned(h, l) && strip < n_strips(layer->n_in); strip++)
        add_scaled(o->z[l], 1, o->sums[0] + strip * o->ld_sums, layer->n_out);
}

static void online_forward_all(hand_t *h)
{
    online_t *o = h->o;
    plan_t *p = o->p;
    online_activate(h, 0, h->z);
    for (size_t l = 1; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        if (o->vt[l]) {
            narrow_forward(h, l);
        } else {
            wait_all(p);
            online_forward(&o->v[l], h->own[l].from, h->own[l].to,
                           (sample_t){layer->n_in, p->layers[l - 1].y, NULL}, &h->list, o->z[l]);
        }
        online_activate(h, l, o->z[l]);
    }
    if (!o->vt[p->n_layers - 1])
        wait_all(p);
}

/* δ of the layer below l, where it is mine, from the strips' parts of V δ */
static void add_strips(const hand_t *h, size_t l, const real *sums, real *below)
{
    const size_t from = h->own[l - 1].from, n = owned(h, l - 1);
    memcpy(below + from, sums + from, n * sizeof(real));
    for (size_t strip = 1; strip < n_strips(h->o->p->layers[l].n_out); strip++)
        add_scaled(below + from, 1, sums + strip * h->o->ld_sums + from, n);
}

/* Backward and update of all layers but the first; returns δ_1. */
static const real *online_backward(hand_t *h, double rate, double k)
{
    online_t *o = h->o;
    plan_t *p = o->p;
    real *above = p->delta[0], *below = p->delta[1];
    for (size_t l = p->n_layers - 1; l > 0; l--) {
        const layer_t *layer = &p->layers[l], *under = &p->layers[l - 1];
        const real *y = under->y;
        const size_t from = h->own[l].from, first = h->own[l - 1].from, n = owned(h, l - 1);
        const int zeros = under->f.n_kinds || under->f.code != ACT_RELU;
        note_delta(h, l, o->z[l], above);
        if (!p->no_offsets)
            add_scaled((real *)p->params + layer->b + from, (real)-rate, above + from, owned(h, l));
        if (o->vt[l]) {
            if (n)
                narrow_backward(o->vt[l] + first, row_stride(layer->n_in), n, layer->n_out,
                                y + first, (real)k, above, below + first);
        } else {
            real *sums = o->sums[l & 1];
            middle_layer(&o->v[l], from, h->own[l].to, y, zeros, (real)k, above, &h->list, sums,
                         o->ld_sums);
            wait_all(p);
            add_strips(h, l, sums, below);
        }
        if (n && h->s != 1)
            scaled_row(below + first, (real)h->s, below + first, n);
        if (n)
            activation_backward(&under->f, below + first, (real *)under->s + first, 0, 1,
                                round_up(n, LANES), first);
        if (o->vt[l - 1])
            wait_all(p);
        real *t = above;
        above = below;
        below = t;
    }
    return above;
}

/* Where an epoch stands. */
typedef struct {
    plan_t *plan;
    const data_t *data;
    epoch_t *epoch;
    double deadline;
    size_t clock_mask; /* reading the clock costs as much as a small network's step      */
} online_job;

/* The loss with penalties, and δ_L; whether it is time to leave. */
static void online_loss(hand_t *h, const online_job *job, size_t i, sample_t now, double weight)
{
    online_t *o = h->o;
    plan_t *p = o->p;
    const layer_t *top = &p->layers[p->n_layers - 1];
    gather_target(p, job->data, sample_at(job->data, i), p->t);
    job->epoch->loss += p->loss.value_scale * loss_row(&p->loss, &top->f, top->y, top->s, p->t,
                                                       p->delta[0], p->n_outputs);
    if (h->with_strips) {
        settle_square(o);
        note_inputs(o, &now);
        job->epoch->loss += (p->alpha / 2 / weight + p->l2) * h->s * h->s * o->square;
    }
    if ((++h->steps & job->clock_mask) == 0 && team_seconds() > job->deadline)
        job->epoch->stop = 1;
}

/* The samples of a run that begins before or at i */
INLINE size_t run_start(size_t i) { return i / DELAY * DELAY; }

/* The steps before sample i, back to the beginning of their run, reach V; unless it is the
 * last, the run that begins there comes next. */
static void change_runs(hand_t *h, const data_t *d, size_t i, int last)
{
    const online_t *o = h->o;
    const real *done[DELAY];
    const size_t first = i ? run_start(i - 1) : 0;
    rows_of(d, first, i - first, done);
    next_run(&o->v[0], h->own[0].from, h->own[0].to, &o->run, done, i - first, h->x,
             last ? 0 : rows_of(d, i, DELAY, h->x), h->pack);
}

/* One step with `now`, whose Vᵀx is at z_next; leaves the next sample's there. */
static void online_step(hand_t *h, const online_job *job, size_t i, sample_t now,
                        const sample_t *next, double rate, double weight)
{
    plan_t *p = h->o->p;
    const layer_t *first = &p->layers[0];
    const size_t from = h->own[0].from, to = h->own[0].to;
    const double decay = 1 - rate * (p->alpha / weight + 2 * p->l2);
    const double s = h->s * decay, k = rate / s;
    const size_t t = i - run_start(i);
    if (h->o->delays) {
        delayed_forward(&h->o->run, from, to, h->x, t, p->n_features, h->z);
    } else {
        real *z = h->z;
        h->z = h->z_next;
        h->z_next = z;
    }
    online_forward_all(h);
    if (h->tid == 0) {
        online_loss(h, job, i, now, weight);
        h->o->k = k;
    }
    wait_all(p);
    const real *delta = online_backward(h, rate, k);
    note_delta(h, 0, h->z, delta);
    if (!p->no_offsets)
        add_scaled((real *)p->params + first->b + from, (real)-rate, delta + from, to - from);
    if (h->o->delays)
        scaled_row(h->o->run.u + t * h->o->run.ld + from, (real)-k, delta + from, to - from);
    else
        first_layer(&h->o->v[0], from, to, now, next, (real)k, delta, &h->list, h->z_next);
    h->s = s;
    if (fabs(s) < SMALLEST_SCALE)
        fold_scale(h);
}

/* The state lies at the head of the plan's workspace for single samples, for as long as the
 * epoch: were s folded whenever the epoch is left to look for signals, the bits would depend
 * on the clock. */
static void online_thread(void *arg, size_t tid, size_t n_threads)
{
    const online_job *job = arg;
    plan_t *p = job->plan;
    const data_t *d = job->data;
    epoch_t *e = job->epoch;
    online_t *o = p->single;
    size_t i = e->position;
    int64_t t = p->solver.t;
    int stop = 0, stepped = 0;
    hand_t h;
    (void)n_threads;

    if (i == 0 && tid == 0)
        online_begin(o, p, d, (real *)(o + 1));
    wait_all(p);
    hand_begin(&h, o, tid);
    h.with_strips = p->alpha != 0 || p->l2 != 0 || e->gradient_norms;
    if (e->abandon) {
        if (o->delays)
            change_runs(&h, d, i, 1);
        online_end(&h);
        return;
    }
    const size_t from = h.own[0].from, to = h.own[0].to;
    const size_t ahead = o->delays ? DELAY : ROWS_AHEAD;
    sample_t now = sample_of(d, sample_at(d, i), p->n_features), next = now;
    if (i == 0) {
        hand_over(&h, 0);
        if (!o->delays)
            online_forward(&o->v[0], from, to, now, &h.list, h.z_next);
    } else if (o->delays) {
        rows_of(d, run_start(i), DELAY, h.x);
    }
    while (i < d->n_samples && !stop) {
        const double weight = weight_of(d, sample_at(d, i));
        const int more = i + 1 < d->n_samples;
        if (more)
            next = sample_of(d, sample_at(d, i + 1), p->n_features);
        if (!d->indptr && i + ahead < d->n_samples)
            fetch_row(p, d, i + ahead);
        if (o->delays && i == run_start(i))
            change_runs(&h, d, i, 0);
        stepped = weight > 0;
        if (stepped) {
            online_step(&h, job, i, now, more ? &next : NULL, rate_of(e, t++), weight);
            stop = e->stop; /* set between the two waits of the loss */
        } else if (o->delays) {
            memset(o->run.u + (i - run_start(i)) * o->run.ld + from, 0,
                   (to - from) * sizeof(real));
        } else if (more) {
            online_forward(&o->v[0], from, to, next, &h.list, h.z_next);
        }
        now = next;
        i++;
    }
    if (i == d->n_samples) {
        if (o->delays)
            change_runs(&h, d, i, 1);
        online_end(&h);
    }
    wait_all(p);
    if (tid == 0) {
        hand_back(&h);
        e->position = i;
        p->solver.t = t;
        if (i == d->n_samples && stepped && e->gradient_norms)
            note_norms(o, e->gradient_norms);
    }
}

static void online_epoch(plan_t *p, const data_t *d, epoch_t *e)
{
    const size_t wanted = p->n_threads, n = p->n_weights;
    online_job job = {p, d, e, team_seconds() + e->seconds, n > 20000 ? 0 : n > 1000 ? 15 : 255};
    p->n_threads = team_begin(online_threads(p, wanted));
    p->barrier = team_barrier_of_pool();
    team_run(online_thread, &job, p->n_threads);
    team_end(p->n_threads);
    p->n_threads = wanted;
}

#endif
