/* thinned.h — which units sleep, and the network of those awake  [S 65.120–65.124].
 *
 * A mask is a pure function of (seed of the epoch, batch, layer, unit[, row]): any thread can
 * compute any part of it, in any order, twice.
 *
 * With one mask a batch the thinned network is a smaller dense network, and is trained as one:
 * W's active rows and columns are gathered into compact matrices (times 1/(1−p) where what is
 * kept is scaled up), a batch goes through them, and the gradients go back to the places they
 * came from.  Sleeping units' rows, columns and offsets get no gradient, no momentum and no
 * moment of Adam; with drop_decays_all their weights decay as all others do [S 65.124], without
 * it they are not touched.  With p = ½ the products are a quarter of the work.
 */
#ifndef MLP_TRAINING_THINNED_H
#define MLP_TRAINING_THINNED_H

#include "training/optimizer.h"
#include "machine/parallel.h"

/* splitmix64's finaliser: every input bit reaches every output bit */
INLINE uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

#define GOLDEN 0x9e3779b97f4a7c15ULL

/* the key of a layer's mask in a batch; inputs are layer 0 */
INLINE uint64_t mask_key(uint64_t seed, uint64_t batch, uint64_t layer)
{
    return mix(seed + GOLDEN * mix(batch * 64 + layer + 1));
}

INLINE int is_kept(uint64_t key, uint64_t index, double drop)
{
    return (double)(mix(key + GOLDEN * (index + 1)) >> 11) * 0x1p-53 >= drop;
}

/* ---- a mask a sample ------------------------------------------------------------------ */

/* y ← y ⊙ mask over rows [from, to) of n columns; `first`: the batch's row in row 0 of y */
static void mask_rows(const plan_t *p, real *y, size_t ld, size_t n, size_t batch, size_t layer,
                      double drop, size_t first, size_t from, size_t to)
{
    const uint64_t key = mask_key(p->seed, batch, layer);
    const real kept = p->drop_inverted ? (real)(1 / (1 - drop)) : 1;
    for (size_t i = from; i < to; i++)
        for (size_t j = 0; j < n; j++)
            y[i * ld + j] =
                is_kept(key, (uint64_t)(first + i) * n + j, drop) ? y[i * ld + j] * kept : 0;
}

/* ---- the thinned network -------------------------------------------------------------- */

/* what a unit that is awake is multiplied by: layer 0 are the inputs */
INLINE real kept_scale(const plan_t *p, size_t layer)
{
    const double drop = layer ? p->layers[layer - 1].drop : p->drop;
    return p->drop_inverted ? (real)(1 / (1 - drop)) : 1;
}

/* A row of W: where it begins in W's part of the flat buffers, and how long it is. */
INLINE size_t row_begin(const layer_t *layer, size_t i)
{
    return layer->edges ? (size_t)layer->edges->start[i] : i * layer->n_out;
}

INLINE size_t row_length(const layer_t *layer, size_t i)
{
    return row_begin(layer, i + 1) - row_begin(layer, i);
}

/* The edges between units that are awake, in the order of the full list. */
static void thin_edges(const edges_t *full, edges_t *thin, const int32_t *unit,
                       const int32_t *place_in, const int32_t *place_out, size_t n_in,
                       size_t n_out)
{
    int64_t *start = (int64_t *)thin->start, *in_start = (int64_t *)thin->in_start;
    int64_t *source = (int64_t *)thin->source, *place = (int64_t *)thin->place;
    int32_t *to = (int32_t *)thin->to, *from = (int32_t *)thin->from;
    int64_t n = 0;
    memset(in_start, 0, (n_out + 1) * sizeof(int64_t));
    for (size_t i = 0; i < n_in; i++) {
        const size_t row = unit ? (size_t)unit[i] : i;
        start[i] = n;
        for (int64_t k = full->start[row]; place_in[row] >= 0 && k < full->start[row + 1]; k++)
            if (place_out[full->to[k]] >= 0) {
                to[n] = place_out[full->to[k]];
                in_start[to[n] + 1]++;
                source[n++] = k;
            }
    }
    start[n_in] = n;
    thin->n = (size_t)n;
    for (size_t j = 0; j < n_out; j++)
        in_start[j + 1] += in_start[j];
    for (size_t i = 0; i < n_in; i++)
        for (int64_t k = start[i]; k < start[i + 1]; k++) {
            from[in_start[to[k]]] = (int32_t)i;
            place[in_start[to[k]]++] = k;
        }
    for (size_t j = n_out; j > 0; j--) /* each start has become the next one's */
        in_start[j] = in_start[j - 1];
    in_start[0] = 0;
}

