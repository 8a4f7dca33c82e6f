/* state.h — what an epoch of single samples keeps: the weights as they are held, the
 * threads' shares of them, and what is known of them without looking.
 *
 * W = s V, and decay multiplies s alone; before s gets small it is multiplied into V.  For the
 * epoch V is held strip by strip (rows.h), and layers of few outputs transposed (`vt`,
 * n_out × ld_in): rows of 2 or 10 would waste the vectors.
 *
 * ‖W‖² of the reported loss is carried along instead of summed anew each sample: with
 * z = Vᵀy already known, ‖V − k y δᵀ‖² = ‖V‖² − 2k z·δ + k²‖y‖²‖δ‖².  The three products are
 * taken strip by strip by the strips' owners, and added up one sample later.
 */
#ifndef MLP_SINGLE_STATE_H
#define MLP_SINGLE_STATE_H

#include "single/delayed.h"

/* Outputs up to which a layer is held transposed. */
#define NARROW (2 * LANES)
/* s is folded into V below this; float32 keeps its 24 bits whatever s is. */
#define SMALLEST_SCALE 1e-12
/* deeper networks go the way of a batch */
#define MAX_LAYERS 64

INLINE int is_narrow(const layer_t *layer, size_t l) { return l > 0 && layer->n_out <= NARROW; }

/* Rows of a strip lie a whole number of cache lines apart. */
INLINE size_t held_ld(size_t n_out)
{
    return min_size(STRIP, round_up(n_out, LINE));
}

/* What of a strip goes into ‖V‖². */
typedef struct {
    double yy, zd, dd; /* y·y, z·δ, δ·δ                                                  */
} strip_t;

/* What all threads share; its size is a multiple of a cache line: workspace follows it. */
typedef struct {
    _Alignas(64) plan_t *p;
    real *z[MAX_LAYERS];  /* Vᵀy per layer, of the first this sample's                   */
    real *z_next;         /* and the next one's                                          */
    held_t v[MAX_LAYERS]; /* wide layers, strip by strip                                 */
    real *vt[MAX_LAYERS]; /* narrow layers, transposed; NULL of others                   */
    real *sums[2];        /* (strips × ld_sums) each strip's part of a sum, by turns     */
    size_t ld_sums;
    strip_t *strips[MAX_LAYERS];
    real *rooms;          /* each thread's: the rows that take part, packing             */
    int delays;           /* the first layer's updates (delayed.h)                */
    delayed_t run;
    double s;             /* W = s V                                                     */
    double square;        /* ‖V‖² before the last step,                                  */
    double k;             /* which updated by k y δᵀ (0: settled),                       */
    double yy[MAX_LAYERS]; /* with this ‖y‖² at the layers' inputs;                      */
    double folded;        /* V has been multiplied by this since                         */
} online_t;

/* A thread's view of it. */
typedef struct {
    online_t *o;
    size_t tid;
    row_list_t list;
    real *z, *z_next;     /* the first layer's                                           */
    const real *x[DELAY]; /* the run's samples                                           */
    real *pack;
    double s;
    int with_strips;      /* their products are wanted                                   */
    size_t steps;
    struct {
        size_t from, to;  /* units, columns of V                                         */
    } own[MAX_LAYERS];
} hand_t;

/* ---- workspace ------------------------------------------------------------------------ */

static size_t widest_input(const plan_t *p)
{
    size_t widest = 0;
    for (size_t l = 0; l < p->n_layers; l++)
        if (p->layers[l].n_in > widest)
            widest = p->layers[l].n_in;
    return row_stride(widest + (LANES > AT_ONCE ? LANES : AT_ONCE));
}

static size_t most_strips(const plan_t *p)
{
    size_t most = 1;
    for (size_t l = 0; l < p->n_layers; l++)
        if (n_strips(p->layers[l].n_out) > most)
            most = n_strips(p->layers[l].n_out);
    return most;
}

/* Threads that find something to do, if so many are wanted. */
static size_t online_threads(const plan_t *p, size_t wanted)
{
    return min_size(wanted, most_strips(p));
}

