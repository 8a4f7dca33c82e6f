/* second_order.h — second derivatives of the mean loss in the parameters  [S P65.12–P65.14].
 *
 * Hv, by differentiating the gradient along v = (V_l, c_l) (R is d/dt at θ + t v):
 *   forward   Rz_{l+1} = y_l V_l + Ry_l W_l + c_l,  Ry = f′ ⊙ Rz
 *   loss      Rδ_L = (∂²Q/∂z_L²) Rz_L
 *   backward  e_l = δ_{l+1} W_lᵀ,  Re_l = Rδ_{l+1} W_lᵀ + δ_{l+1} V_lᵀ,
 *             δ_l = f′ ⊙ e_l,  Rδ_l = f′ ⊙ Re_l + f″ ⊙ e_l ⊙ Rz_l
 *   H v       (Ry_lᵀ δ_{l+1} + y_lᵀ Rδ_{l+1},  Σ Rδ_{l+1})
 *
 * The diagonal, from each sample's H_l = ∂²Q/∂z_l², a full matrix:
 *   H_l = f′ (W_l H_{l+1} W_lᵀ) f′ + diag(f″ ⊙ e_l),    ∂²Q/∂w_ij² = y_i² [H_{l+1}]_jj
 * at n_l n_{l+1} (n_l + n_{l+1}) multiply-adds per sample and hidden layer (n_l n_{l+1}² for the
 * first, of which only H's diagonal is needed).  [S P65.12] keeps diag(f″ ⊙ e_l) alone,
 * 'curvature' here: exact only if every layer above is linear.
 *
 * A skip connection y_{l+1} = f(z_{l+1}) + s y_l adds to ∂²Q/∂y_l²
 *   s (W f′ E + (W f′ E)ᵀ) + s² E  with E = ∂²Q/∂y_{l+1}².
 * Radial basis functions, y = exp(−d²/2λ), are a layer with f′ = y/λ and Rz = ½(d² Rλ/λ − R d²),
 * so that Ry = f′ Rz; R f′ = f′ (Rz − Rλ)/λ.
 *
 * The quantities are those of the whole block: threads divide the samples in the passes and,
 * after a barrier, the elements of the sums.  Sums run over the same blocks for any number of
 * threads.
 */
#ifndef MLP_DERIVATIVES_SECOND_ORDER_H
#define MLP_DERIVATIVES_SECOND_ORDER_H

#include "derivatives/first_order.h"

/* ---- the loss -------------------------------------------------------------------------- */

/* Rδ beyond J (R ∂Q/∂y): the second derivative of the softmax times g = ∂Q/∂y, along ry = J u.
 * out += ry ⊙ (g − g·y) − y (g·ry) */
static void softmax_curvature(const real *y, const real *g, const real *ry, real *out, size_t n)
{
    if (n == 1) {
        *out += (1 - 2 * *y) * *g * *ry;
        return;
    }
    const real mean = dot(g, y, n), along = dot(g, ry, n);
    for (size_t j = 0; j < n; j++)
        out[j] += ry[j] * (g[j] - mean) - y[j] * along;
}

