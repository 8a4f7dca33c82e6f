"""Projection pursuit regression, a network that also learns its activations.

f(x) = intercept + sum_m g_m(omega_m' x), with unit directions omega_m and smooth ridge
functions g_m, is a perceptron with one hidden layer whose activations are estimated from
the data [L]. Terms are added one by one; each alternates a smoothing spline for g_m with a
Gauss-Newton step for omega_m. After each addition the ridge functions are refitted in turn
to the residual of the others (backfitting), and all directions take a Gauss-Newton step
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
)
from threadpoolctl import threadpool_limits

from mlp.estimators.parameters import warn_without_effect
from mlp.estimators.saving import SaveMixin
from mlp.estimators.validation import validate_data
from mlp.files.encoding import Codec, attributes_codec
from mlp.network.samples import refuse_dates
from mlp.projection_pursuit.pursuit import Pursuit, PursuitModel, Term
from mlp.projection_pursuit.ridge_function import FloatArray, RidgeFunction

#: smallest difference, and reciprocal of the largest value, whose cubes do not
#: underflow
SMALLEST = 1e-80
#: fraction of the largest weight below which the splines' equations become inaccurate
LEAST_WEIGHT = 1e-6


class ProjectionPursuitRegressor(SaveMixin, RegressorMixin, BaseEstimator):
    """Projection pursuit regression: a sum of smooth functions of projections.

    The model is ``intercept + sum_m g_m(omega_m @ x)`` with unit directions ``omega_m`` and
    ridge functions ``g_m``, both estimated from the data: each ``g_m`` is a smoothing
    spline whose smoothness generalised cross-validation chooses, each ``omega_m`` comes
    from Gauss-Newton steps. Terms are added stagewise and backfitted [L]. Features are
    standardised internally; all attributes are in their original units.

    Parameters
    ----------
    n_terms : int or 'cv', default=3
        Number of terms, or 'cv' to choose at most ``max_terms`` by cross-validation. Fewer
        terms are fitted if a further one would lower the training loss by a fraction of at
        most ``tol``.
    max_terms : int, default=8
        Largest number of terms that 'cv' tries.
    cv : int, cross-validation generator or iterable, default=5
        Folds for ``n_terms='cv'``. An int is the number of shuffled folds.
    n_starts : int, default=8
        Number of starting directions for each new term: those with the best scores among
        the least-squares direction, the two principal Hessian directions, and 20 times as
        many random ones.
    max_iter : int, default=20
        Largest number of backfitting sweeps after each new term; 0 gives the plain
        stagewise fit.
    n_knots : int, default=100
        Largest number of knots of a ridge function. If there are more distinct projections,
        they are averaged over bins of equal weight before smoothing.
    gcv_penalty : float, default=1.4
        Cost of a degree of freedom in generalised cross-validation. 1 is the textbook
        score, which sometimes does not smooth small samples at all.
    tol : float, default=1e-4
        Relative gain below which Gauss-Newton steps, backfitting sweeps and the
        addition of terms stop.
    random_state : int, RandomState instance or None, default=None
        Random state that draws the starting directions and shuffles the folds.

    Attributes
    ----------
    directions_ : ndarray of shape (n_terms_, n_features_in_)
        Unit vectors whose entry of largest magnitude is positive.
    ridge_functions_ : list of RidgeFunction
        One callable per term, with weighted mean zero over the training set, and linear
        outside the training projections.
    intercept_ : float
        Weighted mean of the training predictions.
    n_terms_ : int
        Number of terms.
    n_iter_ : int
        Number of sweeps; the addition of a term counts as one.
    loss_curve_ : list of float
        Weighted mean squared training error after each sweep.
    cv_errors_ : ndarray of shape (max_terms,)
        Mean squared validation error by number of terms; set only with ``n_terms='cv'``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features; set only if ``X`` had string column names.

    Notes
    -----
    Sample weights act as repetitions of rows; their overall scale has no effect.

    Examples
    --------
    >>> import numpy as np
    >>> from mlp import ProjectionPursuitRegressor
    >>> X = np.random.default_rng(0).normal(size=(400, 3))
    >>> y = np.tanh(2 * X @ [0.6, 0.8, 0.0])
    >>> model = ProjectionPursuitRegressor(n_terms=1, random_state=0).fit(X, y)
    >>> bool(np.allclose(model.directions_, [[0.6, 0.8, 0.0]], atol=0.01))
    True
    >>> model.score(X, y) > 0.99
    True
    """

    _codecs: ClassVar[dict[str, Codec]] = {
        "RidgeFunction": attributes_codec(
            RidgeFunction, ("knots", "values", "degrees_of_freedom")
        )
    }
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_terms": [Interval(Integral, 1, None, closed="left"), StrOptions({"cv"})],
        "max_terms": [Interval(Integral, 1, None, closed="left")],
        "cv": ["cv_object"],
        "n_starts": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_knots": [Interval(Integral, 4, None, closed="left")],
        "gcv_penalty": [Interval(Real, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_terms: int | str = 3,
        *,
        max_terms: int = 8,
        cv: Any = 5,
        n_starts: int = 8,
        max_iter: int = 20,
        n_knots: int = 100,
        gcv_penalty: float = 1.4,
        tol: float = 1e-4,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_terms = n_terms
        self.max_terms = max_terms
        self.cv = cv
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.n_knots = n_knots
        self.gcv_penalty = gcv_penalty
        self.tol = tol
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> ProjectionPursuitRegressor:
        """Fit the terms.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights, not all zero. Weights below a millionth of the largest one
            are raised to that.

        Returns
        -------
        ProjectionPursuitRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter, the data or the weights are invalid; the estimator is then
            unchanged.
        """
        before = self.__dict__.copy()
        try:
            return self._fit(X, y, sample_weight)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> ProjectionPursuitRegressor:
        warn_without_effect(self)
        refuse_dates(y, "y")
        X_, y_ = validate_data(
            self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2
        )
        y_ = np.asarray(y_, dtype=np.float64)
        for name, values in (("X", X_), ("y", y_)):
            spread = float(np.ptp(values, axis=0).max())
            if np.abs(values).max() > 1 / SMALLEST or 0 < spread < SMALLEST:
                raise ValueError(
                    f"{name} has values beyond {1 / SMALLEST:g}, or that differ by less "
                    f"than {SMALLEST:g}, whose cubes overflow or underflow; rescale it"
                )
        weight = _check_sample_weight(
            sample_weight, X_, dtype=np.float64, ensure_non_negative=True
        )
        # a power of two, so that the overall scale does not change a bit
        weight = np.ldexp(weight, -np.frexp(weight.max())[1])
        weight = np.where(
            weight > 0, np.maximum(weight, LEAST_WEIGHT * weight.max()), 0
        )
        self.__dict__.pop("cv_errors_", None)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        # The smoother's matrices are small: more BLAS threads made it 10 times slower.
        with threadpool_limits(limits=1, user_api="blas"):
            n_terms = self.n_terms
            if isinstance(n_terms, str):
                self.cv_errors_: FloatArray = self._cross_validate(X_, y_, weight, seed)
                n_terms = 1 + int(np.argmin(self.cv_errors_))
            pursuit = Pursuit(self, X_, y_, weight, seed)
            terms: list[Term] = []
            for longer in pursuit.grow(n_terms):
                terms = longer
        model = pursuit.model(terms)
        self.directions_ = model.directions
        self.ridge_functions_ = model.ridge_functions
        self.intercept_ = model.intercept
        self.n_terms_ = len(terms)
        self.loss_curve_ = pursuit.losses or [float(pursuit.share @ pursuit.y**2)]
        self.n_iter_ = len(self.loss_curve_)
        return self

    def _cross_validate(
        self, X: FloatArray, y: FloatArray, weight: FloatArray, seed: int
    ) -> FloatArray:
        """Return the mean squared validation error by number of terms."""
        if isinstance(self.cv, Integral):
            splitter = KFold(int(self.cv), shuffle=True, random_state=seed)
        else:
            splitter = check_cv(self.cv)
        total, errors = 0.0, np.zeros(self.max_terms)
        for train, test in splitter.split(X, y):
            pursuit = Pursuit(self, X[train], y[train], weight[train], seed)
            fold = np.full(self.max_terms, np.nan)
            model = pursuit.model([])
            for m, terms in enumerate(pursuit.grow(self.max_terms)):
                model = pursuit.model(terms)
                fold[m] = weight[test] @ (y[test] - model.predict(X[test])) ** 2
            last = weight[test] @ (y[test] - model.predict(X[test])) ** 2
            errors += np.where(np.isnan(fold), last, fold)
            total += weight[test].sum()
        return errors / total

    def predict(self, X: ArrayLike) -> FloatArray:
        """Return the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        X_ = validate_data(self, X, dtype=np.float64, reset=False)
        model = PursuitModel(self.directions_, self.ridge_functions_, self.intercept_)
        return model.predict(X_)

    def plot_terms(
        self,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        ax: Any = None,
        n_points: int = 200,
    ) -> NDArray[np.object_]:
        """Draw each ridge function over its projection, one panel per term.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
            Features. Together with ``y``, the partial residuals, the target minus the other
            terms, are drawn as points.
        y : array-like of shape (n_samples,), optional
            Targets.
        ax : matplotlib Axes or array-like of n_terms_ Axes, optional
            Axes to draw on; a new figure if None.
        n_points : int, default=200
            Number of points per curve.

        Returns
        -------
        ndarray of shape (n_terms_,)
            The matplotlib Axes drawn on.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If only one of ``X`` and ``y`` is given, the number of axes is not
            ``n_terms_``, or there are no terms.
        """
        check_is_fitted(self)
        if (X is None) != (y is None):
            raise ValueError("plot_terms needs both X and y, or neither")
        if self.n_terms_ == 0:
            raise ValueError("the model is a constant and has no terms to plot")
        axes = _term_axes(ax, self.n_terms_)
        if X is not None:
            refuse_dates(y, "y")
            X_, y_ = validate_data(self, X, y, dtype=np.float64, reset=False)
            residual = y_ - self.predict(X)
        names = getattr(self, "feature_names_in_", None)
        for m, (omega, g) in enumerate(
            zip(self.directions_, self.ridge_functions_, strict=True)
        ):
            if X is not None:
                v = X_ @ omega
                axes[m].plot(v, residual + g(v), ".", ms=2, alpha=0.4, color="0.6")
            grid = np.linspace(g.knots[0], g.knots[-1], n_points)
            axes[m].plot(grid, g(grid), color="C0", lw=2)
            axes[m].set_xlabel(_describe(omega, names))
            axes[m].set_ylabel(f"$g_{{{m + 1}}}$")
        return axes