/* Whether the first layer is large enough for delayed updates; one lane gains nothing. */
static int may_delay(const plan_t *p)
{
    return LANES > 1 && p->layers[0].n_in > DELAY &&
           p->layers[0].n_in * p->layers[0].n_out * sizeof(real) > LEAST_DELAYED;
}

/* A thread's rows, factors, the next sample's factors, and what a product of few columns packs */
static size_t room_size(const plan_t *p)
{
    return 3 * widest_input(p) + (may_delay(p) ? FEW * KC : 0);
}

static size_t held_size(const plan_t *p, size_t l)
{
    const layer_t *layer = &p->layers[l];
    if (is_narrow(layer, l))
        return layer->n_out * row_stride(layer->n_in);
    return n_strips(layer->n_out) * layer->n_in * held_ld(layer->n_out);
}

static size_t run_size(const plan_t *p) { return may_delay(p) ? 2 * DELAY * p->layers[0].ld : 0; }

/* Workspace beside the plan's, in reals. */
static size_t online_size(const plan_t *p, size_t n_threads)
{
    size_t n = sizeof(online_t) / sizeof(real) + p->layers[0].ld + run_size(p);
    n += online_threads(p, n_threads) * room_size(p) + 2 * most_strips(p) * widest_input(p);
    for (size_t l = 0; l < p->n_layers; l++) {
        n += p->layers[l].ld;
        n += round_up(n_strips(p->layers[l].n_out) * sizeof(strip_t), 64) / sizeof(real);
        n += held_size(p, l);
    }
    return n;
}

static void online_begin(online_t *o, plan_t *p, const data_t *d, real *scratch)
{
    o->p = p;
    o->delays = may_delay(p) && delay_pays(d, p->n_features);
    o->s = 1;
    o->k = 0;
    o->folded = 1;
    o->square = p->alpha != 0 || p->l2 != 0 ? squared_sum(p->params, p->n_weights) : 0;
    o->ld_sums = widest_input(p);
    for (size_t i = 0; i < 2; i++, scratch += most_strips(p) * o->ld_sums)
        o->sums[i] = scratch;
    o->z_next = scratch;
    scratch += p->layers[0].ld;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        o->z[l] = scratch;
        scratch += layer->ld;
        o->strips[l] = (strip_t *)scratch;
        scratch += round_up(n_strips(layer->n_out) * sizeof(strip_t), 64) / sizeof(real);
        o->vt[l] = is_narrow(layer, l) ? scratch : NULL;
        o->v[l] = (held_t){scratch, layer->n_in, held_ld(layer->n_out)};
        scratch += held_size(p, l);
    }
    o->run.ld = p->layers[0].ld;
    o->run.z = scratch;
    o->run.u = scratch + DELAY * o->run.ld;
    o->rooms = scratch + run_size(p);
}

static void hand_begin(hand_t *h, online_t *o, size_t tid)
{
    const plan_t *p = o->p;
    const size_t room = widest_input(p);
    real *scratch = o->rooms + tid * room_size(p);
    h->o = o;
    h->tid = tid;
    h->s = o->s;
    h->steps = 0;
    h->z = o->z[0];
    h->z_next = o->z_next;
    h->pack = scratch + 3 * room;
    h->list.now = scratch;
    h->list.next = scratch + room;
    h->list.row = (uint32_t *)(scratch + 2 * room);
    for (size_t l = 0; l < p->n_layers; l++) {
        const size_t n = p->layers[l].n_out, strips = n_strips(n), threads = p->n_threads;
        /* rounded up: a single strip is the first thread's */
        h->own[l].from = min_size(n, (strips * tid + threads - 1) / threads * STRIP);
        h->own[l].to = min_size(n, (strips * (tid + 1) + threads - 1) / threads * STRIP);
    }
}

/* What is the first thread's: the next one goes on where it stopped. */
static void hand_back(const hand_t *h)
{
    online_t *o = h->o;
    o->s = h->s;
    o->z[0] = h->z;
    o->z_next = h->z_next;
}

INLINE size_t owned(const hand_t *h, size_t l) { return h->own[l].to - h->own[l].from; }

