/* online.h — stochastic gradient descent on single samples [S 65.87, 65.150].
 *
 * One sample's arithmetic is two operations a weight; reading and writing W is what takes the
 * time.  So each weight is read and written once a sample (twice read where a hidden layer
 * needs it forward):
 *
 *   hidden layers   while row i of W passes for d_i = W_i·δ it is updated: W_i −= c y_i δ
 *   first layer     its update with this sample and its product with the next sample's
 *                   inputs are one pass:  W_i −= c x_i δ;  z_next += x_next,i W_i
 *   zeros           a row whose y_i is exactly 0 adds nothing forward, gets no update, and
 *                   under relu sends nothing back: it is not touched at all
 *   decay           W = s V.  (1 − μ(alpha + 2 l2)) multiplies s alone; an update of W by u
 *                   is one of V by u/s.  Before s gets small it is multiplied into V.
 *
 * δ of a layer uses the weights before this step's update [S 65.82].  Layers of few outputs
 * are held transposed for the epoch (`vt`, n_out × ld_in): rows of 2 or 10 would waste the
 * vectors.  The results equal the plain order of operations up to rounding
 * (tests/test_online.py).
 *
 * ‖W‖² of the reported loss is carried along instead of summed anew each sample: with
 * z = Vᵀy already known, ‖V − k y δᵀ‖² = ‖V‖² − 2k z·δ + k²‖y‖²‖δ‖².
 */
#ifndef MLP_ONLINE_H
#define MLP_ONLINE_H

#include "epoch.h"

/* Outputs up to which a layer is held transposed. */
#define NARROW (2 * LANES)
/* s is folded into V below this; float32 keeps its 24 bits whatever s is. */
#define SMALLEST_SCALE 1e-12
/* deeper networks go the way of a batch */
#define MAX_LAYERS 64

/* The smallest factor by which a step decays the weights. */
static double least_decay(const plan_t *p, const data_t *d)
{
    double least = 1;
    if (p->alpha != 0 && d->weights)
        for (size_t i = 0; i < d->n_samples; i++) {
            const double w = weight_of(d, sample_at(d, i));
            least = w > 0 && w < least ? w : least;
        }
    return 1 - p->solver.rate * (p->alpha / least + 2 * p->l2);
}

/* Whether units may sleep. */
static int sleeps(const plan_t *p)
{
    int any = p->drop > 0;
    for (size_t l = 0; l < p->n_layers; l++)
        any = any || p->layers[l].drop > 0;
    return any;
}

/* Can the plan train this way (or that of online_dropout.h)?  Everything else goes the way of a batch of one row. */
static int online_possible(const plan_t *p, const data_t *d, size_t batch_size)
{
    int plain = batch_size == 1 && p->n_layers <= MAX_LAYERS && p->solver.code == SOLVER_SGD &&
                p->l1 == 0 && !p->l2_bias && p->solver.clip_norm == 0 &&
                p->solver.clip_value == 0 && !p->loss.callback && !p->augment &&
                !p->has_norm && p->corrupt == 0 && p->n_ties == 0 &&
                p->layers[0].f.code != ACT_RBF &&
                /* s is to stay away from 0; no sensible rate decays by half a step */
                least_decay(p, d) > 0.5;
    for (size_t l = 0; l < p->n_layers; l++)
        plain = plain && !p->layers[l].frozen && !p->layers[l].edges && !p->layers[l].has_norm && !p->layers[l].residual;
    return plain && !(p->drop_per_sample && sleeps(p));
}

INLINE int is_narrow(const layer_t *layer, size_t l) { return l > 0 && layer->n_out <= NARROW; }

typedef struct {
    size_t length;
    const real *x;        /* values                                                       */
    const int32_t *index; /* their rows of W, or NULL for 0, 1, 2, …                      */
} sample_t;

