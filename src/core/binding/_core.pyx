# cython: language_level=3
"""The binding between Python and the kernels.

Design
------
A. `Plan` holds one C `plan_t` (mlp_core.h) and, as NumPy arrays, every buffer that it points
   to.  It is a network's `Description` and, after `allocate`, has a workspace for batches.
   Nothing is allocated while an epoch runs.
B. `Data` holds one C `data_t`: rows of inputs (dense or CSR), targets or labels, weights.
C. Shapes and dtypes are checked here, once; the kernels trust them.
D. The GIL is released around every kernel.  An epoch leaves the kernel every SLICE seconds to
   check for signals, so that Ctrl-C takes effect within a tenth of a second.
E. No `cimport numpy`: addresses come through the buffer protocol, read-only arrays included.
"""

# the included files use what is imported here
from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE  # no-cython-lint
from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer  # no-cython-lint
from cpython.exc cimport PyErr_CheckSignals  # no-cython-lint
from libc.math cimport INFINITY  # no-cython-lint
from libc.stdint cimport SIZE_MAX, int32_t, int64_t, uint8_t, uint64_t  # no-cython-lint
from libc.stdlib cimport calloc, free  # no-cython-lint
from libc.string cimport memcpy, memset  # no-cython-lint

import os  # no-cython-lint

import numpy as np  # no-cython-lint

include "structs.pxi"       # the C side
include "isa.pxi"           # names and codes, the choice of instruction set
include "buffers.pxi"       # sizes, buffers, addresses
include "data.pxi"          # Data: samples as the kernels see them
include "description.pxi"   # a network, its loss and optimizer, Python callbacks
include "threads.pxi"       # one thread or all of them
include "work.pxi"          # the samples, rates and norms of an epoch
include "plan.pxi"          # Plan: the same, with a workspace to train in
include "derivatives.pxi"   # derivatives of a trained network
include "pairs.pxi"         # pairs of samples
include "probes.pxi"        # kernels by themselves, for tests and benchmarks