/* My part of W, into V as it is held, or back */
static void hand_over(const hand_t *h, int back)
{
    const online_t *o = h->o;
    for (size_t l = 0; l < o->p->n_layers; l++) {
        const layer_t *layer = &o->p->layers[l];
        const size_t ld = row_stride(layer->n_in), n = layer->n_out;
        real *w = (real *)o->p->params + layer->w;
        if (!o->vt[l]) {
            hold(&o->v[l], w, n, h->own[l].from, h->own[l].to, back);
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

/* The last step's change of it. */
static void settle_square(online_t *o)
{
    const double k = o->k;
    for (size_t l = o->p->n_layers; k != 0 && l-- > 0;) {
        double zd = 0, dd = 0;
        for (size_t i = 0; i < n_strips(o->p->layers[l].n_out); i++) {
            zd += o->strips[l][i].zd;
            dd += o->strips[l][i].dd;
        }
        o->square += k * (k * o->yy[l] * dd - 2 * zd);
    }
    o->square *= o->folded * o->folded;
    o->folded = 1;
    o->k = 0;
}

static void note_y(hand_t *h, size_t l)
{
    const real *y = h->o->p->layers[l].y;
    for (size_t j = h->own[l].from; h->with_strips && j < h->own[l].to; j += STRIP) {
        const size_t n = min_size(STRIP, h->own[l].to - j);
        h->o->strips[l][j / STRIP].yy = (double)dot(y + j, y + j, n);
    }
}

static void note_delta(hand_t *h, size_t l, const real *z, const real *delta)
{
    for (size_t j = h->own[l].from; h->with_strips && j < h->own[l].to; j += STRIP) {
        const size_t n = min_size(STRIP, h->own[l].to - j);
        strip_t *strip = &h->o->strips[l][j / STRIP];
        strip->zd = (double)dot(z + j, delta + j, n);
        strip->dd = (double)dot(delta + j, delta + j, n);
    }
}

/* ‖y‖² at every layer's input, once all strips of y are known */
static void note_inputs(online_t *o, const sample_t *x)
{
    o->yy[0] = (double)dot(x->x, x->x, x->length);
    for (size_t l = 1; l < o->p->n_layers; l++) {
        o->yy[l] = 0;
        for (size_t i = 0; i < n_strips(o->p->layers[l - 1].n_out); i++)
            o->yy[l] += o->strips[l - 1][i].yy;
    }
}

/* ‖(y δᵀ, δ)‖ of every layer, of the last step */
static void note_norms(const online_t *o, double *norms)
{
    for (size_t l = 0; l < o->p->n_layers; l++) {
        double dd = 0;
        for (size_t i = 0; i < n_strips(o->p->layers[l].n_out); i++)
            dd += o->strips[l][i].dd;
        norms[l] = sqrt((!o->p->no_offsets + o->yy[l]) * dd);
    }
}

/* ---- the scale -------------------------------------------------------------------------- */

/* V ← s V, s ← 1 */
static void fold_scale(hand_t *h)
{
    online_t *o = h->o;
    const plan_t *p = o->p;
    const real s = (real)h->s;
    if (h->s == 1)
        return;
    scaled_row(h->z_next + h->own[0].from, s, h->z_next + h->own[0].from, owned(h, 0));
    for (size_t t = 0; o->delays && t < DELAY; t++) {
        const size_t at = t * o->run.ld + h->own[0].from;
        scaled_row(o->run.z + at, s, o->run.z + at, owned(h, 0));
        scaled_row(o->run.u + at, s, o->run.u + at, owned(h, 0));
    }
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        for (size_t q = 0; o->vt[l] && q < layer->n_out; q++) {
            real *row = o->vt[l] + q * row_stride(layer->n_in) + h->own[l - 1].from;
            scaled_row(row, s, row, owned(h, l - 1));
        }
        for (size_t j = h->own[l].from; !o->vt[l] && j < h->own[l].to; j += STRIP) {
            real *v = strip_of(&o->v[l], j);
            scaled_row(v, s, v, layer->n_in * o->v[l].ld);
        }
    }
    if (h->tid == 0)
        o->folded = h->s; /* the others may be at their part of the step still */
    h->s = 1;
}

static void online_end(hand_t *h)
{
    fold_scale(h);
    hand_over(h, 1);
}

#endif