/* u ← (∂²Q/∂z_L²) u for row `row`; y, g, f′ and f″ as computed by `loss_derivatives` */
static void output_curvature(const block_t *b, size_t row, real *u, real *spare)
{
    const plan_t *p = b->p;
    const loss_t *loss = &p->objective.loss;
    const size_t top = p->net.n_layers - 1, n = p->net.n_outputs;
    const int softmax = p->net.layers[top].f.code == ACT_SOFTMAX;
    const real *y = values(b, Q_Y, top, row), *g = values(b, Q_E, top, row);
    const real *t = b->t + row * b->ldt, *d2 = values(b, Q_D2, top, row);
    if (softmax && loss->from_logits) { /* J, where there is a label */
        for (size_t k = 0; k < loss->n_groups; k++) {
            const size_t from = loss->group[k], width = loss->group[k + 1] - from;
            const real weight = loss->group_weight ? (real)loss->group_weight[k] : 1;
            const real scale = is_missing(t + from, width) ? 0 : weight;
            scaled_row(u + from, scale, u + from, width);
        }
        through_output(b, row, u);
        return;
    }
    memcpy(spare, u, n * sizeof(real));
    if (!loss->from_logits)
        through_output(b, row, u);
    if (softmax)
        memcpy(spare, u, n * sizeof(real));
    if (loss->code == LOSS_HUBER)
        huber_curvature(at_least_normal(loss->parameter), y, t, u, n);
    else
        for (size_t j = 0; j < n; j += LANES) {
            const vec target = v_load(t + j);
            const vec h = loss_curvature(loss->code, v_load(y + j), target);
            v_store(u + j, i_real(v_bits(h * v_load(u + j)) & V_EQ(target, target)));
        }
    if (loss->from_logits)
        return;
    through_output(b, row, u);
    for (size_t k = 0; softmax && k < loss->n_groups; k++) {
        const size_t from = loss->group[k];
        softmax_curvature(y + from, g + from, spare + from, u + from, loss->group[k + 1] - from);
    }
    for (size_t j = 0; !softmax && j < n; j++)
        u[j] += d2[j] * g[j] * spare[j];
}

/* Row `row`: δ_L, g = ∂Q/∂y (quantity E, not from logits), y, f′ and f″ of the outputs */
static void loss_derivatives(const block_t *b, size_t row)
{
    const plan_t *p = b->p;
    const loss_t *loss = &p->objective.loss;
    const size_t top = p->net.n_layers - 1, n = p->net.n_outputs;
    const activation_t *f = &p->net.layers[top].f;
    real *y = values(b, Q_Y, top, row), *g = values(b, Q_E, top, row);
    const real *t = b->t + row * b->ldt;
    loss_row(loss, f, y, saved_at(b, top, row), t, values(b, Q_DELTA, top, row));
    if (loss->from_logits) { /* y is still z_L */
        if (f->code == ACT_SOFTMAX)
            grouped_softmax(loss, y);
        else
            activation_forward(f, &(region_t){y, y, 0, 1, round_up(n, LANES), 0});
        return;
    }
    if (loss->code == LOSS_HUBER)
        huber_loss(at_least_normal(loss->parameter), y, t, g, n);
    else
        elementwise_loss(loss->code, (real)loss->parameter, y, t, g, n);
    if (f->code != ACT_SOFTMAX)
        slopes_of(b, top, row, 1, 1);
}

INLINE real weight_in_mean(const block_t *b, size_t sample)
{
    return (real)(weight_of(b->d, sample) * b->q->weight);
}

/* ---- products with the Hessian ---------------------------------------------------------- */

static void block_product(const block_t *b, const gemm_t *g) { gemm(g, b->pack, &alone); }

/* Rz of radial basis functions along (V, Rλ): ½(d² Rλ/λ − R d²), R d² = −2 Σ (x − μ) V */
static void rbf_tangent(const block_t *b, const real *v, size_t row, size_t rows)
{
    const layer_t *layer = &b->p->net.layers[0];
    const real *params = b->p->net.params, *w = params + layer->w, *width = params + layer->b;
    const size_t n = layer->n_out;
    for (size_t i = row; i < row + rows; i++) {
        real *rz = values(b, Q_RZ, 0, i);
        for (size_t j = 0; j < n; j++)
            rz[j] = (real)0.5 * values(b, Q_D2, 0, i)[j] * v[layer->b + j] / width[j];
        for (size_t k = 0; k < layer->n_in; k++)
            for (size_t j = 0; j < n; j++)
                rz[j] += (b->inputs[i * b->ldx + k] - w[k * n + j]) * v[layer->w + k * n + j];
    }
}

