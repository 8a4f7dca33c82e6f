# ---- kernels by themselves, for tests and benchmarks ----------------------------------------

def vmath(name, x, isa=None):
    """Elementwise `name` (one of VMATH) of a contiguous float vector."""
    cdef const kernels_t *k = kernels_for(is_double_of(x.dtype), isa)
    y = np.empty_like(x)
    cdef int which = VMATH.index(name)
    cdef void *py = address(y, 1)
    cdef void *px = address(x)
    cdef size_t n = x.size
    with nogil:
        k.vmath(which, py, px, n)
    return y


def gemm(kind, a, b, out, n_threads=1, isa=None, repeat=1, order=None):
    """out = a @ b ('NN'), a @ b.T ('NT') or a.T @ b ('TN'); rows contiguous.

    With an `order` ('NN' and 'TN' only) the rows of a[order] are read in place.  For 'TN', b's
    rows must be padded to whole vectors (`row_stride`), as the workspace's are.  The product is
    computed `repeat` times, because a small one takes less time than the call.
    """
    cdef const kernels_t *k = kernels_for(is_double_of(out.dtype), isa)
    cdef int code = ("NN", "NT", "TN").index(kind)
    cdef size_t m = out.shape[0], n = out.shape[1]
    cdef size_t inner = a.shape[1]
    if kind == "TN":
        inner = a.shape[0] if order is None else len(order)
    cdef size_t item = out.itemsize, threads = threads_of(n_threads)
    cdef size_t lda = a.strides[0] // item, ldb = b.strides[0] // item
    cdef size_t ldc = out.strides[0] // item
    pack = aligned_zeros(k.pack_size * threads, out.dtype)
    cdef void *pa = address(a)
    cdef void *pb = address(b)
    cdef void *pc = address(out, 1)
    cdef void *pp = address(pack, 1)
    cdef void *rows = NULL
    if order is not None:
        places = np.asarray(order, np.uintp) * a.strides[0] + a.ctypes.data
        rows = address(places)
    cdef size_t _, times = repeat
    cdef product_t p = product_t(
        kind=code, m=m, n=n, k=inner, a=pa, b=pb, c=pc, lda=lda, ldb=ldb, ldc=ldc,
        rows=<const void *const *> rows, pack=pp, n_threads=threads)
    with nogil:
        for _ in range(times):
            k.gemm(&p)
    return out


def probe_multiply_add(n, dtype, isa=None):
    """Do chains of n multiply-adds in registers: (floating-point operations, seconds)."""
    cdef const kernels_t *k = kernels_for(is_double_of(np.dtype(dtype)), isa)
    cdef size_t links = n
    cdef double begun, done, work
    with nogil:
        begun = team_seconds()
        work = k.probe_multiply_add(links)
        done = team_seconds()
    return work, done - begun


def probe_memory(buffer, write, passes=1, isa=None):
    """Pass over a float vector, reading or reading and writing: (bytes moved, seconds)."""
    cdef const kernels_t *k = kernels_for(is_double_of(buffer.dtype), isa)
    cdef void *p = address(buffer, 1)
    cdef size_t n = buffer.size, _, count = passes
    cdef int writes = write
    cdef double begun, done
    with nogil:
        begun = team_seconds()
        for _ in range(count):
            k.probe_memory(p, n, writes)
        done = team_seconds()
    return buffer.nbytes * count * (2 if write else 1), done - begun


def dropout_mask(seed, batch, layer, n, double drop):
    """Which of n units of a layer (0: inputs) are kept in the batch that begins at sample
    `batch` of an epoch; for a mask per sample, n counts rows × units."""
    kept = np.empty(n, np.uint8)
    cdef uint8_t *p = <uint8_t *> address(kept, 1)
    kernels_for(1).mask(p, seed, batch, layer, n, drop)
    return kept.astype(bool)


def row_stride(n, dtype, isa=None):
    """Distance of the rows of a workspace matrix of n columns, in elements."""
    return kernels_for(is_double_of(np.dtype(dtype)), isa).row_stride(n)
