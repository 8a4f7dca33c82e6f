# Sizes, buffers and addresses.

# Rows that go through the layers together in prediction: their activations stay in L2.
cdef size_t CHUNK_ROWS = 252
# Multiply-adds per thread and step from which another thread pays: a barrier costs about 0.2 µs,
# a step has about ten, and one thread does 60 to 130 multiply-adds per nanosecond.
cdef double WORK_PER_THREAD = 1e6

#: the largest number of threads that is used, whatever is requested
MAX_THREADS = TEAM_MAX_THREADS


cdef size_t threads_of(n_threads) except 0:
    """The number of threads that a workspace is made for."""
    if n_threads < 1:
        raise ValueError(f"n_threads must be a positive int, got {n_threads!r}")
    return min(n_threads, MAX_THREADS)


cdef size_t times(size_t a, size_t b) except? 0:
    """a·b; a product that wraps around would make a buffer too small."""
    if b and a > SIZE_MAX // b:
        raise MemoryError(f"a buffer of {a} times {b} elements is too large")
    return a * b


# ---- buffers --------------------------------------------------------------------------------

cdef void *address(object array, int writable=0) except? NULL:
    """The address of an array's first element.  The caller keeps the array alive."""
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
    shift = -(<size_t> address(raw)) % 64  # raw.ctypes would take a microsecond
    return raw[shift: shift + int(size) * dtype.itemsize].view(dtype)


cdef object FLOAT32 = np.dtype(np.float32), FLOAT64 = np.dtype(np.float64)


cdef int is_double_of(dtype) except -1:
    if dtype is FLOAT32:  # in nearly all cases, and far cheaper than to compare
        return 0
    if dtype is FLOAT64 or dtype == FLOAT64:
        return 1
    if dtype == FLOAT32:
        return 0
    raise TypeError(f"the core works in float32 and float64, not {dtype}")
