/* gradient_norms.h — how much of the gradient reaches each layer: ‖(∂W_l, ∂b_l, ∂a_l)‖ of one
 * batch's mean loss, without penalties and before any clipping.
 *
 * Asked for once an epoch, of its last batch, whose gradient still lies in `grads` when the
 * parameters have been updated.  Samples that go one by one have no gradient in memory: their
 * norms are those of an outer product, ‖y δᵀ‖ = ‖y‖‖δ‖ (online.h).
 */
#ifndef MLP_GRADIENT_NORMS_H
#define MLP_GRADIENT_NORMS_H

#include "dropout.h"

static double gradient_square(const plan_t *p, size_t offset, size_t n)
{
    double square, unused;
    row_sums((const real *)p->grads + offset, n, &square, &unused);
    return square;
}

/* Of a thinned network the gradient is compact; what sleeps has none. */
static void layer_gradient_norms(const plan_t *p, double *norms)
{
    const plan_t *q = p->thin ? &p->thin->plan : p;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &q->layers[l];
        const real scale = p->thin ? kept_scale(p, l) : 1;
        /* with sparse inputs the rows of all of them are there */
        const real *awake = l == 0 && p->thin && !q->unit ? p->thin->awake[0] : NULL;
        double square = 0;
        for (size_t i = 0; i < layer->n_in; i++)
            if (!awake || awake[i] != 0)
                square += gradient_square(p, layer->w + i * layer->n_out, layer->n_out);
        square *= (double)scale * (double)scale;
        square += gradient_square(p, layer->b, layer->n_out);
        if (layer->has_norm)
            square += gradient_square(p, layer->norm.scale, layer->n_out);
        norms[l] = l < p->first_trained ? 0 : sqrt(square);
    }
}

#endif
