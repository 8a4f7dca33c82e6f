# ---- training -------------------------------------------------------------------------------

cdef class Plan(Description):
    """A network described, and a workspace to train it in.

    An epoch is one call; `gradient` and `step` are the two halves of a training step, for a loop
    of the caller's own.  Batches that the epoch would take are trained to the same bits by

    >>> for first in range(0, n, batch_size):                                # doctest: +SKIP
    ...     last = min(first + batch_size, n)
    ...     loss = plan.gradient(data, order, first, last, seed=seed)
    ...     plan.step(rate)

    Between the two calls `grads` may be changed, or summed over several processes.
    """

    cdef readonly object grads
    cdef size_t rows
    cdef bint sparse
    cdef thread_trial_t trial
    cdef double weight_sum

    def __dealloc__(self):
        cdef size_t i
        cdef thinned_t *t = self.c.noise.thinned
        if t == NULL:
            return
        if t.net.layers != NULL:
            for i in range(self.c.net.n_layers):
                # compared with the layers' connections, which the base frees after this
                if t.net.layers[i].sparse != self.c.net.layers[i].sparse:
                    free(<void *> t.net.layers[i].sparse)
        free(t.net.layers)
        free(t.unit)
        free(t.place)
        free(t.kept)
        free(t)

    @property
    def threads(self):
        """Threads that training may use, given the size of its steps."""
        return self.trial.most

    def allocate(self, size_t rows, n_threads=1, bint sparse=False):
        """Workspace for training with up to `rows` samples at once.

        With rows = 1, `epoch` allocates either the per-sample path's or the batch workspace on
        first use.
        """
        cdef workspace_t *work = &self.c.work
        cdef size_t i, threads = threads_of(n_threads)
        cdef double load = 3 * self.work_per_row * <double> rows
        if rows < 1:
            raise ValueError("rows must be at least 1, got 0")
        if sparse:
            self._refuse_sparse()
            load = load / 4
        if rows == 1:
            load = 4 * load  # bound by memory
        if load < 2 * WORK_PER_THREAD or self.loss_function or self.augment_function:
            threads = 1
        start_trial(&self.trial, max(1, min(threads, <size_t> (load / WORK_PER_THREAD))))
        self.rows, self.sparse = rows, sparse
        work.batch = rows
        work.ldt = self.k.row_stride(self.c.net.n_outputs)
        work.t = self._reals(rows, work.ldt)
        work.row_loss = <double *> address(self._buffer(rows, np.float64), 1)
        for i in range(self.c.net.n_layers):
            self._allocate_layer(&self.c.net.layers[i], rows)
        for i in range(2):
            work.delta[i] = self._reals(rows, self.widest)
        work.n_threads = self.trial.most
        if rows > 1:
            self._allocate_batch()

    cdef int _allocate_batch(self) except -1:
        """Buffers that only mini-batch training needs: gradients above all."""
        cdef workspace_t *work = &self.c.work
        cdef size_t i
        if self.grads is not None:
            return 0
        any_skip = any(self.c.net.layers[i].skip_scale for i in range(self.c.net.n_layers))
        work.ldx = self.k.row_stride(self.c.net.n_features)
        if not self.sparse or self.c.noise.corrupt > 0:
            work.x = self._reals(self.rows, work.ldx)
            work.rows = <const void **> address(self._buffer(self.rows, np.uintp), 1)
        for i in range(2):
            if any_skip:
                work.skip_delta[i] = self._reals(self.rows, self.widest)
        if self.c.net.norm_diagonal:
            work.diagonal = self._reals(self.rows, self.widest)
        self.grads = self._buffer(self.params.shape[0], self.dtype)
        work.grads = address(self.grads, 1)
        work.pack = self._reals(self.trial.most, work.pack_size)
        self._allocate_columns()
        blocks = self.params.shape[0] // 4096 + 1 + self.c.net.n_spans
        work.block_sums = <double *> address(self._buffer(2 * blocks, np.float64), 1)
        if self.dropout is not None and not self.c.noise.drop_per_sample:
            self._allocate_thinned(self.trial.most)
        return 0

    cdef int _allocate_columns(self) except -1:
        """Inputs of sparse layers, and their δ, one unit per row."""
        cdef size_t i, widest = 0, rows = 4 * self.k.lanes
        cdef layer_t *layer
        rows *= (self.rows + rows - 1) // rows
        for i in range(self.c.net.n_layers):
            layer = &self.c.net.layers[i]
            if layer.sparse != NULL:
                widest = max(widest, layer.n_out)
                if i > 0 or not self.sparse or self.c.noise.corrupt > 0:
                    layer.columns = self._reals(layer.n_in, rows)
        if widest:
            self.c.work.delta_columns = self._reals(widest, rows)
        return 0

    cdef void *_reals(self, size_t rows, size_t columns=1) except NULL:
        return address(self._buffer(max(times(rows, columns), 1), self.dtype), 1)

    cdef int _allocate_layer(self, layer_t *layer, size_t rows) except -1:
        layer.y = layer.s = self._reals(rows, layer.ld)
        if (layer.f.keeps_z or layer.skip_scale != 0
                or (self.c.noise.drop_per_sample and layer.drop > 0)):
            layer.s = self._reals(rows, layer.ld)
        if layer.has_norm:
            layer.norm.z_norm = self._reals(rows, layer.ld)
            layer.norm.inv_std = self._reals(layer.ld)
        return 0

    cdef int _allocate_thinned(self, size_t n_threads) except -1:
        """The thinned network: layers, parameters and index lists of its own."""
        cdef size_t i, n = self.c.net.n_layers, rows = 0
        cdef layer_t *full = self.c.net.layers
        cdef layer_t *layers
        cdef thinned_t *t = <thinned_t *> calloc(1, sizeof(thinned_t))
        if t == NULL:
            raise MemoryError
        self.c.noise.thinned = t
        t.net = self.c.net
        t.unit = <int32_t **> calloc(n + 1, sizeof(void *))
        t.place = <int32_t **> calloc(n + 1, sizeof(void *))
        t.kept = <void **> calloc(n + 1, sizeof(void *))
        layers = t.net.layers = <layer_t *> calloc(n, sizeof(layer_t))
        if not (t.unit and t.place and t.kept and layers):
            raise MemoryError
        memcpy(layers, full, n * sizeof(layer_t))
        t.net.params = self._reals(self.params.shape[0])
        for i in range(n + 1):
            width = self.sizes[i]
            t.unit[i] = <int32_t *> address(self._buffer(width, np.int32))
            t.place[i] = <int32_t *> address(self._buffer(width, np.int32))
            t.kept[i] = self._reals(self.k.row_stride(width))
        for i in range(n):
            rows += full[i].n_in + 2
            if full[i].skip_scale != 0:
                layers[i].skip = <const int32_t *> address(
                    self._buffer(full[i].n_out, np.int32))
            if full[i].sparse != NULL:
                layers[i].sparse = NULL
                self._allocate_connections(&layers[i], full[i].sparse.n)
            if full[i].f.n_kinds:
                layers[i].f.node = self._reals(full[i].ld)
        t.row_sums = <double *> address(self._buffer(2 * rows, np.float64))
        t.row_size = self.widest
        t.row = self._reals(2 * n_threads, self.widest)
        return 0

    cdef int _allocate_connections(self, layer_t *layer, size_t n) except -1:
        cdef sparse_t *e = <sparse_t *> calloc(1, sizeof(sparse_t))
        if e == NULL:
            raise MemoryError
        layer.sparse = e
        e.start = <const int64_t *> address(self._buffer(layer.n_in + 1, np.int64))
        e.in_start = <const int64_t *> address(self._buffer(layer.n_out + 1, np.int64))
        e.to = <const int32_t *> address(self._buffer(max(n, 1), np.int32))
        e.source_unit = <const int32_t *> address(self._buffer(max(n, 1), np.int32))
        e.place = <const int64_t *> address(self._buffer(max(n, 1), np.int64))
        e.source = <const int64_t *> address(self._buffer(max(n, 1), np.int64))
        return 0

    # -- prediction --

    def forward(self, Data data not None, n_threads=1, depth=None):
        """Outputs (n_samples, n_outputs) of the network, or of its first `depth` layers; no
        workspace is needed."""
        cdef plan_t part
        if depth is not None:
            if not 1 <= depth <= self.c.net.n_layers:
                raise ValueError(
                    f"depth must be from 1 to {self.c.net.n_layers} layers, got {depth}")
            part = self.c
            part.net.n_layers = depth
            part.net.n_outputs = part.net.layers[depth - 1].n_out
            return self._forward(&part, data, threads_of(n_threads))
        return self._forward(&self.c, data, threads_of(n_threads))

    cdef object _forward(self, const plan_t *p, Data data, size_t n_threads):
        cdef size_t n = data.c.n_samples, columns, scratch, pack = 0
        cdef forward_t f
        cdef double work = self.work_per_row * <double> n
        self._check(data)
        out = np.empty((n, p.net.n_outputs), dtype=self.dtype)
        if n == 0:
            return out
        if work < 2 * WORK_PER_THREAD:
            n_threads = 1
        f.chunk = min(min(n, n // n_threads + self.k.tile_rows), CHUNK_ROWS)
        if n >= 4:
            pack = times(n_threads, self.c.work.pack_size)
        columns = times(n_threads, self.k.columns_size(&p.net, f.chunk))
        cdef char *p_out = <char *> address(out, 1)
        scratch = times(2 * n_threads * f.chunk, self.widest) + columns
        # from C: one row takes four microseconds, an array for it would be one of them
        cdef char *raw = <char *> calloc(scratch + pack + 64, self.k.size)
        f.scratch = raw + (64 - <size_t> raw % 64)
        f.pack = <char *> f.scratch + scratch * self.k.size
        f.n_threads = n_threads
        f.end = 0
        cdef size_t step = n if work < 1e9 else max(
            f.chunk, <size_t> (1e9 / self.work_per_row))
        if raw == NULL:
            raise MemoryError
        try:
            while f.end < n:
                f.begin, f.end = f.end, min(n, f.end + step)
                f.out = p_out + f.begin * p.net.n_outputs * self.k.size
                with nogil:
                    self.k.forward(p, &data.c, &f)
                PyErr_CheckSignals()
        finally:
            free(raw)
        return out

    # -- a gradient, a step --

    cdef double _sum_gradient(self, batch_t *b, size_t step) except? -1:
        """Sum of the weighted losses of b's samples, `step` of them between two checks for
        signals; the gradient is in `grads`."""
        cdef size_t end = b.end
        cdef double total = 0, begun
        b.end = b.begin
        while b.end < end:
            b.begin, b.end = b.end, min(end, b.end + step)
            choose_threads(&self.trial, &self.c.work.n_threads)
            begun = team_seconds()
            with nogil:
                total += self.k.gradient(&self.c, b)
            record_pace(&self.trial, self.c.work.n_threads, b.end - b.begin,
                        team_seconds() - begun)
            if self.failure is not None:
                self._raise_failure()
            PyErr_CheckSignals()
            b.accumulate = 1
        return total

    def loss_and_gradient(self, Data data not None, bint with_gradient=True):
        """Σ of weighted losses / Σ of weights of all samples, without penalties; its gradient is
        in `grads`."""
        cdef size_t n = data.c.n_samples
        cdef size_t step = max(self.c.work.batch, <size_t> (1e9 / (3 * self.work_per_row)))
        cdef double weight = n
        cdef batch_t b
        if self.c.net.n_scales or self.c.net.has_norm:
            step = max(n, 1)  # the statistics are those of all rows
            self._check_rows(n)
        self._check_targets(data)
        self._allocate_batch()
        if data.c.weights != NULL:
            weight = float(np.sum(data.sample_weight, dtype=np.float64))
        if n == 0 or weight <= 0:
            raise ValueError(f"sample_weight must have a positive sum, got {weight}")
        memset(&b, 0, sizeof(batch_t))
        b.samples.data, b.samples.n = &data.c, n
        b.end, b.scale, b.with_gradient = n, 1 / weight, with_gradient
        return self._sum_gradient(&b, step) / weight

    def gradient(self, Data data not None, order=None, size_t first=0, last=None, *,
                 uint64_t seed=0, weight_sum=None):
        """The gradient of one batch: the first half of a training step.

        Parameters
        ----------
        data : Data
        order : int64 ndarray, optional
            Rows of the data in the order of the epoch; all of them in their own if None.
        first, last : int
            The batch is ``order[first:last]``; to the end if `last` is None.  `first` also
            selects the masks of dropout, together with `seed`.
        seed : int
            Seed of the epoch's masks.
        weight_sum : float, optional
            Divisor of the sums over samples; by default the sum of the batch's weights (the
            number of its samples if there are none).  If several processes add up their
            gradients, each passes the sum over all of them.

        Returns
        -------
        float
            Sum of the weighted losses / `weight_sum`, without penalties.  Its gradient is in
            `grads`, laid out as `params`; the entries of a tied matrix are added to those of the
            matrix that it follows.  With a dropout mask per batch it is the gradient of the
            kept units only, in the layout of the thinned network, and must be summed only
            between gradients with the same mask.
        """
        cdef batch_t b
        cdef double weight
        self._check_targets(data)
        self._allocate_batch()
        memset(&b, 0, sizeof(batch_t))
        order = set_order(&b.samples, &data.c, order)
        b.first = b.begin = first
        b.end = b.samples.n if last is None else last
        if not b.begin < b.end <= b.samples.n:
            raise ValueError(f"first and last must be a range of samples within "
                             f"{b.samples.n}, got {first} and {last}")
        check_order(&b.samples, b.begin, b.end)
        if self.c.net.joins_last:
            self._check_rows(b.end - b.begin)
        weight = weight_of(data, order, b.begin, b.end) if weight_sum is None else weight_sum
        if weight <= 0:
            raise ValueError(f"weight_sum must be positive, got {weight}")
        b.scale, b.with_gradient = 1 / weight, 1
        self.c.noise.seed, self.weight_sum = seed, weight
        return self._sum_gradient(&b, b.end - b.begin) / weight

    def step(self, double rate):
        """Update `params` from `grads` by the solver: the second half of a training step.

        Parameters
        ----------
        rate : float
            Rate of this step.

        Returns
        -------
        float
            The penalties of the parameters before the step, with alpha divided by the
            `weight_sum` of the last `gradient`.
        """
        cdef step_t s
        if not 0 <= rate < INFINITY:
            raise ValueError(f"rate must be finite and >= 0, got {rate}")
        if self.weight_sum <= 0:
            raise ValueError("step needs a gradient: call Plan.gradient first")
        s.rate, s.t, s.weight_sum = rate, self.c.optimizer.t + 1, self.weight_sum
        choose_threads(&self.trial, &self.c.work.n_threads)
        with nogil:
            rate = self.k.step(&self.c, &s)
        return rate

    # -- an epoch --

    def epoch(self, Data data not None, size_t batch_size, order=None, rates=0.0, uint64_t seed=0,
              gradient_norms=None):
        """One pass over the samples named by `order` (all of them if None), in that order;
        returns the mean loss of its batches, penalties included.

        `rates` are the rates of the steps; the last one holds for all further steps.
        `gradient_norms`, float64 of shape (n_layers,), receives those of the last batch.
        """
        cdef epoch_t e
        self._check_targets(data)
        memset(&e, 0, sizeof(epoch_t))
        e.batch_size = batch_size
        self.c.noise.seed = seed
        order = set_order(&e.samples, &data.c, order)
        check_order(&e.samples, 0, e.samples.n)
        norms = set_norms(&e, gradient_norms, self.c.net.n_layers)
        rates = set_rates(&e, rates, self.c.optimizer.t)
        if self.k.single_possible(&self.c, &e):
            if self.c.work.single == NULL:
                size = self.k.single_size(&self.c, self.trial.most)
                self.c.work.single = self._reals(size)
        else:
            self.c.work.single = NULL
            self._allocate_batch()
        return self._run(&e)

    cdef double _run(self, epoch_t *e) except? -1:
        """Train an epoch in slices, between which signals are checked for."""
        cdef size_t before
        cdef double begun
        while e.position < e.samples.n:
            e.stop = 0
            e.seconds = choose_threads(&self.trial, &self.c.work.n_threads)
            before, begun = e.position, team_seconds()
            with nogil:
                self.k.epoch(&self.c, e)
            record_pace(&self.trial, self.c.work.n_threads, e.position - before,
                        team_seconds() - begun)
            if e.failed:
                self._raise_failure()
            try:
                PyErr_CheckSignals()
            except BaseException:
                if e.position < e.samples.n:
                    e.abandon = 1
                    self.k.epoch(&self.c, e)
                raise
        return e.loss / <double> e.samples.n

    # -- checks --

    cdef int _raise_failure(self) except -1:
        failure, self.failure = self.failure, None
        raise failure

    cdef int _check(self, Data data) except -1:
        if data.dtype is not self.dtype and data.dtype != self.dtype:
            raise ValueError(f"data must be {self.dtype}, as the parameters are; got {data.dtype}")
        if data.shape[1] != self.c.net.n_features:
            raise ValueError(
                f"X has {data.shape[1]} features, the network takes {self.c.net.n_features}")
        if (data.c.targets != NULL or data.c.autoencode) and (
                data.c.ldt != self.c.net.n_outputs):
            raise ValueError(
                f"y has {data.c.ldt} columns, the network has {self.c.net.n_outputs} outputs")
        if data.c.labels != NULL:
            self._check_labels(data.largest_labels)
        if data.sparse and self.c.net.layers[0].f.code == ACT_RBF:
            raise ValueError("activation='rbf' measures distances, which sparse X does not "
                             "support: give an array")
        return 0

    cdef int _check_workspace(self, Data data) except -1:
        """Whether the samples are of the kind that `allocate` made buffers for."""
        self._check(data)
        if self.c.work.batch == 0:
            raise ValueError("the plan has no workspace: call Plan.allocate first")
        if data.sparse != self.sparse:
            kinds = ("dense", "sparse")
            raise ValueError(f"X is {kinds[data.sparse]}, but the workspace was allocated for "
                             f"{kinds[self.sparse]} rows")
        return 0

    cdef int _check_targets(self, Data data) except -1:
        self._check_workspace(data)
        if data.c.targets == NULL and data.c.labels == NULL and not data.c.autoencode:
            raise ValueError("y is missing: the loss needs targets")
        return 0

    cdef int _check_rows(self, size_t n) except -1:
        if n > self.c.work.batch:
            raise ValueError(f"batch norm needs all {n} rows of a batch at once, but the "
                             f"workspace was allocated for {self.c.work.batch}")
        return 0

    cdef int _refuse_sparse(self) except -1:
        """Refuse options that work on the values of a dense batch, which sparse rows never
        form."""
        if self.augment_function is not None:
            raise ValueError("augment needs dense batches, but X is sparse")
        if self.c.noise.drop_per_sample and self.c.noise.drop > 0:
            raise ValueError("dropout of inputs with mask='sample' needs dense inputs, but X "
                             "is sparse")
        if self.c.net.has_norm:
            raise ValueError("batch_norm would centre the inputs, but X is sparse")
        return 0

    cdef int _check_labels(self, tuple largest) except -1:
        cdef loss_t *loss = &self.c.objective.loss
        cdef size_t g
        if <size_t> len(largest) != loss.n_groups:
            raise ValueError(
                f"y has labels of {len(largest)} tasks, the network has {loss.n_groups}")
        for g in range(loss.n_groups):
            n_outputs = loss.group[g + 1] - loss.group[g]
            if largest[g] >= max(2, n_outputs):  # one output distinguishes 0 and 1
                raise ValueError(
                    f"y has the label {largest[g]} in column {g}, whose classes are 0 to "
                    f"{max(2, n_outputs) - 1}")
        return 0
