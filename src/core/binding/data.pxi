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
    autoencode : bool
        Whether the inputs are the targets.
    smoothing : float
        Part of a label's weight that is divided equally between all classes.
    """

    cdef data_t c
    cdef list keep
    cdef readonly object dtype
    cdef readonly tuple shape
    cdef readonly object sample_weight
    cdef readonly bint sparse
    cdef readonly tuple largest_labels

    def __cinit__(self, X, targets=None, labels=None, sample_weight=None,
                  double smoothing=0.0, bint autoencode=False):
        memset(&self.c, 0, sizeof(data_t))
        self.keep = []
        self.shape = X.shape
        self.dtype = X.dtype
        is_double_of(self.dtype)
        self.c.n_samples = X.shape[0]
        sparse = type(X) is not np.ndarray and hasattr(X, "indptr")
        if sparse:
            values = self._hold(X.data, self.dtype, "X.data")
            self.c.values = address(values)
            indices = self._hold(np.ascontiguousarray(X.indices, np.int32), np.int32, "indices")
            self.c.indices = <const int32_t *> address(indices)
            indptr = self._hold(np.ascontiguousarray(X.indptr, np.int64), np.int64, "indptr")
            self.c.indptr = <const int64_t *> address(indptr)
        else:
            if X.strides[1] != X.itemsize and X.shape[1] > 1 and X.shape[0] > 0:
                raise ValueError(f"the rows of X must be contiguous, got strides {X.strides}")
            self.keep.append(X)
            self.c.x = address(X)
            self.c.ldx = X.strides[0] // X.itemsize if X.shape[0] > 1 else X.shape[1]
        if autoencode and sparse:
            self.c.autoencode = 1
            self.c.ldt = X.shape[1]
        elif autoencode:
            targets = np.ascontiguousarray(X)
        if targets is not None:
            targets = self._hold(targets, self.dtype, "targets")
            self.c.targets = address(targets)
            self.c.ldt = targets.shape[1]
        if labels is not None:
            self.c.labels = <const int32_t *> address(self._hold(labels, np.int32, "labels"))
            self.largest_labels = tuple(labels.max(axis=0, initial=-1).tolist())
        if sample_weight is not None:
            self.c.weights = address(self._hold(sample_weight, self.dtype, "sample_weight"))
        self.sample_weight = sample_weight
        self.sparse = self.c.indptr != NULL
        self.c.smoothing = smoothing

    @property
    def arrays(self):
        """The arrays that are used, for a checksum."""
        return tuple(self.keep)

    cdef object _hold(self, array, dtype, name):
        if array.dtype != dtype or not array.flags.c_contiguous:
            raise ValueError(f"{name} must be C-contiguous {dtype}, got {array.dtype}")
        self.keep.append(array)
        return array
