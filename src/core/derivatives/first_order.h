/* first_order.h — first derivatives of a trained network's outputs and loss  [S P65.9–P65.11].
 *
 *   reverse  λ_L = J u,  λ_l = f′ ⊙ (W_l λ_{l+1})    vjp, ∂Q, the Jacobian by rows      [S P65.9]
 *   forward  Λ_{l+1} = f′ ⊙ (W_lᵀ Λ_l)               jvp, the Jacobian by columns      [S P65.10]
 *
 * J is diag f′, or that of the softmax.  A skip connection adds s·y of the layer below, and
 * s·λ in the reverse direction.  Radial basis functions y = exp(−‖x − μ‖²/2λ) are a layer with
 * f′ = y/λ whose product W v is taken at x: (μ − x)·v.
 *
 * A block of samples goes through the layers at once.  Its quantities are stored per layer,
 * (rows × ld), all with the same ld: y, f′, f″ (of radial basis functions d² = ‖x − μ‖²
 * instead).  The tangents of a sample, one or as many as there are outputs or inputs, are
 * neighbouring rows of one product.  Threads divide the samples, and every product is computed
 * with the same tiles for any number of rows (gemm.h): the bits depend on neither threads nor
 * blocks.  CSR rows are expanded, one block at a time.
 */
#ifndef MLP_DERIVATIVES_FIRST_ORDER_H
#define MLP_DERIVATIVES_FIRST_ORDER_H

#include "network/passes.h"

/* Quantities of a block, per layer: y, f′, f″; for second derivatives ∂Q/∂y, δ, and R of z, y,
 * ∂Q/∂y, δ. */
enum quantity { Q_Y, Q_D1, Q_D2, FIRST_ORDER,
                Q_E = FIRST_ORDER, Q_DELTA, Q_RZ, Q_RY, Q_RE, Q_RDELTA, ALL_QUANTITIES };

typedef struct {
    const plan_t *p;
    const data_t *d;
    const sensitivity_t *q;
    size_t rows;             /* samples in the block                                     */
    size_t per;              /* tangents per sample                                      */
    size_t ld, ldx, ldt;
    const real *inputs;      /* of the current samples, ldx apart                        */
    real *x, *squares;       /* (rows × row_stride(n_features))                          */
    real *t;                 /* (rows × ldt) targets                                     */
    real *layers;            /* every quantity of every layer, (rows × ld)               */
    real *tangent[3];        /* (rows·per × ld)                                          */
    real *pack, *matrix[4];  /* the thread's own; (ld × ld)                              */
} block_t;

INLINE real *values(const block_t *b, enum quantity which, size_t l, size_t row)
{
    return b->layers + (((size_t)which * b->p->net.n_layers + l) * b->rows + row) * b->ld;
}

INLINE int is_second_order(int kind) { return kind >= SENS_PRODUCT; }
INLINE int has_loss(int kind)
{
    return kind == SENS_INPUTS || kind == SENS_PARAMS || is_second_order(kind);
}

/* ---- memory ---------------------------------------------------------------------------- */

INLINE real *take(real *base, size_t *used, size_t n)
{
    real *start = base ? base + *used : NULL;
    *used += round_up(n, LINE);
    return start;
}

/* Lay out a block of q->rows samples, whose buffers begin at `base`; returns their size.  With
 * base NULL only the size is computed. */
static size_t lay_out(block_t *b, const plan_t *p, const data_t *d, const sensitivity_t *q,
                      real *base)
{
    const int kind = q->kind;
    size_t used = 0, n_quantities = FIRST_ORDER, wide = row_stride(p->net.n_features);
    memset(b, 0, sizeof *b);
    b->p = p;
    b->d = d;
    b->q = q;
    for (size_t l = 0; l < p->net.n_layers; l++)
        b->ld = p->net.layers[l].ld > b->ld ? p->net.layers[l].ld : b->ld;
    b->per = kind == SENS_FORWARD ? p->net.n_features : kind == SENS_REVERSE ? p->net.n_outputs : 1;
    b->rows = q->rows;
    if (is_second_order(kind))
        n_quantities = kind == SENS_PRODUCT ? ALL_QUANTITIES : Q_RZ + 1;
    b->x = take(base, &used, b->rows * wide);
    if (kind == SENS_DIAGONAL || kind == SENS_CURVATURE)
        b->squares = take(base, &used, b->rows * (wide > b->ld ? wide : b->ld));
    b->ldt = row_stride(p->net.n_outputs);
    b->t = take(base, &used, b->rows * b->ldt);
    b->layers = take(base, &used, n_quantities * p->net.n_layers * b->rows * b->ld);
    for (size_t i = 0; i < 3 && !is_second_order(kind); i++)
        b->tangent[i] = take(base, &used, b->rows * b->per * b->ld);
    return used;
}

