/* loss.h — per-sample loss Q and boundary sensitivity δ_L = ∂Q/∂z_L  [S table 65.2].
 *
 * To add an elementwise loss: a name in LOSS_LIST (mlp_core.h), a case each in loss_value and
 * loss_curvature, an entry in mlp/network/losses.py, the reference in tests/oracle/functions.py,
 * and its pairs with outputs in the tests (docs/extending.rst shows each step).
 *
 * One row at a time: outputs y (z_L if the loss is computed from logits), targets t, δ out.
 * A target that is NaN is missing: it adds neither loss nor δ [S 65.157, 65.163–65.164].  The
 * padding of target rows is NaN, so that it needs no case of its own.
 *
 * An elementwise loss is a value and a gradient of one output.  With softmax outputs the loss
 * couples a row's outputs, per group of columns if there are several tasks:
 *     log_loss      Q = lse(z) − Σ t z       δ = γ̂ − t                    [S 65.144]
 *     any other     δ = J ∂Q/∂γ̂ = γ̂ ⊙ (g − Σ g γ̂)                        [S 65.69]
 * Cross-entropies are computed from logits by log-sum-exp, never from a rounded probability.
 */
#ifndef MLP_NETWORK_LOSS_H
#define MLP_NETWORK_LOSS_H

#include "network/activation.h"

/* value and ∂Q/∂y (∂Q/∂z from logits) of one output; parameter: quantile's q */
INLINE vec loss_value(int code, vec y, vec t, vec parameter, vec *gradient)
{
    const vec zero = v_zero(), one = v_set1(1), e = y - t;
    switch (code) {
    case LOSS_LOG_LOSS: { /* logistic output, from logits */
        const vec small = v_exp(-v_abs(y));
        *gradient = v_select(V_LT(y, zero), small, one) / (one + small) - t;
        return v_max(zero, y) - t * y + v_log1p(small);
    }
    case LOSS_LOGISTIC: /* t = ±1 [S P65.18] */
        *gradient = -t * v_logistic(-t * y);
        return v_softplus(-t * y);
    case LOSS_ABSOLUTE_ERROR:
        *gradient = v_select(V_EQ(e, zero), zero, v_copysign(one, e));
        return v_abs(e);
    case LOSS_QUANTILE: /* pinball */
        *gradient = v_select(V_LT(zero, e), one - parameter,
                             v_select(V_LT(e, zero), -parameter, zero));
        return v_max(-parameter * e, (one - parameter) * e);
    case LOSS_POISSON: { /* exp output, from logits: y − t ln y, less its value at y = t */
        const vec rate = v_exp(y);
        *gradient = rate - t;
        return v_select(V_LT(zero, t), t * (v_log(t) - y), zero) - t + rate;
    }
    default:
        *gradient = e;
        return v_set1((real)0.5) * e * e;
    }
}

/* ∂²Q/∂y² (∂²Q/∂z² from logits) of one output, in terms of the output y either way */
INLINE vec loss_curvature(int code, vec y, vec t)
{
    switch (code) {
    case LOSS_LOG_LOSS: return y * (v_set1(1) - y);
    case LOSS_LOGISTIC: return t * t * v_logistic(t * y) * v_logistic(-t * y);
    case LOSS_ABSOLUTE_ERROR: return v_zero();
    case LOSS_QUANTILE: return v_zero();
    case LOSS_POISSON: return y;
    default: return v_set1(1);
    }
}

#define LOSS_CASE(code)                                                                      \
    case code:                                                                               \
        for (size_t j = 0; j < n; j += LANES) {                                              \
            vec g, target = v_load(t + j);                                                   \
            ivec present = V_EQ(target, target);                                             \
            vec q = loss_value(code, v_load(y + j), target, p, &g);                          \
            total += i_real(v_bits(q) & present);                                            \
            v_store(d + j, i_real(v_bits(g) & present));                                     \
        }                                                                                    \
        break;

/* d ← ∂Q/∂y over a row of n padded outputs; returns Q */
static double elementwise_loss(int code, real parameter, const real *y, const real *t, real *d,
                               size_t n)
{
    const vec p = v_set1(parameter);
    vec total = v_zero();
    switch (code) {
#define X(name) LOSS_CASE(LOSS_##name)
        LOSS_LIST(X)
#undef X
    }
    return (double)v_sum(total);
}

/* ‖e‖ from e (padded with 0) and its Σ e², which may have overflowed */
INLINE real length(const real *e, size_t n, real squares)
{
    if (squares < (real)INFINITY || squares != squares)
        return v_lane(v_sqrt(v_set1(squares)), 0);
    vec top = v_zero(), scaled = v_zero();
    for (size_t j = 0; j < n; j += LANES)
        top = v_max(top, v_abs(v_load(e + j)));
    const real largest = v_max_lane(top);
    for (size_t j = 0; j < n; j += LANES) {
        const vec part = v_load(e + j) / v_set1(largest);
        scaled += part * part;
    }
    return largest * v_lane(v_sqrt(v_set1(v_sum(scaled))), 0);
}

