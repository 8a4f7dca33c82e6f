"""The core's matrix products: every edge, every instruction set, against NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mlp import _core

every_isa = pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
either_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_kind = pytest.mark.parametrize("kind", ["NN", "NT", "TN"])

GUARD = -7.5e18  # no sum here comes near it


def strided(matrix, dtype, width=0, offset=0, fill=GUARD):
    """A view that holds `matrix`, its rows apart and off the cache line, amid `fill`."""
    m, n = matrix.shape
    width = max(width, n)
    frame = _core.aligned_zeros(offset + (m + 1) * width + 64, dtype)
    frame[:] = fill
    view = frame[offset : offset + m * width].reshape(m, width)[:, :n]
    view[:] = matrix
    return view


def product(kind, a, b, dtype, isa, n_threads=1, spread=0, offset=0):
    """a @ b by the core, from matrices laid out as the kind of product wants them."""
    n = b.shape[1]
    a = strided(a.T if kind == "TN" else a, dtype, max(a.shape) + spread, offset)
    # δ comes from the workspace: rows of whole vectors
    width = _core.row_stride(n, dtype, isa) if kind == "TN" else max(b.shape) + spread
    b = strided(b.T if kind == "NT" else b, dtype, width, offset * (kind != "TN"))
    out = strided(np.full((len(a) if kind != "TN" else a.shape[1], n), np.nan), dtype)
    return _core.gemm(kind, a, b, out, n_threads, isa)


def matrices(m, n, k, dtype, seed=0):
    """a (m, k) and b (k, n), whose entries `dtype` holds exactly."""
    rng = np.random.default_rng([m, n, k, seed])
    a, b = rng.normal(size=(m, k)), rng.normal(size=(k, n))
    return a.astype(dtype).astype(np.float64), b.astype(dtype).astype(np.float64)


def assert_is_product(actual, a, b):
    """Within gamma_k |a||b|, for our summation and for NumPy's of the reference."""
    k, unit = a.shape[1], np.finfo(actual.dtype).eps / 2
    gamma = k * unit / (1 - k * unit) + k * np.finfo(np.float64).eps
    assert np.all(np.abs(actual - a @ b) <= gamma * (np.abs(a) @ np.abs(b)))


@every_isa
@either_dtype
@every_kind
@pytest.mark.parametrize("varied", ["m", "n", "k"])
def test_every_size_to_70_is_the_product(varied, kind, dtype, isa):
    for size in range(1, 71):
        for first, second in [(1, 1), (7, 33), (26, 16), (65, 5)]:
            sizes = dict(zip("mnk".replace(varied, ""), (first, second), strict=True))
            a, b = matrices(**sizes, **{varied: size}, dtype=dtype)
            assert_is_product(product(kind, a, b, dtype, isa), a, b)


@every_isa
@either_dtype
@every_kind
@pytest.mark.parametrize("k", [784, 1023, 1024, 1025, 2049, 3000])
def test_long_sums_are_the_product(k, kind, dtype, isa):
    a, b = matrices(25, 37, k, dtype)
    assert_is_product(product(kind, a, b, dtype, isa), a, b)


@every_isa
@either_dtype
@every_kind
@pytest.mark.parametrize("m, n, k", [(256, 100, 64), (32, 512, 20), (130, 250, 9)])
def test_many_tiles_are_the_product(m, n, k, kind, dtype, isa):
    a, b = matrices(m, n, k, dtype)
    assert_is_product(product(kind, a, b, dtype, isa), a, b)


@every_isa
@either_dtype
@every_kind
@pytest.mark.parametrize("spread, offset", [(1, 0), (0, 1), (3, 3), (64, 5)])
def test_distance_and_alignment_of_rows_do_not_change_a_bit(
    spread, offset, kind, dtype, isa
):
    a, b = matrices(29, 35, 50, dtype)
    expected = product(kind, a, b, dtype, isa)
    actual = product(kind, a, b, dtype, isa, spread=spread, offset=offset)
    assert_array_equal(actual, expected)