/* The thread's own buffers, which follow. */
static size_t lay_out_own(block_t *b, real *base)
{
    size_t used = 0;
    b->pack = take(base, &used, b->p->work.pack_size);
    for (size_t i = 0; i < 4 && b->q->kind == SENS_DIAGONAL; i++)
        b->matrix[i] = take(base, &used, b->ld * b->ld);
    return used;
}

static size_t sensitivity_size(const plan_t *p, const sensitivity_t *q, size_t n_threads)
{
    block_t b;
    const size_t common = lay_out(&b, p, NULL, q, NULL), own = lay_out_own(&b, NULL);
    return is_second_order(q->kind) ? common + n_threads * own : n_threads * (common + own);
}

/* ---- forward --------------------------------------------------------------------------- */

/* f′ and (if d2 is not NULL) f″ of n nodes from s, which may be d1 */
static void layer_slopes(const activation_t *f, const real *s, real *d1, real *d2, size_t n)
{
    const activation_t *kinds = f->n_kinds ? f->kinds : f;
    const size_t n_kinds = f->n_kinds ? f->n_kinds : 1;
    for (size_t j = 0; j < n; j += LANES) {
        const vec saved = v_load(s + j);
        const vec place = f->n_kinds ? v_load((const real *)f->node + j) : v_zero();
        vec first = v_zero(), second = v_zero();
        for (size_t k = 0; k < n_kinds; k++) {
            const ivec here = V_EQ(place, v_set1((real)k));
            const vec a = v_set1((real)kinds[k].a), c = v_set1((real)kinds[k].b);
            first = v_select(here, act_df_of(kinds[k].code, saved, a, c), first);
            if (d2)
                second = v_select(here, act_ddf_of(kinds[k].code, saved, a, c), second);
        }
        v_store(d1 + j, first);
        if (d2)
            v_store(d2 + j, second);
    }
}

/* Where a layer's forward pass keeps what its derivatives are computed from. */
INLINE real *saved_at(const block_t *b, size_t l, size_t row)
{
    const layer_t *layer = &b->p->net.layers[l];
    return values(b, layer->f.keeps_z || layer->skip_scale != 0 ? Q_D1 : Q_Y, l, row);
}

/* f′ and, if `second`, f″ of layer l's rows [row, row + rows) */
static void slopes_of(const block_t *b, size_t l, size_t row, size_t rows, int second)
{
    const layer_t *layer = &b->p->net.layers[l];
    const real *width = (const real *)b->p->net.params + layer->b;
    for (size_t i = row; i < row + rows; i++) {
        real *d1 = values(b, Q_D1, l, i), *d2 = values(b, Q_D2, l, i);
        if (layer->f.code != ACT_RBF) {
            layer_slopes(&layer->f, saved_at(b, l, i), d1, second ? d2 : NULL, layer->n_out);
            continue;
        }
        memcpy(d2, d1, layer->n_out * sizeof(real));
        for (size_t j = 0; j < layer->n_out; j++)
            d1[j] = values(b, Q_Y, l, i)[j] / width[j];
    }
}

/* The block's samples are those from `at` on. */
static void begin_block(block_t *b, size_t at)
{
    const data_t *d = b->d;
    b->inputs = d->indptr ? b->x : (const real *)d->x + at * d->ldx;
    b->ldx = d->indptr ? row_stride(b->p->net.n_features) : d->ldx;
}

