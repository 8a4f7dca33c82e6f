/* mlp_core.h — what the compiled core is told: one `plan_t` describes a network, its memory
 * and its training; one table of functions per (instruction set × precision) works on it.
 *
 * Everything here is free of the precision: buffers are void pointers, which the kernels read
 * as `real`; numbers that steer are doubles.  The Python side (_core.pyx) allocates every
 * buffer as a NumPy array, fills the plan, and checks shapes; the kernels trust it.
 *
 * Parameters lie in one flat buffer, the gradient and each moment of the optimiser in another
 * of the same layout:
 *     W_0 | W_1 | … | b_0 | b_1 | … | a_0 | a_1 | …
 * W_l is (n_in × n_out) row-major, or the list of its edges' weights; b_l = −θ_l, a_l the scales
 * of batch norm where there are any.
 * If the first layer is of radial basis functions, W_0's columns are its centres μ_m and b_0 its
 * widths λ_m (rbf_layer.h).
 * Workspace matrices hold one sample a row, rows `ld` apart, padded with lanes that may be
 * read and written but whose values never reach an unpadded one.
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
    const void *node;               /*   (ld,) reals, each node's place in `kinds`       */
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

/* The caller's loss on a batch: outputs y (rows × n_outputs, rows ld apart) and targets t
 * (rows ldt apart); writes ∂Q/∂y to `gradient` (as y) and each row's loss to `losses`.  Takes
 * the GIL itself.  Returns nonzero to stop. */
typedef int loss_callback(void *context, size_t rows, size_t ld, const void *y, size_t ldt,
                          const void *t, void *gradient, double *losses);
/* Augmentation: may change the batch's inputs (rows × n_features) in place. */
typedef int batch_callback(void *context, size_t rows, size_t ld, void *x);

typedef struct {
    int code;
    int from_logits;         /* the loss is computed from z_L (softmax, logistic, exp)   */
    double parameter;        /* huber: Δ; quantile: q                                    */
    double value_scale;      /* of the reported value, not the gradient                  */
    size_t n_groups;         /* softmax groups (tasks), 1 for a plain softmax            */
    const size_t *group;     /* (n_groups + 1,) bounds of the groups' columns            */
    const double *group_weight; /* (n_groups,) or NULL                                   */
    loss_callback *callback;
    void *context;
} loss_t;

/* Batch norm of one layer's pre-activations [S 65.168–65.176].  Statistics are sums that began
 * at 0; `seen` batches give the bias of that start, 1 − λ^seen.  A sleeping unit's stand still. */
typedef struct {
    size_t scale;            /* offset of a in the flat buffers                          */
    void *z_norm;            /* (B × ld) z′                                              */
    void *inv_std;           /* (ld,) ξ of the batch                                     */
    double *mean, *var, *seen; /* (n_out,)                                               */
} norm_t;

/* The connections of a layer that has not all of them [S ex. 65.6]: W_l is then the list of
 * their weights, input unit by input unit, and there is nothing else (sparse_layer.h). */
typedef struct {
    size_t n;                /* edges                                                    */
    const int64_t *start;    /* (n_in + 1,) by input unit                                */
    const int32_t *to;       /* (n,) output unit of each                                 */
    const int64_t *in_start; /* (n_out + 1,) the same edges by output unit:              */
    const int32_t *from;     /* (n,) input unit of each,                                 */
    const int64_t *place;    /* (n,) and where its weight lies                           */
    const int64_t *source;   /* in a thinned network: (n,) place in the full list        */
} edges_t;

typedef struct {
    size_t n_in, n_out, ld;
    size_t w, b;             /* offsets into the flat buffers                            */
    const edges_t *edges;    /* NULL: every input reaches every output                   */
    void *columns;           /* with edges: the batch's inputs, a unit a row             */
    int frozen;              /* its parameters stand still                               */
    activation_t f;
    void *y;                 /* (B × ld) outputs                                         */
    void *s;                 /* (B × ld) what f′ is computed from; may be y itself       */
    int residual;            /* y = f(z) + y of the layer below                          */
    double skip_scale;       /* in prediction: y += skip_scale · y of the layer below     */
    const int32_t *skip;     /* in a thinned network: the unit below, −1 asleep; or NULL */
    int has_norm;
    norm_t norm;
    double drop;             /* probability that a unit of y sleeps                      */
    const int32_t *unit;     /* in a thinned network: each unit's place in the full one  */
} layer_t;

