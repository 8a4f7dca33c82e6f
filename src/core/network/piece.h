/* piece.h — the arguments of a pass through the layers: a piece of a batch, as one thread sees it.
 *
 * A batch that is larger than the workspace goes through the layers in pieces.  Training takes
 * inputs and outputs of all layers in the workspace; prediction and derivatives have buffers of
 * their own and let one thread do a piece.
 */
#ifndef MLP_NETWORK_PIECE_H
#define MLP_NETWORK_PIECE_H

#include "mlp_core.h"
#include "machine/parallel.h"

typedef struct {
    const plan_t *p;
    const network_t *net;    /* the plan's, or the thinned one                           */
    const samples_t *samples;
    size_t batch;            /* where the batch begins in the samples' order             */
    size_t position, rows;   /* the piece's samples in that order                        */
    const worker_t *w;
    real *pack;              /* the worker's                                             */
    real *columns;           /* of sparse layers, if not their own in the workspace      */
    int training;            /* batch norm and masks apply; the loss applies a softmax   */
    double scale;            /* multiplies every sample's δ                              */
    int accumulate;          /* add to the gradient                                      */
} piece_t;

/* A layer's inputs: rows at `a`, ld apart; or at the addresses `rows`; or `stored`, the CSR rows
 * of the piece's samples. */
typedef struct {
    const real *a;
    size_t ld;
    const real *const *rows;
    int stored;
} input_t;

/* A layer's outputs, and what f′ is computed from. */
typedef struct {
    real *y, *s;
    size_t ld;
} output_t;

/* Rows lie a whole number of cache lines apart, never a multiple of 2 KiB: a column of tiles
 * would fall into two sets of the first-level cache (512 columns: 186 → 257 GFLOP/s). */
static size_t row_stride(size_t n)
{
    const size_t s = round_up(n ? n : 1, LINE);
    return s * sizeof(real) % 2048 ? s : s + LINE;
}

INLINE real *at(void *buffer, size_t row, size_t ld) { return (real *)buffer + row * ld; }

INLINE size_t sample_at(const samples_t *s, size_t i)
{
    return s->order ? (size_t)s->order[i] : i;
}

INLINE double weight_of(const data_t *d, size_t sample)
{
    return d->weights ? ((const real *)d->weights)[sample] : 1;
}

/* The rate of the step after `t` of them. */
INLINE double rate_of(const epoch_t *e, int64_t t)
{
    return e->rates[min_size((size_t)(t - e->first), e->n_rates - 1)];
}

/* Stored entries of one CSR row. */
typedef struct {
    size_t n;
    const real *values;
    const int32_t *indices;
} entries_t;

INLINE entries_t entries_of(const data_t *d, size_t sample)
{
    const int64_t from = d->indptr[sample];
    return (entries_t){(size_t)(d->indptr[sample + 1] - from), (const real *)d->values + from,
                       d->indices + from};
}

/* Shuffled rows are scattered in memory, and each costs a trip to it before the hardware can
 * detect a pattern: rows are prefetched this many rows before they are used. */
#define ROWS_AHEAD 4

/* Prefetch the stored entries of sample i of the order, if there is one (5000-100, 1 % stored:
 * 234–252 → 217–228 µs per step). */
INLINE void prefetch_entries(const samples_t *s, size_t i)
{
    if (i >= s->n)
        return;
    const entries_t e = entries_of(s->data, sample_at(s, i));
    for (size_t k = 0; k < e.n; k += 64 / sizeof(int32_t))
        PREFETCH(e.indices + k, 0);
    for (size_t k = 0; k < e.n; k += LINE)
        PREFETCH(e.values + k, 0);
}

/* Whether the first layer reads the stored entries. */
INLINE int reads_stored(const piece_t *c)
{
    return c->samples->data->indptr && !(c->training && c->p->noise.corrupt > 0);
}

/* b of a layer, or NULL if batch norm adds it. */
INLINE const real *offsets_of(const piece_t *c, const layer_t *layer)
{
    return c->training && layer->has_norm ? NULL : (const real *)c->net->params + layer->b;
}

#endif
