# ---- derivatives of a trained network -------------------------------------------------------

cdef dict _KINDS = {
    "forward": SENS_FORWARD,
    "reverse": SENS_REVERSE,
    "jvp": SENS_JVP,
    "vjp": SENS_VJP,
    "inputs": SENS_INPUTS,
    "params": SENS_PARAMS,
    "product": SENS_PRODUCT,
    "exact": SENS_DIAGONAL,
    "curvature": SENS_CURVATURE,
}


# Multiply-adds between two checks for signals: some hundredths of a second.
cdef double SENSITIVITY_SLICE = 1e9


cdef double _work_per_sample(Plan plan, int kind):
    """Multiply-adds, roughly."""
    cdef size_t i
    cdef double work = 3 * plan.work_per_row, below, above
    if kind == SENS_FORWARD:
        return work + plan.work_per_row * plan.c.net.n_features
    if kind == SENS_REVERSE:
        return work + plan.work_per_row * plan.c.net.n_outputs
    if kind == SENS_DIAGONAL:
        for i in range(1, plan.c.net.n_layers):
            below, above = plan.c.net.layers[i].n_in, plan.c.net.layers[i].n_out
            work += below * above * (above if i == 1 else above + below)
    return work


def sensitivity(Plan plan, derivative, Data data not None, direction=None, n_threads=1):
    """Derivatives of a plan's network at samples; the plan needs no workspace.

    Parameters
    ----------
    derivative : str
        'forward', 'reverse': the Jacobians; 'jvp', 'vjp'; 'inputs', 'params': gradients of
        each sample's loss; 'product', 'exact', 'curvature': the mean loss's Hessian times
        a vector, and its diagonal.
    direction : ndarray, contiguous, of the plan's dtype
        The vectors that are multiplied.
    """
    cdef sensitivity_t q
    cdef int kind = _KINDS[derivative], failed = 0
    cdef size_t n = data.c.n_samples, at = 0, stop, step, per = 1
    cdef size_t n_in = plan.c.net.n_features, n_out = plan.c.net.n_outputs
    cdef size_t n_params = plan.params.shape[0], threads = threads_of(n_threads)
    cdef double work = _work_per_sample(plan, kind), weight = n
    plan._check(data)
    if (kind in (SENS_INPUTS, SENS_PARAMS) or kind >= SENS_PRODUCT) and (
            data.c.targets == NULL and data.c.labels == NULL and not data.c.autoencode):
        raise ValueError("y is missing: the derivatives of the loss need targets")
    shape = {
        SENS_FORWARD: (n, n_out, n_in), SENS_REVERSE: (n, n_out, n_in),
        SENS_JVP: (n, n_out), SENS_VJP: (n, n_in), SENS_INPUTS: (n, n_in),
        SENS_PARAMS: (n, n_params),
    }.get(kind, (n_params,))
    if kind >= SENS_PRODUCT:
        if data.c.weights != NULL:
            weight = float(np.sum(data.sample_weight, dtype=np.float64))
        if n == 0 or weight <= 0:
            raise ValueError(f"sample_weight must have a positive sum, got {weight}")
        out = np.zeros(shape, dtype=plan.dtype)
    else:
        out = np.empty(shape, dtype=plan.dtype)
    if n == 0:
        return out
    if plan.loss_function is not None:
        threads = 1
    threads = max(1, min(threads, <size_t> (work * n / WORK_PER_THREAD)))
    memset(&q, 0, sizeof(sensitivity_t))
    q.kind, q.weight = kind, 1 / weight
    if kind <= SENS_REVERSE:
        per = n_in if kind == SENS_FORWARD else n_out
    q.rows = max(1, min(min(n, CHUNK_ROWS // per), <size_t> (SENSITIVITY_SLICE / work)))
    step = q.rows * max(1, <size_t> (SENSITIVITY_SLICE / (work * <double> q.rows)))
    q.out = address(out, 1)
    if direction is not None:
        q.direction = address(direction)
    scratch = aligned_zeros(plan.k.sensitivity_size(&plan.c, &q, threads), plan.dtype)
    losses = np.empty(q.rows)
    q.scratch = address(scratch, 1)
    q.losses = <double *> address(losses, 1)
    while at < n:
        stop = min(n, at + step)
        with nogil:
            failed = plan.k.sensitivity(&plan.c, &data.c, at, stop, &q, threads)
        if failed:
            plan._raise_failure()
        at = stop
        PyErr_CheckSignals()
    return out
