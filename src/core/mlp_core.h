/* mlp_core.h — the structs that the kernels and the binding share, and the kernel table.
 *
 * A `plan_t` is a network, the memory to train it in, and how it is trained.  One table of
 * functions per (instruction set × precision) works on plans.
 *
 * Everything here is independent of the precision: buffers are void pointers, which the kernels
 * read as `real`; settings are doubles.  The binding allocates every buffer as a NumPy array,
 * fills the structs and checks shapes; the kernels trust them and allocate nothing.
 *
 * Parameters lie in one flat buffer, the gradient and each moment of the optimizer in another
 * of the same layout:
 *     W_0 | W_1 | … | b_0 | b_1 | … | a_0 | a_1 | …
 * W_l is (n_in × n_out) row-major, or the list of a sparse layer's weights; b_l = −θ_l; a_l are
 * the scales of batch norm where a layer has it.  If the first layer consists of radial basis
 * functions, W_0's columns are its centres μ_m and b_0 its widths λ_m (rbf_layer.h).
 * Workspace matrices hold one sample per row, rows `ld` apart.  The padding of a row may be read
 * and written, but its values never reach an unpadded element.
 */
#ifndef MLP_CORE_H
#define MLP_CORE_H

#include <stddef.h>
#include <stdint.h>

/* ---- activations: code, whether f′ is computed from z (else from y = f(z)) ---------- */
#define ACTIVATION_LIST(X)                                                                   \
    X(IDENTITY, 0) X(LOGISTIC, 0) X(TANH, 0) X(RELU, 0) X(EXP, 0) X(LEAKY_RELU, 1)           \
    X(SCALED_TANH, 0) X(ELU, 0) X(SOFTPLUS, 0) X(ERF, 1) X(GAUSSIAN, 1) X(GELU, 1)           \
    X(SILU, 1) X(MISH, 1) X(SIGN, 0) X(STEP, 0) X(SOFTMAX, 0) X(RBF, 1)

enum activation_code {
#define X(name, keeps_z) ACT_##name,
    ACTIVATION_LIST(X)
#undef X
    N_ACTIVATIONS
};

typedef struct activation {
    int code;
    int keeps_z;                    /* the forward pass must keep z for f′               */
    double a, b;                    /* parameters of f                                   */
    size_t n_kinds;                 /* 0: one f for the layer; else nodes differ:        */
    const struct activation *kinds; /*   the distinct activations                        */
    const void *node;               /*   (ld,) reals, each node's index in `kinds`       */
} activation_t;

#define LOSS_LIST(X)                                                                         \
    X(SQUARED_ERROR) X(LOG_LOSS) X(LOGISTIC) X(HUBER) X(ABSOLUTE_ERROR) X(POISSON)           \
    X(QUANTILE) X(CALLABLE)

enum loss_code {
#define X(name) LOSS_##name,
    LOSS_LIST(X)
#undef X
};

/* ---- stochastic solvers: code, number of moments (update rules in optimizer.h) -------- */
#define SOLVER_LIST(X) X(SGD, 0) X(MOMENTUM, 1) X(NESTEROV, 1) X(ADAM, 2) X(ADAMW, 2)

enum solver_code {
    SOLVER_NONE,
#define X(name, n_moments) SOLVER_##name,
    SOLVER_LIST(X)
#undef X
};

/* ---- the network ------------------------------------------------------------------------ */

/* Batch norm of one layer's pre-activations [S 65.168–65.176].  Running statistics are sums
 * that began at 0; `seen` batches determine the bias of that start, 1 − λ^seen.  Those of
 * dropped units do not change. */
typedef struct {
    size_t scale;            /* offset of a in the flat buffers                          */
    void *z_norm;            /* (B × ld) z′                                              */
    void *inv_std;           /* (ld,) ξ of the batch                                     */
    double *mean, *var, *seen; /* (n_out,)                                               */
} norm_t;

/* The connections of a sparse layer [S ex. 65.6]: W_l is the list of their weights, input unit
 * by input unit (sparse_layer.h). */
typedef struct {
    size_t n;                /* connections                                              */
    const int64_t *start;    /* (n_in + 1,) by input unit                                */
    const int32_t *to;       /* (n,) output unit of each                                 */
    const int64_t *in_start; /* (n_out + 1,) the same connections by output unit:        */
    const int32_t *from;     /* (n,) input unit of each,                                 */
    const int64_t *place;    /* (n,) and the index of its weight                         */
    const int64_t *source;   /* in a thinned network: (n,) index in the full list        */
} sparse_t;

