/* kernels.c — everything that runs per step, compiled once for each (instruction set ×
 * precision); the build gives MLP_TABLE, the name of the table, and what simd.h wants.
 *
 *   machine/      vectors and elementary functions of one instruction set; threads
 *   products/     gemm.h with many rows, gemv.h with one, gemm_narrow.h a few columns
 *   network/      activations, losses and kinds of layers; a batch of samples (batch.h),
 *                 through the network and back (passes.h)
 *   training/     the update (optimizer.h), the thinned network of dropout, an epoch, an
 *                 epoch of pairs
 *   single/       an epoch of single samples: state.h its weights, rows.h its passes,
 *                 delayed.h a large first layer, dropout.h the same with dropped units
 *   derivatives/  first_order.h, second_order.h of a trained network
 */
#include "derivatives/second_order.h"
#include "single/dropout.h"
#include "training/pairs.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

/* ---- the products by themselves, for tests and benchmarks ------------------------------ */

typedef struct {
    gemm_t g;
    real *pack;
} gemm_job;

static void gemm_thread(void *arg, size_t tid, size_t n_threads)
{
    const gemm_job *job = arg;
    gemm(&job->g, job->pack + tid * KC * NR, tid, n_threads);
}

static void gemm_entry(int kind, size_t m, size_t n, size_t k, const void *a, size_t lda,
                       const void *const *rows, const void *b, size_t ldb, void *c, size_t ldc,
                       void *pack, size_t n_threads)
{
    gemm_job job = {{(enum product)kind, m, n, k, a, b, c, lda, ldb, ldc, 0, NULL,
                     (const real *const *)rows},
                    pack};
    n_threads = team_begin(n_threads);
    team_run(gemm_thread, &job, n_threads);
    team_end(n_threads);
}

#define VMATH_LIST(X) X(exp) X(expm1) X(log) X(log1p) X(tanh) X(logistic) X(softplus) X(erf) X(erfc)

/* which of n units of a layer are kept, as bytes (tests, and whoever must know the masks) */
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
    size_t begin, end, chunk, ld;
    real *out, *scratch, *columns, *pack;
} forward_job;

/* Reals for the columns of `rows` samples of any layer with edges. */
static size_t columns_room(const plan_t *p, size_t rows)
{
    size_t widest = 0;
    for (size_t l = 0; l < p->n_layers; l++)
        if (p->layers[l].edges && p->layers[l].n_in > widest)
            widest = p->layers[l].n_in;
    return widest * round_up(rows, GROUP);
}

/* Rows [begin, end) in chunks, each through all layers by one thread, between two buffers. */
static void forward_thread(void *arg, size_t tid, size_t n_threads)
{
    const forward_job *job = arg;
    const plan_t *p = job->p;
    const data_t *d = job->d;
    const activation_t *top = &p->layers[p->n_layers - 1].f;
    real *buffer[2] = {job->scratch + 2 * tid * job->chunk * job->ld, NULL};
    buffer[1] = buffer[0] + job->chunk * job->ld;
    real *columns = job->columns + tid * columns_room(p, job->chunk);
    size_t from, to;
    share(job->end - job->begin, MR, tid, n_threads, &from, &to);
    for (size_t at = from; at < to; at += job->chunk) {
        const size_t rows = min_size(job->chunk, to - at), first = job->begin + at;
        const real *a = d->indptr ? NULL : (const real *)d->x + first * d->ldx;
        size_t lda = d->ldx;
        for (size_t l = 0; l < p->n_layers; l++) {
            real *y = buffer[l & 1];
            const activation_t f = layer_activation(p, l, 0);
            layer_product(p, l, &f, (const real *)p->params + p->layers[l].b, a, lda,
                          NULL, l == 0 && d->indptr ? d : NULL, first, rows, y, y, job->ld,
                          job->pack + tid * p->pack_size, columns, 0, 1);
            if (p->layers[l].residual)
                for (size_t i = 0; i < rows; i++)
                    add_scaled(y + i * job->ld, (real)p->layers[l].skip_scale, a + i * lda,
                               p->layers[l].n_out);
            a = y;
            lda = job->ld;
        }
        for (size_t i = 0; i < rows; i++) {
            real *y = (real *)a + i * lda;
            if (top->code == ACT_SOFTMAX)
                grouped_softmax(&p->loss, y);
            memcpy(job->out + (at + i) * p->n_outputs, y, p->n_outputs * sizeof(real));
        }
    }
}

static void forward_entry(const plan_t *p, const data_t *d, size_t begin, size_t end, void *out,
                          void *scratch, size_t chunk, void *pack, size_t n_threads)
{
    forward_job job = {p, d, begin, end, chunk, 0, out, scratch, NULL, pack};
    for (size_t l = 0; l < p->n_layers; l++)
        if (p->layers[l].ld > job.ld)
            job.ld = p->layers[l].ld;
    job.columns = job.scratch + 2 * n_threads * chunk * job.ld;
    const size_t n = team_begin(n_threads);
    team_run(forward_thread, &job, n);
    team_end(n);
}