typedef struct {
    int code;
    double momentum;
    double beta_1[2], beta_2[2]; /* weights, biases                                      */
    double epsilon;
    double decay;            /* adamw                                                    */
    double clip_norm, clip_value; /* 0: none                                             */
    int64_t t;               /* steps taken (Adam's bias correction)                     */
} solver_t;

/* Where the samples come from; labels or targets, dense or CSR. */
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
    const int64_t *order;    /* (n_samples,) or NULL for 0, 1, 2, …                      */
} data_t;

/* Neighbouring parameters of one kind that are trained. */
enum span_kind { CENTRES, WEIGHTS, WIDTHS, BIASES, SCALES, N_KINDS };
typedef struct {
    size_t at, n;
    int kind;
} span_t;

/* W of layer `to` is the transpose of layer `from`'s, and no parameter of its own. */
typedef struct {
    size_t from, to;
} tie_t;

struct team_barrier;
struct thin_plan;

typedef struct {
    int plain;               /* dense layers, elementwise options only: see single.h     */
    size_t n_layers;         /* weight layers                                            */
    layer_t *layers;
    size_t n_features, n_outputs, ldx, ldt;
    size_t n_inputs;         /* of a sample; a thinned network's n_features are awake    */
    size_t batch;            /* rows in the workspace                                    */
    size_t n_weights, n_biases, n_scales;
    const span_t *spans;     /* what is trained, in the order of the flat buffers        */
    size_t n_spans;
    const tie_t *ties;
    size_t n_ties;
    void *delta_columns;     /* δ of a layer with edges, a unit a row                    */
    void *params, *grads, *moment_1, *moment_2;
    const void **rows;       /* (B,) where the inputs of the batch lie, or               */
    void *x;                 /* (B × ldx) copies of them                                 */
    void *t;                 /* (B × ldt) targets                                        */
    double *row_loss;        /* (B,)                                                     */
    void *delta[2];          /* (B × widest) δ of the layer above and of this one        */
    void *pack;              /* n_threads × pack_size                                    */
    size_t pack_size;        /* in reals                                                 */
    void *single;            /* single_size reals, or NULL                               */
    double *block_sums;      /* partial sums over blocks of the parameters               */
    size_t first_trained;    /* layers below are frozen: no δ goes there                 */
    loss_t loss;
    solver_t solver;
    double alpha;            /* (alpha/2)‖W‖²/Σ weights of the batch                     */
    double l2, l1;           /* l2‖W‖² + l1‖W‖₁                                          */
    int l1_proximal;         /* l1 by soft thresholds instead of its subgradient         */
    int l2_bias;
    int no_offsets;          /* every b is 0 and stays 0: no gradient, no step           */
    /* batch norm: of hidden and output layers as they say, of the inputs if has_norm */
    int has_norm;
    norm_t norm;             /* the inputs'; no scale                                    */
    double norm_momentum, norm_epsilon;
    int norm_diagonal;       /* [S 65.229]–[65.232] instead of the gradient              */
    int joins_last;          /* a last batch of one joins the one before it              */
    int norm_frozen;         /* leave the running statistics alone                       */
    void *diagonal;          /* (B × widest) room for it                                 */
    void *skip_delta[2];     /* (B × widest) ∂Q/∂y across residual connections           */
    /* dropout [S 65.120–65.124] */
    double corrupt;          /* probability that an input is set to 0, not its target    */
    double drop;             /* of the inputs                                            */
    int drop_per_sample;     /* a mask a sample instead of one a batch                   */
    int drop_inverted;       /* what is kept is divided by 1 − p                         */
    int drop_decays_all;     /* weights of dropped units decay too                       */
    uint64_t seed;           /* of this epoch's masks                                    */
    const int32_t *unit;     /* in a thinned network: the inputs that are awake          */
    struct thin_plan *thin;       /* the thinned network of a batch-shared mask, or NULL      */
    batch_callback *augment;
    void *augment_context;
    size_t n_threads;
    struct team_barrier *barrier;
} plan_t;

/* The network of the units that are awake in a batch: smaller, dense, gathered. */
struct thin_plan {
    plan_t plan;             /* its params and grads are compact                         */
    int32_t **unit;          /* per layer, inputs first: the units awake                 */
    int32_t **place;         /* per layer: each unit's place among them, or −1           */
    void **awake;            /* per layer: (ld,) reals, 1 awake, 0 asleep                */
    double *row_sums;        /* Σw², Σ∣w∣ per row of each W, then per b and a            */
    void *row;               /* per thread: a row of gradients, spread out               */
    size_t row_size;
};