typedef struct {
    size_t n_in, n_out, ld;
    size_t w, b;             /* offsets into the flat buffers                            */
    const sparse_t *sparse;  /* NULL: every input reaches every output                   */
    void *columns;           /* sparse: the batch's inputs, one unit per row             */
    int frozen;              /* its parameters are not trained                           */
    activation_t f;
    void *y;                 /* (B × ld) outputs                                         */
    void *s;                 /* (B × ld) what f′ is computed from; may be y itself       */
    double skip_scale;       /* y = f(z) + skip_scale · y of the layer below; 0: no skip */
    const int32_t *skip;     /* thinned: index of the unit below, −1 if dropped; or NULL */
    int has_norm;
    norm_t norm;
    double drop;             /* probability that a unit of y is dropped                  */
    const int32_t *unit;     /* thinned: each unit's index in the full network           */
} layer_t;

/* Neighbouring parameters of one kind that are trained. */
enum span_kind { CENTRES, WEIGHTS, WIDTHS, BIASES, SCALES, N_KINDS };
typedef struct {
    size_t at, n;
    int kind;
} span_t;

/* W of layer `to` is the transpose of layer `from`'s, and not a parameter of its own. */
typedef struct {
    size_t from, to;
} tie_t;

typedef struct {
    size_t n_layers;         /* weight layers                                            */
    layer_t *layers;
    size_t n_features, n_outputs;
    size_t n_inputs;         /* of a sample; thinned: n_features of them are kept        */
    const int32_t *unit;     /* thinned: the inputs that are kept; or NULL               */
    void *params;
    size_t n_weights, n_biases, n_scales;
    const span_t *spans;     /* what is trained, in the order of the flat buffers        */
    size_t n_spans;
    const tie_t *ties;
    size_t n_ties;
    size_t first_trained;    /* layers below are frozen: no δ is propagated to them      */
    int no_offsets;          /* every b is 0 and stays 0: no gradient, no step           */
    /* batch norm: of hidden and output layers as they say, of the inputs if has_norm */
    int has_norm;
    norm_t norm;             /* the inputs'; no scale                                    */
    double norm_momentum, norm_epsilon;
    int norm_diagonal;       /* [S 65.229]–[65.232] instead of the gradient              */
    int norm_frozen;         /* do not update the running statistics                     */
    int joins_last;          /* a last batch of one sample joins the one before it       */
} network_t;

/* ---- memory for training ---------------------------------------------------------------- */

typedef struct {
    size_t batch;            /* rows that fit                                            */
    size_t ldx, ldt;
    size_t n_threads;        /* that may be used                                         */
    void *grads;
    const void **rows;       /* (B,) addresses of the batch's inputs, or                 */
    void *x;                 /* (B × ldx) copies of them                                 */
    void *t;                 /* (B × ldt) targets                                        */
    double *row_loss;        /* (B,)                                                     */
    void *delta[2];          /* (B × widest) δ of the layer above and of this one        */
    void *skip_delta[2];     /* (B × widest) ∂Q/∂y across skip connections               */
    void *diagonal;          /* (B × widest) the diagonal gradient of batch norm         */
    void *delta_columns;     /* δ of a sparse layer, one unit per row                    */
    void *pack;              /* n_threads × pack_size                                    */
    size_t pack_size;        /* in reals                                                 */
    double *block_sums;      /* partial sums over blocks of the parameters               */
    void *single;            /* single_size reals for the per-sample path, or NULL       */
} workspace_t;

/* ---- what is minimised ------------------------------------------------------------------ */

/* The rows of a loss: outputs y (rows ld apart), targets t (ldt apart); receives ∂Q/∂y (as y) and
 * each row's loss. */
typedef struct {
    size_t rows, ld, ldt;
    const void *y, *t;
    void *gradient;
    double *losses;
} loss_rows_t;

/* Both take the GIL themselves and return nonzero to stop.  The second may change the batch's
 * inputs (rows × n_features, rows ld apart) in place. */
typedef int loss_callback(void *context, const loss_rows_t *rows);
typedef int batch_callback(void *context, size_t rows, size_t ld, void *x);

typedef struct {
    int code;
    int from_logits;         /* the loss is computed from z_L (softmax, logistic, exp)   */
    double parameter;        /* huber: Δ; quantile: q                                    */
    double value_scale;      /* of the reported value, not of the gradient               */
    size_t n_groups;         /* softmax groups (tasks), 1 for a plain softmax            */
    const size_t *group;     /* (n_groups + 1,) bounds of the groups' columns            */
    const double *group_weight; /* (n_groups,) or NULL                                   */
    loss_callback *callback;
    void *context;
} loss_t;