static sample_t sample_of(const data_t *d, size_t sample, size_t n_features)
{
    if (d->indptr) {
        const int64_t from = d->indptr[sample];
        return (sample_t){(size_t)(d->indptr[sample + 1] - from),
                          (const real *)d->values + from, d->indices + from};
    }
    return (sample_t){n_features, (const real *)d->x + sample * d->ldx, NULL};
}

/* ---- rows of W, four at a time -------------------------------------------------------- */

/* W is larger than the second-level cache, and the rows that are touched are known before
 * they are: while four pass by, the next four are fetched (31 → 26 µs a sample on the 784-512-
 * 512-10 network). */
#define AT_ONCE 4

typedef struct {
    size_t n;       /* rows listed; AT_ONCE more places follow                            */
    uint32_t *row;  /* their indices                                                      */
    real *now;      /* what each is multiplied by                                         */
    real *next;     /* in the first layer: the next sample's input                        */
} row_list_t;

#define FETCH(i) PREFETCH(ahead[i] + j, 1)

/* V_i −= k_i δ and z += next_i V_i */
INLINE void update_and_forward(const size_t rows, real *const *row, real *const *ahead,
                               const real *k, const real *next, const real *RESTRICT delta,
                               real *RESTRICT z, size_t n)
{
    vec kv[AT_ONCE], xv[AT_ONCE];
    for (size_t i = 0; i < rows; i++) {
        kv[i] = v_set1(k[i]);
        xv[i] = v_set1(next[i]);
    }
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vec d = v_load(delta + j);
        vec sum = v_load(z + j);
        for (size_t i = 0; i < rows; i++) {
            FETCH(i);
            const vec v = v_load(row[i] + j) - kv[i] * d;
            v_store(row[i] + j, v);
            sum += xv[i] * v;
        }
        v_store(z + j, sum);
    }
    if (j < n) {
        const size_t m = n - j;
        const vec d = v_load_n(delta + j, m, 0);
        vec sum = v_load(z + j);
        for (size_t i = 0; i < rows; i++) {
            const vec v = v_load_n(row[i] + j, m, 0) - kv[i] * d;
            v_store_n(row[i] + j, v, m);
            sum += xv[i] * v;
        }
        v_store(z + j, sum);
    }
}

/* back_i = V_i·δ, then V_i −= k_i δ */
INLINE void backward_and_update(const size_t rows, real *const *row, real *const *ahead,
                                const real *k, const real *RESTRICT delta, real *back, size_t n)
{
    vec acc[AT_ONCE], kv[AT_ONCE];
    for (size_t i = 0; i < rows; i++) {
        acc[i] = v_zero();
        kv[i] = v_set1(k[i]);
    }
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vec d = v_load(delta + j);
        for (size_t i = 0; i < rows; i++) {
            FETCH(i);
            const vec v = v_load(row[i] + j);
            acc[i] += v * d;
            v_store(row[i] + j, v - kv[i] * d);
        }
    }
    if (j < n) {
        const size_t m = n - j;
        const vec d = v_load_n(delta + j, m, 0);
        for (size_t i = 0; i < rows; i++) {
            const vec v = v_load_n(row[i] + j, m, 0);
            acc[i] += v * d;
            v_store_n(row[i] + j, v - kv[i] * d, m);
        }
    }
    for (size_t i = 0; i < rows; i++)
        back[i] = v_sum(acc[i]);
}

/* z += x_i V_i */
INLINE void forward_rows(const size_t rows, real *const *row, real *const *ahead, const real *x,
                         real *RESTRICT z, size_t n)
{
    vec xv[AT_ONCE];
    for (size_t i = 0; i < rows; i++)
        xv[i] = v_set1(x[i]);
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        vec sum = v_load(z + j);
        for (size_t i = 0; i < rows; i++) {
            FETCH(i);
            sum += xv[i] * v_load(row[i] + j);
        }
        v_store(z + j, sum);
    }
    if (j < n) {
        vec sum = v_load(z + j);
        for (size_t i = 0; i < rows; i++)
            sum += xv[i] * v_load_n(row[i] + j, n - j, 0);
        v_store(z + j, sum);
    }
}

