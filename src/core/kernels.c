/* kernels.c — everything that runs per step, compiled once for each (instruction set ×
 * precision); the build defines MLP_TABLE, the name of the table, and what simd.h needs.
 *
 *   machine/      vectors and elementary functions of one instruction set; threads
 *   products/     gemm.h with many rows, gemv.h with one, gemm_narrow.h a few columns
 *   network/      activations, losses and kinds of layers (layer.h); a batch through the network
 *                 and back (passes.h)
 *   training/     the update (optimizer.h, step.h), an epoch (epoch.h), the thinned network of
 *                 dropout, pairs
 *   single/       the per-sample path: an epoch of single samples
 *   derivatives/  first_order.h, second_order.h of a trained network
 */
#include "derivatives/second_order.h"
#include "single/epoch.h"
#include "training/pairs.h"
#include "training/thinned.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

/* ---- kernels by themselves, for tests and benchmarks ----------------------------------- */

static void gemm_thread(void *arg, const worker_t *w)
{
    const product_t *p = arg;
    const gemm_t g = {(enum product)p->kind, p->m, p->n, p->k, p->a, p->b, p->c, p->lda, p->ldb,
                      p->ldc, 0, NULL, (const real *const *)p->rows};
    gemm(&g, (real *)p->pack + w->tid * KC * NR, w);
}

static void gemm_entry(const product_t *p) { team_run(gemm_thread, (void *)p, p->n_threads); }

#define VMATH_LIST(X) X(exp) X(expm1) X(log) X(log1p) X(tanh) X(logistic) X(softplus) X(erf) X(erfc)

/* Which of n units of a layer are kept, as bytes (tests, and callers that need the masks). */
static void mask_entry(uint8_t *kept, uint64_t seed, uint64_t batch, uint64_t layer, size_t n,
                       double drop)
{
    const uint64_t key = mask_key(seed, batch, layer);
    for (size_t j = 0; j < n; j++)
        kept[j] = (uint8_t)(drop == 0 || is_kept(key, j, drop));
}

static void vmath_entry(int which, void *out, const void *in, size_t n)
{
    real *y = out;
    const real *x = in;
    for (size_t i = 0; i < n; i += LANES) {
        const size_t m = min_size(LANES, n - i);
        const vec v = v_load_n(x + i, m, 0);
        vec r = v;
        int code = 0;
#define X(f)                                                                                 \
    if (which == code++)                                                                     \
        r = v_##f(v);
        VMATH_LIST(X)
#undef X
        v_store_n(y + i, r, m);
    }
}

/* ---- prediction ----------------------------------------------------------------------- */

typedef struct {
    const plan_t *p;
    const data_t *d;
    const forward_t *f;
    size_t ld;
    real *columns;
} forward_job;

/* The worker's rows in chunks, each through all layers between two buffers. */
static void forward_thread(void *arg, const worker_t *w)
{
    const forward_job *job = arg;
    const forward_t *f = job->f;
    const plan_t *p = job->p;
    const network_t *net = &p->net;
    const data_t *d = job->d;
    const samples_t samples = {d, NULL, d->n_samples};
    const size_t ld = job->ld, n_outputs = net->n_outputs;
    real *buffer[2] = {(real *)f->scratch + 2 * w->tid * f->chunk * ld, NULL};
    buffer[1] = buffer[0] + f->chunk * ld;
    piece_t c = {.p = p, .net = net, .samples = &samples, .w = &alone,
                 .pack = (real *)f->pack + w->tid * p->work.pack_size,
                 .columns = job->columns + w->tid * columns_size(net, f->chunk)};
    size_t from, to;
    split_range(w, f->end - f->begin, MR, &from, &to);
    for (size_t at = from; at < to; at += f->chunk) {
        c.position = f->begin + at;
        c.rows = min_size(f->chunk, to - at);
        input_t in = {d->indptr ? NULL : (const real *)d->x + c.position * d->ldx, d->ldx, NULL,
                      d->indptr != NULL};
        for (size_t l = 0; l < net->n_layers; l++) {
            real *y = buffer[l & 1];
            layer_forward(&c, l, &in, &(output_t){y, y, ld});
            in = (input_t){y, ld, NULL, 0};
        }
        for (size_t i = 0; i < c.rows; i++) {
            real *y = (real *)in.a + i * ld;
            if (net->layers[net->n_layers - 1].f.code == ACT_SOFTMAX)
                grouped_softmax(&p->objective.loss, y);
            memcpy((real *)f->out + (at + i) * n_outputs, y, n_outputs * sizeof(real));
        }
    }
}

static void forward_entry(const plan_t *p, const data_t *d, const forward_t *f)
{
    forward_job job = {p, d, f, 0, NULL};
    for (size_t l = 0; l < p->net.n_layers; l++)
        if (p->net.layers[l].ld > job.ld)
            job.ld = p->net.layers[l].ld;
    job.columns = (real *)f->scratch + 2 * f->n_threads * f->chunk * job.ld;
    team_run(forward_thread, &job, f->n_threads);
}