typedef struct {
    loss_t loss;
    double alpha;            /* (alpha/2)‖W‖²/Σ weights of the batch                     */
    double l2, l1;           /* l2‖W‖² + l1‖W‖₁                                          */
    int l1_proximal;         /* l1 by soft thresholds instead of its subgradient         */
    int l2_bias;
} objective_t;

typedef struct {
    int code;
    double momentum;
    double beta_1[2], beta_2[2]; /* weights, biases                                      */
    double epsilon;
    double decay;            /* adamw                                                    */
    double clip_norm, clip_value; /* 0: none                                             */
    int64_t t;               /* steps taken (Adam's bias correction)                     */
    void *moment_1, *moment_2; /* laid out as the parameters; NULL if the solver has none */
} optimizer_t;

/* ---- noise in training ------------------------------------------------------------------ */

/* The network of the units that a batch keeps: smaller, dense, gathered (thinned.h). */
typedef struct {
    network_t net;           /* its parameters are compact, and so is their gradient     */
    int32_t **unit;          /* per layer, inputs first: the kept units                  */
    int32_t **place;         /* per layer: each unit's index among them, or −1           */
    void **kept;             /* per layer: (ld,) reals, 1 kept, 0 dropped                */
    double *row_sums;        /* Σw², Σ∣w∣ per row of each W, then per b and a            */
    void *row;               /* per thread: a row of gradients, and which are kept       */
    size_t row_size;
} thinned_t;

/* Augmentation, denoising, dropout [S 65.120–65.124]. */
typedef struct {
    batch_callback *augment;
    void *context;           /* of augment                                               */
    double corrupt;          /* probability that an input is set to 0, not its target    */
    double drop;             /* of the inputs                                            */
    int drop_per_sample;     /* a mask per sample instead of one per batch               */
    int drop_inverted;       /* kept units are divided by 1 − p                          */
    int drop_decays_all;     /* weights of dropped units decay too                       */
    uint64_t seed;           /* of this epoch's masks                                    */
    thinned_t *thinned;      /* with a mask per batch; or NULL                           */
} noise_t;

typedef struct {
    network_t net;
    workspace_t work;
    objective_t objective;
    optimizer_t optimizer;
    noise_t noise;
    int plain;               /* dense layers and elementwise options only: the per-sample
                              * path (single/) can train it; every other option clears it */
} plan_t;

/* ---- samples ---------------------------------------------------------------------------- */

/* Inputs, dense or CSR, with labels or targets. */
typedef struct {
    size_t n_samples;
    const void *x;           /* dense (n_samples × n_features), rows ldx apart; or CSR:  */
    size_t ldx;
    const void *values;      /* (nnz,)                                                   */
    const int32_t *indices;  /* (nnz,)                                                   */
    const int64_t *indptr;   /* (n_samples + 1,), NULL if dense                          */
    int autoencode;          /* the stored rows are the targets too                      */
    const void *targets;     /* dense (n_samples × n_outputs), rows ldt apart; or        */
    size_t ldt;
    const int32_t *labels;   /* (n_samples × n_groups), column within the group, −1 none */
    double smoothing;        /* of labels                                                */
    const void *weights;     /* (n_samples,) or NULL                                     */
} data_t;

/* Rows of the data, in the order in which they are taken. */
typedef struct {
    const data_t *data;
    const int64_t *order;    /* (n,) or NULL for 0, 1, 2, …                              */
    size_t n;
} samples_t;

/* Pairs of samples, and the networks that they go through (pairs.h). */
enum pair_kind { PAIR_COSINE, PAIR_DISTANCE, PAIR_RELATION };
typedef struct {
    int kind;
    plan_t *branch, *head;   /* workspaces of 2B and of B rows; a cosine has no head     */
    const data_t *inputs;    /* the samples that the pairs consist of                    */
    const int64_t *index;    /* (n_pairs × 2) rows of `inputs`                           */
    int64_t *rows;           /* (2B,) the samples in the branch's workspace              */
} pairs_t;

/* ---- work ------------------------------------------------------------------------------- */

/* An epoch in progress; it may be left and entered again between two batches. */
typedef struct {
    samples_t samples;
    const pairs_t *pairs;    /* or NULL; else `samples` are the pairs' targets, weights  */
    size_t batch_size;
    size_t position;         /* samples done                                             */
    double loss;             /* Σ over batches of (batch loss × batch length)            */
    const double *rates;     /* (n_rates,) rate of each step; the last for all after it  */
    size_t n_rates;
    int64_t first;           /* steps taken before this epoch                            */
    double *gradient_norms;  /* (n_layers,) of the last batch, or NULL                   */
    double seconds;          /* leave after this long                                    */
    int failed;              /* a callback did                                           */
    volatile int stop;       /* set when it is time to leave, or a callback failed       */
    int abandon;             /* the rest is not wanted: only restore the parameters      */
} epoch_t;

