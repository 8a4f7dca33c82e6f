/* sparse_layer.h — a layer that has only some of its connections [S ex. 65.6, 65.114–65.119].
 *
 * W_l is the list of its connections' weights, in the order of their input units.  A product
 * with it accesses units in no regular order, so the samples, not the units, are neighbours in
 * memory:
 *
 *   columns   of a matrix of n units: [samples / GROUP][n][GROUP], GROUP samples of a unit
 *             next to each other, the last group filled up with zeros
 *
 *   forward   z_j = b_j + Σ over connections into j of w y_i    one unit, its sums in registers
 *   backward  ∂Q/∂y_i = Σ over connections out of i of w δ_j    the same with them reversed
 *   gradient  ∂w = Σ over samples of y_i δ_j                    one product of two columns
 *
 * Threads divide the units whose sums these are.  784-2000-2000-10 with 2 % of the connections,
 * batch 200, Adam, one core: 3.4 ms per step, dense 29 ms (bench/compare.py --only edges
 * edges-dense).  A GROUP is four vectors: a connection's index and weight are read once for all
 * of them, and the columns of 2,000 units (512 KiB) fit a second-level cache of 1 MiB.
 */
#ifndef MLP_NETWORK_SPARSE_LAYER_H
#define MLP_NETWORK_SPARSE_LAYER_H

#include "machine/transpose.h"
#include "network/activation.h"
#include "network/piece.h"

#define GROUP_VECS 4
#define GROUP (GROUP_VECS * LANES)

/* ---- rows to columns ------------------------------------------------------------------- */

/* The worker's units of a matrix of n, one sample per row (ld apart), into columns. */
static void to_columns(const piece_t *c, real *columns, const real *a, size_t ld, size_t n)
{
    const size_t rows = c->rows;
    size_t from, to;
    split_range(c->w, n, LANES, &from, &to);
    vec block[LANES];
    for (size_t s = 0; s < rows; s += LANES) {
        real *group = columns + s / GROUP * GROUP * n + s % GROUP;
        for (size_t i = from; i < to; i += LANES) {
            const size_t units = min_size(LANES, to - i);
            for (size_t k = 0; k < LANES; k++)
                block[k] = s + k < rows ? v_load_n(a + (s + k) * ld + i, units, 0) : v_zero();
            transpose(block);
            for (size_t k = 0; k < units; k++)
                v_store(group + (i + k) * GROUP, block[k]);
        }
    }
}

/* vectors of the group that begins at sample s */
INLINE size_t group_vecs(size_t rows, size_t s)
{
    return (min_size(GROUP, rows - s) + LANES - 1) / LANES;
}

/* ---- products --------------------------------------------------------------------------- */

/* Sums over the connections of units, which end at `unit`, from columns of n such units. */
typedef struct {
    const int64_t *start;
    const int32_t *unit;
    const int64_t *place; /* of a connection's weight, or NULL: in the order of the list   */
    const real *w, *bias, *columns;
    size_t n;
} sparse_sums_t;

INLINE void sum_unit(const size_t nv, const sparse_sums_t *e, size_t j, const real *columns,
                     vec *out, size_t stride)
{
    vec acc[GROUP_VECS];
    for (size_t v = 0; v < nv; v++)
        acc[v] = v_set1(e->bias ? e->bias[j] : 0);
    for (int64_t k = e->start[j]; k < e->start[j + 1]; k++) {
        const vec w = v_set1(e->w[e->place ? e->place[k] : k]);
        const real *column = columns + (size_t)e->unit[k] * GROUP;
        for (size_t v = 0; v < nv; v++)
            acc[v] += w * v_load(column + v * LANES);
    }
    for (size_t v = 0; v < nv; v++)
        out[v * stride] = acc[v];
}

/* The sums of units [from, to) of `rows` samples into rows of y; `from` is a multiple of LANES. */
static void sum_units(const sparse_sums_t *e, real *y, size_t ld, size_t rows, size_t from,
                      size_t to)
{
    vec block[GROUP_VECS][LANES];
    for (size_t s = 0; s < rows; s += GROUP) {
        const real *columns = e->columns + s * e->n;
        const size_t nv = group_vecs(rows, s);
        for (size_t j = from; j < to; j += LANES) {
            for (size_t k = 0; k < LANES; k++) {
                if (j + k >= to)
                    for (size_t v = 0; v < nv; v++)
                        block[v][k] = v_zero();
                else
                    switch (nv) { /* a constant count keeps the sums in registers */
                    case 1: sum_unit(1, e, j + k, columns, &block[0][k], LANES); break;
                    case 2: sum_unit(2, e, j + k, columns, &block[0][k], LANES); break;
                    case 3: sum_unit(3, e, j + k, columns, &block[0][k], LANES); break;
                    default: sum_unit(4, e, j + k, columns, &block[0][k], LANES); break;
                    }
            }
            for (size_t v = 0; v < nv; v++) {
                const size_t first = s + v * LANES;
                transpose(block[v]);
                for (size_t k = 0; k < LANES && first + k < rows; k++)
                    v_store(y + (first + k) * ld + j, block[v][k]);
            }
        }
    }
}

INLINE real column_product(const size_t nv, const vec *x, const real *d)
{
    vec sum = x[0] * v_load(d);
    for (size_t v = 1; v < nv; v++)
        sum += x[v] * v_load(d + v * LANES);
    return v_sum(sum);
}

