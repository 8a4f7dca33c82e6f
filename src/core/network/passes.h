/* passes.h — a mini-batch through the network and back.
 *
 *   forward   z_{l+1} = y_l W_l + b_l,  y_{l+1} = f(z_{l+1})                     [S 65.31]
 *   loss      Q and δ_L                                                          (loss.h)
 *   backward  δ_l = (δ_{l+1} W_lᵀ) ⊙ f′,  ∂W_l = y_lᵀ δ_{l+1},  ∂b_l = Σ δ_{l+1} [S 65.80–81]
 *
 * y_0 is the batch's inputs (batch.h).  δ of the layer above and of this one alternate between
 * `delta[0]` and `delta[1]`.  All δ carry the sample's weight divided by the batch's, so
 * gradients are weighted means.
 *
 * Between a layer's product and its activation may stand batch norm (batch_norm.h), behind the
 * activation a residual connection, then a mask per sample (thinned.h).  A layer that has any
 * of them leaves the product as z and goes on column by column or row by row; one that has
 * none is finished inside the product's tiles.
 */
#ifndef MLP_NETWORK_PASSES_H
#define MLP_NETWORK_PASSES_H

#include "network/sparse_layer.h"
#include "products/gemm.h"
#include "network/loss.h"
#include "network/rbf_layer.h"
#include "products/gemv.h"
#include "network/batch.h"

/* Fewer rows than this go one by one (gemv.h): packing W would cost more than it saves. */
#define FEW_ROWS 4

/* ---- forward ------------------------------------------------------------------------- */

/* What a layer's activation is where the kernels meet it.  The last one leaves z_L where a
 * softmax or, in training, a loss on logits takes it from there. */
static activation_t layer_activation(const plan_t *p, size_t l, int training)
{
    activation_t f = p->layers[l].f;
    if (f.code == ACT_SOFTMAX || (training && l + 1 == p->n_layers && p->loss.from_logits)) {
        f.code = ACT_IDENTITY;
        f.n_kinds = 0;
    }
    return f;
}

/* The same for a layer with edges. */
static void edge_layer(const plan_t *p, const layer_t *layer, const activation_t *f,
                       const real *b, const real *a, size_t lda, const data_t *csr,
                       size_t position, size_t rows, real *y, real *s, size_t ld, real *columns,
                       size_t tid, size_t n_threads)
{
    const edges_t *e = layer->edges;
    const real *w = (const real *)p->params + layer->w;
    const size_t n = layer->n_out;
    size_t from, to;
    if (csr) {
        share(rows, 1, tid, n_threads, &from, &to);
        for (size_t i = from; i < to; i++) {
            const size_t sample = sample_at(csr, position + i);
            const int64_t first = csr->indptr[sample];
            for (size_t j = 0; j < n; j++)
                y[i * ld + j] = b ? b[j] : 0;
            edges_of_entries(e, w, (const real *)csr->values + first, csr->indices + first,
                             (size_t)(csr->indptr[sample + 1] - first), y + i * ld);
        }
        activation_forward(f, y + from * ld, s + from * ld, ld, to - from, round_up(n, LANES), 0);
        return;
    }
    share(layer->n_in, LANES, tid, n_threads, &from, &to);
    to_columns(columns, a, lda, rows, layer->n_in, from, to);
    if (n_threads > 1)
        wait_all(p);
    const edge_sums_t sums = {e->in_start, e->from, e->place, w, b, columns, layer->n_in};
    share(n, LANES, tid, n_threads, &from, &to);
    edge_sums(&sums, y, ld, rows, from, to);
    if (from < to)
        activation_forward(f, y + from, s + from, ld, rows, round_up(to - from, LANES), from);
}

/* y (rows × n_out, ld) = f(a W + b) of layer l, from its inputs a (lda), those at a_rows, or
 * CSR rows */
