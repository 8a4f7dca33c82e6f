# The structs and the kernel table of the C side (mlp_core.h): the fields that the binding uses.

cdef extern from "dispatch.h" nogil:
    ctypedef struct activation_t:
        int code
        int keeps_z
        double a
        double b
        size_t n_kinds
        const activation_t *kinds
        const void *node

    ctypedef struct norm_t:
        size_t scale
        void *z_norm
        void *inv_std
        double *mean
        double *var
        double *seen

    ctypedef struct sparse_t:
        size_t n
        const int64_t *start
        const int32_t *to
        const int64_t *in_start
        const int32_t *source_unit "from"
        const int64_t *place
        const int64_t *source

    ctypedef struct layer_t:
        size_t n_in
        size_t n_out
        size_t ld
        size_t w
        size_t b
        const sparse_t *sparse
        void *columns
        int frozen
        activation_t f
        void *y
        void *s
        double skip_scale
        const int32_t *skip
        int has_norm
        norm_t norm
        double drop

    enum span_kind:
        CENTRES, WEIGHTS, WIDTHS, BIASES, SCALES

    ctypedef struct span_t:
        size_t at
        size_t n
        int kind

    ctypedef struct tie_t:
        size_t source "from"
        size_t to

    ctypedef struct network_t:
        size_t n_layers
        layer_t *layers
        size_t n_features
        size_t n_outputs
        size_t n_inputs
        void *params
        size_t n_weights
        size_t n_biases
        size_t n_scales
        const span_t *spans
        size_t n_spans
        const tie_t *ties
        size_t n_ties
        size_t first_trained
        int no_offsets
        int has_norm
        norm_t norm
        double norm_momentum
        double norm_epsilon
        int norm_diagonal
        int norm_frozen
        int joins_last

    ctypedef struct workspace_t:
        size_t batch
        size_t ldx
        size_t ldt
        size_t n_threads
        void *grads
        const void **rows
        void *x
        void *t
        double *row_loss
        void *delta[2]
        void *skip_delta[2]
        void *diagonal
        void *delta_columns
        void *pack
        size_t pack_size
        double *block_sums
        void *single

    ctypedef struct loss_rows_t:
        size_t rows
        size_t ld
        size_t ldt
        const void *y
        const void *t
        void *gradient
        double *losses

    ctypedef int loss_callback(void *context, const loss_rows_t *rows)
    ctypedef int batch_callback(void *context, size_t rows, size_t ld, void *x)

    ctypedef struct loss_t:
        int code
        int from_logits
        double parameter
        double value_scale
        size_t n_groups
        const size_t *group
        const double *group_weight
        loss_callback *callback
        void *context

    ctypedef struct objective_t:
        loss_t loss
        double alpha
        double l2
        double l1
        int l1_proximal
        int l2_bias

    ctypedef struct optimizer_t:
        int code
        double momentum
        double beta_1[2]
        double beta_2[2]
        double epsilon
        double decay
        double clip_norm
        double clip_value
        int64_t t
        void *moment_1
        void *moment_2

    ctypedef struct thinned_t:
        network_t net
        int32_t **unit
        int32_t **place
        void **kept
        double *row_sums
        void *row
        size_t row_size

    ctypedef struct noise_t:
        batch_callback *augment
        void *context
        double corrupt
        double drop
        int drop_per_sample
        int drop_inverted
        int drop_decays_all
        uint64_t seed
        thinned_t *thinned

    ctypedef struct plan_t:
        network_t net
        workspace_t work
        objective_t objective
        optimizer_t optimizer
        noise_t noise
        int plain

    ctypedef struct data_t:
        size_t n_samples
        const void *x
        size_t ldx
        const void *values
        const int32_t *indices
        const int64_t *indptr
        int autoencode
        const void *targets
        size_t ldt
        const int32_t *labels
        double smoothing
        const void *weights

    ctypedef struct samples_t:
        const data_t *data
        const int64_t *order
        size_t n

    ctypedef struct pairs_t:
        int kind
        plan_t *branch
        plan_t *head
        const data_t *inputs
        const int64_t *index
        int64_t *rows

    ctypedef struct epoch_t:
        samples_t samples
        const pairs_t *pairs
        size_t batch_size
        size_t position
        double loss
        const double *rates
        size_t n_rates
        int64_t first
        double *gradient_norms
        double seconds
        int failed
        int stop
        int abandon

    ctypedef struct batch_t:
        samples_t samples
        const pairs_t *pairs
        size_t first
        size_t begin
        size_t end
        double scale
        int accumulate
        int with_gradient

    ctypedef struct step_t:
        double rate
        int64_t t
        double weight_sum

    ctypedef struct forward_t:
        size_t begin
        size_t end
        size_t chunk
        void *out
        void *scratch
        void *pack
        size_t n_threads

    ctypedef struct sensitivity_t:
        int kind
        const void *direction
        double weight
        void *out
        void *scratch
        size_t rows
        double *losses

    ctypedef struct product_t:
        int kind
        size_t m
        size_t n
        size_t k
        const void *a
        const void *b
        void *c
        size_t lda
        size_t ldb
        size_t ldc
        const void *const *rows
        void *pack
        size_t n_threads

    ctypedef struct kernels_t:
        const char *name
        size_t size
        size_t lanes
        size_t tile_rows
        size_t tile_cols
        size_t pack_size
        size_t (*row_stride)(size_t n) noexcept nogil
        size_t (*columns_size)(const network_t *, size_t rows) noexcept nogil
        int (*single_possible)(const plan_t *, const epoch_t *) noexcept nogil
        size_t (*single_size)(const plan_t *, size_t n_threads) noexcept nogil
        void (*gemm)(const product_t *) noexcept nogil
        void (*vmath)(int which, void *y, const void *x, size_t n) noexcept nogil
        void (*mask)(uint8_t *kept, uint64_t seed, uint64_t batch, uint64_t layer, size_t n,
                     double drop) noexcept nogil
        void (*forward)(const plan_t *, const data_t *, const forward_t *) noexcept nogil
        double (*gradient)(plan_t *, const batch_t *) noexcept nogil
        double (*step)(plan_t *, const step_t *) noexcept nogil
        void (*epoch)(plan_t *, epoch_t *) noexcept nogil
        size_t (*sensitivity_size)(const plan_t *, const sensitivity_t *,
                                   size_t n_threads) noexcept nogil
        int (*sensitivity)(const plan_t *, const data_t *, size_t begin, size_t end,
                           const sensitivity_t *, size_t n_threads) noexcept nogil
        double (*probe_multiply_add)(size_t n) noexcept nogil
        double (*probe_memory)(void *buffer, size_t n, int write) noexcept nogil

    const char *const mlp_isa_names[]
    double team_seconds()
    void team_enter_callback()
    void team_leave_callback()
    int mlp_isa_runs(const char *name)
    const kernels_t *mlp_kernels(const char *name, int is_double)
    const char *mlp_build()
    const char *const mlp_activation_names[]
    const int mlp_activation_keeps_z[]
    const char *const mlp_loss_names[]
    const char *const mlp_solver_names[]
    const int mlp_solver_moments[]

    enum:
        TEAM_MAX_THREADS
        ACT_SOFTMAX
        ACT_RBF
        PAIR_COSINE, PAIR_DISTANCE, PAIR_RELATION
        SENS_FORWARD, SENS_REVERSE, SENS_JVP, SENS_VJP, SENS_INPUTS, SENS_PARAMS
        SENS_PRODUCT, SENS_DIAGONAL, SENS_CURVATURE