/* ‖e‖²/(2Δ) if ‖e‖ ≤ Δ else ‖e‖ − Δ/2, one norm for the row [S P65.17] */
static double huber_loss(real delta, const real *y, const real *t, real *d, size_t n)
{
    vec squares = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        vec target = v_load(t + j);
        vec e = i_real(v_bits(v_load(y + j) - target) & V_EQ(target, target));
        squares += e * e;
        v_store(d + j, e);
    }
    const real norm = length(d, n, v_sum(squares));
    const vec scale = v_set1(1 / (norm <= delta ? delta : norm));
    for (size_t j = 0; j < n; j += LANES)
        v_store(d + j, v_load(d + j) * scale);
    return norm <= delta ? 0.5 * norm * norm / delta : norm - 0.5 * delta;
}

/* u ← (∂²Q/∂y²) u: I/Δ if ‖e‖ ≤ Δ, else (I − êêᵀ)/‖e‖ with ê = e/‖e‖ */
static void huber_curvature(real delta, const real *y, const real *t, real *u, size_t n)
{
    vec squares = v_zero(), dot = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const vec target = v_load(t + j);
        const ivec present = V_EQ(target, target);
        const vec e = i_real(v_bits(v_load(y + j) - target) & present);
        const vec v = i_real(v_bits(v_load(u + j)) & present);
        squares += e * e;
        dot += e * v;
        v_store(u + j, v);
    }
    const real square = v_sum(squares), norm = v_lane(v_sqrt(v_set1(square)), 0);
    const vec along = v_set1(norm <= delta ? 0 : v_sum(dot) / square);
    const vec scale = v_set1(1 / (norm <= delta ? delta : norm));
    for (size_t j = 0; j < n; j += LANES) {
        const vec target = v_load(t + j);
        const vec e = i_real(v_bits(v_load(y + j) - target) & V_EQ(target, target));
        v_store(u + j, (v_load(u + j) - along * e) * scale);
    }
}

/* ---- softmax over columns [0, n), n unpadded ----------------------------------------- */

/* y ← softmax(z), in place allowed; returns lse(z) − max z [S 65.14–65.15].  The two are not
 * added, because beside a large logit their sum has no digits left for a small loss. */
static real softmax_row(real *y, const real *z, size_t n, real *max)
{
    const real minus_inf = -(real)INFINITY;
    vec top = v_set1(minus_inf);
    for (size_t j = 0; j < n; j += LANES)
        top = v_max(top, v_load_n(z + j, min_size(LANES, n - j), minus_inf));
    const real largest = v_max_lane(top);
    vec sum = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        const vec logits = v_load_n(z + j, m, minus_inf);
        const ivec valid = ~V_EQ(logits, v_set1(minus_inf));
        const vec shifted = i_real(v_bits(logits - v_set1(largest)) & valid);
        const vec e = i_real(v_bits(v_exp(shifted)) & valid);
        sum += e;
        v_store_n(y + j, e, m);
    }
    const real total = v_sum(sum);
    const vec scale = v_set1(1 / total);
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        v_store_n(y + j, v_load_n(y + j, m, 0) * scale, m);
    }
    *max = largest;
    return v_lane(v_log(v_set1(total)), 0);
}

/* Any NaN: the label of this task is missing. */
INLINE int is_missing(const real *t, size_t n)
{
    vec sum = v_zero();
    for (size_t j = 0; j < n; j += LANES)
        sum += v_load_n(t + j, min_size(LANES, n - j), 0);
    const real total = v_sum(sum);
    return total != total;
}

/* δ = γ̂ − t, Q = Σ t (lse − z) */
static double softmax_log_loss(const real *z, const real *t, real *d, size_t n)
{
    if (is_missing(t, n)) {
        for (size_t j = 0; j < n; j++)
            d[j] = 0;
        return 0;
    }
    real largest;
    const vec rest = v_set1(softmax_row(d, z, n, &largest)), top = v_set1(largest);
    vec value = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        const vec target = v_load_n(t + j, m, 0);
        /* t = 0 beside an infinite logit adds no loss */
        value += v_select(V_EQ(target, v_zero()), v_zero(),
                          target * (rest - (v_load_n(z + j, m, 0) - top)));
        v_store_n(d + j, v_load_n(d + j, m, 0) - target, m);
    }
    return (double)v_sum(value);
}

/* The same for `rows` ≤ LANES samples of n ≤ LANES classes, one sample per lane: one logarithm
 * and n exponentials for all of them (2 classes: 26 → 8 ns per sample).  δ is multiplied by
 * weight × factor, losses by the weight (NULL: 1). */