/* Samples [begin, end) of the order, all or part of a batch, whose gradient is wanted. */
typedef struct {
    samples_t samples;
    const pairs_t *pairs;    /* as in epoch_t                                            */
    size_t first;            /* where the batch begins in the order: keys its masks      */
    size_t begin, end;
    double scale;            /* multiplies every sample's δ: 1/Σ weights                 */
    int accumulate;          /* add to the gradient                                      */
    int with_gradient;       /* or the loss alone                                        */
} batch_t;

/* One step from the gradient of a batch. */
typedef struct {
    double rate;
    int64_t t;               /* its number, from 1                                       */
    double weight_sum;       /* of the batch                                             */
} step_t;

/* Predictions for samples [begin, end) of the data. */
typedef struct {
    size_t begin, end;
    size_t chunk;            /* rows that go through the layers together                 */
    void *out;               /* (n × n_outputs), contiguous                              */
    void *scratch;           /* per thread 2·chunk·widest, then columns_size(chunk)      */
    void *pack;
    size_t n_threads;
} forward_t;

/* Derivatives of a trained network (first_order.h, second_order.h). */
enum sensitivity_kind {
    SENS_FORWARD, SENS_REVERSE,                 /* Jacobian, out (n × n_outputs × n_features) */
    SENS_JVP, SENS_VJP,                         /* out (n × n_outputs), (n × n_features)      */
    SENS_INPUTS, SENS_PARAMS,                   /* ∂Q of each sample, out (n × …)             */
    SENS_PRODUCT, SENS_DIAGONAL, SENS_CURVATURE /* second order, summed, out (n_params,)      */
};

typedef struct {
    int kind;
    const void *direction;   /* V (n × n_features), U (n × n_outputs) or v (n_params,)   */
    double weight;           /* second order: of a sample of weight 1                    */
    void *out;               /* second order adds to it                                  */
    void *scratch;           /* `sensitivity_size` reals                                 */
    size_t rows;             /* samples that go through the layers together              */
    double *losses;          /* (rows,)                                                  */
} sensitivity_t;

/* C = op(A) op(B): a product by itself, for tests and benchmarks. */
typedef struct {
    int kind;
    size_t m, n, k;
    const void *a, *b;
    void *c;
    size_t lda, ldb, ldc;
    const void *const *rows; /* addresses of A's rows, or NULL                           */
    void *pack;
    size_t n_threads;
} product_t;

typedef struct {
    const char *name;
    size_t size;             /* bytes of a real                                          */
    size_t lanes;
    size_t tile_rows, tile_cols;
    size_t pack_size;        /* reals that a thread needs to pack a panel                */
    /* distance of the rows of a workspace matrix of n columns */
    size_t (*row_stride)(size_t n);
    /* reals for the inputs of `rows` samples to any sparse layer, one unit per row */
    size_t (*columns_size)(const network_t *, size_t rows);
    /* whether the per-sample path (single/) can train an epoch, and the reals of workspace
     * that it then needs: the epoch takes it if work.single is set */
    int (*single_possible)(const plan_t *, const epoch_t *);
    size_t (*single_size)(const plan_t *, size_t n_threads);
    void (*gemm)(const product_t *);
    /* y = f(x) elementwise, f one of vmath's functions (tests) */
    void (*vmath)(int which, void *y, const void *x, size_t n);
    /* which of n units of a layer (inputs: 0) the batch that begins at `batch` keeps */
    void (*mask)(uint8_t *kept, uint64_t seed, uint64_t batch, uint64_t layer, size_t n,
                 double drop);
    void (*forward)(const plan_t *, const data_t *, const forward_t *);
    /* forward, loss and gradient; returns the sum of the weighted losses, NaN if a callback
     * failed */
    double (*gradient)(plan_t *, const batch_t *);
    /* update from the gradient in the workspace; returns the penalties before it */
    double (*step)(plan_t *, const step_t *);
    /* batches from epoch->position on; returns when the epoch is over or epoch->stop is set */
    void (*epoch)(plan_t *, epoch_t *);
    /* derivatives at samples [begin, end); nonzero if a callback failed */
    size_t (*sensitivity_size)(const plan_t *, const sensitivity_t *, size_t n_threads);
    int (*sensitivity)(const plan_t *, const data_t *, size_t begin, size_t end,
                       const sensitivity_t *, size_t n_threads);
    /* limits of the machine: multiply-adds in registers (returns the operations done), one
     * pass over n reals, reading, or reading and writing */
    double (*probe_multiply_add)(size_t n);
    double (*probe_memory)(void *buffer, size_t n, int write);
} kernels_t;

#endif
