/* passes.h — a batch through the network and back.
 *
 *   forward   z_{l+1} = y_l W_l + b_l,  y_{l+1} = f(z_{l+1})                     [S 65.31]
 *   loss      Q and δ_L                                                          (loss.h)
 *   backward  δ_l = (δ_{l+1} W_lᵀ) ⊙ f′,  ∂W_l = y_lᵀ δ_{l+1},  ∂b_l = Σ δ_{l+1} [S 65.80–81]
 *
 * y_0 is the batch's inputs (batch.h).  δ of the layer above and of this one alternate between
 * `delta[0]` and `delta[1]`.  Every δ has the factor (weight of its sample) / (weight of the
 * batch), so that gradients are weighted means.
 */
#ifndef MLP_NETWORK_PASSES_H
#define MLP_NETWORK_PASSES_H

#include "network/layer.h"
#include "network/loss.h"

static void forward_piece(const piece_t *c)
{
    input_t in = first_input(c);
    for (size_t l = 0; l < c->net->n_layers; l++) {
        const layer_t *layer = &c->net->layers[l];
        layer_forward(c, l, &in, &(output_t){layer->y, layer->s, layer->ld});
        in = (input_t){layer->y, layer->ld, NULL, 0};
    }
}

/* ---- loss ---------------------------------------------------------------------------- */

/* Cross-entropy of few classes, one sample per lane. */
static void loss_of_blocks(const piece_t *c)
{
    const layer_t *top = &c->net->layers[c->net->n_layers - 1];
    const workspace_t *work = &c->p->work;
    const data_t *d = c->samples->data;
    real weights[LANES];
    size_t from, to;
    split_range(c->w, c->rows, LANES, &from, &to);
    for (size_t i = from; i < to; i += LANES) {
        const size_t rows = min_size(LANES, to - i);
        for (size_t k = 0; d->weights && k < rows; k++)
            weights[k] = (real)weight_of(d, sample_at(c->samples, c->position + i + k));
        softmax_log_loss_block(&(loss_rows_t){rows, top->ld, work->ldt, at(top->y, i, top->ld),
                                              at(work->t, i, work->ldt),
                                              at(work->delta[0], i, top->ld), work->row_loss + i},
                               c->net->n_outputs, d->weights ? weights : NULL, (real)c->scale);
    }
}

/* The caller's loss in Python, by one thread: ∂Q/∂y of all rows into delta[0]. */
static int call_loss(const piece_t *c, const layer_t *top)
{
    const workspace_t *work = &c->p->work;
    const loss_t *loss = &c->p->objective.loss;
    for (size_t i = 0; top->f.code == ACT_SOFTMAX && i < c->rows; i++)
        grouped_softmax(loss, at(top->y, i, top->ld));
    return loss->callback(loss->context,
                          &(loss_rows_t){c->rows, top->ld, work->ldt, top->y, work->t,
                                         work->delta[0], work->row_loss});
}

/* δ_L of every row into delta[0], times the row's weight × scale; losses into row_loss.
 * Nonzero if the caller's loss failed. */
static int loss_piece(const piece_t *c)
{
    const layer_t *top = &c->net->layers[c->net->n_layers - 1];
    const workspace_t *work = &c->p->work;
    const loss_t *loss = &c->p->objective.loss;
    const size_t n_outputs = c->net->n_outputs, n = round_up(n_outputs, LANES);
    size_t from, to;
    int failed = 0;
    if (top->f.code == ACT_SOFTMAX && loss->from_logits && loss->n_groups == 1 &&
        !loss->group_weight && LANES > 1 && n_outputs > 1 && n_outputs <= LANES) {
        loss_of_blocks(c);
        barrier_wait(c->w);
        return 0;
    }
    if (loss->callback)
        failed = call_loss(c, top);
    split_range(c->w, c->rows, 4, &from, &to);
    for (size_t i = from; i < to && !failed; i++) {
        real *delta = at(work->delta[0], i, top->ld), *y = at(top->y, i, top->ld);
        const real *s = at(top->s, i, top->ld);
        const double weight =
            weight_of(c->samples->data, sample_at(c->samples, c->position + i));
        if (loss->callback)
            output_backward(loss, &top->f, y, s, delta, n_outputs);
        else
            work->row_loss[i] = loss_row(loss, &top->f, y, s, at(work->t, i, work->ldt), delta);
        work->row_loss[i] *= weight;
        const vec factor = v_set1((real)(weight * c->scale));
        for (size_t j = 0; j < n; j += LANES)
            v_store(delta + j, v_load(delta + j) * factor);
    }
    barrier_wait(c->w);
    return failed;
}

static double sum_losses(const plan_t *p, size_t rows)
{
    double total = 0;
    for (size_t i = 0; i < rows; i++)
        total += p->work.row_loss[i];
    return total;
}

/* ---- backward ------------------------------------------------------------------------ */

static void backward_piece(const piece_t *c)
{
    const workspace_t *work = &c->p->work;
    deltas_t d = {work->delta[0], work->delta[1], work->skip_delta[0], work->skip_delta[1]};
    for (size_t l = c->net->n_layers; l-- > c->net->first_trained;) {
        const layer_t *under = l ? &c->net->layers[l - 1] : NULL;
        const input_t in = under ? (input_t){under->y, under->ld, NULL, 0} : first_input(c);
        layer_backward(c, l, &d);
        layer_gradient(c, l, &in, d.above);
        barrier_wait(c->w);
        d = (deltas_t){d.below, d.above, d.skip_below, d.skip_above};
    }
}

/* ---- a batch ------------------------------------------------------------------------- */

/* Forward, loss and gradient of one piece.  Nonzero if a callback failed. */
static int piece_gradient(const piece_t *c, int with_gradient)
{
    gather(c);
    if (prepare_inputs(c))
        return 1;
    forward_piece(c);
    if (loss_piece(c))
        return 1;
    if (with_gradient)
        backward_piece(c);
    return 0;
}

/* A piece of batch b, in the workspace of p, by worker w. */
INLINE piece_t piece_of(const plan_t *p, const network_t *net, const batch_t *b, const worker_t *w)
{
    return (piece_t){.p = p,
                     .net = net,
                     .samples = &b->samples,
                     .batch = b->first,
                     .w = w,
                     .pack = (real *)p->work.pack + w->tid * p->work.pack_size,
                     .training = 1,
                     .scale = b->scale};
}

/* The same of samples [begin, end) of a batch, piece by piece; adds the summed loss to thread
 * 0's `loss`. */
static int batch_gradient(const plan_t *p, const network_t *net, const batch_t *b,
                          const worker_t *w, double *loss)
{
    piece_t c = piece_of(p, net, b, w);
    int failed = 0;
    for (c.position = b->begin; c.position < b->end && !failed; c.position += c.rows) {
        c.rows = min_size(p->work.batch, b->end - c.position);
        c.accumulate = b->accumulate || c.position > b->begin;
        failed = piece_gradient(&c, b->with_gradient);
        if (w->tid == 0)
            *loss += sum_losses(p, c.rows);
    }
    return failed;
}

#endif