def _term_axes(ax: Any, n_terms: int) -> NDArray[np.object_]:
    """Return one matplotlib Axes per term, from ``ax`` or from a new figure."""
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ImportError(
                "plot_terms needs matplotlib: pip install 'fastmlp[plot]'"
            ) from error
        n_columns = min(n_terms, 3)
        n_rows = -(-n_terms // n_columns)
        _, grid = pyplot.subplots(
            n_rows,
            n_columns,
            figsize=(4.2 * n_columns, 3.2 * n_rows),
            squeeze=False,
            layout="constrained",
        )
        for unused in grid.flat[n_terms:]:
            unused.remove()
        first: NDArray[np.object_] = grid.ravel()[:n_terms]
        return first
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if axes.size != n_terms:
        raise ValueError(f"ax must have n_terms_={n_terms} axes, got {axes.size}")
    return axes


def _describe(omega: FloatArray, names: Sequence[str] | None) -> str:
    """Return the three largest components of a direction as text."""
    parts = []
    for j in np.argsort(-np.abs(omega), kind="stable")[:3]:
        if omega[j] != 0:
            name = f"x{j}" if names is None else names[j]
            parts.append(f"{omega[j]:+.2g} {name}")
    more = " ..." if np.count_nonzero(omega) > len(parts) else ""
    return " ".join(parts) + more