/* ---- training ------------------------------------------------------------------------- */

static double gradient_entry(plan_t *p, const batch_t *b)
{
    trainer_t tr = b->pairs ? pair_trainer(b->pairs) : trainer_of(p);
    return run_gradient(&tr, b);
}

static double step_entry(plan_t *p, const step_t *step)
{
    trainer_t tr = trainer_of(p);
    return run_step(&tr, step);
}

static void epoch_entry(plan_t *p, epoch_t *e)
{
    if (p->work.single) {
        single_epoch(p, e);
        return;
    }
    trainer_t tr = e->pairs ? pair_trainer(e->pairs) : trainer_of(p);
    run_epoch(&tr, e);
}

/* ---- derivatives of a trained network -------------------------------------------------- */

typedef struct {
    const plan_t *p;
    const data_t *d;
    const sensitivity_t *q;
    size_t begin, end;
    int failed;
} sensitivity_job;

/* First order: the threads divide the samples and work block by block; second order: every block
 * together. */
static void sensitivity_thread(void *arg, const worker_t *w)
{
    sensitivity_job *job = arg;
    const int second = is_second_order(job->q->kind);
    real *scratch = job->q->scratch;
    block_t b;
    if (!second)
        scratch += w->tid * sensitivity_size(job->p, job->q, 1);
    scratch += lay_out(&b, job->p, job->d, job->q, scratch);
    if (second)
        scratch += w->tid * lay_out_own(&b, NULL);
    lay_out_own(&b, scratch);
    size_t from = 0, to = job->end - job->begin;
    if (!second)
        split_range(w, to, MR, &from, &to);
    for (size_t at = job->begin + from; at < job->begin + to && !job->failed; at += b.rows) {
        const size_t rows = min_size(b.rows, job->begin + to - at);
        begin_block(&b, at);
        if (second)
            second_order_block(&b, at, rows, w);
        else if (first_order_block(&b, at, rows))
            job->failed = 1;
    }
}

static int sensitivity_entry(const plan_t *plan, const data_t *d, size_t begin, size_t end,
                             const sensitivity_t *q, size_t n_threads)
{
    plan_t p = *plan; /* others may be using the caller's */
    sensitivity_job job = {&p, d, q, begin, end, 0};
    p.work.ldt = row_stride(p.net.n_outputs);
    team_run(sensitivity_thread, &job, n_threads);
    return job.failed;
}

/* ---- limits of the machine, for bench/roofline.py --------------------------------------- */

/* 24 independent chains of multiply-adds, `n` links each; returns the operations done. */
static double probe_multiply_add(size_t n)
{
    enum { CHAINS = MR * NV };
    vec a[CHAINS];
    const vec x = v_set1((real)0.999), y = v_set1((real)0.001);
    for (size_t i = 0; i < CHAINS; i++)
        a[i] = v_set1((real)i);
    for (size_t k = 0; k < n; k++)
#if defined(__GNUC__)
#pragma GCC unroll 24
#endif
        for (size_t i = 0; i < CHAINS; i++)
            a[i] = a[i] * x + y;
    vec sum = v_zero();
    for (size_t i = 0; i < CHAINS; i++)
        sum += a[i];
    /* a result that is used, so that the work is done */
    return v_sum(sum) == 12345 ? 0 : 2.0 * (double)(n * CHAINS * LANES);
}

/* One pass over a buffer, reading it, or reading and writing. */
static double probe_memory(void *buffer, size_t n, int write)
{
    real *p = buffer;
    vec sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    const vec f = v_set1((real)0.9999);
    for (size_t j = 0; j + 4 * LANES <= n; j += 4 * LANES)
        for (size_t v = 0; v < 4; v++) {
            const vec a = v_load(p + j + v * LANES);
            if (write)
                v_store(p + j + v * LANES, a * f);
            else
                sum[v] += a;
        }
    return (double)v_sum(sum[0] + sum[1] + sum[2] + sum[3]);
}

const kernels_t MLP_TABLE = {
    .name = STRING(MLP_ISA_NAME),
    .size = sizeof(real),
    .lanes = LANES,
    .tile_rows = MR,
    .tile_cols = NR,
    .pack_size = KC * NR,
    .row_stride = row_stride,
    .columns_size = columns_size,
    .single_possible = single_possible,
    .single_size = single_size,
    .gemm = gemm_entry,
    .vmath = vmath_entry,
    .mask = mask_entry,
    .forward = forward_entry,
    .gradient = gradient_entry,
    .step = step_entry,
    .epoch = epoch_entry,
    .sensitivity_size = sensitivity_size,
    .sensitivity = sensitivity_entry,
    .probe_multiply_add = probe_multiply_add,
    .probe_memory = probe_memory,
};
