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
    spans : sequence of (str, int, int)
        What is trained: kind (SPAN_KINDS), first parameter, number of parameters.
    groups : sequence of int, optional
        Outputs of each task of a softmax.
    normed : sequence of bool, optional
        Weight layers with batch norm; each has a scale a of n_out parameters.
    residual : sequence of float, optional
        Per weight layer what its input is multiplied by before it is added to its output
        in prediction; 0: not added.
    edges : sequence, optional
        Per weight layer None or the connections that it has (mlp.connectivity.Edges).
    frozen : sequence of bool, optional
        Weight layers whose parameters stand still.
    ties : sequence of (int, int), optional
        Pairs of layers (trained, tied) whose second's weights are the first's transposed.
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

    def __cinit__(self, params, sizes, activations, spans, groups=None, normed=None,
                  residual=None, edges=None, frozen=None, ties=(), isa=None):
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
        counts = [sizes[i] * sizes[i + 1] for i in range(n)]
        for i in range(n):
            if edges is not None and edges[i] is not None:
                counts[i] = edges[i].n
                self._set_edges(&self.c.layers[i], edges[i])
            self.c.layers[i].frozen = frozen is not None and frozen[i]
            if self.c.layers[i].frozen and self.c.first_trained == i:
                self.c.first_trained = i + 1
            self.c.n_weights += <size_t> counts[i]
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
            weight += <size_t> counts[i]
            bias += <size_t> sizes[i + 1]
            self.widest = max(self.widest, self.c.layers[i].ld)
            self.work_per_row += <double> counts[i]
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
        self._set_spans(spans, ties)
        self._set_groups((sizes[n],) if groups is None else groups)

    def __dealloc__(self):
        cdef size_t i
        if self.c.thin != NULL:  # it is compared with the layers: these go after it
            if self.c.thin.plan.layers != NULL:
                for i in range(self.c.n_layers):
                    if self.c.thin.plan.layers[i].edges != self.c.layers[i].edges:
                        free(<void *> self.c.thin.plan.layers[i].edges)
            free(self.c.thin.plan.layers)
            free(self.c.thin.unit)
            free(self.c.thin.place)
            free(self.c.thin.awake)
            free(self.c.thin)
        if self.c.layers != NULL:
            for i in range(self.c.n_layers):
                free(<void *> self.c.layers[i].f.kinds)
                free(<void *> self.c.layers[i].edges)
        free(self.c.layers)
        free(<void *> self.c.spans)
        free(<void *> self.c.ties)

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

    cdef int _set_edges(self, layer_t *layer, edges) except -1:
        cdef edges_t *e = <edges_t *> calloc(1, sizeof(edges_t))
        if e == NULL:
            raise MemoryError
        layer.edges = e
        self.keep.append(edges)
        e.n = edges.n
        e.start = <const int64_t *> address(edges.start)
        e.to = <const int32_t *> address(edges.to)
        e.in_start = <const int64_t *> address(edges.in_start)
        e.source_unit = <const int32_t *> address(edges.source)
        e.place = <const int64_t *> address(edges.place)
        return 0

    cdef int _set_spans(self, spans, ties) except -1:
        cdef size_t i
        cdef span_t *listed = <span_t *> calloc(max(1, len(spans)), sizeof(span_t))
        cdef tie_t *tied = <tie_t *> calloc(max(1, len(ties)), sizeof(tie_t))
        self.c.spans, self.c.ties = listed, tied
        if listed == NULL or tied == NULL:
            raise MemoryError
        for i in range(<size_t> len(spans)):
            kind, listed[i].at, listed[i].n = spans[i]
            listed[i].kind = SPAN_KINDS[kind]
            if listed[i].at + listed[i].n > <size_t> self.params.shape[0]:
                raise ValueError(f"span {spans[i]} is not within the parameters")
        for i in range(<size_t> len(ties)):
            tied[i].source, tied[i].to = ties[i]
        self.c.n_spans, self.c.n_ties = len(spans), len(ties)
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

    def set_corruption(self, double rate):
        """Set inputs to 0 with this probability; to be called before `allocate`."""
        self.c.corrupt = rate

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
        if rows == 1:
            work = 4 * work  # bound by memory
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
        if not self.sparse or self.c.corrupt > 0:
            self.c.x = self._room(self.rows * self.c.ldx)
            self.c.rows = <const void **> address(self._buffer(self.rows, np.uintp), 1)
        for i in range(2):
            if any_residual:
                self.c.skip_delta[i] = self._room(self.rows * self.widest)
        if self.c.norm_diagonal:
            self.c.diagonal = self._room(self.rows * self.widest)
        self.grads = self._buffer(self.params.shape[0], self.dtype)
        self.c.grads = address(self.grads, 1)
        self.c.pack = self._room(self.most_threads * self.c.pack_size)
        self._allocate_columns()
        blocks = self.params.shape[0] // 4096 + 1 + self.c.n_spans
        self.c.block_sums = <double *> address(self._buffer(2 * blocks, np.float64), 1)
        if self.dropout is not None and not self.c.drop_per_sample:
            self._allocate_thin(self.most_threads)
        return 0

    cdef int _allocate_columns(self) except -1:
        """Where layers with edges hold their inputs, and their δ, a unit a row."""
        cdef size_t i, widest = 0, rows = 4 * self.k.lanes
        rows *= (self.rows + rows - 1) // rows
        for i in range(self.c.n_layers):
            if self.c.layers[i].edges != NULL:
                widest = max(widest, self.c.layers[i].n_out)
                if i > 0 or not self.sparse or self.c.corrupt > 0:
                    self.c.layers[i].columns = self._room(self.c.layers[i].n_in * rows)
        if widest:
            self.c.delta_columns = self._room(widest * rows)
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
            if self.c.layers[i].edges != NULL:
                t.plan.layers[i].edges = NULL
                self._allocate_thin_edges(&t.plan.layers[i], self.c.layers[i].edges.n)
            if self.c.layers[i].f.n_kinds:
                t.plan.layers[i].f.node = self._room(self.c.layers[i].ld)
        t.row_sums = <double *> address(self._buffer(2 * rows, np.float64))
        t.row_size = self.widest
        t.row = self._room(2 * n_threads * self.widest)
        return 0

    cdef int _allocate_thin_edges(self, layer_t *layer, size_t n) except -1:
        cdef edges_t *e = <edges_t *> calloc(1, sizeof(edges_t))
        if e == NULL:
            raise MemoryError
        layer.edges = e
        e.start = <const int64_t *> address(self._buffer(layer.n_in + 1, np.int64))
        e.in_start = <const int64_t *> address(self._buffer(layer.n_out + 1, np.int64))
        e.to = <const int32_t *> address(self._buffer(max(n, 1), np.int32))
        e.source_unit = <const int32_t *> address(self._buffer(max(n, 1), np.int32))
        e.place = <const int64_t *> address(self._buffer(max(n, 1), np.int64))
        e.source = <const int64_t *> address(self._buffer(max(n, 1), np.int64))
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

    def forward(self, Data data, size_t n_threads=1, depth=None):
        """Outputs (n_samples, n_outputs) of the network, or those of its first `depth`
        layers; needs no workspace."""
        cdef plan_t part
        if depth is not None:
            memcpy(&part, &self.c, sizeof(plan_t))
            part.n_layers = depth
            part.n_outputs = part.layers[part.n_layers - 1].n_out
            return self._forward(&part, data, n_threads)
        return self._forward(&self.c, data, n_threads)

    cdef object _forward(self, const plan_t *p, Data data, size_t n_threads):
        cdef size_t n = data.c.n_samples, chunk, columns, pack = 0
        cdef double work = self.work_per_row * <double> n
        self._check(data)
        out = np.empty((n, p.n_outputs), dtype=self.dtype)
        if n == 0:
            return out
        if work < 2 * WORK_PER_THREAD:
            n_threads = 1
        chunk = min(min(n, n // n_threads + self.k.tile_rows), CHUNK_ROWS)
        if n >= 4:
            pack = n_threads * self.c.pack_size
        columns = n_threads * self.k.columns_room(p, chunk)
        cdef char *p_out = <char *> address(out, 1)
        cdef size_t rows_room = 2 * n_threads * chunk * self.widest + columns
        # from C: one row takes four microseconds, an array for it would be one of them
        cdef char *raw = <char *> calloc((rows_room + pack) * self.k.size + 64, 1)
        cdef char *p_scratch = raw + (64 - <size_t> raw % 64)
        cdef char *p_pack = p_scratch + rows_room * self.k.size
        cdef size_t at = 0, stop, step = n if work < 1e9 else max(
            chunk, <size_t> (1e9 / self.work_per_row))
        if raw == NULL:
            raise MemoryError
        try:
            while at < n:
                stop = min(n, at + step)
                with nogil:
                    self.k.forward(p, &data.c, at, stop,
                                   p_out + at * p.n_outputs * self.k.size,
                                   p_scratch, chunk, p_pack, n_threads)
                at = stop
                PyErr_CheckSignals()
        finally:
            free(raw)
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
        if data.c.targets == NULL and data.c.labels == NULL and not data.c.autoencode:
            raise ValueError("y is missing: the loss of a sample is that of its target")
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
        if with_gradient:
            self._gather_ties()
        return total / weight

    cdef int _gather_ties(self) except -1:
        """The gradient of a tied matrix belongs to the one that it is tied to."""
        cdef size_t i, n
        cdef layer_t *layer
        cdef layer_t *tied
        for i in range(self.c.n_ties):
            layer = &self.c.layers[self.c.ties[i].source]
            tied = &self.c.layers[self.c.ties[i].to]
            n = layer.n_in * layer.n_out
            twin = self.grads[tied.w:tied.w + n]
            ours = self.grads[layer.w:layer.w + n].reshape(layer.n_in, layer.n_out)
            ours += twin.reshape(layer.n_out, layer.n_in).T
            twin[:] = 0
        return 0

    def epoch(self, Data data, size_t batch_size, order=None, double rate=0.0,
              uint64_t seed=0, gradient_norms=None):
        """One pass over the samples named by `order` (all of them if None), in that order;
        returns the mean loss of its batches.

        `gradient_norms`, float64 of shape (n_layers,), receives those of the last batch.
        """
        cdef epoch_t e
        cdef size_t n_samples = data.c.n_samples, n = n_samples, before
        cdef double begun
        self._check(data)
        memset(&e, 0, sizeof(epoch_t))
        e.batch_size = batch_size
        self.c.solver.rate = rate
        self.c.seed = seed
        if gradient_norms is not None:
            if gradient_norms.shape != (self.c.n_layers,):
                raise ValueError(f"gradient_norms must have shape ({self.c.n_layers},)")
            gradient_norms[:] = 0
            e.gradient_norms = <double *> address(gradient_norms, 1)
        if order is not None:
            if order.dtype != np.int64 or order.ndim != 1 or not order.flags.c_contiguous:
                raise ValueError("order must be a contiguous int64 vector")
            n = order.shape[0]
            data.c.order = <const int64_t *> address(order)
        data.c.n_samples = n
        if self.k.online_possible(&self.c, &data.c, batch_size):
            if self.c.online == NULL:
                size = self.k.online_size(&self.c, self.most_threads)
                self.c.online = self._room(size)
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
        if data.dtype is not self.dtype and data.dtype != self.dtype:
            raise ValueError(f"data are {data.dtype}, parameters {self.dtype}")
        if data.shape[1] != self.c.n_features:
            raise ValueError(
                f"X has {data.shape[1]} features, the network takes {self.c.n_features}")
        if (data.c.targets != NULL or data.c.autoencode) and data.c.ldt != self.c.n_outputs:
            raise ValueError(
                f"y has {data.c.ldt} columns, the network has {self.c.n_outputs} outputs")
        return 0
