/* second_order.h — second derivatives of the mean loss in the parameters  [S P65.12–P65.14].
 *
 * Hv, by differentiating the gradient along v = (V_l, c_l) (R is d/dt at θ + t v):
 *   up    Rz_{l+1} = y_l V_l + Ry_l W_l + c_l,  Ry = f′ ⊙ Rz
 *   loss  Rδ_L = (∂²Q/∂z_L²) Rz_L
 *   down  e_l = δ_{l+1} W_lᵀ,  Re_l = Rδ_{l+1} W_lᵀ + δ_{l+1} V_lᵀ,
 *         δ_l = f′ ⊙ e_l,  Rδ_l = f′ ⊙ Re_l + f″ ⊙ e_l ⊙ Rz_l
 *   H v   (Ry_lᵀ δ_{l+1} + y_lᵀ Rδ_{l+1},  Σ Rδ_{l+1})
 *
 * The diagonal, from each sample's H_l = ∂²Q/∂z_l², a full matrix:
 *   H_l = f′ (W_l H_{l+1} W_lᵀ) f′ + diag(f″ ⊙ e_l),    ∂²Q/∂w_ij² = y_i² [H_{l+1}]_jj
 * at n_l n_{l+1} (n_l + n_{l+1}) multiply-adds a sample and hidden layer (n_l n_{l+1}² for the
 * first, of which only H's own diagonal is wanted).  [S P65.12] keeps diag(f″ ⊙ e_l) alone,
 * 'curvature' here: exact only where nothing above bends.
 *
 * A residual connection y_{l+1} = f(z_{l+1}) + s y_l adds to ∂²Q/∂y_l² what goes across:
 *   s (W f′ E + (W f′ E)ᵀ) + s² E  with E = ∂²Q/∂y_{l+1}².
 * Radial basis functions, y = exp(−d²/2λ), are a layer with f′ = y/λ and Rz = ½(d² Rλ/λ − R d²),
 * so that Ry = f′ Rz; R f′ = f′ (Rz − Rλ)/λ.
 *
 * Rooms are the whole block's: threads share the samples up and down, then, behind a barrier,
 * the elements of the sums.  Sums run over the same blocks whatever the threads.
 */
#ifndef MLP_DERIVATIVES_SECOND_ORDER_H
#define MLP_DERIVATIVES_SECOND_ORDER_H

#include "derivatives/first_order.h"

/* ---- the loss -------------------------------------------------------------------------- */

/* Rδ beyond J (R ∂Q/∂y): what the softmax's own second derivative makes of g = ∂Q/∂y along
 * ry = J u.  out += ry ⊙ (g − g·y) − y (g·ry) */
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

