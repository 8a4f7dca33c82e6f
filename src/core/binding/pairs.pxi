# ---- pairs of samples through a twin network (pairs.h) ---------------------------------------

cdef class PairData:
    """Pairs of the rows of `samples`, with targets and weights.

    Parameters
    ----------
    samples : Data
        Its inputs alone are used.
    index : int64 ndarray of shape (n_pairs, 2)
        Rows of `samples`.
    targets : ndarray of shape (n_pairs, 1), or None
    sample_weight : ndarray of shape (n_pairs,), or None
    """

    cdef data_t c
    cdef list keep
    cdef readonly Data samples
    cdef readonly object index
    cdef readonly tuple shape
    cdef readonly object sample_weight

    def __cinit__(self, Data samples, index, targets=None, sample_weight=None):
        memset(&self.c, 0, sizeof(data_t))
        self.samples, self.index = samples, index
        self.shape = (index.shape[0], 2, samples.shape[1])
        self.sample_weight = sample_weight
        self.keep = []
        self._check(index, np.int64, (self.shape[0], 2), "index")
        if index.size and not (0 <= index.min() and index.max() < samples.shape[0]):
            raise ValueError(f"index must name rows of {samples.shape[0]} samples")
        self.c.n_samples = self.shape[0]
        if targets is not None:
            self._check(targets, samples.dtype, (self.shape[0], 1), "targets")
            self.c.targets = address(targets)
            self.c.ldt = 1
        if sample_weight is not None:
            self._check(sample_weight, samples.dtype, self.shape[:1], "sample_weight")
            self.c.weights = address(sample_weight)

    @property
    def arrays(self):
        """The arrays that are used, for a checksum."""
        return (*self.samples.arrays, *self.keep)

    cdef int _check(self, array, dtype, shape, name) except -1:
        if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
            raise ValueError(
                f"{name} must be C-contiguous {np.dtype(dtype)} of shape {shape}, "
                f"got {array.dtype} of shape {array.shape}")
        self.keep.append(array)
        return 0


cdef class PairPlan:
    """A twin network, what judges its two embeddings, and room to train both.

    Parameters
    ----------
    twin : Plan
    head : Plan or None
        Of one output; it takes ∣u − v∣ for 'distance' and (u, v) for 'relation'.
    kind : key of PAIR_CODES
    """

    cdef pair_plan_t c
    cdef readonly Plan twin
    cdef readonly Plan head
    cdef object rows

    def __cinit__(self, Plan twin, head, kind):
        memset(&self.c, 0, sizeof(pair_plan_t))
        self.twin, self.head = twin, head
        self.c.kind = PAIR_CODES[kind]
        self.c.twin = &self.twin.c
        if twin.c.layers[twin.c.n_layers - 1].f.code == ACT_SOFTMAX:
            raise ValueError("the embedding can't be a softmax")
        if self.c.kind == PAIR_COSINE:
            if head is not None:
                raise ValueError("a cosine has no head")
            return
        n_inputs = twin.c.n_outputs * (2 if self.c.kind == PAIR_RELATION else 1)
        if (head is None or self.head.c.n_features != n_inputs
                or self.head.c.n_outputs != 1 or head.dtype != twin.dtype):
            raise ValueError(
                f"the head must take {n_inputs} inputs of {twin.dtype} to one output")
        self.c.head = &self.head.c

    def allocate(self, size_t pairs, n_threads=1, bint sparse=False):
        """Workspace for up to `pairs` pairs at once."""
        self.twin.allocate(2 * pairs, n_threads, sparse)
        if self.head is not None:
            self.head.allocate(pairs, n_threads)
            if self.head.grads is None:  # a single row waits for the first epoch
                self.head._allocate_batch()
        self.rows = np.zeros(2 * pairs, np.int64)
        self.c.rows = <int64_t *> address(self.rows, 1)

    @property
    def steps(self):
        """Updates made so far."""
        return self.twin.c.solver.t

    cdef int _attach(self, PairData data) except -1:
        if self.rows is None:
            raise ValueError("allocate comes first")
        self.twin._check_workspace(data.samples)
        if data.c.targets == NULL:
            raise ValueError("the pairs have no targets")
        self.c.samples, self.c.pairs = &data.samples.c, &data.c
        self.c.index = <const int64_t *> address(data.index)
        return 0

    def loss_and_gradient(self, PairData data, bint with_gradient=True):
        """Σ of weighted losses / Σ of weights; its gradients in the plans' `grads`."""
        cdef size_t n = data.c.n_samples, at = 0, stop, step = <size_t> (
            1e9 / (6 * self.twin.work_per_row)) + self.twin.c.batch / 2
        cdef double total = 0, weight = n
        self._attach(data)
        if self.twin.c.n_scales or self.twin.c.has_norm:
            step = n  # the statistics are those of all rows
            if 2 * n > self.twin.c.batch:
                raise ValueError(
                    f"{n} pairs at once, the workspace holds {self.twin.c.batch // 2}")
        if data.sample_weight is not None:
            weight = float(np.sum(data.sample_weight, dtype=np.float64))
        if n == 0 or weight <= 0:
            raise ValueError("the pairs' weights add up to nothing")
        self.twin.c.n_threads = self.twin.most_threads
        while at < n:
            stop = min(n, at + step)
            with nogil:
                total += self.twin.k.pair_gradient(&self.c, at, stop, 1 / weight, at > 0,
                                                   with_gradient)
            at = stop
            PyErr_CheckSignals()
        return total / weight

    def epoch(self, PairData data, size_t batch_size, order=None, rates=0.0,
              gradient_norms=None):
        """One pass over the pairs named by `order` (all of them if None), in that order;
        returns the mean loss of its batches.

        `rates` are the step sizes, one per step; the last one holds for all further steps.
        `gradient_norms`, float64, one a layer of the twin and then of the head, receives
        those of the last batch.
        """
        cdef epoch_t e
        cdef size_t n_layers = self.twin.c.n_layers
        cdef size_t n_pairs = data.c.n_samples, n = n_pairs, before
        cdef double begun
        self._attach(data)
        memset(&e, 0, sizeof(epoch_t))
        e.batch_size = batch_size
        if self.head is not None:
            n_layers += self.head.c.n_layers
        if gradient_norms is not None:
            if gradient_norms.shape != (n_layers,):
                raise ValueError(f"gradient_norms must have shape ({n_layers},)")
            gradient_norms[:] = 0
            e.gradient_norms = <double *> address(gradient_norms, 1)
        rates = set_rates(&e, rates, self.twin.c.solver.t)
        if order is not None:
            if order.dtype != np.int64 or order.ndim != 1 or not order.flags.c_contiguous:
                raise ValueError("order must be a contiguous int64 vector")
            n = order.shape[0]
            data.c.order = <const int64_t *> address(order)
        data.c.n_samples = n
        try:
            while e.position < n:
                e.stop = 0
                e.seconds = self.twin._choose_threads()
                before, begun = e.position, team_seconds()
                with nogil:
                    self.twin.k.pair_epoch(&self.c, &e)
                self.twin._note_pace(e.position - before, team_seconds() - begun)
                PyErr_CheckSignals()
        finally:
            data.c.order = NULL
            data.c.n_samples = n_pairs
        return e.loss / n