/* Draw the masks of a batch and lay out the thinned network (thread 0). */
static void thin_draw(plan_t *p, size_t batch, int sparse)
{
    struct thin_plan *t = p->thin;
    plan_t *q = &t->plan;
    const size_t n_layers = p->n_layers;
    size_t weight = 0, place = 0;
    for (size_t layer = 0; layer <= n_layers; layer++) {
        const size_t n = layer ? p->layers[layer - 1].n_out : p->n_features;
        const double drop = layer ? p->layers[layer - 1].drop : p->drop;
        const uint64_t key = mask_key(p->seed, batch, layer);
        size_t awake = 0;
        for (size_t j = 0; j < n; j++) {
            const int kept = drop == 0 || is_kept(key, j, drop);
            ((real *)t->awake[layer])[j] = (real)kept;
            t->place[layer][j] = kept ? (int32_t)awake : -1;
            if (kept)
                t->unit[layer][awake++] = (int32_t)j;
        }
        if (layer) {
            layer_t *thin = &q->layers[layer - 1];
            thin->n_out = awake;
            thin->unit = t->unit[layer];
            place += awake;
        } else {
            /* stored entries keep their columns: W's sleeping rows are gathered as zeros */
            q->n_features = sparse ? n : awake;
            q->unit = sparse ? NULL : t->unit[0];
        }
    }
    size_t in = q->n_features;
    for (size_t l = 0; l < n_layers; l++) {
        q->layers[l].n_in = in;
        q->layers[l].w = weight;
        const size_t n_in = in;
        in = q->layers[l].n_out;
        if (q->layers[l].edges) {
            thin_edges(p->layers[l].edges, (edges_t *)q->layers[l].edges,
                       l || q->unit ? t->unit[l] : NULL, t->place[l], t->place[l + 1], n_in, in);
            weight += q->layers[l].edges->n;
        } else {
            weight += n_in * in;
        }
    }
    q->n_weights = weight;
    size_t b = weight, a = weight + place;
    q->n_biases = place;
    for (size_t l = 0; l < n_layers; l++) {
        layer_t *thin = &q->layers[l];
        thin->b = b;
        b += thin->n_out;
        if (thin->has_norm) {
            thin->norm.scale = a;
            a += thin->n_out;
        }
        if (thin->residual)
            for (size_t j = 0; j < thin->n_out; j++)
                ((int32_t *)thin->skip)[j] = t->place[l][thin->unit[j]];
        if (thin->f.n_kinds)
            for (size_t j = 0; j < thin->n_out; j++)
                ((real *)thin->f.node)[j] = ((const real *)p->layers[l].f.node)[thin->unit[j]];
    }
    q->n_scales = a - weight - place;
}

