"""The core's elementary functions, in units of the last place of the true value."""

from functools import cache

import mpmath
import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_array_equal

from mlp import _core

every_function = pytest.mark.parametrize("name", _core.VMATH)
every_isa = pytest.mark.parametrize("isa", _core.AVAILABLE_ISAS)
either_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

#: largest errors (float32, float64) as vmath.h states them; erfc's times 1 + x²
BOUNDS = {
    "exp": (1, 1),
    "expm1": (2, 2),
    "log": (1, 1),
    "log1p": (2, 2),
    "tanh": (2, 3),
    "logistic": (2, 2),
    "softplus": (2, 2),
    "erf": (2, 2),
    "erfc": (5, 3),
}
#: where the function is neither constant nor out of its range: float32, float64
BUSY = {
    "exp": ((-105, 90), (-750, 711)),
    "expm1": ((-18, 88), (-38, 709)),
    "log": ((0, 8), (0, 8)),
    "log1p": ((-1, 3), (-1, 3)),
    "tanh": ((-10, 10), (-20, 20)),
    "logistic": ((-105, 18), (-750, 38)),
    "softplus": ((-105, 18), (-750, 38)),
    "erf": ((-4, 4), (-6, 6)),
    "erfc": ((-4, 9.1), (-6, 26)),
}
#: what vmath.h says of arguments: above `TOP` expm1 is not wanted, erfc underflows
TOP = {"expm1": (88, 709), "erfc": (9.1, 26)}
LOWEST = {"log": 0, "log1p": -1}

#: long double is wide enough to judge float64 (x86; elsewhere mpmath does it)
WIDE = np.finfo(np.longdouble).nmant >= 63


def of(pair, dtype):
    return pair[dtype == np.float64]