/* Rz and Ry of every layer, rows [row, row + rows) */
static void r_forward(const block_t *b, const real *v, size_t row, size_t rows)
{
    const plan_t *p = b->p;
    for (size_t l = 0; l < p->net.n_layers; l++) {
        const layer_t *layer = &p->net.layers[l];
        const size_t n = layer->n_out, n_in = layer->n_in;
        real *rz = values(b, Q_RZ, l, row), *ry = values(b, Q_RY, l, row);
        if (layer->f.code == ACT_RBF) {
            rbf_tangent(b, v, row, rows);
        } else {
            const real *a = l ? values(b, Q_Y, l - 1, row) : b->inputs + row * b->ldx;
            block_product(b, &(gemm_t){NN, rows, n, n_in, a, v + layer->w, rz,
                                       l ? b->ld : b->ldx, n, b->ld, 0, NULL, NULL});
            if (l)
                block_product(b, &(gemm_t){NN, rows, n, n_in, values(b, Q_RY, l - 1, row),
                                           (const real *)p->net.params + layer->w, rz, b->ld, n,
                                           b->ld, 1, NULL, NULL});
            for (size_t i = 0; i < rows && !p->net.no_offsets; i++)
                add_scaled(rz + i * b->ld, 1, v + layer->b, n);
        }
        for (size_t i = 0; i < rows && l + 1 < p->net.n_layers; i++) {
            memcpy(ry + i * b->ld, rz + i * b->ld, n * sizeof(real));
            multiply_row(ry + i * b->ld, values(b, Q_D1, l, row + i), n);
            if (layer->skip_scale != 0)
                add_scaled(ry + i * b->ld, (real)layer->skip_scale,
                           values(b, Q_RY, l - 1, row + i), n);
        }
    }
}

/* δ and, along v, Rδ of layer l from e and Re, one sample */
static void r_backward_row(const block_t *b, const real *v, size_t l, size_t row)
{
    const layer_t *layer = &b->p->net.layers[l];
    const real *width = (const real *)b->p->net.params + layer->b;
    const real *e = values(b, Q_E, l, row), *d1 = values(b, Q_D1, l, row);
    const real *d2 = values(b, Q_D2, l, row);
    const int rbf = layer->f.code == ACT_RBF;
    real *delta = values(b, Q_DELTA, l, row);
    for (size_t j = 0; j < layer->n_out; j++)
        delta[j] = e[j] * d1[j];
    if (!v)
        return;
    const real *re = values(b, Q_RE, l, row), *rz = values(b, Q_RZ, l, row);
    real *rdelta = values(b, Q_RDELTA, l, row);
    for (size_t j = 0; j < layer->n_out; j++) {
        const real r_d1 = rbf ? d1[j] * (rz[j] - v[layer->b + j]) / width[j] : d2[j] * rz[j];
        rdelta[j] = re[j] * d1[j] + e[j] * r_d1;
    }
}

/* e, δ of every layer and, unless v is NULL, Re, Rδ */
static void r_backward(const block_t *b, const real *v, size_t row, size_t rows)
{
    const plan_t *p = b->p;
    for (size_t l = p->net.n_layers - 1; l > 0; l--) {
        const layer_t *layer = &p->net.layers[l];
        const size_t n = layer->n_out, n_in = layer->n_in;
        const real *w = (const real *)p->net.params + layer->w, s = (real)layer->skip_scale;
        real *e = values(b, Q_E, l - 1, row), *re = v ? values(b, Q_RE, l - 1, row) : NULL;
        const real *delta = values(b, Q_DELTA, l, row);
        gemm_t g = {NT, rows, n_in, n, delta, w, e, b->ld, n, b->ld, 0, NULL, NULL};
        block_product(b, &g);
        if (v) {
            g.c = re;
            g.a = values(b, Q_RDELTA, l, row);
            block_product(b, &g);
            g.a = delta;
            g.b = v + layer->w;
            g.accumulate = 1;
            block_product(b, &g);
        }
        for (size_t i = 0; i < rows; i++) {
            if (layer->skip_scale != 0)
                add_scaled(e + i * b->ld, s, values(b, Q_E, l, row + i), n);
            if (layer->skip_scale != 0 && v)
                add_scaled(re + i * b->ld, s, values(b, Q_RE, l, row + i), n);
            r_backward_row(b, v, l - 1, row + i);
        }
    }
}