/* Rows [row, row + rows) of the block, which begins at sample `at`, through all layers.  If
 * there is a loss, the last layer's outputs are left as loss_row expects them. */
static void block_forward(const block_t *b, size_t at, size_t row, size_t rows)
{
    const plan_t *p = b->p;
    const int loss = has_loss(b->q->kind);
    const piece_t c = {.p = p, .net = &p->net, .rows = rows, .w = &alone, .pack = b->pack,
                       .training = loss};
    input_t in = {b->inputs + row * b->ldx, b->ldx, NULL, 0};
    for (size_t i = row; b->d->indptr && i < row + rows; i++)
        scatter_row(b->d, at + i, b->x + i * b->ldx, p->net.n_features);
    for (size_t l = 0; l < p->net.n_layers; l++) {
        const layer_t *layer = &p->net.layers[l];
        const int top = l + 1 == p->net.n_layers, softmax = layer->f.code == ACT_SOFTMAX;
        const output_t out = {values(b, Q_Y, l, row), saved_at(b, l, row), b->ld};
        layer_forward(&c, l, &in, &out);
        if (!(top && (loss || softmax)))
            slopes_of(b, l, row, rows, is_second_order(b->q->kind));
        for (size_t i = 0; top && !loss && softmax && i < rows; i++)
            grouped_softmax(&p->objective.loss, out.y + i * b->ld);
        in = (input_t){out.y, b->ld, NULL, 0};
    }
    for (size_t i = row; loss && i < row + rows; i++)
        gather_target(p, b->d, at + i, b->t + i * b->ldt);
}

/* ---- small pieces ---------------------------------------------------------------------- */

INLINE void multiply_row(real *y, const real *x, size_t n)
{
    for (size_t j = 0; j < n; j += LANES)
        v_store(y + j, v_load(y + j) * v_load(x + j));
}

INLINE real sum_row(const real *x, size_t n)
{
    vec sum = v_zero();
    for (size_t j = 0; j < n; j += LANES)
        sum += v_load_n(x + j, min_size(LANES, n - j), 0);
    return v_sum(sum);
}

/* u ← J u for the output of one sample; J is symmetric */
static void through_output(const block_t *b, size_t row, real *u)
{
    const plan_t *p = b->p;
    const size_t top = p->net.n_layers - 1;
    if (p->net.layers[top].f.code == ACT_SOFTMAX)
        output_backward(&p->objective.loss, &p->net.layers[top].f, values(b, Q_Y, top, row),
                        NULL, u, p->net.n_outputs);
    else
        multiply_row(u, values(b, Q_D1, top, row), p->net.n_outputs);
}

/* the tangents of each sample, ⊙ f′ of layer l */
static void through_layer(const block_t *b, size_t l, real *tangent, size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < b->per; k++)
            multiply_row(tangent + (i * b->per + k) * b->ld, values(b, Q_D1, l, i),
                         b->p->net.layers[l].n_out);
}

/* ---- reverse --------------------------------------------------------------------------- */

/* ∂Q of each sample in the parameters of layer l, given δ of that layer */
static void parameter_rows(const block_t *b, size_t l, const real *delta, size_t rows,
                           real *out, size_t n_params)
{
    const layer_t *layer = &b->p->net.layers[l];
    const real *w = (const real *)b->p->net.params + layer->w;
    const real *width = (const real *)b->p->net.params + layer->b;
    const size_t n = layer->n_out;
    for (size_t i = 0; i < rows; i++, out += n_params, delta += b->ld) {
        const real *a = l ? values(b, Q_Y, l - 1, i) : b->inputs + i * b->ldx;
        real *gw = out + layer->w, *gb = out + layer->b;
        for (size_t k = 0; k < layer->n_in; k++)
            scaled_row(gw + k * n, a[k], delta, n);
        if (b->p->net.no_offsets)
            memset(gb, 0, n * sizeof(real));
        else
            scaled_row(gb, 1, delta, n);
        if (layer->f.code != ACT_RBF)
            continue;
        for (size_t k = 0; k < layer->n_in; k++) /* rbf_layer.h, for one sample */
            for (size_t j = 0; j < n; j++)
                gw[k * n + j] = delta[j] * (a[k] - w[k * n + j]);
        for (size_t j = 0; j < n; j++)
            gb[j] = delta[j] * values(b, Q_D2, l, i)[j] / (2 * width[j]);
    }
}