static void layer_product(const plan_t *p, size_t l, const activation_t *f, const real *b,
                          const real *a, size_t lda, const real *const *a_rows,
                          const data_t *csr, size_t position, size_t rows, real *y, real *s,
                          size_t ld, real *pack, real *columns, size_t tid, size_t n_threads)
{
    const layer_t *layer = &p->layers[l];
    const real *w = (const real *)p->params + layer->w;
    const size_t n = layer->n_out;
    if (layer->edges) {
        edge_layer(p, layer, f, b, a, lda, csr, position, rows, y, s, ld, columns, tid,
                   n_threads);
        return;
    }
    if (layer->f.code == ACT_RBF) {
        size_t from, to;
        share(rows, 1, tid, n_threads, &from, &to);
        rbf_forward(layer, w, b, a, lda, y, s, ld, from, to);
        return;
    }
    if (!csr && rows >= FEW_ROWS) {
        const epilogue_t epi = {EPI_FORWARD, f, b, s};
        const gemm_t g = {NN, rows, n, layer->n_in, a, w, y, lda, n, ld, 0, &epi, a_rows};
        gemm(&g, pack, tid, n_threads);
        return;
    }
    size_t from, to;
    share(rows, 1, tid, n_threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        if (csr) {
            const size_t sample = sample_at(csr, position + i);
            const int64_t first = csr->indptr[sample];
            fetch_entries(csr, position + i + ROWS_AHEAD);
            row_times_matrix(y + i * ld, b, (const real *)csr->values + first,
                             csr->indices + first,
                             (size_t)(csr->indptr[sample + 1] - first), w, n, n);
        } else {
            row_times_matrix(y + i * ld, b, a_rows ? a_rows[i] : a + i * lda, NULL,
                             layer->n_in, w, n, n);
        }
    }
    activation_forward(f, y + from * ld, s + from * ld, ld, to - from, round_up(n, LANES), 0);
}

/* z → batch norm → f, for a share of the columns */
static void norm_layer(const plan_t *p, size_t l, const activation_t *f, size_t rows, size_t tid)
{
    const layer_t *layer = &p->layers[l];
    const real *params = p->params;
    size_t from, to;
    share(layer->n_out, LANES, tid, p->n_threads, &from, &to);
    norm_forward(p, &layer->norm, layer->unit, layer->y, layer->ld, rows,
                 params + layer->norm.scale, params + layer->b, layer->n_out, from, to);
    if (from < to)
        activation_forward(f, (real *)layer->y + from, (real *)layer->s + from, layer->ld, rows,
                           round_up(to - from, LANES), from);
    wait_all(p);
}

/* f(z) is kept at s, then y += y of the layer below; then the mask per sample */
static void behind_activation(const plan_t *p, size_t l, size_t batch, size_t first, size_t rows,
                              size_t tid)
{
    const layer_t *layer = &p->layers[l];
    const size_t n = layer->n_out;
    size_t from, to;
    share(rows, 4, tid, p->n_threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        real *y = at(layer->y, i, layer->ld);
        if (layer->s != layer->y && !layer->f.keeps_z)
            memcpy(at(layer->s, i, layer->ld), y, n * sizeof(real));
        if (layer->residual) {
            const real *below = at(p->layers[l - 1].y, i, p->layers[l - 1].ld);
            if (layer->skip)
                for (size_t j = 0; j < n; j++) /* thinned: only in training, not scaled */
                    y[j] += layer->skip[j] < 0
                                ? 0
                                : kept_scale(p, l) * below[layer->skip[j]];
            else
                add_scaled(y, (real)layer->skip_scale, below, n);
        }
    }
    if (p->drop_per_sample && layer->drop > 0)
        mask_rows(p, layer->y, layer->ld, n, batch, l + 1, layer->drop, first, from, to);
    wait_all(p);
}

INLINE int has_more(const plan_t *p, const layer_t *layer)
{
    return layer->residual || layer->f.code == ACT_RBF || (p->drop_per_sample && layer->drop > 0);
}

