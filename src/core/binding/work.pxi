# The samples, rates and norms of an epoch or a batch.  The set_… functions return the array that
# the struct then points into; the caller keeps it.

cdef object set_order(samples_t *samples, const data_t *data, order):
    """The samples of an epoch: those that `order` names, or all."""
    samples.data, samples.order, samples.n = data, NULL, data.n_samples
    if order is not None:
        if not isinstance(order, np.ndarray):
            raise ValueError(f"order must be an int64 vector, got {type(order).__name__}")
        if order.dtype != np.int64 or order.ndim != 1 or not order.flags.c_contiguous:
            raise ValueError(f"order must be a contiguous int64 vector, got {order.dtype} of "
                             f"shape {order.shape}")
        samples.order, samples.n = <const int64_t *> address(order), order.shape[0]
    return order


cdef int check_order(const samples_t *samples, size_t first, size_t last) except -1:
    """Refuse rows that the data do not have: the kernels read what they are told to."""
    cdef size_t i
    if samples.order != NULL:
        for i in range(first, last):
            if not 0 <= samples.order[i] < <int64_t> samples.data.n_samples:
                raise ValueError(f"order must name rows below {samples.data.n_samples}, got "
                                 f"{samples.order[i]}")
    return 0


cdef object set_norms(epoch_t *e, norms, size_t n_layers):
    """Where the gradient norms of an epoch's last batch go; None: nowhere."""
    if norms is not None:
        if norms.shape != (n_layers,):
            raise ValueError(f"gradient_norms must have shape ({n_layers},), got {norms.shape}")
        norms[:] = 0
        e.gradient_norms = <double *> address(norms, 1)
    return norms


cdef object set_rates(epoch_t *e, rates, int64_t steps):
    """The rates of an epoch that begins after so many steps."""
    rates = np.ascontiguousarray(rates, np.float64)
    if rates.ndim != 1 or rates.shape[0] == 0:
        raise ValueError(f"rates must be one number or a vector, got shape {rates.shape}")
    e.rates = <const double *> address(rates)
    e.n_rates, e.first = rates.shape[0], steps
    return rates


cdef double weight_of(Data data, order, size_t first, size_t last) except? -1:
    """Sum of the samples' weights, added in their order as an epoch does."""
    if data.sample_weight is None:
        return last - first
    rows = slice(first, last) if order is None else order[first:last]
    return np.add.accumulate(data.sample_weight[rows], dtype=np.float64)[last - first - 1]
