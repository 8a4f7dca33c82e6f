"""One-dimensional smoothing splines: the ridge functions of projection pursuit.

``smooth`` minimises, over all twice differentiable g,

    sum_i w_i (y_i - g(v_i))^2 / sum_i w_i + lam * integral g''(t)^2 dt,

whose solution is a natural cubic spline with knots at the abscissae. ``lam`` minimises
the generalised cross-validation score. SciPy's ``make_smoothing_spline`` returns the
same spline for the same ``lam``, but its own search for ``lam`` runs in a Python loop,
fails when the abscissae have a scale far from their spacing, and leaves the weights out
of the score; here one eigendecomposition gives the score of every ``lam`` at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.linalg import LinAlgError, eigh, solveh_banded

FloatArray = NDArray[np.float64]

# Knots closer than this fraction of the standard deviation are merged: the roughness
# grows with the inverse cube of their distance, and rounding would bend the spline
# there.
_CLOSEST = 1e-4

# Smoothness for abscissae of unit variance, from about 200 degrees of freedom to a line.
_LAM_GRID = np.geomspace(1e-10, 1e6, 97)


class RidgeFunction:
    """Natural cubic spline, continued linearly outside its knots.

    Parameters
    ----------
    knots : array-like of shape (n_knots,)
        Abscissae in ascending order.
    values : array-like of shape (n_knots,)
        Values at the knots.
    degrees_of_freedom : float, optional
        Trace of the smoother that produced the values; ``n_knots`` if None.

    Examples
    --------
    >>> from mlp.projection_pursuit.ridge_function import RidgeFunction
    >>> g = RidgeFunction([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])
    >>> g([-1.0, 0.5, 4.0])
    array([-1. ,  0.5,  4. ])
    >>> g.derivative([0.5])
    array([1.])
    """

    def __init__(
        self,
        knots: ArrayLike,
        values: ArrayLike,
        degrees_of_freedom: float | None = None,
    ) -> None:
        self.knots = np.asarray(knots, dtype=np.float64)
        self.values = np.asarray(values, dtype=np.float64)
        self.degrees_of_freedom = (
            float(self.knots.size) if degrees_of_freedom is None else degrees_of_freedom
        )
        knots, values = self.knots, self.values
        if knots.size == 1:
            knots, values = knots[0] + np.array([0.0, 1.0]), np.repeat(values, 2)
        self._spline = CubicSpline(knots, values, bc_type="natural")
        self._slope = self._spline.derivative()

    def __call__(self, v: ArrayLike) -> FloatArray:
        """Return the function at ``v``, in the shape of ``v``."""
        v = np.asarray(v, dtype=np.float64)
        inside = np.clip(v, self._spline.x[0], self._spline.x[-1])
        value: FloatArray = self._spline(inside) + self._slope(inside) * (v - inside)
        return value

    def derivative(self, v: ArrayLike) -> FloatArray:
        """Return the first derivative at ``v``, in the shape of ``v``."""
        slope: FloatArray = self._slope(np.clip(v, *self._spline.x[[0, -1]]))
        return slope

    def rescaled(self, scale: float, shift: float, offset: float) -> RidgeFunction:
        """Return the function ``t -> self(scale * t - shift) - offset``, scale != 0."""
        knots, values = (self.knots + shift) / scale, self.values - offset
        if scale < 0:
            knots, values = knots[::-1], values[::-1]
        return RidgeFunction(knots, values, self.degrees_of_freedom)

    def __repr__(self) -> str:
        return (
            f"RidgeFunction(n_knots={self.knots.size}, "
            f"degrees_of_freedom={self.degrees_of_freedom:.1f})"
        )


@dataclass(frozen=True)
class _Bins:
    """Weighted means of (v, y) over groups of neighbouring abscissae."""

    v: FloatArray
    y: FloatArray
    weight: FloatArray
    within: float  # weighted sum of squares of y about the means of the groups


def _apart(v: FloatArray, distance: float) -> list[int]:
    """Return positions in ascending v, each more than ``distance`` above the last."""
    positions, last = [], -np.inf
    for i, value in enumerate(v.tolist()):
        if value - last > distance:
            positions.append(i)
            last = value
    return positions


def _bin(v: FloatArray, y: FloatArray, weight: FloatArray, n_bins: int) -> _Bins:
    """Merge ties, then group into at most ``n_bins`` bins of about equal weight."""
    order = np.argsort(v, kind="stable")
    v, y, weight = v[order], y[order], weight[order]
    new = np.diff(v) > 1e-12 * (v[-1] - v[0])
    starts = np.concatenate([[0], 1 + np.flatnonzero(new)])
    if starts.size > n_bins:
        run = np.add.reduceat(weight, starts)
        end = np.cumsum(run)
        group = np.floor((end - run / 2) / end[-1] * n_bins)
        starts = starts[np.diff(group, prepend=-1) > 0]
    starts = starts[_apart(v[starts], _CLOSEST * float(v.std()))]
    total = np.add.reduceat(weight, starts)
    mean = np.add.reduceat(weight * y, starts) / total
    counts = np.diff(starts, append=v.size)
    within = float(weight @ (y - np.repeat(mean, counts)) ** 2)
    return _Bins(np.add.reduceat(weight * v, starts) / total, mean, total, within)


def _roughness(
    knots: FloatArray, share: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Q, R and B = Q' diag(1/share) Q of the natural spline through ``knots``.

    With gamma the second derivatives at the inner knots, R gamma = Q'g, and the
    integral of g''^2 is gamma' R gamma. R and B come in upper banded storage.
    """
    h = np.diff(knots)
    m = knots.size - 2
    Q = np.zeros((knots.size, m))
    inner = np.arange(m)
    Q[inner, inner] = 1 / h[:-1]
    Q[inner + 1, inner] = -1 / h[:-1] - 1 / h[1:]
    Q[inner + 2, inner] = 1 / h[1:]
    R = np.zeros((3, m))
    R[1, 1:] = h[1:-1] / 6
    R[2] = (h[:-1] + h[1:]) / 3
    full = Q.T @ (Q / share[:, None])
    B = np.zeros((3, m))
    for k in range(min(3, m)):
        B[2 - k, k:] = np.diagonal(full, k)
    return Q, R, B


