/* pairs.h — training on pairs: a branch network on both samples of a pair, and a loss on the
 * two embeddings u, v [S P65.22–65.24].
 *
 *   cosine     c = uᵀv / ‖u‖‖v‖,          Q = ½(c − t)²,  t = ±1
 *   distance   ∣u − v∣ → head (affine, logistic),  Q cross-entropy
 *   relation   (u, v)  → head (a second network),  Q = ½(r − t)²,  t ∈ {0, 1}
 *
 * The branch is a plan over 2B rows: row i is the first sample of pair i, row B + i the second.
 * Its weights exist once, and its gradient is the sum over both rows.  The head is a plan over B
 * rows, whose inputs x are written by the junction here; the cosine has none.  On the way back
 * ∂Q/∂x of the head replaces x, and goes through the junction into the branch's δ_L.
 *
 * Both plans run in the same threads.  A head too small for them (its workspace is then for one
 * thread) is left to thread 0 while the others wait.
 */
#ifndef MLP_TRAINING_PAIRS_H
#define MLP_TRAINING_PAIRS_H

#include "training/epoch.h"

/* ‖u‖² below this has lost digits; u whose values are all below counts as 0. */
#define SHORTEST R(1.2e-38f, 2.3e-308)

/* The threads that work on the head: all of them, or thread 0 alone. */
INLINE worker_t head_worker(const pairs_t *q, const worker_t *w)
{
    return q->head->work.n_threads < w->n_threads ? alone : *w;
}

INLINE int works_on_head(const pairs_t *q, const worker_t *w)
{
    return q->head && (w->tid == 0 || head_worker(q, w).n_threads > 1);
}

/* Pairs [position, position + rows) of the order into the workspaces. */
static void gather_pairs(const pairs_t *q, const piece_t *pairs, const piece_t *both)
{
    const plan_t *branch = q->branch, *head = q->head;
    const data_t *inputs = q->inputs;
    size_t from, to;
    split_range(pairs->w, pairs->rows, 4, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t pair = sample_at(pairs->samples, pairs->position + i);
        for (size_t side = 0; side < 2; side++) {
            const size_t row = side * pairs->rows + i, sample = (size_t)q->index[2 * pair + side];
            q->rows[row] = (int64_t)sample;
            const real *x = (const real *)inputs->x + sample * inputs->ldx;
            if (in_place(both, inputs))
                ((const real **)branch->work.rows)[row] = x;
            else if (inputs->x)
                copy_row(at(branch->work.x, row, branch->work.ldx), x, branch->net.n_inputs);
        }
        if (head)
            gather_target(head, pairs->samples->data, pair,
                          at(head->work.t, i, head->work.ldt));
    }
    barrier_wait(pairs->w);
}

/* ---- cosine --------------------------------------------------------------------------- */

/* The divisor of u before its squares are summed: 1, unless they leave the range. */
INLINE real range_of(const real *u, size_t n)
{
    vec squares = v_zero(), top = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const vec a = v_load_n(u + j, min_size(LANES, n - j), 0);
        squares += a * a;
        top = v_max(top, v_abs(a));
    }
    const real square = v_sum(squares), largest = v_max_lane(top);
    const int fits = SHORTEST < square && square < (real)INFINITY;
    return fits || !(largest > SHORTEST) || !(largest < (real)INFINITY) ? 1 : largest;
}

/* The embeddings of a pair, and the gradients in them. */
typedef struct {
    const real *u, *v;
    real *du, *dv;
    size_t n;
} embedding_pair_t;

INLINE embedding_pair_t embeddings_of(const pairs_t *q, size_t i, size_t rows)
{
    const plan_t *p = q->branch;
    const layer_t *top = &p->net.layers[p->net.n_layers - 1];
    return (embedding_pair_t){at(top->y, i, top->ld), at(top->y, rows + i, top->ld),
                              at(p->work.delta[0], i, top->ld),
                              at(p->work.delta[0], rows + i, top->ld), top->n_out};
}

/* Q of a pair, and `factor` times its gradient in u and v.  A zero vector has no direction: its
 * cosine is 0, and so is its gradient. */
