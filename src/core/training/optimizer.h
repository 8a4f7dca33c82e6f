/* optimizer.h — the update rules: one pass over the flat buffers per step.
 *
 *   G  = g + (alpha/Σweights + 2 l2) w + l1 sign(w)        penalties   [S 65.45, P65.15]
 *                                                          (with l1_proximal without l1)
 *   G  ← clip(G)                                           by value, by global norm
 *   sgd       w ← w − μ G                                  [S 65.82]
 *   momentum  v ← m v − μ G;  w ← w + v
 *   nesterov  v ← m v − μ G;  w ← w + (m v − μ G)          as scikit-learn
 *   adam      v₁ ← β₁v₁+(1−β₁)G; v₂ ← β₂v₂+(1−β₂)G²; w ← w − μ_t v₁/(√v₂+ε) [S 65.95–65.98]
 *   adamw     the same, w ← (1 − μ·decay) w first
 *
 * With l1_proximal the penalty l1‖W‖₁ is the soft threshold S_τ(u) = sign(u) max(∣u∣ − τ, 0) of
 * the result of the rest of the step, so that steps with a constant gradient converge only to
 * w = 0 with ∣∂/∂w of the rest∣ ≤ l1, or to ∂/∂w + l1 sign(w) = 0:
 *
 *   sgd       w ← S_τ(w − μ G), τ = μ l1
 *   momentum  w′ = S_τ(w + m v − μ G);  v ← w′ − w;  w ← w′            inertial proximal gradient
 *   nesterov  x′ = S_τ(w − μ G);  v ← x′ − (w − m v);  w ← x′ + m v    FISTA with a constant m;
 *             v ← 0 where x′ = 0, so that w is 0 there too
 *   adam(w)   w ← S_τ(w − μ_t v₁/(√v₂+ε)), τ = μ_t l1/(√v₂+ε): in the metric of its own step
 *
 * The same pass sums w² and ∣w∣ (before the update), which the reported loss needs.  Sums are
 * taken by blocks of BLOCK parameters, each by one thread, and added in order, so that the bits
 * are the same for any number of threads.
 */
#ifndef MLP_TRAINING_OPTIMIZER_H
#define MLP_TRAINING_OPTIMIZER_H

#include "mlp_core.h"
#include "machine/simd.h"

#define BLOCK 4096

typedef struct {
    vec rate, momentum, b1, b2, rest1, rest2, eps, l2, l1, keep, scale, clip, floor;
    vec threshold;           /* rate · l1, the soft threshold                            */
    vec dropped, dropped_l1; /* decay of dropped units' parameters: w ← dropped·w − …    */
    int with_threshold, with_l1, with_clip, with_floor, sum_l1, sum_l2;
} update_t;

INLINE int moments_of(int code)
{
    switch (code) {
#define X(name, n_moments) case SOLVER_##name: return n_moments;
        SOLVER_LIST(X)
#undef X
    default: return 0;
    }
}

INLINE vec sign_of(vec w)
{
    return i_real(~V_EQ(w, v_zero()) & v_bits(v_copysign(v_set1(1), w)));
}

/* The part that the soft threshold subtracts: u − clamped is exactly 0 where ∣u∣ ≤ threshold. */
INLINE vec clamped(vec u, vec threshold)
{
    return v_max(-threshold, v_min(threshold, u));
}

/* The new w by a proximal step with gradient g, clipped; m1, m2: the moments, updated. */
INLINE vec update_proximal(int code, const update_t *s, vec w, vec g, vec *m1, vec *m2)
{
    vec u = w - s->rate * g, taken;
    switch (code) {
    case SOLVER_MOMENTUM:
        *m1 = s->momentum * *m1 - s->rate * g;
        u = w + *m1;
        taken = clamped(u, s->threshold);
        *m1 -= taken;
        return u - taken;
    case SOLVER_NESTEROV:
        taken = clamped(u, s->threshold);
        u -= taken;
        *m1 = v_select(V_EQ(u, v_zero()), v_zero(), s->momentum * *m1 - s->rate * g - taken);
        return u + s->momentum * *m1;
    case SOLVER_ADAMW:
    case SOLVER_ADAM:
        if (code == SOLVER_ADAMW)
            w = s->keep * w;
        *m1 = s->b1 * *m1 + s->rest1 * g;
        *m2 = s->b2 * *m2 + s->rest2 * (g * g);
        u = w - s->rate * *m1 / (v_sqrt(*m2) + s->eps);
        return u - clamped(u, s->threshold / (v_sqrt(*m2) + s->eps));
    default:
        return u - clamped(u, s->threshold);
    }
}

/* the new w; m1, m2: the moments, updated */
INLINE vec update_freely(int code, const update_t *s, vec w, vec g, vec *m1, vec *m2)
{
    g = g * s->scale + s->l2 * w;
    if (s->with_l1)
        g += s->l1 * sign_of(w);
    if (s->with_clip)
        g = v_max(-s->clip, v_min(s->clip, g));
    if (s->with_threshold)
        return update_proximal(code, s, w, g, m1, m2);
    switch (code) {
    case SOLVER_MOMENTUM:
        *m1 = s->momentum * *m1 - s->rate * g;
        return w + *m1;
    case SOLVER_NESTEROV:
        *m1 = s->momentum * *m1 - s->rate * g;
        return w + (s->momentum * *m1 - s->rate * g);
    case SOLVER_ADAMW:
    case SOLVER_ADAM:
        if (code == SOLVER_ADAMW)
            w = s->keep * w;
        *m1 = s->b1 * *m1 + s->rest1 * g;
        *m2 = s->b2 * *m2 + s->rest2 * (g * g);
        return w - s->rate * *m1 / (v_sqrt(*m2) + s->eps);
    default:
        return w - s->rate * g;
    }
}

