/* layer.h — one layer, forward and backward: the only place that knows all kinds of layers.
 *
 *   product       dense, sparse or radial basis functions (a file each)
 *   batch norm    between the product and f, in training (batch_norm.h)
 *   f             in the product's tiles, unless batch norm comes first
 *   after f       y += y of the layer below (skip connection), then a mask per sample
 *
 * Training, prediction and derivatives call `layer_forward`; training calls `layer_backward` and
 * `layer_gradient`, for the thinned network of dropout too.
 */
#ifndef MLP_NETWORK_LAYER_H
#define MLP_NETWORK_LAYER_H

#include "network/batch.h"
#include "network/dense_layer.h"
#include "network/rbf_layer.h"
#include "network/sparse_layer.h"

/* ---- forward ------------------------------------------------------------------------- */

/* The activation that a layer's pass applies.  The last layer's pass leaves z_L if a softmax, or
 * in training a loss on `logits`, continues from there. */
INLINE activation_t layer_activation(const network_t *net, size_t l, int logits)
{
    activation_t f = net->layers[l].f;
    if (f.code == ACT_SOFTMAX || (logits && l + 1 == net->n_layers)) {
        f.code = ACT_IDENTITY;
        f.n_kinds = 0;
    }
    return f;
}

/* z → batch norm → f, for the worker's columns */
static void norm_layer(const piece_t *c, const layer_t *layer, const activation_t *f,
                       const output_t *out)
{
    const real *params = c->net->params;
    const region_t all = {out->y, out->s, out->ld, c->rows, layer->n_out, 0};
    size_t from, to;
    norm_forward(c, &(normed_t){&layer->norm, layer->unit, params + layer->norm.scale,
                                params + layer->b, layer->n_out}, &all);
    split_range(c->w, layer->n_out, LANES, &from, &to);
    if (from < to)
        activation_forward(f, &(region_t){out->y + from, out->s + from, out->ld, c->rows,
                                          round_up(to - from, LANES), from});
    barrier_wait(c->w);
}

INLINE int masks_outputs(const piece_t *c, const layer_t *layer)
{
    return c->training && c->p->noise.drop_per_sample && layer->drop > 0;
}

INLINE int has_post_activation(const piece_t *c, const layer_t *layer)
{
    return layer->skip_scale != 0 || masks_outputs(c, layer);
}

/* f(z) is kept at s, then y += y of the layer below; then the mask per sample. */
static void post_activation(const piece_t *c, size_t l, const input_t *in, const output_t *out)
{
    const layer_t *layer = &c->net->layers[l];
    const size_t n = layer->n_out;
    size_t from, to;
    split_range(c->w, c->rows, 4, &from, &to);
    for (size_t i = from; i < to; i++) {
        real *y = out->y + i * out->ld;
        const real *below = in->a + i * in->ld;
        if (out->s != out->y && !layer->f.keeps_z)
            memcpy(out->s + i * out->ld, y, n * sizeof(real));
        if (layer->skip_scale != 0 && layer->skip)
            for (size_t j = 0; j < n; j++) /* thinned: only in training, not scaled */
                y[j] += layer->skip[j] < 0 ? 0 : kept_scale(c->p, l) * below[layer->skip[j]];
        else if (layer->skip_scale != 0)
            add_scaled(y, (real)layer->skip_scale, below, n);
    }
    if (masks_outputs(c, layer))
        mask_rows(c, l + 1, out->y, n, out->ld);
    barrier_wait(c->w);
}

/* The outputs of layer l; a softmax is left to the caller.  Inlined: the call and the options of
 * training would cost one row's prediction 5 %. */
INLINE void layer_forward(const piece_t *c, size_t l, const input_t *in, const output_t *out)
{
    static const activation_t identity = {.code = ACT_IDENTITY};
    const layer_t *layer = &c->net->layers[l];
    const activation_t f =
        layer_activation(c->net, l, c->training && c->p->objective.loss.from_logits);
    const int norm = c->training && layer->has_norm;
    if (layer->sparse)
        sparse_forward(c, layer, norm ? &identity : &f, in, out);
    else if (layer->f.code == ACT_RBF)
        rbf_forward(c, layer, in, out);
    else
        dense_forward(c, layer, norm ? &identity : &f, in, out);
    barrier_wait(c->w);
    if (norm)
        norm_layer(c, layer, &f, out);
    if (has_post_activation(c, layer))
        post_activation(c, l, in, out);
}

/* ---- backward ------------------------------------------------------------------------ */

