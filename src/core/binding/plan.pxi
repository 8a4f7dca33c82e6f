# ---- training -------------------------------------------------------------------------------

cdef object set_rates(epoch_t *e, rates, int64_t steps):
    """The step sizes of an epoch that begins after so many steps; the caller keeps the array."""
    rates = np.ascontiguousarray(rates, np.float64)
    if rates.ndim != 1 or rates.shape[0] == 0:
        raise ValueError(f"rates must be one number or a vector, got shape {rates.shape}")
    e.rates = <const double *> address(rates)
    e.n_rates, e.first = rates.shape[0], steps
    return rates


cdef class Plan(Description):
    """A network described, and room to train it."""

    cdef readonly object grads
    cdef size_t most_threads
    cdef size_t rows
    cdef bint sparse
    cdef double pace[2]
    cdef double next_trial
    cdef double trial_after
    cdef size_t slices

    def __dealloc__(self):
        cdef size_t i
        if self.c.thin == NULL:
            return
        # its edges are compared with the layers', which the base frees after this
        if self.c.thin.plan.layers != NULL:
            for i in range(self.c.n_layers):
                if self.c.thin.plan.layers[i].edges != self.c.layers[i].edges:
                    free(<void *> self.c.thin.plan.layers[i].edges)
        free(self.c.thin.plan.layers)
        free(self.c.thin.unit)
        free(self.c.thin.place)
        free(self.c.thin.awake)
        free(self.c.thin)

    @property
    def threads(self):
        """Threads that training may use, given the size of its steps."""
        return self.most_threads

    def allocate(self, size_t rows, n_threads=1, bint sparse=False):
        """Workspace for training with up to `rows` samples at once.

        With `rows` of 1 an epoch takes what it needs for the way that it goes.
        """
        cdef size_t i, threads = threads_of(n_threads)
        cdef double work = 3 * self.work_per_row * <double> rows
        if sparse:
            self._refuse_sparse()
        if sparse:
            work = work / 4
        if rows == 1:
            work = 4 * work  # bound by memory
        if work < 2 * WORK_PER_THREAD or self.loss_function or self.augment_function:
            threads = 1
        self.most_threads = max(1, min(threads, <size_t> (work / WORK_PER_THREAD)))
        self.pace[0] = self.pace[1] = 0
        self.slices, self.trial_after = 0, FIRST_TRIAL
        self.rows, self.sparse = rows, sparse
        self.c.batch = rows
        self.c.ldt = self.k.row_stride(self.c.n_outputs)
        self.c.t = self._room(rows, self.c.ldt)
        self.c.row_loss = <double *> address(self._buffer(rows, np.float64), 1)
        for i in range(self.c.n_layers):
            self._allocate_layer(&self.c.layers[i], rows)
        for i in range(2):
            self.c.delta[i] = self._room(rows, self.widest)
        self.c.n_threads = self.most_threads
        if rows > 1:
            self._allocate_batch()

    cdef int _allocate_batch(self) except -1:
        """What batches need beside what single samples need too: gradients above all."""
        cdef size_t i
        any_residual = any(self.c.layers[i].residual for i in range(self.c.n_layers))
        self.c.ldx = self.k.row_stride(self.c.n_features)
        if not self.sparse or self.c.corrupt > 0:
            self.c.x = self._room(self.rows, self.c.ldx)
            self.c.rows = <const void **> address(self._buffer(self.rows, np.uintp), 1)
        for i in range(2):
            if any_residual:
                self.c.skip_delta[i] = self._room(self.rows, self.widest)
        if self.c.norm_diagonal:
            self.c.diagonal = self._room(self.rows, self.widest)
        self.grads = self._buffer(self.params.shape[0], self.dtype)
        self.c.grads = address(self.grads, 1)
        self.c.pack = self._room(self.most_threads, self.c.pack_size)
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
                    self.c.layers[i].columns = self._room(self.c.layers[i].n_in, rows)
        if widest:
            self.c.delta_columns = self._room(widest, rows)
        return 0

    cdef void *_room(self, size_t rows, size_t columns=1) except NULL:
        return address(self._buffer(max(times(rows, columns), 1), self.dtype), 1)

    cdef int _allocate_layer(self, layer_t *layer, size_t rows) except -1:
        layer.y = layer.s = self._room(rows, layer.ld)
        if (layer.f.keeps_z or layer.residual
                or (self.c.drop_per_sample and layer.drop > 0)):
            layer.s = self._room(rows, layer.ld)
        if layer.has_norm:
            layer.norm.z_norm = self._room(rows, layer.ld)
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
        t.row = self._room(2 * n_threads, self.widest)
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

    def forward(self, Data data, n_threads=1, depth=None):
        """Outputs (n_samples, n_outputs) of the network, or those of its first `depth`
        layers; needs no workspace."""
        cdef plan_t part
        if depth is not None:
            if not 1 <= depth <= self.c.n_layers:
                raise ValueError(
                    f"depth must be from 1 to {self.c.n_layers} layers, got {depth}")
            memcpy(&part, &self.c, sizeof(plan_t))
            part.n_layers = depth
            part.n_outputs = part.layers[part.n_layers - 1].n_out
            return self._forward(&part, data, threads_of(n_threads))
        return self._forward(&self.c, data, threads_of(n_threads))

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
            pack = times(n_threads, self.c.pack_size)
        columns = times(n_threads, self.k.columns_room(p, chunk))
        cdef char *p_out = <char *> address(out, 1)
        cdef size_t rows_room = times(2 * n_threads * chunk, self.widest) + columns
        # from C: one row takes four microseconds, an array for it would be one of them
        cdef char *raw = <char *> calloc(rows_room + pack + 64, self.k.size)
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
        self._check_workspace(data)
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

    def epoch(self, Data data, size_t batch_size, order=None, rates=0.0, uint64_t seed=0,
              gradient_norms=None):
        """One pass over the samples named by `order` (all of them if None), in that order;
        returns the mean loss of its batches.

        `rates` are the step sizes, one per step; the last one holds for all further steps.
        `gradient_norms`, float64 of shape (n_layers,), receives those of the last batch.
        """
        cdef epoch_t e
        cdef size_t n_samples = data.c.n_samples, n = n_samples, before
        cdef double begun
        self._check_workspace(data)
        memset(&e, 0, sizeof(epoch_t))
        e.batch_size = batch_size
        rates = set_rates(&e, rates, self.c.solver.t)
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
        if self.k.single_possible(&self.c, &data.c, &e):
            if self.c.single == NULL:
                size = self.k.single_size(&self.c, self.most_threads)
                self.c.single = self._room(size)
        else:
            self.c.single = NULL
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
        if data.c.labels != NULL:
            self._check_labels(data.largest_labels)
        if data.sparse and self.c.layers[0].f.code == ACT_RBF:
            raise ValueError("activation='rbf' measures distances: not with sparse X")
        return 0

    cdef int _check_workspace(self, Data data) except -1:
        """Whether the samples are of the kind that `allocate` made buffers for."""
        self._check(data)
        if data.sparse != self.sparse:
            raise ValueError("the workspace was allocated for other rows, dense or sparse")
        return 0

    cdef int _refuse_sparse(self) except -1:
        """Refuse what works on the values of a dense batch, which sparse rows never form."""
        if self.augment_function is not None:
            raise ValueError("augment wants dense batches, but X is sparse")
        if self.c.drop_per_sample and self.c.drop > 0:
            raise ValueError("input_dropout with dropout_mask='sample' wants dense inputs, "
                             "but X is sparse")
        if self.c.has_norm:
            raise ValueError("batch_norm would centre the inputs, but X is sparse")
        return 0

    cdef int _check_labels(self, tuple largest) except -1:
        cdef size_t g, n_groups = self.c.loss.n_groups
        if <size_t> len(largest) != n_groups:
            raise ValueError(
                f"y has labels of {len(largest)} tasks, the network has {n_groups}")
        for g in range(n_groups):
            n_outputs = self.c.loss.group[g + 1] - self.c.loss.group[g]
            if largest[g] >= max(2, n_outputs):  # one output tells 0 from 1
                raise ValueError(
                    f"y has the label {largest[g]} in column {g}, whose classes are 0 to "
                    f"{max(2, n_outputs) - 1}")
        return 0
