/* dropped.h — one sample of the per-sample path, with dropout [S 65.124].
 *
 * To gather the thinned network of one sample would cost more than to train it, so its rows are
 * used in place: the row of W of a dropped input is not touched, and in that of a kept one δ is
 * 0 where the output is dropped.  A weight between two kept units decays, and no other:
 *   W_ij ← (1 − μ(alpha + 2 l2) a_j) W_ij − μ y_i δ_j  for kept i, a_j 1 for kept j, else 0.
 * With drop_decays_all every weight does: W = s V, the decay multiplies s alone, and an update
 * of W by u is one of V by u/s, as in plain.h; otherwise s = 1.
 * If kept units are scaled up, y_i stands for y_i/(1−p), and what is propagated back is scaled
 * too.
 *
 * ‖W‖² of the reported loss is the sum of the rows' squares, which each update renews for its
 * rows.  784-512-512-10, float32, p = 0.1, 0.5, 0.5: 58 µs per sample, with the gathered network
 * 290.
 */
#ifndef MLP_SINGLE_DROPPED_H
#define MLP_SINGLE_DROPPED_H

#include "single/plain.h"

/* its size is a multiple of a cache line: the workspace follows it */
typedef struct {
    _Alignas(64) plan_t *p;
    real *kept[MAX_LAYERS + 1];  /* inputs first: 1 kept, 0 dropped                        */
    real *keep;                  /* factor of the weights into each unit                   */
    real *x;                     /* a sample's inputs, if they are stored entries          */
    real *z, *squares;
    row_list_t list;
    double *row_square;          /* ‖·‖² of each row of each W                             */
    double square;               /* their sum                                              */
    double s;                    /* W = s V; the rows above are V's                        */
    double *norms;               /* receives this sample's gradient norms; or NULL         */
} dropped_t;

/* ---- workspace ------------------------------------------------------------------------ */

static size_t n_rows(const network_t *net)
{
    size_t n = 0;
    for (size_t l = 0; l < net->n_layers; l++)
        n += net->layers[l].n_in;
    return n;
}

static size_t widest_unit(const network_t *net)
{
    const size_t in = widest_input(net), out = net->layers[net->n_layers - 1].ld;
    return in > out ? in : out;
}

static size_t dropped_size(const network_t *net)
{
    return sizeof(dropped_t) / sizeof(real) + (net->n_layers + 1 + 7) * widest_unit(net) +
           round_up(n_rows(net) * sizeof(double) / sizeof(real), LANES) + LANES;
}

static void dropped_init(dropped_t *o, plan_t *p)
{
    const network_t *net = &p->net;
    const size_t width = widest_unit(net);
    real *scratch = (real *)(o + 1);
    o->p = p;
    for (size_t l = 0; l <= net->n_layers; l++, scratch += width) {
        o->kept[l] = scratch;
        memset(scratch, 0, width * sizeof(real));
    }
    o->keep = scratch;
    o->x = scratch + width;
    o->z = scratch + 2 * width;
    o->squares = scratch + 3 * width;
    o->list.now = scratch + 4 * width;
    o->list.next = scratch + 5 * width;
    o->list.row = (uint32_t *)(scratch + 6 * width);
    o->row_square = (double *)(scratch + 7 * width);
    o->square = 0;
    o->s = 1;
    double *square = o->row_square;
    for (size_t l = 0; l < net->n_layers; l++)
        for (size_t i = 0; i < net->layers[l].n_in; i++, square++) {
            const real *row =
                (const real *)net->params + net->layers[l].w + i * net->layers[l].n_out;
            *square = (double)dot(row, row, net->layers[l].n_out);
            o->square += *square;
        }
}

/* W ← s V, s ← 1 */
static void dropped_fold(dropped_t *o)
{
    const network_t *net = &o->p->net;
    real *w = net->params;
    if (o->s == 1)
        return;
    scaled_row(w, (real)o->s, w, net->n_weights);
    for (size_t i = 0; i < n_rows(net); i++)
        o->row_square[i] *= o->s * o->s;
    o->square *= o->s * o->s;
    o->s = 1;
}

/* ---- rows -------------------------------------------------------------------------------- */

/* The rows' update: keep ⊙ V_i − k_i δ; their products with δ and new squares go to back and
 * squares. */
typedef struct {
    const real *delta, *keep;
    real *back, *squares;
    size_t n;
} kept_update_t;