/* δ on its way down: of layer l at `above`, of the layer under it at `below`; and ∂Q/∂y of both
 * where skip connections pass it on. */
typedef struct {
    real *above, *below, *skip_above, *skip_below;
} deltas_t;

/* ∂Q/∂y of the layer under l, at `below`: l's skip connection adds its part, the mask per
 * sample is applied; it is kept at `skip_below` for the skip connection of the layer under
 * it; then ⊙ f′. */
static void post_activation_backward(const piece_t *c, size_t l, const deltas_t *d)
{
    const layer_t *layer = &c->net->layers[l], *under = layer - 1;
    const size_t ld = under->ld;
    size_t from, to;
    split_range(c->w, c->rows, 4, &from, &to);
    for (size_t i = from; layer->skip_scale != 0 && i < to; i++) {
        real *e = d->below + i * ld;
        const real *across = d->skip_above + i * layer->ld;
        for (size_t j = 0; layer->skip && j < layer->n_out; j++)
            if (layer->skip[j] >= 0)
                e[layer->skip[j]] += kept_scale(c->p, l) * across[j];
        if (!layer->skip)
            add_scaled(e, (real)layer->skip_scale, across, layer->n_out);
    }
    if (masks_outputs(c, under))
        mask_rows(c, l, d->below, under->n_out, ld);
    if (under->skip_scale != 0 && from < to)
        memcpy(d->skip_below + from * ld, d->below + from * ld, (to - from) * ld * sizeof(real));
    if (under->f.code == ACT_RBF)
        rbf_delta(c, under, d->below, from, to);
    else
        activation_backward(&under->f, &(region_t){d->below + from * ld, at(under->s, from, ld),
                                                   ld, to - from, round_up(under->n_out, LANES),
                                                   0});
    barrier_wait(c->w);
}

/* δ of v becomes ∂z; returns what the layer below takes its δ from. */
static const real *norm_delta(const piece_t *c, const layer_t *layer, real *delta)
{
    real *diagonal = c->net->norm_diagonal ? c->p->work.diagonal : NULL;
    norm_backward(c, layer, delta, diagonal);
    barrier_wait(c->w);
    return diagonal ? diagonal : delta;
}

/* From δ of layer l's outputs: ∂z at `above` and δ of the layer under it, if that is trained, at
 * `below`. */
static void layer_backward(const piece_t *c, size_t l, const deltas_t *d)
{
    const layer_t *layer = &c->net->layers[l], *under = l ? layer - 1 : NULL;
    const real *down = layer->has_norm ? norm_delta(c, layer, d->above) : d->above;
    if (layer->sparse)
        delta_to_columns(c, layer, down);
    if (l > c->net->first_trained) {
        const int post =
            has_post_activation(c, under) || under->f.code == ACT_RBF || layer->skip_scale != 0;
        const activation_t *f = post ? NULL : &under->f;
        if (layer->sparse)
            sparse_backward(c, l, f, d->below);
        else
            dense_backward(c, l, f, down, d->below);
        if (post) {
            barrier_wait(c->w);
            post_activation_backward(c, l, d);
        }
    }
    if (layer->sparse && down != d->above) {
        barrier_wait(c->w);
        delta_to_columns(c, layer, d->above);
    }
}

/* Σ over rows of δ, for the worker's columns */
static void sum_rows(const piece_t *c, real *out, const real *delta, size_t n, size_t ld)
{
    size_t from, to;
    split_range(c->w, n, LANES, &from, &to);
    for (size_t j = from; j < to; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        const vec before = c->accumulate ? v_load_n(out + j, m, 0) : v_zero();
        v_store_n(out + j, before + column_sum(delta + j, ld, c->rows), m);
    }
}

/* ∂W_l and (without batch norm) ∂b_l from the layer's inputs and ∂z */
static void layer_gradient(const piece_t *c, size_t l, const input_t *in, const real *delta)
{
    const layer_t *layer = &c->net->layers[l];
    if (layer->frozen) {
        /* its offsets' gradient costs little, and that of batch norm may need it */
    } else if (layer->sparse) {
        sparse_gradient(c, layer, in, delta);
    } else {
        dense_gradient(c, layer, in, delta);
    }
    if (layer->f.code == ACT_RBF) {
        barrier_wait(c->w);
        rbf_gradient(c, layer, delta);
    } else if (!layer->has_norm && !c->net->no_offsets) {
        sum_rows(c, (real *)c->p->work.grads + layer->b, delta, layer->n_out, layer->ld);
    }
}

#endif