/* Addresses of the listed rows from `at` on; past the end, the last one again. */
INLINE void rows_at(real *v, size_t n, const row_list_t *list, size_t at, real **row)
{
    for (size_t i = 0; i < AT_ONCE; i++)
        row[i] = v + (size_t)list->row[min_size(at + i, list->n - 1)] * n;
}

/* Four by four through the list, then one by one. */
#define FOR_LISTED(list, four, one)                                                          \
    if ((list)->n) {                                                                         \
        real *row[AT_ONCE], *ahead[AT_ONCE];                                                 \
        size_t at = 0;                                                                       \
        for (; at + AT_ONCE <= (list)->n; at += AT_ONCE) {                                   \
            rows_at(v, n, list, at, row);                                                    \
            rows_at(v, n, list, at + AT_ONCE, ahead);                                        \
            four;                                                                            \
        }                                                                                    \
        for (; at < (list)->n; at++) {                                                       \
            rows_at(v, n, list, at, row);                                                    \
            rows_at(v, n, list, at + 1, ahead);                                              \
            one;                                                                             \
        }                                                                                    \
    }

INLINE void clear(real *z, size_t n)
{
    for (size_t j = 0; j < n; j += LANES)
        v_store(z + j, v_zero());
}

/* The rows of a sample that take part: those whose factor is not exactly zero. */
static void list_rows(row_list_t *list, sample_t now, real k, const real *following)
{
    size_t n = 0;
    for (size_t i = 0; i < now.length; i++) {
        list->row[n] = now.index ? (uint32_t)now.index[i] : (uint32_t)i;
        list->now[n] = k * now.x[i];
        if (following)
            list->next[n] = following[i];
        n += now.x[i] != 0 || (following && following[i] != 0);
    }
    list->n = n;
}

/* z = Σ x_i V_i over the rows with x_i ≠ 0 */
static void online_forward(real *v, size_t n, sample_t s, row_list_t *list, real *z)
{
    clear(z, n);
    list_rows(list, s, 1, NULL);
    FOR_LISTED(list, forward_rows(AT_ONCE, row, ahead, list->now + at, z, n),
               forward_rows(1, row, ahead, list->now + at, z, n))
}

/* V_i −= k x_i δ for the rows of a sample with x_i ≠ 0, and z_next for a dense next sample */
static void first_layer(real *v, size_t n, sample_t now, const sample_t *next, real k,
                        const real *delta, row_list_t *list, real *z)
{
    const int fused = next && !now.index && !next->index;
    clear(z, n);
    list_rows(list, now, k, fused ? next->x : NULL);
    if (!fused)
        memset(list->next, 0, list->n * sizeof(real));
    FOR_LISTED(list,
               update_and_forward(AT_ONCE, row, ahead, list->now + at, list->next + at, delta, z,
                                  n),
               update_and_forward(1, row, ahead, list->now + at, list->next + at, delta, z, n))
    if (next && !fused)
        online_forward(v, n, *next, list, z);
}

/* A layer in the middle: back (n_in) = V δ ⊙ f′ and the update, zero rows of relu skipped. */
static void middle_layer(real *v, size_t n_in, size_t n, const real *y, int skip_zeros, real k,
                         const real *delta, row_list_t *list, real *back)
{
    size_t listed = 0;
    for (size_t i = 0; i < n_in; i++) {
        list->row[listed] = (uint32_t)i;
        list->now[listed] = k * y[i];
        listed += y[i] != 0 || !skip_zeros;
    }
    list->n = listed;
    /* the products wait in `next` */
    FOR_LISTED(list,
               backward_and_update(AT_ONCE, row, ahead, list->now + at, delta, list->next + at,
                                   n),
               backward_and_update(1, row, ahead, list->now + at, delta, list->next + at, n))
    memset(back, 0, n_in * sizeof(real));
    for (size_t i = 0; i < listed; i++)
        back[list->row[i]] = list->next[i];
}