INLINE void kept_rows_update(const size_t rows, real *const *row, real *const *ahead,
                             const real *k, const kept_update_t *u, size_t first)
{
    const real *RESTRICT delta = u->delta, *RESTRICT keep = u->keep;
    const size_t n = u->n;
    vec acc[AT_ONCE], sum[AT_ONCE], kv[AT_ONCE];
    for (size_t i = 0; i < rows; i++) {
        acc[i] = sum[i] = v_zero();
        kv[i] = v_set1(k[i]);
    }
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vec d = v_load(delta + j), h = v_load(keep + j);
        for (size_t i = 0; i < rows; i++) {
            FETCH(i);
            const vec v = v_load(row[i] + j), w = h * v - kv[i] * d;
            acc[i] += v * d;
            sum[i] += w * w;
            v_store(row[i] + j, w);
        }
    }
    if (j < n) {
        const size_t m = n - j;
        const vec d = v_load_n(delta + j, m, 0), h = v_load_n(keep + j, m, 0);
        for (size_t i = 0; i < rows; i++) {
            const vec v = v_load_n(row[i] + j, m, 0), w = h * v - kv[i] * d;
            acc[i] += v * d;
            sum[i] += w * w;
            v_store_n(row[i] + j, w, m);
        }
    }
    for (size_t i = 0; i < rows; i++) {
        u->back[first + i] = v_sum(acc[i]);
        u->squares[first + i] = v_sum(sum[i]);
    }
}

/* The kept inputs of layer l as rows, with k y_i; those of 0 only if `zeros`. */
static void list_kept(dropped_t *o, size_t l, const real *y, real k, int zeros)
{
    const sample_t s = {o->p->net.layers[l].n_in, y, NULL};
    list_rows(&o->list, s, k, NULL, o->kept[l], zeros);
}

/* ---- the passes --------------------------------------------------------------------------- */

/* y_{l+1} = a ⊙ f(z + b) from the kept inputs */
static void dropped_forward(dropped_t *o, size_t l, const real *x)
{
    const plan_t *p = o->p;
    const layer_t *layer = &p->net.layers[l];
    const activation_t f = layer_activation(&p->net, l, p->objective.loss.from_logits);
    const real *b = (const real *)p->net.params + layer->b;
    const size_t n = layer->n_out;
    real *v = (real *)p->net.params + layer->w, *y = layer->y, *z = o->z;
    row_list_t *list = &o->list;
    list_kept(o, l, x, kept_scale(p, l) * (real)o->s, 0);
    clear(z, n);
    FOR_LISTED(list, v, n, forward_rows(AT_ONCE, row, ahead, list->now + at, z, n),
               forward_rows(1, row, ahead, list->now + at, z, n))
    for (size_t j = 0; j < n; j += LANES)
        v_store(y + j, v_load(z + j) + v_load_n(b + j, min_size(LANES, n - j), 0));
    activation_forward(&f, &(region_t){y, layer->s, 0, 1, round_up(n, LANES), 0});
    if (l + 1 < p->net.n_layers)
        for (size_t j = 0; j < n; j += LANES)
            v_store(y + j, v_load(y + j) * v_load(o->kept[l + 1] + j));
}

/* ‖(y δᵀ, δ)‖ of the kept units, if it is needed */
static void dropped_norm(const dropped_t *o, size_t l, const real *y, const real *delta)
{
    const layer_t *layer = &o->p->net.layers[l];
    const double scale = (double)kept_scale(o->p, l);
    double square = 0;
    for (size_t i = 0; o->norms && i < layer->n_in; i++)
        square += o->kept[l][i] != 0 ? scale * y[i] * scale * y[i] : 0;
    if (o->norms)
        o->norms[l] =
            sqrt((!o->p->net.no_offsets + square) * (double)dot(delta, delta, layer->n_out));
}

/* A step's rate, in V's scale, and the decay of weights between kept units. */
typedef struct {
    double rate, k, decay;
} kept_step_t;

