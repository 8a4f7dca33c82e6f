/* state.h — the state of an epoch in the per-sample path: the weights, each thread's range of
 * them, and the running value of ‖W‖².
 *
 * W = s V, and weight decay multiplies s alone; before s becomes small it is multiplied into V.
 * During the epoch V is stored strip by strip (rows.h), and layers of few outputs transposed
 * (`vt`, n_out × ld_in): rows of 2 or 10 would waste the vectors.
 *
 * ‖W‖² of the reported loss is updated with each step instead of summed for each sample: with
 * z = Vᵀy already known, ‖V − k y δᵀ‖² = ‖V‖² − 2k z·δ + k²‖y‖²‖δ‖².  The three products are
 * computed strip by strip by the strips' owners, and added up one sample later.
 */
#ifndef MLP_SINGLE_STATE_H
#define MLP_SINGLE_STATE_H

#include "single/delayed.h"

/* Most outputs of a layer that is stored transposed. */
#define NARROW (2 * LANES)
/* s is multiplied into V below this; float32 keeps its 24 bits whatever s is. */
#define SMALLEST_SCALE 1e-12
/* deeper networks are trained as batches of one row */
#define MAX_LAYERS 64

INLINE int is_narrow(const layer_t *layer, size_t l) { return l > 0 && layer->n_out <= NARROW; }

/* Rows of a strip lie a whole number of cache lines apart. */
INLINE size_t strip_ld(size_t n_out) { return min_size(STRIP, round_up(n_out, LINE)); }

/* A strip's terms of ‖V‖². */
typedef struct {
    double yy, zd, dd; /* y·y, z·δ, δ·δ                                                  */
} strip_terms_t;

/* The state that all threads share; its size is a multiple of a cache line: the workspace
 * follows it. */
typedef struct {
    _Alignas(64) plan_t *p;
    real *z[MAX_LAYERS];  /* Vᵀy per layer; of the first for this sample                 */
    real *z_next;         /* and for the next one                                        */
    strips_t v[MAX_LAYERS]; /* wide layers, strip by strip                               */
    real *vt[MAX_LAYERS]; /* narrow layers, transposed; NULL of others                   */
    real *sums[2];        /* (strips × ld_sums) each strip's part of a sum, by turns     */
    size_t ld_sums;
    strip_terms_t *terms[MAX_LAYERS];
    real *own;            /* each thread's buffers: listed rows, packing                 */
    int delays;           /* the first layer's updates (delayed.h)                       */
    delayed_t delayed;
    double s;             /* W = s V                                                     */
    double square;        /* ‖V‖² before the last step,                                  */
    double k;             /* which updated by k y δᵀ (0: already in `square`),           */
    double yy[MAX_LAYERS]; /* with this ‖y‖² at the layers' inputs;                      */
    double folded;        /* V has been multiplied by this since                         */
} state_t;

/* One thread's view of it. */
typedef struct {
    const worker_t *w;
    plan_t *p;
    epoch_t *e;
    state_t *o;
    row_list_t list;
    real *z, *z_next;     /* the first layer's                                           */
    sample_t next;        /* the next sample, if there is one                            */
    run_t run;            /* the delayed run's samples                                   */
    real *pack;
    double s;
    int with_terms;       /* the strips' terms are needed                                */
    double deadline;
    size_t steps;
    range_t own[MAX_LAYERS]; /* units, columns of V                                      */
} view_t;

/* ---- workspace ------------------------------------------------------------------------ */

static size_t widest_input(const network_t *net)
{
    size_t widest = 0;
    for (size_t l = 0; l < net->n_layers; l++)
        if (net->layers[l].n_in > widest)
            widest = net->layers[l].n_in;
    return row_stride(widest + (LANES > AT_ONCE ? LANES : AT_ONCE));
}

static size_t most_strips(const network_t *net)
{
    size_t most = 1;
    for (size_t l = 0; l < net->n_layers; l++)
        if (n_strips(net->layers[l].n_out) > most)
            most = n_strips(net->layers[l].n_out);
    return most;
}

/* Number of threads to use: at most one per strip. */
static size_t state_threads(const network_t *net, size_t wanted)
{
    return min_size(wanted, most_strips(net));
}

/* Whether the first layer is large enough for delayed updates; one lane gains nothing. */
static int may_delay(const network_t *net)
{
    const layer_t *first = &net->layers[0];
    return LANES > 1 && first->n_in > DELAY &&
           first->n_in * first->n_out * sizeof(real) > LEAST_DELAYED;
}