/* ∂w of the connections out of units [from, to), from columns of inputs and δ */
static void column_gradient(const piece_t *c, const layer_t *layer, real *g, size_t from,
                            size_t to)
{
    const sparse_t *e = layer->sparse;
    const real *inputs = layer->columns, *deltas = c->p->work.delta_columns;
    for (size_t s = 0; s < c->rows; s += GROUP) {
        const real *x = inputs + s * layer->n_in, *d = deltas + s * layer->n_out;
        const size_t nv = group_vecs(c->rows, s);
        const int add = c->accumulate || s > 0;
        for (size_t i = from; i < to; i++) {
            vec xi[GROUP_VECS];
            for (size_t v = 0; v < nv; v++)
                xi[v] = v_load(x + i * GROUP + v * LANES);
            for (int64_t k = e->start[i]; k < e->start[i + 1]; k++) {
                const real *dj = d + (size_t)e->to[k] * GROUP;
                real sum;
                switch (nv) {
                case 1: sum = column_product(1, xi, dj); break;
                case 2: sum = column_product(2, xi, dj); break;
                case 3: sum = column_product(3, xi, dj); break;
                default: sum = column_product(4, xi, dj); break;
                }
                g[k] = add ? g[k] + sum : sum;
            }
        }
    }
}

/* ---- from stored entries (CSR) ------------------------------------------------------------ */

/* z += Σ over stored inputs of the connections out of them */
static void stored_sums(const sparse_t *e, const real *w, const entries_t *x, real *z)
{
    for (size_t k = 0; k < x->n; k++)
        for (int64_t m = e->start[x->indices[k]]; m < e->start[x->indices[k] + 1]; m++)
            z[e->to[m]] += x->values[k] * w[m];
}

/* ∂w += value × δ for the stored inputs that are units [from, to) */
static void entries_gradient(const sparse_t *e, const entries_t *x, const real *delta, real *g,
                             size_t from, size_t to)
{
    for (size_t k = 0; k < x->n; k++)
        if ((size_t)x->indices[k] >= from && (size_t)x->indices[k] < to)
            for (int64_t m = e->start[x->indices[k]]; m < e->start[x->indices[k] + 1]; m++)
                g[m] += x->values[k] * delta[e->to[m]];
}

/* ---- the layer ---------------------------------------------------------------------------- */

/* Reals for the inputs of `rows` samples to any sparse layer, one unit per row. */
static size_t columns_size(const network_t *net, size_t rows)
{
    size_t widest = 0;
    for (size_t l = 0; l < net->n_layers; l++)
        if (net->layers[l].sparse && net->layers[l].n_in > widest)
            widest = net->layers[l].n_in;
    return widest * round_up(rows, GROUP);
}

static void sparse_forward(const piece_t *c, const layer_t *layer, const activation_t *f,
                           const input_t *in, const output_t *out)
{
    const sparse_t *e = layer->sparse;
    const real *w = (const real *)c->net->params + layer->w, *b = offsets_of(c, layer);
    const size_t n = layer->n_out, ld = out->ld;
    size_t from, to;
    if (in->stored) {
        split_range(c->w, c->rows, 1, &from, &to);
        for (size_t i = from; i < to; i++) {
            const entries_t x =
                entries_of(c->samples->data, sample_at(c->samples, c->position + i));
            for (size_t j = 0; j < n; j++)
                out->y[i * ld + j] = b ? b[j] : 0;
            stored_sums(e, w, &x, out->y + i * ld);
        }
        activation_forward(f, &(region_t){out->y + from * ld, out->s + from * ld, ld, to - from,
                                          round_up(n, LANES), 0});
        return;
    }
    real *columns = c->columns ? c->columns : layer->columns;
    to_columns(c, columns, in->a, in->ld, layer->n_in);
    barrier_wait(c->w);
    const sparse_sums_t sums = {e->in_start, e->from, e->place, w, b, columns, layer->n_in};
    split_range(c->w, n, LANES, &from, &to);
    sum_units(&sums, out->y, ld, c->rows, from, to);
    if (from < to)
        activation_forward(f, &(region_t){out->y + from, out->s + from, ld, c->rows,
                                          round_up(to - from, LANES), from});
}

/* δ into delta_columns, one unit per row */
static void delta_to_columns(const piece_t *c, const layer_t *layer, const real *delta)
{
    to_columns(c, c->p->work.delta_columns, delta, layer->ld, layer->n_out);
    barrier_wait(c->w);
}

/* ∂Q/∂y of the layer under l from delta_columns, ⊙ f′ of that layer if f is not NULL */
static void sparse_backward(const piece_t *c, size_t l, const activation_t *f, real *below)
{
    const layer_t *layer = &c->net->layers[l], *under = layer - 1;
    const sparse_sums_t sums = {layer->sparse->start, layer->sparse->to, NULL,
                                (const real *)c->net->params + layer->w, NULL,
                                c->p->work.delta_columns, layer->n_out};
    size_t from, to;
    split_range(c->w, layer->n_in, LANES, &from, &to);
    sum_units(&sums, below, under->ld, c->rows, from, to);
    if (f && from < to)
        activation_backward(f, &(region_t){below + from, (real *)under->s + from, under->ld,
                                           c->rows, round_up(to - from, LANES), from});
}

/* ∂w, for the worker's inputs; δ is in delta_columns unless the inputs are stored entries */
static void sparse_gradient(const piece_t *c, const layer_t *layer, const input_t *in,
                            const real *delta)
{
    const sparse_t *e = layer->sparse;
    real *g = (real *)c->p->work.grads + layer->w;
    size_t from, to;
    split_range(c->w, layer->n_in, 1, &from, &to);
    if (!in->stored) {
        column_gradient(c, layer, g, from, to);
        return;
    }
    if (!c->accumulate)
        memset(g + e->start[from], 0, (size_t)(e->start[to] - e->start[from]) * sizeof(real));
    for (size_t i = 0; i < c->rows; i++) {
        const entries_t x = entries_of(c->samples->data, sample_at(c->samples, c->position + i));
        entries_gradient(e, &x, delta + i * layer->ld, g, from, to);
    }
}

#endif