/* out += this block's Hv, the worker's part of every layer */
static void add_product(const block_t *b, const real *v, real *out, size_t rows, const worker_t *w)
{
    const plan_t *p = b->p;
    const real *params = p->net.params;
    for (size_t l = 0; l < p->net.n_layers; l++) {
        const layer_t *layer = &p->net.layers[l];
        const size_t n = layer->n_out, n_in = layer->n_in;
        const real *delta = values(b, Q_DELTA, l, 0), *rdelta = values(b, Q_RDELTA, l, 0);
        real *hw = out + layer->w, *hb = out + layer->b;
        gemm_t g = {TN, n_in, n, rows, l ? values(b, Q_Y, l - 1, 0) : b->inputs, rdelta, hw,
                    l ? b->ld : b->ldx, b->ld, n, 1, NULL, NULL};
        gemm(&g, NULL, w);
        if (l) {
            g.a = values(b, Q_RY, l - 1, 0);
            g.b = delta;
            gemm(&g, NULL, w);
        }
        if (layer->f.code != ACT_RBF) {
            if (!p->net.no_offsets)
                sum_rows(&(piece_t){.rows = rows, .w = w, .accumulate = 1}, hb, rdelta, n, b->ld);
            continue;
        }
        size_t from, to;
        barrier_wait(w); /* the tiles above are divided otherwise than the columns here */
        split_range(w, n, LANES, &from, &to);
        /* ∂λ = δ d²/2λ with R d² = d² Rλ/λ − 2 Rz;  ∂μ = δ (x − μ) */
        for (size_t i = 0; i < rows; i++, delta += b->ld, rdelta += b->ld) {
            const real *d2 = values(b, Q_D2, 0, i), *rz = values(b, Q_RZ, 0, i);
            for (size_t j = from; j < to; j++)
                hb[j] += (rdelta[j] * d2[j] / 2 - delta[j] * rz[j]) / params[layer->b + j];
            for (size_t k = 0; k < n_in; k++) {
                const real *mu = params + layer->w + k * n, *r_mu = v + layer->w + k * n;
                for (size_t j = from; j < to; j++)
                    hw[k * n + j] -= rdelta[j] * mu[j] + delta[j] * r_mu[j];
            }
        }
    }
}

/* ---- the diagonal ------------------------------------------------------------------------ */

/* f″ ⊙ e of layer l, one sample: the term that [S P65.12] keeps.  δ includes the sample's weight, e
 * does below the outputs. */
static void second_derivative_term(const block_t *b, size_t l, size_t row, real weight, real *out)
{
    const plan_t *p = b->p;
    const layer_t *layer = &p->net.layers[l];
    const real *d1 = values(b, Q_D1, l, row), *d2 = values(b, Q_D2, l, row);
    const real *e = values(b, Q_E, l, row), *delta = values(b, Q_DELTA, l, row);
    const real *y = values(b, Q_Y, l, row);
    const real *width = (const real *)p->net.params + layer->b;
    const int top = l + 1 == p->net.n_layers, code = layer->f.code;
    for (size_t j = 0; j < layer->n_out; j++) {
        if (top && (code == ACT_SOFTMAX || (p->objective.loss.from_logits && code == ACT_LOGISTIC)))
            out[j] = (1 - 2 * y[j]) * delta[j];
        else if (top && p->objective.loss.from_logits) /* exp: f″ = f′ */
            out[j] = delta[j];
        else
            out[j] = (top ? weight : 1) * e[j] * (code == ACT_RBF ? d1[j] / width[j] : d2[j]);
    }
}

/* H ← f′ E f′ + diag(term), n × n, all rows ld apart */
static void hessian_through_activation(real *h, const real *e, const real *d1, const real *term,
                                       size_t n, size_t ld)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++)
            h[i * ld + j] = d1[i] * e[i * ld + j] * d1[j];
        h[i * ld + i] += term[i];
    }
}