/* A thread's rows, factors, the next sample's factors, and a narrow product's packing. */
static size_t own_size(const network_t *net)
{
    return 3 * widest_input(net) + (may_delay(net) ? NARROW_WIDTH * KC : 0);
}

static size_t copy_size(const layer_t *layer, size_t l)
{
    if (is_narrow(layer, l))
        return layer->n_out * row_stride(layer->n_in);
    return n_strips(layer->n_out) * layer->n_in * strip_ld(layer->n_out);
}

static size_t terms_size(const layer_t *layer)
{
    return round_up(n_strips(layer->n_out) * sizeof(strip_terms_t), 64) / sizeof(real);
}

static size_t delayed_size(const network_t *net)
{
    return may_delay(net) ? 2 * DELAY * net->layers[0].ld : 0;
}

/* Workspace beside the plan's, in reals. */
static size_t state_size(const network_t *net, size_t n_threads)
{
    size_t n = sizeof(state_t) / sizeof(real) + net->layers[0].ld + delayed_size(net);
    n += state_threads(net, n_threads) * own_size(net);
    n += 2 * most_strips(net) * widest_input(net);
    for (size_t l = 0; l < net->n_layers; l++)
        n += net->layers[l].ld + terms_size(&net->layers[l]) + copy_size(&net->layers[l], l);
    return n;
}

static void state_init(state_t *o, plan_t *p, const samples_t *samples)
{
    const network_t *net = &p->net;
    real *scratch = (real *)(o + 1);
    o->p = p;
    o->delays = may_delay(net) && delay_pays(samples, net->n_features);
    o->s = 1;
    o->k = 0;
    o->folded = 1;
    o->square = p->objective.alpha != 0 || p->objective.l2 != 0
                    ? squared_sum(net->params, net->n_weights)
                    : 0;
    o->ld_sums = widest_input(net);
    for (size_t i = 0; i < 2; i++, scratch += most_strips(net) * o->ld_sums)
        o->sums[i] = scratch;
    o->z_next = scratch;
    scratch += net->layers[0].ld;
    for (size_t l = 0; l < net->n_layers; l++) {
        const layer_t *layer = &net->layers[l];
        o->z[l] = scratch;
        scratch += layer->ld;
        o->terms[l] = (strip_terms_t *)scratch;
        scratch += terms_size(layer);
        o->vt[l] = is_narrow(layer, l) ? scratch : NULL;
        o->v[l] = (strips_t){scratch, layer->n_in, strip_ld(layer->n_out)};
        scratch += copy_size(layer, l);
    }
    o->delayed.ld = net->layers[0].ld;
    o->delayed.z = scratch;
    o->delayed.u = scratch + DELAY * o->delayed.ld;
    o->own = scratch + delayed_size(net);
}

static void view_init(view_t *h, state_t *o)
{
    const network_t *net = &h->p->net;
    const size_t width = widest_input(net), threads = h->w->n_threads, tid = h->w->tid;
    real *scratch = o->own + tid * own_size(net);
    h->o = o;
    h->s = o->s;
    h->z = o->z[0];
    h->z_next = o->z_next;
    h->pack = scratch + 3 * width;
    h->list.now = scratch;
    h->list.next = scratch + width;
    h->list.row = (uint32_t *)(scratch + 2 * width);
    for (size_t l = 0; l < net->n_layers; l++) {
        const size_t n = net->layers[l].n_out, strips = n_strips(n);
        /* rounded up: a single strip belongs to thread 0 */
        h->own[l].from = min_size(n, (strips * tid + threads - 1) / threads * STRIP);
        h->own[l].to = min_size(n, (strips * (tid + 1) + threads - 1) / threads * STRIP);
    }
}

/* Stop the epoch if it is time to.  Reading the clock costs as much as a step of a small network,
 * which looks at it less often. */
static void check_clock(view_t *h)
{
    const size_t n = h->p->net.n_weights, mask = n > 20000 ? 0 : n > 1000 ? 15 : 255;
    if ((++h->steps & mask) == 0 && team_seconds() > h->deadline)
        h->e->stop = 1;
}

/* Save thread 0's part of the state, so that the next slice of the epoch resumes from it. */
static void save_view(const view_t *h)
{
    state_t *o = h->o;
    o->s = h->s;
    o->z[0] = h->z;
    o->z_next = h->z_next;
}

INLINE size_t n_own(const view_t *h, size_t l) { return h->own[l].to - h->own[l].from; }