/* ---- narrow layers, transposed -------------------------------------------------------- */

static void narrow_backward(real *vt, size_t ld, size_t n_in, size_t n, const real *y, real k,
                            const real *delta, real *back)
{
    for (size_t j = 0; j < n_in; j += LANES) {
        const size_t m = min_size(LANES, n_in - j);
        const vec yj = v_load_n(y + j, m, 0);
        vec sum = v_zero();
        for (size_t q = 0; q < n; q++) {
            const vec v = v_load(vt + q * ld + j);
            sum += v_set1(delta[q]) * v;
            v_store(vt + q * ld + j, v - v_set1(k * delta[q]) * yj);
        }
        v_store(back + j, sum);
    }
}

/* ---- one layer's bookkeeping ---------------------------------------------------------- */

INLINE real dot(const real *a, const real *b, size_t n)
{
    vec sum = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        sum += v_load_n(a + j, m, 0) * v_load_n(b + j, m, 0);
    }
    return v_sum(sum);
}

static double squared_sum(const real *w, size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n; i += BLOCK)
        total += (double)dot(w + i, w + i, min_size(BLOCK, n - i));
    return total;
}

static void scale_all(real *w, real s, size_t n)
{
    const vec f = v_set1(s);
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        v_store_n(w + j, f * v_load_n(w + j, m, 0), m);
    }
}

/* its size is a multiple of a cache line: workspace follows it */
typedef struct {
    _Alignas(64) plan_t *p;
    real *z[MAX_LAYERS];  /* Vᵀy per layer                                               */
    real *z_next;         /* Vᵀx of the first layer for the next sample                  */
    real *vt[MAX_LAYERS]; /* the transposed copy of a narrow layer, or NULL              */
    row_list_t list;      /* room for the rows that take part                            */
    double s;             /* W = s V                                                     */
    double square;        /* ‖V‖²                                                        */
    int with_square;      /* the loss wants it                                           */
    double *norms;        /* this sample's gradient norms go here, or NULL               */
} online_t;

/* Workspace beside the plan's, in reals: the state, Vᵀy of every layer, the first layer's twice (this
 * sample's and the next one's), and the transposed narrow layers. */
static size_t widest_input(const plan_t *p)
{
    size_t widest = 0;
    for (size_t l = 0; l < p->n_layers; l++)
        if (p->layers[l].n_in > widest)
            widest = p->layers[l].n_in;
    return row_stride(widest + AT_ONCE);
}

static size_t online_size(const plan_t *p)
{
    size_t n = 3 * widest_input(p) + sizeof(online_t) / sizeof(real) + p->layers[0].ld;
    for (size_t l = 0; l < p->n_layers; l++) {
        n += p->layers[l].ld;
        if (is_narrow(&p->layers[l], l))
            n += p->layers[l].n_out * row_stride(p->layers[l].n_in);
    }
    return n;
}

static void online_begin(online_t *o, plan_t *p, real *scratch)
{
    o->p = p;
    o->s = 1;
    o->with_square = p->alpha != 0 || p->l2 != 0;
    o->square = o->with_square ? squared_sum(p->params, p->n_weights) : 0;
    o->list.now = scratch;
    o->list.next = scratch + widest_input(p);
    o->list.row = (uint32_t *)(scratch + 2 * widest_input(p));
    scratch += 3 * widest_input(p);
    o->z_next = scratch;
    scratch += p->layers[0].ld;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        const real *w = (const real *)p->params + layer->w;
        const size_t ld = row_stride(layer->n_in);
        o->z[l] = scratch;
        scratch += layer->ld;
        o->vt[l] = NULL;
        if (!is_narrow(layer, l))
            continue;
        o->vt[l] = scratch;
        scratch += layer->n_out * ld;
        memset(o->vt[l], 0, layer->n_out * ld * sizeof(real));
        for (size_t i = 0; i < layer->n_in; i++)
            for (size_t q = 0; q < layer->n_out; q++)
                o->vt[l][q * ld + i] = w[i * layer->n_out + q];
    }
}

