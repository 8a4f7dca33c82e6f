/* epoch.h — the per-sample path: stochastic gradient descent on single samples.
 *
 * It is another trainer than that of batches (training/epoch.h), because an update that is fused
 * with the backward pass has no gradient.  It can do what a plain plan needs (plan_t.plain):
 * dense layers, a built-in loss, alpha, l2, and dropout with a mask per batch.  Two names are
 * used outside: single_possible and single_epoch (with single_size, its workspace).
 */
#ifndef MLP_SINGLE_EPOCH_H
#define MLP_SINGLE_EPOCH_H

#include "single/dropped.h"

/* ---- which epochs ------------------------------------------------------------------------ */

/* The smallest factor by which a step decays the weights. */
static double least_decay(const plan_t *p, const epoch_t *e)
{
    const samples_t *samples = &e->samples;
    double least = 1, rate = 0;
    for (size_t i = 0; i < e->n_rates; i++)
        rate = e->rates[i] > rate ? e->rates[i] : rate;
    if (p->objective.alpha != 0 && samples->data->weights)
        for (size_t i = 0; i < samples->n; i++) {
            const double w = weight_of(samples->data, sample_at(samples, i));
            least = w > 0 && w < least ? w : least;
        }
    return 1 - rate * (p->objective.alpha / least + 2 * p->objective.l2);
}

/* Whether this path can train the epoch; if not, it is trained in batches of one row. */
static int single_possible(const plan_t *p, const epoch_t *e)
{
    return p->plain && p->optimizer.code == SOLVER_SGD && e->batch_size == 1 &&
           p->net.n_layers <= MAX_LAYERS &&
           /* s must stay away from 0; no sensible rate decays by half per step */
           least_decay(p, e) > 0.5;
}

static size_t single_size(const plan_t *p, size_t n_threads)
{
    return drops_units(p) ? dropped_size(&p->net) : state_size(&p->net, n_threads);
}

/* ---- the epoch ---------------------------------------------------------------------------- */

typedef struct {
    plan_t *plan;
    epoch_t *epoch;
    double deadline;
    int drops;
} single_job;

/* One sample after the other, until the epoch is over or it is time to leave.  The state is kept
 * at the head of the plan's workspace for the whole epoch: if s were folded whenever the epoch
 * is left to check for signals, the bits would depend on the clock. */
static void single_thread(void *arg, const worker_t *w)
{
    const single_job *job = arg;
    plan_t *p = job->plan;
    epoch_t *e = job->epoch;
    const samples_t *samples = &e->samples;
    state_t *o = p->work.single;
    dropped_t *dropped = p->work.single;
    size_t i = e->position;
    int64_t t = p->optimizer.t;
    int stop = 0, stepped = 0;
    view_t h = {.w = w, .p = p, .e = e, .deadline = job->deadline};

    if (i == 0 && w->tid == 0 && job->drops)
        dropped_init(dropped, p);
    else if (i == 0 && w->tid == 0)
        state_init(o, p, samples);
    barrier_wait(w);
    if (!job->drops) {
        h.with_terms = p->objective.alpha != 0 || p->objective.l2 != 0 || e->gradient_norms;
        view_init(&h, o);
        if (!e->abandon)
            plain_enter(&h, i);
    }
    const size_t ahead = !job->drops && o->delays ? DELAY : ROWS_AHEAD;
    while (i < samples->n && !stop && !e->abandon) {
        const double weight = weight_of(samples->data, sample_at(samples, i));
        stepped = weight > 0;
        const double rate = stepped ? rate_of(e, t++) : 0;
        if (!samples->data->indptr && i + ahead < samples->n)
            prefetch_row(samples, i + ahead, p->net.n_features);
        if (job->drops) {
            dropped_sample(dropped, e, i, rate, weight);
            check_clock(&h);
        } else {
            plain_sample(&h, i, rate, weight);
        }
        stop = stepped && e->stop; /* the same in all threads: set between two barriers */
        i++;
    }
    if ((i == samples->n || e->abandon) && job->drops)
        dropped_fold(dropped);
    else if (i == samples->n || e->abandon)
        plain_leave(&h, i);
    barrier_wait(w);
    if (w->tid || e->abandon)
        return;
    if (!job->drops)
        save_view(&h);
    e->position = i;
    p->optimizer.t = t;
    if (!job->drops && i == samples->n && stepped && e->gradient_norms)
        state_norms(o, e->gradient_norms);
}

static void single_epoch(plan_t *p, epoch_t *e)
{
    single_job job = {p, e, team_seconds() + e->seconds, drops_units(p)};
    const size_t threads = job.drops ? 1 : state_threads(&p->net, p->work.n_threads);
    team_run(single_thread, &job, threads);
}

#endif
