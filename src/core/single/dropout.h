/* dropout.h — single samples through a network of which some units sleep [S 65.124].
 *
 * The thinned network of one sample would cost more to gather than to train, so its rows are
 * used where they lie: a sleeping input's row of W is not touched, and across an awake one δ is
 * 0 where the output sleeps.  A weight between two units that are awake decays, and no other:
 *   W_ij ← (1 − μ(alpha + 2 l2) a_j) W_ij − μ y_i δ_j  for the awake i.
 * With drop_decays_all every weight does: W = s V, the decay multiplies s alone, and an update
 * of W by u is one of V by u/s, as in single.h; otherwise s = 1.
 * Where what is kept is scaled up, y_i stands for y_i/(1−p), and what comes back is scaled too.
 *
 * ‖W‖² of the reported loss is the sum of the rows' squares; a row that is updated brings its
 * new one along.  784-512-512-10, float32, p = 0.1, 0.5, 0.5: gathered 290 µs a sample, so 58.
 */
#ifndef MLP_SINGLE_DROPOUT_H
#define MLP_SINGLE_DROPOUT_H

#include "single/single.h"

/* its size is a multiple of a cache line: workspace follows it */
typedef struct {
    _Alignas(64) plan_t *p;
    real *awake[MAX_LAYERS + 1]; /* inputs first: 1 awake, 0 asleep                        */
    real *hold;                  /* what the weights into each unit are multiplied by      */
    real *x;                     /* a sample's inputs, where they are stored entries       */
    real *z, *squares;
    row_list_t list;
    double *row_square;          /* ‖·‖² of each row of each W                             */
    double square;               /* their sum                                              */
    double s;                    /* W = s V; the rows above are V's                        */
    double rate;                 /* this step's                                            */
    double *norms;               /* this sample's gradient norms go here, or NULL          */
} masked_t;

static size_t rows_of_all(const plan_t *p)
{
    size_t n = 0;
    for (size_t l = 0; l < p->n_layers; l++)
        n += p->layers[l].n_in;
    return n;
}

static size_t widest_unit(const plan_t *p)
{
    const size_t in = widest_input(p), out = p->layers[p->n_layers - 1].ld;
    return in > out ? in : out;
}

static size_t masked_size(const plan_t *p)
{
    return sizeof(masked_t) / sizeof(real) + (p->n_layers + 1 + 7) * widest_unit(p) +
           round_up(rows_of_all(p) * sizeof(double) / sizeof(real), LANES) + LANES;
}

static void masked_begin(masked_t *o, plan_t *p, real *scratch)
{
    const size_t width = widest_unit(p);
    o->p = p;
    for (size_t l = 0; l <= p->n_layers; l++, scratch += width) {
        o->awake[l] = scratch;
        memset(scratch, 0, width * sizeof(real));
    }
    o->hold = scratch;
    o->x = scratch + width;
    o->z = scratch + 2 * width;
    o->squares = scratch + 3 * width;
    o->list.now = scratch + 4 * width;
    o->list.next = scratch + 5 * width;
    o->list.row = (uint32_t *)(scratch + 6 * width);
    o->row_square = (double *)(scratch + 7 * width);
    o->square = 0;
    o->s = 1;
    double *square = o->row_square;
    for (size_t l = 0; l < p->n_layers; l++)
        for (size_t i = 0; i < p->layers[l].n_in; i++, square++) {
            const real *row =
                (const real *)p->params + p->layers[l].w + i * p->layers[l].n_out;
            *square = (double)dot(row, row, p->layers[l].n_out);
            o->square += *square;
        }
}