/* Gather the compact parameters, a share of the rows each. */
static void thin_gather(const plan_t *p, size_t tid)
{
    const struct thin_plan *t = p->thin;
    const plan_t *q = &t->plan;
    const real *from = p->params;
    real *to = q->params;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *full = &p->layers[l], *thin = &q->layers[l];
        const real scale = kept_scale(p, l);
        size_t begin, end;
        share(thin->n_in, 1, tid, p->n_threads, &begin, &end);
        for (size_t i = begin; i < end; i++) {
            const size_t row = l == 0 && !q->unit ? i : (size_t)t->unit[l][i];
            if (thin->edges) {
                for (int64_t k = thin->edges->start[i]; k < thin->edges->start[i + 1]; k++)
                    to[thin->w + k] = scale * from[full->w + thin->edges->source[k]];
                continue;
            }
            const real *w = from + full->w + row * full->n_out;
            real *c = to + thin->w + i * thin->n_out;
            const real s = ((const real *)t->awake[l])[row] != 0 ? scale : 0;
            for (size_t j = 0; j < thin->n_out; j++)
                c[j] = s * w[thin->unit[j]];
        }
        if (tid == 0)
            for (size_t j = 0; j < thin->n_out; j++) {
                to[thin->b + j] = from[full->b + thin->unit[j]];
                if (thin->has_norm)
                    to[thin->norm.scale + j] = from[full->norm.scale + thin->unit[j]];
            }
    }
}

/* Spread a compact row of gradients over the units' places in a full row. */
INLINE void spread(real *row, const real *g, const int32_t *unit, size_t n_awake, real scale)
{
    for (size_t j = 0; j < n_awake; j++)
        row[unit[j]] = scale * g[j];
}

/* The same for a row of edges, `n` from `first` on; returns which of them are awake. */
INLINE const real *spread_edges(real *row, real *awake, const real *g, const edges_t *thin,
                                size_t i, size_t first, size_t n, real scale)
{
    memset(awake, 0, n * sizeof(real));
    for (int64_t k = thin->start[i]; k < thin->start[i + 1]; k++) {
        row[thin->source[k] - (int64_t)first] = scale * g[k];
        awake[thin->source[k] - (int64_t)first] = 1;
    }
    return awake;
}

/* What is done with each row of parameters: update it, or sum its squared gradient. */
typedef double row_work(const plan_t *p, const step_t *s, size_t at, const real *g,
                        const real *awake, size_t n, double *sums);

static double row_update(const plan_t *p, const step_t *s, size_t at, const real *g,
                         const real *awake, size_t n, double *sums)
{
    real *m1 = p->moment_1 ? (real *)p->moment_1 + at : NULL;
    real *m2 = p->moment_2 ? (real *)p->moment_2 + at : NULL;
    update_awake(p->solver.code, s, (real *)p->params + at, g, m1, m2, awake, n);
    row_sums((const real *)p->params + at, n, &sums[0], &sums[1]);
    return 0;
}

static double row_norm(const plan_t *p, const step_t *s, size_t at, const real *g,
                       const real *awake, size_t n, double *sums)
{
    (void)sums;
    return squared_norm(s, (const real *)p->params + at, g, awake, n);
}

/* Apply `work` to one of so many parts of the rows that are awake: of each W, and each b and a
 * as one row (the first part's).  row_sums has a pair for each row of each W, then layer by
 * layer for b and a. */
static double for_rows_awake(const plan_t *p, row_work *work, const step_t s[N_KINDS],
                             size_t part, size_t parts, size_t tid)
{
    const struct thin_plan *t = p->thin;
    const plan_t *q = &t->plan;
    const real *g = q->grads;
    real *row = (real *)t->row + 2 * tid * t->row_size;
    double *sums = t->row_sums, *rest = t->row_sums, total = 0;
    for (size_t l = 0; l < p->n_layers; l++)
        rest += 2 * p->layers[l].n_in;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *full = &p->layers[l], *thin = &q->layers[l];
        const real scale = kept_scale(p, l), *awake = t->awake[l + 1];
        const int rbf = full->f.code == ACT_RBF;
        size_t begin, end;
        share(thin->n_in, 1, part, parts, &begin, &end);
        for (size_t i = begin; i < end && !full->frozen; i++) {
            const size_t k = l == 0 && !q->unit ? i : (size_t)t->unit[l][i];
            if (((const real *)t->awake[l])[k] == 0)
                continue;
            const size_t first = row_begin(full, k), n = row_length(full, k);
            const real *there = awake;
            if (thin->edges)
                there = spread_edges(row, row + t->row_size, g + thin->w, thin->edges, i, first,
                                     n, scale);
            else
                spread(row, g + thin->w + i * thin->n_out, thin->unit, thin->n_out, scale);
            total += work(p, &s[rbf ? CENTRES : WEIGHTS], full->w + first, row, there, n,
                          sums + 2 * k);
        }
        sums += 2 * full->n_in;
        if (part == 0 && !full->frozen && !p->no_offsets) {
            spread(row, g + thin->b, thin->unit, thin->n_out, 1);
            total += work(p, &s[rbf ? WIDTHS : BIASES], full->b, row, awake, full->n_out, rest);
            rest += 2;
            if (full->has_norm) {
                spread(row, g + thin->norm.scale, thin->unit, thin->n_out, 1);
                total += work(p, &s[SCALES], full->norm.scale, row, awake, full->n_out, rest);
                rest += 2;
            }
        } else {
            rest += full->has_norm ? 4 : 2;
        }
    }
    return total;
}

