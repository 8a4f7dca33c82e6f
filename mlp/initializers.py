"""The table of initialisers [S 65.88–65.93c].

Each draws a layer's (W, b) from a NumPy ``RandomState``, W first, so that the default gives
scikit-learn's numbers for the same seed.  Offsets are drawn where the source draws them for
the rule ('normal', [S 65.88]) and by scikit-learn's; the other rules start them at zero.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

__all__ = ["INITIALIZERS", "draw"]

Drawn = tuple[NDArray[np.float64], NDArray[np.float64]]


def _uniform(rng: RandomState, n_in: int, n_out: int, bound: float) -> Drawn:
    weights = rng.uniform(-bound, bound, (n_in, n_out))
    return weights, rng.uniform(-bound, bound, n_out)


def _sklearn(rng: RandomState, n_in: int, n_out: int, activation: str) -> Drawn:
    factor = 2.0 if activation == "logistic" else 6.0
    return _uniform(rng, n_in, n_out, np.sqrt(factor / (n_in + n_out)))


def _normal(rng: RandomState, n_in: int, n_out: int, activation: str) -> Drawn:
    """w ~ N(0, 1/n_in), θ ~ N(0, 1) [S 65.88–65.89]"""
    weights = rng.standard_normal((n_in, n_out))
    weights /= np.sqrt(n_in)
    return weights, rng.standard_normal(n_out)


def _uniform_fan_in(rng: RandomState, n_in: int, n_out: int, activation: str) -> Drawn:
    """U(±1/√n_in) [S 65.93a]"""
    weights = rng.uniform(-1, 1, (n_in, n_out))
    weights /= np.sqrt(n_in)
    return weights, np.zeros(n_out)


def _glorot(rng: RandomState, n_in: int, n_out: int, activation: str) -> Drawn:
    """U(±√(6/(n_in + n_out))) [S 65.93b]"""
    bound = np.sqrt(6 / (n_in + n_out))
    return rng.uniform(-bound, bound, (n_in, n_out)), np.zeros(n_out)


def _glorot_sigmoid(rng: RandomState, n_in: int, n_out: int, activation: str) -> Drawn:
    """Four times as wide, for logistic units [S 65.93c]"""
    weights, offsets = _glorot(rng, n_in, n_out, activation)
    weights *= 4
    return weights, offsets


def _he(rng: RandomState, n_in: int, n_out: int, activation: str) -> Drawn:
    """N(0, 2/n_in), for rectifiers"""
    weights = rng.standard_normal((n_in, n_out))
    weights *= np.sqrt(2 / n_in)
    return weights, np.zeros(n_out)


def _zeros(rng: RandomState, n_in: int, n_out: int, activation: str) -> Drawn:
    """All alike: kept to show that nothing breaks the symmetry [G]"""
    return np.zeros((n_in, n_out)), np.zeros(n_out)


#: name -> function of (rng, n_in, n_out, activation name)
INITIALIZERS: dict[str, Callable[[RandomState, int, int, str], Drawn]] = {
    "sklearn": _sklearn,
    "normal": _normal,
    "uniform": _uniform_fan_in,
    "glorot": _glorot,
    "glorot_sigmoid": _glorot_sigmoid,
    "he": _he,
    "zeros": _zeros,
}


def draw(
    init: str | Callable[..., Any],
    rng: RandomState,
    n_in: int,
    n_out: int,
    activation: str,
) -> Drawn:
    """Weights (n_in, n_out) and offsets (n_out,) of a layer.

    Parameters
    ----------
    init : key of `INITIALIZERS`, or callable ``(rng, n_in, n_out) -> (W, b)``
    rng : RandomState
    n_in, n_out : int
    activation : str
        The hidden activation's name, on which the 'sklearn' rule depends.

    Raises
    ------
    ValueError
        For an unknown name, or what a callable returns of the wrong shape or not finite.
    """
    if not callable(init):
        if init not in INITIALIZERS:
            raise ValueError(
                f"init={init!r} is not an initialiser; there are "
                f"{', '.join(INITIALIZERS)}, or give a callable"
            )
        return INITIALIZERS[init](rng, n_in, n_out, activation)
    weights, offsets = (np.asarray(a, dtype=np.float64) for a in init(rng, n_in, n_out))
    if weights.shape != (n_in, n_out) or offsets.shape != (n_out,):
        raise ValueError(
            f"init returned shapes {weights.shape} and {offsets.shape}, "
            f"the layer wants {(n_in, n_out)} and {(n_out,)}"
        )
    if not (np.isfinite(weights).all() and np.isfinite(offsets).all()):
        raise ValueError("init returned values that are not finite")
    return weights, offsets
