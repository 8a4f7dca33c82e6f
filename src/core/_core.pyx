# cython: language_level=3
"""The door between Python and the kernels.

Design
------
A. `Plan` holds one C `plan_t` (mlp_core.h) and, as NumPy arrays, every buffer that it points
   to.  It describes a network and, once `allocate`d, has room for batches of so many rows.
   Nothing is allocated while an epoch runs.
B. `Data` holds one C `data_t`: rows of inputs (dense or CSR), targets or labels, weights.
C. Shapes and dtypes are checked here, once; the kernels trust them.
D. The GIL is released around every kernel.  An epoch leaves the kernel every SLICE seconds to
   look for signals, so Ctrl-C is noticed within a tenth of a second.
E. No `cimport numpy`: addresses come through the buffer protocol, read-only arrays included.
"""

from cpython.buffer cimport (
    PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import os

import numpy as np

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

    ctypedef struct layer_t:
        size_t n_in
        size_t n_out
        size_t ld
        size_t w
        size_t b
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
        double rate
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
        const void *targets
        size_t ldt
        const int32_t *labels
        double smoothing
        const void *weights
        const int64_t *order

    struct thin_plan

    ctypedef struct plan_t:
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
        void *params
        void *grads
        void *moment_1
        void *moment_2
        void *x
        void *t
        double *row_loss
        void *delta[2]
        void *pack
        size_t pack_size
        void *online
        double *block_sums
        size_t first_trained
        loss_t loss
        solver_t solver
        double alpha
        double l2
        double l1
        int l2_bias
        int has_norm
        norm_t norm
        double norm_momentum
        double norm_epsilon
        int norm_diagonal
        int joins_last
        int norm_frozen
        void *diagonal
        void *skip_delta[2]
        double drop
        int drop_per_sample
        int drop_inverted
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
        double gradient_norm
        double seconds
        int failed
        int stop
        int abandon

    ctypedef struct kernels_t:
        const char *name
        size_t size
        size_t lanes
        size_t tile_rows
        size_t tile_cols
        size_t pack_size
        size_t (*row_stride)(size_t n) noexcept nogil
        int (*online_possible)(const plan_t *, const data_t *, size_t batch_size) noexcept nogil
        size_t (*online_size)(const plan_t *) noexcept nogil
        void (*gemm)(int kind, size_t m, size_t n, size_t k, const void *a, size_t lda,
                     const void *b, size_t ldb, void *c, size_t ldc, void *pack,
                     size_t n_threads) noexcept nogil
        void (*vmath)(int which, void *y, const void *x, size_t n) noexcept nogil
        void (*mask)(uint8_t *kept, uint64_t seed, uint64_t batch, uint64_t layer, size_t n,
                     double drop) noexcept nogil
        void (*forward)(const plan_t *, const data_t *, size_t begin, size_t end, void *out,
                        void *scratch, size_t chunk, void *pack, size_t n_threads) noexcept nogil
        double (*gradient)(plan_t *, const data_t *, size_t begin, size_t end, double weight,
                           int accumulate, int with_gradient) noexcept nogil
        void (*epoch)(plan_t *, const data_t *, epoch_t *) noexcept nogil
        double (*probe_multiply_add)(size_t n) noexcept nogil
        double (*probe_memory)(void *buffer, size_t n, int write) noexcept nogil

    const char *const mlp_isa_names[]
    double team_seconds()
    int mlp_isa_runs(const char *name)
    const kernels_t *mlp_kernels(const char *name, int is_double)
    const char *mlp_build()
    const char *const mlp_activation_names[]
    const int mlp_activation_keeps_z[]

    enum:
        ACT_SOFTMAX
        LOSS_SQUARED_ERROR, LOSS_LOG_LOSS, LOSS_LOGISTIC, LOSS_HUBER, LOSS_ABSOLUTE_ERROR
        LOSS_POISSON, LOSS_QUANTILE, LOSS_CALLABLE
        SOLVER_NONE, SOLVER_SGD, SOLVER_MOMENTUM, SOLVER_NESTEROV, SOLVER_ADAM, SOLVER_ADAMW

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

LOSS_CODES = {
    "squared_error": LOSS_SQUARED_ERROR,
    "log_loss": LOSS_LOG_LOSS,
    "logistic": LOSS_LOGISTIC,
    "huber": LOSS_HUBER,
    "absolute_error": LOSS_ABSOLUTE_ERROR,
    "poisson": LOSS_POISSON,
    "quantile": LOSS_QUANTILE,
    "callable": LOSS_CALLABLE,
}
SOLVER_CODES = {
    "none": SOLVER_NONE,
    "sgd": SOLVER_SGD,
    "momentum": SOLVER_MOMENTUM,
    "nesterov": SOLVER_NESTEROV,
    "adam": SOLVER_ADAM,
    "adamw": SOLVER_ADAMW,
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
    shift = -raw.ctypes.data % 64
    return raw[shift: shift + int(size) * dtype.itemsize].view(dtype)


cdef int is_double_of(dtype) except -1:
    if dtype == np.float64:
        return 1
    if dtype == np.float32:
        return 0
    raise TypeError(f"the core works in float32 and float64, not {dtype}")


# ---- samples --------------------------------------------------------------------------------

cdef class Data:
    """Inputs, targets and weights of a set of samples, as the kernels see them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), rows contiguous; or a CSR array
    targets : ndarray of shape (n_samples, n_outputs), or None
    labels : int32 ndarray of shape (n_samples, n_tasks), or None
        Column within the task's group of outputs; −1 where missing.
    sample_weight : ndarray of shape (n_samples,), or None
    smoothing : float
        Share of a label's weight that goes to all classes alike.
    """

    cdef data_t c
    cdef list keep
    cdef readonly object dtype
    cdef readonly tuple shape
    cdef readonly object sample_weight
    cdef readonly bint sparse

    def __cinit__(self, X, targets=None, labels=None, sample_weight=None,
                  double smoothing=0.0):
        memset(&self.c, 0, sizeof(data_t))
        self.keep = []
        self.shape = X.shape
        self.dtype = X.dtype
        is_double_of(self.dtype)
        self.c.n_samples = X.shape[0]
        if hasattr(X, "indptr"):
            values = self._hold(X.data, self.dtype, "X.data")
            self.c.values = address(values)
            indices = self._hold(np.ascontiguousarray(X.indices, np.int32), np.int32, "indices")
            self.c.indices = <const int32_t *> address(indices)
            indptr = self._hold(np.ascontiguousarray(X.indptr, np.int64), np.int64, "indptr")
            self.c.indptr = <const int64_t *> address(indptr)
        else:
            if X.strides[1] != X.itemsize and X.shape[1] > 1:
                raise ValueError("X: the features of a sample must be contiguous")
            self.keep.append(X)
            self.c.x = address(X)
            self.c.ldx = X.strides[0] // X.itemsize if X.shape[0] > 1 else X.shape[1]
        if targets is not None:
            targets = self._hold(targets, self.dtype, "targets")
            self.c.targets = address(targets)
            self.c.ldt = targets.shape[1]
        if labels is not None:
            self.c.labels = <const int32_t *> address(self._hold(labels, np.int32, "labels"))
        if sample_weight is not None:
            self.c.weights = address(self._hold(sample_weight, self.dtype, "sample_weight"))
        self.sample_weight = sample_weight
        self.sparse = self.c.indptr != NULL
        self.c.smoothing = smoothing

    cdef object _hold(self, array, dtype, name):
        if array.dtype != dtype or not array.flags.c_contiguous:
            raise ValueError(f"{name} must be C-contiguous {dtype}, got {array.dtype}")
        self.keep.append(array)
        return array


# ---- Python in the loop ----------------------------------------------------------------------

cdef object view_of(const void *p, size_t rows, size_t columns, size_t ld, dtype):
    """A writable array over kernel memory, valid during the callback."""
    cdef char[::1] raw
    if rows == 0 or columns == 0:
        return np.empty((rows, columns), dtype)
    raw = <char[:rows * ld * <size_t> dtype.itemsize]> <char *> p
    return np.frombuffer(raw, dtype=dtype).reshape(rows, ld)[:, :columns]


cdef int call_loss(void *context, size_t rows, size_t ld, const void *y, size_t ldt,
                   const void *t, void *gradient, double *losses) noexcept with gil:
    cdef Plan plan = <Plan> context
    cdef size_t i
    try:
        n = plan.c.n_outputs
        y_out = view_of(y, rows, n, ld, plan.dtype).copy()
        y_true = view_of(t, rows, n, ldt, plan.dtype).copy()
        values, slope = plan.loss_function(y_true, y_out)
        values = np.asarray(values, dtype=np.float64)
        slope = np.asarray(slope)
        if values.shape != (rows,) or slope.shape != (rows, n):
            raise ValueError(
                f"loss returned values of shape {values.shape} and a gradient of shape "
                f"{slope.shape}; they must be ({rows},) and ({rows}, {n})")
        view_of(gradient, rows, n, ld, plan.dtype)[:] = slope
        for i in range(rows):
            losses[i] = values[i]
        return 0
    except BaseException as failure:
        plan.failure = failure
        return 1


cdef int call_augment(void *context, size_t rows, size_t ld, void *x) noexcept with gil:
    cdef Plan plan = <Plan> context
    try:
        batch = view_of(x, rows, plan.c.n_features, ld, plan.dtype)
        changed = np.asarray(plan.augment_function(batch.copy()))
        if changed.shape != batch.shape:
            raise ValueError(f"augment returned shape {changed.shape}, not {batch.shape}")
        batch[:] = changed
        return 0
    except BaseException as failure:
        plan.failure = failure
        return 1


# ---- the network and its training -----------------------------------------------------------

cdef class Plan:
    """A network over one flat parameter vector, and room to train it.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
        ``W_0 | W_1 | … | b_0 | b_1 | … | a_0 | a_1 | …``; used in place.
    sizes : sequence of int
        Units per layer, inputs and outputs included.
    activations : sequence of tuple
        One per weight layer: (code, keeps_z, a, b), or (kinds, node) where nodes differ:
        a list of such tuples and each node's index in it.
    groups : sequence of int, optional
        Outputs of each task of a softmax.
    normed : sequence of bool, optional
        Weight layers with batch norm; each has a scale a of n_out parameters.
    residual : sequence of float, optional
        Per weight layer what its input is multiplied by before it is added to its output
        in prediction; 0: not added.
    """

    cdef plan_t c
    cdef const kernels_t *k
    cdef list keep
    cdef readonly object params
    cdef readonly object grads
    cdef readonly object dtype
    cdef readonly tuple sizes
    cdef readonly object moment_1
    cdef readonly object moment_2
    cdef size_t widest
    cdef size_t most_threads
    cdef size_t rows
    cdef bint sparse
    cdef double pace[2]
    cdef double next_trial
    cdef double trial_after
    cdef size_t slices
    cdef double work_per_row
    cdef object loss_function
    cdef object augment_function
    cdef object failure
    cdef readonly object dropout

    def __cinit__(self, params, sizes, activations, groups=None, normed=None,
                  residual=None, isa=None):
        memset(&self.c, 0, sizeof(plan_t))
        self.dtype = params.dtype
        self.sizes = tuple(sizes)
        self.params = params
        self.keep = [params]
        self.k = kernels_for(is_double_of(params.dtype), isa)
        cdef size_t n = len(sizes) - 1, i, weight = 0, bias
        self.c.layers = <layer_t *> calloc(n, sizeof(layer_t))
        if self.c.layers == NULL:
            raise MemoryError
        self.c.n_layers = n
        self.c.n_features = self.c.n_inputs = sizes[0]
        self.c.n_outputs = sizes[n]
        self.c.n_threads = 1
        self.c.pack_size = self.k.pack_size
        for i in range(n):
            self.c.n_weights += <size_t> sizes[i] * <size_t> sizes[i + 1]
            self.c.n_biases += <size_t> sizes[i + 1]
        bias = self.c.n_weights
        for i in range(n):
            self.c.layers[i].n_in = sizes[i]
            self.c.layers[i].n_out = sizes[i + 1]
            self.c.layers[i].ld = self.k.row_stride(sizes[i + 1])
            self.c.layers[i].w = weight
            self.c.layers[i].b = bias
            if residual is not None and residual[i]:
                self.c.layers[i].residual = 1
                self.c.layers[i].skip_scale = residual[i]
            weight += <size_t> sizes[i] * <size_t> sizes[i + 1]
            bias += <size_t> sizes[i + 1]
            self.widest = max(self.widest, self.c.layers[i].ld)
            self.work_per_row += <double> sizes[i] * <double> sizes[i + 1]
            self._set_activation(&self.c.layers[i], activations[i])
        for i in range(n):
            if normed is not None and normed[i]:
                self.c.layers[i].has_norm = 1
                self.c.layers[i].norm.scale = bias
                bias += <size_t> sizes[i + 1]
                self.c.n_scales += <size_t> sizes[i + 1]
        if params.shape != (bias,):
            raise ValueError(f"params must have shape ({bias},), got {params.shape}")
        self.c.params = address(params, 1)
        self._set_groups((sizes[n],) if groups is None else groups)

    def __dealloc__(self):
        cdef size_t i
        if self.c.layers != NULL:
            for i in range(self.c.n_layers):
                free(<void *> self.c.layers[i].f.kinds)
        free(self.c.layers)
        if self.c.thin != NULL:
            free(self.c.thin.plan.layers)
            free(self.c.thin.unit)
            free(self.c.thin.place)
            free(self.c.thin.awake)
            free(self.c.thin)

    cdef object _buffer(self, size, dtype):
        array = aligned_zeros(size, dtype)
        self.keep.append(array)
        return array

    cdef int _set_activation(self, layer_t *layer, spec) except -1:
        cdef activation_t *kinds
        cdef size_t i
        if len(spec) == 4:
            layer.f.code, layer.f.keeps_z, layer.f.a, layer.f.b = spec
            return 0
        listed, node = spec
        kinds = <activation_t *> calloc(len(listed), sizeof(activation_t))
        if kinds == NULL:
            raise MemoryError
        for i in range(<size_t> len(listed)):
            kinds[i].code, kinds[i].keeps_z, kinds[i].a, kinds[i].b = listed[i]
        places = self._buffer(layer.ld, self.dtype)
        places[:len(node)] = node
        layer.f.n_kinds = len(listed)
        layer.f.kinds = kinds
        layer.f.node = address(places)
        layer.f.keeps_z = 1
        return 0

    cdef int _set_groups(self, widths) except -1:
        """Softmax groups: the numbers of outputs of the tasks, in order."""
        bounds = np.concatenate([[0], np.cumsum(widths)]).astype(np.uintp)
        if sum(widths) != self.c.n_outputs:
            raise ValueError(f"groups {widths} don't add up to {self.c.n_outputs} outputs")
        self.keep.append(bounds)
        self.c.loss.group = <const size_t *> address(bounds)
        self.c.loss.n_groups = len(widths)
        return 0

    # -- settings --

    def set_loss(self, code, from_logits, parameter=0.0, value_scale=1.0, group_weight=None):
        self.c.loss.code = code
        self.c.loss.from_logits = from_logits
        self.c.loss.parameter = parameter
        self.c.loss.value_scale = value_scale
        self.c.loss.group_weight = NULL
        if group_weight is not None:
            weights = np.ascontiguousarray(group_weight, np.float64)
            self.keep.append(weights)
            self.c.loss.group_weight = <const double *> address(weights)

    def set_norm(self, statistics, input_statistics=None, double momentum=0.95,
                 double epsilon=1e-5, bint diagonal=False, bint frozen=False):
        """Batch norm's running statistics, updated in place unless `frozen`.

        Parameters
        ----------
        statistics : sequence of float64 ndarray of shape (3, n_out), or None
            Per weight layer: sums of means, of variances, batches seen.
        input_statistics : float64 ndarray of shape (3, n_features), optional
            Normalise the inputs too.
        """
        cdef size_t i
        self.c.norm_momentum, self.c.norm_epsilon = momentum, epsilon
        self.c.norm_diagonal, self.c.norm_frozen, self.c.joins_last = diagonal, frozen, 1
        for i in range(self.c.n_layers):
            if self.c.layers[i].has_norm:
                self._set_statistics(&self.c.layers[i].norm, statistics[i],
                                     self.c.layers[i].n_out)
        self.c.has_norm = input_statistics is not None
        if self.c.has_norm:
            self._set_statistics(&self.c.norm, input_statistics, self.c.n_features)

    cdef int _set_statistics(self, norm_t *norm, array, size_t n) except -1:
        if array.shape != (3, n) or array.dtype != np.float64:
            raise ValueError(f"statistics must be float64 of shape (3, {n})")
        self.keep.append(array)
        norm.mean = <double *> address(array, 1)
        norm.var = norm.mean + n
        norm.seen = norm.var + n
        return 0

    def set_dropout(self, rates, bint per_sample=False, bint inverted=True):
        """Rates p of inputs and each hidden layer; to be called before `allocate`."""
        cdef size_t i
        self.dropout = tuple(rates)
        self.c.drop = rates[0]
        for i in range(self.c.n_layers - 1):
            self.c.layers[i].drop = rates[i + 1]
        self.c.drop_per_sample, self.c.drop_inverted = per_sample, inverted

    def set_callbacks(self, loss=None, augment=None):
        """Python in the loop: a loss ``(y_true, y_out) -> (values, gradient)``, and what
        changes a batch's inputs, ``X_batch -> X_batch``.  They ask for one thread."""
        self.loss_function, self.augment_function = loss, augment
        if loss is not None:
            self.c.loss.callback = call_loss
            self.c.loss.context = <void *> self
        if augment is not None:
            self.c.augment = call_augment
            self.c.augment_context = <void *> self

    def set_penalties(self, double alpha=0.0, double l2=0.0, double l1=0.0,
                      bint l2_bias=False):
        self.c.alpha = alpha
        self.c.l2 = l2
        self.c.l1 = l1
        self.c.l2_bias = l2_bias

    def set_solver(self, code, *, double momentum=0.0, beta_1=(0.9, 0.9),
                   beta_2=(0.999, 0.999), double epsilon=1e-8, double decay=0.0,
                   double clip_norm=0.0, double clip_value=0.0, moment_1=None,
                   moment_2=None, int64_t steps=0):
        """The stochastic solver's constants; moments, used in place, begin at zero if None."""
        self.c.solver.code = code
        self.c.solver.momentum = momentum
        self.c.solver.beta_1[0], self.c.solver.beta_1[1] = beta_1
        self.c.solver.beta_2[0], self.c.solver.beta_2[1] = beta_2
        self.c.solver.epsilon = epsilon
        self.c.solver.decay = decay
        self.c.solver.clip_norm = clip_norm
        self.c.solver.clip_value = clip_value
        self.c.solver.t = steps
        self.moment_1 = self.moment_2 = None
        self.c.moment_1 = self.c.moment_2 = NULL
        if code >= SOLVER_MOMENTUM:
            self.moment_1 = self._moment(moment_1)
            self.c.moment_1 = address(self.moment_1, 1)
        if code >= SOLVER_ADAM:
            self.moment_2 = self._moment(moment_2)
            self.c.moment_2 = address(self.moment_2, 1)

    cdef object _moment(self, given):
        if given is None:
            return aligned_zeros(self.params.shape[0], self.dtype)
        if given.shape != self.params.shape or given.dtype != self.dtype:
            raise ValueError("a solver's moment must have the parameters' shape and dtype")
        return given

    @property
    def steps(self):
        """Updates made so far; Adam's bias correction counts them."""
        return self.c.solver.t

    @property
    def threads(self):
        """Threads that training may use, given the size of its steps."""
        return self.most_threads

    def allocate(self, size_t rows, size_t n_threads=1, bint sparse=False):
        """Workspace for training with up to `rows` samples at once.

        With `rows` of 1 an epoch takes what it needs for the way that it goes.
        """
        cdef size_t i
        cdef double work = 3 * self.work_per_row * <double> rows
        if sparse:
            work = work / 4
        if work < 2 * WORK_PER_THREAD or self.loss_function or self.augment_function:
            n_threads = 1
        self.most_threads = max(1, min(n_threads, <size_t> (work / WORK_PER_THREAD)))
        self.pace[0] = self.pace[1] = 0
        self.slices, self.trial_after = 0, FIRST_TRIAL
        self.rows, self.sparse = rows, sparse
        self.c.batch = rows
        self.c.ldt = self.k.row_stride(self.c.n_outputs)
        self.c.t = self._room(rows * self.c.ldt)
        self.c.row_loss = <double *> address(self._buffer(rows, np.float64), 1)
        for i in range(self.c.n_layers):
            self._allocate_layer(&self.c.layers[i], rows)
        for i in range(2):
            self.c.delta[i] = self._room(rows * self.widest)
        self.c.n_threads = self.most_threads
        if rows > 1:
            self._allocate_batch()

    cdef int _allocate_batch(self) except -1:
        """What batches need beside what single samples need too: gradients above all."""
        cdef size_t i
        any_residual = any(self.c.layers[i].residual for i in range(self.c.n_layers))
        self.c.ldx = self.k.row_stride(self.c.n_features)
        if not self.sparse:
            self.c.x = self._room(self.rows * self.c.ldx)
        for i in range(2):
            if any_residual:
                self.c.skip_delta[i] = self._room(self.rows * self.widest)
        if self.c.norm_diagonal:
            self.c.diagonal = self._room(self.rows * self.widest)
        self.grads = self._buffer(self.params.shape[0], self.dtype)
        self.c.grads = address(self.grads, 1)
        self.c.pack = self._room(self.most_threads * self.c.pack_size)
        blocks = self.params.shape[0] // 4096 + 6
        self.c.block_sums = <double *> address(self._buffer(2 * blocks, np.float64), 1)
        if self.dropout is not None and not self.c.drop_per_sample:
            self._allocate_thin(self.most_threads)
        return 0

    cdef void *_room(self, size) except NULL:
        return address(self._buffer(max(size, 1), self.dtype), 1)

    cdef int _allocate_layer(self, layer_t *layer, size_t rows) except -1:
        layer.y = layer.s = self._room(rows * layer.ld)
        if (layer.f.keeps_z or layer.residual
                or (self.c.drop_per_sample and layer.drop > 0)):
            layer.s = self._room(rows * layer.ld)
        if layer.has_norm:
            layer.norm.z_norm = self._room(rows * layer.ld)
            layer.norm.inv_std = self._room(layer.ld)
        return 0

    cdef int _allocate_thin(self, size_t n_threads) except -1:
        """The thinned network: the same workspace, parameters and index lists of its own."""
        cdef size_t i, n = self.c.n_layers, rows = 0
        cdef thin_plan *t = <thin_plan *> calloc(1, sizeof(thin_plan))
        if t == NULL:
            raise MemoryError
        self.c.thin = t
        t.unit = <int32_t **> calloc(n + 1, sizeof(void *))
        t.place = <int32_t **> calloc(n + 1, sizeof(void *))
        t.awake = <void **> calloc(n + 1, sizeof(void *))
        t.plan.layers = NULL
        memcpy(&t.plan, &self.c, sizeof(plan_t))
        t.plan.thin = NULL
        t.plan.layers = <layer_t *> calloc(n, sizeof(layer_t))
        if not (t.unit and t.place and t.awake and t.plan.layers):
            raise MemoryError
        memcpy(t.plan.layers, self.c.layers, n * sizeof(layer_t))
        t.plan.params = self._room(self.params.shape[0])
        for i in range(n + 1):
            width = self.sizes[i]
            t.unit[i] = <int32_t *> address(self._buffer(width, np.int32))
            t.place[i] = <int32_t *> address(self._buffer(width, np.int32))
            t.awake[i] = self._room(self.k.row_stride(width))
        for i in range(n):
            rows += self.c.layers[i].n_in + 2
            if self.c.layers[i].residual:
                t.plan.layers[i].skip = <const int32_t *> address(
                    self._buffer(self.c.layers[i].n_out, np.int32))
            if self.c.layers[i].f.n_kinds:
                t.plan.layers[i].f.node = self._room(self.c.layers[i].ld)
        t.row_sums = <double *> address(self._buffer(2 * rows, np.float64))
        t.row_size = self.widest
        t.row = self._room(n_threads * self.widest)
        return 0

    # -- work --

    cdef double _choose_threads(self):
        """One thread or all, whichever has been faster; returns the seconds to go on so.

        The results are the same bits either way, so the choice may follow the clock: on a
        machine whose cores are busy elsewhere, threads that wait for each other are slower
        than one alone, and only measuring tells.  The first slice, which touches all memory
        for the first time, measures nothing; then both are tried, and the slower one again
        after a while, ever more rarely.
        """
        cdef int many
        cdef double seconds
        if self.most_threads == 1:
            self.c.n_threads = 1
            return SLICE
        self.slices += 1
        if self.slices <= 3:
            many, seconds = self.slices < 3, TRIAL
            self.next_trial = team_seconds() + FIRST_TRIAL
        elif team_seconds() > self.next_trial:
            many, seconds = self.pace[1] < self.pace[0], TRIAL
            self.trial_after = min(2 * self.trial_after, LAST_TRIAL)
            self.next_trial = team_seconds() + self.trial_after
        else:
            many, seconds = self.pace[1] >= self.pace[0], SLICE
        self.c.n_threads = self.most_threads if many else 1
        return seconds

    cdef void _note_pace(self, double samples, double seconds) noexcept:
        if samples > 0 and seconds > 0 and self.slices != 1:
            self.pace[self.c.n_threads > 1] = samples / seconds

    def forward(self, Data data, size_t n_threads=1):
        """Outputs (n_samples, n_outputs) of the network; needs no workspace."""
        cdef size_t n = data.c.n_samples, chunk = min(n, CHUNK_ROWS), pack = 0
        cdef double work = self.work_per_row * <double> n
        self._check(data)
        out = np.empty((n, self.c.n_outputs), dtype=self.dtype)
        if n == 0:
            return out
        if work < 2 * WORK_PER_THREAD:
            n_threads = 1
        if n >= 4:
            pack = n_threads * self.c.pack_size
        scratch = aligned_zeros(2 * n_threads * chunk * self.widest + pack, self.dtype)
        cdef void *p_out = address(out, 1)
        cdef char *p_scratch = <char *> address(scratch, 1)
        cdef char *p_pack = p_scratch + 2 * n_threads * chunk * self.widest * self.k.size
        cdef size_t at = 0, stop, step = n if work < 1e9 else max(
            chunk, <size_t> (1e9 / self.work_per_row))
        while at < n:
            stop = min(n, at + step)
            with nogil:
                self.k.forward(&self.c, &data.c, at, stop,
                               <char *> p_out + at * self.c.n_outputs * self.k.size,
                               p_scratch, chunk, p_pack, n_threads)
            at = stop
            PyErr_CheckSignals()
        return out

    def loss_and_gradient(self, Data data, bint with_gradient=True):
        """Σ of weighted losses / Σ of weights, and its gradient in `grads` (no penalties)."""
        cdef size_t n = data.c.n_samples, at = 0, stop
        cdef size_t step = max(self.c.batch, <size_t> (1e9 / (3 * self.work_per_row)))
        if self.c.n_scales or self.c.has_norm:
            step = n  # the statistics are those of all rows
            if n > self.c.batch:
                raise ValueError(f"{n} rows at once, the workspace holds {self.c.batch}")
        cdef double total = 0, weight = n, begun
        if self.grads is None:
            self._allocate_batch()
        self._check(data)
        if data.c.weights != NULL:
            weight = float(np.sum(data.sample_weight, dtype=np.float64))
        if n == 0 or weight <= 0:
            raise ValueError("the samples' weights add up to nothing")
        while at < n:
            stop = min(n, at + step)
            self._choose_threads()
            begun = team_seconds()
            with nogil:
                total += self.k.gradient(&self.c, &data.c, at, stop, 1 / weight, at > 0,
                                         with_gradient)
            self._note_pace(stop - at, team_seconds() - begun)
            if self.failure is not None:
                self._raise_failure()
            at = stop
            PyErr_CheckSignals()
        return total / weight

    def epoch(self, Data data, size_t batch_size, order=None, double rate=0.0,
              uint64_t seed=0):
        """One pass over the samples named by `order` (all of them if None), in that order;
        returns the mean loss of its batches."""
        cdef epoch_t e
        cdef size_t n_samples = data.c.n_samples, n = n_samples, before
        cdef double begun
        self._check(data)
        memset(&e, 0, sizeof(epoch_t))
        e.batch_size = batch_size
        self.c.solver.rate = rate
        self.c.seed = seed
        if order is not None:
            if order.dtype != np.int64 or order.ndim != 1 or not order.flags.c_contiguous:
                raise ValueError("order must be a contiguous int64 vector")
            n = order.shape[0]
            data.c.order = <const int64_t *> address(order)
        data.c.n_samples = n
        if self.k.online_possible(&self.c, &data.c, batch_size):
            if self.c.online == NULL:
                self.c.online = self._room(self.k.online_size(&self.c))
        else:
            self.c.online = NULL
            if self.grads is None:
                self._allocate_batch()
        try:
            while e.position < n:
                e.stop = 0
                e.seconds = self._choose_threads()
                before, begun = e.position, team_seconds()
                with nogil:
                    self.k.epoch(&self.c, &data.c, &e)
                self._note_pace(e.position - before, team_seconds() - begun)
                if e.failed:
                    self._raise_failure()
                try:
                    PyErr_CheckSignals()
                except BaseException:
                    if e.position < n:
                        e.abandon = 1
                        self.k.epoch(&self.c, &data.c, &e)
                    raise
        finally:
            data.c.order = NULL
            data.c.n_samples = n_samples
        return e.loss / n

    cdef int _raise_failure(self) except -1:
        failure, self.failure = self.failure, None
        raise failure

    cdef int _check(self, Data data) except -1:
        if data.dtype != self.dtype:
            raise ValueError(f"data are {data.dtype}, parameters {self.dtype}")
        if data.shape[1] != self.c.n_features:
            raise ValueError(
                f"X has {data.shape[1]} features, the network takes {self.c.n_features}")
        if data.c.targets != NULL and data.c.ldt != self.c.n_outputs:
            raise ValueError(
                f"y has {data.c.ldt} columns, the network has {self.c.n_outputs} outputs")
        return 0


# ---- kernels by themselves, for tests and benchmarks ----------------------------------------

def vmath(name, x, isa=None):
    """Elementwise `name` (one of VMATH) of a contiguous float vector."""
    cdef const kernels_t *k = kernels_for(is_double_of(x.dtype), isa)
    y = np.empty_like(x)
    cdef int which = VMATH.index(name)
    cdef void *py = address(y, 1)
    cdef void *px = address(x)
    cdef size_t n = x.size
    with nogil:
        k.vmath(which, py, px, n)
    return y


def gemm(kind, a, b, out, n_threads=1, isa=None, repeat=1):
    """out = a @ b ('NN'), a @ b.T ('NT') or a.T @ b ('TN'); rows contiguous.

    For 'TN', b's rows must be padded to whole vectors (`row_stride`), as the workspace's are.
    `repeat` does it so many times over: a small product takes less time than the call.
    """
    cdef const kernels_t *k = kernels_for(is_double_of(out.dtype), isa)
    cdef int code = ("NN", "NT", "TN").index(kind)
    cdef size_t m = out.shape[0], n = out.shape[1]
    cdef size_t inner = a.shape[0] if kind == "TN" else a.shape[1]
    cdef size_t item = out.itemsize, threads = n_threads
    cdef size_t lda = a.strides[0] // item, ldb = b.strides[0] // item
    cdef size_t ldc = out.strides[0] // item
    pack = aligned_zeros(k.pack_size * threads, out.dtype)
    cdef void *pa = address(a)
    cdef void *pb = address(b)
    cdef void *pc = address(out, 1)
    cdef void *pp = address(pack, 1)
    cdef size_t _, times = repeat
    with nogil:
        for _ in range(times):
            k.gemm(code, m, n, inner, pa, lda, pb, ldb, pc, ldc, pp, threads)
    return out


def probe_multiply_add(n, dtype, isa=None):
    """Do chains of n multiply-adds in registers: (floating-point operations, seconds)."""
    cdef const kernels_t *k = kernels_for(is_double_of(np.dtype(dtype)), isa)
    cdef size_t links = n
    cdef double begun, done, work
    with nogil:
        begun = team_seconds()
        work = k.probe_multiply_add(links)
        done = team_seconds()
    return work, done - begun


def probe_memory(buffer, write, passes=1, isa=None):
    """Pass over a float vector, reading or reading and writing: (bytes moved, seconds)."""
    cdef const kernels_t *k = kernels_for(is_double_of(buffer.dtype), isa)
    cdef void *p = address(buffer, 1)
    cdef size_t n = buffer.size, _, count = passes
    cdef int writes = write
    cdef double begun, done
    with nogil:
        begun = team_seconds()
        for _ in range(count):
            k.probe_memory(p, n, writes)
        done = team_seconds()
    return buffer.nbytes * count * (2 if write else 1), done - begun


def dropout_mask(seed, batch, layer, n, double drop):
    """Which of n units of a layer (0: inputs) are awake in the batch that begins at sample
    `batch` of an epoch; for a mask per sample, n counts rows × units."""
    kept = np.empty(n, np.uint8)
    cdef uint8_t *p = <uint8_t *> address(kept, 1)
    kernels_for(1).mask(p, seed, batch, layer, n, drop)
    return kept.astype(bool)


def row_stride(n, dtype, isa=None):
    """Distance of the rows of a workspace matrix of n columns, in elements."""
    return kernels_for(is_double_of(np.dtype(dtype)), isa).row_stride(n)