/* V ← s V, s ← 1 */
static void fold_scale(online_t *o)
{
    const plan_t *p = o->p;
    const real s = (real)o->s;
    if (o->s == 1)
        return;
    scale_all(p->params, s, p->n_weights);
    scale_all(o->z_next, s, p->layers[0].n_out);
    for (size_t l = 1; l < p->n_layers; l++)
        if (o->vt[l])
            scale_all(o->vt[l], s, p->layers[l].n_out * row_stride(p->layers[l].n_in));
    o->square *= o->s * o->s;
    o->s = 1;
}

static void online_end(online_t *o)
{
    fold_scale(o);
    for (size_t l = 1; l < o->p->n_layers; l++) {
        const layer_t *layer = &o->p->layers[l];
        real *w = (real *)o->p->params + layer->w;
        const size_t ld = row_stride(layer->n_in);
        if (!o->vt[l])
            continue;
        for (size_t i = 0; i < layer->n_in; i++)
            for (size_t q = 0; q < layer->n_out; q++)
                w[i * layer->n_out + q] = o->vt[l][q * ld + i];
    }
}

/* ---- the sample ----------------------------------------------------------------------- */

/* y_{l+1} = f(s z + b) */
static void online_activate(const online_t *o, size_t l)
{
    const layer_t *layer = &o->p->layers[l];
    const activation_t f = layer_activation(o->p, l, 1);
    const real *b = (const real *)o->p->params + layer->b;
    real *y = layer->y;
    const vec s = v_set1((real)o->s);
    for (size_t j = 0; j < layer->n_out; j += LANES)
        v_store(y + j, s * v_load(o->z[l] + j) +
                           v_load_n(b + j, min_size(LANES, layer->n_out - j), 0));
    activation_forward(&f, y, layer->s, 0, 1, round_up(layer->n_out, LANES), 0);
}

static double online_forward_all(online_t *o)
{
    plan_t *p = o->p;
    const layer_t *top = &p->layers[p->n_layers - 1];
    online_activate(o, 0);
    for (size_t l = 1; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        const real *y = p->layers[l - 1].y;
        if (o->vt[l])
            matrix_times_row(o->z[l], o->vt[l], row_stride(layer->n_in), layer->n_out, y,
                             layer->n_in);
        else
            online_forward((real *)p->params + layer->w, layer->n_out,
                           (sample_t){layer->n_in, y, NULL}, &o->list, o->z[l]);
        online_activate(o, l);
    }
    return loss_row(&p->loss, &top->f, top->y, top->s, p->t, p->delta[0], p->n_outputs);
}

/* ‖V − k y δᵀ‖² from what is known */
INLINE void carry_square(online_t *o, size_t l, const real *y, size_t n_in, const real *delta,
                         double k)
{
    const size_t n = o->p->layers[l].n_out;
    if (o->with_square)
        o->square += k * (k * (double)dot(y, y, n_in) * (double)dot(delta, delta, n) -
                          2 * (double)dot(o->z[l], delta, n));
}

/* ‖(y δᵀ, δ)‖, where it is asked for */
INLINE void note_norm(const online_t *o, size_t l, const real *y, size_t n, const real *delta)
{
    if (o->norms)
        o->norms[l] = sqrt((1 + (double)dot(y, y, n)) *
                           (double)dot(delta, delta, o->p->layers[l].n_out));
}

