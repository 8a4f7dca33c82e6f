/* pairs.h — a twin network on both samples of a pair, and what is made of the two embeddings
 * u, v [S P65.22–65.24].
 *
 *   cosine     c = uᵀv / ‖u‖‖v‖,          Q = ½(c − t)²,  t = ±1
 *   distance   ∣u − v∣ → head (affine, logistic),  Q cross-entropy
 *   relation   (u, v)  → head (a second network),  Q = ½(r − t)²,  t ∈ {0, 1}
 *
 * The twin is a plan over 2B rows: row i is the first sample of pair i, row B + i the second;
 * its weights are there once, and its gradient is the sum over both rows.  The head is a plan
 * over B rows, whose inputs x are written by the junction here; the cosine has none.  On the
 * way back ∂Q/∂x of the head takes the place of x, and goes through the junction into the
 * twin's δ_L.
 *
 * Both plans run in the same threads.  A head too small for them (its plan then has room for
 * one) is left to thread 0 while the others wait.
 *
 * What is used of the rest: sample_at, copy_row, gather_target, prepare_inputs, forward_batch,
 * loss_batch, backward_batch, sum_losses (passes.h); output_backward (loss.h);
 * matrix_times_row (gemv.h); gemm; batch_length, batch_weight, update_parameters, penalty
 * (epoch.h); share, wait_all (parallel.h); team_*.
 */
#ifndef MLP_TRAINING_PAIRS_H
#define MLP_TRAINING_PAIRS_H

#include "training/epoch.h"

/* ‖u‖² below this has lost digits; u whose values are all below counts as 0. */
#define SHORTEST R(1.2e-38f, 2.3e-308)

/* Whether this thread works on the head, alone or with all. */
INLINE int at_head(const pair_plan_t *q, size_t tid)
{
    return q->head && (tid == 0 || q->head->n_threads > 1);
}

/* Pairs [position, position + rows) of the order into the workspaces. */
static void gather_pairs(const pair_plan_t *q, size_t position, size_t rows, size_t tid)
{
    const plan_t *twin = q->twin;
    const data_t *samples = q->samples;
    size_t from, to;
    share(rows, 4, tid, twin->n_threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t pair = sample_at(q->pairs, position + i);
        for (size_t side = 0; side < 2; side++) {
            const size_t row = side * rows + i, sample = (size_t)q->index[2 * pair + side];
            q->rows[row] = (int64_t)sample;
            const real *x = (const real *)samples->x + sample * samples->ldx;
            if (in_place(twin, samples))
                ((const real **)twin->rows)[row] = x;
            else if (samples->x)
                copy_row(at(twin->x, row, twin->ldx), x, twin->n_inputs);
        }
        if (q->head)
            gather_target(q->head, q->pairs, pair, at(q->head->t, i, q->head->ldt));
    }
    wait_all(twin);
}

/* ---- cosine --------------------------------------------------------------------------- */

/* What u is divided by before its squares are summed: 1, unless they leave the range. */
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

/* Q of a pair, and `factor` times its gradient in u and v.  0 has no direction: its cosine is
 * 0, its gradient too. */
static double cosine_loss(const real *u, const real *v, real target, real factor, real *du,
                          real *dv, size_t n)
{
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
        v_store_n(du + j, per_u * (across * b - along_u * a), m);
        v_store_n(dv + j, per_v * (across * a - along_v * b), m);
    }
    return 0.5 * error * error;
}

/* Losses into the twin's row_loss, ∂Q/∂u and ∂Q/∂v times weight × scale into its delta[0]. */
static void cosine_rows(const pair_plan_t *q, size_t position, size_t rows, double scale,
                        size_t from, size_t to)
{
    const plan_t *twin = q->twin;
    const layer_t *top = &twin->layers[twin->n_layers - 1];
    for (size_t i = from; i < to; i++) {
        const size_t pair = sample_at(q->pairs, position + i);
        const double weight = weight_of(q->pairs, pair);
        twin->row_loss[i] =
            weight * cosine_loss(at(top->y, i, top->ld), at(top->y, rows + i, top->ld),
                                 ((const real *)q->pairs->targets)[pair * q->pairs->ldt],
                                 (real)(weight * scale), at(twin->delta[0], i, top->ld),
                                 at(twin->delta[0], rows + i, top->ld), top->n_out);
    }
}

/* ---- junctions with a head ------------------------------------------------------------- */