/* Centres and widths are not, nor what is frozen. */
INLINE int is_penalised(const plan_t *p, size_t l)
{
    return !p->layers[l].frozen && p->layers[l].f.code != ACT_RBF;
}

/* The weights of dropped inputs and units, a share of the rows each. */
static void decay_dropped_rows(const plan_t *p, const step_t *s, size_t tid)
{
    double *sums = p->thin->row_sums;
    for (size_t l = 0; l < p->n_layers; l++) {
        const layer_t *layer = &p->layers[l];
        size_t begin, end;
        share(layer->n_in, 1, tid, p->n_threads, &begin, &end);
        for (size_t i = begin; i < end && is_penalised(p, l); i++) {
            real *w = (real *)p->params + layer->w + row_begin(layer, i);
            const size_t n = row_length(layer, i);
            if (((const real *)p->thin->awake[l])[i] != 0)
                continue;
            for (size_t j = 0; j < n; j += LANES) {
                const size_t m = min_size(LANES, n - j);
                v_store_n(w + j, update_dropped(s, v_load_n(w + j, m, 0)), m);
            }
            row_sums(w, n, &sums[2 * i], &sums[2 * i + 1]);
        }
        sums += 2 * layer->n_in;
    }
}

/* Σw² and Σ∣w∣ of every row, as they are when an epoch is entered (thread 0). */
static void thin_row_sums(const plan_t *p)
{
    double *sums = p->thin->row_sums;
    for (size_t l = 0; l < p->n_layers; l++)
        for (size_t i = 0; i < p->layers[l].n_in; i++, sums += 2)
            row_sums((const real *)p->params + p->layers[l].w + row_begin(&p->layers[l], i),
                     row_length(&p->layers[l], i), &sums[0], &sums[1]);
    for (size_t l = 0; l < p->n_layers; l++, sums += 2) {
        const layer_t *layer = &p->layers[l];
        row_sums((const real *)p->params + layer->b, layer->n_out, &sums[0], &sums[1]);
        if (layer->has_norm) {
            sums += 2;
            row_sums((const real *)p->params + layer->norm.scale, layer->n_out, &sums[0],
                     &sums[1]);
        }
    }
}

/* Σw², Σ∣w∣ over the weights; Σb² over the biases. */
static void thin_total(const plan_t *p, double *l2, double *l1, double *l2_bias)
{
    const double *sums = p->thin->row_sums;
    *l2 = *l1 = *l2_bias = 0;
    for (size_t l = 0; l < p->n_layers; l++)
        for (size_t i = 0; i < p->layers[l].n_in; i++, sums += 2) {
            *l2 += is_penalised(p, l) ? sums[0] : 0;
            *l1 += is_penalised(p, l) ? sums[1] : 0;
        }
    for (size_t l = 0; l < p->n_layers; l++) {
        *l2_bias += is_penalised(p, l) ? sums[0] : 0;
        sums += p->layers[l].has_norm ? 4 : 2;
    }
}

#endif