static void softmax_log_loss_block(const loss_rows_t *r, size_t n, const real *weight, real factor)
{
    const real *z = r->y, *t = r->t;
    const size_t rows = r->rows, ld = r->ld, ldt = r->ldt;
    real *d = r->gradient;
    double *losses = r->losses;
    real columns[2][LANES][LANES], value[LANES];
    vec logit[LANES], target[LANES], top = v_zero();
    vec sum = v_zero(), loss = v_zero(), present = v_zero();
    for (size_t i = 0; i < LANES; i++) {
        const size_t row = min_size(i, rows - 1);
        for (size_t q = 0; q < n; q++) {
            columns[0][q][i] = z[row * ld + q];
            columns[1][q][i] = t[row * ldt + q];
        }
    }
    for (size_t q = 0; q < n; q++) {
        logit[q] = v_load(columns[0][q]);
        target[q] = v_load(columns[1][q]);
        present += target[q];
        top = q ? v_max(top, logit[q]) : logit[q];
    }
    const ivec labelled = V_EQ(present, present);
    for (size_t q = 0; q < n; q++) {
        logit[q] -= top;
        const vec e = v_exp(logit[q]);
        v_store(columns[0][q], e);
        sum += e;
    }
    const vec log_sum = v_log(sum), w = weight ? v_load_n(weight, rows, 0) : v_set1(1);
    const vec scale = w * v_set1(factor), inverse = v_set1(1) / sum;
    for (size_t q = 0; q < n; q++) {
        loss += v_select(V_EQ(target[q], v_zero()), v_zero(), target[q] * (log_sum - logit[q]));
        const vec delta = (v_load(columns[0][q]) * inverse - target[q]) * scale;
        v_store(columns[0][q], i_real(v_bits(delta) & labelled));
    }
    v_store(value, i_real(v_bits(loss * w) & labelled));
    for (size_t i = 0; i < rows; i++) {
        losses[i] = (double)value[i];
        for (size_t q = 0; q < n; q++)
            d[i * ld + q] = columns[0][q][i];
    }
}

/* d ← J d for the softmax γ̂ = y */
static void softmax_backward(const real *y, real *d, size_t n)
{
    vec dot = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        dot += v_load_n(y + j, m, 0) * v_load_n(d + j, m, 0);
    }
    const vec mean = v_set1(v_sum(dot));
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        v_store_n(d + j, v_load_n(y + j, m, 0) * (v_load_n(d + j, m, 0) - mean), m);
    }
}

/* A group of one column is a logistic output, of several a softmax. */
static void grouped_softmax(const loss_t *loss, real *y)
{
    real unused;
    for (size_t g = 0; g < loss->n_groups; g++) {
        const size_t from = loss->group[g], n = loss->group[g + 1] - from;
        if (n == 1)
            v_store_n(y + from, v_logistic(v_load_n(y + from, 1, 0)), 1);
        else
            softmax_row(y + from, y + from, n, &unused);
    }
}

static double grouped_log_loss(const loss_t *loss, const real *z, const real *t, real *d)
{
    double total = 0;
    for (size_t g = 0; g < loss->n_groups; g++) {
        const size_t from = loss->group[g], n = loss->group[g + 1] - from;
        double q;
        if (n == 1) {
            vec gradient, target = v_set1(t[from]);
            ivec present = V_EQ(target, target);
            q = v_lane(i_real(v_bits(loss_value(LOSS_LOG_LOSS, v_set1(z[from]), target,
                                                v_zero(), &gradient)) & present), 0);
            d[from] = v_lane(i_real(v_bits(gradient) & present), 0);
        } else {
            q = softmax_log_loss(z + from, t + from, d + from, n);
        }
        if (loss->group_weight) {
            q *= loss->group_weight[g];
            for (size_t j = from; j < from + n; j++)
                d[j] *= (real)loss->group_weight[g];
        }
        total += q;
    }
    return total;
}

/* ---- a row: Q returned, d ← δ_L before the sample's weight ---------------------------- */

/* ∂Q/∂y at d becomes δ_L = ∂Q/∂z */
static void output_backward(const loss_t *loss, const activation_t *f, const real *y,
                            const real *s, real *d, size_t n)
{
    if (f->code != ACT_SOFTMAX) {
        activation_backward(f, &(region_t){d, (real *)s, 0, 1, round_up(n, LANES), 0});
        return;
    }
    for (size_t g = 0; g < loss->n_groups; g++) {
        const size_t from = loss->group[g], width = loss->group[g + 1] - from;
        if (width == 1)
            d[from] *= y[from] * (1 - y[from]);
        else
            softmax_backward(y + from, d + from, width);
    }
}

/* y holds z_L from logits, else f(z_L) (for a softmax z_L); s what f′ is computed from */
static double loss_row(const loss_t *loss, const activation_t *f, real *y, const real *s,
                       const real *t, real *d)
{
    const int softmax = f->code == ACT_SOFTMAX;
    const size_t n = loss->group[loss->n_groups];
    double q;
    if (softmax && loss->from_logits)
        return grouped_log_loss(loss, y, t, d);
    if (softmax)
        grouped_softmax(loss, y);
    if (loss->code == LOSS_HUBER)
        q = huber_loss(at_least_normal(loss->parameter), y, t, d, n);
    else
        q = elementwise_loss(loss->code, (real)loss->parameter, y, t, d, n);
    if (!loss->from_logits)
        output_backward(loss, f, y, s, d, n);
    return q;
}

#endif