/* From λ_L in tangent[0], `per` rows per sample, to the inputs (rows·per × n_features) or to the
 * parameters of each sample (rows × n_params), whichever is not NULL. */
static void reverse_adjoints(block_t *b, size_t rows, real *inputs, real *params)
{
    const plan_t *p = b->p;
    const size_t m = rows * b->per, n_params = p->net.n_weights + p->net.n_biases;
    real *above = b->tangent[0], *below = b->tangent[1], *skip = b->tangent[2];
    for (size_t l = p->net.n_layers; l-- > 0;) {
        const layer_t *layer = &p->net.layers[l];
        const real *w = (const real *)p->net.params + layer->w;
        if (params)
            parameter_rows(b, l, above, rows, params, n_params);
        if (l == 0 && !inputs)
            return;
        const gemm_t g = {NT, m, layer->n_in, layer->n_out, above, w, l ? below : inputs, b->ld,
                          layer->n_out, l ? b->ld : p->net.n_features, 0, NULL, NULL};
        gemm(&g, b->pack, &alone);
        if (l == 0)
            break;
        for (size_t i = 0; layer->skip_scale != 0 && i < m; i++)
            add_scaled(below + i * b->ld, (real)layer->skip_scale, skip + i * b->ld,
                       layer->n_out);
        if (p->net.layers[l - 1].skip_scale != 0)
            memcpy(skip, below, m * b->ld * sizeof(real));
        through_layer(b, l - 1, below, rows);
        real *t = above;
        above = below;
        below = t;
    }
    for (size_t i = 0; p->net.layers[0].f.code == ACT_RBF && i < m; i++) {
        const real sum = sum_row(above + i * b->ld, p->net.layers[0].n_out);
        add_scaled(inputs + i * p->net.n_features, -sum, b->inputs + i / b->per * b->ldx,
                   p->net.n_features);
    }
}

/* ---- forward --------------------------------------------------------------------------- */

/* The first layer's tangents before f′: of directions v (rows × n_features), or if v is NULL of
 * every input. */
static void first_tangents(const block_t *b, size_t rows, const real *v, real *out)
{
    const layer_t *layer = &b->p->net.layers[0];
    const real *w = (const real *)b->p->net.params + layer->w;
    const size_t n_in = layer->n_in, n = layer->n_out;
    const int rbf = layer->f.code == ACT_RBF;
    if (v) {
        const gemm_t g = {NN, rows, n, n_in, v, w, out, n_in, n, b->ld, 0, NULL, NULL};
        gemm(&g, b->pack, &alone);
    }
    for (size_t i = 0; i < rows; i++) {
        const real *x = b->inputs + i * b->ldx;
        for (size_t k = 0; k < b->per; k++) {
            real *row = out + (i * b->per + k) * b->ld;
            if (!v)
                scaled_row(row, 1, w + k * n, n);
            const real at_x = rbf ? (v ? dot(v + i * n_in, x, n_in) : x[k]) : 0;
            for (size_t j = 0; rbf && j < n; j++)
                row[j] -= at_x;
        }
    }
}

/* Returns the outputs' tangents, `per` rows per sample. */
static const real *forward_tangents(const block_t *b, size_t rows, const real *v)
{
    const plan_t *p = b->p;
    const size_t m = rows * b->per;
    real *below = b->tangent[0], *above = b->tangent[1];
    for (size_t l = 0; l < p->net.n_layers; l++) {
        const layer_t *layer = &p->net.layers[l];
        if (l == 0) {
            first_tangents(b, rows, v, above);
        } else {
            const gemm_t g = {NN, m, layer->n_out, layer->n_in, below,
                              (const real *)p->net.params + layer->w, above, b->ld, layer->n_out,
                              b->ld, 0, NULL, NULL};
            gemm(&g, b->pack, &alone);
        }
        if (l + 1 < p->net.n_layers)
            through_layer(b, l, above, rows);
        else
            for (size_t i = 0; i < m; i++)
                through_output(b, i / b->per, above + i * b->ld);
        for (size_t i = 0; layer->skip_scale != 0 && i < m; i++)
            add_scaled(above + i * b->ld, (real)layer->skip_scale, below + i * b->ld,
                       layer->n_out);
        real *t = below;
        below = above;
        above = t;
    }
    return below;
}

