# ---- Python callbacks ------------------------------------------------------------------------

cdef object view_of(const void *p, size_t rows, size_t columns, size_t ld, dtype):
    """A writable array over kernel memory, valid during the callback."""
    cdef char[::1] raw
    if rows == 0 or columns == 0:
        return np.empty((rows, columns), dtype)
    raw = <char[:rows * ld * <size_t> dtype.itemsize]> <char *> p
    return np.frombuffer(raw, dtype=dtype).reshape(rows, ld)[:, :columns]


cdef int run_loss(void *context, const loss_rows_t *r) noexcept with gil:
    cdef Description plan = <Description> context
    cdef size_t i
    try:
        n = plan.c.net.n_outputs
        y_out = view_of(r.y, r.rows, n, r.ld, plan.dtype).copy()
        y_true = view_of(r.t, r.rows, n, r.ldt, plan.dtype).copy()
        values, slope = plan.loss_function(y_true, y_out)
        values = np.asarray(values, dtype=np.float64)
        slope = np.asarray(slope)
        if values.shape != (r.rows,) or slope.shape != (r.rows, n):
            raise ValueError(
                f"loss returned values of shape {values.shape} and a gradient of shape "
                f"{slope.shape}; they must be ({r.rows},) and ({r.rows}, {n})")
        view_of(r.gradient, r.rows, n, r.ld, plan.dtype)[:] = slope
        for i in range(r.rows):
            r.losses[i] = values[i]
        return 0
    except BaseException as failure:
        plan.failure = failure
        return 1


cdef int run_augment(void *context, size_t rows, size_t ld, void *x) noexcept with gil:
    cdef Description plan = <Description> context
    try:
        batch = view_of(x, rows, plan.c.net.n_features, ld, plan.dtype)
        changed = np.asarray(plan.augment_function(batch.copy()))
        if changed.shape != batch.shape:
            raise ValueError(f"augment returned shape {changed.shape}, not {batch.shape}")
        batch[:] = changed
        return 0
    except BaseException as failure:
        plan.failure = failure
        return 1


# What the kernels call.  Whatever Python does, destructors of the local variables included,
# happens between the two calls of team.h.

cdef int call_loss(void *context, const loss_rows_t *r) noexcept nogil:
    team_enter_callback()
    cdef int failed = run_loss(context, r)
    team_leave_callback()
    return failed


cdef int call_augment(void *context, size_t rows, size_t ld, void *x) noexcept nogil:
    team_enter_callback()
    cdef int failed = run_augment(context, rows, ld, x)
    team_leave_callback()
    return failed


# ---- the network ----------------------------------------------------------------------------