/* An epoch that is under way; it may be left and entered again between two batches. */
typedef struct {
    size_t batch_size;
    size_t position;         /* samples done                                             */
    double loss;             /* Σ over batches of (batch loss × batch length)            */
    const double *rates;     /* (n_rates,) step size of each step; the last for the rest  */
    size_t n_rates;
    int64_t first;           /* steps taken before this epoch                            */
    double *gradient_norms;  /* (n_layers,) of the last batch, or NULL                   */
    double seconds;          /* leave after this long                                    */
    int failed;              /* a callback did                                           */
    volatile int stop;       /* set when it is time to leave, or a callback failed       */
    int abandon;             /* the rest will not be done: only bring the parameters home */
} epoch_t;

/* What is asked about a trained network (first_order.h). */
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

/* Pairs of samples, and the networks that they go through (pairs.h). */
enum pair_kind { PAIR_COSINE, PAIR_DISTANCE, PAIR_RELATION };

typedef struct {
    int kind;
    plan_t *twin, *head;     /* room for 2B rows, for B; no head of a cosine             */
    const data_t *samples;   /* what the pairs are made of                               */
    const data_t *pairs;     /* their targets, weights and order; without inputs         */
    const int64_t *index;    /* (n_pairs × 2) rows of `samples`                          */
    int64_t *rows;           /* (2B,) the samples in the twin's workspace                */
} pair_plan_t;

typedef struct {
    const char *name;
    size_t size;             /* bytes of a real                                          */
    size_t lanes;
    size_t tile_rows, tile_cols;
    size_t pack_size;        /* reals a thread needs to pack a panel                     */
    /* distance of the rows of a workspace matrix of n columns */
    size_t (*row_stride)(size_t n);
    /* reals for the inputs of `rows` samples to any layer with edges, a unit a row */
    size_t (*columns_room)(const plan_t *, size_t rows);
    /* whether the per-sample path (single/) can train an epoch, and the reals of workspace
     * that it then needs: the epoch takes it if plan->single is set */
    int (*single_possible)(const plan_t *, const data_t *, const epoch_t *);
    size_t (*single_size)(const plan_t *, size_t n_threads);
    /* C = op(A) op(B), the three products behind tests and benchmarks; rows of A lda apart, or
     * at `rows` */
    void (*gemm)(int kind, size_t m, size_t n, size_t k, const void *a, size_t lda,
                 const void *const *rows, const void *b, size_t ldb, void *c, size_t ldc,
                 void *pack, size_t n_threads);
    /* y = f(x) elementwise, f one of vmath's functions (tests) */
    void (*vmath)(int which, void *y, const void *x, size_t n);
    /* which of n units of a layer (inputs: 0) are awake in the batch that begins at `batch` */
    void (*mask)(uint8_t *kept, uint64_t seed, uint64_t batch, uint64_t layer, size_t n,
                 double drop);
    /* outputs (n × n_outputs, contiguous) of inputs of `data`; per thread a
     * scratch of 2·chunk·widest and columns_room(chunk), in this order for all threads */
    void (*forward)(const plan_t *, const data_t *, size_t begin, size_t end, void *out,
                    void *scratch, size_t chunk, void *pack, size_t n_threads);
    /* forward, loss and (with_gradient) gradient over rows [begin, end) of `data`; adds to grads and returns
     * the sum of the weighted losses; `weight` scales the rows' gradients */
    double (*gradient)(plan_t *, const data_t *, size_t begin, size_t end, double weight,
                       int accumulate, int with_gradient);
    /* the answer for samples [begin, end); nonzero if a callback failed */
    size_t (*sensitivity_size)(const plan_t *, const sensitivity_t *, size_t n_threads);
    int (*sensitivity)(const plan_t *, const data_t *, size_t begin, size_t end,
                       const sensitivity_t *, size_t n_threads);
    /* batches from epoch->position on; returns when the epoch is over or epoch->stop is set */
    void (*epoch)(plan_t *, const data_t *, epoch_t *);
    /* the same two for pairs */
    double (*pair_gradient)(const pair_plan_t *, size_t begin, size_t end, double weight,
                            int accumulate, int with_gradient);
    void (*pair_epoch)(const pair_plan_t *, epoch_t *);
    /* the machine's limits: multiply-adds in registers (returns the operations done), one pass
     * over n reals, reading or reading and writing */
    double (*probe_multiply_add)(size_t n);
    double (*probe_memory)(void *buffer, size_t n, int write);
} kernels_t;

#endif