/* u ← (∂²Q/∂z_L²) u for row `row`; y, g, slopes as `begin_loss` leaves them */
static void output_curvature(const block_t *b, size_t row, real *u, real *spare)
{
    const plan_t *p = b->p;
    const loss_t *loss = &p->loss;
    const size_t top = p->n_layers - 1, n = p->n_outputs;
    const int softmax = p->layers[top].f.code == ACT_SOFTMAX;
    const real *y = room(b, ROOM_Y, top, row), *g = room(b, ROOM_E, top, row);
    const real *t = b->t + row * p->ldt, *d2 = room(b, ROOM_D2, top, row);
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
        huber_curvature((real)loss->parameter, y, t, u, n);
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

/* Row `row`: δ_L, g = ∂Q/∂y (in room E, not from logits), y, f′ and f″ of the outputs */
static void begin_loss(const block_t *b, size_t row)
{
    const plan_t *p = b->p;
    const loss_t *loss = &p->loss;
    const size_t top = p->n_layers - 1, n = p->n_outputs;
    const activation_t *f = &p->layers[top].f;
    real *y = room(b, ROOM_Y, top, row), *g = room(b, ROOM_E, top, row);
    const real *t = b->t + row * p->ldt;
    loss_row(loss, f, y, saved_at(b, top, row), t, room(b, ROOM_DELTA, top, row), n);
    if (loss->from_logits) { /* y is z_L still */
        if (f->code == ACT_SOFTMAX)
            grouped_softmax(loss, y);
        else
            activation_forward(f, y, y, 0, 1, round_up(n, LANES), 0);
        return;
    }
    if (loss->code == LOSS_HUBER)
        huber_loss((real)loss->parameter, y, t, g, n);
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

/* c (rows × n) = or += a (rows × k) · w (k × n), or with `kind` NT · w (n × k)ᵀ */
static void block_product(const block_t *b, enum product kind, size_t rows, size_t n, size_t k,
                          const real *a, size_t lda, const real *w, real *c, int accumulate)
{
    const size_t ldw = kind == NN ? n : k;
    const gemm_t g = {kind, rows, n, k, a, w, c, lda, ldw, b->ld, accumulate, NULL};
    gemm(&g, b->pack, 0, 1);
}

/* Rz of radial basis functions along (V, Rλ): ½(d² Rλ/λ − R d²), R d² = −2 Σ (x − μ) V */
static void rbf_tangent(const block_t *b, const real *v, size_t row, size_t rows)
{
    const layer_t *layer = &b->p->layers[0];
    const real *params = b->p->params, *w = params + layer->w, *width = params + layer->b;
    const size_t n = layer->n_out;
    for (size_t i = row; i < row + rows; i++) {
        real *rz = room(b, ROOM_RZ, 0, i);
        for (size_t j = 0; j < n; j++)
            rz[j] = (real)0.5 * room(b, ROOM_D2, 0, i)[j] * v[layer->b + j] / width[j];
        for (size_t k = 0; k < layer->n_in; k++)
            for (size_t j = 0; j < n; j++)
                rz[j] += (b->inputs[i * b->ldx + k] - w[k * n + j]) * v[layer->w + k * n + j];
    }
}

/* Rz and Ry of every layer, rows [row, row + rows) */
static void tangents_up(const block_t *b, const real *v, size_t row, size_t rows)
{
    const plan_t *p = b->p;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        const size_t n = layer->n_out, n_in = layer->n_in;
        real *rz = room(b, ROOM_RZ, l, row), *ry = room(b, ROOM_RY, l, row);
        if (layer->f.code == ACT_RBF) {
            rbf_tangent(b, v, row, rows);
        } else {
            const real *a = l ? room(b, ROOM_Y, l - 1, row) : b->inputs + row * b->ldx;
            block_product(b, NN, rows, n, n_in, a, l ? b->ld : b->ldx, v + layer->w, rz, 0);
            if (l)
                block_product(b, NN, rows, n, n_in, room(b, ROOM_RY, l - 1, row), b->ld,
                              (const real *)p->params + layer->w, rz, 1);
            for (size_t i = 0; i < rows && !p->no_offsets; i++)
                add_scaled(rz + i * b->ld, 1, v + layer->b, n);
        }
        for (size_t i = 0; i < rows && l + 1 < p->n_layers; i++) {
            memcpy(ry + i * b->ld, rz + i * b->ld, n * sizeof(real));
            multiply_row(ry + i * b->ld, room(b, ROOM_D1, l, row + i), n);
            if (layer->residual)
                add_scaled(ry + i * b->ld, (real)layer->skip_scale,
                           room(b, ROOM_RY, l - 1, row + i), n);
        }
    }
}

/* δ and, along v, Rδ of layer l from e and Re, one sample */
static void bend_row(const block_t *b, const real *v, size_t l, size_t row)
{
    const layer_t *layer = &b->p->layers[l];
    const real *width = (const real *)b->p->params + layer->b;
    const real *e = room(b, ROOM_E, l, row), *d1 = room(b, ROOM_D1, l, row);
    const real *d2 = room(b, ROOM_D2, l, row);
    const int rbf = layer->f.code == ACT_RBF;
    real *delta = room(b, ROOM_DELTA, l, row);
    for (size_t j = 0; j < layer->n_out; j++)
        delta[j] = e[j] * d1[j];
    if (!v)
        return;
    const real *re = room(b, ROOM_RE, l, row), *rz = room(b, ROOM_RZ, l, row);
    real *rdelta = room(b, ROOM_RDELTA, l, row);
    for (size_t j = 0; j < layer->n_out; j++) {
        const real r_d1 = rbf ? d1[j] * (rz[j] - v[layer->b + j]) / width[j] : d2[j] * rz[j];
        rdelta[j] = re[j] * d1[j] + e[j] * r_d1;
    }
}

/* e, δ of every layer and, unless v is NULL, Re, Rδ */
static void second_down(const block_t *b, const real *v, size_t row, size_t rows)
{
    const plan_t *p = b->p;
    for (size_t l = p->n_layers - 1; l > 0; l--) {
        const layer_t *layer = &p->layers[l];
        const size_t n = layer->n_out, n_in = layer->n_in;
        const real *w = (const real *)p->params + layer->w, s = (real)layer->skip_scale;
        real *e = room(b, ROOM_E, l - 1, row), *re = v ? room(b, ROOM_RE, l - 1, row) : NULL;
        const real *delta = room(b, ROOM_DELTA, l, row);
        block_product(b, NT, rows, n_in, n, delta, b->ld, w, e, 0);
        if (v) {
            block_product(b, NT, rows, n_in, n, room(b, ROOM_RDELTA, l, row), b->ld, w, re, 0);
            block_product(b, NT, rows, n_in, n, delta, b->ld, v + layer->w, re, 1);
        }
        for (size_t i = 0; i < rows; i++) {
            if (layer->residual)
                add_scaled(e + i * b->ld, s, room(b, ROOM_E, l, row + i), n);
            if (layer->residual && v)
                add_scaled(re + i * b->ld, s, room(b, ROOM_RE, l, row + i), n);
            bend_row(b, v, l - 1, row + i);
        }
    }
}

/* out += this block's Hv, a share of every layer's */
static void add_product(const block_t *b, const real *v, real *out, size_t rows, size_t tid)
{
    const plan_t *p = b->p;
    const real *params = p->params;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        const size_t n = layer->n_out, n_in = layer->n_in, nt = p->n_threads;
        const real *delta = room(b, ROOM_DELTA, l, 0), *rdelta = room(b, ROOM_RDELTA, l, 0);
        real *hw = out + layer->w, *hb = out + layer->b;
        gemm_t g = {TN, n_in, n, rows, l ? room(b, ROOM_Y, l - 1, 0) : b->inputs, rdelta, hw,
                    l ? b->ld : b->ldx, b->ld, n, 1, NULL};
        gemm(&g, NULL, tid, nt);
        if (l) {
            g.a = room(b, ROOM_RY, l - 1, 0);
            g.b = delta;
            gemm(&g, NULL, tid, nt);
        }
        if (layer->f.code != ACT_RBF) {
            if (!p->no_offsets)
                sum_rows(hb, rdelta, b->ld, rows, n, 1, tid, nt);
            continue;
        }
        size_t from, to;
        wait_all(p); /* the tiles above are cut otherwise than the columns here */
        share(n, LANES, tid, nt, &from, &to);
        /* ∂λ = δ d²/2λ with R d² = d² Rλ/λ − 2 Rz;  ∂μ = δ (x − μ) */
        for (size_t i = 0; i < rows; i++, delta += b->ld, rdelta += b->ld) {
            const real *d2 = room(b, ROOM_D2, 0, i), *rz = room(b, ROOM_RZ, 0, i);
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

/* f″ ⊙ e of layer l, one sample: what [S P65.12] keeps.  δ has the sample's weight, e has it
 * below the outputs. */
static void bend_of(const block_t *b, size_t l, size_t row, real weight, real *out)
{
    const plan_t *p = b->p;
    const layer_t *layer = &p->layers[l];
    const real *d1 = room(b, ROOM_D1, l, row), *d2 = room(b, ROOM_D2, l, row);
    const real *e = room(b, ROOM_E, l, row), *delta = room(b, ROOM_DELTA, l, row);
    const real *y = room(b, ROOM_Y, l, row);
    const real *width = (const real *)p->params + layer->b;
    const int top = l + 1 == p->n_layers, code = layer->f.code;
    for (size_t j = 0; j < layer->n_out; j++) {
        if (top && (code == ACT_SOFTMAX || (p->loss.from_logits && code == ACT_LOGISTIC)))
            out[j] = (1 - 2 * y[j]) * delta[j];
        else if (top && p->loss.from_logits) /* exp: f″ = f′ */
            out[j] = delta[j];
        else
            out[j] = (top ? weight : 1) * e[j] * (code == ACT_RBF ? d1[j] / width[j] : d2[j]);
    }
}

/* H ← f′ E f′ + diag(bend), n × n, all rows ld apart */
static void through_curve(real *h, const real *e, const real *d1, const real *bend, size_t n,
                          size_t ld)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++)
            h[i * ld + j] = d1[i] * e[i * ld + j] * d1[j];
        h[i * ld + i] += bend[i];
    }
}

