/* epoch.h — an epoch of batches, for whatever can be trained.
 *
 * A trainer gives the gradient of a batch and makes a step from it; the epoch puts the batches
 * one after the other.  There are three: a plan (here), a plan with a dropout mask per batch
 * (thinned.h), and pairs of samples (pairs.h).
 */
#ifndef MLP_TRAINING_EPOCH_H
#define MLP_TRAINING_EPOCH_H

#include "network/passes.h"
#include "training/gradient_norms.h"
#include "training/step.h"

typedef struct trainer {
    plan_t *plan, *head;     /* what is trained; the head of pairs, else NULL            */
    const pairs_t *pairs;    /* or NULL                                                  */
    double value_scale;      /* of the reported loss                                     */
    double penalty;          /* set by `update` if it is known before it only (thread 0) */
    /* gradient of the batch; the summed loss to thread 0; nonzero if a callback failed */
    int (*gradient)(const struct trainer *, const batch_t *, const worker_t *, double *loss);
    void (*update)(struct trainer *, const step_t *, const worker_t *);
    /* the value with the penalties before the update added */
    double (*penalised)(const struct trainer *, double value, double weight_sum);
} trainer_t;

/* ---- a plan ---------------------------------------------------------------------------- */

static int plan_gradient(const trainer_t *tr, const batch_t *b, const worker_t *w, double *loss)
{
    const int failed = batch_gradient(tr->plan, &tr->plan->net, b, w, loss);
    if (b->with_gradient && !failed)
        apply_ties(tr->plan, GATHER_GRADIENT, w);
    return failed;
}

static void plan_update(trainer_t *tr, const step_t *step, const worker_t *w)
{
    update_parameters(tr->plan, step, w);
    if (tr->plan->net.n_ties)
        barrier_wait(w);
    apply_ties(tr->plan, COPY_WEIGHTS, w);
}

static double plan_penalised(const trainer_t *tr, double value, double weight_sum)
{
    return value + penalty(tr->plan, weight_sum);
}

/* ---- the epoch ------------------------------------------------------------------------- */

static double weight_of_batch(const samples_t *s, size_t position, size_t length)
{
    double sum = 0;
    if (!s->data->weights)
        return (double)length;
    for (size_t i = 0; i < length; i++)
        sum += weight_of(s->data, sample_at(s, position + i));
    return sum;
}

/* Samples of the batch at `position`.  Batch norm has no variance of one: a last batch of one
 * joins the one before it. */
INLINE size_t batch_length(const plan_t *p, const epoch_t *e, size_t position)
{
    const size_t rest = e->samples.n - position;
    const size_t length = min_size(e->batch_size, rest);
    return p->net.joins_last && rest == length + 1 ? rest : length;
}

typedef struct {
    trainer_t *trainer;
    epoch_t *epoch;
} epoch_job;

static void epoch_thread(void *arg, const worker_t *w)
{
    const epoch_job *job = arg;
    trainer_t *tr = job->trainer;
    plan_t *p = tr->plan;
    epoch_t *e = job->epoch;
    const size_t n = e->samples.n;
    const double deadline = team_seconds() + e->seconds;
    batch_t b = {.samples = e->samples, .pairs = e->pairs, .with_gradient = 1};
    int64_t t = p->optimizer.t;

    b.first = e->position;
    barrier_wait(w);
    while (b.first < n && !e->stop && !e->abandon) {
        const size_t length = batch_length(p, e, b.first);
        const double weight_sum = weight_of_batch(&b.samples, b.first, length);
        const double rate = rate_of(e, t);
        double loss = 0;
        b.begin = b.first;
        b.end = b.first + length;
        b.scale = weight_sum > 0 ? 1 / weight_sum : 0;
        if (tr->gradient(tr, &b, w, &loss)) { /* one thread */
            e->failed = e->stop = 1;
            break;
        }
        if (weight_sum > 0)
            tr->update(tr, &(step_t){rate, ++t, weight_sum}, w);
        b.first += length;
        if (w->tid == 0 && team_seconds() > deadline)
            e->stop = 1;
        barrier_wait(w);
        if (w->tid == 0 && weight_sum > 0)
            e->loss += tr->penalised(tr, tr->value_scale * loss / weight_sum, weight_sum) *
                       (double)length;
    }
    barrier_wait(w);
    if (w->tid)
        return;
    e->position = b.first;
    p->optimizer.t = t;
    if (tr->head)
        tr->head->optimizer.t = t;
    if (e->gradient_norms && b.first >= n) {
        layer_gradient_norms(p, e->gradient_norms);
        if (tr->head)
            layer_gradient_norms(tr->head, e->gradient_norms + p->net.n_layers);
    }
}

static void run_epoch(trainer_t *tr, epoch_t *e)
{
    team_run(epoch_thread, &(epoch_job){tr, e}, tr->plan->work.n_threads);
}

/* ---- half a step each -------------------------------------------------------------------- */

typedef struct {
    trainer_t *trainer;
    const batch_t *batch;
    const step_t *step;
    double loss;
    int failed;
} half_job;

static void gradient_thread(void *arg, const worker_t *w)
{
    half_job *job = arg;
    double loss = 0;
    const int failed = job->trainer->gradient(job->trainer, job->batch, w, &loss);
    if (w->tid == 0) {
        job->loss = loss;
        job->failed = failed;
    }
}

/* The sum of the weighted losses; NaN if a callback failed. */
static double run_gradient(trainer_t *tr, const batch_t *b)
{
    half_job job = {tr, b, NULL, 0, 0};
    team_run(gradient_thread, &job, tr->plan->work.n_threads);
    return job.failed ? NAN : job.loss;
}

static void step_thread(void *arg, const worker_t *w)
{
    const half_job *job = arg;
    job->trainer->update(job->trainer, job->step, w);
}

/* The penalties before the step. */
static double run_step(trainer_t *tr, const step_t *step)
{
    half_job job = {tr, NULL, step, 0, 0};
    team_run(step_thread, &job, tr->plan->work.n_threads);
    tr->plan->optimizer.t = step->t;
    return tr->penalised(tr, 0, step->weight_sum);
}

#endif