/* back_i = V_i·δ, then V_i ← hold ⊙ V_i − k_i δ, and its new square */
INLINE void masked_update(const size_t rows, real *const *row, real *const *ahead, const real *k,
                          const real *RESTRICT delta, const real *RESTRICT hold, real *back,
                          real *squares, size_t n)
{
    vec acc[AT_ONCE], sum[AT_ONCE], kv[AT_ONCE];
    for (size_t i = 0; i < rows; i++) {
        acc[i] = sum[i] = v_zero();
        kv[i] = v_set1(k[i]);
    }
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vec d = v_load(delta + j), h = v_load(hold + j);
        for (size_t i = 0; i < rows; i++) {
            FETCH(i);
            const vec v = v_load(row[i] + j), w = h * v - kv[i] * d;
            acc[i] += v * d;
            sum[i] += w * w;
            v_store(row[i] + j, w);
        }
    }
    if (j < n) {
        const size_t m = n - j;
        const vec d = v_load_n(delta + j, m, 0), h = v_load_n(hold + j, m, 0);
        for (size_t i = 0; i < rows; i++) {
            const vec v = v_load_n(row[i] + j, m, 0), w = h * v - kv[i] * d;
            acc[i] += v * d;
            sum[i] += w * w;
            v_store_n(row[i] + j, w, m);
        }
    }
    for (size_t i = 0; i < rows; i++) {
        back[i] = v_sum(acc[i]);
        squares[i] = v_sum(sum[i]);
    }
}

/* The awake inputs of layer l as rows, with k y_i; those of 0 only if `zeros`. */
static void list_awake(masked_t *o, size_t l, const real *y, real k, int zeros)
{
    const sample_t s = {o->p->layers[l].n_in, y, NULL};
    list_rows(&o->list, s, k, NULL, o->awake[l], zeros);
}

/* ‖(y δᵀ, δ)‖ of what is awake, where it is asked for */
static void masked_norm(const masked_t *o, size_t l, const real *y, const real *delta)
{
    const layer_t *layer = &o->p->layers[l];
    const double scale = (double)kept_scale(o->p, l);
    double square = 0;
    for (size_t i = 0; o->norms && i < layer->n_in; i++)
        square += o->awake[l][i] != 0 ? scale * y[i] * scale * y[i] : 0;
    if (o->norms)
        o->norms[l] = sqrt((!o->p->no_offsets + square) * (double)dot(delta, delta, layer->n_out));
}

/* Layer l backwards and its update, of V by k y δᵀ; `below` may be NULL. */
static void masked_backward(masked_t *o, size_t l, const real *y, const real *delta, real *below,
                            double k, double decay)
{
    plan_t *p = o->p;
    const layer_t *layer = &p->layers[l];
    const real scale = kept_scale(p, l);
    const size_t n = layer->n_out, ld = layer->ld;
    real *v = (real *)p->params + layer->w;
    double *square = o->row_square;
    masked_norm(o, l, y, delta);
    for (size_t m = 0; m < l; m++)
        square += p->layers[m].n_in;
    for (size_t j = 0; j < ld; j += LANES)
        v_store(o->hold + j, v_set1(1) - v_set1((real)decay) * v_load(o->awake[l + 1] + j));
    const activation_t *under = l ? &p->layers[l - 1].f : NULL;
    const int relu = under && !under->n_kinds && under->code == ACT_RELU;
    list_awake(o, l, y, (real)k * scale, decay != 0 || !(l == 0 || relu));
    row_list_t *list = &o->list;
    FOR_LISTED(list, v, n,
               masked_update(AT_ONCE, row, ahead, list->now + at, delta, o->hold,
                             list->next + at, o->squares + at, n),
               masked_update(1, row, ahead, list->now + at, delta, o->hold, list->next + at,
                             o->squares + at, n))
    for (size_t i = 0; i < list->n; i++) {
        o->square += (double)o->squares[i] - square[list->row[i]];
        square[list->row[i]] = (double)o->squares[i];
    }
    if (!p->no_offsets)
        add_scaled((real *)p->params + layer->b, (real)-o->rate, delta, n);
    if (below) {
        memset(below, 0, round_up(layer->n_in, LANES) * sizeof(real));
        for (size_t i = 0; i < list->n; i++)
            below[list->row[i]] = scale * (real)o->s * list->next[i];
    }
}

/* y_{l+1} = a ⊙ f(z + b) from the awake inputs */
static void masked_forward(masked_t *o, size_t l, const real *x)
{
    plan_t *p = o->p;
    const layer_t *layer = &p->layers[l];
    const activation_t f = layer_activation(p, l, 1);
    const real *b = (const real *)p->params + layer->b;
    const size_t n = layer->n_out;
    real *v = (real *)p->params + layer->w, *y = layer->y, *z = o->z;
    row_list_t *list = &o->list;
    list_awake(o, l, x, kept_scale(p, l) * (real)o->s, 0);
    clear(z, n);
    FOR_LISTED(list, v, n, forward_rows(AT_ONCE, row, ahead, list->now + at, z, n),
               forward_rows(1, row, ahead, list->now + at, z, n))
    for (size_t j = 0; j < n; j += LANES)
        v_store(y + j, v_load(z + j) + v_load_n(b + j, min_size(LANES, n - j), 0));
    activation_forward(&f, y, layer->s, 0, 1, round_up(n, LANES), 0);
    if (l + 1 < p->n_layers)
        for (size_t j = 0; j < n; j += LANES)
            v_store(y + j, v_load(y + j) * v_load(o->awake[l + 1] + j));
}