/* E (n_in × n_in) = ∂²Q/∂y below layer l from H in z above and, across a residual connection,
 * `across` = ∂²Q/∂y above; H is lost */
static void curvature_below(const block_t *b, size_t l, size_t row, real *h, real *half, real *e,
                            const real *across)
{
    const layer_t *layer = &b->p->layers[l];
    const real *w = (const real *)b->p->params + layer->w;
    const size_t n = layer->n_out, n_in = layer->n_in, ld = b->ld;
    const gemm_t wh = {NN, n_in, n, n, w, h, half, n, ld, ld, 0, NULL};
    gemm(&wh, b->pack, 0, 1);
    const gemm_t whw = {NT, n_in, n_in, n, half, w, e, ld, n, ld, 0, NULL};
    gemm(&whw, b->pack, 0, 1);
    if (!layer->residual)
        return;
    const real s = (real)layer->skip_scale;
    for (size_t i = 0; i < n; i++)
        scaled_row(h + i * ld, room(b, ROOM_D1, l, row)[i], across + i * ld, n);
    gemm(&wh, b->pack, 0, 1);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            e[i * ld + j] += s * (half[i * ld + j] + half[j * ld + i]) +
                             s * s * across[i * ld + j];
}

/* diag(W H Wᵀ) */
static void diagonal_below(const block_t *b, size_t l, const real *h, real *half, real *out)
{
    const layer_t *layer = &b->p->layers[l];
    const real *w = (const real *)b->p->params + layer->w;
    const size_t n = layer->n_out;
    const gemm_t wh = {NN, layer->n_in, n, n, w, h, half, n, b->ld, b->ld, 0, NULL};
    gemm(&wh, b->pack, 0, 1);
    for (size_t i = 0; i < layer->n_in; i++)
        out[i] = dot(half + i * b->ld, w + i * n, n);
}