@every_isa
@either_dtype
@every_kind
@pytest.mark.parametrize("m, n, k", [(1, 1, 3), (13, 17, 5), (30, 63, 1030)])
def test_nothing_is_written_beside_the_output(m, n, k, kind, dtype, isa):
    a, b = matrices(m, n, k, dtype)
    a = np.ascontiguousarray(a.T if kind == "TN" else a, dtype)
    b = b.T if kind == "NT" else b
    b = strided(b, dtype, _core.row_stride(b.shape[1], dtype, isa))
    frame = np.full((m + 2, n + 21), GUARD, dtype)
    _core.gemm(kind, a, b, frame[1:-1, 10 : 10 + n], 1, isa)
    frame[1:-1, 10 : 10 + n] = GUARD
    assert_array_equal(frame, np.full_like(frame, GUARD))


@every_isa
@either_dtype
@every_kind
def test_what_lies_beside_the_inputs_does_not_matter(kind, dtype, isa):
    a, b = matrices(19, 21, 23, dtype)
    expected = product(kind, a, b, dtype, isa)
    a = strided(a.T if kind == "TN" else a, dtype, 30, fill=np.nan)
    b = strided(b.T if kind == "NT" else b, dtype, 32, fill=np.nan)
    out = np.empty_like(expected)
    assert_array_equal(_core.gemm(kind, a, b, out, 1, isa), expected)


@every_isa
@either_dtype
@every_kind
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("i, k, j", [(0, 0, 0), (28, 49, 34), (12, 30, 16)])
def test_a_non_finite_input_reaches_its_row_or_column_and_no_other(
    i, k, j, value, kind, dtype, isa
):
    a, b = matrices(29, 35, 50, dtype)
    expected = product(kind, a, b, dtype, isa)
    spoilt_a, spoilt_b = a.copy(), b.copy()
    spoilt_a[i, k], spoilt_b[k, j] = value, value
    row, column = expected.copy(), expected.copy()
    row[i] = value * np.sign(b[k])
    column[:, j] = value * np.sign(a[:, k])
    assert_array_equal(product(kind, spoilt_a, b, dtype, isa), row)
    assert_array_equal(product(kind, a, spoilt_b, dtype, isa), column)


@every_isa
@either_dtype
@every_kind
def test_overflow_is_infinite(kind, dtype, isa):
    huge = float(np.finfo(dtype).max)
    a, b = np.full((5, 3), huge), np.full((3, 9), 2.0)
    assert_array_equal(product(kind, a, b, dtype, isa), np.full((5, 9), np.inf))


@every_isa
@either_dtype
@every_kind
@pytest.mark.parametrize("m, n, k", [(1, 40, 8), (90, 150, 70), (200, 10, 1500)])
def test_number_of_threads_does_not_change_a_bit(m, n, k, kind, dtype, isa):
    a, b = matrices(m, n, k, dtype)
    alone = product(kind, a, b, dtype, isa)
    for n_threads in (2, 3, 4):
        assert_array_equal(product(kind, a, b, dtype, isa, n_threads), alone)


@every_isa
@either_dtype
@pytest.mark.parametrize("kind", ["NN", "TN"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_rows_that_lie_anywhere_give_the_bits_of_rows_in_order(
    n_threads, kind, dtype, isa
):
    rng = np.random.default_rng(3)
    for m, n, k in [(1, 1, 1), (12, 40, 7), (30, 100, 33), (67, 5, 90), (25, 37, 2049)]:
        a, b = matrices(m, n, k, dtype)
        expected = product(kind, a, b, dtype, isa)
        a = np.ascontiguousarray(a.T if kind == "TN" else a, dtype)
        order = rng.permutation(len(a) + 9)[: len(a)]
        scattered = np.full((len(a) + 9, a.shape[1] + 3), np.nan, dtype)[
            :, : a.shape[1]
        ]
        scattered[order] = a
        b = strided(b, dtype, _core.row_stride(n, dtype, isa))
        out = np.empty_like(expected)
        _core.gemm(kind, scattered, b, out, n_threads, isa, order=order)
        assert_array_equal(out, expected)


@every_isa
@either_dtype
@every_kind
def test_tile_in_which_an_element_lies_does_not_change_a_bit(kind, dtype, isa):
    a, b = matrices(40, 70, 33, dtype)
    whole = product(kind, a, b, dtype, isa)
    for m, n in [(1, 70), (5, 70), (13, 70), (39, 70), (40, 3), (13, 40), (39, 69)]:
        if kind != "NT" and n != 70:
            continue  # a few last columns are summed in an order of their own
        part = product(kind, a[-m:], b[:, -n:], dtype, isa)
        assert_array_equal(part, whole[-m:, -n:])
