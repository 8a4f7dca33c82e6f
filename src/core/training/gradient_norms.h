/* gradient_norms.h — how much of the gradient reaches each layer: ‖(∂W_l, ∂b_l, ∂a_l)‖ of one
 * batch's mean loss, without penalties and before any clipping.
 *
 * Asked for once an epoch, of its last batch, whose gradient still lies in `grads` when the
 * parameters have been updated.  Samples that go one by one have no gradient in memory: their
 * norms are those of an outer product, ‖y δᵀ‖ = ‖y‖‖δ‖ (state.h).
 */
#ifndef MLP_TRAINING_GRADIENT_NORMS_H
#define MLP_TRAINING_GRADIENT_NORMS_H

#include "training/thinned.h"

/* Σ gradient² from `offset` on, by blocks: float32 sums of millions would lose digits. */
static double gradient_square(const plan_t *p, size_t offset, size_t n)
{
    double total = 0, square, unused;
    for (size_t i = 0; i < n; i += BLOCK) {
        row_sums((const real *)p->grads + offset + i, min_size(BLOCK, n - i), &square, &unused);
        total += square;
    }
    return total;
}

/* Of W_l, which lies between W_{l-1} and W_{l+1}.  Of a thinned network it is compact, and what
 * sleeps has none; only with sparse inputs all rows of W_0 are there. */
static double weight_square(const plan_t *p, const plan_t *q, size_t l)
{
    const layer_t *layer = &q->layers[l];
    const size_t end = l + 1 < q->n_layers ? layer[1].w : q->n_weights;
    const size_t n_in = layer->n_in, n_out = layer->n_out, n = end - layer->w;
    if (!p->thin)
        return gradient_square(p, layer->w, n);
    const double scale = (double)kept_scale(p, l), square = scale * scale;
    if (l > 0 || q->unit || n != n_in * n_out)
        return square * gradient_square(p, layer->w, n);
    double total = 0;
    for (size_t i = 0; i < n_in; i++)
        if (((const real *)p->thin->awake[0])[i] != 0)
            total += gradient_square(p, layer->w + i * n_out, n_out);
    return square * total;
}

/* The gradient of a tied W is part of that of the W it follows. */
static int is_tied(const plan_t *p, size_t l)
{
    for (size_t k = 0; k < p->n_ties; k++)
        if (p->ties[k].to == l)
            return 1;
    return 0;
}

static void layer_gradient_norms(const plan_t *p, double *norms)
{
    const plan_t *q = p->thin ? &p->thin->plan : p;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &q->layers[l];
        double square = p->no_offsets ? 0 : gradient_square(p, layer->b, layer->n_out);
        if (!is_tied(p, l))
            square += weight_square(p, q, l);
        if (layer->has_norm)
            square += gradient_square(p, layer->norm.scale, layer->n_out);
        norms[l] = p->layers[l].frozen ? 0 : sqrt(square);
    }
}

#endif
