/* activation.h — f, f′ and f″ of every activation, method: [S table 65.1], plus gelu, silu,
 * mish.
 *
 * To add one: a name in ACTIVATION_LIST (mlp_core.h), a case each in act_f, act_df and act_ddf
 * (f, f′, f″), an entry in mlp/network/activations.py, and the reference in
 * tests/oracle/functions.py (docs/extending.rst shows each step).  `a` and `b` are its
 * parameters.  The derivatives are computed from s, which is y = f(z) where that is sufficient
 * and cheaper, and z otherwise (1 in the list): the forward pass then keeps z beside y.
 *
 * A layer whose nodes differ [S P65.6] has the list of its distinct activations (`kinds`) and
 * each node's index in that list (`node`, as reals, so that vectors can be compared).
 */
#ifndef MLP_NETWORK_ACTIVATION_H
#define MLP_NETWORK_ACTIVATION_H

#include "mlp_core.h"
#include "machine/region.h"
#include "machine/vmath.h"

INLINE vec act_f(int code, vec z, vec a, vec b)
{
    const vec one = v_set1(1);
    switch (code) {
    case ACT_LOGISTIC: return v_logistic(z);
    case ACT_TANH: return v_tanh(z);
    case ACT_RELU: return v_max(v_zero(), z);
    case ACT_EXP: return v_exp(z);
    case ACT_LEAKY_RELU: return v_select(V_LE(z, v_zero()), a * z, z);
    case ACT_SCALED_TANH: return a * v_tanh(b * z);
    case ACT_ELU: return b * v_select(V_LT(z, v_zero()), a * v_expm1(v_min(v_zero(), z)), z);
    case ACT_SOFTPLUS: return v_softplus(z);
    case ACT_ERF: return v_erf(z);
    case ACT_GAUSSIAN: return v_exp(v_set1((real)-0.5) * z * z);
    case ACT_GELU: return z * v_normal_cdf(z);
    case ACT_SILU: return z * v_logistic(z);
    case ACT_MISH: return z * v_tanh(v_softplus(z));
    case ACT_SIGN: return v_select(V_LT(z, v_zero()), -one, v_select(V_EQ(z, z), one, z));
    case ACT_STEP: return v_select(V_LT(z, v_zero()), v_zero(), v_select(V_EQ(z, z), one, z));
    default: return z;
    }
}

INLINE vec act_df(int code, vec s, vec a, vec b)
{
    const vec one = v_set1(1);
    switch (code) {
    case ACT_LOGISTIC: return s * (one - s);
    case ACT_TANH: return one - s * s;
    case ACT_RELU: return i_real(V_LT(v_zero(), s) & v_bits(one));
    case ACT_EXP: return s;
    case ACT_LEAKY_RELU: return v_select(V_LE(s, v_zero()), a, one);
    case ACT_SCALED_TANH: return b * (a - s * s / a);
    case ACT_ELU: return v_select(V_LT(s, v_zero()), s + a * b, b);
    case ACT_SOFTPLUS: return -v_expm1(-s); /* y = ln(1+e^z): 1 − e^{−y} is logistic(z) */
    case ACT_ERF: return v_set1(R(1.1283792f, 1.1283791670955126)) * v_exp(-s * s);
    case ACT_GAUSSIAN: return -s * v_exp(v_set1((real)-0.5) * s * s);
    case ACT_GELU: return v_normal_cdf(s) + s * v_normal_density(s);
    case ACT_SILU: {
        vec p = v_logistic(s);
        return p + s * p * (one - p);
    }
    case ACT_MISH: {
        vec t = v_tanh(v_softplus(s));
        return t + s * (one - t * t) * v_logistic(s);
    }
    default: return one;
    }
}

/* f″, 0 where f has a corner.  Where z² may overflow, e^{−z²} has vanished: it comes first. */
INLINE vec act_ddf(int code, vec s, vec a, vec b)
{
    const vec one = v_set1(1), two = v_set1(2);
    switch (code) {
    case ACT_LOGISTIC: return s * (one - s) * (one - two * s);
    case ACT_TANH: return -two * s * (one - s * s);
    case ACT_EXP: return s;
    case ACT_SCALED_TANH: return -two * b * b * (s / a) * (a - s * s / a);
    case ACT_ELU: return i_real(v_bits(s + a * b) & V_LT(s, v_zero()));
    case ACT_SOFTPLUS: return -v_expm1(-s) * v_exp(-s);
    case ACT_ERF: return -two * s * act_df(ACT_ERF, s, a, b);
    case ACT_GAUSSIAN: {
        vec y = v_exp(v_set1((real)-0.5) * s * s);
        return s * (s * y) - y;
    }
    case ACT_GELU: {
        vec density = v_normal_density(s);
        return two * density - s * (s * density);
    }
    case ACT_SILU: {
        vec p = v_logistic(s);
        return p * (one - p) * (two + s * (one - two * p));
    }
    case ACT_MISH: {
        vec t = v_tanh(v_softplus(s)), p = v_logistic(s), q = (one - t * t) * p;
        return two * q + s * q * (one - p - two * t * p);
    }
    default: return v_zero();
    }
}