/* Copies this thread's part of W into V, or back. */
static void copy_weights(const view_t *h, int back)
{
    const state_t *o = h->o;
    const network_t *net = &h->p->net;
    for (size_t l = 0; l < net->n_layers; l++) {
        const layer_t *layer = &net->layers[l];
        const size_t ld = row_stride(layer->n_in), n = layer->n_out;
        real *w = (real *)net->params + layer->w;
        if (!o->vt[l]) {
            copy_strips(&o->v[l], w, n, h->own[l], back);
            continue;
        }
        for (size_t i = h->own[l - 1].from; i < h->own[l - 1].to; i++)
            for (size_t q = 0; q < n; q++)
                if (back)
                    w[i * n + q] = o->vt[l][q * ld + i];
                else
                    o->vt[l][q * ld + i] = w[i * n + q];
    }
}

/* ---- ‖V‖² ------------------------------------------------------------------------------ */

/* Apply the change of the last step. */
static void update_square(state_t *o)
{
    const double k = o->k;
    for (size_t l = o->p->net.n_layers; k != 0 && l-- > 0;) {
        double zd = 0, dd = 0;
        for (size_t i = 0; i < n_strips(o->p->net.layers[l].n_out); i++) {
            zd += o->terms[l][i].zd;
            dd += o->terms[l][i].dd;
        }
        o->square += k * (k * o->yy[l] * dd - 2 * zd);
    }
    o->square *= o->folded * o->folded;
    o->folded = 1;
    o->k = 0;
}

static void record_outputs(view_t *h, size_t l)
{
    const real *y = h->p->net.layers[l].y;
    for (size_t j = h->own[l].from; h->with_terms && j < h->own[l].to; j += STRIP) {
        const size_t n = min_size(STRIP, h->own[l].to - j);
        h->o->terms[l][j / STRIP].yy = (double)dot(y + j, y + j, n);
    }
}

static void record_delta(view_t *h, size_t l, const real *z, const real *delta)
{
    for (size_t j = h->own[l].from; h->with_terms && j < h->own[l].to; j += STRIP) {
        const size_t n = min_size(STRIP, h->own[l].to - j);
        strip_terms_t *terms = &h->o->terms[l][j / STRIP];
        terms->zd = (double)dot(z + j, delta + j, n);
        terms->dd = (double)dot(delta + j, delta + j, n);
    }
}

/* ‖y‖² at every layer's input, once all strips of y are known. */
static void record_inputs(state_t *o, const sample_t *x)
{
    const network_t *net = &o->p->net;
    o->yy[0] = (double)dot(x->x, x->x, x->length);
    for (size_t l = 1; l < net->n_layers; l++) {
        o->yy[l] = 0;
        for (size_t i = 0; i < n_strips(net->layers[l - 1].n_out); i++)
            o->yy[l] += o->terms[l - 1][i].yy;
    }
}

/* ‖(y δᵀ, δ)‖ of every layer, of the last step */
static void state_norms(const state_t *o, double *norms)
{
    const network_t *net = &o->p->net;
    for (size_t l = 0; l < net->n_layers; l++) {
        double dd = 0;
        for (size_t i = 0; i < n_strips(net->layers[l].n_out); i++)
            dd += o->terms[l][i].dd;
        norms[l] = sqrt((!net->no_offsets + o->yy[l]) * dd);
    }
}

/* ---- the scale -------------------------------------------------------------------------- */

/* V ← s V, s ← 1 */
static void fold_scale(view_t *h)
{
    state_t *o = h->o;
    const network_t *net = &h->p->net;
    const real s = (real)h->s;
    if (h->s == 1)
        return;
    scaled_row(h->z_next + h->own[0].from, s, h->z_next + h->own[0].from, n_own(h, 0));
    for (size_t t = 0; o->delays && t < DELAY; t++) {
        const size_t at = t * o->delayed.ld + h->own[0].from;
        scaled_row(o->delayed.z + at, s, o->delayed.z + at, n_own(h, 0));
        scaled_row(o->delayed.u + at, s, o->delayed.u + at, n_own(h, 0));
    }
    for (size_t l = 0; l < net->n_layers; l++) {
        const layer_t *layer = &net->layers[l];
        for (size_t q = 0; o->vt[l] && q < layer->n_out; q++) {
            real *row = o->vt[l] + q * row_stride(layer->n_in) + h->own[l - 1].from;
            scaled_row(row, s, row, n_own(h, l - 1));
        }
        for (size_t j = h->own[l].from; !o->vt[l] && j < h->own[l].to; j += STRIP) {
            real *v = strip_of(&o->v[l], j);
            scaled_row(v, s, v, layer->n_in * o->v[l].ld);
        }
    }
    if (h->w->tid == 0)
        o->folded = h->s; /* not into `square`: other threads may still be in this step */
    h->s = 1;
}

#endif