/* Layer l backwards and its update, of V by k y δᵀ; `below` may be NULL. */
static void dropped_backward(dropped_t *o, size_t l, const real *y, const real *delta, real *below,
                             const kept_step_t *step)
{
    const plan_t *p = o->p;
    const layer_t *layer = &p->net.layers[l];
    const real scale = kept_scale(p, l);
    const size_t n = layer->n_out, ld = layer->ld;
    real *v = (real *)p->net.params + layer->w;
    double *square = o->row_square;
    dropped_norm(o, l, y, delta);
    for (size_t m = 0; m < l; m++)
        square += p->net.layers[m].n_in;
    for (size_t j = 0; j < ld; j += LANES)
        v_store(o->keep + j,
                v_set1(1) - v_set1((real)step->decay) * v_load(o->kept[l + 1] + j));
    const activation_t *under = l ? &p->net.layers[l - 1].f : NULL;
    const int relu = under && !under->n_kinds && under->code == ACT_RELU;
    list_kept(o, l, y, (real)step->k * scale, step->decay != 0 || !(l == 0 || relu));
    row_list_t *list = &o->list;
    const kept_update_t u = {delta, o->keep, list->next, o->squares, n};
    FOR_LISTED(list, v, n, kept_rows_update(AT_ONCE, row, ahead, list->now + at, &u, at),
               kept_rows_update(1, row, ahead, list->now + at, &u, at))
    for (size_t i = 0; i < list->n; i++) {
        o->square += (double)o->squares[i] - square[list->row[i]];
        square[list->row[i]] = (double)o->squares[i];
    }
    if (!p->net.no_offsets)
        add_scaled((real *)p->net.params + layer->b, (real)-step->rate, delta, n);
    if (below) {
        memset(below, 0, round_up(layer->n_in, LANES) * sizeof(real));
        for (size_t i = 0; i < list->n; i++)
            below[list->row[i]] = scale * (real)o->s * list->next[i];
    }
}

/* One step with inputs x; returns the loss with penalties. */
static double dropped_step(dropped_t *o, const real *x, double rate, double weight)
{
    const plan_t *p = o->p;
    const network_t *net = &p->net;
    const objective_t *q = &p->objective;
    const layer_t *top = &net->layers[net->n_layers - 1];
    const double decay = rate * (q->alpha / weight + 2 * q->l2);
    const int all = p->noise.drop_decays_all;
    const double s = all ? o->s * (1 - decay) : 1;
    const kept_step_t step = {rate, rate / s, all ? 0 : decay};
    const double penalty = (q->alpha / 2 / weight + q->l2) * o->s * o->s * o->square;
    dropped_forward(o, 0, x);
    for (size_t l = 1; l < net->n_layers; l++)
        dropped_forward(o, l, net->layers[l - 1].y);
    real *above = p->work.delta[0], *below = p->work.delta[1];
    const double loss = loss_row(&q->loss, &top->f, top->y, top->s, p->work.t, above);
    for (size_t l = net->n_layers - 1; l > 0; l--) {
        const layer_t *under = &net->layers[l - 1];
        dropped_backward(o, l, under->y, above, below, &step);
        activation_backward(&under->f, &(region_t){below, under->s, 0, 1,
                                                   round_up(under->n_out, LANES), 0});
        for (size_t j = 0; j < under->n_out; j += LANES)
            v_store(below + j, v_load(below + j) * v_load(o->kept[l] + j));
        real *t = above;
        above = below;
        below = t;
    }
    dropped_backward(o, 0, x, above, NULL, &step);
    o->s = s;
    if (s < SMALLEST_SCALE)
        dropped_fold(o);
    return loss * q->loss.value_scale + penalty;
}

/* kept ← 1 or 0 for each of n units of a layer */
static void draw_mask(const plan_t *p, size_t batch, size_t layer, real *kept, size_t n)
{
    const double drop = drop_rate(p, layer);
    const uint64_t key = mask_key(p->noise.seed, batch, layer);
    for (size_t j = 0; j < n; j++)
        kept[j] = drop == 0 || is_kept(key, j, drop) ? 1 : 0;
}

/* The sample at i of the order, by one thread. */
static void dropped_sample(dropped_t *o, epoch_t *e, size_t i, double rate, double weight)
{
    const plan_t *p = o->p;
    const network_t *net = &p->net;
    const data_t *d = e->samples.data;
    const size_t sample = sample_at(&e->samples, i);
    const real *x = d->indptr ? o->x : (const real *)d->x + sample * d->ldx;
    if (!(weight > 0))
        return;
    if (d->indptr)
        scatter_row(d, sample, o->x, net->n_features);
    gather_target(p, d, sample, p->work.t);
    for (size_t layer = 0; layer <= net->n_layers; layer++)
        draw_mask(p, i, layer, o->kept[layer],
                  layer ? net->layers[layer - 1].n_out : net->n_features);
    o->norms = i + 1 < e->samples.n ? NULL : e->gradient_norms;
    e->loss += dropped_step(o, x, rate, weight);
}

#endif