/* The diagonal of each layer's H, of one sample, into its room RZ */
static void diagonal_row(const block_t *b, size_t row, real weight)
{
    const plan_t *p = b->p;
    const size_t top = p->n_layers - 1, ld = b->ld;
    real *h = b->matrix[0], *half = b->matrix[1], *e = b->matrix[2], *across = b->matrix[3];
    for (size_t k = 0; k < p->n_outputs; k++) {
        real *u = h + k * ld;
        memset(u, 0, p->n_outputs * sizeof(real));
        u[k] = 1;
        output_curvature(b, row, u, half);
        scaled_row(u, weight, u, p->n_outputs);
        room(b, ROOM_RZ, top, row)[k] = u[k];
    }
    for (size_t l = top; l > 0; l--) {
        const layer_t *below = &p->layers[l - 1];
        real *diagonal = room(b, ROOM_RZ, l - 1, row);
        const real *d1 = room(b, ROOM_D1, l - 1, row);
        if (l == 1 && !p->layers[1].residual) {
            diagonal_below(b, 1, h, half, e);
            for (size_t j = 0; j < below->n_out; j++)
                diagonal[j] += d1[j] * d1[j] * e[j];
            return;
        }
        curvature_below(b, l, row, h, half, e, across);
        through_curve(h, e, d1, diagonal, below->n_out, ld);
        for (size_t j = 0; j < below->n_out; j++)
            diagonal[j] = h[j * ld + j];
        if (below->residual)
            memcpy(across, e, below->n_out * ld * sizeof(real));
    }
}

/* Of radial basis functions: ∂²Q/∂μ² = Σ A (x − μ)² − δ and ∂²Q/∂λ² = Σ A (d²/2λ)² − δ d²/λ²,
 * A being the diagonal in room RZ; for a share of the columns */