static void draw_awake(masked_t *o, size_t batch)
{
    const plan_t *p = o->p;
    for (size_t layer = 0; layer <= p->n_layers; layer++) {
        const size_t n = layer ? p->layers[layer - 1].n_out : p->n_features;
        const double drop = layer ? p->layers[layer - 1].drop : p->drop;
        const uint64_t key = mask_key(p->seed, batch, layer);
        for (size_t j = 0; j < n; j++)
            o->awake[layer][j] = drop == 0 || is_kept(key, j, drop) ? 1 : 0;
    }
}

/* W ← s V, s ← 1 */
static void masked_fold(masked_t *o)
{
    real *w = o->p->params;
    if (o->s == 1)
        return;
    scaled_row(w, (real)o->s, w, o->p->n_weights);
    for (size_t i = 0; i < rows_of_all(o->p); i++)
        o->row_square[i] *= o->s * o->s;
    o->square *= o->s * o->s;
    o->s = 1;
}

static double masked_step(masked_t *o, const real *x, size_t batch, double rate, double weight)
{
    plan_t *p = o->p;
    const layer_t *top = &p->layers[p->n_layers - 1];
    const double decay = rate * (p->alpha / weight + 2 * p->l2);
    const double s = p->drop_decays_all ? o->s * (1 - decay) : 1, k = rate / s;
    const double of_kept = p->drop_decays_all ? 0 : decay;
    const double penalty = (p->alpha / 2 / weight + p->l2) * o->s * o->s * o->square;
    o->rate = rate;
    draw_awake(o, batch);
    masked_forward(o, 0, x);
    for (size_t l = 1; l < p->n_layers; l++)
        masked_forward(o, l, p->layers[l - 1].y);
    real *above = p->delta[0], *below = p->delta[1];
    const double loss = loss_row(&p->loss, &top->f, top->y, top->s, p->t, above, p->n_outputs);
    for (size_t l = p->n_layers - 1; l > 0; l--) {
        const layer_t *under = &p->layers[l - 1];
        masked_backward(o, l, under->y, above, below, k, of_kept);
        activation_backward(&under->f, below, under->s, 0, 1, round_up(under->n_out, LANES), 0);
        for (size_t j = 0; j < under->n_out; j += LANES)
            v_store(below + j, v_load(below + j) * v_load(o->awake[l] + j));
        real *t = above;
        above = below;
        below = t;
    }
    masked_backward(o, 0, x, above, NULL, k, of_kept);
    o->s = s;
    if (s < SMALLEST_SCALE)
        masked_fold(o);
    return loss * p->loss.value_scale + penalty;
}

static void masked_epoch(plan_t *p, const data_t *d, epoch_t *e)
{
    masked_t *o = p->single;
    const double deadline = team_seconds() + e->seconds;
    size_t i = e->position;
    if (e->abandon) {
        masked_fold(o);
        return;
    }
    if (i == 0)
        masked_begin(o, p, (real *)(o + 1));
    for (; i < d->n_samples && !e->stop; i++) {
        const size_t sample = sample_at(d, i);
        const double weight = weight_of(d, sample);
        const real *x = d->indptr ? o->x : (const real *)d->x + sample * d->ldx;
        if (weight > 0) {
            if (d->indptr)
                scatter_row(d, sample, o->x, p->n_features);
            gather_target(p, d, sample, p->t);
            o->norms = i + 1 < d->n_samples ? NULL : e->gradient_norms;
            e->loss += masked_step(o, x, i, rate_of(e, p->solver.t++), weight);
        }
        if (team_seconds() > deadline)
            e->stop = 1;
    }
    if (i == d->n_samples)
        masked_fold(o);
    e->position = i;
}

#endif