/* Backward and update of all layers but the first; returns δ_1. */
static const real *online_backward(online_t *o, double rate, double k)
{
    plan_t *p = o->p;
    real *above = p->delta[0], *below = p->delta[1];
    for (size_t l = p->n_layers - 1; l > 0; l--) {
        const layer_t *layer = &p->layers[l], *under = &p->layers[l - 1];
        const int relu = !under->f.n_kinds && under->f.code == ACT_RELU;
        if (o->vt[l])
            narrow_backward(o->vt[l], row_stride(layer->n_in), layer->n_in, layer->n_out,
                            under->y, (real)k, above, below);
        else
            middle_layer((real *)p->params + layer->w, layer->n_in, layer->n_out, under->y,
                         relu, (real)k, above, &o->list, below);
        carry_square(o, l, under->y, layer->n_in, above, k);
        note_norm(o, l, under->y, layer->n_in, above);
        add_scaled((real *)p->params + layer->b, (real)-rate, above, layer->n_out);
        if (o->s != 1)
            scale_all(below, (real)o->s, under->n_out);
        activation_backward(&under->f, below, under->s, 0, 1, round_up(under->n_out, LANES), 0);
        real *t = above;
        above = below;
        below = t;
    }
    return above;
}

static double input_square(const sample_t *s) { return (double)dot(s->x, s->x, s->length); }

/* One step with `now`, whose Vᵀx is at z_next; leaves the next sample's there.  Returns the
 * loss with penalties. */
static double online_step(online_t *o, sample_t now, const sample_t *next, double weight)
{
    plan_t *p = o->p;
    const layer_t *first = &p->layers[0];
    const double rate = p->solver.rate;
    real *z = o->z[0];
    o->z[0] = o->z_next;
    o->z_next = z;

    const double loss = online_forward_all(o) * p->loss.value_scale;
    const double penalty = (p->alpha / 2 / weight + p->l2) * o->s * o->s * o->square;
    const double decay = 1 - rate * (p->alpha / weight + 2 * p->l2);
    const double s = o->s * decay, k = rate / s;
    const real *delta = online_backward(o, rate, k);
    if (o->with_square) {
        const size_t n = first->n_out;
        o->square += k * (k * input_square(&now) * (double)dot(delta, delta, n) -
                          2 * (double)dot(o->z[0], delta, n));
    }
    note_norm(o, 0, now.x, now.length, delta);
    add_scaled((real *)p->params + first->b, (real)-rate, delta, first->n_out);
    first_layer((real *)p->params + first->w, first->n_out, now, next, (real)k, delta,
                &o->list, o->z_next);
    o->s = s;
    if (fabs(s) < SMALLEST_SCALE)
        fold_scale(o);
    return loss + penalty;
}

/* The state lies at the head of the plan's workspace for single samples, for as long as the
 * epoch: were s folded whenever the epoch is left to look for signals, the bits would depend
 * on the clock. */
static void online_epoch(plan_t *p, const data_t *d, epoch_t *e)
{
    online_t *o = p->online;
    real *first_w = (real *)p->params + p->layers[0].w;
    const size_t n_first = p->layers[0].n_out;
    const double deadline = team_seconds() + e->seconds;
    /* reading the clock costs as much as a small network's step */
    const size_t clock_mask = p->n_weights > 20000 ? 0 : p->n_weights > 1000 ? 15 : 255;
    size_t i = e->position;
    if (e->abandon) {
        online_end(o);
        return;
    }
    sample_t now = sample_of(d, sample_at(d, i), p->n_features), next = now;
    if (i == 0) {
        online_begin(o, p, (real *)(o + 1));
        online_forward(first_w, n_first, now, &o->list, o->z_next);
    }
    while (i < d->n_samples && !e->stop) {
        const size_t sample = sample_at(d, i);
        const double weight = d->weights ? ((const real *)d->weights)[sample] : 1;
        const int more = i + 1 < d->n_samples;
        if (more)
            next = sample_of(d, sample_at(d, i + 1), p->n_features);
        if (weight > 0) {
            gather_target(p, d, sample, p->t);
            o->norms = more ? NULL : e->gradient_norms;
            e->loss += online_step(o, now, more ? &next : NULL, weight);
            p->solver.t++;
        } else if (more) {
            online_forward(first_w, n_first, next, &o->list, o->z_next);
        }
        now = next;
        i++;
        if ((i & clock_mask) == 0 && team_seconds() > deadline)
            e->stop = 1;
    }
    if (i == d->n_samples)
        online_end(o);
    e->position = i;
}

#endif