/* E (n_in × n_in) = ∂²Q/∂y below layer l from H in z above and, across a skip connection,
 * `across` = ∂²Q/∂y above; H is lost */
static void curvature_below(const block_t *b, size_t l, size_t row)
{
    real *h = b->matrix[0], *half = b->matrix[1], *e = b->matrix[2];
    const real *across = b->matrix[3];
    const layer_t *layer = &b->p->net.layers[l];
    const real *w = (const real *)b->p->net.params + layer->w;
    const size_t n = layer->n_out, n_in = layer->n_in, ld = b->ld;
    const gemm_t wh = {NN, n_in, n, n, w, h, half, n, ld, ld, 0, NULL, NULL};
    block_product(b, &wh);
    const gemm_t whw = {NT, n_in, n_in, n, half, w, e, ld, n, ld, 0, NULL, NULL};
    block_product(b, &whw);
    if (layer->skip_scale == 0)
        return;
    const real s = (real)layer->skip_scale;
    for (size_t i = 0; i < n; i++)
        scaled_row(h + i * ld, values(b, Q_D1, l, row)[i], across + i * ld, n);
    block_product(b, &wh);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            e[i * ld + j] += s * (half[i * ld + j] + half[j * ld + i]) +
                             s * s * across[i * ld + j];
}

/* diag(W H Wᵀ) */
static void diagonal_below(const block_t *b, size_t l, const real *h, real *half, real *out)
{
    const layer_t *layer = &b->p->net.layers[l];
    const real *w = (const real *)b->p->net.params + layer->w;
    const size_t n = layer->n_out;
    const gemm_t wh = {NN, layer->n_in, n, n, w, h, half, n, b->ld, b->ld, 0, NULL, NULL};
    block_product(b, &wh);
    for (size_t i = 0; i < layer->n_in; i++)
        out[i] = dot(half + i * b->ld, w + i * n, n);
}

/* The diagonal of each layer's H, of one sample, into its quantity RZ */
static void diagonal_row(const block_t *b, size_t row, real weight)
{
    const plan_t *p = b->p;
    const size_t top = p->net.n_layers - 1, ld = b->ld;
    real *h = b->matrix[0], *half = b->matrix[1], *e = b->matrix[2], *across = b->matrix[3];
    for (size_t k = 0; k < p->net.n_outputs; k++) {
        real *u = h + k * ld;
        memset(u, 0, p->net.n_outputs * sizeof(real));
        u[k] = 1;
        output_curvature(b, row, u, half);
        scaled_row(u, weight, u, p->net.n_outputs);
        values(b, Q_RZ, top, row)[k] = u[k];
    }
    for (size_t l = top; l > 0; l--) {
        const layer_t *below = &p->net.layers[l - 1];
        real *diagonal = values(b, Q_RZ, l - 1, row);
        const real *d1 = values(b, Q_D1, l - 1, row);
        if (l == 1 && p->net.layers[1].skip_scale == 0) {
            diagonal_below(b, 1, h, half, e);
            for (size_t j = 0; j < below->n_out; j++)
                diagonal[j] += d1[j] * d1[j] * e[j];
            return;
        }
        curvature_below(b, l, row);
        hessian_through_activation(h, e, d1, diagonal, below->n_out, ld);
        for (size_t j = 0; j < below->n_out; j++)
            diagonal[j] = h[j * ld + j];
        if (below->skip_scale != 0)
            memcpy(across, e, below->n_out * ld * sizeof(real));
    }
}

/* Of radial basis functions: ∂²Q/∂μ² = Σ A (x − μ)² − δ and ∂²Q/∂λ² = Σ A (d²/2λ)² − δ d²/λ²,
 * A being the diagonal in quantity RZ; for the worker's columns */