static void forward_batch(const plan_t *p, const data_t *d, size_t batch, size_t position,
                          size_t rows, size_t tid)
{
    static const activation_t identity = {.code = ACT_IDENTITY};
    const real *a = p->x;
    size_t lda = p->ldx;
    real *pack = (real *)p->pack + tid * p->pack_size;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        const activation_t f = layer_activation(p, l, 1);
        const real *b = layer->has_norm ? NULL : (const real *)p->params + layer->b;
        layer_product(p, l, layer->has_norm ? &identity : &f, b, a, lda,
                      l == 0 ? input_rows(p, d) : NULL,
                      l == 0 && goes_sparse(p, d) ? d : NULL, position, rows, layer->y, layer->s,
                      layer->ld, pack, layer->columns, tid, p->n_threads);
        wait_all(p);
        if (layer->has_norm)
            norm_layer(p, l, &f, rows, tid);
        if (has_more(p, layer))
            behind_activation(p, l, batch, position - batch, rows, tid);
        a = layer->y;
        lda = layer->ld;
    }
}

/* ---- loss ---------------------------------------------------------------------------- */

/* loss_batch for cross-entropy of few classes, rows [from, to) */
static void loss_of_blocks(const plan_t *p, const data_t *d, size_t position, double scale,
                           size_t from, size_t to)
{
    const layer_t *top = &p->layers[p->n_layers - 1];
    real weights[LANES];
    for (size_t i = from; i < to; i += LANES) {
        const size_t rows = min_size(LANES, to - i);
        for (size_t k = 0; d->weights && k < rows; k++)
            weights[k] = (real)weight_of(d, sample_at(d, position + i + k));
        softmax_log_loss_block(at(top->y, i, top->ld), at(p->t, i, p->ldt),
                               at(p->delta[0], i, top->ld), top->ld, p->ldt, rows, p->n_outputs,
                               d->weights ? weights : NULL, (real)scale, p->row_loss + i);
    }
}

/* δ_L of every row into delta[0], times the row's weight × scale; losses into row_loss.
 * Returns nonzero if the caller's loss failed. */
static int loss_batch(const plan_t *p, const data_t *d, size_t position, size_t rows,
                      double scale, size_t tid)
{
    const layer_t *top = &p->layers[p->n_layers - 1];
    const size_t n = round_up(p->n_outputs, LANES);
    size_t from, to;
    int failed = 0;
    if (top->f.code == ACT_SOFTMAX && p->loss.from_logits && p->loss.n_groups == 1 &&
        !p->loss.group_weight && LANES > 1 && p->n_outputs > 1 && p->n_outputs <= LANES) {
        share(rows, LANES, tid, p->n_threads, &from, &to);
        loss_of_blocks(p, d, position, scale, from, to);
        wait_all(p);
        return 0;
    }
    share(rows, 4, tid, p->n_threads, &from, &to);
    if (p->loss.callback) { /* one thread: the caller's Python on the whole batch */
        if (top->f.code == ACT_SOFTMAX)
            for (size_t i = 0; i < rows; i++)
                grouped_softmax(&p->loss, at(top->y, i, top->ld));
        failed = p->loss.callback(p->loss.context, rows, top->ld, top->y, p->ldt, p->t,
                                  p->delta[0], p->row_loss);
    }
    for (size_t i = from; i < to && !failed; i++) {
        real *delta = at(p->delta[0], i, top->ld), *y = at(top->y, i, top->ld);
        const double weight = weight_of(d, sample_at(d, position + i));
        if (p->loss.callback)
            output_backward(&p->loss, &top->f, y, at(top->s, i, top->ld), delta, p->n_outputs);
        else
            p->row_loss[i] = loss_row(&p->loss, &top->f, y, at(top->s, i, top->ld),
                                      at(p->t, i, p->ldt), delta, p->n_outputs);
        p->row_loss[i] *= weight;
        const vec factor = v_set1((real)(weight * scale));
        for (size_t j = 0; j < n; j += LANES)
            v_store(delta + j, v_load(delta + j) * factor);
    }
    wait_all(p);
    return failed;
}

/* ---- backward ------------------------------------------------------------------------ */

