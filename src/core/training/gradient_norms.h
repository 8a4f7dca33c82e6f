/* gradient_norms.h — how much of the gradient reaches each layer: ‖(∂W_l, ∂b_l, ∂a_l)‖ of one
 * batch's mean loss, without penalties and before any clipping.
 *
 * They are computed once per epoch, from the gradient of the last batch, which is still in the
 * workspace after the update.  The per-sample path has no gradient in memory: its norms are
 * those of an outer product, ‖y δᵀ‖ = ‖y‖‖δ‖ (single/state.h).
 */
#ifndef MLP_TRAINING_GRADIENT_NORMS_H
#define MLP_TRAINING_GRADIENT_NORMS_H

#include "network/mask.h"
#include "training/optimizer.h"

/* Σ gradient² from `offset` on, by blocks: float32 sums of millions would lose digits. */
static double gradient_square(const plan_t *p, size_t offset, size_t n)
{
    double total = 0, sums[2];
    for (size_t i = 0; i < n; i += BLOCK) {
        row_sums((const real *)p->work.grads + offset + i, min_size(BLOCK, n - i), sums);
        total += sums[0];
    }
    return total;
}

/* Σ (∂W_l)² of `net`.  In a thinned network only rows and columns of kept units exist, except
 * that with sparse inputs W_0 has all its rows. */
static double weight_square(const plan_t *p, const network_t *net, size_t l)
{
    const layer_t *layer = &net->layers[l];
    const size_t end = l + 1 < net->n_layers ? layer[1].w : net->n_weights;
    const size_t n_in = layer->n_in, n_out = layer->n_out, n = end - layer->w;
    if (net == &p->net)
        return gradient_square(p, layer->w, n);
    const double scale = (double)kept_scale(p, l), square = scale * scale;
    if (l > 0 || net->unit || n != n_in * n_out)
        return square * gradient_square(p, layer->w, n);
    double total = 0;
    for (size_t i = 0; i < n_in; i++)
        if (((const real *)p->noise.thinned->kept[0])[i] != 0)
            total += gradient_square(p, layer->w + i * n_out, n_out);
    return square * total;
}

static void layer_gradient_norms(const plan_t *p, double *norms)
{
    const network_t *net = p->noise.thinned ? &p->noise.thinned->net : &p->net;
    for (size_t l = 0; l < net->n_layers; l++) {
        const layer_t *layer = &net->layers[l];
        double square = net->no_offsets ? 0 : gradient_square(p, layer->b, layer->n_out);
        square += weight_square(p, net, l);
        if (layer->has_norm)
            square += gradient_square(p, layer->norm.scale, layer->n_out);
        norms[l] = layer->frozen ? 0 : sqrt(square);
    }
}

#endif