/* u and v into the head's inputs */
static void join_rows(const pair_plan_t *q, size_t rows, size_t from, size_t to)
{
    const layer_t *top = &q->twin->layers[q->twin->n_layers - 1];
    const size_t n = top->n_out;
    for (size_t i = from; i < to; i++) {
        const real *u = at(top->y, i, top->ld), *v = at(top->y, rows + i, top->ld);
        real *x = at(q->head->x, i, q->head->ldx);
        if (q->kind == PAIR_RELATION) {
            copy_row(x, u, n);
            copy_row(x + n, v, n);
        } else {
            for (size_t j = 0; j < n; j++)
                x[j] = u[j] < v[j] ? v[j] - u[j] : u[j] - v[j];
        }
    }
}

/* ∂Q/∂x of the head, in the place of x, into ∂Q/∂u and ∂Q/∂v at the twin's delta[0] */
static void part_rows(const pair_plan_t *q, size_t rows, size_t from, size_t to)
{
    const layer_t *top = &q->twin->layers[q->twin->n_layers - 1];
    const size_t n = top->n_out;
    for (size_t i = from; i < to; i++) {
        const real *u = at(top->y, i, top->ld), *v = at(top->y, rows + i, top->ld);
        real *du = at(q->twin->delta[0], i, top->ld);
        real *dv = at(q->twin->delta[0], rows + i, top->ld);
        const real *e = at(q->head->x, i, q->head->ldx);
        if (q->kind == PAIR_RELATION) {
            copy_row(du, e, n);
            copy_row(dv, e + n, n);
        } else {
            for (size_t j = 0; j < n; j++) {
                du[j] = u[j] < v[j] ? -e[j] : u[j] > v[j] ? e[j] : 0;
                dv[j] = -du[j];
            }
        }
    }
}

/* ∂Q/∂x = δ W_0ᵀ in the place of x, which backward_batch has done with.  δ of layer l was
 * left in delta[(L − 1 − l) mod 2]. */
static void input_delta(const plan_t *p, size_t rows, size_t tid)
{
    const layer_t *first = &p->layers[0];
    const real *delta = p->delta[(p->n_layers - 1) & 1];
    const real *w = (const real *)p->params + first->w;
    if (rows >= FEW_ROWS) {
        const gemm_t g = {NT, rows, first->n_in, first->n_out, delta, w, p->x, first->ld,
                          first->n_out, p->ldx, 0, NULL};
        gemm(&g, (real *)p->pack + tid * p->pack_size, tid, p->n_threads);
        return;
    }
    size_t from, to;
    share(rows, 1, tid, p->n_threads, &from, &to);
    for (size_t i = from; i < to; i++)
        matrix_times_row(at(p->x, i, p->ldx), w, first->n_out, first->n_in,
                         delta + i * first->ld, first->n_out);
}

static void head_gradient(const pair_plan_t *q, size_t position, size_t rows, double scale,
                          int accumulate, int with_gradient, size_t tid)
{
    const plan_t *head = q->head;
    forward_batch(head, q->pairs, 0, 0, rows, tid);
    loss_batch(head, q->pairs, position, rows, scale, tid);
    if (!with_gradient)
        return;
    backward_batch(head, q->pairs, 0, position, rows, accumulate, tid);
    input_delta(head, rows, tid);
}

/* ---- a piece of a batch ---------------------------------------------------------------- */

/* batch_gradient (passes.h) for pairs [position, position + rows), 2·rows ≤ twin->batch */
static void pair_gradient(const pair_plan_t *q, size_t position, size_t rows, double scale,
                          int accumulate, int with_gradient, size_t tid)
{
    const plan_t *twin = q->twin;
    const layer_t *top = &twin->layers[twin->n_layers - 1];
    data_t both = *q->samples; /* the rows of this piece, in the order of the workspace */
    size_t from, to;
    both.n_samples = 2 * rows;
    both.order = q->rows;
    gather_pairs(q, position, rows, tid);
    prepare_inputs(twin, &both, 0, 0, 2 * rows, tid);
    forward_batch(twin, &both, 0, 0, 2 * rows, tid);
    share(rows, 4, tid, twin->n_threads, &from, &to);
    if (!q->head) {
        cosine_rows(q, position, rows, scale, from, to);
    } else {
        join_rows(q, rows, from, to);
        wait_all(twin);
        if (at_head(q, tid))
            head_gradient(q, position, rows, scale, accumulate, with_gradient, tid);
    }
    wait_all(twin);
    if (!with_gradient)
        return;
    if (q->head)
        part_rows(q, rows, from, to);
    for (size_t i = from; i < to; i++)
        for (size_t row = i; row < 2 * rows; row += rows)
            output_backward(&twin->loss, &top->f, at(top->y, row, top->ld),
                            at(top->s, row, top->ld), at(twin->delta[0], row, top->ld),
                            top->n_out);
    wait_all(twin);
    backward_batch(twin, &both, 0, 0, 2 * rows, accumulate, tid);
}