static void add_rbf_diagonal(const block_t *b, real *out, size_t rows, size_t tid)
{
    const layer_t *layer = &b->p->layers[0];
    const real *params = b->p->params, *w = params + layer->w, *width = params + layer->b;
    const size_t n = layer->n_out;
    size_t from, to;
    share(n, LANES, tid, b->p->n_threads, &from, &to);
    for (size_t i = 0; i < rows; i++) {
        const real *a = room(b, ROOM_RZ, 0, i), *delta = room(b, ROOM_DELTA, 0, i);
        const real *d2 = room(b, ROOM_D2, 0, i);
        for (size_t j = from; j < to; j++) {
            const real half = d2[j] / (2 * width[j]);
            out[layer->b + j] += a[j] * half * half - 2 * delta[j] * half / width[j];
            for (size_t k = 0; k < layer->n_in; k++) {
                const real offset = b->inputs[i * b->ldx + k] - w[k * n + j];
                out[layer->w + k * n + j] += a[j] * offset * offset - delta[j];
            }
        }
    }
}

/* out += Σ y² ⊗ diag H over the block, a share of every layer's */
static void add_diagonal(const block_t *b, real *out, size_t rows, size_t tid)
{
    const plan_t *p = b->p;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        const size_t n_in = layer->n_in, lda = l ? b->ld : b->ldx, ld = row_stride(n_in);
        const real *a = l ? room(b, ROOM_Y, l - 1, 0) : b->inputs;
        size_t from, to;
        if (layer->f.code == ACT_RBF) {
            add_rbf_diagonal(b, out, rows, tid);
            continue;
        }
        share(rows, 4, tid, p->n_threads, &from, &to);
        for (size_t i = from; i < to; i++)
            for (size_t k = 0; k < n_in; k++)
                b->squares[i * ld + k] = a[i * lda + k] * a[i * lda + k];
        wait_all(p);
        const real *diagonal = room(b, ROOM_RZ, l, 0);
        const gemm_t g = {TN, n_in, layer->n_out, rows, b->squares, diagonal, out + layer->w, ld,
                          b->ld, layer->n_out, 1, NULL};
        gemm(&g, NULL, tid, p->n_threads);
        if (!p->no_offsets)
            sum_rows(out + layer->b, diagonal, b->ld, rows, layer->n_out, 1, tid, p->n_threads);
        wait_all(p);
    }
}

/* ---- a block ----------------------------------------------------------------------------- */

/* Samples [at, at + rows), which the block now holds, by all threads. */
static void answer_second(block_t *b, size_t at, size_t rows, size_t tid)
{
    const plan_t *p = b->p;
    const sensitivity_t *q = b->q;
    const size_t top = p->n_layers - 1;
    const real *v = q->kind == SENS_PRODUCT ? q->direction : NULL;
    size_t from, to;
    share(rows, 4, tid, p->n_threads, &from, &to);
    if (from < to)
        block_forward(b, at, from, to - from);
    if (from < to && v)
        tangents_up(b, v, from, to - from);
    for (size_t i = from; i < to; i++) {
        const real weight = weight_in_mean(b, at + i);
        real *delta = room(b, ROOM_DELTA, top, i);
        begin_loss(b, i);
        scaled_row(delta, weight, delta, p->n_outputs);
        if (v) {
            real *u = room(b, ROOM_RDELTA, top, i);
            memcpy(u, room(b, ROOM_RZ, top, i), p->n_outputs * sizeof(real));
            output_curvature(b, i, u, room(b, ROOM_RE, top, i));
            scaled_row(u, weight, u, p->n_outputs);
        }
    }
    if (from < to)
        second_down(b, v, from, to - from);
    for (size_t i = from; i < to && !v; i++) {
        const real weight = weight_in_mean(b, at + i);
        for (size_t l = 0; l < p->n_layers; l++)
            bend_of(b, l, i, weight, room(b, ROOM_RZ, l, i));
        if (q->kind == SENS_DIAGONAL)
            diagonal_row(b, i, weight);
    }
    wait_all(p);
    if (v)
        add_product(b, v, q->out, rows, tid);
    else
        add_diagonal(b, q->out, rows, tid);
    wait_all(p);
}

#endif