static double cosine_loss(const embedding_pair_t *e, real target, real factor)
{
    const real *u = e->u, *v = e->v;
    const size_t n = e->n;
    const double range_u = (double)range_of(u, n), range_v = (double)range_of(v, n);
    const vec per_u = v_set1((real)(1 / range_u)), per_v = v_set1((real)(1 / range_v));
    vec sum_uv = v_zero(), sum_uu = v_zero(), sum_vv = v_zero();
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        const vec a = per_u * v_load_n(u + j, m, 0), b = per_v * v_load_n(v + j, m, 0);
        sum_uv += a * b;
        sum_uu += a * a;
        sum_vv += b * b;
    }
    const double uu = (double)v_sum(sum_uu), vv = (double)v_sum(sum_vv);
    const int directed = uu > SHORTEST && vv > SHORTEST;
    const double lengths = sqrt(uu) * sqrt(vv);
    const double cosine = directed ? (double)v_sum(sum_uv) / lengths : 0;
    const double error = cosine - (double)target;
    /* ∂c/∂u = (v − c ‖v‖/‖u‖ u) / ‖u‖‖v‖ */
    const double slope = directed ? (double)factor * error / lengths : 0;
    const vec across = v_set1((real)slope);
    const vec along_u = v_set1((real)(directed ? slope * cosine * sqrt(vv) / sqrt(uu) : 0));
    const vec along_v = v_set1((real)(directed ? slope * cosine * sqrt(uu) / sqrt(vv) : 0));
    for (size_t j = 0; j < n; j += LANES) {
        const size_t m = min_size(LANES, n - j);
        const vec a = per_u * v_load_n(u + j, m, 0), b = per_v * v_load_n(v + j, m, 0);
        v_store_n(e->du + j, per_u * (across * b - along_u * a), m);
        v_store_n(e->dv + j, per_v * (across * a - along_v * b), m);
    }
    return 0.5 * error * error;
}

/* Losses into the branch's row_loss, ∂Q/∂u and ∂Q/∂v times weight × scale into its delta[0]. */
static void cosine_rows(const pairs_t *q, const piece_t *c, size_t from, size_t to)
{
    const data_t *d = c->samples->data;
    for (size_t i = from; i < to; i++) {
        const size_t pair = sample_at(c->samples, c->position + i);
        const double weight = weight_of(d, pair);
        const embedding_pair_t e = embeddings_of(q, i, c->rows);
        q->branch->work.row_loss[i] =
            weight *
            cosine_loss(&e, ((const real *)d->targets)[pair * d->ldt], (real)(weight * c->scale));
    }
}

/* ---- junctions with a head ------------------------------------------------------------- */

/* u and v into the head's inputs */
static void gather_head_input(const pairs_t *q, size_t rows, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const embedding_pair_t e = embeddings_of(q, i, rows);
        real *x = at(q->head->work.x, i, q->head->work.ldx);
        if (q->kind == PAIR_RELATION) {
            copy_row(x, e.u, e.n);
            copy_row(x + e.n, e.v, e.n);
        } else {
            for (size_t j = 0; j < e.n; j++)
                x[j] = e.u[j] < e.v[j] ? e.v[j] - e.u[j] : e.u[j] - e.v[j];
        }
    }
}

/* ∂Q/∂x of the head, which has replaced x, into ∂Q/∂u and ∂Q/∂v at the branch's delta[0] */
static void scatter_head_gradient(const pairs_t *q, size_t rows, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const embedding_pair_t e = embeddings_of(q, i, rows);
        const real *dx = at(q->head->work.x, i, q->head->work.ldx);
        if (q->kind == PAIR_RELATION) {
            copy_row(e.du, dx, e.n);
            copy_row(e.dv, dx + e.n, e.n);
        } else {
            for (size_t j = 0; j < e.n; j++) {
                e.du[j] = e.u[j] < e.v[j] ? -dx[j] : e.u[j] > e.v[j] ? dx[j] : 0;
                e.dv[j] = -e.du[j];
            }
        }
    }
}

/* ∂Q/∂x = δ W_0ᵀ replaces x, which backward_piece no longer needs.  δ of layer l was left in
 * delta[(L − 1 − l) mod 2]. */