cdef class Description:
    """A network over one flat parameter vector, its loss and its optimizer.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
        ``W_0 | W_1 | … | b_0 | b_1 | … | a_0 | a_1 | …``; used in place.
    sizes : sequence of int
        Units per layer, inputs and outputs included.
    activations : sequence of tuple
        One per weight layer: (code, keeps_z, a, b), or (kinds, node) where nodes differ:
        a list of such tuples and each node's index in it.
    spans : sequence of (str, int, int)
        Parameters that are trained: kind (SPAN_KINDS), first parameter, number of them.
    groups : sequence of int, optional
        Outputs of each task of a softmax.
    normed : sequence of bool, optional
        Weight layers with batch norm; each has a scale a of n_out parameters.
    skip_scales : sequence of float, optional
        Per weight layer the factor of its input when that is added to its output; 0: it is
        not added.
    connections : sequence, optional
        Per weight layer None, or the connections of a sparse layer
        (mlp.network.connectivity.Edges).
    frozen : sequence of bool, optional
        Weight layers whose parameters are not trained.
    ties : sequence of (int, int), optional
        Pairs of layers (trained, tied): the second's weights are the first's, transposed.
    offsets : bool, default=True
        Whether the layers have offsets; if not, the offsets must be 0 and stay 0.
    """

    cdef plan_t c
    cdef const kernels_t *k
    cdef list keep
    cdef readonly object params
    cdef readonly object dtype
    cdef readonly tuple sizes
    cdef readonly object moment_1
    cdef readonly object moment_2
    cdef size_t widest
    cdef double work_per_row
    cdef object loss_function
    cdef object augment_function
    cdef object failure
    cdef readonly object dropout

    def __cinit__(self, params, sizes, activations, spans, groups=None, normed=None,
                  skip_scales=None, connections=None, frozen=None, ties=(), bint offsets=True,
                  isa=None):
        memset(&self.c, 0, sizeof(plan_t))
        self.dtype = params.dtype
        self.sizes = tuple(sizes)
        self.params = params
        self.keep = [params]
        self.k = kernels_for(is_double_of(params.dtype), isa)
        cdef size_t n = len(sizes) - 1, i, weight = 0, bias
        self.c.net.layers = <layer_t *> calloc(n, sizeof(layer_t))
        if self.c.net.layers == NULL:
            raise MemoryError
        self.c.net.n_layers = n
        self.c.plain = 1
        self.c.net.n_features = self.c.net.n_inputs = sizes[0]
        self.c.net.n_outputs = sizes[n]
        self.c.work.n_threads = 1
        self.c.net.no_offsets = not offsets
        self.c.work.pack_size = self.k.pack_size
        counts = [sizes[i] * sizes[i + 1] for i in range(n)]
        for i in range(n):
            if connections is not None and connections[i] is not None:
                counts[i] = connections[i].n
                self._set_connections(&self.c.net.layers[i], connections[i])
                self.c.plain = 0
            self.c.net.layers[i].frozen = frozen is not None and frozen[i]
            if self.c.net.layers[i].frozen:
                self.c.plain = 0
            if self.c.net.layers[i].frozen and self.c.net.first_trained == i:
                self.c.net.first_trained = i + 1
            self.c.net.n_weights += <size_t> counts[i]
            self.c.net.n_biases += <size_t> sizes[i + 1]
        bias = self.c.net.n_weights
        for i in range(n):
            self.c.net.layers[i].n_in = sizes[i]
            self.c.net.layers[i].n_out = sizes[i + 1]
            self.c.net.layers[i].ld = self.k.row_stride(sizes[i + 1])
            self.c.net.layers[i].w = weight
            self.c.net.layers[i].b = bias
            if skip_scales is not None and skip_scales[i]:
                self.c.net.layers[i].skip_scale = skip_scales[i]
                self.c.plain = 0
            weight += <size_t> counts[i]
            bias += <size_t> sizes[i + 1]
            self.widest = max(self.widest, self.c.net.layers[i].ld)
            self.work_per_row += <double> counts[i]
            self._set_activation(&self.c.net.layers[i], activations[i])
            if self.c.net.layers[i].f.code == ACT_RBF:
                self.c.plain = 0
        for i in range(n):
            if normed is not None and normed[i]:
                self.c.net.layers[i].has_norm = 1
                self.c.plain = 0
                self.c.net.layers[i].norm.scale = bias
                bias += <size_t> sizes[i + 1]
                self.c.net.n_scales += <size_t> sizes[i + 1]
        if params.shape != (bias,):
            raise ValueError(f"params must have shape ({bias},), got {params.shape}")
        self.c.net.params = address(params, 1)
        self._set_spans(spans, ties)
        self._set_groups((sizes[n],) if groups is None else groups)

    def __dealloc__(self):
        cdef size_t i
        if self.c.net.layers != NULL:
            for i in range(self.c.net.n_layers):
                free(<void *> self.c.net.layers[i].f.kinds)
                free(<void *> self.c.net.layers[i].sparse)
        free(self.c.net.layers)
        free(<void *> self.c.net.spans)
        free(<void *> self.c.net.ties)

    cdef int _leave_plain(self, bint beyond) except -1:
        """An option beyond what the per-sample path (src/core/single) can do closes it."""
        if beyond:
            self.c.plain = 0
        return 0

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

    cdef int _set_connections(self, layer_t *layer, connections) except -1:
        cdef sparse_t *e = <sparse_t *> calloc(1, sizeof(sparse_t))
        if e == NULL:
            raise MemoryError
        layer.sparse = e
        self.keep.append(connections)
        e.n = connections.n
        e.start = <const int64_t *> address(connections.start)
        e.to = <const int32_t *> address(connections.to)
        e.in_start = <const int64_t *> address(connections.in_start)
        e.source_unit = <const int32_t *> address(connections.source)
        e.place = <const int64_t *> address(connections.place)
        return 0

    cdef int _set_spans(self, spans, ties) except -1:
        cdef size_t i
        cdef span_t *listed = <span_t *> calloc(max(1, len(spans)), sizeof(span_t))
        cdef tie_t *tied = <tie_t *> calloc(max(1, len(ties)), sizeof(tie_t))
        self.c.net.spans, self.c.net.ties = listed, tied
        if listed == NULL or tied == NULL:
            raise MemoryError
        for i in range(<size_t> len(spans)):
            kind, listed[i].at, listed[i].n = spans[i]
            listed[i].kind = SPAN_KINDS[kind]
            if listed[i].at + listed[i].n > <size_t> self.params.shape[0]:
                raise ValueError(
                    f"spans must lie within the {self.params.shape[0]} parameters, "
                    f"got {spans[i]}")
        for i in range(<size_t> len(ties)):
            tied[i].source, tied[i].to = ties[i]
        self.c.net.n_spans, self.c.net.n_ties = len(spans), len(ties)
        self._leave_plain(len(ties) > 0)
        return 0

    cdef int _set_groups(self, widths) except -1:
        """Softmax groups: the numbers of outputs of the tasks, in order."""
        bounds = np.concatenate([[0], np.cumsum(widths)]).astype(np.uintp)
        if sum(widths) != self.c.net.n_outputs:
            raise ValueError(
                f"groups must add up to {self.c.net.n_outputs} outputs, got {widths}")
        self.keep.append(bounds)
        self.c.objective.loss.group = <const size_t *> address(bounds)
        self.c.objective.loss.n_groups = len(widths)
        return 0

    # -- settings --

    def set_loss(self, code, from_logits, parameter=0.0, value_scale=1.0, group_weight=None):
        self.c.objective.loss.code = code
        self.c.objective.loss.from_logits = from_logits
        self.c.objective.loss.parameter = parameter
        self.c.objective.loss.value_scale = value_scale
        self.c.objective.loss.group_weight = NULL
        if group_weight is not None:
            weights = np.ascontiguousarray(group_weight, np.float64)
            self.keep.append(weights)
            self.c.objective.loss.group_weight = <const double *> address(weights)

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
        self.c.net.norm_momentum, self.c.net.norm_epsilon = momentum, epsilon
        self.c.net.norm_diagonal, self.c.net.norm_frozen = diagonal, frozen
        self.c.net.joins_last = 1
        for i in range(self.c.net.n_layers):
            if self.c.net.layers[i].has_norm:
                self._set_statistics(&self.c.net.layers[i].norm, statistics[i],
                                     self.c.net.layers[i].n_out)
        self.c.net.has_norm = input_statistics is not None
        self._leave_plain(self.c.net.has_norm)
        if self.c.net.has_norm:
            self._set_statistics(&self.c.net.norm, input_statistics, self.c.net.n_features)

    cdef int _set_statistics(self, norm_t *norm, array, size_t n) except -1:
        if array.shape != (3, n) or array.dtype != np.float64:
            raise ValueError(f"statistics must be float64 of shape (3, {n})")
        self.keep.append(array)
        norm.mean = <double *> address(array, 1)
        norm.var = norm.mean + n
        norm.seen = norm.var + n
        return 0

    def set_dropout(self, rates, bint per_sample=False, bint inverted=True,
                    bint decays_all=False):
        """Rates p of inputs and each hidden layer; call it before `allocate`.

        With `decays_all` the weights of dropped units decay too [S 65.124].
        """
        cdef size_t i
        self.dropout = tuple(rates)
        self.c.noise.drop = rates[0]
        for i in range(self.c.net.n_layers - 1):
            self.c.net.layers[i].drop = rates[i + 1]
        self.c.noise.drop_per_sample, self.c.noise.drop_inverted = per_sample, inverted
        self.c.noise.drop_decays_all = decays_all
        self._leave_plain(per_sample and any(rates))

    def set_corruption(self, double rate):
        """Set inputs to 0 with this probability; call it before `allocate`."""
        self.c.noise.corrupt = rate
        self._leave_plain(rate > 0)

    def set_callbacks(self, loss=None, augment=None):
        """Python functions: a loss ``(y_true, y_out) -> (values, gradient)``, and an
        augmentation of a batch's inputs, ``X_batch -> X_batch``.  They run in one thread."""
        self.loss_function, self.augment_function = loss, augment
        self._leave_plain(loss is not None or augment is not None)
        if loss is not None:
            self.c.objective.loss.callback = call_loss
            self.c.objective.loss.context = <void *> self
        if augment is not None:
            self.c.noise.augment = call_augment
            self.c.noise.context = <void *> self

    def set_penalties(self, double alpha=0.0, double l2=0.0, double l1=0.0,
                      bint l2_bias=False, bint l1_proximal=False):
        """alpha/2‖W‖²/Σweights + l2‖W‖² + l1‖W‖₁; with `l1_proximal` a step applies the last
        one as a soft threshold, which makes weights exactly 0."""
        self.c.objective.alpha = alpha
        self.c.objective.l2 = l2
        self.c.objective.l1 = l1
        self.c.objective.l2_bias = l2_bias
        self.c.objective.l1_proximal = l1_proximal
        self._leave_plain(l1 != 0 or l2_bias)

    def set_solver(self, int code, *, double momentum=0.0, beta_1=(0.9, 0.9),
                   beta_2=(0.999, 0.999), double epsilon=1e-8, double decay=0.0,
                   double clip_norm=0.0, double clip_value=0.0, moment_1=None,
                   moment_2=None, int64_t steps=0):
        """Constants of the stochastic solver; its moments, used in place, are zeros if None."""
        self.c.optimizer.code = code
        self.c.optimizer.momentum = momentum
        self.c.optimizer.beta_1[0], self.c.optimizer.beta_1[1] = beta_1
        self.c.optimizer.beta_2[0], self.c.optimizer.beta_2[1] = beta_2
        self.c.optimizer.epsilon = epsilon
        self.c.optimizer.decay = decay
        self.c.optimizer.clip_norm = clip_norm
        self.c.optimizer.clip_value = clip_value
        self._leave_plain(clip_norm != 0 or clip_value != 0)
        self.c.optimizer.t = steps
        self.moment_1 = self.moment_2 = None
        self.c.optimizer.moment_1 = self.c.optimizer.moment_2 = NULL
        if mlp_solver_moments[code] >= 1:
            self.moment_1 = self._moment(moment_1)
            self.c.optimizer.moment_1 = address(self.moment_1, 1)
        if mlp_solver_moments[code] >= 2:
            self.moment_2 = self._moment(moment_2)
            self.c.optimizer.moment_2 = address(self.moment_2, 1)

    cdef object _moment(self, given):
        if given is None:
            return aligned_zeros(self.params.shape[0], self.dtype)
        if given.shape != self.params.shape or given.dtype != self.dtype:
            raise ValueError(
                f"a solver's moment must be {self.dtype} of shape {self.params.shape}, as the "
                f"parameters are; got {given.dtype} of shape {given.shape}")
        return given if given.flags.writeable else given.copy()

    @property
    def steps(self):
        """Steps made so far; Adam's bias correction depends on it."""
        return self.c.optimizer.t