/* ∂b = Σ over rows of δ, for a share of the columns */
static void sum_rows(real *out, const real *delta, size_t ld, size_t rows, size_t n,
                     int accumulate, size_t tid, size_t n_threads)
{
    size_t from, to;
    share(n, LANES, tid, n_threads, &from, &to);
    for (size_t j = from; j < to; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        const vec before = accumulate ? v_load_n(out + j, m, 0) : v_zero();
        v_store_n(out + j, before + column_sum(delta + j, ld, rows), m);
    }
}

/* ∂W of the first layer from CSR rows, for a share of the inputs: about the same rows of ∂W
 * that the thread will update, and no line of them is another thread's.  Measured and no faster
 * (5000-100, 1 % stored, Adam; 200–250 µs a step every one): the entries listed by column, so
 * that each row of ∂W is summed in registers and updated at once; blocks of W that stay in the
 * second-level cache; the next batch's products behind each block's update; threads that own
 * inputs in the forward pass too. */
static void csr_gradient(const plan_t *p, const data_t *d, size_t position, size_t rows,
                         const real *delta, size_t ld, real *gw, int accumulate, size_t tid)
{
    const size_t n = p->layers[0].n_out;
    size_t from, to;
    share(p->layers[0].n_in, 1, tid, p->n_threads, &from, &to);
    if (!accumulate)
        memset(gw + from * n, 0, (to - from) * n * sizeof(real));
    for (size_t i = 0; i < rows; i++) {
        const size_t sample = sample_at(d, position + i);
        const int64_t end = d->indptr[sample + 1];
        fetch_entries(d, position + i + ROWS_AHEAD);
        for (int64_t k = d->indptr[sample]; k < end; k++) {
            const size_t row = (size_t)d->indices[k];
            if (row - from >= to - from)
                continue;
            const size_t ahead = (size_t)d->indices[k + AHEAD < end ? k + AHEAD : end - 1];
            for (size_t j = 0; ahead - from < to - from && j < n; j += LANES)
                PREFETCH(gw + ahead * n + j, 1);
            add_scaled(gw + row * n, ((const real *)d->values)[k], delta + i * ld, n);
        }
    }
}

/* ∂W of a layer with edges, whose δ is in delta_columns unless the inputs are stored entries */
static void edge_layer_gradient(const plan_t *p, const data_t *d, size_t l, const real *delta,
                                size_t position, size_t rows, int accumulate, size_t tid)
{
    const layer_t *layer = &p->layers[l];
    const edges_t *e = layer->edges;
    real *g = (real *)p->grads + layer->w;
    size_t from, to;
    share(layer->n_in, 1, tid, p->n_threads, &from, &to);
    if (l > 0 || !goes_sparse(p, d)) {
        edge_gradient(e, layer->n_in, layer->n_out, layer->columns, p->delta_columns, rows, g,
                      accumulate, from, to);
        return;
    }
    if (!accumulate)
        memset(g + e->start[from], 0, (size_t)(e->start[to] - e->start[from]) * sizeof(real));
    for (size_t i = 0; i < rows; i++) {
        const size_t sample = sample_at(d, position + i);
        const int64_t first = d->indptr[sample];
        entries_gradient(e, (const real *)d->values + first, d->indices + first,
                         (size_t)(d->indptr[sample + 1] - first), delta + i * layer->ld, g, from,
                         to);
    }
}