/* ---- a block --------------------------------------------------------------------------- */

/* δ_L of every sample into tangent[0]; nonzero if the caller's loss failed */
static int loss_slopes(const block_t *b, size_t rows)
{
    const plan_t *p = b->p;
    const size_t top = p->net.n_layers - 1;
    const activation_t *f = &p->net.layers[top].f;
    real *delta = b->tangent[0], *y = values(b, Q_Y, top, 0);
    if (p->objective.loss.callback) { /* one thread: the caller's Python on the whole block */
        for (size_t i = 0; f->code == ACT_SOFTMAX && i < rows; i++)
            grouped_softmax(&p->objective.loss, y + i * b->ld);
        if (p->objective.loss.callback(p->objective.loss.context,
                                       &(loss_rows_t){rows, b->ld, b->ldt, y, b->t, delta,
                                                      b->q->losses}))
            return 1;
    }
    for (size_t i = 0; i < rows; i++) {
        const real *s = saved_at(b, top, i);
        if (p->objective.loss.callback)
            output_backward(&p->objective.loss, f, y + i * b->ld, s, delta + i * b->ld,
                            p->net.n_outputs);
        else
            loss_row(&p->objective.loss, f, y + i * b->ld, s, b->t + i * b->ldt,
                     delta + i * b->ld);
    }
    return 0;
}

/* λ_L of each sample: all outputs' unit vectors, or its row of u, through the output */
static void begin_adjoints(const block_t *b, size_t rows, const real *u)
{
    const size_t n = b->p->net.n_outputs;
    for (size_t i = 0; i < rows * b->per; i++) {
        real *row = b->tangent[0] + i * b->ld;
        memset(row, 0, n * sizeof(real));
        if (u)
            memcpy(row, u + i * n, n * sizeof(real));
        else
            row[i % b->per] = 1;
        through_output(b, i / b->per, row);
    }
}

/* Samples [at, at + rows), which begin_block has set; nonzero if a callback failed. */
static int first_order_block(block_t *b, size_t at, size_t rows)
{
    const plan_t *p = b->p;
    const sensitivity_t *q = b->q;
    const size_t n_in = p->net.n_features, n_out = p->net.n_outputs;
    const real *direction = q->direction, *up;
    real *out = q->out;
    block_forward(b, at, 0, rows);
    switch (q->kind) {
    case SENS_REVERSE:
        begin_adjoints(b, rows, NULL);
        reverse_adjoints(b, rows, out + at * n_out * n_in, NULL);
        return 0;
    case SENS_VJP:
        begin_adjoints(b, rows, direction + at * n_out);
        reverse_adjoints(b, rows, out + at * n_in, NULL);
        return 0;
    case SENS_FORWARD:
        up = forward_tangents(b, rows, NULL);
        for (size_t i = 0; i < rows; i++)
            for (size_t k = 0; k < n_in; k++)
                for (size_t j = 0; j < n_out; j++)
                    out[((at + i) * n_out + j) * n_in + k] = up[(i * n_in + k) * b->ld + j];
        return 0;
    case SENS_JVP:
        up = forward_tangents(b, rows, direction + at * n_in);
        for (size_t i = 0; i < rows; i++)
            memcpy(out + (at + i) * n_out, up + i * b->ld, n_out * sizeof(real));
        return 0;
    default:
        if (loss_slopes(b, rows))
            return 1;
        if (q->kind == SENS_INPUTS)
            reverse_adjoints(b, rows, out + at * n_in, NULL);
        else
            reverse_adjoints(b, rows, NULL, out + at * (p->net.n_weights + p->net.n_biases));
        return 0;
    }
}

#endif
