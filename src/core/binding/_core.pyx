# cython: language_level=3
"""The door between Python and the kernels.

Design
------
A. `Plan` holds one C `plan_t` (mlp_core.h) and, as NumPy arrays, every buffer that it points
   to.  It is a network's `Description` and, once `allocate`d, has room for batches of so many
   rows.  Nothing is allocated while an epoch runs.
B. `Data` holds one C `data_t`: rows of inputs (dense or CSR), targets or labels, weights.
C. Shapes and dtypes are checked here, once; the kernels trust them.
D. The GIL is released around every kernel.  An epoch leaves the kernel every SLICE seconds to
   look for signals, so Ctrl-C is noticed within a tenth of a second.
E. No `cimport numpy`: addresses come through the buffer protocol, read-only arrays included.
"""

# the included files use what is imported here
from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE  # no-cython-lint
from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer  # no-cython-lint
from cpython.exc cimport PyErr_CheckSignals  # no-cython-lint
from libc.stdint cimport SIZE_MAX, int32_t, int64_t, uint8_t, uint64_t  # no-cython-lint
from libc.stdlib cimport calloc, free  # no-cython-lint
from libc.string cimport memcpy, memset  # no-cython-lint

import os  # no-cython-lint

import numpy as np  # no-cython-lint

include "declarations.pxi"  # the C side, buffers, the choice of instruction set
include "data.pxi"          # Data: samples as the kernels see them
include "description.pxi"   # a network, its loss and solver, Python in the loop
include "plan.pxi"          # Plan: the same, with room to train
include "derivatives.pxi"   # derivatives of a trained network
include "pairs.pxi"         # pairs of samples through a twin network
include "probes.pxi"        # kernels by themselves, for tests and benchmarks