/* ∂W_l and (without batch norm) ∂b_l */
static void layer_gradient(const plan_t *p, const data_t *d, size_t l, const real *delta,
                           size_t position, size_t rows, int accumulate, size_t tid)
{
    const layer_t *layer = &p->layers[l];
    real *gw = (real *)p->grads + layer->w, *gb = (real *)p->grads + layer->b;
    if (layer->frozen) {
        /* its offsets' gradient costs little and may be needed by batch norm's */
    } else if (layer->edges) {
        edge_layer_gradient(p, d, l, delta, position, rows, accumulate, tid);
    } else if (l == 0 && goes_sparse(p, d)) {
        csr_gradient(p, d, position, rows, delta, layer->ld, gw, accumulate, tid);
    } else {
        const real *a = l ? p->layers[l - 1].y : p->x;
        const size_t lda = l ? p->layers[l - 1].ld : p->ldx;
        const gemm_t g = {TN, layer->n_in, layer->n_out, rows, a, delta, gw, lda, layer->ld,
                          layer->n_out, accumulate, NULL, l ? NULL : input_rows(p, d)};
        gemm(&g, NULL, tid, p->n_threads);
    }
    if (layer->f.code == ACT_RBF) {
        const real *params = p->params;
        size_t from, to;
        wait_all(p);
        share(layer->n_out, LANES, tid, p->n_threads, &from, &to);
        rbf_gradient(layer, params + layer->w, params + layer->b, delta, rows, gw, gb,
                     accumulate, from, to);
    } else if (!layer->has_norm && !p->no_offsets)
        sum_rows(gb, delta, layer->ld, rows, layer->n_out, accumulate, tid, p->n_threads);
}

/* `below` (rows × n_in) = δ W_lᵀ, ⊙ f′ of the layer under it if f is not NULL */
static void delta_product(const plan_t *p, size_t l, const activation_t *f, const real *above,
                          real *below, size_t rows, size_t tid)
{
    const layer_t *layer = &p->layers[l], *under = &p->layers[l - 1];
    const real *w = (const real *)p->params + layer->w;
    if (layer->edges) {
        const edge_sums_t sums = {layer->edges->start, layer->edges->to, NULL, w, NULL,
                                  p->delta_columns, layer->n_out};
        size_t begin, end;
        share(layer->n_in, LANES, tid, p->n_threads, &begin, &end);
        edge_sums(&sums, below, under->ld, rows, begin, end);
        if (f && begin < end)
            activation_backward(f, below + begin, (const real *)under->s + begin, under->ld,
                                rows, round_up(end - begin, LANES), begin);
        return;
    }
    if (rows >= FEW_ROWS) {
        const epilogue_t epi = {EPI_BACKWARD, f, NULL, under->s};
        const gemm_t g = {NT, rows, layer->n_in, layer->n_out, above, w, below, layer->ld,
                          layer->n_out, under->ld, 0, f ? &epi : NULL};
        gemm(&g, (real *)p->pack + tid * p->pack_size, tid, p->n_threads);
        return;
    }
    size_t from, to;
    share(rows, 1, tid, p->n_threads, &from, &to);
    for (size_t i = from; i < to; i++)
        matrix_times_row(below + i * under->ld, w, layer->n_out, layer->n_in,
                         above + i * layer->ld, layer->n_out);
    if (f)
        activation_backward(f, below + from * under->ld, at(under->s, from, under->ld),
                            under->ld, to - from, round_up(under->n_out, LANES), 0);
}

/* ∂Q/∂y of the layer under l, at `below`: what comes across l's residual connection
 * (`skip_above`, rows of layer l) is added, the mask per sample applied; it is kept in
 * `skip_below` for the layer under it to take across in turn; then ⊙ f′. */
static void behind_delta(const plan_t *p, size_t l, real *below, const real *skip_above,
                         real *skip_below, size_t batch, size_t first, size_t rows, size_t tid)
{
    const layer_t *layer = &p->layers[l], *under = &p->layers[l - 1];
    size_t from, to;
    share(rows, 4, tid, p->n_threads, &from, &to);
    for (size_t i = from; layer->residual && i < to; i++) {
        real *e = below + i * under->ld;
        const real *across = skip_above + i * layer->ld;
        if (layer->skip)
            for (size_t j = 0; j < layer->n_out; j++) {
                if (layer->skip[j] >= 0)
                    e[layer->skip[j]] += kept_scale(p, l) * across[j];
            }
        else
            add_scaled(e, (real)layer->skip_scale, across, layer->n_out);
    }
    if (p->drop_per_sample && under->drop > 0)
        mask_rows(p, below, under->ld, under->n_out, batch, l, under->drop, first, from, to);
    if (under->residual && from < to)
        memcpy(skip_below + from * under->ld, below + from * under->ld,
               (to - from) * under->ld * sizeof(real));
    if (under->f.code == ACT_RBF)
        rbf_delta(under, (const real *)p->params + under->b, below, from, to);
    else
        activation_backward(&under->f, below + from * under->ld, at(under->s, from, under->ld),
                            under->ld, to - from, round_up(under->n_out, LANES), 0);
    wait_all(p);
}

