/* rbf_layer.h — a first layer of radial basis functions  [L].
 *
 *   forward    d²_m = ‖x − μ_m‖²,  y_m = exp(−d²_m / (2 λ_m))
 *   backward   δ_m = (∂Q/∂y_m) y_m / λ_m
 *              ∂μ_m = Σ δ_m (x − μ_m) = Σ x δ_m − μ_m Σ δ_m,   ∂λ_m = Σ δ_m d²_m / (2 λ_m)
 *
 * The centres are the columns of W (n_in × n_out); the widths take the place of the offsets.
 * d² is a sum of squared differences, not ‖x‖² − 2x·μ + ‖μ‖², which would cancel; it is kept at
 * s.  Σ x δ is the gradient of a dense layer, from which ∂μ is then computed.
 */
#ifndef MLP_NETWORK_RBF_LAYER_H
#define MLP_NETWORK_RBF_LAYER_H

#include "machine/vmath.h"
#include "network/piece.h"

/* Lower bound of the widths. */
#define SMALLEST_WIDTH R(1e-6f, 1e-6)

INLINE const real *widths_of(const piece_t *c, const layer_t *layer)
{
    return (const real *)c->net->params + layer->b;
}

/* the worker's rows of y, and s = d² */
static void rbf_forward(const piece_t *c, const layer_t *layer, const input_t *in,
                        const output_t *out)
{
    const real *w = (const real *)c->net->params + layer->w, *width = widths_of(c, layer);
    const size_t n = layer->n_out, ld = out->ld;
    size_t from, to;
    split_range(c->w, c->rows, 1, &from, &to);
    for (size_t i = from; i < to; i++)
        for (size_t j = 0; j < n; j += LANES) {
            const size_t m = min_size(LANES, n - j);
            vec sum = v_zero();
            for (size_t k = 0; k < layer->n_in; k++) {
                const vec e = v_set1(in->a[i * in->ld + k]) - v_load_n(w + k * n + j, m, 0);
                sum += e * e;
            }
            v_store(out->s + i * ld + j, sum);
            v_store(out->y + i * ld + j,
                    v_exp(v_set1((real)-0.5) * sum / v_load_n(width + j, m, 1)));
        }
}

/* ∂Q/∂y at delta becomes δ, rows [from, to) */
static void rbf_delta(const piece_t *c, const layer_t *layer, real *delta, size_t from, size_t to)
{
    const real *width = widths_of(c, layer);
    for (size_t i = from; i < to; i++)
        for (size_t j = 0; j < layer->n_out; j += LANES) {
            const vec lambda = v_load_n(width + j, min_size(LANES, layer->n_out - j), 1);
            const vec s = v_load((const real *)layer->s + i * layer->ld + j);
            const vec y = v_exp(v_set1((real)-0.5) * s / lambda);
            real *d = delta + i * layer->ld + j;
            v_store(d, v_load(d) * y / lambda);
        }
}

/* The worker's columns: gw, to which Σ x δ has been added, becomes ∂μ; gb receives ∂λ. */
static void rbf_gradient(const piece_t *c, const layer_t *layer, const real *delta)
{
    const real *w = (const real *)c->net->params + layer->w, *width = widths_of(c, layer);
    real *gw = (real *)c->p->work.grads + layer->w, *gb = (real *)c->p->work.grads + layer->b;
    const size_t n = layer->n_out, ld = layer->ld;
    size_t from, to;
    split_range(c->w, n, LANES, &from, &to);
    for (size_t j = from; j < to; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        const vec lambda = v_load_n(width + j, m, 1);
        vec sum = v_zero(), inner = v_zero();
        for (size_t i = 0; i < c->rows; i++) {
            const vec d = v_load(delta + i * ld + j);
            sum += d;
            /* a sample so far away that d² is infinite has δ = 0 */
            inner += v_select(V_EQ(d, v_zero()), v_zero(),
                              d * v_load((const real *)layer->s + i * ld + j));
        }
        inner = v_set1((real)0.5) * inner / lambda;
        if (c->accumulate)
            inner += v_load_n(gb + j, m, 0);
        v_store_n(gb + j, inner, m);
        for (size_t k = 0; k < layer->n_in; k++) {
            real *g = gw + k * n + j;
            v_store_n(g, v_load_n(g, m, 0) - v_load_n(w + k * n + j, m, 0) * sum, m);
        }
    }
}

#endif