/* ---- loss and gradient of a set of rows ----------------------------------------------- */

typedef struct {
    plan_t *p;
    const data_t *d;
    size_t begin, end;
    double weight, loss;
    int accumulate, with_gradient, failed;
} gradient_job;

static void gradient_thread(void *arg, size_t tid, size_t n_threads)
{
    gradient_job *job = arg;
    const plan_t *p = job->p;
    (void)n_threads;
    for (size_t at = job->begin; at < job->end && !job->failed;) {
        const size_t rows = min_size(p->batch, job->end - at);
        const int failed = batch_gradient(p, job->d, job->begin, at, rows, job->weight,
                                          job->accumulate || at > job->begin,
                                          job->with_gradient, tid);
        if (tid == 0 && failed)
            job->failed = 1;
        else if (tid == 0)
            job->loss += sum_losses(p, rows);
        at += rows;
        wait_all(p);
    }
}

static double gradient_entry(plan_t *p, const data_t *d, size_t begin, size_t end, double weight,
                             int accumulate, int with_gradient)
{
    gradient_job job = {p, d, begin, end, weight, 0, accumulate, with_gradient, 0};
    const size_t wanted = p->n_threads;
    p->n_threads = team_begin(wanted);
    p->barrier = team_barrier_of_pool();
    team_run(gradient_thread, &job, p->n_threads);
    team_end(p->n_threads);
    p->n_threads = wanted;
    return job.failed ? NAN : job.loss;
}

static size_t single_size(const plan_t *p, size_t n_threads)
{
    return sleeps(p) ? masked_size(p) : online_size(p, n_threads);
}

/* ---- the epoch ------------------------------------------------------------------------ */

static void epoch_entry(plan_t *p, const data_t *d, epoch_t *e)
{
    epoch_job job = {p, d, e};
    const size_t wanted = p->n_threads;
    if (p->single) {
        (sleeps(p) ? masked_epoch : online_epoch)(p, d, e);
        return;
    }
    p->n_threads = team_begin(wanted);
    p->barrier = team_barrier_of_pool();
    team_run(epoch_thread, &job, p->n_threads);
    team_end(p->n_threads);
    p->n_threads = wanted;
}

/* ---- derivatives of a trained network -------------------------------------------------- */

typedef struct {
    const plan_t *p;
    const data_t *d;
    const sensitivity_t *q;
    size_t begin, end;
    int failed;
} sensitivity_job;

/* First order: a share of the samples, block by block; second: every block together. */
static void sensitivity_thread(void *arg, size_t tid, size_t n_threads)
{
    sensitivity_job *job = arg;
    const int second = is_second_order(job->q->kind);
    real *scratch = job->q->scratch;
    block_t b;
    if (!second)
        scratch += tid * sensitivity_size(job->p, job->q, 1);
    scratch += lay_out(&b, job->p, job->d, job->q, scratch);
    if (second)
        scratch += tid * lay_out_own(&b, NULL);
    lay_out_own(&b, scratch);
    size_t from = 0, to = job->end - job->begin;
    if (!second)
        share(to, MR, tid, n_threads, &from, &to);
    for (size_t at = job->begin + from; at < job->begin + to && !job->failed; at += b.rows) {
        const size_t rows = min_size(b.rows, job->begin + to - at);
        begin_block(&b, at);
        if (second)
            answer_second(&b, at, rows, tid);
        else if (answer(&b, at, rows))
            job->failed = 1;
    }
}

static int sensitivity_entry(const plan_t *plan, const data_t *d, size_t begin, size_t end,
                             const sensitivity_t *q, size_t n_threads)
{
    plan_t p = *plan; /* the caller's may be in use by others */
    sensitivity_job job = {&p, d, q, begin, end, 0};
    p.n_threads = team_begin(n_threads);
    p.barrier = team_barrier_of_pool();
    p.ldt = row_stride(p.n_outputs);
    team_run(sensitivity_thread, &job, p.n_threads);
    team_end(p.n_threads);
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
    .columns_room = columns_room,
    .single_possible = single_possible,
    .single_size = single_size,
    .gemm = gemm_entry,
    .vmath = vmath_entry,
    .mask = mask_entry,
    .forward = forward_entry,
    .gradient = gradient_entry,
    .epoch = epoch_entry,
    .sensitivity_size = sensitivity_size,
    .sensitivity = sensitivity_entry,
    .pair_gradient = pair_gradient_entry,
    .pair_epoch = pair_epoch_entry,
    .probe_multiply_add = probe_multiply_add,
    .probe_memory = probe_memory,
};
