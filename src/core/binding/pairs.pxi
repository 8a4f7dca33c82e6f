# ---- pairs of samples through a branch network (pairs.h) -------------------------------------

cdef class PairData:
    """Pairs of the rows of `samples`, with targets and weights.

    Parameters
    ----------
    samples : Data
        Only its inputs are used.
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
    """A branch network, the loss on its two embeddings, and a workspace to train both.

    Parameters
    ----------
    branch : Plan
    head : Plan or None
        A network with one output; its inputs are ∣u − v∣ for 'distance' and (u, v) for
        'relation'.
    kind : key of PAIR_CODES
    """

    cdef pairs_t c
    cdef readonly Plan branch
    cdef readonly Plan head
    cdef object rows

    def __cinit__(self, Plan branch, head, kind):
        memset(&self.c, 0, sizeof(pairs_t))
        self.branch, self.head = branch, head
        self.c.kind = PAIR_CODES[kind]
        self.c.branch = &self.branch.c
        if branch.c.net.layers[branch.c.net.n_layers - 1].f.code == ACT_SOFTMAX:
            raise ValueError("the embedding can't be a softmax")
        if self.c.kind == PAIR_COSINE:
            if head is not None:
                raise ValueError("a cosine has no head")
            return
        n_inputs = branch.c.net.n_outputs * (2 if self.c.kind == PAIR_RELATION else 1)
        if (head is None or self.head.c.net.n_features != n_inputs
                or self.head.c.net.n_outputs != 1 or head.dtype != branch.dtype):
            raise ValueError(
                f"the head must take {n_inputs} inputs of {branch.dtype} to one output")
        self.c.head = &self.head.c

    def allocate(self, size_t pairs, n_threads=1, bint sparse=False):
        """Workspace for up to `pairs` pairs at once."""
        self.branch.allocate(2 * pairs, n_threads, sparse)
        if self.head is not None:
            self.head.allocate(pairs, n_threads)
            self.head._allocate_batch()  # a single row would wait for the first epoch
        self.rows = np.zeros(2 * pairs, np.int64)
        self.c.rows = <int64_t *> address(self.rows, 1)

    @property
    def steps(self):
        """Steps made so far."""
        return self.branch.c.optimizer.t

    cdef int _attach(self, PairData data) except -1:
        if self.rows is None:
            raise ValueError("allocate comes first")
        self.branch._check_workspace(data.samples)
        if data.c.targets == NULL:
            raise ValueError("the pairs have no targets")
        self.c.inputs = &data.samples.c
        self.c.index = <const int64_t *> address(data.index)
        return 0

    def loss_and_gradient(self, PairData data not None, bint with_gradient=True):
        """Σ of weighted losses / Σ of weights; its gradients are in the plans' `grads`."""
        cdef Plan branch = self.branch
        cdef size_t n = data.c.n_samples, most = branch.c.work.batch / 2
        cdef size_t step = <size_t> (1e9 / (6 * branch.work_per_row)) + most
        cdef double weight = n
        cdef batch_t b
        self._attach(data)
        if branch.c.net.n_scales or branch.c.net.has_norm:
            step = max(n, 1)  # the statistics are those of all rows
            if n > most:
                raise ValueError(f"batch norm needs all {n} pairs of a batch at once, but the "
                                 f"workspace was allocated for {most}")
        if data.sample_weight is not None:
            weight = float(np.sum(data.sample_weight, dtype=np.float64))
        if n == 0 or weight <= 0:
            raise ValueError(f"sample_weight must have a positive sum, got {weight}")
        memset(&b, 0, sizeof(batch_t))
        b.pairs, b.samples.data, b.samples.n = &self.c, &data.c, n
        b.end, b.scale, b.with_gradient = n, 1 / weight, with_gradient
        return branch._sum_gradient(&b, step) / weight

    def epoch(self, PairData data not None, size_t batch_size, order=None, rates=0.0,
              gradient_norms=None):
        """One pass over the pairs named by `order` (all of them if None), in that order;
        returns the mean loss of its batches, penalties included.

        `rates` are the rates of the steps; the last one holds for all further steps.
        `gradient_norms`, float64, with one value per layer of the branch and then of the head,
        receives those of the last batch.
        """
        cdef epoch_t e
        cdef size_t n_layers = self.branch.c.net.n_layers
        self._attach(data)
        memset(&e, 0, sizeof(epoch_t))
        e.batch_size, e.pairs = batch_size, &self.c
        if self.head is not None:
            n_layers += self.head.c.net.n_layers
        order = set_order(&e.samples, &data.c, order)
        check_order(&e.samples, 0, e.samples.n)
        norms = set_norms(&e, gradient_norms, n_layers)
        rates = set_rates(&e, rates, self.branch.c.optimizer.t)
        return self.branch._run(&e)