/* The plan in whose row_loss the losses of pairs are. */
INLINE const plan_t *judge(const pair_plan_t *q) { return q->head ? q->head : q->twin; }

/* ---- loss and gradient of a set of pairs ------------------------------------------------- */

typedef struct {
    const pair_plan_t *q;
    size_t begin, end;
    double weight, loss;
    int accumulate, with_gradient;
} pair_gradient_job;

static void pair_gradient_thread(void *arg, size_t tid, size_t n_threads)
{
    pair_gradient_job *job = arg;
    const pair_plan_t *q = job->q;
    (void)n_threads;
    for (size_t at = job->begin; at < job->end;) {
        const size_t rows = min_size(q->twin->batch / 2, job->end - at);
        pair_gradient(q, at, rows, job->weight, job->accumulate || at > job->begin,
                      job->with_gradient, tid);
        if (tid == 0)
            job->loss += sum_losses(judge(q), rows);
        at += rows;
        wait_all(q->twin);
    }
}

/* ---- the epoch --------------------------------------------------------------------------- */

typedef struct {
    const pair_plan_t *q;
    epoch_t *epoch;
} pair_epoch_job;

/* epoch_thread (epoch.h) for pairs: a step changes both networks. */
static void pair_epoch_thread(void *arg, size_t tid, size_t n_threads)
{
    const pair_epoch_job *job = arg;
    const pair_plan_t *q = job->q;
    plan_t *twin = q->twin, *head = q->head;
    epoch_t *e = job->epoch;
    const double deadline = team_seconds() + e->seconds;
    size_t position = e->position;
    int64_t t = twin->solver.t;

    (void)n_threads;
    wait_all(twin);
    while (position < q->pairs->n_samples && !e->stop) {
        const size_t length = batch_length(twin, q->pairs, e, position);
        const double weight_sum = batch_weight(q->pairs, position, length);
        const double scale = weight_sum > 0 ? 1 / weight_sum : 0, rate = rate_of(e, t);
        double loss = 0;
        for (size_t done = 0; done < length;) {
            const size_t rows = min_size(twin->batch / 2, length - done);
            pair_gradient(q, position + done, rows, scale, done > 0, 1, tid);
            if (tid == 0)
                loss += sum_losses(judge(q), rows);
            done += rows;
        }
        if (weight_sum > 0) {
            t++;
            update_parameters(twin, rate, t, weight_sum, tid);
            if (at_head(q, tid))
                update_parameters(head, rate, t, weight_sum, tid);
        }
        position += length;
        if (tid == 0 && team_seconds() > deadline)
            e->stop = 1;
        wait_all(twin);
        if (tid == 0 && weight_sum > 0)
            e->loss += (loss / weight_sum + penalty(twin, weight_sum) +
                        (head ? penalty(head, weight_sum) : 0)) *
                       (double)length;
    }
    wait_all(twin);
    if (tid == 0) {
        e->position = position;
        twin->solver.t = t;
        if (head)
            head->solver.t = t;
        if (e->gradient_norms && position >= q->pairs->n_samples) {
            layer_gradient_norms(twin, e->gradient_norms);
            if (head)
                layer_gradient_norms(head, e->gradient_norms + twin->n_layers);
        }
    }
}

/* ---- the team ------------------------------------------------------------------------------ */

static void run_pairs(team_function *f, void *job, const pair_plan_t *q)
{
    plan_t *twin = q->twin, *head = q->head;
    const size_t wanted = twin->n_threads, room = head ? head->n_threads : 0;
    twin->n_threads = team_begin(wanted);
    twin->barrier = team_barrier_of_pool();
    if (head) {
        head->n_threads = room < twin->n_threads ? 1 : twin->n_threads;
        head->barrier = twin->barrier;
    }
    team_run(f, job, twin->n_threads);
    team_end(twin->n_threads);
    twin->n_threads = wanted;
    if (head)
        head->n_threads = room;
}

static double pair_gradient_entry(const pair_plan_t *q, size_t begin, size_t end, double weight,
                                  int accumulate, int with_gradient)
{
    pair_gradient_job job = {q, begin, end, weight, 0, accumulate, with_gradient};
    run_pairs(pair_gradient_thread, &job, q);
    return job.loss;
}

static void pair_epoch_entry(const pair_plan_t *q, epoch_t *e)
{
    pair_epoch_job job = {q, e};
    run_pairs(pair_epoch_thread, &job, q);
}

#endif