def _symmetric(banded: FloatArray) -> FloatArray:
    """Return the dense symmetric matrix of an upper banded one."""
    last = banded.shape[0] - 1
    width = banded.shape[1]
    full = np.diag(banded[last])
    for k in range(1, min(last, width - 1) + 1):
        side = np.diag(banded[last - k, k:], k)
        full += side + side.T
    return full


def _gcv_scores(
    z: FloatArray, e: FloatArray, within: float, n: float, penalty: float
) -> tuple[FloatArray, FloatArray]:
    """Return the GCV score and the trace of the smoother for each of ``_LAM_GRID``."""
    kept = _LAM_GRID[:, None] / (_LAM_GRID[:, None] + e)
    trace = 2 + (1 - kept).sum(axis=1)
    rest = 1 - penalty * trace / n
    mse = within + (kept**2) @ z**2
    with np.errstate(divide="ignore"):
        score = np.where(rest > 0.05, mse / np.maximum(rest, 0) ** 2, np.inf)
    return score, trace


def smooth(
    v: FloatArray,
    y: FloatArray,
    weight: FloatArray,
    *,
    n_knots: int = 100,
    gcv_penalty: float = 1.4,
) -> tuple[RidgeFunction, float]:
    """Fit a smoothing spline of y on v and return it with its GCV score.

    Parameters
    ----------
    v, y : ndarray of shape (n_samples,)
        Abscissae, in any order and with ties, and ordinates.
    weight : ndarray of shape (n_samples,)
        Positive weights, on any scale.
    n_knots : int
        Largest number of knots. If there are more distinct abscissae, they are first
        averaged over bins of about equal weight.
    gcv_penalty : float
        Cost of a degree of freedom in the score.

    Returns
    -------
    g : RidgeFunction
    score : float
        Weighted mean squared residual, divided by
        ``(1 - gcv_penalty * degrees_of_freedom / n)**2`` where n is the effective
        sample size ``weight.sum()**2 / (weight**2).sum()``.
    """
    total = float(weight.sum())
    n = total**2 / float(weight @ weight)
    bins = _bin(v, y, weight, n_knots)
    share, within = bins.weight / total, bins.within / total
    centre = float(share @ bins.v)
    spread = float(np.sqrt(share @ (bins.v - centre) ** 2))
    if bins.v.size < 3 or spread == 0:
        rest = max(1 - gcv_penalty * bins.v.size / n, 0.05)
        return RidgeFunction(bins.v, bins.y), within / rest**2
    Q, R, B = _roughness((bins.v - centre) / spread, share)
    gap = Q.T @ bins.y
    # Scaling the rows and columns of both matrices does not change e, and makes the
    # Cholesky factor of B accurate for very unequal spacings.
    unit = 1 / np.sqrt(B[2])
    try:
        e, V = eigh(
            unit[:, None] * _symmetric(R) * unit, unit[:, None] * _symmetric(B) * unit
        )
        scores, traces = _gcv_scores(
            V.T @ (unit * gap), np.maximum(e, 0), within, n, gcv_penalty
        )
        best = int(np.argmin(scores)) if np.isfinite(scores).any() else -1
    except LinAlgError:
        scores, traces, best = np.array([np.inf]), np.array([2.0]), -1
    gamma = solveh_banded(R + _LAM_GRID[best] * B, gap)
    values = bins.y - _LAM_GRID[best] * (Q @ gamma) / share
    g = RidgeFunction(bins.v, values, float(traces[best]))
    score = float(scores[best])
    if not np.isfinite(score):
        score = (within + float(share @ (bins.y - values) ** 2)) / 0.05**2
    return g, score
