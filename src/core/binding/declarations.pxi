# What the kernels offer, and the constants and helpers that all of _core shares.

cdef extern from "dispatch.h" nogil:
    ctypedef struct activation_t:
        int code
        int keeps_z
        double a
        double b
        size_t n_kinds
        const activation_t *kinds
        const void *node

    ctypedef int loss_callback(void *context, size_t rows, size_t ld, const void *y, size_t ldt,
                               const void *t, void *gradient, double *losses)
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

    ctypedef struct norm_t:
        size_t scale
        void *z_norm
        void *inv_std
        double *mean
        double *var
        double *seen

    ctypedef struct edges_t:
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
        const edges_t *edges
        void *columns
        int frozen
        activation_t f
        void *y
        void *s
        int residual
        double skip_scale
        const int32_t *skip
        int has_norm
        norm_t norm
        double drop
        const int32_t *unit

    ctypedef struct solver_t:
        int code
        double momentum
        double beta_1[2]
        double beta_2[2]
        double epsilon
        double decay
        double clip_norm
        double clip_value
        int64_t t

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
        const int64_t *order

    enum span_kind:
        CENTRES, WEIGHTS, WIDTHS, BIASES, SCALES

    ctypedef struct span_t:
        size_t at
        size_t n
        int kind

    ctypedef struct tie_t:
        size_t source "from"
        size_t to

    struct thin_plan

    ctypedef struct plan_t:
        int plain
        size_t n_layers
        layer_t *layers
        size_t n_features
        size_t n_outputs
        size_t n_inputs
        size_t ldx
        size_t ldt
        size_t batch
        size_t n_weights
        size_t n_biases
        size_t n_scales
        const span_t *spans
        size_t n_spans
        const tie_t *ties
        size_t n_ties
        void *delta_columns
        void *params
        void *grads
        void *moment_1
        void *moment_2
        const void **rows
        void *x
        void *t
        double *row_loss
        void *delta[2]
        void *pack
        size_t pack_size
        void *single
        double *block_sums
        size_t first_trained
        loss_t loss
        solver_t solver
        double alpha
        double l2
        double l1
        int l1_proximal
        int l2_bias
        int no_offsets
        int has_norm
        norm_t norm
        double norm_momentum
        double norm_epsilon
        int norm_diagonal
        int joins_last
        int norm_frozen
        void *diagonal
        void *skip_delta[2]
        double corrupt
        double drop
        int drop_per_sample
        int drop_inverted
        int drop_decays_all
        uint64_t seed
        thin_plan *thin
        batch_callback *augment
        void *augment_context
        size_t n_threads

    struct thin_plan:
        plan_t plan
        int32_t **unit
        int32_t **place
        void **awake
        double *row_sums
        void *row
        size_t row_size

    ctypedef struct epoch_t:
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

    ctypedef struct sensitivity_t:
        int kind
        const void *direction
        double weight
        void *out
        void *scratch
        size_t rows
        double *losses

    ctypedef struct pair_plan_t:
        int kind
        plan_t *twin
        plan_t *head
        const data_t *samples
        const data_t *pairs
        const int64_t *index
        int64_t *rows

    ctypedef struct kernels_t:
        const char *name
        size_t size
        size_t lanes
        size_t tile_rows
        size_t tile_cols
        size_t pack_size
        size_t (*row_stride)(size_t n) noexcept nogil
        size_t (*columns_room)(const plan_t *, size_t rows) noexcept nogil
        int (*single_possible)(const plan_t *, const data_t *, const epoch_t *) noexcept nogil
        size_t (*single_size)(const plan_t *, size_t n_threads) noexcept nogil
        void (*gemm)(int kind, size_t m, size_t n, size_t k, const void *a, size_t lda,
                     const void *const *rows, const void *b, size_t ldb, void *c, size_t ldc,
                     void *pack, size_t n_threads) noexcept nogil
        void (*vmath)(int which, void *y, const void *x, size_t n) noexcept nogil
        void (*mask)(uint8_t *kept, uint64_t seed, uint64_t batch, uint64_t layer, size_t n,
                     double drop) noexcept nogil
        void (*forward)(const plan_t *, const data_t *, size_t begin, size_t end, void *out,
                        void *scratch, size_t chunk, void *pack, size_t n_threads) noexcept nogil
        double (*gradient)(plan_t *, const data_t *, size_t begin, size_t end, double weight,
                           int accumulate, int with_gradient) noexcept nogil
        size_t (*sensitivity_size)(const plan_t *, const sensitivity_t *,
                                   size_t n_threads) noexcept nogil
        int (*sensitivity)(const plan_t *, const data_t *, size_t begin, size_t end,
                           const sensitivity_t *, size_t n_threads) noexcept nogil
        void (*epoch)(plan_t *, const data_t *, epoch_t *) noexcept nogil
        double (*pair_gradient)(const pair_plan_t *, size_t begin, size_t end, double weight,
                                int accumulate, int with_gradient) noexcept nogil
        void (*pair_epoch)(const pair_plan_t *, epoch_t *) noexcept nogil
        double (*probe_multiply_add)(size_t n) noexcept nogil
        double (*probe_memory)(void *buffer, size_t n, int write) noexcept nogil

    const char *const mlp_isa_names[]
    double team_seconds()
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

