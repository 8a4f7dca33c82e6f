"""The table of initialisers [S 65.88–65.93c].

Each draws a layer's (W, b) from a NumPy ``RandomState``, W first, so that the default gives
scikit-learn's numbers for the same seed.  Offsets are drawn where the source draws them for
the rule ('normal', [S 65.88]) and by scikit-learn's; the other rules start them at zero.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from mlp.network.connectivity import Edges

__all__ = ["INITIALIZERS", "draw"]

Drawn = tuple[NDArray[np.float64], NDArray[np.float64]]


class Fans(NamedTuple):
    """Properties of a layer that a rule depends on.

    Attributes
    ----------
    fan_in, fan_out : float
        Weights into an output unit and out of an input unit, on average.
    shape : tuple of int
        Shape of the weights: (n_in, n_out), or (n_edges,) of a sparse layer.
    n_out : int
    """

    fan_in: float
    fan_out: float
    shape: tuple[int, ...]
    n_out: int


def _uniform(rng: RandomState, fans: Fans, bound: float) -> Drawn:
    weights = rng.uniform(-bound, bound, fans.shape)
    return weights, rng.uniform(-bound, bound, fans.n_out)


def _sklearn(rng: RandomState, fans: Fans, activation: str) -> Drawn:
    factor = 2.0 if activation == "logistic" else 6.0
    return _uniform(rng, fans, np.sqrt(factor / (fans.fan_in + fans.fan_out)))


def _normal(rng: RandomState, fans: Fans, activation: str) -> Drawn:
    """w ~ N(0, 1/n_in), θ ~ N(0, 1) [S 65.88–65.89]"""
    weights = rng.standard_normal(fans.shape)
    weights /= np.sqrt(fans.fan_in)
    return weights, rng.standard_normal(fans.n_out)


def _uniform_fan_in(rng: RandomState, fans: Fans, activation: str) -> Drawn:
    """U(±1/√n_in) [S 65.93a]"""
    weights = rng.uniform(-1, 1, fans.shape)
    weights /= np.sqrt(fans.fan_in)
    return weights, np.zeros(fans.n_out)


def _glorot(rng: RandomState, fans: Fans, activation: str) -> Drawn:
    """U(±√(6/(n_in + n_out))) [S 65.93b]"""
    bound = np.sqrt(6 / (fans.fan_in + fans.fan_out))
    return rng.uniform(-bound, bound, fans.shape), np.zeros(fans.n_out)


def _glorot_sigmoid(rng: RandomState, fans: Fans, activation: str) -> Drawn:
    """An interval four times as wide, for logistic units [S 65.93c]"""
    weights, offsets = _glorot(rng, fans, activation)
    weights *= 4
    return weights, offsets


def _he(rng: RandomState, fans: Fans, activation: str) -> Drawn:
    """N(0, 2/n_in), for rectifiers"""
    weights = rng.standard_normal(fans.shape)
    weights *= np.sqrt(2 / fans.fan_in)
    return weights, np.zeros(fans.n_out)


def _zeros(rng: RandomState, fans: Fans, activation: str) -> Drawn:
    """All weights 0, to show that nothing breaks the symmetry then [G]"""
    return np.zeros(fans.shape), np.zeros(fans.n_out)


#: name -> function of (rng, fans, activation name)
INITIALIZERS: dict[str, Callable[[RandomState, Fans, str], Drawn]] = {
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
    edges: Edges | None = None,
) -> Drawn:
    """Weights (n_in, n_out), or (n_edges,), and offsets (n_out,) of a layer.

    Parameters
    ----------
    init : key of `INITIALIZERS`, or callable ``(rng, n_in, n_out) -> (W, b)``
    rng : RandomState
    n_in, n_out : int
    activation : str
        The hidden activation's name, on which the 'sklearn' rule depends.
    edges : Edges, optional
        The connections of a sparse layer, which the rules count.

    Raises
    ------
    ValueError
        For an unknown name, or if a callable returns arrays of the wrong shape or values
        that are not finite.
    """
    if not callable(init):
        if init not in INITIALIZERS:
            raise ValueError(
                f"init={init!r} is not an initialiser; there are "
                f"{', '.join(INITIALIZERS)}, or give a callable"
            )
        fans = Fans(n_in, n_out, (n_in, n_out), n_out)
        if edges is not None:
            n = max(edges.n, 1)
            fans = Fans(n / n_out, n / n_in, (edges.n,), n_out)
        return INITIALIZERS[init](rng, fans, activation)
    returned = init(rng, n_in, n_out)
    try:
        weights, offsets = (np.asarray(a, dtype=np.float64) for a in returned)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"init must return two arrays, weights and offsets, not {returned!r}"
        ) from error
    if weights.shape != (n_in, n_out) or offsets.shape != (n_out,):
        raise ValueError(
            f"init returned shapes {weights.shape} and {offsets.shape}, "
            f"the layer has {(n_in, n_out)} and {(n_out,)}"
        )
    if not (np.isfinite(weights).all() and np.isfinite(offsets).all()):
        raise ValueError("init returned values that are not finite")
    if edges is not None:
        weights = weights[edges.rows, edges.to]
    return weights, offsets