/* the same, not below the floor where there is one */
INLINE vec update_one(int code, const update_t *s, vec w, vec g, vec *m1, vec *m2)
{
    const vec next = update_freely(code, s, w, g, m1, m2);
    return s->with_floor ? v_max(s->floor, next) : next;
}

/* n neighbouring parameters, their gradient and the solver's moments (NULL if it has none) */
typedef struct {
    real *w;
    const real *g;
    real *m1, *m2;
    size_t n;
} slice_t;

/* The slice of a plan's parameters at `at`, with gradient g. */
INLINE slice_t slice_of(const plan_t *p, size_t at, const real *g, size_t n)
{
    const optimizer_t *o = &p->optimizer;
    return (slice_t){(real *)p->net.params + at, g,
                     o->moment_1 ? (real *)o->moment_1 + at : NULL,
                     o->moment_2 ? (real *)o->moment_2 + at : NULL, n};
}

INLINE void update_block(const int code, const update_t *s, const slice_t *x, double sums[2])
{
    real *RESTRICT w = x->w, *RESTRICT m1 = x->m1, *RESTRICT m2 = x->m2;
    const real *RESTRICT g = x->g;
    const size_t n = x->n;
    const int one = moments_of(code) >= 1, two = moments_of(code) >= 2;
    vec squares = v_zero(), sizes = v_zero(), a = v_zero(), b = v_zero();
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vec old = v_load(w + j);
        if (one)
            a = v_load(m1 + j);
        if (two)
            b = v_load(m2 + j);
        if (s->sum_l2)
            squares += old * old;
        if (s->sum_l1)
            sizes += v_abs(old);
        v_store(w + j, update_one(code, s, old, v_load(g + j), &a, &b));
        if (one)
            v_store(m1 + j, a);
        if (two)
            v_store(m2 + j, b);
    }
    if (j < n) {
        const size_t r = n - j;
        const vec old = v_load_n(w + j, r, 0);
        if (one)
            a = v_load_n(m1 + j, r, 0);
        if (two)
            b = v_load_n(m2 + j, r, 0);
        squares += old * old;
        sizes += v_abs(old);
        v_store_n(w + j, update_one(code, s, old, v_load_n(g + j, r, 0), &a, &b), r);
        if (one)
            v_store_n(m1 + j, a, r);
        if (two)
            v_store_n(m2 + j, b, r);
    }
    sums[0] = (double)v_sum(squares);
    sums[1] = (double)v_sum(sizes);
}

/* w ← w − …; Σw², Σ∣w∣ before it into `sums` */
static void update(int code, const update_t *s, const slice_t *x, double sums[2])
{
    switch (code) {
#define X(name, n_moments)                                                                   \
    case SOLVER_##name: update_block(SOLVER_##name, s, x, sums); break;
        SOLVER_LIST(X)
#undef X
    default: break;
    }
}

/* The parameter of a dropped unit after a step: w, or w after its penalties alone. */
INLINE vec update_dropped(const update_t *s, vec w)
{
    const vec u = s->dropped * w;
    return u - (s->with_threshold ? clamped(u, s->dropped_l1) : s->dropped_l1 * sign_of(w));
}

/* The same for the lanes that are kept (1, else 0); the others keep their moments, and w but
 * for the decay of dropped units. */
INLINE void update_kept_case(const int code, const update_t *s, const slice_t *x,
                             const real *kept)
{
    vec a = v_zero(), b = v_zero();
    for (size_t j = 0; j < x->n; j += LANES) {
        const size_t r = min_size(LANES, x->n - j);
        const ivec on = V_LT(v_zero(), v_load_n(kept + j, r, 0));
        const vec old = v_load_n(x->w + j, r, 0);
        vec old_a = v_zero(), old_b = v_zero();
        if (moments_of(code) >= 1)
            a = old_a = v_load_n(x->m1 + j, r, 0);
        if (moments_of(code) >= 2)
            b = old_b = v_load_n(x->m2 + j, r, 0);
        const vec new = update_one(code, s, old, v_load_n(x->g + j, r, 0), &a, &b);
        v_store_n(x->w + j, v_select(on, new, update_dropped(s, old)), r);
        if (moments_of(code) >= 1)
            v_store_n(x->m1 + j, v_select(on, a, old_a), r);
        if (moments_of(code) >= 2)
            v_store_n(x->m2 + j, v_select(on, b, old_b), r);
    }
}

static void update_kept(int code, const update_t *s, const slice_t *x, const real *kept)
{
    switch (code) {
#define X(name, n_moments)                                                                   \
    case SOLVER_##name: update_kept_case(SOLVER_##name, s, x, kept); break;
        SOLVER_LIST(X)
#undef X
    default: break;
    }
}

static void row_sums(const real *w, size_t n, double sums[2])
{
    vec squares = v_zero(), sizes = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const vec x = v_load_n(w + j, min_size(LANES, n - j), 0);
        squares += x * x;
        sizes += v_abs(x);
    }
    sums[0] = (double)v_sum(squares);
    sums[1] = (double)v_sum(sizes);
}

/* Σ (g + penalties)² for clipping by the global norm; kept: NULL or the lanes to count */
static double squared_norm(const update_t *s, const slice_t *x, const real *kept)
{
    const size_t n = x->n;
    vec total = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const size_t r = min_size(LANES, n - j);
        const vec wj = v_load_n(x->w + j, r, 0);
        vec gj = v_load_n(x->g + j, r, 0) + s->l2 * wj + s->l1 * sign_of(wj);
        if (kept)
            gj = i_real(v_bits(gj) & V_LT(v_zero(), v_load_n(kept + j, r, 0)));
        total += gj * gj;
    }
    return (double)v_sum(total);
}

#endif