static void add_rbf_diagonal(const block_t *b, real *out, size_t rows, const worker_t *w)
{
    const layer_t *layer = &b->p->net.layers[0];
    const real *params = b->p->net.params, *mu = params + layer->w, *width = params + layer->b;
    const size_t n = layer->n_out;
    size_t from, to;
    split_range(w, n, LANES, &from, &to);
    for (size_t i = 0; i < rows; i++) {
        const real *a = values(b, Q_RZ, 0, i), *delta = values(b, Q_DELTA, 0, i);
        const real *d2 = values(b, Q_D2, 0, i);
        for (size_t j = from; j < to; j++) {
            const real half = d2[j] / (2 * width[j]);
            out[layer->b + j] += a[j] * half * half - 2 * delta[j] * half / width[j];
            for (size_t k = 0; k < layer->n_in; k++) {
                const real offset = b->inputs[i * b->ldx + k] - mu[k * n + j];
                out[layer->w + k * n + j] += a[j] * offset * offset - delta[j];
            }
        }
    }
}

/* out += Σ y² ⊗ diag H over the block, the worker's part of every layer */
static void add_diagonal(const block_t *b, real *out, size_t rows, const worker_t *w)
{
    const plan_t *p = b->p;
    for (size_t l = 0; l < p->net.n_layers; l++) {
        const layer_t *layer = &p->net.layers[l];
        const size_t n_in = layer->n_in, lda = l ? b->ld : b->ldx, ld = row_stride(n_in);
        const real *a = l ? values(b, Q_Y, l - 1, 0) : b->inputs;
        size_t from, to;
        if (layer->f.code == ACT_RBF) {
            add_rbf_diagonal(b, out, rows, w);
            continue;
        }
        split_range(w, rows, 4, &from, &to);
        for (size_t i = from; i < to; i++)
            for (size_t k = 0; k < n_in; k++)
                b->squares[i * ld + k] = a[i * lda + k] * a[i * lda + k];
        barrier_wait(w);
        const real *diagonal = values(b, Q_RZ, l, 0);
        const gemm_t g = {TN, n_in, layer->n_out, rows, b->squares, diagonal, out + layer->w, ld,
                          b->ld, layer->n_out, 1, NULL, NULL};
        gemm(&g, NULL, w);
        if (!p->net.no_offsets)
            sum_rows(&(piece_t){.rows = rows, .w = w, .accumulate = 1}, out + layer->b, diagonal,
                     layer->n_out, b->ld);
        barrier_wait(w);
    }
}

/* ---- a block ----------------------------------------------------------------------------- */

/* Samples [at, at + rows), which begin_block has set, by all threads. */
static void second_order_block(block_t *b, size_t at, size_t rows, const worker_t *w)
{
    const plan_t *p = b->p;
    const sensitivity_t *q = b->q;
    const size_t top = p->net.n_layers - 1;
    const real *v = q->kind == SENS_PRODUCT ? q->direction : NULL;
    size_t from, to;
    split_range(w, rows, 4, &from, &to);
    if (from < to)
        block_forward(b, at, from, to - from);
    if (from < to && v)
        r_forward(b, v, from, to - from);
    for (size_t i = from; i < to; i++) {
        const real weight = weight_in_mean(b, at + i);
        real *delta = values(b, Q_DELTA, top, i);
        loss_derivatives(b, i);
        scaled_row(delta, weight, delta, p->net.n_outputs);
        if (v) {
            real *u = values(b, Q_RDELTA, top, i);
            memcpy(u, values(b, Q_RZ, top, i), p->net.n_outputs * sizeof(real));
            output_curvature(b, i, u, values(b, Q_RE, top, i));
            scaled_row(u, weight, u, p->net.n_outputs);
        }
    }
    if (from < to)
        r_backward(b, v, from, to - from);
    for (size_t i = from; i < to && !v; i++) {
        const real weight = weight_in_mean(b, at + i);
        for (size_t l = 0; l < p->net.n_layers; l++)
            second_derivative_term(b, l, i, weight, values(b, Q_RZ, l, i));
        if (q->kind == SENS_DIAGONAL)
            diagonal_row(b, i, weight);
    }
    barrier_wait(w);
    if (v)
        add_product(b, v, q->out, rows, w);
    else
        add_diagonal(b, q->out, rows, w);
    barrier_wait(w);
}

#endif