/* the other activations need no elementwise pass, or have kernels of their own */
INLINE int is_elementwise(int code)
{
    return code != ACT_IDENTITY && code != ACT_SOFTMAX && code != ACT_RBF;
}

#define EACH_VECTOR(body)                                                                    \
    for (size_t i = 0; i < r->m; i++, c += r->ld, s += r->ld)                                \
        for (size_t j = 0; j < r->n; j += LANES) {                                           \
            body                                                                             \
        }                                                                                    \
    break;

/* forward where the derivative is computed from z, and where it is from y */
#define CASE_FORWARD_1(code)                                                                 \
    case code:                                                                               \
        EACH_VECTOR(vec z = v_load(c + j); v_store(s + j, z); v_store(c + j, act_f(code, z, a, b));)

#define CASE_FORWARD_0(code)                                                                 \
    case code: EACH_VECTOR(v_store(c + j, act_f(code, v_load(c + j), a, b));)

#define CASE_BACKWARD(code)                                                                  \
    case code:                                                                               \
        EACH_VECTOR(v_store(c + j, v_load(c + j) * act_df(code, v_load(s + j), a, b));)

/* nodes that differ: every kind is computed, each lane takes its own */
static void mixed_forward(const activation_t *f, const region_t *r);
static void mixed_backward(const activation_t *f, const region_t *r);

/* y ← f(z) in place at c; z is kept at s if f′ is computed from it. */
static void activation_forward(const activation_t *f, const region_t *r)
{
    real *c = r->c, *s = r->s;
    const vec a = v_set1((real)f->a), b = v_set1((real)f->b);
    if (f->n_kinds) {
        mixed_forward(f, r);
        return;
    }
    if (!is_elementwise(f->code))
        return;
    switch (f->code) {
#define X(name, keeps_z) CASE_FORWARD_##keeps_z(ACT_##name)
        ACTIVATION_LIST(X)
#undef X
    }
}

/* δ ← δ ⊙ f′(s), δ at c */
static void activation_backward(const activation_t *f, const region_t *r)
{
    real *c = r->c;
    const real *s = r->s;
    const vec a = v_set1((real)f->a), b = v_set1((real)f->b);
    if (f->n_kinds) {
        mixed_backward(f, r);
        return;
    }
    if (!is_elementwise(f->code))
        return;
    switch (f->code) {
#define X(name, keeps_z) CASE_BACKWARD(ACT_##name)
        ACTIVATION_LIST(X)
#undef X
    }
}

NOINLINE vec act_f_of(int code, vec z, vec a, vec b) { return act_f(code, z, a, b); }
NOINLINE vec act_df_of(int code, vec s, vec a, vec b) { return act_df(code, s, a, b); }
NOINLINE vec act_ddf_of(int code, vec s, vec a, vec b) { return act_ddf(code, s, a, b); }

static void mixed_forward(const activation_t *f, const region_t *r)
{
    const real *node = (const real *)f->node + r->col;
    real *c = r->c, *s = r->s;
    for (size_t i = 0; i < r->m; i++, c += r->ld, s += r->ld)
        for (size_t j = 0; j < r->n; j += LANES) {
            vec z = v_load(c + j), y = z, saved = z, place = v_load(node + j);
            for (size_t k = 0; k < f->n_kinds; k++) {
                const activation_t *g = &f->kinds[k];
                vec fz = act_f_of(g->code, z, v_set1((real)g->a), v_set1((real)g->b));
                ivec here = V_EQ(place, v_set1((real)k));
                y = v_select(here, fz, y);
                saved = v_select(here, g->keeps_z ? z : fz, saved);
            }
            v_store(s + j, saved);
            v_store(c + j, y);
        }
}

static void mixed_backward(const activation_t *f, const region_t *r)
{
    const real *node = (const real *)f->node + r->col;
    const real *s = r->s;
    real *c = r->c;
    for (size_t i = 0; i < r->m; i++, c += r->ld, s += r->ld)
        for (size_t j = 0; j < r->n; j += LANES) {
            vec saved = v_load(s + j), df = v_set1(1), place = v_load(node + j);
            for (size_t k = 0; k < f->n_kinds; k++) {
                const activation_t *g = &f->kinds[k];
                df = v_select(V_EQ(place, v_set1((real)k)),
                              act_df_of(g->code, saved, v_set1((real)g->a), v_set1((real)g->b)),
                              df);
            }
            v_store(c + j, v_load(c + j) * df);
        }
}

#endif