static void input_delta(const piece_t *c)
{
    const workspace_t *work = &c->p->work;
    const layer_t *first = &c->net->layers[0];
    const real *delta = work->delta[(c->net->n_layers - 1) & 1];
    const real *w = (const real *)c->net->params + first->w;
    if (c->rows >= FEW_ROWS) {
        const gemm_t g = {NT, c->rows, first->n_in, first->n_out, delta, w, work->x, first->ld,
                          first->n_out, work->ldx, 0, NULL, NULL};
        gemm(&g, c->pack, c->w);
        return;
    }
    size_t from, to;
    split_range(c->w, c->rows, 1, &from, &to);
    for (size_t i = from; i < to; i++)
        matrix_times_row(at(work->x, i, work->ldx), w, first->n_out, first->n_in,
                         delta + i * first->ld, first->n_out);
}

static void head_gradient(const piece_t *c, int with_gradient)
{
    forward_piece(c);
    loss_piece(c);
    if (!with_gradient)
        return;
    backward_piece(c);
    input_delta(c);
}

/* ---- a piece of a batch ---------------------------------------------------------------- */

/* The part of piece_gradient (passes.h) for pairs: at most branch->work.batch / 2 of them. */
static void pair_piece(const pairs_t *q, const batch_t *b, const piece_t *pairs)
{
    const plan_t *branch = q->branch;
    const layer_t *top = &branch->net.layers[branch->net.n_layers - 1];
    const worker_t *w = pairs->w;
    const size_t rows = pairs->rows;
    /* the rows of this piece, in the order of the workspace */
    const samples_t samples = {q->inputs, q->rows, 2 * rows};
    piece_t both = *pairs;
    size_t from, to;
    both.samples = &samples;
    both.batch = both.position = 0;
    both.rows = 2 * rows;
    gather_pairs(q, pairs, &both);
    prepare_inputs(&both);
    forward_piece(&both);
    split_range(w, rows, 4, &from, &to);
    if (!q->head) {
        cosine_rows(q, pairs, from, to);
    } else {
        gather_head_input(q, rows, from, to);
        barrier_wait(w);
        if (works_on_head(q, w)) {
            const worker_t on_head = head_worker(q, w);
            piece_t c = piece_of(q->head, &q->head->net, b, &on_head);
            c.position = pairs->position;
            c.rows = rows;
            c.accumulate = pairs->accumulate;
            head_gradient(&c, b->with_gradient);
        }
    }
    barrier_wait(w);
    if (!b->with_gradient)
        return;
    if (q->head)
        scatter_head_gradient(q, rows, from, to);
    for (size_t i = from; i < to; i++)
        for (size_t row = i; row < 2 * rows; row += rows)
            output_backward(&branch->objective.loss, &top->f, at(top->y, row, top->ld),
                            at(top->s, row, top->ld), at(branch->work.delta[0], row, top->ld),
                            top->n_out);
    barrier_wait(w);
    backward_piece(&both);
}

/* ---- the trainer ------------------------------------------------------------------------- */

/* The plan in whose row_loss the losses of pairs are. */
INLINE const plan_t *loss_plan(const pairs_t *q) { return q->head ? q->head : q->branch; }

static int pair_gradient(const trainer_t *tr, const batch_t *b, const worker_t *w, double *loss)
{
    const pairs_t *q = tr->pairs;
    piece_t c = piece_of(q->branch, &q->branch->net, b, w);
    for (c.position = b->begin; c.position < b->end; c.position += c.rows) {
        c.rows = min_size(q->branch->work.batch / 2, b->end - c.position);
        c.accumulate = b->accumulate || c.position > b->begin;
        pair_piece(q, b, &c);
        if (w->tid == 0)
            *loss += sum_losses(loss_plan(q), c.rows);
        barrier_wait(w);
    }
    return 0;
}

static void pair_update(trainer_t *tr, const step_t *step, const worker_t *w)
{
    const pairs_t *q = tr->pairs;
    update_parameters(q->branch, step, w);
    if (works_on_head(q, w)) {
        const worker_t on_head = head_worker(q, w);
        update_parameters(q->head, step, &on_head);
    }
}

static double pair_penalised(const trainer_t *tr, double value, double weight_sum)
{
    value += penalty(tr->plan, weight_sum);
    return tr->head ? value + penalty(tr->head, weight_sum) : value;
}

static trainer_t pair_trainer(const pairs_t *q)
{
    return (trainer_t){.plan = q->branch, .head = q->head, .pairs = q, .value_scale = 1,
                       .gradient = pair_gradient, .update = pair_update,
                       .penalised = pair_penalised};
}

#endif