# Seconds in the kernels between two looks at the signals.
cdef double SLICE = 0.05
# Seconds of a trial with one number of threads, to the first repetition, at most between two.
cdef double TRIAL = 0.004
cdef double FIRST_TRIAL = 0.05
cdef double LAST_TRIAL = 0.5
# Rows that go through the layers together in prediction: their activations stay in L2.
cdef size_t CHUNK_ROWS = 252
# Multiply-adds a thread must get in one step before another one pays: a barrier costs about
# 0.2 µs, a step has about ten, and one thread does 60 to 130 multiply-adds a nanosecond.
cdef double WORK_PER_THREAD = 1e6

SPAN_KINDS = {
    "centres": CENTRES,
    "weights": WEIGHTS,
    "widths": WIDTHS,
    "biases": BIASES,
    "scales": SCALES,
}
PAIR_CODES = {
    "cosine": PAIR_COSINE,
    "distance": PAIR_DISTANCE,
    "relation": PAIR_RELATION,
}
VMATH = ("exp", "expm1", "log", "log1p", "tanh", "logistic", "softplus", "erf", "erfc")


def _activations():
    cdef int i = 0
    table = {}
    while mlp_activation_names[i] != NULL:
        name = mlp_activation_names[i].decode().lower()
        table[name] = (i, bool(mlp_activation_keeps_z[i]))
        i += 1
    return table


#: name -> (code, whether the derivative is computed from z)
ACTIVATION_CODES = _activations()


cdef dict codes_of(const char *const *names):
    cdef int i = 0
    table = {}
    while names[i] != NULL:
        table[names[i].decode().lower()] = i
        i += 1
    return table


#: name -> code
LOSS_CODES = codes_of(mlp_loss_names)
SOLVER_CODES = codes_of(mlp_solver_names)


def _compiled():
    cdef int i = 0
    names = []
    while mlp_isa_names[i] != NULL:
        names.append(mlp_isa_names[i].decode())
        i += 1
    return names


#: instruction sets compiled into this build, best first
COMPILED_ISAS = tuple(_compiled())
#: those that this processor can run
AVAILABLE_ISAS = tuple(n for n in COMPILED_ISAS if mlp_isa_runs(n.encode()))


def _choose_isa():
    wanted = os.environ.get("MLP_ISA")
    if not wanted:
        return AVAILABLE_ISAS[0]
    if wanted not in AVAILABLE_ISAS:
        raise ImportError(
            f"MLP_ISA={wanted!r} can't be used: this build and processor offer "
            f"{', '.join(AVAILABLE_ISAS)}"
        )
    return wanted


#: the instruction set in use
ISA = _choose_isa()


#: how this build was made
BUILD = mlp_build().decode()


cdef const kernels_t *kernels_for(int is_double, isa=None) except NULL:
    cdef const kernels_t *k = mlp_kernels((isa or ISA).encode(), is_double)
    if k == NULL:
        raise ValueError(f"no kernels for instruction set {isa!r}")
    return k


def describe(isa=None):
    """Lanes and tile shape of an instruction set, per dtype."""
    cdef const kernels_t *k
    out = {}
    for is_double, name in ((0, "float32"), (1, "float64")):
        k = kernels_for(is_double, isa)
        out[name] = {"lanes": k.lanes, "tile": (k.tile_rows, k.tile_cols)}
    return out


# ---- sizes ----------------------------------------------------------------------------------

#: threads of the largest team: more of them are not used, whatever is asked for
MAX_THREADS = TEAM_MAX_THREADS


cdef size_t threads_of(n_threads) except 0:
    """A number of threads that workspaces can be sized by."""
    if n_threads < 1:
        raise ValueError(f"n_threads must be a positive int, got {n_threads!r}")
    return min(n_threads, MAX_THREADS)


cdef size_t times(size_t a, size_t b) except? 0:
    """The size a·b; a product that wraps around would be a buffer too small."""
    if b and a > SIZE_MAX // b:
        raise MemoryError(f"a buffer of {a} times {b} elements is too large")
    return a * b


# ---- buffers --------------------------------------------------------------------------------

cdef void *address(object array, int writable=0) except? NULL:
    """Where an array's first element lies.  The caller keeps the array alive."""
    cdef Py_buffer view
    cdef void *p
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
    p = view.buf
    PyBuffer_Release(&view)
    return p


def aligned_zeros(size, dtype):
    """A zeroed vector that begins at a cache line."""
    dtype = np.dtype(dtype)
    raw = np.zeros(int(size) * dtype.itemsize + 64, dtype=np.uint8)
    shift = -(<size_t> address(raw)) % 64  # raw.ctypes would take a microsecond
    return raw[shift: shift + int(size) * dtype.itemsize].view(dtype)


cdef object FLOAT32 = np.dtype(np.float32), FLOAT64 = np.dtype(np.float64)


cdef int is_double_of(dtype) except -1:
    if dtype is FLOAT32:  # in nearly all cases, and far cheaper than to compare
        return 0
    if dtype is FLOAT64 or dtype == FLOAT64:
        return 1
    if dtype == FLOAT32:
        return 0
    raise TypeError(f"the core works in float32 and float64, not {dtype}")
