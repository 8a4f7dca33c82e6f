/* thinned.h — training with a dropout mask per batch: the network of the kept units
 * [S 65.120–65.124].
 *
 * The thinned network is a smaller dense network, and is trained as one: W's rows and columns of
 * kept units are gathered into compact matrices (times 1/(1−p) if kept units are scaled up), a
 * batch goes through them, and the gradients are scattered back.  Rows, columns and offsets of
 * dropped units get no gradient, no momentum and no moment of Adam; with drop_decays_all their
 * weights decay as all others do [S 65.124], without it they do not change.  With p = ½ the
 * products are a quarter of the work.
 */
#ifndef MLP_TRAINING_THINNED_H
#define MLP_TRAINING_THINNED_H

#include "training/epoch.h"

/* ---- the thinned network --------------------------------------------------------------- */

/* A row of W: where it begins in W's part of the flat buffers, and how long it is. */
INLINE size_t row_begin(const layer_t *layer, size_t i)
{
    return layer->sparse ? (size_t)layer->sparse->start[i] : i * layer->n_out;
}

INLINE size_t row_length(const layer_t *layer, size_t i)
{
    return row_begin(layer, i + 1) - row_begin(layer, i);
}

/* The connections between kept units, in the order of the full list. */
static void thin_connections(const thinned_t *t, size_t l, const sparse_t *full)
{
    const layer_t *layer = &t->net.layers[l];
    const size_t n_in = layer->n_in, n_out = layer->n_out;
    const int32_t *unit = l || t->net.unit ? t->unit[l] : NULL;
    const int32_t *place_in = t->place[l], *place_out = t->place[l + 1];
    sparse_t *thin = (sparse_t *)layer->sparse;
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

/* Draw the masks of a layer's units; returns how many are kept. */
static size_t draw_layer(const plan_t *p, size_t batch, size_t layer, size_t n)
{
    const thinned_t *t = p->noise.thinned;
    const double drop = drop_rate(p, layer);
    const uint64_t key = mask_key(p->noise.seed, batch, layer);
    real *mask = t->kept[layer];
    size_t n_kept = 0;
    for (size_t j = 0; j < n; j++) {
        const int kept = drop == 0 || is_kept(key, j, drop);
        mask[j] = (real)kept;
        t->place[layer][j] = kept ? (int32_t)n_kept : -1;
        if (kept)
            t->unit[layer][n_kept++] = (int32_t)j;
    }
    return n_kept;
}

/* Where the compact parameters lie. */
static void lay_out_thinned(const plan_t *p)
{
    thinned_t *t = p->noise.thinned;
    network_t *net = &t->net;
    size_t weight = 0, n_biases = 0, n_scales = 0;
    for (size_t l = 0; l < net->n_layers; l++) {
        layer_t *thin = &net->layers[l];
        thin->n_in = l ? thin[-1].n_out : net->n_features;
        thin->w = weight;
        if (thin->sparse)
            thin_connections(t, l, p->net.layers[l].sparse);
        weight += thin->sparse ? thin->sparse->n : thin->n_in * thin->n_out;
        n_biases += thin->n_out;
    }
    size_t b = weight;
    for (size_t l = 0; l < net->n_layers; l++) {
        layer_t *thin = &net->layers[l];
        thin->b = b;
        b += thin->n_out;
        if (thin->has_norm) {
            thin->norm.scale = weight + n_biases + n_scales;
            n_scales += thin->n_out;
        }
        if (thin->skip_scale != 0)
            for (size_t j = 0; j < thin->n_out; j++)
                ((int32_t *)thin->skip)[j] = t->place[l][thin->unit[j]];
        if (thin->f.n_kinds)
            for (size_t j = 0; j < thin->n_out; j++)
                ((real *)thin->f.node)[j] = ((const real *)p->net.layers[l].f.node)[thin->unit[j]];
    }
    net->n_weights = weight;
    net->n_biases = n_biases;
    net->n_scales = n_scales;
}

/* Draw the masks of a batch and lay out the thinned network (thread 0). */
static void thin_draw(const plan_t *p, size_t batch, int stored)
{
    thinned_t *t = p->noise.thinned;
    network_t *net = &t->net;
    const size_t n = p->net.n_features, kept = draw_layer(p, batch, 0, n);
    /* stored entries keep their columns: rows of W of dropped inputs are gathered as zeros */
    net->n_features = stored ? n : kept;
    net->unit = stored ? NULL : t->unit[0];
    for (size_t l = 0; l < net->n_layers; l++) {
        net->layers[l].n_out = draw_layer(p, batch, l + 1, p->net.layers[l].n_out);
        net->layers[l].unit = t->unit[l + 1];
    }
    lay_out_thinned(p);
}

/* Gather the compact parameters; the threads divide the rows. */
static void thin_gather(const plan_t *p, const worker_t *w)
{
    const thinned_t *t = p->noise.thinned;
    const real *from = p->net.params;
    real *to = t->net.params;
    for (size_t l = 0; l < p->net.n_layers; l++) {
        const layer_t *full = &p->net.layers[l], *thin = &t->net.layers[l];
        const real scale = kept_scale(p, l);
        size_t begin, end;
        split_range(w, thin->n_in, 1, &begin, &end);
        for (size_t i = begin; i < end; i++) {
            const size_t row = l == 0 && !t->net.unit ? i : (size_t)t->unit[l][i];
            if (thin->sparse) {
                for (int64_t k = thin->sparse->start[i]; k < thin->sparse->start[i + 1]; k++)
                    to[thin->w + k] = scale * from[full->w + thin->sparse->source[k]];
                continue;
            }
            const real *source = from + full->w + row * full->n_out;
            real *c = to + thin->w + i * thin->n_out;
            const real s = ((const real *)t->kept[l])[row] != 0 ? scale : 0;
            for (size_t j = 0; j < thin->n_out; j++)
                c[j] = s * source[thin->unit[j]];
        }
        if (w->tid)
            continue;
        for (size_t j = 0; j < thin->n_out; j++) {
            to[thin->b + j] = from[full->b + thin->unit[j]];
            if (thin->has_norm)
                to[thin->norm.scale + j] = from[full->norm.scale + thin->unit[j]];
        }
    }
}

/* ---- rows of the full network ------------------------------------------------------------ */

/* Scatter a compact row of gradients to the kept units' places in a full row. */
INLINE void scatter_units(real *row, const real *g, const layer_t *thin, real scale)
{
    for (size_t j = 0; j < thin->n_out; j++)
        row[thin->unit[j]] = scale * g[j];
}

/* The n connections of one input of a sparse layer, which begin at `first`; in the thinned network
 * they are those of input i.  `marks` are 1 for the connections that are kept. */
typedef struct {
    size_t i, first, n;
    real *marks;
} connections_t;

/* The same for one input of a sparse layer. */
INLINE void scatter_connections(real *row, const connections_t *of, const real *g,
                                const sparse_t *thin, real scale)
{
    memset(of->marks, 0, of->n * sizeof(real));
    for (int64_t k = thin->start[of->i]; k < thin->start[of->i + 1]; k++) {
        const size_t at = (size_t)thin->source[k] - of->first;
        row[at] = scale * g[k];
        of->marks[at] = 1;
    }
}

/* A full row of parameters with its gradient, which of them are kept, and its pair of sums. */
typedef struct {
    slice_t x;
    const real *kept;
    double *sums;
} row_t;

/* The work on each row: update it, or sum its squared gradient. */
typedef double row_work(const plan_t *p, const update_t *s, const row_t *row);

static double row_update(const plan_t *p, const update_t *s, const row_t *row)
{
    update_kept(p->optimizer.code, s, &row->x, row->kept);
    row_sums(row->x.w, row->x.n, row->sums);
    return 0;
}

static double row_norm(const plan_t *p, const update_t *s, const row_t *row)
{
    (void)p;
    return squared_norm(s, &row->x, row->kept);
}

/* The offsets of layer l as a row, or its scales: at `at` in the full buffers, at `g` in the
 * compact gradient. */
static row_t whole_row(const plan_t *p, size_t l, size_t at, const real *g, real *row,
                       double *sums)
{
    const thinned_t *t = p->noise.thinned;
    scatter_units(row, g, &t->net.layers[l], 1);
    return (row_t){slice_of(p, at, row, p->net.layers[l].n_out), t->kept[l + 1], sums};
}

/* Apply `work` to the worker's rows of kept inputs of each W; worker 0 also takes b and a, one
 * row each.  `mine` is the thread whose buffers are used. */
static double for_kept_rows(const plan_t *p, row_work *work, const update_t s[N_KINDS],
                            const worker_t *w, size_t mine)
{
    const thinned_t *t = p->noise.thinned;
    const real *g = p->work.grads;
    real *row = (real *)t->row + 2 * mine * t->row_size, *marks = row + t->row_size;
    double *sums = t->row_sums, *rest = t->row_sums, total = 0;
    for (size_t l = 0; l < p->net.n_layers; l++)
        rest += 2 * p->net.layers[l].n_in;
    for (size_t l = 0; l < p->net.n_layers; l++) {
        const layer_t *full = &p->net.layers[l], *thin = &t->net.layers[l];
        const real scale = kept_scale(p, l);
        const int kind = full->f.code == ACT_RBF ? CENTRES : WEIGHTS;
        size_t begin, end;
        split_range(w, thin->n_in, 1, &begin, &end);
        for (size_t i = begin; i < end && !full->frozen; i++) {
            const size_t k = l == 0 && !t->net.unit ? i : (size_t)t->unit[l][i];
            if (((const real *)t->kept[l])[k] == 0)
                continue;
            const size_t first = row_begin(full, k), n = row_length(full, k);
            if (thin->sparse)
                scatter_connections(row, &(connections_t){i, first, n, marks}, g + thin->w,
                                    thin->sparse, scale);
            else
                scatter_units(row, g + thin->w + i * thin->n_out, thin, scale);
            total += work(p, &s[kind], &(row_t){slice_of(p, full->w + first, row, n),
                                                thin->sparse ? marks : t->kept[l + 1],
                                                sums + 2 * k});
        }
        sums += 2 * full->n_in;
        if (w->tid == 0 && !full->frozen && !p->net.no_offsets) {
            const row_t b = whole_row(p, l, full->b, g + thin->b, row, rest);
            total += work(p, &s[full->f.code == ACT_RBF ? WIDTHS : BIASES], &b);
            if (full->has_norm) {
                const row_t a = whole_row(p, l, full->norm.scale, g + thin->norm.scale, row,
                                          rest + 2);
                total += work(p, &s[SCALES], &a);
            }
        }
        rest += full->has_norm ? 4 : 2;
    }
    return total;
}

/* Centres and widths are not penalised, nor are frozen layers. */
INLINE int is_penalised(const layer_t *layer)
{
    return !layer->frozen && layer->f.code != ACT_RBF;
}

/* Decay the weights of dropped inputs and units; the threads divide the rows. */
static void decay_dropped_rows(const plan_t *p, const update_t *s, const worker_t *w)
{
    double *sums = p->noise.thinned->row_sums;
    for (size_t l = 0; l < p->net.n_layers; l++) {
        const layer_t *layer = &p->net.layers[l];
        size_t begin, end;
        split_range(w, layer->n_in, 1, &begin, &end);
        for (size_t i = begin; i < end && is_penalised(layer); i++) {
            real *row = (real *)p->net.params + layer->w + row_begin(layer, i);
            const size_t n = row_length(layer, i);
            if (((const real *)p->noise.thinned->kept[l])[i] != 0)
                continue;
            for (size_t j = 0; j < n; j += LANES) {
                const size_t m = min_size(LANES, n - j);
                v_store_n(row + j, update_dropped(s, v_load_n(row + j, m, 0)), m);
            }
            row_sums(row, n, &sums[2 * i]);
        }
        sums += 2 * layer->n_in;
    }
}

/* ---- penalties ---------------------------------------------------------------------------- */

/* Σw² and Σ∣w∣ of every row of each W, then of b and a, layer by layer. */
static void sum_all_rows(const plan_t *p)
{
    const real *params = p->net.params;
    double *sums = p->noise.thinned->row_sums;
    for (size_t l = 0; l < p->net.n_layers; l++)
        for (size_t i = 0; i < p->net.layers[l].n_in; i++, sums += 2)
            row_sums(params + p->net.layers[l].w + row_begin(&p->net.layers[l], i),
                     row_length(&p->net.layers[l], i), sums);
    for (size_t l = 0; l < p->net.n_layers; l++, sums += 2) {
        const layer_t *layer = &p->net.layers[l];
        row_sums(params + layer->b, layer->n_out, sums);
        if (layer->has_norm) {
            sums += 2;
            row_sums(params + layer->norm.scale, layer->n_out, sums);
        }
    }
}

/* Penalties from the sums of rows. */
static double thinned_penalty(const plan_t *p, double weight_sum)
{
    const objective_t *q = &p->objective;
    const double *sums = p->noise.thinned->row_sums;
    double l2 = 0, l1 = 0, l2_bias = 0;
    if (q->alpha == 0 && q->l2 == 0 && q->l1 == 0)
        return 0;
    for (size_t l = 0; l < p->net.n_layers; l++)
        for (size_t i = 0; i < p->net.layers[l].n_in; i++, sums += 2) {
            l2 += is_penalised(&p->net.layers[l]) ? sums[0] : 0;
            l1 += is_penalised(&p->net.layers[l]) ? sums[1] : 0;
        }
    for (size_t l = 0; l < p->net.n_layers; l++) {
        l2_bias += is_penalised(&p->net.layers[l]) ? sums[0] : 0;
        sums += p->net.layers[l].has_norm ? 4 : 2;
    }
    return penalty_value(q, weight_sum, l2, l1, l2_bias);
}

/* ---- the trainer -------------------------------------------------------------------------- */

static int thinned_gradient(const trainer_t *tr, const batch_t *b, const worker_t *w, double *loss)
{
    const plan_t *p = tr->plan;
    const piece_t c = piece_of(p, &p->net, b, w);
    if (w->tid == 0)
        thin_draw(p, b->first, reads_stored(&c));
    barrier_wait(w);
    thin_gather(p, w);
    barrier_wait(w);
    return batch_gradient(p, &p->noise.thinned->net, b, w, loss);
}

/* Update the parameters of kept units from the thinned network's gradient. */
static void thinned_update(trainer_t *tr, const step_t *step, const worker_t *w)
{
    const plan_t *p = tr->plan;
    update_t s[N_KINDS];
    if (w->tid == 0)
        tr->penalty = thinned_penalty(p, step->weight_sum);
    barrier_wait(w);
    updates_of(p, step, s);
    if (p->optimizer.clip_norm != 0) {
        /* every thread sums all rows: the same order, the same bits */
        const double squares = for_kept_rows(p, row_norm, s, &alone, w->tid);
        barrier_wait(w);
        clip_gradient(p, squares, s);
    }
    for_kept_rows(p, row_update, s, w, w->tid);
    if (p->noise.drop_decays_all)
        decay_dropped_rows(p, &s[WEIGHTS], w);
}

static double thinned_penalised(const trainer_t *tr, double value, double weight_sum)
{
    (void)weight_sum;
    return value + tr->penalty;
}

/* The trainer of a plan, for one run. */
static trainer_t trainer_of(plan_t *p)
{
    trainer_t tr = {.plan = p, .value_scale = p->objective.loss.value_scale,
                    .gradient = plan_gradient, .update = plan_update,
                    .penalised = plan_penalised};
    if (p->noise.thinned) {
        tr.gradient = thinned_gradient;
        tr.update = thinned_update;
        tr.penalised = thinned_penalised;
        sum_all_rows(p);
    }
    return tr;
}

#endif