def logistic(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def by_mpmath(name, x):
    """Each value as a long double: the nearest float64 and what it lacks."""
    true = {
        "logistic": lambda v: 1 / (1 + mpmath.exp(-v)),
        "softplus": lambda v: mpmath.log1p(mpmath.exp(v)),
    }.get(name, getattr(mpmath, name, None))
    with mpmath.workprec(200):
        values = [true(mpmath.mpf(float(v))) for v in x]
        head = np.array([float(v) for v in values])
        rest = [
            float(v - h) if np.isfinite(h) else 0
            for v, h in zip(values, head, strict=True)
        ]
    return head.astype(np.longdouble) + np.array(rest)


def in_reach(name, dtype, x):
    x = x[x <= of(TOP[name], dtype)] if name in TOP else x
    return x[x >= LOWEST[name]] if name in LOWEST else x


@cache
def points_and_truth(name, dtype):
    """Arguments over all exponents and over the busy range, and the true values."""
    rng = np.random.default_rng(1)
    slow = dtype == np.float64 and (name in ("erf", "erfc") or not WIDE)
    n = 2_000 if slow else 100_000
    if dtype == np.float32:
        bits = np.arange(0, 2**32, 2**32 // n | 1, dtype=np.uint32).view(dtype)
    else:
        bits = rng.integers(0, 2**64, n, dtype=np.uint64).view(dtype)
    signs = rng.choice([-1.0, 1.0], n)
    x = np.concatenate(
        [
            bits[np.isfinite(bits)],
            rng.uniform(*of(BUSY[name], dtype), n),
            signs * 2.0 ** rng.uniform(-30, 4, n),
            1 + signs * 2.0 ** rng.uniform(-25, -1, n),
        ]
    ).astype(dtype)
    x = in_reach(name, dtype, x)
    own = {"logistic": logistic, "softplus": softplus}
    with np.errstate(all="ignore"):
        if dtype == np.float32:
            own |= {"erf": scipy.special.erf, "erfc": scipy.special.erfc}
            return x, own.get(name, getattr(np, name, None))(x.astype(np.float64))
        if slow:
            return x, by_mpmath(name, x)
        return x, own.get(name, getattr(np, name, None))(x.astype(np.longdouble))


def error_in_ulp(actual, true, dtype):
    """|actual − true| / the distance of dtype's numbers at `true`; Inf is 2^emax."""
    kind, info = true.dtype.type, np.finfo(dtype)
    with np.errstate(over="ignore"):
        infinity = min(np.ldexp(kind(1), info.maxexp), np.finfo(kind).max)
    exponent = np.frexp(np.clip(true, -infinity, infinity))[1] - 1
    ulp = np.ldexp(kind(1), np.maximum(exponent, info.minexp) - info.nmant)
    bounded = np.clip(actual.astype(kind), -infinity, infinity)
    return np.abs(bounded - np.clip(true, -infinity, infinity)) / ulp


@every_isa
@either_dtype
@every_function
def test_error_is_within_its_bound_over_the_whole_range(name, dtype, isa):
    x, true = points_and_truth(name, dtype)
    errors = error_in_ulp(_core.vmath(name, x, isa=isa), true, dtype)
    bound = of(BOUNDS[name], dtype) + (isa == "scalar")  # no fused multiply-add
    if name == "erfc":
        bound = bound * (1 + np.maximum(x, 0).astype(np.float64) ** 2)
    assert np.all(errors <= bound), (x[np.argmax(errors)], errors.max())


LIMITS = {  # at −Inf, +Inf, 0
    "exp": (0, np.inf, 1),
    "expm1": (-1, None, 0),
    "log": (np.nan, np.inf, -np.inf),
    "log1p": (np.nan, np.inf, 0),
    "tanh": (-1, 1, 0),
    "logistic": (0, 1, 0.5),
    "softplus": (0, np.inf, np.log(2)),
    "erf": (-1, 1, 0),
    "erfc": (2, None, 1),
}


@every_isa
@either_dtype
@every_function
def test_infinities_give_the_limits_and_zero_the_value_there(name, dtype, isa):
    x = np.array([-np.inf, np.inf, 0, -0.0], dtype)
    actual = _core.vmath(name, x, isa=isa)
    below, above, zero = LIMITS[name]
    above = actual[1] if above is None else above  # past the range it is made for
    assert_array_equal(actual, np.array([below, above, zero, zero], dtype))


@every_isa
@either_dtype
@every_function
def test_nan_gives_nan_and_troubles_no_neighbour(name, dtype, isa):
    x = np.linspace(0.1, 0.9, 67).astype(dtype)
    expected = _core.vmath(name, x, isa=isa)
    x[5::7] = expected[5::7] = np.nan
    assert_array_equal(_core.vmath(name, x, isa=isa), expected)


@every_isa
@either_dtype
@every_function
def test_length_of_the_vector_does_not_change_a_bit(name, dtype, isa):
    x = np.linspace(0.01, 3, 50).astype(dtype)
    whole = _core.vmath(name, x, isa=isa)
    for n in range(1, 50):
        assert_array_equal(_core.vmath(name, x[:n].copy(), isa=isa), whole[:n])


@every_isa
@pytest.mark.parametrize(
    "dtype, largest", [(np.float32, 88.7228), (np.float64, 709.78)]
)
def test_exp_overflows_where_it_must(dtype, largest, isa):
    x = np.array([largest, largest + 0.01, 1000], dtype)
    y = _core.vmath("exp", x, isa=isa)
    assert_array_equal(np.isinf(y), [False, True, True])


@every_isa
@pytest.mark.parametrize("dtype, least", [(np.float32, -103.97), (np.float64, -745.13)])
def test_exp_goes_through_the_subnormals_to_zero(dtype, least, isa):
    x = np.array([least, least - 0.01, -1000], dtype)
    y = _core.vmath("exp", x, isa=isa)
    assert_array_equal(y, [np.finfo(dtype).smallest_subnormal, 0, 0])


@every_isa
@either_dtype
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_functions_are_odd_to_the_bit_and_never_exceed_one(name, dtype, isa):
    x, _ = points_and_truth(name, dtype)
    y = _core.vmath(name, np.append(np.abs(x), 0).astype(dtype), isa=isa)
    mirrored = _core.vmath(name, np.append(-np.abs(x), -0.0).astype(dtype), isa=isa)
    assert_array_equal(mirrored.view(f"u{y.itemsize}"), (-y).view(f"u{y.itemsize}"))
    assert y.max() == 1


@every_isa
@either_dtype
@pytest.mark.parametrize("name", ["log", "log1p"])
def test_logarithm_of_a_negative_number_is_nan_and_of_zero_minus_infinity(
    name, dtype, isa
):
    shift = 1 if name == "log1p" else 0
    x = np.array([0, -0.25, -3, -np.finfo(dtype).max], dtype) - dtype(shift)
    assert_array_equal(_core.vmath(name, x, isa=isa), [-np.inf, *[np.nan] * 3])
