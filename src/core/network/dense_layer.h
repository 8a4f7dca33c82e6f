/* dense_layer.h — a layer in which every input reaches every output.
 *
 *   forward    y = f(a W + b)          one product, b and f applied to its tiles   [S 65.31]
 *   backward   ∂Q/∂a = δ Wᵀ, ⊙ f′ of the layer below in its tiles                  [S 65.80]
 *   gradient   ∂W = aᵀ δ                                                            [S 65.81]
 *
 * Fewer than FEW_ROWS rows are multiplied one by one (gemv.h); so are stored entries.
 */
#ifndef MLP_NETWORK_DENSE_LAYER_H
#define MLP_NETWORK_DENSE_LAYER_H

#include "network/activation.h"
#include "network/piece.h"
#include "products/gemm.h"
#include "products/gemv.h"

/* Fewer rows than this are multiplied one by one: packing W would cost more than it saves. */
#define FEW_ROWS 4

/* The epilogue that applies f, or f′ to δ. */
INLINE epilogue_t epilogue_of(enum epilogue kind, const activation_t *f, const real *bias, real *s)
{
    const int relu = !f->n_kinds && f->code == ACT_RELU;
    const int in_registers = relu || (!f->n_kinds && f->code == ACT_IDENTITY);
    return (epilogue_t){kind, relu, in_registers, bias, s,
                        kind == EPI_FORWARD ? activation_forward : activation_backward, f};
}

static void dense_forward(const piece_t *c, const layer_t *layer, const activation_t *f,
                          const input_t *in, const output_t *out)
{
    const real *w = (const real *)c->net->params + layer->w, *b = offsets_of(c, layer);
    const size_t n = layer->n_out, ld = out->ld;
    if (!in->stored && c->rows >= FEW_ROWS) {
        const epilogue_t epi = epilogue_of(EPI_FORWARD, f, b, out->s);
        const gemm_t g = {NN, c->rows, n, layer->n_in, in->a, w, out->y, in->ld, n, ld, 0, &epi,
                          in->rows};
        gemm(&g, c->pack, c->w);
        return;
    }
    size_t from, to;
    split_range(c->w, c->rows, 1, &from, &to);
    for (size_t i = from; i < to; i++) {
        if (in->stored) {
            const entries_t e =
                entries_of(c->samples->data, sample_at(c->samples, c->position + i));
            prefetch_entries(c->samples, c->position + i + ROWS_AHEAD);
            row_times_matrix(out->y + i * ld, b, e.values, e.indices, e.n, w, n, n);
        } else {
            row_times_matrix(out->y + i * ld, b, in->rows ? in->rows[i] : in->a + i * in->ld,
                             NULL, layer->n_in, w, n, n);
        }
    }
    activation_forward(f, &(region_t){out->y + from * ld, out->s + from * ld, ld, to - from,
                                      round_up(n, LANES), 0});
}

/* `below` (rows × n_in) = δ W_lᵀ, ⊙ f′ of the layer under it if f is not NULL */
static void dense_backward(const piece_t *c, size_t l, const activation_t *f, const real *above,
                           real *below)
{
    const layer_t *layer = &c->net->layers[l], *under = layer - 1;
    const real *w = (const real *)c->net->params + layer->w;
    const size_t n = layer->n_out;
    if (c->rows >= FEW_ROWS) {
        epilogue_t epi;
        if (f)
            epi = epilogue_of(EPI_BACKWARD, f, NULL, under->s);
        const gemm_t g = {NT, c->rows, layer->n_in, n, above, w, below, layer->ld, n, under->ld,
                          0, f ? &epi : NULL, NULL};
        gemm(&g, c->pack, c->w);
        return;
    }
    size_t from, to;
    split_range(c->w, c->rows, 1, &from, &to);
    for (size_t i = from; i < to; i++)
        matrix_times_row(below + i * under->ld, w, n, layer->n_in, above + i * layer->ld, n);
    if (f)
        activation_backward(f, &(region_t){below + from * under->ld,
                                           at(under->s, from, under->ld), under->ld, to - from,
                                           round_up(under->n_out, LANES), 0});
}

/* ∂W of the first layer from stored entries, for the worker's inputs: about the same rows of ∂W
 * that it will update, and no other thread's cache lines.  Measured and not faster (5000-100,
 * 1 % stored, Adam; each 200–250 µs per step): the entries listed by column, so that each row of
 * ∂W is summed in registers and updated at once; blocks of W that stay in the second-level
 * cache; the next batch's products after each block's update; threads that own inputs in the
 * forward pass too. */
static void stored_gradient(const piece_t *c, const layer_t *layer, const real *delta)
{
    const size_t n = layer->n_out;
    real *gw = (real *)c->p->work.grads + layer->w;
    size_t from, to;
    split_range(c->w, layer->n_in, 1, &from, &to);
    if (!c->accumulate)
        memset(gw + from * n, 0, (to - from) * n * sizeof(real));
    for (size_t i = 0; i < c->rows; i++) {
        const entries_t e = entries_of(c->samples->data, sample_at(c->samples, c->position + i));
        prefetch_entries(c->samples, c->position + i + ROWS_AHEAD);
        for (size_t k = 0; k < e.n; k++) {
            const size_t row = (size_t)e.indices[k];
            if (row - from >= to - from)
                continue;
            const size_t ahead = (size_t)e.indices[min_size(k + AHEAD, e.n - 1)];
            for (size_t j = 0; ahead - from < to - from && j < n; j += LANES)
                PREFETCH(gw + ahead * n + j, 1);
            add_scaled(gw + row * n, e.values[k], delta + i * layer->ld, n);
        }
    }
}

static void dense_gradient(const piece_t *c, const layer_t *layer, const input_t *in,
                           const real *delta)
{
    if (in->stored) {
        stored_gradient(c, layer, delta);
        return;
    }
    const gemm_t g = {TN, layer->n_in, layer->n_out, c->rows, in->a, delta,
                      (real *)c->p->work.grads + layer->w, in->ld, layer->ld, layer->n_out,
                      c->accumulate, NULL, in->rows};
    gemm(&g, NULL, c->w);
}

#endif