/* δ of v becomes ∂z; returns what the layer below is to be given */
static const real *norm_delta(const plan_t *p, size_t l, real *delta, size_t rows, size_t tid)
{
    const layer_t *layer = &p->layers[l];
    const real *params = p->params;
    real *grads = p->grads;
    size_t from, to;
    share(layer->n_out, LANES, tid, p->n_threads, &from, &to);
    norm_backward(&layer->norm, delta, p->norm_diagonal ? p->diagonal : NULL, layer->ld, rows,
                  params + layer->norm.scale, grads + layer->norm.scale, grads + layer->b,
                  layer->n_out, from, to);
    wait_all(p);
    return p->norm_diagonal ? p->diagonal : delta;
}

/* δ of a layer with edges, a unit a row */
static void delta_to_columns(const plan_t *p, size_t l, const real *delta, size_t rows,
                             size_t tid)
{
    const layer_t *layer = &p->layers[l];
    size_t from, to;
    share(layer->n_out, LANES, tid, p->n_threads, &from, &to);
    to_columns(p->delta_columns, delta, layer->ld, rows, layer->n_out, from, to);
    wait_all(p);
}

static void backward_batch(const plan_t *p, const data_t *d, size_t batch, size_t position,
                           size_t rows, int accumulate, size_t tid)
{
    real *above = p->delta[0], *below = p->delta[1];
    real *skip_above = p->skip_delta[0], *skip_below = p->skip_delta[1];
    for (size_t l = p->n_layers; l-- > p->first_trained;) {
        const layer_t *layer = &p->layers[l];
        const real *down = layer->has_norm ? norm_delta(p, l, above, rows, tid) : above;
        if (layer->edges)
            delta_to_columns(p, l, down, rows, tid);
        if (l > p->first_trained) {
            const layer_t *under = &p->layers[l - 1];
            const int more = has_more(p, under) || layer->residual;
            delta_product(p, l, more ? NULL : &under->f, down, below, rows, tid);
            if (more) {
                wait_all(p);
                behind_delta(p, l, below, skip_above, skip_below, batch, position - batch, rows,
                             tid);
            }
        }
        if (layer->edges && down != above) {
            wait_all(p);
            delta_to_columns(p, l, above, rows, tid);
        }
        layer_gradient(p, d, l, above, position, rows, accumulate, tid);
        wait_all(p);
        real *t = above;
        above = below;
        below = t;
        t = skip_above;
        skip_above = skip_below;
        skip_below = t;
    }
}

/* Forward, loss and gradient of one piece of the batch that begins at sample `batch`.  `scale`
 * multiplies every row's δ.  Returns nonzero if a callback failed. */
static int batch_gradient(const plan_t *p, const data_t *d, size_t batch, size_t position,
                          size_t rows, double scale, int accumulate, int with_gradient,
                          size_t tid)
{
    gather(p, d, position, rows, tid);
    if (prepare_inputs(p, d, batch, position - batch, rows, tid))
        return 1;
    forward_batch(p, d, batch, position, rows, tid);
    if (loss_batch(p, d, position, rows, scale, tid))
        return 1;
    if (with_gradient)
        backward_batch(p, d, batch, position, rows, accumulate, tid);
    return 0;
}

static double sum_losses(const plan_t *p, size_t rows)
{
    double total = 0;
    for (size_t i = 0; i < rows; i++)
        total += p->row_loss[i];
    return total;
}

#endif
